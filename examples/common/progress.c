/* SPDX-License-Identifier: MIT */
/* progress.c: clocks, Ctrl-C, and how far it is, on stderr. Read next: output.c. */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

static double clock_seconds(clockid_t which)
{
    struct timespec now;
    clock_gettime(which, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double seconds_now(void)
{
    return clock_seconds(CLOCK_MONOTONIC);
}

stopwatch stopwatch_now(void)
{
    return (stopwatch){seconds_now(), clock_seconds(CLOCK_THREAD_CPUTIME_ID),
                       clock_seconds(CLOCK_PROCESS_CPUTIME_ID)};
}

stopwatch stopwatch_since(stopwatch began)
{
    stopwatch now = stopwatch_now();
    return (stopwatch){now.wall - began.wall, now.cpu - began.cpu,
                       now.all_cpu - began.all_cpu};
}

void stopwatch_add(stopwatch *sum, stopwatch spent)
{
    sum->wall += spent.wall;
    sum->cpu += spent.cpu;
    sum->all_cpu += spent.all_cpu;
}

double stopwatch_ratio(stopwatch a, stopwatch b)
{
    bool busy = a.wall > 1.5 * a.cpu || b.wall > 1.5 * b.cpu;
    return busy ? (double)NAN : a.cpu / b.cpu;
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

enum { BAR = 16, COLUMNS = 79, MOST_COLUMNS = 119, TEXT = 160, SPARK = 24 };

static struct {
    double work, began, shown;
    char text[TEXT];           /* what is being done */
    bool said;                 /* in a line */
    bool terminal, utf8, open; /* open: the bar's line is not ended */
    double first_time;         /* when the first step of `text` was done, and which */
    int64_t first_step;
    double loss[SPARK]; /* each the mean of `every` steps */
    int n_losses, every, held;
} bar;

static bool locale_is_utf8(void)
{
    const char *name = getenv("LC_ALL"), *terminal = getenv("TERM");
    if (!name || !*name) name = getenv("LC_CTYPE");
    if (!name || !*name) name = getenv("LANG");
    bool utf8 = name && (strstr(name, "UTF-8") || strstr(name, "utf8"));
    return utf8 && !(terminal && !strcmp(terminal, "dumb"));
}

void progress_begin(double work)
{
    memset(&bar, 0, sizeof bar);
    bar.work = work;
    bar.began = bar.shown = seconds_now();
    bar.terminal = isatty(STDERR_FILENO) != 0;
    bar.utf8 = locale_is_utf8();
}

/* Those of the terminal as it is now, without the last: a cursor there may wrap. */
static int columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return COLUMNS;
    return size.ws_col > MOST_COLUMNS ? MOST_COLUMNS : size.ws_col - 1;
}

/* Losses from the first on, always in as many places: when these are full, two become
 * one. */
static void keep_loss(double loss)
{
    if (bar.n_losses == SPARK && bar.held == bar.every) {
        for (int k = 0; k < SPARK / 2; k++)
            bar.loss[k] = (bar.loss[2 * k] + bar.loss[2 * k + 1]) / 2;
        bar.n_losses = SPARK / 2;
        bar.every *= 2;
    }
    if (!bar.n_losses || bar.held == bar.every) {
        bar.every = bar.every ? bar.every : 1;
        bar.loss[bar.n_losses++] = 0;
        bar.held = 0;
    }
    double *last = &bar.loss[bar.n_losses - 1];
    *last += (loss - *last) / ++bar.held;
}

/* Eight heights from the least to the largest; a loss that is not finite has none. */
static void draw_spark(FILE *f, int room)
{
    static const char *const block[2][8] = {
        {"_", ".", ",", "-", "~", "+", "*", "#"},
        {"\342\226\201", "\342\226\202", "\342\226\203", "\342\226\204", "\342\226\205",
         "\342\226\206", "\342\226\207", "\342\226\210"}};
    double low = INFINITY, high = -INFINITY;
    for (int k = 0; k < bar.n_losses; k++)
        if (isfinite(bar.loss[k])) {
            low = fmin(low, bar.loss[k]);
            high = fmax(high, bar.loss[k]);
        }
    for (int k = bar.n_losses > room ? bar.n_losses - room : 0; k < bar.n_losses; k++) {
        double part = high > low ? (bar.loss[k] - low) / (high - low) : 0;
        fputs(isfinite(part) ? block[bar.utf8][(int)(7 * part + 0.5)] : " ", f);
    }
}

/* Cut to the width. The bar, a fifth at most, leaves room for some losses; these stand
 * behind the text, the latest of them. */
static void draw_bar(double part, const char *left, const char *what, const char *detail)
{
    char full[BAR + 1] = "................", text[2 * TEXT];
    int wide = columns(), most = wide / 5 < BAR ? wide / 5 : BAR;
    snprintf(text, sizeof text, "%3.0f %%  %9s  %s%s", 100 * part, left, what, detail);
    int used = (int)strlen(text) + 5; /* two brackets, a space, two before the losses */
    int room = wide - used - (bar.n_losses < SPARK / 2 ? bar.n_losses : SPARK / 2);
    int long_bar = room > most ? most : room > 4 ? room : 4;
    memset(full, '#', (size_t)(long_bar * fmin(1, part) + 0.5));
    int spark = wide - used - long_bar;
    spark = spark > bar.n_losses ? bar.n_losses : spark > 0 ? spark : 0;
    fprintf(stderr, "\r[%.*s] %.*s", long_bar, full, wide - long_bar - 3, text);
    if (spark) fputs("  ", stderr);
    draw_spark(stderr, spark);
    int rest = wide - used + 2 - long_bar - (spark ? spark + 2 : 0);
    fprintf(stderr, "%*s", rest > 0 ? rest : 0, "");
    fflush(stderr);
    bar.open = true;
}

/* The time left, if the rest goes as what is done; "" while nothing is. */
static const char *time_left(double done, double now)
{
    static char text[32];
    double left = (now - bar.began) * (bar.work - done) / done;
    snprintf(text, sizeof text, "ETA %.0f s", left);
    return isfinite(left) ? text : "";
}

/* Work is foretold, and what asks whether to believe it may come on top. */
static void show(double done, double now, const char *what, const char *detail)
{
    done = fmin(done, bar.work);
    double part = done / bar.work;
    const char *left = time_left(done, now);
    if (bar.terminal)
        draw_bar(part, left, what, detail);
    else
        fprintf(stderr, "%3.0f %%%s%s: %s%s\n", 100 * part, *left ? ", " : "", left, what,
                detail);
    bar.shown = now;
    bar.said = true;
}

/* Whatever is said of `what` begins anew when it is another. */
static void take_part(const char *what, int64_t step)
{
    if (strcmp(bar.text, what) == 0) return;
    snprintf(bar.text, sizeof bar.text, "%s", what);
    bar.first_time = seconds_now();
    bar.first_step = step;
    bar.n_losses = bar.every = 0;
    bar.said = false;
}

/* A bar ten times a second; a line a second, if it is the first of its kind. */
static bool too_soon(double done, double now, double again)
{
    double since = now - bar.shown;
    if (bar.said && !bar.terminal) return since < again;
    bool ended = done >= bar.work * (1 - 1e-9); /* parts may sum to a little less */
    return !ended && since < (bar.terminal ? 0.1 : 1);
}

void progress(double done, const char *what, const char *detail)
{
    double now = seconds_now();
    take_part(what, 0);
    if (!too_soon(done, now, INFINITY)) show(done, now, what, detail);
}

void progress_step(double done, const char *what, int64_t step, int64_t n, double loss)
{
    double now = seconds_now();
    take_part(what, step);
    keep_loss(loss);
    if (too_soon(done, now, 10)) return;
    char count[TEXT + 48], detail[64] = "";
    double rate = (double)(step - bar.first_step) / (now - bar.first_time);
    snprintf(count, sizeof count, "%s %lld/%lld", what, (long long)step, (long long)n);
    if (step > bar.first_step)
        snprintf(detail, sizeof detail, rate < 1 ? ", %.3g s each" : ", %.3g/s",
                 rate < 1 ? 1 / rate : rate);
    size_t used = strlen(detail);
    snprintf(detail + used, sizeof detail - used, ", loss %.4g", loss);
    show(done, now, count, detail);
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
