/* SPDX-License-Identifier: MIT */
/* split.h: f32 numbers as three bf16 each, laid out as tiles.
 *
 * x = h + m + l exactly: h is x rounded to 8 bits, m what is left, rounded, l the rest. x
 * is scaled by 2^24 before, so that every part of every f32, denormal ones too, is a
 * normal bf16 or 0, which a tile's instructions do not flush.
 *
 * An operand is lines (rows of a, columns of b) of terms. A *panel* is up to 32 lines and
 * DEPTH terms of it: for each 32 terms, each part, and each 16 of its lines, a tile.
 * Read next: amx.c. */
#ifndef HTI_SPLIT_H
#define HTI_SPLIT_H

#include "loops.h"
#include "tile.h"

enum {
    SPLIT_LINES = 32,            /* of a panel */
    SPLIT_TERMS = 32,            /* of a tile */
    SPLIT_DEPTH = 128,           /* terms of a panel */
    SPLIT_PART = 2 * TILE_WORDS, /* words from a part to the next */
    SPLIT_STEP = 3 * SPLIT_PART, /* and from 32 terms to the next */
    SPLIT_PANEL = SPLIT_DEPTH / SPLIT_TERMS * SPLIT_STEP,
    SPLIT_MOST = 127 + 100 /* exponent of the largest number that is split */
};
#define SPLIT_SCALE 0x1p24f

/* Strides by line and term; b's tiles hold pairs of terms side by side, a's lines. */
typedef struct split_side {
    const float *x;
    int64_t lines, line, term;
    bool pairs;
} split_side;

#define SPLIT_VECTOR __attribute__((vector_size(64), aligned(4), may_alias))
typedef float split_floats __attribute__((vector_size(64)));
typedef uint32_t split_bits __attribute__((vector_size(64)));
typedef uint16_t split_words __attribute__((vector_size(64)));
typedef int32_t split_ints __attribute__((vector_size(64)));
typedef float split_any_floats SPLIT_VECTOR;
typedef int32_t split_any_ints SPLIT_VECTOR;
typedef int32_t split_int __attribute__((may_alias));

/* The larger of each pair, of numbers without signs, as bits: NaN and infinity too. */
HTI_INLINE void split_larger(split_ints *most, const float *x)
{
    split_ints now = *(const split_any_ints *)x & 0x7fffffff, is = now > *most;
    *most = (now & is) | (*most & ~is);
}

HTI_INLINE int32_t split_larger_of(int32_t most, const float *x)
{
    int32_t now = *(const split_int *)x & 0x7fffffff;
    return now > most ? now : most;
}

/* The exponent of the largest of some lines, as it stands in its bits. */
static int split_exponent(const split_side *s, int64_t first, int64_t lines,
                          int64_t terms)
{
    bool across = s->line == 1 && s->term != 1;
    int64_t runs = across ? terms : lines, n = across ? lines : terms;
    int64_t next = across ? s->term : s->line, step = across ? s->line : s->term;
    const float *x = s->x + first * s->line;
    split_ints most = {0};
    int32_t rest = 0;
    for (int64_t i = 0; i < runs; i++, x += next) {
        int64_t j = 0;
        for (; step == 1 && j + TILE_ROWS <= n; j += TILE_ROWS)
            split_larger(&most, x + j);
        for (; j < n; j++) rest = split_larger_of(rest, x + j * step);
    }
    for (int i = 0; i < TILE_ROWS; i++) rest = most[i] > rest ? most[i] : rest;
    return rest >> 23;
}

/* The parts of 16 numbers, each in the high half of a word. A tie is rounded away from 0,
 * as good as to even: the next part says so. */
HTI_INLINE void split_parts(const float *from, split_bits part[3])
{
    split_floats x = *(const split_any_floats *)from * SPLIT_SCALE;
    HTI_UNROLL for (int p = 0; p < 2; p++)
    {
        part[p] = ((split_bits)x + 0x8000u) & 0xffff0000u;
        x -= (split_floats)part[p];
    }
    part[2] = (split_bits)x; /* of 8 bits or fewer */
}

/* 16 lines of 32 contiguous terms. */
static void split_along(const float *x, int64_t line, uint16_t *to)
{
    for (int64_t i = 0; i < TILE_ROWS; i++, x += line) {
        split_bits low[3], high[3];
        split_parts(x, low);
        split_parts(x + TILE_ROWS, high);
        HTI_UNROLL for (int p = 0; p < 3; p++) *
            (split_words *)(to + p * SPLIT_PART + i * SPLIT_TERMS) =
            __builtin_shufflevector((split_words)low[p], (split_words)high[p], 1, 3, 5, 7,
                                    9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35,
                                    37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61,
                                    63);
    }
}

/* 32 terms of 16 contiguous lines: two terms are a row of pairs. */
static void split_across(const float *x, int64_t term, uint16_t *to)
{
    for (int64_t i = 0; i < TILE_ROWS; i++, x += 2 * term) {
        split_bits low[3], high[3];
        split_parts(x, low);
        split_parts(x + term, high);
        HTI_UNROLL for (int p = 0; p < 3; p++) *
            (split_bits *)(to + p * SPLIT_PART + i * SPLIT_TERMS) =
            low[p] >> 16 | high[p];
    }
}

/* Of two rows d apart, what changes places when blocks of d columns are turned. */
#define SPLIT_LOW(d, i)  (((i) & (d)) ? 16 + (i) - (d) : (i))
#define SPLIT_HIGH(d, i) (((i) & (d)) ? 16 + (i) : (i) + (d))
#define SPLIT_PICK(F, d, x, y)                                                          \
    __builtin_shufflevector(x, y, F(d, 0), F(d, 1), F(d, 2), F(d, 3), F(d, 4), F(d, 5), \
                            F(d, 6), F(d, 7), F(d, 8), F(d, 9), F(d, 10), F(d, 11),     \
                            F(d, 12), F(d, 13), F(d, 14), F(d, 15))
#define SPLIT_TURN(d)                                              \
    HTI_UNROLL for (int i = 0; i < TILE_ROWS; i++) if (!(i & (d))) \
    {                                                              \
        split_bits x = row[i], y = row[i + (d)];                   \
        row[i] = SPLIT_PICK(SPLIT_LOW, d, x, y);                   \
        row[i + (d)] = SPLIT_PICK(SPLIT_HIGH, d, x, y);            \
    }

/* A tile's 16 x 16 pairs transposed, in place: rows of terms become rows of pairs. */
static void split_turn(uint16_t *tile)
{
    split_bits row[TILE_ROWS];
    HTI_UNROLL for (int i = 0; i < TILE_ROWS; i++) row[i] =
        *(split_bits *)(tile + i * SPLIT_TERMS);
    SPLIT_TURN(1)
    SPLIT_TURN(2)
    SPLIT_TURN(4)
    SPLIT_TURN(8)
    HTI_UNROLL for (int i = 0; i < TILE_ROWS; i++) *
        (split_bits *)(tile + i * SPLIT_TERMS) = row[i];
}

/* Three tiles, SPLIT_PART apart, of up to 16 lines and 32 terms, and zeros. */
static void split_tile(const split_side *s, const float *x, int64_t lines, int64_t terms,
                       uint16_t *to)
{
    bool whole = lines >= TILE_ROWS && terms >= SPLIT_TERMS;
    bool along = s->term == 1, across = s->line == 1 && !along;
    float copy[TILE_ROWS * SPLIT_TERMS];
    if (whole && across) {
        split_across(x, s->term, to);
    } else if (whole && along) {
        split_along(x, s->line, to);
    } else {
        memset(copy, 0, sizeof copy);
        for (int64_t i = 0; i < lines && i < TILE_ROWS; i++)
            for (int64_t l = 0; l < terms && l < SPLIT_TERMS; l++)
                copy[i * SPLIT_TERMS + l] = x[i * s->line + l * s->term];
        split_along(copy, SPLIT_TERMS, to);
        across = false;
    }
    for (int p = 0; p < 3 && across != s->pairs; p++) split_turn(to + p * SPLIT_PART);
}

/* A panel: lines `first` on, terms `from` on. */
static void split_panel(const split_side *s, int64_t first, int64_t lines, int64_t from,
                        int64_t terms, uint16_t *to)
{
    const float *x = s->x + first * s->line + from * s->term;
    for (int64_t l = 0; l < terms; l += SPLIT_TERMS, to += SPLIT_STEP)
        for (int64_t i = 0; i < lines; i += TILE_ROWS)
            split_tile(s, x + i * s->line + l * s->term, lines - i, terms - l,
                       to + i * SPLIT_TERMS);
}

#endif
