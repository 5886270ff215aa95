/* SPDX-License-Identifier: MIT */
/* test_bilevel_method.c: the template of a method, made and run as a row: nothing outside
 * a row asks which method it is. The row after copying is the table's: each method there
 * is has one. Read next: bilevel/method.h, bilevel/README.md. */
#include "test_bilevel.h"

#include "bilevel_internal.h"
#include "template_method.c"

static ht_var inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    (void)batch, (void)user;
    return ht_sum(ht_square(ht_sub(ht_get(theta, "w"), ht_get(eta, "target"))));
}

/* d outer / d target, w held: 3 w + 2 target. */
static ht_var outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    (void)batch, (void)user;
    ht_var w = ht_get(theta, "w"), target = ht_get(eta, "target");
    return ht_sum(ht_add(ht_mul(ht_mul(w, target), 3), ht_square(target)));
}

typedef struct direct {
    counted memory;
    ht_context *ctx;
    ht_bilevel_problem problem;
} direct;

static int direct_new(void **state)
{
    direct *d = calloc(1, sizeof *d);
    d->ctx = counted_context(&d->memory, 1);
    d->problem = (ht_bilevel_problem){.inner = inner,
                                      .outer = outer,
                                      .theta = ht_set_new(d->ctx),
                                      .eta = ht_set_new(d->ctx),
                                      .update = {.rule = &ht_sgd, .rate = HT_FIXED(0.1)},
                                      .steps = 4};
    ht_tensor_fill(ht_set_add(d->problem.theta, "w", HT_F64, HT_SHAPE(3)), 1);
    ht_tensor_fill(ht_set_add(d->problem.eta, "target", HT_F64, HT_SHAPE(3)), 2);
    *state = d;
    return 0;
}

static int direct_free(void **state)
{
    direct *d = *state;
    ht_set_free(d->problem.theta);
    ht_set_free(d->problem.eta);
    ht_context_free(d->ctx);
    assert_int_equal(d->memory.live, 0);
    free(d);
    return 0;
}

static void method_row_each_public_kind_has_one(void **state)
{
    (void)state;
    for (ht_method kind = HT_REVERSE; kind <= HT_REVERSIBLE; kind++) {
        const hti_method *row = hti_method_row(kind);
        assert_non_null(row);
        assert_int_equal(row->kind, kind);
    }
    assert_null(hti_method_row(HT_REVERSIBLE + 1));
}

/* w' = w - 0.2 (w - target), so target - w_4 = 0.8^4 (target - w_0). */
static void method_template_run_gives_the_direct_gradient(void **state)
{
    direct *d = *state;
    ht_bilevel *b = hti_bilevel_new(d->ctx, &hti_method_direct, &d->problem,
                                    &(ht_bilevel_options){0});
    assert_non_null(b);
    assert_int_equal(ht_bilevel_bytes(b), ht_bilevel_bytes(b));
    for (int k = 0; k < 2; k++) {
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        double w = 2 - pow(0.8, 4);
        for (int64_t i = 0; i < 3; i++) {
            assert_near(ht_tensor_get(ht_set_tensor(r.theta, "w"), i), w, 1e-14);
            assert_near(ht_tensor_get(ht_set_tensor(r.gradient, "target"), i), 3 * w + 4,
                        1e-14);
        }
        assert_int_equal(r.forward_steps, 4);
        assert_int_equal(r.schedule, HT_SCHEDULE_NONE);
        assert_int_equal(r.peak_bytes, r.predicted_bytes);
        assert_contains(r.note, "not differentiated");
    }
    ht_bilevel_free(b);
}

static void method_template_refuses_what_does_not_fit(void **state)
{
    direct *d = *state;
    ht_bilevel_options o = {.truncate = 2};
    assert_null(hti_bilevel_new(d->ctx, &hti_method_direct, &d->problem, &o));
    assert_contains(ht_context_message(d->ctx), "HT_DIRECT, but options.truncate");
    ht_context_clear(d->ctx);
    o = (ht_bilevel_options){.bytes = 100};
    assert_null(hti_bilevel_new(d->ctx, &hti_method_direct, &d->problem, &o));
    assert_contains(ht_context_message(d->ctx),
                    "a budget of 100 bytes is too small for the direct method\n  hint: "
                    "it needs ");
    o.bytes = strtoull(strstr(ht_context_message(d->ctx), "needs ") + 6, NULL, 10);
    ht_context_clear(d->ctx);
    ht_bilevel *b = hti_bilevel_new(d->ctx, &hti_method_direct, &d->problem, &o);
    assert_non_null(b);
    assert_int_equal(ht_bilevel_bytes(b), o.bytes);
    ht_bilevel_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, direct_new, direct_free)
        CASE(method_row_each_public_kind_has_one),
        CASE(method_template_run_gives_the_direct_gradient),
        CASE(method_template_refuses_what_does_not_fit),
    };
    return TEST_MAIN(tests);
}
