/* SPDX-License-Identifier: MIT */
/* test_autograd_looking.c: what one sees of a tape: names in listings, graphs and errors,
 * where derivatives start and what made a node; that numbers are folded.
 * Read next: autograd/inspect/print.c. */
#include <math.h>

#include "test.h"

#include "engine.h"

typedef struct fixture {
    ht_context *ctx;
    ht_tape *eager, *recorded;
    ht_tensor *x, *w, *s; /* f64 (2, 3), f64 (3, 2), f64 () */
} fixture;

static int fixture_new(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->ctx = ht_context_new(&(ht_context_options){.seed = 5, .threads = 1});
    f->eager = ht_tape_new(f->ctx, HT_EAGER);
    f->recorded = ht_tape_new(f->ctx, HT_RECORD);
    f->x = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(2, 3));
    f->w = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(3, 2));
    f->s = ht_tensor_new(f->ctx, HT_F64, HT_SCALAR);
    for (int i = 0; i < 6; i++) ht_tensor_set(f->x, i, i + 1);
    ht_tensor_fill(f->w, 0.5);
    ht_tensor_fill(f->s, 2);
    *state = f;
    return 0;
}

static int fixture_free(void **state)
{
    fixture *f = *state;
    ht_tape_free(f->eager);
    ht_tape_free(f->recorded);
    ht_tensor_free(f->x);
    ht_tensor_free(f->w);
    ht_tensor_free(f->s);
    ht_context_free(f->ctx);
    free(f);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_new, fixture_free)

/* The whole of a tape's listing. */
static char *listed(const ht_tape *tape)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    ht_tape_print(tape, file);
    fclose(file);
    return text;
}

/* The line of node i in a listing. */
static char *line_of(const char *text, int i)
{
    char start[16], *line = NULL;
    size_t size = 0;
    snprintf(start, sizeof start, "%%%-4d = ", i);
    const char *at = strstr(text, start);
    if (!at) fail_msg("no node %d in:\n%s", i, text);
    FILE *file = open_memstream(&line, &size);
    fprintf(file, "%.*s", (int)strcspn(at, "\n"), at);
    fclose(file);
    return line;
}

static void assert_line_says(const char *text, int i, const char *part)
{
    char *line = line_of(text, i);
    assert_contains(line, part);
    free(line);
}

static void assert_line_silent(const char *text, int i, const char *part)
{
    char *line = line_of(text, i);
    if (strstr(line, part)) fail_msg("node %d says \"%s\": %s", i, part, line);
    free(line);
}

/* Names. */

static void name_stands_in_the_listing_and_the_newer_wins(void **state)
{
    fixture *f = *state;
    for (int k = 0; k < 2; k++) {
        ht_tape *tape = k ? f->recorded : f->eager;
        char word[] = "input of the first layer";
        ht_var x = ht_name(ht_input(tape, f->x), word), y = ht_exp(x);
        memset(word, '?', sizeof word - 1);
        assert_int_equal(ht_name(y, "old").index, y.index);
        ht_name(y, "new");
        char *text = listed(tape);
        assert_line_says(text, 0, " \"input of the first layer\" ");
        assert_line_says(text, 1, " \"new\" ");
        assert_null(strstr(text, "old"));
        free(text);
    }
}

static void name_is_forgotten_with_its_node_and_by_rewind(void **state)
{
    fixture *f = *state;
    ht_var x = ht_name(ht_input(f->eager, f->x), "kept");
    ht_mark mark = ht_tape_mark(f->eager);
    ht_name(ht_exp(x), "gone");
    ht_name(x, "later");
    ht_tape_rewind(f->eager, mark);
    ht_exp(x);
    char *text = listed(f->eager);
    assert_line_says(text, 0, "\"kept\"");
    assert_null(strstr(text, "gone"));
    assert_null(strstr(text, "later"));
    free(text);
    ht_tape_reset(f->eager);
    ht_input(f->eager, f->x);
    text = listed(f->eager);
    assert_null(strstr(text, "kept"));
    free(text);
}

static void name_and_reset_in_a_loop_ask_for_no_memory(void **state)
{
    fixture *f = *state;
    uint64_t before = 0;
    for (int k = 0; k < 100; k++) {
        if (k == 2) before = ht_context_allocations(f->ctx);
        ht_name(ht_exp(ht_name(ht_input(f->eager, f->x), "x")), "e");
        ht_tape_reset(f->eager);
    }
    assert_int_equal(ht_context_allocations(f->ctx), before);
}

static void name_is_said_by_the_errors_that_speak_of_its_node(void **state)
{
    fixture *f = *state;
    ht_var x = ht_name(ht_input(f->recorded, f->x), "image");
    ht_var w = ht_name(ht_input(f->recorded, f->w), "a.weight"), y = ht_sum(x), d;
    ht_matmul(x, x);
    assert_contains(ht_context_message(f->ctx),
                    "inputs: f64 (2, 3) \"image\", f64 (2, 3) \"image\"");
    ht_context_clear(f->ctx);
    ht_grad(y, 1, &w, &d);
    assert_contains(ht_context_message(f->ctx),
                    "y does not depend on x[0] \"a.weight\" (node %1, made at ");
    ht_context_clear(f->ctx);
    assert_null(ht_value(w));
    assert_contains(ht_context_message(f->ctx), "node %1 \"a.weight\", made at ");
    ht_context_clear(f->ctx);
    ht_var r = ht_name(ht_reshape(x, HT_SHAPE(6)), "flat");
    ht_grad_or_zero(ht_sum(ht_mul(r, ht_reshape(x, HT_SHAPE(6)))), 1, &r, &d);
    ht_var p = ht_sum(ht_reshape(r, HT_SHAPE(3, 2)));
    ht_context_clear(f->ctx);
    ht_grad(p, 1, &r, &d);
    assert_contains(ht_context_message(f->ctx), "x[0] \"flat\" (node ");
    assert_contains(ht_context_message(f->ctx), "of node %0 \"image\", which y");
    ht_context_clear(f->ctx);
    assert_null(ht_program_new(f->recorded, 1, &w, 1, &y));
    assert_contains(ht_context_message(f->ctx), "needs leaf %0 \"image\", made at ");
    ht_context_clear(f->ctx);
    ht_var n = ht_name(ht_greater(w, x), "never");
    assert_int_equal(ht_name(n, "again").index, n.index);
    assert_contains(ht_context_message(f->ctx), "(3, 2) \"a.weight\", f64 (2, 3)");
    ht_context_clear(f->ctx);
}

/* Origins. */

/* x^2 y: d1 = 2 x y by the rules of both products, d2 = 2 y. */
static void origin_of_a_gradient_of_a_gradient_is_listed(void **state)
{
    fixture *f = *state;
    for (int k = 0; k < 2; k++) {
        ht_tape *tape = k ? f->recorded : f->eager;
        ht_var x = ht_input(tape, f->s), y = ht_input(tape, f->s), d, e;
        ht_var z = ht_mul(ht_mul(x, x), y);
        ht_grad(z, 1, &x, &d);
        uint32_t first = ht_tape_nodes(tape);
        ht_exp(d);
        ht_grad(d, 1, &x, &e);
        assert_true(ht_tape_nodes(tape) > first + 1);
        char *text = listed(tape);
        assert_null(strstr(text, "d3"));
        assert_line_says(text, (int)z.index, "  d1 starts");
        assert_line_says(text, (int)z.index + 1, "  d1 of %3");
        assert_line_says(text, (int)d.index, "  d1 by %2  d2 starts");
        assert_line_says(text, (int)e.index, "  d2 by %5");
        assert_line_silent(text, (int)first, " d1 ");
        assert_line_silent(text, (int)first, " d2 ");
        free(text);
    }
}

/* What is called of a gradient, d d, came to be by a call. Its derivative goes through
 * the gradient and is a second one; by the gradient itself, a leaf, it is a first. */
static void origin_of_a_gradient_of_a_gradients_norm_is_second(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->s), d, e, g;
    ht_grad(ht_mul(x, ht_exp(x)), 1, &x, &d);
    ht_var norm = ht_mul(d, d);
    ht_grad(norm, 1, &d, &g);
    ht_grad(norm, 1, &x, &e);
    char *text = listed(f->eager);
    assert_line_silent(text, (int)norm.index, " d1 by ");
    assert_line_says(text, (int)g.index, "  d1 by %");
    assert_line_says(text, (int)e.index, "  d2 by %");
    assert_null(strstr(text, "d3"));
    free(text);
}

static void origin_of_a_tangent_is_along_its_variable(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->s), y = ht_exp(ht_mul(x, 3)), v = ht_number(2), t;
    ht_jvp(1, &x, &v, 1, &y, &t);
    char *text = listed(f->eager);
    assert_line_says(text, 0, "  d1 starts");
    assert_line_says(text, 4, "constant {2} ");
    assert_line_says(text, 4, "  d1 along %0");
    assert_line_says(text, (int)t.index, "  d1 by %3");
    free(text);
    ht_hvp(y, 1, &x, &v, &t);
    text = listed(f->eager);
    assert_line_says(text, (int)t.index, "  d2 by %");
    free(text);
}

static ht_var cube_decompose(const ht_rule *r)
{
    return ht_mul(r->in[0], ht_square(r->in[0]));
}
static const ht_op cube = {
    .name = "cube", .flags = HT_OP_ELEMENTWISE, .decompose = cube_decompose};

/* A node without a rule is said once more out of other ops, whose derivative is taken
 * inside the one asked for: all are of that. */
static void origin_of_a_decomposed_op_is_of_the_same_derivative(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->recorded, f->s), d, e;
    ht_var y = ht_exp(ht_apply(&cube, 1, &x, NULL, HT_HERE));
    uint32_t first = ht_tape_nodes(f->recorded);
    ht_grad(y, 1, &x, &d);
    uint32_t last = ht_tape_nodes(f->recorded);
    char *text = listed(f->recorded);
    for (uint32_t i = first; i < last; i++) assert_line_says(text, (int)i, "  d1 ");
    assert_null(strstr(text, " d2 "));
    free(text);
    ht_grad(d, 1, &x, &e);
    text = listed(f->recorded);
    for (uint32_t i = last; i < ht_tape_nodes(f->recorded); i++)
        assert_line_says(text, (int)i, "  d2 ");
    assert_null(strstr(text, " d3 "));
    free(text);
}

static void origin_is_forgotten_by_rewind_and_asks_for_no_memory(void **state)
{
    fixture *f = *state;
    uint64_t before = 0;
    ht_var x = ht_input(f->eager, f->s), y = ht_mul(x, ht_exp(x)), d, e;
    ht_grad(y, 1, &x, &d);
    ht_mark mark = ht_tape_mark(f->eager);
    for (int k = 0; k < 50; k++) {
        if (k == 2) before = ht_context_allocations(f->ctx);
        ht_grad(d, 1, &x, &e);
        ht_grad(d, 1, &x, &e);
        ht_tape_rewind(f->eager, mark);
    }
    assert_int_equal(ht_context_allocations(f->ctx), before);
    ht_var s = ht_sin(x);
    char *text = listed(f->eager);
    assert_line_silent(text, (int)s.index, " d1 ");
    assert_null(strstr(text, "d2"));
    assert_line_says(text, (int)d.index, "  d1 by %");
    assert_line_says(text, (int)y.index, "  d1 starts");
    free(text);
}

/* Graphs. */

static int count(const char *text, const char *part)
{
    int n = 0;
    while ((text = strstr(text, part))) text++, n++;
    return n;
}

static char *graph_of(const ht_tape *tape, int n, const ht_var *y, bool moves)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    ht_tape_dot_of(tape, n, y, moves, file);
    fclose(file);
    return text;
}

/* One layer: x w, the mean of its squares, and its gradient by w. */
static void graph_of_some_is_of_what_they_are_made_of(void **state)
{
    fixture *f = *state;
    ht_var x = ht_name(ht_input(f->eager, f->x), "x");
    ht_var w = ht_name(ht_input(f->eager, f->w), "the \"w\" \\");
    ht_var y = ht_mean(ht_square(ht_matmul(x, w))), none = ht_exp(x), d;
    ht_grad(y, 1, &w, &d);
    char *all = graph_of(f->eager, 0, NULL, true);
    char *plain = graph_of(f->eager, 1, &y, true),
         *exp = graph_of(f->eager, 1, &none, true);
    assert_int_equal(count(all, "[label="), ht_tape_nodes(f->eager));
    assert_int_equal(count(exp, "[label="), 2);
    assert_int_equal(count(exp, " -> "), 1);
    assert_int_equal(count(plain, "[label="), 6);
    assert_contains(plain, "%0 = input\\nf64 (2, 3) \\\"x\\\"\\n= [1, 2, 3, 4, 5, 6]\"");
    assert_contains(plain, "\\\"the \\\"w\\\" \\\\\\\"\\n");
    assert_contains(plain, "\\nd1 starts\", fillcolor=white, penwidth=3];");
    free(all), free(plain), free(exp);
}

/* Without movements the arrows go past them; what starts a derivative, or has a name,
 * stays. */
static void graph_without_movements_keeps_what_has_a_name(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x), t = ht_transpose(x), d;
    ht_var y = ht_mean(ht_exp(ht_reshape(t, HT_SHAPE(6)))), both[] = {y, t};
    char *text = graph_of(f->eager, 1, &y, false);
    assert_int_equal(count(text, "[label="), 4);
    assert_contains(text, " = exp(%0)\\n");
    assert_contains(text, "n0 -> n3;");
    free(text);
    ht_name(t, "t");
    text = graph_of(f->eager, 1, &y, false);
    assert_int_equal(count(text, "[label="), 5);
    assert_contains(text, "n1 -> n3;");
    free(text);
    ht_grad(y, 1, &x, &d);
    text = graph_of(f->eager, 2, both, false);
    assert_int_equal(count(text, "penwidth=3"), 1);
    free(text);
}

/* sin x, three times differentiated: as many colours. */
static void graph_has_a_colour_for_each_order_and_values(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->s), y = ht_mul(ht_sin(x), ht_exp(ht_mul(x, 3))),
           d = y;
    ht_tensor *large = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(4, 2));
    for (int i = 0; i < 8; i++) ht_tensor_set(large, i, i - 2);
    ht_var wide = ht_neg(ht_input(f->eager, large));
    for (int k = 0; k < 3; k++) {
        ht_var by = d;
        ht_grad(by, 1, &x, &d);
    }
    char *text = graph_of(f->eager, 1, &d, true);
    static const char *const colours[] = {"lightblue", "lightgrey", "white",
                                          "khaki",     "orange",    "tomato"};
    for (size_t k = 0; k < sizeof colours / sizeof *colours; k++)
        assert_true(count(text, colours[k]) > 0);
    free(text);
    text = graph_of(f->eager, 1, &wide, true);
    assert_contains(text, "\\n= -5 .. 2, mean -1.5\"");
    free(text);
    ht_tensor_fill(f->s, 7);
    text = graph_of(f->eager, 1, &x, true);
    assert_null(strstr(text, "= 7"));
    free(text);
    ht_tape_reset(f->eager);
    ht_tensor_free(large);
}

/* Numbers. */

/* d^k/dx^k of x^4, of products and of a power. Nodes: x, 4, x^4; 1, 3, x^3, 4 x^3;
 * 2, x^2, 3 x^2, 4 (3 x^2); 12, 2 x, 12 (2 x). */
static void number_folding_keeps_the_derivatives_of_a_power_few(void **state)
{
    fixture *f = *state;
    static const double want[] = {16, 32, 48, 48, 24, 0};
    static const uint32_t nodes[] = {3, 7, 11, 14, 15};
    for (int policy = 0; policy < 2; policy++) {
        ht_tape *tape = policy ? f->recorded : f->eager;
        ht_var x = ht_input(tape, f->s), d = ht_pow(x, 4);
        for (int k = 0; k < 5; k++) {
            if (!policy) assert_near(ht_item(d), want[k], 0);
            if (ht_tape_nodes(tape) != nodes[k]) ht_tape_print(tape, stdout);
            assert_int_equal(ht_tape_nodes(tape), nodes[k]);
            ht_var by = d;
            ht_grad_or_zero(by, 1, &x, &d);
        }
        if (!policy) assert_near(ht_item(d), want[5], 0);
    }
}

/* x^0 is 1 of NaN too, and a function of x still: its gradient is 0, no error. */
static void number_zero_as_exponent_is_one_with_a_gradient(void **state)
{
    fixture *f = *state;
    ht_tensor_set(f->s, 0, (double)NAN);
    ht_var x = ht_input(f->eager, f->s), y = ht_pow(x, 0), d;
    assert_near(ht_item(y), 1, 0);
    ht_grad(y, 1, &x, &d);
    assert_near(ht_item(d), 0, 0);
}

/* a op b of two constants, bit for bit what the kernel makes of two tensors. */
static void number_of_two_numbers_is_what_the_kernel_makes(void **state)
{
    fixture *f = *state;
    ht_var (*const op[])(ht_var, ht_var, const char *) = {ht_add_at, ht_sub_at, ht_mul_at,
                                                          ht_div_at};
    static const double awkward[] = {0.0,         -0.0,    1,
                                     0.1,         1.0 / 3, -2e-38,
                                     7e-42,       3e38,    (double)INFINITY,
                                     5e-324,      1e-300,  1.7e308,
                                     (double)NAN, 16777217};
    enum { N = sizeof awkward / sizeof *awkward };
    for (int k = 0; k < 2 * 4 * N * N; k++) {
        ht_dtype dtype = k & 1 ? HT_F64 : HT_F32;
        int kind = k / 2 % 4;
        double a = awkward[k / 8 % N], b = awkward[k / 8 / N];
        ht_tensor *t[2] = {ht_tensor_new(f->ctx, dtype, HT_SCALAR),
                           ht_tensor_new(f->ctx, dtype, HT_SCALAR)};
        ht_tensor_set(t[0], 0, a);
        ht_tensor_set(t[1], 0, b);
        ht_var want =
            op[kind](ht_input(f->eager, t[0]), ht_input(f->eager, t[1]), HT_HERE);
        ht_var c = ht_cast(ht_constant(f->eager, b), dtype);
        ht_var got = op[kind](ht_number(a), c, HT_HERE);
        double x, y = ht_item(want);
        assert_true(hti_is_constant(got, &x));
        x = ht_item(got);
        assert_int_equal(ht_var_dtype(got), dtype);
        if (isnan(x) ? !isnan(y) : memcmp(&x, &y, sizeof x) != 0)
            fail_msg("%g, %g, op %d: %.17g, the kernel %.17g", a, b, kind, x, y);
        ht_tape_reset(f->eager);
        ht_tensor_free(t[0]);
        ht_tensor_free(t[1]);
    }
}

/* Spread numbers too, with the shape both have; weak ones stay weak. */
static void number_folding_looks_through_broadcasts(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x), two = ht_constant(f->eager, 2);
    ht_var row = ht_broadcast(ht_cast(two, HT_F64), HT_SHAPE(3));
    ht_var column =
        ht_broadcast(ht_cast(ht_constant(f->eager, 5), HT_F64), HT_SHAPE(2, 1));
    ht_var sum = ht_sub(row, column);
    assert_true(ht_shape_equal(ht_var_shape(sum), HT_SHAPE(2, 3)));
    assert_near(ht_tensor_get(ht_value(sum), 5), -3, 0);
    ht_var weak = ht_div(ht_neg(two), 4);
    ht_tensor *small = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(2));
    ht_var y = ht_mul(ht_input(f->eager, small), weak);
    assert_int_equal(ht_var_dtype(y), HT_F32);
    uint32_t nodes = ht_tape_nodes(f->eager);
    assert_int_equal(ht_mul(x, ht_constant(f->eager, 1)).index, x.index);
    assert_int_equal(ht_tape_nodes(f->eager), nodes + 1);
    /* What does not fit is refused as ever. */
    ht_mul(row, ht_broadcast(ht_cast(two, HT_F64), HT_SHAPE(2)));
    assert_int_equal(ht_context_status(f->ctx), HT_ERROR_SHAPE);
    ht_context_clear(f->ctx);
    ht_mul(row, ht_broadcast(ht_cast(two, HT_F32), HT_SHAPE(3)));
    assert_int_equal(ht_context_status(f->ctx), HT_ERROR_DTYPE);
    ht_context_clear(f->ctx);
    ht_tape_reset(f->eager);
    ht_tensor_free(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(name_stands_in_the_listing_and_the_newer_wins),
        TEST(name_is_forgotten_with_its_node_and_by_rewind),
        TEST(name_and_reset_in_a_loop_ask_for_no_memory),
        TEST(name_is_said_by_the_errors_that_speak_of_its_node),
        TEST(origin_of_a_gradient_of_a_gradient_is_listed),
        TEST(origin_of_a_gradient_of_a_gradients_norm_is_second),
        TEST(origin_of_a_tangent_is_along_its_variable),
        TEST(origin_of_a_decomposed_op_is_of_the_same_derivative),
        TEST(origin_is_forgotten_by_rewind_and_asks_for_no_memory),
        TEST(graph_of_some_is_of_what_they_are_made_of),
        TEST(graph_without_movements_keeps_what_has_a_name),
        TEST(graph_has_a_colour_for_each_order_and_values),
        TEST(number_folding_keeps_the_derivatives_of_a_power_few),
        TEST(number_zero_as_exponent_is_one_with_a_gradient),
        TEST(number_of_two_numbers_is_what_the_kernel_makes),
        TEST(number_folding_looks_through_broadcasts),
    };
    return TEST_MAIN(tests);
}
