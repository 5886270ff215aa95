/* SPDX-License-Identifier: MIT */
/* fuzz_template.c: the template of a reader, as a target to copy: the bytes are a file,
 * which is read or refused within the memory it may ask for. Read next:
 * data/template_reader.c. */
#include "file.h"

#include "template_reader.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > FUZZ_MOST) return 0;
    char path[FUZZ_PATH];
    fuzz_write("x", path, data, size);
    /* A gzip of n bytes holds at most 1032 n, and zlib takes its own. */
    ht_context *ctx = fuzz_context(1032 * size + 200000);
    ht_tensor *x = counted_read(ctx, path);
    fuzz_check_read(ctx, path, x != NULL);
    ht_context_clear(ctx);
    ht_tensor_free(x);
    fuzz_end(ctx);
    return 0;
}

/* Good files of 0 to 15 elements. */
size_t fuzz_example(uint64_t number, uint8_t *to, size_t most)
{
    uint8_t n = (uint8_t)(number % 16);
    if (most < 8u + n) return 0;
    memcpy(to, (uint8_t[8]){'C', 'N', 'T', '1', n}, 8);
    for (uint8_t i = 0; i < n; i++) to[8 + i] = (uint8_t)fuzz_mix(number + i);
    return 8u + n;
}

void fuzz_figures(FILE *f)
{
    fuzz_met_figures(f);
}
