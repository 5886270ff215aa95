/* SPDX-License-Identifier: MIT */
/* nodes.c: what a node costs beside its numbers: long chains of 0-d f64 products and
 * sums, appended and run on an eager tape, and replayed as a program. Read next:
 * autograd/tape.c, autograd/run.c. */
#include <stdio.h>

#include "bench.h"
#include "hypertape.h"

enum { NODES_CHAIN = 10000 };

typedef struct nodes {
    ht_context *ctx;
    ht_tape *tape;
    ht_tensor *x, *w, *out;
    ht_program *program;
} nodes;

/* x <- w x + w, over and over: NODES_CHAIN nodes, and values that settle near 1. */
static ht_var nodes_chain(ht_var x, ht_var w)
{
    for (int i = 0; i < NODES_CHAIN; i += 2) x = ht_add(ht_mul(x, w), w);
    return x;
}

static bool nodes_say(const nodes *n)
{
    if (ht_context_status(n->ctx) == HT_OK) return true;
    fprintf(stderr, "bench: %s\n", ht_context_message(n->ctx));
    return false;
}

static bool nodes_open(nodes *n, ht_policy policy)
{
    *n = (nodes){.ctx = ht_context_new(&(ht_context_options){.threads = 1})};
    if (!n->ctx) return false;
    n->x = ht_tensor_new(n->ctx, HT_F64, HT_SCALAR);
    n->w = ht_tensor_new(n->ctx, HT_F64, HT_SCALAR);
    n->out = ht_tensor_new(n->ctx, HT_F64, HT_SCALAR);
    n->tape = ht_tape_new(n->ctx, policy);
    if (!nodes_say(n)) return false;
    ht_tensor_set(n->x, 0, 1);
    ht_tensor_set(n->w, 0, 0.5);
    return true;
}

static void nodes_close(nodes *n)
{
    ht_program_free(n->program);
    ht_tape_free(n->tape);
    ht_tensor_free(n->x);
    ht_tensor_free(n->w);
    ht_tensor_free(n->out);
    ht_context_free(n->ctx);
}

static void nodes_run_eager(void *user)
{
    nodes *n = user;
    ht_tape_reset(n->tape);
    nodes_chain(ht_input(n->tape, n->x), ht_input(n->tape, n->w));
}

static void nodes_run_program(void *user)
{
    nodes *n = user;
    ht_program_run(n->program, (const ht_tensor *[]){n->x, n->w}, &n->out);
}

static bool nodes_report(const nodes *n, const char *name, double ms, double count,
                         double most)
{
    if (!nodes_say(n)) return false;
    bench_report(&(bench_row){.name = name,
                              .ms = ms,
                              .value = 1e6 * ms / count,
                              .unit = "ns per node",
                              .most = most});
    return true;
}

bool bench_eager_scalar(void)
{
    nodes n;
    bool ok = nodes_open(&n, HT_EAGER);
    if (ok) {
        double ms = bench_time(nodes_run_eager, &n);
        ok = nodes_report(&n, "eager_scalar", ms, NODES_CHAIN, 60);
    }
    nodes_close(&n);
    return ok;
}

bool bench_replay_scalar(void)
{
    nodes n;
    bool ok = nodes_open(&n, HT_RECORD);
    if (ok) {
        ht_var in[] = {ht_input(n.tape, n.x), ht_input(n.tape, n.w)};
        ht_var y = nodes_chain(in[0], in[1]);
        n.program = ht_program_new(n.tape, 2, in, 1, &y);
        ok = nodes_say(&n);
    }
    if (ok) {
        double ms = bench_time(nodes_run_program, &n);
        ok = nodes_report(&n, "replay_scalar", ms, (double)ht_program_nodes(n.program),
                          15);
    }
    nodes_close(&n);
    return ok;
}
