/* SPDX-License-Identifier: MIT */
/* cut_cifar.c: a small part of CIFAR-10 out of the full set, with as many images of every
 * class: pictures read, rows picked, a PNG written. data/bundle.sh makes the bundled part
 * by it.
 *
 * usage: cut_cifar <full set> <folder to write> <train images> <test images>
 *
 * Of each class the first images, in their order; what is taken stays in the set's order.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ht_data.h>

enum { CUT_CLASSES = 10, CUT_PIXELS = 1024, CUT_PATH = 4096 };

/* Image `row` of (n, 3, 32, 32) as line `at` of a sheet (n, 1024, 3). */
static void cut_image(const ht_images *images, int64_t row, ht_tensor *sheet, int64_t at)
{
    const uint8_t *from = ht_tensor_data(images->pixels);
    uint8_t *to = ht_tensor_data(sheet);
    from += row * 3 * CUT_PIXELS;
    to += at * 3 * CUT_PIXELS;
    for (int p = 0; p < CUT_PIXELS; p++)
        for (int c = 0; c < 3; c++) to[3 * p + c] = from[c * CUT_PIXELS + p];
}

/* Fills the sheet and writes the labels; false if there were too few of a class. */
static bool cut_rows(const ht_images *images, ht_tensor *sheet, FILE *labels)
{
    int64_t n = ht_tensor_shape(sheet).dim[0], at = 0, taken[CUT_CLASSES] = {0};
    const int32_t *label = ht_tensor_data(images->labels);
    for (int64_t row = 0; at < n && row < ht_tensor_count(images->labels); row++) {
        if (taken[label[row]] == n / CUT_CLASSES) continue;
        taken[label[row]]++;
        cut_image(images, row, sheet, at);
        fprintf(labels, "%s%d", at++ ? "," : "[", label[row]);
    }
    fputc(']', labels);
    return at == n;
}

static void cut(ht_context *ctx, const char *full, const char *out, bool test, int64_t n)
{
    char path[2][CUT_PATH];
    ht_images images;
    snprintf(path[0], CUT_PATH, "%s/%s", out,
             test ? "test_batch.png" : "data_batch_1.png");
    snprintf(path[1], CUT_PATH, "%s/%s_lables.json", out, test ? "test" : "train");
    ht_cifar_read(ctx, full, test, &images);
    ht_tensor *sheet = ht_tensor_new(ctx, HT_U8, HT_SHAPE(n, CUT_PIXELS, 3));
    ht_check(ctx);
    FILE *labels = fopen(path[1], "wb");
    bool good = labels && cut_rows(&images, sheet, labels);
    if (labels) good = fclose(labels) == 0 && good;
    if (!good)
        ht_context_fail(ctx, HT_ERROR_FILE, NULL,
                        "%s: cannot be written, or %s has too few of a class", path[1],
                        full);
    ht_png_write(ctx, path[0], sheet);
    ht_check(ctx);
    ht_tensor_free(sheet);
    ht_images_free(&images);
}

int main(int argc, char **argv)
{
    long n_train = argc == 5 ? atol(argv[3]) : 0, n_test = argc == 5 ? atol(argv[4]) : 0;
    if (n_train <= 0 || n_test <= 0 || n_train % CUT_CLASSES || n_test % CUT_CLASSES) {
        fprintf(stderr,
                "usage: cut_cifar <full set> <folder to write> <train images> "
                "<test images>; multiples of %d\n",
                CUT_CLASSES);
        return 2;
    }
    ht_context *ctx = ht_context_new(NULL);
    if (!ctx) return 1;
    cut(ctx, argv[1], argv[2], false, n_train);
    cut(ctx, argv[1], argv[2], true, n_test);
    ht_context_free(ctx);
    return 0;
}
