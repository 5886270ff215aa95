/* SPDX-License-Identifier: MIT */
/* borrow.c: the tensors an eager tape reads, and what becomes of a leaf when one is
 * written to before the tape is reset (gradient, step, reset: PyTorch's order). Values
 * that were computed stay right; to read the leaf again would mix old values with new
 * ones, and is refused. A write to a borrowed tensor has a number, the context's count of
 * them; `next` of a leaf, which is in no bucket, is the count when it was made.
 * Read next: tape.c. */
#include "tape.h"

void hti_borrow(ht_tape *tape, uint32_t i, const ht_tensor *value)
{
    tape->array[i] = ht_tensor_array(value);
    tape->tensor[i] = (ht_tensor *)(uintptr_t)value;
    tape->tensor[i]->borrows++;
    tape->tensor[i]->foreign |= value->ctx != tape->ctx;
    tape->next[i] = tape->ctx->changes;
}

void hti_give_back(ht_tape *tape, uint32_t i)
{
    ht_tensor *x = tape->tensor[i];
    if (x && --x->borrows == 0) x->foreign = false;
}

/* The count may have gone round: later is less than half of it ahead. */
static bool leaf_changed(const ht_tape *tape, uint32_t i)
{
    const ht_tensor *x = tape->op[i] == &hti_op_input ? tape->tensor[i] : NULL;
    return x && x->changed_by && (int32_t)(x->changed - tape->next[i]) > 0;
}

void hti_look_for_changes(ht_tape *tape)
{
    tape->stale = false;
    tape->looked_at = tape->ctx->changes;
    for (uint32_t i = 0; i < tape->n && !tape->stale; i++)
        tape->stale = leaf_changed(tape, i);
}

const ht_tensor *hti_changed(ht_tape *tape, uint32_t i)
{
    if (!hti_is_stale(tape)) return NULL;
    uint32_t leaf = i;
    while (tape->op[leaf]->view) leaf = hti_inputs(tape, leaf)[0];
    if (!leaf_changed(tape, leaf)) return NULL;
    const ht_tensor *x = tape->tensor[leaf];
    uintptr_t at = (uintptr_t)tape->array[i].data, first = (uintptr_t)x->array.data;
    return at >= first && at - first < ht_tensor_bytes(x) ? x : NULL;
}

bool hti_still_holds(ht_tape *tape, uint32_t i, const char *op, const char *site)
{
    const ht_tensor *x = hti_changed(tape, i);
    if (!x) return true;
    char text[HTI_TENSOR_TEXT];
    const char *at = x->changed_at;
    hti_fail(
        tape, HT_ERROR_ARGUMENT, site, op,
        "reads %s, which %s%s%s has changed since the tape took it: old values and "
        "new ones would be mixed\n"
        "  hint: ht_tape_reset after the change, then ht_input or ht_vars_input again",
        hti_tensor_text(x, text), x->changed_by, at ? " at " : "", at ? at : "");
    return false;
}
