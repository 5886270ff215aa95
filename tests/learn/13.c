/* SPDX-License-Identifier: MIT */
/* A solution of exercise 13, and wrong ones with what is said of each:
 * wrong 1: 1 / sqrt d is missing
 * wrong 2: divide by sqrt d, not by d
 * wrong 3: that is the softmax of the columns: axis -1 goes along a row
 * wrong 4: exp overflows; take the largest of each row off first
 * wrong 5: rowsum(dP * P) is missing: a weight that grows makes the others
 * wrong 6: the sum is of a row, not of a column
 * wrong 7: the factor P before the bracket is missing
 * wrong 8: P is masked after the softmax, and its rows no longer sum to 1: mask S
 * wrong 9: row i sees row i + 1 too: the diagonal of ht_tril is 0
 * wrong 10: there is no mask: row i sees the rows after it too
 * wrong 11: its whole row became 0; take off the largest of each row, not
 * wrong 12: exp overflows: what is taken off is the largest of the row, not its first
 * wrong 13: d is not 5 here: ask ht_var_shape(q).dim[1]
 * wrong 14: d is not 3 here: it is how many columns q has
 * wrong 15: it still sees them. Fill with -INFINITY
 */
ht_var scores(ht_var q, ht_var k)
{
    double d = (double)ht_var_shape(q).dim[1];
    double by = WRONG == 1 ? 1 : WRONG == 2 ? d : sqrt(WRONG == 13 ? 5 : d);
    return ht_div(ht_matmul(q, ht_transpose(k)), by);
}

ht_var softmax(ht_var s)
{
    ht_axes axis = WRONG == 3 ? HT_AXES(0) : HT_AXES(-1);
    ht_axes all = WRONG == 11 ? HT_AXES(0, 1) : axis;
    ht_var off = WRONG == 12 ? ht_slice(s, 1, 0, 1, 1) : ht_max_axes(s, all, true);
    ht_var e = ht_exp(WRONG == 4 ? s : ht_sub(s, off));
    return ht_div(e, ht_sum_axes(e, axis, true));
}

ht_var softmax_vjp(ht_var p, ht_var dp)
{
    ht_axes axis = WRONG == 6 ? HT_AXES(0) : HT_AXES(-1);
    ht_var inside = ht_sub(dp, ht_sum_axes(ht_mul(dp, p), axis, true));
    if (WRONG == 5) inside = dp;
    return WRONG == 7 ? inside : ht_mul(p, inside);
}

ht_var causal_attention(ht_var q, ht_var k, ht_var v)
{
    double d = WRONG == 14 ? 3 : (double)ht_var_shape(q).dim[1];
    ht_var s = ht_div(ht_matmul(q, ht_transpose(k)), sqrt(d));
    if (WRONG == 8) return ht_matmul(ht_tril(ht_softmax(s), 0, 0), v);
    if (WRONG != 10) s = ht_tril(s, WRONG == 9, WRONG == 15 ? -30 : -INFINITY);
    return ht_matmul(ht_softmax(s), v);
}
