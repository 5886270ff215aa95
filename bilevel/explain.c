/* SPDX-License-Identifier: MIT */
/* explain.c: what a bilevel will do, and by which ways its outer variables are seen.
 * Read next: bilevel.c. */
#include "bilevel_internal.h"

static void tell_method(const ht_bilevel *b, FILE *f)
{
    ht_method asked = b->options.method;
    const char *why = asked == HT_AUTO ? ", as nothing else was asked for" : "";
    fprintf(f, "method    %s%s\n", b->method->name, why);
    if (b->programs.asymmetric)
        fprintf(f,
                "          without mixed mode: %s stands in the inner loss, so its "
                "Hessian may not be symmetric\n",
                b->programs.asymmetric);
    if (b->method->tell) b->method->tell(b, f);
}

static void tell_bytes(const ht_bilevel *b, FILE *f)
{
    const hti_memory *m = &b->memory;
    fprintf(f, "bytes     ");
    hti_print_bytes(f, (double)ht_bilevel_bytes(b));
    if (b->options.bytes) {
        fprintf(f, " of a budget of ");
        hti_print_bytes(f, (double)b->options.bytes);
    }
    fprintf(f, ": %lld states of ", (long long)m->n_blocks);
    hti_print_bytes(f, (double)m->block_bytes);
    if (b->programs.n_kept) {
        fprintf(f, ", %d products beside %lld of them of ", b->programs.n_kept,
                (long long)m->choice.slots);
        hti_print_bytes(f, (double)m->product_bytes);
    }
    fprintf(f, "\n");
}

/* The ways of `bits`, in words. */
static void tell_ways(FILE *f, unsigned bits)
{
    static const char *const way[] = {"the initial value", "the inner loss",
                                      "the update rule", "the outer loss itself"};
    const char *comma = "";
    for (int k = 0; k < 4; k++) {
        if (!(bits >> k & 1)) continue;
        fprintf(f, "%s%s", comma, way[k]);
        comma = ", ";
    }
}

static void tell_outer(const ht_bilevel *b, int j, FILE *f)
{
    unsigned reach = b->programs.reach[j], follows = b->method->follows;
    if (b->problem.first > 0 || b->problem.begun) follows = 15u & ~(unsigned)HTI_BY_INIT;
    if (b->programs.whole_step) follows |= HTI_BY_UPDATE;
    unsigned lost = follows ? reach & ~follows : 0;
    fprintf(f, "outer     \"%s\" by ", b->problem.eta->name[j]);
    tell_ways(f, reach);
    if (lost) {
        fprintf(f, "; not followed: ");
        tell_ways(f, lost);
    }
    fprintf(f, "\n");
}

void ht_bilevel_explain(const ht_bilevel *b, FILE *f)
{
    HT_ASSERT(b && f, "ht_bilevel_explain: bilevel %p, file %p", (const void *)b,
              (void *)f);
    HTI_ALIVE(b, "ht_bilevel_explain", "bilevel");
    const hti_problem *p = &b->problem;
    fprintf(f, "training  %lld steps%s from step %lld on, %lld elements of theta\n",
            (long long)p->steps, hti_ends_early(b) ? " at most" : "", (long long)p->start,
            (long long)ht_set_elements(p->theta));
    tell_method(b, f);
    tell_bytes(b, f);
    for (int j = 0; j < p->eta->n; j++) tell_outer(b, j, f);
}

void ht_bilevel_print(const ht_bilevel *b, FILE *f)
{
    HT_ASSERT(b && f, "ht_bilevel_print: bilevel %p, file %p", (const void *)b,
              (void *)f);
    HTI_ALIVE(b, "ht_bilevel_print", "bilevel");
    for (int k = 0; k < HTI_CALLS; k++) {
        if (!b->programs.call[k].program) continue;
        fprintf(f, "--- %s\n", hti_signatures[k].title);
        ht_program_print(b->programs.call[k].program, f);
    }
    fprintf(
        f, "--- %lld blocks of %zu bytes, %zu bytes of products a step; predicted peak ",
        (long long)b->memory.n_blocks, b->memory.block_bytes, b->memory.product_bytes);
    hti_print_bytes(f, (double)ht_bilevel_bytes(b));
    fprintf(f, "\n");
}
