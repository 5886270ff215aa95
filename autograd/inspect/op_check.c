/* SPDX-License-Identifier: MIT */
/* op_check.c: ht_op_check, every check on one row of the op table. The built-in rows and
 * a user's own go through the same function. Here: what is no row at all, and the walk
 * over samples, views, seeds and groups of identities. Read next: op_check_case.c. */
#include <stdarg.h>

#include "op_check.h"

/* Every group of identities that the case is for. */
static bool op_identities_hold(hti_op_case *c)
{
    const hti_op_options *options = &c->check->options;
    unsigned flags = c->check->op->flags;
    bool f64 = c->dtype == HT_F64, derives = f64 && c->derives;
    bool constant = f64 && flags & HT_OP_NO_GRADIENT;
    bool own = !(flags & HT_OP_STOPS); /* rules are the derivative of run */
    const struct {
        hti_op_group *holds;
        bool applies;
    } groups[] = {
        {hti_op_first, derives},
        {hti_op_fused, f64 && options->decompose},
        {hti_op_second, derives && own},
        {hti_op_third, derives && own},
        {hti_op_refused, constant},
        {hti_op_flat, constant && own},
        {hti_op_f32, !f64},
        {hti_op_flags, flags & (HT_OP_LINEAR | HT_OP_COMMUTATIVE)},
        {hti_op_replayed, true},
        {options->also, options->also != NULL},
    };
    for (size_t k = 0; k < sizeof groups / sizeof *groups; k++) {
        if (!groups[k].applies) continue;
        c->check->cases++;
        if (!groups[k].holds(c)) return false;
    }
    return true;
}

static bool op_case_holds(hti_op_check *check, const ht_sample *sample,
                          hti_op_layout layout, ht_dtype dtype, uint64_t seed)
{
    hti_op_case c;
    bool ok =
        hti_op_open(&c, check, sample, layout, dtype, seed) && op_identities_hold(&c);
    hti_op_close(&c);
    return ok;
}

static bool op_sample_holds(hti_op_check *check, const ht_sample *sample)
{
    bool ok = true;
    for (int k = 0; ok && k < check->options.rounds * HTI_OP_LAYOUTS; k++) {
        hti_op_layout layout = (hti_op_layout)(k % HTI_OP_LAYOUTS);
        uint64_t seed = check->options.seed + (uint64_t)k;
        ok = op_case_holds(check, sample, layout, HT_F64, seed) &&
             op_case_holds(check, sample, layout, HT_F32, seed);
    }
    return ok;
}

/* Rows that are none. */

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static bool
op_refuse(const hti_op_check *check, const char *format, ...)
{
    const char *name = check->op->name;
    va_list list;
    FILE *f = check->options.report;
    if (!f) return false;
    fprintf(f, "%s: ", name ? name : "(no name)");
    va_start(list, format);
    vfprintf(f, format, list);
    va_end(list);
    fputc('\n', f);
    return false;
}

static bool op_row_fits(const hti_op_check *check)
{
    const ht_op *op = check->op;
    bool constant = op->flags & HT_OP_NO_GRADIENT;
    if (!op->name) return op_refuse(check, "the row has no name");
    if (!op->run) return op_refuse(check, "the row has no run");
    if (op->n_samples < 1 || !op->samples)
        return op_refuse(check, "the row has no samples: nothing would be checked");
    if (constant && (op->vjp || op->jvp))
        return op_refuse(check, "vjp or jvp beside HT_OP_NO_GRADIENT: they would never "
                                "be called");
    if (!constant && !(op->vjp && op->jvp) && !op->decompose)
        return op_refuse(check,
                         "no %s and no decompose: give it one, or "
                         "HT_OP_NO_GRADIENT",
                         op->vjp ? "jvp" : "vjp");
    return true;
}

static bool op_input_fits(const hti_op_check *check, const ht_sample *s, int i)
{
    const ht_sample_input *in = &s->in[i];
    int sample = (int)(s - check->op->samples);
    if (in->dtype && !hti_dtype_is_valid(in->dtype))
        return op_refuse(check, "sample %d, input %d: dtype %d is none", sample, i,
                         (int)in->dtype);
    if (in->dtype ? in->low > in->high : !(in->low < in->high))
        return op_refuse(check, "sample %d, input %d: the range [%g, %g] is empty",
                         sample, i, in->low, in->high);
    if (in->shape.rank < 0 || in->shape.rank > HT_MAX_RANK)
        return op_refuse(check, "sample %d, input %d: %d axes; 0 to %d can be", sample, i,
                         in->shape.rank, HT_MAX_RANK);
    for (int k = 0; k < in->shape.rank; k++)
        if (in->shape.dim[k] < HT_SOME_3)
            return op_refuse(check, "sample %d, input %d: %lld is no size", sample, i,
                             (long long)in->shape.dim[k]);
    return true;
}

static bool op_samples_fit(const hti_op_check *check)
{
    const ht_op *op = check->op;
    int floats = 0;
    for (int s = 0; s < op->n_samples; s++) {
        const ht_sample *sample = &op->samples[s];
        if (sample->n_in < 1 || sample->n_in > HT_OP_INPUTS)
            return op_refuse(check, "sample %d has %d inputs, expected 1 to %d", s,
                             sample->n_in, HT_OP_INPUTS);
        if (op->flags & HT_OP_COMMUTATIVE && sample->n_in != 2)
            return op_refuse(check, "sample %d has %d inputs, HT_OP_COMMUTATIVE 2", s,
                             sample->n_in);
        if (!sample->attributes != !op->attribute_size)
            return op_refuse(check, "sample %d: attributes %s, the row's have %zu bytes",
                             s, sample->attributes ? "given" : "are NULL",
                             op->attribute_size);
        for (int i = 0; i < sample->n_in; i++) {
            if (!op_input_fits(check, sample, i)) return false;
            floats += sample->in[i].dtype == 0;
        }
    }
    if (floats || op->flags & HT_OP_NO_GRADIENT) return true;
    return op_refuse(check, "no sample has an input of dtype 0, the float under test: "
                            "derivatives would go unchecked");
}

/* The entries. */

/* The one place where a check's tapes are made. */
static ht_tape *op_new_tape(hti_op_check *check, ht_policy policy)
{
    ht_tape *tape = ht_tape_new(check->ctx, policy);
    if (tape) tape->hook = check->options.hook;
    return tape;
}

static bool op_row_holds(hti_op_check *check)
{
    bool ok = check->eager && check->recorded;
    if (!ok) op_refuse(check, "%s", ht_context_message(check->ctx));
    for (int s = 0; ok && s < check->op->n_samples; s++)
        ok = op_sample_holds(check, &check->op->samples[s]);
    if (ok && !check->compared)
        return op_refuse(check, "no sample has elements: nothing would be checked");
    return ok;
}

bool hti_op_check_row(ht_context *ctx, const ht_op *op, const hti_op_options *options,
                      hti_op_tally *tally)
{
    hti_op_check check = {.op = op, .options = *options};
    if (op->decompose) check.options.decompose = op->decompose;
    *tally = (hti_op_tally){0};
    if (op == &hti_op_input || op == &hti_op_constant) return true;
    if (!op_row_fits(&check) || !op_samples_fit(&check)) return false;
    ht_context_options own = ctx->options;
    own.on_error = NULL;
    check.ctx = ht_context_new(&own);
    if (!check.ctx) return op_refuse(&check, "no memory for a context");
    check.ctx->fuse_least = 1;
    check.eager = op_new_tape(&check, HT_EAGER);
    check.recorded = op_new_tape(&check, HT_RECORD);
    bool ok = op_row_holds(&check);
    ht_tape_free(check.eager);
    ht_tape_free(check.recorded);
    ht_context_free(check.ctx);
    *tally = (hti_op_tally){check.cases, check.ratios};
    return ok;
}

bool ht_op_check(ht_context *ctx, const ht_op *op, FILE *report, int64_t *cases)
{
    HT_ASSERT(ctx && op, "ht_op_check: ctx %p, op %p", (void *)ctx, (const void *)op);
    hti_op_tally tally;
    hti_op_options options = {
        .seed = ht_context_seed(ctx), .rounds = HTI_OP_ROUNDS, .report = report};
    bool ok = hti_op_check_row(ctx, op, &options, &tally);
    if (cases) *cases = tally.cases;
    return ok;
}
