/* SPDX-License-Identifier: MIT */
/* 01_autodiff.c: a derivative is more tape, so it can be differentiated again. */
#include <hypertape.h>

int main(void)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_tensor *two = ht_tensor_new(ctx, HT_F64, HT_SCALAR);
    ht_tensor_fill(two, 2);
    ht_var x = ht_input(ht_tape_new(ctx, HT_EAGER), two),
           y = ht_mul(ht_exp(x), ht_square(x));
    for (int order = 0; order < 4; order++, ht_grad(y, 1, &x, &y))
        printf("derivative %d of e^x x^2 at 2: %.6f\n", order, ht_item(y));
}
