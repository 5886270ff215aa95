/* SPDX-License-Identifier: MIT */
/* elementwise.c: the array calls that take one element at a time: unary, binary, compare,
 * where, copy, fill.
 *
 * All are one walk. Axes that lie alike in every operand are merged, and the last two
 * that remain make blocks of rows x columns. A block goes through its loop tile by tile:
 * an operand that is contiguous there is read in place, any other is packed into a tile
 * first; one that is the same in every tile (a number, a repeated row) only once. Read
 * next: loops.h, reduce.c. */
#include "kernels.h"
#include "loops.h"

enum { WALK_OPERANDS = 4, WALK_ELEMENT = 8 };

/* Operand 0 is the output. */
struct walk {
    const struct hti_kernels *kernels;
    hti_loop loop;
    int operands, rank; /* rank >= 2: the last two axes are rows and columns */
    int64_t dim[HT_MAX_RANK + 2];
    int64_t stride[WALK_OPERANDS][HT_MAX_RANK + 2];
    size_t size[WALK_OPERANDS];
    ht_dtype dtype[WALK_OPERANDS];
    char *data[WALK_OPERANDS];
};

/* A block: where each operand starts, and its tiles (see walk_block). */
struct walk_block {
    int64_t rows, columns;
    char *start[WALK_OPERANDS];
    int64_t stride[WALK_OPERANDS][2];
    bool in_place[WALK_OPERANDS], same[WALK_OPERANDS];
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

/* Two axes of size 1 stand in front, so that there always are rows and columns. */
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

/* `height` rows of `width` columns from (r, c) of operand k, contiguous. */
static char *walk_operand(const struct walk *w, const struct walk_block *b, int k,
                          int64_t r, int64_t c, int64_t height, int64_t width, char *tile)
{
    char *at =
        b->start[k] + (r * b->stride[k][0] + c * b->stride[k][1]) * (int64_t)w->size[k];
    if (b->in_place[k]) return at;
    if (k > 0 && !(b->same[k] && (r > 0 || c > 0)))
        w->kernels->pack[hti_row(w->dtype[k])](height, width, tile, at, b->stride[k]);
    return tile;
}

static void walk_tiles(const struct walk *w, const struct walk_block *b)
{
    _Alignas(HTI_ALIGN) char tile[WALK_OPERANDS][HTI_TILE * WALK_ELEMENT];
    int64_t across = b->columns < HTI_TILE ? b->columns : HTI_TILE,
            down = HTI_TILE / across;
    for (int64_t r = 0; r < b->rows; r += down)
        for (int64_t c = 0; c < b->columns; c += across) {
            int64_t height = b->rows - r < down ? b->rows - r : down;
            int64_t width = b->columns - c < across ? b->columns - c : across;
            char *p[WALK_OPERANDS] = {0};
            for (int k = 0; k < w->operands; ++k)
                p[k] = walk_operand(w, b, k, r, c, height, width, tile[k]);
            const void *in[] = {p[1], p[2], p[3]};
            w->loop(height * width, p[0], in);
            if (b->in_place[0]) continue;
            int64_t at = r * b->stride[0][0] + c * b->stride[0][1];
            w->kernels->unpack[hti_row(w->dtype[0])](
                height, width, b->start[0] + at * (int64_t)w->size[0], b->stride[0],
                p[0]);
        }
}

static void walk_block(const struct walk *w, struct walk_block *b)
{
    bool all_in_place = true;
    bool one_row_tiles = b->rows == 1 || b->columns >= HTI_TILE;
    for (int k = 0; k < w->operands; ++k) {
        const int64_t *s = b->stride[k];
        bool dense = s[1] == 1 && (b->rows == 1 || s[0] == b->columns);
        b->in_place[k] =
            dense || b->columns * b->rows == 1 || (s[1] == 1 && one_row_tiles);
        b->same[k] = s[0] == 0 && (s[1] == 0 || b->columns < HTI_TILE);
        all_in_place = all_in_place && (dense || b->columns * b->rows == 1);
    }
    if (all_in_place) {
        const void *in[] = {b->start[1], b->start[2], b->start[3]};
        w->loop(b->rows * b->columns, b->start[0], in);
    } else {
        walk_tiles(w, b);
    }
}

/* The block of `rows` rows from row r of the block number `outer`. */
static struct walk_block walk_at(const struct walk *w, int64_t outer, int64_t r,
                                 int64_t rows)
{
    struct walk_block b = {.rows = rows, .columns = w->dim[w->rank - 1]};
    int64_t index[HT_MAX_RANK + 2];
    for (int i = w->rank - 3; i >= 0; --i) {
        index[i] = outer % w->dim[i];
        outer /= w->dim[i];
    }
    index[w->rank - 2] = r;
    for (int k = 0; k < w->operands; ++k) {
        int64_t at = 0;
        for (int i = 0; i < w->rank - 1; ++i) at += index[i] * w->stride[k][i];
        b.start[k] = w->data[k] + at * (int64_t)w->size[k];
        b.stride[k][0] = w->stride[k][w->rank - 2];
        b.stride[k][1] = w->stride[k][w->rank - 1];
    }
    return b;
}

/* Task: rows first .. last - 1, counted over all blocks. */
static void walk_rows(const void *work, int64_t first, int64_t last)
{
    const struct walk *w = work;
    int64_t per_block = w->dim[w->rank - 2];
    while (first < last) {
        int64_t r = first % per_block, n = per_block - r;
        if (n > last - first) n = last - first;
        struct walk_block b = walk_at(w, first / per_block, r, n);
        walk_block(w, &b);
        first += n;
    }
}

/* Task: columns first .. last - 1 of the only row. */
static void walk_columns(const void *work, int64_t first, int64_t last)
{
    const struct walk *w = work;
    struct walk_block b = walk_at(w, 0, 0, 1);
    b.columns = last - first;
    for (int k = 0; k < w->operands; ++k)
        b.start[k] += first * b.stride[k][1] * (int64_t)w->size[k];
    walk_block(w, &b);
}

/* The usual case of small arrays: one run, nothing to plan. */
static bool walk_one_run(hti_loop loop, int64_t n, int operands,
                         const ht_array *const *operand)
{
    const void *in[WALK_OPERANDS - 1] = {0};
    if (n >= HTI_SERIAL || !hti_is_contiguous(operand[0])) return false;
    for (int k = 1; k < operands; ++k) {
        if (!hti_is_contiguous(operand[k])) return false;
        in[k - 1] = operand[k]->data;
    }
    loop(n, operand[0]->data, in);
    return true;
}

static void walk(ht_context *ctx, hti_loop loop, int operands,
                 const ht_array *const *operand)
{
    int64_t n = ht_shape_count(operand[0]->shape);
    HT_ASSERT(loop, "no loop for dtype %s", ht_dtype_name(operand[operands - 1]->dtype));
    if (n == 0 || walk_one_run(loop, n, operands, operand)) return;
    struct walk w = {.kernels = ctx->kernels, .loop = loop, .operands = operands};
    walk_init(&w, operand);
    int64_t columns = w.dim[w.rank - 1];
    if (n == columns)
        hti_parallel(ctx, n, n, walk_columns, &w);
    else
        hti_parallel(ctx, n, n / columns, walk_rows, &w);
}

static void walk_check(const ht_array *out, const ht_array *in)
{
    char expected[HT_SHAPE_TEXT], got[HT_SHAPE_TEXT];
    HT_ASSERT(ht_shape_equal(out->shape, in->shape), "output %s, operand %s",
              ht_shape_text(out->shape, expected), ht_shape_text(in->shape, got));
}

static void walk_check_dtype(const ht_array *a, ht_dtype dtype)
{
    HT_ASSERT(a->dtype == dtype, "expected %s, got %s", ht_dtype_name(dtype),
              ht_dtype_name(a->dtype));
}

void hti_run_unary(ht_context *ctx, hti_unary f, ht_array out, ht_array a)
{
    walk_check(&out, &a);
    walk_check_dtype(&out, a.dtype);
    walk(ctx, ctx->kernels->unary[f][hti_row(a.dtype)], 2,
         (const ht_array *[]){&out, &a});
}

void hti_run_binary(ht_context *ctx, hti_binary f, ht_array out, ht_array a, ht_array b)
{
    walk_check(&out, &a);
    walk_check(&out, &b);
    walk_check_dtype(&out, a.dtype);
    walk_check_dtype(&b, a.dtype);
    walk(ctx, ctx->kernels->binary[f][hti_row(a.dtype)], 3,
         (const ht_array *[]){&out, &a, &b});
}

void hti_run_compare(ht_context *ctx, hti_compare f, ht_array out, ht_array a, ht_array b)
{
    walk_check(&out, &a);
    walk_check(&out, &b);
    walk_check_dtype(&out, HT_U8);
    walk_check_dtype(&b, a.dtype);
    walk(ctx, ctx->kernels->compare[f][hti_row(a.dtype)], 3,
         (const ht_array *[]){&out, &a, &b});
}

void hti_run_where(ht_context *ctx, ht_array out, ht_array condition, ht_array a,
                   ht_array b)
{
    walk_check(&out, &condition);
    walk_check(&out, &a);
    walk_check(&out, &b);
    walk_check_dtype(&condition, HT_U8);
    walk_check_dtype(&a, out.dtype);
    walk_check_dtype(&b, out.dtype);
    walk(ctx, ctx->kernels->where[hti_row(out.dtype)], 4,
         (const ht_array *[]){&out, &condition, &a, &b});
}

void hti_run_copy(ht_context *ctx, ht_array out, ht_array a)
{
    walk_check(&out, &a);
    walk(ctx, ctx->kernels->convert[hti_row(out.dtype)][hti_row(a.dtype)], 2,
         (const ht_array *[]){&out, &a});
}

void hti_run_fill(ht_context *ctx, ht_array out, double value)
{
    ht_array number = {.data = &value, .dtype = HT_F64, .shape = out.shape};
    hti_run_copy(ctx, out, number);
}
