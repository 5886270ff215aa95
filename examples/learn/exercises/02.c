/* SPDX-License-Identifier: MIT */
/* Exercise 2: the backward sweep. Fill the two holes; ./dev learn 2 marks them.
 *
 * The tape is lesson 2's: node i has a value, up to two inputs with smaller numbers, and
 * a slope for each, dv_i/d input. */
#include "mark.h"

enum { NODES = 64 };

typedef struct tape {
    int n;
    double value[NODES], slope[NODES][2]; /* dv/d of input 0 and 1 */
    int input[NODES][2];                  /* -1: none */
} tape;

static int append(tape *t, double value, int a, double da, int b, double db)
{
    int i = t->n++;
    t->value[i] = value;
    t->input[i][0] = a, t->slope[i][0] = da;
    t->input[i][1] = b, t->slope[i][1] = db;
    return i;
}

static int leaf(tape *t, double x) { return append(t, x, -1, 0, -1, 0); }

/* a and b are numbers of nodes. Appends the node a / b, with its value, its inputs a and
 * b and its slope by each, and returns its number. */
int divide(tape *t, int a, int b)
{
    /* your code */
    UNWRITTEN;
    return append(t, 0, a, 0, b, 0);
}

/* Several results at once. Let
 *     L = seed[0] v_(y[0]) + seed[1] v_(y[1]) + ... + seed[n-1] v_(y[n-1])
 * where y[k] are numbers of nodes; L is no node itself. Writes c[i] = dL/dv_i for each of
 * the t->n nodes, 0 for what L does not depend on. Nothing is known of c before. The y[k]
 * come in any order; one may be there twice, or be an input of another. With n = 1 and
 * seed[0] = 1 it is the sweep of the lesson. */
void backward(const tape *t, int n, const int *y, const double *seed, double *c)
{
    /* your code */
    UNWRITTEN;
    for (int i = 0; i < t->n; i++) c[i] = 0;
}
