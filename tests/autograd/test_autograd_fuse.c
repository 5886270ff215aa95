/* SPDX-License-Identifier: MIT */
/* test_autograd_fuse.c: programs whose elementwise instructions run together give the
 * bits they give one by one, on random graphs over broadcasts and views, in place,
 * watched and poisoned; without passes; what is fused, and what is not. Read next:
 * autograd/passes/fuse.c. */
#include "passes.h"
#include "test.h"

enum { LEAVES = 5, OUTPUTS = 4, MOST = 96 };

typedef struct fuse_case {
    ht_context *ctx;
    ht_tape *tape;
    uint64_t seed, drawn;
    ht_tensor *leaf[LEAVES];
    ht_var x[LEAVES], pool[MOST], out[OUTPUTS];
    int n;
} fuse_case;

static int64_t draw(fuse_case *c, int64_t n)
{
    return ht_random_below(c->seed, 3, c->drawn++, n);
}

/* Square, so that a transpose has its operand's type. */
static void fuse_open(fuse_case *c, uint64_t seed, ht_dtype dtype, int threads)
{
    *c = (fuse_case){.seed = seed};
    c->ctx = ht_context_new(&(ht_context_options){.seed = seed, .threads = threads});
    c->tape = ht_tape_new(c->ctx, HT_RECORD);
    int64_t n = 1 + draw(c, 40);
    const ht_shape shape[LEAVES] = {HT_SHAPE(n, n), HT_SHAPE(n, n), HT_SHAPE(n),
                                    HT_SHAPE(n, 1), HT_SHAPE(2 * n, n)};
    for (int i = 0; i < LEAVES; i++) {
        c->leaf[i] = ht_tensor_new(c->ctx, dtype, shape[i]);
        ht_tensor_uniform(c->leaf[i], 1 + (uint64_t)i, 0.5, 2);
        c->x[i] = ht_input(c->tape, c->leaf[i]);
        if (i < 4) c->pool[c->n++] = c->x[i];
    }
    c->pool[c->n++] = ht_transpose(c->x[0]);
    c->pool[c->n++] = ht_slice(c->x[4], 0, 0, n, 2);
    c->pool[c->n++] = ht_flip(c->x[1], 1);
}

static void fuse_close(fuse_case *c)
{
    ht_tape_free(c->tape);
    for (int i = 0; i < LEAVES; i++) ht_tensor_free(c->leaf[i]);
    ht_context_free(c->ctx);
}

static ht_var fuse_draw_op(fuse_case *c, ht_var a, ht_var b, ht_var d)
{
    switch (draw(c, 13)) {
    case 0:
        return ht_sub(a, b);
    case 1:
        return ht_mul(a, ht_add(b, 0.25));
    case 2:
        return ht_div(a, ht_add(ht_abs(b), 1.0));
    case 3:
        return ht_where(ht_greater(a, b), d, a);
    case 4:
        return ht_maximum(a, ht_neg(b));
    case 5:
        return ht_sqrt(ht_abs(a));
    case 6:
        return ht_cast(ht_cast(ht_tanh(a), HT_F64), ht_var_dtype(a));
    case 7:
        return ht_softmax(a);
    case 8:
        return ht_transpose(ht_add(a, c->x[1]));
    case 9:
        return ht_mul(ht_sum_axes(a, HT_AXES(-1), true), b);
    case 10:
        return ht_add(ht_mul(ht_tanh(ht_sum(ht_mul(a, b))), d), a);
    default:
        return ht_add(a, b);
    }
}

static void fuse_grow(fuse_case *c)
{
    int64_t n = ht_var_shape(c->x[2]).dim[0], square = c->n;
    for (int i = 0; i < 60; i++) {
        ht_var out = fuse_draw_op(c, c->pool[draw(c, c->n)], c->pool[draw(c, c->n)],
                                  c->pool[draw(c, c->n)]);
        if (ht_shape_equal(ht_var_shape(out), HT_SHAPE(n, n))) c->pool[c->n++] = out;
    }
    assert_true(c->n > square + OUTPUTS);
    for (int k = 0; k < OUTPUTS; k++) c->out[k] = c->pool[c->n - 1 - k];
}

static ht_program *fuse_cut(fuse_case *c, int64_t least)
{
    c->ctx->fuse_least = least;
    ht_program *p = ht_program_new(c->tape, LEAVES, c->x, OUTPUTS, c->out);
    if (!p)
        fail_msg("seed %llu: %s", (unsigned long long)c->seed,
                 ht_context_message(c->ctx));
    return p;
}

static void fuse_run(fuse_case *c, ht_program *p, ht_tensor **out)
{
    for (int k = 0; k < OUTPUTS; k++)
        out[k] = ht_tensor_new(c->ctx, ht_var_dtype(c->out[k]), ht_var_shape(c->out[k]));
    for (int pass = 0; pass < 2; pass++)
        assert_int_equal(ht_program_run(p, (const ht_tensor *const *)c->leaf, out),
                         HT_OK);
}

/* How many instructions run with another. */
static int fuse_count(const ht_program *p)
{
    int n = 0;
    for (uint32_t i = p->n_in; i < p->n_values; i++) n += p->value[i].when != i;
    return n;
}

/* Without passes: a call an instruction, memory of its own for each that is no view. */
static void check_plain(const ht_program *p)
{
    size_t bytes = 0;
    uint32_t calls = 0;
    for (uint32_t i = p->n_in; i < p->n_values; i++) {
        const hti_value *v = &p->value[i];
        assert_true(v->op != &hti_op_matmul_add);
        calls += v->place != HTI_IN_VIEW && v->place != HTI_IN_CONSTANT;
        if (v->place == HTI_IN_ARENA)
            bytes += hti_round_up(hti_bytes(v->type.dtype, v->type.shape), HTI_ALIGN);
        assert_true(v->place != HTI_IN_TILE);
    }
    assert_int_equal(p->n_instructions, calls);
    for (uint32_t k = 0; k < calls; k++) bytes += p->instruction[k].workspace_bytes;
    assert_int_equal(ht_program_bytes(p), bytes);
}

/* Any passes left out, the bits are those without all of them. */
static void check_passes(uint64_t seed)
{
    fuse_case c;
    ht_tensor *plain[OUTPUTS], *got[OUTPUTS];
    fuse_open(&c, seed, seed % 2 ? HT_F32 : HT_F64, 1 + (int)(seed / 2 % 2));
    fuse_grow(&c);
    for (unsigned off = HT_PASSES + 1; off-- > 0;) {
        c.ctx->options.passes_off = off;
        ht_program *p = fuse_cut(&c, 1);
        if (off == HT_PASSES) check_plain(p);
        if (off & HT_PASS_FUSE) assert_int_equal(fuse_count(p), 0);
        ht_program_poison(p, true);
        fuse_run(&c, p, off == HT_PASSES ? plain : got);
        ht_program_free(p);
        for (int k = 0; off != HT_PASSES && k < OUTPUTS; k++) {
            if (memcmp(ht_tensor_data(plain[k]), ht_tensor_data(got[k]),
                       ht_tensor_bytes(got[k])))
                fail_msg("seed %llu, without %#x: output %d differs",
                         (unsigned long long)seed, off, k);
            ht_tensor_free(got[k]);
        }
    }
    for (int k = 0; k < OUTPUTS; k++) ht_tensor_free(plain[k]);
    fuse_close(&c);
}

static void passes_left_out_in_any_combination_give_the_same_bits(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (uint64_t k = 0; k < 60; k++) check_passes(seed + k);
}

static int check_program(uint64_t seed)
{
    fuse_case c;
    ht_tensor *alone[OUTPUTS], *fused[OUTPUTS];
    fuse_open(&c, seed, seed % 2 ? HT_F32 : HT_F64, 1 + (int)(seed / 2 % 2));
    fuse_grow(&c);
    ht_program *p = fuse_cut(&c, INT64_MAX), *q = fuse_cut(&c, 1);
    assert_int_equal(fuse_count(p), 0);
    ht_program_poison(p, true);
    ht_program_poison(q, true);
    fuse_run(&c, p, alone);
    fuse_run(&c, q, fused);
    for (int k = 0; k < OUTPUTS; k++)
        if (memcmp(ht_tensor_data(alone[k]), ht_tensor_data(fused[k]),
                   ht_tensor_bytes(fused[k])))
            fail_msg("seed %llu: output %d differs", (unsigned long long)seed, k);
    int n = fuse_count(q);
    for (int k = 0; k < OUTPUTS; k++) {
        ht_tensor_free(alone[k]);
        ht_tensor_free(fused[k]);
    }
    ht_program_free(p);
    ht_program_free(q);
    fuse_close(&c);
    return n;
}

static void run_of_fused_programs_gives_the_bits_of_each_op_alone(void **state)
{
    (void)state;
    int joined = 0;
    uint64_t seed = test_seed();
    for (uint64_t k = 0; k < 400; k++) joined += check_program(seed + k);
    printf("# 400 programs, %d instructions fused\n", joined);
    assert_true(joined > 4000);
}

/* One more than a group holds makes two groups, and the first result is kept. */
static void fuse_of_a_long_chain_makes_several_groups(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_RECORD);
    ht_tensor *x = ht_tensor_new(ctx, HT_F32, HT_SHAPE(1000));
    ht_var a = ht_input(tape, x), y = a;
    for (int i = 0; i < HTI_FUSED_STEPS + 1; i++) y = ht_tanh(y);
    ht_program *p = ht_program_new(tape, 1, &a, 1, &y);
    assert_int_equal(fuse_count(p), HTI_FUSED_STEPS - 1);
    assert_int_equal(ht_program_bytes(p), 4032); /* 1000 floats, whole lines */
    ht_program_free(p);
    ht_tape_free(tape);
    ht_tensor_free(x);
    ht_context_free(ctx);
}

/* w, m and u of Adam are read and written in place in one group. */
static void run_of_a_fused_update_works_in_place(void **state)
{
    (void)state;
    enum { N = 5000 };
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_RECORD);
    ht_tensor *t[4];
    double want[3][N];
    for (int i = 0; i < 4; i++) {
        t[i] = ht_tensor_new(ctx, HT_F64, HT_SHAPE(N));
        ht_tensor_uniform(t[i], (uint64_t)i, 0.1, 1);
    }
    for (int k = 0; k < N; k++) {
        double w = ht_tensor_get(t[0], k), g = ht_tensor_get(t[3], k);
        want[1][k] = 0.9 * ht_tensor_get(t[1], k) + 0.1 * g;
        want[2][k] = sqrt(0.99 * pow(ht_tensor_get(t[2], k), 2) + 0.01 * (g * g));
        want[0][k] = w - 0.5 * (want[1][k] / (want[2][k] * 0.75 + 1e-3));
    }
    ht_var in[4];
    for (int i = 0; i < 4; i++) in[i] = ht_input(tape, t[i]);
    ht_var m = ht_add(ht_mul(0.9, in[1]), ht_mul(0.1, in[3]));
    ht_var u =
        hti_weighted_hypot(ht_number(0.99), in[2], ht_number(0.01), in[3], HT_HERE);
    ht_var below = ht_add(ht_mul(u, 0.75), 1e-3);
    ht_var w = ht_sub(in[0], ht_mul(0.5, ht_div(m, below)));
    ht_program *p = ht_program_new(tape, 4, in, 3, ((ht_var[]){w, m, u}));
    assert_int_equal(p->n_groups, 1);
    assert_int_equal(p->group[0].fused.n_steps, 3); /* m, u, w */
    assert_int_equal(ht_program_bytes(p), 0);
    assert_int_equal(ht_program_run(p, (const ht_tensor *const *)t, t), HT_OK);
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < N; k++)
            assert_near(ht_tensor_get(t[i], k), want[i][k], 1e-15);
    ht_program_free(p);
    ht_tape_free(tape);
    for (int i = 0; i < 4; i++) ht_tensor_free(t[i]);
    ht_context_free(ctx);
}

/* Large enough for parts and threads: one group, which leaves the products in tiles, and
 * the bits of each op alone. What a sum scales is another group. */
static void sums_join_what_they_add_up(void **state)
{
    (void)state;
    const ht_shape shape = HT_SHAPE(300, 700);
    double got[2][3];
    for (int threads = 1; threads <= 2; threads++) {
        ht_context *ctx = ht_context_new(&(ht_context_options){.threads = threads});
        ht_tape *tape = ht_tape_new(ctx, HT_RECORD), *eager = ht_tape_new(ctx, HT_EAGER);
        ht_tensor *in[2], *out[4];
        ht_var x[2], e[2], y[4], want[4];
        for (int i = 0; i < 2; i++) {
            in[i] = ht_tensor_new(ctx, HT_F32, shape);
            ht_tensor_uniform(in[i], 1 + (uint64_t)i, -1, 2);
            x[i] = ht_input(tape, in[i]);
            e[i] = ht_input(eager, in[i]);
        }
        for (int pass = 0; pass < 2; pass++) {
            ht_var *v = pass ? e : x, *to = pass ? want : y;
            ht_var product = ht_mul(v[0], v[1]), scaled = ht_mul(product, 0.5);
            to[0] = ht_sum(product);
            to[1] = scaled;
            to[2] = ht_sum(ht_square(v[1]));
            to[3] = ht_mul(v[0], ht_add(to[0], to[2]));
        }
        for (int k = 0; k < 4; k++)
            out[k] = ht_tensor_new(ctx, HT_F32, ht_var_shape(y[k]));
        ht_program *p = ht_program_new(tape, 2, x, 4, y);
        assert_int_equal(p->n_groups, 1);
        assert_int_equal(p->group[0].fused.n_sums, 2);
        assert_true(ht_program_bytes(p) < 1000);
        assert_int_equal(ht_program_run(p, (const ht_tensor *const *)in, out), HT_OK);
        for (int k = 0; k < 4; k++)
            assert_memory_equal(ht_tensor_data(out[k]), ht_tensor_data(ht_value(want[k])),
                                ht_tensor_bytes(out[k]));
        for (int k = 0; k < 3; k++) got[threads - 1][k] = ht_tensor_get(out[k], 0);
        ht_program_free(p);
        ht_tape_free(tape);
        ht_tape_free(eager);
        for (int i = 0; i < 2; i++) ht_tensor_free(in[i]);
        for (int k = 0; k < 4; k++) ht_tensor_free(out[k]);
        ht_context_free(ctx);
    }
    assert_memory_equal(got[0], got[1], sizeof got[0]);
}

/* The ops a pattern says, of these inputs. */
static ht_var tree_of(const char **at, const ht_var *in)
{
    char c = *(*at)++;
    if (c >= 'a' && c <= 'f') return in[c - 'a'];
    ht_var x = tree_of(at, in);
    ht_var y = tree_of(at, in);
    if (c == '+') return ht_add(x, y);
    if (c == '-') return ht_sub(x, y);
    return c == '*' ? ht_mul(x, y) : ht_div(x, y);
}

/* Tree number `row` of inputs of which those in `numbers` are one number: one step where
 * there is a loop for them, and the bits of op after op. */
static void check_tree(ht_dtype dtype, int row, unsigned numbers)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape[] = {ht_tape_new(ctx, HT_RECORD), ht_tape_new(ctx, HT_EAGER)};
    const ht_shape shape = HT_SHAPE(3, 701);
    ht_tensor *t[HTI_TREE_INPUTS], *out = ht_tensor_new(ctx, dtype, shape);
    ht_var in[2][HTI_TREE_INPUTS], y[2];
    int n = 0;
    for (const char *c = hti_trees[row].pattern; *c; c++) n += *c >= 'a' && *c <= 'f';
    for (int i = 0; i < n; i++) {
        t[i] = ht_tensor_new(ctx, dtype, numbers >> i & 1 ? HT_SCALAR : shape);
        ht_tensor_uniform(t[i], (uint64_t)i, 1, 2);
        for (int k = 0; k < 2; k++) in[k][i] = ht_input(tape[k], t[i]);
    }
    for (int k = 0; k < 2; k++) {
        const char *at = hti_trees[row].pattern;
        y[k] = tree_of(&at, in[k]);
    }
    ht_program *p = ht_program_new(tape[0], n, in[0], 1, &y[0]);
    assert_non_null(p);
    assert_int_equal(p->n_groups, 1);
    if (numbers == hti_trees[row].numbers[0] || numbers == hti_trees[row].numbers[3]) {
        assert_int_equal(p->group[0].fused.n_steps, 1);
        assert_int_equal(p->group[0].fused.step[0].kind, HTI_LOOP_TREE);
        assert_int_equal(p->group[0].fused.step[0].function, row);
    }
    assert_int_equal(ht_program_run(p, (const ht_tensor *const *)t, &out), HT_OK);
    assert_memory_equal(ht_tensor_data(out), ht_tensor_data(ht_value(y[1])),
                        ht_tensor_bytes(out));
    ht_program_free(p);
    for (int k = 0; k < 2; k++) ht_tape_free(tape[k]);
    for (int i = 0; i < n; i++) ht_tensor_free(t[i]);
    ht_tensor_free(out);
    ht_context_free(ctx);
}

/* Every set of numbers that has a loop, and some that have none and are written out. */
static void every_tree_has_the_bits_of_its_ops(void **state)
{
    (void)state;
    for (int row = 0; row < HTI_N_TREE; row++)
        for (int k = 0; k < HTI_TREE_SETS && *hti_trees[row].pattern; k++) {
            check_tree(HT_F32, row, hti_trees[row].numbers[k]);
            check_tree(HT_F64, row, hti_trees[row].numbers[k]);
        }
    check_tree(HT_F32, HTI_TREE_scaled_step, 32);
    check_tree(HT_F32, HTI_TREE_scaled_step, 19);
    check_tree(HT_F64, HTI_TREE_mul_add_mul_mul, 4);
    check_tree(HT_F64, HTI_TREE_mul_add_mul, 9);
}

/* A row whose `loop` is not said runs alone, which only this notices: a cast of its value
 * must be the other step of one group, that runs with op after op's bits. */
static void check_row_fuses(ht_context *ctx, const ht_op *op)
{
    const ht_sample *sample = &op->samples[0];
    ht_tape *tape[] = {ht_tape_new(ctx, HT_RECORD), ht_tape_new(ctx, HT_EAGER)};
    ht_tensor *t[HT_OP_INPUTS], *out = ht_tensor_new(ctx, HT_F64, HT_SHAPE(700));
    ht_var in[2][HT_OP_INPUTS], y[2];
    for (int i = 0; i < sample->n_in; i++) {
        const ht_sample_input *is = &sample->in[i];
        t[i] = ht_tensor_new(ctx, is->dtype ? is->dtype : HT_F32, HT_SHAPE(700));
        for (int e = 0; e < 700; e++)
            ht_tensor_set(t[i], e,
                          is->dtype ? e % 2
                                    : is->low + (is->high - is->low) * (e + 0.5) / 700);
        for (int k = 0; k < 2; k++) in[k][i] = ht_input(tape[k], t[i]);
    }
    for (int k = 0; k < 2; k++)
        y[k] = ht_cast(ht_apply(op, sample->n_in, in[k], NULL, HT_HERE), HT_F64);
    ht_program *p = ht_program_new(tape[0], sample->n_in, in[0], 1, &y[0]);
    assert_non_null(p);
    if (p->n_groups != 1 || p->group[0].fused.n_steps != 2)
        fail_msg("%s does not fuse: say its .loop", op->name);
    assert_int_equal(p->group[0].fused.step[0].kind, op->loop.kind);
    assert_int_equal(p->group[0].fused.step[0].function, op->loop.function);
    assert_int_equal(ht_program_run(p, (const ht_tensor *const *)t, &out), HT_OK);
    if (memcmp(ht_tensor_data(out), ht_tensor_data(ht_value(y[1])), ht_tensor_bytes(out)))
        fail_msg("%s: fused, it has other bits", op->name);
    ht_program_free(p);
    for (int k = 0; k < 2; k++) ht_tape_free(tape[k]);
    for (int i = 0; i < sample->n_in; i++) ht_tensor_free(t[i]);
    ht_tensor_free(out);
}

static void every_elementwise_row_fuses(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    const ht_op *op;
    int checked = 0;
    for (int i = 0; (op = ht_op_at(i)); i++)
        if (op->flags & HT_OP_ELEMENTWISE) {
            check_row_fuses(ctx, op);
            checked++;
        }
    assert_int_equal(checked, HTI_N_UNARY + HTI_N_BINARY + HTI_N_COMPARE + 2);
    ht_context_free(ctx);
}

/* The sum reads w before it is overwritten, although both are elementwise over w: it may
 * not be moved behind the output, nor may what reads w turned around. */
static void fuse_never_moves_a_reader_behind_a_writer(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_RECORD);
    ht_tensor *w = ht_tensor_new(ctx, HT_F64, HT_SHAPE(20, 20));
    ht_tensor *other = ht_tensor_new(ctx, HT_F64, HT_SHAPE(20, 20));
    ht_tensor_uniform(w, 1, 1, 2);
    ht_var x = ht_input(tape, w);
    ht_var turned = ht_exp(ht_transpose(x)), early = ht_exp(x);
    ht_var updated = ht_mul(ht_add(x, turned), 0.5);
    ht_var late = ht_add(ht_softmax(updated), early);
    ht_program *p = ht_program_new(tape, 1, &x, 2, ((ht_var[]){updated, late}));
    double want = (ht_tensor_get(w, 21) + exp(ht_tensor_get(w, 21))) * 0.5;
    double corner = exp(ht_tensor_get(w, 399)), first = ht_tensor_get(w, 1),
           opposite = exp(ht_tensor_get(w, 20));
    assert_int_equal(
        ht_program_run(p, (const ht_tensor *[]){w}, (ht_tensor *[]){w, other}), HT_OK);
    assert_near(ht_tensor_get(w, 21), want, 1e-14);
    assert_near(ht_tensor_get(w, 1), (first + opposite) * 0.5, 1e-14);
    assert_true(ht_tensor_get(other, 399) >= corner);
    assert_true(ht_tensor_get(other, 399) <= corner + 1);
    ht_program_free(p);
    ht_tape_free(tape);
    ht_tensor_free(w);
    ht_tensor_free(other);
    ht_context_free(ctx);
}

/* w x is made with what it is added to, after w' is written: w' may not be where w is. */
static void products_inside_later_steps_keep_their_operands(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_RECORD);
    ht_tensor *t[3];
    ht_var in[2];
    for (int i = 0; i < 3; i++) t[i] = ht_tensor_new(ctx, HT_F32, HT_SHAPE(1000));
    for (int i = 0; i < 2; i++) {
        ht_tensor_uniform(t[i], (uint64_t)i, 1, 2);
        in[i] = ht_input(tape, t[i]);
    }
    ht_var product = ht_mul(in[0], in[1]), w = ht_tanh(in[0]);
    ht_var late = ht_add(product, w);
    ht_program *p = ht_program_new(tape, 2, in, 2, ((ht_var[]){w, late}));
    assert_int_equal(p->n_groups, 1);
    assert_int_equal(p->group[0].fused.n_steps, 2);
    assert_false(hti_program_may_share(p, 0, 0));
    assert_true(hti_program_may_share(p, 1, 0));
    double first = ht_tensor_get(t[0], 7),
           want = first * ht_tensor_get(t[1], 7) + tanh(first);
    assert_int_equal(
        ht_program_run(p, (const ht_tensor *const *)t, (ht_tensor *[]){t[2], t[0]}),
        HT_OK);
    assert_near(ht_tensor_get(t[0], 7), want, 1e-6);
    ht_program_free(p);
    ht_tape_free(tape);
    for (int i = 0; i < 3; i++) ht_tensor_free(t[i]);
    ht_context_free(ctx);
}

/* The step inside a group that first gave a NaN is named, not the group's last. */
static void watch_names_the_instruction_inside_a_group(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_RECORD);
    ht_tensor *t = ht_tensor_new(ctx, HT_F32, HT_SHAPE(3000));
    ht_tensor *out = ht_tensor_new(ctx, HT_F32, HT_SHAPE(3000));
    ht_tensor_fill(t, 1);
    ht_tensor_set(t, 2900, -1);
    ht_var x = ht_input(tape, t);
    ht_var y = ht_tanh(ht_mul(ht_log(ht_add(x, 0.5)), 2.0));
    ht_program *p = ht_program_new(tape, 1, &x, 1, &y);
    assert_int_equal(fuse_count(p), 3);
    p->watch = true;
    ht_program_run(p, (const ht_tensor *[]){t}, &out);
    assert_true(p->bad != HTI_NONE);
    assert_string_equal(p->value[p->bad].op->name, "log");
    ht_tensor_set(t, 2900, 1);
    ht_program_run(p, (const ht_tensor *[]){t}, &out);
    assert_int_equal(p->bad, HTI_NONE);
    ht_program_free(p);
    ht_tape_free(tape);
    ht_tensor_free(t);
    ht_tensor_free(out);
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_of_fused_programs_gives_the_bits_of_each_op_alone),
        cmocka_unit_test(passes_left_out_in_any_combination_give_the_same_bits),
        cmocka_unit_test(fuse_of_a_long_chain_makes_several_groups),
        cmocka_unit_test(run_of_a_fused_update_works_in_place),
        cmocka_unit_test(sums_join_what_they_add_up),
        cmocka_unit_test(every_tree_has_the_bits_of_its_ops),
        cmocka_unit_test(every_elementwise_row_fuses),
        cmocka_unit_test(fuse_never_moves_a_reader_behind_a_writer),
        cmocka_unit_test(products_inside_later_steps_keep_their_operands),
        cmocka_unit_test(watch_names_the_instruction_inside_a_group),
    };
    return TEST_MAIN(tests);
}
