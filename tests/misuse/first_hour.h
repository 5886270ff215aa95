/* SPDX-License-Identifier: MIT */
/* first_hour.h: a beginner's mistake as a row: a small program, run in a child, and what
 * its last words must hold. */
#ifndef HTI_TEST_FIRST_HOUR_H
#define HTI_TEST_FIRST_HOUR_H

#include "child.h"

#include "ht_bilevel.h"
#include "ht_data.h"

/* What every beginner has. */
typedef struct desk {
    ht_context *ctx;
    ht_tape *eager, *recorded;
    ht_set *theta, *data;
} desk;

/* cause, place, remedy: each is in the message. */
typedef struct mistake {
    const char *name;
    void (*f)(desk *d);
    const char *cause, *place, *remedy;
    bool stops; /* by an assertion */
} mistake;

#define HERE __FILE__ ":"
#define M(f, ...)                 \
    {                             \
#f, f, __VA_ARGS__, false \
    }
#define STOPS(f, ...)            \
    {                            \
#f, f, __VA_ARGS__, true \
    }
#define TENSOR(t, ...) ht_tensor_new(d->ctx, t, HT_SHAPE(__VA_ARGS__))
#define INPUT(t, ...)  ht_input(d->eager, TENSOR(t, __VA_ARGS__))
#define VARS(set)      ht_vars_input(d->eager, set, 0)

static void make_mistake(void *argument)
{
    const mistake *m = argument;
    desk d = {.ctx = ht_context_new(
                  &(ht_context_options){.threads = 1, .on_error = ht_print_and_exit})};
    d.eager = ht_tape_new(d.ctx, HT_EAGER);
    d.recorded = ht_tape_new(d.ctx, HT_RECORD);
    d.theta = ht_set_new(d.ctx);
    d.data = ht_set_new(d.ctx);
    m->f(&d);
}

static void check_mistake(void **state)
{
    const mistake *m = *state;
    char text[8192];
    int status =
        test_child(make_mistake, (void *)(uintptr_t)m, STDERR_FILENO, text, sizeof text);
    bool ended = m->stops ? WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT
                          : WIFEXITED(status) && WEXITSTATUS(status) == 1;
    if (!ended)
        fail_msg("%s: wait status %d, want %s: %s", m->name, status,
                 m->stops ? "an abort" : "exit 1", text);
    assert_contains(text, m->cause);
    assert_contains(text, m->place);
    assert_contains(text, m->remedy);
}

#define FIRST_HOUR(mistakes)                                                            \
    int main(void)                                                                      \
    {                                                                                   \
        struct CMUnitTest tests[sizeof mistakes / sizeof *mistakes] = {0};              \
        size_t n = sizeof mistakes / sizeof *mistakes;                                  \
        for (size_t i = 0; i < n; i++)                                                  \
            tests[i] = (struct CMUnitTest){mistakes[i].name, check_mistake, NULL, NULL, \
                                           (void *)(uintptr_t)&mistakes[i]};            \
        return cmocka_run_group_tests(tests, NULL, NULL);                               \
    }

#endif
