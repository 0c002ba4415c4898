"""What the tests of folding share: small networks, numbers for them, what is left to run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.passes import fold_rules
from minigrad.passes.fold_plan import fixed_nodes

NEXT_SCALE, NEXT_SHIFT, PREVIOUS = fold_rules.PRODUCTS
Layer = Callable[[mg.Node], mg.Node]


def infer(x: mg.Node, *stages: Layer, **more: mg.Node) -> mg.Graph:
    return mg.to_inference(mg.Graph([x], {"y": nn.Sequential(*stages)(x), **more}))


def vector() -> mg.Node:
    return mg.input("x", ("N", 5))


def picture() -> mg.Node:
    return mg.input("x", ("N", 3, 8, 8))


def bn(name: str, width: int, axis: int = -1) -> nn.BatchNorm:
    return nn.BatchNorm(width, channel_axis=axis, name=name)


def numbers(graph: mg.Graph, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    feed = {}
    for leaf in graph.leaves:
        if leaf.name:
            value = rng.normal(size=[4 if d == "N" else d for d in leaf.shape])
            feed[leaf.name] = value**2 + 0.1 if "var" in leaf.name else value
    return feed


def state_of(graph: mg.Graph, seed: int = 0) -> dict[str, np.ndarray]:
    inputs = {node.name for node in graph.inputs}
    return {k: v for k, v in numbers(graph, seed).items() if k not in inputs}


def varying(graph: mg.Graph) -> Counter[str]:
    """The ops that a call has to run, by name."""
    fixed = fixed_nodes(graph)
    return Counter(n.prim.name for n in graph.nodes if n not in fixed and n.inputs)


def assert_same(before: mg.Graph, after: mg.Graph) -> None:
    feed = numbers(before)
    for name in before.outputs:
        old, new = (
            mg.retype(mg.Graph([], {name: graph.outputs[name]}), "float64")
            for graph in (before, after)
        )
        a, b = (
            mg.evaluate(g, {n.name: feed[n.name] for n in g.leaves if n.name})[0]
            for g in (old, new)
        )
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12 * np.abs(a).max())


def rules(report: mg.Folding) -> list[tuple[str, str]]:
    return [(row.rule, str(row.node.scope)) for row in report.folds]


def reasons(report: mg.Folding, rule: str) -> dict[str, str]:
    return {str(r.node.scope): r.reason for r in report.refusals if r.rule == rule}
