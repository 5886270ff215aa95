/* SPDX-License-Identifier: MIT */
/* test_autograd_tails.c: functions of one number where they are nearly flat, tiny or at
 * infinity: value and two derivatives keep their relative digits, in reverse and forward,
 * eager and replayed, f32 and f64. Read next: test_autograd_math.c. */
#include <float.h>

#include "ht_autograd.h"
#include "test.h"

#define F(name)                      \
    static ht_var f_##name(ht_var x) \
    {                                \
        return ht_##name(x);         \
    }
F(sigmoid)
F(tanh)
F(softplus)
F(silu)
F(gelu)
F(gelu_tanh)
F(erf)
F(log1p)
F(expm1)
F(relu)

static ht_var f_flat(ht_var x)
{
    return ht_leaky_relu(x, 0);
}

/* By mpmath at 60 digits; f32 has every x exactly. */
static const struct tail {
    const char *name;
    ht_var (*f)(ht_var x);
    double at, want[3]; /* value, first and second derivative */
} tails[] = {
    {"sigmoid", f_sigmoid, 40, {1, 4.2483542552915889e-18, -4.2483542552915889e-18}},
    {"sigmoid",
     f_sigmoid,
     -40,
     {4.2483542552915889e-18, 4.2483542552915889e-18, 4.2483542552915889e-18}},
    {"sigmoid",
     f_sigmoid,
     17.5,
     {0.99999997489000902, 2.5109990296416514e-08, -2.5109989035393256e-08}},
    {"sigmoid",
     f_sigmoid,
     -17.5,
     {2.5109990926928157e-08, 2.5109990296416514e-08, 2.5109989035393256e-08}},
    {"sigmoid",
     f_sigmoid,
     9,
     {0.9998766054240138, 0.00012337934976484891, -0.00012334890107974954}},
    {"sigmoid", f_sigmoid, 0x1p-100, {0.5, 0.25, -9.8607613152626476e-32}},
    {"sigmoid", f_sigmoid, 700, {1, 9.8596765437597708e-305, -9.8596765437597708e-305}},
    {"sigmoid",
     f_sigmoid,
     -700,
     {9.8596765437597708e-305, 9.8596765437597708e-305, 9.8596765437597708e-305}},
    {"tanh", f_tanh, 20, {1, 1.6993417021166355e-17, -3.3986834042332711e-17}},
    {"tanh", f_tanh, -20, {-1, 1.6993417021166355e-17, 3.3986834042332711e-17}},
    {"tanh",
     f_tanh,
     9,
     {0.999999969540041, 6.0919917123232291e-08, -1.2183983053522824e-07}},
    {"tanh",
     f_tanh,
     3,
     {0.99505475368673046, 0.0098660371654401904, -0.019634494363042435}},
    {"tanh", f_tanh, 0x1p-60, {8.6736173798840355e-19, 1, -1.7347234759768071e-18}},
    {"tanh", f_tanh, 350, {1, 3.9438706175039083e-304, -7.8877412350078166e-304}},
    {"softplus", f_softplus, 40, {40, 1, 4.2483542552915889e-18}},
    {"softplus",
     f_softplus,
     -40,
     {4.2483542552915889e-18, 4.2483542552915889e-18, 4.2483542552915889e-18}},
    {"softplus",
     f_softplus,
     17.5,
     {17.500000025109991, 0.99999997489000902, 2.5109990296416514e-08}},
    {"softplus",
     f_softplus,
     -80,
     {1.8048513878454153e-35, 1.8048513878454153e-35, 1.8048513878454153e-35}},
    {"silu", f_silu, 40, {40, 1.0000000000000002, -1.6143746170108038e-16}},
    {"silu",
     f_silu,
     -40,
     {-1.6993417021166355e-16, -1.6568581595637197e-16, -1.6143746170108038e-16}},
    {"silu",
     f_silu,
     -80,
     {-1.4438811102763322e-33, -1.4258325963978781e-33, -1.4077840825194239e-33}},
    {"silu", f_silu, 0x1p-60, {4.3368086899420177e-19, 0.5, 0.5}},
    {"silu",
     f_silu,
     17.5,
     {17.499999560575159, 1.0000004143148393, -3.8920482752654898e-07}},
    {"gelu",
     f_gelu,
     -6,
     {-5.9195258702261885e-09, -3.5468709453902015e-08, -2.0658001689399171e-07}},
    {"gelu",
     f_gelu,
     -10,
     {-7.6198530241605263e-23, -7.6184000964648144e-22, -7.5407066541722917e-21}},
    {"gelu",
     f_gelu,
     6,
     {5.9999999940804738, 1.0000000354687095, -2.0658001689399171e-07}},
    {"gelu",
     f_gelu,
     -3,
     {-0.0040496940948902835, -0.011945647204183927, -0.03102293888356605}},
    {"gelu_tanh",
     f_gelu_tanh,
     -6,
     {-8.439646700762297e-11, -7.709973930953696e-10, -6.8242472741571892e-09}},
    {"gelu_tanh",
     f_gelu_tanh,
     -5,
     {-2.291796196629506e-07, -1.5463619875325946e-06, -9.9341322249962025e-06}},
    {"gelu_tanh",
     f_gelu_tanh,
     5,
     {4.9999997708203807, 1.0000015463619876, -9.9341322249962025e-06}},
    {"gelu_tanh",
     f_gelu_tanh,
     -8,
     {-3.1077829375011112e-21, -4.7147845041068414e-20, -7.0458213960972915e-19}},
    {"gelu_tanh",
     f_gelu_tanh,
     -3,
     {-0.0036373920817730191, -0.011584166630969726, -0.031767658886074704}},
    {"erf",
     f_erf,
     5,
     {0.99999999999846256, 1.5670866531017336e-11, -1.5670866531017336e-10}},
    {"erf",
     f_erf,
     -5,
     {-0.99999999999846256, 1.5670866531017336e-11, 1.5670866531017336e-10}},
    {"erf", f_erf, 9, {1, 7.4920734282459739e-36, -1.3485732170842753e-34}},
    {"erf", f_erf, -9, {-1, 7.4920734282459739e-36, 1.3485732170842753e-34}},
    {"log1p",
     f_log1p,
     -0.9999998807907104,
     {-15.942385152878742, 8388608, -70368744177664}},
    {"log1p", f_log1p, 0x1p-80, {8.2718061255302767e-25, 1, -1}},
    {"expm1",
     f_expm1,
     -30,
     {-0.99999999999990641, 9.3576229688401748e-14, 9.3576229688401748e-14}},
    {"expm1", f_expm1, 0x1p-80, {8.2718061255302767e-25, 1, 1}},
    {"expm1", f_expm1, -80, {-1, 1.8048513878454153e-35, 1.8048513878454153e-35}},
    {"sigmoid", f_sigmoid, (double)INFINITY, {1, 0, 0}},
    {"sigmoid", f_sigmoid, -(double)INFINITY, {0, 0, 0}},
    {"tanh", f_tanh, (double)INFINITY, {1, 0, 0}},
    {"tanh", f_tanh, -(double)INFINITY, {-1, 0, 0}},
    {"softplus", f_softplus, (double)INFINITY, {(double)INFINITY, 1, 0}},
    {"softplus", f_softplus, -(double)INFINITY, {0, 0, 0}},
    {"silu", f_silu, (double)INFINITY, {(double)INFINITY, 1, 0}},
    {"silu", f_silu, -(double)INFINITY, {0, 0, 0}},
    {"gelu", f_gelu, (double)INFINITY, {(double)INFINITY, 1, 0}},
    {"gelu", f_gelu, -(double)INFINITY, {0, 0, 0}},
    {"gelu_tanh", f_gelu_tanh, (double)INFINITY, {(double)INFINITY, 1, 0}},
    {"gelu_tanh", f_gelu_tanh, -(double)INFINITY, {0, 0, 0}},
    {"erf", f_erf, (double)INFINITY, {1, 0, 0}},
    {"erf", f_erf, -(double)INFINITY, {-1, 0, 0}},
    {"relu", f_relu, (double)NAN, {(double)NAN, 0, 0}},
    {"relu", f_relu, (double)INFINITY, {(double)INFINITY, 1, 0}},
    {"relu", f_relu, -(double)INFINITY, {0, 0, 0}},
    {"leaky_relu of slope 0", f_flat, -(double)INFINITY, {0, 0, 0}},
    {"leaky_relu of slope 0", f_flat, (double)NAN, {(double)NAN, 0, 0}},
    {"sigmoid", f_sigmoid, (double)NAN, {(double)NAN, (double)NAN, (double)NAN}},
    {"silu", f_silu, (double)NAN, {(double)NAN, (double)NAN, (double)NAN}},
    {"gelu", f_gelu, (double)NAN, {(double)NAN, (double)NAN, (double)NAN}},
    {"gelu_tanh", f_gelu_tanh, (double)NAN, {(double)NAN, (double)NAN, (double)NAN}},
    {"erf", f_erf, (double)NAN, {(double)NAN, (double)NAN, (double)NAN}},
};

enum { N_TAILS = sizeof tails / sizeof tails[0], N_GOT = 5 };

/* f and its derivatives, reverse then forward, of each tail on one tape. */
static void tails_run(ht_dtype dtype, ht_policy policy, double got[N_TAILS][N_GOT])
{
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = 1});
    for (int k = 0; k < N_TAILS; k++) {
        ht_tape *tape = ht_tape_new(ctx, policy);
        ht_tensor *put[2], *out[N_GOT];
        ht_var in[2], y[N_GOT];
        for (int i = 0; i < 2; i++) {
            put[i] = ht_tensor_new(ctx, dtype, HT_SCALAR);
            ht_tensor_set(put[i], 0, i ? 1 : tails[k].at);
            in[i] = ht_input(tape, put[i]);
        }
        y[0] = tails[k].f(in[0]);
        ht_grad(y[0], 1, in, y + 1);
        ht_grad_or_zero(y[1], 1, in, y + 2);
        ht_jvp(1, in, in + 1, 1, y, y + 3);
        ht_jvp(1, in, in + 1, 1, y + 3, y + 4);
        for (int i = 0; i < N_GOT; i++) out[i] = ht_tensor_new(ctx, dtype, HT_SCALAR);
        if (policy == HT_RECORD) {
            ht_program *p = ht_program_new(tape, 2, in, N_GOT, y);
            ht_program_run(p, (const ht_tensor *const *)put, out);
            ht_program_free(p);
        }
        ht_check(ctx);
        for (int i = 0; i < N_GOT; i++)
            got[k][i] = policy == HT_RECORD ? ht_tensor_get(out[i], 0) : ht_item(y[i]);
        ht_tape_free(tape);
        for (int i = 0; i < N_GOT; i++) ht_tensor_free(out[i]);
        ht_tensor_free(put[0]), ht_tensor_free(put[1]);
    }
    ht_context_free(ctx);
}

/* Relative, in units of the last place, but for what f32 has as a subnormal only; gelu's
 * tanh form loses 2 |u| of them, as the header says, which is below 4 x^2 here. */
static void check_tail(const struct tail *t, ht_dtype dtype, int i, double got)
{
    static const char *const what[] = {"value", "reverse", "reverse twice", "forward",
                                       "forward twice"};
    double want = t->want[i > 2 ? i - 2 : i], unit = dtype == HT_F32 ? 0x1p-23 : 0x1p-52;
    double places = t->f == f_gelu_tanh && i % 2 == 0 ? 8 + 4 * t->at * t->at : 8;
    if ((isnan(got) && isnan(want)) || got == want) return;
    if (dtype == HT_F32 && fabs(want) < (double)FLT_MIN) {
        if (fabs(got - want) <= 4 * 0x1p-149) return;
    } else if (fabs(got - want) <= places * unit * fabs(want)) {
        return;
    }
    fail_msg("%s at %.9g, %s, %s: got %.17g, want %.17g", t->name, t->at, what[i],
             dtype == HT_F32 ? "f32" : "f64", got, want);
}

static void tails_keep_their_digits_in_every_mode(void **state)
{
    (void)state;
    int checked = 0;
    for (int d = HT_F32; d <= HT_F64; d++)
        for (int policy = 0; policy < 2; policy++) {
            static double got[N_TAILS][N_GOT];
            tails_run((ht_dtype)d, policy ? HT_RECORD : HT_EAGER, got);
            for (int k = 0; k < N_TAILS; k++)
                for (int i = 0; i < N_GOT; i++, checked++)
                    check_tail(&tails[k], (ht_dtype)d, i, got[k][i]);
        }
    printf("# %d numbers\n", checked);
    assert_int_equal(checked, 4 * N_TAILS * N_GOT);
}

/* sqrt where x > 0, else x, with and without a choice of the input. */
static ht_var choose_after(ht_var x)
{
    return ht_where(ht_greater(x, 0.0), ht_sqrt(x), x);
}

static ht_var choose_before(ht_var x)
{
    ht_var positive = ht_greater(x, 0.0);
    return ht_where(positive, ht_sqrt(ht_where(positive, x, 1.0)), x);
}

static void check_choice(ht_var (*f)(ht_var), const double at[3], const double value[3],
                         const double reverse[3], const double forward[3],
                         const double twice[3])
{
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = 1});
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *put[2];
    ht_var in[2], g, h, t;
    for (int k = 0; k < 2; k++) {
        put[k] = ht_tensor_new(ctx, HT_F64, HT_SHAPE(3));
        for (int i = 0; i < 3; i++) ht_tensor_set(put[k], i, k ? 1 : at[i]);
        in[k] = ht_input(tape, put[k]);
    }
    ht_var y = f(in[0]);
    ht_grad(ht_sum(y), 1, in, &g);
    ht_grad(ht_sum(g), 1, in, &h);
    ht_jvp(1, in, in + 1, 1, &y, &t);
    ht_check(ctx);
    for (int i = 0; i < 3; i++) {
        assert_near(ht_tensor_get(ht_value(y), i), value[i], 0);
        assert_near(ht_tensor_get(ht_value(g), i), reverse[i], 0);
        assert_near(ht_tensor_get(ht_value(t), i), forward[i], 0);
        assert_near(ht_tensor_get(ht_value(h), i), twice[i], 0);
    }
    ht_tape_free(tape);
    ht_tensor_free(put[0]), ht_tensor_free(put[1]);
    ht_context_free(ctx);
}

/* What ht_where's comment says: the value is chosen, and forward the tangent; in reverse
 * 0 times an infinite or NaN slope is NaN, unless the input is chosen first. */
static void where_a_branch_not_taken_is_as_documented(void **state)
{
    (void)state;
    const double at[] = {-1, 4, 0.25}, value[] = {-1, 2, 0.5}, slope[] = {1, 0.25, 1};
    const double nan = (double)NAN, twice[] = {0, -0.03125, -2};
    check_choice(choose_before, at, value, slope, slope, twice);
    check_choice(choose_after, at, value, (double[]){nan, 0.25, 1}, slope,
                 (double[]){nan, -0.03125, -2});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tails_keep_their_digits_in_every_mode),
        cmocka_unit_test(where_a_branch_not_taken_is_as_documented),
    };
    return TEST_MAIN(tests);
}
