/* SPDX-License-Identifier: MIT */
/* csv_text.h: separated text, a field at a time. Read next: csv_text.c, csv.c. */
#ifndef HTI_CSV_TEXT_H
#define HTI_CSV_TEXT_H

#include "data_internal.h"

enum { HTI_CSV_FIELD = 1 << 16 }; /* the most bytes of a field */

typedef struct hti_csv_text {
    hti_input in;
    char delimiter;
    unsigned char *buffer;
    size_t n, next;      /* bytes in the buffer, and the next of them */
    int64_t line, place; /* of the next byte, from 1 */
    ht_status status;    /* the first error's */
    /* The field: text with a zero behind it, without its quotes; what is not quoted also
     * without the spaces around it. */
    char *field;
    size_t length;
    int64_t field_line, field_place;
    bool last; /* of its record */
} hti_csv_text;

/* hti_csv_close follows, whatever the status. */
ht_status hti_csv_open(hti_csv_text *text, ht_context *ctx, const char *path,
                       char delimiter);
void hti_csv_close(hti_csv_text *text);
/* Passes empty lines; whether a record follows. */
bool hti_csv_record(hti_csv_text *text);
ht_status hti_csv_field(hti_csv_text *text);
/* HT_ERROR_FORMAT at the field: path:line:column. */
ht_status hti_csv_fail(hti_csv_text *text, const char *expected, const char *got,
                       const char *hint);

#endif
