/* SPDX-License-Identifier: MIT */
/* weighing.c: trainings whose images have weights. Read next: eps_root.c. */
#include "weighing.h"

#include <math.h>
#include <stdio.h>

static ht_var inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    const weighing *w = user;
    ht_var x = ht_get(batch, "x");
    if (w->options.shift) x = ht_add(x, ht_get(eta, "shift"));
    ht_var losses =
        ht_cross_entropy(lab_logits(w->options.model, theta, x), ht_get(batch, "label"));
    return ht_mean(ht_mul(ht_gather(ht_get(eta, "w"), ht_get(batch, "row")), losses));
}

static ht_var outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    (void)eta;
    const weighing *w = user;
    ht_var losses = lab_losses(w->options.model, theta, batch);
    return w->each ? losses : ht_mean(losses);
}

static ht_status fill(uint64_t step, ht_set *room, void *user)
{
    const weighing *w = user;
    return lab_fill(step, room, &w->batches);
}

bool weighing_open(weighing *w, const weighing_options *options)
{
    const weighing_options *o = options;
    *w = (weighing){.options = *o};
    w->ctx = ht_context_new(&(ht_context_options){.seed = o->seed, .threads = 1});
    w->train = lab_images(w->ctx, o->dtype, 0, WEIGHED);
    w->judged = lab_images(w->ctx, o->dtype, WEIGHED, JUDGED);
    w->queries = lab_images(w->ctx, o->dtype, WEIGHED, QUERIES);
    if (!lab_good(w->ctx, "data")) return false;
    w->room = lab_room(w->train, WEIGHED_BATCH);
    w->batches = (lab_batches){w->train, WEIGHED_BATCH, o->seed};
    w->theta = lab_theta(w->ctx, o->model, o->dtype);
    w->eta = ht_set_new(w->ctx);
    ht_tensor_fill(ht_set_add(w->eta, "w", o->dtype, HT_SHAPE(WEIGHED)), 1);
    if (o->shift) ht_set_add(w->eta, "shift", o->dtype, HT_SHAPE(LAB_PIXELS));
    return lab_good(w->ctx, "a training");
}

void weighing_close(weighing *w)
{
    ht_set *const sets[] = {w->train, w->room, w->judged, w->queries, w->theta, w->eta};
    for (int i = 0; i < 6; i++) ht_set_free(sets[i]);
    ht_context_free(w->ctx);
}

static ht_bilevel_problem problem_of(weighing *w, ht_set *judged)
{
    return (ht_bilevel_problem){.inner = inner,
                                .outer = outer,
                                .theta = w->theta,
                                .eta = w->eta,
                                .inner_data = w->room,
                                .inner_batch = fill,
                                .outer_data = judged,
                                .update = w->options.update,
                                .steps = w->options.steps,
                                .user = w};
}

static const ht_bilevel_options within = {.bytes = 500000000};

ht_bilevel *weighing_mean(weighing *w)
{
    w->each = false;
    ht_bilevel_problem problem = problem_of(w, w->judged);
    return ht_bilevel_new(w->ctx, &problem, &within);
}

ht_smoothness weighing_smooth(weighing *w, double h)
{
    w->each = true;
    ht_bilevel_problem problem = problem_of(w, w->judged);
    ht_bilevel *b =
        ht_bilevel_new(w->ctx, &problem, &(ht_bilevel_options){.method = HT_ONE_STEP});
    ht_set *v = ht_set_clone(w->eta, 0);
    for (int i = 0; i < ht_set_count(v); i++) ht_tensor_fill(ht_set_at(v, i), 0);
    for (int64_t i = 0; i < WEIGHED; i++)
        if (ht_random_uniform(w->options.seed, 11, (uint64_t)i) < 0.05)
            ht_tensor_set(ht_set_at(v, 0), i, -1);
    ht_smoothness s = {.outer = (double)NAN};
    if (lab_good(w->ctx, "smoothness")) s = ht_bilevel_smoothness(b, v, h);
    ht_set_free(v);
    ht_bilevel_free(b);
    return s;
}

static ht_influence *influence_of(weighing *w)
{
    w->each = true;
    ht_bilevel_problem problem = problem_of(w, w->queries);
    return ht_influence_new(
        w->ctx, &problem,
        &(ht_influence_options){.weight = "w", .at_once = 1, .bilevel = within});
}

ht_tensor *weighing_scores(weighing *w)
{
    ht_influence *influence = influence_of(w);
    ht_tensor *scores = ht_tensor_new(w->ctx, HT_F64, HT_SHAPE(QUERIES, WEIGHED));
    if (influence) ht_influence_scores(influence, scores);
    ht_influence_free(influence);
    return scores;
}

ht_tensor *weighing_subsets(weighing *w, int n)
{
    ht_tensor *subsets = ht_tensor_new(w->ctx, HT_U8, HT_SHAPE(n, WEIGHED));
    ht_influence_random(subsets, LEFT_OUT, w->options.seed);
    return subsets;
}

ht_tensor *weighing_truth(weighing *w, const ht_tensor *subsets)
{
    int64_t n = ht_tensor_shape(subsets).dim[0];
    ht_influence *influence = influence_of(w);
    ht_tensor *changes = ht_tensor_new(w->ctx, HT_F64, HT_SHAPE(n, QUERIES));
    if (influence) ht_influence_retrain(influence, subsets, changes);
    ht_influence_free(influence);
    return changes;
}

double weighing_lds(const ht_tensor *scores, const ht_tensor *subsets,
                    const ht_tensor *changes)
{
    return ht_influence_lds(scores, subsets, changes, 0, 1).mean;
}
