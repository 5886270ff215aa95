/* SPDX-License-Identifier: MIT */
/* own_rule.c: an update rule of one's own, from its paper: a file to copy.
 *
 *   cc own_rule.c -o own_rule $(pkg-config --cflags --libs hypertape) -lm \
 *       -Wl,-rpath,"$(pkg-config --variable=libdir hypertape)"
 *   ./own_rule [FOLDER]
 *
 * The rule is Lion (Chen et al. 2023, "Symbolic discovery of optimization algorithms"):
 *   c = beta1 m + (1 - beta1) g,  w -= rate (sign c + decay w)
 *   m = beta2 m + (1 - beta2) g
 * ht_update_check holds it against itself and says what is wrong with it, if something
 * is; then it trains a network on the digits of FOLDER (MNIST) beside Adam. A bilevel
 * takes it as it takes the library's rules. Of a sign the derivative is 0, as the check
 * says: hypergradients go through rate, decay and w, not through g, beta1 and beta2. */
#include <hypertape.h>

/* Edit 1 of 3, the step: by ops alone, once for each parameter tensor, recorded. Numbers
 * are 0-d f64 and meet w in its type. */
static ht_var beside(ht_var number, ht_var x)
{
    return ht_cast(number, ht_var_dtype(x));
}

static ht_var average(ht_var beta, ht_var a, ht_var b)
{
    return ht_add(ht_mul(beside(beta, a), a), ht_mul(beside(ht_sub(1.0, beta), a), b));
}

static void lion_apply(ht_update_step *s)
{
    ht_var m = s->state[0], c = average(s->momentum, m, s->g);
    ht_var below = ht_where(ht_greater(0.0, c), -1.0, 0.0);
    ht_var along = ht_where(ht_greater(c, 0.0), 1.0, below);
    if (!ht_is_zero(s->decay)) along = ht_add(along, ht_mul(beside(s->decay, c), s->w));
    s->new_w = ht_sub(s->w, ht_mul(beside(s->rate, c), along));
    s->new_state[0] = average(s->beta2, m, s->g);
}

/* Edit 2 of 3, the row: what the rule keeps, and which numbers it has. */
static const ht_update_rule lion = {.name = "lion",
                                    .n_state = 1,
                                    .state = {"m"},
                                    .has_momentum = true,
                                    .has_beta2 = true,
                                    .decays_itself = true,
                                    .apply = lion_apply};

/* Edit 3 of 3, the network: numbers for ten digits. */
enum { PIXELS = 784, HIDDEN = 128, BATCH = 100, EPOCHS = 5 };
static ht_context *ctx;
static ht_images train, test;

static ht_var logits(const ht_vars *theta, ht_var x)
{
    return ht_linear(ht_relu(ht_linear(x, theta, "hidden")), theta, "out");
}

static void record(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    (void)user;
    ht_var guess = logits(in[0], ht_get(in[1], "x"));
    ht_var loss = ht_mean(ht_cross_entropy(guess, ht_get(in[1], "label")));
    ht_vars_backward(loss, in[0], out[0]);
}

/* Percent of unseen digits that are read right, after some epochs by an update. */
static double trained(const ht_update *update)
{
    int64_t n = ht_tensor_count(train.labels), m = ht_tensor_count(test.labels);
    ht_set *theta = ht_set_new(ctx), *batch = ht_set_new(ctx);
    ht_linear_init(theta, "hidden", HT_F32, PIXELS, HIDDEN);
    ht_linear_init(theta, "out", HT_F32, HIDDEN, train.classes);
    ht_tensor *x = ht_set_add(batch, "x", HT_F32, HT_SHAPE(BATCH, PIXELS));
    ht_tensor *label = ht_set_add(batch, "label", HT_I32, HT_SHAPE(BATCH));
    ht_set *gradient = ht_set_clone(theta, HT_F32);
    ht_recording *step = ht_recording_new((const ht_set *[]){theta, batch, NULL},
                                          (ht_set *[]){gradient, NULL}, record, NULL);
    ht_optimizer *optimizer = ht_optimizer_new(theta, update);
    for (int t = 0; t < EPOCHS * (n / BATCH); t++) {
        int64_t rows[BATCH];
        ht_batch_order(1, (uint64_t)t, n, BATCH, rows);
        ht_images_rows(&train, rows, 0, BATCH, x, label);
        ht_recording_run(step, t);
        ht_optimizer_step(optimizer, gradient);
    }
    ht_tensor *unseen = ht_tensor_new(ctx, HT_F32, HT_SHAPE(m, PIXELS));
    ht_images_rows(&test, NULL, 0, m, unseen, NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_var guess = logits(ht_vars_input(tape, theta, 0), ht_input(tape, unseen));
    double right = 100 * ht_accuracy(ht_value(guess), test.labels);
    ht_tape_free(tape);
    ht_tensor_free(unseen);
    ht_optimizer_free(optimizer);
    ht_recording_free(step);
    ht_set_free(gradient);
    ht_set_free(batch);
    ht_set_free(theta);
    return right;
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : "data/bundled/mnist";
    ctx = ht_context_new(&(ht_context_options){.on_error = ht_print_and_exit});
    ht_update by_lion = {.rule = &lion,
                         .rate = HT_FIXED(3e-4),
                         .momentum = HT_FIXED(0.9),
                         .beta2 = HT_FIXED(0.99),
                         .decay = HT_FIXED(0.1)};
    bool right = ht_update_check(ctx, &by_lion, NULL, NULL, stdout);
    printf("the rule is %s\n", right ? "right" : "WRONG");
    if (!right) return 1;
    ht_mnist_read(ctx, folder, false, &train);
    ht_mnist_read(ctx, folder, true, &test);
    ht_update by_adam = HT_ADAM(1e-3);
    printf("unseen digits read right after %d epochs: lion %.2f %%, adam %.2f %%\n",
           EPOCHS, trained(&by_lion), trained(&by_adam));
    ht_images_free(&train);
    ht_images_free(&test);
    ht_context_free(ctx);
    return 0;
}
