"""Which task a kernel takes when: sums that wait for company, and how much work that is to find."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends.native.agreement import assert_agrees

import minigrad as mg
from minigrad.backends.native.program import build

ROWS, COLUMNS = 64, 48


def matrices() -> tuple[mg.Node, mg.Node]:
    return mg.input("data", (ROWS, COLUMNS)), mg.input("upstream", (ROWS, COLUMNS))


def passes(graph: mg.Graph, name: str, kernels: Path) -> int:
    """How many loops read all of an input, by the plan; the numbers are right, too."""
    rng = np.random.default_rng(0)
    feed = {n.name: rng.normal(size=n.shape).astype(np.float32) for n in graph.inputs}
    assert_agrees(graph, feed, threads=2, cache=kernels)
    plan = mg.compile(graph, threads=2, cache=kernels).plan()  # type: ignore[attr-defined]
    found = re.findall(rf"^    reads .*\b{name}\[\d+\](?: x(\d+))?", plan, re.MULTILINE)
    return sum(int(times or 1) for times in found)


def test_a_sum_waits_for_a_pass_that_has_to_come(kernels: Path) -> None:
    x, _ = matrices()
    graph = mg.Graph([x], {"total": mg.sum(x, 0), "variance": mg.var(x, 0)})
    assert passes(graph, "data", kernels) == 1


def test_sums_of_two_values_wait_for_one_pass_over_both(kernels: Path) -> None:
    x, dy = matrices()
    product = mg.sum(dy * (x - mg.mean(x, 0)), 0)
    outputs = {"first": mg.sum(dy, 0), "total": mg.sum(x, 0), "product": product}
    graph = mg.Graph([x, dy], {**outputs, "variance": mg.var(x, 0)})
    assert [passes(graph, name, kernels) for name in ("data", "upstream")] == [1, 1]


def test_a_sum_does_not_wait_where_its_operand_is_read_anyway(kernels: Path) -> None:
    x, _ = matrices()
    outputs = {"values": mg.exp(x), "total": mg.sum(x, 0), "variance": mg.var(x, 0)}
    assert passes(mg.Graph([x], outputs), "data", kernels) == 2


def test_a_sum_does_not_wait_for_a_product(kernels: Path) -> None:
    x, _ = matrices()
    centre = mg.reshape(mg.matmul(mg.sum(x, 0, keepdims=True), mg.transpose(x[:1])), ())
    graph = mg.Graph([x], {"total": mg.sum(x, 0), "far": mg.sum((x - centre) ** 2, 0)})
    assert passes(graph, "data", kernels) == 2


# --- work ----------------------------------------------------------------------------------------


def layers(count: int) -> mg.Graph:
    """Products and elementwise kernels in turn."""
    y, w = mg.input("data", (4, 4)), mg.input("weight", (4, 4))
    inputs = [y, w]
    for _ in range(count):
        y = mg.tanh(y @ w)
    return mg.Graph(inputs, {"y": y})


def strangers(count: int) -> mg.Graph:
    """Values that share nothing, not even a shape."""
    inputs = [mg.input(f"data{k}", k + 1) for k in range(count)]
    return mg.Graph(inputs, {f"y{k}": mg.tanh(x) for k, x in enumerate(inputs)})


def likes(count: int) -> mg.Graph:
    """Values of one shape: as many in a kernel as it takes."""
    inputs = [mg.input(f"data{k}", 8) for k in range(count)]
    return mg.Graph(inputs, {f"y{k}": mg.tanh(x) for k, x in enumerate(inputs)})


def sums(count: int) -> mg.Graph:
    """Sums of one value that could all wait for one another."""
    x = mg.input("data", (32, 8))
    found = {f"y{k}": mg.sum(x * float(k + 1) + mg.exp(x * float(k)), 0) for k in range(count)}
    return mg.Graph([x], {**found, "v": mg.var(x, 0)})


def trained(count: int) -> mg.Graph:
    """Updates, each of which waits for the readers of its state."""
    x = y = mg.input("data", ("N", 4))
    for k in range(count):
        y = mg.relu(mg.nn.Linear(4, name=f"layer{k}")(y))
    return mg.optim.adam(mg.Graph([x], {"loss": mg.mean(y)}), lr=0.1)


def calls(work: Callable[[], object]) -> int:
    """How many functions were called; the same on every machine."""
    count = 0

    def called(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("make", [layers, strangers, likes, sums, trained])
def test_lowering_takes_work_in_proportion_to_the_graph(make: Callable[[int], mg.Graph]) -> None:
    least = 8 if make is trained else 12
    few, more, most = (make(least * times) for times in (1, 2, 4))
    build(few, 2)  # what is computed once
    low, middle, high = (calls(lambda graph=graph: build(graph, 2)) for graph in (few, more, most))
    assert high - middle <= 2.3 * (middle - low)
