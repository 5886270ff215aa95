/* SPDX-License-Identifier: MIT */
/* tensor_internal.h: what the layers above may see of contexts, arrays and files, beyond
 * ht_tensor.h. Read next: context.c, kernels.h. */
#ifndef HTI_TENSOR_INTERNAL_H
#define HTI_TENSOR_INTERNAL_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ht_tensor.h"

enum { HTI_MESSAGE = 1024, HTI_ALIGN = 64 };

struct hti_kernels;
struct hti_loops;
struct hti_team;

/* What has to be freed before its context: owned.c. */
typedef struct hti_kind {
    const char *name;
    /* What tells one from others; false: not to be named, something else frees it. NULL:
     * nothing does. */
    bool (*text)(const void *x, char *text, size_t size);
    /* Says, when memory ends, what it holds that could be given back; false: little.
     * NULL: nothing. */
    bool (*spare)(const void *x, char *text, size_t size);
} hti_kind;
typedef struct hti_owned {
    ht_context *ctx;
    const hti_kind *kind; /* NULL: freed, or never owned: then there is no link either */
    struct hti_owned *next, **link;
    size_t bytes; /* once freed: of the block that begins here */
} hti_owned;
/* x becomes one more of ctx's; x is no longer. */
void hti_own(ht_context *ctx, hti_owned *x, const hti_kind *kind);
void hti_disown(hti_owned *x);
/* The same, and frees the block that begins with x, of so many bytes, but late. */
void hti_retire(hti_owned *x, size_t bytes);
static inline bool hti_was_freed(const hti_owned *x)
{
    return !x->kind && x->link;
}
/* What a public function asks first of an object it is given. */
#define HTI_ALIVE(x, who, what)            \
    HT_ASSERT(!hti_was_freed(&(x)->owned), \
              "%s: this " what " was freed before: free it after its last use", who)
enum { HTI_RETIRED = 64, HTI_NAMED = 4 };
void hti_release_retired(ht_context *ctx);
/* The first HTI_NAMED of what is ctx's, and how many more there are. */
const char *hti_owned_text(const ht_context *ctx, char *text, size_t size);

struct ht_context {
    ht_context_options options;
    struct hti_kernels *kernels;   /* its table of them, behind it in memory */
    const struct hti_loops *loops; /* of an instruction set; NULL without fast/ */
    struct hti_team *team;         /* its threads, behind the table */
    int64_t fuse_least;            /* elements from which programs fuse; set by tests */
    int64_t
        block_least;   /* of a tall operand, from which its rows go in blocks; likewise */
    int64_t first_row; /* of the block of rows that runs: what errors count from */
    size_t size;       /* of this, the table and the team */
    size_t live, peak;
    uint64_t allocations;
    ht_status status;
    bool handling;      /* on_error runs */
    const char *site;   /* of the call under way: hti_enter */
    const char *advice; /* for the call under way, should memory end; NULL: the usual */
    uint32_t changes;   /* writes to tensors that a tape borrowed, so far */
    char message[HTI_MESSAGE];
    hti_owned *owned, **owned_end;     /* oldest first */
    hti_owned *retired, *last_retired; /* the last few that were freed */
    int n_retired;
    bool keeps_retired; /* memory is malloc's */
};

/* An error that has no place of its own is at `site`, where the public call under way
 * stands, until that sets ctx->site back to what this returns. NULL: no better known. */
static inline const char *hti_enter(ht_context *ctx, const char *site)
{
    const char *outer = ctx->site;
    if (site) ctx->site = site;
    return outer;
}
/* The end of an assertion's text, "%s%s": the caller's line, if it is known. */
#define HTI_AT(site) (site) ? "\n  at " : "", (site) ? (site) : ""

/* A public function that reads one thing of an object, which may not be NULL, nor freed
 * where HTI_OWNED_GETTER makes it. */
#define HTI_GETTER(type, name, parameter, object, what, value) \
    type name(parameter)                                       \
    {                                                          \
        HT_ASSERT(object, #name ": the " what " is NULL");     \
        return value;                                          \
    }
#define HTI_OWNED_GETTER(type, name, parameter, object, what, value) \
    type name(parameter)                                             \
    {                                                                \
        HT_ASSERT(object, #name ": the " what " is NULL");           \
        HTI_ALIVE(object, #name, what);                              \
        return value;                                                \
    }

struct ht_tensor {
    hti_owned owned; /* not of a tape's values, which live in its memory */
    ht_context *ctx;
    ht_array array; /* contiguous */
    void *block;    /* its data lies in, of so many bytes; NULL: the caller's */
    size_t block_bytes;
    int borrows;  /* live eager tapes that read it */
    bool foreign; /* one of them is another context's, whose count of writes differs */
    bool cloned;  /* holds what ht_set_clone put there: no function has written since */
    const char *name; /* its set's for it, which frees it; NULL: of no set */
    /* The last write while borrowed: its number, the function called and its place. */
    uint32_t changed;
    const char *changed_by, *changed_at;
};

/* All memory of the library goes through these two. hti_resize(ctx, NULL, 0, n) allocates
 * (contents undefined), hti_resize(ctx, p, n, 0) frees and returns NULL; with p NULL that
 * does nothing whatever n, so that what was never made is freed as if it had been. On
 * failure the error is kept, NULL returned and the old block left as it was. */
void *hti_resize(ht_context *ctx, void *old, size_t old_size, size_t new_size);
/* Zeroed. count * size is checked for overflow. */
void *hti_zalloc(ht_context *ctx, size_t count, size_t size);
/* Asks for large pages under a block not yet touched; any size. See pages.c. */
void hti_large_pages(void *memory, size_t bytes);

/* threads.c: what 0 threads of a context's options stand for. */
int hti_all_threads(void);
/* OpenMP's number for the calling thread; HT_MAX_THREADS if there is no OpenMP. */
int hti_openmp_threads(void);
void hti_openmp_set(int threads);

/* The threads of a context, in memory of so many bytes, all of which must stay. Those of
 * a parent are not closed by its child. */
size_t hti_team_bytes(int threads);
struct hti_team *hti_team_open(void *memory, int threads);
void hti_team_close(struct hti_team *team);

enum {
    HTI_SERIAL = 64 * 1024, /* arrays of fewer elements are not worth a second thread */
    HTI_CHUNK = 32 * 1024   /* elements a task takes, about */
};
typedef void (*hti_task_fn)(const void *work, int64_t first, int64_t last);
/* Calls run(work, i, i + 1) for each piece i, on the context's threads, and returns when
 * all have returned. Within such a call: on the thread that asks. */
void hti_share(const ht_context *ctx, int64_t pieces, hti_task_fn run, const void *work);
/* Calls run(work, first, last) over [0, units) cut into equal pieces of about HTI_CHUNK
 * elements, shared when there are HTI_SERIAL elements or more. What a unit computes must
 * not depend on the cut. */
void hti_parallel(const ht_context *ctx, int64_t elements, int64_t units, hti_task_fn run,
                  const void *work);

/* As ht_context_new, which is of kernels/start.c, with `table` bytes for the table of
 * kernels, which `start` fills. */
ht_context *hti_context_new(const ht_context_options *options, size_t table,
                            void (*start)(ht_context *ctx));

/* Bytes an array of this type takes, or SIZE_MAX if shape is invalid or overflows. */
size_t hti_bytes(ht_dtype dtype, ht_shape shape);
/* These two and hti_same_shape without copies of shapes. */
size_t hti_bytes_at(ht_dtype dtype, const ht_shape *shape);
int64_t hti_count(const ht_shape *shape);
static inline bool hti_same_shape(const ht_shape *a, const ht_shape *b)
{
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank && i < HT_MAX_RANK; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}
/* `who`, called at `site` (or NULL), writes to x. Tapes that borrow x then refuse to read
 * what they took. */
void hti_tensor_write(ht_tensor *x, const char *who, const char *site);
/* "\"hidden.weight\" f32 (2, 3)", or "f32 (2, 3)" of a tensor of no set. */
enum { HTI_TENSOR_TEXT = HT_SHAPE_TEXT + 128 };
const char *hti_tensor_text(const ht_tensor *x, char text[HTI_TENSOR_TEXT]);
/* *value becomes the nearest integer where x is of such; false, with an error kept, if x
 * does not hold it. */
bool hti_tensor_takes(const ht_tensor *x, double *value, const char *who, int64_t at);
/* HT_OK, or the error kept if an element of `from` can't become what `to` is of. */
ht_status hti_tensor_holds(const ht_tensor *to, const ht_tensor *from, const char *who);
/* `bytes` past data; of no elements data may be NULL, and stays it. */
static inline char *hti_at(const void *data, int64_t bytes)
{
    return data ? (char *)(uintptr_t)data + bytes : NULL;
}
/* Elements from the start of `a` to its element `flat`, counted in row-major order; and
 * the same over `rank` axes alone. */
int64_t hti_offset(const ht_array *a, int64_t flat);
int64_t hti_offset_along(int rank, const int64_t *dim, const int64_t *stride,
                         int64_t flat);
/* Where part `flat` of a begins, of those its first `axes` axes count. */
char *hti_part(const ht_array *a, int axes, int64_t flat);
/* Row-major strides; returns the bytes it takes. The shape is valid. */
size_t hti_lay_out(ht_array *a, void *data, ht_dtype dtype, const ht_shape *shape);
ht_array hti_contiguous(void *data, ht_dtype dtype, ht_shape shape);
/* In the pieces hti_lay_out writes: a load over two stores just made waits for them. */
static inline void hti_copy_array(ht_array *to, const ht_array *from)
{
    to->data = from->data;
    to->dtype = from->dtype;
    to->shape = from->shape;
    memcpy(to->stride, from->stride, sizeof to->stride);
}
static inline bool hti_is_contiguous(const ht_array *a)
{
    int64_t stride = 1;
    for (int i = a->shape.rank - 1; i >= 0; i--) {
        if (a->shape.dim[i] == 1) continue; /* its stride is never stepped */
        if (a->stride[i] != stride) return hti_count(&a->shape) == 0;
        stride *= a->shape.dim[i];
    }
    return true;
}
/* "f32", or "dtype 9" of one that is none. */
enum { HTI_DTYPE_TEXT = 24 };
const char *hti_dtype_text(ht_dtype dtype, char text[HTI_DTYPE_TEXT]);
bool hti_dtype_is_float(ht_dtype dtype);
/* What is wrong with a type that is not the one wanted: of another dtype it is that. */
static inline ht_status hti_unlike(ht_dtype want, ht_dtype got)
{
    return want == got ? HT_ERROR_SHAPE : HT_ERROR_DTYPE;
}
bool hti_dtype_is_valid(ht_dtype dtype);
/* numpy's rule: align the last axes; equal or 1. False if they do not fit. */
bool hti_broadcast_shapes(ht_shape a, ht_shape b, ht_shape *out);
/* a seen with `shape` (a's shape must broadcast to it): repeated axes get stride 0. */
ht_array hti_broadcast_array(ht_array a, ht_shape shape);

/* Whether `to` may not hold a number of dtype `from`: cut towards zero, it is outside, or
 * NaN. Only integers can fail to. */
bool hti_narrows(ht_dtype from, ht_dtype to);
bool hti_holds(ht_dtype to, double value);
/* The first element of a contiguous array that is infinite or NaN; -1: none. */
int64_t hti_not_finite(const ht_array *a);
/* As nested lists, aligned; past 1000 elements the middle of long axes is left out. */
void hti_print_array(const ht_array *a, FILE *f);
/* The first element (row-major) of a that `to` does not hold; -1: it holds all. */
int64_t hti_unheld(ht_dtype to, const ht_array *a);
/* The element `at` elements from the start, as a double. */
static inline double hti_read(const ht_array *a, int64_t at)
{
    return a->dtype == HT_F32   ? (double)((const float *)a->data)[at]
           : a->dtype == HT_F64 ? ((const double *)a->data)[at]
           : a->dtype == HT_I32 ? ((const int32_t *)a->data)[at]
                                : ((const uint8_t *)a->data)[at];
}
/* A double there, rounded once; outside an integer's range its nearest end, NaN as 0. */
static inline double hti_cut(double x, double least, double most)
{
    return x != x ? 0 : x < least ? least : x > most ? most : x;
}
static inline void hti_write(const ht_array *a, int64_t at, double x)
{
    if (a->dtype == HT_F32)
        ((float *)a->data)[at] = (float)x;
    else if (a->dtype == HT_F64)
        ((double *)a->data)[at] = x;
    else if (a->dtype == HT_I32)
        ((int32_t *)a->data)[at] = (int32_t)hti_cut(x, INT32_MIN, INT32_MAX);
    else
        ((uint8_t *)a->data)[at] = (uint8_t)hti_cut(x, 0, UINT8_MAX);
}
/* x for printing: the sign of a NaN means nothing. */
static inline double hti_printed(double x)
{
    return x != x ? fabs(x) : x;
}
/* Element k (row-major) of a strided array. */
double hti_element(const ht_array *a, int64_t k);
/* Says so of the number at a place. */
ht_status hti_fail_unheld(ht_context *ctx, const char *site, const char *who, ht_dtype to,
                          double value, int64_t at);

/* random.c: draws 2 (block + i) and the next of (seed, stream) make elements 2 i and the
 * next of out: shift + scale z, z uniform or normal; of dropout, shift being the rate, 0
 * or 1 / (1 - rate); not below `least` nor above `most`. */
typedef enum hti_random { HTI_UNIFORM, HTI_NORMAL, HTI_DROPOUT } hti_random;
typedef struct hti_draws {
    hti_random f;
    ht_array out; /* contiguous floats */
    uint64_t seed, stream, block;
    double shift, scale, least, most;
} hti_draws;
/* From draw 0, shift 0 and scale 1, within the law's own bounds. */
hti_draws hti_draws_of(hti_random f, ht_array out, uint64_t seed, uint64_t stream);
/* Task: pairs first .. last - 1 of hti_draws. */
void hti_draw_pairs(const void *work, int64_t first, int64_t last);

static inline int64_t hti_most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
static inline int64_t hti_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline size_t hti_round_up(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

/* A hash of bytes, and of others before them (FNV-1a by words of 8 bytes, its high bits
 * folded down): for what was damaged or changed, not for what was forged. */
#define HTI_HASH_BEGIN UINT64_C(14695981039346656037)
static inline uint64_t hti_hash(uint64_t hash, const void *from, size_t n)
{
    const unsigned char *p = (const unsigned char *)from;
    for (uint64_t word = 0; n > 0; word = 0) {
        size_t part = n < sizeof word ? n : sizeof word;
        memcpy(&word, p, part);
        hash = (hash ^ word) * UINT64_C(1099511628211);
        hash ^= hash >> 29;
        p += part;
        n -= part;
    }
    return hash;
}

/* A regular file that is not empty, open for reading, and its size; NULL after an error.
 */
/* What to do where the system says so: of what is there to be read, or to come to be. */
const char *hti_hint_of_reading(int error);
const char *hti_hint_of_writing(int error);
FILE *hti_file_open(ht_context *ctx, const char *path, int64_t *bytes);

enum { HTI_MOST_PATH = 4096 };

/* A file in the making, under a temporary name. The first failure sticks, is kept on the
 * context, and makes the calls after it do nothing. */
typedef struct hti_draft {
    ht_context *ctx;
    const char *path;           /* borrowed until close */
    char target[HTI_MOST_PATH]; /* the path, or what a link there leads to */
    char temporary[HTI_MOST_PATH + 16];
    FILE *file;
    int lock; /* the temporary again, locked while it is being written; -1: none */
    ht_status status;
} hti_draft;

void hti_draft_open(hti_draft *draft, ht_context *ctx, const char *path);
void hti_draft_write(hti_draft *draft, const void *from, size_t n);
/* Gives the file its name, or removes it if anything failed. */
ht_status hti_draft_close(hti_draft *draft);

#endif
