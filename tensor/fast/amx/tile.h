/* SPDX-License-Identifier: MIT */
/* tile.h: the instructions on matrix tiles (Intel AMX), and a model of them in C that
 * does to the bit what the manual says of each: amx.c is compiled on either.
 *
 * Eight tiles of 16 rows of 64 bytes: 16 x 16 f32, 16 x 32 bf16, or 16 pairs of rows of
 * 16 bf16, the pairs side by side. Read next: split.h, amx.c. */
#ifndef HTI_TILE_H
#define HTI_TILE_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if !HTI_TILE_MODEL
#include <immintrin.h>
#endif

enum {
    TILES = 8,
    TILE_ROWS = 16,
    TILE_BYTES = 64,
    TILE_WORDS = 512 /* bf16 of a tile */
};

typedef struct tile_model {
    unsigned char row[TILES][TILE_ROWS][TILE_BYTES];
} tile_model;

/* Denormal numbers count as 0, of what goes in and of what comes out. */
static inline float tile_flushed(float x)
{
    return fabsf(x) < FLT_MIN ? 0 * x : x;
}

/* The two bf16 of a word, the first in its low half. */
static inline void tile_numbers(const unsigned char *row, int n, float *low, float *high)
{
    uint32_t bits;
    memcpy(&bits, row + 4 * n, sizeof bits);
    uint32_t first = bits << 16, second = bits & 0xffff0000u;
    memcpy(low, &first, sizeof first);
    memcpy(high, &second, sizeof second);
    *low = tile_flushed(*low), *high = tile_flushed(*high);
}

static inline void tile_model_row(float *to, const unsigned char *a,
                                  const unsigned char (*b)[TILE_BYTES])
{
    float even[TILE_ROWS] = {0}, odd[TILE_ROWS] = {0};
    for (int l = 0; l < TILE_ROWS; l++) {
        float x, y, p[TILE_ROWS], q[TILE_ROWS];
        tile_numbers(a, l, &x, &y);
        for (int j = 0; j < TILE_ROWS; j++) tile_numbers(b[l], j, &p[j], &q[j]);
        for (int j = 0; j < TILE_ROWS; j++) {
            even[j] = tile_flushed(fmaf(x, p[j], even[j]));
            odd[j] = tile_flushed(fmaf(y, q[j], odd[j]));
        }
    }
    for (int j = 0; j < TILE_ROWS; j++)
        to[j] = tile_flushed(tile_flushed(to[j]) + tile_flushed(even[j] + odd[j]));
}

/* TDPBF16PS: even terms and odd ones in a chain of multiply-adds each, which are added,
 * then added to what the tile had. */
static inline void tile_model_multiply(tile_model *t, int to, int a, int b)
{
    for (int i = 0; i < TILE_ROWS; i++) {
        float sum[TILE_ROWS];
        memcpy(sum, t->row[to][i], sizeof sum);
        tile_model_row(sum, t->row[a][i], (const unsigned char(*)[TILE_BYTES])t->row[b]);
        memcpy(t->row[to][i], sum, sizeof sum);
    }
}

static inline void tile_model_load(tile_model *t, int to, const void *from, size_t step)
{
    for (size_t i = 0; i < TILE_ROWS; i++)
        memcpy(t->row[to][i], (const char *)from + i * step, TILE_BYTES);
}

static inline void tile_model_store(const tile_model *t, int from, void *to, size_t step)
{
    for (size_t i = 0; i < TILE_ROWS; i++)
        memcpy((char *)to + i * step, t->row[from][i], TILE_BYTES);
}

/* Numbers of tiles are literals: they are part of the instruction. `t` is a model's. */
#if HTI_TILE_MODEL
#define TILE_SET                   tile_model
#define TILE_CONFIGURE(t)          memset(t, 0, sizeof *(t))
#define TILE_ZERO(t, n)            memset((t)->row[n], 0, sizeof(t)->row[n])
#define TILE_LOAD(t, n, from)      tile_model_load(t, n, from, TILE_BYTES)
#define TILE_MULTIPLY(t, n, a, b)  tile_model_multiply(t, n, a, b)
#define TILE_STORE(t, n, to, step) tile_model_store(t, n, to, step)
#define TILE_RELEASE(t)            ((void)(t))
#define TILE_BARRIER()             ((void)0)
#else
typedef struct tile_none {
    char unused;
} tile_none;
typedef struct tile_config {
    uint8_t palette, start, zero[14];
    uint16_t bytes[16]; /* of a row of each tile */
    uint8_t rows[16];
} tile_config;
static inline void tile_configure(void)
{
    tile_config c = {.palette = 1};
    for (int i = 0; i < TILES; i++) c.bytes[i] = TILE_BYTES, c.rows[i] = TILE_ROWS;
    __asm__ volatile("" ::"r"(&c) : "memory");
    _tile_loadconfig(&c);
}
#define TILE_SET                   tile_none
#define TILE_CONFIGURE(t)          ((void)(t), tile_configure())
#define TILE_ZERO(t, n)            _tile_zero(n)
#define TILE_LOAD(t, n, from)      _tile_loadd(n, from, TILE_BYTES)
#define TILE_MULTIPLY(t, n, a, b)  _tile_dpbf16ps(n, a, b)
#define TILE_STORE(t, n, to, step) _tile_stored(n, to, step)
#define TILE_RELEASE(t)            _tile_release()
/* Compilers do not know that a load of a tile reads memory. */
#define TILE_BARRIER()             __asm__ volatile("" ::: "memory")
#endif

#endif
