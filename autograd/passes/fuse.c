/* SPDX-License-Identifier: MIT */
/* fuse.c: elementwise instructions that run together, tile by tile, so that what one
 * leaves for the next never reaches memory.
 *
 * A group runs where its last instruction, its root, stands. An instruction joins the
 * group of its first reader if whatever else reads it is in the group too or runs later
 * than the root: then order, and with it acyclicity, is that of the list. Groups that
 * read the same then run as one, at the later's place, where nothing needs the earlier
 * before. Sums of all elements may belong to a group. Values that only the group reads
 * have no memory. Within a group, ops that form an HTI_TREE of elementwise.def are one
 * step. Loops and their order are those of the instructions one by one: the same bits.
 * Read next: fuse_steps.c. */
#include <string.h>

#include "fuse.h"

/* Counted, then filled from the back, which leaves every start where it belongs. */
static void fuse_readers(hti_fuse_plan *f)
{
    ht_program *p = f->p;
    for (uint32_t e = 0; e < p->n_edges; e++) f->first_reader[p->edge[e]]++;
    for (uint32_t i = 0, sum = 0; i <= p->n_values; i++) {
        sum += f->first_reader[i];
        f->first_reader[i] = sum;
    }
    for (uint32_t i = p->n_values; i-- > p->n_in;) {
        const uint32_t *in = hti_inputs_of(p, i);
        for (uint32_t e = p->value[i].n_in; e-- > 0;)
            f->reader[--f->first_reader[in[e]]] = i;
    }
}

/* What may join. */

/* Whether element k of an operand is read no later than element k of the result is
 * written, should both be the same memory: a view that turns memory of the result's own
 * shape around would not do. */
static bool fuse_operand_in_order(const ht_program *p, const hti_value *in,
                                  const ht_shape *shape)
{
    return (in->from_root == 0 && hti_is_contiguous(&in->array)) ||
           !hti_same_shape(&p->value[in->root].type.shape, shape);
}

static bool fuse_can_join(const ht_program *p, uint32_t i)
{
    hti_fused_step loop;
    const hti_value *v = &p->value[i];
    if (v->place == HTI_IN_VIEW || v->place == HTI_IN_CONSTANT || v->when != i ||
        v->chain || !hti_program_loop(p, i, &loop))
        return false;
    const ht_shape *shape = hti_fuse_shape(p, i);
    if (hti_count(shape) < p->ctx->fuse_least) return false;
    const uint32_t *in = hti_inputs_of(p, i);
    for (uint32_t e = 0; e < v->n_in; e++)
        if (!fuse_operand_in_order(p, &p->value[in[e]], shape)) return false;
    return v->op->loop.kind != HTI_LOOP_SUM ||
           (hti_fuse_is_sum(v) && hti_count(&v->type.shape) == 1);
}

/* Whether `out` is an output that a caller could have given the memory of `in`, and which
 * others than i's group write before `root` runs. */
static bool fuse_is_crossed(const ht_program *p, const hti_value *in, uint32_t i,
                            uint32_t root, uint32_t out)
{
    const hti_value *v = &p->value[out];
    return v->place == HTI_IN_OUTPUT && out > i && v->when != p->value[i].when &&
           v->when < root && v->type.dtype == in->type.dtype &&
           hti_same_shape(&v->type.shape, &in->type.shape);
}

/* Whether i, run at `root` and not where it stands, would read an input too late: the
 * output w' = w - g is written between, and a caller gives w' the memory of w. Looks at
 * the outputs or at what is between, whichever is less. */
static bool fuse_crosses_output(const ht_program *p, uint32_t i, uint32_t root)
{
    const uint32_t *edge = hti_inputs_of(p, i);
    for (uint32_t e = 0; e < p->value[i].n_in; e++) {
        const hti_value *in = &p->value[p->value[edge[e]].root];
        if (in->place != HTI_IN_INPUT) continue;
        bool few = p->n_out < root - i;
        for (uint32_t k = 0; few && k < p->n_out; k++)
            if (fuse_is_crossed(p, in, i, root, p->out[k])) return true;
        for (uint32_t m = i + 1; !few && m < root; m++)
            if (fuse_is_crossed(p, in, i, root, m)) return true;
    }
    return false;
}

/* Whether all of a group's operands lie as one row, which sums ask for. */
static bool fuse_is_one_row(const ht_program *p, const struct hti_fuse_group *g,
                            const ht_shape *shape)
{
    for (uint32_t k = 0; k < g->operands; k++) {
        const hti_value *v = &p->value[g->operand[k]];
        bool row = hti_same_shape(&v->type.shape, shape) && hti_is_contiguous(&v->array);
        if (!row && hti_count(&v->type.shape) != 1) return false;
    }
    return true;
}

/* The group once i is in it; false if that would not do. What is kept is an operand
 * whether it was one already or not. */
static bool fuse_join(const ht_program *p, uint32_t i, bool kept,
                      struct hti_fuse_group *g)
{
    const uint32_t *edge = hti_inputs_of(p, i);
    uint32_t n = 0;
    for (uint32_t k = 0; k < g->operands; k++)
        if (g->operand[k] != i) g->operand[n++] = g->operand[k];
    if (n + kept > HTI_FUSED_OPERANDS) return false;
    if (kept) g->operand[n++] = i;
    for (uint32_t e = 0; e < p->value[i].n_in; e++) {
        uint32_t in = edge[e], k = 0;
        while (k < n && g->operand[k] != in) k++;
        if (k < n) continue;
        if (n == HTI_FUSED_OPERANDS) return false;
        g->operand[n++] = in;
    }
    g->operands = n;
    g->first = i;
    g->sums = g->sums || hti_fuse_is_sum(&p->value[i]);
    return ++g->members <= HTI_FUSED_STEPS &&
           (!g->sums || fuse_is_one_row(p, g, hti_fuse_shape(p, i)));
}

/* Puts i into the group of its first reader, or starts one. */
static void fuse_place(hti_fuse_plan *f, uint32_t i)
{
    ht_program *p = f->p;
    uint32_t first = f->first_reader[i], end = f->first_reader[i + 1];
    fuse_join(p, i, true, &f->group[i]);
    if (first == end || hti_fuse_is_sum(&p->value[i]) || !f->can[f->reader[first]])
        return;
    uint32_t root = p->value[f->reader[first]].when;
    if (!hti_same_shape(hti_fuse_shape(p, root), &p->value[i].type.shape)) return;
    for (uint32_t u = first; u < end; u++)
        if (p->value[f->reader[u]].when < root) return;
    struct hti_fuse_group g = f->group[root];
    uint32_t next = g.first;
    if (fuse_crosses_output(p, i, root) ||
        !fuse_join(p, i, hti_fuse_is_kept(f, i, root), &g))
        return;
    f->group[root] = g;
    p->value[i].next = next;
    p->value[i].when = root;
}

/* Groups that read the same. */

/* The last place the group `root` could run at: what reads it, outside, comes no earlier;
 * a sum is there only after all of its group has run. */
static uint32_t fuse_latest(const hti_fuse_plan *f, uint32_t root)
{
    const ht_program *p = f->p;
    uint32_t latest = p->n_values;
    for (uint32_t m = f->group[root].first; m != HTI_NONE; m = p->value[m].next)
        for (uint32_t u = f->first_reader[m]; u < f->first_reader[m + 1]; u++) {
            uint32_t when = p->value[f->reader[u]].when;
            if (when == root) continue;
            when -= hti_fuse_is_sum(&p->value[m]);
            if (when < latest) latest = when;
        }
    return latest;
}

/* The place of the first reader of x that stands after i. */
static uint32_t fuse_reader_after(const hti_fuse_plan *f, uint32_t x, uint32_t i)
{
    uint32_t low = f->first_reader[x], high = f->first_reader[x + 1];
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (f->reader[middle] > i)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The next group that reads something this one reads or makes, if in between runs little
 * that is not fused: what the caches hold stays there. HTI_NONE if there is none. */
static uint32_t fuse_sibling(const hti_fuse_plan *f, uint32_t root)
{
    const ht_program *p = f->p;
    const struct hti_fuse_group *g = &f->group[root];
    const ht_shape *shape = hti_fuse_shape(p, root);
    uint32_t latest = fuse_latest(f, root), best = latest + 1;
    for (uint32_t k = 0; k < g->operands; k++) {
        uint32_t o = g->operand[k];
        if (!hti_same_shape(&p->value[o].type.shape, shape)) continue;
        uint32_t end = f->first_reader[o + 1];
        for (uint32_t u = fuse_reader_after(f, o, g->first); u < end; u++) {
            uint32_t when = p->value[f->reader[u]].when;
            if (f->reader[u] >= best) break;
            if (when > root && when < best && f->can[when] &&
                hti_same_shape(hti_fuse_shape(p, when), shape))
                best = when;
        }
    }
    return best <= latest && f->unfused[best] - f->unfused[root] < hti_count(shape)
               ? best
               : HTI_NONE;
}

/* Puts what runs at `root` to what runs at `to`, later; or leaves both. */
static void fuse_merge(hti_fuse_plan *f, uint32_t root, uint32_t to)
{
    ht_program *p = f->p;
    uint32_t member[HTI_FUSED_STEPS], n = 0;
    struct hti_fuse_group g = f->group[to];
    bool fits = g.members + f->group[root].members <= HTI_FUSED_STEPS;
    for (uint32_t m = f->group[root].first; fits && m != HTI_NONE; m = p->value[m].next) {
        fits = !fuse_crosses_output(p, m, to);
        member[n++] = m;
    }
    for (uint32_t k = 0; fits && k < n; k++) p->value[member[k]].when = to;
    for (uint32_t k = n; fits && k-- > 0;)
        fits = fuse_join(p, member[k], hti_fuse_is_kept(f, member[k], to), &g);
    if (!fits) {
        for (uint32_t k = 0; k < n; k++) p->value[member[k]].when = root;
        return;
    }
    /* Both lists are in order; so is what they make. */
    uint32_t at = f->group[to].first, *link = &g.first;
    for (uint32_t k = 0; k < n; link = &p->value[*link].next)
        if (at < member[k]) {
            *link = at;
            at = p->value[at].next;
        } else {
            *link = member[k++];
        }
    *link = at;
    f->group[to] = g;
    f->group[root].members = 0;
}

static void fuse_siblings(hti_fuse_plan *f)
{
    ht_program *p = f->p;
    int64_t unfused = 0;
    for (uint32_t i = p->n_in; i < p->n_values; i++) {
        const hti_value *v = &p->value[i];
        bool runs = v->place != HTI_IN_VIEW && v->place != HTI_IN_CONSTANT;
        f->unfused[i] = unfused;
        if (runs && !f->can[i]) unfused += hti_count(&v->type.shape);
    }
    for (uint32_t i = p->n_in; i < p->n_values; i++) {
        if (!f->group[i].members || p->value[i].when != i) continue;
        uint32_t to = fuse_sibling(f, i);
        if (to != HTI_NONE) fuse_merge(f, i, to);
    }
}

bool hti_pass_fuse(ht_program *p)
{
    if (!hti_program_place(p)) return false;
    size_t n = p->n_values;
    hti_fuse_plan f = {.p = p,
                       .first_reader = hti_program_scratch(p, n + 1, sizeof(uint32_t)),
                       .reader = hti_program_scratch(p, p->n_edges, sizeof(uint32_t)),
                       .unfused = hti_program_scratch(p, n, sizeof *f.unfused),
                       .can = hti_program_scratch(p, n, sizeof *f.can),
                       .tile = hti_program_scratch(p, n, sizeof *f.tile),
                       .group = hti_program_scratch(p, n, sizeof *f.group)};
    if (p->ctx->status != HT_OK) return false;
    fuse_readers(&f);
    for (uint32_t i = p->n_values; i-- > p->n_in;)
        if ((f.can[i] = fuse_can_join(p, i))) fuse_place(&f, i);
    fuse_siblings(&f);
    return hti_fuse_write(&f);
}
