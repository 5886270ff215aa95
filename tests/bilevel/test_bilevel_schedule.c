/* SPDX-License-Identifier: MIT */
/* test_bilevel_schedule.c: every schedule obeyed by an engine whose states are step
 * numbers, and its forward steps against a dynamic program. Read next:
 * bilevel/unroll/checkpoints.h. */
#include "child.h"
#include "test.h"

#include "unroll/checkpoints.h"

enum { SMALL = 60 };

typedef struct engine {
    int64_t current, previous,
        after;     /* -1: undefined; previous: what the last step read */
    int64_t *slot; /* -1: free */
    int64_t held, peak, saved, forward, reversed, outers;
} engine;

static void obey_advance(engine *e, hti_action action)
{
    assert_int_equal(action.step, e->current);
    assert_true(action.to > action.step);
    e->current = action.to;
    e->previous = action.to - 1;
    e->forward += action.to - action.step;
}

static void obey_save(engine *e, hti_action action, int64_t slots)
{
    assert_in_range(action.slot, 0, slots - 1);
    assert_int_equal(action.step, e->current);
    assert_int_equal(e->slot[action.slot], -1);
    e->slot[action.slot] = e->current;
    e->saved++;
    if (++e->held > e->peak) e->peak = e->held;
}

static void obey_drop(engine *e, hti_action action, int64_t slots)
{
    assert_in_range(action.slot, 0, slots - 1);
    assert_int_not_equal(e->slot[action.slot], -1);
    e->slot[action.slot] = -1;
    e->held--;
}

static void obey_load(engine *e, hti_action action, int64_t slots)
{
    assert_in_range(action.slot, 0, slots - 1);
    assert_int_equal(e->slot[action.slot], action.step);
    e->current = action.step;
}

static void obey_outer(engine *e, hti_action action, int64_t last)
{
    assert_int_equal(action.step, last);
    assert_int_equal(e->current, last);
    e->after = e->current;
    e->current = e->previous;
    e->outers++;
}

static void obey_reverse(engine *e, hti_action action)
{
    assert_int_equal(e->outers, 1);
    assert_int_equal(e->current, action.step);
    assert_int_equal(e->after, action.step + 1);
    e->after = e->current;
    e->current = -1;
    e->reversed++;
}

/* One sweep over steps first .. last-1; checks every action. */
static engine sweep(hti_schedule *schedule, int64_t first, int64_t last, int64_t slots)
{
    engine e = {.previous = -1, .after = -1};
    hti_action action, before = {.kind = HTI_DONE};
    e.slot = malloc((size_t)slots * sizeof *e.slot);
    assert_non_null(e.slot);
    for (int64_t i = 0; i < slots; i++) e.slot[i] = -1;
    while ((action = hti_schedule_next(schedule)).kind != HTI_DONE) {
        if (action.kind == HTI_ADVANCE) obey_advance(&e, action);
        if (action.kind == HTI_SAVE) obey_save(&e, action, slots);
        if (action.kind == HTI_LOAD) obey_load(&e, action, slots);
        if (action.kind == HTI_DROP) obey_drop(&e, action, slots);
        if (action.kind == HTI_OUTER) obey_outer(&e, action, last);
        if (action.kind == HTI_REVERSE) obey_reverse(&e, action);
        before = action;
    }
    assert_int_equal(before.kind, HTI_REVERSE);
    assert_int_equal(before.step, first);
    assert_int_equal(e.reversed, last - first);
    assert_int_equal(e.held, 0);
    assert_int_equal(hti_schedule_next(schedule).kind, HTI_DONE);
    free(e.slot);
    e.slot = NULL;
    return e;
}

/* A sweep of a fresh schedule, its forward steps checked against the closed form. */
static engine check_sweep(ht_context *ctx, ht_schedule kind, int64_t first, int64_t last,
                          int64_t slots)
{
    hti_schedule *schedule = hti_schedule_new(ctx, kind, first, last, slots);
    assert_non_null(schedule);
    engine e = sweep(schedule, first, last, slots);
    assert_int_equal(e.forward - first,
                     hti_schedule_forward_steps(kind, last - first, slots));
    if (kind == HT_REVOLVE)
        assert_int_equal(e.saved, hti_revolve_from_slots(last - first, slots));
    hti_schedule_free(schedule);
    return e;
}

typedef struct wrong_schedule {
    ht_schedule kind;
    int64_t first, last, slots;
} wrong_schedule;

static void new_wrong(void *argument)
{
    const wrong_schedule *s = argument;
    hti_schedule_new(ht_context_new(NULL), s->kind, s->first, s->last, s->slots);
}

/* For every n: the least slots are all used, and one less stops the program (tried for
 * some). */
static void check_exact_slots(ht_schedule kind)
{
    ht_context *ctx = ht_context_new(NULL);
    size_t live = ht_context_live_bytes(ctx);
    static const int64_t large[] = {99, 100, 101, 1000, 1023, 1024, 1025, 10000, 12345};
    for (int64_t i = 1; i <= SMALL + 9; i++) {
        int64_t n = i <= SMALL ? i : large[i - SMALL - 1],
                slots = hti_schedule_slots(kind, n);
        assert_int_equal(check_sweep(ctx, kind, 0, n, slots).peak, slots);
        assert_int_equal(check_sweep(ctx, kind, 0, n, slots + 5).peak, slots);
        wrong_schedule less = {kind, 0, n, slots - 1};
        if (i % 20 == 0) test_aborts(new_wrong, &less, "a schedule of steps");
    }
    assert_int_equal(ht_context_live_bytes(ctx), live);
    ht_context_free(ctx);
}

static void next_store_all_sweeps_with_n_slots(void **state)
{
    (void)state;
    check_exact_slots(HT_STORE_ALL);
    assert_int_equal(hti_schedule_slots(HT_STORE_ALL, 777), 777);
    assert_int_equal(hti_schedule_forward_steps(HT_STORE_ALL, 777, 777), 777);
}

static void next_two_level_sweeps_with_its_slots(void **state)
{
    (void)state;
    check_exact_slots(HT_TWO_LEVEL);
    assert_int_equal(hti_schedule_slots(HT_TWO_LEVEL, 100), 19);
    assert_int_equal(hti_schedule_forward_steps(HT_TWO_LEVEL, 100, 19), 181);
}

static void next_revolve_small_sweeps_for_all_slots(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    for (int64_t n = 1; n <= SMALL; n++) {
        for (int64_t slots = 1; slots <= n + 1; slots++) {
            engine e = check_sweep(ctx, HT_REVOLVE, 0, n, slots);
            assert_int_equal(e.peak, slots < n ? slots : n - 1);
        }
    }
    ht_context_free(ctx);
}

static void next_revolve_large_sweeps_for_several_slots(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    static const int64_t slots[] = {1, 2, 3, 7, 50, 100, 999, 1000, 9999, 10000, 1000000};
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
        check_sweep(ctx, HT_REVOLVE, 0, 1000, slots[i]);
        check_sweep(ctx, HT_REVOLVE, 0, 10000, slots[i]);
    }
    check_sweep(ctx, HT_REVOLVE, 0, 1000000, 20);
    check_sweep(ctx, HT_REVOLVE, 0, 1000000, 1000000);
    ht_context_free(ctx);
}

static void next_revolve_four_steps_two_slots_is_the_textbook_sweep(void **state)
{
    (void)state;
    static const hti_action want[] = {
        {HTI_SAVE, 0, 0, 0},    {HTI_ADVANCE, 0, 2, 0}, {HTI_SAVE, 2, 0, 1},
        {HTI_ADVANCE, 2, 3, 0}, {HTI_ADVANCE, 3, 4, 0}, {HTI_OUTER, 4, 0, 0},
        {HTI_REVERSE, 3, 0, 0}, {HTI_LOAD, 2, 0, 1},    {HTI_DROP, 0, 0, 1},
        {HTI_REVERSE, 2, 0, 0}, {HTI_LOAD, 0, 0, 0},    {HTI_ADVANCE, 0, 1, 0},
        {HTI_REVERSE, 1, 0, 0}, {HTI_LOAD, 0, 0, 0},    {HTI_DROP, 0, 0, 0},
        {HTI_REVERSE, 0, 0, 0}, {HTI_DONE, 0, 0, 0},
    };
    ht_context *ctx = ht_context_new(NULL);
    hti_schedule *schedule = hti_schedule_new(ctx, HT_REVOLVE, 0, 4, 2);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        hti_action got = hti_schedule_next(schedule);
        assert_int_equal(got.kind, want[i].kind);
        assert_int_equal(got.step, want[i].step);
        assert_int_equal(got.to, want[i].to);
        assert_int_equal(got.slot, want[i].slot);
    }
    hti_schedule_free(schedule);
    ht_context_free(ctx);
}

static void next_truncated_sweeps_the_last_steps_only(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    for (int64_t n = 1; n <= 40; n++) {
        check_sweep(ctx, HT_STORE_ALL, 13, 13 + n, n);
        check_sweep(ctx, HT_TWO_LEVEL, 13, 13 + n, hti_schedule_slots(HT_TWO_LEVEL, n));
        for (int64_t slots = 1; slots <= n; slots++)
            check_sweep(ctx, HT_REVOLVE, 13, 13 + n, slots);
    }
    hti_schedule *schedule = hti_schedule_new(ctx, HT_STORE_ALL, 13, 20, 7);
    hti_action action = hti_schedule_next(schedule);
    assert_int_equal(action.kind, HTI_ADVANCE);
    assert_int_equal(action.step, 0);
    assert_int_equal(action.to, 13);
    hti_schedule_free(schedule);
    ht_context_free(ctx);
}

static void reset_anywhere_starts_again(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    for (ht_schedule kind = HT_STORE_ALL; kind <= HT_REVOLVE; kind++) {
        int64_t slots = kind == HT_REVOLVE ? 3 : hti_schedule_slots(kind, 11);
        hti_schedule *schedule = hti_schedule_new(ctx, kind, 2, 13, slots);
        for (int taken = 0; taken < 80; taken++) {
            for (int i = 0; i < taken; i++) hti_schedule_next(schedule);
            hti_schedule_reset(schedule);
            engine e = sweep(schedule, 2, 13, slots);
            assert_int_equal(e.forward - 2, hti_schedule_forward_steps(kind, 11, slots));
            hti_schedule_reset(schedule);
        }
        hti_schedule_free(schedule);
    }
    ht_context_free(ctx);
}

/* best(n, s): fewest forward steps that reverse n steps from a pinned state, s slots with
 * its own: 0 for one step, else the least m + best(n-m, s-1) + best(m, s). */
static void forward_steps_revolve_equals_the_dynamic_program(void **state)
{
    (void)state;
    static int64_t best[SMALL + 1][SMALL + 1];
    for (int64_t n = 2; n <= SMALL; n++) {
        best[n][0] = INT32_MAX;
        for (int64_t s = 1; s <= SMALL; s++) {
            best[n][s] = INT32_MAX;
            for (int64_t m = 1; m < n; m++) {
                int64_t cost = m + best[n - m][s - 1] + best[m][s];
                if (cost < best[n][s]) best[n][s] = cost;
            }
        }
    }
    for (int64_t n = 1; n <= SMALL; n++)
        for (int64_t s = 1; s <= SMALL; s++)
            assert_int_equal(hti_schedule_forward_steps(HT_REVOLVE, n, s),
                             best[n][s] + 1);
}

static void forward_steps_revolve_extremes_do_not_overflow(void **state)
{
    (void)state;
    int64_t n = HTI_MAX_STEPS;
    assert_int_equal(hti_schedule_forward_steps(HT_REVOLVE, n, 1), n * (n - 1) / 2 + 1);
    assert_int_equal(hti_schedule_forward_steps(HT_REVOLVE, n, n), n);
    assert_int_equal(hti_schedule_forward_steps(HT_REVOLVE, n, INT64_MAX), n);
    assert_int_equal(hti_schedule_forward_steps(HT_REVOLVE, n, n / 2), 2 * n - n / 2 - 1);
    assert_int_equal(hti_schedule_forward_steps(HT_REVOLVE, 1000000, 1000000), 1000000);
    assert_int_equal(hti_schedule_forward_steps(HT_REVOLVE, 1, 1), 1);
}

static void new_bad_range_or_slots_stops_the_program(void **state)
{
    (void)state;
    const int64_t n = HTI_MAX_STEPS;
    static const char message[] = "a schedule of steps %lld .. %lld by %lld slots";
    wrong_schedule bad[] = {{HT_REVOLVE, 0, 0, 1},   {HT_REVOLVE, -1, 5, 9},
                            {HT_REVOLVE, 5, 5, 9},   {HT_REVOLVE, 0, n + 1, 1},
                            {HT_REVOLVE, 0, 5, 0},   {HT_REVOLVE, 0, 5, -3},
                            {HT_STORE_ALL, 0, 5, 4}, {HT_TWO_LEVEL, 0, 100, 17}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char words[128];
        snprintf(words, sizeof words, message, (long long)bad[i].first,
                 (long long)bad[i].last, (long long)bad[i].slots);
        test_aborts(new_wrong, &bad[i], words);
    }
}

static void new_without_memory_keeps_the_error(void **state)
{
    (void)state;
    ht_context *ctx =
        ht_context_new(&(ht_context_options){.threads = 1, .byte_limit = 4096});
    size_t live = ht_context_live_bytes(ctx);
    assert_null(hti_schedule_new(ctx, HT_STORE_ALL, 0, 100000, 100000));
    assert_int_equal(ht_context_status(ctx), HT_ERROR_MEMORY);
    assert_int_equal(ht_context_live_bytes(ctx), live);
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(next_store_all_sweeps_with_n_slots),
        cmocka_unit_test(next_two_level_sweeps_with_its_slots),
        cmocka_unit_test(next_revolve_small_sweeps_for_all_slots),
        cmocka_unit_test(next_revolve_large_sweeps_for_several_slots),
        cmocka_unit_test(next_revolve_four_steps_two_slots_is_the_textbook_sweep),
        cmocka_unit_test(next_truncated_sweeps_the_last_steps_only),
        cmocka_unit_test(reset_anywhere_starts_again),
        cmocka_unit_test(forward_steps_revolve_equals_the_dynamic_program),
        cmocka_unit_test(forward_steps_revolve_extremes_do_not_overflow),
        cmocka_unit_test(new_bad_range_or_slots_stops_the_program),
        cmocka_unit_test(new_without_memory_keeps_the_error),
    };
    return TEST_MAIN(tests);
}
