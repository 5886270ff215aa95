/* SPDX-License-Identifier: MIT */
/* main.c: runs a fuzz target without libFuzzer: examples, mutated examples and random
 * bytes, from a seed, for so many seconds, in a child. However that ends (a signal, an
 * exit of a sanitizer's, a byte left over), the input it was at is in <target>.bytes, and
 * runs once more, aloud, as it does when given as an argument. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "target.h"

enum { MOST = 1 << 16 };

/* The child's, which the parent sees. */
typedef struct trial {
    uint8_t input[MOST];
    size_t size;
} trial;

static trial *now;
static uint64_t random_state;

/* splitmix64 (Steele, Lea & Flood, OOPSLA 2014). */
static uint64_t draw(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static size_t below(size_t n)
{
    return (size_t)(draw() % n);
}

/* One of: a byte set, a bit turned, a number planted, a part cut, doubled or moved. */
static void mutate(void)
{
    static const uint32_t planted[] = {0, 1, 0x7f, 0xff, 0xffff, 0x7fffffff, 0xffffffff};
    if (now->size == 0) return;
    size_t at = below(now->size), rest = now->size - at, n = 1 + below(rest);
    uint32_t word = planted[below(sizeof planted / sizeof *planted)];
    switch (below(6)) {
    case 0:
        now->input[at] = (uint8_t)draw();
        break;
    case 1:
        now->input[at] ^= (uint8_t)(1u << below(8));
        break;
    case 2:
        memcpy(now->input + at, &word, rest < sizeof word ? rest : sizeof word);
        break;
    case 3:
        memmove(now->input + at, now->input + at + n, rest - n);
        now->size -= n;
        break;
    case 4:
        if (n > 64) n = 64;
        if (now->size + n > MOST) break;
        memmove(now->input + at + n, now->input + at, rest);
        now->size += n;
        break;
    default:
        memmove(now->input + below(now->size - n + 1), now->input + at, n);
        break;
    }
}

static void make_input(uint64_t number)
{
    now->size = draw() % 8 ? fuzz_example(number % 64, now->input, MOST) : 0;
    if (now->size == 0) {
        now->size = below(draw() % 4 ? 256 : 4096);
        for (size_t i = 0; i < now->size; i++) now->input[i] = (uint8_t)draw();
    }
    if (number < 64) return;
    for (size_t n = below(4) ? below(4) : below(64); n > 0; n--) mutate();
}

/* What a target keeps quiet while it runs by the thousand is heard. */
static int run_aloud(void)
{
    setenv(FUZZ_ALOUD, "1", 1);
    return LLVMFuzzerTestOneInput(now->input, now->size);
}

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) return perror(path), 2;
    now->size = fread(now->input, 1, MOST, f);
    fclose(f);
    return run_aloud();
}

static int write_examples(const char *folder)
{
    for (uint64_t k = 0; k < 64; k++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%02u", folder, (unsigned)k);
        now->size = fuzz_example(k, now->input, MOST);
        FILE *f = now->size ? fopen(path, "wb") : NULL;
        if (!f) continue;
        fwrite(now->input, 1, now->size, f);
        if (fclose(f)) return 1;
    }
    return 0;
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int try_for(const char *name, double seconds)
{
    double begin = seconds_now();
    uint64_t n = 0;
    for (; seconds_now() - begin < seconds; n++) {
        make_input(n);
        LLVMFuzzerTestOneInput(now->input, now->size);
    }
    printf("ok 1 - %s: %llu inputs in %.0f s, ", name, (unsigned long long)n, seconds);
    fuzz_figures(stdout);
    printf("\n1..1\n");
    return 0;
}

static int keep_and_tell(const char *name, int status)
{
    char path[256];
    snprintf(path, sizeof path, "%s.bytes", name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(now->input, 1, now->size, f) != now->size || fclose(f)) perror(path);
    printf("not ok 1 - %s: ended by %s %d; the input is in %s; it says:\n1..1\n", name,
           WIFSIGNALED(status) ? "signal" : "exit",
           WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), path);
    fflush(stdout);
    run_aloud();
    return 1;
}

static int run_for(const char *name, double seconds, uint64_t seed)
{
    random_state = seed;
    printf("# %s: seed %llu\n", name, (unsigned long long)seed);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) return try_for(name, seconds);
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child) return perror(name), 2;
    return status ? keep_and_tell(name, status) : 0;
}

int main(int n, char **argument)
{
    const char *name = strrchr(argument[0], '/');
    const char *seed = getenv("HYPERTAPE_TEST_SEED");
    name = name ? name + 1 : argument[0];
    now = mmap(NULL, sizeof *now, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
               0);
    if (now == MAP_FAILED) return perror("mmap"), 2;
    if (n == 3 && !strcmp(argument[1], "--examples")) return write_examples(argument[2]);
    if (n == 3 && !strcmp(argument[1], "--seconds"))
        return run_for(name, atof(argument[2]),
                       seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL));
    if (n == 2 && argument[1][0] != '-') return run_file(argument[1]);
    fprintf(stderr, "usage: %s --seconds N | --examples FOLDER | FILE\n", name);
    return 2;
}
