/* SPDX-License-Identifier: MIT */
/* file.c: bytes in and bytes out, plain or gzip.
 *
 * zlib's own gzFile would be shorter, but it allocates behind the context's back and
 * cannot tell a truncated file from a short one. Read next: core/file.c, idx.c. */
#include "data_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

enum { FILE_BUFFER = 1 << 16, FILE_LEVEL = 9 };

/* zlib and stb free without a size: a block remembers its own. */
typedef union file_block {
    size_t bytes;
    max_align_t align;
} file_block;

void *hti_block_alloc(void *ctx, unsigned count, unsigned size)
{
    size_t bytes = (size_t)count * size + sizeof(file_block);
    file_block *block = hti_resize(ctx, NULL, 0, bytes);
    if (!block) return NULL;
    block->bytes = bytes;
    return block + 1;
}

void hti_block_free(void *ctx, void *data)
{
    file_block *block = (file_block *)data - 1;
    hti_resize(ctx, block, block->bytes, 0);
}

z_stream hti_zlib_stream(ht_context *ctx)
{
    return (z_stream){.zalloc = hti_block_alloc, .zfree = hti_block_free, .opaque = ctx};
}

static ht_status input_begin_gzip(hti_input *in)
{
    in->buffer = hti_resize(in->ctx, NULL, 0, FILE_BUFFER);
    if (!in->buffer) return HT_ERROR_MEMORY;
    in->z = hti_zlib_stream(in->ctx);
    return inflateInit2(&in->z, HTI_GZIP_WINDOW) == Z_OK ? HT_OK : HT_ERROR_MEMORY;
}

ht_status hti_input_open_plain(hti_input *in, ht_context *ctx, const char *path)
{
    *in = (hti_input){.ctx = ctx, .path = path};
    in->file = hti_file_open(ctx, path, &in->file_bytes);
    return in->file ? HT_OK : ht_context_status(ctx);
}

ht_status hti_input_open_memory(hti_input *in, ht_context *ctx, const char *path,
                                void *bytes, size_t n)
{
    *in = (hti_input){.ctx = ctx, .path = path, .file_bytes = (int64_t)n};
    in->file = fmemopen(bytes, n, "rb");
    if (in->file) return HT_OK;
    return ht_context_fail(ctx, HT_ERROR_MEMORY, NULL, "%s: no memory to look at it",
                           path);
}

/* Plain or gzip is decided by the first two bytes, whatever the name says. */
ht_status hti_input_open(hti_input *in, ht_context *ctx, const char *path)
{
    unsigned char magic[2] = {0};
    ht_status status = hti_input_open_plain(in, ctx, path);
    if (status) return status;
    in->gzip = fread(magic, 1, 2, in->file) == 2 && magic[0] == 0x1f && magic[1] == 0x8b;
    rewind(in->file);
    if (in->gzip) status = input_begin_gzip(in);
    if (status) hti_input_close(in);
    return status;
}

void hti_input_close(hti_input *in)
{
    if (in->z.state) inflateEnd(&in->z);
    if (in->buffer) hti_resize(in->ctx, in->buffer, FILE_BUFFER, 0);
    if (in->file) fclose(in->file);
    *in = (hti_input){0};
}

ht_status hti_input_fail(const hti_input *in, int64_t offset, const char *format, ...)
{
    char text[HTI_MESSAGE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return ht_context_fail(in->ctx, HT_ERROR_FORMAT, NULL, "%s: offset %lld: %s",
                           in->path, (long long)offset, text);
}

/* No more content than this can come out: exact for plain files, deflate's best ratio for
 * gzip. */
static int64_t input_most_bytes(const hti_input *in)
{
    if (!in->gzip) return in->file_bytes;
    return in->file_bytes < INT64_MAX / HTI_DEFLATE_RATIO
               ? in->file_bytes * HTI_DEFLATE_RATIO
               : INT64_MAX;
}

static ht_status input_fail_reading(const hti_input *in)
{
    return ht_context_fail(in->ctx, HT_ERROR_FILE, NULL, "%s: cannot be read: %s",
                           in->path, strerror(errno));
}

/* Refills the compressed bytes. None left is fine only after a member's end. */
static ht_status input_refill(hti_input *in)
{
    in->z.next_in = in->buffer;
    in->z.avail_in = (unsigned)fread(in->buffer, 1, FILE_BUFFER, in->file);
    if (in->z.avail_in > 0 || in->member_ended) return HT_OK;
    if (ferror(in->file)) return input_fail_reading(in);
    return hti_input_fail(in, in->file_bytes,
                          "truncated gzip: expected more compressed data, got the end of "
                          "the file\n"
                          "  hint: the file is incomplete; fetch or copy it again");
}

static ht_status input_fail_inflating(const hti_input *in, int code)
{
    if (code == Z_MEM_ERROR) return HT_ERROR_MEMORY;
    return hti_input_fail(
        in, ftell(in->file) - in->z.avail_in,
        "damaged gzip: %s\n"
        "  hint: the file is not what was written; fetch or copy it again",
        in->z.msg ? in->z.msg : "expected a gzip stream");
}

/* After a member: another, or zeros to the end of the file, as tapes and blocks of disks
 * leave them and gzip itself takes them. */
static ht_status input_begin_member(hti_input *in)
{
    z_stream *z = &in->z;
    for (; z->avail_in > 0 && *z->next_in == 0; z->avail_in--, z->next_in++)
        in->padded = true;
    if (z->avail_in == 0) return HT_OK;
    if (!in->padded && *z->next_in == 0x1f) {
        in->member_ended = false;
        inflateReset(z);
        return HT_OK;
    }
    return hti_input_fail(
        in, ftell(in->file) - z->avail_in,
        "damaged gzip: incorrect header: expected %s after the last member, got byte "
        "0x%02x\n"
        "  hint: something was appended to the file; fetch or copy it again",
        in->padded ? "zeros to the end" : "another, zeros or the end", *z->next_in);
}

/* A gzip may be several members in a row: their contents follow each other. */
static ht_status input_read_gzip(hti_input *in, unsigned char *to, size_t n, size_t *got)
{
    z_stream *z = &in->z;
    for (*got = 0; *got < n;) {
        ht_status status = z->avail_in == 0 ? input_refill(in) : HT_OK;
        if (status) return status;
        if (z->avail_in == 0) return HT_OK;
        if (in->member_ended) status = input_begin_member(in);
        if (status) return status;
        if (in->member_ended) continue;
        size_t wanted = n - *got < INT32_MAX ? n - *got : INT32_MAX;
        z->next_out = to + *got;
        z->avail_out = (unsigned)wanted;
        int code = inflate(z, Z_NO_FLUSH);
        *got += wanted - z->avail_out;
        in->member_ended = code == Z_STREAM_END;
        if (code != Z_OK && code != Z_STREAM_END) return input_fail_inflating(in, code);
    }
    return HT_OK;
}

ht_status hti_input_read(hti_input *in, void *to, size_t n, size_t *got)
{
    ht_status status = HT_OK;
    if (in->gzip)
        status = input_read_gzip(in, to, n, got);
    else
        *got = n > 0 ? fread(to, 1, n, in->file) : 0;
    in->at += (int64_t)*got;
    if (!in->gzip && *got < n && ferror(in->file)) status = input_fail_reading(in);
    return status;
}

ht_status hti_input_exactly(hti_input *in, void *to, size_t n)
{
    size_t got;
    int64_t at = in->at;
    ht_status status = hti_input_read(in, to, n, &got);
    if (status || got == n) return status;
    return hti_input_fail(in, at,
                          "expected %zu more bytes, got the end after %zu\n"
                          "  hint: the file is incomplete; fetch or copy it again",
                          n, got);
}

/* Asking for a byte that must not be there also makes gzip check its sum. */
ht_status hti_input_end(hti_input *in)
{
    size_t extra;
    unsigned char beyond;
    int64_t at = in->at;
    ht_status status = hti_input_read(in, &beyond, 1, &extra);
    if (status || extra == 0) return status;
    return hti_input_fail(
        in, at,
        "expected the end of the file, got trailing bytes, the first of "
        "them 0x%02x\n"
        "  hint: the header does not belong to this data, or two files "
        "were joined",
        beyond);
}

/* A file that cannot hold what its header promises is refused here, while the promise has
 * cost nothing. */
ht_status hti_input_check(const hti_input *in, ht_dtype dtype, ht_shape shape)
{
    int64_t most = input_most_bytes(in) - in->at;
    size_t promised = hti_bytes(dtype, shape);
    if (most >= 0 && promised <= (uint64_t)most) return HT_OK;
    char text[HT_SHAPE_TEXT], bytes[32] = "too many";
    if (promised < SIZE_MAX) snprintf(bytes, sizeof bytes, "%zu", promised);
    return hti_input_fail(
        in, in->at,
        "the header promises %s %s, %s bytes; a file of %lld bytes holds at most %lld\n"
        "  hint: the file is incomplete or damaged; fetch or copy it again",
        ht_dtype_name(dtype), ht_shape_text(shape, text), bytes,
        (long long)in->file_bytes, (long long)(most < 0 ? 0 : most));
}

ht_tensor *hti_input_tensor(hti_input *in, ht_dtype dtype, ht_shape shape)
{
    if (hti_input_check(in, dtype, shape)) return NULL;
    ht_tensor *x = ht_tensor_new(in->ctx, dtype, shape);
    if (x && !hti_input_exactly(in, ht_tensor_data(x), ht_tensor_bytes(x)) &&
        !hti_input_end(in))
        return x;
    ht_tensor_free(x);
    return NULL;
}

void hti_output_open(hti_output *out, ht_context *ctx, const char *path)
{
    *out = (hti_output){.z = hti_zlib_stream(ctx)};
    hti_draft_open(&out->draft, ctx, path);
}

static void output_empty(hti_output *out)
{
    out->z.next_out = out->buffer;
    out->z.avail_out = FILE_BUFFER;
}

void hti_output_deflate(hti_output *out, int window, int memory, hti_put_fn *put)
{
    if (out->draft.status) return;
    out->buffer = hti_resize(out->draft.ctx, NULL, 0, FILE_BUFFER);
    if (!out->buffer || deflateInit2(&out->z, FILE_LEVEL, Z_DEFLATED, window, memory,
                                     Z_DEFAULT_STRATEGY) != Z_OK)
        out->draft.status = HT_ERROR_MEMORY;
    out->put = put;
    output_empty(out);
}

/* Puts a full buffer at a time; with Z_FINISH, and nothing more to come, the rest. */
static void output_put(hti_output *out, const void *from, unsigned n, int flush)
{
    z_stream *z = &out->z;
    z->next_in = (unsigned char *)(uintptr_t)from; /* zlib only reads it */
    z->avail_in = n;
    bool more = true;
    while (more && !out->draft.status) {
        bool ended = deflate(z, flush) == Z_STREAM_END;
        more = z->avail_in > 0 || (flush == Z_FINISH && !ended);
        if (z->avail_out > 0 && !ended) continue;
        out->put(&out->draft, out->buffer, FILE_BUFFER - z->avail_out);
        output_empty(out);
    }
}

void hti_output_write(hti_output *out, const void *from, size_t n)
{
    const unsigned char *bytes = from;
    if (!out->put) hti_draft_write(&out->draft, from, n);
    while (out->put && !out->draft.status && n > 0) {
        unsigned piece = n < INT32_MAX ? (unsigned)n : INT32_MAX;
        output_put(out, bytes, piece, Z_NO_FLUSH);
        bytes += piece;
        n -= piece;
    }
}

void hti_output_end_deflate(hti_output *out)
{
    if (out->put && !out->draft.status) output_put(out, NULL, 0, Z_FINISH);
    if (out->z.state) deflateEnd(&out->z);
    if (out->buffer)
        out->buffer = hti_resize(out->draft.ctx, out->buffer, FILE_BUFFER, 0);
    out->put = NULL;
}

ht_status hti_output_close(hti_output *out)
{
    hti_output_end_deflate(out);
    return hti_draft_close(&out->draft);
}
