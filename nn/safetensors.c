/* SPDX-License-Identifier: MIT */
/* safetensors.c: sets as files that other libraries read, and theirs as sets.
 *
 * A file is a little-endian u64, the length of a JSON header; the header, {"name":
 * {"dtype", "shape", "data_offsets": [begin, end]}}; and the elements, row-major,
 * little-endian, offsets counted from their start (github.com/huggingface/safetensors).
 * The header is held against the file's size, and the tensors against each other and
 * every byte, before memory is asked for. Header text and tree are cJSON's, from plain
 * malloc: its hooks are global, and belong to the program. Read next: tensor/file.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "nn_internal.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "elements are written as they lie in memory");

enum {
    ST_LENGTH = 8, /* bytes of the header's length; the data is aligned to it too */
    ST_MOST_HEADER = 100000000, /* as in the reference implementation */
    ST_LIST = HTI_MESSAGE / 4
};

/* Numbers in JSON are doubles: larger ones are not exact. */
#define ST_MOST_NUMBER ((double)((int64_t)1 << 53))

static const char *const st_dtypes[] = {
    [HT_F32] = "F32", [HT_F64] = "F64", [HT_I32] = "I32", [HT_U8] = "U8"};

typedef struct st_entry {
    char *name; /* the set's or the JSON tree's */
    ht_dtype dtype;
    ht_shape shape;
    int64_t begin, end; /* bytes from the start of the data */
} st_entry;

/* Writing. */

/* Length of the UTF-8 character at c (RFC 3629, as far as lead and trail bytes), or 0. */
static int st_utf8_length(const unsigned char *c)
{
    int length = *c < 0x80 ? 1 : *c < 0xc2 ? 0 : *c < 0xe0 ? 2 : *c < 0xf0 ? 3 : 4;
    if (*c > 0xf4) length = 0;
    for (int i = 1; i < length; i++)
        if ((c[i] & 0xc0) != 0x80) return 0;
    return length;
}

static ht_status st_check_name(const ht_set *set, const char *path, const char *name)
{
    const unsigned char *c = (const unsigned char *)name;
    int length = 1;
    while (*c && length > 0) c += length = st_utf8_length(c);
    if (length > 0 && strcmp(name, "__metadata__") != 0) return HT_OK;
    return ht_context_fail(set->ctx, HT_ERROR_ARGUMENT, NULL,
                           "%s: tensor \"%s\": expected a name in UTF-8, and not "
                           "\"__metadata__\", got %s\n"
                           "  hint: give the tensor another name",
                           path, name, length > 0 ? "that" : "other bytes");
}

/* Widest elements first, so that all are aligned; the header keeps the set's order. */
static void st_lay_out(const ht_set *set, int64_t *begin)
{
    int64_t at = 0;
    for (size_t width = sizeof(double); width > 0; width /= 2)
        for (int i = 0; i < set->n; i++) {
            if (ht_dtype_bytes(ht_tensor_dtype(set->tensor[i])) != width) continue;
            begin[i] = at;
            at += (int64_t)ht_tensor_bytes(set->tensor[i]);
        }
}

static bool st_add_entry(cJSON *header, const char *name, const ht_tensor *x,
                         int64_t begin)
{
    char shape[HT_SHAPE_TEXT], offsets[64];
    ht_shape_text(ht_tensor_shape(x), shape); /* "(2, 3)", to become "[2, 3]" */
    shape[0] = '[';
    shape[strlen(shape) - 1] = ']';
    snprintf(offsets, sizeof offsets, "[%lld,%lld]", (long long)begin,
             (long long)begin + (long long)ht_tensor_bytes(x));
    cJSON *entry = cJSON_AddObjectToObject(header, name);
    return cJSON_AddStringToObject(entry, "dtype", st_dtypes[ht_tensor_dtype(x)]) &&
           cJSON_AddRawToObject(entry, "shape", shape) &&
           cJSON_AddRawToObject(entry, "data_offsets", offsets);
}

/* cJSON's, to be freed by cJSON_free; NULL without memory. */
static char *st_header_text(const ht_set *set, const int64_t *begin)
{
    cJSON *header = cJSON_CreateObject();
    bool whole = header != NULL;
    for (int i = 0; i < set->n && whole; i++)
        whole = st_add_entry(header, set->name[i], set->tensor[i], begin[i]);
    char *text = whole ? cJSON_PrintUnformatted(header) : NULL;
    cJSON_Delete(header);
    return text;
}

static void st_put_header(hti_draft *draft, const char *text)
{
    static const char spaces[ST_LENGTH] = "        ";
    size_t used = strlen(text), length = hti_round_up(used, ST_LENGTH);
    unsigned char bytes[ST_LENGTH];
    for (int i = 0; i < ST_LENGTH; i++) bytes[i] = (uint64_t)length >> 8 * i & 0xff;
    hti_draft_write(draft, bytes, sizeof bytes);
    hti_draft_write(draft, text, used);
    hti_draft_write(draft, spaces, length - used);
}

static void st_put_data(hti_draft *draft, const ht_set *set)
{
    for (size_t width = sizeof(double); width > 0; width /= 2)
        for (int i = 0; i < set->n; i++)
            if (ht_dtype_bytes(ht_tensor_dtype(set->tensor[i])) == width)
                hti_draft_write(draft, ht_tensor_data(set->tensor[i]),
                                ht_tensor_bytes(set->tensor[i]));
}

ht_status ht_set_write(const ht_set *set, const char *path)
{
    HT_ASSERT(set && path, "ht_set_write: set %p, path %p", (const void *)set,
              (const void *)path);
    ht_status status = HT_OK;
    for (int i = 0; i < set->n && !status; i++)
        status = st_check_name(set, path, set->name[i]);
    if (status) return status;
    size_t begin_bytes = (size_t)(set->n + 1) * sizeof(int64_t);
    int64_t *begin = hti_resize(set->ctx, NULL, 0, begin_bytes);
    if (!begin) return HT_ERROR_MEMORY;
    st_lay_out(set, begin);
    char *text = st_header_text(set, begin);
    hti_resize(set->ctx, begin, begin_bytes, 0);
    if (!text)
        return ht_context_fail(set->ctx, HT_ERROR_MEMORY, NULL,
                               "%s: no memory for a header of %d tensors", path, set->n);
    hti_draft draft;
    hti_draft_open(&draft, set->ctx, path);
    st_put_header(&draft, text);
    st_put_data(&draft, set);
    cJSON_free(text);
    return hti_draft_close(&draft);
}

/* Reading: the header. */

/* A file whose header has been read and believed. */
typedef struct st_file {
    ht_context *ctx;
    const char *path;
    FILE *file;
    int64_t file_bytes, header_bytes, data_bytes;
    cJSON *json;
    int n, n_slots;
    st_entry *entry;   /* in the header's order */
    st_entry **sorted; /* by name, then, for good, by offset */
} st_file;

static ht_status st_fail_reading(const st_file *f, int64_t offset)
{
    return ht_context_fail(f->ctx, HT_ERROR_FILE, NULL,
                           "%s: offset %lld: cannot be read as far as its size of %lld\n"
                           "  hint: is the disk sound, and is nobody writing the file?",
                           f->path, (long long)offset, (long long)f->file_bytes);
}

static ht_status st_read_length(st_file *f)
{
    unsigned char bytes[ST_LENGTH];
    if (f->file_bytes < ST_LENGTH)
        return ht_context_fail(f->ctx, HT_ERROR_FORMAT, NULL,
                               "%s: offset 0: expected the 8 bytes of a header length, "
                               "got a file of %lld\n"
                               "  hint: a safetensors file is wanted here",
                               f->path, (long long)f->file_bytes);
    if (fread(bytes, 1, ST_LENGTH, f->file) != ST_LENGTH) return st_fail_reading(f, 0);
    uint64_t length = 0;
    for (int i = 0; i < ST_LENGTH; i++) length |= (uint64_t)bytes[i] << 8 * i;
    uint64_t most = (uint64_t)(f->file_bytes - ST_LENGTH);
    if (most > ST_MOST_HEADER) most = ST_MOST_HEADER;
    if (length > most)
        return ht_context_fail(
            f->ctx, HT_ERROR_FORMAT, NULL,
            "%s: offset 0: expected a header length of at most %llu in "
            "a file of %lld bytes, got %llu\n"
            "  hint: the file is incomplete, or no safetensors file",
            f->path, (unsigned long long)most, (long long)f->file_bytes,
            (unsigned long long)length);
    f->header_bytes = (int64_t)length;
    f->data_bytes = f->file_bytes - ST_LENGTH - f->header_bytes;
    return HT_OK;
}

/* The first zero, plain or escaped, where cJSON would cut a name short. */
static const char *st_find_zero(const char *text, const char *end)
{
    for (const char *c = text; c < end; c++) {
        if (!*c) return c;
        if (*c == '\\' && strncmp(++c, "u0000", 5) == 0) return c - 1;
    }
    return NULL;
}

static ht_status st_parse(st_file *f, const char *text)
{
    const char *end = text + f->header_bytes, *parsed = text;
    const char *zero = st_find_zero(text, end);
    f->json = cJSON_ParseWithLengthOpts(text, (size_t)f->header_bytes, &parsed, false);
    if (f->json) parsed += strspn(parsed, " \t\r\n");
    const char *wrong = !f->json ? parsed : *text != '{' ? text : zero ? zero : parsed;
    if (f->json && wrong == end) return HT_OK;
    return ht_context_fail(f->ctx, HT_ERROR_FORMAT, NULL,
                           "%s: offset %lld: expected a header that is one JSON object, "
                           "got \"%.16s\"%s\n"
                           "  hint: a safetensors file is wanted here",
                           f->path, (long long)ST_LENGTH + (wrong - text), wrong,
                           f->json ? "" : ", or there is no memory to parse it");
}

/* The zero at the end stops the scans of st_parse. */
static ht_status st_read_json(st_file *f)
{
    size_t length = (size_t)f->header_bytes;
    char *text = hti_resize(f->ctx, NULL, 0, length + 1);
    if (!text) return HT_ERROR_MEMORY;
    text[length] = '\0';
    ht_status status = fread(text, 1, length, f->file) == length
                           ? st_parse(f, text)
                           : st_fail_reading(f, ST_LENGTH);
    hti_resize(f->ctx, text, length + 1, 0);
    return status;
}

/* Reading: what the header says. */

/* A whole number from 0 on. */
static bool st_get_number(const cJSON *item, int64_t *number)
{
    double value = cJSON_IsNumber(item) ? item->valuedouble : -1;
    if (!(value >= 0 && value <= ST_MOST_NUMBER)) return false;
    *number = (int64_t)value;
    return (double)*number == value;
}

/* dtype, shape and data_offsets, each once: three items, and all found. */
static const char *st_get_entry(const cJSON *item, st_entry *e)
{
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(item, "dtype");
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(item, "shape");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    if (cJSON_GetArraySize(item) != 3 || !cJSON_IsString(dtype) ||
        !cJSON_IsArray(shape) || !cJSON_IsArray(offsets))
        return "an object of dtype, shape and data_offsets";
    for (int known = HT_F32; known <= HT_U8; known++)
        if (strcmp(dtype->valuestring, st_dtypes[known]) == 0) e->dtype = (ht_dtype)known;
    if (!e->dtype) return "dtype F32, F64, I32 or U8";
    for (const cJSON *dim = shape->child; dim; dim = dim->next)
        if (e->shape.rank == HT_MAX_RANK ||
            !st_get_number(dim, &e->shape.dim[e->shape.rank++]))
            return "a shape of at most 6 whole numbers";
    if (cJSON_GetArraySize(offsets) != 2 || !st_get_number(offsets->child, &e->begin) ||
        !st_get_number(offsets->child->next, &e->end) || e->begin > e->end)
        return "data_offsets [begin, end], begin <= end";
    return NULL;
}

static ht_status st_check_entry(const st_file *f, const cJSON *item, st_entry *e)
{
    *e = (st_entry){.name = item->string};
    const char *expected = st_get_entry(item, e);
    char matching[64];
    size_t bytes = expected ? 0 : hti_bytes(e->dtype, e->shape);
    snprintf(matching, sizeof matching, "data_offsets %zu bytes apart", bytes);
    if (!expected && bytes != (uint64_t)(e->end - e->begin))
        expected = bytes < SIZE_MAX ? matching : "a shape that memory can hold";
    if (!*e->name) expected = "a name";
    if (!expected) return HT_OK;
    char *got = cJSON_PrintUnformatted(item);
    ht_context_fail(f->ctx, HT_ERROR_FORMAT, NULL,
                    "%s: header: tensor \"%s\": expected %s, got %.200s\n"
                    "  hint: write it in a supported form, or fetch the file again",
                    f->path, e->name, expected, got ? got : "something else");
    cJSON_free(got);
    return HT_ERROR_FORMAT;
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

static ht_status st_check_names(st_file *f)
{
    qsort(f->sorted, (size_t)f->n, sizeof *f->sorted, st_by_name);
    for (int i = 1; i < f->n; i++)
        if (strcmp(f->sorted[i - 1]->name, f->sorted[i]->name) == 0)
            return ht_context_fail(f->ctx, HT_ERROR_FORMAT, NULL,
                                   "%s: header: expected each name once, got \"%s\" "
                                   "twice\n"
                                   "  hint: the program that wrote the file is at fault",
                                   f->path, f->sorted[i]->name);
    return HT_OK;
}

/* Sorted by offset, each tensor begins where the one before ended, and the last ends the
 * file: so no byte belongs to two tensors or to none. */
static ht_status st_check_offsets(st_file *f)
{
    int64_t at = 0, data = ST_LENGTH + f->header_bytes;
    qsort(f->sorted, (size_t)f->n, sizeof *f->sorted, st_by_offset);
    for (int i = 0; i < f->n; i++) {
        const st_entry *e = f->sorted[i];
        if (e->begin != at || e->end > f->data_bytes)
            return ht_context_fail(
                f->ctx, HT_ERROR_FORMAT, NULL,
                "%s: offset %lld: tensor \"%s\": expected data_offsets that begin at "
                "%lld and end by %lld, got [%lld, %lld]: %s\n"
                "  hint: the file is incomplete or damaged; fetch or copy it again",
                f->path, (long long)data + at, e->name, (long long)at,
                (long long)f->data_bytes, (long long)e->begin, (long long)e->end,
                e->end > f->data_bytes ? "outside the file"
                : e->begin < at        ? "an overlap"
                                       : "a gap");
        at = e->end;
    }
    if (at == f->data_bytes) return HT_OK;
    return ht_context_fail(f->ctx, HT_ERROR_FORMAT, NULL,
                           "%s: offset %lld: expected the end of the file, got %lld "
                           "trailing bytes\n"
                           "  hint: the header does not belong to this data, or two "
                           "files were joined",
                           f->path, (long long)data + at,
                           (long long)(f->data_bytes - at));
}

static ht_status st_read_entries(st_file *f)
{
    f->n_slots = cJSON_GetArraySize(f->json) + 1;
    f->entry = hti_zalloc(f->ctx, (size_t)f->n_slots, sizeof *f->entry);
    f->sorted =
        f->entry ? hti_zalloc(f->ctx, (size_t)f->n_slots, sizeof *f->sorted) : NULL;
    if (!f->sorted) return HT_ERROR_MEMORY;
    ht_status status = HT_OK;
    for (const cJSON *item = f->json->child; item && !status; item = item->next) {
        if (strcmp(item->string, "__metadata__") == 0) continue;
        f->sorted[f->n] = &f->entry[f->n];
        status = st_check_entry(f, item, &f->entry[f->n++]);
    }
    if (!status) status = st_check_names(f);
    return status ? status : st_check_offsets(f);
}

static void st_close(st_file *f)
{
    size_t slots = (size_t)f->n_slots;
    cJSON_Delete(f->json);
    if (f->sorted) hti_resize(f->ctx, f->sorted, slots * sizeof *f->sorted, 0);
    if (f->entry) hti_resize(f->ctx, f->entry, slots * sizeof *f->entry, 0);
    if (f->file) fclose(f->file);
}

/* st_close follows, whatever the status. */
static ht_status st_open(st_file *f, ht_context *ctx, const char *path)
{
    *f = (st_file){.ctx = ctx, .path = path};
    f->file = hti_file_open(ctx, path, &f->file_bytes);
    if (!f->file) return ht_context_status(ctx);
    ht_status status = st_read_length(f);
    if (!status) status = st_read_json(f);
    return status ? status : st_read_entries(f);
}

/* Reading: the data. */

static ht_status st_read_data(const st_file *f, const ht_set *set)
{
    for (int i = 0; i < f->n; i++) {
        ht_tensor *x = set->tensor[f->sorted[i] - f->entry];
        size_t bytes = ht_tensor_bytes(x);
        if (bytes > 0 && fread(ht_tensor_data(x), 1, bytes, f->file) != bytes)
            return st_fail_reading(f, ST_LENGTH + f->header_bytes + f->sorted[i]->begin);
    }
    return HT_OK;
}

static ht_set *st_load(const st_file *f)
{
    ht_set *set = ht_set_new(f->ctx);
    bool whole = set != NULL;
    for (int i = 0; i < f->n && whole; i++)
        whole = ht_set_add(set, f->entry[i].name, f->entry[i].dtype, f->entry[i].shape);
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

static const st_entry *st_find(const st_file *f, const char *name)
{
    for (int i = 0; i < f->n; i++)
        if (strcmp(f->entry[i].name, name) == 0) return &f->entry[i];
    return NULL;
}

/* Names in one and not in the other, for a message; how many. */
static int st_list_missing(const st_file *f, const ht_set *set, char **name,
                           char text[ST_LIST])
{
    int n = 0;
    for (int i = 0; i < set->n; i++)
        if (!st_find(f, set->name[i])) name[n++] = set->name[i];
    hti_set_names(text, ST_LIST, n, name);
    return n;
}

static int st_list_unknown(const st_file *f, const ht_set *set, char **name,
                           char text[ST_LIST])
{
    int n = 0;
    for (int i = 0; i < f->n; i++)
        if (ht_set_find(set, f->entry[i].name) < 0) name[n++] = f->entry[i].name;
    hti_set_names(text, ST_LIST, n, name);
    return n;
}

static ht_status st_match_names(const st_file *f, const ht_set *set)
{
    char missing[ST_LIST], unknown[ST_LIST];
    size_t bytes = (size_t)(f->n + set->n + 1) * sizeof(char *);
    char **name = hti_resize(f->ctx, NULL, 0, bytes);
    if (!name) return HT_ERROR_MEMORY;
    int wrong = st_list_missing(f, set, name, missing);
    wrong += st_list_unknown(f, set, name, unknown);
    hti_resize(f->ctx, name, bytes, 0);
    if (wrong == 0) return HT_OK;
    return ht_context_fail(f->ctx, HT_ERROR_ARGUMENT, NULL,
                           "%s: header: expected exactly the set's names; missing in the "
                           "file: %s; unknown to the set: %s\n"
                           "  hint: ht_set_load takes a file as it is",
                           f->path, missing, unknown);
}

static ht_status st_match_types(const st_file *f, const ht_set *set)
{
    char expected[HT_SHAPE_TEXT], got[HT_SHAPE_TEXT];
    for (int i = 0; i < set->n; i++) {
        const st_entry *e = st_find(f, set->name[i]);
        ht_array a = ht_tensor_array(set->tensor[i]);
        if (e->dtype == a.dtype && ht_shape_equal(e->shape, a.shape)) continue;
        return ht_context_fail(
            f->ctx, e->dtype == a.dtype ? HT_ERROR_SHAPE : HT_ERROR_DTYPE, NULL,
            "%s: header: tensor \"%s\": expected %s %s, got %s %s\n"
            "  hint: ht_set_load takes a file as it is",
            f->path, e->name, ht_dtype_name(a.dtype), ht_shape_text(a.shape, expected),
            ht_dtype_name(e->dtype), ht_shape_text(e->shape, got));
    }
    return HT_OK;
}

/* Through a set of its own: a disk that fails halfway must not leave half a set. */
ht_status ht_set_read(ht_set *set, const char *path)
{
    HT_ASSERT(set && path, "ht_set_read: set %p, path %p", (void *)set,
              (const void *)path);
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
