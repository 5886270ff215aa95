/* SPDX-License-Identifier: MIT */
/* prefetch.c: the batch of the next step, made on a thread while this step is computed.
 *
 * A batch is a pure function of its step, so that it does not matter who makes it, nor
 * when: what the thread has made is right if it is of the step asked for, and else the
 * caller makes it. Which comes next is a guess, that steps go on as they went; a sweep
 * back through a training is guessed from its second step on. Two never make a batch at
 * once: the caller waits for the thread first. Read next: split.c. */
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "data_internal.h"

typedef enum prefetch_state {
    PREFETCH_NOTHING,
    PREFETCH_ASKED,
    PREFETCH_MADE
} prefetch_state;

struct ht_prefetch {
    ht_context *ctx; /* the caller's */
    ht_context *own; /* the thread's, for a context belongs to one */
    ht_set *ahead;   /* of it */
    ht_fill_fn fill;
    void *user;
    uint64_t last, next; /* steps: taken, and in `ahead` */
    pthread_t thread;
    pid_t process; /* that has the thread; 0: none has */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    prefetch_state state;
    bool closing;
};

static void *prefetch_run(void *data)
{
    ht_prefetch *p = data;
    pthread_mutex_lock(&p->lock);
    while (!p->closing) {
        if (p->state != PREFETCH_ASKED) {
            pthread_cond_wait(&p->changed, &p->lock);
            continue;
        }
        pthread_mutex_unlock(&p->lock);
        ht_status status = p->fill(p->next, p->ahead, p->user);
        bool made = !status && !ht_context_status(p->own);
        ht_context_clear(p->own); /* the caller makes it again, and is told */
        pthread_mutex_lock(&p->lock);
        p->state = made ? PREFETCH_MADE : PREFETCH_NOTHING;
        pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Signals are the caller's. Without a thread the caller makes every batch. */
static void prefetch_start(ht_prefetch *p)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&p->thread, NULL, prefetch_run, p) == 0) p->process = getpid();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

ht_prefetch *ht_prefetch_new(const ht_set *batch, ht_fill_fn fill, void *user)
{
    HT_ASSERT(batch && fill, "ht_prefetch_new: batch %p, fill %s", (const void *)batch,
              fill ? "given" : "NULL");
    ht_context *ctx = ht_set_context(batch);
    ht_prefetch *p = hti_resize(ctx, NULL, 0, sizeof *p);
    if (!p) return NULL;
    *p = (ht_prefetch){.ctx = ctx, .fill = fill, .user = user};
    p->own = ht_context_new(&(ht_context_options){.threads = 1});
    p->ahead = p->own ? ht_set_new(p->own) : NULL;
    for (int i = 0; p->ahead && i < ht_set_count(batch); i++) {
        const ht_tensor *x = ht_set_at(batch, i);
        ht_set_add(p->ahead, ht_set_name(batch, i), ht_tensor_dtype(x),
                   ht_tensor_shape(x));
    }
    if (p->ahead && !ht_context_status(p->own)) return prefetch_start(p), p;
    ht_context_fail(ctx, HT_ERROR_MEMORY, NULL,
                    "ht_prefetch_new: no memory for a second batch");
    ht_prefetch_free(p);
    return NULL;
}

/* Whether `to` now has the batch the thread has made. Nothing is being made after. */
static bool prefetch_made(ht_prefetch *p, uint64_t step, ht_set *to)
{
    pthread_mutex_lock(&p->lock);
    while (p->state == PREFETCH_ASKED) pthread_cond_wait(&p->changed, &p->lock);
    bool made = p->state == PREFETCH_MADE && p->next == step;
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; made && i < ht_set_count(to); i++)
        ht_tensor_copy(ht_set_at(to, i), ht_set_at(p->ahead, i));
    return made;
}

static void prefetch_ask(ht_prefetch *p, uint64_t step)
{
    bool back = step + 1 == p->last;
    p->last = step;
    if (back && step == 0) return;
    pthread_mutex_lock(&p->lock);
    p->next = back ? step - 1 : step + 1;
    p->state = PREFETCH_ASKED;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static bool prefetch_fits(const ht_prefetch *p, const ht_set *to)
{
    int n = ht_set_count(p->ahead);
    if (ht_set_count(to) != n) return false;
    for (int i = 0; i < n; i++) {
        const ht_tensor *a = ht_set_at(p->ahead, i), *b = ht_set_at(to, i);
        if (ht_tensor_dtype(a) != ht_tensor_dtype(b) ||
            !ht_shape_equal(ht_tensor_shape(a), ht_tensor_shape(b)))
            return false;
    }
    return true;
}

ht_status ht_prefetch_take(ht_prefetch *p, uint64_t step, ht_set *to)
{
    HT_ASSERT(p && to, "ht_prefetch_take: prefetch %p, to %p", (void *)p, (void *)to);
    if (!prefetch_fits(p, to))
        return ht_context_fail(ht_set_context(to), HT_ERROR_SHAPE, NULL,
                               "ht_prefetch_take: the batch has other tensors than the "
                               "one ht_prefetch_new was given\n"
                               "  hint: as many, of its types and shapes, in its order");
    bool thread = p->process == getpid(); /* a fork has none */
    if (thread && prefetch_made(p, step, to)) return prefetch_ask(p, step), HT_OK;
    ht_status status = p->fill(step, to, p->user);
    if (thread) prefetch_ask(p, step);
    return status;
}

void ht_prefetch_free(ht_prefetch *p)
{
    if (!p) return;
    if (p->process == getpid()) {
        pthread_mutex_lock(&p->lock);
        p->closing = true;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->lock);
        pthread_join(p->thread, NULL);
        pthread_cond_destroy(&p->changed);
        pthread_mutex_destroy(&p->lock);
    }
    ht_set_free(p->ahead);
    ht_context_free(p->own);
    hti_resize(p->ctx, p, sizeof *p, 0);
}
