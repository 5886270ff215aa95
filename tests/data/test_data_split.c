/* SPDX-License-Identifier: MIT */
/* test_data_split.c: parts, batches and wrong labels: exact counts, no row twice, the
 * same again from the same seed. Read next: data/split.c, data/corrupt.c. */
#include "test.h"

#include "ht_data.h"

static int context_new(void **state)
{
    *state = ht_context_new(&(ht_context_options){.seed = test_seed(), .threads = 1});
    return *state ? 0 : -1;
}

static int context_free(void **state)
{
    ht_context_free(*state); /* stops the program if anything is left */
    return 0;
}

/* Counts each row in seen (n); stops at a row outside 0 .. n-1. */
static void count_rows(const int64_t *rows, int64_t n_rows, int *seen, int64_t n)
{
    for (int64_t i = 0; i < n_rows; i++) {
        if (rows[i] < 0 || rows[i] >= n)
            fail_msg("row %lld outside 0..%lld", (long long)rows[i], (long long)n - 1);
        seen[rows[i]]++;
    }
}

/* Split. */

static void split_of_everything_is_disjoint_and_complete(void **state)
{
    enum { N = 1000 };
    const int64_t sizes[] = {600, 0, 399, 1};
    int64_t a[600], b[1], c[399], d[1];
    int64_t *const parts[] = {a, b, c, d};
    int seen[N] = {0};
    assert_int_equal(ht_split(*state, 3, N, 4, sizes, parts), HT_OK);
    for (int p = 0; p < 4; p++) count_rows(parts[p], sizes[p], seen, N);
    for (int row = 0; row < N; row++)
        if (seen[row] != 1) fail_msg("row %d: got %d times, want 1", row, seen[row]);
}

static void split_of_every_small_size_is_a_permutation(void **state)
{
    enum { MOST = 70 };
    for (int64_t n = 1; n <= MOST; n++)
        for (uint64_t stream = 0; stream < 20; stream++) {
            int64_t rows[MOST];
            int64_t *const parts[] = {rows};
            int seen[MOST] = {0};
            assert_int_equal(ht_split(*state, stream, n, 1, &n, parts), HT_OK);
            count_rows(rows, n, seen, n);
            for (int64_t row = 0; row < n; row++) assert_int_equal(seen[row], 1);
        }
}

static void split_again_is_the_same_and_other_streams_differ(void **state)
{
    const int64_t two[] = {100, 50}, one = 100;
    int64_t a[100], b[50], c[100], d[100];
    int64_t *const first[] = {a, b}, *const again[] = {c}, *const other[] = {d};
    assert_int_equal(ht_split(*state, 3, 5000, 2, two, first), HT_OK);
    assert_int_equal(ht_split(*state, 3, 5000, 1, &one, again), HT_OK);
    assert_int_equal(ht_split(*state, 4, 5000, 1, &one, other), HT_OK);
    assert_memory_equal(a, c, sizeof a);
    int same = 0;
    for (int i = 0; i < 100; i++) same += a[i] == d[i];
    assert_in_range(same, 0, 5);
}

/* Each of the 120 orders of 5 rows 500 times in 60,000, give or take: chi squared with
 * 119 degrees of freedom exceeds 195 once in 50,000. */
static void split_orders_are_equally_likely(void **state)
{
    enum { ORDERS = 120, DRAWS = 500 * ORDERS };
    static int count[1 << 15];
    const int64_t n = 5;
    for (uint64_t stream = 0; stream < DRAWS; stream++) {
        int64_t r[5];
        int64_t *const parts[] = {r};
        assert_int_equal(ht_split(*state, stream, n, 1, &n, parts), HT_OK);
        count[r[0] << 12 | r[1] << 9 | r[2] << 6 | r[3] << 3 | r[4]]++;
    }
    double chi = 0;
    int orders = 0;
    for (int i = 0; i < 1 << 15; i++) {
        if (count[i] == 0) continue;
        double off = count[i] - 500.0;
        chi += off * off / 500;
        orders++;
    }
    printf("# chi squared %.1f over %d orders\n", chi, orders);
    assert_int_equal(orders, ORDERS);
    if (!(chi < 195)) fail_msg("chi squared: got %g, want below 195", chi);
}

static void split_asking_too_much_says_how_many_exist(void **state)
{
    const int64_t sizes[] = {8000, 3000}, negative[] = {5, -1};
    int64_t untouched = -7;
    int64_t *const parts[] = {&untouched, &untouched};
    assert_int_equal(ht_split(*state, 0, 10000, 2, sizes, parts), HT_ERROR_ARGUMENT);
    assert_contains(ht_context_message(*state), "3000 rows asked after 8000");
    assert_contains(ht_context_message(*state), "only 10000 exist");
    ht_context_clear(*state);
    assert_int_equal(ht_split(*state, 0, 10000, 2, negative, parts), HT_ERROR_ARGUMENT);
    assert_contains(ht_context_message(*state), "got -1");
    ht_context_clear(*state);
    assert_int_equal(untouched, -7);
}

/* Batches. */

static void batch_order_over_an_epoch_takes_each_row_once(void **state)
{
    (void)state;
    enum { N = 128, BATCH = 16 };
    for (uint64_t epoch = 0; epoch < 5; epoch++) {
        int seen[N] = {0};
        for (uint64_t k = 0; k < N / BATCH; k++) {
            int64_t rows[BATCH];
            ht_batch_order(9, epoch * (N / BATCH) + k, N, BATCH, rows);
            count_rows(rows, BATCH, seen, N);
        }
        for (int row = 0; row < N; row++) assert_int_equal(seen[row], 1);
    }
}

static void batch_order_with_a_remainder_drops_different_rows(void **state)
{
    (void)state;
    enum { N = 103, BATCH = 10, EPOCHS = 40 };
    int dropped[N] = {0};
    for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
        int seen[N] = {0}, missing = 0;
        for (uint64_t k = 0; k < N / BATCH; k++) {
            int64_t rows[BATCH];
            ht_batch_order(9, epoch * (N / BATCH) + k, N, BATCH, rows);
            count_rows(rows, BATCH, seen, N);
        }
        for (int row = 0; row < N; row++) {
            assert_in_range(seen[row], 0, 1);
            missing += !seen[row];
            dropped[row] += !seen[row];
        }
        assert_int_equal(missing, N % BATCH);
    }
    for (int row = 0; row < N; row++) assert_in_range(dropped[row], 0, 10);
}

static void batch_order_is_a_function_of_seed_and_step(void **state)
{
    (void)state;
    int64_t a[32], b[32], c[32], d[32];
    ht_batch_order(1, 77, 60000, 32, a);
    ht_batch_order(1, 78, 60000, 32, b);
    ht_batch_order(2, 77, 60000, 32, c);
    ht_batch_order(1, 77, 60000, 32, d);
    assert_memory_equal(a, d, sizeof a);
    assert_memory_not_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a);
}

static void batch_order_of_everything_is_a_new_order_each_step(void **state)
{
    (void)state;
    int64_t a[50], b[50];
    ht_batch_order(1, 0, 50, 50, a);
    ht_batch_order(1, 1, 50, 50, b);
    assert_memory_not_equal(a, b, sizeof a);
}

/* Wrong labels. */

static ht_tensor *labels_new(ht_context *ctx, int64_t n, int classes)
{
    ht_tensor *labels = ht_tensor_new(ctx, HT_I32, HT_SHAPE(n));
    for (int64_t i = 0; i < n; i++) ht_tensor_set(labels, i, (double)(i % classes));
    return labels;
}

static void corrupt_labels_changes_exactly_the_rows_it_says(void **state)
{
    enum { N = 5001, CLASSES = 10 };
    static uint8_t flag[N];
    const double fractions[] = {0, 0.0001, 0.5, 0.9999, 1};
    const int want[] = {0, 1, 2501, 5000, 5001};
    for (int f = 0; f < 5; f++) {
        ht_tensor *labels = labels_new(*state, N, CLASSES);
        assert_int_equal(
            ht_corrupt_labels(*state, 5, fractions[f], CLASSES, labels, flag), HT_OK);
        int changed = 0, flagged = 0;
        for (int i = 0; i < N; i++) {
            double label = ht_tensor_get(labels, i);
            if (!(label >= 0 && label < CLASSES)) fail_msg("row %d: label %g", i, label);
            bool differs = label != i % CLASSES;
            changed += differs;
            flagged += flag[i];
            assert_int_equal(flag[i], differs);
        }
        assert_int_equal(changed, want[f]);
        assert_int_equal(flagged, want[f]);
        ht_tensor_free(labels);
    }
}

/* 9,000 zeros become 1 .. 9, about 1,000 each; 5 deviations of sqrt(9000 / 9 * 8 / 9). */
static void corrupt_labels_is_uniform_over_the_others(void **state)
{
    enum { N = 9000 };
    int count[10] = {0};
    ht_tensor *labels = labels_new(*state, N, 1);
    assert_int_equal(ht_corrupt_labels(*state, 5, 1, 10, labels, NULL), HT_OK);
    for (int i = 0; i < N; i++) count[(int)ht_tensor_get(labels, i)]++;
    ht_tensor_free(labels);
    assert_int_equal(count[0], 0);
    for (int c = 1; c < 10; c++) assert_in_range(count[c], 850, 1150);
}

static void corrupt_labels_again_is_the_same(void **state)
{
    uint8_t a[200], b[200], c[200];
    uint8_t *const flags[] = {a, b, c};
    ht_tensor *labels[3];
    for (int i = 0; i < 3; i++) {
        labels[i] = labels_new(*state, 200, 10);
        assert_int_equal(
            ht_corrupt_labels(*state, i == 2 ? 6 : 5, 0.5, 10, labels[i], flags[i]),
            HT_OK);
    }
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a);
    assert_memory_equal(ht_tensor_data(labels[0]), ht_tensor_data(labels[1]), 800);
    for (int i = 0; i < 3; i++) ht_tensor_free(labels[i]);
}

static void expect_corruption_refused(ht_context *ctx, double fraction, int classes,
                                      ht_tensor *labels, ht_status status,
                                      const char *part)
{
    assert_string_equal(
        ht_status_name(ht_corrupt_labels(ctx, 0, fraction, classes, labels, NULL)),
        ht_status_name(status));
    assert_contains(ht_context_message(ctx), part);
    assert_contains(ht_context_message(ctx), "\n  hint: ");
    ht_context_clear(ctx);
}

static void corrupt_labels_of_bad_arguments_touches_nothing(void **state)
{
    ht_tensor *labels = labels_new(*state, 20, 10);
    ht_tensor *bytes = ht_tensor_new(*state, HT_U8, HT_SHAPE(20));
    ht_tensor *square = ht_tensor_new(*state, HT_I32, HT_SHAPE(4, 5));
    expect_corruption_refused(*state, -0.1, 10, labels, HT_ERROR_ARGUMENT, "got -0.1");
    expect_corruption_refused(*state, 1.5, 10, labels, HT_ERROR_ARGUMENT, "got 1.5");
    expect_corruption_refused(*state, (double)NAN, 10, labels, HT_ERROR_ARGUMENT, "nan");
    expect_corruption_refused(*state, 0.5, 1, labels, HT_ERROR_ARGUMENT,
                              "2 classes or more");
    expect_corruption_refused(*state, 0.5, 9, labels, HT_ERROR_ARGUMENT,
                              "row 9: expected a label in 0..8, got 9");
    expect_corruption_refused(*state, 0.5, 10, bytes, HT_ERROR_DTYPE, "got u8");
    expect_corruption_refused(*state, 0.5, 10, square, HT_ERROR_SHAPE, "got (4, 5)");
    for (int i = 0; i < 20; i++) assert_near(ht_tensor_get(labels, i), i % 10, 0);
    ht_tensor_free(labels);
    ht_tensor_free(bytes);
    ht_tensor_free(square);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, context_new, context_free)
        CASE(split_of_everything_is_disjoint_and_complete),
        CASE(split_of_every_small_size_is_a_permutation),
        CASE(split_again_is_the_same_and_other_streams_differ),
        CASE(split_orders_are_equally_likely),
        CASE(split_asking_too_much_says_how_many_exist),
        CASE(batch_order_over_an_epoch_takes_each_row_once),
        CASE(batch_order_with_a_remainder_drops_different_rows),
        CASE(batch_order_is_a_function_of_seed_and_step),
        CASE(batch_order_of_everything_is_a_new_order_each_step),
        CASE(corrupt_labels_changes_exactly_the_rows_it_says),
        CASE(corrupt_labels_is_uniform_over_the_others),
        CASE(corrupt_labels_again_is_the_same),
        CASE(corrupt_labels_of_bad_arguments_touches_nothing),
    };
    return TEST_MAIN(tests);
}
