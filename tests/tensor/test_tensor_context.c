/* SPDX-License-Identifier: MIT */
/* test_tensor_context.c: contexts and their accounts, shapes, and tensors as owned
 * arrays. Read next: tensor/context.c, tensor/array.c, tensor/tensor.c. */
#include "child.h"

#include "kernels.h"

/* An allocator that knows every block it gave: sizes handed back must be the ones asked.
 */
typedef struct ledger {
    size_t live;
    int calls, fail_at; /* the call that gives nothing; 0: none */
    int errors;         /* times on_error was called */
} ledger;

static void *ledger_alloc(void *user, void *old, size_t old_size, size_t new_size)
{
    ledger *book = user;
    size_t *block = old ? (size_t *)old - 2 : NULL;
    if (block) assert_int_equal(*block, old_size);
    if (new_size == 0) {
        book->live -= old_size;
        free(block);
        return NULL;
    }
    if (++book->calls == book->fail_at) return NULL;
    block = realloc(block, new_size + 2 * sizeof(size_t));
    assert_non_null(block);
    book->live += new_size - old_size;
    *block = new_size;
    return block + 2;
}

static void ledger_error(ht_context *ctx, void *user)
{
    ledger *book = user;
    assert_int_not_equal(ht_context_status(ctx), HT_OK);
    book->errors++;
}

static void context_new_accounts_for_itself(void **state)
{
    (void)state;
    ledger book = {0};
    ht_context *ctx = ht_context_new(&(ht_context_options){
        .alloc = ledger_alloc, .user = &book, .seed = 7, .threads = 3});
    assert_non_null(ctx);
    assert_int_equal(ht_context_live_bytes(ctx), book.live);
    assert_int_equal(ht_context_live_bytes(ctx), ctx->size);
    assert_int_equal(ht_context_allocations(ctx), 1);
    assert_int_equal(ht_context_seed(ctx), 7);
    assert_int_equal(ht_context_threads(ctx), 3);
    const char *name = ctx->kernels->name;
    for (int i = HTI_BASELINE; hti_context_use(ctx, i);) i++;
    assert_ptr_equal(name, ctx->kernels->name);
    assert_string_equal(ht_context_message(ctx), "");
    ht_check(ctx);
    ht_context_free(ctx);
    assert_int_equal(book.live, 0);
}

/* How many: test_tensor_threads.c. */
static void context_new_without_options_uses_cores_there_are(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    assert_non_null(ctx);
    assert_in_range(ht_context_threads(ctx), 1, sysconf(_SC_NPROCESSORS_ONLN));
    assert_int_equal(ht_context_seed(ctx), 0);
    ht_context_free(ctx);
    ht_context_free(NULL);
}

static void context_new_without_memory_returns_null(void **state)
{
    (void)state;
    ledger book = {.fail_at = 1};
    ht_context_options options = {
        .alloc = ledger_alloc, .on_error = ledger_error, .user = &book};
    assert_null(ht_context_new(&options));
    options.byte_limit = sizeof(ht_context) + sizeof(struct hti_kernels) - 1;
    assert_null(ht_context_new(&options));
    assert_int_equal(book.errors, 0);
    assert_int_equal(book.calls, 1);
}

static void context_fail_twice_keeps_first(void **state)
{
    (void)state;
    ledger book = {0};
    ht_context *ctx =
        ht_context_new(&(ht_context_options){.on_error = ledger_error, .user = &book});
    ht_status status = ht_context_fail(ctx, HT_ERROR_SHAPE, "model.c:12", "got %d", 3);
    assert_int_equal(status, HT_ERROR_SHAPE);
    assert_int_equal(ht_context_fail(ctx, HT_ERROR_FILE, NULL, "later"), HT_ERROR_FILE);
    assert_int_equal(ht_context_status(ctx), HT_ERROR_SHAPE);
    assert_string_equal(ht_context_message(ctx), "got 3\n  at model.c:12");
    assert_int_equal(book.errors, 1);
    ht_context_clear(ctx);
    assert_int_equal(ht_context_status(ctx), HT_OK);
    assert_string_equal(ht_context_message(ctx), "");
    ht_context_fail(ctx, HT_ERROR_FILE, NULL, "second");
    assert_string_equal(ht_context_message(ctx), "second");
    assert_int_equal(book.errors, 2);
    ht_context_free(ctx);
}

static void context_fail_long_message_keeps_site(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_context_fail(ctx, HT_ERROR_SHAPE, "model.c:12", "%02000d", 5);
    const char *message = ht_context_message(ctx);
    assert_int_equal(strlen(message), HTI_MESSAGE - 1);
    assert_string_equal(message + strlen(message) - 16, "\n  at model.c:12");
    ht_context_free(ctx);
}

static void status_name_every_status_is_its_constant(void **state)
{
    (void)state;
    assert_string_equal(ht_status_name(HT_OK), "HT_OK");
    assert_string_equal(ht_status_name(HT_ERROR_ARGUMENT), "HT_ERROR_ARGUMENT");
    assert_string_equal(ht_status_name(HT_ERROR_SHAPE), "HT_ERROR_SHAPE");
    assert_string_equal(ht_status_name(HT_ERROR_DTYPE), "HT_ERROR_DTYPE");
    assert_string_equal(ht_status_name(HT_ERROR_MEMORY), "HT_ERROR_MEMORY");
    assert_string_equal(ht_status_name(HT_ERROR_FILE), "HT_ERROR_FILE");
    assert_string_equal(ht_status_name(HT_ERROR_FORMAT), "HT_ERROR_FORMAT");
    assert_string_equal(ht_status_name(HT_ERROR_NO_GRADIENT), "HT_ERROR_NO_GRADIENT");
    assert_string_equal(ht_status_name((ht_status)99), "unknown ht_status");
}

static void child_check_error(void *none)
{
    (void)none;
    ht_context *ctx = ht_context_new(NULL);
    ht_context_fail(ctx, HT_ERROR_DTYPE, NULL, "no i32 here");
    ht_check(ctx);
}

static void check_after_error_prints_and_exits_1(void **state)
{
    (void)state;
    char text[4096];
    int status = test_child(child_check_error, NULL, STDERR_FILENO, text, sizeof text);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_string_equal(text, "hypertape: HT_ERROR_DTYPE: no i32 here\n");
}

static void child_fails_under_handler(void *none)
{
    (void)none;
    ht_context *ctx =
        ht_context_new(&(ht_context_options){.on_error = ht_print_and_exit});
    ht_context_fail(ctx, HT_ERROR_DTYPE, NULL, "no i32 here");
    fputs("went on\n", stderr);
}

static void print_and_exit_as_on_error_ends_where_it_happens(void **state)
{
    (void)state;
    char text[4096];
    int status =
        test_child(child_fails_under_handler, NULL, STDERR_FILENO, text, sizeof text);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_string_equal(text, "hypertape: HT_ERROR_DTYPE: no i32 here\n");
}

/* Of two contexts one fails; what follows goes wrong on neither of them. */
static void child_forgets_the_check(void *cleared)
{
    ht_context *ctx = ht_context_new(NULL), *other = ht_context_new(NULL);
    ht_context_fail(ctx, HT_ERROR_ARGUMENT, "model.c:7", "no tensor \"wait\"");
    ht_context_clear(other);
    if (cleared) ht_context_clear(ctx);
    ht_tensor_count(NULL);
}

static void assertion_after_a_forgotten_check_says_the_error_first(void **state)
{
    (void)state;
    char text[4096], none;
    const char *want = "hypertape: an earlier error that nobody looked at (ht_check): "
                       "HT_ERROR_ARGUMENT: no tensor "
                       "\"wait\"\n  at model.c:7\n";
    int status =
        test_child(child_forgets_the_check, NULL, STDERR_FILENO, text, sizeof text);
    assert_true(WIFSIGNALED(status));
    if (strncmp(text, want, strlen(want)) != 0) fail_msg("%s", text);
    assert_contains(text, "ht_tensor_count: the tensor is NULL");
    test_child(child_forgets_the_check, &none, STDERR_FILENO, text, sizeof text);
    assert_null(strstr(text, "wait"));
    assert_contains(text, "ht_tensor_count: the tensor is NULL");
}

/* Ends with the context, or with the program. */
static void child_checks_nothing(void *frees)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_context_fail(ctx, HT_ERROR_FILE, "main.c:9", "no file \"w\"");
    if (*(int *)frees == 2) ht_context_message(ctx);
    if (*(int *)frees) ht_context_free(ctx);
    exit(0);
}

static void error_nobody_looked_at_is_said_once_at_the_end(void **state)
{
    (void)state;
    char text[4096];
    for (int frees = 0; frees < 3; frees++) {
        int status =
            test_child(child_checks_nothing, &frees, STDERR_FILENO, text, sizeof text);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        assert_string_equal(text, frees == 2 ? ""
                                             : "hypertape: an earlier error that nobody "
                                               "looked at (ht_check): HT_ERROR_FILE: no "
                                               "file \"w\"\n  at main.c:9\n");
    }
}

static void child_negative_threads(void *none)
{
    (void)none;
    ht_context_new(&(ht_context_options){.threads = -2});
}

static void child_free_too_early(void *none)
{
    (void)none;
    ht_context *ctx = ht_context_new(NULL);
    ht_tensor_new(ctx, HT_U8, HT_SHAPE(3));
    ht_context_free(ctx);
}

static void context_misuse_aborts_with_values(void **state)
{
    (void)state;
    test_aborts(child_negative_threads, NULL, "threads is -2, expected >= 0");
    test_aborts(child_free_too_early, NULL,
                "bytes made on this context are not freed yet");
}

static void resize_grow_and_shrink_counts_live_and_peak(void **state)
{
    (void)state;
    ledger book = {0};
    ht_context *ctx =
        ht_context_new(&(ht_context_options){.alloc = ledger_alloc, .user = &book});
    size_t base = ht_context_live_bytes(ctx);
    char *block = hti_resize(ctx, NULL, 0, 100);
    memset(block, 'x', 100);
    block = hti_resize(ctx, block, 100, 1000);
    assert_int_equal(block[99], 'x');
    block = hti_resize(ctx, block, 1000, 10);
    assert_int_equal(ht_context_live_bytes(ctx), base + 10);
    assert_int_equal(ht_context_live_bytes(ctx), book.live);
    assert_int_equal(ht_context_peak_bytes(ctx), base + 1000);
    ht_context_reset_peak(ctx);
    assert_int_equal(ht_context_peak_bytes(ctx), base + 10);
    assert_int_equal(ht_context_allocations(ctx), 4);
    assert_null(hti_resize(ctx, block, 10, 0));
    assert_null(hti_resize(ctx, NULL, 0, 0));
    assert_int_equal(ht_context_live_bytes(ctx), base);
    assert_int_equal(ht_context_status(ctx), HT_OK);
    ht_context_free(ctx);
}

static void resize_over_limit_fails_with_figures(void **state)
{
    (void)state;
    ht_context *first = ht_context_new(NULL);
    size_t base = ht_context_live_bytes(first);
    ht_context_free(first);
    ht_context *ctx = ht_context_new(&(ht_context_options){.byte_limit = base + 1000});
    char *block = hti_resize(ctx, NULL, 0, 1000);
    assert_non_null(block);
    assert_null(hti_resize(ctx, block, 1000, 1001));
    char want[200];
    snprintf(want, sizeof want, "1001 bytes asked, %zu live, over the limit of %zu",
             base + 1000, base + 1000);
    assert_int_equal(ht_context_status(ctx), HT_ERROR_MEMORY);
    assert_contains(ht_context_message(ctx), want);
    assert_contains(ht_context_message(ctx), "hint: ");
    memset(block, 1, 1000);
    ht_context_clear(ctx);
    assert_null(hti_resize(ctx, NULL, 0, SIZE_MAX));
    assert_int_equal(ht_context_status(ctx), HT_ERROR_MEMORY);
    assert_int_equal(ht_context_live_bytes(ctx), base + 1000);
    hti_resize(ctx, block, 1000, 0);
    ht_context_free(ctx);
}

static void zalloc_overflow_fails_otherwise_zeros(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    unsigned char *block = hti_zalloc(ctx, 33, 3);
    for (int i = 0; i < 99; i++) assert_int_equal(block[i], 0);
    hti_resize(ctx, block, 99, 0);
    assert_null(hti_zalloc(ctx, SIZE_MAX / 2, 4));
    assert_int_equal(ht_context_status(ctx), HT_ERROR_MEMORY);
    assert_contains(ht_context_message(ctx), "items of 4 bytes");
    ht_context_free(ctx);
}

static void shape_count_checks_rank_sign_and_overflow(void **state)
{
    (void)state;
    int64_t big = INT64_C(1) << 32;
    assert_int_equal(ht_shape_count(HT_SCALAR), 1);
    assert_int_equal(ht_shape_count(HT_SHAPE(64, 784)), 50176);
    assert_int_equal(ht_shape_count(HT_SHAPE(64, 0, 3)), 0);
    assert_int_equal(ht_shape_count(HT_SHAPE(2, -1)), -1);
    assert_int_equal(ht_shape_count((ht_shape){.rank = 7}), -1);
    assert_int_equal(ht_shape_count((ht_shape){.rank = -1}), -1);
    assert_int_equal(ht_shape_count(HT_SHAPE(big, big)), -1);
    assert_int_equal(ht_shape_count(HT_SHAPE(0, big, big)), -1);
    assert_int_equal(ht_shape_count(HT_SHAPE(INT64_MAX, 1)), INT64_MAX);
    assert_true(hti_bytes(HT_U8, HT_SHAPE(INT64_MAX)) == (size_t)INT64_MAX);
    assert_true(hti_bytes(HT_F32, HT_SHAPE(INT64_MAX)) == SIZE_MAX);
    assert_true(hti_bytes((ht_dtype)9, HT_SCALAR) == SIZE_MAX);
    assert_int_equal(hti_bytes(HT_F64, HT_SHAPE(3, 5)), 120);
}

static void shape_text_every_rank_fits(void **state)
{
    (void)state;
    char text[HT_SHAPE_TEXT];
    int64_t low = INT64_MIN;
    assert_string_equal(ht_shape_text(HT_SCALAR, text), "()");
    assert_string_equal(ht_shape_text(HT_SHAPE(7), text), "(7)");
    assert_string_equal(ht_shape_text(HT_SHAPE(64, 784), text), "(64, 784)");
    assert_string_equal(ht_shape_text((ht_shape){.rank = 9}, text), "(rank 9)");
    assert_int_equal(strlen(ht_shape_text(HT_SHAPE(low, low, low, low, low, low), text)),
                     132);
}

static void shape_equal_compares_rank_and_live_axes(void **state)
{
    (void)state;
    ht_shape a = HT_SHAPE(2, 3), b = HT_SHAPE(2, 3);
    b.dim[5] = 9;
    assert_true(ht_shape_equal(a, b));
    assert_false(ht_shape_equal(a, HT_SHAPE(3, 2)));
    assert_false(ht_shape_equal(a, HT_SHAPE(2, 3, 1)));
}

static void dtype_each_has_name_size_and_kind(void **state)
{
    (void)state;
    const struct {
        ht_dtype dtype;
        const char *name;
        size_t bytes;
        bool is_float, is_valid;
    } rows[] = {{HT_F32, "f32", 4, true, true},
                {HT_F64, "f64", 8, true, true},
                {HT_I32, "i32", 4, false, true},
                {HT_U8, "u8", 1, false, true},
                {(ht_dtype)0, "unknown dtype", 0, false, false},
                {(ht_dtype)5, "unknown dtype", 0, false, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_string_equal(ht_dtype_name(rows[i].dtype), rows[i].name);
        assert_int_equal(ht_dtype_bytes(rows[i].dtype), rows[i].bytes);
        assert_int_equal(hti_dtype_is_float(rows[i].dtype), rows[i].is_float);
        assert_int_equal(hti_dtype_is_valid(rows[i].dtype), rows[i].is_valid);
    }
}

static void contiguous_strides_are_row_major(void **state)
{
    (void)state;
    ht_array a = hti_contiguous(NULL, HT_F32, HT_SHAPE(4, 3, 5));
    assert_int_equal(a.stride[0], 15);
    assert_int_equal(a.stride[1], 5);
    assert_int_equal(a.stride[2], 1);
    assert_true(hti_is_contiguous(&a));
    a.stride[0] = 16;
    assert_false(hti_is_contiguous(&a));
    a.shape.dim[0] = 1;
    assert_true(hti_is_contiguous(&a));
    a.shape.dim[2] = 0;
    a.stride[1] = 77;
    assert_true(hti_is_contiguous(&a));
}

static void broadcast_shapes_follow_numpy(void **state)
{
    (void)state;
    const struct {
        ht_shape a, b, want;
        bool fits;
    } rows[] = {
        {HT_SHAPE(4, 1), HT_SHAPE(3), HT_SHAPE(4, 3), true},
        {HT_SCALAR, HT_SHAPE(2, 5), HT_SHAPE(2, 5), true},
        {HT_SHAPE(0), HT_SHAPE(1), HT_SHAPE(0), true},
        {HT_SHAPE(8, 1, 6, 1), HT_SHAPE(7, 1, 5), HT_SHAPE(8, 7, 6, 5), true},
        {HT_SHAPE(3), HT_SHAPE(4), HT_SCALAR, false},
        {HT_SHAPE(0), HT_SHAPE(2), HT_SCALAR, false},
        {HT_SHAPE(2, 3), HT_SHAPE(2), HT_SCALAR, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int swapped = 0; swapped < 2; swapped++) {
            ht_shape out, a = rows[i].a, b = rows[i].b;
            bool fits = swapped ? hti_broadcast_shapes(b, a, &out)
                                : hti_broadcast_shapes(a, b, &out);
            char got[HT_SHAPE_TEXT], want[HT_SHAPE_TEXT];
            assert_int_equal(fits, rows[i].fits);
            if (fits)
                assert_string_equal(ht_shape_text(out, got),
                                    ht_shape_text(rows[i].want, want));
        }
}

static void child_broadcast_misfit(void *none)
{
    (void)none;
    ht_array a = hti_contiguous(NULL, HT_F32, HT_SHAPE(3));
    hti_broadcast_array(a, HT_SHAPE(2, 4));
}

static void broadcast_array_repeats_with_stride_0(void **state)
{
    (void)state;
    ht_array a = hti_contiguous(NULL, HT_F32, HT_SHAPE(4, 1));
    ht_array seen = hti_broadcast_array(a, HT_SHAPE(2, 4, 3));
    assert_int_equal(seen.stride[0], 0);
    assert_int_equal(seen.stride[1], 1);
    assert_int_equal(seen.stride[2], 0);
    assert_int_equal(seen.shape.rank, 3);
    test_aborts(child_broadcast_misfit, NULL, "(3) does not broadcast to (2, 4)");
}

static void tensor_new_is_zero_aligned_and_freed_whole(void **state)
{
    (void)state;
    const ht_dtype dtypes[] = {HT_F32, HT_F64, HT_I32, HT_U8};
    ledger book = {0};
    ht_context *ctx =
        ht_context_new(&(ht_context_options){.alloc = ledger_alloc, .user = &book});
    for (int i = 0; i < 4; i++) {
        int calls = book.calls;
        ht_tensor *x = ht_tensor_new(ctx, dtypes[i], HT_SHAPE(5, 3));
        assert_int_equal(book.calls, calls + 2); /* the data, and the struct */
        assert_int_equal((uintptr_t)ht_tensor_data(x) % HTI_ALIGN, 0);
        assert_int_equal(ht_tensor_count(x), 15);
        assert_int_equal(ht_tensor_bytes(x), 15 * ht_dtype_bytes(dtypes[i]));
        assert_int_equal(ht_tensor_dtype(x), dtypes[i]);
        assert_true(ht_shape_equal(ht_tensor_shape(x), HT_SHAPE(5, 3)));
        assert_ptr_equal(ht_tensor_context(x), ctx);
        for (int64_t j = 0; j < 15; j++) assert_near(ht_tensor_get(x, j), 0, 0);
        ht_tensor_set(x, 14, 9);
        assert_near(ht_tensor_get(x, 14), 9, 0);
        ht_tensor_free(x);
    }
    ht_tensor *empty = ht_tensor_new(ctx, HT_F32, HT_SHAPE(0, 3));
    assert_non_null(ht_tensor_data(empty));
    assert_int_equal(ht_tensor_bytes(empty), 0);
    ht_tensor_free(empty);
    ht_tensor_free(NULL);
    ht_context_free(ctx);
    assert_int_equal(book.live, 0);
}

static void assert_refused(ht_context *ctx, const ht_tensor *x, ht_status status,
                           const char *message)
{
    assert_null(x);
    assert_string_equal(ht_status_name(ht_context_status(ctx)), ht_status_name(status));
    assert_contains(ht_context_message(ctx), message);
    ht_context_clear(ctx);
}

static void tensor_new_bad_arguments_are_refused(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    int64_t big = INT64_C(1) << 40;
    float data[4] = {0};
    assert_refused(ctx, ht_tensor_new(ctx, (ht_dtype)0, HT_SHAPE(2)), HT_ERROR_DTYPE,
                   "dtype 0, expected HT_F32");
    assert_refused(ctx, ht_tensor_new(ctx, HT_F32, HT_SHAPE(2, -3)), HT_ERROR_SHAPE,
                   "f32 (2, -3) is no shape");
    assert_refused(ctx, ht_tensor_new(ctx, HT_F32, HT_SHAPE(big, big)), HT_ERROR_SHAPE,
                   "(1099511627776, 1099511627776)");
    assert_refused(ctx, ht_tensor_wrap(ctx, HT_F32, HT_SHAPE(-4), data), HT_ERROR_SHAPE,
                   "ht_tensor_wrap");
    assert_refused(ctx, ht_tensor_new(ctx, HT_U8, HT_SHAPE(INT64_MAX)), HT_ERROR_MEMORY,
                   "memory");
    ht_context_free(ctx);
}

static void tensor_new_no_memory_keeps_error(void **state)
{
    (void)state;
    ledger book = {.fail_at = 2};
    ht_context *ctx = ht_context_new(&(ht_context_options){
        .alloc = ledger_alloc, .on_error = ledger_error, .user = &book});
    assert_refused(ctx, ht_tensor_new(ctx, HT_F32, HT_SHAPE(1000)), HT_ERROR_MEMORY,
                   "the allocator gave none");
    assert_int_equal(book.errors, 1);
    assert_int_equal(ht_context_live_bytes(ctx), book.live);
    ht_context_free(ctx);
    assert_int_equal(book.live, 0);
}

static void tensor_wrap_reads_and_writes_the_callers_memory(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    int32_t data[3] = {1, -2, INT32_MAX};
    ht_tensor *x = ht_tensor_wrap(ctx, HT_I32, HT_SHAPE(3), data);
    assert_ptr_equal(ht_tensor_data(x), data);
    assert_near(ht_tensor_get(x, 2), INT32_MAX, 0);
    ht_tensor_set(x, 0, -7.6);
    assert_int_equal(data[0], -8);
    assert_int_equal(ht_tensor_array(x).stride[0], 1);
    ht_tensor_free(x);
    assert_int_equal(data[1], -2);
    ht_context_free(ctx);
}

static void tensor_fill_and_copy_convert(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tensor *from = ht_tensor_new(ctx, HT_F64, HT_SHAPE(2, 3));
    ht_tensor *to = ht_tensor_new(ctx, HT_I32, HT_SHAPE(2, 3));
    ht_tensor *other = ht_tensor_new(ctx, HT_I32, HT_SHAPE(3, 2));
    ht_tensor_fill(from, -2.75);
    ht_tensor_set(from, 5, 3.5);
    assert_int_equal(ht_tensor_copy(to, from), HT_OK);
    assert_near(ht_tensor_get(to, 0), -2, 0);
    assert_near(ht_tensor_get(to, 5), 3, 0);
    assert_int_equal(ht_tensor_copy(from, from), HT_OK);
    assert_near(ht_tensor_get(from, 0), -2.75, 0);
    assert_int_equal(ht_tensor_copy(other, from), HT_ERROR_SHAPE);
    assert_contains(ht_context_message(ctx),
                    "expected a (3, 2) tensor to copy, got (2, 3)");
    ht_tensor_free(from);
    ht_tensor_free(to);
    ht_tensor_free(other);
    ht_context_free(ctx);
}

static ht_tensor *child_tensor(int borrows)
{
    ht_tensor *x = ht_tensor_new(ht_context_new(NULL), HT_U8, HT_SHAPE(64, 784));
    x->borrows = borrows;
    return x;
}

static void child_free_borrowed(void *none)
{
    (void)none;
    ht_tensor_free(child_tensor(1));
}

static void child_get_outside(void *none)
{
    (void)none;
    ht_tensor_get(child_tensor(0), 64 * 784);
}

static void tensor_misuse_aborts_with_values(void **state)
{
    (void)state;
    test_aborts(child_free_borrowed, NULL,
                "ht_tensor_free: a live tape still borrows this tensor, u8 (64, 784): "
                "reset or free the tape first");
    test_aborts(child_get_outside, NULL, "element 50176 of 50176");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(context_new_accounts_for_itself),
        cmocka_unit_test(context_new_without_options_uses_cores_there_are),
        cmocka_unit_test(context_new_without_memory_returns_null),
        cmocka_unit_test(context_fail_twice_keeps_first),
        cmocka_unit_test(context_fail_long_message_keeps_site),
        cmocka_unit_test(status_name_every_status_is_its_constant),
        cmocka_unit_test(check_after_error_prints_and_exits_1),
        cmocka_unit_test(print_and_exit_as_on_error_ends_where_it_happens),
        cmocka_unit_test(assertion_after_a_forgotten_check_says_the_error_first),
        cmocka_unit_test(error_nobody_looked_at_is_said_once_at_the_end),
        cmocka_unit_test(context_misuse_aborts_with_values),
        cmocka_unit_test(resize_grow_and_shrink_counts_live_and_peak),
        cmocka_unit_test(resize_over_limit_fails_with_figures),
        cmocka_unit_test(zalloc_overflow_fails_otherwise_zeros),
        cmocka_unit_test(shape_count_checks_rank_sign_and_overflow),
        cmocka_unit_test(shape_text_every_rank_fits),
        cmocka_unit_test(shape_equal_compares_rank_and_live_axes),
        cmocka_unit_test(dtype_each_has_name_size_and_kind),
        cmocka_unit_test(contiguous_strides_are_row_major),
        cmocka_unit_test(broadcast_shapes_follow_numpy),
        cmocka_unit_test(broadcast_array_repeats_with_stride_0),
        cmocka_unit_test(tensor_new_is_zero_aligned_and_freed_whole),
        cmocka_unit_test(tensor_new_bad_arguments_are_refused),
        cmocka_unit_test(tensor_new_no_memory_keeps_error),
        cmocka_unit_test(tensor_wrap_reads_and_writes_the_callers_memory),
        cmocka_unit_test(tensor_fill_and_copy_convert),
        cmocka_unit_test(tensor_misuse_aborts_with_values),
    };
    return TEST_MAIN(tests);
}
