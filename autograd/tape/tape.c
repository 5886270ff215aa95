/* SPDX-License-Identifier: MIT */
/* tape.c: the list of nodes. hti_append is the one place a node comes from: it finds an
 * equal node (so common subexpressions never exist) or adds one and, on an eager tape,
 * runs it. Read next: apply.c (what happens before), derive.c. */
#include <math.h>
#include <string.h>

#include "autograd_internal.h"
#include "kernels.h"

const char ht_number_tag = 0;

/* Equal nodes. */

static uint32_t hti_mix(uint32_t h, uint64_t word)
{
    uint64_t x = (h ^ word) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(x >> 32) ^ (uint32_t)x;
}

/* Inputs are added up, not chained: a commutative op hashes alike in both orders. The
 * newest is added as it is, so that nodes that follow each other lie side by side. */
static uint32_t hti_node_hash(const ht_op *op, const void *attributes, uint32_t n,
                              const uint32_t *in)
{
    uint32_t h = hti_mix(0, (uint64_t)(uintptr_t)op), newest = 0;
    const unsigned char *bytes = attributes;
    uint64_t word = 0;
    for (size_t at = 0; at < op->attribute_size; at += sizeof word) {
        size_t left = op->attribute_size - at;
        memcpy(&word, bytes + at, left < sizeof word ? left : sizeof word);
        h = hti_mix(h, word);
    }
    for (uint32_t i = 0; i < n; i++) {
        bool newer = in[i] > newest;
        h += hti_mix(1, newer ? newest : in[i]);
        newest = newer ? in[i] : newest;
    }
    return h + newest;
}

static bool hti_node_equals(const ht_tape *tape, uint32_t i, const ht_op *op,
                            const void *attributes, uint32_t n, const uint32_t *in)
{
    if (tape->op[i] != op || tape->n_in[i] != n) return false;
    if (op->attribute_size && memcmp(tape->attributes[i], attributes, op->attribute_size))
        return false;
    const uint32_t *e = tape->edge + tape->first_in[i];
    if (!n || !memcmp(e, in, n * sizeof *in)) return true;
    return (op->flags & HT_OP_COMMUTATIVE) && e[0] == in[1] && e[1] == in[0];
}

static uint32_t *hti_node_bucket(const ht_tape *tape, uint32_t i)
{
    return &tape->bucket[tape->hash[i] & (tape->n_buckets - 1)];
}

/* Two reads of one tensor are two leaves (what differs is memory, not a formula), so
 * leaves are in no bucket. */
static void hti_bucket_insert(ht_tape *tape, uint32_t i)
{
    if (tape->op[i] == &hti_op_input) return;
    uint32_t *b = hti_node_bucket(tape, i);
    tape->next[i] = *b;
    *b = i;
}

static void hti_rehash(ht_tape *tape)
{
    for (uint32_t b = 0; b < tape->n_buckets; b++) tape->bucket[b] = HTI_NONE;
    for (uint32_t i = 0; i < tape->n; i++) hti_bucket_insert(tape, i);
}

/* Weakness is part of the type, hence of what "equal" means. */
static uint32_t hti_find_equal(const ht_tape *tape, uint32_t hash, const ht_op *op,
                               const void *attributes, uint32_t n, const uint32_t *in,
                               ht_dtype dtype, bool weak)
{
    if (op == &hti_op_input) return HTI_NONE;
    for (uint32_t i = tape->bucket[hash & (tape->n_buckets - 1)]; i != HTI_NONE;
         i = tape->next[i])
        if (tape->hash[i] == hash && hti_node_equals(tape, i, op, attributes, n, in) &&
            tape->type[i].dtype == dtype && tape->weak[i] == weak)
            return i;
    return HTI_NONE;
}

/* Lifetime. */

ht_tape *ht_tape_new(ht_context *ctx, ht_policy policy)
{
    HT_ASSERT(ctx, "ht_tape_new: the context is NULL");
    HT_ASSERT(policy == HT_EAGER || policy == HT_RECORD, "ht_tape_new: policy %d",
              (int)policy);
    ht_tape *tape = hti_zalloc(ctx, 1, sizeof *tape);
    if (!tape) return NULL;
    tape->ctx = ctx;
    tape->policy = policy;
    tape->memory.ctx = tape->scratch.ctx = ctx;
    return tape;
}

/* Pops nodes down to n, newest first: each is the head of its bucket by then. Borrows are
 * given back, and value tensors forgotten, since their memory may be newer than the node.
 */
static void hti_tape_pop(ht_tape *tape, uint32_t n)
{
    for (uint32_t i = tape->n; i-- > n;) {
        if (tape->op[i] != &hti_op_input)
            *hti_node_bucket(tape, i) = tape->next[i];
        else if (tape->tensor[i])
            tape->tensor[i]->borrows--;
    }
    for (uint32_t i = 0; i < n; i++)
        if (tape->op[i] != &hti_op_input) tape->tensor[i] = NULL;
    tape->n = n;
    tape->current_stamp++;
}

/* That nodes may be forgotten: not while a call that appends some is under way. */
static void hti_tape_assert_idle(const ht_tape *tape, const char *who)
{
    HT_ASSERT(tape, "%s: the tape is NULL", who);
    HT_ASSERT(!tape->ctx->handling,
              "%s: called from on_error, of a call that may still use the tape", who);
}

void ht_tape_reset(ht_tape *tape)
{
    hti_tape_assert_idle(tape, "ht_tape_reset");
    hti_tape_pop(tape, 0);
    tape->n_edges = tape->n_marks = 0;
    hti_arena_rewind(&tape->memory, (hti_arena_mark){NULL, 0});
}

void ht_tape_free(ht_tape *tape)
{
    if (!tape) return;
    hti_tape_assert_idle(tape, "ht_tape_free");
    ht_context *ctx = tape->ctx;
    ht_tape_reset(tape);
#define HTI_COLUMN_FREE(type, name) \
    hti_resize(ctx, tape->name, tape->capacity * sizeof(type), 0);
    HTI_COLUMNS(HTI_COLUMN_FREE)
#undef HTI_COLUMN_FREE
    hti_resize(ctx, tape->edge, tape->edge_capacity * sizeof(uint32_t), 0);
    hti_resize(ctx, tape->bucket, tape->n_buckets * sizeof(uint32_t), 0);
    hti_resize(ctx, tape->marks, tape->mark_capacity * sizeof(hti_tape_mark), 0);
    hti_arena_free(&tape->memory);
    hti_arena_free(&tape->scratch);
    hti_resize(ctx, tape, sizeof *tape, 0);
}

ht_mark ht_tape_mark(ht_tape *tape)
{
    HT_ASSERT(tape, "ht_tape_mark: the tape is NULL");
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
        (hti_tape_mark){mark, hti_arena_at(&tape->memory), tape->n_edges};
    return mark;
}

void ht_tape_rewind(ht_tape *tape, ht_mark mark)
{
    hti_tape_assert_idle(tape, "ht_tape_rewind");
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
    hti_tape_pop(tape, mark.nodes);
    tape->n_edges = tape->marks[k - 1].edges;
    hti_arena_rewind(&tape->memory, tape->marks[k - 1].memory);
    tape->n_marks = k;
}

ht_context *ht_tape_context(const ht_tape *tape)
{
    HT_ASSERT(tape, "ht_tape_context: the tape is NULL");
    return tape->ctx;
}

uint32_t ht_tape_nodes(const ht_tape *tape)
{
    HT_ASSERT(tape, "ht_tape_nodes: the tape is NULL");
    return tape->n;
}

/* Growth. */

/* Nodes and edges are counted in 32 bits. */
static bool hti_tape_full(ht_tape *tape, const char *what)
{
    ht_context_fail(tape->ctx, HT_ERROR_MEMORY, NULL,
                    "a tape of %u nodes and %u edges has no room for more %s\n"
                    "  hint: ht_tape_reset, ht_tape_rewind or another tape",
                    tape->n, tape->n_edges, what);
    return false;
}

/* Columns grow one by one; if one fails the others are merely longer than they need to
 * be, so sizes are kept by giving the grown ones back. */
static bool hti_tape_grow_columns(ht_tape *tape)
{
    uint32_t old = tape->capacity, capacity = old ? 2 * old : 64;
    if (capacity < old) return hti_tape_full(tape, "nodes");
#define HTI_COLUMN_GROW(type, name) \
    type *new_##name = hti_resize(tape->ctx, NULL, 0, capacity * sizeof(type));
    HTI_COLUMNS(HTI_COLUMN_GROW)
#undef HTI_COLUMN_GROW
    bool ok = true;
#define HTI_COLUMN_ALL(type, name) ok = ok && new_##name;
    HTI_COLUMNS(HTI_COLUMN_ALL)
#undef HTI_COLUMN_ALL
#define HTI_COLUMN_SWAP(type, name)                                    \
    if (ok) {                                                          \
        if (old) memcpy(new_##name, tape->name, old * sizeof(type));   \
        hti_resize(tape->ctx, tape->name, old * sizeof(type), 0);      \
        tape->name = new_##name;                                       \
    } else {                                                           \
        hti_resize(tape->ctx, new_##name, capacity * sizeof(type), 0); \
    }
    HTI_COLUMNS(HTI_COLUMN_SWAP)
#undef HTI_COLUMN_SWAP
    if (ok) tape->capacity = capacity;
    return ok;
}

static bool hti_tape_grow_buckets(ht_tape *tape)
{
    uint32_t n = tape->n_buckets ? 2 * tape->n_buckets : 64;
    uint32_t *bucket = hti_resize(tape->ctx, NULL, 0, n * sizeof *bucket);
    if (!bucket) return false;
    hti_resize(tape->ctx, tape->bucket, tape->n_buckets * sizeof *bucket, 0);
    tape->bucket = bucket;
    tape->n_buckets = n;
    hti_rehash(tape);
    return true;
}

static bool hti_tape_reserve(ht_tape *tape, uint32_t n_in)
{
    if (tape->n == tape->capacity && !hti_tape_grow_columns(tape)) return false;
    if (tape->n >= tape->n_buckets && !hti_tape_grow_buckets(tape)) return false;
    /* There are edges as soon as there is a node: a leaf's none have an address too. */
    if (tape->edge && n_in <= tape->edge_capacity - tape->n_edges) return true;
    uint64_t capacity = 2 * (uint64_t)tape->edge_capacity + n_in + 64;
    if (capacity > UINT32_MAX) capacity = UINT32_MAX;
    if (capacity - tape->n_edges < n_in) return hti_tape_full(tape, "edges");
    void *edge = hti_resize(tape->ctx, tape->edge, tape->edge_capacity * sizeof(uint32_t),
                            capacity * sizeof(uint32_t));
    if (!edge) return false;
    tape->edge = edge;
    tape->edge_capacity = (uint32_t)capacity;
    return true;
}

/* Append. */

/* What the op of node i works in, from scratch; NULL after an error. */
static void *hti_node_workspace(ht_tape *tape, uint32_t i)
{
    ht_type in[HT_OP_INPUTS] = {0};
    for (uint32_t k = 0; k < tape->n_in[i] && k < HT_OP_INPUTS; k++)
        in[k] = tape->type[tape->edge[tape->first_in[i] + k]];
    return hti_arena_alloc(
        &tape->scratch,
        tape->op[i]->workspace(tape->ctx, in, &tape->type[i], tape->attributes[i]));
}

/* The value of node i on an eager tape: a view if it can be one, else memory and a run.
 */
static bool hti_node_run(ht_tape *tape, uint32_t i)
{
    const ht_op *op = tape->op[i];
    const uint32_t *in = tape->edge + tape->first_in[i];
    uint32_t n = tape->n_in[i];
    const ht_type *type = &tape->type[i];
    ht_array *out = &tape->array[i];
    if (op->view && op->view(tape->attributes[i], type, &tape->array[in[0]], out))
        return true;
    const ht_array *few[HT_OP_INPUTS], **arrays = few;
    bool scratch = n > HT_OP_INPUTS || op->workspace;
    hti_arena_mark mark = {0};
    if (scratch) mark = hti_arena_at(&tape->scratch);
    if (n > HT_OP_INPUTS) arrays = hti_arena_alloc(&tape->scratch, n * sizeof *arrays);
    void *data = hti_arena_alloc(&tape->memory, hti_bytes_at(type->dtype, &type->shape));
    void *workspace = op->workspace ? hti_node_workspace(tape, i) : NULL;
    bool ok = arrays && data && (workspace || !op->workspace);
    if (ok) {
        for (uint32_t k = 0; k < n; k++) arrays[k] = &tape->array[in[k]];
        hti_lay_out(out, data, type->dtype, &type->shape);
        HT_ASSERT(op->run, "%s: the row has no run", op->name);
        op->run(&(ht_run){op, tape->ctx, *out, (int)n, arrays, tape->attributes[i],
                          workspace, tape->site[i]});
        ok = tape->ctx->status == HT_OK;
    }
    if (scratch) hti_arena_rewind(&tape->scratch, mark);
    return ok;
}

static const void *hti_copy_attributes(ht_tape *tape, const ht_op *op, const void *from)
{
    void *to = hti_arena_alloc(&tape->memory, op->attribute_size);
    if (to) memcpy(to, from, op->attribute_size);
    return to;
}

ht_var hti_append(ht_tape *tape, const ht_op *op, uint32_t n, const ht_var *in,
                  const void *attributes, const ht_type *type, bool weak,
                  const char *site)
{
    /* Reserved first, so that the inputs' indices can be laid where they will stay. */
    if (!hti_tape_reserve(tape, n)) return hti_poison(tape);
    uint32_t *edge = tape->edge + tape->n_edges;
    for (uint32_t k = 0; k < n; k++) edge[k] = in[k].index;
    uint32_t hash = hti_node_hash(op, attributes, n, edge);
    uint32_t equal =
        hti_find_equal(tape, hash, op, attributes, n, edge, type->dtype, weak);
    if (equal != HTI_NONE) return hti_var(tape, equal);

    if (op->attribute_size && !(attributes = hti_copy_attributes(tape, op, attributes)))
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
    tape->site[i] = tape->rule_site ? tape->rule_site : site;
    tape->tensor[i] = NULL;
    if (tape->policy == HT_EAGER && op != &hti_op_input && !hti_node_run(tape, i))
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
    if (tape->ctx->status != HT_OK) return hti_poison(tape);
    HT_ASSERT(value, "ht_input: the value is NULL");
    ht_type type = {ht_tensor_dtype(value), ht_tensor_shape(value)};
    ht_var x = hti_append(tape, &hti_op_input, 0, NULL, NULL, &type, false, site);
    if (tape->policy == HT_EAGER && !hti_is_poison(x)) {
        tape->array[x.index] = ht_tensor_array(value);
        tape->tensor[x.index] = (ht_tensor *)(uintptr_t)value;
        tape->tensor[x.index]->borrows++;
    }
    return x;
}

ht_var ht_input_like_at(ht_tape *tape, ht_type type, const char *site)
{
    HT_ASSERT(tape, "ht_input_like: the tape is NULL");
    HT_ASSERT(tape->policy == HT_RECORD,
              "ht_input_like: an eager leaf needs a tensor: ht_input");
    if (tape->ctx->status != HT_OK) return hti_poison(tape);
    char text[HT_SHAPE_TEXT];
    if (!hti_dtype_is_valid(type.dtype) || ht_shape_count(type.shape) < 0)
        return hti_fail(tape, HT_ERROR_SHAPE, site, "input_like",
                        "dtype %d (%s) and shape %s: not a valid type", (int)type.dtype,
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
    if (tape->ctx->status != HT_OK) return hti_poison(tape);
    return hti_constant(tape, value, HT_F64, true, NULL);
}

/* Looking at a variable. */

uint32_t hti_check_unusual(ht_var x, const char *who)
{
    HT_ASSERT(x.tape,
              "%s: a variable that was never set (or HT_ZERO) where a value is needed",
              who);
    HT_ASSERT(!hti_is_number(x), "%s: the number %g where a variable is needed", who,
              hti_number_value(x));
    who = hti_called(x.tape, who);
    if (x.index == HTI_NONE) return HTI_NONE;
    HT_ASSERT(x.index < x.tape->n, "%s: stale variable: node %u of a tape that has %u",
              who, x.index, x.tape->n);
    HT_ASSERT(
        x.stamp == x.tape->stamp[x.index],
        "%s: stale variable: node %u was made under stamp %u, the tape was reset or "
        "rewound since (stamp %u)",
        who, x.index, x.stamp, x.tape->stamp[x.index]);
    return x.index;
}

ht_type hti_type(ht_var x)
{
    return x.tape->type[x.index];
}

ht_shape ht_var_shape(ht_var x)
{
    return hti_check_var(x) == HTI_NONE ? HT_SCALAR : hti_type(x).shape;
}

ht_dtype ht_var_dtype(ht_var x)
{
    return hti_check_var(x) == HTI_NONE ? HT_F32 : hti_type(x).dtype;
}

/* The strided value made contiguous, as a tensor that dies with the node. */
static ht_tensor *hti_value_tensor(ht_tape *tape, uint32_t i)
{
    ht_array array = tape->array[i];
    ht_tensor *x = hti_arena_alloc(&tape->memory, sizeof *x);
    if (!x) return NULL;
    if (!hti_is_contiguous(&array)) {
        void *data = hti_arena_alloc(&tape->memory, hti_bytes(array.dtype, array.shape));
        if (!data) return NULL;
        ht_array copy = hti_contiguous(data, array.dtype, array.shape);
        hti_run_copy(tape->ctx, copy, array);
        array = copy;
    }
    *x = (ht_tensor){.ctx = tape->ctx, .array = array};
    return x;
}

const ht_tensor *ht_value(ht_var x)
{
    uint32_t i = hti_check_var(x);
    if (i == HTI_NONE) return NULL;
    ht_tape *tape = x.tape;
    if (tape->policy != HT_EAGER) {
        ht_context_fail(
            tape->ctx, HT_ERROR_ARGUMENT, tape->site[i],
            "value: node %%%u is recorded, it has a type but no value yet; reading "
            "it would freeze a branch\n  hint: cut a program and run it, or use an "
            "HT_EAGER tape",
            i);
        return NULL;
    }
    if (!tape->tensor[i]) tape->tensor[i] = hti_value_tensor(tape, i);
    return tape->tensor[i];
}

double ht_item(ht_var x)
{
    hti_check_var(x);
    const ht_tensor *value = ht_value(x);
    if (!value) return (double)NAN;
    if (ht_tensor_count(value) != 1) {
        char text[HT_SHAPE_TEXT];
        ht_context_fail(x.tape->ctx, HT_ERROR_SHAPE, x.tape->site[x.index],
                        "item: a value of shape %s is not one element",
                        ht_shape_text(ht_tensor_shape(value), text));
        return (double)NAN;
    }
    return ht_tensor_get(value, 0);
}
