/* SPDX-License-Identifier: MIT */
/* test_data_idx.c: IDX files there and back, every way a file can be wrong, and the same
 * work with an allocator that fails. Read next: data/idx.c, data/file.c. */
#include "test_data.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

static void write_bytes(const char *path, const void *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

static size_t read_bytes(const char *path, unsigned char *bytes, size_t most)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t n = fread(bytes, 1, most, file);
    fclose(file);
    return n;
}

static size_t gzip_bytes(const void *bytes, size_t n, unsigned char *out, size_t most)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (unsigned char *)(uintptr_t)bytes;
    z.avail_in = (unsigned)n;
    z.next_out = out;
    z.avail_out = (unsigned)most;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return z.total_out;
}

/* Writes the bytes, reads them as IDX, and wants this status and these parts of a
 * message. */
static void expect_refusal(const fixture *f, const char *name, const void *bytes,
                           size_t n, ht_status status, const char *part,
                           const char *other)
{
    char path[PATH];
    write_bytes(path_in(f, name, path), bytes, n);
    assert_null(ht_idx_read(f->ctx, path));
    assert_string_equal(ht_status_name(ht_context_status(f->ctx)),
                        ht_status_name(status));
    assert_contains(ht_context_message(f->ctx), path);
    assert_contains(ht_context_message(f->ctx), part);
    assert_contains(ht_context_message(f->ctx), other);
    assert_contains(ht_context_message(f->ctx), "\n  hint: ");
    assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
    ht_context_clear(f->ctx);
}

/* (3) u8: 1 2 3 */
static const unsigned char small[] = {0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3};

/* What works. */

static void fill(ht_tensor *x)
{
    static const double values[] = {0, 1, 255, 2, 77, 128};
    for (int64_t i = 0; i < ht_tensor_count(x); i++) {
        double v = values[i % 6];
        if (ht_tensor_dtype(x) == HT_I32) v = -16003.0 * (double)i;
        if (ht_tensor_dtype(x) == HT_F32 || ht_tensor_dtype(x) == HT_F64)
            v = -0.37 * (double)i + 1e-3;
        ht_tensor_set(x, i, v);
    }
}

static void idx_written_and_read_is_the_same(void **state)
{
    fixture *f = *state;
    const ht_dtype dtypes[] = {HT_U8, HT_I32, HT_F32, HT_F64};
    const ht_shape shapes[] = {HT_SCALAR, HT_SHAPE(5), HT_SHAPE(0, 4),
                               HT_SHAPE(300, 2, 7, 31), HT_SHAPE(1, 2, 3, 1, 2, 3)};
    char path[PATH];
    int cases = 0;
    for (size_t d = 0; d < 4; d++)
        for (size_t s = 0; s < 5; s++)
            for (int gz = 0; gz < 2; gz++, cases++) {
                path_in(f, gz ? "x.idx.gz" : "x.idx", path);
                ht_tensor *x = ht_tensor_new(f->ctx, dtypes[d], shapes[s]);
                fill(x);
                assert_int_equal(ht_idx_write(x, path), HT_OK);
                ht_tensor *y = ht_idx_read(f->ctx, path);
                if (!y) fail_msg("%s", ht_context_message(f->ctx));
                assert_int_equal(ht_tensor_dtype(y), dtypes[d]);
                assert_true(ht_shape_equal(ht_tensor_shape(y), shapes[s]));
                assert_memory_equal(ht_tensor_data(x), ht_tensor_data(y),
                                    ht_tensor_bytes(x));
                ht_tensor_free(x);
                ht_tensor_free(y);
            }
    assert_int_equal(cases, 40);
    assert_int_equal(count_files(f, false), 2);
}

static void idx_write_plain_is_big_endian(void **state)
{
    fixture *f = *state;
    char path[PATH];
    unsigned char got[64];
    ht_tensor *x = ht_tensor_new(f->ctx, HT_I32, HT_SHAPE(1, 2));
    ht_tensor_set(x, 0, 258);
    ht_tensor_set(x, 1, -2);
    assert_int_equal(ht_idx_write(x, path_in(f, "x", path)), HT_OK);
    ht_tensor_free(x);
    const unsigned char want[] = {0, 0, 12, 2, 0, 0, 0,   1,   0,   0,
                                  0, 2, 0,  0, 1, 2, 255, 255, 255, 254};
    assert_int_equal(read_bytes(path, got, sizeof got), sizeof want);
    assert_memory_equal(got, want, sizeof want);
}

static void idx_read_gzip_of_two_members_joins_them(void **state)
{
    fixture *f = *state;
    char path[PATH];
    unsigned char gz[256];
    size_t n = gzip_bytes(small, 6, gz, sizeof gz);
    n += gzip_bytes(small + 6, sizeof small - 6, gz + n, sizeof gz - n);
    write_bytes(path_in(f, "two", path), gz, n);
    ht_tensor *x = ht_idx_read(f->ctx, path);
    if (!x) fail_msg("%s", ht_context_message(f->ctx));
    assert_memory_equal(ht_tensor_data(x), small + 8, 3);
    ht_tensor_free(x);
}

static void expect_read(const fixture *f, const unsigned char *bytes, size_t n)
{
    char path[PATH];
    write_bytes(path_in(f, "x", path), bytes, n);
    ht_tensor *x = ht_idx_read(f->ctx, path);
    if (!x) fail_msg("%s", ht_context_message(f->ctx));
    assert_memory_equal(ht_tensor_data(x), small + 8, 3);
    ht_tensor_free(x);
}

/* As gzip has it: zeros after the last member are nothing, and empty members too. */
static void idx_read_gzip_with_padding_reads_it(void **state)
{
    fixture *f = *state;
    enum { PADDING = 200000 }; /* several buffers */
    unsigned char *gz = calloc(1, PADDING + 512), empty[64];
    size_t n = gzip_bytes(small, sizeof small, gz, 256);
    size_t none = gzip_bytes(small, 0, empty, sizeof empty);
    const size_t paddings[] = {1, 2, 7, 512 - n % 512, 65536 - n, 65537 - n, PADDING};
    for (size_t i = 0; i < sizeof paddings / sizeof *paddings; i++)
        expect_read(f, gz, n + paddings[i]);
    for (size_t i = 1; i < 7; i += 5) {
        gz[n + i] = 'x';
        expect_refusal(f, "x.gz", gz, n + 9, HT_ERROR_FORMAT, "expected zeros to the end",
                       "got byte 0x78");
        gz[n + i] = 0;
    }
    gz[n + PADDING] = 0x1f;
    expect_refusal(f, "x.gz", gz, n + PADDING + 1, HT_ERROR_FORMAT,
                   "expected zeros to the end", "got byte 0x1f");
    gz[n] = 'x';
    expect_refusal(f, "x.gz", gz, n + 1, HT_ERROR_FORMAT,
                   "expected another, zeros or the end", "got byte 0x78");
    gz[n] = 0x1f;
    expect_refusal(f, "x.gz", gz, n + 1, HT_ERROR_FORMAT, "truncated gzip",
                   "the end of the file");
    expect_refusal(f, "x.gz", gz, n + 2, HT_ERROR_FORMAT, "damaged gzip",
                   "incorrect header");
    /* Empty members around, and one every byte. */
    size_t used = 0;
    for (size_t i = 0; i < sizeof small; i++) {
        memcpy(gz + used, empty, none);
        used += none;
        used += gzip_bytes(small + i, 1, gz + used, 64);
    }
    memcpy(gz + used, empty, none);
    expect_read(f, gz, used + none);
    free(gz);
}

/* A gzip holds what its header says, however much is in it. */
static void idx_read_of_a_gzip_bomb_takes_what_its_header_says(void **state)
{
    fixture *f = *state;
    enum { BOMB = 50 << 20 };
    unsigned char *bomb = calloc(1, BOMB), *gz = malloc(1 << 17);
    memcpy(bomb, small, sizeof small);
    size_t n = gzip_bytes(bomb, BOMB, gz, 1 << 17);
    ht_context_reset_peak(f->ctx);
    expect_refusal(f, "x.gz", gz, n, HT_ERROR_FORMAT, "offset 11: expected the end",
                   "trailing bytes, the first of them 0x00");
    size_t peak = ht_context_peak_bytes(f->ctx) - f->live;
    if (peak > 150000) fail_msg("%zu bytes asked for 3 of data", peak);
    /* And one that says more than it can hold is not asked for. */
    const unsigned char most[] = {0, 0, 8, 2, 255, 255, 255, 255, 255, 255, 255, 255};
    n = gzip_bytes(most, sizeof most, gz, 256);
    ht_context_reset_peak(f->ctx);
    expect_refusal(f, "x.gz", gz, n, HT_ERROR_FORMAT, "u8 (4294967295, 4294967295)",
                   "holds at most");
    peak = ht_context_peak_bytes(f->ctx) - f->live;
    if (peak > 150000) fail_msg("%zu bytes asked for a promise", peak);
    free(bomb);
    free(gz);
}

/* Axes of nothing are an empty tensor; no axis at all is one element. */
static void idx_read_of_no_elements_is_an_empty_tensor(void **state)
{
    fixture *f = *state;
    static const struct {
        unsigned char bytes[16];
        size_t n;
        int64_t count;
    } files[] = {{{0, 0, 8, 1, 0, 0, 0, 0}, 8, 0},
                 {{0, 0, 14, 2, 255, 255, 255, 255, 0, 0, 0, 0}, 12, 0},
                 {{0, 0, 8, 2, 0, 0, 0, 0, 0, 0, 0, 5}, 12, 0},
                 {{0, 0, 8, 0, 7}, 5, 1}};
    char path[PATH];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        write_bytes(path_in(f, "x", path), files[i].bytes, files[i].n);
        ht_tensor *x = ht_idx_read(f->ctx, path);
        if (!x) fail_msg("%s", ht_context_message(f->ctx));
        assert_int_equal(ht_tensor_count(x), files[i].count);
        ht_tensor_free(x);
        expect_refusal(f, "x", files[i].bytes, files[i].n + 1, HT_ERROR_FORMAT,
                       "expected the end of the file", "got trailing bytes");
    }
}

/* What is refused. */

static void idx_read_of_no_file_says_so(void **state)
{
    fixture *f = *state;
    char path[PATH];
    assert_null(ht_idx_read(f->ctx, path_in(f, "absent", path)));
    assert_int_equal(ht_context_status(f->ctx), HT_ERROR_FILE);
    assert_contains(ht_context_message(f->ctx), path);
    assert_contains(ht_context_message(f->ctx), "No such file");
    ht_context_clear(f->ctx);
    assert_null(ht_idx_read(f->ctx, f->folder));
    assert_int_equal(ht_context_status(f->ctx), HT_ERROR_FILE);
    assert_contains(ht_context_message(f->ctx), "expected a regular file");
    ht_context_clear(f->ctx);
}

/* Nobody writes into the pipe: a reader that waits for that would wait for ever, and the
 * alarm ends it. */
static void idx_read_of_a_pipe_is_refused_at_once(void **state)
{
    fixture *f = *state;
    char path[PATH];
    assert_int_equal(mkfifo(path_in(f, "pipe", path), 0600), 0);
    alarm(10);
    ht_tensor *x = ht_idx_read(f->ctx, path);
    alarm(0);
    assert_null(x);
    assert_int_equal(ht_context_status(f->ctx), HT_ERROR_FILE);
    assert_contains(ht_context_message(f->ctx), path);
    assert_contains(ht_context_message(f->ctx), "expected a regular file");
    ht_context_clear(f->ctx);
    assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
}

static void idx_read_of_bad_headers_says_what_is_wrong(void **state)
{
    fixture *f = *state;
    const unsigned char magic[] = "PNG is not IDX";
    const unsigned char type[] = {0, 0, 9, 1, 0, 0, 0, 1, 5};
    const unsigned char rank[] = {0, 0, 8, 7, 0, 0, 0, 1};
    const unsigned char cut[] = {0, 0, 8, 2, 0, 0, 0, 1, 0, 0};
    expect_refusal(f, "empty", "", 0, HT_ERROR_FORMAT, "offset 0", "empty file");
    expect_refusal(f, "magic", magic, sizeof magic, HT_ERROR_FORMAT,
                   "expected the IDX magic", "got 50 4e 47 20");
    expect_refusal(f, "type", type, sizeof type, HT_ERROR_FORMAT, "offset 2", "got 09");
    expect_refusal(f, "rank", rank, sizeof rank, HT_ERROR_FORMAT, "at most 6 axes",
                   "got 7");
    expect_refusal(f, "cut", cut, sizeof cut, HT_ERROR_FORMAT, "offset 8",
                   "expected 4 more bytes, got the end after 2");
    expect_refusal(f, "tiny", small, 3, HT_ERROR_FORMAT, "offset 0", "the end after 3");
}

static void idx_read_of_more_promised_than_held_allocates_nothing(void **state)
{
    fixture *f = *state;
    unsigned char huge[] = {0,   0,   14,  3,   255, 255, 255, 255,
                            255, 255, 255, 255, 0,   0,   0,   1};
    unsigned char gz[256];
    ht_context_reset_peak(f->ctx);
    expect_refusal(f, "huge", huge, sizeof huge, HT_ERROR_FORMAT, "too many bytes",
                   "a file of 16 bytes holds at most 0");
    huge[4] = huge[5] = huge[8] = huge[9] = 0; /* 65535 x 65535 x 1 */
    expect_refusal(f, "large", huge, sizeof huge, HT_ERROR_FORMAT,
                   "the header promises f64", "34358689800 bytes");
    size_t n = gzip_bytes(huge, sizeof huge, gz, sizeof gz);
    expect_refusal(f, "large.gz", gz, n, HT_ERROR_FORMAT, "the header promises f64",
                   "holds at most");
    expect_refusal(f, "short", small, sizeof small - 1, HT_ERROR_FORMAT, "offset 8",
                   "promises u8 (3), 3 bytes; a file of 10 bytes holds at most 2");
    assert_in_range(ht_context_peak_bytes(f->ctx), 0, 1 << 18);
}

static void idx_read_of_trailing_bytes_says_where(void **state)
{
    fixture *f = *state;
    unsigned char longer[sizeof small + 1] = {0}, gz[256];
    memcpy(longer, small, sizeof small);
    expect_refusal(f, "long", longer, sizeof longer, HT_ERROR_FORMAT, "offset 11",
                   "trailing bytes");
    size_t n = gzip_bytes(longer, sizeof longer, gz, sizeof gz);
    expect_refusal(f, "long.gz", gz, n, HT_ERROR_FORMAT, "offset 11", "trailing bytes");
}

static void idx_read_of_damaged_gzip_says_how(void **state)
{
    fixture *f = *state;
    unsigned char gz[256];
    size_t n = gzip_bytes(small, sizeof small, gz, sizeof gz);
    for (size_t cut = 2; cut < n; cut++)
        expect_refusal(f, "cut.gz", gz, cut, HT_ERROR_FORMAT, "truncated gzip",
                       "the end of the file");
    gz[n - 8] ^= 1;
    expect_refusal(f, "sum.gz", gz, n, HT_ERROR_FORMAT, "damaged gzip",
                   "incorrect data check");
    gz[n - 8] ^= 1;
    memcpy(gz + n, "junk", 4);
    expect_refusal(f, "junk.gz", gz, n + 4, HT_ERROR_FORMAT, "damaged gzip",
                   "incorrect header");
    n = gzip_bytes(small, sizeof small - 1, gz, sizeof gz);
    expect_refusal(f, "short.gz", gz, n, HT_ERROR_FORMAT, "offset 8",
                   "expected 3 more bytes, got the end after 2");
}

/* Any single byte of any small file changed: refused or read, never a crash or a leak. */
static void idx_read_of_any_changed_byte_never_crashes(void **state)
{
    fixture *f = *state;
    unsigned char gz[256], bytes[256];
    char path[PATH];
    size_t n = gzip_bytes(small, sizeof small, gz, sizeof gz);
    int refused = 0;
    path_in(f, "changed", path);
    for (int zipped = 0; zipped < 2; zipped++)
        for (size_t at = 0; at < (zipped ? n : sizeof small); at++)
            for (int bit = 0; bit < 8; bit++) {
                memcpy(bytes, zipped ? gz : small, zipped ? n : sizeof small);
                bytes[at] ^= (unsigned char)(1 << bit);
                write_bytes(path, bytes, zipped ? n : sizeof small);
                ht_tensor *x = ht_idx_read(f->ctx, path);
                if (!x) refused++;
                ht_tensor_free(x);
                ht_context_clear(f->ctx);
                assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
            }
    assert_in_range(refused, 8 * (int)sizeof small / 2, 8 * (int)(sizeof small + n));
}

static void idx_write_where_it_cannot_leaves_nothing(void **state)
{
    fixture *f = *state;
    char path[PATH];
    ht_tensor *x = ht_tensor_new(f->ctx, HT_U8, HT_SHAPE(3));
    assert_int_equal(ht_idx_write(x, path_in(f, "absent/x", path)), HT_ERROR_FILE);
    assert_contains(ht_context_message(f->ctx), path);
    assert_contains(ht_context_message(f->ctx), "No such file");
    ht_context_clear(f->ctx);
    assert_int_equal(ht_idx_write(x, f->folder), HT_ERROR_FILE);
    assert_contains(ht_context_message(f->ctx), "Is a directory");
    ht_context_clear(f->ctx);
    assert_int_equal(ht_idx_write(x, "/dev/full"), HT_ERROR_FILE);
    assert_contains(ht_context_message(f->ctx), "expected a regular file");
    ht_context_clear(f->ctx);
    assert_int_equal(count_files(f, false), 0);
    ht_tensor_free(x);
}

/* Links of links, to a file that is there and to one that is not: they stay links. */
static void idx_write_through_a_link_keeps_the_link(void **state)
{
    fixture *f = *state;
    char path[PATH], link[PATH], here[1024], whole[1024 + PATH];
    unsigned char got[64];
    struct stat about;
    assert_non_null(getcwd(here, sizeof here));
    ht_tensor *x = ht_tensor_new(f->ctx, HT_U8, HT_SHAPE(3));
    assert_int_equal(symlink("second", path_in(f, "first", link)), 0);
    snprintf(whole, sizeof whole, "%s/%s", here, path_in(f, "file", path));
    assert_int_equal(symlink(whole, path_in(f, "second", link)), 0);
    path_in(f, "first", link);
    for (int time = 0; time < 2; time++) {
        assert_int_equal(ht_idx_write(x, link), HT_OK);
        assert_int_equal(lstat(link, &about), 0);
        assert_true(S_ISLNK(about.st_mode));
        assert_int_equal(lstat(path, &about), 0);
        assert_true(S_ISREG(about.st_mode));
        assert_int_equal(read_bytes(path, got, sizeof got), 8 + 3);
    }
    assert_int_equal(symlink("round", path_in(f, "round", path)), 0);
    assert_int_equal(ht_idx_write(x, path), HT_ERROR_FILE);
    assert_contains(ht_context_message(f->ctx), "cannot be followed to a file");
    ht_context_clear(f->ctx);
    assert_int_equal(count_files(f, false), 4);
    ht_tensor_free(x);
}

/* The disk is full, as far as this process can tell, after 1,000 bytes. */
static void idx_write_on_a_full_disk_keeps_the_old_file(void **state)
{
    fixture *f = *state;
    char path[PATH];
    unsigned char got[64];
    ht_tensor *x = ht_tensor_new(f->ctx, HT_U8, HT_SHAPE(100000));
    write_bytes(path_in(f, "x", path), small, sizeof small);
    struct rlimit usual, tight;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &usual), 0);
    tight = (struct rlimit){1000, usual.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    ht_status status = ht_idx_write(x, path);
    setrlimit(RLIMIT_FSIZE, &usual);
    assert_int_equal(status, HT_ERROR_FILE);
    assert_contains(ht_context_message(f->ctx), "cannot be written: File too large");
    assert_int_equal(count_files(f, false), 1);
    assert_int_equal(read_bytes(path, got, sizeof got), sizeof small);
    assert_memory_equal(got, small, sizeof small);
    ht_context_clear(f->ctx);
    ht_tensor_free(x);
}

/* Memory. */

static bool read_and_write(ht_context *ctx, void *user)
{
    const fixture *f = user;
    char to[PATH], from[PATH];
    ht_tensor *x = ht_idx_read(ctx, path_in(f, "source", from));
    bool done = x && ht_idx_write(x, path_in(f, "x.gz", to)) == HT_OK;
    ht_tensor_free(x);
    assert_int_equal(count_files(f, false), done ? 2 : 1);
    return done;
}

static void idx_with_nth_allocation_failing_leaks_and_leaves_nothing(void **state)
{
    fixture *f = *state;
    char source[PATH];
    unsigned char gz[256];
    write_bytes(path_in(f, "source", source), gz,
                gzip_bytes(small, sizeof small, gz, 256));
    assert_in_range(fail_each_allocation(read_and_write, f), 5, 57);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(idx_written_and_read_is_the_same),
        CASE(idx_write_plain_is_big_endian),
        CASE(idx_read_gzip_of_two_members_joins_them),
        CASE(idx_read_gzip_with_padding_reads_it),
        CASE(idx_read_of_a_gzip_bomb_takes_what_its_header_says),
        CASE(idx_read_of_no_elements_is_an_empty_tensor),
        CASE(idx_read_of_no_file_says_so),
        CASE(idx_read_of_a_pipe_is_refused_at_once),
        CASE(idx_read_of_bad_headers_says_what_is_wrong),
        CASE(idx_read_of_more_promised_than_held_allocates_nothing),
        CASE(idx_read_of_trailing_bytes_says_where),
        CASE(idx_read_of_damaged_gzip_says_how),
        CASE(idx_read_of_any_changed_byte_never_crashes),
        CASE(idx_write_where_it_cannot_leaves_nothing),
        CASE(idx_write_through_a_link_keeps_the_link),
        CASE(idx_write_on_a_full_disk_keeps_the_old_file),
        CASE(idx_with_nth_allocation_failing_leaks_and_leaves_nothing),
    };
    return TEST_MAIN(tests);
}
