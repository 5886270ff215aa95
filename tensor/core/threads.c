/* SPDX-License-Identifier: MIT */
/* threads.c: how many threads a context has, and the work they share.
 *
 * A region is a number of pieces, fixed by shapes and options: who computes a piece
 * changes no bit. Each thread of a context has a part of them, claims its own one by one,
 * and then what others have not begun. So nobody waits for a thread that something else
 * on the machine keeps from its core, only for a piece already begun. The same part falls
 * to the same thread each time, in whose cache it may still be.
 *
 * A context's threads start with its first region and end with it. Between regions they
 * look for the next for some hundred microseconds, offering their cores to whoever waits
 * for one, then sleep. A fork copies the thread that calls it and no other: what is
 * static is how often this process was forked off, by which a context in the child sees
 * that its threads are gone, and starts others.
 * Read next: kernels.h, loops.h, matmul.c. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "tensor_internal.h"

enum {
    TEAM_LINE = 64,
    TEAM_SPINS = 10000, /* of some 20 ns before a thread sleeps */
    TEAM_YIELD = 100,   /* of them between offers of its core to whoever waits for it */
    TEAM_STACK = 1024 * HT_STACK_KB /* bytes at least */
};

/* Of one thread. Apart from others, so that claims do not contend for a cache line. */
typedef struct team_member {
    struct hti_team *team;
    pthread_t thread;  /* not of the first, which is whoever calls */
    int64_t end;       /* of its part: pieces end - left .. end - 1 */
    atomic_llong left; /* are not begun; none if not positive */
    char apart[TEAM_LINE];
} team_member;

struct hti_team {
    int most, n; /* threads it may have, and has: the caller is one */
    int forks;   /* of the process, when they were started */
    bool busy;   /* in a region: another within it runs on its thread */
    hti_task_fn run;
    const void *work;
    pthread_mutex_t lock;
    pthread_cond_t begin, end;
    char apart[TEAM_LINE];
    atomic_uint regions; /* begun so far, by which a thread sees there is a new one */
    atomic_int asleep;
    atomic_bool closing;
    char far[TEAM_LINE];
    atomic_llong unfinished; /* pieces */
    atomic_bool awaited;     /* by the caller, asleep */
    team_member member[];
};

static atomic_int team_forks;

static void team_forked(void)
{
    atomic_fetch_add(&team_forks, 1);
}

/* Before main, for a fork may come before the first context. */
__attribute__((constructor)) static void team_watch_forks(void)
{
    pthread_atfork(NULL, NULL, team_forked);
}

static int64_t piece_start(int64_t units, int64_t pieces, int64_t i)
{
    return units / pieces * i + (i < units % pieces ? i : units % pieces);
}

/* Runs what is left of a part; the pieces run. */
static int64_t team_run_part(struct hti_team *team, team_member *of)
{
    int64_t n = 0;
    for (; atomic_load_explicit(&of->left, memory_order_relaxed) > 0; n++) {
        int64_t left = atomic_fetch_sub(&of->left, 1);
        if (left <= 0) break;
        /* What the caller wrote of the region stands until this piece has ended. */
        team->run(team->work, of->end - left, of->end - left + 1);
    }
    return n;
}

/* Its own part, then the others'. */
static void team_run(struct hti_team *team, int me)
{
    int64_t n = 0;
    for (int i = 0; i < team->n; i++)
        n += team_run_part(team, &team->member[(me + i) % team->n]);
    if (n == 0 || atomic_fetch_sub(&team->unfinished, n) > n) return;
    if (!atomic_load(&team->awaited)) return;
    pthread_mutex_lock(&team->lock);
    pthread_cond_signal(&team->end);
    pthread_mutex_unlock(&team->lock);
}

/* A thread that wakes up is late by more than most regions take; one that spins for what
 * shares its core keeps that from ending. */
static void team_pause(int spins)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
    if (spins % TEAM_YIELD == TEAM_YIELD - 1) sched_yield();
}

/* Until there is another region than `seen`. */
static unsigned team_next(struct hti_team *team, unsigned seen)
{
    for (int i = 0; i < TEAM_SPINS && atomic_load(&team->regions) == seen; i++)
        team_pause(i);
    if (atomic_load(&team->regions) == seen) {
        pthread_mutex_lock(&team->lock);
        atomic_fetch_add(&team->asleep, 1);
        while (atomic_load(&team->regions) == seen)
            pthread_cond_wait(&team->begin, &team->lock);
        atomic_fetch_sub(&team->asleep, 1);
        pthread_mutex_unlock(&team->lock);
    }
    return atomic_load(&team->regions);
}

static void *team_thread(void *user)
{
    team_member *self = user;
    struct hti_team *team = self->team;
    unsigned seen = 0;
    hti_openmp_set(1); /* which OpenBLAS takes, if it was built with OpenMP */
    for (;;) {
        seen = team_next(team, seen);
        if (atomic_load(&team->closing)) return NULL;
        team_run(team, (int)(self - team->member));
    }
}

/* Wakes as many as may be of use. */
static void team_wake(struct hti_team *team, int64_t most)
{
    atomic_fetch_add(&team->regions, 1);
    int64_t n = atomic_load(&team->asleep);
    if (n == 0) return;
    pthread_mutex_lock(&team->lock);
    for (int64_t i = 0; i < n && i < most; i++) pthread_cond_signal(&team->begin);
    pthread_mutex_unlock(&team->lock);
}

static void team_wait(struct hti_team *team)
{
    for (int i = 0; i < TEAM_SPINS && atomic_load(&team->unfinished) > 0; i++)
        team_pause(i);
    if (atomic_load(&team->unfinished) == 0) return;
    pthread_mutex_lock(&team->lock);
    atomic_store(&team->awaited, true);
    while (atomic_load(&team->unfinished) > 0) pthread_cond_wait(&team->end, &team->lock);
    atomic_store(&team->awaited, false);
    pthread_mutex_unlock(&team->lock);
}

/* As pthread_create, with the stack promised and without the program's signals. */
static bool team_create(team_member *member)
{
    pthread_attr_t attributes;
    size_t stack = 0;
    sigset_t all, before;
    if (pthread_attr_init(&attributes) != 0) return false;
    if (pthread_attr_getstacksize(&attributes, &stack) == 0 && stack < TEAM_STACK)
        pthread_attr_setstacksize(&attributes, TEAM_STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool made = pthread_create(&member->thread, &attributes, team_thread, member) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return made;
}

/* As many threads as can be had, if there are none in this process. */
static void team_start(struct hti_team *team)
{
    int forks = atomic_load(&team_forks);
    if (team->n > 0 && team->forks == forks) return;
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->begin, NULL);
    pthread_cond_init(&team->end, NULL);
    atomic_store(&team->asleep, 0);
    atomic_store(&team->regions, 0);
    team->forks = forks;
    for (team->n = 1; team->n < team->most; team->n++) {
        team_member *member = &team->member[team->n];
        member->team = team;
        atomic_store(&member->left, 0);
        if (!team_create(member)) break;
    }
}

#if HTI_OPENMP
/* Not from omp.h, which clang may lack where it finds the library. */
int omp_get_max_threads(void);
void omp_set_num_threads(int threads);

int hti_openmp_threads(void)
{
    return omp_get_max_threads();
}

void hti_openmp_set(int threads)
{
    if (threads != omp_get_max_threads()) omp_set_num_threads(threads);
}
#else
int hti_openmp_threads(void)
{
    return HT_MAX_THREADS;
}

void hti_openmp_set(int threads)
{
    (void)threads;
}
#endif

static long threads_cores(void)
{
#if defined(__linux__)
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) == 0) return CPU_COUNT(&cores);
#endif
    return sysconf(_SC_NPROCESSORS_ONLN);
}

int hti_all_threads(void)
{
    long n = threads_cores();
    if (n > hti_openmp_threads()) n = hti_openmp_threads();
    if (n > HT_MAX_THREADS) n = HT_MAX_THREADS;
    return n > 1 ? (int)n : 1;
}

/* More threads than cores bring nothing. */
static int team_most(int threads)
{
    long cores = threads_cores();
    return threads < cores ? threads : cores > 1 ? (int)cores : 1;
}

size_t hti_team_bytes(int threads)
{
    size_t members = (size_t)team_most(threads) * sizeof(team_member);
    return sizeof(struct hti_team) + members;
}

struct hti_team *hti_team_open(void *memory, int threads)
{
    struct hti_team *team = memory;
    memset(team, 0, hti_team_bytes(threads));
    team->most = team_most(threads);
    return team;
}

void hti_team_close(struct hti_team *team)
{
    if (team->n == 0 || team->forks != atomic_load(&team_forks)) return;
    atomic_store(&team->closing, true);
    team_wake(team, team->n);
    for (int i = 1; i < team->n; i++) pthread_join(team->member[i].thread, NULL);
    pthread_cond_destroy(&team->end);
    pthread_cond_destroy(&team->begin);
    pthread_mutex_destroy(&team->lock);
}

void hti_share(const ht_context *ctx, int64_t pieces, hti_task_fn run, const void *work)
{
    struct hti_team *team = ctx->team;
    if (pieces < 2 || team->most < 2 || team->busy) {
        for (int64_t i = 0; i < pieces; i++) run(work, i, i + 1);
        return;
    }
    team_start(team);
    team->busy = true;
    team->run = run;
    team->work = work;
    atomic_store(&team->unfinished, pieces);
    for (int i = 0; i < team->n; i++) {
        team_member *member = &team->member[i];
        member->end = piece_start(pieces, team->n, i + 1);
        atomic_store(&member->left, member->end - piece_start(pieces, team->n, i));
    }
    team_wake(team, pieces - 1);
    team_run(team, 0);
    team_wait(team);
    team->busy = false;
}

typedef struct parallel_work {
    hti_task_fn run;
    const void *work;
    int64_t units, pieces;
} parallel_work;

static void parallel_piece(const void *user, int64_t first, int64_t last)
{
    const parallel_work *w = user;
    w->run(w->work, piece_start(w->units, w->pieces, first),
           piece_start(w->units, w->pieces, last));
}

void hti_parallel(const ht_context *ctx, int64_t elements, int64_t units, hti_task_fn run,
                  const void *work)
{
    if (elements < HTI_SERIAL || units < 2 || ctx->options.threads < 2) {
        run(work, 0, units);
        return;
    }
    int64_t pieces = elements / HTI_CHUNK < units ? elements / HTI_CHUNK : units;
    parallel_work w = {run, work, units, pieces};
    hti_share(ctx, pieces, parallel_piece, &w);
}
