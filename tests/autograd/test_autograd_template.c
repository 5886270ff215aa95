/* SPDX-License-Identifier: MIT */
/* test_autograd_template.c: the row to copy, autograd/ops/template.c, passes what every
 * row has to. */
#include "ops.h"
#include "test.h"

extern const ht_op hti_op_roll;

static void op_check_the_template_holds(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    int64_t cases = 0;
    assert_true(ht_op_check(ctx, &hti_op_roll, stderr, &cases));
    assert_true(cases > 100);
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(op_check_the_template_holds)};
    return TEST_MAIN(tests);
}
