/* SPDX-License-Identifier: MIT */
/* fuzz_cifar.c: the reader of CIFAR-10 as sheets: labels as JSON, and PNG sheets of which
 * the first bytes tell the height. What loads has as many images as labels, the labels
 * that a simpler reader finds. Read next: data/cifar.c. */
#include "png.h"

enum { CIFAR_ROW = 1 + 3 * 1024, CIFAR_TEXT = 4096 };

static png_bytes file;

static void write_sheet(const char *name, uint32_t height, uint32_t narrow, bool rgb)
{
    static uint8_t rows[20 * CIFAR_ROW];
    char path[FUZZ_PATH];
    uint32_t width = 1024 - narrow;
    size_t n = height * (1 + width * (rgb ? 3 : 1));
    for (size_t i = 0; i < n; i++) rows[i] = (uint8_t)(i % (n / height) ? i / 7 : 0);
    png_put_header(&file, width, height, rgb);
    png_put_rows(&file, rows, n, 9, FUZZ_MOST);
    fuzz_write(name, path, file.bytes, file.n);
}

/* The digits of the text are its labels, if it is one. */
static void check_labels(const ht_images *images, const uint8_t *text, size_t n)
{
    const int32_t *label = ht_tensor_data(images->labels);
    int64_t row = 0, count = ht_tensor_count(images->labels);
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9') continue;
        FUZZ_REQUIRE(row < count && label[row] == text[i] - '0', "row %lld",
                     (long long)row);
        row++;
    }
    FUZZ_REQUIRE(row == count, "%lld labels of %lld", (long long)count, (long long)row);
    FUZZ_REQUIRE(
        ht_shape_equal(ht_tensor_shape(images->pixels), HT_SHAPE(count, 3, 32, 32)),
        "another shape than of %lld images", (long long)count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > CIFAR_TEXT) return 0;
    fuzz_bytes b = {.data = data, .size = size};
    char path[FUZZ_PATH];
    uint32_t kind = fuzz_byte(&b);
    uint32_t first = 1 + fuzz_below(&b, 10), second = fuzz_below(&b, 10);
    write_sheet("data_batch_1.png", first, kind % 16 == 1, kind % 16 != 2);
    remove(fuzz_path("data_batch_2.png", path));
    if (second) write_sheet("data_batch_2.png", second, 0, true);
    fuzz_write("train_lables.json", path, data + b.at, size - b.at);
    ht_images images;
    /* Sheets and pixels at once, and the labels' text. */
    ht_context *ctx =
        fuzz_context((first + 2 * second + 20) * CIFAR_ROW + 6 * size + 200000);
    ht_status status = ht_cifar_read(ctx, fuzz_folder, false, &images);
    FUZZ_REQUIRE(status == ht_context_status(ctx), "%s", ht_status_name(status));
    fuzz_check_read(ctx, fuzz_folder, status == HT_OK);
    FUZZ_REQUIRE(status || (images.pixels && images.labels), "HT_OK, and nothing");
    FUZZ_REQUIRE(!status || (!images.pixels && !images.labels), "an error, and a part");
    if (!status) check_labels(&images, data + b.at, size - b.at);
    ht_images_free(&images);
    ht_context_clear(ctx);
    fuzz_end(ctx);
    return 0;
}

size_t fuzz_example(uint64_t number, uint8_t *to, size_t most)
{
    static const char *const between[] = {",", " ,", ",\n", "\t, "};
    uint32_t first = 1 + (uint32_t)(number % 10), second = (uint32_t)(number / 10 % 10);
    size_t n = 3;
    if (most < CIFAR_TEXT) return 0;
    to[0] = 0;
    to[1] = (uint8_t)(first - 1);
    to[2] = (uint8_t)second;
    for (uint32_t row = 0; row < first + second; row++)
        n += (size_t)sprintf((char *)to + n, "%s%u", row ? between[number % 4] : "[",
                             (unsigned)(fuzz_mix(number + row) % 10));
    to[n++] = ']';
    return n;
}

void fuzz_figures(FILE *f)
{
    fuzz_met_figures(f);
}
