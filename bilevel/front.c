/* SPDX-License-Identifier: MIT */
/* front.c: what the world calls of a bilevel: one training (bilevel.c), many side by side
 * (tasks.c), or one beside a longer one (compare.c). Read next: bilevel.c. */
#include <math.h>

#include "bilevel_internal.h"

ht_bilevel *ht_bilevel_new_at(ht_context *ctx, const ht_bilevel_problem *problem,
                              const ht_bilevel_options *options, const char *site)
{
    HT_ASSERT(ctx && problem, "ht_bilevel_new: ctx or problem is NULL%s%s", HTI_AT(site));
    ht_bilevel_options none = {0}, o = options ? *options : none;
    const char *outer = hti_enter(ctx, site);
    ht_bilevel *b = hti_bilevel_new(ctx, hti_method_of(&o), problem, &o);
    if (b && !(hti_tasks_open(b, problem, &o) && hti_compare_open(b, problem, &o))) {
        ht_bilevel_free(b);
        b = NULL;
    }
    ctx->site = outer;
    return b;
}

void ht_bilevel_free(ht_bilevel *b)
{
    if (!b) return;
    HTI_ALIVE(b, "ht_bilevel_free", "bilevel");
    HT_ASSERT(!b->run.running && !b->minimizing,
              "ht_bilevel_free: called by a callback of the bilevel's run");
    hti_tasks_close(b);
    hti_bilevel_free(b->twice);
    hti_bilevel_free(b);
}

size_t ht_bilevel_bytes(const ht_bilevel *b)
{
    HT_ASSERT(b, "ht_bilevel_bytes: bilevel is NULL");
    HTI_ALIVE(b, "ht_bilevel_bytes", "bilevel");
    return b->tasks ? hti_tasks_bytes(b) : hti_bilevel_bytes(b);
}

ht_bilevel_result ht_bilevel_run(ht_bilevel *b, uint64_t outer_step)
{
    HT_ASSERT(b,
              "ht_bilevel_run: bilevel is NULL (did ht_bilevel_new fail? see ht_check)");
    HTI_ALIVE(b, "ht_bilevel_run", "bilevel");
    ht_bilevel_result r = b->tasks ? hti_tasks_run(b, outer_step, false)
                                   : hti_run_whole(b, outer_step, false);
    hti_compare_run(b, outer_step, &r);
    ht_set *gradient = hti_gradient(b);
    for (int i = 0; i < gradient->n; i++)
        hti_tensor_write(gradient->tensor[i], "ht_bilevel_run", NULL);
    return r;
}

ht_bilevel_result ht_bilevel_evaluate(ht_bilevel *b, uint64_t outer_step)
{
    HT_ASSERT(
        b,
        "ht_bilevel_evaluate: bilevel is NULL (did ht_bilevel_new fail? see ht_check)");
    HTI_ALIVE(b, "ht_bilevel_evaluate", "bilevel");
    ht_bilevel_result r = b->tasks ? hti_tasks_run(b, outer_step, true)
                                   : hti_run_whole(b, outer_step, true);
    /* What an earlier run gave shares its memory with the outer loss's own part. */
    ht_set *gradient = hti_gradient(b);
    for (int i = 0; i < gradient->n; i++)
        ht_tensor_fill(gradient->tensor[i], (double)NAN);
    return r;
}
