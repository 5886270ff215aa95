/* SPDX-License-Identifier: MIT */
/* fuzz_calls.c: bytes as a program of public calls, right and wrong ones: sets, tensors,
 * tapes of both policies, ops, derivatives, programs, optimizers, rewinds, resets, an
 * on_error that misbehaves, memory that runs out. A call may refuse by an error or by an
 * assertion; then the context and what was made on it are thrown away whole, since half
 * of a call may have happened. Anything else is a finding: a crash, what the sanitizers
 * see, a block left over, a replay that is not the eager value bit for bit.
 * Read next: target.h. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <unistd.h>

#include "ht_nn.h"
#include "target.h"

enum { SLOTS = 12, FIXED = 6, STEPS = 120 };

/* Memory: every block known, so that all of it can be dropped; fails on demand. */
typedef struct heap_block {
    struct heap_block *next, *before;
} heap_block;

typedef struct world {
    fuzz_bytes bytes;
    heap_block ring;
    int64_t until_failure; /* allocations; negative: never */
    unsigned handler;      /* what on_error does, as bits */
    ht_context *ctx;
    ht_tape *tape[3]; /* eager, recorded, and another eager one */
    ht_var var[SLOTS];
    ht_tensor *tensor[SLOTS];
    ht_set *set;
    ht_program *program;
    int n_in, n_out;
    ht_optimizer *optimizer;
    ht_mark mark[3];
    int side; /* the tape of the step at hand: 0 eager, 1 recorded */
} world;

static world w;
static sigjmp_buf back;
static bool
    differs; /* a replay from its eager value: told when abort means abort again */
static uint64_t inputs, calls, refused, aborted, compared;

static void *heap_resize(void *user, void *old, size_t old_size, size_t new_size)
{
    (void)user;
    heap_block *from = old ? (heap_block *)old - 1 : NULL, *to = NULL;
    if (new_size) {
        if (w.until_failure >= 0 && w.until_failure-- == 0) return NULL;
        if (new_size > (size_t)1 << 28 || !(to = malloc(sizeof *to + new_size)))
            return NULL;
        *to = (heap_block){w.ring.next, &w.ring};
        w.ring.next = to->next->before = to;
        if (from) memcpy(to + 1, old, old_size < new_size ? old_size : new_size);
    }
    if (from) {
        from->next->before = from->before;
        from->before->next = from->next;
        free(from);
    }
    return to ? to + 1 : NULL;
}

static void heap_drop(void)
{
    while (w.ring.next != &w.ring) {
        heap_block *b = w.ring.next;
        w.ring.next = b->next;
        b->next->before = &w.ring;
        free(b);
    }
}

static void on_error(ht_context *ctx, void *user)
{
    (void)user;
    refused++;
    if (w.handler & 1) ht_context_clear(ctx);
    if (w.handler & 2) ht_tensor_free(ht_tensor_new(ctx, HT_F32, HT_SHAPE(3)));
    if (w.handler & 4 && w.tape[0]) ht_sum(ht_constant(w.tape[0], 1));
    if (w.handler & 8) ht_tape_reset(w.tape[1]); /* an assertion */
}

static void on_abort(int number)
{
    (void)number;
    siglongjmp(back, 1);
}

/* Arguments: nearly always sensible. */

static bool rarely(void)
{
    return fuzz_byte(&w.bytes) == 255;
}

static int64_t size(void)
{
    static const int64_t odd[] = {-1, INT64_MAX, INT64_MIN, INT64_C(1) << 32,
                                  0,  -7,        1000};
    if (rarely()) return odd[fuzz_below(&w.bytes, 7)];
    return fuzz_below(&w.bytes, 5);
}

/* Past the ends and round. */
static int64_t plus(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

static ht_shape shape(void)
{
    ht_shape s = {(int)fuzz_below(&w.bytes, 4), {0}};
    if (rarely()) s.rank = (int)fuzz_below(&w.bytes, 12) - 3;
    for (int i = 0; i < HT_MAX_RANK; i++) s.dim[i] = i < s.rank ? size() : 0;
    return s;
}

static ht_dtype dtype(void)
{
    uint32_t b = fuzz_below(&w.bytes, 16);
    if (rarely()) return (ht_dtype)b;
    return b < 8 ? HT_F64 : b < 12 ? HT_F32 : b < 15 ? HT_I32 : HT_U8;
}

static ht_axes axes(void)
{
    ht_axes a = {(int)fuzz_below(&w.bytes, 3), {0}};
    for (int i = 0; i < HT_MAX_RANK; i++) a.axis[i] = (int)fuzz_below(&w.bytes, 5) - 2;
    if (rarely()) a.n = (int)fuzz_below(&w.bytes, 10) - 2;
    return a;
}

static double number(void)
{
    static const double odd[] = {0, -1, 1e300, 0x1p-1074, 256, 2147483648.0, 1e-30, 3};
    uint32_t b = fuzz_byte(&w.bytes);
    if (b < 8) return odd[b];
    if (b == 8) return (double)NAN;
    if (b == 9) return (double)INFINITY;
    return fuzz_real(&w.bytes, -2, 2);
}

/* A variable of some slot; rarely a number, HT_ZERO or garbage. */
static ht_var var(void)
{
    if (rarely()) {
        switch (fuzz_below(&w.bytes, 4)) {
        case 0:
            return ht_number(number());
        case 1:
            return HT_ZERO;
        case 2:
            return (ht_var){0};
        default:
            return (ht_var){w.tape[0], fuzz_below(&w.bytes, 40), fuzz_byte(&w.bytes)};
        }
    }
    int side = rarely() ? !w.side : w.side;
    return w.var[2 * fuzz_below(&w.bytes, SLOTS / 2) + (uint32_t)side];
}

static ht_tape *tape(void)
{
    if (rarely()) return fuzz_byte(&w.bytes) & 1 ? NULL : w.tape[2];
    return w.tape[w.side];
}

static void put(ht_var x)
{
    if (!ht_is_zero(x) && x.tape != w.tape[w.side] && !rarely()) return; /* a number */
    w.var[2 * fuzz_below(&w.bytes, SLOTS / 2) + (uint32_t)w.side] = x;
}

/* The first are read by the eager tape, the others may change. */
static ht_tensor *tensor(bool fixed)
{
    if (rarely())
        return fuzz_byte(&w.bytes) & 1 ? NULL : w.tensor[fuzz_below(&w.bytes, SLOTS)];
    return w.tensor[(fixed ? 0 : FIXED) + fuzz_below(&w.bytes, FIXED)];
}

/* Ops. */

typedef ht_var (*op_1)(ht_var x, const char *site);
typedef ht_var (*op_2)(ht_var a, ht_var b, const char *site);
#define OP(name) ht_##name##_at
static const op_1 ones[] = {OP(neg),
                            OP(exp),
                            OP(log),
                            OP(sqrt),
                            OP(tanh),
                            OP(sigmoid),
                            OP(relu),
                            OP(abs),
                            OP(square),
                            OP(stop_gradient),
                            OP(log1p),
                            OP(expm1),
                            OP(softplus),
                            OP(rsqrt),
                            OP(reciprocal),
                            OP(sin),
                            OP(cos),
                            OP(erf),
                            OP(silu),
                            OP(gelu),
                            OP(gelu_tanh),
                            OP(sum),
                            OP(mean),
                            OP(argmax),
                            OP(argmin),
                            OP(transpose),
                            OP(softmax),
                            OP(log_softmax),
                            OP(global_avg_pool2d)};
static const op_2 twos[] = {
    OP(add),           OP(sub),           OP(mul),           OP(div),
    OP(pow),           OP(maximum),       OP(minimum),       OP(equal),
    OP(greater),       OP(greater_equal), OP(gather),        OP(matmul),
    OP(cross_entropy), OP(take_last),     OP(squared_error), OP(binary_cross_entropy),
    OP(kl_divergence), OP(weighted_mean)};
enum { ONES = sizeof ones / sizeof *ones, TWOS = sizeof twos / sizeof *twos };

static ht_var reduced(void)
{
    ht_var x = var();
    ht_axes a = axes();
    bool keep = fuzz_byte(&w.bytes) & 1;
    switch (fuzz_below(&w.bytes, 7)) {
    case 0:
        return ht_sum_axes(x, a, keep);
    case 1:
        return ht_mean_axes(x, a, keep);
    case 2:
        return ht_max_axes(x, a, keep);
    case 3:
        return ht_min_axes(x, a, keep);
    case 4:
        return ht_logsumexp_axes(x, a, keep);
    case 5:
        return ht_variance_axes(x, a, keep, (int)fuzz_below(&w.bytes, 3));
    default:
        return ht_norm_axes(x, a, keep);
    }
}

static ht_var moved(void)
{
    ht_var x = var(), list[3];
    int axis = (int)fuzz_below(&w.bytes, 4) - 1, n = (int)fuzz_below(&w.bytes, 4);
    for (int i = 0; i < 3; i++) list[i] = fuzz_byte(&w.bytes) & 1 ? x : var();
    switch (fuzz_below(&w.bytes, 10)) {
    case 0:
        return ht_reshape(x, shape());
    case 1:
        return ht_permute(x, axes());
    case 2:
        return ht_broadcast(x, shape());
    case 3:
        return ht_slice(x, axis, size(), size(), plus(size(), -2));
    case 4:
        return ht_pad(x, axis, size(), size());
    case 5:
        return ht_concat(n, list, axis);
    case 6:
        return ht_stack(n, list, axis);
    case 7:
        return ht_flip(x, axis);
    case 8:
        return ht_cumsum(x, axis);
    default:
        return ht_cast(x, dtype());
    }
}

static ht_var images(void)
{
    ht_var x = var();
    if (fuzz_byte(&w.bytes) & 1) x = ht_reshape(x, HT_SHAPE(1, 1, size(), -1));
    ht_conv_options c = {
        {plus(size() % 2, 1), 1}, {size(), size()}, {1, plus(size() % 2, 1)}, 1};
    ht_pool_options p = {{plus(size(), 1), 2}, {plus(size(), 1), 1}, {size() / 2, 0}};
    switch (fuzz_below(&w.bytes, 3)) {
    case 0:
        return ht_conv2d(x, ht_reshape(var(), HT_SHAPE(1, 1, size(), -1)), c);
    case 1:
        return ht_max_pool2d(x, p);
    default:
        return ht_avg_pool2d(x, p);
    }
}

static ht_var projected(void)
{
    ht_var a = var(), r = rarely() ? ht_number(number()) : var();
    switch (fuzz_below(&w.bytes, 6)) {
    case 0:
        return ht_project_simplex(a, r);
    case 1:
        return ht_project_capped(a, r);
    case 2:
        return ht_project_l1(a, r);
    case 3:
        return ht_project_l2(a, r);
    case 4:
        return ht_soft_threshold(a, r);
    default:
        return ht_group_soft_threshold(a, r);
    }
}

static ht_var of_several(void)
{
    ht_var a = var(), b = var(), c = var();
    double eps = rarely() ? number() : 1e-3;
    ht_type type = {dtype(), shape()};
    switch (fuzz_below(&w.bytes, 16)) {
    case 0:
        return ht_where(a, b, c);
    case 1:
        return ht_clamp(a, b, c);
    case 2:
        return ht_scatter_add(a, b, c);
    case 3:
        return ht_one_hot(a, size(), type.dtype);
    case 4:
        return ht_layernorm(a, rarely() ? b : HT_ZERO, HT_ZERO, eps);
    case 5:
        return ht_groupnorm(a, size(), HT_ZERO, HT_ZERO, eps);
    case 6:
        return ht_batchnorm(a, HT_ZERO, HT_ZERO, eps);
    case 7:
        return ht_attention(a, b, c, HT_ZERO, fuzz_byte(&w.bytes) & 1);
    case 8:
        return ht_tril(a, (int)fuzz_below(&w.bytes, 5) - 2, number());
    case 9:
        return ht_uniform(a, type, 3);
    case 10:
        return ht_dropout(a, fuzz_real(&w.bytes, -0.1, 1.1), 3, b);
    case 11:
        return ht_huber(a, b, ht_number(number()));
    case 12:
        return ht_leaky_relu(a, number());
    case 13:
        return projected();
    case 14:
        return ht_project_box(a, b, c);
    default:
        return ht_cross_entropy_smoothed(a, b, ht_number(number()));
    }
}

static ht_var op(void)
{
    switch (fuzz_below(&w.bytes, 8)) {
    case 0:
    case 1:
        return ones[fuzz_below(&w.bytes, ONES)](var(), HT_HERE);
    case 2:
    case 3:
        return twos[fuzz_below(&w.bytes, TWOS)](var(), var(), HT_HERE);
    case 4:
        return reduced();
    case 5:
        return moved();
    case 6:
        return images();
    default:
        return of_several();
    }
}

/* Calls. */

static void call_leaf(void)
{
    ht_tape *t = tape();
    if (fuzz_byte(&w.bytes) & 1)
        put(ht_input(t, tensor(true)));
    else if (t == w.tape[1] && t)
        put(ht_input_like(t, ((ht_type){dtype(), shape()})));
    else
        put(ht_constant(t, number()));
}

static void call_derive(void)
{
    ht_var y = var(), x[2] = {var(), var()}, v[2] = {var(), var()}, d[2];
    int n = 1 + (int)fuzz_below(&w.bytes, 2);
    if (rarely()) n = -1;
    switch (fuzz_below(&w.bytes, 7)) {
    case 0:
        ht_grad(ht_sum(y), n, x, d);
        break;
    case 1:
        ht_grad_or_zero(y, n, x, d);
        break;
    case 2:
        ht_vjp(1, &y, v, n, x, d);
        break;
    case 3:
        ht_jvp(n, x, v, 1, &y, d);
        break;
    case 4:
        d[0] = ht_jacobian(y, x[0]);
        break;
    case 5:
        d[0] = ht_hessian(ht_sum(y), x[0]);
        break;
    default:
        ht_hvp(y, n, x, v, d);
    }
    put(d[0]);
}

static void call_program(void)
{
    ht_var in[2] = {var(), var()}, out[2] = {var(), var()};
    if (w.program) {
        ht_program_free(w.program);
        w.program = NULL;
    }
    w.n_in = (int)fuzz_below(&w.bytes, 3);
    w.n_out = 1 + (int)fuzz_below(&w.bytes, 2);
    w.program = ht_program_new(w.tape[1], w.n_in, in, w.n_out, out);
}

static void call_run(void)
{
    ht_tensor *in[2] = {tensor(true), tensor(true)},
              *out[2] = {tensor(false), tensor(false)};
    if (!w.program) return;
    ht_program_poison(w.program, fuzz_byte(&w.bytes) & 1);
    ht_program_run(w.program, (const ht_tensor *const *)in, out);
}

static void call_call(void)
{
    ht_var in[2] = {var(), var()}, out[2];
    if (!w.program) return;
    ht_call(tape(), w.program, in, out);
    put(out[0]);
}

static void call_tensor(void)
{
    ht_tensor **x = &w.tensor[(rarely() ? 0 : FIXED) + fuzz_below(&w.bytes, FIXED)];
    switch (fuzz_below(&w.bytes, 5)) {
    case 0:
        ht_tensor_free(*x); /* an assertion if borrowed */
        *x = NULL;
        *x = ht_tensor_new(w.ctx, dtype(), shape());
        break;
    case 1:
        if (ht_tensor_count(*x)) ht_tensor_set(*x, size(), number());
        break;
    case 2:
        ht_tensor_fill(*x, number());
        break;
    case 3:
        ht_tensor_copy(*x, tensor(true));
        break;
    default:
        ht_tensor_normal(*x, 5, 0, 1);
    }
}

/* New leaves in the slots of a tape. */
static void lay(int side)
{
    for (int i = side; i < SLOTS; i += 2) {
        ht_tensor *x = w.tensor[i / 2 % FIXED];
        w.var[i] = w.tape[side] && x ? ht_input(w.tape[side], x) : HT_ZERO;
    }
}

static void call_tape(void)
{
    int k = (int)fuzz_below(&w.bytes, 2);
    switch (fuzz_below(&w.bytes, 8)) {
    case 0:
        ht_tape_reset(w.tape[k]);
        lay(k);
        break;
    case 1:
    case 2:
        w.mark[k] = ht_tape_mark(w.tape[k]);
        break;
    case 3:
        if (!w.mark[k].nodes) break;
        ht_tape_rewind(w.tape[k], w.mark[k]);
        lay(k);
        break;
    default:
        ht_context_clear(w.ctx);
    }
}

static void call_look(void)
{
    static FILE *sink;
    if (!sink) sink = fopen("/dev/null", "w");
    ht_var x = var();
    switch (fuzz_below(&w.bytes, 8)) {
    case 0:
        ht_print(x, sink);
        break;
    case 1:
        ht_item(x);
        break;
    case 2:
        ht_value(x);
        break;
    case 3:
        ht_tape_print(w.tape[fuzz_below(&w.bytes, 2)], sink);
        break;
    case 4:
        put(ht_name(x, "a \"name\""));
        break;
    case 5:
        ht_tape_dot_of(w.tape[fuzz_below(&w.bytes, 2)], 1, &x, rarely(), sink);
        break;
    case 6:
        if (rarely()) ht_tape_write_html(w.tape[w.side], "fuzz_calls.html");
        remove("fuzz_calls.html");
        break;
    default:
        ht_tape_dot(w.tape[fuzz_below(&w.bytes, 2)], sink);
    }
}

static void call_train(void)
{
    if (!w.set) w.set = ht_set_new(w.ctx);
    if (w.set && !w.optimizer && fuzz_byte(&w.bytes) & 1)
        ht_set_add(w.set, fuzz_byte(&w.bytes) & 1 ? "a" : "b", dtype(), shape());
    ht_update u = {.rule = fuzz_byte(&w.bytes) & 1 ? &ht_sgd : &ht_adam,
                   .rate = HT_FIXED(number())};
    if (u.rule == &ht_adam)
        u.momentum = HT_FIXED(0.9), u.beta2 = HT_FIXED(0.99), u.eps = HT_FIXED(number());
    if (w.set && !w.optimizer) w.optimizer = ht_optimizer_new(w.set, &u);
    if (w.optimizer) ht_optimizer_step(w.optimizer, w.set);
}

/* A value of the eager tape is that of the same ops recorded, cut and run. */
static void call_compare(void)
{
    ht_tensor *x = tensor(true), *y = tensor(true);
    if (!x || !y || ht_context_status(w.ctx) != HT_OK) return;
    fuzz_bytes again = w.bytes;
    ht_tape *t[2] = {ht_tape_new(w.ctx, HT_EAGER), ht_tape_new(w.ctx, HT_RECORD)};
    ht_var kept[SLOTS], in[2], last[2];
    memcpy(kept, w.var, sizeof kept);
    int n = 1 + (int)(again.at < again.size ? again.data[again.at] % 6 : 0);
    for (int k = 0; k < 2 && t[0] && t[1]; k++) {
        w.bytes = again;
        in[0] = ht_input(t[k], x), in[1] = ht_input(t[k], y);
        for (int i = 0; i < SLOTS; i++) w.var[i] = in[i / 2 & 1];
        for (int i = 0; i < n; i++) {
            last[k] = op();
            w.var[2 * fuzz_below(&w.bytes, SLOTS / 2) + (uint32_t)w.side] = last[k];
        }
    }
    bool ok = t[0] && t[1] && ht_context_status(w.ctx) == HT_OK && last[0].tape == t[0] &&
              last[1].tape == t[1];
    ht_program *p = ok ? ht_program_new(t[1], 2, in, 1, &last[1]) : NULL;
    const ht_tensor *eager = p ? ht_value(last[0]) : NULL;
    ht_tensor *out =
        eager ? ht_tensor_new(w.ctx, ht_tensor_dtype(eager), ht_tensor_shape(eager))
              : NULL;
    if (out && ht_program_run(p, (const ht_tensor *[]){x, y}, &out) == HT_OK) {
        compared++;
        differs =
            memcmp(ht_tensor_data(out), ht_tensor_data(eager), ht_tensor_bytes(out));
    }
    memcpy(w.var, kept, sizeof kept);
    ht_program_free(p);
    ht_tape_free(t[0]);
    ht_tape_free(t[1]);
    ht_tensor_free(out);
}

static void step(void)
{
    static void (*const rest[])(void) = {
        call_leaf, call_derive, call_program, call_run,  call_call,    call_tensor,
        call_tape, call_look,   call_train,   call_leaf, call_compare, call_derive};
    calls++;
    w.side = fuzz_below(&w.bytes, 4) == 0;
    if (fuzz_byte(&w.bytes) & 1) ht_context_clear(w.ctx);
    /* Values double in size by joins: small ones only go on. */
    if (fuzz_byte(&w.bytes) & 1)
        put(op());
    else
        rest[fuzz_below(&w.bytes, sizeof rest / sizeof *rest)]();
}

static void world_open(void)
{
    uint32_t b = fuzz_byte(&w.bytes);
    w.until_failure = b < 64 ? (int64_t)fuzz_below(&w.bytes, 200) : -1;
    w.handler = b & 7 ? (b & 64 ? b & 7 : 0) : b >> 4;
    w.ring.next = w.ring.before = &w.ring;
    w.ctx = ht_context_new(&(ht_context_options){
        .alloc = heap_resize, .on_error = on_error, .threads = 1, .byte_limit = 1 << 24});
    if (!w.ctx) return;
    w.tape[0] = ht_tape_new(w.ctx, HT_EAGER);
    w.tape[1] = ht_tape_new(w.ctx, HT_RECORD);
    w.tape[2] = ht_tape_new(w.ctx, HT_EAGER);
    static const ht_shape shapes[] = {{2, {2, 3}}, {2, {3, 2}}, {1, {3}}, {0, {0}}};
    for (int i = 0; i < SLOTS; i++) {
        int k = i % FIXED;
        ht_shape s = shapes[k < 4 ? k : 2];
        w.tensor[i] = ht_tensor_new(w.ctx, k < 5 ? HT_F64 : HT_I32, s);
        if (w.tensor[i] && k < 5) ht_tensor_normal(w.tensor[i], (uint64_t)i, 0, 1);
    }
    lay(0);
    lay(1);
}

static void world_close(void)
{
    ht_program_free(w.program);
    if (w.optimizer) ht_optimizer_free(w.optimizer);
    for (int k = 0; k < 3; k++) ht_tape_free(w.tape[k]);
    ht_set_free(w.set);
    for (int i = 0; i < SLOTS; i++) ht_tensor_free(w.tensor[i]);
    ht_context_free(w.ctx); /* asserts that nothing is left */
    FUZZ_REQUIRE(w.ring.next == &w.ring, "blocks are left");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    memset(&w, 0, sizeof w);
    w.bytes = (fuzz_bytes){data, n, 0};
    inputs++;
    int saved = dup(STDERR_FILENO);
    static FILE *quiet;
    if (!quiet) quiet = fopen("/dev/null", "w");
    struct sigaction action = {.sa_handler = on_abort}, before;
    sigaction(SIGABRT, &action, &before);
    volatile bool whole = false;
    if (quiet && !getenv(FUZZ_ALOUD)) dup2(fileno(quiet), STDERR_FILENO);
    if (!sigsetjmp(back, 1)) {
        world_open();
        for (int i = 0; i < STEPS && w.ctx && w.bytes.at < n; i++) step();
        whole = true;
    } else
        aborted++;
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    sigaction(SIGABRT, &before, NULL);
    FUZZ_REQUIRE(!differs, "eager and replayed");
    if (whole && w.ctx) world_close();
    heap_drop();
    return 0;
}

size_t fuzz_example(uint64_t number_of, uint8_t *to, size_t most)
{
    size_t n = most < 512 ? most : 512;
    for (size_t i = 0; i < n; i++)
        to[i] =
            (uint8_t)((number_of * 2654435761u + i * 40503u + (i * i + number_of) * 97) >>
                      3);
    return n;
}

void fuzz_figures(FILE *f)
{
    fprintf(
        f,
        "%llu inputs, %llu calls, %llu errors, %llu ended by an assertion, %llu values "
        "compared with their replay",
        (unsigned long long)inputs, (unsigned long long)calls,
        (unsigned long long)refused, (unsigned long long)aborted,
        (unsigned long long)compared);
}
