/* SPDX-License-Identifier: MIT */
/* influence_page.c: what a study found, said, as JSON, and as a page.
 * Read next: ../common/common.h. */
#include <math.h>
#include <string.h>

#include "influence.h"

#define AGREEMENT 0.85 /* LDS of a good verdict */

static int label_of(const ht_images *images, int64_t row)
{
    return ((const int32_t *)ht_tensor_data(images->labels))[row];
}

/* Of foretold and found, over all drawn. */
static double proof_pearson(const study *s)
{
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0, n = 2 * (double)s->queries;
    if (!s->found) return (double)NAN;
    for (int64_t k = 0; k < 2 * s->queries; k++)
        mx += s->foretold[k] / n, my += s->found[k] / n;
    for (int64_t k = 0; k < 2 * s->queries; k++) {
        double x = s->foretold[k] - mx, y = s->found[k] - my;
        xx += x * x, yy += y * y, xy += x * y;
    }
    return xy / sqrt(xx * yy);
}

/* Said. */

static void say_trust(const study *s, FILE *f)
{
    fprintf(f,
            "Influence of %lld train images on test images: %s, test accuracy %.1f %%\n",
            (long long)s->n_train, models[s->model], s->accuracy);
    fprintf(f, "S^ of 100 margins as 5 %% of the weights fall to 0: %.3f (0.95 wanted)\n",
            s->smooth.outer);
    if (trusted(s)) return;
    fprintf(f, "Do not trust it: %s\n",
            !(s->small.outer >= 0.95)
                ? "a change of 0.001 already sends the training elsewhere, by\nkinks or "
                  "rounding that grows (--model mlp, a smaller --rate, a larger --batch)"
                : "the training follows small changes but turns within this one, as\none "
                  "that memorises (fewer --epochs, a larger --batch)");
    if (s->refused) fprintf(f, "No query was asked; --anyway goes on.\n");
}

static void say_proofs(const study *s, FILE *f)
{
    fprintf(f,
            "%d images that helped, and hurt, each query most: its margin without them\n",
            DRAWN);
    fprintf(f, "  query            helped: foretold   found    hurt: foretold   found\n");
    for (int64_t k = 0; k < s->queries; k++)
        fprintf(f, "  test %-5lld a %d %17.3f %7.3f %17.3f %7.3f\n",
                (long long)s->asked[k], label_of(&s->others, s->asked[k]),
                s->foretold[2 * k], s->found[2 * k], s->foretold[2 * k + 1],
                s->found[2 * k + 1]);
}

/* The interval of each size: its low ends, or its high ones. */
static void say_ends(const ht_lds *lds, bool high, FILE *f)
{
    fprintf(f, "    %-28s", high ? "to" : "95 % of resampled sets from");
    for (int k = 0; k < PARTS; k++) fprintf(f, "%8.3f", high ? lds[k].high : lds[k].low);
    fputc('\n', f);
}

static void say_forecasts(const study *s, FILE *f)
{
    fprintf(f,
            "Foretold beside found: Pearson's correlation for single images, LDS for\n"
            "%lld random subsets of each size\n%32s",
            (long long)s->subsets, "single");
    for (int k = 0; k < PARTS; k++) fprintf(f, "%6.0f %%", parts[k]);
    fputc('\n', f);
    for (const foreteller *by = s->by; by < s->by + FORETELLERS; by++) {
        if (!by->scores) continue;
        fprintf(f, "  %-24s %5.3f", by->name, by->loo.pearson);
        for (int k = 0; k < PARTS; k++) fprintf(f, "%8.3f", by->lds[k].mean);
        fputc('\n', f);
        for (int high = 0; by == s->by && high < 2; high++) say_ends(by->lds, high, f);
    }
}

void say(const study *s)
{
    FILE *f = command_text(&s->common);
    say_trust(s, f);
    if (s->found) say_proofs(s, f);
    if (s->found && !isnan(s->by[EXACT].loo.pearson)) say_forecasts(s, f);
}

/* Written. */

static void put_lds(output *out, const char *key, const ht_lds *lds, const char *of)
{
    char name[NAME];
    const double value[] = {lds->mean, lds->low, lds->high};
    static const char *const what[] = {"", "_low", "_high"};
    for (int k = 0; k < 3; k++) {
        snprintf(name, sizeof name, "%s_lds_%s%s", key, of, what[k]);
        json_number(out, name, value[k]);
    }
}

static void put_foreteller(output *out, const foreteller *by)
{
    static const char *const of[PARTS] = {"1", "5", "20", "50"};
    char name[NAME];
    snprintf(name, sizeof name, "%s_loo", by->key);
    json_number(out, name, by->loo.pearson);
    for (int k = 0; k < PARTS; k++) put_lds(out, by->key, &by->lds[k], of[k]);
}

void write_json(const study *s)
{
    output out;
    if (!output_open(&out, s->ctx, s->common.json, false)) return;
    json_text(&out, "trusted", trusted(s) ? "true" : "false");
    json_text(&out, "refused", s->refused ? "true" : "false");
    json_number(&out, "smooth_outer", s->smooth.outer);
    json_number(&out, "smooth_weights", s->smooth.theta);
    json_number(&out, "smooth_outer_small", trusted(s) ? (double)NAN : s->small.outer);
    json_number(&out, "training_loss", s->loss);
    json_number(&out, "accuracy", s->accuracy);
    json_text(&out, "model", "\"%s\"", models[s->model]);
    json_number(&out, "train", (double)s->n_train);
    json_number(&out, "steps", (double)s->steps);
    json_number(&out, "batch", (double)s->n_batch);
    json_number(&out, "momentum", s->momentum);
    json_number(&out, "rate", s->rate);
    json_number(&out, "queries", (double)s->queries);
    json_number(&out, "subsets", (double)s->subsets);
    json_number(&out, "proof_pearson", proof_pearson(s));
    for (const foreteller *by = s->by; by < s->by + FORETELLERS; by++)
        put_foreteller(&out, by);
    json_number(&out, "trainings", (double)s->trainings);
    json_number(&out, "training_cpu_seconds", s->training_seconds);
    json_number(&out, "seconds", stopwatch_since(s->began).wall);
    json_number(&out, "cpu_seconds", stopwatch_since(s->began).all_cpu);
    json_text(&out, "interrupted", interrupted() ? "true" : "false");
    json_text(&out, "seed", "%llu", (unsigned long long)s->common.seed);
    json_close(&out);
}

static ht_status write_scores(const study *s)
{
    char path[OUTPUT_PATH];
    const ht_tensor *scores = s->by[EXACT].scores;
    ht_set *set = scores ? ht_set_new(s->ctx) : NULL;
    if (set) {
        ht_tensor *to = ht_set_add(set, "scores", HT_F64, ht_tensor_shape(scores)),
                  *row = ht_set_add(set, "train_row", HT_I32, HT_SHAPE(s->n_train));
        ht_check(s->ctx);
        ht_tensor_copy(to, scores);
        for (int64_t i = 0; i < s->n_train; i++) ht_tensor_set(row, i, (double)s->row[i]);
    }
    if (path_join(s->ctx, path, s->out, "scores.safetensors"))
        output_set(s->ctx, "influence", set, path);
    ht_set_free(set);
    return ht_context_status(s->ctx);
}

/* Drawn. */

static void put_verdict(report *page, const study *s)
{
    const ht_lds *few = &s->by[EXACT].lds[1];
    if (!trusted(s))
        report_verdict(page, REPORT_BAD,
                       "Do not trust what this gradient foretells: S^ of the margins is "
                       "%.2f, 0.95 is wanted.%s",
                       s->smooth.outer, s->refused ? " No query was asked." : "");
    else
        report_verdict(page, few->mean >= AGREEMENT ? REPORT_GOOD : REPORT_EVEN,
                       "Foretold by one gradient and found by training without the "
                       "images: rank correlation %.3f where 5 %% are left out.",
                       few->mean);
    report_number(page, "S^", "of 100 margins, asked first", "%.3f", s->smooth.outer);
    if (isnan(few->mean)) return;
    report_number(page, "LDS, 5 %", "rank correlation", "%.3f", few->mean);
    report_number(page, "95 % of it", "by bootstrap", "%.2f to %.2f", few->low,
                  few->high);
    report_number(page, "single images", "Pearson's correlation", "%.3f",
                  s->by[EXACT].loo.pearson);
    report_number(page, "helped and hurt most", "foretold and found", "%.3f",
                  proof_pearson(s));
}

/* A query, then those that helped, then those that hurt. */
static void put_query(report *page, const study *s, int64_t k, const ht_set *asked)
{
    enum { N = 1 + 2 * DRAWN };
    char title[NAME], note[2 * NAME], caption[N][NAME];
    report_image image[N];
    ht_shape shape = ht_tensor_shape(s->images.pixels);
    const int64_t *side = shape.dim + shape.rank - 2, colour = shape.rank == 4,
                  size = ht_tensor_count(s->images.pixels) / shape.dim[0];
    for (int j = 0; j < N; j++) {
        int64_t i = j ? s->drawn[2 * DRAWN * k + j - 1] : k;
        const ht_set *set = j ? s->train : asked;
        int n = snprintf(caption[j], NAME, "%s%.0f", j ? "" : "asked, ",
                         ht_tensor_get(ht_set_tensor(set, "label"), i));
        if (j)
            snprintf(caption[j] + n, (size_t)(NAME - n), ": %+.3f",
                     ht_tensor_get(s->by[EXACT].scores, k * s->n_train + i));
        image[j] = (report_image){
            (float *)ht_tensor_data(ht_set_tensor(set, "x")) + i * size, caption[j],
            !j           ? REPORT_UNMARKED
            : j <= DRAWN ? REPORT_RIGHT
                         : REPORT_WRONG};
    }
    snprintf(title, sizeof title, "Test image %lld", (long long)s->asked[k]);
    snprintf(note, sizeof note,
             "Its margin without the %d that helped: %+.3f foretold, %+.3f found. "
             "Without the %d that hurt: %+.3f foretold, %+.3f found.",
             DRAWN, s->foretold[2 * k], s->found[2 * k], DRAWN, s->foretold[2 * k + 1],
             s->found[2 * k + 1]);
    report_images(page, &(report_figure){title, .note = note},
                  &(report_gallery){side[0], side[1], colour ? 3 : 1, !colour,
                                    (double)colour, N, image});
}

static void put_queries(report *page, const study *s)
{
    ht_set *asked = test_images(s->queries);
    report_section(page, "What helped and what hurt");
    report_text(page,
                "The label, then what leaving out this image alone does to the "
                "margin of the one asked about: the logit of its class less the log of "
                "the sum of exponentials of the others. Green frames helped, red ones "
                "hurt. All of a colour were then left out together.");
    for (int64_t k = 0; k < s->queries; k++) put_query(page, s, k, asked);
    ht_set_free(asked);
}

/* LDS by part, of all who foretell. */
static void put_forecasts(report *page, const study *s)
{
    report_series line[FORETELLERS];
    double y[FORETELLERS][PARTS];
    int n = 0;
    for (int k = 0; k < FORETELLERS; k++) {
        const foreteller *by = &s->by[k];
        for (int part = 0; part < PARTS; part++) y[k][part] = by->lds[part].mean;
        if (by->scores && !isnan(y[k][0]))
            line[n++] =
                (report_series){by->name, PARTS, parts, y[k], .control = by->control};
    }
    if (!n) return;
    report_section(page, "Foretold and found");
    report_curve(page,
                 &(report_figure){"LDS, a rank correlation over random subsets",
                                  "percent left out", "LDS", .log_x = true,
                                  .note = "Controls foretell the same trainings."},
                 n, line);
}

void write_page(const study *s)
{
    report page;
    write_scores(s);
    if (!report_open(&page, s->ctx, s->out, "Which images made it say that?")) return;
    put_verdict(&page, s);
    if (s->found) put_queries(&page, s);
    put_forecasts(&page, s);
    report_section(&page, "Memory and time");
    report_fact(&page, "test accuracy", "%.1f %%", s->accuracy);
    report_fact(&page, "loss of the last batch", "%.3g", s->loss);
    report_fact(&page, "trainings", "%lld", (long long)s->trainings);
    report_account(&page, s->began);
    report_section(&page, "Settings");
    report_settings(&page);
    report_close(&page);
    command_write_config(s->ctx, s->out);
}
