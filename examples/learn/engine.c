/* SPDX-License-Identifier: MIT */
/* engine.c: a training loop that can be differentiated, in one file to hold in the head.
 *
 *     cc -std=c11 -Wall -Wextra engine.c -lm -o engine && ./engine
 *
 * It needs libc only, and shares words with the library it comes with (tape, var, op,
 * vjp, program), but no line. Read it from top to bottom, run it, read what it prints.
 *
 * There is one idea. Arithmetic is written down, on a list, as it is done. A derivative
 * is arithmetic too; so it is not a number kept beside a value, but more of the same
 * list, written by the same functions. From that follow, each out of those above it,
 *
 *     a gradient            more of the list
 *     a second derivative   the gradient of that
 *     a training step       a loss, its gradient and an update
 *     a hypergradient       the derivative of a whole training, step by step, backward
 *
 * 1 matrices  2 tape  3 ops  4 derivatives  5 programs  6 training  7 problem  8 tour */
#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 1. Matrices: plain numbers, which know nothing of derivatives. */
typedef struct matrix {
    int rows, cols; /* a single number is 1 by 1 */
    double *data;   /* row after row; NULL: a shape without values */
} matrix;

static matrix shape(int rows, int cols) { return (matrix){rows, cols, NULL}; }
static int matrix_size(matrix m) { return m.rows * m.cols; }
static bool alike(matrix a, matrix b) { return a.rows == b.rows && a.cols == b.cols; }

/* Element (i, j). A side of 1 is as long as it need be: its one row or column repeats. */
static double *at(matrix m, int i, int j)
{
    return &m.data[(m.rows == 1 ? 0 : i) * m.cols + (m.cols == 1 ? 0 : j)];
}

static void *allocate(int n, size_t size)
{
    void *memory = calloc((size_t)n, size);
    assert(memory);
    return memory;
}

static matrix matrix_new(matrix like)
{
    return (matrix){like.rows, like.cols, allocate(matrix_size(like), sizeof(double))};
}

static void matrix_copy(matrix to, matrix from)
{
    assert(alike(to, from));
    memcpy(to.data, from.data, (size_t)matrix_size(to) * sizeof(double));
}

/* 2. The tape: a list of nodes, each after all it is computed from.
 *
 *     y = a exp(a b)                 index   op      inputs   value
 *                                      0     input            a
 *     a --+--------------+             1     input            b
 *         mul --- exp --- mul          2     mul     0, 1     a b
 *     b --+                            3     exp     2        exp(a b)
 *                                      4     mul     0, 3     a exp(a b)
 *
 * From first to last the list computes y. From last to first it tells what y depends on,
 * and how, and that is all a derivative has to know. */
typedef struct var { /* the handle of a node: what ops take and give */
    struct tape *tape;
    int index;
} var;
static const var NONE = {NULL, 0}; /* no node; as a term of a sum, zero: NONE + b = b */
static bool absent(var x) { return x.tape == NULL; }

typedef struct node { /* one op, done once */
    const struct op *op;
    int x[2]; /* the nodes it was done to; op->n_in of them count */
    matrix y; /* what came out */
} node;
typedef struct tape {
    int n, room; /* nodes there are, nodes there is memory for */
    node *nodes;
} tape;

/* An op is a record of functions: one computes numbers; two are rules, which take a
 * derivative past a node. At node 2, y = a b, with a number s before it and L after it,
 *
 *     vjp   from v = dL/dy, the cotangent of y, gives v b to a, and v a to b
 *     jvp   from v = da/ds, the tangent of a, gives b v to y; so from db/ds, a v
 *
 * which is v times the Jacobian, v dy/dx[k], and the Jacobian times v, dy/dx[k] v. What
 * a node is given is added up, as every path counts: a is used by node 2 and by node 4.
 *
 * A rule returns nodes, never bare numbers: it calls ops, which append them. A number has
 * forgotten how it came to be; a node has not. So what a rule gives can be differentiated
 * again, and computed again for other inputs. */
typedef struct place { /* what a rule is told: */
    var x[2], y, v;    /* the node y = op(x[0], x[1]), and v; */
    int k;             /* which input it is about */
} place;
typedef struct op {
    const char *name;
    int n_in;
    var (*vjp)(place p), (*jvp)(place p);
    double (*f1)(double), (*f2)(double, double); /* y of x, one element at a time, or */
    void (*run)(matrix y, const matrix *x);      /* all of it; leaves have neither */
} op;

static tape *tape_new(void) { return allocate(1, sizeof(tape)); }
static void tape_free(tape *t)
{
    for (int i = 0; i < t->n; i++) free(t->nodes[i].y.data);
    free(t->nodes);
    free(t);
}

static matrix value(var x) { return x.tape->nodes[x.index].y; } /* lives with the tape */
static void compute(const tape *t, int i)
{
    const node *n = &t->nodes[i];
    const matrix x[2] = {t->nodes[n->x[0]].y, t->nodes[n->x[1]].y};
    if (n->op->run) n->op->run(n->y, x);
    for (int k = 0; k < matrix_size(n->y); k++) {
        if (n->op->f1) n->y.data[k] = n->op->f1(x[0].data[k]);
        if (n->op->f2) n->y.data[k] = n->op->f2(x[0].data[k], x[1].data[k]);
    }
}

/* Every node comes to be here: written down, and computed. Of `like` only the shape is
 * used, as in all below; but a leaf, which is computed from nothing, takes its value. */
static var append(tape *t, const op *f, matrix like, var a, var b)
{
    assert((f->n_in < 1 || a.tape == t) && (f->n_in < 2 || b.tape == t));
    if (t->n == t->room) {
        t->room = 2 * t->room + 16;
        t->nodes = realloc(t->nodes, (size_t)t->room * sizeof *t->nodes);
        assert(t->nodes);
    }
    t->nodes[t->n] = (node){f, {a.index, b.index}, matrix_new(like)};
    if (f->n_in == 0) matrix_copy(t->nodes[t->n].y, like);
    compute(t, t->n);
    return (var){t, t->n++};
}

/* 3. A dozen ops. Ten have rules, which call no ops but these: so every derivative has a
 * derivative. To add sin, do as exp does below:
 *   1 its prototype, here: v_sin, since libc has a sin;
 *   2 its rule, v cos x: so cos has to be an op too, whose rule is -v sin x;
 *   3 its record, op_sin, and v_sin, which appends a node;
 *   4 a check: jvp and hvp (section 4) along u have to give u cos x and -u sin x. */
static var v_add(var a, var b), v_mul(var a, var b), v_div(var a, var b);
static var v_exp(var x), v_log(var x), v_tanh(var x);
static var v_matmul(var a, var b), v_transpose(var x);
static var v_broadcast(var x, matrix like), v_sum_to(var x, matrix like);

/* The other two are leaves, and have no rules. An input may get another value when the
 * list is computed again (5); a constant keeps its own. Each call makes a node. */
static const op op_input = {.name = "input"}, op_constant = {.name = "constant"};
static var leaf(tape *t, const op *f, matrix m) { return append(t, f, m, NONE, NONE); }
static var input(tape *t, matrix m) { return leaf(t, &op_input, m); }
static var constant(tape *t, matrix m) { return leaf(t, &op_constant, m); }
static var number(tape *t, double c) { return constant(t, (matrix){1, 1, &c}); }

/* Functions made of ops need no rules. */
static var v_neg(var x) { return v_mul(number(x.tape, -1), x); }
static var v_sub(var a, var b) { return v_add(a, v_neg(b)); }
static var v_sum(var x) { return v_sum_to(x, shape(1, 1)); }

/* broadcast repeats sides of 1; sum_to sums sides up, until they are 1. Each is the vjp
 * of the other: what is used many times gets the sum of what its uses have to say. */
static void broadcast_run(matrix y, const matrix *x)
{
    for (int i = 0; i < y.rows; i++)
        for (int j = 0; j < y.cols; j++) *at(y, i, j) = *at(*x, i, j);
}
static void sum_to_run(matrix y, const matrix *x)
{
    memset(y.data, 0, (size_t)matrix_size(y) * sizeof(double));
    for (int i = 0; i < x->rows; i++)
        for (int j = 0; j < x->cols; j++) *at(y, i, j) += *at(*x, i, j);
}
static var broadcast_vjp(place p) { return v_sum_to(p.v, value(p.x[0])); }
static var broadcast_jvp(place p) { return v_broadcast(p.v, value(p.y)); }
static var sum_to_vjp(place p) { return v_broadcast(p.v, value(p.x[0])); }
static var sum_to_jvp(place p) { return v_sum_to(p.v, value(p.y)); }
static const op op_broadcast = {"broadcast", 1, broadcast_vjp, broadcast_jvp,
                                .run = broadcast_run};
static const op op_sum_to = {"sum_to", 1, sum_to_vjp, sum_to_jvp, .run = sum_to_run};

/* f(x) in the shape of `like`; or x, if that is its shape. */
static var fit(const op *f, var x, matrix like)
{
    bool longer = f == &op_broadcast;
    matrix small = longer ? value(x) : like, large = longer ? like : value(x);
    assert(small.rows == 1 || small.rows == large.rows);
    assert(small.cols == 1 || small.cols == large.cols);
    return alike(small, large) ? x : append(x.tape, f, like, x, NONE);
}
static var v_broadcast(var x, matrix like) { return fit(&op_broadcast, x, like); }
static var v_sum_to(var x, matrix like) { return fit(&op_sum_to, x, like); }

/* Elementwise ops: the Jacobian is diagonal, so both rules are one, v times the slope.
 * Two unlike inputs are first broadcast to the longer sides, by nodes of their own. */
static var unary(const op *f, var x) { return append(x.tape, f, value(x), x, NONE); }
static var binary(const op *f, var a, var b)
{
    matrix x = value(a), y = value(b);
    matrix to = shape(x.rows > 1 ? x.rows : y.rows, x.cols > 1 ? x.cols : y.cols);
    return append(a.tape, f, to, v_broadcast(a, to), v_broadcast(b, to));
}

/* y = a + b:  dy/da = dy/db = 1 */
static double add(double a, double b) { return a + b; }
static var add_rule(place p) { return p.v; }
static const op op_add = {"add", 2, add_rule, add_rule, .f2 = add};
static var v_add(var a, var b) { return absent(a) ? b : binary(&op_add, a, b); }
/* y = a b:  dy/da = b, dy/db = a */
static double mul(double a, double b) { return a * b; }
static var mul_rule(place p) { return v_mul(p.v, p.x[1 - p.k]); }
static const op op_mul = {"mul", 2, mul_rule, mul_rule, .f2 = mul};
static var v_mul(var a, var b) { return binary(&op_mul, a, b); }
/* y = a / b:  dy/da = 1 / b, dy/db = -y / b */
static double quotient(double a, double b) { return a / b; }
static var div_rule(place p)
{
    return v_div(p.k == 0 ? p.v : v_neg(v_mul(p.v, p.y)), p.x[1]);
}
static const op op_div = {"div", 2, div_rule, div_rule, .f2 = quotient};
static var v_div(var a, var b) { return binary(&op_div, a, b); }

/* y = exp x:  dy/dx = y, which stands on the tape already */
static var exp_rule(place p) { return v_mul(p.v, p.y); }
static const op op_exp = {"exp", 1, exp_rule, exp_rule, .f1 = exp};
static var v_exp(var x) { return unary(&op_exp, x); }
/* y = log x:  dy/dx = 1 / x */
static var log_rule(place p) { return v_div(p.v, p.x[0]); }
static const op op_log = {"log", 1, log_rule, log_rule, .f1 = log};
static var v_log(var x) { return unary(&op_log, x); }
/* y = tanh x:  dy/dx = 1 - y^2 */
static var tanh_rule(place p) { return v_sub(p.v, v_mul(p.v, v_mul(p.y, p.y))); }
static const op op_tanh = {"tanh", 1, tanh_rule, tanh_rule, .f1 = tanh};
static var v_tanh(var x) { return unary(&op_tanh, x); }

/* Y = X^T:  both rules are v^T */
static void transpose_run(matrix y, const matrix *x)
{
    for (int i = 0; i < y.rows; i++)
        for (int j = 0; j < y.cols; j++) *at(y, i, j) = *at(*x, j, i);
}
static var transpose_rule(place p) { return v_transpose(p.v); }
static const op op_transpose = {"transpose", 1, transpose_rule, transpose_rule,
                                .run = transpose_run};
static var v_transpose(var x)
{
    return append(x.tape, &op_transpose, shape(value(x).cols, value(x).rows), x, NONE);
}

/* Y = A B:  vjp to A: v B^T, to B: A^T v;  jvp from A: v B, from B: A v */
static void matmul_run(matrix y, const matrix *x)
{
    memset(y.data, 0, (size_t)matrix_size(y) * sizeof(double));
    for (int i = 0; i < y.rows; i++)
        for (int k = 0; k < x[0].cols; k++)
            for (int j = 0; j < y.cols; j++)
                *at(y, i, j) += *at(x[0], i, k) * *at(x[1], k, j);
}
static var matmul_vjp(place p)
{
    return p.k == 0 ? v_matmul(p.v, v_transpose(p.x[1]))
                    : v_matmul(v_transpose(p.x[0]), p.v);
}
static var matmul_jvp(place p)
{
    return p.k == 0 ? v_matmul(p.v, p.x[1]) : v_matmul(p.x[0], p.v);
}
static const op op_matmul = {"matmul", 2, matmul_vjp, matmul_jvp, .run = matmul_run};
static var v_matmul(var a, var b)
{
    assert(value(a).cols == value(b).rows);
    return append(a.tape, &op_matmul, shape(value(a).rows, value(b).cols), a, b);
}

/* 4. Derivatives: two sweeps over the tape, which ask the rules of each node on the way.
 *
 *     jvp       u --> [ x ... mul ... exp ... mul = y ] --> dy/dx u    first to last
 *     vjp v dy/dx <-- [ x ... mul ... exp ... mul = y ] <-- v          last to first
 *
 * Backward, a node's cotangent is the sum of what its users give. They have higher
 * numbers, so that it is whole when the sweep comes to it. Forward, its tangent is the
 * sum of what its inputs give. Both are nodes, appended after those swept over; what is
 * absent in the end is zero. One vjp gives the derivatives of one number by every x, one
 * jvp those of every y by one number: for a loss of 1000 weights one sweep, or 1000. No x
 * may be computed from another (as x1 = 2 x0): the path between them would count. */
static var zero(var x) { return v_broadcast(number(x.tape, 0), value(x)); }

/* g[k] = sum over j of v[j] dy[j]/dx[k] */
static void vjp(int m, const var *y, const var *v, int n, const var *x, var *g)
{
    tape *t = x[0].tape;
    int end = t->n;                    /* what the rules append comes after it */
    var *d = allocate(end, sizeof *d); /* cotangents, absent as yet */
    for (int j = 0; j < m; j++)
        d[y[j].index] = v_add(d[y[j].index], v_broadcast(v[j], value(y[j])));
    for (int i = end; i-- > 0;) {
        const node here = t->nodes[i]; /* a copy, since the list moves when it grows */
        if (absent(d[i])) continue;    /* no y is computed from it */
        for (int k = 0; k < here.op->n_in; k++) {
            place p = {{{t, here.x[0]}, {t, here.x[1]}}, {t, i}, d[i], k};
            d[here.x[k]] = v_add(d[here.x[k]], here.op->vjp(p));
        }
    }
    for (int k = 0; k < n; k++) g[k] = absent(d[x[k].index]) ? zero(x[k]) : d[x[k].index];
    free(d);
}

/* ju[j] = sum over k of dy[j]/dx[k] u[k] */
static void jvp(int n, const var *x, const var *u, int m, const var *y, var *ju)
{
    tape *t = x[0].tape;
    int end = t->n;
    var *d = allocate(end, sizeof *d); /* tangents */
    for (int k = 0; k < n; k++) d[x[k].index] = v_broadcast(u[k], value(x[k]));
    for (int i = 0; i < end; i++) {
        const node here = t->nodes[i];
        for (int k = 0; k < here.op->n_in; k++) {
            place p = {{{t, here.x[0]}, {t, here.x[1]}}, {t, i}, d[here.x[k]], k};
            if (!absent(p.v)) d[i] = v_add(d[i], here.op->jvp(p));
        }
    }
    for (int j = 0; j < m; j++)
        ju[j] = absent(d[y[j].index]) ? zero(y[j]) : d[y[j].index];
    free(d);
}

/* g[k] = dy/dx[k] of a single number y */
static void grad(var y, int n, const var *x, var *g)
{
    var one = number(y.tape, 1);
    assert(matrix_size(value(y)) == 1);
    vjp(1, &y, &one, n, x, g);
}

/* The Hessian product d2y/dx2 u: the tangent, along u, of the gradient, which is nodes
 * and has one. (Its vjp would be u d2y/dx2: the same, since a Hessian is symmetric.) */
static void hvp(var y, int n, const var *x, const var *u, var *hu)
{
    grad(y, n, x, hu);       /* hu is the gradient, */
    jvp(n, x, u, n, hu, hu); /* and then the tangent of it */
}

/* 5. Programs: a piece of tape, cut out between inputs and outputs, to be run again.
 *
 *     tape   | data  w  . . loss . . gradient . . .  w'  . . . . |
 *                    in ----------- needed ------->  out            the rest is dropped
 *
 * What is captured is nodes: ops, shapes and constants. Not the values of inputs, which
 * each run brings anew; nor what C did, which leaves no nodes: of an `if` only the branch
 * it took is there, and a printf happens once, not in each run. What C read from a node
 * and gave to number() is a constant: the same in each run, its derivative lost. */
enum { LIST = 16 }; /* the most inputs or outputs */
typedef struct program {
    tape *tape; /* its own, to be freed */
    int n_in, n_out;
    var in[LIST], out[LIST];
} program;

/* Node i of `from`, on the program's tape: first what it needs, and nothing else. went[i]
 * is where a node has come to be already. */
static var carry(tape *to, const tape *from, int i, var *went)
{
    const node n = from->nodes[i];
    if (!absent(went[i])) return went[i];
    assert(n.op != &op_input); /* it would have to be listed in `in` */
    var x[2] = {NONE, NONE};
    for (int k = 0; k < n.op->n_in; k++) x[k] = carry(to, from, n.x[k], went);
    return went[i] = append(to, n.op, n.y, x[0], x[1]);
}

static program cut(int n_in, const var *in, int n_out, const var *out)
{
    const tape *from = out[0].tape;
    program p = {tape_new(), n_in, n_out, {NONE}, {NONE}};
    var *went = allocate(from->n, sizeof *went);
    assert(n_in <= LIST && n_out <= LIST);
    for (int k = 0; k < n_in; k++)
        p.in[k] = went[in[k].index] = input(p.tape, value(in[k]));
    for (int k = 0; k < n_out; k++) p.out[k] = carry(p.tape, from, out[k].index, went);
    free(went);
    return p;
}

/* Computes out from in, node by node, and allocates nothing. They may be the same. */
static void run(const program *p, const matrix *in, const matrix *out)
{
    for (int k = 0; k < p->n_in; k++) matrix_copy(value(p->in[k]), in[k]);
    for (int i = 0; i < p->tape->n; i++) compute(p->tape, i);
    for (int k = 0; k < p->n_out; k++) matrix_copy(out[k], value(p->out[k]));
}

/* 6. Training, and the derivative of all of it.
 *
 * A step takes a state x (weights, momenta) to the next, and an outer loss F judges the
 * state after T steps. By the chain rule, with v_t = dF/dx_t,
 *
 *     x_0 --step--> x_1 --step--> ... --step--> x_T ---> F
 *      |             |                           |
 *     v_0 <--back-- v_1 <--back-- ... <--back-- v_T         v_t = v_t+1 dx_t+1/dx_t
 *
 * So a step of the way back needs two things: v_t+1; and x_t, the state *before* the
 * step, from which it computes again what went on inside. What is kept is T + 1 states,
 * not T times the nodes of a step. (States can be spared too, by running steps again:
 * that is checkpointing.) A step has a gradient in it; so its vjp has a Hessian product
 * in it, though nobody wrote one.
 *
 * Outer variables (a rate, weights of examples) are part of x too, handed on by the step
 * as they are. Each step of the way back adds its share to their cotangents. The parts of
 * v_0 that are theirs are the hypergradient; the others are dF by the first state. */
typedef struct training {
    int n, steps;              /* matrices in a state; T */
    program step, back, outer; /* x to x';  x, v' to v;  x to F, dF/dx */
} training;

/* Three programs out of one tape, on which `next` and `loss` were computed from x. */
static training training_new(int n, const var *x, const var *next, var loss, int steps)
{
    var in[LIST], v[LIST], d[LIST], out[LIST] = {loss};
    assert(2 * n <= LIST); /* x and v */
    memcpy(in, x, (size_t)n * sizeof *x);
    for (int k = 0; k < n; k++) in[n + k] = v[k] = input(x[k].tape, value(next[k]));
    vjp(n, next, v, n, x, d);
    grad(loss, n, x, out + 1);
    return (training){n, steps, cut(n, x, n, next), cut(2 * n, in, n, d),
                      cut(n, x, n + 1, out)};
}

/* F after the training that begins at x0 and, in d, its derivative by each part of x0. */
static double train(const training *p, const matrix *x0, matrix *d)
{
    int n = p->n, T = p->steps;
    matrix *x = allocate((T + 1) * n, sizeof *x); /* x[t * n + k]: part k after t steps */
    double loss;
    matrix in[LIST], out[LIST] = {{1, 1, &loss}}; /* x_t, v_t+1 of back; F, d of outer */
    for (int k = 0; k < n; k++) in[n + k] = out[1 + k] = d[k];
    for (int i = 0; i < (T + 1) * n; i++) x[i] = matrix_new(x0[i % n]);
    for (int k = 0; k < n; k++) matrix_copy(x[k], x0[k]);
    for (int t = 0; t < T; t++) run(&p->step, x + t * n, x + (t + 1) * n);
    run(&p->outer, x + T * n, out); /* d is v_T */
    for (int t = T; t-- > 0;) {
        memcpy(in, x + t * n, (size_t)n * sizeof *x);
        run(&p->back, in, d); /* d was v_t+1, and is v_t */
    }
    for (int i = 0; i < (T + 1) * n; i++) free(x[i].data);
    free(x);
    return loss;
}

/* 7. A small problem: a net with a hidden layer learns, by momentum, to tell two kinds of
 * points apart (x, y, and 1 for a bias). The fifth of the six labels is wrong; so its
 * weight has the most positive of the six hypergradients: with less of it, F is less.
 * (The sixth is larger in size, but negative: with more of that example, F is less.) */
static double points[] = {2, 1, 1, 1, 2, 1, 1, 0, 1, -1, -2, 1, -2, -1, 1, -1, 0, 1};
static double labels[] = {1, 1, 1, -1, 1, -1}, new_labels[] = {1, 1, -1, -1};
static double new_points[] = {1, 1, 1, 0, 2, 1, -1, -1, 1, -2, 0, 1};

/* The state: weights of two layers (at 0 and 1: x is also the list of them), and their
 * momenta; and the outer variables: how much each example counts, the rate, momentum. */
enum { W1, W2, S1, S2, EXAMPLE_WEIGHTS, RATE, MOMENTUM, PARTS };
static double w1[] = {.3, -.2, .1, .4, .5, -.3, .2, -.1, .1}, w2[] = {.5, -.4, .3};
static double s1[9], s2[3], weights[] = {1, 1, 1, 1, 1, 1}, rate = .1, momentum = .8;
static const matrix start[PARTS] = {{3, 3, w1},       {3, 1, w2},      {3, 3, s1},
                                    {3, 1, s2},       {6, 1, weights}, {1, 1, &rate},
                                    {1, 1, &momentum}};

/* log(1 + exp(-label * guess)) of each of n points, with guess = tanh(X W1) W2. */
static var losses(const var *w, int n, double *x, double *label)
{
    tape *t = w->tape;
    var hidden = v_tanh(v_matmul(constant(t, (matrix){n, 3, x}), w[W1]));
    var margin = v_mul(constant(t, (matrix){n, 1, label}), v_matmul(hidden, w[W2]));
    return v_log(v_add(number(t, 1), v_exp(v_neg(margin))));
}

/* s' = momentum s + g, w' = w - rate s', with g the gradient of the weighted losses. The
 * other parts are their own next: so the cotangent of the rate passes through every step,
 * and takes a share from each. That is all there is to dF/drate. */
static training problem(tape *t, int steps)
{
    var x[PARTS], next[PARTS], g[2];
    for (int k = 0; k < PARTS; k++) next[k] = x[k] = input(t, start[k]);
    grad(v_sum(v_mul(x[EXAMPLE_WEIGHTS], losses(x, 6, points, labels))), 2, x, g);
    for (int k = 0; k < 2; k++) {
        next[S1 + k] = v_add(v_mul(x[MOMENTUM], x[S1 + k]), g[k]);
        next[W1 + k] = v_sub(x[W1 + k], v_mul(x[RATE], next[S1 + k]));
    }
    return training_new(PARTS, x, next, v_sum(losses(x, 4, new_points, new_labels)),
                        steps);
}

#ifndef ENGINE_NO_MAIN /* defined where this file is included to be tested */
/* 8. The tour. */
static void show(const char *s, var x) { printf("%-26s %9.6f\n", s, *value(x).data); }
static void list(const tape *t)
{
    const char *formats[] = {"%4d  %s", "%4d  %s(%d)", "%4d  %s(%d, %d)"};
    for (int i = 0; i < t->n; i++) {
        const node *n = &t->nodes[i];
        int width = printf(formats[n->op->n_in], i, n->op->name, n->x[0], n->x[1]);
        printf("%*s %9.6f\n", 26 - width, "", *n->y.data);
    }
}

static void tour_derivatives(void)
{
    double a = 0.5, b = 2;
    const matrix ab[2] = {{1, 1, &a}, {1, 1, &b}};
    tape *t = tape_new();
    var x[2] = {input(t, ab[0]), input(t, ab[1])}, g[2], next[2], dy, hu[2];
    var y = v_mul(x[0], v_exp(v_mul(x[0], x[1])));
    grad(y, 2, x, g);
    puts("The tape of y = a exp(a b), and from node 5 on of its gradient:");
    list(t);
    var u[2] = {number(t, 1), number(t, 0)};
    jvp(2, x, u, 1, &y, &dy);
    hvp(y, 2, x, u, hu);
    show("dy/da = (1 + ab) e^ab", g[0]);
    show("dy/db = a^2 e^ab", g[1]);
    show("dy/da, by jvp", dy);
    show("d2y/da2 = (2 + ab) b e^ab", hu[0]);
    show("d2y/dadb = (2 + ab) a e^ab", hu[1]);
    for (int k = 0; k < 2; k++) next[k] = v_sub(x[k], v_mul(number(t, 0.1), g[k]));
    program step = cut(2, x, 2, next);
    printf("\nA step down the gradient, %d nodes of %d:\n", step.tape->n, t->n);
    list(step.tape); /* number() was called for each of two parts: -1 and 0.1 twice */
    for (int i = 0; i < 3; i++) {
        run(&step, ab, ab); /* from a and b, to a and b */
        printf("replayed: a = %9.6f, b = %9.6f, y = %9.6f\n", a, b, a * exp(a * b));
    }
    tape_free(step.tape);
    tape_free(t);
}

/* The net's loss L with every weight times s, at s = 1: dL/ds by jvp, d2L/ds2 by hvp. A
 * wrong rule shows here or below. */
static void tour_net(void)
{
    double h = 1e-5, s[] = {1, 1 + h, 1 - h}, y[2][2];
    tape *t = tape_new();
    var x = input(t, (matrix){1, 1, s}), u = number(t, 1), w[2], out[3];
    for (int k = 0; k < 2; k++) w[k] = v_mul(x, constant(t, start[k]));
    out[0] = v_sum(losses(w, 6, points, labels));
    jvp(1, &x, &u, 1, out, out + 1);
    hvp(out[0], 1, &x, &u, out + 2);
    program p = cut(1, &x, 2, out);
    for (int i = 0; i < 2; i++)
        run(&p, &(matrix){1, 1, s + 1 + i}, (matrix[]){{1, 1, y[i]}, {1, 1, y[i] + 1}});
    puts("\n              by rules    difference");
    for (int k = 0; k < 2; k++)
        printf("%-8s %13.9f %13.9f\n", k ? "d2L/ds2" : "dL/ds", value(out[k + 1]).data[0],
               (y[0][k] - y[1][k]) / 2 / h);
    tape_free(p.tape);
    tape_free(t);
}

/* dF/dx of element i of part k of the first state, and what two trainings near it say. */
static void compare(const training *p, const char *name, int k, int i, matrix *d)
{
    double *x = &start[k].data[i], was = *x, h[] = {1e-6, -1e-6, 0}, F[3];
    for (int j = 0; j < 3; j++) {
        *x = was + h[j];
        F[j] = train(p, start, d); /* each writes d: the last, at x, counts */
    }
    printf("%-8s %13.9f %13.9f\n", name, d[k].data[i], (F[0] - F[1]) / (2 * h[0]));
}

int main(void)
{
    tour_derivatives();
    tour_net();
    const char *name[PARTS] = {"", "", "", "", "example", "rate", "momentum"};
    tape *t = tape_new();
    training p = problem(t, 40);
    matrix d[PARTS];
    for (int k = 0; k < PARTS; k++) d[k] = matrix_new(start[k]);
    printf("\nA step is %d nodes, its way back %d.\n", p.step.tape->n, p.back.tape->n);
    printf("F after %d steps: %.9f\n", p.steps, train(&p, start, d));
    puts("         hypergradient    difference");
    for (int k = EXAMPLE_WEIGHTS; k < PARTS; k++)
        for (int i = 0; i < matrix_size(start[k]); i++) compare(&p, name[k], k, i, d);
    weights[4] = 0;
    printf("F without the fifth, mislabelled: %.9f\n", train(&p, start, d));
    for (int k = 0; k < PARTS; k++) free(d[k].data);
    tape_free(p.step.tape);
    tape_free(p.back.tape);
    tape_free(p.outer.tape);
    tape_free(t);
}
#endif
