/* SPDX-License-Identifier: MIT */
/* ht_data.h: files to tensors and back, and which rows go where.
 *
 * Readers check everything a file says before believing it. Writers leave a whole file or
 * nothing: bytes go to path.ht-partN beside the file, reach the disk, and get its name
 * last. A file that is replaced keeps its permissions, and its owner and group where that
 * may be; links are followed, other hard links keep the old file; folders, pipes and
 * devices are refused. Of programs that write one path the last to end wins, and what
 * killed ones left is removed by the next. A failure is kept on the context with the
 * path, the offset, what was expected and what was found, and a hint. Whatever is random
 * here is a pure function of its seed. Cost: time goes with a file's bytes, or with the
 * elements written; memory is what comes of it, and what is said.
 * Read next: data/README.md, ht_nn.h. */
#ifndef HT_DATA_H
#define HT_DATA_H

#include "ht_set.h"

#ifdef __cplusplus
extern "C" {
#endif

/* IDX.
 * The format of MNIST: two zero bytes, a type byte (08 u8, 0c i32, 0d f32, 0e f64), the
 * number of axes, each axis as a big-endian 32-bit count, then the elements, row-major
 * and big-endian. */

/* Reads a plain IDX file or a gzip of one, told apart by content. Owned; NULL after an
 * error: HT_ERROR_FILE (cannot be opened or read), HT_ERROR_FORMAT (empty, not IDX, a
 * type or rank there is no tensor for, shorter or longer than its header says, damaged
 * gzip) or HT_ERROR_MEMORY. The header is held against the file's size before memory is
 * asked for, and no more is asked for than it says, whatever a gzip holds. A gzip may be
 * several members in a row, and zeros may pad it; nothing else may follow. */
ht_tensor *ht_idx_read(ht_context *ctx, const char *path);

/* Writes x; a path that ends in .gz is compressed. The bytes go to a temporary beside
 * `path`, renamed over it at the end; errors: HT_ERROR_FILE, HT_ERROR_MEMORY,
 * HT_ERROR_SHAPE (an axis longer than 2^32 - 1). */
ht_status ht_idx_write(const ht_tensor *x, const char *path);

/* Reads a file as it is, u8 (n): text whose letters are bytes (ht_tensor_copy makes i32
 * of it, which embeddings take). Owned; NULL after an error: HT_ERROR_FILE,
 * HT_ERROR_FORMAT (an empty file), HT_ERROR_MEMORY. Memory: the file's size. */
ht_tensor *ht_bytes_read(ht_context *ctx, const char *path);

/* numpy.
 * An .npy file is one array, by numpy.save; an .npz a zip of them by name, by
 * numpy.savez. Of numpy's types f4 becomes f32, f8 f64, i4 i32, u1 u8; f2 becomes f32,
 * exactly; b1 u8; i1, i2, i8, u2, u4 and u8 i32, if every element fits. Either byte
 * order, C's and Fortran's order of axes. Objects, text, dates, complex numbers and
 * structured arrays are refused. */

/* Reads an .npy of version 1, 2 or 3, plain or gzip. Owned; NULL after an error:
 * HT_ERROR_FILE, HT_ERROR_FORMAT (not such a file, another type, more than 6 axes, longer
 * or shorter than it says, an element that i32 does not hold), HT_ERROR_MEMORY. Memory:
 * what comes, once the file's size allows it, and 0.2 MB. */
ht_tensor *ht_npy_read(ht_context *ctx, const char *path);
/* Writes x as numpy.save does, to the byte (version 1, C order). Errors:
 * HT_ERROR_FILE. */
ht_status ht_npy_write(const ht_tensor *x, const char *path);
/* Reads an .npz, stored or compressed: its arrays by their names, in the archive's order
 * (set: owned). NULL after an error: as ht_npy_read, and HT_ERROR_FORMAT for an archive
 * that is damaged, encrypted, larger than 4 GiB (zip64), or has other members. Every
 * member's checksum is looked at. Memory: what comes, its largest member a second time,
 * and 0.3 MB. */
ht_set *ht_npz_read(ht_context *ctx, const char *path);
/* Writes the set so, stored. Errors: HT_ERROR_FILE, HT_ERROR_SHAPE (4 GiB or more),
 * HT_ERROR_ARGUMENT (a name that is not UTF-8). */
ht_status ht_npz_write(const ht_set *set, const char *path);

/* CSV.
 * Numbers in text with a name above each column, as pandas, R and spreadsheets write
 * them (RFC 4180): a delimiter between fields, fields with it, with quotes or with line
 * ends in quotes, lines ended by LF, CRLF or CR, UTF-8, plain or gzip. Empty lines, a
 * byte order mark and spaces around what is not quoted are passed over. */

/* What is read of a table. All zero: every column into x. */
typedef struct ht_csv_options {
    const char *label;         /* the column of classes; NULL: none */
    const char *target;        /* the column of a number to predict; NULL: none */
    const char *const *ignore; /* columns passed over, behind them NULL; NULL: none */
    /* A table read before, a training set's: this one must have the same columns for x,
     * in the same order, and no class that is not among the other's, whose numbers the
     * labels have. NULL: none. Borrowed for the call. */
    const struct ht_table *like;
    ht_dtype dtype;      /* of x and target: HT_F32, HT_F64; 0 is HT_F32 */
    char delimiter;      /* 0 is ',' */
    bool no_header;      /* the first line is a row; columns are "0", "1", ... */
    bool missing_as_nan; /* in x and target; else a missing number is an error */
} ht_csv_options;

/* n rows of n_columns numbers, and what is to be predicted from each. */
typedef struct ht_table {
    ht_tensor *x;      /* (n, n_columns), owned as all of these */
    ht_tensor *labels; /* (n) i32, each in 0 .. classes-1; NULL: no label */
    ht_tensor *target; /* (n); NULL: no target */
    int64_t n;
    int n_columns, classes;
    char **column_names; /* of x */
    char **class_names;  /* NULL: classes are numbers, the labels themselves */
} ht_table;

/* Reads a table; options NULL: all zero. Numbers are decimal, -1234.5e-6, whatever the
 * process's locale, and rounded correctly to dtype; hexadecimal, inf and numbers beyond
 * the dtype are refused. Missing are an empty field, NA, N/A, NaN, NULL, None and the
 * spellings of them that pandas knows. Labels that are whole numbers from 0 stay as they
 * are, and classes is the largest and one; labels that are not numbers are numbered in
 * the order (strcmp) of their names; a mixture is refused. *out is written (owned:
 * ht_table_free) and is all zero after an error: HT_ERROR_FILE; HT_ERROR_FORMAT, with
 * path:line:column and the column's name (a field too many or too few, text where a
 * number should be, missing, a quote not closed, names missing or twice, a first line
 * that is numbers, names not in UTF-8, more than 65536 columns or classes, no rows, other
 * columns or classes than `like`); HT_ERROR_ARGUMENT (a column that does not exist or is
 * named twice); HT_ERROR_DTYPE; HT_ERROR_MEMORY. The text is gone over twice and not
 * kept: memory is what comes, at most 8 bytes for each of the text, the names, and 0.3
 * MB. */
ht_status ht_csv_read(ht_context *ctx, const char *path, const ht_csv_options *options,
                      ht_table *out);
/* Frees all that is in it and zeroes *table, which may be all zero already. NULL:
 * nothing. */
void ht_table_free(ht_table *table);

/* Normalisation. */

/* What ht_normalize takes each column by, of x (n, columns, ...), of images (n, c, h, w)
 * each channel, to mean 0 and deviation 1 (by 1/n): a set (owned) of "mean" and
 * "deviation", both f64 (columns), to be kept or written beside the model. x is f32 or
 * f64, of training rows alone. Numbers that are all equal, to 12 digits, have deviation
 * 1. NULL after an error: HT_ERROR_SHAPE, HT_ERROR_DTYPE, HT_ERROR_ARGUMENT (a column
 * with a NaN), HT_ERROR_MEMORY. Goes over x three times. */
ht_set *ht_normalizer_new(const ht_tensor *x);
/* x = (x - mean) / deviation by column, in place; other sets too by the training set's.
 * HT_ERROR_SHAPE (another number of columns), HT_ERROR_DTYPE: nothing is changed. */
ht_status ht_normalize(ht_tensor *x, const ht_set *by);

/* Labelled images. */

/* n pictures and what each shows. */
typedef struct ht_images {
    ht_tensor *pixels; /* (n, rows, cols) or (n, channels, rows, cols) u8, owned */
    ht_tensor *labels; /* (n) i32, each in 0 .. classes-1, owned */
    int classes;
    char **class_names; /* owned; NULL: the set's classes have no names */
    char **files;       /* of each picture, as "cat/1.jpg"; owned; NULL: not its own */
} ht_images;

/* Reads train-images-idx3-ubyte and train-labels-idx1-ubyte (with `test`: t10k-...) from
 * `folder`, each plain or .gz: MNIST, Fashion-MNIST and whatever else is laid out so,
 * with 10 classes. *out is written (owned: ht_images_free) and is all zero after an
 * error: as ht_idx_read, and HT_ERROR_FORMAT for other types or ranks, counts that
 * disagree, or a label past 9. Source: LeCun, Cortes & Burges, "The MNIST database of
 * handwritten digits". */
ht_status ht_mnist_read(ht_context *ctx, const char *folder, bool test, ht_images *out);
/* Reads CIFAR-10 or CIFAR-100 from `folder`, whichever it has, pixels (n, 3, 32, 32):
 * - the authors' binary batches: data_batch_1.bin, data_batch_2.bin, ... (with `test`:
 *   test_batch.bin), or CIFAR-100's train.bin (test.bin), by its 100 fine labels;
 * - CIFAR-10 as sheets: data_batch_1.png, data_batch_2.png, ... as long as there are
 *   labels for them in train_lables.json (test_batch.png and test_lables.json; the
 *   spelling is the package's). A row of a sheet, 1024 RGB pixels, is one image; the
 *   labels are one JSON list.
 * *out as ht_mnist_read; errors: HT_ERROR_FILE, HT_ERROR_FORMAT (not such files, a
 * label that is none of the classes, counts that disagree, a part of a record),
 * HT_ERROR_MEMORY.
 * Memory is asked for once the files' sizes, or the sheets' headers, agree. Source:
 * Krizhevsky, "Learning multiple layers of features from tiny images", 2009. */
ht_status ht_cifar_read(ht_context *ctx, const char *folder, bool test, ht_images *out);
/* Frees tensors and names and zeroes *images, which may be all zero already. NULL:
 * nothing. */
void ht_images_free(ht_images *images);

/* Fills x (n, ...), f32 or f64, of an image's elements a row, with pixel / 255, and
 * labels (n) i32 (NULL: not wanted) from the images order[first] .. order[first + n - 1].
 * order NULL: images as they stand. Errors, kept by x's context: HT_ERROR_SHAPE,
 * HT_ERROR_DTYPE, and HT_ERROR_ARGUMENT for a row that does not exist; x and labels then
 * hold anything. */
ht_status ht_images_rows_at(const ht_images *images, const int64_t *order, int64_t first,
                            int64_t n, ht_tensor *x, ht_tensor *labels, const char *site);
#define ht_images_rows(...) ht_images_rows_at(__VA_ARGS__, HT_HERE)

/* Makes a picture of ht_image_read, u8 (height, width, 3) or (height, width), a row of x
 * (n, ...), f32 or f64, of as many elements a row: its colours as planes, / 255, the
 * numbers that ht_folder_read and ht_images_rows give for it, and a network trained on
 * those expects. Errors, kept by x's context, with x unchanged: HT_ERROR_SHAPE,
 * HT_ERROR_DTYPE, HT_ERROR_ARGUMENT (no such row). */
ht_status ht_image_row_at(const ht_tensor *picture, ht_tensor *x, int64_t row,
                          const char *site);
#define ht_image_row(...) ht_image_row_at(__VA_ARGS__, HT_HERE)

/* Reads a PNG of 8 bits, grey or RGB, not interlaced, sides up to 2^20, as u8 (height,
 * width) or (height, width, 3). Owned; NULL after an error: HT_ERROR_FILE,
 * HT_ERROR_FORMAT or HT_ERROR_MEMORY. Chunks must be whole, with right checksums, in
 * PNG's order, the IDATs with none between them, and known unless they may be left out
 * (those are passed over); the zlib stream must have exactly the header's rows, a right
 * checksum, and nothing behind it, nor may anything follow IEND. Memory: the image, and
 * 0.2 MB. */
ht_tensor *ht_png_read(ht_context *ctx, const char *path);
/* Writes a u8 tensor (height, width), grey, or (height, width, 3), RGB, sides up to 2^20,
 * as PNG; whole file or nothing. Errors: HT_ERROR_DTYPE, HT_ERROR_SHAPE, HT_ERROR_FILE,
 * HT_ERROR_MEMORY. */
ht_status ht_png_write(ht_context *ctx, const char *path, const ht_tensor *image);

/* Pictures. Of any kind, by their first bytes, whatever the name: PNG of every depth and
 * colour, with a palette or interlaced; JPEG, baseline or progressive, grey or colour. Of
 * 16 bits the upper 8 are taken. What EXIF says of how a camera was held is done: the
 * picture is upright. Profiles of colours and gamma are not looked at. */

/* How a size is reached: each new pixel is the mean of what it covers, weighted by a
 * triangle, or evenly. As Pillow's BILINEAR and BOX, to the byte. */
typedef enum ht_filter { HT_BILINEAR, HT_AREA } ht_filter;
/* What becomes of transparent pixels: an error, or they are laid on a colour. */
typedef enum ht_alpha { HT_ALPHA_REFUSED, HT_ALPHA_WHITE, HT_ALPHA_BLACK } ht_alpha;
/* All zero: RGB, of the size it has, without transparent pixels. */
typedef struct ht_image_options {
    int width, height; /* the size it gets; both 0: the one it has */
    bool crop;         /* of the middle, so that nothing is stretched */
    bool grey;         /* luma, one byte a pixel; else RGB */
    ht_filter filter;
    ht_alpha alpha;
} ht_image_options;

/* Reads one picture, as u8 (height, width, 3) or, grey, (height, width). options NULL:
 * all zero. Owned; NULL after an error: HT_ERROR_FILE; HT_ERROR_FORMAT (neither PNG nor
 * JPEG, damaged, incomplete, a JPEG of CMYK or 12 bits, transparent pixels that are
 * refused, more than 2^26 pixels, or more than a file of that size can hold);
 * HT_ERROR_ARGUMENT; HT_ERROR_MEMORY. PNG is held against all its checksums; JPEG has
 * none, but it must be whole. Memory: about 20 bytes a pixel, and the file. */
ht_tensor *ht_image_read(ht_context *ctx, const char *path,
                         const ht_image_options *options);

/* How a folder is read. All zero: as RGB, all of one size. */
typedef struct ht_folder_options {
    ht_image_options image;
    /* A set read before, a training set's: labels are numbers of its classes, and other
     * classes an error. NULL: none. Borrowed for the call. */
    const ht_images *like;
} ht_folder_options;
/* Reads the pictures of a folder's folders, each a class: root/cat/1.jpg, root/dog/1.png.
 * Classes are numbered in the order (strcmp) of their names, pictures stand by class and
 * then by name; what is taken is .png, .jpg and .jpeg; hidden files and those that are no
 * pictures by their name are passed over. Pixels are (n, 3, height, width) or, grey, (n,
 * height, width). They are decoded on the context's threads; the result does not depend
 * on how many. *out is written (owned: ht_images_free) and is all zero after an error: as
 * ht_image_read, of the first file that is wrong, beside the names of nine more that are;
 * HT_ERROR_FORMAT for sizes that differ where none was asked for, no classes, a class
 * without pictures, pictures beside the folders or in folders within, pictures of other
 * kinds by their name. options NULL: all zero. */
ht_status ht_folder_read(ht_context *ctx, const char *root,
                         const ht_folder_options *options, ht_images *out);

/* Rows at random.
 * Drawn from (seed, stream) by a permutation computed one row at a time, without memory
 * ("Ciphers with arbitrary finite domains", Black & Rogaway, CT-RSA 2002), by Philox. */

/* Makes disjoint random parts of 0 .. n-1: parts[p][0 .. sizes[p]-1], in random order. A
 * part's rows do not depend on the sizes of later parts. HT_ERROR_ARGUMENT if a size is
 * negative or they sum to more than n. */
ht_status ht_split(ht_context *ctx, uint64_t stream, int64_t n, int n_parts,
                   const int64_t *sizes, int64_t *const *parts);

/* Fills rows[0 .. batch-1] with the step-th batch of 0 .. n-1, a pure function of (seed,
 * step). An epoch is n / batch steps in a fresh random order; what is left over is
 * dropped, different rows each epoch. 0 < batch <= n, or the program stops. Cost: below
 * half a microsecond a row. */
void ht_batch_order(uint64_t seed, uint64_t step, int64_t n, int64_t batch,
                    int64_t *rows);

/* The batch of a step into the tensors of `batch`: what bilevel/ht_bilevel.h calls
 * ht_batch_fn. */
typedef ht_status (*ht_fill_fn)(uint64_t step, ht_set *batch, void *user);

/* A second batch, and a thread that fills it. */
typedef struct ht_prefetch ht_prefetch;
/* Makes batches ahead, on a thread: while a step is computed, the batch of the next one
 * is filled into a second set, to the same bits as without. fill(step, set, user) has to
 * be a pure function of `step`; it is called on the thread, with a set of a context of
 * its own, while the caller's program goes on, so it may read what that does not change
 * (data sets, images) and write its set alone. Two calls of it never overlap. The thread
 * takes no signal; a process forked off goes on without it. `batch`: which tensors there
 * are. Owned: ht_prefetch_free, before the context of `batch`. NULL on HT_ERROR_MEMORY.
 * Memory: a second batch, of malloc. */
ht_prefetch *ht_prefetch_new(const ht_set *batch, ht_fill_fn fill, void *user);
/* Puts batch `step` into `to`, of the same tensors. Steps that go up by one, or down, are
 * made ahead; others when asked for. Errors: fill's, for a step that is taken;
 * HT_ERROR_SHAPE. Cost: a copy of the batch, if it is there. */
ht_status ht_prefetch_take(ht_prefetch *prefetch, uint64_t step, ht_set *to);
/* Frees it, once a batch that is being made is done. NULL: nothing. */
void ht_prefetch_free(ht_prefetch *prefetch);

/* Gives exactly round(fraction * n) rows of labels (n) i32, chosen at random, a
 * *different* label, uniform among the other classes. corrupted (n), NULL or set to 1
 * where that happened and 0 elsewhere. Errors, with labels untouched: HT_ERROR_ARGUMENT
 * for a fraction outside [0, 1], a label outside 0 .. classes-1, or fewer than 2 classes;
 * HT_ERROR_DTYPE; HT_ERROR_SHAPE. */
ht_status ht_corrupt_labels(ht_context *ctx, uint64_t stream, double fraction,
                            int classes, ht_tensor *labels, uint8_t *corrupted);

#ifdef __cplusplus
}
#endif
#endif
