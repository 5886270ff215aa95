/* SPDX-License-Identifier: MIT */
/* test_data_safetensors_header.c: headers that are wrong, headers that are unusual, and
 * headers that are long. What is refused and what is taken was tried with the format's
 * reference, safetensors 0.8.0; we refuse more: names that are empty, hold a zero or
 * stand twice, entries with further fields, spaces in front.
 * Read next: data/json.c, data/safetensors.c. */
#include "test_safetensors.h"

#include <time.h>

static const struct {
    const char *header;
    size_t data;
    const char *part;
} refused[] = {
    {"", 0, "offset 8: expected a header that is one JSON object"},
    {"not JSON", 4,
     "offset 8: expected a header that is one JSON object, got \"not JSON\""},
    {"{\"w\":", 0, "expected a header that is one JSON object"},
    {"{\"w\":1,", 0, "expected a header that is one JSON object"},
    {"{\"w\":{\"dtype\":\"F3", 0, "expected a header that is one JSON object"},
    {"[1, 2]", 0, "offset 8: expected a header that is one JSON object, got \"[1, 2]\""},
    {" {}", 0, "expected a header that is one JSON object, got \" {}\""},
    {"{}  {}", 0, "offset 12: expected a header that is one JSON object, got \"{}\""},
    {"{} x", 0, "offset 11"},
    {"{\"a\\u0000b\":1}", 0, "offset 11: expected a header that is one JSON object"},
    {"{\"w\":1}", 4, "tensor \"w\": expected an object of dtype, shape and data_offsets"},
    {"{\"w\":[1,2,3]}", 4, "expected an object of dtype, shape and data_offsets"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "and data_offsets, got {\"dtype\""},
    {"{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,4]}}",
     4, "expected an object of dtype"},
    {"{\"w\":{\"dtype\":5,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "got {\"dtype\":5"},
    {"{" TENSOR("", "F32", "[1]", "[0,4]") "}", 4, "expected a name"},
    {ENTRY("BF16", "[2]", "[0,4]"), 4,
     "tensor \"w\": expected dtype F32, F64, I32 or U8, got {\"dtype\":\"BF16\""},
    {ENTRY("f32", "[1]", "[0,4]"), 4, "expected dtype F32, F64, I32 or U8"},
    {ENTRY("F32", "3", "[0,4]"), 4, "expected an object of dtype, shape"},
    {ENTRY("F32", "[1,1,1,1,1,1,1]", "[0,4]"), 4, "a shape of at most 6 whole numbers"},
    {ENTRY("F32", "[-1]", "[0,4]"), 4, "a shape of at most 6 whole numbers"},
    {ENTRY("F32", "[0.5]", "[0,4]"), 4, "a shape of at most 6 whole numbers"},
    {ENTRY("F32", "[1e999]", "[0,4]"), 4, "a shape of at most 6 whole numbers"},
    {ENTRY("F32", "[\"1\"]", "[0,4]"), 4, "a shape of at most 6 whole numbers"},
    {ENTRY("F32", "[9007199254740992,9007199254740992]", "[0,4]"), 4, "memory can hold"},
    {ENTRY("F32", "[1]", "[0]"), 4, "data_offsets [begin, end], begin <= end, got {"},
    {ENTRY("F32", "[1]", "[]"), 4, "data_offsets [begin, end]"},
    {ENTRY("F32", "[1]", "[4,0]"), 4, "data_offsets [begin, end]"},
    {ENTRY("F32", "[1]", "[-4,0]"), 4, "data_offsets [begin, end]"},
    {ENTRY("F32", "[1]", "[0,1e300]"), 4, "data_offsets [begin, end]"},
    {ENTRY("F32", "[2]", "[0,4]"), 4, "expected data_offsets 8 bytes apart, got {"},
    {ENTRY("F32", "[1]", "[0,4]"), 3, "and end by 3, got [0, 4]: outside the file"},
    {ENTRY("F32", "[1]", "[0,4]"), 9,
     "expected the end of the file, got 5 trailing bytes"},
    {ENTRY("F32", "[1]", "[4,8]"), 8, "begin at 0 and end by 8, got [4, 8]: a gap"},
    {"{}", 3, "offset 10: expected the end of the file, got 3 trailing bytes"},
    {"{" TENSOR("a", "U8", "[4]", "[0,4]") "," TENSOR("b", "U8", "[4]", "[3,7]") "}", 7,
     "tensor \"b\": expected data_offsets that begin at 4 and end by 7, got [3, 7]: an "
     "overlap"},
    {"{" TENSOR("a", "U8", "[4]", "[0,4]") "," TENSOR("b", "U8", "[4]", "[0,4]") "}", 4,
     "an overlap"},
    {"{" TENSOR("a", "U8", "[4]", "[0,4]") "," TENSOR("b", "U8", "[4]", "[5,9]") "}", 9,
     "a gap"},
    {"{" TENSOR("a", "U8", "[4]", "[0,4]") "," TENSOR("b", "U8", "[0]", "[2,2]") "}", 4,
     "an overlap"},
    {"{" TENSOR("a", "U8", "[2]", "[0,2]") "," TENSOR(
         "b", "U8", "[1]", "[4,5]") "," TENSOR("a", "U8", "[2]", "[2,4]") "}",
     5, "expected each name once, got \"a\" twice"},
    /* Not JSON, or not UTF-8: each refused by the format's reference too. */
    {NAMED("a\\uzzzzb"), 4,
     "offset 11: expected a header that is one JSON object, got "
     "\"\\uzzzzb\":{\"dtype\": no escape of JSON"},
    {NAMED("\\u12"), 4, "offset 10: "},
    {NAMED("\\x41"), 4, "no escape of JSON"},
    {NAMED("\\a"), 4, "no escape of JSON"},
    {NAMED("\\ud800"), 4, "half a surrogate pair"},
    {NAMED("\\ud800x"), 4, "half a surrogate pair"},
    {NAMED("\\ud83c\\u0041"), 4, "half a surrogate pair"},
    {NAMED("\\udf9e\\ud83c"), 4, "half a surrogate pair"},
    {NAMED("a\tb"), 4,
     "offset 11: expected a header that is one JSON object, got "
     "\"?b\":{\"dtype\":\"F3\": a control character in a string"},
    {NAMED("\n"), 4, "a control character"},
    {NAMED("\x1f"), 4, "a control character"},
    {NAMED("\xff"), 4,
     "offset 10: expected a header that is one JSON object, got "
     "\"?\":{\"dtype\":\"F32\": not UTF-8"},
    {NAMED("\x80"), 4, "not UTF-8"},
    {NAMED("\xc3"), 4, "not UTF-8"},
    {NAMED("\xc0\x80"), 4, "not UTF-8"},
    {NAMED("\xe0\x80\x80"), 4, "not UTF-8"},
    {NAMED("\xed\xa0\x80"), 4, "not UTF-8"},
    {NAMED("\xf0\x80\x80\x80"), 4, "not UTF-8"},
    {NAMED("\xf4\x90\x80\x80"), 4, "not UTF-8"},
    {NAMED("\xf8\x88\x80\x80\x80"), 4, "not UTF-8"},
    {NAMED("\\u0000"), 4, "a zero in a name"},
    {"\xef\xbb\xbf{}", 0, "offset 8: expected a header that is one JSON object"},
    {ENTRY("F32", "[1e0]", "[0,4]"), 4, "a shape of at most 6 whole numbers"},
    {ENTRY("F32", "[1.0]", "[0,4]"), 4, "a shape of at most 6 whole numbers"},
    {ENTRY("F32", "[-0]", "[0,4]"), 4, "a shape of at most 6 whole numbers"},
    {ENTRY("F32", "[null]", "[0,4]"), 4, "a shape of at most 6 whole numbers"},
    {ENTRY("F32", "[[1]]", "[0,4]"), 4, "a shape of at most 6 whole numbers"},
    {ENTRY("F32", "[18446744073709551616]", "[0,4]"), 4, "a shape of at most 6 whole"},
    {ENTRY("F32", "[18446744073709551617]", "[0,4]"), 4, "a shape of at most 6 whole"},
    {ENTRY("F32", "[01]", "[0,4]"), 4,
     "offset 37: expected a header that is one JSON "
     "object, got \"01],\"data_offset\": a number "
     "that begins with 0"},
    {ENTRY("F32", "[00]", "[0,4]"), 4, "a number that begins with 0"},
    {ENTRY("F32", "[+1]", "[0,4]"), 4, "a value was due"},
    {ENTRY("F32", "[1,]", "[0,4]"), 4, "a value was due"},
    {ENTRY("F32", "[0x1]", "[0,4]"), 4, "a comma or a bracket was due"},
    {ENTRY("F32", "[1.]", "[0,4]"), 4, "a digit was due"},
    {ENTRY("F32", "[1", "[0,4]"), 4, "expected a header that is one JSON object"},
    {ENTRY("F32", "[1}", "[0,4]"), 4, "a comma or a bracket was due"},
    {ENTRY("F32", "[1]", "[0,4e0]"), 4, "data_offsets [begin, end]"},
    {ENTRY("F32", "[1]", "[0,4,5]"), 4, "data_offsets [begin, end]"},
    {ENTRY("F32", "[1]", "[00,4]"), 4, "a number that begins with 0"},
    {ENTRY("F32", "[1]", "{\"0\":0}"), 4, "an object of dtype, shape and data_offsets"},
    {ENTRY("F32 ", "[1]", "[0,4]"), 4, "expected dtype F32, F64, I32 or U8"},
    {ENTRY("F32\\u0000", "[1]", "[0,4]"), 4, "expected dtype F32, F64, I32 or U8"},
    {"{" TENSOR("w", "F32", "[1]", "[0,4]") ",}", 4, "a string was due"},
    {"{," TENSOR("w", "F32", "[1]", "[0,4]") "}", 4, "a string was due"},
    {"{'w':1}", 4, "a string was due"},
    {"{\"w\" 1}", 4, "a colon was due"},
    {"{\"w\":nul}", 4, "a value was due"},
    {"{\"w\":NaN}", 4, "a value was due"},
    {"{\"w\":null}", 4, "expected an object of dtype, shape and data_offsets, got null"},
    {"{\"w\":{}}", 4, "expected an object of dtype, shape and data_offsets, got {}"},
    {"{\"w\":[[[[[[[[[[[[[[[[[1", 4, "too deep"},
    {NAMED("\\u005f_metadata__"), 4,
     "entry \"__metadata__\": expected an object of "
     "strings, got {\"dtype\""},
    {META("[]"), 4, "entry \"__metadata__\": expected an object of strings, got []"},
    {META("[[\"a\",\"b\"]]"), 4, "expected an object of strings"},
    {META("\"a\""), 4, "expected an object of strings"},
    {META("1"), 4, "expected an object of strings"},
    {META("{\"a\":1}"), 4, "expected an object of strings, got {\"a\":1}"},
    {META("{\"a\":null}"), 4, "expected an object of strings"},
    {META("{\"a\":{}}"), 4, "expected an object of strings"},
    {META("{\"a\":\"b\",\"c\":[]}"), 4, "expected an object of strings"},
    {META("{\"a\":\"\x01\"}"), 4, "a control character in a string"},
    {META("{\"a\":\"\\ud800\"}"), 4, "half a surrogate pair"},
    {META("{\"a\":\"\xff\"}"), 4, "not UTF-8"},
    {META("{\"\xff\":\"a\"}"), 4, "not UTF-8"},
    {META("{},\"__metadata__\":{}"), 4, "each name once, got \"__metadata__\" twice"},
};

/* Headers of one f32 value that the format's reference loads, and the name it gets. */
static const struct {
    const char *header, *name;
} taken[] = {
    {META("{}"), "w"},
    {META("null"), "w"},
    {META("{\"a\":\"b\",\"\":\"\\u0000\\ud83c\\udf9e\xce\xb8\"}"), "w"},
    {META("{\"a\":\"b\",\"a\":\"c\"}"), "w"},
    {"{" TENSOR("w", "F32", "[1]", "[0,4]") ",\"\\u005f_metadata__\":{\"a\":\"b\"}}",
     "w"},
    {ENTRY("F32", "[ 1 ,1,\n1\t,1,1,\r1]", "[ 0 , 4 ]") " \n\t\r ", "w"},
    {ENTRY("\\u00463\\u0032", "[]", "[0,4]"), "w"},
    {"{\"w\":{\"dtyp\\u0065\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "w"},
    {"{" TENSOR("w", "F32", "[1]", "[0,4]") "," TENSOR("v", "U8", "[0]", "[0,0]") "}",
     "w"},
    {"{" TENSOR("w", "F32", "[1]", "[0,4]") "," TENSOR("v", "U8", "[0]", "[4,4]") "}",
     "w"},
    {NAMED("\\/\\b\\f\\n\\r\\t\\\"\\\\"), "/\b\f\n\r\t\"\\"},
    {NAMED("\\u00e9\\u00E9"), "\xc3\xa9\xc3\xa9"},
    {NAMED("\\ud83c\\udf9e"), "\xf0\x9f\x8e\x9e"},
    {NAMED("\\ud7ff\\ue000\\uffff"), "\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"},
    {NAMED("\xf4\x8f\xbf\xbf\x7f"), "\xf4\x8f\xbf\xbf\x7f"},
};

static void set_load_of_what_the_reference_takes_loads(void **state)
{
    fixture *f = *state;
    char path[PATH];
    path_in(f, "x", path);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        write_file(path, taken[i].header, strlen(taken[i].header), 4);
        ht_set *set = ht_set_load(f->ctx, path);
        if (!set) fail_msg("%s\n%s", taken[i].header, ht_context_message(f->ctx));
        assert_string_equal(ht_set_name(set, 0), taken[i].name);
        assert_memory_equal(ht_tensor_data(ht_set_at(set, 0)), "\1\2\3\4", 4);
        assert_int_equal(ht_set_write(set, path), HT_OK);
        ht_set *again = ht_set_load(f->ctx, path);
        if (!again) fail_msg("%s\n%s", taken[i].header, ht_context_message(f->ctx));
        expect_same(again, set);
        ht_set_free(set);
        ht_set_free(again);
    }
}

static void set_load_of_bad_headers_says_what_is_wrong(void **state)
{
    fixture *f = *state;
    char path[PATH];
    path_in(f, "bad", path);
    int n = (int)(sizeof refused / sizeof *refused);
    for (int i = 0; i < n; i++) {
        write_file(path, refused[i].header, strlen(refused[i].header), refused[i].data);
        assert_null(ht_set_load(f->ctx, path));
        expect_error(f, HT_ERROR_FORMAT, path, refused[i].part);
        assert_int_equal(ht_context_live_bytes(f->ctx), f->live);
    }
    write_file(path, "{\"a\0b\":1}", 9, 0);
    assert_null(ht_set_load(f->ctx, path));
    expect_error(f, HT_ERROR_FORMAT, path,
                 "offset 11: expected a header that is one JSON");
    assert_int_equal(n, 106);
}

/* How many bytes at most a load took beyond what was live, and whether it loaded. */
static size_t load_peak(ht_context *ctx, const char *path, bool *loaded)
{
    size_t live = ht_context_live_bytes(ctx);
    ht_context_reset_peak(ctx);
    ht_set *set = ht_set_load(ctx, path);
    *loaded = set != NULL;
    ht_set_free(set);
    return ht_context_peak_bytes(ctx) - live;
}

/* A header of n bytes: `front`, `item` again and again, `back`. */
static char *repeat(const char *front, const char *item, const char *back, size_t n)
{
    char *text = malloc(n + 1), *at = text;
    assert_non_null(text);
    at = stpcpy(at, front);
    while (at + strlen(item) + strlen(back) <= text + n) at = stpcpy(at, item);
    strcpy(at, back);
    return text;
}

/* What a header makes the reader ask for is bounded by the header's own bytes, and asked
 * of the context: there is nowhere else that it comes from. */
static void set_load_of_a_long_header_takes_memory_as_said(void **state)
{
    fixture *f = *state;
    enum { LONG = 2000000 };
    static const struct {
        const char *front, *item, *back;
        bool loads;
        double most; /* bytes asked for a byte of header */
    } headers[] = {
        {"{\"__metadata__\":[", "1,", "1]}", false, 1.1},
        {"{\"__metadata__\":[", "[],", "1]}", false, 1.1},
        {"{\"__metadata__\":", "[", "", false, 1.1},
        {"{\"__metadata__\":{", "\"\":\"\",", "\"\":\"\"}}", true, 1.1},
        {"{\"w\":{\"dtype\":\"U8\",\"data_offsets\":[0,0],\"shape\":[", "0,", "0]}}",
         false, 1.1},
        {"{\"w\":[", "{},", "{}]}", false, 1.1},
        {"{", "\"\":0,", "\"\":0}", false, 30},
    };
    char path[PATH];
    path_in(f, "x", path);
    for (size_t k = 0; k < sizeof headers / sizeof *headers; k++) {
        char *text = repeat(headers[k].front, headers[k].item, headers[k].back, LONG);
        size_t n = strlen(text);
        write_file(path, text, n, 0);
        free(text);
        bool loaded;
        double peak = (double)load_peak(f->ctx, path, &loaded);
        if (loaded != headers[k].loads) fail_msg("%s", ht_context_message(f->ctx));
        ht_context_clear(f->ctx);
        if (peak > headers[k].most * (double)n)
            fail_msg("%s: %.0f bytes asked for a header of %zu", headers[k].front, peak,
                     n);
        ht_context *tight = ht_context_new(
            &(ht_context_options){.byte_limit = n / 2 + 4096, .threads = 1});
        assert_null(ht_set_load(tight, path));
        assert_int_equal(ht_context_status(tight), HT_ERROR_MEMORY);
        ht_context_free(tight);
    }
}

static double thread_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* n empty tensors of such names, made, written, loaded and read: the time it took, and
 * what loading took at most for a byte of the file. */
static double many_names(const fixture *f, const char *pattern, int n, double *factor)
{
    char path[PATH], name[64];
    double began = thread_seconds();
    ht_set *set = ht_set_new(f->ctx);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, pattern, i, n - i);
        assert_non_null(ht_set_add(set, name, HT_U8, HT_SHAPE(0)));
    }
    assert_int_equal(ht_set_write(set, path_in(f, "x", path)), HT_OK);
    bool loaded;
    *factor = (double)load_peak(f->ctx, path, &loaded);
    assert_true(loaded);
    assert_int_equal(ht_set_read(set, path), HT_OK);
    for (int i = 0; i < n; i++)
        assert_int_equal(ht_set_find(set, ht_set_name(set, i)), i);
    assert_int_equal(ht_set_find(set, "absent"), -1);
    double took = thread_seconds() - began;
    ht_set_free(set);
    FILE *file = fopen(path, "rb");
    fseek(file, 0, SEEK_END);
    *factor /= (double)ftell(file);
    fclose(file);
    return took;
}

/* Eight times the names: about eight times the work, where each against each would be
 * sixty-four times. */
static void sets_of_many_names_take_time_and_memory_in_proportion(void **state)
{
    static const char *const patterns[] = {"%x", "layers.block.%05d.weight", "%2$o-%1$d"};
    for (int p = 0; p < 3; p++) {
        double few_factor, factor;
        double few = many_names(*state, patterns[p], 2500, &few_factor);
        double many = many_names(*state, patterns[p], 20000, &factor);
        if (many > 24 * few + 0.2)
            fail_msg("\"%s\": 2,500 names took %g s, 20,000 %g s", patterns[p], few,
                     many);
        if (factor > 9)
            fail_msg("\"%s\": %g bytes asked for a byte of the file", patterns[p],
                     factor);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(set_load_of_bad_headers_says_what_is_wrong),
        CASE(set_load_of_what_the_reference_takes_loads),
        CASE(set_load_of_a_long_header_takes_memory_as_said),
        CASE(sets_of_many_names_take_time_and_memory_in_proportion),
    };
    return TEST_MAIN(tests);
}
