/* SPDX-License-Identifier: MIT */
/* fuzz_csv.c: the reader of tables. The first byte is the options, the others a file,
 * plain or gzip. What loads is written as plain numbers and read back the same.
 * Read next: data/csv.c. */
#include <math.h>

#include "file.h"

enum { LABEL = 1, NO_HEADER = 2, MISSING = 4, DOUBLE = 8, SEMICOLON = 16 };

static ht_csv_options options_of(uint8_t byte)
{
    static const char *const ignored[] = {"i", NULL};
    return (ht_csv_options){.label = byte & LABEL ? "y" : NULL,
                            .ignore = byte & LABEL ? ignored : NULL,
                            .no_header = byte & NO_HEADER,
                            .missing_as_nan = byte & MISSING,
                            .dtype = byte & DOUBLE ? HT_F64 : HT_F32,
                            .delimiter = byte & SEMICOLON ? ';' : 0};
}

/* Every element with as many digits as tell it from others. */
static const char *write_copy(const ht_table *t, char path[FUZZ_PATH])
{
    FILE *file = fopen(fuzz_path("y", path), "wb");
    FUZZ_REQUIRE(file, "%s", path);
    for (int64_t i = 0; i < t->n * t->n_columns; i++) {
        double x = ht_tensor_get(t->x, i);
        if (isnan(x))
            fputs("NaN", file);
        else
            fprintf(file, "%.17g", x);
        fputc((i + 1) % t->n_columns ? ',' : '\n', file);
    }
    fclose(file);
    return path;
}

static void check_table(const ht_table *t)
{
    char path[FUZZ_PATH];
    ht_table copy;
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = 1});
    ht_csv_options options = {
        .no_header = true, .missing_as_nan = true, .dtype = ht_tensor_dtype(t->x)};
    FUZZ_REQUIRE(!ht_csv_read(ctx, write_copy(t, path), &options, &copy), "%s",
                 ht_context_message(ctx));
    fuzz_require_equal(t->x, copy.x, "");
    for (int64_t i = 0; t->labels && i < t->n; i++) {
        double label = ht_tensor_get(t->labels, i);
        FUZZ_REQUIRE(label >= 0 && label < t->classes, "label %g of %d", label,
                     t->classes);
    }
    for (int i = 1; t->class_names && i < t->classes; i++)
        FUZZ_REQUIRE(strcmp(t->class_names[i - 1], t->class_names[i]) < 0, "order");
    ht_table_free(&copy);
    ht_context_free(ctx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > FUZZ_MOST) return 0;
    char path[FUZZ_PATH];
    ht_table t;
    ht_csv_options options = options_of(*data);
    fuzz_write("x", path, ++data, --size);
    bool gzip = size > 1 && data[0] == 0x1f && data[1] == 0x8b;
    /* A byte of text is a number of 8, or a name: that, and up to four pointers to it. */
    ht_context *ctx = fuzz_context(80 * (gzip ? 1032 * size : size) + 300000);
    bool loaded = !ht_csv_read(ctx, path, &options, &t);
    if (ht_context_status(ctx) == HT_ERROR_ARGUMENT) { /* there is no column "y" */
        FUZZ_REQUIRE(options.label, "%s", ht_context_message(ctx));
    } else {
        fuzz_check_read(ctx, path, loaded);
    }
    ht_context_clear(ctx);
    if (loaded) check_table(&t);
    ht_table_free(&t);
    fuzz_end(ctx);
    return 0;
}

size_t fuzz_example(uint64_t number, uint8_t *to, size_t most)
{
    static const char *const files[] = {
        "\1a,i,y\n1,x,cat\n2.5e3,\"a\"\"b\",dog\n",
        "\14a,b\r\n,NaN\r\n-1e-400,12345678901234567890\r\n",
        "\2.5;,\n",
        "\0021,2\n3,4\n5,6\n",
        "\21a;y;i\n1;0;,\n2;3;\"\n\"\n",
        "\0\xef\xbb\xbf\"a\",b\n\n1,-2\n\n",
    };
    const char *text = files[number % (sizeof files / sizeof *files)];
    size_t n = number % (sizeof files / sizeof *files) == 5 ? 1 + strlen(text + 1)
                                                            : strlen(text);
    if (n > most || number >= 6) return 0;
    memcpy(to, text, n);
    return n;
}

void fuzz_figures(FILE *f)
{
    fuzz_met_figures(f);
}
