# SPDX-License-Identifier: MIT
"""bergson's MAGIC (Ilyas & Engstrom 2025, arXiv 2504.16430) as a contender of
`./dev bench influence`:

    influence_magic.py SETTING FOLDER magic

Its trainer runs the training and then back through it, from states it keeps every
sqrt(steps), for one query at a time. Read next: influence_torch.py.
"""
import json
import shutil
import sys

import torch
import torchopt
from bergson.magic import Trainer
from bergson.magic.trainer import BackwardState
from torch.nn import functional as F

from influence_torch import Network, answers, margins, measured, open_study

QUERIES = 3  # each a way back through the whole training


class Weighted(Network):
    """Its trainer asks a model for the loss of a batch."""

    def forward(self, input_ids, label, example_weight):
        logits = super().forward(input_ids)
        return (example_weight * F.cross_entropy(logits, label, reduction="none")).mean()


class Stream:
    """Batches with weights, as its trainer takes them (bergson.magic.DataStream)."""

    def __init__(self, study):
        self.study = study
        self.device = torch.device("cpu")
        self.weights = torch.nn.Parameter(torch.ones(len(study.x)))

    @property
    def requires_grad(self):
        return self.weights.requires_grad

    @requires_grad.setter
    def requires_grad(self, value):
        self.weights.requires_grad = value

    def __len__(self):
        return len(self.study.rows)

    def __getitem__(self, step):
        rows = self.study.rows[step]
        return {"input_ids": self.study.x[rows], "label": self.study.label[rows],
                "example_weight": self.weights[rows]}


def query_gradient(study, params, k):
    leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
    logits = torch.func.functional_call(Network(study.activation), leaves,
                                        study.query[k:k + 1])
    margin = margins(logits, study.query_label[k:k + 1]).sum()
    return dict(zip(leaves, torch.autograd.grad(margin, list(leaves.values()))))


def score(study, queries, folder):
    model = Weighted(study.activation)
    model.load_state_dict(study.network().state_dict())
    trainer, state = Trainer.initialize(
        model, torchopt.sgd(study.rate, momentum=study.momentum,
                            moment_requires_grad=False))
    stream = Stream(study)
    state = trainer.train(state, stream, inplace=True, save_dir=folder)
    slopes = []
    end = {name: p.detach().clone() for name, p in state.params.items()}
    for k in range(queries):
        back = BackwardState(
            query_gradient(study, end, k),
            [torch.zeros_like(t) for t in
             state.differentiable_tensors()[len(state.params):]],
            torch.zeros_like(stream.weights))
        back = trainer.backward(folder, stream, back, state, cleanup=False, inplace=True)
        slopes.append(back.weight_grads)
    return -torch.stack(slopes)


def main():
    said = answers()
    study = open_study()
    for queries in (1, QUERIES):
        folder = f"{study.folder}/checkpoints"
        row = {"form": "sqrt states", "queries": queries}
        try:
            scores, cost = measured(lambda: score(study, queries, folder))
            study.write_scores(f"magic-{queries}", scores.double())
            row.update(cost, file=f"magic-{queries}")
        except Exception as why:  # whatever a library raises is its row of the table
            row["error"] = f"{type(why).__name__}: {why}".splitlines()[0][:160]
        shutil.rmtree(folder, ignore_errors=True)
        print(json.dumps(row), file=said)


if __name__ == "__main__":
    sys.setrecursionlimit(10000)
    main()
