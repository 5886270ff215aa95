/* SPDX-License-Identifier: MIT */
/* test_safetensors.h: files of any header, and sets held against each other.
 * Read next: test_data_safetensors.c, test_data_safetensors_header.c. */
#ifndef HTI_TEST_SAFETENSORS_H
#define HTI_TEST_SAFETENSORS_H

#include "test_data.h"

#include "ht_nn.h"

/* A tensor in a header, and a header of one tensor "w". */
#define TENSOR(name, dtype, shape, offsets)                  \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape \
    ",\"data_offsets\":" offsets "}"
#define ENTRY(dtype, shape, offsets) "{" TENSOR("w", dtype, shape, offsets) "}"
#define NAMED(name)                  "{" TENSOR(name, "F32", "[1]", "[0,4]") "}"
#define W_AND(more)                  "{" TENSOR("w", "F32", "[1]", "[0,4]") "," more "}"
#define META(value)                  W_AND("\"__metadata__\":" value)

/* A file of this header, its length in front, and n bytes 1, 2, 3, ... of data. */
static inline void write_file(const char *path, const char *header, size_t header_bytes,
                              size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (int i = 0; i < 8; i++) fputc((int)(header_bytes >> 8 * i & 0xff), file);
    fwrite(header, 1, header_bytes, file);
    for (size_t i = 1; i <= n; i++) fputc((int)(i & 0xff), file);
    fclose(file);
}

static inline size_t read_file(const char *path, char *bytes, size_t most)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t n = fread(bytes, 1, most, file);
    fclose(file);
    return n;
}

/* Values with something in every byte. */
static inline void fill(ht_set *set)
{
    for (int i = 0; i < ht_set_count(set); i++) {
        unsigned char *data = ht_tensor_data(ht_set_at(set, i));
        for (size_t j = 0; j < ht_tensor_bytes(ht_set_at(set, i)); j++)
            data[j] = (unsigned char)(37 * j + 11 * (size_t)i + 1);
    }
}

static inline void expect_same(const ht_set *got, const ht_set *want)
{
    assert_int_equal(ht_set_count(got), ht_set_count(want));
    for (int i = 0; i < ht_set_count(want); i++) {
        const ht_tensor *x = ht_set_at(got, i), *y = ht_set_at(want, i);
        assert_string_equal(ht_set_name(got, i), ht_set_name(want, i));
        assert_int_equal(ht_tensor_dtype(x), ht_tensor_dtype(y));
        assert_true(ht_shape_equal(ht_tensor_shape(x), ht_tensor_shape(y)));
        assert_memory_equal(ht_tensor_data(x), ht_tensor_data(y), ht_tensor_bytes(y));
    }
}

static inline void expect_error(const fixture *f, ht_status status, const char *path,
                                const char *part)
{
    assert_string_equal(ht_status_name(ht_context_status(f->ctx)),
                        ht_status_name(status));
    assert_contains(ht_context_message(f->ctx), path);
    assert_contains(ht_context_message(f->ctx), part);
    assert_contains(ht_context_message(f->ctx), "\n  hint: ");
    ht_context_clear(f->ctx);
}

#endif
