/* SPDX-License-Identifier: MIT */
/* test_nn.h: what the tests of sets, variables and update rules share: an error that must
 * have been kept, and a call that must stop the program. Read next: test_nn_vars.c. */
#ifndef HTI_TEST_NN_H
#define HTI_TEST_NN_H

#include "test_data.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

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

/* f(argument), in a child, aborts and says so on stderr. */
static inline void test_aborts(void (*f)(void *), void *argument, const char *message)
{
    int ends[2], status = 0;
    char text[4096];
    size_t used = 0;
    fflush(NULL);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        dup2(ends[1], STDERR_FILENO);
        f(argument);
        _exit(0);
    }
    close(ends[1]);
    for (ssize_t n; (n = read(ends[0], text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)n;
    text[used] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_contains(text, message);
}

#endif
