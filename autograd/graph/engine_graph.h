/* SPDX-License-Identifier: MIT */
/* engine_graph.h: what bilevel sees of the engine beside engine.h: the nodes of a tape,
 * derivatives whose absent parts stay absent, and programs on memory of the caller's.
 * Read next: program/program.h. */
#ifndef HTI_ENGINE_GRAPH_H
#define HTI_ENGINE_GRAPH_H

#include "engine.h"

/* Nodes. */

const ht_op *hti_node_op(const ht_tape *tape, uint32_t i);
const char *hti_node_site(const ht_tape *tape, uint32_t i);
ht_var hti_node_var(ht_tape *tape, uint32_t i);
/* How many inputs, and their indices: until the next node is appended. */
uint32_t hti_node_inputs(const ht_tape *tape, uint32_t i, const uint32_t **in);
double hti_tape_flops(const ht_tape *tape, uint32_t i);

/* Derivatives: as ht_vjp and ht_jvp, but absent results stay HT_ZERO. reached (n, or
 * NULL): whether any y depends on x[i] at all. False after an error. */
bool hti_vjp(ht_tape *tape, int m, const ht_var *y, const ht_var *v, int n,
             const ht_var *x, ht_var *dx, bool *reached, const char *site);
bool hti_jvp(ht_tape *tape, int n, const ht_var *x, const ht_var *dx, int m,
             const ht_var *y, ht_var *dy, const char *site);

/* Programs. */

/* The arena becomes the caller's (borrowed until the program is freed or bound again), at
 * least ht_program_bytes long and 64-byte aligned: programs that never run at once may
 * share one. */
void hti_program_bind(ht_program *program, void *arena);
/* As ht_program_run without its checks: types are the caller's promise, as is
 * hti_program_may_share wherever memory is shared. */
ht_status hti_program_run(ht_program *program, void *const *in, void *const *out);
/* Whether out[k] may be the memory of in[j]: everything that reads j is done by then. */
bool hti_program_may_share(const ht_program *program, uint32_t k, uint32_t j);
/* What ht_program_free gives back. */
size_t hti_program_held(const ht_program *program);
/* A hash of what it computes: its ops in order, with their attributes and constants. One
 * of the caller's ops whose attributes are pointers differs from process to process. */
uint64_t hti_program_digest(const ht_program *program);
const ht_type *hti_program_in_type(const ht_program *program, uint32_t j);
const ht_type *hti_program_out_type(const ht_program *program, uint32_t k);

/* "12.3 kB" */
void hti_print_bytes(FILE *f, double bytes);

/* Pages. */

/* A page in the making: parts of it, each a JSON object of its kind. */
typedef struct hti_page {
    hti_draft draft;
    const char *comma; /* before the next part */
} hti_page;
enum { HTI_PAGE_TEXT = 512 }; /* bytes, the most of one hti_page_print */
void hti_page_open(hti_page *page, ht_context *ctx, const char *path);
/* The next part, whose further fields and closing brace the caller writes. */
void hti_page_part(hti_page *page, const char *kind, const char *title);
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void
hti_page_print(hti_page *page, const char *format, ...);
void hti_page_text(hti_page *page, const char *text); /* as a JSON string */
/* A field behind others; none if there is no text. */
void hti_page_field(hti_page *page, const char *key, const char *text);
/* A part that is a program. */
void hti_page_program(hti_page *page, const ht_program *program, const char *title);
ht_status hti_page_close(hti_page *page);

#endif
