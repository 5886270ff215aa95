/* SPDX-License-Identifier: MIT */
/* update_check.c: an update rule held against itself: the same few steps by an optimizer,
 * by a tape a step and by one program; in f32 and f64; and whether all that the row says
 * it has is used. Read next: update_check_runs.c, update_check_slopes.c. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "update_check.h"

/* Trainings. */

/* All steps recorded on one tape, as one program. */
static bool run_program(const hti_rule_check *c, const ht_set *point, ht_set *end)
{
    ht_tape *tape = ht_tape_new(c->ctx, HT_RECORD);
    ht_vars *vars = tape ? ht_vars_input_at(tape, point, 0, NULL) : NULL;
    ht_var *out = vars ? hti_tape_alloc(tape, (size_t)end->n * sizeof *out) : NULL;
    ht_program *program = NULL;
    if (out) {
        hti_check_unroll(c, &c->fixed, vars, 0, out);
        if (c->ctx->status == HT_OK)
            program = ht_program_new_at(tape, vars->n, vars->var, end->n, out, NULL);
    }
    if (program)
        ht_program_run_at(program, (const ht_tensor *const *)point->tensor, end->tensor,
                          NULL);
    ht_program_free(program);
    ht_tape_free(tape);
    return c->ctx->status == HT_OK;
}

/* The values of some tensors of one set as those of another. */
static void copy_part(const ht_set *to, int at, const ht_set *from, int first, int n)
{
    for (int i = 0; i < n; i++)
        ht_tensor_copy(to->tensor[at + i], from->tensor[first + i]);
}

/* Plain training. */
static bool run_optimizer(const hti_rule_check *c, const ht_set *point, ht_set *end)
{
    int n = c->theta->n;
    ht_dtype dtype = ht_tensor_dtype(point->tensor[0]);
    ht_set *theta = ht_set_clone(c->theta, dtype), *g = ht_set_clone(c->theta, dtype);
    ht_optimizer *o = NULL;
    if (theta && g) {
        copy_part(theta, 0, point, 0, n);
        o = ht_optimizer_new_at(theta, &c->fixed, NULL);
    }
    for (int t = 0; o && t < HTI_CHECK_STEPS && c->ctx->status == HT_OK; t++) {
        copy_part(g, 0, point, c->first[HTI_AT_G] + t * n, n);
        ht_optimizer_step_at(o, g, NULL);
    }
    if (o) {
        copy_part(end, 0, theta, 0, n);
        copy_part(end, n, ht_optimizer_state(o), 0, c->state->n);
    }
    ht_optimizer_free(o);
    ht_set_free(theta);
    ht_set_free(g);
    return c->ctx->status == HT_OK;
}

/* Values. */

/* The first of n tensors of two sets whose values are not the same bits; -1: none. */
static int first_other(const ht_set *a, const ht_set *b, int from, int n)
{
    for (int i = from; i < from + n; i++)
        if (memcmp(ht_tensor_data(a->tensor[i]), ht_tensor_data(b->tensor[i]),
                   ht_tensor_bytes(a->tensor[i])))
            return i;
    return -1;
}

static void check_same(hti_rule_check *c, const char *what, const ht_set *a,
                       const ht_set *b)
{
    int i = first_other(a, b, 0, a->n);
    if (hti_check_line(c, i < 0, what)) return;
    hti_check_say(
        c,
        "\"%s\" ends with other values: apply keeps something between its calls "
        "on the C side (a static variable, rand(), user), but is called once where "
        "steps are replayed; what changes from step to step is a state or t",
        a->name[i]);
}

/* By an optimizer, and by one program, as eagerly; in one type, to `end`. */
static bool check_ways(hti_rule_check *c, ht_dtype dtype, ht_set *end)
{
    char what[80];
    const char *name = ht_dtype_name(dtype);
    ht_set *point = ht_set_clone(c->point, dtype), *other = ht_set_clone(c->end, dtype);
    bool ok = point && other && hti_check_run(c, &c->fixed, point, 0, end);
    if (ok && !c->fixed.rule->reads_eta && run_optimizer(c, point, other)) {
        snprintf(what, sizeof what, "%s: plain loop = a tape a step, bit for bit", name);
        check_same(c, what, end, other);
    }
    if (ok && c->ctx->status == HT_OK && run_program(c, point, other)) {
        snprintf(what, sizeof what, "%s: recorded = a tape a step, bit for bit", name);
        check_same(c, what, end, other);
    }
    ht_set_free(point);
    ht_set_free(other);
    return c->ctx->status == HT_OK;
}

/* Both types: as far apart as f32 rounds in a few steps, beside each tensor's largest. */
static bool check_types(hti_rule_check *c)
{
    ht_set *narrow = ht_set_clone(c->end, HT_F32);
    double worst = 0;
    bool ok = narrow && check_ways(c, HT_F64, c->end) && check_ways(c, HT_F32, narrow);
    for (int i = 0; ok && i < c->theta->n; i++) {
        double size = 0, off = 0;
        for (int64_t k = 0, n = ht_tensor_count(c->end->tensor[i]); k < n; k++) {
            double wide = ht_tensor_get(c->end->tensor[i], k);
            double d = fabs(wide - ht_tensor_get(narrow->tensor[i], k));
            size = fmax(size, fabs(wide));
            off = isnan(d) ? INFINITY : fmax(off, d);
        }
        worst = fmax(worst, off / fmax(size, 1e-30));
    }
    if (ok && !hti_check_line(c, worst <= 1e-4, "f32 close to f64"))
        hti_check_say(
            c,
            "they differ by %.1e of the parameters: a difference of large numbers, "
            "or a square that f32 does not hold",
            worst);
    ht_set_free(narrow);
    return ok;
}

/* What the row says it has. */

/* Whether the training ends elsewhere when n tensors of `point` are quite others. */
static bool depends_on(hti_rule_check *c, int i, bool scalar)
{
    ht_set *point = ht_set_clone(c->point, 0), *end = ht_set_clone(c->end, 0);
    bool other = true;
    if (point && end && hti_check_run(c, &c->outer, c->point, 0, c->end)) {
        ht_tensor *x = point->tensor[i];
        for (int64_t k = 0, n = ht_tensor_count(x); k < n; k++) {
            double was = ht_tensor_get(x, k);
            ht_tensor_set(x, k, scalar ? 0.3 * was : 1.5 + fabs(was) + (double)(k % 3));
        }
        other = hti_check_run(c, &c->outer, point, 0, end) &&
                first_other(c->end, end, 0, c->theta->n) >= 0;
    }
    ht_set_free(point);
    ht_set_free(end);
    return other;
}

/* State k of every parameter: whether it changes in a training, and w by what it was. */
static void check_state(hti_rule_check *c, int k)
{
    char what[80];
    const ht_update_rule *rule = c->fixed.rule;
    int n = c->theta->n;
    bool moves = false, read = false;
    for (int i = 0; i < n && c->ctx->status == HT_OK; i++) {
        int at = i * rule->n_state + k;
        const ht_tensor *s = c->point->tensor[c->first[HTI_AT_STATE] + at];
        moves = moves || memcmp(ht_tensor_data(s), ht_tensor_data(c->end->tensor[n + at]),
                                ht_tensor_bytes(s));
        read = read || depends_on(c, c->first[HTI_AT_STATE] + at, false);
    }
    snprintf(what, sizeof what, "state \"%s\" is carried and used", rule->state[k]);
    if (hti_check_line(c, read && moves, what)) return;
    if (read)
        hti_check_say(c, "it never changes: new_state[%d] is what it was", k);
    else
        hti_check_say(
            c,
            "the steps are the same whatever it was: new_state[%d] is not made of "
            "state[%d], or new_w of neither; carry it, or leave it out of the row",
            k, k);
}

/* Numbers of the row: each decides something. */
static void check_scalar(hti_rule_check *c, int i)
{
    char what[80];
    int at = c->first[HTI_AT_ETA] + i;
    bool users = i < c->n_users, read = depends_on(c, at, !users);
    snprintf(what, sizeof what, users ? "outer \"%s\" is used" : "%s is used",
             c->eta->name[i]);
    if (users && !read)
        hti_check_say(c, "%s: no, not by this rule at these values", what);
    else if (!hti_check_line(c, read, what))
        hti_check_say(
            c, "the row has it, but the steps are the same whatever it is: read it "
               "from s, or leave it out of the row");
}

static void check_step(hti_rule_check *c)
{
    ht_set *end = ht_set_clone(c->end, 0);
    if (end && hti_check_run(c, &c->outer, c->point, 0, c->end) &&
        hti_check_run(c, &c->outer, c->point, 999, end) && c->report)
        fprintf(c->report, "%-52s  %s\n", "depends on the step t",
                first_other(c->end, end, 0, end->n) < 0 ? "no" : "yes");
    ht_set_free(end);
}

static void check_row(hti_rule_check *c)
{
    for (int k = 0; k < c->fixed.rule->n_state && c->ctx->status == HT_OK; k++)
        check_state(c, k);
    for (int i = 0; i < c->eta->n && c->ctx->status == HT_OK; i++) check_scalar(c, i);
    if (c->ctx->status == HT_OK) check_step(c);
}

/* Opening. */

/* Parameters to try where the caller names none: of every rank a layer has. */
static ht_set *usual_theta(ht_context *ctx)
{
    ht_set *theta = ht_set_new(ctx);
    if (!theta) return NULL;
    ht_set_add_at(theta, "matrix", HT_F64, HT_SHAPE(3, 4), NULL);
    ht_set_add_at(theta, "tall", HT_F64, HT_SHAPE(5, 2), NULL);
    ht_set_add_at(theta, "vector", HT_F64, HT_SHAPE(5), NULL);
    ht_set_add_at(theta, "kernel", HT_F64, HT_SHAPE(3, 2, 2, 2), NULL);
    ht_set_add_at(theta, "scalar", HT_F64, HT_SCALAR, NULL);
    return theta;
}

/* Every number that is on as an outer variable of its own name. */
static void open_numbers(hti_rule_check *c)
{
    hti_field field[HTI_FIELDS];
    c->outer = c->fixed;
    ht_scalar *const to[] = {&c->outer.rate,       &c->outer.momentum, &c->outer.beta2,
                             &c->outer.eps,        &c->outer.decay,    &c->outer.clip,
                             &c->outer.clip_value, &c->outer.eps_root};
    hti_update_fields(&c->fixed, field);
    for (int k = 0; k < HTI_FIELDS; k++) {
        const ht_scalar *s = field[k].scalar;
        if (!field[k].used || hti_scalar_is_zero(s) || s->outer) continue;
        ht_tensor *x = ht_set_add_at(c->eta, field[k].name, HT_F64, HT_SCALAR, NULL);
        if (!x) return;
        ht_tensor_set(x, 0, s->value);
        *(k < 8 ? to[k] : &c->outer.own[k - 8]) =
            (ht_scalar){.outer = field[k].name, .schedule = s->schedule, .user = s->user};
    }
}

/* A set's tensors to `point` under "prefix.name"; values too, but where `stream` is one
 * of random numbers. */
static void open_part(hti_rule_check *c, const char *prefix, const ht_set *set,
                      uint64_t stream)
{
    for (int i = 0; i < set->n && c->ctx->status == HT_OK; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s.%.200s", prefix, set->name[i]);
        ht_tensor *x =
            ht_set_add_at(c->point, name, HT_F64, ht_tensor_shape(set->tensor[i]), NULL);
        if (!x) return;
        if (stream)
            ht_tensor_normal(x, stream + (uint64_t)i, 0.1, 1);
        else
            ht_tensor_copy(x, set->tensor[i]);
    }
}

static bool open_point(hti_rule_check *c)
{
    c->first[HTI_AT_STATE] = c->theta->n;
    c->first[HTI_AT_ETA] = c->theta->n + c->state->n;
    c->first[HTI_AT_G] = c->first[HTI_AT_ETA] + c->eta->n;
    c->first[HTI_PARTS] = c->first[HTI_AT_G] + HTI_CHECK_STEPS * c->theta->n;
    open_part(c, "w", c->theta, 1000);
    open_part(c, "s", c->state, 0);
    open_part(c, "eta", c->eta, 0);
    for (int t = 0; t < HTI_CHECK_STEPS; t++) {
        char prefix[] = {'g', (char)('0' + t), '\0'};
        open_part(c, prefix, c->theta, 2000 + 100 * (uint64_t)t);
    }
    if (c->ctx->status != HT_OK) return false;
    c->end = ht_set_new(c->ctx);
    for (int i = 0; c->end && i < c->first[HTI_AT_ETA]; i++)
        ht_set_add_at(c->end, c->point->name[i], HT_F64,
                      ht_tensor_shape(c->point->tensor[i]), NULL);
    return c->ctx->status == HT_OK;
}

/* Shapes are theta's, values are not; f64 all. */
static ht_set *open_clone(ht_context *ctx, const ht_set *from)
{
    ht_set *set = ht_set_new(ctx);
    for (int i = 0; set && from && i < from->n; i++) {
        const ht_tensor *x = from->tensor[i];
        ht_tensor *to =
            ht_set_add_at(set, from->name[i], HT_F64, ht_tensor_shape(x), NULL);
        for (int64_t k = 0, n = ht_tensor_count(x); to && k < n; k++)
            ht_tensor_set(to, k, ht_tensor_get(x, k));
    }
    return set;
}

static bool rule_open(hti_rule_check *c, const ht_set *theta, const ht_set *eta)
{
    c->theta = theta ? open_clone(c->ctx, theta) : usual_theta(c->ctx);
    c->eta = open_clone(c->ctx, eta);
    c->point = ht_set_new(c->ctx);
    if (!c->theta || !c->eta || !c->point) return false;
    c->n_users = c->eta->n;
    if (!hti_update_valid(c->ctx, &c->fixed, c->theta, eta ? c->eta : NULL,
                          HTI_CHECK_STEPS))
        return false;
    open_numbers(c);
    c->state = hti_update_state(&c->fixed, c->theta);
    return c->state && open_point(c);
}

static void rule_close(hti_rule_check *c)
{
    ht_set *const own[] = {c->theta, c->eta, c->point, c->state, c->end};
    for (size_t k = 0; k < sizeof own / sizeof *own; k++) ht_set_free(own[k]);
    ht_context_free(c->ctx);
}

bool ht_update_check(ht_context *ctx, const ht_update *update, const ht_set *theta,
                     const ht_set *eta, FILE *report)
{
    HT_ASSERT(ctx && update && update->rule,
              "ht_update_check: ctx %p, update %p: both are needed, and a rule",
              (void *)ctx, (const void *)update);
    ht_context_options own = ctx->options;
    own.on_error = NULL;
    hti_rule_check c = {.ctx = ht_context_new(&own),
                        .report = report,
                        .rule = update->rule->name,
                        .fixed = *update,
                        .ok = true};
    if (!c.ctx) return false;
    c.fixed.groups = NULL;
    c.fixed.n_groups = 0;
    c.fixed.clip = c.fixed.clip_value = (ht_scalar){0};
    if (rule_open(&c, theta, eta) && check_types(&c)) {
        check_row(&c);
        if (c.ctx->status == HT_OK) hti_check_slopes(&c);
    }
    if (c.ctx->status != HT_OK && !hti_check_line(&c, false, "runs"))
        hti_check_say(&c, "%s", ht_context_message(c.ctx));
    bool ok = c.ok;
    rule_close(&c);
    return ok;
}
