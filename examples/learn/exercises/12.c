/* SPDX-License-Identifier: MIT */
/* Exercise 12: wrong labels. Fill the four holes; ./dev learn 12 marks them. The letters
 * are lesson 12's. */
#include "mark.h"

/* L: 1/n sum_i weight_i CE_i, a 0-d variable, of logits (n, classes), labels (n) and
 * weight (n). ht_cross_entropy gives CE, one a row. */
ht_var weighted_loss(ht_var logits, ht_var labels, ht_var weight)
{
    /* your code */
    UNWRITTEN;
    return logits;
}

/* A wrong label in the place of `label`: one of the others of 0 .. classes-1, each as
 * likely as the other if u is at random in 0 <= u < 1. */
int wrong_label(int label, int classes, double u)
{
    /* your code */
    UNWRITTEN;
    return label;
}

/* Puts into suspect[0 .. k-1] the numbers of the k images that are to be suspected first,
 * the most suspect first. slope[i] = dF/dw_i, of n images, F the validation loss. */
void suspects(int n, const double *slope, int k, int *suspect)
{
    /* your code */
    UNWRITTEN;
}

/* Precision, recall and F1 of n verdicts: called[i], image i is called wrong; wrong[i],
 * it is. Each is 0 where its division would be by 0. */
void score(int n, const bool *called, const bool *wrong, double *precision,
           double *recall, double *f1)
{
    /* your code */
    UNWRITTEN;
    *precision = *recall = *f1 = 0;
}
