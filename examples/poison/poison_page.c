/* SPDX-License-Identifier: MIT */
/* poison_page.c: what changed images did and who finds them: said, as JSON, as a page.
 * Read next: ../common/common.h. */
#include <math.h>

#include "poison.h"

enum { SHOWN = 12, TEXT = 400, CELL = 40, N_NUMBERS = 7, SCORES = 4 };

/* What a row takes from that of nothing changed, in points. */
static lead taken(const poisoning *p, int which)
{
    return entrant_lead(&p->run.entrant[CLEAN], &p->run.entrant[which]);
}

/* What random changes take at most, two standard errors above what was measured. */
static double random_most(const poisoning *p)
{
    lead random = taken(p, RANDOM);
    return fmax(random.points, 0) + 2 * random.error;
}

static bool found_any(const poisoning *p)
{
    return p->by[INFLUENCE].suspicion && isfinite(p->by[INFLUENCE].accuracy);
}

static void say_taken(char text[TEXT], const poisoning *p)
{
    lead learned = taken(p, LEARNED), random = taken(p, RANDOM);
    snprintf(text, TEXT,
             "Of %lld images %lld were changed, by at most %g a pixel. Learned changes "
             "take %.2f points of accuracy (+- %.2f), random ones of the same size %.2f "
             "(+- %.2f)",
             (long long)p->n_train, (long long)p->n_changed, p->eps, learned.points,
             learned.error, random.points, random.error);
}

/* By rounds; influence where it is as good. */
static const finder *best_finder(const poisoning *p)
{
    const finder *best = p->by;
    for (const finder *by = best; by < p->by + FINDERS; by++)
        if (by->found_by_rounds > best->found_by_rounds) best = by;
    return best;
}

static void say_found(char text[TEXT], const poisoning *p)
{
    const finder *influence = &p->by[INFLUENCE], *best = best_finder(p);
    int n = snprintf(text, TEXT,
                     "Influence on the loss of %lld clean images (S^ %.3f) has %.0f of "
                     "the %lld changed images among as many most suspect at once, %.0f "
                     "in %d rounds",
                     (long long)p->n_clean, p->smooth.outer, influence->found,
                     (long long)p->n_changed, influence->found_by_rounds, ROUNDS);
    if (best != influence)
        snprintf(text + n, TEXT - (size_t)n, "; a plain control, %s, has %.0f and %.0f",
                 best->name, best->found, best->found_by_rounds);
}

void say(const poisoning *p)
{
    FILE *f = command_text(&p->options.common);
    char text[TEXT];
    if (!p->run.entrant[LEARNED].n) return;
    say_taken(text, p);
    fputc('\n', f);
    demo_wrap(f, "", text);
    if (!found_any(p)) return;
    say_found(text, p);
    demo_wrap(f, "", text);
    fprintf(f, "\n  %-14s %-32s %5s %6s %5s %8s\n", "", "", "found", "rounds", "AUC",
            "without");
    for (const finder *by = p->by; by < p->by + FINDERS; by++)
        if (isfinite(by->accuracy))
            fprintf(f, "  %-14s %-32s %5.0f %6.0f %5.3f %6.2f %%\n", by->name, by->how,
                    by->found, by->found_by_rounds, by->auc, by->accuracy);
    fprintf(f, "  (found: at once; without: test accuracy of trainings without those of\n"
               "   all rounds)\n");
}

void count(poisoning *p)
{
    static demo_number number[N_NUMBERS + SCORES * FINDERS + 1];
    static char key[FINDERS][SCORES][CELL];
    bool done = p->run.entrant[LEARNED].n > 0;
    const double none = (double)NAN;
    lead learned = taken(p, LEARNED), random = taken(p, RANDOM);
    demo_number *at = number;
    *at++ = (demo_number){"changed", (double)p->n_changed};
    *at++ = (demo_number){"learned_taken", done ? learned.points : none};
    *at++ = (demo_number){"learned_taken_error", done ? learned.error : none};
    *at++ = (demo_number){"random_taken", done ? random.points : none};
    *at++ = (demo_number){"random_taken_error", done ? random.error : none};
    *at++ = (demo_number){"times_random", done ? learned.points / random_most(p) : none};
    *at++ = (demo_number){"find_smooth", p->asked ? p->smooth.outer : none};
    for (int k = 0; k < FINDERS; k++) {
        const finder *by = &p->by[k];
        const double value[] = {by->found, by->found_by_rounds, by->auc, by->accuracy};
        static const char *const what[] = {"found", "rounds", "auc", "without"};
        for (int j = 0; j < SCORES; j++) {
            snprintf(key[k][j], CELL, "%s_%s", by->key, what[j]);
            bool is = by->suspicion && isfinite(by->accuracy);
            *at++ = (demo_number){key[k][j], is ? value[j] : none};
        }
    }
    *at = (demo_number){NULL};
    p->run.numbers = number;
}

/* x + d of the first images that may be changed; d alone where there is no x. */
static void show_images(const poisoning *p, report *page, const report_figure *figure,
                        bool with_x, const ht_tensor *d, bool ranks)
{
    static char caption[SHOWN][CELL];
    report_image image[SHOWN];
    const float *x = ht_tensor_data(ht_set_tensor(p->train, "x"));
    const float *change = d ? ht_tensor_data(d) : NULL;
    int64_t pixels = ht_tensor_shape(ht_set_at(p->eta, 0)).dim[1];
    int n = p->n_changed < SHOWN ? (int)p->n_changed : SHOWN;
    ht_tensor *drawn = ht_tensor_new(p->run.ctx, HT_F32, HT_SHAPE(n, pixels));
    ht_check(p->run.ctx);
    float *to = ht_tensor_data(drawn);
    for (int64_t i = 0; i < n * pixels; i++)
        to[i] = (with_x ? x[i] : 0) + (change ? change[i] : 0);
    for (int k = 0; k < n; k++) {
        int round = ranks ? p->by[INFLUENCE].round[k] : 0;
        double label = ht_tensor_get(ht_set_tensor(p->train, "label"), k);
        snprintf(caption[k], CELL, round ? "%.0f, in %d" : "%.0f", label, round);
        image[k] = (report_image){to + k * pixels, caption[k],
                                  !ranks  ? REPORT_UNMARKED
                                  : round ? REPORT_RIGHT
                                          : REPORT_WRONG};
    }
    int64_t side = lround(sqrt((double)pixels));
    report_images(page, figure,
                  &(report_gallery){side, pixels / side, 1, with_x ? 1 : p->eps,
                                    with_x ? 0 : -p->eps, n, image});
    ht_tensor_free(drawn);
}

static void show_changes(const poisoning *p, report *page)
{
    const ht_tensor *d = ht_set_at(p->eta, 0);
    bool ranks = found_any(p);
    report_section(page, "The images");
    show_images(p, page,
                &(report_figure){"As they were", .note = "Below each its label, which "
                                                         "stays as it is."},
                true, NULL, false);
    show_images(p, page,
                &(report_figure){"As the attack leaves them",
                                 .note = ranks ? "Framed green: found by influence, and "
                                                 "after the label in which round; red: "
                                                 "not found."
                                               : NULL},
                true, d, ranks);
    show_images(
        p, page,
        &(report_figure){"The learned change",
                         .note = "Dark: ink added, up to eps; light: taken away."},
        false, d, false);
    if (p->run.entrant[RANDOM].n)
        show_images(p, page, &(report_figure){"With a random change of the same size"},
                    true, p->random, false);
}

static void show_finders(const poisoning *p, report *page)
{
    static const char *const heading[] = {"asked", "found", "rounds", "AUC", "test %"};
    enum { COLUMNS = 5 };
    char cell[FINDERS][COLUMNS - 1][CELL], text[TEXT];
    const char *row[FINDERS * COLUMNS];
    report_section(page, "Who finds them");
    say_found(text, p);
    report_text(page,
                "%s. Each is then believed: as many images as were changed are left out, "
                "the most suspect, in rounds after which the others are asked anew, and "
                "training is made again. With nothing changed it ends at %.2f %% of the "
                "test images, as the attack leaves it at %.2f %%.",
                text, p->run.entrant[CLEAN].accuracy, p->run.entrant[LEARNED].accuracy);
    for (int k = 0; k < FINDERS; k++) {
        const finder *by = &p->by[k];
        snprintf(cell[k][0], CELL, "%.0f", by->found);
        snprintf(cell[k][1], CELL, "%.0f", by->found_by_rounds);
        snprintf(cell[k][2], CELL, "%.3f", by->auc);
        snprintf(cell[k][3], CELL, isfinite(by->accuracy) ? "%.2f" : "-", by->accuracy);
        row[k * COLUMNS] = by->name;
        for (int j = 1; j < COLUMNS; j++) row[k * COLUMNS + j] = cell[k][j - 1];
    }
    report_table(page,
                 &(report_figure){"The most suspect, as many as were changed",
                                  .note =
                                      "Beside influence: the loss of an image and "
                                      "the norm of its gradient when training ends, "
                                      "and how far it is from the mean of its class. "
                                      "Test %: accuracy without those of all rounds."},
                 COLUMNS, heading, FINDERS, row);
}

static void show_curves(const poisoning *p, report *page)
{
    const entrant *row = p->run.entrant;
    report_series accuracy[] = {metrics_series(p->run.steps, "test_accuracy"),
                                {row[CLEAN].name, 1, NULL, &row[CLEAN].accuracy, true},
                                {row[RANDOM].name, 1, NULL, &row[RANDOM].accuracy, true}},
                  loss[] = {metrics_series(p->run.steps, "validation_loss"),
                            {row[CLEAN].name, 1, NULL, &row[CLEAN].loss, true}};
    accuracy[0].name = loss[0].name = row[LEARNED].name;
    report_curve(page,
                 &(report_figure){"Test accuracy in percent", "outer step",
                                  .note = "Each outer step trains in an order of its "
                                          "own. The attack does not see these images."},
                 3, accuracy);
    report_curve(page, &(report_figure){"Loss of the attack's images", "outer step"}, 2,
                 loss);
}

void write_page(poisoning *p)
{
    report page;
    char text[TEXT];
    if (!demo_page(&page, &p->run)) return;
    if (p->run.entrant[LEARNED].n) {
        say_taken(text, p);
        report_text(&page, "%s.", text);
    }
    show_curves(p, &page);
    if (p->run.steps->rows) show_changes(p, &page);
    if (found_any(p)) show_finders(p, &page);
    demo_page_end(&page, &p->run, p->eta, "changes.safetensors");
}
