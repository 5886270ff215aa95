/* SPDX-License-Identifier: MIT */
/* science.c: the program: picks questions and asks them. What each does and what would
 * count as yes and no is in ../SCIENCE.md. Read next: science.h, study.h, gate.c. */
#include "science.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct question {
    const char *name, *what;
    bool (*ask)(const science_run *run);
} questions[] = {
    {"gate", "does S^ say before a query is spent whether influence can be believed?",
     science_gate},
    {"dropout", "does dropout destroy influence?", science_dropout},
    {"relu", "what mends influence of networks with ReLU?", science_relu},
    {"cosine", "and what does a rate that falls to 0 do, with other means?",
     science_cosine},
    {"hypergradients", "how far are cheaper hypergradients from exact ones?",
     science_hypergradients},
    {"eps_root", "what does an eps inside Adam's root do, at equal scale?",
     science_eps_root},
    {"precision", "how far do hypergradients in f32 go?", science_precision},
};
enum { QUESTIONS = sizeof questions / sizeof questions[0], SEEDS = 3 };

static double cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

void science_progress(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "[%6.0f s] ", cpu_seconds());
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

static void usage(FILE *f)
{
    fprintf(f, "usage: ./dev bench science [question ...] [--seeds N] [--first K] "
               "[--quick]\n\n");
    for (int k = 0; k < QUESTIONS; k++)
        fprintf(f, "  %-15s %s\n", questions[k].name, questions[k].what);
    fprintf(
        f,
        "  %-15s all of them; without a name this list\n\n"
        "Protocols and results: tests/bench/SCIENCE.md. --seeds, %d, is how often a\n"
        "question is asked, of seeds from --first on, 1; --quick takes sizes that say\n"
        "nothing but that it runs. HYPERTAPE_DATA is the folder with mnist/ in it.\n",
        "all", SEEDS);
}

/* Index of the question of that name, or -1. */
static int find(const char *name)
{
    for (int k = 0; k < QUESTIONS; k++)
        if (!strcmp(name, questions[k].name)) return k;
    return -1;
}

static bool refuse(const char *what, const char *got)
{
    fprintf(stderr, "science: %s \"%s\"\n", what, got);
    usage(stderr);
    return false;
}

static bool count(const char *flag, const char *given, int *to)
{
    char *end;
    long value = given ? strtol(given, &end, 10) : 0;
    if (!given || *end || value < 1 || value > SCIENCE_MOST)
        return refuse(flag, given ? given : "");
    *to = (int)value;
    return true;
}

static bool parse(int argc, char **argv, bool *chosen, science_run *run)
{
    for (int i = 1; i < argc; i++) {
        int k = find(argv[i]);
        if (!strcmp(argv[i], "--quick")) {
            run->quick = true;
        } else if (!strcmp(argv[i], "--seeds") || !strcmp(argv[i], "--first")) {
            bool first = !strcmp(argv[i++], "--first");
            if (!count(first ? "--first takes 1 to 99, not"
                             : "--seeds takes 1 to 99, not",
                       i < argc ? argv[i] : NULL, first ? &run->first : &run->seeds))
                return false;
        } else if (!strcmp(argv[i], "all")) {
            for (int j = 0; j < QUESTIONS; j++) chosen[j] = true;
        } else if (k >= 0) {
            chosen[k] = true;
        } else {
            return refuse("no flag or question", argv[i]);
        }
    }
    return true;
}

static bool ask(const struct question *q, const science_run *run)
{
    double began = cpu_seconds();
    printf("## %s: %s\n\nseeds %d to %d%s\n\n", q->name, q->what, run->first,
           run->first + run->seeds - 1,
           run->quick ? ", --quick: these figures say nothing" : "");
    bool ok = q->ask(run);
    printf("\n%s: %.0f CPU seconds\n\n", q->name, cpu_seconds() - began);
    fflush(stdout);
    return ok;
}

int main(int argc, char **argv)
{
    bool chosen[QUESTIONS] = {false}, any = false, ok = true;
    science_run run = {.seeds = SEEDS, .first = 1};
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help")) return usage(stdout), 0;
    if (!parse(argc, argv, chosen, &run)) return 2;
    for (int k = 0; k < QUESTIONS; k++) {
        if (chosen[k]) ok = ask(&questions[k], &run) && ok;
        any = any || chosen[k];
    }
    if (!any) usage(stdout);
    return ok ? 0 : 1;
}
