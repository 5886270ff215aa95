/* SPDX-License-Identifier: MIT */
/* names.c: lists of names, of columns and of classes, and how they stand in a message.
 * Read next: csv.c. */
#include "data_internal.h"

#include <string.h>

/* A list of n has room for so many: a power of two, so that n says what it takes. */
static size_t names_bytes(int n)
{
    size_t room = n > 0 ? 8 : 0;
    while (room < (size_t)n) room *= 2;
    return room * sizeof(char *);
}

/* Room for one more, at the place given. */
static ht_status names_open(hti_names *names, int at)
{
    size_t old = names_bytes(names->n), wanted = names_bytes(names->n + 1);
    char **name = names->name;
    if (wanted > old) name = hti_resize(names->ctx, name, old, wanted);
    if (!name) return HT_ERROR_MEMORY;
    memmove(name + at + 1, name + at, (size_t)(names->n - at) * sizeof *name);
    names->name = name;
    names->n++;
    return HT_OK;
}

ht_status hti_names_insert(hti_names *names, int at, const char *name)
{
    size_t bytes = strlen(name) + 1;
    char *copy = hti_resize(names->ctx, NULL, 0, bytes);
    if (!copy) return HT_ERROR_MEMORY;
    if (names_open(names, at)) {
        hti_resize(names->ctx, copy, bytes, 0);
        return HT_ERROR_MEMORY;
    }
    names->name[at] = memcpy(copy, name, bytes);
    return HT_OK;
}

bool hti_names_find(const hti_names *names, const char *name, int *at)
{
    int first = 0, last = names->n, order = 1;
    while (first < last && order != 0) {
        *at = first + (last - first) / 2;
        order = strcmp(name, names->name[*at]);
        if (order < 0) last = *at;
        if (order > 0) first = *at + 1;
    }
    if (order != 0) *at = first;
    return order == 0;
}

void hti_names_free(ht_context *ctx, char **name, int n)
{
    for (int i = 0; i < n; i++) hti_resize(ctx, name[i], strlen(name[i]) + 1, 0);
    hti_resize(ctx, name, names_bytes(n), 0);
}

const char *hti_shown(const char *text, char shown[HTI_SHOWN])
{
    size_t n = 0;
    for (; text[n] && n < HTI_SHOWN - 4; n++)
        shown[n] = (unsigned char)text[n] < ' ' || text[n] == 127 ? '?' : text[n];
    strcpy(shown + n, text[n] ? "..." : "");
    return shown;
}

const char *hti_names_text(char *const *name, int n, char text[HTI_NAMES_TEXT])
{
    int used = 0, i = 0;
    char shown[HTI_SHOWN];
    text[0] = 0;
    for (; i < n && used < HTI_NAMES_TEXT - 2 * HTI_SHOWN; i++)
        used += snprintf(text + used, HTI_NAMES_TEXT - (size_t)used, "%s\"%s\"",
                         i > 0 ? ", " : "", hti_shown(name[i], shown));
    if (i < n)
        snprintf(text + used, HTI_NAMES_TEXT - (size_t)used, " and %d more", n - i);
    return text;
}
