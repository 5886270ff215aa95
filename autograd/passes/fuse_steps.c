/* SPDX-License-Identifier: MIT */
/* fuse_steps.c: groups written as slots and steps. Ops that form an HTI_TREE of
 * elementwise.def, (a + b) * c for one, are one step. Read next: replay.c. */
#include <string.h>

#include "fuse.h"

static uint8_t fuse_slot_of(const hti_fuse_plan *f, const hti_group *g, uint32_t value)
{
    if (f->p->value[value].place == HTI_IN_TILE) return f->tile[value];
    uint8_t k = 0;
    while (g->operand[k] != value) k++;
    return k;
}

/* Outputs first, then what is read, then sums. Values nobody outside reads lose their
 * memory. */
static void fuse_operands(const hti_fuse_plan *f, uint32_t root, hti_group *g)
{
    ht_program *p = f->p;
    const struct hti_fuse_group *from = &f->group[root];
    g->shape = *hti_fuse_shape(p, root);
    for (uint32_t m = g->first; m != HTI_NONE; m = p->value[m].next) {
        if (hti_fuse_is_sum(&p->value[m])) continue;
        if (hti_fuse_is_kept(f, m, root) || m == root)
            g->operand[g->fused.n_outputs++] = m;
        else
            p->value[m].place = HTI_IN_TILE;
    }
    int n = g->fused.n_outputs;
    for (uint32_t k = 0; k < from->operands; k++)
        if (p->value[from->operand[k]].when != root) g->operand[n++] = from->operand[k];
    g->fused.n_operands = n;
    for (uint32_t m = g->first; m != HTI_NONE; m = p->value[m].next)
        if (hti_fuse_is_sum(&p->value[m])) g->operand[n++] = m;
    g->fused.n_sums = n - g->fused.n_operands;
}

/* A step as it is found: of one op, or a tree of several. */
typedef struct fuse_step {
    uint32_t member, in[HTI_TREE_INPUTS];
    int tree; /* -1: one op */
    uint32_t n_in;
} fuse_step;

/* A pattern in prefix form, "+*ab*cd" for a b + c d, held against what a member is made
 * of: `at` is what is left of it, `in` what its letters stand for, `inner` the values
 * between, which are then no steps of their own. */
typedef struct fuse_match {
    const hti_fuse_plan *f;
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

/* Whether only the step that asks reads x, a step of its own until now. */
static bool fuse_is_inner(const hti_fuse_plan *f, uint32_t x)
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
    return hti_count(&t->f->p->value[x].type.shape) == 1;
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
static fuse_step fuse_find(hti_fuse_plan *f, uint32_t m)
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
static int fuse_find_steps(hti_fuse_plan *f, const hti_group *g, fuse_step *to)
{
    uint32_t member[HTI_FUSED_STEPS];
    int n = 0, at = HTI_FUSED_STEPS;
    for (uint32_t m = g->first; m != HTI_NONE; m = f->p->value[m].next) member[n++] = m;
    while (n-- > 0)
        if (f->p->value[member[n]].step == member[n]) to[--at] = fuse_find(f, member[n]);
    return at;
}

/* The last step that reads x. */
static uint32_t fuse_last_step(const hti_fuse_plan *f, uint32_t x)
{
    uint32_t last = 0;
    for (uint32_t u = f->first_reader[x]; u < f->first_reader[x + 1]; u++)
        if (f->p->value[f->reader[u]].step > last) last = f->p->value[f->reader[u]].step;
    return last;
}

/* Step after step; a tile is free again once the last step that reads it is said. */
static void fuse_steps(hti_fuse_plan *f, hti_group *g)
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
            f->tile[m] = (uint8_t)k;
        }
        s->out = hti_fuse_is_sum(v) ? sums++ : fuse_slot_of(f, g, m);
        s->n_in = (uint8_t)n;
        for (uint32_t e = 0; e < n; e++) s->in[e] = fuse_slot_of(f, g, in[e]);
        for (uint32_t e = 0; e < n; e++)
            if (p->value[in[e]].place == HTI_IN_TILE && fuse_last_step(f, in[e]) == m)
                busy[s->in[e]] = false;
    }
}

bool hti_fuse_write(hti_fuse_plan *f)
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
        fuse_steps(f, g++);
    }
    return true;
}
