/* SPDX-License-Identifier: MIT */
/* train_options.c: the flags of a training script, and which of them go together.
 * Read next: train.c. */
#include <string.h>

#include "train.h"

/* Of all files named, only --save may be another's, the one of --resume. */
static bool outputs_differ(const train_options *options, const train_task *task)
{
    const char *const name[] = {"resume", "save", "csv", "json", "predict"};
    const char *const path[] = {options->resume, options->save, options->csv,
                                options->common.json, options->predict};
    for (int i = 0; i < 5; i++)
        for (int k = i == 0 ? 2 : i + 1; k < 5; k++) {
            char expected[64];
            if (!path[i] || !path[k] || !same_file(path[i], path[k])) continue;
            snprintf(expected, sizeof expected, "another file than that of --%s",
                     name[i]);
            return command_refuse(task->name, name[k], expected, path[k],
                                  "one would overwrite the other");
        }
    return true;
}

static bool flags_agree(const train_options *options, const train_task *task)
{
    if (!options->evaluate) return true;
    if (!options->resume)
        return command_refuse(task->name, "evaluate", "--resume FILE beside it", "none",
                              "a model that was never trained is at chance");
    const char *path = options->save ? options->save : options->csv;
    if (!path) return true;
    return command_refuse(task->name, "evaluate",
                          options->save ? "no --save beside it" : "no --csv beside it",
                          path, "nothing is trained, so there is nothing to write there");
}

bool train_parse(train_options *options, const train_task *task, int argc, char **argv,
                 int *status)
{
    train_options *o = options;
    const flag flags[] = {
        {"epochs", FLAG_COUNT, &o->epochs, "in all, resumed ones counted", 0, 1e5},
        {"batch", FLAG_COUNT, &o->batch, "images a step", 1, 1e5},
        {"rate", FLAG_ABOVE, &o->rate, "the highest learning rate", 0, 1e6},
        {"decay-epochs", FLAG_COUNT, &o->decay_epochs, "until the rate is down", 1, 1e5},
        {"patience", FLAG_COUNT, &o->patience,
         "stop after so many epochs without a lower validation loss; 0: never", 0, 1e5},
        {"limit", FLAG_COUNT, &o->limit, "use the first N images only", 1, 1e9},
        {"save", FLAG_FILE, &o->save, "write all of the training, each epoch"},
        {"resume", FLAG_FILE, &o->resume, "go on from a file of --save"},
        {"evaluate", FLAG_SWITCH, &o->evaluate, "do not train; needs --resume"},
        {"predict", FLAG_FILE, &o->predict, "write a verdict on each test image"},
        {"csv", FLAG_FILE, &o->csv, "log, one line an epoch"},
    };
    char notes[512];
    snprintf(
        notes, sizeof notes,
        "With --resume the defaults are the file's. The rate rises over the first %g "
        "epochs,\nthen falls to a hundredth by half a cosine over --decay-epochs, "
        "whatever --epochs is:\ntraining to epoch 2 and resuming to 4 gives the bits "
        "of training to 4.",
        task->warmup);
    const command about = {
        task->name, task->about, notes, &options->common, sizeof flags / sizeof *flags,
        flags};
    if (!command_parse(&about, argc, argv, status)) return false;
    *status = 2;
    if (!flags_agree(options, task) || !outputs_differ(options, task)) return false;
    *status = 0;
    return true;
}
