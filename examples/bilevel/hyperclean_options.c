/* SPDX-License-Identifier: MIT */
/* hyperclean_options.c: the command line, as a table of flags. What cannot be meant is
 * refused here, before any file is read. Read next: hyperclean.c. */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "hyperclean.h"

#ifndef HYPERCLEAN_DATA
#define HYPERCLEAN_DATA "data/bundled/mnist"
#endif

typedef enum flag_kind { COUNT, SEED, BYTES, NUMBER, TEXT, SCHEDULE, SWITCH } flag_kind;

/* Numbers must lie in low .. high; above_low: not at low itself. */
typedef struct flag {
    const char *name, *argument;
    flag_kind kind;
    size_t field;
    double low, high;
    bool above_low;
    const char *help;
} flag;

#define FIELD(name) offsetof(clean_options, name)
enum { MOST_IMAGES = 100000000, MOST_STEPS = 1000000 };

static const flag flags[] = {
    {"seed", "N", SEED, FIELD(seed), 0, 0, false,
     "of the split and the wrong labels (1)"},
    {"threads", "N", COUNT, FIELD(threads), 0, 1024, false, "0: all cores (0)"},
    {"train", "N", COUNT, FIELD(n_train), 1, MOST_IMAGES, false,
     "images whose labels are doubtful (5000)"},
    {"validation", "N", COUNT, FIELD(n_validation), 1, MOST_IMAGES, false,
     "images with clean labels (5000)"},
    {"corrupt", "FRACTION", NUMBER, FIELD(corrupt), 0, 1, false,
     "of the train labels to replace by wrong ones (0.5)"},
    {"radius", "R", NUMBER, FIELD(radius), 0, MOST_IMAGES, true,
     "the weights may sum to R at most (train / 5)"},
    {"inner-steps", "T", COUNT, FIELD(inner_steps), 1, MOST_STEPS, false,
     "of gradient descent, differentiated through (100)"},
    {"outer-steps", "N", COUNT, FIELD(outer_steps), 1, MOST_STEPS, false,
     "of Adam on the weights (12)"},
    {"final-steps", "N", COUNT, FIELD(final_steps), 1, MOST_STEPS, false,
     "of each training in the final table (300)"},
    {"rate", "X", NUMBER, FIELD(rate), 0, 1e38, true, "of the inner descent (0.3)"},
    {"outer-rate", "X", NUMBER, FIELD(outer_rate), 0, 1e6, true, "of Adam (0.1)"},
    {"memory", "BYTES", BYTES, FIELD(memory), 0, 0, false,
     "for the unroll, like 50000000 or 50M; 0: no limit (0)"},
    {"schedule", "NAME", SCHEDULE, FIELD(schedule), 0, 0, false,
     "auto, store-all, two-level or revolve (auto); revolve keeps\n"
     "                         sqrt(T) states if --memory says nothing"},
    {"data", "DIR", TEXT, FIELD(data), 0, 0, false, "MNIST as IDX files, plain or .gz"},
    {"out", "DIR", TEXT, FIELD(out), 0, 0, false,
     "write metrics.csv, the weights and a contact sheet"},
    {"json", NULL, SWITCH, FIELD(json), 0, 0, false,
     "make the last line of stdout one JSON object"},
    {"help", NULL, SWITCH, 0, 0, 0, false, "this text"},
};
enum { N_FLAGS = sizeof flags / sizeof flags[0] };

static void clean_help(void)
{
    printf("usage: hyperclean [flags]\n\n"
           "Finds wrong labels by differentiating through a whole training run: every\n"
           "image gets a weight, moved so that training with the weights does well on\n"
           "clean validation images. A weight below 0.001 says that the label is "
           "wrong.\n\n");
    for (int i = 0; i < N_FLAGS; i++) {
        char name[40];
        snprintf(name, sizeof name, "--%s %s", flags[i].name,
                 flags[i].argument ? flags[i].argument : "");
        printf("  %-22s %s\n", name, flags[i].help);
    }
    printf("\nIn the JSON, hypergradient_seconds is the total over all outer steps, and\n"
           "inner_seconds the time of as many plain inner trainings of the same length,\n"
           "from two measured in the same run, the first and the last. Accuracies are\n"
           "in percent; what was not computed is null.\n\n"
           "Ctrl-C finishes the step, writes what there is and exits with 130; pressed\n"
           "again, it stops at once.\n\n"
           "OMP_WAIT_POLICY=passive, which ./dev demo sets, is faster on a busy "
           "machine.\n");
}

/* Levenshtein's distance between short words. */
static size_t word_distance(const char *a, const char *b)
{
    size_t row[32], n = strlen(b);
    if (n >= 32) return 32;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t best = diagonal + (a[i] != b[j]);
            if (row[j] + 1 < best) best = row[j] + 1;
            diagonal = row[j + 1];
            if (diagonal + 1 < best) best = diagonal + 1;
            row[j + 1] = best;
        }
    }
    return row[n];
}

static const flag *find_flag(const char *name, size_t length)
{
    for (int i = 0; i < N_FLAGS; i++)
        if (strlen(flags[i].name) == length && !strncmp(flags[i].name, name, length))
            return &flags[i];
    return NULL;
}

static bool unknown_flag(const char *given)
{
    bool stray = *given != '-' || !strcmp(given, "--") || !given[1];
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(given, "="), given);
    const char *word = name + strspn(name, "-");
    size_t length = strlen(word), least = length / 3 + 1;
    const char *nearest = NULL;
    for (int i = 0; i < N_FLAGS; i++) {
        size_t distance = word_distance(word, flags[i].name);
        if (length >= 3 && !strncmp(word, flags[i].name, length)) distance = 0;
        if (distance >= least) continue;
        least = distance;
        nearest = flags[i].name;
    }
    fprintf(stderr, "hyperclean: %s %s\n", stray ? "unexpected argument" : "unknown flag",
            name);
    if (nearest)
        fprintf(stderr, "  hint: did you mean --%s?\n", nearest);
    else
        fprintf(stderr, "  hint: --help lists the flags\n");
    return false;
}

static bool bad_value(const flag *f, const char *text, const char *expected)
{
    fprintf(stderr, "hyperclean: --%s: expected %s, got \"%s\"\n", f->name, expected,
            text);
    return false;
}

static bool out_of_range(const flag *f, const char *text)
{
    char expected[96];
    snprintf(expected, sizeof expected, "a%s number %s %.10g%s%.10g",
             f->kind == COUNT ? " whole" : "", f->above_low ? "above" : "from", f->low,
             f->above_low ? ", at most " : " to ", f->high);
    return bad_value(f, text, expected);
}

/* Digits, then at most a unit letter; false when anything else stands there. */
static bool read_whole(const char *text, bool units, uint64_t *value)
{
    static const char letters[] = "KMG";
    char *end;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    *value = strtoull(text, &end, 10);
    if (errno) return false;
    const char *unit = units && *end ? strchr(letters, *end) : NULL;
    if (!unit) return *end == 0;
    int shift = 10 * (int)(unit - letters + 1);
    if (end[1] || *value > SIZE_MAX >> shift) return false;
    *value <<= shift;
    return true;
}

static bool read_count(const flag *f, const char *text, void *field)
{
    uint64_t value;
    if (!read_whole(text, false, &value) || (double)value < f->low ||
        (double)value > f->high)
        return out_of_range(f, text);
    if (f->field == FIELD(threads))
        *(int *)field = (int)value;
    else
        *(int64_t *)field = (int64_t)value;
    return true;
}

static bool read_number(const flag *f, const char *text, double *field)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || value < f->low || value > f->high ||
        (f->above_low && value <= f->low))
        return out_of_range(f, text);
    *field = fabs(value) > 0 ? value : 0; /* and not -0 */
    return true;
}

static const char *const schedule_names[] = {"auto", "store-all", "two-level", "revolve"};

static bool read_schedule(const flag *f, const char *text, ht_schedule *field)
{
    for (int i = 0; i < 4; i++)
        if (!strcmp(text, schedule_names[i])) {
            *field = (ht_schedule)i;
            return true;
        }
    return bad_value(f, text, "auto, store-all, two-level or revolve");
}

static bool read_flag(const flag *f, const char *text, clean_options *options)
{
    void *field = (char *)options + f->field;
    uint64_t value = 0;
    switch (f->kind) {
    case COUNT:
        return read_count(f, text, field);
    case SEED:
        if (!read_whole(text, false, &value))
            return bad_value(f, text, "a whole number below 2^64");
        *(uint64_t *)field = value;
        return true;
    case BYTES:
        if (!read_whole(text, true, &value))
            return bad_value(f, text, "a number of bytes, like 50000000 or 50M");
        *(size_t *)field = (size_t)value;
        return true;
    case NUMBER:
        return read_number(f, text, field);
    case SCHEDULE:
        return read_schedule(f, text, field);
    case TEXT:
        if (!*text) return bad_value(f, text, "the name of a folder");
        *(const char **)field = text;
        return true;
    case SWITCH:
        break;
    }
    *(bool *)field = true;
    return true;
}

/* --name value, --name=value, or --name alone for a switch; *i moves past a value. */
static bool take_flag(clean_options *options, int argc, char **argv, int *i)
{
    const char *given = argv[*i];
    size_t length = strncmp(given, "--", 2) == 0 ? strcspn(given + 2, "=") : 0;
    const flag *f = length ? find_flag(given + 2, length) : NULL;
    if (!f) return unknown_flag(given);
    const char *value = given[2 + length] ? given + 3 + length : NULL;
    if (f->kind == SWITCH) {
        if (value) return bad_value(f, value, "no value");
    } else if (!value) {
        if (*i + 1 >= argc) return bad_value(f, "", "a value after it");
        value = argv[++*i];
    }
    return read_flag(f, value, options);
}

clean_parsed clean_options_parse(clean_options *options, int argc, char **argv)
{
    *options = (clean_options){.seed = 1,
                               .n_train = 5000,
                               .n_validation = 5000,
                               .corrupt = 0.5,
                               .inner_steps = 100,
                               .outer_steps = 12,
                               .final_steps = 300,
                               .rate = 0.3,
                               .outer_rate = 0.1,
                               .data = HYPERCLEAN_DATA};
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            clean_help();
            return CLEAN_HELP;
        }
        if (!take_flag(options, argc, argv, &i)) return CLEAN_BAD;
    }
    if (options->radius <= 0) options->radius = (double)options->n_train / 5;
    return CLEAN_RUN;
}
