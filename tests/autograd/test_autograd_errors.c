/* SPDX-License-Identifier: MIT */
/* test_autograd_errors.c: every mistake an op can be called with, and what is said about
 * it: status, the name of the function as called, the shapes or numbers at hand, the
 * rule, and the caller's line. Of every row of the table and every function of ht_ops.h
 * there is one, or it is in `harmless`, with the reason. Read next: autograd/apply.c,
 * "Errors". */
#include "ops.h"
#include "test.h"

typedef struct desk {
    ht_context *ctx;
    ht_tape *tape, *eager;
    ht_var f, i, u, f32; /* (2, 3) of f64, i32, u8, f32 */
    ht_var v, s, step;   /* f64 (3) and 0-d; i32 0-d */
    int messages, line;  /* of the mistake before */
    bool covered[128];
    char called[512][24]; /* whose mistake each was */
} desk;

static desk *d;

static ht_var of(ht_dtype dtype, ht_shape shape)
{
    return ht_input_like(d->tape, (ht_type){dtype, shape});
}
#define F64(...) of(HT_F64, HT_SHAPE(__VA_ARGS__))
#define I32(...) of(HT_I32, HT_SHAPE(__VA_ARGS__))

static void cover(const ht_op *op)
{
    for (int k = 0; ht_op_at(k); k++) d->covered[k] |= ht_op_at(k) == op;
}

/* The function's name in "ht_name(...", which messages begin with; of ht_apply the row's.
 */
static const char *function_of(const ht_op *op, const char *call)
{
    char *name = d->called[d->messages];
    call += strspn(call, "(");
    if (sscanf(call, "ht_%23[a-z0-9_](", name) != 1) fail_msg("%s: no call", call);
    if (!strcmp(name, "apply")) snprintf(name, sizeof *d->called, "%s", op->name);
    return name;
}

/* parts: what the message must contain, after the name of the function called. Its line
 * is that of the call: after the mistake before, up to `line` (compilers differ in which
 * line of a long macro call they count). */
static void check_refused(const ht_op *op, ht_status status, const char *call,
                          const char *const *parts, int line)
{
    static const char file[] = "test_autograd_errors.c:";
    const char *message = ht_context_message(d->ctx), *at = strstr(message, file);
    if (ht_context_status(d->ctx) != status)
        fail_msg("line %d: status %d, not %d: %s", line, (int)ht_context_status(d->ctx),
                 (int)status, message);
    int said = at ? atoi(at + strlen(file)) : 0;
    if (said < d->line || said > line)
        fail_msg("\"%s\" does not say line %d .. %d", message, d->line, line);
    d->line = line;
    const char *name = function_of(op, call);
    size_t n = strlen(name);
    if (strncmp(message, name, n) || strncmp(message + n, ": ", 2))
        fail_msg("\"%s\" does not begin with \"%s: \"", message, name);
    assert_int_equal(d->tape->calls + d->eager->calls, 0);
    for (int k = 0; parts[k]; k++) assert_contains(message, parts[k]);
    cover(op);
    d->messages++;
    ht_context_clear(d->ctx);
}

/* `call` is refused with a message of these parts: rule, shapes. */
#define REFUSED(row, status, call, ...)                                    \
    do {                                                                   \
        (void)(call);                                                      \
        check_refused(&hti_op_##row, HT_ERROR_##status, #call,             \
                      (const char *const[]){__VA_ARGS__, NULL}, __LINE__); \
    } while (0)

static int desk_new(void **state)
{
    d = calloc(1, sizeof *d);
    *state = d;
    d->ctx = ht_context_new(&(ht_context_options){.threads = 1});
    d->tape = ht_tape_new(d->ctx, HT_RECORD);
    d->eager = ht_tape_new(d->ctx, HT_EAGER);
    d->f = F64(2, 3);
    d->i = I32(2, 3);
    d->u = of(HT_U8, HT_SHAPE(2, 3));
    d->f32 = of(HT_F32, HT_SHAPE(2, 3));
    d->v = F64(3);
    d->s = of(HT_F64, HT_SCALAR);
    d->step = of(HT_I32, HT_SCALAR);
    return 0;
}

static int desk_free(void **state)
{
    (void)state;
    ht_tape_free(d->tape);
    ht_tape_free(d->eager);
    ht_context_free(d->ctx);
    free(d);
    return 0;
}

/* Elementwise. */

static void elementwise_of_integers_is_refused(void)
{
#define ONE(op) REFUSED(op, DTYPE, ht_##op(d->i), "needs f32 or f64", "i32 (2, 3)");
#define EACH(x)                                                                      \
    x(neg) x(exp) x(log) x(sqrt) x(tanh) x(sigmoid) x(relu) x(abs) x(log1p) x(expm1) \
        x(rsqrt) x(sin) x(cos) x(erf) x(softplus) x(gelu) x(silu) x(gelu_tanh)
    EACH(ONE)
#define INNER(op)                                                       \
    REFUSED(op, DTYPE, ht_apply(&hti_op_##op, 1, &d->i, NULL, HT_HERE), \
            "needs f32 or f64", "i32 (2, 3)");
#define EACH_INNER(x)                                                     \
    x(gelu_slope) x(density) x(sigmoid_slope) x(tanh_slope) x(silu_slope) \
        x(gelu_tanh_slope) x(erf_slope)
    EACH_INNER(INNER)
}

static void elementwise_of_two_that_do_not_fit_is_refused(void)
{
#define TWO(op)                                                          \
    REFUSED(op, SHAPE, ht_##op(d->f, F64(4)), "shapes do not broadcast", \
            "counted from the last axis", "f64 (2, 3), f64 (4)");        \
    REFUSED(op, DTYPE, ht_##op(d->f, d->f32), "element types differ",    \
            "f64 (2, 3), f32 (2, 3)", "ht_cast")
#define MATHS(op, rule) \
    TWO(op);            \
    REFUSED(op, DTYPE, ht_##op(d->u, d->u), rule, "u8 (2, 3), u8 (2, 3)")
    MATHS(add, "needs f32, f64 or i32");
    MATHS(sub, "needs f32, f64 or i32");
    MATHS(mul, "needs f32, f64 or i32");
    MATHS(maximum, "needs f32, f64 or i32");
    MATHS(minimum, "needs f32, f64 or i32");
    MATHS(div, "needs f32 or f64");
    MATHS(pow, "needs f32 or f64");
    TWO(equal);
    TWO(greater);
    TWO(greater_equal);
    REFUSED(mul, DTYPE, ht_mul(d->i, 0.5), "the number 0.5", "i32",
            "ht_cast the partner");
    REFUSED(where, DTYPE, ht_where(d->f, d->f, d->f), "the condition must be u8",
            "f64 (2, 3)");
    REFUSED(where, DTYPE, ht_where(d->u, d->f, d->f32),
            "the branches' element types differ", "f32 (2, 3)");
    REFUSED(where, SHAPE, ht_where(d->u, d->f, F64(4)), "shapes do not broadcast",
            "f64 (4)");
    ht_var none = ht_broadcast(ht_constant(d->tape, 0), HT_SHAPE(2, 3));
    REFUSED(add, DTYPE, ht_add(ht_scatter_add(none, I32(2), d->f), d->f32),
            "element types differ", "f64 (2, 3), f32 (2, 3)");
    REFUSED(neg, DTYPE, ht_sub(HT_ZERO, d->i), "needs f32 or f64", "i32 (2, 3)");
    REFUSED(where, SHAPE, ht_where(d->u, F64(4), 0), "shapes do not broadcast",
            "u8 (2, 3), f64 (4)");
}

static void composed_elementwise_of_other_types_or_shapes_is_refused(void)
{
    REFUSED(mul, DTYPE, ht_square(d->u), "needs f32, f64 or i32", "u8 (2, 3)");
    REFUSED(div, DTYPE, ht_reciprocal(d->u), "needs f32 or f64", "u8 (2, 3)");
    REFUSED(sigmoid, DTYPE, ht_silu(d->i), "needs f32 or f64", "i32 (2, 3)");
    REFUSED(mul, DTYPE, ht_gelu_tanh(d->i), "i32");
    REFUSED(mul, DTYPE, ht_leaky_relu(d->i, 0.1), "the number 0.1", "i32");
    REFUSED(where, ARGUMENT, ht_clamp(d->f, 2, 1), "low 2", "high 1",
            "must not be above");
    REFUSED(greater, SHAPE, ht_clamp(d->f, F64(4), 1), "shapes do not broadcast",
            "f64 (4), f64 (2, 3)");
}

static void projections_that_do_not_fit_are_refused(void)
{
#define BOUND(row, op, what)                                                      \
    REFUSED(row, ARGUMENT, ht_##op(d->f, -1), "needs " what " >= 0", "got -1");   \
    REFUSED(row, ARGUMENT, ht_##op(d->f, NAN), "needs " what " >= 0", "got nan"); \
    REFUSED(row, DTYPE, ht_##op(d->i, 1), "needs f32 or f64", "i32 (2, 3)");      \
    REFUSED(row, DTYPE, ht_##op(d->f, of(HT_F32, HT_SCALAR)), "element types differ")
#define BOUND_ROWS(row, op, what)                                                \
    BOUND(row, op, what);                                                        \
    REFUSED(row, SHAPE, ht_##op(d->f, d->v), "one number a row", "(3)");         \
    REFUSED(row, SHAPE, ht_##op(d->f, F64(3, 1)), "one number a row", "(3, 1)"); \
    REFUSED(row, SHAPE, ht_##op(d->s, 1), "rows, its last axis", "()")
    BOUND_ROWS(project, project_simplex, "radius");
    BOUND_ROWS(project, project_capped, "radius");
    BOUND_ROWS(project, project_l1, "radius");
    BOUND_ROWS(mul, project_l2, "radius");
    BOUND_ROWS(mul, group_soft_threshold, "t");
    BOUND(sub, soft_threshold, "t");
    REFUSED(sub, SHAPE, ht_soft_threshold(d->f, F64(4)), "t (4)", "x (2, 3)");
    REFUSED(project, ARGUMENT, ht_project_simplex(d->f, INFINITY), "and finite");
    REFUSED(project, ARGUMENT, ht_project_simplex(d->f32, 1e300), "and finite");
    REFUSED(project, SHAPE, ht_project_simplex(F64(2, 0), 1), "at least one element");
    REFUSED(where, ARGUMENT, ht_project_box(d->f, 2, 1), "low 2", "high 1");
    const ht_op *op = &hti_op_project_slopes;
    const void *set = (int64_t[]){0};
    ht_var in[] = {d->f, d->v};
    REFUSED(project_slopes, SHAPE, ht_apply(op, 2, in, set, HT_HERE), "one radius a row");
}

/* Reductions. */

static void reduction_of_axes_that_are_not_there_is_refused(void)
{
#define AXES(row, op, ...)                                                          \
    REFUSED(row, ARGUMENT, ht_##op(d->f, HT_AXES(2), __VA_ARGS__),                  \
            "axis 2 is not one of -2 .. 1", "(2, 3)");                              \
    REFUSED(row, ARGUMENT, ht_##op(d->f, HT_AXES(-3), __VA_ARGS__),                 \
            "axis -3 is not one of -2 .. 1", "(2, 3)");                             \
    REFUSED(row, ARGUMENT, ht_##op(d->f, HT_AXES(1, -1), __VA_ARGS__), "axis -1",   \
            "each once", "(2, 3)");                                                 \
    REFUSED(row, DTYPE, ht_##op(d->i, HT_AXES(0), __VA_ARGS__), "needs f32 or f64", \
            "i32 (2, 3)")
    AXES(sum, sum_axes, false);
    AXES(mean, mean_axes, false);
    AXES(max, max_axes, true);
    AXES(max, min_axes, false);
    AXES(logsumexp, logsumexp_axes, true);
    AXES(variance, variance_axes, false, 0);
    AXES(norm, norm_axes, true);
    REFUSED(sum, DTYPE, ht_sum(d->i), "needs f32 or f64", "i32 (2, 3)");
    REFUSED(mean, DTYPE, ht_mean(d->i), "needs f32 or f64", "i32 (2, 3)");
    REFUSED(max, SHAPE, ht_max_axes(F64(2, 0), HT_AXES(1), false),
            "no largest element of none", "axis 1", "f64 (2, 0)");
    REFUSED(max, SHAPE, ht_min_axes(F64(0), HT_AXES(0), false),
            "no smallest element of none", "axis 0", "f64 (0)");
    REFUSED(logsumexp, SHAPE, ht_logsumexp_axes(F64(2, 0), HT_AXES(1), false),
            "at least one element", "f64 (2, 0)");
    REFUSED(variance, ARGUMENT, ht_variance_axes(d->f, HT_AXES(1), false, 3),
            "correction 3 of 3 elements", "0 <= correction < elements", "(2, 3)");
    REFUSED(variance, ARGUMENT, ht_variance_axes(d->f, HT_AXES(1), false, -1),
            "correction -1", "0 <= correction < elements", "(2, 3)");
    REFUSED(cumsum, ARGUMENT, ht_cumsum(d->f, 2), "no axis 2", "(2, 3)");
    REFUSED(cumsum, DTYPE, ht_cumsum(d->i, 0), "needs f32 or f64", "i32 (2, 3)");
    REFUSED(argmax, DTYPE, ht_argmax(d->i), "needs f32 or f64", "i32 (2, 3)");
    REFUSED(argmax, SHAPE, ht_argmax(d->s), "a last axis", "f64 ()");
    REFUSED(argmax, SHAPE, ht_argmax(F64(2, 0)), "at least one element", "f64 (2, 0)");
    REFUSED(argmax, DTYPE, ht_argmin(d->i), "needs f32 or f64", "i32 (2, 3)");
    REFUSED(argmax, SHAPE, ht_argmin(d->s), "a last axis", "f64 ()");
}

/* Movement. */

static void movement_that_does_not_fit_is_refused(void)
{
    ht_shape seven = {.rank = 7};
    REFUSED(reshape, SHAPE, ht_reshape(d->f, HT_SHAPE(4)),
            "6 elements do not make shape (4)", "f64 (2, 3)");
    REFUSED(reshape, SHAPE, ht_reshape(d->f, HT_SHAPE(4, -1)),
            "6 elements do not make shape (4, -1)", "f64 (2, 3)");
    REFUSED(reshape, SHAPE, ht_reshape(d->f, HT_SHAPE(-1, -1)), "(-1, -1)",
            "at most one size can be -1");
    REFUSED(reshape, SHAPE, ht_reshape(F64(0, 3), HT_SHAPE(-1, 0)), "(-1, 0)",
            "beside a size 0, -1 could be any");
    REFUSED(reshape, SHAPE, (ht_reshape(d->f, (ht_shape){2, {4, 4}})), "(4, 4)");
    REFUSED(broadcast, SHAPE, (ht_broadcast(d->f, (ht_shape){2, {4, 4}})), "(4, 4)");
    REFUSED(permute, ARGUMENT, (ht_permute(d->f, (ht_axes){2, {1, 1}})), "(2, 3)");
    REFUSED(reshape, SHAPE, ht_reshape(d->f, seven), "7 axes", "0 to 6");
#define PERMUTE(...)                                                   \
    REFUSED(permute, ARGUMENT, ht_permute(d->f, HT_AXES(__VA_ARGS__)), \
            "each of 2 axes once", "(2, 3)")
    PERMUTE(0);
    PERMUTE(0, 2);
    PERMUTE(1, -1);
    REFUSED(permute, SHAPE, ht_transpose(d->v), "at least 2 axes", "(3)");
    REFUSED(broadcast, SHAPE, ht_broadcast(d->f, HT_SHAPE(2, 4)),
            "does not broadcast to (2, 4)", "f64 (2, 3)");
    REFUSED(broadcast, SHAPE, ht_broadcast(d->f, HT_SHAPE(3)),
            "does not broadcast to (3)", "f64 (2, 3)");
    REFUSED(broadcast, SHAPE, ht_broadcast(d->f, seven), "7 axes", "0 to 6");
}

static void slice_pad_and_join_that_do_not_fit_are_refused(void)
{
    REFUSED(slice, ARGUMENT, ht_slice(d->f, 2, 0, 1, 1), "no axis 2", "(2, 3)");
    REFUSED(slice, ARGUMENT, ht_slice(d->f, -1, 1, 3, 1),
            "start 1, count 3, step 1 leaves axis 1 of size 3", "f64 (2, 3)");
    REFUSED(slice, ARGUMENT, ht_slice(d->f, 1, 0, 2, 0), "step 0: it must not be 0",
            "f64 (2, 3)");
    REFUSED(slice, ARGUMENT, ht_slice(d->f, 1, 0, -1, 1), "count -1", "f64 (2, 3)");
    REFUSED(slice, ARGUMENT, ht_slice(d->f, 1, 1, 3, -1), "step -1", "f64 (2, 3)");
    REFUSED(embed, ARGUMENT, ht_pad(d->f, 2, 1, 1), "no axis 2", "(2, 3)");
    REFUSED(embed, ARGUMENT, ht_pad(d->f, 0, -1, 1), "-1 before and 1 after",
            "neither may be negative", "(2, 3)");
    REFUSED(embed, SHAPE, ht_pad(d->f, 0, INT64_MAX / 2, 0), "too large", "(2, 3)");
    REFUSED(embed, SHAPE, ht_pad(d->f, 0, INT64_MAX / 4, 0), "too large", "f64 (2, 3)");
    REFUSED(concat, SHAPE, ht_concat(2, ((ht_var[]){d->f, F64(2, 4)}), 0),
            "shapes must agree but for axis 0", "f64 (2, 3), f64 (2, 4)");
    REFUSED(concat, SHAPE, ht_concat(2, ((ht_var[]){d->f, d->v}), 1),
            "shapes must agree but for axis 1", "f64 (2, 3), f64 (3)");
    REFUSED(concat, DTYPE, ht_concat(2, ((ht_var[]){d->f, d->f32}), 0),
            "element types differ", "f64 (2, 3), f32 (2, 3)");
    REFUSED(concat, ARGUMENT, ht_concat(2, ((ht_var[]){d->f, d->f}), 2), "no axis 2",
            "(2, 3)");
    REFUSED(concat, SHAPE, ht_stack(2, ((ht_var[]){d->f, d->v}), 0),
            "input 1 has shape (3), the first (2, 3)", "must be alike");
    REFUSED(concat, DTYPE, ht_stack(2, ((ht_var[]){d->f, d->f32}), 0),
            "element types differ", "f64", "f32");
    REFUSED(concat, ARGUMENT, ht_stack(2, ((ht_var[]){d->f, d->f}), 3),
            "(2, 3) takes no new axis 3");
    REFUSED(slice, ARGUMENT, ht_flip(d->f, -3), "no axis -3", "(2, 3)");
}

/* Indices, products, rows. */

static void indices_of_wrong_types_or_shapes_are_refused(void)
{
    ht_shape six = HT_SHAPE(1, 1, 1, 1, 1, 1);
    REFUSED(gather, DTYPE, ht_gather(d->f, d->v), "indices must be i32",
            "f64 (2, 3), f64 (3)");
    REFUSED(gather, SHAPE, ht_gather(d->s, d->i), "at least one axis",
            "f64 (), i32 (2, 3)");
    REFUSED(gather, SHAPE, ht_gather(d->f, of(HT_I32, six)), "at most 6 axes",
            "f64 (2, 3)");
    REFUSED(scatter_add, DTYPE, ht_scatter_add(d->f, d->v, d->f), "indices must be i32",
            "f64 (3)");
    REFUSED(scatter_add, DTYPE, ht_scatter_add(d->f, I32(2), d->f32), "one float type",
            "f32 (2, 3)");
    REFUSED(scatter_add, SHAPE, ht_scatter_add(d->f, I32(4), d->f),
            "updates must have the indices' shape, then base's row shape",
            "f64 (2, 3), i32 (4), f64 (2, 3)");
    REFUSED(one_hot, DTYPE, ht_one_hot(d->f, 3, HT_F64), "labels must be i32",
            "f64 (2, 3)");
    REFUSED(one_hot, DTYPE, ht_one_hot(d->i, 3, HT_I32), "makes f32 or f64, not i32");
    REFUSED(one_hot, SHAPE, ht_one_hot(d->i, 0, HT_F64), "0 classes", "at least 1",
            "i32 (2, 3)");
    REFUSED(one_hot, SHAPE, ht_one_hot(of(HT_I32, six), 3, HT_F64), "at most 6 axes",
            "(1, 1, 1, 1, 1, 1)");
    REFUSED(take_last, DTYPE, ht_take_last(d->f, d->f), "indices of i32",
            "f64 (2, 3), f64 (2, 3)");
    REFUSED(take_last, DTYPE, ht_take_last(d->i, d->i), "values of f32 or f64",
            "i32 (2, 3), i32 (2, 3)");
    REFUSED(take_last, SHAPE, ht_take_last(d->f, I32(3)), "the same axes",
            "f64 (2, 3), i32 (3)");
    REFUSED(take_last, SHAPE, ht_take_last(d->f, I32(4, 3)),
            "agree but for the last axis", "f64 (2, 3), i32 (4, 3)");
}

static void rows_and_products_of_wrong_types_or_shapes_are_refused(void)
{
    REFUSED(matmul, SHAPE, ht_matmul(d->f, d->f), "inner sizes equal; they are 3 and 2",
            "f64 (2, 3), f64 (2, 3)");
    REFUSED(matmul, SHAPE, ht_matmul(d->f, d->v), "at least 2 axes each",
            "f64 (2, 3), f64 (3)");
    REFUSED(matmul, DTYPE, ht_matmul(d->f, of(HT_F32, HT_SHAPE(3, 2))), "one float type",
            "f64 (2, 3), f32 (3, 2)");
    REFUSED(matmul, SHAPE, ht_matmul(F64(4, 2, 3), F64(5, 3, 2)),
            "leading axes do not broadcast", "f64 (4, 2, 3), f64 (5, 3, 2)");
#define ROWS(op)                                                              \
    REFUSED(op, DTYPE, ht_##op(d->i), "needs f32 or f64", "i32 (2, 3)");      \
    REFUSED(op, SHAPE, ht_##op(d->s), "last axis of at least one", "f64 ()"); \
    REFUSED(op, SHAPE, ht_##op(F64(2, 0)), "last axis of at least one", "f64 (2, 0)")
    ROWS(softmax);
    ROWS(log_softmax);
    REFUSED(tril, SHAPE, ht_tril(d->v, 0, 0), "(..., rows, columns)", "f64 (3)");
    REFUSED(tril, DTYPE, ht_tril(d->i, 0, 0), "needs f32 or f64", "i32 (2, 3)");
    REFUSED(attention, SHAPE, ht_attention(d->f, F64(5, 4), F64(5, 2), HT_ZERO, false),
            "q (..., t, d), k (..., s, d) and v (..., s, e)",
            "(2, 3), (5, 4) and (5, 2)");
    REFUSED(attention, SHAPE, ht_attention(d->f, d->f, d->v, HT_ZERO, false),
            "(2, 3), (2, 3) and (3)");
    REFUSED(add, SHAPE, ht_attention(d->f, d->f, d->f, F64(5), true), "mask (5)",
            "(2, 2)");
    REFUSED(attention, DTYPE, ht_attention(d->i, d->i, d->i, HT_ZERO, false),
            "needs one float type", "i32");
    ht_var q = F64(5, 2, 3), other = F64(5, 3, 3), two = F64(2, 4, 3);
    REFUSED(matmul, SHAPE, ht_attention(two, q, q, HT_ZERO, false), "do not broadcast",
            "f64 (2, 4, 3), f64 (5, 3, 2)");
    REFUSED(triangle, SHAPE, ht_attention(two, q, q, HT_ZERO, true), "do not broadcast",
            "f64 (2, 4, 3), f64 (5, 2, 3)");
    int64_t pairs = HTI_TRIANGLE_PAIRS;
    ht_var sizes[] = {d->f, F64(2, 4)}, types[] = {d->f, d->f32}, axes[] = {d->f, d->v};
    REFUSED(triangle, SHAPE, ht_apply(&hti_op_triangle, 2, sizes, &pairs, HT_HERE),
            "inner sizes agree", "f64 (2, 3), f64 (2, 4)");
    REFUSED(triangle, SHAPE, ht_apply(&hti_op_triangle, 2, axes, &pairs, HT_HERE),
            "matrices", "f64 (2, 3), f64 (3)");
    REFUSED(triangle, DTYPE, ht_apply(&hti_op_triangle, 2, types, &pairs, HT_HERE),
            "one float type", "f64 (2, 3), f32 (2, 3)");
    REFUSED(softmax, SHAPE, ht_attention(d->f, F64(0, 3), F64(0, 3), HT_ZERO, false),
            "at least one element");
    int64_t causal = 0;
    ht_var in[] = {q, q, other, q}, mixed[] = {q, q, d->f32}, last[] = {q, q, q, other};
    REFUSED(attention, SHAPE, ht_apply(&hti_op_attention, 3, in, &causal, HT_HERE),
            "k (..., s, heads, d)", "(5, 2, 3), f64 (5, 3, 3)");
    REFUSED(attention, DTYPE, ht_apply(&hti_op_attention, 3, mixed, &causal, HT_HERE),
            "needs one float type", "f32 (2, 3)");
    struct {
        double eps;
        int64_t centred;
    } norm = {1e-5, 1};
    const ht_op *slope = &hti_op_normalize_slope;
    ht_var pair[] = {d->f, F64(2, 4)};
    REFUSED(normalize_slope, SHAPE, ht_apply(slope, 2, pair, &norm, HT_HERE),
            "inputs of one type", "f64 (2, 3), f64 (2, 4)");
    const ht_op *bend = &hti_op_normalize_bend;
    ht_var three[] = {d->f, d->f, d->f32};
    REFUSED(normalize_bend, DTYPE, ht_apply(bend, 3, three, &norm, HT_HERE),
            "inputs of one type", "f32 (2, 3)");
#define TWO_ROWS(op)                                                   \
    REFUSED(op, SHAPE, ht_apply(&hti_op_##op, 2, pair, NULL, HT_HERE), \
            "inputs of one type", "f64 (2, 3), f64 (2, 4)")
    TWO_ROWS(softmax_slope);
    TWO_ROWS(log_softmax_rest);
    TWO_ROWS(log_softmax_back);
    REFUSED(softmax_bend, DTYPE, ht_apply(&hti_op_softmax_bend, 3, three, NULL, HT_HERE),
            "inputs of one type", "f32 (2, 3)");
    const ht_op *vjp = &hti_op_attention_vjp;
    REFUSED(attention_vjp, SHAPE, ht_apply(vjp, 4, last, &causal, HT_HERE),
            "the cotangent must be", "(5, 2, 3), f64 (5, 3, 3)");
    ht_var along[] = {q, q, q, q, q, q, other, q};
    const ht_op *turn = &hti_op_attention_bend, *jvp = &hti_op_attention_jvp;
    REFUSED(attention_bend, SHAPE, ht_apply(turn, 8, along, &causal, HT_HERE),
            "a tangent must be as its input", "f64 (5, 3, 3), f64 (5, 2, 3)");
    REFUSED(attention_jvp, SHAPE, ht_apply(jvp, 6, along + 2, &causal, HT_HERE),
            "a tangent must be as its input", "f64 (5, 3, 3), f64 (5, 2, 3)");
}

static void cross_entropy_of_wrong_labels_is_refused(void)
{
    REFUSED(cross_entropy, DTYPE, ht_cross_entropy(d->i, I32(2)), "float",
            "i32 (2, 3), i32 (2)");
    REFUSED(cross_entropy, SHAPE, ht_cross_entropy(d->f, I32(4)), "(n, classes)",
            "f64 (2, 3), i32 (4)");
    REFUSED(cross_entropy, SHAPE, ht_cross_entropy(d->v, I32(3)), "(n, classes)",
            "f64 (3), i32 (3)");
    REFUSED(cross_entropy, DTYPE, ht_cross_entropy(d->f, of(HT_U8, HT_SHAPE(2))),
            "labels", "f64 (2, 3), u8 (2)");
    REFUSED(cross_entropy, SHAPE, ht_cross_entropy(d->f, F64(3, 2)),
            "probabilities of the logits' shape", "f64 (2, 3), f64 (3, 2)");
    REFUSED(cross_entropy, DTYPE, ht_cross_entropy(d->f, d->v),
            "probabilities of the logits' shape", "f64 (2, 3), f64 (3)");
    REFUSED(cross_entropy, DTYPE, ht_cross_entropy(d->v, d->v),
            "probabilities of the logits' shape", "f64 (3), f64 (3)");
    REFUSED(cross_entropy, DTYPE, ht_cross_entropy(d->f, d->f32),
            "probabilities of the logits' dtype", "f64 (2, 3), f32 (2, 3)");
    REFUSED(log_softmax, SHAPE, ht_cross_entropy(F64(2, 0), F64(2, 0)),
            "last axis of at least one", "f64 (2, 0)");
}

/* Images. */

static const ht_conv_options plain = {{1, 1}, {0, 0}, {1, 1}, 1};
static const ht_pool_options two = {{2, 2}, {2, 2}, {0, 0}};

static ht_conv_options conv_with(int64_t stride, int64_t padding, int64_t dilation,
                                 int64_t groups)
{
    return (ht_conv_options){{1, stride}, {0, padding}, {1, dilation}, groups};
}

static void convolution_that_does_not_fit_is_refused(void)
{
    ht_var x = F64(2, 4, 5, 5), w = F64(6, 4, 3, 3);
    REFUSED(conv, SHAPE, ht_conv2d(d->f, w, plain), "needs 4 axes", "images (n, c, h, w)",
            "f64 (2, 3), f64 (6, 4, 3, 3)");
    REFUSED(conv, DTYPE, ht_conv2d(x, of(HT_F32, HT_SHAPE(6, 4, 3, 3)), plain),
            "one float type", "f32 (6, 4, 3, 3)");
    REFUSED(conv, SHAPE, ht_conv2d(x, F64(6, 3, 3, 3), plain),
            "4 channels in, 6 out and 1 groups", "f64 (6, 3, 3, 3)");
    REFUSED(conv, SHAPE, ht_conv2d(x, F64(6, 1, 3, 3), conv_with(1, 0, 1, 4)),
            "4 channels in, 6 out and 4 groups", "f64 (6, 1, 3, 3)");
    REFUSED(conv, ARGUMENT, ht_conv2d(x, w, conv_with(-1, 0, 1, 1)), "stride -1",
            "at least 1, 1 and 0", "f64 (2, 4, 5, 5)");
    REFUSED(conv, ARGUMENT, ht_conv2d(x, w, conv_with(1, -1, 1, 1)), "padding -1");
    REFUSED(conv, ARGUMENT, ht_conv2d(x, w, conv_with(1, 0, -1, 1)), "dilation -1");
    REFUSED(conv, ARGUMENT, ht_conv2d(x, w, conv_with(1, (int64_t)1 << 31, 1, 1)),
            "padding 2147483648", "at most 2147483647");
    REFUSED(conv, ARGUMENT, (ht_conv2d(x, w, (ht_conv_options){.stride = {1, -2}})),
            "axis 3 has stride -2, dilation 1");
    REFUSED(conv, ARGUMENT, ht_conv2d(x, w, conv_with(1, 0, 1, -1)), "groups is -1",
            "at least 1");
    REFUSED(conv, SHAPE, ht_conv2d(x, F64(6, 4, 3, 7), plain),
            "axis 3: a kernel of 7 taps", "does not fit into 5", "f64 (6, 4, 3, 7)");
}

static void pooling_that_does_not_fit_is_refused(void)
{
    ht_var x = F64(2, 4, 5, 5);
    ht_pool_options big = {{6, 2}, {1, 1}, {0, 0}}, stuck = {{2, 2}, {-1, 1}, {0, 0}};
    ht_pool_options padded = {{2, 2}, {1, 1}, {2, 0}};
    ht_pool_options vast = {{2, (int64_t)1 << 31}, {1, 1}, {0, 0}};
#define POOL(row, op)                                                                  \
    REFUSED(row, SHAPE, ht_##op(d->f, two), "needs 4 axes", "f64 (2, 3)");             \
    REFUSED(row, DTYPE, ht_##op(I32(1, 1, 2, 2), two), "needs f32 or f64",             \
            "i32 (1, 1, 2, 2)");                                                       \
    REFUSED(row, SHAPE, ht_##op(x, big), "a kernel of 6 does not fit into 5",          \
            "f64 (2, 4, 5, 5)");                                                       \
    REFUSED(row, ARGUMENT, ht_##op(x, stuck), "stride -1", "at least 1, 1 and 0",      \
            "f64 (2, 4, 5, 5)");                                                       \
    REFUSED(row, ARGUMENT, ht_##op(x, padded), "padding 2", "at most half the kernel", \
            "f64 (2, 4, 5, 5)");                                                       \
    REFUSED(row, ARGUMENT, ht_##op(x, vast), "kernel 2147483648",                      \
            "the kernel at most 2147483647");                                          \
    REFUSED(row, ARGUMENT, (ht_##op(x, (ht_pool_options){{0, 2}, {1, 1}, {0, 0}})),    \
            "kernel 0")
    POOL(max_pool_index, max_pool2d);
    POOL(avg_pool, avg_pool2d);
    REFUSED(sum, SHAPE, ht_global_avg_pool2d(d->f), "needs 4 axes", "(2, 3)");
    REFUSED(mean, DTYPE, ht_global_avg_pool2d(I32(1, 1, 2, 2)), "needs f32 or f64",
            "i32 (1, 1, 2, 2)");
}

/* Norms. */

static void norm_that_does_not_fit_is_refused(void)
{
    ht_var x = F64(2, 4, 3), none = HT_ZERO;
#define NORM(op, ...)                                                                   \
    REFUSED(normalize, ARGUMENT, ht_##op(x __VA_ARGS__, 0), "needs eps > 0",            \
            "eps is 0");                                                                \
    REFUSED(normalize, ARGUMENT, ht_##op(x __VA_ARGS__, -1), "needs eps > 0",           \
            "eps is -1");                                                               \
    REFUSED(normalize, DTYPE, ht_##op(I32(2, 4, 3) __VA_ARGS__, 1), "needs f32 or f64", \
            "i32 (2, 4, 3)")
#define NO_GAIN , none
#define NO_BOTH , none, none
#define BY_TWO  , 2, none, none
    NORM(layernorm, NO_BOTH);
    NORM(rmsnorm, NO_GAIN);
    NORM(groupnorm, BY_TWO);
    NORM(batchnorm, NO_BOTH);
    REFUSED(normalize, SHAPE, ht_layernorm(d->s, none, none, 1),
            "a last axis of at least one", "f64 ()");
    REFUSED(normalize, SHAPE, ht_rmsnorm(F64(2, 0), none, 1),
            "a last axis of at least one", "f64 (2, 0)");
    REFUSED(normalize, SHAPE, ht_groupnorm(d->v, 1, none, none, 1),
            "needs x (n, channels, ...)", "(3)");
    REFUSED(normalize, SHAPE, ht_groupnorm(x, 3, none, none, 1),
            "4 channels of x (2, 4, 3) do not make 3 equal groups");
    REFUSED(normalize, SHAPE, ht_groupnorm(x, 0, none, none, 1), "0 equal groups");
    REFUSED(normalize, SHAPE, ht_batchnorm(d->v, none, none, 1),
            "needs x (n, channels, ...)", "(3)");
#define GAIN(op, wrong, want, ...)                                                    \
    REFUSED(mul, SHAPE, ht_##op(x, __VA_ARGS__ wrong, none, 1), "gain", want, "(5)"); \
    REFUSED(add, SHAPE, ht_##op(x, __VA_ARGS__ none, wrong, 1), "shift", want, "(5)")
    GAIN(layernorm, F64(5), "(2, 4, 3)", );
    GAIN(batchnorm, F64(5), "(4)", );
#define GROUPS 2,
    GAIN(groupnorm, F64(5), "(4)", GROUPS);
    REFUSED(mul, DTYPE, ht_layernorm(x, of(HT_F32, HT_SHAPE(3)), none, 1),
            "element types differ", "f64 (2, 4, 3), f32 (3)");
    REFUSED(add, DTYPE, ht_batchnorm(x, none, of(HT_F32, HT_SHAPE(4)), 1),
            "element types differ", "f64 (2, 4, 3), f32 (4, 1)");
    REFUSED(mul, SHAPE, ht_rmsnorm(x, F64(5), 1), "gain", "(2, 4, 3)", "(5)");
    ht_var mean, variance;
    REFUSED(sum, SHAPE, (ht_batch_statistics(d->v, &mean, &variance), 0),
            "needs x (n, channels, ...)", "(3)");
    REFUSED(div, SHAPE, ht_batchnorm_given(d->v, d->v, d->v, 1),
            "needs x (n, channels, ...)", "(3)");
    REFUSED(sub, SHAPE, ht_batchnorm_given(x, F64(5), F64(4), 1), "mean", "(4)", "(5)");
    REFUSED(div, SHAPE, ht_batchnorm_given(x, F64(4), F64(5), 1), "variance", "(4)",
            "(5)");
    REFUSED(div, ARGUMENT, ht_batchnorm_given(x, F64(4), F64(4), 0), "needs eps > 0",
            "eps is 0");
}

/* Random numbers. */

static void random_numbers_of_wrong_types_or_rates_are_refused(void)
{
    ht_type type = {HT_F64, HT_SHAPE(2, 3)}, whole = {HT_I32, HT_SHAPE(2, 3)};
#define RANDOM(op, ...)                                                                  \
    REFUSED(op, DTYPE, ht_##op(d->s, type, __VA_ARGS__),                                 \
            "the step must be i32, got f64", "f64 ()");                                  \
    REFUSED(op, DTYPE, ht_##op(d->step, whole, __VA_ARGS__), "f32 or f64, not i32");     \
    REFUSED(op, SHAPE, ht_##op(d->i, type, __VA_ARGS__), "a 0-d step", "i32 (2, 3)");    \
    REFUSED(op, SHAPE, ht_##op(d->step, ((ht_type){HT_F32, HT_SHAPE(-1)}), __VA_ARGS__), \
            "0 to 2^32 - 1 elements", "not shape (-1)")
    RANDOM(uniform, 1);
    RANDOM(normal, 1);
    RANDOM(dropout_mask, 0.5, 1);
    REFUSED(dropout_mask, ARGUMENT, ht_dropout_mask(d->step, type, 1, 1), "0 <= rate < 1",
            "the rate is 1");
    REFUSED(dropout_mask, ARGUMENT, ht_dropout(d->f, -0.1, 1, d->step), "0 <= rate < 1",
            "the rate is -0.1");
    REFUSED(dropout_mask, DTYPE, ht_dropout(d->f, 0.5, 1, d->s),
            "the step must be i32, got f64");
    REFUSED(dropout_mask, SHAPE, ht_dropout(d->f, 0.5, 1, d->i), "a 0-d step",
            "i32 (2, 3)");
    REFUSED(dropout_mask, DTYPE, ht_dropout(d->i, 0.5, 1, d->step),
            "f32 or f64, not i32");
}

/* Rows that rules call, leaves, and everything at once. */

static void rows_of_rules_refuse_what_does_not_fit(void)
{
    ht_var x = F64(2, 3, 5, 5), w = F64(3, 2, 2, 3);
    /* the attributes of a sample, on other inputs */
#define SAMPLE(row, status, n, a, b, ...)                          \
    REFUSED(row, status,                                           \
            ht_apply(&hti_op_##row, n, ((ht_var[]){a, b}),         \
                     hti_op_##row.samples[0].attributes, HT_HERE), \
            __VA_ARGS__)
    const ht_op *hypot = &hti_op_weighted_hypot;
    ht_var in[] = {d->f, d->f, d->f, F64(3, 2)};
    REFUSED(weighted_hypot, SHAPE, ht_apply(hypot, 4, in, NULL, HT_HERE),
            "do not broadcast", "f64 (3, 2)");
    in[3] = d->u;
    REFUSED(weighted_hypot, DTYPE, ht_apply(hypot, 4, in, NULL, HT_HERE),
            "element types differ", "u8 (2, 3)");
    SAMPLE(conv_dx, SHAPE, 2, d->f, w, "needs 4 axes", "f64 (2, 3)");
    SAMPLE(conv_dw, SHAPE, 2, x, d->f, "needs 4 axes", "f64 (2, 3)");
    SAMPLE(avg_pool_spread, SHAPE, 1, d->f, d->f, "needs 4 axes", "f64 (2, 3)");
    SAMPLE(put_last, SHAPE, 2, d->f, I32(2, 4), "one index for each value",
           "f64 (2, 3), i32 (2, 4)");
    SAMPLE(put_last, DTYPE, 2, d->f, d->f, "indices of i32", "f64 (2, 3), f64 (2, 3)");
    SAMPLE(input, ARGUMENT, 1, d->f, d->f, "made by ht_input or ht_constant");
    ht_type none = {(ht_dtype)9, HT_SHAPE(2, -3)};
    REFUSED(input, DTYPE, ht_input_like(d->tape, none), "dtype 9", "(2, -3)",
            "not a valid type");
    SAMPLE(constant, ARGUMENT, 1, d->f, d->f, "made by ht_input or ht_constant");
}

/* Of a rule the op is named: nobody called ht_mean, and the line is the node's. */
static void slip_vjp(ht_rule *r)
{
    r->d[0] = ht_mean(ht_cast(r->v, HT_I32));
}

static void mistake_of_a_rule_names_its_op(void)
{
    static const ht_op slip = {
        .name = "slip", .flags = HT_OP_ELEMENTWISE, .vjp = slip_vjp};
    const int line = __LINE__ + 1;
    ht_var x = d->s, g, y = ht_apply(&slip, 1, &x, NULL, HT_HERE);
    ht_grad(y, 1, &x, &g);
    check_refused(&hti_op_mean, HT_ERROR_DTYPE, "ht_mean(",
                  (const char *[]){"needs f32 or f64", "i32 ()", NULL}, line);
}

/* Indices are looked at when they are used, eager or replayed. */

static ht_tensor *whole_numbers(ht_shape shape, double value)
{
    ht_tensor *x = ht_tensor_new(d->ctx, HT_I32, shape);
    ht_tensor_fill(x, value);
    return x;
}

static void index_outside_is_refused_when_run(void)
{
    ht_tensor *five = whole_numbers(HT_SHAPE(2, 1), 5),
              *label = whole_numbers(HT_SHAPE(2), -1);
    ht_tensor *x = ht_tensor_new(d->ctx, HT_F64, HT_SHAPE(2, 3));
    ht_var v = ht_input(d->eager, x), i = ht_input(d->eager, five);
    ht_var l = ht_input(d->eager, label);
    REFUSED(gather, ARGUMENT, ht_gather(v, i), "index 5 at place 0", "outside 0 .. 1");
    REFUSED(scatter_add, ARGUMENT, ht_scatter_add(v, l, v), "index -1 at place 0",
            "outside 0 .. 1");
    REFUSED(one_hot, ARGUMENT, ht_one_hot(l, 4, HT_F64), "index -1 at place 0",
            "outside 0 .. 3");
    REFUSED(take_last, ARGUMENT, ht_take_last(v, i), "at place 0 of shape (2, 1)",
            "outside 0 .. 2");
    ht_var in[] = {ht_slice(v, 1, 0, 1, 1), i};
    const ht_op *put = &hti_op_put_last;
    const int64_t size = 5;
    REFUSED(put_last, ARGUMENT, ht_apply(put, 2, in, &size, HT_HERE),
            "at place 0 of shape (2, 1)", "outside 0 .. 4");
    REFUSED(cross_entropy, ARGUMENT, ht_cross_entropy(v, l), "label -1 of row 0",
            "outside 0 .. 2");
    ht_var logits[] = {v, l};
    const ht_op *slope = &hti_op_cross_entropy_slope;
    REFUSED(cross_entropy, ARGUMENT, ht_apply(slope, 2, logits, NULL, HT_HERE),
            "label -1 of row 0", "outside 0 .. 2");
    logits[1] = v;
    REFUSED(cross_entropy_slope, SHAPE, ht_apply(slope, 2, logits, NULL, HT_HERE),
            "(n, classes)", "f64 (2, 3), f64 (2, 3)");
    ht_tape_reset(d->eager);
    ht_tensor_free(five);
    ht_tensor_free(label);
    ht_tensor_free(x);
}

static void index_outside_is_refused_when_replayed(void)
{
    ht_var in[] = {d->f, I32(2, 1)}, out = ht_gather(in[0], in[1]);
    const int line = __LINE__ - 1;
    ht_tensor *x = ht_tensor_new(d->ctx, HT_F64, HT_SHAPE(2, 3));
    ht_tensor *five = whole_numbers(HT_SHAPE(2, 1), 5),
              *y = ht_tensor_new(d->ctx, HT_F64, HT_SHAPE(2, 1, 3));
    ht_program *p = ht_program_new(d->tape, 2, in, 1, &out);
    ht_program_run(p, (const ht_tensor *[]){x, five}, &y);
    check_refused(&hti_op_gather, HT_ERROR_ARGUMENT, "ht_gather(",
                  (const char *[]){"index 5 at place 0", "outside 0 .. 1", NULL}, line);
    ht_program_free(p);
    ht_tensor_free(x);
    ht_tensor_free(five);
    ht_tensor_free(y);
}

static const struct {
    const ht_op *op;
    const char *reason;
} harmless[] = {
    {&hti_op_copy, "what a program puts in for itself, of any type"},
    {&hti_op_cast, "takes and makes any type; what is none is an assertion"},
    {&hti_op_stop_gradient, "takes any type"},
};

/* Every function of ht_ops.h: its macros, "#define ht_name(". */
static void check_functions_are_called(void)
{
    FILE *f = test_source("autograd/ht_ops.h");
    char line[128], name[24];
    int functions = 0;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "#define ht_%23[a-z0-9_](", name) != 1) continue;
        bool called = false;
        for (int k = 0; k < d->messages; k++) called |= !strcmp(d->called[k], name);
        for (size_t k = 0; k < sizeof harmless / sizeof *harmless; k++)
            called |= !strcmp(harmless[k].op->name, name);
        if (!called) fail_msg("no mistake of ht_%s is tried", name);
        functions++;
    }
    fclose(f);
    printf("# %d functions\n", functions);
    assert_true(functions >= 80);
}

static void (*const mistakes[])(void) = {
    elementwise_of_integers_is_refused,
    elementwise_of_two_that_do_not_fit_is_refused,
    composed_elementwise_of_other_types_or_shapes_is_refused,
    projections_that_do_not_fit_are_refused,
    reduction_of_axes_that_are_not_there_is_refused,
    movement_that_does_not_fit_is_refused,
    slice_pad_and_join_that_do_not_fit_are_refused,
    indices_of_wrong_types_or_shapes_are_refused,
    rows_and_products_of_wrong_types_or_shapes_are_refused,
    cross_entropy_of_wrong_labels_is_refused,
    convolution_that_does_not_fit_is_refused,
    pooling_that_does_not_fit_is_refused,
    norm_that_does_not_fit_is_refused,
    random_numbers_of_wrong_types_or_rates_are_refused,
    rows_of_rules_refuse_what_does_not_fit,
    mistake_of_a_rule_names_its_op,
    index_outside_is_refused_when_run,
    index_outside_is_refused_when_replayed,
};

static void mistakes_of_every_op_are_named(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof mistakes / sizeof *mistakes; k++) mistakes[k]();
    for (size_t k = 0; k < sizeof harmless / sizeof *harmless; k++) {
        printf("# %s cannot fail: %s\n", harmless[k].op->name, harmless[k].reason);
        cover(harmless[k].op);
    }
    for (int k = 0; ht_op_at(k); k++)
        if (!d->covered[k]) fail_msg("no mistake of %s is tried", ht_op_at(k)->name);
    check_functions_are_called();
    printf("# %d mistakes, each with its message\n", d->messages);
    assert_true(d->messages >= 251);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(mistakes_of_every_op_are_named, desk_new,
                                        desk_free),
    };
    return TEST_MAIN(tests);
}
