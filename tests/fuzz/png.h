/* SPDX-License-Identifier: MIT */
/* png.h: PNG files put together from bytes: what random bytes would hardly ever be.
 * Read next: fuzz_png.c, fuzz_cifar.c. */
#ifndef HTI_FUZZ_PNG_H
#define HTI_FUZZ_PNG_H

#include <zlib.h>

#include "file.h"

typedef struct png_bytes {
    uint8_t bytes[4 * FUZZ_MOST];
    size_t n;
} png_bytes;

static inline void png_put(png_bytes *p, const void *bytes, size_t n)
{
    if (n > 0 && p->n + n <= sizeof p->bytes) {
        memcpy(p->bytes + p->n, bytes, n);
        p->n += n;
    }
}

static inline void png_put_number(png_bytes *p, uint32_t value)
{
    uint8_t b[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                    (uint8_t)value};
    png_put(p, b, 4);
}

static inline void png_put_chunk(png_bytes *p, const char *type, const void *data,
                                 size_t n)
{
    uint32_t sum = (uint32_t)crc32(crc32(0, (const uint8_t *)type, 4), data, (unsigned)n);
    png_put_number(p, (uint32_t)n);
    png_put(p, type, 4);
    png_put(p, data, n);
    png_put_number(p, sum);
}

static inline void png_put_header(png_bytes *p, uint32_t width, uint32_t height, bool rgb)
{
    uint8_t header[13] = {0, 0,          (uint8_t)(width >> 8),  (uint8_t)width,
                          0, 0,          (uint8_t)(height >> 8), (uint8_t)height,
                          8, rgb ? 2 : 0};
    p->n = 0;
    png_put(p, "\x89PNG\r\n\x1a\n", 8);
    png_put_chunk(p, "IHDR", header, sizeof header);
}

/* The rows compressed, in IDATs of at most `piece` bytes, and the end. */
static inline void png_put_rows(png_bytes *p, const uint8_t *rows, size_t n, int level,
                                size_t piece)
{
    static uint8_t packed[2 * FUZZ_MOST];
    unsigned long used = sizeof packed;
    if (compress2(packed, &used, rows, n, level) != Z_OK) used = 0;
    for (size_t at = 0; at < used; at += piece)
        png_put_chunk(p, "IDAT", packed + at, used - at < piece ? used - at : piece);
    png_put_chunk(p, "IEND", "", 0);
}

/* Gives every chunk, as far as there are any, the checksum of what it holds now. */
static inline void png_sign(uint8_t *bytes, size_t n)
{
    for (size_t at = 8; at + 12 <= n;) {
        size_t length = (size_t)bytes[at] << 24 | (size_t)bytes[at + 1] << 16 |
                        (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        if (length > n - at - 12) return;
        uint32_t sum = (uint32_t)crc32(0, bytes + at + 4, (unsigned)length + 4);
        for (size_t i = 0; i < 4; i++)
            bytes[at + 8 + length + i] = (uint8_t)(sum >> (24 - 8 * i));
        at += 12 + length;
    }
}

#endif
