/* SPDX-License-Identifier: MIT */
/* disk.h: first states of segments in a file, and beside it how far a sweep has come, so
 * that one that was killed goes on. Read next: disk.c. */
#ifndef HTI_DISK_H
#define HTI_DISK_H

#include "bilevel_internal.h"

/* How many states options.disk_bytes have room for; bytes in files by a choice, at most,
 * and in memory. */
int64_t hti_disk_places(const ht_bilevel *b, const ht_bilevel_options *o);
size_t hti_disk_size(const ht_bilevel *b, hti_choice c);
size_t hti_disk_bytes(hti_choice c);
/* Makes the folder and takes its files, which no other may use meanwhile, and their room
 * on the disk. False after an error. Close: of a sweep that is not half done they go. */
bool hti_disk_open(ht_bilevel *b);
void hti_disk_close(ht_bilevel *b);

/* Of a run, whose plan is at its first action and whose state is theta_0; nothing where
 * there is no disk. False after an error. Begin: after a sweep of the same training that
 * was killed, the plan and the run are where it was. Mark: `after` and all that the sweep
 * has come to are kept; a state that is stored too, while there is no `after`. */
bool hti_disk_begin(ht_bilevel *b, uint64_t outer_step);
bool hti_disk_store(ht_bilevel *b, int64_t place);
bool hti_disk_fetch(ht_bilevel *b, int64_t place);
bool hti_disk_mark(ht_bilevel *b);
bool hti_disk_end(ht_bilevel *b);
/* That what another run left was not gone on with, in the run's note. */
void hti_disk_explain(ht_bilevel *b);

#endif
