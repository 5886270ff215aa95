/* SPDX-License-Identifier: MIT */
/* train.c: plain training: one step recorded once and replayed, epochs, validation.
 *
 *   loss = 1/batch sum_i CE(logits(theta, x_i), y_i),  theta moves along its gradient
 *
 * A batch, its mirrored images included, is a pure function of (seed, step): a run that
 * was stopped goes on to the same bits. A program has one shape: an epoch drops what does
 * not fill a batch, evaluation fills its last one with images seen before and forgets
 * them. Read next: train_file.c. */
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STREAM_SPLIT = 1, STREAM_FLIP = 2, VALIDATION_PART = 10 };

/* Data. */

static int64_t limited(const train_options *options, const ht_images *images)
{
    int64_t n = ht_tensor_count(images->labels);
    return options->limit > 0 && options->limit < n ? options->limit : n;
}

static void read_data(train_run *run)
{
    const train_options *options = run->options;
    run->task->read(run->ctx, options->common.data, false, &run->train);
    run->task->read(run->ctx, options->common.data, true, &run->test);
    ht_check(run->ctx);
    int64_t n = limited(options, &run->train);
    run->n_test = limited(options, &run->test);
    run->n_validation = n / VALIDATION_PART;
    run->n_fit = n - run->n_validation;
    run->epoch_steps = run->n_fit / options->batch;
    if (options->batch > run->n_fit)
        ht_context_fail(run->ctx, HT_ERROR_ARGUMENT, NULL,
                        "%s: expected a batch of at most %lld, the images to train on, "
                        "got %lld\n  hint: a smaller --batch, or a larger --limit",
                        run->task->name, (long long)run->n_fit,
                        (long long)options->batch);
    else if (!run->n_test)
        ht_context_fail(run->ctx, HT_ERROR_ARGUMENT, NULL,
                        "%s: expected test images, got none\n  hint: ./dev data fetches "
                        "the whole set",
                        options->common.data);
    ht_check(run->ctx);
    run->fit = malloc((size_t)(n + 2 * options->batch) * sizeof *run->fit);
    HT_ASSERT(run->fit, "no memory for %lld rows", (long long)n);
    run->validation = run->fit + run->n_fit;
    run->rows = run->fit + n;
    run->ahead = run->rows + options->batch;
    ht_split(run->ctx, STREAM_SPLIT, n, 2, (int64_t[]){run->n_fit, run->n_validation},
             (int64_t *[]){run->fit, run->validation});
    ht_shape shape = ht_tensor_shape(run->train.pixels);
    shape.dim[0] = options->batch;
    run->batch = ht_set_new(run->ctx);
    ht_check(run->ctx);
    ht_set_add(run->batch, "x", HT_F32, shape);
    ht_set_add(run->batch, "label", HT_I32, HT_SHAPE(options->batch));
    ht_check(run->ctx);
}

/* Turns half of the images, lines of `width` in planes of `lines`, left to right. */
static void flip_batch(const train_run *run, ht_tensor *x, uint64_t first)
{
    ht_shape shape = ht_tensor_shape(x);
    int64_t width = shape.dim[shape.rank - 1];
    int64_t lines = ht_tensor_count(x) / shape.dim[0] / width;
    float *line = ht_tensor_data(x);
    for (int64_t i = 0; i < shape.dim[0]; i++) {
        bool turn =
            ht_random_bits(run->options->common.seed, STREAM_FLIP, first + (uint64_t)i) &
            1;
        for (int64_t y = 0; y < lines; y++, line += width)
            for (int64_t a = 0, b = width - 1; turn && a < b; a++, b--) {
                float swapped = line[a];
                line[a] = line[b];
                line[b] = swapped;
            }
    }
}

/* On a thread, while the step before it is computed. */
static ht_status fill_batch(uint64_t step, ht_set *batch, void *user)
{
    train_run *run = user;
    int64_t n = run->options->batch, *rows = run->ahead;
    ht_tensor *x = ht_set_at(batch, 0);
    ht_batch_order(run->options->common.seed, step, run->n_fit, n, rows);
    for (int64_t i = 0; i < n; i++) rows[i] = run->fit[rows[i]];
    ht_status status = ht_images_rows(&run->train, rows, 0, n, x, ht_set_at(batch, 1));
    if (run->task->flip) flip_batch(run, x, step * (uint64_t)n);
    return status;
}

/* Programs. */

static void build_step(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    const train_run *run = user;
    ht_var label = ht_get(in[1], "label");
    ht_var logits = run->task->logits(in[0], ht_get(in[1], "x"));
    ht_var loss = ht_mean(ht_cross_entropy(logits, label));
    ht_vars_set(out[0], "loss", loss);
    ht_vars_set(out[0], "right",
                ht_sum(ht_cast(ht_equal(ht_argmax(logits), label), HT_F32)));
    ht_vars_backward(loss, in[0], out[1]);
}

static void build_classify(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    const train_run *run = user;
    ht_var logits = run->task->logits(in[0], ht_get(in[1], "x"));
    ht_vars_set(out[0], "loss", ht_cross_entropy(logits, ht_get(in[1], "label")));
    ht_vars_set(out[0], "class", ht_argmax(logits));
    ht_vars_set(out[0], "probability",
                ht_exp(ht_max_axes(ht_log_softmax(logits), HT_AXES(-1), false)));
}

static void record_programs(train_run *run)
{
    const ht_set *in[] = {run->theta, run->batch, NULL};
    ht_shape rows = HT_SHAPE(run->options->batch);
    run->result = ht_set_new(run->ctx);
    run->rows_of = ht_set_new(run->ctx);
    ht_check(run->ctx);
    ht_set_add(run->result, "loss", HT_F32, HT_SCALAR);
    ht_set_add(run->result, "right", HT_F32, HT_SCALAR);
    ht_set_add(run->rows_of, "loss", HT_F32, rows);
    ht_set_add(run->rows_of, "class", HT_I32, rows);
    ht_set_add(run->rows_of, "probability", HT_F32, rows);
    run->classify =
        ht_recording_new(in, (ht_set *[]){run->rows_of, NULL}, build_classify, run);
    if (!run->options->evaluate)
        run->step = ht_recording_new(in, (ht_set *[]){run->result, run->gradient, NULL},
                                     build_step, run);
    ht_check(run->ctx);
}

static void make_model(train_run *run)
{
    const train_options *options = run->options;
    run->theta = ht_set_new(run->ctx);
    ht_check(run->ctx);
    run->task->init(run->theta);
    ht_check(run->ctx);
    run->gradient = ht_set_clone(run->theta, 0);
    int64_t steps = run->epoch_steps;
    int64_t warmup = llround(run->task->warmup * (double)steps);
    run->schedule = (ht_rate){.warmup = warmup,
                              .start = warmup > 0 ? 0.01 : 0,
                              .steps = options->decay_epochs * steps - warmup,
                              .final = 0.01};
    ht_update update = run->task->update;
    update.rate = (ht_scalar){
        .value = options->rate, .schedule = ht_rate_cosine, .user = &run->schedule};
    run->optimizer = ht_optimizer_new(run->theta, &update);
    ht_check(run->ctx);
    record_programs(run);
}

/* Training. */

static void train_step(train_run *run, int64_t step)
{
    double asked = seconds_now();
    ht_prefetch_take(run->batches, (uint64_t)step, run->batch);
    run->waited += seconds_now() - asked;
    ht_recording_run(run->step, (int32_t)step);
    ht_optimizer_step(run->optimizer, run->gradient);
    ht_check(run->ctx);
    double n = (double)run->options->batch;
    double loss = ht_tensor_get(ht_set_tensor(run->result, "loss"), 0);
    run->epoch.loss += n * loss;
    run->epoch.right += ht_tensor_get(ht_set_tensor(run->result, "right"), 0);
    run->epoch.images += run->options->batch;
    if (!isfinite(run->epoch.loss))
        ht_context_fail(run->ctx, HT_ERROR_ARGUMENT, NULL,
                        "%s: the loss is %g at step %lld: training has diverged\n"
                        "  hint: a smaller --rate than %g",
                        run->task->name, loss, (long long)step, run->options->rate);
    ht_check(run->ctx);
}

/* Sums over images order[0 .. n-1]; order NULL: over 0 .. n-1, and Ctrl-C ends it with a
 * score of no images. Predictions to out if not NULL. */
static train_score evaluate(train_run *run, const ht_images *images, const int64_t *order,
                            int64_t n, output *out)
{
    const ht_tensor *loss = ht_set_tensor(run->rows_of, "loss");
    const ht_tensor *class = ht_set_tensor(run->rows_of, "class");
    train_score score = {.images = n};
    int64_t batch = run->options->batch;
    ht_tensor *label = ht_set_at(run->batch, 1);
    for (int64_t first = 0; first < n; first += batch) {
        if (!order && interrupted()) return (train_score){0};
        int64_t valid = n - first < batch ? n - first : batch;
        for (int64_t i = 0; i < batch; i++) {
            int64_t at = (first + i) % n;
            run->rows[i] = order ? order[at] : at;
        }
        ht_images_rows(images, run->rows, 0, batch, ht_set_at(run->batch, 0), label);
        ht_check(run->ctx);
        ht_recording_run(run->classify, 0);
        ht_check(run->ctx);
        for (int64_t i = 0; i < valid; i++) {
            score.loss += ht_tensor_get(loss, i);
            score.right += ht_tensor_get(class, i) == ht_tensor_get(label, i);
        }
        if (out) train_predict(run, out, first, valid);
    }
    return score;
}

static void end_epoch(train_run *run)
{
    run->validated = evaluate(run, &run->train, run->validation, run->n_validation, NULL);
    train_show_epoch(run);
    if (run->options->save) train_save(run);
    run->epoch_began = seconds_now();
}

/* Until the last epoch or Ctrl-C; either way --save then has what was reached. */
static void train_epochs(train_run *run)
{
    int64_t per_epoch = run->epoch_steps, last = run->options->epochs * per_epoch;
    int64_t step = run->first_step = ht_optimizer_steps(run->optimizer);
    early_stop stop = {.patience = run->options->patience};
    bool saved = false, enough = false;
    double began = run->epoch_began = seconds_now();
    run->batches = ht_prefetch_new(run->batch, fill_batch, run);
    ht_check(run->ctx);
    progress_begin((double)(last - step));
    while (step < last && !enough && !interrupted()) {
        if (step % per_epoch == 0) run->epoch = (train_score){0};
        train_step(run, step++);
        run->validated = (train_score){0};
        train_show_step(run);
        saved = step % per_epoch == 0;
        if (saved) end_epoch(run);
        enough = saved && early_stop_now(&stop, train_loss(run->validated));
    }
    progress_end();
    if (step > run->first_step)
        fprintf(command_text(&run->options->common),
                "batches were waited for in %.1f %% of the training's time\n",
                100 * run->waited / (seconds_now() - began));
    if (!saved && run->options->save) train_save(run);
}

static void test_model(train_run *run)
{
    output verdicts, *out = run->options->predict ? &verdicts : NULL;
    if (out) output_open(out, run->ctx, run->options->predict, false);
    ht_check(run->ctx);
    if (out) fputs("index,label,predicted,probability\n", out->file);
    run->tested = evaluate(run, &run->test, NULL, run->n_test, out);
    if (out && !run->tested.images) output_close(out, false);
    if (!run->tested.images) return;
    if (out) output_close(out, true);
    ht_check(run->ctx);
    fprintf(command_text(&run->options->common),
            "test accuracy %.2f %% on %lld images, %.1f seconds\n",
            train_accuracy(run->tested), (long long)run->n_test,
            seconds_now() - run->began);
}

static void free_run(train_run *run)
{
    ht_prefetch_free(run->batches);
    ht_recording_free(run->step);
    ht_recording_free(run->classify);
    ht_optimizer_free(run->optimizer);
    ht_set_free(run->result);
    ht_set_free(run->rows_of);
    ht_set_free(run->file);
    ht_set_free(run->batch);
    ht_set_free(run->gradient);
    ht_set_free(run->theta);
    ht_images_free(&run->train);
    ht_images_free(&run->test);
    free(run->fit);
    ht_context_free(run->ctx);
}

static void show_interrupt(const train_run *run)
{
    const char *save = run->options->save;
    fprintf(stderr, "%s: stopped after step %lld%s%s\n", run->task->name,
            (long long)ht_optimizer_steps(run->optimizer),
            save                     ? "; --resume goes on from "
            : run->options->evaluate ? ", before the end of the test"
                                     : "; nothing was saved",
            save ? save : "");
}

/* The first files that could not be written in the end are refused at the beginning. */
static void check_outputs(const train_run *run)
{
    const train_options *options = run->options;
    output_check(run->ctx, "save", options->save);
    output_check(run->ctx, "csv", options->csv);
    output_check(run->ctx, "predict", options->predict);
    output_check(run->ctx, "json", options->common.json);
    ht_check(run->ctx);
}

/* The exit status. */
static int train(train_run *run)
{
    const train_options *options = run->options;
    check_outputs(run);
    read_data(run);
    make_model(run);
    if (options->resume) train_resume(run);
    if (options->csv) train_log_begin(run);
    train_show_start(run);
    interrupt_watch();
    if (!options->evaluate) train_epochs(run);
    if (!interrupted()) test_model(run);
    bool stopped = !run->tested.images;
    if (stopped) show_interrupt(run);
    if (options->common.json) train_write_json(run);
    return !command_printed(run->task->name) ? 1 : stopped ? 130 : 0;
}

int train_main(int argc, char **argv, const train_task *task)
{
    int status = 0;
    train_options options = task->defaults;
    if (!train_parse(&options, task, argc, argv, &status)) return status;
    if (options.resume) {
        train_peek(&options, task);
        train_parse(&options, task, argc, argv, &status);
    }
    train_run run = {.task = task, .options = &options, .began = seconds_now()};
    run.ctx = ht_context_new(&(ht_context_options){.seed = options.common.seed,
                                                   .threads = options.common.threads});
    HT_ASSERT(run.ctx, "no memory for a context");
    status = train(&run);
    free_run(&run);
    return status;
}
