/* SPDX-License-Identifier: MIT */
/* test_data_npy.c: arrays and archives of numpy: what numpy wrote is read as by numpy and
 * written again to the byte, and what must be refused. Read next: data/npy.c, npz.c. */
#include "test_data.h"

#include <zlib.h>

#include "reference.h"

enum { MOST = 1 << 14 };

static size_t put_bytes(const fixture *f, const char *name, const void *bytes, size_t n,
                        char path[PATH])
{
    FILE *file = fopen(path_in(f, name, path), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
    return n;
}

static size_t get_bytes(const char *path, unsigned char bytes[MOST])
{
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("no file %s", path);
    size_t n = fread(bytes, 1, MOST, file);
    fclose(file);
    return n;
}

static const char *reference_path(const char *name, char path[PATH])
{
    snprintf(path, PATH, "%s/tests/reference/files/%s", getenv("HYPERTAPE_SOURCE"), name);
    return path;
}

/* Against the rest of a line of npy.txt. */
static void expect_as_numpy(reference *r, const ht_tensor *x)
{
    double axes[HT_MAX_RANK];
    char text[HT_SHAPE_TEXT];
    assert_string_equal(ht_dtype_name(ht_tensor_dtype(x)), reference_word(r));
    ht_shape want = {.rank = reference_numbers(r, "shape", HT_MAX_RANK, axes)};
    for (int i = 0; i < want.rank; i++) want.dim[i] = (int64_t)axes[i];
    if (!ht_shape_equal(ht_tensor_shape(x), want))
        fail_msg("%s:%d: got the shape %s", r->name, r->row,
                 ht_shape_text(ht_tensor_shape(x), text));
    unsigned long sum = crc32(0, (const unsigned char *)"", 0);
    if (ht_tensor_bytes(x) > 0)
        sum = crc32(sum, ht_tensor_data(x), (unsigned)ht_tensor_bytes(x));
    if (sum != (unsigned long)reference_number(r))
        fail_msg("%s:%d: got other elements", r->name, r->row);
}

static void npy_read_of_what_numpy_wrote_is_as_by_numpy(void **state)
{
    fixture *f = *state;
    reference r;
    char path[PATH], before[64] = "";
    ht_set *set = NULL;
    int files = 0, arrays = 0;
    reference_open(&r, "npy.txt");
    for (; reference_next(&r); arrays++) {
        const char *file = reference_word(&r);
        bool archive = strstr(file, ".npz") != NULL, same = strcmp(file, before) == 0;
        reference_path(file, path);
        snprintf(before, sizeof before, "%s", file);
        files += !same;
        if (archive && !same) {
            ht_set_free(set);
            set = ht_npz_read(f->ctx, path);
            if (!set) fail_msg("%s", ht_context_message(f->ctx));
        }
        const char *name = reference_word(&r);
        ht_tensor *x = archive ? ht_set_tensor(set, name) : ht_npy_read(f->ctx, path);
        if (!x) fail_msg("%s", ht_context_message(f->ctx));
        expect_as_numpy(&r, x);
        if (!archive) ht_tensor_free(x);
    }
    ht_set_free(set);
    assert_int_equal(files, 11);
    assert_int_equal(arrays, 41);
}

static void npy_write_gives_the_bytes_of_numpy(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"f4.npy", "f8.npy",     "i4.npy",
                                        "u1.npy", "scalar.npy", "empty.npy"};
    static unsigned char want[MOST], got[MOST];
    char path[PATH];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ht_tensor *x = ht_npy_read(f->ctx, reference_path(names[i], path));
        size_t n = get_bytes(path, want);
        assert_int_equal(ht_npy_write(x, path_in(f, names[i], path)), HT_OK);
        assert_int_equal(get_bytes(path, got), n);
        assert_memory_equal(got, want, n);
        ht_tensor_free(x);
    }
}

static void npz_write_is_read_back_the_same(void **state)
{
    fixture *f = *state;
    char path[PATH], command[2 * PATH];
    ht_set *x = ht_npz_read(f->ctx, reference_path("types.npz", path));
    assert_int_equal(ht_npz_write(x, path_in(f, "y.npz", path)), HT_OK);
    ht_set *y = ht_npz_read(f->ctx, path);
    if (!y) fail_msg("%s", ht_context_message(f->ctx));
    assert_int_equal(ht_set_count(y), ht_set_count(x));
    for (int i = 0; i < ht_set_count(x); i++) {
        const ht_tensor *a = ht_set_at(x, i), *b = ht_set_at(y, i);
        assert_string_equal(ht_set_name(y, i), ht_set_name(x, i));
        assert_int_equal(ht_tensor_dtype(b), ht_tensor_dtype(a));
        assert_true(ht_shape_equal(ht_tensor_shape(b), ht_tensor_shape(a)));
        if (ht_tensor_bytes(a) > 0)
            assert_memory_equal(ht_tensor_data(b), ht_tensor_data(a), ht_tensor_bytes(a));
    }
    /* Another reader of zips, and what it holds against each member. */
    snprintf(command, sizeof command, "python3 -m zipfile -t %s >/dev/null", path);
    assert_int_equal(system(command), 0);
    ht_set_free(x);
    ht_set_free(y);
    x = ht_set_new(f->ctx);
    assert_int_equal(ht_npz_write(x, path), HT_OK);
    y = ht_npz_read(f->ctx, path);
    assert_int_equal(ht_set_count(y), 0);
    ht_set_free(y);
    ht_set_add(x, "\xff", HT_F32, HT_SCALAR);
    assert_int_equal(ht_npz_write(x, path), HT_ERROR_ARGUMENT);
    assert_contains(ht_context_message(f->ctx), "expected a name in UTF-8");
    ht_context_clear(f->ctx);
    ht_set_free(x);
}

/* Refusals. */

static void expect_message(const fixture *f, const char *path, const char *message)
{
    assert_string_equal(ht_status_name(ht_context_status(f->ctx)), "HT_ERROR_FORMAT");
    assert_contains(ht_context_message(f->ctx), path);
    assert_contains(ht_context_message(f->ctx), message);
    assert_contains(ht_context_message(f->ctx), "\n  hint: ");
    assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
    ht_context_clear(f->ctx);
}

static void expect_npy(const fixture *f, const void *bytes, size_t n, const char *message)
{
    char path[PATH];
    put_bytes(f, "x.npy", bytes, n, path);
    ht_context_reset_peak(f->ctx);
    assert_null(ht_npy_read(f->ctx, path));
    assert_in_range(ht_context_peak_bytes(f->ctx), f->live, f->live + 200000);
    expect_message(f, path, message);
}

static void expect_npz(const fixture *f, const void *bytes, size_t n, const char *message)
{
    char path[PATH];
    put_bytes(f, "x.npz", bytes, n, path);
    assert_null(ht_npz_read(f->ctx, path));
    expect_message(f, path, message);
}

/* A file of that header and `n` bytes of data. */
static size_t make_npy(const char *header, size_t n, unsigned char bytes[MOST])
{
    size_t length = strlen(header);
    memset(bytes, 0x40, MOST);
    memcpy(bytes, "\x93NUMPY\1", 8);
    bytes[8] = (unsigned char)(length & 255);
    bytes[9] = (unsigned char)(length >> 8);
    memcpy(bytes + 10, header, length);
    return 10 + length + n;
}

#define HEADER(descr, order, shape) \
    "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }\n"
#define TYPES "offset 20: expected a type of f4, f8, f2, i1 to i8, u1 to u8 or b1, got "
#define KEYS  "expected 'descr', 'fortran_order' and 'shape', each once, got "

static void npy_read_of_other_headers_is_refused(void **state)
{
    fixture *f = *state;
    static unsigned char bytes[MOST];
    static const struct {
        const char *header;
        size_t n;
        const char *message;
    } files[] = {
        {HEADER("'|O'", "False", "(2,)"), 8, TYPES},
        {HEADER("'<U3'", "False", "(2,)"), 8, TYPES},
        {HEADER("'|S3'", "False", "(2,)"), 8, TYPES},
        {HEADER("'<c8'", "False", "(2,)"), 8, TYPES},
        {HEADER("'<M8[ns]'", "False", "(2,)"), 8, TYPES},
        {HEADER("'<f16'", "False", "(2,)"), 8, TYPES},
        {HEADER("'f4'", "False", "(2,)"), 8, TYPES},
        {HEADER("''", "False", "(2,)"), 8, TYPES},
        {HEADER("[('a', '<f4')]", "False", "(2,)"), 8, TYPES},
        {HEADER("'<f4", "False", "(2,)"), 8, TYPES},
        {HEADER("'<f4'", "false", "(2,)"), 8, "offset 44: expected True or False, got "},
        {HEADER("'<f4'", "1", "(2,)"), 8, "expected True or False, got 1, 'sha"},
        {HEADER("'<f4'", "False", "[2]"), 8, "offset 60: expected a shape, got "},
        {HEADER("'<f4'", "False", "(2)"), 8, "expected a comma: (3,), got "},
        {HEADER("'<f4'", "False", "(-2,)"), 8,
         "expected an axis of 1 to 18 digits, got "},
        {HEADER("'<f4'", "False", "(2.0,)"), 8, "expected a comma, got "},
        {HEADER("'<f4'", "False", "(2 3)"), 8, "expected a comma, got "},
        {HEADER("'<f4'", "False", "(1,1,1,1,1,1,1)"), 4, "expected at most 6 axes, got "},
        {HEADER("'<f4'", "False", "(9999999999999999999,)"), 8, "1 to 18 digits"},
        {HEADER("'<f4'", "False", "(999999999999999999, 999999999999999999)"), 8,
         "the header promises f64 (999999999999999999, 999999999999999999), too many"},
        {HEADER("'<f2'", "False", "(99999999999999,)"), 8,
         "the header promises u8 (199999999999998), 199999999999998 bytes; a file of"},
        {HEADER("'<f4'", "False", "(3,)"), 8,
         "the header promises f32 (3), 12 bytes; a "},
        {HEADER("'<f4'", "False", "(3,)"), 13,
         "expected the end of the file, got trailing bytes, the first of them 0x40"},
        {HEADER("'<i8'", "False", "(1,)"), 8,
         "expected whole numbers that i32 holds, got 4.629771061636907e+18 as element 0"},
        {"{'descr': '<f4', 'shape': (2,), }\n", 8,
         "expected 'descr', 'fortran_order' and 'shape' before, got its end"},
        {"{'descr': '<f4', 'descr': '<f4'}\n", 8, KEYS},
        {"{'descr': '<f4', 'other': 1}\n", 8, KEYS},
        {"{'descr': '<f4' 'shape': (2,)}\n", 8, "expected a comma or the closing brace"},
        {"{'descr' '<f4'}\n", 8, "expected a colon, got "},
        {"['descr']\n", 8, "offset 10: expected a dictionary, got "},
        {"\n", 8, "offset 11: expected a dictionary, got its end"},
        {HEADER("'<f4'", "False", "(2,)") "x", 8,
         "expected spaces to the header's end, got x"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t n = make_npy(files[i].header, files[i].n, bytes);
        expect_npy(f, bytes, n, files[i].message);
    }
    size_t n = make_npy(HEADER("'<f4'", "False", "(2,)"), 8, bytes);
    bytes[20] = 0;
    expect_npy(f, bytes, n, "offset 20: expected text without zero bytes, got its end");
    memcpy(bytes, "\x93NUMPY\4", 8);
    expect_npy(f, bytes, n, "offset 6: expected a version 1.0, 2.0 or 3.0, got 4.0");
    memcpy(bytes, "\x93NUMPY\2\0\xff\xff\xff\xff", 12);
    expect_npy(f, bytes, n,
               "offset 8: expected a header of less than 65536 bytes, got 4294967295");
    memcpy(bytes, "PK\3\4", 4);
    expect_npy(f, bytes, n,
               "hint: what numpy.save writes is wanted here; this is an .npz");
    memcpy(bytes, "GIF89a", 6);
    expect_npy(f, bytes, n,
               "expected numpy's magic 93 4e 55 4d 50 59, got 47 49 46 38 39 61");
}

/* Archives. */

static uint32_t get_number(const unsigned char *b)
{
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static void npz_read_of_other_archives_is_refused(void **state)
{
    fixture *f = *state;
    static unsigned char whole[MOST], bytes[MOST];
    enum { LOCAL, CENTRAL, END }; /* where an offset is counted from */
    static const struct {
        int from, at;
        unsigned char byte;
        const char *message;
    } changes[] = {
        {END, 0, 'X', "expected the end of a zip archive, got none"},
        {END, 20, 1, "expected the end of a zip archive, got none"},
        {END, 4, 1, "expected an archive of one part, got a part of several"},
        {END, 6, 1, "expected an archive of one part, got a part of several"},
        {END, 8, 1, "expected an archive of one part, got a part of several"},
        {END, 12, 0, "expected a directory that ends here, got another place"},
        {END, 16, 1, "expected a directory that ends here, got another place"},
        {END, 19, 1, "expected a directory that ends here, got another place"},
        {CENTRAL, 0, 'X', "expected an entry of the directory, got other bytes"},
        {CENTRAL, 8, 1, "expected a member stored or deflated, got compression 0, encr"},
        {CENTRAL, 10, 12, "expected a member stored or deflated, got compression 12"},
        {CENTRAL, 10, 8, "expected as many bytes as the directory says, got "},
        {CENTRAL, 16, 0, "expected the checksum of the member's bytes, got another"},
        {CENTRAL, 23, 1, "expected members beside each other, got some that overlap"},
        {CENTRAL, 27, 1, "expected as many bytes as deflate can make, got 16777"},
        {CENTRAL, 24, 1, "expected the checksum of the member's bytes, got another"},
        {CENTRAL, 28, 255, "expected an entry of the directory, got one that is damaged"},
        {CENTRAL, 31, 255, "expected an entry of the directory, got one that is damaged"},
        {CENTRAL, 33, 255, "expected an entry of the directory, got one that is damaged"},
        {CENTRAL, 28, 0, "expected members that are .npy, got "},
        {CENTRAL, 28, 4, "expected members that are .npy, got litt"},
        {CENTRAL, 48, 0, "expected an entry of the directory, got one that is damaged"},
        {CENTRAL, 30, 1, "expected an entry of the directory, got other bytes"},
        {CENTRAL, 42, 1, "expected a member of the archive, got other bytes"},
        {CENTRAL, 45, 1, "expected a part of the archive, got a file of "},
        {CENTRAL, 56, 'X', "expected members that are .npy, got little f4.Xpy"},
        {LOCAL, 0, 'X', "expected a member of the archive, got other bytes"},
        {LOCAL, 26, 255, "expected the checksum of the member's bytes, got another"},
        {LOCAL, 27, 255, "expected a part of the archive, got a file of "},
        {LOCAL, 29, 255, "expected a part of the archive, got a file of "},
        {LOCAL, 100, 'X', "expected the checksum of the member's bytes, got another"},
    };
    char path[PATH];
    size_t n = get_bytes(reference_path("stored.npz", path), whole), end = n - 22;
    size_t from[] = {0, get_number(whole + end + 16), end};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        memcpy(bytes, whole, n);
        bytes[from[changes[i].from] + (size_t)changes[i].at] = changes[i].byte;
        expect_npz(f, bytes, n, changes[i].message);
    }
    memcpy(bytes, whole, n);
    memset(bytes + end + 8, 0xff, 4);
    expect_npz(f, bytes, n,
               "expected an archive below 4 GiB and 65,535 arrays, got zip64");
    memcpy(bytes, whole, n);
    memset(bytes + from[CENTRAL] + 20, 0xff, 8);
    expect_npz(f, bytes, n, "expected a member below 4 GiB, got zip64");
    memcpy(bytes, whole, n);
    bytes[end + 8] = bytes[end + 10] = 2;
    expect_npz(f, bytes, n, "expected the end of the directory, got more");
    bytes[end + 8] = bytes[end + 10] = 4;
    expect_npz(f, bytes, n, "expected an entry of the directory, got other bytes");
    for (size_t cut = 1; cut < n; cut++)
        expect_npz(f, whole, cut, "expected the end of a zip archive, got none");
}

/* A member's message has its name, and the array's own. */
static void npz_read_of_a_bad_array_says_which(void **state)
{
    fixture *f = *state;
    static unsigned char bytes[MOST];
    char path[PATH];
    size_t n = get_bytes(reference_path("stored.npz", path), bytes), end = n - 22;
    size_t central = get_number(bytes + end + 16),
           name = (size_t)(bytes[26] | bytes[27] << 8);
    size_t data = 30 + name + (size_t)bytes[28], size = get_number(bytes + central + 24);
    bytes[data + 6] = 9;
    uint32_t sum = (uint32_t)crc32(0, bytes + data, (unsigned)size);
    for (int i = 0; i < 4; i++)
        bytes[central + 16 + (size_t)i] = (unsigned char)(sum >> 8 * i);
    expect_npz(f, bytes, n,
               "x.npz: little f4.npy: offset 6: expected a version 1.0, 2.0");
}

/* Every length of a file but the right one, and every bit of two that was changed. */
static void npy_read_of_every_other_length_is_refused(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"i4.npy", "fortran.npy", "long.npy"};
    static unsigned char bytes[MOST];
    char path[PATH];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = get_bytes(reference_path(names[i], path), bytes);
        for (size_t cut = 1; cut < n; cut++) expect_npy(f, bytes, cut, "offset ");
        bytes[n] = 0;
        expect_npy(f, bytes, n + 1, "expected the end of the file, got trailing bytes");
    }
}

static void reader_takes_no_harm_from_a_changed_bit(void **state)
{
    fixture *f = *state;
    static unsigned char bytes[MOST];
    char path[PATH];
    for (int archive = 0; archive < 2; archive++) {
        const char *name = archive ? "stored.npz" : "long.npy";
        size_t n = get_bytes(reference_path(name, path), bytes);
        int read = 0;
        for (size_t bit = 0; bit < 8 * n; bit += 1 + (size_t)archive * 4) {
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
            put_bytes(f, "x", bytes, n, path);
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
            ht_tensor *x = archive ? NULL : ht_npy_read(f->ctx, path);
            ht_set *set = archive ? ht_npz_read(f->ctx, path) : NULL;
            read += x || set;
            if (!x && !set) assert_contains(ht_context_message(f->ctx), "\n  hint: ");
            ht_tensor_free(x);
            ht_set_free(set);
            ht_context_clear(f->ctx);
            assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
        }
        assert_in_range(read, 1, 8 * n / 2);
    }
}

static bool read_all(ht_context *ctx, void *user)
{
    char path[PATH];
    (void)user;
    ht_tensor *x = ht_npy_read(ctx, reference_path("long.npy", path));
    ht_set *set = x ? ht_npz_read(ctx, reference_path("types.npz", path)) : NULL;
    ht_tensor_free(x);
    ht_set_free(set);
    return set != NULL;
}

static void readers_keep_an_error_of_each_allocation(void **state)
{
    (void)state;
    assert_in_range(fail_each_allocation(read_all, NULL), 100, 1000);
}

static void readers_of_what_is_no_file_say_so(void **state)
{
    fixture *f = *state;
    char path[PATH];
    assert_null(ht_npy_read(f->ctx, f->folder));
    assert_int_equal(ht_context_status(f->ctx), HT_ERROR_FILE);
    ht_context_clear(f->ctx);
    assert_null(ht_npz_read(f->ctx, "no such file"));
    assert_int_equal(ht_context_status(f->ctx), HT_ERROR_FILE);
    ht_context_clear(f->ctx);
    put_bytes(f, "x", "", 0, path);
    assert_null(ht_npz_read(f->ctx, path));
    expect_message(f, path, "expected data, got an empty file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(npy_read_of_what_numpy_wrote_is_as_by_numpy),
        CASE(npy_write_gives_the_bytes_of_numpy),
        CASE(npz_write_is_read_back_the_same),
        CASE(npy_read_of_other_headers_is_refused),
        CASE(npz_read_of_other_archives_is_refused),
        CASE(npz_read_of_a_bad_array_says_which),
        CASE(npy_read_of_every_other_length_is_refused),
        CASE(reader_takes_no_harm_from_a_changed_bit),
        CASE(readers_keep_an_error_of_each_allocation),
        CASE(readers_of_what_is_no_file_say_so),
    };
    return TEST_MAIN(tests);
}
