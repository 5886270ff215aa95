/* SPDX-License-Identifier: MIT */
/* 04_strides_broadcasting.c: strides, and why the derivative of a broadcast is a sum.
 *
 * An array is numbers in a row and a rule that finds them: element (i_0, i_1, ...) is at
 *
 *     address = first + i_0 s_0 + i_1 s_1 + ...        s_k: the stride of axis k
 *
 * Row after row, as C has it, the last stride is 1, and each other one is the one to its
 * right times that axis's side. But strides can say more, and no number is moved for it:
 *
 *     0 1 2     x          shape (2, 3)   strides (3, 1)
 *     3 4 5
 *
 *     0 3       transpose  shape (3, 2)   strides (1, 3)    the same two, exchanged
 *     1 4
 *     2 5
 *
 *     6 7 8     broadcast  shape (2, 3)   strides (0, 1)    of 6 7 8, shape (3): with
 *     6 7 8                                                 stride 0 a row repeats
 *
 * An op of two arrays broadcasts both to one shape: counted from the last axis, sides are
 * equal, or one is 1 or missing, and repeats. So a row b is added to all rows of x.
 *
 * Let L be the one number at the end (lesson 2's y), y an array on the way to it, and
 * v_ij = dL/dy_ij. If y is b broadcast, y_ij = b_j, then b_j has as many users as there
 * are rows, and its derivative is the sum over its users:
 *
 *     y_ij = b_j             dL/db_j  = sum over i of v_ij      broadcast -> sum
 *     y_j  = sum_i x_ij      dL/dx_ij = v_j                     sum -> broadcast
 *
 * To forget the sum is the commonest mistake with arrays: who writes v into db row after
 * row keeps the last one. The shape is right, so nobody complains.
 *
 * A view with stride 0 does both. Reading through it repeats a row. Adding through it
 * sums, as all its rows are at one address: that is `add` below. The two belong together
 * by one line, true for all v and b (lesson 6 tests by it):
 *
 *     sum_ij v_ij (broadcast b)_ij = sum_j (sum v)_j b_j
 *
 * Next, lesson 5: rules that give nodes instead of numbers. Needs: lesson 2. */
#include "lesson.h"

enum { AXES = 4 };

typedef struct view {
    double *first;
    int rank; /* how many axes; a single number has none */
    int dim[AXES], stride[AXES];
} view;

/* The numbers at `first`, row after row. */
static view rows(double *first, int rank, const int *dim)
{
    view x = {.first = first, .rank = rank};
    for (int k = rank - 1, step = 1; k >= 0; step *= dim[k], k--)
        x.dim[k] = dim[k], x.stride[k] = step;
    return x;
}

static int count(view x)
{
    int n = 1;
    for (int k = 0; k < x.rank; k++) n *= x.dim[k];
    return n;
}

/* Element number e, row after row: its last index is e % (last side), and so on. */
static double *element(view x, int e)
{
    double *p = x.first;
    for (int k = x.rank - 1; k >= 0; k--) {
        int i = e % x.dim[k];
        p += i * x.stride[k], e /= x.dim[k];
    }
    return p;
}

static view transpose(view x) /* two axes */
{
    return (view){x.first, 2, {x.dim[1], x.dim[0]}, {x.stride[1], x.stride[0]}};
}

/* x in the shape of `like`. */
static view broadcast(view x, view like)
{
    view y = {.first = x.first, .rank = like.rank};
    for (int k = 1; k <= like.rank; k++) {
        int to = like.rank - k, from = x.rank - k;
        bool repeats = from < 0 || x.dim[from] == 1;
        assert(repeats || x.dim[from] == like.dim[to]);
        y.dim[to] = like.dim[to];
        y.stride[to] = repeats ? 0 : x.stride[from];
    }
    return y;
}

/* y += x, element by element; where y repeats, what meets there is added up. */
static void add(view y, view x)
{
    view all = broadcast(y, x);
    for (int e = 0; e < count(x); e++) *element(all, e) += *element(x, e);
}

static void show(const char *name, view x)
{
    printf("%-12s strides (%d, %d)   ", name, x.stride[0], x.stride[1]);
    for (int e = 0; e < count(x); e++)
        printf("%s%.0f", e == 0 ? "" : e % x.dim[1] ? " " : " | ", *element(x, e));
    puts("");
}

static void print(const char *name, const double *d)
{
    printf("%-30s %8.4f %8.4f %8.4f\n", name, d[0], d[1], d[2]);
}

/* Ops broadcast by themselves, and their derivatives sum. Skip this at first reading. */
static void by_the_library(double *x, double *b, const char *page)
{
    ht_context *ctx = lesson_context();
    ht_tensor *of_x = ht_tensor_wrap(ctx, HT_F64, HT_SHAPE(2, 3), x);
    ht_tensor *of_b = ht_tensor_wrap(ctx, HT_F64, HT_SHAPE(3), b);
    ht_tape *t = ht_tape_new(ctx, HT_EAGER);
    ht_var vx = ht_name(ht_input(t, of_x), "x"), vb = ht_name(ht_input(t, of_b), "b"), g;
    ht_grad(ht_sum(ht_square(ht_add(vx, vb))), 1, &vb, &g);
    print("by the library", ht_tensor_data(ht_value(g)));
    if (page) ht_tape_write_html(t, page);
    ht_tape_free(t), ht_tensor_free(of_x), ht_tensor_free(of_b), ht_context_free(ctx);
}

int main(int argc, char **argv)
{
    const char *page = lesson_page(argc, argv);
    double numbers[] = {0, 1, 2, 3, 4, 5}, row[] = {6, 7, 8}, cotangents[6], d[3] = {0};
    view x = rows(numbers, 2, (int[]){2, 3}), b = rows(row, 1, (int[]){3});
    view v = rows(cotangents, 2, x.dim), db = rows(d, 1, b.dim), all = broadcast(b, x);
    show("x", x), show("transpose", transpose(x)), show("b broadcast", all);
    puts("\nL = sum_ij (x_ij + b_j)^2, and dL/db");
    print("by hand: 2 sum_i (x_ij + b_j)", (double[]){30, 38, 46});
    for (int e = 0; e < 6; e++) cotangents[e] = 2 * (numbers[e] + *element(all, e));
    add(db, v);
    print("v summed into b's shape", d);
    by_the_library(numbers, row, page);
    double left = 0, right = 0;
    for (int e = 0; e < 6; e++) left += *element(v, e) * *element(all, e);
    for (int e = 0; e < 3; e++) right += *element(db, e) * *element(b, e);
    printf("v . (b broadcast) = %.4f, (v summed) . b = %.4f\n", left, right);
    for (int e = 0; e < 6; e++) *element(broadcast(db, v), e) = *element(v, e);
    print("wrong: v written, not added", d);
}
