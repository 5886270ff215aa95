/* SPDX-License-Identifier: MIT */
/* threads.c: how many threads: for a context that asks for all, for a region about to
 * start, and in a process that was forked. No setting of the process or of its OpenMP is
 * changed: a region says its own number.
 *
 * A fork copies the thread that calls it and no other, but not so the OpenMP runtime's
 * belief in the rest, for whom the next region of the child would wait forever. So what
 * the library must know of its process, and nothing else in it is static: whether this is
 * the child of a process that had several threads, whoever had started them. In such a
 * child regions run on one thread, over the same pieces, so to the same bits.
 * Read next: kernels.h, loops.h, matmul.c. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "tensor_internal.h"

static atomic_bool threads_several, threads_alone;

/* A folder has a link for each folder in it, for itself and from above; that one has a
 * folder for each thread. Without it there may be several. */
static void threads_before_fork(void)
{
    struct stat tasks;
    bool one = stat("/proc/self/task", &tasks) == 0 && tasks.st_nlink == 3;
    atomic_store(&threads_several, !one);
}

static void threads_in_child(void)
{
    if (atomic_load(&threads_several)) atomic_store(&threads_alone, true);
}

/* Before main, for threads may come before the first context. */
__attribute__((constructor)) static void threads_watch_forks(void)
{
    if (pthread_atfork(threads_before_fork, NULL, threads_in_child) != 0)
        atomic_store(&threads_several, true);
}

int hti_team(int64_t pieces)
{
    return atomic_load_explicit(&threads_alone, memory_order_relaxed) ? 1 : (int)pieces;
}

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
#ifdef _OPENMP
    if (n > omp_get_max_threads()) n = omp_get_max_threads();
#endif
    if (n > HT_MAX_THREADS) n = HT_MAX_THREADS;
    return n > 1 ? (int)n : 1;
}

static int64_t piece_start(int64_t units, int64_t pieces, int64_t i)
{
    return units / pieces * i + (i < units % pieces ? i : units % pieces);
}

void hti_parallel(const ht_context *ctx, int64_t elements, int64_t units, hti_task_fn run,
                  const void *work)
{
    int64_t threads = hti_team(ctx->options.threads);
    if (elements < HTI_SERIAL || units < 2 || threads < 2) {
        run(work, 0, units);
        return;
    }
    int64_t pieces = elements / HTI_CHUNK < units ? elements / HTI_CHUNK : units;
    if (threads > pieces) threads = pieces;
#ifdef _OPENMP
#pragma omp parallel for num_threads((int)threads) schedule(static)
#endif
    for (int64_t i = 0; i < pieces; ++i)
        run(work, piece_start(units, pieces, i), piece_start(units, pieces, i + 1));
}
