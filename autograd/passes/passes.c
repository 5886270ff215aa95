/* SPDX-License-Identifier: MIT */
/* passes.c: the passes, in the order they run. A pass takes a program and leaves one that
 * computes the same bits in fewer trips to memory; without it the program is slower and
 * right, which is what it is tested against. Read next: products.c. */
#include "passes.h"

const hti_pass hti_passes[HTI_PASSES] = {
    {HT_PASS_PRODUCTS, hti_pass_products},
    {HT_PASS_ORDER, hti_pass_order},
    {HT_PASS_FUSE, hti_pass_fuse},
};
