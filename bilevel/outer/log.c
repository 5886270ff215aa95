/* SPDX-License-Identifier: MIT */
/* log.c: a row a step, as CSV. Going on with a log cuts what lies beyond the state that
 * was saved, half a row too, so that no step stands twice. Read next: state.c. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "outer.h"

enum { ROW = 2 * HTI_NOTE };
static const char header[] =
    "step,outer,inner,validation,gradient,best,best_step,did,start,forward_steps,"
    "reverse_steps,bad_step,peak_bytes,inner_seconds,seconds,why\n";

static bool log_fail(const hti_outer *r, const char *what)
{
    ht_context_fail(r->ctx, HT_ERROR_FILE, NULL,
                    "ht_bilevel_minimize: options.log, %s: %s: %s\n"
                    "  hint: %s",
                    r->o->log, what, strerror(errno), hti_hint_of_writing(errno));
    return false;
}

static bool refuse_other(const hti_outer *r)
{
    return HTI_REFUSED(r->ctx, HT_ERROR_FORMAT,
                       "ht_bilevel_minimize: options.log, %s, holds something else: its "
                       "first line is not that of this log\n"
                       "  hint: another path, or remove the file",
                       r->o->log);
}

/* Where rows of steps not done begin; 0: there is not even a header. -1: not a log. */
static long end_of_done(FILE *f, double step)
{
    char row[ROW];
    if (!fgets(row, sizeof row, f)) return 0;
    if (strcmp(row, header) != 0)
        return strncmp(row, header, strlen(row)) || strchr(row, '\n') ? -1 : 0;
    for (;;) {
        long at = ftell(f);
        char *end = row;
        bool whole = fgets(row, sizeof row, f) && strchr(row, '\n');
        if (!whole || strtod(row, &end) >= step || *end != ',') return at;
    }
}

bool hti_outer_open_log(hti_outer *r)
{
    if (!r->o->log) return true;
    r->log = fopen(r->o->log, "r+");
    if (!r->log) r->log = fopen(r->o->log, "w+");
    if (!r->log) return log_fail(r, "cannot be opened");
    long at = end_of_done(r->log, r->at.step);
    if (at < 0) return refuse_other(r);
    if (fseek(r->log, at, SEEK_SET) != 0 || ftruncate(fileno(r->log), at) != 0 ||
        (at == 0 && fputs(header, r->log) < 0) || fflush(r->log) != 0)
        return log_fail(r, "cannot be written");
    return true;
}

/* Without quotes of its own, nor more than one line. */
static void put_text(FILE *f, const char *text)
{
    if (!text) return;
    putc('"', f);
    for (; *text && *text != '\n'; text++) putc(*text == '"' ? '\'' : *text, f);
    putc('"', f);
}

bool hti_outer_log(hti_outer *r)
{
    static const char *const did[] = {"moved", "clipped", "refused", "stayed"};
    const ht_outer_step *s = &r->now;
    const ht_bilevel_result *got = &s->result;
    if (!r->log) return true;
    fprintf(r->log, "%lld,%.17g,%.17g,", (long long)s->step, got->outer, got->inner);
    if (r->o->validate) fprintf(r->log, "%.17g", s->validation);
    fprintf(r->log, ",%.17g,%.17g,%lld,%s,%lld,%lld,%lld,%lld,%zu,%.6g,%.6g,",
            s->gradient, s->best, (long long)s->best_step, did[s->did],
            (long long)got->start, (long long)got->forward_steps,
            (long long)got->reverse_steps, (long long)got->bad_step, got->peak_bytes,
            got->inner_seconds, got->seconds);
    put_text(r->log, s->why);
    putc('\n', r->log);
    return (fflush(r->log) == 0 && !ferror(r->log)) || log_fail(r, "cannot be written");
}

bool hti_outer_close_log(hti_outer *r)
{
    FILE *f = r->log;
    r->log = NULL;
    return !f || fclose(f) == 0 || r->ctx->status != HT_OK ||
           log_fail(r, "cannot be written");
}
