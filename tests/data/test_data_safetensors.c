/* SPDX-License-Identifier: MIT */
/* test_data_safetensors.c: sets there and back as files, every way a file can be wrong,
 * and the same work with allocators that fail. Read next: data/safetensors.c. */
#include "test_safetensors.h"

/* Every dtype, each as 0-d, empty and of odd size, narrow ones first. */
static ht_set *sample(ht_context *ctx)
{
    const ht_dtype dtypes[] = {HT_U8, HT_I32, HT_F32, HT_F64};
    const ht_shape shapes[] = {HT_SCALAR, HT_SHAPE(0, 4), HT_SHAPE(3, 1, 5),
                               HT_SHAPE(1, 2, 1, 2, 1, 3)};
    ht_set *set = ht_set_new(ctx);
    for (int d = 0; set && d < 4; d++)
        for (int s = 0; s < 4; s++) {
            char name[32];
            snprintf(name, sizeof name, "%s.%d", ht_dtype_name(dtypes[d]), s);
            if (ht_set_add(set, name, dtypes[d], shapes[s])) continue;
            ht_set_free(set);
            return NULL;
        }
    if (set) fill(set);
    return set;
}

/* What works. */

static void set_written_and_loaded_is_the_same(void **state)
{
    fixture *f = *state;
    char path[PATH];
    ht_set *set = sample(f->ctx);
    assert_int_equal(ht_set_write(set, path_in(f, "x", path)), HT_OK);
    ht_set *loaded = ht_set_load(f->ctx, path);
    if (!loaded) fail_msg("%s", ht_context_message(f->ctx));
    expect_same(loaded, set);
    for (int i = 0; i < ht_set_count(loaded); i++) {
        ht_tensor *x = ht_set_at(loaded, i);
        memset(ht_tensor_data(x), 0, ht_tensor_bytes(x));
    }
    assert_int_equal(ht_set_read(loaded, path), HT_OK);
    expect_same(loaded, set);
    assert_int_equal(count_files(f, false), 1);
    ht_set_free(set);
    ht_set_free(loaded);
}

static void set_written_empty_is_loaded_empty(void **state)
{
    fixture *f = *state;
    char path[PATH];
    ht_set *set = ht_set_new(f->ctx);
    assert_int_equal(ht_set_write(set, path_in(f, "x", path)), HT_OK);
    ht_set *loaded = ht_set_load(f->ctx, path);
    if (!loaded) fail_msg("%s", ht_context_message(f->ctx));
    assert_int_equal(ht_set_count(loaded), 0);
    assert_int_equal(ht_set_read(loaded, path), HT_OK);
    ht_set_free(set);
    ht_set_free(loaded);
}

static void set_written_with_awkward_names_is_the_same(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {
        "say \"hi\"", "back\\slash",      "a\\u0000b",     "\xce\xb8.\xe2\x88\x82",
        "tab\tend\n", "\xf0\x9f\x8e\x9e", "{\"dtype\":1}", " ",
        "\x01"};
    char path[PATH];
    ht_set *set = ht_set_new(f->ctx);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        ht_set_add(set, names[i], HT_F32, HT_SHAPE((int64_t)i));
    fill(set);
    assert_int_equal(ht_set_write(set, path_in(f, "x", path)), HT_OK);
    ht_set *loaded = ht_set_load(f->ctx, path);
    if (!loaded) fail_msg("%s", ht_context_message(f->ctx));
    expect_same(loaded, set);
    ht_set_free(set);
    ht_set_free(loaded);
}

/* One name for every byte that stands alone, and for the ends of UTF-8's lengths. */
static void set_written_with_every_character_is_the_same(void **state)
{
    fixture *f = *state;
    static const char *const ends[] = {
        "\xc2\x80",     "\xdf\xbf",     "\xe0\xa0\x80",     "\xed\x9f\xbf",
        "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"};
    char path[PATH], name[8];
    ht_set *set = ht_set_new(f->ctx);
    for (int byte = 1; byte < 0x80; byte++) {
        snprintf(name, sizeof name, "a%cb", byte);
        assert_non_null(ht_set_add(set, name, HT_U8, HT_SHAPE(1)));
    }
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        assert_non_null(ht_set_add(set, ends[i], HT_U8, HT_SHAPE(1)));
    fill(set);
    assert_int_equal(ht_set_write(set, path_in(f, "x", path)), HT_OK);
    ht_set *loaded = ht_set_load(f->ctx, path);
    if (!loaded) fail_msg("%s", ht_context_message(f->ctx));
    expect_same(loaded, set);
    ht_set_free(set);
    ht_set_free(loaded);
}

/* Every byte, by hand from the format's description. */
static void set_write_lays_wide_elements_first_from_an_aligned_start(void **state)
{
    fixture *f = *state;
    static const char header[] =
        "{\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[8,11]},"
        "\"d\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]}}";
    char path[PATH], got[256], want[256] = {0};
    ht_set *set = ht_set_new(f->ctx);
    ht_set_add(set, "b", HT_U8, HT_SHAPE(3));
    ht_set_add(set, "d", HT_F64, HT_SCALAR);
    for (int i = 0; i < 3; i++) ht_tensor_set(ht_set_at(set, 0), i, 65 + i);
    ht_tensor_set(ht_set_at(set, 1), 0, 1);
    assert_int_equal(ht_set_write(set, path_in(f, "x", path)), HT_OK);
    ht_set_free(set);

    size_t length = (sizeof header - 1 + 7) / 8 * 8;
    want[0] = (char)length;
    memset(want + 8, ' ', length);
    memcpy(want + 8, header, sizeof header - 1);
    memcpy(want + 8 + length,
           "\0\0\0\0\0\0\xf0\x3f"
           "ABC",
           11);
    assert_int_equal(read_file(path, got, sizeof got), 8 + length + 11);
    assert_memory_equal(got, want, 8 + length + 11);
}

static void set_load_of_metadata_and_any_order_takes_it(void **state)
{
    fixture *f = *state;
    static const char header[] =
        " {\"b\" :{\"shape\":[2], \"data_offsets\":[4,6],\"dtype\":\"U8\"},\n"
        "\"__metadata__\":{\"format\":\"pt\"},"
        "\"\\u0061\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[0,4]}}  ";
    char path[PATH];
    write_file(path_in(f, "x", path), header + 1, sizeof header - 2, 6);
    ht_set *set = ht_set_load(f->ctx, path);
    if (!set) fail_msg("%s", ht_context_message(f->ctx));
    assert_int_equal(ht_set_count(set), 2);
    assert_string_equal(ht_set_name(set, 0), "b");
    assert_string_equal(ht_set_name(set, 1), "a");
    assert_near(ht_tensor_get(ht_set_at(set, 0), 1), 6, 0);
    assert_memory_equal(ht_tensor_data(ht_set_at(set, 1)), "\1\2\3\4", 4);
    ht_set_free(set);
}

/* Files that are wrong in themselves; their headers: test_data_safetensors_header.c. */

static void set_load_of_bad_lengths_allocates_nothing(void **state)
{
    fixture *f = *state;
    char path[PATH];
    path_in(f, "bad", path);
    ht_context_reset_peak(f->ctx);
    FILE *file = fopen(path, "wb");
    fclose(file);
    assert_null(ht_set_load(f->ctx, path));
    expect_error(f, HT_ERROR_FORMAT, path, "offset 0: expected data, got an empty file");
    file = fopen(path, "wb");
    fwrite("1234567", 1, 7, file);
    fclose(file);
    assert_null(ht_set_load(f->ctx, path));
    expect_error(f, HT_ERROR_FORMAT, path, "header length, got a file of 7");
    file = fopen(path, "wb");
    fwrite("\3\0\0\0\0\0\0\0{}", 1, 10, file);
    fclose(file);
    assert_null(ht_set_load(f->ctx, path));
    expect_error(f, HT_ERROR_FORMAT, path, "at most 2 in a file of 10 bytes, got 3");
    file = fopen(path, "wb");
    fwrite("\xff\xff\xff\xff\xff\xff\xff\xff{}", 1, 10, file);
    fclose(file);
    assert_null(ht_set_load(f->ctx, path));
    expect_error(f, HT_ERROR_FORMAT, path, "got 18446744073709551615");
    file = fopen(path, "wb");
    fwrite("\1\xe1\xf5\5\0\0\0\0{}", 1, 10, file); /* 100,000,001 */
    fclose(file);
    assert_int_equal(truncate(path, 100000100), 0);
    assert_null(ht_set_load(f->ctx, path));
    expect_error(f, HT_ERROR_FORMAT, path, "at most 100000000 in a file of 100000100");
    assert_int_equal(ht_context_peak_bytes(f->ctx), f->live);
}

static void set_load_of_no_file_says_so(void **state)
{
    fixture *f = *state;
    char path[PATH];
    assert_null(ht_set_load(f->ctx, path_in(f, "absent", path)));
    expect_error(f, HT_ERROR_FILE, path, "No such file");
    assert_null(ht_set_load(f->ctx, f->folder));
    expect_error(f, HT_ERROR_FILE, f->folder, "expected a regular file");
}

/* Any bit of a small file's front changed, or the file cut anywhere: refused or read,
 * never a crash or a leak. */
static void set_load_of_any_changed_bit_never_crashes(void **state)
{
    fixture *f = *state;
    static const char header[] = "{" TENSOR("a", "U8", "[2,2]", "[8,12]") "," TENSOR(
        "\\u00e9", "F32", "[2]", "[0,8]") "}";
    enum { FILE_BYTES = 8 + sizeof header - 1 + 12 };
    char path[PATH], whole[FILE_BYTES], bytes[FILE_BYTES];
    write_file(path_in(f, "x", path), header, sizeof header - 1, 12);
    assert_int_equal(read_file(path, whole, FILE_BYTES), FILE_BYTES);
    int refusals = 0;
    for (int i = 0; i < 9 * FILE_BYTES; i++) {
        int cut = i < 8 * FILE_BYTES ? FILE_BYTES : i - 8 * FILE_BYTES;
        memcpy(bytes, whole, FILE_BYTES);
        if (cut == FILE_BYTES) bytes[i / 8] = (char)(bytes[i / 8] ^ 1 << i % 8);
        FILE *file = fopen(path, "wb");
        fwrite(bytes, 1, (size_t)cut, file);
        fclose(file);
        ht_set *set = ht_set_load(f->ctx, path);
        refusals += set == NULL;
        assert_int_equal(ht_context_status(f->ctx), set ? HT_OK : HT_ERROR_FORMAT);
        ht_set_free(set);
        ht_context_clear(f->ctx);
        assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
    }
    printf("# %d of %d changed files refused\n", refusals, 9 * FILE_BYTES);
    assert_in_range(refusals, 9 * FILE_BYTES / 2, 9 * FILE_BYTES - 8 * 12);
}

/* Files that are not this set's. */

static void set_read_of_another_set_says_what_differs(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *header;
        ht_status status;
        const char *part;
    } other[] = {
        {"{" TENSOR("wieght", "F32", "[2]", "[0,8]") "," TENSOR("bias", "U8", "[0]",
                                                                "[8,8]") "}",
         HT_ERROR_ARGUMENT, "missing in the file: weight; unknown to the set: wieght\n"},
        {"{" TENSOR("weight", "F32", "[2]", "[0,8]") "}", HT_ERROR_ARGUMENT,
         "missing in the file: bias; unknown to the set: none\n"},
        {"{" TENSOR("weight", "F32", "[1]", "[0,4]") "," TENSOR(
             "bias", "U8", "[0]", "[4,4]") "," TENSOR("extra", "F32", "[1]", "[4,8]") "}",
         HT_ERROR_ARGUMENT, "missing in the file: none; unknown to the set: extra\n"},
        {"{" TENSOR("weight", "F32", "[2,1]", "[0,8]") "," TENSOR("bias", "U8", "[0]",
                                                                  "[8,8]") "}",
         HT_ERROR_SHAPE, "tensor \"weight\": expected f32 (2), got f32 (2, 1)"},
        {"{" TENSOR("weight", "I32", "[2]", "[0,8]") "," TENSOR("bias", "U8", "[0]",
                                                                "[8,8]") "}",
         HT_ERROR_DTYPE, "tensor \"weight\": expected f32 (2), got i32 (2)"},
        {ENTRY("F32", "[2]", "[0,4]"), HT_ERROR_FORMAT, "8 bytes apart"},
    };
    char path[PATH];
    path_in(f, "x", path);
    ht_set *set = ht_set_new(f->ctx);
    ht_set_add(set, "weight", HT_F32, HT_SHAPE(2));
    ht_set_add(set, "bias", HT_U8, HT_SHAPE(0));
    ht_tensor_fill(ht_set_at(set, 0), 1.5);
    size_t live = ht_context_live_bytes(f->ctx);
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        write_file(path, other[i].header, strlen(other[i].header), 8);
        assert_int_equal(ht_set_read(set, path), other[i].status);
        expect_error(f, other[i].status, path, other[i].part);
        assert_near(ht_tensor_get(ht_set_at(set, 0), 0), 1.5, 0);
        assert_near(ht_tensor_get(ht_set_at(set, 0), 1), 1.5, 0);
        assert_int_equal(ht_context_live_bytes(f->ctx), live);
    }
    ht_set_free(set);
}

/* What cannot be written. */

static void set_write_of_bad_names_leaves_nothing(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"__metadata__",
                                        "\xff",
                                        "\xc3",
                                        "\xe2\x28\xa1",
                                        "\xc0\x80",
                                        "a\x80",
                                        "\xe0\x9f\xbf",
                                        "\xed\xa0\x80",
                                        "\xed\xbf\xbf",
                                        "\xf0\x8f\xbf\xbf",
                                        "\xf4\x90\x80\x80",
                                        "\xf5\x80\x80\x80",
                                        "\xf8\x88\x80\x80\x80"};
    char path[PATH];
    path_in(f, "x", path);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ht_set *set = ht_set_new(f->ctx);
        ht_set_add(set, names[i], HT_F32, HT_SCALAR);
        assert_int_equal(ht_set_write(set, path), HT_ERROR_ARGUMENT);
        expect_error(f, HT_ERROR_ARGUMENT, path, "expected a name in UTF-8");
        assert_int_equal(count_files(f, false), 0);
        ht_set_free(set);
    }
}

static void set_write_where_it_cannot_leaves_nothing(void **state)
{
    fixture *f = *state;
    char path[PATH];
    ht_set *set = sample(f->ctx);
    assert_int_equal(ht_set_write(set, path_in(f, "absent/x", path)), HT_ERROR_FILE);
    expect_error(f, HT_ERROR_FILE, path, "No such file");
    assert_int_equal(ht_set_write(set, f->folder), HT_ERROR_FILE);
    expect_error(f, HT_ERROR_FILE, f->folder, "Is a directory");
    assert_int_equal(count_files(f, false), 0);
    ht_set_free(set);
}

/* Memory. */

/* Writes to one path, reads and loads from another. False after an error. */
static bool write_read_load(ht_context *ctx, void *user)
{
    const fixture *f = user;
    char to[PATH], from[PATH];
    path_in(f, "to", to);
    path_in(f, "from", from);
    ht_set *set = sample(ctx), *loaded = NULL;
    if (!set) return false;
    ht_tensor *last = ht_set_at(set, ht_set_count(set) - 1);
    ht_tensor_fill(last, 9);
    bool done = !ht_set_write(set, to) && !ht_set_read(set, from);
    assert_near(ht_tensor_get(last, 0) == 9, !done, 0);
    if (done) loaded = ht_set_load(ctx, from);
    ht_set_free(set);
    ht_set_free(loaded);
    assert_int_equal(count_files(f, false), access(to, F_OK) == 0 ? 2 : 1);
    remove(to);
    return loaded != NULL;
}

static void write_sample(const fixture *f, const char *path)
{
    ht_set *set = sample(f->ctx);
    assert_int_equal(ht_set_write(set, path), HT_OK);
    ht_set_free(set);
}

static void safetensors_with_nth_allocation_failing_leaves_nothing(void **state)
{
    fixture *f = *state;
    char from[PATH];
    write_sample(f, path_in(f, "from", from));
    assert_in_range(fail_each_allocation(write_read_load, f), 57, 297);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(set_written_and_loaded_is_the_same),
        CASE(set_written_empty_is_loaded_empty),
        CASE(set_written_with_awkward_names_is_the_same),
        CASE(set_written_with_every_character_is_the_same),
        CASE(set_write_lays_wide_elements_first_from_an_aligned_start),
        CASE(set_load_of_metadata_and_any_order_takes_it),
        CASE(set_load_of_bad_lengths_allocates_nothing),
        CASE(set_load_of_no_file_says_so),
        CASE(set_load_of_any_changed_bit_never_crashes),
        CASE(set_read_of_another_set_says_what_differs),
        CASE(set_write_of_bad_names_leaves_nothing),
        CASE(set_write_where_it_cannot_leaves_nothing),
        CASE(safetensors_with_nth_allocation_failing_leaves_nothing),
    };
    return TEST_MAIN(tests);
}
