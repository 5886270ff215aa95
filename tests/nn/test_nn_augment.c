/* SPDX-License-Identifier: MIT */
/* test_nn_augment.c: every augmentation against a plain loop over the same draws, and
 * its derivatives against differences, at kinks to one side; what strength 0 and whole
 * pixels leave as it is; what is refused.
 * Read next: nn/augment.c, test_nn_augment_outer.c. */
#include "test_nn.h"

enum { SHIFT, CUTOUT, BRIGHTNESS, CONTRAST, COLOUR, KINDS };
static const char *const kind_name[KINDS] = {"random_shift", "random_cutout",
                                             "random_brightness", "random_contrast",
                                             "random_colour"};
enum { STREAM = 77, MOST = 400 };

static ht_var augmented(int kind, ht_var x, ht_var s, ht_var step)
{
    switch (kind) {
    case SHIFT:
        return ht_random_shift(x, s, STREAM, step);
    case CUTOUT:
        return ht_random_cutout(x, s, STREAM, step);
    case BRIGHTNESS:
        return ht_random_brightness(x, s, STREAM, step);
    case CONTRAST:
        return ht_random_contrast(x, s, STREAM, step);
    default:
        return ht_random_colour(x, s, STREAM, step);
    }
}

static ht_var step_of(ht_tape *tape, int step)
{
    return ht_cast(ht_constant(tape, step), HT_I32);
}

/* The draws 0 <= u < 1 of a type, as numbers. */
static void drawn(ht_tape *tape, int step, ht_type type, double *u)
{
    const ht_tensor *t = ht_value(ht_uniform(step_of(tape, step), type, STREAM));
    for (int64_t i = 0; i < ht_tensor_count(t); i++) u[i] = ht_tensor_get(t, i);
}

/* Plain loops. */

typedef struct image {
    const ht_tensor *x;
    int64_t n; /* which */
    double u[2], s;
} image;

static double pixel(const image *m, int64_t c, int64_t i, int64_t j)
{
    const int64_t *dim = ht_tensor_shape(m->x).dim;
    if (i < 0 || j < 0 || i >= dim[2] || j >= dim[3]) return 0;
    return ht_tensor_get(m->x, ((m->n * dim[1] + c) * dim[2] + i) * dim[3] + j);
}

static double sampled(const image *m, int64_t c, double y, double x)
{
    int64_t i = (int64_t)floor(y), j = (int64_t)floor(x);
    double p = y - (double)i, q = x - (double)j;
    return (1 - p) * ((1 - q) * pixel(m, c, i, j) + q * pixel(m, c, i, j + 1)) +
           p * ((1 - q) * pixel(m, c, i + 1, j) + q * pixel(m, c, i + 1, j + 1));
}

/* Of the pixel at k what lies in the interval, both as lengths from the left edge. */
static double overlap(int64_t k, double centre, double length)
{
    double low = fmax((double)k, centre - length / 2);
    return fmax(0, fmin((double)k + 1, centre + length / 2) - low);
}

static double mean_of(const image *m, int64_t i, int64_t j)
{
    const int64_t *dim = ht_tensor_shape(m->x).dim;
    double sum = 0;
    int64_t count = 0;
    for (int64_t c = 0; c < dim[1]; c++)
        for (int64_t y = i < 0 ? 0 : i; y < (i < 0 ? dim[2] : i + 1); y++)
            for (int64_t x = j < 0 ? 0 : j; x < (j < 0 ? dim[3] : j + 1); x++, count++)
                sum += pixel(m, c, y, x);
    return sum / (double)count;
}

static double looped(int kind, const image *m, int64_t c, int64_t i, int64_t j)
{
    const int64_t *dim = ht_tensor_shape(m->x).dim;
    double x = pixel(m, c, i, j), h = (double)dim[2], w = (double)dim[3], s = m->s;
    double u = 2 * m->u[0] - 1, v = 2 * m->u[1] - 1;
    switch (kind) {
    case SHIFT:
        return sampled(m, c, (double)i + s * u, (double)j + s * v);
    case CUTOUT:
        return x * (1 - overlap(i, m->u[0] * h, s * h) * overlap(j, m->u[1] * w, s * w));
    case BRIGHTNESS:
        return x + s * u;
    case CONTRAST:
        return x + s * u * (x - mean_of(m, -1, -1));
    default:
        return x + s * u * (x - mean_of(m, i, j));
    }
}

static int64_t compared;

static void compare(ht_tape *tape, int kind, const ht_tensor *x, const double *s,
                    ht_var got, double tolerance)
{
    ht_shape shape = ht_tensor_shape(x);
    double u[MOST];
    int m = kind == SHIFT || kind == CUTOUT ? 2 : 1;
    drawn(tape, 3, (ht_type){ht_tensor_dtype(x), HT_SHAPE(shape.dim[0], m)}, u);
    const ht_tensor *y = ht_value(got);
    assert_true(ht_shape_equal(ht_tensor_shape(y), shape));
    int64_t at = 0;
    for (int64_t n = 0; n < shape.dim[0]; n++) {
        image one = {x, n, {u[m * n], u[m * n + m - 1]}, s[n]};
        for (int64_t c = 0; c < shape.dim[1]; c++)
            for (int64_t i = 0; i < shape.dim[2]; i++)
                for (int64_t j = 0; j < shape.dim[3]; j++, at++, compared++)
                    assert_near(ht_tensor_get(y, at), looped(kind, &one, c, i, j),
                                tolerance);
    }
}

static const ht_shape shapes[] = {{4, {5, 3, 6, 4}},
                                  {4, {1, 1, 4, 4}},
                                  {4, {2, 2, 1, 7}},
                                  {4, {3, 1, 5, 1}},
                                  {4, {2, 3, 1, 1}}};
static const double strengths[] = {0.37, 1, 2.6, 11, -0.8};
enum { N_SHAPES = 5, N_STRENGTHS = 5 };

/* As a number where it may be one, a variable () and one (n), each image its own. */
static void compare_all(fixture *f, int kind, ht_dtype dtype, ht_shape shape, double s)
{
    double all[MOST], own[MOST], tolerance = dtype == HT_F32 ? 2e-5 : 1e-13;
    ht_tensor *x = ht_tensor_new(f->ctx, dtype, shape);
    ht_tensor *one = ht_tensor_new(f->ctx, dtype, HT_SCALAR);
    ht_tensor *each = ht_tensor_new(f->ctx, dtype, HT_SHAPE(shape.dim[0]));
    ht_tensor_normal(x, 1, 0, 1);
    ht_tensor_fill(one, s);
    for (int64_t n = 0; n < shape.dim[0]; n++) {
        ht_tensor_set(each, n, s + 0.25 * (double)n);
        all[n] = kind == CUTOUT ? fmax(0, s) : s;
        own[n] = kind == CUTOUT ? fmax(0, s + 0.25 * (double)n) : s + 0.25 * (double)n;
    }
    ht_tape *tape = ht_tape_new(f->ctx, HT_EAGER);
    ht_var in = ht_input(tape, x), step = step_of(tape, 3);
    if (s >= 0)
        compare(tape, kind, x, all, augmented(kind, in, ht_number(s), step), tolerance);
    compare(tape, kind, x, all, augmented(kind, in, ht_input(tape, one), step),
            tolerance);
    compare(tape, kind, x, own, augmented(kind, in, ht_input(tape, each), step),
            tolerance);
    test_no_error(f->ctx);
    ht_tape_free(tape);
    ht_tensor_free(x);
    ht_tensor_free(one);
    ht_tensor_free(each);
}

static void augmentations_are_their_loops(void **state)
{
    compared = 0;
    for (int kind = 0; kind < KINDS; kind++)
        for (int k = 0; k < N_SHAPES; k++)
            for (int s = 0; s < N_STRENGTHS; s++)
                for (int d = 0; d < 2; d++)
                    compare_all(*state, kind, d ? HT_F32 : HT_F64, shapes[k],
                                strengths[s]);
    printf("# %lld pixels\n", (long long)compared);
    assert_true(compared > 50000);
}

/* What stays as it is. */

static void assert_same(ht_var got, const ht_tensor *want, const char *what)
{
    if (memcmp(ht_tensor_data(ht_value(got)), ht_tensor_data(want),
               ht_tensor_bytes(want)))
        fail_msg("%s: not the same bits", what);
}

static void strength_of_0_is_the_image_to_the_bit(void **state)
{
    fixture *f = *state;
    for (int d = 0; d < 2; d++) {
        ht_dtype dtype = d ? HT_F32 : HT_F64;
        ht_tensor *x = ht_tensor_new(f->ctx, dtype, HT_SHAPE(4, 3, 5, 6));
        ht_tensor *none = ht_tensor_new(f->ctx, dtype, HT_SHAPE(4));
        ht_tensor_normal(x, 1, 0, 1);
        ht_tape *tape = ht_tape_new(f->ctx, HT_EAGER);
        ht_var in = ht_input(tape, x), s = ht_input(tape, none);
        for (int step = 0; step < 3; step++) {
            ht_var at = step_of(tape, step), mixed = in, labels = in;
            for (int kind = 0; kind < KINDS; kind++) {
                assert_same(augmented(kind, in, s, at), x, kind_name[kind]);
                assert_same(augmented(kind, in, ht_number(0), at), x, kind_name[kind]);
            }
            ht_mixup(&mixed, &labels, s, STREAM, at);
            assert_same(mixed, x, "mixup");
            assert_same(labels, x, "mixup's labels");
            assert_same(ht_random_flip(in, 0, STREAM, at), x, "random_flip");
        }
        test_no_error(f->ctx);
        ht_tape_free(tape);
        ht_tensor_free(x);
        ht_tensor_free(none);
    }
}

static void translate_by_whole_pixels_is_an_exact_move(void **state)
{
    fixture *f = *state;
    ht_tensor *x = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(1, 2, 5, 7));
    ht_tensor_normal(x, 1, 0, 1);
    image one = {.x = x};
    ht_tape *tape = ht_tape_new(f->ctx, HT_EAGER);
    for (int dy = -6; dy <= 6; dy++)
        for (int dx = -8; dx <= 8; dx++) {
            const ht_tensor *y = ht_value(ht_translate(ht_input(tape, x), dy, dx));
            for (int64_t k = 0; k < ht_tensor_count(y); k++)
                assert_near(ht_tensor_get(y, k),
                            pixel(&one, k / 35, k / 7 % 5 + dy, k % 7 + dx), 0);
            ht_tape_reset(tape);
        }
    test_no_error(f->ctx);
    ht_tape_free(tape);
    ht_tensor_free(x);
}

static void flip_exchanges_left_and_right_as_often_as_asked(void **state)
{
    fixture *f = *state;
    enum { N = 200 };
    ht_tensor *x = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(N, 1, 1, 2));
    for (int i = 0; i < N; i++) ht_tensor_set(x, 2 * i, 1);
    ht_tape *tape = ht_tape_new(f->ctx, HT_EAGER);
    static const double probability[] = {0.25, 1};
    double u[N];
    drawn(tape, 0, (ht_type){HT_F32, HT_SHAPE(N, 1)}, u);
    for (int k = 0; k < 2; k++) {
        ht_var y =
            ht_random_flip(ht_input(tape, x), probability[k], STREAM, step_of(tape, 0));
        for (int i = 0; i < N; i++) {
            assert_near(ht_tensor_get(ht_value(y), 2 * i), u[i] >= probability[k], 0);
            assert_near(ht_tensor_get(ht_value(y), 2 * i + 1), u[i] < probability[k], 0);
        }
    }
    test_no_error(f->ctx);
    ht_tape_free(tape);
    ht_tensor_free(x);
}

/* Rows of the identity: row i becomes 1 - w at i and w at its partner. */
static void mixup_mixes_each_row_with_one_of_a_permutation(void **state)
{
    fixture *f = *state;
    enum { N = 9 };
    ht_tensor *x = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(N, N));
    for (int i = 0; i < N; i++) ht_tensor_set(x, i * N + i, 1);
    ht_tape *tape = ht_tape_new(f->ctx, HT_EAGER);
    double last[N] = {0};
    bool moved = false;
    for (int step = 0; step < 6; step++) {
        double u[2 * N], taken[N] = {0};
        ht_var mixed = ht_input(tape, x), labels = ht_input(tape, x);
        drawn(tape, step, (ht_type){HT_F64, HT_SHAPE(2, N)}, u);
        ht_mixup(&mixed, &labels, 0.6, STREAM, step_of(tape, step));
        test_no_error(f->ctx);
        assert_same(labels, ht_value(mixed), "labels");
        for (int i = 0; i < N; i++) {
            int partner = 0;
            for (int j = 0; j < N; j++) partner += u[j] < u[i];
            double w = 0.3 * u[N + i];
            for (int j = 0; j < N; j++)
                assert_near(ht_tensor_get(ht_value(mixed), i * N + j),
                            (1 - w) * (i == j) + w * (partner == j), 1e-15);
            taken[partner]++;
            moved |= step > 0 && partner != (int)last[i];
            last[i] = partner;
        }
        for (int i = 0; i < N; i++) assert_near(taken[i], 1, 0);
    }
    assert_true(moved);
    ht_tape_free(tape);
    ht_tensor_free(x);
}

/* Derivatives. */

/* sum sin(y) by weights that are not alike. */
static ht_var to_number(ht_var y)
{
    ht_var k = ht_cumsum(
        ht_broadcast(ht_cast(ht_constant(y.tape, 0.13), HT_F64), ht_var_shape(y)), -1);
    return ht_sum(ht_mul(ht_sin(y), ht_add(k, 0.4)));
}

static ht_var kind_number(ht_tape *tape, int n, const ht_var *x, void *user)
{
    (void)n;
    return to_number(augmented(*(int *)user, x[0], x[1], step_of(tape, 5)));
}

static ht_var translate_number(ht_tape *tape, int n, const ht_var *x, void *user)
{
    (void)tape, (void)n, (void)user;
    return to_number(ht_translate(x[0], x[1], x[2]));
}

static ht_var mixup_number(ht_tape *tape, int n, const ht_var *x, void *user)
{
    (void)n, (void)user;
    ht_var mixed = x[0], labels = x[2];
    ht_mixup(&mixed, &labels, x[1], STREAM, step_of(tape, 5));
    return ht_add(to_number(mixed), to_number(labels));
}

static ht_var flip_number(ht_tape *tape, int n, const ht_var *x, void *user)
{
    (void)n, (void)user;
    return to_number(ht_random_flip(x[0], 0.5, STREAM, step_of(tape, 5)));
}

static void derivatives_are_those_of_differences(void **state)
{
    fixture *f = *state;
    ht_tensor *x = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(3, 2, 4, 5));
    ht_tensor *labels = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(3, 4));
    ht_tensor *one = ht_tensor_new(f->ctx, HT_F64, HT_SCALAR);
    ht_tensor *each = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(3));
    ht_tensor_normal(x, 1, 0, 1);
    ht_tensor_normal(labels, 2, 0, 1);
    ht_tensor_fill(one, 0.43);
    for (int i = 0; i < 3; i++) ht_tensor_set(each, i, 0.7 - 0.9 * i);
    for (int k = 0; k < 2; k++) {
        ht_tensor *s = k ? each : one;
        const ht_tensor *at[] = {x, s, labels}, *moves[] = {x, s, each};
        for (int kind = 0; kind < KINDS; kind++)
            if (!ht_gradient_check(f->ctx, kind_number, 2, at, &kind, stderr))
                fail_msg("%s", kind_name[kind]);
        assert_true(ht_gradient_check(f->ctx, mixup_number, 3, at, NULL, stderr));
        assert_true(ht_gradient_check(f->ctx, translate_number, 3, moves, NULL, stderr));
        assert_true(ht_gradient_check(f->ctx, flip_number, 1, at, NULL, stderr));
    }
    ht_tensor_free(x);
    ht_tensor_free(labels);
    ht_tensor_free(one);
    ht_tensor_free(each);
}

/* The number at a strength, its derivative and its second. */
static void at_strength(ht_context *ctx, int kind, ht_tensor *x, double s, double d[3])
{
    ht_tensor *t = ht_tensor_new(ctx, HT_F64, HT_SCALAR);
    ht_tensor_fill(t, s);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_var in = ht_input(tape, t), first, second;
    ht_var y = kind < KINDS
                   ? to_number(augmented(kind, ht_input(tape, x), in, step_of(tape, 5)))
                   : to_number(ht_translate(ht_input(tape, x), in, in));
    d[0] = ht_item(y);
    ht_grad(y, 1, &in, &first);
    d[1] = ht_item(first);
    ht_grad(first, 1, &in, &second);
    d[2] = ht_item(second);
    test_no_error(ctx);
    ht_tape_free(tape);
    ht_tensor_free(t);
}

/* At a strength of 0 and, of moves, at whole pixels the value bends; the derivatives are
 * those of what lies on the side of larger strength. */
static void derivatives_at_kinks_are_those_towards_more(void **state)
{
    fixture *f = *state;
    static const struct {
        int kind;
        double s, to;
    } kink[] = {{SHIFT, 0, 1},  {CUTOUT, 0, 1}, {BRIGHTNESS, 0, 1}, {CONTRAST, 0, 1},
                {COLOUR, 0, 1}, {KINDS, 0, 1},  {KINDS, 2, 1},      {KINDS, -2, -1}};
    ht_tensor *x = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(3, 2, 4, 5));
    ht_tensor_normal(x, 1, 0, 1);
    for (int k = 0; k < 8; k++) {
        double h = 1e-6 * kink[k].to, at[3], more[3], less[3];
        at_strength(f->ctx, kink[k].kind, x, kink[k].s, at);
        at_strength(f->ctx, kink[k].kind, x, kink[k].s + h, more);
        at_strength(f->ctx, kink[k].kind, x, kink[k].s - h, less);
        assert_near((more[0] - at[0]) / h, at[1], 1e-4);
        for (int order = 1; order < 3; order++) assert_near(more[order], at[order], 1e-4);
        bool bends = kink[k].kind == SHIFT || kink[k].kind == KINDS;
        assert_int_equal(fabs(at[1] - less[1]) > 0.1, bends);
        if (kink[k].kind == CUTOUT) assert_near(at[1], 0, 0);
        if (kink[k].kind == CUTOUT) assert_true(fabs(at[2]) > 0.1);
    }
    ht_tensor_free(x);
}

/* What is refused. */

typedef struct wrong {
    ht_var x, rows, bytes, s, two, single, step, index;
} wrong;

static void do_wrong(int i, const wrong *w)
{
    ht_var x = w->x, labels = w->index;
    switch (i) {
    case 0:
        ht_random_shift(w->rows, 1, 1, w->step);
        return;
    case 1:
        ht_random_cutout(w->bytes, 1, 1, w->step);
        return;
    case 2:
        ht_random_brightness(x, -0.5, 1, w->step);
        return;
    case 3:
        ht_random_contrast(x, NAN, 1, w->step);
        return;
    case 4:
        ht_random_colour(x, w->two, 1, w->step);
        return;
    case 5:
        ht_random_shift(x, w->single, 1, w->step);
        return;
    case 6:
        ht_random_shift(x, w->s, 1, w->s);
        return;
    case 7:
        ht_random_flip(x, 1.5, 1, w->step);
        return;
    case 8:
        ht_translate(x, 0, w->two);
        return;
    case 9:
        ht_mixup(&x, &labels, 1, 1, w->step);
        return;
    case 10:
        labels = w->rows;
        ht_mixup(&x, &labels, 1, 1, w->step);
        return;
    default:
        labels = w->x;
        ht_mixup(&x, &labels, INFINITY, 1, w->step);
    }
}

static void what_does_not_fit_is_refused_by_name(void **state)
{
    fixture *f = *state;
    static const char *const says[] = {
        "random_shift: needs images x (n, c, h, w) of f32 or f64, got f64 (2, 9)\n  "
        "hint: "
        "ht_reshape",
        "random_cutout: needs images x (n, c, h, w) of f32 or f64, got u8 (3, 1, 3, 3)\n"
        "  hint: ht_cast",
        "random_brightness: needs a strength of 0 or more, got -0.5",
        "random_contrast: needs a strength of 0 or more, got nan",
        "random_colour: needs strength () or (n) of x's dtype, got f64 (2) beside x f64 "
        "(3, 1, 3, 3)",
        "random_shift: needs strength () or (n) of x's dtype, got f32 () beside x f64",
        "random_shift: the step must be i32, got f64",
        "random_flip: needs 0 <= probability <= 1, got 1.5",
        "translate: needs dx () or (n) of x's dtype, got f64 (2)",
        "mixup: needs labels (n, ...) of x's n and dtype, got i32 (3)\n  hint: "
        "ht_one_hot",
        "mixup: needs labels (n, ...) of x's n and dtype, got f64 (2, 9)",
        "mixup: needs a strength of 0 or more, got inf"};
    ht_tape *tape = ht_tape_new(f->ctx, HT_RECORD);
#define INPUT(dtype, ...) ht_input_like(tape, (ht_type){dtype, __VA_ARGS__})
    wrong w = {INPUT(HT_F64, HT_SHAPE(3, 1, 3, 3)),
               INPUT(HT_F64, HT_SHAPE(2, 9)),
               INPUT(HT_U8, HT_SHAPE(3, 1, 3, 3)),
               INPUT(HT_F64, HT_SCALAR),
               INPUT(HT_F64, HT_SHAPE(2)),
               INPUT(HT_F32, HT_SCALAR),
               INPUT(HT_I32, HT_SCALAR),
               INPUT(HT_I32, HT_SHAPE(3))};
    for (int i = 0; i < 12; i++) {
        do_wrong(i, &w);
        assert_contains(ht_context_message(f->ctx), "test_nn_augment.c:");
        assert_contains(ht_context_message(f->ctx), says[i]);
        assert_int_not_equal(ht_context_status(f->ctx), HT_OK);
        ht_context_clear(f->ctx);
    }
    ht_tape_free(tape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(augmentations_are_their_loops),
        CASE(strength_of_0_is_the_image_to_the_bit),
        CASE(translate_by_whole_pixels_is_an_exact_move),
        CASE(flip_exchanges_left_and_right_as_often_as_asked),
        CASE(mixup_mixes_each_row_with_one_of_a_permutation),
        CASE(derivatives_are_those_of_differences),
        CASE(derivatives_at_kinks_are_those_towards_more),
        CASE(what_does_not_fit_is_refused_by_name),
    };
    return TEST_MAIN(tests);
}
