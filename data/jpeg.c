/* SPDX-License-Identifier: MIT */
/* jpeg.c: photographs in, from JPEG (ITU-T T.81), baseline and progressive, by
 * stb_image.
 *
 * stb takes what it is given: a file that ends early becomes grey, one that promises four
 * thousand million pixels gets the memory. So the markers are walked first, to the one
 * that ends the image, and what the frame says is held against the file's size. Its
 * memory is the context's. What a camera's EXIF says of how it was held is done: the
 * picture is upright. Read next: picture.c. */
#include <string.h>

#include "picture.h"

enum {
    JPEG_CODES = 0xc4,
    JPEG_START = 0xd8,
    JPEG_END = 0xd9,
    JPEG_SCAN = 0xda,
    JPEG_EXIF = 0xe1,
    /* A block of 64 pixels takes a bit at least. */
    JPEG_RATIO = 8 * 64,
    JPEG_MOST = 1 << 30 /* bytes of a file */
};

typedef struct jpeg_file {
    hti_input in;
    unsigned char *bytes;
    int64_t n, at;
    int64_t width, height;
    bool scanned;
    int orientation; /* 1 to 8, as EXIF counts */
} jpeg_file;

static ht_status jpeg_fail(const jpeg_file *jpeg, const char *expected, const char *got)
{
    return hti_input_fail(
        &jpeg->in, jpeg->at,
        "expected %s, got %s\n"
        "  hint: a whole JPEG, baseline or progressive, grey or colour, "
        "is wanted; convert it (Pillow: "
        "Image.open(...).convert('RGB').save(...)) or fetch it again",
        expected, got);
}

static ht_status jpeg_fail_size(const jpeg_file *jpeg, const char *got)
{
    return hti_input_fail(&jpeg->in, jpeg->at,
                          "expected at most 67108864 pixels, got %s\n  hint: %s", got,
                          HTI_SMALLER);
}

static unsigned jpeg_number(const unsigned char *b, int bytes, bool little)
{
    unsigned value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | b[little ? bytes - 1 - i : i];
    return value;
}

/* The orientation in n bytes of EXIF, a TIFF's first directory; 1 if there is none. */
static int jpeg_orientation(const unsigned char *b, int64_t n)
{
    if (n < 14 || memcmp(b, "Exif\0\0", 6) != 0) return 1;
    const unsigned char *tiff = b + 6;
    bool little = memcmp(tiff, "II*\0", 4) == 0;
    if (!little && memcmp(tiff, "MM\0*", 4) != 0) return 1;
    int64_t at = jpeg_number(tiff + 4, 4, little), end = n - 6;
    if (at > end - 2) return 1;
    int64_t entries = jpeg_number(tiff + at, 2, little);
    for (at += 2; entries > 0 && at + 12 <= end; entries--, at += 12) {
        if (jpeg_number(tiff + at, 2, little) != 0x112) continue;
        unsigned value = jpeg_number(tiff + at + 8, 2, little);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

/* A frame's header: what it says of the picture. */
static ht_status jpeg_take_frame(jpeg_file *jpeg, int marker, int64_t n)
{
    char text[64];
    const unsigned char *b = jpeg->bytes + jpeg->at + 4;
    snprintf(text, sizeof text, "one of kind %d", marker - 0xc0);
    if (marker > 0xc2) return jpeg_fail(jpeg, "a baseline or progressive frame", text);
    if (jpeg->width) return jpeg_fail(jpeg, "one frame", "a second");
    if (n < 6) return jpeg_fail(jpeg, "a frame's header", "a shorter one");
    jpeg->height = jpeg_number(b + 1, 2, false);
    jpeg->width = jpeg_number(b + 3, 2, false);
    snprintf(text, sizeof text, "%d bits", b[0]);
    if (b[0] != 8) return jpeg_fail(jpeg, "samples of 8 bits", text);
    snprintf(text, sizeof text, b[5] == 4 ? "CMYK, of %d" : "%d", b[5]);
    if (b[5] != 1 && b[5] != 3) return jpeg_fail(jpeg, "1 colour or 3", text);
    snprintf(text, sizeof text, "%d x %d", (int)jpeg->width, (int)jpeg->height);
    if (jpeg->width == 0 || jpeg->height == 0) return jpeg_fail(jpeg, "pixels", text);
    int64_t pixels = jpeg->width * jpeg->height;
    if (pixels > HTI_MOST_PIXELS) return jpeg_fail_size(jpeg, text);
    if (pixels / JPEG_RATIO > jpeg->n)
        return jpeg_fail(jpeg, "an image that the file can hold", text);
    return HT_OK;
}

/* Tables of codes: how many of each length, 1 to 16 bits, then what they mean. stb would
 * write past its own for more than 256. */
static ht_status jpeg_take_codes(jpeg_file *jpeg, const unsigned char *b, int64_t n)
{
    while (n >= 17) {
        int64_t codes = 0, free = 1;
        for (int length = 1; length <= 16; length++) {
            codes += b[length];
            free = 2 * free - b[length];
            if (free < 0) return jpeg_fail(jpeg, "codes that there are", "too many");
        }
        if (codes > 256 || codes > n - 17) break;
        b += 17 + codes;
        n -= 17 + codes;
    }
    return n == 0 ? HT_OK : jpeg_fail(jpeg, "whole tables of codes", "another length");
}

/* Past a scan's data, to the next marker but those that only restart it. */
static void jpeg_pass_scan(jpeg_file *jpeg)
{
    const unsigned char *b = jpeg->bytes;
    jpeg->scanned = true;
    while (jpeg->at + 1 < jpeg->n) {
        int byte = b[jpeg->at + 1];
        if (b[jpeg->at] == 0xff && byte != 0 && byte != 0xff && (byte & 0xf8) != 0xd0)
            return;
        jpeg->at++;
    }
}

/* A segment: marker, length, data. */
static ht_status jpeg_take_segment(jpeg_file *jpeg, int marker)
{
    const unsigned char *b = jpeg->bytes + jpeg->at;
    int64_t n = jpeg->n - jpeg->at >= 4 ? jpeg_number(b + 2, 2, false) : 0;
    bool frame = marker >= 0xc0 && marker <= 0xcf && marker % 4 != 0;
    if (n < 2 || n + 2 > jpeg->n - jpeg->at)
        return jpeg_fail(jpeg, "a whole segment", "the end of the file");
    ht_status status = HT_OK;
    if (frame || marker == 0xc0) status = jpeg_take_frame(jpeg, marker, n - 2);
    if (marker == JPEG_CODES) status = jpeg_take_codes(jpeg, b + 4, n - 2);
    if (marker == JPEG_EXIF && jpeg->orientation == 1)
        jpeg->orientation = jpeg_orientation(b + 4, n - 2);
    if (marker == JPEG_SCAN && !jpeg->width)
        status = jpeg_fail(jpeg, "a frame before the scan", "none");
    jpeg->at += status ? 0 : n + 2;
    if (!status && marker == JPEG_SCAN) jpeg_pass_scan(jpeg);
    return status;
}

/* From the first marker to the one that ends the image. */
static ht_status jpeg_walk(jpeg_file *jpeg)
{
    char text[32];
    const unsigned char *b = jpeg->bytes;
    ht_status status = HT_OK;
    jpeg->at = 2;
    while (!status) {
        while (jpeg->at + 2 < jpeg->n && b[jpeg->at] == 0xff && b[jpeg->at + 1] == 0xff)
            jpeg->at++;
        if (jpeg->at + 2 > jpeg->n)
            return jpeg_fail(jpeg, "the marker of the image's end",
                             "the end of the file");
        int marker = b[jpeg->at + 1];
        snprintf(text, sizeof text, "bytes %02x %02x", b[jpeg->at], marker);
        if (b[jpeg->at] != 0xff || marker < 0xc0 || marker == JPEG_START)
            return jpeg_fail(jpeg, "a marker", text);
        if (marker == JPEG_END && !jpeg->scanned)
            return jpeg_fail(jpeg, "a scan before the end", "none");
        if (marker == JPEG_END) return HT_OK;
        status = jpeg_take_segment(jpeg, marker);
    }
    return status;
}

static ht_status jpeg_open(jpeg_file *jpeg, ht_context *ctx, const char *path)
{
    *jpeg = (jpeg_file){.orientation = 1};
    ht_status status = hti_input_open_plain(&jpeg->in, ctx, path);
    if (status) return status;
    jpeg->n = jpeg->in.file_bytes;
    if (jpeg->n > JPEG_MOST) return jpeg_fail(jpeg, "a file below 1 GiB", "a larger one");
    jpeg->bytes = hti_resize(ctx, NULL, 0, (size_t)jpeg->n);
    if (!jpeg->bytes) return HT_ERROR_MEMORY;
    status = hti_input_exactly(&jpeg->in, jpeg->bytes, (size_t)jpeg->n);
    if (status) return status;
    if (jpeg->n < 4 || memcmp(jpeg->bytes, "\xff\xd8\xff", 3) != 0)
        return jpeg_fail(jpeg, "a JPEG's first bytes, ff d8 ff", "others");
    return jpeg_walk(jpeg);
}

/* from (height, width, 4) as it was held, to `upright`. */
static void jpeg_turn(const jpeg_file *jpeg, const uint8_t *from, ht_tensor *upright)
{
    int o = jpeg->orientation;
    bool mirrored = o == 2 || o == 3 || o == 7 || o == 8;
    bool flipped = o == 3 || o == 4 || o == 6 || o == 7;
    ht_shape shape = ht_tensor_shape(upright);
    uint8_t *to = ht_tensor_data(upright);
    for (int64_t y = 0; y < shape.dim[0]; y++)
        for (int64_t x = 0; x < shape.dim[1]; x++, to += 4) {
            int64_t column = o < 5 ? x : y, row = o < 5 ? y : x;
            if (mirrored) column = jpeg->width - 1 - column;
            if (flipped) row = jpeg->height - 1 - row;
            memcpy(to, from + 4 * (row * jpeg->width + column), 4);
        }
}

static ht_tensor *jpeg_decode(jpeg_file *jpeg)
{
    int width = 0, height = 0;
    ht_context *ctx = jpeg->in.ctx;
    const char *why = "another size";
    uint8_t *pixel = hti_stb_jpeg(ctx, jpeg->bytes, (int)jpeg->n, &width, &height, &why);
    ht_tensor *upright = NULL;
    bool turned = jpeg->orientation > 4;
    if (pixel && width == jpeg->width && height == jpeg->height)
        upright = ht_tensor_new(
            ctx, HT_U8, turned ? HT_SHAPE(width, height, 4) : HT_SHAPE(height, width, 4));
    else if (pixel || ht_context_status(ctx) == HT_OK)
        jpeg_fail(jpeg, "an image that can be decoded", why);
    if (upright) jpeg_turn(jpeg, pixel, upright);
    if (pixel) hti_block_free(ctx, pixel);
    return upright;
}

ht_tensor *hti_jpeg_rgba(ht_context *ctx, const char *path)
{
    jpeg_file jpeg;
    ht_tensor *rgba = jpeg_open(&jpeg, ctx, path) ? NULL : jpeg_decode(&jpeg);
    if (jpeg.bytes) hti_resize(ctx, jpeg.bytes, (size_t)jpeg.n, 0);
    hti_input_close(&jpeg.in);
    return rgba;
}
