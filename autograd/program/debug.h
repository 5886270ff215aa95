/* SPDX-License-Identifier: MIT */
/* debug.h: what a run does besides for whoever looks for a fault. */
#ifndef HTI_DEBUG_H
#define HTI_DEBUG_H

#include "program.h"

/* NaN bytes: into all of the arena; into what nothing reads after instruction i. */
void hti_poison_all(ht_program *program);
void hti_poison_dead(ht_program *program, uint32_t i);
/* Keeps i as the bad value, if it is the first that is not finite. */
void hti_watch_value(ht_program *program, uint32_t i);

#endif
