/* SPDX-License-Identifier: MIT */
/* 06_forward_mode.c: forward mode, and the dot test that ties it to the backward sweep.
 *
 * (Needs lesson 5. Of engine.c read jvp() in section 4 now. In the code read from
 * product_jvp() to jacobian(); tangents() and main() may be skipped.)
 *
 * f takes n numbers x to m numbers y. Its Jacobian J has m rows and n columns, J_ji =
 * dy_j/dx_i. Two sweeps multiply by J, and neither of them makes J:
 *
 *     jvp      u --> [ x ... op ... op ... y ] --> J u     (J u)_j   = sum_i J_ji u_i
 *     vjp  J^T v <-- [ x ... op ... op ... y ] <-- v       (J^T v)_i = sum_j v_j J_ji
 *
 * The lower sweep is lessons 2 and 5. It gives the same numbers whether they are written
 * as a column, J^T v, or as a row, v J.
 *
 * For the upper one let x move, dx/ds = u, as a number s grows. Then each node moves. Its
 * speed dv_j/ds is its *tangent*. The sweep goes from the first node to the last. When it
 * comes to node j, it knows the tangents of the inputs of j. By the chain rule
 *
 *     dv_j/ds = sum over inputs k of  dv_j/dv_k  dv_k/ds
 *
 * The jvp rule of an op gives one term of this sum, that of input p.x[p.k]:
 *
 *     y = a b      from a: da b     from b: a db
 *     Y = A B      from A: dA B     from B: A dB
 *     y = exp x    from x: dx y
 *
 * p.v has two meanings. In a vjp rule it is the cotangent of the result y. In a jvp rule
 * it is the tangent of the input p.x[p.k]: da if p.k is 0, db if p.k is 1.
 *
 * The two rules of an op are written apart. Either may be wrong. But for every u and v
 *
 *     <v, J u> = sum over j, i of v_j J_ji u_i = <J^T v, u>
 *
 * The left side is made by jvp rules alone, the right side by vjp rules alone. Take any u
 * and v and compare the two numbers: that is the *dot test*. It has no step h (lesson 3).
 * It holds to rounding, for an op and for a net. It does not see two rules that are wrong
 * alike; so test the jvp by one difference along u, and then the vjp by the jvp.
 *
 * J itself: u = (0 .. 1 .. 0) gives a column, v = (0 .. 1 .. 0) a row. So all of J costs
 * n sweeps forward or m sweeps backward, each a small multiple of f. The gradient of one
 * number is one sweep backward; how 1000 numbers move with one is one forward.
 *
 * engine.c has jvp(n, x, u, m, y, ju) and vjp(m, y, v, n, x, g); zero(y), zeros of the
 * shape of y; matmul_vjp, lesson 5's rule. Next: lesson 7, one sweep over the other. */
#include "lesson.h"

#define ENGINE_NO_MAIN /* only its functions, not all of which are used here */
#pragma GCC diagnostic ignored "-Wunused-function"
#include "engine.c"

/* Y = A B: from A, dA B; from B, A dB. And one that forgets that B moves too. */
static var product_jvp(place p)
{
    return p.k == 0 ? v_matmul(p.v, p.x[1]) : v_matmul(p.x[0], p.v);
}
static var forgetful_jvp(place p) { return p.k == 0 ? v_matmul(p.v, p.x[1]) : zero(p.y); }
static const op op_product = {"product", 2, matmul_vjp, product_jvp, .run = matmul_run};
static const op op_forgetful = {"product", 2, matmul_vjp, forgetful_jvp,
                                .run = matmul_run};

static double a[] = {.5, -1, 2, 1, .3, -.7}, b[] = {.4, -.2, .6}, v_data[] = {.7, -1.1};
static double u_a[] = {.1, -.2, .3, .4, -.5, .6}, u_b[] = {1, -.3, .5};

/* f: x = (A, B), 2 by 3 and 3 by 1, to y = exp(A B), 2 by 1: n = 9, m = 2. */
typedef struct function {
    tape *tape;
    var x[2], y;
} function;
static function function_new(const op *product)
{
    function f = {.tape = tape_new()};
    f.x[0] = input(f.tape, (matrix){2, 3, a});
    f.x[1] = input(f.tape, (matrix){3, 1, b});
    f.y = v_exp(append(f.tape, product, shape(2, 1), f.x[0], f.x[1]));
    return f;
}

static double inner(var p, var q) { return *value(v_sum(v_mul(p, q))).data; }

static void dot_test(const char *name, const op *product)
{
    function f = function_new(product);
    var u[2] = {constant(f.tape, (matrix){2, 3, u_a}),
                constant(f.tape, (matrix){3, 1, u_b})};
    var v = constant(f.tape, (matrix){2, 1, v_data}), ju, g[2];
    jvp(2, f.x, u, 1, &f.y, &ju);
    vjp(1, &f.y, &v, 2, f.x, g);
    double left = inner(v, ju), right = inner(g[0], u[0]) + inner(g[1], u[1]);
    printf("%s: <v, J u> = %.4f, <J^T v, u> = %.4f: %s\n", name, left, right,
           fabs(left - right) < 1e-12 ? "equal" : "a rule is wrong");
    tape_free(f.tape);
}

/* Column i of dy/dB by a sweep forward, or row i by one backward. */
static void sweep(bool forward, int i, double *out)
{
    function f = function_new(&op_product);
    double one[3] = {0};
    one[i] = 1;
    var e = constant(f.tape, (matrix){forward ? 3 : 2, 1, one}), r;
    if (forward) jvp(1, &f.x[1], &e, 1, &f.y, &r);
    if (!forward) vjp(1, &f.y, &e, 1, &f.x[1], &r);
    for (int k = 0; k < matrix_size(value(r)); k++) out[k] = value(r).data[k];
    tape_free(f.tape);
}

static void jacobian(void)
{
    double column[3][2], row[2][3];
    for (int i = 0; i < 3; i++) sweep(true, i, column[i]);
    for (int j = 0; j < 2; j++) sweep(false, j, row[j]);
    puts("\ndy_j/dB_i: 3 sweeps forward, 2 backward, by hand y_j A_ji");
    for (int j = 0; j < 2; j++)
        for (int i = 0; i < 3; i++) {
            double *r = a + 3 * j, y = exp(r[0] * b[0] + r[1] * b[1] + r[2] * b[2]);
            printf("    %d, %d %14.4f %11.4f %12.4f\n", j, i, column[i][j], row[j][i],
                   y * r[i]);
        }
}

/* y = x x e^x of lesson 2 by the library, node by node, with dx/ds = 1. */
static void tangents(double at, const char *page)
{
    ht_context *ctx = lesson_context();
    ht_tape *t = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *x = ht_tensor_wrap(ctx, HT_F64, HT_SCALAR, &at);
    ht_var n[4] = {ht_name(ht_input(t, x), "x")}, one = ht_number(1), tangent[4];
    n[1] = ht_mul(n[0], n[0]);
    n[2] = ht_exp(n[0]);
    n[3] = ht_name(ht_mul(n[1], n[2]), "y");
    ht_jvp(1, n, &one, 4, n, tangent);
    const char *names[] = {"x", "x x", "e^x", "y"};
    puts("y = x x e^x at x = 1.5\nnode     value      tangent");
    for (int i = 0; i < 4; i++)
        printf("%-4s %9.4f %12.4f\n", names[i], ht_item(n[i]), ht_item(tangent[i]));
    printf("by hand: dy/dx = (2 x + x x) e^x = %.4f\n\n", (2 * at + at * at) * exp(at));
    if (page) ht_tape_write_html(t, page);
    ht_tape_free(t);
    ht_tensor_free(x);
    ht_context_free(ctx);
}

int main(int argc, char **argv)
{
    tangents(1.5, lesson_page(argc, argv));
    dot_test("right rules", &op_product);
    dot_test("one that forgets B", &op_forgetful);
    jacobian();
}
