/* SPDX-License-Identifier: MIT */
/* main.c: runs a fuzz target without libFuzzer: examples, mutated examples and random
 * bytes, from a seed, for so many seconds. An input that ends the program is in
 * fuzz-<target>.bytes, and given back as an argument runs alone. */
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "target.h"

enum { MOST = 1 << 16 };

static uint8_t input[MOST];
static size_t input_size;
static char input_path[256];
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

/* Only what a handler may call. Then the signal's own end. */
static void keep_input(int number)
{
    int file = open(input_path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (file >= 0 && write(file, input, input_size) == (ssize_t)input_size) {
        static const char text[] = "fuzz: the input is kept; run it with its path\n";
        if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(3);
    }
    signal(number, SIG_DFL);
    raise(number);
}

/* One of: a byte set, a bit turned, a number planted, a part cut, doubled or moved. */
static void mutate(void)
{
    static const uint32_t planted[] = {0, 1, 0x7f, 0xff, 0xffff, 0x7fffffff, 0xffffffff};
    if (input_size == 0) return;
    size_t at = below(input_size), rest = input_size - at, n = 1 + below(rest);
    uint32_t word = planted[below(sizeof planted / sizeof *planted)];
    switch (below(6)) {
    case 0:
        input[at] = (uint8_t)draw();
        break;
    case 1:
        input[at] ^= (uint8_t)(1u << below(8));
        break;
    case 2:
        memcpy(input + at, &word, rest < sizeof word ? rest : sizeof word);
        break;
    case 3:
        memmove(input + at, input + at + n, rest - n);
        input_size -= n;
        break;
    case 4:
        if (n > 64) n = 64;
        if (input_size + n > MOST) break;
        memmove(input + at + n, input + at, rest);
        input_size += n;
        break;
    default:
        memmove(input + below(input_size - n + 1), input + at, n);
        break;
    }
}

static void make_input(uint64_t number)
{
    input_size = draw() % 8 ? fuzz_example(number % 64, input, MOST) : 0;
    if (input_size == 0) {
        input_size = below(draw() % 4 ? 256 : 4096);
        for (size_t i = 0; i < input_size; i++) input[i] = (uint8_t)draw();
    }
    if (number < 64) return;
    for (size_t n = below(4) ? below(4) : below(64); n > 0; n--) mutate();
}

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) return perror(path), 2;
    input_size = fread(input, 1, MOST, f);
    fclose(f);
    return LLVMFuzzerTestOneInput(input, input_size);
}

static int write_examples(const char *folder)
{
    for (uint64_t k = 0; k < 64; k++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%02u", folder, (unsigned)k);
        input_size = fuzz_example(k, input, MOST);
        FILE *f = input_size ? fopen(path, "wb") : NULL;
        if (!f) continue;
        fwrite(input, 1, input_size, f);
        if (fclose(f)) return 1;
    }
    return 0;
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int run_for(const char *name, double seconds, uint64_t seed)
{
    double begin = seconds_now();
    uint64_t n = 0;
    random_state = seed;
    snprintf(input_path, sizeof input_path, "%s.bytes", name);
    for (int k = 0; k < 4; k++)
        signal((int[]){SIGABRT, SIGSEGV, SIGFPE, SIGBUS}[k], keep_input);
    printf("# %s: seed %llu\n", name, (unsigned long long)seed);
    fflush(stdout);
    for (; seconds_now() - begin < seconds; n++) {
        make_input(n);
        LLVMFuzzerTestOneInput(input, input_size);
    }
    printf("ok 1 - %s: %llu inputs in %.0f s, ", name, (unsigned long long)n, seconds);
    fuzz_figures(stdout);
    printf("\n1..1\n");
    return 0;
}

int main(int n, char **argument)
{
    const char *name = strrchr(argument[0], '/');
    const char *seed = getenv("HYPERTAPE_TEST_SEED");
    name = name ? name + 1 : argument[0];
    if (n == 3 && !strcmp(argument[1], "--examples")) return write_examples(argument[2]);
    if (n == 3 && !strcmp(argument[1], "--seconds"))
        return run_for(name, atof(argument[2]),
                       seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL));
    if (n == 2 && argument[1][0] != '-') return run_file(argument[1]);
    fprintf(stderr, "usage: %s --seconds N | --examples FOLDER | FILE\n", name);
    return 2;
}
