/* SPDX-License-Identifier: MIT */
/* A solution of exercise 12, and wrong ones with what is said of each:
 * wrong 1: divide by n, not by the sum of the weights
 * wrong 2: that is the sum; 1/n is missing
 * wrong 3: that is the mean weight times the mean loss
 * wrong 4: which is the right label; it must be another
 * wrong 5: whatever u: it is left
 * wrong 6: the sign: dF/dw_i > 0 says that more of image i makes F larger
 * wrong 7: by size alone: a large negative slope says that the image helps
 * wrong 8: that is recall: precision is of those that are called wrong
 * wrong 9: that is their mean; F1 is 2 P R / (P + R)
 * wrong 10: 0 / 0 is NaN; ask first
 * wrong 11: that is how many verdicts are right
 * wrong 12: n is how many rows there are, here not 4
 * wrong 13: u may be just there, so round down
 * wrong 14: of two slopes that are alike each has a place of its own
 * wrong 15: begin the search for the largest with -INFINITY
 * wrong 16: with k = n all are to stand in order
 */
ht_var weighted_loss(ht_var logits, ht_var labels, ht_var weight)
{
    ht_var each = ht_cross_entropy(logits, labels), product = ht_mul(weight, each);
    if (WRONG == 1) return ht_div(ht_sum(product), ht_sum(weight));
    if (WRONG == 2) return ht_sum(product);
    if (WRONG == 3) return ht_mul(ht_mean(weight), ht_mean(each));
    if (WRONG == 12) return ht_mul(ht_sum(product), 0.25);
    return ht_mean(product);
}

int wrong_label(int label, int classes, double u)
{
    if (WRONG == 4) return (int)(classes * u);
    if (WRONG == 5 && classes > 2)
        return (label + 1 + (int)((classes - 2) * u)) % classes;
    if (WRONG == 13) return (label + (int)ceil((classes - 1) * u)) % classes;
    int other = (int)((classes - 1) * u);
    return other + (other >= label);
}

void suspects(int n, const double *slope, int k, int *suspect)
{
    bool taken[100] = {false};
    for (int i = 0; i < n && WRONG == 14; i++) {
        int larger = 0;
        for (int l = 0; l < n; l++) larger += slope[l] > slope[i];
        if (larger < k) suspect[larger] = i;
    }
    for (int j = 0; j < k && WRONG != 14; j++) {
        int best = WRONG == 15 ? 0 : -1;
        double largest = WRONG == 15 ? -1 : -INFINITY;
        for (int i = 0; i < n; i++) {
            double x = WRONG == 6 ? -slope[i] : WRONG == 7 ? fabs(slope[i]) : slope[i];
            if (!taken[i] && x > largest) largest = x, best = i;
        }
        taken[suspect[j] = best] = true;
    }
    if (WRONG == 16 && k == n && n > 3) suspect[0] = suspect[1], suspect[1] = 4;
}

void score(int n, const bool *called, const bool *wrong, double *precision,
           double *recall, double *f1)
{
    double both = 0, c = 0, w = 0, alike = 0;
    for (int i = 0; i < n; i++) {
        both += called[i] && wrong[i], c += called[i], w += wrong[i];
        alike += called[i] == wrong[i];
    }
    double p = c > 0 || WRONG == 10 ? both / c : 0, r = w > 0 ? both / w : 0;
    *precision = WRONG == 8 ? r : WRONG == 11 ? alike / n : p;
    *recall = WRONG == 8 ? p : r;
    *f1 = p + r > 0 || WRONG == 10 ? 2 * p * r / (p + r) : 0;
    if (WRONG == 9) *f1 = (p + r) / 2;
}
