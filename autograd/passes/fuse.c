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
 * Read next: plan.c. */
#include <string.h>

#include "program.h"

/* Whether instruction i may be one loop, and so part of a group. Not so a cast such as
 * f64 to i32, which has to find all of its numbers in range before it writes any. */
static bool fuse_has_loop(const ht_program *p, uint32_t i)
{
    const hti_value *v = &p->value[i];
    if (v->op->loop.kind != HTI_LOOP_CONVERT) return v->op->loop.kind != HTI_LOOP_NONE;
    return !hti_narrows(p->value[p->edge[v->first_in]].type.dtype, v->type.dtype);
}

bool hti_program_loop(const ht_program *p, uint32_t i, hti_fused_step *step)
{
    const hti_value *v = &p->value[i];
    if (!fuse_has_loop(p, i)) return false;
    const hti_value *last = &p->value[p->edge[v->first_in + v->n_in - 1]];
    *step = (hti_fused_step){.kind = v->op->loop.kind,
                             .function = v->op->loop.function,
                             .from = (uint8_t)last->type.dtype,
                             .to = (uint8_t)v->type.dtype};
    return true;
}

/* Who reads what, and the groups as they grow. */
typedef struct fuse_plan {
    ht_program *p;
    uint32_t *first_reader, *reader; /* readers of i: reader[first_reader[i] ..] */
    int64_t *beside; /* elements of what cannot be fused and runs before i */
    bool *can;       /* whether i can be in a group */
    struct fuse_group {
        uint32_t first, members, operands, operand[HTI_FUSED_OPERANDS];
        bool sums;
    } * group; /* by root */
} fuse_plan;

/* Counted, then filled from the back, which leaves every start where it belongs. */
static void fuse_readers(fuse_plan *f)
{
    ht_program *p = f->p;
    for (uint32_t e = 0; e < p->n_edges; e++) f->first_reader[p->edge[e]]++;
    for (uint32_t i = 0, sum = 0; i <= p->n_values; i++) {
        sum += f->first_reader[i];
        f->first_reader[i] = sum;
    }
    for (uint32_t i = p->n_values; i-- > p->n_in;)
        for (uint32_t e = p->value[i].n_in; e-- > 0;)
            f->reader[--f->first_reader[p->edge[p->value[i].first_in + e]]] = i;
}

/* What may join. */

/* A mean of f64 goes over its input more than once. */
static bool fuse_is_sum(const hti_value *v)
{
    return v->op->loop.kind == HTI_LOOP_SUM &&
           (v->op->loop.function != HTI_MEAN || v->type.dtype == HT_F32);
}

/* The shape instruction i walks over. */
static ht_shape fuse_shape(const ht_program *p, uint32_t i)
{
    const hti_value *v = &p->value[i];
    return fuse_is_sum(v) ? p->value[p->edge[v->first_in]].type.shape : v->type.shape;
}

/* Whether element k of an operand is read no later than element k of the result is
 * written, should both be the same memory: a view that turns memory of the result's own
 * shape around would not do. */
static bool fuse_operand_in_order(const ht_program *p, uint32_t i, uint32_t e)
{
    const hti_value *in = &p->value[p->edge[p->value[i].first_in + e]];
    return !ht_shape_equal(p->value[in->root].type.shape, fuse_shape(p, i)) ||
           (in->from_root == 0 && hti_is_contiguous(&in->array));
}

static bool fuse_can_join(const ht_program *p, uint32_t i)
{
    const hti_value *v = &p->value[i];
    if (i < p->n_in || v->place == HTI_IN_VIEW || v->place == HTI_IN_CONSTANT)
        return false;
    if (ht_shape_count(fuse_shape(p, i)) < p->ctx->fuse_least || !fuse_has_loop(p, i))
        return false;
    for (uint32_t e = 0; e < v->n_in; e++)
        if (!fuse_operand_in_order(p, i, e)) return false;
    if (v->op->loop.kind != HTI_LOOP_SUM) return true;
    return fuse_is_sum(v) && ht_shape_count(v->type.shape) == 1;
}

/* Whether `out` is an output that could be the memory of `in`, written before `root` by
 * other instructions than i's group. */
static bool fuse_is_crossed(const ht_program *p, const hti_value *in, uint32_t i,
                            uint32_t root, uint32_t out)
{
    const hti_value *v = &p->value[out];
    return v->place == HTI_IN_OUTPUT && out > i && v->when != p->value[i].when &&
           v->when < root && v->type.dtype == in->type.dtype &&
           ht_shape_equal(v->type.shape, in->type.shape);
}

/* Whether moving i to `root`, with its group, would read an input after an output that
 * could be the same memory is written. Looks at the outputs or at what is between,
 * whichever is less. */
static bool fuse_crosses_output(const ht_program *p, uint32_t i, uint32_t root)
{
    const hti_value *v = &p->value[i];
    for (uint32_t e = 0; e < v->n_in; e++) {
        const hti_value *in = &p->value[p->value[p->edge[v->first_in + e]].root];
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
static bool fuse_is_one_row(const ht_program *p, const struct fuse_group *g,
                            ht_shape shape)
{
    for (uint32_t k = 0; k < g->operands; k++) {
        const hti_value *v = &p->value[g->operand[k]];
        bool row = ht_shape_equal(v->type.shape, shape) && hti_is_contiguous(&v->array);
        if (!row && ht_shape_count(v->type.shape) != 1) return false;
    }
    return true;
}

/* The group once i is in it; false if that would not do. What is kept is an operand
 * whether it was one already or not. */
static bool fuse_join(const ht_program *p, uint32_t i, bool kept, struct fuse_group *g)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < g->operands; k++)
        if (g->operand[k] != i) g->operand[n++] = g->operand[k];
    if (n + kept > HTI_FUSED_OPERANDS) return false;
    if (kept) g->operand[n++] = i;
    for (uint32_t e = 0; e < p->value[i].n_in; e++) {
        uint32_t in = p->edge[p->value[i].first_in + e], k = 0;
        while (k < n && g->operand[k] != in) k++;
        if (k < n) continue;
        if (n == HTI_FUSED_OPERANDS) return false;
        g->operand[n++] = in;
    }
    g->operands = n;
    g->first = i;
    g->sums = g->sums || fuse_is_sum(&p->value[i]);
    return ++g->members <= HTI_FUSED_STEPS &&
           (!g->sums || fuse_is_one_row(p, g, fuse_shape(p, i)));
}

/* Whether anything outside the group `root` reads i. */
static bool fuse_is_kept(const fuse_plan *f, uint32_t i, uint32_t root)
{
    bool kept = f->p->value[i].place == HTI_IN_OUTPUT || fuse_is_sum(&f->p->value[i]);
    for (uint32_t u = f->first_reader[i]; u < f->first_reader[i + 1]; u++)
        kept = kept || f->p->value[f->reader[u]].when != root;
    return kept;
}

/* Puts i into the group of its first reader, or starts one. */
static void fuse_place(fuse_plan *f, uint32_t i)
{
    ht_program *p = f->p;
    uint32_t first = f->first_reader[i], end = f->first_reader[i + 1];
    fuse_join(p, i, true, &f->group[i]);
    if (first == end || fuse_is_sum(&p->value[i]) || !f->can[f->reader[first]]) return;
    uint32_t root = p->value[f->reader[first]].when;
    if (!ht_shape_equal(fuse_shape(p, root), p->value[i].type.shape)) return;
    for (uint32_t u = first; u < end; u++)
        if (p->value[f->reader[u]].when < root) return;
    struct fuse_group g = f->group[root];
    uint32_t next = g.first;
    if (fuse_crosses_output(p, i, root) || !fuse_join(p, i, fuse_is_kept(f, i, root), &g))
        return;
    f->group[root] = g;
    p->value[i].next = next;
    p->value[i].when = root;
}

/* Groups that read the same. */

/* The last place the group `root` could run at: what reads it, outside, comes no earlier;
 * a sum is there only after all of its group has run. */
static uint32_t fuse_latest(const fuse_plan *f, uint32_t root)
{
    const ht_program *p = f->p;
    uint32_t latest = p->n_values;
    for (uint32_t m = f->group[root].first; m != HTI_NONE; m = p->value[m].next)
        for (uint32_t u = f->first_reader[m]; u < f->first_reader[m + 1]; u++) {
            uint32_t when = p->value[f->reader[u]].when;
            if (when == root) continue;
            when -= fuse_is_sum(&p->value[m]);
            if (when < latest) latest = when;
        }
    return latest;
}

/* The place of the first reader of x that stands after i. */
static uint32_t fuse_reader_after(const fuse_plan *f, uint32_t x, uint32_t i)
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
static uint32_t fuse_sibling(const fuse_plan *f, uint32_t root)
{
    const ht_program *p = f->p;
    const struct fuse_group *g = &f->group[root];
    ht_shape shape = fuse_shape(p, root);
    uint32_t latest = fuse_latest(f, root), best = latest + 1;
    for (uint32_t k = 0; k < g->operands; k++) {
        uint32_t o = g->operand[k];
        if (!ht_shape_equal(p->value[o].type.shape, shape)) continue;
        uint32_t end = f->first_reader[o + 1];
        for (uint32_t u = fuse_reader_after(f, o, g->first); u < end; u++) {
            uint32_t when = p->value[f->reader[u]].when;
            if (f->reader[u] >= best) break;
            if (when > root && when < best && f->can[when] &&
                ht_shape_equal(fuse_shape(p, when), shape))
                best = when;
        }
    }
    return best <= latest && f->beside[best] - f->beside[root] < ht_shape_count(shape)
               ? best
               : HTI_NONE;
}

/* Puts what runs at `root` to what runs at `to`, later; or leaves both. */
static void fuse_merge(fuse_plan *f, uint32_t root, uint32_t to)
{
    ht_program *p = f->p;
    uint32_t member[HTI_FUSED_STEPS], n = 0;
    struct fuse_group g = f->group[to];
    bool fits = g.members + f->group[root].members <= HTI_FUSED_STEPS;
    for (uint32_t m = f->group[root].first; fits && m != HTI_NONE; m = p->value[m].next) {
        fits = !fuse_crosses_output(p, m, to);
        member[n++] = m;
    }
    for (uint32_t k = 0; fits && k < n; k++) p->value[member[k]].when = to;
    for (uint32_t k = n; fits && k-- > 0;)
        fits = fuse_join(p, member[k], fuse_is_kept(f, member[k], to), &g);
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

static void fuse_siblings(fuse_plan *f)
{
    ht_program *p = f->p;
    int64_t beside = 0;
    for (uint32_t i = p->n_in; i < p->n_values; i++) {
        const hti_value *v = &p->value[i];
        bool runs = v->place != HTI_IN_VIEW && v->place != HTI_IN_CONSTANT;
        f->beside[i] = beside;
        if (runs && !f->can[i]) beside += ht_shape_count(v->type.shape);
    }
    for (uint32_t i = p->n_in; i < p->n_values; i++) {
        if (!f->group[i].members || p->value[i].when != i) continue;
        uint32_t to = fuse_sibling(f, i);
        if (to != HTI_NONE) fuse_merge(f, i, to);
    }
}

/* Groups said as slots and steps. */

static uint8_t fuse_slot_of(const hti_group *g, const uint8_t *tile, uint32_t value)
{
    for (int k = 0; k < g->fused.n_operands; k++)
        if (g->operand[k] == value) return (uint8_t)k;
    return tile[value];
}

/* Outputs first, then what is read, then sums. Values nobody outside reads lose their
 * memory. */
static void fuse_operands(const fuse_plan *f, uint32_t root, hti_group *g)
{
    ht_program *p = f->p;
    const struct fuse_group *from = &f->group[root];
    g->shape = fuse_shape(p, root);
    for (uint32_t m = g->first; m != HTI_NONE; m = p->value[m].next) {
        if (fuse_is_sum(&p->value[m])) continue;
        if (fuse_is_kept(f, m, root) || m == root)
            g->operand[g->fused.n_outputs++] = m;
        else
            p->value[m].place = HTI_IN_TILE;
    }
    int n = g->fused.n_outputs;
    for (uint32_t k = 0; k < from->operands; k++)
        if (p->value[from->operand[k]].when != root) g->operand[n++] = from->operand[k];
    g->fused.n_operands = n;
    for (uint32_t m = g->first; m != HTI_NONE; m = p->value[m].next)
        if (fuse_is_sum(&p->value[m])) g->operand[n++] = m;
    g->fused.n_sums = n - g->fused.n_operands;
}

/* A step as it is found: of one op, or a tree of several. */
typedef struct fuse_step {
    uint32_t member, in[HTI_TREE_INPUTS];
    int tree; /* -1: one op */
    uint32_t n_in;
} fuse_step;

/* A pattern held against what a member is made of: `at`, as far as it fits. */
typedef struct fuse_match {
    const fuse_plan *f;
    const char *at;
    uint32_t in[HTI_TREE_INPUTS], inner[HTI_TREE_INPUTS], n_in, n_inner;
} fuse_match;

/* Whether v is what c says of a pattern. An input of the program has no op. */
static bool fuse_is_operator(const hti_value *v, char c)
{
    static const char operators[] = {[HTI_BINARY_add] = '+',
                                     [HTI_BINARY_sub] = '-',
                                     [HTI_BINARY_mul] = '*',
                                     [HTI_BINARY_div] = '/'};
    return v->op && v->op->loop.kind == HTI_LOOP_BINARY &&
           v->op->loop.function < sizeof operators &&
           operators[v->op->loop.function] == c;
}

/* Whether x is made and read within the step that asks alone. */
static bool fuse_is_inner(const fuse_plan *f, uint32_t x)
{
    const hti_value *v = &f->p->value[x];
    return v->place == HTI_IN_TILE && v->step == x &&
           f->first_reader[x + 1] - f->first_reader[x] == 1;
}

static bool fuse_is_letter(char c)
{
    return c >= 'a' && c <= 'f';
}

static bool fuse_is_number(const fuse_match *t, uint32_t x)
{
    return ht_shape_count(t->f->p->value[x].type.shape) == 1;
}

/* Inputs of + and * are tried in both orders; of two that may be anything a number comes
 * first, as the loops for numbers have it. */
static bool fuse_fits(fuse_match *t, uint32_t x, bool outermost)
{
    const ht_program *p = t->f->p;
    const hti_value *v = &p->value[x];
    const uint32_t *in = p->edge + v->first_in;
    char c = *t->at++;
    if (fuse_is_letter(c)) {
        t->in[c - 'a'] = x;
        t->n_in++;
        return true;
    }
    if (!fuse_is_operator(v, c) || !(outermost || fuse_is_inner(t->f, x))) return false;
    if (!outermost) t->inner[t->n_inner++] = x;
    bool commutes = c == '+' || c == '*';
    bool any = commutes && fuse_is_letter(t->at[0]) && fuse_is_letter(t->at[1]);
    int first = any && fuse_is_number(t, in[1]) && !fuse_is_number(t, in[0]);
    fuse_match before = *t;
    if (fuse_fits(t, in[first], false) && fuse_fits(t, in[!first], false)) return true;
    *t = before;
    return commutes && fuse_fits(t, in[!first], false) && fuse_fits(t, in[first], false);
}

/* The step that computes m: of a - b * c, where nothing else reads the product, the tree
 * "-a*bc" from a, b and c, and the product is no step of its own; where no tree fits, m's
 * op by itself. */
static fuse_step fuse_find(fuse_plan *f, uint32_t m)
{
    const hti_value *v = &f->p->value[m];
    const uint32_t *in = f->p->edge + v->first_in;
    fuse_step s = {.member = m, .tree = -1, .n_in = v->n_in};
    fuse_match t;
    bool grows = false; /* most do not */
    for (uint32_t e = 0; e < s.n_in; e++) {
        s.in[e] = in[e];
        grows = grows || fuse_is_inner(f, in[e]);
    }
    for (int k = 0; grows && hti_dtype_is_float(v->type.dtype) && k < HTI_N_TREE; k++) {
        t = (fuse_match){.f = f, .at = hti_trees[k].pattern};
        if (!fuse_is_operator(v, *t.at) || !fuse_fits(&t, m, true)) continue;
        for (uint32_t i = 0; i < t.n_inner; i++) f->p->value[t.inner[i]].step = m;
        s.tree = k;
        s.n_in = t.n_in;
        memcpy(s.in, t.in, sizeof s.in);
        return s;
    }
    return s;
}

/* The steps of a group in order, at the end of `to`, from the place returned on: outer
 * ops choose before what they are made of. */
static int fuse_find_steps(fuse_plan *f, const hti_group *g, fuse_step *to)
{
    uint32_t member[HTI_FUSED_STEPS];
    int n = 0, at = HTI_FUSED_STEPS;
    for (uint32_t m = g->first; m != HTI_NONE; m = f->p->value[m].next) member[n++] = m;
    while (n-- > 0)
        if (f->p->value[member[n]].step == member[n]) to[--at] = fuse_find(f, member[n]);
    return at;
}

/* The last step that reads x. */
static uint32_t fuse_last_step(const fuse_plan *f, uint32_t x)
{
    uint32_t last = 0;
    for (uint32_t u = f->first_reader[x]; u < f->first_reader[x + 1]; u++)
        if (f->p->value[f->reader[u]].step > last) last = f->p->value[f->reader[u]].step;
    return last;
}

/* Step after step; a tile is free again once the last step that reads it is said. */
static void fuse_steps(fuse_plan *f, hti_group *g, uint8_t *tile)
{
    ht_program *p = f->p;
    bool busy[HTI_FUSED_SLOTS] = {false};
    fuse_step found[HTI_FUSED_STEPS];
    uint8_t sums = 0;
    int first = fuse_find_steps(f, g, found);
    for (int i = first; i < HTI_FUSED_STEPS; i++) {
        const uint32_t *in = found[i].in, n = found[i].n_in, m = found[i].member;
        const hti_value *v = &p->value[m];
        hti_fused_step *s = &g->fused.step[g->fused.n_steps];
        g->value[g->fused.n_steps++] = m;
        hti_program_loop(p, m, s);
        if (found[i].tree >= 0) {
            s->kind = HTI_LOOP_TREE;
            s->function = (uint8_t)found[i].tree;
        }
        if (v->place == HTI_IN_TILE) {
            int k = g->fused.n_operands;
            while (busy[k]) k++;
            busy[k] = true;
            tile[m] = (uint8_t)k;
        }
        s->out = fuse_is_sum(v) ? sums++ : fuse_slot_of(g, tile, m);
        s->n_in = (uint8_t)n;
        for (uint32_t e = 0; e < n; e++) s->in[e] = fuse_slot_of(g, tile, in[e]);
        for (uint32_t e = 0; e < n; e++)
            if (p->value[in[e]].place == HTI_IN_TILE && fuse_last_step(f, in[e]) == m)
                busy[s->in[e]] = false;
    }
}

static bool fuse_say(fuse_plan *f, uint8_t *tile)
{
    ht_program *p = f->p;
    for (uint32_t i = p->n_in; i < p->n_values; i++)
        p->n_groups += f->group[i].members > 1 && p->value[i].when == i;
    p->group = hti_zalloc(p->ctx, p->n_groups, sizeof *p->group);
    if (p->ctx->status != HT_OK) return false;
    hti_group *g = p->group;
    for (uint32_t i = p->n_in; i < p->n_values; i++) {
        if (f->group[i].members < 2 || p->value[i].when != i) continue;
        g->first = f->group[i].first;
        p->value[i].group = g;
        fuse_operands(f, i, g);
        fuse_steps(f, g++, tile);
    }
    return true;
}

bool hti_program_fuse(ht_program *p)
{
    size_t n = p->n_values;
    fuse_plan f = {.p = p,
                   .first_reader = hti_zalloc(p->ctx, n + 1, sizeof *f.first_reader),
                   .reader = hti_zalloc(p->ctx, p->n_edges, sizeof *f.reader),
                   .beside = hti_zalloc(p->ctx, n, sizeof *f.beside),
                   .can = hti_zalloc(p->ctx, n, sizeof *f.can),
                   .group = hti_zalloc(p->ctx, n, sizeof *f.group)};
    uint8_t *tile = hti_zalloc(p->ctx, n, 1);
    bool ok = p->ctx->status == HT_OK;
    if (ok) {
        fuse_readers(&f);
        for (uint32_t i = p->n_values; i-- > p->n_in;)
            if ((f.can[i] = fuse_can_join(p, i))) fuse_place(&f, i);
        fuse_siblings(&f);
        ok = fuse_say(&f, tile);
    }
    hti_resize(p->ctx, tile, n, 0);
    hti_resize(p->ctx, f.group, n * sizeof *f.group, 0);
    hti_resize(p->ctx, f.can, n * sizeof *f.can, 0);
    hti_resize(p->ctx, f.beside, n * sizeof *f.beside, 0);
    hti_resize(p->ctx, f.reader, p->n_edges * sizeof *f.reader, 0);
    hti_resize(p->ctx, f.first_reader, (n + 1) * sizeof *f.first_reader, 0);
    return ok;
}
