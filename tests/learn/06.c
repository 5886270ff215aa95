/* SPDX-License-Identifier: MIT */
/* A solution of exercise 6, and wrong ones with what is said of each:
 * wrong 1: a tangent of y has the shape of y, 2 by 4
 * wrong 2: shapes that do not fit met in your rule
 * wrong 3: that holds the sum still
 * wrong 4: the sign: y falls when the sum in the denominator grows
 * wrong 5: that is the formula of the vjp; J is not symmetric here
 * wrong 6: x (or y) was read and made a constant
 * wrong 7: <J^T v, u> is a sum over all n inputs; only the first is in it
 * wrong 8: these rules are wrong, and the test has to say so
 * wrong 9: that is the transpose: J has a row for each y
 * wrong 10: 4 sweeps forward and 0 backward came by, and 2 backward do
 * wrong 11: that gives nothing to y
 * wrong 12: rows were put m numbers apart; a row of J has n
 * wrong 13: the 1 of the row or column before is still in the vector
 * wrong 14: of each product only element 0 is in it; v_sum adds them all
 * wrong 15: the sum moves by the sum of u, v_sum(p.v), which is missing
 * wrong 16: x_i is multiplied by its own u_i
 * wrong 17: p.v is dA alone, and the engine adds the answers
 * wrong 18: of v times J u only element 0 is in it
 * wrong 19: of J^T v times u only element 0 is in it
 * wrong 20: that is u y / s; y = x / s moves by two shares
 */
var transposed_jvp(place p)
{
    var a = p.x[0], b = p.x[1];
    if (WRONG == 1 && p.k == 1) return v_matmul(p.v, v_transpose(a));
    if (WRONG == 2) return p.k == 0 ? v_matmul(p.v, b) : v_matmul(a, p.v);
    if (WRONG == 17)
        return v_add(v_matmul(p.v, v_transpose(b)), v_matmul(a, v_transpose(p.v)));
    if (WRONG == 11 && p.k == 1) return zero(p.y);
    return p.k == 0 ? v_matmul(p.v, v_transpose(b)) : v_matmul(a, v_transpose(p.v));
}

var share_jvp(place p)
{
    var y = WRONG == 6 ? constant(p.v.tape, value(p.y)) : p.y;
    var s = v_sum(p.x[0]), moved = v_mul(y, v_sum(p.v));
    if (WRONG == 15) moved = y;
    if (WRONG == 16) moved = v_mul(y, p.v);
    if (WRONG == 3) return v_div(p.v, s);
    if (WRONG == 20) return v_div(v_mul(p.v, y), s);
    if (WRONG == 4) return v_div(v_add(p.v, moved), s);
    if (WRONG == 5) return v_div(v_sub(p.v, v_sum(v_mul(p.v, y))), s);
    return v_div(v_sub(p.v, moved), s);
}

double dot_gap(int n, const var *x, const var *u, var y, var v)
{
    if (WRONG == 8) return 0;
    var ju, g[4];
    jvp(n, x, u, 1, &y, &ju);
    vjp(1, &y, &v, n, x, g);
    double gap =
        *value(WRONG == 14 || WRONG == 18 ? v_mul(v, ju) : v_sum(v_mul(v, ju))).data;
    for (int k = 0; k < (WRONG == 7 ? 1 : n); k++) {
        var product = v_mul(g[k], u[k]);
        gap -= *value(WRONG == 14 || WRONG == 19 ? product : v_sum(product)).data;
    }
    return gap;
}

void jacobian(var x, var y, double *J)
{
    int n = value(x).rows, m = value(y).rows;
    bool forward = WRONG == 10 || n < m;
    double e[8] = {0};
    for (int r = 0; r < (forward ? n : m); r++) {
        for (int i = 0; i < 8 && WRONG != 13; i++) e[i] = 0;
        e[r] = 1;
        var g, one = constant(x.tape, (matrix){forward ? n : m, 1, e});
        if (forward) jvp(1, &x, &one, 1, &y, &g);
        if (!forward) vjp(1, &y, &one, 1, &x, &g);
        for (int i = 0; i < (forward ? m : n); i++)
            J[WRONG == 12  ? (forward ? i * m + r : r * m + i)
              : WRONG == 9 ? (forward ? r * m + i : i * m + r)
                           : (forward ? i * n + r : r * n + i)] = value(g).data[i];
    }
}
