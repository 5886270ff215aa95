/* SPDX-License-Identifier: MIT */
/* test_qr.c: QR codes beside the standard's own example and its fixed patterns. That a
 * reader reads them is in test_write.sh. */
#include <string.h>

#include "common.h"
#include "test.h"

/* ISO/IEC 18004, annex on encoding "01234567" in version 1-M. */
static void qr_check_codewords_are_those_of_the_standard(void **state)
{
    (void)state;
    static const uint8_t data[16] = {0x10, 0x20, 0x0c, 0x56, 0x61, 0x80, 0xec, 0x11,
                                     0xec, 0x11, 0xec, 0x11, 0xec, 0x11, 0xec, 0x11};
    static const uint8_t check[10] = {0xa5, 0x24, 0xd4, 0xc1, 0xed,
                                      0x36, 0xc7, 0x87, 0x2c, 0x55};
    uint8_t got[10];
    qr_check_codewords(16, data, 10, got);
    assert_memory_equal(got, check, sizeof check);
}

/* Bytes by version and level, ISO/IEC 18004 table 7: each length has the strongest. */
static void qr_make_takes_the_smallest_version_and_strongest_level(void **state)
{
    (void)state;
    static const struct {
        int n, version, mends;
        char level;
    } wanted[] = {{1, 1, 8, 'H'},   {7, 1, 8, 'H'},   {8, 1, 6, 'Q'},  {11, 1, 6, 'Q'},
                  {12, 1, 5, 'M'},  {14, 1, 5, 'M'},  {15, 1, 3, 'L'}, {17, 1, 3, 'L'},
                  {18, 2, 11, 'Q'}, {20, 2, 11, 'Q'}, {21, 2, 8, 'M'}, {26, 2, 8, 'M'},
                  {27, 2, 5, 'L'},  {32, 2, 5, 'L'}};
    char text[QR_TEXT + 2] = {0};
    qr_code code;
    for (size_t k = 0; k < sizeof wanted / sizeof *wanted; k++) {
        memset(text, 0, sizeof text);
        memset(text, 'a', (size_t)wanted[k].n);
        assert_true(qr_make(&code, text));
        assert_int_equal(code.version, wanted[k].version);
        assert_int_equal(code.level, wanted[k].level);
        assert_int_equal(code.mends, wanted[k].mends);
        assert_int_equal(code.side, 17 + 4 * code.version);
    }
    memset(text, 'a', QR_TEXT + 1);
    assert_false(qr_make(&code, text));
    assert_false(qr_make(&code, ""));
}

static bool dark(const qr_code *code, int row, int col)
{
    return code->dark[row * code->side + col];
}

/* Eight modules belong to each codeword, corners and timing to none. */
static void qr_make_lays_each_codeword_once(void **state)
{
    (void)state;
    for (int version = 1; version <= 2; version++) {
        qr_code code;
        int n[QR_CODEWORDS] = {0};
        assert_true(qr_make(&code, version == 1 ? "hypertape" : "twenty letters of it"));
        for (int at = 0; at < code.side * code.side; at++)
            if (code.codeword[at] >= 0) n[code.codeword[at]]++;
        for (int k = 0; k < code.n_codewords; k++) assert_int_equal(n[k], 8);
        for (int k = 8; k < code.side - 8; k++) {
            assert_int_equal(dark(&code, 6, k), k % 2 == 0);
            assert_int_equal(dark(&code, k, 6), k % 2 == 0);
        }
        assert_true(dark(&code, code.side - 8, 8));
    }
}

/* Level and mask stand twice: with the mask 101010000010010 taken off, a multiple of
 * x^10 + x^8 + x^5 + x^4 + x^2 + x + 1. */
static void qr_make_says_level_and_mask_twice(void **state)
{
    (void)state;
    qr_code code;
    assert_true(qr_make(&code, "hypertape"));
    unsigned beside = 0, below = 0;
    for (int i = 14; i >= 0; i--) {
        static const int at[] = {0, 1, 2, 3, 4, 5, 7, 8};
        beside = beside << 1 |
                 (i < 8 ? dark(&code, at[i], 8) : dark(&code, 8, i == 8 ? 7 : 14 - i));
        below = below << 1 | (i < 8 ? dark(&code, 8, code.side - 1 - i)
                                    : dark(&code, code.side - 15 + i, 8));
    }
    assert_int_equal(beside, below);
    unsigned rest = beside ^ 0x5412u;
    assert_int_equal(rest >> 10, 3 << 3 | code.mask); /* Q is 11 */
    for (int i = 14; i >= 10; i--)
        if (rest >> i & 1) rest ^= 0x537u << (i - 10);
    assert_int_equal(rest, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qr_check_codewords_are_those_of_the_standard),
        cmocka_unit_test(qr_make_takes_the_smallest_version_and_strongest_level),
        cmocka_unit_test(qr_make_lays_each_codeword_once),
        cmocka_unit_test(qr_make_says_level_and_mask_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
