/* SPDX-License-Identifier: MIT */
/* layers.c: layers are functions of variables found by name. Read next: init.c, update.c.
 */
#include <stdio.h>
#include <string.h>

#include "nn_internal.h"

/* Index of "name.part", or -1. */
static int hti_layer_find(const ht_vars *theta, const char *name, const char *part)
{
    size_t length = strlen(name);
    for (int i = 0; i < theta->n; i++)
        if (!strncmp(theta->name[i], name, length) && theta->name[i][length] == '.' &&
            !strcmp(theta->name[i] + length + 1, part))
            return i;
    return -1;
}

ht_var ht_linear_at(ht_var x, const ht_vars *theta, const char *name, const char *site)
{
    HT_ASSERT(theta && name, "theta or name is NULL");
    int weight = hti_layer_find(theta, name, "weight");
    int bias = hti_layer_find(theta, name, "bias");
    if (weight < 0) {
        char names[HTI_MESSAGE / 2];
        hti_set_names(names, sizeof names, theta->n, theta->name);
        return hti_fail(theta->tape, HT_ERROR_ARGUMENT, site, "linear",
                        "no variable \"%s.weight\"; there are: %s", name, names);
    }
    ht_var y = ht_matmul_at(x, theta->var[weight], site);
    return bias < 0 ? y : ht_add_at(y, theta->var[bias], site);
}
