#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""layers.py: writes layers.txt, what PyTorch's layers make of f64 numbers, to second order.

    python3 tests/reference/layers.py      (any PyTorch, on the CPU)

Operand number s of a case is fill(s, shape), of fractions every machine computes alike;
tests/support/test_layers.h makes the same. With y the output, w = fill(100) of its shape and
u_s = fill(200 + s), a case is: y; the gradient of <y, w> by each operand; the product of
its Hessian with u.
"""
import math
import pathlib

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


def block(norm_first, mask=None):
    layer = torch.nn.TransformerEncoderLayer(
        6, 2, 5, 0.0, "gelu", 1e-5, True, norm_first, dtype=torch.float64)

    def run(x, g1, s1, wq, bq, wk, bk, wv, bv, wo, bo, g2, s2, wh, bh, w, b):
        values = {
            "norm1.weight": g1, "norm1.bias": s1, "norm2.weight": g2, "norm2.bias": s2,
            "self_attn.in_proj_weight": torch.cat([wq.T, wk.T, wv.T]),
            "self_attn.in_proj_bias": torch.cat([bq, bk, bv]),
            "self_attn.out_proj.weight": wo.T, "self_attn.out_proj.bias": bo,
            "linear1.weight": wh.T, "linear1.bias": bh,
            "linear2.weight": w.T, "linear2.bias": b}
        with sdpa_kernel(SDPBackend.MATH):
            return torch.func.functional_call(layer, values, (x,), {"src_mask": mask})
    return run


def track(x, g, s, mean, variance):
    """Train mode, and what it leaves in the running statistics, whose derivatives PyTorch
    does not record: said again by its documented formula, and compared."""
    kept = [mean.detach().clone(), variance.detach().clone()]
    y = F.batch_norm(x, *kept, g, s, True, 0.1, 1e-5)
    axes = [0, *range(2, x.dim())]
    new = [mean + 0.1 * (x.mean(axes) - mean),
           variance + 0.1 * (x.var(axes, unbiased=True) - variance)]
    for a, b in zip(kept, new):
        assert torch.allclose(a, b.detach(), rtol=0, atol=1e-14)
    return torch.cat([y.reshape(-1), *new])


def philox(stream, block):
    """Philox4x32-10 of seed 0 (Salmon et al. 2011)."""
    c = [stream & 0xFFFFFFFF, stream >> 32, block & 0xFFFFFFFF, block >> 32]
    key = [0, 0]
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ key[0], q & 0xFFFFFFFF,
             (p >> 32) ^ c[3] ^ key[1], p & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return [c[0] | c[1] << 32, c[2] | c[3] << 32]


def dropout(x, rate=0.25):
    """By the library's own mask, of the stream named "l" (FNV-1a) at step 0."""
    stream = ((0xCBF29CE484222325 ^ ord("l")) * 0x100000001B3) & (2**64 - 1)
    draws = [philox(stream, i // 2)[i % 2] >> 11 for i in range(x.numel())]
    keep = torch.tensor([d * 2.0**-53 >= rate for d in draws]).reshape(x.shape)
    return torch.where(keep, x / (1 - rate), 0.0)


def conv(stride=1, padding=0, dilation=1, groups=1):
    return lambda x, w, b=None: F.conv2d(x, w, b, stride, padding, dilation, groups)


def causal(n):
    return torch.full((n, n), -math.inf, dtype=torch.float64).triu(1)


def cell(f):
    return lambda x, *a: f(x, *a[:-4], a[-4].T, a[-2].T, a[-3], a[-1])


def lstm(x, h, c, wi, bi, wh, bh):
    return torch.cat(torch.lstm_cell(x, (h, c), wi.T, wh.T, bi, bh), 1)


WIDE = [(6, 6), (6,)] * 4
BLOCK = [(2, 4, 6), (6,), (6,)] + WIDE + [(6,), (6,), (6, 5), (5,), (5, 6), (6,)]
INDEX = torch.tensor([[3, 0, 3], [1, 4, 0]])
CASES = [
    # name, function, shapes of the operands
    ("linear", lambda x, w, b: F.linear(x, w.T, b), [(2, 3, 4), (4, 5), (5,)]),
    ("conv2d", conv(), [(2, 3, 5, 4), (4, 3, 3, 2), (4,)]),
    ("conv2d, stride, padding", conv((2, 1), (1, 2)), [(2, 2, 5, 6), (3, 2, 3, 3), (3,)]),
    ("conv2d, dilation, no bias", conv(1, (2, 1), (2, 3)), [(1, 2, 6, 7), (3, 2, 3, 3)]),
    ("conv2d, groups", conv(2, 1, 1, 2), [(2, 4, 5, 5), (6, 2, 3, 3), (6,)]),
    ("max pool", lambda x: F.max_pool2d(x, (3, 2), 2, (1, 0)), [(2, 3, 6, 5)]),
    ("average pool", lambda x: F.avg_pool2d(x, (3, 2), (2, 1), (1, 1)), [(2, 3, 6, 5)]),
    ("global average pool", lambda x: F.adaptive_avg_pool2d(x, 1)[:, :, 0, 0],
     [(2, 3, 4, 5)]),
    ("dropout", dropout, [(5, 7)]),
    ("embedding", lambda w: F.embedding(INDEX, w), [(5, 4)]),
    ("layernorm", lambda x, g, s: F.layer_norm(x, (7,), g, s, 1e-5), [(5, 7), (7,), (7,)]),
    ("rmsnorm", lambda x, g: F.rms_norm(x, (7,), g, 1e-6), [(5, 7), (7,)]),
    ("groupnorm", lambda x, g, s: F.group_norm(x, 3, g, s, 1e-5),
     [(2, 6, 3, 2), (6,), (6,)]),
    ("batchnorm", lambda x, g, s: F.batch_norm(x, None, None, g, s, True, 0.0, 1e-5),
     [(3, 4, 2, 3), (4,), (4,)]),
    ("batchnorm given",
     lambda x, g, s: F.batch_norm(x, fill(50, (4,)), fill(51, (4,)) ** 2, g, s, eps=1e-5),
     [(3, 4, 2), (4,), (4,)]),
    ("batchnorm, tracked", track, [(3, 4, 2, 3), (4,), (4,), (4,), (4,)]),
    ("attention", sdpa, [(2, 2, 4, 3), (2, 2, 5, 3), (2, 2, 5, 2)]),
    ("attention, mask", sdpa, [(2, 4, 3), (2, 5, 3), (2, 5, 2), (4, 5)]),
    ("attention, causal", lambda q, k, v: sdpa(q, k, v, causal=True), [(2, 5, 3)] * 3),
    ("heads, causal", lambda x, *p: heads(x, x, p, causal(4)), [(2, 4, 6)] + WIDE),
    ("heads, context", lambda x, c, *p: heads(x, c, p), [(2, 4, 6), (2, 3, 6)] + WIDE),
    ("heads, mask", lambda x, c, m, *p: heads(x, c, p, m),
     [(2, 4, 6), (2, 3, 6), (4, 3)] + WIDE),
    ("transformer block", block(True), BLOCK),
    ("transformer block, causal", block(True, causal(4)), BLOCK),
    ("transformer block, post-norm", block(False), BLOCK),
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


def words(x, label):
    """A list as tests/support/reference.h reads it."""
    return f"{label} {len(x)} " + " ".join(f"{v:.17g}" for v in x)


def write(what, first, rows):
    """what.txt: remarks that say which PyTorch made it, and a row a case."""
    version = torch.__version__.split("+")[0]
    path = pathlib.Path(__file__).with_name(what + ".txt")
    text = [first.replace("PyTorch", f"PyTorch {version}"), *rows]
    path.write_text("\n".join(text) + "\n", encoding="ascii")


def write_layers(what, cases):
    write(what,
          f"# Values, gradients and Hessian products of PyTorch, f64, CPU: {what}.py.",
          [f'"{name}" ' + words(numbers(f, shapes), "numbers")
           for name, f, shapes in cases])


if __name__ == "__main__":
    write_layers("layers", CASES)
