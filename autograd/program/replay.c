/* SPDX-License-Identifier: MIT */
/* replay.c: replaying a program. Every operand was laid out by the plan, so a run sets
 * the pointers that changed and calls the kernels; it allocates nothing.
 * Read next: print.c. */
#include <string.h>

#include "program.h"

void hti_program_point(ht_program *p, uint32_t root, unsigned char *memory)
{
    for (uint32_t i = root; i != HTI_NONE; i = p->value[i].next_view)
        p->at[i] = p->value[i].array.data = memory + p->value[i].from_root;
}

/* Offsets count from the arena's first aligned byte. */
static unsigned char *arena_at(const ht_program *p, size_t offset)
{
    return (unsigned char *)hti_round_up((uintptr_t)p->arena, HTI_ALIGN) + offset;
}

static void program_point_arena(ht_program *p)
{
    for (uint32_t i = 0; i < p->n_values; i++)
        if (p->value[i].root == i && p->value[i].place == HTI_IN_ARENA)
            hti_program_point(p, i, arena_at(p, p->value[i].offset));
}

void hti_program_bind(ht_program *program, void *arena)
{
    if (program->arena_owned)
        hti_resize(program->ctx, program->arena, program->arena_bytes + HTI_ALIGN, 0);
    program->arena = arena;
    program->arena_owned = false;
    program_point_arena(program);
}

/* Memory of the program's own, on the first run that needs it. The block's start is kept.
 */
static bool program_own_arena(ht_program *p)
{
    if (p->arena) return true;
    p->arena = hti_resize(p->ctx, NULL, 0, p->arena_bytes + HTI_ALIGN);
    p->arena_owned = p->arena != NULL;
    hti_large_pages(p->arena, p->arena_bytes);
    if (p->arena) program_point_arena(p);
    return p->arena_owned;
}

/* A group, at its root; looks for the first step that is not finite if asked to. */
static void run_group(ht_program *p, const hti_group *g)
{
    ht_array spread[HTI_FUSED_OPERANDS];
    const ht_array *operand[HTI_FUSED_OPERANDS];
    for (int k = 0; k < g->fused.n_operands + g->fused.n_sums; k++) {
        operand[k] = &p->value[g->operand[k]].array;
        if (k >= g->fused.n_operands || hti_same_shape(&operand[k]->shape, &g->shape))
            continue;
        spread[k] = hti_broadcast_array(*operand[k], g->shape);
        operand[k] = &spread[k];
    }
    int bad;
    bool look = p->watch && p->bad == HTI_NONE;
    hti_kernel(p->ctx, fused, &g->fused, operand, look ? &bad : NULL);
    if (look && bad < g->fused.n_steps) p->bad = g->value[bad];
}

static void run_value(const ht_program *p, const hti_instruction *s)
{
    const hti_value *v = &p->value[s->value];
    void *workspace = s->workspace_bytes ? arena_at(p, s->workspace_offset) : NULL;
    if (p->poison && workspace) memset(workspace, 0xFF, s->workspace_bytes);
    v->op->run(&(ht_run){v->op, p->ctx, v->array, (int)v->n_in, p->operand + v->first_in,
                         v->attributes, workspace, v->site});
}

static inline void run_loop(const ht_program *p, const hti_instruction *s)
{
    const uint32_t *edge = p->edge + s->first_in;
    const void *in[HTI_ELEMENTWISE_INPUTS];
    for (uint32_t e = 0; e < s->n_in; e++) in[e] = p->at[edge[e]];
    s->loop(s->count, p->at[s->value], in);
}

static bool run_instruction(ht_program *p, const hti_instruction *s)
{
    const hti_value *v = &p->value[s->value];
    if (v->group)
        run_group(p, v->group);
    else if (v->chain)
        hti_run_chain(p, hti_chain_of(p, v), arena_at(p, s->workspace_offset));
    else if (s->loop)
        run_loop(p, s);
    else
        run_value(p, s);
    if (p->ctx->status != HT_OK) return false;
    if (p->watch && !v->group && !v->chain) hti_watch_value(p, s->value);
    if (p->poison) hti_poison_dead(p, s->value);
    return true;
}

/* Loops are called from two places in turn: processors foretell a call's target from its
 * place, and of two loops that alternate at one place some foretell none, which made a
 * chain of numbers 2.3 times slower in one link and not in the next. */
ht_status hti_program_go(ht_program *p)
{
    if (p->arena_bytes && !program_own_arena(p)) return p->ctx->status;
    p->bad = HTI_NONE;
    if (p->poison) hti_poison_all(p);
    bool plain = !p->poison && !p->watch;
    const hti_instruction *s = p->instruction, *end = s + p->n_instructions;
    for (bool ok = true; ok && s < end; s++) {
        if (!plain || !s->loop) {
            ok = run_instruction(p, s);
            continue;
        }
        run_loop(p, s);
        if (s + 1 < end && s[1].loop) run_loop(p, ++s);
    }
    return p->ctx->status;
}

ht_status hti_program_run(ht_program *p, void *const *in, void *const *out)
{
    if (p->ctx->status != HT_OK) return p->ctx->status;
    for (uint32_t j = 0; j < p->n_in; j++) hti_program_set(p, j, j, in[j]);
    for (uint32_t k = 0; k < p->n_out; k++)
        hti_program_set(p, p->n_in + k, p->out[k], out[k]);
    return hti_program_go(p);
}
