/* SPDX-License-Identifier: MIT */
/* html.c: a page to look at a tape, a program or the schedule of an unroll with. The page
 * itself is page/viewer.html, the same for all three; here its data are written into it,
 * as JSON. Read next: html_tape.c, page/viewer.js. */
#include <stdarg.h>
#include <string.h>

#include "inspect.h"

static void page_lines(hti_page *page, const char *const *line)
{
    for (; *line; line++) hti_draft_write(&page->draft, *line, strlen(*line));
}

void hti_page_print(hti_page *page, const char *format, ...)
{
    char text[HTI_PAGE_TEXT];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    HT_ASSERT(n >= 0 && n < HTI_PAGE_TEXT, "a page's text of %d characters", n);
    hti_draft_write(&page->draft, text, (size_t)n);
}

/* Names are the user's: nothing in them ends the string, or the element it stands in. */
void hti_page_text(hti_page *page, const char *text)
{
    hti_draft_write(&page->draft, "\"", 1);
    for (const char *c = text; *c; c++) {
        if ((unsigned char)*c < ' ' || strchr("\"\\<>&\x7f", *c))
            hti_page_print(page, "\\u%04x", (unsigned)(unsigned char)*c);
        else
            hti_draft_write(&page->draft, c, 1);
    }
    hti_draft_write(&page->draft, "\"", 1);
}

void hti_page_field(hti_page *page, const char *key, const char *text)
{
    if (!text || !*text) return;
    hti_page_print(page, ",\"%s\":", key);
    hti_page_text(page, text);
}

void hti_page_inputs(hti_page *page, uint32_t n, const uint32_t *in)
{
    hti_page_print(page, "\"i\":[");
    for (uint32_t e = 0; e < n; e++) hti_page_print(page, e ? ",%u" : "%u", in[e]);
    hti_page_print(page, "]");
}

void hti_page_type(hti_page *page, const ht_type *type)
{
    char shape[HT_SHAPE_TEXT];
    hti_page_field(page, "t", ht_dtype_name(type->dtype));
    hti_page_field(page, "s", ht_shape_text(type->shape, shape));
    hti_page_print(page, ",\"b\":%zu", hti_bytes(type->dtype, type->shape));
}

void hti_page_open(hti_page *page, ht_context *ctx, const char *path)
{
    *page = (hti_page){.comma = "["};
    hti_draft_open(&page->draft, ctx, path);
    page_lines(page, hti_page_before);
}

void hti_page_part(hti_page *page, const char *kind, const char *title)
{
    hti_page_print(page, "%s\n{\"kind\":\"%s\"", page->comma, kind);
    hti_page_field(page, "title", title);
    page->comma = ",";
}

ht_status hti_page_close(hti_page *page)
{
    hti_page_print(page, "]\n");
    page_lines(page, hti_page_behind);
    return hti_draft_close(&page->draft);
}
