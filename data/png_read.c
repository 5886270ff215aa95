/* SPDX-License-Identifier: MIT */
/* png_read.c: images in, from PNG (W3C, "Portable Network Graphics", 2003).
 *
 * Chunks are read in one walk: each whole, its checksum right, in the order they must
 * have, nothing after the last. What the IDATs hold goes on to zlib, to its end, so that
 * its own checksum is met, no row is missing and no byte follows; what is wrong with it
 * is said once the chunk's checksum is known to be right. Rows are unfiltered where they
 * are to stay: beside the image a buffer is all it takes. Read next: cifar.c, png.c
 * (images out). */
#include "picture.h"

#include <stdlib.h>
#include <string.h>

enum {
    PNG_SIGNATURE = 8,
    PNG_FRAME = 12, /* of a chunk: length, type, checksum */
    PNG_HEADER = 13,
    PNG_BUFFER = 1 << 16,
    PNG_PALETTE = 3 * 256
};

/* The kinds of chunks, and all those that are passed over. */
enum { PNG_IHDR, PNG_PLTE, PNG_IDAT, PNG_IEND, PNG_OTHER };
static const char png_kinds[PNG_OTHER][5] = {"IHDR", "PLTE", "IDAT", "IEND"};

typedef struct png_chunk {
    unsigned char head[8]; /* length, type */
    int64_t at, n;         /* offset of the chunk, bytes of its data */
    int kind;
} png_chunk;

typedef struct png_file {
    hti_input in;
    bool any; /* kind of pixels is taken */
    hti_png about;
    int64_t depth; /* bytes between one and the one it is predicted from */
    int64_t bytes; /* of all rows, filters apart */
    unsigned char *buffer;
    bool met[PNG_OTHER]; /* kinds of chunks */
    bool data_ended;     /* a chunk behind the IDATs has been met */
    /* The image, and where zlib puts what comes next: a filter, or the row it is of. */
    uint8_t *pixel;         /* of the next row */
    int64_t rows, all_rows; /* those done, and how many there must be */
    int pass;               /* the next row's, */
    int64_t row;            /* and its number there */
    uint8_t filter;
    bool in_row, ended; /* ended: the compressed image has, with a right checksum */
    z_stream z;
    bool wrong; /* and with what, where: */
    char expected[64], got[128];
    int64_t wrong_at;
} png_file;

static ht_status png_fail(const png_file *png, int64_t offset, const char *expected,
                          const char *got)
{
    return hti_input_fail(&png->in, offset,
                          "expected %s, got %s\n"
                          "  hint: a whole PNG%s is wanted; fetch or copy it again",
                          expected, got, png->any ? "" : ", grey or RGB of 8 bits,");
}

/* Rows. */

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

/* row[i] += what the filter predicts it to be; zeros lie above the first row. */
static void png_unfilter(int filter, uint8_t *row, bool first, int64_t n, int64_t depth)
{
    const uint8_t *above = first ? row : row - n;
    for (int64_t i = 0; i < n; i++) {
        int left = i < depth ? 0 : row[i - depth], up = first ? 0 : above[i];
        int corner = first || i < depth ? 0 : above[i - depth];
        row[i] = (uint8_t)(row[i] + png_predict(filter, left, up, corner));
    }
}

static void png_wrong(png_file *png, const char *expected, const char *got)
{
    png->wrong = true;
    png->wrong_at = png->in.at - png->z.avail_in;
    snprintf(png->expected, sizeof png->expected, "%s", expected);
    snprintf(png->got, sizeof png->got, "%s", got);
}

/* The data ends, or does not go on, before the rows do. (Where memory ran out, that has
 * been kept as the error.) */
static void png_wrong_end(png_file *png, int code)
{
    char expected[64], got[128];
    snprintf(expected, sizeof expected, "a compressed image of %lld rows",
             (long long)png->all_rows);
    snprintf(got, sizeof got, "%s after %lld",
             code == Z_STREAM_END  ? "its end"
             : code == Z_BUF_ERROR ? "the end of the data"
             : code == Z_NEED_DICT ? "one with a dictionary"
             : png->z.msg          ? png->z.msg
                                   : "another stream",
             (long long)png->rows);
    png_wrong(png, expected, got);
}

/* The next pass that has rows, if the one at hand has ended. */
static void png_begin_pass(png_file *png, bool ended)
{
    if (!ended || png->rows == png->all_rows) return;
    png->row = 0;
    do png->pass++;
    while (hti_png_pass_at(&png->about, png->pass).height == 0);
}

/* The filter or the row that zlib was to fill is full: what comes next. Behind the last
 * row there is a filter's place, which has to stay empty. */
static void png_filled(png_file *png)
{
    hti_png_pass pass = hti_png_pass_at(&png->about, png->pass);
    int64_t n = hti_png_row(&png->about, pass.width);
    char text[32];
    snprintf(text, sizeof text, "filter %d", png->filter);
    if (png->rows == png->all_rows) {
        png_wrong(png, "the end of the image's rows", "more of them");
    } else if (png->in_row) {
        png_unfilter(png->filter, png->pixel, png->row == 0, n, png->depth);
        png->pixel += n;
        png->rows++;
        png->row++;
        png_begin_pass(png, png->row == pass.height);
        n = hti_png_row(&png->about, hti_png_pass_at(&png->about, png->pass).width);
    } else if (png->filter > 4) {
        png_wrong(png, "a compressed image of filters 0 to 4", text);
    }
    png->in_row = !png->in_row && png->rows < png->all_rows;
    png->z.next_out = png->in_row ? png->pixel : &png->filter;
    png->z.avail_out = png->in_row ? (unsigned)n : 1;
}

/* The next n bytes of the compressed image, in the buffer. */
static void png_inflate(png_file *png, size_t n)
{
    z_stream *z = &png->z;
    bool full = false;
    z->next_in = png->buffer;
    z->avail_in = (unsigned)n;
    while (!png->wrong && !png->ended && (z->avail_in > 0 || full)) {
        int code = inflate(z, Z_NO_FLUSH);
        full = z->avail_out == 0;
        if (full) png_filled(png);
        png->ended = code == Z_STREAM_END;
        bool good = png->ended ? png->rows == png->all_rows
                               : code == Z_OK || (code == Z_BUF_ERROR && !z->avail_in);
        if (!good && !png->wrong) png_wrong_end(png, code);
    }
    if (png->ended && z->avail_in > 0 && !png->wrong)
        png_wrong(png, "the end of the compressed image's chunks", "more bytes");
}

/* Chunks. */

/* A length and a type, of a chunk that ends before the file does. */
static ht_status png_take_head(png_file *png, png_chunk *chunk)
{
    char text[64];
    *chunk = (png_chunk){.at = png->in.at};
    int64_t left = png->in.file_bytes - png->in.at;
    snprintf(text, sizeof text, "the end of the file after %lld bytes", (long long)left);
    if (left < PNG_FRAME) return png_fail(png, chunk->at, "a whole chunk", text);
    ht_status status = hti_input_exactly(&png->in, chunk->head, sizeof chunk->head);
    chunk->n = hti_big_endian(chunk->head);
    if (!status && chunk->n > left - PNG_FRAME)
        status = png_fail(png, chunk->at, "a whole chunk", text);
    const void *type = chunk->head + 4;
    while (chunk->kind < PNG_OTHER && memcmp(type, png_kinds[chunk->kind], 4) != 0)
        chunk->kind++;
    return status;
}

/* A type is four letters; the case of the first says whether those who do not know the
 * chunk may pass over it. */
static ht_status png_check_type(const png_file *png, const png_chunk *chunk)
{
    char text[32];
    const unsigned char *type = chunk->head + 4;
    bool letters = true;
    for (int i = 0; i < 4; i++) {
        unsigned char lower = type[i] | 0x20;
        letters = letters && lower >= 'a' && lower <= 'z';
    }
    if (letters && (chunk->kind < PNG_OTHER || type[0] & 0x20)) return HT_OK;
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
    int kind = chunk->kind;
    bool first = chunk->at == PNG_SIGNATURE, colours = chunk->n > 0 && chunk->n % 3 == 0;
    if ((kind == PNG_IHDR) != first || (first && chunk->n != PNG_HEADER))
        expected = "one IHDR chunk of 13 bytes, first";
    if (kind == PNG_PLTE &&
        (png->met[PNG_PLTE] || png->met[PNG_IDAT] || png->about.colour % 4 == 0 ||
         chunk->n > PNG_PALETTE || !colours))
        expected = "at most one PLTE chunk of 1 to 256 colours, before the data of RGB";
    if (kind == PNG_IDAT && png->about.colour == 3 && !png->met[PNG_PLTE])
        expected = "a PLTE chunk before the data";
    if (kind == PNG_IDAT && png->data_ended)
        expected = "IDAT chunks with no other between them";
    if (kind == PNG_IEND && !png->met[PNG_IDAT])
        expected = "an IDAT chunk before the end";
    if (kind == PNG_IEND && chunk->n > 0) expected = "an IEND chunk without data";
    if (expected) return png_fail(png, chunk->at, expected, text);
    png->data_ended = png->met[PNG_IDAT] && kind != PNG_IDAT;
    if (kind < PNG_OTHER) png->met[kind] = true;
    return HT_OK;
}

/* Passes the data, the last bytes of which stay in the buffer, and the checksum. */
static ht_status png_take_body(png_file *png, const png_chunk *chunk)
{
    unsigned char tail[4];
    ht_status status = HT_OK;
    uint32_t sum = (uint32_t)crc32(0, chunk->head + 4, 4);
    for (int64_t left = chunk->n; left > 0 && !status;) {
        size_t piece = left < PNG_BUFFER ? (size_t)left : PNG_BUFFER;
        status = hti_input_exactly(&png->in, png->buffer, piece);
        sum = (uint32_t)crc32(sum, png->buffer, (unsigned)piece);
        if (chunk->kind == PNG_IDAT && !status) png_inflate(png, piece);
        left -= (int64_t)piece;
    }
    if (!status) status = hti_input_exactly(&png->in, tail, sizeof tail);
    if (!status && sum != hti_big_endian(tail))
        status = png_fail(png, png->in.at - 4, "the checksum of the chunk's bytes",
                          "another: the chunk was damaged");
    return status;
}

static void png_take_palette(png_file *png, const png_chunk *chunk)
{
    png->about.n_palette = (int)(chunk->n / 3);
    for (int i = 0; i < png->about.n_palette; i++) {
        memcpy(png->about.palette[i], png->buffer + 3 * (ptrdiff_t)i, 3);
        png->about.palette[i][3] = 255;
    }
}

/* Which colours are transparent, of pixels without alpha. */
static ht_status png_take_transparency(png_file *png, const png_chunk *chunk)
{
    hti_png *about = &png->about;
    const unsigned char *b = png->buffer;
    int64_t wanted = about->colour == 0   ? 2
                     : about->colour == 2 ? 6
                     : about->colour == 3 ? hti_least(chunk->n, about->n_palette)
                                          : 0;
    if (chunk->n != wanted || wanted == 0 || png->met[PNG_IDAT])
        return png_fail(png, chunk->at,
                        "a tRNS chunk of as many colours as there are, before the data",
                        "another");
    about->keyed = about->colour != 3;
    for (int64_t i = 0; i < wanted; i++) {
        if (about->colour == 3) about->palette[i][3] = b[i];
        if (about->colour != 3 && i % 2 == 0)
            about->key[i / 2] = (unsigned)b[i] << 8 | b[i + 1];
    }
    return HT_OK;
}

static ht_status png_take_chunk(png_file *png, png_chunk *chunk)
{
    ht_status status = png_take_head(png, chunk);
    if (!status) status = png_check_type(png, chunk);
    if (!status) status = png_check_order(png, chunk);
    if (!status) status = png_take_body(png, chunk);
    if (status || !png->any) return status;
    if (chunk->kind == PNG_PLTE) png_take_palette(png, chunk);
    bool clear = memcmp(chunk->head + 4, "tRNS", 4) == 0;
    return clear ? png_take_transparency(png, chunk) : HT_OK;
}

/* Samples of a pixel of each colour type, and (as bits) the bits each may have. */
static const struct {
    int samples;
    unsigned bits;
} png_colours[] = {{1, 1 << 1 | 1 << 2 | 1 << 4 | 1 << 8 | 1 << 16},
                   {0, 0},
                   {3, 1 << 8 | 1 << 16},
                   {1, 1 << 1 | 1 << 2 | 1 << 4 | 1 << 8},
                   {2, 1 << 8 | 1 << 16},
                   {0, 0},
                   {4, 1 << 8 | 1 << 16}};

static ht_status png_take_kind(png_file *png, const unsigned char *b)
{
    char text[64];
    hti_png *about = &png->about;
    snprintf(text, sizeof text, "%d bits, colour type %d, interlacing %d", b[8], b[9],
             b[12]);
    bool one = b[9] < 7 && b[8] <= 16 && png_colours[b[9]].bits >> b[8] & 1 && b[12] < 2;
    bool plain = b[8] == 8 && (b[9] == 0 || b[9] == 2) && b[12] == 0;
    if (!(png->any ? one : plain))
        return png_fail(png, PNG_SIGNATURE + 16,
                        png->any ? "bits, colours and interlacing of a PNG"
                                 : "8 bits, colour type 0 or 2, interlacing 0",
                        text);
    about->bits = b[8];
    about->colour = b[9];
    about->samples = png_colours[b[9]].samples;
    about->interlaced = b[12] == 1;
    png->depth = (about->bits * about->samples + 7) / 8;
    return HT_OK;
}

/* Rows and bytes of all passes, which the file must be able to hold. */
static ht_status png_plan(png_file *png)
{
    int64_t pixels = png->about.width * png->about.height;
    for (int pass = HTI_PNG_PASSES - 1; pass >= 0; pass--) {
        hti_png_pass p = hti_png_pass_at(&png->about, pass);
        if (p.height > 0) png->pass = pass;
        png->all_rows += p.height;
        png->bytes += p.height * hti_png_row(&png->about, p.width);
    }
    if ((png->bytes + png->all_rows) / HTI_DEFLATE_RATIO > png->in.file_bytes)
        return png_fail(png, PNG_SIGNATURE + 8, "an image that the file can hold",
                        "a larger one");
    if (png->any && pixels > HTI_MOST_PIXELS)
        return hti_input_fail(&png->in, PNG_SIGNATURE + 8,
                              "expected at most 67108864 pixels, got more\n  hint: %s",
                              HTI_SMALLER);
    return HT_OK;
}

/* The first chunk's data: sides, bits, colours, three methods. */
static ht_status png_take_header(png_file *png)
{
    char text[96];
    const unsigned char *b = png->buffer;
    int64_t at = PNG_SIGNATURE + 8, width = hti_big_endian(b),
            height = hti_big_endian(b + 4);
    snprintf(text, sizeof text, "%lld x %lld", (long long)width, (long long)height);
    if (width < 1 || height < 1 || width > HTI_PNG_SIDE || height > HTI_PNG_SIDE)
        return png_fail(png, at, "sides of 1 to 1048576 pixels", text);
    png->about.width = width;
    png->about.height = height;
    ht_status status = png_take_kind(png, b);
    snprintf(text, sizeof text, "compression %d, filters %d", b[10], b[11]);
    if (!status && (b[10] != 0 || b[11] != 0))
        status = png_fail(png, at + 10, "compression 0, filters 0", text);
    return status ? status : png_plan(png);
}

/* The signature and the header; png_close follows, whatever the status. */
static ht_status png_open(png_file *png, ht_context *ctx, const char *path, bool any)
{
    static const unsigned char signature[] = "\x89PNG\r\n\x1a\n";
    *png = (png_file){.any = any, .z = hti_zlib_stream(ctx)};
    ht_status status = hti_input_open_plain(&png->in, ctx, path);
    png->buffer = status ? NULL : hti_resize(ctx, NULL, 0, PNG_BUFFER);
    if (!png->buffer) return ht_context_status(ctx);
    bool too_short = png->in.file_bytes < PNG_SIGNATURE;
    if (!too_short) status = hti_input_exactly(&png->in, png->buffer, PNG_SIGNATURE);
    if (!status && (too_short || memcmp(png->buffer, signature, PNG_SIGNATURE) != 0))
        status =
            png_fail(png, 0, "the signature of PNG",
                     memcmp(png->buffer, "\xff\xd8\xff", 3) ? "other bytes" : "a JPEG's");
    png_chunk chunk;
    if (!status) status = png_take_chunk(png, &chunk);
    return status ? status : png_take_header(png);
}

static void png_close(png_file *png)
{
    if (png->z.state) inflateEnd(&png->z);
    if (png->buffer) hti_resize(png->in.ctx, png->buffer, PNG_BUFFER, 0);
    hti_input_close(&png->in);
}

/* The chunks behind the header, to the end of the file. */
static ht_status png_walk(png_file *png, ht_tensor *rows)
{
    ht_status status = inflateInit(&png->z) == Z_OK ? HT_OK : HT_ERROR_MEMORY;
    png->pixel = ht_tensor_data(rows);
    png->z.next_out = &png->filter;
    png->z.avail_out = 1;
    while (!status && !png->met[PNG_IEND]) {
        png_chunk chunk;
        status = png_take_chunk(png, &chunk);
        if (!status && png->met[PNG_IEND] && !png->ended && !png->wrong)
            png_wrong_end(png, Z_BUF_ERROR);
        if (!status && png->wrong)
            status = png_fail(png, png->wrong_at, png->expected, png->got);
    }
    if (!status && png->in.at != png->in.file_bytes)
        status = png_fail(png, png->in.at, "the end of the file", "more bytes");
    return status;
}

static ht_shape png_shape(const png_file *png)
{
    int64_t height = png->about.height, width = png->about.width;
    return png->depth == 3 ? HT_SHAPE(height, width, 3) : HT_SHAPE(height, width);
}

ht_status hti_png_examine(ht_context *ctx, const char *path, ht_shape *shape)
{
    png_file png;
    ht_status status = png_open(&png, ctx, path, false);
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
    if (!png_open(&png, ctx, path, false))
        image = ht_tensor_new(ctx, HT_U8, png_shape(&png));
    if (image && png_walk(&png, image)) {
        ht_tensor_free(image);
        image = NULL;
    }
    png_close(&png);
    return image;
}

/* The rows as they stand in the file, once all of it has been found right. */
static ht_tensor *png_read_rows(png_file *png)
{
    ht_tensor *rows = ht_tensor_new(png->in.ctx, HT_U8, HT_SHAPE(png->bytes));
    if (!rows || !png_walk(png, rows)) return rows;
    ht_tensor_free(rows);
    return NULL;
}

ht_tensor *hti_png_rgba(ht_context *ctx, const char *path)
{
    png_file png;
    ht_tensor *rows = NULL, *rgba = NULL;
    if (!png_open(&png, ctx, path, true)) rows = png_read_rows(&png);
    if (rows)
        rgba = ht_tensor_new(ctx, HT_U8, HT_SHAPE(png.about.height, png.about.width, 4));
    if (rgba && !hti_png_expand(&png.about, ht_tensor_data(rows), ht_tensor_data(rgba))) {
        png_fail(&png, 0, "colours of the palette", "a pixel of another");
        ht_tensor_free(rgba);
        rgba = NULL;
    }
    ht_tensor_free(rows);
    png_close(&png);
    return rgba;
}
