/* SPDX-License-Identifier: MIT */
/* test_nn_loss.c: every loss's value, gradient and Hessian product against PyTorch's
 * numbers; closed forms where a careless formula overflows, cancels or gives 0 * inf;
 * penalties by name; what is refused. Read next: reference/loss.py, nn/loss.c. */
#include "test_layers.h"

/* Against PyTorch. */

static ht_var logits(layer_case *c, ht_set *set)
{
    return layer_free(c, set, HT_SHAPE(5, 4));
}

static ht_var labels(const layer_case *c, ht_set *set)
{
    static const int32_t of[] = {2, 0, 3, 3, 1};
    ht_tensor *x = ht_set_add(set, "labels", HT_I32, HT_SHAPE(5));
    memcpy(ht_tensor_data(x), of, sizeof of);
    return ht_input(c->tape, x);
}

static ht_var make_cross_entropy(layer_case *c, ht_set *set)
{
    return ht_cross_entropy(logits(c, set), labels(c, set));
}

static ht_var make_soft(layer_case *c, ht_set *set)
{
    ht_var z = logits(c, set);
    return ht_cross_entropy(z, logits(c, set));
}

static ht_var make_smoothed(layer_case *c, ht_set *set)
{
    return ht_cross_entropy_smoothed(logits(c, set), labels(c, set), 0.1);
}

static ht_var make_soft_smoothed(layer_case *c, ht_set *set)
{
    ht_var z = logits(c, set);
    return ht_cross_entropy_smoothed(z, ht_softmax(logits(c, set)), 0.3);
}

static ht_var make_smoothed_by(layer_case *c, ht_set *set)
{
    ht_var z = logits(c, set), s = layer_free(c, set, HT_SHAPE(5));
    return ht_cross_entropy_smoothed(z, labels(c, set), s);
}

static ht_var make_weighted(layer_case *c, ht_set *set)
{
    ht_var z = logits(c, set), w = layer_free(c, set, HT_SHAPE(5));
    return ht_weighted_mean(ht_cross_entropy(z, labels(c, set)), w);
}

static ht_var block(layer_case *c, ht_set *set)
{
    return layer_free(c, set, HT_SHAPE(4, 3, 2));
}

static ht_var make_binary(layer_case *c, ht_set *set)
{
    ht_var z = block(c, set);
    return ht_binary_cross_entropy(z, block(c, set));
}

static ht_var make_binary_number(layer_case *c, ht_set *set)
{
    return ht_binary_cross_entropy(layer_free(c, set, HT_SHAPE(7)), 1.0);
}

static ht_var make_squared(layer_case *c, ht_set *set)
{
    ht_var x = block(c, set);
    return ht_squared_error(x, block(c, set));
}

static ht_var make_huber(layer_case *c, ht_set *set)
{
    ht_var x = block(c, set);
    return ht_huber(x, block(c, set), 0.3);
}

static ht_var make_kl(layer_case *c, ht_set *set)
{
    ht_var log_q = ht_log_softmax(logits(c, set));
    return ht_kl_divergence(log_q, ht_softmax(logits(c, set)));
}

static void weights(layer_case *c)
{
    ht_set_add(c->theta, "a.weight", HT_F64, HT_SHAPE(3, 4));
    ht_set_add(c->theta, "b.weight", HT_F64, HT_SHAPE(4, 2));
    layer_vars(c);
}

static ht_var make_l1(layer_case *c, ht_set *set)
{
    (void)set;
    weights(c);
    return ht_l1(c->vars, "*.weight");
}

static ht_var make_l2(layer_case *c, ht_set *set)
{
    (void)set;
    weights(c);
    return ht_l2(c->vars, NULL);
}

static const struct layer_maker makers[] = {
    {"cross-entropy", make_cross_entropy},
    {"cross-entropy, soft", make_soft},
    {"cross-entropy, smoothed", make_smoothed},
    {"cross-entropy, soft, smoothed", make_soft_smoothed},
    {"cross-entropy, smoothing a variable", make_smoothed_by},
    {"cross-entropy, weighted", make_weighted},
    {"binary cross-entropy", make_binary},
    {"binary cross-entropy, a number", make_binary_number},
    {"squared error", make_squared},
    {"huber", make_huber},
    {"kl divergence", make_kl},
    {"l1", make_l1},
    {"l2", make_l2},
};

static void losses_values_gradients_and_hessians_agree_with_pytorch(void **state)
{
    (void)state;
    assert_int_equal(check_layers(sizeof makers / sizeof *makers, makers, "loss.txt"),
                     854);
}

/* Awkward points. */

typedef struct lossy {
    ht_context *ctx;
    ht_tape *tape;
    ht_set *set;
} lossy;

static lossy lossy_open(void)
{
    lossy l = {.ctx = ht_context_new(NULL)};
    l.tape = ht_tape_new(l.ctx, HT_EAGER);
    l.set = ht_set_new(l.ctx);
    return l;
}

static void lossy_close(lossy *l)
{
    ht_tape_free(l->tape);
    ht_set_free(l->set);
    ht_context_free(l->ctx);
}

static ht_var lossy_input(lossy *l, ht_dtype dtype, ht_shape shape, const double *values)
{
    char name[32];
    snprintf(name, sizeof name, "x%d", ht_set_count(l->set));
    ht_tensor *x = ht_set_add(l->set, name, dtype, shape);
    int64_t n = 1;
    for (int i = 0; i < shape.rank; i++) n *= shape.dim[i];
    for (int64_t i = 0; i < n; i++) ht_tensor_set(x, i, values[i]);
    return ht_input(l->tape, x);
}

typedef ht_var (*pair_fn)(ht_var x, ht_var target);

static ht_var pair_binary(ht_var x, ht_var target)
{
    return ht_binary_cross_entropy(x, target);
}

static ht_var pair_squared(ht_var x, ht_var target)
{
    return ht_squared_error(x, target);
}

static ht_var pair_huber(ht_var x, ht_var target)
{
    return ht_huber(x, target, 1.5);
}

static ht_var pair_kl(ht_var x, ht_var target)
{
    return ht_kl_divergence(x, target);
}

/* A loss of one element: value, gradient (dx, dt) and Hessian (xx, xt, tt). */
static const struct pair {
    const char *name;
    pair_fn loss;
    double x, t, value, dx, dt, xx, xt, tt;
} pairs[] = {
    {"binary, sure, wrong", pair_binary, 1e3, 0, 1e3, 1, -1e3, 0, -1, 0},
    {"binary, sure, right", pair_binary, 1e3, 1, 0, 0, -1e3, 0, -1, 0},
    {"binary, sure not, wrong", pair_binary, -1e3, 1, 1e3, -1, 1e3, 0, -1, 0},
    {"binary, sure not, right", pair_binary, -1e3, 0, 0, 0, 1e3, 0, -1, 0},
    {"binary, unsure", pair_binary, 0, 0.5, 0.69314718055994531, 0, 0, 0.25, -1, 0},
    {"squared, far", pair_squared, 1e3, 0, 1e6, 2e3, -2e3, 2, -2, 2},
    {"huber, 0", pair_huber, 3, 3, 0, 0, 0, 1, -1, 1},
    {"huber, inside", pair_huber, 3, 2, 0.5, 1, -1, 1, -1, 1},
    {"huber, kink", pair_huber, 2, 0.5, 1.125, 1.5, -1.5, 1, -1, 1},
    {"huber, lower kink", pair_huber, 0.5, 2, 1.125, -1.5, 1.5, 1, -1, 1},
    {"huber, outside", pair_huber, -4, 0, 4.875, -1.5, 1.5, 0, 0, 0},
    {"huber, far", pair_huber, 1e3, 0, 1.5 * (1e3 - 0.75), 1.5, -1.5, 0, 0, 0},
    {"kl", pair_kl, -1, 0.5, 0.5 * (1 - 0.69314718055994531), -0.5,
     2 - 0.69314718055994531, 0, -1, 2},
    {"kl, p = 0", pair_kl, -1, 0, 0, 0, 1, 0, -1, 0},
    {"kl, p = 0, far", pair_kl, -1e3, 0, 0, 0, 1e3, 0, -1, 0},
    {"kl, p = q = 0", pair_kl, -(double)INFINITY, 0, 0, 0, 0, 0, 0, 0},
    {"kl, p = 1", pair_kl, 0, 1, 0, -1, 1, 0, -1, 1},
};

static void check_pair(const struct pair *p)
{
    lossy l = lossy_open();
    ht_var x[2], u[2], g[2], h[2];
    static const double direction[] = {1, 0.5};
    for (int i = 0; i < 2; i++) {
        x[i] = lossy_input(&l, HT_F64, HT_SHAPE(1, 1), i ? &p->t : &p->x);
        u[i] = lossy_input(&l, HT_F64, HT_SHAPE(1, 1), &direction[i]);
    }
    ht_var rows = p->loss(x[0], x[1]), y = ht_sum(rows);
    assert_true(ht_shape_equal(ht_var_shape(rows), HT_SHAPE(1)));
    ht_grad(y, 2, x, g);
    ht_hvp(y, 2, x, u, h);
    test_no_error(l.ctx);
    const double got[] = {ht_item(y), ht_item(g[0]), ht_item(g[1]), ht_item(h[0]),
                          ht_item(h[1])};
    const double want[] = {p->value, p->dx, p->dt, p->xx + 0.5 * p->xt,
                           p->xt + 0.5 * p->tt};
    for (int i = 0; i < 5; i++)
        if (!(fabs(got[i] - want[i]) <= 1e-14 * fmax(1, fabs(want[i]))))
            fail_msg("%s: number %d is %.17g, not %.17g", p->name, i, got[i], want[i]);
    lossy_close(&l);
}

static void losses_at_awkward_points_have_finite_right_derivatives(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) check_pair(&pairs[i]);
}

/* log(1 + exp(-z)) of z = 20 is 2e-9; softplus(z) - z would be 0 in f32. */
static void binary_cross_entropy_of_a_sure_logit_keeps_its_digits(void **state)
{
    (void)state;
    lossy l = lossy_open();
    ht_var z = lossy_input(&l, HT_F32, HT_SHAPE(1), (double[]){20}), g;
    ht_var y = ht_sum(ht_binary_cross_entropy(z, 1.0));
    ht_grad(y, 1, &z, &g);
    test_no_error(l.ctx);
    ht_var one = ht_constant(l.tape, 1); /* as good as the number */
    assert_near(ht_item(ht_binary_cross_entropy(z, one)), ht_item(y), 0);
    assert_near(ht_item(y) / log1p(exp(-20)), 1, 1e-6);
    assert_near(ht_item(g) * (1 + exp(20)), -1, 1e-6);
    lossy_close(&l);
}

/* Value, gradient to x and to the target, and the tangent along x, which is the first. */
static void losses_of_infinite_and_tiny_numbers_are_the_limit(void **state)
{
    (void)state;
    const double inf = (double)INFINITY;
    const struct {
        pair_fn loss;
        double x, t, value, dx, dt;
    } rows[] = {
        {pair_binary, inf, 1, 0, 0, 0},
        {pair_binary, -inf, 0, 0, 0, 0},
        {pair_binary, inf, 0, inf, 1, -inf},
        {pair_binary, -inf, 1, inf, -1, inf},
        {pair_binary, 0x1p-70, 0, 0.69314718055994531, 0.5, -0x1p-70},
        {pair_binary, -0x1p-70, 1, 0.69314718055994531, -0.5, 0x1p-70},
        {pair_huber, inf, 0, inf, 1.5, -1.5},
        {pair_huber, -inf, 0, inf, -1.5, 1.5},
        {pair_huber, 0x1p-70, 0, 0x1p-141, 0x1p-70, -0x1p-70},
    };
    for (size_t k = 0; k < 2 * sizeof rows / sizeof *rows; k++) {
        size_t i = k / 2;
        ht_dtype dtype = k % 2 ? HT_F64 : HT_F32;
        lossy l = lossy_open();
        ht_var in[] = {lossy_input(&l, dtype, HT_SHAPE(1), &rows[i].x),
                       lossy_input(&l, dtype, HT_SHAPE(1), &rows[i].t)};
        ht_var one = lossy_input(&l, dtype, HT_SHAPE(1), (double[]){1}), g[2], slope;
        ht_var y = rows[i].loss(in[0], in[1]);
        ht_grad(ht_sum(y), 2, in, g);
        ht_jvp(1, in, &one, 1, &y, &slope);
        test_no_error(l.ctx);
        const double got[] = {ht_item(y), ht_item(g[0]), ht_item(g[1]), ht_item(slope)};
        const double want[] = {rows[i].value, rows[i].dx, rows[i].dt, rows[i].dx};
        for (int n = 0; n < 4; n++)
            if (!(got[n] == want[n] || fabs(got[n] - want[n]) <= 1e-7 * fabs(want[n])))
                fail_msg("row %zu, number %d is %.17g, not %.17g", i, n, got[n], want[n]);
        lossy_close(&l);
    }
}

/* z = (1000, -1000): log softmax is (0, -2000), softmax (1, 0). A row is a distribution
 * over two classes, and dz = softmax - p. */
static void cross_entropy_of_huge_logits_is_finite_to_second_order(void **state)
{
    (void)state;
    static const double p_of[3][2] = {{0, 1}, {0.5, 0.5}, {1, 0}};
    for (int k = 0; k < 3; k++) {
        lossy l = lossy_open();
        const double *p = p_of[k];
        ht_var x[2], u[2], g[2], h[2];
        x[0] = lossy_input(&l, HT_F64, HT_SHAPE(1, 2), (double[]){1e3, -1e3});
        x[1] = lossy_input(&l, HT_F64, HT_SHAPE(1, 2), p);
        u[0] = lossy_input(&l, HT_F64, HT_SHAPE(1, 2), (double[]){1, -2});
        u[1] = lossy_input(&l, HT_F64, HT_SHAPE(1, 2), (double[]){0.25, 3});
        ht_var y = ht_sum(ht_cross_entropy(x[0], x[1]));
        ht_grad(y, 2, x, g);
        ht_hvp(y, 2, x, u, h);
        test_no_error(l.ctx);
        assert_near(ht_item(y), 2000 * p[1], 1e-14);
        /* Moving p by u moves dz by softmax sum(u) - u; moving z by u moves -log softmax
         * by u_0 - u_j. */
        const double want[4][2] = {
            {1 - p[0], -p[1]}, {0, 2000}, {3.25 - 0.25, -3}, {0, 3}};
        for (int i = 0; i < 2; i++) {
            assert_near(ht_tensor_get(ht_value(g[0]), i), want[0][i], 1e-14);
            assert_near(ht_tensor_get(ht_value(g[1]), i), want[1][i], 1e-14);
            assert_near(ht_tensor_get(ht_value(h[0]), i), want[2][i], 1e-14);
            assert_near(ht_tensor_get(ht_value(h[1]), i), want[3][i], 1e-14);
        }
        lossy_close(&l);
    }
}

static void cross_entropy_smoothed_by_0_and_1_is_either_end(void **state)
{
    (void)state;
    lossy l = lossy_open();
    ht_var z = lossy_input(&l, HT_F64, HT_SHAPE(1, 2), (double[]){1e3, -1e3});
    ht_var label = lossy_input(&l, HT_I32, HT_SHAPE(1), (double[]){0});
    assert_near(ht_item(ht_cross_entropy_smoothed(z, label, 0)), 0, 0);
    assert_near(ht_item(ht_cross_entropy_smoothed(z, label, 0.1)), 100, 1e-13);
    assert_near(ht_item(ht_cross_entropy_smoothed(z, label, 1)), 1000, 1e-13);
    z = lossy_input(&l, HT_F64, HT_SHAPE(1, 3), (double[]){2, -INFINITY, 2});
    assert_near(ht_item(ht_cross_entropy_smoothed(z, label, 0)), log(2), 1e-15);
    assert_near(ht_item(ht_cross_entropy_smoothed(z, label, 0.1)), INFINITY, 0);
    /* By a variable, too, what has no part in the mixture has none in the loss. */
    ht_var none = lossy_input(&l, HT_F64, HT_SCALAR, (double[]){0});
    ht_var each = lossy_input(&l, HT_F64, HT_SHAPE(1), (double[]){0});
    assert_near(ht_item(ht_cross_entropy_smoothed(z, label, none)), log(2), 1e-15);
    assert_near(ht_item(ht_cross_entropy_smoothed(z, label, each)), log(2), 1e-15);
    z = lossy_input(&l, HT_F64, HT_SHAPE(1, 2), (double[]){-INFINITY, 0});
    assert_near(ht_item(ht_cross_entropy_smoothed(z, label, 0.1)), INFINITY, 0);
    assert_near(ht_item(ht_cross_entropy_smoothed(z, label, 1)), INFINITY, 0);
    test_no_error(l.ctx);
    lossy_close(&l);
}

static void weighted_mean_counts_by_weight(void **state)
{
    (void)state;
    lossy l = lossy_open();
    ht_var rows = lossy_input(&l, HT_F64, HT_SHAPE(3), (double[]){1, 2, 5});
    ht_var w = lossy_input(&l, HT_F64, HT_SHAPE(3), (double[]){0, 3, 1});
    assert_near(ht_item(ht_weighted_mean(rows, w)), 11. / 4, 1e-15);
    assert_true(isnan(ht_item(ht_weighted_mean(rows, ht_mul(w, 0.0)))));
    test_no_error(l.ctx);
    lossy_close(&l);
}

static void penalties_take_what_the_pattern_names(void **state)
{
    (void)state;
    lossy l = lossy_open();
    const double values[] = {-3, 0, 2};
    lossy_input(&l, HT_F64, HT_SHAPE(3), values);        /* x0 */
    lossy_input(&l, HT_F64, HT_SHAPE(3, 1), values);     /* x1 */
    lossy_input(&l, HT_I32, HT_SHAPE(1), (double[]){7}); /* x2 */
    ht_vars *vars = ht_vars_input(l.tape, l.set, 0);
    assert_near(ht_item(ht_l1(vars, "x0")), 5, 0);
    assert_null(ht_value(ht_l1(vars, "x[01]*")));
    test_error(l.ctx, HT_ERROR_ARGUMENT,
               "l1: no variable matches \"x[01]*\"; there are: x0, x1, x2");
    assert_near(ht_item(ht_l2(vars, "?1")), 13, 0);
    ht_l2(vars, NULL);
    assert_contains(ht_context_message(l.ctx), "test_nn_loss.c:");
    test_error(
        l.ctx, HT_ERROR_DTYPE,
        "l2: needs variables of one float type, \"x2\" is i32, those before it f64");
    ht_var x = ht_get(vars, "x0"), g, h, u = ht_get(vars, "x0");
    ht_grad(ht_l1(vars, "x0"), 1, &x, &g);
    ht_hvp(ht_l2(vars, "x0"), 1, &x, &u, &h);
    test_no_error(l.ctx);
    const double sign[] = {-1, 0, 1};
    for (int i = 0; i < 3; i++) {
        assert_near(ht_tensor_get(ht_value(g), i), sign[i], 0);
        assert_near(ht_tensor_get(ht_value(h), i), 2 * values[i], 0);
    }
    lossy_close(&l);
}

/* Errors. */

static ht_var refused_loss(int k, ht_var x, ht_var i)
{
    ht_var narrow = ht_cast(x, HT_F32), turned = ht_transpose(x), rows = ht_sum(x);
    switch (k) {
    case 0:
        return ht_cross_entropy(x, turned);
    case 1:
        return ht_cross_entropy(x, narrow);
    case 2:
        return ht_cross_entropy_smoothed(x, i, 1.5);
    case 3:
        return ht_cross_entropy_smoothed(x, i, ht_reshape(x, HT_SHAPE(6)));
    case 4:
        return ht_binary_cross_entropy(x, turned);
    case 5:
        return ht_binary_cross_entropy(x, narrow);
    case 6:
        return ht_squared_error(rows, rows);
    case 7:
        return ht_squared_error(i, i);
    case 8:
        return ht_huber(x, 0.0, 0.0);
    case 9:
        return ht_huber(x, x, x);
    case 10:
        return ht_huber(x, ht_slice(x, 0, 0, 1, 1), 1.0);
    case 11:
        return ht_kl_divergence(ht_reshape(x, HT_SHAPE(6)), ht_reshape(x, HT_SHAPE(6)));
    case 12:
        return ht_weighted_mean(x, turned);
    case 13:
        return ht_cross_entropy_smoothed(x, i, NAN);
    case 14:
        return ht_binary_cross_entropy(x, 1.5);
    default:
        return ht_binary_cross_entropy(x, -0.5);
    }
}

static void losses_refuse_what_does_not_fit(void **state)
{
    (void)state;
    static const char *const message[] = {
        "cross_entropy: needs logits (n, classes) and labels (n) of the same n, or "
        "probabilities of the logits' shape\n  inputs: f64 (2, 3), f64 (3, 2)",
        "cross_entropy: needs float logits, and labels of i32 or probabilities of the "
        "logits' dtype\n  inputs: f64 (2, 3), f32 (2, 3)",
        "cross_entropy_smoothed: needs 0 <= smoothing <= 1, got 1.5",
        "cross_entropy_smoothed: needs smoothing () or, one for each row, (2), got (6)",
        "binary_cross_entropy: needs logits (n, ...) of f32 or f64, and target of the "
        "same dtype and shape, got f64 (2, 3) and f64 (3, 2)",
        "binary_cross_entropy: needs logits (n, ...) of f32 or f64, and target of the "
        "same dtype and shape, got f64 (2, 3) and f32 (2, 3)",
        "squared_error: needs x (n, ...) of f32 or f64, and target of the same dtype and "
        "shape, got f64 () and f64 ()",
        "squared_error: needs x (n, ...) of f32 or f64, and target of the same dtype and "
        "shape, got i32 (2) and i32 (2)",
        "huber: needs delta > 0, got 0",
        "huber: needs delta (), got (2, 3)",
        "huber: needs x (n, ...) of f32 or f64, and target of the same dtype and shape, "
        "got f64 (2, 3) and f64 (1, 3)",
        "kl_divergence: needs log_q (n, classes, ...) of f32 or f64, and p of the same "
        "dtype and shape, got f64 (6) and f64 (6)",
        "weighted_mean: needs rows of f32 or f64, and weights of the same dtype and "
        "shape, got f64 (2, 3) and f64 (3, 2)",
        "cross_entropy_smoothed: needs 0 <= smoothing <= 1, got nan",
        "binary_cross_entropy: needs 0 <= target <= 1, got 1.5",
        "binary_cross_entropy: needs 0 <= target <= 1, got -0.5",
    };
    lossy l = lossy_open();
    ht_var x = lossy_input(&l, HT_F64, HT_SHAPE(2, 3), (double[]){1, 2, 3, 4, 5, 6});
    ht_var i = lossy_input(&l, HT_I32, HT_SHAPE(2), (double[]){0, 2});
    for (int k = 0; k < (int)(sizeof message / sizeof *message); k++) {
        assert_null(ht_value(refused_loss(k, x, i)));
        if (ht_context_status(l.ctx) == HT_OK) fail_msg("%s: no error", message[k]);
        assert_contains(ht_context_message(l.ctx), message[k]);
        assert_contains(ht_context_message(l.ctx), "test_nn_loss.c:");
        ht_context_clear(l.ctx);
    }
    lossy_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_values_gradients_and_hessians_agree_with_pytorch),
        cmocka_unit_test(losses_at_awkward_points_have_finite_right_derivatives),
        cmocka_unit_test(binary_cross_entropy_of_a_sure_logit_keeps_its_digits),
        cmocka_unit_test(losses_of_infinite_and_tiny_numbers_are_the_limit),
        cmocka_unit_test(cross_entropy_of_huge_logits_is_finite_to_second_order),
        cmocka_unit_test(cross_entropy_smoothed_by_0_and_1_is_either_end),
        cmocka_unit_test(weighted_mean_counts_by_weight),
        cmocka_unit_test(penalties_take_what_the_pattern_names),
        cmocka_unit_test(losses_refuse_what_does_not_fit),
    };
    return TEST_MAIN(tests);
}
