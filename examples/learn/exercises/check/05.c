/* SPDX-License-Identifier: MIT */
/* Marks exercise 5: shapes, first derivatives against differences of L = <V, y>, and the
 * derivatives of what the rule gives against differences of that. */
#include EXERCISE

#include <signal.h>

static const op op_transposed = {"transposed", 2, transposed_vjp, .run = transposed_run};
static const op op_sigmoid = {"sigmoid", 1, sigmoid_vjp, .f1 = sigmoid};
static const op op_quadratic = {"quadratic", 2, quadratic_vjp, .run = quadratic_run};

/* An op at a point: leaf 0 and 1 are its inputs, leaf 2 is V. */
typedef struct trial {
    const op *f;
    const char *names[3];
    matrix leaf[3];
    int k; /* the input the rule is asked about */
} trial;
/* It, its nodes, and what the rule gave. */
typedef struct answer {
    tape *tape;
    var leaf[3], g;
} answer;

static trial asked; /* for the words of an assertion */

static const char *by(matrix m) { return mark_text("%d by %d", m.rows, m.cols); }

static const char *sides(const trial *q)
{
    return q->f->n_in == 1
               ? mark_text("%s and V are %s", q->names[0], by(q->leaf[0]))
               : mark_text("%s is %s, %s is %s, V is %s", q->names[0], by(q->leaf[0]),
                           q->names[1], by(q->leaf[1]), by(q->leaf[2]));
}

static void stopped(int signal)
{
    (void)signal;
    mark_wrong("p.k = %d, by %s: shapes that do not fit met in your rule (the engine's "
               "words are above). Here %s; the left of a product has as many columns as "
               "its right has rows%s",
               asked.k, asked.names[asked.k], sides(&asked),
               matrix_size(asked.leaf[2]) == 1
                   ? "; V is one number: v_mul repeats it, v_matmul does not"
                   : "");
}

static answer ask(const trial *q)
{
    answer r = {.tape = tape_new()};
    asked = *q;
    for (int k = 0; k < 3; k++)
        if (q->leaf[k].data) r.leaf[k] = input(r.tape, q->leaf[k]);
    var y = append(r.tape, q->f, q->leaf[2], r.leaf[0], r.leaf[1]);
    place p = {{r.leaf[0], r.leaf[1]}, y, r.leaf[2], q->k};
    r.g = q->f->vjp(p);
    if (r.g.tape != r.tape)
        mark_wrong("p.k = %d, by %s: a node of the tape is to be returned, as the ops "
                   "give it; this is none",
                   q->k, q->names[q->k]);
    return r;
}

static double inner(matrix a, matrix b)
{
    double sum = 0;
    for (int i = 0; i < matrix_size(a); i++) sum += a.data[i] * b.data[i];
    return sum;
}

/* L = <V, y>, from the op's values alone. */
static double loss(const trial *q)
{
    tape *t = tape_new();
    var x[2] = {input(t, q->leaf[0]), q->f->n_in > 1 ? input(t, q->leaf[1]) : NONE};
    double sum = inner(value(append(t, q->f, q->leaf[2], x[0], x[1])), q->leaf[2]);
    tape_free(t);
    return sum;
}

static double by_u(const trial *q, matrix u)
{
    answer r = ask(q);
    double sum = inner(value(r.g), u);
    tape_free(r.tape);
    return sum;
}

/* By element i of leaf k: of L (no u), or of <g, U>. */
static double difference(const trial *q, int k, int i, const matrix *u)
{
    double *x = &q->leaf[k].data[i], was = *x, h = 1e-5, ends[2];
    for (int end = 0; end < 2; end++) {
        *x = was + (end ? -h : h);
        ends[end] = u ? by_u(q, *u) : loss(q);
    }
    *x = was;
    return (ends[0] - ends[1]) / (2 * h);
}

/* What the shape of a wrong answer tells. */
static const char *about_shape(const trial *q, matrix got)
{
    matrix right = q->leaf[q->k];
    if (got.rows == right.cols && got.cols == right.rows)
        return ": it is turned round, (P Q)^T = Q^T P^T";
    if (right.cols == 1 && got.rows == right.rows && got.cols == got.rows)
        return ": where a row meets a column element by element, both repeat; turn one";
    if (q->f->n_in == 2 && alike(got, q->leaf[1 - q->k]))
        return mark_text(": that is the shape of %s. Is it the answer for p.k = %d?",
                         q->names[1 - q->k], 1 - q->k);
    return "";
}

static void check_shape(const trial *q, matrix got)
{
    matrix right = q->leaf[q->k];
    if (!alike(got, right))
        mark_wrong("p.k = %d: what you give is %s, but dL/d%s has the shape of %s, %s%s "
                   "(here %s)",
                   q->k, by(got), q->names[q->k], q->names[q->k], by(right),
                   about_shape(q, got), sides(q));
}

/* What the rule gives is differentiated by each leaf. The numbers are right when this
 * runs: so what is wrong here was read off the tape. */
static void check_second(const trial *q, matrix u)
{
    answer r = ask(q);
    var along = v_sum(v_mul(r.g, constant(r.tape, u)));
    for (int k = 0; k < 3; k++) {
        if (!q->leaf[k].data) continue;
        var second;
        grad(along, 1, &r.leaf[k], &second);
        for (int i = 0; i < matrix_size(q->leaf[k]); i++) {
            double right = difference(q, k, i, &u), yours = value(second).data[i];
            if (fabs(yours - right) > 1e-5 * fmax(1, fabs(right)))
                mark_wrong(
                    "p.k = %d: dL/d%s is right as numbers, but its own derivative by "
                    "element %d of %s is not: yours is %.6g, differences say %.6g: %s "
                    "was "
                    "read and made a constant, which does not depend on anything; give "
                    "the node itself to the op",
                    q->k, q->names[q->k], i, q->names[k], yours, right,
                    k < 2 ? mark_text("%s (or y)", q->names[k]) : q->names[k]);
        }
    }
    tape_free(r.tape);
}

enum { MISTAKES = 12 }; /* of one rule, at most */
/* A wrong rule with a name: element i of what it gives. */
typedef struct mistake {
    double (*gives)(const trial *q, int i);
    const char *why;
} mistake;

static void check_rule(trial q, int k, const mistake *mistakes)
{
    static double u_data[] = {.3, -.8, .5, 1.1, -.4, .7, -.2, .9, .6, -.5, .1, 1.3};
    signal(SIGABRT, stopped);
    q.k = k;
    answer r = ask(&q);
    check_shape(&q, value(r.g));
    for (int i = 0; i < matrix_size(q.leaf[k]); i++) {
        slip slips[MISTAKES + 1] = {{0, NULL}};
        for (int j = 0; j < MISTAKES && mistakes[j].why; j++)
            slips[j] = (slip){mistakes[j].gives(&q, i), mistakes[j].why};
        mark_number(value(r.g).data[i], difference(&q, k, i, NULL), 1e-6, slips,
                    "p.k = %d: element %d of dL/d%s, which differences have (here %s)", k,
                    i, q.names[k], sides(&q));
    }
    matrix u = {q.leaf[k].rows, q.leaf[k].cols, u_data};
    tape_free(r.tape);
    check_second(&q, u);
}

/* L = <V, y> with ones for V: what a rule gives that forgets V. */
static double forgot_v(const trial *q, int i)
{
    double ones[12];
    trial with = *q;
    for (int j = 0; j < 12; j++) ones[j] = 1;
    with.leaf[2].data = ones;
    return difference(&with, q->k, i, NULL);
}
static double just_v(const trial *q, int i)
{
    return q->leaf[2].data[i % matrix_size(q->leaf[2])];
}
static const char *no_v = "V is missing: what is wanted is dL, not dy";

static double at_a[] = {.5, -1, 2, 1, .3, -.7, .8, -.2, .4, 1.2, -.6, .9};
static double at_b[] = {1, .2, -.4, .6, .9, -.3, -1.1, .5},
              at_m[] = {1, 2, -1, .5, 3, .7, .25, -2, 1.5};
static double at_v[] = {.7, -1.3, .4, .9, -.5, 1.6};

static void check_transposed(void)
{
    trial q = {
        &op_transposed, {"A", "B", "V"}, {{4, 3, at_a}, {4, 2, at_b}, {3, 2, at_v}}, 0};
    const mistake known[MISTAKES] = {{forgot_v, no_v}, {NULL, NULL}};
    for (int k = 0; k < 2; k++) check_rule(q, k, known);
    /* All sides alike: what the shapes do not tell. */
    trial square = {
        &op_transposed, {"A", "B", "V"}, {{2, 2, at_a}, {2, 2, at_b}, {2, 2, at_v}}, 0};
    for (int k = 0; k < 2; k++) check_rule(square, k, known);
}

static double of_x(const trial *q, int i) { return sigmoid(q->leaf[0].data[i]); }
static double sigmoid_no_second(const trial *q, int i)
{
    return just_v(q, i) * of_x(q, i);
}
static double sigmoid_tanh(const trial *q, int i)
{
    return just_v(q, i) * (1 - of_x(q, i) * of_x(q, i));
}
static double sigmoid_of_x(const trial *q, int i)
{
    double x = q->leaf[0].data[i];
    return just_v(q, i) * x * (1 - x);
}

static double sigmoid_half_of_x(const trial *q, int i)
{
    return just_v(q, i) * of_x(q, i) * (1 - q->leaf[0].data[i]);
}
static double sigmoid_turned(const trial *q, int i)
{
    return -just_v(q, i) * of_x(q, i) * (1 - of_x(q, i));
}
static double sigmoid_no_square(const trial *q, int i)
{
    return just_v(q, i) * (1 - of_x(q, i));
}
static double sigmoid_of_first(const trial *q, int i)
{
    return just_v(q, i) * of_x(q, 0) * (1 - of_x(q, 0));
}
static double sigmoid_first_rest(const trial *q, int i)
{
    return just_v(q, i) * of_x(q, i) * (1 - of_x(q, 0));
}
static double sigmoid_first_y(const trial *q, int i)
{
    return just_v(q, i) * of_x(q, 0) * (1 - of_x(q, i));
}

static void check_sigmoid(void)
{
    trial q = {
        &op_sigmoid, {"x", "", "V"}, {{2, 3, at_a}, {0, 0, NULL}, {2, 3, at_v}}, 0};
    const char *read =
        "a number was read from the tape, *value(..).data, which is element "
        "0 only, and stands for all; give the node p.y to the ops, and 1 "
        "as number(p.v.tape, 1)";
    const mistake known[MISTAKES] = {
        {forgot_v, no_v},
        {just_v, "that is V itself: the slope of the sigmoid is missing"},
        {sigmoid_no_second, "V y is the rule of exp; the slope here is y (1 - y)"},
        {sigmoid_tanh, "1 - y y is the slope of tanh; write it down for 1 / (1 + e^-x)"},
        {sigmoid_of_x, "the slope is y (1 - y) of the result y = p.y; x stands there"},
        {sigmoid_half_of_x, "1 - x stands there; the slope is y (1 - y), with y = p.y"},
        {sigmoid_turned, "the sign: y rises with x; the slope is y (1 - y), not "
                         "y (y - 1)"},
        {sigmoid_no_square, "that is V (1 - y), which is V e^-x / (1 + e^-x); the slope "
                            "has 1 + e^-x squared below: y is missing"},
        {sigmoid_of_first, "the slope at element 0 was taken for all: *value(..).data "
                           "is one number; give the node p.y to the ops"},
        {sigmoid_first_rest, read},
        {sigmoid_first_y, read}};
    check_rule(q, 0, known);
}

/* V times row i of M (turned: column i) times x. */
static double row(const trial *q, int i, bool turned)
{
    double sum = 0;
    for (int j = 0; j < 3; j++)
        sum += *at(q->leaf[1], turned ? j : i, turned ? i : j) * q->leaf[0].data[j];
    return *q->leaf[2].data * sum;
}
static double m_x(const trial *q, int i) { return row(q, i, false); }
static double mt_x(const trial *q, int i) { return row(q, i, true); }
static double twice_m_x(const trial *q, int i) { return 2 * m_x(q, i); }
static double twice_mt_x(const trial *q, int i) { return 2 * mt_x(q, i); }

static void check_quadratic(void)
{
    trial q = {
        &op_quadratic, {"x", "M", "V"}, {{3, 1, at_a}, {3, 3, at_m}, {1, 1, at_v}}, 0};
    const char *half =
        "x stands twice in x^T M x, and the two shares, V M x and V M^T x, "
        "are added; one is missing";
    const char *twice = "2 M x is right only where M is symmetric; else the two x in "
                        "x^T M x give M x and M^T x";
    const mistake of_vector[MISTAKES] = {{forgot_v, no_v},
                                         {m_x, half},
                                         {mt_x, half},
                                         {twice_m_x, twice},
                                         {twice_mt_x, twice}};
    const mistake of_matrix[MISTAKES] = {{forgot_v, no_v}, {NULL, NULL}};
    check_rule(q, 0, of_vector);
    check_rule(q, 1, of_matrix);
}

int main(int argc, char **argv)
{
    const hole holes[] = {
        {"transposed_vjp",
         check_transposed,
         {"do as the lesson does: dL = <V, dY> with dY = dA^T B, and then A^T dB",
          "sum over i, j, l of V_ij dA_li B_lj: what stands beside dA_li has the indices "
          "l and i, and is B times V turned round",
          "dL/dA = B V^T, which is k by m; dL/dB = A V",
          "p.k == 0: v_matmul(p.x[1], v_transpose(p.v)); else v_matmul(p.x[0], p.v)"}},
        {"sigmoid_vjp",
         check_sigmoid,
         {"differentiate 1 / (1 + e^-x), and write the slope by y alone",
          "the slope is y (1 - y); 1 is number(p.v.tape, 1)",
          "v_mul(p.v, v_mul(p.y, v_sub(number(p.v.tape, 1), p.y)))"}},
        {"quadratic_vjp",
         check_quadratic,
         {"dy = dx^T M x + x^T M dx + x^T dM x, and dL = V dy, where V is one number",
          "dx^T M x = <M x, dx>; x^T M dx = <M^T x, dx>; x^T dM x = <x x^T, dM>",
          "to x: V (M x + M^T x); to M: V x x^T; v_mul with p.v repeats the one number",
          "p.k == 0: v_mul(p.v, v_add(v_matmul(M, x), v_matmul(v_transpose(M), x))); "
          "else v_mul(p.v, v_matmul(x, v_transpose(x)))"}},
    };
    return mark_exercise(argc, argv, 5, holes, sizeof holes / sizeof *holes);
}
