/* SPDX-License-Identifier: MIT */
/* html_tape.c: a tape as a page: what print.c says of each node, to be stepped through.
 * Read next: html_program.c. */
#include <string.h>

#include "inspect.h"

/* The first values, and of more than those the least, the mean and the largest. */
static void page_value(hti_page *page, ht_tape *tape, uint32_t i)
{
    const ht_array *a = &tape->array[i];
    const ht_tensor *changed = hti_changed(tape, i);
    if (changed) hti_page_field(page, "c", changed->changed_by);
    if (changed || tape->policy != HT_EAGER) return;
    const char *comma = "";
    int64_t n = hti_count(&a->shape);
    hti_page_print(page, ",\"v\":[");
    for (int64_t k = 0; k < n && k < HTI_SHOWN; k++, comma = ",")
        hti_page_print(page, "%s\"%.6g\"", comma, hti_printed(hti_element(a, k)));
    hti_page_print(page, "]");
    if (n <= HTI_SHOWN) return;
    hti_range r = hti_range_of(a);
    hti_page_print(page, ",\"r\":[\"%.6g\",\"%.6g\",\"%.6g\"]", hti_printed(r.least),
                   hti_printed(r.mean), hti_printed(r.most));
}

static void page_node(hti_page *page, ht_tape *tape, uint32_t i)
{
    char formula[HTI_FORMULA];
    hti_formula(tape->op[i], tape->attributes[i], tape->n_in[i], hti_inputs(tape, i),
                formula, sizeof formula);
    hti_page_print(page, i ? ",\n{" : "\n{");
    hti_page_inputs(page, tape->n_in[i], hti_inputs(tape, i));
    hti_page_field(page, "o", tape->op[i]->name);
    hti_page_field(page, "f", formula);
    hti_page_type(page, &tape->type[i]);
    if (tape->op[i]->view) hti_page_print(page, ",\"w\":1");
    hti_page_field(page, "n", hti_name(tape, i));
    hti_page_field(page, "l", hti_site_name(tape->site[i]));
    page_value(page, tape, i);
    hti_page_print(page, "}");
}

/* Where what makes nodes changes: first node, whose rule, order, kind. */
static void page_origins(hti_page *page, const ht_tape *tape)
{
    hti_page_print(page, "],\"origins\":[");
    for (uint32_t k = 0; k < tape->n_origins; k++) {
        const hti_origin *o = &tape->origin[k];
        hti_page_print(page, "%s[%u,%u,%u,%d]", k ? "," : "", o->first, o->node, o->order,
                       (int)o->kind);
    }
    hti_page_print(page, "]}");
}

ht_status ht_tape_write_html(const ht_tape *tape, const char *path)
{
    HT_ASSERT(tape && path, "ht_tape_write_html: tape %p, path %p", (const void *)tape,
              (const void *)path);
    HTI_ALIVE(tape, "ht_tape_write_html", "tape");
    hti_page page;
    hti_page_open(&page, tape->ctx, path);
    hti_page_part(&page, "tape",
                  tape->policy == HT_EAGER ? "eager tape" : "recorded tape");
    hti_page_print(&page, ",\"nodes\":[");
    for (uint32_t i = 0; i < tape->n; i++)
        page_node(&page, (ht_tape *)(uintptr_t)tape, i);
    page_origins(&page, tape);
    return hti_page_close(&page);
}
