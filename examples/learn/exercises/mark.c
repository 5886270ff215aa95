/* SPDX-License-Identifier: MIT */
/* mark.c: each hole is checked in a process of its own, so that a crash or an endless
 * loop is a line like any other mistake. Read next: check/02.c. */
#include "mark.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MARK_SECONDS /* what a check may take */
#define MARK_SECONDS 20
#endif
enum { LINE = 2000, HINTS = 5 };

/* A check that comes to its end writes this; what ends the program before is no pass. */
static const char passed[] = "=";
static const char unwritten[] =
    "not written yet: your code goes where UNWRITTEN stands; take that line out";
static int report_to = -1; /* where a check writes its line; the parent reads it */

const char *mark_text(const char *format, ...)
{
    static char text[8][LINE];
    static int next;
    char *t = text[next++ % 8];
    va_list list;
    va_start(list, format);
    vsnprintf(t, LINE, format, list);
    va_end(list);
    return t;
}

void mark_wrong_at(const char *line)
{
    fflush(stdout);
    if (write(report_to, line, strlen(line)) < 0) perror("mark");
    _exit(0);
}

void mark_unwritten(void) { mark_wrong("%s", unwritten); }

bool mark_is(double yours, double value)
{
    return fabs(yours - value) <= 1e-6 * fmax(1, fabs(value));
}

void mark_number_at(double yours, double right, double tolerance, const slip *slips,
                    const char *what)
{
    if (fabs(yours - right) <= tolerance * fmax(1, fabs(right))) return;
    const char *why = "";
    for (; slips && slips->why; slips++)
        if (mark_is(yours, slips->value)) {
            why = slips->why;
            break;
        }
    mark_wrong("%s: yours is %.9g, right is %.9g%s%s", what, yours, right,
               *why ? ": " : "", why);
}

static void refused(ht_context *ctx, void *user)
{
    (void)user;
    mark_wrong("the library refused what your code asked: %s", ht_context_message(ctx));
}

ht_context *mark_context(void)
{
    return ht_context_new(&(ht_context_options){.on_error = refused, .threads = 1});
}

/* How a check ended that wrote no line. */
static const char *ending(int status)
{
    if (WIFEXITED(status)) return "your code ended the program (exit)";
    switch (WTERMSIG(status)) {
    case SIGALRM:
        return mark_text("your code ran for %d seconds: is there a loop that never ends?",
                         MARK_SECONDS);
    case SIGSEGV:
    case SIGBUS:
        return "your code read or wrote memory that is not its own: a wrong index, a "
               "pointer to nothing, or a function that calls itself without end";
    case SIGFPE:
        return "your code divided an integer by zero";
    case SIGABRT:
        return "your code was stopped by an assertion, whose words are above, or by "
               "abort()";
    default:
        return mark_text("your code was stopped by signal %d", WTERMSIG(status));
    }
}

/* A pipe that a check writes to: its verdict, or what the learner prints. */
typedef struct stream {
    int from;
    size_t n;
    char text[LINE];
} stream;

/* What there is to read; what is beyond the room is dropped. False at the end. */
static bool stream_read(stream *s)
{
    char more[4096];
    ssize_t got = read(s->from, more, sizeof more);
    if (got <= 0) return false;
    size_t room = sizeof s->text - 1 - s->n,
           take = (size_t)got < room ? (size_t)got : room;
    memcpy(s->text + s->n, more, take);
    s->n += take;
    s->text[s->n] = 0;
    return true;
}

/* Both to their ends, side by side: a learner may print without end. */
static void streams_read(stream s[2])
{
    struct pollfd ends[2] = {{s[0].from, POLLIN, 0}, {s[1].from, POLLIN, 0}};
    while (ends[0].fd >= 0 || ends[1].fd >= 0) {
        if (poll(ends, 2, -1) < 0) break;
        for (int k = 0; k < 2; k++)
            if (ends[k].fd >= 0 && ends[k].revents && !stream_read(&s[k]))
                ends[k].fd = -1;
    }
    close(s[0].from);
    close(s[1].from);
}

static _Noreturn void check_here(const hole *h, const int verdict[2], const int prints[2])
{
    close(verdict[0]);
    close(prints[0]);
    dup2(prints[1], STDOUT_FILENO);
    report_to = verdict[1];
    alarm(MARK_SECONDS);
    h->check();
    mark_wrong_at(passed);
}

/* "" if it passes, else the line. In *printed what it wrote to stdout. */
static const char *check(const hole *h, const char **printed)
{
    static stream s[2];
    int verdict[2], prints[2], status;
    fflush(stdout);
    if (pipe(verdict) || pipe(prints)) return "no pipe for the check";
    pid_t child = fork();
    if (child < 0) return "no process for the check";
    if (!child) check_here(h, verdict, prints);
    close(verdict[1]);
    close(prints[1]);
    s[0] = (stream){.from = verdict[0]};
    s[1] = (stream){.from = prints[0]};
    streams_read(s);
    waitpid(child, &status, 0);
    *printed = s[1].text;
    if (!strcmp(s[0].text, passed)) return "";
    return s[0].n ? s[0].text : ending(status);
}

/* What the file of marks says: a row `exercise,hole,passed,hints` each. */
typedef struct mark {
    char hole[64];
    int exercise, passed, hints;
} mark;
enum { MARKS = 256 };

static int read_marks(const char *file, mark *marks)
{
    FILE *f = file ? fopen(file, "r") : NULL;
    int n = 0;
    char row[200];
    if (!f) return 0;
    while (n < MARKS && fgets(row, sizeof row, f)) {
        mark *m = &marks[n];
        if (sscanf(row, "%d,%63[^,],%d,%d", &m->exercise, m->hole, &m->passed,
                   &m->hints) != 4)
            continue;
        m->hints = m->hints < 0 ? 0 : m->hints > HINTS ? HINTS : m->hints;
        m->passed = m->passed == 1;
        n++;
    }
    fclose(f);
    return n;
}

static void write_marks(const char *file, const mark *marks, int n)
{
    FILE *f = file ? fopen(file, "w") : NULL;
    if (file && !f) perror(file);
    if (!f) return;
    fputs("exercise,hole,passed,hints\n", f);
    for (int i = 0; i < n; i++)
        fprintf(f, "%d,%s,%d,%d\n", marks[i].exercise, marks[i].hole, marks[i].passed,
                marks[i].hints);
    fclose(f);
}

static mark *mark_of(mark *marks, int *n, int exercise, const char *hole)
{
    for (int i = 0; i < *n; i++)
        if (marks[i].exercise == exercise && !strcmp(marks[i].hole, hole))
            return &marks[i];
    if (*n == MARKS) *n = 0; /* no file of ours is that long */
    mark *m = &marks[(*n)++];
    *m = (mark){.exercise = exercise};
    snprintf(m->hole, sizeof m->hole, "%s", hole);
    return m;
}

static void give_hint(const hole *h, mark *m)
{
    int there = 0;
    while (there < HINTS && h->hints[there]) there++;
    if (m->hints < there)
        printf("  hint %d of %d for %s: %s\n", m->hints + 1, there, h->name,
               h->hints[m->hints]);
    else
        printf("  no more hints for %s; the last was: %s\n", h->name,
               there ? h->hints[there - 1] : "none");
    if (m->hints < there) m->hints++;
}

/* What is said of hole i; `right` tells of those before it. */
static const char *verdict(const hole *holes, int i, const bool *right, bool quiet)
{
    const char *printed = "", *line = check(&holes[i], &printed);
    if (!quiet && *printed)
        printf("%s%s", printed, printed[strlen(printed) - 1] == '\n' ? "" : "\n");
    for (int k = 0; k < i && *line && strcmp(line, unwritten); k++)
        if (holes[i].needs && !strcmp(holes[i].needs, holes[k].name) && !right[k])
            return mark_text("if it calls %s, which is not right, mend that first. (%s)",
                             holes[k].name, line);
    return line;
}

static void say(const hole *h, const char *line)
{
    if (!*line)
        printf("  right %s\n", h->name);
    else
        printf("  %s %s: %s\n", strcmp(line, unwritten) ? "wrong" : "open ", h->name,
               line);
}

int mark_exercise(int argc, char **argv, int number, const hole *holes, int n)
{
    static mark marks[MARKS];
    static bool right[MARKS];
    const char *file = NULL, *hint = NULL; /* "": for the first that is not right */
    int count = 0;
    bool quiet = false;
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--marks") && i + 1 < argc)
            file = argv[++i];
        else if (!strcmp(argv[i], "--quiet"))
            quiet = true;
        else if (!strcmp(argv[i], "--hint"))
            hint = i + 1 < argc && argv[i + 1][0] != '-' ? argv[++i] : "";
    int rows = read_marks(file, marks);
    for (int i = 0; i < n; i++) {
        mark *m = mark_of(marks, &rows, number, holes[i].name);
        const char *line = verdict(holes, i, right, quiet);
        m->passed = right[i] = !*line;
        count += right[i];
        say(&holes[i], line);
        if (!hint || !*line || (*hint && strcmp(hint, holes[i].name))) continue;
        give_hint(&holes[i], m);
        hint = NULL; /* one at a time */
    }
    if (hint && !*hint) puts("  no hint is needed");
    if (hint && *hint) printf("  no hole that is not right is called %s\n", hint);
    printf("%d of %d right\n", count, n);
    write_marks(file, marks, rows);
    return count < n;
}
