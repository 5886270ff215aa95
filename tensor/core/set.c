/* SPDX-License-Identifier: MIT */
/* set.c: named tensors in the order they were added. Parameters, outer variables, batches
 * and optimizer state are all sets. Read next: set_index.c (names), safetensors.c,
 * vars.c. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "set.h"

static bool set_kind_text(const void *x, char *text, size_t size)
{
    const ht_set *set = x;
    char names[HTI_TENSOR_TEXT / 2];
    hti_set_names(names, sizeof names, set->n, set->name);
    snprintf(text, size, "(%s)", names);
    return true;
}

static const hti_kind set_kind = {.name = "set", .text = set_kind_text};

ht_set *ht_set_new(ht_context *ctx)
{
    HT_ASSERT(ctx, "ht_set_new: the context is NULL");
    ht_set *set = hti_zalloc(ctx, 1, sizeof *set);
    if (!set) return NULL;
    hti_own(ctx, &set->owned, &set_kind);
    set->ctx = ctx;
    return set;
}

/* Names, tensors and forks share one block: growing succeeds or changes nothing. */
static size_t set_block(int capacity)
{
    return (size_t)capacity * (sizeof(char *) + sizeof(ht_tensor *) + sizeof(hti_fork));
}

/* Frees the last n tensors. */
void hti_set_drop(ht_set *set, int n)
{
    for (; n > 0; n--) {
        hti_set_index_drop(set, set->n - 1);
        char *name = set->name[--set->n];
        set->tensor[set->n]->name = NULL;
        ht_tensor_free(set->tensor[set->n]);
        hti_resize(set->ctx, name, strlen(name) + 1, 0);
    }
}

/* Before anything is freed. */
static void set_assert_unborrowed(const ht_set *set)
{
    char names[HTI_MESSAGE / 4];
    const hti_loan *loan = set->loans;
    hti_set_names(names, sizeof names, loan ? set->n : 0, set->name);
    HT_ASSERT(!loan,
              "ht_set_free: a live %s still borrows this set (%s) as its %s: call "
              "ht_%s_free first",
              loan->borrower, names, loan->role, loan->borrower);
    for (int i = 0; i < set->n; i++)
        HT_ASSERT(set->tensor[i]->borrows == 0,
                  "ht_set_free: a live tape still borrows \"%s\" of this set: reset or "
                  "free the tape first",
                  set->name[i]);
}

void ht_set_free(ht_set *set)
{
    if (!set) return;
    HT_ASSERT(!hti_was_freed(&set->owned),
              "ht_set_free: this set was freed before: a set is freed once");
    set_assert_unborrowed(set);
    hti_set_drop(set, set->n);
    hti_resize(set->ctx, set->name, set_block(set->capacity), 0);
    hti_retire(&set->owned, sizeof *set);
}

bool hti_set_reserve(ht_set *set, int n)
{
    if (n <= set->capacity) return true;
    int capacity = set->capacity ? 2 * set->capacity : 8;
    if (capacity < n) capacity = n;
    char **name = hti_resize(set->ctx, NULL, 0, set_block(capacity));
    if (!name) return false;
    ht_tensor **tensor = (ht_tensor **)(void *)(name + capacity);
    hti_fork *fork = (hti_fork *)(void *)(tensor + capacity);
    for (int i = 0; i < set->n; i++) {
        name[i] = set->name[i];
        tensor[i] = set->tensor[i];
        if (i > 0) fork[i] = set->fork[i];
    }
    hti_resize(set->ctx, set->name, set_block(set->capacity), 0);
    set->name = name;
    set->tensor = tensor;
    set->fork = fork;
    set->capacity = capacity;
    return true;
}

/* Loans. */

void hti_set_lend(ht_set *set, hti_loan *loan, const char *borrower, const char *role)
{
    HTI_ALIVE(set, borrower, "set");
    *loan = (hti_loan){set, borrower, role, set->n, set->loans};
    set->loans = loan;
}

void hti_set_return(hti_loan *loan)
{
    if (!loan->set) return;
    hti_loan **at = &loan->set->loans;
    while (*at != loan) at = &(*at)->next;
    *at = loan->next;
    loan->set = NULL;
}

/* A loan of no set, which is never returned and so may serve for any number of them. */
void hti_set_own(ht_set *set, hti_loan *owner)
{
    if (set) set->loans = owner;
}

void hti_set_disown(ht_set *set, const hti_loan *owner)
{
    if (set && set->loans == owner) set->loans = NULL;
}

static const hti_loan *set_owner(const ht_set *set)
{
    const hti_loan *loan = set->loans;
    while (loan && loan->set) loan = loan->next;
    return loan;
}

bool hti_loan_holds(const hti_loan *loan, const char *where)
{
    const ht_set *set = loan->set;
    if (!set || set->n == loan->n) return true;
    ht_context_fail(set->ctx, HT_ERROR_ARGUMENT, NULL,
                    "%s: %s has %d tensors; it had %d when ht_%s_new was called: \"%s\" "
                    "was added %s%s\n"
                    "  hint: add every tensor before, or make a new %s",
                    loan->borrower, loan->role, set->n, loan->n, loan->borrower,
                    set->name[set->n - 1], where ? "by " : "since", where ? where : "",
                    loan->borrower);
    return false;
}

static ht_tensor *set_add(ht_set *set, const char *name, ht_dtype dtype, ht_shape shape)
{
    HTI_ALIVE(set, "ht_set_add", "set");
    const hti_loan *owner = set_owner(set);
    if (owner) {
        ht_context_fail(set->ctx, HT_ERROR_ARGUMENT, NULL,
                        "ht_set_add: \"%s\": this set is the %s of a %s, to be read only",
                        name, owner->role, owner->borrower);
        return NULL;
    }
    int old = ht_set_find(set, name);
    if (!*name || old >= 0) {
        ht_context_fail(set->ctx, HT_ERROR_ARGUMENT, NULL,
                        "ht_set_add: tensor %d: expected a new name, got \"%s\"%s",
                        set->n, name,
                        *name ? ", which the set has already\n  hint: a name stands once"
                              : "\n  hint: a name is not empty");
        return NULL;
    }
    size_t bytes = strlen(name) + 1;
    char *copy =
        hti_set_reserve(set, set->n + 1) ? hti_resize(set->ctx, NULL, 0, bytes) : NULL;
    if (!copy) return NULL;
    ht_tensor *x = ht_tensor_new(set->ctx, dtype, shape);
    if (!x) {
        hti_resize(set->ctx, copy, bytes, 0);
        return NULL;
    }
    x->name = set->name[set->n] = memcpy(copy, name, bytes);
    set->tensor[set->n] = x;
    hti_set_index_add(set, set->n++);
    return x;
}

ht_tensor *ht_set_add_at(ht_set *set, const char *name, ht_dtype dtype, ht_shape shape,
                         const char *site)
{
    HT_ASSERT(set && name, "ht_set_add: set %p, name %p%s%s", (void *)set,
              (const void *)name, HTI_AT(site));
    const char *outer = hti_enter(set->ctx, site);
    ht_tensor *x = set_add(set, name, dtype, shape);
    set->ctx->site = outer;
    return x;
}

int ht_set_find(const ht_set *set, const char *name)
{
    HT_ASSERT(set && name, "ht_set_find: set %p, name %p", (const void *)set,
              (const void *)name);
    HTI_ALIVE(set, "ht_set_find", "set");
    return hti_set_index_find(set, name);
}

/* A list that does not fit ends in how many names there are. */
void hti_set_names(char *text, size_t size, int n, char *const *name)
{
    char more[32];
    size_t used = 0, tail = (size_t)snprintf(more, sizeof more, ", ... (%d)", n);
    snprintf(text, size, "%s", n > 0 ? "" : "none");
    for (int i = 0; i < n; i++) {
        size_t length = strlen(name[i]) + (i > 0 ? 2 : 0);
        if (used + length + tail >= size) {
            snprintf(text + used, size - used, "%s", i > 0 ? more : "...");
            return;
        }
        snprintf(text + used, size - used, "%s%s", i > 0 ? ", " : "", name[i]);
        used += length;
    }
}

/* Levenshtein distance, one row of its table at a time: row[j] belongs to the first
 * characters of a seen so far and the first j of b. Capitals are no difference. */
static size_t set_distance(const char *a, const char *b)
{
    size_t row[HTI_NEAR_MOST + 1], n = strlen(b);
    if (n > HTI_NEAR_MOST) return SIZE_MAX;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (; *a; a++) {
        size_t diagonal = row[0]++;
        for (size_t j = 1; j <= n; j++) {
            bool differ = tolower((unsigned char)*a) != tolower((unsigned char)b[j - 1]);
            size_t best = diagonal + differ;
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

const char *hti_set_near(char text[HTI_NEAR], int n, char *const *name,
                         const char *wanted)
{
    const char *nearest = NULL;
    size_t least = strlen(wanted) / 3 + 1;
    for (int i = 0; i < n; i++) {
        size_t distance = set_distance(wanted, name[i]);
        if (distance >= least) continue;
        least = distance;
        nearest = name[i];
    }
    *text = '\0';
    if (nearest) snprintf(text, HTI_NEAR, "\n  hint: did you mean \"%s\"?", nearest);
    return text;
}

ht_tensor *ht_set_tensor_at(const ht_set *set, const char *name, const char *site)
{
    HT_ASSERT(set && name, "ht_set_tensor: set %p, name %p%s%s", (const void *)set,
              (const void *)name, HTI_AT(site));
    HTI_ALIVE(set, "ht_set_tensor", "set");
    int i = ht_set_find(set, name);
    if (i >= 0) return set->tensor[i];
    char names[HTI_MESSAGE / 2], near[HTI_NEAR];
    hti_set_names(names, sizeof names, set->n, set->name);
    ht_context_fail(set->ctx, HT_ERROR_ARGUMENT, site,
                    "ht_set_tensor: no tensor \"%s\"; this set has: %s%s", name, names,
                    hti_set_near(near, set->n, set->name, name));
    return NULL;
}

#define SET(type, name, value) \
    HTI_OWNED_GETTER(type, name, const ht_set *set, set, "set", value)
SET(int, ht_set_count, set->n)
SET(ht_context *, ht_set_context, set->ctx)

static void set_check_index(const ht_set *set, int i, const char *who)
{
    HT_ASSERT(set, "%s: the set is NULL", who);
    HTI_ALIVE(set, who, "set");
    HT_ASSERT(i >= 0 && i < set->n, "%s: tensor %d of %d", who, i, set->n);
}

ht_tensor *ht_set_at(const ht_set *set, int i)
{
    set_check_index(set, i, "ht_set_at");
    return set->tensor[i];
}

const char *ht_set_name(const ht_set *set, int i)
{
    set_check_index(set, i, "ht_set_name");
    return set->name[i];
}

int64_t ht_set_elements(const ht_set *set)
{
    HT_ASSERT(set, "ht_set_elements: the set is NULL");
    HTI_ALIVE(set, "ht_set_elements", "set");
    int64_t elements = 0;
    for (int i = 0; i < ht_set_count(set); i++)
        elements += ht_tensor_count(set->tensor[i]);
    return elements;
}

ht_set *ht_set_clone(const ht_set *set, ht_dtype dtype)
{
    HT_ASSERT(set, "ht_set_clone: the set is NULL");
    HTI_ALIVE(set, "ht_set_clone", "set");
    char text[HTI_DTYPE_TEXT];
    if (dtype && !hti_dtype_is_float(dtype)) {
        ht_context_fail(set->ctx, HT_ERROR_DTYPE, NULL,
                        "ht_set_clone: expected HT_F32, HT_F64 or 0, got %s",
                        hti_dtype_text(dtype, text));
        return NULL;
    }
    ht_set *clone = ht_set_new(set->ctx);
    for (int i = 0; clone && i < set->n; i++) {
        ht_array from = ht_tensor_array(set->tensor[i]);
        bool converts = dtype && hti_dtype_is_float(from.dtype);
        ht_tensor *x = ht_set_add_at(clone, set->name[i], converts ? dtype : from.dtype,
                                     from.shape, NULL);
        if (!x || ht_tensor_copy(x, set->tensor[i])) {
            ht_set_free(clone);
            return NULL;
        }
        x->cloned = true;
    }
    return clone;
}

/* Whether `set` has every name of the other. */
static ht_status set_has_names(ht_context *ctx, const ht_set *set, const ht_set *other,
                               const char *who, const char *called)
{
    char names[HTI_MESSAGE / 2];
    for (int i = 0; i < other->n; i++) {
        if (ht_set_find(set, other->name[i]) >= 0) continue;
        hti_set_names(names, sizeof names, set->n, set->name);
        return ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                               "%s: no tensor \"%s\" in the set %s, which has: %s\n"
                               "  hint: both sets must have the same names",
                               who, other->name[i], called, names);
    }
    return HT_OK;
}

ht_status hti_set_alike(const ht_set *a, const ht_set *b, const char *who,
                        const char *const called[2])
{
    char expected[HT_SHAPE_TEXT], got[HT_SHAPE_TEXT];
    ht_status status = set_has_names(a->ctx, b, a, who, called[1]);
    if (!status) status = set_has_names(a->ctx, a, b, who, called[0]);
    for (int i = 0; i < a->n && !status; i++) {
        ht_shape shape = ht_tensor_shape(a->tensor[i]);
        ht_shape other = ht_tensor_shape(b->tensor[ht_set_find(b, a->name[i])]);
        if (!ht_shape_equal(shape, other))
            status = ht_context_fail(a->ctx, HT_ERROR_SHAPE, NULL,
                                     "%s: tensor \"%s\": expected shape %s, got %s", who,
                                     a->name[i], ht_shape_text(shape, expected),
                                     ht_shape_text(other, got));
    }
    return status;
}

ht_status ht_set_copy(ht_set *to, const ht_set *from)
{
    static const char who[] = "ht_set_copy";
    HT_ASSERT(to && from, "ht_set_copy: to %p, from %p", (void *)to, (const void *)from);
    HTI_ALIVE(to, who, "set");
    HTI_ALIVE(from, who, "set");
    ht_status status =
        hti_set_alike(to, from, who, (const char *[]){"copied to", "copied from"});
    for (int i = 0; i < to->n && !status; i++)
        status = hti_tensor_holds(to->tensor[i],
                                  from->tensor[ht_set_find(from, to->name[i])], who);
    for (int i = 0; i < to->n && !status; i++) {
        status =
            ht_tensor_copy(to->tensor[i], from->tensor[ht_set_find(from, to->name[i])]);
        hti_tensor_write(to->tensor[i], who, NULL);
    }
    return status;
}
