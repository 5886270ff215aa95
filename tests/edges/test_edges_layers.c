/* SPDX-License-Identifier: MIT */
/* test_edges_layers.c: the table of edges for products, movement, attention and layers;
 * and that every op, loss and layer of the headers stands in the table, or is said not
 * to. The parameters of layers are those of reference/edges_layers.py. */
#include "edges.h"

#define PAIR(x) 2, ((ht_var[]){x, x})

/* Movement. */

static ht_var edge_index(ht_var x, int n, const int *at)
{
    ht_var part[4];
    for (int k = 0; k < n; k++)
        part[k] = ht_broadcast(ht_cast(ht_constant(x.tape, at[k]), HT_I32), HT_SHAPE(1));
    return ht_concat(n, part, 0);
}

FORM(reshape, ht_reshape(x[0], HT_SHAPE(3, 1)))
FORM(permute, ht_permute(x[0], HT_AXES(2, 0, 1)))
FORM(transpose, ht_transpose(x[0]))
FORM(broadcast, ht_broadcast(x[0], HT_SHAPE(2, 3)))
FORM(slice, ht_slice(x[0], 0, 2, 2, -2))
FORM(pad, ht_pad(x[0], 0, 1, 1))
FORM(concat, ht_concat(PAIR(x[0]), 0))
FORM(stack, ht_stack(PAIR(x[0]), 1))
FORM(flip, ht_flip(x[0], 0))
FORM(gather, ht_gather(x[0], edge_index(x[0], 3, (int[]){2, 0, 2})))
FORM(take_last, ht_take_last(x[0], edge_index(x[0], 2, (int[]){2, 0})))
FORM(tril, ht_tril(x[0], 1, 0))
FORM(scatter_add, ht_scatter_add(x[0], edge_index(x[0], 1, (int[]){1}), x[1]))
FORM(one_hot, ht_one_hot(ht_cast(x[0], HT_I32), 3, ht_var_dtype(x[0])))

/* Products and attention. */

static const ht_conv_options once = {{1, 1}, {0, 0}, {1, 1}, 1};
FORM(matmul, ht_matmul(x[0], x[1]))
FORM(conv2d, ht_conv2d(x[0], x[1], once))
FORM(attention, ht_attention(x[0], x[1], x[2], HT_ZERO, false))
FORM(attention_causal, ht_attention(x[0], x[1], x[2], HT_ZERO, true))

/* Layers. */

enum { SETS = 32 };
static struct {
    char key[80];
    ht_set *set;
} made[SETS];

/* Tensor c of a layer: ((7 k + 3 c) mod 11 - 5) / 8. */
static void edge_fill(ht_set *set)
{
    for (int c = 0; c < ht_set_count(set); c++)
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(set, c)); k++)
            ht_tensor_set(ht_set_at(set, c), k, (double)((7 * k + 3 * c) % 11 - 5) / 8);
}

static void edge_add(ht_set *set, const char *kind, ht_dtype dtype)
{
    if (!strcmp(kind, "linear")) ht_linear_init(set, "l", dtype, 2, 2);
    if (!strcmp(kind, "conv")) ht_conv2d_init(set, "l", dtype, HT_SHAPE(1, 1, 1, 2));
    if (!strcmp(kind, "embedding")) ht_embedding_init(set, "l", dtype, 2, 2);
    if (!strcmp(kind, "norm")) ht_norm_init(set, "l", dtype, 3);
    if (!strcmp(kind, "norm1")) ht_norm_init(set, "l", dtype, 1);
    if (!strcmp(kind, "rmsnorm")) ht_rmsnorm_init(set, "l", dtype, 3);
    if (!strcmp(kind, "heads")) ht_multi_head_attention_init(set, "l", dtype, 2);
    if (!strcmp(kind, "block")) ht_transformer_block_init(set, "l", dtype, 3, 2);
    if (!strcmp(kind, "gru")) ht_gru_cell_init(set, "l", dtype, 1, 1);
    if (!strcmp(kind, "lstm")) ht_lstm_cell_init(set, "l", dtype, 1, 1);
    if (!strcmp(kind, "running")) ht_batchnorm_running_init(set, "l", dtype, 1);
}

/* The parameters of a kind of layer, on x's tape. */
static ht_vars *edge_layer(ht_var x, const char *kind)
{
    char key[80];
    ht_dtype dtype = ht_var_dtype(x);
    snprintf(key, sizeof key, "%s %d", kind, (int)dtype);
    int i = 0;
    while (i < SETS - 1 && made[i].set && strcmp(made[i].key, key)) i++;
    if (!made[i].set) {
        memcpy(made[i].key, key, sizeof key);
        made[i].set = ht_set_new(ht_tape_context(x.tape));
        edge_add(made[i].set, kind, dtype);
        if (strcmp(kind, "running"))
            edge_fill(made[i].set);
        else
            ht_tensor_fill(ht_set_at(made[i].set, 0), 2);
        if (!strcmp(kind, "running")) ht_tensor_fill(ht_set_at(made[i].set, 1), 3);
    }
    ht_vars *vars = ht_vars_input(x.tape, made[i].set, 0);
    edge_parameters(made[i].set, vars);
    return vars;
}

static void edge_done(void)
{
    for (int i = 0; i < SETS; i++) {
        ht_set_free(made[i].set);
        made[i].set = NULL;
    }
}

FORM(linear, ht_linear(x[0], edge_layer(x[0], "linear"), "l"))
FORM(conv2d_layer, ht_conv2d_layer(x[0], edge_layer(x[0], "conv"), "l", once))
FORM(embedding, ht_embedding(ht_cast(x[0], HT_I32), edge_layer(x[0], "embedding"), "l"))
FORM(layernorm_layer, ht_layernorm_layer(x[0], edge_layer(x[0], "norm"), "l", 1e-5))
FORM(rmsnorm_layer, ht_rmsnorm_layer(x[0], edge_layer(x[0], "rmsnorm"), "l", 1e-5))
FORM(groupnorm_layer, ht_groupnorm_layer(x[0], edge_layer(x[0], "norm"), "l", 1, 1e-5))
FORM(batchnorm_layer, ht_batchnorm_layer(x[0], edge_layer(x[0], "norm1"), "l", 1e-5))
FORM(batchnorm_given_layer,
     ht_batchnorm_given_layer(x[0], edge_layer(x[0], "norm1"),
                              edge_layer(x[0], "running"), "l", 1e-5))
FORM(multi_head_attention, ht_multi_head_attention(x[0], x[0], edge_layer(x[0], "heads"),
                                                   "l", &(ht_heads){.heads = 2}))
FORM(transformer_block,
     ht_transformer_block(x[0], edge_layer(x[0], "block"), "l",
                          &(ht_transformer_options){{.heads = 3}, 1e-5, 0, false}))
FORM(gru_cell, ht_gru_cell(x[0], x[1], edge_layer(x[0], "gru"), "l"))

static ht_var form_lstm_cell(const ht_var *x)
{
    ht_var h = x[1], c = x[2];
    ht_lstm_cell(x[0], &h, &c, edge_layer(x[0], "lstm"), "l");
    return ht_concat(2, ((ht_var[]){h, c}), 1);
}

static const edge_form forms[] = {
    ROW(reshape, "3"),
    ROW(permute, "1x1x3"),
    ROW(transpose, "1x3"),
    ROW(broadcast, "3"),
    ROW(slice, "3"),
    ROW(pad, "3"),
    ROW(concat, "3"),
    ROW(stack, "3"),
    ROW(flip, "3"),
    ROW(gather, "3"),
    ROW(take_last, "3"),
    ROW(tril, "1x3"),
    ROW(scatter_add, "2 1"),
    ROW(one_hot, "1"),
    ROW(matmul, "1x2 2x1"),
    ROW(conv2d, "1x1x1x2 1x1x1x2"),
    ROW(attention, "2x1 2x1 2x1"),
    ROW(attention_causal, "2x1 2x1 2x1"),
    ROW(linear, "1x2"),
    ROW(conv2d_layer, "1x1x1x2"),
    ROW(embedding, "1"),
    ROW(layernorm_layer, "1x3"),
    ROW(rmsnorm_layer, "1x3"),
    ROW(groupnorm_layer, "1x3"),
    ROW(batchnorm_layer, "3x1"),
    ROW(batchnorm_given_layer, "2x1"),
    ROW(multi_head_attention, "2x2"),
    ROW(transformer_block, "2x3"),
    ROW(gru_cell, "1x1 1x1"),
    ROW(lstm_cell, "1x1 1x1 1x1"),
    {.name = NULL},
};

/* What is not in the table, and why. */
static const struct {
    const char *name, *why;
} elsewhere[] = {
    {"uniform", "its numbers are a stream's: test_tensor_random, test_autograd_random"},
    {"normal", "as uniform"},
    {"dropout_mask", "as uniform"},
    {"dropout", "x times dropout_mask"},
    {"dropout_layer", "as dropout"},
    {"translate", "two products: test_nn_augment, as the rest that distorts images"},
    {"random_shift", "translate by random numbers"},
    {"random_flip", "flip or not"},
    {"random_cutout", "a product with random numbers"},
    {"random_brightness", "a sum with random numbers"},
    {"random_contrast", "as random_brightness"},
    {"random_colour", "as random_brightness"},
    {"mixup", "a mean of two rows"},
    {"batchnorm_track", "batch_statistics, and a sum of two"},
    {"vars_input", "computes nothing"},
    {"vars_grad", "is ht_grad"},
    {"vars_backward", "is ht_grad"},
    {"backward", "values of ht_grad"},
    {"recording_run", "a program's run"},
    {"optimizer_step", "update rules: test_edges_update"},
    {"vars_set", "computes nothing"},
    {"optimizer_new", "computes nothing"},
    {"get", "computes nothing"},
    {"accuracy", "counts: test_nn_training"},
    {"confusion", "counts: test_nn_training"},
};

/* Forms are named after a function, or that and what of it. */
static bool stands_in_table(const char *name)
{
    static reference r;
    size_t n = strlen(name);
    bool found = false;
    reference_open(&r, "edges.txt");
    while (reference_next(&r)) {
        const char *form = reference_word(&r);
        found |= !strncmp(form, name, n) && (form[n] == '\0' || form[n] == '_');
    }
    for (size_t k = 0; k < sizeof elsewhere / sizeof *elsewhere; k++)
        found |= !strcmp(elsewhere[k].name, name);
    return found;
}

static void every_function_of_the_headers_stands_in_the_table(void **state)
{
    (void)state;
    static const char *const header[] = {"autograd/ht_ops.h", "nn/ht_losses.h",
                                         "nn/ht_augment.h", "nn/ht_nn.h",
                                         "nn/ht_update.h"};
    int functions = 0;
    for (int k = 0; k < 4; k++) {
        char line[256], name[40];
        FILE *f = test_source(header[k]);
        while (fgets(line, sizeof line, f)) {
            if (sscanf(line, "#define ht_%39[a-z0-9_](", name) != 1) continue;
            if (!stands_in_table(name)) fail_msg("ht_%s is not in the table", name);
            functions++;
        }
        fclose(f);
    }
    printf("# %d functions\n", functions);
    assert_true(functions >= 104);
}

static void layers_at_the_edges_have_the_digits(void **state)
{
    (void)state;
    edge_tally tally = edge_walk(forms, edge_done);
    assert_int_equal(tally.failed, 0);
    assert_true(tally.cases >= 365);
    assert_true(tally.numbers[0] >= 1000);
    assert_true(tally.numbers[1] >= 3000);
    assert_true(tally.numbers[2] >= 10300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_function_of_the_headers_stands_in_the_table),
        cmocka_unit_test(layers_at_the_edges_have_the_digits),
    };
    return TEST_MAIN(tests);
}
