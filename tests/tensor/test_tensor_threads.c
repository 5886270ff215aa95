/* SPDX-License-Identifier: MIT */
/* test_tensor_threads.c: what a process keeps: OpenMP's and OpenBLAS's numbers of threads
 * after every kernel that may set them; the cores and the environment a context asks; how
 * its threads share work; a fork after parallel work. What needs a process of its own
 * runs this program again, with the name of a part.
 * Read next: core/threads.c, fast/blas.c. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* sched_setaffinity */
#endif
#include "child.h"
#include "test_arrays.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/stat.h>
#ifdef _OPENMP
#include <omp.h>
#endif

/* Of the BLAS that is linked, if it is OpenBLAS. */
#if defined(__GNUC__)
extern int openblas_get_num_threads(void) __attribute__((weak));
extern void openblas_set_num_threads(int n) __attribute__((weak));
#endif

enum { PATIENCE = 120 }; /* seconds a child may take */

/* Kernels over threads, each large enough for several. */

typedef enum kernel {
    ELEMENTWISE,
    STRIDED,
    REDUCTION,
    ROWS,
    PRODUCT,
    SKINNY,
    VECTOR,
    BATCH,
    SMALL,
    TURNED,    /* of few columns, a's columns contiguous */
    CONV_WIDE, /* with columns, or directly */
    CONV_3X3,
    ATTENTION,
    RANDOM,
    N_KERNELS
} kernel;

static const char *const kernel_names[N_KERNELS] = {
    "elementwise", "strided", "reduction", "rows",     "product",  "skinny",    "vector",
    "batch",       "small",   "turned",    "conv 5x5", "conv 3x3", "attention", "random"};

typedef struct shapes {
    ht_shape a, b, out;
} shapes;

static shapes shapes_of(kernel k)
{
    switch (k) {
    case ELEMENTWISE:
    case STRIDED:
    case RANDOM:
    case ROWS:
        return (shapes){HT_SHAPE(512, 300), HT_SHAPE(1), HT_SHAPE(512, 300)};
    case REDUCTION:
        return (shapes){HT_SHAPE(512, 300), HT_SHAPE(1), HT_SHAPE(1, 1)};
    case PRODUCT:
        return (shapes){HT_SHAPE(150, 200), HT_SHAPE(200, 170), HT_SHAPE(150, 170)};
    case SKINNY:
        return (shapes){HT_SHAPE(900, 400), HT_SHAPE(400, 10), HT_SHAPE(900, 10)};
    case VECTOR:
        return (shapes){HT_SHAPE(900, 400), HT_SHAPE(400, 1), HT_SHAPE(900, 1)};
    case BATCH:
        return (shapes){HT_SHAPE(40, 50, 60), HT_SHAPE(40, 60, 30), HT_SHAPE(40, 50, 30)};
    case SMALL:
        return (shapes){HT_SHAPE(3, 4), HT_SHAPE(4, 5), HT_SHAPE(3, 5)};
    case TURNED:
        return (shapes){HT_SHAPE(70, 90), HT_SHAPE(70, 5), HT_SHAPE(90, 5)};
    case CONV_WIDE:
        return (shapes){HT_SHAPE(6, 8, 24, 24), HT_SHAPE(12, 8, 5, 5),
                        HT_SHAPE(6, 12, 24, 24)};
    case CONV_3X3:
        return (shapes){HT_SHAPE(6, 32, 24, 24), HT_SHAPE(32, 32, 3, 3),
                        HT_SHAPE(6, 32, 24, 24)};
    default:
        return (shapes){HT_SHAPE(4, 160, 6, 20), HT_SHAPE(4, 160, 6, 20),
                        HT_SHAPE(4, 160, 6, 20)};
    }
}

static void run_conv(ht_context *ctx, ht_array out, ht_array x, ht_array weight)
{
    int64_t pad = weight.shape.dim[2] / 2;
    hti_conv_geometry g = {{1, 1}, {pad, pad}, {1, 1}, 1};
    size_t bytes = hti_kernel(ctx, conv_workspace, HTI_CONV_Y, x.dtype, x.shape,
                              weight.shape, out.shape, &g);
    void *room = hti_resize(ctx, NULL, 0, bytes);
    hti_kernel(ctx, conv, HTI_CONV_Y, x, weight, out, &g, room);
    hti_resize(ctx, room, bytes, 0);
}

static void run_attention(ht_context *ctx, ht_array out, ht_array a, ht_array b)
{
    hti_attention what = {.scale = 0.3, .causal = true};
    const ht_array *in[] = {&a, &b, &a};
    size_t bytes = hti_kernel(ctx, attention_workspace, a.dtype, a.shape, b.shape, &what);
    void *room = hti_resize(ctx, NULL, 0, bytes);
    hti_kernel(ctx, attention, out, in, &what, room);
    hti_resize(ctx, room, bytes, 0);
}

/* The last two axes exchanged. */
static ht_array turned(ht_array a)
{
    int i = a.shape.rank - 2, j = i + 1;
    int64_t dim = a.shape.dim[i], stride = a.stride[i];
    a.shape.dim[i] = a.shape.dim[j], a.stride[i] = a.stride[j];
    a.shape.dim[j] = dim, a.stride[j] = stride;
    return a;
}

static void run_kernel(ht_context *ctx, kernel k, ht_array out, ht_array a, ht_array b)
{
    switch (k) {
    case ELEMENTWISE:
        hti_run_unary(ctx, HTI_UNARY_tanh, out, a);
        break;
    case STRIDED: /* out's memory, as the shape of a turned */
        a.shape = HT_SHAPE(300, 512), a.stride[0] = 512;
        out.shape = HT_SHAPE(512, 300), out.stride[0] = 300;
        hti_run_unary(ctx, HTI_UNARY_tanh, out, turned(a));
        break;
    case TURNED:
        hti_kernel(ctx, matmul, out, turned(a), b);
        break;
    case REDUCTION:
        hti_kernel(ctx, reduce, HTI_SUM, out, a, 3);
        break;
    case ROWS:
        hti_kernel(ctx, softmax, out, a);
        break;
    case CONV_WIDE:
    case CONV_3X3:
        run_conv(ctx, out, a, b);
        break;
    case ATTENTION:
        run_attention(ctx, out, a, b);
        break;
    case RANDOM:
        hti_kernel(ctx, random, HTI_NORMAL, out, 7, 3, 0, 0);
        break;
    default:
        hti_kernel(ctx, matmul, out, a, b);
        break;
    }
}

/* A kernel, its operands, what it gave first, and room for what it gives again. */
typedef struct kernel_case {
    kernel k;
    ht_dtype dtype;
    struct test_array a, b, want, got;
} kernel_case;

static kernel_case case_new(ht_context *ctx, kernel k, ht_dtype dtype)
{
    struct test_random random = {5, 0};
    shapes s = shapes_of(k);
    kernel_case c = {.k = k, .dtype = dtype};
    c.a = test_dense(&random, dtype, s.a);
    c.b = test_dense(&random, dtype, s.b);
    c.want = test_dense(&random, dtype, s.out);
    c.got = test_dense(&random, dtype, s.out);
    run_kernel(ctx, k, c.want.array, c.a.array, c.b.array);
    return c;
}

static void case_free(kernel_case *c)
{
    struct test_array *all[] = {&c->a, &c->b, &c->want, &c->got};
    for (int i = 0; i < 4; i++) test_array_free(all[i]);
}

static size_t case_bytes(const kernel_case *c)
{
    return (size_t)ht_shape_count(c->want.array.shape) * ht_dtype_bytes(c->dtype);
}

/* Runs it again; whether the bits are the first ones. For children, which report by their
 * status, and for threads. */
static bool case_repeats(ht_context *ctx, kernel_case *c)
{
    memset(c->got.array.data, 0x55, case_bytes(c));
    run_kernel(ctx, c->k, c->got.array, c->a.array, c->b.array);
    return memcmp(c->got.array.data, c->want.array.data, case_bytes(c)) == 0;
}

/* Numbers of threads. */

static int openmp_threads(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

static bool has_openblas(void)
{
    return strcmp(hti_matmul_backend(), "reference") != 0;
}

static int openblas_threads(void)
{
    return has_openblas() ? openblas_get_num_threads() : 1;
}

/* As far as BLAS and OpenMP are there to be set. */
static void set_threads(int blas, int openmp)
{
    if (has_openblas()) openblas_set_num_threads(blas);
#ifdef _OPENMP
    omp_set_num_threads(openmp);
#else
    (void)openmp;
#endif
}

static void assert_kept(kernel_case *c, int threads)
{
    ht_context *ctx = test_context(threads);
    int openmp = openmp_threads(), blas = openblas_threads();
    run_kernel(ctx, c->k, c->got.array, c->a.array, c->b.array);
    if (openmp_threads() != openmp || openblas_threads() != blas)
        fail_msg("%s, %s, %d threads, %s: OpenMP's number is %d, was %d; OpenBLAS's is "
                 "%d, was %d",
                 kernel_names[c->k], ht_dtype_name(c->dtype), threads,
                 hti_matmul_backend(), openmp_threads(), openmp, openblas_threads(),
                 blas);
    ht_context_free(ctx);
}

static void kernels_leave_numbers_of_threads_as_they_were(void **state)
{
    (void)state;
    static const int set[][2] = {{3, 3}, {1, 4}, {4, 1}, {2, 5}, {1, 1}};
    static const int threads[] = {2, 1, 3, 7, 1, 2};
    int blas = openblas_threads(), openmp = openmp_threads();
    ht_context *ctx = test_context(1);
    for (int k = 0; k < 2 * N_KERNELS; k++) {
        kernel_case c = case_new(ctx, (kernel)(k / 2), k % 2 ? HT_F32 : HT_F64);
        for (int i = 0; i < test_size(5, 1); i++) {
            set_threads(set[i][0], set[i][1]);
            for (int j = 0; j < test_size(6, 3); j++) assert_kept(&c, threads[j]);
        }
        case_free(&c);
    }
    set_threads(blas, openmp);
    ht_context_free(ctx);
}

/* On a thread of the program's own: its count of differences. */
static int user_thread(kernel_case *cases, int n)
{
    int wrong = 0, openmp = openmp_threads();
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = 2});
    for (int i = 0; i < n; i++) {
        kernel_case own = cases[i];
        own.got.array.data = own.got.block = malloc(case_bytes(&own) + 1);
        wrong += !case_repeats(ctx, &own);
        free(own.got.block);
        wrong += openmp_threads() != openmp;
    }
    ht_context_free(ctx);
    return wrong;
}

static void kernels_inside_a_programs_own_region_give_the_same_bits(void **state)
{
    (void)state;
    ht_context *ctx = test_context(2);
    kernel_case cases[2 * N_KERNELS];
    for (int k = 0; k < 2 * N_KERNELS; k++)
        cases[k] = case_new(ctx, (kernel)(k / 2), k % 2 ? HT_F32 : HT_F64);
    int blas = openblas_threads(), openmp = openmp_threads();
    for (int nested = 1; nested < 3; nested++) {
        int wrong = 0;
#ifdef _OPENMP
        int levels = omp_get_max_active_levels();
        omp_set_max_active_levels(nested);
#pragma omp parallel num_threads(3) reduction(+ : wrong)
#endif
        wrong += user_thread(cases, 2 * N_KERNELS);
#ifdef _OPENMP
        omp_set_max_active_levels(levels);
#endif
        assert_int_equal(wrong, 0);
        assert_int_equal(openblas_threads(), blas);
        assert_int_equal(openmp_threads(), openmp);
    }
    for (int k = 0; k < 2 * N_KERNELS; k++) case_free(&cases[k]);
    ht_context_free(ctx);
}

/* fork. */

/* 0, or 1 + the first kernel whose bits differ. */
static int child_status(ht_context *ctx, kernel_case *cases, int n)
{
    for (int i = 0; i < n; i++)
        if (!case_repeats(ctx, &cases[i])) return 1 + i;
    return 0;
}

static void assert_child_is(pid_t child, int want)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status))
        fail_msg("the child ended by signal %d%s", WTERMSIG(status),
                 WTERMSIG(status) == SIGALRM ? ": it hung" : "");
    assert_int_equal(WEXITSTATUS(status), want);
}

/* The parent's context, then one of its own, then its own child. */
static int forked_child(ht_context *ctx, kernel_case *cases, int n)
{
    alarm(PATIENCE);
    int status = child_status(ctx, cases, n);
    ht_context *own = ht_context_new(&(ht_context_options){.threads = 2});
    if (!status) status = child_status(own, cases, n);
    ht_context_free(own);
    if (status) return status;
    pid_t grandchild = fork();
    if (grandchild == 0) {
        alarm(PATIENCE);
        _exit(child_status(ctx, cases, n));
    }
    int wait_status = 0;
    waitpid(grandchild, &wait_status, 0);
    return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 101;
}

static void fork_after_parallel_work_computes_the_same_bits(void **state)
{
    (void)state;
    test_not_under_valgrind();
    ht_context *ctx = test_context(2);
    for (int k = 0; k < 2 * N_KERNELS; k++) {
        kernel_case c = case_new(ctx, (kernel)(k / 2), k % 2 ? HT_F32 : HT_F64);
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) _exit(forked_child(ctx, &c, 1));
        assert_child_is(child, 0);
        assert_true(case_repeats(ctx, &c));
        case_free(&c);
    }
    ht_context_free(ctx);
}

/* Parts that this program runs by itself. */

typedef struct part {
    const char *name, *openmp; /* NULL: OMP_NUM_THREADS is not set */
    int core;                  /* it is bound to; -1: any */
} part;

static void become_part(void *of)
{
    const part *p = of;
    alarm(PATIENCE);
    if (p->openmp)
        setenv("OMP_NUM_THREADS", p->openmp, 1);
    else
        unsetenv("OMP_NUM_THREADS");
#if defined(__linux__)
    cpu_set_t one;
    CPU_ZERO(&one);
    if (p->core >= 0) CPU_SET((size_t)p->core, &one);
    if (p->core >= 0 && sched_setaffinity(0, sizeof one, &one) != 0) _exit(102);
#endif
    execl("/proc/self/exe", "test_tensor_threads", p->name, (char *)NULL);
    _exit(103);
}

/* Its output in text; returns its status. */
static int run_part(const char *name, const char *openmp, int core, char *text,
                    size_t size)
{
    return test_child(become_part, &(part){name, openmp, core}, STDOUT_FILENO, text,
                      size);
}

static int part_count(void)
{
    ht_context *ctx = ht_context_new(NULL);
    printf("%d", ht_context_threads(ctx));
    ht_context_free(ctx);
    return 0;
}

static int first_core(int *cores)
{
    *cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
#if defined(__linux__)
    cpu_set_t mine;
    assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
    *cores = CPU_COUNT(&mine);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET((size_t)i, &mine)) return i;
#endif
    return -1;
}

static void context_new_without_threads_asks_affinity_and_openmp(void **state)
{
    (void)state;
    test_not_under_valgrind();
    int cores, core = first_core(&cores);
    char text[64], want[64];
    assert_int_equal(run_part("count", NULL, -1, text, sizeof text), 0);
    snprintf(want, sizeof want, "%d", cores < HT_MAX_THREADS ? cores : HT_MAX_THREADS);
    assert_string_equal(text, want);
    assert_int_equal(run_part("count", "4000", -1, text, sizeof text), 0);
    assert_string_equal(text, want);
    if (core >= 0) {
        assert_int_equal(run_part("count", NULL, core, text, sizeof text), 0);
        assert_string_equal(text, "1");
    }
#ifdef _OPENMP
    assert_int_equal(run_part("count", "1", -1, text, sizeof text), 0);
    assert_string_equal(text, "1");
    int openmp = omp_get_max_threads();
    omp_set_num_threads(1);
    ht_context *ctx = ht_context_new(NULL);
    assert_int_equal(ht_context_threads(ctx), 1);
    ht_context_free(ctx);
    omp_set_num_threads(openmp);
#endif
}

/* The program's own region comes first, the library's first call in the child. */
static int part_own_region(void)
{
    int team = 0;
#ifdef _OPENMP
#pragma omp parallel num_threads(2) reduction(+ : team)
#endif
    team += 1;
    pid_t child = fork();
    if (child == 0) {
        alarm(PATIENCE);
        ht_context *ctx = test_context(2);
        kernel_case c = case_new(ctx, PRODUCT, HT_F32);
        _exit(case_repeats(ctx, &c) ? 0 : 1);
    }
    assert_child_is(child, 0);
    printf("%d", team);
    return 0;
}

static void fork_after_the_programs_own_region_works(void **state)
{
    (void)state;
    test_not_under_valgrind();
    char text[4096];
    int status = run_part("own region", NULL, -1, text, sizeof text);
    if (status != 0) fail_msg("status %d: %s", status, text);
#ifdef _OPENMP
    assert_string_equal(text, "2");
#endif
}

/* How many this process has; 0: not known. */
static int tasks(void)
{
    struct stat folder;
    return stat("/proc/self/task", &folder) == 0 ? (int)folder.st_nlink - 2 : 0;
}

/* Before work, after some, in a child that works, and when the context has ended. */
static int part_threads(void)
{
    ht_context *ctx = test_context(HT_MAX_THREADS);
    int before = tasks(), child = 0;
    kernel_case c = case_new(ctx, PRODUCT, HT_F32);
    int after = tasks();
    pid_t id = fork();
    if (id == 0) {
        alarm(PATIENCE);
        _exit(case_repeats(ctx, &c) ? tasks() : 104);
    }
    waitpid(id, &child, 0);
    case_free(&c);
    ht_context_free(ctx);
    printf("%d %d %d %d", before, after, WIFEXITED(child) ? WEXITSTATUS(child) : -1,
           tasks());
    return 0;
}

static void threads_are_as_many_as_cores_from_the_first_work_on(void **state)
{
    (void)state;
    test_not_under_valgrind();
#if defined(__linux__) && !defined(__SANITIZE_THREAD__)
    char text[4096], want[64];
    int cores;
    first_core(&cores);
    if (strstr(hti_matmul_backend(), "pthreads") || cores > 100) return;
    assert_int_equal(run_part("threads", NULL, -1, text, sizeof text), 0);
    snprintf(want, sizeof want, "1 %d %d 1", cores, cores);
    assert_string_equal(text, want);
#endif
}

/* Regions. */

#define ROUNDS test_size(2000, 20)
enum { PIECES = 9 };

typedef struct shared_work {
    ht_context *ctx;
    atomic_int runs[PIECES], others, inner;
    int held; /* a piece that ends when all others have; -1: none */
} shared_work;

static void shared_inner(const void *user, int64_t first, int64_t last)
{
    shared_work *w = (shared_work *)user;
    atomic_fetch_add(&w->inner, (int)(last - first));
}

static void shared_piece(const void *user, int64_t first, int64_t last)
{
    shared_work *w = (shared_work *)user;
    for (int64_t i = first; i < last; i++) {
        atomic_fetch_add(&w->runs[i], 1);
        if (i == w->held)
            while (atomic_load(&w->others) < PIECES - 1) sched_yield();
        else
            atomic_fetch_add(&w->others, 1);
        if (w->held < 0) hti_share(w->ctx, 3, shared_inner, w);
    }
}

static void assert_each_piece_ran_once(shared_work *w)
{
    hti_share(w->ctx, PIECES, shared_piece, w);
    for (int i = 0; i < PIECES; i++) assert_int_equal(atomic_load(&w->runs[i]), 1);
}

static void share_runs_each_piece_once_and_regions_within(void **state)
{
    (void)state;
    for (int threads = 1; threads < 5; threads++) {
        ht_context *ctx = test_context(threads);
        for (int i = 0; i < ROUNDS; i++) {
            shared_work w = {.ctx = ctx, .held = -1};
            assert_each_piece_ran_once(&w);
            assert_int_equal(atomic_load(&w.inner), 3 * PIECES);
        }
        ht_context_free(ctx);
    }
}

/* Whichever thread holds that piece, the others' are done by those who are free. */
static void share_goes_on_while_a_thread_is_held_up(void **state)
{
    (void)state;
    int cores;
    first_core(&cores);
    if (cores < 2) return;
    ht_context *ctx = test_context(2);
    alarm(PATIENCE);
    for (int i = 0; i < ROUNDS; i++)
        assert_each_piece_ran_once(&(shared_work){.ctx = ctx, .held = i % PIECES});
    alarm(0);
    ht_context_free(ctx);
}

/* Stack. */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { STACK_KB = 4096 }; /* theirs */
#else
enum { STACK_KB = HT_STACK_KB };
#endif

/* All kernels and instruction sets, on the calling thread and `threads` - 1 others; NULL
 * or what came out differently. */
static const char *run_all(int threads)
{
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = threads});
    const char *wrong = NULL;
    for (int isa = HTI_BASELINE; hti_context_use(ctx, isa); isa++) {
        for (int k = 0; k < 2 * N_KERNELS; k++) {
            kernel_case c = case_new(ctx, (kernel)(k / 2), k % 2 ? HT_F32 : HT_F64);
            if (!case_repeats(ctx, &c)) wrong = kernel_names[c.k];
            case_free(&c);
        }
    }
    ht_context_free(ctx);
    return wrong;
}

static void *stack_thread(void *user)
{
    *(const char **)user = run_all(1);
    return NULL;
}

static void kernels_on_a_thread_of_the_stack_stated_run(void **state)
{
    (void)state;
    test_not_under_valgrind();
    const char *wrong = "no thread";
    pthread_t thread;
    pthread_attr_t attributes;
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstacksize(&attributes, STACK_KB * 1024), 0);
    assert_int_equal(pthread_create(&thread, &attributes, stack_thread, &wrong), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
    if (wrong) fail_msg("%s", wrong);
}

/* Too many. */

static void context_new_with_too_many_threads_keeps_an_error(void **state)
{
    (void)state;
    static const int asked[] = {HT_MAX_THREADS + 1, 60000, INT32_MAX};
    char want[64];
    for (int i = 0; i < 3; i++) {
        ht_context *ctx = ht_context_new(&(ht_context_options){.threads = asked[i]});
        assert_non_null(ctx);
        snprintf(want, sizeof want, "threads is %d, expected at most %d", asked[i],
                 HT_MAX_THREADS);
        assert_int_equal(ht_context_status(ctx), HT_ERROR_ARGUMENT);
        assert_contains(ht_context_message(ctx), want);
        assert_int_equal(ht_context_threads(ctx), HT_MAX_THREADS);
        ht_context_free(ctx);
    }
}

static void context_of_the_most_threads_works(void **state)
{
    (void)state;
    static const kernel kernels[] = {ELEMENTWISE, PRODUCT, CONV_3X3, ATTENTION};
    int most_threads = (int)test_size(HT_MAX_THREADS, 16);
    ht_context *one = test_context(1), *most = test_context(most_threads);
    assert_int_equal(ht_context_status(most), HT_OK);
    for (int i = 0; i < 4; i++) {
        kernel_case c = case_new(one, kernels[i], HT_F32);
        assert_true(case_repeats(most, &c));
        case_free(&c);
    }
    ht_context_free(one);
    ht_context_free(most);
}

int main(int n, char **arguments)
{
    if (n == 2 && strcmp(arguments[1], "count") == 0) return part_count();
    if (n == 2 && strcmp(arguments[1], "own region") == 0) return part_own_region();
    if (n == 2 && strcmp(arguments[1], "threads") == 0) return part_threads();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_leave_numbers_of_threads_as_they_were),
        cmocka_unit_test(kernels_inside_a_programs_own_region_give_the_same_bits),
        cmocka_unit_test(fork_after_parallel_work_computes_the_same_bits),
        cmocka_unit_test(context_new_without_threads_asks_affinity_and_openmp),
        cmocka_unit_test(fork_after_the_programs_own_region_works),
        cmocka_unit_test(threads_are_as_many_as_cores_from_the_first_work_on),
        cmocka_unit_test(share_runs_each_piece_once_and_regions_within),
        cmocka_unit_test(share_goes_on_while_a_thread_is_held_up),
        cmocka_unit_test(kernels_on_a_thread_of_the_stack_stated_run),
        cmocka_unit_test(context_new_with_too_many_threads_keeps_an_error),
        cmocka_unit_test(context_of_the_most_threads_works),
    };
    return TEST_MAIN(tests);
}
