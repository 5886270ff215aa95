/* SPDX-License-Identifier: MIT */
/* figures.c: the drawings of the course, computed by the library, as SVG for a slide.
 *
 *     figures DIR
 *
 *   sweep.svg        y = x x e^x: values forward, cotangents backward       lesson 2
 *   differences.svg  the error of a difference quotient by its h            lesson 3
 *   rate.svg         a loss after training by the rate, and hypergradients  lesson 10
 *   memory.svg       states kept against steps run                          lesson 11
 *   steps.svg        the derivative by each step's own rate                 lesson 10
 */
#include <math.h>
#include <sys/stat.h>

#include "common.h"

static ht_context *ctx;
static const char *folder;

static const char *in_folder(const char *name)
{
    static char path[OUTPUT_PATH];
    path_join(ctx, path, folder, name);
    return path;
}

/* The tape of lesson 2, drawn from the nodes' own values and derivatives. */
typedef struct drawn {
    const char *op;
    int from[3]; /* of which nodes; -1 after the last */
    ht_var var, cotangent;
} drawn;

static void draw_edge(FILE *f, int a, int b)
{
    int x = 110 + 200 * a, to = 110 + 200 * b, high = b - a > 1 ? 70 * (b - a) : 0;
    if (high)
        fprintf(f, "<path class=\"s0\" d=\"M%d 190Q%d %d %d 190\"/>\n", x + 34,
                (x + to) / 2, 190 - high, to - 34);
    else
        fprintf(f, "<path class=\"s0\" d=\"M%d 215H%d\"/>\n", x + 62, to - 62);
}

static void draw_node(FILE *f, int i, const drawn *d)
{
    int x = 110 + 200 * i;
    fprintf(f,
            "<rect x=\"%d\" y=\"190\" width=\"120\" height=\"52\" rx=\"8\" "
            "class=\"node\"/><text class=\"name\" x=\"%d\" y=\"211\">%d: %s</text>\n"
            "<text x=\"%d\" y=\"231\">%.4f</text>\n"
            "<text class=\"back\" x=\"%d\" y=\"266\">dy/d(%d) = %.4f</text>\n",
            x - 60, x, i, d->op, x, ht_item(d->var), x, i, ht_item(d->cotangent));
}

static void sweep(void)
{
    output out;
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *number = ht_tensor_new(ctx, HT_F64, HT_SCALAR);
    ht_tensor_fill(number, 1.5);
    drawn d[4] = {
        {"x", {-1}}, {"mul", {0, 0, -1}}, {"exp", {0, -1}}, {"mul", {1, 2, -1}}};
    d[0].var = ht_input(tape, number);
    d[1].var = ht_mul(d[0].var, d[0].var);
    d[2].var = ht_exp(d[0].var);
    d[3].var = ht_mul(d[1].var, d[2].var);
    for (int i = 0; i < 4; i++) ht_grad(d[3].var, 1, &d[i].var, &d[i].cotangent);
    if (!output_open(&out, ctx, in_folder("sweep.svg"), false)) return;
    fprintf(out.file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 60 820 230\" "
            "font-family=\"system-ui,sans-serif\" role=\"img\">\n<title>The tape of "
            "y = x x e^x at 1.5: values forward, cotangents backward</title>\n"
            "<style>%s%stext{text-anchor:middle}svg text,svg .name{font-size:15px}"
            ".paper{fill:var(--paper)}.node{fill:var(--card);stroke:var(--line)}"
            ".back{fill:var(--c1)!important}</style>\n"
            "<rect class=\"paper\" width=\"820\" y=\"60\" height=\"230\"/>\n",
            report_colours, report_drawing);
    fputs("<text class=\"name\" x=\"410\" y=\"84\" font-weight=\"600\">y = x x e^x at "
          "x = 1.5: x is used three times, so its cotangent is a sum of three</text>\n",
          out.file);
    for (int i = 0; i < 4; i++)
        for (int k = 0; d[i].from[k] >= 0; k++) draw_edge(out.file, d[i].from[k], i);
    for (int i = 0; i < 4; i++) draw_node(out.file, i, &d[i]);
    fputs("</svg>\n", out.file);
    output_close(&out, true);
    ht_tape_free(tape);
    ht_tensor_free(number);
}

/* e^x sin x at 1, from the tape. */
static double at(double x, double *slope)
{
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *number = ht_tensor_new(ctx, HT_F64, HT_SCALAR);
    ht_tensor_fill(number, x);
    ht_var in = ht_input(tape, number), y = ht_mul(ht_exp(in), ht_sin(in)), g;
    double value = ht_item(y);
    if (slope) {
        ht_grad(y, 1, &in, &g);
        *slope = ht_item(g);
    }
    ht_tape_free(tape);
    ht_tensor_free(number);
    return value;
}

static void differences(void)
{
    enum { POINTS = 29 };
    double h[POINTS], one[POINTS], central[POINTS], slope;
    at(1, &slope);
    for (int i = 0; i < POINTS; i++) {
        h[i] = pow(2, 2 * i - 57); /* a power of two: 1 + h is exact or 1 */
        if (h[i] < 1e-15) h[i] = pow(2, -50 + 0.01 * i);
        double up = at(1 + h[i], NULL), down = at(1 - h[i], NULL);
        one[i] = fabs((up - at(1, NULL)) / h[i] - slope);
        central[i] = fabs((up - down) / (2 * h[i]) - slope);
    }
    curve_write(ctx, in_folder("differences.svg"),
                &(report_figure){"The error of a difference quotient",
                                 .x = "h, for e^x sin x at 1", .log_x = true,
                                 .log_y = true},
                2,
                (report_series[]){{"(f(x+h) - f(x)) / h", POINTS, h, one},
                                  {"(f(x+h) - f(x-h)) / 2h", POINTS, h, central}});
}

/* A small network and a curve to learn; the rate is the outer variable, by its log. */
static ht_set *theta, *eta, *data, *held;
enum { HIDDEN = 8, ROWS = 24 };

static ht_var loss(const ht_vars *w, const ht_vars *e, const ht_vars *rows, void *user)
{
    (void)e;
    (void)user;
    ht_var guess = ht_linear(ht_tanh(ht_linear(ht_get(rows, "x"), w, "in")), w, "out");
    return ht_mean(ht_square(ht_sub(guess, ht_get(rows, "y"))));
}

static ht_set *points(double shift)
{
    ht_set *rows = ht_set_new(ctx);
    ht_tensor *x = ht_set_add(rows, "x", HT_F64, HT_SHAPE(ROWS, 1));
    ht_tensor *y = ht_set_add(rows, "y", HT_F64, HT_SHAPE(ROWS, 1));
    for (int i = 0; i < ROWS; i++) {
        double u = -2 + 4 * (i + shift) / ROWS;
        ht_tensor_set(x, i, u);
        ht_tensor_set(y, i, sin(2 * u) + 0.3 * u);
    }
    return rows;
}

static ht_bilevel *training(int64_t steps, const ht_bilevel_options *options)
{
    static ht_coordinate logs[] = {{"rate", HT_LOG, 0, 0}};
    return ht_bilevel_new(
        ctx,
        &(ht_bilevel_problem){loss, loss, .theta = theta, .eta = eta, .inner_data = data,
                              .outer_data = held, .steps = steps, .coordinates = logs,
                              .n_coordinates = 1,
                              .update = {&ht_sgd, .rate = HT_OUTER("rate")}},
        options);
}

static void problem(void)
{
    theta = ht_set_new(ctx), eta = ht_set_new(ctx);
    ht_linear_init(theta, "in", HT_F64, 1, HIDDEN);
    ht_linear_init(theta, "out", HT_F64, HIDDEN, 1);
    ht_set_add(eta, "rate", HT_F64, HT_SCALAR);
    data = points(0), held = points(0.5);
}

static double rate(double value)
{
    ht_tensor_fill(ht_set_at(eta, 0), log(value));
    return value;
}

static void rates(void)
{
    enum { POINTS = 400, TANGENTS = 4 };
    double x[POINTS], y[POINTS], tx[TANGENTS][2], ty[TANGENTS][2];
    ht_bilevel *run = training(60, NULL);
    for (int i = 0; i < POINTS; i++) {
        x[i] = rate(0.01 * pow(160, i / (POINTS - 1.0)));
        y[i] = fmin(ht_bilevel_evaluate(run, 0).outer, 1);
    }
    static const char *const names[TANGENTS] = {"along the hypergradient at 0.015",
                                                "at 0.04", "at 0.1", "at 0.25"};
    report_series s[1 + TANGENTS] = {{"held-out loss after 60 steps", POINTS, x, y}};
    const double where[TANGENTS] = {0.015, 0.04, 0.1, 0.25};
    for (int k = 0; k < TANGENTS; k++) {
        rate(where[k]);
        ht_bilevel_result r = ht_bilevel_run(run, 0);
        double slope = ht_tensor_get(ht_set_at(r.gradient, 0), 0), reach = 0.35;
        for (int side = 0; side < 2; side++) {
            double along = side ? reach : -reach;
            tx[k][side] = where[k] * exp(along);
            ty[k][side] = r.outer + slope * along;
        }
        s[1 + k] = (report_series){names[k], 2, tx[k], ty[k]};
    }
    ht_bilevel_free(run);
    curve_write(ctx, in_folder("rate.svg"),
                &(report_figure){"A training is a function of its rate", .x = "rate",
                                 .log_x = true},
                1 + TANGENTS, s);
}

static void memory(void)
{
    enum { STEPS = 256, POINTS = 40 };
    double kept[POINTS], run[POINTS], two[] = {32, 0}, all[] = {STEPS, 0};
    int n = 0;
    rate(0.1);
    for (int64_t slots = 1; slots < STEPS; slots += 1 + slots / 4) {
        ht_bilevel *b = training(
            STEPS, &(ht_bilevel_options){.schedule = HT_REVOLVE, .slots = slots});
        kept[n] = (double)slots;
        run[n++] = (double)ht_bilevel_run(b, 0).forward_steps / STEPS;
        ht_bilevel_free(b);
    }
    for (int k = 0; k < 2; k++) {
        ht_bilevel *b = training(
            STEPS, &(ht_bilevel_options){.schedule = k ? HT_STORE_ALL : HT_TWO_LEVEL});
        (k ? all : two)[1] = (double)ht_bilevel_run(b, 0).forward_steps / STEPS;
        ht_bilevel_free(b);
    }
    curve_write(ctx, in_folder("memory.svg"),
                &(report_figure){"256 steps backward: forward runs of each",
                                 .x = "states held", .log_x = true, .log_y = true},
                3,
                (report_series[]){{"revolve", n, kept, run},
                                  {"two-level: 16 and 16", 1, two, two + 1},
                                  {"store-all", 1, all, all + 1}});
}

static void steps(void)
{
    enum { STEPS = 200 };
    double slope[STEPS];
    ht_set *one = eta;
    eta = ht_set_new(ctx);
    ht_set_add(eta, "rate", HT_F64, HT_SHAPE(STEPS));
    rate(0.1);
    ht_bilevel *b = training(STEPS, NULL);
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    for (int t = 0; t < STEPS; t++) slope[t] = ht_tensor_get(ht_set_at(r.gradient, 0), t);
    ht_bilevel_free(b);
    ht_set_free(eta);
    eta = one;
    curve_write(ctx, in_folder("steps.svg"),
                &(report_figure){"How the rate of each step moves the end", .x = "step"},
                1,
                (report_series[]){{"dF / d log rate of the step", STEPS, NULL, slope}});
}

int main(int argc, char **argv)
{
    if (argc != 2 || argv[1][0] == '-') {
        fprintf(stderr, "usage: %s DIR\n", argv[0]);
        return 2;
    }
    folder = argv[1];
    mkdir(folder, 0777);
    ctx = ht_context_new(
        &(ht_context_options){.on_error = ht_print_and_exit, .threads = 1});
    problem();
    sweep();
    differences();
    rates();
    memory();
    steps();
    ht_check(ctx);
    ht_set *sets[] = {theta, eta, data, held};
    for (int i = 0; i < 4; i++) ht_set_free(sets[i]);
    ht_context_free(ctx);
}
