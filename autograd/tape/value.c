/* SPDX-License-Identifier: MIT */
/* value.c: looking at a variable: its type, and on an eager tape its value. Read next:
 * fail.c. */
#include <math.h>

#include "tape.h"

enum { HTI_MADE = 256 };

ht_type hti_type(ht_var x)
{
    return x.tape->type[x.index];
}

bool hti_is_weak(ht_var x)
{
    return x.tape->weak[x.index];
}

ht_shape ht_var_shape(ht_var x)
{
    return hti_check_named(x, __func__, NULL) == HTI_NONE ? HT_SCALAR : hti_type(x).shape;
}

ht_dtype ht_var_dtype(ht_var x)
{
    return hti_check_named(x, __func__, NULL) == HTI_NONE ? HT_F32 : hti_type(x).dtype;
}

/* The strided value made contiguous, as a tensor that dies with the node. */
static ht_tensor *value_tensor(ht_tape *tape, uint32_t i)
{
    ht_tensor value = {.ctx = tape->ctx, .array = tape->array[i]}, *x;
    ht_array *a = &value.array;
    if (!(x = hti_tape_alloc(tape, sizeof *x))) return NULL;
    *x = value;
    if (hti_is_contiguous(a)) return x;
    void *data = hti_tape_alloc(tape, hti_bytes(a->dtype, a->shape));
    if (!data) return NULL;
    x->array = hti_contiguous(data, a->dtype, a->shape);
    ht_tensor_copy(x, &value);
    return x;
}

/* Where variable x was made, beside where it is read. */
static const char *made_at(ht_var x, char text[HTI_MADE])
{
    const char *site = x.tape->site[x.index];
    snprintf(text, HTI_MADE, "%s%s%s", site ? ", made at " : "", site ? site : "",
             site ? "," : "");
    return text;
}

const ht_tensor *ht_value_at(ht_var x, const char *site)
{
    uint32_t i = hti_check_named(x, "ht_value", site);
    if (i == HTI_NONE) return NULL;
    ht_tape *tape = x.tape;
    if (tape->policy != HT_EAGER) {
        char name[HTI_QUOTED], made[HTI_MADE];
        ht_context_fail(
            tape->ctx, HT_ERROR_ARGUMENT, site,
            "value: node %%%u%s%s is recorded, it has a type but no value yet; reading "
            "it would freeze a branch\n  hint: ht_where chooses by a value; to read "
            "one, run a program, or use an HT_EAGER tape",
            i, hti_quoted(tape, i, name), made_at(x, made));
        return NULL;
    }
    if (!hti_still_holds(tape, i, "value", site)) return NULL;
    if (!tape->tensor[i]) tape->tensor[i] = value_tensor(tape, i);
    return tape->tensor[i];
}

double ht_item_at(ht_var x, const char *site)
{
    hti_check_named(x, "ht_item", site);
    const ht_tensor *value = ht_value_at(x, site);
    if (!value) return (double)NAN;
    if (ht_tensor_count(value) != 1) {
        char text[HT_SHAPE_TEXT], made[HTI_MADE];
        ht_context_fail(x.tape->ctx, HT_ERROR_SHAPE, site,
                        "item: a value of shape %s%s is not one element\n"
                        "  hint: ht_sum or ht_mean it",
                        ht_shape_text(ht_tensor_shape(value), text), made_at(x, made));
        return (double)NAN;
    }
    return ht_tensor_get(value, 0);
}
