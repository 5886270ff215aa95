/* SPDX-License-Identifier: MIT */
/* idx.c: tensors as IDX files, the format MNIST comes in.
 *
 * The header is 00 00 type rank, then one big-endian 32-bit count an axis; the elements
 * follow big-endian. A header is a promise: it is held against the file before memory is
 * asked for, and against every byte after. Read next: image.c. */
#include "data_internal.h"

#include <string.h>

enum { IDX_HEADER = 4 + 4 * HT_MAX_RANK, IDX_CHUNK = 1 << 16 };

static const struct {
    unsigned char code;
    ht_dtype dtype;
} idx_types[] = {{0x08, HT_U8}, {0x0c, HT_I32}, {0x0d, HT_F32}, {0x0e, HT_F64}};

enum { IDX_N_TYPES = sizeof idx_types / sizeof idx_types[0] };

/* Big-endian to this machine's order, or back: the same reversal, or none at all. */
static void idx_swap(unsigned char *bytes, size_t n, size_t width)
{
    const uint16_t one = 1;
    if (*(const unsigned char *)&one == 0) return;
    for (unsigned char *e = bytes; e < bytes + n; e += width)
        for (size_t i = 0; i < width / 2; i++) {
            unsigned char swapped = e[i];
            e[i] = e[width - 1 - i];
            e[width - 1 - i] = swapped;
        }
}

static ht_status idx_read_magic(hti_input *in, ht_dtype *dtype, int *rank)
{
    unsigned char b[4];
    ht_status status = hti_input_exactly(in, b, sizeof b);
    if (status) return status;
    if (b[0] != 0 || b[1] != 0)
        return hti_input_fail(
            in, 0,
            "expected the IDX magic 00 00 TT RR, got %02x %02x %02x %02x\n"
            "  hint: an IDX file such as MNIST's, plain or .gz, is "
            "wanted here",
            b[0], b[1], b[2], b[3]);
    int type = 0;
    while (type < IDX_N_TYPES && idx_types[type].code != b[2]) type++;
    if (type == IDX_N_TYPES)
        return hti_input_fail(
            in, 2,
            "expected an element type 08 (u8), 0c (i32), 0d (f32) or 0e "
            "(f64), got %02x\n"
            "  hint: convert the file to one of these types",
            b[2]);
    if (b[3] > HT_MAX_RANK)
        return hti_input_fail(in, 3,
                              "expected at most %d axes, got %d\n"
                              "  hint: join some axes when writing the file",
                              HT_MAX_RANK, b[3]);
    *dtype = idx_types[type].dtype;
    *rank = b[3];
    return HT_OK;
}

static ht_status idx_read_header(hti_input *in, ht_dtype *dtype, ht_shape *shape)
{
    *shape = HT_SCALAR;
    ht_status status = idx_read_magic(in, dtype, &shape->rank);
    for (int axis = 0; axis < shape->rank && !status; axis++) {
        unsigned char b[4];
        status = hti_input_exactly(in, b, sizeof b);
        shape->dim[axis] = status ? 0 : hti_big_endian(b);
    }
    return status;
}

ht_tensor *ht_idx_read(ht_context *ctx, const char *path)
{
    HT_ASSERT(ctx && path, "ht_idx_read: context %p, path %p", (void *)ctx,
              (const void *)path);
    hti_input in;
    if (hti_input_open(&in, ctx, path)) return NULL;
    ht_dtype dtype = HT_U8;
    ht_shape shape;
    ht_tensor *x = NULL;
    if (!idx_read_header(&in, &dtype, &shape)) x = hti_input_tensor(&in, dtype, shape);
    if (x) idx_swap(ht_tensor_data(x), ht_tensor_bytes(x), ht_dtype_bytes(dtype));
    hti_input_close(&in);
    return x;
}

static ht_status idx_fill_header(const ht_tensor *x, const char *path,
                                 unsigned char header[IDX_HEADER])
{
    ht_shape shape = ht_tensor_shape(x);
    memset(header, 0, IDX_HEADER);
    for (int type = 0; type < IDX_N_TYPES; type++)
        if (idx_types[type].dtype == ht_tensor_dtype(x)) header[2] = idx_types[type].code;
    header[3] = (unsigned char)shape.rank;
    for (int axis = 0; axis < shape.rank; axis++) {
        char text[HT_SHAPE_TEXT];
        if (shape.dim[axis] > UINT32_MAX)
            return ht_context_fail(
                ht_tensor_context(x), HT_ERROR_SHAPE, NULL,
                "%s: cannot be written as IDX: expected axes below 2^32, "
                "got shape %s\n  hint: split the tensor",
                path, ht_shape_text(shape, text));
        hti_put_big_endian(header + 4 + 4 * (ptrdiff_t)axis, (size_t)shape.dim[axis]);
    }
    return HT_OK;
}

static void idx_write_data(hti_output *out, const ht_tensor *x, unsigned char *chunk)
{
    const unsigned char *data = ht_tensor_data(x);
    size_t bytes = ht_tensor_bytes(x), width = ht_dtype_bytes(ht_tensor_dtype(x));
    for (size_t done = 0; done < bytes && !out->draft.status;) {
        size_t n = bytes - done < IDX_CHUNK ? bytes - done : IDX_CHUNK;
        memcpy(chunk, data + done, n);
        idx_swap(chunk, n, width);
        hti_output_write(out, chunk, n);
        done += n;
    }
}

static bool idx_is_gzip_name(const char *path)
{
    size_t n = strlen(path);
    return n > 3 && strcmp(path + n - 3, ".gz") == 0;
}

ht_status ht_idx_write(const ht_tensor *x, const char *path)
{
    HT_ASSERT(x && path, "ht_idx_write: tensor %p, path %p", (const void *)x,
              (const void *)path);
    HTI_ALIVE(x, "ht_idx_write", "tensor");
    ht_context *ctx = ht_tensor_context(x);
    unsigned char header[IDX_HEADER];
    ht_status status = idx_fill_header(x, path, header);
    if (status) return status;
    unsigned char *chunk = hti_resize(ctx, NULL, 0, IDX_CHUNK);
    if (!chunk) return HT_ERROR_MEMORY;
    hti_output out;
    hti_output_open(&out, ctx, path);
    if (idx_is_gzip_name(path))
        hti_output_deflate(&out, HTI_GZIP_WINDOW, 9, hti_draft_write);
    hti_output_write(&out, header, 4 + 4 * (size_t)header[3]);
    idx_write_data(&out, x, chunk);
    hti_resize(ctx, chunk, IDX_CHUNK, 0);
    return hti_output_close(&out);
}
