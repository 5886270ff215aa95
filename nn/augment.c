/* SPDX-License-Identifier: MIT */
/* augment.c: distortions of a batch of images as compositions of ops, so that they have
 * all derivatives; what they draw is a function of stream and step.
 * Read next: ht_augment.h, ops/ops_random.c. */
#include <math.h>

#include "nn_internal.h"

/* One call. strength is a variable that broadcasts beside x. */
typedef struct augment {
    const char *name, *site;
    ht_var x, strength;
    uint64_t stream;
    ht_var step;
} augment;

/* (n) beside x (n, ...): (n, 1, ...); other variables stay. */
static ht_var augment_beside(ht_var v, ht_var x, const char *site)
{
    if (hti_is_poison(v) || hti_type(v).shape.rank == 0) return v;
    ht_shape shape = {hti_type(x).shape.rank, {hti_type(x).shape.dim[0], 1, 1, 1, 1, 1}};
    return ht_reshape_at(v, shape, site);
}

static bool augment_refuse(const augment *a, ht_var *v, const char *what, ht_var got,
                           const char *hint)
{
    char text[HTI_TYPE_TEXT];
    bool dtype = !hti_dtype_is_float(hti_type(got).dtype);
    *v = hti_fail(got.tape, dtype ? HT_ERROR_DTYPE : HT_ERROR_SHAPE, a->site, a->name,
                  "needs %s, got %s%s", what, hti_type_text(hti_type(got), text), hint);
    return false;
}

static bool augment_images(augment *a)
{
    ht_type type = hti_type(a->x);
    const char *what = "images x (n, c, h, w) of f32 or f64";
    if (!hti_dtype_is_float(type.dtype))
        return augment_refuse(a, &a->x, what, a->x, "\n  hint: ht_cast");
    if (type.shape.rank != 4)
        return augment_refuse(a, &a->x, what, a->x,
                              "\n  hint: ht_reshape(x, HT_SHAPE(-1, c, h, w))");
    return true;
}

/* What v is beside x, a number or a variable () or (n); poison after an error. */
static ht_var augment_each(const augment *a, ht_var v, const char *name)
{
    ht_type x = hti_type(a->x);
    if (hti_is_number(v))
        return hti_constant(a->x.tape, hti_number_value(v), x.dtype, false, a->site);
    v = hti_needs(a->x.tape, v, a->name, name, -1, a->site);
    if (hti_is_poison(v)) return v;
    ht_type type = hti_type(v);
    bool each = type.shape.rank == 1 && type.shape.dim[0] == x.shape.dim[0];
    if (type.dtype == x.dtype && (each || type.shape.rank == 0))
        return augment_beside(v, a->x, a->site);
    char text[2][HTI_TYPE_TEXT];
    return hti_fail(a->x.tape, type.dtype == x.dtype ? HT_ERROR_SHAPE : HT_ERROR_DTYPE,
                    a->site, a->name,
                    "needs %s () or (n) of x's dtype, got %s beside x %s", name,
                    hti_type_text(type, text[0]), hti_type_text(x, text[1]));
}

/* False with x poison, after an error. */
static bool augment_strength(augment *a)
{
    double number = hti_is_number(a->strength) ? hti_number_value(a->strength) : 0;
    a->step = hti_needs(a->x.tape, a->step, a->name, "step", -1, a->site);
    if (hti_is_poison(a->step)) return a->x = a->step, false;
    if (!(number >= 0 && isfinite(number)))
        return a->x = hti_fail(a->x.tape, HT_ERROR_ARGUMENT, a->site, a->name,
                               "needs a strength of 0 or more, got %g", number),
               false;
    a->strength = augment_each(a, a->strength, "strength");
    if (hti_is_poison(a->strength)) return a->x = a->strength, false;
    return true;
}

/* False with the result in x: after an error poison, of the number 0 x itself. */
static bool augment_open(augment *a)
{
    ht_tape *tape = hti_tape_among(3, (ht_var[]){a->x, a->strength, a->step});
    a->x = hti_needs(tape, a->x, a->name, "x", -1, a->site);
    if (hti_is_poison(a->x) || !augment_images(a)) return false;
    double number = 1;
    if (hti_is_number(a->strength)) number = hti_number_value(a->strength);
    return augment_strength(a) && number != 0;
}

/* m draws for each image, 0 <= u < 1, (n, m). */
static ht_var augment_draw(const augment *a, int64_t m)
{
    ht_type x = hti_type(a->x);
    ht_type type = {x.dtype, HT_SHAPE(x.shape.dim[0], m)};
    return ht_uniform_at(a->step, type, a->stream, a->site);
}

/* The i-th of them beside x. */
static ht_var augment_drawn(const augment *a, ht_var draws, int i)
{
    return augment_beside(ht_slice_at(draws, 1, i, 1, 1, a->site), a->x, a->site);
}

/* The same in -1 .. 1. */
static ht_var augment_signed(const augment *a, ht_var draws, int i)
{
    ht_var u = ht_mul_at(augment_drawn(a, draws, i), ht_number(2), a->site);
    return ht_sub_at(u, ht_number(1), a->site);
}

/* 0, 1, ... n - 1 in one axis of two. */
static ht_var augment_places(const augment *a, int64_t n, bool columns)
{
    ht_type type = {hti_type(a->x).dtype, columns ? HT_SHAPE(1, n) : HT_SHAPE(n, 1)};
    ht_var count = hti_spread(a->x.tape, 1, type, a->site);
    count = ht_cumsum_at(count, columns ? 1 : 0, a->site);
    return ht_sub_at(count, ht_number(1), a->site);
}

/* 1 where v >= 0, else -1: of x's dtype. */
static ht_var augment_sign(const augment *a, ht_var v)
{
    if (hti_is_poison(v)) return v;
    ht_var one = hti_constant(v.tape, 1, hti_type(v).dtype, false, a->site);
    return ht_where_at(ht_greater_equal_at(v, ht_number(0), a->site), one, ht_number(-1),
                       a->site);
}

/* R (..., size, size) with y = R x moved by sign distance, R_jk = max(0, 1 - |t|) for t =
 * sign (k - j) - distance. Of its kinks, t in {-1, 0, 1}, ht_clamp (slope 1 at its ends)
 * and ht_relu (0) take the slopes on the side of smaller t, a larger distance. */
static ht_var augment_mover(const augment *a, int64_t size, ht_var sign, ht_var distance)
{
    ht_var one = ht_number(1), zero = ht_number(0);
    ht_var j = augment_places(a, size, false), k = augment_places(a, size, true);
    ht_var t = ht_mul_at(sign, ht_sub_at(k, j, a->site), a->site);
    t = ht_sub_at(t, distance, a->site);
    ht_var rises = ht_clamp_at(ht_sub_at(one, t, a->site), zero, ht_number(2), a->site);
    ht_var falls = ht_relu_at(ht_add_at(one, t, a->site), a->site);
    return ht_clamp_at(falls, zero, rises, a->site);
}

/* Each of sign and distance: of rows, of columns. */
static ht_var augment_move(const augment *a, const ht_var *sign, const ht_var *distance)
{
    if (hti_is_poison(a->x)) return a->x;
    ht_shape shape = hti_type(a->x).shape;
    ht_var rows = augment_mover(a, shape.dim[2], sign[0], distance[0]);
    ht_var columns = augment_mover(a, shape.dim[3], sign[1], distance[1]);
    columns = ht_transpose_at(columns, a->site);
    return ht_matmul_at(ht_matmul_at(rows, a->x, a->site), columns, a->site);
}

static ht_var augment_translate(const augment *a, ht_var dy, ht_var dx)
{
    ht_var sign[2] = {augment_sign(a, dy), augment_sign(a, dx)};
    ht_var distance[2] = {ht_mul_at(dy, sign[0], a->site),
                          ht_mul_at(dx, sign[1], a->site)};
    return augment_move(a, sign, distance);
}

ht_var ht_translate_at(ht_var x, ht_var dy, ht_var dx, const char *site)
{
    augment a = {.name = "translate", .site = site};
    ht_tape *tape = hti_tape_among(3, (ht_var[]){x, dy, dx});
    a.x = hti_needs(tape, x, a.name, "x", -1, site);
    if (hti_is_poison(a.x) || !augment_images(&a)) return a.x;
    dy = augment_each(&a, dy, "dy");
    if (hti_is_poison(dy)) return dy;
    dx = augment_each(&a, dx, "dx");
    if (hti_is_poison(dx)) return dx;
    return HTI_CALL(a.name, a.x, augment_translate(&a, dy, dx));
}

static ht_var augment_shift(const augment *a)
{
    ht_var draws = augment_draw(a, 2), sign[2], distance[2];
    for (int i = 0; i < 2; i++) {
        ht_var u = augment_signed(a, draws, i);
        sign[i] = augment_sign(a, u);
        distance[i] = ht_mul_at(a->strength, ht_abs_at(u, a->site), a->site);
    }
    return augment_move(a, sign, distance);
}

/* The part of pixel k, k - 1/2 .. k + 1/2, that lies in an interval of length e around c:
 * min(1, e), (1 + e)/2 - |k - c| or 0. */
static ht_var augment_covered(const augment *a, ht_var k, ht_var centre, int64_t size)
{
    ht_var zero = ht_number(0), half = ht_number(0.5), n = ht_number((double)size);
    ht_var e = ht_clamp_at(a->strength, zero, ht_number((double)INFINITY), a->site);
    e = ht_mul_at(e, n, a->site);
    ht_var c = ht_sub_at(ht_mul_at(centre, n, a->site), half, a->site);
    ht_var off = ht_abs_at(ht_sub_at(k, c, a->site), a->site);
    ht_var reach = ht_mul_at(ht_add_at(e, ht_number(1), a->site), half, a->site);
    ht_var most = ht_minimum_at(e, ht_number(1), a->site);
    return ht_clamp_at(ht_sub_at(reach, off, a->site), zero, most, a->site);
}

static ht_var augment_cutout(const augment *a)
{
    ht_shape shape = hti_type(a->x).shape;
    ht_var draws = augment_draw(a, 2);
    ht_var rows = augment_covered(a, augment_places(a, shape.dim[2], false),
                                  augment_drawn(a, draws, 0), shape.dim[2]);
    ht_var columns = augment_covered(a, augment_places(a, shape.dim[3], true),
                                     augment_drawn(a, draws, 1), shape.dim[3]);
    ht_var box = ht_mul_at(rows, columns, a->site);
    return ht_mul_at(a->x, ht_sub_at(ht_number(1), box, a->site), a->site);
}

/* x + s u of: a strength of 0 gives x to the bit. */
static ht_var augment_along(const augment *a, ht_var direction)
{
    ht_var u = augment_signed(a, augment_draw(a, 1), 0);
    u = ht_mul_at(ht_mul_at(a->strength, u, a->site), direction, a->site);
    return ht_add_at(a->x, u, a->site);
}

static ht_var augment_brightness(const augment *a)
{
    return augment_along(a, ht_number(1));
}

static ht_var augment_contrast(const augment *a)
{
    ht_var mean = ht_mean_axes_at(a->x, HT_AXES(1, 2, 3), true, a->site);
    return augment_along(a, ht_sub_at(a->x, mean, a->site));
}

static ht_var augment_colour(const augment *a)
{
    ht_var grey = ht_mean_axes_at(a->x, HT_AXES(1), true, a->site);
    return augment_along(a, ht_sub_at(a->x, grey, a->site));
}

#define AUGMENT(kind)                                                              \
    ht_var ht_random_##kind##_at(ht_var x, ht_var strength, uint64_t stream,       \
                                 ht_var step, const char *site)                    \
    {                                                                              \
        augment a = {"random_" #kind, site, x, strength, stream, step};            \
        return augment_open(&a) ? HTI_CALL(a.name, a.x, augment_##kind(&a)) : a.x; \
    }
AUGMENT(shift)
AUGMENT(cutout)
AUGMENT(brightness)
AUGMENT(contrast)
AUGMENT(colour)

static ht_var augment_flip(const augment *a, double probability)
{
    ht_var u = augment_drawn(a, augment_draw(a, 1), 0);
    ht_var yes = ht_greater_at(ht_number(probability), u, a->site);
    return ht_where_at(yes, ht_flip_at(a->x, 3, a->site), a->x, a->site);
}

ht_var ht_random_flip_at(ht_var x, double probability, uint64_t stream, ht_var step,
                         const char *site)
{
    augment a = {"random_flip", site, x, ht_number(1), stream, step};
    if (!augment_open(&a)) return a.x;
    if (!(probability >= 0 && probability <= 1))
        return hti_fail(a.x.tape, HT_ERROR_ARGUMENT, site, a.name,
                        "needs 0 <= probability <= 1, got %g", probability);
    return HTI_CALL(a.name, a.x, augment_flip(&a, probability));
}

/* How many of n draws are smaller is a permutation, but for two that are equal. */
static ht_var augment_order(ht_var u, const char *site)
{
    if (hti_is_poison(u)) return u;
    int64_t n = hti_type(u).shape.dim[0];
    ht_var smaller = ht_greater_at(ht_reshape_at(u, HT_SHAPE(n, 1), site), u, site);
    smaller = ht_sum_axes_at(ht_cast_at(smaller, HT_F32, site), HT_AXES(1), false, site);
    return ht_cast_at(smaller, HT_I32, site);
}

/* x + weight (x_order - x) by rows. */
static ht_var augment_mixed(ht_var x, ht_var weight, ht_var order, const char *site)
{
    ht_var other = ht_sub_at(ht_gather_at(x, order, site), x, site);
    return ht_add_at(x, ht_mul_at(augment_beside(weight, x, site), other, site), site);
}

/* Draws are f64, so that an order has none that are equal. */
static ht_var augment_mixup(const augment *a, ht_var *labels)
{
    ht_type x = hti_type(a->x);
    int64_t n = x.shape.dim[0];
    ht_type type = {HT_F64, HT_SHAPE(2, n)};
    ht_var u = ht_uniform_at(a->step, type, a->stream, a->site), row[2];
    for (int i = 0; i < 2; i++)
        row[i] = ht_reshape_at(ht_slice_at(u, 0, i, 1, 1, a->site), HT_SHAPE(n), a->site);
    ht_var order = augment_order(row[0], a->site);
    ht_var half = ht_mul_at(row[1], ht_number(0.5), a->site);
    ht_var weight = augment_beside(ht_cast_at(half, x.dtype, a->site), a->x, a->site);
    weight = ht_mul_at(a->strength, weight, a->site);
    weight = ht_reshape_at(weight, HT_SHAPE(n), a->site);
    *labels = augment_mixed(*labels, weight, order, a->site);
    return augment_mixed(a->x, weight, order, a->site);
}

static bool augment_pair(augment *a, ht_var labels)
{
    ht_type x = hti_type(a->x), y = hti_type(labels);
    if (!hti_dtype_is_float(x.dtype) || x.shape.rank == 0)
        return augment_refuse(a, &a->x, "x (n, ...) of f32 or f64", a->x, "");
    if (x.dtype == y.dtype && y.shape.rank > 0 && y.shape.dim[0] == x.shape.dim[0])
        return true;
    return augment_refuse(a, &a->x, "labels (n, ...) of x's n and dtype", labels,
                          y.dtype == HT_I32 ? "\n  hint: ht_one_hot" : "");
}

void ht_mixup_at(ht_var *x, ht_var *labels, ht_var strength, uint64_t stream, ht_var step,
                 const char *site)
{
    HT_ASSERT(x && labels, "mixup: %s is NULL%s%s", x ? "labels" : "x", HTI_AT(site));
    augment a = {"mixup", site, *x, strength, stream, step};
    ht_tape *tape = hti_tape_among(4, (ht_var[]){*x, *labels, strength, step});
    a.x = hti_needs(tape, *x, a.name, "x", -1, site);
    *labels = hti_needs(tape, *labels, a.name, "labels", -1, site);
    if (hti_is_poison(*labels)) a.x = *labels;
    if (!hti_is_poison(a.x) && augment_pair(&a, *labels) && augment_strength(&a))
        *x = HTI_CALL(a.name, a.x, augment_mixup(&a, labels));
    else
        *x = *labels = a.x;
}
