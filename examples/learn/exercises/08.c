/* SPDX-License-Identifier: MIT */
/* Exercise 8: what a program needs, and its arena. Fill the three holes; ./dev learn 8
 * marks them. Nodes 0 .. n-1 are in order: inputs have smaller numbers. */
#include "mark.h"

typedef struct node {
    int bytes, input[2]; /* -1: none. Both may be the same */
} node;

/* Whether each of the n nodes is needed for the outputs, out[0 .. n_out-1], in `need`, of
 * which nothing is known before. Returns how many are. Outputs are needed themselves. */
int needed(int n, const node *nodes, int n_out, const int *out, bool *need)
{
    /* your code */
    UNWRITTEN;
    return 0;
}

/* last[i], the time until which the value of node i lives: the largest number of a node
 * that reads it; i if none does; n if it is an output. last holds anything before. */
void last_use(int n, const node *nodes, int n_out, const int *out, int *last)
{
    /* your code */
    UNWRITTEN;
}

/* offset[i] of every node, in order, by first fit: the lowest at which it overlaps no
 * node before it that still lives at time i. Returns the peak: the largest end, offset
 * and bytes, of all. */
int plan(int n, const node *nodes, const int *last, int *offset)
{
    /* your code */
    UNWRITTEN;
    return 0;
}
