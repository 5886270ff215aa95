/* SPDX-License-Identifier: MIT */
/* 02_backward_sweep.c: the backward sweep, and why fan-out is a sum.
 *
 * The tape of lesson 1: node j has a value v_j, up to two inputs with smaller numbers,
 * and a slope for each. If input k of node j is node i, then dv_j/dv_i is slope[j][k].
 * (Here mul and expo compute both and append writes them down.)
 *
 * How much does the last node y move when x moves? Take y = x x. If one factor alone
 * moves by h, y moves by h x. Both move, so y moves by h (x + x), up to h h. Each factor
 * is a path from x to y. Paths add; along a path slopes multiply (the chain rule):
 *
 *     dy/dx = sum over paths from x to y of  product of slopes on the path
 *
 * A tape of n nodes may have 2^n paths. But all paths that pass through node i have the
 * same ways on from i to y. The sum over those ways is c_i = dy/dv_i, usually called the
 * cotangent of node i. Each way begins with a step to a user of i, a node j that has i as
 * an input. So c_i is a sum over the users, with one term for each place:
 *
 *     c_i = sum over users j of  c_j dv_j/dv_i            c_y = 1
 *
 * Users have larger numbers. So one sweep from the last node to the first is enough: node
 * j adds c_j slope[j][k] to the c of its input k, for both inputs. When the sweep reaches
 * node j, all its users have had their turn, and c_j is whole. That is reverse mode: n
 * steps for n nodes, whatever the number of leaves.
 *
 * A node with several users (fan-out) gets several shares, and they are added. To write
 * the last over the others is the commonest mistake there is. Here x is in three places:
 *
 *     x --+--+------- mul --- mul --- y          dy/dx = x e^x + x e^x + x x e^x
 *         |  +--------'       |
 *         +----- exp ---------'
 *
 * Next, lesson 3: a judge of derivatives that needs no calculus. Needs: lesson 1. */
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

/* What each step of the sweep added. c[j] was whole when node j gave it on. */
static void show_sweep(const tape *t, int y, const double *c)
{
    puts("\nthe sweep: c3 = 1, the others 0; then c of an input += c[j] * slope");
    for (int j = y; j >= 0; j--) {
        printf("j = %d:", j);
        for (int k = 0; k < 2; k++)
            if (t->input[j][k] >= 0)
                printf("   c%d += %.4f * %.4f", t->input[j][k], c[j], t->slope[j][k]);
        puts(t->input[j][0] < 0 ? "   no inputs" : "");
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

/* The same on the library's tape; skip this at first reading. ht_grad is this sweep, and
 * each c is a node as well. The page shows them, and leaves out products with 1: c1 is
 * 1 * e^x, which is node 2 itself, and c2 is node 1. */
static void by_the_library(double at, const char *page)
{
    ht_context *ctx = lesson_context();
    ht_tape *t = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *number = ht_tensor_new(ctx, HT_F64, HT_SCALAR);
    ht_tensor_fill(number, at);
    ht_var x = ht_name(ht_input(t, number), "x");
    ht_var square = ht_mul(x, x), power = ht_exp(x), y = ht_mul(square, power), g;
    ht_grad(ht_name(y, "y"), 1, &x, &g);
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
    int x = leaf(&t, at), square = mul(&t, x, x), power = expo(&t, x);
    int y = mul(&t, square, power);
    backward(&t, y, c);
    puts("y = x x e^x at x = 1.5");
    show(&t, c);
    show_sweep(&t, y, c);
    printf("by hand: dy/dx = (2 x + x x) e^x = %.4f\n", (2 * at + at * at) * exp(at));
    by_the_library(at, page);
    many_paths();
}
