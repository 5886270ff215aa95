/* SPDX-License-Identifier: MIT */
/* fuzz_npy.c: numpy's arrays and archives. The first byte says what the others are: an
 * array, a header and data to be framed, an archive, or an archive whose checksums are
 * set right. What loads is written and read back the same. Read next: data/npz.c. */
#include <zlib.h>

#include "file.h"

enum { ARRAY, HEADER, ARCHIVE, SIGNED, KINDS };

static uint8_t file[FUZZ_MOST + 64];

static size_t get_little(const uint8_t *b, int bytes)
{
    size_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (size_t)b[i] << 8 * i;
    return value;
}

static void put_little(uint8_t *b, size_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) b[i] = (uint8_t)(value >> 8 * i);
}

/* The checksum of each stored member of the archive, where it has a place. */
static void sign_archive(uint8_t *b, size_t n)
{
    for (size_t at = 0; at + 46 <= n; at++) {
        if (memcmp(b + at, "PK\1\2", 4) != 0) continue;
        size_t local = get_little(b + at + 42, 4), size = get_little(b + at + 24, 4);
        if (local > n || local + 30 > n) continue;
        size_t data =
            local + 30 + get_little(b + local + 26, 2) + get_little(b + local + 28, 2);
        if (data > n || size > n - data) continue;
        put_little(b + at + 16, crc32(0, b + data, (unsigned)size), 4);
    }
}

/* A header's bytes up to the first 0, then data. */
static size_t frame(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size);
    size_t n = end ? (size_t)(end - data) : size;
    memcpy(file, "\x93NUMPY\1", 8);
    put_little(file + 8, n, 2);
    memcpy(file + 10, data, n);
    if (end) memcpy(file + 10 + n, end + 1, size - n - 1);
    return 10 + size - (end != NULL);
}

static void check_array(const ht_tensor *x)
{
    char path[FUZZ_PATH];
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = 1});
    FUZZ_REQUIRE(!ht_npy_write(x, fuzz_path("y", path)), "not written");
    ht_tensor *y = ht_npy_read(ctx, path);
    fuzz_require_equal(x, y, ht_context_message(ctx));
    ht_tensor_free(y);
    ht_context_free(ctx);
}

static void check_set(const ht_set *x)
{
    char path[FUZZ_PATH];
    ht_context *ctx = ht_set_context(x);
    if (ht_npz_write(x, fuzz_path("y", path))) { /* a name that is not UTF-8 */
        FUZZ_REQUIRE(ht_context_status(ctx) == HT_ERROR_ARGUMENT, "%s",
                     ht_context_message(ctx));
        ht_context_clear(ctx);
        return;
    }
    ctx = ht_context_new(&(ht_context_options){.threads = 1});
    ht_set *y = ht_npz_read(ctx, path);
    FUZZ_REQUIRE(y && ht_set_count(y) == ht_set_count(x), "%s", ht_context_message(ctx));
    for (int i = 0; i < ht_set_count(x); i++) {
        FUZZ_REQUIRE(strcmp(ht_set_name(x, i), ht_set_name(y, i)) == 0, "%s",
                     ht_set_name(y, i));
        fuzz_require_equal(ht_set_at(x, i), ht_set_at(y, i), "");
    }
    ht_set_free(y);
    ht_context_free(ctx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > FUZZ_MOST) return 0;
    char path[FUZZ_PATH];
    uint8_t kind = *data % KINDS;
    size_t n = --size;
    if (kind == HEADER)
        n = frame(++data, size);
    else
        memcpy(file, ++data, size);
    if (kind == SIGNED) sign_archive(file, n);
    fuzz_write("x", path, file, n);
    bool gzip = n > 1 && file[0] == 0x1f && file[1] == 0x8b;
    /* An element of one byte becomes four; an array's names and shapes take 400. */
    size_t most = 4 * (gzip || kind >= ARCHIVE ? 1032 * n : n) + 10 * n + 300000;
    ht_context *ctx = fuzz_context(most);
    ht_tensor *x = kind < ARCHIVE ? ht_npy_read(ctx, path) : NULL;
    ht_set *set = kind < ARCHIVE ? NULL : ht_npz_read(ctx, path);
    fuzz_check_read(ctx, path, x || set);
    ht_context_clear(ctx);
    if (x) check_array(x);
    if (set) check_set(set);
    ht_tensor_free(x);
    ht_set_free(set);
    fuzz_end(ctx);
    return 0;
}

/* An archive of one stored member of ten bytes' name. */
static size_t put_archive(const uint8_t *member, size_t n, uint8_t *to)
{
    enum { NAME = 10, LOCAL = 30 + NAME, CENTRAL = 46 + NAME };
    uint8_t *central = to + LOCAL + n, *end = central + CENTRAL;
    memset(to, 0, LOCAL + n + CENTRAL + 22);
    memcpy(to, "PK\3\4", 4);
    put_little(to + 26, NAME, 2);
    memcpy(to + 30, "weight.npy", NAME);
    memcpy(to + LOCAL, member, n);
    memcpy(central, "PK\1\2", 4);
    put_little(central + 20, n, 4);
    put_little(central + 24, n, 4);
    put_little(central + 28, NAME, 2);
    memcpy(central + 46, "weight.npy", NAME);
    memcpy(end, "PK\5\6", 4);
    put_little(end + 8, 1, 2);
    put_little(end + 10, 1, 2);
    put_little(end + 12, CENTRAL, 4);
    put_little(end + 16, LOCAL + n, 4);
    sign_archive(to, LOCAL + n + CENTRAL);
    return LOCAL + n + CENTRAL + 22;
}

size_t fuzz_example(uint64_t number, uint8_t *to, size_t most)
{
    static const char *const types[] = {"<f4", "<f8", "<i4", "|u1", ">f4", "<f2",
                                        "|i1", "<i8", ">i2", "|b1", "<u4", "<u2"};
    static const char *const shapes[] = {"()", "(2,)", "(2, 3)", "(0, 5)", "(1, 2, 3)"};
    static const uint8_t bytes[] = {1, 2, 6, 0, 6};
    char text[256];
    uint8_t member[512];
    if (number >= 120 || most < 1024) return 0;
    size_t type = number % 12, shape = number % 5, n;
    bool fortran = number & 1;
    n = (size_t)snprintf(text, sizeof text,
                         "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }\n",
                         types[type], fortran ? "True" : "False", shapes[shape]);
    size_t count = bytes[shape] * (size_t)(types[type][2] - '0'),
           used = frame((const uint8_t *)text, n);
    for (size_t i = 0; i < count; i++)
        file[used++] = (uint8_t)fuzz_mix(number + i) & 0x7f;
    memcpy(member, file, used);
    to[0] = (uint8_t)(number % KINDS);
    if (to[0] >= ARCHIVE) return 1 + put_archive(member, used, to + 1);
    if (to[0] == ARRAY) {
        memcpy(to + 1, member, used);
        return 1 + used;
    }
    memcpy(to + 1, text, n + 1);
    memcpy(to + 2 + n, member + 10 + n, count);
    return 2 + n + count;
}

void fuzz_figures(FILE *f)
{
    fuzz_met_figures(f);
}
