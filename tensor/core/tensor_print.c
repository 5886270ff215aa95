/* SPDX-License-Identifier: MIT */
/* tensor_print.c: an array as nested, aligned lists, as numpy has it. Read next:
 * set_print.c. */
#include <string.h>

#include "tensor_internal.h"

enum { PRINT_ALL = 1000, PRINT_EDGE = 3, PRINT_LINE = 88, PRINT_NUMBER = 32 };

typedef struct printer {
    const ht_array *a;
    FILE *f;           /* NULL: only the widths are taken */
    bool cut;          /* the middle of long axes is left out */
    int width, column; /* of the widest number; where the line has come to */
} printer;

static void print_number(printer *p, int64_t at)
{
    char text[PRINT_NUMBER];
    int n = snprintf(text, sizeof text, "%.6g", hti_printed(hti_element(p->a, at)));
    if (!p->f)
        p->width = n > p->width ? n : p->width;
    else
        fprintf(p->f, "%*s", p->width, text);
    p->column += p->width;
}

/* A new line as far in as the lists that are open. */
static void print_break(printer *p, int depth)
{
    if (p->f) fprintf(p->f, "\n%*s", depth, "");
    p->column = depth;
}

/* Between two entries of an axis: lists stand below each other, apart by as many empty
 * lines as have axes ended. */
static void print_between(printer *p, int axis)
{
    int below = p->a->shape.rank - 1 - axis;
    if (p->f) fputs(below ? "," : ", ", p->f);
    p->column += 2;
    for (int i = 1; i < below && p->f; i++) fputc('\n', p->f);
    if (below || p->column + p->width + 2 > PRINT_LINE) print_break(p, axis + 1);
}

/* The list of an axis; its first element is number `at` of all. */
static void print_axis(printer *p, int axis, int64_t at)
{
    const ht_shape *shape = &p->a->shape;
    if (axis == shape->rank) {
        print_number(p, at);
        return;
    }
    int64_t n = shape->dim[axis], step = 1;
    for (int i = axis + 1; i < shape->rank; i++) step *= shape->dim[i];
    if (p->f) fputc('[', p->f);
    p->column++;
    for (int64_t i = 0; i < n; i++) {
        if (i > 0) print_between(p, axis);
        if (p->cut && i == PRINT_EDGE && n > 2 * PRINT_EDGE) {
            if (p->f) fputs("...", p->f);
            i = n - PRINT_EDGE;
            print_between(p, axis);
        }
        print_axis(p, axis + 1, at + i * step);
    }
    if (p->f) fputc(']', p->f);
    p->column++;
}

void hti_print_array(const ht_array *a, FILE *f)
{
    int64_t count = hti_count(&a->shape);
    printer p = {.a = a, .cut = count > PRINT_ALL};
    if (count) print_axis(&p, 0, 0);
    p.f = f;
    p.column = 0;
    if (count)
        print_axis(&p, 0, 0);
    else
        fputs("[]", f);
    fputc('\n', f);
}

void ht_tensor_print(const ht_tensor *x, FILE *f)
{
    HT_ASSERT(x && f, "ht_tensor_print: tensor %p, file %p", (const void *)x, (void *)f);
    HTI_ALIVE(x, "ht_tensor_print", "tensor");
    char text[HTI_TENSOR_TEXT];
    fprintf(f, "%s\n", hti_tensor_text(x, text));
    hti_print_array(&x->array, f);
}
