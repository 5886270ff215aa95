/* SPDX-License-Identifier: MIT */
/* test_misuse_null.c: NULL, and numbers that count or name nothing, in every place of
 * every public function: an error on the context or an assertion, either of which names
 * the function, and never a crash. A function of the headers that is neither in the table
 * nor in the list of those that have no such place fails the test.
 * Read next: misuse.h. */
#include <limits.h>

#include "ht_bilevel.h"
#include "ht_data.h"
#include "misuse.h"
#include "tensor_internal.h"

typedef struct world {
    misuse_heap heap;
    ht_context *ctx;
    ht_tensor *x, *i; /* (2, 3) of f64, i32 (2) */
    ht_set *set;      /* "w" (2, 3) */
    ht_tape *tape, *eager;
    ht_var v, e, s; /* f64 (2, 3) on either; a sum, recorded */
    ht_vars *vars;
    ht_program *program; /* v to its square */
    ht_optimizer *optimizer;
    ht_update update;
    ht_var out[2];
    int64_t rows[4];
    FILE *sink;
} world;

static world w;

static ht_var loss(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                   void *user)
{
    (void)batch, (void)user;
    return ht_add(ht_l2(theta, NULL), ht_l2(eta, NULL));
}

static ht_status fill(uint64_t step, ht_set *batch, void *user)
{
    (void)step, (void)batch, (void)user;
    return HT_OK;
}

static void world_open(void)
{
    memset(&w, 0, sizeof w);
    misuse_heap_init(&w.heap);
    w.ctx = ht_context_new(
        &(ht_context_options){.alloc = misuse_alloc, .user = &w.heap, .threads = 1});
    w.x = ht_tensor_new(w.ctx, HT_F64, HT_SHAPE(2, 3));
    w.i = ht_tensor_new(w.ctx, HT_I32, HT_SHAPE(2));
    w.set = ht_set_new(w.ctx);
    ht_set_add(w.set, "w", HT_F64, HT_SHAPE(2, 3));
    w.tape = ht_tape_new(w.ctx, HT_RECORD);
    w.eager = ht_tape_new(w.ctx, HT_EAGER);
    w.v = ht_input_like(w.tape, ((ht_type){HT_F64, HT_SHAPE(2, 3)}));
    w.e = ht_input(w.eager, w.x);
    w.s = ht_sum(w.v);
    w.vars = ht_vars_input(w.tape, w.set, 0);
    ht_var square = ht_square(w.v);
    w.program = ht_program_new(w.tape, 1, &w.v, 1, &square);
    w.update = (ht_update){.rule = &ht_sgd, .rate = HT_FIXED(0.1)};
    w.optimizer = ht_optimizer_new(w.set, &w.update);
    w.sink = fopen("/dev/null", "w");
    assert_string_equal(ht_context_message(w.ctx), "");
}

static void world_close(void)
{
    if (w.sink) fclose(w.sink);
    misuse_heap_drop(&w.heap);
}

#define V   (&w.v)
#define OUT w.out
#define F32 HT_F32
#define TWO HT_SHAPE(2)
#define PROBLEM(...)        \
    (&(ht_bilevel_problem){ \
        .inner = loss, .outer = loss, .update = w.update, .steps = 1, __VA_ARGS__})
#define FULL .theta = w.set, .eta = w.set
static const ht_op no_run = {.name = "no_run", .flags = HT_OP_ELEMENTWISE};
static const ht_op sized = {
    .name = "sized", .flags = HT_OP_ELEMENTWISE, .attribute_size = 8};

static ht_var scalar(ht_tape *tape, int n, const ht_var *x, void *user)
{
    (void)tape, (void)n, (void)user;
    return ht_sum(x[0]);
}

static void record(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    (void)in, (void)out, (void)user;
}

/* X(what messages say, call) */
#define EACH(X)                                                                         \
    /* ht_tensor.h */                                                                   \
    X(ht_context_new, ht_context_new(&(ht_context_options){.threads = -1}))             \
    X(ht_context_status, ht_context_status(NULL))                                       \
    X(ht_context_message, ht_context_message(NULL))                                     \
    X(ht_context_clear, ht_context_clear(NULL))                                         \
    X(ht_check, ht_check(NULL))                                                         \
    X(ht_print_and_exit, ht_print_and_exit(NULL, NULL))                                 \
    X(ht_context_fail, ht_context_fail(NULL, HT_ERROR_SHAPE, NULL, "x"))                \
    X(ht_context_fail, ht_context_fail(w.ctx, HT_OK, NULL, "x"))                        \
    X(ht_context_fail, ht_context_fail(w.ctx, (ht_status)99, NULL, "x"))                \
    X(ht_context_seed, ht_context_seed(NULL))                                           \
    X(ht_context_threads, ht_context_threads(NULL))                                     \
    X(ht_context_live_bytes, ht_context_live_bytes(NULL))                               \
    X(ht_context_peak_bytes, ht_context_peak_bytes(NULL))                               \
    X(ht_context_reset_peak, ht_context_reset_peak(NULL))                               \
    X(ht_context_allocations, ht_context_allocations(NULL))                             \
    X(ht_shape_text, ht_shape_text(TWO, NULL))                                          \
    X(ht_tensor_new, ht_tensor_new(NULL, F32, TWO))                                     \
    X(ht_tensor_new, ht_tensor_new(w.ctx, (ht_dtype)9, TWO))                            \
    X(ht_tensor_new, ht_tensor_new(w.ctx, F32, ((ht_shape){7, {1, 1, 1, 1, 1, 1}})))    \
    X(ht_tensor_new, ht_tensor_new(w.ctx, F32, ((ht_shape){-1, {0}})))                  \
    X(ht_tensor_new, ht_tensor_new(w.ctx, F32, HT_SHAPE(-2)))                           \
    X(ht_tensor_wrap, ht_tensor_wrap(NULL, F32, TWO, w.rows))                           \
    X(ht_tensor_wrap, ht_tensor_wrap(w.ctx, F32, TWO, NULL))                            \
    X(ht_tensor_wrap, ht_tensor_wrap(w.ctx, (ht_dtype)0, TWO, w.rows))                  \
    X(ht_tensor_shape, ht_tensor_shape(NULL))                                           \
    X(ht_tensor_dtype, ht_tensor_dtype(NULL))                                           \
    X(ht_tensor_count, ht_tensor_count(NULL))                                           \
    X(ht_tensor_bytes, ht_tensor_bytes(NULL))                                           \
    X(ht_tensor_context, ht_tensor_context(NULL))                                       \
    X(ht_tensor_data, ht_tensor_data(NULL))                                             \
    X(ht_tensor_array, ht_tensor_array(NULL))                                           \
    X(ht_tensor_get, ht_tensor_get(NULL, 0))                                            \
    X(ht_tensor_get, ht_tensor_get(w.x, -1))                                            \
    X(ht_tensor_get, ht_tensor_get(w.x, 6))                                             \
    X(ht_tensor_set, ht_tensor_set(NULL, 0, 1))                                         \
    X(ht_tensor_set, ht_tensor_set(w.x, INT64_MIN, 1))                                  \
    X(ht_tensor_fill, ht_tensor_fill(NULL, 1))                                          \
    X(ht_tensor_copy, ht_tensor_copy(NULL, w.x))                                        \
    X(ht_tensor_copy, ht_tensor_copy(w.i, NULL))                                        \
    X(ht_rows, ht_rows(NULL, w.x, NULL, 0, 1))                                          \
    X(ht_rows, ht_rows(w.x, NULL, NULL, 0, 1))                                          \
    X(ht_rows, ht_rows(w.x, w.x, w.rows, -1, 1))                                        \
    X(ht_rows, ht_rows(w.x, w.x, w.rows, 0, -1))                                        \
    X(ht_tensor_print, ht_tensor_print(NULL, w.sink))                                   \
    X(ht_tensor_print, ht_tensor_print(w.x, NULL))                                      \
    X(ht_random_below, ht_random_below(1, 2, 3, 0))                                     \
    X(ht_random_below, ht_random_below(1, 2, 3, INT64_MIN))                             \
    X(ht_random_permutation, ht_random_permutation(1, 2, 3, NULL))                      \
    X(ht_random_permutation, ht_random_permutation(1, 2, -1, w.rows))                   \
    X(ht_tensor_uniform, ht_tensor_uniform(NULL, 1, 0, 1))                              \
    X(ht_tensor_uniform, ht_tensor_uniform(w.x, 1, 1, 0))                               \
    X(ht_tensor_uniform, ht_tensor_uniform(w.i, 1, 0, 1))                               \
    X(ht_tensor_normal, ht_tensor_normal(NULL, 1, 0, 1))                                \
    X(ht_tensor_normal, ht_tensor_normal(w.x, 1, NAN, 1))                               \
    X(ht_tensor_project_box, ht_tensor_project_box(NULL, 0, 1))                         \
    X(ht_tensor_project_box, ht_tensor_project_box(w.x, 1, 0))                          \
    X(ht_tensor_project_simplex, ht_tensor_project_simplex(NULL, 1))                    \
    X(ht_tensor_project_simplex, ht_tensor_project_simplex(w.x, -1))                    \
    X(ht_tensor_project_capped, ht_tensor_project_capped(NULL, 1))                      \
    X(ht_tensor_project_capped, ht_tensor_project_capped(w.x, -1))                      \
    X(ht_tensor_project_l1, ht_tensor_project_l1(NULL, 1))                              \
    X(ht_tensor_project_l1, ht_tensor_project_l1(w.x, -1))                              \
    X(ht_tensor_project_l2, ht_tensor_project_l2(NULL, 1))                              \
    X(ht_tensor_project_l2, ht_tensor_project_l2(w.x, -1))                              \
    X(ht_tensor_soft_threshold, ht_tensor_soft_threshold(NULL, 1))                      \
    X(ht_tensor_soft_threshold, ht_tensor_soft_threshold(w.x, -1))                      \
    X(ht_tensor_group_soft_threshold, ht_tensor_group_soft_threshold(NULL, 1))          \
    X(ht_tensor_group_soft_threshold, ht_tensor_group_soft_threshold(w.x, -1))          \
    /* ht_autograd.h */                                                                 \
    X(ht_tape_new, ht_tape_new(NULL, HT_EAGER))                                         \
    X(ht_tape_new, ht_tape_new(w.ctx, (ht_policy)7))                                    \
    X(ht_tape_reset, ht_tape_reset(NULL))                                               \
    X(ht_tape_mark, ht_tape_mark(NULL))                                                 \
    X(ht_tape_rewind, ht_tape_rewind(NULL, ((ht_mark){0, 0})))                          \
    X(ht_tape_rewind, ht_tape_rewind(w.tape, ((ht_mark){99, 0})))                       \
    X(ht_tape_context, ht_tape_context(NULL))                                           \
    X(ht_tape_nodes, ht_tape_nodes(NULL))                                               \
    X(ht_input, ht_input(NULL, w.x))                                                    \
    X(ht_input, ht_input(w.tape, NULL))                                                 \
    X(ht_input_like, ht_input_like(NULL, (ht_type){HT_F64, TWO}))                       \
    X(ht_input_like, ht_input_like(w.eager, (ht_type){HT_F64, TWO}))                    \
    X(input_like, ht_input_like(w.tape, (ht_type){(ht_dtype)9, TWO}))                   \
    X(input_like, ht_input_like(w.tape, (ht_type){HT_F64, {7, {0}}}))                   \
    X(ht_constant, ht_constant(NULL, 1))                                                \
    X(ht_print, ht_print(w.v, NULL))                                                    \
    X(ht_tape_print, ht_tape_print(NULL, w.sink))                                       \
    X(ht_tape_print, ht_tape_print(w.tape, NULL))                                       \
    X(ht_name, ht_name(w.v, NULL))                                                      \
    X(ht_tape_dot, ht_tape_dot(NULL, w.sink))                                           \
    X(ht_tape_dot_of, ht_tape_dot_of(w.tape, 1, NULL, true, w.sink))                    \
    X(ht_tape_dot_of, ht_tape_dot_of(NULL, 1, &w.v, true, w.sink))                      \
    X(ht_tape_dot, ht_tape_dot(w.tape, NULL))                                           \
    X(ht_tape_write_html, ht_tape_write_html(NULL, "a"))                                \
    X(ht_tape_write_html, ht_tape_write_html(w.tape, NULL))                             \
    X(ht_program_write_html, ht_program_write_html(NULL, "a"))                          \
    X(ht_program_write_html, ht_program_write_html(w.program, NULL))                    \
    X(grad, ht_grad(w.s, 1, NULL, OUT))                                                 \
    X(grad, ht_grad(w.s, 1, V, NULL))                                                   \
    X(grad, ht_grad(w.s, -1, V, OUT))                                                   \
    X(grad_or_zero, ht_grad_or_zero(w.s, 1, NULL, OUT))                                 \
    X(grad_or_zero, ht_grad_or_zero(w.s, 1, V, NULL))                                   \
    X(grad_or_zero, ht_grad_or_zero(w.s, INT_MIN, V, OUT))                              \
    X(vjp, ht_vjp(1, NULL, V, 1, V, OUT))                                               \
    X(vjp, ht_vjp(1, V, NULL, 1, V, OUT))                                               \
    X(vjp, ht_vjp(1, V, V, 1, NULL, OUT))                                               \
    X(vjp, ht_vjp(1, V, V, 1, V, NULL))                                                 \
    X(vjp, ht_vjp(0, V, V, 1, V, OUT))                                                  \
    X(vjp, ht_vjp(1, V, V, -1, V, OUT))                                                 \
    X(jvp, ht_jvp(1, NULL, V, 1, V, OUT))                                               \
    X(jvp, ht_jvp(1, V, NULL, 1, V, OUT))                                               \
    X(jvp, ht_jvp(1, V, V, 1, NULL, OUT))                                               \
    X(jvp, ht_jvp(1, V, V, 1, V, NULL))                                                 \
    X(jvp, ht_jvp(-1, V, V, 1, V, OUT))                                                 \
    X(jvp, ht_jvp(1, V, V, -1, V, OUT))                                                 \
    X(hvp, ht_hvp(w.s, 1, NULL, V, OUT))                                                \
    X(hvp, ht_hvp(w.s, 1, V, NULL, OUT))                                                \
    X(hvp, ht_hvp(w.s, 1, V, V, NULL))                                                  \
    X(hvp, ht_hvp(w.s, 0, V, V, OUT))                                                   \
    X(ht_program_new, ht_program_new(NULL, 1, V, 1, V))                                 \
    X(ht_program_new, ht_program_new(w.eager, 1, &w.e, 1, &w.e))                        \
    X(ht_program_new, ht_program_new(w.tape, 1, NULL, 1, V))                            \
    X(ht_program_new, ht_program_new(w.tape, 1, V, 1, NULL))                            \
    X(ht_program_new, ht_program_new(w.tape, -1, V, 1, V))                              \
    X(ht_program_new, ht_program_new(w.tape, 1, V, 0, V))                               \
    X(ht_program_run, ht_program_run(NULL, &one, &w.x))                                 \
    X(ht_program_run, ht_program_run(w.program, NULL, &w.x))                            \
    X(ht_program_run, ht_program_run(w.program, &one, NULL))                            \
    X(ht_program_run, ht_program_run(w.program, &none, &w.x))                           \
    X(ht_program_run, ht_program_run(w.program, &one, &nowhere))                        \
    X(call, ht_call(NULL, w.program, V, OUT))                                           \
    X(call, ht_call(w.tape, NULL, V, OUT))                                              \
    X(call, ht_call(w.tape, w.program, NULL, OUT))                                      \
    X(call, ht_call(w.tape, w.program, V, NULL))                                        \
    X(ht_program_print, ht_program_print(NULL, w.sink))                                 \
    X(ht_program_print, ht_program_print(w.program, NULL))                              \
    X(ht_program_bytes, ht_program_bytes(NULL))                                         \
    X(ht_program_nodes, ht_program_nodes(NULL))                                         \
    X(ht_program_flops, ht_program_flops(NULL))                                         \
    X(ht_program_poison, ht_program_poison(NULL, true))                                 \
    X(ht_infer_fail, ht_infer_fail(NULL, HT_ERROR_SHAPE, "x"))                          \
    X(ht_apply, ht_apply(NULL, 1, V, NULL, HT_HERE))                                    \
    X(ht_apply, ht_apply(&no_run, 1, NULL, NULL, HT_HERE))                              \
    X(ht_apply, ht_apply(&no_run, -1, V, NULL, HT_HERE))                                \
    X(sized, ht_apply(&sized, 1, V, NULL, HT_HERE))                                     \
    X(no_run, ht_apply(&no_run, 1, &w.e, NULL, HT_HERE))                                \
    X(ht_op_check, ht_op_check(NULL, &no_run, w.sink, NULL))                            \
    X(ht_op_check, ht_op_check(w.ctx, NULL, w.sink, NULL))                              \
    X(ht_gradient_check, ht_gradient_check(NULL, scalar, 1, &one, NULL, w.sink))        \
    X(ht_gradient_check, ht_gradient_check(w.ctx, NULL, 1, &one, NULL, w.sink))         \
    X(ht_gradient_check, ht_gradient_check(w.ctx, scalar, 1, NULL, NULL, w.sink))       \
    X(ht_gradient_check, ht_gradient_check(w.ctx, scalar, 1, &none, NULL, w.sink))      \
    X(ht_gradient_check, ht_gradient_check(w.ctx, scalar, -1, &one, NULL, w.sink))      \
    /* ht_ops.h */                                                                      \
    X(concat, ht_concat(1, NULL, 0))                                                    \
    X(concat, ht_concat(0, V, 0))                                                       \
    X(concat, ht_concat(-1, V, 0))                                                      \
    X(stack, ht_stack(1, NULL, 0))                                                      \
    X(stack, ht_stack(INT_MIN, V, 0))                                                   \
    X(batch_statistics, ht_batch_statistics(w.v, NULL, OUT))                            \
    X(batch_statistics, ht_batch_statistics(w.v, OUT, NULL))                            \
    X(cast, ht_cast(w.v, (ht_dtype)9))                                                  \
    X(one_hot, ht_one_hot(ht_step(w.vars), 3, (ht_dtype)9))                             \
    X(uniform, ht_uniform(ht_step(w.vars), (ht_type){(ht_dtype)9, TWO}, 1))             \
    /* ht_nn.h */                                                                       \
    X(ht_set_new, ht_set_new(NULL))                                                     \
    X(ht_set_add, ht_set_add(NULL, "a", F32, TWO))                                      \
    X(ht_set_add, ht_set_add(w.set, NULL, F32, TWO))                                    \
    X(ht_tensor_new, ht_set_add(w.set, "a", (ht_dtype)9, TWO))                          \
    X(ht_set_tensor, ht_set_tensor(NULL, "w"))                                          \
    X(ht_set_tensor, ht_set_tensor(w.set, NULL))                                        \
    X(ht_set_count, ht_set_count(NULL))                                                 \
    X(ht_set_at, ht_set_at(NULL, 0))                                                    \
    X(ht_set_at, ht_set_at(w.set, 9))                                                   \
    X(ht_set_at, ht_set_at(w.set, -1))                                                  \
    X(ht_set_name, ht_set_name(NULL, 0))                                                \
    X(ht_set_name, ht_set_name(w.set, -1))                                              \
    X(ht_set_find, ht_set_find(NULL, "w"))                                              \
    X(ht_set_find, ht_set_find(w.set, NULL))                                            \
    X(ht_set_elements, ht_set_elements(NULL))                                           \
    X(ht_set_counts, ht_set_counts(NULL, NULL))                                         \
    X(ht_set_print, ht_set_print(NULL, w.sink))                                         \
    X(ht_set_print, ht_set_print(w.set, NULL))                                          \
    X(ht_set_context, ht_set_context(NULL))                                             \
    X(ht_set_clone, ht_set_clone(NULL, (ht_dtype)0))                                    \
    X(ht_set_clone, ht_set_clone(w.set, (ht_dtype)9))                                   \
    X(ht_set_copy, ht_set_copy(NULL, w.set))                                            \
    X(ht_set_copy, ht_set_copy(w.set, NULL))                                            \
    X(ht_set_dot, ht_set_dot(NULL, w.set))                                              \
    X(ht_set_dot, ht_set_dot(w.set, NULL))                                              \
    X(ht_set_axpy, ht_set_axpy(1, NULL, w.set))                                         \
    X(ht_set_axpy, ht_set_axpy(1, w.set, NULL))                                         \
    X(ht_set_flatten, ht_set_flatten(NULL, w.x))                                        \
    X(ht_set_flatten, ht_set_flatten(w.set, NULL))                                      \
    X(ht_set_flatten, ht_set_flatten(w.set, w.x))                                       \
    X(ht_set_unflatten, ht_set_unflatten(NULL, w.x))                                    \
    X(ht_set_unflatten, ht_set_unflatten(w.set, NULL))                                  \
    X(ht_set_write, ht_set_write(NULL, "a"))                                            \
    X(ht_set_write, ht_set_write(w.set, NULL))                                          \
    X(ht_set_read, ht_set_read(NULL, "a"))                                              \
    X(ht_set_read, ht_set_read(w.set, NULL))                                            \
    X(ht_set_load, ht_set_load(NULL, "a"))                                              \
    X(ht_set_load, ht_set_load(w.ctx, NULL))                                            \
    X(ht_vars_input, ht_vars_input(NULL, w.set, 0))                                     \
    X(ht_vars_input, ht_vars_input(w.tape, NULL, 0))                                    \
    X(ht_get, ht_get(NULL, "w"))                                                        \
    X(ht_get, ht_get(w.vars, NULL))                                                     \
    X(ht_get, ht_get(w.vars, "x"))                                                      \
    X(ht_step, ht_step(NULL))                                                           \
    X(ht_vars_count, ht_vars_count(NULL))                                               \
    X(ht_vars_at, ht_vars_at(NULL, 0))                                                  \
    X(ht_vars_at, ht_vars_at(w.vars, -1))                                               \
    X(ht_vars_name, ht_vars_name(NULL, 0))                                              \
    X(ht_vars_name, ht_vars_name(w.vars, 1))                                            \
    X(ht_vars_tape, ht_vars_tape(NULL))                                                 \
    X(ht_vars_set, ht_vars_set(NULL, "w", w.v))                                         \
    X(ht_vars_set, ht_vars_set(w.vars, NULL, w.v))                                      \
    X(ht_vars_set, ht_vars_set(w.vars, "x", w.v))                                       \
    X(ht_vars_grad, ht_vars_grad(w.s, NULL, OUT))                                       \
    X(grad, ht_vars_grad(w.s, w.vars, NULL))                                            \
    X(ht_vars_backward, ht_vars_backward(w.s, NULL, w.vars))                            \
    X(ht_vars_backward, ht_vars_backward(w.s, w.vars, NULL))                            \
    X(ht_backward, ht_backward(w.s, NULL, w.set))                                       \
    X(ht_backward, ht_backward(w.s, w.vars, NULL))                                      \
    X(ht_recording_new, ht_recording_new(NULL, &w.set, record, NULL))                   \
    X(ht_recording_new, ht_recording_new(&nothing, NULL, record, NULL))                 \
    X(ht_recording_new, ht_recording_new(&nothing, &unset, record, NULL))               \
    X(ht_recording_new, ht_recording_new(&nothing, sets, NULL, NULL))                   \
    X(ht_recording_run, ht_recording_run(NULL, 0))                                      \
    X(ht_recording_program, ht_recording_program(NULL))                                 \
    X(linear, ht_linear(w.v, NULL, "a"))                                                \
    X(linear, ht_linear(w.v, w.vars, NULL))                                             \
    X(ht_linear_init, ht_linear_init(NULL, "a", F32, 1, 1))                             \
    X(ht_linear_init, ht_linear_init(w.set, NULL, F32, 1, 1))                           \
    X(ht_linear_init, ht_linear_init(w.set, "a", (ht_dtype)9, 1, 1))                    \
    X(ht_linear_init, ht_linear_init(w.set, "a", F32, -1, 1))                           \
    X(conv2d, ht_conv2d_layer(w.v, NULL, "a", conv))                                    \
    X(conv2d, ht_conv2d_layer(w.v, w.vars, NULL, conv))                                 \
    X(ht_conv2d_init, ht_conv2d_init(NULL, "a", F32, TWO))                              \
    X(ht_conv2d_init, ht_conv2d_init(w.set, NULL, F32, TWO))                            \
    X(ht_conv2d_init, ht_conv2d_init(w.set, "a", F32, ((ht_shape){7, {1, 1, 1, 1}})))   \
    X(ht_conv2d_init, ht_conv2d_init(w.set, "a", F32, HT_SHAPE(1, 1, -1, 1)))           \
    X(embedding, ht_embedding(w.v, NULL, "a"))                                          \
    X(embedding, ht_embedding(w.v, w.vars, NULL))                                       \
    X(ht_embedding_init, ht_embedding_init(NULL, "a", F32, 1, 1))                       \
    X(dropout, ht_dropout_layer(w.v, NULL, "a", 0.5))                                   \
    X(dropout, ht_dropout_layer(w.v, w.vars, NULL, 0.5))                                \
    X(layernorm, ht_layernorm_layer(w.v, NULL, "a", 1))                                 \
    X(rmsnorm, ht_rmsnorm_layer(w.v, w.vars, NULL, 1))                                  \
    X(groupnorm, ht_groupnorm_layer(w.v, NULL, "a", 1, 1))                              \
    X(batchnorm, ht_batchnorm_layer(w.v, NULL, "a", 1))                                 \
    X(ht_norm_init, ht_norm_init(NULL, "a", F32, 1))                                    \
    X(ht_rmsnorm_init, ht_rmsnorm_init(w.set, NULL, F32, 1))                            \
    X(ht_batchnorm_running_init, ht_batchnorm_running_init(NULL, "a", F32, 1))          \
    X(batchnorm_track, ht_batchnorm_track(w.v, NULL, "a", 0.1))                         \
    X(batchnorm_track, ht_batchnorm_track(w.v, w.vars, NULL, 0.1))                      \
    X(batchnorm_track, ht_batchnorm_track(w.v, w.vars, "a", NAN))                       \
    X(batchnorm_given, ht_batchnorm_given_layer(w.v, NULL, w.vars, "a", 1))             \
    X(batchnorm_given, ht_batchnorm_given_layer(w.v, w.vars, NULL, "a", 1))             \
    X(batchnorm_given, ht_batchnorm_given_layer(w.v, w.vars, w.vars, NULL, 1))          \
    X(multi_head_attention, ht_multi_head_attention(w.v, w.v, NULL, "a", &heads))       \
    X(multi_head_attention, ht_multi_head_attention(w.v, w.v, w.vars, NULL, &heads))    \
    X(multi_head_attention, ht_multi_head_attention(w.v, w.v, w.vars, "a", NULL))       \
    X(ht_multi_head_attention_init, ht_multi_head_attention_init(NULL, "a", F32, 1))    \
    X(transformer_block, ht_transformer_block(w.v, NULL, "a", &block))                  \
    X(transformer_block, ht_transformer_block(w.v, w.vars, NULL, &block))               \
    X(transformer_block, ht_transformer_block(w.v, w.vars, "a", NULL))                  \
    X(ht_transformer_block_init, ht_transformer_block_init(NULL, "a", F32, 1, 1))       \
    X(gru_cell, ht_gru_cell(w.v, w.v, NULL, "a"))                                       \
    X(gru_cell, ht_gru_cell(w.v, w.v, w.vars, NULL))                                    \
    X(ht_gru_cell_init, ht_gru_cell_init(w.set, NULL, F32, 1, 1))                       \
    X(lstm_cell, ht_lstm_cell(w.v, NULL, OUT, w.vars, "a"))                             \
    X(lstm_cell, ht_lstm_cell(w.v, OUT, NULL, w.vars, "a"))                             \
    X(lstm_cell, ht_lstm_cell(w.v, V, V, NULL, "a"))                                    \
    X(lstm_cell, ht_lstm_cell(w.v, V, V, w.vars, NULL))                                 \
    X(ht_lstm_cell_init, ht_lstm_cell_init(NULL, "a", F32, 1, 1))                       \
    X(mixup, ht_mixup(NULL, V, 1, 1, w.v))                                              \
    X(mixup, ht_mixup(V, NULL, 1, 1, w.v))                                              \
    X(ht_stream, ht_stream(NULL))                                                       \
    X(ht_glorot_uniform, ht_glorot_uniform(NULL, 1))                                    \
    X(ht_he_normal, ht_he_normal(NULL, 1))                                              \
    X(ht_accuracy, ht_accuracy(NULL, w.i))                                              \
    X(ht_accuracy, ht_accuracy(w.x, NULL))                                              \
    X(ht_confusion, ht_confusion(NULL, w.i, w.i))                                       \
    X(ht_confusion, ht_confusion(w.x, NULL, w.i))                                       \
    X(ht_confusion, ht_confusion(w.x, w.i, NULL))                                       \
    X(l1, ht_l1(NULL, NULL))                                                            \
    X(l2, ht_l2(NULL, NULL))                                                            \
    X(ht_rate_constant, ht_rate_constant(ht_step(w.vars), NULL))                        \
    X(ht_rate_step, ht_rate_step(ht_step(w.vars), NULL))                                \
    X(ht_rate_cosine, ht_rate_cosine(ht_step(w.vars), NULL))                            \
    X(ht_rate_one_cycle, ht_rate_one_cycle(ht_step(w.vars), NULL))                      \
    X(ht_name_matches, ht_name_matches(NULL, "a"))                                      \
    X(ht_name_matches, ht_name_matches("*", NULL))                                      \
    X(ht_update_of, ht_update_of(NULL, 1, 0, 0, 0, 0))                                  \
    X(ht_optimizer_new, ht_optimizer_new(NULL, &w.update))                              \
    X(ht_optimizer_new, ht_optimizer_new(w.set, NULL))                                  \
    X(rule, ht_optimizer_new(w.set, &(ht_update){.rate = HT_FIXED(1)}))                 \
    X(ht_optimizer_step, ht_optimizer_step(NULL, w.set))                                \
    X(ht_optimizer_step, ht_optimizer_step(w.optimizer, NULL))                          \
    X(ht_checkpoint_write, ht_checkpoint_write(NULL, w.optimizer, NULL))                \
    X(ht_checkpoint_write, ht_checkpoint_write("a", NULL, NULL))                        \
    X(ht_checkpoint_read, ht_checkpoint_read(NULL, w.optimizer, NULL))                  \
    X(ht_checkpoint_read, ht_checkpoint_read("a", NULL, NULL))                          \
    X(ht_optimizer_steps, ht_optimizer_steps(NULL))                                     \
    X(ht_optimizer_state, ht_optimizer_state(NULL))                                     \
    X(ht_update_check, ht_update_check(NULL, &w.update, NULL, NULL, w.sink))            \
    X(ht_update_check, ht_update_check(w.ctx, NULL, NULL, NULL, w.sink))                \
    X(ht_optimizer_restore, ht_optimizer_restore(NULL, w.set, 0))                       \
    X(ht_optimizer_restore, ht_optimizer_restore(w.optimizer, NULL, 0))                 \
    X(ht_optimizer_restore,                                                             \
      ht_optimizer_restore(w.optimizer, ht_optimizer_state(w.optimizer), -1))           \
    X(ht_optimizer_restore,                                                             \
      ht_optimizer_restore(w.optimizer, ht_optimizer_state(w.optimizer), INT64_MAX))    \
    /* ht_bilevel.h */                                                                  \
    X(ht_coordinate_from_value, ht_coordinate_from_value(NULL, w.x))                    \
    X(ht_coordinate_from_value, ht_coordinate_from_value(&coordinate, NULL))            \
    X(ht_coordinate_to_value, ht_coordinate_to_value(NULL, w.x))                        \
    X(ht_coordinate_to_value, ht_coordinate_to_value(&coordinate, NULL))                \
    X(ht_bilevel_new, ht_bilevel_new(NULL, PROBLEM(FULL), NULL))                        \
    X(ht_bilevel_new, ht_bilevel_new(w.ctx, NULL, NULL))                                \
    X(problem.theta, ht_bilevel_new(w.ctx, PROBLEM(.eta = w.set), NULL))                \
    X(problem.inner, ht_bilevel_new(w.ctx, &lossless, NULL))                            \
    X(bilevel, ht_bilevel_new(w.ctx, &endless, NULL))                                   \
    X(bilevel, ht_bilevel_new(w.ctx, PROBLEM(FULL),                                     \
                              (&(ht_bilevel_options){.method = (ht_method)9})))         \
    X(bilevel, ht_bilevel_new(w.ctx, PROBLEM(FULL),                                     \
                              (&(ht_bilevel_options){.schedule = (ht_schedule)9})))     \
    X(bilevel, ht_bilevel_new(w.ctx, PROBLEM(FULL, .n_coordinates = 1), NULL))          \
    X(bilevel,                                                                          \
      ht_bilevel_new(                                                                   \
          w.ctx, PROBLEM(FULL, .coordinates = &coordinate, .n_coordinates = -1), NULL)) \
    X(ht_bilevel_bytes, ht_bilevel_bytes(NULL))                                         \
    X(ht_bilevel_run, ht_bilevel_run(NULL, 0))                                          \
    X(ht_bilevel_evaluate, ht_bilevel_evaluate(NULL, 0))                                \
    X(ht_bilevel_commit, ht_bilevel_commit(NULL))                                       \
    X(ht_bilevel_state, ht_bilevel_state(NULL))                                         \
    X(ht_bilevel_start, ht_bilevel_start(NULL))                                         \
    X(ht_bilevel_minimize, ht_bilevel_minimize(NULL, &(ht_outer_options){0}))           \
    X(ht_single_new, ht_single_new(NULL, PROBLEM(FULL), &loop))                         \
    X(ht_single_new, ht_single_new(w.ctx, NULL, &loop))                                 \
    X(ht_single_new, ht_single_new(w.ctx, PROBLEM(FULL), NULL))                         \
    X(problem.theta, ht_single_new(w.ctx, PROBLEM(.eta = w.set), &loop))                \
    X(options.method,                                                                   \
      ht_single_new(w.ctx, PROBLEM(FULL),                                               \
                    (&(ht_single_options){.method = (ht_single_method)99})))            \
    X(options.rate_inner, ht_single_new(w.ctx, PROBLEM(FULL), &(ht_single_options){0})) \
    X(ht_influence_new, ht_influence_new(NULL, PROBLEM(FULL), &influence))              \
    X(ht_influence_new, ht_influence_new(w.ctx, NULL, &influence))                      \
    X(ht_influence_new, ht_influence_new(w.ctx, PROBLEM(FULL), NULL))                   \
    X(problem.eta, ht_influence_new(w.ctx, PROBLEM(.theta = w.set), &influence))        \
    X(ht_influence_new, ht_influence_new(w.ctx, PROBLEM(FULL), &influence))             \
    X(ht_influence_bytes, ht_influence_bytes(NULL))                                     \
    X(ht_influence_scores, ht_influence_scores(NULL, w.x))                              \
    X(ht_influence_smoothness, ht_influence_smoothness(NULL, 0.1, 1))                   \
    X(ht_influence_smoothness_each, ht_influence_smoothness_each(NULL, 0.1, 2, 1, w.x)) \
    X(ht_influence_retrain, ht_influence_retrain(NULL, w.x, w.x))                       \
    X(ht_influence_random, ht_influence_random(NULL, 1, 1))                             \
    X(ht_influence_random, ht_influence_random(w.x, 1, 1))                              \
    X(ht_influence_lds, ht_influence_lds(NULL, w.x, w.x, 0, 1))                         \
    X(ht_influence_lds, ht_influence_lds(w.x, NULL, w.x, 0, 1))                         \
    X(ht_influence_lds, ht_influence_lds(w.x, w.x, NULL, 0, 1))                         \
    X(ht_influence_lds, ht_influence_lds(w.x, w.x, w.x, 0, 1))                          \
    X(ht_single_step, ht_single_step(NULL))                                             \
    X(ht_single_outer, ht_single_outer(NULL))                                           \
    X(ht_single_state, ht_single_state(NULL))                                           \
    X(ht_single_restore, ht_single_restore(NULL, w.set))                                \
    X(ht_single_bytes, ht_single_bytes(NULL))                                           \
    X(ht_bilevel_smoothness, ht_bilevel_smoothness(NULL, w.set, 1))                     \
    X(ht_bilevel_hvp, ht_bilevel_hvp(NULL, w.set))                                      \
    X(ht_bilevel_write_html, ht_bilevel_write_html(NULL, "a"))                          \
    X(ht_bilevel_explain, ht_bilevel_explain(NULL, w.sink))                             \
    X(ht_bilevel_print, ht_bilevel_print(NULL, w.sink))                                 \
    X(ht_bilevel_check, ht_bilevel_check(NULL, PROBLEM(FULL), 1, w.sink))               \
    X(ht_bilevel_check, ht_bilevel_check(w.ctx, NULL, 1, w.sink))                       \
    X(ht_bilevel_check, ht_bilevel_check(w.ctx, PROBLEM(FULL), 0, w.sink))              \
    X(ht_project_capped_simplex, ht_project_capped_simplex(NULL, 1))                    \
    /* ht_data.h */                                                                     \
    X(ht_idx_read, ht_idx_read(NULL, "a"))                                              \
    X(ht_idx_read, ht_idx_read(w.ctx, NULL))                                            \
    X(ht_idx_write, ht_idx_write(NULL, "a"))                                            \
    X(ht_idx_write, ht_idx_write(w.x, NULL))                                            \
    X(ht_bytes_read, ht_bytes_read(NULL, "a"))                                          \
    X(ht_bytes_read, ht_bytes_read(w.ctx, NULL))                                        \
    X(ht_npy_read, ht_npy_read(NULL, "a"))                                              \
    X(ht_npy_read, ht_npy_read(w.ctx, NULL))                                            \
    X(ht_npy_write, ht_npy_write(NULL, "a"))                                            \
    X(ht_npy_write, ht_npy_write(w.x, NULL))                                            \
    X(ht_npz_read, ht_npz_read(NULL, "a"))                                              \
    X(ht_npz_read, ht_npz_read(w.ctx, NULL))                                            \
    X(ht_npz_write, ht_npz_write(NULL, "a"))                                            \
    X(ht_npz_write, ht_npz_write(w.set, NULL))                                          \
    X(ht_csv_read, ht_csv_read(NULL, "a", NULL, &table))                                \
    X(ht_csv_read, ht_csv_read(w.ctx, NULL, NULL, &table))                              \
    X(ht_csv_read, ht_csv_read(w.ctx, "a", NULL, NULL))                                 \
    X(ht_mnist_read, ht_mnist_read(NULL, "a", false, &images))                          \
    X(ht_mnist_read, ht_mnist_read(w.ctx, NULL, false, &images))                        \
    X(ht_mnist_read, ht_mnist_read(w.ctx, "a", false, NULL))                            \
    X(ht_cifar_read, ht_cifar_read(NULL, "a", false, &images))                          \
    X(ht_cifar_read, ht_cifar_read(w.ctx, NULL, false, &images))                        \
    X(ht_cifar_read, ht_cifar_read(w.ctx, "a", false, NULL))                            \
    X(ht_image_read, ht_image_read(NULL, "a", NULL))                                    \
    X(ht_image_read, ht_image_read(w.ctx, NULL, NULL))                                  \
    X(ht_folder_read, ht_folder_read(NULL, "a", NULL, &images))                         \
    X(ht_folder_read, ht_folder_read(w.ctx, NULL, NULL, &images))                       \
    X(ht_folder_read, ht_folder_read(w.ctx, "a", NULL, NULL))                           \
    X(ht_image_row, ht_image_row(NULL, w.x, 0))                                         \
    X(ht_image_row, ht_image_row(w.x, NULL, 0))                                         \
    X(ht_image_row, ht_image_row(w.x, w.x, -1))                                         \
    X(ht_images_rows, ht_images_rows(NULL, w.rows, 0, 1, w.x, w.i))                     \
    X(ht_images_rows, ht_images_rows(&images, w.rows, 0, 1, w.x, w.i))                  \
    X(ht_png_read, ht_png_read(NULL, "a"))                                              \
    X(ht_png_read, ht_png_read(w.ctx, NULL))                                            \
    X(ht_png_write, ht_png_write(NULL, "a", w.x))                                       \
    X(ht_png_write, ht_png_write(w.ctx, NULL, w.x))                                     \
    X(ht_png_write, ht_png_write(w.ctx, "a", NULL))                                     \
    X(ht_prefetch_new, ht_prefetch_new(NULL, fill, NULL))                               \
    X(ht_prefetch_new, ht_prefetch_new(w.set, NULL, NULL))                              \
    X(ht_prefetch_take, ht_prefetch_take(NULL, 0, w.set))                               \
    X(ht_normalizer_new, ht_normalizer_new(NULL))                                       \
    X(ht_normalize, ht_normalize(NULL, w.set))                                          \
    X(ht_normalize, ht_normalize(w.x, NULL))                                            \
    X(ht_split, ht_split(NULL, 1, 4, 1, w.rows, parts))                                 \
    X(ht_split, ht_split(w.ctx, 1, 4, 1, NULL, parts))                                  \
    X(ht_split, ht_split(w.ctx, 1, 4, 1, w.rows, NULL))                                 \
    X(ht_split, ht_split(w.ctx, 1, -4, 1, w.rows, parts))                               \
    X(ht_split, ht_split(w.ctx, 1, 4, -1, w.rows, parts))                               \
    X(ht_batch_order, ht_batch_order(1, 2, 4, 2, NULL))                                 \
    X(ht_batch_order, ht_batch_order(1, 2, -4, 2, w.rows))                              \
    X(ht_batch_order, ht_batch_order(1, 2, 4, -2, w.rows))                              \
    X(ht_corrupt_labels, ht_corrupt_labels(NULL, 1, 0.5, 2, w.i, NULL))                 \
    X(ht_corrupt_labels, ht_corrupt_labels(w.ctx, 1, 0.5, 2, NULL, NULL))               \
    X(ht_corrupt_labels, ht_corrupt_labels(w.ctx, 1, NAN, 2, w.i, NULL))                \
    X(ht_corrupt_labels, ht_corrupt_labels(w.ctx, 1, 0.5, -2, w.i, NULL))

#define ONE_MORE(says, call) +1
enum { CALLS = 0 EACH(ONE_MORE) };

static const char *const texts[] = {
#define TEXT(says, call) #call,
    EACH(TEXT)};
static const char *const names[] = {
#define NAME(says, call) #says,
    EACH(NAME)};

static void try_call(void *data)
{
    static ht_var mask;
    static ht_heads heads = {.heads = 1, .mask = &mask};
    static ht_transformer_options block = {.attention = {.heads = 1}, .eps = 1};
    static ht_conv_options conv;
    static ht_coordinate coordinate = {.outer = "w"};
    static ht_images images;
    static ht_table table;
    ht_bilevel_problem lossless = {.theta = w.set, .eta = w.set, .steps = 1};
    ht_single_options loop = {.rate_inner = 1, .rate_linear = 1, .rate_outer = 1};
    ht_influence_options influence = {.weight = "none"};
    ht_bilevel_problem endless = {
        loss, loss, .theta = w.set, .eta = w.set, .update = w.update, .steps = -1};
    int64_t *parts[1] = {w.rows};
    const ht_tensor *one = w.x, *none = NULL;
    ht_tensor *nowhere = NULL;
    const ht_set *nothing = NULL;
    ht_set *unset = NULL, *sets[] = {w.set, NULL};
    int wanted = *(const int *)data, k = 0;
#define TRY(says, call)  \
    if (k++ == wanted) { \
        (void)(call);    \
        return;          \
    }
    EACH(TRY)
}

static void null_and_senseless_arguments_are_refused_by_name(void **state)
{
    (void)state;
    int bad = 0;
    for (int k = 0; k < CALLS; k++) {
        world_open();
        bool aborted = misuse_aborts(try_call, &k);
        const char *said = aborted ? misuse_text : ht_context_message(w.ctx);
        if (!strstr(said, names[k])) {
            print_error("%s: wanted a refusal by \"%s\", got \"%s\"\n", texts[k],
                        names[k], said);
            bad++;
        }
        world_close();
    }
    printf("# %d calls\n", (int)CALLS);
    assert_int_equal(bad, 0);
}

/* Functions without a place for NULL or a senseless number, or where these are meant. */
static const char *const without[] = {
    "ht_context_free", "ht_tensor_free", "ht_tape_free", "ht_program_free", "ht_set_free",
    "ht_optimizer_free", "ht_recording_free", "ht_bilevel_free", "ht_single_free",
    "ht_influence_free", "ht_images_free", "ht_prefetch_free", "ht_table_free",
    "ht_status_name", "ht_shape_count", "ht_shape_equal", "ht_dtype_name",
    "ht_dtype_bytes", "ht_random_bits", "ht_random_uniform", "ht_op_at", "ht_is_zero",
    "ht_same", "ht_number", "ht_counted", "ht_assertion_failed",
    /* of variables alone: test_misuse_inputs.c */
    "ht_var_shape", "ht_var_dtype", "ht_value", "ht_item", "ht_jacobian", "ht_hessian",
    NULL};

static int seen;

static void check_is_tried(const char *name)
{
    char plain[80];
    size_t n = strlen(name);
    snprintf(plain, sizeof plain, "%s", name);
    if (n > 3 && !strcmp(name + n - 3, "_at") && strcmp(name, "ht_set_at") &&
        strcmp(name, "ht_vars_at") && strcmp(name, "ht_op_at"))
        plain[n -= 3] = '\0';
    seen++;
    for (int k = 0; k < CALLS; k++)
        if (!strncmp(texts[k], plain, n) && texts[k][n] == '(') return;
    for (int k = 0; without[k]; k++)
        if (!strcmp(without[k], plain)) return;
    fail_msg("%s is not tried", plain);
}

static void every_function_of_the_headers_is_tried(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "tensor/ht_status.h", "tensor/ht_tensor.h",  "autograd/ht_autograd.h",
        "nn/ht_nn.h",         "nn/ht_update.h",      "bilevel/ht_bilevel.h",
        "bilevel/ht_outer.h", "bilevel/ht_single.h", "bilevel/ht_influence.h",
        "data/ht_data.h"};
    for (size_t k = 0; k < sizeof headers / sizeof *headers; k++)
        misuse_functions(headers[k], check_is_tried);
    printf("# %d declarations\n", seen);
    assert_true(seen >= 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_and_senseless_arguments_are_refused_by_name),
        cmocka_unit_test(every_function_of_the_headers_is_tried),
    };
    return TEST_MAIN(tests);
}
