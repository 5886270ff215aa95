/* SPDX-License-Identifier: MIT */
/* common.h: what the programs of this folder need beside their subject.
 *
 *   command.c        flags, --help, and what is said of a wrong one
 *   progress.c       clocks, Ctrl-C, a line with the time left and how the loss goes
 *   output.c         files that are there whole or not at all; CSV and JSON
 *   metrics.c        numbers of each step, kept for a file and for curves
 *   contact_sheet.c  a picture of many images with a digit beside each
 *   qr.c             a text as a QR code
 *   report.c         report.html: a page of verdict, curves, galleries, tables
 *
 * Nothing here knows what is trained. Read next: the programs, ../README.md. */
#ifndef COMMON_H
#define COMMON_H

#include "hypertape.h"

/* Flags. */

typedef enum flag_kind {
    FLAG_COUNT,  /* int64_t in low .. high */
    FLAG_NUMBER, /* double in low .. high */
    FLAG_ABOVE,  /* double above low, up to high */
    FLAG_BYTES,  /* size_t, like 50000000 or 50M */
    FLAG_CHOICE, /* int, the place in `choices` */
    FLAG_FOLDER, /* const char *, not empty; so the next */
    FLAG_FILE,
    FLAG_TEXT,
    FLAG_SWITCH,  /* bool; takes no value */
    FLAG_THREADS, /* int; this and the next are of the flags below */
    FLAG_SEED,    /* uint64_t */
    FLAG_OUTPUT,  /* const char *; without a value "-", which is stdout */
} flag_kind;

typedef struct flag {
    const char *name;
    flag_kind kind;
    void *to; /* what it sets; its value before is the default that --help shows */
    const char *help; /* one line; of FLAG_CHOICE the list of choices */
    double low, high;
    const char *const *choices; /* NULL after the last */
} flag;

/* What every program takes: --data, --seed, --threads, --json and --help. */
typedef struct common_options {
    const char *data, *json; /* json NULL: not asked for */
    uint64_t seed;
    int threads;
} common_options;

typedef struct command {
    const char *name, *about, *notes; /* notes stand below the flags in --help */
    common_options *common;
    int n_flags;
    const flag *flags; /* its own */
} command;

/* True: go on. False: leave with *status, 0 after --help, 2 after a flag that is unknown,
 * given twice or wrong, which has been said on stderr. */
bool command_parse(const command *about, int argc, char **argv, int *status);
/* One line for the cause and one for the remedy, as for flags; gives false. */
bool command_refuse(const char *name, const char *flag, const char *expected,
                    const char *got, const char *hint);
/* stdout, or stderr if --json wants stdout for itself. */
FILE *command_text(const common_options *options);
/* Whether all of stdout has arrived; if not, it is said on stderr. */
bool command_printed(const char *name);

/* A flag of the last command_parse and its value as it stands now, with what the program
 * has worked out since; the options must still be there. */
enum { SETTING_TEXT = 256 };
typedef struct flag_setting {
    const char *name;
    char value[SETTING_TEXT];
    bool text; /* in quotes, in JSON */
} flag_setting;
bool command_setting(int i, flag_setting *is); /* false: there are no more */
/* config.json of a folder: the settings, as one object. */
ht_status command_write_config(ht_context *ctx, const char *folder);

/* Clocks, Ctrl-C, progress. */

double seconds_now(void); /* monotonic */

/* Seconds of the clock, of the processor for this thread, and of it for all threads. */
typedef struct stopwatch {
    double wall, cpu, all_cpu;
} stopwatch;
stopwatch stopwatch_now(void);
stopwatch stopwatch_since(stopwatch began);
void stopwatch_add(stopwatch *sum, stopwatch spent);
/* How much longer a took than b, by processor time; NaN, which is not to be printed, when
 * the machine was too busy to tell: this thread stood still for a third of either. */
double stopwatch_ratio(stopwatch a, stopwatch b);

/* From now on Ctrl-C makes interrupted() true; a second one ends the program. */
void interrupt_watch(void);
bool interrupted(void);

/* `work` is in units of the caller's, told how much of it is done. On a terminal one line
 * cut to its width: a bar, the time left, both texts. Elsewhere a line when `what` has
 * changed, at most one a second. */
void progress_begin(double work);
void progress(double done, const char *what, const char *detail);
/* Step `step` of `n` of `what`, with its loss. The line then has steps a second (or, if
 * below one, seconds a step) and the loss, as a number and as a curve of blocks (of plain
 * characters where the locale is not UTF-8). Elsewhere a line when `what` changes, and
 * then one every ten seconds. */
void progress_step(double done, const char *what, int64_t step, int64_t n, double loss);
void progress_end(void); /* removes the bar; another progress() draws it again */

/* When to stop: a loss has not been below its best for `patience` calls (0: never). */
typedef struct early_stop {
    int64_t patience, since; /* calls after the best */
    double best;
    bool begun;
} early_stop;
bool early_stop_now(early_stop *stop, double loss);

/* Files. Errors stay on the context. */

enum { OUTPUT_PATH = 4096 };

typedef struct output {
    ht_context *ctx;
    FILE *file;
    bool part;      /* written beside the file it becomes when it is whole */
    char separator; /* before the next value of JSON */
    char path[OUTPUT_PATH];
} output;

/* "-" is stdout. A file gets its name when it is closed, and the permissions of one that
 * it replaces; a link stays, and is written through. Append: straight to its end. */
bool output_open(output *out, ht_context *ctx, const char *path, bool append);
ht_status output_close(output *out, bool keep);
/* HT_ERROR_FILE unless `path`, which may be NULL or "-", can become a file. */
ht_status output_check(ht_context *ctx, const char *flag, const char *path);
/* Spelt another way or through a link, too. */
bool same_file(const char *a, const char *b);
/* path = folder/name; false, with an error, where that is too long. */
bool path_join(ht_context *ctx, char path[OUTPUT_PATH], const char *folder,
               const char *name);

/* A row of numbers, nine digits each unless they are whole; NaN is an empty cell. */
void csv_row(output *out, int n, const double *cell);
#define CSV_ROW(out, ...)                                                 \
    csv_row(out, (int)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)), \
            (double[]){__VA_ARGS__})

/* One flat object. Numbers have as many digits as it takes to read them back the same,
 * and NaN is null; the text is written as it is, so quotes are the caller's. */
void json_number(output *out, const char *name, double value);
void json_text(output *out, const char *name, const char *format, ...);
void json_string(output *out, const char *name, const char *text); /* quoted, escaped */
ht_status json_close(output *out);

/* A folder for --out: made if need be, and tried by opening the first file. If one of the
 * files is there from an earlier run, it is said on stderr. `file` ends with NULL. */
ht_status output_folder(ht_context *ctx, const char *program, const char *folder,
                        const char *const *file);
bool output_earlier(ht_context *ctx, const char *folder, const char *const *file);
/* A set as a file; NULL: there is none, and one of an earlier run goes. */
ht_status output_set(ht_context *ctx, const char *program, const ht_set *set,
                     const char *path);

/* Numbers of each step: a column a name. Its values are a series of a report:
 *
 *     metrics log = {.name = {"step", "loss", "rate"}};
 *     METRICS_ROW(&log, step, loss, rate);
 *     report_curve(&page, &figure, 1, (report_series[]){metrics_series(&log, "loss")});
 *     metrics_write(&log, ctx, "out");      out/metrics.csv
 *     metrics_free(&log);
 */
enum { METRICS = 16 };
typedef struct metrics {
    const char *name[METRICS]; /* of columns; the first is x of the others' series */
    double *cell;              /* (rows, METRICS) */
    int64_t rows, room;
    bool borrowed; /* the cells */
} metrics;
void metrics_row(metrics *log, int n, const double *cell);
#define METRICS_ROW(log, ...)                                                 \
    metrics_row(log, (int)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)), \
                (double[]){__VA_ARGS__})
/* Its cells are those of cells (most rows, METRICS) f64, borrowed until metrics_free: a
 * tensor that --save keeps with the state of a run. */
void metrics_in(metrics *log, ht_tensor *cells);
ht_status metrics_write(const metrics *log, ht_context *ctx, const char *folder);
void metrics_free(metrics *log);

/* Pictures. */

typedef struct sheet_image {
    const float *pixels; /* (rows, cols), ink, or (3, rows, cols), light; 0 to 1 */
    int label;           /* 0..9 */
    bool marked;         /* the label in red, else blue */
} sheet_image;

typedef struct sheet_part {
    const char *title;
    int n;
    const sheet_image *image;
} sheet_part;

typedef struct contact_sheet {
    const char *title, *plain, *marked; /* what blue labels and red ones are */
    int64_t rows, cols;                 /* of an image */
    int n_parts;
    const sheet_part *part;
    bool colour;
} contact_sheet;

/* A PNG: title, legend, and the parts, their images in lines of twelve. ASCII. */
ht_status contact_sheet_write(ht_context *ctx, const char *path,
                              const contact_sheet *sheet);

/* A QR code without its margin, which a reader wants four modules wide and light. */
enum { QR_SIDE = 25, QR_TEXT = 32, QR_CODEWORDS = 44 }; /* the most there may be */
typedef struct qr_code {
    int version, side, mask; /* 1 or 2; modules */
    char level;              /* of checks: L, M, Q or H, the strongest that has room */
    int n_codewords, mends;  /* wrong ones that can be set right: half of the checks */
    bool dark[QR_SIDE * QR_SIDE];       /* (side, side); so the next */
    int8_t codeword[QR_SIDE * QR_SIDE]; /* which one it is of; negative: a pattern */
} qr_code;
/* Of 1 to QR_TEXT bytes, in the smallest version that has room; false: they are none, or
 * more. */
bool qr_make(qr_code *code, const char *text);
/* The n check codewords of data: the remainder of data x^n by prod_k (x - 2^k), k < n. */
void qr_check_codewords(int n_data, const uint8_t *data, int n, uint8_t *check);

/* Report: report.html of a folder, one file that needs no other and no network, at most
 * two megabytes. It is written in the order of calls; verdict first, then numbers:
 *
 *     report page;
 *     if (!report_open(&page, ctx, "out", "Hyper-cleaning")) return ...;
 *     report_verdict(&page, REPORT_GOOD, "Cleaning beats it by %.1f points", d);
 *     report_number(&page, "F1", "of finding wrong labels", "%.3f", f1);
 *     report_section(&page, "How it went");
 *     report_curve(&page, &(report_figure){"Validation loss", .x = "outer step"}, 2,
 *                  (report_series[]){{"cleaned", n, NULL, loss},
 *                                    {"baseline", 1, NULL, &level, .control = true}});
 *     report_section(&page, "Memory and time");
 *     report_fact(&page, "the unroll held", "%.1f MB", bytes / 1e6);
 *     report_account(&page, began);
 *     report_close(&page);
 *
 * All text is UTF-8 and is escaped. Whatever is a figure to the eye is also words or a
 * table. Errors stay on the context, and report_close gives the first. */

typedef struct report {
    output out;
    const char *folder, *group; /* borrowed until closed; what calls now stand in */
    int n_galleries;
} report;

/* False: nothing else is to be called. */
bool report_open(report *page, ht_context *ctx, const char *folder, const char *title);
ht_status report_close(report *page);

/* The verdict in a sentence or two; the tone sets a word before it: Yes, Even, No. */
typedef enum report_tone {
    REPORT_PLAIN,
    REPORT_GOOD,
    REPORT_EVEN,
    REPORT_BAD
} report_tone;
void report_verdict(report *page, report_tone tone, const char *format, ...);
/* A number to be seen from afar; those that follow each other stand side by side. */
void report_number(report *page, const char *name, const char *note, const char *format,
                   ...);
void report_section(report *page, const char *title);
void report_text(report *page, const char *format, ...);
/* A line of a list: a name, a value. */
void report_fact(report *page, const char *name, const char *format, ...);
void report_account(report *page, stopwatch began); /* facts: time and memory so far */
void report_settings(report *page);                 /* facts: the flags, as config.json */

/* What a figure is called, and what it says; the axes where it has some. */
typedef struct report_figure {
    const char *title, *x, *y, *note; /* all but the title may be NULL */
    bool log_x, log_y;
} report_figure;

/* n points, x rising; x NULL: 1, 2, ... One point without x is a level, drawn across. A
 * control is drawn in grey and dashed. */
typedef struct report_series {
    const char *name;
    int64_t n;
    const double *x, *y;
    bool control;
    int64_t stride; /* from one value to the next; 0 is 1 */
} report_series;
void report_curve(report *page, const report_figure *figure, int n,
                  const report_series *series);
report_series metrics_series(const metrics *log, const char *name);
/* The curves as an SVG by themselves, for a slide or a chapter. */
ht_status curve_write(ht_context *ctx, const char *path, const report_figure *figure,
                      int n, const report_series *series);

/* Bars from zero, or dots where that would hide what differs. error: a standard error; 0,
 * there is none. */
typedef struct report_bar {
    const char *name;
    double value, error;
    bool control;
} report_bar;
void report_bars(report *page, const report_figure *figure, int n, const report_bar *bar);

typedef struct report_values {
    const char *name;
    int64_t n;
    const double *value;
} report_values;
void report_histogram(report *page, const report_figure *figure, int n_groups,
                      const report_values *group, int n_bins);

/* Images of one size, (rows, cols) or planes (3, rows, cols), with captions. black and
 * white are the values that are drawn so: 0 and 1, or 1 and 0 for ink on paper. */
typedef enum report_mark { REPORT_UNMARKED, REPORT_RIGHT, REPORT_WRONG } report_mark;
typedef struct report_image {
    const float *pixels;
    const char *caption;
    report_mark mark; /* of its frame */
} report_image;
typedef struct report_gallery {
    int64_t rows, cols, channels;
    double black, white;
    int n;
    const report_image *image;
    bool large; /* to be looked at one by one */
} report_gallery;
void report_images(report *page, const report_figure *figure,
                   const report_gallery *gallery);

/* Counts, shaded by their share of the row: a confusion matrix. */
void report_matrix(report *page, const report_figure *figure, int n_rows,
                   const char *const *row, int n_columns, const char *const *column,
                   const double *count);
void report_table(report *page, const report_figure *figure, int n_columns,
                  const char *const *heading, int n_rows, const char *const *cell);

/* For figures of another kind, which are closed by "</figure>". */
extern const char *const report_head[];               /* NULL after the last */
extern const char report_colours[], report_drawing[]; /* parts of it */
enum { REPORT_BYTES = 1900000 }; /* what galleries may fill; text is little */
void report_put(report *page, const char *text); /* escaped */
void report_within(report *page, const char *group);
void report_figure_begin(report *page, const report_figure *figure);
void report_table_begin(report *page, const char *title, const char *style);
void report_cell(report *page, bool heading, const char *text);

#endif
