/* SPDX-License-Identifier: MIT */
/* cifar.c: CIFAR-10 as sheets: PNG pictures of which every row of 1,024 pixels is one
 * image of 32 x 32, and the labels as one JSON list for all sheets.
 *
 * The labels are read first: they say how many images there must be. Then the headers of
 * the sheets, whether there are as many, before pixels are asked for, once for all. Read
 * next: png_read.c, image.c. */
#include "data_internal.h"

#include <string.h>

enum { CIFAR_CLASSES = 10, CIFAR_SIDE = 32, CIFAR_PIXELS = CIFAR_SIDE * CIFAR_SIDE };

/* The sheets' names as they are packaged, spelling included. */
static const char *const cifar_names[2][2] = {{"data_batch_%d.png", "train_lables.json"},
                                              {"test_batch.png", "test_lables.json"}};

/* Labels: [6,9,9,...], whole numbers below 10, spaces between them allowed. */

typedef struct cifar_text {
    hti_input in;
    char *bytes; /* and a zero behind them */
    size_t n, at;
} cifar_text;

static ht_status cifar_fail_text(const cifar_text *text, const char *expected)
{
    char got[32] = "the end of the file";
    if (text->at < text->n)
        snprintf(got, sizeof got, "byte 0x%02x", (unsigned char)text->bytes[text->at]);
    return hti_input_fail(&text->in, (int64_t)text->at,
                          "expected %s, got %s\n"
                          "  hint: labels are one JSON list of numbers, like [6,9,9]",
                          expected, got);
}

static void cifar_pass_spaces(cifar_text *text)
{
    text->at += strspn(text->bytes + text->at, " \t\r\n");
}

static ht_status cifar_pass(cifar_text *text, char expected)
{
    cifar_pass_spaces(text);
    if (text->bytes[text->at] != expected)
        return cifar_fail_text(text, (char[]){expected, 0});
    text->at++;
    return HT_OK;
}

static ht_status cifar_take_label(cifar_text *text, int64_t row, int32_t *label)
{
    cifar_pass_spaces(text);
    const char *digits = text->bytes + text->at;
    size_t length = strspn(digits, "0123456789");
    if (length == 0) return cifar_fail_text(text, "a label in 0..9");
    *label = *digits - '0';
    text->at += length;
    if (length == 1) return HT_OK;
    int most = length < 20 ? (int)length : 20;
    return hti_input_fail(&text->in, (int64_t)(text->at - length),
                          "row %lld: expected a label in 0..%d, got %.*s\n"
                          "  hint: is this another set's label file, or damaged?",
                          (long long)row, CIFAR_CLASSES - 1, most, digits);
}

/* As many labels as commas, and one. NULL after an error. */
static ht_tensor *cifar_take_labels(cifar_text *text)
{
    int64_t n = 1;
    for (size_t i = 0; i < text->n; i++) n += text->bytes[i] == ',';
    ht_tensor *labels = ht_tensor_new(text->in.ctx, HT_I32, HT_SHAPE(n));
    if (!labels) return NULL;
    int32_t *label = ht_tensor_data(labels);
    ht_status status = HT_OK;
    for (int64_t row = 0; row < n && !status; row++) {
        status = cifar_pass(text, row ? ',' : '[');
        if (!status) status = cifar_take_label(text, row, &label[row]);
    }
    if (!status) status = cifar_pass(text, ']');
    if (!status) cifar_pass_spaces(text);
    if (!status && text->at < text->n)
        status = cifar_fail_text(text, "the end of the file");
    if (!status) return labels;
    ht_tensor_free(labels);
    return NULL;
}

static ht_tensor *cifar_read_labels(ht_context *ctx, const char *path)
{
    cifar_text text = {.n = 0};
    if (hti_input_open_plain(&text.in, ctx, path)) return NULL;
    text.n = (size_t)text.in.file_bytes;
    text.bytes = hti_zalloc(ctx, text.n + 1, 1);
    ht_tensor *labels = NULL;
    if (text.bytes && !hti_input_exactly(&text.in, text.bytes, text.n))
        labels = cifar_take_labels(&text);
    hti_resize(ctx, text.bytes, text.n + 1, 0);
    hti_input_close(&text.in);
    return labels;
}

/* Sheets. */

/* sheet (n, 1024, 3), colours of a pixel side by side, to (n, 3, 1024). */
static void cifar_take_pixels(const ht_tensor *sheet, uint8_t *to)
{
    const uint8_t *from = ht_tensor_data(sheet);
    int64_t n = ht_tensor_shape(sheet).dim[0];
    for (int64_t i = 0; i < n; i++, to += (ptrdiff_t)3 * CIFAR_PIXELS)
        for (int p = 0; p < CIFAR_PIXELS; p++, from += 3)
            for (int c = 0; c < 3; c++) to[c * CIFAR_PIXELS + p] = from[c];
}

/* All sheets of a set, with labels for n images; of those before this one, `done`. */
typedef struct cifar_sheets {
    ht_context *ctx;
    const char *folder;
    bool test;
    int64_t n, done;
} cifar_sheets;

/* Adds the sheet's images to those done. */
static ht_status cifar_count_sheet(cifar_sheets *sheets, const char *path, ht_shape shape)
{
    char text[HT_SHAPE_TEXT];
    int64_t left = sheets->n - sheets->done;
    if (shape.rank != 3 || shape.dim[1] != CIFAR_PIXELS)
        return ht_context_fail(sheets->ctx, HT_ERROR_FORMAT, NULL,
                               "%s: expected RGB of (n, %d, 3), got %s\n"
                               "  hint: every row of a sheet is one image of 32 x 32",
                               path, CIFAR_PIXELS, ht_shape_text(shape, text));
    if (shape.dim[0] > left)
        return ht_context_fail(
            sheets->ctx, HT_ERROR_FORMAT, NULL,
            "%s: expected at most %lld images, got %lld: there are %lld labels in all\n"
            "  hint: sheets and labels belong to different sets",
            path, (long long)left, (long long)shape.dim[0], (long long)sheets->n);
    sheets->done += shape.dim[0];
    return HT_OK;
}

/* One sheet into its place among all pixels; pixels NULL: only its header is looked at.
 */
static ht_status cifar_read_sheet(cifar_sheets *sheets, const char *path, uint8_t *pixels)
{
    ht_shape shape;
    int64_t at = sheets->done;
    if (!pixels) {
        ht_status status = hti_png_examine(sheets->ctx, path, &shape);
        return status ? status : cifar_count_sheet(sheets, path, shape);
    }
    ht_tensor *sheet = ht_png_read(sheets->ctx, path);
    if (!sheet) return ht_context_status(sheets->ctx);
    ht_status status = cifar_count_sheet(sheets, path, ht_tensor_shape(sheet));
    if (!status) cifar_take_pixels(sheet, pixels + at * 3 * CIFAR_PIXELS);
    ht_tensor_free(sheet);
    return status;
}

/* One sheet, or as many as there are labels for. */
static ht_status cifar_read_sheets(cifar_sheets *sheets, uint8_t *pixels)
{
    bool test = sheets->test;
    sheets->done = 0;
    for (int k = 1; sheets->done < sheets->n; k++) {
        char name[64], path[HTI_MOST_PATH];
        snprintf(name, sizeof name, cifar_names[test][0], k);
        bool over = test && k > 1;
        if (over || !hti_image_file(sheets->folder, name, path))
            return ht_context_fail(
                sheets->ctx, HT_ERROR_FORMAT, NULL,
                "%s: expected %lld images for the labels of %s, got %lld%s%s\n"
                "  hint: is a sheet missing? ./dev data cifar fetches the full set",
                sheets->folder, (long long)sheets->n, cifar_names[test][1],
                (long long)sheets->done, over ? "" : "; there is no ", over ? "" : name);
        ht_status status = cifar_read_sheet(sheets, path, pixels);
        if (status) return status;
    }
    return HT_OK;
}

ht_status ht_cifar_read(ht_context *ctx, const char *folder, bool test, ht_images *out)
{
    HT_ASSERT(ctx && folder && out, "ht_cifar_read: context %p, folder %p, out %p",
              (void *)ctx, (const void *)folder, (void *)out);
    char path[HTI_MOST_PATH];
    const char *names = cifar_names[test][1];
    ht_status status = HT_OK;
    if (hti_cifar_batches(ctx, folder, test, out, &status)) {
        if (status) ht_images_free(out);
        return status;
    }
    *out = (ht_images){.classes = 0};
    if (!hti_image_file(folder, names, path))
        return hti_image_missing(ctx, folder,
                                 test
                                     ? "test_lables.json, test_batch.bin or test.bin"
                                     : "train_lables.json, data_batch_1.bin or train.bin",
                                 "cifar");
    out->labels = cifar_read_labels(ctx, path);
    if (!out->labels) return ht_context_status(ctx);
    out->classes = CIFAR_CLASSES;
    int64_t n = ht_tensor_count(out->labels);
    cifar_sheets sheets = {.ctx = ctx, .folder = folder, .test = test, .n = n};
    status = cifar_read_sheets(&sheets, NULL);
    if (!status)
        out->pixels = ht_tensor_new(ctx, HT_U8, HT_SHAPE(n, 3, CIFAR_SIDE, CIFAR_SIDE));
    if (out->pixels)
        status = cifar_read_sheets(&sheets, ht_tensor_data(out->pixels));
    else if (!status)
        status = ht_context_status(ctx);
    if (status) ht_images_free(out);
    return status;
}
