/* SPDX-License-Identifier: MIT */
/* fuse.h: groups while they grow, for fuse.c, which decides, and fuse_steps.c, which
 * writes what runs. */
#ifndef HTI_FUSE_H
#define HTI_FUSE_H

#include "passes.h"

/* Who reads what, and the groups as they grow. */
typedef struct hti_fuse_plan {
    ht_program *p;
    uint32_t *first_reader, *reader; /* readers of i: reader[first_reader[i] ..] */
    int64_t *unfused; /* elements of what cannot be fused and runs before i */
    bool *can;        /* whether i can be in a group */
    uint8_t *tile;    /* of a value in one: its slot */
    struct hti_fuse_group {
        uint32_t first, members, operands, operand[HTI_FUSED_OPERANDS];
        bool sums;
    } * group; /* by root */
} hti_fuse_plan;

/* A sum of all elements as a step of a group; a mean of f64 goes over its input more than
 * once. */
static inline bool hti_fuse_is_sum(const hti_value *v)
{
    return v->op->loop.kind == HTI_LOOP_SUM &&
           (v->op->loop.function != HTI_MEAN || v->type.dtype == HT_F32);
}
/* The shape instruction i walks over. */
static inline const ht_shape *hti_fuse_shape(const ht_program *p, uint32_t i)
{
    const hti_value *v = &p->value[i];
    return hti_fuse_is_sum(v) ? &p->value[p->edge[v->first_in]].type.shape
                              : &v->type.shape;
}
/* Whether anything outside the group `root` reads i. */
static inline bool hti_fuse_is_kept(const hti_fuse_plan *f, uint32_t i, uint32_t root)
{
    const hti_value *value = f->p->value;
    bool kept = value[i].place == HTI_IN_OUTPUT || hti_fuse_is_sum(&value[i]);
    for (uint32_t u = f->first_reader[i]; !kept && u < f->first_reader[i + 1]; u++)
        kept = value[f->reader[u]].when != root;
    return kept;
}

/* The groups as hti_group has them. False after an error. */
bool hti_fuse_write(hti_fuse_plan *f);

#endif
