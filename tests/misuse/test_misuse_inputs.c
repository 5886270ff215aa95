/* SPDX-License-Identifier: MIT */
/* test_misuse_inputs.c: every function that takes variables, given in each of its places
 * a number, HT_ZERO, a poisoned variable, one of another tape and one that is stale, and
 * called while memory runs out. It takes it, or it says that it does not: an error on the
 * context if a tape can be reached, else an assertion, either of which names the
 * function. A function of the headers that is not in the table fails the test.
 * Read next: misuse.h, autograd/apply.c (hti_needs). */
#include "ht_nn.h"
#include "misuse.h"
#include "ops.h"

/* What stands in a place: f64 unless it says otherwise. */
typedef enum kind {
    NONE,
    MATRIX,     /* (2, 3) */
    OTHER,      /* (3, 4) */
    VECTOR,     /* (3) */
    SCALAR,     /* () */
    ROWS,       /* (2) */
    CHANNEL,    /* (4) */
    OTHER_ROWS, /* (2, 4) */
    IMAGES,     /* (2, 4, 5, 5) */
    WEIGHT,     /* (6, 4, 2, 2) */
    SQUARE,     /* (2, 2) */
    INDEX,      /* i32 (2) */
    INDICES,    /* i32 (2, 3) */
    STEP,       /* i32 () */
    BYTES,      /* u8 (2, 3) */
    LOSS,       /* the sum of squares of what stands in other places */
    PENALTY,    /* of all of theta's */
    KINDS
} kind;

enum { PLACES = 4 };

typedef struct desk {
    misuse_heap heap;
    ht_context *ctx;
    ht_tape *tape, *other;
    ht_policy policy;
    ht_set *theta;
    ht_vars *vars;
    ht_program *square; /* of a (2, 3) */
    ht_tensor *tensor[KINDS];
    ht_var v[PLACES], out;
    int call;
} desk;

static desk d;

/* number: by place, y: a number is taken, n: refused. zero: the same of HT_ZERO. */
typedef struct call {
    const char *name, *number, *zero;
    kind in[PLACES];
    ht_var (*f)(void);
    const char *says; /* what messages call it; NULL: name */
    bool bound;       /* to the tape, by theta or as an argument */
    int policy;       /* 0: both, 1: eager only, 2: recorded only */
} call;

#define A d.v[0]
#define B d.v[1]
#define C d.v[2]
#define D d.v[3]

#define CALL(name, expression)      \
    static ht_var call_##name(void) \
    {                               \
        return expression;          \
    }
#define UNARY(name)  CALL(name, ht_##name(A))
#define BINARY(name) CALL(name, ht_##name(A, B))
UNARY(neg)
UNARY(exp)
UNARY(log)
UNARY(sqrt)
UNARY(tanh)
UNARY(sigmoid)
UNARY(relu)
UNARY(abs)
UNARY(square)
UNARY(log1p)
UNARY(expm1)
UNARY(softplus)
UNARY(rsqrt)
UNARY(reciprocal)
UNARY(sin)
UNARY(cos)
UNARY(erf)
UNARY(silu)
UNARY(gelu)
UNARY(gelu_tanh)
UNARY(stop_gradient)
UNARY(sum)
UNARY(mean)
UNARY(argmax)
UNARY(argmin)
UNARY(transpose)
UNARY(softmax)
UNARY(log_softmax)
BINARY(add)
BINARY(sub)
BINARY(mul)
BINARY(div)
BINARY(pow)
BINARY(maximum)
BINARY(minimum)
BINARY(equal)
BINARY(greater)
BINARY(greater_equal)
CALL(where, ht_where(A, B, C))
CALL(jacobian, ht_jacobian(A, B))
CALL(hessian, ht_hessian(A, B))
CALL(cast, ht_cast(A, HT_F32))
CALL(leaky_relu, ht_leaky_relu(A, 0.1))
CALL(clamp, ht_clamp(A, B, C))
CALL(project_box, ht_project_box(A, B, C))
BINARY(project_simplex)
BINARY(project_capped)
BINARY(project_l1)
BINARY(project_l2)
BINARY(soft_threshold)
BINARY(group_soft_threshold)
CALL(sum_axes, ht_sum_axes(A, HT_AXES(0), false))
CALL(mean_axes, ht_mean_axes(A, HT_AXES(0), false))
CALL(max_axes, ht_max_axes(A, HT_AXES(0), false))
CALL(min_axes, ht_min_axes(A, HT_AXES(0), false))
CALL(logsumexp_axes, ht_logsumexp_axes(A, HT_AXES(0), false))
CALL(variance_axes, ht_variance_axes(A, HT_AXES(0), false, 1))
CALL(norm_axes, ht_norm_axes(A, HT_AXES(0), false))
CALL(cumsum, ht_cumsum(A, 0))
CALL(reshape, ht_reshape(A, HT_SHAPE(3, 2)))
CALL(permute, ht_permute(A, HT_AXES(1, 0)))
CALL(broadcast, ht_broadcast(A, HT_SHAPE(5, 2, 3)))
CALL(slice, ht_slice(A, 1, 0, 2, 1))
CALL(pad, ht_pad(A, 1, 1, 1))
CALL(concat, ht_concat(3, d.v, 0))
CALL(stack, ht_stack(3, d.v, 0))
CALL(flip, ht_flip(A, 1))
CALL(gather, ht_gather(A, B))
CALL(scatter_add, ht_scatter_add(A, B, C))
CALL(one_hot, ht_one_hot(A, 3, HT_F32))
CALL(matmul, ht_matmul(A, B))
CALL(cross_entropy, ht_cross_entropy(A, B))
CALL(conv2d, ht_conv2d(A, B, (ht_conv_options){{1, 1}, {0, 0}, {1, 1}, 1}))
CALL(max_pool2d, ht_max_pool2d(A, (ht_pool_options){{2, 2}, {1, 1}, {0, 0}}))
CALL(avg_pool2d, ht_avg_pool2d(A, (ht_pool_options){{2, 2}, {1, 1}, {0, 0}}))
CALL(global_avg_pool2d, ht_global_avg_pool2d(A))
CALL(take_last, ht_take_last(A, B))
CALL(layernorm, ht_layernorm(A, B, C, 1e-5))
CALL(rmsnorm, ht_rmsnorm(A, B, 1e-5))
CALL(groupnorm, ht_groupnorm(A, 2, B, C, 1e-5))
CALL(batchnorm, ht_batchnorm(A, B, C, 1e-5))
CALL(batchnorm_given, ht_batchnorm_given(A, B, C, 1e-5))
CALL(tril, ht_tril(A, 0, 0))
CALL(attention, ht_attention(A, B, C, D, false))
CALL(heads, ht_attention(A, B, C, D, true))
#define F64_TYPE ((ht_type){HT_F64, HT_SHAPE(2, 3)})
CALL(uniform, ht_uniform(A, F64_TYPE, 1))
CALL(normal, ht_normal(A, F64_TYPE, 1))
CALL(dropout_mask, ht_dropout_mask(A, F64_TYPE, 0.5, 1))
CALL(dropout, ht_dropout(A, 0.5, 1, B))

CALL(cross_entropy_smoothed, ht_cross_entropy_smoothed(A, B, C))
CALL(binary_cross_entropy, ht_binary_cross_entropy(A, B))
CALL(squared_error, ht_squared_error(A, B))
CALL(huber, ht_huber(A, B, C))
CALL(kl_divergence, ht_kl_divergence(A, B))
CALL(weighted_mean, ht_weighted_mean(A, B))

CALL(translate, ht_translate(A, B, C))
CALL(random_shift, ht_random_shift(A, B, 1, C))
CALL(random_flip, ht_random_flip(A, 0.5, 1, B))
CALL(random_cutout, ht_random_cutout(A, B, 1, C))
CALL(random_brightness, ht_random_brightness(A, B, 1, C))
CALL(random_contrast, ht_random_contrast(A, B, 1, C))
CALL(random_colour, ht_random_colour(A, B, 1, C))

static ht_var call_mixup(void)
{
    ht_var x = A, labels = B;
    ht_mixup(&x, &labels, C, 1, D);
    return x;
}

CALL(linear, ht_linear(A, d.vars, "linear"))
CALL(conv2d_layer,
     ht_conv2d_layer(A, d.vars, "conv", ((ht_conv_options){{1, 1}, {0, 0}, {1, 1}, 1})))
CALL(embedding, ht_embedding(A, d.vars, "rows"))
CALL(dropout_layer, ht_dropout_layer(A, d.vars, "drop", 0.5))
CALL(layernorm_layer, ht_layernorm_layer(A, d.vars, "norm", 1e-5))
CALL(rmsnorm_layer, ht_rmsnorm_layer(A, d.vars, "norm", 1e-5))
CALL(groupnorm_layer, ht_groupnorm_layer(A, d.vars, "four", 2, 1e-5))
CALL(batchnorm_layer, ht_batchnorm_layer(A, d.vars, "four", 1e-5))
CALL(batchnorm_given_layer, ht_batchnorm_given_layer(A, d.vars, d.vars, "four", 1e-5))
CALL(multi_head_attention, ht_multi_head_attention(A, B, d.vars, "heads",
                                                   (&(ht_heads){.heads = 1, .mask = &C})))
CALL(transformer_block,
     ht_transformer_block(A, d.vars, "block",
                          (&(ht_transformer_options){.attention = {.heads = 1},
                                                     .eps = 1e-5})))
CALL(gru_cell, ht_gru_cell(A, B, d.vars, "gru"))

static ht_var call_batch_statistics(void)
{
    ht_var mean, variance;
    ht_batch_statistics(A, &mean, &variance);
    return variance;
}

static ht_var call_batchnorm_track(void)
{
    ht_batchnorm_track(A, d.vars, "four", 0.1);
    return ht_get(d.vars, "four.mean");
}

static ht_var call_lstm_cell(void)
{
    ht_var h = B, c = C;
    ht_lstm_cell(A, &h, &c, d.vars, "lstm");
    return h;
}

static ht_var call_vars_set(void)
{
    ht_vars_set(d.vars, "norm.gain", A);
    return ht_get(d.vars, "norm.gain");
}

static ht_var call_vars_grad(void)
{
    ht_var gradient[64];
    assert_true(ht_vars_count(d.vars) <= 64);
    ht_vars_grad(A, d.vars, gradient);
    return gradient[0];
}

static ht_var call_grad(void)
{
    ht_var dx[2];
    ht_grad(A, 2, &B, dx);
    return dx[1];
}

static ht_var call_grad_or_zero(void)
{
    ht_var dx[2];
    ht_grad_or_zero(A, 2, &B, dx);
    return dx[1];
}

static ht_var call_vjp(void)
{
    ht_var dx;
    ht_vjp(1, &A, &B, 1, &C, &dx);
    return dx;
}

static ht_var call_jvp(void)
{
    ht_var dy;
    ht_jvp(1, &A, &B, 1, &C, &dy);
    return dy;
}

static ht_var call_hvp(void)
{
    ht_var hv;
    ht_hvp(A, 1, &B, &C, &hv);
    return hv;
}

static ht_var call_program_new(void)
{
    ht_program *p = ht_program_new(d.tape, 1, &A, 1, &B);
    if (!p) return hti_poison(d.tape);
    ht_program_free(p);
    return A;
}

static ht_var call_call(void)
{
    ht_var out;
    ht_call(d.tape, d.square, &A, &out);
    return out;
}

static ht_var call_value(void)
{
    ht_value(A);
    return A;
}

static ht_var call_item(void)
{
    ht_item(A);
    return A;
}

static ht_var call_print(void)
{
    FILE *f = fopen("/dev/null", "w");
    ht_print(A, f ? f : stdout);
    if (f) fclose(f);
    return A;
}

static ht_var call_var_shape(void)
{
    ht_var_shape(A);
    return A;
}

static ht_var call_var_dtype(void)
{
    ht_var_dtype(A);
    return A;
}

CALL(rate_constant, ht_rate_constant(A, &(ht_rate){0}))
CALL(rate_step, ht_rate_step(A, &(ht_rate){.every = 2, .factor = 0.5}))
CALL(rate_cosine, ht_rate_cosine(A, &(ht_rate){.steps = 10}))
CALL(rate_one_cycle,
     ht_rate_one_cycle(A, &(ht_rate){.start = 0.1, .steps = 10, .rise = 0.3}))

#define ROW(name, number, zero, ...)                                     \
    {                                                                    \
#name, number, zero, {__VA_ARGS__ }, call_##name, NULL, false, 0 \
    }
#define BOUND(name, says, number, zero, ...)                            \
    {                                                                   \
#name, number, zero, {__VA_ARGS__ }, call_##name, says, true, 0 \
    }
#define LOOKS(name, policy)                                          \
    {                                                                \
#name, "n", "n", {SCALAR }, call_##name, NULL, false, policy \
    }
#define ONE(name)        ROW(name, "n", "n", MATRIX),
#define ONE_ABSENT(name) ROW(name, "n", "y", MATRIX),
#define TWO(name, zero)  ROW(name, "yy", zero, MATRIX, MATRIX)

static const call calls[] = {
    /* f(0) = 0: absent stays absent */
    ONE_ABSENT(neg) ONE(exp) ONE(log) ONE(sqrt) ONE(tanh) ONE(sigmoid) ONE(relu) ONE(abs)
        ONE_ABSENT(square) ONE(log1p) ONE(expm1) ONE(softplus) ONE(rsqrt) ONE(reciprocal)
            ONE(sin) ONE(cos) ONE(erf) ONE(silu) ONE(gelu) ONE(gelu_tanh)
                ONE(stop_gradient) ONE_ABSENT(sum) ONE_ABSENT(mean) ONE(argmax)
                    ONE(argmin) ONE_ABSENT(transpose) ONE(softmax) ONE(log_softmax)
                        TWO(add, "yy"),
    TWO(sub, "yy"),
    TWO(mul, "yy"),
    TWO(div, "yn"),
    TWO(pow, "nn"),
    TWO(maximum, "nn"),
    TWO(minimum, "nn"),
    TWO(equal, "nn"),
    TWO(greater, "nn"),
    TWO(greater_equal, "nn"),
    ROW(where, "nyy", "nyy", BYTES, MATRIX, MATRIX),
    ONE_ABSENT(cast) ONE_ABSENT(leaky_relu)
        ROW(clamp, "nyy", "nyy", MATRIX, SCALAR, SCALAR),
    ROW(project_box, "nyy", "nyy", MATRIX, SCALAR, SCALAR),
    ROW(project_simplex, "ny", "ny", MATRIX, SCALAR),
    ROW(project_capped, "ny", "ny", MATRIX, SCALAR),
    ROW(project_l1, "ny", "ny", MATRIX, SCALAR),
    ROW(project_l2, "ny", "ny", MATRIX, SCALAR),
    ROW(soft_threshold, "ny", "ny", MATRIX, SCALAR),
    ROW(group_soft_threshold, "ny", "ny", MATRIX, SCALAR),
    ONE_ABSENT(sum_axes) ONE_ABSENT(mean_axes) ONE_ABSENT(max_axes) ONE_ABSENT(min_axes)
        ONE(logsumexp_axes) ONE_ABSENT(variance_axes) ONE_ABSENT(norm_axes)
            ONE_ABSENT(cumsum) ONE_ABSENT(reshape) ONE_ABSENT(permute)
                ONE_ABSENT(broadcast) ONE_ABSENT(slice) ONE_ABSENT(pad) ONE_ABSENT(flip)
                    ROW(concat, "nnn", "nnn", MATRIX, MATRIX, MATRIX),
    ROW(stack, "nnn", "nnn", MATRIX, MATRIX, MATRIX),
    ROW(gather, "nn", "yn", MATRIX, INDEX),
    ROW(scatter_add, "nnn", "nny", MATRIX, INDEX, MATRIX),
    ROW(one_hot, "n", "n", INDEX),
    ROW(matmul, "nn", "yy", MATRIX, OTHER),
    ROW(cross_entropy, "nn", "nn", MATRIX, INDEX),
    ROW(conv2d, "nn", "yy", IMAGES, WEIGHT),
    ROW(max_pool2d, "n", "y", IMAGES),
    ROW(avg_pool2d, "n", "y", IMAGES),
    ROW(global_avg_pool2d, "n", "y", IMAGES),
    ROW(take_last, "nn", "yn", MATRIX, INDICES),
    ROW(layernorm, "nyy", "nyy", MATRIX, VECTOR, VECTOR),
    ROW(rmsnorm, "ny", "ny", MATRIX, VECTOR),
    ROW(groupnorm, "nyy", "nyy", IMAGES, CHANNEL, CHANNEL),
    ROW(batchnorm, "nyy", "nyy", IMAGES, CHANNEL, CHANNEL),
    ROW(batchnorm_given, "nnn", "nnn", IMAGES, CHANNEL, CHANNEL),
    ROW(batch_statistics, "n", "n", IMAGES),
    ONE_ABSENT(tril) ROW(attention, "nnny", "nnny", MATRIX, MATRIX, MATRIX, ROWS),
    {"heads",
     "nnny",
     "nnny",
     {WEIGHT, SQUARE, SQUARE, SQUARE},
     call_heads,
     "attention",
     false,
     0},
    ROW(uniform, "n", "n", STEP),
    ROW(normal, "n", "n", STEP),
    ROW(dropout_mask, "n", "n", STEP),
    ROW(dropout, "nn", "yn", MATRIX, STEP),
    /* ht_losses.h */
    ROW(cross_entropy_smoothed, "nny", "nnn", MATRIX, INDEX, SCALAR),
    ROW(binary_cross_entropy, "ny", "nn", MATRIX, MATRIX),
    ROW(squared_error, "ny", "nn", MATRIX, MATRIX),
    ROW(huber, "nyy", "nnn", MATRIX, MATRIX, SCALAR),
    ROW(kl_divergence, "ny", "nn", MATRIX, MATRIX),
    ROW(weighted_mean, "ny", "nn", ROWS, ROWS),
    /* ht_augment.h */
    ROW(translate, "nyy", "nnn", IMAGES, SCALAR, SCALAR),
    ROW(random_shift, "nyn", "nnn", IMAGES, SCALAR, STEP),
    ROW(random_flip, "nn", "nn", IMAGES, STEP),
    ROW(random_cutout, "nyn", "nnn", IMAGES, SCALAR, STEP),
    ROW(random_brightness, "nyn", "nnn", IMAGES, SCALAR, STEP),
    ROW(random_contrast, "nyn", "nnn", IMAGES, SCALAR, STEP),
    ROW(random_colour, "nyn", "nnn", IMAGES, SCALAR, STEP),
    ROW(mixup, "nnyn", "nnnn", MATRIX, MATRIX, SCALAR, STEP),
    /* ht_nn.h */
    BOUND(linear, NULL, "n", "n", MATRIX),
    BOUND(conv2d_layer, "conv2d", "n", "n", IMAGES),
    BOUND(embedding, NULL, "n", "n", INDEX),
    BOUND(dropout_layer, "dropout", "n", "n", MATRIX),
    BOUND(layernorm_layer, "layernorm", "n", "n", MATRIX),
    BOUND(rmsnorm_layer, "rmsnorm", "n", "n", MATRIX),
    BOUND(groupnorm_layer, "groupnorm", "n", "n", IMAGES),
    BOUND(batchnorm_layer, "batchnorm", "n", "n", IMAGES),
    BOUND(batchnorm_given_layer, "batchnorm_given", "n", "n", IMAGES),
    BOUND(batchnorm_track, NULL, "n", "n", IMAGES),
    BOUND(multi_head_attention, NULL, "nny", "nny", MATRIX, MATRIX, ROWS),
    BOUND(transformer_block, NULL, "n", "n", MATRIX),
    BOUND(gru_cell, NULL, "nn", "nn", MATRIX, OTHER_ROWS),
    BOUND(lstm_cell, NULL, "nnn", "nnn", MATRIX, OTHER_ROWS, OTHER_ROWS),
    BOUND(vars_set, "ht_vars_set", "n", "n", VECTOR),
    BOUND(vars_grad, "grad", "n", "n", PENALTY),
    LOOKS(rate_constant, 0),
    LOOKS(rate_step, 0),
    LOOKS(rate_cosine, 0),
    LOOKS(rate_one_cycle, 0),
    /* ht_autograd.h */
    ROW(grad, "nnn", "nnn", LOSS, MATRIX, MATRIX),
    ROW(grad_or_zero, "nnn", "nnn", LOSS, MATRIX, MATRIX),
    ROW(vjp, "nyn", "yyn", LOSS, SCALAR, MATRIX),
    ROW(jvp, "nyn", "nyn", MATRIX, MATRIX, LOSS),
    ROW(hvp, "nny", "nny", LOSS, MATRIX, MATRIX),
    ROW(jacobian, "nn", "nn", LOSS, MATRIX),
    ROW(hessian, "nn", "nn", LOSS, MATRIX),
    {"program_new", "nn", "nn", {MATRIX, LOSS}, call_program_new, "program", true, 2},
    BOUND(call, NULL, "n", "n", MATRIX),
    LOOKS(value, 1),
    LOOKS(item, 1),
    LOOKS(print, 0),
    LOOKS(var_shape, 0),
    LOOKS(var_dtype, 0),
};
enum { CALLS = sizeof calls / sizeof *calls };

/* The desk: a context, two tapes, parameters. */

static ht_type kind_type(kind k)
{
    static const ht_type types[KINDS] = {
        [MATRIX] = {HT_F64, {2, {2, 3}}},
        [OTHER] = {HT_F64, {2, {3, 4}}},
        [VECTOR] = {HT_F64, {1, {3}}},
        [SCALAR] = {HT_F64, {0, {0}}},
        [ROWS] = {HT_F64, {1, {2}}},
        [CHANNEL] = {HT_F64, {1, {4}}},
        [OTHER_ROWS] = {HT_F64, {2, {2, 4}}},
        [IMAGES] = {HT_F64, {4, {2, 4, 5, 5}}},
        [WEIGHT] = {HT_F64, {4, {6, 4, 2, 2}}},
        [SQUARE] = {HT_F64, {2, {2, 2}}},
        [INDEX] = {HT_I32, {1, {2}}},
        [INDICES] = {HT_I32, {2, {2, 3}}},
        [STEP] = {HT_I32, {0, {0}}},
        [BYTES] = {HT_U8, {2, {2, 3}}},
        [LOSS] = {HT_F64, {0, {0}}},
        [PENALTY] = {HT_F64, {0, {0}}},
    };
    return types[k];
}

static ht_var leaf(ht_tape *tape, kind k)
{
    if (d.policy == HT_RECORD) return ht_input_like(tape, kind_type(k));
    return ht_input(tape, d.tensor[k]);
}

static void parameters(void)
{
    ht_set *s = d.theta = ht_set_new(d.ctx);
    ht_linear_init(s, "linear", HT_F64, 3, 4);
    ht_conv2d_init(s, "conv", HT_F64, HT_SHAPE(6, 4, 2, 2));
    ht_embedding_init(s, "rows", HT_F64, 5, 3);
    ht_norm_init(s, "norm", HT_F64, 3);
    ht_norm_init(s, "four", HT_F64, 4);
    ht_batchnorm_running_init(s, "four", HT_F64, 4);
    ht_multi_head_attention_init(s, "heads", HT_F64, 3);
    ht_transformer_block_init(s, "block", HT_F64, 3, 4);
    ht_gru_cell_init(s, "gru", HT_F64, 3, 4);
    ht_lstm_cell_init(s, "lstm", HT_F64, 3, 4);
}

static void desk_open(ht_policy policy)
{
    memset(&d, 0, sizeof d);
    misuse_heap_init(&d.heap);
    d.policy = policy;
    d.ctx = ht_context_new(
        &(ht_context_options){.alloc = misuse_alloc, .user = &d.heap, .threads = 1});
    d.tape = ht_tape_new(d.ctx, policy);
    d.other = ht_tape_new(d.ctx, policy);
    for (int k = NONE + 1; k < KINDS; k++) {
        ht_type type = kind_type((kind)k);
        d.tensor[k] = ht_tensor_new(d.ctx, type.dtype, type.shape);
        ht_tensor_fill(d.tensor[k], type.dtype <= HT_F64 ? 0.5 : 1);
    }
    parameters();
    d.vars = ht_vars_input(d.tape, d.theta, 0);
    ht_tape *tape = ht_tape_new(d.ctx, HT_RECORD);
    ht_var x = ht_input_like(tape, kind_type(MATRIX)), y = ht_square(x);
    d.square = ht_program_new(tape, 1, &x, 1, &y);
    ht_tape_free(tape);
    assert_string_equal(ht_context_message(d.ctx), "");
}

/* Everything, whatever was left half done. */
static void desk_close(void)
{
    misuse_heap_drop(&d.heap);
}

static int places(const call *c)
{
    int n = 0;
    while (n < PLACES && c->in[n]) n++;
    return n;
}

/* What the function is made to be called with. */
static void lay(const call *c)
{
    int n = places(c);
    ht_var loss = HT_ZERO;
    bool sums = false;
    for (int i = 0; i < n; i++) sums = sums || c->in[i] == LOSS;
    for (int i = 0; i < n; i++) {
        if (c->in[i] == LOSS || c->in[i] == PENALTY) continue;
        d.v[i] = leaf(d.tape, c->in[i]);
        if (sums) loss = ht_add(loss, ht_sum(ht_square(d.v[i])));
    }
    for (int i = 0; i < n; i++) {
        if (c->in[i] == LOSS) d.v[i] = loss;
        if (c->in[i] == PENALTY) d.v[i] = ht_l2(d.vars, NULL);
    }
}

static void run(void *data)
{
    const call *c = data;
    d.out = c->f();
}

/* What came of it. */
typedef enum outcome { TAKEN, FAILED, ABORTED } outcome;

static outcome outcome_of(const call *c)
{
    d.out = HT_ZERO;
    if (misuse_aborts(run, (void *)(uintptr_t)c)) return ABORTED;
    return ht_context_status(d.ctx) == HT_OK ? TAKEN : FAILED;
}

static const char *said(outcome o)
{
    return o == TAKEN ? "taken" : o == FAILED ? ht_context_message(d.ctx) : misuse_text;
}

static int tried, bad;
static uint32_t used; /* nodes, by the last call */

static void expect(bool right, const call *c, int place, const char *what, outcome got,
                   const char *want)
{
    tried++;
    if (right) return;
    bad++;
    print_error("ht_%s, %s, %s in place %d: wanted %s, got: %s\n", c->name,
                d.policy == HT_EAGER ? "eager" : "recorded", what, place, want,
                said(got));
}

static bool named(const call *c, outcome o)
{
    return strstr(said(o), c->says ? c->says : c->name) != NULL;
}

/* A number or HT_ZERO, taken or not. */
static void try_value(const call *c, int place, ht_var value, const char *what,
                      char takes)
{
    desk_open(d.policy);
    lay(c);
    d.v[place] = value;
    bool reach = c->bound;
    for (int i = 0; i < places(c); i++) reach = reach || i != place;
    outcome got = outcome_of(c);
    if (takes == 'y')
        expect(got == TAKEN, c, place, what, got, "taken");
    else
        expect(got != TAKEN && named(c, got), c, place, what, got,
               "refused with the name");
    if (takes == 'n' && hti_is_number(value) && reach)
        expect(got == FAILED, c, place, what, got, "an error: there is a tape");
    desk_close();
}

static void try_poison(const call *c, int place, bool cleared)
{
    desk_open(d.policy);
    ht_var a = leaf(d.tape, OTHER), poison;
    lay(c);
    poison = ht_matmul(a, a);
    assert_int_equal(ht_context_status(d.ctx), HT_ERROR_SHAPE);
    if (cleared) ht_context_clear(d.ctx);
    d.v[place] = poison;
    outcome got = outcome_of(c);
    expect(got != ABORTED, c, place, "a poisoned variable", got, "no assertion");
    if (!cleared)
        expect(strstr(ht_context_message(d.ctx), "matmul") != NULL, c, place,
               "a poisoned variable", got, "the first error kept");
    desk_close();
}

static void try_other(const call *c, int place)
{
    desk_open(d.policy);
    lay(c);
    ht_var own = d.v[place];
    kind k = c->in[place] == PENALTY ? SCALAR : c->in[place];
    d.v[place] = leaf(d.other, k);
    outcome got = outcome_of(c);
    if (places(c) == 1 && !c->bound)
        expect(got == TAKEN, c, place, "another tape", got, "taken");
    else
        expect(got == ABORTED && named(c, got) && strstr(misuse_text, "another tape"), c,
               place, "another tape", got, "an assertion with the name");
    (void)own;
    desk_close();
}

static void try_stale(const call *c, int place, bool past)
{
    desk_open(d.policy);
    ht_mark mark = ht_tape_mark(d.tape);
    if (past) lay(c);
    if (past) mark = ht_tape_mark(d.tape);
    kind k = c->in[place] == PENALTY ? SCALAR : c->in[place];
    ht_var stale = leaf(d.tape, k);
    ht_tape_rewind(d.tape, mark);
    if (!past) lay(c);
    d.v[place] = stale;
    outcome got = outcome_of(c);
    expect(got == ABORTED && named(c, got) && strstr(misuse_text, "stale"), c, place,
           "a stale variable", got, "an assertion with the name");
    desk_close();
}

/* The n-th request of the call for memory fails, and those after it do not, on a tape
 * with room for so many nodes. Whether one has failed. */
static bool try_request(const call *c, int n, uint32_t room)
{
    desk_open(d.policy);
    lay(c);
    for (int i = 0; d.tape->capacity - d.tape->n != room; i++) ht_constant(d.tape, i);
    uint32_t before = d.tape->n;
    d.heap.until_failure = n;
    outcome got = outcome_of(c);
    bool failed = d.heap.failed;
    expect(got != ABORTED, c, -1, "no memory", got, "no assertion");
    expect((got == TAKEN) != failed, c, -1, "no memory", got, "an error of it");
    used = d.tape->n - before;
    desk_close();
    return failed;
}

/* What goes on from a value that could not be made meets a poisoned variable in the midst
 * of it: each value may be that one, as the tape grows before it. */
static void try_memory(const call *c)
{
    for (int n = 1; try_request(c, n, 64); n++) continue;
    for (uint32_t room = used; room-- > 0;) try_request(c, 1, room);
}

static void try_all(const call *c)
{
    desk_open(d.policy);
    lay(c);
    outcome got = outcome_of(c);
    expect(got == TAKEN, c, -1, "nothing wrong", got, "taken");
    desk_close();
    try_memory(c);
    assert_int_equal(strlen(c->number), places(c));
    assert_int_equal(strlen(c->zero), places(c));
    for (int i = 0; i < places(c); i++) {
        /* The second has the bits of node 1 and stamp 0. */
        try_value(c, i, ht_number(1), "the number 1", c->number[i]);
        try_value(c, i, ht_number(0x1p-1074), "the least number", c->number[i]);
        try_value(c, i, HT_ZERO, "HT_ZERO", c->zero[i]);
        try_value(c, i, (ht_var){0}, "a variable never set", 'n');
        try_poison(c, i, false);
        try_poison(c, i, true);
        try_other(c, i);
        try_stale(c, i, false);
        try_stale(c, i, true);
    }
}

static void every_function_takes_or_refuses_every_input(void **state)
{
    (void)state;
    for (int k = 0; k < CALLS; k++)
        for (int policy = HT_EAGER; policy <= HT_RECORD; policy++) {
            if (calls[k].policy && calls[k].policy != policy + 1) continue;
            d.policy = (ht_policy)policy;
            try_all(&calls[k]);
        }
    printf("# %d functions, %d tries\n", (int)CALLS, tried);
    assert_int_equal(bad, 0);
}

/* Functions of the headers that take no variable of the caller's. */
static const char *const without[] = {"same",     "is_zero", "input", "input_like",
                                      "constant", "number",  "apply", "op_at",
                                      "l1",       "l2",      NULL};

static int seen;

static void check_in_table(const char *name)
{
    size_t n = strlen(name);
    if (n > 3 && !strcmp(name + n - 3, "_at")) return; /* behind a macro */
    seen++;
    for (int k = 0; k < CALLS; k++)
        if (!strcmp(calls[k].name, name + 3)) return;
    for (int k = 0; without[k]; k++)
        if (!strcmp(without[k], name + 3)) return;
    fail_msg("%s is not in the table", name);
}

static void every_function_of_the_headers_is_in_the_table(void **state)
{
    (void)state;
    misuse_functions("autograd/ht_ops.h", check_in_table);
    misuse_functions("nn/ht_losses.h", check_in_table);
    misuse_functions("nn/ht_augment.h", check_in_table);
    printf("# %d functions\n", seen);
    assert_true(seen >= 88);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_function_takes_or_refuses_every_input),
        cmocka_unit_test(every_function_of_the_headers_is_in_the_table),
    };
    return TEST_MAIN(tests);
}
