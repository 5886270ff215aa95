/* SPDX-License-Identifier: MIT */
/* 12_wrong_labels.c: which labels of these digits are wrong?
 *
 * Of 300 images x_i of digits 90 were given a label y_i that is not theirs, and nobody
 * says which. 300 others, for validation, are labelled rightly. Give each image a weight,
 * w_i = 1 at first, in a training of theta by T steps of descent from 0,
 *
 *     L(theta, w) = 1/n sum_i w_i CE_i(theta)       CE_i = -log of the probability that
 *     theta_t+1 = theta_t - rate dL/dtheta          softmax(x_i W + b) gives label y_i
 *
 * and ask how well theta_T does on the validation images:
 *
 *     w --> theta_1 --> theta_2 --> ... --> theta_T --> F(w) = mean CE of validation
 *     dF/dw <-------- back through all steps (lesson 10)
 *
 * dF/dw_i > 0: to learn more from image i makes validation worse. To see why, take T = 1:
 *
 *     dF/dw_i = -rate/n g_i'dF/dtheta       g_i = dCE_i/dtheta, ' for the inner product
 *
 * is positive where a step down CE_i leads up F: where the image pulls theta away from
 * what right labels want. So the images with the largest dF/dw_i are the suspects: 74 of
 * the first 90 are wrong. Descent in w, w_i <- min(1, max(0, w_i - step dF/dw_i)), lowers
 * F, as the wrong ones spoil theta less, but finds no more of them: 73 to 75. Yet it says
 * how many, which the order does not: those with w_i < 1/2 are called wrong.
 * The truth serves for their score alone: precision P, the part of those called wrong
 * that are; recall R, the part of those that are that is called so; and
 * F1 = 2 P R / (P + R), high only if both are (the first 90: P = R = F1 = 0.822). */
#include "lesson.h"

enum { N = 300, WRONG = 90, PIXELS = 784, CLASSES = 10, STEPS = 60, OUTER_STEPS = 8 };

static bool is_wrong[N];    /* what nobody says */
static const double *slope; /* dF/dw, of the last run */

static ht_var losses(const ht_vars *theta, const ht_vars *images)
{
    ht_var logits = ht_linear(ht_get(images, "x"), theta, "digit");
    return ht_cross_entropy(logits, ht_get(images, "label")); /* one a row */
}

static ht_var inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *images,
                    void *user)
{
    return ht_mean(ht_mul(ht_get(eta, "weight"), losses(theta, images)));
}

static ht_var outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *images,
                    void *user)
{
    return ht_mean(losses(theta, images));
}

static void read_digits(ht_set *to, int64_t first)
{
    ht_images images;
    ht_tensor *x = ht_set_add(to, "x", HT_F64, HT_SHAPE(N, PIXELS));
    ht_mnist_read(ht_set_context(to), DIGITS, false, &images);
    ht_images_rows(&images, NULL, first, N, x,
                   ht_set_add(to, "label", HT_I32, HT_SHAPE(N)));
    ht_images_free(&images);
}

/* WRONG of the labels, chosen at random, become one of the nine others. */
static void corrupt(ht_tensor *label)
{
    int64_t order[N];
    ht_random_permutation(1, 2, N, order);
    for (int k = 0; k < WRONG; k++) {
        int other = 1 + (int)(9 * ht_random_uniform(1, 3, (uint64_t)k)); /* 1 .. 9 */
        int right = (int)ht_tensor_get(label, order[k]);
        ht_tensor_set(label, order[k], (right + other) % CLASSES);
        is_wrong[order[k]] = true;
    }
}

static int steepest_first(const void *a, const void *b)
{
    double x = slope[*(const int *)a], y = slope[*(const int *)b];
    return (x < y) - (x > y);
}

/* One step of descent in w, after a look at who is suspected. */
static void outer_step(ht_tensor *weight, double F)
{
    int order[N], most = 0, least = 0;
    double size = 0;
    for (int i = 0; i < N; i++) order[i] = i, size += fabs(slope[i]) / N;
    qsort(order, N, sizeof *order, steepest_first);
    for (int k = 0; k < WRONG; k++)
        most += is_wrong[order[k]], least += is_wrong[order[N - 1 - k]];
    printf("%8.4f  %27d  %29d\n", F, most, least);
    for (int i = 0; i < N; i++) /* w moves by 0.2 on average */
        ht_tensor_set(weight, i,
                      fmin(1, fmax(0, ht_tensor_get(weight, i) - 0.2 * slope[i] / size)));
}

static void score(const ht_tensor *weight)
{
    double called = 0, rightly = 0;
    for (int i = 0; i < N; i++)
        if (ht_tensor_get(weight, i) < 0.5) called++, rightly += is_wrong[i];
    double P = rightly / called, R = rightly / WRONG;
    printf("called wrong: %.0f, rightly %.0f: precision %.3f, recall %.3f, F1 %.3f\n",
           called, rightly, P, R, 2 * P * R / (P + R));
}

static double by_difference(ht_bilevel *training, ht_tensor *weight, int i)
{
    double F[2], h = 1e-4;
    for (int side = 0; side < 2; side++) {
        ht_tensor_set(weight, i, side ? 1 + h : 1 - h);
        F[side] = ht_bilevel_evaluate(training, 0).outer;
    }
    ht_tensor_set(weight, i, 1);
    return (F[1] - F[0]) / (2 * h);
}

int main(int argc, char **argv)
{
    const char *page = lesson_page(argc, argv);
    ht_context *ctx = lesson_context();
    ht_set *set[4];
    for (int k = 0; k < 4; k++) set[k] = ht_set_new(ctx);
    for (int k = 0; k < 2; k++) read_digits(set[k], k * N);
    corrupt(ht_set_tensor(set[0], "label"));
    ht_set_add(set[2], "digit.weight", HT_F64, HT_SHAPE(PIXELS, CLASSES));
    ht_set_add(set[2], "digit.bias", HT_F64, HT_SHAPE(CLASSES));
    ht_tensor *weight = ht_set_add(set[3], "weight", HT_F64, HT_SHAPE(N));
    ht_tensor_fill(weight, 1);
    ht_bilevel_problem problem = {inner, outer, .theta = set[2], .eta = set[3]};
    problem.inner_data = set[0], problem.outer_data = set[1];
    problem.update = HT_SGD(0.1), problem.steps = STEPS;
    ht_bilevel *training = ht_bilevel_new(ctx, &problem, NULL);
    double difference = by_difference(training, weight, 0);
    for (int k = 0; k < OUTER_STEPS; k++) {
        ht_bilevel_result r = ht_bilevel_run(training, 0);
        slope = ht_tensor_data(ht_set_at(r.gradient, 0));
        if (!k)
            printf(
                "dF/dw_0 = %.6f, by differences %.6f\n"
                "       F  wrong of 90 of largest dF/dw  of 90 of least (by chance 27)\n",
                slope[0], difference);
        outer_step(weight, r.outer);
    }
    score(weight);
    if (page) ht_bilevel_write_html(training, page);
    ht_bilevel_free(training);
    for (int k = 0; k < 4; k++) ht_set_free(set[k]);
    ht_context_free(ctx);
}
