/* SPDX-License-Identifier: MIT */
/* reference.c: the table filled by this folder. Read next: reference.h. */
#include "reference.h"

void hti_reference_fill(struct hti_kernels *kernels)
{
    *kernels = (struct hti_kernels){.name = "reference"};
    hti_reference_elementwise(kernels);
    hti_reference_reduce(kernels);
    hti_reference_rows(kernels);
    hti_reference_project(kernels);
    hti_reference_index(kernels);
    hti_reference_products(kernels);
    hti_reference_attention(kernels);
    hti_reference_windows(kernels);
}
