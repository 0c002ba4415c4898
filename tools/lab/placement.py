"""Batch norm before or after the activation, and the bias that it makes useless."""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg

from . import drawing as draw
from .nets import Net, Trainer, batch_norm, data, network, stream
from .result import Experiment, Plot, Result, Settings, Table
from .statistics import difference, estimate, number, verdict

SIZES, BATCH, RATE = (64, 64, 64, 10), 32, 0.1
VARIANTS = {
    "before, no bias": {"after": False, "bias": False},
    "before, bias": {"after": False, "bias": True},
    "after, no bias": {"after": True, "bias": False},
    "after, bias": {"after": True, "bias": True},
}


def run(settings: Settings) -> Result:
    steps = settings.pick(400, 2000)
    accuracy: dict[str, list[float]] = {}
    biases: dict[str, list[dict[str, Any]]] = {}
    for name, options in VARIANTS.items():
        net = network(SIZES, norm=batch_norm(), **options)
        trainer = Trainer(net.graph, watch=_bias_and_weight(net) if options["bias"] else None)
        for seed in settings.seeds:
            found, right = _train(trainer, seed, steps)
            accuracy.setdefault(name, []).append(right)
            if options["bias"]:
                biases.setdefault(name, []).append(found)
    return _result(accuracy, biases, _in_double(), steps)


def _bias_and_weight(net: Net) -> dict[str, mg.Node]:
    """The largest gradient of the first bias and of the first weight."""
    named = {p.name: p for p in net.graph.parameters}
    wrt = [named["linear1/bias"], named["linear1/weight"]]
    db, dw = mg.grad(net.graph.outputs["loss"], wrt)
    return {"db": mg.max(mg.abs(db)), "dw": mg.max(mg.abs(dw))}


def _train(trainer: Trainer, seed: int, steps: int) -> tuple[dict[str, Any], float]:
    train, test = data("digits")
    begin, db, dw = trainer.start(seed, RATE), [], []
    for _, outputs, state in trainer.run(begin, stream(train, BATCH, seed), steps):  # noqa: B007
        if "db" in outputs:
            db.append(float(outputs["db"]))
            dw.append(float(outputs["dw"]))
    moved = float(np.abs(state["linear1/bias"]).max()) if "linear1/bias" in state else np.nan
    found = {"db": np.array(db), "dw": np.array(dw), "moved": moved}
    return found, trainer.measure(state, test)[0]


def _in_double() -> float:
    """The largest gradient of the useless bias in float64, against the weight's."""
    net = network(SIZES, norm=batch_norm(), bias=True)
    graph = mg.retype(mg.Graph(net.graph.inputs, _bias_and_weight(net)), "float64")
    train, _ = data("digits")
    db, dw = mg.evaluate(graph, {"x": train.x[:BATCH].astype(float), "t": train.t[:BATCH]})
    return float(db / dw)


def _result(accuracy: Any, biases: Any, double: float, steps: int) -> Result:
    useless = [r["db"].max() / r["dw"].max() for r in biases["before, bias"]]
    useful = [r["db"].max() / r["dw"].max() for r in biases["after, bias"]]
    moved = {name: estimate(r["moved"] for r in runs) for name, runs in biases.items()}
    order = difference(accuracy["before, no bias"], accuracy["after, bias"])
    worth = difference(accuracy["before, bias"], accuracy["before, no bias"])
    seen = (
        f"Before batch norm, the gradient of a bias is never more than "
        f"{number(max(useless))} of the weight's, in float32 over {steps} steps, and "
        f"{number(double)} of it in float64: zero but for rounding, for the mean takes away what "
        f"the bias adds.",
        f"Such a bias ends where it began, at 0 within {number(moved['before, bias'].high)}; after "
        f"the activation it moves by {moved['after, bias']}, with a gradient of "
        f"{number(float(np.mean(useful)))} of the weight's.",
        f"The useless bias changes test accuracy by {worth.percent()}.",
        f"Before the activation is better than after it by {order.percent()} of test accuracy "
        f"here" + (", so this task does not tell them apart." if order.holds(0) else "."),
    )
    limits = (
        "The bias is useless in training only: the running mean has taken it in, so an inference "
        "graph, or a folded layer, must keep it.",
        "A bias before batch norm is not useless when it stands before padding, before an "
        "activation, or when the batch norm is frozen (running statistics).",
        "Which order is better depends on network and task; the paper argues for before, since "
        "sums are more nearly Gaussian than activations, and measures no comparison.",
    )
    rows = tuple((name, estimate(values).percent()) for name, values in accuracy.items())
    return Result(
        verdict(max(useless) < 1e-5, double < 1e-14, worth.holds(0), min(useful) > 1e-3),
        seen,
        limits,
        (Table(f"Test accuracy after {steps} steps.", ("norm", "accuracy"), rows),),
        (_plot(biases, accuracy),),
        {"useless": useless, "useful": useful, "double": double},
    )


def _plot(biases: Any, accuracy: Any) -> Plot:
    with draw.panels(2, width=4.6) as (figure, (left, right)):
        rows = (
            ("weight", "after, bias", "dw", 5),
            ("bias, BN after\nthe activation", "after, bias", "db", 0),
            ("bias, BN before\nthe activation", "before, bias", "db", 1),
        )
        ends = []
        for name, variant, key, series in rows:
            curves = np.array([run[key] for run in biases[variant]]).mean(axis=0)
            steps = np.arange(1, len(curves) + 1)
            left.semilogy(steps, np.maximum(curves, 1e-12), color=draw.COLOURS[series], linewidth=1)
            ends.append((float(np.median(curves[-20:])), name, series))
        draw.labelled(left, "a  Largest gradient, layer 1", "training step", "largest |gradient|")
        draw.name_lines(left, ends, 0.13)
        for row, (_, values) in enumerate(accuracy.items()):
            found = estimate(100 * v for v in values)
            right.errorbar(
                found.mean, row, xerr=np.nan_to_num(found.half), fmt="o", color=draw.BLUE, capsize=3
            )
            jitter = np.linspace(-0.12, 0.12, len(values)) + row + 0.25
            right.plot([100 * v for v in values], jitter, ".", color=draw.GREY, markersize=3)
        right.set_yticks(range(len(accuracy)), list(accuracy))
        right.invert_yaxis()
        right.grid(axis="x")
        draw.labelled(right, "b  Test accuracy, batch norm ...", "accuracy (%)", "")
    return Plot(
        "placement",
        "a: the largest gradient of the first layer's weight and bias at each step, mean over "
        "seeds, on a logarithmic scale: before batch norm the bias has only rounding errors. "
        "b: test accuracy with its 95 % interval; small dots are seeds.",
        draw.svg(figure),
    )


EXPERIMENT = Experiment(
    "placement",
    "Before or after the activation, and the useless bias",
    "A bias before batch norm is useless: its gradient stays 0, and the network learns the same "
    "without it.",
    "Ioffe and Szegedy 2015, section 3.2",
    run,
)
