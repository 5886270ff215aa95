/* SPDX-License-Identifier: MIT */
/* test_autograd_fuzz.c: random programs of 5-40 forms, differentiated. For each: jvp and
 * vjp against central differences, each the other's transpose, the Hessian symmetric and
 * the same in three orders of modes, replay with poisoned buffers and ht_call the same
 * bits as eager, and so without passes, f32 finite. Read next: fuzz.h.
 *
 * HYPERTAPE_TEST_SEED=s and HYPERTAPE_FUZZ_PROGRAM=k run program k of seed s alone and
 * list it. (Where C leaves the order of arguments open, compilers draw differently.) */
#include "fuzz.h"
#include "program.h"

enum { PROGRAMS = 2000, MOST_STOPS = 64, MOST_INPUTS = 3 * LEAVES + 2 + MOST_INDICES };

/* One program on one tape, with everything derived. Vectors are all outputs or all
 * leaves' elements end to end. */
typedef struct graph {
    grower g;
    ht_var x[LEAVES], u[LEAVES], w[LEAVES], v, y; /* y: what is not used, as a vector */
    ht_var gx[LEAVES], gradient, ju, hu, hw;
    uint32_t n_value; /* nodes before any derivative */
} graph;

/* A program in one element type. */
typedef struct trial {
    fuzz f;
    ht_dtype dtype;
    int number;
    ht_tensor *x[LEAVES], *u[LEAVES], *w[LEAVES], *v;
    graph eager, recorded;
    int *hits;
} trial;

static void trial_fail(trial *t, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    ht_tape_print(t->recorded.g.tape, stderr);
    fail_msg("HYPERTAPE_TEST_SEED=%llu HYPERTAPE_FUZZ_PROGRAM=%d, %s: %s",
             (unsigned long long)(t->f.seed - (uint64_t)t->number), t->number,
             ht_dtype_name(t->dtype), text);
}

static void trial_check_status(trial *t)
{
    if (ht_context_status(t->f.ctx) != HT_OK)
        trial_fail(t, "%s", ht_context_message(t->f.ctx));
}

/* Growing. */

static ht_var flat(int n, const ht_var *x)
{
    ht_var part[LEAVES + MOST_OPS];
    for (int i = 0; i < n; i++) part[i] = ht_reshape(x[i], HT_SHAPE(-1));
    return ht_concat(n, part, 0);
}

static void graph_value(trial *t, graph *r, ht_tape *tape)
{
    ht_var sink[LEAVES + MOST_OPS];
    int n = 0;
    r->g = (grower){.f = &t->f, .tape = tape, .dtype = t->dtype, .hits = t->hits};
    t->hits = NULL;
    for (int i = 0; i < LEAVES; i++)
        r->g.pool[r->g.n++] = r->x[i] = ht_input(tape, t->x[i]);
    r->g.step = ht_input(tape, t->f.step);
    grow(&r->g);
    trial_check_status(t);
    for (int i = 0; i < r->g.n; i++)
        if (!r->g.used[i]) sink[n++] = r->g.pool[i];
    sink[n++] = ht_mul(ht_sum(ht_square(r->x[0])), 0.1);
    r->y = flat(n, sink);
    r->n_value = ht_tape_nodes(tape);
}

static ht_var dot(int n, const ht_var *a, const ht_var *b)
{
    ht_var sum = HT_ZERO;
    for (int i = 0; i < n; i++) sum = ht_add(sum, ht_sum(ht_mul(a[i], b[i])));
    return sum;
}

static void graph_derive(trial *t, graph *r)
{
    ht_var phi, hv[LEAVES];
    if (!t->v) {
        t->v = ht_tensor_new(t->f.ctx, t->dtype, ht_var_shape(r->y));
        ht_tensor_uniform(t->v, 30, -1, 1);
    }
    for (int i = 0; i < LEAVES; i++) {
        r->u[i] = ht_input(r->g.tape, t->u[i]);
        r->w[i] = ht_input(r->g.tape, t->w[i]);
    }
    r->v = ht_input(r->g.tape, t->v);
    ht_vjp(1, &r->y, &r->v, LEAVES, r->x, r->gx);
    r->gradient = flat(LEAVES, r->gx);
    ht_jvp(LEAVES, r->x, r->u, 1, &r->y, &r->ju);
    phi = dot(1, &r->y, &r->v);
    ht_hvp(phi, LEAVES, r->x, r->u, hv);
    r->hu = flat(LEAVES, hv);
    ht_hvp(phi, LEAVES, r->x, r->w, hv);
    r->hw = flat(LEAVES, hv);
    trial_check_status(t);
}

/* Numbers. */

static double inner(const ht_tensor *a, const ht_tensor *b)
{
    double sum = 0;
    assert_int_equal(ht_tensor_count(a), ht_tensor_count(b));
    for (int64_t i = ht_tensor_count(a); i-- > 0;)
        sum += ht_tensor_get(a, i) * ht_tensor_get(b, i);
    return sum;
}

/* <a, b[0] .. b[LEAVES - 1] end to end> */
static double inner_leaves(const ht_tensor *a, ht_tensor *const *b)
{
    double sum = 0;
    int64_t at = 0;
    for (int i = 0; i < LEAVES; i++)
        for (int64_t k = 0; k < ht_tensor_count(b[i]); k++)
            sum += ht_tensor_get(a, at++) * ht_tensor_get(b[i], k);
    assert_int_equal(at, ht_tensor_count(a));
    return sum;
}

/* |a - b| / max(1, |b|), NaN if anything is. */
static double distance(const ht_tensor *a, const ht_tensor *b)
{
    double sum = 0, norm = sqrt(inner(b, b));
    for (int64_t i = ht_tensor_count(a); i-- > 0;)
        sum += pow(ht_tensor_get(a, i) - ht_tensor_get(b, i), 2);
    return sqrt(sum) / (norm > 1 ? norm : 1);
}

static void check_near(trial *t, ht_var got, ht_var want, const char *what)
{
    double error = distance(ht_value(got), ht_value(want));
    if (!(error <= 1e-12)) trial_fail(t, "%s: distance %.3g", what, error);
}

static void check_equal(trial *t, double got, double want, double scale, double tolerance,
                        const char *what)
{
    if (fabs(got - want) <= tolerance * fmax(1, scale)) return;
    trial_fail(t, "%s: %.17g and %.17g, scale %.3g", what, got, want, scale);
}

static double norm(ht_var x)
{
    return sqrt(inner(ht_value(x), ht_value(x)));
}

/* In f32 too: only there are casts between floats. */
static void check_transpose(trial *t)
{
    graph *r = &t->eager;
    check_equal(t, inner(ht_value(r->v), ht_value(r->ju)),
                inner_leaves(ht_value(r->gradient), t->u), norm(r->v) * norm(r->ju),
                t->dtype == HT_F64 ? 1e-12 : 1e-4, "<v, J u> = <J' v, u>");
}

/* The second derivative along u in the other three orders of modes. */
static void check_second_order(trial *t)
{
    graph *r = &t->eager;
    ht_var back[LEAVES], ddy, over;
    const ht_tensor *hu = ht_value(r->hu), *hw = ht_value(r->hw), *v = ht_value(r->v);
    check_equal(t, inner_leaves(hu, t->w), inner_leaves(hw, t->u), norm(r->hu), 1e-12,
                "Hessian symmetry");
    ht_grad_or_zero(dot(LEAVES, r->gx, r->u), LEAVES, r->x, back);
    over = flat(LEAVES, back);
    trial_check_status(t);
    check_near(t, over, r->hu, "reverse over reverse");
    ht_vjp(1, &r->ju, &r->v, LEAVES, r->x, back);
    over = flat(LEAVES, back);
    trial_check_status(t);
    check_near(t, over, r->hu, "reverse over forward");
    ht_jvp(LEAVES, r->x, r->w, 1, &r->ju, &ddy);
    trial_check_status(t);
    check_equal(t, inner(v, ht_value(ddy)), inner_leaves(hu, t->w),
                norm(r->v) * norm(ddy), 1e-12, "forward over forward");
}

/* Replay. */

static int trial_inputs(trial *t, const graph *r, ht_var *in, const ht_tensor **tensor)
{
    int n = 0;
    for (int i = 0; i < LEAVES; i++) {
        in[n] = r->x[i], tensor[n++] = t->x[i];
        in[n] = r->u[i], tensor[n++] = t->u[i];
        in[n] = r->w[i], tensor[n++] = t->w[i];
    }
    in[n] = r->v, tensor[n++] = t->v;
    in[n] = r->g.step, tensor[n++] = t->f.step;
    for (int k = 0; k < r->g.n_index; k++)
        in[n] = r->g.index[k], tensor[n++] = t->f.index[k];
    return n;
}

static void check_bits(trial *t, const ht_tensor *got, const ht_tensor *want,
                       const char *how, const char *what)
{
    if (!got || !want) trial_fail(t, "%s", ht_context_message(t->f.ctx));
    assert_int_equal(ht_tensor_bytes(got), ht_tensor_bytes(want));
    if (memcmp(ht_tensor_data(got), ht_tensor_data(want), ht_tensor_bytes(want)) == 0)
        return;
    for (int64_t i = 0; i < ht_tensor_count(got); i++)
        if (ht_tensor_get(got, i) != ht_tensor_get(want, i))
            trial_fail(t, "%s %s: element %lld is %.17g, eager %.17g", how, what,
                       (long long)i, ht_tensor_get(got, i), ht_tensor_get(want, i));
    trial_fail(t, "%s %s: bits differ", how, what);
}

/* The bytes the plan saved by sharing memory. */
static size_t program_saved(const ht_program *p)
{
    size_t most = 0;
    for (uint32_t i = p->n_in; i < p->n_values; i++)
        if (p->value[i].place == HTI_IN_ARENA)
            most += hti_round_up(
                hti_bytes(p->value[i].type.dtype, p->value[i].type.shape), HTI_ALIGN);
    assert_true(ht_program_bytes(p) <= most);
    return most - ht_program_bytes(p);
}

/* Without the passes in `off`, and down to the smallest instruction with the others, the
 * program gives the same bits; without all of them it is what was recorded, one call
 * after another, each result in memory of its own. */
static void check_without(trial *t, ht_var out, ht_var want, unsigned off,
                          const char *what)
{
    ht_var in[MOST_INPUTS];
    const ht_tensor *given[MOST_INPUTS];
    int n = trial_inputs(t, &t->recorded, in, given);
    int64_t least = t->f.ctx->fuse_least;
    t->f.ctx->options.passes_off = off;
    t->f.ctx->fuse_least = 1;
    ht_program *p = ht_program_new(t->recorded.g.tape, n, in, 1, &out);
    t->f.ctx->options.passes_off = 0;
    t->f.ctx->fuse_least = least;
    if (!p) trial_fail(t, "%s: %s", what, ht_context_message(t->f.ctx));
    if (off == HT_PASSES) {
        assert_int_equal(p->n_groups, 0);
        for (uint32_t k = 0; k < p->n_instructions; k++)
            assert_null(p->instruction[k].loop);
    }
    ht_program_poison(p, true);
    ht_tensor *got = ht_tensor_new(t->f.ctx, t->dtype, ht_var_shape(out));
    ht_tensor_fill(got, NAN);
    ht_program_run(p, given, &got);
    trial_check_status(t);
    char how[32];
    snprintf(how, sizeof how, "without passes %#x", off);
    check_bits(t, got, ht_value(want), how, what);
    ht_tensor_free(got);
    ht_program_free(p);
}

/* Recorded `out` cut, replayed twice, and called on a tape of its own, is eager `want`
 * bit for bit; so it is without passes, and without one of them. */
static size_t check_replay(trial *t, ht_var out, ht_var want, const char *what)
{
    ht_var in[MOST_INPUTS], other[MOST_INPUTS], called;
    const ht_tensor *given[MOST_INPUTS];
    int n = trial_inputs(t, &t->recorded, in, given);
    ht_program *p = ht_program_new(t->recorded.g.tape, n, in, 1, &out);
    if (!p) trial_fail(t, "%s: %s", what, ht_context_message(t->f.ctx));
    ht_program_poison(p, true);
    ht_tensor *got = ht_tensor_new(t->f.ctx, t->dtype, ht_var_shape(out));
    for (int pass = 0; pass < 2; pass++) {
        ht_tensor_fill(got, NAN);
        ht_program_run(p, given, &got);
        trial_check_status(t);
        check_bits(t, got, ht_value(want), "replayed", what);
    }
    ht_tape *tape = ht_tape_new(t->f.ctx, HT_EAGER);
    for (int k = 0; k < n; k++) other[k] = ht_input(tape, given[k]);
    ht_call(tape, p, other, &called);
    check_bits(t, ht_value(called), ht_value(want), "called", what);
    ht_tape_free(tape);
    ht_tensor_free(got);
    size_t saved = program_saved(p);
    ht_program_free(p);
    check_without(t, out, want, HT_PASSES, what);
    check_without(t, out, want, 1U << t->number % 4, what);
    return saved;
}

/* Differences. Kinks: every comparison a value depends on, as a vector of numbers, is
 * looked at wherever the program is run. Where they are all alike, all values lie on one
 * smooth piece. What passed stop_gradient is an input and keeps its value. */

static ht_var sign(ht_var d)
{
    ht_var up = ht_cast(ht_greater(d, 0.0), HT_F64);
    return ht_sub(up, ht_cast(ht_greater(ht_neg(d), 0.0), HT_F64));
}

static ht_var node_branch(ht_tape *tape, uint32_t i)
{
    const ht_op *op = tape->op[i];
    const uint32_t *in = tape->edge + tape->first_in[i];
    ht_var y = hti_var(tape, i), a = tape->n_in[i] ? hti_var(tape, in[0]) : y;
    if (op->flags & HT_OP_NO_GRADIENT && tape->n_in[i] &&
        !hti_dtype_is_float(tape->type[i].dtype))
        return ht_cast(y, HT_F64);
    if (op == &hti_op_relu || op == &hti_op_abs) return sign(a);
    if (op == &hti_op_max) return sign(ht_sub(a, y));
    if (op == &hti_op_maximum || op == &hti_op_minimum)
        return sign(ht_sub(a, hti_var(tape, in[1])));
    return HT_ZERO;
}

static ht_var branches(const graph *r)
{
    ht_var all = ht_reshape(ht_sum(r->y), HT_SHAPE(1)); /* never empty */
    all = ht_sub(all, all);
    for (uint32_t i = 0; i < r->n_value; i++) {
        ht_var b = node_branch(r->g.tape, i);
        if (ht_is_zero(b)) continue;
        all = ht_concat(2, ((ht_var[]){all, ht_reshape(b, HT_SHAPE(-1))}), 0);
    }
    return all;
}

/* The program at x + offset h u: y, gradient and branches, for all offsets. */
enum { OFFSETS = 7, OUTPUTS = 3 };
static const int offset[OFFSETS] = {0, 1, -1, 2, -2, 4, -4};
static const double half_step = 1e-3;

static void moved_leaves(trial *t, double step, ht_tensor **to)
{
    for (int i = 0; i < LEAVES; i++)
        for (int64_t k = 0; k < ht_tensor_count(to[i]); k++)
            ht_tensor_set(to[i], k,
                          ht_tensor_get(t->x[i], k) + step * ht_tensor_get(t->u[i], k));
}

static void run_around(trial *t, ht_tensor *got[OFFSETS][OUTPUTS])
{
    graph *r = &t->recorded;
    ht_tape *tape = r->g.tape;
    ht_var in[MOST_INPUTS + MOST_STOPS], out[] = {r->y, r->gradient, branches(r)};
    const ht_tensor *given[MOST_INPUTS + MOST_STOPS];
    ht_tensor *moved[LEAVES];
    int n = trial_inputs(t, r, in, given);
    for (uint32_t i = 0; i < r->n_value; i++)
        if (tape->op[i] == &hti_op_stop_gradient) {
            assert_true(n < MOST_INPUTS + MOST_STOPS);
            in[n] = hti_var(tape, i);
            given[n++] = ht_value(hti_var(t->eager.g.tape, i));
        }
    ht_program *p = ht_program_new(tape, n, in, OUTPUTS, out);
    if (!p) trial_fail(t, "%s", ht_context_message(t->f.ctx));
    for (int i = 0; i < LEAVES; i++)
        given[3 * i] = moved[i] = ht_tensor_new(t->f.ctx, t->dtype, t->f.shape[i]);
    for (int k = 0; k < OFFSETS; k++) {
        for (int o = 0; o < OUTPUTS; o++)
            got[k][o] = ht_tensor_new(t->f.ctx, t->dtype, ht_var_shape(out[o]));
        moved_leaves(t, offset[k] * half_step, moved);
        ht_program_run(p, given, got[k]);
    }
    trial_check_status(t);
    for (int i = 0; i < LEAVES; i++) ht_tensor_free(moved[i]);
    ht_program_free(p);
}

/* (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h, of fourth order, into f(4 h'). h is
 * `half` half steps: 1 or 2. */
static double difference(ht_tensor *got[OFFSETS][OUTPUTS], int o, int half, int64_t i)
{
    ht_tensor *(*at)[OUTPUTS] = got + 2 * half - 1;
    double near = ht_tensor_get(at[0][o], i) - ht_tensor_get(at[1][o], i);
    double far = ht_tensor_get(at[2][o], i) - ht_tensor_get(at[3][o], i);
    return (8 * near - far) / (12 * half * half_step);
}

typedef struct tally {
    int compared, kinked, rough;
} tally;

static double worst(double a, double b)
{
    return a >= b || isnan(a) ? a : b;
}

/* Differences with two steps must agree: then they are good enough to judge by, whatever
 * the derivative says. */
static bool check_difference(trial *t, ht_tensor *got[OFFSETS][OUTPUTS], int o, ht_var d,
                             const char *what)
{
    const double tolerance = 1e-7;
    const ht_tensor *x = ht_value(d);
    double unsure = 0, error = 0, scale = 1;
    for (int64_t i = 0; i < ht_tensor_count(x); i++) {
        double fine = difference(got, o, 1, i), coarse = difference(got, o, 2, i);
        scale = worst(scale, fabs(fine));
        unsure = worst(unsure, fabs(fine - coarse));
        error = worst(error, fabs(fine - ht_tensor_get(x, i)));
    }
    if (unsure > tolerance * scale) return false;
    if (!(error <= tolerance * scale))
        trial_fail(t, "%s: off by %.3g, scale %.3g", what, error, scale);
    return true;
}

static void check_differences(trial *t, tally *sum)
{
    ht_tensor *got[OFFSETS][OUTPUTS];
    bool alike = true;
    run_around(t, got);
    check_bits(t, got[0][0], ht_value(t->eager.y), "replayed", "value");
    check_bits(t, got[0][1], ht_value(t->eager.gradient), "replayed", "gradient");
    for (int k = 1; k < OFFSETS; k++)
        alike = alike && memcmp(ht_tensor_data(got[k][2]), ht_tensor_data(got[0][2]),
                                ht_tensor_bytes(got[0][2])) == 0;
    if (!alike) {
        sum->kinked++;
    } else {
        bool first = check_difference(t, got, 0, t->eager.ju, "jvp against differences");
        bool second = check_difference(t, got, 1, t->eager.hu, "hvp against differences");
        if (first) {
            double slope = 0;
            for (int64_t i = 0; i < ht_tensor_count(t->v); i++)
                slope += ht_tensor_get(t->v, i) * difference(got, 0, 1, i);
            check_equal(t, inner_leaves(ht_value(t->eager.gradient), t->u), slope,
                        norm(t->eager.v) * norm(t->eager.ju), 1e-7,
                        "vjp against differences");
        }
        sum->compared += first && second;
        sum->rough += !(first && second);
    }
    for (int k = 0; k < OFFSETS; k++)
        for (int o = 0; o < OUTPUTS; o++) ht_tensor_free(got[k][o]);
}

/* Programs. */

static void trial_open(trial *t, uint64_t seed, int number, ht_dtype dtype)
{
    uint64_t own = seed + (uint64_t)number;
    ht_context *ctx = ht_context_new(&(ht_context_options){.seed = own, .threads = 1});
    *t = (trial){.f = {.seed = own, .ctx = ctx}, .dtype = dtype, .number = number};
    t->f.kinks = number % 2 == 1;
    t->f.stops = number % 8 == 3 || number % 8 == 6;
    t->f.n_ops = LEAST_OPS + (int)ht_random_below(own, 3, 0, MOST_OPS - LEAST_OPS + 1);
    t->f.step = ht_tensor_new(ctx, HT_I32, HT_SCALAR);
    ht_tensor_set(t->f.step, 0, number);
    for (int i = 0; i < LEAVES; i++) {
        t->f.shape[i].rank = (int)ht_random_below(own, 4, (uint64_t)i, 5);
        for (int k = 0; k < t->f.shape[i].rank; k++) {
            int roll = (int)ht_random_below(own, 5 + (uint64_t)i, (uint64_t)k, 40);
            t->f.shape[i].dim[k] = i && roll == 39 ? 0 : 1 + roll % 4;
        }
        t->x[i] = ht_tensor_new(ctx, dtype, t->f.shape[i]);
        t->u[i] = ht_tensor_new(ctx, dtype, t->f.shape[i]);
        t->w[i] = ht_tensor_new(ctx, dtype, t->f.shape[i]);
        ht_tensor_uniform(t->x[i], 1 + (uint64_t)i, -1.5, 1.5);
        ht_tensor_uniform(t->u[i], 10 + (uint64_t)i, -1, 1);
        ht_tensor_uniform(t->w[i], 20 + (uint64_t)i, -1, 1);
    }
}

static void trial_close(trial *t)
{
    trial_check_status(t);
    ht_tape_free(t->eager.g.tape);
    ht_tape_free(t->recorded.g.tape);
    for (int i = 0; i < LEAVES; i++) {
        ht_tensor_free(t->x[i]);
        ht_tensor_free(t->u[i]);
        ht_tensor_free(t->w[i]);
    }
    for (int k = 0; k < t->f.n_index; k++) ht_tensor_free(t->f.index[k]);
    ht_tensor_free(t->f.step);
    ht_tensor_free(t->v);
    ht_context_free(t->f.ctx);
}

typedef struct census {
    int form[N_FORMS], row[128], nodes;
    size_t saved;
    tally differences;
} census;

static void count_rows(const ht_tape *tape, int *row)
{
    for (uint32_t i = 0; i < tape->n; i++)
        for (int k = 0; ht_op_at(k); k++) row[k] += tape->op[i] == ht_op_at(k);
}

static void check_finite(trial *t, ht_var x, const char *what)
{
    const ht_tensor *value = ht_value(x);
    for (int64_t i = 0; i < ht_tensor_count(value); i++)
        if (!isfinite(ht_tensor_get(value, i)))
            trial_fail(t, "%s: element %lld is %g", what, (long long)i,
                       ht_tensor_get(value, i));
}

static void run_trial(uint64_t seed, int number, ht_dtype dtype, bool list, census *c)
{
    trial t;
    trial_open(&t, seed, number, dtype);
    graph *e = &t.eager, *r = &t.recorded;
    t.hits = dtype == HT_F64 ? c->form : NULL;
    ht_tape *eager = ht_tape_new(t.f.ctx, HT_EAGER);
    r->g.tape = ht_tape_new(t.f.ctx, HT_RECORD);
    graph_value(&t, r, r->g.tape);
    if (list) ht_tape_print(r->g.tape, stdout);
    graph_value(&t, e, eager);
    graph_derive(&t, r);
    graph_derive(&t, e);
    assert_int_equal(ht_tape_nodes(e->g.tape), ht_tape_nodes(r->g.tape));
    check_finite(&t, e->y, "value");
    check_finite(&t, e->gradient, "gradient");
    check_finite(&t, e->hu, "Hessian product");
    c->saved += check_replay(&t, r->y, e->y, "value");
    c->saved += check_replay(&t, r->gradient, e->gradient, "gradient");
    c->saved += check_replay(&t, r->hu, e->hu, "Hessian product");
    check_transpose(&t);
    if (dtype == HT_F64) {
        check_differences(&t, &c->differences);
        check_second_order(&t);
        c->nodes += (int)ht_tape_nodes(e->g.tape);
        count_rows(e->g.tape, c->row);
    }
    trial_close(&t);
}

/* copy is what programs put in for themselves. */
static void check_census(const census *c, int programs)
{
    printf("# forms:");
    for (int k = 0; k < N_FORMS; k++) printf(" %s %d", forms[k].name, c->form[k]);
    printf("\n# rows, derivatives included:");
    for (int k = 0; ht_op_at(k); k++) printf(" %s %d", ht_op_at(k)->name, c->row[k]);
    printf("\n# %d programs in f64 and f32, %d nodes, %zu bytes saved by the plan\n",
           programs, c->nodes, c->saved);
    printf("# %d compared with differences; %d not, for a kink within reach, %d, for "
           "differences that had not converged\n",
           c->differences.compared, c->differences.kinked, c->differences.rough);
    if (programs < PROGRAMS) return;
    for (int k = 0; k < N_FORMS; k++)
        if (c->form[k] < 100) fail_msg("%s: in %d places", forms[k].name, c->form[k]);
    for (int k = 0; ht_op_at(k); k++)
        if (c->row[k] < 100 && ht_op_at(k) != &hti_op_copy)
            fail_msg("row %s stands in %d nodes, too few: it wants a form in "
                     "support/fuzz_forms.h",
                     ht_op_at(k)->name, c->row[k]);
    assert_true(c->nodes > 100 * programs);
    assert_true(c->saved > 0);
    assert_true(c->differences.compared >= programs * 9 / 10);
}

static void programs_at_random_keep_every_identity(void **state)
{
    (void)state;
    static census c;
    uint64_t seed = test_seed();
    const char *only = getenv("HYPERTAPE_FUZZ_PROGRAM");
    const char *count = getenv("HYPERTAPE_FUZZ_PROGRAMS");
    int first = only ? atoi(only) : 0;
    int end = only ? first + 1 : count ? atoi(count) : PROGRAMS;
    for (int k = first; k < end; k++) {
        run_trial(seed, k, HT_F64, only != NULL, &c);
        run_trial(seed, k, HT_F32, false, &c);
    }
    check_census(&c, end - first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_at_random_keep_every_identity),
    };
    return TEST_MAIN(tests);
}
