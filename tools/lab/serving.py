"""At test time: EMA, exact population statistics, or those of the test batch."""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg

from . import drawing as draw
from .nets import Trainer, batch_norm, compiled, data, network, right_in_batches, stream
from .result import Experiment, Plot, Result, Settings, Table
from .statistics import difference, estimate, number, verdict

SIZES, BATCH, RATE, EPS = (64, 64, 64, 10), 32, 0.1, 1e-3
DECAYS = (0.9, 0.99, 0.999)
TEST_BATCHES = (1, 2, 4, 8, 32, 128)
UNIT = 0

LIMITS = (
    "While the weights move fast, an EMA of long memory averages statistics of networks that "
    "are gone; the exact statistics are of the network as it is.",
    "Statistics of the test batch use other test examples, so that an answer depends on its "
    "neighbours: see the batches that are sorted by class.",
    "Exact statistics cost a pass over the training data; they need every layer at once, for "
    "those of a layer depend on the statistics used below it.",
)


def run(settings: Settings) -> Result:
    steps = settings.pick(600, 6000)
    net = network(SIZES, norm=batch_norm(0.99), bias=False)
    names = [u.state.name for u in net.graph.updates]
    estimates = {f"batch {u.state.name}": u.estimate for u in net.graph.updates}
    trainer = Trainer(net.graph, watch=estimates)
    forward = compiled(mg.Graph(net.graph.inputs, {**net.graph.outputs, **estimates}))
    at = sorted({int(t) for t in np.geomspace(1, steps, 14)})
    runs = [_one(trainer, forward, names, seed, at) for seed in settings.seeds]
    return _result(runs, at)


def _one(trainer: Trainer, forward: Any, names: list[str], seed: int, at: list[int]) -> Any:
    """Train once, recording every batch statistic; measure each way to serve at each time."""
    train, test = data("digits")
    begin = trainer.start(seed, RATE)
    ema = {d: {n: begin[n].astype(np.float64) for n in names} for d in DECAYS}
    recorded: dict[str, list[float]] = {names[0]: [], names[1]: []}
    served: dict[Any, list[float]] = {key: [] for key in (*DECAYS, "debiased", "exact", "batch")}
    for number_, outputs, state in trainer.run(begin, stream(train, BATCH, seed), at[-1]):
        for d, name in ((d, n) for d in DECAYS for n in names):
            batch = outputs[f"batch {name}"].reshape(-1)
            ema[d][name] = d * ema[d][name] + (1 - d) * batch
        for name, values in recorded.items():
            values.append(float(outputs[f"batch {name}"].reshape(-1)[UNIT]))
        if number_ in at:
            _serve(trainer, forward, state, ema, number_, served)
    engine = max(float(np.abs(state[n] - ema[0.99][n]).max()) for n in names)
    sizes = {m: right_in_batches(forward, state, test, m) for m in TEST_BATCHES}
    return {
        "served": served, "recorded": recorded, "engine": engine, "sizes": sizes,
        "alone": _alone(trainer, state),
        "sorted": right_in_batches(forward, state, test.take(np.argsort(test.t)), 32),
    }  # fmt: skip


def _serve(trainer: Trainer, forward: Any, state: Any, ema: Any, t: int, served: Any) -> None:
    """Test accuracy with each kind of statistics, at one moment of training."""
    train, test = data("digits")
    names = list(ema[DECAYS[0]])
    for d in DECAYS:
        served[d].append(trainer.measure({**state, **_single(ema[d])}, test)[0])
    slow = DECAYS[-1]
    start = {n: float("var" in n) for n in names}
    free = {n: (v - slow**t * start[n]) / (1 - slow**t) for n, v in ema[slow].items()}
    served["debiased"].append(trainer.measure({**state, **_single(free)}, test)[0])
    exact, _ = forward(dict(state), x=train.x, t=train.t)
    population = {n: exact[f"batch {n}"].reshape(-1) for n in names}
    served["exact"].append(trainer.measure({**state, **population}, test)[0])
    served["batch"].append(right_in_batches(forward, dict(state), test, 128))


def _single(statistics: Any) -> dict[str, Any]:
    return {name: value.astype(np.float32) for name, value in statistics.items()}


def _alone(trainer: Trainer, state: Any) -> tuple[int, int, float]:
    """Of all test digits, how many answers are the same one by one, and the largest change."""
    _, test = data("digits")
    together = trainer.infer(state, x=test.x, t=test.t)[0]["logits"]
    alone = np.concatenate(
        [trainer.infer(state, x=test.x[i : i + 1], t=test.t[i : i + 1])[0]["logits"]
         for i in range(len(test))]
    )  # fmt: skip
    same = int((alone.argmax(axis=1) == together.argmax(axis=1)).sum())
    return same, len(test), float(np.abs(alone - together).max())


def forgotten(decay: float, recorded: Any, share: float = 0.01) -> int:
    """Steps until two averages of the same numbers, from 0 and from 1, differ by ``share``."""
    averages, t = np.array([0.0, 1.0]), 0
    while averages[1] - averages[0] > share:
        averages = decay * averages + (1 - decay) * recorded[t % len(recorded)]
        t += 1
    return t


def _result(runs: Any, at: list[int]) -> Result:
    last = {key: [r["served"][key][-1] for r in runs] for key in runs[0]["served"]}
    ema = difference(last[0.99], last["exact"])
    batch = difference(last["batch"], last["exact"])
    slow = difference(last[0.999], last["exact"])
    repaired = difference(last["debiased"], last["exact"])
    steps = {d: forgotten(d, runs[0]["recorded"]["norm1/running_mean"]) for d in DECAYS}
    caught = {d: _caught(runs, at, d) for d in DECAYS}
    one = estimate(r["sizes"][1] for r in runs)
    same = min(r["alone"][0] for r in runs)
    total, change = runs[0]["alone"][1], max(r["alone"][2] for r in runs)
    engine = max(r["engine"] for r in runs)
    seen = (
        f"After {at[-1]} steps the EMA of decay 0.99 serves within {ema.percent()} of the exact "
        f"statistics of the whole training part, test batches of 128 within {batch.percent()}.",
        "The start is forgotten to 1 % after "
        + ", ".join(f"{steps[d]} steps (decay {d:g})" for d in DECAYS)
        + ", as ln(0.01)/ln(decay) says; the test accuracy comes within 1 point of the exact "
        "statistics' after "
        + ", ".join(f"{caught[d]} ({d:g})" for d in DECAYS) + ".",
        f"After {at[-1]} steps decay 0.999 is {slow.percent()} from the exact statistics; "
        f"debiased, {repaired.percent()}.",
        f"The inference graph gives {same} of {total} test digits the same answer one at a time "
        f"as together (logits within {number(change)}); the training graph, fed one at a time, "
        f"gets {one.percent()} right, a guess, and of batches of 32 that are sorted by class "
        f"{estimate(r['sorted'] for r in runs).percent()}.",
        f"The running statistics of the graph are the EMA of all recorded ones, to "
        f"{number(engine)}.",
    )  # fmt: skip
    rows = tuple(
        (name, estimate(last[key]).percent())
        for name, key in (
            *((f"EMA, decay {d:g}", d) for d in DECAYS),
            ("EMA, decay 0.999, debiased", "debiased"), ("exact population", "exact"),
            ("test batches of 128", "batch"),
        )
    )  # fmt: skip
    near = all(abs(steps[d] - np.log(0.01) / np.log(d)) <= 1.001 for d in DECAYS)
    return Result(
        verdict(abs(ema.mean) < 0.01, near, same == total, one.mean < 0.2),
        seen,
        LIMITS,
        (Table(f"Test accuracy after {at[-1]} steps.", ("statistics", "accuracy"), rows),),
        (_plot(runs, at),),
        {"steps": steps, "caught": caught},
    )


def _caught(runs: Any, at: list[int], decay: float) -> str:
    """When an EMA serves as well as the exact statistics, in words."""
    times = [_first(at, r["served"][decay], r["served"]["exact"]) for r in runs]
    if not np.isfinite(times).all():
        return f"more than {at[-1]} steps in {np.isinf(times).sum()} of {len(times)} seeds"
    return f"{estimate(times)} steps"


def _first(at: list[int], curve: Any, exact: Any) -> float:
    """The first time from which on a curve stays within a point of another; inf if never."""
    far = np.flatnonzero(np.abs(np.array(curve) - np.array(exact)) > 0.01)
    after = far[-1] + 1 if len(far) else 0
    return float(at[after]) if after < len(at) else np.inf


def _plot(runs: Any, at: list[int]) -> Plot:
    with draw.panels(2, 2, width=4.9, height=2.9) as (figure, axes):
        for ax, name, letter, text, start in (
            (axes[0], "norm1/running_mean", "a", "mean", 0.0),
            (axes[1], "norm1/running_var", "b", "variance", 1.0),
        ):
            values = np.array(runs[0]["recorded"][name])
            ax.plot(values, ".", color="#BDBDBD", markersize=2)
            ends = [(float(values[-50:].mean()), "each batch", 5)]
            for series, d in enumerate(DECAYS):
                line = [start]
                for value in values:
                    line.append(d * line[-1] + (1 - d) * value)
                ax.plot(line, color=draw.COLOURS[series], linestyle=draw.DASHES[series])
                ends.append((line[-1], f"EMA {d:g}", series))
            draw.labelled(ax, f"{letter}  Recorded {text} of a unit", "training step", text)
            draw.name_lines(ax, ends, 0.09)
        ends = []
        for series, key in enumerate((*DECAYS, "exact")):
            curve = 100 * np.array([r["served"][key] for r in runs])
            label = "exact" if key == "exact" else f"EMA {key:g}"
            ends.append((draw.band(axes[2], at, curve, series), label, series))
        axes[2].set_xscale("log")
        axes[2].set_ylim(0, 102)
        draw.labelled(axes[2], "c  Served during training", "training step", "test accuracy (%)")
        draw.name_lines(axes[2], ends, 0.09)
        sizes = 100 * np.array([[r["sizes"][m] for m in TEST_BATCHES] for r in runs])
        draw.band(axes[3], TEST_BATCHES, sizes, 0, marker=True)
        level = 100 * float(np.mean([r["served"][0.99][-1] for r in runs]))
        axes[3].axhline(level, color=draw.RED, linestyle=(0, (5, 2)), linewidth=1.4)
        axes[3].set_ylim(0, 112)
        draw.note(axes[3], TEST_BATCHES[0], level + 6, "running statistics, any size", draw.RED)
        draw.note(axes[3], 3.2, 50, "statistics of the test batch", draw.BLUE)
        draw.powers_of_two(axes[3], TEST_BATCHES)
        draw.labelled(axes[3], "d  By test batch", "test batch size", "test accuracy (%)")
    return Plot(
        "test_time",
        "a, b: mean and variance of every batch for one unit of the first layer, and their moving "
        "averages from 0 and 1 (one seed). c: test accuracy if training stopped there, by kind of "
        "statistics. d: statistics of the test batch against the running ones.",
        draw.svg(figure),
    )


EXPERIMENT = Experiment(
    "test_time",
    "Test time: which statistics",
    "Running statistics serve one example at a time as well as exact population statistics, once "
    "their start is forgotten; statistics of small test batches do not.",
    "Ioffe and Szegedy 2015, section 3.1 and Algorithm 2",
    run,
)
