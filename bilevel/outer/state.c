/* SPDX-License-Identifier: MIT */
/* state.c: an outer run as one file, from which it goes on to the same bits. The form of
 * files is data/'s, which ht_set.h promises; what stands in them is here. Read next:
 * nn/checkpoint.c. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "outer.h"

enum { SECTIONS = 10 };

#define NAME(name)  #name,
#define VALUE(name) &at->name,
static const char *const number_name[] = {HTI_OUTER_NUMBERS(NAME)};
enum { NUMBERS = sizeof number_name / sizeof *number_name };

/* Numbers. */

/* All of them into the tensors of the section "run", or back. */
static void numbers_move(hti_outer *r, bool to_file)
{
    hti_numbers *at = &r->at;
    double *const number[] = {HTI_OUTER_NUMBERS(VALUE)};
    for (int k = 0; k < NUMBERS; k++) {
        double *tensor = ht_tensor_data(r->run->tensor[k]);
        memcpy(to_file ? tensor : number[k], to_file ? number[k] : tensor,
               sizeof *tensor);
    }
    double *norm = ht_tensor_data(r->run->tensor[NUMBERS]);
    memcpy(to_file ? norm : at->norm, to_file ? at->norm : norm, sizeof at->norm);
}

static bool numbers_open(hti_outer *r)
{
    char rule[64];
    r->run = ht_set_new(r->ctx);
    r->rule = ht_set_new(r->ctx);
    if (!r->run || !r->rule) return false;
    for (int k = 0; k < NUMBERS; k++)
        if (!ht_set_add_at(r->run, number_name[k], HT_F64, HT_SCALAR, NULL)) return false;
    snprintf(rule, sizeof rule, "%s", r->newton ? "newton" : r->o->update.rule->name);
    return ht_set_add_at(r->run, "norms", HT_F64, HT_SHAPE(HTI_NORMS), NULL) &&
           hti_seed_add(r->run) && ht_set_add_at(r->rule, rule, HT_U8, HT_SCALAR, NULL);
}

/* What is saved, `update` being the state of eta's rule. */
static void saved_sections(const hti_outer *r, const ht_set *update,
                           hti_section section[SECTIONS])
{
    const hti_problem *p = &r->b->problem;
    bool online = r->o->online;
    const hti_section all[SECTIONS] = {{"eta", p->eta},
                                       {"update", update},
                                       {"best", p->best},
                                       {"theta", online ? p->theta : NULL},
                                       {"state", online ? p->state : NULL},
                                       {"warm", p->warm},
                                       {"warm_theta", p->warm_theta},
                                       {"more", r->o->more},
                                       {"run", r->run},
                                       {"rule", r->rule}};
    memcpy(section, all, sizeof all);
}

/* Going on. */

/* The file is of the inner training this bilevel runs. */
static bool same_training(const hti_outer *r, const hti_numbers *here)
{
    const hti_numbers *at = &r->at;
    if (at->inner_steps != here->inner_steps)
        return HTI_REFUSED(r->ctx, HT_ERROR_ARGUMENT,
                           "ht_bilevel_minimize: %s is of inner trainings of %.0f steps, "
                           "here they have %.0f\n"
                           "  hint: the problem as it was then, or another path",
                           r->o->save, at->inner_steps, here->inner_steps);
    if (r->o->online || (at->start == here->start && at->begun == here->begun))
        return true;
    return HTI_REFUSED(r->ctx, HT_ERROR_ARGUMENT,
                       "ht_bilevel_minimize: %s is of inner trainings from step %.0f on, "
                       "here they go on from %.0f\n"
                       "  hint: problem.start and .state as they were then",
                       r->o->save, at->start, here->start);
}

/* Nothing is changed but the numbers until all is known to fit. */
static bool state_take(hti_outer *r, ht_set *update)
{
    hti_section section[SECTIONS];
    hti_numbers here = r->at;
    ht_bilevel *b = r->b;
    saved_sections(r, update, section);
    if (ht_set_read(r->file, r->o->save) != HT_OK || !hti_seed_same(r->file, r->o->save))
        return false;
    for (int k = 0; k < r->run->n; k++) {
        char name[64];
        snprintf(name, sizeof name, "run.%s", r->run->name[k]);
        ht_tensor_copy(r->run->tensor[k], ht_set_tensor_at(r->file, name, NULL));
    }
    numbers_move(r, false);
    if (!same_training(r, &here)) return false;
    if (r->o->online && r->at.begun != 0 && !hti_state_begin(b, (int64_t)r->at.start))
        return false;
    saved_sections(r, update, section);
    hti_sections_get(r->file, SECTIONS, section, "ht_bilevel_minimize");
    return ht_optimizer_restore(r->optimizer, update, (int64_t)r->at.updates) == HT_OK;
}

static bool state_read(hti_outer *r)
{
    ht_set *update = ht_set_clone(ht_optimizer_state(r->optimizer), 0);
    bool ok = update && state_take(r, update);
    ht_set_free(update);
    return ok;
}

bool hti_outer_open_state(hti_outer *r)
{
    hti_section section[SECTIONS];
    if (!r->o->save) return true;
    if (!numbers_open(r)) return false;
    saved_sections(r, ht_optimizer_state(r->optimizer), section);
    r->file = hti_sections_new(r->ctx, SECTIONS, section);
    if (!r->file) return false;
    bool exists = access(r->o->save, F_OK) == 0 || errno != ENOENT;
    return exists ? state_read(r) : hti_outer_save(r);
}

bool hti_outer_save(hti_outer *r)
{
    hti_section section[SECTIONS];
    if (!r->file) return true;
    r->at.updates = (double)ht_optimizer_steps(r->optimizer);
    r->at.start = (double)r->b->problem.start;
    r->at.begun = r->b->problem.begun;
    numbers_move(r, true);
    saved_sections(r, ht_optimizer_state(r->optimizer), section);
    hti_sections_put(r->file, SECTIONS, section);
    return ht_set_write(r->file, r->o->save) == HT_OK;
}

void hti_outer_close_state(hti_outer *r)
{
    ht_set_free(r->file);
    ht_set_free(r->run);
    ht_set_free(r->rule);
}
