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
                         .rate = 0.3,
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
        {"rate", FLAG_ABOVE, &o->rate, "of the inner descent", 0, 1e38},
        {"outer-rate", FLAG_ABOVE, &o->outer_rate, "of Adam", 0, 1e6},
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
    if (o->radius <= 0) o->radius = (double)o->n_train / 5;
    return true;
}

static void *allocate(int64_t n, size_t size)
{
    void *memory = calloc((size_t)n, size);
    HT_ASSERT(memory, "no memory for %lld x %zu bytes", (long long)n, size);
    return memory;
}

static ht_set *images_set(ht_context *ctx, const ht_images *images, const int64_t *order,
                          int64_t n)
{
    ht_shape shape = ht_tensor_shape(images->pixels);
    ht_set *set = ht_set_new(ctx);
    ht_check(ctx);
    ht_tensor *x = ht_set_add(set, "x", HT_F32, HT_SHAPE(n, shape.dim[1] * shape.dim[2]));
    ht_tensor *label = ht_set_add(set, "label", HT_I32, HT_SHAPE(n));
    ht_check(ctx);
    ht_images_rows(images, order, 0, n, x, label);
    ht_check(ctx);
    return set;
}

static void check_images(ht_context *ctx, const clean_options *options,
                         const ht_images *train, const ht_images *test)
{
    char a[HT_SHAPE_TEXT], b[HT_SHAPE_TEXT];
    ht_shape one = ht_tensor_shape(train->pixels), other = ht_tensor_shape(test->pixels);
    int64_t wanted = options->n_train + options->n_validation;
    if (wanted > one.dim[0])
        ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                        "hyperclean: --train %lld and --validation %lld ask for %lld "
                        "images, %s has %lld\n  hint: ./dev data mnist fetches 60000",
                        (long long)options->n_train, (long long)options->n_validation,
                        (long long)wanted, options->demo.common.data,
                        (long long)one.dim[0]);
    else if (one.dim[1] != other.dim[1] || one.dim[2] != other.dim[2])
        ht_context_fail(ctx, HT_ERROR_SHAPE, NULL,
                        "%s: train images are %s, test images %s\n"
                        "  hint: the files belong to different sets",
                        options->demo.common.data, ht_shape_text(one, a),
                        ht_shape_text(other, b));
    else if (!other.dim[0] || !one.dim[1] || !one.dim[2])
        ht_context_fail(ctx, HT_ERROR_SHAPE, NULL,
                        "%s: expected test images with pixels, got %s\n"
                        "  hint: ./dev data mnist fetches 10000",
                        options->demo.common.data, ht_shape_text(other, b));
    ht_check(ctx);
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
    ht_mnist_read(ctx, options->demo.common.data, false, &train);
    ht_check(ctx);
    ht_mnist_read(ctx, options->demo.common.data, true, &test);
    ht_check(ctx);
    check_images(ctx, options, &train, &test);
    int64_t n = options->n_train, n_validation = options->n_validation;
    int64_t *image = allocate(n + n_validation, sizeof *image);
    ht_split(ctx, STREAM_SPLIT, ht_tensor_count(train.labels), 2,
             (int64_t[]){n, n_validation}, (int64_t *[]){image, image + n});
    ht_check(ctx);
    run->data =
        (clean_data){.n_train = n,
                     .n_validation = n_validation,
                     .n_test = ht_tensor_count(test.labels),
                     .rows = ht_tensor_shape(train.pixels).dim[1],
                     .cols = ht_tensor_shape(train.pixels).dim[2],
                     .image = image,
                     .train = images_set(ctx, &train, image, n),
                     .validation = images_set(ctx, &train, image + n, n_validation),
                     .test = images_set(ctx, &test, NULL, ht_tensor_count(test.labels))};
    corrupt(run, train.classes);
    ht_images_free(&train);
    ht_images_free(&test);
}

/* Softmax regression at zero. */
static void make_model(clean_run *run)
{
    int64_t pixels = run->data.rows * run->data.cols;
    run->theta = ht_set_new(run->ctx);
    ht_check(run->ctx);
    ht_set_add(run->theta, "softmax.weight", HT_F32, HT_SHAPE(pixels, 10));
    ht_set_add(run->theta, "softmax.bias", HT_F32, HT_SHAPE(10));
    ht_check(run->ctx);
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
    snprintf(name, sizeof name, "rows: %lld validation, corrupt %g, rate %g, radius %g",
             (long long)o->n_validation, o->corrupt, o->rate, o->radius);
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
    make_model(&run);
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
    ht_set *const sets[] = {result->eta,     result->more,         run->theta,
                            run->data.train, run->data.validation, run->data.test};
    for (int i = 0; i < 6; i++) ht_set_free(sets[i]);
    free(run->data.image);
    free(run->data.truth);
    free(run->data.corrupted);
    ht_context_free(run->ctx);
}
