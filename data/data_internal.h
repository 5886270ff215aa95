/* SPDX-License-Identifier: MIT */
/* data_internal.h: what the files of data/ share: bytes in (plain or gzip), bytes out
 * (whole file or nothing), memory for libraries that free without a size, and random
 * order. Read next: file.c, split.c. */
#ifndef HTI_DATA_INTERNAL_H
#define HTI_DATA_INTERNAL_H

#include <zlib.h>

#include "ht_data.h"
#include "tensor_internal.h"

enum {
    HTI_DEFLATE_RATIO = 1032,  /* the most deflate can do (zlib's algorithm.txt) */
    HTI_GZIP_WINDOW = 15 + 16, /* 32 KiB, and zlib's way of saying "with a gzip header" */
    HTI_PNG_SIDE = 1 << 20     /* the most pixels of a side, read or written */
};

/* Four bytes, the highest first. */
static inline uint32_t hti_big_endian(const unsigned char *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}
static inline void hti_put_big_endian(unsigned char *to, size_t value)
{
    for (int i = 0; i < 4; i++) to[i] = (unsigned char)(value >> (24 - 8 * i) & 0xff);
}

/* Memory of a context for libraries that free without a size. */
void *hti_block_alloc(void *ctx, unsigned count, unsigned size);
void hti_block_free(void *ctx, void *block);
/* A stream whose memory comes from the context, which keeps the error if there is none.
 */
z_stream hti_zlib_stream(ht_context *ctx);

/* The bytes of a file, decompressed if it is a gzip. */
typedef struct hti_input {
    ht_context *ctx;
    const char *path; /* borrowed until close */
    FILE *file;
    int64_t file_bytes;
    int64_t at; /* bytes of content read so far */
    bool gzip;
    bool member_ended; /* gzip: the checksum was met and right */
    bool padded;       /* gzip: zeros have been met after it */
    z_stream z;
    unsigned char *buffer; /* gzip: compressed bytes */
} hti_input;

/* After an error there is nothing to close. Plain: a gzip is not looked for. */
ht_status hti_input_open(hti_input *in, ht_context *ctx, const char *path);
ht_status hti_input_open_plain(hti_input *in, ht_context *ctx, const char *path);
/* n bytes, borrowed until close, as a plain file of that name. */
ht_status hti_input_open_memory(hti_input *in, ht_context *ctx, const char *path,
                                void *bytes, size_t n);
/* The next n bytes, or an error that says where they end. */
ht_status hti_input_exactly(hti_input *in, void *to, size_t n);
/* The end of the content, or an error. Of a gzip this looks at its checksum. */
ht_status hti_input_end(hti_input *in);
/* An error if what is left can't be as much as this. */
ht_status hti_input_check(const hti_input *in, ht_dtype dtype, ht_shape shape);
/* All that is left, as a tensor: memory is asked for if the file can hold as much, and
 * the content must end with it. Owned; NULL after an error. */
ht_tensor *hti_input_tensor(hti_input *in, ht_dtype dtype, ht_shape shape);
void hti_input_close(hti_input *in);
/* HT_ERROR_FORMAT, of the path and an offset: what was expected and found, and a hint. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
ht_status
hti_input_fail(const hti_input *in, int64_t offset, const char *format, ...);

/* Up to n bytes; *got < n: the content ends there. */
ht_status hti_input_read(hti_input *in, void *to, size_t n, size_t *got);

/* names.c: names on a context, owned each and together. */
enum { HTI_MOST_NAMES = 1 << 16, HTI_SHOWN = 48, HTI_NAMES_TEXT = 256 };
typedef struct hti_names {
    ht_context *ctx;
    char **name;
    int n;
} hti_names;
/* Before the name that is at that place, or behind the last. */
ht_status hti_names_insert(hti_names *names, int at, const char *name);
/* Of names in order (strcmp): whether it is there; its place, or the one to insert it at.
 */
bool hti_names_find(const hti_names *names, const char *name, int *at);
void hti_names_free(ht_context *ctx, char **name, int n);
/* Text of a file as it may stand in a message: cut, without control characters. */
const char *hti_shown(const char *text, char shown[HTI_SHOWN]);
/* "\"a\", \"b\" and 7 more". */
const char *hti_names_text(char *const *name, int n, char text[HTI_NAMES_TEXT]);

/* image.c: whether a folder has a file of that name, whose path it is given; the error
 * that it has not what is wanted, a part of what ./dev data fetches as `set`. */
bool hti_image_file(const char *folder, const char *name, char path[HTI_MOST_PATH]);
ht_status hti_image_missing(ht_context *ctx, const char *folder, const char *wanted,
                            const char *set);

/* cifar_batches.c: whether the folder has such; then they are read into *out. */
bool hti_cifar_batches(ht_context *ctx, const char *folder, bool test, ht_images *out,
                       ht_status *status);

/* picture.c: whether the options make sense, to `who`. */
ht_status hti_image_check(ht_context *ctx, const char *who, const ht_image_options *o);

/* The shape that ht_png_read would give, by the file's header and size alone. */
ht_status hti_png_examine(ht_context *ctx, const char *path, ht_shape *shape);

/* A draft, of which a part is compressed: hti_draft's rules hold. */
typedef void hti_put_fn(hti_draft *draft, const void *from, size_t n);
typedef struct hti_output {
    hti_draft draft;
    hti_put_fn *put; /* takes what is compressed; NULL: nothing is, now */
    z_stream z;
    unsigned char *buffer;
} hti_output;

void hti_output_open(hti_output *out, ht_context *ctx, const char *path);
void hti_output_write(hti_output *out, const void *from, size_t n);
/* From here on what is written is compressed, until the end of that or of the file.
 * window, memory: zlib's windowBits and memLevel. */
void hti_output_deflate(hti_output *out, int window, int memory, hti_put_fn *put);
void hti_output_end_deflate(hti_output *out);
/* Gives the file its name, or removes it if anything failed. */
ht_status hti_output_close(hti_output *out);

/* A random order of 0 .. n-1, evaluated where it is asked. */
typedef struct hti_order {
    uint64_t seed, stream, rounds;
    int64_t n, width, height; /* width * height >= n, as near to square as may be */
} hti_order;

hti_order hti_order_new(uint64_t seed, uint64_t stream, int64_t n);
int64_t hti_order_at(const hti_order *order, int64_t i);
/* The order draws indices below this from its stream; from here on they are free. */
#define HTI_ORDER_INDICES ((uint64_t)1 << 63)

#endif
