/* SPDX-License-Identifier: MIT */
/* 05_rules_emit_nodes.c: a rule emits nodes: the backward step of a matrix product.
 *
 * Nodes are matrices now. L is one number, computed somewhere from Y. V = dL/dY has the
 * shape of Y: V_ij = dL/dY_ij. With <P, Q> = sum over i, j of P_ij Q_ij, a small change
 * of Y changes L by dL = <V, dY>. The *vjp* of an op (vector times Jacobian) says what V
 * becomes at its inputs. For Y = A B, (m x p) = (m x k) (k x p), hold B, then A:
 *
 *     dL = <V, dA B> = sum over i, j, l of V_ij dA_il B_lj = <V B^T, dA>
 *     dL = <V, A dB> = sum over i, j, l of V_ij A_il dB_lj = <A^T V, dB>
 *
 *     so  dL/dA = V B^T   (m x p)(p x k)        dL/dB = A^T V   (k x m)(m x p)
 *
 * The shapes decide: where m, k and p differ, there is no other product of V and B, or
 * one of them transposed, that has A's shape. In the same way, element by element,
 * y = exp x has dL/dx = v y. Where an input stands twice in a formula, as in y = x x, its
 * rule adds both shares: v x + v x.
 *
 * The sweep of lesson 2 kept slopes as numbers. Here a rule is a function that *appends
 * nodes*: for V B^T a transpose and a matmul. The gradient stands on the tape like what
 * it is the gradient of, computed from A and B by the ops there are, which have rules.
 * So it has a gradient itself, and nobody wrote one. With a number it would have none:
 *
 *     y = exp x   x --- exp --- y                  x --- exp --- y
 *                               |                                (read: 1.6487)
 *     dy/dx            v ---- mul --- g                 v ---- mul --- g
 *                      g = v y: made of x              g = 1.6487 v: a constant
 *
 * Both g are right. But on the right the path from g back to x is cut (*detached*), and
 * dg/dx is 0. In a larger net one path of many is cut: the second derivative is then not
 * 0 but wrong, and no check of first derivatives can tell.
 *
 * The engine is engine.c beside this file: sections 2 (tape, op, place), 3 (ops) and 4
 * (vjp, grad). A rule is told the node's inputs p.x[0] and p.x[1], its result p.y, V as
 * p.v, and which input, p.k, it is about. It needs lesson 2; lesson 6 goes forward. */
#include "lesson.h"

#define ENGINE_NO_MAIN
#pragma GCC diagnostic ignored "-Wunused-function" /* training, which comes in lesson 9 */
#include "engine.c"

/* Y = A B, with its vjp as it should be. */
static var product_vjp(place p)
{
    return p.k == 0 ? v_matmul(p.v, v_transpose(p.x[1]))
                    : v_matmul(v_transpose(p.x[0]), p.v);
}
static const op op_product = {"product", 2, product_vjp, NULL, .run = matmul_run};

/* The same numbers, but A and B are read by value() and put back as constants. */
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
    for (int i = 0; i < first; i++) {
        const node *n = &t->nodes[i];
        printf("   %d  %s", i, n->op->name);
        for (int k = 0; k < n->op->n_in; k++) printf(" %d", n->x[k]);
        printf("%s\n", i == y.index ? "  (y)" : i == g.index ? "  (g)" : "");
    }
    tape_free(t);
}

static double a_data[] = {.5, -1, 2, 1, .3, -.7}, b_data[] = {1, .2, -.4, .6, .9, -.3};

/* L = sum of exp(A B), by an op for the product; A is 2 by 3; all of B, 3 by 2, is raised
 * by h. dL/dA; the sum of its elements; and how fast that moves with h, which is a second
 * derivative: the sum of its gradient by B. */
typedef struct result {
    double a[6], sum, second;
} result;
static result differentiate(const op *f, double h)
{
    result r;
    double raised[6];
    for (int i = 0; i < 6; i++) raised[i] = b_data[i] + h;
    tape *t = tape_new();
    var a = input(t, (matrix){2, 3, a_data}), b = input(t, (matrix){3, 2, raised}), g, gg;
    grad(v_sum(v_exp(append(t, f, shape(2, 2), a, b))), 1, &a, &g);
    grad(v_sum(g), 1, &b, &gg);
    memcpy(r.a, value(g).data, sizeof r.a);
    r.sum = *value(v_sum(g)).data;
    r.second = *value(v_sum(gg)).data;
    tape_free(t);
    return r;
}

static void print(const char *name, result r)
{
    printf("%-7s  dL/dA", name);
    for (int i = 0; i < 6; i++) printf(" %8.4f", r.a[i]);
    printf("\n         its sum moves with B by %.4f\n", r.second);
}

static void second_of_product(void)
{
    double h = 1e-5, plus = differentiate(&op_product, h).sum;
    double minus = differentiate(&op_product, -h).sum;
    puts("\nL = sum of exp(A B)");
    print("nodes", differentiate(&op_product, 0));
    print("numbers", differentiate(&op_detached, 0));
    printf("by differences (lesson 3) %.4f\n", (plus - minus) / (2 * h));
}

/* The library's rules emit nodes too: its page shows L, dL/dA, and what is made of it. */
static void by_the_library(const char *page)
{
    ht_context *ctx = lesson_context();
    ht_tape *t = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *a_value = ht_tensor_wrap(ctx, HT_F64, HT_SHAPE(2, 3), a_data);
    ht_tensor *b_value = ht_tensor_wrap(ctx, HT_F64, HT_SHAPE(3, 2), b_data);
    ht_var a = ht_name(ht_input(t, a_value), "A"), b = ht_name(ht_input(t, b_value), "B");
    ht_var g, gg;
    ht_grad(ht_name(ht_sum(ht_exp(ht_matmul(a, b))), "L"), 1, &a, &g);
    ht_grad(ht_sum(ht_name(g, "dL/dA")), 1, &b, &gg);
    printf("by the library            %.4f\n", ht_item(ht_sum(gg)));
    if (page) ht_tape_write_html(t, page);
    ht_tape_free(t);
    ht_tensor_free(a_value);
    ht_tensor_free(b_value);
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
