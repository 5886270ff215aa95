/* SPDX-License-Identifier: MIT */
/* test_problems.c: bilevel problems of the literature: what is derived on their pages,
 * and where the library's methods end. Read next: README.md. */
#include "problems.h"
#include "test.h"

static void optimum_is_the_lowest(void **state)
{
    problem_check(*state);
}

static void gradients_are_those_derived(void **state)
{
    problem_differ(*state);
}

static void runs_end_where_said(void **state)
{
    problem_solve(*state);
}

static void implicit_says_singular(void **state)
{
    problem_breaks(*state);
}

#define CASE(name, f) ((struct CMUnitTest){#name ": " #f, f, NULL, NULL, (void *)&name})
#define CASES(name)                                                             \
    CASE(name, optimum_is_the_lowest), CASE(name, gradients_are_those_derived), \
        CASE(name, runs_end_where_said),

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROBLEMS(CASES) CASE(lucchetti_1987, implicit_says_singular),
        CASE(smd6, implicit_says_singular),
    };
    return TEST_MAIN(tests);
}
