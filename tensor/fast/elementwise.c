/* SPDX-License-Identifier: MIT */
/* elementwise.c: the array calls that take one element at a time: unary, binary, compare,
 * where, copy, fill, and several of them fused.
 *
 * All are one walk. Axes that lie alike in every operand are merged, and the last two
 * that remain make blocks of rows x columns. A block goes tile by tile through its steps,
 * each one loop: an operand that is contiguous there is read in place, any other is
 * packed into a tile first; one that is the same in every tile (a number, a repeated row)
 * only once; what a step leaves for a later one stays in a tile. Steps may add up all
 * elements besides, in the order reduce.c has. Read next: loops.h, reduce.c. */
#include <math.h>
#include <string.h>

#include "kernels.h"
#include "loops.h"

enum {
    WALK_OPERANDS = HTI_FUSED_OPERANDS,
    WALK_SLOTS = HTI_FUSED_SLOTS,
    WALK_SUMS = HTI_FUSED_STEPS,
    WALK_ELEMENT = 8
};

/* Slots: outputs, then inputs, then what only steps see. */
struct walk_step {
    hti_loop loop;
    const hti_fused_step *says;
};

struct walk {
    const struct hti_loops *loops;
    struct walk_step *step;
    int steps, outputs, operands;
    int rank; /* >= 2: the last two axes are rows and columns */
    int64_t dim[HT_MAX_RANK + 2];
    int64_t stride[WALK_OPERANDS][HT_MAX_RANK + 2];
    size_t size[WALK_OPERANDS];
    ht_dtype dtype[WALK_OPERANDS];
    char *data[WALK_OPERANDS];
    bool number[WALK_OPERANDS]; /* one element everywhere, and the loops take it so */
    int *bad;  /* the first step to give something not finite; NULL: not looked at */
    int parts; /* of the sums */
    double (*totals)[2 * WALK_SUMS]; /* of every part, then which of them are small */
};

/* A block: where each operand starts, and its tiles (see walk_block). */
struct walk_block {
    int64_t rows, columns;
    char *start[WALK_OPERANDS];
    int64_t stride[WALK_OPERANDS][2];
    bool in_place[WALK_OPERANDS], same[WALK_OPERANDS];
    double *total; /* what sums add to */
};

/* Whether axis i continues the last axis kept in every operand. */
static bool walk_continues(const struct walk *w, const ht_array *const *operand, int i)
{
    for (int k = 0; k < w->operands; ++k)
        if (w->stride[k][w->rank - 1] != operand[k]->stride[i] * operand[k]->shape.dim[i])
            return false;
    return true;
}

static void walk_axis(struct walk *w, const ht_array *const *operand, int i)
{
    int64_t dim = operand[0]->shape.dim[i];
    if (dim == 1) return;
    bool merge = w->rank > 2 && walk_continues(w, operand, i);
    int at = merge ? w->rank - 1 : w->rank++;
    w->dim[at] = merge ? w->dim[at] * dim : dim;
    for (int k = 0; k < w->operands; ++k) w->stride[k][at] = operand[k]->stride[i];
}

/* Two axes of size 1 stand in front, so that there always are rows and columns. Only what
 * is read is set: for small arrays clearing the rest would be most of the work. */
static void walk_init(struct walk *w, const ht_array *const *operand)
{
    w->rank = 2;
    w->dim[0] = w->dim[1] = 1;
    for (int k = 0; k < w->operands; ++k) {
        w->dtype[k] = operand[k]->dtype;
        w->size[k] = ht_dtype_bytes(operand[k]->dtype);
        w->data[k] = operand[k]->data;
        w->stride[k][0] = w->stride[k][1] = 0;
    }
    for (int i = 0; i < operand[0]->shape.rank; ++i) walk_axis(w, operand, i);
}

static hti_loop walk_tree(const struct hti_loops *k, const hti_fused_step *s,
                          unsigned numbers)
{
    for (int i = 0; i < HTI_TREE_SETS; ++i)
        if (hti_trees[s->function].numbers[i] == numbers)
            return k->tree[s->function][hti_row(s->from)][i];
    return NULL;
}

/* `numbers`: the inputs that are one number. */
static inline hti_loop walk_loop(const struct hti_loops *k, const hti_fused_step *s,
                                 unsigned numbers)
{
    switch (s->kind) {
    case HTI_LOOP_UNARY:
        return k->unary[s->function][hti_row(s->from)];
    case HTI_LOOP_BINARY:
        return k->binary[s->function][hti_row(s->from)][numbers];
    case HTI_LOOP_COMPARE:
        return k->compare[s->function][hti_row(s->from)][numbers];
    case HTI_LOOP_WHERE:
        return k->where[hti_row(s->from)][numbers];
    case HTI_LOOP_CONVERT:
        return k->convert[hti_row(s->to)][hti_row(s->from)];
    case HTI_LOOP_TREE:
        return walk_tree(k, s, numbers);
    case HTI_LOOP_SUM:
    case HTI_LOOP_NONE:
        break;
    }
    return NULL;
}

/* The inputs of a step that are numbers, as bits. */
static unsigned walk_step_numbers(const struct walk *w, const hti_fused_step *s)
{
    unsigned numbers = 0;
    for (int e = 0; e < s->n_in; ++e)
        if (s->in[e] < w->operands && w->number[s->in[e]]) numbers |= 1u << e;
    return numbers;
}

/* Which inputs are numbers: those of which every step that reads them has such a loop.
 * Each round may take some back from a step that has no loop for all of its own. */
static void walk_numbers(struct walk *w)
{
    for (int k = 0; k < w->operands; ++k) {
        w->number[k] = k >= w->outputs;
        for (int i = 0; i < w->rank; ++i)
            w->number[k] = w->number[k] && w->stride[k][i] == 0;
    }
    for (int i = 0; i < w->steps; ++i) {
        const hti_fused_step *s = w->step[i].says;
        unsigned numbers = walk_step_numbers(w, s);
        if (!numbers) continue;
        bool one = s->n_in == 1;
        if (!one && walk_loop(w->loops, s, numbers)) continue;
        for (int e = 0; e < s->n_in; ++e)
            if (s->in[e] < w->operands) w->number[s->in[e]] = false;
        i = -1; /* from the start */
    }
    for (int i = 0; i < w->steps; ++i)
        if (w->step[i].loop)
            w->step[i].loop = walk_loop(w->loops, w->step[i].says,
                                        walk_step_numbers(w, w->step[i].says));
}

/* Where row r, column c of a block of operand k is in memory. */
static char *walk_place(const struct walk *w, const struct walk_block *b, int k,
                        int64_t r, int64_t c)
{
    return b->start[k] +
           (r * b->stride[k][0] + c * b->stride[k][1]) * (int64_t)w->size[k];
}

/* The slots of a tile: operands in place or packed, the rest as they are. */
static void walk_pack(const struct walk *w, const struct walk_block *b, int64_t r,
                      int64_t c, int64_t height, int64_t width, char **slot,
                      char *const *tile)
{
    for (int k = 0; k < w->operands; ++k) {
        char *at = walk_place(w, b, k, r, c);
        slot[k] = b->in_place[k] ? at : tile[k];
        if (b->in_place[k] || k < w->outputs || (b->same[k] && (r > 0 || c > 0)))
            continue;
        w->loops->pack[hti_row(w->dtype[k])](height, width, tile[k], at, b->stride[k]);
    }
}

static void walk_unpack(const struct walk *w, const struct walk_block *b, int64_t r,
                        int64_t c, int64_t height, int64_t width, char *const *slot)
{
    for (int k = 0; k < w->outputs; ++k)
        if (!b->in_place[k])
            w->loops->unpack[hti_row(w->dtype[k])](
                height, width, walk_place(w, b, k, r, c), b->stride[k], slot[k]);
}

static bool walk_all_finite(ht_dtype dtype, int64_t n, const void *a)
{
    bool finite = true;
    if (dtype == HT_F32)
        for (int64_t i = 0; i < n; ++i)
            finite = finite && isfinite(((const float *)a)[i]);
    if (dtype == HT_F64)
        for (int64_t i = 0; i < n; ++i)
            finite = finite && isfinite(((const double *)a)[i]);
    return finite;
}

/* Asks for half of an input's next tile, where it lies in memory, and returns the half
 * after: a few lines between two steps, since more at once would wait for each other, and
 * what several streams read in turn the hardware does not foresee. */
static int walk_fetch(const struct walk *w, const struct walk_block *b, int half,
                      char *const *slot)
{
    while (half < 2 * w->operands && (!b->in_place[half / 2] || w->number[half / 2]))
        half += 2;
    if (half >= 2 * w->operands) return half;
    size_t bytes = HTI_TILE * w->size[half / 2] / 2;
    const char *next = slot[half / 2] + (size_t)(2 + half % 2) * bytes;
    for (size_t at = 0; at < bytes; at += HTI_ALIGN) __builtin_prefetch(next + at);
    return half + 1;
}

/* A total that leaves the range is taken again, as reduce.c has it: in f64 it goes on as
 * one of smaller numbers, which total[WALK_SUMS] says. */
static void walk_sum(const struct walk *w, const hti_fused_step *s, double *total,
                     int64_t n, const void *a)
{
    const hti_reduce_loop(*row)[HTI_N_DTYPE] = w->loops->reduce;
    double before = *total, *small = total + WALK_SUMS;
    int dtype = hti_row(s->from);
    if (*small == 0) {
        row[s->function][dtype](1, 1, n, 1, total, a);
        if (isfinite(*total) || s->function == HTI_MEAN) return;
        *small = s->from == HT_F64;
        *total = *small != 0 ? before * HTI_SMALL : before;
    }
    row[HTI_SUM_AGAIN][dtype](1, 1, n, 1, total, a);
}

/* The parts' totals joined. */
static double walk_total(const struct walk *w, int sum)
{
    double total = w->totals[0][sum], small = 0;
    bool any = w->totals[0][sum + WALK_SUMS] != 0;
    for (int part = 1; part < w->parts; ++part) {
        total += w->totals[part][sum];
        any = any || w->totals[part][sum + WALK_SUMS] != 0;
    }
    if (!any && isfinite(total)) return total;
    for (int part = 0; part < w->parts; ++part) {
        double more = w->totals[part][sum];
        if (w->totals[part][sum + WALK_SUMS] == 0) more *= HTI_SMALL;
        small = part ? small + more : more;
    }
    return small / HTI_SMALL;
}

static void walk_steps(const struct walk *w, const struct walk_block *b, int64_t n,
                       char *const *slot)
{
    int half = 2 * (n == HTI_TILE && w->steps > 1 ? w->outputs : w->operands);
    for (int i = 0; i < w->steps; ++i) {
        const hti_fused_step *s = w->step[i].says;
        half = walk_fetch(w, b, half, slot);
        if (s->kind == HTI_LOOP_SUM) {
            walk_sum(w, s, &b->total[s->out], n, slot[s->in[0]]);
            continue;
        }
        const void *in[HTI_TREE_INPUTS];
        for (int e = 0; e < HTI_TREE_INPUTS; ++e) in[e] = slot[s->in[e]];
        w->step[i].loop(n, slot[s->out], in);
        if (w->bad && i < *w->bad && !walk_all_finite(s->to, n, slot[s->out]))
            *w->bad = i;
    }
}

/* From one tile to the next: a line more than it takes, so that the same element of many
 * tiles does not fall on the same few places of the nearest cache. */
static size_t walk_tile_bytes(const struct walk *w)
{
    size_t element = 4;
    for (int k = 0; k < w->operands; ++k)
        if (w->size[k] > element) element = w->size[k];
    for (int i = 0; i < w->steps; ++i)
        if (ht_dtype_bytes(w->step[i].says->to) > element) element = WALK_ELEMENT;
    return HTI_TILE * element + HTI_ALIGN;
}

static void walk_tiles(const struct walk *w, const struct walk_block *b)
{
    _Alignas(HTI_ALIGN) char room[WALK_SLOTS * (HTI_TILE * WALK_ELEMENT + HTI_ALIGN)];
    size_t apart = walk_tile_bytes(w);
    int64_t across = b->columns < HTI_TILE ? b->columns : HTI_TILE,
            down = HTI_TILE / across;
    char *slot[WALK_SLOTS], *tile[WALK_SLOTS];
    for (int k = 0; k < w->operands + w->steps; ++k)
        slot[k] = tile[k] = room + (size_t)k * apart;
    for (int64_t r = 0; r < b->rows; r += down)
        for (int64_t c = 0; c < b->columns; c += across) {
            int64_t height = b->rows - r < down ? b->rows - r : down;
            int64_t width = b->columns - c < across ? b->columns - c : across;
            walk_pack(w, b, r, c, height, width, slot, tile);
            walk_steps(w, b, height * width, slot);
            walk_unpack(w, b, r, c, height, width, slot);
        }
}

static void walk_block(const struct walk *w, struct walk_block *b)
{
    bool whole = w->steps == 1;
    bool one_row_tiles = b->rows == 1 || b->columns >= HTI_TILE;
    for (int k = 0; k < w->operands; ++k) {
        const int64_t *s = b->stride[k];
        bool dense = w->number[k] || (s[1] == 1 && (b->rows == 1 || s[0] == b->columns));
        b->in_place[k] =
            dense || b->columns * b->rows == 1 || (s[1] == 1 && one_row_tiles);
        b->same[k] = s[0] == 0 && (s[1] == 0 || b->columns < HTI_TILE);
        whole = whole && (dense || b->columns * b->rows == 1);
    }
    if (whole)
        walk_steps(w, b, b->rows * b->columns, b->start);
    else
        walk_tiles(w, b);
}

/* The block of `rows` rows from row r of the block number `outer`. */
static void walk_at(const struct walk *w, int64_t outer, int64_t r, int64_t rows,
                    struct walk_block *b)
{
    b->rows = rows;
    b->columns = w->dim[w->rank - 1];
    b->total = NULL;
    int64_t index[HT_MAX_RANK + 2];
    for (int i = w->rank - 3; i >= 0; --i) {
        index[i] = outer % w->dim[i];
        outer /= w->dim[i];
    }
    index[w->rank - 2] = r;
    for (int k = 0; k < w->operands; ++k) {
        int64_t at = 0;
        for (int i = 0; i < w->rank - 1; ++i) at += index[i] * w->stride[k][i];
        b->start[k] = w->data[k] + at * (int64_t)w->size[k];
        b->stride[k][0] = w->stride[k][w->rank - 2];
        b->stride[k][1] = w->stride[k][w->rank - 1];
    }
}

/* Task: rows first .. last - 1, counted over all blocks. */
static void walk_rows(const void *work, int64_t first, int64_t last)
{
    const struct walk *w = work;
    int64_t per_block = w->dim[w->rank - 2];
    while (first < last) {
        int64_t r = first % per_block, n = per_block - r;
        if (n > last - first) n = last - first;
        struct walk_block b;
        walk_at(w, first / per_block, r, n, &b);
        walk_block(w, &b);
        first += n;
    }
}

/* Columns first .. last - 1 of the only row; total: what sums add to. */
static void walk_row_part(const struct walk *w, int64_t first, int64_t last,
                          double *total)
{
    struct walk_block b;
    walk_at(w, 0, 0, 1, &b);
    b.columns = last - first;
    b.total = total;
    for (int k = 0; k < w->operands; ++k)
        b.start[k] += first * b.stride[k][1] * (int64_t)w->size[k];
    walk_block(w, &b);
}

static void walk_columns(const void *work, int64_t first, int64_t last)
{
    walk_row_part(work, first, last, NULL);
}

/* Task: parts first .. last - 1 of the only row, with their sums. */
static void walk_parts(const void *work, int64_t first, int64_t last)
{
    const struct walk *w = work;
    int64_t n = w->dim[w->rank - 1];
    for (int64_t part = first; part < last; ++part)
        walk_row_part(w, hti_sum_part(n, w->parts, part),
                      hti_sum_part(n, w->parts, part + 1), w->totals[part]);
}

static void walk_run(ht_context *ctx, struct walk *w, const ht_array *const *operand)
{
    int64_t n = hti_count(&operand[0]->shape);
    if (n == 0) return;
    w->loops = ctx->loops;
    walk_init(w, operand);
    walk_numbers(w);
    int64_t columns = w->dim[w->rank - 1];
    HT_ASSERT(!w->totals || n == columns, "sums over operands that are not one row");
    if (w->totals && w->bad)
        walk_parts(w, 0, w->parts);
    else if (w->totals)
        hti_parallel(ctx, n, w->parts, walk_parts, w);
    else if (w->bad)
        walk_rows(w, 0, n / columns);
    else if (n == columns)
        hti_parallel(ctx, n, n, walk_columns, w);
    else
        hti_parallel(ctx, n, n / columns, walk_rows, w);
}

static void walk_check_dtype(const ht_array *a, ht_dtype dtype)
{
    HT_ASSERT(a->dtype == dtype, "expected %s, got %s", ht_dtype_name(dtype),
              ht_dtype_name(a->dtype));
}

/* One loop over inputs that broadcast to out. */
static void walk(ht_context *ctx, struct walk_step *step, const ht_array *out,
                 const ht_array *const *in)
{
    const ht_array *operand[HTI_ELEMENTWISE_INPUTS + 1];
    ht_array seen[HTI_ELEMENTWISE_INPUTS];
    struct walk w;
    w.step = step;
    w.steps = w.outputs = 1;
    w.operands = step->says->n_in + 1;
    w.bad = NULL;
    w.totals = NULL;
    operand[0] = out;
    for (int k = 1; k < w.operands; ++k) {
        seen[k - 1] = hti_broadcast_array(*in[k - 1], out->shape);
        operand[k] = &seen[k - 1];
    }
    walk_run(ctx, &w, operand);
}

/* The usual case of small arrays is one run, with nothing to plan. */
static void fast_elementwise(ht_context *ctx, hti_loop_kind kind, int function,
                             const ht_array *out, int n_in, const ht_array *const *in)
{
    ht_dtype dtype = in[n_in - 1]->dtype, first = kind == HTI_LOOP_WHERE ? HT_U8 : dtype;
    const hti_fused_step says = {.kind = (uint8_t)kind,
                                 .function = (uint8_t)function,
                                 .from = (uint8_t)dtype,
                                 .to = (uint8_t)out->dtype,
                                 .n_in = (uint8_t)n_in,
                                 .in = {1, 2, 3, 4}};
    struct walk_step step = {walk_loop(ctx->loops, &says, 0), &says};
    HT_ASSERT(step.loop, "no loop for dtype %s", ht_dtype_name(dtype));
    if (kind != HTI_LOOP_CONVERT)
        walk_check_dtype(out, kind == HTI_LOOP_COMPARE ? HT_U8 : dtype);
    int64_t n = hti_count(&out->shape);
    bool one_run = n < HTI_SERIAL && hti_is_contiguous(out);
    const void *data[HTI_ELEMENTWISE_INPUTS];
    for (int k = 0; k < n_in; ++k) {
        walk_check_dtype(in[k], k > 0 ? dtype : first);
        one_run = one_run && hti_same_shape(&in[k]->shape, &out->shape) &&
                  hti_is_contiguous(in[k]);
        data[k] = in[k]->data;
    }
    if (one_run)
        step.loop(n, out->data, data);
    else
        walk(ctx, &step, out, in);
}

static hti_loop fast_whole_loop(const ht_context *ctx, const hti_fused_step *step,
                                int operands, const ht_array *const *operand)
{
    int64_t n = hti_count(&operand[0]->shape);
    bool whole = n < HTI_SERIAL;
    for (int k = 0; k < operands; ++k)
        whole =
            whole && hti_count(&operand[k]->shape) == n && hti_is_contiguous(operand[k]);
    return whole ? walk_loop(ctx->loops, step, 0) : NULL;
}

/* Totals of the parts, over n elements, to the sums' arrays, and a look at them if asked
 * for. */
static void walk_join(const struct walk *w, const hti_fused *f, int64_t n,
                      const ht_array *const *sum)
{
    for (int i = 0; i < f->n_steps; ++i) {
        const hti_fused_step *s = &f->step[i];
        if (s->kind != HTI_LOOP_SUM) continue;
        const ht_array *out = sum[s->out];
        double total = walk_total(w, s->out);
        if (s->function == HTI_MEAN) total /= (double)n;
        hti_write(out, 0, total);
        if (w->bad && i < *w->bad && !walk_all_finite(out->dtype, 1, out->data))
            *w->bad = i;
    }
}

static void fast_fused(ht_context *ctx, const hti_fused *f,
                       const ht_array *const *operand, int *bad)
{
    struct walk_step step[HTI_FUSED_STEPS];
    double totals[HTI_SUM_PARTS][2 * WALK_SUMS];
    struct walk w;
    w.step = step;
    w.steps = f->n_steps;
    w.outputs = f->n_outputs;
    w.operands = f->n_operands;
    w.bad = bad;
    w.totals = NULL;
    for (int i = 0; i < f->n_steps; ++i) {
        step[i] = (struct walk_step){walk_loop(ctx->loops, &f->step[i], 0), &f->step[i]};
        HT_ASSERT(step[i].loop || f->step[i].kind == HTI_LOOP_SUM, "no loop for dtype %s",
                  ht_dtype_name(f->step[i].from));
    }
    for (int k = 1; k < f->n_operands; ++k)
        HT_ASSERT(hti_same_shape(&operand[0]->shape, &operand[k]->shape),
                  "operand %d is not of the output's shape", k);
    if (bad) *bad = f->n_steps;
    if (f->n_sums) {
        w.parts = ht_shape_count(operand[0]->shape) < HTI_SERIAL ? 1 : HTI_SUM_PARTS;
        w.totals = totals;
        memset(totals, 0, sizeof totals);
    }
    walk_run(ctx, &w, operand);
    if (f->n_sums)
        walk_join(&w, f, hti_count(&operand[0]->shape), operand + f->n_operands);
}

void hti_fast_elementwise(struct hti_kernels *kernels)
{
    kernels->elementwise = fast_elementwise;
    kernels->fused = fast_fused;
    kernels->whole_loop = fast_whole_loop;
}
