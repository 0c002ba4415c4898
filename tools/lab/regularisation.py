"""The noise of batch statistics, and whether it regularises."""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg

from . import drawing as draw
from .nets import Net, Trainer, batch_norm, compiled, data, network
from .result import Experiment, Plot, Result, Settings, Table
from .statistics import difference, estimate, number, power, verdict

SIZES, BATCH, RATE, SMALL = (64, 128, 128, 10), 32, 0.1, 300
SIZES_OF_BATCH = (4, 8, 16, 32, 64, 128, 256)
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout": {"dropout": 0.5},
    "BN": {"norm": batch_norm(), "bias": False},
    "BN and dropout": {"norm": batch_norm(), "bias": False, "dropout": 0.5},
}


def run(settings: Settings) -> Result:
    steps = settings.pick(400, 2000)
    accuracy: dict[str, list[tuple[float, float]]] = {}
    noise: list[dict[int, float]] = []
    for name, options in VARIANTS.items():
        net = network(SIZES, **options)
        trainer = Trainer(net.graph)
        for seed in settings.seeds:
            train, test = _parts(seed)
            state = trainer.trained(seed, RATE, train, BATCH, steps)
            right = (trainer.measure(state, train)[0], trainer.measure(state, test)[0])
            accuracy.setdefault(name, []).append(right)
            if name == "BN":
                noise.append(_noise(net, dict(state), seed, settings.pick(100, 400)))
    by_batch = _by_batch(settings, steps)
    return _result(accuracy, noise, by_batch)


def _parts(seed: int) -> tuple[Any, Any]:
    """Few examples to train on, so that there is something to overfit."""
    train, test = data("digits")
    return train.take(np.random.default_rng([seed, 9]).permutation(len(train))[:SMALL]), test


def _noise(net: Net, state: Any, seed: int, repeats: int) -> dict[int, float]:
    """The spread of z_norm of fixed examples over the batches that they may be in."""
    train, _ = data("digits")
    norm = net.normalised[0]
    gamma, beta = state["norm1/gamma"], state["norm1/beta"]
    forward = compiled(mg.Graph((), {"z": norm}))
    rng = np.random.default_rng([seed, 3])
    fixed = train.x[:2]
    found = {}
    for size in SIZES_OF_BATCH:
        drawn = []
        for _ in range(repeats):
            others = rng.choice(np.arange(2, len(train)), size - 2, replace=False)
            batch = np.concatenate([fixed, train.x[others]])
            drawn.append((forward(state, x=batch)[0]["z"][:2] - beta) / gamma)
        found[size] = float(np.sqrt(np.var(drawn, axis=0).mean()))
    return found


def _by_batch(settings: Settings, steps: int) -> dict[int, list[float]]:
    """Test accuracy with batch norm by batch size, for equally many steps."""
    trainer = Trainer(network(SIZES, **VARIANTS["BN"]).graph)
    found: dict[int, list[float]] = {}
    for size in (8, 32, 128):
        for seed in settings.seeds:
            train, test = _parts(seed)
            state = trainer.trained(seed, RATE, train, size, steps)
            found.setdefault(size, []).append(trainer.measure(state, test)[0])
    return found


def _result(accuracy: Any, noise: Any, by_batch: Any) -> Result:
    slope = estimate(power(list(n), list(n.values())) for n in noise)
    large = [m for m in SIZES_OF_BATCH if m >= 16]
    tail = estimate(power(large, [n[m] for m in large]) for n in noise)
    test = {name: [b for _, b in pairs] for name, pairs in accuracy.items()}
    gap = {name: estimate(a - b for a, b in pairs) for name, pairs in accuracy.items()}
    bn, dropout = (difference(test[name], test["plain"]) for name in ("BN", "dropout"))
    narrower = difference([a - b for a, b in accuracy["BN"]], [a - b for a, b in accuracy["plain"]])
    small = difference(by_batch[8], by_batch[128])
    seen = (
        f"The spread of z_norm of a fixed example over random batches of m falls as m^p with "
        f"p = {slope} over m = {SIZES_OF_BATCH[0]} ... {SIZES_OF_BATCH[-1]}, and p = {tail} from "
        f"m = 16 on; 1/sqrt(m) would be p = -0.5.",
        f"Trained on {SMALL} digits, batch norm changes test accuracy by {bn.percent()}, dropout "
        f"by {dropout.percent()} against the plain network.",
        f"The gap between training and test accuracy is {gap['plain'].percent()} for the plain "
        f"network, {gap['BN'].percent()} with batch norm (difference {narrower.percent()}), "
        f"{gap['dropout'].percent()} with dropout.",
        f"A batch of 8 instead of 128, noisier at equal steps, changes test accuracy by "
        f"{small.percent()}.",
    )
    limits = (
        "The noise is there for certain, and its law is measured above; that it regularises shows "
        "only where the test accuracies differ by more than their intervals.",
        "For small batches the law bends: an example is part of its own batch, so |z_norm| is at "
        "most sqrt(m - 1) and its spread stays below 1/sqrt(m)'s line.",
        "Batches of another size also mean another noise of the gradient, another number of "
        "epochs: the effect of the statistics alone is not separated here.",
        "Batch norm before dropout shifts the variance between training and test (Li et al. 2019): "
        "together they are not the sum of both.",
    )
    rows = tuple(
        (name, estimate(a for a, _ in pairs).percent(), estimate(test[name]).percent(),
         gap[name].percent())
        for name, pairs in accuracy.items()
    )  # fmt: skip
    header = ("network", "training accuracy", "test accuracy", "gap")
    return Result(
        verdict(abs(slope.mean + 0.5) < 0.08, bn.low > 0, narrower.high < 0, small.low > 0),
        seen,
        limits,
        (Table(f"After training on {SMALL} digits.", header, rows),),
        (_plot(accuracy, noise, slope),),
        {"slope": slope, "tail": tail},
    )


def _plot(accuracy: Any, noise: Any, slope: Any) -> Plot:
    with draw.panels(2, width=4.6) as (figure, (left, right)):
        sizes = np.array(SIZES_OF_BATCH, float)
        found = [estimate(n[m] for n in noise) for m in SIZES_OF_BATCH]
        left.errorbar(
            sizes, [e.mean for e in found], yerr=[np.nan_to_num(e.half) for e in found], fmt="o",
            color=draw.BLUE, capsize=3,
        )  # fmt: skip
        guide = found[-1].mean * np.sqrt(sizes[-1] / sizes)
        left.plot(sizes, guide, color=draw.GREY, linestyle=(0, (5, 2)), linewidth=1.2)
        draw.note(left, sizes[0] * 1.3, guide[0] * 0.98, "1/sqrt(m)")
        left.set_yscale("log")
        ticks = (0.05, 0.1, 0.2, 0.5)
        left.set_yticks(ticks, [number(tick) for tick in ticks])
        draw.powers_of_two(left, SIZES_OF_BATCH)
        draw.labelled(
            left, f"a  Noise of z_norm, slope {slope}", "batch size m", "spread over batches"
        )
        for row, (_, pairs) in enumerate(accuracy.items()):
            for column, (series, shift) in enumerate(((5, -0.12), (0, 0.12))):
                e = estimate(100 * pair[column] for pair in pairs)
                right.errorbar(
                    e.mean, row + shift, xerr=np.nan_to_num(e.half), capsize=3,
                    fmt=draw.MARKERS[1 - column], color=draw.COLOURS[series],
                )  # fmt: skip
                if row == 0:
                    text = ("training", "test")[column]
                    draw.note(
                        right, e.mean, row + 2.6 * shift, text, draw.COLOURS[series], ha="center"
                    )
        right.set_yticks(range(len(accuracy)), list(accuracy))
        right.set_ylim(len(accuracy) - 0.5, -0.7)
        right.grid(axis="x")
        draw.labelled(right, f"b  Trained on {SMALL} digits", "accuracy (%)", "")
    return Plot(
        "regularisation",
        "a: how much the normalised value of a fixed example varies with the rest of its batch, "
        "both axes logarithmic; the dashed line falls as 1/sqrt(m). b: training and test accuracy "
        "with 95 % intervals over seeds.",
        draw.svg(figure),
    )


EXPERIMENT = Experiment(
    "regularisation",
    "Batch norm as a regulariser",
    "The statistics of a batch of m carry noise of order 1/sqrt(m), and this noise regularises: "
    "the network generalises better.",
    "Ioffe and Szegedy 2015, section 3.4; Luo et al. 2019",
    run,
)
