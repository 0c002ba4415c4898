"""What `mg.simplify` saves: compiled gradients of normalisers, raw against simplified.

    python tools/bench/simplified.py
    python tools/bench/simplified.py --rounds 21 --threads 1

Every row is one graph (y and all gradients), compiled natively twice: as `mg.grad` wrote it, and
after `mg.simplify`. The two run in alternating rounds; the results are compared first. Columns:
ops and cost before and after, bytes that the plan moves, the median time of the simplified graph,
and raw time / simplified time, median (least - greatest over the rounds).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

import minigrad as mg
from minigrad.rewrite import cost

Build = Callable[[], tuple[mg.Graph, dict[str, np.ndarray]]]


def norm(shape: tuple[int, ...], axes: tuple[int, ...], order: int = 1) -> Build:
    """A normaliser over ``axes`` with scale and shift, and its gradients."""

    def build() -> tuple[mg.Graph, dict[str, np.ndarray]]:
        x, u = mg.input("x", ("N", *shape[1:])), mg.input("u", ("N", *shape[1:]))
        last = axes == (len(shape) - 1,)
        wide = shape[-1:] if last or len(shape) == 2 else (shape[1], *[1] * (len(shape) - 2))
        gamma = mg.parameter("gamma", np.ones(wide, "f"))
        beta = mg.parameter("beta", np.zeros(wide, "f"))
        y = mg.nn.batch_norm(x, gamma, beta, axes=axes, eps=1e-5)
        grads = mg.grad(y, [x, gamma, beta], u)
        if order == 2:
            grads = mg.grad(mg.sum(grads[0] * grads[0]), [x, u])
        return with_outputs([x, u], y, grads), feed(shape)

    return build


def softmax(shape: tuple[int, ...]) -> Build:
    """Softmax over the last axis and its gradient."""

    def build() -> tuple[mg.Graph, dict[str, np.ndarray]]:
        x, u = mg.input("x", ("N", *shape[1:])), mg.input("u", ("N", *shape[1:]))
        y = mg.softmax(x)
        return with_outputs([x, u], y, mg.grad(y, [x], u)), feed(shape)

    return build


def feed(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Numbers for x and u."""
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype("f") for name in ("x", "u")}


def with_outputs(inputs: list[mg.Node], y: mg.Node, grads: list[mg.Node]) -> mg.Graph:
    """A graph of y and its gradients."""
    return mg.Graph(inputs, {"y": y, **{f"d{i}": g for i, g in enumerate(grads)}})


CASES: dict[str, Build] = {
    "batch norm (64,256)": norm((64, 256), (0,)),
    "batch norm (1024,1024)": norm((1024, 1024), (0,)),
    "batch norm (32,64,28,28)": norm((32, 64, 28, 28), (0, 2, 3)),
    "layer norm (1024,1024)": norm((1024, 1024), (1,)),
    "instance norm (64,64,14,14)": norm((64, 64, 14, 14), (2, 3)),
    "softmax (1024,1024)": softmax((1024, 1024)),
    "batch norm (1024,1024), second order": norm((1024, 1024), (0,), order=2),
}


def measure(build: Build, rounds: int, threads: int) -> list[str]:
    """One line of the table."""
    raw, fed = build()
    graphs = {"raw": raw, "simplified": mg.simplify(raw)}
    compiled = {name: mg.compile(graph, threads=threads) for name, graph in graphs.items()}
    state = compiled["raw"].init_state()
    outputs = {name: run(state, **fed)[0] for name, run in compiled.items()}
    for name, wanted in outputs["raw"].items():
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(outputs["simplified"][name], wanted, 1e-3, 1e-4 * scale)
    times: dict[str, list[float]] = {name: [] for name in compiled}
    for _ in range(rounds):
        for name, run in compiled.items():
            times[name].append(seconds(lambda run=run: run(state, **fed)))
    ratios = [a / b for a, b in zip(times["raw"], times["simplified"], strict=True)]
    ops = [sum(1 for n in g.nodes if n.inputs) for g in graphs.values()]
    costs = [cost(g.roots) for g in graphs.values()]
    return [
        f"{ops[0]} → {ops[1]}",
        f"{costs[1] / costs[0]:.2f}",
        f"{1e6 * statistics.median(times['simplified']):.0f}",
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})",
    ]


def seconds(call: Callable[[], object], least: float = 0.02) -> float:
    """The mean time of a call, over at least ``least`` seconds of calls."""
    start, calls = time.perf_counter(), 0
    while True:
        call()
        calls += 1
        spent = time.perf_counter() - start
        if spent >= least and calls >= 3:
            return spent / calls


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=11, help="how often each is timed")
    parser.add_argument("--threads", type=int, default=2, help="of the native backend")
    chosen = parser.parse_args()
    table = Table("gradient of", "ops", "cost", "simplified, us", "raw / simplified")
    for title, build in CASES.items():
        table.add_row(title, *measure(build, chosen.rounds, chosen.threads))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
