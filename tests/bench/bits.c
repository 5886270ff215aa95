/* SPDX-License-Identifier: MIT */
/* bits.c: the benchmark's cases, a test: whatever the number of threads, the bits are the
 * same, of parameters after two steps and of hypergradients, for every instruction set
 * that has products of our own (OpenBLAS promises nothing of it). Read next: counts.c. */
#include "bench.h"
#include "hyper.h"
#include "kernels.h"
#include "loops.h"
#include "steps.h"
#include "test_bilevel.h"

enum { BITS_STEPS = 2, BITS_HYPER = 4 };
static const int bits_threads[] = {2, 3, 7};
static const hyper_case *const bits_hyper[BITS_HYPER] = {&hyper_linear, &hyper_mlp,
                                                         &hyper_cnn, &hyper_vit};

/* Of the instruction sets with products of our own, the `i`th; -1 past the last. */
static int bits_set(int i)
{
    for (int k = HTI_BASELINE; hti_loops_at(k - HTI_BASELINE); k++)
        if (hti_loops_at(k - HTI_BASELINE)->gemm->columns > 0 && i-- == 0) return k;
    return -1;
}

static void bits_step(const step_case *c, int threads, step *s)
{
    if (!step_open(s, c, threads)) fail_msg("%s does not open", c->name);
    for (int i = 0; i < BITS_STEPS; i++) step_run(s);
    assert_true(step_good(s));
}

static void steps_have_the_same_bits_by_any_number_of_threads(void **state)
{
    const step_case *c = *state;
    for (int k = 0; (bench.set = bits_set(k)) >= 0; k++) {
        step one, more;
        bits_step(c, 1, &one);
        for (size_t i = 0; i < sizeof bits_threads / sizeof *bits_threads; i++) {
            bits_step(c, bits_threads[i], &more);
            assert_same_bits(more.theta, one.theta, c->name);
            step_close(&more);
        }
        step_close(&one);
    }
}

static void bits_hypergradient(const hyper_case *c, int threads, hyper *h)
{
    hyper_case few = *c;
    few.steps = BITS_STEPS;
    if (!hyper_open(h, &few, threads) || !hyper_open_bilevel(h))
        fail_msg("%s does not open", c->name);
    hyper_run_gradient(h);
    assert_true(hyper_good(h));
}

static void hypergradients_have_the_same_bits_by_any_number_of_threads(void **state)
{
    const hyper_case *c = *state;
    for (int k = 0; (bench.set = bits_set(k)) >= 0; k++) {
        hyper one, more;
        bits_hypergradient(c, 1, &one);
        for (size_t i = 0; i < sizeof bits_threads / sizeof *bits_threads; i++) {
            bits_hypergradient(c, bits_threads[i], &more);
            assert_same_bits(more.last.theta, one.last.theta, c->name);
            assert_same_bits(more.last.gradient, one.last.gradient, c->name);
            hyper_close(&more);
        }
        hyper_close(&one);
    }
}

int main(void)
{
    struct CMUnitTest tests[STEP_CASES + BITS_HYPER];
    for (int k = 0; k < STEP_CASES; k++)
        tests[k] = (struct CMUnitTest){
            .name = step_cases[k].name,
            .test_func = steps_have_the_same_bits_by_any_number_of_threads,
            .initial_state = (void *)(uintptr_t)&step_cases[k]};
    for (int k = 0; k < BITS_HYPER; k++)
        tests[STEP_CASES + k] = (struct CMUnitTest){
            .name = bits_hyper[k]->name,
            .test_func = hypergradients_have_the_same_bits_by_any_number_of_threads,
            .initial_state = (void *)(uintptr_t)bits_hyper[k]};
    return TEST_MAIN(tests);
}
