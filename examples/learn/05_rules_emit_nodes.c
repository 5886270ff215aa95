/* SPDX-License-Identifier: MIT */
/* 05_rules_emit_nodes.c: a rule emits nodes: the backward step of a matrix product.
 *
 * (Needs lesson 2. First read engine.c, beside this file, half an hour: section 2; of 3
 * exp and matmul; of 4 vjp() and grad(). Skip what says jvp, and sections 5 to 8.) The
 * tape is lesson 2's but for four things. A value is a matrix. A variable is a struct: a
 * tape and a node's number. A node has no slopes: it points to its op, which has rules.
 *
 *     struct op     {name; number of inputs; rules vjp and jvp; run or f1, to compute y}
 *     struct place  {inputs x[0], x[1]; result y; v = dL/dy; k: about which x[k]}
 *     vjp()         d[i] is dL/d(node i), a node. From the last node i to the first, for
 *                   each input k of node i:   d[input k] += rule(place of i, d[i], k)
 *
 * L is one number, computed somewhere from a matrix Y. V = dL/dY has the shape of Y: V_ij
 * = dL/dY_ij. <P, Q> is the sum over all i, j of P_ij Q_ij. So a small change dY changes
 * L by dL = <V, dY>. The rule of an op makes from V the derivative of L by an input. It
 * is called the *vjp*: vector (V) times Jacobian (all slopes; a table nobody makes). Take
 * Y = A B, (m x p) = (m x k) (k x p). Hold B still and move A, then the other way round:
 *
 *     dL = <V, dA B> = sum over i, j, l of V_ij dA_il B_lj
 *     dL = <V, A dB> = sum over i, j, l of V_ij A_il dB_lj
 *
 * Gather what stands beside dA_il: the sum over j of V_ij B_lj. Its indices are i and l;
 * it is element i, l of V B^T. Beside dB_lj stands the sum over i of A_il V_ij. So
 *
 *     dL/dA = V B^T   (m x p)(p x k)        dL/dB = A^T V   (k x m)(m x p)
 *
 * (Where m, k and p differ, only this product fits.) So too y = exp x has dL/dx = v y,
 * element by element; and y = x x, where x stands twice, has two shares, v x + v x.
 *
 * A rule does not compute V B^T. It *appends nodes* for it: a transpose and a matmul. So
 * the gradient stands on the tape, made of A and B by ops that have rules. Therefore it
 * has a gradient itself, and nobody had to write it. A number would have none:
 *
 *     y = exp x   x --- exp --- y                  x --- exp --- y
 *                               |                                (read: 1.6487)
 *     dy/dx            v ---- mul --- g                 v ---- mul --- g
 *                      g = v y: made of x              g = 1.6487 v: a constant
 *
 * Both g are right. But on the right no path leads from g back to x (g is *detached*):
 * dg/dx is 0. In a larger net one path of many is cut: then the second derivative is not
 * 0 but wrong, and no check of first derivatives can tell. Next: lesson 6, forward. */
#include "lesson.h"

#define ENGINE_NO_MAIN /* only its functions, not all of which are used here */
#pragma GCC diagnostic ignored "-Wunused-function"
#include "engine.c"

/* Y = A B, with its vjp as it should be. */
static var product_vjp(place p)
{
    return p.k == 0 ? v_matmul(p.v, v_transpose(p.x[1]))
                    : v_matmul(v_transpose(p.x[0]), p.v);
}
static const op op_product = {"product", 2, product_vjp, NULL, .run = matmul_run};

/* The same numbers; but A and B are read by value(), and put back as constants. (Those
 * have no inputs, so they are told the tape.) */
static var detached_vjp(place p)
{
    var a = constant(p.v.tape, value(p.x[0])), b = constant(p.v.tape, value(p.x[1]));
    return p.k == 0 ? v_matmul(p.v, v_transpose(b)) : v_matmul(v_transpose(a), p.v);
}
static const op op_detached = {"product", 2, detached_vjp, NULL, .run = matmul_run};

/* y = exp x with a rule that reads a number. */
static var cut_vjp(place p) { return v_mul(p.v, constant(p.v.tape, value(p.y))); }
static const op op_cut_exp = {"exp", 1, cut_vjp, NULL, .f1 = exp};

static void second_of_exp(const char *name, const op *f)
{
    double half = 0.5;
    tape *t = tape_new();
    var x = input(t, (matrix){1, 1, &half}), y = unary(f, x), g, gg;
    grad(y, 1, &x, &g);
    int first = t->n;
    grad(g, 1, &x, &gg);
    printf("%s: y = %.4f, dy/dx = %.4f, d2y/dx2 = %.4f\n", name, *value(y).data,
           *value(g).data, *value(gg).data);
    const char *role[] = {"(x)", "(y)", "(v)", "(read)"};
    for (int i = 0; i < first; i++) {
        const node *n = &t->nodes[i];
        printf("   %d  %-7s %s", i, i == g.index ? "(g)" : role[i], n->op->name);
        for (int k = 0; k < n->op->n_in; k++) printf(" %d", n->x[k]);
        puts("");
    }
    tape_free(t);
}

static double a_data[] = {.5, -1, 2, 1, .3, -.7}, b_data[] = {1, .2, -.4, .6, .9, -.3};

/* L = sum of exp(A B), by an op for the product. A is 2 by 3, B 3 by 2; h is added to all
 * elements of B. Gives dL/dA, and returns the sum of its elements. How fast that moves
 * with h is a second derivative: the sum of its gradient by B. */
static double differentiate(const op *f, double h, double *dA, double *second)
{
    double raised[6];
    for (int i = 0; i < 6; i++) raised[i] = b_data[i] + h;
    tape *t = tape_new();
    var a = input(t, (matrix){2, 3, a_data}), b = input(t, (matrix){3, 2, raised}), g, gg;
    grad(v_sum(v_exp(append(t, f, shape(2, 2), a, b))), 1, &a, &g);
    grad(v_sum(g), 1, &b, &gg);
    memcpy(dA, value(g).data, 6 * sizeof *dA);
    *second = *value(v_sum(gg)).data;
    double sum = *value(v_sum(g)).data;
    tape_free(t);
    return sum;
}

static void second_of_product(void)
{
    double dA[6], second, h = 1e-5;
    puts("\nL = sum of exp(A B)");
    for (int k = 0; k < 2; k++) {
        differentiate(k ? &op_detached : &op_product, 0, dA, &second);
        printf("%-7s  dL/dA", k ? "numbers" : "nodes");
        for (int i = 0; i < 6; i++) printf(" %8.4f", dA[i]);
        printf("\n         its sum moves with h by %.4f\n", second);
    }
    double up = differentiate(&op_product, h, dA, &second);
    double down = differentiate(&op_product, -h, dA, &second);
    printf("by differences (lesson 3) %.4f\n", (up - down) / (2 * h));
}

/* The library's rules emit nodes too: its page shows L, dL/dA, and what is made of it. */
static void by_the_library(const char *page)
{
    ht_context *ctx = lesson_context();
    ht_tape *t = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *at[] = {ht_tensor_wrap(ctx, HT_F64, HT_SHAPE(2, 3), a_data),
                       ht_tensor_wrap(ctx, HT_F64, HT_SHAPE(3, 2), b_data)};
    ht_var a = ht_name(ht_input(t, at[0]), "A"), b = ht_name(ht_input(t, at[1]), "B");
    ht_var g, gg;
    ht_grad(ht_name(ht_sum(ht_exp(ht_matmul(a, b))), "L"), 1, &a, &g);
    ht_grad(ht_sum(ht_name(g, "dL/dA")), 1, &b, &gg);
    printf("by the library            %.4f\n", ht_item(ht_sum(gg)));
    if (page) ht_tape_write_html(t, page);
    ht_tape_free(t);
    for (int k = 0; k < 2; k++) ht_tensor_free(at[k]);
    ht_context_free(ctx);
}

int main(int argc, char **argv)
{
    const char *page = lesson_page(argc, argv);
    second_of_exp("exp, its rule emits nodes", &op_exp);
    second_of_exp("exp, its rule reads a number", &op_cut_exp);
    second_of_product();
    by_the_library(page);
}
