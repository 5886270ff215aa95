/* SPDX-License-Identifier: MIT */
/* streams.h: what a planned program does, counted. Read next: streams.c. */
#ifndef BENCH_STREAMS_H
#define BENCH_STREAMS_H

#include "hypertape.h"

/* Kernel calls of a run: fused instructions are one, views and constants none. */
int64_t bench_instructions(const ht_program *program);
/* Arrays of at least `elements` elements read and written in a run: of each kernel call,
 * every operand once, and its result. */
int64_t bench_streams(const ht_program *program, int64_t elements);
/* Elements of the largest tensor. */
int64_t bench_largest(const ht_set *set);

#endif
