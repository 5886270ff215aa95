/* SPDX-License-Identifier: MIT */
/* command.c: the command line, as a table of flags. What cannot be meant is refused here,
 * before any file is read. Read next: progress.c. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

enum { MOST_FLAGS = 32, N_COMMON = 5 };

typedef struct parser {
    const command *about;
    int n;
    flag flags[MOST_FLAGS];
    bool given[MOST_FLAGS];
} parser;

/* What --help calls a value, and what is expected where the flag's range does not say. */
static const struct {
    const char *argument, *expected;
} kinds[] = {
    [FLAG_COUNT] = {"N", NULL},
    [FLAG_NUMBER] = {"X", NULL},
    [FLAG_ABOVE] = {"X", NULL},
    [FLAG_BYTES] = {"BYTES", "a number of bytes, like 50000000 or 50M"},
    [FLAG_CHOICE] = {"NAME", NULL},
    [FLAG_FOLDER] = {"DIR", "the name of a folder"},
    [FLAG_FILE] = {"FILE", "the name of a file"},
    [FLAG_TEXT] = {"TEXT", "a text that is not empty"},
    [FLAG_SWITCH] = {"", NULL},
    [FLAG_THREADS] = {"N", NULL},
    [FLAG_SEED] = {"N", "a whole number below 2^64"},
    [FLAG_OUTPUT] = {"[FILE]", "the name of a file"},
};

/* That of the last command_parse, for command_setting. */
static parser parsed;

static parser parser_new(const command *about)
{
    common_options *common = about->common;
    const flag shared[N_COMMON] = {
        {"data", FLAG_FOLDER, &common->data, "the data set (the part bundled here)"},
        {"seed", FLAG_SEED, &common->seed, "of all that is random"},
        {"threads", FLAG_THREADS, &common->threads, "0: all cores", 0, 1024},
        {"json", FLAG_OUTPUT, &common->json,
         "result as one object; no FILE: on stdout, all else on stderr"},
        {"help", FLAG_SWITCH, NULL, "this text"},
    };
    parser p = {.about = about, .n = about->n_flags + N_COMMON};
    HT_ASSERT(p.n <= MOST_FLAGS, "%d flags, %d at most", p.n, MOST_FLAGS);
    memcpy(p.flags, about->flags, (size_t)about->n_flags * sizeof *p.flags);
    memcpy(p.flags + about->n_flags, shared, sizeof shared);
    return p;
}

static bool in_range(const flag *f, double value)
{
    return value >= f->low && value <= f->high &&
           (f->kind != FLAG_ABOVE || value > f->low);
}

/* The value that the flag sets as it stands, where that is one. */
static void show_default(const flag *f)
{
    double value = f->low - 1;
    if (f->kind == FLAG_COUNT) value = (double)*(int64_t *)f->to;
    if (f->kind == FLAG_NUMBER || f->kind == FLAG_ABOVE) value = *(double *)f->to;
    if (in_range(f, value)) printf(" (%.10g)", value);
    if (f->kind == FLAG_SEED) printf(" (%llu)", (unsigned long long)*(uint64_t *)f->to);
    if (f->kind == FLAG_CHOICE) printf(" (%s)", f->choices[*(int *)f->to]);
}

static void show_help(const parser *p)
{
    printf("usage: %s [flags]\n\n%s\n\n", p->about->name, p->about->about);
    for (int i = 0; i < p->n; i++) {
        char name[40];
        snprintf(name, sizeof name, "--%s %s", p->flags[i].name,
                 kinds[p->flags[i].kind].argument);
        printf("  %-19s %s", name, p->flags[i].help);
        show_default(&p->flags[i]);
        putchar('\n');
    }
    printf("\n%s\n\nCtrl-C finishes the step, writes what there is and exits with 130; "
           "pressed again,\nit stops at once.\n",
           p->about->notes);
}

bool command_refuse(const char *name, const char *flag_name, const char *expected,
                    const char *got, const char *hint)
{
    fprintf(stderr, "%s: --%s: expected %s, got %s\n  hint: %s\n", name, flag_name,
            expected, got, hint);
    return false;
}

/* With the flag's line of --help for a hint. */
static bool bad_value(const parser *p, const flag *f, const char *expected,
                      const char *text)
{
    char got[128], hint[256];
    snprintf(got, sizeof got, "\"%.100s\"", text ? text : "");
    snprintf(hint, sizeof hint, "--%s %s: %s", f->name, kinds[f->kind].argument, f->help);
    return command_refuse(p->about->name, f->name, expected, text ? got : "none", hint);
}

static bool refuse_value(const parser *p, const flag *f, const char *text)
{
    char range[96];
    bool above = f->kind == FLAG_ABOVE;
    bool whole = f->kind == FLAG_COUNT || f->kind == FLAG_THREADS;
    snprintf(range, sizeof range, "a%s number %s %.10g%s%.10g", whole ? " whole" : "",
             above ? "above" : "from", f->low, above ? ", at most " : " to ", f->high);
    if (f->kind == FLAG_CHOICE) return bad_value(p, f, f->help, text);
    return bad_value(p, f, kinds[f->kind].expected ? kinds[f->kind].expected : range,
                     text);
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

static bool unknown_flag(const parser *p, const char *given)
{
    bool stray = *given != '-' || !strcmp(given, "--") || !given[1];
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(given, "="), given);
    const char *word = name + strspn(name, "-"), *nearest = NULL;
    size_t length = strlen(word), least = length / 3 + 1;
    for (int i = 0; i < p->n; i++) {
        bool begins = length >= 3 && !strncmp(word, p->flags[i].name, length);
        size_t distance = begins ? 0 : word_distance(word, p->flags[i].name);
        if (distance >= least) continue;
        least = distance;
        nearest = p->flags[i].name;
    }
    fprintf(stderr, "%s: %s %s\n  hint: %s%s%s\n", p->about->name,
            stray ? "unexpected argument" : "unknown flag", name,
            nearest ? "did you mean --" : "--help lists the flags",
            nearest ? nearest : "", nearest ? "?" : "");
    return false;
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

/* No hexadecimal, which strtod takes too, no NaN, and not -0. */
static bool read_number(const flag *f, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    *(double *)f->to = fabs(value) > 0 ? value : 0;
    return end != text && !*end && !text[strspn(text, "0123456789.eE+-")] &&
           in_range(f, value);
}

static bool read_choice(const flag *f, const char *text)
{
    int *to = f->to;
    for (*to = 0; f->choices[*to]; ++*to)
        if (!strcmp(text, f->choices[*to])) return true;
    return false;
}

/* False: the text is no such value, and what was written there is not to be used. */
static bool read_value(const flag *f, const char *text)
{
    uint64_t whole = 0;
    bool good = text && read_whole(text, f->kind == FLAG_BYTES, &whole);
    switch (f->kind) {
    case FLAG_COUNT:
        *(int64_t *)f->to = (int64_t)whole;
        return good && in_range(f, (double)whole);
    case FLAG_THREADS:
        *(int *)f->to = (int)whole;
        return good && in_range(f, (double)whole);
    case FLAG_SEED:
        *(uint64_t *)f->to = whole;
        return good;
    case FLAG_BYTES:
        *(size_t *)f->to = (size_t)whole;
        return good;
    case FLAG_NUMBER:
    case FLAG_ABOVE:
        return read_number(f, text);
    case FLAG_CHOICE:
        return read_choice(f, text);
    case FLAG_SWITCH:
        *(bool *)f->to = true;
        return true;
    case FLAG_FOLDER:
    case FLAG_FILE:
    case FLAG_TEXT:
    case FLAG_OUTPUT:
        break;
    }
    *(const char **)f->to = text;
    return *text != 0;
}

static int find_flag(const parser *p, const char *given)
{
    size_t length = strncmp(given, "--", 2) == 0 ? strcspn(given + 2, "=") : 0;
    for (int i = 0; i < p->n && length; i++)
        if (strlen(p->flags[i].name) == length &&
            !strncmp(p->flags[i].name, given + 2, length))
            return i;
    return -1;
}

/* The value of argument *i, after its "=" or in the next one, which *i then moves to; a
 * value that may be left out is "-" where the next begins like a flag. NULL: none. */
static const char *find_value(const flag *f, int argc, char **argv, int *i)
{
    const char *value = strchr(argv[*i], '='),
               *next = argv[*i + 1]; /* argv ends with NULL */
    if (value) return value + 1;
    if (f->kind == FLAG_OUTPUT && (!next || (*next == '-' && next[1]))) return "-";
    if (f->kind != FLAG_SWITCH && *i + 1 < argc) return argv[++*i];
    return NULL;
}

/* --name value, --name=value, or --name alone. */
static bool take_flag(parser *p, int argc, char **argv, int *i)
{
    int which = find_flag(p, argv[*i]);
    if (which < 0) return unknown_flag(p, argv[*i]);
    const flag *f = &p->flags[which];
    const char *value = find_value(f, argc, argv, i);
    if (p->given[which])
        return command_refuse(p->about->name, f->name, "it once", "it again",
                              "leave one of them out");
    p->given[which] = true;
    if (f->kind == FLAG_SWITCH && value)
        return bad_value(p, f, "no value after it", value);
    if (f->kind != FLAG_SWITCH && !value)
        return bad_value(p, f, "a value after it", NULL);
    return read_value(f, value) || refuse_value(p, f, value);
}

bool command_parse(const command *about, int argc, char **argv, int *status)
{
    parser p = parser_new(about);
    *status = 2;
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            show_help(&p);
            *status = command_printed(about->name) ? 0 : 1;
            return false;
        }
    for (int i = 1; i < argc; i++)
        if (!take_flag(&p, argc, argv, &i)) return false;
    parsed = p;
    *status = 0;
    return true;
}

/* What was not given and has no default is null. */
static void setting_value(const flag *f, flag_setting *is)
{
    const char *text = is->text ? *(const char **)f->to : NULL;
    double number = f->low - 1;
    if (f->kind == FLAG_COUNT) number = (double)*(int64_t *)f->to;
    if (f->kind == FLAG_THREADS) number = *(int *)f->to;
    if (f->kind == FLAG_NUMBER || f->kind == FLAG_ABOVE) number = *(double *)f->to;
    if (f->kind == FLAG_CHOICE) text = f->choices[*(int *)f->to];
    if (f->kind == FLAG_SWITCH) text = *(bool *)f->to ? "true" : "false";
    snprintf(is->value, SETTING_TEXT, in_range(f, number) ? "%.10g" : "null", number);
    if (text) snprintf(is->value, SETTING_TEXT, "%s", text);
    if (f->kind == FLAG_SEED)
        snprintf(is->value, SETTING_TEXT, "%llu", (unsigned long long)*(uint64_t *)f->to);
    if (f->kind == FLAG_BYTES) snprintf(is->value, SETTING_TEXT, "%zu", *(size_t *)f->to);
    is->text = text && f->kind != FLAG_SWITCH;
}

bool command_setting(int i, flag_setting *is)
{
    for (int k = 0; k < parsed.n; k++) {
        const flag *f = &parsed.flags[k];
        if (!f->to || i-- > 0) continue;
        *is = (flag_setting){.name = f->name,
                             .text = f->kind == FLAG_FOLDER || f->kind == FLAG_FILE ||
                                     f->kind == FLAG_TEXT || f->kind == FLAG_OUTPUT};
        setting_value(f, is);
        return true;
    }
    return false;
}

ht_status command_write_config(ht_context *ctx, const char *folder)
{
    char path[OUTPUT_PATH];
    output out;
    flag_setting is;
    if (!path_join(ctx, path, folder, "config.json") ||
        !output_open(&out, ctx, path, false))
        return ht_context_status(ctx);
    json_string(&out, "hypertape", HT_VERSION);
    for (int i = 0; command_setting(i, &is); i++)
        if (is.text)
            json_string(&out, is.name, is.value);
        else
            json_text(&out, is.name, "%s", is.value);
    return json_close(&out);
}

FILE *command_text(const common_options *options)
{
    return options->json && !strcmp(options->json, "-") ? stderr : stdout;
}

bool command_printed(const char *name)
{
    bool flushed = fflush(stdout) == 0;
    if (flushed && !ferror(stdout)) return true;
    fprintf(stderr,
            "%s: standard output cannot be written: %s\n  hint: is there room, and does "
            "what reads it go on reading?\n",
            name, flushed ? "an earlier write failed" : strerror(errno));
    return false;
}
