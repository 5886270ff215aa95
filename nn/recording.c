/* SPDX-License-Identifier: MIT */
/* recording.c: a function of sets as a program: recorded once, replayed on the sets as
 * they are then. Read next: optimizer.c. */
#include "nn_internal.h"

struct ht_recording {
    hti_owned owned;
    ht_context *ctx;
    int n_in, n_out; /* tensors, the step among those it reads */
    int n_sets, n_in_sets, n_loans;
    ht_program *program;
    ht_tensor *step;   /* i32 */
    ht_tensor **value; /* what it reads, the step first, then what it writes */
    hti_loan *loan;    /* of the sets it reads, then of those it writes */
};

static ht_set *recording_set(const ht_recording *r, int s)
{
    return r->loan[s].set;
}

static void recording_take(ht_recording *r, ht_set *const *sets, const char *role)
{
    for (int s = 0; sets[s]; s++)
        hti_set_lend(sets[s], &r->loan[r->n_sets++], "recording", role);
}

static void recording_list(ht_recording *r)
{
    ht_tensor **value = r->value;
    *value++ = r->step;
    for (int s = 0; s < r->n_sets; s++)
        for (int i = 0; i < recording_set(r, s)->n; i++)
            *value++ = recording_set(r, s)->tensor[i];
}

/* The set read that is the one written as s, or s. */
static int recording_same(const ht_recording *r, int s)
{
    for (int t = 0; t < r->n_in_sets && s >= r->n_in_sets; t++)
        if (recording_set(r, t) == recording_set(r, s)) return t;
    return s;
}

/* Variables for each set, NULL after each kind, and as a row the leaves that they are
 * to begin with: of a set that is read and written the same. */
static bool recording_leaves(const ht_recording *r, ht_tape *tape, ht_vars **vars,
                             ht_var *leaf)
{
    for (int k = 0; k < r->n_in + r->n_out; k++) {
        ht_array a = ht_tensor_array(r->value[k]);
        leaf[k] = ht_input_like(tape, ((ht_type){a.dtype, a.shape}));
    }
    int at = 1;
    for (int s = 0; s < r->n_sets; s++) {
        ht_vars *new = hti_vars_new(tape, recording_set(r, s), leaf[0]);
        if (!new) return false;
        int same = recording_same(r, s);
        for (int i = 0; i < new->n; i++, at++) {
            if (same != s) leaf[at] = vars[same]->var[i];
            new->var[i] = leaf[at];
        }
        if (same == s) hti_name_all(tape, new->n, new->var, new->name);
        vars[s + (s >= r->n_in_sets)] = new;
    }
    return true;
}

/* What is in the place of the leaves of what is written, `out`. One that is still there
 * is an error. */
static bool recording_results(const ht_recording *r, ht_vars *const *vars, ht_var *out)
{
    for (int k = 0; vars[k]; k++)
        for (int i = 0; i < vars[k]->n; i++, out++) {
            bool put = out->index != vars[k]->var[i].index;
            *out = vars[k]->var[i];
            if (put) continue;
            ht_context_fail(r->ctx, HT_ERROR_ARGUMENT, NULL,
                            "ht_recording_new: nothing was put in \"%s\" of out[%d]\n"
                            "  hint: ht_vars_set(out[%d], \"%s\", value), or, of "
                            "gradients, ht_vars_backward",
                            vars[k]->name[i], k, k, vars[k]->name[i]);
            return false;
        }
    return true;
}

static bool recording_grew(const ht_recording *r, const char *where)
{
    for (int s = 0; s < r->n_sets; s++)
        if (!hti_loan_holds(&r->loan[s], where)) return true;
    return false;
}

static void recording_record(ht_recording *r, ht_record_fn f, void *user)
{
    ht_tape *tape = ht_tape_new(r->ctx, HT_RECORD);
    size_t n = (size_t)(r->n_in + r->n_out), n_sets = (size_t)r->n_sets + 2;
    ht_var *leaf = hti_zalloc(r->ctx, n, sizeof *leaf);
    ht_vars **vars = hti_zalloc(r->ctx, n_sets, sizeof *vars);
    if (tape && leaf && vars && recording_leaves(r, tape, vars, leaf)) {
        ht_vars **out = vars + r->n_in_sets + 1;
        ht_var *result = leaf + r->n_in;
        f((const ht_vars *const *)vars, out, user);
        if (r->ctx->status == HT_OK && !recording_grew(r, "its function") &&
            recording_results(r, out, result))
            r->program = ht_program_new_at(tape, r->n_in, leaf, r->n_out, result, NULL);
    }
    hti_resize(r->ctx, vars, n_sets * sizeof *vars, 0);
    hti_resize(r->ctx, leaf, n * sizeof *leaf, 0);
    ht_tape_free(tape);
}

/* How many sets; the number of their tensors is added to *n. */
static int sets_count(const ht_set *const *sets, int *n)
{
    int k = 0;
    for (; sets[k]; k++) *n += sets[k]->n;
    return k;
}

ht_recording *ht_recording_new(const ht_set *const *in, ht_set *const *out,
                               ht_record_fn f, void *user)
{
    HT_ASSERT(in && out && out[0] && f, "ht_recording_new: in %p, out %p%s, function %s",
              (const void *)in, (const void *)out, out && !out[0] ? " of no set" : "",
              f ? "given" : "NULL");
    ht_context *ctx = out[0]->ctx;
    ht_recording *r = ctx->status == HT_OK ? hti_zalloc(ctx, 1, sizeof *r) : NULL;
    if (!r) return NULL;
    static const hti_kind kind = {.name = "recording"};
    hti_own(ctx, &r->owned, &kind);
    r->ctx = ctx;
    r->n_in = 1;
    r->n_in_sets = sets_count(in, &r->n_in);
    r->n_loans = r->n_in_sets + sets_count((const ht_set *const *)out, &r->n_out);
    r->step = ht_tensor_new(ctx, HT_I32, HT_SCALAR);
    r->loan = hti_zalloc(ctx, (size_t)r->n_loans, sizeof *r->loan);
    r->value = hti_zalloc(ctx, (size_t)(r->n_in + r->n_out), sizeof *r->value);
    if (ctx->status == HT_OK) {
        recording_take(r, (ht_set *const *)(uintptr_t)in, "in");
        recording_take(r, out, "out");
        recording_list(r);
        recording_record(r, f, user);
    }
    if (r->program) return r;
    ht_recording_free(r);
    return NULL;
}

ht_status ht_recording_run_at(ht_recording *r, int32_t step, const char *site)
{
    HT_ASSERT(r, "ht_recording_run: the recording is NULL (did making it fail? see "
                 "ht_check)");
    HTI_ALIVE(r, "ht_recording_run", "recording");
    if (r->ctx->status != HT_OK || recording_grew(r, NULL) ||
        !hti_step_counts(r->ctx, step, "ht_recording_run", site))
        return r->ctx->status;
    *(int32_t *)ht_tensor_data(r->step) = step;
    for (int s = r->n_in_sets; s < r->n_sets; s++) recording_set(r, s)->made_by = r;
    return ht_program_run_at(r->program, (const ht_tensor *const *)r->value,
                             r->value + r->n_in, site);
}

const ht_program *ht_recording_program(const ht_recording *r)
{
    HT_ASSERT(r, "ht_recording_program: the recording is NULL");
    HTI_ALIVE(r, "ht_recording_program", "recording");
    return r->program;
}

/* Run once more, watched; not if that would take a step further what it writes over. */
const char *hti_recording_bad(ht_recording *r, const char **site)
{
    for (int k = 0; k < r->n_out; k++)
        for (int j = 0; j < r->n_in; j++)
            if (r->value[r->n_in + k] == r->value[j]) return NULL;
    hti_program_watch(r->program, true);
    ht_program_run_at(r->program, (const ht_tensor *const *)r->value, r->value + r->n_in,
                      NULL);
    hti_program_watch(r->program, false);
    return hti_program_bad(r->program, site);
}

void ht_recording_free(ht_recording *r)
{
    if (!r) return;
    HTI_ALIVE(r, "ht_recording_free", "recording");
    for (int s = 0; s < r->n_sets; s++) {
        if (recording_set(r, s)->made_by == r) recording_set(r, s)->made_by = NULL;
        hti_set_return(&r->loan[s]);
    }
    ht_program_free(r->program);
    ht_tensor_free(r->step);
    hti_resize(r->ctx, r->loan, (size_t)r->n_loans * sizeof *r->loan, 0);
    hti_resize(r->ctx, r->value, (size_t)(r->n_in + r->n_out) * sizeof *r->value, 0);
    hti_retire(&r->owned, sizeof *r);
}
