/* SPDX-License-Identifier: MIT */
/* poison.h: images changed to lower what is learned from all: poison.c has the training
 * and the attack, poison_controls.c what it is held against, poison_find.c who finds them
 * afterwards, and poison_page.c says, writes and draws it. */
#ifndef POISON_H
#define POISON_H

#include "demo.h"

enum { CLEAN, RANDOM, ASCENT, LABELS, EPOCH, LEARNED, N_ENTRANTS };

/* A way to tell which images were changed: the larger, the more suspect. */
typedef struct finder {
    const char *key, *name, *how;
    double *suspicion;      /* (n) in the last round, owned; NULL: not asked */
    int *round;             /* (n) in which it was left out, 1 first, 0: not; owned */
    double found;           /* changed images among as many most suspect, at once; */
    double found_by_rounds; /* by rounds */
    double auc;      /* a changed image is more suspect than another so often, at once */
    double accuracy; /* of trainings without those of all rounds; NaN: none yet */
} finder;
enum { INFLUENCE, LOSS, GRADIENT, DISTANCE, FINDERS };

typedef struct poisoning {
    demo run;
    demo_options options;
    int model;
    int64_t n_train, n_validation, n_clean, n_batch, inner_steps, outer_steps, orders,
        hidden, n_changed;
    double part, eps, rate, outer_rate;
    ht_set *train;       /* x, label, row, altered; the first n_changed may be changed */
    ht_set *validation;  /* the attack's */
    ht_set *clean;       /* of the one who looks for it */
    ht_set *theta, *eta; /* the start; "change" (n_changed, pixels) */
    judge *judge;
    int64_t order; /* number of the order, and of the start, of trainings now */
    /* What is found. */
    finder by[FINDERS];
    ht_smoothness smooth; /* of the clean images' loss as weights fall to 0 */
    bool asked;
    ht_tensor *random; /* a draw of random changes, to look at */
} poisoning;

ht_var network(ht_var x, const ht_vars *theta);
/* Trainings from now on have that order and start. The first that no outer step has. */
void begin_order(poisoning *p, int64_t number);
#define UNSEEN (INT64_C(1) << 30)
/* The training on images as they stand in p->train. */
ht_bilevel_problem training_of(poisoning *p);
/* Keeps p->eta in the box, and pixels in 0 .. 1. */
void project(ht_set *eta, void *p);

/* Accuracies of a row, in orders that no outer step has. */
void enter(poisoning *p, int which, ht_bilevel *training, double cost);

enum { ROUNDS = 5 };
/* In trainings, of p->orders. */
#define FIND_COST(orders) \
    (3 + ROUNDS * (HYPERGRADIENT + FINDERS - 1) + FINDERS * (double)(orders))
/* Scores every train image, changed as learned, by all finders, and trains without the
 * most suspect of each; until it is interrupted. */
void find(poisoning *p);

void say(const poisoning *p);
/* For --json: the numbers of p->run. */
void count(poisoning *p);
void write_page(poisoning *p);

#endif
