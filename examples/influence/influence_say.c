/* SPDX-License-Identifier: MIT */
/* influence_say.c: what a study found, said, and as JSON. Read next: influence_page.c. */
#include "influence.h"

#include <math.h>
#include <stdlib.h>

static int64_t n_refused(const study *s)
{
    int64_t n = 0;
    for (int64_t k = 0; k < s->seeds; k++) n += refused(s, k);
    return n;
}

const char *why_not(const study *s, int64_t seed)
{
    return !(s->rows[seed * COLUMNS + SMOOTH_SMALL] >= ENOUGH)
               ? "a change of 0.001 already sends the training elsewhere, by\nkinks or "
                 "rounding that grows (--model mlp, a smaller --rate, a larger --batch)"
               : "the training follows small changes but turns within this one, as\none "
                 "that memorises (fewer --epochs, a larger --batch)";
}

/* Said. */

static void say_trust(const study *s, FILE *f)
{
    fprintf(
        f, "Influence of %lld train images on test images: %s%s, test accuracy %.1f %%\n",
        (long long)s->n_train, models[s->model], s->recipe ? " by the recipe" : "",
        summary_of(s, ACCURACY).mean);
    for (int64_t k = 0; k < s->seeds; k++) {
        const double *row = s->rows + k * COLUMNS;
        if (isnan(row[TRAININGS])) continue;
        if (s->seeds > 1)
            fprintf(f, "seed %llu: ",
                    (unsigned long long)s->options.common.seed + (unsigned long long)k);
        fprintf(
            f,
            "100 margins as 5 %% of the weights fall to 0: S^ %.3f, halves %.3f (0.95 "
            "wanted of both)\n",
            row[SMOOTH], row[HALVES]);
        if (trusted(s, k)) continue;
        fprintf(f, "Do not trust it: %s\n", why_not(s, k));
        if (refused(s, k)) fprintf(f, "No query was asked; --anyway goes on.\n");
    }
}

static void say_queries(const study *s, FILE *f)
{
    ht_context *ctx = s->ctx;
    int64_t *asked = demo_rows(ctx, &s->others, MOST_QUERIES);
    const int32_t *label = ht_tensor_data(s->others.labels);
    fprintf(
        f,
        "%d images that helped, and hurt, each query most: its margin without them\n"
        "  query           S^    helped: foretold   found    hurt: foretold   found\n",
        DRAWN);
    for (int64_t k = 0; k < n_queries(s); k++) {
        const double *q = s->query + k * OF_QUERY;
        fprintf(f, "  test %-5lld a %d %5.2f%c%16.3f %7.3f %17.3f %7.3f\n",
                (long long)asked[k], label[asked[k]], q[Q_SMOOTH],
                q[Q_SMOOTH] >= ENOUGH ? ' ' : '?', q[Q_FORETOLD], q[Q_FOUND],
                q[Q_FORETOLD + 1], q[Q_FOUND + 1]);
    }
    fprintf(f, "  ?: below 0.95, do not believe it of this one\n");
    free(asked);
}

static void say_row(const study *s, const char *name, int first, int n, FILE *f)
{
    fprintf(f, "  %-24s", name);
    for (int k = 0; k < n; k++) fprintf(f, "%8.3f", summary_of(s, first + k).mean);
    fputc('\n', f);
}

/* The interval of each size: its low ends, or its high ones. */
static void say_ends(const study *s, int first, int n, bool high, FILE *f)
{
    fprintf(f, "    %-22s",
            high           ? "to"
            : s->seeds > 1 ? "95 % over seeds from"
                           : "95 % of resampled from");
    for (int k = 0; k < n; k++) {
        summary is = summary_of(s, first + k);
        double end = high ? is.high : is.low;
        if (isnan(end))
            fprintf(f, "%8s", "");
        else
            fprintf(f, "%8.3f", end);
    }
    fputc('\n', f);
}

static void say_lead(const study *s, FILE *f)
{
    fprintf(f, "Above the best of the influence functions, chosen for each size\n%34s",
            "");
    for (int k = 0; k < PARTS; k++) fprintf(f, "%8.3f", summary_of(s, LEAD + k).mean);
    fputc('\n', f);
}

static void say_forecasts(const study *s, FILE *f)
{
    fprintf(f,
            "Foretold beside found%s: Pearson's correlation for single images, LDS for\n"
            "%lld random subsets of each size",
            s->orders > 1 ? " by other orders" : "", (long long)n_subsets(s));
    if (s->seeds > 1) fprintf(f, ", means over %d seeds", summary_of(s, OF(EXACT, 0)).n);
    fprintf(f, "\n%34s", "single");
    for (int k = 0; k < PARTS; k++) fprintf(f, "%6.0f %%", parts[k]);
    fputc('\n', f);
    for (int by = 0; by < (s->alone ? 1 : FORETELLERS); by++) {
        say_row(s, foretellers[by].name, OF(by, 0), 1 + PARTS, f);
        for (int high = 0; high < 2 && (by == EXACT || s->seeds > 1); high++)
            say_ends(s, OF(by, 0), 1 + PARTS, high, f);
    }
    if (!s->alone) say_lead(s, f);
    fprintf(f, "Loss of the last batch %.3g, %.0f s of the processor%s\n",
            summary_of(s, LOSS).mean, summary_of(s, CPU).mean * summary_of(s, CPU).n,
            s->seeds > 1 ? ", all seeds" : "");
}

static void say_cost(const study *s, FILE *f)
{
    fprintf(f, "Scores of %lld queries: %.1f s of the processor, a training %.2f s",
            (long long)n_queries(s), s->rows[CPU_SCORES], s->rows[CPU_TRAINING]);
    if (!isnan(s->rows[COST_ONE]))
        fprintf(f, ";\nof one alone %.2f trainings, of 8 together %.2f each (%s)",
                s->rows[COST_ONE], s->rows[COST_EIGHT],
                demo_schedules[(int)s->rows[SCHEDULE]]);
    fputc('\n', f);
}

void say(const study *s)
{
    FILE *f = command_text(&s->options.common);
    say_trust(s, f);
    if (!isnan(s->rows[CPU_SCORES])) say_cost(s, f);
    if (!isnan(s->rows[PROOF])) say_queries(s, f);
    if (summary_of(s, OF(EXACT, 0)).n) say_forecasts(s, f);
}

/* Written. */

static void put_column(output *out, const study *s, const char *key, int column)
{
    char name[NAME], text[MOST_SEEDS * 32] = "";
    summary is = summary_of(s, column);
    json_number(out, key, is.mean);
    if (!isnan(is.low)) {
        snprintf(name, sizeof name, "%s_low", key);
        json_number(out, name, is.low);
        snprintf(name, sizeof name, "%s_high", key);
        json_number(out, name, is.high);
    }
    if (s->seeds == 1) return;
    for (int64_t k = 0, at = 0; k < s->seeds; k++) {
        double x = s->rows[k * COLUMNS + column];
        int64_t room = (int64_t)sizeof text - at;
        at += isnan(x) ? snprintf(text + at, (size_t)room, "%snull", k ? "," : "")
                       : snprintf(text + at, (size_t)room, "%s%.9g", k ? "," : "", x);
    }
    snprintf(name, sizeof name, "%s_seeds", key);
    json_text(out, name, "[%s]", text);
}

static void put_foreteller(output *out, const study *s, int by)
{
    char name[NAME];
    snprintf(name, sizeof name, "%s_loo", foretellers[by].key);
    put_column(out, s, name, OF(by, 0));
    for (int k = 0; k < PARTS; k++) {
        snprintf(name, sizeof name, "%s_lds_%.0f", foretellers[by].key, parts[k]);
        put_column(out, s, name, OF(by, LDS + k));
    }
}

/* Of each query of the first seed, a list. */
static void put_queries(output *out, const study *s, const char *key, int column)
{
    char text[MOST_QUERIES * 32] = "";
    for (int64_t k = 0, at = 0; k < n_queries(s); k++) {
        double x = s->query[k * OF_QUERY + (column < 0 ? Q_SMOOTH : column)];
        int64_t room = (int64_t)sizeof text - at;
        const char *comma = k ? "," : "";
        if (column < 0)
            at += snprintf(text + at, (size_t)room, "%s%s", comma,
                           x >= ENOUGH ? "true" : "false");
        else if (isnan(x))
            at += snprintf(text + at, (size_t)room, "%snull", comma);
        else
            at += snprintf(text + at, (size_t)room, "%s%.9g", comma, x);
    }
    json_text(out, key, "[%s]", text);
}

static void put_settings(output *out, const study *s)
{
    json_text(out, "model", "\"%s\"", models[s->model]);
    json_text(out, "recipe", s->recipe ? "true" : "false");
    const struct {
        const char *key;
        double value;
    } is[] = {{"train", (double)s->n_train},
              {"steps", (double)s->steps},
              {"batch", (double)s->n_batch},
              {"momentum", s->momentum},
              {"rate", s->rate},
              {"decay", s->decay},
              {"smoothing", s->smoothing},
              {"cosine", s->cosine},
              {"orders", (double)s->orders},
              {"score_orders", (double)s->score_orders},
              {"queries", (double)n_queries(s)},
              {"subsets", (double)n_subsets(s)},
              {"seed", (double)s->options.common.seed},
              {"seeds", (double)s->seeds},
              {"seeds_done", s->progress[SEEDS_DONE]}};
    for (size_t k = 0; k < sizeof is / sizeof *is; k++)
        json_number(out, is[k].key, is[k].value);
}

void write_json(const study *s)
{
    static const struct {
        const char *key;
        int column;
    } of[] = {{"smooth_outer", SMOOTH},         {"halves", HALVES},
              {"smooth_weights", SMOOTH_THETA}, {"smooth_outer_small", SMOOTH_SMALL},
              {"training_loss", LOSS},          {"accuracy", ACCURACY},
              {"proof_pearson", PROOF},         {"lead_lds_1", LEAD},
              {"lead_lds_5", LEAD + 1},         {"lead_lds_20", LEAD + 2},
              {"lead_lds_50", LEAD + 3}};
    output out;
    if (!output_open(&out, s->ctx, s->options.common.json, false)) return;
    int64_t no = n_refused(s), believed = 0;
    for (int64_t k = 0; k < s->seeds; k++) believed += trusted(s, k);
    json_text(&out, "trusted", believed == s->seeds ? "true" : "false");
    json_text(&out, "refused", no ? "true" : "false");
    json_number(&out, "seeds_refused", (double)no);
    for (size_t k = 0; k < sizeof of / sizeof *of; k++)
        put_column(&out, s, of[k].key, of[k].column);
    for (int by = 0; by < FORETELLERS; by++) put_foreteller(&out, s, by);
    put_queries(&out, s, "query_smooth", Q_SMOOTH);
    put_queries(&out, s, "query_trusted", -1);
    put_queries(&out, s, "query_lds_5", Q_LDS + 1);
    put_settings(&out, s);
    summary trainings = summary_of(s, TRAININGS), cpu = summary_of(s, CPU);
    json_number(&out, "trainings", trainings.mean * trainings.n);
    json_text(&out, "interrupted", interrupted() ? "true" : "false");
    json_number(&out, "cost_one", s->rows[COST_ONE]);
    json_number(&out, "cost_of_eight", s->rows[COST_EIGHT]);
    if (!isnan(s->rows[SCHEDULE]))
        json_string(&out, "schedule", demo_schedules[(int)s->rows[SCHEDULE]]);
    json_number(&out, "score_cpu_seconds", s->rows[CPU_SCORES]);
    json_number(&out, "training_cpu_seconds", s->rows[CPU_TRAINING]);
    json_number(&out, "cpu_seconds", cpu.mean * cpu.n);
    json_number(&out, "seconds", stopwatch_since(s->began).wall);
    json_close(&out);
}
