/* SPDX-License-Identifier: MIT */
/* test_layers.h: compares a layer's or a loss's value, gradient and Hessian product with
 * PyTorch's numbers. Read next: test_nn_layers.c, test_nn_loss.c, reference/layers.py. */
#ifndef HTI_TEST_LAYERS_H
#define HTI_TEST_LAYERS_H

#include "reference.h"
#include "test_nn.h"

enum { MOST = 18, MOST_NUMBERS = 2048 };

/* Numbers of one case, in the order of layers.py. */
struct layer_reference {
    const char *name;
    int n;
    double numbers[MOST_NUMBERS];
};

typedef struct layer_case {
    ht_context *ctx;
    ht_tape *tape;
    int n; /* operands: free ones, then the set's */
    ht_var operand[MOST];
    ht_set *theta, *other; /* other: a case's own, freed after it */
    ht_vars *vars;
} layer_case;

/* As tests/reference/layers.py makes them. */
static inline void layer_fill(ht_tensor *x, int salt)
{
    for (int64_t k = 0; k < ht_tensor_count(x); k++)
        ht_tensor_set(x, k, (double)((37 * k + 11 * salt) % 101 - 50) / 64);
}

/* Variables borrow their tensors, so those of a case stand in one set. */
static inline ht_var layer_filled(layer_case *c, ht_set *set, ht_shape shape, int salt)
{
    char name[32];
    snprintf(name, sizeof name, "filled %d", salt);
    ht_tensor *x = ht_set_add(set, name, HT_F64, shape);
    assert_non_null(x);
    layer_fill(x, salt);
    return ht_input(c->tape, x);
}

static inline ht_var layer_free(layer_case *c, ht_set *set, ht_shape shape)
{
    int salt = c->n++;
    return c->operand[salt] = layer_filled(c, set, shape, salt);
}

/* The parameters, once they are all added. */
static inline void layer_vars(layer_case *c)
{
    for (int i = 0; i < ht_set_count(c->theta); i++)
        layer_fill(ht_set_at(c->theta, i), c->n + i);
    c->vars = ht_vars_input(c->tape, c->theta, 0);
    for (int i = 0; i < ht_set_count(c->theta); i++)
        c->operand[c->n++] = ht_vars_at(c->vars, i);
}

typedef ht_var (*layer_fn)(layer_case *c, ht_set *set);

/* How a case is made of operands that layer_free and layer_vars give it. */
struct layer_maker {
    const char *name;
    layer_fn make;
};

/* x against the reference from `at` on; returns where the next one starts. */
static inline int layer_compare(const struct layer_reference *r, int at, ht_var x,
                                const char *what)
{
    const ht_tensor *value = ht_value(x);
    if (!value) fail_msg("%s: no %s", r->name, what);
    for (int64_t k = 0; k < ht_tensor_count(value); k++, at++) {
        double got = ht_tensor_get(value, k), want = r->numbers[at];
        double scale = fabs(want) > 1 ? fabs(want) : 1;
        if (at >= r->n || !(fabs(got - want) <= 1e-10 * scale))
            fail_msg("%s, %s, element %lld: got %.17g, PyTorch %.17g", r->name, what,
                     (long long)k, got, want);
    }
    return at;
}

static inline int check_layer(const struct layer_maker *m,
                              const struct layer_reference *r)
{
    layer_case c = {.ctx = ht_context_new(NULL)};
    assert_string_equal(m->name, r->name);
    c.tape = ht_tape_new(c.ctx, HT_EAGER);
    c.theta = ht_set_new(c.ctx);
    ht_set *set = ht_set_new(c.ctx);
    ht_var y = m->make(&c, set), g[MOST], hv[MOST], u[MOST];
    test_no_error(c.ctx);
    ht_var w = layer_filled(&c, set, ht_var_shape(y), 100);
    ht_var phi = ht_sum(ht_mul(y, w));
    ht_grad(phi, c.n, c.operand, g);
    for (int i = 0; i < c.n; i++)
        u[i] = layer_filled(&c, set, ht_var_shape(c.operand[i]), 200 + i);
    ht_hvp(phi, c.n, c.operand, u, hv);
    test_no_error(c.ctx);
    int at = layer_compare(r, 0, y, "value");
    for (int i = 0; i < c.n; i++) at = layer_compare(r, at, g[i], "gradient");
    for (int i = 0; i < c.n; i++) at = layer_compare(r, at, hv[i], "Hessian product");
    assert_int_equal(at, r->n);
    ht_tape_free(c.tape);
    ht_set_free(set);
    ht_set_free(c.other);
    ht_set_free(c.theta);
    ht_context_free(c.ctx);
    return at;
}

/* All cases, which stand in the order of the table; returns how many numbers. */
static inline int check_layers(int n, const struct layer_maker *makers, const char *table)
{
    static reference r;
    static struct layer_reference want;
    int cases = 0, numbers = 0;
    reference_open(&r, table);
    for (; reference_next(&r); cases++) {
        assert_true(cases < n);
        want.name = reference_word(&r);
        want.n = reference_numbers(&r, "numbers", MOST_NUMBERS, want.numbers);
        numbers += check_layer(&makers[cases], &want);
    }
    assert_int_equal(cases, n);
    printf("# %d cases, %d numbers\n", n, numbers);
    return numbers;
}

#endif
