/* SPDX-License-Identifier: MIT */
/* poison_find.c: which images were changed, asked by one who has the training set, as the
 * attack left it, and some clean images of his own, of which G is the mean loss:
 *
 *   influence       dG/dw_i of a weight w_i of each train image: what G would fall by
 *                   without it, to first order, through all of training
 *   train loss      CE_i at theta_T
 *   gradient norm   |grad CE_i| there
 *   distance        |x_i - mean of its class|
 *
 * Each is then believed: as many images as were changed are left out, in rounds, the
 * others being scored anew after each, and training is made again.
 * Read next: poison_page.c, ../../bilevel/ht_influence.h. */
#include <math.h>
#include <stdlib.h>

#include "poison.h"

enum { CLASSES = 10 };

static ht_var weighted_loss(const ht_vars *theta, const ht_vars *outer,
                            const ht_vars *images, void *user)
{
    ht_var w = ht_gather(ht_get(outer, "w"), ht_get(images, "row"));
    return ht_mean(ht_mul(w, demo_losses(network, theta, images)));
}

static ht_var clean_loss(const ht_vars *theta, const ht_vars *outer,
                         const ht_vars *images, void *user)
{
    return ht_mean(demo_losses(network, theta, images));
}

/* The train images as the attack left them; "row" is where each stands. */
static ht_set *images_as_left(const poisoning *p)
{
    ht_set *seen = demo_room(p->train, p->n_train);
    demo_fill(seen, p->train, NULL, 0);
    ht_check(p->run.ctx);
    float *x = ht_tensor_data(ht_set_tensor(seen, "x"));
    const float *d = ht_tensor_data(ht_set_at(p->eta, 0));
    for (int64_t i = 0; i < ht_tensor_count(ht_set_at(p->eta, 0)); i++) x[i] += d[i];
    for (int64_t i = 0; i < p->n_train; i++)
        ht_tensor_set(ht_set_tensor(seen, "row"), i, (double)i);
    return seen;
}

static ht_bilevel_problem training_by_weights(poisoning *p, ht_set *seen, ht_set *weights)
{
    ht_bilevel_problem problem = training_of(p);
    problem.inner = weighted_loss;
    problem.outer = clean_loss;
    problem.eta = weights;
    problem.outer_data = p->clean;
    problem.user = seen;
    return problem;
}

/* What finders are asked with: the images as the attack left them, and the weights, 0
 * where one is left out already. */
typedef struct search {
    poisoning *p;
    ht_set *seen;
    ht_tensor *w;
    ht_influence *influence;
    ht_bilevel *training;
    ht_tensor *scores; /* (1, n) */
    int64_t *order;    /* (n) */
} search;

static void score_by_influence(const search *s)
{
    ht_influence_scores(s->influence, s->scores);
    ht_check(s->p->run.ctx);
    for (int64_t i = 0; i < s->p->n_train; i++)
        s->p->by[INFLUENCE].suspicion[i] = -ht_tensor_get(s->scores, i);
}

static void build_slope(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    ht_var loss = ht_sum(demo_losses(network, in[0], in[1]));
    ht_vars_set(out[0], "loss", loss);
    ht_vars_backward(loss, in[0], out[1]);
}

/* Image by image, at the end of training: the loss, or the norm of its gradient. */
static void score_at_the_end(const search *s, finder *by)
{
    poisoning *p = s->p;
    const ht_set *theta = ht_bilevel_evaluate(s->training, 0).theta;
    ht_check(p->run.ctx);
    ht_set *one = demo_room(s->seen, 1), *slope = ht_set_clone(p->theta, 0),
           *loss = ht_set_new(p->run.ctx);
    ht_set_add(loss, "loss", HT_F32, HT_SCALAR);
    ht_recording *recording =
        ht_recording_new((const ht_set *[]){theta, one, NULL},
                         (ht_set *[]){loss, slope, NULL}, build_slope, NULL);
    ht_check(p->run.ctx);
    for (int64_t i = 0; i < p->n_train; i++) {
        demo_fill(one, s->seen, NULL, i);
        ht_recording_run(recording, 0);
        by->suspicion[i] = by == &p->by[LOSS] ? ht_tensor_get(ht_set_at(loss, 0), 0)
                                              : sqrt(ht_set_dot(slope, slope));
    }
    ht_check(p->run.ctx);
    ht_recording_free(recording);
    ht_set_free(loss);
    ht_set_free(slope);
    ht_set_free(one);
}

/* From the mean of those of its class that are not left out. */
static void score_by_distance(const search *s)
{
    const float *x = ht_tensor_data(ht_set_tensor(s->seen, "x"));
    const int32_t *label = ht_tensor_data(ht_set_tensor(s->seen, "label"));
    int64_t pixels = ht_tensor_shape(ht_set_tensor(s->seen, "x")).dim[1];
    double *mean = calloc((size_t)(CLASSES * pixels), sizeof *mean);
    double count[CLASSES] = {0};
    HT_ASSERT(mean, "no memory for %d mean images", CLASSES);
    for (int64_t i = 0; i < s->p->n_train; i++) {
        double w = ht_tensor_get(s->w, i);
        count[label[i]] += w;
        for (int64_t k = 0; k < pixels; k++)
            mean[label[i] * pixels + k] += w * (double)x[i * pixels + k];
    }
    for (int64_t i = 0; i < s->p->n_train; i++) {
        double squares = 0;
        for (int64_t k = 0; k < pixels; k++) {
            double off = (double)x[i * pixels + k] -
                         mean[label[i] * pixels + k] / fmax(count[label[i]], 1);
            squares += off * off;
        }
        s->p->by[DISTANCE].suspicion[i] = sqrt(squares);
    }
    free(mean);
}

static void score(const search *s, finder *by)
{
    begin_order(s->p, UNSEEN);
    if (by == &s->p->by[INFLUENCE])
        score_by_influence(s);
    else if (by == &s->p->by[DISTANCE])
        score_by_distance(s);
    else
        score_at_the_end(s, by);
    demo_worked(&s->p->run, by == s->p->by ? HYPERGRADIENT : 1, "looking for them", 0, 0,
                (double)NAN);
}

/* Who is right. */

static const search *sorting;
static const double *sorted_by;

/* Those left out already come last, then the least suspect; of equals the first, which
 * may have been changed. */
static int descending(const void *a, const void *b)
{
    int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    double in = ht_tensor_get(sorting->w, i) - ht_tensor_get(sorting->w, j);
    if (fabs(in) > 0) return in > 0 ? -1 : 1;
    if (sorted_by[i] > sorted_by[j] || sorted_by[i] < sorted_by[j])
        return sorted_by[i] > sorted_by[j] ? -1 : 1;
    return i > j ? -1 : 1;
}

static void sort(const search *s, const finder *by)
{
    for (int64_t i = 0; i < s->p->n_train; i++) s->order[i] = i;
    sorting = s;
    sorted_by = by->suspicion;
    qsort(s->order, (size_t)s->p->n_train, sizeof *s->order, descending);
}

/* Of the order as it is: with all weights 1. */
static void judge_order(const search *s, finder *by)
{
    int64_t n = s->p->n_train, changed = s->p->n_changed, missed = 0;
    double others = (double)(n - changed), pairs = 0;
    by->found = 0;
    for (int64_t k = 0; k < n; k++) {
        bool is = s->order[k] < changed;
        if (k < changed && is) by->found++;
        if (is) pairs += others - (double)missed;
        missed += !is;
    }
    by->auc = pairs / others / (double)changed;
}

/* Leaves out the most suspect, as many as were changed, a part a round, after each of
 * which the others are scored anew. */
static void leave_out(const search *s, finder *by)
{
    double most = (double)s->p->n_changed;
    ht_tensor_fill(s->w, 1);
    by->found_by_rounds = 0;
    for (int r = 0; r < ROUNDS && !interrupted(); r++) {
        int64_t from = (int64_t)(most * r / ROUNDS),
                to = (int64_t)(most * (r + 1) / ROUNDS);
        score(s, by);
        sort(s, by);
        if (r == 0) judge_order(s, by);
        for (int64_t k = 0; k < to - from; k++) {
            by->found_by_rounds += s->order[k] < s->p->n_changed;
            ht_tensor_set(s->w, s->order[k], 0);
            by->round[s->order[k]] = r + 1;
        }
    }
}

static void train_without(const search *s, finder *by)
{
    poisoning *p = s->p;
    double sum = 0;
    for (int64_t k = 0; k < p->orders && !interrupted(); k++) {
        begin_order(p, UNSEEN + k);
        ht_bilevel_result got = ht_bilevel_evaluate(s->training, 0);
        demo_finite(&p->run, &got, p->inner_steps);
        sum += judge_accuracy(p->judge, got.theta, NULL) / (double)p->orders;
        demo_worked(&p->run, 1, "without the most suspect", k + 1, p->orders, got.outer);
    }
    if (!interrupted()) by->accuracy = sum;
}

static void search_with(const search *s)
{
    poisoning *p = s->p;
    for (finder *by = p->by; by < p->by + FINDERS; by++) {
        by->suspicion = calloc((size_t)p->n_train, sizeof *by->suspicion);
        by->round = calloc((size_t)p->n_train, sizeof *by->round);
        HT_ASSERT(by->suspicion && by->round, "no memory for %lld scores",
                  (long long)p->n_train);
        by->accuracy = (double)NAN;
    }
    begin_order(p, UNSEEN);
    p->smooth =
        ht_influence_smoothness(s->influence, p->part / 100, p->options.common.seed);
    p->asked = true;
    demo_worked(&p->run, 3, "whether to believe influence", 0, 0, (double)NAN);
    for (finder *by = p->by; by < p->by + FINDERS && !interrupted(); by++) {
        leave_out(s, by);
        if (!interrupted()) train_without(s, by);
    }
}

void find(poisoning *p)
{
    ht_context *ctx = p->run.ctx;
    ht_set *weights = ht_set_new(ctx);
    search s = {p, .seen = images_as_left(p)};
    s.w = ht_set_add(weights, "w", HT_F32, HT_SHAPE(p->n_train));
    s.scores = ht_tensor_new(ctx, HT_F64, HT_SHAPE(1, p->n_train));
    s.order = calloc((size_t)p->n_train, sizeof *s.order);
    HT_ASSERT(s.order, "no memory for an order of %lld", (long long)p->n_train);
    ht_check(ctx);
    ht_tensor_fill(s.w, 1);
    const ht_bilevel_problem problem = training_by_weights(p, s.seen, weights);
    s.training =
        ht_bilevel_new(ctx, &problem, &(ht_bilevel_options){.method = HT_ONE_STEP});
    s.influence = ht_influence_new(
        ctx, &problem,
        &(ht_influence_options){.weight = "w", .bilevel = {.bytes = p->options.memory}});
    ht_check(ctx);
    search_with(&s);
    ht_influence_free(s.influence);
    ht_bilevel_free(s.training);
    free(s.order);
    ht_tensor_free(s.scores);
    ht_set_free(weights);
    ht_set_free(s.seen);
}
