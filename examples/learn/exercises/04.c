/* SPDX-License-Identifier: MIT */
/* Exercise 4: strides and broadcasting. Fill the four holes; ./dev learn 4 marks them.
 *
 * view, count, element and broadcast are lesson 4's. A view that is given to a hole may
 * have strides of any kind: reach its numbers by element(), and make no arrays. */
#include "mark.h"

enum { AXES = 4 };

typedef struct view {
    double *first;
    int rank; /* how many axes; a single number has none */
    int dim[AXES], stride[AXES];
} view;

static int count(view x)
{
    int n = 1;
    for (int k = 0; k < x.rank; k++) n *= x.dim[k];
    return n;
}

/* Element number e, counted row after row, wherever it is. */
static double *element(view x, int e)
{
    double *p = x.first;
    for (int k = x.rank - 1; k >= 0; k--) {
        int i = e % x.dim[k];
        p += i * x.stride[k], e /= x.dim[k];
    }
    return p;
}

/* x in the shape of `like`. */
static view broadcast(view x, view like)
{
    view y = {.first = x.first, .rank = like.rank};
    for (int k = 1; k <= like.rank; k++) {
        int to = like.rank - k, from = x.rank - k;
        y.dim[to] = like.dim[to];
        y.stride[to] = from < 0 || x.dim[from] == 1 ? 0 : x.stride[from];
    }
    return y;
}

/* The same numbers with their axes in another order: axis k of the result is axis axes[k]
 * of x, for k < x.rank; each axis is there once. (transpose: axes 1, 0.) */
view permute(view x, const int *axes)
{
    view y = x;
    /* your code */
    UNWRITTEN;
    return y;
}

/* The next three go back: from v = dL/dy to dL/dx. Here y is x broadcast to v's shape. dx
 * has x's shape: writes dL/dx to dx, whatever it held before. */
void broadcast_back(view dx, view v)
{
    /* your code */
    UNWRITTEN;
}

/* y has the mean of x over some axes, which stay with side 1: v's shape, like (2, 1) of
 * (2, 3). dx has x's shape and v is dL/dy: writes dL/dx to dx. */
void mean_back(view dx, view v)
{
    /* your code */
    UNWRITTEN;
}

/* y_e = a_e b_e, with a and b both broadcast to y's shape, which is v's, and v is dL/dy.
 * da has a's shape: writes dL/da to da, whatever it held before. */
void mul_back(view da, view b, view v)
{
    /* your code */
    UNWRITTEN;
}
