/* SPDX-License-Identifier: MIT */
/* lab.h: what the questions about hypergradients share: digits of 14 x 14, three small
 * networks, batches, and means with their intervals. Read next: lab.c. */
#ifndef SCIENCE_LAB_H
#define SCIENCE_LAB_H

#include "hypertape.h"

enum { LAB_PIXELS = 14 * 14, LAB_HIDDEN = 32, LAB_CLASSES = 10 };

/* n images of bundled MNIST, mean over 2 x 2 pixels: "x" (n, 196), "label" (n), "row" (n)
 * 0, 1, .., in a random order by the context's seed of which the first `from` are passed
 * over: equal for equal seeds, whatever dtype. NULL after an error. */
ht_set *lab_images(ht_context *ctx, ht_dtype dtype, int64_t from, int64_t n);
/* A batch of `rows` of them, as ht_batch_order has it, for ht_bilevel's batch callbacks.
 * No two networks are at work at once. */
typedef struct lab_batches {
    const ht_set *from;
    int64_t rows;
    uint64_t seed;
} lab_batches;
ht_set *lab_room(const ht_set *images, int64_t rows);
ht_status lab_fill(uint64_t step, ht_set *room, const lab_batches *batches);

/* Softmax regression from zeros, or 196-32-10 with GELU or ReLU. In f64 the initial
 * numbers are those of f32. */
typedef enum lab_model { LAB_SOFTMAX, LAB_GELU, LAB_RELU } lab_model;
extern const char *const lab_models[];
ht_set *lab_theta(ht_context *ctx, lab_model model, ht_dtype dtype);
ht_var lab_logits(lab_model model, const ht_vars *theta, ht_var x);
/* A loss a row. */
ht_var lab_losses(lab_model model, const ht_vars *theta, const ht_vars *batch);

/* Of sets of the same names, of any types, in f64. */
double lab_norm(const ht_set *a);
double lab_cosine(const ht_set *a, const ht_set *b); /* NaN where one is 0 */
double lab_apart(const ht_set *a, const ht_set *b);  /* |a - b| */
double lab_signs(const ht_set *a, const ht_set *b);  /* part of b's that are not 0 */
/* Signs at random, by the context's seed and a stream. */
void lab_random_signs(ht_tensor *x, uint64_t stream);

/* Prints " 0.123 ± 0.004 |", the mean of what is finite and half of its interval, or
 * " none |"; format is of one double. */
void lab_cell(const char *format, int n, const double *x);
double lab_seconds(void); /* of the processor */
/* Says what is wrong on the context, if something is. */
bool lab_good(const ht_context *ctx, const char *what);

#endif
