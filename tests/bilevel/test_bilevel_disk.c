/* SPDX-License-Identifier: MIT */
/* test_bilevel_disk.c: states on disk give the bits of states in memory, within both
 * budgets, and a run that was killed goes on. Read next: bilevel/unroll/levels.c. */
#include "child.h"
#include "test_bilevel.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "fuzz/random_bilevel.h"
#include "unroll/checkpoints.h"
#include "unroll/disk.h"

#define FOLDER "disk-of-test"
#define STATES FOLDER "/states"
#define SWEEP  FOLDER "/sweep"
enum { T = 3000, WIDTH = 64, KILLS = 30 };

static bool is_there(const char *path)
{
    struct stat about;
    return !stat(path, &about);
}

static void clean(void)
{
    remove(STATES);
    remove(SWEEP);
    remove(SWEEP ".new");
    remove(FOLDER);
}

/* A problem of many steps: weights that follow batches with a momentum, and how strongly
 * they do is learned. */

typedef struct chase {
    counted memory;
    ht_context *ctx;
    ht_set *theta, *eta, *data;
    ht_bilevel_problem problem;
    uint64_t shift; /* of the batches */
    int64_t die_at; /* calls of the batch callback until the program dies; 0: never */
} chase;

static ht_var chase_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    (void)user;
    ht_var off = ht_sub(ht_tanh(ht_get(theta, "w")), ht_get(batch, "x"));
    return ht_sum(ht_mul(ht_exp(ht_get(eta, "strength")), ht_square(off)));
}

static ht_var chase_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    (void)eta;
    (void)batch;
    (void)user;
    return ht_mean(ht_square(ht_sub(ht_get(theta, "w"), 0.25)));
}

/* The same ops with another number among them. */
static ht_var chase_other(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    (void)eta;
    (void)batch;
    (void)user;
    return ht_mean(ht_square(ht_sub(ht_get(theta, "w"), 0.5)));
}

static ht_var chase_outers(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                           void *user)
{
    (void)eta;
    (void)batch;
    (void)user;
    return ht_sum_axes(ht_reshape(ht_square(ht_get(theta, "w")), HT_SHAPE(4, WIDTH / 4)),
                       HT_AXES(1), false);
}

static ht_status chase_batch(uint64_t step, ht_set *batch, void *user)
{
    chase *c = user;
    if (c->die_at && --c->die_at == 0) raise(SIGKILL);
    return ht_tensor_uniform(ht_set_at(batch, 0), step + c->shift, -0.5, 0.5);
}

static void chase_open(chase *c)
{
    *c = (chase){0};
    c->ctx = counted_context(&c->memory, 1);
    c->theta = ht_set_new(c->ctx);
    c->eta = ht_set_new(c->ctx);
    c->data = ht_set_new(c->ctx);
    ht_set_add(c->theta, "w", HT_F64, HT_SHAPE(WIDTH));
    ht_set_add(c->eta, "strength", HT_F64, HT_SHAPE(WIDTH));
    ht_set_add(c->data, "x", HT_F64, HT_SHAPE(WIDTH));
    c->problem = (ht_bilevel_problem){.inner = chase_inner,
                                      .outer = chase_outer,
                                      .theta = c->theta,
                                      .eta = c->eta,
                                      .inner_data = c->data,
                                      .inner_batch = chase_batch,
                                      .update = HT_MOMENTUM(0.01, 0.9),
                                      .steps = T,
                                      .user = c};
    assert_int_equal(ht_context_status(c->ctx), HT_OK);
}

static void chase_close(chase *c)
{
    ht_set_free(c->theta);
    ht_set_free(c->eta);
    ht_set_free(c->data);
    ht_context_free(c->ctx);
    assert_int_equal(c->memory.live, 0);
}

static ht_bilevel *made(ht_context *ctx, const ht_bilevel_problem *p,
                        ht_bilevel_options o)
{
    ht_bilevel *b = ht_bilevel_new(ctx, p, &o);
    if (!b) fail_msg("%s", ht_context_message(ctx));
    return b;
}

/* What the gradient is with all states in memory, owned; and the bytes that takes. */
static ht_set *wanted(ht_context *ctx, const ht_bilevel_problem *p, ht_bilevel_options o,
                      size_t *bytes)
{
    ht_bilevel *all = made(ctx, p, o);
    ht_set *want = ht_set_clone(ht_bilevel_run(all, 0).gradient, 0);
    *bytes = ht_bilevel_bytes(all);
    ht_bilevel_free(all);
    return want;
}

/* The least bytes of revolve, by what a budget of one byte is told. */
static size_t least(ht_context *ctx, const ht_bilevel_problem *p, ht_bilevel_options o)
{
    o.bytes = 1;
    assert_null(ht_bilevel_new(ctx, p, &o));
    const char *at = strstr(ht_context_message(ctx), "1 slot needs ");
    assert_non_null(at);
    size_t bytes = strtoull(at + strlen("1 slot needs "), NULL, 10);
    ht_context_clear(ctx);
    return bytes;
}

static size_t size_of(const char *path)
{
    struct stat about;
    assert_int_equal(stat(path, &about), 0);
    return (size_t)about.st_size;
}

/* A run is as foretold: its bits, steps, bytes in memory and on disk. */
static ht_bilevel_result assert_as_foretold(ht_bilevel *b, const ht_set *want)
{
    hti_choice c = b->memory.choice;
    int64_t n = b->problem.steps - b->problem.first;
    size_t block = b->memory.block_bytes;
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    assert_int_equal(ht_context_status(b->ctx), HT_OK);
    assert_same_bits(r.gradient, want, "with states on disk");
    assert_int_equal(r.forward_steps, b->problem.first + hti_plan_forward_steps(c, n));
    assert_int_equal(r.peak_bytes, ht_bilevel_bytes(b));
    if (!c.segment) return r;
    assert_int_equal(r.disk_written, (size_t)hti_plan_stored(c, n) * block);
    assert_int_equal(r.disk_read, (size_t)(hti_segments(c, n) - 1) * block);
    assert_int_equal(size_of(STATES), (size_t)c.places * block);
    assert_false(is_there(SWEEP));
    return r;
}

/* Cases. */

static void bilevel_run_on_disk_has_the_bits_of_memory(void **state)
{
    (void)state;
    const ht_method method[] = {HT_REVERSE, HT_REVERSE_REVERSE, HT_TRUNCATED,
                                HT_FIRST_ORDER};
    const size_t disk[] = {0, 30000, 14000};
    chase c;
    clean();
    chase_open(&c);
    int on_disk = 0, again = 0;
    for (int k = 0; k < 4; k++) {
        ht_bilevel_options o = {.method = method[k],
                                .truncate = method[k] == HT_TRUNCATED ? T / 3 : 0};
        size_t most;
        ht_set *want = wanted(c.ctx, &c.problem, o, &most);
        size_t few = least(c.ctx, &c.problem, o);
        for (int i = 1; i <= 6; i++) {
            o.disk = FOLDER;
            o.bytes = few + (most - few) * (size_t)(i * i) / 64 + 12000;
            o.disk_bytes = disk[i % 3];
            ht_bilevel *b = made(c.ctx, &c.problem, o);
            assert_true(ht_bilevel_bytes(b) <= o.bytes);
            if (o.disk_bytes)
                assert_true(hti_disk_size(b, b->memory.choice) <= o.disk_bytes);
            ht_bilevel_result r = assert_as_foretold(b, want);
            on_disk += b->memory.choice.segment > 0;
            again += r.forward_steps > 2 * T;

            ht_bilevel_free(b);
            assert_false(is_there(STATES));
        }
        ht_set_free(want);
    }
    printf("# of 24 runs %d use the disk, %d run segments again\n", on_disk, again);
    assert_true(on_disk >= 20 && again >= 4);
    chase_close(&c);
    clean();
}

/* A place for each segment: every step is run twice, but for the last of each segment. */
static void bilevel_run_with_a_place_for_each_segment_runs_steps_twice(void **state)
{
    (void)state;
    chase c;
    clean();
    chase_open(&c);
    size_t most;
    ht_set *want = wanted(c.ctx, &c.problem, (ht_bilevel_options){0}, &most);
    ht_bilevel *b =
        made(c.ctx, &c.problem, (ht_bilevel_options){.bytes = most / 8, .disk = FOLDER});
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    assert_same_bits(r.gradient, want, "segments");
    int64_t segments = hti_segments(b->memory.choice, T);
    assert_true(segments > 4 && segments < 40);
    assert_in_range(r.forward_steps, T, 2 * T - segments);
    ht_bilevel_free(b);
    ht_set_free(want);
    chase_close(&c);
    clean();
}

static void bilevel_run_of_many_losses_on_disk_has_the_bits_of_memory(void **state)
{
    (void)state;
    chase c;
    clean();
    chase_open(&c);
    c.problem.outer = chase_outers;
    size_t most;
    ht_set *want = wanted(c.ctx, &c.problem, (ht_bilevel_options){0}, &most);
    ht_bilevel *b =
        made(c.ctx, &c.problem, (ht_bilevel_options){.bytes = most / 9, .disk = FOLDER});
    assert_as_foretold(b, want);
    assert_true(b->memory.choice.segment > 0);
    ht_bilevel_free(b);
    ht_set_free(want);
    chase_close(&c);
    clean();
}

static void bilevel_run_of_random_problems_on_disk_has_the_bits_of_memory(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    int on_disk = 0;
    clean();
    for (uint64_t k = 0; k < 300; k++) {
        uint8_t bytes[256];
        random_bilevel_bytes(seed, k, bytes, sizeof bytes);
        fuzz_bytes reader = {bytes, sizeof bytes, 0};
        counted memory = {0};
        ht_context *ctx = counted_context(&memory, 1);
        random_bilevel random;
        random_bilevel_new(&random, ctx, &reader);
        size_t most, few = least(ctx, &random.problem, (ht_bilevel_options){0});
        ht_set *want = wanted(ctx, &random.problem, (ht_bilevel_options){0}, &most);
        for (size_t i = 0; i < 8 && few < most; i++) {
            ht_bilevel_options o = {.disk = FOLDER, .bytes = few + (most - few) * i / 8};
            o.bytes += 600;
            ht_bilevel *b = ht_bilevel_new(ctx, &random.problem, &o);
            if (!b) assert_int_equal(ht_context_status(ctx), HT_ERROR_MEMORY);
            ht_context_clear(ctx);
            if (!b) continue;
            assert_as_foretold(b, want);
            on_disk += b->memory.choice.segment > 0;
            ht_bilevel_free(b);
        }
        ht_set_free(want);
        random_bilevel_free(&random);
        ht_context_free(ctx);
        assert_int_equal(memory.live, 0);
    }
    printf("# %d runs on disk\n", on_disk);
    assert_true(on_disk > 60);
    clean();
}

/* Going on. */

/* With few places, each stored to more than once; 0: with one for each segment, where
 * not each has a record. */
static size_t places_bytes = 60000;

static ht_bilevel_options small_options(void)
{
    return (ht_bilevel_options){
        .bytes = 200000, .disk = FOLDER, .disk_bytes = places_bytes};
}

static void die_half_way(void *at)
{
    chase c;
    chase_open(&c);
    ht_bilevel *b = made(c.ctx, &c.problem, small_options());
    c.die_at = *(int64_t *)at;
    ht_bilevel_run(b, 0);
}

static void goes_on_after_kills(void)
{
    chase c;
    size_t most;
    clean();
    chase_open(&c);
    ht_set *want = wanted(c.ctx, &c.problem, (ht_bilevel_options){0}, &most);
    ht_bilevel *b = made(c.ctx, &c.problem, small_options());
    assert_true(b->memory.choice.segment > 0);
    ht_bilevel_result whole = ht_bilevel_run(b, 0);
    int64_t calls = whole.forward_steps + T;
    ht_bilevel_free(b);
    int went_on = 0;
    for (int k = 0; k < KILLS; k++) {
        char text[256];
        int64_t at = 1 + calls * k / KILLS;
        int status = test_child(die_half_way, &at, STDERR_FILENO, text, sizeof text);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        b = made(c.ctx, &c.problem, small_options());
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        assert_same_bits(r.gradient, want, "gone on");
        assert_int_equal(r.forward_steps, whole.forward_steps);
        assert_int_equal(r.reverse_steps, whole.reverse_steps);
        assert_true(r.outer == whole.outer && r.inner == whole.inner);
        assert_true(r.resumed_steps <= at);
        went_on += r.resumed_steps > 0;
        ht_bilevel_free(b);
    }
    printf("# %d of %d went on from a state\n", went_on, KILLS);
    assert_true(went_on >= KILLS - 3);
    ht_set_free(want);
    chase_close(&c);
    clean();
}

static void bilevel_run_after_kills_goes_on_to_the_same_bits(void **state)
{
    (void)state;
    test_not_under_valgrind();
    goes_on_after_kills();
    places_bytes = 0;
    goes_on_after_kills();
    places_bytes = 60000;
}

/* Killed again and again it still comes to its end. */
static void bilevel_run_killed_often_comes_to_its_end(void **state)
{
    (void)state;
    test_not_under_valgrind();
    chase c;
    size_t most;
    int64_t at = 700, kills = 0;
    char text[256];
    clean();
    chase_open(&c);
    ht_set *want = wanted(c.ctx, &c.problem, (ht_bilevel_options){0}, &most);
    while (WIFSIGNALED(test_child(die_half_way, &at, STDERR_FILENO, text, sizeof text)))
        assert_true(++kills < 60);
    printf("# %lld kills\n", (long long)kills);
    assert_true(kills > 5);
    ht_bilevel *b = made(c.ctx, &c.problem, small_options());
    assert_same_bits(ht_bilevel_run(b, 0).gradient, want, "after it");
    ht_bilevel_free(b);
    ht_set_free(want);
    chase_close(&c);
    clean();
}

/* Overwrites 8 bytes of a file. */
static void damage(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, at, SEEK_SET);
    fwrite("damaged!", 1, 8, f);
    fclose(f);
}

static void killed_at(int64_t at)
{
    char text[256];
    clean();
    int status = test_child(die_half_way, &at, STDERR_FILENO, text, sizeof text);
    assert_true(WIFSIGNALED(status));
    assert_true(is_there(SWEEP) && is_there(STATES));
}

static void bilevel_run_does_not_go_on_with_another_or_damaged_sweep(void **state)
{
    (void)state;
    test_not_under_valgrind();
    for (int k = 0; k < 6; k++) {
        chase c;
        size_t most;
        killed_at(5000);
        chase_open(&c);
        if (k == 3) c.problem.update = HT_MOMENTUM(0.011, 0.9);
        if (k == 4) c.problem.outer = chase_other;
        if (k == 5) c.shift = 1;
        if (k == 0) ht_tensor_fill(ht_set_at(c.eta, 0), 0.5);
        if (k == 1) damage(SWEEP, (long)size_of(SWEEP) / 2);
        if (k == 2) assert_int_equal(truncate(SWEEP, (off_t)size_of(SWEEP) - 9), 0);
        ht_set *want = wanted(c.ctx, &c.problem, (ht_bilevel_options){0}, &most);
        ht_bilevel *b = made(c.ctx, &c.problem, small_options());
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        assert_same_bits(r.gradient, want, "begun anew");
        assert_int_equal(r.resumed_steps, 0);
        assert_contains(r.note, "not gone on with");
        ht_bilevel_free(b);
        ht_set_free(want);
        chase_close(&c);
    }
    clean();
}

static void bilevel_run_of_a_damaged_state_is_refused(void **state)
{
    (void)state;
    test_not_under_valgrind();
    chase c;
    killed_at(5000);
    damage(STATES, 16);
    chase_open(&c);
    ht_bilevel *b = made(c.ctx, &c.problem, small_options());
    assert_null(ht_bilevel_run(b, 0).gradient);
    assert_int_equal(ht_context_status(c.ctx), HT_ERROR_FORMAT);
    assert_contains(ht_context_message(c.ctx), "is not what was written");
    ht_context_clear(c.ctx);
    ht_bilevel_free(b);
    chase_close(&c);
    clean();
}

/* Refusals. */

static void assert_refused(chase *c, ht_bilevel_options o, const char *words)
{
    assert_null(ht_bilevel_new(c->ctx, &c->problem, &o));
    assert_contains(ht_context_message(c->ctx), words);
    ht_context_clear(c->ctx);
}

static void bilevel_new_refuses_what_does_not_go_with_a_disk(void **state)
{
    (void)state;
    chase c;
    clean();
    chase_open(&c);
    assert_refused(&c, (ht_bilevel_options){.disk = FOLDER}, "nothing says when");
    assert_refused(&c, (ht_bilevel_options){.disk_bytes = 10}, "names no folder");
    assert_refused(
        &c, (ht_bilevel_options){.disk = FOLDER, .bytes = 1000000, .method = HT_FORWARD},
        "keeps no states");
    assert_refused(
        &c,
        (ht_bilevel_options){.disk = FOLDER, .bytes = 1000000, .schedule = HT_TWO_LEVEL},
        "one of its own");
    assert_refused(&c, (ht_bilevel_options){.disk = FOLDER, .bytes = 3000},
                   "too small for 3000 steps");
    assert_refused(
        &c, (ht_bilevel_options){.disk = FOLDER, .bytes = 200000, .disk_bytes = 3000},
        "options.disk_bytes of 3000 is too small for one state");
    assert_false(is_there(FOLDER));
    assert_refused(&c, (ht_bilevel_options){.disk = "no/such/folder", .bytes = 200000},
                   "the folder cannot be made: No such file");
    ht_bilevel *first = made(c.ctx, &c.problem, small_options());
    assert_refused(&c, small_options(), "which another bilevel uses");
    ht_set *v = ht_set_clone(c.eta, 0);
    ht_bilevel_run(first, 0);
    assert_null(ht_bilevel_hvp(first, v));
    assert_contains(ht_context_message(c.ctx), "states are in options.disk");
    ht_context_clear(c.ctx);
    ht_set_free(v);
    ht_bilevel_free(first);
    chase_close(&c);
    clean();
}

/* No more bytes in a file than a limit of the system's: said when the bilevel is made. */
static void new_within_a_limit(void *nothing)
{
    (void)nothing;
    chase c;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){20000, 20000});
    chase_open(&c);
    ht_bilevel_options o = small_options();
    ht_bilevel *b = ht_bilevel_new(c.ctx, &c.problem, &o);
    fputs(b ? "made" : ht_context_message(c.ctx), stderr);
}

static void bilevel_new_without_room_on_the_disk_says_so(void **state)
{
    (void)state;
    test_not_under_valgrind();
    char text[1024];
    clean();
    test_child(new_within_a_limit, NULL, STDERR_FILENO, text, sizeof text);
    assert_contains(text, "has no room for");
    clean();
}

static void bilevel_explain_says_what_lies_on_disk(void **state)
{
    (void)state;
    chase c;
    char text[2048] = "";
    clean();
    chase_open(&c);
    ht_bilevel *b = made(c.ctx, &c.problem, small_options());
    FILE *f = tmpfile();
    ht_bilevel_explain(b, f);
    rewind(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    assert_contains(text, "disk      ");
    assert_contains(text, " segments of ");
    ht_bilevel_free(b);
    chase_close(&c);
    clean();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bilevel_run_on_disk_has_the_bits_of_memory),
        cmocka_unit_test(bilevel_run_with_a_place_for_each_segment_runs_steps_twice),
        cmocka_unit_test(bilevel_run_of_many_losses_on_disk_has_the_bits_of_memory),
        cmocka_unit_test(bilevel_run_of_random_problems_on_disk_has_the_bits_of_memory),
        cmocka_unit_test(bilevel_run_after_kills_goes_on_to_the_same_bits),
        cmocka_unit_test(bilevel_run_killed_often_comes_to_its_end),
        cmocka_unit_test(bilevel_run_does_not_go_on_with_another_or_damaged_sweep),
        cmocka_unit_test(bilevel_run_of_a_damaged_state_is_refused),
        cmocka_unit_test(bilevel_new_refuses_what_does_not_go_with_a_disk),
        cmocka_unit_test(bilevel_new_without_room_on_the_disk_says_so),
        cmocka_unit_test(bilevel_explain_says_what_lies_on_disk),
    };
    return TEST_MAIN(tests);
}
