/* SPDX-License-Identifier: MIT */
/* A solution of exercise 10, and wrong ones with what is said of each:
 * wrong 1: the sign: theta' has - rate g in it
 * wrong 2: the rate is missing: g stands in theta' as rate g
 * wrong 3: its share is a sum, ht_sum
 * wrong 4: to which v comes unchanged: v is missing
 * wrong 5: that is the tangent along v; it is to be along d_g
 * wrong 6: that is dL/dw itself, l_i; its tangent along d_g is wanted
 * wrong 7: w has a tangent too; only theta has one
 * wrong 8: the sum begins with F's derivative by w, theta_T held still, not with 0
 * wrong 9: w's way through the training is counted twice
 * wrong 10: they are added, the last is not to be written over the others
 * wrong 11: it is theta_t, the state before
 * wrong 12: every step was given dF/dtheta_T
 * wrong 13: the sign: theta' falls by rate g, so the slope is -g
 * wrong 14: d_w is HT_ZERO, nothing, as it was before your code; w stands in g too
 * wrong 15: the numbers are right, but back was called 0 times
 * wrong 16: the steps were taken back from the first to the last
 * wrong 17: d[0] was added to the v before it
 * wrong 18: by 2 sweeps back and 0 forward; one of each do: that is reverse over reverse
 * wrong 19: by 1 sweeps back and 2 forward; one of each do: one ht_jvp gives the tangents
 * wrong 20: by 2 sweeps back and 1 forward; one of each do: one ht_grad by {theta, w}
 * wrong 21: that is dF/dtheta_T: v goes back through all steps
 * wrong 22: by ht_grad, ht_vjp or ht_jvp (1 calls): write the formulas
 * wrong 23: that is ht_grad of the whole training; back was called, but what it gave
 * wrong 24: by 2 sweeps beside those of back; one is enough, of F
 * wrong 25: F was differentiated by theta[0], which goes through the whole training
 * wrong 26: was given no state of the training: t goes from T - 1 down to 0
 */
void update_vjp(ht_var g, ht_var rate, ht_var v, ht_var *d_g, ht_var *d_rate)
{
    *d_g = WRONG == 2 ? ht_neg(v) : ht_neg(ht_mul(rate, v));
    if (WRONG == 1) *d_g = ht_mul(rate, v);
    *d_rate = ht_neg(WRONG == 3 ? ht_mul(g, v) : ht_sum(ht_mul(g, v)));
    if (WRONG == 13) *d_rate = ht_neg(*d_rate);
    if (WRONG == 22) {
        ht_var next = ht_neg(ht_mul(rate, g)), d[2];
        ht_vjp(1, &next, &v, 2, (ht_var[]){g, rate}, d);
        *d_g = d[0], *d_rate = d[1];
    }
}

void second_order(ht_var theta, ht_var w, ht_var v, ht_var d_g, ht_var *d_theta,
                  ht_var *d_w)
{
    ht_var x[2] = {theta, w}, joint[2], d[2], along[2] = {WRONG == 5 ? v : d_g, d_g};
    if (WRONG == 18) {
        ht_grad(loss(theta, w), 1, x, joint);
        ht_grad(ht_sum(ht_mul(joint[0], d_g)), 2, x, d);
        *d_theta = ht_add(v, d[0]), *d_w = d[1];
        return;
    }
    ht_grad(loss(theta, w), 2, x, joint);
    if (WRONG == 19) ht_jvp(1, x, &d_g, 1, &joint[1], &d[1]);
    if (WRONG == 20) ht_grad(loss(theta, w), 1, &w, &joint[1]);
    ht_jvp(WRONG == 7 ? 2 : 1, x, along, 2, joint, d);
    *d_theta = WRONG == 4 ? d[0] : ht_add(v, d[0]);
    if (WRONG != 14) *d_w = WRONG == 6 ? joint[1] : d[1];
}

void hypergradient(back_fn *back, int T, const ht_var *theta, ht_var w, ht_var rate,
                   ht_var F, ht_var *d)
{
    ht_var x[3] = {theta[WRONG == 25 ? 0 : T], w, rate}, e[3];
    if (WRONG == 15 || WRONG == 23) {
        for (int t = 0; t < T && WRONG == 23; t++) back(theta[t], w, rate, w, e);
        ht_grad(F, 3, (ht_var[]){theta[0], w, rate}, d);
        return;
    }
    ht_grad_or_zero(F, 3, x, d);
    ht_var last = d[0];
    if (WRONG == 24) ht_grad(F, 1, &w, e);
    if (WRONG == 8) d[1] = ht_mul(w, 0);
    if (WRONG == 9) ht_grad(F, 1, &w, &d[1]);
    for (int t = T - 1; t >= 0; t += WRONG == 26 ? 1 : -1) {
        int at = WRONG == 11 ? t + 1 : WRONG == 16 ? T - 1 - t : t;
        back(theta[at], w, rate, WRONG == 12 ? last : d[0], e);
        d[0] = WRONG == 17 ? ht_add(d[0], e[0]) : WRONG == 21 ? last : e[0];
        for (int k = 1; k < 3; k++) d[k] = WRONG == 10 ? e[k] : ht_add(d[k], e[k]);
    }
}
