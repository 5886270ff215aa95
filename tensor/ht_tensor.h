/* SPDX-License-Identifier: MIT */
/* ht_tensor.h: arrays, the context they are allocated on, and counter-based random
 * numbers.
 *
 * A tensor is a plain row-major array and knows no tape. Ownership is said in three
 * words: *owned* (the caller frees it), *borrowed until* (it must live and stay unchanged
 * that long), *taken* (the callee frees it). Read next: tensor/README.md, ht_autograd.h.
 */
#ifndef HT_TENSOR_H
#define HT_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "ht_status.h"

/* Structs written in place, in C and in C++17 alike: HT_LITERAL from all members in their
 * order, HT_COUNTED from a list, which it counts. */
#ifdef __cplusplus
#define HT_LITERAL(type, ...)          (type{__VA_ARGS__})
#define HT_COUNTED(type, element, ...) (ht_counted<type, element>(__VA_ARGS__))
/* What HT_COUNTED does: {n, {list...}}. */
template <typename Struct, typename Element, typename... List>
constexpr Struct ht_counted(List... list)
{
    return {static_cast<int>(sizeof...(list)), {static_cast<Element>(list)...}};
}
extern "C" {
#else
#define HT_LITERAL(type, ...) ((type){__VA_ARGS__})
#define HT_COUNTED(type, element, ...) \
    ((type){(int)(sizeof((element[]){__VA_ARGS__}) / sizeof(element)), {__VA_ARGS__}})
#endif

/* Element types: float, double, int32_t, uint8_t. 0 is none, so that a forgotten one
 * shows. */
typedef enum ht_dtype { HT_F32 = 1, HT_F64, HT_I32, HT_U8 } ht_dtype;
enum { HT_MAX_RANK = 6 }; /* the most axes a shape has */

/* rank axes of dim[i] >= 0 elements; dim[0] is the slowest. Those past rank are ignored.
 */
typedef struct ht_shape {
    int rank;
    int64_t dim[HT_MAX_RANK];
} ht_shape;
/* A shape written in place: HT_SHAPE(64, 784). */
#define HT_SHAPE(...) HT_COUNTED(ht_shape, int64_t, __VA_ARGS__)
/* That of a single number, (). */
#define HT_SCALAR HT_LITERAL(ht_shape, 0, {0})

typedef struct ht_context ht_context; /* allocator, seed, threads and the first error */
typedef struct ht_tensor ht_tensor;   /* a contiguous array, made on a context */

/* A strided view of memory: what kernels read and write. Strides count elements; 0
 * repeats. */
typedef struct ht_array {
    void *data;
    ht_dtype dtype;
    ht_shape shape;
    int64_t stride[HT_MAX_RANK];
} ht_array;

/* Context.
 *
 * Threads. 0 are the cores the calling thread may run on (its affinity), or as many as
 * OpenMP would take where that is less (OMP_NUM_THREADS, omp_set_num_threads). More than
 * HT_MAX_THREADS are an error kept on the new context, which then has HT_MAX_THREADS.
 * The number says into how many parts work is cut, on which some bits depend; no more run
 * at a time than there are cores. They are the context's own, start with its first work
 * that is worth them, sleep when there is none, and end with it. Whoever is free takes
 * what nobody has begun, so a machine that is busy otherwise costs little, and there is
 * nothing to set for it. Small work runs on the calling thread.
 * No setting of the process is changed: what OpenMP (omp_get_max_threads) and OpenBLAS
 * (openblas_get_num_threads) say after a call is what they said before it. A program may
 * use OpenMP itself, and call the library from its own regions, one context per thread,
 * with `threads` 1 if its threads have all the cores.
 *
 * fork. A child may go on with the contexts it has, whose threads start again in it, and
 * make others: the same bits.
 *
 * Stack. A thread that calls the library needs HT_STACK_KB of it: less than glibc gives
 * unasked, more than musl does. */

/* The most threads of a context, and the stack each thread needs. */
enum { HT_MAX_THREADS = 1024, HT_STACK_KB = 512 };

/* All zero: malloc, no handler, seed 0, all threads, no limit, exact. */
typedef struct ht_context_options {
    /* realloc with sizes: old NULL allocates, new_size 0 frees; NULL is "no memory". */
    void *(*alloc)(void *user, void *old, size_t old_size,
                   size_t new_size); /* NULL: malloc */
    /* Called on the first error, from within the call that failed; NULL: none. It may
     * log, make tensors, use other contexts, and must return (no longjmp) or end the
     * program: ht_print_and_exit, with which no ht_check is needed. Calls that can
     * fail do nothing on this context, whose error stands: ht_context_clear does nothing
     * here, and is for after the call. Resetting, rewinding or freeing a tape or program
     * of it stops the program. */
    void (*on_error)(ht_context *ctx, void *user);
    void *user;
    uint64_t seed;
    int threads;       /* 0: as many as the process may use; at most HT_MAX_THREADS */
    size_t byte_limit; /* live bytes this context may hold; 0: no limit */
    /* What programs made on the context leave out, HT_PASS_... of ht_autograd.h: the same
     * bits, slower, for whoever looks for a fault. 0: nothing. */
    unsigned passes_off;
    /* Matrix products in f32 by multiply-adds alone, where the processor has matrix tiles
     * (Intel AMX) as well: other bits, errors of the same size, slower. Contexts without
     * it ask Linux to let the process use tiles, after which an alternate stack of a
     * signal handler has to hold more: getauxval(AT_MINSIGSTKSZ), not MINSIGSTKSZ. */
    bool no_tiles;
} ht_context_options;

/* A context. Owned. options NULL: all zero. NULL if there is no memory for the context
 * itself. One thread at a time may use it and what was made on it. */
ht_context *ht_context_new(const ht_context_options *options);
/* Frees it. Everything made on it must have been freed before: the program stops, and
 * some of what was not is named. An error that neither on_error nor a reader of its
 * message saw is printed here, or at the program's end. Using what was freed stops the
 * program too, as long as that memory serves nothing else: for 64 frees. NULL: nothing.
 */
void ht_context_free(ht_context *ctx);

/* The first error since the last ht_context_clear; later ones are not kept. */
ht_status ht_context_status(const ht_context *ctx);
/* That error's message, lines of what, where, expected, found and a hint; "" while HT_OK.
 * Borrowed until the next error or clear. */
const char *ht_context_message(const ht_context *ctx);
/* The context is back at HT_OK; within on_error: nothing. */
void ht_context_clear(ht_context *ctx);
/* Prints the message to stderr and exits with 1 if there was an error. */
void ht_check(const ht_context *ctx);
/* The same as an on_error: the first error ends the program where it happens. These two
 * are the only exits. */
void ht_print_and_exit(ht_context *ctx, void *user);
/* Records an error of the calling program's own, as the library would (first one wins).
 * site is HT_HERE or NULL; returns status. */
#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
ht_status
ht_context_fail(ht_context *ctx, ht_status status, const char *site, const char *format,
                ...);

uint64_t ht_context_seed(const ht_context *ctx); /* the seed of the options */
int ht_context_threads(const ht_context *ctx);   /* how many it has, 1 or more */
/* Bytes asked of the allocator and not yet given back. */
size_t ht_context_live_bytes(const ht_context *ctx);
/* The most there ever were since the context was made or the peak was reset. */
size_t ht_context_peak_bytes(const ht_context *ctx);
void ht_context_reset_peak(ht_context *ctx);            /* peak = live */
uint64_t ht_context_allocations(const ht_context *ctx); /* how many, of memory */

/* Shapes. */

/* Number of elements, 1 for a scalar; -1 if rank or a dimension is out of range or the
 * product overflows. */
int64_t ht_shape_count(ht_shape shape);
bool ht_shape_equal(ht_shape a, ht_shape b); /* the same rank and sizes? */
enum { HT_SHAPE_TEXT = 160 };                /* characters of the longest text */
/* Writes "(64, 784)", "()" for a scalar, and returns text. */
const char *ht_shape_text(ht_shape shape, char text[HT_SHAPE_TEXT]);
const char *ht_dtype_name(ht_dtype dtype); /* its name, "f32" */
size_t ht_dtype_bytes(ht_dtype dtype);     /* bytes of an element: 4, 8, 4, 1; or 0 */

/* Tensors. Cost: what makes, fills, copies or prints goes over the elements once; what
 * asks does not. */

/* A tensor of zeros, 64-byte aligned. Owned. NULL after an error. */
ht_tensor *ht_tensor_new(ht_context *ctx, ht_dtype dtype, ht_shape shape);
/* A tensor of memory that is there. Owned; data is borrowed until ht_tensor_free:
 * row-major, at least shape's bytes, aligned for dtype. NULL after an error. */
ht_tensor *ht_tensor_wrap(ht_context *ctx, ht_dtype dtype, ht_shape shape, void *data);
/* Frees it; NULL: nothing. One that a live tape still borrows stops the program, and so
 * does one that is not the caller's to free: a set's (ht_set_free does that), a tape's
 * value; and one that was freed before, if it was malloc's and few others have been
 * since; so for sets, tapes and optimizers. */
void ht_tensor_free(ht_tensor *x);
ht_shape ht_tensor_shape(const ht_tensor *x);      /* its shape */
ht_dtype ht_tensor_dtype(const ht_tensor *x);      /* its dtype */
int64_t ht_tensor_count(const ht_tensor *x);       /* how many elements */
size_t ht_tensor_bytes(const ht_tensor *x);        /* bytes of its elements */
ht_context *ht_tensor_context(const ht_tensor *x); /* the one it was made on */
/* Its memory, row-major and contiguous, borrowed until the tensor is freed. Written to
 * freely, but while a live tape borrows it: nobody would notice (a write to this tensor
 * by any function of the library is noticed: ht_input). */
void *ht_tensor_data(const ht_tensor *x);
ht_array ht_tensor_array(const ht_tensor *x); /* that, with shape and strides */

/* Element i in row-major order as a double (exactly); i outside stops the program. */
double ht_tensor_get(const ht_tensor *x, int64_t i);
/* x_i = value. A float is rounded to the dtype (beyond the largest f32: inf). Into i32
 * and u8 set and fill round to the nearest integer, copy and ht_cast towards zero. One
 * rule for all: a number that is outside the dtype's range then, or NaN, is
 * HT_ERROR_ARGUMENT, and nothing is written. */
void ht_tensor_set_at(ht_tensor *x, int64_t i, double value, const char *site);
/* x_i = value for every i, with that error. */
void ht_tensor_fill_at(ht_tensor *x, double value, const char *site);
/* to = from, converted to to's dtype; shapes must be equal, else HT_ERROR_SHAPE. */
ht_status ht_tensor_copy_at(ht_tensor *to, const ht_tensor *from, const char *site);
/* Copies rows of any tensor: to (n, ...) becomes the rows order[first] .. order[first + n
 * - 1] of from (rows, ...), in any order and as often as asked; order NULL: first ..
 * first + n - 1. Converted, but not to what may not hold them (HT_ERROR_DTYPE); a row
 * that does not exist is HT_ERROR_ARGUMENT. On an error nothing is written. */
ht_status ht_rows_at(ht_tensor *to, const ht_tensor *from, const int64_t *order,
                     int64_t first, int64_t n, const char *site);
#define ht_rows(...) ht_rows_at(__VA_ARGS__, HT_HERE)
/* Prints its name in a set, type, and elements as aligned nested lists, six digits each;
 * of more than 1000 the middle is left out. */
void ht_tensor_print(const ht_tensor *x, FILE *f);
#define ht_tensor_set(...)  ht_tensor_set_at(__VA_ARGS__, HT_HERE)
#define ht_tensor_fill(...) ht_tensor_fill_at(__VA_ARGS__, HT_HERE)
#define ht_tensor_copy(...) ht_tensor_copy_at(__VA_ARGS__, HT_HERE)

/* Projections in place: the ops of those names (ht_ops.h), by the last axis, to their
 * bits; for what moves outside of tapes, as outer variables do. On an error x is
 * unchanged: elements that are not finite, a bound below 0, dtypes but f32 and f64, or no
 * memory for a row of doubles, which sets by sums ask for where a row is outside; the
 * others ask for none. Cost: a pass; of simplex, capped and l1 n log n for a row of n
 * that is outside. */

/* low <= x <= high; by 0 and INFINITY what is not negative. low > high is an error. */
ht_status ht_tensor_project_box(ht_tensor *x, double low, double high);
ht_status ht_tensor_project_simplex(ht_tensor *x, double radius); /* sum x = radius */
ht_status ht_tensor_project_capped(ht_tensor *x, double radius);  /* sum x <= radius */
ht_status ht_tensor_project_l1(ht_tensor *x, double radius);      /* sum |x| <= radius */
ht_status ht_tensor_project_l2(ht_tensor *x, double radius);      /* |x| <= radius */
ht_status ht_tensor_soft_threshold(ht_tensor *x, double t);       /* nearer to 0 by t */
ht_status ht_tensor_group_soft_threshold(ht_tensor *x, double t); /* |x| less by t */
/* x = the nearest point with 0 <= x <= 1 and sum x <= radius (Euclidean projection),
 * exactly, in O(N log N): as ht_tensor_project_capped, but any shape is one row. The
 * stored sum, added in order with Kahan's correction, is at most radius. */
void ht_project_capped_simplex(ht_tensor *x, double radius);

/* Random numbers: Philox4x32-10 (Salmon, Moraes, Dror & Shaw, SC 2011), keyed by (seed,
 * stream): a pure function of its arguments, so order and threads never change a value.
 * Cost: ten rounds of integer products a draw. Errors: fills take f32 and f64, finite
 * bounds with low <= high, and deviation >= 0; else HT_ERROR_DTYPE or _ARGUMENT. */

/* 64 random bits, the `index`-th of a stream. */
uint64_t ht_random_bits(uint64_t seed, uint64_t stream, uint64_t index);
/* Uniform in [0, 1) with 53 bits. */
double ht_random_uniform(uint64_t seed, uint64_t stream, uint64_t index);
/* Uniform in 0 .. n-1 without modulo bias worth measuring (64-bit multiply-shift); n > 0.
 */
int64_t ht_random_below(uint64_t seed, uint64_t stream, uint64_t index, int64_t n);
/* order[0 .. n-1]: a random order of 0 .. n-1 (Fisher-Yates over a stream). O(n). */
void ht_random_permutation(uint64_t seed, uint64_t stream, int64_t n, int64_t *order);
/* Fills an f32/f64 tensor from the context's seed and `stream`; the f32 values are the
 * rounded f64 ones. low <= x < high; what would round to another end is its neighbour
 * (low, rounded, if the type has nothing between them, or low = high). */
ht_status ht_tensor_uniform(ht_tensor *x, uint64_t stream, double low, double high);
/* Normal numbers so, by Box & Muller (1958): within 8.6 deviations of the mean. */
ht_status ht_tensor_normal(ht_tensor *x, uint64_t stream, double mean, double deviation);

#ifdef __cplusplus
}
#endif
#endif
