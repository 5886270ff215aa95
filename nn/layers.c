/* SPDX-License-Identifier: MIT */
/* layers.c: layers are functions of variables found by name. Read
 * next: norm.c, attention.c, recurrent.c, init.c. */
#include <stdio.h>
#include <string.h>

#include "nn_internal.h"

int hti_layer_find(const ht_vars *theta, const char *name, const char *part)
{
    size_t length = strlen(name);
    for (int i = 0; i < theta->n; i++)
        if (!strncmp(theta->name[i], name, length) && theta->name[i][length] == '.' &&
            !strcmp(theta->name[i] + length + 1, part))
            return i;
    return -1;
}

ht_var hti_layer_get(const ht_vars *theta, const char *layer, const char *name,
                     const char *part, const char *site)
{
    HT_ASSERT(theta && name, "theta or name is NULL");
    int i = hti_layer_find(theta, name, part);
    if (i >= 0) return theta->var[i];
    char names[HTI_MESSAGE / 2];
    hti_set_names(names, sizeof names, theta->n, theta->name);
    return hti_fail(theta->tape, HT_ERROR_ARGUMENT, site, layer,
                    "no variable \"%s.%s\"; there are: %s", name, part, names);
}

ht_var hti_layer_maybe(const ht_vars *theta, const char *name, const char *part)
{
    int i = hti_layer_find(theta, name, part);
    return i < 0 ? HT_ZERO : theta->var[i];
}

ht_var ht_linear_at(ht_var x, const ht_vars *theta, const char *name, const char *site)
{
    ht_var weight = hti_layer_get(theta, "linear", name, "weight", site);
    ht_var y = ht_matmul_at(x, weight, site);
    return ht_add_at(y, hti_layer_maybe(theta, name, "bias"), site);
}

ht_var ht_embedding_at(ht_var index, const ht_vars *theta, const char *name,
                       const char *site)
{
    return ht_gather_at(hti_layer_get(theta, "embedding", name, "weight", site), index,
                        site);
}

ht_var ht_dropout_layer_at(ht_var x, const ht_vars *theta, const char *name, double rate,
                           const char *site)
{
    HT_ASSERT(theta && name, "theta or name is NULL");
    return ht_dropout_at(x, rate, ht_stream(name), theta->step, site);
}
