/* SPDX-License-Identifier: MIT */
/* user.c: a program that links most of the library: a product, and a file that is not. */
#include <hypertape.h>
#include <stdio.h>

int main(void)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *twos = ht_tensor_new(ctx, HT_F64, HT_SHAPE(64, 64));
    ht_tensor_fill(twos, 2);
    ht_var x = ht_input(tape, twos);
    double mean = ht_item(ht_mean(ht_matmul(x, x)));
    ht_check(ctx);
    if (ht_idx_read(ctx, "no/such/file")) return 1;
    printf("%g\n", mean);
    ht_tape_free(tape);
    ht_tensor_free(twos);
    ht_context_free(ctx);
    return 0;
}
