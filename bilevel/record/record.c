/* SPDX-License-Identifier: MIT */
/* record.c: the callbacks on tapes, one tape at a time. Read next: recorder.c. */
#include "record.h"

static bool on_tape(hti_recorder *r, hti_operand batch, bool (*record)(hti_recorder *))
{
    bool ok = hti_tape_open(r, batch) && record(r);
    hti_tape_close(r);
    return ok;
}

bool hti_record(ht_bilevel *b, const ht_bilevel_options *options)
{
    hti_recorder r = {.b = b,
                      .options = options,
                      .n_theta = b->problem.theta->n,
                      .n_state = b->problem.state->n,
                      .n_eta = b->problem.eta->n};
    size_t n_flags = 3 * (size_t)r.n_theta + (size_t)r.n_state + 2 * (size_t)r.n_eta;
    r.present = hti_zalloc(b->ctx, n_flags, sizeof *r.present);
    if (!r.present) return false;
    r.eta_reached = r.present + 2 * r.n_theta + r.n_state + r.n_eta;
    r.theta_reached = r.eta_reached + r.n_eta;
    bool ok = on_tape(&r, HTI_END, hti_record_update) &&
              on_tape(&r, HTI_END, hti_record_initial) &&
              on_tape(&r, HTI_OUTER_BATCH, hti_record_outer) &&
              on_tape(&r, HTI_BATCH, hti_record_step);
    ht_program_free(r.update);
    ht_program_free(r.update_vjp);
    hti_resize(b->ctx, r.present, n_flags * sizeof *r.present, 0);
    return ok;
}
