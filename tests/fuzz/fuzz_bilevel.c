/* SPDX-License-Identifier: MIT */
/* fuzz_bilevel.c: random bilevel problems (random_bilevel.h). All methods give the same
 * hypergradient, all schedules the same bits; bytes are foretold, runs allocate nothing,
 * what a refused budget offers is accepted, more budget runs no more steps, and the check
 * calls nothing wrong. Read next: random_bilevel.h. */
#include <math.h>

#include "random_bilevel.h"

enum { BUDGETS = 5 };

/* Elements of theta and eta up to which the slow ways are tried. */
static const int64_t few = 64, some = 400;

/* Met so far. */
static unsigned long problems, refused, bilevels, offers, checks, undecided, diverged;

typedef struct counted {
    size_t live, peak;
    unsigned long calls;
} counted;

static void *counted_alloc(void *user, void *old, size_t old_size, size_t new_size)
{
    counted *c = user;
    c->live += new_size - old_size;
    if (new_size == 0) return free(old), NULL;
    c->calls++;
    if (c->live > c->peak) c->peak = c->live;
    void *block = realloc(old, new_size);
    FUZZ_REQUIRE(block, "out of memory at %zu bytes", c->live);
    return block;
}

typedef struct trial {
    counted memory;
    ht_context *ctx;
    random_bilevel random;
    int64_t truncate;
    ht_set *want; /* the hypergradient by mixed mode */
    double outer, least;
} trial;

static const char *said(const trial *t)
{
    return ht_context_message(t->ctx);
}

/* Bits and sizes. */

static void same_bits(const ht_set *got, const ht_set *want, const char *what)
{
    for (int i = 0; i < ht_set_count(want); i++) {
        const ht_tensor *x = ht_set_at(got, i), *y = ht_set_at(want, i);
        FUZZ_REQUIRE(!memcmp(ht_tensor_data(x), ht_tensor_data(y), ht_tensor_bytes(y)),
                     "%s: %s differs, its first element %.17g, not %.17g", what,
                     ht_set_name(want, i), ht_tensor_get(x, 0), ht_tensor_get(y, 0));
    }
}

static double set_norm(const ht_set *a, const ht_set *b)
{
    double sum = 0;
    for (int i = 0; i < ht_set_count(a); i++)
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(a, i)); k++) {
            double x = ht_tensor_get(ht_set_at(a, i), k);
            if (b) x -= ht_tensor_get(ht_set_at(b, i), k);
            sum += x * x;
        }
    return sqrt(sum);
}

/* A bilevel, NULL if refused for want of bytes; its peak is foretold, two runs are the
 * same bits, and what they take is there before them. */
static ht_bilevel_result trial_run(trial *t, ht_bilevel_options o, ht_bilevel **bilevel)
{
    ht_bilevel_result r = {0}, again;
    size_t base = t->memory.live;
    o.truncate = t->truncate;
    t->memory.peak = base;
    ht_bilevel *b = *bilevel = ht_bilevel_new(t->ctx, &t->random.problem, &o);
    if (!b) {
        FUZZ_REQUIRE(t->memory.live == base, "%zu bytes left", t->memory.live - base);
        return r;
    }
    bilevels++;
    unsigned long calls = t->memory.calls;
    r = ht_bilevel_run(b, 3);
    FUZZ_REQUIRE(r.gradient, "%s", said(t));
    FUZZ_REQUIRE(t->memory.calls == calls, "a run allocates");
    size_t peak = t->memory.peak - base;
    FUZZ_REQUIRE(
        r.predicted_bytes == peak && r.peak_bytes == peak && ht_bilevel_bytes(b) == peak,
        "predicted %zu, peak said %zu, was %zu", r.predicted_bytes, r.peak_bytes, peak);
    FUZZ_REQUIRE(!o.bytes || peak <= o.bytes, "%zu bytes of %zu", peak, o.bytes);
    ht_set *first = ht_set_clone(r.gradient, 0);
    double outer = ht_bilevel_evaluate(b, 3).outer;
    FUZZ_REQUIRE(outer == r.outer || isnan(outer), "%.17g, not %.17g", outer, r.outer);
    again = ht_bilevel_run(b, 3);
    if (r.bad_step < 0) same_bits(again.gradient, first, "run twice");
    FUZZ_REQUIRE(again.bad_step == r.bad_step, "bad step %lld, not %lld",
                 (long long)again.bad_step, (long long)r.bad_step);
    ht_set_free(first);
    return again;
}

/* By this method and schedule: the bits of `want`, or the number. */
static void trial_way(trial *t, ht_bilevel_options o, const ht_set *want, bool bits)
{
    ht_bilevel *b;
    ht_bilevel_result r = trial_run(t, o, &b);
    FUZZ_REQUIRE(b, "%s", said(t));
    double norm = fmax(set_norm(want, NULL), t->least);
    double off = set_norm(r.gradient, want);
    if (bits)
        same_bits(r.gradient, want, "schedules");
    else if (norm < 1e6 * fabs(t->outer)) /* else rounding is magnified as well */
        FUZZ_REQUIRE(off <= 1e-8 * norm, "method %d: %g off, of %g", (int)o.method, off,
                     norm);
    ht_bilevel_free(b);
}

static void trial_ways(trial *t, fuzz_bytes *bytes)
{
    int64_t elements = ht_set_elements(t->random.eta);
    bool exact = t->random.dtype == HT_F64;
    ht_bilevel_options o = {.schedule = HT_TWO_LEVEL};
    trial_way(t, o, t->want, true);
    o = (ht_bilevel_options){.schedule = HT_REVOLVE, .slots = 1 + fuzz_below(bytes, 6)};
    trial_way(t, o, t->want, true);
    if (elements <= few && exact)
        trial_way(t, (ht_bilevel_options){.method = HT_FORWARD}, t->want, false);
    if (!exact) return;
    o.method = HT_REVERSE_REVERSE;
    trial_way(t, o, t->want, false);
}

/* Where the training ends, if it does or not: bytes, bits and no allocation, by
 * trial_run. */
static void trial_implicit(trial *t, fuzz_bytes *bytes)
{
    static const ht_solver solvers[] = {HT_SOLVER_AUTO, HT_NORMAL_CG, HT_GMRES,
                                        HT_FIXED_POINT};
    ht_bilevel *b;
    ht_bilevel_options o = {.method = HT_IMPLICIT,
                            .solver = solvers[fuzz_below(bytes, 4)],
                            .solver_steps = 4 + fuzz_below(bytes, 9),
                            .no_bound = fuzz_below(bytes, 2)};
    if (o.solver == HT_FIXED_POINT) o.solver_rate = 0.1;
    int64_t truncate = t->truncate;
    t->truncate = 0;
    ht_bilevel_result r = trial_run(t, o, &b);
    t->truncate = truncate;
    FUZZ_REQUIRE(b, "%s", said(t));
    FUZZ_REQUIRE(r.solver_steps <= o.solver_steps, "%lld products of %lld",
                 (long long)r.solver_steps, (long long)o.solver_steps);
    ht_bilevel_free(b);
}

/* A direction of eta, of signs that bytes give. */
static ht_set *trial_direction(trial *t, fuzz_bytes *bytes)
{
    ht_set *v = ht_set_clone(t->random.eta, 0);
    for (int i = 0; i < ht_set_count(v); i++)
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(v, i)); k++)
            ht_tensor_set(ht_set_at(v, i), k, fuzz_below(bytes, 2) ? 1 : -1);
    return v;
}

static bool is_share(double x)
{
    return isnan(x) || (x >= -1 && x <= 1);
}

/* Smoothness along v: of evaluations, and eta is as it was. */
static void trial_smooth(trial *t, ht_bilevel *b, const ht_set *v)
{
    ht_set *eta = ht_set_clone(t->random.eta, 0);
    double outer = ht_bilevel_evaluate(b, 3).outer;
    ht_smoothness s = ht_bilevel_smoothness(b, v, 0.01);
    FUZZ_REQUIRE(!*said(t), "%s", said(t));
    FUZZ_REQUIRE(s.at[0] == outer, "F %.17g, evaluated %.17g", s.at[0], outer);
    FUZZ_REQUIRE(is_share(s.outer) && is_share(s.theta), "S^ %g, %g", s.outer, s.theta);
    FUZZ_REQUIRE(s.note || (!isnan(s.outer) && !isnan(s.theta)), "no word");
    same_bits(t->random.eta, eta, "eta after smoothness");
    ht_set_free(eta);
}

/* v H w = w H v, in the bytes that were foretold. */
static void trial_second(trial *t, fuzz_bytes *bytes)
{
    ht_bilevel_options none = {0};
    ht_bilevel *b = ht_bilevel_new(t->ctx, &t->random.problem, &none);
    ht_set *v = trial_direction(t, bytes), *w = trial_direction(t, bytes);
    FUZZ_REQUIRE(b && ht_bilevel_run(b, 3).gradient, "%s", said(t));
    const ht_set *product = ht_bilevel_hvp(b, v);
    FUZZ_REQUIRE(product, "%s", said(t));
    double vw = ht_set_dot(product, w), size = sqrt(ht_set_dot(product, product));
    unsigned long calls = t->memory.calls;
    product = ht_bilevel_hvp(b, w);
    double wv = ht_set_dot(product, v);
    size = fmax(size, sqrt(ht_set_dot(product, product))) * sqrt(ht_set_dot(v, v));
    FUZZ_REQUIRE(t->memory.calls == calls, "a product allocates");
    if (isfinite(size) && size < 1e6 * fabs(t->outer) && t->random.dtype == HT_F64)
        FUZZ_REQUIRE(fabs(vw - wv) <= 1e-7 * fmax(size, t->least), "%.17g, not %.17g", vw,
                     wv);
    trial_smooth(t, b, v);
    ht_set_free(v);
    ht_set_free(w);
    ht_bilevel_free(b);
}

/* Budgets. */

/* The number behind `words` in what a budget of one byte is told. */
static size_t trial_offer(trial *t, ht_bilevel_options o, const char *words)
{
    ht_bilevel *b;
    o.bytes = 1;
    trial_run(t, o, &b);
    const char *at = strstr(said(t), words);
    FUZZ_REQUIRE(!b && ht_context_status(t->ctx) == HT_ERROR_MEMORY && at,
                 "no \"%s\" in \"%s\"", words, said(t));
    size_t bytes = strtoull(at + strlen(words), NULL, 10);
    ht_context_clear(t->ctx);
    offers++;
    return bytes;
}

static void trial_offer_holds(trial *t, ht_bilevel_options o, const char *words)
{
    ht_bilevel *b;
    o.bytes = trial_offer(t, o, words);
    ht_bilevel_result r = trial_run(t, o, &b);
    FUZZ_REQUIRE(b && r.peak_bytes == o.bytes, "%s%zu: %zu taken, \"%s\"", words, o.bytes,
                 b ? r.peak_bytes : 0, said(t));
    ht_bilevel_free(b);
    o.bytes--;
    trial_run(t, o, &b);
    FUZZ_REQUIRE(!b && ht_context_status(t->ctx) == HT_ERROR_MEMORY,
                 "%s%zu, but a byte less is accepted", words, o.bytes + 1);
    ht_context_clear(t->ctx);
}

/* Where every rule is momentum. The training is rounded to other units, and its momentum
 * to a fraction, so that numbers are compared where nothing magnifies that. */
static void trial_reversible(trial *t)
{
    const ht_update *u = &t->random.problem.update;
    if (u->rule != &ht_momentum || (u->n_groups && u->groups[0].update)) return;
    ht_bilevel *b;
    int64_t truncate = t->truncate;
    t->truncate = 0;
    trial_offer_holds(t, (ht_bilevel_options){.method = HT_REVERSIBLE}, "it needs ");
    ht_bilevel_result r = trial_run(t, (ht_bilevel_options){.method = HT_REVERSIBLE}, &b);
    t->truncate = truncate;
    FUZZ_REQUIRE(b, "%s", said(t));
    double norm = set_norm(t->want, NULL), off = set_norm(r.gradient, t->want);
    bool like = !truncate && !t->random.kinks && t->random.dtype == HT_F64;
    if (like && r.bad_step < 0 && norm < 1e2 * fabs(t->outer))
        FUZZ_REQUIRE(off <= 1e-5 * fmax(norm, t->least), "reversible: %g off, of %g", off,
                     norm);
    ht_bilevel_free(b);
}

static void trial_budgets(trial *t, size_t most, fuzz_bytes *bytes)
{
    const ht_bilevel_options o[] = {{.schedule = HT_REVOLVE},
                                    {.schedule = HT_TWO_LEVEL},
                                    {.schedule = HT_STORE_ALL},
                                    {.schedule = HT_REVOLVE, .slots = 2}};
    static const char *const words[] = {"1 slot needs ", "two-level ", "store-all ",
                                        "slots of revolve, which need "};
    uint32_t k = fuzz_below(bytes, 4);
    trial_offer_holds(t, o[k], words[k]);
    size_t least = trial_offer(t, (ht_bilevel_options){0}, words[0]);
    int64_t steps = INT64_MAX;
    for (size_t i = 0; i <= BUDGETS; i++) {
        ht_bilevel *b;
        size_t part = most > least ? (most - least) / BUDGETS * i : 0;
        ht_bilevel_options budget = {.bytes = i == BUDGETS ? most : least + part};
        if (budget.bytes < least) budget.bytes = least;
        ht_bilevel_result r = trial_run(t, budget, &b);
        FUZZ_REQUIRE(b, "%s", said(t));
        FUZZ_REQUIRE(r.forward_steps <= steps, "%zu bytes: %lld steps, fewer bytes %lld",
                     budget.bytes, (long long)r.forward_steps, (long long)steps);
        steps = r.forward_steps;
        same_bits(r.gradient, t->want, "within a budget");
        FUZZ_REQUIRE(i < BUDGETS || r.schedule == HT_STORE_ALL, "schedule %d",
                     (int)r.schedule);
        ht_bilevel_free(b);
    }
}

/* The check. */

static void trial_check(trial *t)
{
    static char text[1 << 14];
    FILE *f = tmpfile();
    FUZZ_REQUIRE(f, "no temporary file");
    bool ok = ht_bilevel_check(t->ctx, &t->random.problem, 2, f);
    size_t n = (size_t)ftell(f);
    rewind(f);
    text[fread(text, 1, n < sizeof text ? n : sizeof text - 1, f)] = '\0';
    fclose(f);
    checks++;
    undecided += strstr(text, "undecided") != NULL;
    FUZZ_REQUIRE(!strstr(text, "WRONG") && (ok || strstr(text, "not checked")), "%s\n%s",
                 said(t), text);
}

static void trial_go(trial *t, fuzz_bytes *bytes)
{
    ht_bilevel *b;
    ht_bilevel_result r = trial_run(t, (ht_bilevel_options){0}, &b);
    if (!b) {
        FUZZ_REQUIRE(ht_context_status(t->ctx) != HT_OK && *said(t), "no word");
        ht_context_clear(t->ctx);
        refused++;
        return;
    }
    size_t most = ht_bilevel_bytes(b);
    t->outer = r.outer;
    t->least = 1e-6 * fabs(r.outer);
    t->want = ht_set_clone(r.gradient, 0);
    ht_bilevel_free(b);
    if (r.bad_step >= 0) {
        diverged++;
    } else {
        trial_ways(t, bytes);
        trial_budgets(t, most, bytes);
        trial_implicit(t, bytes);
        trial_reversible(t);
        if (ht_set_elements(t->random.eta) <= few) trial_second(t, bytes);
    }
    if (ht_set_elements(t->random.eta) + ht_set_elements(t->random.theta) <= some)
        trial_check(t);
    ht_set_free(t->want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static trial t;
    fuzz_bytes bytes = {data, size, 0};
    t = (trial){0};
    t.ctx = ht_context_new(&(ht_context_options){
        .alloc = counted_alloc, .user = &t.memory, .threads = 1, .seed = 3});
    random_bilevel_new(&t.random, t.ctx, &bytes);
    FUZZ_REQUIRE(ht_context_status(t.ctx) == HT_OK, "%s", said(&t));
    if (fuzz_below(&bytes, 4) == 1)
        t.truncate = 1 + fuzz_below(&bytes, (uint32_t)t.random.problem.steps);
    problems++;
    trial_go(&t, &bytes);
    random_bilevel_free(&t.random);
    ht_context_free(t.ctx);
    FUZZ_REQUIRE(t.memory.live == 0, "%zu bytes left", t.memory.live);
    return 0;
}

/* Any bytes are a problem. */
size_t fuzz_example(uint64_t number, uint8_t *to, size_t most)
{
    size_t n = most < 160 ? most : 160;
    for (size_t i = 0; i < n; i++) {
        uint64_t z = (number * 1000003 + i + 1) * 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        to[i] = (uint8_t)((z ^ (z >> 27)) >> 40);
    }
    return n;
}

void fuzz_figures(FILE *f)
{
    fprintf(
        f,
        "%lu problems: %lu refused, %lu diverged; %lu bilevels run, %lu offers taken, "
        "%lu checked, %lu of them undecided",
        problems, refused, diverged, bilevels, offers, checks, undecided);
}
