/* SPDX-License-Identifier: MIT */
/* safetensors.c: sets as files that other libraries read, and theirs as sets.
 *
 * A file is a little-endian u64, the length of a JSON header; the header, {"name":
 * {"dtype", "shape", "data_offsets": [begin, end]}}; and the elements, row-major,
 * little-endian, offsets counted from their start (github.com/huggingface/safetensors).
 * The header is looked at once, strictly (json.c), and held against the file's size, and
 * the tensors against each other and every byte, before memory is asked for. A header of
 * n bytes takes at most 4 n to read (names are decoded where they stand, and a tensor of
 * 50 bytes of text takes 112), all of it the context's. Read next: json.c, file.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data_internal.h"
#include "json.h"
#include "set.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "elements are written as they lie in memory");

enum {
    ST_LENGTH = 8, /* bytes of the header's length; the data is aligned to it too */
    ST_MOST_HEADER = 100000000, /* as in the reference implementation */
    ST_LIST = HTI_MESSAGE / 4
};

/* The one name that is no tensor's. */
#define ST_METADATA "__metadata__"

static const char *const st_dtypes[] = {
    [HT_F32] = "F32", [HT_F64] = "F64", [HT_I32] = "I32", [HT_U8] = "U8"};

typedef struct st_entry {
    char *name; /* in the header's text */
    ht_dtype dtype;
    ht_shape shape;
    int64_t begin, end; /* bytes from the start of the data */
} st_entry;

/* Writing. */

static ht_status st_check_name(const ht_set *set, const char *path, const char *name)
{
    int length = 1;
    for (const char *c = name; *c && length > 0; c += length) length = hti_utf8_length(c);
    if (length > 0 && strcmp(name, ST_METADATA) != 0) return HT_OK;
    return ht_context_fail(set->ctx, HT_ERROR_ARGUMENT, NULL,
                           "%s: tensor \"%s\": expected a name in UTF-8, and not "
                           "\"__metadata__\", got %s\n"
                           "  hint: give the tensor another name",
                           path, name, length > 0 ? "that" : "other bytes");
}

/* The elements, or (draft NULL) where those of each tensor begin: the widest first, so
 * that all are aligned; the header keeps the set's order. */
static void st_put_data(const ht_set *set, int64_t *begin, hti_draft *draft)
{
    int64_t at = 0;
    for (size_t width = sizeof(double); width > 0; width /= 2)
        for (int i = 0; i < set->n; i++) {
            const ht_tensor *x = set->tensor[i];
            if (ht_dtype_bytes(ht_tensor_dtype(x)) != width) continue;
            if (draft) hti_draft_write(draft, ht_tensor_data(x), ht_tensor_bytes(x));
            begin[i] = at;
            at += (int64_t)ht_tensor_bytes(x);
        }
}

/* The header, counted or written; neither takes memory. */
typedef struct st_text {
    hti_draft *draft; /* NULL: counted only */
    size_t n;
} st_text;

static void st_put(st_text *text, const char *from, size_t n)
{
    text->n += n;
    if (text->draft) hti_draft_write(text->draft, from, n);
}

static void st_put_name(st_text *text, const char *name)
{
    st_put(text, "\"", 1);
    for (; *name; name++) {
        char byte[8];
        bool quoted = *name == '"' || *name == '\\', control = (unsigned char)*name < ' ';
        int n = snprintf(byte, sizeof byte,
                         control  ? "\\u%04x"
                         : quoted ? "\\%c"
                                  : "%c",
                         *name);
        st_put(text, byte, (size_t)n);
    }
    st_put(text, "\":", 2);
}

static void st_put_entry(st_text *text, const ht_tensor *x, int64_t begin)
{
    char shape[HT_SHAPE_TEXT], entry[HT_SHAPE_TEXT + 128];
    ht_shape_text(ht_tensor_shape(x), shape); /* "(2, 3)", to become "[2, 3]" */
    shape[0] = '[';
    shape[strlen(shape) - 1] = ']';
    int n = snprintf(entry, sizeof entry,
                     "{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%lld,%lld]}",
                     st_dtypes[ht_tensor_dtype(x)], shape, (long long)begin,
                     (long long)begin + (long long)ht_tensor_bytes(x));
    st_put(text, entry, (size_t)n);
}

/* How many bytes. */
static size_t st_put_header(const ht_set *set, const int64_t *begin, hti_draft *draft)
{
    st_text text = {.draft = draft};
    for (int i = 0; i < set->n; i++) {
        st_put(&text, i == 0 ? "{" : ",", 1);
        st_put_name(&text, set->name[i]);
        st_put_entry(&text, set->tensor[i], begin[i]);
    }
    st_put(&text, set->n > 0 ? "}" : "{}", set->n > 0 ? 1 : 2);
    return text.n;
}

static void st_put_front(const ht_set *set, const int64_t *begin, hti_draft *draft)
{
    static const char spaces[ST_LENGTH] = "        ";
    size_t used = st_put_header(set, begin, NULL), length = hti_round_up(used, ST_LENGTH);
    unsigned char bytes[ST_LENGTH];
    if (length > ST_MOST_HEADER && !draft->status)
        draft->status = ht_context_fail(
            draft->ctx, HT_ERROR_ARGUMENT, NULL,
            "%s: expected names and shapes of at most %d bytes, got %zu\n"
            "  hint: no reader would take it: give shorter names, or write several sets",
            draft->path, ST_MOST_HEADER, length);
    for (int i = 0; i < ST_LENGTH; i++) bytes[i] = (uint64_t)length >> 8 * i & 0xff;
    hti_draft_write(draft, bytes, sizeof bytes);
    st_put_header(set, begin, draft);
    hti_draft_write(draft, spaces, length - used);
}

ht_status ht_set_write(const ht_set *set, const char *path)
{
    HT_ASSERT(set && path, "ht_set_write: set %p, path %p", (const void *)set,
              (const void *)path);
    HTI_ALIVE(set, "ht_set_write", "set");
    ht_status status = HT_OK;
    for (int i = 0; i < set->n && !status; i++)
        status = st_check_name(set, path, set->name[i]);
    if (status) return status;
    size_t begin_bytes = (size_t)(set->n + 1) * sizeof(int64_t);
    int64_t *begin = hti_resize(set->ctx, NULL, 0, begin_bytes);
    if (!begin) return HT_ERROR_MEMORY;
    st_put_data(set, begin, NULL);
    hti_draft draft;
    hti_draft_open(&draft, set->ctx, path);
    st_put_front(set, begin, &draft);
    st_put_data(set, begin, &draft);
    hti_resize(set->ctx, begin, begin_bytes, 0);
    return hti_draft_close(&draft);
}

/* Reading: the header. */

/* A file whose header has been read and believed. */
typedef struct st_file {
    hti_input in;
    int64_t header_bytes, data_bytes;
    char *text; /* the header and a zero; names are decoded in it */
    int n, n_slots;
    st_entry *entry;  /* in the header's order */
    st_entry **order; /* by name, to find one twice, and then by offset */
} st_file;

static ht_status st_read_length(st_file *f)
{
    unsigned char bytes[ST_LENGTH];
    long long file_bytes = f->in.file_bytes;
    if (file_bytes < ST_LENGTH)
        return hti_input_fail(&f->in, 0,
                              "expected the 8 bytes of a header length, got a file of "
                              "%lld\n"
                              "  hint: a safetensors file is wanted here",
                              file_bytes);
    uint64_t length = 0, most = (uint64_t)(file_bytes - ST_LENGTH);
    ht_status status = hti_input_exactly(&f->in, bytes, ST_LENGTH);
    if (status) return status;
    for (int i = 0; i < ST_LENGTH; i++) length |= (uint64_t)bytes[i] << 8 * i;
    if (most > ST_MOST_HEADER) most = ST_MOST_HEADER;
    if (length > most)
        return hti_input_fail(
            &f->in, 0,
            "expected a header length of at most %llu in a file of %lld bytes, got %llu\n"
            "  hint: the file is incomplete, or no safetensors file",
            (unsigned long long)most, file_bytes, (unsigned long long)length);
    f->header_bytes = (int64_t)length;
    f->data_bytes = file_bytes - ST_LENGTH - f->header_bytes;
    return HT_OK;
}

/* Bytes of the file as a message shows them. */
static const char *st_show(const char *from, size_t n, char *text, size_t size)
{
    size_t i = 0;
    for (; i < n && i + 1 < size && from[i]; i++)
        text[i] = from[i] >= ' ' && from[i] < 0x7f ? from[i] : '?';
    text[i] = 0;
    return text;
}

/* A JSON object and spaces, and nothing else; its names are those of C strings. */
static ht_status st_check_text(const st_file *f)
{
    char got[17];
    hti_json j = {.at = f->text, .end = f->text + f->header_bytes};
    j.why = "no opening brace";
    if (*j.at == '{' && hti_json_value(&j) && hti_json_ends(&j)) return HT_OK;
    return hti_input_fail(&f->in, ST_LENGTH + (j.at - f->text),
                          "expected a header that is one JSON object, got \"%s\": %s\n"
                          "  hint: a safetensors file is wanted here",
                          st_show(j.at, 16, got, sizeof got), j.why);
}

static ht_status st_read_text(st_file *f)
{
    size_t length = (size_t)f->header_bytes;
    f->text = hti_resize(f->in.ctx, NULL, 0, length + 1);
    if (!f->text) return HT_ERROR_MEMORY;
    f->text[length] = '\0';
    ht_status status = hti_input_exactly(&f->in, f->text, length);
    return status ? status : st_check_text(f);
}

/* Reading: what the header says. */

static const char st_expected_object[] = "an object of dtype, shape and data_offsets";

/* A string that is short and has no zero in it, or "". */
static void st_get_word(hti_json *j, char word[16])
{
    word[0] = 0;
    if (*j->at == '"' && hti_json_string(j, word, 16) != strlen(word)) word[0] = 0;
}

static const char *st_get_shape(hti_json *j, st_entry *e)
{
    ht_shape *shape = &e->shape;
    while (hti_json_next(j))
        if (shape->rank == HT_MAX_RANK || !hti_json_whole(j, &shape->dim[shape->rank++]))
            return "a shape of at most 6 whole numbers";
    return NULL;
}

static const char *st_get_offsets(hti_json *j, st_entry *e)
{
    bool two = hti_json_next(j) && hti_json_whole(j, &e->begin) && hti_json_next(j) &&
               hti_json_whole(j, &e->end) && !hti_json_next(j);
    return two && e->begin <= e->end ? NULL : "data_offsets [begin, end], begin <= end";
}

static const char *st_get_dtype(hti_json *j, st_entry *e)
{
    char word[16];
    st_get_word(j, word);
    for (int known = HT_F32; known <= HT_U8; known++)
        if (strcmp(word, st_dtypes[known]) == 0) e->dtype = (ht_dtype)known;
    return e->dtype ? NULL : "dtype F32, F64, I32 or U8";
}

/* What an entry has, how its value begins, and what reads that: what was expected
 * instead, or NULL. */
static const struct {
    const char *key;
    char first;
    const char *(*get)(hti_json *j, st_entry *e);
} st_fields[] = {{"dtype", '"', st_get_dtype},
                 {"shape", '[', st_get_shape},
                 {"data_offsets", '[', st_get_offsets}};

/* All fields, in any order, each once; what was expected instead. */
static const char *st_get_entry(hti_json *j, st_entry *e)
{
    unsigned met = 0;
    if (*j->at != '{') return st_expected_object;
    while (hti_json_next(j)) {
        char key[16];
        int field = 0;
        st_get_word(j, key);
        hti_json_colon(j);
        while (field < 3 && strcmp(key, st_fields[field].key) != 0) field++;
        if (field == 3 || met & 1u << field || *j->at != st_fields[field].first)
            return st_expected_object;
        const char *expected = st_fields[field].get(j, e);
        if (expected) return expected;
        met |= 1u << field;
    }
    return met == 7 ? NULL : st_expected_object;
}

static ht_status st_fail_entry(const st_file *f, const char *what, const char *name,
                               const char *expected, hti_json value)
{
    char got[201];
    const char *from = value.at;
    hti_json_value(&value);
    return ht_context_fail(
        f->in.ctx, HT_ERROR_FORMAT, NULL,
        "%s: header: %s \"%.300s\": expected %s, got %s\n"
        "  hint: write it in a supported form, or fetch the file again",
        f->in.path, what, name, expected,
        st_show(from, (size_t)(value.at - from), got, sizeof got));
}

static ht_status st_check_entry(const st_file *f, hti_json *j, st_entry *e)
{
    hti_json value = *j;
    const char *expected = st_get_entry(j, e);
    char matching[64];
    size_t bytes = expected ? 0 : hti_bytes(e->dtype, e->shape);
    snprintf(matching, sizeof matching, "data_offsets %zu bytes apart", bytes);
    if (!expected && bytes != (uint64_t)(e->end - e->begin))
        expected = bytes < SIZE_MAX ? matching : "a shape that memory can hold";
    if (!*e->name) expected = "a name";
    return expected ? st_fail_entry(f, "tensor", e->name, expected, value) : HT_OK;
}

/* Strings by name, or null; they are not kept. */
static ht_status st_check_metadata(const st_file *f, hti_json *j)
{
    hti_json value = *j;
    bool good = *j->at == '{' || *j->at == 'n';
    if (*j->at == 'n') hti_json_value(j);
    while (good && *value.at == '{' && hti_json_next(j)) {
        hti_json_value(j);
        hti_json_colon(j);
        good = *j->at == '"';
        hti_json_value(j);
    }
    return good ? HT_OK
                : st_fail_entry(f, "entry", ST_METADATA, "an object of strings", value);
}

static int st_by_name(const void *a, const void *b)
{
    return strcmp((*(st_entry *const *)a)->name, (*(st_entry *const *)b)->name);
}

static int st_by_offset(const void *a, const void *b)
{
    const st_entry *x = *(st_entry *const *)a, *y = *(st_entry *const *)b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static ht_status st_fail_twice(const st_file *f, const char *name)
{
    return ht_context_fail(f->in.ctx, HT_ERROR_FORMAT, NULL,
                           "%s: header: expected each name once, got \"%.300s\" twice\n"
                           "  hint: the program that wrote the file is at fault",
                           f->in.path, name);
}

static ht_status st_check_names(const st_file *f)
{
    qsort(f->order, (size_t)f->n, sizeof *f->order, st_by_name);
    for (int i = 1; i < f->n; i++)
        if (strcmp(f->order[i - 1]->name, f->order[i]->name) == 0)
            return st_fail_twice(f, f->order[i]->name);
    return HT_OK;
}

/* Sorted by offset, each tensor begins where the one before ended, and the last ends the
 * file: so no byte belongs to two tensors or to none. */
static ht_status st_check_offsets(st_file *f)
{
    int64_t at = 0, data = ST_LENGTH + f->header_bytes;
    qsort(f->order, (size_t)f->n, sizeof *f->order, st_by_offset);
    for (int i = 0; i < f->n; i++) {
        const st_entry *e = f->order[i];
        if (e->begin != at || e->end > f->data_bytes)
            return hti_input_fail(
                &f->in, data + at,
                "tensor \"%s\": expected data_offsets that begin at %lld and end by "
                "%lld, got [%lld, %lld]: %s\n"
                "  hint: the file is incomplete or damaged; fetch or copy it again",
                e->name, (long long)at, (long long)f->data_bytes, (long long)e->begin,
                (long long)e->end,
                e->end > f->data_bytes ? "outside the file"
                : e->begin < at        ? "an overlap"
                                       : "a gap");
        at = e->end;
    }
    if (at == f->data_bytes) return HT_OK;
    return hti_input_fail(&f->in, data + at,
                          "expected the end of the file, got %lld trailing bytes\n"
                          "  hint: the header does not belong to this data, or two files "
                          "were joined",
                          (long long)(f->data_bytes - at));
}

/* A name of the object and its value. */
static ht_status st_read_entry(st_file *f, hti_json *j, bool *metadata)
{
    char *name = f->text + (j->at + 1 - f->text);
    hti_json_string(j, name, SIZE_MAX); /* in its own place: it only becomes shorter */
    hti_json_colon(j);
    if (strcmp(name, ST_METADATA) == 0) {
        if (*metadata) return st_fail_twice(f, name);
        *metadata = true;
        return st_check_metadata(f, j);
    }
    st_entry *e = f->order[f->n] = &f->entry[f->n];
    f->n++;
    e->name = name;
    return st_check_entry(f, j, e);
}

static ht_status st_read_entries(st_file *f)
{
    hti_json j = {.at = f->text, .end = f->text + f->header_bytes}, count = j;
    bool metadata = false;
    ht_status status = HT_OK;
    for (f->n_slots = 1; hti_json_next(&count); f->n_slots++) {
        hti_json_value(&count);
        hti_json_colon(&count);
        hti_json_value(&count);
    }
    size_t slots = (size_t)f->n_slots;
    f->entry = hti_zalloc(f->in.ctx, slots, sizeof *f->entry);
    f->order = f->entry ? hti_zalloc(f->in.ctx, slots, sizeof *f->order) : NULL;
    if (!f->order) return HT_ERROR_MEMORY;
    while (!status && hti_json_next(&j)) status = st_read_entry(f, &j, &metadata);
    if (!status) status = st_check_names(f);
    return status ? status : st_check_offsets(f);
}

static void st_close(st_file *f)
{
    size_t slots = (size_t)f->n_slots;
    hti_resize(f->in.ctx, f->order, slots * sizeof *f->order, 0);
    hti_resize(f->in.ctx, f->entry, slots * sizeof *f->entry, 0);
    hti_resize(f->in.ctx, f->text, (size_t)f->header_bytes + 1, 0);
    hti_input_close(&f->in);
}

/* st_close follows, whatever the status. */
static ht_status st_open(st_file *f, ht_context *ctx, const char *path)
{
    *f = (st_file){.n = 0};
    ht_status status = hti_input_open_plain(&f->in, ctx, path);
    if (!status) status = st_read_length(f);
    if (!status) status = st_read_text(f);
    return status ? status : st_read_entries(f);
}

/* Reading: the data. */

static ht_status st_read_data(st_file *f, const ht_set *set)
{
    ht_status status = HT_OK;
    for (int i = 0; i < f->n && !status; i++) {
        ht_tensor *x = set->tensor[f->order[i] - f->entry];
        hti_tensor_write(x, "ht_set_read", NULL);
        status = hti_input_exactly(&f->in, ht_tensor_data(x), ht_tensor_bytes(x));
    }
    return status;
}

static ht_set *st_load(st_file *f)
{
    ht_set *set = ht_set_new(f->in.ctx);
    bool whole = set && hti_set_reserve(set, f->n);
    for (int i = 0; i < f->n && whole; i++)
        whole = ht_set_add_at(set, f->entry[i].name, f->entry[i].dtype, f->entry[i].shape,
                              NULL);
    if (whole && !st_read_data(f, set)) return set;
    ht_set_free(set);
    return NULL;
}

ht_set *ht_set_load(ht_context *ctx, const char *path)
{
    HT_ASSERT(ctx && path, "ht_set_load: context %p, path %p", (void *)ctx,
              (const void *)path);
    st_file f;
    ht_set *set = st_open(&f, ctx, path) ? NULL : st_load(&f);
    st_close(&f);
    return set;
}

static ht_status st_match_names(const st_file *f, const ht_set *set)
{
    char only_set[ST_LIST], only_file[ST_LIST];
    int n_missing = 0, n_unknown = 0;
    size_t bytes = (size_t)(set->n + f->n + 1) * sizeof(char *);
    char **missing = hti_resize(f->in.ctx, NULL, 0, bytes);
    if (!missing) return HT_ERROR_MEMORY;
    char **unknown = missing + set->n;
    for (int i = 0; i < set->n; i++) missing[i] = set->name[i];
    for (int i = 0; i < f->n; i++) {
        int found = ht_set_find(set, f->entry[i].name);
        if (found < 0)
            unknown[n_unknown++] = f->entry[i].name;
        else
            missing[found] = NULL;
    }
    for (int i = 0; i < set->n; i++)
        if (missing[i]) missing[n_missing++] = missing[i];
    hti_set_names(only_set, ST_LIST, n_missing, missing);
    hti_set_names(only_file, ST_LIST, n_unknown, unknown);
    hti_resize(f->in.ctx, missing, bytes, 0);
    if (n_missing + n_unknown == 0) return HT_OK;
    return ht_context_fail(f->in.ctx, HT_ERROR_ARGUMENT, NULL,
                           "%s: header: expected exactly the set's names; missing in the "
                           "file: %s; unknown to the set: %s\n"
                           "  hint: ht_set_load takes a file as it is",
                           f->in.path, only_set, only_file);
}

static ht_status st_match_types(const st_file *f, const ht_set *set)
{
    char expected[HT_SHAPE_TEXT], got[HT_SHAPE_TEXT];
    for (int i = 0; i < f->n; i++) {
        const st_entry *e = &f->entry[i];
        ht_array a = ht_tensor_array(set->tensor[ht_set_find(set, e->name)]);
        if (e->dtype == a.dtype && ht_shape_equal(e->shape, a.shape)) continue;
        return ht_context_fail(
            f->in.ctx, e->dtype == a.dtype ? HT_ERROR_SHAPE : HT_ERROR_DTYPE, NULL,
            "%s: header: tensor \"%s\": expected %s %s, got %s %s\n"
            "  hint: ht_set_load takes a file as it is",
            f->in.path, e->name, ht_dtype_name(a.dtype), ht_shape_text(a.shape, expected),
            ht_dtype_name(e->dtype), ht_shape_text(e->shape, got));
    }
    return HT_OK;
}

/* Through a set of its own: a disk that fails halfway must not leave half a set. */
ht_status ht_set_read(ht_set *set, const char *path)
{
    HT_ASSERT(set && path, "ht_set_read: set %p, path %p", (void *)set,
              (const void *)path);
    HTI_ALIVE(set, "ht_set_read", "set");
    st_file f;
    ht_status status = st_open(&f, set->ctx, path);
    if (!status) status = st_match_names(&f, set);
    if (!status) status = st_match_types(&f, set);
    ht_set *read = status ? NULL : st_load(&f);
    if (read) status = ht_set_copy(set, read);
    if (!status && !read) status = ht_context_status(set->ctx);
    ht_set_free(read);
    st_close(&f);
    return status;
}
