#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""update.py: writes update.h, what PyTorch's optimizers do to five f64 numbers in ten steps.

    python3 update.py > update.h && clang-format -i update.h      (any PyTorch, on the CPU)

Gradients are made of fractions every machine computes alike; test_nn_update.c makes the
same. Clipping by norm is written out: torch's clip_grad_norm_ divides by norm + 1e-6, which
is no part of the rule. Clipping by value comes before it. Schedules: factors of the rate at
steps 0 .. STEPS - 1 of torch's schedulers.
"""
import torch

STEPS = 10
START = [0.5, -1.25, 2.0, 0.0, -0.75]


def gradient(w, step):
    i = torch.arange(5, dtype=torch.float64)
    return (i + 1) / 8 * w - ((7 * i + 3 * step) % 11 - 5) / 4


def train(make, clip=0.0, clip_value=0.0):
    w = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    optimizer = make([w])
    for step in range(STEPS):
        w.grad = gradient(w.detach(), step)
        if clip_value:
            torch.nn.utils.clip_grad_value_([w], clip_value)
        norm = torch.linalg.vector_norm(w.grad)
        if clip and norm > clip:
            w.grad = w.grad * (clip / norm)
        optimizer.step()
    return w.detach().tolist()


CASES = [
    # name, rule, rate, momentum, beta2, eps, decay, clip, clip_value
    ("sgd", "ht_sgd", 0.1, 0, 0, 0, 0, 0, 0),
    ("sgd, decay", "ht_sgd", 0.1, 0, 0, 0, 0.25, 0, 0),
    ("sgd, clip value", "ht_sgd", 0.1, 0, 0, 0, 0, 0, 0.75),
    ("momentum", "ht_momentum", 0.05, 0.9, 0, 0, 0, 0, 0),
    ("momentum, decay, clip", "ht_momentum", 0.05, 0.9, 0, 0, 0.25, 1.5, 0),
    ("nesterov", "ht_nesterov", 0.05, 0.9, 0, 0, 0, 0, 0),
    ("nesterov, decay, clip", "ht_nesterov", 0.05, 0.9, 0, 0, 0.25, 1.5, 0),
    ("adam", "ht_adam", 0.01, 0.9, 0.999, 1e-8, 0, 0, 0),
    ("adam, large eps", "ht_adam", 0.125, 0.75, 0.875, 0.5, 0, 0, 0),
    ("adam, decay", "ht_adam", 0.125, 0.75, 0.875, 1e-3, 0.25, 0, 0),
    ("adam, decay, clip", "ht_adam", 0.125, 0.75, 0.875, 1e-3, 0.25, 1.5, 0),
    ("adamw", "ht_adamw", 0.01, 0.9, 0.999, 1e-8, 0, 0, 0),
    ("adamw, decay", "ht_adamw", 0.125, 0.75, 0.875, 1e-3, 0.25, 0, 0),
    ("adamw, decay, both clips", "ht_adamw", 0.125, 0.75, 0.875, 1e-3, 0.25, 1.5, 0.75),
    ("rmsprop", "ht_rmsprop", 0.01, 0, 0.99, 1e-8, 0, 0, 0),
    ("rmsprop, decay", "ht_rmsprop", 0.125, 0, 0.875, 1e-3, 0.25, 0, 0),
    ("rmsprop, decay, clip", "ht_rmsprop", 0.125, 0, 0.875, 1e-3, 0.25, 1.5, 0),
    ("adagrad", "ht_adagrad", 0.1, 0, 0, 1e-10, 0, 0, 0),
    ("adagrad, decay", "ht_adagrad", 0.1, 0, 0, 1e-3, 0.25, 0, 0),
    ("adagrad, decay, clip value", "ht_adagrad", 0.1, 0, 0, 1e-3, 0.25, 0, 0.75),
]


def maker(rule, rate, momentum, beta2, eps, decay):
    o, both = torch.optim, {"lr": rate, "weight_decay": decay}
    return {
        "ht_sgd": lambda p: o.SGD(p, **both),
        "ht_momentum": lambda p: o.SGD(p, momentum=momentum, **both),
        "ht_nesterov": lambda p: o.SGD(p, momentum=momentum, nesterov=True, **both),
        "ht_adam": lambda p: o.Adam(p, betas=(momentum, beta2), eps=eps, **both),
        "ht_adamw": lambda p: o.AdamW(p, betas=(momentum, beta2), eps=eps, **both),
        "ht_rmsprop": lambda p: o.RMSprop(p, alpha=beta2, eps=eps, **both),
        "ht_adagrad": lambda p: o.Adagrad(p, eps=eps, **both),
    }[rule]


SCHEDULE_STEPS = 12


def factors(make):
    w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1.0)
    schedule = make(optimizer)
    found = []
    for _ in range(SCHEDULE_STEPS):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return found


def warmed(make, warmup, start):
    def both(o):
        line = torch.optim.lr_scheduler.LinearLR(o, start, 1.0, warmup)
        return torch.optim.lr_scheduler.SequentialLR(o, [line, make(o)], [warmup])

    return both


S = torch.optim.lr_scheduler
cosine = lambda o: S.CosineAnnealingLR(o, 9, eta_min=0.125)
SCHEDULES = [
    # function, options, scheduler
    ("constant", ".warmup = 5, .start = 0.25", lambda o: S.LinearLR(o, 0.25, 1.0, 5)),
    ("step", ".every = 3, .factor = 0.3", lambda o: S.StepLR(o, 3, 0.3)),
    ("step", ".warmup = 4, .start = 0.1, .every = 3, .factor = 0.3",
     warmed(lambda o: S.StepLR(o, 3, 0.3), 4, 0.1)),
    ("cosine", ".steps = 11", lambda o: S.CosineAnnealingLR(o, 11)),
    ("cosine", ".warmup = 3, .start = 0.2, .steps = 9, .final = 0.125",
     warmed(cosine, 3, 0.2)),
    ("one_cycle", ".steps = 12, .start = 0.04, .final = 4e-6, .rise = 0.3",
     lambda o: S.OneCycleLR(o, 1.0, 12)),
    ("one_cycle", ".steps = 13, .start = 0.125, .final = 0.0125, .rise = 0.5",
     lambda o: S.OneCycleLR(o, 1.0, 13, pct_start=0.5, div_factor=8,
                              final_div_factor=10)),
]


def main():
    print("/* SPDX-License-Identifier: MIT */")
    print("/* update.h: five numbers after ten steps of PyTorch's optimizers, and the factors of")
    print(" * its schedulers, f64, CPU.")
    print(f" * Written by update.py with PyTorch {torch.__version__.split('+')[0]}. */")
    print('#include "ht_nn.h"\n')
    print("typedef struct update_reference {")
    print("    const char *name;")
    print("    const ht_update_rule *rule;")
    print("    double rate, momentum, beta2, eps, decay, clip, clip_value;")
    print("    double w[5];")
    print("} update_reference;")
    print("static const update_reference update_references[] = {")
    for name, rule, *x, clip, clip_value in CASES:
        w = train(maker(rule, *x), clip, clip_value)
        numbers = ", ".join(f"{x:g}" for x in (*x, clip, clip_value))
        print(f'    {{"{name}",\n     &{rule}, {numbers},')
        print("     {" + ",\n      ".join(f"{x:.17g}" for x in w) + "}},")
    print("};")
    print(f"\nenum {{ SCHEDULE_STEPS = {SCHEDULE_STEPS} }};")
    print("typedef struct schedule_reference {")
    print("    const char *name;")
    print("    ht_schedule_fn schedule;")
    print("    ht_rate options;")
    print("    double factor[SCHEDULE_STEPS];")
    print("} schedule_reference;")
    print("static const schedule_reference schedule_references[] = {")
    for name, options, make in SCHEDULES:
        print(f'    {{"{name}: {options}", ht_rate_{name}, {{{options}}},')
        print("     {" + ", ".join(f"{x:.17g}" for x in factors(make)) + "}},")
    print("};")


main()
