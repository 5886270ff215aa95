/* SPDX-License-Identifier: MIT */
/* Marks exercise 1: slopes against differences, a recorded polynomial against the sum it
 * is, also when the list is computed again, and that against a list recorded anew. */
#include EXERCISE

#define BEFORE "that is what stood there before: nothing was written"

static void check_more(void)
{
    const double as[] = {0.5, -1.25, 2}, bs[] = {2, 0.75, -1}, h = 1e-5;
    for (int i = 0; i < 3; i++) {
        double a = as[i], b = bs[i], v = -7, slope[2] = {-7, -7};
        const char *at = mark_text("a - b at a = %g, b = %g", a, b);
        compute_more(SUB, a, b, &v, slope);
        mark_number(v, a - b, 1e-12,
                    SLIPS({b - a, "that is b - a"}, {-7, BEFORE},
                          {tanh(a), "that is tanh a: a switch goes on into its next case "
                                    "where no break stands"}),
                    "%s: the value", at);
        mark_number(
            slope[0], 1, 1e-12,
            SLIPS({a, "that is the input; how much does a - b move with it?"},
                  {b, "that is the slope of a b; how much does a - b move with a?"},
                  {-7, BEFORE}),
            "%s: the slope by a", at);
        mark_number(slope[1], -1, 1e-12,
                    SLIPS({1, "the sign: a - b falls when b rises"},
                          {-b, "that is an input; how much does a - b move with it?"},
                          {-a, "that is an input; how much does a - b move with b?"},
                          {-7, BEFORE}),
                    "%s: the slope by b", at);
        v = slope[0] = slope[1] = -7;
        at = mark_text("tanh a at a = %g", a);
        compute_more(TANH, a, 0, &v, slope);
        mark_number(v, tanh(a), 1e-12, SLIPS({-7, BEFORE}), "%s: the value", at);
        mark_number(
            slope[0], (tanh(a + h) - tanh(a - h)) / (2 * h), 1e-8,
            SLIPS({1 - a * a, "the slope is 1 - v v with the value v, not the input a"},
                  {v * v - 1, "the sign: tanh rises everywhere"},
                  {1 - tanh(v) * tanh(v), "v is tanh a already: 1 - v v"},
                  {1 - v, "the slope is 1 - v v: v is to be squared"},
                  {v, "that is the value; only e^a is its own slope"}, {-7, BEFORE}),
            "%s: the slope, which differences have", at);
    }
}

enum { MOST = 5, BEYOND = -99 }; /* BEYOND: what c[n] holds, which is no coefficient */

/* What the polynomial is by its definition. */
static double sum_of_powers(const tape *t, int x, int n, const int *c)
{
    double sum = 0;
    for (int k = 0; k < n; k++) sum += t->value[c[k]] * pow(t->value[x], k);
    return sum;
}

/* c[k] = 3, -2, 0.5, 4, ... on a new tape, and x. */
static int coefficients(tape *t, int n, int *c, double at)
{
    const double value[MOST] = {3, -2, 0.5, 4, -1.5};
    *t = (tape){0};
    for (int k = 0; k < n; k++) c[k] = leaf(t, value[k]);
    c[n] = BEYOND;
    return leaf(t, at);
}

/* The polynomial's own nodes come after n coefficients and x. */
static void check_inputs(const tape *t, int n)
{
    for (int i = n + 1; i < t->n; i++)
        for (int k = 0; k < 2 && (t->op[i] == ADD || t->op[i] == MUL); k++)
            if (t->input[i][k] == BEYOND)
                mark_wrong("with n = %d: c[%d] was read; the last is c[%d]", n, n, n - 1);
            else if (t->input[i][k] < 0 || t->input[i][k] >= i)
                mark_wrong(
                    "with n = %d: node %d has the input %d, which is no node before "
                    "it: add and mul take numbers of nodes, not their values",
                    n, i, t->input[i][k]);
}

static void check_value(const tape *t, int y, int x, int n, const int *c)
{
    double reversed = 0, first = 0, squared = 0, at = t->value[x];
    double top = t->value[c[n - 1]] * pow(at, n - 1); /* the last term */
    for (int k = 0; k < n; k++) {
        reversed += t->value[c[k]] * pow(at, n - 1 - k);
        first += t->value[c[k]] * (k ? at : 1);
        squared += t->value[c[k]] * (k ? pow(at, ldexp(1, k - 1)) : 1);
    }
    check_inputs(t, n);
    if (y < 0 || y >= t->n)
        mark_wrong("with n = %d: %d was returned, which is no node: there are 0 to %d", n,
                   y, t->n - 1);
    mark_number(
        t->value[y], sum_of_powers(t, x, n, c), 1e-12,
        SLIPS(
            {reversed, "c[0] has no x: the powers are given to the c in the wrong order"},
            {first, "x is there to the first power only"},
            {sum_of_powers(t, x, n - 1, c), "the last term is missing"},
            {at * sum_of_powers(t, x, n, c), "that is once too often times x"},
            {squared, "the power is squared each time: x, x^2, x^4, ...; it is to "
                      "be multiplied by x"},
            {sum_of_powers(t, x, n, c) + top * (at - 1),
             "the last term is once too often times x"},
            {at, "that is x itself"}),
        "with n = %d at x = %g: the value", n, at);
}

/* Each leaf moved by itself, and the list computed again. */
static void check_again(tape *t, int y, int x, int n, const int *c)
{
    double was = t->value[y];
    for (int k = -1; k < n; k++) {
        int moved = k < 0 ? x : c[k];
        double old = t->value[moved], right;
        if (t->op[moved] != INPUT) mark_wrong("leaf %d is no leaf any more", moved);
        t->value[moved] = old + 1;
        for (int i = 0; i < t->n; i++) compute(t, i);
        right = sum_of_powers(t, x, n, c);
        const char *name = k < 0 ? "x" : mark_text("c_%d", k);
        mark_number(
            t->value[y], right, 1e-12,
            SLIPS({was, "it does not move: a number that was taken out by "
                        "t->value[] has forgotten where it came from; use add "
                        "and mul on the nodes themselves"}),
            "with n = %d, %s moved from %g to %g and the list computed again: the "
            "value (before: %g)",
            n, name, old, old + 1, was);
        t->value[moved] = old;
        for (int i = 0; i < t->n; i++) compute(t, i);
    }
}

static void check_polynomial(void)
{
    for (int n = MOST; n >= 1; n--) {
        tape t;
        int c[MOST + 1], x = coefficients(&t, n, c, 1.5), y = polynomial(&t, x, n, c);
        check_value(&t, y, x, n, c);
        check_again(&t, y, x, n, c);
    }
}

/* x = 0, z = 1, z z = 2, z x = 3, e^(z x) = 4, node 5 = 4 + x, 6 = node 5 times node 4,
 * e^(z z) = 7, 8 = node 6 + node 7. Nodes 2 and 7 do not depend on x. */
static void record(tape *t, double x, double z)
{
    *t = (tape){0};
    leaf(t, x), leaf(t, z);
    mul(t, 1, 1), mul(t, 1, 0), append(t, EXP, 3, -1), add(t, 4, 0), mul(t, 5, 4);
    append(t, EXP, 2, -1), add(t, 6, 7);
}

static void check_node(const tape *t, const tape *was, const tape *right, int i, double x)
{
    mark_number(
        t->value[i], right->value[i], 1e-12,
        SLIPS({was->value[i],
               i == 0   ? "leaf x is to be given the new value first"
               : i == 3 ? "that is still its value at x = 1.5; its second input is "
                          "x, which is node 0 (only -1 is no input)"
                        : "that is still its value at x = 1.5; it has no x itself, "
                          "but an input that depends on x"},
              {i == 5 ? was->value[4] + x : was->value[i],
               "its input node 4, which depends on x by its own input, was not computed "
               "before it: go from the first node to the last, and keep for each whether "
               "it depends on x"}),
        "x = 1.5 recorded, %g asked for: the value of node %d", x, i);
    for (int k = 0; k < 2; k++)
        mark_number(t->slope[i][k], right->slope[i][k], 1e-12,
                    SLIPS({was->slope[i][k],
                           "that is still its slope at x = 1.5; compute has both"}),
                    "x = 1.5 recorded, %g asked for: slope %d of node %d", x, k, i);
}

/* Nodes 2 and 7 hold what nobody would compute, and are to keep it. */
static void check_run_again(void)
{
    tape t, was, right;
    const int order[] = {0, 3, 5, 4, 6, 8}; /* 5 before 4: it tells what it was made of */
    record(&t, 1.5, -0.5), record(&right, 2.5, -0.5);
    t.value[2] = t.value[7] = right.value[2] = right.value[7] = 50;
    compute(&right, 8), compute(&t, 8);
    was = t;
    int computed = run_again(&t, 0, 2.5);
    if (t.n != right.n)
        mark_wrong("the list is to be computed again, not to be made longer: it has %d "
                   "nodes where %d are right",
                   t.n, right.n);
    for (int i = 2; i <= 7; i += 5)
        if (t.value[i] != 50)
            mark_wrong(
                "node %d does not depend on x: it is to stay as it is. It held 50, "
                "and holds %g. %s",
                i, t.value[i],
                i == 7 ? "Its second input is -1, which is none: there is no moved[-1]; "
                         "ask first whether an input is >= 0"
                       : "Was it taken for one that does by its input, leaf 1? A leaf's "
                         "inputs are -1, which is none: ask first whether it is >= 0");
    for (int j = 0; j < (int)(sizeof order / sizeof *order); j++)
        check_node(&t, &was, &right, order[j], 2.5);
    mark_number(computed, 5, 0,
                SLIPS({6, "x itself is given, not computed: it does not count"},
                      {9, "only the nodes that depend on x count, not all"},
                      {0, "you computed them, but do not say so"}),
                "nodes 3, 4, 5, 6 and 8 depend on node 0: how many were computed");
    record(&t, 1.5, -0.5);
    mark_number(run_again(&t, 1, 0.25), 7, 0, NULL,
                "all but node 0 depend on node 1: how many were computed");
    const char *by_value =
        "a node was left out because no input's value had changed; what "
        "counts is whether one is x or depends on x";
    mark_number(run_again(&t, 1, 0.25), 7, 0, SLIPS({0, by_value}, {2, by_value}),
                "leaf 1 is given 0.25, which it has already: how many were computed");
    record(&t, 1.5, 0);
    mark_number(
        run_again(&t, 0, 2.5), 5, 0, SLIPS({4, by_value}),
        "z is 0, so that node 3, z x, stays 0 as x moves: how many were computed");
}

int main(int argc, char **argv)
{
    const hole holes[] = {
        {"compute_more",
         check_more,
         {"which operation it is stands in op: if (op == SUB) ..., as compute does it",
          "a - b: by a the slope is 1, by b it is -1; the slope of tanh a can be said by "
          "its value",
          "tanh: *v = tanh(a) and slope[0] = 1 - *v * *v"}},
        {"polynomial",
         check_polynomial,
         {"y = add(t, y, ...) and mul(t, y, x) in a loop of C's; a double is not needed",
          "c0 + c1 x + c2 x x = c0 + x (c1 + x c2): begin with the last c",
          "int y = c[n - 1]; and for k from n - 2 down to 0, "
          "y = add(t, mul(t, y, x), c[k])"}},
        {"run_again",
         check_run_again,
         {"keep a bool for each node: whether it is x or depends on x",
          "inputs have smaller numbers than what is made of them: from node 0 on, both "
          "inputs are known when a node's turn comes",
          "moved[x] = true; then for i from 0 on: if an input that is there (>= 0) has "
          "moved, then compute(t, i), moved[i] = true, and one more is counted"}},
    };
    return mark_exercise(argc, argv, 1, holes, sizeof holes / sizeof *holes);
}
