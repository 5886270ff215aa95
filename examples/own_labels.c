/* SPDX-License-Identifier: MIT */
/* own_labels.c: which of your pictures are in a wrong class?
 * A file to copy, with five places to edit.
 *
 *   cc own_labels.c -o own_labels $(pkg-config --cflags --libs hypertape) -lm \
 *       -Wl,-rpath,"$(pkg-config --variable=libdir hypertape)"
 *   ./own_labels FOLDER CLEAN [OUT]
 *
 * FOLDER has pictures by class, as FOLDER/cat/1.jpg, some in a class that is not theirs;
 * CLEAN has others of the same classes, ten of each or more, that are surely right. Each
 * picture of FOLDER gets a weight in training, which goes down the gradient of the loss
 * on half of CLEAN through the whole of it; the other half tells whether that is worth
 * anything. OUT ("suspects") is made, and gets suspects.csv, all pictures, the most
 * distrusted first, and suspects.html, to look at the first of them. Ctrl-C ends the
 * search early. Exit status 3: nothing was gained. */
#include <errno.h>
#include <hypertape.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIDE = 32, HIDDEN = 64, BATCH = 64, EPOCHS = 15, MOST_STEPS = 1000 };
enum { OUTER_STEPS = 40, SHOWN = 60, PATH = 4096 };
enum { LEARN, JUDGE, HALVES };
static ht_context *ctx;
static ht_images images, trusted;
static ht_set *half[HALVES], *batch, *theta, *eta;
static int64_t n_images;

/* Edit 1 of 5, the data. What is wrong with files, readers say. */
static void read_data(const char *folder, const char *clean)
{
    const ht_image_options size = {SIDE, SIDE, .crop = true, .alpha = HT_ALPHA_WHITE};
    ht_folder_read(ctx, folder, &(ht_folder_options){size, NULL}, &images);
    ht_folder_read(ctx, clean, &(ht_folder_options){size, &images}, &trusted);
    n_images = ht_tensor_count(images.labels);
}

/* Edit 2 of 5, the network: a number for each class. */
static void network_init(void)
{
    ht_conv2d_init(theta, "conv", HT_F32, HT_SHAPE(8, 3, 5, 5));
    ht_linear_init(theta, "hidden", HT_F32, SIDE * SIDE / 2, HIDDEN);
    ht_linear_init(theta, "out", HT_F32, HIDDEN, images.classes);
}

static ht_var network(const ht_vars *weights, ht_var in)
{
    const ht_conv_options by_2 = {.stride = {2, 2}, .padding = {2, 2}};
    ht_var h = ht_mul(ht_sub(in, 0.5), 4);
    h = ht_relu(ht_conv2d_layer(h, weights, "conv", by_2));
    h = ht_max_pool2d(h, (ht_pool_options){.kernel = {2, 2}});
    h = ht_reshape(h, HT_SHAPE(ht_var_shape(in).dim[0], -1));
    return ht_linear(ht_relu(ht_linear(h, weights, "hidden")), weights, "out");
}

/* Edit 3 of 5, the losses: training descends a mean by weights; what is wanted of it is a
 * low loss on pictures that are surely right. */
static ht_var losses(const ht_vars *weights, const ht_vars *rows)
{
    return ht_cross_entropy(network(weights, ht_get(rows, "x")), ht_get(rows, "label"));
}

static ht_var trained(const ht_vars *weights, const ht_vars *outer, const ht_vars *rows,
                      void *user)
{
    ht_var w = ht_gather(ht_get(outer, "weight"), ht_get(rows, "row"));
    return ht_div(ht_sum(ht_mul(w, losses(weights, rows))), ht_sum(w));
}

static ht_var wanted(const ht_vars *weights, const ht_vars *outer, const ht_vars *rows,
                     void *user)
{
    return ht_mean(losses(weights, rows));
}

/* Edit 4 of 5, what is learned, a weight in 0 .. 1 for each picture, all alike at first;
 * and by what rule the network is trained, of which too high a rate says nothing. */
static const ht_coordinate learned = {"weight", HT_SIGMOID, 0, 1};

static void eta_init(void)
{
    ht_tensor *weight = ht_set_add(eta, "weight", HT_F32, HT_SHAPE(n_images));
    ht_tensor_fill(weight, 0.5);
    ht_coordinate_from_value(&learned, weight);
}

static ht_update update_of_theta(void)
{
    ht_update update = HT_MOMENTUM(0.01, 0.9);
    update.decay = HT_FIXED(1e-3);
    return update;
}

/* Edit 5 of 5, the outer run. */
static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    interrupted = number;
    signal(number, SIG_DFL);
}

static bool each(const ht_outer_step *step, void *user)
{
    fprintf(stderr, "outer step %2d of %d: loss %.4f learned from, %.4f held back\n",
            (int)step->step + 1, OUTER_STEPS, step->result.outer, step->validation);
    if (step->result.note) fprintf(stderr, "  note: %s\n", step->result.note);
    if (step->why) fprintf(stderr, "  %s\n", step->why);
    return !interrupted;
}

/* Losses (n) of the half that is held back, to `to` unless it is NULL; their mean. */
static double judge(const ht_set *weights, ht_tensor *to)
{
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_vars *rows = ht_vars_input(tape, half[JUDGE], 0);
    ht_var each_one = losses(ht_vars_input(tape, weights, 0), rows);
    double mean = ht_item(ht_mean(each_one));
    if (to) ht_tensor_copy(to, ht_value(each_one));
    ht_tape_free(tape);
    return mean;
}

static double validate(const ht_outer_step *step, void *user)
{
    return judge(step->result.theta, NULL);
}

/* Not Adam: what says most is how much larger the gradient is of a wrong label. The first
 * one's size gives the rate, so that a step moves a weight's logit by about 0.2. */
static ht_outer_result learn(ht_bilevel *training)
{
    const ht_set *first = ht_bilevel_run(training, 0).gradient;
    double squares = 0;
    for (int64_t i = 0; first && i < n_images; i++)
        squares += pow(ht_tensor_get(ht_set_at(first, 0), i), 2);
    double size = sqrt(squares / (double)n_images);
    double rate = size > 0 && isfinite(size) ? 0.2 / size : 1;
    return ht_bilevel_minimize(training,
                               &(ht_outer_options){.update = HT_MOMENTUM(rate, 0.5),
                                                   .steps = OUTER_STEPS,
                                                   .each = each,
                                                   .validate = validate,
                                                   .keep_best = true});
}

/* Below it is the same for every problem. */
static ht_set *rows_new(const int64_t *rows, int64_t n)
{
    ht_set *set = ht_set_new(ctx);
    ht_tensor *x = ht_set_add(set, "x", HT_F32, HT_SHAPE(n, 3, SIDE, SIDE));
    ht_images_rows(&trusted, rows, 0, n, x,
                   ht_set_add(set, "label", HT_I32, HT_SHAPE(n)));
    return set;
}

static ht_status next_batch(uint64_t step, ht_set *to, void *user)
{
    int64_t rows[BATCH], n = ht_tensor_count(ht_set_at(to, 1));
    int32_t *row = ht_tensor_data(ht_set_at(to, 2));
    ht_batch_order(1, step, n_images, n, rows);
    for (int64_t i = 0; i < n; i++) row[i] = (int32_t)rows[i];
    return ht_images_rows(&images, rows, 0, n, ht_set_at(to, 0), ht_set_at(to, 1));
}

/* Halves of what is trusted, which stands by class: every second one. */
static void divide(void)
{
    int64_t n = ht_tensor_count(trusted.labels),
            size = n_images < BATCH ? n_images : BATCH;
    int64_t *rows = calloc((size_t)n, sizeof *rows);
    for (int64_t k = 0, i = 0, of_class; k < images.classes; k++, i += of_class) {
        for (of_class = 0; i + of_class < n; of_class++)
            if (ht_tensor_get(trusted.labels, i + of_class) > (double)k) break;
        if (of_class < 4)
            ht_context_fail(
                ctx, HT_ERROR_ARGUMENT, HT_HERE,
                "expected 4 trusted pictures or more of each class, found %d of "
                "\"%s\"\n  hint: half of them are learned from, ten are better",
                (int)of_class, images.class_names[k]);
    }
    for (int64_t h = 0; h < HALVES; h++) {
        for (int64_t i = 0; 2 * i + h < n; i++) rows[i] = 2 * i + h;
        half[h] = rows_new(rows, (n + 1 - h) / 2);
    }
    batch = ht_set_new(ctx);
    ht_set_add(batch, "x", HT_F32, HT_SHAPE(size, 3, SIDE, SIDE));
    ht_set_add(batch, "label", HT_I32, HT_SHAPE(size));
    ht_set_add(batch, "row", HT_I32, HT_SHAPE(size));
    free(rows);
}

static ht_bilevel *training_new(void)
{
    int64_t steps = EPOCHS * n_images / BATCH + 1;
    theta = ht_set_new(ctx), eta = ht_set_new(ctx);
    network_init();
    eta_init();
    return ht_bilevel_new(
        ctx,
        &(ht_bilevel_problem){trained, wanted, .theta = theta, .eta = eta,
                              .inner_data = batch, .inner_batch = next_batch,
                              .outer_data = half[LEARN], .update = update_of_theta(),
                              .steps = steps < MOST_STEPS ? steps : MOST_STEPS,
                              .coordinates = &learned, .n_coordinates = 1},
        &(ht_bilevel_options){.bytes = (size_t)1 << 30});
}

/* Row by row of what was held back, so that what is hard for both is no noise. */
static bool gained(const ht_tensor *alike, const ht_tensor *weighted, char verdict[512])
{
    double sum = 0, squares = 0, before = 0, n = (double)ht_tensor_count(alike);
    for (int64_t i = 0; i < (int64_t)n; i++) {
        double d = ht_tensor_get(alike, i) - ht_tensor_get(weighted, i);
        before += ht_tensor_get(alike, i) / n, sum += d, squares += d * d;
    }
    double mean = sum / n, error = sqrt(fmax(squares / n - mean * mean, 0) / (n - 1));
    snprintf(verdict, 512,
             "%s: of %.0f trusted pictures held back the loss is %.4f with weights all "
             "alike and %.4f with those learned, %.4f less (+- %.4f).%s",
             mean > 2 * error ? "Something was gained" : "Nothing was gained", n, before,
             before - mean, mean, error,
             mean > 2 * error ? ""
                              : " What is suspected means little then. More trusted "
                                "pictures may help, or a network that fits them better.");
    return mean > 2 * error;
}

/* What the network takes each picture of FOLDER for, (n). */
static void guess(const ht_set *weights, int *to)
{
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    for (int64_t first = 0, n; first < n_images; first += n) {
        n = n_images - first < BATCH ? n_images - first : BATCH;
        ht_tensor *x = ht_tensor_new(ctx, HT_F32, HT_SHAPE(n, 3, SIDE, SIDE));
        ht_images_rows(&images, NULL, first, n, x, NULL);
        ht_var z = network(ht_vars_input(tape, weights, 0), ht_input(tape, x));
        ht_var class = ht_argmax(z);
        for (int64_t i = 0; i < n; i++)
            to[first + i] = (int)ht_tensor_get(ht_value(class), i);
        ht_tape_reset(tape);
        ht_tensor_free(x);
    }
    ht_tape_free(tape);
}

/* A file of the folder, as it was until it is emptied. */
static FILE *open_file(const char *folder, const char *name)
{
    char path[PATH];
    bool made = mkdir(folder, 0777) == 0 || errno == EEXIST;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = made ? fopen(path, "a") : NULL;
    if (!file)
        ht_context_fail(
            ctx, HT_ERROR_FILE, HT_HERE,
            "%s: cannot be written: %s\n  hint: OUT is made, but what it is to "
            "stand in must be there, and you must be allowed to write in it",
            path, strerror(errno));
    return file;
}

/* As it has to stand in 'c'SV, in 'h'TML and in an 'a'ddress there. */
static void put(FILE *f, const char *before, const char *text, int kind)
{
    fputs(before, f);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (kind == 'a' && (*c <= ' ' || *c > '~' || strchr("\"'<>&%#?", *c)))
            fprintf(f, "%%%02x", *c);
        else if (kind == 'h' && strchr("\"'<>&", *c))
            fprintf(f, "&#%d;", *c);
        else
            fprintf(f, kind == 'c' && *c == '"' ? "\"%c" : "%c", *c);
}

static const ht_tensor *weight;
static const char page_head[] =
    "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    "<title>Suspects</title><style>body{font:16px sans-serif;margin:1em}figure{display:"
    "inline-block;width:10em;margin:.4em;vertical-align:top;overflow-wrap:anywhere}img{"
    "width:10em;height:10em;object-fit:contain;background:#ddd}</style><h1>Suspects</"
    "h1><p>";

static int by_weight(const void *a, const void *b)
{
    int i = *(const int *)a, j = *(const int *)b;
    double x = ht_tensor_get(weight, i), y = ht_tensor_get(weight, j);
    return x != y ? (x > y) - (x < y) : (i > j) - (i < j);
}

/* A row of the table and, as far as it goes, a picture of the page, from where it is. */
static void tell(FILE *table, FILE *page, const char *root, int i, int taken_for)
{
    double distrust = 1 - ht_tensor_get(weight, i);
    const char *file = images.files[i], *taken = images.class_names[taken_for],
               *class = images.class_names[(int)ht_tensor_get(images.labels, i)];
    put(table, "\"", file, 'c');
    put(table, "\",\"", class, 'c');
    put(table, "\",\"", taken, 'c');
    fprintf(table, "\",%.6f\n", distrust);
    if (!page) return;
    put(page, "\n<figure><img alt='' src='", root, 'a');
    put(page, "/", file, 'a');
    put(page, "'><figcaption>", file, 'h');
    put(page, "<br>is in <b>", class, 'h');
    put(page, "</b>, taken for <b>", taken, 'h');
    fprintf(page, "</b><br>distrust %.2f</figcaption></figure>", distrust);
}

static void tell_all(const char *folder, FILE *table, FILE *page, const char *verdict,
                     const int *taken_for)
{
    char root[PATH] = "";
    int *order = malloc((size_t)n_images * sizeof *order), fallen = 0;
    if (*folder != '/' && getcwd(root, sizeof root - strlen(folder) - 1))
        strcat(root, "/");
    strcat(root, folder);
    for (int i = 0; i < n_images; i++)
        order[i] = i, fallen += ht_tensor_get(weight, i) < 0.25;
    qsort(order, (size_t)n_images, sizeof *order, by_weight);
    if (ftruncate(fileno(table), 0) || ftruncate(fileno(page), 0)) return;
    fputs("file,class,taken_for,distrust\n", table);
    put(page, page_head, verdict, 'h');
    for (int k = 0; k < n_images; k++)
        tell(table, k < SHOWN ? page : NULL, root, order[k], taken_for[order[k]]);
    printf("%d of %d pictures lost half of their weight or more; first of all %s\n",
           fallen, (int)n_images, images.files[order[0]]);
    free(order);
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 4 || argv[1][0] == '-')
        return fprintf(stderr, "usage: %s FOLDER CLEAN [OUT]\n", argv[0]), 2;
    char verdict[512];
    const char *out = argc > 3 ? argv[3] : "suspects";
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGINT, interrupt);
    ctx = ht_context_new(&(ht_context_options){.on_error = ht_print_and_exit});
    read_data(argv[1], argv[2]);
    divide();
    FILE *table = open_file(out, "suspects.csv"), *page = open_file(out, "suspects.html");
    ht_bilevel *training = training_new();
    ht_tensor *alike =
        ht_tensor_new(ctx, HT_F32, ht_tensor_shape(ht_set_at(half[JUDGE], 1)));
    ht_tensor *weighted = ht_tensor_new(ctx, HT_F32, ht_tensor_shape(alike));
    judge(ht_bilevel_evaluate(training, 0).theta, alike);
    ht_outer_result result = learn(training);
    ht_bilevel_result best = ht_bilevel_evaluate(training, 0);
    judge(best.theta, weighted);
    printf("%s; the best is step %d\n", result.why, (int)result.best_step + 1);
    bool yes = gained(alike, weighted, verdict);
    puts(verdict);
    int *taken_for = malloc((size_t)n_images * sizeof *taken_for);
    guess(best.theta, taken_for);
    weight = ht_set_at(eta, 0);
    ht_coordinate_to_value(&learned, ht_set_at(eta, 0));
    tell_all(argv[1], table, page, verdict, taken_for);
    if (fclose(table) | fclose(page))
        return fprintf(stderr, "%s: what is suspected cannot be written\n", out), 1;
    printf("%s/suspects.csv has all of them, %s/suspects.html the first %d to look at\n",
           out, out, SHOWN);
    return interrupted ? 130 : yes ? 0 : 3;
}
