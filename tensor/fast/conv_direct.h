/* SPDX-License-Identifier: MIT */
/* conv_direct.h: convolutions of f32 without columns, called by conv.c where they exist.
 * Read next: conv_direct.c. */
#ifndef HTI_CONV_DIRECT_H
#define HTI_CONV_DIRECT_H

#include "kernels.h"

enum { HTI_CONV_SERIAL = 1 << 20 /* multiply-adds not worth a second thread */ };

bool hti_conv_is_direct(const ht_context *ctx, hti_conv_side side, ht_dtype dtype,
                        ht_shape x, ht_shape w, ht_shape y, const hti_conv_geometry *g);
/* As hti_conv_workspace and hti_run_conv. The weights, if they are the result, are left
 * in the workspace in `parts` to be added up, each (groups, outputs, taps, channels) and
 * hti_round_up'd to HTI_ALIGN. */
size_t hti_conv_direct_workspace(const ht_context *ctx, hti_conv_side side, ht_shape x,
                                 ht_shape w, ht_shape y, const hti_conv_geometry *g,
                                 int64_t parts);
void hti_run_conv_direct(ht_context *ctx, hti_conv_side side, ht_array x, ht_array weight,
                         ht_array y, const hti_conv_geometry *geometry, void *workspace,
                         int64_t parts);

/* The same by conv_winograd.c: whole, weights too. */
bool hti_conv_is_winograd(const ht_context *ctx, hti_conv_side side, ht_dtype dtype,
                          ht_shape x, ht_shape w, ht_shape y, const hti_conv_geometry *g);
size_t hti_conv_winograd_workspace(const ht_context *ctx, hti_conv_side side, ht_shape x,
                                   ht_shape w, ht_shape y, const hti_conv_geometry *g,
                                   int64_t parts);
void hti_run_conv_winograd(ht_context *ctx, hti_conv_side side, ht_array x,
                           ht_array weight, ht_array y, const hti_conv_geometry *geometry,
                           void *workspace, int64_t parts);

#endif
