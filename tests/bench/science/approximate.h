/* SPDX-License-Identifier: MIT */
/* approximate.h: hypergradients as others approximate them, by the public functions of
 * the library alone: a plain training, then two gradients of the inner loss.
 *
 * With b = @F/@theta at theta_T, and the inner loss L on the whole of its data,
 *   identity  -(d2L/d eta d theta) b                at theta_T, exactly
 *   DARTS     that at theta_T-1 times the rate, by a central difference of dL/d eta over
 *             2 epsilon b, epsilon |b| = 0.01 (Liu et al. 2019, arXiv 1806.09055, eq. 8)
 *   SAMA      at theta_T with v = (du/dg) b in the place of b, u the last step's update
 *             and g its gradient, which is a diagonal for Adam; epsilon |v| = alpha (Choe
 *             et al. 2023, arXiv 2310.05674; (root v + eps)^3 below the line as there,
 *             with the corrections of Adam's bias, which are left out there)
 * Read next: approximate.c. */
#ifndef SCIENCE_APPROXIMATE_H
#define SCIENCE_APPROXIMATE_H

#include "lab.h"

typedef struct approximate approximate;
/* Of a problem without batches, init, coordinates and groups, by ht_sgd or ht_adam, all
 * numbers fixed, whose outer loss does not read eta. Sets are borrowed. NULL after an
 * error. */
approximate *approximate_new(const ht_bilevel_problem *problem);
void approximate_free(approximate *a);
/* Trains from theta as it stands, which is put back. */
bool approximate_train(approximate *a);
/* After it: each puts a gradient of eta's names in `to`. */
bool approximate_identity(approximate *a, ht_set *to);
bool approximate_darts(approximate *a, ht_set *to);
bool approximate_sama(approximate *a, double alpha, ht_set *to);

#endif
