/* SPDX-License-Identifier: MIT */
/* poison_controls.c: what learned changes are held against, and how all are judged.
 * Read next: poison_find.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "poison.h"

enum { ASCENT_STEPS = 40 };
/* Streams of random numbers. */
#define CHANGES UINT64_C(0x0c4a9e00)
#define WRONG   UINT64_C(0x1abe1000)

static void change_at_random(poisoning *p, int64_t draw)
{
    float *d = ht_tensor_data(ht_set_at(p->eta, 0)), most = (float)p->eps;
    for (int64_t i = 0; i < ht_tensor_count(ht_set_at(p->eta, 0)); i++) {
        uint64_t bits =
            ht_random_bits(p->options.common.seed, CHANGES + (uint64_t)draw, (uint64_t)i);
        d[i] = bits & 1 ? most : -most;
    }
    project(p->eta, p);
    if (!draw) ht_tensor_copy(p->random, ht_set_at(p->eta, 0));
}

/* Each image that may be changed gets another label, drawn anew. */
static void label_at_random(poisoning *p, int64_t draw, const int32_t *truth)
{
    int32_t *label = ht_tensor_data(ht_set_tensor(p->train, "label"));
    for (int64_t i = 0; i < p->n_changed; i++) {
        uint64_t bits =
            ht_random_bits(p->options.common.seed, WRONG + (uint64_t)draw, (uint64_t)i);
        label[i] = (truth[i] + 1 + (int32_t)(bits % 9)) % 10;
    }
}

/* The sum of the images' own losses, by their change. */
static void build_ascent(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    ht_var change = ht_get(in[0], "change"), x = ht_add(ht_get(in[2], "x"), change);
    ht_var loss = ht_cross_entropy(network(x, in[1]), ht_get(in[2], "label"));
    ht_grad(ht_sum(loss), 1, &change, &change);
    ht_vars_set(out[0], "change", change);
}

/* Steps of eps/10 along the signs of that gradient, at a model trained on images as they
 * are (Madry et al. 2018, arXiv 1706.06083). */
static void change_by_ascent(poisoning *p, ht_bilevel *training)
{
    ht_context *ctx = p->run.ctx;
    ht_set *images = demo_room(p->train, p->n_changed), *slope = ht_set_clone(p->eta, 0);
    demo_fill(images, p->train, NULL, 0);
    begin_order(p, UNSEEN - 1);
    const ht_set *trained = ht_bilevel_evaluate(training, 0).theta;
    ht_check(ctx);
    ht_recording *recording =
        ht_recording_new((const ht_set *[]){p->eta, trained, images, NULL},
                         (ht_set *[]){slope, NULL}, build_ascent, NULL);
    ht_check(ctx);
    const float *g = ht_tensor_data(ht_set_at(slope, 0));
    float *d = ht_tensor_data(ht_set_at(p->eta, 0)), by = (float)p->eps / 10;
    for (int64_t t = 0; t < ASCENT_STEPS; t++) {
        ht_recording_run(recording, 0);
        for (int64_t i = 0; i < ht_tensor_count(ht_set_at(p->eta, 0)); i++)
            d[i] += g[i] > 0 ? by : g[i] < 0 ? -by : 0;
        project(p->eta, p);
    }
    ht_check(ctx);
    ht_recording_free(recording);
    ht_set_free(slope);
    ht_set_free(images);
    demo_worked(&p->run, 1, p->run.entrant[ASCENT].name, 0, 0, (double)NAN);
}

void enter(poisoning *p, int which, ht_bilevel *training, double cost)
{
    entrant *row = &p->run.entrant[which];
    ht_tensor *label = ht_set_tensor(p->train, "label");
    size_t bytes = (size_t)p->n_changed * sizeof(int32_t);
    int32_t *truth = malloc(bytes);
    HT_ASSERT(truth, "no memory for %lld labels", (long long)p->n_changed);
    memcpy(truth, ht_tensor_data(label), bytes);
    if (which < EPOCH) ht_tensor_fill(ht_set_at(p->eta, 0), 0);
    if (which == ASCENT) change_by_ascent(p, training);
    entrant_begin(row, p->orders, cost);
    double loss = 0;
    for (int64_t k = 0; k < p->orders && !interrupted(); k++) {
        if (which == RANDOM) change_at_random(p, k);
        if (which == LABELS) label_at_random(p, k, truth);
        begin_order(p, UNSEEN + k);
        ht_bilevel_result got = demo_evaluate(&p->run, training, p->inner_steps);
        loss -= got.outer / (double)p->orders;
        row->score[k] = judge_accuracy(p->judge, got.theta, NULL);
        demo_worked(&p->run, 1, row->name, k + 1, p->orders, -got.outer);
    }
    memcpy(ht_tensor_data(label), truth, bytes);
    free(truth);
    entrant_end(row, loss);
}
