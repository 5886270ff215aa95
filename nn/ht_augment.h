/* SPDX-License-Identifier: MIT */
/* ht_augment.h: random distortions of a batch of images, included by ht_nn.h.
 *
 * x is (n, c, h, w) as ht_conv2d takes it, f32 or f64, and so is the result. Each image
 * has draws of its own, a function of the context's seed, `stream` (ht_stream("shift");
 * one for each call) and `step` (ht_step) alone: a replay and a reverse sweep see the
 * same. A strength s is a number from 0 up, or a variable of x's dtype, 0-d or (n), one
 * for each image: an outer variable too. s = 0 gives x, bit for bit where x is finite
 * (but that shift makes -0 to 0). A variable below 0 is not refused: draws are mirrored,
 * but for cutout, where it counts as 0.
 *
 * All are made of ops, differentiable by x and by s to any order for the draws that were
 * made (path-wise); at kinks the derivative is that towards a larger s, so that a
 * strength of 0 can leave it. What does not fit is HT_ERROR_SHAPE, _DTYPE or _ARGUMENT
 * with the caller's line. Cost: a pass or two over x; a shift as ht_translate. After
 * Cubuk et al. 2020 (RandAugment), made differentiable as by Hataya et al. 2020 (Faster
 * AutoAugment). Read next: nn/augment.c. */
#ifndef HT_AUGMENT_H
#define HT_AUGMENT_H

#include "ht_nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y[i,j] = x[i + dy, j + dx] in pixels, between them bilinear, outside 0: content moves
 * up and left (Jaderberg et al. 2015, of translations). dy and dx are numbers or
 * variables, 0-d or (n). Two products, 2 c h w (h + w) flops an image. A whole number of
 * pixels is an exact move; there the derivative is that away from 0, at 0 itself that
 * towards more. */
ht_var ht_translate_at(ht_var x, ht_var dy, ht_var dx, const char *site);
#define ht_translate(x, dy, dx) ht_translate_at(x, HT_VAR(dy), HT_VAR(dx), HT_HERE)
/* ht_translate by dy = s u and dx = s v pixels, u and v uniform in -1 .. 1. */
ht_var ht_random_shift_at(ht_var x, ht_var strength, uint64_t stream, ht_var step,
                          const char *site);
/* Left and right exchanged where u < probability, u uniform in 0 .. 1. A draw of yes or
 * no has no path-wise derivative, so that the probability is a C number, as dropout's
 * rate: a variable does not compile. */
ht_var ht_random_flip_at(ht_var x, double probability, uint64_t stream, ht_var step,
                         const char *site);
/* x (1 - b): b is a box s h high and s w wide whose centre is uniform in the image, so
 * that part of it may be outside (DeVries & Taylor 2017). Of a pixel that it covers in
 * part b is that part: edges are one pixel wide, and the area s^2 h w has derivatives.
 * Its slope at s = 0 is 0, which a descent does not leave: start above. From s = 2 all
 * is 0. */
ht_var ht_random_cutout_at(ht_var x, ht_var strength, uint64_t stream, ht_var step,
                           const char *site);
/* x + s u, u uniform in -1 .. 1, as in the next two: in units of x. */
ht_var ht_random_brightness_at(ht_var x, ht_var strength, uint64_t stream, ht_var step,
                               const char *site);
/* x + s u (x - m), m the mean of the image. */
ht_var ht_random_contrast_at(ht_var x, ht_var strength, uint64_t stream, ht_var step,
                             const char *site);
/* x + s u (x - m), m that of each pixel over its channels, its grey. */
ht_var ht_random_colour_at(ht_var x, ht_var strength, uint64_t stream, ht_var step,
                           const char *site);
#define ht_random_shift(x, strength, stream, step) \
    ht_random_shift_at(x, HT_VAR(strength), stream, step, HT_HERE)
#define ht_random_flip(x, probability, stream, step) \
    ht_random_flip_at(x, probability, stream, step, HT_HERE)
#define ht_random_cutout(x, strength, stream, step) \
    ht_random_cutout_at(x, HT_VAR(strength), stream, step, HT_HERE)
#define ht_random_brightness(x, strength, stream, step) \
    ht_random_brightness_at(x, HT_VAR(strength), stream, step, HT_HERE)
#define ht_random_contrast(x, strength, stream, step) \
    ht_random_contrast_at(x, HT_VAR(strength), stream, step, HT_HERE)
#define ht_random_colour(x, strength, stream, step) \
    ht_random_colour_at(x, HT_VAR(strength), stream, step, HT_HERE)
/* x (n, ...) and labels (n, ...), floats as ht_one_hot makes them, are read and replaced:
 * row i by row_i + (1 - a)(row_p(i) - row_i), a = 1 - s v/2, v uniform in 0 .. 1 and p a
 * permutation of the batch. s = 1 is mixup of Zhang et al. 2018 with their alpha = 1, of
 * which the larger of a and 1 - a is uniform in 1/2 .. 1. n^2 comparisons. */
void ht_mixup_at(ht_var *x, ht_var *labels, ht_var strength, uint64_t stream, ht_var step,
                 const char *site);
#define ht_mixup(x, labels, strength, stream, step) \
    ht_mixup_at(x, labels, HT_VAR(strength), stream, step, HT_HERE)

#ifdef __cplusplus
}
#endif
#endif
