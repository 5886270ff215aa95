/* SPDX-License-Identifier: MIT */
/* inspect.h: listings and checks that tests and other layers ask for by parts. */
#ifndef HTI_INSPECT_H
#define HTI_INSPECT_H

#include "ops.h"
#include "program.h"

/* Checks of a row. */

enum { HTI_OP_ROUNDS = 6 };
struct hti_op_case;
typedef struct hti_op_options {
    uint64_t seed;
    int rounds;                           /* points for every sample and view */
    hti_hook *hook;                       /* hung on every tape; NULL: none */
    FILE *report;                         /* NULL: none */
    ht_var (*decompose)(const ht_rule *); /* if the row has none; NULL: none */
    bool (*also)(struct hti_op_case *c);  /* a group of identities more; NULL: none */
} hti_op_options;
typedef struct hti_op_tally {
    int64_t cases, ratios; /* ratios: halved steps whose errors could be compared */
} hti_op_tally;
/* ht_op_check with options: stops at the first identity that fails. */
bool hti_op_check_row(ht_context *ctx, const ht_op *op, const hti_op_options *options,
                      hti_op_tally *tally);

/* Listings. */

/* "tanh(%3)" into text: names[i] says input i. */
void hti_formula(const ht_op *op, const void *attributes, uint32_t n, const uint32_t *in,
                 char *text, size_t size);
enum { HTI_FORMULA = 240, HTI_SHOWN = 6 };
/* The first HTI_SHOWN elements. */
void hti_print_values(const ht_array *a, FILE *f);
typedef struct hti_range {
    double least, mean, most;
} hti_range;
hti_range hti_range_of(const ht_array *a);
/* "file.c:12"; "": not known. */
const char *hti_site_name(const char *site);
/* Of each node the order of a derivative that starts there, or 0: in the tape's scratch.
 * NULL after an error. */
uint32_t *hti_starts(ht_tape *tape);
/* "d1 by %4": what made node i; "d2 starts": what does there, `before` each. */
void hti_print_origin(ht_tape *tape, uint32_t i, uint32_t starts, const char *before,
                      FILE *f);

/* Pages. */

/* The lines of page/viewer.html before its data and behind them; the last is NULL. */
extern const char *const hti_page_before[], *const hti_page_behind[];
/* What a node or an instruction is: fields of a JSON object, "i" the first of all. */
void hti_page_inputs(hti_page *page, uint32_t n, const uint32_t *in);
void hti_page_type(hti_page *page, const ht_type *type);

#endif
