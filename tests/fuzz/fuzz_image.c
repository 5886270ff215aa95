/* SPDX-License-Identifier: MIT */
/* fuzz_image.c: pictures of any kind. The first byte says whether the others are a file,
 * a PNG whose chunks are signed anew, or what a JPEG holds between its first and its last
 * marker; the second how it is read. Read next: data/picture.c. */
#include "png.h"

enum { FILE_AS_IS, FILE_SIGNED, FILE_FRAMED, KINDS };

static png_bytes file;

static void make_file(uint8_t kind, const uint8_t *data, size_t size)
{
    file.n = 0;
    if (kind == FILE_FRAMED) png_put(&file, "\xff\xd8\xff", 3);
    png_put(&file, data, size);
    if (kind == FILE_FRAMED) png_put(&file, "\xff\xd9", 2);
    if (kind == FILE_SIGNED) png_sign(file.bytes, file.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || size > FUZZ_MOST) return 0;
    char path[FUZZ_PATH];
    uint8_t how = data[1];
    make_file(*data % KINDS, data + 2, size - 2);
    if (file.n == 0) return 0;
    ht_image_options o = {.grey = how & 1,
                          .crop = how & 2,
                          .width = how & 4 ? 7 : 0,
                          .height = how & 4 ? 5 : 0,
                          .filter = how & 8 ? HT_AREA : HT_BILINEAR,
                          .alpha = (ht_alpha)((how >> 4) % 3)};
    fuzz_write("x", path, file.bytes, file.n);
    /* A small file may be a picture of many bytes: what is past this is only refused. */
    ht_context *ctx = fuzz_context(1 << 25);
    ht_tensor *x = ht_image_read(ctx, path, &o);
    if (ht_context_status(ctx) != HT_ERROR_MEMORY) fuzz_check_read(ctx, path, x != NULL);
    ht_context_clear(ctx);
    if (x) {
        ht_shape shape = ht_tensor_shape(x);
        FUZZ_REQUIRE(shape.rank == (o.grey ? 2 : 3), "%d axes", shape.rank);
        FUZZ_REQUIRE(!o.width || (shape.dim[0] == 5 && shape.dim[1] == 7), "its size");
    }
    ht_tensor_free(x);
    fuzz_end(ctx);
    return 0;
}

/* A JPEG of tests/reference, without its ends; 0 where that is not at hand. */
static size_t put_jpeg(uint64_t number, uint8_t *to)
{
    static const char *const names[] = {"plain",  "half", "progressive", "restart",
                                        "coarse", "grey", "turned6"};
    char path[512];
    uint8_t bytes[4096];
    const char *source = getenv("HYPERTAPE_SOURCE");
    snprintf(path, sizeof path, "%s/tests/reference/files/%s.jpg", source ? source : ".",
             names[number % (sizeof names / sizeof *names)]);
    FILE *jpeg = fopen(path, "rb");
    if (!jpeg) return 0;
    size_t n = fread(bytes, 1, sizeof bytes, jpeg);
    fclose(jpeg);
    if (n > 5) memcpy(to, bytes + 3, n - 5);
    return n > 5 ? n - 5 : 0;
}

size_t fuzz_example(uint64_t number, uint8_t *to, size_t most)
{
    static const uint8_t kinds[][2] = {{1, 0}, {2, 0},  {4, 0},  {8, 0}, {16, 0},
                                       {8, 2}, {16, 2}, {1, 3},  {2, 3}, {4, 3},
                                       {8, 3}, {8, 4},  {16, 4}, {8, 6}, {16, 6}};
    static const uint8_t samples[] = {1, 0, 3, 1, 2, 0, 4};
    if (number >= 90) return 0;
    to[1] = (uint8_t)(fuzz_mix(number) & 63);
    if (number >= 60) {
        size_t n = most > 5000 ? put_jpeg(number, to + 2) : 0;
        to[0] = FILE_FRAMED;
        return n ? n + 2 : 0;
    }
    const uint8_t *kind = kinds[number % 15];
    uint8_t head[13] = {[3] = 9, [7] = 7, [8] = kind[0], [9] = kind[1]};
    uint8_t rows[512] = {0};
    size_t row = 1 + (9u * kind[0] * samples[kind[1]] + 7) / 8;
    file.n = 0;
    png_put(&file, "\x89PNG\r\n\x1a\n", 8);
    png_put_chunk(&file, "IHDR", head, sizeof head);
    for (size_t i = 0; i < 7 * row; i++)
        rows[i] = (uint8_t)(i % row ? fuzz_mix(number + i) : i / row % 5);
    if (kind[1] == 3)
        png_put_chunk(&file, "PLTE", rows, 3u << (kind[0] < 7 ? kind[0] : 7));
    png_put_rows(&file, rows, 7 * row, 9, 100);
    to[0] = FILE_SIGNED;
    if (file.n + 2 > most) return 0;
    memcpy(to + 2, file.bytes, file.n);
    return file.n + 2;
}

void fuzz_figures(FILE *f)
{
    fuzz_met_figures(f);
}
