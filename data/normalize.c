/* SPDX-License-Identifier: MIT */
/* normalize.c: columns or channels to mean 0 and deviation 1, by what those of a training
 * set have. Read next: csv.c, image.c. */
#include "data_internal.h"

#include <math.h>
#include <string.h>

/* Sizes of x (n, columns, ...): an element's column is i / inner % columns. */
typedef struct columns {
    int64_t rows, columns, inner;
} columns;

static ht_status columns_of(const ht_tensor *x, const char *who, columns *c)
{
    ht_shape shape = ht_tensor_shape(x);
    ht_dtype dtype = ht_tensor_dtype(x);
    char text[HT_SHAPE_TEXT];
    bool floats = dtype == HT_F32 || dtype == HT_F64;
    if (!floats || shape.rank < 2 || ht_tensor_count(x) == 0)
        return ht_context_fail(
            ht_tensor_context(x), floats ? HT_ERROR_SHAPE : HT_ERROR_DTYPE, NULL,
            "%s: needs x (n, columns, ...) of f32 or f64 with elements, got %s %s\n"
            "  hint: ht_images_rows, ht_csv_read",
            who, ht_dtype_name(dtype), ht_shape_text(shape, text));
    int64_t rows = shape.dim[0], n = shape.dim[1];
    *c = (columns){rows, n, ht_tensor_count(x) / rows / n};
    return HT_OK;
}

static double element(const void *data, bool f32, int64_t i)
{
    return f32 ? (double)((const float *)data)[i] : ((const double *)data)[i];
}

/* The sum over column k of (x - centre)^power. */
static double column_sum(const ht_tensor *x, const columns *c, int64_t k, double centre,
                         int power)
{
    const void *data = ht_tensor_data(x);
    bool f32 = ht_tensor_dtype(x) == HT_F32;
    double sum = 0;
    for (int64_t row = 0; row < c->rows; row++)
        for (int64_t i = 0; i < c->inner; i++) {
            double d = element(data, f32, (row * c->columns + k) * c->inner + i) - centre;
            sum += power == 1 ? d : d * d;
        }
    return sum;
}

static ht_status column_fit(const ht_tensor *x, const columns *c, int64_t k, ht_set *to)
{
    double n = (double)(c->rows * c->inner);
    double mean = column_sum(x, c, k, 0, 1) / n;
    /* What rounding left of the mean: of equal numbers they are it, exactly. */
    mean += column_sum(x, c, k, mean, 1) / n;
    double deviation = sqrt(column_sum(x, c, k, mean, 2) / n);
    ht_tensor_set(ht_set_at(to, 0), k, mean);
    /* Equal numbers have no scale of their own. */
    ht_tensor_set(ht_set_at(to, 1), k, deviation > 1e-12 * fabs(mean) ? deviation : 1);
    if (isfinite(deviation) && isfinite(ht_tensor_get(ht_set_at(to, 1), k))) return HT_OK;
    return ht_context_fail(ht_tensor_context(x), HT_ERROR_ARGUMENT, NULL,
                           "ht_normalizer_new: column %lld has a NaN, or numbers too "
                           "large for their squares\n  hint: ht_csv_options.ignore",
                           (long long)k);
}

ht_set *ht_normalizer_new(const ht_tensor *x)
{
    HT_ASSERT(x, "ht_normalizer_new: x is NULL");
    columns c;
    if (columns_of(x, "ht_normalizer_new", &c)) return NULL;
    ht_set *set = ht_set_new(ht_tensor_context(x));
    if (!set) return NULL;
    bool good = ht_set_add(set, "mean", HT_F64, HT_SHAPE(c.columns)) &&
                ht_set_add(set, "deviation", HT_F64, HT_SHAPE(c.columns));
    for (int64_t k = 0; good && k < c.columns; k++)
        good = column_fit(x, &c, k, set) == HT_OK;
    if (good) return set;
    ht_set_free(set);
    return NULL;
}

static bool normalizer_fits(const ht_set *by, int64_t n)
{
    if (ht_set_count(by) != 2) return false;
    for (int i = 0; i < 2; i++) {
        const ht_tensor *t = ht_set_at(by, i);
        if (strcmp(ht_set_name(by, i), i ? "deviation" : "mean")) return false;
        if (!ht_shape_equal(ht_tensor_shape(t), HT_SHAPE(n))) return false;
        if (ht_tensor_dtype(t) != HT_F64) return false;
    }
    return true;
}

static void columns_scale(ht_tensor *x, const columns *c, const double *mean,
                          const double *deviation)
{
    void *data = ht_tensor_data(x);
    bool f32 = ht_tensor_dtype(x) == HT_F32;
    for (int64_t row = 0; row < c->rows * c->columns; row++) {
        int64_t k = row % c->columns;
        for (int64_t i = row * c->inner; i < (row + 1) * c->inner; i++) {
            double y = (element(data, f32, i) - mean[k]) / deviation[k];
            if (f32)
                ((float *)data)[i] = (float)y;
            else
                ((double *)data)[i] = y;
        }
    }
}

ht_status ht_normalize(ht_tensor *x, const ht_set *by)
{
    HT_ASSERT(x && by, "ht_normalize: x %p, by %p", (void *)x, (const void *)by);
    columns c;
    ht_status status = columns_of(x, "ht_normalize", &c);
    if (status) return status;
    if (!normalizer_fits(by, c.columns))
        return ht_context_fail(ht_tensor_context(x), HT_ERROR_SHAPE, NULL,
                               "ht_normalize: needs mean and deviation f64 (%lld), one "
                               "for each column of x\n  hint: ht_normalizer_new of "
                               "training rows with the same columns",
                               (long long)c.columns);
    hti_tensor_write(x, "ht_normalize", NULL);
    columns_scale(x, &c, ht_tensor_data(ht_set_at(by, 0)),
                  ht_tensor_data(ht_set_at(by, 1)));
    return HT_OK;
}
