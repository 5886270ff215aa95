/* SPDX-License-Identifier: MIT */
/* test_nn_update_numbers.c: update rules where squares overflow or vanish, where numbers
 * are not finite, and what is refused because an element type cannot hold it.
 * Read next: nn/update.c, test_edges_update.c. */
#include "kernels.h"
#include "nn_internal.h"
#include "test_bilevel.h"
#include "test_nn.h"

/* Right to the last places of the element type, however large or small; NaN where that is
 * right. */
static void expect(const ht_tensor *x, int64_t k, double want, const char *what)
{
    double got = ht_tensor_get(x, k);
    double most = ht_tensor_dtype(x) == HT_F32 ? 5e-7 : 1e-14;
    if (isnan(want) ? !isnan(got) : !(got == want || fabs(got / want - 1) <= most))
        fail_msg("%s, %s, element %lld: got %.9g, want %.9g", what,
                 ht_dtype_name(ht_tensor_dtype(x)), (long long)k, got, want);
}

/* Plain training of "a" (2) and "b" (), all zero. */
typedef struct plain {
    ht_set *theta, *gradient;
    ht_optimizer *optimizer;
} plain;

static plain plain_new(ht_context *ctx, ht_dtype dtype, const ht_update *update)
{
    plain p = {.theta = ht_set_new(ctx)};
    ht_set_add(p.theta, "a", dtype, HT_SHAPE(2));
    ht_set_add(p.theta, "b", dtype, HT_SCALAR);
    p.gradient = ht_set_clone(p.theta, 0);
    ht_update any = *update;
    any.non_finite = true;
    p.optimizer = ht_optimizer_new(p.theta, &any);
    test_no_error(ctx);
    return p;
}

static void plain_free(plain *p)
{
    ht_optimizer_free(p->optimizer);
    ht_set_free(p->theta);
    ht_set_free(p->gradient);
}

static void plain_step(plain *p, const double g[3])
{
    for (int k = 0; k < 2; k++) ht_tensor_set(ht_set_at(p->gradient, 0), k, g[k]);
    ht_tensor_set(ht_set_at(p->gradient, 1), 0, g[2]);
    assert_int_equal(ht_optimizer_step(p->optimizer, p->gradient), HT_OK);
}

static void plain_expect(const plain *p, const double want[3], const char *what)
{
    for (int k = 0; k < 2; k++) expect(ht_set_at(p->theta, 0), k, want[k], what);
    expect(ht_set_at(p->theta, 1), 0, want[2], what);
}

/* Clipping by norm. */

#define NOT_A_NUMBER ((double)NAN)

static void clip_by_norm_of_any_gradient_is_its_direction(void **state)
{
    fixture *f = *state;
    const double inf = (double)INFINITY;
    const struct {
        ht_dtype dtype; /* the smallest that holds g */
        double clip, g[3], want[3];
    } c[] = {
        {HT_F32, 1, {3e19, 4e19, 0}, {-0.6, -0.8, 0}},
        {HT_F32,
         1,
         {2e38, 3e38, -6e37},
         {-2 / 3.655133376499413, -3 / 3.655133376499413, 0.6 / 3.655133376499413}},
        {HT_F32,
         1,
         {3e38, 3e38, 3e38},
         {-0.57735026918962576, -0.57735026918962576, -0.57735026918962576}},
        {HT_F32,
         1e-30,
         {3e38, 0, 4e38 * 0.5},
         {-3e-30 / 3.605551275463989, 0, -2e-30 / 3.605551275463989}},
        {HT_F32, 1e-32, {3e-30, 0, -4e-30}, {-0.6e-32, 0, 0.8e-32}},
        {HT_F32, 1e-32, {3e-33, 0, -4e-33}, {-3e-33, 0, 4e-33}},
        {HT_F32, 5, {3, 4, 0}, {-3, -4, 0}},
        {HT_F32, 1, {NOT_A_NUMBER, 5, 1}, {NOT_A_NUMBER, NOT_A_NUMBER, NOT_A_NUMBER}},
        {HT_F32, 9, {1, 2, NOT_A_NUMBER}, {NOT_A_NUMBER, NOT_A_NUMBER, NOT_A_NUMBER}},
        {HT_F32, 1, {-inf, 5, 1}, {NOT_A_NUMBER, NOT_A_NUMBER, NOT_A_NUMBER}},
        {HT_F64, 1, {3e200, -4e200, 0}, {-0.6, 0.8, 0}},
        {HT_F64, 1, {3e200, 0, 4e200}, {-0.6, 0, -0.8}},
        {HT_F64, 1, {1e308, 1e308, 0}, {-0.70710678118654752, -0.70710678118654752, 0}},
        {HT_F64, 1e-202, {3e-200, 0, 4e-200}, {-0.6e-202, 0, -0.8e-202}},
    };
    for (size_t k = 0; k < sizeof c / sizeof c[0]; k++)
        for (ht_dtype dtype = c[k].dtype; dtype <= HT_F64; dtype++) {
            char what[80];
            snprintf(what, sizeof what, "clip %g of (%g, %g), %g", c[k].clip, c[k].g[0],
                     c[k].g[1], c[k].g[2]);
            plain p = plain_new(f->ctx, dtype,
                                &(ht_update){.rule = &ht_sgd,
                                             .rate = HT_FIXED(1),
                                             .clip = HT_FIXED(c[k].clip)});
            plain_step(&p, c[k].g);
            plain_expect(&p, c[k].want, what);
            plain_free(&p);
        }
}

/* Every rule gets the clipped gradient, and groups share the norm; what is frozen does
 * not count. */
static void clip_by_norm_with_nan_reaches_all_groups_but_the_frozen(void **state)
{
    fixture *f = *state;
    const ht_update momentum = {
        .rule = &ht_momentum, .rate = HT_FIXED(1), .momentum = HT_FIXED(0.5)};
    const ht_update *const second[] = {&momentum, NULL};
    for (int k = 0; k < 2; k++) {
        plain p = plain_new(f->ctx, HT_F32,
                            &(ht_update){.rule = &ht_sgd,
                                         .rate = HT_FIXED(1),
                                         .clip = HT_FIXED(1),
                                         .groups = &(ht_update_group){"b", second[k]},
                                         .n_groups = 1});
        plain_step(&p, (double[]){3e20, 4e20, NOT_A_NUMBER});
        plain_expect(&p,
                     second[k] ? (double[]){NOT_A_NUMBER, NOT_A_NUMBER, NOT_A_NUMBER}
                               : (double[]){-0.6, -0.8, 0},
                     second[k] ? "NaN in another group" : "NaN in a frozen tensor");
        plain_free(&p);
    }
}

static void clip_by_value_bounds_infinity_and_keeps_nan(void **state)
{
    fixture *f = *state;
    for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++) {
        plain p = plain_new(f->ctx, dtype,
                            &(ht_update){.rule = &ht_sgd,
                                         .rate = HT_FIXED(1),
                                         .clip_value = HT_FIXED(0.5)});
        plain_step(&p, (double[]){(double)INFINITY, NOT_A_NUMBER, -(double)INFINITY});
        plain_expect(&p, (double[]){-0.5, NOT_A_NUMBER, 0.5}, "clip_value 0.5");
        plain_free(&p);
    }
}

/* inner: scale <a, theta>, so that g = scale a; outer: theta's first element. */
static ht_var steep_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    (void)batch;
    ht_var sum = ht_sum(ht_mul(ht_get(theta, "w"), ht_get(eta, "a")));
    return ht_mul(sum, *(const double *)user);
}

static ht_var steep_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    (void)eta, (void)batch, (void)user;
    return ht_sum(ht_slice(ht_get(theta, "w"), 0, 0, 1, 1));
}

static ht_scalar outer_number(ht_set *eta, const char *name, ht_dtype dtype, double value)
{
    ht_tensor_fill(ht_set_add(eta, name, dtype, HT_SCALAR), value);
    return HT_OUTER(name);
}

/* w_0' = -rate clip a_0 / |a|, a = (12, 16): by a -rate clip (.64, -.48) / 20. */
static void clip_in_a_bilevel_gives_the_direction_s_derivative(void **state)
{
    fixture *f = *state;
    const struct {
        ht_dtype dtype;
        double scale;
    } c[] = {{HT_F32, 1},      {HT_F32, 2.5e18}, {HT_F32, 1e30},  {HT_F32, 1e-30},
             {HT_F64, 2.5e18}, {HT_F64, 1e200},  {HT_F64, 1e-200}};
    const ht_method method[] = {HT_REVERSE, HT_REVERSE_REVERSE, HT_FORWARD};
    for (size_t k = 0; k < sizeof c / sizeof c[0]; k++)
        for (size_t m = 0; m < sizeof method / sizeof method[0]; m++) {
            char what[80];
            double scale = c[k].scale, clip = scale < 1 ? 1e-31 * scale : 1;
            ht_set *theta = ht_set_new(f->ctx), *eta = ht_set_new(f->ctx);
            ht_set_add(theta, "w", c[k].dtype, HT_SHAPE(2));
            ht_tensor *a = ht_set_add(eta, "a", c[k].dtype, HT_SHAPE(2));
            ht_tensor_set(a, 0, 12);
            ht_tensor_set(a, 1, 16);
            if (c[k].dtype == HT_F32 && scale < 1) clip = 1e-3 * scale;
            ht_update u = {.rule = &ht_sgd};
            u.rate = outer_number(eta, "rate", HT_F64, 0.5);
            u.clip = outer_number(eta, "clip", HT_F64, clip);
            ht_bilevel_problem problem = {.inner = steep_inner,
                                          .outer = steep_outer,
                                          .theta = theta,
                                          .eta = eta,
                                          .update = u,
                                          .steps = 1,
                                          .user = &scale};
            ht_bilevel *b = ht_bilevel_new(f->ctx, &problem,
                                           &(ht_bilevel_options){.method = method[m]});
            test_no_error(f->ctx);
            ht_bilevel_result r = ht_bilevel_run(b, 0);
            snprintf(what, sizeof what, "scale %g, method %d", scale, (int)method[m]);
            if (r.bad_step != -1)
                fail_msg("%s: step %d, op %s", what, (int)r.bad_step, r.bad_op);
            expect(ht_set_tensor(r.theta, "w"), 0, -0.5 * 0.6 * clip, what);
            expect(ht_set_tensor(r.theta, "w"), 1, -0.5 * 0.8 * clip, what);
            expect(ht_set_tensor(r.gradient, "a"), 0, -0.5 * clip * 0.032, what);
            expect(ht_set_tensor(r.gradient, "a"), 1, 0.5 * clip * 0.024, what);
            double by_clip = ht_tensor_get(ht_set_tensor(r.gradient, "clip"), 0);
            double by_rate = ht_tensor_get(ht_set_tensor(r.gradient, "rate"), 0);
            if (!(fabs(by_clip / -0.3 - 1) < 5e-7) ||
                !(fabs(by_rate / (-0.6 * clip) - 1) < 5e-7))
                fail_msg("%s: by clip %.9g, want -0.3; by rate %.9g, want %.9g", what,
                         by_clip, by_rate, -0.6 * clip);
            ht_bilevel_free(b);
            ht_set_free(theta);
            ht_set_free(eta);
        }
}

/* The norm of all, a clip of each: outer variables (2), one of them 0. */
static void clip_per_tensor_as_outer_variable_scales_each_by_the_norm_of_all(void **state)
{
    fixture *f = *state;
    ht_set *theta = ht_set_new(f->ctx), *eta = ht_set_new(f->ctx);
    ht_set_add(theta, "w", HT_F32, HT_SHAPE(2));
    ht_tensor *a = ht_set_add(eta, "a", HT_F32, HT_SHAPE(2));
    ht_tensor *clip = ht_set_add(eta, "clip", HT_F32, HT_SHAPE(1, 1));
    double scale = 1e36;
    ht_tensor_set(a, 0, 12);
    ht_tensor_set(a, 1, 16);
    for (int k = 0; k < 2; k++) {
        ht_tensor_fill(clip, k);
        ht_bilevel_problem problem = {
            .inner = steep_inner,
            .outer = steep_outer,
            .theta = theta,
            .eta = eta,
            .update = {.rule = &ht_sgd, .rate = HT_FIXED(2), .clip = HT_OUTER("clip")},
            .steps = 1,
            .user = &scale};
        ht_bilevel *b = ht_bilevel_new(f->ctx, &problem, NULL);
        test_no_error(f->ctx);
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        assert_int_equal(r.bad_step, -1);
        expect(ht_set_tensor(r.theta, "w"), 0, -1.2 * k, "clip of 0 or 1");
        expect(ht_set_tensor(r.gradient, "clip"), 0, -1.2, "by a clip of 0 or 1");
        ht_bilevel_free(b);
    }
    ht_set_free(theta);
    ht_set_free(eta);
}

/* Averages of squares. */

static const ht_update_rule *const averaging[] = {&ht_adam, &ht_adamw, &ht_rmsprop,
                                                  &ht_adagrad};
enum { N_AVERAGING = sizeof averaging / sizeof averaging[0] };

/* sqrt(a p^2 + b q^2), scaled by a power of two: no long double need be wider. */
static double root_of_sum(double a, double p, double b, double q)
{
    const long double x = sqrtl(a) * p, y = sqrtl(b) * q;
    int power;
    frexp((double)fmaxl(fabsl(x), fabsl(y)), &power);
    const long double u = ldexpl(x, -power), v = ldexpl(y, -power);
    return ldexp((double)sqrtl(u * u + v * v), power);
}

/* sqrt(a x^2 + b y^2) of numbers of every size, to 3 units of the last place and what
 * sqrt(a) x and sqrt(b) y lose as subnormal numbers; a NaN stays one. */
static void check_root(ht_context *ctx, ht_dtype dtype, double a, double b, int isa)
{
    enum { N = 1003 };
    const int most = dtype == HT_F32 ? 127 : 1023, digits = dtype == HT_F32 ? 24 : 53;
    const double least = dtype == HT_F32 ? 0x1p-149 : 0x1p-1074;
    ht_tensor *t[4];
    for (int k = 0; k < 4; k++) t[k] = ht_tensor_new(ctx, HT_F64, HT_SHAPE(N));
    for (int k = 0; k < 4; k++)
        ht_tensor_uniform(t[k], (uint64_t)k, k < 2 ? 0 : -most - digits,
                          k < 2 ? 2 : most);
    ht_tensor *x[2] = {ht_tensor_new(ctx, dtype, HT_SHAPE(N)),
                       ht_tensor_new(ctx, dtype, HT_SHAPE(N))};
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < N; i++)
            ht_tensor_set(x[k], i,
                          ldexp(ht_tensor_get(t[k], i) - 1,
                                (int)ht_tensor_get(t[2 + (i % 3 ? 0 : k)], i)));
    ht_tensor_set(x[0], 7, NOT_A_NUMBER);
    ht_tensor_set(x[1], 8, NOT_A_NUMBER);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    hti_context_use(ctx, HTI_BASELINE);
    ht_var first = hti_weighted_hypot(ht_number(a), ht_input(tape, x[0]), ht_number(b),
                                      ht_input(tape, x[1]), HT_HERE);
    ht_tape *other = ht_tape_new(ctx, HT_EAGER);
    hti_context_use(ctx, isa);
    ht_var again = hti_weighted_hypot(ht_number(a), ht_input(other, x[0]), ht_number(b),
                                      ht_input(other, x[1]), HT_HERE);
    test_no_error(ctx);
    for (int i = 0; i < N; i++) {
        const double p = ht_tensor_get(x[0], i), q = ht_tensor_get(x[1], i);
        double want = root_of_sum(dtype == HT_F32 ? (float)a : a, p,
                                  dtype == HT_F32 ? (float)b : b, q);
        double got = ht_tensor_get(ht_value(again), i);
        double bound = 3 * ldexp(want, 1 - digits) + 2 * least;
        if (isnan(want) ? !isnan(got) : !(got == want || fabs(got - want) <= bound))
            fail_msg("%s: sqrt(%g %g^2 + %g %g^2) is %.17g, not %.17g",
                     ht_dtype_name(dtype), a, p, b, q, got, want);
        double base = ht_tensor_get(ht_value(first), i);
        if (!(base == got || (isnan(base) && isnan(got))))
            fail_msg("%s: sqrt(%g %g^2 + %g %g^2): %s has %.17g, baseline %.17g",
                     ht_dtype_name(dtype), a, p, b, q, ctx->kernels->name, got, base);
    }
    ht_tape_free(tape);
    ht_tape_free(other);
    for (int k = 0; k < 4; k++) ht_tensor_free(t[k]);
    for (int k = 0; k < 2; k++) ht_tensor_free(x[k]);
}

static void weighted_hypot_is_right_for_every_size_on_every_instruction_set(void **state)
{
    fixture *f = *state;
    const struct {
        double a, b;
    } weights[] = {{1, 1}, {0.999, 0.001}, {0, 1}, {1, 0}, {1 - 1e-9, 1e-9}};
    for (size_t k = 0; k < sizeof weights / sizeof weights[0]; k++)
        for (int isa = HTI_BASELINE; hti_context_use(f->ctx, isa); isa++)
            for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++)
                check_root(f->ctx, dtype, weights[k].a, weights[k].b, isa);
}

static ht_update update_of_rule(const ht_update_rule *rule, double eps)
{
    ht_update u = {.rule = rule, .rate = HT_FIXED(0.5), .eps = HT_FIXED(eps)};
    if (rule->has_momentum) u.momentum = HT_FIXED(0.9);
    if (rule->has_beta2) u.beta2 = HT_FIXED(0.999);
    return u;
}

/* The first step of every such rule is -rate, of RMSprop -rate/sqrt(1 - beta2), for a
 * gradient of any size: neither its square nor eps beside it say otherwise. */
static void first_step_of_any_gradient_is_the_rate(void **state)
{
    fixture *f = *state;
    const double f32[] = {1e38, 1e20, 1e19, 1, 1e-15, 1e-23, 1e-30};
    const double f64[] = {1e308, 1e200, 1e154, 1, 1e-100, 1e-170, 1e-290};
    for (int k = 0; k < N_AVERAGING; k++)
        for (int wide = 0; wide < 2; wide++)
            for (size_t i = 0; i < sizeof f32 / sizeof f32[0]; i++) {
                double g = wide ? f64[i] : f32[i], eps = wide ? 1e-310 : 1e-40;
                double step = averaging[k] == &ht_rmsprop ? 0.5 / sqrt(0.001) : 0.5;
                char what[80];
                snprintf(what, sizeof what, "%s, g %g", averaging[k]->name, g);
                ht_update u = update_of_rule(averaging[k], eps);
                plain p = plain_new(f->ctx, wide ? HT_F64 : HT_F32, &u);
                plain_step(&p, (double[]){g, -g, 0});
                plain_expect(&p, (double[]){-step, step, 0}, what);
                plain_free(&p);
            }
}

/* After a gradient of 1e20, gradients of 1e20 go on moving the element by the rate; and
 * after many small ones the state is theirs again. */
static void adam_goes_on_after_a_huge_gradient(void **state)
{
    fixture *f = *state;
    ht_update u = update_of_rule(&ht_adam, 1e-8);
    plain p = plain_new(f->ctx, HT_F32, &u);
    for (int t = 1; t <= 5; t++) {
        plain_step(&p, (double[]){1e20, -3e37, 1e30});
        plain_expect(&p, (double[]){-0.5 * t, 0.5 * t, -0.5 * t}, "huge ones");
    }
    double u5 = ht_tensor_get(ht_set_at(ht_optimizer_state(p.optimizer), 1), 0);
    plain_step(&p, (double[]){0, 0, 0});
    expect(ht_set_at(ht_optimizer_state(p.optimizer), 1), 0, sqrt(0.999) * u5, "decay");
    plain_free(&p);
}

/* A state may be as large as an f32 gets, and a step is its part of it: the sum that
 * Nesterov's is made of would be past the largest number. At step 2^31 - 1 too Adam's is
 * the rate: beta^t is 0. */
static void step_is_in_range_beside_a_state_that_is_as_large_as_can_be(void **state)
{
    fixture *f = *state;
    const ht_update nesterov = {
        .rule = &ht_nesterov, .rate = HT_FIXED(0.125), .momentum = HT_FIXED(0.75)};
    plain p = plain_new(f->ctx, HT_F32, &nesterov);
    plain_step(&p, (double[]){3e38, -3.4e38, 1e38});
    plain_expect(&p, (double[]){-6.5625e37, 7.4375e37, -2.1875e37}, "nesterov");
    plain_free(&p);
    ht_update adam = update_of_rule(&ht_adam, 1e-8);
    p = plain_new(f->ctx, HT_F32, &adam);
    ht_set *full = ht_set_clone(ht_optimizer_state(p.optimizer), 0);
    for (int i = 0; i < 4; i++) ht_tensor_fill(ht_set_at(full, i), 3e38);
    assert_int_equal(ht_optimizer_restore(p.optimizer, full, INT32_MAX - 1), HT_OK);
    plain_step(&p, (double[]){3e38, 3e38, 3e38});
    plain_expect(&p, (double[]){-0.5, -0.5, -0.5}, "adam, step 2^31 - 1");
    ht_set_free(full);
    plain_free(&p);
}

static double outer_value(const ht_bilevel_result *r, const char *name)
{
    return ht_tensor_get(ht_set_tensor(r->gradient, name), 0);
}

/* RMSprop's two steps of gradients 12 s and 16 s (w is 2), by beta2 at both its ends too:
 * u1 = sqrt(1 - b) |g|, w1 = -rate/sqrt(1 - b). Then u2 = sqrt(1 - b^2) |g|. One step is
 * enough to see the end b = 0: dw/db = -rate/2. At b = 1, eps 1: u is 0, as is each
 * derivative through it. */
static void rmsprop_by_beta2_is_right_at_0_and_1(void **state)
{
    fixture *f = *state;
    const struct {
        double beta2, eps;
        int64_t steps;
        double w, by_beta2;
    } c[] = {
        {0, 1e-30, 1, -0.5, -0.25},
        {0.75, 1e-30, 1, -1, -2},
        /* -r ((1-b)^-1/2 + (1-b^2)^-1/2), -r/2 ((1-b)^-3/2 + 2b (1-b^2)^-3/2) */
        {0, 1e-30, 2, -1, -0.25},
        {0.6, 1e-30, 2, -0.5 * (1.5811388300841897 + 1.25),
         -0.25 * (3.9528470752104744 + 1.2 * 1.953125)},
        {1, 1, 2, -12, 0},
    };
    for (size_t k = 0; k < sizeof c / sizeof c[0]; k++)
        for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++) {
            char what[80];
            double scale = 1;
            ht_set *theta = ht_set_new(f->ctx), *eta = ht_set_new(f->ctx);
            ht_set_add(theta, "w", dtype, HT_SHAPE(2));
            ht_tensor *a = ht_set_add(eta, "a", dtype, HT_SHAPE(2));
            ht_tensor_set(a, 0, 12);
            ht_tensor_set(a, 1, 16);
            ht_update u = {.rule = &ht_rmsprop, .rate = HT_FIXED(0.5)};
            u.beta2 = outer_number(eta, "beta2", HT_F64, c[k].beta2);
            u.eps = outer_number(eta, "eps", HT_F64, c[k].eps);
            ht_bilevel_problem problem = {.inner = steep_inner,
                                          .outer = steep_outer,
                                          .theta = theta,
                                          .eta = eta,
                                          .update = u,
                                          .steps = c[k].steps,
                                          .user = &scale};
            ht_bilevel *b = ht_bilevel_new(f->ctx, &problem, NULL);
            test_no_error(f->ctx);
            ht_bilevel_result r = ht_bilevel_run(b, 0);
            snprintf(what, sizeof what, "beta2 %g, %d steps", c[k].beta2,
                     (int)c[k].steps);
            assert_int_equal(r.bad_step, -1);
            expect(ht_set_tensor(r.theta, "w"), 0, c[k].w, what);
            double got = outer_value(&r, "beta2"), want = c[k].by_beta2;
            if (!(fabs(got - want) <= (dtype == HT_F32 ? 1e-6 : 1e-14) * fabs(want)))
                fail_msg("%s: by beta2 %.9g, want %.9g", what, got, want);
            ht_bilevel_free(b);
            ht_set_free(theta);
            ht_set_free(eta);
        }
}

/* An eps of 0 as an outer variable: an element that never had a gradient stays where it
 * is, and all its derivatives are 0. */
static void eps_of_zero_moves_nothing_without_a_gradient(void **state)
{
    fixture *f = *state;
    for (int k = 0; k < N_AVERAGING; k++) {
        double scale = 1;
        ht_set *theta = ht_set_new(f->ctx), *eta = ht_set_new(f->ctx);
        ht_set_add(theta, "w", HT_F32, HT_SHAPE(2));
        ht_tensor *a = ht_set_add(eta, "a", HT_F32, HT_SHAPE(2));
        ht_tensor_set(a, 1, 16);
        ht_update u = update_of_rule(averaging[k], 1);
        u.eps = outer_number(eta, "eps", HT_F64, k % 2 ? 0 : 1e-46);
        ht_bilevel_problem problem = {.inner = steep_inner,
                                      .outer = steep_outer,
                                      .theta = theta,
                                      .eta = eta,
                                      .update = u,
                                      .steps = 3,
                                      .user = &scale};
        ht_bilevel *b = ht_bilevel_new(f->ctx, &problem, NULL);
        test_no_error(f->ctx);
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        assert_int_equal(r.bad_step, -1);
        expect(ht_set_tensor(r.theta, "w"), 0, 0, averaging[k]->name);
        assert_true(ht_tensor_get(ht_set_tensor(r.theta, "w"), 1) < -0.5);
        expect(ht_set_tensor(r.gradient, "a"), 0, 0, "by a gradient of 0");
        expect(ht_set_tensor(r.gradient, "eps"), 0, 0, "by an eps of 0");
        ht_bilevel_free(b);
        ht_set_free(theta);
        ht_set_free(eta);
    }
}

/* 1 - beta and 1 - beta^t in f64, to the last places: the first steps are the rate. */
static void beta_next_to_one_keeps_the_first_steps(void **state)
{
    fixture *f = *state;
    for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++)
        for (int k = 0; k < 2; k++) {
            ht_update u = update_of_rule(&ht_adam, 1e-30);
            u.momentum = HT_FIXED(1 - 1e-9);
            u.beta2 = HT_FIXED(k ? 1 - 1e-12 : 1 - 1e-9);
            plain p = plain_new(f->ctx, dtype, &u);
            for (int t = 1; t <= 3; t++) {
                plain_step(&p, (double[]){2, -1e-5, 1e9});
                plain_expect(&p, (double[]){-0.5 * t, 0.5 * t, -0.5 * t}, "beta ~ 1");
            }
            plain_free(&p);
        }
}

/* What is refused. */

static void number_that_f32_rounds_to_zero_or_infinity_is_refused(void **state)
{
    fixture *f = *state;
    const ht_scalar x = HT_FIXED(0.5), tiny = HT_FIXED(1e-46), huge = HT_FIXED(1e39);
    const struct {
        ht_update update;
        const char *message;
    } c[] = {
        {{.rule = &ht_adam, .rate = x, .momentum = x, .beta2 = x, .eps = tiny},
         "update rule adam: eps is 1e-46, which is 0 beside parameter \"w\" of f32"},
        {{.rule = &ht_rmsprop, .rate = x, .beta2 = x, .eps = tiny},
         "update rule rmsprop: eps is 1e-46, which is 0"},
        {{.rule = &ht_adagrad, .rate = x, .eps = tiny}, "adagrad: eps is 1e-46"},
        {{.rule = &ht_sgd, .rate = tiny}, "sgd: rate is 1e-46, which is 0"},
        {{.rule = &ht_sgd, .rate = huge}, "sgd: rate is 1e+39, which is infinite"},
        {{.rule = &ht_sgd, .rate = x, .decay = tiny}, "decay is 1e-46"},
        {{.rule = &ht_sgd, .rate = x, .clip = tiny}, "clip is 1e-46"},
        {{.rule = &ht_sgd, .rate = x, .clip_value = tiny}, "clip_value is 1e-46"},
        {{.rule = &ht_momentum, .rate = x, .momentum = tiny}, "momentum is 1e-46"},
        {{.rule = &ht_adam, .rate = x, .momentum = x, .beta2 = tiny, .eps = x},
         "beta2 is 1e-46"},
        {{.rule = &ht_adam, .rate = x, .momentum = x, .beta2 = HT_FIXED(1), .eps = x},
         "beta2 is not below 1"},
        {{.rule = &ht_sgd, .rate = x, .clip = HT_FIXED((double)INFINITY)},
         "clip is not finite"},
        {{.rule = &ht_sgd, .rate = x, .clip_value = HT_FIXED(NOT_A_NUMBER)},
         "clip_value is not finite"},
    };
    for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++) {
        ht_set *theta = ht_set_new(f->ctx);
        ht_set_add(theta, "free", HT_F64, HT_SCALAR);
        ht_set_add(theta, "w", dtype, HT_SCALAR);
        for (size_t k = 0; k < sizeof c / sizeof c[0]; k++) {
            bool taken = dtype == HT_F64 && !strstr(c[k].message, "not ");
            ht_optimizer *o = ht_optimizer_new(theta, &c[k].update);
            assert_int_equal(o != NULL, taken);
            ht_optimizer_free(o);
            if (!taken) test_error(f->ctx, HT_ERROR_ARGUMENT, c[k].message);
        }
        ht_set_free(theta);
    }
}

/* Who follows the update counts: f64 alone may have the eps, and groups are asked too. */
static void number_too_small_for_f32_is_looked_for_in_its_own_group(void **state)
{
    fixture *f = *state;
    const ht_update tiny = {
        .rule = &ht_adagrad, .rate = HT_FIXED(0.5), .eps = HT_FIXED(1e-46)};
    ht_set *theta = ht_set_new(f->ctx);
    ht_set_add(theta, "w", HT_F32, HT_SCALAR);
    ht_set_add(theta, "free", HT_F64, HT_SCALAR);
    ht_update_group group = {"free", &tiny};
    ht_update update = {
        .rule = &ht_sgd, .rate = HT_FIXED(0.5), .groups = &group, .n_groups = 1};
    ht_optimizer *o = ht_optimizer_new(theta, &update);
    test_no_error(f->ctx);
    ht_optimizer_free(o);
    group.pattern = "w";
    assert_null(ht_optimizer_new(theta, &update));
    test_error(f->ctx, HT_ERROR_ARGUMENT, "adagrad (group \"w\"): eps is 1e-46");
    ht_set_free(theta);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(clip_by_norm_of_any_gradient_is_its_direction),
        CASE(clip_by_norm_with_nan_reaches_all_groups_but_the_frozen),
        CASE(clip_by_value_bounds_infinity_and_keeps_nan),
        CASE(clip_in_a_bilevel_gives_the_direction_s_derivative),
        CASE(clip_per_tensor_as_outer_variable_scales_each_by_the_norm_of_all),
        CASE(weighted_hypot_is_right_for_every_size_on_every_instruction_set),
        CASE(first_step_of_any_gradient_is_the_rate),
        CASE(adam_goes_on_after_a_huge_gradient),
        CASE(step_is_in_range_beside_a_state_that_is_as_large_as_can_be),
        CASE(rmsprop_by_beta2_is_right_at_0_and_1),
        CASE(eps_of_zero_moves_nothing_without_a_gradient),
        CASE(beta_next_to_one_keeps_the_first_steps),
        CASE(number_that_f32_rounds_to_zero_or_infinity_is_refused),
        CASE(number_too_small_for_f32_is_looked_for_in_its_own_group),
    };
    return TEST_MAIN(tests);
}
