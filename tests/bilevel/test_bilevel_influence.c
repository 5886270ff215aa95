/* SPDX-License-Identifier: MIT */
/* test_bilevel_influence.c: scores and trainings without examples, against ridge
 * regression's closed form; rank correlations by hand. Read next:
 * bilevel/influence/influence.c. */
#include "test_stationary.h"

enum { N = 20, P = 4, Q = 3, S = 40 };

/* Weighted ridge regression,
 *   L = sum_i w_i (x_i a - y_i)^2 / 2 + |a|^2 / 2,   H = sum_i w_i x_i x_i^T + 1
 *   F_k = (z_k a)^2 / 2,   a = H^-1 sum_i w_i y_i x_i
 *   dF_k/dw_i = -(z_k a) z_k H^-1 x_i (x_i a - y_i) */
typedef struct weighted_ridge {
    matrix x, z;
    double y[MOST], w[MOST];
} weighted_ridge;

static ht_var residuals(const ht_vars *theta, const ht_vars *batch)
{
    return ht_reshape(
        ht_sub(ht_matmul(ht_get(batch, "x"), ht_get(theta, "a")), ht_get(batch, "y")),
        HT_SHAPE(N));
}

static ht_var influence_inner(const ht_vars *theta, const ht_vars *eta,
                              const ht_vars *batch, void *user)
{
    (void)user;
    ht_var off = ht_square(residuals(theta, batch));
    ht_var all = ht_add(ht_sum(ht_mul(ht_get(eta, "w"), off)),
                        ht_sum(ht_square(ht_get(theta, "a"))));
    return ht_mul(all, 0.5);
}

static ht_var influence_queries(const ht_vars *theta, const ht_vars *eta,
                                const ht_vars *batch, void *user)
{
    (void)eta, (void)user;
    ht_var at =
        ht_reshape(ht_matmul(ht_get(batch, "z"), ht_get(theta, "a")), HT_SHAPE(Q));
    return ht_mul(ht_square(at), 0.5);
}

static ht_var influence_query(const ht_vars *theta, const ht_vars *eta,
                              const ht_vars *batch, void *user)
{
    return ht_sum(influence_queries(theta, eta, batch, user));
}

#define QUERY(k)                                                                \
    static ht_var influence_query_##k(const ht_vars *theta, const ht_vars *eta, \
                                      const ht_vars *batch, void *user)         \
    {                                                                           \
        ht_var all = influence_queries(theta, eta, batch, user);                \
        return ht_sum(ht_slice(all, 0, k, 1, 1));                               \
    }
QUERY(0)
QUERY(1)
QUERY(2)
static const ht_loss_fn influence_of_query[Q] = {influence_query_0, influence_query_1,
                                                 influence_query_2};

static void influence_open(trial *t, weighted_ridge *g)
{
    trial_open(t);
    ht_set *data = t->problem.inner_data;
    matrix_draw(&g->x, N, P);
    matrix_draw(&g->z, Q, P);
    matrix_to(ht_set_add(data, "x", HT_F64, HT_SHAPE(N, P)), &g->x);
    matrix_to(ht_set_add(data, "z", HT_F64, HT_SHAPE(Q, P)), &g->z);
    ht_tensor *y = ht_set_add(data, "y", HT_F64, HT_SHAPE(N, 1)),
              *w = ht_set_add(t->problem.eta, "w", HT_F64, HT_SHAPE(N));
    for (int i = 0; i < N; i++) {
        g->w[i] = 1 + 0.5 * draw();
        g->y[i] = draw();
        ht_tensor_set(y, i, g->y[i]);
        ht_tensor_set(w, i, g->w[i]);
    }
    ht_set_add(t->problem.theta, "a", HT_F64, HT_SHAPE(P, 1));
    t->problem.inner = influence_inner;
    t->problem.outer = influence_queries;
    t->problem.update = HT_SGD(0.05);
    t->problem.steps = 700;
}

/* a, and where wanted u = H^-1 z for a z. */
static void solve(const weighted_ridge *g, const double *w, double *a, const double *z,
                  double *u)
{
    matrix h = {.rows = P, .columns = P};
    double right[P] = {0};
    for (int j = 0; j < P; j++)
        for (int i = 0; i < N; i++) {
            right[j] += w[i] * g->y[i] * g->x.at[i][j];
            for (int k = 0; k < P; k++)
                h.at[j][k] += w[i] * g->x.at[i][j] * g->x.at[i][k];
        }
    for (int j = 0; j < P; j++) h.at[j][j] += 1;
    matrix_solve(&h, right, a);
    if (z) matrix_solve(&h, z, u);
}

static double along(const double *x, const double *a)
{
    double sum = 0;
    for (int j = 0; j < P; j++) sum += x[j] * a[j];
    return sum;
}

static double loss_of(const weighted_ridge *g, const double *w, int k)
{
    double a[P];
    solve(g, w, a, NULL, NULL);
    return along(g->z.at[k], a) * along(g->z.at[k], a) / 2;
}

static double score_of(const weighted_ridge *g, int k, int i)
{
    double a[P], u[P];
    solve(g, g->w, a, g->z.at[k], u);
    return g->w[i] * along(g->z.at[k], a) * along(g->x.at[i], u) *
           (along(g->x.at[i], a) - g->y[i]);
}

static ht_influence *influence_of(trial *t, int at_once)
{
    ht_influence *f = ht_influence_new(
        t->ctx, &t->problem, &(ht_influence_options){.weight = "w", .at_once = at_once});
    if (!f) fail_msg("%s", ht_context_message(t->ctx));
    return f;
}

static void near(double found, double want, double tolerance)
{
    if (!(fabs(found - want) <= tolerance)) fail_msg("%.17g, not %.17g", found, want);
}

static void scores_are_those_of_the_closed_form(void **state)
{
    (void)state;
    trial t;
    weighted_ridge g;
    influence_open(&t, &g);
    ht_influence *f = influence_of(&t, 1);
    ht_tensor *scores = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(Q, N));
    assert_int_equal(ht_influence_scores(f, scores), HT_OK);
    for (int k = 0; k < Q; k++)
        for (int i = 0; i < N; i++)
            near(ht_tensor_get(scores, k * N + i), score_of(&g, k, i), 1e-10);
    ht_influence_free(f);
    ht_tensor_free(scores);
    trial_close(&t);
}

static void trainings_without_examples_are_those_of_the_closed_form(void **state)
{
    (void)state;
    trial t;
    weighted_ridge g;
    influence_open(&t, &g);
    ht_tensor *left_out = ht_tensor_new(t.ctx, HT_U8, HT_SHAPE(S, N)),
              *changes = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(S, Q)),
              *again = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(S, Q));
    assert_int_equal(ht_influence_random(left_out, 3, 7), HT_OK);
    ht_influence *f = influence_of(&t, 1);
    assert_int_equal(ht_influence_retrain(f, left_out, changes), HT_OK);
    for (int s = 0; s < S; s++) {
        double w[N], out = 0;
        for (int i = 0; i < N; i++) {
            double is = ht_tensor_get(left_out, s * N + i);
            w[i] = is > 0 ? 0 : g.w[i];
            out += is;
        }
        near(out, 3, 0);
        for (int k = 0; k < Q; k++)
            near(ht_tensor_get(changes, s * Q + k),
                 loss_of(&g, w, k) - loss_of(&g, g.w, k), 1e-10);
    }
    ht_influence_free(f);
    for (int at_once = 2; at_once <= 5; at_once += 3) {
        f = influence_of(&t, at_once);
        assert_int_equal(ht_influence_retrain(f, left_out, again), HT_OK);
        assert_memory_equal(ht_tensor_data(again), ht_tensor_data(changes),
                            ht_tensor_bytes(again));
        ht_influence_free(f);
    }
    for (int i = 0; i < N; i++)
        near(ht_tensor_get(ht_set_tensor(t.problem.eta, "w"), i), g.w[i], 0);
    ht_tensor_free(left_out);
    ht_tensor_free(changes);
    ht_tensor_free(again);
    trial_close(&t);
}

static void ranks_of(const double *x, double *rank)
{
    for (int i = 0; i < N; i++) {
        rank[i] = 0;
        for (int j = 0; j < N; j++) rank[i] += x[j] < x[i] ? 1 : x[j] > x[i] ? 0 : 0.5;
    }
}

static double correlation_of(const double *x, const double *y)
{
    double sum[5] = {0};
    for (int i = 0; i < N; i++) {
        const double term[] = {x[i], y[i], x[i] * x[i], y[i] * y[i], x[i] * y[i]};
        for (int k = 0; k < 5; k++) sum[k] += term[k] / N;
    }
    return (sum[4] - sum[0] * sum[1]) /
           sqrt((sum[2] - sum[0] * sum[0]) * (sum[3] - sum[1] * sum[1]));
}

/* Both correlations of both closed forms, the mean over queries. */
static void leave_one_out_is_compared_as_the_closed_forms_are(void **state)
{
    (void)state;
    trial t;
    weighted_ridge g;
    influence_open(&t, &g);
    double spearman = 0, pearson = 0;
    for (int k = 0; k < Q; k++) {
        double score[N], change[N], rank[2][N], w[N];
        for (int i = 0; i < N; i++) {
            memcpy(w, g.w, sizeof w);
            w[i] = 0;
            score[i] = score_of(&g, k, i);
            change[i] = loss_of(&g, w, k) - loss_of(&g, g.w, k);
        }
        ranks_of(score, rank[0]);
        ranks_of(change, rank[1]);
        spearman += correlation_of(rank[0], rank[1]) / Q;
        pearson += correlation_of(score, change) / Q;
    }
    ht_tensor *scores = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(Q, N)),
              *one = ht_tensor_new(t.ctx, HT_U8, HT_SHAPE(N, N)),
              *changes = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(N, Q));
    ht_influence *f = influence_of(&t, 2);
    ht_influence_scores(f, scores);
    ht_influence_random(one, 1, 1);
    for (int i = 0; i < N * N; i++) near(ht_tensor_get(one, i), i % (N + 1) == 0, 0);
    ht_influence_retrain(f, one, changes);
    ht_lds lds = ht_influence_lds(scores, one, changes, 400, 1);
    assert_string_equal(ht_context_message(t.ctx), "");
    near(lds.mean, spearman, 1e-12);
    near(lds.pearson, pearson, 1e-7);
    assert_true(lds.low < lds.mean && lds.mean < lds.high && lds.high <= 1);
    ht_influence_free(f);
    ht_tensor_free(scores);
    ht_tensor_free(one);
    ht_tensor_free(changes);
    trial_close(&t);
}

/* Three trainings with part of the weights as they are, halved, and 0. */
static void smoothness_is_asked_along_weights_that_vanish(void **state)
{
    (void)state;
    trial t;
    weighted_ridge g;
    influence_open(&t, &g);
    ht_influence *f = influence_of(&t, 1);
    ht_smoothness s = ht_influence_smoothness(f, 0.3, 3);
    int part = 0;
    for (int step = 0; step < 3; step++) {
        double w[N], sum = 0;
        for (int i = 0; i < N; i++) {
            bool of_part = ht_random_uniform(3, 0, (uint64_t)i) < 0.3;
            w[i] = g.w[i] * (of_part ? 1 - 0.5 * step : 1);
            part += of_part;
        }
        for (int k = 0; k < Q; k++) sum += loss_of(&g, w, k);
        near(s.at[step], sum, 1e-10);
    }
    assert_in_range(part, 3, 3 * N - 3);
    ht_influence_free(f);
    trial_close(&t);
}

/* One loss is a query of its own: scores are sums of those of many. */
static void one_loss_is_one_query(void **state)
{
    (void)state;
    trial t;
    weighted_ridge g;
    influence_open(&t, &g);
    t.problem.outer = influence_query;
    ht_influence *f = influence_of(&t, 1);
    ht_tensor *scores = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(1, N));
    assert_int_equal(ht_influence_scores(f, scores), HT_OK);
    for (int i = 0; i < N; i++) {
        double want = 0;
        for (int k = 0; k < Q; k++) want += score_of(&g, k, i);
        near(ht_tensor_get(scores, i), want, 1e-10);
    }
    ht_influence_free(f);
    ht_tensor_free(scores);
    trial_close(&t);
}

/* Correlations by hand. Four subsets of one example each: foretold 1 2 2 4, found 1 3 2
 * 10. Ranks 0 1.5 1.5 3 and 0 2 1 3: (2.25 + 0 + 0 + 2.25) / sqrt(4.5 * 5); Pearson of
 * deviations -1.25 -.25 -.25 1.75 and -3 -1 -2 6: 15 / sqrt(4.75 * 50). */
static void lds_is_a_rank_correlation_with_shared_ranks(void **state)
{
    (void)state;
    trial t;
    trial_open(&t);
    ht_tensor *scores = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(1, 4)),
              *one = ht_tensor_new(t.ctx, HT_U8, HT_SHAPE(4, 4)),
              *changes = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(4, 1));
    const double foretold[] = {1, 2, 2, 4}, found_is[] = {1, 3, 2, 10};
    for (int i = 0; i < 4; i++) {
        ht_tensor_set(scores, i, foretold[i]);
        ht_tensor_set(changes, i, found_is[i]);
    }
    ht_influence_random(one, 1, 1);
    ht_lds lds = ht_influence_lds(scores, one, changes, 0, 1);
    near(lds.mean, 4.5 / sqrt(4.5 * 5), 1e-15);
    near(lds.pearson, 15 / sqrt(4.75 * 50), 1e-15);
    assert_true(isnan(lds.low) && isnan(lds.high));
    ht_tensor_fill(changes, 1); /* all alike */
    assert_true(isnan(ht_influence_lds(scores, one, changes, 20, 1).mean));
    ht_tensor_fill(changes, 0.1); /* whose mean is rounded */
    assert_true(isnan(ht_influence_lds(scores, one, changes, 20, 1).mean));
    assert_true(isnan(ht_influence_lds(scores, one, changes, 20, 1).pearson));
    for (int i = 0; i < 4; i++) ht_tensor_set(changes, i, 1e-170 * found_is[i]);
    near(ht_influence_lds(scores, one, changes, 0, 1).pearson, 15 / sqrt(4.75 * 50),
         1e-14);
    ht_tensor_set(changes, 2, (double)NAN);
    assert_true(isnan(ht_influence_lds(scores, one, changes, 20, 1).mean));
    for (int i = 0; i < 4; i++) ht_tensor_set(changes, i, -foretold[i] * foretold[i]);
    near(ht_influence_lds(scores, one, changes, 0, 1).mean, -1, 1e-15);
    ht_tensor_free(scores);
    ht_tensor_free(one);
    ht_tensor_free(changes);
    trial_close(&t);
}

/* Batches of B of the N, in an order that never repeats; the rate falls with the step. */
enum { B = 5, T = 12 };

static ht_status influence_batch(uint64_t step, ht_set *batch, void *user)
{
    const weighted_ridge *g = user;
    int64_t rows[B];
    ht_batch_order(9, step, N, B, rows);
    for (int j = 0; j < B; j++) {
        for (int c = 0; c < P; c++)
            ht_tensor_set(ht_set_at(batch, 0), j * P + c, g->x.at[rows[j]][c]);
        ht_tensor_set(ht_set_at(batch, 1), j, g->y[rows[j]]);
        ht_tensor_set(ht_set_at(batch, 2), j, (double)rows[j]);
    }
    return HT_OK;
}

static ht_var influence_batch_loss(const ht_vars *theta, const ht_vars *eta,
                                   const ht_vars *batch, void *user)
{
    (void)user;
    ht_var w = ht_gather(ht_get(eta, "w"), ht_get(batch, "row"));
    ht_var off =
        ht_sub(ht_matmul(ht_get(batch, "x"), ht_get(theta, "a")), ht_get(batch, "y"));
    ht_var all = ht_add(ht_sum(ht_mul(w, ht_square(ht_reshape(off, HT_SHAPE(B))))),
                        ht_sum(ht_square(ht_get(theta, "a"))));
    return ht_mul(all, 0.5);
}

/* The same in plain loops: (z_k a)^2 / 2 after T steps whose batches are those from
 * `order` T on, and whose rate is that of 0 .. T-1. */
static double plain_loss(const weighted_ridge *g, const double *w, int k, int order)
{
    double a[P] = {0};
    for (int t = 0; t < T; t++) {
        int64_t rows[B];
        double slope[P], rate = 0.1 * 0.5 * (1 + cos(acos(-1) * t / T));
        memcpy(slope, a, sizeof slope);
        ht_batch_order(9, (uint64_t)(order * T + t), N, B, rows);
        for (int j = 0; j < B; j++) {
            const double *x = g->x.at[rows[j]];
            double off = along(x, a) - g->y[rows[j]];
            for (int c = 0; c < P; c++) slope[c] += w[rows[j]] * off * x[c];
        }
        for (int c = 0; c < P; c++) a[c] -= rate * slope[c];
    }
    return along(g->z.at[k], a) * along(g->z.at[k], a) / 2;
}

/* The problem above with batches. */
static void orders_open(trial *t, weighted_ridge *g)
{
    static const ht_rate falls = {.steps = T};
    influence_open(t, g);
    ht_set *batch = ht_set_new(t->ctx);
    ht_set_add(batch, "x", HT_F64, HT_SHAPE(B, P));
    ht_set_add(batch, "y", HT_F64, HT_SHAPE(B, 1));
    ht_set_add(batch, "row", HT_I32, HT_SHAPE(B));
    t->problem.outer_data = t->problem.inner_data;
    t->problem.inner_data = batch;
    t->problem.inner = influence_batch_loss;
    t->problem.inner_batch = influence_batch;
    t->problem.user = g;
    t->problem.update = HT_SGD(0.1);
    t->problem.update.rate.schedule = ht_rate_cosine;
    t->problem.update.rate.user = &falls;
    t->problem.steps = T;
}

static void orders_close(trial *t)
{
    ht_set *batch = t->problem.inner_data;
    t->problem.inner_data = t->problem.outer_data;
    ht_set_free(batch);
    trial_close(t);
}

static ht_influence *orders_of(trial *t, int at_once, int orders, int first, int scores)
{
    ht_influence *f = ht_influence_new(t->ctx, &t->problem,
                                       &(ht_influence_options){.weight = "w",
                                                               .at_once = at_once,
                                                               .orders = orders,
                                                               .first_order = first,
                                                               .score_orders = scores});
    if (!f) fail_msg("%s", ht_context_message(t->ctx));
    return f;
}

static void trainings_by_several_orders_are_those_of_a_plain_loop(void **state)
{
    (void)state;
    enum { FIRST = 2, ORDERS = 3 };
    trial t;
    weighted_ridge g;
    orders_open(&t, &g);
    ht_tensor *out = ht_tensor_new(t.ctx, HT_U8, HT_SHAPE(S, N)),
              *changes = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(S, Q)),
              *again = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(S, Q));
    ht_influence_random(out, 4, 7);
    ht_influence *f = orders_of(&t, 1, ORDERS, FIRST, 0);
    assert_int_equal(ht_influence_retrain(f, out, changes), HT_OK);
    ht_influence_free(f);
    for (int s = 0; s < S; s++)
        for (int k = 0; k < Q; k++) {
            double w[N], mean = 0;
            for (int i = 0; i < N; i++)
                w[i] = ht_tensor_get(out, s * N + i) > 0 ? 0 : g.w[i];
            for (int o = FIRST; o < FIRST + ORDERS; o++)
                mean += (plain_loss(&g, w, k, o) - plain_loss(&g, g.w, k, o)) / ORDERS;
            near(ht_tensor_get(changes, s * Q + k), mean, 1e-12);
        }
    for (int at_once = 2; at_once <= 5; at_once += 3) {
        f = orders_of(&t, at_once, ORDERS, FIRST, 0);
        assert_int_equal(ht_influence_retrain(f, out, again), HT_OK);
        assert_memory_equal(ht_tensor_data(again), ht_tensor_data(changes),
                            ht_tensor_bytes(again));
        ht_influence_free(f);
    }
    ht_tensor_free(out);
    ht_tensor_free(changes);
    ht_tensor_free(again);
    orders_close(&t);
}

/* By differences of the plain loop; and after them order 0 is there again. */
static void scores_of_several_orders_are_their_mean(void **state)
{
    (void)state;
    trial t;
    weighted_ridge g;
    orders_open(&t, &g);
    ht_tensor *scores = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(Q, N)),
              *out = ht_tensor_new(t.ctx, HT_U8, HT_SHAPE(1, N)),
              *changes = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(1, Q));
    for (int orders = 1; orders <= 3; orders += 2) {
        ht_influence *f = orders_of(&t, 1, 0, 0, orders);
        assert_int_equal(ht_influence_scores(f, scores), HT_OK);
        for (int k = 0; k < Q; k++)
            for (int i = 0; i < N; i++) {
                const double h = 1e-5;
                double w[2][N], slope = 0;
                for (int j = 0; j < 2; j++) memcpy(w[j], g.w, sizeof w[j]);
                w[0][i] += h, w[1][i] -= h;
                for (int o = 0; o < orders; o++)
                    slope += (plain_loss(&g, w[0], k, o) - plain_loss(&g, w[1], k, o)) /
                             (2 * h * orders);
                near(ht_tensor_get(scores, k * N + i), -g.w[i] * slope, 1e-8);
            }
        ht_influence_random(out, 4, 7);
        assert_int_equal(ht_influence_retrain(f, out, changes), HT_OK);
        double w[N];
        for (int i = 0; i < N; i++) w[i] = ht_tensor_get(out, i) > 0 ? 0 : g.w[i];
        near(ht_tensor_get(changes, 1),
             plain_loss(&g, w, 1, 0) - plain_loss(&g, g.w, 1, 0), 1e-12);
        ht_influence_free(f);
    }
    ht_tensor_free(scores);
    ht_tensor_free(out);
    ht_tensor_free(changes);
    orders_close(&t);
}

/* S^ of each query over parts, from the plain loop's losses. */
static void smoothness_of_each_query_is_over_all_parts(void **state)
{
    (void)state;
    enum { DRAWS = 40 };
    trial t;
    weighted_ridge g;
    orders_open(&t, &g);
    ht_tensor *each = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(Q));
    double found[2][Q];
    for (int at_once = 1; at_once <= 2; at_once++) {
        ht_influence *f = orders_of(&t, at_once, 0, 0, 0);
        assert_int_equal(ht_influence_smoothness_each(f, 0.7, DRAWS, 3, each), HT_OK);
        memcpy(found[at_once - 1], ht_tensor_data(each), sizeof found[0]);
        ht_influence_free(f);
    }
    assert_memory_equal(found[0], found[1], sizeof found[0]);
    int rough = 0;
    for (int k = 0; k < Q; k++) {
        double sum = 0, size = 0;
        for (int d = 0; d < DRAWS; d++) {
            double at[3], w[N];
            for (int step = 0; step < 3; step++) {
                for (int i = 0; i < N; i++)
                    w[i] = ht_random_uniform(3, (uint64_t)d, (uint64_t)i) < 0.7
                               ? g.w[i] * (1 - 0.5 * step)
                               : g.w[i];
                at[step] = plain_loss(&g, w, k, 0);
            }
            double whole = fabs(at[2] - at[0]);
            sum += (at[1] > at[0]) == (at[2] > at[1]) ? whole : -whole;
            size += whole;
        }
        near(found[0][k], sum / size, 1e-9);
        rough += found[0][k] < 1;
    }
    printf("# S^ %g %g %g\n", found[0][0], found[0][1], found[0][2]);
    assert_true(rough > 0); /* else nothing was told from anything */
    ht_tensor_free(each);
    orders_close(&t);
}

/* The bits of a query do not depend on which others are asked. */
static void scores_of_many_have_the_bits_of_one_alone(void **state)
{
    (void)state;
    trial t;
    weighted_ridge g;
    orders_open(&t, &g);
    ht_tensor *all = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(Q, N)),
              *one = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(1, N));
    for (int orders = 1; orders <= 2; orders++) {
        ht_influence *f = orders_of(&t, 1, 0, 0, orders);
        assert_int_equal(ht_influence_scores(f, all), HT_OK);
        ht_influence_free(f);
        for (int k = 0; k < Q; k++) {
            t.problem.outer = influence_of_query[k];
            f = orders_of(&t, 1, 0, 0, orders);
            assert_int_equal(ht_influence_scores(f, one), HT_OK);
            assert_memory_equal(ht_tensor_data(one),
                                (double *)ht_tensor_data(all) + k * N,
                                ht_tensor_bytes(one));
            ht_influence_free(f);
        }
        t.problem.outer = influence_queries;
    }
    ht_tensor_free(all);
    ht_tensor_free(one);
    orders_close(&t);
}

static void orders_without_batches_are_refused(void **state)
{
    (void)state;
    const ht_influence_options wrong[] = {{.weight = "w", .orders = 2},
                                          {.weight = "w", .first_order = 1},
                                          {.weight = "w", .score_orders = 2},
                                          {.weight = "w", .orders = -1},
                                          {.weight = "w", .first_order = 1 << 30}};
    trial t;
    weighted_ridge g;
    influence_open(&t, &g);
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        assert_null(ht_influence_new(t.ctx, &t.problem, &wrong[k]));
        assert_non_null(strstr(ht_context_message(t.ctx),
                               k < 3 ? "expected an inner_batch" : "expected counts"));
        ht_context_clear(t.ctx);
    }
    trial_close(&t);
}

/* A problem on a context of its own; false, with the error kept, if there is no memory.
 */
static bool whole_influence(ht_context *ctx, void *user)
{
    const int *at_once = user;
    enum { ROWS = 3 };
    ht_set *theta = ht_set_new(ctx), *eta = ht_set_new(ctx), *data = ht_set_new(ctx);
    ht_tensor *w = NULL, *x = NULL, *out = NULL, *changes = NULL, *scores = NULL,
              *each = NULL;
    ht_influence *f = NULL;
    bool ok = theta && eta && data && ht_set_add(theta, "a", HT_F64, HT_SHAPE(P, 1)) &&
              (w = ht_set_add(eta, "w", HT_F64, HT_SHAPE(N))) &&
              (x = ht_set_add(data, "x", HT_F64, HT_SHAPE(N, P))) &&
              ht_set_add(data, "y", HT_F64, HT_SHAPE(N, 1)) &&
              ht_set_add(data, "z", HT_F64, HT_SHAPE(Q, P)) &&
              (out = ht_tensor_new(ctx, HT_U8, HT_SHAPE(ROWS, N))) &&
              (changes = ht_tensor_new(ctx, HT_F64, HT_SHAPE(ROWS, Q))) &&
              (scores = ht_tensor_new(ctx, HT_F64, HT_SHAPE(Q, N))) &&
              (each = ht_tensor_new(ctx, HT_F64, HT_SHAPE(Q)));
    if (ok) {
        ht_tensor_fill(w, 1);
        ht_tensor_uniform(x, 1, -1, 1);
        ht_tensor_uniform(ht_set_at(data, 1), 2, -1, 1);
        ht_tensor_uniform(ht_set_at(data, 2), 3, -1, 1);
        const ht_bilevel_problem p = {.inner = influence_inner,
                                      .outer = influence_queries,
                                      .theta = theta,
                                      .eta = eta,
                                      .inner_data = data,
                                      .outer_data = data,
                                      .update = HT_SGD(0.05),
                                      .steps = 3};
        f = ht_influence_new(ctx, &p,
                             &(ht_influence_options){.weight = "w", .at_once = *at_once});
    }
    ok = f && !ht_influence_random(out, 2, 1) && !ht_influence_scores(f, scores) &&
         !ht_influence_retrain(f, out, changes) &&
         isfinite(ht_influence_smoothness(f, 0.5, 1).theta) &&
         !ht_influence_smoothness_each(f, 0.5, 2, 1, each) &&
         !isnan(ht_influence_lds(scores, out, changes, 5, 1).mean);
    ht_influence_free(f);
    ht_set *const set[] = {theta, eta, data};
    ht_tensor *const tensor[] = {out, changes, scores, each};
    for (int k = 0; k < 3; k++) ht_set_free(set[k]);
    for (int k = 0; k < 4; k++) ht_tensor_free(tensor[k]);
    return ok;
}

/* Those of the workers' contexts as well. */
static void influence_with_any_allocation_failing_leaks_nothing(void **state)
{
    (void)state;
    for (uint64_t fail_at = 2;; fail_at++) {
        counted memory = {.fail_at = fail_at};
        ht_context *ctx = ht_context_new(
            &(ht_context_options){.alloc = counted_alloc, .user = &memory, .threads = 1});
        bool done = whole_influence(ctx, &(int){2});
        assert_int_equal(ht_context_status(ctx), done ? HT_OK : HT_ERROR_MEMORY);
        ht_context_free(ctx);
        assert_int_equal(memory.live, 0);
        if (!done) continue;
        printf("# %llu calls, each failed once\n", (unsigned long long)fail_at - 2);
        assert_true(memory.calls < fail_at && fail_at > 100);
        break;
    }
}

/* What retraining takes besides is told to the byte as well. */
static void influence_takes_the_bytes_it_says(void **state)
{
    (void)state;
    for (int round = 0; round < 4; round++) {
        int at_once = round % 2 ? 4 : 1, orders = round < 2 ? 1 : 3;
        trial t;
        weighted_ridge g;
        (orders > 1 ? orders_open : influence_open)(&t, &g);
        ht_tensor *out = ht_tensor_new(t.ctx, HT_U8, HT_SHAPE(S, N)),
                  *changes = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(S, Q)),
                  *scores = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(Q, N)),
                  *each = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(Q));
        ht_influence_random(out, 2, 1);
        size_t base = t.memory.live;
        t.memory.peak = base;
        ht_influence *f = orders_of(&t, at_once, orders, 0, orders);
        ht_influence_scores(f, scores);
        ht_influence_smoothness_each(f, 0.2, 2, 1, each);
        ht_influence_retrain(f, out, changes);
        assert_string_equal(ht_context_message(t.ctx), "");
        size_t bytes = ht_influence_bytes(f), took = t.memory.peak - base,
               more = (size_t)((S + 1) * Q * orders) * sizeof(double);
        if (took < bytes || took > bytes + more)
            fail_msg("%d at once, %d orders: %zu bytes, not %zu to %zu", at_once, orders,
                     took, bytes, bytes + more);
        ht_influence_free(f);
        ht_tensor_free(out);
        ht_tensor_free(changes);
        ht_tensor_free(scores);
        ht_tensor_free(each);
        (orders > 1 ? orders_close : trial_close)(&t);
    }
}

/* On threads that are there: the same bits, run after run. */
static void trainings_on_threads_have_the_same_bits(void **state)
{
    (void)state;
    enum { ROWS = 30 };
    double first[ROWS * Q];
    trial t;
    weighted_ridge g;
    influence_open(&t, &g);
    t.problem.steps = 40;
    for (int threads = 1; threads <= 4; threads++) {
        ht_context *ctx = ht_context_new(&(ht_context_options){.threads = threads});
        ht_bilevel_problem p = t.problem;
        ht_set **const set[] = {&p.theta, &p.eta, &p.inner_data};
        for (int k = 0; k < 3; k++) { /* on that context */
            const ht_set *from = *set[k];
            *set[k] = ht_set_new(ctx);
            for (int j = 0; j < ht_set_count(from); j++)
                ht_tensor_copy(ht_set_add(*set[k], ht_set_name(from, j), HT_F64,
                                          ht_tensor_shape(ht_set_at(from, j))),
                               ht_set_at(from, j));
        }
        p.outer_data = p.inner_data;
        ht_influence *f = ht_influence_new(
            ctx, &p, &(ht_influence_options){.weight = "w", .outer_step = 3});
        ht_tensor *out = ht_tensor_new(ctx, HT_U8, HT_SHAPE(ROWS, N)),
                  *changes = ht_tensor_new(ctx, HT_F64, HT_SHAPE(ROWS, Q));
        ht_influence_random(out, 5, 1);
        ht_influence_retrain(f, out, changes);
        assert_string_equal(ht_context_message(ctx), "");
        if (threads == 1) memcpy(first, ht_tensor_data(changes), sizeof first);
        assert_memory_equal(ht_tensor_data(changes), first, sizeof first);
        ht_influence_free(f);
        ht_tensor_free(out);
        ht_tensor_free(changes);
        for (int k = 0; k < 3; k++) ht_set_free(*set[k]);
        ht_context_free(ctx);
    }
    trial_close(&t);
}

static void influence_of_no_weights_is_refused(void **state)
{
    (void)state;
    trial t;
    weighted_ridge g;
    influence_open(&t, &g);
    const ht_coordinate log_of = {"w", HT_LOG, 0, 0};
    void *tasks[] = {&t};
    assert_null(ht_influence_new(t.ctx, &t.problem, &(ht_influence_options){0}));
    assert_non_null(strstr(ht_context_message(t.ctx), "options.weight is NULL"));
    ht_context_clear(t.ctx);
    t.problem.coordinates = &log_of;
    t.problem.n_coordinates = 1;
    assert_null(
        ht_influence_new(t.ctx, &t.problem, &(ht_influence_options){.weight = "w"}));
    assert_non_null(strstr(ht_context_message(t.ctx), "in which no weight is 0"));
    ht_context_clear(t.ctx);
    t.problem.coordinates = NULL;
    t.problem.n_coordinates = 0;
    t.problem.tasks = tasks;
    t.problem.n_tasks = 1;
    assert_null(
        ht_influence_new(t.ctx, &t.problem, &(ht_influence_options){.weight = "w"}));
    assert_non_null(strstr(ht_context_message(t.ctx), "problem.tasks is set"));
    ht_context_clear(t.ctx);
    t.problem.tasks = NULL;
    t.problem.n_tasks = 0;
    ht_influence *f = influence_of(&t, 1);
    ht_tensor *wrong = ht_tensor_new(t.ctx, HT_F64, HT_SHAPE(N, Q));
    assert_int_equal(ht_influence_scores(f, wrong), HT_ERROR_SHAPE);
    assert_non_null(
        strstr(ht_context_message(t.ctx), "expected f64 (3, 20), got f64 (20, 3)"));
    ht_context_clear(t.ctx);
    assert_int_equal(ht_influence_retrain(f, wrong, wrong), HT_ERROR_SHAPE);
    ht_context_clear(t.ctx);
    assert_true(isnan(ht_influence_smoothness(f, 0, 1).outer));
    ht_context_clear(t.ctx);
    ht_influence_free(f);
    ht_tensor_free(wrong);
    trial_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_those_of_the_closed_form),
        cmocka_unit_test(trainings_without_examples_are_those_of_the_closed_form),
        cmocka_unit_test(leave_one_out_is_compared_as_the_closed_forms_are),
        cmocka_unit_test(smoothness_is_asked_along_weights_that_vanish),
        cmocka_unit_test(one_loss_is_one_query),
        cmocka_unit_test(lds_is_a_rank_correlation_with_shared_ranks),
        cmocka_unit_test(trainings_by_several_orders_are_those_of_a_plain_loop),
        cmocka_unit_test(scores_of_several_orders_are_their_mean),
        cmocka_unit_test(smoothness_of_each_query_is_over_all_parts),
        cmocka_unit_test(scores_of_many_have_the_bits_of_one_alone),
        cmocka_unit_test(influence_takes_the_bytes_it_says),
        cmocka_unit_test(trainings_on_threads_have_the_same_bits),
        cmocka_unit_test(influence_with_any_allocation_failing_leaks_nothing),
        cmocka_unit_test(influence_of_no_weights_is_refused),
        cmocka_unit_test(orders_without_batches_are_refused),
    };
    return TEST_MAIN(tests);
}
