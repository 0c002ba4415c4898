"""Time a node: building, differentiating, verifying, printing and saving large scalar graphs.

    python tools/bench/graphs.py            n, 2n, 4n nodes, beside micrograd and torch if installed
    python tools/bench/graphs.py --nodes 5000 --rounds 3

The graph is `y = (y + x) * x`, over and over: a chain as deep as it is long. Rounds of all
systems are interleaved; medians are printed, the minimum in brackets, in microseconds a node.
Linear growth shows as equal numbers in the three columns. Every system runs with Python's garbage
collector as it is by default.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import minigrad as mg

Times = dict[str, float]


def minigrad_chain(nodes: int) -> Times:
    """All that minigrad does with a graph, in seconds."""
    clock = Stopwatch()
    x = mg.input("x")
    y: mg.Node = x
    for _ in range(nodes // 2):
        y = (y + x) * x
    clock.lap("build")
    (dx,) = mg.grad(y, x)
    clock.lap("grad")
    graph = mg.Graph([x], {"y": y, "dx": dx})
    clock.lap("Graph")
    graph.verify()
    clock.lap("verify")
    text = str(graph)
    clock.lap("print")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "graph.txt").write_text(text)
    clock.lap("save")
    graph.structural_hash()
    clock.lap("hash")
    mg.evaluate(graph, {"x": 0.5})
    clock.lap("evaluate")
    return clock.laps


def micrograd_chain(nodes: int) -> Times:
    """micrograd builds values as it builds nodes; its backward pass gives numbers, not a graph."""
    from micrograd.engine import Value

    clock = Stopwatch()
    x = Value(0.5)
    y = x
    for _ in range(nodes // 2):
        y = (y + x) * x
    clock.lap("build")
    y.backward()
    clock.lap("grad")
    return clock.laps


def torch_chain(nodes: int) -> Times:
    """PyTorch, eager, on scalars."""
    import torch

    clock = Stopwatch()
    x = torch.tensor(0.5, requires_grad=True)
    y = x
    for _ in range(nodes // 2):
        y = (y + x) * x
    clock.lap("build")
    y.backward()
    clock.lap("grad")
    return clock.laps


class Stopwatch:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.laps: Times = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        self.laps[name] = time.perf_counter() - self._last
        self._last = time.perf_counter()


SYSTEMS: dict[str, tuple[str | None, Callable[[int], Times]]] = {
    "minigrad": (None, minigrad_chain),
    "micrograd": ("micrograd", micrograd_chain),
    "torch": ("torch", torch_chain),
}


def measure(sizes: list[int], rounds: int) -> dict[tuple[str, str], dict[int, list[float]]]:
    """Microseconds a node by (system, work) and size, one number a round."""
    present = {name: run for name, (module, run) in SYSTEMS.items() if installed(module)}
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    for _ in range(rounds):
        for size in sizes:
            for name, run in present.items():
                for work, seconds in run(size).items():
                    row = found.setdefault((name, work), {})
                    row.setdefault(size, []).append(seconds / size * 1e6)
    return found


def installed(module: str | None) -> bool:
    """Whether a peer can be imported."""
    if module is None:
        return True
    try:
        __import__(module)
    except ImportError:
        return False
    return True


def report(sizes: list[int], rounds: int) -> None:
    """Measure and print the table, then the ratios to micrograd."""
    found = measure(sizes, rounds)
    print("us a node, median (minimum)" + "".join(f"{size:>18,}" for size in sizes))
    for (name, work), row in sorted(
        found.items(), key=lambda item: list(SYSTEMS).index(item[0][0])
    ):
        cells = [f"{statistics.median(row[s]):.2f} ({min(row[s]):.2f})" for s in sizes]
        print(f"{name + ' ' + work:<27}" + "".join(f"{cell:>18}" for cell in cells))
    for peer in ("micrograd", "torch"):
        for work in ("build", "grad"):
            if (peer, work) in found:
                pairs = zip(
                    found["minigrad", work][sizes[-1]], found[peer, work][sizes[-1]], strict=True
                )
                ratios = sorted(ours / theirs for ours, theirs in pairs)
                print(
                    f"minigrad / {peer}, {work}: {statistics.median(ratios):.2f} "
                    f"({ratios[0]:.2f} to {ratios[-1]:.2f}) at {sizes[-1]:,} nodes"
                )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=25_000, help="the smallest of three sizes")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    sizes = [chosen.nodes, 2 * chosen.nodes, 4 * chosen.nodes]
    # micrograd recurses over nodes; it gets a stack that lets it.
    sys.setrecursionlimit(10 * sizes[-1] + 1000)
    threading.stack_size(1 << 29)
    worker = threading.Thread(target=report, args=(sizes, chosen.rounds))
    worker.start()
    worker.join()


if __name__ == "__main__":
    main()
