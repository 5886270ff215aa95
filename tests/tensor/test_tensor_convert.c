/* SPDX-License-Identifier: MIT */
/* test_tensor_convert.c: one rule for every way a number comes into an integer tensor:
 * set and fill (to the nearest), copy, copies of sets, ht_cast eager and replayed, fused
 * or not (towards zero). What is outside then, and NaN, is an error, and nothing is
 * written. Read next: tensor/convert.c. */
#include "ht_nn.h"
#include "tensor_internal.h"
#include "test.h"

typedef struct number {
    double value;
    bool i32, u8; /* whether they hold it */
} number;

static const number numbers[] = {
    {0, true, true},
    {-0.0, true, true},
    {0.9, true, true},
    {-0.9, true, true},
    {1, true, true},
    {-1, true, false},
    {-1.9, true, false},
    {254.5, true, true},
    {255, true, true},
    {255.9, true, true},
    {256, true, false},
    {1e3, true, false},
    {2147483647, true, false},
    {2147483647.9, true, false},
    {2147483648.0, false, false},
    {-2147483648.0, true, false},
    {-2147483648.9, true, false},
    {-2147483649.0, false, false},
    {1e300, false, false},
    {-1e300, false, false},
    {(double)NAN, false, false},
    {(double)INFINITY, false, false},
    {-(double)INFINITY, false, false},
    {0x1p-1074, true, true},
};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

static bool holds(ht_dtype to, const number *n)
{
    return to == HT_I32 ? n->i32 : to == HT_U8 ? n->u8 : true;
}

static ht_context *ctx;

/* That `what` of the number into `to` left `got`, and said so if it must. */
static void check(const char *what, ht_dtype to, const number *n, bool nearest,
                  double got, double before)
{
    bool whole = to == HT_I32 || to == HT_U8;
    double want = n->value, near = rint(n->value);
    bool fits = holds(to, n);
    if (nearest && whole)
        fits = near >= (to == HT_U8 ? 0 : INT32_MIN) &&
               near <= (to == HT_U8 ? 255 : INT32_MAX);
    if (whole) want = nearest ? near : trunc(want);
    if (to == HT_F32) want = (double)(float)want;
    ht_status status = ht_context_status(ctx),
              expected = fits ? HT_OK : HT_ERROR_ARGUMENT;
    if (status != expected)
        fail_msg("%s of %.17g to %s: %s, want %s: %s", what, n->value, ht_dtype_name(to),
                 ht_status_name(status), ht_status_name(expected),
                 ht_context_message(ctx));
    assert_near(got, fits ? want : before, 0);
    if (fits) return;
    assert_contains(ht_context_message(ctx), what);
    assert_contains(ht_context_message(ctx), ht_dtype_name(to));
    ht_context_clear(ctx);
}

static void every_way_into_a_tensor_follows_one_rule(void **state)
{
    (void)state;
    ctx = ht_context_new(&(ht_context_options){.threads = 1});
    for (int k = 0; k < NUMBERS; k++)
        for (int to = HT_F32; to <= HT_U8; to++) {
            const number *n = &numbers[k];
            ht_dtype dtype = (ht_dtype)to;
            ht_tensor *x = ht_tensor_new(ctx, dtype, HT_SHAPE(3));
            ht_tensor_fill(x, 7);
            ht_tensor_set(x, 1, n->value);
            check("ht_tensor_set", dtype, n, true, ht_tensor_get(x, 1), 7);
            ht_tensor_fill(x, 7);
            ht_tensor_fill(x, n->value);
            check("ht_tensor_fill", dtype, n, true, ht_tensor_get(x, 2), 7);
            ht_tensor_fill(x, 7);
            ht_tensor *from = ht_tensor_new(ctx, HT_F64, HT_SHAPE(3));
            ht_tensor_set(from, 2, n->value);
            ht_status status = ht_tensor_copy(x, from);
            assert_int_equal(status, ht_context_status(ctx));
            double first = ht_tensor_get(x, 0);
            check("ht_tensor_copy", dtype, n, false, ht_tensor_get(x, 2), 7);
            assert_near(first, status ? 7 : 0, 0);
            ht_tensor_free(from);
            ht_tensor_free(x);
        }
    ht_context_free(ctx);
}

static void f32_and_i32_sources_follow_it_too(void **state)
{
    (void)state;
    ctx = ht_context_new(&(ht_context_options){.threads = 1});
    static const struct {
        float value;
        bool i32, u8;
    } floats[] = {{2147483520.0f, true, false},  {2147483648.0f, false, false},
                  {-2147483648.0f, true, false}, {-2147483904.0f, false, false},
                  {255.99998f, true, true},      {-0.99999994f, true, true},
                  {(float)NAN, false, false},    {(float)INFINITY, false, false}};
    ht_tensor *f = ht_tensor_new(ctx, HT_F32, HT_SCALAR),
              *i = ht_tensor_new(ctx, HT_I32, HT_SCALAR),
              *u = ht_tensor_new(ctx, HT_U8, HT_SCALAR);
    for (size_t k = 0; k < sizeof floats / sizeof *floats; k++) {
        number n = {(double)floats[k].value, floats[k].i32, floats[k].u8};
        ht_tensor_set(f, 0, n.value);
        ht_tensor_fill(i, 5);
        ht_tensor_copy(i, f);
        check("ht_tensor_copy", HT_I32, &n, false, ht_tensor_get(i, 0), 5);
        ht_tensor_fill(u, 5);
        ht_tensor_copy(u, f);
        check("ht_tensor_copy", HT_U8, &n, false, ht_tensor_get(u, 0), 5);
    }
    static const int32_t whole[] = {0, 255, 256, -1, INT32_MAX, INT32_MIN};
    for (size_t k = 0; k < sizeof whole / sizeof *whole; k++) {
        number n = {whole[k], true, whole[k] >= 0 && whole[k] < 256};
        ht_tensor_set(i, 0, whole[k]);
        ht_tensor_fill(u, 5);
        ht_tensor_copy(u, i);
        check("ht_tensor_copy", HT_U8, &n, false, ht_tensor_get(u, 0), 5);
    }
    ht_tensor_free(f);
    ht_tensor_free(i);
    ht_tensor_free(u);
    ht_context_free(ctx);
}

/* The place is found in blocks, at their ends, and through strides. */
static void copy_of_many_names_the_first_that_does_not_fit(void **state)
{
    (void)state;
    ctx = ht_context_new(&(ht_context_options){.threads = 1});
    ht_tensor *from = ht_tensor_new(ctx, HT_F32, HT_SHAPE(1500)),
              *to = ht_tensor_new(ctx, HT_U8, HT_SHAPE(1500));
    static const int64_t places[] = {0, 1, 511, 512, 513, 1023, 1024, 1499};
    for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
        char text[32];
        ht_tensor_fill(from, 200);
        ht_tensor_fill(to, 9);
        ht_tensor_set(from, places[k], -3);
        ht_tensor_set(from, 1499, -4);
        snprintf(text, sizeof text, "at place %lld is", (long long)places[k]);
        assert_int_equal(ht_tensor_copy(to, from), HT_ERROR_ARGUMENT);
        assert_contains(ht_context_message(ctx), text);
        assert_contains(ht_context_message(ctx), "outside the 0 .. 255 of u8");
        ht_context_clear(ctx);
        for (int i = 0; i < 1500; i++) assert_near(ht_tensor_get(to, i), 9, 0);
    }
    ht_tensor_free(from);
    ht_tensor_free(to);
    ht_context_free(ctx);
}

static void cast_follows_it_eager_and_replayed(void **state)
{
    (void)state;
    ctx = ht_context_new(&(ht_context_options){.threads = 1});
    for (int64_t rows = 2; rows <= 4000; rows *= 2000)
        for (int k = 0; k < NUMBERS; k++)
            for (int to = HT_I32; to <= HT_U8; to++) {
                const number *n = &numbers[k];
                ht_dtype dtype = (ht_dtype)to;
                ht_tape *tape = ht_tape_new(ctx, HT_RECORD),
                        *eager = ht_tape_new(ctx, HT_EAGER);
                ht_tensor *x = ht_tensor_new(ctx, HT_F64, HT_SHAPE(rows, 3)),
                          *y = ht_tensor_new(ctx, dtype, HT_SHAPE(3, rows)),
                          *z = ht_tensor_new(ctx, HT_F64, HT_SHAPE(3, rows));
                ht_tensor_fill(x, 3);
                ht_tensor_set(x, 4, n->value); /* (1, 1), hence (1, 1) turned */
                ht_var a = ht_input(eager, x), b = ht_cast(ht_transpose(a), dtype);
                const ht_tensor *value = ht_value(b);
                check("cast", dtype, n, false, value ? ht_tensor_get(value, rows + 1) : 0,
                      0);
                /* Among elementwise ops that run together if it is large. */
                ht_var in = ht_input(tape, x), v = ht_transpose(in);
                ht_var out[] = {ht_cast(v, dtype), HT_ZERO};
                out[1] = ht_mul(ht_cast(out[0], HT_F64), 1.0);
                ht_program *p = ht_program_new(tape, 1, &in, 2, out);
                for (int run = 0; run < 2; run++) {
                    ht_program_run(p, (const ht_tensor *[]){x}, (ht_tensor *[]){y, z});
                    bool fits = ht_context_status(ctx) == HT_OK;
                    check("cast", dtype, n, false, fits ? ht_tensor_get(z, rows + 1) : 0,
                          0);
                }
                ht_tape_free(tape);
                ht_tape_free(eager);
                ht_program_free(p);
                ht_tensor_free(x);
                ht_tensor_free(y);
                ht_tensor_free(z);
            }
    ht_context_free(ctx);
}

/* A number beside an integer is not converted: one it can't hold as it is is an error. */
static void number_beside_an_integer_must_be_one(void **state)
{
    (void)state;
    ctx = ht_context_new(&(ht_context_options){.threads = 1});
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *i = ht_tensor_new(ctx, HT_I32, HT_SCALAR);
    ht_tensor_set(i, 0, 4);
    for (int k = 0; k < NUMBERS; k++) {
        const number *n = &numbers[k];
        bool whole = n->i32 && n->value == trunc(n->value);
        ht_var sum = ht_maximum(ht_input(tape, i), n->value);
        if (whole) {
            assert_near(ht_item(sum), n->value > 4 ? n->value : 4, 0);
        } else {
            assert_int_equal(ht_context_status(ctx), HT_ERROR_DTYPE);
            assert_contains(ht_context_message(ctx), "maximum: the number");
            ht_context_clear(ctx);
        }
        assert_int_equal(ht_context_status(ctx), HT_OK);
    }
    ht_tape_free(tape);
    ht_tensor_free(i);
    ht_context_free(ctx);
}

static void set_copy_that_does_not_fit_copies_nothing(void **state)
{
    (void)state;
    ctx = ht_context_new(&(ht_context_options){.threads = 1});
    ht_set *to = ht_set_new(ctx), *from = ht_set_new(ctx);
    const ht_dtype dtypes[] = {HT_F32, HT_U8};
    for (int k = 0; k < 2; k++) {
        ht_tensor_fill(ht_set_add(from, k ? "b" : "a", HT_F64, HT_SHAPE(2)), 300);
        ht_tensor_fill(ht_set_add(to, k ? "b" : "a", dtypes[k], HT_SHAPE(2)), 1);
    }
    assert_int_equal(ht_set_copy(to, from), HT_ERROR_ARGUMENT);
    assert_contains(ht_context_message(ctx), "ht_set_copy: 300");
    ht_context_clear(ctx);
    assert_near(ht_tensor_get(ht_set_tensor(to, "a"), 0), 1, 0);
    assert_near(ht_tensor_get(ht_set_tensor(to, "b"), 0), 1, 0);
    ht_set_free(to);
    ht_set_free(from);
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_into_a_tensor_follows_one_rule),
        cmocka_unit_test(f32_and_i32_sources_follow_it_too),
        cmocka_unit_test(copy_of_many_names_the_first_that_does_not_fit),
        cmocka_unit_test(cast_follows_it_eager_and_replayed),
        cmocka_unit_test(number_beside_an_integer_must_be_one),
        cmocka_unit_test(set_copy_that_does_not_fit_copies_nothing),
    };
    return TEST_MAIN(tests);
}
