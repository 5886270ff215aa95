/* SPDX-License-Identifier: MIT */
/* demo_smooth.c: whether the hypergradient of a demo is to be believed: S^ along what was
 * learned, at the size of a step of it and at a small one. The first says whether the
 * gradient foretells a step at all, the second why it does not.
 * Read next: demo_verdict.c, ../../bilevel/smoothness.c. */
#include <math.h>

#include "demo.h"

enum { PAIR = 48 };

/* Runs of weights of examples at 1, 0.5 and 0, as an experiment told them apart: with S^
 * of 0.98 or more the gradient ordered what leaving examples out does by a rank
 * correlation of 0.9 and more, with 0.70 and 0.39 by 0.64 and 0.42 or less. */
#define ENOUGH 0.95
#define SMALL  1e-3 /* of the element that moves most */
#define KNOWN  0.02 /* a training loss below it: learned by heart */

/* What a step of n moved on average, from `begin` to eta; gives the most of an element.
 */
static double mean_move(ht_set *v, const ht_set *begin, const ht_set *eta, int64_t n)
{
    double most = 0;
    for (int j = 0; j < ht_set_count(v); j++)
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(v, j)); k++) {
            double move = (ht_tensor_get(ht_set_at(eta, j), k) -
                           ht_tensor_get(ht_set_at(begin, j), k)) /
                          (double)n;
            ht_tensor_set(ht_set_at(v, j), k, move);
            most = fmax(most, fabs(move));
        }
    return most;
}

void demo_smooth(demo *d, ht_bilevel *training, const ht_set *begin)
{
    ht_set *eta = d->eta, *v = ht_set_clone(eta, 0), *end = ht_set_clone(eta, 0);
    ht_check(d->ctx);
    double most = mean_move(v, begin, eta, d->n_steps);
    progress(d->trainings, "asking whether to believe it", "");
    ht_set_copy(eta, begin);
    if (most > 0) {
        d->smooth = ht_bilevel_smoothness(training, v, 1);
        d->smooth_small = ht_bilevel_smoothness(training, v, SMALL / most);
        d->asked = true;
    }
    ht_set_copy(eta, end);
    ht_check(d->ctx);
    ht_set_free(v);
    ht_set_free(end);
}

/* Of the outer loss, one number, S^ is a sign; the weights say how much. */
static double least(const ht_smoothness *s)
{
    return s->outer < s->theta || isnan(s->outer) ? s->outer : s->theta;
}

bool demo_believes(const demo *d)
{
    return d->asked && least(&d->smooth) >= ENOUGH;
}

static const char *doubt(const demo *d)
{
    if (isnan(least(&d->smooth)))
        return "the training is not finite, or does not move. Try a smaller rate";
    if (!(least(&d->smooth_small) >= ENOUGH))
        return "a change of 0.001 already sends the weights elsewhere, by kinks (relu, "
               "largest values) or by rounding that grows. Try a smooth activation "
               "(gelu, softplus), a smaller inner rate, fewer inner steps";
    if (d->smooth.inner < KNOWN)
        return "the training follows small changes, but has learned its examples by "
               "heart, and turns within a step. Try fewer inner steps, a larger batch, a "
               "penalty";
    return "the training follows small changes, but turns within a step. Try a smaller "
           "outer rate";
}

/* "1.000 and 0.998" */
static void put_pair(char text[PAIR], const ht_smoothness *s)
{
    const double x[] = {s->theta, s->outer};
    int n = 0;
    for (int k = 0; k < 2; k++)
        n += snprintf(text + n, (size_t)(PAIR - n), isnan(x[k]) ? "%snone" : "%s%.3f",
                      k ? " and " : "", x[k]);
}

void demo_smooth_say(char text[DEMO_SENTENCE], const demo *d)
{
    char step[PAIR], small[PAIR];
    put_pair(step, &d->smooth);
    put_pair(small, &d->smooth_small);
    snprintf(text, DEMO_SENTENCE,
             "%s%s. Of what a step of the run changes in the weights and in the outer "
             "loss, %s go on in the next (S^, 1 at most, %.2f wanted), and %s at a "
             "change of 0.001",
             demo_believes(d) ? "to be believed"
                              : "do not trust it for what single changes do: ",
             demo_believes(d) ? "" : doubt(d), step, ENOUGH, small);
}

void demo_smooth_json(output *out, const demo *d)
{
    const ht_smoothness none = {(double)NAN, (double)NAN, .inner = (double)NAN};
    const ht_smoothness *s = d->asked ? &d->smooth : &none,
                        *small = d->asked ? &d->smooth_small : &none;
    json_text(out, "trusted", demo_believes(d) ? "true" : "false");
    json_number(out, "smooth_weights", s->theta);
    json_number(out, "smooth_outer", s->outer);
    json_number(out, "smooth_weights_small", small->theta);
    json_number(out, "smooth_outer_small", small->outer);
    json_number(out, "training_loss", s->inner);
}
