/* SPDX-License-Identifier: MIT */
/* plain.c: see plain.h. Read next: hyper.c. */
#include "plain.h"

#include <string.h>

#include "nn_internal.h"

static ht_vars *plain_vars(ht_tape *tape, const ht_set *set, ht_var step)
{
    ht_vars *vars = set ? ht_vars_input(tape, set, 0) : NULL;
    if (vars) vars->step = step;
    return vars;
}

static int plain_list(const ht_vars *vars, int n, ht_var *to)
{
    for (int i = 0; vars && i < ht_vars_count(vars); i++) to[n++] = ht_vars_at(vars, i);
    return n;
}

void bench_plain_record(bench_plain *p)
{
    const ht_bilevel_problem *q = &p->problem;
    ht_context *ctx = ht_set_context(q->theta);
    ht_var in[BENCH_TENSORS], out[BENCH_TENSORS], gradient[BENCH_TENSORS];
    ht_tape *tape = ht_tape_new(ctx, HT_RECORD);
    ht_var step = ht_input_like(tape, (ht_type){HT_I32, HT_SCALAR});
    ht_vars *theta = plain_vars(tape, p->theta, step),
            *state = plain_vars(tape, p->state, step),
            *eta = plain_vars(tape, q->eta, step),
            *batch = plain_vars(tape, q->inner_data, step);
    if (ht_context_status(ctx) != HT_OK) {
        ht_tape_free(tape);
        return;
    }
    int n_theta = ht_vars_count(theta), n_out = n_theta + ht_vars_count(state);
    ht_var loss = q->inner(theta, eta, batch, q->user);
    ht_vars_grad(loss, theta, gradient);
    hti_update_emit(&q->update, theta, state, eta, q->steps, gradient, NULL, out,
                    out + n_theta);
    if (p->loss) out[n_out++] = loss;
    int n = plain_list(state, plain_list(theta, 0, in), in);
    n = plain_list(batch, plain_list(eta, n, in), in);
    in[n++] = step;
    ht_program_free(p->program);
    p->program = ht_program_new(tape, n, in, n_out, out);
    ht_tape_free(tape);
}

static int plain_tensors(const ht_set *set, int n, const ht_tensor **to)
{
    for (int i = 0; set && i < ht_set_count(set); i++) to[n++] = ht_set_at(set, i);
    return n;
}

/* Results are written over what they come from. */
static void plain_point(bench_plain *p)
{
    const ht_set *const moving[] = {p->theta, p->state};
    int n = plain_tensors(p->state, plain_tensors(p->theta, 0, p->in), p->in), m = 0;
    n = plain_tensors(p->problem.inner_data, plain_tensors(p->problem.eta, n, p->in),
                      p->in);
    p->in[n] = p->step;
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < ht_set_count(moving[s]); i++)
            p->out[m++] = ht_set_at(moving[s], i);
    p->out[m] = p->loss;
}

bool bench_plain_open(bench_plain *p, const ht_bilevel_problem *problem, bool loss)
{
    ht_context *ctx = ht_set_context(problem->theta);
    *p = (bench_plain){.problem = *problem};
    if (!hti_update_valid(ctx, &problem->update, problem->theta, problem->eta,
                          problem->steps))
        return false;
    p->theta = ht_set_clone(problem->theta, 0);
    p->state = hti_update_state(&problem->update, problem->theta);
    p->step = ht_tensor_new(ctx, HT_I32, HT_SCALAR);
    ht_dtype dtype = ht_tensor_dtype(ht_set_at(problem->theta, 0));
    if (loss) p->loss = ht_tensor_new(ctx, dtype, HT_SCALAR);
    if (ht_context_status(ctx) != HT_OK) return false;
    bench_plain_record(p);
    plain_point(p);
    return ht_context_status(ctx) == HT_OK;
}

void bench_plain_close(bench_plain *p)
{
    ht_program_free(p->program);
    ht_tensor_free(p->step);
    ht_tensor_free(p->loss);
    ht_set_free(p->theta);
    ht_set_free(p->state);
}

void bench_plain_step(bench_plain *p, int64_t step)
{
    const ht_bilevel_problem *q = &p->problem;
    if (q->inner_batch) q->inner_batch((uint64_t)step, q->inner_data, q->user);
    ht_tensor_set(p->step, 0, (double)step);
    ht_program_run(p->program, p->in, p->out);
}

void bench_plain_train(bench_plain *p)
{
    ht_set_copy(p->theta, p->problem.theta);
    for (int i = 0; i < ht_set_count(p->state); i++)
        ht_tensor_fill(ht_set_at(p->state, i), 0);
    for (int64_t t = 0; t < p->problem.steps; t++) bench_plain_step(p, t);
}
