/* SPDX-License-Identifier: MIT */
/* test_autograd_blocks.c: programs that go through a tall operand by blocks of its rows
 * give the bits they give with all rows at once: on random chains, with outputs among
 * what is between, odd sizes, values that are not finite, poisoned and watched; what is
 * no chain, and what errors say. Read next: autograd/passes/blocks.c. */
#include "loops.h"
#include "passes.h"
#include "test.h"

enum { INPUTS = 6, OUTPUTS = 4, MOST = 24 };
enum { X, W, V, BIAS, WEIGHT, LABEL };

typedef struct blocks_case {
    ht_context *ctx;
    ht_tape *tape;
    uint64_t seed, drawn;
    int64_t rows, terms, columns;
    ht_tensor *leaf[INPUTS];
    ht_var in[INPUTS], pool[MOST], out[OUTPUTS];
    int n;
} blocks_case;

static int64_t draw(blocks_case *c, int64_t n)
{
    return ht_random_below(c->seed, 3, c->drawn++, n);
}

static void blocks_open_as(blocks_case *c, uint64_t seed, int threads, ht_dtype dtype,
                           int64_t rows)
{
    *c = (blocks_case){.seed = seed};
    c->ctx = ht_context_new(&(ht_context_options){.seed = seed, .threads = threads});
    c->tape = ht_tape_new(c->ctx, HT_RECORD);
    c->terms = 128 + draw(c, 30);
    c->rows = rows ? rows : HTI_BLOCK_LEAST / c->terms + 1 + draw(c, 200);
    c->columns = 6 + draw(c, 7);
    const ht_shape shape[INPUTS] = {
        HT_SHAPE(c->rows, c->terms),    HT_SHAPE(c->terms, c->columns),
        HT_SHAPE(c->terms, c->columns), HT_SHAPE(c->columns),
        HT_SHAPE(c->rows, 1),           HT_SHAPE(c->rows)};
    for (int i = 0; i < INPUTS; i++) {
        c->leaf[i] = ht_tensor_new(c->ctx, i == LABEL ? HT_I32 : dtype, shape[i]);
        if (i != LABEL) ht_tensor_uniform(c->leaf[i], 1 + (uint64_t)i, -0.2, 0.2);
        c->in[i] = ht_input(c->tape, c->leaf[i]);
    }
    for (int64_t k = 0; k < c->rows; k++)
        ((int32_t *)ht_tensor_data(c->leaf[LABEL]))[k] = (int32_t)draw(c, c->columns);
}

static void blocks_open(blocks_case *c, uint64_t seed, int threads)
{
    blocks_open_as(c, seed, threads, HT_F32, 0);
}

static void blocks_close(blocks_case *c)
{
    ht_tape_free(c->tape);
    for (int i = 0; i < INPUTS; i++) ht_tensor_free(c->leaf[i]);
    ht_context_free(c->ctx);
}

static ht_var blocks_gradient(blocks_case *c, ht_var r)
{
    return ht_matmul(ht_transpose(c->in[X]), r);
}

/* What treats rows by themselves: of the shape of logits a. */
static ht_var blocks_draw_op(blocks_case *c, ht_var a, ht_var b)
{
    switch (draw(c, 11)) {
    case 0:
        return ht_add(a, c->in[BIAS]);
    case 1:
        return ht_mul(a, c->in[WEIGHT]);
    case 2:
        return ht_softmax(a);
    case 3:
        return ht_log_softmax(b);
    case 4:
        return ht_mul(ht_sum_axes(a, HT_AXES(1), true), b);
    case 5:
        return ht_sub(ht_matmul(c->in[X], c->in[V]), a);
    case 6:
        return ht_mul(
            a, ht_reshape(ht_cross_entropy(b, c->in[LABEL]), HT_SHAPE(c->rows, 1)));
    case 7:
        return ht_tanh(ht_mul(a, 2.0));
    case 8:
        return ht_where(ht_greater(a, b), a, c->in[BIAS]);
    case 9:
        return ht_mul(a, ht_square(c->in[WEIGHT]));
    default:
        return ht_add(a, ht_mul(b, 0.5));
    }
}

/* A chain; what else is an output: something between, a sum over rows, a number. */
static void blocks_grow(blocks_case *c)
{
    c->pool[c->n++] = ht_matmul(c->in[X], c->in[W]);
    int64_t ops = 1 + draw(c, 8);
    for (int64_t i = 0; i < ops; i++) {
        ht_var a = c->pool[c->n - 1], b = c->pool[draw(c, c->n)];
        c->pool[c->n++] = blocks_draw_op(c, a, b);
    }
    ht_var between = c->pool[draw(c, c->n)], r = c->pool[c->n - 1];
    c->out[1] = draw(c, 2) ? between : ht_neg(between);
    c->out[2] = ht_sum_axes(r, HT_AXES(0), false);
    c->out[3] = ht_mean(ht_mul(between, ht_square(r)));
    c->out[0] = blocks_gradient(c, r);
}

static ht_program *blocks_cut(blocks_case *c, int n, unsigned off)
{
    c->ctx->options.passes_off = off;
    ht_program *p = ht_program_new(c->tape, INPUTS, c->in, n, c->out);
    if (!p)
        fail_msg("seed %llu: %s", (unsigned long long)c->seed,
                 ht_context_message(c->ctx));
    ht_program_poison(p, true);
    return p;
}

static void blocks_run(blocks_case *c, ht_program *p, int n, ht_tensor **out)
{
    for (int k = 0; k < n; k++)
        out[k] = ht_tensor_new(c->ctx, ht_var_dtype(c->out[k]), ht_var_shape(c->out[k]));
    for (int pass = 0; pass < 2; pass++)
        assert_int_equal(ht_program_run(p, (const ht_tensor *const *)c->leaf, out),
                         HT_OK);
}

static bool blocks_can(const blocks_case *c)
{
    return c->ctx->loops && c->ctx->loops->skinny->columns[0] >= c->columns &&
           ht_context_threads(c->ctx) == 1;
}

/* n outputs with the pass and without, bit by bit, in no more memory; the chains. */
static uint32_t blocks_check(blocks_case *c, int n)
{
    ht_tensor *want[OUTPUTS], *got[OUTPUTS];
    ht_program *p = blocks_cut(c, n, HT_PASS_BLOCKS), *q = blocks_cut(c, n, 0),
               *plain = blocks_cut(c, n, HT_PASSES & ~(unsigned)HT_PASS_BLOCKS);
    uint32_t chains = q->n_chains;
    assert_int_equal(p->n_chains, 0);
    assert_int_equal(plain->n_chains, chains);
    if (chains && ht_program_bytes(q) > ht_program_bytes(p))
        fail_msg("seed %llu: %zu bytes, %zu without", (unsigned long long)c->seed,
                 ht_program_bytes(q), ht_program_bytes(p));
    blocks_run(c, p, n, want);
    for (int turn = 0; turn < 2; turn++) {
        blocks_run(c, turn ? plain : q, n, got);
        for (int k = 0; k < n; k++) {
            if (memcmp(ht_tensor_data(want[k]), ht_tensor_data(got[k]),
                       ht_tensor_bytes(got[k])))
                fail_msg("seed %llu: output %d differs", (unsigned long long)c->seed, k);
            ht_tensor_free(got[k]);
        }
    }
    for (int k = 0; k < n; k++) ht_tensor_free(want[k]);
    ht_program_free(p);
    ht_program_free(q);
    ht_program_free(plain);
    return chains;
}

static void random_chains_have_the_bits_of_all_rows_at_once(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    uint32_t chains = 0, could = 0;
    for (uint64_t i = 0; i < (uint64_t)test_size(60, 3); i++) {
        blocks_case c;
        blocks_open(&c, seed + i, i % 8 ? 1 : 2 + (int)(i / 8 % 6));
        blocks_grow(&c);
        could += blocks_can(&c);
        chains += blocks_check(&c, 1 + (int)(i % OUTPUTS));
        blocks_close(&c);
    }
    printf("# %u chains of %u programs\n", chains, could);
    assert_true(chains >= could / 3);
}

/* The gradient of the mean of weighted losses, as training has it. */
static void blocks_loss(blocks_case *c)
{
    ht_var logits = ht_add(ht_matmul(c->in[X], c->in[W]), c->in[BIAS]);
    ht_var weight = ht_reshape(c->in[WEIGHT], HT_SHAPE(c->rows));
    c->out[2] = ht_mean(ht_mul(weight, ht_cross_entropy(logits, c->in[LABEL])));
    const ht_var by[] = {c->in[W], c->in[BIAS]};
    ht_grad(c->out[2], 2, by, c->out);
    c->out[3] = logits;
}

static void not_finite_rows_stay_in_their_rows(void **state)
{
    (void)state;
    blocks_case c;
    blocks_open(&c, 5, 1);
    float *x = ht_tensor_data(c.leaf[X]);
    x[70 * c.terms + 3] = NAN;
    x[(c.rows - 1) * c.terms] = INFINITY;
    ((float *)ht_tensor_data(c.leaf[W]))[5] = INFINITY;
    blocks_loss(&c);
    assert_int_equal(blocks_check(&c, 3), blocks_can(&c));
    blocks_close(&c);
}

static void gradient_of_softmax_regression_is_a_chain(void **state)
{
    (void)state;
    for (int n = 1; n <= 3; n++) {
        blocks_case c;
        blocks_open(&c, 11 + (uint64_t)n, 1);
        blocks_loss(&c);
        assert_int_equal(blocks_check(&c, n), blocks_can(&c));
        blocks_close(&c);
    }
}

static void label_outside_is_at_its_row_of_all(void **state)
{
    (void)state;
    char text[2][512];
    for (int k = 0; k < 2; k++) {
        blocks_case c;
        blocks_open(&c, 21, 1);
        blocks_loss(&c);
        ht_program *p = blocks_cut(&c, 1, k ? 0 : HT_PASS_BLOCKS);
        ((int32_t *)ht_tensor_data(c.leaf[LABEL]))[c.rows - 2] = 99;
        ht_tensor *out = ht_tensor_new(c.ctx, HT_F32, ht_var_shape(c.out[0]));
        assert_int_equal(ht_program_run(p, (const ht_tensor *const *)c.leaf, &out),
                         HT_ERROR_ARGUMENT);
        snprintf(text[k], sizeof text[k], "%s", ht_context_message(c.ctx));
        ht_tensor_free(out);
        ht_program_free(p);
        blocks_close(&c);
    }
    assert_string_equal(text[0], text[1]);
}

static void watch_finds_the_same_value(void **state)
{
    (void)state;
    const char *bad[2];
    for (int k = 0; k < 2; k++) {
        blocks_case c;
        blocks_open(&c, 31, 1);
        blocks_loss(&c);
        ht_program *p = blocks_cut(&c, 1, k ? 0 : HT_PASS_BLOCKS);
        ((float *)ht_tensor_data(c.leaf[X]))[(c.rows - 1) * c.terms] = NAN;
        ht_tensor *out = ht_tensor_new(c.ctx, HT_F32, ht_var_shape(c.out[0]));
        hti_program_watch(p, true);
        ht_program_run(p, (const ht_tensor *const *)c.leaf, &out);
        bad[k] = hti_program_bad(p, NULL);
        assert_non_null(bad[k]);
        ht_tensor_free(out);
        ht_program_free(p);
        blocks_close(&c);
    }
    assert_string_equal(bad[0], bad[1]);
}

enum { SHORT, ONE_ROW, DOUBLE, OVER_ROWS, STRIDED, OTHER_X, TURNED_BETWEEN, CASES };

static ht_var blocks_no_chain(blocks_case *c, int k)
{
    ht_var x = c->in[X], logits;
    if (k == STRIDED) x = ht_flip(x, 0);
    logits = ht_matmul(x, c->in[W]);
    ht_var r = ht_softmax(logits);
    if (k == OVER_ROWS) r = ht_sub(r, ht_mean_axes(logits, HT_AXES(0), true));
    if (k == TURNED_BETWEEN) r = ht_transpose(ht_softmax(ht_transpose(r)));
    if (k == OTHER_X) x = ht_mul(x, 2.0);
    return ht_matmul(ht_transpose(x), r);
}

static void what_is_no_chain_runs_with_all_rows_at_once(void **state)
{
    (void)state;
    for (int k = 0; k < CASES; k++) {
        blocks_case c;
        blocks_open_as(&c, 41 + (uint64_t)k, 1, k == DOUBLE ? HT_F64 : HT_F32,
                       k == SHORT     ? 300
                       : k == ONE_ROW ? 1
                                      : 0);
        c.out[0] = blocks_no_chain(&c, k);
        if (blocks_check(&c, 1) != 0) fail_msg("case %d has a chain", k);
        blocks_close(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_chains_have_the_bits_of_all_rows_at_once),
        cmocka_unit_test(not_finite_rows_stay_in_their_rows),
        cmocka_unit_test(gradient_of_softmax_regression_is_a_chain),
        cmocka_unit_test(label_outside_is_at_its_row_of_all),
        cmocka_unit_test(watch_finds_the_same_value),
        cmocka_unit_test(what_is_no_chain_runs_with_all_rows_at_once),
    };
    return TEST_MAIN(tests);
}
