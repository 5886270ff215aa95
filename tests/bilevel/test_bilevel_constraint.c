/* SPDX-License-Identifier: MIT */
/* test_bilevel_constraint.c: projections and proximal maps within an inner problem, whose
 * hypergradients by every exact method are the map's own, and as the constraint of outer
 * variables, whose minimum is the nearest point. Inner (w - f(b, t))^2/2, one step of
 * rate 1 from 0, so that w = f(b, t); outer (w - c)^2/2. Read next: ops_project.c. */
#include "hypertape.h"
#include "test.h"

enum { N = 5, MAPS = 6 };

typedef struct map {
    const char *name;
    ht_var (*f)(ht_var x, ht_var bound, const char *site);
    ht_status (*in_place)(ht_tensor *x, double bound);
} map;

static const map maps[MAPS] = {
    {"project_simplex", ht_project_simplex_at, ht_tensor_project_simplex},
    {"project_capped", ht_project_capped_at, ht_tensor_project_capped},
    {"project_l1", ht_project_l1_at, ht_tensor_project_l1},
    {"project_l2", ht_project_l2_at, ht_tensor_project_l2},
    {"soft_threshold", ht_soft_threshold_at, ht_tensor_soft_threshold},
    {"group_soft_threshold", ht_group_soft_threshold_at, ht_tensor_group_soft_threshold},
};

static const double b[N] = {0.9, -0.7, 0.4, 1.6, -0.2}, c[N] = {0.3, 0.1, -0.5, 2, 0.7};
static const double bound = 0.6;

/* What callbacks are given. */
typedef struct problem {
    const map *map; /* NULL: w is b */
    ht_context *ctx;
    ht_set *theta, *eta, *data;
    ht_bilevel *bilevel;
} problem;

static ht_var inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    const problem *p = user;
    (void)batch;
    ht_var to = ht_get(eta, "b");
    if (p->map) to = p->map->f(to, ht_get(eta, "t"), HT_HERE);
    return ht_mul(ht_sum(ht_square(ht_sub(ht_get(theta, "w"), to))), 0.5);
}

static ht_var outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    (void)eta, (void)user;
    ht_var off = ht_sub(ht_get(theta, "w"), ht_get(batch, "c"));
    return ht_mul(ht_sum(ht_square(off)), 0.5);
}

static void fill(ht_tensor *x, const double *values)
{
    for (int64_t i = 0; i < ht_tensor_count(x); i++) ht_tensor_set(x, i, values[i]);
}

static void open_problem(problem *p, const map *m, ht_method method)
{
    *p = (problem){.map = m, .ctx = ht_context_new(NULL)};
    p->theta = ht_set_new(p->ctx);
    p->eta = ht_set_new(p->ctx);
    p->data = ht_set_new(p->ctx);
    ht_set_add(p->theta, "w", HT_F64, HT_SHAPE(N));
    fill(ht_set_add(p->eta, "b", HT_F64, HT_SHAPE(N)), b);
    if (m) fill(ht_set_add(p->eta, "t", HT_F64, HT_SCALAR), &bound);
    fill(ht_set_add(p->data, "c", HT_F64, HT_SHAPE(N)), c);
    p->bilevel = ht_bilevel_new(p->ctx,
                                &(ht_bilevel_problem){.inner = inner,
                                                      .outer = outer,
                                                      .theta = p->theta,
                                                      .eta = p->eta,
                                                      .outer_data = p->data,
                                                      .update = HT_SGD(1),
                                                      .steps = 1,
                                                      .user = p},
                                &(ht_bilevel_options){.method = method});
}

static void close_problem(problem *p)
{
    assert_string_equal(ht_context_message(p->ctx), "");
    ht_bilevel_free(p->bilevel);
    ht_set_free(p->theta);
    ht_set_free(p->eta);
    ht_set_free(p->data);
    ht_context_free(p->ctx);
}

/* J'(y - c) by b and t on an eager tape. */
static void expect(const map *m, double by_b[N], double *by_t)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *x[] = {ht_tensor_new(ctx, HT_F64, HT_SHAPE(N)),
                      ht_tensor_new(ctx, HT_F64, HT_SCALAR),
                      ht_tensor_new(ctx, HT_F64, HT_SHAPE(N))};
    fill(x[0], b);
    fill(x[1], &bound);
    fill(x[2], c);
    ht_var in[] = {ht_input(tape, x[0]), ht_input(tape, x[1])}, d[2];
    ht_var y = m->f(in[0], in[1], HT_HERE), off = ht_sub(y, ht_input(tape, x[2]));
    ht_vjp(1, &y, &off, 2, in, d);
    for (int i = 0; i < N; i++) by_b[i] = ht_tensor_get(ht_value(d[0]), i);
    *by_t = ht_item(d[1]);
    ht_tape_free(tape);
    for (int i = 0; i < 3; i++) ht_tensor_free(x[i]);
    ht_context_free(ctx);
}

static void hypergradients_are_the_maps_own_by_every_method(void **state)
{
    (void)state;
    static const ht_method methods[] = {HT_REVERSE, HT_REVERSE_REVERSE, HT_FORWARD};
    for (int k = 0; k < MAPS; k++)
        for (int m = 0; m < 3; m++) {
            double by_b[N], by_t;
            problem p;
            open_problem(&p, &maps[k], methods[m]);
            ht_bilevel_result r = ht_bilevel_run(p.bilevel, 0);
            expect(&maps[k], by_b, &by_t);
            for (int i = 0; i < N; i++)
                assert_near(ht_tensor_get(ht_set_tensor(r.gradient, "b"), i), by_b[i],
                            1e-15);
            assert_near(ht_tensor_get(ht_set_tensor(r.gradient, "t"), 0), by_t, 2e-15);
            close_problem(&p);
        }
}

/* dw_i/dt = -sign b_i where |b_i| > t, else 0: b_1, b_2 and b_4. */
static void lasso_path_is_the_sign_on_the_support(void **state)
{
    (void)state;
    double by_b[N], by_t;
    expect(&maps[4], by_b, &by_t);
    assert_near(by_t, -(0.3 - c[0]) + (-0.1 - c[1]) - (1 - c[3]), 1e-15);
    problem p;
    open_problem(&p, &maps[4], HT_AUTO);
    ht_bilevel_result r = ht_bilevel_run(p.bilevel, 0);
    assert_near(ht_tensor_get(ht_set_tensor(r.gradient, "t"), 0), by_t, 1e-15);
    close_problem(&p);
}

static void constrain(ht_set *eta, void *user)
{
    const map *m = user;
    m->in_place(ht_set_tensor(eta, "b"), bound);
}

/* eta <- P(eta - (eta - c)/2) has the one fixed point P(c). */
static void outer_variables_in_a_set_end_at_its_nearest_point(void **state)
{
    (void)state;
    for (int k = 0; k < 4; k++) {
        problem p;
        open_problem(&p, NULL, HT_AUTO);
        ht_tensor *want = ht_tensor_new(p.ctx, HT_F64, HT_SHAPE(N));
        map in_set = maps[k];
        ht_outer_result r =
            ht_bilevel_minimize(p.bilevel, &(ht_outer_options){.update = HT_SGD(0.5),
                                                               .steps = 100,
                                                               .project = constrain,
                                                               .user = &in_set});
        assert_int_equal(r.end, HT_OUTER_STEPS);
        fill(want, c);
        assert_int_equal(maps[k].in_place(want, bound), HT_OK);
        for (int i = 0; i < N; i++)
            assert_near(ht_tensor_get(ht_set_tensor(p.eta, "b"), i),
                        ht_tensor_get(want, i), 1e-15);
        ht_tensor_free(want);
        close_problem(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hypergradients_are_the_maps_own_by_every_method),
        cmocka_unit_test(lasso_path_is_the_sign_on_the_support),
        cmocka_unit_test(outer_variables_in_a_set_end_at_its_nearest_point),
    };
    return TEST_MAIN(tests);
}
