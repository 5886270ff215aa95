/* SPDX-License-Identifier: MIT */
/* test_bilevel_budget.c: what a refused budget offers is accepted to the byte, and more
 * budget never runs more, over random problems. Read next: bilevel/unroll/choose.c. */
#include "test_bilevel.h"

#include "fuzz/random_bilevel.h"
#include "unroll/checkpoints.h"

enum { BUDGETS = 24 };
#define FIRST    ((int)test_size(0, 16)) /* from here on some revolve */
#define PROBLEMS ((int)test_size(48, 20))

typedef struct trial {
    counted memory;
    ht_context *ctx;
    random_bilevel random;
    int number;
} trial;

static void trial_open(trial *t, int number)
{
    static uint64_t seed;
    uint8_t bytes[256];
    if (!seed) seed = test_seed();
    random_bilevel_bytes(seed, (uint64_t)number, bytes, sizeof bytes);
    fuzz_bytes reader = {bytes, sizeof bytes, 0};
    t->memory = (counted){0};
    t->number = number;
    t->ctx = ht_context_new(
        &(ht_context_options){.alloc = counted_alloc, .user = &t->memory, .threads = 1});
    random_bilevel_new(&t->random, t->ctx, &reader);
    assert_int_equal(ht_context_status(t->ctx), HT_OK);
}

static void trial_close(trial *t)
{
    random_bilevel_free(&t->random);
    ht_context_free(t->ctx);
    assert_int_equal(t->memory.live, 0);
}

static ht_bilevel *trial_bilevel(trial *t, ht_bilevel_options o)
{
    ht_bilevel *b = ht_bilevel_new(t->ctx, &t->random.problem, &o);
    if (!b)
        fail_msg("problem %d: %zu bytes: %s", t->number, o.bytes,
                 ht_context_message(t->ctx));
    return b;
}

/* The number behind `words` in what a budget of one byte is told. */
static size_t trial_offer(trial *t, ht_bilevel_options o, const char *words)
{
    o.bytes = 1;
    assert_null(ht_bilevel_new(t->ctx, &t->random.problem, &o));
    assert_int_equal(ht_context_status(t->ctx), HT_ERROR_MEMORY);
    const char *at = strstr(ht_context_message(t->ctx), words);
    if (!at) fail_msg("no \"%s\" in \"%s\"", words, ht_context_message(t->ctx));
    size_t bytes = strtoull(at + strlen(words), NULL, 10);
    ht_context_clear(t->ctx);
    return bytes;
}

/* Accepted, and no byte too much nor too little; one byte less is refused, or (`refused`
 * false) keeps fewer products. */
static void assert_offer(trial *t, ht_bilevel_options o, const char *words, bool refused)
{
    size_t base = t->memory.live;
    o.bytes = trial_offer(t, o, words);
    t->memory.peak = base;
    ht_bilevel *b = trial_bilevel(t, o);
    int kept = b->programs.n_kept;
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    size_t peak = t->memory.peak - base;
    if (ht_bilevel_bytes(b) != o.bytes || r.peak_bytes != o.bytes || peak != o.bytes)
        fail_msg("problem %d: %s%zu: predicted %zu, peak said %zu, was %zu", t->number,
                 words, o.bytes, ht_bilevel_bytes(b), r.peak_bytes, peak);
    ht_bilevel_free(b);
    o.bytes--;
    b = ht_bilevel_new(t->ctx, &t->random.problem, &o);
    if (b && (refused || b->programs.n_kept >= kept))
        fail_msg("problem %d: %s%zu, but a byte less is accepted", t->number, words,
                 o.bytes + 1);
    ht_bilevel_free(b);
    ht_context_clear(t->ctx);
}

static void bilevel_new_every_offer_is_accepted_to_the_byte(void **state)
{
    (void)state;
    for (int k = FIRST; k < PROBLEMS; k++) {
        trial t;
        trial_open(&t, k);
        ht_bilevel_options last = {.truncate = (t.random.problem.steps + 1) / 2};
        /* Of up to three steps all states may take less, with products beside them. */
        if (t.random.problem.steps > 6) {
            assert_offer(&t, (ht_bilevel_options){0}, "1 slot needs ", true);
            assert_offer(&t, last, "1 slot needs ", true);
        }
        last.schedule = HT_STORE_ALL;
        assert_offer(&t, last, "store-all ", true);
        last = (ht_bilevel_options){.schedule = HT_REVOLVE};
        assert_offer(&t, last, "1 slot needs ", true);
        last.slots = 2;
        assert_offer(&t, last, "slots of revolve, which need ", true);
        last = (ht_bilevel_options){.schedule = HT_TWO_LEVEL};
        assert_offer(&t, last, "two-level ", true);
        last.method = HT_REVERSE_REVERSE;
        assert_offer(&t, last, "two-level ", true);
        last = (ht_bilevel_options){.schedule = HT_STORE_ALL};
        assert_offer(&t, last, "store-all ", true);
        assert_offer(&t, last, "(", false);
        last = (ht_bilevel_options){.method = HT_FORWARD};
        assert_offer(&t, last, "it needs ", true);
        trial_close(&t);
    }
}

/* Of one state there is no smaller number of slots, but products kept beside it may spare
 * more than they take: the pair of programs that keeps none. */
static void bilevel_new_of_one_step_takes_what_it_offers(void **state)
{
    (void)state;
    for (int k = FIRST; k < PROBLEMS; k++) {
        trial t;
        trial_open(&t, k);
        ht_bilevel_options o = {.schedule = HT_REVOLVE, .truncate = 1};
        assert_offer(&t, o, "1 slot needs ", true);
        o = (ht_bilevel_options){.truncate = 1};
        assert_offer(&t, o, "1 slot needs ", true);
        trial_close(&t);
    }
}

/* What a run costs in flops of the step's products, from what it says of itself. */
static double run_cost(const ht_bilevel *b, const ht_bilevel_result *r)
{
    const ht_program *step = b->programs.call[HTI_FORWARD].program;
    if (!step) step = b->programs.call[HTI_FORWARD_KEPT].program;
    double cost = (double)r->forward_steps * ht_program_flops(step);
    int64_t n = b->problem.steps, served = n;
    if (b->memory.choice.slots < n)
        served = hti_revolve_from_slots(n, b->memory.choice.slots);
    for (int k = 0; k < b->programs.n_kept; k++)
        cost -= (double)served * b->programs.product[k].flops;
    return cost;
}

/* Steps never grow with the budget; nor do flops, within revolve and within store-all
 * (which is taken as soon as it fits, having fewest steps). All the same bits. */
static void bilevel_new_more_budget_is_never_slower(void **state)
{
    (void)state;
    int revolved = 0, some = 0;
    for (int k = FIRST; k < PROBLEMS; k++) {
        trial t;
        trial_open(&t, k);
        ht_bilevel *all = trial_bilevel(&t, (ht_bilevel_options){0});
        size_t most = ht_bilevel_bytes(all),
               least = trial_offer(&t, (ht_bilevel_options){0}, "1 slot needs ");
        ht_set *want = ht_set_clone(ht_bilevel_run(all, 0).gradient, 0);
        int n_products = all->programs.n_products;
        ht_bilevel_free(all);
        int64_t steps = INT64_MAX;
        double cost[2] = {INFINITY, INFINITY};
        for (size_t i = 0; i <= BUDGETS; i++) {
            size_t bytes = least + (most - least) * i * i / BUDGETS / BUDGETS;
            ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.bytes = bytes});
            ht_bilevel_result r = ht_bilevel_run(b, 0);
            double now = run_cost(b, &r), *before = &cost[r.schedule == HT_STORE_ALL];
            if (r.forward_steps > steps || now > *before)
                fail_msg("problem %d: %zu bytes: %lld steps and %g flops, fewer bytes "
                         "%lld and %g",
                         k, bytes, (long long)r.forward_steps, now, (long long)steps,
                         *before);
            assert_same_bits(r.gradient, want, "within a budget");
            assert_true(r.peak_bytes <= bytes && r.predicted_bytes == r.peak_bytes);
            steps = r.forward_steps;
            *before = now;
            revolved += r.schedule == HT_REVOLVE;
            some += b->programs.n_kept > 0 && b->programs.n_kept < n_products;
            ht_bilevel_free(b);
        }
        assert_int_equal(steps, t.random.problem.steps);
        ht_set_free(want);
        trial_close(&t);
    }
    printf("# of %d budgets %d revolve, %d keep some products\n",
           (PROBLEMS - FIRST) * (BUDGETS + 1), revolved, some);
    assert_true(revolved > (PROBLEMS - FIRST) / 2 && some > (PROBLEMS - FIRST) / 2);
}

/* With products kept or without them. */
static void bilevel_new_budget_of_store_all_chooses_store_all(void **state)
{
    (void)state;
    for (int k = FIRST; k < PROBLEMS; k++) {
        trial t;
        trial_open(&t, k);
        ht_bilevel_options o = {.schedule = HT_STORE_ALL};
        ht_bilevel *all = trial_bilevel(&t, o);
        size_t bytes[] = {ht_bilevel_bytes(all), trial_offer(&t, o, "store-all ")};
        ht_bilevel_free(all);
        for (int i = 0; i < 2; i++) {
            ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.bytes = bytes[i]});
            ht_bilevel_result r = ht_bilevel_run(b, 0);
            if (r.schedule != HT_STORE_ALL || r.forward_steps != t.random.problem.steps)
                fail_msg("problem %d: %zu bytes: schedule %d, %lld of %lld steps", k,
                         bytes[i], (int)r.schedule, (long long)r.forward_steps,
                         (long long)t.random.problem.steps);
            ht_bilevel_free(b);
        }
        trial_close(&t);
    }
}

/* As few states as there are; so many slots that few are walked through. */
static void bilevel_new_long_run_of_small_states_is_planned_soon(void **state)
{
    (void)state;
    trial t;
    trial_open(&t, 1);
    t.random.problem.update = (ht_update){
        .rule = &ht_momentum, .rate = HT_FIXED(1e-6), .momentum = HT_FIXED(0.5)};
    ht_set_free(t.random.eta);
    t.random.eta = t.random.problem.eta = ht_set_new(t.ctx);
    ht_tensor_fill(ht_set_add(t.random.eta, "penalty", t.random.dtype, HT_SCALAR), 0.1);
    t.random.weights = t.random.pixels = t.random.start = false;
    t.random.penalty = true;
    t.random.problem.init = NULL;
    t.random.problem.coordinates = NULL;
    t.random.problem.n_coordinates = 0;
    t.random.problem.steps = 1 << 24;
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.bytes = 50000000});
    printf("# %lld slots\n", (long long)b->memory.choice.slots);
    assert_true(ht_bilevel_bytes(b) <= 50000000 && ht_bilevel_bytes(b) > 45000000);
    ht_bilevel_free(b);
    trial_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bilevel_new_every_offer_is_accepted_to_the_byte),
        cmocka_unit_test(bilevel_new_of_one_step_takes_what_it_offers),
        cmocka_unit_test(bilevel_new_more_budget_is_never_slower),
        cmocka_unit_test(bilevel_new_budget_of_store_all_chooses_store_all),
        cmocka_unit_test(bilevel_new_long_run_of_small_states_is_planned_soon),
    };
    return TEST_MAIN(tests);
}
