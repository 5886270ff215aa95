/* SPDX-License-Identifier: MIT */
/* tables.c: how hypergradients grow: with the number of steps, of examples, with width
 * and with depth. Each row is held against the first of its table: time over what the
 * count says, the floating-point operations of its products. Where the count is linear,
 * `growth` stays near 1; above it, caches and memory; below it, fixed costs. The time to
 * record, derive and plan is held against the number of nodes; it is also that of taking
 * the memory. Read next: hyper.c. */
#include <stdio.h>

#include "bench.h"
#include "hyper.h"

/* Of a whole run, but for the outer loss. */
static double tables_flops(const hyper *h)
{
    return (double)h->c->steps *
           (ht_program_flops(hyper_forward(h)) + ht_program_flops(hyper_reverse(h)));
}

typedef struct tables_first {
    double ms, flops, record, nodes; /* 0: no row yet */
} tables_first;

static double tables_nodes(const hyper *h)
{
    return (double)(ht_program_nodes(hyper_forward(h)) +
                    ht_program_nodes(hyper_reverse(h)));
}

/* Record and plan again, warm. */
static double tables_record(hyper *h)
{
    ht_bilevel_free(h->bilevel);
    h->bilevel = NULL;
    hyper_open_bilevel(h);
    return 1e3 * h->record_seconds;
}

static void tables_row(hyper *h, const char *axis, int64_t at, tables_first *first)
{
    char name[64];
    double record = tables_record(h), nodes = tables_nodes(h), flops = tables_flops(h);
    double ms = bench_time(hyper_run_gradient, h);
    if (first->ms == 0) *first = (tables_first){ms, flops, record, nodes};
    snprintf(name, sizeof name, "%s_%s_%lld", h->c->name, axis, (long long)at);
    bench_report(&(bench_row){
        .name = name,
        .ms = ms,
        .value = ms / first->ms / (flops / first->flops),
        .unit = "growth",
        .extra = {{"gflop", flops / 1e9},
                  {"bytes", (double)h->last.predicted_bytes},
                  {"nodes", nodes},
                  {"record_ms", record},
                  {"record_growth", record / first->record / (nodes / first->nodes)}}});
}

static bool tables_case(const hyper_case *c, const char *axis, int64_t at,
                        tables_first *first)
{
    hyper h;
    bool ok = hyper_open(&h, c, 1) && hyper_open_bilevel(&h);
    if (ok) tables_row(&h, axis, at, first);
    ok = ok && hyper_good(&h);
    hyper_close(&h);
    return ok;
}

static bool tables_of_steps(const hyper_case *from)
{
    bool ok = true;
    tables_first first = {0};
    hyper_case c = *from;
    for (c.steps = 25; c.steps <= 400; c.steps *= 2)
        ok = tables_case(&c, "steps", c.steps, &first) && ok;
    return ok;
}

static bool tables_of_rows(void)
{
    bool ok = true;
    tables_first first = {0};
    hyper_case c = hyper_linear;
    c.outer_rows = 1000;
    for (c.rows = 500; c.rows <= 8000; c.rows *= 2) {
        c.batch = c.rows;
        ok = tables_case(&c, "rows", c.rows, &first) && ok;
    }
    return ok;
}

static bool tables_of_width(void)
{
    bool ok = true;
    tables_first first = {0};
    bench_model model = bench_mlp_300;
    hyper_case c = hyper_mlp;
    c.model = &model;
    c.steps = 25;
    for (model.width = 64; model.width <= 1024; model.width *= 2)
        ok = tables_case(&c, "width", model.width, &first) && ok;
    return ok;
}

/* No deeper: in a deeper one of these the gradients are denormal numbers. */
static bool tables_of_depth(void)
{
    bool ok = true;
    tables_first first = {0};
    bench_model model = bench_mlp_300;
    hyper_case c = hyper_mlp;
    c.model = &model;
    c.steps = 25;
    model.width = 128;
    for (model.depth = 1; model.depth <= 32; model.depth *= 2)
        ok = tables_case(&c, "depth", model.depth, &first) && ok;
    return ok;
}

bool bench_tables(void)
{
    bool ok = tables_of_steps(&hyper_linear);
    ok = tables_of_steps(&hyper_mlp) && ok;
    ok = tables_of_rows() && ok;
    ok = tables_of_width() && ok;
    return tables_of_depth() && ok;
}
