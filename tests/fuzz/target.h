/* SPDX-License-Identifier: MIT */
/* target.h: what a fuzz target is: a function of bytes, and a few examples of good ones.
 * The same file is a libFuzzer target and, with main.c, a program of its own.
 * Read next: README.md. */
#ifndef HTI_FUZZ_TARGET_H
#define HTI_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* To be written by the target. The bytes decide everything: same bytes, same doings. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* The number-th example of bytes that get far, at most `most`; returns how many. They are
 * where mutation begins; 0: none, random bytes do. */
size_t fuzz_example(uint64_t number, uint8_t *to, size_t most);
/* What was met, in one line without its end: "31 loaded, 200 refused". */
void fuzz_figures(FILE *f);

/* Set in the environment when an input runs alone: nothing is to be hushed then. */
#define FUZZ_ALOUD "HYPERTAPE_FUZZ_ALOUD"

/* A finding: what was wrong, then abort, which every kind of driver notices. */
#define FUZZ_REQUIRE(condition, ...)                                            \
    do {                                                                        \
        if (condition) break;                                                   \
        fprintf(stderr, "%s:%d: not so: %s: ", __FILE__, __LINE__, #condition); \
        fprintf(stderr, __VA_ARGS__);                                           \
        fputc('\n', stderr);                                                    \
        abort();                                                                \
    } while (0)

/* Bytes taken one after the other; zeros when there are no more. */
typedef struct fuzz_bytes {
    const uint8_t *data;
    size_t size, at;
} fuzz_bytes;

static inline uint32_t fuzz_byte(fuzz_bytes *b)
{
    return b->at < b->size ? b->data[b->at++] : 0;
}

static inline uint32_t fuzz_word(fuzz_bytes *b)
{
    uint32_t word = fuzz_byte(b);
    word |= fuzz_byte(b) << 8;
    word |= fuzz_byte(b) << 16;
    return word | fuzz_byte(b) << 24;
}

/* 0 .. n-1, n > 0. */
static inline uint32_t fuzz_below(fuzz_bytes *b, uint32_t n)
{
    return (n > 256 ? fuzz_word(b) : fuzz_byte(b)) % n;
}

/* In [low, high], by two bytes. */
static inline double fuzz_real(fuzz_bytes *b, double low, double high)
{
    uint32_t bits = fuzz_byte(b) | fuzz_byte(b) << 8;
    return low + (high - low) * (double)bits / 65535.0;
}

#endif
