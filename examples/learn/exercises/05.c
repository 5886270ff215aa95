/* SPDX-License-Identifier: MIT */
/* Exercise 5: a rule emits nodes. Fill the three holes; ./dev learn 5 marks them.
 *
 * Each is the vjp of an op, as in lesson 5: it returns dL/dx of the input p.x[p.k] as a
 * node, with that input's shape. It is told V = dL/dy as p.v, the inputs p.x[0] and
 * p.x[1], and the result p.y. It is written in ops of the engine, which append nodes:
 *
 *     v_add(a, b)  v_sub(a, b)  v_mul(a, b)  v_div(a, b)   element by element; a row, a
 *     v_neg(x)  v_exp(x)                      column or a number repeats where the other
 *     v_matmul(a, b)  v_transpose(x)          is longer; matrix product, transpose
 *     number(p.v.tape, c)                     c as a node, 1 by 1: the ops take no bare
 *                                             C numbers */
#include "mark.h"

#define ENGINE_NO_MAIN
#pragma GCC diagnostic ignored "-Wunused-function"
#include "engine.c"

/* Y = A^T B: A = p.x[0] is k by m, B = p.x[1] is k by p, Y is m by p. */
static void transposed_run(matrix y, const matrix *x)
{
    memset(y.data, 0, (size_t)matrix_size(y) * sizeof(double));
    for (int l = 0; l < x[0].rows; l++)
        for (int i = 0; i < y.rows; i++)
            for (int j = 0; j < y.cols; j++)
                *at(y, i, j) += *at(x[0], l, i) * *at(x[1], l, j);
}

var transposed_vjp(place p)
{
    /* your code */
    UNWRITTEN;
    return p.v;
}

/* y = 1 / (1 + exp(-x)), element by element; x = p.x[0]. */
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

var sigmoid_vjp(place p)
{
    /* your code */
    UNWRITTEN;
    return p.v;
}

/* y = x^T M x, one number: x = p.x[0] is n by 1, M = p.x[1] is n by n and need not be
 * symmetric. */
static void quadratic_run(matrix y, const matrix *x)
{
    *y.data = 0;
    for (int i = 0; i < x[1].rows; i++)
        for (int j = 0; j < x[1].cols; j++)
            *y.data += x[0].data[i] * *at(x[1], i, j) * x[0].data[j];
}

var quadratic_vjp(place p)
{
    /* your code */
    UNWRITTEN;
    return p.v;
}
