/* SPDX-License-Identifier: MIT */
/* options.c: what is refused of a single loop's options and of its problem. Read next:
 * single.c. */
#include <math.h>
#include <string.h>

#include "single.h"

#define ROW(row) &hti_single_##row,
static const hti_single_row *const rows[] = {HTI_SINGLE_ROWS(ROW)};
enum { ROWS = sizeof rows / sizeof *rows };

#define NAME(field, usual)  #field,
#define USUAL(field, usual) usual,
#define VALUE(field, usual) (double)o->field,
static const char *const option_name[] = {HTI_SINGLE_OPTIONS(NAME)},
                         *const option_usual[] = {HTI_SINGLE_OPTIONS(USUAL)};

static const hti_single_row *row_of(ht_single_method kind)
{
    for (int k = 0; k < ROWS; k++)
        if (rows[k]->kind == kind) return rows[k];
    return NULL;
}

/* Names of the methods that have a use for an option. */
static void takers(char *text, size_t size, unsigned option)
{
    size_t length = 0;
    text[0] = '\0';
    for (int k = 0; k < ROWS; k++)
        if ((rows[k]->needs | rows[k]->may) & option && length < size)
            length += (size_t)snprintf(text + length, size - length, "%s%s",
                                       length ? ", " : "", rows[k]->name);
}

static bool option_fits(ht_context *ctx, const hti_single_row *row, int k, double value)
{
    char by[128];
    unsigned option = 1u << k, takes = row->needs | row->may | HTI_TAKES(decay);
    takers(by, sizeof by, option);
    if (!(value >= 0) || isinf(value))
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                           "ht_single_new: options.%s is %g, but it is finite and not "
                           "negative\n  hint: usual is %s",
                           option_name[k], value, option_usual[k]);
    if (value != 0 && !(takes & option))
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                           "ht_single_new: options.%s is set, but options.method is %s, "
                           "which has no use for it\n  hint: leave it 0; it is of %s",
                           option_name[k], row->name, by);
    return value != 0 || !(row->needs & option) ||
           HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                       "ht_single_new: options.%s is 0, but options.method is %s, which "
                       "needs it\n  hint: usual is %s",
                       option_name[k], row->name, option_usual[k]);
}

static bool options_fit(ht_context *ctx, const hti_single_row *row,
                        const ht_single_options *o)
{
    const double value[] = {HTI_SINGLE_OPTIONS(VALUE)};
    for (int k = 0; k < HTI_OPTION_COUNT; k++)
        if (!option_fits(ctx, row, k, value[k])) return false;
    for (int k = 0; k < 2; k++) {
        double part = k ? o->momentum : o->decay;
        if (k ? part < 1 : part <= 1) continue;
        return HTI_REFUSED(
            ctx, HT_ERROR_ARGUMENT, "ht_single_new: options.%s is %g, but it lies in %s",
            k ? "momentum" : "decay", part,
            k ? "(0, 1): the last directions must fade\n  hint: 0.9"
              : "0 .. 1\n  hint: 0.5, rates that fall faster than 1/k do not get there");
    }
    return true;
}

/* A number of batches goes with a callback that can fill so many. */
static bool batches_fit(ht_context *ctx, const ht_bilevel_problem *p,
                        const ht_single_options *o)
{
    for (int k = 0; k < 2; k++) {
        int64_t n = k ? o->outer_batches : o->inner_batches;
        if (n <= 1 || (k ? p->outer_batch : p->inner_batch)) continue;
        const char *which = k ? "outer" : "inner";
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                           "ht_single_new: options.%s_batches is %lld, but "
                           "problem.%s_batch is NULL: the data is the one batch\n"
                           "  hint: 1, or a callback that fills batch 0, 1, ...",
                           which, (long long)n, which);
    }
    return true;
}

/* What would move the end of a training is not left out in silence. */
static bool problem_fits(ht_context *ctx, const ht_bilevel_problem *p)
{
    const struct {
        const char *name, *hint;
        bool set;
    } field[] = {
        {"init", "fill theta before", p->init},
        {"after", "change theta and eta between steps", p->after},
        {"state", "ht_single_restore goes on from a loop's own", p->state},
        {"start", "ht_single_restore goes on from a loop's own", p->start},
        {"tolerance", "the caller ends the loop", p->tolerance != 0},
        {"tasks", "a loop is one training; HT_IMPLICIT takes many tasks",
         p->tasks || p->n_tasks},
        {"update.groups", "all of theta trains: what stays is data", p->update.n_groups},
        {"update.decay", "put the penalty into the inner loss",
         !hti_scalar_is_zero(&p->update.decay)}};
    for (size_t k = 0; k < sizeof field / sizeof *field; k++)
        if (field[k].set)
            return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                               "ht_single_new: problem.%s is set, but a single loop, "
                               "whatever options.method is, has no use for it\n"
                               "  hint: %s",
                               field[k].name, field[k].hint);
    return !p->theta || p->theta != p->eta ||
           HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                       "ht_single_new: theta is the set eta too, but each moves by "
                       "itself\n  hint: ht_set_clone");
}

const hti_single_row *hti_single_valid(ht_context *ctx, const ht_bilevel_problem *p,
                                       const ht_single_options *o)
{
    const hti_single_row *row = row_of(o->method);
    bool ok = row || HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                                 "ht_single_new: no such options.method");
    ok = ok && options_fit(ctx, row, o) && batches_fit(ctx, p, o) && problem_fits(ctx, p);
    return ok ? row : NULL;
}
