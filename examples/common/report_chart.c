/* SPDX-License-Identifier: MIT */
/* report_chart.c: curves, bars and histograms, drawn as SVG. Each has its numbers in a
 * table behind it, and in words what it does, for those who hear it.
 * Read next: report.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

enum {
    WIDE = 360, /* of a drawing; it is shown about as large */
    HIGH = 220,
    LEFT = 46,
    RIGHT = 352,
    TOP = 10,
    BOTTOM = 182,
    BAR = 38,      /* height of a line of bars, with its name */
    TICKS = 12,    /* at most */
    POINTS = 1000, /* of a curve, at most */
    ROWS = 100,    /* of a table, at most */
    STYLES = 6
};

/* Where a value stands: `low` (its logarithm, if log) at `from`, `high` at `to`. */
typedef struct axis {
    double low, high, from, to;
    double step;      /* from tick to tick */
    bool log, broken; /* broken: not all values are whole numbers */
} axis;

static double on_axis(const axis *a, double value)
{
    double x = a->log ? log10(value) : value;
    return a->from + (a->to - a->from) * (x - a->low) / (a->high - a->low);
}

static bool has_place(const axis *a, double value)
{
    return isfinite(value) && (!a->log || value > 0);
}

static void axis_reach(axis *a, double value)
{
    if (!has_place(a, value)) return;
    double x = a->log ? log10(value) : value;
    a->low = fmin(a->low, x);
    a->high = fmax(a->high, x);
    a->broken = a->broken || fabs(x - rint(x)) > 0;
}

static axis axis_new(double from, double to, bool log)
{
    return (axis){INFINITY, -INFINITY, from, to, .log = log};
}

/* 1, 2 or 5 times a power of ten, so that a quarter of the span has about one. */
static double tick_step(const axis *a)
{
    double quarter = (a->high - a->low) / 4, power = pow(10, floor(log10(quarter)));
    double part = quarter / power;
    double step = power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
    return a->broken ? step : fmax(step, 1);
}

/* Room above and below, up to the next tick; a span even where all values are as good as
 * one. */
static void axis_settle(axis *a, bool round)
{
    if (!(a->low <= a->high)) a->low = a->high = 0;
    if (!(a->high - a->low > 1e-5 * (fabs(a->low) + fabs(a->high)))) {
        double around = a->log ? 0.5 : fabs(a->low) * 0.1;
        a->low -= around;
        a->high += around > 0 ? around : 1;
    }
    a->step = a->log ? 0.1 : tick_step(a);
    if (!round) return;
    a->low = a->step * floor(a->low / a->step + 1e-9);
    a->high = a->step * ceil(a->high / a->step - 1e-9);
}

/* On a logarithm's axis: powers of ten, and within two of them 2 and 5 times these. */
static int log_ticks(const axis *a, double tick[TICKS])
{
    int n = 0, every = (int)ceil((a->high - a->low) / 6);
    bool fine = a->high - a->low < 2;
    static const double parts[] = {1, 2, 5};
    for (int power = (int)floor(a->low); power <= (int)ceil(a->high); power += every)
        for (int k = 0; k < (fine ? 3 : 1) && n < TICKS; k++) {
            double value = parts[k] * pow(10, power), x = log10(value);
            if (x > a->low - 1e-9 && x < a->high + 1e-9) tick[n++] = value;
        }
    return n;
}

static int axis_ticks(const axis *a, double tick[TICKS])
{
    if (a->log) return log_ticks(a, tick);
    double step = a->step;
    int n = 0;
    for (double k = ceil(a->low / step - 1e-9) + 0; n < TICKS; k++) {
        if (k * step > a->high + 1e-9 * step) break;
        tick[n++] = k * step + 0; /* not -0 */
    }
    return n;
}

static void put_axes(report *page, const report_figure *figure, const axis *x,
                     const axis *y)
{
    FILE *f = page->out.file;
    double tick[TICKS];
    int n = axis_ticks(y, tick);
    for (int k = 0; k < n; k++) {
        double at = on_axis(y, tick[k]);
        fprintf(f, "<path class=\"grid\" d=\"M%d %.1fH%d\"/>", LEFT, at, RIGHT);
        fprintf(f, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>\n",
                LEFT - 5, at + 4, tick[k]);
    }
    n = axis_ticks(x, tick);
    for (int k = 0; k < n; k++)
        fprintf(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.6g</text>\n",
                on_axis(x, tick[k]), BOTTOM + 16, tick[k]);
    fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", RIGHT, BOTTOM + 33);
    report_put(page, figure->x ? figure->x : "");
    fputs("</text>\n", f);
}

/* A figure with its drawing begun; what is in it is said by the caller, in the label. */
static void chart_begin(report *page, const report_figure *figure)
{
    report_within(page, "charts");
    report_figure_begin(page, figure);
    fprintf(page->out.file, "<svg role=\"img\" aria-label=\"");
    report_put(page, figure->title);
    if (figure->y) {
        fputs(": ", page->out.file);
        report_put(page, figure->y);
    }
}

static void chart_draw(report *page, double high)
{
    fprintf(page->out.file, "\" viewBox=\"0 0 %d %.0f\">\n", WIDE, high);
}

/* Samples of the drawing beside their names. */
static void put_legend(report *page, int i, const char *name, bool control, bool line)
{
    fprintf(page->out.file, "<li><svg viewBox=\"0 0 28 10\" aria-hidden=\"true\">");
    fprintf(page->out.file,
            line ? "<path class=\"%ss%d\" d=\"M0 5H28\"/>"
                 : "<rect class=\"%ss%d\" x=\"8\" width=\"12\" height=\"10\"/>",
            control ? "control " : "", i % STYLES);
    fputs("</svg>", page->out.file);
    report_put(page, name);
    fputs("</li>\n", page->out.file);
}

static void table_begin(report *page, const report_figure *figure)
{
    fputs("<details><summary>Numbers</summary>", page->out.file);
    report_table_begin(page, figure->title, "plain");
}

static void put_number(report *page, double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.6g", value);
    report_cell(page, false, isfinite(value) ? text : "");
}

/* Curves. */

static int64_t stride(const report_series *s)
{
    return s->stride ? s->stride : 1;
}

static double series_x(const report_series *s, int64_t i)
{
    return s->x ? s->x[i * stride(s)] : (double)i + 1;
}

static double series_y(const report_series *s, int64_t i)
{
    return s->y[i * stride(s)];
}

/* One value that goes for every x, such as a control's. */
static bool is_level(const report_series *s)
{
    return s->n == 1 && !s->x;
}

/* Of n points every k-th is taken, so that at most `most` and the last are. */
static int64_t next_point(const report_series *s, int64_t i, int64_t most)
{
    int64_t every = (s->n + most - 1) / most;
    return i + every < s->n || i == s->n - 1 ? i + every : s->n - 1;
}

static void say_series(report *page, const report_series *s)
{
    int64_t first = -1, last = -1, least = -1;
    for (int64_t i = 0; i < s->n; i++) {
        if (!isfinite(series_y(s, i))) continue;
        first = first < 0 ? i : first;
        last = i;
        least = least < 0 || series_y(s, i) < series_y(s, least) ? i : least;
    }
    fputs(". ", page->out.file);
    report_put(page, s->name);
    if (first < 0)
        fputs(" has no values", page->out.file);
    else if (is_level(s))
        fprintf(page->out.file, " is %.4g", series_y(s, 0));
    else
        fprintf(page->out.file, " begins at %.4g, ends at %.4g, is least at %.4g (%.4g)",
                series_y(s, first), series_y(s, last), series_x(s, least),
                series_y(s, least));
}

static void put_points(report *page, const report_series *s, const axis *x, const axis *y,
                       int style)
{
    for (int64_t i = 0; i < s->n && s->n <= 24; i++)
        if (has_place(y, series_y(s, i)) && has_place(x, series_x(s, i)))
            fprintf(page->out.file,
                    "<circle class=\"s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>"
                    "%.6g: %.6g</title></circle>\n",
                    style, on_axis(x, series_x(s, i)), on_axis(y, series_y(s, i)),
                    series_x(s, i), series_y(s, i));
}

/* A value that is not finite, or has no logarithm, breaks the line. */
static void put_series(report *page, const report_series *s, const axis *x, const axis *y,
                       int style)
{
    FILE *f = page->out.file;
    char move = 'M';
    fprintf(f, "<path class=\"%ss%d\" d=\"", s->control ? "control " : "", style);
    if (is_level(s) && has_place(y, series_y(s, 0)))
        fprintf(f, "M%d %.1fH%d", LEFT, on_axis(y, series_y(s, 0)), RIGHT);
    for (int64_t i = 0; i < s->n && !is_level(s); i = next_point(s, i, POINTS)) {
        bool there = has_place(y, series_y(s, i)) && has_place(x, series_x(s, i));
        if (there)
            fprintf(f, "%c%.1f %.1f", move, on_axis(x, series_x(s, i)),
                    on_axis(y, series_y(s, i)));
        move = there ? 'L' : 'M';
    }
    fputs("\"/>\n", f);
    if (!is_level(s) && !s->control) put_points(page, s, x, y, style);
}

/* Rows by x, of whatever series have a point there; they must rise in x. */
static void put_curve_table(report *page, const report_figure *figure, int n,
                            const report_series *series)
{
    int64_t *at = calloc((size_t)n, sizeof *at);
    HT_ASSERT(at, "no memory for %d series", n);
    table_begin(page, figure);
    report_cell(page, true, figure->x ? figure->x : "");
    for (int k = 0; k < n; k++) report_cell(page, true, series[k].name);
    fputs("</tr></thead><tbody>\n", page->out.file);
    for (;;) {
        double x = INFINITY;
        for (int k = 0; k < n; k++)
            if (at[k] < series[k].n && !is_level(&series[k]))
                x = fmin(x, series_x(&series[k], at[k]));
        if (!isfinite(x)) break;
        fputs("<tr>", page->out.file);
        put_number(page, x);
        for (int k = 0; k < n; k++) {
            const report_series *s = &series[k];
            bool level = is_level(s);
            bool here = at[k] < s->n && (level || !(series_x(s, at[k]) > x));
            put_number(page, here ? series_y(s, at[k]) : (double)NAN);
            if (here && !level) at[k] = next_point(s, at[k], ROWS);
        }
        fputs("</tr>\n", page->out.file);
    }
    fputs("</tbody></table></div></details>\n", page->out.file);
    free(at);
}

static void curve_axes(const report_figure *figure, int n, const report_series *series,
                       axis *x, axis *y)
{
    *x = axis_new(LEFT, RIGHT - 6, figure->log_x);
    *y = axis_new(BOTTOM, TOP, figure->log_y);
    for (int k = 0; k < n; k++)
        for (int64_t i = 0; i < series[k].n; i++) {
            axis_reach(y, series_y(&series[k], i));
            if (!is_level(&series[k])) axis_reach(x, series_x(&series[k], i));
        }
    axis_settle(x, false);
    axis_settle(y, true);
}

void report_curve(report *page, const report_figure *figure, int n,
                  const report_series *series)
{
    axis x, y;
    curve_axes(figure, n, series, &x, &y);
    chart_begin(page, figure);
    for (int k = 0; k < n; k++) say_series(page, &series[k]);
    chart_draw(page, HIGH);
    put_axes(page, figure, &x, &y);
    for (int k = 0; k < n; k++) put_series(page, &series[k], &x, &y, k % STYLES);
    fputs("</svg>\n<ul class=\"legend\">\n", page->out.file);
    for (int k = 0; k < n; k++)
        put_legend(page, k, series[k].name, series[k].control, true);
    fputs("</ul>\n", page->out.file);
    put_curve_table(page, figure, n, series);
    fputs("</figure>\n", page->out.file);
}

/* A name for each series in a line of its own, beside a sample. */
static void put_names(report *page, int n, const report_series *series)
{
    for (int k = 0; k < n; k++) {
        int y = HIGH + 6 + 18 * k;
        fprintf(page->out.file, "<path class=\"%ss%d\" d=\"M%d %dh28\"/>",
                series[k].control ? "control " : "", k % STYLES, LEFT, y);
        fprintf(page->out.file, "<text class=\"name\" x=\"%d\" y=\"%d\">", LEFT + 36,
                y + 4);
        report_put(page, series[k].name);
        fputs("</text>\n", page->out.file);
    }
}

ht_status curve_write(ht_context *ctx, const char *path, const report_figure *figure,
                      int n, const report_series *series)
{
    report page = {0};
    axis x, y;
    if (!output_open(&page.out, ctx, path, false)) return ht_context_status(ctx);
    FILE *f = page.out.file;
    curve_axes(figure, n, series, &x, &y);
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-12 0 %d %d\" "
            "font-family=\"system-ui,sans-serif\" role=\"img\">\n<title>",
            WIDE + 24, HIGH + 30 + 18 * n);
    report_put(&page, figure->title);
    for (int k = 0; k < n; k++) say_series(&page, &series[k]);
    fprintf(f, "</title>\n<style>%s%s.paper{fill:var(--paper)}</style>\n", report_colours,
            report_drawing);
    fprintf(f, "<rect class=\"paper\" x=\"-12\" width=\"%d\" height=\"%d\"/>\n",
            WIDE + 24, HIGH + 30 + 18 * n);
    fputs("<text class=\"name\" x=\"10\" y=\"18\" font-weight=\"600\">", f);
    report_put(&page, figure->title);
    fputs("</text>\n<g transform=\"translate(0 24)\">\n", f);
    put_axes(&page, figure, &x, &y);
    for (int k = 0; k < n; k++) put_series(&page, &series[k], &x, &y, k % STYLES);
    put_names(&page, n, series);
    fputs("</g></svg>\n", f);
    return output_close(&page.out, true);
}

/* Bars. */

/* From zero; but where values differ by less than half of the largest, bars would look
 * the same, and they are dots on an axis of their own. */
static axis bars_axis(int n, const report_bar *bar, bool *dots)
{
    axis a = axis_new(6, RIGHT - 6, false);
    for (int k = 0; k < n; k++) axis_reach(&a, bar[k].value);
    *dots = n > 1 && a.low > a.high / 2;
    for (int k = 0; k < n && *dots; k++) {
        axis_reach(&a, bar[k].value - bar[k].error);
        axis_reach(&a, bar[k].value + bar[k].error);
    }
    if (!*dots) axis_reach(&a, 0);
    axis_settle(&a, *dots);
    return a;
}

static void put_bar(report *page, const report_bar *bar, const axis *a, bool dots,
                    double top)
{
    FILE *f = page->out.file;
    const char *style = bar->control ? "control" : "s0";
    double at = on_axis(a, bar->value), zero = on_axis(a, 0), y = top + 26;
    fprintf(f, "<text class=\"name\" x=\"6\" y=\"%.0f\">", top + 14);
    report_put(page, bar->name);
    fprintf(f, "</text><text class=\"name\" x=\"%d\" y=\"%.0f\" text-anchor=\"end\">",
            RIGHT - 6, top + 14);
    fprintf(f, bar->error > 0 ? "%#.4g \302\261 %#.2g" : "%.4g", bar->value, bar->error);
    fputs("</text>\n", f);
    if (!isfinite(bar->value)) return;
    if (!dots)
        fprintf(
            f,
            "<rect class=\"%s\" x=\"%.1f\" y=\"%.0f\" width=\"%.1f\" height=\"10\"/>\n",
            style, fmin(at, zero), y - 5, fabs(at - zero));
    else
        fprintf(f,
                "<path class=\"grid\" d=\"M6 %.0fH%d\"/><circle class=\"%s\" cx=\"%.1f\" "
                "cy=\"%.0f\" r=\"5\"/>\n",
                y, RIGHT - 6, style, at, y);
    if (dots && bar->error > 0)
        fprintf(f, "<path class=\"whisker %s\" d=\"M%.1f %.0fH%.1f\"/>\n", style,
                on_axis(a, bar->value - bar->error), y,
                on_axis(a, bar->value + bar->error));
}

static void put_bars_axis(report *page, const axis *a, double y)
{
    double tick[TICKS];
    int n = axis_ticks(a, tick);
    for (int k = 0; k < n; k++)
        fprintf(page->out.file,
                "<text x=\"%.1f\" y=\"%.0f\" text-anchor=\"%s\">%.6g</text>\n",
                on_axis(a, tick[k]), y,
                k == 0       ? "start"
                : k == n - 1 ? "end"
                             : "middle",
                tick[k]);
}

void report_bars(report *page, const report_figure *figure, int n, const report_bar *bar)
{
    bool dots;
    axis a = bars_axis(n, bar, &dots);
    chart_begin(page, figure);
    for (int k = 0; k < n; k++) {
        fputs(". ", page->out.file);
        report_put(page, bar[k].name);
        fprintf(page->out.file, " %.4g", bar[k].value);
    }
    chart_draw(page, n * BAR + (dots ? 18 : 2));
    for (int k = 0; k < n; k++) put_bar(page, &bar[k], &a, dots, k * BAR);
    if (dots) put_bars_axis(page, &a, n * BAR + 12);
    fputs("</svg></figure>\n", page->out.file);
}

/* Histograms. */

static void count_values(const report_values *group, const axis *x, int n_bins,
                         double *count)
{
    for (int64_t i = 0; i < group->n; i++) {
        double part = (group->value[i] - x->low) / (x->high - x->low);
        if (!(part >= 0 && part <= 1)) continue;
        count[part < 1 ? (int)(part * n_bins) : n_bins - 1]++;
    }
}

static void put_bins(report *page, int style, int n_groups, int n_bins,
                     const double *count, const axis *x, const axis *y)
{
    double wide = (x->to - x->from) / n_bins, each = wide * 0.9 / n_groups;
    for (int b = 0; b < n_bins; b++) {
        if (!(count[b] > 0)) continue;
        double top = on_axis(y, count[b]);
        fprintf(page->out.file,
                "<rect class=\"s%d\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                "height=\"%.1f\"><title>%.0f</title></rect>\n",
                style % STYLES, x->from + b * wide + style * each, top, each,
                BOTTOM - top, count[b]);
    }
}

static void put_bins_table(report *page, const report_figure *figure, int n_groups,
                           const report_values *group, int n_bins, const double *count,
                           const axis *x)
{
    double step = (x->high - x->low) / n_bins;
    table_begin(page, figure);
    report_cell(page, true, "from");
    report_cell(page, true, "to");
    for (int g = 0; g < n_groups; g++) report_cell(page, true, group[g].name);
    fputs("</tr></thead><tbody>\n", page->out.file);
    for (int b = 0; b < n_bins; b++) {
        fputs("<tr>", page->out.file);
        put_number(page, x->low + b * step);
        put_number(page, x->low + (b + 1) * step);
        for (int g = 0; g < n_groups; g++) put_number(page, count[g * n_bins + b]);
        fputs("</tr>\n", page->out.file);
    }
    fputs("</tbody></table></div></details>\n", page->out.file);
}

static void histogram_axes(const report_figure *figure, int n_groups,
                           const report_values *group, axis *x, axis *y)
{
    *x = axis_new(LEFT, RIGHT - 6, false);
    *y = axis_new(BOTTOM, TOP, figure->log_y);
    for (int g = 0; g < n_groups; g++)
        for (int64_t i = 0; i < group[g].n; i++) axis_reach(x, group[g].value[i]);
    axis_settle(x, false);
    axis_reach(y, figure->log_y ? 0.8 : 0);
}

void report_histogram(report *page, const report_figure *figure, int n_groups,
                      const report_values *group, int n_bins)
{
    axis x, y;
    histogram_axes(figure, n_groups, group, &x, &y);
    double *count = calloc((size_t)(n_groups * n_bins), sizeof *count);
    HT_ASSERT(count, "no memory for %d bins", n_groups * n_bins);
    for (int g = 0; g < n_groups; g++)
        count_values(&group[g], &x, n_bins, count + g * n_bins);
    for (int k = 0; k < n_groups * n_bins; k++) axis_reach(&y, count[k]);
    axis_settle(&y, !figure->log_y);
    chart_begin(page, figure);
    for (int g = 0; g < n_groups; g++) {
        fputs(". ", page->out.file);
        report_put(page, group[g].name);
        fprintf(page->out.file, ": %lld values", (long long)group[g].n);
    }
    chart_draw(page, HIGH);
    put_axes(page, figure, &x, &y);
    for (int g = 0; g < n_groups; g++)
        put_bins(page, g, n_groups, n_bins, count + g * n_bins, &x, &y);
    fputs("</svg>\n<ul class=\"legend\">\n", page->out.file);
    for (int g = 0; g < n_groups; g++) put_legend(page, g, group[g].name, false, false);
    fputs("</ul>\n", page->out.file);
    put_bins_table(page, figure, n_groups, group, n_bins, count, &x);
    fputs("</figure>\n", page->out.file);
    free(count);
}
