/* SPDX-License-Identifier: MIT */
/* mark.h: what an exercise needs to be marked. A hole is a function of the learner's; a
 * check calls it and says in one line what is wrong. */
#ifndef MARK_H
#define MARK_H

#include <hypertape.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The line of a hole that is not filled: it ends the check. Take it out with the rest. */
#ifndef UNWRITTEN
#define UNWRITTEN mark_unwritten()
#endif
void mark_unwritten(void);

/* What a well-known mistake would give here, and the sentence about it. */
typedef struct slip {
    double value;
    const char *why;
} slip;
#define SLIPS(...)               \
    (const slip[])               \
    {                            \
        __VA_ARGS__, { 0, NULL } \
    }

/* A function of the exercise, by name; its check; and what helps, from a push to nearly
 * the line itself. */
typedef struct hole {
    const char *name;
    void (*check)(void);
    const char *hints[5];
    const char *needs; /* a hole before it, which it may call; NULL: none */
} hole;

/* Ends the check if |yours - right| > tolerance max(1, |right|), or is NaN, with the line
 *     <what>: yours is .., right is ..: <why, of the slip with that value>
 * slips: NULL if none is known. Tell the input in `what`. */
#define mark_number(yours, right, tolerance, slips, ...) \
    mark_number_at(yours, right, tolerance, slips, mark_text(__VA_ARGS__))
void mark_number_at(double yours, double right, double tolerance, const slip *slips,
                    const char *what);
/* Whether `yours` is that number, to 1e-6: to tell a slip by what it gives. */
bool mark_is(double yours, double value);
/* Ends the check with this line. */
#define mark_wrong(...) mark_wrong_at(mark_text(__VA_ARGS__))
_Noreturn void mark_wrong_at(const char *line);
/* printf into memory that lives until the next eight calls. */
const char *mark_text(const char *format, ...);
/* Owned by the check, which ends with its process; an error of the library ends it. */
ht_context *mark_context(void);

/* Marks exercise `number`, a line a hole. argv: [--quiet: without
 * what the learner prints] [--hint [HOLE]] [--marks FILE], a CSV
 * that keeps what passed and how many hints were taken. Returns main's status: 0 if all
 * is right. */
int mark_exercise(int argc, char **argv, int number, const hole *holes, int n);

#endif
