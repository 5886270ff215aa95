/* SPDX-License-Identifier: MIT */
/* fuzz_png.c: the PNG reader. The first byte says what the others are: a file, a file
 * whose chunks are signed anew, or sides and rows to be compressed. What loads is written
 * and read back the same. Read next: data/png_read.c. */
#include "png.h"

enum { FILE_AS_IS, FILE_SIGNED, FILE_OF_ROWS, KINDS };

static png_bytes file;

/* Whether it must load, where that is known: rows that are as many as the header says,
 * of the five filters. */
enum { MUST_NOT, MUST, UNKNOWN };

static int rows_verdict(const uint8_t *rows, size_t n, size_t row, size_t height)
{
    if (n != row * height) return MUST_NOT;
    for (size_t y = 0; y < height; y++)
        if (rows[y * row] > 4) return MUST_NOT;
    return MUST;
}

static int make_file(const uint8_t *data, size_t size)
{
    fuzz_bytes b = {.data = data, .size = size};
    uint32_t kind = fuzz_below(&b, KINDS);
    file.n = 0;
    if (kind == FILE_OF_ROWS) {
        uint32_t width = 1 + fuzz_byte(&b), height = 1 + fuzz_byte(&b);
        bool rgb = fuzz_byte(&b) & 1;
        int level = (int)fuzz_below(&b, 10);
        size_t piece = 16 + fuzz_below(&b, 1000);
        const uint8_t *rows = data + b.at;
        png_put_header(&file, width, height, rgb);
        png_put_rows(&file, rows, size - b.at, level, piece);
        return rows_verdict(rows, size - b.at, 1 + width * (rgb ? 3 : 1), height);
    }
    png_put(&file, data + b.at, size - b.at);
    if (kind == FILE_SIGNED) png_sign(file.bytes, file.n);
    return UNKNOWN;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > FUZZ_MOST) return 0;
    int verdict = make_file(data, size);
    if (file.n == 0) return 0;
    char path[FUZZ_PATH], copy[FUZZ_PATH];
    fuzz_write("x", path, file.bytes, file.n);
    ht_context *ctx = fuzz_context(1032 * file.n + 200000);
    ht_tensor *x = ht_png_read(ctx, path);
    fuzz_check_read(ctx, path, x != NULL);
    FUZZ_REQUIRE(verdict == UNKNOWN || (verdict == MUST) == (x != NULL), "%s",
                 ht_context_message(ctx));
    ht_context_clear(ctx);
    if (x) {
        ht_context *other = ht_context_new(&(ht_context_options){.threads = 1});
        FUZZ_REQUIRE(!ht_png_write(other, fuzz_path("y", copy), x), "%s",
                     ht_context_message(other));
        ht_tensor *y = ht_png_read(other, copy);
        fuzz_require_equal(x, y, ht_context_message(other));
        ht_tensor_free(y);
        ht_context_free(other);
    }
    ht_tensor_free(x);
    fuzz_end(ctx);
    return 0;
}

size_t fuzz_example(uint64_t number, uint8_t *to, size_t most)
{
    static uint8_t rows[16 * 64];
    uint32_t width = 1 + (uint32_t)(fuzz_mix(number) % 12),
             height = 1 + (uint32_t)(number % 11);
    bool rgb = number & 1;
    size_t row = 1 + width * (rgb ? 3 : 1), n = height * row, used = 1;
    for (size_t i = 0; i < n; i++)
        rows[i] = (uint8_t)(i % row ? fuzz_mix(number + i) : (number + i / row) % 5);
    if (number % KINDS == FILE_OF_ROWS) {
        const uint8_t front[] = {FILE_OF_ROWS,
                                 (uint8_t)(width - 1),
                                 (uint8_t)(height - 1),
                                 rgb,
                                 9,
                                 20,
                                 0,
                                 0,
                                 0};
        used = sizeof front;
        memcpy(to, front, used);
        memcpy(to + used, rows, n);
        return used + n <= most ? used + n : 0;
    }
    png_put_header(&file, width, height, rgb);
    if (number % 4 == 0) png_put_chunk(&file, "tEXt", "k\0words", 7);
    if (number % 5 == 0) png_put_chunk(&file, "IDAT", "", 0);
    png_put_rows(&file, rows, n, (int)(number % 10), 10 + number % 50);
    to[0] = (uint8_t)(number % KINDS);
    memcpy(to + used, file.bytes, file.n);
    return used + file.n;
}

void fuzz_figures(FILE *f)
{
    fuzz_met_figures(f);
}
