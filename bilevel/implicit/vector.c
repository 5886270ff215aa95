/* SPDX-License-Identifier: MIT */
/* vector.c: an implicit derivative's unknowns as one vector in f64, and as the tensors
 * that programs read: parameters that train and, where the whole step is solved for, the
 * rule's state. Read next: implicit.c. */
#include <string.h>

#include "implicit.h"

/* The tensors of a block, one at a time: which and where. */
typedef struct walk {
    const hti_implicit *m;
    int i;
    unsigned char *at;
    const ht_tensor *tensor;
    bool unknown; /* a vector has elements for it */
} walk;

static bool walk_next(walk *w)
{
    const hti_problem *p = &w->m->b->problem;
    const hti_programs *of = &w->m->b->programs;
    if (w->tensor) w->at += hti_round_up(ht_tensor_bytes(w->tensor), HTI_ALIGN);
    int i = w->i++, n = p->theta->n;
    if (i >= n + p->state->n) return false;
    w->tensor = i < n ? p->theta->tensor[i] : p->state->tensor[i - n];
    w->unknown = i < n ? of->trained[i] : of->whole_step;
    return true;
}

void hti_vector_get(const hti_implicit *m, double *v, const unsigned char *block)
{
    walk w = {.m = m, .at = (unsigned char *)(uintptr_t)block};
    while (walk_next(&w)) {
        if (!w.unknown) continue;
        hti_floats_get(v, w.tensor, w.at);
        v += ht_tensor_count(w.tensor);
    }
}

void hti_vector_put(const hti_implicit *m, unsigned char *block, const double *v)
{
    walk w = {.m = m, .at = block};
    memset(block, 0, m->b->memory.block_bytes);
    while (walk_next(&w)) {
        if (!w.unknown) continue;
        hti_floats_put(w.at, w.tensor, v);
        v += ht_tensor_count(w.tensor);
    }
}

void hti_vector_move(const hti_implicit *m, unsigned char *block, double scale,
                     const double *v)
{
    walk w = {.m = m, .at = block};
    while (walk_next(&w))
        for (int64_t k = 0, n = ht_tensor_count(w.tensor); w.unknown && k < n; k++)
            hti_float_to(w.tensor, w.at, k,
                         hti_float_at(w.tensor, w.at, k) + scale * *v++);
}

void hti_add_elements(const ht_tensor *t, unsigned char *to, double scale,
                      const unsigned char *from)
{
    for (int64_t k = 0, n = ht_tensor_count(t); k < n; k++)
        hti_float_to(t, to, k, hti_float_at(t, to, k) + scale * hti_float_at(t, from, k));
}
