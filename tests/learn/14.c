/* SPDX-License-Identifier: MIT */
/* A solution of exercise 14, and wrong ones with what is said of each:
 * wrong 1: p is the new r alone
 * wrong 2: the factor of p is upside down
 * wrong 3: what is left falls by a H p, not by a p
 * wrong 4: NaN is 0 / 0: end when r'r is 0
 * wrong 5: that is M v: M stands transposed
 * wrong 6: v was differentiated too: it is a cotangent
 * wrong 7: the sign before M' v: H dw/deta + M = 0
 * wrong 8: @F/@eta is missing: F depends on eta itself too
 * wrong 9: that is with M' b: H v = b is to be solved
 * wrong 10: a step is missing: 3 numbers take 3 steps
 * wrong 11: each p is to be conjugate to those before
 * wrong 12: a step for each number of w
 * wrong 13: @F/@eta is not 0.6 eta for every F
 * wrong 14: M' v has shape (3, 1), and (2, 1) is right
 */
ht_var solve(ht_var loss, ht_var w, ht_var b)
{
    ht_var v = ht_mul(b, 0), r = b, p = b, hp;
    int64_t n = WRONG == 12 ? 3 : ht_var_shape(w).dim[0];
    for (int k = 0; k < 2000 && WRONG == 11; k++) { /* descent of v'Hv / 2 - b'v */
        ht_hvp(loss, 1, &w, &v, &hp);
        v = ht_add(v, ht_mul(ht_sub(b, hp), 0.2));
    }
    if (WRONG == 11) return v;
    double left = ht_item(ht_sum(ht_mul(r, r)));
    for (int k = WRONG == 10; k < n && (left > 1e-30 || WRONG == 4); k++) {
        ht_hvp(loss, 1, &w, &p, &hp);
        double a = left / ht_item(ht_sum(ht_mul(p, hp))), before = left;
        v = ht_add(v, ht_mul(p, a));
        r = ht_sub(r, ht_mul(WRONG == 3 ? p : hp, a));
        left = ht_item(ht_sum(ht_mul(r, r)));
        double turn = WRONG == 1 ? 0 : WRONG == 2 ? before / left : left / before;
        p = ht_add(r, ht_mul(p, turn));
    }
    return v;
}

ht_var mixed(ht_var g, ht_var eta, ht_var v)
{
    ht_var to;
    if (WRONG == 5)
        ht_jvp(1, &eta, &v, 1, &g, &to);
    else if (WRONG == 6)
        ht_grad(ht_sum(ht_mul(g, v)), 1, &eta, &to);
    else
        ht_vjp(1, &g, &v, 1, &eta, &to);
    if (WRONG == 14 && ht_var_shape(eta).dim[0] < ht_var_shape(v).dim[0]) return v;
    return to;
}

ht_var hypergradient(ht_var L, ht_var F, ht_var w, ht_var eta)
{
    ht_var g, b, direct;
    ht_grad(L, 1, &w, &g);
    ht_grad(F, 1, &w, &b);
    ht_grad(F, 1, &eta, &direct);
    if (WRONG == 13) direct = ht_mul(eta, 0.6);
    ht_var way = mixed(g, eta, WRONG == 9 ? b : solve(L, w, b));
    if (WRONG == 8) return ht_neg(way);
    return WRONG == 7 ? ht_add(direct, way) : ht_sub(direct, way);
}
