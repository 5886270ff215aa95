/* SPDX-License-Identifier: MIT */
/* folder.c: pictures in folders, a folder a class.
 *
 * Names first: classes in the order of their names, files likewise within each. Then the
 * first picture gives the size, if none was asked for, memory is taken for all, and they
 * are decoded on the context's threads, each on a context of its own whose memory comes,
 * a call at a time, from the one that all are for. Read next: picture.c. */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "picture.h"

enum { FOLDER_TOLD = 10 };

typedef struct folder_reader {
    ht_context *ctx;
    const char *root;
    const ht_folder_options *options;
    ht_images *out;
    hti_names classes, files;    /* files: with their class's folder before */
    int64_t *end;                /* of each class, among the files */
    ht_shape shape;              /* of a picture, colours last */
    pthread_mutex_t lock;        /* of the context and what follows */
    int64_t failed[FOLDER_TOLD]; /* the first files that did, in order */
    int64_t n_failed;            /* all that did */
    ht_status status;
    char message[HTI_MESSAGE];
} folder_reader;

static ht_status folder_fail_hint(folder_reader *r, const char *path,
                                  const char *expected, const char *got, const char *hint)
{
    return ht_context_fail(r->ctx, HT_ERROR_FORMAT, NULL,
                           "%s: expected %s, got %s\n  hint: %s", path, expected, got,
                           hint);
}

static ht_status folder_fail(folder_reader *r, const char *path, const char *expected,
                             const char *got)
{
    return folder_fail_hint(r, path, expected, got,
                            "each class is a folder of its pictures, as in cat/1.jpg, "
                            "dog/1.png");
}

/* Names. */

static bool folder_ends(const char *name, const char *const *ends)
{
    const char *dot = strrchr(name, '.');
    for (; dot && *ends; ends++)
        if (strcasecmp(dot + 1, *ends) == 0) return true;
    return false;
}

/* Pictures that are read, and those that would be missed. */
static const char *const folder_taken[] = {"png", "jpg", "jpeg", "jpe", NULL};
static const char *const folder_others[] = {"gif", "bmp",  "webp", "tif", "tiff",
                                            "ppm", "heic", "avif", "jp2", NULL};

static int folder_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static const char *folder_hint(int error)
{
    return error == ENOTDIR ? "a file: name the folder that has a folder for each class"
                            : hti_hint_of_reading(error);
}

/* What is in a folder, in order, but what is hidden. */
static ht_status folder_list(folder_reader *r, const char *path, hti_names *names)
{
    DIR *folder = opendir(path);
    struct dirent *e = NULL;
    ht_status status = HT_OK;
    do {
        if (folder) errno = 0;
        e = folder ? readdir(folder) : NULL;
        if (e && e->d_name[0] != '.')
            status = hti_names_insert(names, names->n, e->d_name);
    } while (e && !status);
    if (!status && errno)
        status = ht_context_fail(r->ctx, HT_ERROR_FILE, NULL,
                                 "%s: cannot be read as a folder: %s\n"
                                 "  hint: %s",
                                 path, strerror(errno), folder_hint(errno));
    if (folder) closedir(folder);
    if (names->n > 1)
        qsort(names->name, (size_t)names->n, sizeof *names->name, folder_compare);
    return status;
}

static bool folder_is_folder(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* root/inner. */
static ht_status folder_path(folder_reader *r, const char *inner,
                             char path[HTI_MOST_PATH])
{
    int n = snprintf(path, HTI_MOST_PATH, "%s/%s", r->root, inner);
    return n < HTI_MOST_PATH ? HT_OK : folder_fail(r, inner, "a path below 4096", "more");
}

/* A folder within a class's: often that is train/ or val/, with classes in it. */
static ht_status folder_fail_inner(folder_reader *r, const char *class, const char *path)
{
    char hint[HTI_MOST_PATH];
    snprintf(
        hint, sizeof hint,
        "each class is a folder of its pictures alone; if %.99s is a part of the data, "
        "such as train, with a folder for each class, name it: %.400s/%.99s",
        class, r->root, class);
    return folder_fail_hint(r, path, "pictures of one class", "a folder", hint);
}

/* The pictures of a class. */
static ht_status folder_take_class(folder_reader *r, const char *class)
{
    char path[HTI_MOST_PATH], inner[HTI_MOST_PATH];
    int first = r->files.n;
    hti_names names = {.ctx = r->ctx};
    ht_status status = folder_path(r, class, path);
    if (!status) status = folder_list(r, path, &names);
    for (int i = 0; i < names.n && !status; i++) {
        const char *name = names.name[i];
        bool taken = folder_ends(name, folder_taken);
        int n = snprintf(inner, sizeof inner, "%s/%s", class, name);
        if (n >= HTI_MOST_PATH || folder_path(r, inner, path))
            status = folder_fail(r, class, "a path below 4096", "more");
        else if (folder_is_folder(path))
            status = folder_fail_inner(r, class, path);
        else if (folder_ends(name, folder_others))
            status = folder_fail_hint(
                r, path, "PNG or JPEG", "a name of another kind",
                "convert it (Pillow: Image.open(...).convert('RGB').save('x.png'); "
                "ImageMagick: mogrify -format png FILES), or take it out of the folder");
        else if (taken)
            status = hti_names_insert(&r->files, r->files.n, inner);
    }
    hti_names_free(r->ctx, names.name, names.n);
    if (!status && r->files.n == first && !folder_path(r, class, path))
        status = folder_fail(r, path, "a folder with pictures (png, jpg, jpeg)", "none");
    return status;
}

/* The folders of the root, each a class. */
static ht_status folder_take_classes(folder_reader *r)
{
    char path[HTI_MOST_PATH];
    hti_names names = {.ctx = r->ctx};
    ht_status status = folder_list(r, r->root, &names);
    for (int i = 0; i < names.n && !status; i++) {
        const char *name = names.name[i];
        status = folder_path(r, name, path);
        if (!status && folder_is_folder(path))
            status = hti_names_insert(&r->classes, r->classes.n, name);
        else if (!status && folder_ends(name, folder_taken))
            status = folder_fail(r, path, "pictures in a folder of their class",
                                 "one beside the folders");
    }
    hti_names_free(r->ctx, names.name, names.n);
    if (!status && r->classes.n == 0)
        status = folder_fail(r, r->root, "a folder of folders with pictures", "none");
    if (!status && r->classes.n > HTI_MOST_NAMES)
        status = folder_fail(r, r->root, "at most 65536 classes", "more");
    return status;
}

static ht_status folder_take_names(folder_reader *r)
{
    ht_status status = folder_take_classes(r);
    if (status) return status;
    r->end = hti_zalloc(r->ctx, (size_t)r->classes.n, sizeof *r->end);
    if (!r->end) return HT_ERROR_MEMORY;
    for (int k = 0; k < r->classes.n && !status; k++) {
        status = folder_take_class(r, r->classes.name[k]);
        r->end[k] = r->files.n;
    }
    return status;
}

/* Labels: the place of the class among these folders, or among another set's classes. */

static ht_status folder_take_labels(folder_reader *r)
{
    const ht_images *like = r->options ? r->options->like : NULL;
    hti_names known = r->classes;
    int32_t *label = ht_tensor_data(r->out->labels);
    int64_t file = 0;
    if (like) known = (hti_names){.name = like->class_names, .n = like->classes};
    for (int k = 0; k < r->classes.n; k++) {
        int at = 0;
        char path[HTI_MOST_PATH], text[HTI_NAMES_TEXT];
        if (!hti_names_find(&known, r->classes.name[k], &at)) {
            folder_path(r, r->classes.name[k], path);
            return folder_fail(r, path, "a class that .like has",
                               hti_names_text(known.name, known.n, text));
        }
        while (file < r->end[k]) label[file++] = at;
    }
    return HT_OK;
}

/* The names that the result has: its own or those of `like`. */
static ht_status folder_give_names(folder_reader *r)
{
    const ht_images *like = r->options ? r->options->like : NULL;
    hti_names names = {.ctx = r->ctx};
    ht_status status = HT_OK;
    for (int k = 0; like && k < like->classes && !status; k++)
        status = hti_names_insert(&names, k, like->class_names[k]);
    if (status) {
        hti_names_free(r->ctx, names.name, names.n);
        return status;
    }
    hti_names *given = like ? &names : &r->classes;
    r->out->class_names = given->name;
    r->out->classes = given->n;
    r->out->files = r->files.name;
    *given = r->files = (hti_names){.ctx = r->ctx};
    return HT_OK;
}

/* Pictures. */

/* Memory of the context that all are for, which allows no more than to it. */
static void *folder_alloc(void *user, void *old, size_t old_size, size_t new_size)
{
    folder_reader *r = user;
    ht_context *ctx = r->ctx;
    void *block = NULL;
    pthread_mutex_lock(&r->lock);
    size_t others = ctx->live - old_size;
    size_t limit = ctx->options.byte_limit ? ctx->options.byte_limit : SIZE_MAX;
    if (new_size <= limit && others <= limit - new_size)
        block = ctx->options.alloc(ctx->options.user, old, old_size, new_size);
    if (block || new_size == 0) ctx->live = others + new_size;
    if (ctx->live > ctx->peak) ctx->peak = ctx->live;
    ctx->allocations += new_size > 0;
    pthread_mutex_unlock(&r->lock);
    return block;
}

/* The first file that fails, whichever does so first in time, is what is said, and the
 * next ones are named. */
static void folder_keep(folder_reader *r, int64_t file, ht_context *own)
{
    pthread_mutex_lock(&r->lock);
    int at = r->n_failed < FOLDER_TOLD ? (int)r->n_failed : FOLDER_TOLD - 1;
    if (r->n_failed < FOLDER_TOLD || file < r->failed[at]) {
        for (; at > 0 && r->failed[at - 1] > file; at--)
            r->failed[at] = r->failed[at - 1];
        r->failed[at] = file;
    }
    r->n_failed++;
    if (file == r->failed[0]) {
        r->status = own ? ht_context_status(own) : HT_ERROR_MEMORY;
        snprintf(r->message, sizeof r->message, "%s",
                 own ? ht_context_message(own) : "no memory to decode a picture");
    }
    pthread_mutex_unlock(&r->lock);
}

/* The picture into its place, a plane a colour. */
static void folder_put(folder_reader *r, int64_t file, const ht_tensor *picture)
{
    int64_t colours = r->shape.rank == 3 ? 3 : 1, n = ht_tensor_count(picture) / colours;
    uint8_t *to = (uint8_t *)ht_tensor_data(r->out->pixels) + file * n * colours;
    const uint8_t *from = ht_tensor_data(picture);
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < colours; c++) to[c * n + i] = *from++;
}

static void folder_decode_file(folder_reader *r, int64_t file, ht_context *own)
{
    char path[HTI_MOST_PATH];
    ht_shape want = r->shape;
    snprintf(path, sizeof path, "%s/%s", r->root, r->files.name[file]);
    ht_tensor *x = ht_image_read(own, path, r->options ? &r->options->image : NULL);
    if (!x) return;
    ht_shape got = ht_tensor_shape(x);
    if (ht_shape_equal(got, want))
        folder_put(r, file, x);
    else
        ht_context_fail(
            own, HT_ERROR_FORMAT, NULL,
            "%s: expected %lld x %lld pixels as %s has, got %lld x %lld\n"
            "  hint: .image = {.width = 64, .height = 64} brings all to a size",
            path, (long long)want.dim[1], (long long)want.dim[0], r->files.name[0],
            (long long)got.dim[1], (long long)got.dim[0]);
    ht_tensor_free(x);
}

static void folder_decode(const void *work, int64_t first, int64_t last)
{
    folder_reader *r = (folder_reader *)(uintptr_t)work; /* its results are written */
    for (int64_t file = first; file < last; file++) {
        ht_context *own = ht_context_new(
            &(ht_context_options){.alloc = folder_alloc, .user = r, .threads = 1});
        if (own) folder_decode_file(r, file, own);
        if (!own || ht_context_status(own)) folder_keep(r, file, own);
        if (own) ht_context_clear(own);
        ht_context_free(own);
    }
}

/* The size asked for, or that of the first picture. */
static ht_status folder_find_shape(folder_reader *r)
{
    const ht_image_options none = {.width = 0},
                           *o = r->options ? &r->options->image : &none;
    char path[HTI_MOST_PATH];
    r->shape = HT_SHAPE(o->height, o->width, 3);
    if (o->grey) r->shape.rank = 2;
    if (o->width) return HT_OK;
    snprintf(path, sizeof path, "%s/%s", r->root, r->files.name[0]);
    ht_tensor *x = ht_image_read(r->ctx, path, o);
    if (!x) return ht_context_status(r->ctx);
    r->shape = ht_tensor_shape(x);
    ht_tensor_free(x);
    return HT_OK;
}

/* What is wrong with the first, and the names of nine more. */
static ht_status folder_fail_files(folder_reader *r)
{
    char more[HTI_MESSAGE / 2] = "", shown[HTI_SHOWN];
    int64_t n = r->n_failed, named = 1;
    int used = 0;
    if (n > 1)
        used = snprintf(more, sizeof more,
                        "\n  %lld more cannot be read either:", (long long)n - 1);
    for (; named < n && named < FOLDER_TOLD; named++)
        used += snprintf(more + used, sizeof more - (size_t)used, "%s %s",
                         named > 1 ? "," : "",
                         hti_shown(r->files.name[r->failed[named]], shown));
    if (named < n) snprintf(more + used, sizeof more - (size_t)used, ", ...");
    return ht_context_fail(r->ctx, r->status, NULL, "%.*s%s",
                           (int)(HTI_MESSAGE - 1 - strlen(more)), r->message, more);
}

static ht_status folder_take_pictures(folder_reader *r)
{
    int64_t n = r->files.n, height = r->shape.dim[0], width = r->shape.dim[1];
    r->out->pixels = ht_tensor_new(r->ctx, HT_U8,
                                   r->shape.rank == 2 ? HT_SHAPE(n, height, width)
                                                      : HT_SHAPE(n, 3, height, width));
    if (r->out->pixels) r->out->labels = ht_tensor_new(r->ctx, HT_I32, HT_SHAPE(n));
    if (!r->out->labels) return ht_context_status(r->ctx);
    ht_status status = folder_take_labels(r);
    if (status) return status;
    pthread_mutex_init(&r->lock, NULL);
    hti_share(r->ctx, n, folder_decode, r);
    pthread_mutex_destroy(&r->lock);
    if (r->status) return folder_fail_files(r);
    return folder_give_names(r);
}

ht_status ht_folder_read(ht_context *ctx, const char *root,
                         const ht_folder_options *options, ht_images *out)
{
    HT_ASSERT(ctx && root && out, "ht_folder_read: context %p, root %p, out %p",
              (void *)ctx, (const void *)root, (void *)out);
    HT_ASSERT(!options || !options->like || options->like->class_names,
              "ht_folder_read: like %p has no names of classes",
              (const void *)options->like);
    folder_reader r = {.ctx = ctx,
                       .root = root,
                       .options = options,
                       .out = out,
                       .classes = {.ctx = ctx},
                       .files = {.ctx = ctx}};
    *out = (ht_images){.classes = 0};
    ht_status status = HT_OK;
    if (options) status = hti_image_check(ctx, "ht_folder_read", &options->image);
    if (!status) status = folder_take_names(&r);
    if (!status) status = folder_find_shape(&r);
    int classes = r.classes.n;
    if (!status) status = folder_take_pictures(&r);
    hti_resize(ctx, r.end, (size_t)classes * sizeof *r.end, 0);
    hti_names_free(ctx, r.classes.name, r.classes.n);
    hti_names_free(ctx, r.files.name, r.files.n);
    if (status) ht_images_free(out);
    return status;
}
