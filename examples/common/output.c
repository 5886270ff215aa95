/* SPDX-License-Identifier: MIT */
/* output.c: files, each there whole or not at all, of rows (CSV) or of one object (JSON).
 * Every error of writing is met, at the latest when the file is closed.
 * Read next: contact_sheet.c. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"

static ht_status output_fail(ht_context *ctx, const char *path, const char *what)
{
    return ht_context_fail(ctx, HT_ERROR_FILE, NULL,
                           "%s: %s: %s\n  hint: may you write there, and is there room?",
                           path, what, strerror(errno));
}

bool path_join(ht_context *ctx, char path[OUTPUT_PATH], const char *folder,
               const char *name)
{
    if (snprintf(path, OUTPUT_PATH, "%s/%s", folder, name) < OUTPUT_PATH) return true;
    errno = ENAMETOOLONG;
    output_fail(ctx, folder, "cannot be used");
    return false;
}

/* Where the bytes go until the file is closed. */
static const char *written_to(const output *out, char text[OUTPUT_PATH + 8])
{
    snprintf(text, OUTPUT_PATH + 8, "%s%s", out->path, out->part ? ".part" : "");
    return text;
}

bool output_open(output *out, ht_context *ctx, const char *path, bool append)
{
    char link, name[OUTPUT_PATH + 8];
    struct stat old;
    *out = (output){
        .ctx = ctx, .separator = '{', .part = !append && readlink(path, &link, 1) < 0};
    bool plain = !strcmp(path, "-"), fits = strlen(path) < OUTPUT_PATH;
    snprintf(out->path, OUTPUT_PATH, "%s", path);
    errno = ENAMETOOLONG;
    if (fits)
        out->file = plain ? stdout : fopen(written_to(out, name), append ? "ab" : "wb");
    out->part = out->part && !plain;
    if (!out->file) output_fail(ctx, out->path, "cannot be created");
    if (out->file && out->part && stat(path, &old) == 0)
        fchmod(fileno(out->file), old.st_mode & 0777);
    return out->file != NULL;
}

ht_status output_close(output *out, bool keep)
{
    char name[OUTPUT_PATH + 8];
    if (out->file == stdout) return HT_OK; /* command_printed() sees whether it arrives */
    written_to(out, name);
    bool good = !ferror(out->file);
    good = fclose(out->file) == 0 && good;
    if (good && keep && out->part) good = rename(name, out->path) == 0;
    if (!good) output_fail(out->ctx, out->path, "cannot be written");
    if (out->part && !(good && keep)) remove(name);
    return ht_context_status(out->ctx);
}

/* The folder of a path, as a name that ends with "/." */
static void folder_of(const char *path, char text[OUTPUT_PATH])
{
    const char *slash = strrchr(path, '/');
    snprintf(text, OUTPUT_PATH, "%.*s.", slash ? (int)(slash + 1 - path) : 0, path);
}

ht_status output_check(ht_context *ctx, const char *flag_name, const char *path)
{
    char folder[OUTPUT_PATH];
    struct stat about;
    if (!path || !strcmp(path, "-")) return HT_OK;
    folder_of(path, folder);
    bool wrong_kind = stat(path, &about) == 0 && !S_ISREG(about.st_mode);
    if (!wrong_kind && access(folder, W_OK) == 0) return HT_OK;
    return ht_context_fail(ctx, HT_ERROR_FILE, NULL,
                           "%s: --%s: expected a file that can be written, got %s\n"
                           "  hint: name one in a folder that exists and is yours to "
                           "write in",
                           path, flag_name,
                           wrong_kind ? "something else" : strerror(errno));
}

static bool same_place(const char *a, const char *b)
{
    struct stat one, other;
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

static const char *last_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool same_file(const char *a, const char *b)
{
    char folder_a[OUTPUT_PATH], folder_b[OUTPUT_PATH];
    if (!strcmp(a, b) || same_place(a, b)) return true;
    folder_of(a, folder_a);
    folder_of(b, folder_b);
    return !strcmp(last_name(a), last_name(b)) && same_place(folder_a, folder_b);
}

void csv_row(output *out, int n, const double *cell)
{
    for (int i = 0; i < n; i++) {
        if (i) fputc(',', out->file);
        if (isfinite(cell[i]))
            fprintf(out->file, "%.*g", cell[i] == rint(cell[i]) ? 17 : 9, cell[i]);
    }
    fputc('\n', out->file);
}

void json_text(output *out, const char *name, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fprintf(out->file, "%c\"%s\":", out->separator, name);
    vfprintf(out->file, format, values);
    va_end(values);
    out->separator = ',';
}

void json_number(output *out, const char *name, double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.15g", value);
    if (strtod(text, NULL) != value) snprintf(text, sizeof text, "%.17g", value);
    json_text(out, name, "%s", isfinite(value) ? text : "null");
}

/* Bytes that are not UTF-8 stay what they are. */
void json_string(output *out, const char *name, const char *text)
{
    fprintf(out->file, "%c\"%s\":\"", out->separator, name);
    for (; *text; text++)
        if ((unsigned char)*text < 32)
            fprintf(out->file, "\\u%04x", (unsigned)*text);
        else
            fprintf(out->file, strchr("\"\\", *text) ? "\\%c" : "%c", *text);
    fputc('"', out->file);
    out->separator = ',';
}

ht_status json_close(output *out)
{
    fputs("}\n", out->file);
    return output_close(out, true);
}

bool output_earlier(ht_context *ctx, const char *folder, const char *const *file)
{
    char path[OUTPUT_PATH];
    for (; *file; file++)
        if (path_join(ctx, path, folder, *file) && access(path, F_OK) == 0) return true;
    return false;
}

ht_status output_folder(ht_context *ctx, const char *program, const char *folder,
                        const char *const *file)
{
    char path[OUTPUT_PATH];
    output out;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return ht_context_fail(
            ctx, HT_ERROR_FILE, NULL,
            "%s: cannot be made: %s\n  hint: --out wants a folder that "
            "you may write in, or a name for a new one",
            folder, strerror(errno));
    if (!path_join(ctx, path, folder, *file) || !output_open(&out, ctx, path, false))
        return ht_context_status(ctx);
    output_close(&out, false);
    if (output_earlier(ctx, folder, file))
        fprintf(stderr, "%s: %s holds files of an earlier run, which will be replaced\n",
                program, folder);
    return ht_context_status(ctx);
}

/* What an earlier run left in its place belongs to that run. */
ht_status output_set(ht_context *ctx, const char *program, const ht_set *set,
                     const char *path)
{
    if (set) return ht_set_write(set, path);
    if (remove(path) == 0)
        fprintf(stderr, "%s: %s, of an earlier run, has been removed\n", program, path);
    else if (errno != ENOENT)
        return ht_context_fail(ctx, HT_ERROR_FILE, NULL,
                               "%s: is of an earlier run and cannot be removed: %s\n"
                               "  hint: remove it, it belongs to other weights",
                               path, strerror(errno));
    return HT_OK;
}
