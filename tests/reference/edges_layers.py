# SPDX-License-Identifier: MIT
"""edges_layers.py: products, movement, attention, layers. Read next: edges.py.

Parameters of layers are those of test_edges_layers.c: the k-th number of a tensor is
((7 k + 3 c) mod 11 - 5) / 8 where c counts the tensors of the layer from 0."""
import math

from mpmath import mp, mpf

import jets

INF, NAN = math.inf, math.nan
ROWS = [(1, 2, 3), (0, 0, 0), (1e-40, -1e-40, 0), (3e38, -3e38, 1), (1e-310, 1e308, -1)]


def moved(form, table, places, n_out):
    """Elements carried elsewhere: out k is x[places[k]], None is 0."""
    for row in ROWS + [(INF, 1, -INF), (NAN, 1, 2)]:
        dtypes = ('f64',) if 1e-310 in row else ('f32', 'f64')
        d = [int(p == i) for p in places for i in range(3)]
        y = [0 if p is None else row[p] for p in places]
        assert len(y) == n_out
        y = [mpf(v) if v == v and abs(v) != INF else v for v in y]
        for dtype in dtypes:
            from edges import rounded
            at = [0 if p is None else rounded(row[p], dtype) for p in places]
            table.given(form, row, at, d, [0] * (9 * n_out), dtypes=(dtype,))


def movement(table):
    for form, places in (('reshape', (0, 1, 2)), ('permute', (0, 1, 2)),
                         ('transpose', (0, 1, 2)), ('broadcast', (0, 1, 2, 0, 1, 2)),
                         ('slice', (2, 0)), ('pad', (None, 0, 1, 2, None)),
                         ('concat', (0, 1, 2, 0, 1, 2)), ('stack', (0, 0, 1, 1, 2, 2)),
                         ('flip', (2, 1, 0)), ('gather', (2, 0, 2)),
                         ('take_last', (2, 0)), ('tril', (0, 1, None))):
        if form == 'concat':
            for row in ROWS[:2]:
                table.given(form, row, list(row) * 2,
                            [int(k % 3 == i) for k in range(6) for i in range(3)],
                            [0] * 54)
        else:
            moved(form, table, places, len(places))
    # base (2) and an update: base[1] += update
    for row in ((1, 2, 3), (0, INF, 1), (NAN, 1, 2), (1, 3e38, -3e38)):
        table.given('scatter_add', row, [row[0], row[1] + row[2]],
                    [1, 0, 0, 0, 1, 1], [0] * 18,
                    dtypes=('f64',) if 3e38 in row else ('f32', 'f64'))
    for k in (0, 1, 2):
        table.given('one_hot', [k], [int(k == j) for j in range(3)])


def products(table):
    def dot(x):
        return x[0] * x[2] + x[1] * x[3]
    for form in ('matmul', 'conv2d'):
        for row in ((1, 2, 3, 4), (0, 0, 0, 0), (1e20, 0, 1e-20, 1), (1e-20, 1, 1e-20, 0),
                    (1e18, 1e18, 1e18, 1e18), (1e-30, 1e30, 1e30, 1e-30)):
            table.smooth(form, dot, row)
        table.given(form, [NAN, 1, 2, 3], [NAN])
        table.given(form, [INF, 1, 2, 3], [INF])
        table.given(form, [INF, 1, 0, 3], [NAN])
    table.smooth('matmul', dot, [1e200, 1e-200, 1e-200, 1e200], dtypes=('f64',))


def attend(q, k, v, causal):
    """q, k, v: tokens of lists of jets."""
    out = []
    for i, row in enumerate(q):
        seen = range(i + 1) if causal else range(len(k))
        scale = mp.sqrt(len(row))
        scores = [jets.total([a * b for a, b in zip(row, k[j])]) / scale for j in seen]
        p = jets.softmax(scores)
        out.append([jets.total([p[n] * v[j][c] for n, j in enumerate(seen)])
                    for c in range(len(v[0]))])
    return out


def attentions(table):
    def single(causal):
        # q (2, 1), k (2, 1), v (2, 1)
        return lambda x: [y[0] for y in attend([[x[0]], [x[1]]], [[x[2]], [x[3]]],
                                               [[x[4]], [x[5]]], causal)]
    rows = [(0, 0, 0, 0, 0, 0), (1, 2, 3, -1, 0.5, -2), (30, 1, 1, -1, 3, 4),
            (1e-20, 1, 1, 1e-20, 1, 1)]
    fewer = {'f32': (5.5, '5.5r', '4.5r'), 'f64': (14, '14r', '13r')}
    why = 'differences of the values meet differences of the probabilities'
    for row in rows:
        table.smooth('attention', single(False), row, fewer, why)
        table.smooth('attention_causal', single(True), row, fewer, why)
    # Where one score has nearly all, tangents are not formed relative to its own.
    saturated = {'f32': (5.5, '5.5r', '-1r'), 'f64': (14, '14r', '6.5r')}
    for form, causal in (('attention', False), ('attention_causal', True)):
        table.smooth(form, single(causal), (5, -5, 4, 0, 1, 2), saturated,
                     'tangents of a saturated row are differences of what is alike')
    # What the first row does not see may be anything.
    for k, v in ((NAN, 1), (1, NAN), (INF, 1), (1, INF), (-INF, -INF)):
        table.given('attention_causal', [1, 2, 3, k, 0.5, v], [0.5, '?'],
                    [0, 0, 0, 0, 1, 0] + ['?'] * 6)
    for k, v in ((NAN, 1), (1, NAN)):
        table.given('attention', [1, 2, 3, k, 0.5, v], [NAN, NAN])


def number(k, c):
    return mpf((7 * k + 3 * c) % 11 - 5) / 8


def tensor(c, rows, columns):
    return [[number(r * columns + j, c) for j in range(columns)] for r in range(rows)]


def vector(c, n):
    return [number(k, c) for k in range(n)]


def linear(x, c, n):
    w, b = tensor(c, len(x), n), vector(c + 1, n)
    return [y + k for y, k in zip(jets.matrix(w, x), b)]


def gru(x):
    a, h = linear([x[0]], 0, 3), linear([x[1]], 2, 3)
    r, z = jets.sigmoid(a[0] + h[0]), jets.sigmoid(a[1] + h[1])
    c = jets.tanh(a[2] + r * h[2])
    return c + z * (x[1] - c)


def lstm(x):
    a, b = linear([x[0]], 0, 4), linear([x[1]], 2, 4)
    i, f, g, o = [p + q for p, q in zip(a, b)]
    c = jets.sigmoid(f) * x[2] + jets.sigmoid(i) * jets.tanh(g)
    return [jets.sigmoid(o) * jets.tanh(c), c]


def heads(tokens, c):
    """Heads of one column each; query, key, value, out are linear layers."""
    width = len(tokens[0])
    q, k, v = [[linear(t, c + 2 * n, width) for t in tokens] for n in range(3)]
    parts = [attend([[t[h]] for t in q], [[t[h]] for t in k], [[t[h]] for t in v], False)
             for h in range(width)]
    joined = [[part[t][0] for part in parts] for t in range(len(tokens))]
    return [linear(t, c + 6, width) for t in joined]


def normed(x, gain, shift):
    return [y * g + s for y, g, s in
            zip(jets.normalize(x, mpf('1e-5')), gain, shift)]


def block(x):
    tokens = [x[:3], x[3:]]
    inside = [normed(t, vector(0, 3), vector(1, 3)) for t in tokens]
    tokens = [[a + b for a, b in zip(t, y)] for t, y in zip(tokens, heads(inside, 2))]
    out = []
    for t in tokens:
        hidden = [jets.gelu(y) for y in linear(normed(t, vector(10, 3), vector(11, 3)),
                                               12, 2)]
        out += [a + b for a, b in zip(t, linear(hidden, 14, 3))]
    return out


def layers(table):
    why = 'terms of a sum cancel'
    digits = {'f32': ('5.5r', '5.5r', '4.5r'), 'f64': ('14.5r', '14r', '13r')}
    places = [(0, 0), (1, -2), (20, -20), (-60, 3), (1e-20, 1e-20), (200, 200)]
    rows = [(0, 0, 0), (1, -2, 4), (20, -20, 3), (5, 5, 5), (1e-20, 1e-20, 0),
            (1e4, 1e4, 1.001e4)]
    for row in rows:
        table.smooth('layernorm_layer',
                     lambda x: normed(x, vector(0, 3), vector(1, 3)), row, digits, why)
        table.smooth('rmsnorm_layer',
                     lambda x: [y * g for y, g in
                                zip(jets.normalize(x, mpf('1e-5'), False), vector(0, 3))],
                     row, digits, why)
        table.smooth('groupnorm_layer',
                     lambda x: normed(x, vector(0, 3), vector(1, 3)), row, digits, why)
        table.smooth('batchnorm_layer',
                     lambda x: [y * number(0, 0) + number(0, 1)
                                for y in jets.normalize(x, mpf('1e-5'))],
                     row, digits, why)
    for row in places:
        table.smooth('linear', lambda x: linear(x, 0, 2), row)
        table.smooth('conv2d_layer',
                     lambda x: x[0] * number(0, 0) + x[1] * number(1, 0) + number(0, 1),
                     row)
        table.smooth('batchnorm_given_layer',
                     lambda x: [(k - 2) / jets.sqrt(x[0] * 0 + mpf(3) + mpf('1e-5')) *
                                number(0, 0) + number(0, 1) for k in x], row)
        table.smooth('gru_cell', gru, row, {'f32': (5.5, '5.5r', '5r'), 'f64': (14, '14r', '13.5r')},
                     'what a closed gate lets through is 1 less its opening')
        table.smooth('lstm_cell', lstm, list(row) + [0.5], digits, why)
    for row in ((1, -2, 3, 0.5), (0, 0, 1, 2), (3, -3, 1, 2), (1e-3, 2, -1, 4)):
        table.smooth('multi_head_attention', lambda x: sum(heads([x[:2], x[2:]], 0), []),
                     row, digits, why)
    for row in ((1, -2, 3, 0.5, 0, 1), (0, 0, 0, 1, 2, 4), (20, -20, 1, 3, 2, 1)):
        table.smooth('transformer_block', block, row, digits, why)
    for form, n_in, n in (('linear', 2, 2), ('gru_cell', 2, 1), ('lstm_cell', 3, 2),
                          ('layernorm_layer', 3, 3), ('multi_head_attention', 4, 4),
                          ('transformer_block', 6, 6)):
        table.given(form, [NAN] + [1] * (n_in - 1), [NAN] * n)
    table.given('embedding', [0], vector(0, 2))
    table.given('embedding', [1], [number(2, 0), number(3, 0)])


def fill(table):
    movement(table)
    products(table)
    attentions(table)
    layers(table)
