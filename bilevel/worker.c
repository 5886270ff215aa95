/* SPDX-License-Identifier: MIT */
/* worker.c: a bilevel on a context of its own, with one thread and clones of the
 * problem's sets, so that several train side by side. Read next: tasks.c,
 * influence/influence.c. */
#include <string.h>

#include "bilevel_internal.h"

static ht_set *clone_on(ht_context *ctx, const ht_set *set)
{
    ht_set *clone = ht_set_new(ctx);
    for (int i = 0; clone && i < set->n; i++) {
        const ht_tensor *from = set->tensor[i];
        ht_tensor *to = ht_set_add_at(clone, set->name[i], ht_tensor_dtype(from),
                                      ht_tensor_shape(from), NULL);
        if (to) memcpy(to->array.data, from->array.data, ht_tensor_bytes(from));
    }
    return clone;
}

static void clone_sets(hti_worker *w, ht_bilevel_problem *p)
{
    ht_set **const at[] = {&p->theta, &p->eta, &p->inner_data, &p->outer_data};
    ht_set *from[4];
    for (int k = 0; k < 4; k++) {
        from[k] = *at[k];
        int same = 0;
        while (from[same] != from[k]) same++;
        if (same == k && from[k]) w->set[k] = clone_on(w->ctx, from[k]);
        *at[k] = w->set[same];
    }
}

bool hti_worker_error(ht_context *ctx, const hti_worker *w, const char *what, int64_t k)
{
    ht_status status = ht_context_status(w->ctx);
    if (status == HT_OK) return true;
    ht_context_fail(ctx, status, NULL, "bilevel: %s %lld: %s", what, (long long)k,
                    ht_context_message(w->ctx));
    ht_context_clear(w->ctx);
    return false;
}

bool hti_worker_open(ht_context *ctx, hti_worker *w, const hti_method *method,
                     ht_bilevel_problem p, const ht_bilevel_options *o)
{
    ht_context_options own = ctx->options;
    own.threads = 1;
    own.on_error = NULL;
    w->ctx = ht_context_new(&own);
    if (!w->ctx)
        return HTI_REFUSED(ctx, HT_ERROR_MEMORY, "no memory for a worker's context");
    clone_sets(w, &p);
    if (ht_context_status(w->ctx) == HT_OK)
        w->bilevel = hti_bilevel_new(w->ctx, method, &p, o);
    return true;
}

void hti_worker_close(hti_worker *w)
{
    hti_bilevel_free(w->bilevel);
    for (int k = 0; k < 4; k++) ht_set_free(w->set[k]);
    ht_context_free(w->ctx);
}

static void copy_values(const ht_set *to, const ht_set *from)
{
    for (int i = 0; i < from->n; i++)
        memcpy(to->tensor[i]->array.data, from->tensor[i]->array.data,
               ht_tensor_bytes(from->tensor[i]));
}

void hti_worker_refresh(const hti_worker *w, const ht_bilevel *b)
{
    const ht_bilevel_problem *p = &b->problem.asked;
    const ht_set *from[] = {b->problem.theta, b->problem.eta, p->inner_data,
                            p->outer_data};
    for (int j = 0; j < 4; j++)
        if (w->set[j] && !(j == 2 && p->inner_batch)) copy_values(w->set[j], from[j]);
}
