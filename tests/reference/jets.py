# SPDX-License-Identifier: MIT
"""jets.py: numbers that carry their first and second derivatives, over mpmath. An oracle
that shares nothing with the library: no tape, no rules, 50 digits and more.
Read next: edges.py."""
from mpmath import mp, mpf

mp.dps = 420  # 50 are left when a tail of 1e-370 has been taken from 1


class Jet:
    """value, gradient (n), Hessian (n x n, as a dict of its lower half)."""

    def __init__(self, v, n, g=None, h=None):
        self.v, self.n = mpf(v), n
        self.g = g if g else [mpf(0)] * n
        self.h = h if h else {}

    def hess(self, i, j):
        return self.h.get((max(i, j), min(i, j)), mpf(0))

    def lift(self, other):
        return other if isinstance(other, Jet) else Jet(other, self.n)

    def chain(self, f, f1, f2):
        """f(self), whose derivatives at self.v are f1 and f2."""
        h = {}
        for i in range(self.n):
            for j in range(i + 1):
                value = f1 * self.hess(i, j) + f2 * self.g[i] * self.g[j]
                if value:
                    h[i, j] = value
        return Jet(f, self.n, [f1 * g for g in self.g], h)

    def __add__(self, other):
        b = self.lift(other)
        h = {k: self.h.get(k, 0) + b.h.get(k, 0) for k in {**self.h, **b.h}}
        return Jet(self.v + b.v, self.n, [x + y for x, y in zip(self.g, b.g)], h)

    def __mul__(self, other):
        b = self.lift(other)
        h = {}
        for i in range(self.n):
            for j in range(i + 1):
                h[i, j] = (self.v * b.hess(i, j) + b.v * self.hess(i, j) +
                           self.g[i] * b.g[j] + self.g[j] * b.g[i])
        g = [self.v * y + b.v * x for x, y in zip(self.g, b.g)]
        return Jet(self.v * b.v, self.n, g, h)

    def __neg__(self):
        return self * -1

    def __sub__(self, other):
        return self + -self.lift(other)

    def __rsub__(self, other):
        return self.lift(other) - self

    def __truediv__(self, other):
        b = self.lift(other)
        return self * b.chain(1 / b.v, -1 / b.v**2, 2 / b.v**3)

    def __rtruediv__(self, other):
        return self.lift(other) / self

    __radd__, __rmul__ = __add__, __mul__


def variables(values):
    """One jet a number, each its own variable."""
    n = len(values)
    return [Jet(v, n, [mpf(i == k) for i in range(n)]) for k, v in enumerate(values)]


def exp(x):
    e = mp.exp(x.v)
    return x.chain(e, e, e)


def log(x):
    return x.chain(mp.log(x.v), 1 / x.v, -1 / x.v**2)


def sqrt(x):
    if x.v == 0:  # by convention
        return x.chain(mpf(0), mpf(0), mpf(0))
    r = mp.sqrt(x.v)
    return x.chain(r, 1 / (2 * r), -1 / (4 * r**3))


def logistic(x):
    """sigmoid and its two derivatives at a number."""
    s, t = 1 / (1 + mp.exp(-x)), 1 / (1 + mp.exp(x))
    return s, s * t, -s * t * mp.tanh(x / 2)


def sigmoid(x):
    return x.chain(*logistic(x.v))


def tanh(x):
    t, s = mp.tanh(x.v), mp.sech(x.v)**2
    return x.chain(t, s, -2 * t * s)


def softplus(x):
    s = logistic(x.v)
    value = mp.log1p(mp.exp(-abs(x.v))) + max(x.v, 0)
    return x.chain(value, s[0], s[1])


def gelu(x):
    v = x.v
    p, d = mp.erfc(-v / mp.sqrt(2)) / 2, mp.exp(-v * v / 2) / mp.sqrt(2 * mp.pi)
    return x.chain(v * p, p + v * d, d * (2 - v * v))


def gelu_tanh(x):
    v, c = x.v, mp.sqrt(2 / mp.pi)
    u, u1, u2 = (c * (v + mpf('0.044715') * v**3), c * (1 + 3 * mpf('0.044715') * v**2),
                 c * 6 * mpf('0.044715') * v)
    s, s1, s2 = logistic(2 * u)
    return x.chain(v * s, s + v * s1 * 2 * u1,
                   4 * s1 * u1 + v * (4 * s2 * u1**2 + 2 * s1 * u2))


def total(xs):
    out = xs[0]
    for x in xs[1:]:
        out = out + x
    return out


def softmax(xs):
    top = max(x.v for x in xs)
    e = [exp(x - top) for x in xs]
    s = total(e)
    return [k / s for k in e]


def logsumexp(xs):
    top = max(x.v for x in xs)
    rest = [exp(x - top) for x in xs]
    s = total(rest)
    # log1p of all but the top, or the digits of a small rest are gone before the log.
    at = [x.v for x in xs].index(top)
    small = sum((r.v for k, r in enumerate(rest) if k != at), mpf(0))
    return s.chain(mp.log1p(small), 1 / s.v, -1 / s.v**2) + top


def mean(xs):
    return total(xs) / len(xs)


def variance(xs, correction=0):
    m = mean(xs)
    return total([(x - m) * (x - m) for x in xs]) / (len(xs) - correction)


def norm(xs):
    return sqrt(total([x * x for x in xs]))


def normalize(xs, eps, centered=True):
    m = mean(xs) if centered else 0
    d = [x - m for x in xs]
    return [k / sqrt(mean([j * j for j in d]) + eps) for k in d]


def matrix(rows, x):
    """x . rows, x a list of jets and rows a list of lists."""
    return [total([x[k] * rows[k][j] for k in range(len(x))])
            for j in range(len(rows[0]))]
