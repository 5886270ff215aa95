/* SPDX-License-Identifier: MIT */
/* test_bilevel.h: what the tests of bilevel problems share: an allocator that counts and
 * can fail, rows of the bundled MNIST, and distances between gradients. Read next:
 * test_bilevel_mnist.c. */
#ifndef HTI_TEST_BILEVEL_H
#define HTI_TEST_BILEVEL_H

#include "hypertape.h"
#include "test.h"

/* The user pointer of counted_alloc: bytes live, the most there ever were, and calls that
 * asked for memory; the call numbered fail_at gets none. Behind each block is a fence,
 * and whoever has written there ends the program when the block is given back. */
enum { COUNTED_FENCE = 64, COUNTED_POST = 0xA7 };
typedef struct counted {
    size_t live, peak;
    uint64_t calls, fail_at;
} counted;

static inline void counted_check(const void *block, size_t size)
{
    const unsigned char *post = (const unsigned char *)block + size;
    for (int i = 0; i < COUNTED_FENCE; i++)
        if (post[i] != COUNTED_POST) {
            fprintf(stderr, "written %d bytes behind a block of %zu\n", i + 1, size);
            abort();
        }
}

static inline void *counted_alloc(void *user, void *old, size_t old_size, size_t new_size)
{
    counted *c = user;
    if (old) counted_check(old, old_size);
    if (new_size == 0) {
        c->live -= old_size;
        free(old);
        return NULL;
    }
    if (++c->calls == c->fail_at) return NULL;
    void *block = realloc(old, new_size + COUNTED_FENCE);
    if (!block) return NULL;
    memset((unsigned char *)block + new_size, COUNTED_POST, COUNTED_FENCE);
    c->live += new_size - old_size;
    if (c->live > c->peak) c->peak = c->live;
    return block;
}

static inline ht_context *counted_context(counted *c, int threads)
{
    return ht_context_new(&(ht_context_options){
        .alloc = counted_alloc, .user = c, .seed = test_seed(), .threads = threads});
}

/* The bundled training images; free with ht_images_free. */
static inline ht_images mnist_images(ht_context *ctx)
{
    char folder[1024];
    const char *data = getenv("HYPERTAPE_DATA");
    snprintf(folder, sizeof folder, "%s/mnist", data ? data : "data/bundled");
    ht_images images;
    ht_mnist_read(ctx, folder, false, &images);
    if (ht_context_status(ctx) != HT_OK) fail_msg("%s", ht_context_message(ctx));
    return images;
}

/* Rows first .. first+n-1 as "x" (n, 784) and "y" (n) in a new set. */
static inline ht_set *mnist_set(ht_context *ctx, const ht_images *images, int64_t first,
                                int64_t n, ht_dtype dtype)
{
    ht_set *set = ht_set_new(ctx);
    ht_tensor *x = ht_set_add(set, "x", dtype, HT_SHAPE(n, 784));
    ht_tensor *y = ht_set_add(set, "y", HT_I32, HT_SHAPE(n));
    assert_int_equal(ht_images_rows(images, NULL, first, n, x, y), HT_OK);
    return set;
}

/* The first line of a text, as a comment in the log. */
static inline void print_line(const char *text)
{
    fputs("# ", stdout);
    fwrite(text, 1, strcspn(text, "\n"), stdout);
    putchar('\n');
}

/* |got - want| / |want| over two lists of numbers. */
static inline double norm_distance(int64_t n, const double *got, const double *want)
{
    double above = 0, below = 0;
    for (int64_t i = 0; i < n; i++) {
        above += (got[i] - want[i]) * (got[i] - want[i]);
        below += want[i] * want[i];
    }
    return sqrt(above) / sqrt(below);
}

static inline double tensor_distance(const ht_tensor *got, const ht_tensor *want)
{
    assert_int_equal(ht_tensor_count(got), ht_tensor_count(want));
    return norm_distance(ht_tensor_count(got), ht_tensor_data(got), ht_tensor_data(want));
}

/* Prints the number it was, so that a log shows how far from the tolerance. A reference
 * of norm zero gives NaN, which fails. */
#define assert_distance(distance, tolerance, ...) \
    test_distance(distance, tolerance, __FILE__, __LINE__, __VA_ARGS__)

__attribute__((format(printf, 5, 6))) static inline void
test_distance(double distance, double tolerance, const char *file, int line,
              const char *format, ...)
{
    char what[160];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    printf("# %-52s %.2e (at most %.0e)\n", what, distance, tolerance);
    if (distance <= tolerance) return;
    print_error("%s: normwise distance %.3g, at most %.3g\n", what, distance, tolerance);
    _fail(file, line);
}

/* Same names and the same bits. */
static inline void assert_same_bits(const ht_set *got, const ht_set *want,
                                    const char *what)
{
    assert_non_null(got);
    assert_non_null(want);
    assert_int_equal(ht_set_count(got), ht_set_count(want));
    for (int i = 0; i < ht_set_count(want); i++) {
        const ht_tensor *x = ht_set_at(got, i), *y = ht_set_at(want, i);
        assert_int_equal(ht_tensor_bytes(x), ht_tensor_bytes(y));
        if (!memcmp(ht_tensor_data(x), ht_tensor_data(y), ht_tensor_bytes(y))) continue;
        for (int64_t k = 0; k < ht_tensor_count(y); k++)
            if (ht_tensor_get(x, k) != ht_tensor_get(y, k))
                fail_msg("%s: %s[%lld] is %.17g, not %.17g", what, ht_set_name(want, i),
                         (long long)k, ht_tensor_get(x, k), ht_tensor_get(y, k));
        fail_msg("%s: %s differs in the sign of a zero or a NaN", what,
                 ht_set_name(want, i));
    }
}

/* dF/dx[i] by central differences of the whole training, x being theta's or eta's. */
static inline double outer_slope(ht_bilevel *bilevel, ht_tensor *x, int64_t i, double h)
{
    double at = ht_tensor_get(x, i);
    ht_tensor_set(x, i, at + h);
    double up = ht_bilevel_evaluate(bilevel, 0).outer, above = ht_tensor_get(x, i);
    ht_tensor_set(x, i, at - h);
    double down = ht_bilevel_evaluate(bilevel, 0).outer, below = ht_tensor_get(x, i);
    ht_tensor_set(x, i, at);
    return (up - down) / (above - below);
}

/* Random elements of a tensor (all of them if n is its count): the distance of gradient
 * from central differences there. */
static inline double slope_distance(ht_bilevel *bilevel, ht_tensor *x,
                                    const ht_tensor *gradient, int64_t n, double h)
{
    int64_t count = ht_tensor_count(x);
    int64_t *order = malloc((size_t)count * sizeof *order);
    double *got = malloc((size_t)n * sizeof *got),
           *want = malloc((size_t)n * sizeof *want);
    assert_true(order && got && want && n <= count);
    ht_random_permutation(test_seed(), 77, count, order);
    for (int64_t k = 0; k < n; k++) {
        got[k] = ht_tensor_get(gradient, order[k]);
        want[k] = outer_slope(bilevel, x, order[k], h);
    }
    double distance = norm_distance(n, got, want);
    free(order);
    free(got);
    free(want);
    return distance;
}

/* Hyper-cleaning: the weight lambda of an example beside its cross-entropy. */
static inline ht_var cleaning_inner(const ht_vars *theta, const ht_vars *eta,
                                    const ht_vars *batch, void *user)
{
    (void)user;
    ht_var logits = ht_linear(ht_get(batch, "x"), theta, "layer");
    ht_var loss = ht_cross_entropy(logits, ht_get(batch, "y"));
    return ht_mean(ht_mul(ht_get(eta, "lambda"), loss));
}

static inline ht_var cleaning_outer(const ht_vars *theta, const ht_vars *eta,
                                    const ht_vars *batch, void *user)
{
    (void)eta, (void)user;
    ht_var logits = ht_linear(ht_get(batch, "x"), theta, "layer");
    return ht_mean(ht_cross_entropy(logits, ht_get(batch, "y")));
}

#endif
