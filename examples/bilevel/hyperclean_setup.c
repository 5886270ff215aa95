/* SPDX-License-Identifier: MIT */
/* hyperclean_setup.c: what a run begins with: its flags, and its images, of which a part
 * get wrong labels. Read next: hyperclean_report.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hyperclean.h"

enum { STREAM_SPLIT = 1, STREAM_LABELS = 2 };

const char *const clean_schedules[] = {"auto", "store-all", "two-level", "revolve", NULL};

bool clean_parse(clean_options *options, int argc, char **argv, int *status)
{
    const double most = 1e8, steps = 1e6;
    clean_options *o = options;
    *o = (clean_options){.demo.common = {.seed = 1, .data = HYPERCLEAN_DATA},
                         .n_train = 5000,
                         .n_validation = 5000,
                         .corrupt = 0.5,
                         .inner_steps = 100,
                         .outer_steps = 12,
                         .final_steps = 300,
                         .hidden = 64,
                         .outer_rate = 0.1};
    const flag flags[] = {
        {"train", FLAG_COUNT, &o->n_train, "images with doubtful labels", 1, most},
        {"validation", FLAG_COUNT, &o->n_validation, "images with clean labels", 1, most},
        {"corrupt", FLAG_NUMBER, &o->corrupt, "fraction of wrong labels", 0, 1},
        {"radius", FLAG_ABOVE, &o->radius, "R, what weights may sum to (train / 5)", 0,
         most},
        {"inner-steps", FLAG_COUNT, &o->inner_steps, "T, differentiated through", 1,
         steps},
        {"outer-steps", FLAG_COUNT, &o->outer_steps, "of Adam on the weights", 1, steps},
        {"final-steps", FLAG_COUNT, &o->final_steps, "of trainings in the table", 1,
         steps},
        {"rate", FLAG_ABOVE, &o->rate, "of the inner descent (0.3; mlp and conv 1)", 0,
         1e38},
        {"outer-rate", FLAG_ABOVE, &o->outer_rate, "of Adam", 0, 1e6},
        {"model", FLAG_CHOICE, &o->model, "linear, mlp or conv", .choices = clean_models},
        {"hidden", FLAG_COUNT, &o->hidden, "units of the mlp", 1, 1e5},
        {"batch", FLAG_COUNT, &o->batch, "images of an inner step; 0: all", 0, most},
        {"schedule", FLAG_CHOICE, &o->schedule, "auto, store-all, two-level or revolve",
         .choices = clean_schedules},
        DEMO_FLAGS(&o->demo)};
    const command about = {
        "hyperclean",
        "Finds wrong labels by differentiating through a whole training: every\n"
        "image gets a weight, moved so that training with the weights does well on\n"
        "clean validation images. A weight below 0.001 says: this label is wrong.",
        "hypergradient_seconds is the sum over outer steps, inner_seconds the time of\n"
        "as many plain trainings of T steps, by the first and the last. Accuracies are\n"
        "in percent. Revolve keeps sqrt(T) states if --memory says nothing.",
        &o->demo.common,
        sizeof flags / sizeof *flags,
        flags};
    if (!command_parse(&about, argc, argv, status)) return false;
    if (o->rate <= 0) o->rate = o->model ? 1 : 0.3;
    if (o->radius <= 0) o->radius = (double)o->n_train / 5;
    return true;
}

static void *allocate(int64_t n, size_t size)
{
    void *memory = calloc((size_t)n, size);
    HT_ASSERT(memory, "no memory for %lld x %zu bytes", (long long)n, size);
    return memory;
}

/* Labels as they are, then some of them changed. */
static void corrupt(clean_run *run, int classes)
{
    clean_data *data = &run->data;
    ht_tensor *label = ht_set_tensor(data->train, "label");
    data->truth = allocate(data->n_train, sizeof *data->truth);
    data->corrupted = allocate(data->n_train, sizeof *data->corrupted);
    memcpy(data->truth, ht_tensor_data(label), ht_tensor_bytes(label));
    ht_corrupt_labels(run->ctx, STREAM_LABELS, run->options->corrupt, classes, label,
                      data->corrupted);
    ht_check(run->ctx);
}

static void read_data(clean_run *run)
{
    const clean_options *options = run->options;
    ht_context *ctx = run->ctx;
    ht_images train, test;
    int64_t n = options->n_train, n_validation = options->n_validation;
    demo_read(ctx, options->demo.common.data, n + n_validation, &train, &test);
    ht_shape shape = ht_tensor_shape(train.pixels);
    int64_t *image = allocate(n + n_validation, sizeof *image);
    ht_split(ctx, STREAM_SPLIT, ht_tensor_count(train.labels), 2,
             (int64_t[]){n, n_validation}, (int64_t *[]){image, image + n});
    ht_check(ctx);
    run->data =
        (clean_data){.n_train = n,
                     .n_validation = n_validation,
                     .n_test = ht_tensor_count(test.labels),
                     .channels = shape.rank == 4 ? shape.dim[1] : 1,
                     .rows = shape.dim[shape.rank - 2],
                     .cols = shape.dim[shape.rank - 1],
                     .image = image,
                     .train = demo_set(ctx, &train, image, n),
                     .validation = demo_set(ctx, &train, image + n, n_validation),
                     .test = demo_set(ctx, &test, NULL, ht_tensor_count(test.labels))};
    corrupt(run, train.classes);
    ht_images_free(&train);
    ht_images_free(&test);
}

/* Room for a batch of inner steps, and which rows of lambda its images are. */
static void make_batch(clean_run *run)
{
    int64_t n = run->options->batch, n_train = run->data.n_train;
    ht_set *train = run->data.train;
    if (n > n_train)
        ht_context_fail(run->ctx, HT_ERROR_ARGUMENT, NULL,
                        "hyperclean: --batch %lld: expected at most --train %lld\n"
                        "  hint: 0 trains on all images at each step",
                        (long long)n, (long long)n_train);
    ht_check(run->ctx);
    if (!n) return;
    ht_tensor *row = ht_set_add(train, "row", HT_I32, HT_SHAPE(n_train));
    for (int64_t i = 0; i < n_train; i++) ht_tensor_set(row, i, (double)i);
    run->batch = ht_set_new(run->ctx);
    for (int i = 0; i < ht_set_count(train); i++) {
        ht_shape shape = ht_tensor_shape(ht_set_at(train, i));
        shape.dim[0] = n;
        ht_set_add(run->batch, ht_set_name(train, i),
                   ht_tensor_dtype(ht_set_at(train, i)), shape);
    }
    ht_check(run->ctx);
    run->order = allocate(n, sizeof *run->order);
}

static void make_result(clean_run *run)
{
    clean_result *result = &run->result;
    int64_t n = run->data.n_train;
    result->eta = ht_set_new(run->ctx);
    ht_check(run->ctx);
    ht_tensor *lambda = ht_set_add(result->eta, "lambda", HT_F32, HT_SHAPE(n));
    ht_check(run->ctx);
    ht_tensor_fill(lambda, fmin(1, run->options->radius / (double)n));
    result->more = ht_set_new(run->ctx);
    ht_check(run->ctx);
    ht_tensor *distrust = ht_set_add(result->more, "distrust", HT_F64, HT_SHAPE(n));
    const clean_options *o = run->options;
    char name[SETTING_TEXT]; /* a run of other numbers does not go on from this one */
    snprintf(name, sizeof name,
             "rows: %s, batch %lld, %lld validation, corrupt %g, rate %g, radius %g",
             clean_models[o->model], (long long)o->batch, (long long)o->n_validation,
             o->corrupt, o->rate, o->radius);
    ht_tensor *rows = ht_set_add(result->more, name, HT_F64,
                                 HT_SHAPE(run->options->outer_steps, METRICS));
    ht_check(run->ctx);
    result->distrust = ht_tensor_data(distrust);
    result->steps =
        (metrics){.name = {"outer_step", "validation_loss", "inner_loss", "found",
                           "precision", "recall", "f1", "weight_sum",
                           "hypergradient_seconds", "right_weight", "wrong_weight"}};
    metrics_in(&result->steps, rows);
    for (int k = 0; k < N_TRAININGS; k++) {
        result->training[k].right = allocate(run->data.n_test, 1);
        result->training[k].said = allocate(run->data.n_test, sizeof(int32_t));
    }
}

clean_run clean_run_new(const clean_options *options)
{
    clean_run run = {.options = options};
    run.ctx = ht_context_new(&(ht_context_options){
        .seed = options->demo.common.seed, .threads = options->demo.common.threads});
    HT_ASSERT(run.ctx, "no memory for a context");
    read_data(&run);
    make_batch(&run);
    run.theta = ht_set_new(run.ctx);
    run.logits = clean_model(options, &run.data, run.theta);
    ht_check(run.ctx);
    make_result(&run);
    return run;
}

void clean_run_free(clean_run *run)
{
    clean_result *result = &run->result;
    for (int k = 0; k < N_TRAININGS; k++) {
        ht_set_free(result->training[k].theta);
        free(result->training[k].right);
        free(result->training[k].said);
    }
    ht_set *const sets[] = {result->eta,   result->more,    run->theta,
                            run->batch,    run->data.train, run->data.validation,
                            run->data.test};
    for (int i = 0; i < 7; i++) ht_set_free(sets[i]);
    free(run->order);
    free(run->data.image);
    free(run->data.truth);
    free(run->data.corrupted);
    ht_context_free(run->ctx);
}
