#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""edges_update.py: writes edges_update.txt, what update rules give at awkward gradients, with
their derivatives, by mpmath at 50 digits:

    python3 edges_update.py

A case is `steps` steps of a rule with gradients g and all scalars it has. Its line says

    rule dtype steps n_p n_q, rate momentum beta2 eps decay clip clip_value eps_root, w0, g by steps,
    y: the parameters at the end, then the state; d: of each parameter by g, by w0 and by each
    scalar that is not `-`; h: the same twice, row by row, where asked for; digits of each kind

for parameters p and q of n_p and n_q elements. A number is `value` or `value~scale`: digits
are those of `scale`, the sum of the sizes of the terms a cancelling sum is made of, where it
is more than four times |value|. A size below the least normal number of the type counts as
that. Such lines end in their reason. `-` is a number that is not promised, being out of the
type's range; one that ends in `!` is not promised of forward mode, which carries the
derivative of a state that is."""
import math
import os
import struct

from mpmath import mp, mpf

mp.dps = 50
LEAST = {"f32": mpf(2) ** -126, "f64": mpf(2) ** -1022}
MOST = {"f32": mpf(2) ** 128, "f64": mpf(2) ** 1024}
CANCELS, SMALL = "terms cancel", "below the least normal number"
BETWEEN = "forward mode meets a tangent out of range"


class Number:
    """A value with its first and second derivatives, and of each the sum of the sizes of its
    terms. A wide one is computed in f64 whatever the type of the parameters."""

    least = most = mpf(0)
    past = set()  # leaves by which a value between is out of the type's range

    def __init__(self, v, s=None, d=None, h=None, wide=False):
        self.v, self.s = mpf(v), abs(mpf(v)) if s is None else s
        self.d, self.h, self.wide = d or {}, h or {}, wide
        if not wide and self.s and self.s < Number.least:
            self.s = Number.least
        if not wide:
            Number.past |= {i for i, x in self.d.items() if abs(x[0]) >= Number.most}


def combine(v, s, inputs, first, second, wide=None):
    """f(inputs); first: (f_x, its size) of each; second: {(x, y): (f_xy, size)}, x <= y."""
    d, h = {}, {}

    def put(to, key, value, size):
        if size:
            old = to.get(key, (mpf(0), mpf(0)))
            to[key] = (old[0] + value, old[1] + size)

    for x, (f, size) in zip(inputs, first):
        for i, (value, big) in x.d.items():
            put(d, i, f * value, size * big)
        for ij, (value, big) in x.h.items():
            put(h, ij, f * value, size * big)
    for (k, l), (f, size) in second.items():
        for i, (a, big_a) in inputs[k].d.items():
            for j, (b, big_b) in inputs[l].d.items():
                put(h, (i, j), f * a * b, size * big_a * big_b)
                if k != l:
                    put(h, (j, i), f * a * b, size * big_a * big_b)
    return Number(v, s, d, h, all(x.wide for x in inputs) if wide is None else wide)


def add(x, y, sign=1):
    return combine(x.v + sign * y.v, x.s + y.s, (x, y), ((1, 1), (sign, 1)), {})


def mul(x, y):
    return combine(x.v * y.v, x.s * y.s, (x, y), ((y.v, y.s), (x.v, x.s)), {(0, 1): (1, 1)})


def div(x, y):
    """0/0 is 0, as are its derivatives."""
    if y.v == 0:
        return Number(0)
    r, big = 1 / y.v, 1 / abs(y.v)
    return combine(x.v * r, x.s * big, (x, y), ((r, big), (-x.v * r * r, x.s * big**2)),
                   {(0, 1): (-r * r, big**2), (1, 1): (2 * x.v * r**3, 2 * x.s * big**3)})


def root(x):
    """Derivatives at 0 are 0."""
    if x.v == 0:
        return Number(0)
    v = mp.sqrt(x.v)
    return combine(v, v, (x,), ((1 / (2 * v), 1 / (2 * v)),),
                   {(0, 0): (-1 / (4 * v**3), 1 / (4 * v**3))})


def correction(beta, t):
    """1 - beta^t."""
    b = beta.v
    first = -t * b ** (t - 1)
    second = -t * (t - 1) * (b ** (t - 2) if t > 1 else mpf(0))
    return combine(1 - b**t, abs(1 - b**t), (beta,), ((first, abs(first)),),
                   {(0, 0): (second, abs(second))})


def as_wide(x, wide):
    return combine(x.v, x.s, (x,), ((1, 1),), {}, wide)


def hypot(a, x, b, y):
    """Terms that are 0 have no derivatives either where their sum is 0."""
    return as_wide(root(add(mul(a, as_wide(mul(x, x), True)),
                            mul(b, as_wide(mul(y, y), True)))), False)


ONE = Number(1, wide=True)


def clipped(c, g):
    """g after clip_value and clip."""
    if "clip_value" in c:
        most = c["clip_value"]
        g = [as_wide(most, False) if x.v > most.v else
             as_wide(mul(Number(-1, wide=True), most), False) if x.v < -most.v else x
             for x in g]
    if "clip" not in c:
        return g
    wide = [as_wide(x, True) for x in g]
    total = Number(0, wide=True)
    for x in wide:
        total = add(total, mul(x, x))
    norm = root(total)
    if norm.v <= c["clip"].v:
        return g
    scale = div(c["clip"], norm)
    return [as_wide(mul(x, scale), False) for x in wide]


def below(c, u):
    """root(u) + eps."""
    if "eps_root" in c:
        u = hypot(ONE, u, c["eps_root"], ONE)
    return add(u, c["eps"]) if "eps" in c else u


def average(beta, a, b):
    return add(mul(beta, a), mul(add(ONE, beta, -1), b))


def step(rule, c, t, w, g, s):
    """A parameter's step t = 1, ...: new w, new state."""
    decay = c.get("decay")
    if rule in ("adamw", "muon") and decay:
        w = add(w, mul(mul(c["rate"], decay), w), -1)
    elif decay:
        g = add(g, mul(decay, w))
    if rule == "sgd":
        return add(w, mul(c["rate"], g), -1), []
    if rule in ("momentum", "nesterov", "muon"):
        speed = add(mul(c["momentum"], s[0]), g)
        ahead = add(g, mul(c["momentum"], speed)) if rule != "momentum" else speed
        return add(w, mul(c["rate"], ahead), -1), [speed]
    if rule == "adagrad":
        u = hypot(ONE, s[0], ONE, g)
        return add(w, mul(c["rate"], div(g, below(c, u))), -1), [u]
    u = hypot(c["beta2"], s[-1], add(ONE, c["beta2"], -1), g)
    if rule == "rmsprop":
        return add(w, mul(c["rate"], div(g, below(c, u))), -1), [u]
    m = average(c["momentum"], s[0], g)
    under = below(c, div(u, root(correction(c["beta2"], t))))
    size = div(c["rate"], correction(c["momentum"], t))
    return add(w, mul(size, div(m, under)), -1), [m, u]


STATES = {"sgd": 0, "momentum": 1, "nesterov": 1, "adam": 2, "adamw": 2, "rmsprop": 1,
          "adagrad": 1, "muon": 1}
SCALARS = ["rate", "momentum", "beta2", "eps", "decay", "clip", "clip_value", "eps_root"]
HAS = {"sgd": [], "momentum": ["momentum"], "nesterov": ["momentum"],
       "adam": ["momentum", "beta2", "eps"], "adamw": ["momentum", "beta2", "eps"],
       "rmsprop": ["beta2", "eps"], "adagrad": ["eps"],
       "muon": ["momentum"]}
USUAL = {"rate": 0.0625, "momentum": 0.875, "beta2": 0.999, "eps": 1e-8}


def rounded(x, dtype):
    return struct.unpack("f", struct.pack("f", x))[0] if dtype == "f32" else float(x)


def text(value, size, dtype, reasons, past=False):
    word = said(value, size, dtype, reasons)
    if not past or word == "-":
        return word
    reasons.add(BETWEEN)
    return word + "!"


def said(value, size, dtype, reasons):
    if abs(value) >= MOST[dtype] or size >= MOST[dtype] / 4:
        return "-"
    if abs(value) < mpf(10) ** -400:
        value = mpf(0)
    if size <= 4 * abs(value) or size == 0:
        return mp.nstr(value, 17)
    reasons.add(SMALL if size <= LEAST[dtype] * 4 else CANCELS)
    return mp.nstr(value, 17) + "~" + mp.nstr(size, 3)


class Table:
    def __init__(self, f):
        self.f, self.cases = f, 0

    def case(self, rule, dtype, g, w, scalars, split=0, second=False, digits=None, why=""):
        Number.least, Number.most, Number.past = LEAST[dtype], MOST[dtype], set()
        n, steps = len(g[0]), len(g)
        g = [[rounded(x, dtype) for x in row] for row in g]
        w = [rounded(x, dtype) for x in w]
        c, at, leaf = {}, 0, {}

        def variable(x, wide):
            nonlocal at
            at += 1
            return Number(x, d={at - 1: (mpf(1), mpf(1))}, wide=wide)

        gradient = [[variable(x, False) for x in row] for row in g]
        now = [variable(x, False) for x in w]
        for name in SCALARS:
            if name in scalars:
                c[name] = variable(scalars[name], True)
        state = [[Number(0) for _ in range(STATES[rule])] for _ in w]
        for t in range(steps):
            cut = clipped(c, gradient[t])
            for i in range(n):
                now[i], state[i] = step(rule, c, t + 1, now[i], cut[i], state[i])
        reasons = {why} if why else set()
        y = [text(x.v, x.s, dtype, reasons) for x in now]
        p = n - split
        for part in (range(p), range(p, n)):
            for k in range(STATES[rule]):
                y += [text(state[i][k].v, state[i][k].s, dtype, reasons) for i in part]
        none = (mpf(0), mpf(0))
        d = [text(*x.d.get(i, none), dtype, reasons, i in Number.past)
             for x in now for i in range(at)]
        h = [text(*x.h.get((i, j), none), dtype, reasons)
             for x in now for i in range(at) for j in range(at)] if second else []
        numbers = " ".join(repr(float(scalars[s])) if s in scalars else "-" for s in SCALARS)
        parts = [rule, dtype, str(steps), str(p), str(split), numbers,
                 " ".join(map(repr, w)), " ".join(repr(x) for row in g for x in row),
                 f"y {len(y)}", *y, f"d {len(d)}", *d, f"h {len(h)}", *h, "digits",
                 *(digits or (("6", "5.5", "5") if dtype == "f32" else ("14.5", "14", "13.5")))]
        reason = " # " + ", ".join(sorted(reasons)) if reasons else ""
        self.f.write(" ".join(parts) + reason + "\n")
        self.cases += 1


SIZES = {"f32": [1e-38, 1e-30, 1e-23, 1e-15, 1e-8, 1, 1e8, 1e19, 1e20, 1e30, 1e38],
         "f64": [1e-300, 1e-200, 1e-160, 1e-38, 1e-8, 1, 1e20, 1e160, 1e200, 1e300]}
# One element each: step after step, in parts of the size, or outright.
SEQUENCES = [[-1], [1, 1, 1], [1, -0.5, 0.25], [0, 1], [1, 0, 0]]
JUMPS = {"f32": [[1e38, 1e-38], [1e-38, 1e38], [1e38, 1, 1e-38], [1e20, 1e-20, 1e20], [1e-40],
                 [1e-40, 1], [1e-45], [0], [0, 0, 0]],
         "f64": [[1e300, 1e-300], [1e-300, 1e300], [1e300, 1, 1e-300], [1e200, 1e-200, 1e200],
                 [1e-310], [1e-310, 1], [5e-324], [0], [0, 0, 0]]}


def scalars_of(rule, **more):
    return {**{name: USUAL[name] for name in ["rate"] + HAS[rule]}, **more}


def rooted(table, rule, dtype):
    """eps_root beside gradients of its size and far from it; without an eps too."""
    usual = scalars_of(rule)
    alone = {k: x for k, x in usual.items() if k != "eps"}
    for size in SIZES[dtype]:
        for sequence in SEQUENCES:
            table.case(rule, dtype, [[x * size] for x in sequence], [0],
                       {**usual, "eps_root": 1e-8})
        table.case(rule, dtype, [[size], [-size]], [0], {**alone, "eps_root": 1e-30})
    for sequence in JUMPS[dtype]:
        table.case(rule, dtype, [[x] for x in sequence], [0.75],
                   {**alone, "eps_root": 1e-3, "decay": 0.125})
    for size in (0, 1e-8, 1, 1e8):
        table.case(rule, dtype, [[size]], [0.5], {**usual, "eps_root": 1e-3}, second=True)


def fill(table):
    for rule in STATES:
        for dtype in ("f32", "f64"):
            tiny = 1e-40 if dtype == "f32" else 1e-310
            for size in SIZES[dtype]:
                for sequence in SEQUENCES:
                    g = [[x * size] for x in sequence]
                    table.case(rule, dtype, g, [0], scalars_of(rule))
                    if "eps" in HAS[rule] and len(sequence) != 2:
                        table.case(rule, dtype, g, [0], scalars_of(rule, eps=tiny))
                clip = [[3 * size, -4 * size, 12 * size]]
                if size < 1e38 or dtype == "f64":
                    table.case(rule, dtype, clip, [0, 0, 0], scalars_of(rule, clip=0.5 * size),
                               split=1)
                    table.case(rule, dtype, clip, [0, 0, 0], scalars_of(rule, clip=0.5), split=1)
                    table.case(rule, dtype, clip, [0.5, 0, 0],
                               scalars_of(rule, clip_value=3.5 * size, decay=0.125), split=2)
            for size in SIZES[dtype][::3]:
                rows = [[3 * size, -4 * size, 12 * size], [size, 2 * size, -2 * size],
                        [0, 0, 5 * size]]
                if size < 1e37 or dtype == "f64":
                    table.case(rule, dtype, rows, [0.5, 0, -0.25],
                               scalars_of(rule, clip=2.5 * size, decay=0.125), split=1)
            for sequence in JUMPS[dtype]:
                table.case(rule, dtype, [[x] for x in sequence], [0], scalars_of(rule))
                table.case(rule, dtype, [[x] for x in sequence], [0.75],
                           scalars_of(rule, decay=0.125))
            for size in (1e-8, 1, 1e8):
                table.case(rule, dtype, [[size]], [0.5], scalars_of(rule, eps=1e-3) if "eps" in
                           HAS[rule] else scalars_of(rule), second=True)
                table.case(rule, dtype, [[3 * size, 4 * size]], [0.5, 0.25],
                           scalars_of(rule, clip=size, decay=0.125), split=1, second=True)
            if "eps" in HAS[rule]:
                rooted(table, rule, dtype)
            if "beta2" in HAS[rule]:
                for beta2 in (0, 1e-9, 1 - 1e-9):
                    table.case(rule, dtype, [[2], [3]], [0], scalars_of(rule, beta2=beta2))


def main():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "edges_update.txt")
    with open(path, "w", encoding="ascii") as f:
        table = Table(f)
        fill(table)
    print(table.cases, "cases", math.ceil(os.path.getsize(path) / 1024), "kB")


if __name__ == "__main__":
    main()
