/* SPDX-License-Identifier: MIT */
/* reference.h: reads the tables of tests/reference, a case a line: words apart by spaces
 * ("so" where one holds spaces), and lists, which are a label, a count and as many words.
 * A remark begins with #. Read next: reference/layers.py, which writes two of them. */
#ifndef HTI_TEST_REFERENCE_H
#define HTI_TEST_REFERENCE_H

#include "test.h"

enum { REFERENCE_LINE = 1 << 16 };

typedef struct reference {
    FILE *file;
    const char *name;
    int row;
    char *at;
    const char *remark; /* of the line; "" if none */
    char line[REFERENCE_LINE];
} reference;

/* A table of tests/reference by its file's name, to be read to its end. */
static inline void reference_open(reference *r, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "tests/reference/%s", name);
    r->file = test_source(path);
    r->name = name;
    r->row = 0;
}

/* The next line that has words; false, and the file is closed, when there is none. */
static inline bool reference_next(reference *r)
{
    do {
        if (!fgets(r->line, sizeof r->line, r->file)) {
            fclose(r->file);
            return false;
        }
        r->row++;
        size_t n = strcspn(r->line, "\n");
        if (!r->line[n]) fail_msg("%s:%d: no end of the line", r->name, r->row);
        r->line[n] = '\0';
        char *remark = strchr(r->line, '#');
        r->remark = remark ? remark + 1 + (remark[1] == ' ') : "";
        if (remark) *remark = '\0';
        r->at = r->line + strspn(r->line, " ");
    } while (!*r->at);
    return true;
}

static inline const char *reference_word(reference *r)
{
    const char *end = *r->at == '"' ? "\"" : " ";
    char *word = r->at + (*r->at == '"');
    size_t n = strcspn(word, end);
    if (!*word) fail_msg("%s:%d: the line ends early", r->name, r->row);
    r->at = word + n + (word[n] != '\0');
    r->at += strspn(r->at, " ");
    word[n] = '\0';
    return word;
}

static inline double reference_number(reference *r)
{
    const char *word = reference_word(r);
    char *end;
    double x = strtod(word, &end);
    if (*end) fail_msg("%s:%d: \"%s\" is no number", r->name, r->row, word);
    return x;
}

static inline void reference_label(reference *r, const char *label)
{
    const char *word = reference_word(r);
    if (strcmp(word, label)) fail_msg("%s:%d: %s, not %s", r->name, r->row, word, label);
}

/* How many words the list of that label holds, at most `most`. */
static inline int reference_count(reference *r, const char *label, int most)
{
    reference_label(r, label);
    int n = (int)reference_number(r);
    if (n < 0 || n > most)
        fail_msg("%s:%d: %s of %d, %d at most", r->name, r->row, label, n, most);
    return n;
}

static inline int reference_numbers(reference *r, const char *label, int most, double *to)
{
    int n = reference_count(r, label, most);
    for (int i = 0; i < n; i++) to[i] = reference_number(r);
    return n;
}

#endif
