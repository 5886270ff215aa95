# SPDX-License-Identifier: MIT
"""The four networks in PyTorch, as functions of a dict of tensors.

Weights stand as PyTorch wants them: (out, in), and the three projections of an
attention as one. `load` and `store` translate from and to hypertape's sets.
"""
import torch
from torch.nn import functional as F

WIDTH, HEADS, BLOCKS = 96, 4, ("block1", "block2", "block3", "block4")
PROJECTIONS = ("query", "key", "value")


def load(tensors):
    """hypertape's tensors to PyTorch's."""
    theta = {}
    for name, value in tensors.items():
        value = torch.from_numpy(value)
        if name.endswith(".weight") and value.ndim == 2:
            value = value.T.contiguous()
        theta[name] = value
    for block in BLOCKS:
        for part in ("weight", "bias"):
            names = [f"{block}.attention.{p}.{part}" for p in PROJECTIONS]
            if names[0] in theta:
                theta[f"{block}.attention.qkv.{part}"] = torch.cat(
                    [theta.pop(n) for n in names])
    return theta


def store(theta):
    """And back, as arrays of their own: training goes on in place."""
    tensors = {}
    for name, value in theta.items():
        value = value.detach()
        if name.endswith(".weight") and value.ndim == 2:
            value = value.T
        if ".qkv." in name:
            for p, part in zip(PROJECTIONS, value.chunk(3, dim=-1)):
                tensors[name.replace("qkv", p)] = part.numpy().copy()
        else:
            tensors[name] = value.contiguous().numpy().copy()
    return tensors


def linear(w, name, x):
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def softmax_regression(w, x):
    return linear(w, "out", x)


def tiny(w, x):
    return linear(w, "out", F.relu(linear(w, "fc1", x)))


mlp_300 = tiny


def mlp(w, x):
    x = F.relu(linear(w, "fc1", x))
    return linear(w, "out", F.relu(linear(w, "fc2", x)))


def cnn(w, x):
    def conv(name, x):
        return F.relu(F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=1))

    x = F.max_pool2d(conv("conv2", conv("conv1", x)), 2)
    x = F.max_pool2d(conv("conv3", x), 2)
    return linear(w, "out", x.flatten(1))


def norm(w, name, x):
    return F.layer_norm(x, (WIDTH,), w[f"{name}.gain"], w[f"{name}.shift"], 1e-5)


def attend(q, k, v):
    """softmax(q k' / sqrt(d)) v, which can be differentiated twice."""
    scores = q @ k.transpose(-1, -2) * (WIDTH // HEADS) ** -0.5
    return torch.softmax(scores, -1) @ v


# PyTorch 1 has no other.
fused_attention = getattr(F, "scaled_dot_product_attention", attend)


def vit(w, x, attention=fused_attention):
    n = x.shape[0]
    x = x.reshape(n, 3, 8, 4, 8, 4).permute(0, 2, 4, 1, 3, 5).reshape(n, 64, 48)
    x = linear(w, "patch", x) + w["position"]
    for block in BLOCKS:
        qkv = linear(w, f"{block}.attention.qkv", norm(w, f"{block}.norm1", x))
        q, k, v = qkv.reshape(n, 64, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        y = attention(q, k, v).transpose(1, 2).reshape(n, 64, WIDTH)
        x = x + linear(w, f"{block}.attention.out", y)
        y = F.gelu(linear(w, f"{block}.hidden", norm(w, f"{block}.norm2", x)))
        x = x + linear(w, f"{block}.out", y)
    return linear(w, "out", norm(w, "norm", x).mean(1))
