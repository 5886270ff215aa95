/* SPDX-License-Identifier: MIT */
/* template_reader.c: a small reader, to copy; the tests run it. The format is the four
 * bytes "CNT1", a count as 32 bits with the least first, and as many bytes, plain or
 * gzip. Read next: README.md, "Add a reader". */
#include "data_internal.h"

#include <string.h>

static ht_status counted_read_header(hti_input *in, ht_shape *shape)
{
    unsigned char b[8];
    ht_status status = hti_input_exactly(in, b, sizeof b);
    if (status) return status;
    if (memcmp(b, "CNT1", 4) != 0)
        return hti_input_fail(in, 0,
                              "expected the magic CNT1, got %02x %02x %02x %02x\n"
                              "  hint: a file of counted bytes is wanted here",
                              b[0], b[1], b[2], b[3]);
    *shape = HT_SHAPE((int64_t)b[4] | (int64_t)b[5] << 8 | (int64_t)b[6] << 16 |
                      (int64_t)b[7] << 24);
    return HT_OK;
}

static ht_tensor *counted_read(ht_context *ctx, const char *path)
{
    HT_ASSERT(ctx && path, "counted_read: context %p, path %p", (void *)ctx,
              (const void *)path);
    hti_input in;
    if (hti_input_open(&in, ctx, path)) return NULL;
    ht_shape shape;
    ht_tensor *x = NULL;
    if (!counted_read_header(&in, &shape)) x = hti_input_tensor(&in, HT_U8, shape);
    hti_input_close(&in);
    return x;
}
