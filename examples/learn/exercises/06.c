/* SPDX-License-Identifier: MIT */
/* Exercise 6: forward mode and the dot test. Fill the four holes; ./dev learn 6 marks
 * them.
 *
 * A jvp rule returns, as a node, what the tangent p.v of input p.x[p.k] gives to the
 * tangent of y; it has y's shape. If y has two inputs, the rule is asked about one of
 * them at a time, and the engine adds the answers. The ops to write it in:
 *
 *     v_add(a, b)  v_sub(a, b)  v_mul(a, b)  v_div(a, b)   element by element; a row, a
 *     v_neg(x)  v_exp(x)                      column or a number repeats where the other
 *     number(p.v.tape, c)                     is longer; c as a node, 1 by 1
 *     v_matmul(a, b)  v_transpose(x)          matrix product, transpose
 *     v_sum(x)                                of all elements, 1 by 1 */
#include "mark.h"

#define ENGINE_NO_MAIN
#pragma GCC diagnostic ignored "-Wunused-function"
#include "engine.c"

/* Y = A B^T: A = p.x[0] is m by k, B = p.x[1] is n by k, Y is m by n. Its vjp is right:
 * V B to A, V^T A to B. */
static void transposed_run(matrix y, const matrix *x)
{
    memset(y.data, 0, (size_t)matrix_size(y) * sizeof(double));
    for (int i = 0; i < y.rows; i++)
        for (int j = 0; j < y.cols; j++)
            for (int l = 0; l < x[0].cols; l++)
                *at(y, i, j) += *at(x[0], i, l) * *at(x[1], j, l);
}
static var transposed_vjp(place p)
{
    return p.k == 0 ? v_matmul(p.v, p.x[1]) : v_matmul(v_transpose(p.v), p.x[0]);
}

var transposed_jvp(place p)
{
    /* your code */
    UNWRITTEN;
    return p.v;
}

/* y_i = x_i / (x_1 + .. + x_n): x = p.x[0] and y = p.y are n by 1. Its vjp is right. */
static void share_run(matrix y, const matrix *x)
{
    double sum = 0;
    for (int i = 0; i < y.rows; i++) sum += x->data[i];
    for (int i = 0; i < y.rows; i++) y.data[i] = x->data[i] / sum;
}
static var share_vjp(place p)
{
    return v_div(v_sub(p.v, v_sum(v_mul(p.v, p.y))), v_sum(p.x[0]));
}

var share_jvp(place p)
{
    /* your code */
    UNWRITTEN;
    return p.v;
}

/* The dot test: <v, J u> - <J^T v, u>, a number, for y computed from n inputs x[k]; u[k]
 * has the shape of x[k], v that of y. The left side by jvp(), the right by vjp(). n is at
 * most 4. *value(z).data is the number of a node z that is 1 by 1. */
double dot_gap(int n, const var *x, const var *u, var y, var v)
{
    /* your code */
    UNWRITTEN;
    return 1;
}

/* J[j * n + i] = dy_j/dx_i, for an x of n by 1 and a y of m by 1, by as few calls of
 * jvp() or of vjp() as will do. n = value(x).rows is at most 8, and so is m. */
void jacobian(var x, var y, double *J)
{
    /* your code */
    UNWRITTEN;
}
