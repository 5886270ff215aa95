/* SPDX-License-Identifier: MIT */
/* implicit.h: a derivative where a training ends, at hand: its vectors, and what its
 * files share. Read next: implicit.c. */
#ifndef HTI_IMPLICIT_H
#define HTI_IMPLICIT_H

#include "bilevel_internal.h"
#include "system.h"

/* Where a product is taken: blocks of (theta, s) and of what a step makes of it. */
typedef struct hti_point {
    unsigned char *at, *next;
} hti_point;

/* Vectors have an element for each of theta that trains and, if the whole step is solved
 * for, of the state behind it. They, and the buffers beside them, are the method's own
 * memory. */
typedef struct hti_implicit {
    ht_bilevel *b;
    const hti_solver *row, *corrector;
    hti_solver_options options, correcting;
    int64_t n, n_eta;
    double *right, *v, *correction, *residual; /* n each */
    double *gradient;                          /* n_eta */
    void *work;                                /* of the solver */
    unsigned char *in, *out;                   /* of a program, like a block */
    hti_point here, corrected;
    size_t bytes;    /* of all */
    bool f64;        /* all of theta is */
    bool transposed; /* products are with A^T */
} hti_implicit;

/* From the method's own memory, at `own` (NULL: for its size alone). */
hti_implicit hti_implicit_open(const ht_bilevel *b, unsigned char *own);

/* vector.c: a vector from a block of (theta, s), or a block of it, whose other parts are
 * zeros; and added to what a block has. */
void hti_vector_get(const hti_implicit *m, double *v, const unsigned char *block);
void hti_vector_put(const hti_implicit *m, unsigned char *block, const double *v);
void hti_vector_move(const hti_implicit *m, unsigned char *block, double scale,
                     const double *v);
/* to += scale from, of one tensor's like. */
void hti_add_elements(const ht_tensor *t, unsigned char *to, double scale,
                      const unsigned char *from);

/* product.c. False after an error. */

/* A program of second derivatives along x, at m->here. */
bool hti_implicit_second(hti_implicit *m, hti_call_kind kind, const double *x);
/* Of a relative residual, where no tolerance is asked for. */
double hti_usual_tolerance(const ht_bilevel *b);

/* y = A x at m->here, of a linear system; user is the hti_implicit. */
bool hti_implicit_product(const double *x, double *y, void *user);
/* The system that is solved, and one that is to be corrected by: with as many products
 * as it takes. */
hti_linear hti_implicit_system(hti_implicit *m);
/* @F/@theta, where the outer loss has left it, as the system's right side. */
void hti_implicit_right(hti_implicit *m);
/* What is 0 where a training has ended, to m->residual; and m->here.next, if the whole
 * step is what there is. */
bool hti_implicit_residual(hti_implicit *m);
/* To the gradient set, which holds @F/@eta: the part through v. */
bool hti_implicit_mixed(hti_implicit *m, const double *v);

/* bound.c: of the gradient's error, from the solution at hand; NaN: not known. */
bool hti_implicit_bound(hti_implicit *m, const hti_solution *s, uint64_t outer_step,
                        double *bound);

#endif
