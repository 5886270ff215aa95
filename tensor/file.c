/* SPDX-License-Identifier: MIT */
/* file.c: opening a file to read, and drafts: files that come into being whole or not at
 * all. It stands at the bottom because both nn/ and data/ write files.
 * Read next: data/file.c, nn/safetensors.c. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tensor_internal.h"

static ht_status file_examine(ht_context *ctx, const char *path, int descriptor,
                              int64_t *bytes)
{
    struct stat about;
    if (fstat(descriptor, &about) != 0)
        return ht_context_fail(ctx, HT_ERROR_FILE, NULL, "%s: cannot be examined: %s",
                               path, strerror(errno));
    if (!S_ISREG(about.st_mode))
        return ht_context_fail(ctx, HT_ERROR_FILE, NULL,
                               "%s: expected a regular file, got a folder, a pipe or "
                               "a device\n"
                               "  hint: name the file itself",
                               path);
    *bytes = about.st_size;
    if (*bytes == 0)
        return ht_context_fail(ctx, HT_ERROR_FORMAT, NULL,
                               "%s: offset 0: expected data, got an empty file\n"
                               "  hint: was a download or a copy cut short?",
                               path);
    return HT_OK;
}

static void file_fail_opening(ht_context *ctx, const char *path)
{
    ht_context_fail(ctx, HT_ERROR_FILE, NULL,
                    "%s: cannot be opened for reading: %s\n"
                    "  hint: is the path right, seen from the current folder?",
                    path, strerror(errno));
}

/* Opening a pipe would wait for someone to write into it; O_NONBLOCK does not wait, and
 * means nothing to a regular file, the only kind that is kept open. */
FILE *hti_file_open(ht_context *ctx, const char *path, int64_t *bytes)
{
    int descriptor = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0) {
        file_fail_opening(ctx, path);
        return NULL;
    }
    FILE *file = NULL;
    if (!file_examine(ctx, path, descriptor, bytes)) {
        file = fdopen(descriptor, "rb");
        if (!file) file_fail_opening(ctx, path);
    }
    if (!file) close(descriptor);
    return file;
}

static void draft_fail(hti_draft *draft, const char *what)
{
    draft->status = ht_context_fail(draft->ctx, HT_ERROR_FILE, NULL,
                                    "%s: %s: %s\n"
                                    "  hint: does the folder exist, may you write in it, "
                                    "and is there room?",
                                    draft->path, what, strerror(errno));
}

/* A link stays: what it leads to is written, be it there already or not. */
static bool draft_follow(hti_draft *draft)
{
    char link[HTI_MOST_PATH];
    errno = ENAMETOOLONG;
    size_t bytes = strlen(draft->path) + 1;
    if (bytes > sizeof draft->target) return false;
    memcpy(draft->target, draft->path, bytes);
    for (int links = 0; links < 40; links++) {
        ssize_t n = readlink(draft->target, link, sizeof link);
        if (n < 0) return true;
        const char *slash = *link == '/' ? NULL : strrchr(draft->target, '/');
        size_t folder = slash ? (size_t)(slash + 1 - draft->target) : 0;
        errno = ENAMETOOLONG;
        if (folder + (size_t)n >= sizeof draft->target) return false;
        memcpy(draft->target + folder, link, (size_t)n);
        draft->target[folder + (size_t)n] = 0;
    }
    errno = ELOOP;
    return false;
}

/* The temporary lies beside the target, so that the rename stays within one file system.
 * An exclusive open never touches a file that someone else is writing. */
static void draft_create(hti_draft *draft)
{
    struct stat about;
    if (stat(draft->target, &about) == 0 && !S_ISREG(about.st_mode)) {
        errno = S_ISDIR(about.st_mode) ? EISDIR : EEXIST;
        draft_fail(draft, "cannot be written: expected a regular file or none");
        return;
    }
    for (int attempt = 0; attempt < 100; attempt++) {
        snprintf(draft->temporary, sizeof draft->temporary, "%s.part%d", draft->target,
                 attempt);
        draft->file = fopen(draft->temporary, "wbx");
        if (draft->file || errno != EEXIST) break;
    }
    if (!draft->file) draft_fail(draft, "cannot be created");
}

void hti_draft_open(hti_draft *draft, ht_context *ctx, const char *path)
{
    *draft = (hti_draft){.ctx = ctx, .path = path};
    if (draft_follow(draft))
        draft_create(draft);
    else
        draft_fail(draft, "cannot be followed to a file");
}

void hti_draft_write(hti_draft *draft, const void *from, size_t n)
{
    if (draft->status || n == 0) return;
    if (fwrite(from, 1, n, draft->file) != n) draft_fail(draft, "cannot be written");
}

/* Bytes reach the disk before the name does: a crash in between leaves the old file. */
static void draft_commit(hti_draft *draft)
{
    if (!draft->status && (fflush(draft->file) != 0 || fsync(fileno(draft->file)) != 0))
        draft_fail(draft, "cannot be written");
    if (fclose(draft->file) != 0 && !draft->status)
        draft_fail(draft, "cannot be written");
    if (!draft->status && rename(draft->temporary, draft->target) != 0)
        draft_fail(draft, "cannot be given its name");
    if (draft->status) remove(draft->temporary);
}

ht_status hti_draft_close(hti_draft *draft)
{
    if (draft->file) draft_commit(draft);
    ht_status status = draft->status;
    *draft = (hti_draft){.status = status};
    return status;
}
