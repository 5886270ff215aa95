/* SPDX-License-Identifier: MIT */
/* common.h: what the programs of this folder need beside their subject.
 *
 *   command.c        flags, --help, and what is said of a wrong one
 *   progress.c       a clock, Ctrl-C, a bar with the time left
 *   output.c         files that are there whole or not at all; CSV and JSON
 *   contact_sheet.c  a picture of many images with a digit beside each
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

/* Clock, Ctrl-C, progress. */

double seconds_now(void); /* monotonic */
/* From now on Ctrl-C makes interrupted() true; a second one ends the program. */
void interrupt_watch(void);
bool interrupted(void);

/* `work` is in units of the caller's, told how much of it is done. On a terminal a bar
 * with both texts; elsewhere a line when `what` has changed, at most one a second. */
void progress_begin(double work);
void progress(double done, const char *what, const char *detail);
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
ht_status json_close(output *out);

/* Pictures. */

typedef struct sheet_image {
    const float *pixels; /* (rows, cols), 0 to 1 */
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
} contact_sheet;

/* A PNG: title, legend, and the parts, their images in lines of twelve. ASCII. */
ht_status contact_sheet_write(ht_context *ctx, const char *path,
                              const contact_sheet *sheet);

#endif
