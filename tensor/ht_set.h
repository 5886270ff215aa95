/* SPDX-License-Identifier: MIT */
/* ht_set.h: named tensors. Parameters, outer variables, batches and optimizer state are
 * all sets. Read next: ht_autograd.h, ht_nn.h. */
#ifndef HT_SET_H
#define HT_SET_H

#include <stdio.h>

#include "ht_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Named tensors. In the order they were added. Cost: a name is found in the time of its
 * length, whatever the set's size; what copies, reads, writes or prints goes over the
 * elements once. */

typedef struct ht_set ht_set;        /* names and tensors */
ht_set *ht_set_new(ht_context *ctx); /* an empty set, owned; NULL after an error */
/* Frees it and its tensors; NULL: nothing. A set that a live bilevel, optimizer or tape
 * borrows stops the program, which then says as what. */
void ht_set_free(ht_set *set);
/* Adds a tensor of zeros, owned by the set. A name is not empty and stands once. NULL
 * after an error. */
ht_tensor *ht_set_add_at(ht_set *set, const char *name, ht_dtype dtype, ht_shape shape,
                         const char *site);
#define ht_set_add(...) ht_set_add_at(__VA_ARGS__, HT_HERE)
/* The tensor of a name; NULL and an error listing the names if there is none of it. */
ht_tensor *ht_set_tensor_at(const ht_set *set, const char *name, const char *site);
#define ht_set_tensor(...) ht_set_tensor_at(__VA_ARGS__, HT_HERE)
int ht_set_count(const ht_set *set);               /* how many tensors */
ht_tensor *ht_set_at(const ht_set *set, int i);    /* the i-th added, 0 <= i < count */
const char *ht_set_name(const ht_set *set, int i); /* its name, borrowed as the set is */
/* The i of a name; -1: no such name, no error. */
int ht_set_find(const ht_set *set, const char *name);
int64_t ht_set_elements(const ht_set *set); /* how many, of all tensors */
/* How much there is of something. */
typedef struct ht_counts {
    int tensors;
    int64_t elements;
    size_t bytes;
} ht_counts;
/* How much there is of the tensors whose names match (ht_name_matches; NULL: all). */
ht_counts ht_set_counts(const ht_set *set, const char *pattern);
/* Prints a table: name, dtype, shape, elements and bytes of each tensor, and the total.
 */
void ht_set_print(const ht_set *set, FILE *f);
ht_context *ht_set_context(const ht_set *set); /* the one it was made on */
/* A new set of the same names, shapes and values (a gradient's too, until it is written:
 * ht_optimizer_step); dtype 0 keeps dtypes, else floats become it. Owned; NULL after an
 * error. */
ht_set *ht_set_clone(const ht_set *set, ht_dtype dtype);
/* Copies values from a set of the same names and shapes, in any order, converted. On an
 * error nothing is copied. */
ht_status ht_set_copy(ht_set *to, const ht_set *from);

/* Sets as vectors. Of f32 and f64, computed in f64, in O(elements). Two sets must have
 * the same names and shapes, in any order; after an error nothing is changed. */

/* sum_i a_i b_i, tensor by tensor as a has them; NaN after an error. */
double ht_set_dot(const ht_set *a, const ht_set *b);
/* y += alpha x, rounded once; x may be y. */
ht_status ht_set_axpy(double alpha, const ht_set *x, ht_set *y);
/* Copies all elements, tensor by tensor in the set's order, each row-major, to one tensor
 * of shape (ht_set_elements), f32 or f64. */
ht_status ht_set_flatten(const ht_set *set, ht_tensor *to);
/* Copies them back: the set's elements from such a tensor. */
ht_status ht_set_unflatten(ht_set *set, const ht_tensor *from);

/* Writes safetensors (Hugging Face, format of 2022): u64 header length, JSON header,
 * row-major data. Written as ht_data.h says: the whole file or nothing, the old one's
 * permissions kept. A name that no reader would take is refused: one not UTF-8,
 * "__metadata__". */
ht_status ht_set_write(const ht_set *set, const char *path);
/* Fills set from a file of exactly its names, dtypes and shapes; unchanged on an error.
 */
ht_status ht_set_read(ht_set *set, const char *path);
/* A new set of what the file holds. Owned; NULL after an error.
 * Of both: a file is refused, with the offset and what was found, unless its header is
 * strict JSON (RFC 8259) in UTF-8, names once, without zeros and not empty, __metadata__
 * an object of strings or null (not kept); entries of dtype F32, F64, I32 or U8, at most
 * 6 whole numbers as shape, and data_offsets that fit it and together cover the data
 * without gap or overlap. Time is in proportion to the file; memory, of the context
 * alone, to the data and at most 9 times the header's bytes (ht_set_read 14). */
ht_set *ht_set_load(ht_context *ctx, const char *path);

/* Whether a name fits a shell pattern: * is any text, ? any character. */
bool ht_name_matches(const char *pattern, const char *name);

#ifdef __cplusplus
}
#endif
#endif
