/* SPDX-License-Identifier: MIT */
/* single.h: a single loop at hand, the row of its method, and what steps are made of:
 * batches, gradients and products at a point. Below it is a bilevel that has programs and
 * trains nothing. Read next: single.c; oracle.c; soba.c, the first method. */
#ifndef HTI_SINGLE_H
#define HTI_SINGLE_H

#include "bilevel_internal.h"
#include "system.h"

/* Options beside the method, and what is usual where one is needed. */
/* clang-format off */
#define HTI_SINGLE_OPTIONS(X) \
    X(rate_inner, "0.1, below 2 / the largest eigenvalue of d2 inner/d theta2") \
    X(rate_linear, "as rate_inner") \
    X(rate_outer, "a tenth of rate_inner") \
    X(penalty, "10 or more for HT_F2SA and HT_PBGD, 0.5 for HT_BOME") \
    X(momentum, "0.9") \
    X(inner_steps, "10") \
    X(linear_steps, "10") \
    X(decay, "0.5") \
    X(inner_batches, "the number of different batches, 1 without inner_batch") \
    X(outer_batches, "the number of different batches, 1 without outer_batch") \
    X(period, "about inner_batches") \
    X(growth, "0.25")
/* clang-format on */
#define HTI_OPTION(name, usual) HTI_OPTION_##name,
enum { HTI_SINGLE_OPTIONS(HTI_OPTION) HTI_OPTION_COUNT };
#define HTI_TAKES(name) (1u << HTI_OPTION_##name)

enum { HTI_KEPT = 12, HTI_WORK = 6 };

/* theta and eta, or what is like them, each as one vector in f64; eta lies behind theta
 * but for parts of the state. */
typedef struct hti_point {
    double *theta, *eta;
} hti_point;

/* A vector that goes on from step to step, or one for each batch. */
typedef struct hti_kept {
    const char *name; /* in the state's set */
    enum { HTI_LIKE_THETA, HTI_LIKE_ETA } like;
    enum { HTI_ONE, HTI_PER_INNER, HTI_PER_OUTER } times;
} hti_kept;

typedef struct hti_single_row {
    ht_single_method kind;
    const char *name;     /* of the kind, in messages */
    unsigned needs, may;  /* HTI_TAKES of options; decay goes with all */
    bool second;          /* by products with second derivatives; else by gradients */
    const hti_kept *kept; /* the last has no name; NULL: none */
    int work;             /* points that a step works in */
    bool (*step)(ht_single *s); /* moves s->at; false after an error */
} hti_single_row;

#define HTI_SINGLE_ROWS(X) \
    X(soba) X(saba) X(stocbio) X(mrbo) X(vrbo) X(fsla) X(amigo) X(f2sa) X(bome) X(pbgd)
#define HTI_DECLARE_SINGLE(row) extern const hti_single_row hti_single_##row;
HTI_SINGLE_ROWS(HTI_DECLARE_SINGLE)

/* What is counted: steps, and the next batches. */
enum { HTI_STEPS, HTI_INNER, HTI_OUTER, HTI_COUNTS };

struct ht_single {
    hti_owned owned;
    ht_context *ctx;
    const hti_single_row *row;
    ht_single_options options;
    hti_method method; /* of the bilevel */
    ht_bilevel *b;
    int64_t n, m;  /* elements of theta, of eta */
    ht_set *state; /* it holds the next two */
    double *count[HTI_COUNTS];
    double *kept[HTI_KEPT]; /* in the row's order */
    hti_point at, work[HTI_WORK];
    unsigned char *theta, *eta, *v, *of_theta, *of_eta; /* as programs read and write */
    void *memory;                                       /* of the last two lines */
    size_t memory_bytes, bytes;
    double outer;
    bool stepping;
};

/* options.c: the row these ask for, if they and the problem go with it; else NULL, and an
 * error. */
const hti_single_row *hti_single_valid(ht_context *ctx, const ht_bilevel_problem *p,
                                       const ht_single_options *o);

/* oracle.c: sets to s->at and back. */
void hti_single_load(ht_single *s);
void hti_single_store(ht_single *s);
/* The first of n fresh batch numbers, of inner or of outer ones. */
int64_t hti_take(ht_single *s, int of, int64_t n);
/* The batch that what follows is on: by number, or the next one. False, here as below,
 * after an error. */
bool hti_inner_batch(ht_single *s, int64_t number);
bool hti_outer_batch(ht_single *s, int64_t number);
bool hti_next_inner(ht_single *s);
bool hti_next_outer(ht_single *s);
/* At a point: @G/@theta; by eta as well, in methods without second derivatives; those of
 * F; h = H v; d = d - J^T v. */
bool hti_inner_gradient(ht_single *s, hti_point at, double *g);
bool hti_inner_gradients(ht_single *s, hti_point at, hti_point g);
bool hti_outer_gradients(ht_single *s, hti_point at, hti_point f);
bool hti_hessian(ht_single *s, hti_point at, const double *v, double *h);
bool hti_less_mixed(ht_single *s, hti_point at, const double *v, double *d);
void hti_point_copy(const ht_single *s, hti_point to, hti_point from);
/* A rate in this step; the momentum. */
double hti_rate(const ht_single *s, double rate);
double hti_momentum(const ht_single *s);

/* stocbio.c: batches inner .. inner + n_inner - 1, and outer ones likewise. Of one inner
 * batch a series takes those behind it as well. */
typedef struct hti_sample {
    int64_t inner, n_inner, outer, n_outer;
} hti_sample;
/* Fresh ones for a series; g = @G/@theta, d = the hypergradient by a series, both means,
 * by the work from 2 on. */
hti_sample hti_sample_next(ht_single *s);
bool hti_mean_gradient(ht_single *s, hti_point at, hti_sample of, double *g);
bool hti_series(ht_single *s, hti_point at, hti_sample of, double *d);

#endif
