/* SPDX-License-Identifier: MIT */
/* record.c: a function of named tensors, recorded once and replayed. */
#include "common.h"

enum { MOST_TENSORS = 400 };

recording record(ht_context *ctx, int n_sets, const ht_set *const *sets, int n_out,
                 record_fn *build, const void *user)
{
    recording r = {.ctx = ctx, .n_sets = n_sets};
    ht_var in[MOST_TENSORS], out[MOST_TENSORS];
    const ht_vars *vars[RECORD_SETS] = {NULL};
    int n = 0;
    ht_tape *tape = ht_tape_new(ctx, HT_RECORD);
    ht_check(ctx);
    for (int s = 0; s < n_sets; s++) {
        r.set[s] = sets[s];
        vars[s] = ht_vars_input(tape, sets[s], 0);
        ht_check(ctx);
        HT_ASSERT(n + ht_vars_count(vars[s]) <= MOST_TENSORS && n_out <= MOST_TENSORS,
                  "more than %d tensors", MOST_TENSORS);
        for (int i = 0; i < ht_vars_count(vars[s]); i++) in[n++] = ht_vars_at(vars[s], i);
    }
    build(vars, out, user);
    r.program = ht_program_new(tape, n, in, n_out, out);
    ht_tape_free(tape);
    ht_check(ctx);
    return r;
}

void record_run(const recording *r, ht_tensor *const *out)
{
    const ht_tensor *in[MOST_TENSORS];
    int n = 0;
    for (int s = 0; s < r->n_sets; s++)
        for (int i = 0; i < ht_set_count(r->set[s]); i++)
            in[n++] = ht_set_at(r->set[s], i);
    ht_program_run(r->program, in, out);
    ht_check(r->ctx);
}
