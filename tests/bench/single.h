/* SPDX-License-Identifier: MIT */
/* single.h: bilevel problems by rows. Read next: quadratics.c, single.c. */
#ifndef BENCH_SINGLE_H
#define BENCH_SINGLE_H

#include "hypertape.h"

/* rows: all, of the inner and of the outer loss; batch: those that a step sees. */
typedef struct single_task {
    ht_context *ctx;
    ht_set *theta, *eta, *rows[2], *batch[2];
    ht_loss_fn inner, outer;
    int64_t read; /* batches, by this run */
} single_task;

/* 32,768 rows and 1,024, 100 inner variables and 10 outer ones. False: close it too. */
bool quadratics_open(single_task *t);
typedef struct quadratics_means quadratics_means;
quadratics_means *quadratics_means_new(const single_task *t); /* to be freed */
/* |d Phi/d eta|^2, Phi(eta) = F(theta, eta) where d G/d theta = 0. */
double quadratics_square(const quadratics_means *m, const ht_set *eta);

#endif
