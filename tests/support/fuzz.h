/* SPDX-License-Identifier: MIT */
/* fuzz.h: the table of forms, and programs grown of them. Read next: fuzz_grower.h (what
 * a program is), fuzz_forms.h, test_autograd_fuzz.c. */
#ifndef HTI_FUZZ_H
#define HTI_FUZZ_H

#include "fuzz_forms.h"

#define F(name, flags)            \
    {                             \
#name, form_##name, flags \
    }
static const form forms[] = {
    F(neg, 0),
    F(exp, 0),
    F(log, 0),
    F(sqrt, 0),
    F(tanh, 0),
    F(sigmoid, 0),
    F(relu, KINKS),
    F(abs, KINKS),
    F(square, GROWS),
    F(log1p, 0),
    F(expm1, 0),
    F(softplus, GROWS),
    F(rsqrt, 0),
    F(reciprocal, 0),
    F(sin, 0),
    F(cos, 0),
    F(erf, 0),
    F(silu, 0),
    F(gelu, 0),
    F(gelu_tanh, 0),
    F(leaky_relu, KINKS),
    F(clamp, KINKS),
    F(project_box, KINKS),
    F(project_simplex, KINKS | FILLED | AXES),
    F(project_capped, KINKS | AXES),
    F(project_l1, KINKS | AXES),
    F(project_l2, KINKS | AXES),
    F(soft_threshold, KINKS),
    F(group_soft_threshold, KINKS | AXES),
    F(stop_gradient, STOPS),
    F(add, GROWS),
    F(sub, GROWS),
    F(mul, GROWS),
    F(div, GROWS),
    F(pow, 0),
    F(maximum, KINKS),
    F(minimum, KINKS),
    F(equal, KINKS),
    F(greater, KINKS),
    F(greater_equal, KINKS),
    F(where, GROWS),
    F(weighted_hypot, GROWS),
    F(cast, 0),
    F(sum, GROWS),
    F(mean, FILLED),
    F(sum_axes, GROWS),
    F(mean_axes, FILLED),
    F(max_axes, KINKS | FILLED),
    F(min_axes, KINKS | FILLED),
    F(logsumexp_axes, GROWS | FILLED),
    F(variance_axes, GROWS | FILLED),
    F(norm_axes, GROWS),
    F(cumsum, GROWS | AXES),
    F(argmax, KINKS | FILLED | AXES),
    F(argmin, KINKS | FILLED | AXES),
    F(reshape, 0),
    F(permute, 0),
    F(transpose, 0),
    F(broadcast, 0),
    F(slice, AXES),
    F(pad, AXES),
    F(concat, AXES),
    F(stack, 0),
    F(flip, AXES),
    F(gather, FILLED | AXES),
    F(scatter_add, GROWS | FILLED | AXES),
    F(one_hot, 0),
    F(take_last, FILLED | AXES),
    F(matmul, GROWS),
    F(softmax, FILLED | AXES),
    F(log_softmax, GROWS | FILLED | AXES),
    F(cross_entropy, GROWS),
    F(conv2d, GROWS),
    F(max_pool2d, KINKS),
    F(avg_pool2d, 0),
    F(global_avg_pool2d, 0),
    F(layernorm, GROWS | FILLED | AXES),
    F(rmsnorm, GROWS | FILLED | AXES),
    F(groupnorm, GROWS),
    F(batchnorm, GROWS),
    F(batchnorm_given, GROWS),
    F(tril, 0),
    F(attention, 0),
    F(uniform, 0),
    F(normal, GROWS),
    F(dropout, GROWS),
    F(row, GROWS),
    F(vjp, GROWS),
    F(jvp, GROWS),
};
#undef F
enum { N_FORMS = sizeof forms / sizeof *forms, N_DERIVATIVES = 2 };

/* One form of a, in floats; HT_ZERO if the one drawn does not apply. */
static inline ht_var grow_form(grower *g, ht_var a)
{
    int k = draw(g, N_FORMS - (g->inside ? N_DERIVATIVES : 0));
    const form *f = &forms[k];
    if ((f->flags & KINKS && !g->f->kinks) || (f->flags & STOPS && !g->f->stops) ||
        (f->flags & FILLED && count(a) == 0) ||
        (f->flags & AXES && ht_var_shape(a).rank == 0))
        return HT_ZERO;
    bool inside = g->inside;
    g->inside = true;
    ht_var y = f->grow(g, a);
    g->inside = inside;
    if (ht_is_zero(y) || hti_is_poison(y)) return HT_ZERO;
    if (g->hits) g->hits[k]++;
    ht_dtype dtype = ht_var_dtype(y);
    if (dtype != g->dtype) y = ht_cast(y, g->dtype);
    if (dtype == HT_I32 || dtype == HT_U8) y = ht_mul(y, 0.3);
    return f->flags & GROWS && !inside ? calm(g, y) : y;
}

/* The leaves are on the tape already. */
static inline void grow(grower *g)
{
    for (int grown = 0; grown < g->f->n_ops && g->tape->ctx->status == HT_OK;) {
        bool used[LEAVES + MOST_OPS];
        memcpy(used, g->used, sizeof used);
        ht_var y = grow_form(g, pick(g));
        if (ht_is_zero(y) || count(y) > MOST_COUNT) {
            memcpy(g->used, used, sizeof used);
            continue;
        }
        g->pool[g->n++] = y;
        grown++;
    }
}

#endif
