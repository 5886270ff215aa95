/* SPDX-License-Identifier: MIT */
/* plan.c: where every value of a program lives. Views share their root's memory; what
 * only a group of fused instructions sees has none; an elementwise result takes over an
 * operand that dies with it; the rest get best-fit offsets in one arena by liveness. Read
 * next: fuse.c, replay.c. */
#include "gaps.h"
#include "program.h"

/* The arena as it is laid out. */
typedef struct plan {
    ht_program *p;
    hti_gaps gaps;
    bool *given; /* roots: the memory is someone else's already */
} plan;

/* Last uses, and outputs. */
static void plan_uses(ht_program *p)
{
    for (uint32_t i = 0; i < p->n_values; i++) {
        const hti_value *v = &p->value[i];
        for (uint32_t e = 0; e <= v->n_in; e++) { /* the inputs, and i itself */
            uint32_t used = e < v->n_in ? p->edge[v->first_in + e] : i;
            hti_value *root = &p->value[p->value[used].root];
            if (root->last_use < v->when) root->last_use = v->when;
        }
    }
}

/* Offsets. */

/* Whether instruction i may write over the memory of m's input `e`, m being i or running
 * with it: the op allows it and the operand is i's memory, whole and in order (so element
 * k is read before it is written). */
static bool overwrites_operand(const ht_program *p, uint32_t i, uint32_t m, uint32_t e)
{
    const hti_value *v = &p->value[i];
    const ht_op *op = p->value[m].op;
    const hti_value *in = &p->value[hti_inputs_of(p, m)[e]];
    bool elementwise = op->flags & HT_OP_ELEMENTWISE || op == &hti_op_copy || m != i;
    if (!elementwise && !(op->flags & HT_OP_OVERWRITES && e == 0)) return false;
    return in->from_root == 0 && in->type.dtype == v->type.dtype &&
           hti_same_shape(&in->type.shape, &v->type.shape) &&
           hti_is_contiguous(&in->array) && p->value[in->root].bytes == v->bytes;
}

bool hti_overwrites_root(const ht_program *p, uint32_t i, uint32_t root)
{
    for (uint32_t m = hti_first_at(p, p->value[i].when); m != HTI_NONE;
         m = p->value[m].next) {
        const uint32_t *in = hti_inputs_of(p, m);
        for (uint32_t e = 0; e < p->value[m].n_in; e++)
            if (p->value[in[e]].root == root &&
                (p->value[m].step > i || !overwrites_operand(p, i, m, e)))
                return false;
    }
    return true;
}

/* The root whose memory instruction i takes over, or HTI_NONE: of an operand of its own
 * or of what runs with it. */
static uint32_t plan_takeover(const plan *l, uint32_t i)
{
    const ht_program *p = l->p;
    uint32_t when = p->value[i].when;
    if (!hti_program_passes(p, HT_PASS_MEMORY)) return HTI_NONE;
    for (uint32_t m = hti_first_at(p, when); m != HTI_NONE; m = p->value[m].next) {
        const uint32_t *in = hti_inputs_of(p, m);
        for (uint32_t e = 0; e < p->value[m].n_in; e++) {
            uint32_t at = p->value[in[e]].root;
            const hti_value *root = &p->value[at];
            if (root->place == HTI_IN_ARENA && !l->given[at] && root->last_use == when &&
                hti_overwrites_root(p, i, at))
                return at;
        }
    }
    return HTI_NONE;
}

/* Whether out[k] may be the memory of input j if instruction i is the first to write. */
static bool may_overwrite(const ht_program *p, uint32_t i, uint32_t j)
{
    uint32_t last = p->value[j].last_use, when = p->value[i].when;
    return last < when || (last == when && hti_overwrites_root(p, i, j));
}

bool hti_program_may_share(const ht_program *p, uint32_t k, uint32_t j)
{
    return may_overwrite(p, p->begun[k], j);
}

/* Of an output i whose row overwrites its first input, such as x + a . b: that x, which
 * then is computed in the output's memory. HTI_NONE unless x is read last by i, and each
 * input of the program whose memory the output might be given (a parameter, of its
 * update) is done with when x, which is earlier, is written. */
static uint32_t plan_basis(const ht_program *p, uint32_t i)
{
    const hti_value *v = &p->value[i];
    if (!(v->op->flags & HT_OP_OVERWRITES) || !hti_program_passes(p, HT_PASS_MEMORY))
        return HTI_NONE;
    uint32_t at = p->edge[v->first_in];
    const hti_value *x = &p->value[at];
    if (x->place != HTI_IN_ARENA || x->root != at || x->last_use != v->when ||
        !hti_overwrites_root(p, i, at))
        return HTI_NONE;
    for (uint32_t j = 0; j < p->n_in; j++)
        if (p->value[j].type.dtype == v->type.dtype &&
            hti_same_shape(&p->value[j].type.shape, &v->type.shape) &&
            may_overwrite(p, i, j) && !may_overwrite(p, at, j))
            return HTI_NONE;
    return at;
}

static void plan_outputs(ht_program *p)
{
    for (uint32_t k = 0; k < p->n_out; k++) {
        uint32_t i = p->out[k], basis;
        while ((basis = plan_basis(p, i)) != HTI_NONE) {
            p->value[basis].place = HTI_IN_OUTPUT;
            p->value[basis].slot = k;
            uint32_t *last = &p->value[i].next_view;
            while (*last != HTI_NONE) last = &p->value[*last].next_view;
            *last = i = basis;
        }
        p->begun[k] = i;
    }
}

/* Memory for the result of instruction i. */
static void plan_result(plan *l, uint32_t i)
{
    hti_value *v = &l->p->value[i];
    if (v->place != HTI_IN_ARENA || !v->bytes) return;
    uint32_t taken = plan_takeover(l, i);
    v->offset =
        taken == HTI_NONE ? hti_gaps_take(&l->gaps, v->bytes) : l->p->value[taken].offset;
    if (taken != HTI_NONE) l->given[taken] = true;
}

static void plan_give(plan *l, uint32_t value, uint32_t when)
{
    uint32_t at = l->p->value[value].root;
    const hti_value *root = &l->p->value[at];
    if (root->place != HTI_IN_ARENA || root->last_use != when || l->given[at] ||
        !hti_program_passes(l->p, HT_PASS_MEMORY))
        return;
    l->given[at] = true;
    if (root->bytes) hti_gaps_give(&l->gaps, root->offset, root->bytes);
}

/* Gives back what dies with instruction i. */
static void plan_release(plan *l, uint32_t i)
{
    const hti_value *v = &l->p->value[i];
    const uint32_t *in = hti_inputs_of(l->p, i);
    for (uint32_t e = 0; e < v->n_in; e++) plan_give(l, in[e], v->when);
    plan_give(l, i, v->when);
}

/* What the op works in. */
static size_t plan_workspace(const ht_program *p, const hti_value *v)
{
    if (v->chain) return hti_chain_of(p, v)->room;
    if (v->group || !v->op->workspace) return 0;
    ht_type in[HT_OP_INPUTS] = {0};
    for (uint32_t e = 0; e < v->n_in && e < HT_OP_INPUTS; e++)
        in[e] = p->value[p->edge[v->first_in + e]].type;
    return hti_round_up(v->op->workspace(p->ctx, in, &v->type, v->attributes), HTI_ALIGN);
}

/* A constant's value stands behind its attributes, which take half of a 16-byte slot. */
static void plan_constants(ht_program *p)
{
    for (uint32_t i = p->n_in; i < p->n_values; i++) {
        const hti_value *v = &p->value[i];
        if (v->place != HTI_IN_CONSTANT) continue;
        const hti_constant_attributes *a = v->attributes;
        hti_program_point(p, i, (unsigned char *)(uintptr_t)(a + 1));
        hti_run_fill(p->ctx, v->array, a->value);
    }
}

/* The call of a loop that instruction i is, if it is one. */
static void plan_loop(const ht_program *p, uint32_t i, hti_instruction *s)
{
    const hti_value *v = &p->value[i];
    hti_fused_step loop;
    if (v->group || v->chain || !hti_program_passes(p, HT_PASS_FUSE) ||
        !hti_program_loop(p, i, &loop))
        return;
    const ht_array *operand[HTI_ELEMENTWISE_INPUTS + 1] = {&v->array};
    for (uint32_t e = 0; e < v->n_in; e++) operand[e + 1] = p->operand[v->first_in + e];
    s->loop = hti_kernel(p->ctx, whole_loop, &loop, (int)v->n_in + 1, operand);
    if (s->loop) s->count = (uint32_t)hti_count(&v->type.shape);
    s->first_in = v->first_in;
    s->n_in = v->n_in;
}

/* All that runs at i: results, then workspace, which is alive during the instruction and
 * so beside its operands, and only then what dies. */
static void plan_instruction(plan *l, uint32_t i)
{
    ht_program *p = l->p;
    const hti_value *v = &p->value[i];
    hti_instruction s = {.value = i, .workspace_bytes = plan_workspace(p, v)};
    uint32_t first = hti_first_at(p, i);
    for (uint32_t m = first; m != HTI_NONE; m = p->value[m].next) plan_result(l, m);
    if (s.workspace_bytes)
        s.workspace_offset = hti_gaps_take(&l->gaps, s.workspace_bytes);
    for (uint32_t m = first; m != HTI_NONE; m = p->value[m].next) plan_release(l, m);
    if (s.workspace_bytes && hti_program_passes(p, HT_PASS_MEMORY))
        hti_gaps_give(&l->gaps, s.workspace_offset, s.workspace_bytes);
    if (v->place == HTI_IN_VIEW || v->place == HTI_IN_CONSTANT) return;
    plan_loop(p, i, &s);
    p->instruction[p->n_instructions++] = s;
}

bool hti_program_plan(ht_program *p)
{
    if (!hti_program_place(p)) return false;
    plan_uses(p);
    plan_outputs(p);
    plan_constants(p);
    plan l = {.p = p,
              .gaps.gap = hti_program_scratch(p, p->n_values + 2, sizeof *l.gaps.gap),
              .given = hti_program_scratch(p, p->n_values, sizeof *l.given)};
    if (!l.gaps.gap || !l.given) return false;
    for (uint32_t i = p->n_in; i < p->n_values; i++)
        if (p->value[i].when == i) plan_instruction(&l, i);
    p->arena_bytes = l.gaps.top;
    return true;
}
