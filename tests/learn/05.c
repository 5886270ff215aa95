/* SPDX-License-Identifier: MIT */
/* A solution of exercise 5, and wrong ones with what is said of each:
 * wrong 1: it is turned round, (P Q)^T = Q^T P^T
 * wrong 2: shapes that do not fit met in your rule
 * wrong 3: element 0 of A is not: yours is 0,
 * wrong 4: V y is the rule of exp; the slope here is y (1 - y)
 * wrong 5: x (or y) was read and made a constant
 * wrong 6: 2 M x is right only where M is symmetric
 * wrong 7: V is missing: what is wanted is dL, not dy
 * wrong 8: V was read and made a constant
 * wrong 9: x stands twice in x^T M x
 * wrong 10: the sign: y rises with x
 * wrong 11: 1 - x stands there
 * wrong 12: has 1 + e^-x squared below: y is missing
 * wrong 13: the slope at element 0 was taken for all
 * wrong 14: that is the shape of B. Is it the answer for p.k = 1?
 * wrong 15: where a row meets a column element by element, both repeat
 * wrong 16: V is one number: v_mul repeats it
 * wrong 17: a number was read from the tape, *value(..).data, which is element 0 only
 * wrong 18: which is element 0 only, and stands for all; give the node p.y to the ops
 */
var transposed_vjp(place p)
{
    var a = p.x[0], b = p.x[1];
    if (WRONG == 1 && p.k == 0) return v_matmul(p.v, v_transpose(b));
    if (WRONG == 2) return p.k == 0 ? v_matmul(p.v, b) : v_matmul(v_transpose(a), p.v);
    if (WRONG == 3) a = constant(a.tape, value(a));
    if (WRONG == 14) p.k = 1 - p.k;
    return p.k == 0 ? v_matmul(b, v_transpose(p.v)) : v_matmul(a, p.v);
}

var sigmoid_vjp(place p)
{
    var y = WRONG == 5 ? constant(p.v.tape, value(p.y)) : p.y;
    if (WRONG == 4) return v_mul(p.v, y);
    var one = number(p.v.tape, 1);
    if (WRONG == 10) return v_mul(p.v, v_mul(y, v_sub(y, one)));
    if (WRONG == 11) return v_mul(p.v, v_mul(y, v_sub(one, p.x[0])));
    if (WRONG == 12) return v_mul(p.v, v_sub(one, y));
    if (WRONG == 17) return v_mul(p.v, v_mul(y, number(p.v.tape, 1 - *value(p.y).data)));
    if (WRONG == 18)
        return v_mul(p.v, v_mul(number(p.v.tape, *value(p.y).data), v_sub(one, y)));
    if (WRONG == 13) y = number(p.v.tape, *value(y).data);
    return v_mul(p.v, v_sub(y, v_mul(y, y)));
}

var quadratic_vjp(place p)
{
    var x = p.x[0], m = p.x[1], v = p.v;
    if (WRONG == 8) v = number(v.tape, *value(v).data);
    var first = v_matmul(m, x), second = v_matmul(v_transpose(m), x);
    if (WRONG == 6) second = first;
    if (WRONG == 9) return v_mul(v, second);
    if (WRONG == 15) return v_mul(v, v_add(first, v_transpose(second)));
    if (WRONG == 16) return v_matmul(v, m);
    if (p.k == 0) return v_mul(v, v_add(first, second));
    var outer = v_matmul(x, v_transpose(x));
    return WRONG == 7 ? outer : v_mul(v, outer);
}
