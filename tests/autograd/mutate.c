/* SPDX-License-Identifier: MIT */
/* mutate.c: is a wrong derivative rule noticed? Every rule of the op table is made wrong
 * in one place at a time, while it emits: a sign flipped, a term dropped, two inputs
 * exchanged. Each mutant is a number; the checks of its row, the very ones the tests and
 * ht_op_check run, or those at the awkward points, must fail on it. Those that compute
 * the same are listed with the reason: `equals` below.
 *
 *   mutate            all, as a table
 *   mutate <number>   one, with what noticed it
 *
 * Read next: mutation.c, autograd/inspect/op_check.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "awkward.h"
#include "inspect.h"
#include "mutation.h"
#include "parts.h"

enum { MOST_MUTANTS = 4096, MOST_CHILDREN = 64 };

static const char *const kind_name[] = {
    [HTI_MUTATE_FLIP] = "flip", [HTI_MUTATE_DROP] = "drop", [HTI_MUTATE_SWAP] = "swap"};

/* Mutants that compute the same function, and why. */
static const struct equal {
    const char *op;
    bool jvp;
    hti_mutation_kind kind;
    int place;
    const char *reason;
} equals[] = {
    {"add", false, HTI_MUTATE_SWAP, 0, "the rule does not look at its inputs"},
    {"add", true, HTI_MUTATE_SWAP, 0, "the rule does not look at its inputs"},
    {"sub", false, HTI_MUTATE_SWAP, 0, "the rule does not look at its inputs"},
    {"sub", true, HTI_MUTATE_SWAP, 0, "the rule does not look at its inputs"},
    {"concat", false, HTI_MUTATE_SWAP, 0, "looks at its inputs' types only"},
    {"concat", true, HTI_MUTATE_SWAP, 0, "looks at its inputs' types only"},
    {"max", false, HTI_MUTATE_FLIP, 1, "winners / sum(winners): the sign cancels"},
    {"max", true, HTI_MUTATE_FLIP, 1, "winners / sum(winners): the sign cancels"},
    {"gelu_tanh_slope", false, HTI_MUTATE_FLIP, 6, "is squared"},
    {"gelu_tanh_slope", true, HTI_MUTATE_FLIP, 6, "is squared"},
    {"gather", false, HTI_MUTATE_FLIP, 0, "zeros, which scatter_add adds to"},
    {"attention_vjp", false, HTI_MUTATE_FLIP, 6, "zeros, g's tangent that is not"},
    {"attention_jvp", false, HTI_MUTATE_FLIP, 0, "zeros, g's tangent that is not"},
};
enum { N_EQUALS = sizeof equals / sizeof equals[0] };

typedef struct mutant {
    const ht_op *op;
    bool jvp;
    hti_mutation_kind kind;
    int place;
    const char *equal; /* the reason, or NULL */
    pid_t child;
    bool noticed;
} mutant;

static mutant mutants[MOST_MUTANTS];
static int n_mutants;

static bool row_holds(const ht_op *op, hti_mutation *m, FILE *report)
{
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = 1});
    hti_op_options options = {.seed = 20261123,
                              .rounds = HTI_OP_ROUNDS,
                              .hook = hti_mutation_hook(m),
                              .report = report,
                              .decompose = hti_parts_of(op)};
    hti_op_tally tally;
    bool holds = hti_op_check_row(ctx, op, &options, &tally);
    ht_context_free(ctx);
    for (int k = 0; holds && k < N_AWKWARD; k++)
        holds = awkward_holds(&awkward_points[k], hti_mutation_hook(m), report);
    return holds;
}

static const char *equal_reason(const mutant *m)
{
    for (int k = 0; k < N_EQUALS; k++)
        if (!strcmp(equals[k].op, m->op->name) && equals[k].jvp == m->jvp &&
            equals[k].kind == m->kind && equals[k].place == m->place)
            return equals[k].reason;
    return NULL;
}

/* The places of one rule, found by a run that changes nothing. */
static void list_rule(const ht_op *op, bool jvp)
{
    hti_mutation m = {.op = op, .jvp = jvp, .place = -1};
    if (!row_holds(op, &m, stderr)) {
        fprintf(stderr, "mutate: %s fails as it stands\n", op->name);
        exit(1);
    }
    for (int kind = 0; kind < HTI_MUTATIONS; kind++)
        for (int place = 0; place < 64; place++) {
            if (!(m.places[kind] >> place & 1)) continue;
            if (n_mutants == MOST_MUTANTS) {
                fprintf(stderr, "mutate: more than %d mutants\n", MOST_MUTANTS);
                exit(1);
            }
            mutant *next = &mutants[n_mutants++];
            *next = (mutant){op, jvp, (hti_mutation_kind)kind, place, NULL, 0, false};
            next->equal = equal_reason(next);
        }
}

/* A mutant may well stop the program: it has one of its own. */
static void start(mutant *m)
{
    fflush(NULL);
    m->child = fork();
    if (m->child < 0) {
        perror("mutate: fork");
        exit(1);
    }
    if (m->child) return;
    if (!freopen("/dev/null", "w", stderr)) _exit(1);
    hti_mutation mutation = {.op = m->op, .jvp = m->jvp, .kind = m->kind};
    mutation.place = m->place;
    _exit(row_holds(m->op, &mutation, NULL) ? 0 : 1);
}

static void finish_one(void)
{
    int status;
    pid_t child = wait(&status);
    for (int k = 0; k < n_mutants; k++)
        if (mutants[k].child == child)
            mutants[k].noticed = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static void run_all(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN), running = 0;
    if (cores < 1 || cores > MOST_CHILDREN) cores = 2;
    for (int k = 0; k < n_mutants; k++) {
        if (running == cores) finish_one(), running--;
        start(&mutants[k]);
        running++;
        if (k % 50 == 49) fprintf(stderr, "mutate: %d of %d\n", k + 1, n_mutants);
    }
    while (running-- > 0) finish_one();
}

/* One line for a rule: noticed of all, by kind. */
static void print_rule(const ht_op *op, bool jvp)
{
    int all[HTI_MUTATIONS] = {0}, noticed[HTI_MUTATIONS] = {0}, equal = 0;
    for (int k = 0; k < n_mutants; k++) {
        const mutant *m = &mutants[k];
        if (m->op != op || m->jvp != jvp) continue;
        all[m->kind]++;
        noticed[m->kind] += m->noticed;
        equal += m->equal != NULL;
    }
    printf("%-18s %s", op->name, jvp ? "jvp" : "vjp");
    for (int kind = 0; kind < HTI_MUTATIONS; kind++) {
        if (all[kind])
            printf("   %3d of %3d", noticed[kind], all[kind]);
        else
            printf("          -");
    }
    if (equal) printf("   %3d equal", equal);
    printf("\n");
}

static void print_mutant(const mutant *m)
{
    printf("%4d  %s %s, %s at place %d", (int)(m - mutants), m->op->name,
           m->jvp ? "jvp" : "vjp", kind_name[m->kind], m->place);
}

/* True if every mutant was noticed but those that are equal, and no other is called so.
 */
static bool print_verdict(void)
{
    int noticed = 0, equal = 0, wrong = 0;
    for (int k = 0; k < n_mutants; k++) {
        noticed += mutants[k].noticed;
        equal += mutants[k].equal != NULL;
    }
    printf("\nEqual to the rule, so nothing can notice them:\n");
    for (int k = 0; k < n_mutants; k++) {
        if (!mutants[k].equal) continue;
        print_mutant(&mutants[k]);
        printf(": %s\n", mutants[k].equal);
    }
    for (int k = 0; k < n_mutants; k++) {
        if (mutants[k].noticed != (mutants[k].equal != NULL)) continue;
        wrong++;
        print_mutant(&mutants[k]);
        printf(": %s\n", mutants[k].equal ? "NOTICED, but said to be equal" : "SURVIVED");
    }
    printf("\n%d mutants: %d noticed, %d equal, %d wrong\n", n_mutants, noticed, equal,
           wrong);
    return wrong == 0;
}

static int show_one(long number)
{
    if (number < 0 || number >= n_mutants) {
        fprintf(stderr, "mutate: no mutant %ld; there are 0 to %d\n", number,
                n_mutants - 1);
        return 2;
    }
    mutant *m = &mutants[number];
    print_mutant(m);
    printf("\n");
    fflush(stdout);
    hti_mutation mutation = {.op = m->op, .jvp = m->jvp, .kind = m->kind};
    mutation.place = m->place;
    bool holds = row_holds(m->op, &mutation, stdout);
    printf("%s\n", holds ? "survived" : "noticed");
    return holds && !m->equal;
}

int main(int argc, char **argv)
{
    char *end = NULL;
    long number = argc == 2 ? strtol(argv[1], &end, 10) : 0;
    if (argc > 2 || (end && (end == argv[1] || *end))) {
        fprintf(stderr, "usage: mutate [number]\n");
        return 2;
    }
    for (int i = 0; ht_op_at(i); i++) {
        if (ht_op_at(i)->vjp) list_rule(ht_op_at(i), false);
        if (ht_op_at(i)->jvp) list_rule(ht_op_at(i), true);
    }
    if (argc > 1) return show_one(number);
    run_all();
    printf("%-18s rule        flip         drop         swap\n", "op");
    for (int i = 0; ht_op_at(i); i++) {
        if (ht_op_at(i)->vjp) print_rule(ht_op_at(i), false);
        if (ht_op_at(i)->jvp) print_rule(ht_op_at(i), true);
    }
    return print_verdict() ? 0 : 1;
}
