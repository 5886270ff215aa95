/* SPDX-License-Identifier: MIT */
/* Exercise 1: a tape of scalars. Fill the three holes; ./dev learn 1 marks them.
 *
 * The tape is lesson 1's, with two operations more, SUB and TANH. */
#include "mark.h"

enum { NODES = 64 };

typedef enum operation { INPUT, ADD, MUL, EXP, SUB, TANH } operation;

typedef struct tape {
    int n;
    operation op[NODES];
    int input[NODES][2]; /* -1: none */
    double value[NODES], slope[NODES][2];
} tape;

/* The two operations more: SUB is a - b, TANH is tanh a (C's tanh has the value). Writes
 * *v = op(a, b), slope[0] = dv/da and, for SUB, slope[1] = dv/db. */
void compute_more(operation op, double a, double b, double *v, double *slope)
{
    /* your code */
    UNWRITTEN;
}

/* Value and slopes of node i from its inputs' values. A leaf keeps what it was given. */
static void compute(tape *t, int i)
{
    const int *in = t->input[i];
    double a = in[0] < 0 ? 0 : t->value[in[0]], b = in[1] < 0 ? 0 : t->value[in[1]];
    double *v = &t->value[i], *slope = t->slope[i];
    if (t->op[i] == ADD) slope[0] = 1, slope[1] = 1, *v = a + b;
    if (t->op[i] == MUL) slope[0] = b, slope[1] = a, *v = a * b;
    if (t->op[i] == EXP) slope[0] = exp(a), *v = slope[0];
    if (t->op[i] >= SUB) compute_more(t->op[i], a, b, v, slope);
}

static int append(tape *t, operation op, int a, int b)
{
    int i = t->n++;
    t->op[i] = op, t->input[i][0] = a, t->input[i][1] = b;
    compute(t, i);
    return i;
}

static int add(tape *t, int a, int b) { return append(t, ADD, a, b); }
static int mul(tape *t, int a, int b) { return append(t, MUL, a, b); }
static int leaf(tape *t, double value)
{
    t->value[t->n] = value;
    return append(t, INPUT, -1, -1);
}

/* Records c_0 + c_1 x + c_2 x^2 + ... + c_(n-1) x^(n-1), n >= 1, and returns the number
 * of its node. x and c[0] .. c[n-1] are numbers of nodes. The list has to be right when
 * it is computed again for other values of x and of each c. */
int polynomial(tape *t, int x, int n, const int *c)
{
    /* your code */
    UNWRITTEN;
    return x;
}

/* Leaf x gets this value. Then only the nodes that depend on x are computed again: those
 * with an input that is x or depends on x. Any other node is left as it is, also if its
 * value is not what its inputs say. Nothing is appended. Returns how many nodes were
 * computed; x itself, which is given, does not count. */
int run_again(tape *t, int x, double value)
{
    /* your code */
    UNWRITTEN;
    return 0;
}
