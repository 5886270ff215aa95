/* SPDX-License-Identifier: MIT */
/* 08_captured_program.c: a piece of tape, cut out, planned, and run again.
 *
 * (Needs lesson 2.) On a recorded tape an op is written down, not run: a node has an op,
 * inputs with smaller numbers, and a shape, but no numbers. A program is cut out of it
 * between inputs and outputs, and runs as often as one likes. What happens on the way can
 * be told before anything has run:
 *
 * 1. Equal nodes are one. The same op of the same inputs gives the same numbers; so the
 *    tape returns the node that is there.
 *
 * 2. What nobody needs is left out (dead code):
 *
 *        an output is needed;  an input of a needed node is needed;  nothing else is
 *
 *    which is a walk back from the outputs, as lesson 2's sweep is.
 *
 * 3. Memory is shared. With node i computed at time i, its value lives from time i to
 *    last(i), the largest number of a node that reads it; an output lives to the end, n.
 *    Values i and j live at the same time if
 *
 *        i <= last(j)  and  j <= last(i)
 *
 *    and then must not overlap in memory; an op's result and its inputs live together,
 *    at the time of the op. Bytes are known from shapes. First fit: take the nodes in
 *    their order, and put each at the lowest offset where it overlaps none that lives at
 *    the same time. The largest end of all is the peak, the bytes of the arena:
 *
 *        time   0  1  2  3  4        u = a b, e = exp u, s = sum e, q = u u, y = q + s;
 *        256          s  s  s        each of 128 bytes but s, of 8: the peak is 264
 *        128       e  e  q  q        (e is last read at time 2, u at time 3; q and y
 *          0    u  u  u  u  y        come to where they were)
 *
 * What is captured is nodes, not what C did: an `if` runs once, when the program is
 * recorded, and the branch it took is all there is (it is frozen). A choice by numbers
 * has to be an op, ht_where. For this reason the library refuses to give the value of a
 * recorded node; what you read from your own arrays it cannot see.
 *
 * The library plans as below, but inputs and outputs are the caller's memory, a result
 * may take the place of an input that dies with it, and offsets are multiples of 64.
 * engine.c, section 5, has cut and run. Next: lesson 9, a step of training so cut. */
#include "lesson.h"

enum { N = 5 };

/* A node as its planner sees it. */
typedef struct node {
    const char *formula;
    int bytes, input[2]; /* numbers of nodes; -1: none, or an input of the program */
} node;
static const node nodes[N] = {{"u = a b", 128, {-1, -1}},
                              {"e = exp u", 128, {0, -1}},
                              {"s = sum e", 8, {1, -1}},
                              {"q = u u", 128, {0, 0}},
                              {"y = q + s", 128, {3, 2}}};

static void last_use(int out, int *last)
{
    for (int i = 0; i < N; i++) {
        last[i] = i;
        for (int k = 0; k < 2; k++)
            if (nodes[i].input[k] >= 0) last[nodes[i].input[k]] = i;
    }
    last[out] = N;
}

/* First fit. Returns the peak. */
static int plan(const int *last, int *offset)
{
    int peak = 0;
    for (int i = 0; i < N; i++) {
        int at = 0;
        for (int j = 0; j < i; j++) { /* as j < i, the two meet if i <= last(j) */
            int end = offset[j] + nodes[j].bytes;
            bool apart = i > last[j] || at >= end || at + nodes[i].bytes <= offset[j];
            if (!apart) at = end, j = -1; /* above j, and from the first again */
        }
        offset[i] = at;
        if (peak < at + nodes[i].bytes) peak = at + nodes[i].bytes;
    }
    return peak;
}

static void arena(void)
{
    int last[N], offset[N], peak = (last_use(N - 1, last), plan(last, offset));
    puts("\nnode       bytes   lives  at");
    for (int i = 0; i < N; i++)
        printf("%-10s %5d  %d .. %d  %d\n", nodes[i].formula, nodes[i].bytes, i, last[i],
               offset[i]);
    printf("each by itself 520 bytes, planned %d\n", peak);
}

/* y = sum exp u + u u, with u = a b, as one writes it; and something nobody needs. */
static ht_program *capture(ht_tape *t)
{
    ht_type square = {HT_F64, HT_SHAPE(4, 4)};
    ht_var a = ht_input_like(t, square), b = ht_input_like(t, square);
    ht_var s = ht_sum(ht_exp(ht_matmul(a, b))), unused = ht_exp(ht_matmul(b, b));
    ht_var y = ht_add(ht_mul(ht_matmul(a, b), ht_matmul(a, b)), s);
    return (void)unused, ht_program_new(t, 2, (ht_var[]){a, b}, 1, &y);
}

/* |x|, by C, by the number in x now, which is not negative; and by an op. */
static void frozen(ht_tape *t, ht_tensor *x, ht_tensor *const *y)
{
    ht_var in = ht_input(t, x);
    ht_var out[2] = {in, ht_where(ht_greater(in, 0), in, ht_neg(in))};
    if (ht_tensor_get(x, 0) < 0) out[0] = ht_neg(in);
    ht_program *p = ht_program_new(t, 1, &in, 2, out);
    for (int i = 3; i >= -3; i -= 6) {
        ht_tensor_fill(x, i);
        ht_program_run(p, (const ht_tensor *[]){x}, y);
        double by_if = ht_tensor_get(y[0], 0), by_op = ht_tensor_get(y[1], 0);
        printf("|%2d| by if: %2.0f, by ht_where: %2.0f\n", i, by_if, by_op);
    }
    ht_program_free(p);
}

int main(int argc, char **argv)
{
    const char *page = lesson_page(argc, argv);
    ht_context *ctx = lesson_context();
    ht_tape *t = ht_tape_new(ctx, HT_RECORD);
    ht_tensor *x[3];
    for (int i = 0; i < 3; i++) x[i] = ht_tensor_new(ctx, HT_F64, HT_SHAPE(4, 4));
    ht_program *p = capture(t);
    puts("the tape, of 4 calls of ht_matmul and 2 of ht_exp:");
    ht_tape_print(t, stdout);
    puts("");
    ht_program_print(p, stdout);
    if (page) ht_program_write_html(p, page);
    arena();
    ht_tensor_fill(x[1], 0.25);
    uint64_t calls = 0;
    for (int i = 0; i < 1000; i++) {
        ht_tensor_fill(x[0], 0.001 * i);
        ht_program_run(p, (const ht_tensor *[]){x[0], x[1]}, &x[2]);
        if (i == 0) calls = ht_context_allocations(ctx);
    }
    printf("\n999 runs for other inputs: %d allocations; y[0] = %.4f, by hand %.4f\n\n",
           (int)(ht_context_allocations(ctx) - calls), ht_tensor_get(x[2], 0),
           0.999 * 0.999 + 16 * exp(0.999));
    frozen(t, x[0], x + 1);
    ht_program_free(p);
    ht_tape_free(t);
    for (int i = 0; i < 3; i++) ht_tensor_free(x[i]);
    ht_context_free(ctx);
}
