/* SPDX-License-Identifier: MIT */
/* A solution of exercise 4, and wrong ones with what is said of each:
 * wrong 1: axis axes[k] of x is to become axis k
 * wrong 2: a side takes its stride with it
 * wrong 3: their shares are added, not written over each other
 * wrong 4: it held 100 before: clear it first
 * wrong 5: that is right for a sum; here each counts 1/3 of it
 * wrong 6: which element of v belongs to this one? broadcast tells
 * wrong 7: b is missing: dy/da is b
 * wrong 8: strides not row after row
 * wrong 9: that is the mean of the shares; their sum is right
 * wrong 10: which element does number e of v belong to? a broadcast view tells
 * wrong 11: b is broadcast too: read it through broadcast(b, v)
 * wrong 12: each share has its own b: multiply before adding up
 * wrong 13: axes[k] is the number of an axis; its side is x.dim[axes[k]]
 * wrong 14: da itself has no place in it
 * wrong 15: it was not written: x may have more than two axes
 * wrong 16: that is v over the last side of x
 * wrong 17: that is v over the first side of x
 * wrong 18: not by how many elements v has
 * wrong 19: that is x's own side: x may have more than two axes
 */
view permute(view x, const int *axes)
{
    view y = WRONG == 15 ? (view){.first = x.first, .rank = x.rank} : x;
    for (int k = 0; k < (WRONG == 15 || WRONG == 19 ? 2 : x.rank); k++) {
        int to = WRONG == 1 ? axes[k] : k, from = WRONG == 1 ? k : axes[k];
        y.dim[to] = WRONG == 13 ? axes[k] : x.dim[from];
        if (WRONG != 2) y.stride[to] = x.stride[from];
    }
    return y;
}

void broadcast_back(view dx, view v)
{
    view all = broadcast(dx, v);
    double times = WRONG == 9 ? count(v) / count(dx) : 1;
    for (int e = 0; e < count(dx) && WRONG != 4; e++) *element(dx, e) = 0;
    for (int e = 0; e < count(v); e++) {
        double share = (WRONG == 8 ? v.first[e] : *element(v, e)) / times;
        if (WRONG == 10)
            *element(dx, e % count(dx)) += share;
        else
            *element(all, e) = WRONG == 3 ? share : *element(all, e) + share;
    }
}

void mean_back(view dx, view v)
{
    view all = broadcast(v, dx);
    int n = WRONG == 5 ? 1 : count(dx) / count(v);
    if (WRONG == 16) n = dx.dim[dx.rank - 1];
    if (WRONG == 17) n = dx.dim[0];
    if (WRONG == 18) n = count(v);
    for (int e = 0; e < count(dx); e++)
        *element(dx, e) =
            WRONG == 6 ? *element(v, e % count(v)) / n : *element(all, e) / n;
}

void mul_back(view da, view b, view v)
{
    view all = broadcast(da, v), factor = broadcast(b, v);
    for (int e = 0; e < count(da); e++) *element(da, e) = 0;
    for (int e = 0; e < count(v); e++)
        *element(all, e) +=
            *element(v, e) * (WRONG == 14 ? *element(all, e) : 1) *
            (WRONG == 7 || WRONG == 12 ? 1 : *element(WRONG == 11 ? b : factor, e));
    for (int e = 0; e < count(da) && WRONG == 12; e++) *element(da, e) *= *element(b, e);
}
