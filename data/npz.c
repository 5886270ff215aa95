/* SPDX-License-Identifier: MIT */
/* npz.c: sets as numpy.savez writes them: a zip (PKWARE, APPNOTE.TXT) of one .npy file a
 * tensor, stored or deflated.
 *
 * The directory at the archive's end is believed, and held against its size; of what
 * stands before each member only the length matters. Read next: npy.c. */
#include <string.h>

#include "json.h"
#include "npy.h"
#include "set.h"

enum {
    NPZ_LOCAL = 30,   /* bytes before a member's name */
    NPZ_CENTRAL = 46, /* of its entry in the directory, without the name */
    NPZ_END = 22,     /* of what says where the directory is */
    NPZ_COMMENT = 65535,
    NPZ_RAW = -15, /* zlib's way of saying "no header" */
    NPZ_PIECE = 1 << 16,
    NPZ_SUFFIX = 4 /* ".npy" */
};
#define NPZ_MOST ((int64_t)UINT32_MAX - 1) /* bytes and offsets: more is zip64 */

typedef struct npz_member {
    char *name; /* with its suffix, as it stands in the archive; zero behind it */
    uint32_t method, flags, sum;
    int64_t packed, bytes, at; /* at: of its local header */
} npz_member;

typedef struct npz_file {
    hti_input in;
    char *directory;
    int64_t directory_bytes, directory_at;
    int n;          /* members */
    int64_t packed; /* bytes of those met so far */
    ht_set *set;
} npz_file;

static uint32_t npz_little(const void *from, int bytes)
{
    const unsigned char *b = from;
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint32_t)b[i] << (8 * i);
    return value;
}

static ht_status npz_fail(const npz_file *npz, int64_t offset, const char *expected,
                          const char *got)
{
    return hti_input_fail(&npz->in, offset,
                          "expected %s, got %s\n"
                          "  hint: what numpy.savez or savez_compressed writes is wanted "
                          "here, whole; fetch, copy or write it again",
                          expected, got);
}

/* The next n bytes from an offset on. */
static ht_status npz_read_at(npz_file *npz, int64_t offset, void *to, int64_t n)
{
    char got[64];
    snprintf(got, sizeof got, "a file of %lld bytes", (long long)npz->in.file_bytes);
    if (offset + n > npz->in.file_bytes)
        return npz_fail(npz, offset, "a part of the archive", got);
    npz->in.at = offset;
    fseeko(npz->in.file, offset, SEEK_SET);
    return hti_input_exactly(&npz->in, to, (size_t)n);
}

/* Directory. */

/* Where the directory is, by the record whose comment ends with the file. */
static ht_status npz_take_end(npz_file *npz, const char *end, int64_t at)
{
    npz->n = (int)npz_little(end + 10, 2);
    npz->directory_bytes = npz_little(end + 12, 4);
    npz->directory_at = npz_little(end + 16, 4);
    if (npz_little(end + 4, 4) != 0 || npz_little(end + 8, 2) != (uint32_t)npz->n)
        return npz_fail(npz, at + 4, "an archive of one part", "a part of several");
    if (npz->n == 0xffff || npz->directory_at > NPZ_MOST)
        return npz_fail(npz, at + 10, "an archive below 4 GiB and 65,535 arrays",
                        "zip64");
    if (npz->directory_at + npz->directory_bytes != at)
        return npz_fail(npz, at + 12, "a directory that ends here", "another place");
    return HT_OK;
}

static ht_status npz_find_end(npz_file *npz)
{
    int64_t size = npz->in.file_bytes, n = hti_least(size, NPZ_END + NPZ_COMMENT);
    char *tail = hti_zalloc(npz->in.ctx, (size_t)n, 1);
    if (!tail) return HT_ERROR_MEMORY;
    ht_status status = npz_read_at(npz, size - n, tail, n);
    int64_t at = n - NPZ_END;
    while (at >= 0 && (memcmp(tail + at, "PK\5\6", 4) != 0 ||
                       npz_little(tail + at + 20, 2) != n - NPZ_END - at))
        at--;
    if (!status && at < 0)
        status = npz_fail(npz, size, "the end of a zip archive", "none");
    else if (!status)
        status = npz_take_end(npz, tail + at, size - n + at);
    hti_resize(npz->in.ctx, tail, (size_t)n, 0);
    return status;
}

static ht_status npz_open(npz_file *npz, ht_context *ctx, const char *path)
{
    *npz = (npz_file){.n = 0};
    ht_status status = hti_input_open_plain(&npz->in, ctx, path);
    if (!status) status = npz_find_end(npz);
    if (status) return status;
    npz->directory = hti_zalloc(ctx, (size_t)npz->directory_bytes + 1, 1);
    if (!npz->directory) return HT_ERROR_MEMORY;
    return npz_read_at(npz, npz->directory_at, npz->directory, npz->directory_bytes);
}

static void npz_close(npz_file *npz)
{
    if (npz->directory)
        hti_resize(npz->in.ctx, npz->directory, (size_t)npz->directory_bytes + 1, 0);
    hti_input_close(&npz->in);
}

/* Whether a member can be what it says. */
static ht_status npz_check_member(npz_file *npz, const npz_member *m, int64_t offset)
{
    char got[64];
    size_t name = strlen(m->name);
    int64_t most = m->method ? m->packed * HTI_DEFLATE_RATIO : m->packed;
    npz->packed += m->packed;
    snprintf(got, sizeof got, "compression %u%s", m->method,
             m->flags & 1 ? ", encrypted" : "");
    if ((m->method != 0 && m->method != Z_DEFLATED) || m->flags & 1)
        return npz_fail(npz, offset, "a member stored or deflated", got);
    if (name <= NPZ_SUFFIX || strcmp(m->name + name - NPZ_SUFFIX, ".npy") != 0)
        return npz_fail(npz, offset, "members that are .npy", hti_shown(m->name, got));
    if (m->packed > NPZ_MOST || m->bytes > NPZ_MOST || m->at > NPZ_MOST)
        return npz_fail(npz, offset, "a member below 4 GiB", "zip64");
    if (npz->packed > npz->in.file_bytes)
        return npz_fail(npz, offset, "members beside each other", "some that overlap");
    snprintf(got, sizeof got, "%lld of %lld", (long long)m->bytes, (long long)m->packed);
    if (m->bytes > most || m->bytes == 0)
        return npz_fail(npz, offset, "as many bytes as deflate can make", got);
    return HT_OK;
}

/* The entry at *at, which moves on to the next. */
static ht_status npz_take_entry(npz_file *npz, int64_t *at, npz_member *m)
{
    char *entry = npz->directory + *at;
    int64_t left = npz->directory_bytes - *at, offset = npz->directory_at + *at;
    if (left < NPZ_CENTRAL || memcmp(entry, "PK\1\2", 4) != 0)
        return npz_fail(npz, offset, "an entry of the directory", "other bytes");
    int64_t name = npz_little(entry + 28, 2);
    int64_t n =
        NPZ_CENTRAL + name + npz_little(entry + 30, 2) + npz_little(entry + 32, 2);
    if (n > left || memchr(entry + NPZ_CENTRAL, 0, (size_t)name))
        return npz_fail(npz, offset, "an entry of the directory", "one that is damaged");
    *m = (npz_member){.flags = npz_little(entry + 8, 2),
                      .method = npz_little(entry + 10, 2),
                      .sum = npz_little(entry + 16, 4),
                      .packed = npz_little(entry + 20, 4),
                      .bytes = npz_little(entry + 24, 4),
                      .at = npz_little(entry + 42, 4),
                      .name = entry + NPZ_CENTRAL};
    memmove(entry, m->name, (size_t)name); /* makes room for a zero behind it */
    m->name = entry;
    entry[name] = 0;
    *at += n;
    return npz_check_member(npz, m, offset);
}

/* Members. */

/* Inflates to[0 .. bytes - 1] of what follows in the file. */
static ht_status npz_inflate(npz_file *npz, const npz_member *m, unsigned char *to)
{
    unsigned char *piece = hti_resize(npz->in.ctx, NULL, 0, NPZ_PIECE);
    z_stream z = hti_zlib_stream(npz->in.ctx);
    if (!piece) return HT_ERROR_MEMORY;
    ht_status status = inflateInit2(&z, NPZ_RAW) == Z_OK ? HT_OK : HT_ERROR_MEMORY;
    int64_t left = m->packed;
    int code = Z_OK;
    z.next_out = to;
    z.avail_out = (unsigned)m->bytes;
    while (!status && code == Z_OK && left > 0) {
        int64_t n = hti_least(left, NPZ_PIECE);
        status = hti_input_exactly(&npz->in, piece, (size_t)n);
        left -= n;
        z.next_in = piece;
        z.avail_in = (unsigned)n;
        if (!status) code = inflate(&z, Z_NO_FLUSH);
    }
    if (!status && code == Z_MEM_ERROR) status = HT_ERROR_MEMORY;
    if (!status && (code != Z_STREAM_END || left > 0 || z.avail_in || z.avail_out))
        status = npz_fail(npz, m->at, "as many bytes as the directory says",
                          z.msg ? z.msg : "another number");
    if (z.state) inflateEnd(&z);
    hti_resize(npz->in.ctx, piece, NPZ_PIECE, 0);
    return status;
}

/* The member's bytes, their checksum right. */
static ht_status npz_unpack(npz_file *npz, const npz_member *m, unsigned char *to)
{
    char local[NPZ_LOCAL];
    ht_status status = npz_read_at(npz, m->at, local, sizeof local);
    if (status) return status;
    if (memcmp(local, "PK\3\4", 4) != 0)
        return npz_fail(npz, m->at, "a member of the archive", "other bytes");
    int64_t at =
        m->at + NPZ_LOCAL + npz_little(local + 26, 2) + npz_little(local + 28, 2);
    status = npz_read_at(npz, at, to, 0);
    if (!status)
        status = m->method ? npz_inflate(npz, m, to)
                           : hti_input_exactly(&npz->in, to, (size_t)m->bytes);
    if (!status && crc32(0, to, (unsigned)m->bytes) != m->sum)
        status = npz_fail(npz, m->at, "the checksum of the member's bytes", "another");
    return status;
}

/* An .npy in memory, as a tensor of the set. */
static ht_status npz_add(npz_file *npz, npz_member *m, unsigned char *bytes)
{
    char path[HTI_MOST_PATH];
    hti_input in;
    hti_npy npy;
    snprintf(path, sizeof path, "%s: %s", npz->in.path, m->name);
    ht_status status =
        hti_input_open_memory(&in, npz->in.ctx, path, bytes, (size_t)m->bytes);
    if (status) return status;
    status = hti_npy_read_header(&in, &npy);
    m->name[strlen(m->name) - NPZ_SUFFIX] = 0;
    if (!status && ht_set_find(npz->set, m->name) >= 0)
        status = npz_fail(npz, m->at, "names that stand once", m->name);
    if (!status) {
        ht_tensor *x = ht_set_add_at(npz->set, m->name, npy.dtype, npy.shape, NULL);
        status = x ? hti_npy_read_data(&in, &npy, x) : ht_context_status(in.ctx);
    }
    hti_input_close(&in);
    return status;
}

static ht_status npz_read_members(npz_file *npz)
{
    ht_status status = HT_OK;
    int64_t at = 0;
    for (int i = 0; i < npz->n && !status; i++) {
        npz_member m;
        status = npz_take_entry(npz, &at, &m);
        size_t n = status ? 0 : (size_t)m.bytes;
        unsigned char *bytes = status ? NULL : hti_resize(npz->in.ctx, NULL, 0, n);
        if (!status && !bytes) status = HT_ERROR_MEMORY;
        if (!status) status = npz_unpack(npz, &m, bytes);
        if (!status) status = npz_add(npz, &m, bytes);
        hti_resize(npz->in.ctx, bytes, n, 0);
    }
    if (!status && at != npz->directory_bytes)
        status =
            npz_fail(npz, npz->directory_at + at, "the end of the directory", "more");
    return status;
}

ht_set *ht_npz_read(ht_context *ctx, const char *path)
{
    HT_ASSERT(ctx && path, "ht_npz_read: context %p, path %p", (void *)ctx,
              (const void *)path);
    npz_file npz;
    ht_status status = npz_open(&npz, ctx, path);
    if (!status) npz.set = ht_set_new(ctx);
    if (npz.set && npz_read_members(&npz)) {
        ht_set_free(npz.set);
        npz.set = NULL;
    }
    npz_close(&npz);
    return npz.set;
}

/* Out. */

typedef struct npz_out {
    hti_draft draft;
    int64_t at;
} npz_out;

static void npz_put(npz_out *out, const void *from, size_t n)
{
    hti_draft_write(&out->draft, from, n);
    out->at += (int64_t)n;
}

/* Fields of `bytes` each, the lowest byte first. */
static size_t npz_put_fields(unsigned char *to, int n, const uint32_t fields[][2])
{
    size_t used = 0;
    for (int i = 0; i < n; i++)
        for (uint32_t byte = 0; byte < fields[i][0]; byte++)
            to[used++] = (unsigned char)(fields[i][1] >> 8 * byte & 255);
    return used;
}

/* What stands before a member, or (central) in the directory. Its time is 1980's first
 * second, so that the same set is the same file. */
static void npz_put_member(npz_out *out, const char *name, const ht_tensor *x,
                           bool central, int64_t at)
{
    enum { UTF8 = 1 << 11, VERSION = 20, DATE = 0x21 };
    char header[HTI_NPY_HEADER];
    unsigned char b[NPZ_CENTRAL];
    size_t n = hti_npy_put_header(x, header);
    uint32_t bytes = (uint32_t)(n + ht_tensor_bytes(x)), length = (uint32_t)strlen(name);
    uint32_t sum = (uint32_t)crc32(0, (const unsigned char *)header, (unsigned)n);
    if (ht_tensor_bytes(x) > 0)
        sum = (uint32_t)crc32_z(sum, ht_tensor_data(x), ht_tensor_bytes(x));
    const uint32_t both[][2] = {{2, VERSION}, {2, UTF8},  {2, 0},
                                {2, 0},       {2, DATE},  {4, sum},
                                {4, bytes},   {4, bytes}, {2, length + NPZ_SUFFIX},
                                {2, 0}};
    const uint32_t rest[][2] = {{2, 0}, {2, 0}, {2, 0}, {4, 0}, {4, (uint32_t)at}};
    npz_put(out, central ? "PK\1\2\24" : "PK\3\4", central ? 6 : 4);
    npz_put(out, b, npz_put_fields(b, 10, both));
    if (central) npz_put(out, b, npz_put_fields(b, 5, rest));
    npz_put(out, name, length);
    npz_put(out, ".npy", NPZ_SUFFIX);
    if (central) return;
    npz_put(out, header, n);
    npz_put(out, ht_tensor_data(x), ht_tensor_bytes(x));
}

/* Bytes of a member and what stands before it. */
static int64_t npz_member_bytes(const ht_set *set, int i)
{
    char header[HTI_NPY_HEADER];
    const ht_tensor *x = set->tensor[i];
    return NPZ_LOCAL + (int64_t)strlen(set->name[i]) + NPZ_SUFFIX +
           (int64_t)hti_npy_put_header(x, header) + (int64_t)ht_tensor_bytes(x);
}

static ht_status npz_check_set(const ht_set *set, const char *path)
{
    int64_t total = 0;
    for (int i = 0; i < set->n && total <= NPZ_MOST; i++)
        total += npz_member_bytes(set, i);
    if (total > NPZ_MOST || set->n >= 0xffff)
        return ht_context_fail(set->ctx, HT_ERROR_SHAPE, NULL,
                               "%s: cannot be written as .npz: expected less than 4 GiB "
                               "and 65,535 tensors, got more\n"
                               "  hint: ht_set_write (safetensors) takes any size",
                               path);
    for (int i = 0; i < set->n; i++) {
        int length = 1;
        const char *c = set->name[i];
        while (*c && length > 0) c += length = hti_utf8_length(c);
        if (length > 0 && strlen(set->name[i]) + NPZ_SUFFIX < 0xffff) continue;
        return ht_context_fail(set->ctx, HT_ERROR_ARGUMENT, NULL,
                               "%s: tensor %d: expected a name in UTF-8, below 65,531 "
                               "bytes, got another\n  hint: give it another name",
                               path, i);
    }
    return HT_OK;
}

ht_status ht_npz_write(const ht_set *set, const char *path)
{
    HT_ASSERT(set && path, "ht_npz_write: set %p, path %p", (const void *)set,
              (const void *)path);
    ht_status status = npz_check_set(set, path);
    if (status) return status;
    npz_out out = {.at = 0};
    hti_draft_open(&out.draft, set->ctx, path);
    for (int i = 0; i < set->n; i++)
        npz_put_member(&out, set->name[i], set->tensor[i], false, 0);
    int64_t begin = out.at, at = 0;
    for (int i = 0; i < set->n; at += npz_member_bytes(set, i++))
        npz_put_member(&out, set->name[i], set->tensor[i], true, at);
    unsigned char b[NPZ_END];
    uint32_t n = (uint32_t)set->n;
    const uint32_t end[][2] = {{2, 0},
                               {2, 0},
                               {2, n},
                               {2, n},
                               {4, (uint32_t)(out.at - begin)},
                               {4, (uint32_t)begin},
                               {2, 0}};
    npz_put(&out, "PK\5\6", 4);
    npz_put(&out, b, npz_put_fields(b, 7, end));
    return hti_draft_close(&out.draft);
}
