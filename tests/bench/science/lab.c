/* SPDX-License-Identifier: MIT */
/* lab.c: digits, networks and means. Read next: trial.h. */
#include "lab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "science.h"
#include "stats.h"

const char *const lab_models[] = {"softmax", "MLP, GELU", "MLP, ReLU"};

enum { SIDE = 14, ORDER = 77 };

/* Data. */

static void shrink(const ht_tensor *pixels, int64_t image, ht_tensor *x, int64_t row)
{
    for (int r = 0; r < SIDE; r++)
        for (int c = 0; c < SIDE; c++) {
            int64_t at = image * 4 * LAB_PIXELS + 4 * SIDE * r + 2 * c;
            double sum = ht_tensor_get(pixels, at) + ht_tensor_get(pixels, at + 1) +
                         ht_tensor_get(pixels, at + 2 * SIDE) +
                         ht_tensor_get(pixels, at + 2 * SIDE + 1);
            ht_tensor_set(x, row * LAB_PIXELS + r * SIDE + c, (float)(sum / 1020));
        }
}

static ht_set *images_new(ht_context *ctx, ht_dtype dtype, int64_t n)
{
    ht_set *set = ht_set_new(ctx);
    ht_set_add(set, "x", dtype, HT_SHAPE(n, LAB_PIXELS));
    ht_set_add(set, "label", HT_I32, HT_SHAPE(n));
    ht_set_add(set, "row", HT_I32, HT_SHAPE(n));
    return set;
}

ht_set *lab_images(ht_context *ctx, ht_dtype dtype, int64_t from, int64_t n)
{
    char path[4096];
    const char *data = getenv("HYPERTAPE_DATA");
    snprintf(path, sizeof path, "%s/mnist", data ? data : BENCH_DATA);
    ht_images all;
    if (ht_mnist_read(ctx, path, false, &all) != HT_OK) return NULL;
    int64_t count = ht_tensor_count(all.labels);
    int64_t *order = malloc((size_t)count * sizeof *order);
    ht_set *set = from + n <= count && order ? images_new(ctx, dtype, n) : NULL;
    if (set) {
        ht_random_permutation(ht_context_seed(ctx), ORDER, count, order);
        for (int64_t i = 0; i < n; i++) {
            int64_t image = order[from + i];
            shrink(all.pixels, image, ht_set_at(set, 0), i);
            ht_tensor_set(ht_set_at(set, 1), i, ht_tensor_get(all.labels, image));
            ht_tensor_set(ht_set_at(set, 2), i, (double)i);
        }
    }
    free(order);
    ht_images_free(&all);
    return set;
}

ht_set *lab_room(const ht_set *images, int64_t rows)
{
    return images_new(ht_set_context(images), ht_tensor_dtype(ht_set_at(images, 0)),
                      rows);
}

enum { MOST_BATCH = 1024 };

ht_status lab_fill(uint64_t step, ht_set *room, const lab_batches *batches)
{
    int64_t rows[MOST_BATCH];
    int64_t n = ht_tensor_count(ht_set_at(batches->from, 1));
    ht_batch_order(batches->seed, step, n, batches->rows, rows);
    for (int i = 0; i < ht_set_count(room); i++) {
        ht_status status = ht_rows(ht_set_at(room, i), ht_set_at(batches->from, i), rows,
                                   0, batches->rows);
        if (status != HT_OK) return status;
    }
    return HT_OK;
}

/* Networks. */

ht_set *lab_theta(ht_context *ctx, lab_model model, ht_dtype dtype)
{
    ht_set *theta = ht_set_new(ctx);
    if (model == LAB_SOFTMAX) {
        ht_set_add(theta, "out.weight", HT_F32, HT_SHAPE(LAB_PIXELS, LAB_CLASSES));
        ht_set_add(theta, "out.bias", HT_F32, HT_SHAPE(LAB_CLASSES));
    } else {
        ht_linear_init(theta, "hidden", HT_F32, LAB_PIXELS, LAB_HIDDEN);
        ht_linear_init(theta, "out", HT_F32, LAB_HIDDEN, LAB_CLASSES);
    }
    if (dtype == HT_F32) return theta;
    ht_set *wide = ht_set_clone(theta, dtype);
    ht_set_copy(wide, theta);
    ht_set_free(theta);
    return wide;
}

ht_var lab_logits(lab_model model, const ht_vars *theta, ht_var x)
{
    if (model == LAB_SOFTMAX) return ht_linear(x, theta, "out");
    ht_var hidden = ht_linear(x, theta, "hidden");
    hidden = model == LAB_GELU ? ht_gelu(hidden) : ht_relu(hidden);
    return ht_linear(hidden, theta, "out");
}

ht_var lab_losses(lab_model model, const ht_vars *theta, const ht_vars *batch)
{
    return ht_cross_entropy(lab_logits(model, theta, ht_get(batch, "x")),
                            ht_get(batch, "label"));
}

/* Sets as vectors. */

typedef struct sums {
    double aa, ab, bb, apart, same, any;
} sums;

static sums sums_of(const ht_set *a, const ht_set *b)
{
    sums s = {0};
    for (int i = 0; i < ht_set_count(a); i++) {
        const ht_tensor *x = ht_set_at(a, i), *y = ht_set_at(b, i);
        for (int64_t k = 0; k < ht_tensor_count(x); k++) {
            double p = ht_tensor_get(x, k), q = ht_tensor_get(y, k);
            s.aa += p * p;
            s.ab += p * q;
            s.bb += q * q;
            s.apart += (p - q) * (p - q);
            s.any += q != 0;
            s.same += (p > 0 && q > 0) || (p < 0 && q < 0);
        }
    }
    return s;
}

double lab_norm(const ht_set *a)
{
    return sqrt(sums_of(a, a).aa);
}

double lab_cosine(const ht_set *a, const ht_set *b)
{
    sums s = sums_of(a, b);
    return s.ab / sqrt(s.aa) / sqrt(s.bb);
}

double lab_apart(const ht_set *a, const ht_set *b)
{
    return sqrt(sums_of(a, b).apart);
}

double lab_signs(const ht_set *a, const ht_set *b)
{
    sums s = sums_of(a, b);
    return s.same / s.any;
}

void lab_random_signs(ht_tensor *x, uint64_t stream)
{
    uint64_t seed = ht_context_seed(ht_tensor_context(x));
    for (int64_t k = 0; k < ht_tensor_count(x); k++)
        ht_tensor_set(x, k, ht_random_bits(seed, stream, (uint64_t)k) & 1 ? 1 : -1);
}

/* Means. */

void lab_cell(const char *format, int n, const double *x)
{
    double finite[SCIENCE_MOST];
    char text[64];
    int have = 0;
    for (int i = 0; i < n; i++)
        if (isfinite(x[i])) finite[have++] = x[i];
    if (!have) {
        printf(" none |");
        return;
    }
    estimate mean = stats_mean(have, finite);
    snprintf(text, sizeof text, format, mean.is);
    printf(" %s", text);
    if (have > 1) {
        snprintf(text, sizeof text, format, mean.high - mean.is);
        printf(" ± %s", text);
    }
    if (have < n) printf(" (%d of %d)", have, n);
    printf(" |");
}

double lab_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

bool lab_good(const ht_context *ctx, const char *what)
{
    if (ht_context_status(ctx) == HT_OK) return true;
    fprintf(stderr, "science: %s: %s\n", what, ht_context_message(ctx));
    return false;
}
