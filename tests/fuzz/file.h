/* SPDX-License-Identifier: MIT */
/* file.h: what the targets of readers share: the input as a file, a context that may ask
 * for no more memory than a reader promises to, and what must hold when it is done.
 * Read next: fuzz_png.c. */
#ifndef HTI_FUZZ_FILE_H
#define HTI_FUZZ_FILE_H

#include <sys/stat.h>
#include <unistd.h>

#include "ht_data.h"
#include "target.h"

enum { FUZZ_PATH = 96, FUZZ_MOST = 1 << 16 };

/* A folder of this process, where there is one in memory, that is removed at its end. */
static char fuzz_folder[64];

static inline void fuzz_remove_folder(void)
{
    static const char *const names[] = {
        "x", "y", "y.gz", "train_lables.json", "data_batch_1.png", "data_batch_2.png"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[FUZZ_PATH];
        snprintf(path, sizeof path, "%s/%s", fuzz_folder, names[i]);
        remove(path);
    }
    rmdir(fuzz_folder);
}

static inline const char *fuzz_path(const char *name, char path[FUZZ_PATH])
{
    if (!*fuzz_folder) {
        strcpy(fuzz_folder, "/dev/shm/hypertape_XXXXXX");
        if (!mkdtemp(fuzz_folder)) {
            strcpy(fuzz_folder, "fuzz_XXXXXX");
            FUZZ_REQUIRE(mkdtemp(fuzz_folder), "no folder to write in");
        }
        atexit(fuzz_remove_folder);
    }
    snprintf(path, FUZZ_PATH, "%s/%s", fuzz_folder, name);
    return path;
}

static inline const char *fuzz_write(const char *name, char path[FUZZ_PATH],
                                     const void *bytes, size_t n)
{
    FILE *f = fopen(fuzz_path(name, path), "wb");
    FUZZ_REQUIRE(f && fwrite(bytes, 1, n, f) == n, "%s", path);
    fclose(f);
    return path;
}

/* May hold as many bytes as this beside itself. */
static inline ht_context *fuzz_context(size_t limit)
{
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = 1});
    size_t own = ht_context_live_bytes(ctx);
    ht_context_free(ctx);
    ctx = ht_context_new(&(ht_context_options){.threads = 1, .byte_limit = own + limit});
    FUZZ_REQUIRE(ctx, "no context of %zu bytes", own + limit);
    return ctx;
}

static struct {
    unsigned long long loaded, refused;
} fuzz_met;

/* After a reader has given something or not: an error of a file's form, with all it must
 * say, or none; never of memory. */
static inline void fuzz_check_read(const ht_context *ctx, const char *path, bool loaded)
{
    ht_status status = ht_context_status(ctx);
    const char *message = ht_context_message(ctx);
    if (loaded)
        fuzz_met.loaded++;
    else
        fuzz_met.refused++;
    FUZZ_REQUIRE(status == (loaded ? HT_OK : HT_ERROR_FORMAT), "%s: %s",
                 ht_status_name(status), message);
    FUZZ_REQUIRE(loaded || strstr(message, path), "%s", message);
    FUZZ_REQUIRE(loaded || strstr(message, "\n  hint: "), "%s", message);
}

/* With everything freed that was read. */
static inline void fuzz_end(ht_context *ctx)
{
    ht_context *another = ht_context_new(&(ht_context_options){.threads = 1});
    FUZZ_REQUIRE(ht_context_live_bytes(ctx) == ht_context_live_bytes(another),
                 "%zu bytes live, %zu at first", ht_context_live_bytes(ctx),
                 ht_context_live_bytes(another));
    ht_context_free(another);
    ht_context_free(ctx);
}

static inline void fuzz_require_equal(const ht_tensor *x, const ht_tensor *y,
                                      const char *message)
{
    FUZZ_REQUIRE(x && y, "not read back: %s", message);
    FUZZ_REQUIRE(ht_tensor_dtype(x) == ht_tensor_dtype(y), "%d and %d",
                 (int)ht_tensor_dtype(x), (int)ht_tensor_dtype(y));
    FUZZ_REQUIRE(ht_shape_equal(ht_tensor_shape(x), ht_tensor_shape(y)), "shapes");
    size_t n = ht_tensor_bytes(x);
    FUZZ_REQUIRE(n == 0 || memcmp(ht_tensor_data(x), ht_tensor_data(y), n) == 0,
                 "other elements");
}

/* For examples: anything that looks random and is the same every time. */
static inline uint64_t fuzz_mix(uint64_t number)
{
    number = (number ^ number >> 30) * 0xbf58476d1ce4e5b9u;
    number = (number ^ number >> 27) * 0x94d049bb133111ebu;
    return number ^ number >> 31;
}

static inline void fuzz_met_figures(FILE *f)
{
    fprintf(f, "%llu loaded, %llu refused", fuzz_met.loaded, fuzz_met.refused);
}

#endif
