/* SPDX-License-Identifier: MIT */
/* test_autograd_program.c: cutting, planning, replaying and calling programs: what is
 * kept and what it costs, and which memory may be shared. Random programs are in
 * test_autograd_fuzz.c. Read next: autograd/program.c, plan.c, run.c. */
#include "program.h"
#include "test.h"

typedef struct fixture {
    ht_context *ctx;
    ht_tape *tape, *eager;  /* recorded; eager */
    ht_tensor *x, *y, *out; /* f64 (100) */
} fixture;

enum { N = 100, ROUNDED = 832 /* bytes of N doubles, in whole cache lines */ };

static int fixture_new(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->ctx = ht_context_new(&(ht_context_options){.seed = 5, .threads = 1});
    f->tape = ht_tape_new(f->ctx, HT_RECORD);
    f->eager = ht_tape_new(f->ctx, HT_EAGER);
    f->x = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(N));
    f->y = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(N));
    f->out = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(N));
    ht_tensor_uniform(f->x, 1, -2, 2);
    ht_tensor_uniform(f->y, 2, -2, 2);
    *state = f;
    return 0;
}

static int fixture_free(void **state)
{
    fixture *f = *state;
    ht_tape_free(f->tape);
    ht_tape_free(f->eager);
    ht_tensor_free(f->x);
    ht_tensor_free(f->y);
    ht_tensor_free(f->out);
    ht_context_free(f->ctx);
    free(f);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_new, fixture_free)

static ht_program *cut(fixture *f, int n_in, const ht_var *in, int n_out,
                       const ht_var *out)
{
    ht_program *p = ht_program_new(f->tape, n_in, in, n_out, out);
    if (!p) fail_msg("%s", ht_context_message(f->ctx));
    ht_program_poison(p, true);
    return p;
}

static void run(fixture *f, ht_program *p, const ht_tensor *const *in,
                ht_tensor *const *out)
{
    if (ht_program_run(p, in, out) != HT_OK) fail_msg("%s", ht_context_message(f->ctx));
}

static void assert_refused(fixture *f, ht_status want, const char *part)
{
    assert_int_equal(ht_context_status(f->ctx), want);
    assert_contains(ht_context_message(f->ctx), part);
    ht_context_clear(f->ctx);
}

static double at(const ht_tensor *x, int i)
{
    return ht_tensor_get(x, i);
}

/* Cutting. */

static void cut_keeps_only_what_outputs_need(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->tape, f->x), y = ht_input(f->tape, f->y);
    ht_var t = ht_tanh(x), dead = ht_exp(ht_mul(x, y)), e = ht_exp(t);
    ht_sum(dead);
    ht_program *p = cut(f, 1, &x, 1, &e);
    assert_int_equal(ht_program_nodes(p), 2);
    run(f, p, (const ht_tensor *[]){f->x}, &f->out);
    for (int i = 0; i < N; i++) assert_near(at(f->out, i), exp(tanh(at(f->x, i))), 1e-14);
    ht_program_free(p);
}

static void cut_at_inner_nodes_needs_nothing_before_them(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->tape, f->x), t = ht_tanh(ht_exp(x)), e = ht_mul(t, t);
    ht_program *p = cut(f, 1, &t, 1, &e);
    assert_int_equal(ht_program_nodes(p), 1);
    ht_tape_reset(f->tape);
    run(f, p, (const ht_tensor *[]){f->y}, &f->out);
    for (int i = 0; i < N; i++) assert_near(at(f->out, i), at(f->y, i) * at(f->y, i), 0);
    ht_program_free(p);
}

/* The vjp of exp by its known output alone: v e. */
static void cut_of_a_derivative_takes_known_outputs(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->tape, f->x), v = ht_input(f->tape, f->y), e = ht_exp(x), d;
    ht_vjp(1, &e, &v, 1, &x, &d);
    ht_program *p = cut(f, 2, ((ht_var[]){e, v}), 1, &d);
    run(f, p, (const ht_tensor *[]){f->x, f->y}, &f->out);
    for (int i = 0; i < N; i++) assert_near(at(f->out, i), at(f->y, i) * at(f->x, i), 0);
    ht_program_free(p);
}

static void cut_has_common_subexpressions_once(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->tape, f->x), y = ht_input(f->tape, f->y);
    ht_var a = ht_mul(ht_exp(x), y), b = ht_mul(y, ht_exp(x)), sum = ht_add(a, b);
    ht_program *p = cut(f, 2, ((ht_var[]){x, y}), 1, &sum);
    assert_int_equal(ht_program_nodes(p), 3);
    ht_program_free(p);
}

static void cut_without_a_needed_leaf_names_its_site(void **state)
{
    fixture *f = *state;
    char site[64];
    ht_var x = ht_input(f->tape, f->x);
    snprintf(site, sizeof site, "test_autograd_program.c:%d", __LINE__ + 1);
    ht_var y = ht_input(f->tape, f->y);
    ht_var sum = ht_add(ht_exp(x), y);
    assert_null(ht_program_new(f->tape, 1, &x, 1, &sum));
    assert_contains(ht_context_message(f->ctx), site);
    assert_refused(f, HT_ERROR_ARGUMENT, "needs leaf %1");
}

static void cut_outputs_may_be_inputs_views_constants_and_twice_the_same(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->tape, f->x), e = ht_exp(x);
    ht_var view = ht_reshape(ht_slice(e, 0, N - 1, N / 2, -2), HT_SHAPE(2, 25));
    ht_var three = ht_broadcast(ht_constant(f->tape, 3), HT_SHAPE(2));
    ht_var out[] = {x, view, three, e, e, x};
    enum { N_OUT = 6 };
    ht_program *p = cut(f, 1, &x, N_OUT, out);
    ht_tensor *to[N_OUT];
    for (int k = 0; k < N_OUT; k++)
        to[k] = ht_tensor_new(f->ctx, HT_F64, ht_var_shape(out[k]));
    for (int pass = 0; pass < 2; pass++) {
        ht_tensor_uniform(f->x, 7 + (uint64_t)pass, -1, 1);
        run(f, p, (const ht_tensor *[]){f->x}, to);
        for (int i = 0; i < N; i++) {
            assert_near(at(to[0], i), at(f->x, i), 0);
            assert_near(at(to[3], i), exp(at(f->x, i)), 1e-15);
            assert_near(at(to[4], i), at(to[3], i), 0);
            assert_near(at(to[5], i), at(f->x, i), 0);
        }
        for (int i = 0; i < N / 2; i++)
            assert_near(at(to[1], i), at(to[3], N - 1 - 2 * i), 0);
        assert_near(at(to[2], 0), 3, 0);
        assert_near(at(to[2], 1), 3, 0);
    }
    for (int k = 0; k < N_OUT; k++) ht_tensor_free(to[k]);
    ht_program_free(p);
}

/* Memory. */

static void plan_of_an_elementwise_chain_needs_no_memory(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->tape, f->x), t = x;
    for (int i = 0; i < 10; i++) t = ht_tanh(t);
    ht_program *p = cut(f, 1, &x, 1, &t);
    assert_int_equal(ht_program_nodes(p), 10);
    assert_int_equal(ht_program_bytes(p), 0);
    ht_program_free(p);
}

/* tanh writes over what softmax left, softmax over nothing. */
static void plan_writes_over_an_operand_that_dies(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->tape, f->x), t = x;
    for (int i = 0; i < 10; i++) t = ht_tanh(ht_softmax(t));
    t = ht_softmax(t);
    ht_program *p = cut(f, 1, &x, 1, &t);
    assert_int_equal(ht_program_bytes(p), 2 * ROUNDED);
    ht_program_free(p);
}

static void plan_of_a_chain_that_may_not_overwrite_is_two_buffers(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->tape, f->x), t = x;
    for (int i = 0; i < 10; i++) t = ht_softmax(t);
    ht_program *p = cut(f, 1, &x, 1, &t);
    assert_int_equal(ht_program_bytes(p), 2 * ROUNDED);
    ht_program_free(p);
    t = ht_exp(x);
    p = cut(f, 1, &x, 1, &t);
    assert_int_equal(ht_program_bytes(p), 0);
    run(f, p, (const ht_tensor *[]){f->x}, &f->out);
    ht_program_free(p);
}

/* All ten are alive until the sum. */
static ht_var ten_products(ht_var x)
{
    ht_var t[10], sum = HT_ZERO;
    for (int i = 0; i < 10; i++) t[i] = ht_softmax(ht_mul(x, 0.1 * (i + 1)));
    for (int i = 0; i < 10; i++) sum = ht_add(sum, ht_mul(t[i], t[9 - i]));
    return sum;
}

static void plan_keeps_what_is_read_later(void **state)
{
    fixture *f = *state;
    ht_tape *eager = ht_tape_new(f->ctx, HT_EAGER);
    ht_var x = ht_input(f->tape, f->x), sum = ten_products(x);
    ht_program *p = cut(f, 1, &x, 1, &sum);
    assert_true(ht_program_bytes(p) >= 10 * ROUNDED);
    assert_true(ht_program_bytes(p) <= 12 * ROUNDED);
    run(f, p, (const ht_tensor *[]){f->x}, &f->out);
    const ht_tensor *want = ht_value(ten_products(ht_input(eager, f->x)));
    assert_memory_equal(ht_tensor_data(f->out), ht_tensor_data(want),
                        ht_tensor_bytes(want));
    ht_tape_free(eager);
    ht_program_free(p);
}

static void run_again_asks_for_no_memory(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->tape, f->x), y = ht_input(f->tape, f->y), d;
    ht_var a = ht_reshape(x, HT_SHAPE(10, 10)), b = ht_reshape(y, HT_SHAPE(10, 10));
    ht_grad(ht_sum(ht_log_softmax(ht_matmul(ht_tanh(a), ht_transpose(b)))), 1, &x, &d);
    ht_program *p = cut(f, 2, ((ht_var[]){x, y}), 1, &d);
    const ht_tensor *in[] = {f->x, f->y};
    run(f, p, in, &f->out);
    uint64_t calls = ht_context_allocations(f->ctx);
    size_t live = ht_context_live_bytes(f->ctx);
    for (int i = 0; i < 100; i++) run(f, p, in, &f->out);
    assert_int_equal(ht_context_allocations(f->ctx), calls);
    assert_int_equal(ht_context_live_bytes(f->ctx), live);
    ht_program_free(p);
}

/* Pointers are set where memory is new: views of an input must follow it, and what stays
 * must stay. */
static void run_with_other_memory_reads_and_writes_there(void **state)
{
    fixture *f = *state;
    ht_tensor *other = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(N));
    ht_var x = ht_input(f->tape, f->x), y = ht_input(f->tape, f->y);
    ht_var turned = ht_flip(x, 0), cell = ht_slice(turned, 0, 3, 1, 1);
    ht_var out = ht_add(ht_mul(ht_tanh(y), cell), ht_mul(turned, 2));
    ht_program *p = cut(f, 2, ((ht_var[]){x, y}), 1, &out);
    ht_tensor *const set[][3] = {{f->x, f->y, f->out},
                                 {f->y, f->y, f->out},
                                 {f->y, f->x, other},
                                 {f->x, f->y, f->out}};
    for (int k = 0; k < 4; k++) {
        const ht_tensor *a = set[k][0], *b = set[k][1];
        ht_tensor_fill(set[k][2], 0);
        run(f, p, (const ht_tensor *[]){a, b}, (ht_tensor *[]){set[k][2]});
        for (int i = 0; i < N; i++)
            assert_near(at(set[k][2], i),
                        tanh(at(b, i)) * at(a, N - 4) + 2 * at(a, N - 1 - i), 1e-14);
    }
    ht_tensor_free(other);
    ht_program_free(p);
}

/* A last use that comes too early must show as NaN, or poison proves nothing. */
static void poison_shows_a_value_that_is_read_too_late(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->tape, f->x), e = ht_softmax(x), s = ht_softmax(e);
    ht_var sum = ht_mul(s, e);
    ht_program *p = cut(f, 1, &x, 1, &sum);
    run(f, p, (const ht_tensor *[]){f->x}, &f->out);
    assert_true(isfinite(at(f->out, 3)));
    assert_int_equal(p->value[1].last_use, 3);
    p->value[1].last_use = 2;
    run(f, p, (const ht_tensor *[]){f->x}, &f->out);
    assert_true(isnan(at(f->out, 3)));
    ht_program_poison(p, false);
    run(f, p, (const ht_tensor *[]){f->x}, &f->out);
    assert_true(isfinite(at(f->out, 3)));
    ht_program_free(p);
}

static void bind_lets_programs_share_an_arena(void **state)
{
    fixture *f = *state;
    _Alignas(64) static unsigned char arena[4 * ROUNDED];
    ht_var x = ht_input(f->tape, f->x);
    ht_var a = ht_softmax(ht_softmax(ht_softmax(x))), b = ht_exp(ht_tanh(x));
    ht_program *p = cut(f, 1, &x, 1, &a), *q = cut(f, 1, &x, 1, &b);
    hti_program_bind(p, arena);
    hti_program_bind(q, arena);
    uint64_t calls = ht_context_allocations(f->ctx);
    for (int pass = 0; pass < 2; pass++) {
        run(f, p, (const ht_tensor *[]){f->x}, &f->out);
        double sum = 0;
        for (int i = 0; i < N; i++) sum += at(f->out, i);
        assert_near(sum, 1, 1e-14);
        run(f, q, (const ht_tensor *[]){f->x}, &f->out);
        assert_near(at(f->out, 9), exp(tanh(at(f->x, 9))), 1e-14);
    }
    assert_int_equal(ht_context_allocations(f->ctx), calls);
    ht_program_free(p);
    ht_program_free(q);
}

/* Sharing memory with inputs. */

static void run_updates_a_parameter_in_place(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->tape, f->x), y = ht_input(f->tape, f->y);
    ht_var mean = ht_mean(ht_square(x));
    ht_var next = ht_sub(x, ht_mul(ht_mul(y, mean), 0.1));
    ht_program *p = cut(f, 2, ((ht_var[]){x, y}), 1, &next);
    run(f, p, (const ht_tensor *[]){f->x, f->y}, &f->out);
    run(f, p, (const ht_tensor *[]){f->x, f->y}, &f->x);
    for (int i = 0; i < N; i++) assert_near(at(f->x, i), at(f->out, i), 0);
    ht_program_free(p);
}

static void run_into_an_input_that_is_read_later_is_refused(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->tape, f->x);
    ht_var out[] = {ht_add(x, 1.0), ht_mul(x, 2.0)};
    ht_program *p = cut(f, 1, &x, 2, out);
    double x0 = at(f->x, 0);
    ht_program_run(p, (const ht_tensor *[]){f->x}, (ht_tensor *[]){f->x, f->out});
    assert_refused(f, HT_ERROR_ARGUMENT, "output 0 is the memory of input 0");
    assert_near(at(f->x, 0), x0, 0);
    run(f, p, (const ht_tensor *[]){f->x}, (ht_tensor *[]){f->out, f->x});
    assert_near(at(f->out, 0), x0 + 1, 0);
    assert_near(at(f->x, 0), 2 * x0, 0);
    ht_program_free(p);
}

static void run_into_an_input_of_an_op_that_may_not_overwrite_is_refused(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->tape, f->x), a = ht_reshape(x, HT_SHAPE(10, 10));
    ht_var flipped = ht_slice(x, 0, N - 1, N, -1);
    ht_var out[] = {ht_reshape(ht_matmul(a, a), HT_SHAPE(N)), ht_softmax(x),
                    ht_add(x, flipped), flipped,
                    ht_reshape(ht_add(a, ht_transpose(a)), HT_SHAPE(N))};
    for (int k = 0; k < 5; k++) {
        ht_program *p = cut(f, 1, &x, 1, &out[k]);
        ht_program_run(p, (const ht_tensor *[]){f->x}, &f->x);
        if (k == 0 || k == 4) {
            /* The product is its own buffer, copied out when x is done with. */
            assert_int_equal(ht_context_status(f->ctx), HT_OK);
        } else {
            assert_refused(f, HT_ERROR_ARGUMENT, "output 0 is the memory of input 0");
        }
        ht_program_free(p);
    }
}

static void run_with_overlapping_memory_is_refused(void **state)
{
    fixture *f = *state;
    double *data = ht_tensor_data(f->x);
    ht_tensor *shifted = ht_tensor_wrap(f->ctx, HT_F64, HT_SHAPE(N - 1), data + 1);
    ht_tensor *whole = ht_tensor_wrap(f->ctx, HT_F64, HT_SHAPE(N - 1), data);
    ht_var x = ht_input(f->tape, shifted), out[] = {ht_exp(x), ht_tanh(x)};
    ht_program *p = cut(f, 1, &x, 1, out);
    ht_program_run(p, (const ht_tensor *[]){shifted}, &whole);
    assert_refused(f, HT_ERROR_ARGUMENT, "output 0 is the memory of input 0");
    run(f, p, (const ht_tensor *[]){whole}, &whole);
    ht_program_free(p);
    p = cut(f, 1, &x, 2, out);
    ht_program_run(p, (const ht_tensor *[]){f->y}, (ht_tensor *[]){whole, shifted});
    assert_refused(f, HT_ERROR_SHAPE, "input 0");
    ht_tensor *apart =
        ht_tensor_wrap(f->ctx, HT_F64, HT_SHAPE(N - 1), ht_tensor_data(f->y));
    ht_program_run(p, (const ht_tensor *[]){apart}, (ht_tensor *[]){whole, shifted});
    assert_refused(f, HT_ERROR_ARGUMENT, "outputs 0 and 1 are the same memory");
    ht_tensor_free(apart);
    ht_program_free(p);
    ht_tensor_free(shifted);
    ht_tensor_free(whole);
}

static void run_that_swaps_its_inputs_is_refused(void **state)
{
    fixture *f = *state;
    ht_var in[] = {ht_input(f->tape, f->x), ht_input(f->tape, f->y)};
    ht_program *p = cut(f, 2, in, 2, ((ht_var[]){in[1], in[0]}));
    for (int again = 0; again < 2; again++) {
        ht_program_run(p, (const ht_tensor *[]){f->x, f->y}, (ht_tensor *[]){f->x, f->y});
        assert_refused(f, HT_ERROR_ARGUMENT, "output 0 is the memory of input 0");
    }
    ht_program_free(p);
    p = cut(f, 2, in, 2, in);
    double x0 = at(f->x, 0);
    run(f, p, (const ht_tensor *[]){f->x, f->y}, (ht_tensor *[]){f->x, f->y});
    assert_near(at(f->x, 0), x0, 0);
    ht_program_free(p);
}

static void run_with_wrong_types_names_both(void **state)
{
    fixture *f = *state;
    char site[64];
    ht_var x = ht_input(f->tape, f->x);
    snprintf(site, sizeof site, "test_autograd_program.c:%d", __LINE__ + 1);
    ht_var y = ht_input(f->tape, f->y);
    ht_var sum = ht_add(x, y);
    ht_program *p = cut(f, 2, ((ht_var[]){x, y}), 1, &sum);
    ht_tensor *small = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(3));
    ht_tensor *single = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(N));
    ht_program_run(p, (const ht_tensor *[]){f->x, small}, &f->out);
    assert_contains(ht_context_message(f->ctx), site);
    assert_refused(f, HT_ERROR_SHAPE, "input 1 must be f64 (100), not f64 (3)");
    ht_program_run(p, (const ht_tensor *[]){single, f->y}, &f->out);
    assert_refused(f, HT_ERROR_DTYPE, "input 0 must be f64 (100), not f32 (100)");
    ht_program_run(p, (const ht_tensor *[]){f->x, f->y}, &small);
    assert_refused(f, HT_ERROR_SHAPE, "output 0 must be f64 (100), not f64 (3)");
    ht_tensor_free(small);
    ht_tensor_free(single);
    ht_program_free(p);
}

/* Calls. */

/* sum(exp(x) y): a program of two inputs. */
static ht_program *product_program(fixture *f)
{
    ht_var in[] = {ht_input(f->tape, f->x), ht_input(f->tape, f->y)};
    ht_var out = ht_sum(ht_mul(ht_exp(in[0]), in[1]));
    ht_program *p = cut(f, 2, in, 1, &out);
    ht_tape_reset(f->tape);
    return p;
}

static void call_on_an_eager_tape_can_be_differentiated(void **state)
{
    fixture *f = *state;
    ht_program *p = product_program(f);
    ht_var in[] = {ht_input(f->eager, f->y), ht_input(f->eager, f->x)}, out, again, d[2];
    ht_call(f->eager, p, in, &out);
    ht_call(f->eager, p, in, &again);
    assert_int_equal(out.index, again.index);
    double want = 0;
    for (int i = 0; i < N; i++) want += exp(at(f->y, i)) * at(f->x, i);
    assert_near(ht_item(out), want, 1e-13);
    ht_grad(out, 2, in, d);
    ht_var h;
    ht_hvp(out, 1, in, &in[1], &h);
    for (int i = 0; i < N; i++) {
        double e = exp(at(f->y, i)), x = at(f->x, i);
        assert_near(at(ht_value(d[0]), i), e * x, 1e-14);
        assert_near(at(ht_value(d[1]), i), e, 1e-14);
        assert_near(at(ht_value(h), i), e * x * x, 1e-14);
    }
    ht_program_free(p);
}

/* The gradient program of a called program, called again and differentiated again. */
static void call_of_a_gradient_program_can_be_differentiated(void **state)
{
    fixture *f = *state;
    ht_program *p = product_program(f);
    ht_var in[] = {ht_input(f->tape, f->x), ht_input(f->tape, f->y)}, out, d;
    ht_call(f->tape, p, in, &out);
    ht_grad(out, 1, in, &d);
    ht_program *gradient = cut(f, 2, in, 1, &d);
    ht_tape_reset(f->tape);
    ht_program_free(p);
    ht_var at_in[] = {ht_input(f->tape, f->x), ht_input(f->tape, f->y)}, g, h;
    ht_call(f->tape, gradient, at_in, &g);
    ht_grad(ht_sum(ht_mul(g, g)), 1, at_in, &h);
    ht_program *second = cut(f, 2, at_in, 1, &h);
    ht_program_free(gradient);
    run(f, second, (const ht_tensor *[]){f->x, f->y}, &f->out);
    for (int i = 0; i < N; i++) {
        double e = exp(at(f->x, i)) * at(f->y, i);
        assert_near(at(f->out, i), 2 * e * e, 1e-13);
    }
    ht_program_free(second);
}

static void call_with_a_wrong_input_names_both_types(void **state)
{
    fixture *f = *state;
    ht_program *p = product_program(f);
    ht_var x = ht_input(f->eager, f->x), half = ht_slice(x, 0, 0, N / 2, 1), out;
    ht_call(f->eager, p, ((ht_var[]){x, half}), &out);
    assert_null(ht_value(out));
    assert_contains(ht_context_message(f->ctx), "test_autograd_program.c:");
    assert_refused(f, HT_ERROR_SHAPE, "call: input 1 must be f64 (100), not f64 (50)");
    ht_program_free(p);
}

static void call_passes_inputs_constants_and_views_through(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->tape, f->x), out[3];
    ht_var made[] = {x, ht_broadcast(ht_constant(f->tape, 3), HT_SHAPE(2)),
                     ht_slice(x, 0, N - 1, N, -1)};
    ht_program *p = cut(f, 1, &x, 3, made);
    ht_var e = ht_input(f->eager, f->y);
    ht_call(f->eager, p, &e, out);
    assert_int_equal(out[0].index, e.index);
    assert_near(at(ht_value(out[1]), 1), 3, 0);
    assert_near(at(ht_value(out[2]), 0), at(f->y, N - 1), 0);
    ht_program_free(p);
}

static void print_lists_places_bytes_and_flops(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->tape, f->x), a = ht_reshape(ht_tanh(x), HT_SHAPE(10, 10));
    ht_var out = ht_softmax(ht_matmul(a, a));
    ht_program *p = cut(f, 1, &x, 1, &out);
    assert_near(ht_program_flops(p), 2000, 0);
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    ht_program_print(p, file);
    fclose(file);
    const char *const parts[] = {"in 0",
                                 "tanh(%0)",
                                 "view of %1",
                                 "%2 @ %2",
                                 "2 kflop",
                                 "out 0",
                                 "1 inputs, 4 instructions, 1 outputs",
                                 "test_autograd_program.c:"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_contains(text, parts[i]);
    free(text);
    ht_program_free(p);
}

/* Out of memory. */

typedef struct failing {
    size_t live;
    int calls, fail_at;
} failing;

static void *failing_alloc(void *user, void *old, size_t old_size, size_t new_size)
{
    failing *f = user;
    if (new_size == 0) {
        f->live -= old_size;
        free(old);
        return NULL;
    }
    if (++f->calls == f->fail_at) return NULL;
    f->live += new_size - old_size;
    return realloc(old, new_size);
}

/* Records, derives, cuts, replays and calls; whatever could be made is freed. */
static ht_status scenario(ht_context *ctx)
{
    ht_tape *tape = ht_tape_new(ctx, HT_RECORD), *eager = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *x = ht_tensor_new(ctx, HT_F64, HT_SHAPE(8, 4));
    ht_tensor *w = ht_tensor_new(ctx, HT_F64, HT_SHAPE(4, 3));
    ht_tensor *out = ht_tensor_new(ctx, HT_F64, HT_SHAPE(4, 3));
    ht_program *p[3] = {NULL};
    if (tape && eager) {
        ht_var in[] = {ht_input(tape, x), ht_input(tape, w)}, d, h, back;
        ht_var y = ht_sum(ht_log_softmax(ht_tanh(ht_matmul(in[0], in[1]))));
        for (int i = 0; i < 60; i++) y = ht_tanh(ht_mul(y, 1 + i)); /* tapes grow */
        ht_grad(y, 1, &in[1], &d);
        ht_hvp(y, 1, &in[1], &d, &h);
        ht_tape_mark(tape);
        const ht_var results[] = {d, h, ht_add(d, h)};
        for (int k = 0; k < 3; k++) {
            p[k] = ht_program_new(tape, 2, in, 1, &results[k]);
            if (p[k]) ht_program_run(p[k], (const ht_tensor *[]){x, w}, &out);
        }
        ht_var at_in[] = {ht_input(eager, x), ht_input(eager, w)};
        if (p[1]) {
            ht_call(eager, p[1], at_in, &d);
            ht_grad_or_zero(ht_sum(d), 1, &at_in[1], &back);
            ht_value(back);
        }
    }
    ht_status status = ht_context_status(ctx);
    for (int k = 0; k < 3; k++) ht_program_free(p[k]);
    ht_tape_free(tape);
    ht_tape_free(eager);
    ht_tensor_free(x);
    ht_tensor_free(w);
    ht_tensor_free(out);
    return status;
}

static void program_without_memory_at_any_call_leaks_nothing(void **state)
{
    (void)state;
    int n = 1;
    for (ht_status status = HT_ERROR_MEMORY; status != HT_OK; n++) {
        failing f = {.fail_at = n};
        ht_context *ctx = ht_context_new(
            &(ht_context_options){.alloc = failing_alloc, .user = &f, .threads = 1});
        status = HT_ERROR_MEMORY;
        if (ctx) {
            status = scenario(ctx);
            assert_int_equal(status, f.calls >= n ? HT_ERROR_MEMORY : HT_OK);
            ht_context_free(ctx);
        }
        assert_int_equal(f.live, 0);
        assert_true(n < 10000);
    }
    printf("# failed at each of %d calls\n", n - 2);
    assert_true(n > 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(cut_keeps_only_what_outputs_need),
        TEST(cut_at_inner_nodes_needs_nothing_before_them),
        TEST(cut_of_a_derivative_takes_known_outputs),
        TEST(cut_has_common_subexpressions_once),
        TEST(cut_without_a_needed_leaf_names_its_site),
        TEST(cut_outputs_may_be_inputs_views_constants_and_twice_the_same),
        TEST(plan_of_an_elementwise_chain_needs_no_memory),
        TEST(plan_writes_over_an_operand_that_dies),
        TEST(plan_of_a_chain_that_may_not_overwrite_is_two_buffers),
        TEST(plan_keeps_what_is_read_later),
        TEST(run_again_asks_for_no_memory),
        TEST(run_with_other_memory_reads_and_writes_there),
        TEST(poison_shows_a_value_that_is_read_too_late),
        TEST(bind_lets_programs_share_an_arena),
        TEST(run_updates_a_parameter_in_place),
        TEST(run_into_an_input_that_is_read_later_is_refused),
        TEST(run_into_an_input_of_an_op_that_may_not_overwrite_is_refused),
        TEST(run_with_overlapping_memory_is_refused),
        TEST(run_that_swaps_its_inputs_is_refused),
        TEST(run_with_wrong_types_names_both),
        TEST(call_on_an_eager_tape_can_be_differentiated),
        TEST(call_of_a_gradient_program_can_be_differentiated),
        TEST(call_with_a_wrong_input_names_both_types),
        TEST(call_passes_inputs_constants_and_views_through),
        TEST(print_lists_places_bytes_and_flops),
        cmocka_unit_test(program_without_memory_at_any_call_leaks_nothing),
    };
    return TEST_MAIN(tests);
}
