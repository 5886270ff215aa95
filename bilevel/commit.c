/* SPDX-License-Identifier: MIT */
/* commit.c: the state a training goes on from, taken over from the last run. Read next:
 * minimize.c. */
#include <math.h>

#include "bilevel_internal.h"

static bool commit_valid(const ht_bilevel *b)
{
    const hti_problem *p = &b->problem;
    const ht_bilevel_result *r = &b->run.result;
    if (b->tasks)
        return HTI_REFUSED(b->ctx, HT_ERROR_ARGUMENT,
                           "ht_bilevel_commit: problem.tasks are trainings each from its "
                           "beginning\n  hint: a bilevel of one task goes on");
    if (b->twice)
        return HTI_REFUSED(b->ctx, HT_ERROR_ARGUMENT,
                           "ht_bilevel_commit: options.compare is set, and its second "
                           "training does not go on\n  hint: leave compare 0");
    if (p->theta == p->eta)
        return HTI_REFUSED(b->ctx, HT_ERROR_ARGUMENT,
                           "ht_bilevel_commit: theta is eta, which the parameters of a "
                           "run would replace\n  hint: give theta a set of its own");
    if (!b->run.ended)
        return HTI_REFUSED(b->ctx, HT_ERROR_ARGUMENT,
                           "ht_bilevel_commit: there is no run to commit: none has ended "
                           "without an error since this was made or last committed\n"
                           "  hint: ht_bilevel_run or ht_bilevel_evaluate first");
    if (r->bad_where != HT_BAD_TRAINING && isfinite(hti_largest(p->final, NULL)) &&
        isfinite(hti_largest(p->ended, NULL)))
        return true;
    return HTI_REFUSED(b->ctx, HT_ERROR_ARGUMENT,
                       "ht_bilevel_commit: the training of the last run is not finite "
                       "(from its step %lld on, op %s): theta stays as it was\n"
                       "  hint: look at result.bad_step before; a smaller rate",
                       (long long)r->bad_step, r->bad_op ? r->bad_op : "unknown");
}

ht_status ht_bilevel_commit(ht_bilevel *b)
{
    HT_ASSERT(b, "ht_bilevel_commit: bilevel is NULL");
    HTI_ALIVE(b, "ht_bilevel_commit", "bilevel");
    HT_ASSERT(!b->run.running, "ht_bilevel_commit: called by a callback of its run");
    hti_problem *p = &b->problem;
    if (b->ctx->status != HT_OK || !hti_sets_hold(b, NULL) || !commit_valid(b))
        return b->ctx->status;
    if (!p->begun) {
        if (!hti_state_begin(b, p->start)) return b->ctx->status;
    } else {
        ht_set *before = p->state;
        p->state = p->ended;
        p->ended = before;
    }
    p->start += b->run.result.inner_steps;
    b->run.ended = false;
    return ht_set_copy(p->theta, p->final);
}

const ht_set *ht_bilevel_state(const ht_bilevel *b)
{
    HT_ASSERT(b, "ht_bilevel_state: bilevel is NULL");
    HTI_ALIVE(b, "ht_bilevel_state", "bilevel");
    return b->problem.begun ? b->problem.state : NULL;
}

int64_t ht_bilevel_start(const ht_bilevel *b)
{
    HT_ASSERT(b, "ht_bilevel_start: bilevel is NULL");
    HTI_ALIVE(b, "ht_bilevel_start", "bilevel");
    return b->problem.start;
}
