/* SPDX-License-Identifier: MIT */
/* test_autograd_html.c: pages of tapes and programs, as files: what they say of nodes,
 * and what happens where they cannot be written. How they look and move in a browser is
 * tests/examples/test_viewer_browser.sh. Read next: autograd/inspect/html.c. */
#include <signal.h>
#include <sys/resource.h>

#include "test.h"

#include "engine.h"

typedef struct fixture {
    ht_context *ctx;
    ht_tape *eager, *recorded;
    ht_tensor *s, *x; /* f64 (), f32 (3, 4) */
} fixture;

static const char *const path = "test_autograd_html.html";

static int fixture_new(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->ctx = ht_context_new(&(ht_context_options){.threads = 1});
    f->eager = ht_tape_new(f->ctx, HT_EAGER);
    f->recorded = ht_tape_new(f->ctx, HT_RECORD);
    f->s = ht_tensor_new(f->ctx, HT_F64, HT_SCALAR);
    f->x = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(3, 4));
    ht_tensor_fill(f->s, 2);
    for (int k = 0; k < 12; k++) ht_tensor_set(f->x, k, k);
    *state = f;
    return 0;
}

static int fixture_free(void **state)
{
    fixture *f = *state;
    remove(path);
    ht_tape_free(f->eager);
    ht_tape_free(f->recorded);
    ht_tensor_free(f->s);
    ht_tensor_free(f->x);
    ht_context_free(f->ctx);
    free(f);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_new, fixture_free)

/* The whole file, which the caller frees; NULL: there is none. */
static char *file_text(const char *name)
{
    char *text = NULL, part[4096];
    size_t size = 0, n;
    FILE *from = fopen(name, "rb");
    if (!from) return NULL;
    FILE *to = open_memstream(&text, &size);
    while ((n = fread(part, 1, sizeof part, from)) > 0) fwrite(part, 1, n, to);
    fclose(to);
    fclose(from);
    return text;
}

/* The page's data: what the browser reads as JSON. */
static char *page_data(void)
{
    char *text = file_text(path), *data = NULL;
    size_t size = 0;
    assert_non_null(text);
    const char *from = strstr(text, "id=\"data\">");
    assert_non_null(from);
    from += strlen("id=\"data\">");
    FILE *to = open_memstream(&data, &size);
    fwrite(from, 1, (size_t)(strstr(from, "</script>") - from), to);
    fclose(to);
    free(text);
    return data;
}

static int count_of(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part)) n++;
    return n;
}

static void assert_says(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("expected %s in:\n%s", part, text);
}

/* x^2 y of x, y = 2, 2 twice differentiated by x: what the chapter has as a listing. */
static void tape_write_html_says_nodes_values_and_whose_rules_made_them(void **state)
{
    fixture *f = *state;
    ht_var x = ht_name(ht_input(f->eager, f->s), "x"), y = ht_input(f->eager, f->s), g, h;
    ht_var z = ht_mul(ht_square(x), y);
    ht_grad(z, 1, &x, &g);
    ht_grad(g, 1, &x, &h);
    assert_int_equal(ht_tape_write_html(f->eager, path), HT_OK);
    char *data = page_data();
    assert_int_equal(count_of(data, "{\"i\":["), ht_tape_nodes(f->eager));
    assert_says(data, "\"kind\":\"tape\",\"title\":\"eager tape\"");
    assert_says(data,
                "{\"i\":[],\"o\":\"input\",\"f\":\"input\",\"t\":\"f64\",\"s\":\"()\","
                "\"b\":8,\"n\":\"x\",\"l\":\"test_autograd_html.c:");
    assert_says(data, "\"o\":\"mul\",\"f\":\"%0 * %0\"");
    assert_says(data, "\"v\":[\"8\"]");
    assert_says(data, "],\"origins\":[[4,3,1,2],[5,2,1,1]"); /* d1 of %3; by %2 */
    assert_says(data, ",[7,6,2,2]");                         /* d2 of %6 */
    free(data);
}

static void tape_write_html_of_many_values_says_least_mean_and_most(void **state)
{
    fixture *f = *state;
    ht_input(f->eager, f->x);
    assert_int_equal(ht_tape_write_html(f->eager, path), HT_OK);
    char *data = page_data();
    assert_says(data, "\"t\":\"f32\",\"s\":\"(3, 4)\",\"b\":48");
    assert_says(
        data, "\"v\":[\"0\",\"1\",\"2\",\"3\",\"4\",\"5\"],\"r\":[\"0\",\"5.5\",\"11\"]");
    free(data);
}

static void tape_write_html_of_what_is_not_finite_is_text(void **state)
{
    fixture *f = *state;
    ht_tensor_fill(f->s, -1);
    ht_sqrt(ht_input(f->eager, f->s));
    assert_int_equal(ht_tape_write_html(f->eager, path), HT_OK);
    char *data = page_data();
    assert_says(data, "\"v\":[\"nan\"]");
    free(data);
}

static void tape_write_html_lets_no_name_end_its_string(void **state)
{
    fixture *f = *state;
    ht_name(ht_input(f->eager, f->s), "</script><!--\"\\\n\x7f\x01 & caf\xc3\xa9");
    assert_int_equal(ht_tape_write_html(f->eager, path), HT_OK);
    char *data = page_data();
    assert_says(
        data, "\"n\":\"\\u003c/script\\u003e\\u003c!--\\u0022\\u005c\\u000a\\u007f\\u0001"
              " \\u0026 caf\xc3\xa9\"");
    free(data);
}

static void tape_write_html_of_an_empty_tape_is_a_page(void **state)
{
    fixture *f = *state;
    assert_int_equal(ht_tape_write_html(f->recorded, path), HT_OK);
    char *data = page_data();
    assert_string_equal(data,
                        "[\n{\"kind\":\"tape\",\"title\":\"recorded tape\",\"nodes\":[],"
                        "\"origins\":[]}]\n");
    free(data);
}

static void tape_write_html_of_a_changed_input_says_who_changed_it(void **state)
{
    fixture *f = *state;
    ht_input(f->eager, f->s);
    ht_tensor_fill(f->s, 3);
    assert_int_equal(ht_tape_write_html(f->eager, path), HT_OK);
    char *data = page_data();
    assert_says(data, "\"c\":\"ht_tensor_fill\"");
    assert_int_equal(count_of(data, "\"v\":"), 0);
    free(data);
}

static void program_write_html_says_where_values_live(void **state)
{
    fixture *f = *state;
    ht_type type = {HT_F32, HT_SHAPE(32, 32)};
    ht_var x = ht_input_like(f->recorded, type);
    ht_var y = ht_matmul(ht_matmul(ht_matmul(x, x), x), x);
    ht_program *p = ht_program_new(f->recorded, 1, &x, 1, &y);
    assert_non_null(p);
    assert_int_equal(ht_program_write_html(p, path), HT_OK);
    char *data = page_data(), text[256];
    assert_int_equal(count_of(data, "{\"i\":["), 1 + ht_program_nodes(p));
    snprintf(text, sizeof text,
             "\"arena\":%zu,\"flops\":%.0f,\"calls\":3,\"instructions\":3",
             ht_program_bytes(p), ht_program_flops(p));
    assert_says(data, text);
    assert_says(data, "\"p\":\"in\"");
    assert_says(data, "\"p\":\"arena\",\"x\":1,\"a\":[0,4096,1,2]");
    assert_says(data, "\"p\":\"arena\",\"x\":2,\"a\":[4096,4096,2,3]");
    assert_says(data, "\"p\":\"out\"");
    free(data);
    ht_program_free(p);
}

/* What the page says of rules, it says of every row there is. */
static void page_has_a_rule_in_words_for_every_op(void **state)
{
    fixture *f = *state;
    assert_int_equal(ht_tape_write_html(f->eager, path), HT_OK);
    char *text = file_text(path), wanted[80];
    for (int i = 0; ht_op_at(i); i++) {
        snprintf(wanted, sizeof wanted, "\n    %s: ['", ht_op_at(i)->name);
        if (!strstr(text, wanted))
            fail_msg("rules.js does not say %s", ht_op_at(i)->name);
    }
    free(text);
}

static void assert_unwritable(fixture *f, ht_status status)
{
    assert_int_equal(status, HT_ERROR_FILE);
    const char *message = ht_context_message(f->ctx);
    assert_says(message, "nowhere/page.html");
    assert_says(message, "hint: does the folder exist? mkdir -p makes it");
    ht_context_clear(f->ctx);
}

static void pages_that_cannot_be_written_are_errors_with_a_hint(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input_like(f->recorded, (ht_type){HT_F32, HT_SHAPE(2)}), y = ht_exp(x);
    ht_program *p = ht_program_new(f->recorded, 1, &x, 1, &y);
    assert_unwritable(f, ht_tape_write_html(f->eager, "nowhere/page.html"));
    assert_unwritable(f, ht_program_write_html(p, "nowhere/page.html"));
    ht_program_free(p);
}

/* A page comes to be under another name: where it fails, the old one is what it was. */
static void tape_write_html_replaces_a_page_whole_or_not_at_all(void **state)
{
    fixture *f = *state;
    assert_int_equal(ht_tape_write_html(f->eager, path), HT_OK);
    char *before = file_text(path);
    struct rlimit limit, small;
    getrlimit(RLIMIT_FSIZE, &limit);
    small = limit;
    small.rlim_cur = 100;
    signal(SIGXFSZ, SIG_IGN);
    ht_input(f->eager, f->s);
    setrlimit(RLIMIT_FSIZE, &small);
    ht_status status = ht_tape_write_html(f->eager, path);
    setrlimit(RLIMIT_FSIZE, &limit);
    assert_int_equal(status, HT_ERROR_FILE);
    ht_context_clear(f->ctx);
    char *after = file_text(path);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(tape_write_html_says_nodes_values_and_whose_rules_made_them),
        TEST(tape_write_html_of_many_values_says_least_mean_and_most),
        TEST(tape_write_html_of_what_is_not_finite_is_text),
        TEST(tape_write_html_lets_no_name_end_its_string),
        TEST(tape_write_html_of_an_empty_tape_is_a_page),
        TEST(tape_write_html_of_a_changed_input_says_who_changed_it),
        TEST(program_write_html_says_where_values_live),
        TEST(page_has_a_rule_in_words_for_every_op),
        TEST(pages_that_cannot_be_written_are_errors_with_a_hint),
        TEST(tape_write_html_replaces_a_page_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
