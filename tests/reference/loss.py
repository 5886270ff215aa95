#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""loss.py: writes loss.txt, what PyTorch's losses make of f64 numbers, to second order.

    python3 tests/reference/loss.py      (any PyTorch, on the CPU)

Operands, weights and directions are those of layers.py; a loss is taken element by element
and averaged (KL: summed) over all axes but the first.
"""
import torch
import torch.nn.functional as F

from layers import write_layers

LABELS = torch.tensor([2, 0, 3, 3, 1])
ROWS = [(5, 4)]


def cross_entropy(z, p=LABELS, smoothing=0.0):
    return F.cross_entropy(z, p, reduction="none", label_smoothing=smoothing)


def weighted(z, w):
    rows = cross_entropy(z)
    return (w * rows).sum() / w.sum()


def rows(loss, **options):
    return lambda x, t: loss(x, t, reduction="none", **options).flatten(1).mean(1)


def kl(x, t):
    return F.kl_div(x.log_softmax(1), t.softmax(1), reduction="none").sum(1)


def smoothed_by(z, s):
    """Smoothing as a variable: by its definition, for PyTorch takes a number only."""
    q = (1 - s)[:, None] * F.one_hot(LABELS, 4) + s[:, None] / 4
    return cross_entropy(z, q)


BLOCK = (4, 3, 2)
CASES = [
    # name, function, shapes of the operands
    ("cross-entropy", cross_entropy, ROWS),
    ("cross-entropy, soft", cross_entropy, ROWS * 2),
    ("cross-entropy, smoothed", lambda z: cross_entropy(z, smoothing=0.1), ROWS),
    ("cross-entropy, soft, smoothed",
     lambda z, p: cross_entropy(z, p.softmax(1), 0.3), ROWS * 2),
    ("cross-entropy, smoothing a variable", smoothed_by, ROWS + [(5,)]),
    ("cross-entropy, weighted", weighted, ROWS + [(5,)]),
    ("binary cross-entropy", rows(F.binary_cross_entropy_with_logits), [BLOCK] * 2),
    ("binary cross-entropy, a number",
     lambda z: F.binary_cross_entropy_with_logits(z, torch.ones_like(z), reduction="none"),
     [(7,)]),
    ("squared error", rows(F.mse_loss), [BLOCK] * 2),
    ("huber", rows(F.huber_loss, delta=0.3), [BLOCK] * 2),
    ("kl divergence", kl, ROWS * 2),
    ("l1", lambda w, v: sum(F.l1_loss(a, 0 * a, reduction="sum") for a in (w, v)),
     [(3, 4), (4, 2)]),
    ("l2", lambda w, v: sum(F.mse_loss(a, 0 * a, reduction="sum") for a in (w, v)),
     [(3, 4), (4, 2)]),
]

if __name__ == "__main__":
    write_layers("loss", CASES)
