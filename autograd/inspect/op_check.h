/* SPDX-License-Identifier: MIT */
/* op_check.h: what the files of ht_op_check share. A *case* is one sample of a row at a
 * random point: sizes drawn, leaves filled, each seen through a view, with random
 * directions u, w of the float leaves x and a random cotangent v of the output y. All
 * identities are about phi(x) = <v, y(x)>. Read next: op_check.c. */
#ifndef HTI_OP_CHECK_H
#define HTI_OP_CHECK_H

#include "inspect.h"

/* How an input reaches the op: as it is, transposed, every second element backwards, or
 * one row repeated. */
typedef enum hti_op_layout {
    HTI_OP_DENSE,
    HTI_OP_TRANSPOSED,
    HTI_OP_STEPPED,
    HTI_OP_REPEATED,
    HTI_OP_LAYOUTS
} hti_op_layout;

/* Leaves together, and the output: few enough that cells of the usual ranges, [-2, 2] and
 * the like, stay wider than a difference step. */
enum { HTI_OP_ELEMENTS = 1024 };

/* Several tensors end to end. */
typedef struct hti_op_vec {
    int64_t n;
    double at[HTI_OP_ELEMENTS];
} hti_op_vec;

typedef struct hti_op_check {
    ht_context *ctx; /* the check's own */
    const ht_op *op;
    hti_op_options options;
    int64_t cases;
    bool compared;             /* some case had elements to compare */
    int64_t ratios;            /* how often truncation was large enough to be measured */
    ht_tape *eager, *recorded; /* empty between cases */
} hti_op_check;

typedef struct hti_op_case {
    hti_op_check *check;
    const ht_sample *sample;
    ht_shape shape[HT_OP_INPUTS]; /* the sample's, sizes drawn */
    hti_op_layout layout;
    ht_dtype dtype; /* the float type under test */
    uint64_t seed;
    bool derives;                     /* y is a float, and so is an input */
    bool decomposed;                  /* y comes from the row's decompose */
    int n_float, place[HT_OP_INPUTS]; /* which inputs are floats */
    ht_tensor *leaf[HT_OP_INPUTS], *u[HT_OP_INPUTS], *w[HT_OP_INPUTS], *v;
    hti_op_vec base, u_flat, w_flat, v_flat; /* base: of the float leaves */
    double cell; /* no two floats, nor the middle of a range, are nearer than 0.4 of it */
} hti_op_case;

/* The case on one tape. */
typedef struct hti_op_graph {
    ht_var leaf[HT_OP_INPUTS], x[HT_OP_INPUTS], u[HT_OP_INPUTS], w[HT_OP_INPUTS];
    ht_var v, y, phi, g[HT_OP_INPUTS]; /* g: phi's gradient */
} hti_op_graph;

/* op_check_case.c */

/* False, and reported, if the row refuses its own sample; close in any case. */
bool hti_op_open(hti_op_case *c, hti_op_check *check, const ht_sample *sample,
                 hti_op_layout layout, ht_dtype dtype, uint64_t seed);
void hti_op_close(hti_op_case *c);
/* The float leaves become base + step * direction; forgets the eager tape. */
void hti_op_move(hti_op_case *c, const hti_op_vec *direction, double step);
/* Appends leaves and op; then directions, phi and its gradient. */
void hti_op_append(const hti_op_case *c, ht_tape *tape, hti_op_graph *g);
void hti_op_append_gradient(const hti_op_case *c, ht_tape *tape, hti_op_graph *g);
/* Values of n eager variables end to end; of as many as there are after an error. */
void hti_op_read(int n, const ht_var *x, hti_op_vec *out);
/* Reports "<case>: <what>: <text>"; returns false. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
bool hti_op_fail(const hti_op_case *c, const char *what, const char *format, ...);
double hti_op_dot(const hti_op_vec *a, const hti_op_vec *b);
/* |got - want| <= tolerance max(1, |want|), and no error kept; else reported. */
bool hti_op_near(const hti_op_case *c, const hti_op_vec *got, const hti_op_vec *want,
                 double tolerance, const char *what);
bool hti_op_near_number(const hti_op_case *c, double got, double want, double tolerance,
                        const char *what);

/* What is differentiated or compared, at the point the leaves are at, on a fresh eager
 * tape: y, phi, its gradient, its Hessian times u, and y's tangent along u. */
typedef void hti_op_fn(hti_op_case *c, hti_op_vec *out);
hti_op_fn hti_op_value, hti_op_phi, hti_op_gradient, hti_op_hvp, hti_op_jvp;

/* The groups of identities. True if they hold on the case. */
typedef bool hti_op_group(hti_op_case *c);
hti_op_group hti_op_first, hti_op_second, hti_op_third, hti_op_flat; /* _derive.c */
hti_op_group hti_op_refused, hti_op_fused, hti_op_f32;               /* _value.c */
hti_op_group hti_op_replayed, hti_op_flags;

#endif
