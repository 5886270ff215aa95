/* SPDX-License-Identifier: MIT */
/* owned.c: what was made on a context and has to be freed before it: so that what was
 * forgotten can be named, and what is freed twice is said. Read next: tensor.c, set.c. */
#include <stdio.h>
#include <string.h>

#include "tensor_internal.h"

void hti_own(ht_context *ctx, hti_owned *x, const hti_kind *kind)
{
    hti_owned **end = ctx->owned_end ? ctx->owned_end : &ctx->owned;
    *x = (hti_owned){.ctx = ctx, .kind = kind, .link = end};
    *end = x;
    ctx->owned_end = &x->next;
}

void hti_disown(hti_owned *x)
{
    *x->link = x->next;
    if (x->next)
        x->next->link = x->link;
    else
        x->ctx->owned_end = x->link;
    x->kind = NULL;
}

static void give_back_oldest(ht_context *ctx)
{
    hti_owned *x = ctx->retired;
    ctx->retired = x->next;
    ctx->n_retired--;
    ctx->options.alloc(ctx->options.user, x, x->bytes, 0);
}

/* The block is no longer counted, but its memory is kept until HTI_RETIRED others are
 * freed: whoever frees it twice meets `kind` NULL and not what malloc made of it. An
 * allocator of the caller's gets it at once, so that accounts hold to the byte. */
void hti_retire(hti_owned *x, size_t bytes)
{
    ht_context *ctx = x->ctx;
    hti_disown(x);
    x->next = NULL;
    x->bytes = bytes;
    if (ctx->n_retired++)
        ctx->last_retired->next = x;
    else
        ctx->retired = x;
    ctx->last_retired = x;
    ctx->live -= bytes;
    if (ctx->n_retired > (ctx->keeps_retired ? HTI_RETIRED : 0)) give_back_oldest(ctx);
}

void hti_release_retired(ht_context *ctx)
{
    while (ctx->n_retired) give_back_oldest(ctx);
}

/* "tensor f32 (2, 3), set (w, b), 2 more", the oldest first. */
const char *hti_owned_text(const ht_context *ctx, char *text, size_t size)
{
    int named = 0, more = 0;
    text[0] = '\0';
    for (const hti_owned *x = ctx->owned; x; x = x->next) {
        char one[HTI_TENSOR_TEXT] = "";
        if (x->kind->text && !x->kind->text(x, one, sizeof one)) continue;
        size_t used = strlen(text);
        if (named == HTI_NAMED)
            more++;
        else
            snprintf(text + used, size - used, "%s%s%s%s", named++ ? ", " : "",
                     x->kind->name, *one ? " " : "", one);
    }
    size_t used = strlen(text);
    if (more) snprintf(text + used, size - used, ", %d more", more);
    return text;
}
