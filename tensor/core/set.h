/* SPDX-License-Identifier: MIT */
/* set.h: sets from inside, and who borrows one. Read next: set.c. */
#ifndef HTI_SET_H
#define HTI_SET_H

#include <string.h>

#include "ht_set.h"
#include "tensor_internal.h"

/* What borrows a set holds one of these for each set and returns it before it is freed
 * itself. A set on loan may not be freed; whether it has grown is asked where that would
 * matter. */
typedef struct hti_loan {
    ht_set *set;           /* NULL: nothing is borrowed */
    const char *borrower;  /* "bilevel": "ht_<borrower>_free" gives the set back */
    const char *role;      /* "theta" */
    int n;                 /* tensors when it was lent */
    struct hti_loan *next; /* of the same set */
} hti_loan;

/* Where the names of a set part: set_index.c. */
typedef struct hti_fork {
    size_t byte;
    int child[2]; /* a tensor, or the complement of another fork */
    unsigned char bit;
} hti_fork;

struct ht_set {
    hti_owned owned;
    ht_context *ctx;
    int n, capacity;
    char **name;
    ht_tensor **tensor;
    hti_loan *loans;
    hti_fork *fork; /* of tensors 1 to n-1 */
    int root;
    struct ht_recording *made_by; /* wrote its values last; NULL: not known */
    uint32_t fills; /* times a batch callback was given it, whatever borrows it */
};

/* The tensor of that name, or -1. In steps as many as the name has bits, at most. */
int hti_set_index_find(const ht_set *set, const char *name);
/* Tensor i, the last one, has its name and is to be found; is to be found no more. */
void hti_set_index_add(ht_set *set, int i);
void hti_set_index_drop(ht_set *set, int i);

/* Makes room for n tensors in all; false without memory. */
bool hti_set_reserve(ht_set *set, int n);
/* Frees the last n tensors. */
void hti_set_drop(ht_set *set, int n);

/* Whether two sets have the same names and shapes, in any order; else an error of `who`,
 * which calls them what `called` says, on a's context. */
ht_status hti_set_alike(const ht_set *a, const ht_set *b, const char *who,
                        const char *const called[2]);

/* floats.c: an element of a float tensor, or of what `like` is the type of; the first
 * n of them, as many as `like` has; of all of a set's tensors one after the other, which
 * are written without a word to who watches writes. */
static inline double hti_float_at(const ht_tensor *like, const void *data, int64_t k)
{
    const unsigned char *at = data;
    float narrow;
    double wide;
    if (like->array.dtype == HT_F64)
        return memcpy(&wide, at + k * (int64_t)sizeof wide, sizeof wide), wide;
    return memcpy(&narrow, at + k * (int64_t)sizeof narrow, sizeof narrow),
           (double)narrow;
}

static inline void hti_float_to(const ht_tensor *like, void *data, int64_t k, double wide)
{
    unsigned char *at = data;
    float narrow = (float)wide;
    if (like->array.dtype == HT_F64)
        memcpy(at + k * (int64_t)sizeof wide, &wide, sizeof wide);
    else
        memcpy(at + k * (int64_t)sizeof narrow, &narrow, sizeof narrow);
}

void hti_floats_get(double *to, const ht_tensor *like, const void *from);
void hti_floats_put(void *to, const ht_tensor *like, const double *from);
void hti_set_get(double *v, const ht_set *set);
void hti_set_put(const ht_set *set, const double *v);

void hti_set_lend(ht_set *set, hti_loan *loan, const char *borrower, const char *role);
void hti_set_return(hti_loan *loan); /* of no set: nothing */
/* The set belongs to what `owner` says as long as that lives: nobody else frees it or
 * adds to it. */
void hti_set_own(ht_set *set, hti_loan *owner);
void hti_set_disown(ht_set *set, const hti_loan *owner);
/* Whether the set has as many tensors as when it was lent; else an error kept, which says
 * where it grew ("problem.inner"; NULL: not known). */
bool hti_loan_holds(const hti_loan *loan, const char *where);

/* What a list of names may take of hti_fail's message, beside the rest of it. */
enum { HTI_NAMES = HTI_MESSAGE / 3 };
/* "a, b, c" (or "none", or cut short) for messages about unknown names. */
void hti_set_names(char *text, size_t size, int n, char *const *name);
/* "\n  hint: did you mean ..." of the name that was meant, if a third of it or less is
 * mistyped; else "". Names longer than HTI_NEAR_MOST are not guessed at. */
enum { HTI_NEAR_MOST = 48, HTI_NEAR = HTI_NEAR_MOST + 32 };
const char *hti_set_near(char text[HTI_NEAR], int n, char *const *name,
                         const char *wanted);

#endif
