/* SPDX-License-Identifier: MIT */
/* test_tensor_attention.c: attention by tiles and its gradient against plain loops in f64
 * over random views, on every instruction set; the same bits for any number of threads.
 * Read next: tensor/attention.c. */
#include "test_arrays.h"

enum { CASES = 150, MOST = 700 };

/* Numbers in (-1, 1): of large ones, scores of hundreds, f32 keeps few digits. */
static void tame(struct test_random *random, const ht_array *a)
{
    for (int64_t i = 0, n = ht_shape_count(a->shape); i < n; i++)
        test_put(a, i, 2 * ht_random_uniform(random->seed, 3, random->next++) - 1);
}

/* One call: q, k, v, g and what both kernels give. */
typedef struct attention_case {
    ht_dtype dtype;
    int64_t batch, heads, t, s, d, e;
    double scale;
    bool causal;
    struct test_array in[4], y, slopes;
} attention_case;

static ht_shape operand(const attention_case *c, int64_t rows, int64_t width)
{
    return c->batch < 0 ? HT_SHAPE(rows, c->heads, width)
                        : HT_SHAPE(c->batch, rows, c->heads, width);
}

static attention_case case_new(struct test_random *random, bool large)
{
    attention_case c = {.dtype = test_below(random, 2) ? HT_F32 : HT_F64};
    struct test_random none = {1, 0};
    c.batch = test_below(random, 4) - 1;
    c.heads = 1 + test_below(random, 3);
    c.t = test_below(random, large ? MOST : 40);
    c.s = 1 + test_below(random, large ? 3 * MOST : 70);
    c.d = 1 + test_below(random, 30);
    c.e = test_below(random, 30);
    c.scale = 0.1 + 0.01 * (double)test_below(random, 50);
    c.causal = test_below(random, 2) == 0;
    const int64_t rows[] = {c.t, c.s, c.s, c.t}, width[] = {c.d, c.d, c.e, c.e};
    int64_t n = 0;
    for (int i = 0; i < 4; i++) {
        ht_shape shape = operand(&c, rows[i], width[i]);
        c.in[i] = test_view(random, c.dtype, shape, test_below(random, 3) == 0);
        tame(random, &c.in[i].array);
        if (i < 3) n += ht_shape_count(shape);
    }
    c.y = test_dense(&none, c.dtype, operand(&c, c.t, c.e));
    c.slopes = test_dense(&none, c.dtype, HT_SHAPE(n));
    return c;
}

static void case_free(attention_case *c)
{
    for (int i = 0; i < 4; i++) test_array_free(&c->in[i]);
    test_array_free(&c->y);
    test_array_free(&c->slopes);
}

static void case_run(ht_context *ctx, const attention_case *c)
{
    const ht_array *in[4];
    for (int i = 0; i < 4; i++) in[i] = &c->in[i].array;
    for (int gradient = 0; gradient < 2; gradient++) {
        size_t bytes =
            hti_attention_workspace(ctx, c->dtype, in[0]->shape, in[1]->shape, gradient);
        void *workspace = malloc(bytes + 1);
        assert_non_null(workspace);
        if (gradient)
            hti_run_attention_vjp(ctx, c->slopes.array, in, c->scale, c->causal,
                                  workspace);
        else
            hti_run_attention(ctx, c->y.array, in, c->scale, c->causal, workspace);
        free(workspace);
    }
}

/* Operand i at (row, column) of a head. */
static double at(const attention_case *c, int i, int64_t unit, int64_t row, int64_t col)
{
    const int64_t rows[] = {c->t, c->s, c->s, c->t}, width[] = {c->d, c->d, c->e, c->e};
    int64_t place = unit / c->heads * rows[i] + row;
    return test_get(&c->in[i].array,
                    (place * c->heads + unit % c->heads) * width[i] + col);
}

static double dot(const attention_case *c, int64_t unit, int i, int64_t row, int k,
                  int64_t other, int64_t n)
{
    double sum = 0;
    for (int64_t m = 0; m < n; m++)
        sum += at(c, i, unit, row, m) * at(c, k, unit, other, m);
    return sum;
}

/* Row `row` of a head: weights, and the scores' slopes. */
static void exact_row(const attention_case *c, int64_t unit, int64_t row, double *weight,
                      double *slope)
{
    int64_t n = c->causal && row + 1 < c->s ? row + 1 : c->s;
    double top = -INFINITY, total = 0, mean = 0;
    for (int64_t j = 0; j < c->s; j++) {
        weight[j] = j < n ? c->scale * dot(c, unit, 0, row, 1, j, c->d) : -INFINITY;
        top = fmax(top, weight[j]);
    }
    for (int64_t j = 0; j < c->s; j++) total += weight[j] = exp(weight[j] - top);
    for (int64_t j = 0; j < c->s; j++) {
        weight[j] /= total;
        slope[j] = dot(c, unit, 3, row, 2, j, c->e);
        mean += weight[j] * slope[j];
    }
    for (int64_t j = 0; j < c->s; j++)
        slope[j] = c->scale * weight[j] * (slope[j] - mean);
}

static void check_near(const attention_case *c, const char *what, double got, double want)
{
    double tolerance = c->dtype == HT_F32 ? 1e-5 : 1e-13;
    if (!(fabs(got - want) <= tolerance * (1 + fabs(want)) * (1 + (double)c->t / 40)))
        fail_msg("%s: t %lld, s %lld, d %lld, e %lld, %s: got %.17g, want %.17g", what,
                 (long long)c->t, (long long)c->s, (long long)c->d, (long long)c->e,
                 ht_dtype_name(c->dtype), got, want);
}

/* y, dq by rows; dk and dv summed up. */
static void check_unit(const attention_case *c, int64_t unit, double *weight,
                       double *slope, double *dk, double *dv)
{
    const ht_array *all = &c->slopes.array;
    int64_t batch = unit / c->heads, head = unit % c->heads;
    int64_t keys = ht_shape_count(c->in[0].array.shape),
            values = keys + ht_shape_count(c->in[1].array.shape);
#define PLACE(rows, row, width, col) \
    (((batch * (rows) + (row)) * c->heads + head) * (width) + (col))
    for (int64_t k = 0; k < c->s * c->d; k++) dk[k] = 0;
    for (int64_t k = 0; k < c->s * c->e; k++) dv[k] = 0;
    for (int64_t i = 0; i < c->t; i++) {
        exact_row(c, unit, i, weight, slope);
        for (int64_t m = 0; m < c->e; m++) {
            double y = 0;
            for (int64_t j = 0; j < c->s; j++) y += weight[j] * at(c, 2, unit, j, m);
            for (int64_t j = 0; j < c->s; j++)
                dv[j * c->e + m] += weight[j] * at(c, 3, unit, i, m);
            check_near(c, "y", test_get(&c->y.array, PLACE(c->t, i, c->e, m)), y);
        }
        for (int64_t m = 0; m < c->d; m++) {
            double dq = 0;
            for (int64_t j = 0; j < c->s; j++) dq += slope[j] * at(c, 1, unit, j, m);
            for (int64_t j = 0; j < c->s; j++)
                dk[j * c->d + m] += slope[j] * at(c, 0, unit, i, m);
            check_near(c, "dq", test_get(all, PLACE(c->t, i, c->d, m)), dq);
        }
    }
    for (int64_t j = 0; j < c->s; j++) {
        for (int64_t m = 0; m < c->d; m++)
            check_near(c, "dk", test_get(all, keys + PLACE(c->s, j, c->d, m)),
                       dk[j * c->d + m]);
        for (int64_t m = 0; m < c->e; m++)
            check_near(c, "dv", test_get(all, values + PLACE(c->s, j, c->e, m)),
                       dv[j * c->e + m]);
    }
}

static void check_case(const attention_case *c)
{
    double *room = calloc((size_t)(c->s * (2 + c->d + c->e)), sizeof *room);
    assert_non_null(room);
    int64_t units = c->heads * (c->batch < 0 ? 1 : c->batch);
    for (int64_t unit = 0; unit < units; unit++)
        check_unit(c, unit, room, room + c->s, room + 2 * c->s, room + c->s * (2 + c->d));
    free(room);
}

static void attention_of_random_views_is_the_formula(void **state)
{
    (void)state;
    struct test_random random = {test_seed(), 0};
    ht_context *ctx = test_context(1);
    for (int k = 0; k < CASES; k++) {
        attention_case c = case_new(&random, false);
        for (int isa = 0; hti_kernels_at(isa); isa++) {
            ctx->kernels = hti_kernels_at(isa);
            case_run(ctx, &c);
            check_case(&c);
        }
        case_free(&c);
    }
    ht_context_free(ctx);
}

/* Scores that do not fit a tile, and rows longer than a block of sums. */
static void attention_of_many_tiles_is_the_formula(void **state)
{
    (void)state;
    struct test_random random = {test_seed(), 1};
    ht_context *ctx = test_context(1);
    for (int k = 0; k < 4; k++) {
        attention_case c = case_new(&random, true);
        case_run(ctx, &c);
        check_case(&c);
        case_free(&c);
    }
    ht_context_free(ctx);
}

static void attention_on_any_threads_has_the_same_bits(void **state)
{
    (void)state;
    struct test_random random = {test_seed(), 2};
    ht_context *one = test_context(1), *more = test_context(3);
    for (int k = 0; k < 6; k++) {
        struct test_random same = random;
        attention_case a = case_new(&random, true), b = case_new(&same, true);
        case_run(one, &a);
        case_run(more, &b);
        test_same_bits(&a.y.array, &b.y.array, "y on three threads");
        test_same_bits(&a.slopes.array, &b.slopes.array, "slopes on three threads");
        case_free(&a);
        case_free(&b);
    }
    ht_context_free(one);
    ht_context_free(more);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_of_random_views_is_the_formula),
        cmocka_unit_test(attention_of_many_tiles_is_the_formula),
        cmocka_unit_test(attention_on_any_threads_has_the_same_bits),
    };
    return TEST_MAIN(tests);
}
