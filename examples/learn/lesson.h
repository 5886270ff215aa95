/* SPDX-License-Identifier: MIT */
/* lesson.h: what each lesson does beside its subject. An error of the library is printed
 * and ends it; `--html FILE` writes the page that shows its tape. */
#ifndef LESSON_H
#define LESSON_H

#include <assert.h>
#include <hypertape.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Owned. */
static inline ht_context *lesson_context(void)
{
    return ht_context_new(&(ht_context_options){.on_error = ht_print_and_exit});
}

/* FILE of `--html FILE`; NULL: none is wanted. Anything else ends the program. */
static inline const char *lesson_page(int argc, char **argv)
{
    if (argc == 1) return NULL;
    if (argc == 3 && !strcmp(argv[1], "--html")) return argv[2];
    fprintf(stderr, "usage: %s [--html FILE]\n", argv[0]);
    exit(2);
}

#endif
