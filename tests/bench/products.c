/* SPDX-License-Identifier: MIT */
/* products.c: what hyper-cleaning spends its time on, 5,000 x 784 x 10: its inner step
 * against its two products X.W and X'.R by our kernels, and against itself with OpenBLAS
 * products (their time, taken in the same turns, put in the place of ours'); and each
 * product against a loop that only reads X, which bounds any of them, and beside that
 * against its multiply-adds in registers: X is 16 MB, which a large cache holds, so that
 * the same is measured with X from memory. Read next: tensor/skinny.c, hyper.c. */
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "floor.h"
#include "hyper.h"
#include "kernels.h"

enum { PRODUCTS_COPIES = 8 }; /* of X: more than a cache holds */

typedef struct products {
    hyper h;
    ht_tensor *copy[PRODUCTS_COPIES];
    int turn; /* the next copy; -1: always X itself */
    ht_tensor *logits, *residual, *gradient;
    uint64_t sink;
    float sum;
} products;

static void products_close(products *p)
{
    ht_tensor_free(p->logits);
    ht_tensor_free(p->residual);
    ht_tensor_free(p->gradient);
    for (int k = 0; k < PRODUCTS_COPIES; k++) ht_tensor_free(p->copy[k]);
    hyper_close(&p->h);
}

static bool products_open(products *p)
{
    *p = (products){.turn = -1};
    if (!hyper_open(&p->h, &hyper_linear, 1)) return false;
    ht_shape out = HT_SHAPE(hyper_linear.rows, 10);
    p->logits = ht_tensor_new(p->h.ctx, HT_F32, out);
    p->residual = ht_tensor_new(p->h.ctx, HT_F32, out);
    p->gradient = ht_tensor_new(p->h.ctx, HT_F32, HT_SHAPE(784, 10));
    if (p->residual) ht_tensor_uniform(p->residual, 2, -1e-4, 1e-4);
    return hyper_good(&p->h);
}

/* From here on X comes from memory: whatever reads it reads another copy each time. */
static bool products_cool(products *p)
{
    const ht_tensor *x = ht_set_at(p->h.data, 0);
    for (int k = 0; k < PRODUCTS_COPIES; k++) {
        p->copy[k] = ht_tensor_new(p->h.ctx, HT_F32, ht_tensor_shape(x));
        if (!p->copy[k]) return hyper_good(&p->h);
        memcpy(ht_tensor_data(p->copy[k]), ht_tensor_data(x), ht_tensor_bytes(x));
    }
    p->turn = 0;
    return true;
}

static const ht_tensor *products_x(products *p)
{
    if (p->turn < 0) return ht_set_at(p->h.data, 0);
    p->turn = (p->turn + 1) % PRODUCTS_COPIES;
    return p->copy[p->turn];
}

static const ht_tensor *products_w(const products *p)
{
    return ht_set_at(p->h.plain.theta, 0);
}

/* What is timed. */

static void products_run_step(void *user)
{
    products *p = user;
    bench_plain_step(&p->h.plain, 0);
}

static void products_run_x_w(void *user)
{
    products *p = user;
    hti_kernel(p->h.ctx, matmul, ht_tensor_array(p->logits),
               ht_tensor_array(products_x(p)), ht_tensor_array(products_w(p)));
}

static void products_run_xt_r(void *user)
{
    products *p = user;
    ht_array x = ht_tensor_array(products_x(p)), t = x;
    for (int i = 0; i < 2; i++) {
        t.shape.dim[i] = x.shape.dim[1 - i];
        t.stride[i] = x.stride[1 - i];
    }
    hti_kernel(p->h.ctx, matmul, ht_tensor_array(p->gradient), t,
               ht_tensor_array(p->residual));
}

static void products_run_ours(void *user)
{
    products_run_x_w(user);
    products_run_xt_r(user);
}

static void products_run_blas(void *user)
{
    products *p = user;
    const float *x = ht_tensor_data(products_x(p));
    int64_t rows = hyper_linear.rows;
    bench_blas_threads(1);
    bench_gemm(false, false, rows, 10, 784, x, ht_tensor_data(products_w(p)),
               ht_tensor_data(p->logits));
    bench_gemm(true, false, 784, 10, rows, x, ht_tensor_data(p->residual),
               ht_tensor_data(p->gradient));
}

static void products_run_read(void *user)
{
    products *p = user;
    const ht_tensor *x = products_x(p);
    p->sink += bench_hand_read(ht_tensor_bytes(x) / sizeof(uint64_t), ht_tensor_data(x));
}

static const int64_t products_flops = (int64_t)2 * 5000 * 784 * 10;

static void products_run_fma(void *user)
{
    products *p = user;
    p->sum += bench_hand_fma(products_flops);
}

/* The cases. */

static void products_report_step(products *p)
{
    enum { STEP, OURS, BLAS, N };
    const bench_fn run[N] = {products_run_step, products_run_ours, products_run_blas};
    double seconds[N][BENCH_MAX_ROUNDS], through[BENCH_MAX_ROUNDS];
    int calls[N], rounds = bench_rounds();
    for (int k = 0; k < N; k++) calls[k] = bench_calls(run[k], p);
    bench_turns(N, run, p, calls, rounds, seconds);
    for (int i = 0; i < rounds; i++)
        through[i] = seconds[STEP][i] - seconds[OURS][i] + seconds[BLAS][i];
    bench_report(&(bench_row){.name = "hyper_linear_step",
                              .pairs = bench_paired(rounds, seconds[STEP], seconds[OURS]),
                              .most = 1.15});
    bench_row blas = {.name = "hyper_linear_step_blas", .most = 0.5};
    if (bench_has_blas())
        blas.pairs = bench_paired(rounds, seconds[STEP], through);
    else
        blas.note = "no floor: built without OpenBLAS";
    bench_report(&blas);
}

bool bench_linear_step(void)
{
    products p;
    bool ok = products_open(&p);
    if (ok) products_report_step(&p);
    ok = ok && hyper_good(&p.h);
    products_close(&p);
    return ok;
}

static void products_report_roof(products *p, const char *name, bench_fn product)
{
    const double bytes = (double)ht_tensor_bytes(products_x(p));
    bench_pairs pairs = bench_compare(product, products_run_read, p),
                fma = bench_compare(product, products_run_fma, p);
    bench_report(
        &(bench_row){.name = name,
                     .pairs = pairs,
                     .most = 2,
                     .extra = {{"of_read", 1 / pairs.ratio},
                               {"of_peak", 1 / fma.ratio},
                               {"gflops", (double)products_flops / pairs.ours_ms / 1e6},
                               {"read_gb_s", bytes / pairs.floor_ms / 1e6}}});
}

bool bench_roof(void)
{
    products p;
    bool ok = products_open(&p);
    if (ok) products_report_roof(&p, "x_w", products_run_x_w);
    if (ok) products_report_roof(&p, "xt_r", products_run_xt_r);
    ok = ok && products_cool(&p);
    if (ok) products_report_roof(&p, "x_w_cold", products_run_x_w);
    if (ok) products_report_roof(&p, "xt_r_cold", products_run_xt_r);
    ok = ok && hyper_good(&p.h);
    products_close(&p);
    return ok;
}
