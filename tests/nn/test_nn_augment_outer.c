/* SPDX-License-Identifier: MIT */
/* test_nn_augment_outer.c: augmentations in programs: a replay of a step draws what the
 * step drew, and the hypergradient by each strength is what differences say.
 * Read next: nn/augment.c, test_nn_augment.c. */
#include "test_bilevel.h"
#include "test_nn.h"

static ht_var step_of(ht_tape *tape, int step)
{
    return ht_cast(ht_constant(tape, step), HT_I32);
}

static void assert_same(ht_var got, const ht_tensor *want, const char *what)
{
    if (memcmp(ht_tensor_data(ht_value(got)), ht_tensor_data(want),
               ht_tensor_bytes(want)))
        fail_msg("%s: not the same bits", what);
}

/* All of them, one after the other, of one stream each. */
static ht_var chained(ht_var x, ht_var *labels, const ht_var *s, ht_var step)
{
    x = ht_random_flip(ht_random_shift(x, s[0], 1, step), 0.5, 2, step);
    x = ht_random_contrast(ht_random_brightness(x, s[1], 3, step), s[2], 4, step);
    x = ht_random_cutout(ht_random_colour(x, s[3], 5, step), s[4], 6, step);
    ht_mixup(&x, labels, s[5], 7, step);
    return x;
}

enum { N_CHAINED = 6 };
static const char *const chained_name[N_CHAINED] = {"shift",  "brightness", "contrast",
                                                    "colour", "cutout",     "mixup"};
static const double chained_at[N_CHAINED] = {0.83, 0.31, 0.27, 0.44, 0.52, 0.61};

static void record_chained(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    (void)user;
    ht_var s[N_CHAINED], labels = ht_get(in[0], "labels");
    for (int i = 0; i < N_CHAINED; i++) s[i] = ht_number(chained_at[i]);
    ht_vars_set(out[0], "y", chained(ht_get(in[0], "x"), &labels, s, ht_step(in[0])));
    ht_vars_set(out[0], "mixed", labels);
}

static ht_set *batch_of(ht_context *ctx, ht_dtype dtype, const char *x,
                        const char *labels)
{
    ht_set *set = ht_set_new(ctx);
    ht_tensor_normal(ht_set_add(set, x, dtype, HT_SHAPE(4, 2, 5, 5)), 1, 0, 1);
    ht_tensor *hot = ht_set_add(set, labels, dtype, HT_SHAPE(4, 3));
    for (int i = 0; i < 4; i++) ht_tensor_set(hot, 3 * i + i % 3, 1);
    return set;
}

/* Recorded once, replayed for steps in any order, and eager: the same bits for a step,
 * others for the next and for another seed. */
static void a_replay_of_a_step_draws_the_same(void **state)
{
    (void)state;
    static const int order[] = {2, 0, 1, 0, 2};
    float kept[2][3][200];
    for (int seed = 0; seed < 2; seed++) {
        ht_context *ctx = ht_context_new(
            &(ht_context_options){.seed = 7 + (uint64_t)seed, .threads = 1});
        ht_set *in = batch_of(ctx, HT_F32, "x", "labels");
        ht_set *out = batch_of(ctx, HT_F32, "y", "mixed"), *const outs[] = {out, NULL};
        ht_tensor *x = ht_set_tensor(in, "x");
        for (int i = 0; i < 200; i++) ht_tensor_set(x, i, sin(i));
        ht_recording *recording =
            ht_recording_new((const ht_set *[]){in, NULL}, outs, record_chained, NULL);
        test_no_error(ctx);
        for (int k = 0; k < 5; k++) {
            assert_int_equal(ht_recording_run(recording, order[k]), HT_OK);
            const float *y = ht_tensor_data(ht_set_at(out, 0));
            float *last = kept[seed][order[k]];
            if (k < 3) memcpy(last, y, sizeof kept[0][0]);
            assert_memory_equal(last, y, sizeof kept[0][0]);
        }
        ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
        ht_var s[N_CHAINED], labels = ht_input(tape, ht_set_at(in, 1));
        for (int i = 0; i < N_CHAINED; i++) s[i] = ht_number(chained_at[i]);
        assert_same(chained(ht_input(tape, x), &labels, s, step_of(tape, 2)),
                    ht_set_at(out, 0), "eager");
        assert_same(labels, ht_set_at(out, 1), "eager labels");
        ht_tape_free(tape);
        ht_recording_free(recording);
        ht_set_free(in);
        ht_set_free(out);
        ht_context_free(ctx);
    }
    for (int a = 0; a < 6; a++)
        for (int b = 0; b < a; b++)
            assert_int_not_equal(
                memcmp(kept[a / 3][a % 3], kept[b / 3][b % 3], sizeof kept[0][0]), 0);
}

static ht_var logits_of(ht_var x, const ht_vars *theta)
{
    return ht_linear(ht_reshape(x, HT_SHAPE(-1, 50)), theta, "out");
}

static ht_var augmented_loss(const ht_vars *theta, const ht_vars *eta,
                             const ht_vars *batch, void *user)
{
    (void)user;
    ht_var s[N_CHAINED], labels = ht_get(batch, "labels");
    for (int i = 0; i < N_CHAINED; i++) s[i] = ht_get(eta, chained_name[i]);
    ht_var x = chained(ht_get(batch, "x"), &labels, s, ht_step(theta));
    return ht_mean(ht_cross_entropy(logits_of(x, theta), labels));
}

static ht_var plain_loss(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    (void)eta, (void)user;
    return ht_mean(
        ht_cross_entropy(logits_of(ht_get(batch, "x"), theta), ht_get(batch, "labels")));
}

static void strengths_check(ht_context *ctx, const ht_bilevel_problem *problem,
                            ht_method method, double *got)
{
    double want[N_CHAINED];
    ht_bilevel *bilevel =
        ht_bilevel_new(ctx, problem, &(ht_bilevel_options){.method = method});
    test_no_error(ctx);
    ht_bilevel_result r = ht_bilevel_run(bilevel, 0);
    test_no_error(ctx);
    assert_int_equal(r.method, method);
    for (int i = 0; i < N_CHAINED; i++) {
        got[i] = ht_tensor_get(ht_set_at(r.gradient, i), 0);
        assert_true(fabs(got[i]) > 1e-6);
    }
    for (int i = 0; i < N_CHAINED; i++) {
        want[i] = outer_slope(bilevel, ht_set_at(problem->eta, i), 0, 1e-5);
        assert_distance(fabs(got[i] - want[i]) / fabs(want[i]), 1e-6, "%s, differences",
                        chained_name[i]);
    }
    ht_bilevel_free(bilevel);
}

static void bilevel_by_each_strength_is_what_differences_say(void **state)
{
    fixture *f = *state;
    ht_set *theta = ht_set_new(f->ctx), *eta = ht_set_new(f->ctx);
    ht_set *inner = batch_of(f->ctx, HT_F64, "x", "labels");
    ht_set *outer = batch_of(f->ctx, HT_F64, "x", "labels");
    ht_tensor_normal(ht_set_tensor(outer, "x"), 5, 0, 1);
    ht_linear_init(theta, "out", HT_F64, 50, 3);
    for (int i = 0; i < N_CHAINED; i++)
        ht_tensor_fill(ht_set_add(eta, chained_name[i], HT_F64, HT_SCALAR),
                       chained_at[i]);
    ht_bilevel_problem problem = {.inner = augmented_loss,
                                  .outer = plain_loss,
                                  .theta = theta,
                                  .eta = eta,
                                  .inner_data = inner,
                                  .outer_data = outer,
                                  .update = HT_MOMENTUM(0.2, 0.8),
                                  .steps = 5};
    static const ht_method method[] = {HT_REVERSE, HT_REVERSE_REVERSE, HT_FORWARD};
    double got[3][N_CHAINED];
    for (int k = 0; k < 3; k++) {
        strengths_check(f->ctx, &problem, method[k], got[k]);
        assert_distance(norm_distance(N_CHAINED, got[k], got[0]), 1e-12, "method %d", k);
    }
    ht_set_free(theta);
    ht_set_free(eta);
    ht_set_free(inner);
    ht_set_free(outer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(a_replay_of_a_step_draws_the_same),
        CASE(bilevel_by_each_strength_is_what_differences_say),
    };
    return TEST_MAIN(tests);
}
