/* SPDX-License-Identifier: MIT */
/* qr.c: a text as a QR code (ISO/IEC 18004), of version 1 or 2, which are one block of
 * codewords each: bytes, then the remainder of a division of polynomials over GF(256), by
 * which a reader mends up to half as many wrong ones. They lie in a zigzag around the
 * patterns by which it finds the code, masked so that they do not look like those.
 * Read next: ../bilevel/write.c, ../../tests/examples/test_qr.c. */
#include <stdlib.h>
#include <string.h>

#include "common.h"

enum { FREE = -1, FIXED = -2 }; /* of qr.codeword while it is made */
enum { LEVELS = 4, MASKS = 8 };

/* The strongest first: check codewords of versions 1 and 2, and two bits that name it. */
static const struct qr_level {
    char name;
    int check[2], bits;
} levels[LEVELS] = {
    {'H', {17, 28}, 2}, {'Q', {13, 22}, 3}, {'M', {10, 16}, 0}, {'L', {7, 10}, 1}};

static int total_codewords(int version)
{
    return version == 1 ? 26 : 44;
}

/* Product in GF(256), by x^8 + x^4 + x^3 + x^2 + 1. */
static uint8_t field_product(uint8_t a, uint8_t b)
{
    unsigned sum = 0;
    for (int bit = 7; bit >= 0; bit--) {
        sum = sum << 1 ^ (sum >> 7) * 0x11du;
        if (b >> bit & 1) sum ^= a;
    }
    return (uint8_t)sum;
}

void qr_check_codewords(int n_data, const uint8_t *data, int n, uint8_t *check)
{
    uint8_t divisor[QR_CODEWORDS] = {0}, root = 1;
    divisor[n - 1] = 1; /* without its first, which is 1: prod_k (x - 2^k) */
    for (int k = 0; k < n; k++, root = field_product(root, 2))
        for (int j = 0; j < n; j++) {
            divisor[j] = field_product(divisor[j], root);
            if (j + 1 < n) divisor[j] ^= divisor[j + 1];
        }
    memset(check, 0, (size_t)n);
    for (int i = 0; i < n_data; i++) {
        uint8_t factor = data[i] ^ check[0];
        memmove(check, check + 1, (size_t)n - 1);
        check[n - 1] = 0;
        for (int j = 0; j < n; j++) check[j] ^= field_product(divisor[j], factor);
    }
}

/* "Bytes follow", how many, those, an end of four zeros, and padding. */
static void put_data(uint8_t *data, int n_data, const char *text)
{
    size_t n = strlen(text);
    memset(data, 0, (size_t)n_data);
    data[0] = (uint8_t)(0x40 | n >> 4);
    data[1] = (uint8_t)(n << 4);
    for (size_t i = 0; i < n; i++) {
        data[i + 1] |= (uint8_t)((uint8_t)text[i] >> 4);
        data[i + 2] = (uint8_t)((uint8_t)text[i] << 4);
    }
    for (int i = (int)n + 2, k = 0; i < n_data; i++, k++) data[i] = k % 2 ? 0x11 : 0xec;
}

static void set_fixed(qr_code *code, int row, int col, bool dark)
{
    if (row < 0 || col < 0 || row >= code->side || col >= code->side) return;
    code->dark[row * code->side + col] = dark;
    code->codeword[row * code->side + col] = FIXED;
}

/* Squares within squares: rings at a distance in `dark` (a bit each) from the middle. */
static void put_squares(qr_code *code, int row, int col, int most, unsigned dark)
{
    for (int i = -most; i <= most; i++)
        for (int j = -most; j <= most; j++) {
            int ring = abs(i) > abs(j) ? abs(i) : abs(j);
            set_fixed(code, row + i, col + j, dark >> ring & 1);
        }
}

/* Level and mask, five bits and the remainder by a polynomial of degree 10, twice. */
static void put_format(qr_code *code, int level, int mask)
{
    unsigned data = (unsigned)(levels[level].bits << 3 | mask), rest = data;
    for (int i = 0; i < 10; i++) rest = rest << 1 ^ (rest >> 9) * 0x537u;
    unsigned bits = (data << 10 | rest) ^ 0x5412u;
    int end = code->side - 1;
    for (int i = 0; i < 15; i++) {
        bool dark = bits >> i & 1;
        int near = i < 6 ? i : i < 8 ? i + 1 : i == 8 ? 7 : 14 - i;
        set_fixed(code, i < 8 ? near : 8, i < 8 ? 8 : near, dark);
        set_fixed(code, i < 8 ? 8 : end - 14 + i, i < 8 ? end - i : 8, dark);
    }
    set_fixed(code, end - 7, 8, true);
}

static void put_patterns(qr_code *code)
{
    int end = code->side - 1;
    for (int i = 0; i <= end; i++) {
        set_fixed(code, 6, i, i % 2 == 0);
        set_fixed(code, i, 6, i % 2 == 0);
    }
    put_squares(code, 3, 3, 4, 11);
    put_squares(code, 3, end - 3, 4, 11);
    put_squares(code, end - 3, 3, 4, 11);
    if (code->version == 2) put_squares(code, 18, 18, 2, 5);
    put_format(code, 0, 0); /* its place */
}

/* Two columns at a time from the right, up and down by turns, without the timing's. */
static void put_codewords(qr_code *code, const uint8_t *codeword)
{
    int bit = 0, side = code->side, total = 8 * total_codewords(code->version);
    bool up = true;
    for (int right = side - 1; right > 0; right -= 2, up = !up) {
        if (right == 6) right--;
        for (int k = 0; k < 2 * side; k++) {
            int row = up ? side - 1 - k / 2 : k / 2;
            int at = row * side + right - k % 2;
            if (code->codeword[at] != FREE) continue;
            code->codeword[at] = (int8_t)(bit < total ? bit / 8 : FIXED);
            code->dark[at] = bit < total && (codeword[bit / 8] >> (7 - bit % 8) & 1);
            bit++;
        }
    }
}

static bool mask_at(int mask, int i, int j)
{
    switch (mask) {
    case 0:
        return (i + j) % 2 == 0;
    case 1:
        return i % 2 == 0;
    case 2:
        return j % 3 == 0;
    case 3:
        return (i + j) % 3 == 0;
    case 4:
        return (i / 2 + j / 3) % 2 == 0;
    case 5:
        return i * j % 2 + i * j % 3 == 0;
    case 6:
        return (i * j % 2 + i * j % 3) % 2 == 0;
    default:
        return ((i + j) % 2 + i * j % 3) % 2 == 0;
    }
}

/* Turns over what is no pattern; the second time it is as before. */
static void put_mask(qr_code *code, const bool *is_pattern, int mask)
{
    for (int at = 0; at < code->side * code->side; at++)
        if (!is_pattern[at])
            code->dark[at] ^= mask_at(mask, at / code->side, at % code->side);
}

/* Of a line, `step` from one module to the next: runs of five and more, and what looks
 * like the middle of a corner's squares with four light ones on a side. */
static int line_penalty(const bool *line, int step, int side)
{
    int sum = 0, run = 0;
    unsigned last = 0; /* eleven modules */
    for (int i = 0; i < side; i++) {
        run = i && line[i * step] == line[(i - 1) * step] ? run + 1 : 1;
        sum += run == 5 ? 3 : run > 5 ? 1 : 0;
        last = (last << 1 | line[i * step]) & 0x7ff;
        if (i >= 10 && (last == 0x05d || last == 0x5d0)) sum += 40;
    }
    return sum;
}

static int penalty(const qr_code *code)
{
    const bool *is = code->dark;
    int side = code->side, sum = 0, n_dark = 0;
    for (int i = 0; i < side; i++)
        sum += line_penalty(is + i * side, 1, side) + line_penalty(is + i, side, side);
    for (int at = 0; at < side * side; at++) {
        n_dark += is[at];
        if (at / side && at % side && is[at] == is[at - 1] && is[at] == is[at - side] &&
            is[at] == is[at - side - 1])
            sum += 3;
    }
    return sum + 10 * (abs(20 * n_dark - 10 * side * side) / (side * side));
}

/* The mask that is liked best. */
static void choose_mask(qr_code *code, const bool *is_pattern, int level)
{
    int least = INT32_MAX, best = 0;
    for (int mask = 0; mask <= MASKS; mask++) {
        int now = mask < MASKS ? mask : best;
        put_mask(code, is_pattern, now);
        put_format(code, level, now);
        if (mask == MASKS) break;
        int is = penalty(code);
        if (is < least) best = mask;
        least = is < least ? is : least;
        put_mask(code, is_pattern, now);
    }
    code->mask = best;
}

bool qr_make(qr_code *code, const char *text)
{
    uint8_t codeword[QR_CODEWORDS];
    bool is_pattern[QR_SIDE * QR_SIDE];
    int n = (int)strlen(text), level = 0;
    *code = (qr_code){.version = n + 2 <= 26 - 7 ? 1 : 2};
    int total = total_codewords(code->version), size = code->version - 1;
    while (level < LEVELS && n + 2 > total - levels[level].check[size]) level++;
    if (!n || level == LEVELS) return false;
    code->level = levels[level].name;
    code->side = 17 + 4 * code->version;
    code->n_codewords = total;
    code->mends = levels[level].check[size] / 2;
    int n_data = total - levels[level].check[size];
    put_data(codeword, n_data, text);
    qr_check_codewords(n_data, codeword, total - n_data, codeword + n_data);
    memset(code->codeword, FREE, sizeof code->codeword);
    put_patterns(code);
    for (int at = 0; at < code->side * code->side; at++)
        is_pattern[at] = code->codeword[at] == FIXED;
    put_codewords(code, codeword);
    choose_mask(code, is_pattern, level);
    return true;
}
