/* SPDX-License-Identifier: MIT */
/* influence_kept.c: what a study has found, seed by seed, in one set of tensors, which
 * --save writes after each part; and the means over seeds. Read next: influence_say.c. */
#include "influence.h"

#include <math.h>

static double *numbers(ht_set *kept, const char *name, ht_shape shape)
{
    ht_tensor *x = ht_set_add(kept, name, HT_F64, shape);
    ht_check(ht_set_context(kept));
    ht_tensor_fill(x, (double)NAN);
    return ht_tensor_data(x);
}

/* Of another run or another program: refused. */
static void resume(study *s, const demo *d, const char flags[DEMO_FLAGS_TEXT])
{
    ht_set *saved = ht_set_load(s->ctx, s->state);
    ht_check(s->ctx);
    int was = ht_set_find(saved, "flags");
    if (was < 0 || ht_tensor_bytes(ht_set_at(saved, was)) != DEMO_FLAGS_TEXT ||
        ht_set_count(saved) != ht_set_count(s->kept))
        ht_context_fail(s->ctx, HT_ERROR_ARGUMENT, NULL,
                        "%s: --resume: expected a state that influence saved, got "
                        "another file\n  hint: --save FILE begins one",
                        s->state);
    ht_check(s->ctx);
    demo_flags_check(d, ht_tensor_data(ht_set_at(saved, was)), flags);
    ht_set_free(saved);
    ht_set_read(s->kept, s->state);
    ht_check(s->ctx);
}

void kept_begin(study *s)
{
    const demo d = {
        .name = "influence", .options = &s->options, .ctx = s->ctx, .state = s->state};
    int64_t m = s->most_queries ? s->most_queries : 1, n = s->n_train;
    ht_set *kept = s->kept = ht_set_new(s->ctx);
    ht_check(s->ctx);
    ht_tensor *flags = ht_set_add(kept, "flags", HT_U8, HT_SHAPE(DEMO_FLAGS_TEXT)),
              *drawn = ht_set_add(kept, "drawn", HT_I32, HT_SHAPE(m, 2 * DRAWN));
    ht_check(s->ctx);
    demo_flags(&d, ht_tensor_data(flags));
    s->drawn = ht_tensor_data(drawn);
    s->progress = numbers(kept, "progress", HT_SHAPE(PROGRESS));
    s->rows = numbers(kept, "rows", HT_SHAPE(s->seeds, COLUMNS));
    s->query = numbers(kept, "query", HT_SHAPE(m, OF_QUERY));
    s->shown = numbers(kept, "shown", HT_SHAPE(m, n));
    for (int k = 0; k < FORETELLERS; k++)
        s->scores[k] = numbers(kept, foretellers[k].key, HT_SHAPE(m, n));
    for (int k = 0; k < PROGRESS; k++) s->progress[k] = 0;
    if (s->options.resume) resume(s, &d, ht_tensor_data(flags));
}

void kept_save(study *s, int stage)
{
    double *row = now(s), spent = stopwatch_since(s->seed_began).all_cpu;
    row[CPU] = (isnan(row[CPU]) ? 0 : row[CPU]) + spent;
    s->seed_began = stopwatch_now();
    s->progress[STAGE] = stage;
    if (stage == BEGUN) s->progress[SEEDS_DONE]++;
    if (s->state) ht_set_write(s->kept, s->state);
    ht_check(s->ctx);
}

double *now(const study *s)
{
    return s->rows + (s->seed - s->options.common.seed) * COLUMNS;
}

bool trusted(const study *s, int64_t seed)
{
    const double *row = s->rows + seed * COLUMNS;
    return row[SMOOTH] >= ENOUGH && row[HALVES] >= ENOUGH;
}

bool refused(const study *s, int64_t seed)
{
    return !isnan(s->rows[seed * COLUMNS + TRAININGS]) && !trusted(s, seed) && !s->anyway;
}

int64_t n_queries(const study *s)
{
    return (int64_t)s->progress[QUERIES];
}

int64_t n_subsets(const study *s)
{
    return (int64_t)s->progress[SUBSETS];
}

/* 97.5 % of Student's t lies below it (Abramowitz & Stegun 26.7.5, and a table). */
static double student(int degrees)
{
    static const double low[] = {12.7062, 4.3027, 3.1824, 2.7764, 2.5706,
                                 2.4469,  2.3646, 2.3060, 2.2622, 2.2281};
    const double z = 1.959964, d = degrees;
    if (degrees <= 10) return low[degrees - 1];
    return z + (z * z * z + z) / (4 * d) +
           (5 * pow(z, 5) + 16 * z * z * z + 3 * z) / (96 * d * d);
}

static void own_interval(const study *s, int column, summary *to)
{
    int which = (column - OF_FORETELLERS) / OF_ONE,
        place = (column - OF_FORETELLERS) % OF_ONE;
    if (column < OF_FORETELLERS || place < LDS || place >= LDS + PARTS) return;
    to->low = s->rows[OF(which, place + LDS_LOW - LDS)];
    to->high = s->rows[OF(which, place + LDS_HIGH - LDS)];
}

/* Student's t knows nothing of 1. */
static bool is_correlation(int column)
{
    return column <= SMOOTH_SMALL || column == PROOF || column >= OF_FORETELLERS;
}

summary summary_of(const study *s, int column)
{
    summary of = {0, (double)NAN, (double)NAN, 0};
    double squares = 0;
    for (int64_t k = 0; k < s->seeds; k++) {
        double x = s->rows[k * COLUMNS + column];
        if (isnan(x)) continue;
        double off = x - of.mean;
        of.mean += off / ++of.n; /* Welford */
        squares += off * (x - of.mean);
    }
    if (!of.n) of.mean = (double)NAN;
    if (of.n > 1) {
        double half = student(of.n - 1) * sqrt(squares / (of.n - 1) / of.n);
        of.low = of.mean - half;
        of.high = of.mean + half;
        if (is_correlation(column)) {
            of.low = fmax(of.low, -1);
            of.high = fmin(of.high, 1);
        }
    } else if (s->seeds == 1) {
        own_interval(s, column, &of);
    }
    return of;
}
