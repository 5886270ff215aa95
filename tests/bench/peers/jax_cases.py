# SPDX-License-Identifier: MIT
"""JAX, always under jit. Forms of a step: jit (a call each), scan (32 steps a call); of
a hypergradient: scan or unroll, and remat, which recomputes steps on the way back. Read
contender.py and jax_models.py first."""
import math
import os
import sys

if __name__ == "__main__":
    # XLA takes as many threads as it sees processors, whatever its flags say.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(sys.argv[3])])
    os.environ["JAX_ENABLE_X64"] = str(sys.argv[-1] == "f64")

import jax
import jax.numpy as jnp

import contender
import jax_models as models
from cases import BETAS, EPS

SCAN = 32


def read(folder, name):
    return contender.read_initial(folder, name)


def rows(tensors):
    return models.load_images(tensors["x"]), jnp.asarray(tensors["label"])


def root(v):
    """sqrt whose derivative at 0 is 0, or a parameter that never moved makes NaN."""
    return jnp.where(v > 0, jnp.sqrt(jnp.where(v > 0, v, 1)), 0)


class Training:
    """A step of training, as a function for XLA to compile."""

    def __init__(self, case):
        self.case = case
        self.model = getattr(models, case.model)
        self.names = None  # of theta in hypertape's order: JAX sorts them

    def state(self, theta):
        def zeros():  # of their own each time: buffers are given away
            return jax.tree.map(jnp.zeros_like, theta)

        if self.case.rule == "adam":
            return jnp.zeros(()), zeros(), zeros()
        return zeros() if self.case.rule == "momentum" else ()

    def loss(self, theta, x, label, weight):
        losses = models.cross_entropy(self.model(theta, x), label)
        return (losses if weight is None else weight * losses).mean()

    def update(self, theta, state, g, rate, eta):
        if self.case.rule == "sgd":
            return jax.tree.map(lambda w, d: w - rate * d, theta, g), state
        if self.case.rule == "momentum":
            l2 = dict(zip(self.names, eta["l2"]))
            state = {k: eta["momentum"] * s + g[k] + l2[k] * theta[k]
                     for k, s in state.items()}
            return {k: w - rate * state[k] for k, w in theta.items()}, state
        (b1, b2), (t, m, v) = BETAS, state
        t = t + 1
        m = {k: b1 * a + (1 - b1) * g[k] for k, a in m.items()}
        v = {k: b2 * a + (1 - b2) * jnp.square(g[k]) for k, a in v.items()}
        # 1 - b^t, not rounded away where it is small.
        left1, left2 = (-jnp.expm1(t * math.log(b)) for b in BETAS)
        size, scale = rate / left1, 1 / jnp.sqrt(left2)
        shrink = 1 - rate * self.case.decay
        theta = {k: w * shrink - size * m[k] / (root(v[k]) * scale + EPS)
                 for k, w in theta.items()}
        return theta, (t, m, v)

    def step(self, carry, batch, rate=None, weight=None, eta=None):
        theta, state = carry
        loss, g = jax.value_and_grad(self.loss)(theta, *batch, weight)
        rate = self.case.rate if rate is None else rate
        return self.update(theta, state, g, rate, eta), loss


class Step(Training):
    """A training step: loss, gradient, update, in buffers that are given and reused."""

    def __init__(self, case, folder, form):
        super().__init__(case)
        theta = models.load(read(folder, "theta"))
        self.carry, self.batch = (theta, self.state(theta)), rows(read(folder, "batch"))
        self.jit = jax.jit(self.step, donate_argnums=0)
        self.scan = None
        if form == "scan":
            self.scan = jax.jit(lambda carry, batches: jax.lax.scan(
                self.step, carry, batches), donate_argnums=0)
            self.batches = jax.tree.map(lambda x: jnp.stack([x] * SCAN), self.batch)

    def run(self, n):
        if self.scan:
            n = -(-n // SCAN) * SCAN
            for _ in range(0, n, SCAN):
                self.carry, loss = self.scan(self.carry, self.batches)
        else:
            for _ in range(n):
                self.carry, loss = self.jit(self.carry, self.batch)
        jax.block_until_ready((self.carry, loss))
        return n

    def check(self):
        losses = []
        for _ in range(contender.CHECK_STEPS):
            self.carry, loss = self.jit(self.carry, self.batch)
            losses.append(float(loss))
        return {"losses": losses, **models.store(self.carry[0])}


class Hyper(Training):
    """A hypergradient: the gradient of a scan over the steps."""

    def __init__(self, case, folder, form):
        super().__init__(case)
        self.form = form
        self.theta = models.load(read(folder, "theta"))
        self.names = list(self.theta)
        self.eta = {k: jnp.asarray(v) for k, v in read(folder, "eta").items()}
        data = rows(read(folder, "data"))
        self.batches = tuple(x.reshape(-1, case.batch, *x.shape[1:]) for x in data)
        self.outer = rows(read(folder, "outer"))
        self.compiled = jax.jit(jax.value_and_grad(self.outer_loss))

    def outer_loss(self, eta, theta, batches, outer):
        def step(carry, t):
            i = t % len(batches[0])
            batch = tuple(x[i] for x in batches)
            weight = eta.get("weight")
            if weight is not None:
                weight = weight.reshape(-1, self.case.batch)[i]
            rate = eta["rate"][t] if "rate" in eta else None
            return self.step(carry, batch, rate, weight, eta)[0], None

        if self.form.endswith("remat"):
            step = jax.checkpoint(step)
        (theta, _), _ = jax.lax.scan(step, (theta, self.state(theta)),
                                     jnp.arange(self.case.steps),
                                     unroll=self.form.startswith("unroll"))
        return self.loss(theta, *outer, None)

    def gradient(self):
        return self.compiled(self.eta, self.theta, self.batches, self.outer)

    def run(self, n):
        for _ in range(n):
            jax.block_until_ready(self.gradient())
        return n

    def check(self):
        loss, gradient = self.gradient()
        return {"losses": [float(loss)],
                **{f"gradient.{k}": g for k, g in gradient.items()}}


def make(case, folder, form):
    return (Hyper if case.steps > 1 else Step)(case, folder, form)


if __name__ == "__main__":
    contender.serve("jax", make)
