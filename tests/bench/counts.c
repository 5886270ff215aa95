/* SPDX-License-Identifier: MIT */
/* counts.c: the benchmark's cases by what can be counted, as a test: memory planned,
 * nodes, kernel calls and parameter-sized arrays moved may not grow, and a replay may not
 * allocate; the memory foretold is the memory used, and plain training arrives where the
 * bilevel does. Times are nobody's test. After a change that is worth its counts, or that
 * lowers them:
 *   <build folder>/tests/bench/counts --refresh
 * prints the table anew. Read next: callgrind.sh, streams.c. */
#include "bilevel_internal.h"
#include "hyper.h"
#include "steps.h"
#include "streams.h"
#include "test_bilevel.h"

/* A program: nodes as recorded; kernel calls of a run; in these, operands and results as
 * large as the largest parameter. */
typedef struct counts_program {
    int64_t nodes, calls, streams;
} counts_program;

typedef struct counts {
    const char *name;
    int64_t bytes; /* a step: of its program; a hypergradient: of all it needs */
    counts_program forward, reverse;
} counts;

enum { COUNTS_HYPER = 4, COUNTS_CASES = STEP_CASES + COUNTS_HYPER };
static const hyper_case *const counts_hyper[COUNTS_HYPER] = {&hyper_linear, &hyper_mlp,
                                                             &hyper_cnn, &hyper_vit};

static const counts counts_recorded[COUNTS_CASES] = {
    {"mlp_step", 3471936, {52, 29, 5}, {0, 0, 0}},
    {"tiny_step", 21632, {37, 21, 16}, {0, 0, 0}},
    {"cnn_step", 36869440, {161, 82, 63}, {0, 0, 0}},
    {"vit_step", 61753728, {1260, 315, 522}, {0, 0, 0}},
    {"hyper_linear", 23908779, {18, 7, 9}, {27, 12, 16}},
    {"hyper_mlp", 212537762, {68, 34, 7}, {152, 78, 11}},
    {"hyper_cnn", 323616229, {159, 81, 63}, {344, 170, 137}},
    {"hyper_vit", 960901621, {1258, 315, 522}, {3515, 993, 1276}},
};

/* Counting. */

static counts_program counts_of(const ht_program *program, int64_t largest)
{
    return (counts_program){ht_program_nodes(program), bench_instructions(program),
                            bench_streams(program, largest)};
}

/* Allocations of a call, the first apart. */
static uint64_t counts_allocations(ht_context *ctx, void (*run)(void *), void *user)
{
    run(user);
    uint64_t before = ht_context_allocations(ctx);
    run(user);
    return ht_context_allocations(ctx) - before;
}

static counts counts_step(const step_case *c, uint64_t *allocations)
{
    step s;
    counts got = {.name = c->name};
    if (!step_open(&s, c, 1)) fail_msg("%s does not open", c->name);
    got.bytes = (int64_t)ht_program_bytes(s.plain.program);
    got.forward = counts_of(s.plain.program, bench_largest(s.theta));
    *allocations = counts_allocations(s.ctx, step_run, &s);
    step_close(&s);
    return got;
}

/* Counted as it is benchmarked; run for two steps, since each is like the others. */
static counts counts_hypergradient(const hyper_case *c, uint64_t *allocations)
{
    hyper h;
    counts got = {.name = c->name};
    if (!hyper_open(&h, c, 1) || !hyper_open_bilevel(&h))
        fail_msg("%s does not open", c->name);
    got.bytes = (int64_t)ht_bilevel_bytes(h.bilevel);
    got.forward = counts_of(hyper_forward(&h), bench_largest(h.theta));
    got.reverse = counts_of(hyper_reverse(&h), bench_largest(h.theta));
    hyper_close(&h);
    hyper_case two = *c;
    two.steps = 2;
    if (!hyper_open(&h, &two, 1) || !hyper_open_bilevel(&h))
        fail_msg("%s does not open", c->name);
    *allocations = counts_allocations(h.ctx, hyper_run_gradient, &h);
    hyper_run_plain(&h);
    assert_same_bits(h.plain.theta, h.last.theta, "plain training, the bilevel's");
    hyper_close(&h);
    return got;
}

static counts counts_case(int k, uint64_t *allocations)
{
    return k < STEP_CASES
               ? counts_step(&step_cases[k], allocations)
               : counts_hypergradient(counts_hyper[k - STEP_CASES], allocations);
}

/* The cases. */

/* In what order a call's arguments are evaluated, and so nodes recorded, is up to the
 * compiler; what then runs together differs a little. */
#ifdef __clang__
static const double counts_slack = 0.04;
#else
static const double counts_slack = 0;
#endif

static bool counts_grew(const char *name, const char *what, int64_t got, int64_t recorded)
{
    if (got < recorded && counts_slack == 0)
        printf("# %s: %s %lld, recorded %lld: --refresh to hold the gain\n", name, what,
               (long long)got, (long long)recorded);
    if ((double)got <= (1 + counts_slack) * (double)recorded) return false;
    print_error("%s: %s %lld, recorded %lld: %.2f %% more\n  hint: if it is worth it, "
                "counts --refresh prints the table anew\n",
                name, what, (long long)got, (long long)recorded,
                100.0 * (double)(got - recorded) / (double)recorded);
    return true;
}

static bool counts_program_grew(const char *name, counts_program got,
                                counts_program recorded)
{
    bool grew = counts_grew(name, "nodes", got.nodes, recorded.nodes);
    grew = counts_grew(name, "kernel calls", got.calls, recorded.calls) || grew;
    return counts_grew(name, "parameter-sized arrays moved", got.streams,
                       recorded.streams) ||
           grew;
}

static void counts_do_not_grow(void **state)
{
    const counts *recorded = *state;
    uint64_t allocations;
    char name[64];
    counts got = counts_case((int)(recorded - counts_recorded), &allocations);
    assert_string_equal(got.name, recorded->name);
    assert_int_equal(allocations, 0);
    bool grew = counts_grew(got.name, "bytes", got.bytes, recorded->bytes);
    grew = counts_program_grew(got.name, got.forward, recorded->forward) || grew;
    snprintf(name, sizeof name, "%s, reverse step", got.name);
    grew = counts_program_grew(name, got.reverse, recorded->reverse) || grew;
    assert_false(grew);
}

static void bilevel_bytes_hyper_mlp_every_schedule_is_the_peak(void **state)
{
    static const ht_bilevel_options options[] = {
        {.schedule = HT_STORE_ALL},
        {.schedule = HT_TWO_LEVEL},
        {.schedule = HT_REVOLVE, .slots = 3},
        {.schedule = HT_SCHEDULE_AUTO, .bytes = 20000000},
    };
    (void)state;
    for (size_t k = 0; k < sizeof options / sizeof options[0]; k++) {
        hyper h;
        hyper_case c = hyper_mlp;
        c.steps = 12;
        c.options = options[k];
        assert_true(hyper_open(&h, &c, 1));
        size_t base = ht_context_live_bytes(h.ctx);
        ht_context_reset_peak(h.ctx);
        assert_true(hyper_open_bilevel(&h));
        size_t predicted = ht_bilevel_bytes(h.bilevel);
        hyper_run_gradient(&h);
        double peak = (double)(ht_context_peak_bytes(h.ctx) - base);
        assert_true(hyper_good(&h));
        assert_int_equal(h.last.predicted_bytes, predicted);
        assert_near((double)predicted / peak, 1, 0.05);
        if (c.options.bytes) assert_true(peak <= (double)c.options.bytes);
        hyper_close(&h);
    }
}

static void counts_print_program(counts_program p)
{
    printf("{%lld, %lld, %lld}", (long long)p.nodes, (long long)p.calls,
           (long long)p.streams);
}

static int counts_refresh(void)
{
    for (int k = 0; k < COUNTS_CASES; k++) {
        uint64_t allocations;
        counts got = counts_case(k, &allocations);
        printf("    {\"%s\", %lld, ", got.name, (long long)got.bytes);
        counts_print_program(got.forward);
        printf(", ");
        counts_print_program(got.reverse);
        printf("},\n");
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--refresh")) return counts_refresh();
    struct CMUnitTest tests[COUNTS_CASES + 1];
    for (int k = 0; k < COUNTS_CASES; k++)
        tests[k] =
            (struct CMUnitTest){.name = counts_recorded[k].name,
                                .test_func = counts_do_not_grow,
                                .initial_state = (void *)(uintptr_t)&counts_recorded[k]};
    tests[COUNTS_CASES] = (struct CMUnitTest)cmocka_unit_test(
        bilevel_bytes_hyper_mlp_every_schedule_is_the_peak);
    return TEST_MAIN(tests);
}
