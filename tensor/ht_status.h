/* SPDX-License-Identifier: MIT */
/* ht_status.h: what a call can answer, and the assertion for programmer errors.
 * Read next: ht_tensor.h. */
#ifndef HT_STATUS_H
#define HT_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Shape, range, dtype, memory and file errors are values; the message lives on the
 * ht_context. A NULL pointer (where none is said to be taken), a count below zero, a
 * foreign tape or a stale variable is a bug in the calling program and stops it, with the
 * function and both values printed (HT_ASSERT). */
typedef enum ht_status {
    HT_OK,
    HT_ERROR_ARGUMENT,   /* a value outside its range, an unknown name */
    HT_ERROR_SHAPE,      /* shapes that do not fit, or whose product overflows */
    HT_ERROR_DTYPE,      /* element types that do not fit */
    HT_ERROR_MEMORY,     /* the allocator or the byte limit said no */
    HT_ERROR_FILE,       /* the operating system said no: open, read, write */
    HT_ERROR_FORMAT,     /* a file whose content is not what it should be */
    HT_ERROR_NO_GRADIENT /* a variable that cannot reach the value derived */
} ht_status;

/* The constant's name, "HT_ERROR_SHAPE"; never NULL. */
const char *ht_status_name(ht_status status);

/* "file:line" of the place it stands in: one pointer to a literal. */
#define HT_STRING_(x) #x
#define HT_STRING(x)  HT_STRING_(x)
#define HT_HERE       __FILE__ ":" HT_STRING(__LINE__)

/* Stops the program where the condition does not hold. `...` is a printf format and its
 * values: print both sides. */
#define HT_ASSERT(condition, ...) \
    ((condition) ? (void)0 : ht_assertion_failed(HT_HERE, #condition, __VA_ARGS__))

#if defined(__GNUC__)
__attribute__((noreturn, cold, format(printf, 3, 4)))
#endif
/* What HT_ASSERT calls: prints the thread's last error, unless it was cleared (a check
 * that was forgotten), then site, condition and values to stderr, and aborts. */
void ht_assertion_failed(const char *site, const char *condition, const char *format,
                         ...);

#ifdef __cplusplus
}
#endif
#endif
