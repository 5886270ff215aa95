/* SPDX-License-Identifier: MIT */
/* amx.h: f32 products on matrix tiles: a `tiles` of gemm.h's table. Read next: amx.c. */
#ifndef HTI_AMX_H
#define HTI_AMX_H

#include "gemm.h"

extern const hti_tiles hti_tiles_amx, hti_tiles_model;
/* Whether processor and operating system let this process use hti_tiles_amx; asked once,
 * it stays so. Linux sets aside memory for a thread's tiles only for who asks, from when
 * on the alternate stack of a signal handler has to be larger (AT_MINSIGSTKSZ). */
bool hti_amx_usable(void);
/* Whether the instructions multiply and add: what only says to have them is refused. */
bool hti_amx_agrees(void);

#endif
