/* SPDX-License-Identifier: MIT */
/* print.c: tapes and programs as text: what a node is, how large, what it is called,
 * which line of the caller made it or which node's rule. Read next: dot.c. */
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "inspect.h"

const char *hti_site_name(const char *site)
{
    const char *slash = site ? strrchr(site, '/') : NULL;
    return slash ? slash + 1 : site ? site : "";
}

/* Appends printf-like to text. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static void
append_text(char *text, size_t size, const char *format, ...)
{
    size_t used = strlen(text);
    va_list list;
    va_start(list, format);
    vsnprintf(text + used, size - used, format, list);
    va_end(list);
}

void hti_formula(const ht_op *op, const void *attributes, uint32_t n, const uint32_t *in,
                 char *text, size_t size)
{
    text[0] = '\0';
    if (op->formula) {
        for (const char *c = op->formula; *c; c++) {
            if (c[0] != '$')
                append_text(text, size, "%c", *c);
            else if ((uint32_t)(*++c - '0') < n)
                append_text(text, size, "%%%u", in[*c - '0']);
        }
    } else {
        append_text(text, size, "%s(", op->name);
        for (uint32_t e = 0; e < n; e++)
            append_text(text, size, "%s%%%u", e ? ", " : "", in[e]);
        append_text(text, size, ")");
    }
    if (!op->describe) return;
    char what[HT_SHAPE_TEXT];
    op->describe(attributes, what, sizeof what);
    append_text(text, size, " {%s}", what);
}

void hti_print_bytes(FILE *f, double bytes)
{
    static const char *const unit[] = {"B ", "kB", "MB", "GB"};
    int k = 0;
    for (; k < 3 && bytes >= 1000; k++) bytes /= 1000;
    fprintf(f, k ? "%5.1f %s" : "%4.0f %s", bytes, unit[k]);
}

static void print_flops(FILE *f, double flops)
{
    static const char *const unit[] = {"flop", "kflop", "Mflop", "Gflop"};
    int k = 0;
    for (; k < 3 && flops >= 1000; k++) flops /= 1000;
    fprintf(f, "%.4g %s", flops, unit[k]);
}

/* "%12 = tanh(%3)    f32 (64, 10)   2.6 kB" */
static void print_line(FILE *f, uint32_t name, const char *formula, const ht_type *type)
{
    char shape[HT_SHAPE_TEXT];
    fprintf(f, "%%%-4u = %-44s %s %-14s ", name, formula, ht_dtype_name(type->dtype),
            ht_shape_text(type->shape, shape));
    hti_print_bytes(f, (double)hti_bytes(type->dtype, type->shape));
}

/* Tapes. */

hti_range hti_range_of(const ht_array *a)
{
    int64_t n = hti_count(&a->shape);
    double first = n ? hti_element(a, 0) : (double)NAN, sum = 0;
    hti_range r = {first, first, first};
    for (int64_t k = 0; k < n; k++) {
        double x = hti_element(a, k);
        r.least = x < r.least ? x : r.least;
        r.most = x > r.most ? x : r.most;
        sum += x;
    }
    r.mean = sum / (double)n;
    return r;
}

void hti_print_values(const ht_array *a, FILE *f)
{
    int64_t n = ht_shape_count(a->shape);
    if (a->shape.rank) fprintf(f, "[");
    for (int64_t k = 0; k < n && k < HTI_SHOWN; k++)
        fprintf(f, "%s%.6g", k ? ", " : "", hti_printed(hti_element(a, k)));
    if (n > HTI_SHOWN) fprintf(f, ", ...");
    if (a->shape.rank) fprintf(f, "]");
}

uint32_t *hti_starts(ht_tape *tape)
{
    uint32_t *order = hti_arena_alloc(&tape->scratch, tape->n * sizeof *order);
    if (!order) return NULL;
    memset(order, 0, tape->n * sizeof *order);
    for (uint32_t k = 0; k < tape->n_origins; k++) {
        const hti_origin *o = &tape->origin[k];
        if (hti_origin_starts(o)) order[o->node] = o->order;
    }
    return order;
}

void hti_print_origin(ht_tape *tape, uint32_t i, uint32_t starts, const char *before,
                      FILE *f)
{
    static const char *const by[] = {
        [HTI_BY_RULE] = "by", [HTI_BY_VJP] = "of", [HTI_BY_JVP] = "along"};
    hti_origin o = hti_origin_of(tape, i);
    if (o.kind != HTI_BY_CALL)
        fprintf(f, "%sd%u %s %%%u", before, o.order, by[o.kind], o.node);
    if (starts) fprintf(f, "%sd%u starts", before, starts);
}

static void print_node(ht_tape *tape, uint32_t i, uint32_t starts, FILE *f)
{
    char formula[HTI_FORMULA], name[HTI_QUOTED];
    hti_formula(tape->op[i], tape->attributes[i], tape->n_in[i], hti_inputs(tape, i),
                formula, sizeof formula);
    print_line(f, i, formula, &tape->type[i]);
    fprintf(f, "%s  %s", hti_quoted(tape, i, name), hti_site_name(tape->site[i]));
    hti_print_origin(tape, i, starts, "  ", f);
    const ht_tensor *changed = hti_changed(tape, i);
    if (changed)
        fprintf(f, "  (changed since by %s)", changed->changed_by);
    else if (tape->policy == HT_EAGER) {
        fprintf(f, "  = ");
        hti_print_values(&tape->array[i], f);
    }
    fprintf(f, "\n");
}

/* All nodes, or node i alone. */
static void print_nodes(ht_tape *tape, uint32_t i, uint32_t n, FILE *f)
{
    hti_arena_mark mark = hti_arena_at(&tape->scratch);
    const uint32_t *starts = hti_starts(tape);
    for (; starts && i < n; i++) print_node(tape, i, starts[i], f);
    hti_arena_rewind(&tape->scratch, mark);
}

void ht_print(ht_var x, FILE *f)
{
    HT_ASSERT(f, "ht_print: the file is NULL");
    if (hti_is_poison(x))
        fprintf(f, "(no value: %s)\n", ht_context_message(x.tape->ctx));
    else
        print_nodes(x.tape, hti_check_named(x, __func__, NULL), x.index + 1, f);
    if (hti_is_poison(x) || x.tape->policy != HT_EAGER || hti_changed(x.tape, x.index))
        return;
    const ht_array *a = &x.tape->array[x.index];
    if (a->shape.rank > 1 || hti_count(&a->shape) > HTI_SHOWN) hti_print_array(a, f);
}

void ht_tape_print(const ht_tape *tape, FILE *f)
{
    HT_ASSERT(tape && f, "ht_tape_print: tape %p, file %p", (const void *)tape,
              (void *)f);
    double bytes = 0;
    print_nodes((ht_tape *)(uintptr_t)tape, 0, tape->n, f);
    for (uint32_t i = 0; i < tape->n; i++) {
        if (!tape->op[i]->view)
            bytes += (double)hti_bytes(tape->type[i].dtype, tape->type[i].shape);
    }
    fprintf(f, "%s tape: %u nodes, ", tape->policy == HT_EAGER ? "eager" : "recorded",
            tape->n);
    hti_print_bytes(f, bytes);
    fprintf(f, " of values\n");
}

/* Programs. */

static void print_place(const hti_value *v, FILE *f)
{
    static const char *const where[] = {
        [HTI_IN_INPUT] = "in ",         [HTI_IN_OUTPUT] = "out ",
        [HTI_IN_CONSTANT] = "constant", [HTI_IN_ARENA] = "at ",
        [HTI_IN_VIEW] = "view of %",    [HTI_IN_TILE] = "in a tile"};
    fprintf(f, "  %s", where[v->place]);
    if (v->place != HTI_IN_CONSTANT && v->place != HTI_IN_TILE)
        fprintf(f, "%zu", v->place == HTI_IN_ARENA ? v->offset : v->slot);
}

/* What the cut had, and what a run is left with. */
static void print_passes(const ht_program *p, FILE *f)
{
    double bytes = 0;
    uint32_t moved = 0, fused = 0, sums = 0;
    for (uint32_t i = p->n_in; i < p->n_values; i++) {
        const hti_value *v = &p->value[i];
        moved += v->place == HTI_IN_VIEW || v->place == HTI_IN_CONSTANT;
        if (v->place != HTI_IN_VIEW)
            bytes += (double)hti_bytes(v->type.dtype, v->type.shape);
    }
    for (uint32_t g = 0; g < p->n_groups; g++)
        for (uint32_t m = p->group[g].first; m != HTI_NONE; m = p->value[m].next) {
            fused++;
            sums += p->value[m].op == &hti_op_sum || p->value[m].op == &hti_op_mean;
        }
    fprintf(f, "program: %u inputs, %lld instructions, %u outputs, products ", p->n_in,
            (long long)ht_program_nodes(p), p->n_out);
    print_flops(f, ht_program_flops(p));
    fprintf(f, "\n  one by one: %lld kernel calls, ",
            (long long)ht_program_nodes(p) - moved);
    hti_print_bytes(f, bytes);
    fprintf(f,
            " of values\n  as planned: %u kernel calls (%u instructions in %u groups, "
            "%u of them sums), arena ",
            p->n_instructions, fused, p->n_groups, sums);
    hti_print_bytes(f, (double)p->arena_bytes);
    fprintf(f, "\n");
}

void ht_program_print(const ht_program *p, FILE *f)
{
    HT_ASSERT(p && f, "ht_program_print: program %p, file %p", (const void *)p,
              (void *)f);
    HTI_ALIVE(p, "ht_program_print", "program");
    for (uint32_t i = 0; i < p->n_values; i++) {
        const hti_value *v = &p->value[i];
        char formula[HTI_FORMULA] = "input";
        if (v->op)
            hti_formula(v->op, v->attributes, v->n_in, p->edge + v->first_in, formula,
                        sizeof formula);
        print_line(f, i, formula, &v->type);
        print_place(v, f);
        if (v->when != i) fprintf(f, ", with %%%u", v->when);
        double flops = hti_value_flops(p, v);
        if (flops > 0) {
            fprintf(f, "  ");
            print_flops(f, flops);
        }
        fprintf(f, "  %s\n", hti_site_name(v->site));
    }
    print_passes(p, f);
}
