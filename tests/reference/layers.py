#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""layers.py: writes layers.h, what PyTorch's layers make of f64 numbers, to second order.

    python3 layers.py > layers.h && clang-format -i layers.h      (any PyTorch, on the CPU)

Operand number s of a case is fill(s, shape), of fractions every machine computes alike;
test_nn_layers.c makes the same. With y the output, w = fill(100) of its shape and
u_s = fill(200 + s), a case is: y; the gradient of <y, w> by each operand; the product of
its Hessian with u.
"""
import math

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


def fill(salt, shape):
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    return (((37 * k + 11 * salt) % 101 - 50) / 64).reshape(shape)


def sdpa(q, k, v, mask=None, causal=False):
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)


def heads(x, context, parameters, mask=None):
    wq, bq, wk, bk, wv, bv, wo, bo = parameters

    def turn(a):
        return a.transpose(0, 1)

    y, _ = F.multi_head_attention_forward(
        turn(x), turn(context), turn(context), 6, 2,
        torch.cat([wq.T, wk.T, wv.T]), torch.cat([bq, bk, bv]), None, None, False, 0.0,
        wo.T, bo, attn_mask=mask, need_weights=True)
    return turn(y)


def causal(n):
    return torch.full((n, n), -math.inf, dtype=torch.float64).triu(1)


def cell(f):
    return lambda x, *a: f(x, *a[:-4], a[-4].T, a[-2].T, a[-3], a[-1])


def lstm(x, h, c, wi, bi, wh, bh):
    return torch.cat(torch.lstm_cell(x, (h, c), wi.T, wh.T, bi, bh), 1)


WIDE = [(6, 6), (6,)] * 4
INDEX = torch.tensor([[3, 0, 3], [1, 4, 0]])
CASES = [
    # name, function, shapes of the operands
    ("linear", lambda x, w, b: F.linear(x, w.T, b), [(2, 3, 4), (4, 5), (5,)]),
    ("embedding", lambda w: F.embedding(INDEX, w), [(5, 4)]),
    ("layernorm", lambda x, g, s: F.layer_norm(x, (7,), g, s, 1e-5), [(5, 7), (7,), (7,)]),
    ("rmsnorm", lambda x, g: F.rms_norm(x, (7,), g, 1e-6), [(5, 7), (7,)]),
    ("groupnorm", lambda x, g, s: F.group_norm(x, 3, g, s, 1e-5),
     [(2, 6, 3, 2), (6,), (6,)]),
    ("batchnorm", lambda x, g, s: F.batch_norm(x, None, None, g, s, True, 0.0, 1e-5),
     [(3, 4, 2, 3), (4,), (4,)]),
    ("batchnorm given",
     lambda x: F.batch_norm(x, fill(50, (4,)), fill(51, (4,)) ** 2, eps=1e-5), [(3, 4, 2)]),
    ("attention", sdpa, [(2, 2, 4, 3), (2, 2, 5, 3), (2, 2, 5, 2)]),
    ("attention, mask", sdpa, [(2, 4, 3), (2, 5, 3), (2, 5, 2), (4, 5)]),
    ("attention, causal", lambda q, k, v: sdpa(q, k, v, causal=True), [(2, 5, 3)] * 3),
    ("heads, causal", lambda x, *p: heads(x, x, p, causal(4)), [(2, 4, 6)] + WIDE),
    ("heads, context", lambda x, c, *p: heads(x, c, p), [(2, 4, 6), (2, 3, 6)] + WIDE),
    ("gru", cell(torch.gru_cell), [(3, 4), (3, 5), (4, 15), (15,), (5, 15), (15,)]),
    ("lstm", lstm, [(3, 4), (3, 5), (3, 5), (4, 20), (20,), (5, 20), (20,)]),
]


def numbers(f, shapes):
    x = [fill(s, shape).requires_grad_() for s, shape in enumerate(shapes)]
    y = f(*x)
    g = torch.autograd.grad((y * fill(100, y.shape)).sum(), x, create_graph=True)
    dot = sum((a * fill(200 + s, a.shape)).sum() for s, a in enumerate(g))
    zero = [torch.zeros_like(a) for a in x]
    if dot.requires_grad:
        zero = torch.autograd.grad(dot, x, allow_unused=True, materialize_grads=True)
    return torch.cat([a.detach().reshape(-1) for a in (y, *g, *zero)]).tolist()


def main():
    print("/* SPDX-License-Identifier: MIT */")
    print("/* layers.h: values, gradients and Hessian products of PyTorch's layers, f64, CPU.")
    print(f" * Written by layers.py with PyTorch {torch.__version__.split('+')[0]}. */")
    table = []
    for i, (name, f, shapes) in enumerate(CASES):
        x = numbers(f, shapes)
        print(f"static const double layer_numbers_{i}[] = {{")
        print(",\n".join(f"{v:.17g}" for v in x) + "};")
        table.append(f'    {{"{name}", {len(x)}, layer_numbers_{i}}},')
    print("static const struct layer_reference {")
    print("    const char *name;\n    int n;\n    const double *numbers;")
    print("} layer_references[] = {\n" + "\n".join(table) + "\n};")


main()
