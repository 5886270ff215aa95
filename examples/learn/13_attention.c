/* SPDX-License-Identifier: MIT */
/* 13_attention.c: attention step by step, and differentiated twice.
 *
 * T rows q_i of Q ask, T rows k_j of K answer, and row j of V is what is to be had there;
 * q_i and k_j have d numbers each. Row i of the output O is a mean of the rows of V, with
 * weights P_ij that are larger where q_i and k_j point the same way:
 *
 *     S = Q K' / sqrt d        scores; K' is K transposed. A product of d numbers of
 *                              deviation 1 has deviation sqrt d: divided away
 *     P = softmax of each row  P_ij = exp(S_ij) / sum_l exp(S_il), so rows sum to 1
 *     O = P V
 *
 *     Q --+
 *         +-- S = Q K'/sqrt d -- (mask) -- P = softmax -- O = P V
 *     K --+                                                 |
 *     V ----------------------------------------------------+
 *
 * A number added to a whole row of S falls out of P. So the row's largest is taken off
 * first, and no exp overflows. A causal mask sets S_ij = -inf for j > i: exp gives 0, and
 * the rest of the row still sums to 1. Row i then sees the rows 0 .. i only.
 *
 * Backwards (lesson 5): given dO, the cotangent of O, that of a product of matrices is
 *
 *     dV = P' dO         dP = dO V'
 *
 * Softmax: raise S_ij, and P_ij grows but all others of its row shrink, as they share 1:
 * dP_il/dS_ij = P_il ((l == j) - P_ij). Summed over l with dP_il, * elementwise,
 *
 *     dS = P * (dP - rowsum(dP * P))       rowsum: of each row, one number for the row
 *     dQ = dS K / sqrt d         dK = dS' Q / sqrt d
 *
 * Each row of dS sums to 0: what falls out of P cannot matter. All this is made of ops,
 * so it can be differentiated again (lesson 7): the product H v of the second derivatives
 * of y = sum(O * W) with a direction v. A fused op, ht_attention, does the same in one
 * node without keeping S or P. It must give the same numbers, twice differentiated too.
 * Next: the transformer block of nn/ is this with linear layers around it. */
#include "lesson.h"

enum { T = 3, D = 2 };
/* x below is the first three, v a direction of each. */
static const char *const name[] = {"Q", "K", "V", "v Q", "v K", "v V", "W"};

typedef struct steps {
    ht_var s, p, o;
} steps;

static steps by_steps(const ht_var *x, bool causal)
{
    ht_var s = ht_mul(ht_matmul(x[0], ht_transpose(x[1])), 1 / sqrt(D));
    if (causal) s = ht_tril(s, 0, -INFINITY); /* above the diagonal */
    ht_var e = ht_exp(ht_sub(s, ht_max_axes(s, HT_AXES(-1), true)));
    ht_var p = ht_div(e, ht_sum_axes(e, HT_AXES(-1), true)); /* (T, T) by (T, 1) */
    return (steps){s, p, ht_matmul(p, x[2])};
}

/* The sweep on paper, from dO to dQ, dK, dV. */
static void on_paper(const ht_var *x, ht_var p, ht_var d_out, ht_var *dx)
{
    ht_var dp = ht_matmul(d_out, ht_transpose(x[2]));
    ht_var fallen = ht_sum_axes(ht_mul(dp, p), HT_AXES(-1), true);
    ht_var ds = ht_mul(p, ht_sub(dp, fallen));
    dx[0] = ht_mul(ht_matmul(ds, x[1]), 1 / sqrt(D));
    dx[1] = ht_mul(ht_matmul(ht_transpose(ds), x[0]), 1 / sqrt(D));
    dx[2] = ht_matmul(ht_transpose(p), d_out);
}

static double at(ht_var x, int64_t i)
{
    return round(ht_tensor_get(ht_value(x), i) * 1e4) / 1e4 + 0.0; /* no -0.0000 */
}

static void beside(const char *what, ht_var a, ht_var b)
{
    for (int64_t i = 0; i < T; i++) {
        printf("%-4s", i ? "" : what);
        for (int k = 0; k < 2; k++) {
            int64_t n = ht_var_shape(k ? b : a).dim[1];
            for (int64_t j = 0; j < n; j++) printf(" %8.4f", at(k ? b : a, i * n + j));
            fputs(k ? "\n" : "    |", stdout);
        }
    }
}

static ht_var output(const ht_var *x, bool causal, bool fused)
{
    return fused ? ht_attention(x[0], x[1], x[2], HT_ZERO, causal)
                 : by_steps(x, causal).o;
}

/* H v of y = sum(O * W), all three parts, step by step beside fused. */
static void twice(const ht_var *x, const ht_var *v, ht_var w, bool causal)
{
    ht_var hv[2][3];
    for (int fused = 0; fused < 2; fused++)
        ht_hvp(ht_sum(ht_mul(output(x, causal, fused), w)), 3, x, v, hv[fused]);
    for (int i = 0; i < 3; i++) beside(name[i], hv[0][i], hv[1][i]);
}

/* (dy(x + h v) - dy(x - h v)) / 2h: what H v is, by differences of first derivatives. */
static void by_differences(const ht_var *x, const ht_var *v, ht_var w)
{
    ht_var dy[2][3], moved[3];
    for (int side = 0; side < 2; side++) {
        for (int i = 0; i < 3; i++)
            moved[i] = ht_add(x[i], ht_mul(v[i], side ? 1e-4 : -1e-4));
        ht_grad(ht_sum(ht_mul(output(moved, false, true), w)), 3, moved, dy[side]);
    }
    ht_var hv = ht_div(ht_sub(dy[1][0], dy[0][0]), 2e-4);
    printf("Q by differences, its first row: %.4f %.4f\n", at(hv, 0), at(hv, 1));
}

static void show(const ht_var *x, const ht_var *v, ht_var w)
{
    steps a = by_steps(x, false);
    ht_var paper[3], tape[3], o = output(x, false, true);
    puts("scores S | weights P, whose rows sum to 1");
    beside("", a.s, a.p);
    puts("output by steps | by ht_attention");
    beside("O", a.o, o);
    puts("the sweep on paper | ht_vjp through ht_attention, for dO = W");
    on_paper(x, a.p, w, paper);
    ht_vjp(1, &o, &w, 3, x, tape);
    for (int i = 0; i < 3; i++) beside(name[i], paper[i], tape[i]);
    puts("H v by steps | of ht_attention");
    twice(x, v, w, false);
    by_differences(x, v, w);
    puts("with the causal mask: P, in which row i sees 0 .. i | O by ht_attention");
    beside("", by_steps(x, true).p, output(x, true, true));
    puts("and its H v by steps | of ht_attention; the first row of Q chooses nothing");
    twice(x, v, w, true);
}

int main(int argc, char **argv)
{
    const char *page = lesson_page(argc, argv);
    ht_context *ctx = lesson_context();
    ht_tape *t = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *number[7];
    ht_var x[7];
    for (int i = 0; i < 7; i++) {
        number[i] = ht_tensor_new(ctx, HT_F64, HT_SHAPE(T, D));
        ht_tensor_normal(number[i], (uint64_t)i, 0, 1);
        x[i] = ht_name(ht_input(t, number[i]), name[i]);
    }
    show(x, x + 3, x[6]);
    if (page) ht_tape_write_html(t, page);
    ht_tape_free(t);
    for (int i = 0; i < 7; i++) ht_tensor_free(number[i]);
    ht_context_free(ctx);
}
