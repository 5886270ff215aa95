# SPDX-License-Identifier: MIT
"""TorchOpt's differentiable optimizers on PyTorch's models. Forms: eager; accelerated,
with its own kernel of Adam. Read torch_cases.py first."""
import torchopt

import contender
import torch_cases
from cases import BETAS, EPS


class Hyper(torch_cases.Hyper):
    """A hypergradient through a TorchOpt optimizer."""

    def __init__(self, case, folder, form):
        super().__init__(case, folder, form)
        self.accelerated = form == "accelerated"

    def optimizer(self):
        rate = self.rate_of if self.case.rate is None else self.case.rate
        if self.case.rule == "adam":
            rule = torchopt.adamw if self.case.decay else torchopt.adam
            options = {"weight_decay": self.case.decay} if self.case.decay else {}
            impl = rule(rate, BETAS, EPS, use_accelerated_op=self.accelerated,
                        **options)
        else:
            impl = torchopt.sgd(rate, momentum=self.eta.get("momentum", 0.0))
        return torchopt.FuncOptimizer(impl)

    def rate_of(self, count):
        return self.eta["rate"][count]

    def penalty(self, theta):
        """What makes the gradient g + l2 w."""
        if "l2" not in self.eta:
            return 0
        return sum(0.5 * c * w.square().sum() for c, w in zip(self.eta["l2"], theta))

    def train(self):
        names = list(self.theta)
        theta = tuple(v.detach().requires_grad_() for v in self.theta.values())
        optimizer = self.optimizer()
        for t in range(self.case.steps):
            x, label = self.batches[t % len(self.batches)]
            loss = self.loss(dict(zip(names, theta)), x, label, self.weight(t))
            theta = optimizer.step(loss + self.penalty(theta), theta)
        return dict(zip(names, theta))


def make(case, folder, form):
    torch_cases.prepare()
    return Hyper(case, folder, form)


if __name__ == "__main__":
    contender.serve("torchopt", make)
