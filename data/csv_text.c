/* SPDX-License-Identifier: MIT */
/* csv_text.c: separated text (RFC 4180), plain or gzip, a field at a time: lines end with
 * LF, CRLF or CR; a field in quotes may hold all of these, and a quote as two. Beyond the
 * RFC, a mark of UTF-8 may stand first and empty lines are passed over. Read next: csv.c.
 */
#include "csv_text.h"

#include <string.h>

enum { CSV_BUFFER = 1 << 16 };

ht_status hti_csv_fail(hti_csv_text *text, const char *expected, const char *got,
                       const char *hint)
{
    if (text->status) return text->status;
    text->status = ht_context_fail(text->in.ctx, HT_ERROR_FORMAT, NULL,
                                   "%s:%lld:%lld: expected %s, got %s\n  hint: %s",
                                   text->in.path, (long long)text->field_line,
                                   (long long)text->field_place, expected, got, hint);
    return text->status;
}

/* The next byte, which stays; -1 at the end and after an error. */
static int csv_peek(hti_csv_text *text)
{
    if (text->next == text->n && !text->status) {
        text->status = hti_input_read(&text->in, text->buffer, CSV_BUFFER, &text->n);
        text->next = 0;
    }
    return text->next < text->n && !text->status ? text->buffer[text->next] : -1;
}

static int csv_take(hti_csv_text *text)
{
    int byte = csv_peek(text);
    text->next += byte >= 0;
    text->place += byte >= 0;
    return byte;
}

static bool csv_at_line_end(hti_csv_text *text)
{
    int byte = csv_peek(text);
    return byte == '\n' || byte == '\r';
}

static void csv_take_line_end(hti_csv_text *text)
{
    if (csv_take(text) == '\r' && csv_peek(text) == '\n') csv_take(text);
    text->line++;
    text->place = 1;
}

static void csv_begin_field(hti_csv_text *text)
{
    text->length = 0;
    text->field_line = text->line;
    text->field_place = text->place;
}

/* What other programs write that is no text of this kind, by its first bytes. */
static ht_status csv_check_kind(hti_csv_text *text)
{
    static const struct {
        const char *bytes, *got, *hint;
    } kinds[] = {
        {"\xff\xfe", "UTF-16", "save it as UTF-8"},
        {"\xfe\xff", "UTF-16", "save it as UTF-8"},
        {"\x89PNG", "a picture", "pictures are read from a folder a class"},
        {"\xff\xd8\xff", "a picture", "pictures are read from a folder a class"},
        {"PK\3\4", "a zip or a workbook", "save the sheet as CSV, or unpack it"},
    };
    csv_begin_field(text);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t n = strlen(kinds[i].bytes);
        if (csv_peek(text) >= 0 && text->n >= n &&
            memcmp(text->buffer, kinds[i].bytes, n) == 0)
            return hti_csv_fail(text, "text in UTF-8", kinds[i].got, kinds[i].hint);
    }
    if (text->n >= 3 && memcmp(text->buffer, "\xef\xbb\xbf", 3) == 0) text->next = 3;
    return text->status;
}

ht_status hti_csv_open(hti_csv_text *text, ht_context *ctx, const char *path,
                       char delimiter)
{
    *text = (hti_csv_text){.delimiter = delimiter, .line = 1, .place = 1};
    text->status = hti_input_open(&text->in, ctx, path);
    if (text->status) return text->status;
    text->buffer = hti_resize(ctx, NULL, 0, CSV_BUFFER);
    if (text->buffer) text->field = hti_resize(ctx, NULL, 0, HTI_CSV_FIELD + 1);
    if (!text->field) text->status = HT_ERROR_MEMORY;
    return text->status ? text->status : csv_check_kind(text);
}

void hti_csv_close(hti_csv_text *text)
{
    ht_context *ctx = text->in.ctx;
    if (text->buffer) hti_resize(ctx, text->buffer, CSV_BUFFER, 0);
    if (text->field) hti_resize(ctx, text->field, HTI_CSV_FIELD + 1, 0);
    hti_input_close(&text->in);
}

bool hti_csv_record(hti_csv_text *text)
{
    while (csv_at_line_end(text)) csv_take_line_end(text);
    csv_begin_field(text);
    return csv_peek(text) >= 0;
}

static void csv_put(hti_csv_text *text, const void *from, size_t n)
{
    if (n > HTI_CSV_FIELD - text->length) {
        hti_csv_fail(text, "a field of at most 65536 bytes", "a longer one",
                     "is a quote not closed, or the file not text?");
        return;
    }
    memcpy(text->field + text->length, from, n);
    text->length += n;
}

static bool csv_is_space(const hti_csv_text *text, int byte)
{
    return (byte == ' ' || byte == '\t') && byte != text->delimiter;
}

/* Up to what ends it, or a zero byte, which has no place in text. */
static void csv_take_bare(hti_csv_text *text)
{
    while (csv_peek(text) >= 0) {
        const unsigned char *from = text->buffer + text->next;
        size_t most = text->n - text->next, n = 0;
        char end = text->delimiter;
        while (n < most && from[n] != (unsigned char)end && from[n] != '\n' &&
               from[n] != '\r' && from[n])
            n++;
        csv_put(text, from, n);
        text->next += n;
        text->place += (int64_t)n;
        if (n < most) break;
    }
    while (text->length > 0 && csv_is_space(text, text->field[text->length - 1]))
        text->length--;
}

static void csv_take_quoted(hti_csv_text *text)
{
    csv_take(text);
    for (;;) {
        if (csv_at_line_end(text)) {
            csv_take_line_end(text);
            csv_put(text, "\n", 1);
            continue;
        }
        int byte = csv_take(text);
        if (byte < 0)
            hti_csv_fail(text, "a quote that is closed", "the end of the file",
                         "a quote within quotes is written twice");
        if (byte == '"' && csv_peek(text) != '"') return;
        if (byte == '"') csv_take(text);
        if (text->status || byte == 0) return;
        csv_put(text, &(char){(char)byte}, 1);
    }
}

/* The delimiter, the end of the line or that of the file. */
static void csv_take_separator(hti_csv_text *text)
{
    char got[32];
    int byte = csv_peek(text);
    text->last = byte < 0 || csv_at_line_end(text);
    if (byte >= 0 && text->last) csv_take_line_end(text);
    if (text->last) return;
    csv_take(text);
    if (byte == (unsigned char)text->delimiter) return;
    snprintf(got, sizeof got, byte > ' ' && byte < 127 ? "'%c'" : "byte 0x%02x", byte);
    hti_csv_fail(text, "the end of the field", got,
                 "a quote within quotes is written twice; text has no zero bytes");
}

ht_status hti_csv_field(hti_csv_text *text)
{
    while (csv_is_space(text, csv_peek(text))) csv_take(text);
    csv_begin_field(text);
    if (csv_peek(text) == '"')
        csv_take_quoted(text);
    else
        csv_take_bare(text);
    if (!text->status) csv_take_separator(text);
    text->field[text->length] = 0;
    return text->status;
}
