/* SPDX-License-Identifier: MIT */
/* Marks exercise 12: a loss against its sum in plain C, labels by counting them, the
 * order of slopes, scores by their definition. */
#include EXERCISE

enum { N = 4, CLASSES = 3 };

static const double z[N][CLASSES] = {
    {1, -0.5, 0.3}, {0.2, 2, -1}, {0, 0.7, 1.5}, {-1, 0.4, 0.1}};
static const int y[N] = {0, 2, 2, 1};

static double cross_entropy(const double *row, int label)
{
    double sum = 0;
    for (int j = 0; j < CLASSES; j++) sum += exp(row[j]);
    return log(sum) - row[label];
}

/* "<what> 1, 0.25, 0" */
static const char *listed(const char *what, int n, const double *x)
{
    for (int i = 0; i < n; i++) what = mark_text("%s%s%g", what, i ? ", " : " ", x[i]);
    return what;
}

/* Cross-entropy of logits that were weighed themselves. */
static double of_weighed(int i, double w)
{
    double row[CLASSES];
    for (int j = 0; j < CLASSES; j++) row[j] = w * z[i][j];
    return cross_entropy(row, y[i]);
}

/* The mean over the first n rows. */
static void check_loss_with(ht_tape *t, int n, const double *w)
{
    ht_context *ctx = ht_tape_context(t);
    ht_tensor *logits = ht_tensor_new(ctx, HT_F64, HT_SHAPE(n, CLASSES));
    ht_tensor *labels = ht_tensor_new(ctx, HT_I32, HT_SHAPE(n));
    ht_tensor *weight = ht_tensor_new(ctx, HT_F64, HT_SHAPE(n));
    double sum = 0, all = 0, plain = 0, weighed = 0;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < CLASSES; j++) ht_tensor_set(logits, i * CLASSES + j, z[i][j]);
        ht_tensor_set(labels, i, y[i]);
        ht_tensor_set(weight, i, w[i]);
        sum += w[i] * cross_entropy(z[i], y[i]);
        plain += cross_entropy(z[i], y[i]), all += w[i], weighed += of_weighed(i, w[i]);
    }
    ht_var loss =
        weighted_loss(ht_input(t, logits), ht_input(t, labels), ht_input(t, weight));
    char text[HT_SHAPE_TEXT];
    const char *at = listed("weights", n, w);
    if (ht_var_shape(loss).rank)
        mark_wrong("%s: the result has shape %s; one number, (), is right: the mean over "
                   "all rows",
                   at, ht_shape_text(ht_var_shape(loss), text));
    mark_number(
        ht_item(loss), sum / n, 1e-9,
        SLIPS({plain / n, "the weights are not used"},
              {sum, "that is the sum; 1/n is missing"},
              {sum / N, "n is how many rows there are, here not 4"},
              {sum / all, "divide by n, not by the sum of the weights: else all "
                          "weights at half would change nothing"},
              {weighed / n, "it is the losses that are weighed, not the logits"},
              {all / n * plain / n, "that is the mean weight times the mean loss: "
                                    "multiply row by row, then take the mean"}),
        "%s: L", at);
}

static void check_weighted_loss(void)
{
    ht_tape *t = ht_tape_new(mark_context(), HT_EAGER);
    check_loss_with(t, N, (const double[]){1, 0.25, 0, 0.5});
    check_loss_with(t, N, (const double[]){0.5, 0.5, 0.5, 0.5});
    check_loss_with(t, N, (const double[]){1, 1, 1, 1});
    check_loss_with(t, 3, (const double[]){1, 0.25, 0.5});
    check_loss_with(t, 2, (const double[]){0.75, 0.5});
}

/* How often each class came up, of 60 (classes - 1) times. */
static void judge_counts(int label, int classes, const int *count)
{
    for (int j = 0; j < classes; j++)
        if (j != label && !count[j])
            mark_wrong(
                "label %d of %d classes: %d never comes up, whatever u: it is left "
                "out",
                label, classes, j);
    for (int j = 0; j < classes; j++)
        if (j != label && abs(count[j] - 60) > 1)
            mark_wrong("label %d of %d classes, %d values of u: %d came up %d times and "
                       "60 is right: each of the classes - 1 others is as likely",
                       label, classes, 60 * (classes - 1), j, count[j]);
}

/* Where rounding is most easily wrong: u = 0, the borders k / (classes - 1), and the
 * largest number below 1. */
static void judge_border(int label, int classes, double u)
{
    int got = wrong_label(label, classes, u);
    const char *at = mark_text("label %d of %d classes, u = %.17g", label, classes, u);
    if (got == label)
        mark_wrong(
            "%s: yours is the right label, %d: u may be just there, so round down, "
            "1 + (int)(..), as ceil(0) is 0",
            at, got);
    if (got < 0 || got >= classes)
        mark_wrong("%s: yours is %d, which is no class: 0 .. %d are", at, got,
                   classes - 1);
}

/* Every label, and u evenly in 0 .. 1: each other label comes up equally often. */
static void check_wrong_label(void)
{
    for (int classes = 2; classes <= 10; classes += 4)
        for (int label = 0; label < classes; label++) {
            int count[10] = {0}, turns = 60 * (classes - 1);
            for (int k = 0; k < turns; k++) {
                double u = (k + 0.5) / turns;
                int got = wrong_label(label, classes, u);
                const char *at =
                    mark_text("label %d of %d classes, u = %.4f", label, classes, u);
                if (got == label)
                    mark_wrong("%s: yours is %d, which is the right label; it must be "
                               "another",
                               at, got);
                if (got < 0 || got >= classes)
                    mark_wrong("%s: yours is %d, which is no class: 0 .. %d are", at, got,
                               classes - 1);
                count[got]++;
            }
            judge_counts(label, classes, count);
            for (int k = 0; k < classes - 1; k++)
                judge_border(label, classes, (double)k / (classes - 1));
            judge_border(label, classes, nextafter(1, 0));
        }
}

static double by_key(int kind, double x)
{
    return kind == 0 ? -x : kind == 1 ? fabs(x) : -fabs(x);
}

/* Whether got is the order by a key, the largest first. */
static bool sorted_by(int kind, int n, int k, const double *slope, const int *got)
{
    for (int j = 0; j < k; j++) {
        int larger = 0;
        for (int i = 0; i < n; i++)
            larger += by_key(kind, slope[i]) > by_key(kind, slope[got[j]]);
        if (larger != j) return false;
    }
    return true;
}

/* The slope that stands at place j, the largest first; equal ones follow each other. */
static double slope_at(int n, const double *slope, int j)
{
    for (int i = 0; i < n; i++) {
        int larger = 0, alike = 0;
        for (int l = 0; l < n; l++)
            larger += slope[l] > slope[i], alike += slope[l] == slope[i];
        if (larger <= j && j < larger + alike) return slope[i];
    }
    return 0;
}

enum { IMAGES = 7, NOTHING = -1000 };

/* k numbers of images, each once; `why` is what goes wrong most easily here. */
static void judge_numbers(const char *at, int n, int k, const int *got, const char *why)
{
    for (int j = 0; j < k; j++) {
        if (got[j] == NOTHING)
            mark_wrong("%s: suspect[%d] was not written%s", at, j, why);
        if (got[j] < 0 || got[j] >= n)
            mark_wrong("%s: suspect[%d] is %d; it is the number of an image, 0 .. %d%s",
                       at, j, got[j], n - 1, why);
        for (int l = 0; l < j; l++)
            if (got[l] == got[j])
                mark_wrong("%s: image %d is both suspect[%d] and suspect[%d]%s", at,
                           got[j], l, j, why);
    }
}

static bool is_turned(int n, const double *slope, int k, const int *got)
{
    for (int j = 0; j < k; j++)
        if (slope[got[k - 1 - j]] != slope_at(n, slope, j)) return false;
    return true;
}

static void check_order(int n, const double *slope, int k, const char *why)
{
    int got[IMAGES];
    for (int j = 0; j < IMAGES; j++) got[j] = NOTHING;
    const char *at = mark_text("%s, k = %d", listed("slopes", n, slope), k);
    suspects(n, slope, k, got);
    judge_numbers(at, n, k, got, why);
    for (int j = 0; j < k; j++) {
        double right = slope_at(n, slope, j);
        if (slope[got[j]] == right) continue;
        mark_wrong(
            "%s: suspect[%d] is %d, with slope %g; that of slope %g is right%s", at, j,
            got[j], slope[got[j]], right,
            sorted_by(0, n, k, slope, got)
                ? ": the sign: dF/dw_i > 0 says that more of image i makes F larger"
            : sorted_by(1, n, k, slope, got)
                ? ": by size alone: a large negative slope says that the image helps"
            : is_turned(n, slope, k, got)
                ? ": those are they, but the most suspect stands first"
                : why);
    }
}

static void check_suspects(void)
{
    const double slope[IMAGES] = {0.1, -0.9, 0.4, 0, 0.7, -0.2, 0.3};
    check_order(IMAGES, slope, 3, "");
    check_order(IMAGES, slope, 1, "");
    check_order(IMAGES, slope, IMAGES, ": with k = n all are to stand in order");
    for (int k = 2; k <= 3; k++)
        check_order(3, (const double[]){0.5, 0.5, 0.1}, k,
                    ": of two slopes that are alike each has a place of its own, in "
                    "either order");
    for (int k = 1; k <= 4; k++)
        check_order(4, (const double[]){-3, -1.5, -2, -40}, k,
                    ": slopes may all be below 0, and below -1: begin the search for the "
                    "largest with -INFINITY");
}

static void check_score_of(const bool *called, const bool *wrong, int n)
{
    double hit = 0, said = 0, is = 0, alike = 0, P = -1, R = -1, F = -1;
    for (int i = 0; i < n; i++) {
        hit += called[i] && wrong[i], said += called[i], is += wrong[i];
        alike += called[i] == wrong[i];
    }
    double p = said > 0 ? hit / said : 0, r = is > 0 ? hit / is : 0;
    double f = p + r > 0 ? 2 * p * r / (p + r) : 0;
    const char *at =
        mark_text("%g called wrong, %g are wrong, %g are both, of %d", said, is, hit, n);
    score(n, called, wrong, &P, &R, &F);
    if (isnan(P) || isnan(R) || isnan(F))
        mark_wrong(
            "%s: yours are %g, %g, %g, and %g, %g, %g are right: 0 / 0 is NaN; ask "
            "first",
            at, P, R, F, p, r, f);
    mark_number(P, p, 1e-9,
                SLIPS({r, "that is recall: precision is of those that are called wrong"},
                      {alike / n, "that is how many verdicts are right: with few wrong "
                                  "labels it is high even if none is found"},
                      {hit / n, "not of all images, but of those called wrong"}),
                "%s: precision", at);
    mark_number(R, r, 1e-9,
                SLIPS({p, "that is precision: recall is of those that are wrong"},
                      {hit / n, "not of all images, but of those that are wrong"}),
                "%s: recall", at);
    mark_number(F, f, 1e-9,
                SLIPS({(p + r) / 2, "that is their mean; F1 is 2 P R / (P + R)"},
                      {p * r / (p + r), "the factor 2 is missing"},
                      {sqrt(p * r), "that is the geometric mean; F1 is 2 P R / (P + R)"}),
                "%s: F1", at);
}

static void check_score(void)
{
    const bool wrong[] = {true,  true,  true,  true,  true,
                          false, false, false, false, false};
    const bool called[] = {true,  true,  false, false, false,
                           false, false, false, true,  false};
    const bool none[10] = {false}, only[] = {false, false, false, false, false,
                                             true,  true,  false, false, false};
    check_score_of(called, wrong, 10);
    check_score_of(none, wrong, 10);
    check_score_of(only, wrong, 10);
    check_score_of(called, none, 10);
}

int main(int argc, char **argv)
{
    const hole holes[] = {
        {"weighted_loss",
         check_weighted_loss,
         {"CE_i times weight_i, row by row; then one number of it",
          "ht_mean divides by how many there are: that is n",
          "ht_mean(ht_mul(weight, ht_cross_entropy(logits, labels)))"}},
        {"wrong_label",
         check_wrong_label,
         {"go on from the label by 1 .. classes - 1, and round at the end: never to "
          "itself",
          "(int)((classes - 1) * u) is 0 .. classes - 2, each as likely",
          "(label + 1 + (int)((classes - 1) * u)) % classes"}},
        {"suspects",
         check_suspects,
         {"does more weight on image i make F larger? Then it is suspect",
          "k times: the largest slope of those that are not taken yet",
          "sort the numbers 0 .. n-1 by slope, the largest first (qsort, or by hand)"}},
        {"score",
         check_score,
         {"count three things: called, wrong, and both",
          "precision = both / called, recall = both / wrong; 0 if there is none",
          "*f1 = p + r > 0 ? 2 * p * r / (p + r) : 0"}},
    };
    return mark_exercise(argc, argv, 12, holes, sizeof holes / sizeof *holes);
}
