/* SPDX-License-Identifier: MIT */
/* test_edges_update.c: the table of edges of update rules: parameters, states and their
 * derivatives after steps along gradients from 1e-45 to 1e308, from
 * reference/edges_update.txt, held against plain training on every instruction set, all
 * modes of a bilevel, and second derivatives on a tape. Read next:
 * reference/edges_update.py (where the numbers come from, and the form of a line). */
#include <ctype.h>

#include "kernels.h"
#include "nn_internal.h"
#include "reference.h"
#include "test_bilevel.h"
#include "test_nn.h"

enum {
    SCALARS = 8,
    MOST_N = 3,
    MOST_STEPS = 3,
    MOST_IN = MOST_N * (MOST_STEPS + 1) + SCALARS
};
enum { MOST_Y = 3 * MOST_N, MOST_D = MOST_N * MOST_IN, MOST_H = MOST_D * MOST_IN };

static const ht_update_rule *const rules[] = {&ht_sgd,     &ht_momentum, &ht_nesterov,
                                              &ht_adam,    &ht_adamw,    &ht_rmsprop,
                                              &ht_adagrad, &ht_muon};
enum { RULES = sizeof rules / sizeof rules[0] };
static const char *const scalar_names[SCALARS] = {
    "rate", "momentum", "beta2", "eps", "decay", "clip", "clip_value", "eps_root"};

typedef struct wanted {
    double value, scale;
    bool open, reversed; /* not promised; not of forward mode */
} wanted;

typedef struct edge {
    int rule, steps, n_p, n, n_in, n_y, n_d, n_h;
    ht_dtype dtype;
    bool has[SCALARS];
    double scalar[SCALARS], w[MOST_N], g[MOST_STEPS * MOST_N];
    wanted y[MOST_Y], d[MOST_D], h[MOST_H];
    double digits[3];
    bool reasoned;
} edge;

/* Reading. */

static int read_wanted(reference *r, const char *letter, wanted *to, int most)
{
    int n = reference_count(r, letter, most);
    for (int i = 0; i < n; i++) {
        const char *w = reference_word(r), *scale = strchr(w, '~');
        to[i] = (wanted){.open = *w == '-' && !isdigit((unsigned char)w[1])};
        to[i].value = to[i].open ? 0 : atof(w);
        to[i].reversed = w[strlen(w) - 1] == '!';
        to[i].scale = scale ? atof(scale + 1) : fabs(to[i].value);
    }
    return n;
}

static edge read_edge(reference *r)
{
    static edge e;
    e = (edge){.reasoned = *r->remark != '\0'};
    const char *name = reference_word(r);
    while (e.rule < RULES && strcmp(rules[e.rule]->name, name)) e.rule++;
    if (e.rule == RULES) fail_msg("rule %s is not in the list of this test", name);
    e.dtype = strcmp(reference_word(r), "f32") ? HT_F64 : HT_F32;
    e.steps = (int)reference_number(r);
    e.n_p = (int)reference_number(r);
    e.n = e.n_p + (int)reference_number(r);
    assert_in_range(e.steps, 1, MOST_STEPS);
    assert_in_range(e.n, 1, MOST_N);
    e.n_in = (e.steps + 1) * e.n;
    for (int k = 0; k < SCALARS; k++) {
        const char *w = reference_word(r);
        e.has[k] = strcmp(w, "-") != 0;
        e.scalar[k] = e.has[k] ? atof(w) : 0;
        e.n_in += e.has[k];
    }
    for (int i = 0; i < e.n; i++) e.w[i] = reference_number(r);
    for (int i = 0; i < e.n * e.steps; i++) e.g[i] = reference_number(r);
    e.n_y = read_wanted(r, "y", e.y, MOST_Y);
    e.n_d = read_wanted(r, "d", e.d, MOST_D);
    e.n_h = read_wanted(r, "h", e.h, MOST_H);
    reference_label(r, "digits");
    for (int k = 0; k < 3; k++) e.digits[k] = reference_number(r);
    return e;
}

/* Comparing. */

/* How many numbers and misses there were, of values, first and second derivatives. */
static struct tally {
    long numbers[3], open, cancelling;
    int cases, reasoned, rule[RULES][2], missed;
} tally;

static bool agrees(const wanted *w, double digits, double got, ht_dtype dtype)
{
    double least = dtype == HT_F32 ? 0x1p-149 : 0x1p-1074;
    double off = fabs(got - w->value);
    return w->open || off <= 256 * least || off <= pow(10, -digits) * w->scale;
}

static void compare(const edge *e, const char *what, int order, int i, double got)
{
    const wanted *w = &(const wanted *[]){e->y, e->d, e->h}[order][i];
    if (w->reversed && !strcmp(what, "forward")) return;
    if (agrees(w, e->digits[order], got, e->dtype)) return;
    if (tally.missed++ > 50) return;
    printf("# %s %s (", rules[e->rule]->name, ht_dtype_name(e->dtype));
    for (int k = 0; k < SCALARS; k++)
        if (e->has[k]) printf(" %s %g", scalar_names[k], e->scalar[k]);
    printf(" ) g");
    for (int k = 0; k < e->n * e->steps; k++) printf(" %g", e->g[k]);
    printf(", %s %d: got %.17g, want %.17g, %.1f digits of %g, not %g\n", what, i, got,
           w->value, -log10(fabs(got - w->value) / w->scale), w->scale, e->digits[order]);
}

static void count(const edge *e)
{
    const wanted *all[] = {e->y, e->d, e->h};
    const int n[] = {e->n_y, e->n_d, e->n_h};
    tally.cases++;
    tally.reasoned += e->reasoned;
    tally.rule[e->rule][e->dtype == HT_F64]++;
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < n[k]; i++) {
            const wanted *w = &all[k][i];
            *(w->open ? &tally.open : &tally.numbers[k]) += 1;
            tally.cancelling += !w->open && w->scale > 4.1 * fabs(w->value);
        }
}

/* Computing. */

static ht_scalar *scalar_of(ht_update *u, int k)
{
    ht_scalar *const s[] = {&u->rate,  &u->momentum, &u->beta2,      &u->eps,
                            &u->decay, &u->clip,     &u->clip_value, &u->eps_root};
    return s[k];
}

/* Elements of "p", then of "q" if there are any. */
static void put(ht_set *set, const double *x)
{
    for (int i = 0; i < ht_set_count(set); i++)
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(set, i)); k++)
            ht_tensor_set(ht_set_at(set, i), k, *x++);
}

static ht_set *parameters(ht_context *ctx, const edge *e)
{
    ht_set *theta = ht_set_new(ctx);
    ht_set_add(theta, "p", e->dtype, HT_SHAPE(e->n_p));
    if (e->n > e->n_p) ht_set_add(theta, "q", e->dtype, HT_SHAPE(e->n - e->n_p));
    put(theta, e->w);
    return theta;
}

/* Fixed numbers: where one is refused (a beta2 of 0), the bilevel alone has the case. */
static void check_plain(ht_context *ctx, const edge *e)
{
    ht_update u = {.rule = rules[e->rule]};
    for (int k = 0; k < SCALARS; k++) {
        if (e->has[k] && e->scalar[k] == 0) return;
        *scalar_of(&u, k) = HT_FIXED(e->scalar[k]);
    }
    ht_set *theta = parameters(ctx, e), *gradient = ht_set_clone(theta, 0);
    ht_optimizer *o = ht_optimizer_new(theta, &u);
    test_no_error(ctx);
    for (int t = 0; t < e->steps; t++) {
        put(gradient, e->g + t * e->n);
        ht_optimizer_step(o, gradient);
    }
    test_no_error(ctx);
    const ht_set *all[] = {theta, ht_optimizer_state(o)};
    int at = 0;
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < ht_set_count(all[s]); i++)
            for (int64_t k = 0; k < ht_tensor_count(ht_set_at(all[s], i)); k++, at++)
                compare(e, s ? "plain, state" : "plain, parameter", 0, at,
                        ht_tensor_get(ht_set_at(all[s], i), k));
    assert_int_equal(at, e->n_y);
    ht_optimizer_free(o);
    ht_set_free(theta);
    ht_set_free(gradient);
}

/* The problem: the inner loss <g_t, theta> has the gradients g_t, an outer variable
 * (steps, n); the outer loss is parameter `wanted_one`. */
typedef struct posed {
    ht_set *theta, *eta;
    ht_bilevel_problem problem;
    const edge *e;
    int of;
} posed;

static ht_var linear_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                           void *user)
{
    const edge *e = ((posed *)user)->e;
    (void)batch;
    ht_var row = ht_gather(ht_get(eta, "g"), ht_step(theta));
    ht_var p = ht_slice(row, 0, 0, e->n_p, 1);
    ht_var sum = ht_sum(ht_mul(ht_get(theta, "p"), p));
    if (e->n == e->n_p) return sum;
    ht_var q = ht_slice(row, 0, e->n_p, e->n - e->n_p, 1);
    return ht_add(sum, ht_sum(ht_mul(ht_get(theta, "q"), q)));
}

static ht_var one_of(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                     void *user)
{
    const posed *p = user;
    (void)eta, (void)batch;
    bool first = p->of < p->e->n_p;
    ht_var w = ht_get(theta, first ? "p" : "q");
    return ht_sum(ht_slice(w, 0, first ? p->of : p->of - p->e->n_p, 1, 1));
}

static void pose(posed *p, ht_context *ctx, const edge *e, int of)
{
    ht_set *eta = ht_set_new(ctx);
    ht_update u = {.rule = rules[e->rule]};
    ht_tensor *g = ht_set_add(eta, "g", e->dtype, HT_SHAPE(e->steps, e->n));
    for (int i = 0; i < e->steps * e->n; i++) ht_tensor_set(g, i, e->g[i]);
    for (int k = 0; k < SCALARS; k++) {
        if (!e->has[k]) continue;
        ht_tensor_fill(ht_set_add(eta, scalar_names[k], HT_F64, HT_SCALAR), e->scalar[k]);
        *scalar_of(&u, k) = HT_OUTER(scalar_names[k]);
    }
    *p = (posed){.theta = parameters(ctx, e), .eta = eta, .e = e, .of = of};
    p->problem = (ht_bilevel_problem){.inner = linear_inner,
                                      .outer = one_of,
                                      .theta = p->theta,
                                      .eta = eta,
                                      .update = u,
                                      .steps = e->steps,
                                      .user = p};
}

static void check_bilevel(ht_context *ctx, const edge *e, int of, ht_method method)
{
    static const char *const names[] = {[HT_REVERSE] = "reverse",
                                        [HT_REVERSE_REVERSE] = "twice reverse",
                                        [HT_FORWARD] = "forward"};
    posed p;
    pose(&p, ctx, e, of);
    ht_bilevel *b =
        ht_bilevel_new(ctx, &p.problem, &(ht_bilevel_options){.method = method});
    test_no_error(ctx);
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    test_no_error(ctx);
    compare(e, names[method], 0, of, r.outer);
    int at = of * e->n_in;
    const ht_tensor *g = ht_set_at(r.gradient, 0);
    for (int i = 0; i < e->n * e->steps; i++)
        compare(e, names[method], 1, at++, ht_tensor_get(g, i));
    for (int i = 0, k = 0; i < e->n; i++, at++) {
        if (!r.gradient_theta0) continue;
        k = i < e->n_p ? i : i - e->n_p;
        compare(e, names[method], 1, at,
                ht_tensor_get(ht_set_at(r.gradient_theta0, i >= e->n_p), k));
    }
    for (int i = 1; i < ht_set_count(r.gradient); i++)
        compare(e, names[method], 1, at++, ht_tensor_get(ht_set_at(r.gradient, i), 0));
    assert_int_equal(at, (of + 1) * e->n_in);
    ht_bilevel_free(b);
    ht_set_free(p.theta);
    ht_set_free(p.eta);
}

/* Second derivatives: one step on a tape, of inputs g ("p" and "q"), w and scalars. */

static ht_vars *vars_of(ht_tape *tape, const ht_set *set)
{
    return ht_vars_input(tape, set, 0);
}

static void check_second(ht_context *ctx, const edge *e, int of)
{
    posed p;
    pose(&p, ctx, e, of);
    ht_set *gradient = ht_set_clone(p.theta, 0);
    put(gradient, e->g);
    ht_set *state = hti_update_state(&p.problem.update, p.theta);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    const ht_vars *theta = vars_of(tape, p.theta), *eta = vars_of(tape, p.eta),
                  *g = vars_of(tape, gradient);
    ht_var x[4 + SCALARS], new_theta[2], new_state[4], d[4 + SCALARS], h[4 + SCALARS];
    int n = 0;
    for (int i = 0; i < g->n; i++) x[n++] = g->var[i];
    for (int i = 0; i < theta->n; i++) x[n++] = theta->var[i];
    for (int i = 1; i < eta->n; i++) x[n++] = eta->var[i];
    hti_update_emit(&p.problem.update, theta, vars_of(tape, state), eta, 1, g->var, NULL,
                    new_theta, new_state);
    bool first = of < e->n_p;
    ht_var y = ht_slice(new_theta[!first], 0, first ? of : of - e->n_p, 1, 1);
    ht_vjp(1, &y, (ht_var[]){ht_broadcast(ht_constant(tape, 1), HT_SHAPE(1))}, n, x, d);
    ht_tensor *units[2 * MOST_IN];
    int row = of * e->n_in, n_units = 0;
    for (int mode = 0; mode < 2; mode++)
        for (int i = 0, at = 0; i < n; i++)
            for (int64_t k = 0; k < ht_shape_count(ht_var_shape(x[i])); k++, at++) {
                ht_var t[4 + SCALARS];
                for (int j = 0; j < n; j++) t[j] = HT_ZERO;
                ht_tensor *unit =
                    ht_tensor_new(ctx, ht_var_dtype(x[i]), ht_var_shape(x[i]));
                units[n_units++] = unit;
                ht_tensor_set(unit, k, 1);
                t[i] = ht_input(tape, unit);
                if (mode)
                    ht_vjp(n, d, t, n, x, h);
                else
                    ht_jvp(n, x, t, n, d, h);
                test_no_error(ctx);
                int to = (row + at) * e->n_in;
                for (int j = 0; j < n; j++)
                    for (int64_t l = 0; l < ht_shape_count(ht_var_shape(x[j])); l++)
                        compare(e, mode ? "reverse over reverse" : "forward over reverse",
                                2, to++, ht_tensor_get(ht_value(h[j]), l));
            }
    ht_tape_free(tape);
    while (n_units) ht_tensor_free(units[--n_units]);
    ht_set_free(gradient);
    ht_set_free(state);
    ht_set_free(p.theta);
    ht_set_free(p.eta);
}

/* The table. */

static void check_edge(ht_context *ctx, const edge *e)
{
    count(e);
    for (int isa = HTI_BASELINE; hti_context_use(ctx, isa); isa++) {
        check_plain(ctx, e);
    }
    for (int of = 0; of < e->n; of++) {
        for (ht_method m = HT_REVERSE; m <= HT_FORWARD; m++) check_bilevel(ctx, e, of, m);
        if (e->n_h) check_second(ctx, e, of);
    }
}

/* Every rule that the header names: "extern const ht_update_rule a, b, ...;". */
static void check_rules_of_the_header(void)
{
    static char text[1 << 16];
    const char *before = "extern const ht_update_rule ";
    FILE *f = test_source("nn/ht_update.h");
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    char *at = strstr(text, before);
    assert_non_null(at);
    at += strlen(before);
    at[strcspn(at, ";")] = '\0';
    int n = 0;
    for (char *name = strtok(at, ", \n"); name; name = strtok(NULL, ", \n"), n++) {
        int k = 0;
        while (k < RULES && strcmp(rules[k]->name, name + strlen("ht_")) != 0) k++;
        if (k == RULES) fail_msg("%s has no case in the table of edges", name);
    }
    assert_int_equal(n, RULES);
}

static void print_tally(void)
{
    printf("# %d cases: %ld values, %ld first and %ld second derivatives, of which %ld "
           "are sums that cancel; %ld not promised; %d cases with a reason\n",
           tally.cases, tally.numbers[0], tally.numbers[1], tally.numbers[2],
           tally.cancelling, tally.open, tally.reasoned);
    for (int k = 0; k < RULES; k++)
        printf("# %s: %d cases in f32, %d in f64\n", rules[k]->name, tally.rule[k][0],
               tally.rule[k][1]);
}

static void every_rule_at_every_edge_is_right(void **state)
{
    static reference r;
    (void)state;
    reference_open(&r, "edges_update.txt");
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = 1});
    while (reference_next(&r)) {
        edge e = read_edge(&r);
        check_edge(ctx, &e);
    }
    ht_context_free(ctx);
    print_tally();
    check_rules_of_the_header();
    assert_int_equal(tally.missed, 0);
    for (int k = 0; k < RULES; k++)
        assert_true(tally.rule[k][0] > 100 && tally.rule[k][1] > 100);
    assert_int_equal(tally.cases, 2730);
    assert_int_equal(tally.numbers[0], 8483);
    assert_int_equal(tally.numbers[1], 31796);
    assert_int_equal(tally.numbers[2], 9324);
    assert_int_equal(tally.cancelling, 17003);
    assert_int_equal(tally.open, 192);
    assert_int_equal(tally.reasoned, 1922);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_at_every_edge_is_right),
    };
    return TEST_MAIN(tests);
}
