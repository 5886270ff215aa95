/* SPDX-License-Identifier: MIT */
/* test_autograd_tape.c: what a tape promises: equal nodes are one, marks and resets,
 * stale variables and borrows are caught, numbers take their partner's dtype, errors name
 * op, shapes and call site, derivatives take their variables as leaves, listings.
 * Read next: autograd/tape.c, autograd/apply.c. */
#include "child.h"

#include "ht_autograd.h"

typedef struct fixture {
    ht_context *ctx;
    ht_tape *eager, *recorded;
    ht_tensor *x, *y, *wide, *whole; /* f64 (4), f64 (4), f32 (2, 3), i32 (4) */
} fixture;

static int fixture_new(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->ctx = ht_context_new(&(ht_context_options){.seed = 5, .threads = 1});
    f->eager = ht_tape_new(f->ctx, HT_EAGER);
    f->recorded = ht_tape_new(f->ctx, HT_RECORD);
    f->x = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(4));
    f->y = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(4));
    f->wide = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(2, 3));
    f->whole = ht_tensor_new(f->ctx, HT_I32, HT_SHAPE(4));
    ht_tensor_uniform(f->x, 1, 0.5, 2);
    ht_tensor_uniform(f->y, 2, 0.5, 2);
    ht_tensor_uniform(f->wide, 3, 0.5, 2);
    for (int i = 0; i < 4; i++) ht_tensor_set(f->whole, i, i + 1);
    *state = f;
    return 0;
}

static int fixture_free(void **state)
{
    fixture *f = *state;
    ht_tape_free(f->eager);
    ht_tape_free(f->recorded);
    ht_tensor_free(f->x);
    ht_tensor_free(f->y);
    ht_tensor_free(f->wide);
    ht_tensor_free(f->whole);
    ht_context_free(f->ctx);
    free(f);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_new, fixture_free)

typedef struct deed {
    fixture *f;
    void (*act)(fixture *f);
} deed;

static void do_deed(void *all)
{
    const deed *d = all;
    d->act(d->f);
}

/* act, in a child, aborts and says `message` on stderr. */
static void assert_aborts(fixture *f, void (*act)(fixture *), const char *message)
{
    test_aborts(do_deed, &(deed){f, act}, message);
}

static void assert_status(const fixture *f, ht_status want)
{
    ht_status got = ht_context_status(f->ctx);
    if (got != want)
        fail_msg("status is %s, expected %s: %s", ht_status_name(got),
                 ht_status_name(want), ht_context_message(f->ctx));
}

static void assert_same(ht_var a, ht_var b)
{
    assert_int_equal(a.index, b.index);
    assert_int_equal(a.stamp, b.stamp);
    assert_ptr_equal(a.tape, b.tape);
}

/* The whole of what print writes. */
static char *written(void (*print)(fixture *, FILE *), fixture *f)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    print(f, file);
    fclose(file);
    return text;
}

/* Equal nodes. */

static void append_equal_nodes_are_one(void **state)
{
    fixture *f = *state;
    for (int policy = 0; policy < 2; policy++) {
        ht_tape *tape = policy ? f->recorded : f->eager;
        ht_var x = ht_input(tape, f->x), y = ht_input(tape, f->y);
        assert_same(ht_exp(x), ht_exp(x));
        assert_same(ht_add(x, y), ht_add(y, x));
        assert_same(ht_mul(x, y), ht_mul(y, x));
        assert_same(ht_slice(x, 0, 1, 2, 1), ht_slice(x, 0, 1, 2, 1));
        assert_same(ht_mul(x, 0.5), ht_mul(0.5, x));
        assert_same(ht_constant(tape, 3), ht_constant(tape, 3));
        uint32_t nodes = ht_tape_nodes(tape);
        ht_sum(ht_mul(ht_exp(x), ht_add(y, x)));
        uint32_t more = ht_tape_nodes(tape);
        assert_true(more > nodes);
        ht_sum(ht_mul(ht_add(x, y), ht_exp(x)));
        assert_int_equal(ht_tape_nodes(tape), more);
    }
}

static void append_different_nodes_are_two(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x), y = ht_input(f->eager, f->y);
    assert_int_not_equal(ht_input(f->eager, f->x).index, x.index);
    assert_int_not_equal(ht_sub(x, y).index, ht_sub(y, x).index);
    assert_int_not_equal(ht_slice(x, 0, 1, 2, 1).index, ht_slice(x, 0, 2, 2, 1).index);
    assert_int_not_equal(ht_add(x, x).index, ht_mul(x, x).index);
    assert_int_not_equal(ht_constant(f->eager, 0.0).index,
                         ht_constant(f->eager, -0.0).index);
    assert_int_not_equal(ht_cast(x, HT_F32).index, ht_cast(x, HT_I32).index);
}

/* Random expressions, marks and rewinds against a list of what is live. */

typedef struct formula {
    int op;
    uint32_t a, b;
    ht_var var;
} formula;

enum { MOST_FORMULAS = 4096, MOST_MARKS = 8, STEPS = 40000 };

static ht_var formula_append(int op, ht_var a, ht_var b)
{
    switch (op) {
    case 0:
        return ht_add(a, b);
    case 1:
        return ht_mul(a, b);
    case 2:
        return ht_sub(a, b);
    case 3:
        return ht_maximum(a, b);
    case 4:
        return ht_tanh(a);
    default:
        return ht_exp(a);
    }
}

static int formula_find(const formula *all, int n, int op, uint32_t a, uint32_t b)
{
    bool commutes = op == 0 || op == 1 || op == 3;
    for (int i = 0; i < n; i++)
        if (all[i].op == op && ((all[i].a == a && all[i].b == b) ||
                                (commutes && all[i].a == b && all[i].b == a)))
            return i;
    return -1;
}

static void append_random_formulas_with_rewinds_stay_unique(void **state)
{
    fixture *f = *state;
    uint64_t seed = test_seed(), next = 0;
    static formula all[MOST_FORMULAS];
    ht_mark marks[MOST_MARKS];
    int n = 0, n_marks = 0, found = 0, most = 0;
    for (; n < 3; n++)
        all[n] = (formula){-1, UINT32_MAX, UINT32_MAX, ht_input(f->recorded, f->x)};
    for (int step = 0; step < STEPS; step++) {
        int64_t what = ht_random_below(seed, 1, next++, 400);
        if (what < 3 && n_marks < MOST_MARKS) {
            marks[n_marks++] = ht_tape_mark(f->recorded);
        } else if ((what == 3 || n > MOST_FORMULAS / 2) && n_marks > 0) {
            n_marks = (int)ht_random_below(seed, 1, next++, n_marks) + 1;
            ht_mark mark = marks[n_marks - 1];
            ht_tape_rewind(f->recorded, mark);
            assert_int_equal(ht_tape_nodes(f->recorded), mark.nodes);
            while (all[n - 1].var.index >= mark.nodes) n--;
        } else if (n < MOST_FORMULAS) {
            int op = (int)ht_random_below(seed, 1, next++, 6);
            ht_var a = all[ht_random_below(seed, 1, next++, n)].var;
            ht_var b =
                op < 4 ? all[ht_random_below(seed, 1, next++, n < 40 ? n : 40)].var : a;
            int same = formula_find(all, n, op, a.index, b.index);
            uint32_t nodes = ht_tape_nodes(f->recorded);
            ht_var out = formula_append(op, a, b);
            if (same >= 0) {
                assert_same(out, all[same].var);
                found++;
            } else {
                assert_int_equal(out.index, nodes);
                all[n++] = (formula){op, a.index, b.index, out};
            }
        }
        if (n > most) most = n;
    }
    printf("# %d formulas found again, at most %d live\n", found, most);
    assert_true(found > 100);
    assert_true(most > 300);
    assert_status(f, HT_OK);
}

/* Marks and resets. */

static void rewind_keeps_what_was_before(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x), e = ht_exp(x);
    double want = exp(ht_tensor_get(f->x, 2));
    ht_mark mark = ht_tape_mark(f->eager);
    for (int i = 0; i < 100; i++) ht_add(e, (double)i);
    ht_tape_rewind(f->eager, mark);
    assert_int_equal(ht_tape_nodes(f->eager), 2);
    assert_near(ht_tensor_get(ht_value(e), 2), want, 1e-15);
    assert_same(ht_exp(x), e);
    ht_var sum = ht_add(e, 1.0);
    assert_near(ht_tensor_get(ht_value(sum), 2), want + 1, 1e-15);
    ht_tape_rewind(f->eager, mark);
    assert_near(ht_tensor_get(ht_value(e), 2), want, 1e-15);
}

static void rewind_and_reset_in_a_loop_ask_for_no_memory(void **state)
{
    fixture *f = *state;
    uint64_t calls = 0;
    size_t live = 0;
    for (int i = 0; i < 2000; i++) {
        ht_tape_reset(f->eager);
        ht_var x = ht_input(f->eager, f->x);
        for (int k = 0; k < 3; k++) {
            ht_mark mark = ht_tape_mark(f->eager);
            ht_var loss = ht_sum(ht_exp(ht_mul(x, 0.1 * k + 0.5))), dx;
            ht_grad(loss, 1, &x, &dx);
            ht_value(dx);
            ht_tape_rewind(f->eager, mark);
        }
        if (i == 10) {
            calls = ht_context_allocations(f->ctx);
            live = ht_context_live_bytes(f->ctx);
        }
    }
    ht_var x = ht_input(f->eager, f->x);
    for (int i = 0; i < 2000; i++) {
        ht_mark mark = ht_tape_mark(f->eager);
        ht_exp(x);
        ht_tape_rewind(f->eager, mark);
    }
    assert_int_equal(ht_context_allocations(f->ctx), calls);
    assert_int_equal(ht_context_live_bytes(f->ctx), live);
}

static void rewind_to_nested_marks_goes_back_to_each(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x);
    ht_mark outer = ht_tape_mark(f->eager);
    ht_exp(x);
    ht_mark inner = ht_tape_mark(f->eager);
    ht_tanh(x);
    ht_tape_rewind(f->eager, inner);
    assert_int_equal(ht_tape_nodes(f->eager), 2);
    ht_tape_rewind(f->eager, inner);
    assert_int_equal(ht_tape_nodes(f->eager), 2);
    ht_tape_rewind(f->eager, outer);
    assert_int_equal(ht_tape_nodes(f->eager), 1);
}

static void stale_after_reset(fixture *f)
{
    ht_var x = ht_input(f->eager, f->x);
    ht_tape_reset(f->eager);
    ht_input(f->eager, f->y);
    ht_exp(x);
}
static void stale_past_the_end(fixture *f)
{
    ht_var x = ht_input(f->eager, f->x);
    ht_tape_reset(f->eager);
    ht_value(x);
}
static void stale_after_rewind(fixture *f)
{
    ht_var x = ht_input(f->eager, f->x);
    ht_mark mark = ht_tape_mark(f->eager);
    ht_var e = ht_exp(x);
    ht_tape_rewind(f->eager, mark);
    ht_tanh(x);
    ht_add(e, x);
}
static void stale_factor_that_became_one(fixture *f)
{
    ht_var x = ht_input(f->eager, f->x);
    ht_mark mark = ht_tape_mark(f->eager);
    ht_var e = ht_exp(x);
    ht_tape_rewind(f->eager, mark);
    ht_constant(f->eager, 1);
    ht_mul(x, e);
}
static void stale_mark(fixture *f)
{
    ht_var x = ht_input(f->eager, f->x);
    ht_mark outer = ht_tape_mark(f->eager);
    ht_exp(x);
    ht_mark inner = ht_tape_mark(f->eager);
    ht_tape_rewind(f->eager, outer);
    ht_exp(x);
    ht_tape_rewind(f->eager, inner);
}
static void variable_never_set(fixture *f)
{
    ht_add(ht_input(f->eager, f->x), (ht_var){0});
}
static void variables_of_two_tapes(fixture *f)
{
    ht_add(ht_input(f->eager, f->x), ht_input(f->recorded, f->x));
}
static void numbers_alone(fixture *f)
{
    (void)f;
    ht_add(1.0, 2.0);
}

static void variable_that_is_no_longer_valid_stops_the_program(void **state)
{
    fixture *f = *state;
    assert_aborts(f, stale_after_reset,
                  "stale variable: node 0 was made before the tape was reset");
    assert_aborts(f, stale_past_the_end, "node 0 was made before the tape was reset");
    assert_aborts(f, stale_after_rewind, "node 1 was made before the tape was rewound");
    assert_aborts(f, stale_factor_that_became_one, "stale variable: node 1");
    assert_aborts(f, stale_mark, "rewound past");
    assert_aborts(f, variable_never_set, "a variable that was never set");
    assert_aborts(f, variables_of_two_tapes, "on another tape");
    assert_aborts(f, numbers_alone, "no input is on a tape");
}

/* Borrows. */

static void borrow_then_free(fixture *f)
{
    ht_input(f->eager, f->x);
    ht_tensor_free(f->x);
}

static void borrowed_tensor_may_not_be_freed(void **state)
{
    assert_aborts(*state, borrow_then_free, "still borrows this tensor, f64 (4)");
}

enum { WAYS = 5 };
static const char *const ways[WAYS] = {"ht_tensor_set at ", "ht_tensor_fill at ",
                                       "ht_tensor_copy at ", "ht_program_run at ",
                                       "ht_tensor_uniform has"};

/* x becomes 2 everywhere, or at its first place. */
static void change(fixture *f, int way)
{
    ht_tensor *two = ht_tensor_new(f->ctx, HT_F64, ht_tensor_shape(f->x));
    ht_tensor_fill(two, 2);
    if (way == 0) ht_tensor_set(f->x, 0, 2);
    if (way == 1) ht_tensor_fill(f->x, 2);
    if (way == 2) ht_tensor_copy(f->x, two);
    if (way == 3) {
        ht_var x = ht_input(f->recorded, two), y = ht_mul(x, 1);
        ht_program *p = ht_program_new(f->recorded, 1, &x, 1, &y);
        ht_program_run(p, (const ht_tensor *[]){two}, &f->x);
        ht_program_free(p);
    }
    if (way == 4) ht_tensor_uniform(f->x, 1, 2, 2);
    ht_tensor_free(two);
    assert_near(ht_tensor_get(f->x, 0), 2, 0);
}

static void assert_changed(fixture *f, const char *op, int way)
{
    assert_status(f, HT_ERROR_ARGUMENT);
    const char *said = ht_context_message(f->ctx);
    assert_contains(said, op);
    assert_contains(said, ": reads f64 (4), which ");
    assert_contains(said, ways[way]);
    if (way < 4) assert_contains(said, "test_autograd_tape.c:");
    assert_contains(said, "hint: ht_tape_reset after the change");
    ht_context_clear(f->ctx);
}

/* What was computed stays; x, a view of it and derivatives that read it do not. */
static void tensor_changed_while_borrowed_is_not_read_again(void **state)
{
    fixture *f = *state;
    for (int way = 0; way < WAYS; way++) {
        ht_tensor_fill(f->x, 3);
        ht_var x = ht_input(f->eager, f->x), view = ht_reshape(x, HT_SHAPE(2, 2)), dx;
        ht_var square = ht_square(x), y = ht_sum(square), linear = ht_sum(x);
        change(f, way);
        assert_near(ht_item(y), 36, 0);
        assert_near(ht_item(ht_sum(ht_mul(square, 2))), 72, 0);
        ht_grad(linear, 1, &x, &dx);
        assert_near(ht_tensor_get(ht_value(dx), 3), 1, 0);
        assert_null(ht_value(x));
        assert_changed(f, "value", way);
        assert_null(ht_value(view));
        assert_changed(f, "value", way);
        ht_square(x); /* there is such a node, of the old value */
        assert_changed(f, "square", way);
        ht_tanh(view);
        assert_changed(f, "tanh", way);
        ht_grad(y, 1, &x, &dx);
        assert_changed(f, "add", way);
        assert_near(ht_item(ht_sum(ht_square(ht_input(f->eager, f->x)))),
                    way ? 16 : 4 + 3 * 9, 0);
        assert_status(f, HT_OK);
        ht_tape_reset(f->eager);
        assert_near(ht_tensor_get(ht_value(ht_input(f->eager, f->x)), 0), 2, 0);
        ht_tape_reset(f->eager);
    }
}

static void tensor_changed_before_a_rewind_is_forgotten_with_its_leaf(void **state)
{
    fixture *f = *state;
    ht_tensor_fill(f->x, 3);
    ht_var w = ht_input(f->eager, f->y);
    ht_mark mark = ht_tape_mark(f->eager);
    ht_var x = ht_input(f->eager, f->x);
    ht_tensor_fill(f->x, 2);
    ht_add(w, x);
    assert_changed(f, "add", 1);
    ht_tape_rewind(f->eager, mark);
    assert_near(ht_item(ht_sum(ht_input(f->eager, f->x))), 8, 0);
    ht_exp(w);
    assert_status(f, HT_OK);
}

static void borrowed_tensor_may_change_after_rewind_or_reset(void **state)
{
    fixture *f = *state;
    ht_mark mark = ht_tape_mark(f->eager);
    ht_input(f->eager, f->x);
    ht_tape_rewind(f->eager, mark);
    ht_tensor_fill(f->x, 1);
    ht_input(f->eager, f->x);
    ht_tape_reset(f->eager);
    ht_tensor_fill(f->x, 2);
    ht_input(f->recorded, f->x);
    ht_tensor_fill(f->x, 3);
    assert_near(ht_tensor_get(f->x, 3), 3, 0);
}

/* Numbers and weak scalars. */

static void number_takes_the_dtype_of_its_partner(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x), w = ht_input(f->eager, f->wide);
    ht_var i = ht_input(f->eager, f->whole);
    assert_int_equal(ht_var_dtype(ht_mul(x, 0.5)), HT_F64);
    assert_int_equal(ht_var_dtype(ht_mul(w, 0.5)), HT_F32);
    assert_int_equal(ht_var_dtype(ht_sub(1, w)), HT_F32);
    assert_int_equal(ht_var_dtype(ht_add(i, 2)), HT_I32);
    assert_near(ht_tensor_get(ht_value(ht_add(i, 2)), 3), 6, 0);
    assert_near(ht_tensor_get(ht_value(ht_mul(x, 0.1)), 1), 0.1 * ht_tensor_get(f->x, 1),
                0);
    float want = 0.1f * (float)ht_tensor_get(f->wide, 1);
    assert_near(ht_tensor_get(ht_value(ht_mul(w, 0.1)), 1), want, 0);
    assert_status(f, HT_OK);
}

static void weak_scalar_takes_the_dtype_of_its_partner(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x), w = ht_input(f->eager, f->wide);
    ht_var third = ht_div(ht_constant(f->eager, 1), 3.0);
    assert_int_equal(ht_var_dtype(third), HT_F64);
    assert_near(ht_item(third), 1.0 / 3, 0);
    assert_int_equal(ht_var_dtype(ht_mul(w, third)), HT_F32);
    assert_int_equal(ht_var_dtype(ht_mul(x, third)), HT_F64);
    float want = (float)ht_tensor_get(f->wide, 0) * (float)(1.0 / 3);
    assert_near(ht_tensor_get(ht_value(ht_mul(w, third)), 0), want, 0);
    ht_var step = ht_where(ht_greater(w, 1.0), 1.0, 0.25);
    ht_var stepped = ht_mul(w, step);
    assert_int_equal(ht_var_dtype(stepped), HT_F32);
    for (int k = 0; k < 6; k++) {
        double v = ht_tensor_get(f->wide, k);
        assert_near(ht_tensor_get(ht_value(stepped), k), v > 1 ? v : 0.25 * v, 0);
    }
    ht_var zeros = ht_broadcast(ht_constant(f->eager, 0), HT_SHAPE(1, 2, 3));
    ht_var none = ht_cast(ht_constant(f->eager, 0), HT_I32), ones = ht_add(zeros, 1.0);
    ht_var rows = ht_scatter_add(ht_cast(zeros, HT_F32), none, w);
    want = 1 + (float)ht_tensor_get(f->wide, 5);
    assert_near(ht_tensor_get(ht_value(ht_add(ones, rows)), 5), want, 0);
    assert_status(f, HT_OK);
}

static void number_that_does_not_fit_its_partner_is_refused(void **state)
{
    fixture *f = *state;
    const double bad[] = {0.5, 3e9, (double)NAN, -2147483649.0};
    for (int k = 0; k < 4; k++) {
        ht_mul(ht_input(f->eager, f->whole), bad[k]);
        assert_status(f, HT_ERROR_DTYPE);
        assert_contains(ht_context_message(f->ctx), "mul: the number");
        assert_contains(ht_context_message(f->ctx), "i32");
        ht_context_clear(f->ctx);
    }
    ht_div(ht_input(f->eager, f->whole), 1.0);
    assert_status(f, HT_ERROR_DTYPE);
    ht_context_clear(f->ctx);
    ht_var truth = ht_greater(ht_input(f->eager, f->x), 1.0);
    ht_mul(truth, 1.0);
    assert_status(f, HT_ERROR_DTYPE);
}

static void mul_by_one_is_the_variable_itself(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x);
    assert_same(ht_mul(x, 1.0), x);
    assert_same(ht_mul(1.0, x), x);
    assert_same(ht_div(x, 1.0), x);
    assert_same(ht_pow(x, 1.0), x);
    ht_var ones = ht_broadcast(ht_cast(ht_constant(f->eager, 1), HT_F64), HT_SHAPE(3, 4));
    ht_var wide = ht_mul(x, ones);
    assert_int_equal(ht_var_shape(wide).rank, 2);
    assert_near(ht_tensor_get(ht_value(wide), 7), ht_tensor_get(f->x, 3), 0);
}

static void zero_is_absent_from_sums_and_products(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x);
    assert_same(ht_add(x, HT_ZERO), x);
    assert_same(ht_add(HT_ZERO, x), x);
    assert_same(ht_sub(x, HT_ZERO), x);
    assert_same(ht_sub(HT_ZERO, x), ht_neg(x));
    uint32_t nodes = ht_tape_nodes(f->eager);
    assert_true(ht_is_zero(ht_mul(x, HT_ZERO)));
    assert_true(ht_is_zero(ht_matmul(HT_ZERO, HT_ZERO)));
    assert_true(ht_is_zero(ht_sum(HT_ZERO)));
    assert_true(ht_is_zero(ht_reshape(HT_ZERO, HT_SHAPE(4))));
    assert_true(ht_is_zero(ht_where(ht_greater(x, x), HT_ZERO, HT_ZERO)));
    assert_int_equal(ht_tape_nodes(f->eager), nodes + 1);
    assert_false(ht_is_zero(x));
    assert_false(ht_is_zero((ht_var){0}));
}

/* Errors. */

static void error_names_op_shapes_and_call_site(void **state)
{
    fixture *f = *state;
    for (int policy = 0; policy < 2; policy++) {
        ht_tape *tape = policy ? f->recorded : f->eager;
        char site[64];
        ht_var w = ht_input(tape, f->wide), x = ht_cast(ht_input(tape, f->x), HT_F32);
        snprintf(site, sizeof site, "test_autograd_tape.c:%d", __LINE__ + 1);
        ht_add(w, x);
        assert_status(f, HT_ERROR_SHAPE);
        const char *message = ht_context_message(f->ctx);
        assert_contains(message, "add: ");
        assert_contains(message, "f32 (2, 3), f32 (4)");
        assert_contains(message, site);
        ht_context_clear(f->ctx);
        snprintf(site, sizeof site, "test_autograd_tape.c:%d", __LINE__ + 1);
        ht_matmul(w, w);
        assert_status(f, HT_ERROR_SHAPE);
        assert_contains(message, "matmul: ");
        assert_contains(message, "f32 (2, 3), f32 (2, 3)");
        assert_contains(message, site);
        ht_context_clear(f->ctx);
        ht_add(w, ht_input(tape, f->x));
        assert_status(f, HT_ERROR_DTYPE);
        assert_contains(message, "f32 (2, 3), f64 (4)");
        ht_context_clear(f->ctx);
    }
}

static void error_is_the_first_and_poisons_what_follows(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x), w = ht_input(f->eager, f->wide), dx;
    ht_var bad = ht_matmul(x, x);
    char first[256];
    snprintf(first, sizeof first, "%s", ht_context_message(f->ctx));
    assert_contains(first, "matmul");
    uint32_t nodes = ht_tape_nodes(f->eager);
    ht_var next = ht_sum(ht_exp(ht_add(bad, w)));
    ht_concat(2, ((ht_var[]){bad, x}), 0);
    ht_reshape(x, HT_SHAPE(17));
    assert_null(ht_value(next));
    assert_true(isnan(ht_item(next)));
    ht_grad(next, 1, &x, &dx);
    assert_null(ht_value(dx));
    ht_hvp(next, 1, &x, &x, &dx);
    assert_null(ht_value(dx));
    assert_int_equal(ht_var_shape(next).rank, 0);
    assert_int_equal(ht_tape_nodes(f->eager), nodes);
    assert_string_equal(ht_context_message(f->ctx), first);
    ht_context_clear(f->ctx);
    assert_null(ht_value(ht_exp(bad)));
    assert_status(f, HT_OK);
    assert_non_null(ht_value(ht_exp(x)));
}

static void error_of_movement_and_reduction_is_refused(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->wide);
    typedef struct refusal {
        const char *op;
        ht_var out;
    } refusal;
#define REFUSED(text, call)                                                   \
    do {                                                                      \
        refusal r = {text, call};                                             \
        assert_null(ht_value(r.out));                                         \
        assert_int_not_equal(ht_context_status(f->ctx), HT_OK);               \
        assert_contains(ht_context_message(f->ctx), r.op);                    \
        assert_contains(ht_context_message(f->ctx), "(2, 3)");                \
        assert_contains(ht_context_message(f->ctx), "test_autograd_tape.c:"); \
        ht_context_clear(f->ctx);                                             \
    } while (0)
    REFUSED("reshape: ", ht_reshape(x, HT_SHAPE(4, 2)));
    REFUSED("reshape: ", ht_reshape(x, HT_SHAPE(4, -1)));
    REFUSED("permute: ", ht_permute(x, HT_AXES(0, 0)));
    REFUSED("broadcast: ", ht_broadcast(x, HT_SHAPE(2, 4)));
    REFUSED("broadcast: ", ht_broadcast(x, HT_SHAPE(3)));
    REFUSED("slice: ", ht_slice(x, 1, 1, 3, 1));
    REFUSED("slice: ", ht_slice(x, 1, 0, 2, 0));
    REFUSED("slice: ", ht_slice(x, 2, 0, 1, 1));
    REFUSED("pad: ", ht_pad(x, -3, 1, 1));
    REFUSED("sum_axes: ", ht_sum_axes(x, HT_AXES(2), false));
    REFUSED("max_axes: ", ht_max_axes(x, HT_AXES(1, -1), false));
    REFUSED("concat: ", ht_concat(2, ((ht_var[]){x, ht_transpose(x)}), 0));
    REFUSED("gather: ", ht_gather(x, x));
    REFUSED("one_hot: ", ht_one_hot(x, 3, HT_F32));
    REFUSED("cross_entropy: ", ht_cross_entropy(x, ht_cast(ht_sum(x), HT_I32)));
#undef REFUSED
}

/* Numbers so large that sums and products of them overflow, and ranks past the most. */
static void error_of_extreme_numbers_is_refused(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->wide);
    ht_shape seven = {.rank = HT_MAX_RANK + 1};
#define REFUSED(text, call)                                \
    do {                                                   \
        ht_var out = call;                                 \
        assert_null(ht_value(out));                        \
        assert_contains(ht_context_message(f->ctx), text); \
        ht_context_clear(f->ctx);                          \
    } while (0)
    REFUSED("broadcast: a shape of 7 axes", ht_broadcast(x, seven));
    REFUSED("reshape: a shape of 7 axes", ht_reshape(x, seven));
    REFUSED("shape (5, -1)", ht_reshape(x, HT_SHAPE(5, -1)));
    REFUSED("reshape: ", ht_reshape(x, HT_SHAPE(INT64_MAX, INT64_MAX, 4)));
    REFUSED("slice: ", ht_slice(x, 0, 0, INT64_MAX, INT64_MAX));
    REFUSED("slice: ", ht_slice(x, 0, 1, 2, INT64_MIN));
    REFUSED("slice: ", ht_slice(x, 0, INT64_MAX, 2, 1));
    REFUSED("pad: the result would be too large", ht_pad(x, 0, INT64_MAX, INT64_MAX));
    REFUSED("max_axes: there is no largest element",
            ht_max_axes(ht_slice(x, 0, 0, 0, 1), HT_AXES(0), false));
#undef REFUSED
}

static void error_of_an_index_names_it(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x), i = ht_input(f->eager, f->whole);
    assert_null(ht_value(ht_gather(x, i)));
    assert_status(f, HT_ERROR_ARGUMENT);
    assert_contains(ht_context_message(f->ctx), "gather: index 4 at place 3");
    assert_contains(ht_context_message(f->ctx), "0 .. 3");
}

static void value_of_a_recorded_variable_is_refused(void **state)
{
    fixture *f = *state;
    ht_var y = ht_sum(ht_input(f->recorded, f->x));
    assert_null(ht_value(y));
    assert_status(f, HT_ERROR_ARGUMENT);
    assert_contains(ht_context_message(f->ctx), "would freeze a branch");
    ht_context_clear(f->ctx);
    assert_true(isnan(ht_item(y)));
    assert_status(f, HT_ERROR_ARGUMENT);
}

static void item_of_more_than_one_element_is_refused(void **state)
{
    fixture *f = *state;
    assert_true(isnan(ht_item(ht_input(f->eager, f->x))));
    assert_status(f, HT_ERROR_SHAPE);
    assert_contains(ht_context_message(f->ctx), "(4)");
}

/* Derivatives. */

static void grad_of_a_vector_is_refused(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x), dx;
    ht_grad(ht_exp(x), 1, &x, &dx);
    assert_status(f, HT_ERROR_SHAPE);
    assert_contains(ht_context_message(f->ctx), "grad: y must be 0-d, not (4)");
    assert_null(ht_value(dx));
}

static void grad_by_an_unreached_variable_names_it(void **state)
{
    fixture *f = *state;
    char site[64];
    ht_var x = ht_input(f->eager, f->x), in[2] = {x}, d[2];
    snprintf(site, sizeof site, "test_autograd_tape.c:%d", __LINE__ + 1);
    in[1] = ht_input(f->eager, f->y);
    ht_var loss = ht_sum(ht_exp(x));
    ht_grad(loss, 2, in, d);
    assert_status(f, HT_ERROR_NO_GRADIENT);
    assert_contains(ht_context_message(f->ctx), "x[1] (node %1, made at ");
    assert_contains(ht_context_message(f->ctx), site);
    ht_context_clear(f->ctx);
    ht_grad(ht_sum(ht_mul(ht_stop_gradient(in[1]), x)), 2, in, d);
    assert_status(f, HT_ERROR_NO_GRADIENT);
    ht_context_clear(f->ctx);
    ht_var later = ht_exp(x);
    ht_grad(loss, 1, &later, d);
    assert_status(f, HT_OK);
    ht_var never = ht_tanh(in[1]);
    ht_grad(loss, 1, &never, d);
    assert_status(f, HT_ERROR_NO_GRADIENT);
}

static void grad_or_zero_by_an_unreached_variable_is_zeros(void **state)
{
    fixture *f = *state;
    ht_var in[] = {ht_input(f->eager, f->x), ht_input(f->eager, f->wide)}, d[2];
    ht_grad_or_zero(ht_sum(ht_exp(in[0])), 2, in, d);
    assert_status(f, HT_OK);
    assert_int_equal(ht_var_dtype(d[1]), HT_F32);
    assert_true(ht_shape_equal(ht_var_shape(d[1]), HT_SHAPE(2, 3)));
    for (int k = 0; k < 6; k++) assert_near(ht_tensor_get(ht_value(d[1]), k), 0, 0);
    for (int k = 0; k < 4; k++)
        assert_near(ht_tensor_get(ht_value(d[0]), k), exp(ht_tensor_get(f->x, k)), 1e-15);
}

/* z = m^2 x with m = 3x: by x and m as leaves, dz/dx = m^2, dz/dm = 2 m x. */
static void grad_takes_its_variables_as_leaves(void **state)
{
    fixture *f = *state;
    ht_var x = ht_slice(ht_input(f->eager, f->x), 0, 0, 1, 1), m = ht_mul(x, 3.0);
    ht_var z = ht_sum(ht_mul(ht_square(m), x)), in[] = {x, m}, d[2], dz;
    double at = ht_tensor_get(f->x, 0);
    ht_grad(z, 2, in, d);
    assert_near(ht_item(d[0]), 9 * at * at, 1e-15);
    assert_near(ht_item(d[1]), 6 * at * at, 1e-15);
    ht_grad(z, 1, in, d);
    assert_near(ht_item(d[0]), 27 * at * at, 1e-15);
    ht_var one = ht_div(x, x);
    ht_jvp(2, in, ((ht_var[]){one, HT_ZERO}), 1, &z, &dz);
    assert_near(ht_item(dz), 9 * at * at, 1e-15);
    ht_grad(z, 1, &z, d);
    assert_near(ht_item(d[0]), 1, 0);
}

static void vjp_of_several_outputs_adds_them_up(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x), dx;
    ht_var y[] = {ht_exp(x), x, ht_tanh(x), ht_exp(x)};
    ht_var v[] = {ht_number(2), ht_input(f->eager, f->y), HT_ZERO, ht_number(1)};
    ht_vjp(4, y, v, 1, &x, &dx);
    for (int k = 0; k < 4; k++)
        assert_near(ht_tensor_get(ht_value(dx), k),
                    3 * exp(ht_tensor_get(f->x, k)) + ht_tensor_get(f->y, k), 1e-15);
    ht_jvp(1, &x, &v[2], 1, y, &dx);
    assert_near(ht_tensor_get(ht_value(dx), 0), 0, 0);
    assert_status(f, HT_OK);
}

static void vjp_with_a_vector_of_another_type_is_refused(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x), y = ht_exp(x), dx;
    ht_var wrong = ht_input(f->eager, f->wide);
    ht_vjp(1, &y, &wrong, 1, &x, &dx);
    assert_status(f, HT_ERROR_DTYPE);
    assert_contains(ht_context_message(f->ctx), "f64 (4)");
    assert_contains(ht_context_message(f->ctx), "f32 (2, 3)");
    ht_context_clear(f->ctx);
    ht_jvp(1, &x, &wrong, 1, &y, &dx);
    assert_status(f, HT_ERROR_DTYPE);
}

/* Gradients of cast go back in the variable's dtype. */
static void grad_through_cast_has_the_dtype_of_its_variable(void **state)
{
    fixture *f = *state;
    ht_var w = ht_input(f->eager, f->wide), d;
    ht_var y = ht_sum(ht_square(ht_cast(w, HT_F64)));
    ht_grad(y, 1, &w, &d);
    assert_int_equal(ht_var_dtype(d), HT_F32);
    assert_near(ht_tensor_get(ht_value(d), 4), 2 * ht_tensor_get(f->wide, 4), 1e-7);
    ht_grad(ht_sum(ht_cast(ht_cast(w, HT_I32), HT_F32)), 1, &w, &d);
    assert_status(f, HT_ERROR_NO_GRADIENT);
}

/* Listings. */

static void list_tape(fixture *f, FILE *file)
{
    ht_tape_print(f->eager, file);
}
static void list_recorded(fixture *f, FILE *file)
{
    ht_tape_print(f->recorded, file);
}
static void list_dot(fixture *f, FILE *file)
{
    ht_tape_dot(f->eager, file);
}

static void tape_print_lists_formulas_values_and_call_sites(void **state)
{
    fixture *f = *state;
    char site[64];
    ht_tensor_fill(f->x, 0.25);
    snprintf(site, sizeof site, "test_autograd_tape.c:%d", __LINE__ + 1);
    ht_var x = ht_input(f->eager, f->x), y = ht_mul(x, ht_tanh(x));
    ht_slice(y, 0, 1, 2, 1);
    ht_sum(ht_where(ht_greater(y, 0.5), y, x));
    char *text = written(list_tape, f);
    const char *const parts[] = {"%0    = input",
                                 "tanh(%0)",
                                 "%0 * %1",
                                 "start 1 count 2 step 1",
                                 "%2 > ",
                                 " ? %2 : %0",
                                 "f64 (4)",
                                 "u8 (4)",
                                 "32 B",
                                 "[0.25, 0.25, 0.25, 0.25]",
                                 "eager tape: 9 nodes"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_contains(text, parts[i]);
    assert_contains(text, site);
    free(text);
    ht_var r = ht_input(f->recorded, f->x);
    ht_exp(r);
    text = written(list_recorded, f);
    assert_contains(text, "exp(%0)");
    assert_contains(text, "recorded tape: 2 nodes");
    assert_null(strstr(text, "0.25"));
    free(text);
}

static void print_one(fixture *f, FILE *file)
{
    ht_var w = ht_input(f->eager, f->wide);
    ht_print(ht_exp(w), file);
    ht_print(ht_matmul(w, w), file);
}

static void print_of_a_poisoned_variable_says_why(void **state)
{
    fixture *f = *state;
    char *text = written(print_one, f);
    assert_contains(text, "exp(%0)");
    assert_contains(text, "no value: matmul: ");
    free(text);
}

static void tape_dot_is_a_graph_of_all_nodes_and_edges(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x), y = ht_input(f->eager, f->y);
    ht_var loss = ht_sum(ht_abs(ht_slice(ht_mul(ht_exp(x), y), 0, 0, 2, 2))), d;
    ht_grad(loss, 1, &x, &d);
    char *text = written(list_dot, f);
    assert_int_equal(strncmp(text, "digraph tape {\n", 15), 0);
    assert_string_equal(text + strlen(text) - 3, "\n}\n");
    int labels = 0, arrows = 0, quotes = 0, filled = 0;
    for (const char *c = text; *c; c++) {
        labels += strncmp(c, "[label=\"", 8) == 0;
        arrows += strncmp(c, " -> ", 4) == 0;
        filled += strncmp(c, "lightblue", 9) == 0;
        quotes += *c == '"';
    }
    assert_int_equal(labels, ht_tape_nodes(f->eager));
    assert_int_equal(quotes, 2 * labels);
    assert_int_equal(filled, 2);
    assert_contains(text, "n0 -> n2;");
    assert_contains(text, "%2 = exp(%0)\\nf64 (4)");
    assert_true(arrows >= labels - 3);
    if (system("command -v dot >/dev/null 2>&1") == 0) {
        FILE *dot = popen("dot -Tsvg >tape_dot.svg", "w");
        assert_non_null(dot);
        fputs(text, dot);
        assert_int_equal(pclose(dot), 0);
        remove("tape_dot.svg");
    }
    free(text);
}

/* A reshape of a reshape is recorded as one of what is under both, as permutes and
 * broadcasts are, so the derivative by the one between cannot be had; by what is under it
 * can, and by a reshape alone too. */
static void derivative_by_a_reshape_that_is_passed_over_is_refused(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *t = ht_tensor_new(ctx, HT_F64, HT_SHAPE(2, 3));
    ht_tensor_uniform(t, 1, 1, 2);
    ht_var a = ht_input(tape, t), d, before = ht_reshape(a, HT_SHAPE(6));
    ht_var x = ht_reshape(a, HT_SHAPE(3, 2)), turned = ht_transpose(a);
    ht_var y[] = {ht_sum(ht_square(ht_reshape(x, HT_SHAPE(6)))),
                  ht_sum(ht_square(ht_reshape(x, HT_SHAPE(2, 3)))),
                  ht_sum(ht_square(ht_transpose(turned))), HT_ZERO};
    ht_var wide = ht_broadcast(a, HT_SHAPE(4, 2, 3)), by[] = {x, x, turned, wide};
    y[3] = ht_mul(ht_sum(ht_square(ht_broadcast(wide, HT_SHAPE(5, 4, 2, 3)))), 1.0 / 20);
    (void)before;
    for (int k = 0; k < 4; k++) {
        ht_var one = ht_number(1), dy;
        ht_grad_or_zero(y[k], 1, &by[k], &d);
        assert_int_equal(ht_context_status(ctx), HT_ERROR_NO_GRADIENT);
        assert_non_null(strstr(ht_context_message(ctx), "differentiate by node"));
        ht_context_clear(ctx);
        ht_vjp(1, &y[k], &one, 1, &by[k], &d);
        assert_int_equal(ht_context_status(ctx), HT_ERROR_NO_GRADIENT);
        ht_context_clear(ctx);
        ht_jvp(1, &by[k], &by[k], 1, &y[k], &dy);
        assert_int_equal(ht_context_status(ctx), HT_ERROR_NO_GRADIENT);
        ht_context_clear(ctx);
        ht_grad(y[k], 1, &a, &d);
        assert_near(ht_tensor_get(ht_value(d), 4), 2 * ht_tensor_get(t, 4), 1e-15);
    }
    ht_var plain = ht_sum(ht_square(x));
    ht_grad(plain, 1, &x, &d);
    assert_near(ht_tensor_get(ht_value(d), 4), 2 * ht_tensor_get(t, 4), 1e-15);
    ht_tape_free(tape);
    ht_tensor_free(t);
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(append_equal_nodes_are_one),
        TEST(append_different_nodes_are_two),
        TEST(append_random_formulas_with_rewinds_stay_unique),
        TEST(rewind_keeps_what_was_before),
        TEST(rewind_and_reset_in_a_loop_ask_for_no_memory),
        TEST(rewind_to_nested_marks_goes_back_to_each),
        TEST(variable_that_is_no_longer_valid_stops_the_program),
        TEST(borrowed_tensor_may_not_be_freed),
        TEST(tensor_changed_while_borrowed_is_not_read_again),
        TEST(tensor_changed_before_a_rewind_is_forgotten_with_its_leaf),
        TEST(borrowed_tensor_may_change_after_rewind_or_reset),
        TEST(number_takes_the_dtype_of_its_partner),
        TEST(weak_scalar_takes_the_dtype_of_its_partner),
        TEST(number_that_does_not_fit_its_partner_is_refused),
        TEST(mul_by_one_is_the_variable_itself),
        TEST(zero_is_absent_from_sums_and_products),
        TEST(error_names_op_shapes_and_call_site),
        TEST(error_is_the_first_and_poisons_what_follows),
        TEST(error_of_movement_and_reduction_is_refused),
        TEST(error_of_extreme_numbers_is_refused),
        TEST(error_of_an_index_names_it),
        TEST(value_of_a_recorded_variable_is_refused),
        TEST(item_of_more_than_one_element_is_refused),
        TEST(grad_of_a_vector_is_refused),
        TEST(grad_by_an_unreached_variable_names_it),
        TEST(grad_or_zero_by_an_unreached_variable_is_zeros),
        TEST(grad_takes_its_variables_as_leaves),
        TEST(derivative_by_a_reshape_that_is_passed_over_is_refused),
        TEST(vjp_of_several_outputs_adds_them_up),
        TEST(vjp_with_a_vector_of_another_type_is_refused),
        TEST(grad_through_cast_has_the_dtype_of_its_variable),
        TEST(tape_print_lists_formulas_values_and_call_sites),
        TEST(print_of_a_poisoned_variable_says_why),
        TEST(tape_dot_is_a_graph_of_all_nodes_and_edges),
    };
    return TEST_MAIN(tests);
}
