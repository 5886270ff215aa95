/* SPDX-License-Identifier: MIT */
/* newton.c: a step of Newton's method on the outer loss, by products with its second
 * derivative and a search along the direction they give. Read next:
 * ../unroll/curvature.c. */
#include <math.h>
#include <string.h>

#include "outer.h"
#include "solver.h"

enum { HALVINGS = 30 };
static const double solved = 1e-8, armijo = 1e-4;

typedef struct hti_newton {
    int64_t n;
    ht_set *eta, *gradient, *final, *along; /* as the step began; a direction */
    double *right, *d;
    void *work;
    size_t bytes;        /* of the three */
    char note[HTI_NOTE]; /* of the run that began the step */
} hti_newton;

static hti_solver_options options_of(const hti_outer *r)
{
    return (hti_solver_options){.tolerance = solved, .most = r->o->newton + 1};
}

bool hti_newton_open(hti_outer *r)
{
    const hti_problem *p = &r->b->problem;
    if (!r->o->newton) return true;
    hti_newton *w = r->newton = hti_zalloc(r->ctx, 1, sizeof *w);
    if (!w) return false;
    hti_solver_options o = options_of(r);
    w->n = ht_set_elements(p->eta);
    size_t vector = (size_t)w->n * sizeof(double);
    w->bytes = 2 * vector + hti_solver_room(&hti_conjugate_gradient, w->n, &o);
    w->right = hti_zalloc(r->ctx, 1, w->bytes);
    w->eta = ht_set_clone(p->eta, 0);
    w->gradient = ht_set_clone(p->eta, 0);
    w->along = ht_set_clone(p->eta, 0);
    w->final = ht_set_clone(p->theta, 0);
    if (r->ctx->status != HT_OK) return false;
    w->d = w->right + w->n;
    w->work = w->d + w->n;
    return true;
}

void hti_newton_close(hti_outer *r)
{
    hti_newton *w = r->newton;
    if (!w) return;
    ht_set_free(w->eta);
    ht_set_free(w->gradient);
    ht_set_free(w->along);
    ht_set_free(w->final);
    if (w->right) hti_resize(r->ctx, w->right, w->bytes, 0);
    hti_resize(r->ctx, w, sizeof *w, 0);
    r->newton = NULL;
}

/* to = from + scale x, of sets and a vector; from NULL: zeros. */
static void newton_set(ht_set *to, const ht_set *from, double scale, const double *x)
{
    for (int j = 0; j < to->n; j++)
        for (int64_t k = 0, n = ht_tensor_count(to->tensor[j]); k < n; k++) {
            double begin = from ? ht_tensor_get(from->tensor[j], k) : 0;
            ht_tensor_set(to->tensor[j], k, begin + scale * *x++);
        }
}

static bool newton_product(const double *x, double *y, void *user)
{
    hti_outer *r = user;
    newton_set(r->newton->along, NULL, 1, x);
    const ht_set *found = ht_bilevel_hvp(r->b, r->newton->along);
    if (found) hti_set_get(y, found);
    return found != NULL;
}

/* d, downhill: where the second derivative gives none, against the gradient. */
static bool find_direction(hti_outer *r, double *slope)
{
    hti_newton *w = r->newton;
    hti_linear a = {.n = w->n, .product = newton_product, .user = r};
    hti_solver_options o = options_of(r);
    hti_set_get(w->right, w->gradient);
    memset(w->d, 0, (size_t)w->n * sizeof *w->d);
    hti_solve(&hti_conjugate_gradient, &a, &o, w->right, w->d, w->work);
    if (r->ctx->status != HT_OK) return false;
    *slope = 0;
    for (int64_t i = 0; i < w->n; i++) *slope -= w->right[i] * w->d[i];
    if (*slope < 0) return true;
    *slope = 0;
    for (int64_t i = 0; i < w->n; i++) {
        w->d[i] = w->right[i];
        *slope -= w->right[i] * w->right[i];
    }
    return true;
}

/* eta - t d, where it may be; F there. */
static double try_step(hti_outer *r, double t)
{
    ht_bilevel *b = r->b;
    newton_set(b->problem.eta, r->newton->eta, -t, r->newton->d);
    b->run.running = true;
    if (r->o->project) r->o->project(b->problem.eta, r->o->user);
    b->run.running = false;
    return ht_bilevel_evaluate(b, (uint64_t)r->now.step).outer;
}

/* What the caller sees of the run is what it found, not what was tried since. */
static void give_back(hti_outer *r)
{
    ht_bilevel *b = r->b;
    ht_set_copy(b->problem.gradient, r->newton->gradient);
    ht_set_copy(b->problem.final, r->newton->final);
    memcpy(b->note, r->newton->note, sizeof b->note);
    b->run.ended = false; /* theta's and the state's ends are of different runs */
}

bool hti_newton_move(hti_outer *r, ht_outer_did *did)
{
    hti_newton *w = r->newton;
    const hti_problem *p = &r->b->problem;
    double slope, before = r->now.result.outer, t = 1;
    ht_set_copy(w->eta, p->eta);
    ht_set_copy(w->gradient, p->gradient);
    ht_set_copy(w->final, p->final);
    memcpy(w->note, r->b->note, sizeof w->note);
    bool ok = find_direction(r, &slope);
    for (int k = 0; ok && k < HALVINGS; k++, t /= 2) {
        double after = try_step(r, t);
        ok = r->ctx->status == HT_OK;
        if (after <= before + armijo * t * slope) break;
        if (k + 1 < HALVINGS) continue;
        *did = HT_OUTER_REFUSED;
        r->now.why = hti_outer_say(r,
                                   "no step along Newton's direction lowers the outer "
                                   "loss, down to %.1e of it",
                                   t);
        ht_set_copy(p->eta, w->eta);
    }
    if (!ok) ht_set_copy(p->eta, w->eta);
    give_back(r);
    return ok;
}
