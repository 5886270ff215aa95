/* SPDX-License-Identifier: MIT */
/* test_misuse_owners.c: what was freed and is used, or freed again: the call is named, in
 * words and not by a signal. Each ends as those of test_misuse_first_hour.c do.
 * Read next: first_hour.h. */
#include "first_hour.h"

static ht_tensor *gone(desk *d)
{
    ht_tensor *x = TENSOR(HT_F32, 4, 2);
    ht_tensor_free(x);
    return x;
}

static ht_set *gone_set(desk *d)
{
    ht_set *set = ht_set_new(d->ctx);
    ht_set_add(set, "w", HT_F32, HT_SHAPE(2));
    ht_set_free(set);
    return set;
}

static ht_tape *gone_tape(desk *d)
{
    ht_tape *tape = ht_tape_new(d->ctx, HT_EAGER);
    ht_input(tape, TENSOR(HT_F32, 3));
    ht_tape_free(tape);
    return tape;
}

#define AFTER(name, call)     \
    static void name(desk *d) \
    {                         \
        call;                 \
    }

/* Tensors. */
AFTER(input_of_a_freed_tensor, ht_input(d->eager, gone(d)))
AFTER(get_of_a_freed_tensor, ht_tensor_get(gone(d), 0))
AFTER(set_of_a_freed_tensor, ht_tensor_set(gone(d), 0, 1))
AFTER(fill_of_a_freed_tensor, ht_tensor_fill(gone(d), 1))
AFTER(normal_of_a_freed_tensor, ht_tensor_normal(gone(d), 0, 0, 1))
AFTER(projection_of_a_freed_tensor, ht_tensor_project_simplex(gone(d), 1))
AFTER(shrinking_of_a_freed_tensor, ht_tensor_group_soft_threshold(gone(d), 1))
AFTER(box_of_a_freed_tensor, ht_tensor_project_box(gone(d), 0, 1))
AFTER(data_of_a_freed_tensor, ht_tensor_data(gone(d)))
AFTER(shape_of_a_freed_tensor, ht_tensor_shape(gone(d)))
AFTER(print_of_a_freed_tensor, ht_tensor_print(gone(d), stdout))
AFTER(copy_from_a_freed_tensor, ht_tensor_copy(TENSOR(HT_F32, 4, 2), gone(d)))
AFTER(rows_of_a_freed_tensor, ht_rows(TENSOR(HT_F32, 2, 2), gone(d), NULL, 0, 2))
AFTER(accuracy_of_a_freed_tensor, ht_accuracy(gone(d), TENSOR(HT_I32, 4)))
AFTER(file_of_a_freed_tensor, ht_idx_write(gone(d), "gone.idx"))

/* Sets. */
AFTER(file_of_a_freed_set, ht_set_write(gone_set(d), "gone.safetensors"))
AFTER(addition_to_a_freed_set, ht_set_add(gone_set(d), "v", HT_F32, HT_SHAPE(2)))
AFTER(tensor_of_a_freed_set, ht_set_tensor(gone_set(d), "w"))
AFTER(first_of_a_freed_set, ht_set_at(gone_set(d), 0))
AFTER(clone_of_a_freed_set, ht_set_clone(gone_set(d), HT_F32))
AFTER(copy_from_a_freed_set, ht_set_copy(d->theta, gone_set(d)))
AFTER(product_with_a_freed_set, ht_set_dot(d->theta, gone_set(d)))
AFTER(sum_with_a_freed_set, ht_set_axpy(1, gone_set(d), d->theta))
AFTER(elements_of_a_freed_set, ht_set_flatten(gone_set(d), TENSOR(HT_F32, 3)))
AFTER(set_from_a_freed_tensor, ht_set_unflatten(d->theta, gone(d)))
AFTER(variables_of_a_freed_set, ht_vars_input(d->eager, gone_set(d), 0))
AFTER(print_of_a_freed_set, ht_set_print(gone_set(d), stdout))

/* Tapes. */
AFTER(reset_of_a_freed_tape, ht_tape_reset(gone_tape(d)))
AFTER(free_of_a_freed_tape, ht_tape_free(gone_tape(d)))
AFTER(input_on_a_freed_tape, ht_input(gone_tape(d), TENSOR(HT_F32, 3)))
AFTER(page_of_a_freed_tape, ht_tape_write_html(gone_tape(d), "gone.html"))
AFTER(constant_on_a_freed_tape, ht_constant(gone_tape(d), 1))

static void op_on_a_freed_tape(desk *d)
{
    ht_tape *tape = ht_tape_new(d->ctx, HT_EAGER);
    ht_var x = ht_input(tape, TENSOR(HT_F32, 3));
    ht_tape_free(tape);
    ht_exp(x);
}

/* Of the step before: what now lies where they lay is not taken for them. */

static ht_vars *step_before(desk *d)
{
    ht_set_add(d->theta, "w", HT_F32, HT_SHAPE(2));
    ht_vars *old = ht_vars_input(d->eager, d->theta, 0);
    ht_tape_reset(d->eager);
    ht_vars_input(d->eager, d->theta, 1);
    return old;
}

AFTER(get_of_the_step_before, ht_get(step_before(d), "w"))
AFTER(layer_of_the_step_before, ht_linear(INPUT(HT_F32, 1, 2), step_before(d), "out"))
AFTER(backward_of_the_step_before, ht_backward(INPUT(HT_F32, 1), step_before(d), d->data))

/* What borrows. */

static ht_optimizer *sgd(desk *d)
{
    ht_set_add(d->theta, "w", HT_F32, HT_SHAPE(2));
    ht_update update = HT_SGD(0.1);
    return ht_optimizer_new(d->theta, &update);
}

static void optimizer_over_a_freed_set(desk *d)
{
    ht_update update = HT_SGD(0.1);
    ht_optimizer_new(gone_set(d), &update);
}

static void step_of_a_freed_optimizer(desk *d)
{
    ht_optimizer *o = sgd(d);
    ht_optimizer_free(o);
    ht_optimizer_step(o, d->theta);
}

static void step_by_a_freed_gradient(desk *d)
{
    ht_optimizer_step(sgd(d), gone_set(d));
}

static void optimizer_freed_twice(desk *d)
{
    ht_optimizer *o = sgd(d);
    ht_optimizer_free(o);
    ht_optimizer_free(o);
}

static ht_program *gone_program(desk *d)
{
    ht_var x = ht_input_like(d->recorded, (ht_type){HT_F32, HT_SHAPE(2)}), y = ht_exp(x);
    ht_program *p = ht_program_new(d->recorded, 1, &x, 1, &y);
    ht_program_free(p);
    return p;
}

AFTER(free_of_a_freed_program, ht_program_free(gone_program(d)))
AFTER(page_of_a_freed_program, ht_program_write_html(gone_program(d), "gone.html"))
AFTER(bytes_of_a_freed_program, ht_program_bytes(gone_program(d)))

static void run_of_a_freed_program(desk *d)
{
    const ht_tensor *in = TENSOR(HT_F32, 2);
    ht_tensor *out = TENSOR(HT_F32, 2);
    ht_program_run(gone_program(d), &in, &out);
}

static ht_var loss(const ht_vars *theta, const ht_vars *eta, const ht_vars *data, void *u)
{
    (void)data;
    (void)u;
    return ht_sum(ht_square(ht_sub(ht_get(theta, "w"), ht_get(eta, "target"))));
}

static ht_bilevel *gone_bilevel(desk *d)
{
    ht_set *eta = ht_set_new(d->ctx);
    ht_set_add(d->theta, "w", HT_F32, HT_SHAPE(2));
    ht_set_add(eta, "target", HT_F32, HT_SCALAR);
    ht_bilevel_problem p = {.inner = loss,
                            .outer = loss,
                            .theta = d->theta,
                            .eta = eta,
                            .inner_data = d->data,
                            .outer_data = d->data,
                            .steps = 3,
                            .update = HT_SGD(0.1)};
    ht_bilevel *b = ht_bilevel_new(d->ctx, &p, NULL);
    ht_bilevel_free(b);
    return b;
}

AFTER(free_of_a_freed_bilevel, ht_bilevel_free(gone_bilevel(d)))
AFTER(run_of_a_freed_bilevel, ht_bilevel_run(gone_bilevel(d), 0))
AFTER(evaluation_of_a_freed_bilevel, ht_bilevel_evaluate(gone_bilevel(d), 0))

/* Contexts. */

static void context_freed_twice(desk *d)
{
    ht_context *ctx = ht_context_new(NULL);
    (void)d;
    ht_context_free(ctx);
    ht_context_free(ctx);
}

static void program_left_over(desk *d)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_RECORD);
    ht_var x = ht_input_like(tape, (ht_type){HT_F32, HT_SHAPE(2)}), y = ht_exp(x);
    (void)d;
    ht_program_new(tape, 1, &x, 1, &y);
    ht_tape_free(tape);
    ht_context_free(ctx);
}

#define GONE(f, place) STOPS(f, "was freed before", place, "last use")

static const mistake mistakes[] = {
    GONE(input_of_a_freed_tensor, "ht_input"),
    GONE(get_of_a_freed_tensor, "ht_tensor_get"),
    GONE(set_of_a_freed_tensor, "ht_tensor_set"),
    GONE(fill_of_a_freed_tensor, "ht_tensor_fill"),
    GONE(normal_of_a_freed_tensor, "ht_tensor_normal"),
    GONE(projection_of_a_freed_tensor, "ht_tensor_project_simplex"),
    GONE(shrinking_of_a_freed_tensor, "ht_tensor_group_soft_threshold"),
    GONE(box_of_a_freed_tensor, "ht_tensor_project_box"),
    GONE(data_of_a_freed_tensor, "ht_tensor_data"),
    GONE(shape_of_a_freed_tensor, "ht_tensor_shape"),
    GONE(print_of_a_freed_tensor, "ht_tensor_print"),
    GONE(copy_from_a_freed_tensor, "ht_tensor_copy"),
    GONE(rows_of_a_freed_tensor, "ht_rows"),
    GONE(accuracy_of_a_freed_tensor, "ht_accuracy"),
    GONE(file_of_a_freed_tensor, "ht_idx_write"),
    GONE(file_of_a_freed_set, "ht_set_write"),
    GONE(addition_to_a_freed_set, "ht_set_add"),
    GONE(tensor_of_a_freed_set, "ht_set_tensor"),
    GONE(first_of_a_freed_set, "ht_set_at"),
    GONE(clone_of_a_freed_set, "ht_set_clone"),
    GONE(copy_from_a_freed_set, "ht_set_copy"),
    GONE(product_with_a_freed_set, "ht_set_dot"),
    GONE(sum_with_a_freed_set, "ht_set_axpy"),
    GONE(elements_of_a_freed_set, "ht_set_flatten"),
    GONE(set_from_a_freed_tensor, "ht_set_unflatten"),
    GONE(variables_of_a_freed_set, "ht_vars_input"),
    GONE(print_of_a_freed_set, "ht_set_print"),
    GONE(reset_of_a_freed_tape, "ht_tape_reset"),
    GONE(free_of_a_freed_tape, "ht_tape_free"),
    GONE(input_on_a_freed_tape, "ht_input"),
    GONE(page_of_a_freed_tape, "ht_tape_write_html"),
    GONE(constant_on_a_freed_tape, "ht_constant"),
    STOPS(op_on_a_freed_tape, "stale", "exp", "reset"),
    STOPS(get_of_the_step_before, "stale", "ht_get", "ht_vars_input again"),
    STOPS(layer_of_the_step_before, "stale", HERE, "ht_vars_input again"),
    STOPS(backward_of_the_step_before, "stale", HERE, "ht_vars_input again"),
    GONE(optimizer_over_a_freed_set, "optimizer"),
    GONE(step_of_a_freed_optimizer, "ht_optimizer_step"),
    GONE(step_by_a_freed_gradient, "ht_optimizer_step"),
    GONE(optimizer_freed_twice, "ht_optimizer_free"),
    GONE(free_of_a_freed_program, "ht_program_free"),
    GONE(page_of_a_freed_program, "ht_program_write_html"),
    GONE(bytes_of_a_freed_program, "ht_program_bytes"),
    GONE(run_of_a_freed_program, "ht_program_run"),
    GONE(free_of_a_freed_bilevel, "ht_bilevel_free"),
    GONE(run_of_a_freed_bilevel, "ht_bilevel_run"),
    GONE(evaluation_of_a_freed_bilevel, "ht_bilevel_evaluate"),
    STOPS(context_freed_twice, "was freed before", "ht_context_free", "context"),
    STOPS(program_left_over, "program", "ht_context_free", "free them before it"),
};

FIRST_HOUR(mistakes)
