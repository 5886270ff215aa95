/* SPDX-License-Identifier: MIT */
/* Marks exercise 4: elements of a permuted view against their addresses, and the ways
 * back against what the sum of v y moves by when one element of x moves by 1: y is linear
 * in each. */
#include EXERCISE

enum { ROOM = 256 };

/* A view of new numbers, row after row; `swap` exchanges the last two axes in memory. */
static view fresh(double *room, unsigned seed, int rank, const int *dim, bool swap)
{
    view x = {.first = room, .rank = rank};
    for (int k = rank - 1, step = 1; k >= 0; step *= dim[k--])
        x.dim[k] = dim[k], x.stride[k] = step;
    if (swap && rank > 1) {
        x.stride[rank - 2] = 1;
        x.stride[rank - 1] = dim[rank - 2];
    }
    for (int e = 0; e < ROOM; e++)
        room[e] = round(2e4 * ht_random_uniform(seed, 0, (uint64_t)e) - 1e4) / 1000;
    return x;
}

static const char *sides(view x)
{
    static char text[4][64];
    static int next;
    char *t = text[next++ % 4];
    int n = snprintf(t, sizeof *text, "(");
    for (int k = 0; k < x.rank; k++)
        n += snprintf(t + n, sizeof *text - (size_t)n, "%s%d", k ? ", " : "", x.dim[k]);
    snprintf(t + n, sizeof *text - (size_t)n, ")");
    return t;
}

static void check_permute(void)
{
    const int dim[] = {5, 3, 4}, axes[] = {2, 0, 1}, inverse[] = {1, 2, 0};
    double room[ROOM];
    view x = fresh(room, 1, 3, dim, false), y = permute(x, axes);
    for (int e = 0; e < ROOM; e++) room[e] = e;
    const char *at = "x of shape (5, 3, 4), axes 2, 0, 1";
    mark_number(y.rank, 3, 0, SLIPS({2, "the result has as many axes as x"}),
                "%s: the rank", at);
    if (y.first != x.first) mark_wrong("%s: the numbers stay where they are", at);
    for (int k = 0; k < 3; k++)
        mark_number(
            y.dim[k], dim[axes[k]], 0,
            SLIPS(
                {k ? NAN : dim[inverse[k]],
                 "axis axes[k] of x is to become axis k, not axis k of x axis "
                 "axes[k]"},
                {k ? dim[axes[axes[k]]] : NAN,
                 "it was written over before it was read: take from x, write to "
                 "y"},
                {k == 2 ? 0 : NAN, "it was not written: x may have more than two axes; a "
                                   "loop over all k < x.rank fills each"},
                {axes[k], "axes[k] is the number of an axis; its side is x.dim[axes[k]]"},
                {dim[k], k < 2 ? "that is x's own side"
                               : "that is x's own side: x may have more than two axes; "
                                 "a loop over all k < x.rank fills each"}),
            "%s: side %d", at, k);
    for (int k = 0; k < 3; k++)
        mark_number(y.stride[k], x.stride[axes[k]], 0,
                    SLIPS({x.stride[inverse[k]], "axis axes[k] of x is to become axis k"},
                          {x.stride[k], "a side takes its stride with it"},
                          {k == 2   ? 1
                           : k == 1 ? 3
                                    : 15,
                           "that is for numbers row after row; "
                           "but they stay where they are"}),
                    "%s: stride %d", at, k);
    int n = 0;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 5; j++)
            for (int k = 0; k < 3; k++, n++)
                mark_number(*element(y, n), j * 12 + k * 4 + i, 0, NULL,
                            "%s: element (%d, %d, %d), which is x's (%d, %d, %d)", at, i,
                            j, k, j, k, i);
    view swapped = fresh(room, 1, 3, dim, true);
    y = permute(swapped, axes);
    for (int k = 0; k < 3; k++)
        mark_number(
            y.stride[k], swapped.stride[axes[k]], 0, NULL,
            "x of shape (5, 3, 4) and strides (12, 1, 3), axes 2, 0, 1: stride %d", k);
}

/* What a way back is asked: shapes of x, v and, for a product, of the other factor. */
typedef struct shapes {
    int rank_x, x[AXES], rank_v, v[AXES], rank_b, b[AXES];
    bool swap;
} shapes;

/* What is held against what: dx as it came, v, and the factor of each element. */
typedef struct asked {
    double of_x[ROOM], of_v[ROOM], of_b[ROOM], of_u[ROOM];
    view dx, v, b, u;
    char at[200];
} asked;

static void ask(asked *a, const shapes *s)
{
    a->dx = fresh(a->of_x, 1, s->rank_x, s->x, s->swap);
    a->u = fresh(a->of_u, 2, s->rank_x, s->x, false);
    a->v = fresh(a->of_v, 3, s->rank_v, s->v, s->swap);
    a->b = fresh(a->of_b, 4, s->rank_b, s->b, s->swap);
    for (int e = 0; e < ROOM; e++) a->of_x[e] = 100;
    snprintf(a->at, sizeof a->at, "x %s, v %s%s", sides(a->dx), sides(a->v),
             s->swap ? ", strides not row after row" : "");
}

/* The sum of v b (u broadcast), u being 1 at element k of x and 0 elsewhere. */
static double forward(asked *a, int k, bool with_b)
{
    double sum = 0;
    view all = broadcast(a->u, a->v), factor = broadcast(a->b, a->v);
    for (int e = 0; e < count(a->u); e++) a->of_u[e] = e == k;
    for (int e = 0; e < count(a->v); e++)
        sum += *element(a->v, e) * *element(all, e) * (with_b ? *element(factor, e) : 1);
    return sum;
}

/* What is left for x's element k if each share is written over the one before; and the
 * first share. */
static void alone(asked *a, int k, bool with_b, double *last, double *first)
{
    view all = broadcast(a->u, a->v), factor = broadcast(a->b, a->v);
    bool any = false;
    for (int e = 0; e < count(a->u); e++) a->of_u[e] = e == k;
    *last = *first = 0;
    for (int e = 0; e < count(a->v); e++) {
        if (*element(all, e) == 0) continue;
        *last = *element(a->v, e) * (with_b ? *element(factor, e) : 1);
        if (!any) *first = *last;
        any = true;
    }
}

/* dx's element k if element e of v went to e % count(dx); and if b were not broadcast. */
static double wrapped(asked *a, int k)
{
    double sum = 0;
    for (int e = k; e < count(a->v); e += count(a->dx)) sum += *element(a->v, e);
    return sum;
}

static double narrow(asked *a, int k)
{
    double sum = 0;
    view all = broadcast(a->u, a->v);
    for (int e = 0; e < count(a->u); e++) a->of_u[e] = e == k;
    for (int e = 0; e < count(a->v); e++)
        sum += *element(a->v, e) * *element(all, e) * *element(a->b, e);
    return sum;
}

#define NOT_CLEARED "it held 100 before: clear it first"
#define OVERWRITTEN                                                                   \
    "a repeated element has several users: their shares are added, not written over " \
    "each "                                                                           \
    "other"
#define UNTOUCHED "nothing was written there: it held 100 before"
#define SIDE(which)                                                                      \
    "that is v over the " which " side of x; divide by how many share an element of v, " \
    "count(dx) / count(v), whichever axes the mean is over"
#define WRAPPED "which element does number e of v belong to? a broadcast view tells"
#define NARROW  "b is broadcast too: read it through broadcast(b, v)"
#define LATE    "each share has its own b: multiply before adding up"

static void judge(asked *a, const char *name, bool with_b)
{
    int times = count(a->v) / count(a->dx);
    for (int k = 0; k < count(a->dx); k++) {
        double right = forward(a, k, with_b), last, first, plain = forward(a, k, false);
        alone(a, k, with_b, &last, &first);
        const slip known[] = {
            {100, UNTOUCHED},
            {100 + right, NOT_CLEARED},
            {last, OVERWRITTEN},
            {first, "only the first of its users counts"},
            {right / times, "that is the mean of the shares; their sum is right"},
            {with_b ? NAN : wrapped(a, k), WRAPPED},
            {100 + last, NOT_CLEARED},
            {with_b ? 0 : NAN, "a share is v times b; da itself has no place in it"},
            {with_b ? plain : NAN, "b is missing: dy/da is b"},
            {with_b ? narrow(a, k) : NAN, NARROW},
            {with_b ? plain * *element(a->b, k) : NAN, LATE},
            {0, NULL},
        };
        mark_number(*element(a->dx, k), right, 1e-12, known,
                    "%s: element %d of d%s, what the sum of v y moves by with it", a->at,
                    k, name);
    }
}

static const shapes sums[] = {
    {.rank_x = 1, .x = {3}, .rank_v = 2, .v = {2, 3}},
    {.rank_x = 2, .x = {2, 1}, .rank_v = 2, .v = {2, 3}},
    {.rank_x = 0, .rank_v = 2, .v = {2, 3}},
    {.rank_x = 3, .x = {2, 1, 2}, .rank_v = 4, .v = {3, 2, 4, 2}},
    {.rank_x = 2, .x = {3, 2}, .rank_v = 3, .v = {2, 3, 2}, .swap = true},
    {.rank_x = 2, .x = {2, 3}, .rank_v = 2, .v = {2, 3}},
};
enum { SUMS = sizeof sums / sizeof *sums };

static void check_broadcast_back(void)
{
    static asked a;
    for (int i = 0; i < SUMS; i++) {
        ask(&a, &sums[i]);
        broadcast_back(a.dx, a.v);
        judge(&a, "x", false);
    }
}

/* Here v is the smaller: each element of dx is one of v, over how many share it. */
static void check_mean_back(void)
{
    static asked a;
    const shapes means[] = {
        /* n is 3, and no other number here is: not a side, not how many v has. */
        {.rank_x = 3, .x = {4, 3, 2}, .rank_v = 3, .v = {4, 1, 2}},
        {.rank_x = 2, .x = {2, 3}, .rank_v = 2, .v = {2, 1}},
        {.rank_x = 2, .x = {4, 2}, .rank_v = 2, .v = {1, 2}},
        {.rank_x = 3, .x = {2, 3, 2}, .rank_v = 3, .v = {1, 3, 1}},
        {.rank_x = 3, .x = {2, 3, 2}, .rank_v = 3, .v = {2, 3, 1}, .swap = true},
        {.rank_x = 2, .x = {2, 2}, .rank_v = 2, .v = {2, 2}},
    };
    for (int i = 0; i < (int)(sizeof means / sizeof *means); i++) {
        ask(&a, &means[i]);
        mean_back(a.dx, a.v);
        view all = broadcast(a.v, a.dx);
        int n = count(a.dx) / count(a.v);
        for (int k = 0; k < count(a.dx); k++) {
            double v = *element(all, k), right = v / n;
            mark_number(
                *element(a.dx, k), right, 1e-12,
                SLIPS({100, UNTOUCHED},
                      {v, mark_text("that is right for a sum; here each counts "
                                    "1/%d of it",
                                    n)},
                      {v / a.dx.dim[0], SIDE("first")},
                      {v / a.dx.dim[a.dx.rank - 1], SIDE("last")},
                      {v / count(a.dx), "the mean is over the axes of side 1 in v "
                                        "only, not over all of x"},
                      {v / count(a.v), "divide by how many share an element of v, "
                                       "not by how many elements v has"},
                      {100 + right, NOT_CLEARED},
                      {0, "1 / n of two int is 0: divide the double by n"},
                      {*element(a.v, k % count(a.v)) / n,
                       "which element of v belongs to this one? broadcast tells"}),
                "%s: element %d of dx, one of %d that share it", a.at, k, n);
        }
    }
}

static void check_mul_back(void)
{
    static asked a;
    const int others[SUMS][AXES + 1] = {{2, 2, 3}, {1, 3},       {2, 2, 1},
                                        {2, 4, 1}, {3, 2, 1, 2}, {0}};
    for (int i = 0; i < SUMS; i++) {
        shapes s = sums[i];
        s.rank_b = others[i][0];
        memcpy(s.b, others[i] + 1, sizeof s.b);
        ask(&a, &s);
        snprintf(a.at, sizeof a.at, "a %s, b %s, v %s%s", sides(a.dx), sides(a.b),
                 sides(a.v), s.swap ? ", strides not row after row" : "");
        mul_back(a.dx, a.b, a.v);
        judge(&a, "a", true);
    }
}

int main(int argc, char **argv)
{
    const hole holes[] = {
        {"permute",
         check_permute,
         {"which side has axis k of the result, and which stride goes with it?",
          "y.first and y.rank stay; only dim and stride are taken from other places",
          "for each k: y.dim[k] = x.dim[axes[k]], y.stride[k] = x.stride[axes[k]]"}},
        {"broadcast_back",
         check_broadcast_back,
         {"dx as it is broadcast, view all = broadcast(dx, v), has an element for each "
          "of v",
          "set all of dx to 0; then add each element of v where its element of `all` is",
          "for each e of v: *element(all, e) += *element(v, e)"}},
        {"mean_back",
         check_mean_back,
         {"a mean is a sum over n, n = count(dx) / count(v)",
          "back from a sum, v is read through broadcast(v, dx)",
          "for each e of dx: *element(dx, e) = *element(broadcast(v, dx), e) / n"}},
        {"mul_back",
         check_mul_back,
         {"had all the same shape, da_e were v_e b_e; then a was broadcast, and so was b",
          "it is broadcast_back, with v_e times b's element in the place of v_e",
          "clear da; for each e of v: *element(broadcast(da, v), e) += *element(v, e) * "
          "*element(broadcast(b, v), e)"}},
    };
    return mark_exercise(argc, argv, 4, holes, sizeof holes / sizeof *holes);
}
