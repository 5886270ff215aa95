/* SPDX-License-Identifier: MIT */
/* noise.c: hypergradients of the benchmark's networks by three kernels of f32 products, a
 * test: multiply-adds of our own, OpenBLAS's (or plain loops), and matrix tiles (a model
 * of them, so on any machine). What tiles change is no more than what the others differ
 * by: f32's noise. hyper_linear's products have too few columns for tiles, so it is not
 * here. Batches are small: a model is slow. Read next: bits.c, tensor/fast/amx/amx.c. */
#include "amx.h"
#include "bench.h"
#include "hyper.h"
#include "kernels.h"
#include "loops.h"
#include "test_bilevel.h"

enum { KERNELS = 3, STEPS = 2 };
/* Of two steps at least: the baseline may happen to sum as our own do. */
static const double least_noise = 5e-6;
static const char *const kernel_name[KERNELS] = {"multiply-adds", "baseline", "tiles"};
typedef enum kernel { MULTIPLY_ADDS, BASELINE, ON_TILES } kernel;

/* Loops alike but for their tiles, one a kernel. */
static struct hti_loops loops[KERNELS];
static hti_gemm_loops gemm[KERNELS];
static hti_tiles tiles;
static kernel chosen;
static _Atomic int on_tiles;

static void count_product(const hti_gemm_loops *others, const hti_gemm *p)
{
    on_tiles++;
    hti_tiles_model.product(others, p);
}

static void choose_kernel(ht_context *ctx)
{
    tiles = hti_tiles_model;
    tiles.product = count_product;
    loops[chosen] = *ctx->loops;
    gemm[chosen] = *ctx->loops->gemm;
    gemm[chosen].tiles = chosen == ON_TILES ? &tiles : NULL;
    loops[chosen].gemm = &gemm[chosen];
    ctx->loops = &loops[chosen];
}

static void run_by(const hyper_case *c, kernel k, hyper *h)
{
    chosen = k;
    bench.set = k == BASELINE ? HTI_BASELINE : 0;
    bench.prepare = choose_kernel;
    if (!hyper_open(h, c, 1) || !hyper_open_bilevel(h))
        fail_msg("%s does not open", c->name);
    hyper_run_gradient(h);
    assert_true(hyper_good(h));
}

/* |x - y| / |y| over all numbers of two sets. */
static double apart(const ht_set *x, const ht_set *y)
{
    double difference = 0, size = 0;
    for (int i = 0; i < ht_set_count(y); i++) {
        const ht_tensor *p = ht_set_at(x, i), *q = ht_set_at(y, i);
        for (int64_t k = 0; k < ht_tensor_count(q); k++) {
            double a = ht_tensor_get(p, k), b = ht_tensor_get(q, k);
            difference += (a - b) * (a - b);
            size += b * b;
        }
    }
    return sqrt(difference / size);
}

static void tiles_differ_as_other_kernels_do(void **state)
{
    hyper_case few = *(const hyper_case *)*state;
    hyper h[KERNELS];
    double theta[KERNELS], gradient[KERNELS];
    few.steps = STEPS;
    few.batch = few.outer_rows = few.mnist ? 100 : 4; /* an image is many rows */
    few.rows = STEPS * few.batch;
    on_tiles = 0;
    for (int k = 0; k < KERNELS; k++) {
        run_by(&few, (kernel)k, &h[k]);
        theta[k] = apart(h[k].last.theta, h[0].last.theta);
        gradient[k] = apart(h[k].last.gradient, h[0].last.gradient);
        if (k)
            printf("# %s, %s: theta_T %.2g, hypergradient %.2g away\n", few.name,
                   kernel_name[k], theta[k], gradient[k]);
    }
    printf("# %d products on tiles\n", on_tiles);
    assert_true(on_tiles > 0);
    assert_true(theta[ON_TILES] <= 4 * fmax(theta[BASELINE], least_noise));
    assert_true(gradient[ON_TILES] <= 4 * fmax(gradient[BASELINE], least_noise));
    for (int k = 0; k < KERNELS; k++) hyper_close(&h[k]);
}

int main(void)
{
    static const hyper_case *const cases[] = {&hyper_mlp, &hyper_cnn, &hyper_vit};
    struct CMUnitTest tests[3];
    for (int k = 0; k < 3; k++)
        tests[k] = (struct CMUnitTest){.name = cases[k]->name,
                                       .test_func = tiles_differ_as_other_kernels_do,
                                       .initial_state = (void *)(uintptr_t)cases[k]};
    return TEST_MAIN(tests);
}
