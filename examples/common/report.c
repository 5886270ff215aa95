/* SPDX-License-Identifier: MIT */
/* report.c: report.html, a page in one file: verdict, text, numbers and tables, in the
 * order they are told. Read next: report_chart.c, report_gallery.c. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common.h"

void report_put(report *page, const char *text)
{
    static const char special[] = "&<>\"";
    static const char *const name[] = {"&amp;", "&lt;", "&gt;", "&quot;"};
    for (; *text; text++) {
        const char *at = strchr(special, *text);
        if (at)
            fputs(name[at - special], page->out.file);
        else
            fputc(*text, page->out.file);
    }
}

static void put_values(report *page, const char *format, va_list values)
{
    va_list again;
    va_copy(again, values);
    size_t size = (size_t)vsnprintf(NULL, 0, format, values) + 1;
    char *text = malloc(size);
    HT_ASSERT(text, "no memory for a text of %zu bytes", size);
    vsnprintf(text, size, format, again);
    va_end(again);
    report_put(page, text);
    free(text);
}

/* Numbers, charts and facts that follow each other stand together. */
void report_within(report *page, const char *group)
{
    FILE *f = page->out.file;
    if (page->group == group || (page->group && group && !strcmp(page->group, group)))
        return;
    if (page->group) fputs(!strcmp(page->group, "facts") ? "</dl>\n" : "</div>\n", f);
    page->group = group;
    if (group)
        fprintf(f, "<%s class=\"%s\">\n", strcmp(group, "facts") ? "div" : "dl", group);
}

bool report_open(report *page, ht_context *ctx, const char *folder, const char *title)
{
    char path[OUTPUT_PATH];
    *page = (report){.folder = folder};
    if (!path_join(ctx, path, folder, "report.html")) return false;
    if (!output_open(&page->out, ctx, path, false)) return false;
    for (int k = 0; report_head[k]; k++) fputs(report_head[k], page->out.file);
    report_put(page, title);
    fputs("</title></head>\n<body><main>\n<h1>", page->out.file);
    report_put(page, title);
    fputs("</h1>\n", page->out.file);
    return true;
}

ht_status report_close(report *page)
{
    report_within(page, NULL);
    fputs("</main></body></html>\n", page->out.file);
    return output_close(&page->out, true);
}

/* <before>, the text, <after>. */
static void put_element(report *page, const char *before, const char *text,
                        const char *after)
{
    fputs(before, page->out.file);
    report_put(page, text);
    fputs(after, page->out.file);
}

void report_section(report *page, const char *title)
{
    report_within(page, NULL);
    put_element(page, "<h2>", title, "</h2>\n");
}

void report_verdict(report *page, report_tone tone, const char *format, ...)
{
    static const char *const style[] = {"plain", "good", "mixed", "bad"};
    static const char *const sign[] = {"", "<b>Yes.</b>", "<b>Even.</b>", "<b>No.</b>"};
    va_list values;
    report_within(page, NULL);
    fprintf(page->out.file, "<p class=\"verdict %s\">%s", style[tone], sign[tone]);
    va_start(values, format);
    put_values(page, format, values);
    va_end(values);
    fputs("</p>\n", page->out.file);
}

void report_text(report *page, const char *format, ...)
{
    va_list values;
    report_within(page, NULL);
    fputs("<p>", page->out.file);
    va_start(values, format);
    put_values(page, format, values);
    va_end(values);
    fputs("</p>\n", page->out.file);
}

void report_number(report *page, const char *name, const char *note, const char *format,
                   ...)
{
    va_list values;
    report_within(page, "tiles");
    put_element(page, "<p>", name, "<b>");
    va_start(values, format);
    put_values(page, format, values);
    va_end(values);
    put_element(page, "</b><span>", note, "</span></p>\n");
}

void report_fact(report *page, const char *name, const char *format, ...)
{
    va_list values;
    report_within(page, "facts");
    put_element(page, "<div><dt>", name, "</dt><dd>");
    va_start(values, format);
    put_values(page, format, values);
    va_end(values);
    fputs("</dd></div>\n", page->out.file);
}

void report_account(report *page, stopwatch began)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    stopwatch spent = stopwatch_since(began);
    report_fact(page, "time of computing", "%.1f s", spent.wall);
    report_fact(page, "of processors, all threads", "%.1f s", spent.all_cpu);
    report_fact(page, "most memory of the whole process", "%.0f MB",
                1024e-6 * (double)usage.ru_maxrss);
}

void report_settings(report *page)
{
    flag_setting is;
    for (int i = 0; command_setting(i, &is); i++)
        report_fact(page, is.name, "%s", strcmp(is.value, "null") ? is.value : "none");
}

/* Figures: a heading, what is drawn, and the numbers for those who cannot see it. */

void report_figure_begin(report *page, const report_figure *figure)
{
    put_element(page, "<figure><figcaption>", figure->title, "");
    if (figure->note) put_element(page, "<p>", figure->note, "</p>");
    fputs("</figcaption>\n", page->out.file);
}

/* It scrolls by itself, and by keyboard. */
void report_table_begin(report *page, const char *title, const char *style)
{
    put_element(page,
                "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"",
                title, "\">");
    fprintf(page->out.file, "<table class=\"%s\">\n<thead><tr>", style);
}

void report_cell(report *page, bool heading, const char *text)
{
    put_element(page, heading ? "<th>" : "<td>", text, heading ? "</th>" : "</td>");
}

void report_table(report *page, const report_figure *figure, int n_columns,
                  const char *const *heading, int n_rows, const char *const *cell)
{
    report_within(page, NULL);
    report_figure_begin(page, figure);
    report_table_begin(page, figure->title, "plain");
    for (int j = 0; j < n_columns; j++) report_cell(page, true, heading[j]);
    fputs("</tr></thead><tbody>\n", page->out.file);
    for (int i = 0; i < n_rows; i++) {
        fputs("<tr>", page->out.file);
        for (int j = 0; j < n_columns; j++)
            report_cell(page, j == 0, cell[i * n_columns + j]);
        fputs("</tr>\n", page->out.file);
    }
    fputs("</tbody></table></div></figure>\n", page->out.file);
}

/* A cell is as dark as its share of the row. */
static void matrix_row(report *page, const char *name, int n, const double *count)
{
    double sum = 0;
    for (int j = 0; j < n; j++) sum += count[j];
    fputs("<tr>", page->out.file);
    report_cell(page, true, name);
    for (int j = 0; j < n; j++)
        fprintf(page->out.file, "<td style=\"--p:%.3f\">%.10g</td>",
                sum > 0 ? count[j] / sum : 0, count[j]);
    fputs("</tr>\n", page->out.file);
}

void report_matrix(report *page, const report_figure *figure, int n_rows,
                   const char *const *row, int n_columns, const char *const *column,
                   const double *count)
{
    report_within(page, NULL);
    report_figure_begin(page, figure);
    report_table_begin(page, figure->title, "matrix");
    report_cell(page, true, "");
    for (int j = 0; j < n_columns; j++) report_cell(page, true, column[j]);
    fputs("</tr></thead><tbody>\n", page->out.file);
    for (int i = 0; i < n_rows; i++)
        matrix_row(page, row[i], n_columns, count + (size_t)i * (size_t)n_columns);
    fputs("</tbody></table></div></figure>\n", page->out.file);
}
