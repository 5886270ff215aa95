/* SPDX-License-Identifier: MIT */
/* Marks exercise 2: slopes against differences, cotangents against the sum over paths. */
#include EXERCISE

static void check_divide(void)
{
    const double a[] = {3, -1.5, 0.25}, b[] = {2, 0.5, -4}, h = 1e-6;
    for (int i = 0; i < 3; i++) {
        tape t = {0};
        int x = leaf(&t, a[i]), z = leaf(&t, b[i]), y = divide(&t, x, z);
        const char *at = mark_text("at a = %g, b = %g", a[i], b[i]);
        if (t.n != 3 || y != 2)
            mark_wrong(
                "%s: one node is to be appended, and its number returned; the tape "
                "has %d nodes where 3 are right, and %d was returned",
                at, t.n, y);
        mark_number(t.value[y], a[i] / b[i], 1e-12,
                    SLIPS({b[i] / a[i], "that is b / a"},
                          {0, "a and b are numbers of nodes: t->value[a] is a's value"}),
                    "%s: the value a / b", at);
        mark_number(t.slope[y][0], ((a[i] + h) / b[i] - (a[i] - h) / b[i]) / (2 * h),
                    1e-6,
                    SLIPS({1, "how much a / b moves with a depends on b"},
                          {a[i] / b[i], "that is the value, not the slope"}),
                    "%s: the slope by a, which differences have", at);
        mark_number(
            t.slope[y][1], (a[i] / (b[i] + h) - a[i] / (b[i] - h)) / (2 * h), 1e-6,
            SLIPS({-a[i] / b[i], "b is to be squared"},
                  {-a[i], "a / b * b is (a / b) b: write a / (b * b)"},
                  {a[i] / (b[i] * b[i]), "the sign: a / b falls when b rises"},
                  {-1 / (b[i] * b[i]), "that is the slope of 1 / b; a is missing"}),
            "%s: the slope by b, which differences have", at);
    }
}

/* The sum over all paths, path by path: slow, and nothing can be overwritten in it. */
static double paths(const tape *t, int y, int x)
{
    double sum = y == x;
    for (int k = 0; y > x && k < 2; k++)
        if (t->input[y][k] >= 0) sum += t->slope[y][k] * paths(t, t->input[y][k], x);
    return sum;
}

#define ORDER \
    "the sweep came to it before its users: go from the largest number to the smallest"

/* c has a place before it, which a node without inputs might write to. */
typedef struct cotangents {
    double before, c[NODES];
} cotangents;

static double *unknown(cotangents *room)
{
    room->before = 100;
    for (int i = 0; i < NODES; i++) room->c[i] = 100;
    return room->c;
}

static void check_before(const cotangents *room)
{
    if (room->before != 100)
        mark_wrong(
            "a leaf gave something to c[-1]: its inputs are -1, which is none; ask "
            "for that first");
}

/* y = 4 x x + z, then one node more that y does not need. */
static void check_fan_out(void)
{
    tape t = {0};
    cotangents room;
    double *c = unknown(&room);
    int z = append(&t, 5, -1, 7, -1, 7), x = append(&t, 3, -1, 7, -1, 7);
    int square = append(&t, 9, x, 3, x, 3), y = append(&t, 41, square, 4, z, 1);
    int later = append(&t, 82, y, 2, -1, 0);
    backward(&t, y, c);
    check_before(&room);
    const char *at = "y = 4 x x + z at x = 3, z = 5";
    mark_number(c[y], 1, 1e-12,
                SLIPS({100, "c is not cleared and not set there"},
                      {101, "c is not cleared: it held 100 before"},
                      {2, "the sweep begins at y, and not at a node after it"},
                      {0, "the sweep begins with dy/dy = 1"}),
                "%s: dy/dy", at);
    mark_number(c[z], 1, 1e-12,
                SLIPS({101, "c is not cleared: it held 100 before"},
                      {100, "node z was given nothing"},
                      {5, "that is the value of z; a share is c[j] times the slope"},
                      {0, "z is node 0, and a node: only -1 is no input"}),
                "%s: dy/dz", at);
    mark_number(
        c[x], 24, 1e-12,
        SLIPS({12, "x is used twice: both shares are added, the last is not to be "
                   "written over the first"},
              {6, "a share is c[j] times the slope: x x counts 4 times"},
              {124, "c is not cleared: it held 100 before"},
              {9, "that is the value of x x, not its slope"}, {0, ORDER}),
        "%s: dy/dx", at);
    mark_number(c[later], 0, 1e-12,
                SLIPS({100, "c is to be 0 for what y does not depend on"},
                      {1, "the sweep begins at y, and not at the last node"}),
                "%s: by a node made after y", at);
}

/* A tape of 12 nodes at random, each of two before it, against the sum over paths. */
static void check_backward(void)
{
    check_fan_out();
    tape t = {0};
    cotangents room;
    double *c = unknown(&room);
    unsigned state = 7;
    for (int i = 0; i < 2; i++) append(&t, i, -1, 7, -1, 7);
    for (int i = 2; i < 12; i++) {
        int in[2];
        double slope[2];
        for (int k = 0; k < 2; k++) {
            state = state * 1103515245u + 12345u;
            in[k] = (int)(state >> 16) % i;
            slope[k] = 0.25 * ((int)(state >> 8) % 7 - 3);
        }
        append(&t, 0, in[0], slope[0], in[1], slope[1]);
    }
    backward(&t, 11, c);
    check_before(&room);
    for (int i = 11; i >= 0; i--)
        mark_number(c[i], paths(&t, 11, i), 1e-9, SLIPS({0, ORDER}),
                    "a tape of 12 nodes: dv_11/dv_%d, which the sum over paths has", i);
}

int main(int argc, char **argv)
{
    const hole holes[] = {
        {"divide",
         check_divide,
         {"write a / b, and hold b still: how does it move with a?",
          "by a the slope is 1 / b; now hold a still", "by b it is -a / (b b)"}},
        {"backward",
         check_backward,
         {"each node j gives c[j] times its slope to each of its inputs",
          "clear c, set c[y] to 1, then go from node y down to node 0",
          "for (int j = y; j >= 0; j--) and in it, for both inputs that are there, "
          "c[input] += c[j] * slope"}},
    };
    return mark_exercise(argc, argv, 2, holes, sizeof holes / sizeof *holes);
}
