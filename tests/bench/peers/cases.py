# SPDX-License-Identifier: MIT
"""The cases, as steps.c and hyper.c have them; and the forms each peer has to offer.

Of several forms of a peer the driver reports the fastest. Which are worth a try was
found by hand: in JAX convolutions in a scan are many times slower than unrolled; PyTorch
convolves faster with channels last, and its cpp_wrapper gains nothing here.
"""
from typing import NamedTuple, Optional


class Case(NamedTuple):
    model: str
    rule: str
    rate: Optional[float]  # None: eta["rate"], one per step
    steps: int = 1  # of the inner training; 1: the case is a step
    batch: int = 0
    decay: float = 0.0


CASES = {
    "mlp_step": Case("mlp", "sgd", 0.01),
    "tiny_step": Case("tiny", "sgd", 0.01),
    "cnn_step": Case("cnn", "adam", 1e-3),
    "vit_step": Case("vit", "adam", 1e-3, decay=0.05),
    "hyper_linear": Case("softmax_regression", "sgd", 0.5, 100, 5000),
    "hyper_mlp": Case("mlp_300", "momentum", None, 100, 100),
    "hyper_cnn": Case("cnn", "adam", 1e-3, 10, 64),
    "hyper_vit": Case("vit", "adam", None, 10, 32, decay=0.05),
}
BETAS, EPS = (0.9, 0.999), 1e-8

PEERS = {  # name: (program, {case or "step" or "hyper": forms})
    "torch-eager": ("torch_cases.py", {
        "step": ["eager"], "cnn_step": ["eager", "eager-channels-last"],
        "hyper": ["eager"], "hyper_cnn": ["eager", "eager-channels-last"]}),
    "torch-compile": ("torch_cases.py", {
        "step": ["compile"], "cnn_step": ["compile", "compile-channels-last"],
        "hyper": ["compile"]}),
    "torchopt": ("torchopt_cases.py", {
        "step": [], "hyper": ["eager"], "hyper_cnn": ["eager", "accelerated"],
        "hyper_vit": ["eager", "accelerated"]}),
    "jax": ("jax_cases.py", {
        "step": ["jit"], "mlp_step": ["jit", "scan"], "tiny_step": ["jit", "scan"],
        "hyper": ["scan", "scan-remat"], "hyper_cnn": ["unroll", "unroll-remat"],
        "hyper_vit": ["scan", "scan-remat"]}),
}


def forms(peer, case):
    """The forms of a peer for a case; none: it has nothing to offer there."""
    offered = PEERS[peer][1]
    return offered.get(case, offered["hyper" if CASES[case].steps > 1 else "step"])
