/* SPDX-License-Identifier: MIT */
/* solver.h: a solver of linear systems is a row, after the table of operations of a
 * SUNLinearSolver (SUNDIALS). What an implicit derivative asks of it is A x = b with A a
 * Hessian, which is known by its products alone. Read next: conjugate_gradient.c. */
#ifndef HTI_SOLVER_H
#define HTI_SOLVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A, n by n: y = A x. False ends the solving. */
typedef struct hti_linear {
    int64_t n;
    bool (*product)(const double *x, double *y, void *user);
    void *user;
    int64_t most; /* products at most */
} hti_linear;

typedef struct hti_solution {
    bool solved;     /* residual <= tolerance */
    double residual; /* |b - A x| / |b| of the x returned, by a product of its
                    * own; NaN: a product failed or is not finite */
    int64_t products;
} hti_solution;

typedef struct hti_solver {
    const char *name;
    size_t (*room)(int64_t n); /* bytes solve works in, beside b and x */
    /* x is read, a guess or 0, and written, solved or not. */
    hti_solution (*solve)(const hti_linear *a, const double *b, double *x,
                          double tolerance, void *work);
} hti_solver;

extern const hti_solver hti_conjugate_gradient; /* A symmetric, positive definite */

#endif
