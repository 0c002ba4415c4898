"""gamma = sqrt(v + eps) and beta = mu recover the identity, and a network can learn them."""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg

from . import drawing as draw
from .nets import compiled
from .result import Experiment, Plot, Result, Settings, Table
from .statistics import estimate, number, power, verdict

UNITS, EPS, RATE = 8, 1e-3, 0.2
SIZES = (4, 8, 16, 32, 64, 128, 256)


def run(settings: Settings) -> Result:
    exact = {dtype: _recovered(dtype) for dtype in ("float32", "float64")}
    steps = settings.pick(400, 2000)
    step, infer = _learner()
    learnt = [_learn(step, infer, seed, 256, steps) for seed in settings.seeds]
    floors = {
        size: [_learn(step, infer, seed, size, steps)["floor"] for seed in settings.seeds]
        for size in SIZES
    }
    return _result(exact, learnt, floors, steps)


def _population(seed: int) -> tuple[Any, Any]:
    """Means and standard deviations of the units of a made-up layer."""
    rng = np.random.default_rng([seed, 1])
    return rng.uniform(-3, 3, UNITS), rng.uniform(0.5, 3, UNITS)


def _recovered(dtype: str) -> float:
    """The largest |y - x| with the statistics of the very batch put into gamma and beta."""
    x = mg.input("x", ("N", UNITS), dtype)
    mu, v = mg.mean(x, 0), mg.var(x, 0)
    eps = mg.cast(mg.constant(np.float64(EPS)), dtype)
    y = mg.nn.batch_norm(x, mg.sqrt(v + eps), mu, eps=EPS)
    mean, std = _population(0)
    data = np.random.default_rng(0).normal(mean, std, (256, UNITS)).astype(dtype)
    return float(np.abs(mg.evaluate(y, {"x": data}) - data).max())


def _learner() -> tuple[mg.Executable, mg.Executable]:
    """A batch norm that is asked to give back its input."""
    x = mg.input("x", ("N", UNITS))
    y = mg.nn.BatchNorm(UNITS, decay=0.9, eps=EPS, name="bn")(x)
    graph = mg.Graph([x], {"y": y, "loss": mg.mse(y, x)})
    step = compiled(mg.optim.sgd(graph, lr=RATE * UNITS / 2))
    return step, compiled(mg.to_inference(graph))


def _learn(step: Any, infer: Any, seed: int, size: int, steps: int) -> dict[str, Any]:
    mean, std = _population(seed)
    rng = np.random.default_rng([seed, 2])
    state, losses = step.init_state(seed), []
    path = [(state["bn/gamma"].copy(), state["bn/beta"].copy())]
    for _ in range(steps):
        x = rng.normal(mean, std, (size, UNITS)).astype(np.float32)
        outputs, state = step(state, x=x)
        losses.append(float(outputs["loss"]))
        path.append((state["bn/gamma"].copy(), state["bn/beta"].copy()))
    x = rng.normal(mean, std, (4096, UNITS)).astype(np.float32)
    served = infer(state, x=x)[0]["y"]
    gamma = np.array([g for g, _ in path]) / np.sqrt(std**2 + EPS)
    return {
        "losses": np.array(losses),
        "gamma": gamma,
        "beta": np.array([b for _, b in path]) - mean,
        "floor": float(np.sqrt(np.mean(losses[-steps // 4 :]) / np.mean(std**2))),
        "served": float(np.sqrt(np.mean((served - x) ** 2) / np.mean(std**2))),
    }


def _result(exact: Any, learnt: Any, floors: Any, steps: int) -> Result:
    gamma = estimate(np.abs(run["gamma"][-50:].mean(axis=0) - 1).max() for run in learnt)
    beta = estimate(np.abs(run["beta"][-50:].mean(axis=0)).max() for run in learnt)
    served = estimate(run["served"] for run in learnt)
    seeds = range(len(learnt))
    slope = estimate(power(SIZES[2:], [floors[m][s] for m in SIZES[2:]]) for s in seeds)
    seen = (
        f"With gamma = sqrt(v + eps) and beta = mu of the same batch, |y - x| is at most "
        f"{number(exact['float32'])} in float32 and {number(exact['float64'])} in float64.",
        f"Asked to give back its input, a batch norm learns this in {steps} steps of batches of "
        f"256: gamma / sqrt(v + eps) is off 1 by {gamma}, beta off mu by {beta}, at most over "
        f"{UNITS} units.",
        f"In training a residue is left, for mu and v are the batch's: its size falls with "
        f"the batch size m as m^p, p = {slope} (-1/2 if it is the noise of the statistics).",
        f"Served by its inference graph, the layer is off the identity by {served} "
        f"of the input's spread.",
    )
    limits = (
        "The identity is exact only for the batch that gamma and beta were taken from; gamma and "
        "beta are fixed, the statistics of the next batch are others.",
        "That a network can undo batch norm does not say that it does: gradient descent goes there "
        "only if the loss asks for it.",
        "With weight decay on gamma, or center=False or scale=False, the identity is out of reach.",
    )
    rows = tuple((size, estimate(floors[size])) for size in SIZES)
    header = ("batch size", "residue / spread of the input")
    return Result(
        verdict(exact["float32"] < 1e-4, exact["float64"] < 1e-12, gamma.mean < 0.1,
                served.mean < 0.2, abs(slope.mean + 0.5) < 0.1),
        seen,
        limits,
        (Table("What training leaves of y - x.", header, rows),),
        (_plot(learnt[0], floors),),
        {"exact": exact, "slope": slope},
    )  # fmt: skip


def _plot(run: Any, floors: Any) -> Plot:
    with draw.panels(3, width=3.7) as (figure, axes):
        for ax, key, goal, text in (
            (axes[0], "gamma", 1, "gamma / sqrt(v + eps)"),
            (axes[1], "beta", 0, "beta - mu"),
        ):
            ax.plot(run[key][:150], color=draw.BLUE, linewidth=1, alpha=0.8)
            ax.axhline(goal, color=draw.RED, linewidth=1.2, linestyle=(0, (5, 2)))
            low, high = ax.get_ylim()
            draw.note(ax, 148, goal + 0.06 * (high - low), "identity", draw.RED, ha="right")
            draw.labelled(ax, f"{'ab'[goal == 0]}  {text}", "training step", text)
        middle = [estimate(floors[size]) for size in SIZES]
        axes[2].errorbar(
            SIZES, [e.mean for e in middle], yerr=[np.nan_to_num(e.half) for e in middle],
            fmt="o", color=draw.BLUE, capsize=3,
        )  # fmt: skip
        guide = middle[-1].mean * np.sqrt(SIZES[-1] / np.array(SIZES, float))
        axes[2].plot(SIZES, guide, color=draw.GREY, linestyle=(0, (5, 2)), linewidth=1.2)
        draw.note(axes[2], SIZES[1], guide[1] * 1.25, "  1/sqrt(m)")
        axes[2].set_yscale("log")
        ticks = (0.1, 0.2, 0.5)
        axes[2].set_yticks(ticks, [number(tick) for tick in ticks])
        draw.powers_of_two(axes[2], SIZES)
        draw.labelled(axes[2], "c  Residue in training", "batch size m", "residue / input's spread")
    return Plot(
        "identity",
        "a, b: gamma and beta of eight units on their way to the identity (first 150 steps, one "
        "seed). c: what is left of y - x in training, with 95 % intervals; the dashed line falls "
        "as 1/sqrt(m).",
        draw.svg(figure),
    )


EXPERIMENT = Experiment(
    "identity",
    "Undoing batch norm",
    "gamma = sqrt(v + eps) and beta = mu recover the identity, so the network can undo batch norm.",
    "Ioffe and Szegedy 2015, section 3",
    run,
)
