/* SPDX-License-Identifier: MIT */
/* own_problem.c: tune a training of your own. A file to copy, with five places to edit.
 *
 *   cc own_problem.c -o own_problem $(pkg-config --cflags --libs hypertape) -lm \
 *       -Wl,-rpath,"$(pkg-config --variable=libdir hypertape)"
 *   ./own_problem FOLDER              pictures by class, as FOLDER/cat/1.jpg
 *   ./own_problem TABLE.csv [COLUMN]  numbers, and a column of classes ("label")
 *
 * Three fifths of the examples are trained on, one fifth chooses what is tuned, and one
 * is asked at the end which of three won: usual numbers, the best of a grid, or the
 * gradient of the validation loss through the training, at the grid's cost. */
#include <hypertape.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 32, HIDDEN = 64, BATCH = 32, STEPS = 100, OUTER_STEPS = 12, FEWEST = 20 };
enum { TRAIN, VALIDATION, TEST, PARTS };
static ht_context *ctx;
static ht_images images;
static ht_table table;
static ht_tensor *x, *label; /* all examples: f32 (n, ...), and i32 (n) below classes */
static int classes;
static ht_set *part[PARTS], *batch, *theta, *eta;

/* Edit 1 of 5, the data: x, label and classes. What is wrong with files, readers say. */
static void read_data(const char *path, const char *column)
{
    if (strstr(path, ".csv")) {
        ht_csv_read(ctx, path, &(ht_csv_options){.label = column}, &table);
        x = table.x, label = table.labels, classes = table.classes;
        return;
    }
    const ht_image_options size = {SIDE, SIDE, .crop = true, .alpha = HT_ALPHA_WHITE};
    ht_folder_read(ctx, path, &(ht_folder_options){.image = size}, &images);
    label = images.labels, classes = images.classes;
    x = ht_tensor_new(ctx, HT_F32, HT_SHAPE(ht_tensor_count(label), 3, SIDE, SIDE));
    ht_images_rows(&images, NULL, 0, ht_tensor_count(label), x, NULL);
}

/* Edit 2 of 5, the network: a number for each class, of pictures or of rows of numbers.
 * input.mean and .deviation are those of the training's, saved with the weights. */
static void network_init(ht_shape in)
{
    bool pictures = in.rank == 4;
    if (pictures) ht_conv2d_init(theta, "conv", HT_F32, HT_SHAPE(8, in.dim[1], 5, 5));
    ht_linear_init(theta, "hidden", HT_F32, pictures ? SIDE * SIDE / 2 : in.dim[1],
                   HIDDEN);
    ht_linear_init(theta, "out", HT_F32, HIDDEN, classes);
    for (int i = 0; i < 2; i++)
        ht_set_add(theta, i ? "input.deviation" : "input.mean", HT_F32,
                   HT_SHAPE(pictures ? 1 : in.dim[1]));
}

static ht_var network(const ht_vars *weights, ht_var in)
{
    ht_var h = ht_div(ht_sub(in, ht_get(weights, "input.mean")),
                      ht_get(weights, "input.deviation"));
    if (ht_var_shape(in).rank == 4) {
        const ht_conv_options half = {.stride = {2, 2}, .padding = {2, 2}};
        h = ht_relu(ht_conv2d_layer(h, weights, "conv", half));
        h = ht_max_pool2d(h, (ht_pool_options){.kernel = {2, 2}});
        h = ht_reshape(h, HT_SHAPE(ht_var_shape(in).dim[0], -1));
    }
    return ht_linear(ht_relu(ht_linear(h, weights, "hidden")), weights, "out");
}

/* Edit 3 of 5, the losses: what training descends, and what is wanted of it. */
static ht_var trained(const ht_vars *weights, const ht_vars *outer, const ht_vars *rows,
                      void *user)
{
    ht_var z = network(weights, ht_get(rows, "x")), y = ht_get(rows, "label");
    return ht_mean(ht_cross_entropy_smoothed(z, y, ht_get(outer, "smoothing")));
}

static ht_var wanted(const ht_vars *weights, const ht_vars *outer, const ht_vars *rows,
                     void *user)
{
    ht_var z = network(weights, ht_get(rows, "x"));
    return ht_mean(ht_cross_entropy(z, ht_get(rows, "label")));
}

/* Edit 4 of 5, what is tuned: eta, and the usual numbers it begins at. The rate is one
 * for each tensor of theta, in its order, which a grid cannot have; HT_SHAPE(STEPS) makes
 * it one a step, HT_SCALAR one. What is positive moves as its logarithm, a part of
 * something as its logit. */
static const ht_coordinate tuned[] = {
    {"rate", HT_LOG, 0, 0}, {"decay", HT_LOG, 0, 0}, {"smoothing", HT_SIGMOID, 0, 0.5}};
enum { TUNED = sizeof tuned / sizeof *tuned };
static const double usual[TUNED] = {0.01, 1e-4, 0.01};

static void eta_init(void)
{
    ht_set_add(eta, "rate", HT_F64, HT_SHAPE(ht_set_count(theta)));
    ht_set_add(eta, "decay", HT_F64, HT_SCALAR);
    ht_set_add(eta, "smoothing", HT_F32, HT_SCALAR);
}

static void eta_set(const double *value)
{
    for (int i = 0; i < TUNED; i++) {
        ht_tensor_fill(ht_set_at(eta, i), value[i]);
        ht_coordinate_from_value(&tuned[i], ht_set_at(eta, i));
    }
}

static ht_update update_of_theta(void)
{
    static const ht_update_group fixed = {"input.*", NULL};
    ht_update update = HT_MOMENTUM(1, 0.9);
    update.rate = HT_OUTER("rate");
    update.decay = HT_OUTER("decay");
    update.groups = &fixed, update.n_groups = 1;
    return update;
}

/* Edit 5 of 5, the outer run. A gradient counts as three trainings of the grid. */
static bool each(const ht_outer_step *step, void *user)
{
    fprintf(stderr, "outer step %2d of %d: validation loss %.4f\n", (int)step->step + 1,
            OUTER_STEPS, step->result.outer);
    return true;
}

static void learn(ht_bilevel *training)
{
    ht_update adam = HT_ADAM(0.2); /* a step moves a rate by a factor of about exp(0.2) */
    adam.beta2 = HT_FIXED(0.9);
    eta_set(usual);
    ht_bilevel_minimize(training, &(ht_outer_options){.update = adam,
                                                      .steps = OUTER_STEPS,
                                                      .each = each,
                                                      .keep_best = true});
}

static void grid(ht_bilevel *training)
{
    double least = INFINITY, best[TUNED] = {usual[0], usual[1], usual[2]};
    for (int i = 0; i < 3 * OUTER_STEPS; i++) {
        double at[TUNED] = {0.0025 * pow(4, i % 4), 1e-4 * pow(10, i / 4 % 3),
                            0.01 * pow(3, i / 12 % 3)};
        eta_set(at);
        double found = ht_bilevel_evaluate(training, 0).outer;
        fprintf(stderr, "grid %2d of %d: validation loss %.4f\n", i + 1, 3 * OUTER_STEPS,
                found);
        if (found < least) memcpy(best, at, sizeof best);
        least = fmin(found, least);
    }
    eta_set(best);
}

/* Below it is the same for every problem. */
static ht_status next_batch(uint64_t step, ht_set *to, void *user)
{
    int64_t rows[BATCH], n = ht_tensor_count(ht_set_at(to, 1));
    ht_batch_order(1, step, ht_tensor_count(ht_set_at(part[TRAIN], 1)), n, rows);
    ht_rows(ht_set_at(to, 0), ht_set_at(part[TRAIN], 0), rows, 0, n);
    return ht_rows(ht_set_at(to, 1), ht_set_at(part[TRAIN], 1), rows, 0, n);
}

static ht_set *take(const int64_t *rows, int64_t n)
{
    ht_set *set = ht_set_new(ctx);
    ht_shape shape = ht_tensor_shape(x);
    shape.dim[0] = n;
    ht_rows(ht_set_add(set, "x", HT_F32, shape), x, rows, 0, n);
    ht_rows(ht_set_add(set, "label", HT_I32, HT_SHAPE(n)), label, rows, 0, n);
    return set;
}

static void divide(int64_t n)
{
    int64_t fifth = n / 5, sizes[PARTS] = {n - 2 * fifth, fifth, fifth};
    int64_t *all = malloc((size_t)n * sizeof *all);
    int64_t *rows[PARTS] = {all, all + sizes[TRAIN], all + n - fifth};
    if (n < FEWEST || classes < 2)
        ht_context_fail(
            ctx, HT_ERROR_ARGUMENT, HT_HERE,
            "expected %d examples or more of 2 classes or more, found %d of %d", FEWEST,
            (int)n, classes);
    ht_split(ctx, 1, n, PARTS, sizes, rows);
    for (int p = 0; p < PARTS; p++) part[p] = take(rows[p], sizes[p]);
    batch = take(all, sizes[TRAIN] < BATCH ? sizes[TRAIN] : BATCH);
    free(all);
    printf("%d examples of %d classes: %d to train on, %d to choose by, %d to test\n",
           (int)n, classes, (int)sizes[TRAIN], (int)fifth, (int)fifth);
}

/* Of each column of a table; of all pixels together. */
static void measure_inputs(void)
{
    ht_tensor *mean = ht_set_tensor(theta, "input.mean");
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_var in = ht_reshape(ht_input(tape, ht_set_at(part[TRAIN], 0)),
                           HT_SHAPE(-1, ht_tensor_count(mean)));
    ht_var m = ht_mean_axes(in, HT_AXES(0), false);
    ht_var d = ht_sqrt(ht_variance_axes(in, HT_AXES(0), false, 0));
    ht_tensor_copy(mean, ht_value(m));
    ht_tensor_copy(ht_set_tensor(theta, "input.deviation"),
                   ht_value(ht_where(ht_greater(d, 0), d, 1)));
    ht_tape_free(tape);
}

/* One training: its loss on validation, and on each row of the test part. */
typedef struct outcome {
    const char *name;
    double validation;
    ht_tensor *losses;
    ht_set *weights, *eta;
} outcome;

static outcome judge(const char *name, ht_bilevel *training)
{
    const ht_tensor *y = ht_set_tensor(part[TEST], "label");
    ht_bilevel_result run = ht_bilevel_evaluate(training, 0);
    outcome o = {name, run.outer, ht_tensor_new(ctx, HT_F32, ht_tensor_shape(y)),
                 ht_set_clone(run.theta, 0), ht_set_clone(eta, 0)};
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_vars *rows = ht_vars_input(tape, part[TEST], 0);
    ht_var z = network(ht_vars_input(tape, o.weights, 0), ht_get(rows, "x"));
    ht_var losses = ht_cross_entropy(z, ht_get(rows, "label"));
    ht_tensor_copy(o.losses, ht_value(losses));
    for (int i = 0; i < TUNED; i++)
        ht_coordinate_to_value(&tuned[i], ht_set_at(o.eta, i));
    printf("%-8s %15.4f %10.4f %7.1f %%\n", name, o.validation, ht_item(ht_mean(losses)),
           100 * ht_accuracy(ht_value(z), y));
    ht_tape_free(tape);
    return o;
}

/* Row by row, so that what is hard for both is no noise. */
static void compare(const outcome *a, const outcome *b)
{
    double sum = 0, squares = 0, n = (double)ht_tensor_count(a->losses);
    for (int64_t i = 0; i < (int64_t)n; i++) {
        double d = ht_tensor_get(b->losses, i) - ht_tensor_get(a->losses, i);
        sum += d, squares += d * d;
    }
    double mean = sum / n, error = sqrt(fmax(squares / n - mean * mean, 0) / (n - 1));
    const char *who = mean > 2 * error    ? a->name
                      : mean < -2 * error ? b->name
                                          : "neither";
    printf("%s against %s: %s wins: test losses differ by %.4f (+- %.4f)\n", a->name,
           b->name, who, fabs(mean), error);
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3)
        return fprintf(stderr, "usage: %s FOLDER | TABLE.csv [COLUMN]\n", argv[0]), 2;
    ctx = ht_context_new(&(ht_context_options){.on_error = ht_print_and_exit});
    read_data(argv[1], argc > 2 ? argv[2] : "label");
    divide(ht_tensor_count(label));
    theta = ht_set_new(ctx), eta = ht_set_new(ctx);
    network_init(ht_tensor_shape(x));
    measure_inputs();
    eta_init();
    eta_set(usual);
    ht_bilevel *training =
        ht_bilevel_new(ctx,
                       &(ht_bilevel_problem){
                           trained, wanted, .theta = theta, .eta = eta,
                           .inner_data = batch, .inner_batch = next_batch,
                           .outer_data = part[VALIDATION], .update = update_of_theta(),
                           .steps = STEPS, .coordinates = tuned, .n_coordinates = TUNED},
                       NULL);
    printf("%24s %10s %9s\n", "validation loss", "test loss", "right");
    outcome plain = judge("usual", training);
    if (!isfinite(plain.validation))
        ht_context_fail(ctx, HT_ERROR_ARGUMENT, HT_HERE,
                        "the training diverges where the search begins\n  hint: a lower "
                        "rate among the usual numbers");
    grid(training);
    outcome searched = judge("grid", training);
    learn(training);
    outcome learned = judge("gradient", training);
    compare(&learned, &plain);
    compare(&learned, &searched);
    const outcome *best = searched.validation < plain.validation ? &searched : &plain;
    if (learned.validation < best->validation) best = &learned;
    for (int i = 0; i < TUNED; i++) ht_tensor_print(ht_set_at(best->eta, i), stdout);
    ht_set_write(best->weights, "own_weights.safetensors");
    ht_set_write(best->eta, "own_tuned.safetensors");
    printf("saved own_weights.safetensors and own_tuned.safetensors: %s, of the lowest "
           "validation loss\n",
           best->name);
}
