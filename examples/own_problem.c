/* SPDX-License-Identifier: MIT */
/* own_problem.c: tune a training of your own. A file to copy, with five places to edit.
 *
 *   cc own_problem.c -o own_problem $(pkg-config --cflags --libs hypertape) -lm \
 *       -Wl,-rpath,"$(pkg-config --variable=libdir hypertape)"
 *   ./own_problem FOLDER               pictures by class, as FOLDER/cat/1.jpg
 *   ./own_problem TABLE.csv            numbers, and a column of classes, "label"
 *   ./own_problem --predict own PICTURE.jpg ...    what they are, or the rows of tables
 *     --label COLUMN  --ignore COLUMN  --delimiter ';'     of a table
 *     --out DIR       "own": weights.safetensors, with the names of classes in it;
 *                     tuned.safetensors; misread.csv, of the test part
 *
 * Three fifths of the examples are trained on, one fifth chooses what is tuned, and one
 * is asked at the end which of three won: usual numbers, the best of a grid, or the
 * gradient of the validation loss through the training, at the grid's cost. Ctrl-C ends
 * the search, and what is best so far is saved. */
#include <errno.h>
#include <hypertape.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIDE = 32, HIDDEN = 64, BATCH = 32, STEPS = 100, OUTER_STEPS = 12, PATH = 4096 };
enum { TRAIN, VALIDATION, TEST, PARTS, OF_FIVE = 5, MOST_IGNORED = 32 };
static const ht_image_options size = {SIDE, SIDE, .crop = true, .alpha = HT_ALPHA_WHITE};
static const char *ignored[MOST_IGNORED + 1];
static ht_csv_options csv = {.label = "label", .ignore = ignored};
static ht_context *ctx;
static ht_images images;
static ht_table table;
static ht_tensor *x, *label; /* all examples: f32 (n, ...), and i32 (n) below classes */
static int classes;
static char **class_names;
static int64_t *rows_of[PARTS], size_of[PARTS];
static ht_set *part[PARTS], *batch, *theta, *eta;
static volatile sig_atomic_t interrupted;

static bool is_table(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 ? !S_ISDIR(about.st_mode) : !!strstr(path, ".csv");
}

/* Edit 1 of 5, the data: x, label and classes. What is wrong with files, readers say. */
static void read_data(const char *path)
{
    if (is_table(path)) {
        ht_csv_read(ctx, path, &csv, &table);
        x = table.x, label = table.labels;
        classes = table.classes, class_names = table.class_names;
        printf("%d numbers a row go in:", table.n_columns);
        for (int i = 0; i < table.n_columns; i++) printf(" %s", table.column_names[i]);
        printf("\n");
        return;
    }
    ht_folder_read(ctx, path, &(ht_folder_options){.image = size}, &images);
    label = images.labels, classes = images.classes, class_names = images.class_names;
    x = ht_tensor_new(ctx, HT_F32, HT_SHAPE(ht_tensor_count(label), 3, SIDE, SIDE));
    ht_images_rows(&images, NULL, 0, ht_tensor_count(label), x, NULL);
}

/* The same of what has no label, to be predicted: a table's rows, or a picture. */
static ht_tensor *read_unknown(const char *path, bool pictures, const ht_table *like)
{
    ht_table rows;
    csv.label = NULL, csv.like = like;
    if (!pictures) ht_csv_read(ctx, path, &csv, &rows);
    if (!pictures) return rows.x;
    ht_tensor *row = ht_tensor_new(ctx, HT_F32, HT_SHAPE(1, 3, SIDE, SIDE));
    ht_image_row(ht_image_read(ctx, path, &size), row, 0);
    return row;
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
    if (step->result.note) fprintf(stderr, "  note: %s\n", step->result.note);
    if (step->why) fprintf(stderr, "  refused: %s\n", step->why);
    return !interrupted;
}

static void learn(ht_bilevel *training)
{
    ht_update adam = HT_ADAM(0.2); /* a step moves a rate by a factor of about exp(0.2) */
    adam.beta2 = HT_FIXED(0.9);
    eta_set(usual);
    ht_outer_result r = ht_bilevel_minimize(
        training,
        &(ht_outer_options){
            .update = adam, .steps = OUTER_STEPS, .each = each, .keep_best = true});
    if (r.end != HT_OUTER_STEPS) printf("gradient: it ended early: %s\n", r.why);
    if (r.best_step <= 0) printf("gradient: no step was better than the start\n");
}

static void grid(ht_bilevel *training)
{
    double least = INFINITY, best[TUNED] = {usual[0], usual[1], usual[2]};
    for (int i = 0; i < 3 * OUTER_STEPS && !interrupted; i++) {
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
static void refuse(const char *what, const char *hint)
{
    ht_context_fail(ctx, HT_ERROR_ARGUMENT, HT_HERE, "%s\n  hint: %s", what, hint);
}

static ht_status next_batch(uint64_t step, ht_set *to, void *user)
{
    int64_t rows[BATCH], n = ht_tensor_count(ht_set_at(to, 1));
    ht_batch_order(1, step, size_of[TRAIN], n, rows);
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

/* Classes that no row has are none: labels 1 and 5 become 0 and 1, named "1" and "5". */
static void name_classes(int64_t n)
{
    char what[PATH];
    int *of = calloc((size_t)classes + 1, sizeof *of), there = 0;
    int32_t *y = ht_tensor_data(label), *to = calloc((size_t)classes + 1, sizeof *to);
    char **names = calloc((size_t)classes + 1, sizeof *names);
    for (int64_t i = 0; i < n; i++) of[y[i]]++;
    for (int k = 0; k < classes; k++) {
        if (of[k] == 0) continue;
        to[k] = there;
        names[there] = class_names ? class_names[k] : calloc(1, 16);
        if (!class_names) snprintf(names[there], 16, "%d", k);
        snprintf(what, sizeof what,
                 "expected %d examples or more of each class, found %d of \"%s\"",
                 OF_FIVE, of[k], names[there++]);
        if (of[k] < OF_FIVE)
            refuse(what,
                   "each class is to be in all three parts; leave it out, or find more");
    }
    if (there < 2)
        refuse("expected 2 classes or more, found one", "what is to be told apart?");
    for (int64_t i = 0; i < n; i++) y[i] = to[y[i]];
    classes = there, class_names = names;
    free(of), free(to);
}

/* Each class by itself: the first three of five, the fourth and the fifth, at random. */
static void divide(int64_t n)
{
    static const int part_of[OF_FIVE] = {TRAIN, VALIDATION, TEST, TRAIN, TRAIN};
    int64_t *order = calloc((size_t)n, sizeof *order), *seen = calloc((size_t)classes, 8);
    ht_split(ctx, 1, n, 1, &n, &order);
    for (int p = 0; p < PARTS; p++) rows_of[p] = calloc((size_t)n, sizeof **rows_of);
    for (int64_t i = 0; i < n; i++) {
        int p = part_of[seen[(int)ht_tensor_get(label, order[i])]++ % OF_FIVE];
        rows_of[p][size_of[p]++] = order[i];
    }
    for (int p = 0; p < PARTS; p++) part[p] = take(rows_of[p], size_of[p]);
    batch = take(rows_of[TRAIN], size_of[TRAIN] < BATCH ? size_of[TRAIN] : BATCH);
    printf("%d examples of %d classes: %d to train on, %d to choose by, %d to test\n",
           (int)n, classes, (int)size_of[TRAIN], (int)size_of[VALIDATION],
           (int)size_of[TEST]);
    free(order), free(seen);
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
    const ht_tensor *losses, *logits; /* on a tape that is kept */
    ht_set *weights, *eta;
} outcome;

static void print_row(const char *name, double validation, double test, double right)
{
    printf("%-8s %15.4f %10.4f %7.1f %%\n", name, validation, test, 100 * right);
}

/* Without looking at what is asked: each class as often as in training. */
static outcome guess(void)
{
    double of[PARTS] = {0}, *n = calloc((size_t)classes, sizeof *n), right = 0;
    ht_tensor *losses = ht_tensor_new(ctx, HT_F32, HT_SHAPE(size_of[TEST]));
    int most = 0;
    for (int64_t i = 0; i < size_of[TRAIN]; i++)
        n[(int)ht_tensor_get(ht_set_at(part[TRAIN], 1), i)]++;
    for (int k = 1; k < classes; k++) most = n[k] > n[most] ? k : most;
    for (int p = VALIDATION; p <= TEST; p++)
        for (int64_t i = 0; i < size_of[p]; i++) {
            int k = (int)ht_tensor_get(ht_set_at(part[p], 1), i);
            double loss = -log(n[k] / (double)size_of[TRAIN]);
            of[p] += loss / (double)size_of[p];
            if (p == TEST) ((float *)ht_tensor_data(losses))[i] = (float)loss;
            if (p == TEST) right += k == most;
        }
    print_row("guessing", of[VALIDATION], of[TEST], right / (double)size_of[TEST]);
    free(n);
    return (outcome){.name = "guessing", .validation = of[VALIDATION], .losses = losses};
}

static outcome judge(const char *name, ht_bilevel *training)
{
    const ht_tensor *y = ht_set_tensor(part[TEST], "label");
    ht_bilevel_result run = ht_bilevel_evaluate(training, 0);
    outcome o = {.name = name,
                 .validation = run.outer,
                 .weights = ht_set_clone(run.theta, 0),
                 .eta = ht_set_clone(eta, 0)};
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_vars *rows = ht_vars_input(tape, part[TEST], 0);
    ht_var z = network(ht_vars_input(tape, o.weights, 0), ht_get(rows, "x"));
    ht_var losses = ht_cross_entropy(z, ht_get(rows, "label"));
    o.losses = ht_value(losses), o.logits = ht_value(z);
    for (int i = 0; i < TUNED; i++)
        ht_coordinate_to_value(&tuned[i], ht_set_at(o.eta, i));
    print_row(name, o.validation, ht_item(ht_mean(losses)), ht_accuracy(ht_value(z), y));
    return o;
}

/* Row by row, so that what is hard for both is no noise. Whether a wins. */
static bool compare(const outcome *a, const outcome *b)
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
    return who == a->name;
}

/* What was tuned; of a rate for each tensor, by its name. */
static void print_tuned(const ht_set *values)
{
    for (int i = 0; i < TUNED; i++) {
        const ht_tensor *t = ht_set_at(values, i);
        bool by_tensor = ht_tensor_count(t) == ht_set_count(theta);
        for (int64_t k = 0; k < ht_tensor_count(t); k++) {
            const char *of = by_tensor ? ht_set_name(theta, (int)k) : "";
            if (strncmp(of, "input.", 6) != 0) /* which is not trained */
                printf("  %s%s%s: %.3g\n", tuned[i].outer, *of ? " of " : "", of,
                       ht_tensor_get(t, k));
        }
    }
}

/* Files. */

static const char *in_folder(const char *folder, const char *name)
{
    static char path[PATH];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void open_folder(const char *out)
{
    char what[PATH];
    bool made = mkdir(out, 0777) == 0 || errno == EEXIST;
    bool usable = made && access(in_folder(out, "."), W_OK | X_OK) == 0;
    snprintf(what, sizeof what, "%s: cannot be written in: %s", out, strerror(errno));
    if (!usable) refuse(what, "it is made, but what it is to stand in has to be there");
    if (access(in_folder(out, "weights.safetensors"), F_OK) == 0)
        printf("what an earlier run left in %s will be replaced\n", out);
}

/* Label by prediction, and the test part's rows that are not what they are taken for. */
static void write_misread(const outcome *best, const char *out)
{
    const ht_tensor *y = ht_set_at(part[TEST], 1);
    ht_tensor *counts = ht_tensor_new(ctx, HT_I32, HT_SHAPE(classes, classes));
    ht_confusion(best->logits, y, counts);
    printf("test part, class by what it is taken for:\n");
    for (int i = 0; i < classes && classes <= 20; i++) {
        for (int k = 0; k < classes; k++)
            printf(" %5.0f", ht_tensor_get(counts, (int64_t)i * classes + k));
        printf("  %s\n", class_names[i]);
    }
    FILE *f = fopen(in_folder(out, "misread.csv"), "w");
    if (!f) refuse("misread.csv cannot be written", strerror(errno));
    fprintf(f, "%s,class,taken_for\n", images.files ? "file" : "row");
    for (int64_t i = 0; i < size_of[TEST]; i++) {
        int is = (int)ht_tensor_get(y, i), taken = 0;
        for (int k = 1; k < classes; k++)
            if (ht_tensor_get(best->logits, i * classes + k) >
                ht_tensor_get(best->logits, i * classes + taken))
                taken = k;
        if (is == taken) continue;
        int64_t row = rows_of[TEST][i];
        if (images.files) fprintf(f, "\"%s\"", images.files[row]);
        if (!images.files) fprintf(f, "%lld", (long long)row + 1);
        fprintf(f, ",\"%s\",\"%s\"\n", class_names[is], class_names[taken]);
    }
    fclose(f);
}

/* Names as tensors of bytes, "class.0" and so on, beside the weights. */
static void add_names(ht_set *to, const char *kind, char *const *name, int n)
{
    for (int i = 0; i < n; i++) {
        char at[32];
        int64_t bytes = (int64_t)strlen(name[i]) + 1;
        snprintf(at, sizeof at, "%s.%d", kind, i);
        memcpy(ht_tensor_data(ht_set_add(to, at, HT_U8, HT_SHAPE(bytes))), name[i],
               (size_t)bytes);
    }
}

static char **find_names(const ht_set *in, const char *kind, int *n)
{
    char **name = calloc((size_t)ht_set_count(in) + 1, sizeof *name), at[32];
    for (int i = 0; i < ht_set_count(in); i++) {
        snprintf(at, sizeof at, "%s.%d", kind, *n);
        if (strcmp(ht_set_name(in, i), at) != 0) continue;
        name[(*n)++] = ht_tensor_data(ht_set_at(in, i));
        i = -1;
    }
    return name;
}

static int predict(const char *folder, char **path)
{
    ht_set *weights = ht_set_load(ctx, in_folder(folder, "weights.safetensors"));
    class_names = find_names(weights, "class", &classes);
    table.column_names = find_names(weights, "column", &table.n_columns);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    for (; *path; path++) {
        ht_tensor *unknown = read_unknown(*path, table.n_columns == 0, &table);
        ht_var z = network(ht_vars_input(tape, weights, 0), ht_input(tape, unknown));
        ht_var p = ht_softmax(z), is = ht_argmax(p);
        for (int64_t i = 0; i < ht_tensor_shape(unknown).dim[0]; i++) {
            int k = (int)ht_tensor_get(ht_value(is), i);
            printf("%s", *path);
            if (table.n_columns) printf(":%lld", (long long)i + 1);
            printf(": %s (%.0f %%)\n", k < classes ? class_names[k] : "?",
                   100 * ht_tensor_get(ht_value(p), i * classes + k));
        }
        ht_tape_reset(tape);
        ht_tensor_free(unknown);
    }
    return 0;
}

/* The program. */

static void interrupt(int number)
{
    interrupted = number;
    signal(number, SIG_DFL);
}

static ht_bilevel *training_new(void)
{
    theta = ht_set_new(ctx), eta = ht_set_new(ctx);
    network_init(ht_tensor_shape(x));
    measure_inputs();
    eta_init();
    eta_set(usual);
    return ht_bilevel_new(
        ctx,
        &(ht_bilevel_problem){trained, wanted, .theta = theta, .eta = eta,
                              .inner_data = batch, .inner_batch = next_batch,
                              .outer_data = part[VALIDATION], .update = update_of_theta(),
                              .steps = STEPS, .coordinates = tuned,
                              .n_coordinates = TUNED},
        NULL);
}

static int tune(const char *data, const char *out)
{
    read_data(data);
    name_classes(ht_tensor_count(label));
    divide(ht_tensor_count(label));
    open_folder(out);
    signal(SIGINT, interrupt);
    ht_bilevel *training = training_new();
    printf("%24s %10s %9s\n", "validation loss", "test loss", "right");
    outcome guessed = guess(), plain = judge("usual", training);
    if (!isfinite(plain.validation))
        refuse("the training diverges where the search begins",
               "a lower rate among the usual numbers");
    if (plain.validation >= guessed.validation)
        printf("with the usual numbers it is no better than guessing: is their rate too "
               "high?\n");
    grid(training);
    outcome searched = judge("grid", training);
    learn(training);
    outcome learned = judge("gradient", training);
    compare(&learned, &plain);
    compare(&learned, &searched);
    const outcome *best = searched.validation < plain.validation ? &searched : &plain;
    if (learned.validation < best->validation) best = &learned;
    if (!compare(best, &guessed))
        printf(
            "none is better than guessing for sure: there are too few examples, or what "
            "goes in does not tell\n");
    print_tuned(best->eta);
    write_misread(best, out);
    ht_set_write(best->eta, in_folder(out, "tuned.safetensors"));
    add_names(best->weights, "class", class_names, classes);
    add_names(best->weights, "column", table.column_names, table.n_columns);
    ht_set_write(best->weights, in_folder(out, "weights.safetensors"));
    printf("saved in %s: %s, of the lowest validation loss\n", out, best->name);
    return interrupted ? 130 : 0;
}

static int usage(FILE *to, int status)
{
    fprintf(to,
            "usage: own_problem FOLDER | TABLE.csv [--label COLUMN] [--ignore COLUMN]\n"
            "           [--delimiter C] [--out DIR]\n"
            "       own_problem --predict DIR PICTURE | TABLE.csv ...\n");
    return status;
}

int main(int argc, char **argv)
{
    const char *out = "own", *from = NULL, *delimiter = ",";
    int paths = 0, n_ignored = 0;
    for (int i = 1; i < argc; i++) {
        const char *flag = argv[i];
        const char **to = !strcmp(flag, "--out")         ? &out
                          : !strcmp(flag, "--predict")   ? &from
                          : !strcmp(flag, "--label")     ? &csv.label
                          : !strcmp(flag, "--delimiter") ? &delimiter
                          : !strcmp(flag, "--ignore") && n_ignored < MOST_IGNORED
                              ? &ignored[n_ignored++]
                              : NULL;
        if (!strcmp(flag, "--help")) return usage(stdout, 0);
        if (!strncmp(flag, "--", 2) && (!to || i + 1 == argc)) return usage(stderr, 2);
        if (to) *to = argv[++i];
        if (!to) argv[paths++] = argv[i];
    }
    argv[paths] = NULL;
    if (paths < 1 || (paths > 1 && !from)) return usage(stderr, 2);
    csv.delimiter = !strcmp(delimiter, "\\t") ? '\t' : *delimiter;
    setvbuf(stdout, NULL, _IOLBF, 0);
    ctx = ht_context_new(&(ht_context_options){.on_error = ht_print_and_exit});
    return from ? predict(from, argv) : tune(argv[0], out);
}
