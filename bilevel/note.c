/* SPDX-License-Identifier: MIT */
/* note.c: what a result says beside its numbers: how they were come by, and why they may
 * not be what was meant. Read next: bilevel.c. */
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "bilevel_internal.h"

enum { HTI_GROWTH_LOOKS = 8, HTI_GROWTH_STEPS = 16 };

/* Growth of the derivative along the sweep: a cotangent of theta is the next one's image
 * under the step's Jacobian alone, so that its growth is the training's own. */

/* The largest |x|, NaN if there is one. Sizes are compared as the integers their bits
 * are, in which NaN is above infinity: a loop that compilers turn into vectors. */
#define LARGEST(name, type, integer, most)                            \
    static type name(const void *data, int64_t n)                     \
    {                                                                 \
        const char *x = data;                                         \
        integer size, largest = 0;                                    \
        type value;                                                   \
        for (int64_t k = 0; k < n; k++) {                             \
            memcpy(&size, x + k * (int64_t)sizeof size, sizeof size); \
            size &= (most);                                           \
            largest = size > largest ? size : largest;                \
        }                                                             \
        memcpy(&value, &largest, sizeof value);                       \
        return value;                                                 \
    }
LARGEST(largest_f32, float, int32_t, INT32_MAX)
LARGEST(largest_f64, double, int64_t, INT64_MAX)

double hti_largest(const ht_set *set, void *const *data)
{
    double largest = 0;
    for (int i = 0; i < set->n; i++) {
        const ht_tensor *t = set->tensor[i];
        const void *x = data ? data[i] : t->array.data;
        int64_t n = ht_tensor_count(t);
        double here =
            ht_tensor_dtype(t) == HT_F64 ? largest_f64(x, n) : (double)largest_f32(x, n);
        if (here > largest || isnan(here)) largest = here; /* a NaN stays */
    }
    return largest;
}

bool hti_growth_due(const ht_bilevel *b, int64_t steps)
{
    int64_t n = b->problem.steps - b->problem.first, every = n / HTI_GROWTH_LOOKS;
    if (every < HTI_GROWTH_STEPS) every = HTI_GROWTH_STEPS;
    return steps == n || steps % every == 0;
}

void hti_growth_look(ht_bilevel *b, double size, int64_t step)
{
    hti_growth *g = &b->run.growth;
    if (!(size > 0) || isinf(size)) return;
    if (g->least > 0 && size / g->least > g->factor) {
        g->factor = size / g->least;
        g->from = g->least_step;
        g->to = step;
    }
    if (g->least > 0 && size >= g->least) return;
    g->least = size;
    g->least_step = step;
}

/* Words. */

void hti_note(ht_bilevel *b, const char *format, ...)
{
    size_t used = strlen(b->note);
    va_list args;
    va_start(args, format);
    if (used) used += (size_t)snprintf(b->note + used, HTI_NOTE - used, "; ");
    if (used < HTI_NOTE) vsnprintf(b->note + used, HTI_NOTE - used, format, args);
    va_end(args);
}

void hti_note_init_alone(ht_bilevel *b)
{
    const ht_set *eta = b->problem.eta;
    char *name[HTI_NOTE / 4], names[HTI_NOTE / 4];
    int n = 0;
    for (int j = 0; j < eta->n && n < HTI_NOTE / 4; j++)
        if (b->programs.init_alone[j]) name[n++] = eta->name[j];
    if (!n) return;
    hti_set_names(names, sizeof names, n, name);
    hti_note(b, "what init alone uses gets 0: %s", names);
}

void hti_note_made(ht_bilevel *b)
{
    b->method->explain(b);
    b->note_made = strlen(b->note);
}

void hti_note_run(ht_bilevel *b)
{
    const hti_growth *g = &b->run.growth;
    const ht_bilevel_result *r = &b->run.result;
    b->note[b->note_made] = '\0';
    if (b->method->explain_run && !b->run.evaluating) b->method->explain_run(b);
    if (b->problem.begun && b->problem.first == 0) hti_note_init_alone(b);
    const char *op = r->bad_op ? r->bad_op : "?";
    if (r->bad_where == HT_BAD_TRAINING)
        hti_note(b,
                 "the training is not finite from step %lld on (%s): a smaller rate or "
                 "clip in update, another eta, or look at the data",
                 (long long)r->bad_step, op);
    if (r->bad_where == HT_BAD_OUTER)
        hti_note(b, "the training is finite, the outer loss or its gradient is not (%s)",
                 op);
    if (r->bad_where == HT_BAD_DERIVATIVE)
        hti_note(b, "the training is finite, its derivative is not from step %lld on",
                 (long long)r->bad_step);
    if (g->factor >= HTI_GROWTH_SAID)
        hti_note(b,
                 "the derivative grows %.1e-fold from step %lld to step %lld: the "
                 "training is unstable, and the gradient holds for tiny changes alone",
                 g->factor, (long long)g->from, (long long)g->to);
    b->run.result.note = b->note[0] ? b->note : NULL;
}
