/* SPDX-License-Identifier: MIT */
/* test_nn_update.c: plain training: every rule against loops and against PyTorch's
 * numbers, what the optimizer refuses, and its memory.
 * Read next: nn/update.c, nn/optimizer.c, test_nn_update_outer.c. */
#include "reference.h"
#include "update_loops.h"

/* Random parameters of the shapes, named "p0", "p1", ... */
static ht_set *random_set(ht_context *ctx, ht_dtype dtype, uint64_t stream)
{
    ht_set *set = ht_set_new(ctx);
    for (int i = 0; i < N_SHAPES; i++) {
        char name[] = {'p', (char)('0' + i), '\0'};
        ht_tensor *x = ht_set_add(set, name, dtype, shapes[i]);
        ht_tensor_normal(x, stream + (uint64_t)i, 0, 1);
    }
    return set;
}

static ht_update update_of(const ht_update_rule *rule, const numbers *x)
{
    return (ht_update){.rule = rule,
                       .rate = HT_FIXED(x->rate),
                       .momentum = HT_FIXED(x->momentum),
                       .beta2 = HT_FIXED(x->beta2),
                       .eps = HT_FIXED(x->eps),
                       .decay = HT_FIXED(x->decay),
                       .clip = HT_FIXED(x->clip),
                       .clip_value = HT_FIXED(x->clip_value),
                       .eps_root = HT_FIXED(x->eps_root)};
}

/* Plain training. */

static const struct rule_case {
    const char *name;
    const ht_update_rule *rule;
    numbers x;
} rule_cases[] = {
    {"sgd", &ht_sgd, {0.1, 0, 0, 0, 0, 0, 0, 0}},
    {"sgd, decay", &ht_sgd, {0.1, 0, 0, 0, 0.3, 0, 0, 0}},
    {"sgd, clip", &ht_sgd, {0.1, 0, 0, 0, 0, 2.5, 0, 0}},
    {"sgd, clip never reached", &ht_sgd, {0.1, 0, 0, 0, 0, 1e6, 0, 0}},
    {"sgd, clip value", &ht_sgd, {0.1, 0, 0, 0, 0, 0, 0.5, 0}},
    {"momentum", &ht_momentum, {0.05, 0.9, 0, 0, 0, 0, 0, 0}},
    {"momentum next to none", &ht_momentum, {0.05, 1e-3, 0, 0, 0, 0, 0, 0}},
    {"momentum, decay, both clips", &ht_momentum, {0.05, 0.9, 0, 0, 0.2, 3, 0.75, 0}},
    {"nesterov", &ht_nesterov, {0.05, 0.9, 0, 0, 0, 0, 0, 0}},
    {"nesterov, decay, clip", &ht_nesterov, {0.05, 0.8, 0, 0, 0.2, 3, 0, 0}},
    {"adam", &ht_adam, {0.01, 0.9, 0.999, 1e-8, 0, 0, 0, 0}},
    {"adam, beta1 next to none", &ht_adam, {0.01, 1e-3, 0.99, 1e-8, 0, 0, 0, 0}},
    {"adam, large eps", &ht_adam, {0.1, 0.8, 0.9, 0.5, 0, 0, 0, 0}},
    {"adam, decay", &ht_adam, {0.01, 0.9, 0.999, 1e-8, 0.1, 0, 0, 0}},
    {"adam, decay, clip", &ht_adam, {0.01, 0.9, 0.999, 1e-8, 0.1, 2, 0, 0}},
    {"adamw", &ht_adamw, {0.01, 0.9, 0.999, 1e-8, 0, 0, 0, 0}},
    {"adamw, decay, clip value", &ht_adamw, {0.01, 0.9, 0.99, 1e-8, 0.5, 0, 0.5, 0}},
    {"rmsprop", &ht_rmsprop, {0.01, 0, 0.99, 1e-8, 0, 0, 0, 0}},
    {"rmsprop, decay, clip", &ht_rmsprop, {0.01, 0, 0.9, 1e-4, 0.1, 2, 0, 0}},
    {"adagrad", &ht_adagrad, {0.1, 0, 0, 1e-10, 0, 0, 0, 0}},
    {"adam, eps root", &ht_adam, {0.01, 0.9, 0.99, 1e-8, 0, 0, 0, 0.01}},
    {"adam, eps root alone", &ht_adam, {0.01, 0.9, 0.99, 0, 0.1, 2, 0, 1e-4}},
    {"adamw, eps root", &ht_adamw, {0.01, 0.9, 0.99, 1e-3, 0.5, 0, 0, 1e-2}},
    {"rmsprop, eps root", &ht_rmsprop, {0.01, 0, 0.9, 0, 0, 0, 0, 0.1}},
    {"adagrad, eps root", &ht_adagrad, {0.1, 0, 0, 1e-10, 0.1, 0, 0, 0.5}},
    {"muon", &ht_muon, {0.02, 0.95, 0, 0, 0, 0, 0, 0}},
    {"muon, decay, clip", &ht_muon, {0.02, 0.8, 0, 0, 0.1, 2, 0, 0}},
    {"adagrad, decay, clip", &ht_adagrad, {0.1, 0, 0, 1e-3, 0.1, 2, 0, 0}},
};
enum { N_RULE_CASES = sizeof rule_cases / sizeof rule_cases[0], STEPS = 9 };

static void check_rule(const fixture *f, const struct rule_case *c, ht_dtype dtype,
                       double tolerance)
{
    ht_set *theta = random_set(f->ctx, dtype, 100);
    ht_set *gradient = random_set(f->ctx, dtype, 0);
    ht_update update = update_of(c->rule, &c->x);
    numbers x[N_SHAPES];
    for (int i = 0; i < N_SHAPES; i++) x[i] = c->x;
    loop l = loop_of(c->rule, theta);
    ht_optimizer *optimizer = ht_optimizer_new(theta, &update);
    test_no_error(f->ctx);
    for (int step = 0; step < STEPS; step++) {
        assert_int_equal(ht_optimizer_steps(optimizer), step);
        random_fill(gradient, 1000 + 10 * (uint64_t)step);
        loop_step(&l, x, step + 1, gradient);
        ht_optimizer_step(optimizer, gradient);
        test_no_error(f->ctx);
        check_loop(&l, theta, tolerance, c->name, step);
    }
    ht_optimizer_free(optimizer);
    ht_set_free(theta);
    ht_set_free(gradient);
}

static void optimizer_step_of_every_rule_in_f64_is_the_loop(void **state)
{
    for (int c = 0; c < N_RULE_CASES; c++)
        check_rule(*state, &rule_cases[c], HT_F64, 1e-14);
}

static void optimizer_step_of_every_rule_in_f32_is_the_loop(void **state)
{
    for (int c = 0; c < N_RULE_CASES; c++)
        check_rule(*state, &rule_cases[c], HT_F32, 1e-6);
}

/* As tests/reference/update.py makes them. */
static void reference_gradient(const ht_tensor *w, int step, ht_tensor *g)
{
    for (int i = 0; i < 5; i++)
        ht_tensor_set(g, i,
                      (i + 1) / 8.0 * ht_tensor_get(w, i) -
                          ((7 * i + 3 * step) % 11 - 5) / 4.0);
}

static const ht_update_rule *rule_named(const char *name)
{
    static const ht_update_rule *const rules[] = {&ht_sgd,    &ht_momentum, &ht_nesterov,
                                                  &ht_adam,   &ht_adamw,    &ht_rmsprop,
                                                  &ht_adagrad};
    int k = 0;
    while (k + 1 < (int)(sizeof rules / sizeof *rules) && strcmp(rules[k]->name, name))
        k++;
    assert_string_equal(rules[k]->name, name);
    return rules[k];
}

static void optimizer_step_ten_times_agrees_with_pytorch(void **state)
{
    fixture *f = *state;
    static const double start[] = {0.5, -1.25, 2.0, 0.0, -0.75};
    static reference r;
    int cases = 0;
    reference_open(&r, "update.txt");
    for (; reference_next(&r); cases++) {
        const char *name = reference_word(&r);
        const ht_update_rule *rule = rule_named(reference_word(&r));
        double v[7], want[5];
        assert_int_equal(reference_numbers(&r, "scalars", 7, v), 7);
        assert_int_equal(reference_numbers(&r, "w", 5, want), 5);
        numbers x = {v[0], v[1], v[2], v[3], v[4], v[5], v[6], 0};
        ht_update update = update_of(rule, &x);
        ht_set *theta = ht_set_new(f->ctx), *gradient = ht_set_new(f->ctx);
        ht_tensor *w = ht_set_add(theta, "w", HT_F64, HT_SHAPE(5));
        ht_tensor *g = ht_set_add(gradient, "w", HT_F64, HT_SHAPE(5));
        for (int i = 0; i < 5; i++) ht_tensor_set(w, i, start[i]);
        ht_optimizer *optimizer = ht_optimizer_new(theta, &update);
        for (int step = 0; step < 10; step++) {
            reference_gradient(w, step, g);
            ht_optimizer_step(optimizer, gradient);
        }
        test_no_error(f->ctx);
        for (int i = 0; i < 5; i++) {
            double got = ht_tensor_get(w, i),
                   relative = fabs(got - want[i]) / fabs(want[i]);
            if (!(relative <= 1e-10))
                fail_msg("%s, element %d: got %.17g, PyTorch %.17g", name, i, got,
                         want[i]);
        }
        ht_optimizer_free(optimizer);
        ht_set_free(theta);
        ht_set_free(gradient);
    }
    assert_int_equal(cases, 20);
}

static void optimizer_state_is_named_after_parameters(void **state)
{
    fixture *f = *state;
    char name[400], part[404];
    memset(name, 'w', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    ht_set *theta = ht_set_new(f->ctx), *gradient = ht_set_new(f->ctx);
    ht_set_add(theta, name, HT_F32, HT_SHAPE(2));
    ht_tensor *g = ht_set_add(gradient, name, HT_F32, HT_SHAPE(2));
    ht_tensor_set(g, 1, 2);
    ht_update update = update_of(&ht_adam, &rule_cases[10].x);
    ht_optimizer *optimizer = ht_optimizer_new(theta, &update);
    test_no_error(f->ctx);
    const ht_set *s = ht_optimizer_state(optimizer);
    assert_int_equal(ht_set_count(s), 2);
    snprintf(part, sizeof part, "%s.m", name);
    assert_string_equal(ht_set_name(s, 0), part);
    snprintf(part, sizeof part, "%s.u", name);
    assert_string_equal(ht_set_name(s, 1), part);
    ht_optimizer_step(optimizer, gradient);
    assert_near(ht_tensor_get(ht_set_at(s, 0), 0), 0, 0);
    assert_near(ht_tensor_get(ht_set_at(s, 0), 1), 0.2, 1e-7);
    assert_near(ht_tensor_get(ht_set_at(s, 1), 1), sqrt(0.001) * 2, 1e-8);
    ht_optimizer_free(optimizer);
    ht_optimizer_free(NULL);
    ht_set_free(theta);
    ht_set_free(gradient);
}

/* Resuming. */

static void expect_same_bits(const ht_set *got, const ht_set *want, const char *what)
{
    for (int i = 0; i < ht_set_count(want); i++)
        if (memcmp(ht_tensor_data(ht_set_at(got, i)), ht_tensor_data(ht_set_at(want, i)),
                   ht_tensor_bytes(ht_set_at(want, i))) != 0)
            fail_msg("%s: %s differs", what, ht_set_name(want, i));
}

static void train_more(ht_optimizer *optimizer, ht_set *gradient, int from, int to)
{
    for (int step = from; step < to; step++) {
        random_fill(gradient, 1000 + 10 * (uint64_t)step);
        ht_optimizer_step(optimizer, gradient);
    }
}

static void optimizer_restored_goes_on_with_the_same_bits(void **state)
{
    fixture *f = *state;
    const ht_rate cosine = {.warmup = 2, .start = 0.5, .steps = 8};
    for (int c = 0; c < N_RULE_CASES; c++) {
        ht_update update = update_of(rule_cases[c].rule, &rule_cases[c].x);
        update.rate.schedule = ht_rate_cosine;
        update.rate.user = &cosine;
        ht_set *theta = random_set(f->ctx, HT_F32, 100);
        ht_set *gradient = random_set(f->ctx, HT_F32, 0);
        ht_optimizer *whole = ht_optimizer_new(theta, &update);
        train_more(whole, gradient, 0, 4);
        ht_set *theta4 = ht_set_clone(theta, 0);
        ht_set *state4 = ht_set_clone(ht_optimizer_state(whole), 0);
        train_more(whole, gradient, 4, STEPS);
        ht_optimizer *resumed = ht_optimizer_new(theta4, &update);
        assert_int_equal(ht_optimizer_restore(resumed, state4, 4), HT_OK);
        assert_int_equal(ht_optimizer_steps(resumed), 4);
        train_more(resumed, gradient, 4, STEPS);
        test_no_error(f->ctx);
        assert_int_equal(ht_optimizer_steps(resumed), STEPS);
        expect_same_bits(theta4, theta, rule_cases[c].name);
        expect_same_bits(ht_optimizer_state(resumed), ht_optimizer_state(whole),
                         rule_cases[c].name);
        ht_optimizer_free(whole);
        ht_optimizer_free(resumed);
        ht_set_free(theta);
        ht_set_free(theta4);
        ht_set_free(state4);
        ht_set_free(gradient);
    }
}

/* A momentum optimizer of "w" f64 (3) after one step, so that its state is not zero. */
static ht_optimizer *stepped_once(ht_context *ctx, ht_set **theta)
{
    const ht_update update = {
        .rule = &ht_momentum, .rate = HT_FIXED(0.5), .momentum = HT_FIXED(0.9)};
    *theta = ht_set_new(ctx);
    ht_tensor_fill(ht_set_add(*theta, "w", HT_F64, HT_SHAPE(3)), 1);
    ht_optimizer *optimizer = ht_optimizer_new(*theta, &update);
    ht_set *gradient = ht_set_clone(*theta, 0);
    ht_tensor_fill(ht_set_at(gradient, 0), 1);
    assert_int_equal(ht_optimizer_step(optimizer, gradient), HT_OK);
    ht_set_free(gradient);
    return optimizer;
}

static void optimizer_step_past_the_counter_is_refused(void **state)
{
    fixture *f = *state;
    ht_set *theta;
    ht_optimizer *optimizer = stepped_once(f->ctx, &theta);
    ht_set *saved = ht_set_clone(ht_optimizer_state(optimizer), 0);
    ht_set *gradient = ht_set_clone(theta, 0);
    ht_tensor_fill(ht_set_at(gradient, 0), 1);
    assert_int_equal(ht_optimizer_restore(optimizer, saved, INT32_MAX - 1), HT_OK);
    assert_int_equal(ht_optimizer_step(optimizer, gradient), HT_OK);
    double w = ht_tensor_get(ht_set_at(theta, 0), 0);
    assert_int_equal(ht_optimizer_step(optimizer, gradient), HT_ERROR_ARGUMENT);
    test_error(f->ctx, HT_ERROR_ARGUMENT, "ht_optimizer_step: 2^31 - 1 steps are done");
    assert_int_equal(ht_optimizer_steps(optimizer), INT32_MAX);
    assert_near(ht_tensor_get(ht_set_at(theta, 0), 0), w, 0);
    ht_optimizer_free(optimizer);
    ht_set_free(theta);
    ht_set_free(saved);
    ht_set_free(gradient);
}

static void optimizer_restore_of_another_state_copies_nothing(void **state)
{
    fixture *f = *state;
    const struct {
        const char *name, *more;
        ht_dtype dtype;
        int64_t count, steps;
        ht_status status;
        const char *message;
    } wrong[] = {
        {"w.u", NULL, HT_F64, 3, 1, HT_ERROR_ARGUMENT, "no tensor \"w.s\""},
        {"w.s", NULL, HT_F32, 3, 1, HT_ERROR_DTYPE,
         "ht_optimizer_restore: state \"w.s\" must be f64 (3), not f32 (3)"},
        {"w.s", NULL, HT_F64, 4, 1, HT_ERROR_SHAPE, "must be f64 (3), not f64 (4)"},
        {"w.s", "b.s", HT_F64, 3, 1, HT_ERROR_ARGUMENT, "no tensor \"b.s\""},
        {"w.s", NULL, HT_F64, 3, -1, HT_ERROR_ARGUMENT, "steps is -1"},
        {"w.s", NULL, HT_F64, 3, INT64_C(1) << 31, HT_ERROR_ARGUMENT,
         "steps is 2147483648"},
    };
    ht_set *theta;
    ht_optimizer *optimizer = stepped_once(f->ctx, &theta);
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
        ht_set *saved = ht_set_new(f->ctx);
        ht_tensor_fill(
            ht_set_add(saved, wrong[k].name, wrong[k].dtype, HT_SHAPE(wrong[k].count)),
            7);
        if (wrong[k].more) ht_set_add(saved, wrong[k].more, HT_F64, HT_SCALAR);
        assert_int_equal(ht_optimizer_restore(optimizer, saved, wrong[k].steps),
                         wrong[k].status);
        test_error(f->ctx, wrong[k].status, wrong[k].message);
        assert_int_equal(ht_optimizer_steps(optimizer), 1);
        assert_near(ht_tensor_get(ht_set_at(ht_optimizer_state(optimizer), 0), 2), 1, 0);
        ht_set_free(saved);
    }
    ht_optimizer_free(optimizer);
    ht_set_free(theta);
}

/* Refusals. */

static void optimizer_new_of_wrong_numbers_names_rule_and_field(void **state)
{
    fixture *f = *state;
    ht_set *theta = random_set(f->ctx, HT_F32, 1);
    size_t live = ht_context_live_bytes(f->ctx);
    const ht_scalar x = HT_FIXED(0.5), rate = HT_OUTER("rate");
    const struct {
        ht_update update;
        const char *message;
    } wrong[] = {
        {{.rule = &ht_sgd}, "update rule sgd: rate is zero"},
        {{.rule = &ht_adam, .beta2 = x, .eps = x}, "update rule adam: rate is zero"},
        {{.rule = &ht_adam, .rate = x, .momentum = x, .eps = x},
         "update rule adam: beta2 is zero"},
        {{.rule = &ht_adam, .rate = x, .momentum = x, .beta2 = x},
         "update rule adam: eps is zero"},
        {{.rule = &ht_adam, .rate = x, .beta2 = x, .eps = x},
         "update rule adam: momentum is zero\n  hint: HT_ADAM(0.001) has the usual "
         "numbers"},
        {{.rule = &ht_adamw, .rate = x, .beta2 = x, .eps = x},
         "adamw: momentum is zero\n  hint: HT_ADAMW(0.001, 0.01) has"},
        {{.rule = &ht_momentum, .rate = x},
         "momentum: momentum is zero\n  hint: HT_MOMENTUM(0.01, 0.9) has"},
        {{.rule = &ht_nesterov, .rate = x},
         "nesterov: momentum is zero\n  hint: HT_NESTEROV(0.01, 0.9) has"},
        {{.rule = &ht_sgd, .rate = x, .momentum = x}, "sgd: momentum is set, but"},
        {{.rule = &ht_sgd, .rate = x, .beta2 = x}, "sgd: beta2 is set, but"},
        {{.rule = &ht_sgd, .rate = x, .eps = rate}, "sgd: eps is set, but"},
        {{.rule = &ht_momentum, .rate = x, .momentum = x, .beta2 = x},
         "momentum: beta2 is set, but"},
        {{.rule = &ht_momentum, .rate = x, .momentum = x, .eps = x},
         "momentum: eps is set, but"},
        {{.rule = &ht_sgd, .rate = rate}, "rate is an outer variable; plain training"},
        {{.rule = &ht_sgd, .rate = x, .decay = rate}, "decay is an outer variable"},
        {{.rule = &ht_sgd, .rate = x, .clip = HT_FIXED(-1)}, "clip is negative"},
        {{.rule = &ht_sgd, .rate = x, .clip_value = HT_FIXED(-1)},
         "clip_value is negative"},
        {{.rule = &ht_sgd, .rate = HT_FIXED((double)NAN)}, "rate is not finite"},
        {{.rule = &ht_sgd, .rate = x, .decay = {.schedule = ht_rate_constant}},
         "decay has a schedule, but is zero"},
        {{.rule = &ht_nesterov, .rate = x, .momentum = x, .eps = x},
         "nesterov: eps is set, but"},
        {{.rule = &ht_adamw, .rate = x, .momentum = x, .beta2 = x}, "adamw: eps is zero"},
        {{.rule = &ht_rmsprop, .rate = x, .eps = x}, "rmsprop: beta2 is zero"},
        {{.rule = &ht_rmsprop, .rate = x, .eps = x, .momentum = x},
         "rmsprop: momentum is set, but"},
        {{.rule = &ht_rmsprop, .rate = x, .eps = x, .beta2 = HT_FIXED(1)},
         "rmsprop: beta2 is not below 1"},
        {{.rule = &ht_adagrad, .rate = x}, "adagrad: eps is zero"},
        {{.rule = &ht_adagrad, .rate = x, .eps = x, .beta2 = x},
         "adagrad: beta2 is set, but"},
        {{.rule = &ht_sgd, .rate = HT_FIXED(-0.1)}, "rate is negative"},
        {{.rule = &ht_momentum, .rate = x, .momentum = x, .eps_root = x},
         "momentum: eps_root is set, but"},
        {{.rule = &ht_adagrad, .rate = x, .eps_root = HT_FIXED(-1)},
         "adagrad: eps_root is negative"},
        {{.rule = &ht_adagrad, .rate = x, .eps_root = HT_FIXED(1e-46)},
         "eps_root is 1e-46, which is 0 beside parameter \"p0\""},
        {{.rule = &ht_adagrad, .rate = x, .eps_root = rate},
         "eps_root is an outer variable; plain training"},
        {{.rule = &ht_adam,
          .rate = x,
          .momentum = HT_FIXED(1.5),
          .beta2 = HT_FIXED(0.9),
          .eps = HT_FIXED(1e-8)},
         "momentum is not below 1"},
    };
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
        assert_null(ht_optimizer_new(theta, &wrong[k].update));
        test_error(f->ctx, HT_ERROR_ARGUMENT, wrong[k].message);
        assert_int_equal(ht_context_live_bytes(f->ctx), live);
    }
    ht_set_free(theta);
}

/* By name they are what torch.optim starts from. */
static void usual_numbers_by_name_are_those_written_out(void **state)
{
    fixture *f = *state;
    const struct {
        ht_update update;
        const ht_update_rule *rule;
        numbers x;
    } usual[] = {
        {HT_SGD(0.5), &ht_sgd, {.rate = 0.5}},
        {HT_MOMENTUM(0.5, 0.8), &ht_momentum, {.rate = 0.5, .momentum = 0.8}},
        {HT_NESTEROV(0.5, 0.8), &ht_nesterov, {.rate = 0.5, .momentum = 0.8}},
        {HT_ADAM(0.5), &ht_adam, {0.5, 0.9, 0.999, 1e-8, 0, 0, 0, 0}},
        {HT_ADAMW(0.5, 0.1), &ht_adamw, {0.5, 0.9, 0.999, 1e-8, 0.1, 0, 0, 0}},
        {HT_RMSPROP(0.5), &ht_rmsprop, {0.5, 0, 0.99, 1e-8, 0, 0, 0, 0}},
        {HT_MUON(0.5, 0.8), &ht_muon, {.rate = 0.5, .momentum = 0.8}},
        {HT_ADAGRAD(0.5), &ht_adagrad, {0.5, 0, 0, 1e-10, 0, 0, 0, 0}},
    };
    ht_set *theta = random_set(f->ctx, HT_F32, 1);
    for (size_t k = 0; k < sizeof usual / sizeof usual[0]; k++) {
        ht_update want = update_of(usual[k].rule, &usual[k].x), got = usual[k].update;
        assert_ptr_equal(got.rule, want.rule);
        const ht_scalar *a = &got.rate, *b = &want.rate;
        for (int i = 0; i < 8; i++) assert_near(a[i].value, b[i].value, 0);
        ht_optimizer_free(ht_optimizer_new(theta, &got));
        test_no_error(f->ctx);
    }
    ht_set_free(theta);
}

static void optimizer_new_of_no_or_integer_parameters_is_an_error(void **state)
{
    fixture *f = *state;
    ht_set *theta = ht_set_new(f->ctx);
    const ht_update update = {.rule = &ht_sgd, .rate = HT_FIXED(0.1)};
    assert_null(ht_optimizer_new(theta, &update));
    test_error(f->ctx, HT_ERROR_ARGUMENT, "theta is empty");
    ht_set_add(theta, "w", HT_F32, HT_SCALAR);
    ht_set_add(theta, "labels", HT_I32, HT_SHAPE(3));
    assert_null(ht_optimizer_new(theta, &update));
    test_error(f->ctx, HT_ERROR_DTYPE, "parameter \"labels\" is i32");
    ht_set_free(theta);
}

/* One parameter "w" f64 (2, 3) of ones, "b" f64 (3) of twos, and their optimizer. */
typedef struct small {
    ht_set *theta, *gradient;
    ht_optimizer *optimizer;
} small;

static small small_new(ht_context *ctx)
{
    const ht_update update = {.rule = &ht_sgd, .rate = HT_FIXED(0.5)};
    small s = {.theta = ht_set_new(ctx), .gradient = ht_set_new(ctx)};
    ht_tensor_fill(ht_set_add(s.theta, "w", HT_F64, HT_SHAPE(2, 3)), 1);
    ht_tensor_fill(ht_set_add(s.theta, "b", HT_F64, HT_SHAPE(3)), 2);
    s.optimizer = ht_optimizer_new(s.theta, &update);
    test_no_error(ctx);
    return s;
}

static void small_free(small *s)
{
    ht_optimizer_free(s->optimizer);
    ht_set_free(s->theta);
    ht_set_free(s->gradient);
}

static void expect_small(const small *s, double w, double b, int64_t steps)
{
    for (int k = 0; k < 6; k++)
        assert_near(ht_tensor_get(ht_set_at(s->theta, 0), k), w, 0);
    for (int k = 0; k < 3; k++)
        assert_near(ht_tensor_get(ht_set_at(s->theta, 1), k), b, 0);
    assert_int_equal(ht_optimizer_steps(s->optimizer), steps);
}

static void optimizer_step_with_a_name_missing_lists_names(void **state)
{
    fixture *f = *state;
    small s = small_new(f->ctx);
    ht_tensor_fill(ht_set_add(s.gradient, "w", HT_F64, HT_SHAPE(2, 3)), 1);
    ht_set_add(s.gradient, "bias", HT_F64, HT_SHAPE(3));
    assert_int_equal(ht_optimizer_step(s.optimizer, s.gradient), HT_ERROR_ARGUMENT);
    test_error(f->ctx, HT_ERROR_ARGUMENT, "no tensor \"b\"; this set has: w, bias");
    expect_small(&s, 1, 2, 0);
    ht_tensor_fill(ht_set_add(s.gradient, "b", HT_F64, HT_SHAPE(3)), 2);
    assert_int_equal(ht_optimizer_step(s.optimizer, s.gradient), HT_OK);
    expect_small(&s, 0.5, 1, 1);
    small_free(&s);
}

static void optimizer_step_with_another_type_names_the_parameter(void **state)
{
    fixture *f = *state;
    small s = small_new(f->ctx);
    ht_set_add(s.gradient, "w", HT_F64, HT_SHAPE(3, 2));
    ht_set_add(s.gradient, "b", HT_F64, HT_SHAPE(3));
    assert_int_equal(ht_optimizer_step(s.optimizer, s.gradient), HT_ERROR_SHAPE);
    test_error(f->ctx, HT_ERROR_SHAPE,
               "gradient of \"w\" must be f64 (2, 3), not f64 (3, 2)");
    ht_set *narrow = ht_set_clone(s.theta, HT_F32);
    assert_int_equal(ht_optimizer_step(s.optimizer, narrow), HT_ERROR_DTYPE);
    test_error(f->ctx, HT_ERROR_DTYPE,
               "gradient of \"w\" must be f64 (2, 3), not f32 (2, 3)");
    expect_small(&s, 1, 2, 0);
    ht_set_free(narrow);
    small_free(&s);
}

/* gradient, step, reset: PyTorch's order. Loss sum w^2/2 + sum b^2/2, rate 0.5. */
static void optimizer_step_before_the_tape_is_reset_is_plain_training(void **state)
{
    fixture *f = *state;
    small s = small_new(f->ctx);
    ht_set *gradient = ht_set_clone(s.theta, 0);
    ht_tape *tape = ht_tape_new(f->ctx, HT_EAGER);
    ht_var loss = HT_ZERO, g[2] = {HT_ZERO, HT_ZERO};
    ht_vars *theta = NULL;
    for (int step = 1; step <= 3; step++) {
        ht_tape_reset(tape);
        theta = ht_vars_input(tape, s.theta, step);
        loss = ht_mul(ht_l2(theta, NULL), 0.5);
        ht_vars_grad(loss, theta, g);
        for (int i = 0; i < 2; i++)
            ht_tensor_copy(ht_set_at(gradient, i), ht_value(g[i]));
        assert_int_equal(ht_optimizer_step(s.optimizer, gradient), HT_OK);
        assert_near(ht_item(loss), (3 + 6) * pow(0.25, step - 1), 1e-15);
        expect_small(&s, pow(0.5, step), 2 * pow(0.5, step), step);
    }
    ht_vars_grad(loss, theta, g); /* equal nodes, of the old values */
    test_error(f->ctx, HT_ERROR_ARGUMENT,
               "reads \"b\" f64 (3), which ht_optimizer_step at ");
    ht_mul(ht_get(theta, "w"), 2.0);
    test_error(f->ctx, HT_ERROR_ARGUMENT,
               "mul: reads \"w\" f64 (2, 3), which ht_optimizer_step at ");
    ht_tape_free(tape);
    ht_set_free(gradient);
    small_free(&s);
}

static void optimizer_step_after_theta_grew_is_an_error(void **state)
{
    fixture *f = *state;
    small s = small_new(f->ctx);
    ht_set_add(s.theta, "late", HT_F64, HT_SCALAR);
    for (int k = 0; k < 2; k++) {
        assert_int_equal(ht_optimizer_step(s.optimizer, s.gradient), HT_ERROR_ARGUMENT);
        assert_contains(ht_context_message(f->ctx), "theta has 3 tensors; it had 2");
        test_error(f->ctx, HT_ERROR_ARGUMENT, "\"late\" was added since");
    }
    assert_int_equal(ht_optimizer_steps(s.optimizer), 0);
    small_free(&s);
}

static ht_var growing_schedule(ht_var step, const void *user)
{
    ht_set *theta = (ht_set *)(uintptr_t)user;
    if (ht_set_find(theta, "late") < 0) ht_set_add(theta, "late", HT_F64, HT_SCALAR);
    return ht_add(ht_cast(step, HT_F64), 1.0);
}

static void optimizer_new_with_a_schedule_that_adds_to_theta_is_an_error(void **state)
{
    fixture *f = *state;
    small s = small_new(f->ctx);
    ht_update update = {.rule = &ht_sgd,
                        .rate = {1, .schedule = growing_schedule, .user = s.theta}};
    size_t live = ht_context_live_bytes(f->ctx);
    assert_null(ht_optimizer_new(s.theta, &update));
    test_error(f->ctx, HT_ERROR_ARGUMENT, "\"late\" was added by a schedule");
    printf("# %zu bytes before, %zu after, with one more tensor\n", live,
           ht_context_live_bytes(f->ctx));
    assert_in_range(ht_context_live_bytes(f->ctx) - live, 1, 500);
    small_free(&s);
}

static void free_theta(void *argument)
{
    ht_set_free(((const small *)argument)->theta);
}

static void free_w(void *argument)
{
    ht_tensor_free(ht_set_tensor(((const small *)argument)->theta, "w"));
}

static void optimizer_outlived_by_theta_aborts_and_says_what_to_free(void **state)
{
    fixture *f = *state;
    small s = small_new(f->ctx);
    test_aborts(free_theta, &s,
                "ht_set_free: a live optimizer still borrows this set (w, b) as its "
                "theta: call ht_optimizer_free first");
    test_aborts(free_w, &s,
                "this tensor, \"w\" f64 (2, 3), belongs to a set, which frees it");
    small_free(&s);
}

/* Memory. */

static void optimizer_step_after_the_first_allocates_nothing(void **state)
{
    fixture *f = *state;
    for (int c = 0; c < N_RULE_CASES; c++) {
        ht_set *theta = random_set(f->ctx, HT_F32, 100);
        ht_set *gradient = random_set(f->ctx, HT_F32, 200);
        ht_update update = update_of(rule_cases[c].rule, &rule_cases[c].x);
        ht_optimizer *optimizer = ht_optimizer_new(theta, &update);
        ht_optimizer_step(optimizer, gradient);
        uint64_t allocations = ht_context_allocations(f->ctx);
        size_t live = ht_context_live_bytes(f->ctx);
        for (int step = 0; step < 20; step++) ht_optimizer_step(optimizer, gradient);
        test_no_error(f->ctx);
        assert_int_equal(ht_context_allocations(f->ctx), allocations);
        assert_int_equal(ht_context_live_bytes(f->ctx), live);
        ht_optimizer_free(optimizer);
        ht_set_free(theta);
        ht_set_free(gradient);
    }
}

/* Two Adam steps whose fail_at-th allocation fails. False after an error, and then theta
 * is what it was: only the first step allocates. */
static bool adam_twice(ht_context *ctx, int fail_at)
{
    ht_set *theta = random_set(ctx, HT_F64, 1), *gradient = random_set(ctx, HT_F64, 50);
    ht_set *before = ht_set_clone(theta, 0);
    assert_non_null(before);
    failing *user = ctx->options.user;
    user->fail_at = user->calls + fail_at;
    ht_update update = update_of(&ht_adam, &rule_cases[14].x);
    ht_optimizer *optimizer = ht_optimizer_new(theta, &update);
    assert_int_equal(optimizer == NULL, ht_context_status(ctx) != HT_OK);
    for (int step = 0; optimizer && step < 2; step++)
        ht_optimizer_step(optimizer, gradient);
    bool done = ht_context_status(ctx) == HT_OK;
    for (int i = 0; !done && i < N_SHAPES; i++)
        assert_memory_equal(ht_tensor_data(ht_set_at(theta, i)),
                            ht_tensor_data(ht_set_at(before, i)),
                            ht_tensor_bytes(ht_set_at(theta, i)));
    ht_optimizer_free(optimizer);
    ht_set_free(theta);
    ht_set_free(gradient);
    ht_set_free(before);
    return done;
}

static void optimizer_with_nth_allocation_failing_leaks_and_changes_nothing(void **state)
{
    (void)state;
    int fail_at = 1;
    for (bool done = false; !done; fail_at++) {
        failing user = {.fail_at = 0};
        ht_context *ctx = ht_context_new(
            &(ht_context_options){.alloc = failing_alloc, .user = &user, .threads = 1});
        size_t live = ht_context_live_bytes(ctx);
        done = adam_twice(ctx, fail_at);
        assert_int_equal(ht_context_status(ctx), done ? HT_OK : HT_ERROR_MEMORY);
        assert_int_equal(ht_context_live_bytes(ctx), live);
        ht_context_free(ctx);
    }
    printf("# %d allocations failed, one at a time\n", fail_at - 2);
    assert_in_range(fail_at - 2, 30, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(optimizer_step_of_every_rule_in_f64_is_the_loop),
        CASE(optimizer_step_of_every_rule_in_f32_is_the_loop),
        CASE(optimizer_step_ten_times_agrees_with_pytorch),
        CASE(optimizer_state_is_named_after_parameters),
        CASE(optimizer_restored_goes_on_with_the_same_bits),
        CASE(optimizer_step_past_the_counter_is_refused),
        CASE(optimizer_restore_of_another_state_copies_nothing),
        CASE(optimizer_new_of_wrong_numbers_names_rule_and_field),
        CASE(usual_numbers_by_name_are_those_written_out),
        CASE(optimizer_new_of_no_or_integer_parameters_is_an_error),
        CASE(optimizer_step_with_a_name_missing_lists_names),
        CASE(optimizer_step_with_another_type_names_the_parameter),
        CASE(optimizer_step_before_the_tape_is_reset_is_plain_training),
        CASE(optimizer_step_after_theta_grew_is_an_error),
        CASE(optimizer_new_with_a_schedule_that_adds_to_theta_is_an_error),
        CASE(optimizer_outlived_by_theta_aborts_and_says_what_to_free),
        CASE(optimizer_step_after_the_first_allocates_nothing),
        CASE(optimizer_with_nth_allocation_failing_leaks_and_changes_nothing),
    };
    return TEST_MAIN(tests);
}
