/* SPDX-License-Identifier: MIT */
/* rates.c: schedules: factors of an update rule's scalar as functions of the step
 * variable, so that one recorded program serves every step and what multiplies them stays
 * differentiable. Read next: update.c, which multiplies. */
#include <math.h>

#include "nn_internal.h"

static const double rate_pi = 3.14159265358979323846;

/* Which fields a schedule reads, beside warmup and what belongs to it. */
enum { RATE_WARMUP = 1, RATE_START = 2, RATE_STEPS = 4, RATE_EVERY = 8, RATE_RISE = 16 };

static bool rate_fail(ht_var step, const char *who, const char *field, const char *text,
                      const char *usual)
{
    ht_context_fail(ht_tape_context(step.tape), HT_ERROR_ARGUMENT, NULL,
                    "%s: %s %s\n  hint: %s", who, field, text, usual);
    return false;
}

static bool rate_valid(ht_var step, const ht_rate *r, const char *who, unsigned reads)
{
    HT_ASSERT(r, "%s: user is NULL; it points to an ht_rate%s%s", who,
              HTI_AT(step.tape ? ht_tape_context(step.tape)->site : NULL));
    hti_check_named(step, who, NULL);
    const struct {
        const char *name, *usual;
        double value;
        bool used, needed;
    } field[] = {
        {"warmup", "0 is none", (double)r->warmup, reads & RATE_WARMUP, false},
        {"start", "the factor of the first step, 0.1 or 1 / warmup", r->start,
         reads & RATE_START || r->warmup, true},
        {"steps", "those of the training, less the warmup", (double)r->steps,
         reads & RATE_STEPS, true},
        {"every", "steps from one drop to the next", (double)r->every, reads & RATE_EVERY,
         true},
        {"factor", "what is left at a drop, 0.1 or 0.5", r->factor, reads & RATE_EVERY,
         true},
        {"final", "the factor at the end, 0 or 0.01", r->final, reads & RATE_STEPS,
         false},
        {"rise", "usual is 0.3", r->rise, reads & RATE_RISE, true},
    };
    for (size_t k = 0; k < sizeof field / sizeof field[0]; k++) {
        const char *wrong = NULL;
        if (!isfinite(field[k].value) || field[k].value < 0)
            wrong = "is negative or not finite";
        else if (field[k].used && field[k].needed && field[k].value == 0)
            wrong = "is zero";
        else if (!field[k].used && field[k].value != 0)
            wrong = "is set, but the schedule has no such number";
        if (wrong) return rate_fail(step, who, field[k].name, wrong, field[k].usual);
    }
    double rising = r->rise * (double)r->steps;
    if (reads & RATE_RISE && !(rising > 1 && rising < (double)r->steps))
        return rate_fail(step, who, "rise",
                         "is the part of the steps that rise: more than one step, not "
                         "all",
                         "usual is 0.3");
    return true;
}

/* Steps since the warm-up, f64; negative in it. */
static ht_var rate_time(ht_var step, const ht_rate *r)
{
    return ht_sub(ht_cast(step, HT_F64), (double)r->warmup);
}

/* The line from start to 1 while it lasts, then factor. */
static ht_var rate_warmed(ht_var step, const ht_rate *r, ht_var factor)
{
    if (!r->warmup) return factor;
    ht_var t = ht_cast(step, HT_F64);
    ht_var line = ht_add(ht_mul(t, (1 - r->start) / (double)r->warmup), r->start);
    return ht_where(ht_greater((double)r->warmup, t), line, factor);
}

/* Half a cosine from `from` at x = 0 to `to` at x = 1, constant outside. */
static ht_var rate_half_cosine(double from, double to, ht_var x)
{
    ht_var wave = ht_cos(ht_mul(ht_clamp(x, 0.0, 1.0), rate_pi));
    return ht_add(ht_mul(ht_add(wave, 1.0), (from - to) / 2), to);
}

ht_var ht_rate_constant(ht_var step, const void *options)
{
    const ht_rate *r = options;
    if (!rate_valid(step, r, "ht_rate_constant", RATE_WARMUP))
        return hti_poison(step.tape);
    return rate_warmed(step, r, hti_constant(step.tape, 1, HT_F64, false, NULL));
}

ht_var ht_rate_step(ht_var step, const void *options)
{
    const ht_rate *r = options;
    if (!rate_valid(step, r, "ht_rate_step", RATE_WARMUP | RATE_EVERY))
        return hti_poison(step.tape);
    ht_var drops = ht_cast(ht_div(rate_time(step, r), (double)r->every), HT_I32);
    ht_var base = hti_constant(step.tape, r->factor, HT_F64, false, NULL);
    return rate_warmed(step, r, ht_pow(base, ht_cast(drops, HT_F64)));
}

ht_var ht_rate_cosine(ht_var step, const void *options)
{
    const ht_rate *r = options;
    if (!rate_valid(step, r, "ht_rate_cosine", RATE_WARMUP | RATE_STEPS))
        return hti_poison(step.tape);
    ht_var x = ht_div(rate_time(step, r), (double)r->steps);
    return rate_warmed(step, r, rate_half_cosine(1, r->final, x));
}

ht_var ht_rate_one_cycle(ht_var step, const void *options)
{
    const ht_rate *r = options;
    if (!rate_valid(step, r, "ht_rate_one_cycle", RATE_START | RATE_STEPS | RATE_RISE))
        return hti_poison(step.tape);
    ht_var t = rate_time(step, r);
    double last = (double)r->steps - 1, top = r->rise * (double)r->steps - 1;
    ht_var up = rate_half_cosine(r->start, 1, ht_div(t, top));
    ht_var down = rate_half_cosine(1, r->final, ht_div(ht_sub(t, top), last - top));
    return ht_where(ht_greater(t, top), down, up);
}
