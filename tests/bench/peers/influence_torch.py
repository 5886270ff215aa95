# SPDX-License-Identifier: MIT
"""What the contenders of `./dev bench influence` share: the training ours has written,
in PyTorch; a stopwatch that also sees memory; scores in files.

    influence_torch.py SETTING FOLDER     a line of JSON: how far this training's end,
                                          margins and changes are from ours

A contender, influence_dattri.py or influence_magic.py, is a process that is called so
with a method after it, and prints a line of JSON for each of the method's forms. Scores
say what leaving an example out does, to first order and up to a factor.
Read next: influence.py.
"""
import ctypes
import gc
import json
import os
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from contender import memory_kb, read_tensors, write_tensors

# name: hidden layers' activation, rate, momentum; as ../influence_peer.c has them
SETTINGS = {"logistic": (None, 0.01, 0.0), "dvemb": (F.relu, 0.001, 0.0),
            "gelu": (F.gelu, 0.01, 0.9)}
CHECKED = 3  # subsets of 5 %


class Network(nn.Module):
    """784-10, or 784-128-64-10."""

    def __init__(self, activation):
        super().__init__()
        self.activation = activation
        if activation:
            self.fc1 = nn.Linear(784, 128)
            self.fc2 = nn.Linear(128, 64)
            self.fc3 = nn.Linear(64, 10)
        else:
            self.linear = nn.Linear(784, 10)

    def forward(self, x):
        if not self.activation:
            return self.linear(x)
        return self.fc3(self.activation(self.fc2(self.activation(self.fc1(x)))))


def margins(logits, label):
    """Of each row the logit of its class over the log of the others' sum of exp."""
    own = torch.arange(10) == label.unsqueeze(-1)  # one_hot is not for vmap
    others = logits.masked_fill(own, -torch.inf).logsumexp(-1)
    return logits.masked_fill(~own, 0).sum(-1) - others


class Study:
    """A training that ours has written to a folder."""

    def __init__(self, setting, folder):
        self.activation, self.rate, self.momentum = SETTINGS[setting]
        self.folder = folder
        data = read_tensors(f"{folder}/data.safetensors")
        self.x, self.query = (torch.from_numpy(data[k]) for k in ("x", "query"))
        self.label, self.query_label, self.rows = (
            torch.from_numpy(data[k]).long() for k in ("label", "query_label", "row"))
        self.start = read_tensors(f"{folder}/start.safetensors")

    def network(self):
        """As the training starts."""
        model = Network(self.activation)
        model.load_state_dict({
            name: torch.from_numpy(value.T.copy() if value.ndim == 2 else value)
            for name, value in self.start.items()})
        return model

    def steps(self, model, weights=None, rows=None):
        """Trains it; yields the rows of each step before it is taken."""
        optimizer = torch.optim.SGD(model.parameters(), self.rate, self.momentum)
        for batch in self.rows if rows is None else rows:
            yield batch
            loss = F.cross_entropy(model(self.x[batch]), self.label[batch],
                                   reduction="none")
            if weights is not None:
                loss = loss * weights[batch]
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()

    def trained(self, weights=None):
        model = self.network()
        for _ in self.steps(model, weights):
            pass
        return model

    def write_scores(self, name, scores):
        """(queries, examples)."""
        write_tensors(f"{self.folder}/{name}.safetensors",
                      {"scores": scores.detach().numpy()})


def measured(work):
    """What work() gives, with CPU seconds, and peak resident MB over what was there and
    with it."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = memory_kb("VmRSS:")
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    cpu = time.process_time()
    result = work()
    seconds = time.process_time() - cpu
    peak = memory_kb("VmHWM:")
    return result, {"score_s": seconds, "peak_mb": (peak - before) / 1024,
                    "process_mb": peak / 1024}


def difference(ours, theirs):
    ours, theirs = np.ravel(ours), np.ravel(theirs)
    return float(np.linalg.norm(theirs - ours) / np.linalg.norm(ours))


def compare(study):
    """The same training here: |difference| / |ours| of what it leads to."""
    ours = read_tensors(f"{study.folder}/trained.safetensors")
    truth = read_tensors(f"{study.folder}/truth.safetensors")
    began = time.process_time()
    model = study.trained()
    seconds = time.process_time() - began

    def asked(trained):
        with torch.no_grad():
            return margins(trained(study.query), study.query_label).numpy()

    base = asked(model)
    theta = [np.concatenate([ours[name].T.ravel() for name in model.state_dict()]),
             np.concatenate([p.numpy().ravel() for p in model.state_dict().values()])]
    changes = []
    for left_out in truth["left_out_250"][:CHECKED]:
        weights = torch.from_numpy(1 - left_out.astype(np.float32))
        changes.append(asked(study.trained(weights)) - base)
    return {"train_s": seconds, "theta": difference(*theta),
            "margins": difference(ours["margin"], base),
            "changes": difference(truth["changes_250"][:CHECKED], changes)}


def answers():
    """A file for lines of JSON; whatever a library prints goes to stderr."""
    file = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return file


def open_study():
    """What PyTorch loads at the first step of a training is loaded."""
    torch.set_num_threads(1)
    study = Study(sys.argv[1], sys.argv[2])
    for _ in study.steps(study.network(), rows=study.rows[:2]):
        pass
    return study


if __name__ == "__main__":
    print(json.dumps(compare(open_study())))
