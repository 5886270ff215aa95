/* SPDX-License-Identifier: MIT */
/* system.c: products with the matrix of a system, and sums over vectors, in the order of
 * their elements. Read next: solver.c. */
#include "system.h"

#include <math.h>

double hti_dot(const double *x, const double *y, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

void hti_add_scaled(double *y, double scale, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] += scale * x[i];
}

void hti_scale(double *x, double scale, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] *= scale;
}

double hti_power(double size)
{
    int exponent;
    (void)frexp(size, &exponent);
    return ldexp(1, exponent < -1000 ? 1000 : -exponent);
}

double hti_norm(const double *x, int64_t n)
{
    double largest = 0, sum = 0;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(x[i]) <= largest)) largest = fabs(x[i]);
    if (!(largest > 0) || isinf(largest)) return largest;
    double power = hti_power(largest);
    for (int64_t i = 0; i < n; i++) sum += x[i] * power * (x[i] * power);
    return sqrt(sum) / power;
}

bool hti_finite(const double *x, int64_t n)
{
    double sum = 0; /* NaN, as soon as one is not finite */
    for (int64_t i = 0; i < n; i++) sum += x[i] * 0;
    return sum == 0;
}

static bool system_product(hti_system *s, hti_product_fn product, double damping,
                           const double *x, double *y)
{
    s->s.products++;
    if (!product(x, y, s->a->user)) return false;
    if (damping != 0) hti_add_scaled(y, damping, x, s->a->n);
    return hti_finite(y, s->a->n);
}

bool hti_multiply(hti_system *s, const double *x, double *y)
{
    return system_product(s, s->a->product, s->a->damping, x, y);
}

bool hti_multiply_undamped(hti_system *s, const double *x, double *y)
{
    return system_product(s, s->a->product, 0, x, y);
}

bool hti_multiply_transpose(hti_system *s, const double *x, double *y)
{
    hti_product_fn transpose = s->a->transpose ? s->a->transpose : s->a->product;
    return system_product(s, transpose, s->a->damping, x, y);
}

int64_t hti_products_left(const hti_system *s)
{
    return s->options->most - s->s.products - 1;
}

void hti_see(hti_system *s, double quotient)
{
    if (!(s->s.smallest <= quotient)) s->s.smallest = quotient;
    if (!(s->s.largest >= quotient)) s->s.largest = quotient;
}
