/* SPDX-License-Identifier: MIT */
/* cifar_batches.c: CIFAR-10 and CIFAR-100 as their authors give them: records of a label,
 * or of a coarse and a fine one, and 3,072 bytes, a plane a colour, as they stay.
 *
 * The files' sizes say how many there are, before memory is asked for. Read next:
 * cifar.c (the same as pictures). */
#include "data_internal.h"

enum { BATCH_SIDE = 32, BATCH_PIXELS = 3 * BATCH_SIDE * BATCH_SIDE };

/* A set's files, in order; with a %d: 1, 2, ... as long as there are. */
typedef struct cifar_batches {
    const char *name;
    int classes, labels; /* labels: bytes of a record before its pixels */
} cifar_batches;
static const cifar_batches batches_of[2][2] = {
    {{"data_batch_%d.bin", 10, 1}, {"train.bin", 100, 2}},
    {{"test_batch.bin", 10, 1}, {"test.bin", 100, 2}}};

/* The k-th file, from 1. */
static bool batches_file(const cifar_batches *set, const char *folder, int k,
                         char path[HTI_MOST_PATH])
{
    char name[32];
    bool many = set->labels == 1 && set->name[0] == 'd';
    snprintf(name, sizeof name, set->name, k);
    return (many || k == 1) && hti_image_file(folder, name, path);
}

static ht_status batches_count(hti_input *in, const cifar_batches *set, int64_t *n)
{
    int record = set->labels + BATCH_PIXELS;
    *n += in->file_bytes / record;
    if (in->file_bytes % record == 0) return HT_OK;
    return hti_input_fail(in, in->file_bytes / record * record,
                          "expected records of %d bytes, got %lld at the end\n"
                          "  hint: the file is incomplete, or is it another set's? fetch "
                          "or copy it again",
                          record, (long long)(in->file_bytes % record));
}

/* The records of a file, from image *n on. */
static ht_status batches_take(hti_input *in, const cifar_batches *set, ht_images *out,
                              int64_t *n)
{
    ht_status status = HT_OK;
    int32_t *label = ht_tensor_data(out->labels);
    uint8_t *pixels = ht_tensor_data(out->pixels), b[2];
    int64_t all = ht_tensor_count(out->labels);
    for (int64_t at = 0; at < in->file_bytes && !status; at = in->at, ++*n) {
        if (*n == all) return hti_input_end(in); /* it has grown meanwhile */
        status = hti_input_exactly(in, b, (size_t)set->labels);
        if (!status)
            status = hti_input_exactly(in, pixels + *n * BATCH_PIXELS, BATCH_PIXELS);
        label[*n] = b[set->labels - 1];
        if (!status && label[*n] >= set->classes)
            status = hti_input_fail(in, at + set->labels - 1,
                                    "row %lld: expected a label in 0..%d, got %d\n"
                                    "  hint: is this another set's file, or damaged?",
                                    (long long)(at / (set->labels + BATCH_PIXELS)),
                                    set->classes - 1, label[*n]);
    }
    return status;
}

/* All files, counted (out without tensors) or taken. */
static ht_status batches_walk(ht_context *ctx, const char *folder,
                              const cifar_batches *set, ht_images *out, int64_t *n)
{
    char path[HTI_MOST_PATH];
    ht_status status = HT_OK;
    *n = 0;
    for (int k = 1; !status && batches_file(set, folder, k, path); k++) {
        hti_input in;
        status = hti_input_open_plain(&in, ctx, path);
        if (status) return status;
        status =
            out->labels ? batches_take(&in, set, out, n) : batches_count(&in, set, n);
        hti_input_close(&in);
    }
    return status;
}

bool hti_cifar_batches(ht_context *ctx, const char *folder, bool test, ht_images *out,
                       ht_status *status)
{
    char path[HTI_MOST_PATH];
    const cifar_batches *set = batches_of[test];
    if (!batches_file(set, folder, 1, path) && !batches_file(++set, folder, 1, path))
        return false;
    int64_t n, taken = 0;
    *out = (ht_images){.classes = set->classes};
    *status = batches_walk(ctx, folder, set, out, &n);
    if (*status) return true;
    out->pixels = ht_tensor_new(ctx, HT_U8, HT_SHAPE(n, 3, BATCH_SIDE, BATCH_SIDE));
    if (out->pixels) out->labels = ht_tensor_new(ctx, HT_I32, HT_SHAPE(n));
    *status = out->labels ? batches_walk(ctx, folder, set, out, &taken)
                          : ht_context_status(ctx);
    if (!*status && taken < n)
        *status = ht_context_fail(ctx, HT_ERROR_FORMAT, NULL,
                                  "%s: expected %lld images as before, got %lld\n"
                                  "  hint: a file changed while it was read; read again",
                                  folder, (long long)n, (long long)taken);
    return true;
}
