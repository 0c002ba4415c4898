"""Time a node: `mg.simplify` on large graphs of five kinds, each with its gradient.

    python tools/bench/simplify_scale.py
    python tools/bench/simplify_scale.py --nodes 10000 20000 --rounds 5 --kinds chain tanh

Seconds are of the processor, the median over the rounds, the least in brackets; linear growth shows
as equal microseconds a node at all sizes. Every graph is checked to have shrunk, or not grown.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import minigrad as mg
from minigrad.ir import Node, toposort
from minigrad.rewrite import cost

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from random_graphs import random_float64_graph  # the generator lives with the tests


def chain(nodes: int) -> list[Node]:
    """``y = (y + x) * x`` and its gradient: about 6 nodes a link."""
    x = mg.input("x", 4)
    y = x
    for _ in range(nodes // 6):
        y = (y + x) * x
    return [y, *mg.grad(mg.sum(y), [x])]


def tanh_chain(nodes: int) -> list[Node]:
    """``y = tanh(a * y)`` and its gradients: about 9 nodes a link."""
    x, a = mg.input("x", ("N", 4)), mg.input("a", 4)
    y = x
    for _ in range(nodes // 9):
        y = mg.tanh(a * y)
    return [y, *mg.grad(mg.sum(y), [x, a])]


def perceptron(nodes: int) -> list[Node]:
    """Linear, batch norm, ReLU, layer after layer, and all gradients: about 65 nodes a layer."""
    x, t = mg.input("x", ("N", 8)), mg.input("t", "N", "int64")
    y = x
    for layer in range(max(nodes // 65, 1)):
        with mg.scope(f"layer{layer}"):
            w = mg.parameter("w", np.ones((8, 8), "f"))
            y = mg.relu(mg.nn.BatchNorm(8)(y @ w + mg.parameter("b", np.zeros(8, "f"))))
    loss = mg.cross_entropy(y, t)
    graph = mg.Graph([x, t], {"loss": loss})
    return [loss, *mg.grad(loss, list(graph.parameters))]


def residual(nodes: int) -> list[Node]:
    """``y = y + gelu(layer norm(y))`` on images, and all gradients: about 75 nodes a block."""
    x, u = mg.input("x", ("N", 8)), mg.input("u", ("N", 8))
    y = x
    wanted = [x]
    for block in range(max(nodes // 75, 1)):
        gamma = mg.parameter(f"gamma{block}", np.ones(8, "f"))
        wanted.append(gamma)
        y = y + mg.gelu(mg.nn.layer_norm(y, gamma, None))
    return [y, *mg.grad(y, wanted, u)]


def many_random(nodes: int) -> list[Node]:
    """Random graphs over every primitive, with gradients, beside each other."""
    roots: list[Node] = []
    found = number = 0
    while found < nodes:
        graph, _ = random_float64_graph(2, number, 200)
        roots += graph.roots
        found, number = found + len(graph.nodes), number + 1
    return roots


KINDS: dict[str, Callable[[int], list[Node]]] = {
    "chain": chain,
    "tanh": tanh_chain,
    "perceptron": perceptron,
    "residual": residual,
    "random": many_random,
}


def measured(roots: list[Node], rounds: int) -> tuple[list[float], list[Node]]:
    """Seconds of every round, and the simplified roots."""
    seconds = []
    for _ in range(rounds):
        found: list[Node] = []  # the last round's result goes before the time starts
        start = time.process_time()
        found = mg.simplify(roots)
        seconds.append(time.process_time() - start)
    if cost(found) > cost(roots):
        raise AssertionError("simplify made more work")
    return seconds, found


def main() -> None:
    """Print one line for each kind and size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[25_000, 50_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    options = parser.parse_args()
    print("kind          nodes    after  seconds (least)  us a node")
    for kind in options.kinds:
        for nodes in options.nodes:
            roots = KINDS[kind](nodes)
            before = len(toposort(roots))
            seconds, found = measured(roots, options.rounds)
            median = statistics.median(seconds)
            print(f"{kind:12} {before:6} {len(toposort(found)):8}  {median:7.2f} "
                  f"({min(seconds):5.2f})  {1e6 * median / before:9.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
