/* SPDX-License-Identifier: MIT */
/* test_data_prefetch.c: batches made ahead are those of their steps, in whatever order
 * and at whatever time they are taken; who made them; errors; a fork; the end while one
 * is being made. Read next: data/prefetch.c. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

#include "ht_data.h"

enum { N = 5, REFUSED = 77 };

typedef struct source {
    ht_context *ctx;
    ht_set *batch; /* "x" (N) f32, "label" (N) i32 */
    pthread_t caller;
    atomic_int inside, overlaps, ahead, own; /* ahead: made on another thread */
    int delay;                               /* microseconds, at most */
} source;

static void wait_for(int microseconds)
{
    nanosleep(&(struct timespec){0, 1000L * microseconds}, NULL);
}

static double value(uint64_t step, int64_t i)
{
    return ht_random_uniform(3, step, (uint64_t)i);
}

static ht_status fill(uint64_t step, ht_set *to, void *user)
{
    source *s = user;
    if (atomic_fetch_add(&s->inside, 1)) atomic_fetch_add(&s->overlaps, 1);
    atomic_fetch_add(pthread_equal(pthread_self(), s->caller) ? &s->own : &s->ahead, 1);
    if (s->delay) wait_for((int)(ht_random_bits(5, 0, step) % (uint64_t)s->delay));
    for (int64_t i = 0; i < N; i++) {
        ht_tensor_set(ht_set_at(to, 0), i, (double)(float)value(step, i));
        ht_tensor_set(ht_set_at(to, 1), i, (double)(step % 1000 + (uint64_t)i));
    }
    ht_status status = HT_OK;
    if (step == REFUSED)
        status = ht_context_fail(ht_set_context(to), HT_ERROR_ARGUMENT, NULL, "step 77");
    atomic_fetch_sub(&s->inside, 1);
    return status;
}

static int source_new(void **state)
{
    source *s = *state = calloc(1, sizeof *s);
    if (!s) return -1;
    s->ctx = ht_context_new(&(ht_context_options){.seed = test_seed(), .threads = 1});
    s->batch = ht_set_new(s->ctx);
    s->caller = pthread_self();
    ht_set_add(s->batch, "x", HT_F32, HT_SHAPE(N));
    ht_set_add(s->batch, "label", HT_I32, HT_SHAPE(N));
    return ht_context_status(s->ctx) == HT_OK ? 0 : -1;
}

static int source_free(void **state)
{
    source *s = *state;
    ht_set_free(s->batch);
    ht_context_free(s->ctx);
    free(s);
    return 0;
}

static void take(source *s, ht_prefetch *p, uint64_t step)
{
    ht_tensor_fill(ht_set_at(s->batch, 0), -1);
    assert_int_equal(ht_prefetch_take(p, step, s->batch), HT_OK);
    for (int64_t i = 0; i < N; i++) {
        double x = ht_tensor_get(ht_set_at(s->batch, 0), i), want = (float)value(step, i);
        if (x != want)
            fail_msg("step %llu, row %lld: got %.9g, want %.9g", (unsigned long long)step,
                     (long long)i, x, want);
        assert_int_equal(ht_tensor_get(ht_set_at(s->batch, 1), i),
                         step % 1000 + (uint64_t)i);
    }
}

/* Up, back, up again, jumps, the same twice, the least and the greatest. */
static void every_order_gives_the_batch_of_its_step(void **state)
{
    source *s = *state;
    for (s->delay = 0; s->delay <= 200; s->delay += 200) {
        ht_prefetch *p = ht_prefetch_new(s->batch, fill, s);
        for (uint64_t k = 0; k < 60; k++) take(s, p, k);
        for (uint64_t k = 60; k-- > 0;) take(s, p, k);
        for (uint64_t k = 0; k < 60; k++) take(s, p, ht_random_bits(9, 1, k) % 70);
        take(s, p, 5), take(s, p, 5), take(s, p, UINT64_MAX), take(s, p, 0);
        take(s, p, UINT64_MAX), take(s, p, UINT64_MAX - 1);
        ht_prefetch_free(p);
    }
    assert_int_equal(s->overlaps, 0);
    assert_int_equal(s->inside, 0);
}

/* But for the first, and in a sweep back the first two. */
static void steps_in_order_are_made_on_the_thread(void **state)
{
    source *s = *state;
    ht_prefetch *p = ht_prefetch_new(s->batch, fill, s);
    for (uint64_t k = 10; k < 40; k++) take(s, p, k);
    assert_int_equal(s->own, 1);
    for (uint64_t k = 40; k-- > 10;) take(s, p, k);
    assert_int_equal(s->own, 3);
    ht_prefetch_free(p);
}

/* While the caller is busy, the thread has the next batch ready. */
static void a_batch_is_there_before_it_is_asked_for(void **state)
{
    source *s = *state;
    ht_prefetch *p = ht_prefetch_new(s->batch, fill, s);
    take(s, p, 0);
    for (int tries = 0; s->ahead == 0 && tries < 20000; tries++) wait_for(1000);
    assert_int_equal(s->ahead, 1);
    ht_prefetch_free(p);
}

static void an_error_is_of_the_step_that_is_taken(void **state)
{
    source *s = *state;
    ht_prefetch *p = ht_prefetch_new(s->batch, fill, s);
    take(s, p, REFUSED - 1); /* and the thread meets the error */
    assert_int_equal(ht_context_status(s->ctx), HT_OK);
    take(s, p, REFUSED + 1);
    take(s, p, REFUSED - 1);
    assert_int_equal(ht_prefetch_take(p, REFUSED, s->batch), HT_ERROR_ARGUMENT);
    assert_non_null(strstr(ht_context_message(s->ctx), "step 77"));
    ht_context_clear(s->ctx);
    take(s, p, REFUSED + 1);
    ht_prefetch_free(p);
}

static void another_batch_is_refused(void **state)
{
    source *s = *state;
    ht_prefetch *p = ht_prefetch_new(s->batch, fill, s);
    ht_set *other = ht_set_new(s->ctx);
    ht_set_add(other, "x", HT_F64, HT_SHAPE(N));
    for (int tensors = 1; tensors <= 2; tensors++) {
        assert_int_equal(ht_prefetch_take(p, 0, other), HT_ERROR_SHAPE);
        assert_non_null(strstr(ht_context_message(s->ctx), "\n  hint: "));
        ht_context_clear(s->ctx);
        if (tensors == 1) ht_set_add(other, "label", HT_I32, HT_SHAPE(N));
    }
    assert_int_equal(s->own + s->ahead, 0);
    ht_set_free(other);
    ht_prefetch_free(p);
}

/* The thread is not in the child, which makes its batches itself. */
static void a_fork_goes_on(void **state)
{
    source *s = *state;
    ht_prefetch *p = ht_prefetch_new(s->batch, fill, s);
    take(s, p, 1);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        for (uint64_t k = 0; k < 20; k++) take(s, p, k);
        ht_prefetch_free(p);
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    take(s, p, 2);
    ht_prefetch_free(p);
}

static void it_ends_while_a_batch_is_made(void **state)
{
    source *s = *state;
    s->delay = 3000;
    for (uint64_t k = 0; k < 30; k++) {
        ht_prefetch *p = ht_prefetch_new(s->batch, fill, s);
        if (k % 3) take(s, p, k);
        ht_prefetch_free(p);
    }
    assert_int_equal(s->inside, 0);
}

static void *no_memory(void *user, void *old, size_t old_size, size_t new_size)
{
    (void)old_size;
    if (new_size && *(bool *)user) return NULL;
    if (new_size) return realloc(old, new_size);
    free(old);
    return NULL;
}

static void without_memory_there_is_none(void **state)
{
    (void)state;
    bool fails = false;
    ht_context *ctx =
        ht_context_new(&(ht_context_options){.alloc = no_memory, .user = &fails});
    ht_set *batch = ht_set_new(ctx);
    fails = true;
    assert_null(ht_prefetch_new(batch, fill, NULL));
    assert_int_equal(ht_context_status(ctx), HT_ERROR_MEMORY);
    ht_context_clear(ctx);
    ht_set_free(batch);
    ht_context_free(ctx);
}

typedef struct pictures {
    ht_images images;
    atomic_int began; /* fills */
} pictures;

/* Rows 0 .. N-1; at step 1 from the second on, and so one that there is not. */
static ht_status fill_images(uint64_t step, ht_set *to, void *user)
{
    pictures *p = user;
    atomic_fetch_add(&p->began, 1);
    return ht_images_rows(&p->images, NULL, step == 1, N, ht_set_at(to, 0),
                          ht_set_at(to, 1));
}

/* The thread reads the caller's images; what is wrong there is its own until it is asked
 * for, and then the caller's. */
static void images_of_another_context_are_read_alone(void **state)
{
    source *s = *state;
    ht_set *batch = ht_set_new(s->ctx);
    ht_set_add(batch, "x", HT_F32, HT_SHAPE(N, 2, 2));
    ht_set_add(batch, "label", HT_I32, HT_SHAPE(N));
    pictures from = {.images = {.classes = 1}};
    from.images.pixels = ht_tensor_new(s->ctx, HT_U8, HT_SHAPE(N, 2, 2));
    from.images.labels = ht_tensor_new(s->ctx, HT_I32, HT_SHAPE(N));
    ht_tensor_fill(from.images.pixels, 51);
    ht_tensor_fill(from.images.labels, 0);
    ht_prefetch *p = ht_prefetch_new(batch, fill_images, &from);
    assert_int_equal(ht_prefetch_take(p, 0, batch), HT_OK);
    assert_true(ht_tensor_get(ht_set_at(batch, 0), 4 * N - 1) == (double)0.2f);
    while (atomic_load(&from.began) < 2) wait_for(100);
    ht_prefetch_free(p); /* which waits for step 1, now that it is being made */
    assert_int_equal(ht_context_status(s->ctx), HT_OK);
    p = ht_prefetch_new(batch, fill_images, &from);
    assert_int_equal(ht_prefetch_take(p, 0, batch), HT_OK);
    assert_int_equal(ht_prefetch_take(p, 1, batch), HT_ERROR_ARGUMENT);
    assert_contains(ht_context_message(s->ctx), "expected a row in 0..4, got 5");
    ht_context_clear(s->ctx);
    ht_prefetch_free(p);
    ht_images_free(&from.images);
    ht_set_free(batch);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, source_new, source_free)
    const struct CMUnitTest tests[] = {
        TEST(every_order_gives_the_batch_of_its_step),
        TEST(steps_in_order_are_made_on_the_thread),
        TEST(a_batch_is_there_before_it_is_asked_for),
        TEST(an_error_is_of_the_step_that_is_taken),
        TEST(another_batch_is_refused),
        TEST(a_fork_goes_on),
        TEST(images_of_another_context_are_read_alone),
        TEST(it_ends_while_a_batch_is_made),
        cmocka_unit_test(without_memory_there_is_none),
    };
    return TEST_MAIN(tests);
}
