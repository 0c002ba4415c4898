"""Digits read row by row at different speeds: layer norm and batch norm in a recurrent network."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from _model import load_model

import minigrad as mg
from minigrad.train.data import Dataset

from . import drawing as draw
from .nets import Trainer, data
from .result import Experiment, Plot, Result, Settings, Table
from .statistics import difference, estimate, verdict

MODEL = Path(__file__).resolve().parents[2] / "models" / "rnn.py"
SHORTEST, SEEN, LONGEST = 8, 11, 14
LENGTHS = tuple(range(SHORTEST, LONGEST + 1))
UNITS, BATCH, RATE, CLIP = 32, 32, 0.01, 1.0
NORMS = {
    "layer norm": "layer",
    "batch norm, shared": "batch",
    "batch norm per step": "batch per step",
    "none": "none",
}


def run(settings: Settings) -> Result:
    steps = settings.pick(250, 1200)
    module = load_model(MODEL)
    accuracy: dict[str, list[dict[int, float]]] = {}
    alone: dict[str, list[float]] = {}
    statistics: list[Any] = []
    for name, norm in NORMS.items():
        graph = module.build(side=8, steps=LONGEST, units=UNITS, norm=norm, decay=0.95)
        trainer = Trainer(graph, "adam", clip_norm=CLIP)
        forward = mg.compile(mg.Graph((), {"logits": graph.outputs["logits"]}), threads=1)
        for seed in settings.seeds:
            state = trainer.trained(seed, RATE, _training(seed), BATCH, steps)
            parts = {length: trainer.measure(state, _test(length))[0] for length in LENGTHS}
            accuracy.setdefault(name, []).append(parts)
            alone.setdefault(name, []).append(_company(forward, state))
            if norm == "batch per step":
                statistics.append(_by_step(state))
    return _result(accuracy, alone, statistics, steps)


def slowed(x: Any, length: int) -> Any:
    """[N,64] as sequences of ``length`` rows: some rows are read twice; padded to the longest."""
    rows = x.reshape(len(x), 8, 8)[:, np.arange(length) * 8 // length]
    padded = np.zeros((len(x), LONGEST, 8), np.float32)
    padded[:, :length] = rows
    return padded


@cache
def _training(seed: int) -> Dataset:
    """Each digit at one speed, of those that training sees."""
    train, _ = data("digits")
    lengths = np.random.default_rng([seed, 5]).integers(SHORTEST, SEEN + 1, len(train))
    x = np.zeros((len(train), LONGEST, 8), np.float32)
    for length in range(SHORTEST, SEEN + 1):
        chosen = lengths == length
        x[chosen] = slowed(train.x[chosen], length)
    return train.with_x(x)


@cache
def _test(length: int) -> Dataset:
    _, test = data("digits")
    return test.with_x(slowed(test.x, length))


def _company(forward: Any, state: Any) -> float:
    """How many answers of the training graph change when the rest of the batch does.

    Half of a batch of 32 stays, the other half is short in one batch and long in the other.
    """
    short, long = _test(SHORTEST).x, _test(SEEN).x
    changed = []
    for start in range(0, 512, 32):
        same, other = short[start : start + 16], slice(start + 16, start + 32)
        answers = [
            forward(state, x=np.concatenate([same, rest[other]]))[0]["logits"][:16].argmax(axis=1)
            for rest in (short, long)
        ]
        changed.append((answers[0] != answers[1]).mean())
    return float(np.mean(changed))


def _by_step(state: Any) -> Any:
    """Mean over units of the running standard deviation, for every step."""
    steps = range(1, LONGEST + 1)
    return [float(np.sqrt(state[f"bn{step}/running_var"]).mean()) for step in steps]


def _result(accuracy: Any, alone: Any, statistics: Any, steps: int) -> Result:
    def over(name: str, lengths: Any) -> list[float]:
        return [float(np.mean([run[n] for n in lengths])) for run in accuracy[name]]

    seen_lengths, longer = range(SHORTEST, SEEN + 1), range(SEEN + 1, LONGEST + 1)
    known = {name: over(name, seen_lengths) for name in NORMS}
    new = {name: over(name, longer) for name in NORMS}
    loss = {name: difference(new[name], known[name]) for name in NORMS}
    per_step = difference(known["layer norm"], known["batch norm per step"])
    shared = difference(known["layer norm"], known["batch norm, shared"])
    company = {name: estimate(values) for name, values in alone.items()}
    early = estimate(s[1] / s[0] for s in statistics)
    padding = estimate(s[-1] / np.mean(s[1:SEEN]) for s in statistics)
    seen = (
        f"On lengths seen in training ({SHORTEST} to {SEEN}) layer norm is ahead of batch norm "
        f"with shared statistics by {shared.percent()}, of batch norm per step by "
        f"{per_step.percent()}.",
        f"On longer sequences ({SEEN + 1} to {LONGEST}) accuracy changes by "
        + ", ".join(f"{loss[name].percent()} ({name})" for name in NORMS) + ".",
        "In training, other sequences of another length in the batch change "
        + ", ".join(f"{company[name].percent()} ({name})" for name in NORMS)
        + " of the answers of sequences that stay the same.",
        f"The statistics differ from step to step: the running deviation of step 2 is {early} "
        f"of step 1's. For steps after {SEEN} batch norm recorded padding: {padding} of the "
        f"deviation of the real steps.",
    )  # fmt: skip
    limits = (
        "On lengths that training saw, batch norm per step is no worse than layer norm unless the "
        "first number above says so; Cooijmans et al. (2017) report gains for one fixed length.",
        "Statistics over the real steps only (a masked mean) help with padding, but leave few "
        "sequences, and so much noise, at the late steps.",
        "The digits are easy and short; what a norm gains on long sequences is not seen here.",
    )
    rows = tuple(
        (name, estimate(known[name]).percent(), estimate(new[name]).percent(),
         company[name].percent())
        for name in NORMS
    )  # fmt: skip
    header = ("norm", f"lengths {SHORTEST}-{SEEN}", f"lengths {SEEN + 1}-{LONGEST}", "swayed")
    worst = loss["batch norm per step"]
    return Result(
        verdict(per_step.low > 0, shared.low > 0, company["layer norm"].mean == 0,
                company["batch norm per step"].mean > 0, worst.high < loss["layer norm"].mean),
        seen,
        limits,
        (Table(f"Test accuracy after {steps} steps; answers swayed by other lengths in the batch.",
               header, rows),),
        (_plot(accuracy, statistics),),
        {"loss": loss, "company": company},
    )  # fmt: skip


def _plot(accuracy: Any, statistics: Any) -> Plot:
    with draw.panels(2, width=4.9, height=3.3) as (figure, (left, right)):
        ends = []
        for series, (name, runs) in enumerate(accuracy.items()):
            curves = 100 * np.array([[run[n] for n in LENGTHS] for run in runs])
            ends.append((draw.band(left, LENGTHS, curves, series, marker=True), name, series))
        left.axvspan(SEEN + 0.5, LONGEST + 0.3, color="#F2F2F2", linewidth=0, zorder=0)
        low, high = left.get_ylim()
        left.set_ylim(max(low, 0), min(high, 100.5))
        draw.note(left, SEEN + 0.6, left.get_ylim()[0] + 3, "never trained")
        draw.labelled(left, "a  Test accuracy", "length of the sequence (rows)", "accuracy (%)")
        draw.name_lines(left, ends, 0.08)
        steps = np.arange(1, LONGEST + 1)
        draw.band(right, steps, statistics, 2, marker=True)
        right.axvspan(SEEN + 0.5, LONGEST + 0.3, color="#F2F2F2", linewidth=0, zorder=0)
        right.set_ylim(bottom=0)
        draw.note(right, SEEN + 0.6, 0.06 * right.get_ylim()[1], "padding only")
        draw.labelled(
            right, "b  Batch norm per step", "step", "running deviation,\nmean over units"
        )
    return Plot(
        "sequences",
        f"a: test accuracy by the length of the sequence; lengths above {SEEN} were never trained "
        f"on. b: the running standard deviation that batch norm keeps for each step, mean over "
        f"units: no two steps share statistics, and late ones are of padding. 95 % intervals.",
        draw.svg(figure),
    )


EXPERIMENT = Experiment(
    "sequences",
    "A recurrent network on sequences of varying length",
    "Layer norm serves sequences of any length; batch norm struggles, for steps differ in their "
    "statistics, late steps have few sequences, and longer ones have none.",
    "Ba et al. 2016, section 3.1; Cooijmans et al. 2017",
    run,
    weight=3,
)
