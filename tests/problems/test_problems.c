/* SPDX-License-Identifier: MIT */
/* test_problems.c: bilevel problems of the literature: what is derived on their pages,
 * and where the library's methods end. Read next: README.md. */
#include "problems.h"
#include "test.h"

static void optimum_is_the_lowest(void **state)
{
    problem_check(*state);
}

static void runs_end_where_said(void **state)
{
    problem_solve(*state);
}

#define CASES(name)                                                                      \
    {#name ": optimum_is_the_lowest", optimum_is_the_lowest, NULL, NULL, (void *)&name}, \
        {#name ": runs_end_where_said", runs_end_where_said, NULL, NULL, (void *)&name},

int main(void)
{
    const struct CMUnitTest tests[] = {PROBLEMS(CASES)};
    return TEST_MAIN(tests);
}
