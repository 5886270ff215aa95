/* SPDX-License-Identifier: MIT */
/* minimize.c: an outer run, step by step: run, judge, move, commit, log, tell, save. What
 * decides when it ends is among the numbers that are saved, so that one that goes on ends
 * where it would have. Read next: guard.c, state.c. */
#include <math.h>
#include <string.h>

#include "outer.h"

/* Refusing. */

static bool options_valid(ht_context *ctx, const ht_outer_options *o)
{
    const struct {
        bool wrong;
        const char *why;
    } rule[] = {
        {!o->update.rule && !o->newton,
         "update has no rule\n  hint: .update = HT_ADAM(0.01)"},
        {o->newton < 0, "newton is negative"},
        {o->newton && o->update.rule,
         "newton is set, and so is update, but one of them moves eta"},
        {o->newton && o->online, "newton is set, and so is online, but a window's outer "
                                 "loss is not the next one's\n  hint: update"},
        {o->update.non_finite, "update.non_finite is set, but a gradient that is not "
                               "finite is never followed here: see guard"},
        {o->steps < 0, "steps is negative"},
        {!o->steps && o->tolerance == 0 && !o->patience && !o->each,
         "steps is 0, and there is neither tolerance, patience nor each to end the run"},
        {!(o->tolerance >= 0) || isinf(o->tolerance),
         "tolerance is negative or not finite"},
        {o->patience < 0, "patience is negative"},
        {o->save_every < 0, "save_every is negative"},
        {o->save_every && !o->save, "save_every is set, but save, the path, is NULL"},
        {o->save && o->log && !strcmp(o->save, o->log), "log and save are one file"},
        {o->guard < HT_GUARD_REFUSE || o->guard > HT_GUARD_OFF,
         "guard is none of HT_GUARD_REFUSE, _CLIP, _STOP and _OFF"},
    };
    for (size_t k = 0; k < sizeof rule / sizeof *rule; k++)
        if (rule[k].wrong)
            return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT, "ht_bilevel_minimize: options.%s",
                               rule[k].why);
    return true;
}

/* A step. */

static bool is_same(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

/* A step that was refused left eta as it was. If nothing else changes either, no batch
 * and no dropout of the outer loss, the next gives the same numbers, and so would all. */
static bool repeats(const hti_outer *r, double value, double gradient)
{
    const ht_bilevel_problem *p = &r->b->problem.asked;
    return r->at.in_a_row > 0 && !p->inner_batch && !p->outer_batch && !r->o->online &&
           is_same(r->at.outer, value) && is_same(r->at.gradient, gradient);
}

/* What eta is worth. In callbacks that see the run's result no other run may replace it.
 */
static void judge(hti_outer *r)
{
    hti_numbers *at = &r->at;
    ht_outer_step *now = &r->now;
    double value = now->result.outer;
    now->gradient = hti_set_norm(r->b->problem.gradient);
    r->repeated = repeats(r, value, now->gradient);
    at->outer = value;
    at->gradient = now->gradient;
    at->unimproved++;
    now->best = at->best;
    now->best_step = (int64_t)at->best_step;
    if (r->o->validate) {
        r->b->run.running = true;
        if (isfinite(value)) value = r->o->validate(now, r->o->user);
        r->b->run.running = false;
        now->validation = value;
    }
    if (!(value < at->best)) return;
    now->best = at->best = value;
    now->best_step = now->step;
    at->best_step = (double)now->step;
    at->unimproved = 0;
    ht_set_copy(r->b->problem.best, r->b->problem.eta);
}

static bool is_met(const hti_outer *r)
{
    return r->o->tolerance > 0 && r->at.gradient <= r->o->tolerance;
}

/* A step that found nothing lower is one that is refused. */
static bool newton(hti_outer *r)
{
    bool ok = hti_newton_move(r, &r->now.did);
    if (r->now.did != HT_OUTER_REFUSED) return ok;
    r->at.in_a_row++;
    r->at.refused++;
    return ok;
}

/* eta, along the gradient and back to where it may be. */
static bool move(hti_outer *r)
{
    hti_numbers *at = &r->at;
    ht_bilevel *b = r->b;
    bool stays = is_met(r) && r->now.result.bad_step < 0;
    ht_outer_did did = r->now.did = stays ? HT_OUTER_STAYED : hti_guard(r);
    at->in_a_row = did != HT_OUTER_REFUSED ? 0
                   : r->repeated           ? fmax(HTI_IN_A_ROW, at->in_a_row + 1)
                                           : at->in_a_row + 1;
    at->refused += did == HT_OUTER_REFUSED;
    at->clipped += did == HT_OUTER_CLIPPED;
    if (did == HT_OUTER_STAYED || did == HT_OUTER_REFUSED) return true;
    if (r->newton) return newton(r);
    if (ht_optimizer_step_at(r->optimizer, b->problem.gradient, NULL) != HT_OK)
        return false;
    b->run.running = true;
    if (r->o->project) r->o->project(b->problem.eta, r->o->user);
    b->run.running = false;
    return r->ctx->status == HT_OK;
}

/* A training that is not finite is not gone on with: the next step begins where this one
 * did. */
static bool commit_run(hti_outer *r)
{
    if (!r->o->online || r->now.result.bad_where == HT_BAD_TRAINING) return true;
    return ht_bilevel_commit(r->b) == HT_OK;
}

/* False after an error. */
static bool outer_step(hti_outer *r, bool *stop)
{
    int64_t k = (int64_t)r->at.step, every = r->o->save_every ? r->o->save_every : 1;
    r->now = (ht_outer_step){.step = k,
                             .result = ht_bilevel_run(r->b, (uint64_t)k),
                             .validation = (double)NAN,
                             .eta = r->b->problem.eta};
    if (r->ctx->status != HT_OK) return false;
    judge(r);
    if (r->ctx->status != HT_OK || !move(r) || !commit_run(r)) return false;
    r->at.step++;
    if (!hti_outer_log(r)) return false;
    *stop = r->o->each && !r->o->each(&r->now, r->o->user);
    if (r->ctx->status != HT_OK) return false;
    return *stop || (k + 1) % every || hti_outer_save(r);
}

/* The run. */

static ht_outer_end say_error(hti_outer *r)
{
    hti_outer_say(r, "an error: %s", ht_context_message(r->ctx));
    return HT_OUTER_ERROR;
}

/* The last refused step has said why. */
static ht_outer_end say_guard(hti_outer *r)
{
    char last[HTI_NOTE / 2];
    snprintf(last, sizeof last, "%s", r->now.why ? r->now.why : "see the log");
    if (r->repeated)
        hti_outer_say(
            r,
            "refused, run again with the same numbers, and so it would be for "
            "ever, as nothing changes from run to run: %s; a lower rate, of this "
            "run or of the training, or fewer steps of it may help",
            last);
    else
        hti_outer_say(r, "%.0f step%s in a row refused: %s", r->at.in_a_row,
                      r->at.in_a_row == 1 ? "" : "s", last);
    r->at.in_a_row = 0; /* who goes on tries again */
    return HT_OUTER_GUARD;
}

/* Whether the run ends here, which is for its numbers to say. */
static bool has_ended(hti_outer *r, ht_outer_end *end)
{
    const ht_outer_options *o = r->o;
    const hti_numbers *at = &r->at;
    int most = o->guard == HT_GUARD_STOP ? 1 : HTI_IN_A_ROW;
    if (o->steps && at->step >= (double)o->steps) {
        *end = HT_OUTER_STEPS;
        hti_outer_say(r, "all %.0f steps are done%s", at->step,
                      at->step > 1 && at->best_step <= 0
                          ? ", and none was better than where it began"
                          : "");
    } else if (at->in_a_row >= most) {
        *end = say_guard(r);
    } else if (is_met(r)) {
        *end = HT_OUTER_TOLERANCE;
        hti_outer_say(r, "|gradient| %.3g is at most the tolerance, %.3g", at->gradient,
                      o->tolerance);
    } else if (o->patience && at->unimproved >= (double)o->patience) {
        *end = HT_OUTER_PATIENCE;
        if (at->best_step < 0)
            hti_outer_say(r, "%.0f steps gave no finite value to judge by", at->step);
        else
            hti_outer_say(r, "%.0f steps brought nothing better than %.6g at step %.0f",
                          at->unimproved, at->best, at->best_step);
    } else {
        return false;
    }
    return true;
}

static ht_outer_end run_steps(hti_outer *r)
{
    ht_outer_end end;
    bool stop = false;
    while (!has_ended(r, &end)) {
        if (!outer_step(r, &stop)) return say_error(r);
        if (!stop) continue;
        end = HT_OUTER_EACH;
        hti_outer_say(r, "each said to stop, after step %lld", (long long)r->now.step);
        break;
    }
    return hti_outer_save(r) ? end : say_error(r);
}

/* An eta that begins where nothing can come of it, like the logarithm of a rate of 0. */
static bool eta_is_finite(const ht_set *eta)
{
    for (int i = 0; i < ht_set_count(eta); i++)
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(eta, i)); k++) {
            double value = ht_tensor_get(ht_set_at(eta, i), k);
            if (isfinite(value)) continue;
            return HTI_REFUSED(ht_set_context(eta), HT_ERROR_ARGUMENT,
                               "ht_bilevel_minimize: eta's \"%s\" is not finite: element "
                               "%lld is %g",
                               ht_set_name(eta, i), (long long)k, value);
        }
    return true;
}

/* Room for what a result points to, kept by the bilevel. */
static bool open_why(ht_bilevel *b)
{
    if (!b->why) b->why = hti_zalloc(b->ctx, HTI_NOTE, 1);
    return b->why;
}

static bool open_best(ht_bilevel *b)
{
    return hti_best_open(b) && ht_set_copy(b->problem.best, b->problem.eta) == HT_OK;
}

static bool is_one_loss(const ht_bilevel *b)
{
    return !b->problem.outers ||
           HTI_REFUSED(b->ctx, HT_ERROR_ARGUMENT,
                       "ht_bilevel_minimize: the outer loss is %lld losses, but one is "
                       "minimised\n  hint: ht_sum or ht_mean of them, in outer",
                       (long long)b->problem.outers);
}

static bool outer_open(hti_outer *r)
{
    const hti_problem *p = &r->b->problem;
    r->at = (hti_numbers){.outer = (double)NAN,
                          .best = (double)INFINITY,
                          .best_step = -1,
                          .gradient = (double)INFINITY,
                          .inner_steps = (double)p->steps,
                          .start = (double)p->start,
                          .begun = p->begun};
    if (r->ctx->status != HT_OK || !open_why(r->b) || !is_one_loss(r->b) ||
        !options_valid(r->ctx, r->o) || !hti_sets_hold(r->b, NULL) ||
        !eta_is_finite(p->eta) || !open_best(r->b))
        return false;
    ht_update none = HT_SGD(1);
    r->optimizer =
        ht_optimizer_new_at(p->eta, r->o->newton ? &none : &r->o->update, NULL);
    return r->optimizer && hti_newton_open(r) && hti_outer_open_state(r) &&
           hti_outer_open_log(r);
}

static ht_outer_result result_of(const hti_outer *r, ht_outer_end end)
{
    const hti_numbers *at = &r->at;
    const ht_bilevel *b = r->b;
    return (ht_outer_result){.outer = at->outer,
                             .best = at->best,
                             .steps = (int64_t)at->step,
                             .best_step = (int64_t)at->best_step,
                             .why = b->why ? b->why : "an error: no memory",
                             .end = end,
                             .best_eta = b->problem.best,
                             .gradient = at->gradient,
                             .refused = (int64_t)at->refused,
                             .clipped = (int64_t)at->clipped};
}

ht_outer_result ht_bilevel_minimize(ht_bilevel *b, const ht_outer_options *options)
{
    HT_ASSERT(b && options,
              "ht_bilevel_minimize: bilevel %p, options %p (did ht_bilevel_new fail? see "
              "ht_check)",
              (void *)b, (const void *)options);
    HTI_ALIVE(b, "ht_bilevel_minimize", "bilevel");
    HT_ASSERT(!b->run.running && !b->minimizing,
              "ht_bilevel_minimize: called by a callback of the same bilevel");
    hti_outer r = {.b = b, .ctx = b->ctx, .o = options};
    b->minimizing = true;
    ht_outer_end end = outer_open(&r) ? run_steps(&r) : HT_OUTER_ERROR;
    if (end != HT_OUTER_ERROR && options->keep_best && r.at.best_step >= 0)
        ht_set_copy(b->problem.eta, b->problem.best);
    if (!hti_outer_close_log(&r)) end = HT_OUTER_ERROR;
    hti_outer_close_state(&r);
    hti_newton_close(&r);
    ht_optimizer_free(r.optimizer);
    b->minimizing = false;
    if (end == HT_OUTER_ERROR && b->why) say_error(&r);
    return result_of(&r, end);
}
