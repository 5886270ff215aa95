/* SPDX-License-Identifier: MIT */
/* test_data_template.c: the template of a reader, and what every reader is tested for, to
 * copy: what was written is read, every file that ends early is refused, no changed bit
 * does harm, and each allocation fails once. Read next: data/template_reader.c. */
#include "test_data.h"

#include "template_reader.c"

/* Of a reader's own: a file, its header's bytes, and what comes of it. */
enum { HEADER = 8 };
static const unsigned char whole[] = {'C', 'N', 'T', '1', 3, 0, 0, 0, 7, 8, 9};

static const char *write_file(const fixture *f, const void *bytes, size_t n,
                              char path[PATH])
{
    FILE *file = fopen(path_in(f, "x", path), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
    return path;
}

static void expect_refusal(const fixture *f, const void *bytes, size_t n,
                           const char *part)
{
    char path[PATH];
    assert_null(counted_read(f->ctx, write_file(f, bytes, n, path)));
    assert_int_equal(ht_context_status(f->ctx), HT_ERROR_FORMAT);
    assert_contains(ht_context_message(f->ctx), path);
    assert_contains(ht_context_message(f->ctx), part);
    assert_contains(ht_context_message(f->ctx), "\n  hint: ");
    assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
    ht_context_clear(f->ctx);
}

static void reader_template_reads_what_was_written(void **state)
{
    fixture *f = *state;
    char path[PATH];
    ht_tensor *x = counted_read(f->ctx, write_file(f, whole, sizeof whole, path));
    if (!x) fail_msg("%s", ht_context_message(f->ctx));
    assert_true(ht_shape_equal(ht_tensor_shape(x), HT_SHAPE(3)));
    assert_memory_equal(ht_tensor_data(x), whole + HEADER, sizeof whole - HEADER);
    ht_tensor_free(x);
}

static void reader_template_refuses_every_other_length(void **state)
{
    fixture *f = *state;
    unsigned char longer[sizeof whole + 1] = {0}, other[sizeof whole];
    memcpy(longer, whole, sizeof whole);
    for (size_t n = 0; n < sizeof whole; n++) expect_refusal(f, whole, n, "offset ");
    expect_refusal(f, longer, sizeof longer, "expected the end of the file");
    memcpy(other, whole, sizeof whole);
    other[0] = 'X';
    expect_refusal(f, other, sizeof other, "expected the magic CNT1, got 58 4e 54 31");
}

static void reader_template_takes_no_harm_from_a_changed_bit(void **state)
{
    fixture *f = *state;
    char path[PATH];
    unsigned char bytes[sizeof whole];
    int refused = 0;
    for (size_t bit = 0; bit < 8 * sizeof whole; bit++) {
        memcpy(bytes, whole, sizeof whole);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        ht_tensor *x = counted_read(f->ctx, write_file(f, bytes, sizeof bytes, path));
        refused += !x;
        ht_tensor_free(x);
        ht_context_clear(f->ctx);
        assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
    }
    assert_int_equal(refused, 8 * HEADER); /* here each bit of a header matters */
}

static bool read_whole(ht_context *ctx, void *path)
{
    ht_tensor *x = counted_read(ctx, path);
    ht_tensor_free(x);
    return x != NULL;
}

static void reader_template_keeps_an_error_of_each_allocation(void **state)
{
    fixture *f = *state;
    char path[PATH];
    write_file(f, whole, sizeof whole, path);
    assert_int_not_equal(fail_each_allocation(read_whole, path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(reader_template_reads_what_was_written),
        CASE(reader_template_refuses_every_other_length),
        CASE(reader_template_takes_no_harm_from_a_changed_bit),
        CASE(reader_template_keeps_an_error_of_each_allocation),
    };
    return TEST_MAIN(tests);
}
