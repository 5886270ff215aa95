/* SPDX-License-Identifier: MIT */
/* test_tensor_attention.c: attention by tiles, its gradient, and the tangents of both
 * against plain loops in f64 over random views, on every instruction set; the same bits
 * for any number of threads. Read next: tensor/attention.c. */
#include "test_arrays.h"

enum { CASES = 150, MOST = 700 };

/* Numbers in (-1, 1): of large ones, scores of hundreds, f32 keeps few digits. */
static void tame(struct test_random *random, const ht_array *a)
{
    for (int64_t i = 0, n = ht_shape_count(a->shape); i < n; i++)
        test_put(a, i, 2 * ht_random_uniform(random->seed, 3, random->next++) - 1);
}

enum { Q, K, V, G, OPERANDS };

/* The calls on q, k, v, g, and their tangents after those; out: y, its tangent, the
 * gradient, its tangent. */
typedef struct attention_case {
    ht_dtype dtype;
    int64_t batch, heads, t, s, d, e;
    double scale;
    bool causal;
    struct test_array in[2 * OPERANDS], out[4];
} attention_case;

static int64_t rows_of(const attention_case *c, int i)
{
    return i == Q || i == G ? c->t : c->s;
}

static int64_t width_of(const attention_case *c, int i)
{
    return i == Q || i == K ? c->d : c->e;
}

static ht_shape operand(const attention_case *c, int i)
{
    return c->batch < 0 ? HT_SHAPE(rows_of(c, i), c->heads, width_of(c, i))
                        : HT_SHAPE(c->batch, rows_of(c, i), c->heads, width_of(c, i));
}

/* A tangent is now and then one 0 seen everywhere, and so left out. */
static struct test_array case_input(struct test_random *random, const attention_case *c,
                                    int i)
{
    ht_shape shape = operand(c, i % OPERANDS);
    if (i >= OPERANDS && test_below(random, 4) == 0) {
        struct test_array zero = test_dense(random, c->dtype, HT_SHAPE(1));
        test_put(&zero.array, 0, 0);
        zero.array = (ht_array){zero.array.data, c->dtype, shape, {0}};
        return zero;
    }
    struct test_array x = test_view(random, c->dtype, shape, test_below(random, 3) == 0);
    tame(random, &x.array);
    return x;
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
    int64_t n = 0;
    for (int i = 0; i < 2 * OPERANDS; i++) c.in[i] = case_input(random, &c, i);
    for (int i = Q; i <= V; i++) n += ht_shape_count(operand(&c, i));
    for (int i = 0; i < 4; i++)
        c.out[i] = test_dense(&none, c.dtype, i < 2 ? operand(&c, G) : HT_SHAPE(n));
    return c;
}

static void case_free(attention_case *c)
{
    for (int i = 0; i < 2 * OPERANDS; i++) test_array_free(&c->in[i]);
    for (int i = 0; i < 4; i++) test_array_free(&c->out[i]);
}

static void case_run(ht_context *ctx, const attention_case *c)
{
    for (int k = 0; k < 4; k++) {
        hti_attention what = {c->scale, c->causal, k >= 2, k % 2 == 1};
        const ht_array *in[2 * OPERANDS];
        int n = what.gradient ? OPERANDS : G;
        for (int i = 0; i < n; i++) {
            in[i] = &c->in[i].array;
            in[n + i] = &c->in[OPERANDS + i].array;
        }
        size_t bytes = hti_kernel(ctx, attention_workspace, c->dtype, in[Q]->shape,
                                  in[K]->shape, &what);
        void *workspace = malloc(bytes + 1);
        assert_non_null(workspace);
        hti_kernel(ctx, attention, c->out[k].array, in, &what, workspace);
        free(workspace);
    }
}

/* The formula, by dual numbers: a value and its tangent. */
typedef struct dual {
    double x, t;
} dual;

static dual plus(dual a, dual b)
{
    return (dual){a.x + b.x, a.t + b.t};
}

static dual times(dual a, dual b)
{
    return (dual){a.x * b.x, a.t * b.x + a.x * b.t};
}

static dual minus(dual a, dual b)
{
    return (dual){a.x - b.x, a.t - b.t};
}

/* Operand i at (row, column) of a head. */
static dual at(const attention_case *c, int i, int64_t unit, int64_t row, int64_t col)
{
    int64_t place = unit / c->heads * rows_of(c, i) + row;
    place = (place * c->heads + unit % c->heads) * width_of(c, i) + col;
    return (dual){test_get(&c->in[i].array, place),
                  test_get(&c->in[OPERANDS + i].array, place)};
}

static dual dot(const attention_case *c, int64_t unit, int i, int64_t row, int k,
                int64_t other)
{
    dual sum = {0, 0};
    for (int64_t m = 0; m < width_of(c, i); m++)
        sum = plus(sum, times(at(c, i, unit, row, m), at(c, k, unit, other, m)));
    return sum;
}

/* Row `row` of a head: weights, and the scores' slopes. */
static void exact_row(const attention_case *c, int64_t unit, int64_t row, dual *weight,
                      dual *slope)
{
    int64_t n = c->causal && row + 1 < c->s ? row + 1 : c->s;
    dual total = {0, 0}, mean = {0, 0}, scale = {c->scale, 0};
    double top = -INFINITY;
    for (int64_t j = 0; j < n; j++) {
        weight[j] = times(scale, dot(c, unit, Q, row, K, j));
        top = fmax(top, weight[j].x);
    }
    for (int64_t j = 0; j < c->s; j++) {
        double power = j < n ? exp(weight[j].x - top) : 0;
        weight[j] = (dual){power, j < n ? power * weight[j].t : 0};
        total = plus(total, weight[j]);
    }
    dual inverse = {1 / total.x, -total.t / (total.x * total.x)};
    for (int64_t j = 0; j < c->s; j++) {
        weight[j] = times(weight[j], inverse);
        slope[j] = dot(c, unit, G, row, V, j);
        mean = plus(mean, times(weight[j], slope[j]));
    }
    for (int64_t j = 0; j < c->s; j++)
        slope[j] = times(scale, times(weight[j], minus(slope[j], mean)));
}

static void check_near(const attention_case *c, const char *what, double got, double want)
{
    double tolerance = c->dtype == HT_F32 ? 1e-5 : 1e-13;
    if (!(fabs(got - want) <= tolerance * (1 + fabs(want)) * (1 + (double)c->t / 40)))
        fail_msg("%s: t %lld, s %lld, d %lld, e %lld, %s: got %.17g, want %.17g", what,
                 (long long)c->t, (long long)c->s, (long long)c->d, (long long)c->e,
                 ht_dtype_name(c->dtype), got, want);
}

/* What a call and the next, of its tangent, gave for (row, column) of a head of what is
 * like operand i, which stands at `from`. */
static void check_at(const attention_case *c, const char *what, int call, int64_t from,
                     int i, int64_t unit, int64_t row, int64_t col, dual want)
{
    char tangent[16];
    int64_t place = unit / c->heads * rows_of(c, i) + row;
    place = from + (place * c->heads + unit % c->heads) * width_of(c, i) + col;
    snprintf(tangent, sizeof tangent, "%s's tangent", what);
    check_near(c, what, test_get(&c->out[call].array, place), want.x);
    check_near(c, tangent, test_get(&c->out[call + 1].array, place), want.t);
}

/* y, dq by rows; dk and dv, which begin as zeros, summed up. */
static void check_unit(const attention_case *c, int64_t unit, dual *weight, dual *slope,
                       dual *dk, dual *dv)
{
    int64_t keys = ht_shape_count(c->in[Q].array.shape),
            values = keys + ht_shape_count(c->in[K].array.shape);
    for (int64_t i = 0; i < c->t; i++) {
        exact_row(c, unit, i, weight, slope);
        for (int64_t m = 0; m < c->e; m++) {
            dual y = {0, 0}, *to = dv + m, g = at(c, G, unit, i, m);
            for (int64_t j = 0; j < c->s; j++, to += c->e) {
                y = plus(y, times(weight[j], at(c, V, unit, j, m)));
                *to = plus(*to, times(weight[j], g));
            }
            check_at(c, "y", 0, 0, G, unit, i, m, y);
        }
        for (int64_t m = 0; m < c->d; m++) {
            dual dq = {0, 0}, *to = dk + m, q = at(c, Q, unit, i, m);
            for (int64_t j = 0; j < c->s; j++, to += c->d) {
                dq = plus(dq, times(slope[j], at(c, K, unit, j, m)));
                *to = plus(*to, times(slope[j], q));
            }
            check_at(c, "dq", 2, 0, Q, unit, i, m, dq);
        }
    }
    for (int64_t j = 0; j < c->s; j++) {
        for (int64_t m = 0; m < c->d; m++)
            check_at(c, "dk", 2, keys, K, unit, j, m, dk[j * c->d + m]);
        for (int64_t m = 0; m < c->e; m++)
            check_at(c, "dv", 2, values, V, unit, j, m, dv[j * c->e + m]);
    }
}

static void check_case(const attention_case *c)
{
    int64_t units = c->heads * (c->batch < 0 ? 1 : c->batch);
    for (int64_t unit = 0; unit < units; unit++) {
        dual *room = calloc((size_t)(c->s * (2 + c->d + c->e)), sizeof *room);
        assert_non_null(room);
        check_unit(c, unit, room, room + c->s, room + 2 * c->s, room + c->s * (2 + c->d));
        free(room);
    }
}

static void attention_of_random_views_is_the_formula(void **state)
{
    (void)state;
    struct test_random random = {test_seed(), 0};
    ht_context *ctx = test_context(1);
    for (int k = 0; k < CASES; k++) {
        attention_case c = case_new(&random, false);
        for (int isa = HTI_REFERENCE; hti_context_use(ctx, isa); isa++) {
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
        for (int i = 0; i < 4; i++)
            test_same_bits(&a.out[i].array, &b.out[i].array, "three threads");
        case_free(&a);
        case_free(&b);
    }
    ht_context_free(one);
    ht_context_free(more);
}

/* NaN and infinity. What a query does not see must not reach it, nor it what it does not
 * see; nor may a query whose cotangent is 0 reach a gradient. */

typedef struct blot {
    int operand, call; /* of a case: its input, and what is looked at */
    int64_t row, loss; /* where; queries with a cotangent: 0 .. loss-1 */
    double value;
} blot;

/* Whether a number in that row may touch row `row` of what is like operand i. */
static bool blot_touches(const attention_case *c, const blot *b, int i, int64_t row)
{
    int from = b->operand % OPERANDS;
    bool key = from == K || from == V;
    int64_t r = b->row, last = (b->call < 2 ? c->t : b->loss) - 1;
    if (b->operand >= OPERANDS && b->call % 2 == 0) return false;
    if (b->call < 2) return key ? row >= r : from == Q && row == r;
    /* dv has no v in it, nor its tangent. */
    if (i == V && from == V) return false;
    if (key && r > last) return false;
    if (i == Q) return row <= last && (key ? row >= r : row == r);
    return key ? row <= last : row <= r && r <= last;
}

static void check_blot(const attention_case *c, const blot *b, const double *clean)
{
    static const char names[] = "qkvg";
    int64_t at = 0;
    for (int i = b->call < 2 ? G : Q; i <= (b->call < 2 ? G : V); i++)
        for (int64_t j = 0; j < ht_shape_count(operand(c, i)); j++, at++) {
            int64_t row = j / (width_of(c, i) * c->heads) % rows_of(c, i);
            double got = test_get(&c->out[b->call].array, at), want = clean[at];
            double tolerance = (c->dtype == HT_F32 ? 1e-4 : 1e-11) * (1 + fabs(want));
            bool touched =
                j / width_of(c, i) % c->heads == 0 && blot_touches(c, b, i, row);
            if (!touched && !(fabs(got - want) <= tolerance))
                fail_msg("%g in row %lld of %c%s, call %d, %s, t %lld, s %lld, loss of "
                         "%lld: row %lld like %c: got %.17g, want %.17g",
                         b->value, (long long)b->row, names[b->operand % OPERANDS],
                         b->operand < OPERANDS ? "" : "'s tangent", b->call,
                         ht_dtype_name(c->dtype), (long long)c->t, (long long)c->s,
                         (long long)b->loss, (long long)row, names[i], got, want);
            if (touched && b->call == 0 && isnan(b->value) && b->operand != V &&
                !isnan(got))
                fail_msg("NaN in %c: row %lld: got %.17g, want NaN", names[b->operand],
                         (long long)row, got);
        }
}

/* One head's `row` of operand i is the number. */
static void blot_set(const attention_case *c, const blot *b, double value)
{
    const ht_array *x = &c->in[b->operand].array;
    int i = b->operand % OPERANDS;
    test_put(x, b->row * c->heads * width_of(c, i), value);
}

static attention_case blot_case(struct test_random *random, blot *b)
{
    attention_case c = case_new(random, test_below(random, 8) == 0);
    c.causal = true;
    if (c.t > 300) c.t = 300;
    if (c.s > 400) c.s = 400;
    c.t += 1, c.e += 1, c.batch = -1, c.heads = 1 + test_below(random, 2);
    b->operand = (int)test_below(random, 2 * OPERANDS);
    b->row = test_below(random, rows_of(&c, b->operand % OPERANDS));
    b->loss = test_below(random, 2) ? c.t : test_below(random, c.t + 1);
    b->value = (double[]){(double)NAN, (double)INFINITY,
                          -(double)INFINITY}[test_below(random, 3)];
    int64_t n = 0;
    for (int i = 0; i < 4; i++) test_array_free(&c.out[i]);
    for (int i = 0; i < 2 * OPERANDS; i++) {
        test_array_free(&c.in[i]);
        c.in[i] = test_view(random, c.dtype, operand(&c, i % OPERANDS), false);
        tame(random, &c.in[i].array);
        int64_t count = ht_shape_count(c.in[i].array.shape);
        if (i <= V) n += count;
        for (int64_t j = b->loss * c.heads * c.e; i % OPERANDS == G && j < count; j++)
            test_put(&c.in[i].array, j, 0);
    }
    for (int i = 0; i < 4; i++)
        c.out[i] = test_dense(random, c.dtype, i < 2 ? operand(&c, G) : HT_SHAPE(n));
    return c;
}

static void attention_of_a_causal_row_ignores_what_it_does_not_see(void **state)
{
    (void)state;
    struct test_random random = {test_seed(), 3};
    ht_context *ctx = test_context(2);
    for (int k = 0; k < 4 * CASES; k++) {
        blot b;
        attention_case c = blot_case(&random, &b);
        bool cotangent = b.operand % OPERANDS == G && b.row >= b.loss;
        double was = test_get(&c.in[b.operand].array,
                              b.row * c.heads * width_of(&c, b.operand % OPERANDS));
        for (int isa = HTI_REFERENCE; !cotangent && hti_context_use(ctx, isa); isa++) {
            double *clean[4];
            blot_set(&c, &b, was);
            case_run(ctx, &c);
            for (int i = 0; i < 4; i++) {
                int64_t n = ht_shape_count(c.out[i].array.shape);
                clean[i] = malloc((size_t)(n + 1) * sizeof *clean[i]);
                for (int64_t j = 0; j < n; j++)
                    clean[i][j] = test_get(&c.out[i].array, j);
            }
            blot_set(&c, &b, b.value);
            case_run(ctx, &c);
            for (b.call = 0; b.call < 4; b.call++) {
                check_blot(&c, &b, clean[b.call]);
                free(clean[b.call]);
            }
        }
        case_free(&c);
    }
    ht_context_free(ctx);
}

/* Finite operands whose scores' slopes are not: a row's infinity stays its own. */
static void attention_slopes_that_overflow_stay_in_their_row(void **state)
{
    (void)state;
    enum { T = 40 };
    ht_context *ctx = test_context(1);
    struct test_random none = {1, 0};
    attention_case c = {HT_F32, -1, 1, T, T, 1, 1, 1, true, {{{0}, 0}}, {{{0}, 0}}};
    for (int i = 0; i < 2 * OPERANDS; i++)
        c.in[i] = test_dense(&none, HT_F32, operand(&c, i % OPERANDS));
    for (int i = 0; i < 2 * OPERANDS; i++)
        for (int64_t j = 0; j < T; j++) test_put(&c.in[i].array, j, i < OPERANDS);
    test_put(&c.in[G].array, 20, 1e30);
    test_put(&c.in[V].array, 20, 1e30);
    for (int i = 0; i < 4; i++)
        c.out[i] = test_dense(&none, HT_F32, i < 2 ? operand(&c, G) : HT_SHAPE(3 * T));
    for (int isa = HTI_REFERENCE; hti_context_use(ctx, isa); isa++) {
        case_run(ctx, &c);
        for (int64_t j = 0; j < T; j++) {
            double dq = test_get(&c.out[2].array, j),
                   dk = test_get(&c.out[2].array, T + j);
            if (isfinite(dq) != (j != 20) || isfinite(dk) != (j > 20))
                fail_msg("row %d: dq %g, dk %g; dq is to be finite but in row 20, dk "
                         "after it",
                         (int)j, dq, dk);
        }
    }
    case_free(&c);
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_of_random_views_is_the_formula),
        cmocka_unit_test(attention_of_many_tiles_is_the_formula),
        cmocka_unit_test(attention_on_any_threads_has_the_same_bits),
        cmocka_unit_test(attention_of_a_causal_row_ignores_what_it_does_not_see),
        cmocka_unit_test(attention_slopes_that_overflow_stay_in_their_row),
    };
    return TEST_MAIN(tests);
}
