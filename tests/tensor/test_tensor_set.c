/* SPDX-License-Identifier: MIT */
/* test_tensor_set.c: named sets, initial values, and both with an allocator that fails.
 * Read next: tensor/core/set.c, nn/init.c. */
#include "test_data.h"

#include "nn_internal.h"

/* "weight" f32 (2, 3) = 0.5 i, "bias" f64 (3) = i - 1, "labels" i32 (4) = 7 i */
static ht_set *sample(ht_context *ctx)
{
    ht_set *set = ht_set_new(ctx);
    ht_tensor *weight = ht_set_add(set, "weight", HT_F32, HT_SHAPE(2, 3));
    ht_tensor *bias = ht_set_add(set, "bias", HT_F64, HT_SHAPE(3));
    ht_tensor *labels = ht_set_add(set, "labels", HT_I32, HT_SHAPE(4));
    for (int i = 0; i < 6; i++) ht_tensor_set(weight, i, 0.5 * i);
    for (int i = 0; i < 3; i++) ht_tensor_set(bias, i, i - 1);
    for (int i = 0; i < 4; i++) ht_tensor_set(labels, i, 7 * i);
    return set;
}

static void expect_error(const fixture *f, ht_status status, const char *part)
{
    assert_string_equal(ht_status_name(ht_context_status(f->ctx)),
                        ht_status_name(status));
    assert_contains(ht_context_message(f->ctx), part);
    ht_context_clear(f->ctx);
}

/* Sets. */

static void set_add_many_keeps_their_order(void **state)
{
    fixture *f = *state;
    ht_set *set = ht_set_new(f->ctx);
    char name[32];
    assert_int_equal(ht_set_count(set), 0);
    assert_ptr_equal(ht_set_context(set), f->ctx);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "layer%d", i);
        ht_tensor *x = ht_set_add(set, name, HT_F32, HT_SHAPE(i));
        assert_ptr_equal(ht_set_at(set, i), x);
        assert_ptr_equal(ht_set_tensor(set, name), x);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "layer%d", i);
        assert_string_equal(ht_set_name(set, i), name);
        assert_int_equal(ht_set_find(set, name), i);
    }
    assert_int_equal(ht_set_count(set), 100);
    assert_int_equal(ht_set_elements(set), 99 * 100 / 2);
    assert_int_equal(ht_set_find(set, "layer100"), -1);
    assert_int_equal(ht_context_status(f->ctx), HT_OK);
    ht_set_free(set);
    ht_set_free(NULL);
}

/* Names that begin alike, end within each other, and hold every byte. */
static void random_name(uint64_t i, char name[24])
{
    int64_t length = ht_random_below(5, 1, 100 * i, 12);
    for (int64_t k = 0; k < length; k++) {
        uint64_t at = 100 * i + (uint64_t)k + 1;
        bool any = ht_random_below(5, 2, at, 4) == 0;
        name[k] = (char)(any ? 1 + ht_random_below(5, 3, at, 255)
                             : 'a' + ht_random_below(5, 3, at, 2));
    }
    name[length] = 0;
}

/* Found as by looking at each, also when the last ones are taken away again. */
static void expect_found(const ht_set *set, int tried)
{
    char name[24];
    for (int i = 0; i < tried; i++) {
        int want = -1;
        random_name((uint64_t)i, name);
        for (int k = 0; k < ht_set_count(set); k++)
            if (strcmp(ht_set_name(set, k), name) == 0) want = k;
        if (ht_set_find(set, name) != want)
            fail_msg("of %d, \"%s\": found at %d, is at %d", ht_set_count(set), name,
                     ht_set_find(set, name), want);
    }
}

static void set_find_of_names_alike_finds_each(void **state)
{
    fixture *f = *state;
    enum { TRIED = 1500 };
    char name[24];
    ht_set *set = ht_set_new(f->ctx);
    assert_int_equal(ht_set_find(set, "a"), -1);
    for (int i = 0; i < TRIED; i++) {
        random_name((uint64_t)i, name);
        if (*name && ht_set_find(set, name) < 0)
            ht_set_add(set, name, HT_U8, HT_SHAPE(0));
        if (i % 100 == 0) expect_found(set, i + 100);
    }
    assert_in_range(ht_set_count(set), 500, TRIED);
    for (; ht_set_count(set) > 0; hti_set_drop(set, ht_set_count(set) > 90 ? 90 : 1))
        expect_found(set, ht_set_count(set) % 10 == 0 ? TRIED : 20);
    for (int i = 0; i < 50; i++) {
        random_name((uint64_t)i, name);
        if (*name && ht_set_find(set, name) < 0)
            ht_set_add(set, name, HT_U8, HT_SHAPE(0));
    }
    expect_found(set, TRIED);
    ht_set_free(set);
}

static void set_add_bad_name_or_type_changes_nothing(void **state)
{
    fixture *f = *state;
    ht_set *set = sample(f->ctx);
    size_t live = ht_context_live_bytes(f->ctx);
    assert_null(ht_set_add(set, "bias", HT_F32, HT_SCALAR));
    expect_error(f, HT_ERROR_ARGUMENT, "got \"bias\", which the set has already");
    assert_null(ht_set_add(set, "", HT_F32, HT_SCALAR));
    expect_error(f, HT_ERROR_ARGUMENT, "expected a new name, got \"\"");
    assert_null(ht_set_add(set, "new", HT_F32, HT_SHAPE(2, -1)));
    expect_error(f, HT_ERROR_SHAPE, "(2, -1)");
    assert_null(ht_set_add(set, "new", (ht_dtype)9, HT_SHAPE(2)));
    expect_error(f, HT_ERROR_DTYPE, "dtype 9");
    assert_int_equal(ht_set_count(set), 3);
    assert_int_equal(ht_context_live_bytes(f->ctx), live);
    ht_set_free(set);
}

static void set_tensor_unknown_name_lists_names_and_guesses(void **state)
{
    fixture *f = *state;
    ht_set *set = sample(f->ctx), *empty = ht_set_new(f->ctx);
    assert_null(ht_set_tensor_at(set, "wieght", "here.c:7"));
    assert_string_equal(
        ht_context_message(f->ctx),
        "ht_set_tensor: no tensor \"wieght\"; this set has: weight, bias, labels\n"
        "  hint: did you mean \"weight\"?\n  at here.c:7");
    ht_context_clear(f->ctx);
    assert_null(ht_set_tensor_at(set, "Weight", NULL));
    assert_contains(ht_context_message(f->ctx), "did you mean \"weight\"?");
    ht_context_clear(f->ctx);
    assert_null(ht_set_tensor_at(set, "momentum", NULL));
    assert_string_equal(
        ht_context_message(f->ctx),
        "ht_set_tensor: no tensor \"momentum\"; this set has: weight, bias, labels");
    ht_context_clear(f->ctx);
    assert_null(ht_set_tensor(empty, "x"));
    expect_error(f, HT_ERROR_ARGUMENT, "this set has: none");
    ht_set_free(set);
    ht_set_free(empty);
}

static void set_tensor_of_very_many_names_says_how_many(void **state)
{
    fixture *f = *state;
    ht_set *set = ht_set_new(f->ctx);
    char name[600];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "tensor%d", i);
        ht_set_add(set, name, HT_U8, HT_SCALAR);
    }
    assert_null(ht_set_tensor(set, "x"));
    expect_error(f, HT_ERROR_ARGUMENT, "has: tensor0, tensor1, ");
    assert_null(ht_set_tensor(set, "x"));
    expect_error(f, HT_ERROR_ARGUMENT, ", ... (300)");
    ht_set_free(set);
    set = ht_set_new(f->ctx);
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    ht_set_add(set, name, HT_U8, HT_SCALAR);
    assert_null(ht_set_tensor(set, "x"));
    expect_error(f, HT_ERROR_ARGUMENT, "has: ...");
    ht_set_free(set);
}

static void set_clone_converts_floats_only(void **state)
{
    fixture *f = *state;
    ht_set *set = sample(f->ctx);
    const ht_dtype asked[] = {0, HT_F32, HT_F64};
    const ht_dtype want[][3] = {
        {HT_F32, HT_F64, HT_I32}, {HT_F32, HT_F32, HT_I32}, {HT_F64, HT_F64, HT_I32}};
    for (int c = 0; c < 3; c++) {
        ht_set *clone = ht_set_clone(set, asked[c]);
        assert_non_null(clone);
        assert_int_equal(ht_set_count(clone), 3);
        for (int i = 0; i < 3; i++) {
            ht_tensor *x = ht_set_at(clone, i), *y = ht_set_at(set, i);
            assert_string_equal(ht_set_name(clone, i), ht_set_name(set, i));
            assert_int_equal(ht_tensor_dtype(x), want[c][i]);
            assert_true(ht_shape_equal(ht_tensor_shape(x), ht_tensor_shape(y)));
            for (int64_t j = 0; j < ht_tensor_count(x); j++)
                assert_near(ht_tensor_get(x, j), ht_tensor_get(y, j), 0);
        }
        ht_set_free(clone);
    }
    assert_null(ht_set_clone(set, HT_I32));
    expect_error(f, HT_ERROR_DTYPE, "expected HT_F32, HT_F64 or 0, got i32");
    ht_set_free(set);
}

static void set_copy_in_another_order_converts(void **state)
{
    fixture *f = *state;
    ht_set *from = sample(f->ctx), *to = ht_set_new(f->ctx);
    ht_set_add(to, "labels", HT_U8, HT_SHAPE(4));
    ht_set_add(to, "bias", HT_F32, HT_SHAPE(3));
    ht_set_add(to, "weight", HT_F64, HT_SHAPE(2, 3));
    assert_int_equal(ht_set_copy(to, from), HT_OK);
    for (int i = 0; i < 3; i++) {
        const ht_tensor *x = ht_set_at(to, i);
        const ht_tensor *y = ht_set_tensor(from, ht_set_name(to, i));
        for (int64_t j = 0; j < ht_tensor_count(x); j++)
            assert_near(ht_tensor_get(x, j), ht_tensor_get(y, j), 0);
    }
    assert_int_equal(ht_set_copy(from, from), HT_OK);
    assert_near(ht_tensor_get(ht_set_at(from, 0), 5), 2.5, 0);
    ht_set_free(from);
    ht_set_free(to);
}

static void set_copy_of_other_names_or_shapes_copies_nothing(void **state)
{
    fixture *f = *state;
    ht_set *from = sample(f->ctx), *to = ht_set_new(f->ctx);
    ht_tensor *weight = ht_set_add(to, "weight", HT_F32, HT_SHAPE(2, 3));
    assert_int_equal(ht_set_copy(to, from), HT_ERROR_ARGUMENT);
    expect_error(f, HT_ERROR_ARGUMENT, "no tensor \"bias\" in the set copied to");
    assert_int_equal(ht_set_copy(from, to), HT_ERROR_ARGUMENT);
    expect_error(f, HT_ERROR_ARGUMENT, "no tensor \"bias\" in the set copied from");
    ht_set_add(to, "bias", HT_F64, HT_SHAPE(3, 1));
    ht_set_add(to, "labels", HT_I32, HT_SHAPE(4));
    assert_int_equal(ht_set_copy(to, from), HT_ERROR_SHAPE);
    expect_error(f, HT_ERROR_SHAPE, "\"bias\": expected shape (3, 1), got (3)");
    assert_near(ht_tensor_get(weight, 5), 0, 0);
    ht_set_free(from);
    ht_set_free(to);
}

/* Seven elements, by name in another order and type: weight k + 1, bias -2 and 4, and a
 * large one; and as many of the other, of 0.5, 3 and a small one. */
static ht_set *vector(ht_context *ctx, bool other)
{
    ht_set *set = ht_set_new(ctx);
    if (other) ht_tensor_fill(ht_set_add(set, "bias", HT_F64, HT_SHAPE(2)), 3);
    ht_tensor *weight = ht_set_add(set, "weight", HT_F32, HT_SHAPE(2, 2));
    if (!other) ht_set_add(set, "bias", HT_F32, HT_SHAPE(2));
    ht_tensor *step = ht_set_add(set, "step", HT_F64, HT_SCALAR);
    for (int k = 0; k < 4; k++) ht_tensor_set(weight, k, other ? 0.5 : k + 1);
    ht_tensor_fill(step, other ? 0x1p-60 : 0x1p60);
    if (other) return set;
    ht_tensor_set(ht_set_tensor(set, "bias"), 0, -2);
    ht_tensor_set(ht_set_tensor(set, "bias"), 1, 4);
    return set;
}

static void set_vector_sums_and_multiples_are_by_name(void **state)
{
    fixture *f = *state;
    ht_set *a = vector(f->ctx, false), *b = vector(f->ctx, true);
    assert_near(ht_set_dot(a, b), 0.5 * (1 + 2 + 3 + 4) + 3 * (4 - 2) + 1, 0);
    assert_near(ht_set_dot(b, a), 12, 0);
    assert_int_equal(ht_set_axpy(-2, b, a), HT_OK);
    for (int k = 0; k < 4; k++)
        assert_near(ht_tensor_get(ht_set_tensor(a, "weight"), k), k, 0);
    assert_near(ht_tensor_get(ht_set_tensor(a, "bias"), 0), -8, 0);
    assert_near(ht_tensor_get(ht_set_tensor(a, "bias"), 1), -2, 0);
    assert_int_equal(ht_set_axpy(2, b, b), HT_OK);
    assert_near(ht_tensor_get(ht_set_tensor(b, "bias"), 1), 9, 0);
    assert_near(ht_set_dot(b, b), 4 * 2.25 + 2 * 81, 0);
    ht_set_free(a);
    ht_set_free(b);
}

/* 2^24 and two ones: an f32 sum would not tell the ones. */
static void set_vector_sums_are_in_f64(void **state)
{
    fixture *f = *state;
    ht_set *set = ht_set_new(f->ctx);
    ht_tensor *x = ht_set_add(set, "x", HT_F32, HT_SHAPE(3));
    ht_tensor_fill(x, 1);
    ht_tensor_set(x, 0, 4096);
    assert_near(ht_set_dot(set, set), 0x1p24 + 2, 0);
    ht_set_free(set);
}

static void set_vector_flattens_and_back(void **state)
{
    fixture *f = *state;
    ht_set *a = vector(f->ctx, false), *b = vector(f->ctx, false);
    ht_tensor *flat = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(7));
    const double want[] = {1, 2, 3, 4, -2, 4, 0x1p60};
    assert_int_equal(ht_set_flatten(a, flat), HT_OK);
    for (int k = 0; k < 7; k++) assert_near(ht_tensor_get(flat, k), want[k], 0);
    for (int j = 0; j < 3; j++) ht_tensor_fill(ht_set_at(b, j), 0);
    assert_int_equal(ht_set_unflatten(b, flat), HT_OK);
    assert_int_equal(ht_set_axpy(-1, a, b), HT_OK);
    assert_near(ht_set_dot(b, b), 0, 0);
    ht_set_free(a);
    ht_set_free(b);
    ht_tensor_free(flat);
}

static void set_vectors_of_two_forms_are_refused(void **state)
{
    fixture *f = *state;
    ht_set *a = vector(f->ctx, false), *b = vector(f->ctx, false);
    ht_tensor *bias = ht_set_tensor(b, "bias");
    ht_set_add(b, "more", HT_F32, HT_SHAPE(2));
    assert_true(isnan(ht_set_dot(a, b)));
    expect_error(f, HT_ERROR_ARGUMENT, "ht_set_dot: no tensor \"more\" in the set a");
    assert_int_equal(ht_set_axpy(1, a, b), HT_ERROR_ARGUMENT);
    expect_error(f, HT_ERROR_ARGUMENT, "ht_set_axpy: no tensor \"more\" in the set x");
    ht_set_add(a, "more", HT_F32, HT_SHAPE(3));
    assert_int_equal(ht_set_axpy(1, a, b), HT_ERROR_SHAPE);
    expect_error(f, HT_ERROR_SHAPE, "\"more\": expected shape (2), got (3)");
    assert_near(ht_tensor_get(bias, 1), 4, 0);
    ht_set_free(a);
    ht_set_free(b);
}

static void set_vector_of_another_size_or_type_is_refused(void **state)
{
    fixture *f = *state;
    ht_set *a = vector(f->ctx, false), *labels = ht_set_new(f->ctx);
    ht_tensor *six = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(6)),
              *whole = ht_tensor_new(f->ctx, HT_I32, HT_SHAPE(7)),
              *column = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(7, 1));
    ht_set_add(labels, "label", HT_I32, HT_SHAPE(6));
    assert_int_equal(ht_set_flatten(a, six), HT_ERROR_SHAPE);
    expect_error(f, HT_ERROR_SHAPE, "ht_set_flatten: expected a tensor of shape (7)");
    assert_int_equal(ht_set_unflatten(a, column), HT_ERROR_SHAPE);
    expect_error(f, HT_ERROR_SHAPE, "got (7, 1)");
    assert_int_equal(ht_set_flatten(a, whole), HT_ERROR_DTYPE);
    expect_error(f, HT_ERROR_DTYPE, "ht_set_flatten: expected a tensor of f32 or f64");
    assert_int_equal(ht_set_unflatten(labels, six), HT_ERROR_DTYPE);
    expect_error(f, HT_ERROR_DTYPE, "tensor \"label\" is i32");
    assert_true(isnan(ht_set_dot(labels, labels)));
    expect_error(f, HT_ERROR_DTYPE, "ht_set_dot: tensor \"label\" is i32");
    ht_set_free(a);
    ht_set_free(labels);
    ht_tensor_free(six);
    ht_tensor_free(whole);
    ht_tensor_free(column);
}

static void set_counts_by_pattern_adds_up(void **state)
{
    fixture *f = *state;
    ht_set *set = sample(f->ctx), *empty = ht_set_new(f->ctx);
    static const struct {
        const char *pattern;
        int tensors, elements, bytes;
    } cases[] = {{NULL, 3, 13, 64},    {"*", 3, 13, 64},  {"bias", 1, 3, 24},
                 {"?????s", 1, 4, 16}, {"*i*", 2, 9, 48}, {"x*", 0, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ht_counts counts = ht_set_counts(set, cases[i].pattern);
        assert_int_equal(counts.tensors, cases[i].tensors);
        assert_int_equal(counts.elements, cases[i].elements);
        assert_int_equal(counts.bytes, cases[i].bytes);
    }
    assert_int_equal(ht_set_counts(empty, NULL).tensors, 0);
    ht_set_free(set);
    ht_set_free(empty);
}

static void set_print_of_names_and_shapes_aligns_columns(void **state)
{
    fixture *f = *state;
    ht_set *set = sample(f->ctx);
    ht_set_add(set, "a.longer.name", HT_U8, HT_SHAPE(100, 2, 3, 1000));
    char text[1024] = "";
    FILE *file = tmpfile();
    assert_non_null(file);
    ht_set_print(set, file);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(
        text, "name           dtype  shape                  elements         bytes\n"
              "weight         f32    (2, 3)                        6            24\n"
              "bias           f64    (3)                           3            24\n"
              "labels         i32    (4)                           4            16\n"
              "a.longer.name  u8     (100, 2, 3, 1000)        600000        600000\n"
              "total          4 tensors                       600013        600064\n");
    ht_set_free(set);
}

/* Initial values. */

/* The values of FNV-1a's authors' own test suite. */
static void stream_of_known_names_is_fnv1a(void **state)
{
    (void)state;
    assert_true(ht_stream("") == 0xcbf29ce484222325u);
    assert_true(ht_stream("a") == 0xaf63dc4c8601ec8cu);
    assert_true(ht_stream("foobar") == 0x85944171f73967e8u);
}

/* |mean| and deviation over the elements. */
static void moments(const ht_tensor *x, double *mean, double *deviation, double *most)
{
    double sum = 0, squares = 0;
    int64_t n = ht_tensor_count(x);
    *most = 0;
    for (int64_t i = 0; i < n; i++) {
        double v = ht_tensor_get(x, i);
        sum += v;
        squares += v * v;
        *most = fmax(*most, fabs(v));
    }
    *mean = sum / (double)n;
    *deviation = sqrt(squares / (double)n - *mean * *mean);
}

static void init_of_large_weights_has_the_moments_of_the_formulas(void **state)
{
    fixture *f = *state;
    double mean, deviation, most;
    ht_tensor *w = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(300, 200));
    assert_int_equal(ht_glorot_uniform(w, 1), HT_OK);
    moments(w, &mean, &deviation, &most);
    assert_near(most, sqrt(6. / 500), 1e-4);
    assert_near(deviation, sqrt(6. / 500 / 3), 1e-3);
    assert_near(mean, 0, 1e-3);
    assert_int_equal(ht_he_normal(w, 1), HT_OK);
    moments(w, &mean, &deviation, &most);
    assert_near(deviation, sqrt(2. / 300), 1e-3);
    assert_near(mean, 0, 1.5e-3);
    ht_tensor_free(w);

    ht_set *theta = ht_set_new(f->ctx);
    ht_linear_init(theta, "a", HT_F64, 400, 500);
    assert_int_equal(ht_set_count(theta), 2);
    for (int i = 0; i < 2; i++) {
        moments(ht_set_at(theta, i), &mean, &deviation, &most);
        assert_true(most <= 0.05);
        assert_near(deviation, 0.05 / sqrt(3), 2e-3);
        assert_near(mean, 0, 5e-3);
    }
    ht_set_free(theta);
}

static void linear_init_in_another_order_gives_the_same_values(void **state)
{
    fixture *f = *state;
    ht_set *a = ht_set_new(f->ctx), *b = ht_set_new(f->ctx);
    ht_linear_init(a, "one", HT_F32, 5, 4);
    ht_linear_init(a, "two", HT_F32, 5, 4);
    ht_linear_init(b, "two", HT_F32, 5, 4);
    ht_linear_init(b, "one", HT_F32, 5, 4);
    assert_int_equal(ht_context_status(f->ctx), HT_OK);
    for (int i = 0; i < 4; i++) {
        ht_tensor *x = ht_set_at(a, i), *y = ht_set_tensor(b, ht_set_name(a, i));
        assert_memory_equal(ht_tensor_data(x), ht_tensor_data(y), ht_tensor_bytes(x));
    }
    assert_memory_not_equal(ht_tensor_data(ht_set_tensor(a, "one.weight")),
                            ht_tensor_data(ht_set_tensor(a, "two.weight")), 80);
    ht_set_free(a);
    ht_set_free(b);
}

static void init_of_wrong_shapes_or_types_is_an_error(void **state)
{
    fixture *f = *state;
    ht_tensor *vector = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(3));
    ht_tensor *integers = ht_tensor_new(f->ctx, HT_I32, HT_SHAPE(3, 2));
    assert_int_equal(ht_glorot_uniform(vector, 1), HT_ERROR_SHAPE);
    expect_error(f, HT_ERROR_SHAPE, "got (3)");
    assert_int_equal(ht_he_normal(vector, 1), HT_ERROR_SHAPE);
    expect_error(f, HT_ERROR_SHAPE,
                 "expected a weight (n_in, n_out) or (out, in, kh, kw)");
    assert_int_equal(ht_he_normal(integers, 1), HT_ERROR_DTYPE);
    expect_error(f, HT_ERROR_DTYPE, "i32");
    ht_tensor_free(vector);
    ht_tensor_free(integers);

    ht_set *theta = ht_set_new(f->ctx);
    ht_linear_init(theta, "a", HT_F32, 0, 3);
    expect_error(f, HT_ERROR_SHAPE, "\"a\": expected");
    ht_linear_init(theta, "a", HT_U8, 2, 3);
    expect_error(f, HT_ERROR_DTYPE, "\"a\": expected");
    ht_set_add(theta, "a.bias", HT_F32, HT_SCALAR);
    ht_linear_init(theta, "a", HT_F32, 2, 3);
    expect_error(f, HT_ERROR_ARGUMENT, "\"a.bias\", which the set has already");
    assert_int_equal(ht_set_count(theta), 1);
    ht_set_free(theta);
}

/* Memory. */

/* False after an error. */
static bool make_and_clone(ht_context *ctx, void *user)
{
    (void)user;
    ht_set *theta = ht_set_new(ctx), *clone = NULL;
    for (int i = 0; theta && i < 6; i++) {
        char name[] = {(char)('a' + i), '\0'};
        int before = ht_set_count(theta);
        ht_linear_init(theta, name, HT_F32, 3, 2);
        int added = ht_set_count(theta) - before;
        assert_int_equal(added, ht_context_status(ctx) ? 0 : 2);
        if (!added) break;
    }
    if (theta && !ht_context_status(ctx)) {
        int before = ht_set_count(theta);
        ht_transformer_block_init(theta, "block", HT_F32, 2, 3);
        int added = ht_set_count(theta) - before;
        assert_int_equal(added, ht_context_status(ctx) ? 0 : 16);
    }
    if (theta && !ht_context_status(ctx)) clone = ht_set_clone(theta, HT_F64);
    bool done = clone != NULL;
    ht_set_free(theta);
    ht_set_free(clone);
    return done;
}

static void set_with_nth_allocation_failing_leaks_nothing(void **state)
{
    (void)state;
    assert_in_range(fail_each_allocation(make_and_clone, NULL), 77, 237);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(set_add_many_keeps_their_order),
        CASE(set_find_of_names_alike_finds_each),
        CASE(set_add_bad_name_or_type_changes_nothing),
        CASE(set_tensor_unknown_name_lists_names_and_guesses),
        CASE(set_tensor_of_very_many_names_says_how_many),
        CASE(set_clone_converts_floats_only),
        CASE(set_copy_in_another_order_converts),
        CASE(set_copy_of_other_names_or_shapes_copies_nothing),
        CASE(set_vector_sums_and_multiples_are_by_name),
        CASE(set_vector_sums_are_in_f64),
        CASE(set_vector_flattens_and_back),
        CASE(set_vectors_of_two_forms_are_refused),
        CASE(set_vector_of_another_size_or_type_is_refused),
        CASE(set_counts_by_pattern_adds_up),
        CASE(set_print_of_names_and_shapes_aligns_columns),
        CASE(stream_of_known_names_is_fnv1a),
        CASE(init_of_large_weights_has_the_moments_of_the_formulas),
        CASE(linear_init_in_another_order_gives_the_same_values),
        CASE(init_of_wrong_shapes_or_types_is_an_error),
        CASE(set_with_nth_allocation_failing_leaks_nothing),
    };
    return TEST_MAIN(tests);
}
