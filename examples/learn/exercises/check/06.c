/* SPDX-License-Identifier: MIT */
/* Marks exercise 6: each jvp by the dot test with a vjp that is right, by a difference
 * along u, and as nodes; the test itself on rules that are wrong; J and its sweeps. */
#include EXERCISE

#include <signal.h>

static const op op_transposed = {"transposed", 2, transposed_vjp, transposed_jvp,
                                 .run = transposed_run};
static const op op_share = {"share", 1, share_vjp, share_jvp, .run = share_run};

/* An op at a point x, a direction u for each input, and V for y. */
typedef struct trial {
    const op *f;
    const char *names[2];
    matrix x[2], u[2], v;
    int k; /* the input that moves */
} trial;
typedef struct answer {
    tape *tape;
    var x[2], u, ju;
} answer;

static trial asked; /* for the words of an assertion */

static const char *by(matrix m) { return mark_text("%d by %d", m.rows, m.cols); }

static const char *sides(const trial *q)
{
    return q->f->n_in == 1 ? mark_text("%s and y are %s", q->names[0], by(q->x[0]))
                           : mark_text("%s is %s, %s is %s, y is %s", q->names[0],
                                       by(q->x[0]), q->names[1], by(q->x[1]), by(q->v));
}

static void stopped(int signal)
{
    (void)signal;
    if (!asked.f) mark_wrong("the engine stopped your code; its words are above");
    mark_wrong("p.k = %d, d%s moves: shapes that do not fit met in your rule (the "
               "engine's words are above). Here %s; the left of a product has as many "
               "columns as its right has rows; p.v is d%s alone, and the engine adds the "
               "answers",
               asked.k, asked.names[asked.k], sides(&asked), asked.names[asked.k]);
}

static answer ask(const trial *q)
{
    answer r = {.tape = tape_new()};
    asked = *q;
    for (int k = 0; k < q->f->n_in; k++) r.x[k] = input(r.tape, q->x[k]);
    r.u = input(r.tape, q->u[q->k]);
    var y = append(r.tape, q->f, q->v, r.x[0], r.x[1]);
    place p = {{r.x[0], r.x[1]}, y, r.u, q->k};
    r.ju = q->f->jvp(p);
    if (r.ju.tape != r.tape)
        mark_wrong(
            "p.k = %d, d%s moves: a node of the tape is to be returned, as the ops "
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

/* d/ds at s = 0 of <V, g> as leaf `m` moves along `u`: g is y, or what the jvp gives. */
static double difference(const trial *q, matrix m, matrix u, bool of_rule)
{
    double h = 1e-5, ends[2], was[16];
    for (int i = 0; i < matrix_size(m); i++) was[i] = m.data[i];
    for (int end = 0; end < 2; end++) {
        for (int i = 0; i < matrix_size(m); i++)
            m.data[i] = was[i] + (end ? -h : h) * u.data[i];
        tape *t = tape_new();
        var x[2] = {input(t, q->x[0]), q->f->n_in > 1 ? input(t, q->x[1]) : NONE};
        answer r = {.tape = NULL};
        if (of_rule) r = ask(q);
        ends[end] =
            inner(value(of_rule ? r.ju : append(t, q->f, q->v, x[0], x[1])), q->v);
        if (of_rule) tape_free(r.tape);
        tape_free(t);
    }
    for (int i = 0; i < matrix_size(m); i++) m.data[i] = was[i];
    return (ends[0] - ends[1]) / (2 * h);
}

/* The jvp's own derivative along `u` of each input. The numbers are right when this runs:
 * so what is wrong here was read off the tape. */
static void check_nodes(const trial *q)
{
    answer r = ask(q);
    var along = v_sum(v_mul(r.ju, constant(r.tape, q->v))), g[2];
    grad(along, q->f->n_in, r.x, g);
    for (int k = 0; k < q->f->n_in; k++) {
        double yours = inner(value(g[k]), q->u[k]);
        double right = difference(q, q->x[k], q->u[k], true);
        if (fabs(yours - right) > 1e-5 * fmax(1, fabs(right)))
            mark_wrong("p.k = %d, d%s moves: right as numbers, but its own derivative "
                       "along %s is not: yours is %.6g, differences say %.6g: %s (or y) "
                       "was read and made a constant; give the node itself to the op",
                       q->k, q->names[q->k], q->names[k], yours, right, q->names[k]);
    }
    tape_free(r.tape);
}

static double by_vjp(const trial *q)
{
    tape *t = tape_new();
    var x[2] = {input(t, q->x[0]), q->f->n_in > 1 ? input(t, q->x[1]) : NONE};
    var v = input(t, q->v), y = append(t, q->f, q->v, x[0], x[1]);
    double sum = inner(value(q->f->vjp((place){{x[0], x[1]}, y, v, q->k})), q->u[q->k]);
    tape_free(t);
    return sum;
}

static void check_rule(trial q, int k, const slip *slips)
{
    signal(SIGABRT, stopped);
    q.k = k;
    answer r = ask(&q);
    if (!alike(value(r.ju), q.v))
        mark_wrong("p.k = %d, d%s moves: what you give is %s, but a tangent of y has the "
                   "shape of y, %s (here %s)",
                   k, q.names[k], by(value(r.ju)), by(q.v), sides(&q));
    mark_number(inner(value(r.ju), q.v), by_vjp(&q), 1e-12, slips,
                "p.k = %d, d%s moves: the dot test, <v, J u>, with <J^T v, u> by the vjp "
                "(here %s)",
                k, q.names[k], sides(&q));
    mark_number(inner(value(r.ju), q.v), difference(&q, q.x[k], q.u[k], false), 1e-6,
                NULL, "p.k = %d, d%s moves: <v, J u>, with a difference along u", k,
                q.names[k]);
    tape_free(r.tape);
    check_nodes(&q);
}

static double a_data[] = {.5, -1, 2, 1, .3, -.7},
              b_data[] = {1, .2, -.4, .6, .9, -.3, -1.1, .5, .8, -.2, 1.4, .1};
static double ua[] = {.1, -.2, .3, .4, -.5, .6},
              ub[] = {.7, -.3, .5, -.9, .2, .4, 1.2, -.6, .3, .1, -.4, .8};
static double v8[] = {.7, -1.3, .4, .9, -.5, 1.6, -.2, 1.1};

static void check_transposed(void)
{
    trial q = {&op_transposed,           {"A", "B"}, {{2, 3, a_data}, {4, 3, b_data}},
               {{2, 3, ua}, {4, 3, ub}}, {2, 4, v8}, 0};
    for (int k = 0; k < 2; k++) check_rule(q, k, SLIPS({0, "that gives nothing to y"}));
    trial square = {
        &op_transposed,           {"A", "B"}, {{2, 2, a_data}, {2, 2, b_data}},
        {{2, 2, ua}, {2, 2, ub}}, {2, 2, v8}, 0};
    const char *backward =
        "that is the formula of the vjp; here the tangent stands in the "
        "place of the input that moves, and goes forward to y";
    const char *turned = "the transpose of B^T is forgotten, or stands on the wrong one";
    tape *t = tape_new();
    var a = input(t, square.x[0]), b = input(t, square.x[1]), v = input(t, square.v);
    var da = input(t, square.u[0]), db = input(t, square.u[1]);
    double wrong[] = {inner(value(v_matmul(da, b)), value(v)),
                      inner(value(v_matmul(v_transpose(db), a)), value(v)),
                      inner(value(v_matmul(a, db)), value(v)),
                      inner(value(v_matmul(db, v_transpose(a))), value(v))};
    check_rule(square, 0, SLIPS({wrong[0], backward}));
    check_rule(square, 1,
               SLIPS({wrong[1], backward}, {wrong[2], turned}, {wrong[3], turned}));
    tape_free(t);
}

static void check_share(void)
{
    static double x[] = {.5, 1.2, 2, .3}, u[] = {.4, -.7, 1.1, .6};
    trial q = {
        &op_share,  {"x", ""}, {{4, 1, x}, {0, 0, NULL}}, {{4, 1, u}, {0, 0, NULL}},
        {4, 1, v8}, 0};
    double s = 0, su = 0, yu = 0, vu = 0, vy = 0, v1 = 0, vxu = 0;
    for (int i = 0; i < 4; i++) s += x[i], su += u[i], vu += v8[i] * u[i], v1 += v8[i];
    for (int i = 0; i < 4; i++) vxu += v8[i] * x[i] * u[i];
    for (int i = 0; i < 4; i++) yu += x[i] / s * u[i], vy += v8[i] * x[i] / s;
    check_rule(
        q, 0,
        SLIPS({vu, "that is u itself: y does not move as fast as x"},
              {vu / s, "that holds the sum still; it moves too, with the sum of u, and y "
                       "falls when it grows"},
              {(vu + vy * su) / s,
               "the sign: y falls when the sum in the denominator grows"},
              {(vu - v1 * yu) / s,
               "that is the formula of the vjp; J is not symmetric here: "
               "y is made from x by a quotient, so start from that"},
              {vu / s - vy / s, "the sum moves by the sum of u, v_sum(p.v), which is "
                                "missing beside x"},
              {vu / s - vxu / (s * s), "x_i is multiplied by its own u_i; the sum below "
                                       "moves by all of u, v_sum(p.v)"},
              {vxu / (s * s), "that is u y / s; y = x / s moves by two shares, u / s and "
                              "-y ds / s, with ds the sum of u: the quotient rule"},
              {vu - vy * su, "the division by the sum is missing"}));
}

/* Rules that are wrong, each in a way of its own: how far apart the two sides lie then is
 * known from the right ones. */
static var right_jvp(place p)
{
    return p.k == 0 ? v_matmul(p.v, v_transpose(p.x[1]))
                    : v_matmul(p.x[0], v_transpose(p.v));
}
static var no_b_jvp(place p) { return p.k == 0 ? right_jvp(p) : zero(p.y); }
static var twice_jvp(place p) { return v_mul(number(p.v.tape, 2), right_jvp(p)); }
static var thrice_vjp(place p) { return v_mul(number(p.v.tape, 3), transposed_vjp(p)); }

static const op test_ops[] = {
    {"right rules", 2, transposed_vjp, right_jvp, .run = transposed_run},
    {"a jvp that forgets B", 2, transposed_vjp, no_b_jvp, .run = transposed_run},
    {"a jvp with a factor 2", 2, transposed_vjp, twice_jvp, .run = transposed_run},
    {"a vjp with a factor 3", 2, thrice_vjp, right_jvp, .run = transposed_run}};

static void check_dot_gap(void)
{
    const double factors[][3] = {{1, 1, 1}, {1, 0, 1}, {2, 2, 1}, {1, 1, 3}};
    matrix mx[2] = {{2, 3, a_data}, {4, 3, b_data}}, mu[2] = {{2, 3, ua}, {4, 3, ub}};
    asked.f = NULL;
    signal(SIGABRT, stopped);
    for (int i = 0; i < 4; i++) {
        tape *t = tape_new();
        var x[2] = {input(t, mx[0]), input(t, mx[1])};
        var u[2] = {constant(t, mu[0]), constant(t, mu[1])},
            v = constant(t, (matrix){2, 4, v8});
        var y = append(t, &test_ops[i], shape(2, 4), x[0], x[1]);
        double a = inner(value(v_matmul(u[0], v_transpose(x[1]))), value(v));
        double b = inner(value(v_matmul(x[0], v_transpose(u[1]))), value(v));
        const double *c = factors[i];
        double left_0 = v8[0] * (c[0] * *value(v_matmul(u[0], v_transpose(x[1]))).data +
                                 c[1] * *value(v_matmul(x[0], v_transpose(u[1]))).data);
        double right_0 = c[2] * *value(v_matmul(v, x[1])).data * ua[0];
        right_0 += c[2] * *value(v_matmul(v_transpose(v), x[0])).data * ub[0];
        double left = c[0] * a + c[1] * b, right = c[2] * (a + b);
        mark_number(
            dot_gap(2, x, u, y, v), left - right, 1e-12,
            SLIPS(
                {0, "these rules are wrong, and the test has to say so"},
                {right - left, "the sign: it is <v, J u> less <J^T v, u>"},
                {left + right, "the two sides are to be subtracted"},
                {left_0 - right_0, "of each product only element 0 is in it; v_sum adds "
                                   "them all"},
                {left_0 - right, "of v times J u only element 0 is in it; v_sum adds "
                                 "them all"},
                {left - right_0, "of J^T v times u only element 0 is in it; v_sum adds "
                                 "them all"},
                {left, "that is <v, J u> alone"}, {right, "that is <J^T v, u> alone"},
                {left - c[2] * a, "<J^T v, u> is a sum over all n inputs; only the first "
                                  "is in it"},
                {left - c[2] * b, "<J^T v, u> is a sum over all n inputs; only the last "
                                  "is in it"}),
            "on Y = A B^T with %s (<v, J u> is %.4f, <J^T v, u> is %.4f)",
            test_ops[i].name, left, right);
        tape_free(t);
    }
}

/* Passes on what it is given, and counts the sweeps that come by. */
static int swept_forward, swept_backward;
static double same(double x) { return x; }
static var counted_vjp(place p) { return swept_backward++, p.v; }
static var counted_jvp(place p) { return swept_forward++, p.v; }
static const op op_counted = {"counted", 1, counted_vjp, counted_jvp, .f1 = same};

/* y = exp(M x), M m by n: dy_j/dx_i = y_j M_ji. */
static void check_jacobian_of(int n, int m)
{
    tape *t = tape_new();
    double J[64];
    for (int i = 0; i < 64; i++) J[i] = 100;
    var M = constant(t, (matrix){m, n, b_data}), x = input(t, (matrix){n, 1, a_data});
    var y = append(t, &op_counted, shape(m, 1), v_exp(v_matmul(M, x)), NONE);
    const char *older =
        "the 1 of the row or column before is still in the vector, so that "
        "both are added: put it back to 0";
    swept_forward = swept_backward = 0;
    jacobian(x, y, J);
    for (int j = 0; j < m; j++)
        for (int i = 0; i < n; i++) {
            double *yj = value(y).data, turned = 0, rows = 0, columns = 0;
            int place = j * n + i; /* J[i * m + j], were it the transpose */
            turned = yj[place % m] * b_data[place % m * n + place / m];
            int row = place / m < m ? place / m : m - 1, column = place - row * m;
            for (int k = 0; k <= j; k++) rows += yj[k] * b_data[k * n + i];
            for (int k = 0; k <= i; k++) columns += yj[j] * b_data[j * n + k];
            mark_number(
                J[place], yj[j] * b_data[place], 1e-9,
                SLIPS({100, "nothing was written there"},
                      {turned, "that is the transpose: J has a row for each y, and "
                               "J[j * n + i] is dy_j/dx_i"},
                      {column < n ? yj[row] * b_data[row * n + column] : NAN,
                       "rows were put m numbers apart; a row of J has n: J[j * n + i]"},
                      {rows, older}, {columns, older},
                      {0, "is the 1 in the place that this row or column needs?"}),
                "n = %d, m = %d: dy_%d/dx_%d", n, m, j, i);
        }
    int swept = swept_forward + swept_backward, least = n < m ? n : m;
    if (swept > least)
        mark_wrong("n = %d, m = %d: J is right, but %d sweeps forward and %d backward "
                   "came by, and %d "
                   "%s do: a sweep forward gives a column, one for each x; a sweep "
                   "backward a row, one for each y",
                   n, m, swept_forward, swept_backward, least,
                   n < m ? "forward" : "backward");
    tape_free(t);
}

static void check_jacobian(void)
{
    asked.f = NULL;
    signal(SIGABRT, stopped);
    check_jacobian_of(4, 2);
    check_jacobian_of(2, 5);
    check_jacobian_of(3, 3);
}

int main(int argc, char **argv)
{
    const hole holes[] = {
        {"transposed_jvp",
         check_transposed,
         {"let A move by dA, and B stand still: how does A B^T move?",
          "dA stands where A stood: dA B^T. If B moves, the transpose is of dB",
          "p.k == 0: v_matmul(p.v, v_transpose(p.x[1])); else v_matmul(p.x[0], "
          "v_transpose(p.v))"}},
        {"share_jvp",
         check_share,
         {"y = x / s with s the sum of x: both move when x moves by u. How does s move?",
          "ds = sum of u, and the quotient rule has dy = u / s - x ds / (s s)",
          "that is (u - y ds) / s, with y = p.y",
          "v_div(v_sub(p.v, v_mul(p.y, v_sum(p.v))), v_sum(p.x[0]))"}},
        {"dot_gap",
         check_dot_gap,
         {"one call of jvp gives J u, one of vjp gives J^T v, an array of n",
          "<p, q> is v_sum(v_mul(p, q)); of J^T v and u there are n pairs, all added",
          "jvp(n, x, u, 1, &y, &ju); vjp(1, &y, &v, n, x, g); then the two sums, with "
          "*value(..).data"}},
        {"jacobian",
         check_jacobian,
         {"u = (0 .. 1 .. 0) gives a column of J by jvp, v = (0 .. 1 .. 0) a row by vjp",
          "if n < m: n times jvp; else m times vjp; the 1 in the place i, or j",
          "the vector is a constant: constant(x.tape, (matrix){n, 1, e}) with a double "
          "e[8] "
          "that is 0 but for one 1; what comes out is value(..).data"}},
    };
    return mark_exercise(argc, argv, 6, holes, sizeof holes / sizeof *holes);
}
