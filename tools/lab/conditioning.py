"""Standardised inputs, and batch norm as the same thing for every layer: the loss surface."""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg

from . import drawing as draw
from .nets import Trainer, batch_norm, compiled, data, network, stream
from .result import Experiment, Plot, Result, Settings, Table
from .statistics import Estimate, estimate, number, verdict

SIZES, BATCH = (64, 48, 48, 48, 10), 128
INPUTS = {"raw, 0 to 16": "none", "scaled to 0..1": "range", "standardised": "standard"}
RATES = tuple(2.0**k for k in range(-12, 6))

LIMITS = (
    "The top eigenvalue bounds the rate (2 / eigenvalue) only for a quadratic. Batch norm "
    "makes the loss independent of the size of the weights before it, so too large a step "
    "lengthens the weights and thereby lowers the effective rate: a network with batch norm "
    "can train at rates where curvature at the start forbids it.",
    "Standardisation is not whitening: correlated pixels keep the condition far from 1.",
    "The rates are powers of two, and 'trains' means a loss below half of chance at the end of "
    "a short run; stricter tests give smaller rates.",
)


class Curvature:
    """Hessian-vector products of a loss: the gradient of ``grad . v``, as one more graph."""

    def __init__(self, graph: mg.Graph) -> None:
        self.parameters = graph.parameters
        vectors = [mg.input(f"v/{p.name}", p.shape) for p in self.parameters]
        gradient = mg.grad(graph.outputs["loss"], self.parameters)
        along = mg.sum(gradient[0] * vectors[0])
        for g, v in zip(gradient[1:], vectors[1:], strict=True):
            along = along + mg.sum(g * v)
        product = mg.grad(along, self.parameters)
        names = [p.name for p in self.parameters]
        self._graph = compiled(mg.Graph((), dict(zip(names, product, strict=True))))

    def product(self, state: Any, batch: Any, v: Any) -> Any:
        """``H v`` for a flat ``v``."""
        parts, start = {}, 0
        for p in self.parameters:
            size = int(np.prod(p.shape))
            parts[f"v/{p.name}"] = v[start : start + size].reshape(p.shape).astype(np.float32)
            start += size
        outputs, _ = self._graph(state, x=batch.x, t=batch.t, **parts)
        return np.concatenate([outputs[p.name].ravel() for p in self.parameters]).astype(float)

    def top(self, state: Any, batch: Any, seed: int = 0, steps: int = 60) -> float:
        """The eigenvalue of largest size, by power iteration (von Mises and Pollaczek 1929)."""
        size = sum(int(np.prod(p.shape)) for p in self.parameters)
        v = np.random.default_rng(seed).normal(size=size)
        value = 0.0
        for _ in range(steps):
            v /= np.linalg.norm(v)
            w = self.product(state, batch, v)
            value, before = float(v @ w), value
            if abs(value - before) < 1e-4 * abs(value):
                break
            v = w
        return value


def run(settings: Settings) -> Result:
    quadratic = {name: _quadratic(scale) for name, scale in INPUTS.items()}
    steps = settings.pick(150, 400)
    nets = {
        "without BN": network(SIZES),
        "with BN": network(SIZES, norm=batch_norm(), bias=False),
    }
    curvature, largest = {}, {}
    for norm, net in nets.items():
        trainer, surface = Trainer(net.graph), Curvature(net.graph)
        for name, scale in INPUTS.items():
            found = [_surface(trainer, surface, scale, seed) for seed in settings.seeds]
            curvature[name, norm] = found
            largest[name, norm] = [
                _largest_rate(trainer, scale, seed, steps) for seed in settings.seeds
            ]
    return _result(quadratic, curvature, largest)


def _quadratic(scale: str) -> dict[str, float]:
    """Linear regression, whose Hessian is known: the condition by power iteration and exactly."""
    train, _ = data("digits", scale)
    x, t = mg.input("x", ("N", 64)), mg.input("t", "N", "int64")
    w, b = mg.parameter("w", 0.0, (64, 1)), mg.parameter("b", 0.0, (1,))
    wanted = mg.reshape(mg.cast(t, "float32"), ("N", 1)) / 9
    net = mg.Graph([x, t], {"loss": mg.mse(x @ w + b, wanted) / 2})
    surface, state = Curvature(net), {"w": np.zeros((64, 1)), "b": np.zeros(1)}
    design = np.column_stack([train.x, np.ones(len(train))]).astype(float)
    exact = np.linalg.eigvalsh(design.T @ design / len(train))
    real = exact[exact > 1e-6 * exact[-1]]  # pixels that are always 0 have no curvature
    top = surface.top(state, train, steps=2000)
    return {"top": top, "exact": float(exact[-1]), "condition": float(top / np.median(real))}


def _surface(trainer: Trainer, surface: Curvature, scale: str, seed: int) -> float:
    """The top eigenvalue at the start, on one batch of the training graph."""
    train, _ = data("digits", scale)
    return abs(surface.top(trainer.start(seed, 0.0), next(stream(train, 512, seed)), seed))


def _largest_rate(trainer: Trainer, scale: str, seed: int, steps: int) -> float:
    """The largest rate, a power of two, that brings the loss below half of chance."""
    train, _ = data("digits", scale)
    for rate in RATES[::-1]:
        begin, losses = trainer.start(seed, rate), []
        for _, outputs, _ in trainer.run(begin, stream(train, BATCH, seed), steps):
            losses.append(float(outputs["loss"]))
            if not np.isfinite(losses[-1]) or losses[-1] > 1e3:
                break
        if len(losses) == steps and np.mean(losses[-10:]) < 0.5 * np.log(10):
            return rate
    return RATES[0] / 2


def _geometric(values: Any) -> Estimate:
    return estimate(np.log2(np.asarray(values, float)))


def _result(quadratic: Any, curvature: Any, largest: Any) -> Result:
    error = max(abs(q["top"] / q["exact"] - 1) for q in quadratic.values())
    names = list(INPUTS)
    span = {
        norm: max(np.mean(np.log2(largest[n, norm])) for n in names)
        - min(np.mean(np.log2(largest[n, norm])) for n in names)
        for norm in ("without BN", "with BN")
    }
    better = all(
        np.mean(np.log2(largest[n, "with BN"])) >= np.mean(np.log2(largest[n, "without BN"]))
        for n in names
    )
    tops = {key: estimate(values) for key, values in curvature.items()}
    smoother = all(tops[n, "with BN"].mean < tops[n, "without BN"].mean for n in names)
    seen = (
        "Linear regression on the digits: top eigenvalue over the median one is "
        + ", ".join(f"{number(quadratic[n]['condition'])} ({n})" for n in names)
        + f". Power iteration on Hessian-vector products agrees with the exact eigenvalue to "
        f"{number(error)}.",
        f"A network of three hidden layers trains up to rates that differ by a factor of "
        f"{number(2 ** span['without BN'])} between inputs without batch norm, and of "
        f"{number(2 ** span['with BN'])} with it.",
        ("With batch norm the largest rate is at least as large for every kind of input."
         if better else "With batch norm the largest rate is not always the larger one."),
        "Top eigenvalue of the Hessian at the start, without and with batch norm: "
        + "; ".join(f"{n}: {number(tops[n, 'without BN'].mean)} and "
                    f"{number(tops[n, 'with BN'].mean)}" for n in names)
        + ("." if smoother else ": batch norm does not lower it everywhere, "
           "though larger rates train."),
    )  # fmt: skip
    rows = tuple(
        (n, norm, tops[n, norm], number(2 ** _geometric(largest[n, norm]).mean))
        for n in names for norm in ("without BN", "with BN")
    )  # fmt: skip
    header = ("inputs", "network", "top eigenvalue at the start", "largest rate")
    conditions = [quadratic[n]["condition"] for n in names]
    return Result(
        verdict(conditions[2] < conditions[1], error < 1e-2, span["with BN"] < span["without BN"],
                better, smoother),
        seen, LIMITS,
        (Table("Curvature, and the largest rate that trains (geometric mean).", header, rows),),
        (_plot(quadratic, curvature, largest),),
        {"error": error, "span": span},
    )  # fmt: skip


def _plot(quadratic: Any, curvature: Any, largest: Any) -> Plot:
    names = list(INPUTS)
    with draw.panels(3, width=3.9) as (figure, axes):
        heights = [quadratic[n]["condition"] for n in names]
        axes[0].bar(range(3), heights, color=draw.GREY, width=0.55)
        axes[0].set_yscale("log")
        for at, height in enumerate(heights):
            draw.note(axes[0], at, height * 1.25, number(height), "#303030", ha="center")
        axes[0].set_ylim(1, max(heights) * 3)
        draw.labelled(axes[0], "a  Linear regression", "inputs", "top / median eigenvalue")
        for ax, values, title, unit in (
            (axes[1], curvature, "b  Curvature at the start", "top Hessian eigenvalue"),
            (axes[2], largest, "c  Largest rate that trains", "learning rate"),
        ):
            ends = []
            for series, norm in enumerate(("without BN", "with BN")):
                found = [_geometric(values[n, norm]) for n in names]
                middle = np.array([2**e.mean for e in found])
                half = np.nan_to_num(np.array([e.half for e in found]))
                ax.errorbar(
                    np.arange(3) + 0.08 * series, middle,
                    yerr=[middle - middle / 2**half, middle * 2**half - middle],
                    color=draw.COLOURS[series], marker=draw.MARKERS[series], capsize=3,
                    linestyle=draw.DASHES[series], linewidth=1.2,
                )  # fmt: skip
                ends.append((float(middle[-1]), norm, series))
            ax.set_yscale("log")
            draw.labelled(ax, title, "inputs", unit)
            draw.name_lines(ax, ends, 0.08)
        for ax in axes:
            ax.set_xticks(range(3), ["raw", "scaled", "standardised"])
            ax.set_xlim(-0.5, 2.5)
    return Plot(
        "conditioning",
        "a: condition of the quadratic loss of a linear model. b: top eigenvalue of the Hessian of "
        "a deep network at its start. c: the largest learning rate at which it still trains. "
        "Geometric means with 95 % intervals over seeds, logarithmic scales.",
        draw.svg(figure),
    )


EXPERIMENT = Experiment(
    "conditioning",
    "Standardised inputs and the condition of the loss",
    "Standardising the inputs makes the loss surface rounder and lets larger learning rates train; "
    "batch norm does the same for every layer.",
    "LeCun et al. 1998, Efficient BackProp, section 4.3; Ioffe and Szegedy 2015, section 3.3",
    run,
    weight=2,
)
