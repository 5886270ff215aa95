/* SPDX-License-Identifier: MIT */
/* method.c: the table of methods. Read next: unroll/methods.c. */
#include "bilevel_internal.h"

#define ROW(row) &hti_method_##row,
static const hti_method *const rows[] = {HTI_METHODS(ROW)};

const hti_method *hti_method_row(ht_method kind)
{
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        if (rows[k]->kind == kind) return rows[k];
    return NULL;
}

/* Reverse mode over the last steps only is the truncated method. */
const hti_method *hti_method_of(const ht_bilevel_options *o)
{
    ht_method kind = o->method == HT_AUTO ? HT_REVERSE : o->method;
    return hti_method_row(kind == HT_REVERSE && o->truncate ? HT_TRUNCATED : kind);
}
