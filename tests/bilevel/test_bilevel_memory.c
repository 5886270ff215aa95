/* SPDX-License-Identifier: MIT */
/* test_bilevel_memory.c: runs ask for no memory, of the context's allocator or of malloc;
 * a thousand outer steps leave nothing; and an allocator that fails at any call is a
 * clean error. malloc and its kin are counted by standing in front of the C library's.
 * With more than one thread a BLAS may allocate by itself, so contexts here have one. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* RTLD_NEXT */
#endif
#include <dlfcn.h>

#include "test_bilevel.h"

#include "test_data.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* To malloc and kin that asked for memory; volatile, because compilers know that malloc
 * changes no variable of the program. */
static volatile uint64_t heap_calls;

#if !SANITIZED
/* What dlsym asks for while it looks up calloc comes from here, never given back. */
static _Alignas(64) unsigned char heap_early[4096];
static size_t heap_early_used;

static void *heap_next(const char *name)
{
    static bool looking;
    if (looking) return NULL;
    looking = true;
    void *found = dlsym(RTLD_NEXT, name);
    looking = false;
    return found;
}

static void *heap_early_take(size_t bytes)
{
    size_t at = (heap_early_used + 63) / 64 * 64;
    if (bytes > sizeof heap_early || at > sizeof heap_early - bytes) return NULL;
    heap_early_used = at + bytes;
    return heap_early + at;
}

/* ISO C turns no object pointer into a function's; their bytes are the same. */
#define HEAP_NEXT(type, variable, name)                  \
    static type variable;                                \
    if (!variable) {                                     \
        void *found = heap_next(name);                   \
        memcpy((void *)&variable, &found, sizeof found); \
    }

typedef void *(*heap_malloc_fn)(size_t);
typedef void *(*heap_calloc_fn)(size_t, size_t);
typedef void *(*heap_realloc_fn)(void *, size_t);
typedef void (*heap_free_fn)(void *);
typedef int (*heap_posix_memalign_fn)(void **, size_t, size_t);

void *malloc(size_t size)
{
    HEAP_NEXT(heap_malloc_fn, next, "malloc")
    heap_calls++;
    return next ? next(size) : heap_early_take(size);
}

void *calloc(size_t count, size_t size)
{
    HEAP_NEXT(heap_calloc_fn, next, "calloc")
    heap_calls++;
    return next ? next(count, size) : heap_early_take(count * size);
}

void *realloc(void *old, size_t size)
{
    HEAP_NEXT(heap_realloc_fn, next, "realloc")
    heap_calls++;
    return next ? next(old, size) : NULL;
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    HEAP_NEXT(heap_posix_memalign_fn, next, "posix_memalign")
    heap_calls++;
    return next(block, alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    HEAP_NEXT(heap_calloc_fn, next, "aligned_alloc")
    heap_calls++;
    return next(alignment, size);
}

void free(void *block)
{
    HEAP_NEXT(heap_free_fn, next, "free")
    uintptr_t at = (uintptr_t)block, early = (uintptr_t)heap_early;
    if (block && (at < early || at >= early + sizeof heap_early)) next(block);
}
#endif

enum { N = 40, PIXELS = 784 };

/* A small hyper-cleaning in f32: what the memory is asked for, and the outer loop. */
typedef struct cleaning {
    ht_set *theta, *eta, *train, *validation;
    ht_bilevel *bilevel;
    ht_optimizer *optimizer;
} cleaning;

static ht_set *cleaning_data(ht_context *ctx, const ht_images *images, int64_t first)
{
    ht_set *set = ht_set_new(ctx);
    ht_tensor *x = set ? ht_set_add(set, "x", HT_F32, HT_SHAPE(N, PIXELS)) : NULL;
    ht_tensor *y = x ? ht_set_add(set, "y", HT_I32, HT_SHAPE(N)) : NULL;
    if (y && ht_images_rows(images, NULL, first, N, x, y) == HT_OK) return set;
    ht_set_free(set);
    return NULL;
}

static void cleaning_free(cleaning *c)
{
    ht_optimizer_free(c->optimizer);
    ht_bilevel_free(c->bilevel);
    ht_set_free(c->theta);
    ht_set_free(c->eta);
    ht_set_free(c->train);
    ht_set_free(c->validation);
}

static bool cleaning_new(cleaning *c, ht_context *ctx, const ht_images *images,
                         const ht_update *update, int64_t steps,
                         ht_bilevel_options options)
{
    *c = (cleaning){0};
    c->train = cleaning_data(ctx, images, 0);
    c->validation = c->train ? cleaning_data(ctx, images, N) : NULL;
    c->theta = c->validation ? ht_set_new(ctx) : NULL;
    if (c->theta) ht_linear_init(c->theta, "layer", HT_F32, PIXELS, 10);
    c->eta = ht_context_status(ctx) == HT_OK ? ht_set_new(ctx) : NULL;
    ht_tensor *lambda = c->eta ? ht_set_add(c->eta, "lambda", HT_F32, HT_SHAPE(N)) : NULL;
    if (!lambda) return false;
    ht_tensor_fill(lambda, 0.5);
    c->bilevel = ht_bilevel_new(ctx,
                                &(ht_bilevel_problem){.inner = cleaning_inner,
                                                      .outer = cleaning_outer,
                                                      .theta = c->theta,
                                                      .eta = c->eta,
                                                      .inner_data = c->train,
                                                      .outer_data = c->validation,
                                                      .steps = steps,
                                                      .update = *update},
                                &options);
    if (!c->bilevel) return false;
    c->optimizer = ht_optimizer_new(c->eta, &(ht_update){.rule = &ht_adam,
                                                         .rate = HT_FIXED(0.01),
                                                         .momentum = HT_FIXED(0.9),
                                                         .beta2 = HT_FIXED(0.999),
                                                         .eps = HT_FIXED(1e-8)});
    return c->optimizer != NULL;
}

/* One outer step: hypergradient, Adam, projection. */
static bool cleaning_step(cleaning *c, uint64_t step)
{
    ht_bilevel_result r = ht_bilevel_run(c->bilevel, step);
    if (!r.gradient || ht_optimizer_step(c->optimizer, r.gradient) != HT_OK) return false;
    ht_project_capped_simplex(ht_set_tensor(c->eta, "lambda"), N / 4.0);
    return ht_context_status(ht_set_context(c->eta)) == HT_OK;
}

static const ht_update plain = {.rule = &ht_sgd, .rate = {.value = 0.5}};
static const ht_update adam = {.rule = &ht_adam,
                               .rate = {.value = 0.01},
                               .momentum = {.value = 0.9},
                               .beta2 = {.value = 0.99},
                               .eps = {.value = 1e-6}};

static const ht_update heavy = {
    .rule = &ht_momentum, .rate = {.value = 0.1}, .momentum = {.value = 0.9}};

/* HT_REVERSIBLE takes no other rule than momentum. */
static const ht_update *update_for(ht_bilevel_options o, const ht_update *other)
{
    return o.method == HT_REVERSIBLE ? &heavy : other;
}

/* Every method and schedule. */
static const ht_bilevel_options ways[] = {
    {.schedule = HT_STORE_ALL},
    {.schedule = HT_TWO_LEVEL},
    {.schedule = HT_REVOLVE, .slots = 3},
    {.method = HT_REVERSE_REVERSE},
    {.truncate = 7},
    {.method = HT_FORWARD},
    {.method = HT_REVERSIBLE},
};
enum { N_WAYS = sizeof ways / sizeof *ways };
#define STEPS test_size(30, 8)

static void bilevel_run_asks_no_memory_of_the_allocator(void **state)
{
    (void)state;
    counted memory = {0};
    ht_context *ctx = counted_context(&memory, 1);
    ht_images images = mnist_images(ctx);
    for (int k = 0; k < 2 * N_WAYS; k++) {
        cleaning c;
        ht_bilevel_options way = ways[k % N_WAYS];
        const ht_update *update = update_for(way, k < N_WAYS ? &plain : &adam);
        assert_true(cleaning_new(&c, ctx, &images, update, STEPS, way));
        uint64_t calls = memory.calls, allocations = ht_context_allocations(ctx);
        size_t live = memory.live;
        for (uint64_t step = 0; step < 3; step++) {
            assert_non_null(ht_bilevel_run(c.bilevel, step).gradient);
            assert_non_null(ht_bilevel_evaluate(c.bilevel, step).theta);
        }
        assert_int_equal(memory.calls, calls);
        assert_int_equal(ht_context_allocations(ctx), allocations);
        assert_int_equal(memory.live, live);
        cleaning_free(&c);
    }
    assert_true(memory.calls > 0 && ht_context_allocations(ctx) == memory.calls);
    ht_images_free(&images);
    ht_context_free(ctx);
    assert_int_equal(memory.live, 0);
}

/* The first run may warm up what the BLAS keeps. */
static void bilevel_run_asks_no_memory_of_malloc(void **state)
{
    (void)state;
    if (SANITIZED) {
        print_message("# skipped: a sanitizer has malloc to itself\n");
        skip();
    }
    uint64_t before = heap_calls;
    void *volatile block = malloc(64);
    free(block);
    assert_int_equal(heap_calls, before + 1);
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = 1});
    ht_images images = mnist_images(ctx);
    for (int k = 0; k < 2 * N_WAYS; k++) {
        cleaning c;
        ht_bilevel_options way = ways[k % N_WAYS];
        const ht_update *update = update_for(way, k < N_WAYS ? &plain : &adam);
        assert_true(cleaning_new(&c, ctx, &images, update, STEPS, way));
        ht_bilevel_run(c.bilevel, 0);
        before = heap_calls;
        ht_bilevel_result r = ht_bilevel_run(c.bilevel, 1);
        uint64_t calls = heap_calls - before;
        printf("# %llu calls in %lld steps and %lld of their derivatives\n",
               (unsigned long long)calls, (long long)r.forward_steps,
               (long long)r.reverse_steps);
        assert_int_equal(calls, 0);
        assert_true(r.forward_steps >= STEPS);
        cleaning_free(&c);
    }
    ht_images_free(&images);
    ht_context_free(ctx);
}

/* Resident pages of this process; 0 where there is no /proc. */
static size_t resident_bytes(void)
{
    size_t size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    if (fscanf(file, "%zu %zu", &size, &resident) != 2) resident = 0;
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void bilevel_run_thousand_outer_steps_leave_nothing(void **state)
{
    (void)state;
    counted memory = {0};
    ht_context *ctx = counted_context(&memory, 1);
    ht_images images = mnist_images(ctx);
    cleaning c;
    assert_true(cleaning_new(&c, ctx, &images, &plain, 10,
                             (ht_bilevel_options){.schedule = HT_REVOLVE, .slots = 3}));
    ht_images_free(&images);
    size_t live = 0, resident = 0;
    for (uint64_t step = 0; step < (uint64_t)test_size(1000, 20); step++) {
        if (step == 10) {
            live = memory.live;
            resident = resident_bytes();
        }
        assert_true(cleaning_step(&c, step));
    }
    size_t live_after = memory.live, resident_after = resident_bytes();
    printf("# live %zu bytes after 10, %zu after 1000; resident %zu, %zu\n", live,
           live_after, resident, resident_after);
    assert_int_equal(live_after, live);
    /* A sanitizer keeps freed memory for a while. */
    assert_true(SANITIZED || resident_after <= resident + (1 << 20));
    cleaning_free(&c);
    ht_context_free(ctx);
    assert_int_equal(memory.live, 0);
}

/* The whole small hyper-cleaning, ended by the first error. */
static bool cleaning_whole(ht_context *ctx, const ht_images *images, const char *path,
                           ht_bilevel_options options)
{
    cleaning c;
    bool ok = cleaning_new(&c, ctx, images, update_for(options, &adam), 4, options);
    for (uint64_t step = 0; ok && step < 2; step++) ok = cleaning_step(&c, step);
    ok = ok && ht_set_write(c.eta, path) == HT_OK;
    cleaning_free(&c);
    return ok;
}

/* The n-th call fails, n = 1, 2, ...; returns the first n that no call was left for. */
static uint64_t fail_each_call(const fixture *f, const ht_images *images,
                               ht_bilevel_options options)
{
    char path[PATH];
    path_in(f, "lambda.safetensors", path);
    for (uint64_t n = 1;; n += (uint64_t)test_size(1, 17)) {
        counted memory = {.fail_at = n};
        ht_context *ctx = ht_context_new(
            &(ht_context_options){.alloc = counted_alloc, .user = &memory, .threads = 1});
        bool ok = ctx && cleaning_whole(ctx, images, path, options);
        if (ctx && ok != (memory.calls < n))
            fail_msg("%llu calls, the one that failed was %llu: %s",
                     (unsigned long long)memory.calls, (unsigned long long)n,
                     ok ? "no error" : ht_context_message(ctx));
        if (ctx) assert_int_equal(ht_context_status(ctx), ok ? HT_OK : HT_ERROR_MEMORY);
        ht_context_free(ctx);
        assert_int_equal(memory.live, 0);
        assert_int_equal(count_files(f, false), ok);
        if (ok) return n;
    }
}

static void bilevel_any_failed_allocation_is_a_clean_error(void **state)
{
    fixture *f = *state;
    const ht_bilevel_options options[] = {
        {.schedule = HT_STORE_ALL}, {.schedule = HT_REVOLVE, .slots = 2},
        {.schedule = HT_TWO_LEVEL}, {.method = HT_REVERSE_REVERSE},
        {.method = HT_REVERSIBLE},  {.bytes = 1100000}};
    ht_images images = mnist_images(f->ctx);
    for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
        uint64_t n = fail_each_call(f, &images, options[k]);
        printf("# %llu calls, each failed once\n", (unsigned long long)n - 1);
        assert_true(n > 50);
        char path[PATH];
        ht_set *written = ht_set_load(f->ctx, path_in(f, "lambda.safetensors", path));
        assert_non_null(written);
        assert_int_equal(ht_set_elements(written), N);
        ht_set_free(written);
        assert_int_equal(count_files(f, true), 1);
    }
    ht_images_free(&images);
}

/* The byte limit of a context is the same as an allocator that has no more. */
static void bilevel_any_byte_limit_is_a_clean_error(void **state)
{
    fixture *f = *state;
    char path[PATH];
    path_in(f, "lambda.safetensors", path);
    ht_images images = mnist_images(f->ctx);
    bool ok = false;
    int tries = 0;
    for (size_t limit = 5000; !ok; limit += (size_t)test_size(7919, 50021), tries++) {
        ht_context *ctx =
            ht_context_new(&(ht_context_options){.byte_limit = limit, .threads = 1});
        assert_non_null(ctx);
        ok = cleaning_whole(ctx, &images, path, (ht_bilevel_options){0});
        assert_int_equal(ht_context_status(ctx), ok ? HT_OK : HT_ERROR_MEMORY);
        assert_true(ht_context_peak_bytes(ctx) <= limit);
        ht_context_free(ctx);
        assert_int_equal(count_files(f, false), ok);
    }
    printf("# %d limits were too low\n", tries - 1);
    assert_true(tries > test_size(10, 2));
    ht_images_free(&images);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bilevel_run_asks_no_memory_of_the_allocator),
        cmocka_unit_test(bilevel_run_asks_no_memory_of_malloc),
        cmocka_unit_test(bilevel_run_thousand_outer_steps_leave_nothing),
        cmocka_unit_test_setup_teardown(bilevel_any_failed_allocation_is_a_clean_error,
                                        fixture_new, fixture_free),
        cmocka_unit_test_setup_teardown(bilevel_any_byte_limit_is_a_clean_error,
                                        fixture_new, fixture_free),
    };
    return TEST_MAIN(tests);
}
