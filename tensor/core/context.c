/* SPDX-License-Identifier: MIT */
/* context.c: the one object everything is made on: it asks for memory and counts it, and
 * keeps the first error. Of the library's state this is all but what threads.c, blas.c
 * and fast.c say of a process, and the words of a thread's last error. Read next:
 * tensor.c, kernels.h. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor_internal.h"

const char *ht_status_name(ht_status status)
{
    static const char *const names[] = {
        "HT_OK",           "HT_ERROR_ARGUMENT", "HT_ERROR_SHAPE",  "HT_ERROR_DTYPE",
        "HT_ERROR_MEMORY", "HT_ERROR_FILE",     "HT_ERROR_FORMAT", "HT_ERROR_NO_GRADIENT",
    };
    unsigned index = (unsigned)status;
    return index < sizeof names / sizeof *names ? names[index] : "unknown ht_status";
}

/* The last error of this thread that neither on_error nor a reader of the message saw. An
 * assertion says it first: what was asserted is often no more than what a forgotten
 * ht_check led to. Else the end of the context, or of the program, does. In words of its
 * own, since another thread may free the context. */
static _Thread_local struct {
    const ht_context *ctx; /* NULL: none */
    char text[HTI_MESSAGE + 64];
} pending;

static void print_pending(void)
{
    if (!pending.ctx) return;
    fflush(stdout); /* what was printed before is part of the story */
    fprintf(stderr, "hypertape: an earlier error that nobody looked at (ht_check): %s\n",
            pending.text);
    pending.ctx = NULL;
}

void ht_assertion_failed(const char *site, const char *condition, const char *format, ...)
{
    print_pending();
    va_list args;
    fflush(stdout);
    va_start(args, format);
    fprintf(stderr, "%s: assertion failed: %s: ", site, condition);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

/* The context that was freed last, unless a new one lies there. */
static _Atomic(const ht_context *) last_freed;

/* ISO C leaves realloc(p, 0) open, so freeing is its own case. */
static void *context_malloc(void *user, void *old, size_t old_size, size_t new_size)
{
    (void)user;
    (void)old_size;
    if (new_size > 0) return realloc(old, new_size);
    free(old);
    return NULL;
}

ht_context *hti_context_new(const ht_context_options *options, size_t table,
                            void (*start)(ht_context *ctx))
{
    ht_context seed = {.options = options ? *options : (ht_context_options){0}};
    HT_ASSERT(seed.options.threads >= 0, "ht_context_new: threads is %d, expected >= 0",
              seed.options.threads);
    seed.keeps_retired = !seed.options.alloc;
    if (!seed.options.alloc) seed.options.alloc = context_malloc;
    if (seed.options.threads == 0) seed.options.threads = hti_all_threads();
    int asked = seed.options.threads;
    if (asked > HT_MAX_THREADS) seed.options.threads = HT_MAX_THREADS;
    size_t team = hti_round_up(sizeof seed + table, HTI_ALIGN);
    seed.size = team + hti_team_bytes(seed.options.threads);

    /* Nobody holds this context yet: a failure here is told by NULL alone. */
    seed.options.on_error = NULL;
    ht_context *ctx = hti_resize(&seed, NULL, 0, seed.size);
    if (!ctx) return NULL;
    *ctx = seed;
    if (last_freed == ctx) last_freed = NULL;
    ctx->kernels = (struct hti_kernels *)(ctx + 1);
    ctx->team = hti_team_open((char *)ctx + team, ctx->options.threads);
    start(ctx);
    if (options) ctx->options.on_error = options->on_error;
    if (asked > HT_MAX_THREADS)
        ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                        "ht_context_new: threads is %d, expected at most %d\n"
                        "  hint: 0 is as many as the process may use",
                        asked, HT_MAX_THREADS);
    return ctx;
}

void ht_context_free(ht_context *ctx)
{
    if (!ctx) return;
    HT_ASSERT(ctx != last_freed, "ht_context_free: this context was freed before");
    char text[HTI_MESSAGE];
    HT_ASSERT(ctx->live == ctx->size,
              "ht_context_free: %zu bytes made on this context are not freed yet: %s; "
              "free them before it",
              ctx->live - ctx->size, hti_owned_text(ctx, text, sizeof text));
    hti_release_retired(ctx);
    hti_team_close(ctx->team);
    if (pending.ctx == ctx) print_pending();
    last_freed = ctx;
    ht_context last = *ctx;
    hti_resize(&last, ctx, last.size, 0);
}

#define CONTEXT(type, name, value) \
    HTI_GETTER(type, name, const ht_context *ctx, ctx, "context", value)
CONTEXT(ht_status, ht_context_status, ctx->status)
CONTEXT(uint64_t, ht_context_seed, ctx->options.seed)
CONTEXT(int, ht_context_threads, ctx->options.threads)
CONTEXT(size_t, ht_context_live_bytes, ctx->live)
CONTEXT(size_t, ht_context_peak_bytes, ctx->peak)
CONTEXT(uint64_t, ht_context_allocations, ctx->allocations)

static void forget_pending(const ht_context *ctx)
{
    if (pending.ctx == ctx) pending.ctx = NULL;
}

const char *ht_context_message(const ht_context *ctx)
{
    HT_ASSERT(ctx, "ht_context_message: the context is NULL");
    forget_pending(ctx);
    return ctx->message;
}

void ht_context_clear(ht_context *ctx)
{
    HT_ASSERT(ctx, "ht_context_clear: the context is NULL");
    /* The call that failed has yet to see that it did. */
    if (ctx->handling) return;
    ctx->status = HT_OK;
    ctx->message[0] = '\0';
    forget_pending(ctx);
}

void ht_check(const ht_context *ctx)
{
    HT_ASSERT(ctx, "ht_check: the context is NULL: there was no memory to make it");
    if (ctx->status == HT_OK) return;
    forget_pending(ctx);
    fprintf(stderr, "hypertape: %s: %s\n", ht_status_name(ctx->status), ctx->message);
    exit(1);
}

void ht_print_and_exit(ht_context *ctx, void *user)
{
    (void)user;
    HT_ASSERT(ctx, "ht_print_and_exit: the context is NULL");
    ht_check(ctx);
}

/* A text too long for the message gives way, so that the site is always there to read. */
static void context_append_site(ht_context *ctx, const char *site)
{
    size_t used = strlen(ctx->message);
    size_t room = strlen(site) + sizeof "\n  at ";
    size_t last = room < HTI_MESSAGE ? HTI_MESSAGE - room : 0;
    size_t at = used < last ? used : last;
    snprintf(ctx->message + at, HTI_MESSAGE - at, "\n  at %s", site);
}

static void keep_pending(const ht_context *ctx)
{
    static _Atomic bool registered;
    if (!atomic_exchange(&registered, true)) atexit(print_pending);
    pending.ctx = ctx;
    snprintf(pending.text, sizeof pending.text, "%s: %s", ht_status_name(ctx->status),
             ctx->message);
}

ht_status ht_context_fail(ht_context *ctx, ht_status status, const char *site,
                          const char *format, ...)
{
    HT_ASSERT(ctx, "ht_context_fail: the context is NULL");
    HT_ASSERT(status > HT_OK && status <= HT_ERROR_NO_GRADIENT,
              "ht_context_fail: %d is not an error", (int)status);
    if (ctx->status != HT_OK) return status;
    if (!site) site = ctx->site;

    va_list args;
    va_start(args, format);
    vsnprintf(ctx->message, HTI_MESSAGE, format, args);
    va_end(args);
    if (site) context_append_site(ctx, site);
    ctx->status = status;
    if (!ctx->options.on_error) keep_pending(ctx);
    ctx->handling = true;
    if (ctx->options.on_error) ctx->options.on_error(ctx, ctx->options.user);
    ctx->handling = false;
    return status;
}

void ht_context_reset_peak(ht_context *ctx)
{
    HT_ASSERT(ctx, "ht_context_reset_peak: the context is NULL");
    ctx->peak = ctx->live;
}

/* What the caller could do, apart from having more of it. */
static const char *context_spare(const ht_context *ctx, char *text, size_t size)
{
    if (ctx->advice) return ctx->advice;
    for (const hti_owned *x = ctx->owned; x; x = x->next)
        if (x->kind->spare && x->kind->spare(x, text, size)) return text;
    return "work in smaller batches";
}

static void *context_fail_memory(ht_context *ctx, size_t asked, bool allowed)
{
    char limit[64] = "and the allocator gave none", text[HTI_MESSAGE / 2];
    if (!allowed)
        snprintf(limit, sizeof limit, "over the limit of %zu", ctx->options.byte_limit);
    ht_context_fail(
        ctx, HT_ERROR_MEMORY, NULL, "%zu bytes asked, %zu live, %s\n  hint: %s, or %s",
        asked, ctx->live, limit,
        allowed ? "close other programs" : "raise byte_limit in ht_context_options",
        context_spare(ctx, text, sizeof text));
    return NULL;
}

void *hti_resize(ht_context *ctx, void *old, size_t old_size, size_t new_size)
{
    const ht_context_options *options = &ctx->options;
    if (!old && new_size == 0) return NULL;
    HT_ASSERT(old ? old_size <= ctx->live : old_size == 0,
              "hti_resize: a block of %zu bytes, but %zu are live", old_size, ctx->live);
    size_t others = ctx->live - old_size;
    if (new_size == 0) {
        if (old) options->alloc(options->user, old, old_size, 0);
        ctx->live = others;
        return NULL;
    }
    size_t limit = options->byte_limit ? options->byte_limit : SIZE_MAX;
    if (new_size > limit || others > limit - new_size)
        return context_fail_memory(ctx, new_size, false);
    ctx->allocations++;
    void *block = options->alloc(options->user, old, old_size, new_size);
    if (!block) return context_fail_memory(ctx, new_size, true);
    ctx->live = others + new_size;
    if (ctx->live > ctx->peak) ctx->peak = ctx->live;
    return block;
}

void *hti_zalloc(ht_context *ctx, size_t count, size_t size)
{
    if (size > 0 && count > PTRDIFF_MAX / size) {
        ht_context_fail(ctx, HT_ERROR_MEMORY, NULL,
                        "%zu items of %zu bytes asked, more than memory can address",
                        count, size);
        return NULL;
    }
    void *block = hti_resize(ctx, NULL, 0, count * size);
    if (block) memset(block, 0, count * size);
    return block;
}
