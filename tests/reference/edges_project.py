# SPDX-License-Identifier: MIT
"""edges_project.py: projections and proximal maps, rows of three and their bound. Those by
sums try each set of elements that may move. Read next: edges.py."""
import itertools
import math

import jets
from edges_rows import LARGEST, SCALES, zeros

INF, NAN = math.inf, math.nan


def clipped(x, cap):
    return max(0, min(x, cap))


def held(z, r, cap):
    """z - tau, 0 or cap, of sum r: the one choice of who moves that agrees with itself."""
    for way in itertools.product((0, 1, 2), repeat=3):
        moving = [a for a, w in zip(z, way) if w == 1]
        if not moving:
            continue
        tau = (jets.total(moving) - r + way.count(2) * (cap if 2 in way else 0)) / len(moving)
        rest = [(a - tau).v for a in z]
        if all((0 <= v <= cap) if w == 1 else v < 0 if w == 0 else v > cap
               for v, w in zip(rest, way)):
            return [a - tau if w == 1 else a * 0 + (cap if w == 2 else 0)
                    for a, w in zip(z, way)]
    raise ValueError('no way')


def simplex(x):
    return held(x[:3], x[3], INF)


def capped(x):
    z, r = x[:3], x[3]
    if sum(clipped(a.v, 1) for a in z) > r.v:
        return held(z, r, 1)
    return [a if 0 <= a.v <= 1 else a * 0 + clipped(a.v, 1) for a in z]


def l1(x):
    z, r = [a if a.v >= 0 else -a for a in x[:3]], x[3]
    y = held(z, r, INF) if sum(a.v for a in z) > r.v else z
    return [b if a.v >= 0 else -b for a, b in zip(x, y)]


def l2(x):
    n = jets.norm(x[:3])
    return [a * (x[3] / n) for a in x[:3]] if n.v > x[3].v else x[:3]


def group(x):
    n = jets.norm(x[:3])
    return [a * ((n - x[3]) / n) if n.v > x[3].v else a * 0 for a in x[:3]]


def soft(x):
    a, t = x
    return a - t if a.v > t.v else a + t if a.v < -t.v else a * 0


def sums(table):
    rows = [(1, .6, .1, 1), (3, 1, 2.5, 1), (-1, -2, -3.5, 2), (.3, .3, .3, .9), (5, 5, 5, 1),
            (4, 0, 0, .5), (.2, .3, .4, 3)]
    for row in rows:
        for scale, dtypes in SCALES:
            at = [scale * v for v in row]
            table.smooth('project_simplex', simplex, at, dtypes=dtypes, **LARGEST)
            signs = [at[0], -at[1], at[2], at[3]]
            table.smooth('project_l1', l1, signs, dtypes=dtypes, **LARGEST)
    for row in rows + [(7, .7, .2, 1.5), (.9, -.4, .2, 2), (7, 8, 9, 2.5), (7, 8, 9, 4),
                       (1e30, .5, -1e30, 1.25), (1e-30, .25, .5, 1), (.5, .5, .5, 1e-30)]:
        table.smooth('project_capped', capped, list(row), **LARGEST)
    for x in ((INF, 1, 0), (NAN, 1, 0), (1, 2, NAN)):
        for form in ('project_simplex', 'project_capped', 'project_l1'):
            table.given(form, list(x) + [1], [NAN] * 3)
    for form in ('project_simplex', 'project_capped'):
        table.given(form, [-INF, 1, .5, 1], [0, .75, .25], [0, 0, 0, 0, 0, .5, -.5, .5,
                                                           0, -.5, .5, .5], zeros(48))
        table.given(form, [2, 1, 0, -1], [NAN] * 3)
    table.given('project_l1', [-INF, 1, .5, 1], [NAN] * 3)


def by_norm(table):
    for row in ((3, 4, 0, 2.5), (1, -2, 3, 1), (1, -2, 3, 1e-4), (.1, .2, -.1, 7)):
        for scale, dtypes in SCALES:
            at = [scale * v for v in row]
            table.smooth('project_l2', l2, at, dtypes=dtypes, **LARGEST)
            table.smooth('group_soft_threshold', group, at, dtypes=dtypes, **LARGEST)
    same = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]
    table.given('project_l2', [0, 0, 0, 0], [0] * 3, same, zeros(48))
    table.given('project_l2', [3, 4, 0, 5], [3, 4, 0], same, zeros(48))
    table.given('project_l2', [3, 4, 0, INF], [3, 4, 0], same, zeros(48))
    for row in ([0, 0, 0, 0], [3, 4, 0, 5], [3, 4, 0, INF]):
        table.given('group_soft_threshold', row, [0] * 3, zeros(12), zeros(48))
    for form in ('project_l2', 'group_soft_threshold'):
        table.given(form, [INF, 1, 0, 1], [NAN] * 3)
        table.given(form, [NAN, 1, 0, 1], [NAN] * 3)
        table.given(form, [3, 4, 0, -1], [NAN] * 3)


def elements(table):
    for scale, dtypes in SCALES:
        for x in (3, -3, .5, -.5, 0):
            table.smooth('soft_threshold', soft, [scale * x, scale], dtypes=dtypes)
    table.smooth('soft_threshold', soft, [2, 0])
    for x, t, y, d in ((1, 1, 0, (0, 0)), (-1, 1, 0, (0, 0)), (INF, 1, INF, (1, -1)),
                       (-INF, 1, -INF, (1, 1)), (3, INF, 0, (0, 0))):
        table.given('soft_threshold', [x, t], [y], d, zeros(4))
    for x, t in ((NAN, 1), (1, NAN), (1, -1)):
        table.given('soft_threshold', [x, t], [NAN])
    for x, low, high, y, d in ((1, 2, 8, 2, (0, 1, 0)), (9, 2, 8, 8, (0, 0, 1)),
                               (2, 2, 8, 2, (1, 0, 0)), (8, 2, 8, 8, (1, 0, 0))):
        table.given('project_box', [x, low, high], [y], d, zeros(9))
    for x, y, d in ((-1, 0, 0), (0, 0, 1), (3, 3, 1), (INF, INF, 1), (-INF, 0, 0)):
        table.given('project_box_nonnegative', [x], [y], [d], [0])
    table.given('project_box_nonnegative', [NAN], [NAN])


def fill(table):
    sums(table)
    by_norm(table)
    elements(table)
