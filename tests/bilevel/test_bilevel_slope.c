/* SPDX-License-Identifier: MIT */
/* test_bilevel_slope.c: slopes judged by differences, on functions whose slope at 0 is
 * known: right ones are never called wrong, wrong ones always. Read next:
 * bilevel/slope.c. */
#include <math.h>

#include "test.h"

#include "bilevel_internal.h"

static double wave(double h, void *user)
{
    return sin(*(double *)user * h);
}

static double bent(double h, void *user)
{
    double scale = *(double *)user;
    return h / (fabs(h) / scale + 1); /* slope 1, flat beyond `scale` */
}

static double cornered(double h, void *user)
{
    return fabs(h) * *(double *)user + 2 * h;
}

static double noisy(double h, void *user)
{
    /* A number of its own for each h. */
    return h + *(double *)user * sin(1e15 * h + 1e5 * h);
}

static double stepped(double h, void *user)
{
    return h + (h > 1e-6 ? *(double *)user : 0);
}

static void judge_slope_right_ones_are_never_wrong(void **state)
{
    (void)state;
    for (double x = 1e-3; x < 1e6; x *= 3) {
        hti_judgement j = hti_judge_slope(wave, &x, x, 1e-5 * x);
        if (j.verdict != HTI_RIGHT)
            fail_msg("sin(%g h): verdict %d, off %g", x, (int)j.verdict, j.off);
    }
    for (double x = 1e6; x < 1e40; x *= 3) {
        hti_judgement j = hti_judge_slope(wave, &x, x, 1e-5 * x);
        if (j.verdict == HTI_WRONG) fail_msg("sin(%g h): WRONG, off %g", x, j.off);
    }
    for (double x = 1; x > 1e-13; x /= 3) {
        const hti_slope_fn f[] = {bent, stepped, noisy};
        for (int k = 0; k < 3; k++) {
            hti_judgement j = hti_judge_slope(f[k], &x, 1, 1e-5);
            if (j.verdict == HTI_WRONG)
                fail_msg("function %d of %g: WRONG, off %g", k, x, j.off);
        }
        if (x > 1e-4)
            assert_int_equal(hti_judge_slope(bent, &x, 1, 1e-5).verdict, HTI_RIGHT);
    }
}

/* Beside 1, the smallest steps change nothing at all. */
static double beside_one(double h, void *user)
{
    return 1 + *(double *)user * (h + h * h);
}

/* Of no value beyond *user. */
static double bounded(double h, void *user)
{
    return fabs(h) < *(double *)user ? 1 + sin(30 * h) : (double)INFINITY;
}

static void judge_slope_where_values_end_is_not_wrong(void **state)
{
    (void)state;
    for (double x = 1; x > 1e-13; x /= 3) {
        hti_judgement j = hti_judge_slope(bounded, &x, 30, 3e-4);
        if (j.verdict == HTI_WRONG || (x > 1e-6 && j.verdict != HTI_RIGHT))
            fail_msg("ends at %g: verdict %d, off %g", x, (int)j.verdict, j.off);
    }
}

static void judge_slope_lost_in_rounding_is_not_wrong(void **state)
{
    (void)state;
    for (double x = 1; x > 1e-20; x /= 3) {
        hti_judgement j = hti_judge_slope(beside_one, &x, x, 1e-5 * x);
        if (j.verdict == HTI_WRONG || (x > 1e-4 && j.verdict != HTI_RIGHT))
            fail_msg("slope %g: verdict %d, off %g", x, (int)j.verdict, j.off);
    }
}

static void judge_slope_wrong_ones_are_wrong(void **state)
{
    (void)state;
    for (double x = 1e-3; x < 1e4; x *= 3)
        for (double off = 2e-5; off < 10; off *= 3) {
            hti_judgement j = hti_judge_slope(wave, &x, x * (1 + off), 1e-5 * x);
            if (j.verdict != HTI_WRONG || fabs(j.off - off * x) > 0.3 * off * x)
                fail_msg("sin(%g h) off by %g: verdict %d, off %g", x, off * x,
                         (int)j.verdict, j.off);
        }
}

static void judge_slope_at_a_corner_names_both_sides(void **state)
{
    (void)state;
    double x = 0.5;
    hti_judgement j = hti_judge_slope(cornered, &x, 2.5, 1e-5);
    assert_int_equal(j.verdict, HTI_UNDECIDED);
    assert_int_equal(j.why, HTI_KINK);
    if (fabs(j.forward - 2.5) > 1e-5 || fabs(j.backward - 1.5) > 1e-5)
        fail_msg("2.5 and 1.5, got %g and %g", j.forward, j.backward);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judge_slope_right_ones_are_never_wrong),
        cmocka_unit_test(judge_slope_where_values_end_is_not_wrong),
        cmocka_unit_test(judge_slope_lost_in_rounding_is_not_wrong),
        cmocka_unit_test(judge_slope_wrong_ones_are_wrong),
        cmocka_unit_test(judge_slope_at_a_corner_names_both_sides),
    };
    return TEST_MAIN(tests);
}
