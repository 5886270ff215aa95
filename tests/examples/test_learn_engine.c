/* SPDX-License-Identifier: MIT */
/* test_learn_engine.c: examples/learn/engine.c, which shares no code with the library,
 * and the library give the same numbers on the same problems: values, both first
 * derivatives, Hessian products, third derivatives, and the hypergradient of one unrolled
 * training.
 *
 * Both work in f64, so what differs is rounding: the last bits of exp, log and tanh (libm
 * here, the library's own there), and the order of sums. Of the largest element, one op
 * or one net leaves under 4e-15, twenty units in the last place, up to third derivatives:
 * the tolerance is 1e-14. Forty steps of training, each of which multiplies what the last
 * one left, leave 7e-15: it is 1e-13. */
#define ENGINE_NO_MAIN
#include "engine.c"

#include "hypertape.h"
#include "test.h"

static const double one_pass = 1e-14, one_training = 1e-13;

/* Numbers between low and high, the same in every run, no two alike. */
static void fill(double *x, int n, double low, double high, int seed)
{
    for (int i = 0; i < n; i++) {
        double u = sin(12.9898 * (i + 1) + 78.233 * seed) * 43758.5453;
        x[i] = low + (high - low) * (u - floor(u));
    }
}

/* To `tolerance` of the largest element wanted. */
static void check_near(const char *what, matrix got, const ht_tensor *want,
                       double tolerance)
{
    assert_non_null(want);
    assert_int_equal(ht_shape_count(ht_tensor_shape(want)), matrix_size(got));
    double scale = 0;
    for (int i = 0; i < matrix_size(got); i++)
        scale = fmax(scale, fabs(ht_tensor_get(want, i)));
    for (int i = 0; i < matrix_size(got); i++) {
        double w = ht_tensor_get(want, i), error = fabs(got.data[i] - w);
        if (error <= tolerance * scale) continue;
        fail_msg("%s[%d]: engine %.17g, library %.17g (%.2e of the largest)", what, i,
                 got.data[i], w, error / scale);
    }
}

/* Every op, by itself: of x[0] and x[1], or of their product. Where their shapes differ,
 * broadcast and sum_to are tried too. */
typedef struct pair {
    const char *name;
    int size[2][2];
    double low, high;
    var (*two)(var, var);
    ht_var (*ht_two)(ht_var, ht_var, const char *site);
    var (*one)(var);
    ht_var (*ht_one)(ht_var, const char *site);
} pair;

static const pair pairs[] = {
    {"add", {{3, 2}, {1, 2}}, -1, 1, .two = v_add, .ht_two = ht_add_at},
    {"mul", {{3, 1}, {1, 2}}, -1, 1, .two = v_mul, .ht_two = ht_mul_at},
    {"div", {{3, 2}, {3, 1}}, 0.5, 2, .two = v_div, .ht_two = ht_div_at},
    {"matmul", {{3, 2}, {2, 4}}, -1, 1, .two = v_matmul, .ht_two = ht_matmul_at},
    {"exp", {{3, 2}, {1, 2}}, -1, 1, .one = v_exp, .ht_one = ht_exp_at},
    {"log", {{3, 2}, {1, 1}}, 0.5, 2, .one = v_log, .ht_one = ht_log_at},
    {"tanh", {{3, 2}, {3, 2}}, -2, 2, .one = v_tanh, .ht_one = ht_tanh_at},
    {"transpose", {{3, 2}, {3, 1}}, -1, 1, .one = v_transpose, .ht_one = ht_transpose_at},
};
enum { N_PAIRS = sizeof pairs / sizeof pairs[0] };

/* What is compared: y; its tangent along u; of L = sum y^3 the gradient, the Hessian
 * product along u and, once more, the gradient of the sum of that. */
typedef struct answers {
    var y, dy, g[2], hu[2], third[2];
} answers;
typedef struct ht_answers {
    ht_var y, dy, g[2], hu[2], third[2];
} ht_answers;

static answers ours_answer(const pair *p, const var *x, const var *u)
{
    answers a = {.y = p->two ? p->two(x[0], x[1]) : p->one(v_mul(x[0], x[1]))};
    var L = v_sum(v_mul(v_mul(a.y, a.y), a.y));
    jvp(2, x, u, 1, &a.y, &a.dy);
    grad(L, 2, x, a.g);
    hvp(L, 2, x, u, a.hu);
    grad(v_add(v_sum(a.hu[0]), v_sum(a.hu[1])), 2, x, a.third);
    return a;
}

static ht_answers theirs_answer(const pair *p, const ht_var *x, const ht_var *u)
{
    ht_answers a = {.y = p->ht_two ? p->ht_two(x[0], x[1], HT_HERE)
                                   : p->ht_one(ht_mul(x[0], x[1]), HT_HERE)};
    ht_var L = ht_sum(ht_mul(ht_mul(a.y, a.y), a.y));
    ht_jvp(2, x, u, 1, &a.y, &a.dy);
    ht_grad(L, 2, x, a.g);
    ht_hvp(L, 2, x, u, a.hu);
    ht_grad(ht_add(ht_sum(a.hu[0]), ht_sum(a.hu[1])), 2, x, a.third);
    return a;
}

static void check_pair(const pair *p)
{
    double data[4][16];
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *theirs = ht_tape_new(ctx, HT_EAGER);
    tape *ours = tape_new();
    ht_tensor *tensor[4];
    var x[4];
    ht_var z[4];
    for (int k = 0; k < 4; k++) { /* x[0], x[1], u[0], u[1] */
        matrix m = {p->size[k % 2][0], p->size[k % 2][1], data[k]};
        fill(data[k], matrix_size(m), k < 2 ? p->low : -1, k < 2 ? p->high : 1, k);
        x[k] = input(ours, m);
        tensor[k] = ht_tensor_wrap(ctx, HT_F64, HT_SHAPE(m.rows, m.cols), data[k]);
        z[k] = ht_input(theirs, tensor[k]);
    }
    answers a = ours_answer(p, x, x + 2);
    ht_answers b = theirs_answer(p, z, z + 2);
    ht_check(ctx);
    print_message("# %s\n", p->name);
    check_near("y", value(a.y), ht_value(b.y), one_pass);
    check_near("dy", value(a.dy), ht_value(b.dy), one_pass);
    for (int k = 0; k < 2; k++) {
        check_near("dL/dx", value(a.g[k]), ht_value(b.g[k]), one_pass);
        check_near("Hessian product", value(a.hu[k]), ht_value(b.hu[k]), one_pass);
        check_near("third", value(a.third[k]), ht_value(b.third[k]), one_pass);
    }
    tape_free(ours);
    ht_tape_free(theirs);
    for (int k = 0; k < 4; k++) ht_tensor_free(tensor[k]);
    ht_context_free(ctx);
}

static void engine_each_op_gives_what_the_library_gives(void **unused)
{
    (void)unused;
    for (int i = 0; i < N_PAIRS; i++) check_pair(&pairs[i]);
}

/* The problem of the tour, as the library says it. */

typedef struct sets {
    ht_context *ctx;
    ht_set *theta, *eta, *inner, *outer;
} sets;

static void put(ht_set *set, const char *name, ht_shape s, const double *data)
{
    ht_tensor *x = ht_set_add(set, name, HT_F64, s);
    memcpy(ht_tensor_data(x), data, (size_t)ht_shape_count(s) * sizeof *data);
}

static sets sets_new(void)
{
    ht_context *c = ht_context_new(NULL);
    sets s = {c, ht_set_new(c), ht_set_new(c), ht_set_new(c), ht_set_new(c)};
    put(s.theta, "w1", HT_SHAPE(3, 3), w1);
    put(s.theta, "w2", HT_SHAPE(3, 1), w2);
    put(s.eta, "weights", HT_SHAPE(6, 1), weights);
    put(s.eta, "rate", HT_SCALAR, &rate);
    put(s.eta, "momentum", HT_SCALAR, &momentum);
    put(s.inner, "points", HT_SHAPE(6, 3), points);
    put(s.inner, "labels", HT_SHAPE(6, 1), labels);
    put(s.outer, "points", HT_SHAPE(4, 3), new_points);
    put(s.outer, "labels", HT_SHAPE(4, 1), new_labels);
    return s;
}

static void sets_free(sets *s)
{
    ht_set_free(s->theta);
    ht_set_free(s->eta);
    ht_set_free(s->inner);
    ht_set_free(s->outer);
    ht_context_free(s->ctx);
}

static ht_var theirs_losses(const ht_vars *theta, const ht_vars *data)
{
    ht_var hidden = ht_tanh(ht_matmul(ht_get(data, "points"), ht_get(theta, "w1")));
    ht_var guess = ht_matmul(hidden, ht_get(theta, "w2"));
    return ht_softplus(ht_neg(ht_mul(ht_get(data, "labels"), guess)));
}

static ht_var theirs_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *data,
                           void *user)
{
    (void)user;
    return ht_sum(ht_mul(ht_get(eta, "weights"), theirs_losses(theta, data)));
}

static ht_var theirs_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *data,
                           void *user)
{
    (void)eta, (void)user;
    return ht_sum(theirs_losses(theta, data));
}

static void engine_net_gives_what_the_library_gives(void **unused)
{
    (void)unused;
    double data[2][9];
    fill(data[0], 9, -1, 1, 1);
    fill(data[1], 3, -1, 1, 2);
    tape *t = tape_new();
    var x[2] = {input(t, start[W1]), input(t, start[W2])}, g[2], hu[2], back[2], dL;
    var u[2] = {input(t, (matrix){3, 3, data[0]}), input(t, (matrix){3, 1, data[1]})};
    var L = v_sum(losses(x, 6, points, labels));
    grad(L, 2, x, g);
    jvp(2, x, u, 1, &L, &dL);
    hvp(L, 2, x, u, hu);
    vjp(2, g, u, 2, x, back);

    sets s = sets_new();
    ht_tape *theirs = ht_tape_new(s.ctx, HT_EAGER);
    ht_vars *theta = ht_vars_input(theirs, s.theta, 0);
    ht_tensor *along[2] = {ht_tensor_wrap(s.ctx, HT_F64, HT_SHAPE(3, 3), data[0]),
                           ht_tensor_wrap(s.ctx, HT_F64, HT_SHAPE(3, 1), data[1])};
    ht_var z[2] = {ht_get(theta, "w1"), ht_get(theta, "w2")}, hg[2], hhu[2], hdL;
    ht_var hu_along[2] = {ht_input(theirs, along[0]), ht_input(theirs, along[1])};
    ht_var hL = ht_sum(theirs_losses(theta, ht_vars_input(theirs, s.inner, 0)));
    ht_grad(hL, 2, z, hg);
    ht_jvp(2, z, hu_along, 1, &hL, &hdL);
    ht_hvp(hL, 2, z, hu_along, hhu);
    ht_check(s.ctx);
    check_near("L", value(L), ht_value(hL), one_pass);
    check_near("dL", value(dL), ht_value(hdL), one_pass);
    for (int k = 0; k < 2; k++) {
        check_near("gradient", value(g[k]), ht_value(hg[k]), one_pass);
        check_near("Hessian product", value(hu[k]), ht_value(hhu[k]), one_pass);
        check_near("reverse over reverse", value(back[k]), ht_value(hhu[k]), one_pass);
    }
    tape_free(t);
    ht_tape_free(theirs);
    for (int k = 0; k < 2; k++) ht_tensor_free(along[k]);
    sets_free(&s);
}

/* The step as a program gives the bits it gave on the tape it was cut from. */
static void engine_program_replays_the_bits_of_its_tape(void **unused)
{
    (void)unused;
    tape *t = tape_new();
    training p = problem(t, 1);
    double out[PARTS][9];
    matrix got[PARTS];
    for (int k = 0; k < PARTS; k++)
        got[k] = (matrix){start[k].rows, start[k].cols, out[k]};
    for (int again = 0; again < 2; again++) {
        run(&p.step, start, got);
        for (int k = 0; k < PARTS; k++) {
            matrix want = value(p.step.out[k]);
            assert_memory_equal(got[k].data, want.data,
                                (size_t)matrix_size(want) * sizeof(double));
        }
    }
    tape_free(p.step.tape);
    tape_free(p.back.tape);
    tape_free(p.outer.tape);
    tape_free(t);
}

enum { STEPS = 40 };

/* F and, of each part, dF/dx_0. */
typedef struct unrolled {
    double F, data[PARTS][9];
    matrix d[PARTS];
} unrolled;

static void unroll(unrolled *u)
{
    tape *t = tape_new();
    training p = problem(t, STEPS);
    for (int k = 0; k < PARTS; k++)
        u->d[k] = (matrix){start[k].rows, start[k].cols, u->data[k]};
    u->F = train(&p, start, u->d);
    tape_free(p.step.tape);
    tape_free(p.back.tape);
    tape_free(p.outer.tape);
    tape_free(t);
}

static void check_method(ht_method method)
{
    unrolled ours;
    unroll(&ours);
    sets s = sets_new();
    ht_bilevel_problem setup = {.inner = theirs_inner,
                                .outer = theirs_outer,
                                .theta = s.theta,
                                .eta = s.eta,
                                .inner_data = s.inner,
                                .outer_data = s.outer,
                                .steps = STEPS,
                                .update = {&ht_momentum, .rate = HT_OUTER("rate"),
                                           .momentum = HT_OUTER("momentum")}};
    ht_bilevel *bilevel =
        ht_bilevel_new(s.ctx, &setup, &(ht_bilevel_options){.method = method});
    ht_check(s.ctx);
    ht_bilevel_result r = ht_bilevel_run(bilevel, 0);
    ht_check(s.ctx);
    assert_int_equal(r.method, method);
    assert_near(ours.F, r.outer, one_training);
    check_near("weights", ours.d[EXAMPLE_WEIGHTS], ht_set_tensor(r.gradient, "weights"),
               one_training);
    check_near("rate", ours.d[RATE], ht_set_tensor(r.gradient, "rate"), one_training);
    check_near("momentum", ours.d[MOMENTUM], ht_set_tensor(r.gradient, "momentum"),
               one_training);
    if (r.gradient_theta0) {
        check_near("w1", ours.d[W1], ht_set_tensor(r.gradient_theta0, "w1"),
                   one_training);
        check_near("w2", ours.d[W2], ht_set_tensor(r.gradient_theta0, "w2"),
                   one_training);
    }
    ht_bilevel_free(bilevel);
    sets_free(&s);
}

static void engine_hypergradient_is_the_librarys_in_every_mode(void **unused)
{
    (void)unused;
    check_method(HT_REVERSE);
    check_method(HT_REVERSE_REVERSE);
    check_method(HT_FORWARD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(engine_each_op_gives_what_the_library_gives),
        cmocka_unit_test(engine_net_gives_what_the_library_gives),
        cmocka_unit_test(engine_program_replays_the_bits_of_its_tape),
        cmocka_unit_test(engine_hypergradient_is_the_librarys_in_every_mode),
    };
    return TEST_MAIN(tests);
}
