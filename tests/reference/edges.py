# SPDX-License-Identifier: MIT
"""edges.py: right values, first and second derivatives of every op, loss and layer at the
awkward places, to edges.txt: `python3 tests/reference/edges.py`. Needs mpmath.

A line is a case: form, dtype, then x, y, d and h, each a count and its numbers, then the
digits wanted of y, d and h, and why other than usual. d[o, i] = dy[o]/dx[i] and
h[o, i, j] the second derivatives; a count of 0: none is wanted. `?` is not promised.
Digits are of each number by itself; those that end in r are of the largest beside it.
Read next: edges_elementwise.py, edges_rows.py, edges_layers.py."""
import math
import os
import struct
import sys

from mpmath import mp, mpf

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import edges_elementwise  # noqa: E402
import edges_layers  # noqa: E402
import edges_project  # noqa: E402
import edges_rows  # noqa: E402
from jets import variables  # noqa: E402

INF, NAN = math.inf, math.nan
USUAL = {'f32': (6, 6, 5.5), 'f64': (15, 14.5, 14)}
# Of the largest number of its block: for sums whose terms cancel.
OF_LARGEST = {'f32': ('6r', '6r', '5.5r'), 'f64': ('14.5r', '14.5r', '14r')}
CANCEL = 'terms of a sum cancel'


def rounded(x, dtype):
    """The number of that dtype nearest to x, exactly, as a Python float."""
    if dtype == 'f64' or x != x or abs(x) == INF:
        return float(x)
    try:
        return struct.unpack('f', struct.pack('f', x))[0]
    except OverflowError:
        return math.copysign(INF, x)


def text(value, dtype):
    if isinstance(value, str):
        return value
    if mp.isnan(value):
        return 'nan'
    most = mpf(2)**128 if dtype == 'f32' else mpf(2)**1024
    if abs(value) >= most:
        return 'inf' if value > 0 else '-inf'
    if abs(value) < mpf(10)**-330:
        return '0'
    return mp.nstr(mpf(value), 20)


def block(letter, values, dtype):
    return ' '.join([letter, str(len(values))] + [text(v, dtype) for v in values])


def write(f, form, dtype, x, y, d, h, digits, why):
    usual = USUAL[dtype]
    digits = digits or usual
    if tuple(digits) != usual and not why:
        raise ValueError(f'{form} {x}: fewer digits need a reason')
    parts = [form, dtype, block('x', [mpf(v) for v in x], dtype), block('y', y, dtype),
             block('d', d, dtype), block('h', h, dtype),
             'digits ' + ' '.join(map(str, digits))]
    f.write(' '.join(parts) + (f' # {why}' if why else '') + '\n')


def smooth(f, form, dtype, function, x, digits, why, hessian=True):
    """A case all of whose numbers follow from the function on jets. What another precision
    changes is rounding, and the number 0."""
    found = []
    for digits_more in (0, 80):
        with mp.workdps(mp.dps + digits_more):
            ys = function(variables([mpf(v) for v in x]))
            ys = ys if isinstance(ys, list) else [ys]
            n = range(len(x))
            found.append([[y.v for y in ys], [k for y in ys for k in y.g],
                          [y.hess(i, j) for y in ys for i in n for j in n]])
    y, d, h = [[b if abs(a - b) <= abs(b) * mpf(10)**-30 else mpf(0)
                for a, b in zip(*parts)] for parts in zip(*found)]
    write(f, form, dtype, x, y, d, h if hessian else [], digits, why)


class Table:
    """What the edges_*.py files fill in."""

    def __init__(self, f):
        self.f = f
        self.cases = 0

    def smooth(self, form, function, x, digits=None, why='', dtypes=('f32', 'f64'),
               hessian=True):
        """x as given to both dtypes, rounded to each; digits: {dtype: (y, d, h)}."""
        for dtype in dtypes:
            at = [rounded(v, dtype) for v in x]
            smooth(self.f, form, dtype, function, at, (digits or {}).get(dtype),
                   why if (digits or {}).get(dtype) else '', hessian)
            self.cases += 1

    def given(self, form, x, y, d=(), h=(), digits=None, why='', dtypes=('f32', 'f64')):
        """Numbers said outright: conventions, limits and what is not finite."""
        for dtype in dtypes:
            at = [rounded(v, dtype) for v in x]
            write(self.f, form, dtype, at, list(y), list(d), list(h),
                  (digits or {}).get(dtype), why if (digits or {}).get(dtype) else '')
            self.cases += 1


def main():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'edges.txt')
    with open(path, 'w', encoding='ascii') as f:
        table = Table(f)
        for part in (edges_elementwise, edges_rows, edges_project, edges_layers):
            part.fill(table)
    print(table.cases, 'cases')


if __name__ == '__main__':
    main()
