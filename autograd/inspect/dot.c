/* SPDX-License-Identifier: MIT */
/* dot.c: a tape, or what some variables are made of, as a Graphviz digraph. Read next:
 * gradient_check.c. */
#include <string.h>

#include "inspect.h"

typedef struct graph {
    ht_tape *tape;
    bool moves;
    bool *shown;
    uint32_t *in; /* the inputs of a node, past what is not shown */
    uint32_t *starts;
    FILE *f;
} graph;

/* Node i, or what it moves, if that is all there is to say of it. */
static uint32_t graph_behind(const graph *g, uint32_t i)
{
    while (!g->moves && g->tape->op[i]->flags & HTI_OP_MOVES && !g->starts[i] &&
           !hti_name(g->tape, i))
        i = hti_inputs(g->tape, i)[0];
    return i;
}

/* All nodes, or what y is made of. */
static void graph_choose(const graph *g, int n, const ht_var *y)
{
    const ht_tape *tape = g->tape;
    memset(g->shown, n == 0, tape->n);
    for (int j = 0; j < n; j++) g->shown[y[j].index] = true;
    for (uint32_t i = tape->n; n && i-- > 0;)
        for (uint32_t e = 0; g->shown[i] && e < tape->n_in[i]; e++)
            g->shown[graph_behind(g, hti_inputs(tape, i)[e])] = true;
    for (uint32_t i = 0; !n && i < tape->n; i++) g->shown[i] = graph_behind(g, i) == i;
}

/* Text within quotes. */
static void graph_text(const char *text, FILE *f)
{
    for (; *text; text++)
        fprintf(f, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
}

static void graph_value(ht_tape *tape, uint32_t i, FILE *f)
{
    const ht_array *a = &tape->array[i];
    int64_t n = hti_count(&a->shape);
    if (tape->policy != HT_EAGER || hti_changed(tape, i)) return;
    fprintf(f, "\\n= ");
    if (n <= HTI_SHOWN) {
        hti_print_values(a, f);
        return;
    }
    hti_range r = hti_range_of(a);
    fprintf(f, "%.6g .. %.6g, mean %.6g", hti_printed(r.least), hti_printed(r.most),
            hti_printed(r.mean));
}

static const char *graph_colour(const ht_tape *tape, uint32_t i)
{
    static const char *const derived[] = {"white", "khaki", "orange", "tomato"};
    uint32_t order = hti_origin_of(tape, i).order;
    if (tape->op[i] == &hti_op_input) return "lightblue";
    if (tape->op[i] == &hti_op_constant) return "lightgrey";
    return derived[order < 3 ? order : 3];
}

static void graph_node(const graph *g, uint32_t i)
{
    ht_tape *tape = g->tape;
    char formula[HTI_FORMULA], type[HTI_TYPE_TEXT], name[HTI_QUOTED];
    for (uint32_t e = 0; e < tape->n_in[i]; e++)
        g->in[e] = graph_behind(g, hti_inputs(tape, i)[e]);
    hti_formula(tape->op[i], tape->attributes[i], tape->n_in[i], g->in, formula,
                sizeof formula);
    fprintf(g->f, "  n%u [label=\"%%%u = ", i, i);
    graph_text(formula, g->f);
    fprintf(g->f, "\\n%s", hti_type_text(tape->type[i], type));
    graph_text(hti_quoted(tape, i, name), g->f);
    graph_value(tape, i, g->f);
    hti_print_origin(tape, i, g->starts[i], "\\n", g->f);
    fprintf(g->f, "\", fillcolor=%s%s];\n", graph_colour(tape, i),
            g->starts[i] ? ", penwidth=3" : "");
    for (uint32_t e = 0; e < tape->n_in[i]; e++)
        fprintf(g->f, "  n%u -> n%u;\n", g->in[e], i);
}

static bool graph_room(graph *g)
{
    uint32_t n = g->tape->n, most = 0;
    for (uint32_t i = 0; i < n; i++)
        if (g->tape->n_in[i] > most) most = g->tape->n_in[i];
    g->starts = hti_starts(g->tape);
    g->shown = hti_arena_alloc(&g->tape->scratch, n);
    g->in = hti_arena_alloc(&g->tape->scratch, most * sizeof *g->in);
    return g->starts && g->shown && g->in;
}

void ht_tape_dot_of(const ht_tape *tape, int n, const ht_var *y, bool moves, FILE *f)
{
    HT_ASSERT(tape && f && n >= 0 && (y || !n),
              "ht_tape_dot_of: tape %p, file %p, %d variables at %p", (const void *)tape,
              (void *)f, n, (const void *)y);
    graph g = {.tape = (ht_tape *)(uintptr_t)tape, .moves = moves, .f = f};
    hti_arena_mark mark = hti_arena_at(&tape->scratch);
    bool ok = hti_needs_all(g.tape, n, y, false, false, "ht_tape_dot_of", "y", NULL);
    fprintf(f, "digraph tape {\n  rankdir=TB; node [shape=box, style=filled, "
               "fontname=monospace];\n");
    if (ok && graph_room(&g)) {
        graph_choose(&g, n, y);
        for (uint32_t i = 0; i < tape->n; i++)
            if (g.shown[i]) graph_node(&g, i);
    }
    fprintf(f, "}\n");
    hti_arena_rewind(&g.tape->scratch, mark);
}

void ht_tape_dot(const ht_tape *tape, FILE *f)
{
    HT_ASSERT(tape && f, "ht_tape_dot: tape %p, file %p", (const void *)tape, (void *)f);
    ht_tape_dot_of(tape, 0, NULL, true, f);
}
