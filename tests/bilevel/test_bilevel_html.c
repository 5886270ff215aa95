/* SPDX-License-Identifier: MIT */
/* test_bilevel_html.c: a bilevel run as a page: its actions obeyed with step numbers for
 * states, against what the run says it did, for every schedule and method; and what is
 * left where there is no memory. Read next: bilevel/unroll/strip.c. */
#include "test_bilevel.h"

#include "unroll/checkpoints.h"

static const char *const path = "test_bilevel_html.html";
enum { STEPS = 20 };

static ht_var inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    (void)batch, (void)user;
    return ht_sum(ht_square(ht_sub(ht_get(theta, "w"), ht_get(eta, "target"))));
}

static ht_var outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    (void)eta, (void)batch, (void)user;
    return ht_sum(ht_square(ht_get(theta, "w")));
}

typedef struct world {
    counted memory;
    ht_context *ctx;
    ht_bilevel_problem problem;
} world;

static int world_new(void **state)
{
    world *w = calloc(1, sizeof *w);
    w->ctx = counted_context(&w->memory, 1);
    w->problem = (ht_bilevel_problem){.inner = inner,
                                      .outer = outer,
                                      .theta = ht_set_new(w->ctx),
                                      .eta = ht_set_new(w->ctx),
                                      .update = HT_MOMENTUM(0.05, 0.5),
                                      .steps = STEPS};
    ht_tensor_fill(ht_set_add(w->problem.theta, "w", HT_F64, HT_SHAPE(3)), 1);
    ht_tensor_fill(ht_set_add(w->problem.eta, "target", HT_F64, HT_SHAPE(3)), 2);
    *state = w;
    return 0;
}

static int world_free(void **state)
{
    world *w = *state;
    remove(path);
    ht_set_free(w->problem.theta);
    ht_set_free(w->problem.eta);
    ht_context_free(w->ctx);
    assert_int_equal(w->memory.live, 0);
    free(w);
    return 0;
}

/* The page, which the caller frees; NULL: there is none. */
static char *page_text(void)
{
    char *text = NULL, part[4096];
    size_t size = 0, n;
    FILE *from = fopen(path, "rb");
    if (!from) return NULL;
    FILE *to = open_memstream(&text, &size);
    while ((n = fread(part, 1, sizeof part, from)) > 0) fwrite(part, 1, n, to);
    fclose(to);
    fclose(from);
    return text;
}

/* What the actions on a page come to. */
typedef struct tally {
    int64_t forward, reverse, outer, held, most;
} tally;

static tally page_tally(void)
{
    tally t = {0};
    char *text = page_text();
    assert_non_null(text);
    const char *at = strstr(text, "\"actions\":[");
    assert_non_null(at);
    at += strlen("\"actions\":[");
    for (int kind, read; *at == '[' || *at == ','; at += read) {
        long long step, to, slot;
        at += *at == ',';
        assert_int_equal(
            sscanf(at, "[%d,%lld,%lld,%lld]%n", &kind, &step, &to, &slot, &read), 4);
        t.forward += kind == HTI_ADVANCE ? to - step : 0;
        t.reverse += kind == HTI_REVERSE;
        t.outer += kind == HTI_OUTER;
        t.held += kind == HTI_SAVE ? 1 : kind == HTI_DROP ? -1 : 0;
        t.most = t.held > t.most ? t.held : t.most;
    }
    assert_int_equal(*at, ']');
    free(text);
    return t;
}

static void bilevel_write_html_has_the_steps_the_run_made(void **state)
{
    world *w = *state;
    static const struct {
        ht_bilevel_options options;
        int64_t most; /* states kept; -1: not said */
    } each[] = {
        {{.method = HT_REVERSE, .schedule = HT_STORE_ALL}, STEPS},
        {{.method = HT_REVERSE, .schedule = HT_TWO_LEVEL}, -1},
        {{.method = HT_REVERSE, .schedule = HT_REVOLVE, .slots = 3}, 3},
        {{.method = HT_REVERSE, .schedule = HT_REVOLVE, .slots = 1}, 1},
        {{.method = HT_TRUNCATED, .truncate = 7}, 7},
        {{.method = HT_ONE_STEP}, 1},
    };
    for (int k = 0; k < (int)(sizeof each / sizeof *each); k++) {
        ht_bilevel *b = ht_bilevel_new(w->ctx, &w->problem, &each[k].options);
        assert_non_null(b);
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        assert_int_equal(ht_bilevel_write_html(b, path), HT_OK);
        tally t = page_tally();
        assert_int_equal(t.forward, r.forward_steps);
        assert_int_equal(t.reverse, r.reverse_steps);
        assert_int_equal(t.outer, 1);
        assert_int_equal(t.held, 0);
        if (each[k].most >= 0) assert_int_equal(t.most, each[k].most);
        ht_bilevel_free(b);
    }
}

static void bilevel_write_html_of_methods_without_states_keeps_none(void **state)
{
    world *w = *state;
    static const struct {
        ht_method method;
        int64_t reverse;
    } each[] = {{HT_FORWARD, 0}, {HT_IMPLICIT, 0}, {HT_REVERSIBLE, STEPS}};
    for (int k = 0; k < 3; k++) {
        ht_bilevel *b = ht_bilevel_new(w->ctx, &w->problem,
                                       &(ht_bilevel_options){.method = each[k].method});
        assert_non_null(b);
        assert_int_equal(ht_bilevel_write_html(b, path), HT_OK);
        tally t = page_tally();
        assert_int_equal(t.forward, STEPS);
        assert_int_equal(t.reverse, each[k].reverse);
        assert_int_equal(t.outer, 1);
        assert_int_equal(t.most, 0);
        ht_bilevel_free(b);
    }
}

static void bilevel_write_html_has_the_programs_ht_bilevel_print_lists(void **state)
{
    world *w = *state;
    char *list = NULL;
    size_t size = 0;
    ht_bilevel *b = ht_bilevel_new(w->ctx, &w->problem, NULL);
    FILE *file = open_memstream(&list, &size);
    ht_bilevel_print(b, file);
    fclose(file);
    assert_int_equal(ht_bilevel_write_html(b, path), HT_OK);
    char *text = page_text(), title[256], wanted[300];
    int n = 0, read = 0;
    for (const char *at = list; (at = strstr(at, "--- ")); at += read) {
        if (sscanf(at, "--- %255[^\n]%n", title, &read) != 1) break;
        if (strstr(title, " blocks of ")) continue;
        snprintf(wanted, sizeof wanted, "\"kind\":\"program\",\"title\":\"%s\"", title);
        if (!strstr(text, wanted)) fail_msg("no %s", wanted);
        n++;
    }
    assert_true(n >= 4);
    assert_non_null(strstr(text, "\"left\":[]"));
    free(list);
    free(text);
    ht_bilevel_free(b);
}

/* A page does not change what a run gives, and takes nothing that it does not give back.
 */
static void bilevel_write_html_leaves_the_bilevel_as_it_was(void **state)
{
    world *w = *state;
    ht_bilevel *b = ht_bilevel_new(
        w->ctx, &w->problem,
        &(ht_bilevel_options){.schedule = HT_REVOLVE, .slots = 2, .method = HT_REVERSE});
    double before = ht_bilevel_run(b, 0).outer;
    size_t live = ht_context_live_bytes(w->ctx);
    assert_int_equal(ht_bilevel_write_html(b, path), HT_OK);
    assert_int_equal(ht_context_live_bytes(w->ctx), live);
    assert_true(ht_bilevel_run(b, 0).outer == before);
    ht_bilevel_free(b);
}

static void bilevel_write_html_without_memory_leaves_no_page(void **state)
{
    world *w = *state;
    ht_bilevel *b = ht_bilevel_new(
        w->ctx, &w->problem,
        &(ht_bilevel_options){.schedule = HT_REVOLVE, .slots = 2, .method = HT_REVERSE});
    assert_non_null(b);
    w->memory.fail_at = w->memory.calls + 1;
    assert_int_equal(ht_bilevel_write_html(b, path), HT_ERROR_MEMORY);
    assert_int_equal(ht_context_status(w->ctx), HT_ERROR_MEMORY);
    assert_null(page_text());
    ht_context_clear(w->ctx);
    ht_bilevel_free(b);
}

static void bilevel_write_html_where_nobody_may_write_is_an_error(void **state)
{
    world *w = *state;
    ht_bilevel *b = ht_bilevel_new(w->ctx, &w->problem, NULL);
    assert_int_equal(ht_bilevel_write_html(b, "nowhere/page.html"), HT_ERROR_FILE);
    assert_non_null(strstr(ht_context_message(w->ctx), "nowhere/page.html"));
    ht_context_clear(w->ctx);
    ht_bilevel_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, world_new, world_free)
        CASE(bilevel_write_html_has_the_steps_the_run_made),
        CASE(bilevel_write_html_of_methods_without_states_keeps_none),
        CASE(bilevel_write_html_has_the_programs_ht_bilevel_print_lists),
        CASE(bilevel_write_html_leaves_the_bilevel_as_it_was),
        CASE(bilevel_write_html_without_memory_leaves_no_page),
        CASE(bilevel_write_html_where_nobody_may_write_is_an_error),
    };
    return TEST_MAIN(tests);
}
