/* SPDX-License-Identifier: MIT */
/* influence_peer.c: ours of `./dev bench influence`: writes a training for the others to
 * start from, its truth by training without subsets, what ht_influence foretells and what
 * that cost; and judges what others foretell, by the same truth.
 *
 *   influence_peer SETTING SEED FOLDER    a line of JSON; in FOLDER safetensors:
 *     start     theta as the training begins
 *     data      x (n, 784), label (n), row (steps, batch): which examples a step takes,
 *               query (m, 784), query_label (m)
 *     trained   theta at its end, and margin (m) f64 of the queries
 *     truth     left_out_K (s, n) u8, and changes_K (s, m) f64 of the margins, for each
 *               number K of examples left out
 *     hypertape scores (m, n) f64: what leaving an example out is said to do
 *   influence_peer judge FOLDER NAME N    a line of JSON: how NAME.safetensors, of the
 *     same form as hypertape, agrees with truth, for each number K as LDS, the ends of
 *     its 95 % by N resamples, and Pearson's; of its first queries, if it has fewer
 *
 * Read next: peers/influence.py. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hypertape.h"
#include "resident.h"

enum {
    EXAMPLES = 5000,
    QUERIES = 20,
    SUBSETS = 50,
    SIZES = 5,
    PIXELS = 784,
    CLASSES = 10,
    MOST_BATCH = 256,
    EPOCH = 78, /* steps of 64 */
    PATH = 4096
};

typedef struct setting {
    const char *name;
    int hidden; /* layers of it: 784-128-64-10, or none */
    bool gelu;  /* else relu */
    double rate, momentum;
    int64_t batch, steps;
    size_t lean; /* a budget below what the leanest contender takes */
} setting;

/* dattri's benchmark of logistic regression, but for a partial last batch; its example of
 * DVEmb; and a network that S^ says to trust. */
static const setting settings[] = {
    {"logistic", 0, false, 0.01, 0, 64, 20 * EPOCH, 4000000},
    {"dvemb", 2, false, 0.001, 0, 64, 3 * EPOCH, 16000000},
    {"gelu", 2, true, 0.01, 0.9, 256, 20 * (EXAMPLES / 256), 32000000},
};
static const int64_t sizes[SIZES] = {1, 50, 250, 1000, 2500}; /* 1, 5, 20, 50 % */

typedef struct study {
    const setting *is;
    const char *folder;
    uint64_t seed;
    ht_context *ctx;
    ht_set *theta, *eta, *data, *room, *asked;
    ht_bilevel_problem problem;
} study;

/* The problem. */

static ht_var network(const setting *is, ht_var x, const ht_vars *theta)
{
    static const char *const layers[] = {"fc1", "fc2"};
    for (int k = 0; k < is->hidden; k++) {
        x = ht_linear(x, theta, layers[k]);
        x = is->gelu ? ht_gelu(x) : ht_relu(x);
    }
    return ht_linear(x, theta, is->hidden ? "fc3" : "linear");
}

static ht_var inner_loss(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    const study *s = user;
    ht_var z = network(s->is, ht_get(batch, "x"), theta),
           w = ht_gather(ht_get(eta, "w"), ht_get(batch, "row"));
    return ht_mean(ht_mul(w, ht_cross_entropy(z, ht_get(batch, "label"))));
}

/* The logit of the label less the logarithm of the sum of exponentials of the others:
 * (m), or of one 0-d. */
static ht_var margins(const ht_vars *theta, const ht_vars *eta, const ht_vars *queries,
                      void *user)
{
    const study *s = user;
    (void)eta;
    ht_var z = network(s->is, ht_get(queries, "x"), theta),
           is = ht_one_hot(ht_get(queries, "label"), CLASSES, HT_F32),
           others = ht_logsumexp_axes(ht_sub(z, ht_mul(is, 1e9)), HT_AXES(1), false);
    ht_var margin = ht_sub(ht_sum_axes(ht_mul(z, is), HT_AXES(1), false), others);
    return ht_var_shape(margin).dim[0] == 1 ? ht_sum(margin) : margin;
}

static ht_status fill(uint64_t step, ht_set *room, void *user)
{
    const study *s = user;
    int64_t rows[MOST_BATCH], batch = s->is->batch;
    ht_batch_order(s->seed, step, EXAMPLES, batch, rows);
    const float *x = ht_tensor_data(ht_set_tensor(s->data, "x"));
    const int32_t *label = ht_tensor_data(ht_set_tensor(s->data, "label"));
    float *to_x = ht_tensor_data(ht_set_tensor(room, "x"));
    int32_t *to_label = ht_tensor_data(ht_set_tensor(room, "label")),
            *to_row = ht_tensor_data(ht_set_tensor(room, "row"));
    for (int64_t i = 0; i < batch; i++) {
        memcpy(to_x + i * PIXELS, x + rows[i] * PIXELS, PIXELS * sizeof *x);
        to_label[i] = label[rows[i]];
        to_row[i] = (int32_t)rows[i];
    }
    return HT_OK;
}

/* n random images of the bundled ones, as `x` and `label`. */
static void read_images(const study *s, bool test, int64_t n, ht_tensor *x,
                        ht_tensor *label)
{
    char path[PATH];
    const char *data = getenv("HYPERTAPE_DATA");
    snprintf(path, sizeof path, "%s/mnist", data ? data : BENCH_DATA);
    ht_images images;
    if (ht_mnist_read(s->ctx, path, test, &images) != HT_OK) ht_check(s->ctx);
    int64_t *order = calloc((size_t)n, sizeof *order);
    HT_ASSERT(order, "no memory for %lld rows", (long long)n);
    ht_batch_order(s->seed + 1000, 0, ht_tensor_count(images.labels), n, order);
    ht_images_rows(&images, order, 0, n, x, label);
    free(order);
    ht_images_free(&images);
    ht_check(s->ctx);
}

static void open_sets(study *s)
{
    const int64_t n = s->is->batch;
    s->data = ht_set_new(s->ctx);
    s->room = ht_set_new(s->ctx);
    s->asked = ht_set_new(s->ctx);
    s->theta = ht_set_new(s->ctx);
    s->eta = ht_set_new(s->ctx);
    read_images(s, false, EXAMPLES,
                ht_set_add(s->data, "x", HT_F32, HT_SHAPE(EXAMPLES, PIXELS)),
                ht_set_add(s->data, "label", HT_I32, HT_SHAPE(EXAMPLES)));
    read_images(s, true, QUERIES,
                ht_set_add(s->asked, "x", HT_F32, HT_SHAPE(QUERIES, PIXELS)),
                ht_set_add(s->asked, "label", HT_I32, HT_SHAPE(QUERIES)));
    ht_set_add(s->room, "x", HT_F32, HT_SHAPE(n, PIXELS));
    ht_set_add(s->room, "label", HT_I32, HT_SHAPE(n));
    ht_set_add(s->room, "row", HT_I32, HT_SHAPE(n));
    ht_tensor *w = ht_set_add(s->eta, "w", HT_F32, HT_SHAPE(EXAMPLES));
    if (s->is->hidden) {
        ht_linear_init(s->theta, "fc1", HT_F32, PIXELS, 128);
        ht_linear_init(s->theta, "fc2", HT_F32, 128, 64);
        ht_linear_init(s->theta, "fc3", HT_F32, 64, CLASSES);
    } else {
        ht_linear_init(s->theta, "linear", HT_F32, PIXELS, CLASSES);
    }
    ht_check(s->ctx);
    ht_tensor_fill(w, 1);
}

static void close_study(study *s)
{
    ht_set_free(s->theta);
    ht_set_free(s->eta);
    ht_set_free(s->data);
    ht_set_free(s->room);
    ht_set_free(s->asked);
    ht_context_free(s->ctx);
}

static void open_study(study *s)
{
    s->ctx = ht_context_new(&(ht_context_options){.seed = s->seed, .threads = 1});
    HT_ASSERT(s->ctx, "no memory for a context");
    open_sets(s);
    s->problem = (ht_bilevel_problem){
        .inner = inner_loss,
        .outer = margins,
        .theta = s->theta,
        .eta = s->eta,
        .inner_data = s->room,
        .inner_batch = fill,
        .outer_data = s->asked,
        .update = s->is->momentum > 0 ? HT_MOMENTUM(s->is->rate, s->is->momentum)
                                      : HT_SGD(s->is->rate),
        .steps = s->is->steps,
        .user = s};
}

static void write_set(const study *s, const ht_set *set, const char *name)
{
    char path[PATH];
    snprintf(path, sizeof path, "%s/%s.safetensors", s->folder, name);
    ht_set_write(set, path);
    ht_check(s->ctx);
}

static void add_copy(ht_set *to, const char *name, const ht_tensor *x)
{
    ht_tensor *y = ht_set_add(to, name, ht_tensor_dtype(x), ht_tensor_shape(x));
    if (y) memcpy(ht_tensor_data(y), ht_tensor_data(x), ht_tensor_bytes(x));
}

static void write_data(const study *s)
{
    ht_set *all = ht_set_new(s->ctx);
    add_copy(all, "x", ht_set_tensor(s->data, "x"));
    add_copy(all, "label", ht_set_tensor(s->data, "label"));
    add_copy(all, "query", ht_set_tensor(s->asked, "x"));
    add_copy(all, "query_label", ht_set_tensor(s->asked, "label"));
    const int64_t batch = s->is->batch;
    ht_tensor *row = ht_set_add(all, "row", HT_I32, HT_SHAPE(s->is->steps, batch));
    ht_check(s->ctx);
    for (int64_t t = 0; t < s->is->steps; t++) {
        int64_t rows[MOST_BATCH];
        ht_batch_order(s->seed, (uint64_t)t, EXAMPLES, batch, rows);
        for (int64_t i = 0; i < batch; i++)
            ((int32_t *)ht_tensor_data(row))[t * batch + i] = (int32_t)rows[i];
    }
    write_set(s, all, "data");
    ht_set_free(all);
    write_set(s, s->theta, "start");
}

/* What it costs. */

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What is said, and what is so. */

typedef struct cost {
    double training;                       /* seconds of a plain one */
    double lean, scores;                   /* of one query within a budget; of all */
    double lean_mb, scores_mb, process_mb; /* over what was resident; in all */
} cost;

/* Of the first m queries, within a budget (0: none). */
static ht_influence *foretell(const study *s, ht_tensor *scores, size_t bytes,
                              double *seconds, double *peak_mb, double *process_mb)
{
    const int64_t m = ht_tensor_shape(scores).dim[0];
    ht_set *asked = ht_set_new(s->ctx);
    ht_tensor *x = ht_set_add(asked, "x", HT_F32, HT_SHAPE(m, PIXELS)),
              *label = ht_set_add(asked, "label", HT_I32, HT_SHAPE(m));
    ht_check(s->ctx);
    memcpy(ht_tensor_data(x), ht_tensor_data(ht_set_tensor(s->asked, "x")),
           ht_tensor_bytes(x));
    memcpy(ht_tensor_data(label), ht_tensor_data(ht_set_tensor(s->asked, "label")),
           ht_tensor_bytes(label));
    ht_bilevel_problem problem = s->problem;
    problem.outer_data = m == QUERIES ? s->asked : asked;
    long before = resident_kb();
    double began = cpu_seconds();
    ht_influence *influence =
        ht_influence_new(s->ctx, &problem,
                         &(ht_influence_options){
                             .weight = "w", .at_once = 1, .bilevel = {.bytes = bytes}});
    ht_influence_scores(influence, scores);
    ht_check(s->ctx);
    *seconds = cpu_seconds() - began;
    *process_mb = (double)status_kb("VmHWM:") / 1024;
    *peak_mb = *process_mb - (double)before / 1024;
    if (m == QUERIES) {
        ht_set_free(asked);
        return influence;
    }
    ht_influence_free(influence);
    ht_set_free(asked);
    return NULL;
}

/* As it ends. */
static void write_trained(const study *s, cost *of)
{
    ht_bilevel *training =
        ht_bilevel_new(s->ctx, &s->problem, &(ht_bilevel_options){.method = HT_ONE_STEP});
    ht_check(s->ctx);
    double began = cpu_seconds();
    ht_bilevel_result r = ht_bilevel_evaluate(training, 0);
    ht_check(s->ctx);
    of->training = cpu_seconds() - began;
    ht_set *trained = ht_set_clone(r.theta, 0);
    ht_tensor *margin = ht_set_add(trained, "margin", HT_F64, HT_SHAPE(QUERIES));
    ht_check(s->ctx);
    for (int k = 0; k < QUERIES; k++) ht_tensor_set(margin, k, r.outers[k]);
    write_set(s, trained, "trained");
    ht_set_free(trained);
    ht_bilevel_free(training);
}

static void write_truth(const study *s, ht_influence *influence)
{
    ht_set *truth = ht_set_new(s->ctx);
    for (int j = 0; j < SIZES; j++) {
        char name[64];
        snprintf(name, sizeof name, "left_out_%lld", (long long)sizes[j]);
        ht_tensor *left_out = ht_set_add(truth, name, HT_U8, HT_SHAPE(SUBSETS, EXAMPLES));
        snprintf(name, sizeof name, "changes_%lld", (long long)sizes[j]);
        ht_tensor *changes = ht_set_add(truth, name, HT_F64, HT_SHAPE(SUBSETS, QUERIES));
        ht_check(s->ctx);
        ht_influence_random(left_out, sizes[j], s->seed + (uint64_t)j);
        ht_influence_retrain(influence, left_out, changes);
        ht_check(s->ctx);
    }
    write_set(s, truth, "truth");
    ht_set_free(truth);
}

static int run(const setting *is, const char *seed, const char *folder)
{
    study s = {.is = is, .folder = folder, .seed = strtoull(seed, NULL, 10)};
    cost of = {0};
    open_study(&s);
    write_data(&s);
    ht_set *out = ht_set_new(s.ctx);
    ht_tensor *scores = ht_set_add(out, "scores", HT_F64, HT_SHAPE(QUERIES, EXAMPLES)),
              *one = ht_tensor_new(s.ctx, HT_F64, HT_SHAPE(1, EXAMPLES));
    ht_check(s.ctx);
    ht_tensor_fill(scores, 0);
    foretell(&s, one, is->lean, &of.lean, &of.lean_mb, &of.process_mb);
    ht_tensor_free(one);
    ht_influence *influence =
        foretell(&s, scores, 0, &of.scores, &of.scores_mb, &of.process_mb);
    write_set(&s, out, "hypertape");
    write_trained(&s, &of);
    ht_smoothness smooth = ht_influence_smoothness(influence, 0.05, s.seed);
    double began = cpu_seconds();
    write_truth(&s, influence);
    printf("{\"train_s\":%.4f,\"lean_s\":%.4f,\"score_s\":%.4f,\"truth_s\":%.2f,"
           "\"lean_peak_mb\":%.1f,\"peak_mb\":%.1f,\"process_mb\":%.1f,"
           "\"smooth\":%.4f}\n",
           of.training, of.lean, of.scores, cpu_seconds() - began, of.lean_mb,
           of.scores_mb, of.process_mb, smooth.outer);
    ht_influence_free(influence);
    ht_set_free(out);
    close_study(&s);
    return 0;
}

/* Judging. */

static ht_set *load(ht_context *ctx, const char *folder, const char *name)
{
    char path[PATH];
    snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
    ht_set *set = ht_set_load(ctx, path);
    ht_check(ctx);
    return set;
}

/* The first columns of a table. */
static ht_tensor *first_columns(ht_context *ctx, const ht_tensor *x, int64_t columns)
{
    ht_shape shape = ht_tensor_shape(x);
    ht_tensor *y = ht_tensor_new(ctx, HT_F64, HT_SHAPE(shape.dim[0], columns));
    ht_check(ctx);
    for (int64_t i = 0; i < shape.dim[0]; i++)
        for (int64_t k = 0; k < columns; k++)
            ht_tensor_set(y, i * columns + k, ht_tensor_get(x, i * shape.dim[1] + k));
    return y;
}

/* JSON has no NaN. */
static void print_number(double value, const char *after)
{
    if (isfinite(value))
        printf("%.6f%s", value, after);
    else
        printf("null%s", after);
}

static int judge(const char *folder, const char *name, int resamples)
{
    ht_context *ctx = ht_context_new(NULL);
    HT_ASSERT(ctx, "no memory for a context");
    ht_set *truth = load(ctx, folder, "truth"), *said = load(ctx, folder, name);
    const ht_tensor *scores = ht_set_tensor(said, "scores");
    for (int j = 0; j < SIZES; j++) {
        char key[64];
        snprintf(key, sizeof key, "left_out_%lld", (long long)sizes[j]);
        const ht_tensor *left_out = ht_set_tensor(truth, key);
        snprintf(key, sizeof key, "changes_%lld", (long long)sizes[j]);
        ht_tensor *changes =
            first_columns(ctx, ht_set_tensor(truth, key), ht_tensor_shape(scores).dim[0]);
        ht_lds lds = ht_influence_lds(scores, left_out, changes, resamples, 1);
        ht_check(ctx);
        const double value[] = {lds.mean, lds.low, lds.high, lds.pearson};
        printf("%s\"%lld\":[", j ? "," : "{", (long long)sizes[j]);
        for (int k = 0; k < 4; k++) print_number(value[k], k < 3 ? "," : "]");
        ht_tensor_free(changes);
    }
    printf("}\n");
    ht_set_free(truth);
    ht_set_free(said);
    ht_context_free(ctx);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && !strcmp(argv[1], "judge"))
        return judge(argv[2], argv[3], (int)strtol(argv[4], NULL, 10));
    for (size_t k = 0; argc == 4 && k < sizeof settings / sizeof *settings; k++)
        if (!strcmp(settings[k].name, argv[1]))
            return run(&settings[k], argv[2], argv[3]);
    fprintf(stderr, "usage: influence_peer <setting> <seed> <folder>, or judge <folder> "
                    "<name> <resamples>\n");
    return 2;
}
