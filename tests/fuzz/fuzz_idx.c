/* SPDX-License-Identifier: MIT */
/* fuzz_idx.c: the IDX reader, plain and through gzip. The first byte says whether the
 * others are a file, or contents to be compressed: in how many members, with how many
 * zeros behind; then they must load if and only if they do uncompressed. What loads is
 * written and read back the same. Read next: data/idx.c. */
#include <zlib.h>

#include "file.h"

enum { FILE_AS_IS, FILE_OF_CONTENT, KINDS };

static uint8_t file[4 * FUZZ_MOST];

static size_t put_member(const uint8_t *data, size_t n, uint8_t *to, size_t room,
                         int level)
{
    z_stream z = {0};
    FUZZ_REQUIRE(deflateInit2(&z, level, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY) == Z_OK,
                 "zlib");
    z.next_in = (uint8_t *)(uintptr_t)data; /* zlib only reads it */
    z.avail_in = (unsigned)n;
    z.next_out = to;
    z.avail_out = (unsigned)room;
    FUZZ_REQUIRE(deflate(&z, Z_FINISH) == Z_STREAM_END, "room");
    deflateEnd(&z);
    return z.total_out;
}

static size_t make_file(const uint8_t *data, size_t size)
{
    fuzz_bytes b = {.data = data, .size = size};
    uint32_t kind = fuzz_below(&b, KINDS);
    if (kind == FILE_AS_IS) {
        memcpy(file, data + b.at, size - b.at);
        return size - b.at;
    }
    int level = (int)fuzz_below(&b, 10);
    size_t members = 1 + fuzz_below(&b, 8), zeros = fuzz_byte(&b), used = 0;
    size_t n = size - b.at, part = n / members;
    for (size_t m = 0; m < members; m++)
        used += put_member(data + b.at + m * part, m + 1 < members ? part : n - m * part,
                           file + used, sizeof file - used, level);
    memset(file + used, 0, zeros);
    return used + zeros;
}

static void check_copy(const ht_tensor *x, const char *name)
{
    char path[FUZZ_PATH];
    ht_context *ctx = ht_tensor_context(x);
    FUZZ_REQUIRE(!ht_idx_write(x, fuzz_path(name, path)), "%s", ht_context_message(ctx));
    ht_tensor *y = ht_idx_read(ctx, path);
    fuzz_require_equal(x, y, ht_context_message(ctx));
    ht_tensor_free(y);
}

/* The same values on a context that may hold two of them. */
static void check_copies(const ht_tensor *x)
{
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = 1});
    ht_tensor *y = ht_tensor_new(ctx, ht_tensor_dtype(x), ht_tensor_shape(x));
    FUZZ_REQUIRE(y, "%s", ht_context_message(ctx));
    if (ht_tensor_bytes(x))
        memcpy(ht_tensor_data(y), ht_tensor_data(x), ht_tensor_bytes(x));
    check_copy(y, "y");
    check_copy(y, "y.gz");
    ht_tensor_free(y);
    ht_context_free(ctx);
}

/* The content of a compressed file, as a file of its own. */
static void check_uncompressed(const ht_tensor *x, const uint8_t *content, size_t n)
{
    char path[FUZZ_PATH];
    if (n > 1 && content[0] == 0x1f && content[1] == 0x8b) return; /* a gzip itself */
    fuzz_write("y", path, content, n);
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = 1});
    ht_tensor *y = ht_idx_read(ctx, path);
    FUZZ_REQUIRE((x != NULL) == (y != NULL), "only one of two: %s",
                 ht_context_message(ctx));
    if (x) fuzz_require_equal(x, y, "");
    ht_tensor_free(y);
    ht_context_clear(ctx); /* an error may be what is right */
    ht_context_free(ctx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > FUZZ_MOST) return 0;
    char path[FUZZ_PATH];
    size_t n = make_file(data, size);
    fuzz_write("x", path, file, n);
    ht_context *ctx = fuzz_context(1032 * n + 200000);
    ht_tensor *x = ht_idx_read(ctx, path);
    fuzz_check_read(ctx, path, x != NULL);
    ht_context_clear(ctx);
    if (x) check_copies(x);
    if (*data % KINDS == FILE_OF_CONTENT && size > 4)
        check_uncompressed(x, data + 4, size - 4);
    ht_tensor_free(x);
    fuzz_end(ctx);
    return 0;
}

size_t fuzz_example(uint64_t number, uint8_t *to, size_t most)
{
    static const uint8_t types[][2] = {{8, 1}, {12, 4}, {13, 4}, {14, 8}};
    uint8_t content[1024] = {0, 0, types[number % 4][0], (uint8_t)(number / 4 % 5)};
    size_t rank = content[3], n = types[number % 4][1], used = 4;
    for (size_t axis = 0; axis < rank; axis++, used += 4) {
        content[used + 3] = (uint8_t)(fuzz_mix(number + axis) % 4);
        n *= content[used + 3];
    }
    for (size_t i = 0; i < n && used < sizeof content; i++)
        content[used++] = (uint8_t)fuzz_mix(number + i);
    size_t at = 0;
    to[at++] = (uint8_t)(number / 20 % 3);
    if (number / 20 == 1) {
        to[at++] = (uint8_t)(number % 10);
        to[at++] = (uint8_t)(number % 3);
        to[at++] = (uint8_t)(number % 5);
    }
    if (number / 20 == 2) return at + put_member(content, used, to + at, most - at, 9);
    memcpy(to + at, content, used);
    return at + used;
}

void fuzz_figures(FILE *f)
{
    fuzz_met_figures(f);
}
