/* SPDX-License-Identifier: MIT */
/* test_autograd_ops.c: ht_op_check on every built-in row, as on a row of one's own; then
 * what it can't ask: constants, integers, and the awkward points. Read next:
 * autograd/op_check.c, test_autograd_user_op.c. */
#include <string.h>

#include "awkward.h"
#include "op_check.h"
#include "parts.h"
#include "test.h"

static void op_at_every_row_has_samples(void **state)
{
    (void)state;
    int rows = 0, listed = 0, samples = 0;
#define HT_OP_ROW(name) listed++;
#include "ops.def"
#undef HT_OP_ROW
    for (const ht_op *op; (op = ht_op_at(rows)); rows++) {
        if (op->n_samples < 1 || !op->samples) fail_msg("%s has no samples", op->name);
        bool rules = op->vjp && op->jvp, flat = op->flags & HT_OP_NO_GRADIENT;
        if (flat ? rules : !rules && !op->decompose)
            fail_msg("%s: rules and HT_OP_NO_GRADIENT must exclude each other", op->name);
        samples += op->n_samples;
    }
    assert_int_equal(rows, listed);
    assert_null(ht_op_at(rows));
    assert_null(ht_op_at(-1));
    printf("# %d rows, %d samples\n", rows, samples);
    assert_true(rows >= 63);
    assert_true(samples >= 266);
}

/* Rows whose differences are off by a truncation that can be measured. */
static bool is_curved(const char *name)
{
    static const char curved[] =
        " exp log sqrt tanh sigmoid log1p expm1 rsqrt sin cos erf softplus gelu "
        "gelu_slope density sigmoid_slope tanh_slope silu silu_slope gelu_tanh "
        "gelu_tanh_slope erf_slope logsumexp div pow softmax log_softmax cross_entropy "
        "normalize "
        "normalize_slope normalize_bend attention attention_vjp attention_jvp "
        "attention_bend ";
    char word[64];
    snprintf(word, sizeof word, " %s ", name);
    return strstr(curved, word) != NULL;
}

/* Value, gradient and Hessian product, and how far a product in f32 may be from the same
 * with instructions that multiply and add at once. */
static const struct {
    hti_op_fn *f;
    double apart;
} isa_parts[] = {{hti_op_value, 2e-6}, {hti_op_gradient, 1e-5}, {hti_op_hvp, 1e-5}};

static bool same_bits(const hti_op_case *c, const hti_op_vec *got, const hti_op_vec *want,
                      int part)
{
    if (got->n == want->n &&
        !memcmp(got->at, want->at, (size_t)want->n * sizeof *got->at))
        return true;
    return hti_op_fail(c, "instruction sets",
                       "part %d: %s does not give the baseline's bits", part,
                       c->check->ctx->kernels->name);
}

/* Every instruction set of this machine, bit by bit but for products in f32. */
static bool same_on_every_isa(hti_op_case *c)
{
    bool product = c->check->op->flags & HT_OP_PRODUCT && c->dtype == HT_F32;
    ht_context *ctx = c->check->ctx;
    const struct hti_kernels usual = *ctx->kernels;
    const struct hti_loops *loops = ctx->loops;
    bool ok = true;
    for (int k = 0; k < (c->derives ? 3 : 1); k++) {
        hti_op_vec want, got;
        hti_context_use(ctx, HTI_BASELINE);
        isa_parts[k].f(c, &want);
        for (int isa = HTI_BASELINE + 1; hti_context_use(ctx, isa); isa++) {
            isa_parts[k].f(c, &got);
            ok = ok && (product ? hti_op_near(c, &got, &want, isa_parts[k].apart,
                                              "instruction sets")
                                : same_bits(c, &got, &want, k));
        }
    }
    *ctx->kernels = usual;
    ctx->loops = loops;
    return ok;
}

/* The report of a row that fails is on stderr, whole. */
static void op_check_every_row_holds(void **state)
{
    (void)state;
    ht_context *ctx =
        ht_context_new(&(ht_context_options){.seed = test_seed(), .threads = 1});
    int64_t cases = 0, ratios = 0;
    int failed = 0;
    const ht_op *op;
    for (int i = 0; (op = ht_op_at(i)); i++) {
        hti_op_tally tally;
        hti_op_options options = {.seed = ht_context_seed(ctx),
                                  .rounds = HTI_OP_ROUNDS,
                                  .report = stderr,
                                  .decompose = hti_parts_of(op),
                                  .also = same_on_every_isa};
        if (!hti_op_check_row(ctx, op, &options, &tally)) failed++;
        cases += tally.cases;
        if (is_curved(op->name) && tally.ratios < 10)
            fail_msg("%s: %lld halved steps compared", op->name, (long long)tally.ratios);
        ratios += tally.ratios;
    }
    printf("# %lld cases, %lld halved steps compared\n", (long long)cases,
           (long long)ratios);
    assert_int_equal(failed, 0);
    assert_true(cases >= 36000);
    assert_true(ratios >= 3000);
    assert_int_equal(ht_context_status(ctx), HT_OK);
    ht_context_free(ctx);
}

static void run_constant_replays_as_itself(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_RECORD);
    ht_var c = ht_constant(tape, 2.5), b = ht_broadcast(c, HT_SHAPE(2, 3));
    ht_program *p = ht_program_new(tape, 0, NULL, 2, ((ht_var[]){c, b}));
    ht_tensor *out[] = {ht_tensor_new(ctx, HT_F64, HT_SCALAR),
                        ht_tensor_new(ctx, HT_F64, HT_SHAPE(2, 3))};
    assert_int_equal(ht_program_run(p, NULL, out), HT_OK);
    assert_near(ht_tensor_get(out[0], 0), 2.5, 0);
    for (int i = 0; i < 6; i++) assert_near(ht_tensor_get(out[1], i), 2.5, 0);
    ht_tensor_free(out[0]);
    ht_tensor_free(out[1]);
    ht_program_free(p);
    ht_tape_free(tape);
    ht_context_free(ctx);
}

static void grad_by_integers_is_refused(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *x = ht_tensor_new(ctx, HT_F64, HT_SHAPE(4));
    ht_tensor *index = ht_tensor_new(ctx, HT_I32, HT_SHAPE(2));
    ht_var in[] = {ht_input(tape, x), ht_input(tape, index)}, d[2];
    ht_grad(ht_sum(ht_gather(in[0], in[1])), 2, in, d);
    assert_int_equal(ht_context_status(ctx), HT_ERROR_NO_GRADIENT);
    assert_contains(ht_context_message(ctx), "x[1]");
    assert_contains(ht_context_message(ctx), "i32");
    ht_tape_free(tape);
    ht_tensor_free(x);
    ht_tensor_free(index);
    ht_context_free(ctx);
}

static void derivatives_at_awkward_points_are_the_documented_ones(void **state)
{
    (void)state;
    for (int i = 0; i < N_AWKWARD; i++)
        assert_true(awkward_holds(&awkward_points[i], NULL, stderr));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(op_at_every_row_has_samples),
        cmocka_unit_test(op_check_every_row_holds),
        cmocka_unit_test(run_constant_replays_as_itself),
        cmocka_unit_test(grad_by_integers_is_refused),
        cmocka_unit_test(derivatives_at_awkward_points_are_the_documented_ones),
    };
    return TEST_MAIN(tests);
}
