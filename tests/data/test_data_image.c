/* SPDX-License-Identifier: MIT */
/* test_data_image.c: labelled image sets, the bundled MNIST, pixels as floats, and PNG
 * out. HYPERTAPE_DATA is the folder data/bundled. Read next: data/image.c, data/png.c. */
#include "test_data.h"

#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_NO_FAILURE_STRINGS
#include <stb/stb_image.h>

enum { BUNDLED = 10000 };

/* Writes a u8 tensor of `shape` with element i = i mod period as IDX. */
static void write_counting(const fixture *f, const char *name, ht_shape shape, int period)
{
    char path[PATH];
    ht_tensor *x = ht_tensor_new(f->ctx, HT_U8, shape);
    for (int64_t i = 0; i < ht_tensor_count(x); i++)
        ht_tensor_set(x, i, (double)(i % period));
    assert_int_equal(ht_idx_write(x, path_in(f, name, path)), HT_OK);
    ht_tensor_free(x);
}

/* Sets. */

static void bundled_folder(char folder[PATH])
{
    const char *data = getenv("HYPERTAPE_DATA");
    if (!data) fail_msg("HYPERTAPE_DATA is not set: expected the folder data/bundled");
    snprintf(folder, PATH, "%s/mnist", data);
}

static void expect_bundled(const fixture *f, bool test, const char *first, long long ones,
                           long long pixel_sum)
{
    char folder[PATH], got[11] = {0};
    ht_images images;
    bundled_folder(folder);
    if (ht_mnist_read(f->ctx, folder, test, &images))
        fail_msg("%s", ht_context_message(f->ctx));
    assert_int_equal(images.classes, 10);
    assert_true(
        ht_shape_equal(ht_tensor_shape(images.pixels), HT_SHAPE(BUNDLED, 28, 28)));
    const uint8_t *pixel = ht_tensor_data(images.pixels);
    const int32_t *label = ht_tensor_data(images.labels);
    long long sum = 0, n_ones = 0;
    for (int64_t i = 0; i < ht_tensor_count(images.pixels); i++) sum += pixel[i];
    for (int i = 0; i < BUNDLED; i++) n_ones += label[i] == 1;
    for (int i = 0; i < 10; i++) got[i] = (char)('0' + label[i]);
    assert_string_equal(got, first);
    assert_int_equal(n_ones, ones);
    assert_int_equal(sum, pixel_sum);
    ht_images_free(&images);
}

static void mnist_read_of_the_bundle_has_its_known_content(void **state)
{
    expect_bundled(*state, false, "5041921314", 1127, 262146600);
    expect_bundled(*state, true, "7210414959", 1135, 264923200);
}

static void mnist_read_of_no_folder_says_what_it_looked_for(void **state)
{
    fixture *f = *state;
    ht_images images;
    assert_int_equal(ht_mnist_read(f->ctx, "absent/mnist", true, &images), HT_ERROR_FILE);
    assert_contains(ht_context_message(f->ctx), "absent/mnist");
    assert_contains(ht_context_message(f->ctx), "t10k-images-idx3-ubyte.gz");
    assert_contains(ht_context_message(f->ctx), "./dev data mnist fetches the full set");
    assert_null(images.pixels);
    ht_context_clear(f->ctx);
}

static void expect_set_refused(const fixture *f, const char *part)
{
    ht_images images;
    assert_int_equal(ht_mnist_read(f->ctx, f->folder, false, &images), HT_ERROR_FORMAT);
    assert_contains(ht_context_message(f->ctx), part);
    assert_contains(ht_context_message(f->ctx), "\n  hint: ");
    assert_null(images.pixels);
    assert_null(images.labels);
    ht_context_clear(f->ctx);
}

static void mnist_read_of_files_that_do_not_fit_is_refused(void **state)
{
    fixture *f = *state;
    write_counting(f, "train-images-idx3-ubyte", HT_SHAPE(12, 2, 3), 256);
    write_counting(f, "train-labels-idx1-ubyte.gz", HT_SHAPE(12), 11);
    expect_set_refused(f, "offset 18: row 10: expected a label in 0..9, got 10");
    write_counting(f, "train-labels-idx1-ubyte.gz", HT_SHAPE(11), 10);
    expect_set_refused(f, "images, 12; got 11");
    write_counting(f, "train-labels-idx1-ubyte.gz", HT_SHAPE(12, 1), 10);
    expect_set_refused(f, "expected u8 with 1 axes, got u8 (12, 1)");
}

/* Rows. */

static ht_images counting_images(const fixture *f)
{
    ht_images images;
    write_counting(f, "train-images-idx3-ubyte", HT_SHAPE(12, 2, 3), 256);
    write_counting(f, "train-labels-idx1-ubyte", HT_SHAPE(12), 10);
    assert_int_equal(ht_mnist_read(f->ctx, f->folder, false, &images), HT_OK);
    return images;
}

static void images_rows_in_an_order_are_those_pixels(void **state)
{
    fixture *f = *state;
    ht_images images = counting_images(f);
    const int64_t order[] = {0, 11, 3, 3, 7};
    const ht_dtype dtypes[] = {HT_F32, HT_F64};
    for (int d = 0; d < 2; d++) {
        ht_tensor *x = ht_tensor_new(f->ctx, dtypes[d], HT_SHAPE(3, 6));
        ht_tensor *labels = ht_tensor_new(f->ctx, HT_I32, HT_SHAPE(3));
        for (int ordered = 0; ordered < 2; ordered++) {
            assert_int_equal(
                ht_images_rows(&images, ordered ? order : NULL, 1, 3, x, labels), HT_OK);
            for (int i = 0; i < 3; i++) {
                int64_t row = ordered ? order[1 + i] : 1 + i;
                assert_near(ht_tensor_get(labels, i), row % 10, 0);
                for (int j = 0; j < 6; j++) {
                    double want = (double)(row * 6 + j) / 255;
                    if (d == 0) want = (double)(float)want;
                    assert_near(ht_tensor_get(x, i * 6 + j), want, 0);
                }
            }
        }
        assert_int_equal(ht_images_rows(&images, NULL, 9, 3, x, NULL), HT_OK);
        ht_tensor_free(x);
        ht_tensor_free(labels);
    }
    ht_images_free(&images);
}

static void images_rows_that_do_not_fit_are_refused(void **state)
{
    fixture *f = *state;
    ht_images images = counting_images(f);
    const int64_t order[] = {-1};
    ht_tensor *x = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(3, 6));
    ht_tensor *one = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(1, 6));
    ht_tensor *labels = ht_tensor_new(f->ctx, HT_I32, HT_SHAPE(2));
    assert_int_equal(ht_images_rows(&images, NULL, 10, 3, x, NULL), HT_ERROR_ARGUMENT);
    assert_contains(ht_context_message(f->ctx), "0..11, got 12");
    ht_context_clear(f->ctx);
    assert_int_equal(ht_images_rows(&images, order, 0, 1, one, NULL), HT_ERROR_ARGUMENT);
    assert_contains(ht_context_message(f->ctx), "got -1");
    ht_context_clear(f->ctx);
    assert_int_equal(ht_images_rows(&images, NULL, 0, 2, x, NULL), HT_ERROR_SHAPE);
    assert_contains(ht_context_message(f->ctx), "shape (2, 6), got (3, 6)");
    ht_context_clear(f->ctx);
    assert_int_equal(ht_images_rows(&images, NULL, 0, 3, x, labels), HT_ERROR_SHAPE);
    assert_contains(ht_context_message(f->ctx), "shape (3), got (2)");
    ht_context_clear(f->ctx);
    assert_int_equal(ht_images_rows(&images, NULL, 0, 2, labels, NULL), HT_ERROR_DTYPE);
    assert_contains(ht_context_message(f->ctx), "got i32");
    ht_context_clear(f->ctx);
    ht_tensor_free(x);
    ht_tensor_free(one);
    ht_tensor_free(labels);
    ht_images_free(&images);
}

/* PNG. */

static ht_tensor *picture(ht_context *ctx, ht_shape shape)
{
    ht_tensor *x = ht_tensor_new(ctx, HT_U8, shape);
    if (!x) return NULL;
    uint8_t *pixel = ht_tensor_data(x);
    for (int64_t i = 0; i < ht_tensor_count(x); i++)
        pixel[i] = (uint8_t)ht_random_bits(1, 2, (uint64_t)i);
    return x;
}

static void png_written_and_decoded_is_the_same(void **state)
{
    fixture *f = *state;
    const ht_shape shapes[] = {HT_SHAPE(1, 1), HT_SHAPE(37, 53), HT_SHAPE(53, 37, 3),
                               HT_SHAPE(301, 307, 3)};
    char path[PATH];
    path_in(f, "x.png", path);
    for (int s = 0; s < 4; s++) {
        ht_tensor *x = picture(f->ctx, shapes[s]);
        assert_int_equal(ht_png_write(f->ctx, path, x), HT_OK);
        int width, height, depth;
        unsigned char *got = stbi_load(path, &width, &height, &depth, 0);
        assert_non_null(got);
        assert_int_equal(height, shapes[s].dim[0]);
        assert_int_equal(width, shapes[s].dim[1]);
        assert_int_equal(depth, shapes[s].rank == 3 ? 3 : 1);
        assert_memory_equal(got, ht_tensor_data(x), ht_tensor_bytes(x));
        stbi_image_free(got);
        ht_tensor_free(x);
    }
    assert_int_equal(count_files(f, false), 1);
}

static void expect_png_refused(const fixture *f, const char *name, ht_dtype dtype,
                               ht_shape shape, ht_status status, const char *part)
{
    char path[PATH];
    ht_tensor *x = ht_tensor_new(f->ctx, dtype, shape);
    assert_string_equal(ht_status_name(ht_png_write(f->ctx, path_in(f, name, path), x)),
                        ht_status_name(status));
    assert_contains(ht_context_message(f->ctx), path);
    assert_contains(ht_context_message(f->ctx), part);
    assert_contains(ht_context_message(f->ctx), "\n  hint: ");
    assert_int_equal(count_files(f, false), 0);
    ht_context_clear(f->ctx);
    ht_tensor_free(x);
}

static void png_write_of_what_it_cannot_leaves_nothing(void **state)
{
    fixture *f = *state;
    expect_png_refused(f, "x", HT_F32, HT_SHAPE(2, 2), HT_ERROR_DTYPE, "got f32");
    expect_png_refused(f, "x", HT_U8, HT_SHAPE(2, 2, 4), HT_ERROR_SHAPE, "got (2, 2, 4)");
    expect_png_refused(f, "x", HT_U8, HT_SHAPE(0, 2), HT_ERROR_SHAPE, "got (0, 2)");
    expect_png_refused(f, "x", HT_U8, HT_SHAPE(9), HT_ERROR_SHAPE, "got (9)");
    expect_png_refused(f, "no/x", HT_U8, HT_SHAPE(2, 2), HT_ERROR_FILE, "No such file");
    expect_png_refused(f, ".", HT_U8, HT_SHAPE(2, 2), HT_ERROR_FILE, "Is a directory");
}

/* Memory. */

/* A set in, a picture out. */
static bool read_and_draw(ht_context *ctx, void *user)
{
    const fixture *f = user;
    char path[PATH];
    ht_images images;
    ht_status status = ht_mnist_read(ctx, f->folder, false, &images);
    ht_images_free(&images);
    ht_tensor *x = status ? NULL : picture(ctx, HT_SHAPE(9, 8, 3));
    if (x) status = ht_png_write(ctx, path_in(f, "x.png", path), x);
    bool done = x && status == HT_OK;
    ht_tensor_free(x);
    assert_int_equal(count_files(f, false), done ? 3 : 2);
    return done;
}

static void images_with_nth_allocation_failing_leak_and_leave_nothing(void **state)
{
    fixture *f = *state;
    write_counting(f, "train-images-idx3-ubyte.gz", HT_SHAPE(12, 2, 3), 256);
    write_counting(f, "train-labels-idx1-ubyte", HT_SHAPE(12), 10);
    assert_in_range(fail_each_allocation(read_and_draw, f), 9, 57);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(mnist_read_of_the_bundle_has_its_known_content),
        CASE(mnist_read_of_no_folder_says_what_it_looked_for),
        CASE(mnist_read_of_files_that_do_not_fit_is_refused),
        CASE(images_rows_in_an_order_are_those_pixels),
        CASE(images_rows_that_do_not_fit_are_refused),
        CASE(png_written_and_decoded_is_the_same),
        CASE(png_write_of_what_it_cannot_leaves_nothing),
        CASE(images_with_nth_allocation_failing_leak_and_leave_nothing),
    };
    return TEST_MAIN(tests);
}
