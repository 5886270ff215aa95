/* SPDX-License-Identifier: MIT */
/* study.c: a small training on MNIST that is run again with other weights. Errors end the
 * program, by ht_check. Read next: study.h, gate.c. */
#include "study.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIXELS = 784, CLASSES = 10, PATH = 4096, MASKS = 1000000, DIRECTIONS = 1000 };
#define MEMORY 600000000 /* of the states that scores keep */

/* The network. */

static ht_var bend(const setting *is, ht_var x)
{
    if (is->network == STUDY_RELU) return ht_relu(x);
    if (is->network == STUDY_GELU) return ht_gelu(x);
    return ht_mul(ht_softplus(ht_mul(x, is->sharp)), 1 / is->sharp);
}

/* step: of dropout; NULL: none. */
static ht_var logits(const study *s, const ht_vars *theta, ht_var x, const ht_var *step)
{
    static const char *const hidden[] = {"wide", "narrow"};
    for (int k = 0; s->is.network != STUDY_SOFTMAX && k < 2; k++) {
        x = bend(&s->is, ht_linear(x, theta, hidden[k]));
        if (step) x = ht_dropout(x, s->is.dropout, ht_stream(hidden[k]), *step);
    }
    return ht_linear(x, theta, "out");
}

static ht_set *network_new(const study *s, ht_context *ctx)
{
    ht_set *theta = ht_set_new(ctx);
    int64_t in = PIXELS;
    if (s->is.network != STUDY_SOFTMAX) {
        ht_linear_init(theta, "wide", HT_F32, PIXELS, s->is.wide);
        ht_linear_init(theta, "narrow", HT_F32, s->is.wide, s->is.narrow);
        in = s->is.narrow;
    }
    ht_linear_init(theta, "out", HT_F32, in, CLASSES);
    ht_check(ctx);
    return theta;
}

static ht_var losses(const study *s, const ht_vars *theta, const ht_vars *images,
                     const ht_var *step)
{
    return ht_cross_entropy(logits(s, theta, ht_get(images, "x"), step),
                            ht_get(images, "label"));
}

/* Masks of another number are those of steps far away. */
static ht_var inner_loss(const ht_vars *theta, const ht_vars *outer,
                         const ht_vars *images, void *user)
{
    const study *s = user;
    ht_var step = ht_add(ht_step(theta), ht_get(images, "masks"));
    ht_var w = ht_gather(ht_get(outer, "w"), ht_get(images, "row"));
    return ht_mean(ht_mul(w, losses(s, theta, images, s->is.dropout > 0 ? &step : NULL)));
}

/* What is masked is no summand: exp of it is 0. */
static ht_var margins_of(const ht_vars *theta, const ht_vars *outer,
                         const ht_vars *images, void *user)
{
    (void)outer;
    ht_var z = logits(user, theta, ht_get(images, "x"), NULL);
    ht_var is = ht_one_hot(ht_get(images, "label"), CLASSES, HT_F32);
    ht_var others = ht_logsumexp_axes(ht_sub(z, ht_mul(is, 1e9)), HT_AXES(1), false);
    z = ht_sub(ht_sum_axes(ht_mul(z, is), HT_AXES(1), false), others);
    return ht_var_shape(z).dim[0] == 1 ? ht_sum(z) : z;
}

/* Images. */

static void images_read(study *s)
{
    char path[PATH];
    const char *data = getenv("HYPERTAPE_DATA");
    snprintf(path, sizeof path, "%s/mnist", data ? data : BENCH_DATA);
    ht_mnist_read(s->ctx, path, false, &s->images);
    ht_mnist_read(s->ctx, path, true, &s->others);
    ht_check(s->ctx);
}

/* n of the images at random, by a stream. */
static ht_set *images_drawn(study *s, const ht_images *from, uint64_t stream, int64_t n)
{
    ht_set *set = ht_set_new(s->ctx);
    int64_t all = ht_tensor_count(from->labels);
    int64_t *order = calloc((size_t)all, sizeof *order);
    ht_tensor *x = ht_set_add(set, "x", HT_F32, HT_SHAPE(n, PIXELS)),
              *label = ht_set_add(set, "label", HT_I32, HT_SHAPE(n));
    HT_ASSERT(order, "no memory for an order of %lld", (long long)all);
    ht_random_permutation(s->seeds.data, stream, all, order);
    ht_images_rows(from, order, 0, n, x, label);
    ht_check(s->ctx);
    free(order);
    return set;
}

/* A pure function of step, and of the seeds, which stand still while a run lasts. */
static ht_status batch(uint64_t step, ht_set *room, void *user)
{
    const study *s = user;
    int64_t rows[STUDY_MOST_BATCH];
    ht_batch_order(s->seeds.order, step, s->is.n, s->is.batch, rows);
    const float *from = ht_tensor_data(ht_set_tensor(s->train, "x"));
    const int32_t *label = ht_tensor_data(ht_set_tensor(s->train, "label"));
    float *x = ht_tensor_data(ht_set_tensor(room, "x"));
    int32_t *label_at = ht_tensor_data(ht_set_tensor(room, "label")),
            *row = ht_tensor_data(ht_set_tensor(room, "row"));
    for (int64_t i = 0; i < s->is.batch; i++) {
        memcpy(x + i * PIXELS, from + rows[i] * PIXELS, PIXELS * sizeof *x);
        label_at[i] = label[rows[i]];
        row[i] = (int32_t)rows[i];
    }
    ht_tensor_fill(ht_set_tensor(room, "masks"), MASKS * (double)s->seeds.masks);
    return HT_OK;
}

/* Opening and closing. */

static ht_update update_of(study *s)
{
    ht_update update =
        s->is.momentum > 0 ? HT_MOMENTUM(s->is.rate, s->is.momentum) : HT_SGD(s->is.rate);
    s->fall = (ht_rate){.steps = s->steps};
    if (s->is.cosine) {
        update.rate.schedule = ht_rate_cosine;
        update.rate.user = &s->fall;
    }
    return update;
}

static ht_bilevel_problem problem_of(study *s, ht_set *asked)
{
    return (ht_bilevel_problem){.inner = inner_loss,
                                .outer = margins_of,
                                .theta = s->theta,
                                .eta = s->weights,
                                .inner_data = s->room,
                                .inner_batch = batch,
                                .outer_data = asked,
                                .update = update_of(s),
                                .steps = s->steps,
                                .user = s};
}

static void sets_open(study *s)
{
    s->train = images_drawn(s, &s->images, 0, s->is.n);
    s->asked = images_drawn(s, &s->others, 1, STUDY_ASKED);
    if (s->queries) s->asking = images_drawn(s, &s->others, 1, s->queries);
    s->room = ht_set_new(s->ctx);
    ht_set_add(s->room, "x", HT_F32, HT_SHAPE(s->is.batch, PIXELS));
    ht_set_add(s->room, "label", HT_I32, HT_SHAPE(s->is.batch));
    ht_set_add(s->room, "row", HT_I32, HT_SHAPE(s->is.batch));
    ht_set_add(s->room, "masks", HT_I32, HT_SCALAR);
    s->weights = ht_set_new(s->ctx);
    ht_tensor *w = ht_set_add(s->weights, "w", HT_F32, HT_SHAPE(s->is.n));
    ht_check(s->ctx);
    ht_tensor_fill(w, 1);
    s->theta = network_new(s, s->ctx);
}

void study_open(study *s, const setting *is, uint64_t seed, int64_t queries)
{
    *s = (study){.is = *is,
                 .seeds = {seed, seed, seed, 0},
                 .steps = is->epochs * (is->n / is->batch),
                 .queries = queries};
    HT_ASSERT(is->batch <= STUDY_MOST_BATCH && queries <= STUDY_MOST_QUERIES,
              "batch %lld, queries %lld", (long long)is->batch, (long long)queries);
    s->ctx = ht_context_new(&(ht_context_options){.seed = seed, .threads = 1});
    HT_ASSERT(s->ctx, "no memory for a context");
    images_read(s);
    sets_open(s);
    ht_bilevel_problem problem = problem_of(s, s->asked);
    s->training =
        ht_bilevel_new(s->ctx, &problem, &(ht_bilevel_options){.method = HT_ONE_STEP});
    problem = problem_of(s, s->asking);
    if (queries)
        s->influence = ht_influence_new(
            s->ctx, &problem,
            &(ht_influence_options){
                .weight = "w", .at_once = 1, .bilevel = {.bytes = MEMORY}});
    ht_check(s->ctx);
}

void study_close(study *s)
{
    ht_influence_free(s->influence);
    ht_bilevel_free(s->training);
    ht_images_free(&s->images);
    ht_images_free(&s->others);
    ht_set *const sets[] = {s->train, s->room, s->theta, s->weights, s->asked, s->asking};
    for (size_t k = 0; k < sizeof sets / sizeof *sets; k++) ht_set_free(sets[k]);
    ht_context_free(s->ctx);
}

void study_vary(study *s, study_seeds seeds)
{
    HT_ASSERT(seeds.data == s->seeds.data, "the images of a study are drawn once");
    s->seeds = seeds;
    ht_context *ctx = ht_context_new(&(ht_context_options){.seed = seeds.start});
    HT_ASSERT(ctx, "no memory for a context");
    ht_set *start = network_new(s, ctx);
    ht_set_copy(s->theta, start);
    ht_set_free(start);
    ht_context_free(ctx);
    ht_check(s->ctx);
}

/* Training. */

void study_train(study *s, const uint8_t *left_out, double left, double *margins)
{
    ht_tensor *w = ht_set_at(s->weights, 0);
    for (int64_t i = 0; left_out && i < s->is.n; i++)
        ht_tensor_set(w, i, left_out[i] ? left : 1);
    ht_bilevel_result got = ht_bilevel_evaluate(s->training, 0);
    ht_check(s->ctx);
    memcpy(margins, got.outers, STUDY_ASKED * sizeof *margins);
    ht_tensor_fill(w, 1);
}

uint8_t *study_part(const study *s, uint64_t direction, double from, double to)
{
    int64_t *order = calloc((size_t)s->is.n, sizeof *order);
    uint8_t *part = calloc((size_t)s->is.n, sizeof *part);
    HT_ASSERT(order && part, "no memory for %lld examples", (long long)s->is.n);
    ht_random_permutation(s->seeds.data, DIRECTIONS + direction, s->is.n, order);
    for (int64_t k = (int64_t)(from * (double)s->is.n);
         k < (int64_t)(to * (double)s->is.n); k++)
        part[order[k]] = 1;
    free(order);
    return part;
}

void study_line(study *s, uint64_t direction, double margins[3][STUDY_ASKED])
{
    uint8_t *part = study_part(s, direction, 0, STUDY_PART);
    for (int k = 0; k < 3; k++) study_train(s, part, 1 - 0.5 * k, margins[k]);
    free(part);
}

double study_smooth(int n, const double *x, const double *y, const double *z)
{
    double sum = 0, size = 0;
    for (int k = 0; k < n; k++) {
        double agrees = (y[k] - x[k]) * (z[k] - y[k]), moved = fabs(z[k] - x[k]);
        sum += moved * ((agrees > 0) - (agrees < 0));
        size += moved;
    }
    return sum / size;
}

/* Of all images of a set, at theta_T. */
static void fit(study *s, const ht_set *images, double *loss, double *accuracy)
{
    ht_bilevel_result got = ht_bilevel_evaluate(s->training, 0);
    ht_check(s->ctx);
    ht_tape *tape = ht_tape_new(s->ctx, HT_EAGER);
    ht_vars *theta = ht_vars_input(tape, got.theta, 0);
    ht_var z = logits(s, theta, ht_input(tape, ht_set_tensor(images, "x")), NULL);
    const ht_tensor *label = ht_set_tensor(images, "label");
    *loss = ht_item(ht_mean(ht_cross_entropy(z, ht_input(tape, label))));
    *accuracy = ht_accuracy(ht_value(z), label);
    ht_check(s->ctx);
    ht_tape_free(tape);
}

study_fit study_measure(study *s)
{
    study_fit found;
    double unused;
    ht_set *test = images_drawn(s, &s->others, 1, ht_tensor_count(s->others.labels));
    fit(s, s->train, &found.loss, &unused);
    fit(s, test, &unused, &found.accuracy);
    ht_set_free(test);
    return found;
}

ht_tensor *study_scores(study *s)
{
    ht_tensor *scores = ht_tensor_new(s->ctx, HT_F64, HT_SHAPE(s->queries, s->is.n));
    ht_influence_scores(s->influence, scores);
    ht_check(s->ctx);
    return scores;
}

ht_tensor *study_subsets(study *s, int64_t subsets)
{
    ht_tensor *left_out = ht_tensor_new(s->ctx, HT_U8, HT_SHAPE(subsets, s->is.n));
    ht_influence_random(left_out, (int64_t)(STUDY_PART * (double)s->is.n), s->seeds.data);
    ht_check(s->ctx);
    return left_out;
}

ht_tensor *study_changes(study *s, const ht_tensor *subsets)
{
    ht_tensor *changes = ht_tensor_new(
        s->ctx, HT_F64, HT_SHAPE(ht_tensor_shape(subsets).dim[0], s->queries));
    ht_influence_retrain(s->influence, subsets, changes);
    ht_check(s->ctx);
    return changes;
}

void study_sum(ht_tensor **sum, const ht_tensor *x)
{
    if (!*sum) {
        *sum = ht_tensor_new(ht_tensor_context(x), HT_F64, ht_tensor_shape(x));
        ht_check(ht_tensor_context(x));
        ht_tensor_fill(*sum, 0);
    }
    double *to = ht_tensor_data(*sum);
    const double *from = ht_tensor_data(x);
    for (int64_t i = 0; i < ht_tensor_count(x); i++) to[i] += from[i];
}

double study_lds(const ht_tensor *scores, const ht_tensor *subsets,
                 const ht_tensor *changes)
{
    double is = ht_influence_lds(scores, subsets, changes, 0, 0).mean;
    ht_check(ht_tensor_context(scores));
    return is;
}
