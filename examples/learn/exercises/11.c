/* SPDX-License-Identifier: MIT */
/* Exercise 11: checkpoints. Fill the three holes; ./dev learn 11 marks them.
 *
 * A walk stands at a state and has a pile of kept ones. It may do only these things: */
#include "mark.h"

enum { MOST = 400 };

typedef struct walk {
    int at, T;       /* the state it stands at; steps in all */
    int kept[MOST];  /* the pile: kept[slots - 1] is on top */
    int slots, most; /* in use; the most there were */
    int end, steps;  /* steps end .. T-1 are reversed; forward steps run */
} walk;

/* n steps forward. */
static void forward(walk *w, int n)
{
    if (n < 1 || w->at + n > w->T)
        mark_wrong("T = %d: forward(w, %d) from state %d", w->T, n, w->at);
    w->at += n, w->steps += n;
}

/* The state it stands at, onto the pile. */
static void keep(walk *w)
{
    if (w->slots == MOST) mark_wrong("T = %d: %d states on the pile", w->T, MOST);
    w->kept[w->slots++] = w->at;
    if (w->most < w->slots) w->most = w->slots;
}

/* It stands at the top state, which stays on the pile; and drop takes that off. */
static void load(walk *w)
{
    if (!w->slots) mark_wrong("T = %d: load, but nothing is on the pile", w->T);
    w->at = w->kept[w->slots - 1];
}
static void drop(walk *w)
{
    if (!w->slots) mark_wrong("T = %d: drop, but nothing is on the pile", w->T);
    w->slots--;
}

/* Back through the step from the state it stands at. The first is T-1, and last 0. */
static void back(walk *w)
{
    if (w->at != w->end - 1)
        mark_wrong(
            "T = %d: back through step %d is next, which needs state %d; the walk "
            "stands at state %d%s",
            w->T, w->end - 1, w->end - 1, w->at,
            w->at < w->end ? ""
            : w->at == w->T
                ? ", after which there is none: a segment of n steps has n - 1 states "
                  "after its first to make, and none if n = 1"
                : ", from which a step was gone back through: drop what has been used");
    w->end--;
}

/* Back through all T steps, T <= MOST. It stands at state 0, and the pile is empty. Keep
 * the states at which segments of k steps begin (the last may be shorter); then take the
 * segments from the last on, keeping the states within one at a time. Run no step
 * that is not needed: not the last step of all, nor a segment's last a second time. */
void two_level(walk *w, int k)
{
    /* your code */
    UNWRITTEN;
}

/* How many steps one can go back through with s slots (s >= 0), each run at most r times
 * (r < 0: none, 0). */
long reach(int s, int r)
{
    /* your code */
    UNWRITTEN;
    return 0;
}

/* How many steps to go forward before a state is kept, for n >= 2 steps and s >= 1 slots,
 * that of the first state among them: 1 <= m < n, and no m costs less. (With one slot no
 * state can be kept but the first: m is n - 1.) */
int split(int n, int s)
{
    /* your code */
    UNWRITTEN;
    return 0;
}
