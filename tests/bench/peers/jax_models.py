# SPDX-License-Identifier: MIT
"""The four networks in JAX, as functions of a dict of arrays.

Images stand as XLA wants them on a CPU: channels last, kernels (h, w, in, out), and the
three projections of an attention as one. `load` and `store` translate.
"""
import jax
import jax.numpy as jnp
import numpy as np

WIDTH, HEADS, BLOCKS = 96, 4, ("block1", "block2", "block3", "block4")
PROJECTIONS = ("query", "key", "value")


def load(tensors):
    """hypertape's tensors to JAX's. The last layer of the cnn reads channels last."""
    theta = dict(tensors)
    convolutional = "conv1.weight" in theta
    for name, value in tensors.items():
        if value.ndim == 4:
            theta[name] = value.transpose(2, 3, 1, 0)
    if convolutional:
        out = theta["out.weight"].reshape(64, 8, 8, 10)
        theta["out.weight"] = out.transpose(1, 2, 0, 3).reshape(4096, 10)
    for block in BLOCKS:
        for part in ("weight", "bias"):
            names = [f"{block}.attention.{p}.{part}" for p in PROJECTIONS]
            if names[0] in theta:
                theta[f"{block}.attention.qkv.{part}"] = np.concatenate(
                    [theta.pop(n) for n in names], -1)
    return {name: jnp.asarray(value) for name, value in theta.items()}


def store(theta):
    """And back, as numpy arrays of their own."""
    tensors = {}
    for name, value in theta.items():
        value = np.array(value)
        if ".qkv." in name:
            for p, part in zip(PROJECTIONS, np.split(value, 3, -1)):
                tensors[name.replace("qkv", p)] = part
        elif value.ndim == 4:
            tensors[name] = value.transpose(3, 2, 0, 1)
        elif name == "out.weight" and "conv1.weight" in theta:
            out = value.reshape(8, 8, 64, 10)
            tensors[name] = out.transpose(2, 0, 1, 3).reshape(4096, 10)
        else:
            tensors[name] = value
    return tensors


def load_images(x):
    """(n, c, h, w) to (n, h, w, c); rows stay rows."""
    images = x.shape[-3:] == (3, 32, 32)
    return jnp.asarray(np.moveaxis(x, -3, -1) if images else x)


def linear(w, name, x):
    return x @ w[f"{name}.weight"] + w[f"{name}.bias"]


def softmax_regression(w, x):
    return linear(w, "out", x)


def tiny(w, x):
    return linear(w, "out", jax.nn.relu(linear(w, "fc1", x)))


mlp_300 = tiny


def mlp(w, x):
    x = jax.nn.relu(linear(w, "fc1", x))
    return linear(w, "out", jax.nn.relu(linear(w, "fc2", x)))


def pool(x):
    """2 x 2 maxima. Ties share the gradient, but after a relu they are zeros, where the
    relu stops it. With reduce_window the whole step takes a third longer."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def cnn(w, x):
    def conv(name, x):
        y = jax.lax.conv_general_dilated(x, w[f"{name}.weight"], (1, 1), "SAME",
                                         dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.nn.relu(y + w[f"{name}.bias"])

    x = pool(conv("conv3", pool(conv("conv2", conv("conv1", x)))))
    return linear(w, "out", x.reshape(x.shape[0], -1))


def norm(w, name, x):
    centred = x - x.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + 1e-5) * w[f"{name}.gain"]
            + w[f"{name}.shift"])


def vit(w, x):
    n = x.shape[0]
    x = x.reshape(n, 8, 4, 8, 4, 3).transpose(0, 1, 3, 5, 2, 4).reshape(n, 64, 48)
    x = linear(w, "patch", x) + w["position"]
    for block in BLOCKS:
        qkv = linear(w, f"{block}.attention.qkv", norm(w, f"{block}.norm1", x))
        q, k, v = qkv.reshape(n, 64, 3, HEADS, WIDTH // HEADS).transpose(2, 0, 3, 1, 4)
        scores = q @ k.swapaxes(-1, -2) * (WIDTH // HEADS) ** -0.5
        y = (jax.nn.softmax(scores) @ v).swapaxes(1, 2).reshape(n, 64, WIDTH)
        x = x + linear(w, f"{block}.attention.out", y)
        y = linear(w, f"{block}.hidden", norm(w, f"{block}.norm2", x))
        x = x + linear(w, f"{block}.out", jax.nn.gelu(y, approximate=False))
    return linear(w, "out", norm(w, "norm", x).mean(1))


def cross_entropy(logits, label):
    """Per row."""
    own = jnp.take_along_axis(logits, label[:, None], -1)[:, 0]
    return jax.nn.logsumexp(logits, -1) - own
