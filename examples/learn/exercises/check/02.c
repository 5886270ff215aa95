/* SPDX-License-Identifier: MIT */
/* Marks exercise 2: slopes against differences, cotangents against the sum over paths. */
#include EXERCISE

#define NUMBERS "a and b are numbers of nodes: t->value[a] is a's value"

/* Which input of y is node x: the two may stand in either order. */
static int place_of(const tape *t, int y, int x, int z)
{
    int at = t->input[y][0] == x ? 0 : 1;
    if (t->input[y][at] != x || t->input[y][1 - at] != z)
        mark_wrong(
            "the inputs of the new node are %d and %d; a and b are nodes %d and %d",
            t->input[y][0], t->input[y][1], x, z);
    return at;
}

/* a is node 9 and b node 4: no quotient of these is one of the values. */
static void check_divide(void)
{
    const double as[] = {3, -1.5, 0.25}, bs[] = {2, 0.5, -4}, h = 1e-6;
    for (int i = 0; i < 3; i++) {
        double a = as[i], b = bs[i];
        tape t = {0};
        for (int k = 0; k < 10; k++) leaf(&t, k == 9 ? a : k == 4 ? b : 7);
        int x = 9, z = 4, y = divide(&t, x, z);
        const char *at = mark_text("at a = %g, b = %g", a, b);
        if (t.n != 11 || y != 10)
            mark_wrong(
                "%s: one node is to be appended, and its number returned; the tape "
                "has %d nodes where 11 are right, and %d was returned",
                at, t.n, y);
        mark_number(t.value[y], a / b, 1e-12,
                    SLIPS({b / a, "that is b / a"}, {9 / 4, NUMBERS}, {9. / 4, NUMBERS},
                          {0, "that is what stood there before your code"}),
                    "%s: the value a / b", at);
        int k = place_of(&t, y, x, z);
        mark_number(t.slope[y][k], ((a + h) / b - (a - h) / b) / (2 * h), 1e-6,
                    SLIPS({1, "how much a / b moves with a depends on b"},
                          {1. / 4, NUMBERS}, {0, "1 / b of two int is 0: " NUMBERS},
                          {-a / (b * b), "that is the slope by b"},
                          {b, "that is the slope of a b by a; of a / b it is 1 / b"},
                          {a / b, "that is the value, not the slope"}),
                    "%s: the slope by a, which differences have", at);
        mark_number(t.slope[y][1 - k], (a / (b + h) - a / (b - h)) / (2 * h), 1e-6,
                    SLIPS({-a / b, "b is to be squared"},
                          {-a, "a / b * b is (a / b) b: write a / (b * b)"},
                          {a / (b * b), "the sign: a / b falls when b rises"},
                          {-1 / (b * b), "that is the slope of 1 / b; a is missing"},
                          {a, "that is the slope of a b by b"}, {-9. / 16, NUMBERS},
                          {-a / 16, NUMBERS}, {0, "two int were divided: " NUMBERS}),
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

#define NOT_CLEARED "c is not cleared: it held 100 before"

/* Nodes z = 0, x = 1, x x = 2, u = 4 x x + z = 3, and 2 u = 4, which L does not need. A
 * leaf's slopes are 7: they belong to no input. */
static void fan_out(tape *t)
{
    *t = (tape){0};
    append(t, 5, -1, 7, -1, 7), append(t, 3, -1, 7, -1, 7);
    append(t, 9, 1, 3, 1, 3), append(t, 41, 2, 4, 0, 1), append(t, 82, 3, 2, -1, 0);
}

static void check_one(void)
{
    tape t;
    cotangents room;
    double *c = unknown(&room);
    fan_out(&t);
    backward(&t, 1, &(int){3}, &(double){1}, c);
    check_before(&room);
    const char *at = "L = v_3 = 4 x x + z at x = 3, z = 5, with 1 as its seed";
    mark_number(
        c[3], 1, 1e-12,
        SLIPS({100, "c is not cleared and not set there"}, {101, NOT_CLEARED},
              {201, NOT_CLEARED}, {301, NOT_CLEARED},
              {3, "a share is c[j] times the slope: node 4 has c[4] = 0, and gives "
                  "nothing"},
              {2, "the sweep begins with the seeds at the nodes y[k], not with 1 at "
                  "the last node of the tape"},
              {0, "the sweep begins with c[y[k]] = seed[k]. If yours does, node 4 "
                  "wrote its share, 0, over it: shares are added"}),
        "%s: dL/dv_3", at);
    mark_number(c[0], 1, 1e-12,
                SLIPS({101, NOT_CLEARED}, {100, "node 0 (z) was given nothing"},
                      {5, "that is the value of z; a share is c[j] times the slope"},
                      {0, "z is node 0, and a node: only -1 is no input. And a node has "
                          "two inputs: z is the second"}),
                "%s: dL/dz", at);
    mark_number(
        c[1], 24, 1e-12,
        SLIPS({12, "x is in two places: both shares are added, the last is not to be "
                   "written over the first"},
              {6, "a share is c[j] times the slope: x x counts 4 times"},
              {124, NOT_CLEARED}, {9, "that is the value of x x, not its slope"},
              {0, ORDER}),
        "%s: dL/dx", at);
    mark_number(c[4], 0, 1e-12,
                SLIPS({100, "c is to be 0 for what L does not depend on"},
                      {1, "the sweep begins with the seeds at the nodes y[k], not with 1 "
                          "at the last node of the tape"}),
                "%s: by node 4, made after it", at);
}

/* L = 3 v_3 + 10 v_2 + 0.5 v_3. */
static void check_seeds(void)
{
    tape t;
    cotangents room;
    double *c = unknown(&room);
    fan_out(&t);
    backward(&t, 3, (int[]){3, 2, 3}, (double[]){3, 10, 0.5}, c);
    check_before(&room);
    const char *at =
        "y = (3, 2, 3), seed = (3, 10, 0.5), so L = 3 v_3 + 10 v_2 + 0.5 v_3";
    mark_number(c[3], 3.5, 1e-12,
                SLIPS({1, "the seeds are missing: c[y[k]] gets seed[k], not 1"},
                      {2, "the seeds are missing: c[y[k]] gets seed[k], not 1"},
                      {0.5, "node 3 is there twice: its seeds are added, the last is not "
                            "to be written over the first"},
                      {3, "only y[0] counts; n nodes have a seed"}),
                "%s: dL/dv_3", at);
    mark_number(
        c[2], 24, 1e-12,
        SLIPS(
            {14, "node 2 has a seed of its own, 10, beside its user's share"},
            {10, "node 2 has a user as well, node 3; its share is added to the "
                 "seed. Begin at the largest y[k], or at the last node"},
            {48, "a share was given on twice: put all the seeds first, then sweep once"},
            {36, "a share was given on twice: put all the seeds first, then "
                 "sweep once"}),
        "%s: dL/dv_2", at);
    mark_number(c[1], 144, 1e-12,
                SLIPS({60, "x gets what node 2 had before its user came: begin at the "
                           "largest y[k], or at the last node"},
                      {348, "a share was given on twice: put all the seeds first, then "
                            "sweep once"}),
                "%s: dL/dx", at);
}

/* A tape of 12 nodes at random, each of two before it, against the sum over paths. */
static void check_backward(void)
{
    const int y[] = {8, 11, 5};
    const double seed[] = {2, 1, -3};
    check_one();
    check_seeds();
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
    backward(&t, 3, y, seed, c);
    check_before(&room);
    for (int i = 11; i >= 0; i--) {
        double right = 0;
        for (int k = 0; k < 3; k++) right += seed[k] * paths(&t, y[k], i);
        mark_number(
            c[i], right, 1e-9, SLIPS({0, ORDER}),
            "a tape of 12 nodes, L = 2 v_8 + v_11 - 3 v_5: dL/dv_%d, which the sum "
            "over paths has",
            i);
    }
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
          "clear c, put the seeds there, c[y[k]] += seed[k], then sweep once over all "
          "nodes",
          "for (int j = t->n - 1; j >= 0; j--) and in it, for both inputs that are "
          "there, "
          "c[input] += c[j] * slope"}},
    };
    return mark_exercise(argc, argv, 2, holes, sizeof holes / sizeof *holes);
}
