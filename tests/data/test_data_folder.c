/* SPDX-License-Identifier: MIT */
/* test_data_folder.c: pictures in folders, a folder a class: names, sizes, threads, and
 * what must be refused. Read next: data/folder.c. */
#include "tensor_internal.h"
#include "test_data.h"

#include <errno.h>
#include <sys/stat.h>

enum { MOST = 1 << 15 };

#define OPTIONS(...) (&(ht_folder_options){__VA_ARGS__})

/* A file of the fixture's folder, whose own folders are made, of tests/reference's. */
static void put(const fixture *f, const char *name, const char *from)
{
    static unsigned char bytes[MOST];
    char path[PATH];
    snprintf(path, sizeof path, "%s/tests/reference/files/%s", getenv("HYPERTAPE_SOURCE"),
             from ? from : "p2_8.png");
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    path_in(f, name, path);
    for (char *c = path + strlen(f->folder) + 1; (c = strchr(c, '/')); *c++ = '/') {
        *c = 0;
        mkdir(path, 0777);
    }
    file = fopen(path, "wb");
    assert_non_null(file);
    fwrite(bytes, 1, n, file);
    fclose(file);
}

static void put_all(const fixture *f, const char *const *names)
{
    for (; *names; names += 2) put(f, names[0], names[1]);
}

static void empty(const fixture *f)
{
    char command[PATH];
    snprintf(command, sizeof command, "chmod -R u+rwx %s; rm -rf %s/*", f->folder,
             f->folder);
    assert_int_equal(system(command), 0);
}

static int folder_free(void **state)
{
    empty(*state);
    return fixture_free(state);
}

static void expect_names(const ht_images *set, const char *const *classes,
                         const char *const *files)
{
    for (int i = 0; i < set->classes; i++)
        assert_string_equal(set->class_names[i], classes[i]);
    assert_null(classes[set->classes]);
    for (int i = 0; i < ht_tensor_count(set->labels); i++)
        assert_string_equal(set->files[i], files[i]);
    assert_null(files[ht_tensor_count(set->labels)]);
}

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void folder_read_is_in_the_order_of_names(void **state)
{
    fixture *f = *state;
    put_all(f,
            NAMES("b/2.PNG", "p2_8.png", "b/10.png", "p2_8i.png", "B/x.jpeg", "p2_8.png",
                  "a c/Ä.png", "p2_8i.png", "a c/.hidden.gif", NULL, "b/notes.txt", NULL,
                  ".git/x.png", NULL, "README.md", NULL, "b/noname", NULL));
    ht_images set;
    if (ht_folder_read(f->ctx, f->folder, NULL, &set))
        fail_msg("%s", ht_context_message(f->ctx));
    assert_true(ht_shape_equal(ht_tensor_shape(set.pixels), HT_SHAPE(4, 3, 9, 11)));
    expect_names(&set, NAMES("B", "a c", "b"),
                 NAMES("B/x.jpeg", "a c/Ä.png", "b/10.png", "b/2.PNG"));
    const double labels[] = {0, 1, 2, 2};
    for (int i = 0; i < 4; i++) assert_true(ht_tensor_get(set.labels, i) == labels[i]);
    /* Colours as planes, of the picture that stands there. */
    char path[PATH];
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", f->folder, set.files[i]);
        ht_tensor *x = ht_image_read(f->ctx, path, NULL);
        for (int k = 0; k < 9 * 11 * 3; k++)
            assert_true(ht_tensor_get(set.pixels, 297 * i + k % 3 * 99 + k / 3) ==
                        ht_tensor_get(x, k));
        ht_tensor_free(x);
    }
    ht_images_free(&set);
    assert_null(set.files);
}

static void folder_read_by_options_brings_all_to_a_size(void **state)
{
    fixture *f = *state;
    put_all(f, NAMES("a/1.png", "p2_8.png", "a/2.jpg", "plain.jpg", "b/3.jpg",
                     "turned6.jpg", "b/4.png", "p0_16i.png"));
    ht_images set, test;
    ht_folder_options o = {
        .image = {.width = 8, .height = 6, .grey = true, .crop = true}};
    if (ht_folder_read(f->ctx, f->folder, &o, &set))
        fail_msg("%s", ht_context_message(f->ctx));
    assert_true(ht_shape_equal(ht_tensor_shape(set.pixels), HT_SHAPE(4, 6, 8)));
    char path[PATH];
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", f->folder, set.files[i]);
        ht_tensor *x = ht_image_read(f->ctx, path, &o.image);
        assert_memory_equal((uint8_t *)ht_tensor_data(set.pixels) + 48 * (ptrdiff_t)i,
                            ht_tensor_data(x), 48);
        ht_tensor_free(x);
    }
    /* A test set, of fewer classes. */
    empty(f);
    put(f, "b/1.png", NULL);
    o.like = &set;
    assert_int_equal(ht_folder_read(f->ctx, f->folder, &o, &test), HT_OK);
    assert_true(ht_tensor_get(test.labels, 0) == 1);
    expect_names(&test, NAMES("a", "b"), NAMES("b/1.png"));
    ht_images_free(&test);
    put(f, "c/1.png", NULL);
    assert_int_equal(ht_folder_read(f->ctx, f->folder, &o, &test), HT_ERROR_FORMAT);
    assert_contains(ht_context_message(f->ctx),
                    "/c: expected a class that .like has, got \"a\", \"b\"\n");
    ht_context_clear(f->ctx);
    ht_images_free(&set);
}

/* A picture by itself is the row that the folder's are. */
static void image_row_is_what_images_rows_gives(void **state)
{
    fixture *f = *state;
    put_all(f, NAMES("a/1.jpg", "plain.jpg", "b/2.jpg", "turned6.jpg"));
    for (int grey = 0; grey < 2; grey++)
        for (int wide = 0; wide < 2; wide++) {
            ht_folder_options o = {.image = {.width = 7, .height = 5, .grey = grey}};
            ht_images set;
            assert_int_equal(ht_folder_read(f->ctx, f->folder, &o, &set), HT_OK);
            ht_dtype dtype = wide ? HT_F64 : HT_F32;
            ht_shape shape = grey ? HT_SHAPE(2, 5, 7) : HT_SHAPE(2, 3, 5, 7);
            ht_tensor *all = ht_tensor_new(f->ctx, dtype, shape);
            ht_tensor *one = ht_tensor_new(f->ctx, dtype, shape);
            ht_images_rows(&set, NULL, 0, 2, all, NULL);
            for (int row = 1; row >= 0; row--) {
                char path[PATH];
                ht_tensor *x =
                    ht_image_read(f->ctx, path_in(f, set.files[row], path), &o.image);
                assert_int_equal(ht_image_row(x, one, row), HT_OK);
                assert_int_equal(ht_image_row(x, one, 2), HT_ERROR_ARGUMENT);
                assert_contains(ht_context_message(f->ctx),
                                "expected a row in 0..1, got 2");
                ht_context_clear(f->ctx);
                ht_tensor_free(x);
            }
            assert_memory_equal(ht_tensor_data(one), ht_tensor_data(all),
                                ht_tensor_bytes(all));
            ht_tensor_free(all);
            ht_tensor_free(one);
            ht_images_free(&set);
        }
    ht_tensor *x = ht_tensor_new(f->ctx, HT_U8, HT_SHAPE(3, 5, 7));
    ht_tensor *to = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(1, 105));
    assert_int_equal(ht_image_row(x, to, 0), HT_ERROR_SHAPE);
    assert_contains(ht_context_message(f->ctx), "got (3, 5, 7) and (1, 105)");
    ht_context_clear(f->ctx);
    assert_int_equal(ht_image_row(to, to, 0), HT_ERROR_DTYPE);
    ht_context_clear(f->ctx);
    ht_tensor_free(x);
    ht_tensor_free(to);
}

/* Some of them are wrong: what is said is of the first by name, whoever met one first. */
static void folder_read_on_threads_is_the_same(void **state)
{
    fixture *f = *state;
    enum { N = 200 };
    char name[64];
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "%c/%03d.jpg", "ab"[i % 2], i);
        put(f, name, (const char *[]){"plain.jpg", "quarter.jpg", "coarse.jpg"}[i % 3]);
    }
    const size_t bytes = (size_t)N * 3 * 16 * 16;
    uint8_t *first = malloc(bytes);
    ht_folder_options o = {.image = {.width = 16, .height = 16}};
    for (int wrong = 0; wrong < 2; wrong++) {
        for (int threads = 1; threads <= 8; threads *= 2) {
            ht_context *ctx = ht_context_new(&(ht_context_options){.threads = threads});
            size_t live = ht_context_live_bytes(ctx);
            ht_images set;
            ht_status status = ht_folder_read(ctx, f->folder, &o, &set);
            assert_int_equal(status, wrong ? HT_ERROR_FORMAT : HT_OK);
            if (wrong) {
                assert_contains(ht_context_message(ctx), "/a/050.jpg: ");
                assert_contains(ht_context_message(ctx), "got CMYK, of 4");
                assert_null(set.pixels);
                ht_context_clear(ctx);
            } else {
                assert_int_equal(ht_tensor_bytes(set.pixels), bytes);
                if (threads == 1) memcpy(first, ht_tensor_data(set.pixels), bytes);
                assert_memory_equal(ht_tensor_data(set.pixels), first, bytes);
            }
            ht_images_free(&set);
            assert_int_equal(ht_context_live_bytes(ctx), live);
            ht_context_free(ctx);
        }
        for (int i = 50; i < N; i += 25) {
            snprintf(name, sizeof name, "%c/%03d.jpg", "ab"[i % 2], i);
            put(f, name, "cmyk.jpg");
        }
    }
    free(first);
}

static void expect_refusal(const fixture *f, const ht_folder_options *o, ht_status status,
                           const char *message)
{
    ht_images set = {.classes = 7};
    ht_status got = ht_folder_read(f->ctx, f->folder, o, &set);
    assert_images_refused(f, got, &set, status, message);
}

static void folder_read_of_other_layouts_is_refused(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *files[7], *message;
    } layouts[] = {
        {{NULL}, ": expected a folder of folders with pictures, got none\n"},
        {{"labels.csv", NULL},
         ": expected a folder of folders with pictures, got none\n"},
        {{"1.png", NULL},
         "/1.png: expected pictures in a folder of their class, got one"},
        {{"a/1.png", NULL, "2.JPG", NULL}, "/2.JPG: expected pictures in a folder of th"},
        {{"a/1.png", NULL, "b/notes.txt", NULL},
         "/b: expected a folder with pictures (png, jpg, jpeg), got none\n"},
        {{"a/b/1.png", NULL}, "/a/b: expected pictures of one class, got a folder\n"},
        {{"train/b/1.png", NULL, "val/b/1.png", NULL},
         " with a folder for each class, name it: "},
        {{"a/1.png", NULL, "a/2.gif", NULL},
         "/a/2.gif: expected PNG or JPEG, got a name of another kind\n  hint: convert "
         "it "},
        {{"a/1.webp", NULL}, "/a/1.webp: expected PNG or JPEG, got a name of another ki"},
        {{"a/1.png", NULL, "a/2.png", "plain.jpg"},
         "/a/2.png: expected 11 x 9 pixels as a/1.png has, got 45 x 37\n"},
        {{"a/1.png", NULL, "a/2.png", "p6_8.png"},
         "/a/2.png: expected pixels that hide what is behind them, got alpha "},
        {{"a/1.png", NULL, "a/2.jpg", "f4.npy"},
         "/a/2.jpg: offset 0: expected a PNG or a JPEG, got other bytes\n"},
        {{"a/1.jpg", "cmyk.jpg"}, "/a/1.jpg: offset "},
    };
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        empty(f);
        put_all(f, layouts[i].files);
        expect_refusal(f, NULL, HT_ERROR_FORMAT, layouts[i].message);
    }
    empty(f);
    put(f, "a/1.png", NULL);
    expect_refusal(f, OPTIONS(.image = {.width = 3}), HT_ERROR_ARGUMENT,
                   "ht_folder_read: expected sides of 1 to 1048576, or both 0");
    char path[PATH];
    symlink("nowhere", path_in(f, "a/2.png", path));
    expect_refusal(f, NULL, HT_ERROR_FILE,
                   "/a/2.png: cannot be opened for reading: No such");
    remove(path);
    put(f, "a/2.png", NULL);
    chmod(path, 0);
    if (access(path, R_OK) != 0) /* the superuser reads everything */
        expect_refusal(f, NULL, HT_ERROR_FILE,
                       "/a/2.png: cannot be opened for reading: Permission denied\n"
                       "  hint: you may not read it, ");
    assert_contains(hti_hint_of_reading(EACCES), "chmod u+rX allows you");
    assert_contains(hti_hint_of_writing(EACCES), "may you write in the folder?");
    assert_contains(hti_hint_of_writing(ENOSPC), "is there room?");
    chmod(path, 0700);
    ht_images set;
    assert_int_equal(ht_folder_read(f->ctx, "no such folder", NULL, &set), HT_ERROR_FILE);
    assert_contains(ht_context_message(f->ctx),
                    "no such folder: cannot be read as a folder: No such file or");
    ht_context_clear(f->ctx);
    assert_int_equal(ht_folder_read(f->ctx, path, NULL, &set), HT_ERROR_FILE);
    assert_contains(ht_context_message(f->ctx),
                    "cannot be read as a folder: Not a directory\n"
                    "  hint: a file: name the folder that has a folder for each class");
    ht_context_clear(f->ctx);
}

/* Of a picture so many bytes are kept (below 0: all but so many), and the one at `at`, if
 * that is not 0, is another. */
static const struct {
    const char *from;
    int keep, at;
    unsigned char byte;
    const char *message;
} damages[] = {
    {"plain.jpg", 1, 0, 0,
     "/b/3.png: offset 0: expected a PNG or a JPEG, got other bytes\n"},
    {"plain.jpg", 2, 0, 0,
     "/b/3.png: offset 0: expected a JPEG's first bytes, ff d8 ff, got others\n"},
    {"plain.jpg", 20, 0, 0,
     "/b/3.png: offset 20: expected the marker of the image's end, got the end"},
    {"plain.jpg", 300, 0, 0,
     "/b/3.png: offset 210: expected a whole segment, got the end of the file"},
    {"plain.jpg", -1, 0, 0,
     "/b/3.png: offset 1562: expected the marker of the image's end, got the e"},
    {"plain.jpg", -2, 0, 0,
     "/b/3.png: offset 1561: expected the marker of the image's end, got the e"},
    {"plain.jpg", MOST, 1, 0,
     "/b/3.png: offset 0: expected a PNG or a JPEG, got other bytes\n"},
    {"plain.jpg", MOST, 3, 1, "/b/3.png: offset 2: expected a marker, got bytes ff 01\n"},
    {"progressive.jpg", -9, 0, 0,
     "/b/3.png: offset 988: expected the marker of the image's end, got the"},
    {"p2_8.png", 7, 0, 0,
     "/b/3.png: offset 0: expected the signature of PNG, got other bytes\n"},
    {"p2_8.png", 8, 0, 0,
     "/b/3.png: offset 8: expected a whole chunk, got the end of the file"},
    {"p2_8.png", 33, 0, 0,
     "/b/3.png: offset 33: expected a whole chunk, got the end of the file"},
    {"p2_8.png", -1, 0, 0,
     "/b/3.png: offset 362: expected a whole chunk, got the end of the file after 11"},
    {"p2_8.png", -12, 0, 0,
     "/b/3.png: offset 362: expected a whole chunk, got the end of the file after 0"},
    {"p2_8.png", MOST, 1, 'p',
     "/b/3.png: offset 0: expected a PNG or a JPEG, got other bytes\n"},
    {"p2_8.png", MOST, 16, 0x7f,
     "/b/3.png: offset 29: expected the checksum of the chunk's bytes, got"},
    {"p2_8.png", MOST, 19, 12,
     "/b/3.png: offset 29: expected the checksum of the chunk's bytes, got an"},
    {"p2_8.png", MOST, 25, 1,
     "/b/3.png: offset 29: expected the checksum of the chunk's bytes, got ano"},
    {"p2_8.png", MOST, 45, 0xa5,
     "/b/3.png: offset 358: expected the checksum of the chunk's bytes, got"},
    {"p2_8i.png", MOST, 28, 0,
     "/b/3.png: offset 29: expected the checksum of the chunk's bytes, got"},
};

static void put_damaged(const fixture *f, const char *name, size_t damage)
{
    char path[PATH];
    put(f, name, damages[damage].from);
    FILE *file = fopen(path_in(f, name, path), "r+b");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    long n = ftell(file), keep = damages[damage].keep;
    if (keep < 0) keep += n;
    if (damages[damage].at) {
        fseek(file, damages[damage].at, SEEK_SET);
        fputc(damages[damage].byte, file);
    }
    fclose(file);
    assert_int_equal(truncate(path, keep < n ? keep : n), 0);
}

/* A picture that is none any more stands behind two that are: it is named, by the place
 * in it, and neither they nor much memory are left. */
static void folder_read_with_a_damaged_picture_names_it(void **state)
{
    fixture *f = *state;
    put_all(f, NAMES("a/1.png", "p2_8.png", "b/2.png", "p2_8.png"));
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        put_damaged(f, "b/3.png", i);
        ht_context_reset_peak(f->ctx);
        expect_refusal(f, NULL, HT_ERROR_FORMAT, damages[i].message);
        assert_in_range(ht_context_peak_bytes(f->ctx), f->live, f->live + 200000);
    }
}

/* Of several the first says why; of those behind it nine are named. */
static void folder_read_with_many_damaged_names_ten(void **state)
{
    fixture *f = *state;
    char name[64];
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "a/%02d.png", i);
        put(f, name, i % 3 == 1 ? "cmyk.jpg" : "p2_8.png");
        if (i == 4)
            expect_refusal(f, NULL, HT_ERROR_FORMAT,
                           "fetch it again\n  1 more cannot be read either: ");
    }
    ht_images set;
    for (int threads = 1; threads < 5; threads++) {
        ht_context *ctx = ht_context_new(&(ht_context_options){.threads = threads});
        assert_int_equal(ht_folder_read(ctx, f->folder, NULL, &set), HT_ERROR_FORMAT);
        assert_contains(ht_context_message(ctx), "/a/01.png: offset ");
        assert_contains(ht_context_message(ctx),
                        "fetch it again\n  12 more cannot be read either: a/04.png, "
                        "a/07.png, a/10.png, a/13.png, a/16.png, a/19.png, a/22.png, "
                        "a/25.png, a/28.png, ...");
        ht_context_clear(ctx);
        ht_context_free(ctx);
    }
}

/* Of one thread or several: memory that runs out in a picture is said, and given back. */
static void folder_read_within_a_limit_says_where_it_ends(void **state)
{
    fixture *f = *state;
    put_all(
        f, NAMES("a/1.jpg", "plain.jpg", "a/2.jpg", "half.jpg", "b/3.jpg", "coarse.jpg"));
    bool done = false;
    int refused = 0;
    for (size_t limit = 1000; !done; limit += 7001) {
        ht_context *ctx = ht_context_new(&(ht_context_options){.threads = 2});
        size_t own = ht_context_live_bytes(ctx);
        ht_context_free(ctx);
        ctx = ht_context_new(
            &(ht_context_options){.threads = 2, .byte_limit = own + limit});
        ht_images set;
        done = !ht_folder_read(ctx, f->folder, NULL, &set);
        if (!done) assert_int_equal(ht_context_status(ctx), HT_ERROR_MEMORY);
        assert_in_range(ht_context_peak_bytes(ctx), 1, own + limit);
        ht_images_free(&set);
        assert_int_equal(ht_context_live_bytes(ctx), own);
        refused += !done;
        ht_context_clear(ctx);
        ht_context_free(ctx);
    }
    assert_in_range(refused, 5, 200);
}

static bool read_folder(ht_context *ctx, void *folder)
{
    ht_images set;
    bool done = !ht_folder_read(ctx, folder, NULL, &set);
    ht_images_free(&set);
    return done;
}

static void folder_read_keeps_an_error_of_each_allocation(void **state)
{
    fixture *f = *state;
    put_all(f, NAMES("a/1.png", "p2_8.png", "b/2.png", "p2_8i.png"));
    assert_in_range(fail_each_allocation(read_folder, f->folder), 30, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, folder_free)
        CASE(folder_read_is_in_the_order_of_names),
        CASE(folder_read_by_options_brings_all_to_a_size),
        CASE(image_row_is_what_images_rows_gives),
        CASE(folder_read_on_threads_is_the_same),
        CASE(folder_read_of_other_layouts_is_refused),
        CASE(folder_read_with_a_damaged_picture_names_it),
        CASE(folder_read_with_many_damaged_names_ten),
        CASE(folder_read_within_a_limit_says_where_it_ends),
        CASE(folder_read_keeps_an_error_of_each_allocation),
    };
    return TEST_MAIN(tests);
}
