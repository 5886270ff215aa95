/* SPDX-License-Identifier: MIT */
/* make_pictures.c: a folder of pictures by class, for the tests of own_*.c: stripes that
 * rise, fall or lie, of other widths, places and colours, under noise.
 * Usage: make_pictures FOLDER/CLASS KIND N, of a folder that is there; KIND 0 .. 2. */
#include <hypertape.h>
#include <math.h>
#include <stdlib.h>

enum { WIDTH = 40, HEIGHT = 36 };

static double draw(int kind, int picture, int64_t index)
{
    return ht_random_uniform(1, (uint64_t)(1000 * kind + picture), (uint64_t)index);
}

static void paint(uint8_t *pixel, int kind, int picture)
{
    const double slope[] = {1, -1, 0};
    double width = 2 + 2 * draw(kind, picture, 0), start = 6 * draw(kind, picture, 1);
    for (int64_t i = 0; i < HEIGHT * WIDTH; i++) {
        double along = (double)(i / WIDTH) + slope[kind] * (double)(i % WIDTH);
        double wave = sin((along + start) / width);
        for (int64_t c = 0; c < 3; c++) {
            double tint = 40 * draw(kind, picture, 2 + c),
                   noise = 160 * draw(kind, picture, 5 + 3 * i + c);
            pixel[3 * i + c] = (uint8_t)(27 + 14 * wave + tint + noise);
        }
    }
}

int main(int argc, char **argv)
{
    ht_context *ctx =
        ht_context_new(&(ht_context_options){.on_error = ht_print_and_exit});
    ht_tensor *image = ht_tensor_new(ctx, HT_U8, HT_SHAPE(HEIGHT, WIDTH, 3));
    int kind = argc > 2 ? atoi(argv[2]) : 0, n = argc > 3 ? atoi(argv[3]) : 0;
    for (int i = 0; i < n; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%d.png", argv[1], i);
        paint(ht_tensor_data(image), kind, i);
        ht_png_write(ctx, path, image);
    }
    ht_tensor_free(image);
    ht_context_free(ctx);
}
