/* SPDX-License-Identifier: MIT */
/* train_options.c: the command line, as a table of flags. What cannot be meant is refused
 * here, before any file is read. Read next: train.c. */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train.h"

typedef enum flag_kind { COUNT, SEED, NUMBER, TEXT, SWITCH } flag_kind;

/* Numbers must lie in low .. high; NUMBER not at low itself. */
typedef struct flag {
    const char *name, *argument;
    flag_kind kind;
    size_t field;
    double low, high;
    const char *help;
} flag;

#define FIELD(name) offsetof(train_options, name)

static const flag flags[] = {
    {"data", "DIR", TEXT, FIELD(data), 0, 0, "the set (the part bundled here)"},
    {"epochs", "N", COUNT, FIELD(epochs), 0, 1e5,
     "to train in all, resumed ones counted"},
    {"batch", "N", COUNT, FIELD(batch), 1, 1e5, "images a step"},
    {"rate", "X", NUMBER, FIELD(rate), 0, 1e6, "the highest learning rate"},
    {"decay-epochs", "N", COUNT, FIELD(decay_epochs), 1, 1e5,
     "until the rate has come down"},
    {"seed", "N", SEED, FIELD(seed), 0, 0, "of initial values, batches, validation"},
    {"limit", "N", COUNT, FIELD(limit), 1, 1e9, "use the first N images only"},
    {"threads", "N", COUNT, FIELD(threads), 0, 1024, "0: all cores"},
    {"save", "FILE", TEXT, FIELD(save), 0, 0, "write all of the training, each epoch"},
    {"resume", "FILE", TEXT, FIELD(resume), 0, 0, "go on from a file of --save"},
    {"evaluate", NULL, SWITCH, FIELD(evaluate), 0, 0, "do not train; needs --resume"},
    {"predict", "FILE", TEXT, FIELD(predict), 0, 0, "write a verdict on each test image"},
    {"csv", "FILE", TEXT, FIELD(csv), 0, 0, "log, one line an epoch"},
    {"json", "FILE", TEXT, FIELD(json), 0, 0, "write the result; - is stdout"},
    {"help", NULL, SWITCH, 0, 0, 0, "this text"},
};
enum { N_FLAGS = sizeof flags / sizeof flags[0] };

static void show_help(const train_task *task)
{
    const train_options *defaults = &task->defaults;
    printf("usage: %s [flags]\n\n%s\n\n", task->name, task->about);
    for (int i = 0; i < N_FLAGS; i++) {
        char name[40];
        snprintf(name, sizeof name, "--%s %s", flags[i].name,
                 flags[i].argument ? flags[i].argument : "");
        printf("  %-19s %s\n", name, flags[i].help);
    }
    printf("\nDefaults: --epochs %lld --batch %lld --rate %g --decay-epochs %lld "
           "--seed %llu.\nWith --resume they are the file's instead.\n\n",
           (long long)defaults->epochs, (long long)defaults->batch, defaults->rate,
           (long long)defaults->decay_epochs, (unsigned long long)defaults->seed);
    printf("The rate rises over the first %g epochs, then falls to a hundredth by half a "
           "cosine\nover --decay-epochs, whatever --epochs is: training to epoch 2 and "
           "resuming to 4\ngives the bits of training to 4.\n\n"
           "Ctrl-C finishes the step, saves if asked to, and exits with 130; pressed "
           "again, it\nstops at once. On a busy machine OMP_WAIT_POLICY=passive is "
           "faster.\n",
           task->warmup);
}

static bool bad_value(const train_task *task, const flag *f, const char *text,
                      const char *expected)
{
    fprintf(stderr, "%s: --%s: expected %s, got \"%s\"\n  hint: --help lists the flags\n",
            task->name, f->name, expected, text);
    return false;
}

static bool read_number(const train_task *task, const flag *f, const char *text,
                        void *field)
{
    char *end, expected[96];
    double value = strtod(text, &end);
    bool whole = f->kind == COUNT;
    snprintf(expected, sizeof expected, "a%s number %s %g%s%g", whole ? " whole" : "",
             whole ? "from" : "above", f->low, whole ? " to " : ", at most ", f->high);
    /* strtod also takes hexadecimal; a count has nothing but digits */
    bool odd =
        whole ? text[strspn(text, "0123456789")] != 0 : strpbrk(text, "xX") != NULL;
    if (end == text || *end || odd || !isfinite(value) || value < f->low ||
        value > f->high || (!whole && value <= f->low))
        return bad_value(task, f, text, expected);
    if (!whole)
        *(double *)field = value;
    else if (f->field == FIELD(threads))
        *(int *)field = (int)value;
    else
        *(int64_t *)field = (int64_t)value;
    return true;
}

static bool read_flag(const train_task *task, const flag *f, const char *text,
                      train_options *options)
{
    void *field = (char *)options + f->field;
    char *end;
    switch (f->kind) {
    case COUNT:
    case NUMBER:
        return read_number(task, f, text, field);
    case SEED:
        errno = 0;
        *(uint64_t *)field = strtoull(text, &end, 10);
        if (*text < '0' || *text > '9' || *end || errno)
            return bad_value(task, f, text, "a whole number below 2^64");
        return true;
    case TEXT:
        if (!*text) return bad_value(task, f, text, "a name");
        *(const char **)field = text;
        return true;
    case SWITCH:
        *(bool *)field = true;
    }
    return true;
}

static const flag *find_flag(const char *given)
{
    size_t length = strncmp(given, "--", 2) == 0 ? strcspn(given + 2, "=") : 0;
    for (int i = 0; i < N_FLAGS && length; i++)
        if (strlen(flags[i].name) == length && !strncmp(flags[i].name, given + 2, length))
            return &flags[i];
    return NULL;
}

/* --name value, --name=value, or --name alone for a switch; *i moves past a value. */
static bool take_flag(train_options *options, const train_task *task, int argc,
                      char **argv, int *i)
{
    const flag *f = find_flag(argv[*i]);
    if (!f) {
        fprintf(stderr, "%s: %s %s\n  hint: --help lists the flags\n", task->name,
                argv[*i][0] == '-' ? "unknown flag" : "unexpected argument", argv[*i]);
        return false;
    }
    const char *value = strchr(argv[*i], '=');
    if (value) value++;
    if (f->kind == SWITCH && value) return bad_value(task, f, value, "no value");
    if (f->kind != SWITCH && !value) {
        if (*i + 1 >= argc) return bad_value(task, f, "", "a value after it");
        value = argv[++*i];
    }
    return read_flag(task, f, value, options);
}

static bool same_folder(const char *a, const char *b)
{
    char name[2][4096];
    struct stat about[2];
    const char *path[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        const char *slash = strrchr(path[i], '/');
        snprintf(name[i], sizeof name[i], "%.*s.", slash ? (int)(slash + 1 - path[i]) : 0,
                 path[i]);
        if (stat(name[i], &about[i]) != 0) return false;
    }
    return about[0].st_dev == about[1].st_dev && about[0].st_ino == about[1].st_ino;
}

static const char *last_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Spelt another way or through a link, too. */
static bool same_file(const char *a, const char *b)
{
    struct stat at_a, at_b;
    if (!strcmp(a, b)) return true;
    if (stat(a, &at_a) == 0 && stat(b, &at_b) == 0)
        return at_a.st_dev == at_b.st_dev && at_a.st_ino == at_b.st_ino;
    return !strcmp(last_name(a), last_name(b)) && same_folder(a, b);
}

/* Of all files named, only --save may be another's, the one of --resume. */
static bool outputs_differ(const train_options *options, const train_task *task)
{
    bool plain = options->json && !strcmp(options->json, "-");
    const char *const name[] = {"resume", "save", "csv", "json", "predict"};
    const char *const path[] = {options->resume, options->save, options->csv,
                                plain ? NULL : options->json, options->predict};
    for (int i = 0; i < 5; i++)
        for (int k = i == 0 ? 2 : i + 1; k < 5; k++) {
            if (!path[i] || !path[k] || !same_file(path[i], path[k])) continue;
            fprintf(stderr,
                    "%s: --%s: expected another file than that of --%s, got %s\n"
                    "  hint: one would overwrite the other\n",
                    task->name, name[k], name[i], path[k]);
            return false;
        }
    return true;
}

bool train_parse(train_options *options, const train_task *task, int argc, char **argv,
                 int *status)
{
    *status = 2;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            show_help(task);
            *status = 0;
            return false;
        }
        if (!take_flag(options, task, argc, argv, &i)) return false;
    }
    if (options->evaluate && !options->resume) {
        fprintf(stderr,
                "%s: --evaluate: expected --resume FILE beside it, got none\n"
                "  hint: a model that was never trained is at chance\n",
                task->name);
        return false;
    }
    if (options->evaluate && (options->save || options->csv)) {
        fprintf(stderr,
                "%s: --evaluate: expected no --%s beside it, got %s\n"
                "  hint: nothing is trained, so there is nothing to write there\n",
                task->name, options->save ? "save" : "csv",
                options->save ? options->save : options->csv);
        return false;
    }
    if (!outputs_differ(options, task)) return false;
    *status = 0;
    return true;
}

static void check_output(ht_context *ctx, const char *flag_name, const char *path)
{
    char folder[4096] = ".";
    const char *slash = path ? strrchr(path, '/') : NULL;
    struct stat about;
    if (!path) return;
    if (slash) snprintf(folder, sizeof folder, "%.*s", (int)(slash - path + 1), path);
    bool wrong_kind = stat(path, &about) == 0 && !S_ISREG(about.st_mode);
    if (wrong_kind || access(folder, W_OK) != 0)
        ht_context_fail(ctx, HT_ERROR_FILE, NULL,
                        "%s: --%s: expected a file in a folder that exists, got %s\n"
                        "  hint: it is written in the end, so it is looked at first",
                        path, flag_name, wrong_kind ? "something else" : strerror(errno));
}

void train_check_outputs(ht_context *ctx, const train_options *options)
{
    check_output(ctx, "save", options->save);
    check_output(ctx, "csv", options->csv);
    check_output(ctx, "predict", options->predict);
    if (options->json && strcmp(options->json, "-") != 0)
        check_output(ctx, "json", options->json);
    ht_check(ctx);
}
