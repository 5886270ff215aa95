/* SPDX-License-Identifier: MIT */
/* test_contact_sheet.c: what colours stand where in the picture, read again. */
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "test.h"

enum { SIDE = 28 };

typedef enum ink { PAPER, BLACK, BLUE, RED, GREY } ink;

static ink ink_of(const uint8_t *pixel)
{
    if (pixel[0] == 255 && pixel[2] == 255) return PAPER;
    if (pixel[0] == pixel[2]) return pixel[0] == 40 ? BLACK : GREY;
    return pixel[0] > pixel[2] ? RED : BLUE;
}

/* The first line with that ink from line `from` on, or -1. */
static int64_t line_of(const ht_tensor *picture, ink wanted, int64_t from)
{
    ht_shape shape = ht_tensor_shape(picture);
    const uint8_t *pixel = ht_tensor_data(picture);
    for (int64_t k = from * shape.dim[1]; k < shape.dim[0] * shape.dim[1]; k++)
        if (ink_of(pixel + 3 * k) == wanted) return k / shape.dim[1];
    return -1;
}

/* Title, legend, and two parts: above an image whose label is red, below a blue one. */
static void contact_sheet_colours_stand_where_they_should(void **state)
{
    (void)state;
    static const float white[SIDE * SIDE];
    const sheet_image wrong = {white, 7, true}, right = {white, 3, false};
    const sheet_part part[] = {{"Least:", 1, &wrong}, {"Most:", 1, &right}};
    ht_context *ctx = ht_context_new(NULL);
    const contact_sheet sheet = {"Title", "Blue: right", "Red: wrong", SIDE, SIDE,
                                 2,       part};
    assert_int_equal(contact_sheet_write(ctx, "contact_sheet.png", &sheet), HT_OK);
    ht_tensor *picture = ht_png_read(ctx, "contact_sheet.png");
    unlink("contact_sheet.png");
    ht_check(ctx);
    int64_t title = line_of(picture, BLACK, 0), legend = line_of(picture, BLUE, 0);
    int64_t legend_red = line_of(picture, RED, 0);
    int64_t least = line_of(picture, BLACK, legend), image = line_of(picture, GREY, 0);
    int64_t red = line_of(picture, RED, least), most = line_of(picture, BLACK, red);
    int64_t blue = line_of(picture, BLUE, least);
    printf("# lines: title %lld, legend %lld %lld, least %lld, image %lld, red %lld, "
           "most %lld, blue %lld\n",
           (long long)title, (long long)legend, (long long)legend_red, (long long)least,
           (long long)image, (long long)red, (long long)most, (long long)blue);
    assert_true(0 < title && title < legend && legend < least);
    assert_in_range(legend_red, legend, least - 1);
    assert_in_range(red, image, most - 1);
    assert_true(least < image && most < blue);
    assert_int_equal(line_of(picture, RED, most), -1);
    ht_tensor_free(picture);
    ht_context_free(ctx);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(contact_sheet_colours_stand_where_they_should),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
