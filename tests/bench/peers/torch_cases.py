# SPDX-License-Identifier: MIT
"""PyTorch. Forms: eager, compile, each also channels-last. Read contender.py and
torch_models.py first; next: torchopt_cases.py, jax_cases.py."""
import torch
from torch.nn import functional as F

import contender
import torch_models as models
from cases import BETAS, EPS


def read(folder, name, form):
    """hypertape's set `name` as PyTorch's tensors."""
    tensors = models.load(contender.read_initial(folder, name))
    for key, value in tensors.items():
        if key == "label":
            tensors[key] = value.long()
        elif value.ndim == 4 and "channels-last" in form:
            tensors[key] = value.to(memory_format=torch.channels_last)
    return tensors


def fused(optimizer, *arguments):
    """PyTorch 1 fuses none on a CPU."""
    try:
        return optimizer(*arguments, fused=True)
    except (TypeError, RuntimeError):
        return optimizer(*arguments)


class Step:
    """A training step: loss, gradient, update by PyTorch's own fused optimizers."""

    def __init__(self, case, folder, form):
        self.model = getattr(models, case.model)
        batch = read(folder, "batch", form)
        self.x, self.label = batch["x"], batch["label"]
        self.theta = read(folder, "theta", form)
        for value in self.theta.values():
            value.requires_grad_()
        parameters = list(self.theta.values())
        if case.rule == "sgd":
            self.optimizer = fused(torch.optim.SGD, parameters, case.rate)
        else:
            self.optimizer = fused(torch.optim.AdamW, parameters, case.rate, BETAS, EPS,
                                   case.decay)
        self.loss = self.mean_loss
        if form.startswith("compile"):
            self.loss = torch.compile(self.mean_loss)

    def mean_loss(self, theta, x, label):
        return F.cross_entropy(self.model(theta, x), label)

    def step(self):
        loss = self.loss(self.theta, self.x, self.label)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def run(self, n):
        for _ in range(n):
            self.step()
        return n

    def check(self):
        losses = [self.step().item() for _ in range(contender.CHECK_STEPS)]
        return {"losses": losses, **models.store(self.theta)}


def root(v):
    """sqrt whose derivative at 0 is 0, or a parameter that never moved makes NaN."""
    positive = v > 0
    return torch.where(positive, torch.where(positive, v, 1).sqrt(), 0)


class Hyper:
    """A hypergradient: the graph of all steps is kept, and differentiated once more."""

    def __init__(self, case, folder, form):
        self.case = case
        model = getattr(models, case.model)
        if case.model == "vit":  # the fused attention cannot be differentiated twice
            self.model = lambda w, x: model(w, x, models.attend)
        else:
            self.model = model
        self.theta = read(folder, "theta", form)
        self.eta = {k: torch.from_numpy(v).requires_grad_()
                    for k, v in contender.read_initial(folder, "eta").items()}
        data, self.outer = read(folder, "data", form), read(folder, "outer", form)
        rows = case.batch
        self.batches = list(zip(data["x"].split(rows), data["label"].split(rows)))
        self.step = self.eager_step
        if form == "compile":
            self.step = torch.compile(self.func_step)

    def loss(self, theta, x, label, weight):
        losses = F.cross_entropy(self.model(theta, x), label, reduction="none")
        return (losses if weight is None else weight * losses).mean()

    def eager_step(self, theta, state, x, label, weight, scalars):
        loss = self.loss(theta, x, label, weight)
        g = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        return self.update(theta, state, dict(zip(theta, g)), *scalars)

    def func_step(self, theta, state, x, label, weight, scalars):
        """The same in a form that torch.compile takes whole."""
        g = torch.func.grad(self.loss)(theta, x, label, weight)
        return self.update(theta, state, g, *scalars)

    def update(self, theta, state, g, rate, *more):
        if self.case.rule == "sgd":
            return {k: w - rate * g[k] for k, w in theta.items()}, state
        if self.case.rule == "momentum":
            momentum, l2 = more
            state = {k: momentum * state[k] + g[k] + l2[i] * w
                     for i, (k, w) in enumerate(theta.items())}
            return {k: w - rate * state[k] for k, w in theta.items()}, state
        (b1, b2), (corrected, scale) = BETAS, more
        m = {k: b1 * state[0][k] + (1 - b1) * d for k, d in g.items()}
        v = {k: b2 * state[1][k] + (1 - b2) * d * d for k, d in g.items()}
        shrink = 1 - rate * self.case.decay
        theta = {k: w * shrink - rate * corrected * m[k] / (root(v[k]) * scale + EPS)
                 for k, w in theta.items()}
        return theta, (m, v)

    def rate(self, t):
        return self.eta["rate"][t] if self.case.rate is None else self.case.rate

    def scalars(self, t):
        if self.case.rule == "sgd":
            return (self.rate(t),)
        if self.case.rule == "momentum":
            return self.rate(t), self.eta["momentum"], self.eta["l2"]
        b1, b2 = BETAS
        corrections = 1 / (1 - b1 ** (t + 1)), (1 - b2 ** (t + 1)) ** -0.5
        return self.rate(t), *(torch.tensor(c) for c in corrections)

    def weight(self, t):
        """Of the rows of batch t."""
        if "weight" not in self.eta:
            return None
        rows, t = self.case.batch, t % len(self.batches)
        return self.eta["weight"][t * rows:(t + 1) * rows]

    def train(self):
        """theta after all steps, as a function of eta."""
        theta = {k: v.detach().requires_grad_() for k, v in self.theta.items()}
        zeros = {k: torch.zeros_like(v) for k, v in theta.items()}
        state = (zeros, zeros) if self.case.rule == "adam" else zeros
        for t in range(self.case.steps):
            batch = self.batches[t % len(self.batches)]
            theta, state = self.step(theta, state, *batch, self.weight(t),
                                     self.scalars(t))
        return theta

    def gradient(self):
        loss = self.loss(self.train(), self.outer["x"], self.outer["label"], None)
        return loss.detach(), torch.autograd.grad(loss, list(self.eta.values()))

    def run(self, n):
        for _ in range(n):
            self.gradient()
        return n

    def check(self):
        loss, gradient = self.gradient()
        return {"losses": [loss.item()],
                **{f"gradient.{k}": g.numpy() for k, g in zip(self.eta, gradient)}}


def prepare():
    torch.set_num_threads(contender.threads())
    if contender.is_f64():
        torch.set_default_dtype(torch.float64)


def make(case, folder, form):
    prepare()
    return (Hyper if case.steps > 1 else Step)(case, folder, form)


if __name__ == "__main__":
    contender.serve("torch", make)
