/* SPDX-License-Identifier: MIT */
/* template_method.c: the smallest bilevel method, to copy; the tests run it. It gives
 * dF/d eta at theta_T held fixed, what is left of the hypergradient if the training is
 * not differentiated at all. Read next: README.md, "Add a bilevel method". */
#include "bilevel_internal.h"

static bool direct_fits(ht_context *ctx, const ht_bilevel_options *o)
{
    return !o->truncate ||
           HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                       "options.method is HT_DIRECT, but options.truncate is "
                       "set, and no step is differentiated");
}

static bool direct_record_initial(hti_recorder *r)
{
    (void)r; /* no derivative of theta_0 */
    return true;
}

static bool direct_record(hti_recorder *r)
{
    return hti_cut_call(r, HTI_FORWARD) && hti_record_end(r);
}

/* The state a step reads and the one it writes; dF/d theta, which the outer loss gives.
 * */
static hti_room direct_room(const ht_bilevel *b, hti_choice c)
{
    (void)b, (void)c;
    return (hti_room){.blocks = 2, .cotangents = 1};
}

static void direct_refuse(const ht_bilevel *b, const ht_bilevel_options *o)
{
    hti_refuse(b, o, "the direct method");
}

/* The gradient set holds dF/d eta once the outer loss has run. */
static bool direct_run(ht_bilevel *b, uint64_t outer_step)
{
    return hti_evaluate_run(b, outer_step);
}

static void direct_explain(ht_bilevel *b)
{
    hti_note(b, "direct: the training is not differentiated");
}

const hti_method hti_method_direct = {.kind = HT_AUTO, /* HT_DIRECT, in ht_bilevel.h */
                                      .name = "HT_DIRECT",

                                      .fits = direct_fits,
                                      .record_initial = direct_record_initial,
                                      .record = direct_record,
                                      .room = direct_room,
                                      .refuse = direct_refuse,
                                      .run = direct_run,
                                      .explain = direct_explain};
