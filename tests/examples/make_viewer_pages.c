/* SPDX-License-Identifier: MIT */
/* make_viewer_pages.c: pages for test_viewer_browser.sh to open, and what the library
 * says is on them: a line each, "<page> 0 <steps>" or of a bilevel run "<page> <steps
 * run> <steps backward>". Usage: make_viewer_pages <folder> */
#include "hypertape.h"

static const char *folder;
static ht_context *ctx;

static const char *path_of(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s.html", folder, name);
    return path;
}

static void says(const char *name, int part, long long n)
{
    ht_check(ctx);
    printf("%s %d %lld\n", name, part, n);
}

/* tanh(x^2 y) e^(x/y) at 1/2, and its first and second derivative by x. */
static void make_scalars(void)
{
    double half = 0.5;
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *at = ht_tensor_wrap(ctx, HT_F64, HT_SCALAR, &half);
    ht_var x = ht_name(ht_input(tape, at), "x"), y = ht_name(ht_input(tape, at), "y"), g,
           h;
    ht_var z =
        ht_name(ht_mul(ht_tanh(ht_mul(ht_square(x), y)), ht_exp(ht_div(x, y))), "z");
    ht_grad(z, 1, &x, &g);
    ht_grad(g, 1, &x, &h);
    ht_tape_write_html(tape, path_of("scalars"));
    says("scalars", 0, ht_tape_nodes(tape));
    ht_tape_free(tape);
    ht_tensor_free(at);
}

/* As many nodes as asked for, in a chain, and names that end a string. */
static void make_chain(const char *name, uint32_t nodes)
{
    ht_tape *tape = ht_tape_new(ctx, HT_RECORD);
    ht_var y = ht_input_like(tape, ((ht_type){HT_F32, HT_SHAPE(64, 64)})), x = y;
    ht_name(x, "</script><script>alert(1)</script><!-- \"\\\n");
    while (ht_tape_nodes(tape) < nodes / 3) y = ht_tanh(ht_matmul(y, x));
    ht_var g;
    ht_grad(ht_sum(y), 1, &x, &g);
    while (ht_tape_nodes(tape) < nodes) y = ht_sin(y);
    ht_tape_write_html(tape, path_of(name));
    says(name, 0, ht_tape_nodes(tape));
    ht_tape_free(tape);
}

static void make_empty(void)
{
    ht_tape *tape = ht_tape_new(ctx, HT_RECORD);
    ht_tape_write_html(tape, path_of("empty"));
    says("empty", 0, ht_tape_nodes(tape));
    ht_tape_free(tape);
}

/* A vision transformer as examples/train/cifar_vit.c has it, with a Hessian product. */
enum { BATCH = 8, SIDE = 8, PATCH = 4, TOKENS = SIDE * SIDE, WIDTH = 64, BLOCKS = 6 };
static const char *const block_name[BLOCKS] = {"block1", "block2", "block3",
                                               "block4", "block5", "block6"};
static const ht_transformer_options block = {.attention = {.heads = 4}, .eps = 1e-5};

static void vit_init(ht_set *theta)
{
    ht_linear_init(theta, "patch", HT_F32, 3 * PATCH * PATCH, WIDTH);
    ht_set_add(theta, "position", HT_F32, HT_SHAPE(TOKENS, WIDTH));
    for (int i = 0; i < BLOCKS; i++)
        ht_transformer_block_init(theta, block_name[i], HT_F32, WIDTH, 2 * WIDTH);
    ht_norm_init(theta, "norm", HT_F32, WIDTH);
    ht_linear_init(theta, "out", HT_F32, WIDTH, 10);
}

static ht_var vit_loss(const ht_vars *theta, ht_var x, ht_var label)
{
    x = ht_reshape(x, HT_SHAPE(-1, 3, SIDE, PATCH, SIDE, PATCH));
    x = ht_permute(x, HT_AXES(0, 2, 4, 1, 3, 5));
    x = ht_reshape(x, HT_SHAPE(-1, TOKENS, 3 * PATCH * PATCH));
    x = ht_add(ht_linear(x, theta, "patch"), ht_get(theta, "position"));
    for (int i = 0; i < BLOCKS; i++)
        x = ht_transformer_block(x, theta, block_name[i], &block);
    x = ht_mean_axes(ht_layernorm_layer(x, theta, "norm", block.eps), HT_AXES(1), false);
    return ht_mean(ht_cross_entropy(ht_linear(x, theta, "out"), label));
}

enum { MOST = 256 };
static void make_transformer(void)
{
    ht_set *theta = ht_set_new(ctx);
    vit_init(theta);
    ht_tape *tape = ht_tape_new(ctx, HT_RECORD);
    ht_vars *vars = ht_vars_input(tape, theta, 0);
    ht_var in[MOST], g[MOST], hv[MOST];
    int n = 0;
    for (; n < ht_vars_count(vars); n++) in[n] = ht_vars_at(vars, n);
    ht_type image = {HT_F32, HT_SHAPE(BATCH, 3, 32, 32)}, one = {HT_I32, HT_SHAPE(BATCH)};
    in[n] = ht_name(ht_input_like(tape, image), "images");
    in[n + 1] = ht_name(ht_input_like(tape, one), "labels");
    ht_var loss = vit_loss(vars, in[n], in[n + 1]);
    ht_grad(loss, n, in, g);
    ht_hvp(loss, n, in, g, hv);
    ht_program *program = ht_program_new(tape, n + 2, in, n, hv);
    ht_check(ctx);
    ht_tape_write_html(tape, path_of("transformer"));
    says("transformer", 0, ht_tape_nodes(tape));
    ht_program_write_html(program, path_of("transformer_program"));
    says("transformer_program", 0, n + 2 + ht_program_nodes(program));
    ht_program_free(program);
    ht_tape_free(tape);
    ht_set_free(theta);
}

/* Ridge regression whose penalty is the outer variable, by descent with momentum. */
static ht_var ridge(const ht_vars *theta, const ht_vars *eta, const ht_vars *data,
                    void *user)
{
    (void)user;
    ht_var e =
        ht_sub(ht_matmul(ht_get(data, "x"), ht_get(theta, "w")), ht_get(data, "y"));
    return ht_add(ht_mean(ht_square(e)), ht_mul(ht_exp(ht_get(eta, "penalty")),
                                                ht_sum(ht_square(ht_get(theta, "w")))));
}

static ht_var error(const ht_vars *theta, const ht_vars *eta, const ht_vars *data,
                    void *user)
{
    (void)eta, (void)user;
    ht_var e =
        ht_sub(ht_matmul(ht_get(data, "x"), ht_get(theta, "w")), ht_get(data, "y"));
    return ht_mean(ht_square(e));
}

/* What a run makes of steps, as the page has to say. */
static void make_unroll(const char *name, ht_bilevel_options options)
{
    ht_set *theta = ht_set_new(ctx), *eta = ht_set_new(ctx), *data = ht_set_new(ctx);
    ht_tensor_normal(ht_set_add(data, "x", HT_F64, HT_SHAPE(32, 8)), 1, 0, 1);
    ht_tensor_normal(ht_set_add(data, "y", HT_F64, HT_SHAPE(32, 1)), 2, 0, 1);
    ht_set_add(theta, "w", HT_F64, HT_SHAPE(8, 1));
    ht_tensor_fill(ht_set_add(eta, "penalty", HT_F64, HT_SCALAR), -2);
    ht_bilevel_problem problem = {.inner = ridge,
                                  .outer = error,
                                  .theta = theta,
                                  .eta = eta,
                                  .inner_data = data,
                                  .outer_data = data,
                                  .update = HT_MOMENTUM(0.05, 0.9),
                                  .steps = 24};
    ht_bilevel *b = ht_bilevel_new(ctx, &problem, &options);
    ht_check(ctx);
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    ht_bilevel_write_html(b, path_of(name));
    ht_check(ctx);
    printf("%s %lld %lld\n", name, (long long)r.forward_steps,
           (long long)r.reverse_steps);
    ht_bilevel_free(b);
    ht_set_free(theta), ht_set_free(eta), ht_set_free(data);
}

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    folder = argv[1];
    ctx = ht_context_new(&(ht_context_options){.threads = 1});
    make_empty();
    make_scalars();
    make_chain("chain", 5000);
    make_transformer();
    make_unroll("unroll", (ht_bilevel_options){
                              .method = HT_REVERSE, .schedule = HT_REVOLVE, .slots = 4});
    make_unroll("unroll_all",
                (ht_bilevel_options){.method = HT_REVERSE, .schedule = HT_STORE_ALL});
    make_unroll("unroll_reversible", (ht_bilevel_options){.method = HT_REVERSIBLE});
    make_unroll("unroll_forward", (ht_bilevel_options){.method = HT_FORWARD});
    make_unroll("unroll_implicit", (ht_bilevel_options){.method = HT_IMPLICIT});
    ht_context_free(ctx);
    return 0;
}
