/* SPDX-License-Identifier: MIT */
/* ht_nn.h: sets on a tape, layers and update rules. All are tape functions, so that one
 * text serves plain training and training that is differentiated.
 *
 * Read next: nn/README.md, ht_bilevel.h. */
#ifndef HT_NN_H
#define HT_NN_H

#include "ht_autograd.h"
#include "ht_set.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Variables: a set on a tape. Cost: a leaf a tensor, a copy of none; a name is found in
 * the time of its length; gradients as ht_grad. */

typedef struct ht_vars ht_vars; /* dies with its tape's nodes */
/* Each tensor of a set as ht_input, names and number as they are now: the set may grow.
 * Belongs to the tape. Eager: the set is borrowed until reset; recorded: it is not. step
 * is the counter ht_step gives. NULL after an error. */
ht_vars *ht_vars_input_at(ht_tape *tape, const ht_set *set, int32_t step,
                          const char *site);
#define ht_vars_input(tape, set, step) ht_vars_input_at(tape, set, step, HT_HERE)
/* The variable of a name, a leaf; an unknown one is an error with the caller's line and
 * the names there are. */
ht_var ht_get_at(const ht_vars *vars, const char *name, const char *site);
#define ht_get(vars, name) ht_get_at(vars, name, HT_HERE)
/* The step counter, an i32 0-d variable without gradient; 0 in the first step. */
ht_var ht_step(const ht_vars *vars);
int ht_vars_count(const ht_vars *vars);        /* how many the set had when it was made */
ht_var ht_vars_at(const ht_vars *vars, int i); /* a leaf, in the set's order, i < count */
const char *ht_vars_name(const ht_vars *vars, int i); /* its name, borrowed as vars is */
ht_tape *ht_vars_tape(const ht_vars *vars);           /* the one they are on */
/* Puts another variable of the same type under a name that exists: how an initial value
 * is made a function of outer variables (ht_init_fn). Another type or name is an error
 * with the caller's line. */
void ht_vars_set_at(ht_vars *vars, const char *name, ht_var value, const char *site);
#define ht_vars_set(vars, name, value) ht_vars_set_at(vars, name, value, HT_HERE)
/* ht_grad of a 0-d y by every variable of the set, in its order, with its errors. */
void ht_vars_grad_at(ht_var y, const ht_vars *vars, ht_var *gradient, const char *site);
#define ht_vars_grad(y, vars, gradient) ht_vars_grad_at(y, vars, gradient, HT_HERE)

/* The gradient of a 0-d loss on an eager tape, as values: each tensor of `gradient`
 * becomes d loss by the variable of its name, whose type it must have. What `gradient`
 * does not name (frozen parameters) is left out; it is not the variables' own set. On an
 * error nothing is written. */
void ht_backward_at(ht_var loss, const ht_vars *vars, ht_set *gradient, const char *site);
#define ht_backward(loss, vars, gradient) ht_backward_at(loss, vars, gradient, HT_HERE)
/* That gradient as variables, on either tape: those of `gradient` are replaced. Errors as
 * of ht_backward. */
void ht_vars_backward_at(ht_var loss, const ht_vars *vars, ht_vars *gradient,
                         const char *site);
#define ht_vars_backward(loss, vars, gradient) \
    ht_vars_backward_at(loss, vars, gradient, HT_HERE)

/* A function of sets, recorded once and replayed: a training step is one of theta and a
 * batch that gives a loss and a gradient. */
typedef struct ht_recording ht_recording;
/* From the variables of each set that is read, puts what each tensor of the sets that
 * are written becomes: ht_vars_set(out[0], "loss", loss), ht_vars_backward(loss,
 * in[0], out[1]). The ht_step of all is the `step` of a run. */
typedef void (*ht_record_fn)(const ht_vars *const *in, ht_vars *const *out, void *user);
/* Records f. Both lists end with NULL; a set may stand in both. The sets are borrowed
 * until ht_recording_free, and may not grow. Calls f at once, and not later. Owned; NULL
 * after an error. */
ht_recording *ht_recording_new(const ht_set *const *in, ht_set *const *out,
                               ht_record_fn f, void *user);
/* Replays it from the sets as they are now; allocates nothing after the first run. Errors
 * as ht_program_run. */
ht_status ht_recording_run_at(ht_recording *recording, int32_t step, const char *site);
#define ht_recording_run(recording, step) ht_recording_run_at(recording, step, HT_HERE)
/* Its program, to print, or ask for its bytes. */
const ht_program *ht_recording_program(const ht_recording *recording);
void ht_recording_free(ht_recording *recording); /* frees it; NULL: nothing */

/* Layers. All take x and variables of one float type, and are differentiable by both to
 * any order. A name that is missing, or a shape or dtype that does not fit x, is an error
 * with the layer, both types, what is expected and the caller's line. The ht_*_init add
 * all of a layer's tensors or, with an error, none. Cost: that of the ops it is made of,
 * of whose products the flops are 2 m k n; an init goes over its tensors once. */

/* x (..., n_in) . name.weight (n_in, n_out) + name.bias (n_out), the bias if there is
 * one. */
ht_var ht_linear_at(ht_var x, const ht_vars *theta, const char *name, const char *site);
#define ht_linear(x, theta, name) ht_linear_at(x, theta, name, HT_HERE)
/* Adds name.weight and name.bias, both uniform in +-1/sqrt(n_in) (LeCun et al., Efficient
 * BackProp, 1998; torch's default), from the stream named after the tensor. */
void ht_linear_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n_in,
                    int64_t n_out);
/* ht_conv2d of x (n, c, h, w) and name.weight (out, c / groups, kh, kw), plus name.bias
 * (out) if there is one. */
ht_var ht_conv2d_layer_at(ht_var x, const ht_vars *theta, const char *name,
                          ht_conv_options options, const char *site);
#define ht_conv2d_layer(...) ht_conv2d_layer_at(__VA_ARGS__, HT_HERE)
/* Adds its weight and bias, both uniform in +-1/sqrt(n_in) of the n_in = c / groups kh kw
 * inputs (torch); for He's, ht_he_normal of the weight after. */
void ht_conv2d_init(ht_set *theta, const char *name, ht_dtype dtype, ht_shape weight);
/* Rows index (i32, any shape) of name.weight (n, width): (..., width), by ht_gather. */
ht_var ht_embedding_at(ht_var index, const ht_vars *theta, const char *name,
                       const char *site);
#define ht_embedding(index, theta, name) ht_embedding_at(index, theta, name, HT_HERE)
/* Adds name.weight, standard normal (torch). */
void ht_embedding_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n,
                       int64_t width);
/* ht_dropout of the stream named after the layer, at the step of theta. For evaluation
 * leave it out. */
ht_var ht_dropout_layer_at(ht_var x, const ht_vars *theta, const char *name, double rate,
                           const char *site);
#define ht_dropout_layer(x, theta, name, rate) \
    ht_dropout_layer_at(x, theta, name, rate, HT_HERE)

/* ht_layernorm with name.gain (n), and name.shift if there is one; n is the last size. */
ht_var ht_layernorm_layer_at(ht_var x, const ht_vars *theta, const char *name, double eps,
                             const char *site);
/* ht_rmsnorm so, with the gain alone. */
ht_var ht_rmsnorm_layer_at(ht_var x, const ht_vars *theta, const char *name, double eps,
                           const char *site);
/* ht_groupnorm so; n is that of channels, here and below. */
ht_var ht_groupnorm_layer_at(ht_var x, const ht_vars *theta, const char *name,
                             int64_t groups, double eps, const char *site);
/* ht_batchnorm so, by the batch's own statistics (torch's train()); running ones: below.
 */
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
/* Adds name.gain, ones, and name.shift, zeros, both (n), for any of them. */
void ht_norm_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n);
/* Adds name.gain alone, ones, for ht_rmsnorm_layer. */
void ht_rmsnorm_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n);

/* Running statistics are a set of the caller's: this adds name.mean and name.variance
 * (n), 0 and 1. */
void ht_batchnorm_running_init(ht_set *running, const char *name, ht_dtype dtype,
                               int64_t n);
/* In training, for the x that batchnorm `name` is given, puts
 *   r + momentum (b - r),  b the batch's mean, and its variance with 1/(count - 1)
 * in the place of each variable r of running (torch, momentum 0.1; 0 < momentum <= 1):
 * ht_get then gives what to keep, an output like any other. Nothing else changes. */
void ht_batchnorm_track_at(ht_var x, ht_vars *running, const char *name, double momentum,
                           const char *site);
#define ht_batchnorm_track(x, running, name, momentum) \
    ht_batchnorm_track_at(x, running, name, momentum, HT_HERE)
/* Evaluation (torch's eval()): (x - mean)/sqrt(variance + eps) gain + shift, eps > 0. */
ht_var ht_batchnorm_given_layer_at(ht_var x, const ht_vars *theta, const ht_vars *running,
                                   const char *name, double eps, const char *site);
#define ht_batchnorm_given_layer(x, theta, running, name, eps) \
    ht_batchnorm_given_layer_at(x, theta, running, name, eps, HT_HERE)

/* How an attention layer divides its width, and what its positions see. */
typedef struct ht_heads {
    int64_t heads;      /* divides the width */
    bool causal;        /* position i sees 0 .. i only */
    const ht_var *mask; /* added to the scores (..., heads, t, s); NULL: none */
} ht_heads;
/* x (..., t, width) attends to context (..., s, width), which may be x (Vaswani et al.
 * 2017): ht_attention of each head's width / heads columns of the linear layers
 * name.query (x), name.key and name.value (context), side by side through name.out. */
ht_var ht_multi_head_attention_at(ht_var x, ht_var context, const ht_vars *theta,
                                  const char *name, const ht_heads *options,
                                  const char *site);
/* (x, context, theta, name, &(ht_heads){.heads = 4, .causal = true}) */
#define ht_multi_head_attention(...) ht_multi_head_attention_at(__VA_ARGS__, HT_HERE)
/* Adds its four linear layers, weights (width, width) Glorot uniform, biases zero. */
void ht_multi_head_attention_init(ht_set *theta, const char *name, ht_dtype dtype,
                                  int64_t width);

/* Of a block: zero is a pre-norm block without dropout, but eps and heads are needed. */
typedef struct ht_transformer_options {
    ht_heads attention;
    double eps;     /* of the norms, > 0 */
    double dropout; /* rate of what is added to x; 0: none, as for evaluation */
    bool post_norm; /* norm(x + f(x)), as in Vaswani et al. */
} ht_transformer_options;
/* x (..., t, width) -> the same: x + f(norm(x)) for f attention to itself, then for f two
 * linear layers with a gelu between (pre-norm: Xiong et al. 2020; torch's
 * TransformerEncoderLayer). Parts name.norm1, .attention, .norm2, .hidden (width,
 * hidden), .out (hidden, width); streams .dropout1, .dropout2. */
ht_var ht_transformer_block_at(ht_var x, const ht_vars *theta, const char *name,
                               const ht_transformer_options *options, const char *site);
#define ht_transformer_block(...) ht_transformer_block_at(__VA_ARGS__, HT_HERE)
/* Adds the block's five parts, as each starts by itself. */
void ht_transformer_block_init(ht_set *theta, const char *name, ht_dtype dtype,
                               int64_t width, int64_t hidden);

/* One step of a recurrent cell: x (n, n_in) and h (n, n_hidden) give the next h. With a =
 * name.input of x and b = name.hidden of h, linear layers whose columns are the gates
 * r, z, c side by side:
 *   r = sigmoid(a_r + b_r),  z = sigmoid(a_z + b_z),  c = tanh(a_c + r b_c),
 *   h' = c + z (h - c)   (Cho et al. 2014, reset after the product as in cuDNN) */
ht_var ht_gru_cell_at(ht_var x, ht_var h, const ht_vars *theta, const char *name,
                      const char *site);
#define ht_gru_cell(x, h, theta, name) ht_gru_cell_at(x, h, theta, name, HT_HERE)
/* Adds name.input.weight (n_in, 3 n_hidden), .bias, and so name.hidden, all uniform in
 * +-1/sqrt(n_hidden) (torch). */
void ht_gru_cell_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n_in,
                      int64_t n_hidden);
/* One step of an LSTM, so, with gates i, f, g, o = a + b: h and c (n, n_hidden) are read
 * and replaced by
 *   c' = sigmoid(f) c + sigmoid(i) tanh(g),  h' = sigmoid(o) tanh(c')
 * (Hochreiter & Schmidhuber 1997, Gers et al. 2000). */
void ht_lstm_cell_at(ht_var x, ht_var *h, ht_var *c, const ht_vars *theta,
                     const char *name, const char *site);
#define ht_lstm_cell(x, h, c, theta, name) ht_lstm_cell_at(x, h, c, theta, name, HT_HERE)
/* Adds the tensors of a gru, with 4 gates. */
void ht_lstm_cell_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n_in,
                       int64_t n_hidden);

/* A stream number for a name, so that each tensor has random numbers of its own whatever
 * the order they are made in. */
uint64_t ht_stream(const char *name);
/* Fills a weight (n_in, n_out) or (out, in, kh, kw), whose n_in = in kh kw and n_out =
 * out kh kw, uniform in +-sqrt(6/(n_in + n_out)) (Glorot & Bengio 2010). Another rank, or
 * no input, is HT_ERROR_SHAPE. */
ht_status ht_glorot_uniform(ht_tensor *weight, uint64_t stream);
/* Fills it so, normal of mean 0 and deviation sqrt(2/n_in) (He et al. 2015). */
ht_status ht_he_normal(ht_tensor *weight, uint64_t stream);

#include "ht_augment.h"
#include "ht_losses.h"
#include "ht_update.h"

/* Measures. Of values; they have no gradient. Logits are (n, classes) f32 or f64, labels
 * (n) i32 in 0 .. classes - 1, or it is an error. A row predicts the first of its largest
 * numbers; one with a NaN nothing. Cost: a pass over the logits. */

/* The part of the rows that is right, in 0 .. 1; NaN after an error or of no rows. */
double ht_accuracy_at(const ht_tensor *logits, const ht_tensor *labels, const char *site);
#define ht_accuracy(...) ht_accuracy_at(__VA_ARGS__, HT_HERE)
/* Counts predictions: counts (classes, classes) i32, label by prediction, to which the
 * rows are added, so that batches add up. */
ht_status ht_confusion_at(const ht_tensor *logits, const ht_tensor *labels,
                          ht_tensor *counts, const char *site);
#define ht_confusion(...) ht_confusion_at(__VA_ARGS__, HT_HERE)

#ifdef __cplusplus
}
#endif
#endif
