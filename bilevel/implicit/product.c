/* SPDX-License-Identifier: MIT */
/* product.c: an implicit derivative's linear system: its memory, its solver, and products
 * with A, which are programs (../record/second.c). Read next: bound.c, implicit.c. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "implicit.h"

enum { MOST_PRODUCTS = 1000, RESTART = 30 };

/* Memory. */

static bool is_f64(const ht_set *set)
{
    for (int i = 0; i < set->n; i++)
        if (ht_tensor_dtype(set->tensor[i]) != HT_F64) return false;
    return true;
}

double hti_usual_tolerance(const ht_bilevel *b)
{
    return is_f64(b->problem.theta) ? 1e-12 : 1e-6;
}

static hti_solver_options usual(const hti_implicit *m)
{
    int64_t n = m->n, most = 2 * n + 20 < MOST_PRODUCTS ? 2 * n + 20 : MOST_PRODUCTS;
    return (hti_solver_options){.tolerance = hti_usual_tolerance(m->b),
                                .most = most,
                                .rate = m->b->programs.whole_step,
                                .rank = RESTART < n ? RESTART : n,
                                .seed = ht_context_seed(m->b->ctx)};
}

/* Both rows with their options: what was asked for, and what corrects it. */
static void choose(hti_implicit *m)
{
    const ht_bilevel_options *o = &m->b->options;
    ht_solver automatic = m->b->programs.symmetric ? HT_CG : HT_GMRES;
    ht_solver solver = o->solver ? o->solver : automatic;
    hti_solver_options *s = &m->options;
    m->row = hti_solver_row((int)solver);
    m->corrector = hti_solver_row((int)automatic);
    m->correcting = *s = usual(m);
    if (solver == HT_NEUMANN || solver == HT_FIXED_POINT) s->most = MOST_PRODUCTS;
    if (solver == HT_NORMAL_CG) s->most *= 2;
    if (solver == HT_NYSTROM) s->most += o->rank;
    if (o->solver_steps) s->most = o->solver_steps;
    if (o->solver_tolerance > 0) s->tolerance = o->solver_tolerance;
    if (o->solver_rate > 0) s->rate = o->solver_rate;
    if (o->rank) s->rank = o->rank;
}

hti_implicit hti_implicit_open(const ht_bilevel *b, unsigned char *own)
{
    hti_implicit m = {.b = (ht_bilevel *)(uintptr_t)b};
    m.n = hti_trained_elements(b);
    if (b->programs.whole_step) m.n += ht_set_elements(b->problem.state);
    m.n_eta = ht_set_elements(b->problem.eta);
    m.f64 = is_f64(b->problem.theta);
    choose(&m);
    size_t vector = (size_t)m.n * sizeof(double), block = b->memory.block_bytes;
    double **const vectors[] = {&m.right, &m.v, &m.correction, &m.residual};
    for (int k = 0; k < 4; k++) *vectors[k] = hti_carve_own(own, &m.bytes, vector);
    m.gradient = hti_carve_own(own, &m.bytes, (size_t)m.n_eta * sizeof(double));
    size_t work = hti_solver_room(m.row, m.n, &m.options),
           correct = hti_solver_room(m.corrector, m.n, &m.correcting);
    m.work = hti_carve_own(own, &m.bytes, work > correct ? work : correct);
    unsigned char **const buffers[] = {&m.in, &m.out, &m.here.next, &m.corrected.at,
                                       &m.corrected.next};
    for (int k = 0; k < 5; k++) *buffers[k] = hti_carve_own(own, &m.bytes, block);
    return m;
}

/* Products. */

bool hti_implicit_second(hti_implicit *m, hti_call_kind kind, const double *x)
{
    ht_bilevel *b = m->b;
    hti_vector_put(m, m->in, x);
    hti_places at = {.in = {[HTI_THETA] = m->here.at,
                            [HTI_NEXT_THETA] = m->here.next,
                            [HTI_THETA_TANGENT] = m->in},
                     .out = {[HTI_THETA_TANGENT] = m->out}};
    return hti_run_call(b, kind, &at, b->run.last);
}

/* y = P x, or x - P x where P is the derivative of a whole step. */
static bool product_by(hti_implicit *m, hti_call_kind kind, const double *x, double *y)
{
    if (!hti_implicit_second(m, kind, x)) return false;
    hti_vector_get(m, y, m->out);
    if (m->b->programs.whole_step)
        for (int64_t i = 0; i < m->n; i++) y[i] = x[i] - y[i];
    return true;
}

bool hti_implicit_product(const double *x, double *y, void *user)
{
    hti_implicit *m = user;
    return product_by(m, m->transposed ? HTI_TRANSPOSED : HTI_PRODUCT, x, y);
}

static bool transpose(const double *x, double *y, void *user)
{
    hti_implicit *m = user;
    return product_by(m, m->transposed ? HTI_PRODUCT : HTI_TRANSPOSED, x, y);
}

hti_linear hti_implicit_system(hti_implicit *m)
{
    const hti_programs *p = &m->b->programs;
    return (hti_linear){.n = m->n,
                        .product = hti_implicit_product,
                        .transpose = p->call[HTI_TRANSPOSED].program ? transpose : NULL,
                        .user = m,
                        .rounding = m->f64 ? 0 : (double)FLT_EPSILON,
                        .damping = m->b->options.damping};
}

void hti_implicit_right(hti_implicit *m)
{
    int64_t theta = hti_trained_elements(m->b);
    hti_vector_get(m, m->right, m->b->memory.cotangents[0]);
    for (int64_t i = theta; i < m->n; i++) m->right[i] = 0; /* F does not see the state */
}

bool hti_implicit_residual(hti_implicit *m)
{
    ht_bilevel *b = m->b;
    bool whole = b->programs.whole_step;
    hti_places at = {.in = {[HTI_THETA] = m->here.at}};
    if (!whole) {
        at.out[HTI_THETA_GRADIENT] = m->out;
        if (!hti_run_call(b, HTI_RESIDUAL, &at, b->run.last)) return false;
        hti_vector_get(m, m->residual, m->out);
        return true;
    }
    at.out[HTI_THETA] = m->here.next;
    if (!hti_run_call(b, HTI_FORWARD, &at, b->run.last)) return false;
    hti_vector_get(m, m->residual, m->here.next);
    memcpy(m->out, m->here.at, b->memory.block_bytes);
    hti_vector_move(m, m->out, -1, m->residual);
    hti_vector_get(m, m->residual, m->out);
    for (int64_t i = 0; i < m->n; i++) m->residual[i] = -m->residual[i];
    return true;
}

bool hti_implicit_mixed(hti_implicit *m, const double *v)
{
    return !m->b->programs.call[HTI_MIXED].program ||
           hti_implicit_second(m, HTI_MIXED, v);
}
