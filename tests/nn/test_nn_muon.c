/* SPDX-License-Identifier: MIT */
/* test_nn_muon.c: Muon against the polynomial of its singular values, what is no matrix
 * against Nesterov's momentum, and its hypergradients.
 * Read next: ../../nn/update_rules.c. */
#include "reference.h"
#include "test_bilevel.h"
#include "test_nn.h"

/* What five steps make of a singular value. */
static double polynomial(double x)
{
    for (int k = 0; k < 5; k++) x = 3.4445 * x - 4.7750 * pow(x, 3) + 2.0315 * pow(x, 5);
    return x;
}

/* One step along g of a weight that was 0. */
static void step_of(ht_context *ctx, ht_dtype dtype, ht_shape shape, const double *g,
                    int steps, double *w)
{
    ht_set *theta = ht_set_new(ctx), *gradient = ht_set_new(ctx);
    ht_tensor *x = ht_set_add(theta, "w", dtype, shape);
    ht_tensor *along = ht_set_add(gradient, "w", dtype, shape);
    ht_update update = HT_MUON(0.5, 0.75);
    ht_optimizer *o = ht_optimizer_new(theta, &update);
    for (int64_t i = 0; i < ht_tensor_count(x); i++) ht_tensor_set(along, i, g[i]);
    for (int t = 0; t < steps; t++) ht_optimizer_step(o, gradient);
    test_no_error(ctx);
    for (int64_t i = 0; i < ht_tensor_count(x); i++) w[i] = ht_tensor_get(x, i);
    ht_optimizer_free(o);
    ht_set_free(theta);
    ht_set_free(gradient);
}

/* g = 2 u v', of norm 2 |u| |v|: N is p(s) u v'/(|u| |v|), s = 1 but for the 1e-7. */
static void muon_of_one_singular_value_is_its_polynomial(void **state)
{
    fixture *f = *state;
    const double u[] = {1, -2, 2}, v[] = {3, 0, 4, 0, 12};
    double g[15], w[15];
    for (int i = 0; i < 15; i++) g[i] = 2 * u[i / 5] * v[i % 5];
    double norm = 2 * 3 * 13 * (1 + 0.75); /* of g + momentum g */
    double s = polynomial(norm / (norm + 1e-7));
    /* Of a weight (n_in 3, n_out 5), of (5, 3), and of a kernel (3 out, 5 in). */
    const struct {
        ht_shape shape;
        double scale;
    } c[] = {{HT_SHAPE(3, 5), sqrt(5.0 / 3)},
             {HT_SHAPE(5, 3), 1},
             {HT_SHAPE(3, 5, 1, 1), 1},
             {HT_SHAPE(3, 1, 5), 1}};
    for (int k = 0; k < 4; k++)
        for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++) {
            double turned[15];
            for (int i = 0; i < 15; i++) turned[i] = k == 1 ? g[i % 3 * 5 + i / 3] : g[i];
            step_of(f->ctx, dtype, c[k].shape, turned, 1, w);
            for (int i = 0; i < 15; i++)
                assert_near(w[i], -0.5 * c[k].scale * s * turned[i] / (2 * 3 * 13),
                            dtype == HT_F64 ? 1e-12 : 1e-5);
        }
}

/* Diagonal, in another's corner: every singular value by itself; two steps. */
static void muon_moves_every_singular_value_by_itself(void **state)
{
    fixture *f = *state;
    const double size[] = {3, -1, 0.1};
    double g[12] = {0}, w[12];
    for (int i = 0; i < 3; i++) g[i * 4 + i] = size[i];
    step_of(f->ctx, HT_F64, HT_SHAPE(3, 4), g, 2, w);
    double first = 1.75, second = 1 + 0.75 * 1.75; /* g + momentum s, in g */
    double norm = sqrt(9 + 1 + 0.01), scale = sqrt(4.0 / 3);
    for (int i = 0; i < 12; i++) {
        double want = 0;
        for (int t = 0; t < 2; t++) {
            double much = t ? second : first;
            if (i % 5 == 0 && i / 5 < 3)
                want -=
                    0.5 * scale * polynomial(size[i / 5] * much / (norm * much + 1e-7));
        }
        assert_near(w[i], want, 1e-12);
    }
}

/* Whatever the matrix: singular values 0.7 .. 1.2, if the least is not tiny. */
static void muon_step_is_about_orthonormal(void **state)
{
    fixture *f = *state;
    double g[24], w[24];
    for (int i = 0; i < 24; i++) g[i] = sin(1.7 * i * i + 0.3);
    step_of(f->ctx, HT_F32, HT_SHAPE(4, 6), g, 1, w);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            double dot = 0;
            for (int k = 0; k < 6; k++) dot += w[i * 6 + k] * w[j * 6 + k];
            dot /= 0.25 * 6 / 4;
            assert_true(dot >= (i == j ? 0.49 : -0.5) && dot <= (i == j ? 1.44 : 0.5));
        }
}

/* As tests/reference/muon.py makes them. */
static void reference_start(ht_tensor *w)
{
    for (int k = 0; k < ht_tensor_count(w); k++)
        ht_tensor_set(w, k, (k * k * 5 % 13 - 6) / 8.0);
}

static void reference_gradient(const ht_tensor *w, int step, ht_tensor *g)
{
    for (int k = 0; k < ht_tensor_count(w); k++)
        ht_tensor_set(g, k,
                      1048576.0 * (ht_tensor_get(w, k) / 4 +
                                   (double)((k * k * 7 + 3 * step) % 11) - 5));
}

/* PyTorch's, in f64; in the bfloat16 it ships with it is a hundredth off. */
static void muon_step_five_times_agrees_with_pytorch(void **state)
{
    fixture *f = *state;
    static reference r;
    int cases = 0;
    reference_open(&r, "muon.txt");
    for (; reference_next(&r); cases++) {
        const char *name = reference_word(&r);
        double v[5], off, want[16];
        assert_int_equal(reference_numbers(&r, "scalars", 5, v), 5);
        assert_int_equal(reference_numbers(&r, "shipped", 1, &off), 1);
        assert_int_equal(reference_numbers(&r, "w", 16, want), v[0] * v[1]);
        assert_true(off > 1e-4 && off < 0.02);
        ht_update update = HT_MUON(v[2], v[3]);
        update.decay = HT_FIXED(v[4]);
        ht_set *theta = ht_set_new(f->ctx), *gradient = ht_set_new(f->ctx);
        ht_shape shape = HT_SHAPE((int64_t)v[0], (int64_t)v[1]);
        ht_tensor *w = ht_set_add(theta, "w", HT_F64, shape),
                  *g = ht_set_add(gradient, "w", HT_F64, shape);
        reference_start(w);
        ht_optimizer *optimizer = ht_optimizer_new(theta, &update);
        for (int step = 0; step < 5; step++) {
            reference_gradient(w, step, g);
            ht_optimizer_step(optimizer, gradient);
        }
        test_no_error(f->ctx);
        for (int k = 0; k < ht_tensor_count(w); k++)
            if (!(fabs(ht_tensor_get(w, k) - want[k]) <= 1e-11))
                fail_msg("%s, element %d: got %.17g, PyTorch %.17g", name, k,
                         ht_tensor_get(w, k), want[k]);
        ht_optimizer_free(optimizer);
        ht_set_free(theta);
        ht_set_free(gradient);
    }
    assert_int_equal(cases, 4);
}

/* Vectors and scalars follow Nesterov's momentum; decay is apart. */
static void muon_of_no_matrix_is_nesterov(void **state)
{
    fixture *f = *state;
    for (int rank = 0; rank < 2; rank++) {
        ht_set *theta[2], *gradient = ht_set_new(f->ctx);
        ht_update update[] = {HT_MUON(0.1, 0.9), HT_NESTEROV(0.1, 0.9)};
        ht_optimizer *o[2];
        const ht_shape shape = rank ? HT_SHAPE(3) : HT_SCALAR;
        ht_set_add(gradient, "w", HT_F64, shape);
        for (int k = 0; k < 2; k++) {
            theta[k] = ht_set_new(f->ctx);
            ht_tensor_fill(ht_set_add(theta[k], "w", HT_F64, shape), 1);
            o[k] = ht_optimizer_new(theta[k], &update[k]);
        }
        for (int t = 0; t < 3; t++) {
            ht_tensor_normal(ht_set_at(gradient, 0), (uint64_t)t, 0, 1);
            for (int k = 0; k < 2; k++) ht_optimizer_step(o[k], gradient);
        }
        test_no_error(f->ctx);
        assert_memory_equal(ht_tensor_data(ht_set_at(theta[0], 0)),
                            ht_tensor_data(ht_set_at(theta[1], 0)),
                            ht_tensor_bytes(ht_set_at(theta[0], 0)));
        for (int k = 0; k < 2; k++) {
            ht_optimizer_free(o[k]);
            ht_set_free(theta[k]);
        }
        ht_set_free(gradient);
    }
}

/* A small network with a kernel, whose rate, momentum and decay are outer variables. */
static ht_var logits(const ht_vars *theta, const ht_vars *batch)
{
    ht_var x = ht_conv2d_layer(ht_get(batch, "x"), theta, "conv", (ht_conv_options){0});
    x = ht_reshape(ht_tanh(x), HT_SHAPE(6, -1));
    return ht_linear(ht_tanh(ht_linear(x, theta, "hidden")), theta, "out");
}

static ht_var network(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                      void *user)
{
    (void)user, (void)eta;
    return ht_mean(ht_cross_entropy(logits(theta, batch), ht_get(batch, "y")));
}

static void bilevel_of_muon_is_what_differences_say(void **state)
{
    fixture *f = *state;
    ht_set *theta = ht_set_new(f->ctx), *eta = ht_set_new(f->ctx);
    ht_set *data[2] = {ht_set_new(f->ctx), ht_set_new(f->ctx)};
    ht_conv2d_init(theta, "conv", HT_F64, HT_SHAPE(2, 1, 2, 2));
    ht_linear_init(theta, "hidden", HT_F64, 8, 5);
    ht_linear_init(theta, "out", HT_F64, 5, 3);
    const char *const name[] = {"rate", "momentum", "decay"};
    const double at[] = {0.05, 0.8, 0.1};
    for (int k = 0; k < 3; k++)
        ht_tensor_fill(ht_set_add(eta, name[k], HT_F64, HT_SCALAR), at[k]);
    for (int k = 0; k < 2; k++) {
        ht_tensor_normal(ht_set_add(data[k], "x", HT_F64, HT_SHAPE(6, 1, 3, 3)),
                         50 + (uint64_t)k, 0, 1);
        ht_tensor *y = ht_set_add(data[k], "y", HT_I32, HT_SHAPE(6));
        for (int i = 0; i < 6; i++) ht_tensor_set(y, i, (i + k) % 3);
    }
    const ht_bilevel_problem problem = {.inner = network,
                                        .outer = network,
                                        .theta = theta,
                                        .eta = eta,
                                        .inner_data = data[0],
                                        .outer_data = data[1],
                                        .update = {.rule = &ht_muon,
                                                   .rate = HT_OUTER("rate"),
                                                   .momentum = HT_OUTER("momentum"),
                                                   .decay = HT_OUTER("decay")},
                                        .steps = 5};
    assert_true(ht_bilevel_check(f->ctx, &problem, 3, NULL));
    test_no_error(f->ctx);
    ht_set_free(theta);
    ht_set_free(eta);
    for (int k = 0; k < 2; k++) ht_set_free(data[k]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(muon_of_one_singular_value_is_its_polynomial),
        CASE(muon_moves_every_singular_value_by_itself),
        CASE(muon_step_five_times_agrees_with_pytorch),
        CASE(muon_step_is_about_orthonormal),
        CASE(muon_of_no_matrix_is_nesterov),
        CASE(bilevel_of_muon_is_what_differences_say),
    };
    return TEST_MAIN(tests);
}
