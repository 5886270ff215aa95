/* SPDX-License-Identifier: MIT */
/* png_read.c: images in, from PNG (W3C, "Portable Network Graphics", 2003).
 *
 * A file is walked twice. First its chunks: each whole, its checksum right, in the order
 * they must have, nothing after the last. Then the compressed data in them, by zlib to
 * the end, so that its own checksum is met, no row is missing and no byte follows. Rows
 * are unfiltered where they are to stay: beside the image a buffer is all it takes. Read
 * next: cifar.c, png.c (images out). */
#include "data_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    PNG_SIGNATURE = 8,
    PNG_FRAME = 12, /* of a chunk: length, type, checksum */
    PNG_HEADER = 13,
    PNG_BUFFER = 1 << 16,
    PNG_PALETTE = 3 * 256
};

typedef struct png_file {
    ht_context *ctx;
    const char *path;
    FILE *file;
    int64_t n, at; /* bytes of the file, and where reading it stands */
    int64_t width, height, depth;
    unsigned char *buffer;
    /* The first walk: kinds of chunks met. */
    bool palette, data, data_ended;
    int64_t first_data; /* offset of the first IDAT */
    /* The second: bytes left of the chunk, whether there are more, and whether the
     * compressed image has ended as it must. */
    int64_t left;
    bool drained, ended;
    z_stream z;
} png_file;

static ht_status png_fail(const png_file *png, int64_t offset, const char *expected,
                          const char *got)
{
    return ht_context_fail(
        png->ctx, HT_ERROR_FORMAT, NULL,
        "%s: offset %lld: expected %s, got %s\n"
        "  hint: a whole PNG, grey or RGB of 8 bits, is wanted; fetch or copy it again",
        png->path, (long long)offset, expected, got);
}

static uint32_t png_number(const unsigned char *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static ht_status png_take(png_file *png, unsigned char *to, size_t n)
{
    if (fread(to, 1, n, png->file) == n) {
        png->at += (int64_t)n;
        return HT_OK;
    }
    return ht_context_fail(png->ctx, HT_ERROR_FILE, NULL,
                           "%s: offset %lld: cannot be read as far as its size of %lld\n"
                           "  hint: is the disk sound, and is nobody writing the file?",
                           png->path, (long long)png->at, (long long)png->n);
}

/* Chunks. */

typedef struct png_chunk {
    unsigned char head[8]; /* length, type */
    int64_t at, n;         /* offset of the chunk, bytes of its data */
    bool is_header, is_palette, is_data, is_end;
} png_chunk;

/* A length and a type, of a chunk that ends before the file does. */
static ht_status png_take_head(png_file *png, png_chunk *chunk)
{
    char text[64];
    *chunk = (png_chunk){.at = png->at};
    int64_t left = png->n - png->at;
    snprintf(text, sizeof text, "the end of the file after %lld bytes", (long long)left);
    if (left < PNG_FRAME) return png_fail(png, png->at, "a whole chunk", text);
    ht_status status = png_take(png, chunk->head, sizeof chunk->head);
    chunk->n = png_number(chunk->head);
    if (status || chunk->n > left - PNG_FRAME)
        return status ? status : png_fail(png, chunk->at, "a whole chunk", text);
    chunk->is_header = memcmp(chunk->head + 4, "IHDR", 4) == 0;
    chunk->is_palette = memcmp(chunk->head + 4, "PLTE", 4) == 0;
    chunk->is_data = memcmp(chunk->head + 4, "IDAT", 4) == 0;
    chunk->is_end = memcmp(chunk->head + 4, "IEND", 4) == 0;
    return HT_OK;
}

/* A type is four letters; the case of the first says whether those who do not know the
 * chunk may pass over it. */
static ht_status png_check_type(const png_file *png, const png_chunk *chunk)
{
    char text[32];
    const unsigned char *type = chunk->head + 4;
    bool known = chunk->is_header || chunk->is_palette || chunk->is_data || chunk->is_end;
    bool letters = true;
    for (int i = 0; i < 4; i++) {
        unsigned char lower = type[i] | 0x20;
        letters = letters && lower >= 'a' && lower <= 'z';
    }
    if (letters && (known || type[0] & 0x20)) return HT_OK;
    if (letters)
        snprintf(text, sizeof text, "%.4s", (const char *)type);
    else
        snprintf(text, sizeof text, "bytes %02x %02x %02x %02x", type[0], type[1],
                 type[2], type[3]);
    return png_fail(png, chunk->at + 4,
                    "a chunk of IHDR, PLTE, IDAT, IEND or one that may be left out",
                    text);
}

/* What must come where. */
static ht_status png_check_order(png_file *png, const png_chunk *chunk)
{
    char text[64];
    snprintf(text, sizeof text, "%.4s of %lld bytes", (const char *)chunk->head + 4,
             (long long)chunk->n);
    const char *expected = NULL;
    bool first = chunk->at == PNG_SIGNATURE;
    if (chunk->is_header != first || (first && chunk->n != PNG_HEADER))
        expected = "one IHDR chunk of 13 bytes, first";
    if (chunk->is_palette && (png->palette || png->data || png->depth != 3 ||
                              chunk->n > PNG_PALETTE || chunk->n % 3 || chunk->n == 0))
        expected = "at most one PLTE chunk of 1 to 256 colours, before the data of RGB";
    if (chunk->is_data && png->data_ended)
        expected = "IDAT chunks with no other between them";
    if (chunk->is_end && !png->data) expected = "an IDAT chunk before the end";
    if (chunk->is_end && chunk->n > 0) expected = "an IEND chunk without data";
    if (expected) return png_fail(png, chunk->at, expected, text);
    if (chunk->is_data && !png->data) png->first_data = chunk->at;
    png->data_ended = png->data && !chunk->is_data;
    png->data = png->data || chunk->is_data;
    png->palette = png->palette || chunk->is_palette;
    return HT_OK;
}

/* Passes the data, the first bytes of which stay in the buffer, and the checksum. */
static ht_status png_take_body(png_file *png, const png_chunk *chunk)
{
    unsigned char tail[4];
    ht_status status = HT_OK;
    uint32_t sum = (uint32_t)crc32(0, chunk->head + 4, 4);
    for (int64_t left = chunk->n; left > 0 && !status;) {
        size_t piece = left < PNG_BUFFER ? (size_t)left : PNG_BUFFER;
        status = png_take(png, png->buffer, piece);
        sum = (uint32_t)crc32(sum, png->buffer, (unsigned)piece);
        left -= (int64_t)piece;
    }
    if (!status) status = png_take(png, tail, sizeof tail);
    if (!status && sum != png_number(tail))
        status = png_fail(png, png->at - 4, "the checksum of the chunk's bytes",
                          "another: the chunk was damaged");
    return status;
}

/* The first chunk's data: sides, bits, colours, three methods. */
static ht_status png_take_header(png_file *png)
{
    char text[96];
    const unsigned char *b = png->buffer;
    int64_t at = PNG_SIGNATURE + 8;
    png->width = png_number(b);
    png->height = png_number(b + 4);
    png->depth = b[9] == 2 ? 3 : 1;
    snprintf(text, sizeof text, "%u x %u", png_number(b), png_number(b + 4));
    if (png->width < 1 || png->height < 1 || png->width > HTI_PNG_SIDE ||
        png->height > HTI_PNG_SIDE)
        return png_fail(png, at, "sides of 1 to 1048576 pixels", text);
    snprintf(text, sizeof text, "%d bits, colour type %d, interlacing %d", b[8], b[9],
             b[12]);
    if (b[8] != 8 || (b[9] != 0 && b[9] != 2) || b[12] != 0)
        return png_fail(png, at + 8, "8 bits, colour type 0 or 2, interlacing 0", text);
    snprintf(text, sizeof text, "compression %d, filters %d", b[10], b[11]);
    if (b[10] != 0 || b[11] != 0)
        return png_fail(png, at + 10, "compression 0, filters 0", text);
    int64_t promised = png->height * (1 + png->width * png->depth);
    if (promised / HTI_DEFLATE_RATIO > png->n)
        return png_fail(png, at, "an image that the file can hold", "a larger one");
    return HT_OK;
}

/* The signature and the header; png_close follows, whatever the status. */
static ht_status png_open(png_file *png, ht_context *ctx, const char *path)
{
    static const unsigned char signature[] = "\x89PNG\r\n\x1a\n";
    *png = (png_file){.ctx = ctx, .path = path};
    png->file = hti_file_open(ctx, path, &png->n);
    png->buffer = png->file ? hti_resize(ctx, NULL, 0, PNG_BUFFER) : NULL;
    if (!png->buffer) return ht_context_status(ctx);
    bool too_short = png->n < PNG_SIGNATURE;
    ht_status status = too_short ? HT_OK : png_take(png, png->buffer, PNG_SIGNATURE);
    if (!status && (too_short || memcmp(png->buffer, signature, PNG_SIGNATURE) != 0))
        status = png_fail(png, 0, "the signature of PNG", "other bytes");
    png_chunk chunk;
    if (!status) status = png_take_head(png, &chunk);
    if (!status) status = png_check_order(png, &chunk);
    if (!status) status = png_take_body(png, &chunk);
    return status ? status : png_take_header(png);
}

static void png_close(png_file *png)
{
    if (png->z.state) inflateEnd(&png->z);
    if (png->buffer) hti_resize(png->ctx, png->buffer, PNG_BUFFER, 0);
    if (png->file) fclose(png->file);
}

static ht_status png_walk(png_file *png)
{
    for (bool ended = false; !ended;) {
        png_chunk chunk;
        ht_status status = png_take_head(png, &chunk);
        if (!status) status = png_check_type(png, &chunk);
        if (!status) status = png_check_order(png, &chunk);
        if (!status) status = png_take_body(png, &chunk);
        if (status) return status;
        ended = chunk.is_end;
    }
    if (png->at != png->n)
        return png_fail(png, png->at, "the end of the file", "more bytes");
    return HT_OK;
}

/* The compressed image. */

/* The next bytes of the IDAT chunks; none when there are no more. */
static ht_status png_refill(png_file *png)
{
    ht_status status = HT_OK;
    while (!status && !png->drained && png->left == 0) {
        png_chunk chunk;
        status = png_take_head(png, &chunk);
        png->drained = !chunk.is_data;
        png->left = chunk.n;
        if (!status && !png->drained && chunk.n == 0)
            status = png_take(png, png->buffer, 4);
    }
    if (status || png->drained) return status;
    size_t n = png->left < PNG_BUFFER - 4 ? (size_t)png->left : PNG_BUFFER - 4;
    png->left -= (int64_t)n;
    /* With the last byte of a chunk its checksum, which has been looked at. */
    status = png_take(png, png->buffer, n + (png->left == 0 ? 4 : 0));
    png->z.next_in = png->buffer;
    png->z.avail_in = status ? 0 : (unsigned)n;
    return status;
}

static ht_status png_fail_inflating(const png_file *png, int code, int64_t row)
{
    if (code == Z_MEM_ERROR)
        return ht_context_fail(png->ctx, HT_ERROR_MEMORY, NULL,
                               "%s: no memory to decompress", png->path);
    char expected[64], got[128];
    snprintf(expected, sizeof expected, "a compressed image of %lld rows",
             (long long)png->height);
    snprintf(got, sizeof got, "%s after %lld",
             code == Z_STREAM_END  ? "its end"
             : code == Z_BUF_ERROR ? "the end of the data"
             : code == Z_NEED_DICT ? "one with a dictionary"
             : png->z.msg          ? png->z.msg
                                   : "another stream",
             (long long)row);
    return png_fail(png, png->at - png->z.avail_in, expected, got);
}

static ht_status png_step(png_file *png, int64_t row)
{
    ht_status status = png->z.avail_in == 0 ? png_refill(png) : HT_OK;
    if (status) return status;
    int code = png->z.avail_in == 0 ? Z_BUF_ERROR : inflate(&png->z, Z_NO_FLUSH);
    png->ended = code == Z_STREAM_END;
    bool good = png->ended || code == Z_OK;
    return good ? HT_OK : png_fail_inflating(png, code, row);
}

/* The next n bytes of row `row`. */
static ht_status png_inflate(png_file *png, uint8_t *to, int64_t n, int64_t row)
{
    ht_status status = HT_OK;
    png->z.next_out = to;
    png->z.avail_out = (unsigned)n;
    while (png->z.avail_out > 0 && !status)
        status =
            png->ended ? png_fail_inflating(png, Z_STREAM_END, row) : png_step(png, row);
    return status;
}

/* After the last row: the end, with the checksum, and no byte more. */
static ht_status png_end(png_file *png)
{
    uint8_t beyond;
    ht_status status = HT_OK;
    png->z.next_out = &beyond;
    png->z.avail_out = 1;
    while (!png->ended && png->z.avail_out > 0 && !status)
        status = png_step(png, png->height);
    if (!status && png->z.avail_out == 0)
        return png_fail(png, png->at - png->z.avail_in, "the end of the image's rows",
                        "more of them");
    if (!status && png->z.avail_in == 0) status = png_refill(png);
    if (!status && png->z.avail_in > 0)
        status = png_fail(png, png->at - png->z.avail_in,
                          "the end of the compressed image's chunks", "more bytes");
    return status;
}

/* Of left, up and up left the one nearest to left + up - up left (Paeth). */
static inline uint8_t png_nearest(int left, int up, int corner)
{
    int from_left = abs(up - corner), from_up = abs(left - corner);
    int from_corner = abs(left + up - 2 * corner);
    if (from_left <= from_up && from_left <= from_corner) return (uint8_t)left;
    return (uint8_t)(from_up <= from_corner ? up : corner);
}

static inline int png_predict(int filter, int left, int up, int corner)
{
    if (filter == 0) return 0;
    if (filter == 1) return left;
    if (filter == 2) return up;
    return filter == 3 ? (left + up) / 2 : png_nearest(left, up, corner);
}

/* row[i] += what the filter predicts it to be; `above`: the row before, or zeros. */
static void png_unfilter(int filter, uint8_t *row, const uint8_t *above, int64_t n,
                         int64_t depth)
{
    for (int64_t i = 0; i < n; i++) {
        int left = i < depth ? 0 : row[i - depth];
        int corner = i < depth ? 0 : above[i - depth];
        row[i] = (uint8_t)(row[i] + png_predict(filter, left, above[i], corner));
    }
}

static ht_status png_take_rows(png_file *png, uint8_t *pixel, const uint8_t *zeros)
{
    char text[32];
    int64_t width = png->width * png->depth;
    ht_status status = HT_OK;
    const uint8_t *above = zeros;
    for (int64_t y = 0; y < png->height && !status; y++) {
        uint8_t filter = 0;
        status = png_inflate(png, &filter, 1, y);
        if (!status) status = png_inflate(png, pixel, width, y);
        snprintf(text, sizeof text, "filter %d", filter);
        if (!status && filter > 4)
            status = png_fail(png, png->at - png->z.avail_in,
                              "a compressed image of filters 0 to 4", text);
        if (!status) png_unfilter(filter, pixel, above, width, png->depth);
        above = pixel;
        pixel += width;
    }
    return status ? status : png_end(png);
}

static ht_status png_decode(png_file *png, ht_tensor *image)
{
    png->z = hti_zlib_stream(png->ctx);
    if (inflateInit(&png->z) != Z_OK) return png_fail_inflating(png, Z_MEM_ERROR, 0);
    size_t width = (size_t)(png->width * png->depth);
    uint8_t *zeros = hti_zalloc(png->ctx, width, 1);
    if (!zeros) return HT_ERROR_MEMORY;
    png->at = png->first_data;
    ht_status status = HT_OK;
    if (fseeko(png->file, (off_t)png->at, SEEK_SET) != 0)
        status = png_fail(png, png->at, "a file that can be read twice", strerror(errno));
    if (!status) status = png_take_rows(png, ht_tensor_data(image), zeros);
    hti_resize(png->ctx, zeros, width, 0);
    return status;
}

static ht_shape png_shape(const png_file *png)
{
    return png->depth == 3 ? HT_SHAPE(png->height, png->width, 3)
                           : HT_SHAPE(png->height, png->width);
}

ht_status hti_png_examine(ht_context *ctx, const char *path, ht_shape *shape)
{
    png_file png;
    ht_status status = png_open(&png, ctx, path);
    if (!status) *shape = png_shape(&png);
    png_close(&png);
    return status;
}

ht_tensor *ht_png_read(ht_context *ctx, const char *path)
{
    HT_ASSERT(ctx && path, "ht_png_read: context %p, path %p", (void *)ctx,
              (const void *)path);
    png_file png;
    ht_tensor *image = NULL;
    ht_status status = png_open(&png, ctx, path);
    if (!status) status = png_walk(&png);
    if (!status) image = ht_tensor_new(ctx, HT_U8, png_shape(&png));
    if (image && png_decode(&png, image)) {
        ht_tensor_free(image);
        image = NULL;
    }
    png_close(&png);
    return image;
}
