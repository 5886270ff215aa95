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
    struct hti_fuse_group {
        uint32_t first, members, operands, operand[HTI_FUSED_OPERANDS];
        bool sums;
    } * group; /* by root */
} hti_fuse_plan;

/* A sum, or mean of f32, of all elements, as a step of a group. */
bool hti_fuse_is_sum(const hti_value *v);
/* The shape instruction i walks over. */
ht_shape hti_fuse_shape(const ht_program *p, uint32_t i);
/* Whether anything outside the group `root` reads i. */
bool hti_fuse_is_kept(const hti_fuse_plan *f, uint32_t i, uint32_t root);
/* The groups as hti_group has them; tile: scratch, one a value. False after an error. */
bool hti_fuse_write(hti_fuse_plan *f, uint8_t *tile);

#endif
