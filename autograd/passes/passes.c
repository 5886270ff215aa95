/* SPDX-License-Identifier: MIT */
/* passes.c: the passes, in the order they run, and the program they are run over. A pass
 * takes a program and leaves one that computes the same bits in fewer trips to memory;
 * without it the program is slower and right, which is what it is tested against. Read
 * next: products.c. */
#include "passes.h"

static const struct {
    unsigned bit; /* HT_PASS_... */
    bool (*run)(ht_program *program);
} passes[] = {
    {HT_PASS_PRODUCTS, hti_pass_products},
    {HT_PASS_ORDER, hti_pass_order},
    {HT_PASS_BLOCKS, hti_pass_blocks},
    {HT_PASS_FUSE, hti_pass_fuse},
};

ht_program *ht_program_new_at(ht_tape *recorded, int n_in, const ht_var *in, int n_out,
                              const ht_var *out, const char *site)
{
    HT_ASSERT(recorded, "ht_program_new: the tape is NULL");
    hti_arena_mark mark = hti_arena_at(&recorded->scratch);
    ht_program *p = hti_program_cut(recorded, n_in, in, n_out, out, site);
    bool ok = p;
    for (size_t k = 0; ok && k < sizeof passes / sizeof *passes; k++)
        ok = !hti_program_passes(p, passes[k].bit) || passes[k].run(p);
    ok = ok && hti_program_plan(p);
    hti_arena_rewind(&recorded->scratch, mark);
    static const hti_kind kind = {.name = "program"};
    if (ok && site) hti_own(p->ctx, &p->owned, &kind);
    if (ok) return p;
    ht_program_free(p);
    return NULL;
}
