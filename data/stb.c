/* SPDX-License-Identifier: MIT */
/* stb.c: stb_image, for JPEG alone, on a context's memory. Read next: jpeg.c. */
#include "picture.h"

static _Thread_local ht_context *stb_memory; /* of the picture at hand */

static void *stb_alloc(size_t bytes)
{
    return hti_block_alloc(stb_memory, 1, (unsigned)bytes);
}

static void stb_free(void *block)
{
    if (block) hti_block_free(stb_memory, block);
}

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_JPEG
#define STBI_NO_STDIO
#define STBI_MALLOC(bytes)         stb_alloc(bytes)
#define STBI_FREE(block)           stb_free(block)
#define STBI_REALLOC(block, bytes) NULL /* is for other formats */
#define STBI_ASSERT(x)             ((void)0)
#if defined(__GNUC__) /* most of what it declares is for other formats too */
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include <stb/stb_image.h>

uint8_t *hti_stb_jpeg(ht_context *ctx, const uint8_t *bytes, int n, int *width,
                      int *height, const char **why)
{
    int colours;
    stb_memory = ctx;
    uint8_t *rgba = stbi_load_from_memory(bytes, n, width, height, &colours, 4);
    if (!rgba) *why = stbi_failure_reason();
    return rgba;
}
