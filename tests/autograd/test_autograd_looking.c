/* SPDX-License-Identifier: MIT */
/* test_autograd_looking.c: what one sees of a tape: names in listings, graphs and errors.
 * Read next: autograd/tape/names.c. */
#include "test.h"

#include "ht_autograd.h"

typedef struct fixture {
    ht_context *ctx;
    ht_tape *eager, *recorded;
    ht_tensor *x, *w, *s; /* f64 (2, 3), f64 (3, 2), f64 () */
} fixture;

static int fixture_new(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->ctx = ht_context_new(&(ht_context_options){.seed = 5, .threads = 1});
    f->eager = ht_tape_new(f->ctx, HT_EAGER);
    f->recorded = ht_tape_new(f->ctx, HT_RECORD);
    f->x = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(2, 3));
    f->w = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(3, 2));
    f->s = ht_tensor_new(f->ctx, HT_F64, HT_SCALAR);
    for (int i = 0; i < 6; i++) ht_tensor_set(f->x, i, i + 1);
    ht_tensor_fill(f->w, 0.5);
    ht_tensor_fill(f->s, 2);
    *state = f;
    return 0;
}

static int fixture_free(void **state)
{
    fixture *f = *state;
    ht_tape_free(f->eager);
    ht_tape_free(f->recorded);
    ht_tensor_free(f->x);
    ht_tensor_free(f->w);
    ht_tensor_free(f->s);
    ht_context_free(f->ctx);
    free(f);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_new, fixture_free)

/* The whole of a tape's listing. */
static char *listed(const ht_tape *tape)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    ht_tape_print(tape, file);
    fclose(file);
    return text;
}

/* The line of node i in a listing, part of it. */
static void assert_line_says(const char *text, int i, const char *part)
{
    char start[16], *line = NULL;
    size_t size = 0;
    snprintf(start, sizeof start, "%%%-4d = ", i);
    const char *at = strstr(text, start);
    if (!at) fail_msg("no node %d in:\n%s", i, text);
    FILE *file = open_memstream(&line, &size);
    fprintf(file, "%.*s", (int)strcspn(at, "\n"), at);
    fclose(file);
    assert_contains(line, part);
    free(line);
}

/* Names. */

static void name_stands_in_the_listing_and_the_newer_wins(void **state)
{
    fixture *f = *state;
    for (int k = 0; k < 2; k++) {
        ht_tape *tape = k ? f->recorded : f->eager;
        char word[] = "input of the first layer";
        ht_var x = ht_name(ht_input(tape, f->x), word), y = ht_exp(x);
        memset(word, '?', sizeof word - 1);
        assert_int_equal(ht_name(y, "old").index, y.index);
        ht_name(y, "new");
        char *text = listed(tape);
        assert_line_says(text, 0, " \"input of the first layer\" ");
        assert_line_says(text, 1, " \"new\" ");
        assert_null(strstr(text, "old"));
        free(text);
    }
}

static void name_is_forgotten_with_its_node_and_by_rewind(void **state)
{
    fixture *f = *state;
    ht_var x = ht_name(ht_input(f->eager, f->x), "kept");
    ht_mark mark = ht_tape_mark(f->eager);
    ht_name(ht_exp(x), "gone");
    ht_name(x, "later");
    ht_tape_rewind(f->eager, mark);
    ht_exp(x);
    char *text = listed(f->eager);
    assert_line_says(text, 0, "\"kept\"");
    assert_null(strstr(text, "gone"));
    assert_null(strstr(text, "later"));
    free(text);
    ht_tape_reset(f->eager);
    ht_input(f->eager, f->x);
    text = listed(f->eager);
    assert_null(strstr(text, "kept"));
    free(text);
}

static void name_and_reset_in_a_loop_ask_for_no_memory(void **state)
{
    fixture *f = *state;
    uint64_t before = 0;
    for (int k = 0; k < 100; k++) {
        if (k == 2) before = ht_context_allocations(f->ctx);
        ht_name(ht_exp(ht_name(ht_input(f->eager, f->x), "x")), "e");
        ht_tape_reset(f->eager);
    }
    assert_int_equal(ht_context_allocations(f->ctx), before);
}

static void name_is_said_by_the_errors_that_speak_of_its_node(void **state)
{
    fixture *f = *state;
    ht_var x = ht_name(ht_input(f->recorded, f->x), "image");
    ht_var w = ht_name(ht_input(f->recorded, f->w), "a.weight"), y = ht_sum(x), d;
    ht_matmul(x, x);
    assert_contains(ht_context_message(f->ctx),
                    "inputs: f64 (2, 3) \"image\", f64 (2, 3) \"image\"");
    ht_context_clear(f->ctx);
    ht_grad(y, 1, &w, &d);
    assert_contains(ht_context_message(f->ctx),
                    "y does not depend on x[0] \"a.weight\" (node %1, made at ");
    ht_context_clear(f->ctx);
    assert_null(ht_value(w));
    assert_contains(ht_context_message(f->ctx), "node %1 \"a.weight\" is recorded");
    ht_context_clear(f->ctx);
    ht_var r = ht_name(ht_reshape(x, HT_SHAPE(6)), "flat");
    ht_grad_or_zero(ht_sum(ht_mul(r, ht_reshape(x, HT_SHAPE(6)))), 1, &r, &d);
    ht_var p = ht_sum(ht_reshape(r, HT_SHAPE(3, 2)));
    ht_context_clear(f->ctx);
    ht_grad(p, 1, &r, &d);
    assert_contains(ht_context_message(f->ctx), "x[0] \"flat\" (node ");
    assert_contains(ht_context_message(f->ctx), "of node %0 \"image\", which y");
    ht_context_clear(f->ctx);
    assert_null(ht_program_new(f->recorded, 1, &w, 1, &y));
    assert_contains(ht_context_message(f->ctx), "needs leaf %0 \"image\", made at ");
    ht_context_clear(f->ctx);
    ht_var n = ht_name(ht_greater(w, x), "never");
    assert_int_equal(ht_name(n, "again").index, n.index);
    assert_contains(ht_context_message(f->ctx), "(3, 2) \"a.weight\", f64 (2, 3)");
    ht_context_clear(f->ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(name_stands_in_the_listing_and_the_newer_wins),
        TEST(name_is_forgotten_with_its_node_and_by_rewind),
        TEST(name_and_reset_in_a_loop_ask_for_no_memory),
        TEST(name_is_said_by_the_errors_that_speak_of_its_node),
    };
    return TEST_MAIN(tests);
}
