/* SPDX-License-Identifier: MIT */
/* png_read.c: images in, from PNG, decoded by stb_image.
 *
 * stb_image trusts: it looks at no checksum and stops at the end of the image. So the
 * file is walked first, chunk by chunk, and what stb_image is given is complete,
 * unchanged since it was written, and as large as its header says. Read next: cifar.c,
 * png.c (images out). */
#include "data_internal.h"

#include <string.h>

/* stb_image asks for memory without saying for whom: for the context of the one decoder
 * that runs in this thread. A block remembers its size, as stb_image frees without. */
static _Thread_local ht_context *png_owner;

typedef union png_block {
    size_t bytes;
    max_align_t align;
} png_block;

static void *png_resize(void *old, size_t n)
{
    png_block *block = old ? (png_block *)old - 1 : NULL;
    if (n > SIZE_MAX - sizeof *block) return NULL;
    size_t bytes = n + sizeof *block;
    block = hti_resize(png_owner, block, block ? block->bytes : 0, bytes);
    if (!block) return NULL;
    block->bytes = bytes;
    return block + 1;
}

static void png_release(void *old)
{
    png_block *block = old ? (png_block *)old - 1 : NULL;
    if (block) hti_resize(png_owner, block, block->bytes, 0);
}

#define STBI_MALLOC(n)       png_resize(NULL, n)
#define STBI_REALLOC(old, n) png_resize(old, n)
#define STBI_FREE(old)       png_release(old)
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_MAX_DIMENSIONS PNG_READ_MOST
enum {
    PNG_SIGNATURE = 8,
    PNG_FRAME = 12, /* of a chunk: length, type, checksum */
    PNG_HEADER = 13,
    PNG_READ_MOST = 1 << 20, /* of a side */
    PNG_DEFLATE_RATIO = 1032 /* the most deflate can do (zlib's algorithm.txt) */
};
#if defined(__GNUC__)
#pragma GCC diagnostic ignored \
    "-Wunused-function" /* it declares what it then leaves out */
#endif
#include <stb/stb_image.h>

typedef struct png_file {
    ht_context *ctx;
    const char *path;
    const unsigned char *bytes;
    size_t n, data; /* of all, and of the IDAT chunks */
    int64_t width, height, depth;
} png_file;

static ht_status png_fail(const png_file *png, size_t offset, const char *expected,
                          const char *got)
{
    return ht_context_fail(
        png->ctx, HT_ERROR_FORMAT, NULL,
        "%s: offset %zu: expected %s, got %s\n"
        "  hint: a whole PNG, grey or RGB of 8 bits, is wanted; fetch or copy it again",
        png->path, offset, expected, got);
}

static uint32_t png_number(const unsigned char *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* The first chunk's data: sides, bits, colours, three methods. */
static ht_status png_take_header(png_file *png, const unsigned char *b)
{
    char text[96];
    size_t at = PNG_SIGNATURE + 8;
    png->width = png_number(b);
    png->height = png_number(b + 4);
    png->depth = b[9] == 2 ? 3 : 1;
    snprintf(text, sizeof text, "%u x %u", png_number(b), png_number(b + 4));
    if (png->width < 1 || png->height < 1 || png->width > PNG_READ_MOST ||
        png->height > PNG_READ_MOST)
        return png_fail(png, at, "sides of 1 to 1048576 pixels", text);
    snprintf(text, sizeof text, "%d bits, colour type %d, interlacing %d", b[8], b[9],
             b[12]);
    if (b[8] != 8 || (b[9] != 0 && b[9] != 2) || b[12] != 0)
        return png_fail(png, at + 8, "8 bits, colour type 0 or 2, interlacing 0", text);
    return HT_OK;
}

/* One chunk at offset *at, which moves past it. */
static ht_status png_walk_chunk(png_file *png, size_t *at, bool *ended)
{
    const unsigned char *chunk = png->bytes + *at;
    char text[64];
    size_t left = png->n - *at, n = left < 4 ? 0 : png_number(chunk);
    snprintf(text, sizeof text, "the end of the file after %zu bytes", left);
    if (left < PNG_FRAME || n > left - PNG_FRAME)
        return png_fail(png, *at, "a whole chunk", text);
    uint32_t sum = (uint32_t)crc32(0, chunk + 4, (unsigned)n + 4);
    if (sum != png_number(chunk + 8 + n))
        return png_fail(png, *at + 8 + n, "the checksum of the chunk's bytes",
                        "another: the chunk was damaged");
    bool header = memcmp(chunk + 4, "IHDR", 4) == 0;
    if (header != (*at == PNG_SIGNATURE) || (header && n != PNG_HEADER))
        return png_fail(png, *at, "one IHDR chunk of 13 bytes, first", "another order");
    if (memcmp(chunk + 4, "IDAT", 4) == 0) png->data += n;
    *ended = memcmp(chunk + 4, "IEND", 4) == 0;
    *at += PNG_FRAME + n;
    return header ? png_take_header(png, chunk + 8) : HT_OK;
}

static ht_status png_walk(png_file *png)
{
    static const unsigned char signature[] = "\x89PNG\r\n\x1a\n";
    if (png->n < PNG_SIGNATURE || memcmp(png->bytes, signature, PNG_SIGNATURE) != 0)
        return png_fail(png, 0, "the signature of PNG", "other bytes");
    if (png->n > INT32_MAX)
        return png_fail(png, INT32_MAX, "the end of the file", "more bytes");
    size_t at = PNG_SIGNATURE;
    for (bool ended = false; !ended;) {
        ht_status status = png_walk_chunk(png, &at, &ended);
        if (status) return status;
    }
    if (at != png->n) return png_fail(png, at, "the end of the file", "more bytes");
    int64_t promised = png->height * (1 + png->width * png->depth);
    if ((uint64_t)promised / PNG_DEFLATE_RATIO > png->data || promised > INT32_MAX)
        return png_fail(png, PNG_SIGNATURE + 8, "an image that the file can hold",
                        "a larger one");
    return HT_OK;
}

static ht_tensor *png_decode(const png_file *png)
{
    int width, height, depth;
    png_owner = png->ctx;
    unsigned char *pixels = stbi_load_from_memory(png->bytes, (int)png->n, &width,
                                                  &height, &depth, (int)png->depth);
    ht_tensor *image = NULL;
    if (!pixels && ht_context_status(png->ctx) == HT_OK)
        png_fail(png, PNG_SIGNATURE + PNG_FRAME + PNG_HEADER, "a compressed image",
                 stbi_failure_reason());
    if (pixels)
        image = ht_tensor_new(png->ctx, HT_U8,
                              png->depth == 3 ? HT_SHAPE(png->height, png->width, 3)
                                              : HT_SHAPE(png->height, png->width));
    if (image) memcpy(ht_tensor_data(image), pixels, ht_tensor_bytes(image));
    if (pixels) stbi_image_free(pixels);
    png_owner = NULL;
    return image;
}

ht_tensor *ht_png_read(ht_context *ctx, const char *path)
{
    png_file png = {.ctx = ctx, .path = path};
    unsigned char *bytes = hti_file_content(ctx, path, &png.n);
    png.bytes = bytes;
    ht_tensor *image = bytes && png_walk(&png) == HT_OK ? png_decode(&png) : NULL;
    hti_resize(ctx, bytes, png.n, 0);
    return image;
}
