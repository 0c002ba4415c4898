"""Folding on random networks: every one computes in float64 what it computed before."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.slow  # CI runs it, and `pytest -m slow`

SEEDS = range(40)


def dense(rng: random.Random) -> mg.Graph:
    x = mg.input("x", ("N", 5))
    h, width, seen = x, 5, []
    for i in range(rng.randint(2, 6)):
        kind = rng.choice(["bn", "linear", "linear", "relu", "residual", "shared", "scale"])
        if kind == "bn":
            h = nn.BatchNorm(width, name=f"bn{i}", scale=rng.random() < 0.8)(h)
        elif kind == "linear":
            width = rng.choice([3, 4, 6])
            h = nn.Linear(width, bias=rng.random() < 0.6, name=f"fc{i}")(h)
        elif kind == "relu":
            h = mg.relu(h)
        elif kind == "residual":
            h = h + nn.BatchNorm(width, name=f"res{i}")(nn.Linear(width, name=f"r{i}")(h))
        elif kind == "shared":
            seen.append(h)
        else:
            h = h * rng.choice([0.5, -2.0]) - 1.0
    outputs = {"y": nn.BatchNorm(width, name="last")(h)}
    for i, node in enumerate(seen):
        outputs[f"seen{i}"] = rng.choice([mg.tanh, mg.neg])(node)
    return mg.to_inference(mg.Graph([x], outputs))


def image(rng: random.Random) -> mg.Graph:
    x = mg.input("x", ("N", 4, 9, 9))
    h, channels = x, 4
    for i in range(rng.randint(2, 4)):
        if rng.random() < 0.5:
            h = nn.BatchNorm(channels, channel_axis=1, name=f"before{i}")(h)
        if rng.random() < 0.2:
            h = h * 0.5
        out, small = rng.choice([2, 4, 6]), int(h.shape[2]) < 5
        h = nn.Conv2d(
            out, rng.choice([1, 2, (3, 2)]), stride=1 if small else rng.choice([1, 1, 2]),
            padding="same" if small else rng.choice([0, 0, 1, "same"]), bias=rng.random() < 0.6,
            groups=rng.choice([1, 1, 2]), name=f"conv{i}",
        )(h)  # fmt: skip
        if rng.random() < 0.7:
            h = nn.BatchNorm(out, channel_axis=1, name=f"bn{i}")(h)
        if rng.random() < 0.3:
            branch = nn.Conv2d(out, 1, bias=False, name=f"side{i}")(h)
            h = h + nn.BatchNorm(out, channel_axis=1, name=f"sidebn{i}")(branch)
        h = rng.choice([mg.relu, mg.tanh, lambda v: v])(h)
        channels = out
    if rng.random() < 0.5:
        h = mg.avg_pool2d(h, 2, stride=1) if h.shape[2] > 1 and h.shape[3] > 1 else h
    flat = nn.Flatten()(nn.BatchNorm(channels, channel_axis=1, name="top")(h))
    return mg.to_inference(mg.Graph([x], {"h": h, "y": nn.Linear(3, name="fc")(flat)}))


def numbers(graph: mg.Graph, seed: int) -> dict[str, np.ndarray]:
    """Weights of both signs, variances above 0, a few rows of input."""
    rng = np.random.default_rng(seed)
    found = {}
    for leaf in graph.leaves:
        if leaf.name:
            value = rng.normal(size=[3 if d == "N" else d for d in leaf.shape])
            found[leaf.name] = value**2 + 0.1 if "var" in leaf.name else value
    return found


def assert_equal(before: mg.Graph, after: mg.Graph, feed: Mapping[str, np.ndarray]) -> None:
    wide = [mg.retype(graph, "float64") for graph in (before, after)]
    names = [{leaf.name for leaf in graph.leaves} for graph in wide]
    old, new = (
        mg.evaluate(graph, {k: v for k, v in feed.items() if k in known})
        for graph, known in zip(wide, names, strict=True)
    )
    for a, b in zip(old, new, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12 * np.abs(a).max())


def work(graph: mg.Graph) -> int:
    """Ops that depend on an input: what a call costs."""
    from minigrad.passes.fold_plan import fixed_nodes

    fixed = fixed_nodes(graph)
    return sum(1 for node in graph.nodes if node not in fixed and node.inputs)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_dense_network_keeps_its_values(seed: int) -> None:
    graph = dense(random.Random(seed))
    folded = mg.fold(graph)
    assert_equal(graph, folded, numbers(graph, seed))
    assert work(folded) <= work(graph)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_convolutional_network_keeps_its_values(seed: int) -> None:
    graph = image(random.Random(seed))
    folded = mg.fold(graph)
    assert_equal(graph, folded, numbers(graph, seed))
    assert work(folded) < work(graph)


@pytest.mark.parametrize("seed", range(12))
def test_a_random_network_of_numbers_keeps_its_values(seed: int) -> None:
    """Retyped to float64 first, so that the folded weights are not rounded to float32."""
    build = dense if seed % 2 else image
    graph = mg.retype(build(random.Random(100 + seed)), "float64")
    feed = numbers(graph, seed)
    state = {k: v for k, v in feed.items() if k != "x"}
    folded = mg.fold(graph, state)
    old = mg.evaluate(graph, feed)
    new = mg.evaluate(folded, {"x": feed["x"]})
    for a, b in zip(old, new, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12 * np.abs(a).max())
    assert {n.prim.name for n in folded.nodes if n.inputs}.isdisjoint({"sqrt", "pow"})
