/* SPDX-License-Identifier: MIT */
/* Marks exercise 13: values against sums in plain C, dS against differences, what a row
 * may not see by changing it. */
#include EXERCISE

enum { MOST = 64 };

static ht_tape *tape;

/* (rows, columns) numbers at random, in `number` too. */
static ht_var matrix(int64_t rows, int64_t columns, uint64_t stream, double *number)
{
    if (!tape) tape = ht_tape_new(mark_context(), HT_EAGER);
    ht_tensor *x = ht_tensor_new(ht_tape_context(tape), HT_F64, HT_SHAPE(rows, columns));
    ht_tensor_normal(x, stream, 0, 1);
    for (int64_t i = 0; i < rows * columns; i++) number[i] = ht_tensor_get(x, i);
    return ht_input(tape, x);
}

/* The numbers of what was returned, which must have this shape. */
static void numbers(ht_var x, int64_t rows, int64_t columns, const char *at, double *to)
{
    char text[HT_SHAPE_TEXT];
    if (!ht_shape_equal(ht_var_shape(x), HT_SHAPE(rows, columns)))
        mark_wrong("%s: the result has shape %s, and (%lld, %lld) is right", at,
                   ht_shape_text(ht_var_shape(x), text), (long long)rows,
                   (long long)columns);
    for (int64_t i = 0; i < rows * columns; i++) to[i] = ht_tensor_get(ht_value(x), i);
}

static double dot(const double *a, const double *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void check_scores_of(int T, int n, int d)
{
    double q[MOST], k[MOST], yours[MOST];
    const char *at = mark_text("Q (%d, %d), K (%d, %d)", T, d, n, d);
    ht_var x = matrix(T, d, 1, q), y = matrix(n, d, 2, k);
    numbers(scores(x, y), T, n, at, yours);
    for (int i = 0; i < T; i++)
        for (int j = 0; j < n; j++) {
            double product = dot(q + i * d, k + j * d, d);
            mark_number(
                yours[i * n + j], product / sqrt(d), 1e-9,
                SLIPS({product, "1 / sqrt d is missing"},
                      {product / d, "divide by sqrt d, not by d"},
                      {product / sqrt(n), "d is the length of a row of Q, not how "
                                          "many rows K has"},
                      {product / sqrt(T), "d is the length of a row of Q, not how "
                                          "many rows Q has"},
                      {product / sqrt(5), "d is not 5 here: ask ht_var_shape(q).dim[1]"},
                      {product * sqrt(d), "divide by sqrt d, do not multiply"}),
                "%s: S[%d][%d]", at, i, j);
        }
}

static void check_scores(void)
{
    check_scores_of(3, 4, 5);
    check_scores_of(2, 3, 7);
    check_scores_of(4, 3, 2);
}

/* exp(s[i][j]) over the sum of its row, or of its column. */
static double weight(const double *s, int rows, int columns, int i, int j, bool down)
{
    double sum = 0;
    for (int l = 0; l < (down ? rows : columns); l++)
        sum += exp(down ? s[l * columns + j] : s[i * columns + l]);
    return exp(s[i * columns + j]) / sum;
}

static void check_large_scores(void)
{
    enum { ROWS = 4 };
    static const char *const why[ROWS] = {
        "exp overflows; take the largest of each row off first",
        "its whole row became 0; take off the largest of each row, not of the matrix",
        "exp overflows: what is taken off is the largest of the row, not its first",
        "-inf less -inf: what is taken off is the largest of the row, not its first"};
    double s[] = {1000,  999,  -INFINITY, -1000,     -1001, -1002,
                  -1000, 1000, 999,       -INFINITY, 3,     2},
           yours[MOST];
    ht_tensor *x = ht_tensor_wrap(ht_tape_context(tape), HT_F64, HT_SHAPE(ROWS, 3), s);
    numbers(softmax(ht_input(tape, x)), ROWS, 3,
            "rows 1000 999 -inf, -1000 -1001 -1002, -1000 1000 999, -inf 3 2", yours);
    for (int i = 0; i < ROWS * 3; i++) {
        const double *row = s + i / 3 * 3, largest = fmax(row[0], row[1]);
        double whole = 0;
        for (int j = 0; j < 3; j++) whole += exp(row[j] - largest);
        const char *at =
            mark_text("s = %g in the row %g %g %g", s[i], row[0], row[1], row[2]);
        if (isnan(yours[i])) mark_wrong("%s: yours is NaN: %s", at, why[i / 3]);
        mark_number(yours[i], exp(s[i] - largest) / whole, 1e-9, NULL, "the weight of %s",
                    at);
    }
}

static void check_softmax(void)
{
    enum { T = 3, N = 4 };
    double s[MOST], yours[MOST];
    const char *at = "S (3, 4)";
    numbers(softmax(matrix(T, N, 3, s)), T, N, at, yours);
    for (int i = 0; i < T; i++)
        for (int j = 0; j < N; j++) {
            double right = weight(s, T, N, i, j, false), all = 0;
            for (int l = 0; l < T * N; l++) all += exp(s[l]);
            mark_number(
                yours[i * N + j], right, 1e-9,
                SLIPS({weight(s, T, N, i, j, true),
                       "that is the softmax of the columns: axis -1 goes along a row"},
                      {exp(s[i * N + j]) / all,
                       "that is over the whole matrix: the sum is of a row, HT_AXES(-1)"},
                      {exp(s[i * N + j]), "exp is there; the sum of the row to divide by "
                                          "is missing"},
                      {s[i * N + j], "those are the scores themselves"},
                      {log(right), "that is its logarithm"}),
                "%s: P[%d][%d]", at, i, j);
        }
    check_large_scores();
}

/* sum_l dp[l] P_il of the row s + h e_j: what dS is the slope of. */
static double along(const double *s, const double *dp, int n, int j, double h)
{
    double sum = 0, whole = 0;
    for (int l = 0; l < n; l++) {
        double e = exp(s[l] + (l == j ? h : 0));
        sum += dp[l] * e, whole += e;
    }
    return sum / whole;
}

static void check_softmax_vjp(void)
{
    enum { T = 3, N = 4 };
    double s[MOST], dp[MOST], p[MOST], yours[MOST], h = 1e-6;
    const char *at = "P (3, 4)";
    ht_var x = ht_softmax(matrix(T, N, 4, s)), v = matrix(T, N, 5, dp);
    numbers(x, T, N, at, p);
    numbers(softmax_vjp(x, v), T, N, at, yours);
    for (int i = 0; i < T; i++)
        for (int j = 0; j < N; j++) {
            const double *row = s + i * N, *d = dp + i * N, *q = p + i * N;
            double down = 0, sum = 0;
            for (int l = 0; l < T; l++) down += dp[l * N + j] * p[l * N + j];
            for (int l = 0; l < N; l++) sum += d[l];
            double difference =
                (along(row, d, N, j, h) - along(row, d, N, j, -h)) / (2 * h);
            mark_number(
                yours[i * N + j], difference, 1e-7,
                SLIPS({q[j] * d[j],
                       "rowsum(dP * P) is missing: a weight that grows makes "
                       "the others of its row shrink"},
                      {q[j] * (d[j] - down), "the sum is of a row, not of a column"},
                      {d[j] - dot(d, q, N), "the factor P before the bracket is missing"},
                      {q[j] * (d[j] - sum), "rowsum is of dP * P, not of dP"},
                      {q[j] * (d[j] - q[j] * d[j]),
                       "that takes off dP * P itself: its row's sum is meant"},
                      {-difference, "the sign"}, {d[j], "that is dP, as if P were S"}),
                "%s: dS[%d][%d], which differences have", at, i, j);
        }
}

/* q and k (T, d), v (T, e). */
typedef struct problem {
    int T, d, e;
    double q[MOST], k[MOST], v[MOST];
} problem;

/* Column `column` of row i of the output, if it sees the rows first .. last. */
static double attend(const problem *p, int i, int column, int first, int last,
                     double scale)
{
    double sum = 0, whole = 0;
    for (int j = first; j <= last; j++) {
        double e = exp(dot(p->q + i * p->d, p->k + j * p->d, p->d) * scale);
        sum += e * p->v[j * p->e + column], whole += e;
    }
    return sum / whole;
}

/* Weights over all rows, those of later ones set to 0 afterwards. */
static double masked_after(const problem *p, int i, int column)
{
    double sum = 0, whole = 0;
    for (int j = 0; j < p->T; j++) {
        double e = exp(dot(p->q + i * p->d, p->k + j * p->d, p->d) / sqrt(p->d));
        if (j <= i) sum += e * p->v[j * p->e + column];
        whole += e;
    }
    return sum / whole;
}

static void judge_output(const problem *p, const char *at, double yours, int i, int j)
{
    double scale = 1 / sqrt(p->d);
    int last = p->T - 1;
    if (isnan(yours))
        mark_wrong("%s: output[%d][%d]: yours is NaN: row %d sees no row at all, "
                   "or 0 stands times infinity",
                   at, i, j, i);
    mark_number(yours, attend(p, i, j, 0, i, scale), 1e-9,
                SLIPS({attend(p, i, j, 0, last, scale),
                       "there is no mask: row i sees the rows after it too"},
                      {masked_after(p, i, j),
                       "P is masked after the softmax, and its rows no longer sum to 1: "
                       "mask S, with -INFINITY"},
                      {attend(p, i, j, i, last, scale),
                       "it is the other half: row i sees the rows 0 .. i"},
                      {attend(p, i, j, 0, i < last ? i + 1 : i, scale),
                       "row i sees row i + 1 too: the diagonal of ht_tril is 0"},
                      {attend(p, i, j, 0, i, 1), "1 / sqrt d is missing"},
                      {attend(p, i, j, 0, i, 1 / sqrt(3)),
                       "d is not 3 here: it is how many columns q has"},
                      {p->v[i * p->e + j], "those are the rows of v themselves"}),
                "%s: output[%d][%d], in which row %d sees 0 .. %d", at, i, j, i, i);
}

static void check_output(int T, int d, int e)
{
    problem p = {T, d, e, {0}, {0}, {0}};
    double yours[MOST];
    const char *at = mark_text("q, k (%d, %d), v (%d, %d)", T, d, T, e);
    ht_var q = matrix(T, d, 6, p.q), k = matrix(T, d, 7, p.k), v = matrix(T, e, 8, p.v);
    numbers(causal_attention(q, k, v), T, e, at, yours);
    for (int i = 0; i < T; i++)
        for (int j = 0; j < e; j++) judge_output(&p, at, yours[i * e + j], i, j);
}

enum { ROWS = 4 };

/* The output of columns q = 40, k = -1, v = 0 .. 3, the rows after row `last` changed. */
static void output_of(int last, double *to)
{
    ht_tensor *x[3];
    for (int l = 0; l < 3; l++)
        x[l] = ht_tensor_new(ht_tape_context(tape), HT_F64, HT_SHAPE(ROWS, 1));
    for (int i = 0; i < ROWS; i++) {
        ht_tensor_set(x[0], i, i > last ? 20 : 40);
        ht_tensor_set(x[1], i, i > last ? 1 : -1);
        ht_tensor_set(x[2], i, i > last ? i + 5 : i);
    }
    numbers(causal_attention(ht_input(tape, x[0]), ht_input(tape, x[1]),
                             ht_input(tape, x[2])),
            ROWS, 1, "q, k, v (4, 1)", to);
}

/* What comes after a row moves nothing of it, though its own scores be -40. */
static void check_later_rows(void)
{
    double before[ROWS], after[ROWS];
    output_of(ROWS - 1, before);
    for (int last = 0; last < ROWS - 1; last++) {
        output_of(last, after);
        for (int i = 0; i <= last; i++)
            if (!(fabs(after[i] - before[i]) <= 1e-9))
                mark_wrong("columns q = 40, k = -1: output[%d] goes from %.9g to %.9g as "
                           "the rows after row %d change: it still sees them. Fill with "
                           "-INFINITY: no number is below every score",
                           i, before[i], after[i], last);
    }
}

static void check_causal_attention(void)
{
    check_output(4, 3, 2);
    check_output(3, 5, 2);
    check_output(5, 2, 3);
    check_later_rows();
}

int main(int argc, char **argv)
{
    const hole holes[] = {
        {"scores",
         check_scores,
         {"(T, d) times (d, n) is (T, n): which of the two is to be transposed?",
          "d is the number of columns of q",
          "ht_div(ht_matmul(q, ht_transpose(k)), sqrt(d)), d from "
          "ht_var_shape(q).dim[1]"}},
        {"softmax",
         check_softmax,
         {"take the largest of each row off, exp, and divide by the sum of the row",
          "sums and largest of rows: axis -1, keep true, so that they broadcast",
          "ht_var e = ht_exp(ht_sub(s, ht_max_axes(s, HT_AXES(-1), true))); and e over "
          "its "
          "ht_sum_axes"}},
        {"softmax_vjp",
         check_softmax_vjp,
         {"raise one score: its own weight grows by p (1 - p), each other shrinks",
          "dS = P * (dP - rowsum(dP * P))",
          "ht_mul(p, ht_sub(dp, ht_sum_axes(ht_mul(dp, p), HT_AXES(-1), true)))"}},
        {"causal_attention",
         check_causal_attention,
         {"mask the scores before the softmax: what becomes 0 in exp?",
          "ht_tril(s, 0, -INFINITY) leaves the diagonal and what is below",
          "ht_matmul(ht_softmax(ht_tril(scores(q, k), 0, -INFINITY)), v)"}},
    };
    return mark_exercise(argc, argv, 13, holes, sizeof holes / sizeof *holes);
}
