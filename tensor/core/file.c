/* SPDX-License-Identifier: MIT */
/* file.c: opening a file to read, and drafts: files that come into being whole or not at
 * all. It stands at the bottom because both nn/ and data/ write files.
 * Read next: data/file.c, data/safetensors.c. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tensor_internal.h"

const char *hti_hint_of_reading(int error)
{
    if (error == EACCES || error == EPERM)
        return "you may not read it, or not enter its folder: ls -ld shows who may, "
               "chmod "
               "u+rX allows you";
    if (error == ENOTDIR) return "a part of the path is a file, and was to be a folder";
    if (error == EMFILE || error == ENFILE) return "too many files are open: ulimit -n";
    return "is the path right, seen from the current folder?";
}

const char *hti_hint_of_writing(int error)
{
    if (error == ENOENT) return "does the folder exist? mkdir -p makes it";
    if (error == EACCES || error == EPERM || error == EROFS)
        return "may you write in the folder? ls -ld shows who may";
    if (error == ENOSPC) return "is there room? df shows how much";
    return "does the folder exist, may you write in it, and is there room?";
}

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
                    "  hint: %s",
                    path, strerror(errno), hti_hint_of_reading(errno));
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
    draft->status =
        ht_context_fail(draft->ctx, HT_ERROR_FILE, NULL,
                        "%s: %s: %s\n"
                        "  hint: %s",
                        draft->path, what, strerror(errno), hti_hint_of_writing(errno));
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

/* Temporaries.
 * A writer holds a lock on its temporary from just after it is made until it has its
 * name; the system lets go of it if the writer is killed. So a temporary that can be
 * locked, and still has its name then, is a dead writer's, and nobody else's to remove.
 * Where a file system knows no locks nothing is removed. */

/* A file's name has at most this many bytes (Linux, BSD, macOS). */
enum { DRAFT_NAME = 255, DRAFT_PLACES = 100, DRAFT_SUFFIX = sizeof ".ht-part99" - 1 };

/* A long name is cut, so that it has room for what marks it as a temporary. */
static void draft_name(hti_draft *draft, int place)
{
    const char *slash = strrchr(draft->target, '/');
    size_t folder = slash ? (size_t)(slash + 1 - draft->target) : 0;
    size_t name = strlen(draft->target + folder), most = DRAFT_NAME - DRAFT_SUFFIX;
    snprintf(draft->temporary, sizeof draft->temporary, "%.*s.ht-part%d",
             (int)(folder + (name <= DRAFT_NAME && name > most ? most : name)),
             draft->target, place);
}

static bool draft_is_named(int descriptor, const char *path)
{
    struct stat open_one, named;
    return fstat(descriptor, &open_one) == 0 && lstat(path, &named) == 0 &&
           S_ISREG(named.st_mode) && open_one.st_dev == named.st_dev &&
           open_one.st_ino == named.st_ino;
}

static void draft_sweep(const char *path)
{
    int left = open(path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    if (left < 0) return;
    if (flock(left, LOCK_EX | LOCK_NB) == 0 && draft_is_named(left, path)) unlink(path);
    close(left);
}

/* An exclusive open never touches a file that someone else is writing. Between it and
 * the lock the file looks dead: then it is given up. */
static int draft_take(const char *path, mode_t mode)
{
    int taken = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOCTTY | O_CLOEXEC, mode);
    if (taken < 0) return -1;
    bool locked = flock(taken, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
    if (locked && draft_is_named(taken, path)) return taken;
    close(taken);
    errno = EEXIST;
    return -1;
}

/* Takes the first free place, and clears all of what the dead have left. */
static void draft_take_place(hti_draft *draft, mode_t mode)
{
    char taken[sizeof draft->temporary] = "";
    int error = 0;
    for (int place = 0; place < DRAFT_PLACES; place++) {
        draft_name(draft, place);
        draft_sweep(draft->temporary);
        if (draft->lock >= 0 || (error && error != EEXIST)) continue;
        draft->lock = draft_take(draft->temporary, mode);
        error = draft->lock < 0 ? errno : 0;
        if (draft->lock >= 0) memcpy(taken, draft->temporary, sizeof taken);
    }
    if (draft->lock >= 0) memcpy(draft->temporary, taken, sizeof taken);
    errno = error;
}

static void draft_fail_creating(hti_draft *draft)
{
    if (errno != EEXIST) {
        draft_fail(draft, "cannot be created");
        return;
    }
    draft->status = ht_context_fail(
        draft->ctx, HT_ERROR_FILE, NULL,
        "%s: cannot be created: %s and the %d before it are in the way\n"
        "  hint: are that many programs writing the file? If not, remove them",
        draft->path, draft->temporary, DRAFT_PLACES - 1);
}

/* The temporary lies beside the target, so that the rename stays within one file system,
 * and is no more open to others than a file that it replaces. */
static void draft_create(hti_draft *draft)
{
    struct stat old;
    mode_t mode = 0666;
    if (stat(draft->target, &old) == 0) {
        if (!S_ISREG(old.st_mode)) {
            errno = S_ISDIR(old.st_mode) ? EISDIR : EEXIST;
            draft_fail(draft, "cannot be written: expected a regular file or none");
            return;
        }
        mode = (old.st_mode & 0666) | 0200;
    }
    draft_take_place(draft, mode);
    int file = draft->lock < 0 ? -1 : fcntl(draft->lock, F_DUPFD_CLOEXEC, 0);
    if (file >= 0) draft->file = fdopen(file, "wb");
    if (draft->file) return;
    draft_fail_creating(draft);
    if (file >= 0) close(file);
    if (draft->lock >= 0) unlink(draft->temporary);
}

void hti_draft_open(hti_draft *draft, ht_context *ctx, const char *path)
{
    *draft = (hti_draft){.ctx = ctx, .path = path, .lock = -1};
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

/* Owner, group and permissions of the file that is replaced. Where the group may not be
 * given away, the one it becomes gets no more than everybody. */
static void draft_keep_mode(const hti_draft *draft)
{
    struct stat old, new;
    if (stat(draft->target, &old) != 0 || fstat(draft->lock, &new) != 0) return;
    mode_t mode = old.st_mode & 0777;
    bool same = old.st_uid == new.st_uid &&old.st_gid == new.st_gid;
    if (!same && fchown(draft->lock, old.st_uid, old.st_gid) != 0 &&
        fchown(draft->lock, (uid_t)-1, old.st_gid) != 0)
        mode = (mode & 0707) | (mode & mode << 3 & 0070);
    fchmod(draft->lock, mode); /* where there are no modes, none is lost */
}

/* Bytes reach the disk before the name does: a crash in between leaves the old file. The
 * lock is held until the name is given. */
static void draft_commit(hti_draft *draft)
{
    draft_keep_mode(draft);
    if (!draft->status && (fflush(draft->file) != 0 || fsync(draft->lock) != 0))
        draft_fail(draft, "cannot be written");
    if (fclose(draft->file) != 0 && !draft->status)
        draft_fail(draft, "cannot be written");
    if (!draft->status && rename(draft->temporary, draft->target) != 0)
        draft_fail(draft, "cannot be given its name");
    if (draft->status) unlink(draft->temporary);
}

ht_status hti_draft_close(hti_draft *draft)
{
    if (draft->file) draft_commit(draft);
    if (draft->lock >= 0) close(draft->lock);
    ht_status status = draft->status;
    *draft = (hti_draft){.status = status, .lock = -1};
    return status;
}
