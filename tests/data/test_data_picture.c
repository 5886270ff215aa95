/* SPDX-License-Identifier: MIT */
/* test_data_picture.c: pictures of every kind, as Pillow decodes and scales them, and
 * what must be refused. Read next: data/picture.c, data/jpeg.c. */
#include "test_data.h"

#include <zlib.h>

#include "reference.h"

enum { MOST = 1 << 15 };

#define OPTIONS(...) (&(ht_image_options){__VA_ARGS__})

static const char *reference_path(const char *name, char path[PATH])
{
    snprintf(path, PATH, "%s/tests/reference/files/%s", getenv("HYPERTAPE_SOURCE"), name);
    return path;
}

static size_t get_bytes(const char *name, unsigned char bytes[MOST])
{
    char path[PATH];
    FILE *file = fopen(reference_path(name, path), "rb");
    if (!file) fail_msg("no file %s", path);
    size_t n = fread(bytes, 1, MOST, file);
    fclose(file);
    return n;
}

static const char *put_bytes(const fixture *f, const char *name, const void *bytes,
                             size_t n, char path[PATH])
{
    FILE *file = fopen(path_in(f, name, path), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
    return path;
}

static ht_image_options options_of(reference *r)
{
    ht_image_options o = {.alpha = HT_ALPHA_WHITE};
    const char *how = reference_word(r);
    o.grey = strcmp(how, "grey") == 0;
    o.crop = strcmp(how, "crop") == 0;
    if (strcmp(how, "area") == 0) o.filter = HT_AREA;
    if (strcmp(how, "white") == 0 || o.grey) return o;
    o.width = (int)reference_number(r);
    o.height = (int)reference_number(r);
    return o;
}

/* The rows of a table that came out right. */
static int read_as_in(const fixture *f, const char *table)
{
    reference r;
    char path[PATH], text[HT_SHAPE_TEXT];
    int rows = 0;
    reference_open(&r, table);
    for (; reference_next(&r); rows++) {
        double axes[3];
        reference_path(reference_word(&r), path);
        ht_image_options o = options_of(&r);
        ht_shape want = {.rank = reference_numbers(&r, "shape", 3, axes)};
        for (int i = 0; i < want.rank; i++) want.dim[i] = (int64_t)axes[i];
        ht_tensor *x = ht_image_read(f->ctx, path, &o);
        if (!x) fail_msg("%s", ht_context_message(f->ctx));
        if (!ht_shape_equal(ht_tensor_shape(x), want))
            fail_msg("%s:%d: got the shape %s", table, r.row,
                     ht_shape_text(ht_tensor_shape(x), text));
        if (crc32(0, ht_tensor_data(x), (unsigned)ht_tensor_bytes(x)) !=
            (unsigned long)reference_number(&r))
            fail_msg("%s:%d: got other pixels of %s", table, r.row, path);
        ht_tensor_free(x);
    }
    return rows;
}

static void image_read_of_every_png_is_as_by_pillow(void **state)
{
    assert_int_equal(read_as_in(*state, "pictures.txt"), 51);
}

/* Those of PngSuite (Willem van Schaik) that come with libpng. */
static void image_read_of_pngsuite_is_as_by_pillow(void **state)
{
    assert_int_equal(read_as_in(*state, "pngsuite.txt"), 60);
}

/* JPEG leaves the last bits to the decoder, and how colours of half the size are made
 * whole. */
static void image_read_of_every_jpeg_is_nearly_as_by_pillow(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *name;
        int most;
        double mean;
    } files[] = {
        {"plain", 2, .03},      {"half", 9, .3},     {"quarter", 2, .1},
        {"progressive", 2, .1}, {"restart", 2, .1},  {"coarse", 2, .1},
        {"grey", 1, .02},       {"rgb", 1, .02},     {"turned1", 2, .03},
        {"turned2", 2, .03},    {"turned3", 2, .03}, {"turned4", 2, .03},
        {"turned5", 2, .03},    {"turned6", 2, .03}, {"turned7", 2, .03},
        {"turned8", 2, .03},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char name[64], path[PATH];
        snprintf(name, sizeof name, "%s.jpg", files[i].name);
        ht_tensor *x = ht_image_read(f->ctx, reference_path(name, path), NULL);
        if (!x) fail_msg("%s", ht_context_message(f->ctx));
        snprintf(name, sizeof name, "%s_jpg.png", files[i].name);
        ht_tensor *y = ht_image_read(f->ctx, reference_path(name, path), NULL);
        if (!y) fail_msg("%s", ht_context_message(f->ctx));
        assert_true(ht_shape_equal(ht_tensor_shape(x), ht_tensor_shape(y)));
        const uint8_t *a = ht_tensor_data(x), *b = ht_tensor_data(y);
        int most = 0;
        double sum = 0;
        for (int64_t k = 0; k < ht_tensor_count(x); k++) {
            int apart = abs(a[k] - b[k]);
            most = apart > most ? apart : most;
            sum += apart;
        }
        double mean = sum / (double)ht_tensor_count(x);
        printf("# %s: %d at most, %.3f in the mean\n", files[i].name, most, mean);
        if (most > files[i].most || mean > files[i].mean) fail_msg("%s", files[i].name);
        ht_tensor_free(x);
        ht_tensor_free(y);
    }
}

/* Refusals. */

static void expect_refusal(const fixture *f, const char *name, const void *bytes,
                           size_t n, const char *message)
{
    char path[PATH];
    put_bytes(f, name, bytes, n, path);
    assert_null(ht_image_read(f->ctx, path, NULL));
    assert_string_equal(ht_status_name(ht_context_status(f->ctx)), "HT_ERROR_FORMAT");
    assert_contains(ht_context_message(f->ctx), path);
    assert_contains(ht_context_message(f->ctx), message);
    assert_contains(ht_context_message(f->ctx), "\n  hint: ");
    assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
    ht_context_clear(f->ctx);
}

static void image_read_of_other_files_says_what_they_are(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *bytes, *message;
    } files[] = {
        {"GIF89a..........", "expected a PNG or a JPEG, got a GIF\n"},
        {"BM..............", "expected a PNG or a JPEG, got a BMP\n"},
        {"RIFF....WEBPVP8 ", "expected a PNG or a JPEG, got a WebP\n"},
        {"II*.............", "expected a PNG or a JPEG, got a TIFF\n"},
        {"MM.*............", "expected a PNG or a JPEG, got a TIFF\n"},
        {"....ftypavif....", "expected a PNG or a JPEG, got an AVIF\n"},
        {"....ftypheic....", "expected a PNG or a JPEG, got a HEIC\n"},
        {"<!DOCTYPE html>.", "expected a PNG or a JPEG, got text, HTML or SVG\n"},
        {"\1\2\3\4............", "expected a PNG or a JPEG, got other bytes\n"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        expect_refusal(f, "x.png", files[i].bytes, 16, files[i].message);
    expect_refusal(f, "x.png", "G", 1, "got other bytes\n");
    expect_refusal(f, "x.png", "", 0, "expected data, got an empty file");
    assert_null(ht_image_read(f->ctx, f->folder, NULL));
    assert_int_equal(ht_context_status(f->ctx), HT_ERROR_FILE);
    ht_context_clear(f->ctx);
    assert_null(ht_image_read(f->ctx, "no such file", NULL));
    assert_int_equal(ht_context_status(f->ctx), HT_ERROR_FILE);
    ht_context_clear(f->ctx);
}

/* A name decides nothing, but the reader of PNG alone says what it met. */
static void image_read_of_a_jpeg_named_png_is_the_jpeg(void **state)
{
    fixture *f = *state;
    static unsigned char bytes[MOST];
    char path[PATH];
    put_bytes(f, "x.png", bytes, get_bytes("plain.jpg", bytes), path);
    ht_tensor *x = ht_image_read(f->ctx, path, NULL);
    assert_non_null(x);
    ht_tensor_free(x);
    assert_null(ht_png_read(f->ctx, path));
    assert_contains(ht_context_message(f->ctx),
                    "expected the signature of PNG, got a JPEG's\n");
    ht_context_clear(f->ctx);
}

static void image_read_of_transparent_pixels_wants_a_colour(void **state)
{
    fixture *f = *state;
    static unsigned char bytes[MOST];
    char path[PATH];
    size_t n = get_bytes("p6_8.png", bytes);
    expect_refusal(f, "x.png", bytes, n,
                   "expected pixels that hide what is behind them, got alpha ");
    expect_refusal(f, "x.png", bytes, get_bytes("p3_1t.png", bytes),
                   " of 255 at row 0, column ");
    reference_path("p6_8.png", path);
    ht_tensor *white = ht_image_read(f->ctx, path, OPTIONS(.alpha = HT_ALPHA_WHITE));
    ht_tensor *black = ht_image_read(f->ctx, path, OPTIONS(.alpha = HT_ALPHA_BLACK));
    const uint8_t *a = ht_tensor_data(white), *b = ht_tensor_data(black);
    for (int64_t i = 0; i < ht_tensor_count(white);
         i++) { /* they differ by 255 - alpha */
        int apart = a[i] - b[i], first = a[i / 3 * 3] - b[i / 3 * 3];
        assert_in_range(apart, 0, 255);
        assert_in_range(apart - first + 1, 0, 2);
    }
    ht_tensor_free(white);
    ht_tensor_free(black);
}

static void image_read_of_wrong_options_is_refused(void **state)
{
    fixture *f = *state;
    char path[PATH];
    const ht_image_options wrong[] = {{.width = 3},
                                      {.height = 3},
                                      {.width = -1, .height = -1},
                                      {.width = 1 << 21, .height = 1},
                                      {.filter = (ht_filter)2},
                                      {.alpha = (ht_alpha)3}};
    reference_path("p0_8.png", path);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_null(ht_image_read(f->ctx, path, &wrong[i]));
        assert_int_equal(ht_context_status(f->ctx), HT_ERROR_ARGUMENT);
        assert_contains(ht_context_message(f->ctx), "ht_image_read: expected sides of 1");
        ht_context_clear(f->ctx);
    }
}

/* PNG's chunks, changed and signed anew. */

static void sign_chunks(unsigned char *bytes, size_t n)
{
    for (size_t at = 8; at + 12 <= n;) {
        size_t length = (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        if (at + 12 + length > n) return;
        unsigned long sum = crc32(0, bytes + at + 4, (unsigned)length + 4);
        for (int i = 0; i < 4; i++)
            bytes[at + 8 + length + (size_t)i] = (unsigned char)(sum >> (24 - 8 * i));
        at += 12 + length;
    }
}

static void image_read_of_wrong_pngs_is_refused(void **state)
{
    fixture *f = *state;
    enum { KIND = 24, COLOUR, METHOD, FILTERS, INTERLACED, CHUNK = 33 };
    static const struct {
        const char *file;
        int at;
        unsigned char byte;
        const char *message;
    } changes[] = {
        {"p3_2.png", KIND, 16, "got 16 bits, colour type 3, interlacing 0"},
        {"p3_2.png", KIND, 0, "got 0 bits, colour type 3, interlacing 0"},
        {"p3_2.png", KIND, 3, "got 3 bits, colour type 3"},
        {"p3_2.png", KIND, 32, "got 32 bits, colour type 3"},
        {"p2_8.png", KIND, 4, "got 4 bits, colour type 2"},
        {"p6_8.png", KIND, 1, "got 1 bits, colour type 6"},
        {"p0_8.png", COLOUR, 1, "got 8 bits, colour type 1"},
        {"p0_8.png", COLOUR, 5, "got 8 bits, colour type 5"},
        {"p0_8.png", COLOUR, 7, "got 8 bits, colour type 7"},
        {"p0_8.png", COLOUR, 255, "got 8 bits, colour type 255"},
        {"p0_8.png", COLOUR, 3, "expected a PLTE chunk before the data, got IDAT"},
        {"p0_8.png", COLOUR, 4, "expected a compressed image of filters 0 to 4, got"},
        {"p4_8.png", COLOUR, 0, "expected a compressed image of filters 0 to 4, got"},
        {"p0_8.png", METHOD, 1, "compression 0, filters 0, got compression 1, filters 0"},
        {"p0_8.png", FILTERS, 1, "got compression 0, filters 1"},
        {"p0_8.png", INTERLACED, 2, "got 8 bits, colour type 0, interlacing 2"},
        {"p0_8.png", INTERLACED, 1, "expected a compressed image of "},
        {"p0_8i.png", INTERLACED, 0, "expected "},
        {"p3_4.png", CHUNK + 4, 'X', "IEND or one that may be left out, got XLTE"},
        {"p3_4.png", CHUNK + 4, 'x', "expected a PLTE chunk before the data, got IDAT"},
        {"p0_8t.png", COLOUR, 4, "a tRNS chunk of as many colours as there are"},
        {"p0_8t.png", COLOUR, 2, "a tRNS chunk of as many colours as there are"},
        {"p2_8t.png", COLOUR, 0, "a tRNS chunk of as many colours as there are"},
    };
    static unsigned char bytes[MOST];
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        size_t n = get_bytes(changes[i].file, bytes);
        bytes[changes[i].at] = changes[i].byte;
        sign_chunks(bytes, n);
        expect_refusal(f, "x.png", bytes, n, changes[i].message);
    }
    /* Fewer colours than pixels name: the palette's chunk says so, the rest stays. */
    size_t n = get_bytes("p3_2.png", bytes);
    memmove(bytes + CHUNK + 11, bytes + CHUNK + 20, n - CHUNK - 20);
    bytes[CHUNK + 3] = 3;
    sign_chunks(bytes, n - 9);
    expect_refusal(f, "x.png", bytes, n - 9,
                   "expected colours of the palette, got a pixel of another");
    bytes[CHUNK + 3] = 2;
    sign_chunks(bytes, n - 9);
    expect_refusal(f, "x.png", bytes, n - 9,
                   "at most one PLTE chunk of 1 to 256 colours");
    /* Sides that the file could not hold, or that nobody's memory should. */
    n = get_bytes("p0_1.png", bytes);
    bytes[17] = bytes[21] = 15;
    sign_chunks(bytes, n);
    expect_refusal(f, "x.png", bytes, n,
                   "expected an image that the file can hold, got a");
}

/* A picture of 2^26 pixels and one row more, and what it costs to find out. */
static void image_read_of_a_png_bomb_is_refused(void **state)
{
    fixture *f = *state;
    enum { SIDE = 8192, DATA = 1 << 17 };
    static unsigned char zeros[1 + SIDE / 8], bytes[DATA];
    unsigned char head[] =
        "\x89PNG\r\n\x1a\n\0\0\0\15IHDR\0\0\x20\0\0\0\x20\1\1\0\0\0\0....";
    memcpy(bytes, head, 33);
    z_stream z = {.next_out = bytes + 41, .avail_out = DATA - 60};
    assert_int_equal(deflateInit(&z, 9), Z_OK);
    for (int y = 0; y <= SIDE; y++) {
        z.next_in = zeros;
        z.avail_in = sizeof zeros;
        assert_int_equal(deflate(&z, y == SIDE ? Z_FINISH : Z_NO_FLUSH),
                         y == SIDE ? Z_STREAM_END : Z_OK);
    }
    size_t n = z.total_out;
    deflateEnd(&z);
    memcpy(bytes + 33, "\0\0\0\0IDAT", 8);
    bytes[35] = (unsigned char)(n >> 8);
    bytes[36] = (unsigned char)n;
    memcpy(bytes + 45 + n, "\0\0\0\0IEND", 8);
    sign_chunks(bytes, n + 57);
    ht_context_reset_peak(f->ctx);
    expect_refusal(
        f, "x.png", bytes, n + 57,
        "expected at most 67108864 pixels, got more\n  hint: make it smaller, ");
    assert_in_range(ht_context_peak_bytes(f->ctx), f->live, f->live + 200000);
}

/* JPEG. */

/* Where the segment of that marker begins. */
static size_t find_marker(const unsigned char *bytes, size_t n, int marker)
{
    for (size_t at = 2; at + 4 < n;
         at += 2 + ((size_t)bytes[at + 2] << 8 | bytes[at + 3])) {
        assert_int_equal(bytes[at], 0xff);
        if (bytes[at + 1] == marker) return at;
    }
    fail_msg("no marker %02x", marker);
    return 0;
}

static void image_read_of_wrong_jpegs_is_refused(void **state)
{
    fixture *f = *state;
    enum { SOF = 0xc0, DQT = 0xdb, DHT = 0xc4, SOS = 0xda };
    static const struct {
        int marker, at;
        unsigned char byte;
        const char *message;
    } changes[] = {
        {SOF, 0, 0xfe, "expected a marker, got bytes fe c0"},
        {SOF, 1, 0xc3, "expected a baseline or progressive frame, got one of kind 3"},
        {SOF, 1, 0xc5, "got one of kind 5"},
        {SOF, 1, 0xc9, "got one of kind 9"},
        {SOF, 1, 0xcf, "got one of kind 15"},
        {SOF, 1, 0xd8, "expected a marker, got bytes ff d8"},
        {SOF, 1, 0xd0, "expected "},
        {SOF, 1, 0x01, "expected a marker, got bytes ff 01"},
        {SOF, 1, 0xd9, "expected a scan before the end, got none"},
        {SOF, 1, 0xfe, "expected a frame before the scan, got none"},
        {SOF, 2, 0xff, "expected a whole segment, got the end of the file"},
        {SOF, 3, 1, "expected a whole segment, got the end of the file"},
        {SOF, 3, 7, "expected a frame's header, got a shorter one"},
        {SOF, 4, 12, "expected samples of 8 bits, got 12 bits"},
        {SOF, 5, 0xff, "expected an image that the file can hold, got 45 x 65317"},
        {SOF, 6, 0, "expected pixels, got 45 x 0"},
        {SOF, 8, 0, "expected pixels, got 0 x 37"},
        {SOF, 9, 2, "expected 1 colour or 3, got 2"},
        {SOF, 9, 4, "expected 1 colour or 3, got CMYK, of 4"},
        {SOF, 9, 0, "expected 1 colour or 3, got 0"},
        {SOF, 9, 1, "expected an image that can be decoded, got "},
        {SOF, 11, 0, "expected an image that can be decoded, got "},
        {SOF, 11, 0x55, "expected an image that can be decoded, got "},
        {SOF, 12, 9, "expected an image that can be decoded, got "},
        {DQT, 4, 0x20, "expected an image that can be decoded, got "},
        {DHT, 4, 0x33, "expected an image that can be decoded, got "},
        {DHT, 5, 0xff, "expected codes that there are, got too many"},
        {DHT, 20, 1, "expected whole tables of codes, got another length"},
        {SOS, 1, 0xfe, "expected a marker, got bytes "},
        {SOS, 4, 9, "expected an image that can be decoded, got "},
        {SOS, 5, 77, "expected an image that can be decoded, got "},
        {SOS, 6, 0xff, "expected an image that can be decoded, got "},
        {SOS, 11, 1, "expected an image that can be decoded, got "},
    };
    static unsigned char bytes[MOST];
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        size_t n = get_bytes("plain.jpg", bytes);
        size_t at = find_marker(bytes, n, changes[i].marker);
        bytes[at + (size_t)changes[i].at] = changes[i].byte;
        expect_refusal(f, "x.jpg", bytes, n, changes[i].message);
    }
    size_t n = get_bytes("cmyk.jpg", bytes);
    expect_refusal(f, "x.jpg", bytes, n, "expected 1 colour or 3, got CMYK, of 4\n");
    n = get_bytes("progressive.jpg", bytes);
    memset(bytes + find_marker(bytes, n, 0xc2) + 5, 0xff, 4);
    expect_refusal(
        f, "x.jpg", bytes, n,
        "at most 67108864 pixels, got 65535 x 65535\n  hint: make it smaller, ");
    /* A second frame. */
    n = get_bytes("grey.jpg", bytes);
    size_t at = find_marker(bytes, n, 0xc0);
    memmove(bytes + at + 13, bytes + at, n - at);
    expect_refusal(f, "x.jpg", bytes, n + 13, "expected one frame, got a second");
}

/* Some PNGs are read by their chunks alone: no checksum stands over what is not
 * compressed. */
static void image_read_of_every_beginning_is_refused(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"p3_4i.png",   "p6_16.png",       "p0_16t.png",
                                        "restart.jpg", "progressive.jpg", "turned6.jpg"};
    static unsigned char bytes[MOST];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = get_bytes(names[i], bytes);
        for (size_t cut = 1; cut < n; cut++)
            expect_refusal(f, "x", bytes, cut, "offset ");
    }
}

static void image_read_takes_no_harm_from_a_changed_bit(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"p3_4i.png", "grey.jpg", "turned8.jpg"};
    static unsigned char bytes[MOST];
    char path[PATH];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = get_bytes(names[i], bytes);
        for (size_t bit = 0; bit < 8 * n; bit += 3) {
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
            put_bytes(f, "x", bytes, n, path);
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
            ht_tensor *x = ht_image_read(f->ctx, path, NULL);
            if (!x) assert_contains(ht_context_message(f->ctx), "\n  hint: ");
            ht_tensor_free(x);
            ht_context_clear(f->ctx);
            assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
        }
    }
}

static bool read_all(ht_context *ctx, void *user)
{
    char path[PATH];
    (void)user;
    const ht_image_options *small = OPTIONS(.width = 5, .height = 5);
    ht_tensor *x = ht_image_read(ctx, reference_path("p3_4i.png", path), NULL);
    ht_tensor *y = x ? ht_image_read(ctx, reference_path("turned8.jpg", path), small) : x;
    ht_tensor *z =
        y ? ht_image_read(ctx, reference_path("progressive.jpg", path), NULL) : y;
    bool done = z != NULL;
    ht_tensor_free(x);
    if (y != x) ht_tensor_free(y);
    if (z != y) ht_tensor_free(z);
    return done;
}

static void image_read_keeps_an_error_of_each_allocation(void **state)
{
    (void)state;
    assert_in_range(fail_each_allocation(read_all, NULL), 20, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(image_read_of_every_png_is_as_by_pillow),
        CASE(image_read_of_pngsuite_is_as_by_pillow),
        CASE(image_read_of_every_jpeg_is_nearly_as_by_pillow),
        CASE(image_read_of_other_files_says_what_they_are),
        CASE(image_read_of_a_jpeg_named_png_is_the_jpeg),
        CASE(image_read_of_transparent_pixels_wants_a_colour),
        CASE(image_read_of_wrong_options_is_refused),
        CASE(image_read_of_wrong_pngs_is_refused),
        CASE(image_read_of_every_beginning_is_refused),
        CASE(image_read_of_a_png_bomb_is_refused),
        CASE(image_read_of_wrong_jpegs_is_refused),
        CASE(image_read_takes_no_harm_from_a_changed_bit),
        CASE(image_read_keeps_an_error_of_each_allocation),
    };
    return TEST_MAIN(tests);
}
