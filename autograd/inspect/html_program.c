/* SPDX-License-Identifier: MIT */
/* html_program.c: a program as a page: its instructions, and where and how long each
 * value lives in the arena. Read next: page/viewer.js. */
#include "inspect.h"

/* Where a value is: "p"; for how long, of memory in the arena: "a" [offset, bytes, from,
 * to], the instructions that make it and read it last. */
static void page_place(hti_page *page, const ht_program *p, uint32_t i)
{
    static const char *const where[] = {
        [HTI_IN_INPUT] = "in",    [HTI_IN_OUTPUT] = "out", [HTI_IN_CONSTANT] = "constant",
        [HTI_IN_ARENA] = "arena", [HTI_IN_VIEW] = "view",  [HTI_IN_TILE] = "tile"};
    const hti_value *v = &p->value[i];
    hti_page_field(page, "p", where[v->place]);
    hti_page_print(page, ",\"x\":%u", v->when);
    if (v->place == HTI_IN_INPUT || v->place == HTI_IN_OUTPUT || v->place == HTI_IN_VIEW)
        hti_page_print(page, ",\"k\":%u", v->slot);
    if (v->place == HTI_IN_ARENA)
        hti_page_print(page, ",\"a\":[%zu,%zu,%u,%u]", v->offset, v->bytes, v->when,
                       v->last_use > v->when ? v->last_use : v->when);
}

static void page_instruction(hti_page *page, const ht_program *p, uint32_t i)
{
    const hti_value *v = &p->value[i];
    char formula[HTI_FORMULA] = "input";
    if (v->op)
        hti_formula(v->op, v->attributes, v->n_in, p->edge + v->first_in, formula,
                    sizeof formula);
    hti_page_print(page, i ? ",\n{" : "\n{");
    hti_page_inputs(page, v->op ? v->n_in : 0, p->edge + v->first_in);
    hti_page_field(page, "o", v->op ? v->op->name : "input");
    hti_page_field(page, "f", formula);
    hti_page_type(page, &v->type);
    hti_page_field(page, "l", hti_site_name(v->site));
    page_place(page, p, i);
    double flops = hti_value_flops(p, v);
    if (flops > 0) hti_page_print(page, ",\"h\":%.0f", flops);
    hti_page_print(page, "}");
}

/* Memory that an instruction works in: [instruction, offset, bytes]. */
static void page_workspace(hti_page *page, const ht_program *p)
{
    const char *comma = "";
    hti_page_print(page, "],\"work\":[");
    for (uint32_t k = 0; k < p->n_instructions; k++) {
        const hti_instruction *it = &p->instruction[k];
        if (!it->workspace_bytes) continue;
        hti_page_print(page, "%s[%u,%zu,%zu]", comma, it->value, it->workspace_offset,
                       it->workspace_bytes);
        comma = ",";
    }
}

void hti_page_program(hti_page *page, const ht_program *p, const char *title)
{
    hti_page_part(page, "program", title);
    hti_page_print(page,
                   ",\"arena\":%zu,\"flops\":%.0f,\"calls\":%u,\"instructions\":%lld,"
                   "\"nodes\":[",
                   p->arena_bytes, ht_program_flops(p), p->n_instructions,
                   (long long)ht_program_nodes(p));
    for (uint32_t i = 0; i < p->n_values; i++) page_instruction(page, p, i);
    page_workspace(page, p);
    hti_page_print(page, "],\"out\":[");
    for (uint32_t k = 0; k < p->n_out; k++)
        hti_page_print(page, k ? ",%u" : "%u", p->out[k]);
    hti_page_print(page, "]}");
}

ht_status ht_program_write_html(const ht_program *p, const char *path)
{
    HT_ASSERT(p && path, "ht_program_write_html: program %p, path %p", (const void *)p,
              (const void *)path);
    HTI_ALIVE(p, "ht_program_write_html", "program");
    hti_page page;
    hti_page_open(&page, p->ctx, path);
    hti_page_program(&page, p, "program");
    return hti_page_close(&page);
}
