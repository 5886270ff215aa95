/* SPDX-License-Identifier: MIT */
/* adam.c: the elementwise half of a training step: Adam over the MLP's 670,000
 * parameters, as the planner fuses it, against one loop by hand. The gradient is given:
 * the inner loss is the sum of theta g, and its value is dead code. Read next:
 * autograd/fuse.c, hand.c. */
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "floor.h"
#include "models.h"
#include "plain.h"

typedef struct adam {
    ht_context *ctx;
    ht_set *theta, *gradient;
    bench_plain plain;
    float *w, *m, *v, *g; /* of the loop by hand: all parameters in a row */
    ht_tensor *hand;
} adam;

static ht_var adam_loss(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                        void *user)
{
    ht_var sum = HT_ZERO;
    (void)eta, (void)user;
    for (int i = 0; i < ht_vars_count(theta); i++)
        sum = ht_add(sum, ht_sum(ht_mul(ht_vars_at(theta, i), ht_vars_at(batch, i))));
    return sum;
}

static bool adam_open(adam *a)
{
    *a = (adam){.ctx = ht_context_new(&(ht_context_options){.threads = 1})};
    if (!a->ctx) return false;
    a->theta = ht_set_new(a->ctx);
    if (ht_context_status(a->ctx) != HT_OK) return false;
    bench_mlp.init(&bench_mlp, a->theta);
    int64_t n = ht_set_elements(a->theta);
    a->gradient = ht_set_clone(a->theta, 0);
    a->hand = ht_tensor_new(a->ctx, HT_F32, HT_SHAPE(4, n));
    if (ht_context_status(a->ctx) != HT_OK) return false;
    ht_tensor_uniform(a->hand, 1, 0, 1);
    a->w = ht_tensor_data(a->hand);
    a->m = a->w + n;
    a->v = a->m + n;
    a->g = a->v + n;
    ht_bilevel_problem problem = {.inner = adam_loss,
                                  .theta = a->theta,
                                  .inner_data = a->gradient,
                                  .update = {.rule = &ht_adam,
                                             .rate = HT_FIXED(1e-3),
                                             .momentum = HT_FIXED(0.9),
                                             .beta2 = HT_FIXED(0.999),
                                             .eps = HT_FIXED(1e-8)},
                                  .steps = 1};
    return bench_plain_open(&a->plain, &problem, false);
}

static void adam_close(adam *a)
{
    bench_plain_close(&a->plain);
    ht_tensor_free(a->hand);
    ht_set_free(a->theta);
    ht_set_free(a->gradient);
    ht_context_free(a->ctx);
}

static void adam_run(void *user)
{
    adam *a = user;
    bench_plain_step(&a->plain, 0);
}

static void adam_run_hand(void *user)
{
    adam *a = user;
    bench_hand_adam((size_t)ht_set_elements(a->theta), a->w, a->m, a->v, a->g, 1e-3f,
                    0.9f, 0.999f, 1e-8f, 1);
}

bool bench_adam(void)
{
    adam a;
    bool ok = adam_open(&a);
    if (ok) {
        bench_pairs pairs = bench_compare(adam_run, adam_run_hand, &a);
        ok = ht_context_status(a.ctx) == HT_OK;
        if (ok) bench_report(&(bench_row){.name = "adam", .pairs = pairs, .most = 1.5});
    }
    if (!ok)
        fprintf(stderr, "bench: %s\n", a.ctx ? ht_context_message(a.ctx) : "no memory");
    adam_close(&a);
    return ok;
}
