#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""update.py: writes update.h, what PyTorch's optimizers do to five f64 numbers in ten steps.

    python3 update.py > update.h && clang-format -i update.h      (any PyTorch, on the CPU)

Gradients are made of fractions every machine computes alike; test_nn_update.c makes the
same. Clipping is written out: torch's clip_grad_norm_ divides by norm + 1e-6, which is no
part of the rule.
"""
import torch

STEPS = 10
START = [0.5, -1.25, 2.0, 0.0, -0.75]


def gradient(w, step):
    i = torch.arange(5, dtype=torch.float64)
    return (i + 1) / 8 * w - ((7 * i + 3 * step) % 11 - 5) / 4


def train(make, clip=0.0):
    w = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    optimizer = make([w])
    for step in range(STEPS):
        g = gradient(w.detach(), step)
        norm = torch.linalg.vector_norm(g)
        w.grad = g * (clip / norm) if clip and norm > clip else g
        optimizer.step()
    return w.detach().tolist()


SGD, Adam = torch.optim.SGD, torch.optim.Adam
CASES = [
    # name, rule, rate, momentum, beta2, eps, decay, clip
    ("sgd", "ht_sgd", 0.1, 0, 0, 0, 0, 0),
    ("sgd, decay", "ht_sgd", 0.1, 0, 0, 0, 0.25, 0),
    ("momentum", "ht_momentum", 0.05, 0.9, 0, 0, 0, 0),
    ("momentum, decay, clip", "ht_momentum", 0.05, 0.9, 0, 0, 0.25, 1.5),
    ("adam", "ht_adam", 0.01, 0.9, 0.999, 1e-8, 0, 0),
    ("adam, large eps", "ht_adam", 0.125, 0.75, 0.875, 0.5, 0, 0),
    ("adam, decay", "ht_adam", 0.125, 0.75, 0.875, 1e-3, 0.25, 0),
    ("adam, decay, clip", "ht_adam", 0.125, 0.75, 0.875, 1e-3, 0.25, 1.5),
]


def maker(rule, rate, momentum, beta2, eps, decay):
    if rule == "ht_adam":
        return lambda p: Adam(p, lr=rate, betas=(momentum, beta2), eps=eps, weight_decay=decay)
    return lambda p: SGD(p, lr=rate, momentum=momentum, weight_decay=decay)


def main():
    print("/* SPDX-License-Identifier: MIT */")
    print("/* update.h: five numbers after ten steps of PyTorch's optimizers, f64, CPU.")
    print(f" * Written by update.py with PyTorch {torch.__version__.split('+')[0]}. */")
    print('#include "ht_nn.h"\n')
    print("static const struct update_reference {")
    print("    const char *name;")
    print("    const ht_update_rule *rule;")
    print("    double rate, momentum, beta2, eps, decay, clip;")
    print("    double w[5];")
    print("} update_references[] = {")
    for name, rule, rate, momentum, beta2, eps, decay, clip in CASES:
        w = train(maker(rule, rate, momentum, beta2, eps, decay), clip)
        numbers = ", ".join(f"{x:g}" for x in (rate, momentum, beta2, eps, decay, clip))
        print(f'    {{"{name}",\n     &{rule}, {numbers},')
        print("     {" + ",\n      ".join(f"{x:.17g}" for x in w) + "}},")
    print("};")


main()
