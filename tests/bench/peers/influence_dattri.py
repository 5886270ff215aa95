# SPDX-License-Identifier: MIT
"""dattri (Deng et al. 2024, arXiv 2410.04555) as a contender of `./dev bench influence`:

    influence_dattri.py SETTING FOLDER METHOD

Methods and their forms are those of its own benchmark (experiments/benchmark_result.py)
and, for DVEmb, of its example (examples/dvemb); what is asked about is the margin.
Times have the trainings a method needs. Read next: influence_torch.py.
"""
import json
import sys

import torch
from dattri import algorithm
from dattri.algorithm.dvemb import DVEmbAttributor
from dattri.task import AttributionTask
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from influence_torch import answers, margins, measured, open_study

DAMPINGS = (1.0, 1e-1, 1e-2, 1e-3)
CHECKPOINTS = 10
PROJECTED = {"logistic": 1024, "dvemb": 4096, "gelu": 1024}  # its example has 4096


def loaders(study):
    """All of each at once."""
    def all_of(x, label):
        return DataLoader(TensorDataset(x, label), batch_size=len(x), shuffle=False)
    return (all_of(study.x, study.label), all_of(study.query, study.query_label))


def task_of(study, checkpoints, batched, loss=None):
    """batched: a function is given rows, else one."""
    model = study.network()

    def logits(params, pair):
        x, label = pair if batched else (part.unsqueeze(0) for part in pair)
        return functional_call(model, params, x), label

    def cross_entropy(params, pair):
        return F.cross_entropy(*logits(params, pair))

    def margin(params, pair):
        return margins(*logits(params, pair)).mean()

    return AttributionTask(loss_func={None: cross_entropy, "margin": margin}[loss],
                           target_func=margin, model=model, checkpoints=checkpoints)


def influence_function(make):
    def score(study, **options):
        train, test = loaders(study)
        task = task_of(study, study.trained().state_dict(), batched=True)
        attributor = make(task=task, device="cpu", **options)
        attributor.cache(train)
        with torch.no_grad():
            return attributor.attribute(train, test).T
    return score


def checkpoints_of(study, count):
    """Of one training, evenly; the last is its end."""
    model, found = study.network(), []
    every = len(study.rows) // count
    for step, _ in enumerate(study.steps(model)):
        if step and step % every == 0 and len(found) < count - 1:
            found.append({k: v.clone() for k, v in model.state_dict().items()})
    return [*found, model.state_dict()]


def products(study, checkpoints, normalized):
    train, test = loaders(study)
    states = checkpoints_of(study, checkpoints)
    attributor = algorithm.TracInAttributor(
        task=task_of(study, states, batched=False), device="cpu",
        weight_list=torch.ones(checkpoints) * 1e-3, normalized_grad=normalized)
    with torch.no_grad():
        return attributor.attribute(train, test).T


def trak(study, models):
    """One: all examples; more: of trainings on random halves, as in its benchmark. Its
    score is of having an example."""
    states = []
    for seed in range(models):
        weights = None
        if models > 1:
            order = torch.randperm(len(study.x), generator=torch.manual_seed(seed))
            weights = torch.zeros(len(study.x))
            weights[order[:len(study.x) // 2]] = 1
        states.append(study.trained(weights).state_dict())
    task = task_of(study, states, batched=False, loss="margin")
    model = study.network()

    def probability(params, pair):
        x, label = (part.unsqueeze(0) for part in pair)
        return torch.exp(-F.cross_entropy(functional_call(model, params, x), label))

    attributor = algorithm.TRAKAttributor(
        task=task, correct_probability_func=probability, device="cpu",
        projector_kwargs={"proj_dim": 512, "device": "cpu"})
    train, test = loaders(study)
    with torch.no_grad():
        attributor.cache(train)
        return -attributor.attribute(test).T


def representers(study, strength):
    """Its score is of the label's logit, by having an example."""
    task = AttributionTask(loss_func=F.cross_entropy, model=study.network(),
                           checkpoints=study.trained().state_dict())
    attributor = algorithm.RPSAttributor(
        task=task, normalize_preactivate=True, l2_strength=strength, device="cpu",
        final_linear_layer_name="fc3" if study.activation else "linear")
    train, test = loaders(study)
    attributor.cache(train)
    return -attributor.attribute(train, test).T


def data_value_embedding(study, dimension):
    model = study.network()

    def loss(of, batch, _):
        """Its one loss serves both; queries come with a third tensor."""
        if len(batch) == 3:
            return margins(of(batch[0]), batch[1]).mean()
        return F.cross_entropy(of(batch[0]), batch[1])

    attributor = DVEmbAttributor(
        task=AttributionTask(loss_func=loss, model=model,
                             checkpoints=[model.state_dict()]),
        proj_dim=dimension, factorization_type="elementwise")
    epoch = len(study.x) // study.rows.shape[1]
    for step, rows in enumerate(study.steps(model)):
        attributor.cache_gradients(
            epoch=step // epoch, batch_data=(study.x[rows], study.label[rows]),
            indices=rows, learning_rate=study.rate)
    attributor.cache()
    queries = TensorDataset(study.query, study.query_label,
                            torch.zeros(len(study.query)))
    scores = attributor.attribute(DataLoader(queries, batch_size=len(queries)))
    left = torch.zeros(len(study.x) - len(scores), scores.shape[1])
    return torch.cat([scores, left]).T


def damped(dampings=DAMPINGS, **more):
    return {f"damping {d:g}": {"regularization": d, **more} for d in dampings}


# method: its function, and forms {name: options}
METHODS = {
    # A minute of a processor each: the damping that serves the other solvers best.
    "if-explicit": (influence_function(algorithm.IFAttributorExplicit), damped((0.1,))),
    "if-cg": (influence_function(algorithm.IFAttributorCG), damped(max_iter=10)),
    "if-arnoldi": (influence_function(algorithm.IFAttributorArnoldi),
                   damped(max_iter=50)),
    "if-lissa": (influence_function(algorithm.IFAttributorLiSSA),
                 {f"batch {n}": {"recursion_depth": 100, "batch_size": n}
                  for n in (100, 50, 10)}),
    "tracin": (products, {"10 checkpoints": {"checkpoints": CHECKPOINTS,
                                             "normalized": False}}),
    "grad-dot": (products, {"the end": {"checkpoints": 1, "normalized": False}}),
    "grad-cos": (products, {"the end": {"checkpoints": 1, "normalized": True}}),
    "trak": (trak, {"1 model": {"models": 1}, "10 models": {"models": 10}}),
    "rps": (representers, {f"l2 {s:g}": {"strength": s} for s in (1e-1, 1e-3)}),
    "dvemb": (data_value_embedding, None),
}


def main():
    said = answers()
    study = open_study()
    setting, method = sys.argv[1], sys.argv[3]
    score, forms = METHODS[method]
    if forms is None:
        forms = {f"{PROJECTED[setting]} dims": {"dimension": PROJECTED[setting]}}
    for form, options in forms.items():
        row = {"form": form, "queries": len(study.query)}
        try:
            scores, cost = measured(lambda: score(study, **options))
            name = f"{method}-{form.replace(' ', '-')}"
            study.write_scores(name, scores.double())
            row.update(cost, file=name)
        except Exception as why:  # whatever a library raises is its row of the table
            row["error"] = f"{type(why).__name__}: {why}".splitlines()[0][:160]
        print(json.dumps(row), file=said)


if __name__ == "__main__":
    main()
