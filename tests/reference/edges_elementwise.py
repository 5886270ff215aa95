# SPDX-License-Identifier: MIT
"""edges_elementwise.py: ops of one element: maths, comparisons, choices.
Read next: edges.py."""
import math

from mpmath import mp, mpf

import jets
from jets import Jet

INF, NAN = math.inf, math.nan

# Of most: nothing, next to nothing, ordinary, much, nearly too much.
PLACES = [0, 1e-310, 1e-40, 1e-20, 1e-5, 0.3, 1, 3, 20, 1e5, 1e18, 1e30, 3e38, 1e200,
          1.7e308]
SIGNED = PLACES + [-x for x in PLACES if x]


def fits(x, dtype):
    """Whether x is a finite number of that dtype that is not x rounded to 0."""
    if dtype == 'f64':
        return True
    return x == 0 or 1e-44 < abs(x) < 3.4e38


def each(table, form, function, places, digits=None, why='', dtypes=('f32', 'f64')):
    for x in places:
        for dtype in dtypes:
            if fits(x, dtype):
                table.smooth(form, function, [x], digits, why, (dtype,))


def by(f, f1, f2):
    """A function of jets from three of numbers."""
    return lambda xs: xs[0].chain(f(xs[0].v), f1(xs[0].v), f2(xs[0].v))


def one(function):
    return lambda xs: function(xs[0])


def limits(table, form, low, high, nan=('?', '?')):
    """y, d and h at -inf and inf; at NaN y is NaN."""
    for x, (y, d, h) in ((-INF, low), (INF, high), (NAN, (NAN,) + nan)):
        table.given(form, [x], [y], [d], [h])


def exponentials(table):
    saturated = [0, 1e-310, 1e-40, 1e-20, 1e-9, 1e-4, 0.3, 0.6, 1, 2.5, 5, 8, 9, 10, 15,
                 17, 17.5, 20, 30, 36.5, 40, 80, 88, 89, 100, 103, 105, 300, 700, 709,
                 720, 740, 746, 1e4]
    saturated += [-x for x in saturated if x]
    each(table, 'exp', one(jets.exp), saturated)
    limits(table, 'exp', (0, 0, 0), (INF, INF, INF), (NAN, NAN))
    each(table, 'expm1', by(mp.expm1, mp.exp, mp.exp), saturated)
    limits(table, 'expm1', (-1, 0, 0), (INF, INF, INF), (NAN, NAN))
    each(table, 'tanh', one(jets.tanh), saturated)
    limits(table, 'tanh', (-1, 0, 0), (1, 0, 0))
    each(table, 'sigmoid', one(jets.sigmoid), saturated)
    limits(table, 'sigmoid', (0, 0, 0), (1, 0, 0))
    each(table, 'softplus', one(jets.softplus), saturated)
    limits(table, 'softplus', (0, 0, 0), (INF, 1, 0))
    silu = by(lambda x: x * jets.logistic(x)[0],
              lambda x: jets.logistic(x)[0] + x * jets.logistic(x)[1],
              lambda x: 2 * jets.logistic(x)[1] + x * jets.logistic(x)[2])
    each(table, 'silu', silu, saturated)
    # x sigmoid(x) at -inf is inf times 0; what it tends to is 0.
    limits(table, 'silu', ('?', '?', '?'), (INF, '?', '?'))
    bells = [x for x in saturated if abs(x) < 1e4]
    each(table, 'gelu', one(jets.gelu), bells)
    limits(table, 'gelu', (0, 0, 0), (INF, 1, 0))
    each(table, 'gelu_tanh', one(jets.gelu_tanh), bells, {'f64': (15, 14.5, 13)},
         'the tail magnifies the rounding of the cubic by twice itself')
    limits(table, 'gelu_tanh', ('?', '?', '?'), (INF, '?', '?'))
    erf = by(mp.erf, lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x),
             lambda x: -4 * x / mp.sqrt(mp.pi) * mp.exp(-x * x))
    each(table, 'erf', erf, bells)
    limits(table, 'erf', (-1, 0, '?'), (1, 0, '?'))


def powers(table):
    positive = [x for x in PLACES if x]
    each(table, 'log', one(jets.log), positive + [0.999999, 1.000001])
    table.given('log', [0], [-INF], [INF], [-INF])
    table.given('log', [-1], [NAN], ['?'], ['?'])
    limits(table, 'log', (NAN, '?', '?'), (INF, 0, 0))
    log1p = by(mp.log1p, lambda x: 1 / (1 + x), lambda x: -1 / (1 + x)**2)
    each(table, 'log1p', log1p, PLACES + [-1e-310, -1e-40, -1e-5, -0.3, -0.5, -0.999])
    table.given('log1p', [-1], [-INF], [INF], [-INF])
    table.given('log1p', [-2], [NAN], ['?'], ['?'])
    limits(table, 'log1p', (NAN, '?', '?'), (INF, 0, 0))
    each(table, 'sqrt', one(jets.sqrt), PLACES)
    table.given('sqrt', [-1], [NAN], ['?'], ['?'])
    limits(table, 'sqrt', (NAN, '?', '?'), (INF, 0, '?'))
    rsqrt = by(lambda x: 1 / mp.sqrt(x), lambda x: -x**-1 / mp.sqrt(x) / 2,
               lambda x: 3 * x**-2 / mp.sqrt(x) / 4)
    each(table, 'rsqrt', rsqrt, positive)
    table.given('rsqrt', [0], [INF], [-INF], ['?'])
    table.given('rsqrt', [-1], [NAN], ['?'], ['?'])
    limits(table, 'rsqrt', (NAN, '?', '?'), (0, 0, 0))
    reciprocal = by(lambda x: 1 / x, lambda x: -1 / x**2, lambda x: 2 / x**3)
    each(table, 'reciprocal', reciprocal, [x for x in SIGNED if x])
    table.given('reciprocal', [0], [INF], [-INF], ['?'])
    limits(table, 'reciprocal', (0, 0, 0), (0, 0, 0))
    each(table, 'square', by(lambda x: x * x, lambda x: 2 * x, lambda x: mpf(2)), SIGNED)
    limits(table, 'square', (INF, -INF, 2), (INF, INF, 2))


def lines(table):
    """What is straight but for a kink."""
    def kink(left, right, at_zero):
        def slope(x):
            return mpf(right) if x > 0 else mpf(left) if x < 0 else mpf(at_zero)
        return by(lambda x: slope(x) * x, slope, lambda x: mpf(0))

    for form, left, right, at_zero in (('neg', -1, -1, -1), ('relu', 0, 1, 0),
                                       ('abs', -1, 1, 0), ('leaky_relu', 0.125, 1, 0.125),
                                       ('cast', 1, 1, 1)):
        each(table, form, kink(left, right, at_zero), SIGNED)
        low = 0 if left == 0 else -INF if left > 0 else INF
        high = INF if right > 0 else -INF
        limits(table, form, (low, left, 0), (high, right, 0))
    each(table, 'stop_gradient', lambda xs: Jet(xs[0].v, 1), SIGNED)
    limits(table, 'stop_gradient', (-INF, 0, 0), (INF, 0, 0))
    for form in ('sin', 'cos'):
        f, g = (mp.sin, mp.cos) if form == 'sin' else (mp.cos, mp.sin)
        sign = 1 if form == 'sin' else -1
        each(table, form, by(f, lambda x, g=g, s=sign: s * g(x), lambda x, f=f: -f(x)),
             [x for x in SIGNED if abs(x) < 1e6] + [1.5707963, 3.1415926, 1e15])
        limits(table, form, (NAN, '?', '?'), (NAN, '?', '?'))


def pairs(table):
    def go(form, function, places, dtypes=('f32', 'f64')):
        for x, y in places:
            for dtype in dtypes:
                if fits(x, dtype) and fits(y, dtype):
                    table.smooth(form, function, [x, y], dtypes=(dtype,))

    usual = [(x, y) for x in (0, 0.3, -3, 1e-25, 1e25, 1e-40, 3e38, 1e-170, 1e170)
             for y in (0.7, -2, 1e-25, -1e25, 1e-40, 3e38, 1e-170, 1e170)]
    go('add', lambda x: x[0] + x[1], usual)
    go('sub', lambda x: x[0] - x[1], usual)
    go('mul', lambda x: x[0] * x[1], usual)
    go('div', lambda x: x[0] / x[1], [x for x in usual if x != (0, 1e-40)])
    # 1/b overflows before the 0 is met.
    table.given('div', [0, 1e-40], [0], [1e40, 0], dtypes=('f32',))
    table.given('div', [1, 0], [INF], [INF, '?'])
    table.given('div', [0, 0], [NAN], ['?', '?'])
    table.given('div', [1, INF], [0], [0, 0])
    table.given('mul', [INF, 0], [NAN], [0, INF], [0, 1, 1, 0])
    table.given('add', [INF, -INF], [NAN], [1, 1], [0, 0, 0, 0])

    def largest(sign):
        def pick(x):
            a, b = sign * x[0].v, sign * x[1].v
            if a == b:
                return (x[0] + x[1]) / 2
            return x[0] if a > b else x[1]
        return pick
    ties = [(1, 1), (0, 0), (1, 2), (-1, -2), (1e-40, 0), (3e38, -3e38)]
    go('maximum', largest(1), ties)
    go('minimum', largest(-1), ties)
    for form in ('maximum', 'minimum'):
        table.given(form, [NAN, 1], [NAN])
        table.given(form, [1, NAN], [NAN])
    table.given('maximum', [INF, 1], [INF], [1, 0], [0, 0, 0, 0])
    table.given('minimum', [-INF, 1], [-INF], [1, 0], [0, 0, 0, 0])
    for x, y in ((1, 2), (2, 1), (1, 1), (0, -0.0), (NAN, 1), (1, NAN), (INF, INF)):
        table.given('equal', [x, y], [x == y])
        table.given('greater', [x, y], [x > y])
        table.given('greater_equal', [x, y], [x >= y])
    # where(c > 0, a, b): what is not taken may be anything.
    for c, x, y in ((1, 2, 3), (-1, 2, 3), (1, 2, NAN), (-1, NAN, 3), (1, 2, INF)):
        table.given('where', [c, x, y], [x if c > 0 else y],
                    [0, int(c > 0), int(c <= 0)], [0] * 9)
    for x, low, high, y, d in ((5, 8, 2, 2, (0, 0, 1)), (5, 2, 8, 5, (1, 0, 0)),
                               (1, 2, 8, 2, (0, 1, 0)), (9, 2, 8, 8, (0, 0, 1)),
                               (INF, 2, 8, 8, (0, 0, 1)), (-INF, 2, 8, 2, (0, 1, 0)),
                               (2, 2, 8, 2, (1, 0, 0)), (8, 2, 8, 8, (1, 0, 0)),
                               (5, -INF, INF, 5, (1, 0, 0))):
        table.given('clamp', [x, low, high], [y], d, [0] * 9)
    for x, low, high in ((NAN, 2, 8), (5, NAN, 8), (5, 2, NAN)):
        table.given('clamp', [x, low, high], [NAN])


def exponents(table):
    """x^y."""
    def power(x):
        a, b = x[0].v, x[1].v
        v, log = a**b, mp.log(a)
        out = Jet(v, 2, [b * a**(b - 1), v * log])
        out.h = {(0, 0): b * (b - 1) * a**(b - 2), (1, 1): v * log * log,
                 (1, 0): a**(b - 1) * (1 + b * log)}
        return out
    for x in (1e-20, 0.3, 1, 3, 1e10):
        for y in (-2, -0.5, 0, 0.5, 1, 2, 3, 10):
            # 1e-20 squared is below what is normal, then comes the logarithm.
            second = 1.5 if (x, y) == (1e-20, 3) else 5
            table.smooth('pow', power, [x, y],
                         {'f32': (5.5, 5.5, second), 'f64': (14, 14, 13)},
                         'the exponent magnifies the rounding of the logarithm')
    # A power of a negative number is a matter of whole exponents; its slope by y is none.
    for x, y in ((-2, 2), (-2, 3), (-2, -1), (-1, 0)):
        d = y * mpf(x)**(y - 1)
        table.given('pow', [x, y], [mpf(x)**y], [d, '?'])
    for x, y, v, d in ((0, 0, 1, 0), (0, 1, 0, 1), (0, 2, 0, 0), (0, 3, 0, 0)):
        table.given('pow', [x, y], [v], [d, 0])
    table.given('pow', [INF, 2], [INF], [INF, '?'])
    table.given('pow', [2, -INF], [0], ['?', '?'])
    table.given('pow', [-2, 0.5], [NAN], ['?', '?'])
    table.given('pow', [NAN, 2], [NAN], ['?', '?'])


def fill(table):
    exponentials(table)
    powers(table)
    lines(table)
    pairs(table)
    exponents(table)
