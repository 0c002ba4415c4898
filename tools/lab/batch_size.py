"""Batches of 1 to 256: batch norm against norms that do not look at the batch."""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn

from . import drawing as draw
from .nets import Norm, Trainer, batch_norm, compiled, data, network, stream
from .result import Experiment, Plot, Result, Settings, Table
from .statistics import difference, estimate, number, verdict

SIZES, RATE_PER_EXAMPLE, LARGEST_RATE = (64, 64, 64, 10), 0.2 / 32, 0.4
BATCHES = (1, 2, 4, 8, 16, 64, 256)
CHANCE = 0.15


def _norm(kind: str, decay: float) -> Norm:
    makers: dict[str, Norm] = {
        "batch norm": batch_norm(decay),
        "batch renorm": lambda units, name: nn.BatchRenorm(
            units, decay=decay, plain_steps=0, r_steps=0, d_steps=0, name=name
        ),
        "layer norm": lambda units, name: nn.LayerNorm(units, name=name),
        "group norm": lambda units, name: nn.GroupNorm(units, groups=8, name=name),
    }
    return makers[kind]


NORMS = ("batch norm", "batch renorm", "layer norm", "group norm")


def run(settings: Settings) -> Result:
    epochs = settings.pick(8, 20)
    accuracy: dict[tuple[str, int], list[float]] = {}
    for kind in NORMS:
        # The running statistics look back on as many examples as can be: small batches are many.
        trainers = {
            decay: Trainer(network(SIZES, norm=_norm(kind, decay), bias=False).graph)
            for decay in ((0.99, 0.9) if kind.startswith("batch") else (0.99,))
        }
        for size in BATCHES:
            trainer = trainers[0.9 if size > 32 and 0.9 in trainers else 0.99]
            for seed in settings.seeds:
                accuracy.setdefault((kind, size), []).append(_train(trainer, seed, size, epochs))
    return _result(accuracy, _one_example(), epochs)


def _train(trainer: Trainer, seed: int, size: int, epochs: int) -> float:
    train, test = data("digits")
    steps = epochs * (len(train) // size)
    begin = trainer.start(seed, min(RATE_PER_EXAMPLE * size, LARGEST_RATE))
    for _, outputs, state in trainer.run(begin, stream(train, size, seed), steps):  # noqa: B007
        if not np.isfinite(outputs["loss"]):
            return 0.1  # it diverged: as good as a guess
    return trainer.measure(state, test)[0]


def _one_example() -> dict[str, float]:
    """What batch norm does with one example: its output, and the gradient that comes through."""
    x = mg.input("x", ("N", 4))
    y = mg.nn.batch_norm(x, mg.constant([1.0, 2.0, 3.0, 4.0]), mg.constant([0.5] * 4))
    (dx,) = mg.grad(mg.sum(y**3), [x])
    exe = compiled(mg.Graph([x], {"y": y, "dx": dx}))
    rng = np.random.default_rng(0)
    outputs = [exe({}, x=rng.normal(0, 9, (1, 4)).astype(np.float32))[0] for _ in range(5)]
    return {
        "output": max(float(np.abs(o["y"] - 0.5).max()) for o in outputs),
        "gradient": max(float(np.abs(o["dx"]).max()) for o in outputs),
    }


def _result(accuracy: Any, one: dict[str, float], epochs: int) -> Result:
    bn, ln, renorm, gn = (
        {m: accuracy[kind, m] for m in BATCHES}
        for kind in ("batch norm", "layer norm", "batch renorm", "group norm")
    )
    fall = difference(bn[2], bn[16])
    gain = difference(renorm[2], bn[2])
    at_two = difference(bn[2], ln[2])
    at_large = difference(bn[64], ln[64])
    steady = estimate(
        max(ln[m][s] for m in BATCHES[1:-1]) - min(ln[m][s] for m in BATCHES[1:-1])
        for s in range(len(ln[2]))
    )
    alone = {name: estimate(values[1]) for name, values in
             (("BN", bn), ("LN", ln), ("GN", gn), ("renorm", renorm))}  # fmt: skip
    seen = (
        f"n = 1: the mean is the example itself, so x - mu = 0, the output is beta whatever the "
        f"input (within {number(one['output'])}) and no gradient comes through (at most "
        f"{number(one['gradient'])}). The network sees nothing: {alone['BN'].percent()} of the "
        f"test digits right; layer norm {alone['LN'].percent()}, group norm "
        f"{alone['GN'].percent()}, batch renorm {alone['renorm'].percent()}.",
        f"n = 2: x_hat is +1 or -1, only the order of the two is left. From 16 to 2 examples batch "
        f"norm changes by {fall.percent()}; against layer norm it is {at_two.percent()} at 2, and "
        f"{at_large.percent()} at 64.",
        f"Batch renormalisation at 2 is ahead of batch norm by {gain.percent()}.",
        f"Between batches of 2 and 64 layer norm varies by {steady.percent()}: its formula does "
        f"not know the batch, only the optimiser does.",
    )
    limits = (
        f"Every run sees the same {epochs} epochs with a rate in proportion to the batch, up to "
        f"{LARGEST_RATE}, so large batches take fewer steps: what changes at the right end is the "
        f"optimiser, for every norm.",
        "Batch renorm at n = 1 trains because d carries the example, as a norm of running "
        "statistics would; its limits are at their final values from the start here.",
        "A convolution averages over pixels too, so there even n = 1 leaves statistics.",
    )
    rows = tuple((m, *[estimate(accuracy[kind, m]).percent() for kind in NORMS]) for m in BATCHES)
    return Result(
        verdict(alone["BN"].mean < CHANCE, one["gradient"] == 0, fall.high < 0, at_two.high < 0,
                gain.low > 0),
        seen,
        limits,
        (Table(f"Test accuracy after {epochs} epochs.", ("batch size", *NORMS), rows),),
        (_plot(accuracy),),
        {"one": one, "fall": fall},
    )  # fmt: skip


def _plot(accuracy: Any) -> Plot:
    with draw.panels(1, width=6.4, height=3.6) as (figure, (ax,)):
        ends = []
        for series, kind in enumerate(NORMS):
            runs = 100 * np.array([accuracy[kind, m] for m in BATCHES]).T
            ends.append((draw.band(ax, BATCHES, runs, series, marker=True), kind, series))
        draw.powers_of_two(ax, BATCHES)
        draw.labelled(ax, "Test accuracy by batch size", "batch size", "accuracy (%)")
        ax.set_ylim(0, 102)
        ax.axhline(10, color=draw.GREY, linewidth=0.8, linestyle=(0, (2, 2)))
        draw.note(ax, 150, 13, "a guess")
        draw.name_lines(ax, ends)
    return Plot(
        "batch_size",
        "Test accuracy after the same number of epochs, mean and 95 % interval over seeds. "
        "The dotted line is a guess among ten classes.",
        draw.svg(figure),
    )


EXPERIMENT = Experiment(
    "batch_size",
    "Batch size: BN, LN, GN and batch renorm",
    "Batch norm needs a batch: it fails for 1 example and loses for few; norms that do not look at "
    "the batch do not, and batch renormalisation repairs much of it.",
    "Ba et al. 2016; Ioffe 2017; Wu and He 2018, Figure 1",
    run,
    weight=3,
)
