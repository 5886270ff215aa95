/* SPDX-License-Identifier: MIT */
/* test_tensor_file.c: how every writer of the library leaves a file: whole or not at all,
 * as open to others as before, beside others who write the same path, and with nothing
 * left of writers that were killed. Read next: tensor/file.c, test_data_idx.c. */
#include "test_data.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "ht_nn.h"
#include "tensor_internal.h"

enum { PLACES = 100, SIDE = 8 };

/* The writers: all values of what they write are `value`. */

static ht_status write_set(ht_context *ctx, const char *path, int value)
{
    ht_set *set = ht_set_new(ctx);
    ht_tensor_fill(ht_set_add(set, "w", HT_U8, HT_SHAPE(SIDE, SIDE)), value);
    ht_status status = ht_set_write(set, path);
    ht_set_free(set);
    return status;
}

static ht_status write_tensor(ht_context *ctx, const char *path, int value, bool png)
{
    ht_tensor *x = ht_tensor_new(ctx, HT_U8, HT_SHAPE(SIDE, SIDE));
    ht_tensor_fill(x, value);
    ht_status status = png ? ht_png_write(ctx, path, x) : ht_idx_write(x, path);
    ht_tensor_free(x);
    return status;
}

static ht_status write_idx(ht_context *ctx, const char *path, int value)
{
    return write_tensor(ctx, path, value, false);
}

static ht_status write_png(ht_context *ctx, const char *path, int value)
{
    return write_tensor(ctx, path, value, true);
}

/* The first of the values that are read back; -1 if they differ. */
static int read_back(ht_context *ctx, const char *path, int writer)
{
    ht_set *set = writer == 0 ? ht_set_load(ctx, path) : NULL;
    ht_tensor *x = set           ? ht_set_at(set, 0)
                   : writer == 1 ? ht_idx_read(ctx, path)
                                 : ht_png_read(ctx, path);
    if (!x) fail_msg("%s", ht_context_message(ctx));
    int value = (int)ht_tensor_get(x, 0);
    for (int64_t i = 1; i < ht_tensor_count(x); i++)
        if ((int)ht_tensor_get(x, i) != value) value = -1;
    if (set)
        ht_set_free(set);
    else
        ht_tensor_free(x);
    return value;
}

static ht_status (*const writers[])(ht_context *, const char *,
                                    int) = {write_set, write_idx, write_png};
enum { N_WRITERS = sizeof writers / sizeof *writers };

static void expect_written(const fixture *f, int writer, const char *path, int value)
{
    if (writers[writer](f->ctx, path, value)) fail_msg("%s", ht_context_message(f->ctx));
    assert_int_equal(read_back(f->ctx, path, writer), value);
}

static void expect_refused(const fixture *f, int writer, const char *path,
                           const char *part)
{
    assert_int_equal(writers[writer](f->ctx, path, 1), HT_ERROR_FILE);
    assert_contains(ht_context_message(f->ctx), path);
    assert_contains(ht_context_message(f->ctx), part);
    assert_contains(ht_context_message(f->ctx), "\n  hint: ");
    assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
    ht_context_clear(f->ctx);
}

static unsigned mode_of(const char *path)
{
    struct stat about;
    assert_int_equal(stat(path, &about), 0);
    return about.st_mode & 07777;
}

static void make_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* Permissions. */

static void write_over_a_file_keeps_its_mode(void **state)
{
    fixture *f = *state;
    const unsigned modes[] = {0600, 0640, 0644, 0660, 0400, 0444, 0755, 0666};
    char path[PATH];
    path_in(f, "x", path);
    for (int w = 0; w < N_WRITERS; w++)
        for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
            expect_written(f, w, path, 1);
            assert_int_equal(chmod(path, modes[m]), 0);
            expect_written(f, w, path, 2);
            assert_int_equal(mode_of(path), modes[m]);
            assert_int_equal(count_files(f, true), 1);
        }
}

static void write_of_a_new_file_follows_the_umask(void **state)
{
    fixture *f = *state;
    const unsigned masks[] = {022, 077, 027, 0};
    char path[PATH];
    path_in(f, "x", path);
    for (int w = 0; w < N_WRITERS; w++)
        for (size_t m = 0; m < sizeof masks / sizeof *masks; m++) {
            mode_t usual = umask(masks[m]);
            expect_written(f, w, path, 1);
            umask(usual);
            assert_int_equal(mode_of(path), 0666 & ~masks[m]);
            count_files(f, true);
        }
}

static void draft_of_a_secret_file_is_secret_from_the_start(void **state)
{
    fixture *f = *state;
    char path[PATH];
    hti_draft draft;
    make_file(path_in(f, "x", path), "old");
    assert_int_equal(chmod(path, 0400), 0);
    mode_t usual = umask(0);
    hti_draft_open(&draft, f->ctx, path);
    umask(usual);
    assert_int_equal(mode_of(draft.temporary), 0600);
    hti_draft_write(&draft, "new", 3);
    assert_int_equal(hti_draft_close(&draft), HT_OK);
    assert_int_equal(mode_of(path), 0400);
}

static void write_over_another_users_file_keeps_the_owner(void **state)
{
    fixture *f = *state;
    char path[PATH];
    struct stat about;
    make_file(path_in(f, "x", path), "old");
    if (chown(path, 12345, 23456) != 0) skip(); /* only root may */
    assert_int_equal(chmod(path, 0640), 0);
    expect_written(f, 0, path, 3);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_uid, 12345);
    assert_int_equal(about.st_gid, 23456);
    assert_int_equal(about.st_mode & 0777, 0640);
}

static void write_through_a_link_keeps_link_and_mode(void **state)
{
    fixture *f = *state;
    char path[PATH], soft[PATH], other[PATH], text[PATH] = "";
    struct stat about;
    make_file(path_in(f, "x", path), "old");
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(symlink("x", path_in(f, "link", soft)), 0);
    for (int w = 0; w < N_WRITERS; w++) {
        expect_written(f, w, soft, 7);
        assert_int_equal(readlink(soft, text, sizeof text), 1);
        assert_string_equal(text, "x");
        assert_int_equal(mode_of(path), 0600);
    }
    /* A second name of the old file is left with what it had. */
    make_file(path, "old");
    assert_int_equal(link(path, path_in(f, "other", other)), 0);
    expect_written(f, 1, path, 7);
    assert_int_equal(stat(other, &about), 0);
    assert_int_equal(about.st_size, 3);
    assert_int_equal(count_files(f, false), 3);
}

/* Writers that were killed, and writers that were not. */

static void write_after_kills_leaves_only_its_file(void **state)
{
    fixture *f = *state;
    char path[PATH], left[PATH];
    path_in(f, "x", path);
    for (int w = 0; w < N_WRITERS; w++) {
        for (int k = 0; k < PLACES; k++) {
            char name[32];
            snprintf(name, sizeof name, "x.ht-part%d", k);
            make_file(path_in(f, name, left), "half of someth");
        }
        expect_written(f, w, path, 1);
        assert_int_equal(count_files(f, true), 1);
    }
    for (int k = 0; k < 20; k++) {
        pid_t child = fork();
        if (child == 0) {
            hti_draft draft;
            for (int d = 0; d <= k % 3; d++) hti_draft_open(&draft, f->ctx, path);
            hti_draft_write(&draft, "half", 4);
            fflush(draft.file);
            kill(getpid(), SIGKILL);
        }
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFSIGNALED(how));
        assert_int_equal(count_files(f, false), 1 + k % 3);
    }
    expect_written(f, 0, path, 2);
    assert_int_equal(count_files(f, false), 1);
}

/* Others' files of such names are no temporaries. */
static void write_beside_files_with_names_alike_leaves_them(void **state)
{
    fixture *f = *state;
    const char *const names[] = {"x.part0", "x.part1", "x.ht-part", "y.ht-part0",
                                 "x.ht-part100"};
    enum { N = sizeof names / sizeof *names };
    char path[PATH], other[PATH];
    for (int i = 0; i < N; i++) make_file(path_in(f, names[i], other), "mine");
    assert_int_equal(mkdir(path_in(f, "x.ht-part0", other), 0700), 0);
    assert_int_equal(symlink("y", path_in(f, "x.ht-part1", other)), 0);
    expect_written(f, 0, path_in(f, "x", path), 1);
    assert_int_equal(count_files(f, false), N + 3);
}

static void drafts_of_one_path_do_not_touch_each_other(void **state)
{
    fixture *f = *state;
    char path[PATH], got[8] = "";
    static hti_draft drafts[PLACES];
    path_in(f, "x", path);
    for (int d = 0; d < PLACES; d++) {
        hti_draft_open(&drafts[d], f->ctx, path);
        assert_int_equal(drafts[d].status, HT_OK);
        assert_int_equal(count_files(f, false), d + 1);
    }
    expect_refused(f, 0, path, "x.ht-part99 and the 99 before it are in the way");
    for (int d = PLACES - 1; d >= 0; d--) {
        char text[8];
        snprintf(text, sizeof text, "%03d", d);
        hti_draft_write(&drafts[d], text, 3);
        assert_int_equal(hti_draft_close(&drafts[d]), HT_OK);
        FILE *file = fopen(path, "rb");
        assert_non_null(file);
        assert_int_equal(fread(got, 1, sizeof got, file), 3);
        fclose(file);
        assert_string_equal(got, text);
    }
    assert_int_equal(count_files(f, false), 1);
}

static void processes_that_write_one_path_leave_one_whole_file(void **state)
{
    fixture *f = *state;
    enum { WRITERS = 4, TIMES = 25 };
    char path[PATH];
    path_in(f, "x", path);
    pid_t child[WRITERS];
    for (int c = 0; c < WRITERS; c++) {
        child[c] = fork();
        if (child[c]) continue;
        for (int k = 0; k < TIMES; k++)
            if (write_set(f->ctx, path, c + 1)) _exit(1);
        _exit(0);
    }
    for (int c = 0; c < WRITERS; c++) {
        int how;
        assert_int_equal(waitpid(child[c], &how, 0), child[c]);
        assert_int_equal(how, 0);
    }
    assert_in_range(read_back(f->ctx, path, 0), 1, WRITERS);
    assert_int_equal(count_files(f, false), 1);
}

/* Where it cannot be written. */

static void write_of_what_is_no_file_is_refused(void **state)
{
    fixture *f = *state;
    char fifo[PATH], deep[HTI_MOST_PATH + 100];
    assert_int_equal(mkfifo(path_in(f, "fifo", fifo), 0600), 0);
    memset(deep, 'a', sizeof deep);
    deep[sizeof deep - 1] = 0;
    for (int w = 0; w < N_WRITERS; w++) {
        expect_refused(f, w, fifo, "expected a regular file or none");
        expect_refused(f, w, "/dev/full", "expected a regular file or none");
        expect_refused(f, w, f->folder, "Is a directory");
        assert_int_equal(writers[w](f->ctx, deep, 1), HT_ERROR_FILE);
        assert_contains(ht_context_message(f->ctx), "aaaaaaaa");
        ht_context_clear(f->ctx);
        assert_int_equal(writers[w](f->ctx, "", 1), HT_ERROR_FILE);
        assert_contains(ht_context_message(f->ctx), "No such file");
        ht_context_clear(f->ctx);
    }
    if (geteuid() != 0) {
        assert_int_equal(chmod(f->folder, 0500), 0);
        char path[PATH];
        for (int w = 0; w < N_WRITERS; w++)
            expect_refused(f, w, path_in(f, "x", path), "Permission denied");
        assert_int_equal(chmod(f->folder, 0700), 0);
    }
    assert_int_equal(count_files(f, false), 1);
}

/* 255 bytes are the most a name may have; the temporary's must not need more. */
static void write_of_the_longest_name_works(void **state)
{
    fixture *f = *state;
    char path[PATH], name[257];
    for (int bytes = 240; bytes <= 256; bytes++) {
        memset(name, 'n', sizeof name);
        name[bytes] = 0;
        path_in(f, name, path);
        if (bytes == 256) {
            assert_int_equal(write_set(f->ctx, path, 1), HT_ERROR_FILE);
            assert_contains(ht_context_message(f->ctx), "File name too long");
            ht_context_clear(f->ctx);
            continue;
        }
        expect_written(f, 0, path, 1);
        expect_written(f, 0, path, 2);
        assert_int_equal(count_files(f, true), 1);
    }
}

static void write_on_a_full_disk_keeps_the_old_file(void **state)
{
    fixture *f = *state;
    char path[PATH];
    struct rlimit usual, tight;
    path_in(f, "x", path);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &usual), 0);
    signal(SIGXFSZ, SIG_IGN);
    for (int w = 0; w < N_WRITERS; w++) {
        expect_written(f, w, path, 5);
        tight = (struct rlimit){10, usual.rlim_max}; /* met when it is flushed */
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
        ht_status status = writers[w](f->ctx, path, 6);
        setrlimit(RLIMIT_FSIZE, &usual);
        assert_int_equal(status, HT_ERROR_FILE);
        assert_contains(ht_context_message(f->ctx), "cannot be written: File too large");
        ht_context_clear(f->ctx);
        assert_int_equal(read_back(f->ctx, path, w), 5);
        assert_int_equal(count_files(f, false), 1);
    }
    signal(SIGXFSZ, SIG_DFL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(write_over_a_file_keeps_its_mode),
        CASE(write_of_a_new_file_follows_the_umask),
        CASE(draft_of_a_secret_file_is_secret_from_the_start),
        CASE(write_over_another_users_file_keeps_the_owner),
        CASE(write_through_a_link_keeps_link_and_mode),
        CASE(write_after_kills_leaves_only_its_file),
        CASE(write_beside_files_with_names_alike_leaves_them),
        CASE(drafts_of_one_path_do_not_touch_each_other),
        CASE(processes_that_write_one_path_leave_one_whole_file),
        CASE(write_of_what_is_no_file_is_refused),
        CASE(write_of_the_longest_name_works),
        CASE(write_on_a_full_disk_keeps_the_old_file),
    };
    return TEST_MAIN(tests);
}
