/* SPDX-License-Identifier: MIT */
/* test_tensor_print.c: tensors as text, rows of them, and what is said of owners: freed
 * twice, freed by the wrong one, not freed. Read next: test_tensor_set.c. */
#include "child.h"

#include "ht_set.h"
#include "tensor_internal.h"

static const char *printed(const ht_tensor *x)
{
    static char text[16384];
    FILE *f = fmemopen(text, sizeof text, "w");
    assert_non_null(f);
    ht_tensor_print(x, f);
    fclose(f);
    return text;
}

static void tensor_print_aligns_nested_lists(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_set *set = ht_set_new(ctx);
    ht_tensor *x = ht_set_add(set, "w", HT_F64, HT_SHAPE(2, 3));
    const double value[] = {1, -2.5, 1e-7, 1.0 / 3, 0, 12345678};
    for (int i = 0; i < 6; i++) ht_tensor_set(x, i, value[i]);
    assert_string_equal(printed(x), "\"w\" f64 (2, 3)\n"
                                    "[[          1,        -2.5,       1e-07],\n"
                                    " [   0.333333,           0, 1.23457e+07]]\n");
    ht_tensor *cube = ht_set_add(set, "cube", HT_I32, HT_SHAPE(2, 2, 1));
    for (int i = 0; i < 4; i++) ht_tensor_set(cube, i, 10 * i);
    assert_string_equal(printed(cube), "\"cube\" i32 (2, 2, 1)\n"
                                       "[[[ 0],\n  [10]],\n\n [[20],\n  [30]]]\n");
    ht_tensor *one = ht_tensor_new(ctx, HT_F32, HT_SCALAR);
    ht_tensor_fill(one, (double)NAN);
    assert_string_equal(printed(one), "f32 ()\nnan\n");
    ht_tensor_fill(one, -(double)NAN);
    assert_string_equal(printed(one), "f32 ()\nnan\n");
    ht_tensor_free(one);
    one = ht_tensor_new(ctx, HT_U8, HT_SHAPE(0, 4));
    assert_string_equal(printed(one), "u8 (0, 4)\n[]\n");
    ht_tensor_free(one);
    ht_set_free(set);
    ht_context_free(ctx);
}

static void tensor_print_past_1000_elements_leaves_out_the_middle(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    const int64_t n[] = {1000, 1001};
    for (int k = 0; k < 2; k++) {
        ht_tensor *x = ht_tensor_new(ctx, HT_F32, HT_SHAPE(n[k]));
        for (int64_t i = 0; i < n[k]; i++) ht_tensor_set(x, i, (double)i);
        const char *text = printed(x);
        assert_int_equal(strstr(text, "...") != NULL, k);
        if (k)
            assert_string_equal(text, "f32 (1001)\n"
                                      "[   0,    1,    2, ...,  998,  999, 1000]\n");
        for (const char *line = text, *end; (end = strchr(line, '\n')); line = end + 1)
            assert_true(end - line <= 90);
        ht_tensor_free(x);
    }
    ht_tensor *x = ht_tensor_new(ctx, HT_U8, HT_SHAPE(100, 100));
    assert_contains(printed(x), "[[0, 0, 0, ..., 0, 0, 0],\n [0, 0, 0, ..., 0, 0, 0],\n "
                                "[0, 0, 0, ..., 0, 0, 0],\n ...,\n [0,");
    ht_tensor_free(x);
    ht_context_free(ctx);
}

static void rows_are_taken_in_any_order_and_converted(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tensor *from = ht_tensor_new(ctx, HT_U8, HT_SHAPE(4, 2, 3));
    ht_tensor *same = ht_tensor_new(ctx, HT_U8, HT_SHAPE(3, 2, 3));
    ht_tensor *wide = ht_tensor_new(ctx, HT_F32, HT_SHAPE(3, 2, 3));
    const int64_t order[] = {9, 3, 0, 3};
    for (int i = 0; i < 24; i++) ht_tensor_set(from, i, i);
    assert_int_equal(ht_rows(same, from, order, 1, 3), HT_OK);
    assert_int_equal(ht_rows(wide, from, order, 1, 3), HT_OK);
    for (int i = 0; i < 18; i++) {
        double want = (double)(order[1 + i / 6] * 6 + i % 6);
        assert_near(ht_tensor_get(same, i), want, 0);
        assert_near(ht_tensor_get(wide, i), want, 0);
    }
    assert_int_equal(ht_rows(same, from, NULL, 1, 3), HT_OK);
    assert_near(ht_tensor_get(same, 0), 6, 0);
    assert_near(ht_tensor_get(same, 17), 23, 0);
    ht_tensor_free(from);
    ht_tensor_free(same);
    ht_tensor_free(wide);
    ht_context_free(ctx);
}

static void rows_that_do_not_fit_or_exist_are_refused(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tensor *from = ht_tensor_new(ctx, HT_F32, HT_SHAPE(4, 3));
    ht_tensor *to[] = {ht_tensor_new(ctx, HT_F32, HT_SHAPE(2, 3)),
                       ht_tensor_new(ctx, HT_F32, HT_SHAPE(2, 4)),
                       ht_tensor_new(ctx, HT_I32, HT_SHAPE(2, 3)),
                       ht_tensor_new(ctx, HT_F32, HT_SCALAR)};
    const int64_t order[] = {1, 4, -1};
    ht_tensor_fill(from, 5);
    const struct {
        ht_tensor *to;
        const int64_t *order;
        int64_t first, n;
        ht_status status;
        const char *says;
    } wrong[] = {
        {to[0], order, 0, 2, HT_ERROR_ARGUMENT, "expected a row in 0..3, got 4"},
        {to[0], order, 1, 2, HT_ERROR_ARGUMENT, "expected a row in 0..3, got 4"},
        {to[0], NULL, 3, 2, HT_ERROR_ARGUMENT, "expected a row in 0..3, got 4"},
        {to[0], NULL, 0, 3, HT_ERROR_SHAPE,
         "3 rows of f32 (4, 3) do not make f32 (2, 3)"},
        {to[1], NULL, 0, 2, HT_ERROR_SHAPE,
         "2 rows of f32 (4, 3) do not make f32 (2, 4)"},
        {to[2], NULL, 0, 2, HT_ERROR_DTYPE,
         "i32 (2, 3) may not hold the elements of f32"},
        {to[3], NULL, 0, 1, HT_ERROR_SHAPE, "do not make f32 ()"},
    };
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        assert_int_equal(
            ht_rows(wrong[k].to, from, wrong[k].order, wrong[k].first, wrong[k].n),
            wrong[k].status);
        assert_contains(ht_context_message(ctx), wrong[k].says);
        ht_context_clear(ctx);
        assert_near(ht_tensor_get(wrong[k].to, 0), 0, 0);
    }
    assert_int_equal(ht_rows(to[3], to[3], NULL, 0, 1), HT_ERROR_SHAPE);
    ht_context_clear(ctx);
    for (int i = 0; i < 4; i++) ht_tensor_free(to[i]);
    ht_tensor_free(from);
    ht_context_free(ctx);
}

/* Owners. `others` of the same are made and freed between. */

static void tensor_twice(void *others)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_tensor *x = ht_tensor_new(ctx, HT_F32, HT_SHAPE(512, 1024));
    ht_tensor_free(x);
    for (int i = 0; i < *(int *)others; i++)
        ht_tensor_free(ht_tensor_new(ctx, HT_F32, HT_SHAPE(512, 1024)));
    ht_tensor_free(x);
}

static void set_twice(void *others)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_set *set = ht_set_new(ctx);
    ht_set_add(set, "w", HT_F32, HT_SHAPE(512, 1024));
    ht_set_free(set);
    for (int i = 0; i < *(int *)others; i++) ht_set_free(ht_set_new(ctx));
    ht_set_free(set);
}

static void tensor_of_a_freed_set(void *others)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_set *set = ht_set_new(ctx);
    ht_tensor *w = ht_set_add(set, "w", HT_F32, HT_SHAPE(2, 3));
    (void)others;
    ht_set_free(set);
    ht_tensor_free(w);
}

static void freed_twice_is_said(void **state)
{
    (void)state;
    for (int others = 0; others < 60; others += 20) {
        test_aborts(tensor_twice, &others,
                    "ht_tensor_free: this tensor, f32 (512, 1024), was freed before");
        test_aborts(set_twice, &others, "ht_set_free: this set was freed before");
    }
    test_aborts(tensor_of_a_freed_set, NULL, "this tensor, f32 (2, 3), was freed before");
}

static void context_too_early(void *n)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_set *set = ht_set_new(ctx);
    ht_set_add(set, "w", HT_F32, HT_SHAPE(2, 3));
    ht_set_add(set, "b", HT_F32, HT_SHAPE(3));
    for (int i = 0; i < *(int *)n; i++) ht_tensor_new(ctx, HT_U8, HT_SHAPE(i));
    ht_tensor_free(ht_tensor_new(ctx, HT_I32, HT_SHAPE(9)));
    ht_context_free(ctx);
}

static void context_freed_too_early_names_what_is_left(void **state)
{
    (void)state;
    int n = 1;
    test_aborts(context_too_early, &n,
                "are not freed yet: set (w, b), tensor u8 (0); free them before it");
    n = 30;
    test_aborts(context_too_early, &n,
                "are not freed yet: set (w, b), tensor u8 (0), tensor u8 (1), tensor u8 "
                "(2), 27 more; free them before it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensor_print_aligns_nested_lists),
        cmocka_unit_test(tensor_print_past_1000_elements_leaves_out_the_middle),
        cmocka_unit_test(rows_are_taken_in_any_order_and_converted),
        cmocka_unit_test(rows_that_do_not_fit_or_exist_are_refused),
        cmocka_unit_test(freed_twice_is_said),
        cmocka_unit_test(context_freed_too_early_names_what_is_left),
    };
    return TEST_MAIN(tests);
}
