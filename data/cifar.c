/* SPDX-License-Identifier: MIT */
/* cifar.c: CIFAR-10 as sheets: PNG pictures of which every row of 1,024 pixels is one
 * image of 32 x 32, and the labels as one JSON list for all sheets.
 *
 * The labels are read first: they say how many images there must be. Then the headers of
 * the sheets, whether there are as many, before pixels are asked for, once for all. Read
 * next: png_read.c, image.c. */
#include "data_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum {
    CIFAR_PATH = 4096,
    CIFAR_CLASSES = 10,
    CIFAR_SIDE = 32,
    CIFAR_PIXELS = CIFAR_SIDE * CIFAR_SIDE
};

/* The sheets' names as they are packaged, spelling included. */
static const char *const cifar_names[2][2] = {{"data_batch_%d.png", "train_lables.json"},
                                              {"test_batch.png", "test_lables.json"}};

static ht_status cifar_join(ht_context *ctx, const char *folder, const char *name,
                            char path[CIFAR_PATH])
{
    if (snprintf(path, CIFAR_PATH, "%s/%s", folder, name) < CIFAR_PATH) return HT_OK;
    return ht_context_fail(ctx, HT_ERROR_FILE, NULL,
                           "%s: expected a path below %d bytes\n"
                           "  hint: start from a nearer folder",
                           folder, CIFAR_PATH);
}

static ht_status cifar_fail_finding(ht_context *ctx, const char *folder, const char *name)
{
    struct stat about;
    const char *got = "one without";
    if (stat(folder, &about) != 0)
        got = strerror(errno);
    else if (!S_ISDIR(about.st_mode))
        got = "a file";
    return ht_context_fail(ctx, HT_ERROR_FILE, NULL,
                           "%s: expected a folder with %s, got %s\n"
                           "  hint: ./dev data cifar fetches the full set",
                           folder, name, got);
}

/* Labels: [6,9,9,...], whole numbers below 10, spaces between them allowed. */

typedef struct cifar_text {
    ht_context *ctx;
    const char *path, *bytes;
    size_t n, at;
} cifar_text;

static char cifar_next(cifar_text *text)
{
    for (; text->at < text->n; text->at++) {
        char c = text->bytes[text->at];
        if (c != ' ' && c != '\t' && c != '\r' && c != '\n') return c;
    }
    return 0;
}

static ht_status cifar_fail_text(const cifar_text *text, const char *expected)
{
    char got[32] = "the end of the file";
    if (text->at < text->n)
        snprintf(got, sizeof got, "byte 0x%02x", (unsigned char)text->bytes[text->at]);
    return ht_context_fail(text->ctx, HT_ERROR_FORMAT, NULL,
                           "%s: offset %zu: expected %s, got %s\n"
                           "  hint: labels are one JSON list of numbers, like [6,9,9]",
                           text->path, text->at, expected, got);
}

static ht_status cifar_take_label(cifar_text *text, int64_t row, int32_t *label)
{
    char c = cifar_next(text);
    size_t start = text->at;
    if (c < '0' || c > '9') return cifar_fail_text(text, "a label in 0..9");
    while (text->at < text->n && text->bytes[text->at] >= '0' &&
           text->bytes[text->at] <= '9')
        text->at++;
    *label = c - '0';
    if (text->at == start + 1) return HT_OK;
    size_t length = text->at - start;
    return ht_context_fail(text->ctx, HT_ERROR_FORMAT, NULL,
                           "%s: offset %zu: row %lld: expected a label in 0..%d, "
                           "got %.*s\n"
                           "  hint: is this another set's label file, or damaged?",
                           text->path, start, (long long)row, CIFAR_CLASSES - 1,
                           (int)(length < 20 ? length : 20), text->bytes + start);
}

static ht_status cifar_take_labels(cifar_text *text, ht_tensor *labels)
{
    int32_t *label = ht_tensor_data(labels);
    int64_t n = ht_tensor_count(labels);
    if (cifar_next(text) != '[') return cifar_fail_text(text, "[");
    for (int64_t row = 0; row < n; row++) {
        text->at++;
        ht_status status = cifar_take_label(text, row, &label[row]);
        if (status) return status;
        if (cifar_next(text) != (row + 1 < n ? ',' : ']'))
            return cifar_fail_text(text, row + 1 < n ? "," : "]");
    }
    text->at++;
    if (cifar_next(text) || text->at < text->n)
        return cifar_fail_text(text, "the end of the file");
    return HT_OK;
}

/* As many labels as commas, and one. */
static ht_tensor *cifar_read_labels(ht_context *ctx, const char *path)
{
    cifar_text text = {.ctx = ctx, .path = path};
    char *bytes = hti_file_content(ctx, path, &text.n);
    if (!bytes) return NULL;
    text.bytes = bytes;
    int64_t n = 1;
    for (size_t i = 0; i < text.n; i++) n += bytes[i] == ',';
    ht_tensor *labels = ht_tensor_new(ctx, HT_I32, HT_SHAPE(n));
    if (labels && cifar_take_labels(&text, labels)) {
        ht_tensor_free(labels);
        labels = NULL;
    }
    hti_resize(ctx, bytes, text.n, 0);
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
        char name[64], path[CIFAR_PATH];
        struct stat about;
        snprintf(name, sizeof name, cifar_names[test][0], k);
        ht_status status = cifar_join(sheets->ctx, sheets->folder, name, path);
        if (status) return status;
        if ((test && k > 1) || stat(path, &about) != 0)
            return ht_context_fail(
                sheets->ctx, HT_ERROR_FORMAT, NULL,
                "%s: expected %lld images for the labels of %s, got %lld%s%s\n"
                "  hint: is a sheet missing? ./dev data cifar fetches the full set",
                sheets->folder, (long long)sheets->n, cifar_names[test][1],
                (long long)sheets->done, test && k > 1 ? "" : "; there is no ",
                test && k > 1 ? "" : name);
        status = cifar_read_sheet(sheets, path, pixels);
        if (status) return status;
    }
    return HT_OK;
}

ht_status ht_cifar_read(ht_context *ctx, const char *folder, bool test, ht_images *out)
{
    HT_ASSERT(ctx && folder && out, "ht_cifar_read: context %p, folder %p, out %p",
              (void *)ctx, (const void *)folder, (void *)out);
    char path[CIFAR_PATH];
    struct stat about;
    *out = (ht_images){.classes = CIFAR_CLASSES};
    ht_status status = cifar_join(ctx, folder, cifar_names[test][1], path);
    if (!status && stat(path, &about) != 0)
        status = cifar_fail_finding(ctx, folder, cifar_names[test][1]);
    if (!status) out->labels = cifar_read_labels(ctx, path);
    if (!status && !out->labels) status = ht_context_status(ctx);
    int64_t n = out->labels ? ht_tensor_count(out->labels) : 0;
    cifar_sheets sheets = {.ctx = ctx, .folder = folder, .test = test, .n = n};
    if (!status) status = cifar_read_sheets(&sheets, NULL);
    if (!status)
        out->pixels = ht_tensor_new(ctx, HT_U8, HT_SHAPE(n, 3, CIFAR_SIDE, CIFAR_SIDE));
    if (out->pixels)
        status = cifar_read_sheets(&sheets, ht_tensor_data(out->pixels));
    else if (!status)
        status = ht_context_status(ctx);
    if (status) ht_images_free(out);
    return status;
}
