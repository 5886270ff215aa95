/* SPDX-License-Identifier: MIT */
/* demo_verdict.c: who has won, as text, page and JSON.
 * Read next: ../bilevel/distill.c. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "demo.h"

void entrant_begin(entrant *row, int64_t n, double cost)
{
    row->score = calloc((size_t)n, sizeof *row->score);
    HT_ASSERT(row->score, "no memory for %lld scores", (long long)n);
    row->n = n;
    row->cost = cost;
}

void entrant_end(entrant *row, double loss)
{
    double sum = 0;
    for (int64_t i = 0; i < row->n; i++) sum += row->score[i];
    row->accuracy = sum / (double)row->n;
    row->loss = loss;
    if (interrupted()) row->n = 0;
}

void entrant_judge_theta(entrant *row, judge *j, const ht_set *theta, double loss,
                         double cost)
{
    entrant_begin(row, ht_tensor_count(ht_set_tensor(j->test, "label")), cost);
    judge_accuracy(j, theta, row->score);
    entrant_end(row, loss);
}

void entrant_judge(entrant *row, judge *j, ht_bilevel *training, double cost)
{
    ht_bilevel_result got = ht_bilevel_evaluate(training, 0);
    ht_check(ht_set_context(j->test));
    entrant_judge_theta(row, j, got.theta, got.outer, cost);
}

lead entrant_lead(const entrant *a, const entrant *b)
{
    double n = (double)a->n, mean = 0, squares = 0;
    if (!a->n || (b && a->n != b->n)) return (lead){(double)NAN, (double)NAN};
    for (int64_t i = 0; i < a->n; i++) mean += a->score[i] - (b ? b->score[i] : 0);
    mean /= n;
    for (int64_t i = 0; i < a->n; i++) {
        double off = a->score[i] - (b ? b->score[i] : 0) - mean;
        squares += off * off;
    }
    return (lead){mean, sqrt(squares / (n - 1) / n)};
}

/* Two standard errors or less decide nothing. */
static bool is_clear(lead l)
{
    return fabs(l.points) > 2 * l.error;
}

enum { SENTENCE = 400 };

/* "<a> 86.72 %, <b> 84.18 %: +2.54 points (+- 0.28)" */
static int say_lead(char *text, const entrant *a, const entrant *b)
{
    lead l = entrant_lead(a, b);
    return snprintf(text, SENTENCE * 2 / 5,
                    "%s %.2f %%, %s %.2f %%: %+.2f points (+- %.2f)", a->name,
                    a->accuracy, b->name, b->accuracy, l.points, l.error);
}

/* What the best has most of. */
static double worth(const demo *d, const entrant *row)
{
    return d->lower ? -row->accuracy : row->accuracy;
}

/* Of those that know no more than there is to know. */
static const entrant *best_of(const demo *d)
{
    const entrant *best = d->entrant;
    for (const entrant *row = best; row < d->entrant + d->n_entrants; row++)
        if (row->n && !row->knows_all && (!best->n || worth(d, row) > worth(d, best)))
            best = row;
    return best;
}

static bool is_best(const demo *d, const entrant *row)
{
    return row->n && !row->knows_all && worth(d, row) >= worth(d, best_of(d));
}

static const entrant *best_control(const demo *d)
{
    const entrant *best = &d->entrant[d->control];
    for (const entrant *row = d->entrant; row < d->entrant + d->n_entrants; row++)
        if (!row->learned && !row->knows_all && row->n && worth(d, row) > worth(d, best))
            best = row;
    return best;
}

static const char *const winners[] = {
    "learning has won", "learning and a control are even", "a control has won"};

/* 0: a; 1: neither; 2: b. */
static int winner(const demo *d, const entrant *a, const entrant *b)
{
    lead l = entrant_lead(a, b);
    return !is_clear(l) ? 1 : (l.points > 0) != d->lower ? 0 : 2;
}

/* Against the best of all controls, and then against its own if that is another. */
static void say_verdict(char text[SENTENCE], const demo *d)
{
    const entrant *learned = &d->entrant[d->learned], *best = best_control(d);
    if (!learned->n) {
        snprintf(text, SENTENCE, "none, interrupted before the last row.");
        return;
    }
    text += snprintf(text, SENTENCE / 5, "%s: ", winners[winner(d, learned, best)]);
    text += say_lead(text, learned, best);
    text += snprintf(text, SENTENCE / 5, ", at %.0f trainings against %.0f",
                     learned->cost, best->cost);
    if (best == &d->entrant[d->control]) return;
    lead l = entrant_lead(learned, &d->entrant[d->control]);
    snprintf(text, SENTENCE / 5, "; over %s %+.2f (+- %.2f)", d->entrant[d->control].name,
             l.points, l.error);
}

static report_tone tone_of(const demo *d)
{
    static const report_tone tone[] = {REPORT_GOOD, REPORT_EVEN, REPORT_BAD};
    const entrant *learned = &d->entrant[d->learned];
    return learned->n ? tone[winner(d, learned, best_control(d))] : REPORT_PLAIN;
}

static void print_table(FILE *f, const demo *d)
{
    fprintf(f, "\n  %-21s %-30s %8s %9s\n", "", "learns from",
            d->measure ? "right" : "test", "trainings");
    for (const entrant *row = d->entrant; row < d->entrant + d->n_entrants; row++) {
        fprintf(f, "  %-21s %-30s", row->name, row->how);
        if (row->n)
            fprintf(f, " %6.2f %% %8.0f%s\n", row->accuracy, row->cost,
                    !is_best(d, row) ? ""
                    : d->lower       ? "  lowest"
                                     : "  best");
        else
            fprintf(f, "   not run\n");
    }
}

/* A number stays with its percent sign. */
void demo_wrap(FILE *f, const char *label, const char *text)
{
    enum { WIDTH = 78 };
    int indent = (int)strlen(label), column = fprintf(f, "%s", label);
    for (int word; *text; text += word) {
        word = (int)strspn(text, " ");
        word += (int)strcspn(text + word, " ");
        if (text[word] && text[word + 1] == '%')
            word += (int)strcspn(text + word + 1, " ") + 1;
        if (column + word > WIDTH) {
            text += strspn(text, " "), word -= 1;
            column = fprintf(f, "\n%*s", indent, "") - 1;
        }
        column += fprintf(f, "%.*s", word, text);
    }
    fputc('\n', f);
}

/* Three digits, or a dash where there was nothing to divide by. */
static void print_score(FILE *f, const demo *d)
{
    trust_score s = trust_measure(d->trust);
    const double part[] = {s.precision, s.recall, s.f1};
    static const char *const name[] = {"  precision", ", recall", ", F1"};
    fprintf(f, "\nFound wrong (weight below %g): %.0f labels, %.0f of them rightly\n",
            d->trust->below, s.found, s.right);
    for (int k = 0; k < 3; k++)
        fprintf(f, isfinite(part[k]) ? "%s %.3f" : "%s -", name[k], part[k]);
    fputc('\n', f);
}

static const char *said(const entrant *row)
{
    return row->as ? row->as : row->name;
}

static void print_leads(FILE *f, const demo *d)
{
    const entrant *learned = &d->entrant[d->learned];
    const char *before = "";
    bool known = false;
    for (const entrant *row = d->entrant; row < d->entrant + d->n_entrants; row++)
        known = known || row->knows_all;
    fprintf(f, "\n%s%s: ", d->lower ? "Lowest" : "Best",
            known ? " without knowing the answer" : "");
    for (const entrant *row = d->entrant; row < d->entrant + d->n_entrants; row++)
        if (is_best(d, row)) {
            fprintf(f, "%s%s", before, row->name);
            before = " and ";
        }
    fprintf(f, ". On the same tests\n");
    for (const entrant *row = d->entrant; row < d->entrant + d->n_entrants; row++) {
        lead l = entrant_lead(learned, row);
        if (row->learned || !row->n) continue;
        fprintf(f, "  %s %s %s: %+.2f points (+- %.2f)\n", said(learned),
                !(fabs(l.points) > 0)        ? "ties with"
                : !is_clear(l)               ? "is even with"
                : (l.points > 0) != d->lower ? "beats"
                                             : "loses to",
                said(row), l.points, l.error);
    }
    fprintf(f,
            "  (+-: a standard error of the paired difference; a hypergradient counts\n"
            "   as %d trainings)\n",
            HYPERGRADIENT);
}

static void print_end(FILE *f, const demo *d)
{
    long long done = (long long)d->steps->rows;
    bool good = !ht_context_status(d->ctx);
    if (interrupted() && !done)
        fprintf(f,
                "\nInterrupted before the first outer step: nothing was learned yet\n");
    else if (interrupted())
        fprintf(f, "\nInterrupted: %lld of %lld outer steps done%s\n", done,
                (long long)d->n_steps,
                d->written && good ? "; what there is has been written" : "");
    if (d->written && good)
        fprintf(f, "\nWritten to %s: report.html, to open in a browser\n",
                d->options->out);
    if (d->written && !good && d->earlier)
        fprintf(stderr, "%s: %s may now hold files of two runs\n", d->name,
                d->options->out);
}

void demo_print(const demo *d)
{
    FILE *f = command_text(&d->options->common);
    char text[DEMO_SENTENCE];
    double ratio = demo_ratio(d);
    progress_end();
    say_verdict(text, d);
    fprintf(f, "%s; seed %llu\n", d->title, (unsigned long long)d->options->common.seed);
    demo_wrap(f, "Verdict: ", text);
    if (d->trust && d->steps->rows) print_score(f, d);
    print_table(f, d);
    if (d->note) fprintf(f, "  %s\n", d->note);
    if (d->entrant[d->learned].n) print_leads(f, d);
    if (d->asked) {
        demo_smooth_say(text, d);
        fputc('\n', f);
        demo_wrap(f, "Gradient: ", text);
    }
    print_end(f, d);
    stopwatch spent = stopwatch_since(d->began);
    fprintf(f,
            "\n%.1f s, %.1f s of processors; the unroll held %.1f MB (predicted %.1f)\n",
            spent.wall, spent.all_cpu, (double)d->peak_bytes / 1e6,
            (double)d->predicted_bytes / 1e6);
    if (isfinite(ratio))
        fprintf(f, "a hypergradient took %.2f x a plain training of the same length\n",
                ratio);
}

/* The rows, each with its own standard error. */
static void show_rows(report *page, const demo *d)
{
    enum { ROWS = 16 };
    report_bar bar[ROWS];
    char title[64];
    int n = 0;
    for (const entrant *row = d->entrant; row < d->entrant + d->n_entrants; row++)
        if (row->n && n < ROWS)
            bar[n++] = (report_bar){row->name, row->accuracy,
                                    entrant_lead(row, NULL).error, !row->learned};
    snprintf(title, sizeof title, "%s in percent",
             d->measure ? d->measure : "Test accuracy");
    *title = (char)toupper(*title);
    if (n) report_bars(page, &(report_figure){title, .note = d->note}, n, bar);
}

/* Of all rows; or what it finds, and how far the learned row has come from its control to
 * one that knows all. */
static void show_numbers(report *page, const demo *d)
{
    const entrant *learned = &d->entrant[d->learned], *from = &d->entrant[d->control];
    char name[64], note[64];
    trust_score s = {.f1 = (double)NAN, .precision = (double)NAN, .recall = (double)NAN};
    if (d->trust && d->steps->rows) s = trust_measure(d->trust);
    if (isfinite(s.f1))
        report_number(page, "F1", "of finding wrong labels", "%.3f", s.f1);
    if (isfinite(s.precision))
        report_number(page, "precision", "of those found are wrong", "%.1f %%",
                      100 * s.precision);
    if (isfinite(s.recall))
        report_number(page, "recall", "of the wrong are found", "%.1f %%",
                      100 * s.recall);
    for (const entrant *row = d->entrant; row < d->entrant + d->n_entrants; row++)
        if (row->n && !d->trust)
            report_number(page, row->name, row->how, "%.2f %%", row->accuracy);
    for (const entrant *row = d->entrant; row < d->entrant + d->n_entrants; row++) {
        if (!row->knows_all || !row->n || !learned->n) continue;
        double way = row->accuracy - from->accuracy;
        snprintf(name, sizeof name, "way to %s", said(row));
        snprintf(note, sizeof note, "done, from %s", said(from));
        if (way > 0)
            report_number(page, name, note, "%.0f %%",
                          100 * (learned->accuracy - from->accuracy) / way);
    }
}

bool demo_page(report *page, demo *d)
{
    char text[SENTENCE];
    d->written = true;
    if (d->trust && trust_write(d->ctx, d->trust, d->options->out)) return false;
    if (!report_open(page, d->ctx, d->options->out, d->title)) return false;
    say_verdict(text, d);
    *text = (char)toupper(*text);
    report_verdict(page, tone_of(d), "%s.", text);
    show_numbers(page, d);
    report_section(page, "How it went");
    show_rows(page, d);
    return true;
}

/* The size of an image. */
typedef struct plane {
    int64_t channels, rows, cols;
} plane;

static plane plane_of(const ht_images *like)
{
    ht_shape shape = ht_tensor_shape(like->pixels);
    const int64_t *end = shape.dim + shape.rank;
    return (plane){shape.rank == 4 ? shape.dim[1] : 1, end[-2], end[-1]};
}

void demo_images(report *page, const report_figure *figure, const ht_images *like,
                 const ht_tensor *images, double black, double white)
{
    static const char *const digit[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    const float *pixels = ht_tensor_data(images);
    plane is = plane_of(like);
    report_image image[10];
    for (int k = 0; k < 10; k++)
        image[k] = (report_image){pixels + k * is.rows * is.cols * is.channels, digit[k]};
    report_images(
        page, figure,
        &(report_gallery){is.rows, is.cols, is.channels, black, white, 10, image});
}

void demo_tens(report *page, const demo *d, const char *name, const ht_images *like,
               int n, const demo_ten *ten)
{
    enum { PARTS = 8 };
    char path[OUTPUT_PATH];
    sheet_image image[PARTS][10];
    sheet_part part[PARTS];
    plane is = plane_of(like);
    bool colour = is.channels > 1;
    int shown = 0;
    for (int p = 0; p < n && shown < PARTS; p++) {
        if (!*ten[p].title) continue;
        const float *pixels = ht_tensor_data(ten[p].images);
        for (int k = 0; k < 10; k++)
            image[shown][k] =
                (sheet_image){pixels + k * is.channels * is.rows * is.cols, k, false};
        part[shown] = (sheet_part){ten[p].title, 10, image[shown]};
        shown++;
        demo_images(page, &(report_figure){ten[p].title}, like, ten[p].images, !colour,
                    colour);
    }
    if (path_join(d->ctx, path, d->options->out, name))
        contact_sheet_write(d->ctx, path,
                            &(contact_sheet){d->title, "Beside each: its class", "",
                                             is.rows, is.cols, shown, part, colour});
}

ht_status demo_write(const demo *d, const char *name, const ht_set *set)
{
    char path[OUTPUT_PATH];
    if (!path_join(d->ctx, path, d->options->out, name)) return ht_context_status(d->ctx);
    return output_set(d->ctx, d->name, set, path);
}

ht_status demo_page_end(report *page, const demo *d, const ht_set *learned,
                        const char *name)
{
    char text[DEMO_SENTENCE];
    double ratio = demo_ratio(d);
    if (d->asked) {
        demo_smooth_say(text, d);
        *text = (char)toupper(*text);
        report_section(page, "Whether to believe the gradient");
        report_text(page, "%s.", text);
    }
    report_section(page, "Memory and time");
    report_fact(page, "cost of all rows", "%.0f trainings", d->trainings);
    report_fact(page, "the unroll held", "%.1f MB", (double)d->peak_bytes / 1e6);
    report_fact(page, "predicted before the first step", "%.1f MB",
                (double)d->predicted_bytes / 1e6);
    if (d->schedule) report_fact(page, "checkpoints", "%s", d->schedule);
    if (isfinite(ratio))
        report_fact(page, "a hypergradient, in plain trainings of its length", "%.2f",
                    ratio);
    report_account(page, d->began);
    report_section(page, "Settings");
    report_settings(page);
    report_close(page);
    metrics_write(d->steps, d->ctx, d->options->out);
    demo_write(d, name, d->steps->rows ? learned : NULL);
    return command_write_config(d->ctx, d->options->out);
}

static void put_entrants(output *out, const demo *d)
{
    char name[64];
    for (const entrant *row = d->entrant; row < d->entrant + d->n_entrants; row++) {
        const double values[] = {row->accuracy, row->loss, row->cost};
        static const char *const what[] = {"accuracy", "loss", "trainings"};
        for (int k = 0; k < 3; k++) {
            snprintf(name, sizeof name, "%s_%s", row->key, what[k]);
            json_number(out, name, row->n ? values[k] : (double)NAN);
        }
    }
}

static void put_numbers(output *out, const demo *d)
{
    trust_score s = {0};
    bool any = d->trust && d->steps->rows;
    if (any) s = trust_measure(d->trust);
    const demo_number score[] = {{"f1", s.f1},
                                 {"precision", s.precision},
                                 {"recall", s.recall},
                                 {"found", s.found},
                                 {NULL}};
    for (const demo_number *n = score; d->trust && n->key; n++)
        json_number(out, n->key, any ? n->value : (double)NAN);
    for (const demo_number *n = d->numbers; n && n->key; n++)
        json_number(out, n->key, n->value);
}

/* What was asked for in numbers; the steps and the seed stand elsewhere. */
static void put_settings(output *out)
{
    flag_setting is;
    for (int i = 0; command_setting(i, &is); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s", is.name);
        for (char *dash = name; (dash = strchr(dash, '-')) != NULL;) *dash = '_';
        if (!is.text && strcmp(is.value, "null") != 0 && strcmp(name, "seed") != 0 &&
            strcmp(name, "outer_steps") != 0)
            json_text(out, name, "%s", is.value);
    }
}

static void put_account(output *out, const demo *d)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    json_number(out, "outer_steps", (double)d->steps->rows);
    json_number(out, "trainings", d->trainings);
    json_number(out, "seconds", stopwatch_since(d->began).wall);
    json_number(out, "predicted_bytes", (double)d->predicted_bytes);
    json_number(out, "peak_bytes", (double)d->peak_bytes);
    json_number(out, "peak_rss_bytes", 1024.0 * (double)usage.ru_maxrss);
    if (d->schedule) json_text(out, "schedule", "\"%s\"", d->schedule);
    json_text(out, "interrupted", interrupted() ? "true" : "false");
    json_text(out, "seed", "%llu", (unsigned long long)d->options->common.seed);
}

static void write_json(const demo *d)
{
    const entrant *learned = &d->entrant[d->learned], *best = best_of(d);
    lead l = entrant_lead(learned, &d->entrant[d->control]);
    static const char *const word[] = {"learned", "even", "control"};
    output out;
    if (!output_open(&out, d->ctx, d->options->common.json, false)) return;
    json_text(&out, "verdict", "\"%s\"",
              learned->n ? word[winner(d, learned, best_control(d))] : "none");
    json_text(&out, "best", "\"%s\"", best->n ? best->key : "none");
    json_number(&out, "lead", l.points);
    json_number(&out, "lead_error", l.error);
    put_entrants(&out, d);
    put_numbers(&out, d);
    demo_smooth_json(&out, d);
    put_settings(&out);
    put_account(&out, d);
    json_close(&out);
}

int demo_end(demo *d)
{
    if (d->options->common.json) write_json(d);
    ht_check(d->ctx);
    for (int k = 0; k < d->n_entrants; k++) free(d->entrant[k].score);
    return !command_printed(d->name) ? 1 : interrupted() ? 130 : 0;
}
