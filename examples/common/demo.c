/* SPDX-License-Identifier: MIT */
/* demo.c: what a demo begins with, and who is right about the test images.
 * Read next: demo_model.c, demo_verdict.c. */
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "demo.h"

typedef ht_status (*reader)(ht_context *, const char *, bool, ht_images *);
static const char *const digits[] = {"train-images-idx3-ubyte",
                                     "train-images-idx3-ubyte.gz", NULL};
static const char *const photographs[] = {"data_batch_1.png", "data_batch_1.bin",
                                          "train.bin", NULL};

/* The first of the files that is in the folder, or NULL. */
static const char *held(const char *folder, const char *const *name)
{
    char path[4096];
    for (; *name; name++) {
        snprintf(path, sizeof path, "%s/%s", folder, *name);
        if (access(path, F_OK) == 0) return *name;
    }
    return NULL;
}

/* What is wrong with one part for itself. */
static void check_part(ht_context *ctx, const char *folder, const ht_images *part)
{
    char text[HT_SHAPE_TEXT];
    ht_shape shape = ht_tensor_shape(part->pixels);
    if (!ht_tensor_count(part->pixels))
        ht_context_fail(ctx, HT_ERROR_SHAPE, NULL,
                        "%s: expected test images with pixels, got %s\n"
                        "  hint: ./dev data fetches 10000",
                        folder, ht_shape_text(shape, text));
    else if (part->classes != 10)
        ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                        "%s: --data: expected images of 10 classes, got %d\n"
                        "  hint: of the CIFAR sets, CIFAR-10",
                        folder, part->classes);
    ht_check(ctx);
}

static void read_parts(ht_context *ctx, const char *folder, reader read, int64_t wanted,
                       ht_images *train, ht_images *test)
{
    char a[HT_SHAPE_TEXT], b[HT_SHAPE_TEXT];
    read(ctx, folder, false, train);
    ht_check(ctx);
    read(ctx, folder, true, test);
    ht_check(ctx);
    ht_shape one = ht_tensor_shape(train->pixels), other = ht_tensor_shape(test->pixels);
    ht_shape like = other;
    like.dim[0] = one.dim[0];
    if (wanted > one.dim[0])
        ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                        "%s: %lld images are asked for, there are %lld\n"
                        "  hint: ./dev data fetches the full sets",
                        folder, (long long)wanted, (long long)one.dim[0]);
    check_part(ctx, folder, test);
    if (!ht_shape_equal(one, like))
        ht_context_fail(ctx, HT_ERROR_SHAPE, NULL,
                        "%s: train images are %s, test images %s\n"
                        "  hint: the files belong to different sets",
                        folder, ht_shape_text(one, a), ht_shape_text(other, b));
    ht_check(ctx);
}

void demo_read(ht_context *ctx, const char *folder, int64_t wanted, ht_images *train,
               ht_images *test)
{
    reader read = held(folder, photographs) ? ht_cifar_read : ht_mnist_read;
    read_parts(ctx, folder, read, wanted, train, test);
}

void demo_read_photographs(ht_context *ctx, const char *folder, int64_t wanted,
                           ht_images *train, ht_images *test)
{
    const char *other = held(folder, photographs) ? NULL : held(folder, digits);
    if (other)
        ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                        "%s: --data: expected CIFAR-10, photographs of 3 x 32 x 32 (%s "
                        "or .bin), found MNIST's form, %s\n"
                        "  hint: without --data it is the part bundled here; ./dev data "
                        "cifar fetches the full set",
                        folder, *photographs, other);
    ht_check(ctx);
    read_parts(ctx, folder, ht_cifar_read, wanted, train, test);
}

int64_t *demo_rows(ht_context *ctx, const ht_images *images, int64_t n)
{
    int64_t *row = calloc((size_t)n, sizeof *row);
    HT_ASSERT(row, "no memory for %lld rows", (long long)n);
    ht_split(ctx, 1, ht_tensor_count(images->labels), 1, &n, &row);
    ht_check(ctx);
    return row;
}

ht_set *demo_set(ht_context *ctx, const ht_images *images, const int64_t *order,
                 int64_t n)
{
    int64_t elements = ht_tensor_count(images->pixels) / ht_tensor_count(images->labels);
    ht_set *set = ht_set_new(ctx);
    ht_check(ctx);
    ht_tensor *x = ht_set_add(set, "x", HT_F32, HT_SHAPE(n, elements));
    ht_tensor *label = ht_set_add(set, "label", HT_I32, HT_SHAPE(n));
    ht_check(ctx);
    ht_images_rows(images, order, 0, n, x, label);
    ht_check(ctx);
    return set;
}

ht_set *demo_room(const ht_set *set, int64_t n)
{
    ht_set *room = ht_set_new(ht_set_context(set));
    for (int i = 0; room && i < ht_set_count(set); i++) {
        ht_shape shape = ht_tensor_shape(ht_set_at(set, i));
        shape.dim[0] = n;
        ht_set_add(room, ht_set_name(set, i), ht_tensor_dtype(ht_set_at(set, i)), shape);
    }
    ht_check(ht_set_context(set));
    return room;
}

ht_status demo_fill(ht_set *room, const ht_set *set, const int64_t *order, int64_t first)
{
    for (int i = 0; i < ht_set_count(room); i++) {
        ht_tensor *to = ht_set_at(room, i);
        ht_rows(to, ht_set_at(set, i), order, first, ht_tensor_shape(to).dim[0]);
    }
    return ht_context_status(ht_set_context(room));
}

demo_batches demo_batches_new(const ht_set *set, int64_t n)
{
    ht_context *ctx = ht_set_context(set);
    int64_t most = ht_tensor_shape(ht_set_at(set, 0)).dim[0];
    if (n > most)
        ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                        "--batch %lld: expected at most --train %lld\n"
                        "  hint: 0 trains on all images at each step",
                        (long long)n, (long long)most);
    ht_check(ctx);
    int64_t *order = calloc((size_t)n, sizeof *order);
    HT_ASSERT(order, "no memory for a batch of %lld", (long long)n);
    return (demo_batches){set, demo_room(set, n), n, order};
}

ht_status demo_batch(uint64_t step, ht_set *room, void *batches)
{
    const demo_batches *b = batches;
    ht_shape shape = ht_tensor_shape(ht_set_at(b->set, 0));
    ht_batch_order(ht_context_seed(ht_set_context(room)), step, shape.dim[0], b->n,
                   b->order);
    return demo_fill(room, b->set, b->order, 0);
}

void demo_digits(const ht_images *images, int64_t from, int64_t most, ht_tensor *ten)
{
    int64_t n = ht_tensor_count(images->labels), pixels = ht_tensor_count(ten) / 10;
    const uint8_t *pixel = ht_tensor_data(images->pixels);
    const int32_t *label = ht_tensor_data(images->labels);
    float *at = ht_tensor_data(ten);
    int64_t found[10] = {0};
    ht_tensor_fill(ten, 0);
    for (int64_t i = from; i < from + n; i++) {
        int k = label[i % n];
        if (found[k] == most) continue;
        found[k]++;
        for (int64_t j = 0; j < pixels; j++)
            at[k * pixels + j] += (float)pixel[i % n * pixels + j] / 255;
    }
    for (int64_t j = 0; j < 10 * pixels; j++)
        if (found[j / pixels]) at[j] /= (float)found[j / pixels];
}

void demo_start(ht_set *theta, int64_t number)
{
    for (int i = 0; i < ht_set_count(theta); i++) {
        ht_tensor *x = ht_set_at(theta, i);
        if (ht_tensor_shape(x).rank > 1)
            ht_he_normal(x, (uint64_t)(number * ht_set_count(theta) + i));
        else
            ht_tensor_fill(x, 0);
    }
}

static void build_logits(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    const judge *j = user;
    ht_vars_set(out[0], "logits", j->model(ht_get(in[1], "x"), in[0]));
}

judge *judge_new(const ht_set *theta, const ht_set *test, logits_fn model)
{
    ht_context *ctx = ht_set_context(test);
    judge *j = calloc(1, sizeof *j);
    HT_ASSERT(j, "no memory for a judge of %zu bytes", sizeof *j);
    *j = (judge){.model = model, .test = test, .theta = ht_set_clone(theta, 0)};
    j->logits = ht_set_new(ctx);
    ht_check(ctx);
    int64_t n = ht_tensor_count(ht_set_tensor(test, "label"));
    ht_set_add(j->logits, "logits", HT_F32, HT_SHAPE(n, 10));
    j->recording = ht_recording_new((const ht_set *[]){j->theta, test, NULL},
                                    (ht_set *[]){j->logits, NULL}, build_logits, j);
    ht_check(ctx);
    return j;
}

static int largest(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

double judge_accuracy(judge *j, const ht_set *theta, double *score)
{
    const ht_tensor *labels = ht_set_tensor(j->test, "label");
    for (int i = 0; i < ht_set_count(theta); i++)
        ht_tensor_copy(ht_set_at(j->theta, i), ht_set_at(theta, i));
    ht_recording_run(j->recording, 0);
    const float *logits = ht_tensor_data(ht_set_at(j->logits, 0));
    const int32_t *label = ht_tensor_data(labels);
    for (int64_t i = 0; score && i < ht_tensor_count(labels); i++)
        score[i] = largest(logits + 10 * i, 10) == label[i] ? 100 : 0;
    return 100 * ht_accuracy(ht_set_at(j->logits, 0), labels);
}

ht_tensor *judge_confusion(judge *j, const ht_set *theta)
{
    ht_context *ctx = ht_set_context(j->test);
    ht_tensor *counts = ht_tensor_new(ctx, HT_I32, HT_SHAPE(10, 10));
    judge_accuracy(j, theta, NULL);
    ht_confusion(ht_set_at(j->logits, 0), ht_set_tensor(j->test, "label"), counts);
    ht_check(ctx);
    return counts;
}

void demo_folder(demo *d, const char *const *files)
{
    const char *out = d->options->out;
    if (!out) return;
    output_folder(d->ctx, d->name, out, files);
    ht_check(d->ctx);
    d->earlier = output_earlier(d->ctx, out, files);
}

void demo_begin(demo *d, const char *const *files)
{
    const demo_options *o = d->options;
    d->ctx = ht_context_new(
        &(ht_context_options){.seed = o->common.seed, .threads = o->common.threads});
    HT_ASSERT(d->ctx, "no memory for a context");
    if (files) demo_folder(d, files);
    output_check(d->ctx, "json", o->common.json);
    d->state = demo_state(d->ctx, o);
    ht_check(d->ctx);
    demo_kept_begin(d);
    d->began = stopwatch_now();
    interrupt_watch();
}

void demo_worked(demo *d, double trainings, const char *what, int64_t step, int64_t n,
                 double loss)
{
    d->trainings += trainings;
    if (isnan(loss))
        progress(d->trainings, what, "");
    else
        progress_step(d->trainings, what, step, n, loss);
}

void demo_train(demo *d, const char *what, ht_set *theta, const ht_set *const *sets,
                ht_record_fn build, const ht_update *update, int64_t steps)
{
    ht_set *gradient = ht_set_clone(theta, 0);
    ht_check(d->ctx);
    ht_recording *recording =
        ht_recording_new(sets, (ht_set *[]){gradient, NULL}, build, NULL);
    ht_optimizer *optimizer = ht_optimizer_new(theta, update);
    ht_check(d->ctx);
    for (int64_t t = 0; t < steps && !interrupted(); t++) {
        ht_recording_run(recording, (int32_t)t);
        ht_optimizer_step(optimizer, gradient);
        ht_check(d->ctx);
        demo_worked(d, 1 / (double)steps, what, 0, 0, (double)NAN);
    }
    ht_optimizer_free(optimizer);
    ht_recording_free(recording);
    ht_set_free(gradient);
}

const char *const demo_schedules[] = {"auto", "store-all", "two-level", "revolve", NULL};

double demo_ratio(const demo *d)
{
    if (!d->n_plain || !d->n_hypergradients) return (double)NAN;
    return (double)d->n_plain / (double)d->n_hypergradients *
           stopwatch_ratio(d->hypergradients, d->plain);
}

/* The hypergradient is a product of factors like I - rate H, one a step, and overflows
 * long before a loss whose gradient is bounded does. */
void demo_finite(const demo *d, const ht_bilevel_result *got, int64_t steps)
{
    ht_check(d->ctx);
    if (got->bad_step < 0) return;
    bool trained = isfinite(got->outer) && isfinite(got->inner);
    progress_end();
    ht_context_fail(d->ctx, HT_ERROR_ARGUMENT, NULL,
                    "%s: %s diverged: step %lld of %lld, op %s\n"
                    "  hint: a smaller rate, or fewer --inner-steps",
                    d->name,
                    trained ? "training is finite, but its derivative" : "training",
                    (long long)got->bad_step, (long long)steps, got->bad_op);
    ht_check(d->ctx);
}

ht_bilevel_result demo_evaluate(demo *d, ht_bilevel *training, int64_t steps)
{
    stopwatch began = stopwatch_now();
    ht_bilevel_result got = ht_bilevel_evaluate(training, 0);
    stopwatch_add(&d->plain, stopwatch_since(began));
    d->n_plain++;
    demo_finite(d, &got, steps);
    if (!d->asked) d->predicted_bytes = ht_bilevel_bytes(training);
    d->schedule = demo_schedules[got.schedule];
    return got;
}
