/* SPDX-License-Identifier: MIT */
/* solver.h: a solver of linear systems is a row, after the table of operations of a
 * SUNLinearSolver (SUNDIALS). What an implicit derivative asks of it is
 *     (A + damping I) x = b
 * with A a Hessian or the derivative of a step, which is known by its products alone. A
 * row says how an iterate is improved; solver.c asks it to, and judges each iterate by a
 * product of its own. Read next: system.h, conjugate_gradient.c. */
#ifndef HTI_SOLVER_H
#define HTI_SOLVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* y = A x, of n values each. False ends the solving; so does a y that is not finite. */
typedef bool (*hti_product_fn)(const double *x, double *y, void *user);

typedef struct hti_linear {
    int64_t n;
    hti_product_fn product;
    hti_product_fn transpose; /* y = A^T x; NULL: A is symmetric */
    void *user;
    double damping;
    double rounding; /* of a product, relative: FLT_EPSILON of one in f32; 0: in f64 */
} hti_linear;

typedef struct hti_solver_options {
    double tolerance; /* of |b - (A + damping I) x| / |b| */
    int64_t most;     /* products at most, with A or its transpose; at least 1 */
    double rate;      /* of Neumann's series and of the fixed point */
    int64_t rank;     /* of Nystroem's matrix; steps until GMRES restarts */
    uint64_t seed;    /* of Nystroem's sketch */
} hti_solver_options;

typedef enum hti_end {
    HTI_GOES_ON,
    HTI_SOLVED,          /* residual <= tolerance */
    HTI_OUT_OF_PRODUCTS, /* one step more would be more than `most` */
    HTI_STALLED,    /* another improvement is not worth it: rounding, or no progress */
    HTI_INDEFINITE, /* a direction of negative curvature, where the row assumes none */
    HTI_SINGULAR,   /* A takes a direction the row needs to 0 */
    HTI_FAILED      /* a product failed or is not finite, or b is not finite */
} hti_end;

typedef struct hti_solution {
    hti_end end;
    bool solved;     /* end == HTI_SOLVED */
    double residual; /* |b - (A + damping I) x| / |b| of the x returned, by a product of
                      * its own (none if x is 0); NaN: HTI_FAILED */
    int64_t products;
    /* Of what was seen of A + damping I, from inside: the extreme eigenvalues are these
     * or further out. Ritz values where the row has them, else Rayleigh quotients;
     * singular values of the normal equations. NaN: nothing was seen. */
    double smallest, largest;
} hti_solution;

typedef struct hti_system hti_system; /* system.h */

typedef struct hti_solver {
    const char *name;
    bool ignores_guess; /* it begins at 0 */
    int64_t least;      /* products without which there is no improvement */
    /* Doubles improve works in, beside b, x and the residual. */
    int64_t (*room)(int64_t n, const hti_solver_options *options);
    /* A better x, from x and its residual r; an end, if there is nothing more to be had.
     * It leaves one product to judge x by. False: a product failed. */
    bool (*improve)(hti_system *system);
} hti_solver;

/* Bytes hti_solve works in, beside b and x. */
size_t hti_solver_room(const hti_solver *row, int64_t n,
                       const hti_solver_options *options);

/* x is read, a guess or 0, and written, solved or not. b of 0 has the solution 0, without
 * a product. Any scale of b will do, and of A from 1e-200 to 1e200, whose x can
 * be written. */
hti_solution hti_solve(const hti_solver *row, const hti_linear *a,
                       const hti_solver_options *options, const double *b, double *x,
                       void *work);

/* The row of an ht_solver; NULL: there is none, as of HT_SOLVER_AUTO. */
const hti_solver *hti_solver_row(int kind);

/* What a row needs: A symmetric and positive definite; any A, and its transpose; any A;
 * for the next two a rate such that |1 - rate lambda| < 1 for each eigenvalue lambda of
 * A + damping I; A symmetric and positive semidefinite. */
extern const hti_solver hti_conjugate_gradient, hti_normal_gradient, hti_gmres,
    hti_neumann, hti_fixed_point, hti_nystroem;

#endif
