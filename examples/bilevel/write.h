/* SPDX-License-Identifier: MIT */
/* write.h: the picture that write.c writes, and what is made of it.
 * Read next: write.c, write_picture.c, write_page.c. */
#ifndef WRITE_H
#define WRITE_H

#include "demo.h"

/* Two hidden layers of gelu, of `rows` and `cols` units; "page.weight" (rows, cols) lies
 * between them. Logits (n, 10). */
void network_init(ht_set *theta, int64_t pixels, int64_t rows, int64_t cols);
ht_var network(ht_var x, const ht_vars *theta);
/* Mean cross-entropy of images x with the labels of `data`, and added to it, if so asked,
 * that of real digits, which network_add_real has put there ("x", "label", taken). */
ht_var network_loss(const ht_vars *theta, ht_var x, const ht_vars *data, bool real);
void network_add_real(ht_set *data, ht_set *real);
/* theta as a random start of that number: weights normal, of variance 1 / inputs, biases
 * 0; and a part `shake` of their standard deviation other than the start without. */
enum { OTHER_STARTS = 1 << 30 }; /* numbers from here on are no pixels' */
void network_start(ht_set *theta, int64_t number, double shake);

enum { MARGIN = 4 }; /* light modules around a code, as its readers want */

/* What a layer's weights are to show: a weight a module, positive where it is dark. */
typedef struct picture {
    int64_t rows, cols; /* MARGIN included */
    bool *dark;         /* (rows, cols), owned; so the next */
    qr_code code;       /* side 0: a word is drawn */
    char about[80];     /* "a QR code of version 1, level Q, ..." */
} picture;
/* A text as a code, or its letters; what has no room ends the program. */
picture picture_new(ht_context *ctx, const char *text, bool as_word);
/* How many weights (rows, cols) have the sign of their module; NULL or 100 and 0 of each.
 */
int64_t picture_right(const picture *p, const ht_tensor *weight, double *score);
/* Codewords with a wrong module; of a word 0. */
int picture_wrong_codewords(const picture *p, const ht_tensor *weight);
/* A PNG, some pixels a module: dark where positive, and light. */
ht_status picture_write(ht_context *ctx, const char *path, const picture *p,
                        const ht_tensor *weight);

/* What has been written, for a page and in words. */
enum { N_SHOWN = 6 };
enum { WRONG, WRONG_CODEWORDS, MENDS, BEFORE, AFTER }; /* of run->numbers */
typedef struct written {
    demo *run;
    const picture *wanted;
    const ht_images *images;
    const ht_set *train;              /* those that became "pixels": "x", "label" */
    const ht_tensor *weight[N_SHOWN]; /* the layer after so many steps; NULL: not yet */
    int64_t at[N_SHOWN];
} written;
/* report.html and message.png; after Ctrl-C what there is. */
void written_page(const written *w);
void written_say(const written *w);

#endif
