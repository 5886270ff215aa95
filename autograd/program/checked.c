/* SPDX-License-Identifier: MIT */
/* checked.c: ht_program_run, which looks at types and shared memory before it runs. Read
 * next: replay.c. */
#include <string.h>

#include "program.h"

static bool program_fits(const ht_program *p, const char *what, uint32_t k,
                         const hti_value *value, const ht_tensor *got)
{
    HT_ASSERT(got, "ht_program_run: %s %u is NULL", what, k);
    ht_type is = {got->array.dtype, got->array.shape};
    if (hti_same_type(&value->type, &is)) return true;
    char a[HTI_TYPE_TEXT], b[HTI_TYPE_TEXT];
    ht_context_fail(p->ctx, hti_unlike(value->type.dtype, is.dtype), value->site,
                    "ht_program_run: %s %u must be %s, not %s\n"
                    "  hint: a program has one shape; record another for another",
                    what, k, hti_type_text(value->type, a), hti_type_text(is, b));
    return false;
}

/* Whether the bytes of two tensors meet. */
static bool tensors_meet(const ht_tensor *a, const ht_tensor *b)
{
    uintptr_t x = (uintptr_t)a->array.data, y = (uintptr_t)b->array.data;
    return x < y + ht_tensor_bytes(b) && y < x + ht_tensor_bytes(a);
}

static bool program_sharing(const ht_program *p, const ht_tensor *const *in,
                            ht_tensor *const *out)
{
    for (uint32_t k = 0; k < p->n_out; k++) {
        for (uint32_t j = 0; j < p->n_in; j++) {
            if (!tensors_meet(in[j], out[k])) continue;
            if (in[j]->array.data == out[k]->array.data && hti_program_may_share(p, k, j))
                continue;
            ht_context_fail(
                p->ctx, HT_ERROR_ARGUMENT, p->value[p->out[k]].site,
                "ht_program_run: output %u is the memory of input %u, which is still "
                "read when it is written\n  hint: give the output a tensor of its own",
                k, j);
            return false;
        }
        for (uint32_t j = 0; j < k; j++) {
            if (!tensors_meet(out[j], out[k])) continue;
            ht_context_fail(p->ctx, HT_ERROR_ARGUMENT, NULL,
                            "ht_program_run: outputs %u and %u are the same memory", j,
                            k);
            return false;
        }
    }
    return true;
}

/* Memory that is not that of the last run is looked at anew, and forgotten if it will not
 * do. */
ht_status ht_program_run_at(ht_program *p, const ht_tensor *const *in,
                            ht_tensor *const *out, const char *site)
{
    HT_ASSERT(p && (in || !p->n_in) && out, "ht_program_run: program %p, in %p, out %p",
              (void *)p, (const void *)in, (const void *)out);
    HTI_ALIVE(p, "ht_program_run", "program");
    if (p->ctx->status != HT_OK) return p->ctx->status;
    for (uint32_t j = 0; j < p->n_in; j++)
        if (!program_fits(p, "input", j, &p->value[j], in[j])) return p->ctx->status;
    for (uint32_t k = 0; k < p->n_out; k++)
        if (!program_fits(p, "output", k, &p->value[p->out[k]], out[k]))
            return p->ctx->status;
    bool moved = false;
    for (uint32_t j = 0; j < p->n_in; j++)
        moved |= hti_program_set(p, j, j, in[j]->array.data);
    for (uint32_t k = 0; k < p->n_out; k++)
        moved |= hti_program_set(p, p->n_in + k, p->out[k], out[k]->array.data);
    if (moved && !program_sharing(p, in, out)) {
        memset(p->bound, 0, (p->n_in + (size_t)p->n_out) * sizeof *p->bound);
        return p->ctx->status;
    }
    for (uint32_t k = 0; k < p->n_out; k++)
        hti_tensor_write(out[k], "ht_program_run", site);
    return hti_program_go(p);
}
