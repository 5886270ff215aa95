/* SPDX-License-Identifier: MIT */
/* test_data.h: what the tests of files share: a context and a folder that are both left
 * empty, and an allocator that fails its n-th call. Read next: test_data_idx.c. */
#ifndef HTI_TEST_DATA_H
#define HTI_TEST_DATA_H

#include "test.h"

#include <dirent.h>
#include <unistd.h>

#include "ht_data.h"

enum { PATH = 320 };

typedef struct fixture {
    ht_context *ctx;
    size_t live; /* bytes of the context itself */
    char folder[32];
} fixture;

static inline int fixture_new(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->ctx = ht_context_new(&(ht_context_options){.seed = 7, .threads = 1});
    f->live = ht_context_live_bytes(f->ctx);
    strcpy(f->folder, "data_XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    *state = f;
    return 0;
}

static inline const char *path_in(const fixture *f, const char *name, char path[PATH])
{
    snprintf(path, PATH, "%s/%s", f->folder, name);
    return path;
}

/* The number of files in the fixture's folder, which it empties if asked. */
static inline int count_files(const fixture *f, bool empty)
{
    int n = 0;
    char path[PATH];
    DIR *folder = opendir(f->folder);
    assert_non_null(folder);
    for (struct dirent *e; (e = readdir(folder));) {
        if (e->d_name[0] == '.') continue;
        n++;
        if (empty) remove(path_in(f, e->d_name, path));
    }
    closedir(folder);
    return n;
}

static inline int fixture_free(void **state)
{
    fixture *f = *state;
    count_files(f, true);
    rmdir(f->folder);
    assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
    ht_context_free(f->ctx);
    free(f);
    return 0;
}

/* What a reader of images that gave `got` leaves: an error of that status with these
 * words and a hint, which it clears, and nothing else. */
static inline void assert_images_refused(const fixture *f, ht_status got,
                                         const ht_images *images, ht_status status,
                                         const char *words)
{
    assert_string_equal(ht_status_name(got), ht_status_name(status));
    assert_string_equal(ht_status_name(ht_context_status(f->ctx)),
                        ht_status_name(status));
    assert_contains(ht_context_message(f->ctx), words);
    assert_contains(ht_context_message(f->ctx), "\n  hint: ");
    assert_null(images->pixels);
    assert_null(images->labels);
    assert_int_equal(images->classes, 0);
    assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
    ht_context_clear(f->ctx);
}

/* The user pointer of failing_alloc. */
typedef struct failing {
    int calls, fail_at;
} failing;

static inline void *failing_alloc(void *user, void *old, size_t old_size, size_t new_size)
{
    failing *f = user;
    (void)old_size;
    if (new_size == 0) {
        free(old);
        return NULL;
    }
    return ++f->calls == f->fail_at ? NULL : realloc(old, new_size);
}

/* f(ctx, user) says whether it could do all of what it does, of which nothing is left on
 * the context. Calls it on contexts whose second, third, ... allocation fails (the first
 * is their own) until all are granted: each time the context must have kept an error of
 * memory and no byte. Returns how many allocations failed. */
static inline int fail_each_allocation(bool (*f)(ht_context *ctx, void *user), void *user)
{
    int fail_at = 2;
    for (bool done = false; !done; fail_at++) {
        failing fails = {.fail_at = fail_at};
        ht_context *ctx = ht_context_new(
            &(ht_context_options){.alloc = failing_alloc, .user = &fails, .threads = 1});
        assert_non_null(ctx);
        size_t live = ht_context_live_bytes(ctx);
        done = f(ctx, user);
        assert_string_equal(ht_status_name(ht_context_status(ctx)),
                            ht_status_name(done ? HT_OK : HT_ERROR_MEMORY));
        assert_int_equal(ht_context_live_bytes(ctx), live);
        ht_context_free(ctx);
    }
    printf("# %d allocations failed, one at a time\n", fail_at - 3);
    return fail_at - 3;
}

#endif
