/* SPDX-License-Identifier: MIT */
/* recorder.c: the tapes of a recorder, its operands on them, and how a program is cut.
 * Read next: initial.c, step.c. */
#include <string.h>

#include "record.h"

ht_var *hti_vars_list(ht_tape *tape, int n)
{
    ht_var *list = hti_tape_alloc(tape, (size_t)n * sizeof *list);
    for (int i = 0; list && i < n; i++) list[i] = HT_ZERO;
    return list;
}

/* Operands. */

static int count_of(const hti_recorder *r, const hti_operand *operands)
{
    int n = 0;
    while (*operands != HTI_END) n += hti_operand_count(r->b, *operands++);
    return n;
}

static ht_var *lay_out(const hti_recorder *r, const hti_operand *operands, ht_var **at)
{
    ht_var *list = hti_vars_list(r->tape, count_of(r, operands)), *next = list;
    for (; list && *operands != HTI_END; operands++) {
        at[*operands] = next;
        next += hti_operand_count(r->b, *operands);
    }
    return list;
}

ht_var *hti_made(hti_recorder *r, const hti_operand *operands)
{
    return lay_out(r, operands, r->out);
}

ht_var *hti_leaves(hti_recorder *r, const hti_operand *operands)
{
    ht_var *list = lay_out(r, operands, r->in), *leaf = list;
    for (; list && *operands != HTI_END; operands++) {
        const ht_set *set = hti_operand_set(r->b, *operands);
        for (int i = 0; i < set->n; i++) {
            const ht_array *a = &set->tensor[i]->array;
            *leaf++ =
                ht_input_like_at(r->tape, (ht_type){a->dtype, a->shape}, set->name[i]);
        }
    }
    return list;
}

/* The parts of eta's cotangent that a program does not add to it does not read. */
static bool is_absent(const hti_recorder *r, ht_var *const *from, hti_operand operand,
                      int i)
{
    if (operand == HTI_ETA_COTANGENT) from = r->out;
    return ht_is_zero(from[operand][i]);
}

/* Operands one after the other to `list`; how many there are. */
static int put_list(const hti_recorder *r, ht_var *const *from,
                    const hti_operand *operands, ht_var *list)
{
    int n = 0;
    for (; *operands != HTI_END; operands++)
        for (int i = 0; i < hti_operand_count(r->b, *operands); i++)
            if (!is_absent(r, from, *operands, i)) list[n++] = from[*operands][i];
    return n;
}

ht_var *hti_list(hti_recorder *r, ht_var *const *from, const hti_operand *operands,
                 int *n)
{
    ht_var *list = hti_vars_list(r->tape, count_of(r, operands));
    *n = list ? put_list(r, from, operands, list) : 0;
    return list;
}

void hti_fill_zeros(hti_recorder *r, hti_operand operand)
{
    const ht_set *set = hti_operand_set(r->b, operand);
    for (int i = 0; i < set->n; i++) {
        const ht_array *like = &set->tensor[i]->array;
        if (ht_is_zero(r->out[operand][i]))
            r->out[operand][i] =
                hti_spread(r->tape, 0, (ht_type){like->dtype, like->shape}, NULL);
    }
}

void hti_add_sums(hti_recorder *r, ht_var *d, bool *summed)
{
    for (int j = 0; j < r->n_eta; j++) {
        summed[j] = !ht_is_zero(d[j]);
        if (summed[j]) d[j] = ht_add(r->in[HTI_ETA_COTANGENT][j], d[j]);
    }
    r->out[HTI_ETA_COTANGENT] = d;
}

bool hti_derive(hti_recorder *r, int n_y, const ht_var *y, const ht_var *v,
                const hti_operand *by, ht_var *d, bool *reached)
{
    int n;
    ht_var *x = hti_list(r, r->in, by, &n);
    return x && hti_vjp(r->tape, n_y, y, v, n, x, d, reached, NULL);
}

/* What reaches a loss reaches something. */
void hti_join_reached(hti_recorder *r, const bool *reached, uint8_t by)
{
    uint8_t *reach = r->b->programs.reach;
    for (int i = 0; i < r->n_theta; i++)
        r->theta_reached[i] = r->theta_reached[i] || reached[i];
    for (int j = 0; j < r->n_eta; j++) {
        if (reached[r->n_theta + j]) reach[j] |= by;
        r->eta_reached[j] = r->eta_reached[j] || reached[r->n_theta + j];
    }
}

/* Tapes. */

/* The value of a coordinate u, which the callbacks see. */
static ht_var value_of(const ht_bilevel_problem *p, const char *name, ht_var u)
{
    for (int k = 0; k < p->n_coordinates; k++) {
        const ht_coordinate *c = &p->coordinates[k];
        if (strcmp(c->outer, name) != 0 || c->kind == HT_IDENTITY) continue;
        if (c->kind == HT_LOG) return ht_exp(u);
        return ht_add(ht_mul(ht_sigmoid(u), c->high - c->low), c->low);
    }
    return u;
}

ht_vars *hti_vars_of(hti_recorder *r, hti_operand operand, const ht_var *var)
{
    const ht_set *set = hti_operand_set(r->b, operand);
    ht_vars *vars = hti_vars_new(r->tape, set, *r->in[HTI_STEP]);
    if (!vars) return NULL;
    memcpy(vars->var, var, (size_t)set->n * sizeof *var);
    hti_name_all(r->tape, vars->n, var, vars->name);
    return vars;
}

static bool open_leaves(hti_recorder *r, hti_operand batch)
{
    hti_leaves(r, HTI_LIST(HTI_THETA, HTI_STATE, HTI_ETA, batch));
    r->in[HTI_STEP] = hti_vars_list(r->tape, 1);
    if (r->in[HTI_STEP])
        *r->in[HTI_STEP] =
            ht_input_like_at(r->tape, (ht_type){HT_I32, HT_SCALAR}, "step");
    return r->b->ctx->status == HT_OK;
}

bool hti_tape_open(hti_recorder *r, hti_operand batch)
{
    const hti_problem *p = &r->b->problem;
    memset(r->in, 0, sizeof r->in);
    memset(r->out, 0, sizeof r->out);
    r->tape = ht_tape_new(r->b->ctx, HT_RECORD);
    if (!r->tape || !open_leaves(r, batch)) return false;
    ht_var *value = hti_vars_list(r->tape, r->n_eta);
    if (!value) return false;
    for (int j = 0; j < r->n_eta; j++)
        value[j] = value_of(&p->asked, p->eta->name[j], r->in[HTI_ETA][j]);
    r->theta = hti_vars_of(r, HTI_THETA, r->in[HTI_THETA]);
    r->state = hti_vars_of(r, HTI_STATE, r->in[HTI_STATE]);
    r->eta = hti_vars_of(r, HTI_ETA, value);
    if (batch != HTI_END) r->batch = hti_vars_of(r, batch, r->in[batch]);
    return r->b->ctx->status == HT_OK;
}

void hti_tape_close(hti_recorder *r)
{
    ht_tape_free(r->tape);
    r->tape = NULL;
}

bool hti_loss_valid(hti_recorder *r, ht_var loss, bool outer)
{
    const char *which = outer ? "outer" : "inner";
    ht_context *ctx = r->b->ctx;
    if (ctx->status != HT_OK) return false;
    HT_ASSERT(loss.tape && !hti_is_number(loss),
              "problem.%s returned %s: return the variable of the loss, as ht_mean gives "
              "it%s%s",
              which, loss.tape ? "a number" : "a variable that was never set",
              HTI_AT(ctx->site));
    if (hti_check_named(loss, which, ctx->site) == HTI_NONE)
        return hti_fail_poisoned(ctx, which, NULL), false;
    HT_ASSERT(loss.tape == r->tape, "the %s loss is on another tape" HTI_ONE_TAPE "%s%s",
              which, HTI_AT(ctx->site));
    ht_type type = hti_type(loss);
    bool many = outer && type.shape.rank == 1 && type.shape.dim[0] > 0;
    if ((type.shape.rank == 0 || many) && hti_dtype_is_float(type.dtype)) return true;
    char text[HT_SHAPE_TEXT];
    ht_context_fail(ctx, hti_dtype_is_float(type.dtype) ? HT_ERROR_SHAPE : HT_ERROR_DTYPE,
                    hti_node_site(r->tape, loss.index),
                    "bilevel: the %s loss must be a 0-d float%s, it is %s %s\n"
                    "  hint: ht_mean or ht_sum it",
                    which, outer ? ", or (m) of them" : "", ht_dtype_name(type.dtype),
                    ht_shape_text(type.shape, text));
    return false;
}

static bool trains(const hti_recorder *r, int i)
{
    const hti_problem *p = &r->b->problem;
    return hti_update_of(&p->asked.update, p->theta->name[i]) != NULL;
}

bool hti_loss_reads(hti_recorder *r, ht_var loss, const bool *reached, bool inner)
{
    for (int i = 0; i < r->n_theta; i++)
        if (reached[i] && (!inner || trains(r, i))) return true;
    ht_context_fail(r->b->ctx, HT_ERROR_NO_GRADIENT, hti_node_site(r->tape, loss.index),
                    "bilevel: the %s loss does not depend on %s: %s\n"
                    "  hint: use ht_get(theta, name), where theta is what it is given",
                    inner ? "inner" : "outer",
                    inner ? "any parameter that trains" : "theta",
                    inner ? "there is nothing to train"
                          : "it is the same after any "
                            "training");
    return false;
}

void hti_note_idle(hti_recorder *r, const bool *reached)
{
    char *name[HTI_NOTE / 4], names[HTI_NOTE / 4];
    int n = 0;
    for (int i = 0; i < r->n_theta && n < HTI_NOTE / 4; i++)
        if (!reached[i] && trains(r, i)) name[n++] = r->b->problem.theta->name[i];
    if (!n) return;
    hti_set_names(names, sizeof names, n, name);
    hti_note(r->b, "the inner loss does not depend on all of theta: %s", names);
}

/* Cutting. */

/* Its lists are the context's memory and not the tape's: a step is cut many times. */
static ht_program *cut_lists(hti_recorder *r, hti_call_kind kind, int *n_in, int *n_out)
{
    const hti_signature *s = &hti_signatures[kind];
    int most_in = count_of(r, s->in);
    size_t bytes = (size_t)(most_in + count_of(r, s->out)) * sizeof(ht_var);
    ht_var *in = hti_resize(r->b->ctx, NULL, 0, bytes);
    if (!in) return NULL;
    ht_var *out = in + most_in;
    *n_in = put_list(r, r->in, s->in, in);
    *n_out = put_list(r, r->out, s->out, out);
    ht_program *program = ht_program_new_at(r->tape, *n_in, in, *n_out, out, NULL);
    hti_resize(r->b->ctx, in, bytes, 0);
    return program;
}

ht_program *hti_cut_program(hti_recorder *r, hti_call_kind kind)
{
    int n_in, n_out;
    return cut_lists(r, kind, &n_in, &n_out);
}

bool hti_cut_call(hti_recorder *r, hti_call_kind kind)
{
    hti_call *call = &r->b->programs.call[kind];
    call->program = cut_lists(r, kind, &call->n_in, &call->n_out);
    if (!call->program) return false;
    call->in = hti_zalloc(r->b->ctx, (size_t)call->n_in, sizeof *call->in);
    call->out = hti_zalloc(r->b->ctx, (size_t)call->n_out, sizeof *call->out);
    return r->b->ctx->status == HT_OK;
}
