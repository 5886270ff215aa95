/* SPDX-License-Identifier: MIT */
/* compare.c: a truncated hypergradient beside one of twice as many steps. Read next:
 * unroll/methods.c. */
#include <math.h>

#include "bilevel_internal.h"

bool hti_compare_open(ht_bilevel *b, const ht_bilevel_problem *problem,
                      const ht_bilevel_options *options)
{
    if (!options->compare) return true;
    ht_context *ctx = b->ctx;
    ht_bilevel_options twice = *options;
    int64_t k = options->truncate;
    if (b->method->kind != HT_TRUNCATED)
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                           "options.compare is set, but options.method is %s\n"
                           "  hint: it goes with HT_TRUNCATED and options.truncate",
                           b->method->name);
    if (problem->n_tasks)
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                           "options.compare is set, and so is problem.tasks\n"
                           "  hint: compare the training of one task");
    if (options->bytes)
        return HTI_REFUSED(
            ctx, HT_ERROR_ARGUMENT,
            "options.compare is set, and so is options.bytes, but it takes "
            "a second bilevel\n  hint: slots of HT_REVOLVE, which both get");
    twice.compare = false;
    twice.truncate = k <= problem->steps / 2 ? 2 * k : problem->steps;
    size_t live = ctx->live, peak = ctx->peak, before = b->memory.allocated_bytes;
    ctx->peak = live;
    b->twice = hti_bilevel_new(ctx, b->method, problem, &twice);
    if (before + ctx->peak - live > b->memory.recorded_peak)
        b->memory.recorded_peak = before + ctx->peak - live;
    b->memory.allocated_bytes += ctx->live - live;
    if (ctx->peak < peak) ctx->peak = peak;
    return b->twice != NULL;
}

/* |x - y| and |y|. */
static void apart(const ht_set *x, const ht_set *y, double *off, double *size)
{
    *off = *size = 0;
    for (int j = 0; j < y->n; j++)
        for (int64_t k = 0, n = ht_tensor_count(y->tensor[j]); k < n; k++) {
            double b = ht_tensor_get(y->tensor[j], k);
            *off = hypot(*off, ht_tensor_get(x->tensor[j], k) - b);
            *size = hypot(*size, b);
        }
}

void hti_compare_run(ht_bilevel *b, uint64_t outer_step, ht_bilevel_result *result)
{
    double off, size;
    if (!b->twice || !result->gradient) return;
    ht_bilevel_result twice = hti_run_whole(b->twice, outer_step, false);
    if (!twice.gradient) {
        result->gradient = result->gradient_theta0 = result->theta = NULL;
        return;
    }
    apart(result->gradient, twice.gradient, &off, &size);
    hti_note(b, "truncated: by %lld steps the gradient is %.1e, %.1e of it away",
             (long long)(b->problem.steps - b->twice->problem.first), size, off / size);
    result->note = b->note;
    result->seconds += twice.seconds;
}
