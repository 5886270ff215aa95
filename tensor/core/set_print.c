/* SPDX-License-Identifier: MIT */
/* set_print.c: how much a set holds, as numbers and as a table. Read next: set.c. */
#include <string.h>

#include "set.h"

bool ht_name_matches(const char *pattern, const char *name)
{
    HT_ASSERT(pattern && name, "ht_name_matches: pattern %p, name %p",
              (const void *)pattern, (const void *)name);
    /* The last star, and where what it stands for ends if all after it is to match. */
    const char *star = NULL, *end = NULL;
    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            end = name;
        } else if (*pattern == '?' || *pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++end;
        } else {
            return false;
        }
    }
    while (*pattern == '*') pattern++;
    return !*pattern;
}

ht_counts ht_set_counts(const ht_set *set, const char *pattern)
{
    HT_ASSERT(set, "ht_set_counts: the set is NULL");
    HTI_ALIVE(set, "ht_set_counts", "set");
    ht_counts counts = {0, 0, 0};
    for (int i = 0; i < ht_set_count(set); i++) {
        if (pattern && !ht_name_matches(pattern, set->name[i])) continue;
        counts.tensors++;
        counts.elements += ht_tensor_count(set->tensor[i]);
        counts.bytes += ht_tensor_bytes(set->tensor[i]);
    }
    return counts;
}

static void summary_widen(int *width, const char *text)
{
    int length = (int)strlen(text);
    if (length > *width) *width = length;
}

void ht_set_print(const ht_set *set, FILE *f)
{
    HT_ASSERT(set && f, "ht_set_print: set %p, file %p", (const void *)set, (void *)f);
    HTI_ALIVE(set, "ht_set_print", "set");
    int name = 5, shape = 5; /* "total", "shape" */
    char text[HT_SHAPE_TEXT];
    for (int i = 0; i < set->n; i++) {
        summary_widen(&name, set->name[i]);
        summary_widen(&shape, ht_shape_text(ht_tensor_shape(set->tensor[i]), text));
    }
    fprintf(f, "%-*s  dtype  %-*s  %12s  %12s\n", name, "name", shape, "shape",
            "elements", "bytes");
    for (int i = 0; i < set->n; i++) {
        const ht_tensor *x = set->tensor[i];
        fprintf(f, "%-*s  %-5s  %-*s  %12lld  %12zu\n", name, set->name[i],
                ht_dtype_name(ht_tensor_dtype(x)), shape,
                ht_shape_text(ht_tensor_shape(x), text), (long long)ht_tensor_count(x),
                ht_tensor_bytes(x));
    }
    ht_counts all = ht_set_counts(set, NULL);
    snprintf(text, sizeof text, "%d tensor%s", all.tensors, all.tensors == 1 ? "" : "s");
    fprintf(f, "%-*s  %-*s  %12lld  %12zu\n", name, "total", shape + 7, text,
            (long long)all.elements, all.bytes);
}
