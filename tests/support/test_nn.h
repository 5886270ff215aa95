/* SPDX-License-Identifier: MIT */
/* test_nn.h: what the tests of sets, variables and update rules share: an error that must
 * have been kept, and a call that must stop the program. Read next: test_nn_vars.c. */
#ifndef HTI_TEST_NN_H
#define HTI_TEST_NN_H

#include "child.h"
#include "test_data.h"

#include "ht_nn.h"

/* The context keeps this error, and forgets it now. */
static inline void test_error(ht_context *ctx, ht_status status, const char *part)
{
    assert_string_equal(ht_status_name(ht_context_status(ctx)), ht_status_name(status));
    assert_contains(ht_context_message(ctx), part);
    ht_context_clear(ctx);
}

static inline void test_no_error(const ht_context *ctx)
{
    if (ht_context_status(ctx) != HT_OK) fail_msg("%s", ht_context_message(ctx));
}

#endif
