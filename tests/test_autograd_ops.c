/* SPDX-License-Identifier: MIT */
/* test_autograd_ops.c: every row of the op table, over its samples, seen through views:
 * derivatives of three orders in every mode against differences and against each other,
 * f32 against f64, and eager against replayed; then the awkward points. Read next:
 * op_checks.h. */
#include "op_checks.h"

enum { SEEDS = 2 };

/* Runs check on every case of a dtype whose row has samples with inputs and, if asked, a
 * derivative. Returns how many. */
static int for_each_case(void (*check)(op_case *), ht_dtype dtype, bool derived)
{
    uint64_t seed = test_seed();
    int n = 0;
    const ht_op *op;
    for (int i = 0; (op = ht_op_at(i)); i++)
        for (int s = 0; s < op->n_samples; s++)
            for (int k = 0; k < N_LAYOUTS * SEEDS && op->samples[s].n_in; k++) {
                op_case c;
                if (derived && op->flags & HT_OP_NO_GRADIENT) continue;
                op_open(&c, op, &op->samples[s], (enum layout)(k % N_LAYOUTS), dtype,
                        seed + (uint64_t)(k / N_LAYOUTS));
                check(&c);
                op_close(&c);
                n++;
            }
    return n;
}

static void op_at_every_row_has_samples(void **state)
{
    (void)state;
    int rows = 0, listed = 0, samples = 0;
#define HT_OP_ROW(name) listed++;
#include "ops.def"
#undef HT_OP_ROW
    for (const ht_op *op; (op = ht_op_at(rows)); rows++) {
        if (op->n_samples < 1 || !op->samples) fail_msg("%s has no samples", op->name);
        bool derives = op->vjp && op->jvp;
        if (derives == !!(op->flags & HT_OP_NO_GRADIENT))
            fail_msg("%s: rules and HT_OP_NO_GRADIENT must exclude each other", op->name);
        samples += op->n_samples;
        for (int s = 0; s < op->n_samples; s++)
            assert_true(op->samples[s].n_in <= MOST_INPUTS);
    }
    assert_int_equal(rows, listed);
    assert_null(ht_op_at(rows));
    assert_null(ht_op_at(-1));
    printf("# %d rows, %d samples\n", rows, samples);
    assert_true(rows >= 63);
    assert_true(samples >= 221);
}

/* Differences: (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h, fourth order. */

static const double difference_step = 5e-4;
static const double difference_at[] = {1, -1, 2, -2};
static const double difference_weight[] = {8, -8, -1, 1};

/* Of a vector-valued function along a direction. */
static vec difference(op_case *c, const vec *direction, vec (*f)(op_case *))
{
    vec out = {0};
    for (int k = 0; k < 4; k++) {
        op_move(c, direction, difference_at[k] * difference_step);
        vec y = f(c);
        out.n = y.n;
        for (int i = 0; i < y.n; i++)
            out.at[i] += difference_weight[k] * y.at[i] / (12 * difference_step);
    }
    op_move(c, direction, 0);
    return out;
}

static vec value_of(op_case *c)
{
    op_graph g;
    op_append(c, c->tape, &g);
    return vec_of(1, &g.y);
}

static vec phi_of(op_case *c)
{
    op_graph g;
    op_append(c, c->tape, &g);
    ht_var phi = ht_sum(ht_mul(g.y, ht_input(c->tape, c->v)));
    return vec_of(1, &phi);
}

static vec gradient_of(op_case *c)
{
    op_graph g;
    op_append_gradient(c, c->tape, &g);
    return vec_of(c->n_float, g.g);
}

static vec hvp_of(op_case *c)
{
    op_graph g;
    ht_var hv[MOST_INPUTS];
    op_append_gradient(c, c->tape, &g);
    ht_hvp(g.phi, c->n_float, g.x, g.u, hv);
    return vec_of(c->n_float, hv);
}

static vec jvp_of(op_case *c)
{
    op_graph g;
    ht_var dy;
    op_append_gradient(c, c->tape, &g);
    ht_jvp(c->n_float, g.x, g.u, 1, &g.y, &dy);
    return vec_of(1, &dy);
}

static vec cotangent(const op_case *c)
{
    vec v = {0};
    for (int64_t k = 0; k < ht_tensor_count(c->v); k++)
        v.at[v.n++] = ht_tensor_get(c->v, k);
    return v;
}

static void check_first(op_case *c)
{
    vec gradient = gradient_of(c), tangent = jvp_of(c), v = cotangent(c);
    vec slope = difference(c, &c->u_flat, value_of);
    op_near(c, &tangent, &slope, 1e-8, "jvp against differences");
    op_near_number(c, vec_dot(&v, &tangent), vec_dot(&gradient, &c->u_flat), 1e-12,
                   "<v, J u> = <J' v, u>");
    vec each = {.n = gradient.n};
    for (int i = 0; i < gradient.n; i++) {
        vec axis = {.n = gradient.n};
        axis.at[i] = 1;
        each.at[i] = difference(c, &axis, phi_of).at[0];
    }
    op_near(c, &gradient, &each, 1e-8, "vjp against differences");
}

static void derivatives_first_match_differences(void **state)
{
    (void)state;
    int n = for_each_case(check_first, HT_F64, true);
    printf("# %d cases of first derivatives\n", n);
    assert_true(n >= 1552);
}

/* The second derivative applied to u in the other three orders of modes. */
static void check_second_modes(op_case *c, const vec *hu)
{
    op_graph g;
    ht_var dot = HT_ZERO, dy, ddy, again[MOST_INPUTS];
    op_append_gradient(c, c->tape, &g);
    for (int f = 0; f < c->n_float; f++)
        dot = ht_add(dot, ht_sum(ht_mul(g.g[f], g.u[f])));
    ht_grad_or_zero(dot, c->n_float, g.x, again);
    vec reverse = vec_of(c->n_float, again);
    op_near(c, &reverse, hu, 1e-12, "reverse over reverse");
    ht_jvp(c->n_float, g.x, g.u, 1, &g.y, &dy);
    ht_vjp(1, &dy, &g.v, c->n_float, g.x, again);
    vec over_forward = vec_of(c->n_float, again);
    op_near(c, &over_forward, hu, 1e-12, "reverse over forward");
    ht_jvp(c->n_float, g.x, g.w, 1, &dy, &ddy);
    vec forward = vec_of(1, &ddy), v = cotangent(c);
    op_near_number(c, vec_dot(&v, &forward), vec_dot(hu, &c->w_flat), 1e-12,
                   "forward over forward");
    ht_hvp(g.phi, c->n_float, g.x, g.w, again);
    vec hw = vec_of(c->n_float, again);
    op_near_number(c, vec_dot(hu, &c->w_flat), vec_dot(&hw, &c->u_flat), 1e-12,
                   "Hessian symmetry");
}

static void check_second(op_case *c)
{
    vec hu = hvp_of(c);
    check_second_modes(c, &hu);
    vec slope = difference(c, &c->u_flat, gradient_of);
    op_near(c, &hu, &slope, 1e-8, "hvp against differences of the gradient");
}

static void derivatives_second_match_differences_in_every_mode(void **state)
{
    (void)state;
    int n = for_each_case(check_second, HT_F64, true);
    printf("# %d cases of second derivatives\n", n);
    assert_true(n >= 1552);
}

/* D^3 phi [u, u] by tangent of H u, and by gradient of <H u, w>. */
static void check_third(op_case *c)
{
    op_graph g;
    ht_var hu[MOST_INPUTS], third[MOST_INPUTS], back[MOST_INPUTS], dot = HT_ZERO;
    op_append_gradient(c, c->tape, &g);
    ht_hvp(g.phi, c->n_float, g.x, g.u, hu);
    ht_jvp(c->n_float, g.x, g.u, c->n_float, hu, third);
    vec tangent = vec_of(c->n_float, third);
    for (int f = 0; f < c->n_float; f++) dot = ht_add(dot, ht_sum(ht_mul(hu[f], g.w[f])));
    ht_grad_or_zero(dot, c->n_float, g.x, back);
    vec reverse = vec_of(c->n_float, back);
    op_near_number(c, vec_dot(&reverse, &c->u_flat), vec_dot(&tangent, &c->w_flat), 1e-12,
                   "third order, reverse against forward");
    vec slope = difference(c, &c->u_flat, hvp_of);
    op_near(c, &tangent, &slope, 1e-7, "third order against differences");
}

static void derivatives_third_match_differences(void **state)
{
    (void)state;
    int n = for_each_case(check_third, HT_F64, true);
    printf("# %d cases of third derivatives\n", n);
    assert_true(n >= 1552);
}

/* f32: the same point, rounded, in both types. */
static void check_f32(op_case *c)
{
    op_case d;
    op_open(&d, c->op, c->sample, c->layout, HT_F64, c->seed);
    for (int i = 0; i < c->sample->n_in; i++) ht_tensor_copy(d.leaf[i], c->leaf[i]);
    for (int f = 0; f < c->n_float; f++) ht_tensor_copy(d.u[f], c->u[f]);
    if (c->v) ht_tensor_copy(d.v, c->v);
    vec got = value_of(c), want = value_of(&d);
    op_near(c, &got, &want, 2e-6, "f32 value");
    if (!(c->op->flags & HT_OP_NO_GRADIENT)) {
        got = gradient_of(c), want = gradient_of(&d);
        op_near(c, &got, &want, 1e-5, "f32 gradient");
        got = hvp_of(c), want = hvp_of(&d);
        op_near(c, &got, &want, 1e-5, "f32 Hessian product");
        ht_tape_reset(c->tape);
    }
    ht_tape_reset(d.tape);
    op_close(&d);
}

static void run_f32_is_close_to_f64(void **state)
{
    (void)state;
    int n = for_each_case(check_f32, HT_F32, false);
    printf("# %d cases of f32 against f64\n", n);
    assert_true(n >= 1752);
}

/* Replay. */

enum { MOST_PROGRAM_INPUTS = 3 * MOST_INPUTS + 1 };

static int graph_inputs(const op_case *c, const op_graph *g, ht_var *in,
                        const ht_tensor **tensor)
{
    int n = 0;
    for (int i = 0; i < c->sample->n_in; i++)
        in[n] = g->leaf[i], tensor[n++] = c->leaf[i];
    if (!c->v || c->op->flags & HT_OP_NO_GRADIENT) return n;
    for (int f = 0; f < c->n_float; f++) in[n] = g->u[f], tensor[n++] = c->u[f];
    for (int f = 0; f < c->n_float; f++) in[n] = g->w[f], tensor[n++] = c->w[f];
    in[n] = g->v, tensor[n++] = c->v;
    return n;
}

/* A program of `out` on the recorded graph, replayed with poison, against eager values.
 */
static void check_program(op_case *c, ht_tape *recorded, const op_graph *g, int n,
                          const ht_var *out, const ht_var *eager, const char *what)
{
    ht_var in[MOST_PROGRAM_INPUTS];
    const ht_tensor *given[MOST_PROGRAM_INPUTS];
    ht_tensor *got[MOST_INPUTS];
    int n_in = graph_inputs(c, g, in, given);
    ht_program *p = ht_program_new(recorded, n_in, in, n, out);
    if (!p) fail_msg("%s: %s: %s", c->name, what, ht_context_message(c->ctx));
    ht_program_poison(p, true);
    for (int k = 0; k < n; k++)
        got[k] = ht_tensor_new(c->ctx, ht_var_dtype(out[k]), ht_var_shape(out[k]));
    for (int pass = 0; pass < 2; pass++) {
        assert_int_equal(ht_program_run(p, given, got), HT_OK);
        for (int k = 0; k < n; k++) {
            const ht_tensor *want = ht_value(eager[k]);
            assert_int_equal(ht_tensor_bytes(got[k]), ht_tensor_bytes(want));
            if (memcmp(ht_tensor_data(got[k]), ht_tensor_data(want),
                       ht_tensor_bytes(want)))
                fail_msg("%s: %s: replayed output %d is not the eager one", c->name, what,
                         k);
        }
    }
    for (int k = 0; k < n; k++) ht_tensor_free(got[k]);
    ht_program_free(p);
}

static void check_replay(op_case *c)
{
    ht_tape *recorded = ht_tape_new(c->ctx, HT_RECORD);
    op_graph e, r;
    if (c->op->flags & HT_OP_NO_GRADIENT) {
        op_append(c, c->tape, &e);
        op_append(c, recorded, &r);
        check_program(c, recorded, &r, 1, &r.y, &e.y, "value");
    } else {
        ht_var he[MOST_INPUTS], hr[MOST_INPUTS];
        op_append_gradient(c, c->tape, &e);
        op_append_gradient(c, recorded, &r);
        ht_hvp(e.phi, c->n_float, e.x, e.u, he);
        ht_hvp(r.phi, c->n_float, r.x, r.u, hr);
        assert_int_equal(ht_tape_nodes(c->tape), ht_tape_nodes(recorded));
        check_program(c, recorded, &r, 1, &r.y, &e.y, "value");
        check_program(c, recorded, &r, c->n_float, r.g, e.g, "gradient");
        check_program(c, recorded, &r, c->n_float, hr, he, "Hessian product");
    }
    ht_tape_free(recorded);
    ht_tape_reset(c->tape);
}

static void run_eager_equals_replayed_bitwise(void **state)
{
    (void)state;
    int n = for_each_case(check_replay, HT_F64, false);
    n += for_each_case(check_replay, HT_F32, false);
    printf("# %d cases of eager against replayed\n", n);
    assert_true(n >= 3504);
}

static void run_constant_replays_as_itself(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_RECORD);
    ht_var c = ht_constant(tape, 2.5), b = ht_broadcast(c, HT_SHAPE(2, 3));
    ht_program *p = ht_program_new(tape, 0, NULL, 2, ((ht_var[]){c, b}));
    ht_tensor *out[] = {ht_tensor_new(ctx, HT_F64, HT_SCALAR),
                        ht_tensor_new(ctx, HT_F64, HT_SHAPE(2, 3))};
    assert_int_equal(ht_program_run(p, NULL, out), HT_OK);
    assert_near(ht_tensor_get(out[0], 0), 2.5, 0);
    for (int i = 0; i < 6; i++) assert_near(ht_tensor_get(out[1], i), 2.5, 0);
    ht_tensor_free(out[0]);
    ht_tensor_free(out[1]);
    ht_program_free(p);
    ht_tape_free(tape);
    ht_context_free(ctx);
}

/* Rows without gradient: sum(f64(op(x))) has none by x, and zeros if those are asked. */
static int refused;

static void check_refused(op_case *c)
{
    if (!(c->op->flags & HT_OP_NO_GRADIENT)) return;
    op_graph g;
    op_append(c, c->tape, &g);
    ht_var y = ht_sum(ht_cast(g.y, HT_F64)), d[MOST_INPUTS];
    ht_grad_or_zero(y, c->sample->n_in, g.leaf, d);
    vec zeros = vec_of(c->sample->n_in, d), none = {.n = zeros.n};
    op_near(c, &zeros, &none, 0, "gradient or zero");
    ht_grad(y, c->sample->n_in, g.leaf, d);
    if (ht_context_status(c->ctx) != HT_ERROR_NO_GRADIENT)
        fail_msg("%s: status %s", c->name, ht_status_name(ht_context_status(c->ctx)));
    assert_null(ht_value(d[0]));
    ht_context_clear(c->ctx);
    ht_tape_reset(c->tape);
    refused++;
}

static void grad_of_a_row_without_gradient_is_refused(void **state)
{
    (void)state;
    refused = 0;
    for_each_case(check_refused, HT_F64, false);
    printf("# %d cases refused\n", refused);
    assert_true(refused >= 200);
}

static void grad_by_integers_is_refused(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *x = ht_tensor_new(ctx, HT_F64, HT_SHAPE(4));
    ht_tensor *index = ht_tensor_new(ctx, HT_I32, HT_SHAPE(2));
    ht_var in[] = {ht_input(tape, x), ht_input(tape, index)}, d[2];
    ht_grad(ht_sum(ht_gather(in[0], in[1])), 2, in, d);
    assert_int_equal(ht_context_status(ctx), HT_ERROR_NO_GRADIENT);
    assert_contains(ht_context_message(ctx), "x[1]");
    assert_contains(ht_context_message(ctx), "i32");
    ht_tape_free(tape);
    ht_tensor_free(x);
    ht_tensor_free(index);
    ht_context_free(ctx);
}

/* Awkward points. */

/* f's value, gradient by each of n numbers, and Hessian, by hand, row-major. NAN: finite,
 * no more is promised; INFINITY: that it is. */
typedef struct awkward {
    const char *name;
    ht_var (*f)(const ht_var *x);
    int n;
    double at[3], value, gradient[3], hessian[9];
} awkward;

static ht_var at_sqrt(const ht_var *x)
{
    return ht_sqrt(x[0]);
}
static ht_var at_sqrt_of_square(const ht_var *x)
{
    return ht_sqrt(ht_square(x[0]));
}
static ht_var at_adam(const ht_var *x)
{
    return ht_div(x[0], ht_add(ht_sqrt(ht_square(x[0])), 0.5));
}
static ht_var at_relu(const ht_var *x)
{
    return ht_relu(x[0]);
}
static ht_var at_abs(const ht_var *x)
{
    return ht_abs(x[0]);
}
static ht_var at_maximum(const ht_var *x)
{
    return ht_maximum(x[0], x[1]);
}
static ht_var at_minimum(const ht_var *x)
{
    return ht_minimum(x[0], x[1]);
}
static ht_var at_maximum_square(const ht_var *x)
{
    return ht_square(ht_maximum(x[0], x[1]));
}
static ht_var at_max(const ht_var *x)
{
    ht_var rows[3];
    for (int i = 0; i < 3; i++) rows[i] = ht_reshape(x[i], HT_SHAPE(1));
    return ht_sum(ht_max_axes(ht_concat(3, rows, 0), HT_AXES(0), false));
}
static ht_var at_pow_0(const ht_var *x)
{
    return ht_pow(x[0], 0.0);
}
static ht_var at_pow_1(const ht_var *x)
{
    return ht_pow(x[0], 1.0);
}
static ht_var at_pow_2(const ht_var *x)
{
    return ht_pow(x[0], 2.0);
}
static ht_var at_pow_3(const ht_var *x)
{
    return ht_pow(x[0], 3.0);
}
static ht_var at_pow_half(const ht_var *x)
{
    return ht_pow(x[0], 1.5);
}
static ht_var at_pow(const ht_var *x)
{
    return ht_pow(x[0], x[1]);
}
static ht_var at_log_square(const ht_var *x)
{
    return ht_mul(ht_square(ht_log(x[0])), 0.5);
}

#define LN_2 0.69314718055994530942

static const awkward points[] = {
    {"sqrt at 0", at_sqrt, 1, {0}, 0, {0}, {0}},
    {"sqrt(x^2) at 0", at_sqrt_of_square, 1, {0}, 0, {0}, {0}},
    {"sqrt(x^2) at -3", at_sqrt_of_square, 1, {-3}, 3, {-1}, {0}},
    {"x / (sqrt(x^2) + 1/2) at 0", at_adam, 1, {0}, 0, {2}, {0}},
    {"relu at 0", at_relu, 1, {0}, 0, {0}, {0}},
    {"abs at 0", at_abs, 1, {0}, 0, {0}, {0}},
    {"maximum at a tie", at_maximum, 2, {2, 2}, 2, {0.5, 0.5}, {0}},
    {"minimum at a tie", at_minimum, 2, {2, 2}, 2, {0.5, 0.5}, {0}},
    {"maximum^2 at a tie", at_maximum_square, 2, {3, 3}, 9, {3, 3}, {0.5, 0.5, 0.5, 0.5}},
    {"max at a tie of two", at_max, 3, {5, 1, 5}, 5, {0.5, 0, 0.5}, {0}},
    {"max at a tie of three", at_max, 3, {4, 4, 4}, 4, {1.0 / 3, 1.0 / 3, 1.0 / 3}, {0}},
    {"x^0 at 0", at_pow_0, 1, {0}, 1, {0}, {0}},
    {"x^1 at 0", at_pow_1, 1, {0}, 0, {1}, {0}},
    {"x^2 at 0", at_pow_2, 1, {0}, 0, {0}, {2}},
    {"x^3 at 0", at_pow_3, 1, {0}, 0, {0}, {0}},
    {"x^3 at -2", at_pow_3, 1, {-2}, -8, {12}, {-12}},
    {"x^(3/2) at 0", at_pow_half, 1, {0}, 0, {0}, {INFINITY}},
    {"x^y at 0, 2", at_pow, 2, {0, 2}, 0, {0, 0}, {2, 0, 0, 0}},
    {"x^y at 0, 1", at_pow, 2, {0, 1}, 0, {1, 0}, {0, NAN, NAN, 0}},
    {"x^y at 0, 0", at_pow, 2, {0, 0}, 1, {0, 0}, {0, NAN, NAN, 0}},
    {"x^y at 2, 0", at_pow, 2, {2, 0}, 1, {0, LN_2}, {0, 0.5, 0.5, LN_2 *LN_2}},
    {"x^y at -2, 2", at_pow, 2, {-2, 2}, 4, {-4, 0}, {2, NAN, NAN, 0}},
    {"log(x)^2 / 2 at 1", at_log_square, 1, {1}, 0, {0}, {1}},
};
enum { N_POINTS = sizeof points / sizeof points[0] };

static void point_near(const awkward *p, const char *what, int i, double got, double want)
{
    double scale = isfinite(want) && fabs(want) > 1 ? fabs(want) : 1;
    if (isnan(want) ? isfinite(got) : got == want || fabs(got - want) <= 1e-15 * scale)
        return;
    fail_msg("%s: %s [%d] is %.17g, expected %.17g", p->name, what, i, got, want);
}

/* The Hessian by columns, forward over reverse, then reverse twice. */
static void check_point(const awkward *p)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *at[3], *one = ht_tensor_new(ctx, HT_F64, HT_SCALAR);
    ht_var x[3], g[3], h[3];
    ht_tensor_fill(one, 1);
    for (int i = 0; i < p->n; i++) {
        at[i] = ht_tensor_new(ctx, HT_F64, HT_SCALAR);
        ht_tensor_fill(at[i], p->at[i]);
        x[i] = ht_input(tape, at[i]);
    }
    ht_var y = p->f(x);
    point_near(p, "value", 0, ht_item(y), p->value);
    ht_grad_or_zero(y, p->n, x, g);
    for (int j = 0; j < p->n; j++) {
        point_near(p, "gradient", j, ht_item(g[j]), p->gradient[j]);
        ht_var v[3] = {HT_ZERO, HT_ZERO, HT_ZERO};
        v[j] = ht_input(tape, one);
        ht_hvp(y, p->n, x, v, h);
        for (int i = 0; i < p->n; i++)
            point_near(p, "Hessian, forward over reverse", i * p->n + j, ht_item(h[i]),
                       p->hessian[i * p->n + j]);
        ht_grad_or_zero(g[j], p->n, x, h);
        for (int i = 0; i < p->n; i++)
            point_near(p, "Hessian, reverse twice", j * p->n + i, ht_item(h[i]),
                       p->hessian[j * p->n + i]);
    }
    assert_int_equal(ht_context_status(ctx), HT_OK);
    ht_tape_free(tape);
    for (int i = 0; i < p->n; i++) ht_tensor_free(at[i]);
    ht_tensor_free(one);
    ht_context_free(ctx);
}

static void derivatives_at_awkward_points_are_the_documented_ones(void **state)
{
    (void)state;
    for (int i = 0; i < N_POINTS; i++) check_point(&points[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(op_at_every_row_has_samples),
        cmocka_unit_test(derivatives_first_match_differences),
        cmocka_unit_test(derivatives_second_match_differences_in_every_mode),
        cmocka_unit_test(derivatives_third_match_differences),
        cmocka_unit_test(run_f32_is_close_to_f64),
        cmocka_unit_test(run_eager_equals_replayed_bitwise),
        cmocka_unit_test(run_constant_replays_as_itself),
        cmocka_unit_test(grad_of_a_row_without_gradient_is_refused),
        cmocka_unit_test(grad_by_integers_is_refused),
        cmocka_unit_test(derivatives_at_awkward_points_are_the_documented_ones),
    };
    return TEST_MAIN(tests);
}
