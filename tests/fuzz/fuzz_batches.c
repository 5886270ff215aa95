/* SPDX-License-Identifier: MIT */
/* fuzz_batches.c: CIFAR's binary batches. The first byte says which set; the others are
 * labels, of whole records or not, and the pixels between them are made up. What loads
 * has the labels, all of them classes. Read next: data/cifar_batches.c. */
#include "file.h"

enum { PIXELS = 3072, RECORDS = 20 };

static uint8_t file[RECORDS * (PIXELS + 2)];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || size > FUZZ_MOST) return 0;
    bool hundred = data[0] & 1, whole = data[1] < 200;
    size_t labels = hundred ? 2 : 1, n = (size - 2) / labels, used = 0;
    if (n > RECORDS) n = RECORDS;
    char path[FUZZ_PATH];
    bool right = whole && n > 0;
    for (size_t i = 0; i < n; i++) {
        memcpy(file + used, data + 2 + i * labels, labels);
        right = right && file[used + labels - 1] < (hundred ? 100 : 10);
        memset(file + used + labels, (int)i, PIXELS);
        used += labels + PIXELS;
    }
    if (!whole && used > 0) used -= 1 + data[1] % 50u;
    if (used == 0) return 0;
    const char *name = hundred ? "test.bin" : "test_batch.bin";
    fuzz_write(name, path, file, used);
    ht_context *ctx = fuzz_context(used + 5 * RECORDS + 4000);
    ht_images set;
    bool loaded = !ht_cifar_read(ctx, fuzz_folder, true, &set);
    fuzz_check_read(ctx, path, loaded);
    FUZZ_REQUIRE(loaded == right, "%s", ht_context_message(ctx));
    ht_context_clear(ctx);
    for (size_t i = 0; loaded && i < n; i++)
        FUZZ_REQUIRE(ht_tensor_get(set.labels, (int64_t)i) ==
                         data[2 + i * labels + labels - 1],
                     "label %zu", i);
    ht_images_free(&set);
    remove(path);
    fuzz_end(ctx);
    return 0;
}

/* Good labels of 1 to 20 images. */
size_t fuzz_example(uint64_t number, uint8_t *to, size_t most)
{
    size_t n = 2 + (size_t)(1 + number % RECORDS) * (1 + number / RECORDS % 2);
    if (number >= 2 * RECORDS || n > most) return 0;
    for (size_t i = 0; i < n; i++) to[i] = (uint8_t)(fuzz_mix(number + i) % 10);
    to[0] = (uint8_t)(number / RECORDS % 2);
    return n;
}

void fuzz_figures(FILE *f)
{
    fuzz_met_figures(f);
}
