/* SPDX-License-Identifier: MIT */
/* progress.c: a clock, Ctrl-C, and how far it is, on stderr. Read next: output.c. */
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Ctrl-C. */

static volatile sig_atomic_t stopped;

static void on_interrupt(int number)
{
    static const char text[] = "\nstopping after this step; Ctrl-C again: at once\n";
    (void)number;
    stopped = 1;
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)written;
}

bool interrupted(void)
{
    return stopped;
}

void interrupt_watch(void)
{
    struct sigaction action = {.sa_handler = on_interrupt,
                               .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

/* Progress. */

enum { BAR = 16, COLUMNS = 79, TEXT = 160 };

static struct {
    double work, began, shown;
    char text[TEXT];     /* of the last plain line */
    bool terminal, open; /* open: the bar's line is not ended */
} bar;

void progress_begin(double work)
{
    bar.work = work;
    bar.began = bar.shown = seconds_now();
    bar.terminal = isatty(STDERR_FILENO) != 0;
    bar.text[0] = 0;
}

/* Those of the terminal as it is now, without the last: a cursor there may wrap. */
static int columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return COLUMNS;
    return size.ws_col > COLUMNS ? COLUMNS : size.ws_col - 1;
}

/* Cut to the width, of which the bar is a fifth at most. */
static void draw_bar(double part, double left, const char *what, const char *detail)
{
    char full[BAR + 1], line[COLUMNS + 1];
    int wide = columns(), long_bar = wide / 5 < BAR ? wide / 5 : BAR;
    for (int i = 0; i < long_bar; i++)
        full[i] = i < (int)(long_bar * part + 0.5) ? '#' : '.';
    full[long_bar] = 0;
    snprintf(line, sizeof line, "[%s] %3.0f %%  ETA %3.0f s  %s%s", full, 100 * part,
             left, what, detail);
    fprintf(stderr, "\r%-*.*s", wide, wide, line);
    fflush(stderr);
    bar.open = true;
}

/* The bar at most ten times a second. The time left: if the rest goes as what is done. */
void progress(double done, const char *what, const char *detail)
{
    double now = seconds_now(), part = done / bar.work;
    double left = (now - bar.began) * (bar.work - done) / done;
    if (part < 1 && now - bar.shown < (bar.terminal ? 0.1 : 1.0)) return;
    if (bar.terminal) {
        draw_bar(part, left, what, detail);
    } else if (strcmp(bar.text, what) != 0) {
        snprintf(bar.text, sizeof bar.text, "%s", what);
        fprintf(stderr, "%3.0f %%, ETA %.0f s: %s%s\n", 100 * part, left, what, detail);
    }
    bar.shown = now;
}

void progress_end(void)
{
    if (bar.open) fprintf(stderr, "\r%*s\r", columns(), "");
    bar.open = false;
}

/* A NaN is no improvement. */
bool early_stop_now(early_stop *stop, double loss)
{
    bool better = loss < stop->best || !stop->begun;
    stop->begun = true;
    stop->since = better ? 0 : stop->since + 1;
    if (better) stop->best = loss;
    return stop->patience > 0 && stop->since >= stop->patience;
}
