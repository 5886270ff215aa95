/* SPDX-License-Identifier: MIT */
/* image.c: labelled image sets in MNIST's layout, and any set's rows as floats.
 *
 * Pixels stay bytes in memory; a training set becomes floats only for the rows in use.
 * Read next: split.c (which rows), cifar.c (colour). */
#include "data_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum { IMAGE_CLASSES = 10 };

bool hti_image_file(const char *folder, const char *name, char path[HTI_MOST_PATH])
{
    struct stat about;
    int n = snprintf(path, HTI_MOST_PATH, "%s/%s", folder, name);
    return n < HTI_MOST_PATH && stat(path, &about) == 0;
}

ht_status hti_image_missing(ht_context *ctx, const char *folder, const char *wanted,
                            const char *set)
{
    struct stat about;
    const char *got = "one without";
    if (stat(folder, &about) != 0)
        got = strerror(errno);
    else if (!S_ISDIR(about.st_mode))
        got = "a file";
    return ht_context_fail(
        ctx, HT_ERROR_FILE, NULL,
        "%s: expected a folder with %s, got %s\n"
        "  hint: ./dev data %s fetches the full set in a checkout of hypertape, where "
        "data/bundled/%s is a part of it; installed are digits, share/hypertape/mnist "
        "(pkg-config --variable=digits hypertape); is the path right, seen from the "
        "current folder?",
        folder, wanted, got, set, set);
}

/* Finds the plain file or the gzip of one, of what ("images-idx3") there is. */
static ht_status image_find(ht_context *ctx, const char *folder, bool test,
                            const char *what, char path[HTI_MOST_PATH])
{
    char name[64], gzip[80], wanted[160];
    snprintf(name, sizeof name, "%s-%s-ubyte", test ? "t10k" : "train", what);
    snprintf(gzip, sizeof gzip, "%s.gz", name);
    snprintf(wanted, sizeof wanted, "%s or %s", name, gzip);
    if (hti_image_file(folder, name, path) || hti_image_file(folder, gzip, path))
        return HT_OK;
    return hti_image_missing(ctx, folder, wanted, "mnist");
}

static ht_tensor *image_read(ht_context *ctx, const char *path, int rank)
{
    ht_tensor *x = ht_idx_read(ctx, path);
    if (!x) return NULL;
    char text[HT_SHAPE_TEXT];
    ht_shape shape = ht_tensor_shape(x);
    if (ht_tensor_dtype(x) == HT_U8 && shape.rank == rank) return x;
    ht_context_fail(ctx, HT_ERROR_FORMAT, NULL,
                    "%s: expected u8 with %d axes, got %s %s\n"
                    "  hint: images are (n, rows, cols) bytes, labels (n) bytes",
                    path, rank, ht_dtype_name(ht_tensor_dtype(x)),
                    ht_shape_text(shape, text));
    ht_tensor_free(x);
    return NULL;
}

/* bytes (n) u8 as labels (n) i32, each below IMAGE_CLASSES. */
static ht_status image_take_labels(const char *path, const ht_tensor *bytes,
                                   ht_tensor *labels)
{
    const uint8_t *from = ht_tensor_data(bytes);
    for (int64_t row = 0; row < ht_tensor_count(bytes); row++)
        if (from[row] >= IMAGE_CLASSES)
            return ht_context_fail(
                ht_tensor_context(bytes), HT_ERROR_FORMAT, NULL,
                "%s: offset %lld: row %lld: expected a label in 0..%d, got %d\n"
                "  hint: is this another set's label file, or damaged?",
                path, (long long)row + 8, (long long)row, IMAGE_CLASSES - 1, from[row]);
    return ht_tensor_copy(labels, bytes);
}

static ht_tensor *image_read_labels(ht_context *ctx, const char *path)
{
    ht_tensor *bytes = image_read(ctx, path, 1);
    if (!bytes) return NULL;
    ht_tensor *labels = ht_tensor_new(ctx, HT_I32, ht_tensor_shape(bytes));
    if (labels && image_take_labels(path, bytes, labels)) {
        ht_tensor_free(labels);
        labels = NULL;
    }
    ht_tensor_free(bytes);
    return labels;
}

static ht_status image_check_counts(ht_context *ctx, const ht_images *images,
                                    const char *pixels_path, const char *labels_path)
{
    long long n_pixels = ht_tensor_shape(images->pixels).dim[0];
    long long n_labels = ht_tensor_count(images->labels);
    if (n_pixels == n_labels) return HT_OK;
    return ht_context_fail(
        ctx, HT_ERROR_FORMAT, NULL,
        "%s: expected as many labels as %s has images, %lld; got %lld\n"
        "  hint: the two files belong to different sets",
        labels_path, pixels_path, n_pixels, n_labels);
}

ht_status ht_mnist_read(ht_context *ctx, const char *folder, bool test, ht_images *out)
{
    HT_ASSERT(ctx && folder && out, "ht_mnist_read: context %p, folder %p, out %p",
              (void *)ctx, (const void *)folder, (void *)out);
    char pixels_path[HTI_MOST_PATH], labels_path[HTI_MOST_PATH];
    *out = (ht_images){.classes = IMAGE_CLASSES};
    ht_status status = image_find(ctx, folder, test, "images-idx3", pixels_path);
    if (!status) status = image_find(ctx, folder, test, "labels-idx1", labels_path);
    if (!status) out->pixels = image_read(ctx, pixels_path, 3);
    if (out->pixels) out->labels = image_read_labels(ctx, labels_path);
    if (out->labels)
        status = image_check_counts(ctx, out, pixels_path, labels_path);
    else if (!status)
        status = ht_context_status(ctx);
    if (status) ht_images_free(out);
    return status;
}

void ht_images_free(ht_images *images)
{
    if (!images) return;
    if (images->labels) {
        ht_context *ctx = ht_tensor_context(images->labels);
        int files = images->files ? (int)ht_tensor_count(images->labels) : 0;
        hti_names_free(ctx, images->files, files);
        hti_names_free(ctx, images->class_names,
                       images->class_names ? images->classes : 0);
    }
    ht_tensor_free(images->pixels);
    ht_tensor_free(images->labels);
    *images = (ht_images){0};
}

/* Elements of one image. */
static int64_t image_width(const ht_images *images)
{
    ht_shape shape = ht_tensor_shape(images->pixels);
    int64_t width = 1;
    for (int axis = 1; axis < shape.rank; axis++) width *= shape.dim[axis];
    return width;
}

static ht_status image_check_rows(const ht_images *images, int64_t n, const ht_tensor *x,
                                  const ht_tensor *labels)
{
    char got[HT_SHAPE_TEXT], wanted[HT_SHAPE_TEXT];
    ht_context *ctx = ht_tensor_context(x);
    ht_shape given = ht_tensor_shape(x), rows = HT_SHAPE(n, image_width(images));
    if (!hti_dtype_is_float(ht_tensor_dtype(x)) ||
        (labels && ht_tensor_dtype(labels) != HT_I32))
        return ht_context_fail(
            ctx, HT_ERROR_DTYPE, NULL,
            "ht_images_rows: expected x f32 or f64 and labels i32, "
            "got %s and %s\n  hint: pass labels NULL if they are not wanted",
            ht_dtype_name(ht_tensor_dtype(x)),
            labels ? ht_dtype_name(ht_tensor_dtype(labels)) : "none");
    int64_t width = given.rank > 0 ? 1 : 0;
    for (int axis = 1; axis < given.rank; axis++) width *= given.dim[axis];
    if (width != rows.dim[1] || given.dim[0] != n)
        return ht_context_fail(
            ctx, HT_ERROR_SHAPE, NULL,
            "ht_images_rows: expected x of shape %s, got %s\n"
            "  hint: one row an image, one column a pixel, or the image's own axes",
            ht_shape_text(rows, wanted), ht_shape_text(given, got));
    if (labels && !ht_shape_equal(ht_tensor_shape(labels), HT_SHAPE(n)))
        return ht_context_fail(ctx, HT_ERROR_SHAPE, NULL,
                               "ht_images_rows: expected labels of shape %s, got %s\n"
                               "  hint: one label an image",
                               ht_shape_text(HT_SHAPE(n), wanted),
                               ht_shape_text(ht_tensor_shape(labels), got));
    return HT_OK;
}

/* x (n) = pixel (n) / 255. */
static void image_scale(ht_tensor *x, int64_t at, const uint8_t *pixel, int64_t n)
{
    if (ht_tensor_dtype(x) == HT_F32) {
        float *to = (float *)ht_tensor_data(x) + at;
        for (int64_t i = 0; i < n; i++) to[i] = (float)pixel[i] / 255.0f;
    } else {
        double *to = (double *)ht_tensor_data(x) + at;
        for (int64_t i = 0; i < n; i++) to[i] = pixel[i] / 255.0;
    }
}

static ht_status images_rows(const ht_images *images, const int64_t *order, int64_t first,
                             int64_t n, ht_tensor *x, ht_tensor *labels)
{
    ht_status status = image_check_rows(images, n, x, labels);
    if (status) return status;
    int64_t count = ht_tensor_count(images->labels), width = image_width(images);
    const uint8_t *pixels = ht_tensor_data(images->pixels);
    const int32_t *given = ht_tensor_data(images->labels);
    int32_t *kept = labels ? ht_tensor_data(labels) : NULL;
    const char *site = x->ctx->site;
    hti_tensor_write(x, "ht_images_rows", site);
    if (labels) hti_tensor_write(labels, "ht_images_rows", site);
    for (int64_t i = 0; i < n; i++) {
        int64_t row = order ? order[first + i] : first + i;
        if (row < 0 || row >= count)
            return ht_context_fail(x->ctx, HT_ERROR_ARGUMENT, NULL,
                                   "ht_images_rows: expected a row in 0..%lld, got %lld\n"
                                   "  hint: more images are asked for than exist",
                                   (long long)count - 1, (long long)row);
        image_scale(x, i * width, pixels + row * width, width);
        if (kept) kept[i] = given[row];
    }
    return HT_OK;
}

ht_status ht_images_rows_at(const ht_images *images, const int64_t *order, int64_t first,
                            int64_t n, ht_tensor *x, ht_tensor *labels, const char *site)
{
    HT_ASSERT(images && images->pixels && images->labels && x,
              "ht_images_rows: images %p, with pixels and labels, x %p%s%s",
              (const void *)images, (void *)x, HTI_AT(site));
    /* Of the context that is written to: several threads may read the same images. */
    ht_context *ctx = x->ctx;
    const char *outer = hti_enter(ctx, site);
    ht_status status = images_rows(images, order, first, n, x, labels);
    ctx->site = outer;
    return status;
}

/* One picture. */

static ht_status image_row(const ht_tensor *picture, ht_tensor *x, int64_t row)
{
    char got[HT_SHAPE_TEXT], wanted[HT_SHAPE_TEXT];
    ht_shape given = ht_tensor_shape(picture), to = ht_tensor_shape(x);
    int64_t n = ht_tensor_count(picture), rows = to.rank ? to.dim[0] : 0;
    bool picture_like = given.rank == 2 || (given.rank == 3 && given.dim[2] == 3);
    if (!hti_dtype_is_float(ht_tensor_dtype(x)) || ht_tensor_dtype(picture) != HT_U8)
        return ht_context_fail(
            x->ctx, HT_ERROR_DTYPE, NULL,
            "ht_image_row: expected a picture u8 and x f32 or f64, got "
            "%s and %s\n  hint: the picture is ht_image_read's",
            ht_dtype_name(ht_tensor_dtype(picture)), ht_dtype_name(ht_tensor_dtype(x)));
    if (!picture_like || ht_tensor_count(x) != n * rows)
        return ht_context_fail(
            x->ctx, HT_ERROR_SHAPE, NULL,
            "ht_image_row: expected a picture (height, width, 3) or (height, width) and "
            "x "
            "of as many elements a row, got %s and %s\n"
            "  hint: ht_image_read with .width and .height as the network was trained on",
            ht_shape_text(given, got), ht_shape_text(to, wanted));
    if (row < 0 || row >= rows)
        return ht_context_fail(x->ctx, HT_ERROR_ARGUMENT, NULL,
                               "ht_image_row: expected a row in 0..%lld, got %lld\n"
                               "  hint: x has one row a picture",
                               (long long)rows - 1, (long long)row);
    int64_t colours = given.rank == 3 ? 3 : 1;
    const uint8_t *pixel = ht_tensor_data(picture);
    hti_tensor_write(x, "ht_image_row", x->ctx->site);
    ht_array array = ht_tensor_array(x);
    bool single = ht_tensor_dtype(x) == HT_F32;
    for (int64_t i = 0; i < n; i++)
        hti_write(&array, row * n + i % colours * (n / colours) + i / colours,
                  single ? (double)((float)pixel[i] / 255.0f) : pixel[i] / 255.0);
    return HT_OK;
}

ht_status ht_image_row_at(const ht_tensor *picture, ht_tensor *x, int64_t row,
                          const char *site)
{
    HT_ASSERT(picture && x, "ht_image_row: picture %p, x %p%s%s", (const void *)picture,
              (void *)x, HTI_AT(site));
    const char *outer = hti_enter(x->ctx, site);
    ht_status status = image_row(picture, x, row);
    x->ctx->site = outer;
    return status;
}
