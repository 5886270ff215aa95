/* SPDX-License-Identifier: MIT */
/* bytes.c: a file as it is, for text whose letters are bytes. Read next: file.c. */
#include "data_internal.h"

ht_tensor *ht_bytes_read(ht_context *ctx, const char *path)
{
    HT_ASSERT(ctx && path, "ht_bytes_read: context %p, path %p", (void *)ctx,
              (const void *)path);
    hti_input in;
    if (hti_input_open_plain(&in, ctx, path)) return NULL;
    ht_tensor *x = hti_input_tensor(&in, HT_U8, HT_SHAPE(in.file_bytes));
    hti_input_close(&in);
    return x;
}
