/* SPDX-License-Identifier: MIT */
/* test_data_csv.c: tables from text: what pandas and others write, numbers to the last
 * bit, and what must be refused, by the whole message. Read next: data/csv.c. */
#include "test_data.h"

#include <locale.h>
#include <zlib.h>

#include "reference.h"

static const char *put_bytes(const fixture *f, const void *bytes, size_t n,
                             char path[PATH])
{
    FILE *file = fopen(path_in(f, "t.csv", path), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
    return path;
}

static ht_table read_text(const fixture *f, const char *text, ht_csv_options options)
{
    char path[PATH];
    ht_table table;
    if (ht_csv_read(f->ctx, put_bytes(f, text, strlen(text), path), &options, &table))
        fail_msg("%s", ht_context_message(f->ctx));
    return table;
}

static void expect_numbers(const ht_tensor *x, int64_t n, const double *want)
{
    assert_int_equal(ht_tensor_count(x), n);
    for (int64_t i = 0; i < n; i++)
        if (!(ht_tensor_get(x, i) == want[i]))
            fail_msg("element %d: got %.17g, want %.17g", (int)i, ht_tensor_get(x, i),
                     want[i]);
}

#define NUMBERS(...)                                             \
    sizeof((double[]){__VA_ARGS__}) / sizeof(double), (double[]) \
    {                                                            \
        __VA_ARGS__                                              \
    }
#define OPTIONS(...) ((ht_csv_options){__VA_ARGS__})
#define NAMES(...)   ((const char *const[]){__VA_ARGS__, NULL})

static void csv_read_of_a_plain_table_is_x_and_labels(void **state)
{
    fixture *f = *state;
    ht_table t = read_text(f, "a,b,kind\n1,-2.5,dog\n3e2,.5,cat\n+4,6.,dog\n",
                           OPTIONS(.label = "kind"));
    assert_true(ht_shape_equal(ht_tensor_shape(t.x), HT_SHAPE(3, 2)));
    assert_int_equal(ht_tensor_dtype(t.x), HT_F32);
    expect_numbers(t.x, NUMBERS(1, -2.5, 300, .5, 4, 6));
    assert_int_equal(ht_tensor_dtype(t.labels), HT_I32);
    expect_numbers(t.labels, NUMBERS(1, 0, 1));
    assert_null(t.target);
    assert_int_equal(t.n, 3);
    assert_int_equal(t.n_columns, 2);
    assert_int_equal(t.classes, 2);
    assert_string_equal(t.column_names[0], "a");
    assert_string_equal(t.column_names[1], "b");
    assert_string_equal(t.class_names[0], "cat");
    assert_string_equal(t.class_names[1], "dog");
    ht_table_free(&t);
    assert_null(t.x);
    ht_table_free(&t);
    ht_table_free(NULL);
}

static void csv_read_of_every_way_to_write_a_row_is_the_same(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *text;
        char delimiter;
    } files[] = {
        {"a,b\n1,2\n3,4\n", 0},
        {"a,b\n1,2\n3,4", 0},
        {"a,b\r\n1,2\r\n3,4\r\n", 0},
        {"a,b\r\n1,2\r\n3,4", 0},
        {"a,b\r1,2\r3,4\r", 0},
        {"\xef\xbb\xbf"
         "a,b\n1,2\n3,4\n",
         0},
        {"\n\na,b\n\n1,2\n\r\n3,4\n\n\n", 0},
        {"\"a\",\"b\"\n\"1\",2\n3,\"4\"", 0},
        {"a , b\n 1\t,  2 \n\t3,4 \n", 0},
        {"a, \"b\"\n1, \"2\"\n3,4\n", 0},
        {"a;b\n1;2\n3;4\n", ';'},
        {"a\tb\n1\t2\n3\t 4\n", '\t'},
        {"a b\n1 2\n3 4\n", ' '},
        {"a|b\n1|2\n3|4\n", '|'},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        ht_table t =
            read_text(f, files[i].text, OPTIONS(.delimiter = files[i].delimiter));
        assert_string_equal(t.column_names[0], "a");
        assert_string_equal(t.column_names[1], "b");
        expect_numbers(t.x, NUMBERS(1, 2, 3, 4));
        ht_table_free(&t);
    }
    ht_table t = read_text(f, "1,2\n3,4\n", OPTIONS(.no_header = true));
    assert_string_equal(t.column_names[1], "1");
    expect_numbers(t.x, NUMBERS(1, 2, 3, 4));
    ht_table_free(&t);
    t = read_text(f, "0,1\n1,2\n3,4\n", OPTIONS(.dtype = HT_F64)); /* as pandas counts */
    assert_int_equal(ht_tensor_dtype(t.x), HT_F64);
    expect_numbers(t.x, NUMBERS(1, 2, 3, 4));
    ht_table_free(&t);
}

static void csv_read_of_quoted_text_keeps_what_is_in_it(void **state)
{
    fixture *f = *state;
    ht_table t =
        read_text(f,
                  "x,\"the \"\"kind\"\", or\r\nso\",note\r\n"
                  "1,\"a,b\",\"NA\"\r\n2,\"say \"\"a\"\"\",5'11\"\r\n3, \" a \",\n",
                  OPTIONS(.label = "the \"kind\", or\nso", .ignore = NAMES("note")));
    assert_int_equal(t.classes, 3);
    assert_string_equal(t.class_names[0], " a ");
    assert_string_equal(t.class_names[1], "a,b");
    assert_string_equal(t.class_names[2], "say \"a\"");
    expect_numbers(t.labels, NUMBERS(1, 2, 0));
    expect_numbers(t.x, NUMBERS(1, 2, 3));
    ht_table_free(&t);
}

static void csv_read_by_options_gives_each_column_its_place(void **state)
{
    fixture *f = *state;
    ht_table t =
        read_text(f, ",a,price,b,digit\n7,1,10.5,2,0\n8,NA,-3,,4\n",
                  OPTIONS(.label = "digit", .target = "price", .ignore = NAMES("", "b"),
                          .missing_as_nan = true, .dtype = HT_F64));
    assert_int_equal(t.n_columns, 1);
    assert_string_equal(t.column_names[0], "a");
    assert_true(ht_tensor_get(t.x, 0) == 1);
    assert_true(isnan(ht_tensor_get(t.x, 1)));
    assert_int_equal(ht_tensor_dtype(t.target), HT_F64);
    expect_numbers(t.target, NUMBERS(10.5, -3));
    expect_numbers(t.labels, NUMBERS(0, 4));
    assert_int_equal(t.classes, 5);
    assert_null(t.class_names);
    ht_table_free(&t);
    t = read_text(f, "a,y\n1,1.0\n2,0.0\n", OPTIONS(.label = "y"));
    expect_numbers(t.labels, NUMBERS(1, 0));
    ht_table_free(&t);
}

static void csv_read_like_another_table_has_its_classes(void **state)
{
    fixture *f = *state;
    char path[PATH];
    ht_table other,
        train = read_text(f, "a,b,y\n1,2,cat\n1,2,dog\n1,2,ape\n", OPTIONS(.label = "y"));
    ht_csv_options like = OPTIONS(.label = "y", .like = &train);
    ht_table test = read_text(f, "y,a,b\ndog,3,4\n", like);
    assert_int_equal(test.classes, 3);
    assert_string_equal(test.class_names[2], "dog");
    expect_numbers(test.labels, NUMBERS(2));
    ht_table_free(&test);
    test = read_text(f, "a,b\n3,4\n", OPTIONS(.like = &train));
    assert_null(test.labels);
    ht_table_free(&test);
    static const struct {
        const char *text, *part;
    } wrong[] = {
        {"a,b,y\n3,4,cow\n",
         ":2:5: expected a class that .like has in column \"y\", got \"cow\"\n"},
        {"a,b,y\n3,4,1\n", ":2:5: expected classes that are all names or all numbers"},
        {"b,a,y\n3,4,cat\n", ": expected the columns \"a\", \"b\", got \"b\", \"a\"\n"},
        {"a,y\n3,cat\n", ": expected the columns \"a\", \"b\", got \"a\"\n"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        put_bytes(f, wrong[i].text, strlen(wrong[i].text), path);
        assert_int_equal(ht_csv_read(f->ctx, path, &like, &other), HT_ERROR_FORMAT);
        assert_contains(ht_context_message(f->ctx), wrong[i].part);
        ht_context_clear(f->ctx);
    }
    ht_table_free(&train);
    train = read_text(f, "a,y\n1,0\n1,2\n", OPTIONS(.label = "y"));
    test = read_text(f, "a,y\n1,1\n", like);
    assert_int_equal(test.classes, 3);
    ht_table_free(&test);
    put_bytes(f, "a,y\n1,3\n", 8, path);
    assert_int_equal(ht_csv_read(f->ctx, path, &like, &other), HT_ERROR_FORMAT);
    assert_contains(ht_context_message(f->ctx), "expected a class that .like has");
    ht_context_clear(f->ctx);
    ht_table_free(&train);
}

/* Numbers. */

static double read_number(const fixture *f, const char *number, ht_dtype dtype)
{
    char text[256];
    snprintf(text, sizeof text, "a\n%s\n", number);
    ht_table t = read_text(f, text, OPTIONS(.dtype = dtype));
    double x = ht_tensor_get(t.x, 0);
    ht_table_free(&t);
    return x;
}

static void csv_read_of_numbers_rounds_once(void **state)
{
    fixture *f = *state;
    /* Just above half way between two floats, by less than a double tells: rounding to
     * double first gives the lower one. */
    assert_true(read_number(f, "1.00000005960464477539062500000001", HT_F32) ==
                1 + 0x1p-23);
    assert_true(read_number(f, "1.000000059604644775390625", HT_F32) == 1);
    assert_true(read_number(f, "9007199254740993", HT_F64) == 9007199254740992);
    assert_true(read_number(f, "9007199254740993.00000000000000000001", HT_F64) ==
                9007199254740994);
    assert_true(read_number(f, "2.2250738585072011e-308", HT_F64) ==
                0x0.fffffffffffffp-1022);
    assert_true(read_number(f, "5e-324", HT_F64) == 0x1p-1074);
    assert_true(read_number(f, "1e-400", HT_F64) == 0);
    assert_true(read_number(f, "1e-45", HT_F32) == 0x1p-149);
    assert_true(read_number(f, "3.4028235677e38", HT_F32) == 0x1.fffffep127);
    assert_true(signbit(read_number(f, "-0", HT_F32)));
}

/* As many digits as tell any two apart, and back. */
static void csv_read_of_random_bits_gives_them_back(void **state)
{
    fixture *f = *state;
    enum { N = 2000 };
    uint64_t seed = test_seed();
    char *text = malloc(2 * N * 32);
    double *x = calloc(N, sizeof *x), *y = calloc(N, sizeof *y);
    size_t n = (size_t)sprintf(text, "x,y\n");
    for (uint64_t i = 0; i < N; i++) {
        uint64_t bits = ht_random_bits(seed, 3, i);
        uint32_t half = (uint32_t)bits;
        float single;
        memcpy(&x[i], &bits, sizeof *x);
        memcpy(&single, &half, sizeof single);
        y[i] = isfinite(single) ? (double)single : 0;
        if (!isfinite(x[i])) x[i] = 0;
        n += (size_t)sprintf(text + n, "%.17g,%.9g\n", x[i], y[i]);
    }
    for (int single = 0; single < 2; single++) {
        ht_table t = read_text(f, text,
                               OPTIONS(.ignore = NAMES(single ? "x" : "y"),
                                       .dtype = single ? HT_F32 : HT_F64));
        expect_numbers(t.x, N, single ? y : x);
        ht_table_free(&t);
    }
    free(text);
    free(x);
    free(y);
}

static void csv_read_in_another_locale_reads_points(void **state)
{
    fixture *f = *state;
    char command[4 * PATH];
    snprintf(command, sizeof command,
             "localedef --no-archive -i de_DE -f UTF-8 %s/de >/dev/null 2>&1", f->folder);
    bool made = system(command) == 0;
    setenv("LOCPATH", f->folder, 1);
    made = made && setlocale(LC_ALL, "de");
    snprintf(command, sizeof command, "rm -rf %s/de", f->folder);
    assert_int_equal(system(command), 0);
    if (!made) skip(); /* no localedef on this machine */
    double x = read_number(f, "1.5", HT_F32);
    double here = strtod("1,5", NULL);
    setlocale(LC_ALL, "C");
    assert_true(here == 1.5);
    assert_true(x == 1.5);
}

/* What pandas wrote, and what it read of it; by reference/files.py. */
static void csv_read_of_what_pandas_wrote_is_as_by_pandas(void **state)
{
    fixture *f = *state;
    reference r;
    reference_open(&r, "csv.txt");
    int files = 0;
    while (reference_next(&r)) {
        char path[PATH];
        const char *name = reference_word(&r);
        snprintf(path, sizeof path, "%s/tests/reference/files/%s",
                 getenv("HYPERTAPE_SOURCE"), name);
        ht_csv_options options = OPTIONS(.label = "label", .missing_as_nan = true);
        options.dtype = reference_number(&r) == 8 ? HT_F64 : HT_F32;
        options.ignore = NAMES("text");
        ht_table t;
        if (ht_csv_read(f->ctx, path, &options, &t))
            fail_msg("%s", ht_context_message(f->ctx));
        assert_int_equal(t.n, (int64_t)reference_number(&r));
        assert_int_equal(t.n_columns, (int)reference_number(&r));
        assert_int_equal(crc32(0, ht_tensor_data(t.x), (unsigned)ht_tensor_bytes(t.x)),
                         (unsigned long)reference_number(&r));
        assert_int_equal(
            crc32(0, ht_tensor_data(t.labels), (unsigned)ht_tensor_bytes(t.labels)),
            (unsigned long)reference_number(&r));
        for (int i = 0; i < t.classes; i++)
            assert_string_equal(t.class_names[i], reference_word(&r));
        ht_table_free(&t);
        files++;
    }
    assert_int_equal(files, 3);
}

/* Refusals. */

static void expect_refusal(const fixture *f, const char *text, size_t n,
                           const ht_csv_options *options, ht_status status,
                           const char *message)
{
    char path[PATH], want[1024];
    ht_table t = {.n = 7};
    snprintf(want, sizeof want, "%s%s", put_bytes(f, text, n, path), message);
    ht_status got = ht_csv_read(f->ctx, path, options, &t);
    assert_string_equal(ht_status_name(got), ht_status_name(status));
    assert_string_equal(ht_status_name(ht_context_status(f->ctx)),
                        ht_status_name(status));
    if (strcmp(ht_context_message(f->ctx), want) != 0)
        fail_msg("got:\n%s\nwant:\n%s", ht_context_message(f->ctx), want);
    assert_null(t.x);
    assert_int_equal(t.n, 0);
    assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
    ht_context_clear(f->ctx);
}

#define DATA_FIRST "\n  hint: is the first line data? Then .no_header = true"
#define QUOTES                                                                    \
    "\n  hint: a text that holds the delimiter stands in quotes; so does one of " \
    "several lines"
#define TEXT                                                                         \
    "\n  hint: is it the .label, or to be in .ignore? Digits have no groups, and a " \
    "point before the fraction"
#define MISSING                                                            \
    "\n  hint: missing: fill it in, leave the row out, or ask for NaN by " \
    ".missing_as_nan = true"
#define MIXED                                                                           \
    ":3:3: expected classes that are all names or all numbers from 0 in column \"y\", " \
    "got "
#define NUMBER ":2:3: expected a number, like -1234.5e-6 in column \"b\", got "
#define CLASS                                                                        \
    ":2:3: expected a class, as a name or a whole number from 0 to 65535 in column " \
    "\"y\", got "

static void csv_read_of_what_is_no_table_is_refused(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *text, *label, *message;
    } files[] = {
        {"\n\n", NULL,
         ":3:1: expected a line of columns' names, got the end of the file\n"
         "  hint: is this the right file?"},
        {"a,b\n", NULL,
         ": expected rows below the columns' names, got none\n"
         "  hint: is the file incomplete?"},
        {"\xff\xfe"
         "a",
         NULL, ":1:1: expected text in UTF-8, got UTF-16\n  hint: save it as UTF-8"},
        {"\xfe\xff"
         "a",
         NULL, ":1:1: expected text in UTF-8, got UTF-16\n  hint: save it as UTF-8"},
        {"\x89PNG\r\n\x1a\n", NULL,
         ":1:1: expected text in UTF-8, got a picture\n  hint: pictures are read from a "
         "folder a class"},
        {"a,gr\xf6\xdf"
         "e\n1,2\n",
         NULL,
         ":1:3: expected text in UTF-8, got another encoding\n"
         "  hint: save it as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8)"},
        {"a,b\n1,K\xe4se\n", "b",
         ":2:3: expected text in UTF-8, got another encoding\n"
         "  hint: save it as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8)"},
        {"PK\3\4....", NULL,
         ":1:1: expected text in UTF-8, got a zip or a workbook\n"
         "  hint: save the sheet as CSV, or unpack it"},
        {"a;b\n1;2\n", NULL,
         ":1:1: expected columns apart, got a single one\n"
         "  hint: did you mean .delimiter = ';'?"},
        {"a\tb\n1\t2\n", NULL,
         ":1:1: expected columns apart, got a single one\n"
         "  hint: did you mean .delimiter = '\\t'?"},
        {"1.5,2\n3,4\n", NULL,
         ":1:1: expected names of columns, got numbers alone" DATA_FIRST},
        {"a,a\n1,2\n", NULL,
         ":1:3: expected names that stand once, got this one a second time" DATA_FIRST},
        {"a,,b\n1,2,3\n", NULL,
         ":1:3: expected a column's name, got none\n"
         "  hint: an index pandas wrote: to_csv(index=False), or \"\" in .ignore; no "
         "names "
         "at all: .no_header = true"},
        {"a,b\n1,2\n3\n", NULL,
         ":3:1: expected 2 fields as in the first line, got 1" QUOTES},
        {"a,b\n1,2,3\n", NULL,
         ":2:3: expected 2 fields as in the first line, got more" QUOTES},
        {"a,b\n1,2\n\n3,4,\n", NULL,
         ":4:3: expected 2 fields as in the first line, got more" QUOTES},
        {"a,b\n1,dog\n", NULL, NUMBER "\"dog\"" TEXT},
        {"a,b\n1,0x10\n", NULL, NUMBER "\"0x10\"" TEXT},
        {"a,b\n1,inf\n", NULL, NUMBER "\"inf\"" TEXT},
        {"a,b\n1,-Infinity\n", NULL, NUMBER "\"-Infinity\"" TEXT},
        {"a,b\n1,nan(3)\n", NULL, NUMBER "\"nan(3)\"" TEXT},
        {"a,b\n1,\"1,5\"\n", NULL, NUMBER "\"1,5\"" TEXT},
        {"a,b\n1,1 000\n", NULL, NUMBER "\"1 000\"" TEXT},
        {"a,b\n1,1e\n", NULL, NUMBER "\"1e\"" TEXT},
        {"a,b\n1,1e+\n", NULL, NUMBER "\"1e+\"" TEXT},
        {"a,b\n1,.\n", NULL, NUMBER "\".\"" TEXT},
        {"a,b\n1,--1\n", NULL, NUMBER "\"--1\"" TEXT},
        {"a,b\n1,1.2.3\n", NULL, NUMBER "\"1.2.3\"" TEXT},
        {"a,b\n1,12%\n", NULL, NUMBER "\"12%\"" TEXT},
        {"a,b\n1,\x1b[2J\n", NULL, NUMBER "\"?[2J\"" TEXT},
        {"a,b\n1,\n", NULL, ":2:3: expected a number in column \"b\", got \"\"" MISSING},
        {"a,b\n1,NaN\n", NULL,
         ":2:3: expected a number in column \"b\", got \"NaN\"" MISSING},
        {"a,b\n\"1\n2\",3\n", NULL,
         ":2:1: expected a number, like -1234.5e-6 in column \"a\", got \"1?2\"" TEXT},
        {"a,b\n1,1e39\n", NULL,
         ":2:3: expected a number f32 holds in column \"b\", got \"1e39\"\n"
         "  hint: larger than 3.4e38: .dtype = HT_F64, or scale it"},
        {"a,b\n1,\"2\n", NULL,
         ":2:3: expected a quote that is closed, got the end of the file\n"
         "  hint: a quote within quotes is written twice"},
        {"a,b\n1,\"2\"3\n", NULL,
         ":2:3: expected the end of the field, got '3'\n"
         "  hint: a quote within quotes is written twice; text has no zero bytes"},
        {"a,y\n1,\n", "y",
         ":2:3: expected a class in column \"y\", got \"\"\n"
         "  hint: missing: leave the row out, or give the class a name"},
        {"a,y\n1,dog\n2,3\n", "y", MIXED "\"3\"\n  hint: other rows have the other kind"},
        {"a,y\n1,-1\n", "y",
         CLASS "\"-1\"\n  hint: a number to predict is the .target, not the .label"},
        {"a,y\n1,0.5\n", "y",
         CLASS "\"0.5\"\n  hint: a number to predict is the .target, not the .label"},
        {"a,y\n1,65536\n", "y",
         CLASS "\"65536\"\n  hint: a number to predict is the .target, not the .label"},
        {"y\n1\n", "y",
         ": expected the columns at least one beside label, target and those ignored, "
         "got "
         "none\n  hint: the same columns in the same order make rows that can be "
         "compared"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        expect_refusal(f, files[i].text, strlen(files[i].text),
                       &OPTIONS(.label = files[i].label), HT_ERROR_FORMAT,
                       files[i].message);
    expect_refusal(
        f, "a,b\n1,2\0\n", 9, NULL, HT_ERROR_FORMAT,
        ":2:3: expected the end of the field, got byte 0x00\n"
        "  hint: a quote within quotes is written twice; text has no zero bytes");
}

static void csv_read_of_options_that_do_not_fit_is_refused(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *label, *target, *ignore, *message;
    } names[] = {
        {"c", NULL, NULL,
         ": the label: there is no column \"c\"\n  hint: the columns are \"a\", \"b\""},
        {NULL, "c", NULL,
         ": the target: there is no column \"c\"\n  hint: the columns are \"a\", \"b\""},
        {NULL, NULL, "c",
         ": ignored: there is no column \"c\"\n  hint: the columns are \"a\", \"b\""},
        {"a", "a", NULL,
         ": column \"a\" is the target and something else\n"
         "  hint: name it once in the options"},
        {"a", NULL, "a",
         ": column \"a\" is ignored and something else\n"
         "  hint: name it once in the options"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        expect_refusal(f, "a,b\n1,2\n", 8,
                       &OPTIONS(.label = names[i].label, .target = names[i].target,
                                .ignore = NAMES(names[i].ignore)),
                       HT_ERROR_ARGUMENT, names[i].message);
    ht_table t;
    char path[PATH];
    put_bytes(f, "a\n1\n", 4, path);
    assert_int_equal(ht_csv_read(f->ctx, path, &OPTIONS(.dtype = HT_I32), &t),
                     HT_ERROR_DTYPE);
    assert_contains(ht_context_message(f->ctx), "expected dtype f32 or f64, got i32");
    ht_context_clear(f->ctx);
    assert_int_equal(ht_csv_read(f->ctx, path, &OPTIONS(.delimiter = '.'), &t),
                     HT_ERROR_ARGUMENT);
    assert_contains(ht_context_message(f->ctx), "got byte 0x2e");
    ht_context_clear(f->ctx);
    assert_int_equal(ht_csv_read(f->ctx, f->folder, NULL, &t), HT_ERROR_FILE);
    ht_context_clear(f->ctx);
    assert_int_equal(ht_csv_read(f->ctx, "no such file", NULL, &t), HT_ERROR_FILE);
    ht_context_clear(f->ctx);
}

/* Every beginning of a file is a table of fewer rows, or refused and nothing is left. */
static void csv_read_of_every_beginning_takes_no_harm(void **state)
{
    fixture *f = *state;
    static const char text[] = "\xef\xbb\xbf"
                               "a,\"b\",y\r\n1.5e1,\"2\",\"ca\"\"t\"\r\n-3,.4,dog\r\n";
    char path[PATH];
    int read = 0, refused = 0;
    for (size_t n = 1; n < sizeof text; n++) {
        ht_table t;
        put_bytes(f, text, n, path);
        ht_status status = ht_csv_read(f->ctx, path, &OPTIONS(.label = "y"), &t);
        if (status) assert_contains(ht_context_message(f->ctx), "\n  hint: ");
        if (!status) assert_in_range(t.n, 1, 2);
        refused += status != HT_OK;
        read += status == HT_OK;
        ht_table_free(&t);
        ht_context_clear(f->ctx);
        assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
    }
    assert_int_equal(read, 9); /* behind the first row's class, and from "d" on */
    assert_int_equal(refused, sizeof text - 1 - 9);
}

static void csv_read_of_large_tables_asks_for_what_comes(void **state)
{
    fixture *f = *state;
    enum { ROWS = 20000, BYTES = 24 };
    char *text = malloc(ROWS * BYTES + 64), path[PATH], gz[PATH];
    size_t n = (size_t)sprintf(text, "a,b,y\n");
    for (int i = 0; i < ROWS; i++)
        n += (size_t)sprintf(text + n, "%d,%d.5,c%d\n", i, -i, i % 300);
    put_bytes(f, text, n, path);
    gzFile file = gzopen(path_in(f, "t.csv.gz", gz), "wb");
    assert_int_equal(gzwrite(file, text, (unsigned)n), (int)n);
    gzclose(file);
    for (int k = 0; k < 2; k++) {
        ht_table t;
        ht_context_reset_peak(f->ctx);
        if (ht_csv_read(f->ctx, k ? gz : path, &OPTIONS(.label = "y"), &t))
            fail_msg("%s", ht_context_message(f->ctx));
        assert_int_equal(t.n, ROWS);
        assert_int_equal(t.classes, 300);
        for (int i = 0; i < ROWS; i++) {
            char name[16];
            snprintf(name, sizeof name, "c%d", i % 300);
            assert_true(ht_tensor_get(t.x, 2 * i + 1) == (i ? -i - .5 : .5));
            assert_string_equal(t.class_names[(int)ht_tensor_get(t.labels, i)], name);
        }
        size_t peak = ht_context_peak_bytes(f->ctx) - f->live;
        if (peak > ROWS * 12 + 300000) fail_msg("%zu bytes asked for", peak);
        ht_table_free(&t);
    }
    free(text);
}

static bool read_table(ht_context *ctx, void *path)
{
    ht_table t;
    ht_csv_options options = OPTIONS(.label = "y", .target = "z");
    bool done = !ht_csv_read(ctx, path, &options, &t);
    ht_table_free(&t);
    return done;
}

static void csv_read_keeps_an_error_of_each_allocation(void **state)
{
    fixture *f = *state;
    char path[PATH], text[512] = "a,z,y,c,d,e,f,g,h,i\n";
    for (int i = 0; i < 12; i++)
        sprintf(text + strlen(text), "1,2,c%d,4,5,6,7,8,9,0\n", i % 10);
    put_bytes(f, text, strlen(text), path);
    assert_in_range(fail_each_allocation(read_table, path), 30, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(csv_read_of_a_plain_table_is_x_and_labels),
        CASE(csv_read_of_every_way_to_write_a_row_is_the_same),
        CASE(csv_read_of_quoted_text_keeps_what_is_in_it),
        CASE(csv_read_by_options_gives_each_column_its_place),
        CASE(csv_read_like_another_table_has_its_classes),
        CASE(csv_read_of_numbers_rounds_once),
        CASE(csv_read_of_random_bits_gives_them_back),
        CASE(csv_read_in_another_locale_reads_points),
        CASE(csv_read_of_what_pandas_wrote_is_as_by_pandas),
        CASE(csv_read_of_what_is_no_table_is_refused),
        CASE(csv_read_of_options_that_do_not_fit_is_refused),
        CASE(csv_read_of_every_beginning_takes_no_harm),
        CASE(csv_read_of_large_tables_asks_for_what_comes),
        CASE(csv_read_keeps_an_error_of_each_allocation),
    };
    return TEST_MAIN(tests);
}
