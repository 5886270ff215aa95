/* SPDX-License-Identifier: MIT */
/* test_report.c: a report with everything in it, and what stands in its file. Given a
 * folder it only writes one there; --look PICTURE WIDTH says what a browser made. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "test.h"

enum { SIDE = 8, N_IMAGES = 5, N_VALUES = 1000 };

static void add_curves(report *page)
{
    static double x[N_VALUES], y[N_VALUES];
    double level = 0.5;
    for (int i = 0; i < N_VALUES; i++) {
        x[i] = i + 1;
        y[i] = i == 500 ? (double)NAN : 2 * exp(-i / 200.0) + 0.3;
    }
    const report_series series[] = {
        {"learned", N_VALUES, x, y},
        {"short", 12, NULL, y},
        {"a <control> & more", 1, NULL, &level, .control = true}};
    report_section(page, "How it went");
    report_curve(page, &(report_figure){"Loss", "outer step", "loss", "One step is NaN."},
                 3, series);
    report_curve(page, &(report_figure){"Loss, logarithmic", "outer step", .log_y = true},
                 3, series);
    report_curve(page, &(report_figure){"Nothing"}, 1,
                 (report_series[]){{"empty", 0, NULL, NULL}});
    report_histogram(page, &(report_figure){"Values", "value", .log_y = true}, 2,
                     (report_values[]){{"all", N_VALUES, y}, {"ten", 10, y}}, 20);
}

static void add_bars(report *page)
{
    report_bars(page, &(report_figure){"Accuracy", .note = "Per cent."}, 3,
                (report_bar[]){{"baseline", 88.4, 0.3, true},
                               {"cleaned", 90.5, 0.25, false},
                               {"oracle", 90.9, 0.25, true}});
    report_bars(page, &(report_figure){"Cost"}, 2,
                (report_bar[]){{"a grid", 60, 0, true}, {"this", 2.5, 0, false}});
}

static void add_images(report *page)
{
    static float pixels[N_IMAGES][SIDE * SIDE * 3];
    report_image image[N_IMAGES];
    for (int k = 0; k < N_IMAGES; k++) {
        for (int i = 0; i < SIDE * SIDE * 3; i++)
            pixels[k][i] = (float)(i * (k + 1) % 97) / 96;
        image[k] = (report_image){pixels[k], "given 7, is 1", (report_mark)(k % 3)};
    }
    report_section(page, "Images");
    report_images(page, &(report_figure){"In colour"},
                  &(report_gallery){SIDE, SIDE, 3, 0, 1, N_IMAGES, image});
    report_images(page, &(report_figure){"In grey"},
                  &(report_gallery){SIDE, SIDE, 1, 1, 0, 1, image});
    report_images(page, &(report_figure){"None"},
                  &(report_gallery){SIDE, SIDE, 1, 0, 1, 0, NULL});
}

static void add_tables(report *page, stopwatch began)
{
    const char *const class[] = {"cat", "dog"};
    report_section(page, "Tables");
    report_matrix(page, &(report_figure){"Confusion"}, 2, class, 2, class,
                  (double[]){90, 10, 25, 75});
    report_table(page, &(report_figure){"Table"}, 2,
                 (const char *const[]){"what", "value"}, 1,
                 (const char *const[]){"<b>", "1 & 2"});
    report_section(page, "Memory and time");
    report_fact(page, "the unroll held", "%.1f MB", 12.25);
    report_account(page, began);
}

static ht_status write_report(ht_context *ctx, const char *folder)
{
    report page;
    stopwatch began = stopwatch_now();
    if (!report_open(&page, ctx, folder, "A <report> & its \"parts\""))
        return ht_context_status(ctx);
    report_verdict(&page, REPORT_GOOD, "F1 is %.3f <of> 1", 0.942);
    report_number(&page, "F1", "of wrong labels", "%.3f", 0.942);
    report_number(&page, "accuracy", "per cent", "%.2f", 90.5);
    add_curves(&page);
    add_bars(&page);
    add_images(&page);
    add_tables(&page, began);
    return report_close(&page);
}

static char *take_text(const char *path)
{
    static char text[200000];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    unlink(path);
    text[n] = 0;
    return text;
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (; (text = strstr(text, what)); text += strlen(what)) n++;
    return n;
}

static void report_has_every_part_and_escapes(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    assert_int_equal(write_report(ctx, "."), HT_OK);
    const char *text = take_text("report.html");
    assert_int_equal(count(text, "<figure>"), 11);
    assert_int_equal(count(text, "</figure>"), 11);
    assert_int_equal(count(text, "<svg role=\"img\""), 6);
    assert_int_equal(count(text, "<h1>A &lt;report&gt; &amp; its &quot;parts&quot;"), 1);
    assert_int_equal(count(text, "a &lt;control&gt; &amp; more</li>"), 2);
    assert_int_equal(count(text, "<control>"), 0);
    assert_int_equal(count(text, "data:image/png;base64,iVBORw0KGgo"), 2);
    assert_int_equal(count(text, "http"), count(text, "http-equiv"));
    assert_int_equal(count(text, "nan"), 0);
    assert_int_equal(count(text, "inf"), 0);
    assert_int_equal(access("report.png.part", F_OK), -1);
    ht_context_free(ctx);
}

/* A curve's numbers behind it: one row a point, a level in each, and no row without. */
static void report_curve_has_its_numbers(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    const double x[] = {0, 1, 2, 4}, y[] = {(double)NAN, 3, 1, 2}, level = 7;
    report page;
    assert_true(report_open(&page, ctx, ".", "Curve"));
    report_curve(&page, &(report_figure){"Loss", "step"}, 2,
                 (report_series[]){{"it", 4, x, y}, {"control", 1, NULL, &level}});
    assert_int_equal(report_close(&page), HT_OK);
    const char *text = take_text("report.html");
    assert_int_equal(count(text, "<tr><td>1</td><td>3</td><td>7</td></tr>"), 1);
    assert_int_equal(count(text, "<tr><td>4</td><td>2</td><td>7</td></tr>"), 1);
    assert_int_equal(count(text, "<tr><td>0</td><td></td><td>7</td></tr>"), 1);
    assert_int_equal(count(text, "<tr><td>"), 4);
    assert_int_equal(count(text, "nan"), 0);
    assert_int_equal(count(text, "it begins at 3, ends at 2, is least at 2 (1)"), 1);
    assert_int_equal(count(text, "control is 7"), 1);
    ht_context_free(ctx);
}

static void report_in_no_folder_is_refused(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    report page;
    assert_false(report_open(&page, ctx, "no/such", "Title"));
    assert_int_equal(ht_context_status(ctx), HT_ERROR_FILE);
    ht_context_free(ctx);
}

/* More than the page may hold is left out, and said. */
static void report_images_beyond_two_megabytes_are_left_out(void **state)
{
    (void)state;
    enum { BIG = 900 };
    ht_context *ctx = ht_context_new(NULL);
    float *noise = malloc(sizeof *noise * BIG * BIG);
    assert_non_null(noise);
    uint32_t random = 1;
    for (int i = 0; i < BIG * BIG; i++) {
        random = random * 1664525u + 1013904223u;
        noise[i] = (float)(random >> 24) / 255;
    }
    const report_image image = {noise, "noise"};
    report page;
    assert_true(report_open(&page, ctx, ".", "Large"));
    for (int k = 0; k < 3; k++)
        report_images(&page, &(report_figure){"Noise"},
                      &(report_gallery){BIG, BIG, 1, 0, 1, 1, &image});
    assert_in_range(ftell(page.out.file), 1000000, 2000000);
    assert_int_equal(report_close(&page), HT_OK);
    unlink("report.html");
    free(noise);
    ht_context_free(ctx);
}

/* Of the first `width` columns of a screenshot: the lightness at its corner, the share of
 * pixels unlike that in percent, and how many colours there are. */
static int look(ht_context *ctx, const char *path, int64_t width)
{
    ht_tensor *picture = ht_png_read(ctx, path);
    ht_check(ctx);
    ht_shape shape = ht_tensor_shape(picture);
    const uint8_t *pixel = ht_tensor_data(picture);
    uint8_t *seen = calloc(1 << 24, 1);
    assert_non_null(seen);
    int64_t other = 0, colours = 0;
    for (int64_t k = 0; k < shape.dim[0] * shape.dim[1]; k++) {
        const uint8_t *p = pixel + 3 * k;
        if (k % shape.dim[1] >= width) continue;
        other += memcmp(p, pixel, 3) != 0;
        uint8_t *at = &seen[p[0] << 16 | p[1] << 8 | p[2]];
        colours += !*at;
        *at = 1;
    }
    printf("%d %.2f %lld\n", pixel[1],
           100.0 * (double)other / (double)(shape.dim[0] * width), (long long)colours);
    free(seen);
    ht_tensor_free(picture);
    return 0;
}

/* More rows than there is room for at first; a NaN is an empty cell and a gap. */
static void metrics_are_rows_and_series(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    metrics log = {.name = {"step", "loss"}};
    for (int k = 0; k < 100; k++)
        METRICS_ROW(&log, k + 1, k == 1 ? (double)NAN : 0.5 * k);
    assert_int_equal(metrics_write(&log, ctx, "."), HT_OK);
    const char *text = take_text("metrics.csv");
    assert_memory_equal(text, "step,loss\n1,0\n2,\n3,1\n4,1.5\n", 27);
    assert_int_equal(count(text, "\n"), 101);
    report_series loss = metrics_series(&log, "loss");
    assert_int_equal(loss.n, 100);
    assert_true(loss.x[99 * loss.stride] >= 100 && loss.y[99 * loss.stride] >= 49.5);
    metrics_free(&log);
    ht_context_free(ctx);
}

/* What was waited for is no time of a's. */
static void stopwatch_ratio_of_a_busy_machine_is_none(void **state)
{
    (void)state;
    const stopwatch one = {1.2, 1, 2}, two = {2.4, 2, 4}, waited = {3.2, 2, 4};
    assert_true(fabs(stopwatch_ratio(two, one) - 2) < 1e-12);
    assert_true(isnan(stopwatch_ratio(waited, one)));
    assert_true(isnan(stopwatch_ratio(one, waited)));
    stopwatch began = stopwatch_now();
    nanosleep(&(struct timespec){0, 50000000}, NULL);
    stopwatch slept = stopwatch_since(began);
    printf("# slept: %.4f s of the clock, %.4f s of the processor\n", slept.wall,
           slept.cpu);
    assert_true(slept.wall >= 0.05 && slept.cpu < 0.03);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(report_has_every_part_and_escapes),
        cmocka_unit_test(report_curve_has_its_numbers),
        cmocka_unit_test(report_in_no_folder_is_refused),
        cmocka_unit_test(report_images_beyond_two_megabytes_are_left_out),
        cmocka_unit_test(metrics_are_rows_and_series),
        cmocka_unit_test(stopwatch_ratio_of_a_busy_machine_is_none),
    };
    if (argc < 2) return cmocka_run_group_tests(tests, NULL, NULL);
    ht_context *ctx = ht_context_new(NULL);
    int status = argc == 4 ? look(ctx, argv[2], strtol(argv[3], NULL, 10))
                           : write_report(ctx, argv[1]) != HT_OK;
    ht_context_free(ctx);
    return status;
}
