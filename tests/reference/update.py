#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""update.py: writes update.txt, what PyTorch's optimizers do to five f64 numbers in ten
steps, and schedule.txt.

    python3 tests/reference/update.py      (any PyTorch, on the CPU)

Gradients are made of fractions every machine computes alike; test_nn_update.c makes the
same. Clipping by norm is written out: torch's clip_grad_norm_ divides by norm + 1e-6, which
is no part of the rule. Clipping by value comes before it. Schedules: factors of the rate at
steps 0 .. STEPS - 1 of torch's schedulers.
"""
import torch

from layers import words, write

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
    ("sgd", "sgd", 0.1, 0, 0, 0, 0, 0, 0),
    ("sgd, decay", "sgd", 0.1, 0, 0, 0, 0.25, 0, 0),
    ("sgd, clip value", "sgd", 0.1, 0, 0, 0, 0, 0, 0.75),
    ("momentum", "momentum", 0.05, 0.9, 0, 0, 0, 0, 0),
    ("momentum, decay, clip", "momentum", 0.05, 0.9, 0, 0, 0.25, 1.5, 0),
    ("nesterov", "nesterov", 0.05, 0.9, 0, 0, 0, 0, 0),
    ("nesterov, decay, clip", "nesterov", 0.05, 0.9, 0, 0, 0.25, 1.5, 0),
    ("adam", "adam", 0.01, 0.9, 0.999, 1e-8, 0, 0, 0),
    ("adam, large eps", "adam", 0.125, 0.75, 0.875, 0.5, 0, 0, 0),
    ("adam, decay", "adam", 0.125, 0.75, 0.875, 1e-3, 0.25, 0, 0),
    ("adam, decay, clip", "adam", 0.125, 0.75, 0.875, 1e-3, 0.25, 1.5, 0),
    ("adamw", "adamw", 0.01, 0.9, 0.999, 1e-8, 0, 0, 0),
    ("adamw, decay", "adamw", 0.125, 0.75, 0.875, 1e-3, 0.25, 0, 0),
    ("adamw, decay, both clips", "adamw", 0.125, 0.75, 0.875, 1e-3, 0.25, 1.5, 0.75),
    ("rmsprop", "rmsprop", 0.01, 0, 0.99, 1e-8, 0, 0, 0),
    ("rmsprop, decay", "rmsprop", 0.125, 0, 0.875, 1e-3, 0.25, 0, 0),
    ("rmsprop, decay, clip", "rmsprop", 0.125, 0, 0.875, 1e-3, 0.25, 1.5, 0),
    ("adagrad", "adagrad", 0.1, 0, 0, 1e-10, 0, 0, 0),
    ("adagrad, decay", "adagrad", 0.1, 0, 0, 1e-3, 0.25, 0, 0),
    ("adagrad, decay, clip value", "adagrad", 0.1, 0, 0, 1e-3, 0.25, 0, 0.75),
]


def maker(rule, rate, momentum, beta2, eps, decay):
    o, both = torch.optim, {"lr": rate, "weight_decay": decay}
    return {
        "sgd": lambda p: o.SGD(p, **both),
        "momentum": lambda p: o.SGD(p, momentum=momentum, **both),
        "nesterov": lambda p: o.SGD(p, momentum=momentum, nesterov=True, **both),
        "adam": lambda p: o.Adam(p, betas=(momentum, beta2), eps=eps, **both),
        "adamw": lambda p: o.AdamW(p, betas=(momentum, beta2), eps=eps, **both),
        "rmsprop": lambda p: o.RMSprop(p, alpha=beta2, eps=eps, **both),
        "adagrad": lambda p: o.Adagrad(p, eps=eps, **both),
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
OPTIONS = "warmup start steps final every factor rise".split()
SCHEDULES = [
    # function, options, scheduler
    ("constant", dict(warmup=5, start=0.25), lambda o: S.LinearLR(o, 0.25, 1.0, 5)),
    ("step", dict(every=3, factor=0.3), lambda o: S.StepLR(o, 3, 0.3)),
    ("step", dict(warmup=4, start=0.1, every=3, factor=0.3),
     warmed(lambda o: S.StepLR(o, 3, 0.3), 4, 0.1)),
    ("cosine", dict(steps=11), lambda o: S.CosineAnnealingLR(o, 11)),
    ("cosine", dict(warmup=3, start=0.2, steps=9, final=0.125),
     warmed(cosine, 3, 0.2)),
    ("one_cycle", dict(steps=12, start=0.04, final=4e-6, rise=0.3),
     lambda o: S.OneCycleLR(o, 1.0, 12)),
    ("one_cycle", dict(steps=13, start=0.125, final=0.0125, rise=0.5),
     lambda o: S.OneCycleLR(o, 1.0, 13, pct_start=0.5, div_factor=8,
                              final_div_factor=10)),
]


def main():
    write("update",
          "# Five numbers after ten steps of optimizers of PyTorch, f64, CPU: update.py."
          " Scalars are\n# rate momentum beta2 eps decay clip clip_value.",
          [f'"{name}" {rule} {words(x, "scalars")} '
           + words(train(maker(rule, *x[:5]), *x[5:]), "w")
           for name, rule, *x in CASES])
    write("schedule",
          "# Factors of the rate of schedulers of PyTorch, f64, CPU: update.py."
          f" Options are\n# {' '.join(OPTIONS)}.",
          [f"{name} {words([options.get(k, 0) for k in OPTIONS], 'options')} "
           + words(factors(make), "factors") for name, options, make in SCHEDULES])


main()
