/* SPDX-License-Identifier: MIT */
/* strip.c: what a run of a bilevel does, action by action, and its programs, as a page
 * for a browser. Read next: autograd/inspect/page/schedule.js. */
#include "checkpoints.h"
#include "unroll.h"

/* What makes the page too large to be of use is left out, and said. */
enum { STRIP_ACTIONS = 100000, STRIP_VALUES = 10000 };

static void strip_action(hti_page *page, int64_t *n, hti_action a)
{
    if (a.kind == HTI_MARK || (*n)++ >= STRIP_ACTIONS) return;
    hti_page_print(page, "%s[%d,%lld,%lld,%lld]", *n > 1 ? "," : "", (int)a.kind,
                   (long long)a.step, (long long)a.to, (long long)a.slot);
}

/* Places on disk are shown as slots behind those in memory. */
static hti_action as_in_memory(hti_action a, int64_t slots)
{
    if (a.kind == HTI_STORE || a.kind == HTI_FETCH || a.kind == HTI_VACATE) {
        a.kind = a.kind == HTI_STORE   ? HTI_SAVE
                 : a.kind == HTI_FETCH ? HTI_LOAD
                                       : HTI_DROP;
        a.slot += slots;
    }
    return a;
}

/* The actions of a schedule of its own, so that a run at hand is not disturbed. */
static void strip_kept(hti_page *page, const ht_bilevel *b, int64_t *n)
{
    const hti_problem *p = &b->problem;
    hti_choice c = b->memory.choice;
    hti_plan plan;
    hti_action a;
    if (!hti_plan_open(b->ctx, &plan, c, p->first, p->steps))
        page->draft.status = HT_ERROR_MEMORY;
    else
        while ((a = hti_plan_next(&plan)).kind != HTI_DONE)
            strip_action(page, n, as_in_memory(a, c.slots));
    hti_plan_close(&plan);
}

/* No state is kept: all steps, the outer loss and, of a method that can, back again. */
static void strip_plain(hti_page *page, const ht_bilevel *b, int64_t *n)
{
    const hti_problem *p = &b->problem;
    strip_action(page, n, (hti_action){.kind = HTI_ADVANCE, .to = p->steps});
    strip_action(page, n, (hti_action){.kind = HTI_OUTER, .step = p->steps});
    if (!b->programs.call[HTI_REVERSE_STEP].program) return;
    for (int64_t t = p->steps; t-- > p->first;)
        strip_action(page, n, (hti_action){.kind = HTI_REVERSE, .step = t});
}

static void strip_numbers(hti_page *page, const ht_bilevel *b)
{
    static const char *const name[] = {"automatic", "store-all", "two-level", "revolve",
                                       "none"};
    const hti_memory *m = &b->memory;
    hti_page_field(page, "method", b->method->name);
    hti_page_field(page, "schedule",
                   b->method->keeps_states ? name[m->choice.schedule] : "none");
    hti_page_print(page, ",\"steps\":%lld,\"first\":%lld,\"slots\":%lld,\"state\":%zu",
                   (long long)b->problem.steps, (long long)b->problem.first,
                   (long long)(m->choice.slots + m->choice.places), m->block_bytes);
    hti_page_print(page, ",\"bytes\":%zu,\"budget\":%zu,\"products\":%d",
                   ht_bilevel_bytes(b), b->options.bytes, b->programs.n_kept);
    hti_page_print(page, ",\"forward\":%.0f,\"reverse\":%.0f", hti_step_flops(b, false),
                   hti_step_flops(b, true));
    hti_page_print(page, ",\"solves\":%d", b->method->solves);
}

/* Programs, as long as they fit; NULL: the titles of those that do not. */
static void strip_programs(const ht_bilevel *b, hti_page *page, hti_page *titles)
{
    int64_t values = 0;
    const char *comma = "";
    for (int k = 0; k < HTI_CALLS; k++) {
        const ht_program *p = b->programs.call[k].program;
        if (!p) continue;
        bool fits = values + ht_program_nodes(p) <= STRIP_VALUES;
        if (fits) values += ht_program_nodes(p);
        if (fits && page) hti_page_program(page, p, hti_signatures[k].title);
        if (fits || !titles) continue;
        hti_page_print(titles, "%s", comma);
        hti_page_text(titles, hti_signatures[k].title);
        comma = ",";
    }
}

ht_status ht_bilevel_write_html(const ht_bilevel *b, const char *path)
{
    HT_ASSERT(b && path, "ht_bilevel_write_html: bilevel %p, path %p", (const void *)b,
              (const void *)path);
    HTI_ALIVE(b, "ht_bilevel_write_html", "bilevel");
    int64_t n = 0;
    hti_page page;
    hti_page_open(&page, b->ctx, path);
    hti_page_part(&page, "schedule", "schedule");
    strip_numbers(&page, b);
    hti_page_print(&page, ",\"actions\":[");
    if (b->method->keeps_states)
        strip_kept(&page, b, &n);
    else
        strip_plain(&page, b, &n);
    hti_page_print(&page, "],\"n\":%lld,\"left\":[", (long long)n);
    strip_programs(b, NULL, &page);
    hti_page_print(&page, "]}");
    strip_programs(b, &page, NULL);
    return hti_page_close(&page);
}
