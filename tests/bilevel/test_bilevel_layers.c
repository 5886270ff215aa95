/* SPDX-License-Identifier: MIT */
/* test_bilevel_layers.c: whole trainings of networks people use: convolutions with
 * batchnorm and dropout by momentum, a transformer block by AdamW. Differences, modes
 * against each other, second derivatives. Read next: test_bilevel_implicit.c. */
#include "test_stationary.h"

enum { ROWS = 6, CLASSES = 3, STEPS = 20 };

static ht_var convnet(const ht_vars *theta, ht_var x, bool training)
{
    ht_conv_options same = {.padding = {1, 1}};
    x = ht_conv2d_layer(x, theta, "conv", same);
    x = ht_gelu(ht_batchnorm_layer(x, theta, "norm", 1e-5));
    if (training) x = ht_dropout_layer(x, theta, "drop", 0.3);
    return ht_linear(ht_mean_axes(x, HT_AXES(2, 3), false), theta, "out");
}

static ht_var transformer(const ht_vars *theta, ht_var x, bool training)
{
    ht_transformer_options o = {
        .attention = {.heads = 2}, .eps = 1e-5, .dropout = training ? 0.2 : 0};
    x = ht_transformer_block(x, theta, "block", &o);
    return ht_linear(ht_mean_axes(x, HT_AXES(1), false), theta, "out");
}

typedef struct network {
    trial t;
    ht_var (*logits)(const ht_vars *theta, ht_var x, bool training);
} network;

/* A weight a row, and L2 of the last layer. */
static ht_var network_inner(const ht_vars *theta, const ht_vars *eta,
                            const ht_vars *batch, void *user)
{
    const network *n = user;
    ht_var losses = ht_cross_entropy(n->logits(theta, ht_get(batch, "x"), true),
                                     ht_get(batch, "label"));
    ht_var weight = ht_sigmoid(ht_get(eta, "weight"));
    ht_var penalty = ht_sum(ht_square(ht_get(theta, "out.weight")));
    return ht_add(ht_mean(ht_mul(losses, weight)),
                  ht_mul(penalty, ht_exp(ht_get(eta, "penalty"))));
}

static ht_var network_outer(const ht_vars *theta, const ht_vars *eta,
                            const ht_vars *batch, void *user)
{
    const network *n = user;
    (void)eta;
    return ht_mean(ht_cross_entropy(n->logits(theta, ht_get(batch, "xv"), false),
                                    ht_get(batch, "label")));
}

static void network_open(network *n, bool conv)
{
    trial *t = &n->t;
    trial_open(t);
    n->logits = conv ? convnet : transformer;
    t->problem.user = n;
    t->problem.inner = network_inner;
    t->problem.outer = network_outer;
    t->problem.steps = STEPS;
    t->problem.update = conv ? HT_MOMENTUM(0.1, 0.8) : HT_ADAMW(0.01, 0.05);
    t->problem.update.rate = HT_OUTER("rate");
    ht_set *theta = t->problem.theta, *data = t->problem.inner_data,
           *eta = t->problem.eta;
    if (conv) {
        ht_conv2d_init(theta, "conv", HT_F64, HT_SHAPE(4, 2, 3, 3));
        ht_norm_init(theta, "norm", HT_F64, 4);
    } else {
        ht_transformer_block_init(theta, "block", HT_F64, 4, 6);
    }
    ht_linear_init(theta, "out", HT_F64, 4, CLASSES);
    ht_shape shape = conv ? HT_SHAPE(ROWS, 2, 4, 4) : HT_SHAPE(ROWS, 5, 4);
    ht_tensor_normal(ht_set_add(data, "x", HT_F64, shape), 11, 0, 1);
    ht_tensor_normal(ht_set_add(data, "xv", HT_F64, shape), 12, 0, 1);
    ht_tensor *label = ht_set_add(data, "label", HT_I32, HT_SHAPE(ROWS));
    for (int i = 0; i < ROWS; i++) ht_tensor_set(label, i, i % CLASSES);
    ht_tensor_normal(ht_set_add(eta, "weight", HT_F64, HT_SHAPE(ROWS)), 13, 0, 1);
    ht_tensor_fill(ht_set_add(eta, "penalty", HT_F64, HT_SCALAR), -4);
    ht_tensor_fill(ht_set_add(eta, "rate", HT_F64, HT_SCALAR), conv ? 0.1 : 0.01);
    if (ht_context_status(t->ctx) != HT_OK) fail_msg("%s", ht_context_message(t->ctx));
}

static double difference(const ht_set *a, const ht_set *b)
{
    double off = 0, size = 0;
    for (int j = 0; j < ht_set_count(a); j++)
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(a, j)); k++) {
            double x = ht_tensor_get(ht_set_at(a, j), k);
            off = hypot(off, x - ht_tensor_get(ht_set_at(b, j), k));
            size = hypot(size, x);
        }
    return off / size;
}

static void check_network(bool conv)
{
    network n;
    network_open(&n, conv);
    const ht_method by[] = {HT_REVERSE_REVERSE, HT_FORWARD};
    ht_bilevel *b = trial_bilevel(&n.t, (ht_bilevel_options){0});
    ht_set *want = ht_set_clone(ht_bilevel_run(b, 0).gradient, 0);
    for (int k = 0; k < 2; k++) {
        ht_bilevel *other = trial_bilevel(&n.t, (ht_bilevel_options){.method = by[k]});
        double off = difference(want, ht_bilevel_run(other, 0).gradient);
        if (!(off <= 1e-11)) fail_msg("method %d: %.2e off", (int)by[k], off);
        ht_bilevel_free(other);
    }
    assert_true(ht_bilevel_check(n.t.ctx, &n.t.problem, 3, NULL)); /* to 1e-5 */
    const ht_set *product = ht_bilevel_hvp(b, want);
    ht_set *first = ht_set_clone(product, 0), *along = ht_set_clone(want, 0);
    for (int j = 0; j < ht_set_count(along); j++)
        ht_tensor_normal(ht_set_at(along, j), 20 + (uint64_t)j, 0, 1);
    product = ht_bilevel_hvp(b, along);
    double vw = 0, wv = 0, size = 0;
    for (int j = 0; j < ht_set_count(along); j++)
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(along, j)); k++) {
            double v = ht_tensor_get(ht_set_at(want, j), k),
                   w = ht_tensor_get(ht_set_at(along, j), k);
            vw += w * ht_tensor_get(ht_set_at(first, j), k);
            wv += v * ht_tensor_get(ht_set_at(product, j), k);
            size += fabs(v * ht_tensor_get(ht_set_at(product, j), k));
        }
    if (!(fabs(vw - wv) <= 1e-10 * size)) fail_msg("%.15g, not %.15g", vw, wv);
    ht_set_free(want);
    ht_set_free(first);
    ht_set_free(along);
    ht_bilevel_free(b);
    trial_close(&n.t);
}

static void bilevel_of_a_convnet_with_batchnorm_and_dropout(void **state)
{
    (void)state;
    check_network(true);
}

static void bilevel_of_a_transformer_block_by_adamw(void **state)
{
    (void)state;
    check_network(false);
}

/* Of a strongly convex problem the end is the same by steps and by the implicit function
 * theorem. */
static void implicit_is_a_long_unroll(void **state)
{
    (void)state;
    for (int k = 0; k < 5; k++) {
        trial t;
        ridge g;
        ridge_open(&t, &g, 12, 3 + k, HT_F64);
        t.problem.tolerance = 0;
        t.problem.steps = 3000;
        ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){0});
        ht_set *want = ht_set_clone(ht_bilevel_run(b, 0).gradient, 0);
        ht_bilevel_free(b);
        b = trial_bilevel(&t, (ht_bilevel_options){.method = HT_IMPLICIT});
        double off = difference(want, ht_bilevel_run(b, 0).gradient);
        if (!(off <= 1e-8)) fail_msg("%.2e off", off);
        ht_set_free(want);
        ht_bilevel_free(b);
        trial_close(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bilevel_of_a_convnet_with_batchnorm_and_dropout),
        cmocka_unit_test(bilevel_of_a_transformer_block_by_adamw),
        cmocka_unit_test(implicit_is_a_long_unroll),
    };
    return TEST_MAIN(tests);
}
