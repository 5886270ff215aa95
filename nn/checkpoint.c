/* SPDX-License-Identifier: MIT */
/* checkpoint.c: a training as one file, from which it goes on to the same bits. Read
 * next: optimizer.c, data/safetensors.c. */
#include <stdio.h>
#include <string.h>

#include "nn_internal.h"

/* Zeros like the tensors of `set`, as "prefix.name"; their number, -1 after an error. */
static bool checkpoint_add(ht_set *file, const char *prefix, const ht_set *set)
{
    for (int i = 0; set && i < set->n; i++) {
        const ht_array *a = &set->tensor[i]->array;
        char *name = hti_init_name(file->ctx, prefix, set->name[i]);
        bool added = name && ht_set_add(file, name, a->dtype, a->shape);
        if (name) hti_init_unname(file->ctx, name);
        if (!added) return false;
    }
    return true;
}

/* What a file of this training holds: theta, state and `more` in this order, then the
 * steps done and the seed. Owned; NULL after an error. */
static ht_set *checkpoint_set(const ht_optimizer *o, const ht_set *more)
{
    const ht_set *theta = hti_optimizer_theta(o);
    ht_set *file = theta->ctx->status == HT_OK ? ht_set_new(theta->ctx) : NULL;
    if (file && checkpoint_add(file, "theta", theta) &&
        checkpoint_add(file, "state", ht_optimizer_state(o)) &&
        checkpoint_add(file, "more", more) &&
        ht_set_add(file, "run.step", HT_I32, HT_SCALAR) &&
        ht_set_add(file, "run.seed", HT_U8, HT_SHAPE(8)))
        return file;
    ht_set_free(file);
    return NULL;
}

/* The tensors of `set` and those of the file from *at on, one way or the other. */
static void checkpoint_move(ht_set *file, int *at, ht_set *set, bool to_file)
{
    for (int i = 0; set && i < set->n; i++, ++*at) {
        ht_tensor *a = file->tensor[*at], *b = set->tensor[i];
        if (to_file)
            ht_tensor_copy(a, b);
        else
            ht_tensor_copy(b, a);
        if (!to_file) hti_tensor_write(b, "ht_checkpoint_read", NULL);
    }
}

static void seed_bytes(uint64_t seed, uint8_t byte[8])
{
    for (int i = 0; i < 8; i++) byte[i] = (uint8_t)(seed >> 8 * i);
}

ht_status ht_checkpoint_write(const char *path, const ht_optimizer *o, const ht_set *more)
{
    HT_ASSERT(path && o, "ht_checkpoint_write: path %p, optimizer %p", (const void *)path,
              (const void *)o);
    ht_set *theta = hti_optimizer_theta(o);
    ht_context *ctx = theta->ctx;
    ht_set *file = checkpoint_set(o, more);
    if (!file) return ctx->status;
    int at = 0;
    checkpoint_move(file, &at, theta, true);
    checkpoint_move(file, &at, (ht_set *)(uintptr_t)ht_optimizer_state(o), true);
    checkpoint_move(file, &at, (ht_set *)(uintptr_t)more, true);
    ht_tensor_set(file->tensor[at], 0, (double)ht_optimizer_steps(o));
    seed_bytes(ctx->options.seed, ht_tensor_data(file->tensor[at + 1]));
    ht_status status = ctx->status == HT_OK ? ht_set_write(file, path) : ctx->status;
    ht_set_free(file);
    return status;
}

/* Steps and seed are those of a training that may go on here. */
static bool checkpoint_fits(const ht_set *file, const char *path)
{
    const ht_tensor *step = file->tensor[file->n - 2], *seed = file->tensor[file->n - 1];
    unsigned long long saved = 0;
    for (int i = 0; i < 8; i++)
        saved |= (unsigned long long)ht_tensor_get(seed, i) << 8 * i;
    if (ht_tensor_get(step, 0) < 0) {
        ht_context_fail(file->ctx, HT_ERROR_FORMAT, NULL,
                        "%s: run.step: expected 0 or more, got %.0f", path,
                        ht_tensor_get(step, 0));
        return false;
    }
    if (saved == file->ctx->options.seed) return true;
    ht_context_fail(
        file->ctx, HT_ERROR_ARGUMENT, NULL,
        "%s: written by a training of seed %llu, this one's is %llu: it would "
        "go on with other random numbers\n"
        "  hint: .seed = %llu in ht_context_options",
        path, saved, (unsigned long long)file->ctx->options.seed, saved);
    return false;
}

ht_status ht_checkpoint_read(const char *path, ht_optimizer *o, ht_set *more)
{
    HT_ASSERT(path && o, "ht_checkpoint_read: path %p, optimizer %p", (const void *)path,
              (const void *)o);
    ht_set *theta = hti_optimizer_theta(o), *state = NULL;
    ht_context *ctx = theta->ctx;
    ht_set *file = checkpoint_set(o, more);
    bool ok = file && ht_set_read(file, path) == HT_OK && checkpoint_fits(file, path);
    if (ok) state = ht_set_clone(ht_optimizer_state(o), 0);
    if (state) {
        int at = 0;
        checkpoint_move(file, &at, theta, false);
        checkpoint_move(file, &at, state, false);
        checkpoint_move(file, &at, more, false);
        ht_optimizer_restore(o, state, (int64_t)ht_tensor_get(file->tensor[at], 0));
    }
    ht_set_free(state);
    ht_set_free(file);
    return ctx->status;
}
