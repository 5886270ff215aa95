/* SPDX-License-Identifier: MIT */
/* 02_backward_sweep.c: the backward sweep, and why fan-out is a sum.
 *
 * The tape of lesson 1: node i has a value v_i, inputs a and b with smaller numbers, and
 * the slopes dv_i/da and dv_i/db, known when the node is made. (Here who appends a node
 * says them; nothing is computed again.) What moves the last node y when x moves? Every
 * path from x to y does, and each contributes the product of the slopes along it:
 *
 *     dy/dx = sum over paths from x to y of  product of slopes on the path
 *
 * There may be 2^n paths in a tape of n nodes. But they share their ends. Call
 * c_i = dy/dv_i the cotangent of node i. It is the sum over the users j of i,
 *
 *     c_i = sum over users j of  c_j dv_j/dv_i            c_y = 1
 *
 * Users have larger numbers. So one sweep from the last node to the first, in which node
 * j gives c_j dv_j/da to its input a and c_j dv_j/db to b, has each c_j whole before it
 * is given on. That is reverse mode: n steps for n nodes, whatever the number of inputs.
 *
 * A node with several users (fan-out) is given several shares. They are added; to write
 * the last over the others is the commonest mistake there is. Here y = x x e^x has the
 * node x three times:
 *
 *     x --+--+------- mul --- mul --- y          dy/dx = x e^x + x e^x + x x e^x
 *         |  +--------'       |
 *         +----- exp ---------'
 */
#include "lesson.h"

enum { NODES = 64 };

typedef struct tape {
    int n;
    double value[NODES], slope[NODES][2]; /* dv/d of input 0 and 1 */
    int input[NODES][2];                  /* -1: none */
    const char *op[NODES];
} tape;

static int append(tape *t, const char *op, double value, int a, double da, int b,
                  double db)
{
    int i = t->n++;
    t->op[i] = op;
    t->value[i] = value;
    t->input[i][0] = a, t->slope[i][0] = da;
    t->input[i][1] = b, t->slope[i][1] = db;
    return i;
}

static int leaf(tape *t, double x) { return append(t, "input", x, -1, 0, -1, 0); }

static int mul(tape *t, int a, int b)
{
    return append(t, "mul", t->value[a] * t->value[b], a, t->value[b], b, t->value[a]);
}

static int expo(tape *t, int a)
{
    double y = exp(t->value[a]);
    return append(t, "exp", y, a, y, -1, 0);
}

/* c[i] = dy/dv_i for every node: zero for those y does not depend on. */
static void backward(const tape *t, int y, double *c)
{
    for (int i = 0; i < t->n; i++) c[i] = 0;
    c[y] = 1;
    for (int j = y; j >= 0; j--)
        for (int k = 0; k < 2; k++)
            if (t->input[j][k] >= 0) c[t->input[j][k]] += c[j] * t->slope[j][k];
}

static void show(const tape *t, const double *c)
{
    puts("node  op     inputs      value    cotangent");
    for (int i = 0; i < t->n; i++) {
        char inputs[24] = "";
        if (t->input[i][1] >= 0)
            snprintf(inputs, sizeof inputs, "%d, %d", t->input[i][0], t->input[i][1]);
        else if (t->input[i][0] >= 0)
            snprintf(inputs, sizeof inputs, "%d", t->input[i][0]);
        printf("%4d  %-5s  %-8s %8.4f %12.4f\n", i, t->op[i], inputs, t->value[i], c[i]);
    }
}

/* Squaring n times makes x^(2^n): 2^n paths, n nodes, one sweep. */
static void many_paths(void)
{
    tape t = {0};
    double c[NODES];
    int y = leaf(&t, 1.0000001), x = y;
    for (int i = 0; i < 20; i++) y = mul(&t, y, y);
    backward(&t, y, c);
    printf("\n20 squarings: %d nodes, %d paths, dy/dx = %.4f; by hand %.4f\n", t.n,
           1 << 20, c[x], (1 << 20) * pow(t.value[x], (1 << 20) - 1));
}

/* The same on the library's tape: ht_grad is this sweep, and its page shows it. */
static void by_the_library(double at, const char *page)
{
    ht_context *ctx = lesson_context();
    ht_tape *t = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *number = ht_tensor_new(ctx, HT_F64, HT_SCALAR);
    ht_tensor_fill(number, at);
    ht_var x = ht_name(ht_input(t, number), "x"), g;
    ht_var y = ht_name(ht_mul(ht_mul(x, x), ht_exp(x)), "y");
    ht_grad(y, 1, &x, &g);
    printf("by the library: y = %.4f, dy/dx = %.4f\n", ht_item(y), ht_item(g));
    if (page) ht_tape_write_html(t, page);
    ht_tape_free(t);
    ht_tensor_free(number);
    ht_context_free(ctx);
}

int main(int argc, char **argv)
{
    const char *page = lesson_page(argc, argv);
    tape t = {0};
    double c[NODES], at = 1.5;
    int x = leaf(&t, at), square = mul(&t, x, x), y = mul(&t, square, expo(&t, x));
    backward(&t, y, c);
    puts("y = x x e^x at x = 1.5");
    show(&t, c);
    printf("by hand: dy/dx = (2 x + x x) e^x = %.4f\n", (2 * at + at * at) * exp(at));
    by_the_library(at, page);
    many_paths();
}
