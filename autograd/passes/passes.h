/* SPDX-License-Identifier: MIT */
/* passes.h: the passes, each a program in and the same bits out. */
#ifndef HTI_PASSES_H
#define HTI_PASSES_H

#include "program.h"

/* The rows a pass looks for, and x + a . b, which it makes of them. */
extern const ht_op hti_op_add, hti_op_matmul_add, hti_op_permute, hti_op_reshape;

/* A sum takes in the product it adds; small instructions wait for what reads them;
 * between two products of a tall operand all run by blocks of its rows; elementwise
 * instructions run together. */
bool hti_pass_products(ht_program *program);
bool hti_pass_order(ht_program *program);
bool hti_pass_blocks(ht_program *program);
bool hti_pass_fuse(ht_program *program);

#endif
