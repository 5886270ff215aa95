/* SPDX-License-Identifier: MIT */
/* tape.c: the list of nodes. hti_append is the one place a node comes from: it finds an
 * equal node (so common subexpressions never exist) or adds one and, on an eager tape,
 * runs it. Read next: apply.c (what happens before), derive.c. */
#include "tape.h"

#include <string.h>

#include "columns.h"

enum { HTI_MANY_NODES = 10000 };

/* Lifetime. */

/* More nodes than a step makes, as a rule: nobody reset it. */
static bool tape_spare(const void *x, char *text, size_t size)
{
    const ht_tape *tape = x;
    if (tape->policy != HT_EAGER || tape->n < HTI_MANY_NODES) return false;
    snprintf(text, size,
             "ht_tape_reset after each step: a tape holds %u nodes, and what they need",
             tape->n);
    return true;
}

ht_tape *hti_tape_new(ht_context *ctx, ht_policy policy, const hti_linear *linear)
{
    HT_ASSERT(ctx, "ht_tape_new: the context is NULL");
    HT_ASSERT(policy == HT_EAGER || policy == HT_RECORD, "ht_tape_new: policy %d",
              (int)policy);
    ht_tape *tape = hti_zalloc(ctx, 1, sizeof *tape);
    if (!tape) return NULL;
    static const hti_kind kind = {.name = "tape", .spare = tape_spare};
    hti_own(ctx, &tape->owned, &kind);
    tape->ctx = ctx;
    tape->policy = policy;
    tape->linear = linear;
    tape->memory.ctx = tape->scratch.ctx = ctx;
    return tape;
}

/* Pops nodes down to n, newest first: each is the head of its bucket by then. Borrows are
 * given back, and value tensors forgotten, since their memory may be newer than the node.
 */
static void tape_pop(ht_tape *tape, uint32_t n)
{
    for (uint32_t i = tape->n; i-- > n;) {
        if (tape->op[i] != &hti_op_input)
            *hti_node_bucket(tape, i) = tape->next[i];
        else
            hti_give_back(tape, i);
    }
    for (uint32_t i = 0; i < n; i++)
        if (tape->op[i] != &hti_op_input) tape->tensor[i] = NULL;
    tape->n = n;
    hti_origin_cut(tape);
    tape->current_stamp++;
    if (tape->stale) hti_look_for_changes(tape);
}

/* That nodes may be forgotten: not while a call that appends some is under way. */
static void tape_assert_idle(const ht_tape *tape, const char *who)
{
    HT_ASSERT(tape, "%s: the tape is NULL", who);
    HTI_ALIVE(tape, who, "tape");
    HT_ASSERT(!tape->ctx->handling,
              "%s: called from on_error, of a call that may still use the tape", who);
}

void ht_tape_reset(ht_tape *tape)
{
    tape_assert_idle(tape, "ht_tape_reset");
    tape_pop(tape, 0);
    tape->reset_stamp = tape->current_stamp;
    tape->resets++;
    tape->n_edges = tape->n_marks = 0;
    tape->names = NULL;
    hti_arena_rewind(&tape->memory, (hti_arena_mark){NULL, 0});
}

void ht_tape_free(ht_tape *tape)
{
    if (!tape) return;
    tape_assert_idle(tape, "ht_tape_free");
    ht_context *ctx = tape->ctx;
    ht_tape_reset(tape);
    hti_resize(ctx, tape->block, (size_t)tape->capacity * HTI_NODE_BYTES, 0);
    hti_resize(ctx, tape->edge, tape->edge_capacity * sizeof(uint32_t), 0);
    hti_resize(ctx, tape->origin, tape->origin_capacity * sizeof(hti_origin), 0);
    hti_resize(ctx, tape->marks, tape->mark_capacity * sizeof(hti_tape_mark), 0);
    hti_arena_free(&tape->memory);
    hti_arena_free(&tape->scratch);
    tape->capacity = 0;
    hti_retire(&tape->owned, sizeof *tape);
}

ht_mark ht_tape_mark(ht_tape *tape)
{
    HT_ASSERT(tape, "ht_tape_mark: the tape is NULL");
    HTI_ALIVE(tape, "ht_tape_mark", "tape");
    /* A mark at this very node is as good, or a loop of mark and rewind would pile them
     * up. */
    if (tape->n_marks && tape->marks[tape->n_marks - 1].mark.nodes == tape->n)
        return tape->marks[tape->n_marks - 1].mark;
    ht_mark mark = {tape->n, tape->current_stamp};
    if (tape->n_marks == tape->mark_capacity) {
        uint32_t capacity = tape->mark_capacity ? 2 * tape->mark_capacity : 16;
        void *marks = hti_resize(tape->ctx, tape->marks,
                                 tape->mark_capacity * sizeof(hti_tape_mark),
                                 capacity * sizeof(hti_tape_mark));
        if (!marks) return mark;
        tape->marks = marks;
        tape->mark_capacity = capacity;
    }
    tape->marks[tape->n_marks++] =
        (hti_tape_mark){mark, hti_arena_at(&tape->memory), tape->names, tape->n_edges};
    return mark;
}

void ht_tape_rewind(ht_tape *tape, ht_mark mark)
{
    tape_assert_idle(tape, "ht_tape_rewind");
    uint32_t k = tape->n_marks;
    while (k > 0 && (tape->marks[k - 1].mark.nodes != mark.nodes ||
                     tape->marks[k - 1].mark.stamp != mark.stamp))
        k--;
    /* A mark the allocator had no room for is an error already kept: nothing is rewound.
     */
    if (k == 0 && ht_context_status(tape->ctx) != HT_OK) return;
    HT_ASSERT(k > 0,
              "ht_tape_rewind: mark (node %u, stamp %u) is not of this tape, or was "
              "rewound past",
              mark.nodes, mark.stamp);
    tape_pop(tape, mark.nodes);
    tape->n_edges = tape->marks[k - 1].edges;
    tape->names = tape->marks[k - 1].names;
    hti_arena_rewind(&tape->memory, tape->marks[k - 1].memory);
    tape->n_marks = k;
}

ht_context *ht_tape_context(const ht_tape *tape)
{
    HT_ASSERT(tape, "ht_tape_context: the tape is NULL");
    HTI_ALIVE(tape, "ht_tape_context", "tape");
    return tape->ctx;
}

uint32_t ht_tape_nodes(const ht_tape *tape)
{
    HT_ASSERT(tape, "ht_tape_nodes: the tape is NULL");
    HTI_ALIVE(tape, "ht_tape_nodes", "tape");
    return tape->n;
}

uint32_t hti_tape_resets(const ht_tape *tape)
{
    return tape->resets;
}

ht_policy hti_tape_policy(const ht_tape *tape)
{
    return tape->policy;
}

void *hti_tape_alloc(ht_tape *tape, size_t bytes)
{
    return hti_arena_alloc(&tape->memory, bytes);
}

/* Append. */

/* What the op of node i works in, from scratch; NULL after an error. */
static void *node_workspace(ht_tape *tape, uint32_t i)
{
    ht_type in[HT_OP_INPUTS] = {0};
    for (uint32_t k = 0; k < tape->n_in[i] && k < HT_OP_INPUTS; k++)
        in[k] = tape->type[hti_inputs(tape, i)[k]];
    return hti_arena_alloc(
        &tape->scratch,
        tape->op[i]->workspace(tape->ctx, in, &tape->type[i], tape->attributes[i]));
}

/* Runs the op of node i into memory of its own; `arrays` is room for its inputs. */
static inline bool node_compute(ht_tape *tape, uint32_t i, const ht_array **arrays,
                                void *workspace)
{
    const ht_op *op = tape->op[i];
    const uint32_t *in = hti_inputs(tape, i), n = tape->n_in[i];
    const ht_type *type = &tape->type[i];
    ht_array *out = &tape->array[i];
    size_t bytes = hti_lay_out(out, NULL, type->dtype, &type->shape);
    out->data = hti_arena_alloc(&tape->memory, bytes);
    if (!out->data) return false;
    for (uint32_t k = 0; k < n; k++) arrays[k] = &tape->array[in[k]];
    HT_ASSERT(op->run, "%s: the row has no run", op->name);
    ht_run r;
    r.op = op;
    r.ctx = tape->ctx;
    hti_copy_array(&r.out, out);
    r.n_in = (int)n;
    r.in = arrays;
    r.attributes = tape->attributes[i];
    r.workspace = workspace;
    r.site = tape->site[i];
    op->run(&r);
    return tape->ctx->status == HT_OK;
}

/* The same where the list of inputs, or what the op works in, is from scratch. */
static bool node_run_beside(ht_tape *tape, uint32_t i)
{
    const ht_op *op = tape->op[i];
    hti_arena_mark mark = hti_arena_at(&tape->scratch);
    const ht_array **arrays =
        hti_arena_alloc(&tape->scratch, tape->n_in[i] * sizeof *arrays);
    void *workspace = op->workspace ? node_workspace(tape, i) : NULL;
    bool ok = arrays && (workspace || !op->workspace) &&
              node_compute(tape, i, arrays, workspace);
    hti_arena_rewind(&tape->scratch, mark);
    return ok;
}

/* The value of node i on an eager tape: a view if it can be one, else memory and a run.
 */
static inline bool node_run(ht_tape *tape, uint32_t i)
{
    const ht_op *op = tape->op[i];
    if (op->view && op->view(tape->attributes[i], &tape->type[i],
                             &tape->array[hti_inputs(tape, i)[0]], &tape->array[i]))
        return true;
    if (tape->n_in[i] > HT_OP_INPUTS || op->workspace) return node_run_beside(tape, i);
    const ht_array *arrays[HT_OP_INPUTS];
    return node_compute(tape, i, arrays, NULL);
}

static const void *copy_attributes(ht_tape *tape, const ht_op *op, const void *from)
{
    void *to = hti_arena_alloc(&tape->memory, op->attribute_size);
    if (to) memcpy(to, from, op->attribute_size);
    return to;
}

static bool all_hold(ht_tape *tape, uint32_t n, const uint32_t *in, const char *op,
                     const char *site)
{
    bool hold = true;
    for (uint32_t k = 0; hold && k < n; k++)
        hold = hti_still_holds(tape, in[k], op, site);
    return hold;
}

ht_var hti_append(ht_tape *tape, const ht_op *op, uint32_t n, const ht_var *in,
                  const void *attributes, const ht_type *type, bool weak,
                  const char *site)
{
    /* Reserved first, so that the inputs' indices can be laid where they will stay. */
    if (!hti_tape_reserve(tape, n)) return hti_poison(tape);
    uint32_t *edge = tape->edge + tape->n_edges;
    for (uint32_t k = 0; k < n; k++) edge[k] = in[k].index;
    if (hti_is_stale(tape) && !all_hold(tape, n, edge, op->name, site))
        return hti_poison(tape);
    uint32_t hash = hti_node_hash(op, attributes, n, edge);
    uint32_t equal =
        hti_find_equal(tape, hash, op, attributes, n, edge, type->dtype, weak);
    if (equal != HTI_NONE) return hti_var(tape, equal);

    if (op->attribute_size && !(attributes = copy_attributes(tape, op, attributes)))
        return hti_poison(tape);
    uint32_t i = tape->n;
    tape->op[i] = op;
    tape->attributes[i] = op->attribute_size ? attributes : NULL;
    tape->type[i] = *type;
    tape->hash[i] = hash;
    tape->first_in[i] = tape->n_edges;
    tape->n_in[i] = n;
    tape->stamp[i] = tape->current_stamp;
    tape->weak[i] = weak;
    tape->site[i] = hti_site(tape, site);
    tape->tensor[i] = NULL;
    if (tape->policy == HT_EAGER && op != &hti_op_input && !node_run(tape, i))
        return hti_poison(tape);
    tape->n++;
    tape->n_edges += n;
    hti_bucket_insert(tape, i);
    return hti_var(tape, i);
}

/* Leaves. */

ht_var ht_input_at(ht_tape *tape, const ht_tensor *value, const char *site)
{
    HT_ASSERT(tape, "ht_input: the tape is NULL");
    HTI_ALIVE(tape, "ht_input", "tape");
    if (tape->ctx->status != HT_OK) return hti_poison(tape);
    HT_ASSERT(value, "ht_input: the value is NULL (did making it fail? see ht_check)");
    HTI_ALIVE(value, "ht_input", "tensor");
    ht_type type = {ht_tensor_dtype(value), ht_tensor_shape(value)};
    ht_var x = hti_append(tape, &hti_op_input, 0, NULL, NULL, &type, false, site);
    if (tape->policy == HT_EAGER && !hti_is_poison(x)) hti_borrow(tape, x.index, value);
    return x;
}

ht_var ht_input_like_at(ht_tape *tape, ht_type type, const char *site)
{
    HT_ASSERT(tape, "ht_input_like: the tape is NULL");
    HTI_ALIVE(tape, "ht_input_like", "tape");
    HT_ASSERT(tape->policy == HT_RECORD,
              "ht_input_like: an eager leaf needs a tensor: ht_input");
    if (tape->ctx->status != HT_OK) return hti_poison(tape);
    char text[HT_SHAPE_TEXT];
    if (!hti_dtype_is_valid(type.dtype) || ht_shape_count(type.shape) < 0)
        return hti_fail(
            tape, hti_dtype_is_valid(type.dtype) ? HT_ERROR_SHAPE : HT_ERROR_DTYPE, site,
            "input_like", "dtype %d (%s) and shape %s: not a valid type", (int)type.dtype,
            ht_dtype_name(type.dtype), ht_shape_text(type.shape, text));
    return hti_append(tape, &hti_op_input, 0, NULL, NULL, &type, false, site);
}

ht_var hti_constant(ht_tape *tape, double value, ht_dtype dtype, bool weak,
                    const char *site)
{
    hti_constant_attributes a = {value};
    return hti_append(tape, &hti_op_constant, 0, NULL, &a, &(ht_type){dtype, HT_SCALAR},
                      weak, site);
}

ht_var ht_constant(ht_tape *tape, double value)
{
    HT_ASSERT(tape, "ht_constant: the tape is NULL");
    HTI_ALIVE(tape, "ht_constant", "tape");
    if (tape->ctx->status != HT_OK) return hti_poison(tape);
    return hti_constant(tape, value, HT_F64, true, NULL);
}
