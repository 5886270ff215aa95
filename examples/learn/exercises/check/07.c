/* SPDX-License-Identifier: MIT */
/* Marks exercise 7: Hessian products by differences of the gradient, their symmetry, and
 * as nodes; differences by how their error falls; the third derivative by three sweeps
 * forward; Newton's step by the equation it solves. */
#include EXERCISE

#define hvp(...) ht_hvp_at(__VA_ARGS__, HT_HERE)

/* y of a, 4 elements, and b, 2: no second derivative by two of the six is 0. */
static double a_data[] = {.5, -.3, .8, .2}, b_data[] = {.7, -.4};
static double ua[] = {.6, -1, .3, .9}, ub[] = {-.5, 1.2};
static double wa[] = {1, .4, -.7, .2}, wb[] = {.8, -.6};

typedef struct point {
    ht_context *ctx;
    ht_tape *tape;
    ht_tensor *tensor[6];
    ht_var x[2], u[2], w[2], y;
} point;

/* Where parts of different shapes are added, the library's own hint leads astray. */
static void refused(ht_context *ctx, void *user)
{
    const char *message = ht_context_message(ctx);
    bool shapes = strstr(message, "do not broadcast");
    mark_wrong("the library refused what your code asked: %.*s%s",
               (int)(shapes ? strcspn(message, "\n") : strlen(message)), message,
               shapes ? ": x[0] and x[1] have different shapes; take ht_sum of each "
                        "product, and add those"
                      : "");
}
static ht_context *context(void)
{
    return ht_context_new(&(ht_context_options){.on_error = refused, .threads = 1});
}

static ht_var leaf(point *p, int i, double *data, int n)
{
    p->tensor[i] = ht_tensor_wrap(p->ctx, HT_F64, HT_SHAPE(n), data);
    return ht_input(p->tape, p->tensor[i]);
}

static point point_new(ht_context *ctx)
{
    point p = {.ctx = ctx, .tape = ht_tape_new(ctx, HT_EAGER)};
    for (int k = 0; k < 2; k++) {
        p.x[k] = leaf(&p, k, k ? b_data : a_data, k ? 2 : 4);
        p.u[k] = leaf(&p, 2 + k, k ? ub : ua, k ? 2 : 4);
        p.w[k] = leaf(&p, 4 + k, k ? wb : wa, k ? 2 : 4);
    }
    ht_var a = ht_sum(ht_mul(p.x[0], ht_mul(p.x[0], p.x[0])));
    ht_var b = ht_sum(ht_exp(p.x[1])), c = ht_sum(ht_mul(p.x[0], p.x[0]));
    p.y = ht_add(ht_mul(a, b), ht_exp(ht_mul(0.5, c)));
    return p;
}

static void point_free(point *p)
{
    ht_tape_free(p->tape);
    for (int i = 0; i < 6; i++) ht_tensor_free(p->tensor[i]);
}

static ht_var inner(int n, const ht_var *p, const ht_var *q)
{
    ht_var sum = HT_ZERO;
    for (int k = 0; k < n; k++) sum = ht_add(sum, ht_sum(ht_mul(p[k], q[k])));
    return sum;
}

/* Element i of all six of a list. */
static double element(const ht_var *list, int i)
{
    return ht_tensor_get(ht_value(list[i >= 4]), i >= 4 ? i - 4 : i);
}
static double *coordinate(int i) { return i < 4 ? &a_data[i] : &b_data[i - 4]; }

static void check_types(const point *p, const ht_var *hu)
{
    for (int k = 0; k < 2; k++) {
        if (hu[k].tape != p->tape)
            mark_wrong("hu[%d] is no node of the tape: each of the n parts is to be "
                       "written",
                       k);
        ht_shape shape = ht_var_shape(hu[k]);
        if (shape.rank != 1 || shape.dim[0] != (k ? 2 : 4))
            mark_wrong("hu[%d] has %d axes, the first of %d: it is to have the shape of "
                       "x[%d], which is (%d)%s",
                       k, shape.rank, shape.rank ? (int)shape.dim[0] : 1, k, k ? 2 : 4,
                       shape.rank ? ""
                                  : "; one number, such as <g, u>, is to be "
                                    "differentiated by x once more");
    }
}

/* The gradient at x + h u; if not both, b stays where it is. */
static void gradient_at(ht_context *ctx, double h, bool both, double *g)
{
    double was[6];
    for (int i = 0; i < 6; i++) {
        was[i] = *coordinate(i);
        if (both || i < 4) *coordinate(i) += h * (i < 4 ? ua[i] : ub[i - 4]);
    }
    point p = point_new(ctx);
    ht_var d[2];
    ht_grad(p.y, 2, p.x, d);
    for (int i = 0; i < 6; i++) g[i] = element(d, i);
    for (int i = 0; i < 6; i++) *coordinate(i) = was[i];
    point_free(&p);
}

static void differences(ht_context *ctx, bool both, double *hu)
{
    double plus[6], minus[6], h = 1e-5;
    gradient_at(ctx, h, both, plus);
    gradient_at(ctx, -h, both, minus);
    for (int i = 0; i < 6; i++) hu[i] = (plus[i] - minus[i]) / (2 * h);
}

static void check_product(void)
{
    ht_context *ctx = context();
    point p = point_new(ctx);
    ht_var hu[2], g[2], ones[2] = {ht_number(1), ht_number(1)}, rows[2], half[2];
    double right[6], parts[6];
    hessian_times(p.y, 2, p.x, p.u, hu);
    check_types(&p, hu);
    differences(ctx, true, right);
    differences(ctx, false, parts);
    ht_grad(p.y, 2, p.x, g);
    hvp(p.y, 2, p.x, ones, rows);
    for (int k = 0; k < 2; k++)
        ht_grad(ht_sum(ht_mul(g[k], p.u[k])), 1, &p.x[k], &half[k]);
    double slope = ht_item(inner(2, g, p.u));
    for (int i = 0; i < 6; i++)
        mark_number(
            element(hu, i), right[i], 1e-6,
            SLIPS(
                {element(p.u, i), "that is u itself"},
                {element(g, i), "that is the gradient; it is to be differentiated again"},
                {element(g, i) * element(p.u, i), "that is the gradient times u, element "
                                                  "by element; H u is the derivative of "
                                                  "the gradient along u"},
                {slope * element(p.u, i), "that is <g, u> u; the slope has to be "
                                          "differentiated, not multiplied"},
                {element(rows, i), "that is H times ones: u is nowhere in it"},
                {element(rows, i) * element(p.u, i), "that is H times ones, and then u: "
                                                     "u has to come in before the second "
                                                     "sweep"},
                {2 * right[i], "that is twice as much: is a share counted twice?"},
                {element(half, i),
                 "each x[k] was taken by itself: the part of H between "
                 "x[0] and x[1] is missing; sum <g[k], u[k]> over all k, "
                 "or move all x at once"},
                {parts[i], "only x[0] was moved: all n parts of u belong in it"},
                {0, "does it depend on x? What is read with ht_item or ht_value is a "
                    "number, without a derivative"}),
            "element %d of H u (a is 0 to 3, b 4 and 5), which differences of the "
            "gradient "
            "have",
            i);
    point_free(&p);
}

/* What is right as numbers is symmetric, and its derivative is that of nodes. */
static void check_product_again(void)
{
    ht_context *ctx = context();
    point p = point_new(ctx);
    ht_var hu[2], hw[2], third_by[2], right[2];
    hessian_times(p.y, 2, p.x, p.u, hu);
    hessian_times(p.y, 2, p.x, p.w, hw);
    mark_number(ht_item(inner(2, p.w, hu)), ht_item(inner(2, p.u, hw)), 1e-12, NULL,
                "H is symmetric: <w, H u>, with <u, H w>");
    ht_grad_or_zero(inner(2, p.w, hu), 2, p.x, third_by);
    hvp(p.y, 2, p.x, p.u, hw);
    ht_grad(inner(2, p.w, hw), 2, p.x, right);
    for (int i = 0; i < 6; i++)
        mark_number(
            element(third_by, i), element(right, i), 1e-9,
            SLIPS({0, "H u has lost how it came to be: it was read as numbers, and "
                      "put on the tape again"}),
            "H u is right as numbers; the derivative of <w, H u> by element %d", i);
    point_free(&p);
}

/* One x alone of two elements, u numbers: the list may be of any length. */
static void check_product_alone(void)
{
    point p = point_new(context());
    ht_var y = ht_sum(ht_exp(ht_mul(2, p.x[1]))), hu;
    hessian_times(y, 1, &p.x[1], &p.u[1], &hu);
    for (int i = 0; i < 2; i++)
        mark_number(ht_tensor_get(ht_value(hu), i), 4 * exp(2 * b_data[i]) * ub[i], 1e-9,
                    NULL, "n = 1, y = sum of exp(2 x): element %d of H u", i);
    point_free(&p);
}

static void check_hessian_times(void)
{
    check_product();
    check_product_again();
    check_product_alone();
}

/* y = e^(x0 x1) + x0 x0 x0 x2, by hand. */
static void gradient(const double *x, double *g)
{
    double e = exp(x[0] * x[1]);
    g[0] = x[1] * e + 3 * x[0] * x[0] * x[2], g[1] = x[0] * e, g[2] = x[0] * x[0] * x[0];
}
static void product(const double *x, const double *u, double *hu)
{
    double e = exp(x[0] * x[1]), m = (1 + x[0] * x[1]) * e, c = 3 * x[0] * x[0];
    hu[0] = (x[1] * x[1] * e + 6 * x[0] * x[2]) * u[0] + m * u[1] + c * u[2];
    hu[1] = m * u[0] + x[0] * x[0] * e * u[1];
    hu[2] = c * u[0];
}

/* (g(x + p u) - g(x + q u)) / over, element i. */
static double quotient(const double *x, const double *u, double p, double q, double over,
                       int i)
{
    double ends[2][3], moved[3];
    for (int end = 0; end < 2; end++) {
        for (int k = 0; k < 3; k++) moved[k] = x[k] + (end ? q : p) * u[k];
        gradient(moved, ends[end]);
    }
    return (ends[0][i] - ends[1][i]) / over;
}

/* As it is to be, but along (d0, d1, d2), and times c. */
static double along(const double *x, double h, int i, double c, const double *d)
{
    return c * quotient(x, d, h, -h, 2 * h, i);
}

static void check_by_differences(void)
{
    const char *diagonal =
        "each x[i] was moved by itself, which gives H_ii u_i alone; move "
        "all of x by h u at once";
    const char *by_h = "each x[i] was moved by h; it is to move by h times u[i]";
    const double at[] = {.8, -.5, 1.2}, u[] = {1, .6, -.9};
    double x[3], right[3], g[3], hs[] = {.1, .05}, hu[2][3];
    memcpy(x, at, sizeof x);
    product(x, u, right);
    gradient(x, g);
    for (int j = 0; j < 2; j++) {
        double h = hs[j];
        for (int i = 0; i < 3; i++) hu[j][i] = 1000;
        by_differences(gradient, 3, x, u, h, hu[j]);
        for (int i = 0; i < 3; i++) {
            const double e[] = {i == 0, i == 1, i == 2}, all[] = {1, 1, 1};
            const double own[] = {e[0] * u[0], e[1] * u[1], e[2] * u[2]};
            if (x[i] != at[i])
                mark_wrong("x[%d] was %g, and is %g after it: move a copy", i, at[i],
                           x[i]);
            mark_number(
                hu[j][i], right[i], 2.5 * h,
                SLIPS(
                    {1000, "nothing was written there"},
                    {g[i] * u[i], "that is the gradient times u, element by element"},
                    {quotient(x, u, h, -h, h, i), "the two points lie 2 h apart, and it "
                                                  "was divided by h"},
                    {quotient(x, u, h, -h, 1, i), "the division by 2 h is missing"},
                    {quotient(x, u, h, 0, 2 * h, i), "the points x + h u and x lie h "
                                                     "apart, and it was divided by 2 h"},
                    {quotient(x, u, -h, h, 2 * h, i), "the sign: x + h u comes first"},
                    {along(x, h, i, 1, own), diagonal}, {along(x, h, i, 1, e), diagonal},
                    {along(x, h, i, u[i], e), diagonal}, {along(x, h, i, 1, all), by_h},
                    {along(x, h, i, u[i], all), by_h},
                    {along(x, h, i, u[i], u), "x was moved by h u, and the result was "
                                              "multiplied by u again"}),
                "h = %g: element %d of H u, roughly", h, i);
        }
    }
    for (int i = 0; i < 3; i++) {
        double error[] = {fabs(hu[0][i] - right[i]), fabs(hu[1][i] - right[i])};
        if (error[1] > error[0] / 3 && error[1] > 1e-9)
            mark_wrong(
                "element %d: the error is %.2g with h = 0.1 and %.2g with h = 0.05; "
                "it is to become a quarter%s",
                i, error[0], error[1],
                mark_is(hu[0][i], quotient(x, u, .1, 0, .1, i))
                    ? ": go from x to both sides, h u and -h u"
                    : "");
    }
}

static void check_third(void)
{
    ht_context *ctx = context();
    point p = point_new(ctx);
    const char *twice =
        "that is <u, H H u>, or near it: two products with one H. How does "
        "<u, H u> move as x moves by u?";
    ht_var y1, y2, y3, hu[2], hhu[2][2], d[2], ones[2] = {ht_number(1), ht_number(1)};
    ht_var yours = third(p.y, 2, p.x, p.u);
    if (yours.tape != p.tape) mark_wrong("what is returned is no node of the tape");
    ht_jvp(2, p.x, p.u, 1, &p.y, &y1);
    ht_jvp(2, p.x, p.u, 1, &y1, &y2);
    ht_jvp(2, p.x, p.u, 1, &y2, &y3);
    hvp(p.y, 2, p.x, p.u, hu);
    hvp(p.y, 2, p.x, hu, hhu[0]);
    ht_grad(p.y, 2, p.x, hhu[1]);
    ht_grad(inner(2, hhu[1], hu), 2, p.x, hhu[1]);
    ht_grad(inner(2, p.u, hu), 2, p.x, d);
    mark_number(
        ht_item(yours), ht_item(y3), 1e-9,
        SLIPS(
            {ht_item(p.y), "that is y"},
            {ht_item(y1), "that is the first derivative along u, <g, u>"},
            {ht_item(y2), "that is the second derivative along u, <u, H u>: once more"},
            {ht_item(inner(2, p.u, hhu[0])), twice},
            {ht_item(inner(2, p.u, hhu[1])), twice},
            {ht_item(inner(2, d, ones)), "the gradient of <u, H u> has n parts; it is to "
                                         "be multiplied by u, part by part, and summed"},
            {ht_item(ht_sum(ht_mul(d[0], p.u[0]))), "of <gradient of <u, H u>, u> only "
                                                    "the part by x[0] is there"},
            {0, "does it depend on x? What was read with ht_item is a number, without a "
                "derivative"}),
        "the third derivative along u (the first is %.4f, the second %.4f)", ht_item(y1),
        ht_item(y2));
    point_free(&p);
}

/* Where one step is enough, and lesson 7's. */
static ht_var bowl(const ht_var *x)
{
    ht_var p = ht_sub(x[0], 2), q = ht_add(x[1], x[0]);
    return ht_add(ht_mul(3, ht_mul(p, p)), ht_mul(q, ht_add(q, 1)));
}
static ht_var valley(const ht_var *x)
{
    ht_var p = ht_sub(1, x[0]), q = ht_sub(x[1], ht_mul(x[0], x[0]));
    return ht_add(ht_mul(p, p), ht_mul(10, ht_mul(q, q)));
}

/* A mistake is told by both numbers of the step: one alone may be chance. */
typedef struct step_slip {
    double s[2];
    const char *why;
} step_slip;
static void check_step(const double *s, const double *right, const step_slip *slips,
                       const char *what)
{
    while (slips->why && !(mark_is(s[0], slips->s[0]) && mark_is(s[1], slips->s[1])))
        slips++;
    for (int k = 0; k < 2; k++)
        mark_number(s[k], right[k], 1e-9,
                    slips->why ? SLIPS({slips->s[k], slips->why}) : NULL, "%s: s[%d]",
                    what, k);
}

static void check_step_of(ht_var (*f)(const ht_var *x), const char *name, double a,
                          double b)
{
    ht_context *ctx = context();
    ht_tape *t = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *at[] = {ht_tensor_wrap(ctx, HT_F64, HT_SCALAR, &a),
                       ht_tensor_wrap(ctx, HT_F64, HT_SCALAR, &b)};
    ht_var x[] = {ht_input(t, at[0]), ht_input(t, at[1])}, y = f(x), gs[2], h[2];
    const ht_var e[] = {ht_number(1), ht_number(0)}, e2[] = {ht_number(0), ht_number(1)};
    double s[2] = {1000, 1000};
    newton_step(y, x, s);
    ht_grad(y, 2, x, gs);
    double g[] = {ht_item(gs[0]), ht_item(gs[1])};
    hvp(y, 2, x, e, h);
    double H00 = ht_item(h[0]), H01 = ht_item(h[1]);
    hvp(y, 2, x, e2, h);
    double H11 = ht_item(h[1]), det = H00 * H11 - H01 * H01;
    double right[] = {-(H11 * g[0] - H01 * g[1]) / det, -(H00 * g[1] - H01 * g[0]) / det};
    double Hg[] = {H00 * g[0] + H01 * g[1], H01 * g[0] + H11 * g[1]};
    const char *product = "that is H times g, or -g: H s = -g is to be solved for s";
    const char *moved =
        "s held 1000, and was moved from there by += or -=: s is the step "
        "itself, written with =";
    const step_slip slips[] = {
        {{1000, 1000}, "nothing was written there"},
        {{1000 + right[0], 1000 + right[1]}, moved},
        {{1000 - right[0], 1000 - right[1]}, moved},
        {{0, 0}, "a step of 0 leads nowhere"},
        {{-right[0], -right[1]}, "the sign: H s = -g, it leads down"},
        {{right[1], right[0]}, "s[0] and s[1] are exchanged"},
        {{-g[0], -g[1]}, "that is a step down the gradient; it is to be solved with H"},
        {{-g[0] / H00, -g[1] / H11},
         "each part was divided by its own second derivative: "
         "H has parts beside the diagonal"},
        {{-g[0] / (H00 + H01), -g[1] / (H01 + H11)},
         "each part was divided by the sum of a row of H, which is H times (1, 1); two "
         "equations with two unknowns are to be solved"},
        {{-(H11 * g[0] + H01 * g[1]) / det, -(H00 * g[1] + H01 * g[0]) / det},
         "the sign of H01: the inverse of (H00, H01; H01, H11) has -H01 beside the "
         "diagonal"},
        {{-Hg[0], -Hg[1]}, product},
        {{Hg[0], Hg[1]}, product},
        {{right[0] * det, right[1] * det}, "the division by the determinant is missing"},
        {{a + right[0], b + right[1]}, "that is x + s; the step is s alone"},
        {{0, 0}, NULL}};
    check_step(
        s, right, slips,
        mark_text("y is %s at (%g, %g), where g is (%g, %g) and H (%g, %g; %g, %g)", name,
                  a, b, g[0], g[1], H00, H01, H01, H11));
    ht_tape_free(t);
    for (int k = 0; k < 2; k++) ht_tensor_free(at[k]);
}

static void check_newton_step(void)
{
    check_step_of(bowl, "3 (a - 2)^2 + (a + b) (a + b + 1)", 1, 3);
    check_step_of(valley, "(1 - a)^2 + 10 (b - a a)^2", -.5, .6);
}

int main(int argc, char **argv)
{
    const hole holes[] = {
        {"hessian_times",
         check_hessian_times,
         {"take the gradient; it is nodes, so it can be differentiated like y",
          "forward over reverse: the jvp of all n parts of the gradient, along all of u",
          "ht_grad(y, n, x, hu); then ht_jvp(n, x, u, n, hu, hu)"}},
        {"by_differences",
         check_by_differences,
         {"how much does the gradient change from x - h u to x + h u, and how far apart "
          "are "
          "they?",
          "two arrays of 8 for the points, two for the gradients there",
          "hu[i] = (g(x + h u)[i] - g(x - h u)[i]) / (2 * h)"}},
        {"third",
         check_third,
         {"each derivative along u is a node, so that it has one itself",
          "the jvp of y along u is <g, u>; the jvp of that is <u, H u>; once more",
          "three times ht_jvp(n, x, u, 1, &y, &y)"},
         "hessian_times"},
        {"newton_step",
         check_newton_step,
         {"the columns of H are H times (1, 0) and H times (0, 1): {ht_number(1), "
          "ht_number(0)} is such a u",
          "two equations: H00 s0 + H01 s1 = -g0, H01 s0 + H11 s1 = -g1, read with "
          "ht_item",
          "s0 = -(H11 g0 - H01 g1) / det, s1 = -(H00 g1 - H01 g0) / det, det = H00 H11 - "
          "H01 H01"},
         "hessian_times"},
    };
    return mark_exercise(argc, argv, 7, holes, sizeof holes / sizeof *holes);
}
