# SPDX-License-Identifier: MIT
"""edges_rows.py: reductions, softmax and its kin, norms, losses. Read next: edges.py."""
import math

from mpmath import mp, mpf

import jets

INF, NAN = math.inf, math.nan
BOTH, F32, F64 = ('f32', 'f64'), ('f32',), ('f64',)
# Of the largest number of its block: for sums whose terms cancel.
LARGEST = {'digits': {'f32': ('6r', '6r', '5.5r'), 'f64': ('14.5r', '14.5r', '14r')},
           'why': 'terms of a sum cancel'}
# What is huge, or next to nothing, for each type.
SCALES = ((1, BOTH), (1e20, F32), (1e-20, F32), (1e-30, F32), (1e30, F32), (1e200, F64),
          (1e-200, F64))


def zeros(n):
    return [0] * n



def scaled(table, form, function, rows, **options):
    for row in rows:
        for scale, dtypes in SCALES:
            table.smooth(form, function, [scale * x for x in row], dtypes=dtypes,
                         **options)


def reductions(table):
    rows = [(0, 0, 0), (1, 2, 3), (-1, 0, 1), (0, 0, 5)]
    for form in ('sum', 'sum_axes'):
        scaled(table, form, jets.total, rows)
    for form in ('mean', 'mean_axes'):
        scaled(table, form, jets.mean, rows + [(3, 3, 3)])
    # The total is there although a part of it is not.
    table.smooth('sum', jets.total, [3e38, 3e38, -3e38], dtypes=F32)
    table.smooth('mean', jets.mean, [3e38, 3e38, 3e38], dtypes=F32)
    table.smooth('mean', jets.mean, [1.7e308, 1.7e308, 1.7e308], dtypes=F64)
    table.smooth('mean_axes', jets.mean, [3e38, 3e38, 3e38], dtypes=F32)
    table.smooth('mean_axes', jets.mean, [1.7e308, 1.7e308, 1.7e308], dtypes=F64)
    table.smooth('mean', jets.mean, [14.62, 14.62, 14.62])
    for form in ('sum', 'sum_axes', 'mean', 'mean_axes'):
        k = 1 if form.startswith('sum') else mpf(1) / 3
        for row, y in (((INF, 1, 2), INF), ((-INF, 1, 2), -INF), ((INF, -INF, 0), NAN),
                       ((NAN, 1, 2), NAN)):
            table.given(form, row, [y], [k] * 3, zeros(9))
    cumsum = (lambda x: [x[0], x[0] + x[1], x[0] + x[1] + x[2]])
    scaled(table, 'cumsum', cumsum, rows)
    table.given('cumsum', [1, INF, 2], [1, INF, INF])
    table.given('cumsum', [1, NAN, 2], [1, NAN, NAN])
    for n in (0, 1):
        spread = (lambda x, n=n: jets.variance(x, n))
        form = f'variance_axes_{n}'
        scaled(table, form, spread, [(0, 0, 0), (1, 2, 3), (-1, 0, 1), (5, 5, 5),
                                     (14.62, 14.62, 14.62)], **LARGEST)
        table.smooth(form, spread, [1e10, 1e10, 1e10])
        table.smooth(form, spread, [10000, 10001, 10002])
        table.given(form, [INF, 1, 2], [NAN])
        table.given(form, [NAN, 1, 2], [NAN])
    for x in (14.62, 1e10, 0.1, 1e-20):
        table.given('variance_axes_1000', [x], [0], [0])
    scaled(table, 'norm_axes', jets.norm, [(3, 4, 0), (1, 2, 3), (0, 0, -2)])
    table.given('norm_axes', [0, 0, 0], [0], zeros(3), zeros(9))
    table.smooth('norm_axes', jets.norm, [2e38, 2e38, 0], dtypes=F32)
    table.given('norm_axes', [INF, 1, 2], [INF])
    table.given('norm_axes', [NAN, 1, 2], [NAN])
    table.given('norm_axes', [INF, NAN, 2], [NAN])


def extremes(table):
    for sign, form in ((1, 'max_axes'), (-1, 'min_axes')):
        for row, d in (((1, 3, 2), (0, 1, 0)), ((3, 3, 1), (.5, .5, 0)),
                       ((2, 2, 2), (mpf(1) / 3,) * 3), ((-1, -1e-40, -3), (0, 1, 0)),
                       ((0, INF, 1), (0, 1, 0))):
            row = [sign * x for x in row]
            table.given(form, row, [sign * max(sign * x for x in row)], d, zeros(9))
        table.given(form, [1, NAN, 2], [NAN])
    for row, most, least in (((1, 3, 2), 1, 0), ((3, 3, 1), 0, 2), ((2, 2, 2), 0, 0),
                             ((-INF, INF, 0), 1, 0), ((INF, INF, -INF), 0, 2)):
        table.given('argmax', row, [most])
        table.given('argmin', row, [least])


# Rows of three: alike, apart, saturated, beyond what exp can take.
LOGITS = [(0, 0, 0), (1, 2, 3), (20, 0, 0), (0, 20, 0), (20, 0, -20), (-40, 30, 0),
          (100, 0, -100), (88, 89, 90), (1e-20, 0, 0), (-1e5, -1e5, -1e5 - 1),
          (700, 0, -30)]


def label(k, smoothing=0):
    def loss(x):
        top = jets.logsumexp(x)
        out = top - x[k]
        if smoothing:
            out = out * (1 - mpf(smoothing)) + (top - jets.mean(x)) * mpf(smoothing)
        return out
    return loss


def soft(x):
    top = jets.logsumexp(x[:3])
    return jets.total([p * (top - z) for z, p in zip(x[:3], x[3:])])


def softmaxes(table):
    for row in LOGITS:
        table.smooth('softmax', jets.softmax, row)
        table.smooth('log_softmax',
                     lambda x: [k - jets.logsumexp(x) for k in x], row)
        table.smooth('logsumexp_axes', jets.logsumexp, row)
        for k in (0, 2):
            table.smooth(f'cross_entropy_{k}', label(k), row)
        table.smooth('cross_entropy_smoothed', label(0, 0.125), row)
        for p in ((1, 0, 0), (0.25, 0.25, 0.5), (0, 0, 1)):
            table.smooth('cross_entropy_soft', soft, list(row) + list(p),
                         {'f32': (6, '6r', 5.5), 'f64': (15, '14.5r', 14)},
                         'a probability is taken from another')
    third = mpf(1) / 2
    table.given('softmax', [0, -INF, 0], [.5, 0, .5], [.25, 0, -.25, 0, 0, 0, -.25, 0, .25])
    table.given('log_softmax', [0, -INF, 0], [mp.log(third), -INF, mp.log(third)])
    table.given('logsumexp_axes', [0, -INF, 0], [mp.log(2)], [.5, 0, .5])
    table.given('logsumexp_axes', [0, INF, 0], [INF])
    table.given('logsumexp_axes', [-INF, -INF, -INF], [-INF])
    table.given('cross_entropy_0', [0, -INF, 0], [mp.log(2)], [-.5, 0, .5],
                [.25, 0, -.25, 0, 0, 0, -.25, 0, .25])
    table.given('cross_entropy_0', [-INF, 0, 0], [INF])
    # 0 log 0 = 0
    table.given('cross_entropy_soft', [-INF, 0, 0, 0, 1, 0], [mp.log(2)],
                [0, -.5, .5, 0, mp.log(2), mp.log(2)])
    for form, n in (('softmax', 3), ('log_softmax', 3), ('logsumexp_axes', 1),
                    ('cross_entropy_0', 1), ('cross_entropy_smoothed', 1)):
        table.given(form, [0, NAN, 1], [NAN] * n)
    for form, row in (('softmax', (3e38, 0, -3e38)), ('softmax', (3e38, 3e38, -3e38))):
        y = [1, 0, 0] if row[1] == 0 else [.5, .5, 0]
        d = zeros(9) if row[1] == 0 else [.25, -.25, 0, -.25, .25, 0, 0, 0, 0]
        table.given(form, row, y, d)


def norms(table):
    eps = mpf('1e-5')

    def layer(x):
        return jets.normalize(x, eps)

    def group(x):
        return jets.normalize(x[:3], eps) + jets.normalize(x[3:], eps)

    rows = [(1, 2, 3), (0, 0, 0), (5, 5, 5), (-1, 0, 1), (14.62, 14.62, 14.62)]
    for form in ('layernorm', 'batchnorm'):
        scaled(table, form, layer, rows, **LARGEST)
        table.smooth(form, layer, [1e10, 1e10, 1e10], **LARGEST)
        table.given(form, [1, NAN, 2], [NAN] * 3)
    scaled(table, 'rmsnorm', lambda x: jets.normalize(x, eps, False),
           [(1, 2, 3), (0, 0, 0), (-1, 0, 1)], **LARGEST)
    table.given('rmsnorm', [1, NAN, 2], [NAN] * 3)
    scaled(table, 'groupnorm', group, [(1, 2, 3, 5, 5, 5), (0, 0, 1, -1, 3, 2)],
           **LARGEST)
    table.given('groupnorm', [1, NAN, 3, 2, 2, 2], [NAN] * 3 + [0] * 3)
    scaled(table, 'batch_statistics_mean', jets.mean, rows)
    scaled(table, 'batch_statistics_variance', jets.variance, rows, **LARGEST)
    for x, m, v in ((1, 2, 3), (5, 5, 0), (1e4, 1e4, 1e-20), (3, 0, 1e10)):
        table.smooth('batchnorm_given',
                     lambda k: (k[0] - k[1]) / jets.sqrt(k[2] + eps), [x, m, v])


def binary(x):
    """-t log s(z) - (1 - t) log s(-z)"""
    z, t = x
    return t * jets.softplus(-z) + (1 - t) * jets.softplus(z)


def losses(table):
    for z in (0, 1e-20, 1, -3, 17.5, 30, -30, 80, -80, 600, -600):
        for t in (0, 1, 0.25):
            table.smooth('binary_cross_entropy', binary, [z, t])
    table.given('binary_cross_entropy', [INF, 1], [0], [0, '?'])
    table.given('binary_cross_entropy', [-INF, 0], [0], [0, '?'])
    table.given('binary_cross_entropy', [NAN, 1], [NAN])
    scaled(table, 'squared_error', lambda x: (x[0] - x[1]) * (x[0] - x[1]),
           [(1, 3), (0, 0), (5, 5)])

    def huber(x):
        d = x[0] - x[1]
        if abs(d.v) <= 1:
            return d * d / 2
        return (d if d.v > 0 else -d) - mpf('0.5')
    for x, t in ((0, 0), (0.5, 0), (1, 0), (-1, 0), (1.5, 0), (-3, 1), (1e20, 0),
                 (1e-25, 0)):
        table.smooth('huber', huber, [x, t])
    table.given('huber', [INF, 0], [INF], [1, -1], zeros(4))
    table.given('huber', [NAN, 0], [NAN])

    def divergence(x):
        return jets.total([p * (jets.log(p) - q) for q, p in zip(x[:2], x[2:])])
    fewer = {'f32': ('5r', '6r', '5.5r'), 'f64': ('14r', '14.5r', '14r')}
    for q, p in (((-1, -0.5), (0.25, 0.75)), ((-20, -1e-9), (1e-9, 1)),
                 ((-100, -1e-30), (1e-30, 1))):
        table.smooth('kl_divergence', divergence, q + p, fewer, 'terms of a sum cancel')
    table.given('kl_divergence', [-1, -0.5, 0, 1], [0.5], [0, -1, 1, 1.5])
    table.given('kl_divergence', [-INF, 0, 0, 1], [0], [0, -1, '?', 1])

    def weighted(x):
        return (x[0] * x[2] + x[1] * x[3]) / (x[2] + x[3])
    for row in ((1, 2, 1, 1), (1, 2, 0, 1), (1e10, 0, 1, 3), (1, 2, 1e18, 1e18)):
        table.smooth('weighted_mean', weighted, row, **LARGEST)
    # Second derivatives have the square of 1e20, times what is 0.
    table.smooth('weighted_mean', weighted, (3, 3, 1e-20, 1e-20), hessian=False)
    table.given('weighted_mean', [1, 2, 0, 0], [NAN])
    table.given('weighted_mean', [1, NAN, 1, 1], [NAN])
    for row in ((0, 0), (1, -2), (1e-25, 1e25), (0, -1e-40)):
        d = [(x > 0) - (x < 0) for x in row]
        table.given('l1', row, [mpf(abs(row[0])) + mpf(abs(row[1]))], d, zeros(4),
                    dtypes=F64 if row[1] == -1e-40 else BOTH)
    scaled(table, 'l2', lambda x: x[0] * x[0] + x[1] * x[1], [(0, 0), (1, -2)])
    table.given('l1', [-INF, 1], [INF], [-1, 1])
    table.given('l2', [-INF, 1], [INF])
    for form in ('l1', 'l2'):
        table.given(form, [NAN, 1], [NAN])


def pools(table):
    scaled(table, 'avg_pool2d', jets.mean, [(1, 2, 3, 4), (5, 5, 5, 5)])
    scaled(table, 'global_avg_pool2d', jets.mean, [(1, 2, 3, 4), (5, 5, 5, 5)])
    for form in ('avg_pool2d', 'global_avg_pool2d'):
        table.smooth(form, jets.mean, [3e38] * 4, dtypes=F32)
        table.smooth(form, jets.mean, [1.7e308] * 4, dtypes=F64)
        table.given(form, [INF, 1, 2, 3], [INF], [.25] * 4, zeros(16))
        table.given(form, [NAN, 1, 2, 3], [NAN], [.25] * 4, zeros(16))
    for row, at in (((1, 4, 2, 3), 1), ((3, 3, 3, 3), 0), ((-1, -2, -1e-30, -4), 2),
                    ((-INF, -INF, -5, -INF), 2), ((1, INF, 2, INF), 1)):
        table.given('max_pool2d', row, [row[at]], [int(k == at) for k in range(4)],
                    zeros(16))
    table.given('max_pool2d', [1, NAN, 2, 3], [NAN])


def few(table):
    """Rows of one element, and of none."""
    for x in (0, 3, -1e30, 1e-30):
        for form, y, d in (('softmax_one', 1, 0), ('log_softmax_one', 0, 0),
                           ('cross_entropy_one', 0, 0), ('variance_axes_one', 0, 0),
                           ('layernorm_one', 0, 0)):
            table.given(form, [x], [y], [d], [0])
        for form in ('logsumexp_axes_one', 'mean_axes_one', 'max_axes_one', 'sum_axes_one',
                     'cumsum_one'):
            table.smooth(form, lambda k: k[0], [x])
        # Its second derivative is 1/|x| - x^2/|x|^3: rounding where it is to be 0.
        table.given('norm_axes_one', [x], [abs(mpf(x))], [(x > 0) - (x < 0)], ['?'],
                    dtypes=F64)
    for form in ('sum_empty', 'sum_axes_empty', 'norm_axes_empty'):
        table.given(form, [], [0])


def fill(table):
    few(table)
    reductions(table)
    extremes(table)
    softmaxes(table)
    norms(table)
    losses(table)
    pools(table)
