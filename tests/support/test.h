/* SPDX-License-Identifier: MIT */
/* test.h: what every test file shares: cmocka, comparisons that print both values, and
 * one seed, printed and settable by HYPERTAPE_TEST_SEED. Cases are named
 * <function>_<condition>_<outcome>. */
#ifndef HTI_TEST_H
#define HTI_TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ht_tensor.h"

/* |got - want| <= tolerance * max(1, |want|), and not NaN unless both are. */
#define assert_near(got, want, tolerance)                                         \
    test_near((double)(got), (double)(want), (double)(tolerance), #got, __FILE__, \
              __LINE__)

static inline void test_near(double got, double want, double tolerance, const char *what,
                             const char *file, int line)
{
    double scale = fabs(want) > 1 ? fabs(want) : 1;
    if ((isnan(got) && isnan(want)) || got == want) return;
    if (fabs(got - want) <= tolerance * scale) return;
    print_error("%s: got %.17g, want %.17g (difference %.3g, tolerance %.3g)\n", what,
                got, want, got - want, tolerance * scale);
    _fail(file, line);
}

/* Valgrind looks at every access, 50 times slower and more: what differs by size alone is
 * tried small there (`./dev test --valgrind` says so). */
static inline int64_t test_size(int64_t size, int64_t under_valgrind)
{
    return getenv("HYPERTAPE_VALGRIND") ? under_valgrind : size;
}

/* A forked child is valgrind's as well and loses its parent's memory; what starts itself
 * again finds valgrind. Cases of those are left out there, and said to be. */
static inline void test_not_under_valgrind(void)
{
    if (getenv("HYPERTAPE_VALGRIND")) skip();
}

#define assert_contains(text, part) test_contains(text, part, __FILE__, __LINE__)

static inline void test_contains(const char *text, const char *part, const char *file,
                                 int line)
{
    if (strstr(text, part)) return;
    print_error("\"%s\" does not contain \"%s\"\n", text, part);
    _fail(file, line);
}

static inline uint64_t test_seed(void)
{
    const char *text = getenv("HYPERTAPE_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 10) : 20261123u;
    printf("# seed %llu\n", (unsigned long long)seed);
    return seed;
}

/* A file of the repository, open for reading; to be closed. */
static inline FILE *test_source(const char *name)
{
    char path[1024];
    const char *root = getenv("HYPERTAPE_SOURCE");
    snprintf(path, sizeof path, "%s/%s", root ? root : ".", name);
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("HYPERTAPE_SOURCE says where the repository is; no %s", path);
    return f;
}

/* The fixed work of a test file's main: its cases as one cmocka group. */
#define TEST_MAIN(tests) cmocka_run_group_tests((tests), NULL, NULL)

#endif
