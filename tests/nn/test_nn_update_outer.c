/* SPDX-License-Identifier: MIT */
/* test_nn_update_outer.c: update rules whose scalars are outer variables: every layout
 * against loops, shapes that are refused, and derivatives of every rule where a gradient
 * is always zero. Read next: nn/update.c, test_bilevel_closed_form.c. */
#include "update_loops.h"

/* (), (steps), (n), (steps, n), (steps, 1), (1, n) */
enum layout { ONE, STEP, TENSOR, BOTH, STEP_1, TENSOR_1, N_LAYOUTS };

static ht_shape layout_shape(enum layout layout, int64_t steps, int64_t n)
{
    const ht_shape of[N_LAYOUTS] = {HT_SCALAR,          HT_SHAPE(steps),
                                    HT_SHAPE(n),        HT_SHAPE(steps, n),
                                    HT_SHAPE(steps, 1), HT_SHAPE(1, n)};
    return of[layout];
}

/* Where the number for (step, tensor) stands. */
static int64_t layout_place(enum layout layout, int64_t n, int64_t step, int64_t i)
{
    const int64_t of[N_LAYOUTS] = {0, step, i, step * n + i, step, i};
    return of[layout];
}

/* Outer variables in one layout, and the same numbers looked up by hand. */
static const char *const scalar_names[] = {"rate",  "momentum", "beta2",      "eps",
                                           "decay", "clip",     "clip_value", "eps_root"};
enum { N_SCALARS = sizeof scalar_names / sizeof scalar_names[0] };

static const ht_update_rule *const rules[] = {&ht_sgd,     &ht_momentum, &ht_nesterov,
                                              &ht_adam,    &ht_adamw,    &ht_rmsprop,
                                              &ht_adagrad, &ht_muon};
enum { N_RULES = sizeof rules / sizeof rules[0] };

static ht_set *layout_eta(ht_context *ctx, enum layout layout, int64_t steps, int64_t n,
                          ht_dtype dtype)
{
    static const double low[] = {0.05, 0.7, 0.8, 0.01, 0.1, 1.5, 0.8, 0.02};
    ht_set *eta = ht_set_new(ctx);
    for (int k = 0; k < N_SCALARS; k++) {
        ht_tensor *x =
            ht_set_add(eta, scalar_names[k], dtype, layout_shape(layout, steps, n));
        ht_tensor_uniform(x, ht_stream(scalar_names[k]), low[k], low[k] * 1.2);
    }
    return eta;
}

static numbers layout_numbers(const ht_update_rule *rule, const ht_set *eta, int64_t at)
{
    double x[N_SCALARS];
    for (int k = 0; k < N_SCALARS; k++) x[k] = ht_tensor_get(ht_set_at(eta, k), at);
    return (numbers){x[0],
                     rule->has_momentum ? x[1] : 0,
                     rule->has_beta2 ? x[2] : 0,
                     rule->has_eps ? x[3] : 0,
                     x[4],
                     x[5],
                     x[6],
                     rule->has_eps ? x[7] : 0};
}

/* Rate, what the rule has, and of decay, the clips and eps_root those asked for. */
enum { DECAY = 1, CLIP = 2, CLIP_VALUE = 4, EPS_ROOT = 8 };

static ht_update outer_update(const ht_update_rule *rule, int asked)
{
    ht_update u = {.rule = rule, .rate = HT_OUTER("rate")};
    if (rule->has_momentum) u.momentum = HT_OUTER("momentum");
    if (rule->has_beta2) u.beta2 = HT_OUTER("beta2");
    if (rule->has_eps) u.eps = HT_OUTER("eps");
    if (asked & DECAY) u.decay = HT_OUTER("decay");
    if (asked & CLIP) u.clip = HT_OUTER("clip");
    if (asked & CLIP_VALUE) u.clip_value = HT_OUTER("clip_value");
    if (asked & EPS_ROOT && rule->has_eps) u.eps_root = HT_OUTER("eps_root");
    return u;
}

/* One step on an eager tape, written back to theta and state. */
static void emit_step(const ht_update *u, ht_set *theta, ht_set *s, const ht_set *eta,
                      int64_t steps, int step, const ht_set *gradient)
{
    ht_context *ctx = ht_set_context(theta);
    ht_var new_theta[N_SHAPES], new_state[2 * N_SHAPES], g[N_SHAPES];
    ht_set *next = ht_set_clone(theta, 0), *next_state = ht_set_clone(s, 0);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_vars *theta_vars = ht_vars_input(tape, theta, step);
    ht_vars *state_vars = ht_vars_input(tape, s, step);
    ht_vars *eta_vars = ht_vars_input(tape, eta, step);
    for (int i = 0; i < ht_set_count(gradient); i++)
        g[i] = ht_input(tape, ht_set_at(gradient, i));
    hti_update_emit(u, theta_vars, state_vars, eta_vars, steps, g, NULL, new_theta,
                    new_state);
    test_no_error(ctx);
    for (int i = 0; i < ht_set_count(theta); i++)
        ht_tensor_copy(ht_set_at(next, i), ht_value(new_theta[i]));
    for (int i = 0; i < ht_set_count(s); i++)
        ht_tensor_copy(ht_set_at(next_state, i), ht_value(new_state[i]));
    ht_tape_free(tape);
    ht_set_copy(theta, next);
    ht_set_copy(s, next_state);
    ht_set_free(next);
    ht_set_free(next_state);
}

/* theta's first n tensors only. */
static ht_set *first_of(ht_context *ctx, ht_dtype dtype, uint64_t stream, int n)
{
    ht_set *set = ht_set_new(ctx);
    for (int i = 0; i < n; i++) {
        char name[] = {'p', (char)('0' + i), '\0'};
        ht_tensor_normal(ht_set_add(set, name, dtype, shapes[i]), stream + (uint64_t)i, 0,
                         1);
    }
    return set;
}

static void check_layout(ht_context *ctx, const ht_update_rule *rule, enum layout layout,
                         int64_t steps, int n, ht_dtype dtype)
{
    char what[80];
    snprintf(what, sizeof what, "rule %s, layout %d, %d steps, %d tensors, %s",
             rule->name, (int)layout, (int)steps, n, ht_dtype_name(dtype));
    ht_set *theta = first_of(ctx, dtype, 300, n), *gradient = first_of(ctx, dtype, 0, n);
    ht_set *eta = layout_eta(ctx, layout, steps, n, dtype);
    ht_update update = outer_update(rule, DECAY | CLIP | CLIP_VALUE | EPS_ROOT);
    assert_true(hti_update_valid(ctx, &update, theta, eta, steps));
    ht_set *s = hti_update_state(&update, theta);
    loop l = loop_of(rule, theta);
    for (int step = 0; step < (int)steps; step++) {
        numbers x[N_SHAPES];
        for (int i = 0; i < n; i++)
            x[i] = layout_numbers(rule, eta, layout_place(layout, n, step, i));
        random_fill(gradient, 1000 + 10 * (uint64_t)step);
        loop_step(&l, x, step + 1, gradient);
        emit_step(&update, theta, s, eta, steps, step, gradient);
        check_loop(&l, theta, dtype == HT_F64 ? 1e-14 : 1e-6, what, step);
    }
    ht_set_free(theta);
    ht_set_free(gradient);
    ht_set_free(eta);
    ht_set_free(s);
}

static void update_emit_of_every_layout_is_the_loop(void **state)
{
    fixture *f = *state;
    static const struct {
        int64_t steps;
        int n;
    } problem[] = {{5, 3}, {4, 4}, {1, 3}, {4, 1}, {1, 1}};
    int checked = 0;
    for (int p = 0; p < 5; p++)
        for (int r = 0; r < N_RULES; r++)
            for (int layout = 0; layout < N_LAYOUTS; layout++) {
                int64_t steps = problem[p].steps;
                bool vector = layout == STEP || layout == TENSOR;
                if (vector && steps == problem[p].n && steps > 1) continue;
                check_layout(f->ctx, rules[r], (enum layout)layout, steps, problem[p].n,
                             HT_F64);
                check_layout(f->ctx, rules[r], (enum layout)layout, steps, problem[p].n,
                             HT_F32);
                checked++;
            }
    assert_int_equal(checked, 5 * N_RULES * N_LAYOUTS - N_RULES * 2);
}

static void update_valid_of_wrong_shapes_says_which_would_do(void **state)
{
    fixture *f = *state;
    const ht_shape wrong[] = {{1, {4}},    {1, {6}},    {1, {1}},
                              {2, {3, 5}}, {2, {5, 2}}, {2, {4, 3}},
                              {2, {2, 1}}, {2, {1, 5}}, {3, {5, 3, 1}}};
    const ht_update update = {
        .rule = &ht_momentum, .rate = HT_FIXED(1), .momentum = HT_OUTER("mu")};
    ht_set *theta = first_of(f->ctx, HT_F32, 1, 3);
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
        ht_set *eta = ht_set_new(f->ctx);
        ht_set_add(eta, "mu", HT_F32, wrong[k]);
        char text[HT_SHAPE_TEXT];
        assert_false(hti_update_valid(f->ctx, &update, theta, eta, 5));
        assert_contains(ht_context_message(f->ctx), ht_shape_text(wrong[k], text));
        test_error(f->ctx, HT_ERROR_SHAPE,
                   "must be f32 or f64 and () for one value, (5) per step, (3) per "
                   "parameter tensor or (5, 3) for both");
        ht_set_free(eta);
    }
    ht_set_free(theta);
}

static void update_valid_of_equal_sizes_asks_which(void **state)
{
    fixture *f = *state;
    const ht_update update = {.rule = &ht_sgd, .rate = HT_OUTER("rate")};
    ht_set *theta = first_of(f->ctx, HT_F32, 1, 3);
    const ht_shape given[] = {{1, {3}}, {2, {3, 1}}, {2, {1, 3}}, {2, {3, 3}}};
    for (int k = 0; k < 4; k++) {
        ht_set *eta = ht_set_new(f->ctx);
        ht_set_add(eta, "rate", HT_F32, given[k]);
        assert_int_equal(hti_update_valid(f->ctx, &update, theta, eta, 3), k > 0);
        if (k == 0)
            test_error(f->ctx, HT_ERROR_SHAPE,
                       "where the two are equal, (steps, 1) or (1, n) says which");
        test_no_error(f->ctx);
        ht_set_free(eta);
    }
    ht_set_free(theta);
}

static void update_valid_of_unknown_name_or_integers_is_an_error(void **state)
{
    fixture *f = *state;
    ht_update update = {.rule = &ht_sgd, .rate = HT_OUTER("rat")};
    ht_set *theta = first_of(f->ctx, HT_F32, 1, 2), *eta = ht_set_new(f->ctx);
    ht_set_add(eta, "lambda", HT_F32, HT_SCALAR);
    ht_set_add(eta, "count", HT_I32, HT_SCALAR);
    assert_false(hti_update_valid(f->ctx, &update, theta, eta, 3));
    test_error(f->ctx, HT_ERROR_ARGUMENT,
               "no tensor \"rat\"; this set has: lambda, count");
    update.rate = HT_OUTER("count");
    assert_false(hti_update_valid(f->ctx, &update, theta, eta, 3));
    test_error(f->ctx, HT_ERROR_DTYPE, "outer variable \"count\" of i32 ()");
    ht_set_free(theta);
    ht_set_free(eta);
}

/* Derivatives. */

/* Three steps of w (4), gradient c * g_t with g_t[0] = 0 always. x: w, c, then the
 * scalars of the update by name, each 0-d. The mean of w_3^2 / 2 + w_3. */
enum { UNROLLED = 3 };
static const double unrolled_gradient[UNROLLED][4] = {
    {0, 1.5, -0.3, 0.02}, {0, -0.7, 0.9, 0.01}, {0, 0.4, 1.1, -0.03}};

/* The point at which an update with outer scalars is differentiated, and in eta's place
 * the part of it after w and c. */
typedef struct unrolled {
    ht_update update;
    ht_set *point, *theta, *eta, *state;
} unrolled;

static unrolled unrolled_new(ht_context *ctx, const ht_update_rule *rule, int asked)
{
    /* Of values and of norms some are cut and some are not. */
    static const double at[] = {0.05, 0.8, 0.9, 1e-2, 0.3, 1.38, 1.3, 0.04};
    const ht_update u = outer_update(rule, asked);
    const ht_scalar *const field[] = {&u.rate,  &u.momentum, &u.beta2,      &u.eps,
                                      &u.decay, &u.clip,     &u.clip_value, &u.eps_root};
    unrolled r = {.update = u,
                  .point = ht_set_new(ctx),
                  .theta = ht_set_new(ctx),
                  .eta = ht_set_new(ctx)};
    ht_tensor *w = ht_set_add(r.point, "w", HT_F64, HT_SHAPE(4));
    for (int i = 0; i < 4; i++) ht_tensor_set(w, i, 0.5 * i - 0.7);
    ht_set_add(r.theta, "w", HT_F64, HT_SHAPE(4));
    ht_tensor_fill(ht_set_add(r.point, "c", HT_F64, HT_SCALAR), 1.2);
    for (int k = 0; k < N_SCALARS; k++) {
        if (!field[k]->outer) continue;
        ht_tensor_fill(ht_set_add(r.point, scalar_names[k], HT_F64, HT_SCALAR), at[k]);
        ht_set_add(r.eta, scalar_names[k], HT_F64, HT_SCALAR);
    }
    r.state = hti_update_state(&r.update, r.theta);
    return r;
}

static void unrolled_free(unrolled *r)
{
    ht_set_free(r->point);
    ht_set_free(r->theta);
    ht_set_free(r->eta);
    ht_set_free(r->state);
}

static ht_var unrolled_loss(ht_tape *tape, int n, const ht_var *x, void *user)
{
    const unrolled *r = user;
    ht_var w = x[0], states[2] = {ht_mul(x[0], 0.0), ht_mul(x[0], 0.0)};
    for (int t = 0; t < UNROLLED; t++) {
        ht_var step = ht_cast(ht_constant(tape, t), HT_I32), g[4];
        for (int i = 0; i < 4; i++)
            g[i] = ht_reshape(ht_cast(ht_constant(tape, unrolled_gradient[t][i]), HT_F64),
                              HT_SHAPE(1));
        ht_var gradient = ht_mul(ht_concat(4, g, 0), x[1]);
        ht_vars *theta_vars = hti_vars_new(tape, r->theta, step);
        ht_vars *state_vars = hti_vars_new(tape, r->state, step);
        ht_vars *eta_vars = hti_vars_new(tape, r->eta, step);
        theta_vars->var[0] = w;
        for (int k = 0; k < ht_set_count(r->state); k++) state_vars->var[k] = states[k];
        for (int k = 0; k < n - 2; k++) eta_vars->var[k] = x[2 + k];
        hti_update_emit(&r->update, theta_vars, state_vars, eta_vars, UNROLLED, &gradient,
                        NULL, &w, states);
    }
    return ht_mean(ht_add(ht_mul(ht_square(w), 0.5), w));
}

static const int asked_for[] = {
    0, DECAY, CLIP, CLIP_VALUE, DECAY | CLIP | CLIP_VALUE, EPS_ROOT, EPS_ROOT | DECAY};
enum { N_ASKED = sizeof asked_for / sizeof asked_for[0] };

static void check_finite(ht_context *ctx, const ht_update_rule *rule, int asked)
{
    unrolled r = unrolled_new(ctx, rule, asked);
    int n = ht_set_count(r.point);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_vars *vars = ht_vars_input(tape, r.point, 0);
    ht_var g[2 + N_SCALARS], v[2 + N_SCALARS], hv[2 + N_SCALARS];
    ht_var y = unrolled_loss(tape, n, vars->var, &r);
    ht_vars_grad(y, vars, g);
    for (int k = 0; k < n; k++) v[k] = ht_add(ht_mul(vars->var[k], 0.0), 1.0);
    ht_hvp(y, n, vars->var, v, hv);
    test_no_error(ctx);
    for (int k = 0; k < n; k++)
        for (int64_t i = 0; i < ht_tensor_count(ht_set_at(r.point, k)); i++) {
            double first = ht_tensor_get(ht_value(g[k]), i);
            double second = ht_tensor_get(ht_value(hv[k]), i);
            if (!isfinite(first) || !isfinite(second))
                fail_msg("%s, asked %d: derivatives by %s[%d] are %g, %g", rule->name,
                         asked, ht_set_name(r.point, k), (int)i, first, second);
        }
    /* Without decay the coordinate stays where it was: d mean(w^2/2 + w)/dw_0 is
     * (w_0 + 1)/4, whose own derivative along v is 1/4. */
    if (!(asked & DECAY)) {
        assert_near(ht_tensor_get(ht_value(g[0]), 0), (-0.7 + 1) / 4, 1e-15);
        assert_near(ht_tensor_get(ht_value(hv[0]), 0), 0.25, 1e-15);
    }
    ht_tape_free(tape);
    unrolled_free(&r);
}

static void update_of_a_gradient_always_zero_has_finite_derivatives(void **state)
{
    fixture *f = *state;
    for (int r = 0; r < N_RULES; r++)
        for (int k = 0; k < N_ASKED; k++) check_finite(f->ctx, rules[r], asked_for[k]);
}

static void update_derivatives_of_both_orders_agree_with_differences(void **state)
{
    fixture *f = *state;
    for (int k = 0; k < N_RULES * N_ASKED; k++) {
        unrolled r = unrolled_new(f->ctx, rules[k / N_ASKED], asked_for[k % N_ASKED]);
        const ht_tensor *at[2 + N_SCALARS];
        int n = ht_set_count(r.point);
        for (int i = 0; i < n; i++) at[i] = ht_set_at(r.point, i);
        if (!ht_gradient_check(f->ctx, unrolled_loss, n, at, &r, stderr))
            fail_msg("%s, asked %d", rules[k / N_ASKED]->name, asked_for[k % N_ASKED]);
        test_no_error(f->ctx);
        unrolled_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(update_emit_of_every_layout_is_the_loop),
        CASE(update_valid_of_wrong_shapes_says_which_would_do),
        CASE(update_valid_of_equal_sizes_asks_which),
        CASE(update_valid_of_unknown_name_or_integers_is_an_error),
        CASE(update_of_a_gradient_always_zero_has_finite_derivatives),
        CASE(update_derivatives_of_both_orders_agree_with_differences),
    };
    return TEST_MAIN(tests);
}
