/* SPDX-License-Identifier: MIT */
/* test_nn_update_check.c: ht_update_check passes every rule of the library, and rules of
 * one's own that are right; what is wrong with one it says in a sentence. Read next:
 * ../../nn/ht_update.h, test_nn_own_rule.c. */
#include "test_nn.h"

/* The report of a check; whether it passed to *passed. */
static const char *report_of(ht_context *ctx, const ht_update *update,
                             const ht_set *theta, const ht_set *eta, bool *passed)
{
    static char text[1 << 14];
    FILE *f = tmpfile();
    assert_non_null(f);
    *passed = ht_update_check(ctx, update, theta, eta, f);
    rewind(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    test_no_error(ctx);
    return text;
}

static void every_rule_of_the_library_passes(void **state)
{
    fixture *f = *state;
    ht_update rule[] = {
        HT_SGD(0.1),          HT_MOMENTUM(0.1, 0.8), HT_NESTEROV(0.1, 0.8),
        HT_ADAM(0.1),         HT_ADAMW(0.1, 0.2),    HT_RMSPROP(0.1),
        HT_ADAGRAD(0.1),      HT_MUON(0.1, 0.8),     HT_ADAM(0.1),
        HT_RMSPROP(0.1),      HT_ADAGRAD(0.1),       HT_MUON(0.1, 0.8),
        HT_MOMENTUM(0.1, 0.8)};
    int n = sizeof rule / sizeof *rule;
    for (int k = 8; k < 11; k++) rule[k].eps_root = HT_FIXED(0.01);
    for (int k = 11; k < n; k++) rule[k].decay = HT_FIXED(0.1);
    size_t live = ht_context_live_bytes(f->ctx);
    for (int m = 0; m < 4 * n; m++) { /* also where steps are small */
        bool passed;
        int k = m % n;
        rule[k].rate = HT_FIXED(0.1 * pow(0.05, m / n));
        const char *text = report_of(f->ctx, &rule[k], NULL, NULL, &passed);
        if (!passed)
            fail_msg("%d, %s:\n%s", k, rule[k].rule->name, strstr(text, "WRONG"));
        assert_null(strstr(text, "WRONG"));
    }
    assert_int_equal(ht_context_live_bytes(f->ctx), live);
}

static ht_var beside(ht_var scalar, ht_var x)
{
    return ht_cast(scalar, ht_var_dtype(x));
}

/* The rules below are momentum, m = momentum m + g, w -= rate m, but for one thing. */

static ht_var speed(const ht_update_step *s)
{
    return ht_add(ht_mul(beside(s->momentum, s->w), s->state[0]), s->g);
}

static void descend(ht_update_step *s, ht_var along)
{
    s->new_w = ht_sub(s->w, ht_mul(beside(s->rate, s->w), along));
}

static void right_apply(ht_update_step *s)
{
    descend(s, s->new_state[0] = speed(s));
}

/* sign(m), which is flat. */
static void flat_apply(ht_update_step *s)
{
    ht_var m = s->new_state[0] = speed(s);
    ht_var down = ht_where(ht_greater(0.0, m), -1.0, 0.0);
    descend(s, ht_where(ht_greater(m, 0.0), 1.0, down));
}

static void detached_apply(ht_update_step *s)
{
    descend(s, s->new_state[0] = ht_stop_gradient(speed(s)));
}

static void part_detached_apply(ht_update_step *s)
{
    ht_var m = s->new_state[0] = speed(s);
    descend(s, ht_mul(m, ht_stop_gradient(ht_tanh(m))));
}

static void not_carried_apply(ht_update_step *s)
{
    ht_var m = ht_mul(beside(ht_sub(1.0, s->momentum), s->w), s->g);
    descend(s, s->new_state[0] = m);
}

static void never_written_apply(ht_update_step *s)
{
    descend(s, speed(s));
    s->new_state[0] = s->state[0];
}

static void in_place_apply(ht_update_step *s)
{
    s->new_state[0] = s->state[0] = speed(s);
    descend(s, ht_add(s->g, ht_mul(beside(s->momentum, s->w), s->state[0])));
}

static void in_place_w_apply(ht_update_step *s)
{
    s->w = ht_sub(s->w, ht_mul(beside(s->rate, s->w), s->g));
    right_apply(s);
}

static void shape_apply(ht_update_step *s)
{
    ht_var m = s->new_state[0] = ht_sum(speed(s));
    descend(s, m);
}

static int calls; /* of counting_apply, as a static variable of its own would be */
static void counting_apply(ht_update_step *s)
{
    s->new_state[0] = speed(s);
    descend(s, ht_div(s->new_state[0], (double)++calls));
}

static void no_momentum_apply(ht_update_step *s)
{
    descend(s, s->new_state[0] = ht_add(ht_mul(s->state[0], 0.5), s->g));
}

static void narrow_apply(ht_update_step *s)
{
    ht_var m = ht_cast(ht_cast(speed(s), HT_F32), ht_var_dtype(s->w));
    descend(s, s->new_state[0] = m);
}

static void wide_apply(ht_update_step *s)
{
    ht_var rate = ht_cast(s->rate, HT_F64);
    s->new_state[0] = speed(s);
    s->new_w = ht_sub(s->w, ht_mul(rate, s->new_state[0]));
}

/* g / |g|: 0/0 where there is no gradient. */
static void divided_apply(ht_update_step *s)
{
    ht_var m = s->new_state[0] = speed(s);
    descend(s, ht_div(m, ht_abs(m)));
}

/* The value is 0 there, the derivative was infinite before it was put aside. */
static void selected_apply(ht_update_step *s)
{
    ht_var m = s->new_state[0] = speed(s), none = ht_equal(m, 0.0);
    descend(s, ht_where(none, 0.0, ht_div(m, ht_exp(ht_mul(ht_log(ht_abs(m)), 0.5)))));
}

/* 1e8 + m - 1e8: no digits of m in f32. */
static void cancelling_apply(ht_update_step *s)
{
    ht_var m = s->new_state[0] = speed(s);
    descend(s, ht_sub(ht_add(m, 1e6), 1e6));
}

/* x^3 of one dense input, whose vjp says that its slope is 2 x^2. */
static void cube_run(const ht_run *r)
{
    const float *x = r->in[0]->data;
    const double *wide = r->in[0]->data;
    float *y = r->out.data;
    double *wide_y = r->out.data;
    for (int64_t i = 0; i < ht_shape_count(r->out.shape); i++)
        if (r->out.dtype == HT_F64)
            wide_y[i] = wide[i] * wide[i] * wide[i];
        else
            y[i] = x[i] * x[i] * x[i];
}

static void cube_vjp(ht_rule *r)
{
    r->d[0] = ht_mul(r->v, ht_mul(ht_square(r->in[0]), 2.0));
}

static ht_var cube_jvp(const ht_rule *r)
{
    return ht_mul(r->t[0], ht_mul(ht_square(r->in[0]), 3.0));
}

static const ht_op cube = {.name = "cube",
                           .flags = HT_OP_ELEMENTWISE,
                           .run = cube_run,
                           .vjp = cube_vjp,
                           .jvp = cube_jvp};

static void wrong_op_apply(ht_update_step *s)
{
    ht_var m = s->new_state[0] = speed(s);
    descend(s, ht_apply(&cube, 1, &m, NULL, HT_HERE));
}

static void raises_apply(ht_update_step *s)
{
    descend(s, s->new_state[0] = ht_matmul(speed(s), s->g));
}

static const struct wrong_rule {
    void (*apply)(ht_update_step *s);
    const char *line, *sentence;
} wrong[] = {
    {detached_apply, "derivative by g, against differences",
     "it is 0, but differences say"},
    {part_detached_apply, "derivative by g, against differences",
     "a part of it is detached"},
    {not_carried_apply, "state \"m\" is carried and used",
     "the steps are the same whatever it was"},
    {never_written_apply, "state \"m\" is carried and used", "it never changes"},
    {in_place_apply, "runs", "writes over its input m, which what follows reads as new"},
    {in_place_w_apply, "runs", "writes over its input w"},
    {shape_apply, "runs", "m of parameter \"matrix\" is f64 (); it must be f64 (3, 4)"},
    {counting_apply, "f64: plain loop = a tape a step, bit for bit",
     "apply keeps something between its calls on the C side"},
    {no_momentum_apply, "momentum is used", "the row has it, but the steps are the same"},
    {narrow_apply, "derivative by state, against differences",
     "something is rounded to f32 on the way"},
    {wide_apply, "runs", "f32"},
    {divided_apply, "finite where the gradient is 0 at every step", "is not: 0/0?"},
    {selected_apply, "finite where the gradient is 0 at every step",
     "select on what is divided by"},
    {cancelling_apply, "f32 close to f64", "a difference of large numbers"},
    {wrong_op_apply, "reverse = forward mode", "vjp and jvp are not of one derivative"},
    {raises_apply, "runs", "matmul"},
};

static ht_update update_by(ht_update_rule *row, void (*apply)(ht_update_step *s))
{
    *row = (ht_update_rule){.name = "yours",
                            .n_state = 1,
                            .state = {"m"},
                            .has_momentum = true,
                            .apply = apply};
    return (ht_update){.rule = row, .rate = HT_FIXED(0.1), .momentum = HT_FIXED(0.75)};
}

/* A line that begins so and ends in WRONG, with the sentence under it. */
static bool says(const char *text, const char *line, const char *sentence)
{
    for (const char *at = text; (at = strstr(at, line)); at++) {
        const char *end = strchr(at, '\n');
        bool begins = at == text || at[-1] == '\n';
        if (!begins || !end || strncmp(end - 5, "WRONG", 5)) continue;
        const char *found = strstr(end, sentence), *next = strchr(end + 1, '\n');
        return found && (!strncmp(line, "runs", 4) || found < next);
    }
    return false;
}

static void nothing_apply(ht_update_step *s)
{
    (void)s;
}

static void state_unset_apply(ht_update_step *s)
{
    s->new_w = s->w;
}

static void rule_that_leaves_a_result_unset_is_told_so(void **state)
{
    fixture *f = *state;
    ht_update_rule rule = {.name = "unset", .n_state = 1, .state = {"m"}};
    for (int k = 0; k < 2; k++) {
        bool passed;
        rule.apply = k ? nothing_apply : state_unset_apply;
        ht_update update = {.rule = &rule, .rate = HT_FIXED(0.1)};
        const char *text = report_of(f->ctx, &update, NULL, NULL, &passed);
        assert_false(passed);
        assert_contains(text, "is not set");
    }
}

static void what_is_wrong_with_a_rule_is_said(void **state)
{
    fixture *f = *state;
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        ht_update_rule row;
        ht_update update = update_by(&row, wrong[k].apply);
        bool passed;
        calls = 0;
        const char *text = report_of(f->ctx, &update, NULL, NULL, &passed);
        if (passed || !says(text, wrong[k].line, wrong[k].sentence))
            fail_msg("%s: %s was to be told, but the report is\n%s", wrong[k].line,
                     wrong[k].sentence, text);
        assert_false(ht_update_check(f->ctx, &update, NULL, NULL, NULL));
    }
}

static void rule_that_is_right_passes_and_a_flat_one_is_told_so(void **state)
{
    fixture *f = *state;
    ht_update_rule row;
    bool passed;
    ht_update update = update_by(&row, right_apply);
    const char *text = report_of(f->ctx, &update, NULL, NULL, &passed);
    if (!passed) fail_msg("%s", text);
    assert_null(strstr(text, "it is 0"));
    char line[80];
    snprintf(line, sizeof line, "%-52s  %s\n", "depends on the step t", "no");
    assert_contains(text, line);
    update = update_by(&row, flat_apply);
    text = report_of(f->ctx, &update, NULL, NULL, &passed);
    if (!passed) fail_msg("%s", text);
    assert_contains(text, "no hypergradient goes through g\n");
    assert_contains(text, "no hypergradient goes through momentum\n");
    assert_null(strstr(text, "goes through rate"));
    assert_null(strstr(text, "goes through w\n"));
}

/* Rows for matrices alone, that read eta, or whose update is refused. */

static void matrix_apply(ht_update_step *s)
{
    ht_var x = ht_matmul(s->g, ht_get(s->eta, "turn"));
    s->new_w = ht_sub(s->w, ht_mul(beside(s->rate, s->w), x));
}

static void rule_for_matrices_that_reads_eta_is_checked_with_both(void **state)
{
    fixture *f = *state;
    bool passed;
    const ht_update_rule row = {
        .name = "turned", .reads_eta = true, .apply = matrix_apply};
    ht_update update = {.rule = &row, .rate = HT_FIXED(0.1)};
    ht_set *theta = ht_set_new(f->ctx), *eta = ht_set_new(f->ctx);
    ht_set_add(theta, "w", HT_F32, HT_SHAPE(3, 2));
    ht_tensor_normal(ht_set_add(eta, "turn", HT_F32, HT_SHAPE(2, 2)), 7, 0, 1);
    const char *text = report_of(f->ctx, &update, theta, eta, &passed);
    if (!passed) fail_msg("%s", text);
    assert_contains(text, "derivative by turn, against differences");
    text = report_of(f->ctx, &update, theta, NULL, &passed);
    assert_false(passed);
    assert_contains(text, "it reads outer variables");
    ht_set_free(theta);
    ht_set_free(eta);
}

static void update_that_is_refused_is_wrong_for_that_reason(void **state)
{
    fixture *f = *state;
    bool passed;
    ht_update update = HT_ADAM(0.1);
    update.beta2 = HT_FIXED(2);
    const char *text = report_of(f->ctx, &update, NULL, NULL, &passed);
    assert_false(passed);
    assert_contains(text, "update rule adam: beta2 is not below 1");
    update.beta2 = HT_OUTER("beta2");
    text = report_of(f->ctx, &update, NULL, NULL, &passed);
    assert_false(passed);
    assert_contains(text, "beta2 is an outer variable");
}

/* Its own context fails, in a sentence; the caller's has no error. */
static void check_without_memory_is_no_pass_and_leaves_nothing(void **state)
{
    (void)state;
    int fail_at = 2;
    for (bool done = false; !done; fail_at++) {
        failing fails = {.fail_at = fail_at};
        ht_context *ctx = ht_context_new(
            &(ht_context_options){.alloc = failing_alloc, .user = &fails, .threads = 1});
        size_t live = ht_context_live_bytes(ctx);
        ht_update update = HT_MOMENTUM(0.1, 0.9);
        done = ht_update_check(ctx, &update, NULL, NULL, NULL);
        test_no_error(ctx);
        assert_int_equal(ht_context_live_bytes(ctx), live);
        ht_context_free(ctx);
    }
    assert_true(fail_at > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(every_rule_of_the_library_passes),
        CASE(what_is_wrong_with_a_rule_is_said),
        CASE(rule_that_leaves_a_result_unset_is_told_so),
        CASE(rule_that_is_right_passes_and_a_flat_one_is_told_so),
        CASE(rule_for_matrices_that_reads_eta_is_checked_with_both),
        CASE(update_that_is_refused_is_wrong_for_that_reason),
        CASE(check_without_memory_is_no_pass_and_leaves_nothing),
    };
    return TEST_MAIN(tests);
}
