/* SPDX-License-Identifier: MIT */
/* test_edges_project.c: the table of edges for projections and proximal maps. */
#include "edges.h"

FORM(project_simplex, ht_project_simplex(x[0], x[1]))
FORM(project_capped, ht_project_capped(x[0], x[1]))
FORM(project_l1, ht_project_l1(x[0], x[1]))
FORM(project_l2, ht_project_l2(x[0], x[1]))
FORM(group_soft_threshold, ht_group_soft_threshold(x[0], x[1]))
FORM(soft_threshold, ht_soft_threshold(x[0], x[1]))
FORM(project_box, ht_project_box(x[0], x[1], x[2]))
FORM(project_box_nonnegative, ht_project_box(x[0], 0, INFINITY))

static const edge_form forms[] = {
    ROW(project_simplex, "3 1"),
    ROW(project_capped, "3 1"),
    ROW(project_l1, "3 1"),
    ROW(project_l2, "3 1"),
    ROW(group_soft_threshold, "3 1"),
    ROW(soft_threshold, "1 1"),
    ROW(project_box, "1 1 1"),
    ROW(project_box_nonnegative, "1"),
    {.name = NULL},
};

static void projections_at_the_edges_have_the_digits(void **state)
{
    (void)state;
    edge_tally tally = edge_walk(forms, NULL);
    assert_int_equal(tally.failed, 0);
    assert_true(tally.cases >= 330);
    assert_true(tally.numbers[0] >= 846);
    assert_true(tally.numbers[1] >= 2778);
    assert_true(tally.numbers[2] >= 10800);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(projections_at_the_edges_have_the_digits),
    };
    return TEST_MAIN(tests);
}
