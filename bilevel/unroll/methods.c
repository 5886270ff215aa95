/* SPDX-License-Identifier: MIT */
/* methods.c: the methods that sweep back over the steps, as rows. They differ in what is
 * recorded, and in how far the sweep goes. Read next: sweep.c; forward.c, the row that
 * goes the other way. */
#include "checkpoints.h"
#include "disk.h"
#include "unroll.h"

bool hti_slots_fit(ht_context *ctx, const ht_bilevel_options *o)
{
    static const char *const name[] = {"HT_SCHEDULE_AUTO", "HT_STORE_ALL",
                                       "HT_TWO_LEVEL"};
    if (o->schedule == HT_REVOLVE || !o->slots) return true;
    return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                       "options.slots is %lld, but options.schedule is %s, "
                       "which takes no number of slots\n"
                       "  hint: HT_REVOLVE does; or leave slots 0 and set options.bytes",
                       (long long)o->slots, name[o->schedule]);
}

/* Revolve needs slots, or a budget to find them. */
static bool reverse_fits(ht_context *ctx, const ht_bilevel_options *o)
{
    if (!hti_slots_fit(ctx, o)) return false;
    return o->schedule != HT_REVOLVE || o->slots || o->bytes ||
           HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                       "revolve needs options.slots, or options.bytes to find them");
}

static bool first_order_fits(ht_context *ctx, const ht_bilevel_options *o)
{
    if (!o->truncate) return reverse_fits(ctx, o);
    return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                       "options.method is HT_FIRST_ORDER, but options.truncate is %lld\n"
                       "  hint: leave it 0; or HT_TRUNCATED, with second derivatives",
                       (long long)o->truncate);
}

static bool truncated_fits(ht_context *ctx, const ht_bilevel_options *o)
{
    if (o->truncate) return reverse_fits(ctx, o);
    return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                       "HT_TRUNCATED needs options.truncate, the number of last "
                       "steps to differentiate");
}

static bool one_step_fits(ht_context *ctx, const ht_bilevel_options *o)
{
    if (!o->truncate) return reverse_fits(ctx, o);
    return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                       "options.method is HT_ONE_STEP, but options.truncate is %lld\n"
                       "  hint: HT_TRUNCATED differentiates the last `truncate` steps",
                       (long long)o->truncate);
}

/* What a truncated sweep does not reach. */
static void explain_truncated(ht_bilevel *b)
{
    const hti_problem *p = &b->problem;
    hti_note(b,
             "truncated: only the last %lld of %lld steps are differentiated, so the "
             "gradient is biased",
             (long long)(p->steps - p->first), (long long)p->steps);
    hti_note_init_alone(b);
}

void hti_unroll_explain(ht_bilevel *b)
{
    if (b->programs.asymmetric)
        hti_note(b,
                 "reverse over reverse: %s stands in the inner loss, so its Hessian may "
                 "not be symmetric",
                 b->programs.asymmetric);
    if (b->problem.first > 0) explain_truncated(b);
    if (b->method->kind == HT_FIRST_ORDER)
        hti_note(b,
                 "first order: inner gradients are taken as constants, so the gradient "
                 "is biased");
}

/* What lies on disk, and how often it is written and read. */
static void tell_segments(const ht_bilevel *b, FILE *f)
{
    hti_choice c = b->memory.choice;
    int64_t n = hti_reversed(b), segments = hti_segments(c, n);
    double state = (double)b->memory.block_bytes;
    fprintf(f, "disk      %lld segments of %lld steps, ", (long long)segments,
            (long long)c.segment);
    hti_print_bytes(f, (double)hti_disk_size(b, c));
    fprintf(f, ": %lld states; ", (long long)c.places);
    hti_print_bytes(f, (double)hti_plan_stored(c, n) * state);
    fprintf(f, " of them written, ");
    hti_print_bytes(f, (double)(segments - 1) * state);
    fprintf(f, " read\n");
}

/* The schedule, why it, and what a run comes to. */
static void tell_sweep(const ht_bilevel *b, FILE *f)
{
    static const char *const name[] = {"automatic", "store-all", "two-level", "revolve",
                                       "none"};
    hti_choice c = b->memory.choice;
    int64_t n = hti_reversed(b), first = b->problem.first;
    int64_t steps = hti_plan_forward_steps(c, n);
    const char *why = b->options.schedule ? "as asked for"
                      : !b->options.bytes ? "there being no budget"
                      : c.slots == n      ? "as all states fit the budget"
                                          : "as all states would not fit the budget";
    fprintf(f, "schedule  %s, %s: %lld of %lld states are kept\n", name[c.schedule], why,
            (long long)c.slots, (long long)n);
    if (c.segment) tell_segments(b, f);
    fprintf(f, "run       %lld steps forward, %lld back, %.3g + %.3g flops each\n",
            (long long)(first + steps), (long long)n, hti_step_flops(b, false),
            hti_step_flops(b, true));
}

#define SWEEP                                                                         \
    .keeps_states = true, .many = true, .record_initial = hti_record_initial_reverse, \
    .room = hti_reverse_room, .refuse = hti_reverse_refuse, .run = hti_reverse_run,   \
    .explain = hti_unroll_explain, .explain_run = hti_disk_explain, .tell = tell_sweep

/* clang-format off */
const hti_method hti_method_reverse = {
    .kind = HT_REVERSE, .name = "HT_REVERSE", .fits = reverse_fits,
    .otherwise = &hti_method_reverse_reverse, .record = hti_record_mixed, SWEEP};
const hti_method hti_method_reverse_reverse = {
    .kind = HT_REVERSE_REVERSE, .name = "HT_REVERSE_REVERSE", .fits = reverse_fits,
    .record = hti_record_reverse_twice, SWEEP};
const hti_method hti_method_truncated = {
    .kind = HT_TRUNCATED, .name = "HT_TRUNCATED", .fits = truncated_fits,
    .record = hti_record_mixed, SWEEP};
const hti_method hti_method_one_step = {
    .kind = HT_ONE_STEP, .name = "HT_ONE_STEP", .last_steps = 1, .fits = one_step_fits,
    .record = hti_record_mixed, SWEEP};
const hti_method hti_method_first_order = {
    .kind = HT_FIRST_ORDER, .name = "HT_FIRST_ORDER", .fits = first_order_fits,
    .record = hti_record_first_order,
    .follows = HTI_BY_INIT | HTI_BY_UPDATE | HTI_BY_OUTER, SWEEP};
/* clang-format on */
