/* SPDX-License-Identifier: MIT */
/* test_nn_update_groups.c: parameters that follow another rule, or none, by the pattern
 * of their names: in plain training, under derivatives, and what is refused.
 * Read next: nn/update.c, test_nn_update_bilevel.c. */
#include "test_bilevel.h"
#include "test_nn.h"

static void name_matches_of_patterns_is_the_shell_s(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool matches;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"a", "", false},
        {"*", "", true},
        {"**", "", true},
        {"?", "", false},
        {"w", "w", true},
        {"w", "ww", false},
        {"*", "head.weight", true},
        {"head.*", "head.weight", true},
        {"head.*", "head.", true},
        {"head.*", "ahead.weight", false},
        {"*.bias", "head.bias", true},
        {"*.bias", "head.bias2", false},
        {"*.bias", "bias", false},
        {"*.b*s", "a.b.bias", true},
        {"block?.w", "block1.w", true},
        {"block?.w", "block12.w", false},
        {"b*k?.w", "block12.w", false},
        {"b*k??.w", "block12.w", true},
        {"*a*b*c", "xxaxbxbxc", true},
        {"*a*b*c", "xxaxcxb", false},
        {"*ab", "aaab", true},
        {"a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
        {"?*?", "a", false},
        {"?*?", "ab", true},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++)
        if (ht_name_matches(cases[k].pattern, cases[k].name) != cases[k].matches)
            fail_msg("\"%s\" and \"%s\": want %d", cases[k].pattern, cases[k].name,
                     cases[k].matches);
}

/* A small network's names. */
static const char *const names[] = {"embed.weight", "hidden.weight", "hidden.bias",
                                    "out.weight", "out.bias"};
enum { N = sizeof names / sizeof names[0], EMBED = 0, STEPS = 6 };

/* Random vectors of those names, or of n of them. */
static ht_set *network(ht_context *ctx, uint64_t stream, const int *some, int n)
{
    ht_set *set = ht_set_new(ctx);
    for (int k = 0; k < n; k++) {
        int i = some ? some[k] : k;
        ht_tensor *x = ht_set_add(set, names[i], HT_F64, HT_SHAPE(i + 2));
        ht_tensor_normal(x, stream + (uint64_t)i, 0, 1);
    }
    return set;
}

static const ht_update group_adam = {.rule = &ht_adam,
                                     .rate = {.value = 0.1},
                                     .momentum = {.value = 0.9},
                                     .beta2 = {.value = 0.99},
                                     .eps = {.value = 1e-8}};
static const ht_update group_sgd = {.rule = &ht_sgd, .rate = {.value = 0.3}};
static const ht_update group_nesterov = {.rule = &ht_nesterov,
                                         .rate = {.value = 0.2},
                                         .momentum = {.value = 0.8},
                                         .decay = {.value = 0.1}};

static void train(ht_context *ctx, ht_set *theta, const ht_update *update,
                  const int *some, int n)
{
    ht_optimizer *optimizer = ht_optimizer_new(theta, update);
    for (uint64_t step = 0; step < STEPS; step++) {
        ht_set *gradient = network(ctx, 500 + 10 * step, some, n);
        ht_optimizer_step(optimizer, gradient);
        ht_set_free(gradient);
    }
    test_no_error(ctx);
    ht_optimizer_free(optimizer);
}

static void optimizer_with_groups_is_several_optimizers(void **state)
{
    fixture *f = *state;
    /* out.bias would match the second group too: the first counts. */
    const ht_update_group groups[] = {
        {"embed.*", NULL}, {"*.bias", &group_sgd}, {"out.*", &group_nesterov}};
    ht_update grouped = group_adam;
    grouped.groups = groups;
    grouped.n_groups = 3;
    ht_set *theta = network(f->ctx, 1, NULL, N);
    train(f->ctx, theta, &grouped, (const int[]){4, 3, 2, 1}, 4);
    const struct {
        const ht_update *update;
        int n, some[2];
    } part[] = {
        {&group_adam, 1, {1, 0}}, {&group_sgd, 2, {2, 4}}, {&group_nesterov, 1, {3, 0}}};
    for (int p = 0; p < 3; p++) {
        ht_set *alone = network(f->ctx, 1, part[p].some, part[p].n);
        train(f->ctx, alone, part[p].update, part[p].some, part[p].n);
        for (int k = 0; k < part[p].n; k++) {
            ht_tensor *got = ht_set_at(theta, part[p].some[k]);
            assert_memory_equal(ht_tensor_data(got), ht_tensor_data(ht_set_at(alone, k)),
                                ht_tensor_bytes(got));
        }
        ht_set_free(alone);
    }
    ht_set *start = network(f->ctx, 1, NULL, N);
    assert_memory_equal(ht_tensor_data(ht_set_at(theta, EMBED)),
                        ht_tensor_data(ht_set_at(start, EMBED)),
                        ht_tensor_bytes(ht_set_at(start, EMBED)));
    ht_set_free(start);
    ht_set_free(theta);
}

static void optimizer_state_with_groups_is_that_of_each_rule(void **state)
{
    fixture *f = *state;
    static const char *const want[] = {"hidden.weight.m", "hidden.weight.u",
                                       "out.weight.s"};
    ht_update grouped = group_adam;
    grouped.groups = (const ht_update_group[]){
        {"embed.*", NULL}, {"*.bias", &group_sgd}, {"out.*", &group_nesterov}};
    grouped.n_groups = 3;
    ht_set *theta = network(f->ctx, 1, NULL, N);
    ht_optimizer *optimizer = ht_optimizer_new(theta, &grouped);
    test_no_error(f->ctx);
    const ht_set *s = ht_optimizer_state(optimizer);
    assert_int_equal(ht_set_count(s), 3);
    for (int k = 0; k < 3; k++) assert_string_equal(ht_set_name(s, k), want[k]);
    ht_optimizer_free(optimizer);
    ht_set_free(theta);
}

static void optimizer_clip_with_groups_is_by_the_norm_of_all_that_trains(void **state)
{
    fixture *f = *state;
    const ht_update biases = {
        .rule = &ht_sgd, .rate = HT_FIXED(2), .clip_value = HT_FIXED(0.5)};
    ht_update u = {.rule = &ht_sgd, .rate = HT_FIXED(1), .clip = HT_FIXED(0.75)};
    u.groups = (const ht_update_group[]){{"embed.*", NULL}, {"*.bias", &biases}};
    u.n_groups = 2;
    ht_set *theta = network(f->ctx, 1, NULL, N), *gradient = network(f->ctx, 9, NULL, N);
    ht_set *start = ht_set_clone(theta, 0);
    ht_optimizer *optimizer = ht_optimizer_new(theta, &u);
    ht_optimizer_step(optimizer, gradient);
    test_no_error(f->ctx);
    double cut[N][8], sum = 0;
    for (int i = 1; i < N; i++)
        for (int k = 0; k < i + 2; k++) {
            double g = ht_tensor_get(ht_set_at(gradient, i), k);
            bool bias = i == 2 || i == 4;
            cut[i][k] = bias ? fmin(fmax(g, -0.5), 0.5) : g;
            sum += cut[i][k] * cut[i][k];
        }
    assert_true(sqrt(sum) > 0.75);
    for (int i = 1; i < N; i++)
        for (int k = 0; k < i + 2; k++) {
            double rate = i == 2 || i == 4 ? 2 : 1;
            assert_near(ht_tensor_get(ht_set_at(theta, i), k),
                        ht_tensor_get(ht_set_at(start, i), k) -
                            rate * cut[i][k] * 0.75 / sqrt(sum),
                        1e-14);
        }
    ht_optimizer_free(optimizer);
    ht_set_free(theta);
    ht_set_free(gradient);
    ht_set_free(start);
}

static void optimizer_new_with_wrong_groups_names_group_and_field(void **state)
{
    fixture *f = *state;
    const ht_update no_rate = {.rule = &ht_adam};
    const ht_update clipped = {.rule = &ht_sgd, .rate = HT_FIXED(1), .clip = HT_FIXED(1)};
    const ht_update outer = {.rule = &ht_sgd, .rate = HT_OUTER("r")};
    const ht_update_group inside = {"*", NULL};
    const ht_update nested = {
        .rule = &ht_sgd, .rate = HT_FIXED(1), .groups = &inside, .n_groups = 1};
    const struct {
        ht_update_group group;
        const char *message;
    } wrong[] = {
        {{"hiden.*", NULL},
         "update rule adam: group \"hiden.*\" matches no parameter; they are: "
         "embed.weight, hidden.weight, hidden.bias, out.weight, out.bias"},
        {{"*.bias", &no_rate}, "update rule adam (group \"*.bias\"): rate is zero"},
        {{"*.bias", &clipped}, "update rule sgd (group \"*.bias\"): clip is set, but"},
        {{"out.*", &nested}, "sgd (group \"out.*\"): has groups of its own"},
        {{"out.*", &outer}, "sgd (group \"out.*\"): rate is an outer variable"},
        {{"*", NULL}, "adam: every parameter is frozen: nothing to train"},
    };
    ht_set *theta = network(f->ctx, 1, NULL, N);
    size_t live = ht_context_live_bytes(f->ctx);
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
        ht_update u = group_adam;
        u.groups = &wrong[k].group;
        u.n_groups = 1;
        assert_null(ht_optimizer_new(theta, &u));
        test_error(f->ctx, HT_ERROR_ARGUMENT, wrong[k].message);
        assert_int_equal(ht_context_live_bytes(f->ctx), live);
    }
    ht_set_free(theta);
}

/* Differentiated: the mean square of tanh(x embed hidden + b) out + b - y on two batches,
 * embed frozen. */

static ht_var network_loss(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                           void *user)
{
    (void)user;
    ht_var x = ht_matmul(ht_get(batch, "x"), ht_get(theta, "embed.weight"));
    ht_var h = ht_tanh(ht_add(ht_matmul(x, ht_get(theta, "hidden.weight")),
                              ht_get(theta, "hidden.bias")));
    ht_var y =
        ht_add(ht_matmul(h, ht_get(theta, "out.weight")), ht_get(theta, "out.bias"));
    return ht_mul(ht_mean(ht_square(ht_sub(y, ht_get(batch, "y")))),
                  ht_get(eta, "scale"));
}

typedef struct grouped {
    ht_set *theta, *eta, *inner, *outer;
    ht_update biases, main;
    ht_update_group groups[2];
    ht_bilevel_problem problem;
} grouped;

static ht_set *random_data(ht_context *ctx, uint64_t stream)
{
    ht_set *data = ht_set_new(ctx);
    ht_tensor_normal(ht_set_add(data, "x", HT_F64, HT_SHAPE(7, 3)), stream, 0, 1);
    ht_tensor_normal(ht_set_add(data, "y", HT_F64, HT_SHAPE(7, 2)), stream + 1, 0, 1);
    return data;
}

static void grouped_open(grouped *g, ht_context *ctx)
{
    const struct {
        const char *name;
        ht_shape shape;
    } parameter[N] = {{names[0], HT_SHAPE(3, 4)},
                      {names[1], HT_SHAPE(4, 5)},
                      {names[2], HT_SHAPE(5)},
                      {names[3], HT_SHAPE(5, 2)},
                      {names[4], HT_SHAPE(2)}};
    *g = (grouped){.theta = ht_set_new(ctx),
                   .eta = ht_set_new(ctx),
                   .inner = random_data(ctx, 31),
                   .outer = random_data(ctx, 41)};
    for (int i = 0; i < N; i++)
        ht_tensor_normal(
            ht_set_add(g->theta, parameter[i].name, HT_F64, parameter[i].shape),
            (uint64_t)i, 0, 0.7);
    ht_tensor_fill(ht_set_add(g->eta, "scale", HT_F64, HT_SCALAR), 1.3);
    ht_tensor_uniform(ht_set_add(g->eta, "rate", HT_F64, HT_SHAPE(STEPS, N)), 5, 0.02,
                      0.04);
    ht_tensor_fill(ht_set_add(g->eta, "bias_rate", HT_F64, HT_SCALAR), 0.2);
    ht_tensor_fill(ht_set_add(g->eta, "clip", HT_F64, HT_SCALAR), 0.6);
    g->biases = (ht_update){
        .rule = &ht_nesterov, .rate = HT_OUTER("bias_rate"), .momentum = HT_FIXED(0.7)};
    g->groups[0] = (ht_update_group){"embed.*", NULL};
    g->groups[1] = (ht_update_group){"*.bias", &g->biases};
    g->main = group_adam;
    g->main.eps = HT_FIXED(1e-3);
    g->main.rate = HT_OUTER("rate");
    g->main.clip = HT_OUTER("clip");
    g->main.groups = g->groups;
    g->main.n_groups = 2;
    g->problem = (ht_bilevel_problem){.inner = network_loss,
                                      .outer = network_loss,
                                      .theta = g->theta,
                                      .eta = g->eta,
                                      .inner_data = g->inner,
                                      .outer_data = g->outer,
                                      .update = g->main,
                                      .steps = STEPS};
}

static void grouped_close(grouped *g)
{
    ht_set_free(g->theta);
    ht_set_free(g->eta);
    ht_set_free(g->inner);
    ht_set_free(g->outer);
}

static void bilevel_run_with_groups_agrees_with_differences(void **state)
{
    fixture *f = *state;
    grouped g;
    grouped_open(&g, f->ctx);
    ht_bilevel *bilevel = ht_bilevel_new(f->ctx, &g.problem, NULL);
    test_no_error(f->ctx);
    ht_bilevel_result r = ht_bilevel_run(bilevel, 0);
    test_no_error(f->ctx);
    assert_int_equal(r.bad_step, -1);
    assert_memory_equal(ht_tensor_data(ht_set_at(r.theta, EMBED)),
                        ht_tensor_data(ht_set_at(g.theta, EMBED)),
                        ht_tensor_bytes(ht_set_at(g.theta, EMBED)));
    ht_set *gradient = ht_set_clone(r.gradient, 0);
    ht_set *gradient0 = ht_set_clone(r.gradient_theta0, 0);
    /* A frozen parameter's own rates decide nothing. */
    for (int64_t t = 0; t < STEPS; t++)
        assert_near(ht_tensor_get(ht_set_tensor(gradient, "rate"), t * N + EMBED), 0, 0);
    for (int j = 0; j < ht_set_count(g.eta); j++) {
        ht_tensor *x = ht_set_at(g.eta, j);
        assert_distance(
            slope_distance(bilevel, x, ht_set_at(gradient, j), ht_tensor_count(x), 1e-5),
            1e-7, "%s, groups against differences", ht_set_name(g.eta, j));
    }
    for (int i = 0; i < N; i++) {
        ht_tensor *x = ht_set_at(g.theta, i);
        assert_distance(
            slope_distance(bilevel, x, ht_set_at(gradient0, i), ht_tensor_count(x), 1e-5),
            1e-7, "%s at the start, against differences", names[i]);
    }
    ht_set_free(gradient);
    ht_set_free(gradient0);
    ht_bilevel_free(bilevel);
    grouped_close(&g);
}

static void bilevel_check_with_groups_holds(void **state)
{
    fixture *f = *state;
    grouped g;
    grouped_open(&g, f->ctx);
    assert_true(ht_bilevel_check(f->ctx, &g.problem, 2, stderr));
    test_no_error(f->ctx);
    grouped_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(name_matches_of_patterns_is_the_shell_s),
        CASE(optimizer_with_groups_is_several_optimizers),
        CASE(optimizer_state_with_groups_is_that_of_each_rule),
        CASE(optimizer_clip_with_groups_is_by_the_norm_of_all_that_trains),
        CASE(optimizer_new_with_wrong_groups_names_group_and_field),
        CASE(bilevel_run_with_groups_agrees_with_differences),
        CASE(bilevel_check_with_groups_holds),
    };
    return TEST_MAIN(tests);
}
