/* SPDX-License-Identifier: MIT */
/* misuse.h: calls that may be refused by an assertion, tried in this very process: abort
 * is caught and left, what was said on stderr is kept, and the context with all that was
 * made on it is thrown away, since half of a call may have happened.
 * Read next: test_misuse_inputs.c. */
#ifndef HTI_MISUSE_H
#define HTI_MISUSE_H

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "test.h"

/* Every block a context has asked for. */
typedef struct misuse_block {
    struct misuse_block *next, *before;
} misuse_block;

typedef struct misuse_heap {
    misuse_block blocks; /* a ring */
    int until_failure;   /* requests, of which the last gets no memory; 0: all get some */
    bool failed;
} misuse_heap;

static inline void misuse_heap_init(misuse_heap *heap)
{
    *heap = (misuse_heap){.blocks = {&heap->blocks, &heap->blocks}};
}

static inline void misuse_unlink(misuse_block *b)
{
    b->next->before = b->before;
    b->before->next = b->next;
}

static inline void *misuse_alloc(void *user, void *old, size_t old_size, size_t new_size)
{
    misuse_heap *heap = user;
    misuse_block *b = old ? (misuse_block *)old - 1 : NULL, *to = NULL;
    if (new_size && heap->until_failure && --heap->until_failure == 0) {
        heap->failed = true;
        return NULL;
    }
    if (new_size && !(to = malloc(sizeof *to + new_size))) return NULL;
    if (to) {
        *to = (misuse_block){heap->blocks.next, &heap->blocks};
        heap->blocks.next = to->next->before = to;
        if (b) memcpy(to + 1, b + 1, old_size < new_size ? old_size : new_size);
    }
    if (b) {
        misuse_unlink(b);
        free(b);
    }
    return to ? to + 1 : NULL;
}

/* Without freeing one by one: nothing on the heap can be used after. */
static inline void misuse_heap_drop(misuse_heap *heap)
{
    while (heap->blocks.next != &heap->blocks) {
        misuse_block *b = heap->blocks.next;
        misuse_unlink(b);
        free(b);
    }
}

static sigjmp_buf misuse_back;
static char misuse_text[4096]; /* of the last assertion, "" if there was none */

static void misuse_on_signal(int number)
{
    siglongjmp(misuse_back, number);
}

/* Whether f(data) ended in an assertion, whose words are in misuse_text then; of a crash
 * these are "crashed". */
static bool misuse_aborts(void (*f)(void *data), void *data)
{
    char path[] = "misuse.XXXXXX";
    int saved = dup(STDERR_FILENO), file = mkstemp(path);
    if (saved < 0 || file < 0) fail_msg("no file for stderr");
    fflush(stderr);
    dup2(file, STDERR_FILENO);
    struct sigaction action = {.sa_handler = misuse_on_signal}, abort_before, before;
    sigaction(SIGABRT, &action, &abort_before);
    sigaction(SIGSEGV, &action, &before);
    int number = sigsetjmp(misuse_back, 1);
    if (!number) f(data);
    sigaction(SIGABRT, &abort_before, NULL);
    sigaction(SIGSEGV, &before, NULL);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t got = pread(file, misuse_text, sizeof misuse_text - 1, 0);
    misuse_text[got > 0 ? got : 0] = '\0';
    if (number == SIGSEGV) snprintf(misuse_text, sizeof misuse_text, "crashed");
    close(file);
    unlink(path); /* a sanitizer that ends the program leaves its report there */
    return number != 0;
}

/* The functions a header declares as macros, "#define ht_name(", or by prototype, the
 * word "ht_name(" first in a line or after its type: all that stands there of ht_ names
 * followed by a parenthesis outside comments. Calls f with each once. */
static inline void misuse_functions(const char *header, void (*f)(const char *name))
{
    char line[512], name[64];
    FILE *file = test_source(header);
    bool comment = false;
    while (fgets(line, sizeof line, file)) {
        comment = comment || !strncmp(line, "/*", 2);
        bool skip = comment;
        if (strstr(line, "*/")) comment = false;
        if (skip || line[0] == ' ') continue;
        for (const char *at = line; (at = strstr(at, "ht_")); at += 3) {
            if (at > line && at[-1] != ' ' && at[-1] != '*') continue;
            if (sscanf(at, "%63[a-z0-9_]", name) != 1) continue;
            if (at[strlen(name)] == '(') {
                f(name);
                break;
            }
        }
    }
    fclose(file);
}

#endif
