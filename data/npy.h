/* SPDX-License-Identifier: MIT */
/* npy.h: an array as numpy writes it, in a file of its own or within an archive.
 * Read next: npy.c, npz.c. */
#ifndef HTI_NPY_H
#define HTI_NPY_H

#include "data_internal.h"

/* What a header says, and the dtype that holds it. */
typedef struct hti_npy {
    int type; /* in the table of npy.c */
    ht_dtype dtype;
    ht_shape shape;
    bool big, fortran; /* the highest byte first; the first axis is the fastest */
} hti_npy;

/* The header; that the file can hold the elements has been looked at. */
ht_status hti_npy_read_header(hti_input *in, hti_npy *npy);
/* The elements, to the end of the file, into a new tensor of npy's dtype and shape. */
ht_status hti_npy_read_data(hti_input *in, const hti_npy *npy, ht_tensor *x);

enum { HTI_NPY_HEADER = 320 }; /* the most bytes of one that is written */
/* x's header, and how many bytes it has. */
size_t hti_npy_put_header(const ht_tensor *x, char header[HTI_NPY_HEADER]);

#endif
