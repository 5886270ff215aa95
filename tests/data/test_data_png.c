/* SPDX-License-Identifier: MIT */
/* test_data_png.c: PNG files put together chunk by chunk: every filter and every way of
 * cutting the data up, held against another decoder; and what must be refused.
 * Read next: data/png_read.c, test_data_cifar.c (what was written, then changed). */
#include "test_data.h"

#include <zlib.h>

#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_NO_FAILURE_STRINGS
#include <stb/stb_image.h>

enum { MOST = 1 << 17, ROWS = 5, COLUMNS = 4 };

/* A file in the making. */
typedef struct png {
    unsigned char bytes[MOST];
    size_t n;
} png;

static void put(png *p, const void *bytes, size_t n)
{
    assert_in_range(p->n + n, 0, MOST);
    if (n > 0) memcpy(p->bytes + p->n, bytes, n);
    p->n += n;
}

static void put_number(png *p, unsigned long value)
{
    unsigned char b[4];
    for (int i = 0; i < 4; i++) b[i] = (unsigned char)(value >> (24 - 8 * i) & 255);
    put(p, b, 4);
}

static void put_chunk(png *p, const char *type, const void *data, size_t n)
{
    size_t at = p->n + 4;
    put_number(p, n);
    put(p, type, 4);
    put(p, data, n);
    put_number(p, crc32(0, p->bytes + at, (unsigned)n + 4));
}

/* The signature and IHDR; `other` gives the last five bytes. */
static void put_front(png *p, unsigned long width, unsigned long height,
                      const char other[5])
{
    png header = {.n = 0};
    p->n = 0;
    put(p, "\x89PNG\r\n\x1a\n", 8);
    put_number(&header, width);
    put_number(&header, height);
    put(&header, other, 5);
    put_chunk(p, "IHDR", header.bytes, header.n);
}

#define GREY "\10\0\0\0\0"
#define RGB  "\10\2\0\0\0"

static size_t pack(const unsigned char *raw, size_t n, unsigned char *to, int level)
{
    unsigned long room = MOST;
    assert_int_equal(compress2(to, &room, raw, n, level), Z_OK);
    return room;
}

static ht_tensor *read_as(const fixture *f, const unsigned char *bytes, size_t n)
{
    char path[PATH];
    FILE *file = fopen(path_in(f, "x.png", path), "wb");
    assert_non_null(file);
    fwrite(bytes, 1, n, file);
    fclose(file);
    return ht_png_read(f->ctx, path);
}

/* The other decoder takes what we take, and finds the same. */
static void expect_as_another(const fixture *f, const png *p)
{
    int width, height, depth;
    unsigned char *want =
        stbi_load_from_memory(p->bytes, (int)p->n, &width, &height, &depth, 0);
    ht_tensor *x = read_as(f, p->bytes, p->n);
    if (!x) fail_msg("%s", ht_context_message(f->ctx));
    assert_non_null(want);
    /* A chunk about one transparent colour makes it add a channel. */
    int extra = depth % 2 == 0;
    ht_shape shape =
        depth - extra == 3 ? HT_SHAPE(height, width, 3) : HT_SHAPE(height, width);
    assert_true(ht_shape_equal(ht_tensor_shape(x), shape));
    const uint8_t *got = ht_tensor_data(x);
    for (int i = 0; i < width * height; i++)
        for (int c = 0; c < depth - extra; c++)
            assert_int_equal(got[i * (depth - extra) + c], want[i * depth + c]);
    stbi_image_free(want);
    ht_tensor_free(x);
}

static void png_read_of_every_filter_is_as_by_another(void **state)
{
    fixture *f = *state;
    const int widths[] = {1, 2, 3, 7, 100};
    unsigned char raw[20 * 301], packed[MOST];
    uint64_t seed = test_seed(), at = 0;
    png p;
    for (int w = 0; w < 5; w++)
        for (int depth = 1; depth <= 3; depth += 2)
            for (int kind = 0; kind < 6; kind++) {
                size_t row = (size_t)(1 + widths[w] * depth), n = 20 * row;
                for (size_t i = 0; i < n; i++) {
                    raw[i] = (unsigned char)ht_random_bits(seed, 1, at++);
                    if (i % row == 0)
                        raw[i] = (unsigned char)(kind < 5 ? kind : raw[i] % 5);
                }
                put_front(&p, (unsigned long)widths[w], 20, depth == 1 ? GREY : RGB);
                put_chunk(&p, "IDAT", packed, pack(raw, n, packed, kind));
                put_chunk(&p, "IEND", "", 0);
                expect_as_another(f, &p);
            }
}

/* Grey, ROWS x COLUMNS, pixels 1, 2, 3, ... */
static size_t small_rows(unsigned char raw[ROWS * (COLUMNS + 1)])
{
    for (int i = 0; i < ROWS * (COLUMNS + 1); i++)
        raw[i] = (unsigned char)(i % (COLUMNS + 1) ? i : 0);
    return ROWS * (COLUMNS + 1);
}

/* Against the pixels themselves: the other decoder copies from NULL if the first IDAT is
 * empty. */
static void png_read_of_data_cut_anyhow_is_the_same(void **state)
{
    fixture *f = *state;
    unsigned char raw[ROWS * (COLUMNS + 1)], packed[MOST];
    size_t n = pack(raw, small_rows(raw), packed, 9);
    png p;
    for (size_t piece = 1; piece <= n; piece++)
        for (int empty = 0; empty < 3; empty++) {
            put_front(&p, COLUMNS, ROWS, GREY);
            if (empty) put_chunk(&p, "IDAT", "", 0);
            for (size_t at = 0; at < n; at += piece) {
                put_chunk(&p, "IDAT", packed + at, at + piece < n ? piece : n - at);
                if (empty == 2) put_chunk(&p, "IDAT", "", 0);
            }
            put_chunk(&p, "IEND", "", 0);
            ht_tensor *x = read_as(f, p.bytes, p.n);
            if (!x) fail_msg("%s", ht_context_message(f->ctx));
            const uint8_t *got = ht_tensor_data(x);
            for (int y = 0; y < ROWS; y++)
                assert_memory_equal(got + (ptrdiff_t)y * COLUMNS,
                                    raw + (ptrdiff_t)y * (COLUMNS + 1) + 1, COLUMNS);
            ht_tensor_free(x);
        }
}

/* More than a buffer's worth of data, and chunks about the picture around it. */
static void png_read_of_other_chunks_passes_over_them(void **state)
{
    fixture *f = *state;
    enum { WIDE = 300, HIGH = 100 };
    static unsigned char raw[HIGH * (3 * WIDE + 1)], packed[2 * MOST];
    uint64_t seed = test_seed();
    for (size_t i = 0; i < sizeof raw; i++)
        raw[i] = (unsigned char)(i % (3 * WIDE + 1) ? ht_random_bits(seed, 2, i) : 0);
    size_t n = pack(raw, sizeof raw, packed, 0);
    png *p = malloc(sizeof *p);
    put_front(p, WIDE, HIGH, RGB);
    put_chunk(p, "gAMA", "\0\1\2\3", 4);
    put_chunk(p, "PLTE", "abcdef", 6);
    put_chunk(p, "tRNS", "\0\1\0\2\0\3", 6);
    put_chunk(p, "tEXt", "k\0text", 6);
    put_chunk(p, "IDAT", packed, n);
    put_chunk(p, "tEXt", "k\0text", 6);
    put_chunk(p, "zzZz", "", 0);
    put_chunk(p, "IEND", "", 0);
    expect_as_another(f, p);
    free(p);
}

static void expect_refused(const fixture *f, const png *p, const char *part)
{
    size_t live = ht_context_live_bytes(f->ctx);
    assert_null(read_as(f, p->bytes, p->n));
    assert_string_equal(ht_status_name(ht_context_status(f->ctx)), "HT_ERROR_FORMAT");
    assert_contains(ht_context_message(f->ctx), "x.png: offset ");
    assert_contains(ht_context_message(f->ctx), part);
    assert_contains(ht_context_message(f->ctx), "\n  hint: ");
    assert_int_equal(ht_context_live_bytes(f->ctx), live);
    ht_context_clear(f->ctx);
}

/* A whole grey file of these raw rows, with `after` behind the compressed ones. */
static void put_grey(png *p, const unsigned char *raw, size_t n, const char *after)
{
    unsigned char packed[MOST];
    size_t used = pack(raw, n, packed, 9);
    memcpy(packed + used, after, strlen(after));
    put_front(p, COLUMNS, ROWS, GREY);
    put_chunk(p, "IDAT", packed, used + strlen(after));
    put_chunk(p, "IEND", "", 0);
}

static void png_read_of_another_stream_is_refused(void **state)
{
    fixture *f = *state;
    unsigned char raw[(ROWS + 1) * (COLUMNS + 1)] = {0}, packed[MOST];
    png p;
    size_t n = small_rows(raw);
    put_grey(&p, raw, n, "");
    expect_as_another(f, &p);
    put_grey(&p, raw, n + COLUMNS + 1, "");
    expect_refused(f, &p, "expected the end of the image's rows, got more of them");
    put_grey(&p, raw, n + 1, "");
    expect_refused(f, &p, "expected the end of the image's rows, got more of them");
    put_grey(&p, raw, n - 1, "");
    expect_refused(f, &p, "a compressed image of 5 rows, got its end after 4");
    put_grey(&p, raw, n - COLUMNS - 1, "");
    expect_refused(f, &p, "a compressed image of 5 rows, got its end after 4");
    put_grey(&p, raw, 0, "");
    expect_refused(f, &p, "a compressed image of 5 rows, got its end after 0");
    put_grey(&p, raw, n, "x");
    expect_refused(f, &p, "the end of the compressed image's chunks, got more bytes");
    for (int filter = 5; filter < 256; filter += 25) {
        raw[2 * (COLUMNS + 1)] = (unsigned char)filter;
        put_grey(&p, raw, n, "");
        expect_refused(f, &p, "a compressed image of filters 0 to 4, got filter ");
    }
    small_rows(raw);
    size_t used = pack(raw, n, packed, 9);
    for (int cut = 1; cut < (int)used; cut++) {
        put_front(&p, COLUMNS, ROWS, GREY);
        put_chunk(&p, "IDAT", packed, (size_t)cut);
        put_chunk(&p, "IEND", "", 0);
        expect_refused(f, &p, "a compressed image of 5 rows, got the end of the data");
    }
    for (int i = 1; i <= 4; i++) { /* Adler-32 */
        packed[used - (size_t)i] ^= 1;
        put_front(&p, COLUMNS, ROWS, GREY);
        put_chunk(&p, "IDAT", packed, used);
        put_chunk(&p, "IEND", "", 0);
        expect_refused(f, &p, "a compressed image of 5 rows, got incorrect data check");
        packed[used - (size_t)i] ^= 1;
    }
    put_front(&p, COLUMNS, ROWS, GREY);
    put_chunk(&p, "IDAT", packed, used);
    put_chunk(&p, "IDAT", "x", 1);
    put_chunk(&p, "IEND", "", 0);
    expect_refused(f, &p, "the end of the compressed image's chunks, got more bytes");
    memcpy(packed, "\x78\xbb\0\0\0\1", 6); /* needs a dictionary */
    put_front(&p, COLUMNS, ROWS, GREY);
    put_chunk(&p, "IDAT", packed, used);
    put_chunk(&p, "IEND", "", 0);
    expect_refused(f, &p, "got one with a dictionary");
    memcpy(packed, "\x88\x1c", 2); /* a window of 64 KiB */
    put_front(&p, COLUMNS, ROWS, GREY);
    put_chunk(&p, "IDAT", packed, used);
    put_chunk(&p, "IEND", "", 0);
    expect_refused(f, &p, "got invalid window size");
}

/* Chunks in the order of `types`, four letters each; "IDAT" stands for the next half of
 * the data, "idat" for all of it, "Idat" for none. */
static void put_order(png *p, const char *colours, const char *types)
{
    unsigned char raw[ROWS * (3 * COLUMNS + 1)] = {0}, packed[MOST];
    bool grey = colours[1] == 0;
    size_t n = pack(raw, ROWS * (size_t)((grey ? 1 : 3) * COLUMNS + 1), packed, 9),
           at = 0;
    put_front(p, COLUMNS, ROWS, colours);
    for (; *types; types += 4) {
        size_t half = at ? n - at : n / 2;
        if (strncmp(types, "IDAT", 4) == 0) {
            put_chunk(p, "IDAT", packed + at, half);
            at += half;
        } else if (strncmp(types, "idat", 4) == 0) {
            put_chunk(p, "IDAT", packed, n);
        } else if (strncmp(types, "Idat", 4) == 0) {
            put_chunk(p, "IDAT", "", 0);
        } else if (strncmp(types, "Iend", 4) == 0) {
            put_chunk(p, "IEND", "x", 1);
        } else if (strncmp(types, "IHDR", 4) == 0) {
            put_chunk(p, "IHDR", p->bytes + 16, 13);
        } else {
            put_chunk(p, types, "abc", strncmp(types, "IEND", 4) ? 3 : 0);
        }
    }
}

static void png_read_of_chunks_in_another_order_is_refused(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *colours, *types, *part;
    } orders[] = {
        {GREY, "IDATtEXtIDATIEND", "IDAT chunks with no other between them, got IDAT"},
        {GREY, "IDATtEXtIdatIDATIEND", "IDAT chunks with no other between them"},
        {GREY, "idattEXtIdatIEND", "IDAT chunks with no other between them"},
        {GREY, "idatIHDRIEND", "one IHDR chunk of 13 bytes, first, got IHDR of 13 bytes"},
        {GREY, "IHDRidatIEND", "one IHDR chunk of 13 bytes, first"},
        {GREY, "PLTEidatIEND", "at most one PLTE chunk of 1 to 256 colours, before"},
        {RGB, "idatPLTEIEND", "at most one PLTE chunk of 1 to 256 colours, before"},
        {RGB, "PLTEPLTEidatIEND", "at most one PLTE chunk of 1 to 256 colours, before"},
        {GREY, "ABCDidatIEND", "IEND or one that may be left out, got ABCD"},
        {GREY, "IdATidatIEND", "IEND or one that may be left out, got IdAT"},
        {GREY, "t1XtidatIEND", "IEND or one that may be left out, got bytes 74 31 58 74"},
        {GREY, "idatIend", "an IEND chunk without data, got IEND of 1 bytes"},
        {GREY, "IEND", "an IDAT chunk before the end"},
        {GREY, "tEXtIEND", "an IDAT chunk before the end"},
        {GREY, "IdatIEND", "a compressed image of 5 rows, got the end of the data"},
        {GREY, "IdatIdatIEND", "a compressed image of 5 rows, got the end of the data"},
        {GREY, "idat", "a whole chunk, got the end of the file after 0 bytes"},
        {GREY, "idatIENDIEND", "the end of the file, got more bytes"},
        {GREY, "idatIENDtEXt", "the end of the file, got more bytes"},
        {GREY, "idatidatIEND",
         "the end of the compressed image's chunks, got more bytes"},
    };
    png p;
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        put_order(&p, orders[i].colours, orders[i].types);
        expect_refused(f, &p, orders[i].part);
    }
    put_order(&p, RGB, "tEXtPLTEIDATIDATIdattEXtIEND");
    expect_as_another(f, &p);
    /* A checksum that does not fit, of every chunk in turn. */
    for (size_t at = 8; at < p.n;) {
        size_t n = (size_t)p.bytes[at + 2] << 8 | p.bytes[at + 3];
        at += 12 + n;
        p.bytes[at - 1] ^= 1;
        expect_refused(f, &p, "the checksum of the chunk's bytes");
        p.bytes[at - 1] ^= 1;
    }
}

static void png_read_of_headers_it_cannot_serve_is_refused(void **state)
{
    fixture *f = *state;
    static const struct {
        unsigned long width, height;
        const char *other, *part;
    } headers[] = {
        {0, ROWS, GREY, "sides of 1 to 1048576 pixels, got 0 x 5"},
        {COLUMNS, 0, GREY, "sides of 1 to 1048576 pixels, got 4 x 0"},
        {0x7fffffff, 0x7fffffff, RGB, "got 2147483647 x 2147483647"},
        {0xffffffff, 1, GREY, "got 4294967295 x 1"},
        {1048577, 1, GREY, "sides of 1 to 1048576 pixels"},
        {1048576, 1048576, RGB, "an image that the file can hold, got a larger one"},
        {COLUMNS, 1048576, GREY, "an image that the file can hold, got a larger one"},
        {COLUMNS, ROWS, "\1\0\0\0\0", "got 1 bits, colour type 0, interlacing 0"},
        {COLUMNS, ROWS, "\2\0\0\0\0", "got 2 bits"},
        {COLUMNS, ROWS, "\4\0\0\0\0", "got 4 bits"},
        {COLUMNS, ROWS, "\20\0\0\0\0", "got 16 bits, colour type 0"},
        {COLUMNS, ROWS, "\20\2\0\0\0", "got 16 bits, colour type 2"},
        {COLUMNS, ROWS, "\10\3\0\0\0", "colour type 3"},
        {COLUMNS, ROWS, "\10\4\0\0\0", "colour type 4"},
        {COLUMNS, ROWS, "\10\6\0\0\0", "colour type 6"},
        {COLUMNS, ROWS, "\10\1\0\0\0", "colour type 1"},
        {COLUMNS, ROWS, "\10\0\0\0\1", "interlacing 1"},
        {COLUMNS, ROWS, "\10\0\1\0\0", "compression 0, filters 0, got compression 1"},
        {COLUMNS, ROWS, "\10\0\0\1\0", "got compression 0, filters 1"},
    };
    unsigned char raw[ROWS * (COLUMNS + 1)], packed[MOST];
    size_t n = pack(raw, small_rows(raw), packed, 9);
    png p;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        put_front(&p, headers[i].width, headers[i].height, headers[i].other);
        put_chunk(&p, "IDAT", packed, n);
        put_chunk(&p, "IEND", "", 0);
        ht_context_reset_peak(f->ctx);
        expect_refused(f, &p, headers[i].part);
        assert_in_range(ht_context_peak_bytes(f->ctx), f->live, f->live + (1 << 17));
    }
}

/* Far more data than the header says costs a buffer, and not for long. */
static void png_read_of_a_bomb_takes_what_its_header_says(void **state)
{
    fixture *f = *state;
    enum { BOMB = 100 << 20 };
    unsigned char *zeros = calloc(BOMB, 1), *packed = malloc(MOST);
    png *p = malloc(sizeof *p);
    size_t n = pack(zeros, BOMB, packed, 9);
    free(zeros);
    put_front(p, 1, 1, GREY);
    put_chunk(p, "IDAT", packed, n);
    put_chunk(p, "IEND", "", 0);
    ht_context_reset_peak(f->ctx);
    expect_refused(f, p, "expected the end of the image's rows, got more of them");
    size_t peak = ht_context_peak_bytes(f->ctx) - f->live;
    if (peak > 150000) fail_msg("%zu bytes asked for a picture of 1 x 1", peak);
    free(p);
    free(packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(png_read_of_every_filter_is_as_by_another),
        CASE(png_read_of_data_cut_anyhow_is_the_same),
        CASE(png_read_of_other_chunks_passes_over_them),
        CASE(png_read_of_another_stream_is_refused),
        CASE(png_read_of_chunks_in_another_order_is_refused),
        CASE(png_read_of_headers_it_cannot_serve_is_refused),
        CASE(png_read_of_a_bomb_takes_what_its_header_says),
    };
    return TEST_MAIN(tests);
}
