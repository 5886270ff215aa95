/* SPDX-License-Identifier: MIT */
/* ht_nn.h: named sets of tensors, layers, and update rules written as tape functions, so
 * that one text serves plain training and training that is differentiated.
 *
 * Read next: nn/README.md, ht_bilevel.h. */
#ifndef HT_NN_H
#define HT_NN_H

#include "ht_autograd.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Sets: named tensors, in the order they were added. */

typedef struct ht_set ht_set;
ht_set *ht_set_new(ht_context *ctx); /* owned; NULL after an error */
void ht_set_free(ht_set *set);       /* and its tensors; NULL: nothing */
/* Zeros, owned by the set. A name is not empty and stands once. NULL after an error. */
ht_tensor *ht_set_add(ht_set *set, const char *name, ht_dtype dtype, ht_shape shape);
/* NULL and an error listing the names if there is none of that name. */
ht_tensor *ht_set_tensor(const ht_set *set, const char *name);
int ht_set_count(const ht_set *set);
ht_tensor *ht_set_at(const ht_set *set, int i);
const char *ht_set_name(const ht_set *set, int i);
int ht_set_find(const ht_set *set, const char *name); /* -1: no such name, no error */
int64_t ht_set_elements(const ht_set *set);
ht_context *ht_set_context(const ht_set *set);
/* A new set of the same names, shapes and values; dtype 0 keeps dtypes, else floats
 * become it. Owned. */
ht_set *ht_set_clone(const ht_set *set, ht_dtype dtype);
/* Values from a set of the same names and shapes, in any order, converted. On an error
 * nothing is copied. */
ht_status ht_set_copy(ht_set *to, const ht_set *from);

/* safetensors (Hugging Face, format of 2022): u64 header length, JSON header, row-major
 * data. Written to a temporary beside path and renamed: the whole file or nothing. */
ht_status ht_set_write(const ht_set *set, const char *path);
/* Fills set from a file of exactly its names, dtypes and shapes; unchanged on an error.
 */
ht_status ht_set_read(ht_set *set, const char *path);
/* A new set of what the file holds. Owned; NULL after an error. */
ht_set *ht_set_load(ht_context *ctx, const char *path);

/* Variables: a set on a tape. */

typedef struct ht_vars ht_vars;
/* Each tensor as ht_input. Belongs to the tape; set is borrowed until reset. step is the
 * counter ht_step gives. NULL after an error. */
ht_vars *ht_vars_input_at(ht_tape *tape, const ht_set *set, int32_t step,
                          const char *site);
#define ht_vars_input(tape, set, step) ht_vars_input_at(tape, set, step, HT_HERE)
ht_var ht_get(const ht_vars *vars,
              const char *name); /* unknown: error listing the names */
/* The step counter, an i32 0-d variable; 0 in the first step. */
ht_var ht_step(const ht_vars *vars);
int ht_vars_count(const ht_vars *vars);
ht_var ht_vars_at(const ht_vars *vars, int i);
const char *ht_vars_name(const ht_vars *vars, int i);
ht_tape *ht_vars_tape(const ht_vars *vars);
/* Another variable of the same type under a name that exists: how an initial value is
 * made a function of outer variables (ht_init_fn). */
void ht_vars_set(ht_vars *vars, const char *name, ht_var value);
/* ht_grad of a 0-d y by every variable of the set, in its order. */
void ht_vars_grad_at(ht_var y, const ht_vars *vars, ht_var *gradient, const char *site);
#define ht_vars_grad(y, vars, gradient) ht_vars_grad_at(y, vars, gradient, HT_HERE)

/* Layers. */

/* x (..., n_in) . name.weight (n_in, n_out) + name.bias (n_out), the bias if there is
 * one. */
ht_var ht_linear_at(ht_var x, const ht_vars *theta, const char *name, const char *site);
#define ht_linear(x, theta, name) ht_linear_at(x, theta, name, HT_HERE)
/* Adds name.weight and name.bias, both uniform in +-1/sqrt(n_in) (LeCun et al., Efficient
 * BackProp, 1998; torch's default), from the stream named after the tensor. */
void ht_linear_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n_in,
                    int64_t n_out);
/* Rows index (i32) of name.weight (n, width), which starts standard normal (torch). */
ht_var ht_embedding_at(ht_var index, const ht_vars *theta, const char *name,
                       const char *site);
#define ht_embedding(index, theta, name) ht_embedding_at(index, theta, name, HT_HERE)
void ht_embedding_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n,
                       int64_t width);
/* ht_dropout of the stream named after the layer, at the step of theta. For evaluation
 * leave it out. */
ht_var ht_dropout_layer_at(ht_var x, const ht_vars *theta, const char *name, double rate,
                           const char *site);
#define ht_dropout_layer(x, theta, name, rate) \
    ht_dropout_layer_at(x, theta, name, rate, HT_HERE)

/* The ops of the same name with name.gain, and name.shift if there is one. ht_norm_init
 * adds both (n), ones and zeros, for any of them; rmsnorm uses the gain alone, and
 * ht_rmsnorm_init adds no other. */
ht_var ht_layernorm_layer_at(ht_var x, const ht_vars *theta, const char *name, double eps,
                             const char *site);
ht_var ht_rmsnorm_layer_at(ht_var x, const ht_vars *theta, const char *name, double eps,
                           const char *site);
ht_var ht_groupnorm_layer_at(ht_var x, const ht_vars *theta, const char *name,
                             int64_t groups, double eps, const char *site);
/* By the batch's own statistics; running ones are the caller's (ht_batch_statistics). */
ht_var ht_batchnorm_layer_at(ht_var x, const ht_vars *theta, const char *name, double eps,
                             const char *site);
#define ht_layernorm_layer(x, theta, name, eps) \
    ht_layernorm_layer_at(x, theta, name, eps, HT_HERE)
#define ht_rmsnorm_layer(x, theta, name, eps) \
    ht_rmsnorm_layer_at(x, theta, name, eps, HT_HERE)
#define ht_groupnorm_layer(x, theta, name, groups, eps) \
    ht_groupnorm_layer_at(x, theta, name, groups, eps, HT_HERE)
#define ht_batchnorm_layer(x, theta, name, eps) \
    ht_batchnorm_layer_at(x, theta, name, eps, HT_HERE)
void ht_norm_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n);
void ht_rmsnorm_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n);

typedef struct ht_heads {
    int64_t heads;      /* divides the width */
    bool causal;        /* position i sees 0 .. i only */
    const ht_var *mask; /* added to the scores (..., heads, t, s); NULL: none */
} ht_heads;
/* x (..., t, width) attends to context (..., s, width), which may be x (Vaswani et al.
 * 2017). Four linear layers name.query, name.key, name.value, name.out; their weights
 * start Glorot uniform, their biases zero. */
ht_var ht_multi_head_attention_at(ht_var x, ht_var context, const ht_vars *theta,
                                  const char *name, const ht_heads *options,
                                  const char *site);
/* (x, context, theta, name, &(ht_heads){.heads = 4, .causal = true}) */
#define ht_multi_head_attention(...) ht_multi_head_attention_at(__VA_ARGS__, HT_HERE)
void ht_multi_head_attention_init(ht_set *theta, const char *name, ht_dtype dtype,
                                  int64_t width);

/* One step of a recurrent cell: x (n, n_in) and h (n, n_hidden) give the next h. Both
 * have linear layers name.input and name.hidden, whose columns are the gates side by
 * side; all start uniform in +-1/sqrt(n_hidden) (torch).
 *   gru   r, z, c:  r = sigmoid(.), z = sigmoid(.), c = tanh(x_c + r h_c);
 *         h' = c + z (h - c)   (Cho et al. 2014, reset after the product as in cuDNN)
 *   lstm  i, f, g, o:  c' = sigmoid(f) c + sigmoid(i) tanh(g);
 *         h' = sigmoid(o) tanh(c')   (Hochreiter & Schmidhuber 1997, Gers et al. 2000) */
ht_var ht_gru_cell_at(ht_var x, ht_var h, const ht_vars *theta, const char *name,
                      const char *site);
#define ht_gru_cell(x, h, theta, name) ht_gru_cell_at(x, h, theta, name, HT_HERE)
void ht_gru_cell_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n_in,
                      int64_t n_hidden);
/* h and c are read and replaced. */
void ht_lstm_cell_at(ht_var x, ht_var *h, ht_var *c, const ht_vars *theta,
                     const char *name, const char *site);
#define ht_lstm_cell(x, h, c, theta, name) ht_lstm_cell_at(x, h, c, theta, name, HT_HERE)
void ht_lstm_cell_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n_in,
                       int64_t n_hidden);

/* A stream number for a name, so that each tensor has random numbers of its own whatever
 * the order they are made in. */
uint64_t ht_stream(const char *name);
/* For a (n_in, n_out) weight: uniform +-sqrt(6/(n_in + n_out)) (Glorot & Bengio 2010);
 * normal of deviation sqrt(2/n_in) (He et al. 2015). */
ht_status ht_glorot_uniform(ht_tensor *weight, uint64_t stream);
ht_status ht_he_normal(ht_tensor *weight, uint64_t stream);

/* Update rules. */

typedef struct ht_scalar {
    double value;
    const char *outer; /* a name in eta; NULL: value */
} ht_scalar;
#define HT_FIXED(v)    ((ht_scalar){.value = (v)})
#define HT_OUTER(name) ((ht_scalar){.outer = (name)})

/* With gradient g, all per element. State starts at zero; step t counts from 1.
 *   ht_sgd       w -= rate (g + decay w)
 *   ht_momentum  s = momentum s + g + decay w;  w -= rate s
 *   ht_adam      m = beta1 m + (1-beta1) g;  v = beta2 v + (1-beta2) g^2;
 *                w -= rate/(1-beta1^t) m / (sqrt(v)/sqrt(1-beta2^t) + eps)
 *                (Kingma & Ba 2015, eps as in torch; decay joins g, as torch's Adam does)
 * clip > 0 first scales all of g so that its global norm is at most clip. */
typedef struct ht_update_rule ht_update_rule;
extern const ht_update_rule ht_sgd, ht_momentum, ht_adam;
/* Fixed values are finite and not negative, Adam's betas below 1. Zero is off (momentum,
 * decay, clip) or an error (rate; Adam's beta2 and eps). A field
 * the rule has no use for must be zero. An outer scalar's tensor in eta is () for one
 * value, (steps) per step, (n) per parameter tensor in the order of theta, or (steps, n)
 * for both; where steps = n, (steps, 1) and (1, n) say which. */
typedef struct ht_update {
    const ht_update_rule *rule;
    ht_scalar rate, momentum /* beta1 */, beta2, eps, decay, clip;
} ht_update;

typedef struct ht_optimizer ht_optimizer;
/* Plain training. theta is borrowed until ht_optimizer_free; update is copied, every
 * scalar fixed. Owned; NULL after an error. */
ht_optimizer *ht_optimizer_new(ht_set *theta, const ht_update *update);
/* Moves theta by one step along a gradient of theta's names and types. Allocates nothing
 * after the first. */
ht_status ht_optimizer_step(ht_optimizer *optimizer, const ht_set *gradient);
int64_t ht_optimizer_steps(const ht_optimizer *optimizer);
/* "<parameter>.<m or v or s>" tensors, borrowed until ht_optimizer_free. */
const ht_set *ht_optimizer_state(const ht_optimizer *optimizer);
void ht_optimizer_free(ht_optimizer *optimizer); /* NULL: nothing */

#ifdef __cplusplus
}
#endif
#endif
