/* SPDX-License-Identifier: MIT */
/* report.c: rows as a table and, if asked for, as JSON lines: the table then goes to
 * stderr. A bound that is missed is reported, not failed: what else the machine does is
 * not ours. Read next: bench.c. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"

enum { REPORT_MISSED = 64, REPORT_NAME = 64 };

static struct report_missed {
    char name[REPORT_NAME];
    double got, most;
} report_missed[REPORT_MISSED];
static int report_n_missed, report_n_bounds, report_n_unmeasured;

static FILE *report_table(void)
{
    return bench.json ? stderr : stdout;
}

void bench_report_head(void)
{
    fprintf(report_table(), "%-24s %13s %13s   %6s\n", "case", "ours", "floor", "ratio");
}

/* Counts in full, measures to four places. */
static void report_value(FILE *f, double x)
{
    fprintf(f, x == floor(x) ? "%.0f" : "%.4g", x);
}

static void report_times(FILE *f, const bench_row *r)
{
    const bench_pairs *p = &r->pairs;
    if (p->n)
        fprintf(f, " %10.3f ms %10.3f ms   %6.3f (%.3f .. %.3f, %d)", p->ours_ms,
                p->floor_ms, p->ratio, p->low, p->high, p->n);
    else if (r->ms > 0)
        fprintf(f, " %10.3f ms %16s", r->ms, "");
    else if (r->unit)
        fprintf(f, " %30s", "");
    if (!r->unit) return;
    report_value(f, r->value);
    fprintf(f, " %s", r->unit);
}

static void report_bound(FILE *f, const bench_row *r)
{
    bool compared = r->pairs.n > 0;
    if (r->most <= 0) return;
    if (!compared && !r->unit) {
        report_n_unmeasured++;
        return;
    }
    double got = compared ? r->pairs.ratio : r->value;
    report_n_bounds++;
    if (got <= r->most) {
        fprintf(f, "  <= %g ok", r->most);
        return;
    }
    fprintf(f, "  <= %g MISSED by %.3f (%.1f %%)", r->most, got - r->most,
            100 * (got / r->most - 1));
    if (report_n_missed == REPORT_MISSED) return;
    struct report_missed *m = &report_missed[report_n_missed++];
    snprintf(m->name, sizeof m->name, "%s", r->name);
    m->got = got;
    m->most = r->most;
}

static void report_number(const char *key, bool known, double x)
{
    if (known)
        printf(",\"%s\":%.10g", key, x);
    else
        printf(",\"%s\":null", key);
}

/* What a row has of the machine's peak and of its reading; 0: not known. */
typedef struct report_roofs {
    double of_peak, of_read;
} report_roofs;

static report_roofs report_of(const bench_row *r)
{
    double seconds = 1e-3 * (r->pairs.n ? r->pairs.ours_ms : r->ms);
    report_roofs of = {0, 0};
    if (!bench.roofs || !(seconds > 0) || r->threads > 1) return of;
    if (r->flops > 0) of.of_peak = r->flops / seconds / bench_peak();
    if (r->bytes > 0) of.of_read = r->bytes / seconds / bench_read_rate(r->bytes);
    return of;
}

static void report_json(const bench_row *r, report_roofs of)
{
    const bench_pairs *p = &r->pairs;
    bool compared = p->n > 0;
    double got = compared ? p->ratio : r->value;
    printf("{\"case\":\"%s\",\"threads\":%d", r->name, r->threads ? r->threads : 1);
    report_number("ours_ms", compared || r->ms > 0, compared ? p->ours_ms : r->ms);
    report_number("floor_ms", compared, p->floor_ms);
    report_number("ratio", compared, p->ratio);
    if (compared)
        printf(",\"low\":%.6g,\"high\":%.6g,\"pairs\":%d", p->low, p->high, p->n);
    if (r->unit) printf(",\"value\":%.10g,\"unit\":\"%s\"", r->value, r->unit);
    if (r->most > 0 && (compared || r->unit))
        printf(",\"must\":%g,\"ok\":%s", r->most, got <= r->most ? "true" : "false");
    if (r->note) printf(",\"note\":\"%s\"", r->note);
    for (int k = 0; k < BENCH_EXTRAS && r->extra[k].key; k++)
        report_number(r->extra[k].key, true, r->extra[k].value);
    if (of.of_peak > 0) report_number("of_peak", true, of.of_peak);
    if (of.of_read > 0) report_number("of_read", true, of.of_read);
    printf("}\n");
    fflush(stdout);
}

void bench_report(const bench_row *r)
{
    FILE *f = report_table();
    char name[REPORT_NAME];
    report_roofs of = report_of(r);
    snprintf(name, sizeof name, r->threads > 1 ? "%s, %d threads" : "%s", r->name,
             r->threads);
    fprintf(f, "%-24s", name);
    report_times(f, r);
    report_bound(f, r);
    if (of.of_peak > 0) fprintf(f, "  %.2f of peak", of.of_peak);
    if (of.of_read > 0) fprintf(f, "  %.2f of reading", of.of_read);
    if (r->note) fprintf(f, "  %s", r->note);
    fprintf(f, "\n");
    for (int k = 0; k < BENCH_EXTRAS && r->extra[k].key; k++) {
        fprintf(f, "%s%s ", k ? ", " : "    ", r->extra[k].key);
        report_value(f, r->extra[k].value);
    }
    if (r->extra[0].key) fprintf(f, "\n");
    fflush(f);
    if (bench.json) report_json(r, of);
}

void bench_report_missed(void)
{
    FILE *f = report_table();
    if (report_n_bounds + report_n_unmeasured == 0) return;
    fprintf(f, "%d of %d bounds missed, %d more not measured\n", report_n_missed,
            report_n_bounds, report_n_unmeasured);
    for (int k = 0; k < report_n_missed; k++)
        fprintf(f, "  %-24s %.3f, must be <= %g\n", report_missed[k].name,
                report_missed[k].got, report_missed[k].most);
}
