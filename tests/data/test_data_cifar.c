/* SPDX-License-Identifier: MIT */
/* test_data_cifar.c: PNG in, CIFAR-10 as sheets, and every way these files can be wrong.
 * HYPERTAPE_DATA is the folder data/bundled. Read next: data/cifar.c, data/png_read.c. */
#include "test_data.h"

#include <zlib.h>

enum { SIDE = 32, PIXELS = SIDE * SIDE, MOST_BYTES = 1 << 16 };

static void write_bytes(const fixture *f, const char *name, const void *bytes, size_t n)
{
    char path[PATH];
    FILE *file = fopen(path_in(f, name, path), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

static void write_text(const fixture *f, const char *name, const char *text)
{
    write_bytes(f, name, text, strlen(text));
}

static size_t read_bytes(const fixture *f, const char *name, unsigned char *bytes)
{
    char path[PATH];
    FILE *file = fopen(path_in(f, name, path), "rb");
    assert_non_null(file);
    size_t n = fread(bytes, 1, MOST_BYTES, file);
    fclose(file);
    assert_in_range(n, 1, MOST_BYTES - 1);
    return n;
}

/* A picture of random bytes, rows from `first` of an endless one. */
static void write_picture(const fixture *f, const char *name, ht_shape shape,
                          uint64_t first)
{
    char path[PATH];
    ht_tensor *x = ht_tensor_new(f->ctx, HT_U8, shape);
    uint8_t *pixel = ht_tensor_data(x);
    uint64_t width = ht_tensor_bytes(x) / (uint64_t)shape.dim[0];
    for (int64_t i = 0; i < ht_tensor_count(x); i++)
        pixel[i] = (uint8_t)ht_random_bits(1, 2, first * width + (uint64_t)i);
    assert_int_equal(ht_png_write(f->ctx, path_in(f, name, path), x), HT_OK);
    ht_tensor_free(x);
}

/* PNG. */

static ht_tensor *read_png(const fixture *f, const char *name)
{
    char path[PATH];
    return ht_png_read(f->ctx, path_in(f, name, path));
}

static void png_read_of_what_was_written_is_the_same(void **state)
{
    fixture *f = *state;
    const ht_shape shapes[] = {HT_SHAPE(1, 1), HT_SHAPE(37, 53), HT_SHAPE(53, 37, 3),
                               HT_SHAPE(4, 5000, 3)};
    for (int s = 0; s < 4; s++) {
        write_picture(f, "x.png", shapes[s], 0);
        ht_tensor *x = read_png(f, "x.png");
        if (!x) fail_msg("%s", ht_context_message(f->ctx));
        assert_true(ht_shape_equal(ht_tensor_shape(x), shapes[s]));
        const uint8_t *pixel = ht_tensor_data(x);
        for (int64_t i = 0; i < ht_tensor_count(x); i++)
            assert_int_equal(pixel[i], (uint8_t)ht_random_bits(1, 2, (uint64_t)i));
        ht_tensor_free(x);
    }
}

/* Pixels that change slowly are written as differences. */
static void png_read_of_a_smooth_picture_is_the_same(void **state)
{
    fixture *f = *state;
    char path[PATH];
    ht_tensor *x = ht_tensor_new(f->ctx, HT_U8, HT_SHAPE(3, 2000, 3));
    uint8_t *pixel = ht_tensor_data(x);
    for (int64_t i = 0; i < ht_tensor_count(x); i++)
        pixel[i] = (uint8_t)(i / 7 + 80 * (i % 3));
    assert_int_equal(ht_png_write(f->ctx, path_in(f, "x.png", path), x), HT_OK);
    ht_tensor *y = read_png(f, "x.png");
    if (!y) fail_msg("%s", ht_context_message(f->ctx));
    assert_memory_equal(ht_tensor_data(y), pixel, ht_tensor_bytes(x));
    ht_tensor_free(x);
    ht_tensor_free(y);
}

static void expect_png_refused(const fixture *f, const unsigned char *bytes, size_t n,
                               const char *part)
{
    write_bytes(f, "bad.png", bytes, n);
    assert_null(read_png(f, "bad.png"));
    assert_string_equal(ht_status_name(ht_context_status(f->ctx)), "HT_ERROR_FORMAT");
    assert_contains(ht_context_message(f->ctx), "bad.png: offset ");
    assert_contains(ht_context_message(f->ctx), part);
    assert_contains(ht_context_message(f->ctx), "\n  hint: ");
    assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
    ht_context_clear(f->ctx);
}

static void png_read_of_every_truncation_is_refused(void **state)
{
    fixture *f = *state;
    unsigned char bytes[MOST_BYTES];
    write_picture(f, "x.png", HT_SHAPE(5, 4, 3), 0);
    size_t n = read_bytes(f, "x.png", bytes);
    for (size_t cut = 1; cut < n; cut++)
        expect_png_refused(f, bytes, cut,
                           cut < 8 ? "the signature" : "the end of the file after");
    memcpy(bytes + n, "?", 1);
    expect_png_refused(f, bytes, n + 1, "expected the end of the file, got more bytes");
}

static void png_read_of_every_changed_bit_is_refused(void **state)
{
    fixture *f = *state;
    unsigned char bytes[MOST_BYTES];
    write_picture(f, "x.png", HT_SHAPE(5, 4, 3), 0);
    size_t n = read_bytes(f, "x.png", bytes);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        expect_png_refused(f, bytes, n, "expected ");
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

static void put_number(unsigned char *to, unsigned long value)
{
    for (int i = 0; i < 4; i++) to[i] = (unsigned char)(value >> (24 - 8 * i) & 255);
}

/* Gives the chunk at `at` the checksum of what it holds now. */
static void sign_chunk(unsigned char *bytes, size_t at)
{
    unsigned n = (unsigned)bytes[at + 2] << 8 | bytes[at + 3];
    put_number(bytes + at + 8 + n, crc32(0, bytes + at + 4, n + 4));
}

static void png_read_of_other_kinds_is_refused(void **state)
{
    fixture *f = *state;
    static const struct {
        int at, value;
        const char *part;
    } kinds[] = {{8, 16, "got 16 bits"},
                 {9, 3, "colour type 3"},
                 {9, 6, "colour type 6"},
                 {12, 1, "interlacing 1"},
                 {3, 0, "got 0 x 5"},
                 {0, 1, "sides of 1 to 1048576 pixels"},
                 {5, 15, "expected an image that the file can hold"},
                 {3, 9, "expected a compressed image"}};
    unsigned char bytes[MOST_BYTES], changed[MOST_BYTES];
    write_picture(f, "x.png", HT_SHAPE(5, 4, 3), 0);
    size_t n = read_bytes(f, "x.png", bytes);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        memcpy(changed, bytes, n);
        changed[16 + kinds[k].at] = (unsigned char)kinds[k].value;
        sign_chunk(changed, 8);
        expect_png_refused(f, changed, n, kinds[k].part);
    }
}

/* The decoder's turn: image data of any bytes under a right checksum. */
static void png_read_of_any_compressed_bytes_never_crashes(void **state)
{
    fixture *f = *state;
    unsigned char bytes[MOST_BYTES], changed[MOST_BYTES];
    write_picture(f, "x.png", HT_SHAPE(5, 4, 3), 0);
    size_t n = read_bytes(f, "x.png", bytes), data = 8 + 12 + 13;
    uint64_t seed = test_seed();
    int refused = 0;
    for (uint64_t k = 0; k < 3000; k++) {
        memcpy(changed, bytes, n);
        for (uint64_t i = 0; i <= k % 4; i++) {
            int64_t length = (int64_t)(bytes[data + 2] << 8 | bytes[data + 3]);
            int64_t at = ht_random_below(seed, k, 2 * i, length);
            changed[data + 8 + (size_t)at] = (uint8_t)ht_random_bits(seed, k, 2 * i + 1);
        }
        sign_chunk(changed, data);
        write_bytes(f, "bad.png", changed, n);
        ht_tensor *x = read_png(f, "bad.png");
        refused += !x;
        assert_int_equal(ht_context_status(f->ctx), x ? HT_OK : HT_ERROR_FORMAT);
        ht_tensor_free(x);
        ht_context_clear(f->ctx);
        assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
    }
    assert_in_range(refused, 100, 2999);
}

/* CIFAR-10. */

static ht_images bundled(const fixture *f, bool test)
{
    const char *data = getenv("HYPERTAPE_DATA");
    char folder[PATH];
    ht_images images;
    if (!data) fail_msg("HYPERTAPE_DATA is not set: expected the folder data/bundled");
    snprintf(folder, PATH, "%s/cifar", data);
    if (ht_cifar_read(f->ctx, folder, test, &images))
        fail_msg("%s", ht_context_message(f->ctx));
    return images;
}

/* The first labels, and the first image's first two pixels, are those of the original
 * files as everybody has them: a frog, and a cat. */
static void cifar_read_of_the_bundle_has_its_known_content(void **state)
{
    static const struct {
        int64_t n;
        const char *labels;
        uint8_t pixel[2][3];
    } want[2] = {{4000, "6994112783", {{59, 62, 63}, {43, 46, 45}}},
                 {1000, "3880661631", {{158, 112, 49}, {159, 111, 47}}}};
    for (int test = 0; test < 2; test++) {
        ht_images images = bundled(*state, test);
        int64_t n = want[test].n, count[10] = {0};
        char labels[11] = {0};
        assert_int_equal(images.classes, 10);
        assert_true(
            ht_shape_equal(ht_tensor_shape(images.pixels), HT_SHAPE(n, 3, SIDE, SIDE)));
        assert_true(ht_shape_equal(ht_tensor_shape(images.labels), HT_SHAPE(n)));
        const uint8_t *pixel = ht_tensor_data(images.pixels);
        const int32_t *label = ht_tensor_data(images.labels);
        for (int64_t i = 0; i < n; i++) count[label[i]]++;
        for (int c = 0; c < 10; c++) assert_int_equal(count[c], n / 10);
        for (int i = 0; i < 10; i++) labels[i] = (char)('0' + label[i]);
        assert_string_equal(labels, want[test].labels);
        for (int p = 0; p < 2; p++)
            for (int c = 0; c < 3; c++)
                assert_int_equal(pixel[c * PIXELS + p], want[test].pixel[p][c]);
        ht_images_free(&images);
    }
}

/* Three images in two sheets, labels with spaces. */
static void write_small(const fixture *f)
{
    write_picture(f, "data_batch_1.png", HT_SHAPE(2, PIXELS, 3), 0);
    write_picture(f, "data_batch_2.png", HT_SHAPE(1, PIXELS, 3), 2);
    write_text(f, "train_lables.json", " [ 7,0 ,\n9]\n");
}

static void cifar_read_of_two_sheets_joins_them(void **state)
{
    fixture *f = *state;
    ht_images images;
    write_small(f);
    if (ht_cifar_read(f->ctx, f->folder, false, &images))
        fail_msg("%s", ht_context_message(f->ctx));
    const uint8_t *pixel = ht_tensor_data(images.pixels);
    const int32_t *label = ht_tensor_data(images.labels);
    for (int i = 0; i < 3; i++) assert_int_equal(label[i], i == 0 ? 7 : i == 1 ? 0 : 9);
    for (int i = 0; i < 3; i++)
        for (int c = 0; c < 3; c++)
            for (int p = 0; p < PIXELS; p++)
                assert_int_equal(
                    pixel[(i * 3 + c) * PIXELS + p],
                    (uint8_t)ht_random_bits(1, 2, (uint64_t)((i * PIXELS + p) * 3 + c)));
    ht_images_free(&images);
}

static void expect_set_refused(const fixture *f, const char *labels, ht_status status,
                               const char *part)
{
    ht_images images;
    if (labels) write_text(f, "train_lables.json", labels);
    ht_status got = ht_cifar_read(f->ctx, f->folder, false, &images);
    assert_contains(ht_context_message(f->ctx), f->folder);
    assert_images_refused(f, got, &images, status, part);
}

static void cifar_read_of_bad_labels_says_where(void **state)
{
    fixture *f = *state;
    const ht_status bad = HT_ERROR_FORMAT;
    write_small(f);
    expect_set_refused(f, "[7,0,10]", bad,
                       "offset 5: row 2: expected a label in 0..9, "
                       "got 10");
    expect_set_refused(f, "[7,0,-1]", bad,
                       "offset 5: expected a label in 0..9, got byte "
                       "0x2d");
    expect_set_refused(f, "[7,0.5,1]", bad, "offset 4: expected ,, got byte 0x2e");
    expect_set_refused(f, "{7,0,1}", bad, "offset 0: expected [, got byte 0x7b");
    expect_set_refused(f, "[7,0,1", bad, "offset 6: expected ], got the end of the file");
    expect_set_refused(f, "[7,0,1]x", bad, "offset 7: expected the end of the file");
    expect_set_refused(f, "[7,,1]", bad, "offset 3: expected a label in 0..9");
    expect_set_refused(f, "[]", bad, "offset 1: expected a label in 0..9");
    write_bytes(f, "train_lables.json", "[7,0,1]", 8);
    expect_set_refused(f, NULL, bad,
                       "offset 7: expected the end of the file, got byte "
                       "0x00");
}

static void cifar_read_of_sheets_that_do_not_fit_is_refused(void **state)
{
    fixture *f = *state;
    const ht_status bad = HT_ERROR_FORMAT;
    write_small(f);
    expect_set_refused(f, "[7]", bad,
                       "data_batch_1.png: expected at most 1 images, got 2: "
                       "there are 1 labels in all");
    expect_set_refused(f, "[7,0,9,1]", bad,
                       "expected 4 images for the labels of "
                       "train_lables.json, got 3; there is no "
                       "data_batch_3.png");
    write_picture(f, "data_batch_2.png", HT_SHAPE(1, PIXELS), 0);
    expect_set_refused(f, "[7,0,9]", bad, "expected RGB of (n, 1024, 3), got (1, 1024)");
    write_picture(f, "data_batch_2.png", HT_SHAPE(1, PIXELS + 1, 3), 0);
    expect_set_refused(f, NULL, bad, "expected RGB of (n, 1024, 3), got (1, 1025, 3)");
    write_text(f, "data_batch_2.png", "not a picture");
    expect_set_refused(f, NULL, bad,
                       "data_batch_2.png: offset 0: expected the signature");
}

static void cifar_read_of_no_files_says_what_it_looked_for(void **state)
{
    fixture *f = *state;
    char path[PATH];
    expect_set_refused(f, NULL, HT_ERROR_FILE,
                       "expected a folder with train_lables.json, data_batch_1.bin or "
                       "train.bin, got one without\n"
                       "  hint: ./dev data cifar fetches the full set");
    write_small(f);
    remove(path_in(f, "data_batch_1.png", path));
    expect_set_refused(f, NULL, HT_ERROR_FORMAT, "there is no data_batch_1.png");
    ht_images images;
    assert_int_equal(ht_cifar_read(f->ctx, "absent/cifar", true, &images), HT_ERROR_FILE);
    assert_contains(ht_context_message(f->ctx), "absent/cifar");
    assert_contains(ht_context_message(f->ctx), "No such file");
    assert_contains(ht_context_message(f->ctx), "test_lables.json");
    ht_context_clear(f->ctx);
}

/* Pixels are 3 KiB a label: they are asked for when the sheets say that there are so
 * many. Labels that no JSON reader takes for whole numbers are none. */
static void cifar_read_of_labels_without_sheets_asks_for_little(void **state)
{
    fixture *f = *state;
    enum { LABELS = 500000, BYTES = 2 * LABELS + 1 };
    char *text = malloc(BYTES);
    for (int i = 0; i < BYTES; i++) text[i] = i % 2 ? '7' : ',';
    text[0] = '[';
    text[BYTES - 1] = ']';
    write_small(f);
    for (int sheets = 0; sheets < 2; sheets++) {
        char path[PATH];
        write_bytes(f, "train_lables.json", text, BYTES);
        if (!sheets) remove(path_in(f, "data_batch_1.png", path));
        ht_context_reset_peak(f->ctx);
        expect_set_refused(f, NULL, HT_ERROR_FORMAT,
                           "expected 500000 images for the labels");
        size_t peak = ht_context_peak_bytes(f->ctx) - f->live;
        if (peak > 4 * BYTES) fail_msg("%zu bytes asked for %d labels", peak, LABELS);
        write_small(f);
    }
    free(text);
    static const char *const labels[] = {
        "[7,0,1e0]",   "[7,0,01]",    "[7,0,3.5]",
        "[7,0,-1]",    "[7,0,1.0]",   "[7,0,[1]]",
        "[7,0,\"1\"]", "[7,0,null]",  "[7,0,1,]",
        "[,7,0,1]",    "[7 0 1]",     "[[7,0,1]]",
        "[7,0,+1]",    "[7,0,0x1]",   "\xef\xbb\xbf[7,0,1]",
        "[7,0,1]]",    "[7,0,1][]",   "[7,0,1",
        "7,0,1",       "[7,0,1e999]", "[7,0,99999999999999999999]",
        "[7,0,\xb9]"};
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++)
        expect_set_refused(f, labels[i], HT_ERROR_FORMAT, "train_lables.json: offset ");
}

/* Rows. */

static void images_rows_of_colour_images_have_both_shapes(void **state)
{
    fixture *f = *state;
    ht_images images;
    const int64_t order[] = {2, 0};
    const ht_shape shapes[] = {HT_SHAPE(2, 3 * PIXELS), HT_SHAPE(2, 3, SIDE, SIDE)};
    write_small(f);
    assert_int_equal(ht_cifar_read(f->ctx, f->folder, false, &images), HT_OK);
    const uint8_t *pixel = ht_tensor_data(images.pixels);
    for (int s = 0; s < 2; s++) {
        ht_tensor *x = ht_tensor_new(f->ctx, HT_F32, shapes[s]);
        assert_int_equal(ht_images_rows(&images, order, 0, 2, x, NULL), HT_OK);
        const float *got = ht_tensor_data(x);
        for (int64_t i = 0; i < 2; i++)
            for (int64_t k = 0; k < (int64_t)3 * PIXELS; k++)
                assert_true(got[i * 3 * PIXELS + k] ==
                            (float)pixel[order[i] * 3 * PIXELS + k] / 255.0f);
        ht_tensor_free(x);
    }
    ht_tensor *grey = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(2, SIDE, SIDE));
    assert_int_equal(ht_images_rows(&images, order, 0, 2, grey, NULL), HT_ERROR_SHAPE);
    assert_contains(ht_context_message(f->ctx), "shape (2, 3072), got (2, 32, 32)");
    ht_context_clear(f->ctx);
    ht_tensor_free(grey);
    ht_images_free(&images);
}

/* Memory. */

static bool read_small(ht_context *ctx, void *user)
{
    const fixture *f = user;
    ht_images images;
    ht_status status = ht_cifar_read(ctx, f->folder, false, &images);
    assert_int_equal(ht_context_status(ctx), status);
    ht_images_free(&images);
    return status == HT_OK;
}

static void cifar_with_nth_allocation_failing_leaks_nothing(void **state)
{
    fixture *f = *state;
    write_small(f);
    assert_in_range(fail_each_allocation(read_small, f), 9, 57);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(png_read_of_what_was_written_is_the_same),
        CASE(png_read_of_a_smooth_picture_is_the_same),
        CASE(png_read_of_every_truncation_is_refused),
        CASE(png_read_of_every_changed_bit_is_refused),
        CASE(png_read_of_other_kinds_is_refused),
        CASE(png_read_of_any_compressed_bytes_never_crashes),
        CASE(cifar_read_of_the_bundle_has_its_known_content),
        CASE(cifar_read_of_two_sheets_joins_them),
        CASE(cifar_read_of_bad_labels_says_where),
        CASE(cifar_read_of_sheets_that_do_not_fit_is_refused),
        CASE(cifar_read_of_no_files_says_what_it_looked_for),
        CASE(cifar_read_of_labels_without_sheets_asks_for_little),
        CASE(images_rows_of_colour_images_have_both_shapes),
        CASE(cifar_with_nth_allocation_failing_leaks_nothing),
    };
    return TEST_MAIN(tests);
}
