/* SPDX-License-Identifier: MIT */
/* picture.c: a picture of any kind as grey or RGB bytes of the size wanted. Which kind is
 * told by its first bytes, whatever its name says. Read next: png_pixels.c, jpeg.c,
 * resize.c, folder.c. */
#include "picture.h"

#include <string.h>

/* First bytes of what is often named a picture, and of no use here. */
static const struct {
    const char *bytes;
    int at;
    const char *name;
} picture_others[] = {{"GIF8", 0, "a GIF"},     {"BM", 0, "a BMP"},
                      {"WEBP", 8, "a WebP"},    {"II*", 0, "a TIFF"},
                      {"MM", 0, "a TIFF"},      {"ftypavif", 4, "an AVIF"},
                      {"ftyphei", 4, "a HEIC"}, {"<", 0, "text, HTML or SVG"}};

/* rgba by the reader of its kind. */
static ht_tensor *picture_decode(ht_context *ctx, const char *path)
{
    char head[16] = {0};
    const char *got = "other bytes";
    hti_input in;
    if (hti_input_open_plain(&in, ctx, path)) return NULL;
    size_t n = 0;
    ht_status status = hti_input_read(&in, head, sizeof head, &n);
    hti_input_close(&in);
    if (status) return NULL;
    if (memcmp(head, "\x89PNG", 4) == 0) return hti_png_rgba(ctx, path);
    if (memcmp(head, "\xff\xd8", 2) == 0) return hti_jpeg_rgba(ctx, path);
    for (size_t i = 0; i < sizeof picture_others / sizeof *picture_others; i++)
        if (strncmp(head + picture_others[i].at, picture_others[i].bytes,
                    strlen(picture_others[i].bytes)) == 0)
            got = picture_others[i].name;
    ht_context_fail(ctx, HT_ERROR_FORMAT, NULL,
                    "%s: offset 0: expected a PNG or a JPEG, got %s\n"
                    "  hint: convert it (Pillow: "
                    "Image.open(...).convert('RGB').save('x.png'))",
                    path, got);
    return NULL;
}

/* Pixels on the background, where they are transparent; an error if there is none. */
static ht_status picture_lay(ht_context *ctx, const char *path, ht_tensor *rgba,
                             ht_alpha alpha)
{
    uint8_t *pixel = ht_tensor_data(rgba);
    int64_t n = ht_tensor_count(rgba) / 4, width = ht_tensor_shape(rgba).dim[1];
    int back = alpha == HT_ALPHA_WHITE ? 255 : 0;
    for (int64_t i = 0; i < n; i++, pixel += 4) {
        if (pixel[3] == 255) continue;
        if (alpha == HT_ALPHA_REFUSED)
            return ht_context_fail(ctx, HT_ERROR_FORMAT, NULL,
                                   "%s: expected pixels that hide what is behind them, "
                                   "got alpha %d of 255 at "
                                   "row %lld, column %lld\n"
                                   "  hint: .alpha = HT_ALPHA_WHITE or HT_ALPHA_BLACK "
                                   "lays the picture on it",
                                   path, pixel[3], (long long)(i / width),
                                   (long long)(i % width));
        for (int c = 0; c < 3; c++)
            pixel[c] =
                (uint8_t)((pixel[c] * pixel[3] + back * (255 - pixel[3]) + 127) / 255);
    }
    return HT_OK;
}

/* 4 bytes a pixel become 3, or its luma (ITU-R BT.601, to 16 bits as Pillow rounds), in
 * their own place. */
static hti_picture picture_reduce(const ht_tensor *rgba, bool grey)
{
    ht_shape shape = ht_tensor_shape(rgba);
    uint8_t *to = ht_tensor_data(rgba), *pixel = to;
    const uint8_t *from = to;
    for (int64_t i = 0; i < shape.dim[0] * shape.dim[1]; i++, from += 4) {
        if (grey) {
            *to++ = (uint8_t)((from[0] * 19595 + from[1] * 38470 + from[2] * 7471 +
                               (1 << 15)) >>
                              16);
            continue;
        }
        memmove(to, from, 3);
        to += 3;
    }
    return (hti_picture){.width = shape.dim[1],
                         .height = shape.dim[0],
                         .channels = grey ? 1 : 3,
                         .pixel = pixel};
}

/* All of a picture, or the most of its middle that has the other's proportions. */
static hti_window picture_window(const hti_picture *from, const hti_picture *to,
                                 bool crop)
{
    double width = (double)from->width, height = (double)from->height;
    double wanted_width = height * (double)to->width / (double)to->height;
    double wanted_height = width * (double)to->height / (double)to->width;
    hti_window w = {.width = width, .height = height};
    if (crop && wanted_width < width) w.width = wanted_width;
    if (crop && wanted_height < height) w.height = wanted_height;
    w.x = (width - w.width) / 2;
    w.y = (height - w.height) / 2;
    return w;
}

static ht_tensor *picture_fit(ht_context *ctx, const hti_picture *from,
                              const ht_image_options *o)
{
    hti_picture to = {.width = o->width ? o->width : from->width,
                      .height = o->height ? o->height : from->height,
                      .channels = from->channels};
    ht_shape shape = HT_SHAPE(to.height, to.width, to.channels);
    if (to.channels == 1) shape.rank = 2;
    ht_tensor *x = ht_tensor_new(ctx, HT_U8, shape);
    if (!x) return NULL;
    to.pixel = ht_tensor_data(x);
    ht_status status = HT_OK;
    if (to.width == from->width && to.height == from->height)
        memcpy(to.pixel, from->pixel, ht_tensor_bytes(x));
    else
        status = hti_picture_scale(ctx, from, picture_window(from, &to, o->crop),
                                   o->filter, &to);
    if (!status) return x;
    ht_tensor_free(x);
    return NULL;
}

ht_status hti_image_check(ht_context *ctx, const char *who, const ht_image_options *o)
{
    bool sides = (o->width == 0) == (o->height == 0) && o->width >= 0 && o->height >= 0 &&
                 o->width <= HTI_PNG_SIDE && o->height <= HTI_PNG_SIDE;
    bool kinds = o->filter <= HT_AREA && o->alpha <= HT_ALPHA_BLACK;
    if (sides && kinds) return HT_OK;
    return ht_context_fail(
        ctx, HT_ERROR_ARGUMENT, NULL,
        "%s: expected sides of 1 to 1048576, or both 0, a filter and an "
        "alpha that there is, got %d x %d, %d, %d\n"
        "  hint: .width and .height are the size every picture gets",
        who, o->width, o->height, (int)o->filter, (int)o->alpha);
}

ht_tensor *ht_image_read(ht_context *ctx, const char *path,
                         const ht_image_options *options)
{
    HT_ASSERT(ctx && path, "ht_image_read: context %p, path %p", (void *)ctx,
              (const void *)path);
    const ht_image_options o = options ? *options : (ht_image_options){.width = 0};
    if (hti_image_check(ctx, "ht_image_read", &o)) return NULL;
    ht_tensor *x = NULL, *rgba = picture_decode(ctx, path);
    if (!rgba) return NULL;
    if (!picture_lay(ctx, path, rgba, o.alpha)) {
        hti_picture picture = picture_reduce(rgba, o.grey);
        x = picture_fit(ctx, &picture, &o);
    }
    ht_tensor_free(rgba);
    return x;
}
