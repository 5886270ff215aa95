/* SPDX-License-Identifier: MIT */
/* json.h: JSON as strictly as its standard says it, in the text it stands in: no tree, no
 * memory. Read next: json.c, safetensors.c. */
#ifndef HTI_JSON_H
#define HTI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A place in text, which ends with a zero at `end`. */
typedef struct hti_json {
    const char *at, *end;
    const char *why; /* what is wrong at `at`, after a function has returned false */
} hti_json;

/* Bytes of the UTF-8 character at c (RFC 3629: none overlong, no surrogates, none beyond
 * U+10FFFF), or 0 if there is none. Looks no further than at the first wrong byte, so
 * text may end with a zero. */
int hti_utf8_length(const char *c);

/* Passes spaces and one value (RFC 8259, UTF-8, no names with zeros, at most 16 deep). */
bool hti_json_value(hti_json *j);
/* Passes the spaces that may follow; true if this is the end. */
bool hti_json_ends(hti_json *j);

/* What follows is for text that hti_json_value has passed. */

/* Moves from an opening bracket, or from behind a value, to the next value, or to the
 * next name; past the closing bracket, with false, if there is none. */
bool hti_json_next(hti_json *j);
/* From behind a name to its value. */
void hti_json_colon(hti_json *j);
/* Passes a string; its bytes, as many as fit, and a zero go to `to`, which may be the
 * place of the string itself (j->at + 1). How many bytes there are. */
size_t hti_json_string(hti_json *j, char *to, size_t size);
/* Passes a number; false for one that is not just digits, or beyond INT64_MAX. */
bool hti_json_whole(hti_json *j, int64_t *number);

#endif
