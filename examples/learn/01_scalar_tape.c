/* SPDX-License-Identifier: MIT */
/* 01_scalar_tape.c: a tape: arithmetic written down as it is done.
 *
 * To differentiate what a program computed, one has to know what it computed. So each
 * operation also appends a node to a list, the tape. A variable is an int, the number of
 * its node. Node i has its operation; its inputs, nodes a and b with smaller numbers; its
 * value v_i; and a slope for each input: how much v_i moves when this one place moves and
 * the other is held. By first-year calculus,
 *
 *     v_i       dv_i/da   dv_i/db      (a, b: the values v_a, v_b)
 *     a + b     1         1
 *     a b       b         a            x x is one node with x in two places, so it has
 *     e^a       e^a                    two slopes, x and x. Their sum is (x x)' = 2 x.
 *
 * f below multiplies x by itself in a loop, and adds x if that is above 1. At x = 1.5:
 *     x ---+--- mul --- mul --- add --- y        node  op     inputs   value
 *          +----'       |       |                  0   input           x
 *          +------------'       |                  1   mul    0, 0     x x
 *          +--------------------'                  2   mul    1, 0     x x x
 *                                                  3   add    2, 0     x x x + x
 *
 * Only the list is recorded. What C did to make it is not on it:
 *     a loop      its rounds stand one after another, as many as there were
 *     an if       the branch that was taken stands there, the other nowhere
 *     a variable  y = mul(t, y, x) makes a new node; the old one stays as it was
 *     a number    t->value[i], once in a double of C's, has forgotten where it came from
 *
 * The list can be computed again for another x, without C: from the first node to the
 * last, as inputs have smaller numbers. The result is right where C would do the same
 * operations again. It is wrong where C would take the other branch, and where a number
 * went through C. A derivative that is taken from the list is wrong there too.
 *
 * Next, lesson 2: a sweep from the list's end has the derivative. Needs: only C. */
#include "lesson.h"

enum { NODES = 64 };

typedef enum operation { INPUT, ADD, MUL, EXP } operation;

typedef struct tape {
    int n;
    operation op[NODES];
    int input[NODES][2]; /* -1: none */
    double value[NODES], slope[NODES][2];
} tape;

/* Value and slopes of node i from its inputs' values. A leaf keeps what it was given. */
static void compute(tape *t, int i)
{
    const int *in = t->input[i];
    double a = in[0] < 0 ? 0 : t->value[in[0]], b = in[1] < 0 ? 0 : t->value[in[1]];
    double *v = &t->value[i], *slope = t->slope[i];
    if (t->op[i] == ADD) slope[0] = 1, slope[1] = 1, *v = a + b;
    if (t->op[i] == MUL) slope[0] = b, slope[1] = a, *v = a * b;
    if (t->op[i] == EXP) slope[0] = exp(a), *v = slope[0];
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
static int expo(tape *t, int a) { return append(t, EXP, a, -1); }
static int leaf(tape *t, double value)
{
    t->value[t->n] = value;
    return append(t, INPUT, -1, -1);
}

/* The whole list for another x, by nothing but the list. */
static void run_again(tape *t, int x, double value)
{
    t->value[x] = value;
    for (int i = 0; i < t->n; i++) compute(t, i);
}

static void show(const tape *t)
{
    const char *name[] = {"input", "add", "mul", "exp"};
    puts("node  op    inputs    value     slopes");
    for (int i = 0; i < t->n; i++) {
        const int *in = t->input[i];
        printf("%4d  %-6s", i, name[t->op[i]]);
        for (int k = 0; k < 2; k++) printf("%c  ", in[k] < 0 ? ' ' : '0' + in[k]);
        printf("%9.4f", t->value[i]);
        for (int k = 0; k < 2 && in[k] >= 0; k++) printf(" %9.4f", t->slope[i][k]);
        puts("");
    }
}

static int f(tape *t, int x)
{
    int y = x;
    for (int i = 0; i < 2; i++) y = mul(t, y, x);
    return t->value[y] > 1 ? add(t, y, x) : expo(t, y);
}

/* x times a number that C took out of the list: there is no path to x through it. */
static int detached(tape *t, int x) { return mul(t, x, leaf(t, t->value[x])); }

/* What the list says for x = `to` after it was written at 1.5, and what C says there. */
static void compare(const char *what, int (*function)(tape *, int), double to)
{
    tape once = {0}, anew = {0};
    int x = leaf(&once, 1.5), y = function(&once, x);
    run_again(&once, x, to);
    double c = anew.value[function(&anew, leaf(&anew, to))];
    printf("%-22s at x = %.1f: the list %8.4f, C %8.4f\n", what, to, once.value[y], c);
}

/* The same with the library; skip this at first reading. Context: memory. Tensor: array.
 * Eager: an op is computed at once, as here. ht_var: a variable, it names a node. */
static void by_the_library(const char *page)
{
    ht_context *ctx = lesson_context();
    ht_tape *t = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *number = ht_tensor_new(ctx, HT_F64, HT_SCALAR);
    ht_tensor_fill(number, 1.5);
    ht_var x = ht_name(ht_input(t, number), "x"), y = x;
    for (int i = 0; i < 2; i++) y = ht_mul(y, x);
    y = ht_item(y) > 1 ? ht_add(y, x) : ht_exp(y); /* ht_item: C takes a number out */
    printf("\nf by the library: %.4f, %d nodes\n", ht_item(y), (int)ht_tape_nodes(t));
    if (page) ht_tape_write_html(t, page);
    ht_var z[2] = {ht_mul(x, x), ht_mul(x, ht_item(x))}, g[2];
    for (int i = 0; i < 2; i++) ht_grad(z[i], 1, &x, &g[i]); /* dz/dx; how: lesson 2 */
    printf("slope of x x: %.4f; of x times ht_item(x): %.4f; by hand 2 x = 3.0000\n",
           ht_item(g[0]), ht_item(g[1]));
    ht_tape_free(t);
    ht_tensor_free(number);
    ht_context_free(ctx);
}

int main(int argc, char **argv)
{
    const char *page = lesson_page(argc, argv);
    tape t = {0};
    f(&t, leaf(&t, 1.5));
    puts("f at x = 1.5; by hand x x x + x = 4.8750");
    show(&t);
    puts("\nthe list of x = 1.5, computed again");
    compare("f, the same branch", f, 2);
    compare("f, the other branch", f, 0.5);
    compare("x times what was x", detached, 2);
    by_the_library(page);
}
