/* SPDX-License-Identifier: MIT */
/* fail.c: handles that will not do, and how an error is said: by the name of the function
 * called, what was given and the caller's line. Read next: apply.c. */
#include <stdarg.h>
#include <string.h>

#include "tape.h"

const char ht_number_tag = 0;

double hti_number_value(ht_var x)
{
    union {
        uint32_t word[2];
        double value;
    } bits = {{x.index, x.stamp}};
    return bits.value;
}

bool ht_is_zero(ht_var x)
{
    return hti_is_zero(x);
}

/* Errors. */

const char *hti_type_text(ht_type type, char text[HTI_TYPE_TEXT])
{
    char shape[HT_SHAPE_TEXT];
    snprintf(text, HTI_TYPE_TEXT, "%s %s", ht_dtype_name(type.dtype),
             ht_shape_text(type.shape, shape));
    return text;
}

ht_var hti_fail(ht_tape *tape, ht_status status, const char *site, const char *op,
                const char *format, ...)
{
    char text[HTI_MESSAGE / 2];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    ht_context_fail(tape->ctx, status, hti_site(tape, site), "%s: %s",
                    hti_called(tape, op), text);
    return hti_poison(tape);
}

void hti_fail_poisoned(ht_context *ctx, const char *who, const char *site)
{
    ht_context_fail(ctx, HT_ERROR_ARGUMENT, site,
                    "%s: a variable without a value: the op that should have made it "
                    "failed, and its error was cleared",
                    who);
}

const char *hti_name(const ht_tape *tape, uint32_t i)
{
    const hti_names *names = tape->names;
    while (names && i - names->first >= names->n) names = names->before;
    return names ? names->name[i - names->first] : NULL;
}

const char *hti_quoted(const ht_tape *tape, uint32_t i, char text[HTI_QUOTED])
{
    const char *name = hti_name(tape, i);
    text[0] = '\0';
    if (name) snprintf(text, HTI_QUOTED, " \"%.*s\"", HTI_QUOTED - 4, name);
    return text;
}

bool ht_infer_fail(ht_infer *it, ht_status status, const char *format, ...)
{
    HT_ASSERT(it, "ht_infer_fail: the infer is NULL");
    char text[HTI_MESSAGE / 2], types[HTI_MESSAGE / 3] = "", type[HTI_TYPE_TEXT],
                                                    name[HTI_QUOTED];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    for (int i = 0; i < it->n_in && i < HT_OP_INPUTS; i++) {
        size_t used = strlen(types);
        snprintf(types + used, sizeof types - used, "%s%s%s", i ? ", " : "",
                 hti_type_text(it->in[i], type),
                 hti_quoted(it->var[i].tape, it->var[i].index, name));
    }
    ht_context_fail(it->ctx, status, hti_site(it->var->tape, it->site),
                    "%s: %s\n  inputs: %s%s", it->name, text, types,
                    it->n_in > HT_OP_INPUTS ? ", ..." : "");
    return false;
}

void hti_call_begin(ht_var on, const char *name, const char *site)
{
    if (hti_is_zero(on)) return;
    hti_check_named(on, name, site);
    if (!on.tape->calls++) on.tape->calling = name;
}

ht_var hti_call_end(ht_var on, ht_var out)
{
    if (on.tape && !--on.tape->calls) on.tape->calling = NULL;
    return out;
}

/* Handles. */

enum { HTI_WHO = 64 };

/* "ht_reshape" of ht_reshape_at, by whose macro it was called. */
static const char *without_at(const char *who, char text[HTI_WHO])
{
    size_t length = strlen(who);
    if (length < 4 || length >= HTI_WHO || strcmp(who + length - 3, "_at")) return who;
    snprintf(text, HTI_WHO, "%.*s", (int)length - 3, who);
    return text;
}

static uint32_t check_unusual(ht_var x, const char *who, const char *site)
{
    char text[HTI_WHO];
    who = without_at(who, text);
    HT_ASSERT(
        x.tape,
        "%s: a variable that was never set (or HT_ZERO) where a value is needed%s%s", who,
        HTI_AT(site));
    HT_ASSERT(!hti_is_number(x), "%s: the number %g where a variable is needed%s%s", who,
              hti_number_value(x), HTI_AT(site));
    who = hti_called(x.tape, who);
    if (x.index == HTI_NONE) return HTI_NONE;
    bool reset = (int32_t)(x.stamp - x.tape->reset_stamp) < 0;
    HT_ASSERT(hti_is_live(x),
              "%s: stale variable: node %u was made before the tape was %s: read it "
              "before, or make it again (ht_input, ht_vars_input, the ops on them) after "
              "each ht_tape_%s (stamp %u, now %u)%s%s",
              who, x.index, reset ? "reset" : "rewound", reset ? "reset" : "rewind",
              x.stamp, x.tape->current_stamp, HTI_AT(site));
    return x.index;
}

uint32_t hti_check_named(ht_var x, const char *who, const char *site)
{
    return hti_is_live(x) ? x.index : check_unusual(x, who, site);
}

ht_tape *hti_tape_among(int n, const ht_var *x)
{
    for (int i = 0; i < n; i++)
        if (x[i].tape && !hti_is_number(x[i])) return x[i].tape;
    return NULL;
}

bool hti_needs_all(ht_tape *tape, int n, const ht_var *list, bool absent, bool numbers,
                   const char *name, const char *what, const char *site)
{
    for (int i = 0; i < n; i++) {
        if ((absent && ht_is_zero(list[i])) || (numbers && hti_is_number(list[i])))
            continue;
        if (hti_is_poison(hti_needs(tape, list[i], name, what, i, site))) return false;
    }
    return true;
}

ht_var hti_needs(ht_tape *tape, ht_var x, const char *name, const char *input, int i,
                 const char *site)
{
    if (!tape) hti_check_named(x, name, site);
    if (hti_is_live(x) && x.tape == tape) return x;
    char place[16] = "";
    if (i >= 0) snprintf(place, sizeof place, "[%d]", i);
    if (x.tape && !hti_is_number(x)) {
        hti_check_named(x, name, site);
        HT_ASSERT(x.tape == tape, "%s: %s%s is on another tape" HTI_ONE_TAPE "%s%s",
                  hti_called(tape, name), input, place, HTI_AT(site));
        return x;
    }
    if (tape->ctx->status != HT_OK) return hti_poison(tape);
    if (!hti_is_number(x))
        return hti_fail(tape, HT_ERROR_ARGUMENT, site, name,
                        "%s%s is HT_ZERO, or was never set: it must be a variable", input,
                        place);
    return hti_fail(tape, HT_ERROR_ARGUMENT, site, name,
                    "%s%s is the number %g: it must be a variable\n"
                    "  hint: ht_constant, and ht_broadcast to a shape",
                    input, place, hti_number_value(x));
}
