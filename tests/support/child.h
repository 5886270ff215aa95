/* SPDX-License-Identifier: MIT */
/* child.h: a call in a child process, whose words are read and which may abort. */
#ifndef HTI_TEST_CHILD_H
#define HTI_TEST_CHILD_H

#include "test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs f(argument) in a child; what it writes to `stream` in text, its wait status
 * returned. */
static inline int test_child(void (*f)(void *), void *argument, int stream, char *text,
                             size_t size)
{
    int ends[2], status = 0;
    size_t used = 0;
    fflush(NULL);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGABRT, SIG_DFL);
        signal(SIGSEGV, SIG_DFL);
        dup2(ends[1], stream);
        f(argument);
        _exit(0);
    }
    close(ends[1]);
    for (ssize_t n; (n = read(ends[0], text + used, size - 1 - used)) > 0;)
        used += (size_t)n;
    text[used] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* f(argument), in a child, aborts and says so on stderr. */
static inline void test_aborts(void (*f)(void *), void *argument, const char *message)
{
    char text[4096];
    int status = test_child(f, argument, STDERR_FILENO, text, sizeof text);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
        fail_msg("expected an abort with \"%s\", got status %d: %s", message, status,
                 text);
    assert_contains(text, message);
}

#endif
