/* SPDX-License-Identifier: MIT */
/* demo_state.c: what --save keeps beside an outer run, and that --resume goes on with the
 * same flags to the same report. Read next: demo_verdict.c, ../../bilevel/ht_outer.h. */
#include <string.h>
#include <unistd.h>

#include "demo.h"

enum { TEXT = DEMO_FLAGS_TEXT, ROOM = 1000 };

const char *demo_state(ht_context *ctx, const demo_options *options)
{
    const char *save = options->save, *resume = options->resume;
    if (save && resume)
        ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                        "--save %s: expected one of --save and --resume, got both\n"
                        "  hint: --resume saves in its own file",
                        save);
    else if (save && access(save, F_OK) == 0)
        ht_context_fail(ctx, HT_ERROR_FILE, NULL,
                        "%s: --save: expected a new file, got one that is there\n"
                        "  hint: --resume %s goes on from it",
                        save, save);
    else if (resume && access(resume, R_OK) != 0)
        ht_context_fail(ctx, HT_ERROR_FILE, NULL,
                        "%s: --resume: expected a file of an earlier --save, got none\n"
                        "  hint: --save %s begins one",
                        resume, resume);
    const char *path = resume ? resume : save;
    output_check(ctx, resume ? "resume" : "save", path);
    return path;
}

/* Flags that a run may go on with as they are: how far, how fast, where, with what. */
static bool is_free(const char *name)
{
    static const char *const free_ones[] = {"outer-steps", "outer-rate", "memory",
                                            "out",         "save",       "resume",
                                            "threads",     "json"};
    for (size_t i = 0; i < sizeof free_ones / sizeof *free_ones; i++)
        if (strcmp(name, free_ones[i]) == 0) return true;
    return false;
}

void demo_flags(const demo *d, char text[TEXT])
{
    flag_setting is;
    int n = snprintf(text, TEXT, "%s\n", d->name);
    for (int i = 0; command_setting(i, &is); i++)
        if (!is_free(is.name) && n < TEXT)
            n += snprintf(text + n, (size_t)(TEXT - n), "--%s %s\n", is.name, is.value);
    HT_ASSERT(n < TEXT, "flags of %d letters, room for %d", n, TEXT - 1);
}

static int length(const char *line)
{
    return (int)strcspn(line, "\n");
}

void demo_flags_check(const demo *d, char was[TEXT], const char now[TEXT])
{
    was[TEXT - 1] = 0;
    int line = 0, at = 0;
    while (at < TEXT - 1 && now[at] && was[at] == now[at])
        if (now[at++] == '\n') line = at;
    if (was[at] != now[at])
        ht_context_fail(
            d->ctx, HT_ERROR_ARGUMENT, NULL,
            "%s: --resume: it is of a run of %.*s, this one is of %.*s\n"
            "  hint: the flags as they were; only the number of steps, a rate "
            "of theirs, files and memory may differ",
            d->state, length(was + line), was + line, length(now + line), now + line);
    ht_check(d->ctx);
}

void demo_kept_begin(demo *d)
{
    d->more = ht_set_new(d->ctx);
    ht_check(d->ctx);
    ht_tensor *flags = ht_set_add(d->more, "flags", HT_U8, HT_SHAPE(TEXT));
    ht_check(d->ctx);
    demo_flags(d, ht_tensor_data(flags));
    if (!d->options->resume) return;
    ht_set *saved = ht_set_load(d->ctx, d->state);
    ht_check(d->ctx);
    int was = ht_set_find(saved, "more.flags"), step = ht_set_find(saved, "run.step");
    if (was < 0 || step < 0 || ht_tensor_bytes(ht_set_at(saved, was)) != TEXT)
        ht_context_fail(d->ctx, HT_ERROR_ARGUMENT, NULL,
                        "%s: --resume: expected a state that %s saved, got another file\n"
                        "  hint: --save FILE begins one",
                        d->state, d->name);
    ht_check(d->ctx);
    demo_flags_check(d, ht_tensor_data(ht_set_at(saved, was)), ht_tensor_data(flags));
    d->done = (int64_t)ht_tensor_get(ht_set_at(saved, step), 0);
    ht_set_free(saved);
}

/* What an outer step of an entrant calls. */
typedef struct follower {
    demo *d;
    const char *what;
    double cost;
    const ht_outer_options *own;
    ht_tensor *peak_bytes; /* NULL: the run is not kept */
} follower;

static bool follow(const ht_outer_step *step, void *user)
{
    const follower *f = user;
    stopwatch_add(&f->d->hypergradients, stopwatch_since(f->d->run_began));
    f->d->n_hypergradients++;
    f->d->peak_bytes = step->result.peak_bytes;
    if (f->peak_bytes) ht_tensor_set(f->peak_bytes, 0, (double)f->d->peak_bytes);
    demo_worked(f->d, f->cost, f->what, step->step + 1, f->own->steps,
                step->result.outer);
    bool more = f->own->each(step, f->own->user) && !interrupted();
    f->d->run_began = stopwatch_now();
    return more;
}

/* Rows in thousands, so that a run may go on for more steps than it was begun with. Gives
 * the place of peak_bytes. */
static ht_tensor *keep(demo *d, int64_t steps, double cost)
{
    int64_t room = (steps + ROOM - 1) / ROOM * ROOM;
    ht_tensor *peak_bytes = ht_set_add(d->more, "peak_bytes", HT_F64, HT_SHAPE(1));
    ht_tensor *rows = ht_set_add(d->more, "rows", HT_F64, HT_SHAPE(room, METRICS));
    ht_check(d->ctx);
    metrics_in(d->steps, rows);
    d->steps->rows = d->done;
    for (int64_t k = 0; k < d->done; k++) d->trainings += cost; /* as they were added */
    return peak_bytes;
}

double demo_minimize(demo *d, int which, ht_bilevel *training, ht_outer_options outer,
                     double cost)
{
    const ht_outer_options own = outer;
    const entrant *row = &d->entrant[which];
    follower f = {d, row->doing ? row->doing : row->name, cost, &own, NULL};
    outer.each = follow;
    outer.user = &f;
    if (which == d->learned) {
        f.peak_bytes = keep(d, outer.steps, cost);
        outer.save = d->state;
        outer.more = d->more;
    }
    ht_set *begin = ht_set_clone(d->eta, 0);
    ht_check(d->ctx);
    d->n_steps = outer.steps;
    d->run_began = stopwatch_now();
    double found = ht_bilevel_minimize(training, &outer).outer;
    ht_check(d->ctx);
    d->predicted_bytes = ht_bilevel_bytes(training);
    if (which == d->learned && !interrupted()) demo_smooth(d, training, begin);
    ht_set_free(begin);
    if (f.peak_bytes) d->peak_bytes = (size_t)ht_tensor_get(f.peak_bytes, 0);
    return found;
}
