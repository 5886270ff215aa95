/* SPDX-License-Identifier: MIT */
/* attention.c: attention, its gradient, and the tangents of both, head by head.
 *
 *   p = softmax(scale q k'),  y = p v
 *   dv = p' g,   ds = scale p (g v' - rows' sums of p g v'),   dq = ds k,   dk = ds' q
 *
 * Numbers are dual, x + t e with e^2 = 0: carried through the formulas they make the
 * tangents. What a query does not see is in none of its sums. Read next: windows.c. */
#include "reference.h"

typedef struct dual {
    double x, t;
} dual;

static dual plus(dual a, dual b)
{
    return (dual){a.x + b.x, a.t + b.t};
}

static dual minus(dual a, dual b)
{
    return (dual){a.x - b.x, a.t - b.t};
}

static dual times(dual a, dual b)
{
    return (dual){a.x * b.x, a.t * b.x + a.x * b.t};
}

static dual scaled(dual a, double by)
{
    return (dual){a.x * by, a.t * by};
}

/* One head: in is q, k, v, g, each with its tangent, and their weights p and slopes ds,
 * (t, s). */
typedef struct head {
    ht_array in[4], tangent[4];
    int64_t t, s;
    const hti_attention *what;
    dual *p, *ds;
} head;

/* Head number `unit` of a (..., rows, heads, width): (rows, width). */
static ht_array head_of(const ht_array *a, int64_t unit)
{
    int last = a->shape.rank - 1;
    int64_t heads = a->shape.dim[last - 1], size = (int64_t)ht_dtype_bytes(a->dtype);
    int64_t at = unit % heads * a->stride[last - 1] +
                 hti_offset_along(last - 2, a->shape.dim, a->stride, unit / heads);
    return (ht_array){hti_at(a->data, at * size),
                      a->dtype,
                      HT_SHAPE(a->shape.dim[last - 2], a->shape.dim[last]),
                      {a->stride[last - 2], a->stride[last]}};
}

static int64_t head_width(const head *h, int which)
{
    return h->in[which].shape.dim[1];
}

static dual head_at(const head *h, int which, int64_t i, int64_t j)
{
    const ht_array *x = &h->in[which], *t = &h->tangent[which];
    return (dual){hti_read(x, i * x->stride[0] + j * x->stride[1]),
                  h->what->tangent ? hti_read(t, i * t->stride[0] + j * t->stride[1])
                                   : 0};
}

static int64_t head_sees(const head *h, int64_t i)
{
    return h->what->causal && i + 1 < h->s ? i + 1 : h->s;
}

/* Row i of operand a times row j of operand b. */
static dual head_dot(const head *h, int a, int64_t i, int b, int64_t j)
{
    dual sum = {0, 0};
    for (int64_t d = 0; d < head_width(h, a); d++)
        sum = plus(sum, times(head_at(h, a, i, d), head_at(h, b, j, d)));
    return sum;
}

enum { Q, K, V, G };

/* Row i of p = exp(scores - most) / their sum, at the places it sees. */
static void head_weights(const head *h, int64_t i)
{
    dual *p = h->p + i * h->s, sum = {0, 0};
    double most = -INFINITY;
    for (int64_t j = 0; j < head_sees(h, i); j++) {
        p[j] = scaled(head_dot(h, Q, i, K, j), h->what->scale);
        if (p[j].x > most) most = p[j].x;
    }
    for (int64_t j = 0; j < head_sees(h, i); j++) {
        double e = exp(p[j].x - most);
        p[j] = (dual){e, e * p[j].t};
        sum = plus(sum, p[j]);
    }
    for (int64_t j = 0; j < head_sees(h, i); j++) {
        double x = p[j].x / sum.x;
        p[j] = (dual){x, (p[j].t - x * sum.t) / sum.x};
    }
}

/* Row i of ds = scale p (u - sum of p u), u = g v'. */
static void head_slopes(const head *h, int64_t i)
{
    dual *p = h->p + i * h->s, *ds = h->ds + i * h->s, sum = {0, 0};
    for (int64_t j = 0; j < head_sees(h, i); j++) {
        ds[j] = head_dot(h, G, i, V, j);
        sum = plus(sum, times(p[j], ds[j]));
    }
    for (int64_t j = 0; j < head_sees(h, i); j++)
        ds[j] = scaled(times(p[j], minus(ds[j], sum)), h->what->scale);
}

/* Of causal ones, a query whose cotangent is 0 has no part in the gradient, whatever its
 * weights are. */
static bool head_counts(const head *h, int64_t i)
{
    if (!h->what->gradient || !h->what->causal) return true;
    for (int64_t d = 0; d < head_width(h, G); d++) {
        dual g = head_at(h, G, i, d);
        if (g.x != 0 || g.t != 0) return true;
    }
    return false;
}

static void head_put(const head *h, const ht_array *out, int64_t i, int64_t j, dual x)
{
    hti_write(out, i * out->stride[0] + j * out->stride[1], h->what->tangent ? x.t : x.x);
}

/* out = m b over what is seen: (t, width of b). */
static void head_rows(const head *h, const dual *m, int b, const ht_array *out)
{
    for (int64_t i = 0; i < h->t; i++)
        for (int64_t d = 0; d < head_width(h, b); d++) {
            dual sum = {0, 0};
            for (int64_t j = 0; j < head_sees(h, i) && head_counts(h, i); j++)
                sum = plus(sum, times(m[i * h->s + j], head_at(h, b, j, d)));
            head_put(h, out, i, d, sum);
        }
}

/* out = m' b over what is seen: (s, width of b). */
static void head_columns(const head *h, const dual *m, int b, const ht_array *out)
{
    for (int64_t j = 0; j < h->s; j++)
        for (int64_t d = 0; d < head_width(h, b); d++) {
            dual sum = {0, 0};
            for (int64_t i = 0; i < h->t; i++)
                if (j < head_sees(h, i) && head_counts(h, i))
                    sum = plus(sum, times(m[i * h->s + j], head_at(h, b, i, d)));
            head_put(h, out, j, d, sum);
        }
}

static size_t reference_attention_workspace(const ht_context *ctx, ht_dtype dtype,
                                            ht_shape q, ht_shape k,
                                            const hti_attention *what)
{
    (void)ctx, (void)dtype, (void)what;
    size_t pairs = (size_t)q.dim[q.rank - 3] * (size_t)k.dim[k.rank - 3];
    return hti_round_up(2 * pairs * sizeof(dual), HTI_ALIGN);
}

/* out: y, or the cotangents of q, k and v. */
static void head_run(head *h, const ht_array *out, int64_t unit)
{
    ht_array to[3];
    for (int i = 0; i < (h->what->gradient ? 3 : 1); i++) to[i] = head_of(&out[i], unit);
    for (int64_t i = 0; i < h->t; i++) {
        head_weights(h, i);
        if (h->what->gradient) head_slopes(h, i);
    }
    if (!h->what->gradient) {
        head_rows(h, h->p, V, &to[0]);
        return;
    }
    head_rows(h, h->ds, K, &to[Q]);
    head_columns(h, h->ds, Q, &to[K]);
    head_columns(h, h->p, G, &to[V]);
}

static void reference_attention(ht_context *ctx, ht_array out, const ht_array *const *in,
                                const hti_attention *what, void *workspace)
{
    (void)ctx;
    int n = 3 + what->gradient, last = in[Q]->shape.rank - 1;
    int64_t t = in[Q]->shape.dim[last - 2], s = in[K]->shape.dim[last - 2], at = 0;
    int64_t units = 1, size = (int64_t)ht_dtype_bytes(out.dtype);
    for (int i = 0; i < last; i++) units *= i == last - 2 ? 1 : in[Q]->shape.dim[i];
    ht_array to[3] = {out};
    for (int i = 0; i < 3 && what->gradient; i++) {
        to[i] = hti_contiguous(hti_at(out.data, at * size), out.dtype, in[i]->shape);
        at += ht_shape_count(in[i]->shape);
    }
    for (int64_t unit = 0; unit < units; unit++) {
        head h = {.t = t, .s = s, .what = what, .p = workspace};
        h.ds = h.p + t * s;
        for (int i = 0; i < n; i++) {
            h.in[i] = head_of(in[i], unit);
            if (what->tangent) h.tangent[i] = head_of(in[n + i], unit);
        }
        head_run(&h, to, unit);
    }
}

void hti_reference_attention(struct hti_kernels *kernels)
{
    kernels->attention = reference_attention;
    kernels->attention_workspace = reference_attention_workspace;
}
