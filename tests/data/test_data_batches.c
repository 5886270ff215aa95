/* SPDX-License-Identifier: MIT */
/* test_data_batches.c: CIFAR's binary batches, written here by their description, and
 * files as they are. Read next: data/cifar_batches.c. */
#include "test_data.h"

#include <sys/stat.h>

enum { PIXELS = 3072, MOST = 12 * (PIXELS + 2) };

/* n records: labels 7 k, 7 k + 1, ... below `classes`; after a coarse one if there are
 * two; pixels by place. */
static size_t make_batch(unsigned char *bytes, int n, int labels, int classes, int first)
{
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        if (labels == 2) bytes[at++] = (unsigned char)(i % 20);
        bytes[at++] = (unsigned char)((7 * (first + i)) % classes);
        for (int p = 0; p < PIXELS; p++)
            bytes[at++] = (unsigned char)(3 * p + p / 1024 + 5 * (first + i));
    }
    return at;
}

static void put_bytes(const fixture *f, const char *name, const void *bytes, size_t n)
{
    char path[PATH];
    FILE *file = fopen(path_in(f, name, path), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

static void put_batch(const fixture *f, const char *name, int n, int first)
{
    static unsigned char bytes[MOST];
    bool hundred = name[0] == 't' && !strstr(name, "batch");
    put_bytes(f, name, bytes,
              make_batch(bytes, n, hundred ? 2 : 1, hundred ? 100 : 10, first));
}

static void expect_images(const fixture *f, bool test, int classes, int n)
{
    ht_images set;
    if (ht_cifar_read(f->ctx, f->folder, test, &set))
        fail_msg("%s", ht_context_message(f->ctx));
    assert_int_equal(set.classes, classes);
    assert_true(ht_shape_equal(ht_tensor_shape(set.pixels), HT_SHAPE(n, 3, 32, 32)));
    const uint8_t *pixel = ht_tensor_data(set.pixels);
    for (int i = 0; i < n; i++) {
        assert_true(ht_tensor_get(set.labels, i) == 7 * i % classes);
        for (int p = 0; p < PIXELS; p++)
            assert_int_equal(*pixel++, (3 * p + p / 1024 + 5 * i) & 255);
    }
    ht_images_free(&set);
}

static void cifar_read_of_batches_is_what_they_hold(void **state)
{
    fixture *f = *state;
    put_batch(f, "data_batch_1.bin", 3, 0);
    put_batch(f, "data_batch_2.bin", 4, 3);
    put_batch(f, "data_batch_3.bin", 5, 7);
    put_batch(f, "data_batch_5.bin", 1, 0); /* behind a gap */
    put_batch(f, "test_batch.bin", 6, 0);
    expect_images(f, false, 10, 12);
    expect_images(f, true, 10, 6);
    count_files(f, true);
    put_batch(f, "train.bin", 12, 0);
    put_batch(f, "test.bin", 2, 0);
    expect_images(f, false, 100, 12);
    expect_images(f, true, 100, 2);
}

static void expect_refusal(const fixture *f, ht_status status, const char *message)
{
    ht_images set = {.classes = 3};
    ht_status got = ht_cifar_read(f->ctx, f->folder, false, &set);
    assert_images_refused(f, got, &set, status, message);
}

static void cifar_read_of_other_batches_is_refused(void **state)
{
    fixture *f = *state;
    static unsigned char bytes[MOST];
    char want[128];
    size_t n = make_batch(bytes, 2, 1, 10, 0);
    expect_refusal(f, HT_ERROR_FILE,
                   "expected a folder with train_lables.json, data_batch_1.bin or "
                   "train.bin, got one without");
    for (size_t cut = 1; cut < n; cut += 97) { /* 3,073 is not among them */
        put_bytes(f, "data_batch_1.bin", bytes, cut);
        snprintf(
            want, sizeof want,
            "data_batch_1.bin: offset %zu: expected records of 3073 bytes, got %zu at",
            cut / 3073 * 3073, cut % 3073);
        expect_refusal(f, HT_ERROR_FORMAT, want);
    }
    for (int label = 10; label < 256; label += 35) {
        bytes[3073] = (unsigned char)label;
        put_bytes(f, "data_batch_1.bin", bytes, n);
        snprintf(want, sizeof want,
                 "offset 3073: row 1: expected a label in 0..9, got %d\n", label);
        expect_refusal(f, HT_ERROR_FORMAT, want);
    }
    put_batch(f, "data_batch_1.bin", 2, 0);
    put_bytes(f, "data_batch_2.bin", "", 0);
    expect_refusal(f, HT_ERROR_FORMAT,
                   "data_batch_2.bin: offset 0: expected data, got an");
    put_bytes(f, "data_batch_2.bin", "x", 1);
    expect_refusal(f, HT_ERROR_FORMAT, "data_batch_2.bin: offset 0: expected records of");
    count_files(f, true);
    n = make_batch(bytes, 2, 2, 100, 0);
    for (int label = 100; label < 256; label += 31) {
        bytes[3074 + 1] = (unsigned char)label;
        put_bytes(f, "train.bin", bytes, n);
        snprintf(want, sizeof want,
                 "train.bin: offset 3075: row 1: expected a label in 0..99, got %d\n",
                 label);
        expect_refusal(f, HT_ERROR_FORMAT, want);
    }
    put_bytes(f, "train.bin", bytes, 3073);
    expect_refusal(f, HT_ERROR_FORMAT,
                   "offset 0: expected records of 3074 bytes, got 3073");
}

static bool read_set(ht_context *ctx, void *folder)
{
    ht_images set;
    bool done = !ht_cifar_read(ctx, folder, false, &set);
    ht_images_free(&set);
    return done;
}

static void cifar_read_of_batches_keeps_an_error_of_each_allocation(void **state)
{
    fixture *f = *state;
    put_batch(f, "data_batch_1.bin", 2, 0);
    assert_in_range(fail_each_allocation(read_set, f->folder), 2, 100);
}

static void bytes_read_is_the_file(void **state)
{
    fixture *f = *state;
    char path[PATH];
    unsigned char all[256];
    for (int i = 0; i < 256; i++) all[i] = (unsigned char)(255 - i);
    for (size_t n = 1; n <= 256; n *= 2) {
        put_bytes(f, "x", all, n);
        ht_tensor *x = ht_bytes_read(f->ctx, path_in(f, "x", path));
        if (!x) fail_msg("%s", ht_context_message(f->ctx));
        assert_int_equal(ht_tensor_dtype(x), HT_U8);
        assert_true(ht_shape_equal(ht_tensor_shape(x), HT_SHAPE((int64_t)n)));
        assert_memory_equal(ht_tensor_data(x), all, n);
        ht_tensor *y = ht_tensor_new(f->ctx, HT_I32, ht_tensor_shape(x));
        assert_int_equal(ht_tensor_copy(y, x), HT_OK);
        assert_true(ht_tensor_get(y, 0) == 255);
        ht_tensor_free(x);
        ht_tensor_free(y);
    }
}

static void expect_no_bytes(const fixture *f, const char *path, ht_status status,
                            const char *words)
{
    assert_null(ht_bytes_read(f->ctx, path));
    assert_string_equal(ht_status_name(ht_context_status(f->ctx)),
                        ht_status_name(status));
    assert_contains(ht_context_message(f->ctx), path);
    assert_contains(ht_context_message(f->ctx), words);
    assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
    ht_context_clear(f->ctx);
}

/* Any bytes are text: wrong is what cannot be read. */
static void bytes_read_of_what_is_no_file_is_refused(void **state)
{
    fixture *f = *state;
    static const char kind[] =
        "expected a regular file, got a folder, a pipe or a device";
    char path[PATH], target[PATH];
    put_bytes(f, "empty", "", 0);
    expect_no_bytes(f, path_in(f, "empty", path), HT_ERROR_FORMAT,
                    "offset 0: expected data, got an empty file\n  hint: ");
    expect_no_bytes(f, path_in(f, "none", path), HT_ERROR_FILE, "No such file");
    expect_no_bytes(f, path_in(f, "empty/x", path), HT_ERROR_FILE, "Not a directory");
    expect_no_bytes(f, f->folder, HT_ERROR_FILE, kind);
    expect_no_bytes(f, "/dev/null", HT_ERROR_FILE, kind);
    expect_no_bytes(f, "/dev/zero", HT_ERROR_FILE, kind);
    assert_int_equal(mkfifo(path_in(f, "pipe", path), 0600), 0);
    expect_no_bytes(f, path, HT_ERROR_FILE, kind);
    assert_int_equal(symlink("loop", path_in(f, "loop", path)), 0);
    expect_no_bytes(f, path, HT_ERROR_FILE, "symbolic links");
    assert_int_equal(symlink("nowhere", path_in(f, "dangling", path)), 0);
    expect_no_bytes(f, path, HT_ERROR_FILE, "No such file");
    put_bytes(f, "secret", "x", 1);
    chmod(path_in(f, "secret", path), 0);
    if (access(path, R_OK) != 0) /* the superuser reads everything */
        expect_no_bytes(f, path, HT_ERROR_FILE, "Permission denied");
    /* Larger than the context may be, without a byte on the disk. */
    put_bytes(f, "sparse", "x", 1);
    assert_int_equal(truncate(path_in(f, "sparse", target), (off_t)1 << 40), 0);
    ht_context *ctx = ht_context_new(&(ht_context_options){.byte_limit = 1 << 20});
    assert_null(ht_bytes_read(ctx, target));
    assert_int_equal(ht_context_status(ctx), HT_ERROR_MEMORY);
    assert_in_range(ht_context_peak_bytes(ctx), 1, 1 << 20);
    ht_context_clear(ctx);
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(cifar_read_of_batches_is_what_they_hold),
        CASE(cifar_read_of_other_batches_is_refused),
        CASE(cifar_read_of_batches_keeps_an_error_of_each_allocation),
        CASE(bytes_read_is_the_file),
        CASE(bytes_read_of_what_is_no_file_is_refused),
    };
    return TEST_MAIN(tests);
}
