/* SPDX-License-Identifier: MIT */
/* slope.c: a slope held against differences of ever smaller steps. One step cannot tell a
 * wrong slope from a function that bends, jumps or is drowned in rounding on the scale of
 * that step; several can. Read next: check.c. */
#include <float.h>
#include <math.h>

#include "bilevel_internal.h"

/* From 1e-3 to below 1e-9. No whole number, so that a wave cannot look alike to each. */
enum { HTI_TABLE = 12 };
static const double slope_ratio = 3.7;

typedef struct hti_differences {
    double at; /* f(0) */
    double step[HTI_TABLE], forward[HTI_TABLE], backward[HTI_TABLE];
} hti_differences;

static void take_differences(hti_differences *d, hti_slope_fn f, void *user)
{
    double h = 1e-3, at = d->at = f(0, user);
    for (int k = 0; k < HTI_TABLE; k++, h /= slope_ratio) {
        d->step[k] = h;
        d->forward[k] = (f(h, user) - at) / h;
        d->backward[k] = (at - f(-h, user)) / h;
    }
}

static double slope_central(const hti_differences *d, int k)
{
    return (d->forward[k] + d->backward[k]) / 2;
}

/* Central differences extrapolated to a step of 0, and how far that may be off (Ridders
 * 1982; Richardson: errors in h^2, h^4, ...). */
static double extrapolate(const hti_differences *d, double *off)
{
    double row[HTI_TABLE] = {0}, best = (double)NAN;
    *off = (double)INFINITY;
    for (int k = 0; k < HTI_TABLE; k++) {
        double above = row[0], power = 1;
        row[0] = slope_central(d, k);
        for (int j = 1; j <= k; j++) {
            power *= slope_ratio * slope_ratio;
            double left = row[j - 1], next = (left * power - above) / (power - 1);
            double error = fmax(fabs(next - left), fabs(next - above));
            above = row[j];
            row[j] = next;
            if (!(error < *off)) continue;
            *off = error;
            best = next;
        }
    }
    return best;
}

/* Three neighbouring steps: the mean of their differences and how far apart they lie. */
typedef struct hti_look {
    double mean, spread;
} hti_look;

static hti_look look_at(const double *difference)
{
    double a = difference[0], b = difference[1], c = difference[2];
    return (hti_look){(a + b + c) / 3, fmax(fmax(fabs(a - b), fabs(b - c)), fabs(a - c))};
}

/* Differences of both sides settle, at different values. */
static bool is_kink(hti_look forward, hti_look backward, double least)
{
    double gap = fabs(forward.mean - backward.mean);
    return gap > least && fmax(forward.spread, backward.spread) <= gap / 4;
}

/* What rounding f by so many parts in 2^52 makes of a difference: by a few it must, the
 * sums of a training may by some thousands. */
enum { HTI_FEW = 4, HTI_THOUSANDS = 10000 };
static double slope_rounding(const hti_differences *d, int k, double parts)
{
    return parts * DBL_EPSILON * fabs(d->at) / d->step[k];
}

/* Whether these three steps saw all there is: their differences are near to each other
 * for their size, nearer than those of larger steps, and smaller ones saw the same, but
 * for rounding. A jump or bend below all steps, and chaos, make them grow to the last. */
static bool look_settled(const hti_differences *d, const hti_look *look, int k)
{
    double rounding = slope_rounding(d, k + 2, HTI_THOUSANDS);
    bool settled = look[k].spread <= fmax(fabs(look[k].mean) / 4, rounding) &&
                   (k == 0 || look[k].spread <= look[k - 1].spread + rounding);
    for (int finer = k + 1; finer <= HTI_TABLE - 3; finer++) {
        double slack = look[k].spread + slope_rounding(d, finer + 2, HTI_THOUSANDS);
        settled = settled && fabs(look[finer].mean - look[k].mean) <= slack &&
                  look[finer].spread <= slack;
    }
    return settled;
}

/* Three steps whose differences, of both sides, settle four times nearer to each other
 * than to the slope contradict it. */
static void judge_looks(hti_judgement *j, const hti_differences *d, double slope,
                        double least)
{
    hti_look look[HTI_TABLE];
    for (int k = 0; k <= HTI_TABLE - 3; k++) {
        hti_look forward = look_at(d->forward + k), backward = look_at(d->backward + k);
        look[k].mean = (forward.mean + backward.mean) / 2;
        look[k].spread = fmax(fmax(forward.spread, backward.spread),
                              fabs(forward.mean - backward.mean));
        look[k].spread = fmax(look[k].spread, slope_rounding(d, k + 2, HTI_FEW));
        if (!isfinite(forward.mean) || !isfinite(backward.mean))
            look[k].spread = (double)INFINITY;
        if (!is_kink(forward, backward, least)) continue;
        j->why = HTI_KINK; /* the last: of the smallest steps */
        j->forward = forward.mean;
        j->backward = backward.mean;
    }
    for (int k = HTI_TABLE - 3; k >= 0 && j->verdict != HTI_WRONG; k--) {
        double away = fabs(look[k].mean - slope);
        if (look[k].spread > away / 4 || !(away > least)) continue;
        if (!look_settled(d, look, k)) continue;
        j->verdict = HTI_WRONG;
        j->off = away;
    }
}

hti_judgement hti_judge_slope(hti_slope_fn f, void *user, double slope, double least)
{
    const double h = 1e-5;
    hti_judgement j = {.verdict = HTI_RIGHT};
    j.off = fabs((f(h, user) - f(-h, user)) / (2 * h) - slope);
    if (j.off <= least) return j;
    hti_differences d;
    double uncertain;
    take_differences(&d, f, user);
    double off = fabs(extrapolate(&d, &uncertain) - slope);
    if (off < j.off || isnan(j.off)) j.off = off;
    if (j.off <= least) return j;
    j.verdict = HTI_UNDECIDED;
    judge_looks(&j, &d, slope, least);
    return j;
}
