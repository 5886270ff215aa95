/* SPDX-License-Identifier: MIT */
/* fuzz_safetensors.c: sets from files. The first byte says what the others are: a file;
 * a header, in front of which its length is put and behind it as many bytes as the second
 * byte says; or names and sizes of a set to be written. What loads, and what is written,
 * is read back the same. Read next: data/json.c, data/safetensors.c. */
#include "file.h"
#include "ht_nn.h"

enum { FILE_AS_IS, FILE_OF_HEADER, SET_OF_NAMES, KINDS };

static unsigned long long written, names_refused;

static void require_same(const ht_set *x, const ht_set *y, const char *message)
{
    FUZZ_REQUIRE(y, "not read back: %s", message);
    FUZZ_REQUIRE(ht_set_count(x) == ht_set_count(y), "%d and %d tensors", ht_set_count(x),
                 ht_set_count(y));
    for (int i = 0; i < ht_set_count(x); i++) {
        FUZZ_REQUIRE(!strcmp(ht_set_name(x, i), ht_set_name(y, i)), "\"%s\" and \"%s\"",
                     ht_set_name(x, i), ht_set_name(y, i));
        FUZZ_REQUIRE(ht_set_find(y, ht_set_name(x, i)) == i, "\"%s\" is not found",
                     ht_set_name(x, i));
        fuzz_require_equal(ht_set_at(x, i), ht_set_at(y, i), message);
    }
}

/* Loaded, and read into what was loaded. */
static void check_copy(ht_context *ctx, const ht_set *set, const char *path)
{
    ht_set *copy = ht_set_load(ctx, path);
    require_same(set, copy, ht_context_message(ctx));
    FUZZ_REQUIRE(!ht_set_read(copy, path), "%s", ht_context_message(ctx));
    require_same(set, copy, ht_context_message(ctx));
    ht_set_free(copy);
}

static void read_file(const uint8_t *bytes, size_t n)
{
    char path[FUZZ_PATH], copy[FUZZ_PATH];
    fuzz_write("x", path, bytes, n);
    ht_context *ctx = fuzz_context(9 * n + 4096);
    ht_set *set = ht_set_load(ctx, path);
    fuzz_check_read(ctx, path, set != NULL);
    ht_context_clear(ctx);
    if (set) {
        ht_context *other = ht_context_new(&(ht_context_options){.threads = 1});
        FUZZ_REQUIRE(!ht_set_write(set, fuzz_path("y", copy)), "%s",
                     ht_context_message(ctx));
        check_copy(other, set, copy);
        ht_context_free(other);
    }
    ht_set_free(set);
    fuzz_end(ctx);
}

static void read_header(const uint8_t *data, size_t size)
{
    static uint8_t file[8 + FUZZ_MOST + 256];
    size_t after = size > 0 ? *data : 0, n = size > 0 ? size - 1 : 0;
    for (size_t i = 0; i < 8; i++) file[i] = (uint8_t)((uint64_t)n >> 8 * i);
    memcpy(file + 8, data + 1, n);
    memset(file + 8 + n, 0x3f, after);
    read_file(file, 8 + n + after);
}

/* Each tensor: dtype and rank, sides, the length of its name, its name. */
static void write_set(const uint8_t *data, size_t size)
{
    fuzz_bytes b = {.data = data, .size = size};
    char path[FUZZ_PATH];
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = 1});
    ht_set *set = ht_set_new(ctx);
    while (b.at < b.size && ht_set_count(set) < 100) {
        char name[32];
        ht_dtype dtype = (ht_dtype)(HT_F32 + fuzz_below(&b, 4));
        ht_shape shape = {.rank = (int)fuzz_below(&b, 4)};
        for (int axis = 0; axis < shape.rank; axis++) shape.dim[axis] = fuzz_below(&b, 4);
        uint32_t length = 1 + fuzz_below(&b, 31);
        for (uint32_t i = 0; i < length; i++) name[i] = (char)fuzz_byte(&b);
        name[length] = 0;
        ht_tensor *x = ht_set_add(set, name, dtype, shape);
        ht_context_clear(ctx); /* an empty name, or one twice */
        for (size_t i = 0; x && i < ht_tensor_bytes(x); i++)
            ((uint8_t *)ht_tensor_data(x))[i] = (uint8_t)(3 * i + length);
    }
    if (ht_set_write(set, fuzz_path("y", path)) == HT_OK) {
        written++;
        check_copy(ctx, set, path);
    } else {
        names_refused++;
        FUZZ_REQUIRE(ht_context_status(ctx) == HT_ERROR_ARGUMENT, "%s",
                     ht_context_message(ctx));
    }
    ht_set_free(set);
    ht_context_clear(ctx);
    fuzz_end(ctx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > FUZZ_MOST) return 0;
    if (*data % KINDS == FILE_AS_IS) read_file(data + 1, size - 1);
    if (*data % KINDS == FILE_OF_HEADER) read_header(data + 1, size - 1);
    if (*data % KINDS == SET_OF_NAMES) write_set(data + 1, size - 1);
    return 0;
}

static size_t put_header(uint64_t number, char *to)
{
    static const char *const names[] = {"w",        "a\\u00e9", "\\ud83c\\udf9e",
                                        "\xce\xb8", "\\n\\\\",  "layer.0",
                                        "x y",      "\\/"};
    static const char *const dtypes[] = {"F32", "F64", "I32", "U8"};
    static const unsigned width[] = {4, 8, 4, 1};
    size_t n = 0;
    unsigned at = 0, tensors = (unsigned)(number % 4);
    n += (size_t)sprintf(to, "{%s",
                         number % 3 == 0 ? "\"__metadata__\":{\"a\":\"b\"}" : "");
    for (unsigned t = 0; t < tensors; t++) {
        unsigned kind = (unsigned)(fuzz_mix(number + t) % 4), rows = 1 + t;
        n += (size_t)sprintf(
            to + n,
            "%s\"%s%u\":{\"dtype\":\"%s\",\"shape\":[%u,2],\"data_offsets\":[%u,%u]}",
            n > 1 ? ", " : "", names[(number + t) % 8], t, dtypes[kind], rows, at,
            at + 2 * rows * width[kind]);
        at += 2 * rows * width[kind];
    }
    n += (size_t)sprintf(to + n, "}%s", number % 5 ? "" : "  ");
    to[-1] = (char)at;
    return n;
}

size_t fuzz_example(uint64_t number, uint8_t *to, size_t most)
{
    if (most < 1024) return 0;
    to[0] = (uint8_t)(number % KINDS);
    if (number % KINDS == FILE_OF_HEADER) return 2 + put_header(number, (char *)to + 2);
    if (number % KINDS == SET_OF_NAMES) {
        for (size_t i = 1; i < 1 + number * 3; i++) to[i] = (uint8_t)fuzz_mix(number + i);
        return 1 + number * 3;
    }
    char header[1024];
    size_t n = put_header(number, header + 1);
    size_t after = (uint8_t)header[0];
    for (size_t i = 0; i < 8; i++) to[1 + i] = (uint8_t)((uint64_t)n >> 8 * i);
    memcpy(to + 9, header + 1, n);
    memset(to + 9 + n, 7, after);
    return 9 + n + after;
}

void fuzz_figures(FILE *f)
{
    fuzz_met_figures(f);
    fprintf(f, "; %llu sets written, %llu not for their names", written, names_refused);
}
