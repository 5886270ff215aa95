/* SPDX-License-Identifier: MIT */
/* program.c: what is done with a program beside running it: appending it to a tape,
 * asking for its sizes, freeing it. Read next: cut.c, which makes one. */
#include "program.h"

static size_t program_links(const hti_chain *c)
{
    return c->n_links * sizeof *c->link;
}

void ht_program_free(ht_program *p)
{
    if (!p) return;
    HTI_ALIVE(p, "ht_program_free", "program");
    HT_ASSERT(!p->ctx->handling, "ht_program_free: called from on_error");
    if (p->arena_owned) hti_resize(p->ctx, p->arena, p->arena_bytes + HTI_ALIGN, 0);
    hti_resize(p->ctx, p->data, p->block_bytes, 0);
    hti_resize(p->ctx, p->group, p->n_groups * sizeof *p->group, 0);
    for (uint32_t k = 0; p->chain && k < p->n_chains; k++)
        hti_resize(p->ctx, p->chain[k].link, program_links(&p->chain[k]), 0);
    hti_resize(p->ctx, p->chain, p->n_chains * sizeof *p->chain, 0);
    if (p->owned.kind)
        hti_retire(&p->owned, sizeof *p);
    else
        hti_resize(p->ctx, p, sizeof *p, 0);
}

size_t hti_program_held(const ht_program *p)
{
    size_t chains = p->n_chains * sizeof *p->chain;
    for (uint32_t k = 0; k < p->n_chains; k++) chains += program_links(&p->chain[k]);
    return sizeof *p + p->block_bytes + p->n_groups * sizeof *p->group + chains +
           (p->arena_owned ? p->arena_bytes + HTI_ALIGN : 0);
}

/* A value by what it is made of, so many steps back. */
static uint64_t program_digest_of(const ht_program *p, uint32_t i, int back)
{
    const hti_value *v = &p->value[i];
    if (i < p->n_in) return hti_hash(HTI_HASH_BEGIN, &i, sizeof i);
    uint64_t hash = hti_hash(HTI_HASH_BEGIN, v->op->name, strlen(v->op->name));
    hash = hti_hash(hash, v->attributes, v->op->attribute_size);
    for (uint32_t e = 0; back > 0 && e < v->n_in; e++) {
        uint64_t in = program_digest_of(p, p->edge[v->first_in + e], back - 1);
        hash = hti_hash(hash, &in, sizeof in);
    }
    return hash;
}

/* The same whatever order the values run in, which a pass may choose by the number of
 * threads; without memory, which a budget would have to know of. */
uint64_t hti_program_digest(const ht_program *p)
{
    enum { BACK = 4 };
    uint64_t sum = 0;
    for (uint32_t i = p->n_in; i < p->n_values; i++) sum += program_digest_of(p, i, BACK);
    for (uint32_t k = 0; k < p->n_out; k++) {
        uint64_t out = program_digest_of(p, p->out[k], BACK);
        sum = hti_hash(sum, &out, sizeof out);
    }
    return sum;
}

/* Call. */

/* What a pass made is on a tape what it was made of. */
static ht_var call_parts(ht_tape *tape, const hti_value *v, const ht_var *in,
                         const char *site)
{
    const char *outer = tape->rule_site;
    tape->rule_site = site;
    ht_var out = v->op->decompose(
        &(ht_rule){.n_in = (int)v->n_in, .in = in, .attributes = v->attributes});
    tape->rule_site = outer;
    return out;
}

/* Appends instruction i with its inputs looked up in map. */
static ht_var call_value(ht_tape *tape, const ht_program *p, const hti_value *v,
                         const ht_var *map, const char *site)
{
    if (v->op == &hti_op_copy) return map[p->edge[v->first_in]];
    if (v->op == &hti_op_constant) {
        const hti_constant_attributes *a = v->attributes;
        return hti_constant(tape, a->value, v->type.dtype, false, site);
    }
    ht_var few[HT_OP_INPUTS] = {{0}};
    hti_arena_mark mark = hti_arena_at(&tape->scratch);
    ht_var *in = v->n_in <= HT_OP_INPUTS
                     ? few
                     : hti_arena_alloc(&tape->scratch, v->n_in * sizeof *in);
    if (!in) return hti_poison(tape);
    for (uint32_t e = 0; e < v->n_in; e++) in[e] = map[p->edge[v->first_in + e]];
    const char *at = v->site ? v->site : site;
    ht_var out = v->op->flags & HTI_OP_INSIDE
                     ? call_parts(tape, v, in, at)
                     : ht_apply(v->op, (int)v->n_in, in, v->attributes, at);
    hti_arena_rewind(&tape->scratch, mark);
    return out;
}

static bool call_input_fits(ht_tape *tape, const ht_program *p, uint32_t j, ht_var x,
                            const char *site)
{
    if (hti_is_poison(hti_needs(tape, x, "call", "input", (int)j, site))) return false;
    ht_type want = p->value[j].type, got = hti_type(x);
    if (hti_same_type(&want, &got)) return true;
    char a[HTI_TYPE_TEXT], b[HTI_TYPE_TEXT];
    hti_fail(tape, hti_unlike(want.dtype, got.dtype), site, "call",
             "input %u must be %s, not %s", j, hti_type_text(want, a),
             hti_type_text(got, b));
    return false;
}

void ht_call_at(ht_tape *tape, const ht_program *p, const ht_var *in, ht_var *out,
                const char *site)
{
    HT_ASSERT(tape && p && (in || !p->n_in) && out,
              "call: tape %p, program %p, in %p, out %p", (void *)tape, (const void *)p,
              (const void *)in, (void *)out);
    HTI_ALIVE(p, "ht_call", "program");
    hti_arena_mark mark = hti_arena_at(&tape->scratch);
    ht_var *map = NULL;
    bool ok = tape->ctx->status == HT_OK;
    if (ok) map = hti_arena_alloc(&tape->scratch, p->n_values * sizeof *map);
    ok = ok && map;
    for (uint32_t j = 0; ok && j < p->n_in; j++) {
        ok = call_input_fits(tape, p, j, in[j], site);
        map[j] = in[j];
    }
    for (uint32_t i = p->n_in; ok && i < p->n_values; i++) {
        map[i] = call_value(tape, p, &p->value[i], map, site);
        ok = tape->ctx->status == HT_OK;
    }
    for (uint32_t k = 0; k < p->n_out; k++)
        out[k] = ok ? map[p->out[k]] : hti_poison(tape);
    hti_arena_rewind(&tape->scratch, mark);
}

/* Looking at a program. */

const ht_type *hti_program_in_type(const ht_program *program, uint32_t j)
{
    return &program->value[j].type;
}

const ht_type *hti_program_out_type(const ht_program *program, uint32_t k)
{
    return &program->value[program->out[k]].type;
}

size_t ht_program_bytes(const ht_program *program)
{
    HT_ASSERT(program, "ht_program_bytes: the program is NULL");
    HTI_ALIVE(program, "ht_program_bytes", "program");
    return program->arena_bytes;
}

int64_t ht_program_nodes(const ht_program *program)
{
    HT_ASSERT(program, "ht_program_nodes: the program is NULL");
    HTI_ALIVE(program, "ht_program_nodes", "program");
    return (int64_t)program->n_values - program->n_in;
}

double hti_value_flops(const ht_program *p, const hti_value *v)
{
    if (!v->op || !v->op->flops) return 0;
    ht_type in[HT_OP_INPUTS] = {0};
    for (uint32_t e = 0; e < v->n_in && e < HT_OP_INPUTS; e++)
        in[e] = p->value[p->edge[v->first_in + e]].type;
    return v->op->flops(in, &v->type);
}

double ht_program_flops(const ht_program *program)
{
    HT_ASSERT(program, "ht_program_flops: the program is NULL");
    HTI_ALIVE(program, "ht_program_flops", "program");
    double sum = 0;
    for (uint32_t i = program->n_in; i < program->n_values; i++)
        sum += hti_value_flops(program, &program->value[i]);
    return sum;
}

/* Not so a cast such as f64 to i32, which has to find all of its numbers in range before
 * it writes any. */
bool hti_program_loop(const ht_program *p, uint32_t i, hti_fused_step *step)
{
    const hti_value *v = &p->value[i];
    if (v->op->loop.kind == HTI_LOOP_NONE) return false;
    ht_dtype from = p->value[p->edge[v->first_in + v->n_in - 1]].type.dtype;
    if (v->op->loop.kind == HTI_LOOP_CONVERT && hti_narrows(from, v->type.dtype))
        return false;
    *step = (hti_fused_step){.kind = v->op->loop.kind,
                             .function = v->op->loop.function,
                             .from = (uint8_t)from,
                             .to = (uint8_t)v->type.dtype};
    return true;
}
