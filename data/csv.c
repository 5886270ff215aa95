/* SPDX-License-Identifier: MIT */
/* csv.c: a table of numbers in text, as x (n, columns), and a class or a number for each
 * row.
 *
 * The text is walked over twice: once to count its rows and to know its classes, so that
 * memory is asked for once and for what there is; then to take the numbers. strtof and
 * strtod round correctly, and read as the calling thread's locale is, which is "C"
 * meanwhile. Read next: csv_text.c. */
#include "csv_text.h"
#include "json.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CSV_X, CSV_LABEL, CSV_TARGET, CSV_IGNORED };

typedef struct csv_table {
    hti_csv_text text;
    ht_context *ctx;
    const char *path;
    const ht_csv_options *options;
    ht_table *out;
    hti_names columns; /* all of them, as they stand */
    uint8_t *role;     /* of each */
    hti_names classes; /* in order */
    bool named;        /* they are names, not numbers */
    int64_t row;       /* the walk's */
    int x_column;
} csv_table;

/* What pandas takes for missing, too. */
static bool csv_is_missing(const char *field)
{
    static const char *const words[] = {"",     "NA",   "N/A",  "NaN",  "nan",
                                        "NULL", "null", "None", "none", "n/a",
                                        "<NA>", "#N/A", "-NaN", "-nan"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(field, words[i]) == 0) return true;
    return false;
}

static size_t csv_digits(const char *from)
{
    return strspn(from, "0123456789");
}

/* Digits with a point and an exponent, which is less than strtod takes. */
static bool csv_is_number(const char *field)
{
    const char *at = field + strspn(field, "+-");
    size_t whole = csv_digits(at), part = 0;
    if (at - field > 1) return false;
    at += whole;
    if (*at == '.') {
        part = csv_digits(++at);
        at += part;
    }
    if (whole + part == 0) return false;
    if (*at == 'e' || *at == 'E') {
        at++;
        at += *at == '+' || *at == '-';
        if (csv_digits(at) == 0) return false;
        at += csv_digits(at);
    }
    return *at == 0;
}

/* A class as a number, or -1. */
static int64_t csv_whole(const char *field)
{
    double value = csv_is_number(field) ? strtod(field, NULL) : -1;
    return value >= 0 && value < HTI_MOST_NAMES && value == floor(value) ? (int64_t)value
                                                                         : -1;
}

static ht_status csv_fail_cell(csv_table *t, int column, const char *expected,
                               const char *hint)
{
    char wanted[2 * HTI_SHOWN + 128], shown[HTI_SHOWN], got[HTI_SHOWN + 2];
    snprintf(wanted, sizeof wanted, "%s in column \"%s\"", expected,
             hti_shown(t->columns.name[column], shown));
    snprintf(got, sizeof got, "\"%s\"", hti_shown(t->text.field, shown));
    return hti_csv_fail(&t->text, wanted, got, hint);
}

/* Names of columns and of classes: in another encoding they would differ from the same
 * names in another file. */
static ht_status csv_check_text(csv_table *t)
{
    const char *c = t->text.field;
    int n = 1;
    while (*c && n > 0) c += n = hti_utf8_length(c);
    return n > 0 ? HT_OK
                 : hti_csv_fail(&t->text, "text in UTF-8", "another encoding",
                                "save it as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8)");
}

/* Header. */

static ht_status csv_fail_name(csv_table *t, const char *what, const char *name)
{
    char text[HTI_NAMES_TEXT];
    return ht_context_fail(t->ctx, HT_ERROR_ARGUMENT, NULL,
                           "%s: %s: there is no column \"%s\"\n"
                           "  hint: the columns are %s",
                           t->path, what, name,
                           hti_names_text(t->columns.name, t->columns.n, text));
}

/* Gives the columns of that name their role; NULL: none is named. */
static ht_status csv_set_role(csv_table *t, const char *what, const char *name, int role)
{
    bool found = !name;
    for (int i = 0; i < t->columns.n && name; i++) {
        if (strcmp(t->columns.name[i], name) != 0) continue;
        if (t->role[i] != CSV_X)
            return ht_context_fail(t->ctx, HT_ERROR_ARGUMENT, NULL,
                                   "%s: column \"%s\" is %s and something else\n"
                                   "  hint: name it once in the options",
                                   t->path, name, what);
        t->role[i] = (uint8_t)role;
        found = true;
    }
    return found ? HT_OK : csv_fail_name(t, what, name);
}

static ht_status csv_set_roles(csv_table *t)
{
    const ht_csv_options *o = t->options;
    t->role = hti_zalloc(t->ctx, (size_t)t->columns.n, 1);
    if (!t->role) return HT_ERROR_MEMORY;
    ht_status status = csv_set_role(t, "the label", o->label, CSV_LABEL);
    if (!status) status = csv_set_role(t, "the target", o->target, CSV_TARGET);
    for (int i = 0; o->ignore && o->ignore[i] && !status; i++)
        status = csv_set_role(t, "ignored", o->ignore[i], CSV_IGNORED);
    return status;
}

static bool csv_ignores(const csv_table *t, const char *name)
{
    for (int i = 0; t->options->ignore && t->options->ignore[i]; i++)
        if (strcmp(t->options->ignore[i], name) == 0) return true;
    return false;
}

/* One more column; `seen` has the names so far, in order. */
static ht_status csv_add_column(csv_table *t, hti_names *seen)
{
    int at = 0, n = t->columns.n;
    char name[24];
    const char *field = t->text.field;
    if (csv_check_text(t)) return t->text.status;
    snprintf(name, sizeof name, "%d", n);
    if (t->options->no_header) field = name;
    if (n == HTI_MOST_NAMES)
        return hti_csv_fail(&t->text, "at most 65536 columns", "more",
                            "is the table the other way round?");
    if (!*field && !csv_ignores(t, ""))
        return hti_csv_fail(&t->text, "a column's name", "none",
                            "an index pandas wrote: to_csv(index=False), or \"\" in "
                            ".ignore; no names at all: .no_header = true");
    bool twice = hti_names_find(seen, field, &at);
    if (twice && *field)
        return hti_csv_fail(&t->text, "names that stand once", "this one a second time",
                            "is the first line data? Then .no_header = true");
    ht_status status = hti_names_insert(seen, at, field);
    return status ? status : hti_names_insert(&t->columns, n, field);
}

/* A first line of numbers is data, unless it counts the columns as pandas does where they
 * have no names. */
static ht_status csv_check_header(csv_table *t)
{
    bool numbers = !t->options->no_header, counted = true;
    for (int i = 0; i < t->columns.n; i++) {
        numbers = numbers && csv_is_number(t->columns.name[i]);
        counted = counted && csv_whole(t->columns.name[i]) == i;
    }
    if (!numbers || counted) return HT_OK;
    t->text.field_place = 1;
    return hti_csv_fail(&t->text, "names of columns", "numbers alone",
                        "is the first line data? Then .no_header = true");
}

/* One column where others are likely. */
static ht_status csv_check_delimiter(csv_table *t)
{
    char hint[64];
    const char *other = t->columns.n == 1 ? strpbrk(t->columns.name[0], ",;\t|") : NULL;
    if (!other) return HT_OK;
    snprintf(hint, sizeof hint, "did you mean .delimiter = %s%c'?",
             *other == '\t' ? "'\\" : "'", *other == '\t' ? 't' : *other);
    return hti_csv_fail(&t->text, "columns apart", "a single one", hint);
}

static ht_status csv_open(csv_table *t)
{
    char delimiter = t->options->delimiter ? t->options->delimiter : ',';
    return hti_csv_open(&t->text, t->ctx, t->path, delimiter);
}

static ht_status csv_read_header(csv_table *t)
{
    hti_names seen = {.ctx = t->ctx};
    ht_status status = csv_open(t);
    if (!status && !hti_csv_record(&t->text) && !t->text.status)
        hti_csv_fail(&t->text, "a line of columns' names", "the end of the file",
                     "is this the right file?");
    for (bool last = false; !status && !last; last = t->text.last) {
        status = hti_csv_field(&t->text);
        if (!status) status = csv_add_column(t, &seen);
    }
    if (!status) status = csv_check_delimiter(t);
    if (!status) status = csv_check_header(t);
    hti_names_free(t->ctx, seen.name, seen.n);
    hti_csv_close(&t->text);
    return status ? status : csv_set_roles(t);
}

/* The columns of x, which must be those of `like`. */
static ht_status csv_name_columns(csv_table *t)
{
    ht_table *out = t->out;
    const ht_table *like = t->options->like;
    hti_names kept = {.ctx = t->ctx};
    ht_status status = HT_OK;
    for (int i = 0; i < t->columns.n && !status; i++)
        if (t->role[i] == CSV_X)
            status = hti_names_insert(&kept, kept.n, t->columns.name[i]);
    out->column_names = kept.name;
    out->n_columns = kept.n;
    if (status) return status;
    bool same = !like || like->n_columns == kept.n;
    for (int i = 0; like && same && i < kept.n; i++)
        same = strcmp(like->column_names[i], kept.name[i]) == 0;
    if (same && kept.n > 0) return HT_OK;
    char text[HTI_NAMES_TEXT], wanted[HTI_NAMES_TEXT] = "at least one beside label, "
                                                        "target and those ignored";
    if (like) hti_names_text(like->column_names, like->n_columns, wanted);
    return ht_context_fail(
        t->ctx, HT_ERROR_FORMAT, NULL,
        "%s: expected the columns %s, got %s\n"
        "  hint: the same columns in the same order make rows that can be compared",
        t->path, wanted, kept.n ? hti_names_text(kept.name, kept.n, text) : "none");
}

/* Rows. */

static void table_clear(ht_context *ctx, ht_table *table)
{
    ht_tensor_free(table->x);
    ht_tensor_free(table->labels);
    ht_tensor_free(table->target);
    hti_names_free(ctx, table->column_names, table->n_columns);
    hti_names_free(ctx, table->class_names, table->class_names ? table->classes : 0);
    *table = (ht_table){.n = 0};
}

typedef ht_status csv_cell_fn(csv_table *t, int column);

static ht_status csv_check_end(csv_table *t, int columns)
{
    char wanted[64], got[32];
    if (columns == t->columns.n && t->text.last) return HT_OK;
    snprintf(wanted, sizeof wanted, "%d fields as in the first line", t->columns.n);
    snprintf(got, sizeof got, t->text.last ? "%d" : "more", columns);
    return hti_csv_fail(&t->text, wanted, got,
                        "a text that holds the delimiter stands in quotes; so does "
                        "one of several lines");
}

/* A record's fields to `cell`, one after the other. */
static ht_status csv_walk_record(csv_table *t, csv_cell_fn *cell)
{
    ht_status status = HT_OK;
    int column = 0;
    t->x_column = 0;
    t->text.last = false;
    while (!status && !t->text.last && column < t->columns.n) {
        status = hti_csv_field(&t->text);
        if (!status) status = cell(t, column++);
    }
    return status ? status : csv_check_end(t, column);
}

static ht_status csv_walk(csv_table *t, csv_cell_fn *cell)
{
    ht_status status = csv_open(t);
    bool header = !t->options->no_header;
    if (!status && header && hti_csv_record(&t->text))
        while (!hti_csv_field(&t->text) && !t->text.last) continue;
    for (t->row = 0; !status && hti_csv_record(&t->text); t->row++)
        status = csv_walk_record(t, cell);
    if (!status) status = t->text.status;
    hti_csv_close(&t->text);
    return status;
}

/* The first walk: a class that is new. */
static ht_status csv_learn_cell(csv_table *t, int column)
{
    int at = 0;
    if (t->role[column] != CSV_LABEL || hti_names_find(&t->classes, t->text.field, &at) ||
        csv_is_missing(t->text.field))
        return HT_OK;
    if (csv_check_text(t)) return t->text.status;
    if (t->classes.n == HTI_MOST_NAMES)
        return csv_fail_cell(t, column, "at most 65536 different classes",
                             "is this a number to predict? Then it is the .target");
    return hti_names_insert(&t->classes, at, t->text.field);
}

static bool csv_has_classes(const ht_table *like)
{
    return like && like->classes > 0;
}

/* Names of classes: the other table's, or those learnt. */
static hti_names csv_names(const csv_table *t)
{
    const ht_table *like = t->options->like;
    if (!csv_has_classes(like)) return t->classes;
    return (hti_names){.name = like->class_names, .n = like->classes};
}

static ht_status csv_learn(csv_table *t)
{
    const ht_table *like = t->options->like;
    ht_status status = csv_walk(t, csv_learn_cell);
    if (status) return status;
    if (t->row == 0)
        return ht_context_fail(t->ctx, HT_ERROR_FORMAT, NULL,
                               "%s: expected rows below the columns' names, got none\n"
                               "  hint: is the file incomplete?",
                               t->path);
    for (int i = 0; i < t->classes.n; i++) {
        int64_t label = csv_whole(t->classes.name[i]);
        t->named = t->named || !csv_is_number(t->classes.name[i]);
        t->out->classes = (int)hti_most(t->out->classes, label + 1);
    }
    if (csv_has_classes(like)) t->named = like->class_names != NULL;
    if (csv_has_classes(like)) t->out->classes = like->classes;
    return HT_OK;
}

/* The second walk. */

static ht_status csv_take_number(csv_table *t, int column, ht_tensor *to, int64_t at)
{
    const char *field = t->text.field;
    bool single = ht_tensor_dtype(to) == HT_F32, missing = csv_is_missing(field);
    ht_array array = ht_tensor_array(to);
    if (missing && !t->options->missing_as_nan)
        return csv_fail_cell(t, column, "a number",
                             "missing: fill it in, leave the row out, or ask for NaN by "
                             ".missing_as_nan = true");
    if (!missing && !csv_is_number(field))
        return csv_fail_cell(t, column, "a number, like -1234.5e-6",
                             "is it the .label, or to be in .ignore? Digits have no "
                             "groups, and a point before the fraction");
    double value = missing  ? (double)NAN
                   : single ? (double)strtof(field, NULL)
                            : strtod(field, NULL);
    if (isinf(value))
        return csv_fail_cell(t, column, single ? "a number f32 holds" : "one f64 holds",
                             single ? "larger than 3.4e38: .dtype = HT_F64, or scale it"
                                    : "larger than 1.8e308: scale it");
    hti_write(&array, at, value);
    return HT_OK;
}

static ht_status csv_take_class(csv_table *t, int column, int32_t *label)
{
    const char *field = t->text.field;
    int at = 0;
    hti_names known = csv_names(t);
    if (csv_is_missing(field))
        return csv_fail_cell(t, column, "a class",
                             "missing: leave the row out, or give the class a name");
    if (t->named != !csv_is_number(field))
        return csv_fail_cell(t, column,
                             "classes that are all names or all numbers from 0",
                             "other rows have the other kind");
    if (!t->named && csv_whole(field) < 0)
        return csv_fail_cell(t, column,
                             "a class, as a name or a whole number from 0 to 65535",
                             "a number to predict is the .target, not the .label");
    bool found = !t->named || hti_names_find(&known, field, &at);
    *label = t->named ? at : (int32_t)csv_whole(field);
    if (found && (t->named || *label < t->out->classes)) return HT_OK;
    return csv_fail_cell(t, column, "a class that .like has",
                         "read first the file that has all classes");
}

static ht_status csv_take_cell(csv_table *t, int column)
{
    ht_table *out = t->out;
    if (t->row == out->n)
        return hti_csv_fail(&t->text, "as many rows as before", "more",
                            "the file changed while it was read; read it again");
    switch (t->role[column]) {
    case CSV_X:
        return csv_take_number(t, column, out->x,
                               t->row * out->n_columns + t->x_column++);
    case CSV_TARGET:
        return csv_take_number(t, column, out->target, t->row);
    case CSV_LABEL:
        return csv_take_class(t, column, (int32_t *)ht_tensor_data(out->labels) + t->row);
    default:
        return HT_OK;
    }
}

static ht_status csv_take_rows(csv_table *t)
{
    ht_table *out = t->out;
    ht_dtype dtype = t->options->dtype ? t->options->dtype : HT_F32;
    out->n = t->row;
    out->x = ht_tensor_new(t->ctx, dtype, HT_SHAPE(out->n, out->n_columns));
    if (!out->x) return ht_context_status(t->ctx);
    if (t->options->target) {
        out->target = ht_tensor_new(t->ctx, dtype, HT_SHAPE(out->n));
        if (!out->target) return ht_context_status(t->ctx);
    }
    if (t->options->label) {
        out->labels = ht_tensor_new(t->ctx, HT_I32, HT_SHAPE(out->n));
        if (!out->labels) return ht_context_status(t->ctx);
    }
    ht_status status = csv_walk(t, csv_take_cell);
    if (status || t->row == out->n) return status;
    return ht_context_fail(t->ctx, HT_ERROR_FORMAT, NULL,
                           "%s: expected %lld rows as before, got %lld\n"
                           "  hint: the file changed while it was read; read it again",
                           t->path, (long long)out->n, (long long)t->row);
}

/* The names of the classes, its own or another table's. */
static ht_status csv_name_classes(csv_table *t)
{
    hti_names names = {.ctx = t->ctx}, known = csv_names(t);
    ht_status status = HT_OK;
    for (int i = 0; t->named && i < known.n && !status; i++)
        status = hti_names_insert(&names, i, known.name[i]);
    if (t->named) t->out->classes = names.n;
    t->out->class_names = names.name;
    return status;
}

static ht_status csv_check_options(csv_table *t)
{
    const ht_csv_options *o = t->options;
    if (o->dtype && !hti_dtype_is_float(o->dtype))
        return ht_context_fail(t->ctx, HT_ERROR_DTYPE, NULL,
                               "ht_csv_read: expected dtype f32 or f64, got %s\n"
                               "  hint: labels are i32 in any case",
                               ht_dtype_name(o->dtype));
    if (!strchr("\"\r\n+-.eE0123456789", o->delimiter) || !o->delimiter) return HT_OK;
    return ht_context_fail(t->ctx, HT_ERROR_ARGUMENT, NULL,
                           "ht_csv_read: expected a delimiter that numbers and quotes "
                           "have not, got byte 0x%02x\n"
                           "  hint: ',', ';', '\\t', ' ' and '|' are usual",
                           (unsigned char)o->delimiter);
}

static ht_status csv_read(csv_table *t)
{
    ht_status status = csv_check_options(t);
    if (!status) status = csv_read_header(t);
    if (!status) status = csv_name_columns(t);
    if (!status) status = csv_learn(t);
    if (!status) status = csv_take_rows(t);
    return status ? status : csv_name_classes(t);
}

ht_status ht_csv_read(ht_context *ctx, const char *path, const ht_csv_options *options,
                      ht_table *out)
{
    HT_ASSERT(ctx && path && out, "ht_csv_read: context %p, path %p, out %p", (void *)ctx,
              (const void *)path, (void *)out);
    *out = (ht_table){.n = 0};
    csv_table t = {.ctx = ctx,
                   .path = path,
                   .options = options ? options : &(ht_csv_options){.label = NULL},
                   .out = out,
                   .columns = {.ctx = ctx},
                   .classes = {.ctx = ctx}};
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = uselocale(plain);
    ht_status status = csv_read(&t);
    uselocale(before);
    if (plain) freelocale(plain);
    hti_resize(ctx, t.role, (size_t)t.columns.n, 0);
    hti_names_free(ctx, t.columns.name, t.columns.n);
    hti_names_free(ctx, t.classes.name, t.classes.n);
    if (status) table_clear(ctx, out);
    return status;
}

void ht_table_free(ht_table *table)
{
    if (table && table->x) table_clear(ht_tensor_context(table->x), table);
}
