/* SPDX-License-Identifier: MIT */
/* hand.c: loops written by hand, compiled with all this machine has. See floor.h. */
#include <math.h>

#include "floor.h"

uint64_t bench_hand_read(size_t n, const uint64_t *x)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum |= x[i];
    return sum;
}

void bench_hand_adam(size_t n, float *restrict w, float *restrict m, float *restrict v,
                     const float *restrict g, float rate, float beta1, float beta2,
                     float eps, int64_t t)
{
    float m_scale = rate / (1 - powf(beta1, (float)t)),
          v_scale = 1 / sqrtf(1 - powf(beta2, (float)t));
    for (size_t i = 0; i < n; i++) {
        m[i] = beta1 * m[i] + (1 - beta1) * g[i];
        v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
        w[i] -= m_scale * m[i] / (sqrtf(v[i]) * v_scale + eps);
    }
}
