/* SPDX-License-Identifier: MIT */
/* ops_jacobian.c: Jacobian and Hessian as dense matrices: a sweep for each column or row,
 * along one-hot vectors. Their nodes are those of any derivative, so the matrices can be
 * differentiated, cut and replayed. Read next: grad.c. */
#include "derive.h"
#include "ops.h"

enum { HTI_MOST_SWEEPS = 4096 };

/* dy/dx to be, m rows by n columns. */
typedef struct jacobian {
    ht_tape *tape;
    ht_var y, x;
    int64_t m, n;
    bool forward; /* a column a sweep, else a row */
    const char *site;
} jacobian;

/* Sweeps there may be, and axes of the result. */
static bool jacobian_fits(const jacobian *j, int64_t sweeps, ht_shape *shape)
{
    ht_shape y = hti_type(j->y).shape, x = hti_type(j->x).shape;
    char of[HT_SHAPE_TEXT], by[HT_SHAPE_TEXT];
    ht_shape_text(y, of), ht_shape_text(x, by);
    if (y.rank + x.rank > HT_MAX_RANK)
        hti_fail(j->tape, HT_ERROR_SHAPE, j->site, "jacobian",
                 "y %s by x %s has %d axes, at most %d are possible\n"
                 "  hint: ht_reshape y to one axis, or differentiate by a flat input",
                 of, by, y.rank + x.rank, HT_MAX_RANK);
    else if (sweeps > HTI_MOST_SWEEPS)
        hti_fail(j->tape, HT_ERROR_ARGUMENT, j->site, "jacobian",
                 "y %s by x %s takes %lld derivatives, one a row or column, at most %d "
                 "are possible\n"
                 "  hint: ht_jvp, ht_vjp and ht_hvp multiply by the matrix without it",
                 of, by, (long long)sweeps, HTI_MOST_SWEEPS);
    *shape = y;
    for (int i = 0; i < x.rank && shape->rank < HT_MAX_RANK; i++)
        shape->dim[shape->rank++] = x.dim[i];
    return j->tape->ctx->status == HT_OK;
}

/* Column or row k, flat: `units` are size - 1 zeros, a 1 and as many zeros, so that each
 * one-hot vector of that size is a view. */
static ht_var jacobian_line(const jacobian *j, ht_var units, int64_t size, int64_t k)
{
    ht_var from = j->forward ? j->x : j->y, line;
    ht_var hot = ht_slice_at(units, 0, size - 1 - k, size, 1, j->site);
    hot = ht_reshape_at(hot, hti_type(from).shape, j->site);
    if (j->forward)
        ht_jvp_at(1, &j->x, &hot, 1, &j->y, &line, j->site);
    else
        ht_vjp_at(1, &j->y, &hot, 1, &j->x, &line, j->site);
    return ht_reshape_at(line, (ht_shape){1, {j->forward ? j->m : j->n}}, j->site);
}

/* All of them, in y's dtype. */
static ht_var jacobian_matrix(const jacobian *j, int64_t size)
{
    ht_tape *tape = j->tape;
    ht_dtype dtype = hti_type(j->forward ? j->x : j->y).dtype;
    ht_var units = hti_spread(tape, 1, (ht_type){dtype, {1, {1}}}, j->site);
    units = ht_pad_at(units, 0, size - 1, size - 1, j->site);
    hti_arena_mark mark = hti_arena_at(&tape->scratch);
    ht_var *line = hti_arena_alloc(&tape->scratch, (size_t)size * sizeof *line);
    bool ok = line != NULL;
    for (int64_t k = 0; ok && k < size; k++) {
        line[k] = jacobian_line(j, units, size, k);
        ok = !hti_is_poison(line[k]);
    }
    ht_var out =
        ok ? ht_stack_at((int)size, line, j->forward, j->site) : hti_poison(tape);
    hti_arena_rewind(&tape->scratch, mark);
    return ht_cast_at(out, hti_type(j->y).dtype, j->site);
}

static ht_var jacobian_of(ht_var y, ht_var x, const char *site)
{
    jacobian j = {.tape = y.tape, .y = y, .x = x, .site = site};
    j.m = ht_shape_count(hti_type(y).shape);
    j.n = ht_shape_count(hti_type(x).shape);
    j.forward = j.n <= j.m;
    int64_t sweeps = j.forward ? j.n : j.m;
    ht_type type = {hti_type(y).dtype, HT_SCALAR};
    if (!jacobian_fits(&j, sweeps, &type.shape)) return hti_poison(y.tape);
    if (sweeps == 0) return hti_spread(y.tape, 0, type, site);
    return ht_reshape_at(jacobian_matrix(&j, sweeps), type.shape, site);
}

/* x and y as variables of one tape; poison if not. */
static bool jacobian_asked(ht_var *y, ht_var *x, const char *name, const char *site)
{
    ht_tape *tape = hti_tape_among(2, (ht_var[]){*x, *y});
    *y = hti_needs(tape, *y, name, "y", -1, site);
    *x = hti_needs(tape, *x, name, "x", -1, site);
    if (hti_is_poison(*x)) *y = *x;
    return !hti_is_poison(*y);
}

static ht_var jacobian_reached(ht_var y, ht_var x, const char *site)
{
    bool ok = hti_needs_floats(y, "jacobian", site) && hti_reaches(y, x, "ht_vjp", site);
    return ok ? jacobian_of(y, x, site) : hti_poison(y.tape);
}

ht_var ht_jacobian_at(ht_var y, ht_var x, const char *site)
{
    if (!jacobian_asked(&y, &x, "jacobian", site)) return y;
    return HTI_CALL("jacobian", y, jacobian_reached(y, x, site));
}

static ht_var hessian_of(ht_var y, ht_var x, const char *site)
{
    ht_var g;
    ht_grad_at(y, 1, &x, &g, site);
    return hti_is_poison(g) ? g : jacobian_of(g, x, site);
}

ht_var ht_hessian_at(ht_var y, ht_var x, const char *site)
{
    if (!jacobian_asked(&y, &x, "hessian", site)) return y;
    return HTI_CALL("hessian", y, hessian_of(y, x, site));
}
