/* SPDX-License-Identifier: MIT */
/* npy.c: arrays as numpy writes them (numpy.lib.format, versions 1 to 3): a magic, the
 * length of a header, the header as a Python dictionary of three keys, the elements.
 *
 * What is written is what numpy.save writes, to the byte. Read next: npz.c. */
#include "npy.h"

#include <math.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "elements are written as they lie in memory");

enum { NPY_MAGIC = 8, NPY_MOST_HEADER = 1 << 16, NPY_CHUNK = 1 << 16, NPY_ALIGN = 64 };

/* Kind and bytes of an element, and the dtype that holds it. */
static const struct {
    char code[3];
    uint8_t bytes;
    ht_dtype dtype;
} npy_types[] = {
    {"f4", 4, HT_F32}, {"f8", 8, HT_F64}, {"i4", 4, HT_I32}, {"u1", 1, HT_U8},
    {"f2", 2, HT_F32}, {"i1", 1, HT_I32}, {"i2", 2, HT_I32}, {"i8", 8, HT_I32},
    {"b1", 1, HT_U8},  {"u2", 2, HT_I32}, {"u4", 4, HT_I32}, {"u8", 8, HT_I32},
};
enum { NPY_NATIVE = 4, NPY_TYPES = sizeof npy_types / sizeof *npy_types };

/* The header's text. */

typedef struct npy_text {
    const hti_input *in;
    int64_t begin; /* its offset in the file */
    const char *text, *at;
} npy_text;

static ht_status npy_fail(const npy_text *t, const char *expected, const char *hint)
{
    char shown[HTI_SHOWN];
    return hti_input_fail(t->in, t->begin + (t->at - t->text),
                          "expected %s, got %s\n  hint: %s", expected,
                          *t->at ? hti_shown(t->at, shown) : "its end", hint);
}

static ht_status npy_expected(const npy_text *t, const char *expected)
{
    return npy_fail(t, expected,
                    "a header is {'descr': '<f4', 'fortran_order': False, 'shape': "
                    "(2, 3), }; write the file again by numpy.save");
}

static bool npy_pass(npy_text *t, char wanted)
{
    t->at += strspn(t->at, " \n");
    if (*t->at != wanted) return false;
    t->at++;
    return true;
}

/* What stands between two quotes of one kind, if it fits. */
static bool npy_string(npy_text *t, char *to, size_t size)
{
    char quote[2] = {0};
    if (npy_pass(t, '\'')) *quote = '\'';
    if (!*quote && npy_pass(t, '"')) *quote = '"';
    size_t n = strcspn(t->at, quote);
    if (!*quote || t->at[n] != *quote || n >= size) return false;
    memcpy(to, t->at, n);
    to[n] = 0;
    t->at += n + 1;
    return true;
}

/* A byte order and a type: "<f4". */
static ht_status npy_read_descr(npy_text *t, hti_npy *npy)
{
    char descr[32];
    t->at += strspn(t->at, " \n");
    const char *begin = t->at;
    bool string = npy_string(t, descr, sizeof descr);
    int type = string && *descr && strchr("<>|=", *descr) ? 0 : NPY_TYPES;
    while (type < NPY_TYPES && strcmp(descr + 1, npy_types[type].code) != 0) type++;
    t->at = type < NPY_TYPES ? t->at : begin;
    if (type == NPY_TYPES)
        return npy_fail(t, "a type of f4, f8, f2, i1 to i8, u1 to u8 or b1",
                        "x.astype('f4') before numpy.save; objects, text, dates, complex "
                        "numbers and structures have no place here");
    npy->type = type;
    npy->big = *descr == '>';
    npy->dtype = npy_types[type].dtype;
    return HT_OK;
}

static ht_status npy_read_order(npy_text *t, hti_npy *npy)
{
    t->at += strspn(t->at, " \n");
    npy->fortran = strncmp(t->at, "True", 4) == 0;
    if (!npy->fortran && strncmp(t->at, "False", 5) != 0)
        return npy_expected(t, "True or False");
    t->at += npy->fortran ? 4 : 5;
    return HT_OK;
}

static ht_status npy_read_axis(npy_text *t, ht_shape *shape)
{
    size_t digits = strspn(t->at, "0123456789");
    if (digits == 0 || digits > 18) return npy_expected(t, "an axis of 1 to 18 digits");
    if (shape->rank == HT_MAX_RANK)
        return npy_fail(t, "at most 6 axes", "join some by x.reshape before numpy.save");
    int64_t n = 0;
    for (; digits > 0; digits--) n = 10 * n + (*t->at++ - '0');
    shape->dim[shape->rank++] = n;
    return HT_OK;
}

/* (), (3,), (2, 3) */
static ht_status npy_read_shape(npy_text *t, hti_npy *npy)
{
    ht_shape *shape = &npy->shape;
    if (!npy_pass(t, '(')) return npy_expected(t, "a shape");
    bool comma = true;
    while (!npy_pass(t, ')')) {
        if (!comma) return npy_expected(t, "a comma");
        ht_status status = npy_read_axis(t, shape);
        if (status) return status;
        comma = npy_pass(t, ',');
    }
    return shape->rank != 1 || comma ? HT_OK : npy_expected(t, "a comma: (3,)");
}

static ht_status npy_read_entry(npy_text *t, hti_npy *npy, int *met)
{
    static const struct {
        const char *key;
        ht_status (*read)(npy_text *t, hti_npy *npy);
    } keys[] = {{"descr", npy_read_descr},
                {"fortran_order", npy_read_order},
                {"shape", npy_read_shape}};
    char key[32];
    const char *begin = t->at;
    bool string = npy_string(t, key, sizeof key);
    for (int i = 0; i < 3 && string; i++) {
        if (strcmp(key, keys[i].key) != 0 || *met & 1 << i) continue;
        *met |= 1 << i;
        return npy_pass(t, ':') ? keys[i].read(t, npy) : npy_expected(t, "a colon");
    }
    t->at = begin;
    return npy_expected(t, "'descr', 'fortran_order' and 'shape', each once");
}

static ht_status npy_read_dictionary(npy_text *t, hti_npy *npy)
{
    int met = 0;
    bool comma = true;
    if (!npy_pass(t, '{')) return npy_expected(t, "a dictionary");
    while (!npy_pass(t, '}')) {
        ht_status status = comma ? npy_read_entry(t, npy, &met)
                                 : npy_expected(t, "a comma or the closing brace");
        if (status) return status;
        comma = npy_pass(t, ',');
    }
    t->at += strspn(t->at, " \n");
    if (met != 7) return npy_expected(t, "'descr', 'fortran_order' and 'shape' before");
    return *t->at ? npy_expected(t, "spaces to the header's end") : HT_OK;
}

/* Bytes of the elements against the file's size: their dtype may be wider than they. */
static ht_status npy_check_size(const hti_input *in, const hti_npy *npy)
{
    int64_t bytes = npy_types[npy->type].bytes, count = ht_shape_count(npy->shape);
    bool huge = count < 0 || count > INT64_MAX / 8;
    if (huge || npy->type < NPY_NATIVE)
        return hti_input_check(in, huge ? HT_F64 : npy->dtype, npy->shape);
    return hti_input_check(in, HT_U8, HT_SHAPE(count * bytes));
}

static ht_status npy_read_length(hti_input *in, size_t *n)
{
    unsigned char b[NPY_MAGIC], length[4] = {0};
    ht_status status = hti_input_exactly(in, b, sizeof b);
    if (status) return status;
    if (memcmp(b, "\x93NUMPY", 6) != 0)
        return hti_input_fail(
            in, 0,
            "expected numpy's magic 93 4e 55 4d 50 59, got %02x %02x %02x "
            "%02x %02x %02x\n"
            "  hint: what numpy.save writes is wanted here; %s",
            b[0], b[1], b[2], b[3], b[4], b[5],
            memcmp(b, "PK", 2) == 0 ? "this is an .npz: ht_npz_read"
                                    : "is it the right file?");
    if (b[6] < 1 || b[6] > 3 || b[7] != 0)
        return hti_input_fail(in, 6,
                              "expected a version 1.0, 2.0 or 3.0, got %d.%d\n"
                              "  hint: write it again by numpy.save",
                              b[6], b[7]);
    status = hti_input_exactly(in, length, b[6] == 1 ? 2 : 4);
    *n = (size_t)length[0] | (size_t)length[1] << 8 | (size_t)length[2] << 16 |
         (size_t)length[3] << 24;
    if (status || *n < NPY_MOST_HEADER) return status;
    return hti_input_fail(in, NPY_MAGIC,
                          "expected a header of less than 65536 bytes, got %zu\n"
                          "  hint: the file is damaged; write it again by numpy.save",
                          *n);
}

ht_status hti_npy_read_header(hti_input *in, hti_npy *npy)
{
    size_t n = 0;
    *npy = (hti_npy){.shape = HT_SCALAR};
    ht_status status = npy_read_length(in, &n);
    char *text = status ? NULL : hti_zalloc(in->ctx, n + 1, 1);
    if (!text) return status ? status : HT_ERROR_MEMORY;
    npy_text t = {.in = in, .begin = in->at, .text = text, .at = text};
    status = hti_input_exactly(in, text, n);
    if (!status && strlen(text) < n) {
        t.at += strlen(text);
        status = npy_expected(&t, "text without zero bytes");
    }
    if (!status) status = npy_read_dictionary(&t, npy);
    hti_resize(in->ctx, text, n + 1, 0);
    return status ? status : npy_check_size(in, npy);
}

/* Elements. */

/* IEEE 754's half: a sign, 5 bits of exponent, 10 of fraction. */
static double npy_half(uint64_t bits)
{
    int exponent = (int)(bits >> 10 & 31), fraction = (int)(bits & 1023);
    double x = exponent == 0   ? ldexp(fraction, -24)
               : exponent < 31 ? ldexp(1024 + fraction, exponent - 25)
               : fraction == 0 ? (double)INFINITY
                               : (double)NAN;
    return bits >> 15 ? -x : x;
}

/* The element of that kind in these bits, the lowest byte first. */
static double npy_value(const char *code, int bytes, uint64_t bits)
{
    float single;
    double x;
    uint32_t low = (uint32_t)bits;
    uint64_t sign = (uint64_t)1 << (8 * bytes - 1);
    memcpy(&single, &low, sizeof single);
    memcpy(&x, &bits, sizeof x);
    if (code[0] == 'f') return bytes == 2 ? npy_half(bits) : bytes == 4 ? single : x;
    if (code[0] == 'b') return bits != 0;
    if (code[0] == 'u' || !(bits & sign)) return (double)bits;
    return -(double)((sign << 1) - bits);
}

static uint64_t npy_bits(const unsigned char *from, int bytes, bool big)
{
    uint64_t bits = 0;
    for (int i = 0; i < bytes; i++)
        bits |= (uint64_t)from[big ? bytes - 1 - i : i] << (8 * i);
    return bits;
}

/* x in the file's order: the strides that Fortran's has. */
static ht_array npy_target(const hti_npy *npy, ht_tensor *x)
{
    ht_array a = ht_tensor_array(x), turned = a;
    int rank = a.shape.rank;
    for (int axis = 0; axis < rank && npy->fortran; axis++) {
        turned.shape.dim[axis] = a.shape.dim[rank - 1 - axis];
        turned.stride[axis] = a.stride[rank - 1 - axis];
    }
    return turned;
}

/* `n` elements from `first` on, in the file's order. */
static ht_status npy_convert(const hti_input *in, const hti_npy *npy, const ht_array *to,
                             int64_t first, const unsigned char *from, int64_t n)
{
    const char *code = npy_types[npy->type].code;
    int bytes = npy_types[npy->type].bytes;
    for (int64_t i = 0; i < n; i++, from += bytes) {
        int64_t at = npy->fortran ? hti_offset(to, first + i) : first + i;
        uint64_t bits = npy_bits(from, bytes, npy->big);
        double value = npy_value(code, bytes, bits);
        if (npy->type < NPY_NATIVE) {
            memcpy((char *)to->data + at * bytes, &bits, (size_t)bytes);
            continue;
        }
        if (to->dtype == HT_I32 && !hti_holds(HT_I32, value))
            return hti_input_fail(in, in->at - (n - i) * bytes,
                                  "expected whole numbers that i32 holds, got %.17g as "
                                  "element %lld\n"
                                  "  hint: x.astype('f8') keeps them to 2^53",
                                  value, (long long)(first + i));
        hti_write(to, at, value);
    }
    return HT_OK;
}

static ht_status npy_read_pieces(hti_input *in, const hti_npy *npy, ht_tensor *x)
{
    ht_array to = npy_target(npy, x);
    ht_status status = HT_OK;
    int64_t bytes = npy_types[npy->type].bytes, count = ht_tensor_count(x);
    unsigned char *chunk = hti_resize(in->ctx, NULL, 0, NPY_CHUNK);
    if (!chunk) return HT_ERROR_MEMORY;
    for (int64_t done = 0, n; done < count && !status; done += n) {
        n = hti_least(count - done, NPY_CHUNK / bytes);
        status = hti_input_exactly(in, chunk, (size_t)(n * bytes));
        if (!status) status = npy_convert(in, npy, &to, done, chunk, n);
    }
    hti_resize(in->ctx, chunk, NPY_CHUNK, 0);
    return status;
}

ht_status hti_npy_read_data(hti_input *in, const hti_npy *npy, ht_tensor *x)
{
    bool as_it_is = npy->type < NPY_NATIVE && !npy->fortran &&
                    (!npy->big || npy_types[npy->type].bytes == 1);
    ht_status status = as_it_is
                           ? hti_input_exactly(in, ht_tensor_data(x), ht_tensor_bytes(x))
                           : npy_read_pieces(in, npy, x);
    return status ? status : hti_input_end(in);
}

ht_tensor *ht_npy_read(ht_context *ctx, const char *path)
{
    HT_ASSERT(ctx && path, "ht_npy_read: context %p, path %p", (void *)ctx,
              (const void *)path);
    hti_input in;
    hti_npy npy;
    ht_tensor *x = NULL;
    if (hti_input_open(&in, ctx, path)) return NULL;
    if (!hti_npy_read_header(&in, &npy)) x = ht_tensor_new(ctx, npy.dtype, npy.shape);
    if (x && hti_npy_read_data(&in, &npy, x)) {
        ht_tensor_free(x);
        x = NULL;
    }
    hti_input_close(&in);
    return x;
}

/* Out. */

/* numpy leaves room for the first axis to grow to 21 digits, and fills up to 64 bytes. */
size_t hti_npy_put_header(const ht_tensor *x, char header[HTI_NPY_HEADER])
{
    ht_shape shape = ht_tensor_shape(x);
    char text[HT_SHAPE_TEXT], first[24] = "";
    int type = 0;
    while (npy_types[type].dtype != ht_tensor_dtype(x)) type++;
    ht_shape_text(shape, text);
    if (shape.rank == 1) strcpy(text + strlen(text) - 1, ",)");
    if (shape.rank > 0) snprintf(first, sizeof first, "%lld", (long long)shape.dim[0]);
    int n = snprintf(header + 10, HTI_NPY_HEADER - 10,
                     "{'descr': '%c%s', 'fortran_order': False, 'shape': %s, }%*s",
                     npy_types[type].bytes == 1 ? '|' : '<', npy_types[type].code, text,
                     shape.rank > 0 ? 21 - (int)strlen(first) : 0, "");
    size_t used = 10 + (size_t)n, end = used + 1 + NPY_ALIGN - (used + 1) % NPY_ALIGN;
    memset(header + used, ' ', end - used);
    header[end - 1] = '\n';
    memcpy(header, "\x93NUMPY\1", 8);
    header[8] = (char)((end - 10) & 255);
    header[9] = (char)((end - 10) >> 8);
    return end;
}

ht_status ht_npy_write(const ht_tensor *x, const char *path)
{
    HT_ASSERT(x && path, "ht_npy_write: tensor %p, path %p", (const void *)x,
              (const void *)path);
    char header[HTI_NPY_HEADER];
    hti_draft draft;
    hti_draft_open(&draft, ht_tensor_context(x), path);
    hti_draft_write(&draft, header, hti_npy_put_header(x, header));
    hti_draft_write(&draft, ht_tensor_data(x), ht_tensor_bytes(x));
    return hti_draft_close(&draft);
}
