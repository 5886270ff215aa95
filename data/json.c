/* SPDX-License-Identifier: MIT */
/* json.c: a strict look at JSON text (RFC 8259), and what it takes to read it in place.
 *
 * A lenient reader loads what no other would, under names that differ from reader to
 * reader; and a tree of it can take forty times the bytes of the text. Read next:
 * safetensors.c. */
#include "json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { JSON_DEEPEST = 16 };

static bool json_fail(hti_json *j, const char *why)
{
    j->why = why;
    return false;
}

static bool json_pass(hti_json *j)
{
    j->at++;
    return true;
}

static const char json_digit[] = "0123456789";

static void json_spaces(hti_json *j)
{
    j->at += strspn(j->at, " \t\n\r");
}

int hti_utf8_length(const char *c)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *b = (const unsigned char *)c;
    if (*b < 0x80) return 1;
    int length = *b < 0xc0 ? 0 : *b < 0xe0 ? 2 : *b < 0xf0 ? 3 : *b < 0xf8 ? 4 : 0;
    uint32_t code = *b & (0x7fu >> length);
    for (int i = 1; i < length; i++) {
        if ((b[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (b[i] & 0x3fu);
    }
    bool surrogate = code >= 0xd800 && code < 0xe000;
    return length && code >= least[length] && code <= 0x10ffff && !surrogate ? length : 0;
}

/* The four digits of \uXXXX, c at the u; -1 if they are not four. */
static int json_unit(const char *c)
{
    char digits[5] = "";
    if (strspn(c + 1, "0123456789abcdefABCDEF") < 4) return -1;
    memcpy(digits, c + 1, 4);
    return (int)strtol(digits, NULL, 16);
}

/* The character of an escape, c at the backslash, and how long the escape is: 12 for a
 * surrogate pair; 0 if there is no such escape. */
static int json_unescape(const char *c, uint32_t *code)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *name = c[1] ? strchr(names, c[1]) : NULL;
    if (name) *code = (unsigned char)values[name - names];
    if (name || c[1] != 'u') return name ? 2 : 0;
    int high = json_unit(c + 1), low = -1;
    if (high < 0) return 0;
    *code = (uint32_t)high;
    if (high < 0xd800 || high >= 0xe000) return 6;
    if (high < 0xdc00 && c[6] == '\\' && c[7] == 'u') low = json_unit(c + 7);
    if (low < 0xdc00 || low >= 0xe000) return 0;
    *code = 0x10000u + (((uint32_t)high & 0x3ff) << 10 | ((uint32_t)low & 0x3ff));
    return 12;
}

static int json_put_utf8(uint32_t code, char to[4])
{
    int length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (int i = length - 1; i > 0; i--, code >>= 6) to[i] = (char)(0x80 | (code & 0x3f));
    to[0] = (char)(length > 1 ? 0xf00u >> length | code : code);
    return length;
}

/* Passes a string, with its bytes to `to` as hti_json_string does. */
static bool json_string(hti_json *j, bool is_name, char *to, size_t size, size_t *n)
{
    if (*j->at != '"') return json_fail(j, "a string was due");
    j->at++;
    for (*n = 0; *j->at != '"';) {
        char piece[4];
        uint32_t code = 1;
        bool escaped = *j->at == '\\';
        if (j->at == j->end) return json_fail(j, "the end, inside a string");
        if ((unsigned char)*j->at < ' ')
            return json_fail(j, "a control character in a string");
        int length = escaped ? json_unescape(j->at, &code) : hti_utf8_length(j->at);
        if (length == 0)
            return json_fail(j, escaped ? "no escape of JSON, or half a surrogate pair"
                                        : "not UTF-8");
        if (is_name && code == 0) return json_fail(j, "a zero in a name");
        int bytes = escaped ? json_put_utf8(code, piece) : length;
        for (int i = 0; i < bytes; i++, ++*n)
            if (*n + 1 < size) to[*n] = escaped ? piece[i] : j->at[i];
        j->at += length;
    }
    return json_pass(j);
}

static bool json_digits(hti_json *j)
{
    size_t n = strspn(j->at, json_digit);
    j->at += n;
    return n > 0 || json_fail(j, "a digit was due");
}

static bool json_number(hti_json *j)
{
    if (*j->at == '-') j->at++;
    const char *first = j->at;
    if (!json_digits(j)) return false;
    if (*first == '0' && j->at > first + 1) {
        j->at = first;
        return json_fail(j, "a number that begins with 0");
    }
    if (*j->at == '.' && json_pass(j) && !json_digits(j)) return false;
    if (*j->at != 'e' && *j->at != 'E') return true;
    j->at++;
    if (*j->at == '+' || *j->at == '-') j->at++;
    return json_digits(j);
}

static bool json_word(hti_json *j)
{
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if (strncmp(j->at, words[i], n) != 0) continue;
        j->at += n;
        return true;
    }
    return json_fail(j, j->at == j->end ? "the end" : "a value was due");
}

static bool json_any(hti_json *j, int depth);

/* An object's name and what leads from it to the value. */
static bool json_name(hti_json *j)
{
    json_spaces(j);
    size_t n;
    if (!json_string(j, true, NULL, 0, &n)) return false;
    json_spaces(j);
    return *j->at == ':' ? json_pass(j) : json_fail(j, "a colon was due");
}

/* An object or a list, by its opening bracket. */
static bool json_list(hti_json *j, int depth)
{
    bool object = *j->at == '{';
    char close = object ? '}' : ']';
    if (depth == JSON_DEEPEST) return json_fail(j, "too deep");
    j->at++;
    json_spaces(j);
    if (*j->at == close) return json_pass(j);
    for (;;) {
        if ((object && !json_name(j)) || !json_any(j, depth + 1)) return false;
        json_spaces(j);
        if (*j->at == close) return json_pass(j);
        if (*j->at != ',') return json_fail(j, "a comma or a bracket was due");
        j->at++;
    }
}

static bool json_any(hti_json *j, int depth)
{
    json_spaces(j);
    char c = *j->at;
    size_t n;
    if (c == '{' || c == '[') return json_list(j, depth);
    if (c == '"') return json_string(j, false, NULL, 0, &n);
    return c == '-' || (c >= '0' && c <= '9') ? json_number(j) : json_word(j);
}

bool hti_json_value(hti_json *j)
{
    return json_any(j, 0);
}

bool hti_json_ends(hti_json *j)
{
    json_spaces(j);
    return j->at == j->end || json_fail(j, "more after the value");
}

bool hti_json_next(hti_json *j)
{
    json_spaces(j);
    char c = *j->at++;
    if (c == '}' || c == ']') return false;
    json_spaces(j);
    bool empty = c != ',' && (*j->at == '}' || *j->at == ']');
    if (empty) j->at++;
    return !empty;
}

void hti_json_colon(hti_json *j)
{
    json_spaces(j);
    j->at++;
    json_spaces(j);
}

size_t hti_json_string(hti_json *j, char *to, size_t size)
{
    size_t n;
    json_string(j, false, to, size, &n);
    to[n < size ? n : size - 1] = 0;
    return n;
}

bool hti_json_whole(hti_json *j, int64_t *number)
{
    size_t n = strspn(j->at, json_digit);
    char *end;
    errno = 0;
    *number = strtoll(j->at, &end, 10);
    bool whole = n > 0 && end == j->at + n && !errno && strchr(",]} \t\r\n", *end);
    j->at = end;
    return whole;
}
