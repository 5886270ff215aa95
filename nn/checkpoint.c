/* SPDX-License-Identifier: MIT */
/* checkpoint.c: a training as one file, from which it goes on to the same bits. Read
 * next: optimizer.c, data/safetensors.c. */
#include <stdio.h>
#include <string.h>

#include "nn_internal.h"

/* Sections of a file. */

static bool section_add(ht_set *file, const hti_section *section)
{
    for (int i = 0; section->set && i < section->set->n; i++) {
        const ht_array *a = &section->set->tensor[i]->array;
        char *name = hti_init_name(file->ctx, section->prefix, section->set->name[i]);
        bool added = name && ht_set_add_at(file, name, a->dtype, a->shape, NULL);
        if (name) hti_init_unname(file->ctx, name);
        if (!added) return false;
    }
    return true;
}

ht_set *hti_sections_new(ht_context *ctx, int n, const hti_section *section)
{
    ht_set *file = ctx->status == HT_OK ? ht_set_new(ctx) : NULL;
    bool ok = file != NULL;
    for (int k = 0; ok && k < n; k++) ok = section_add(file, &section[k]);
    if (ok) return file;
    ht_set_free(file);
    return NULL;
}

void hti_sections_put(ht_set *file, int n, const hti_section *section)
{
    int at = 0;
    for (int k = 0; k < n; k++)
        for (int i = 0; section[k].set && i < section[k].set->n; i++)
            ht_tensor_copy(file->tensor[at++], section[k].set->tensor[i]);
}

void hti_sections_get(const ht_set *file, int n, const hti_section *section,
                      const char *who)
{
    int at = 0;
    for (int k = 0; k < n; k++)
        for (int i = 0; section[k].set && i < section[k].set->n; i++) {
            ht_tensor_copy(section[k].set->tensor[i], file->tensor[at++]);
            hti_tensor_write(section[k].set->tensor[i], who, NULL);
        }
}

/* The seed. */

enum { SEED_BYTES = 8 };

bool hti_seed_add(ht_set *run)
{
    ht_tensor *seed = ht_set_add_at(run, "seed", HT_U8, HT_SHAPE(SEED_BYTES), NULL);
    uint8_t *byte = seed ? ht_tensor_data(seed) : NULL;
    for (int i = 0; byte && i < SEED_BYTES; i++)
        byte[i] = (uint8_t)(run->ctx->options.seed >> 8 * i);
    return seed != NULL;
}

bool hti_seed_same(const ht_set *file, const char *path)
{
    const ht_tensor *seed = ht_set_tensor_at(file, "run.seed", NULL);
    unsigned long long saved = 0;
    for (int i = 0; seed && i < SEED_BYTES; i++)
        saved |= (unsigned long long)ht_tensor_get(seed, i) << 8 * i;
    if (!seed || saved == file->ctx->options.seed) return seed != NULL;
    ht_context_fail(
        file->ctx, HT_ERROR_ARGUMENT, NULL,
        "%s: written by a training of seed %llu, this one's is %llu: it would "
        "go on with other random numbers\n"
        "  hint: .seed = %llu in ht_context_options",
        path, saved, (unsigned long long)file->ctx->options.seed, saved);
    return false;
}

/* A plain training. */

enum { SECTIONS = 4 };

/* The steps done and the seed. Owned; NULL after an error. */
static ht_set *run_set(ht_context *ctx, int64_t steps)
{
    ht_set *run = ctx->status == HT_OK ? ht_set_new(ctx) : NULL;
    ht_tensor *step = run ? ht_set_add_at(run, "step", HT_I32, HT_SCALAR, NULL) : NULL;
    if (step) ht_tensor_set(step, 0, (double)steps);
    if (step && hti_seed_add(run)) return run;
    ht_set_free(run);
    return NULL;
}

static const hti_section *sections_of(hti_section section[SECTIONS],
                                      const ht_optimizer *o, const ht_set *state,
                                      const ht_set *more, const ht_set *run)
{
    section[0] = (hti_section){"theta", hti_optimizer_theta(o)};
    section[1] = (hti_section){"state", state};
    section[2] = (hti_section){"more", more};
    section[3] = (hti_section){"run", run};
    return section;
}

ht_status ht_checkpoint_write(const char *path, const ht_optimizer *o, const ht_set *more)
{
    HT_ASSERT(path && o, "ht_checkpoint_write: path %p, optimizer %p", (const void *)path,
              (const void *)o);
    ht_context *ctx = hti_optimizer_theta(o)->ctx;
    hti_section section[SECTIONS];
    ht_set *run = run_set(ctx, ht_optimizer_steps(o));
    sections_of(section, o, ht_optimizer_state(o), more, run);
    ht_set *file = run ? hti_sections_new(ctx, SECTIONS, section) : NULL;
    if (file) hti_sections_put(file, SECTIONS, section);
    ht_status status = ctx->status;
    if (file && status == HT_OK) status = ht_set_write(file, path);
    ht_set_free(file);
    ht_set_free(run);
    return status;
}

/* The steps of a training that may go on here; -1 after an error. */
static int64_t checkpoint_steps(const ht_set *file, const char *path)
{
    double step = ht_tensor_get(ht_set_tensor_at(file, "run.step", NULL), 0);
    if (step < 0)
        ht_context_fail(file->ctx, HT_ERROR_FORMAT, NULL,
                        "%s: run.step: expected 0 or more, got %.0f", path, step);
    return step >= 0 && hti_seed_same(file, path) ? (int64_t)step : -1;
}

/* The file's parts, in their places; the state by way of a clone, which is given. */
static void checkpoint_take(const char *path, ht_optimizer *o, int n,
                            const hti_section *section, ht_set *file)
{
    ht_set *state = (ht_set *)(uintptr_t)section[1].set;
    if (ht_set_read(file, path) != HT_OK) return;
    int64_t steps = checkpoint_steps(file, path);
    if (steps < 0) return;
    hti_sections_get(file, n, section, "ht_checkpoint_read");
    ht_optimizer_restore(o, state, steps);
}

ht_status ht_checkpoint_read(const char *path, ht_optimizer *o, ht_set *more)
{
    HT_ASSERT(path && o, "ht_checkpoint_read: path %p, optimizer %p", (const void *)path,
              (const void *)o);
    ht_context *ctx = hti_optimizer_theta(o)->ctx;
    hti_section section[SECTIONS];
    ht_set *run = run_set(ctx, 0);
    ht_set *state = run ? ht_set_clone(ht_optimizer_state(o), 0) : NULL;
    sections_of(section, o, state, more, run);
    ht_set *file = state ? hti_sections_new(ctx, SECTIONS, section) : NULL;
    if (file) checkpoint_take(path, o, SECTIONS, section, file);
    ht_set_free(file);
    ht_set_free(state);
    ht_set_free(run);
    return ctx->status;
}
