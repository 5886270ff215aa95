#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""muon.py: writes muon.txt, what PyTorch's Muon does to matrices in five steps.

    python3 tests/reference/muon.py      (PyTorch 2.9 or later, on the CPU)

torch.optim.Muon forms its step in bfloat16, which has 8 bits; here it is given f64 under
that name, and nothing else is changed. Its average (1 - momentum) g + momentum s differs
from our sum by a factor, and it takes the larger of |x| and 1e-7 where we add them:
neither matters where gradients are large, which leaves the step as it is, so these are in
millions. A weight is (n_out, n_in) to it, (n_in, n_out) to us and in the file. `shipped`
is the largest difference, over the largest element, that its own bfloat16 makes.
"""
import torch

from layers import words, write

STEPS = 5
CASES = [
    # name, n_in, n_out, rate, momentum, decay
    ("muon, wide", 3, 5, 0.02, 0.95, 0.0),
    ("muon, tall", 5, 3, 0.02, 0.95, 0.0),
    ("muon, square, decay", 4, 4, 0.125, 0.75, 0.25),
    ("muon, one row", 1, 6, 0.125, 0.875, 0.5),
]


def start(n_in, n_out):
    k = torch.arange(n_in * n_out, dtype=torch.float64).reshape(n_in, n_out)
    return (k * k * 5 % 13 - 6) / 8


def gradient(w, step):
    k = torch.arange(w.numel(), dtype=torch.float64).reshape(w.shape)
    return 2.0 ** 20 * (w / 4 + (k * k * 7 + 3 * step) % 11 - 5)


def train(n_in, n_out, rate, momentum, decay):
    w = start(n_in, n_out).T.contiguous().requires_grad_()
    optimizer = torch.optim.Muon([w], lr=rate, momentum=momentum, weight_decay=decay)
    for step in range(STEPS):
        w.grad = gradient(w.detach().T, step).T.contiguous()
        optimizer.step()
    return w.detach().T


def main():
    lines = []
    for name, n_in, n_out, *scalars in CASES:
        short = train(n_in, n_out, *scalars)
        shipped, torch.bfloat16 = torch.bfloat16, torch.float64
        w = train(n_in, n_out, *scalars)
        torch.bfloat16 = shipped
        off = float((short - w).abs().max() / w.abs().max())
        lines.append(f'"{name}" {words([n_in, n_out, *scalars], "scalars")} '
                     + words([off], "shipped") + " " + words(w.reshape(-1).tolist(), "w"))
    write("muon",
          "# Matrices after five steps of PyTorch's Muon in f64, CPU: muon.py. Scalars are\n"
          "# n_in n_out rate momentum decay; shipped: how far off its bfloat16 is.", lines)


main()
