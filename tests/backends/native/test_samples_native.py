"""Every sample of every primitive, value and first gradient, against the interpreter.

Samples of one primitive are compiled together, which is quicker and lets them share kernels; those
of scalars alone and those with a dim of size 0 are kept apart, because they take other ways.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends.native.agreement import assert_equal_up_to_rounding, outputs_of
from sample import Sample
from samples import SAMPLES

import minigrad as mg

pytestmark = pytest.mark.slow  # CI runs it, and `pytest -m slow`

Found = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


def group_of(sample: Sample) -> tuple[str, str]:
    shapes = [operand.shape for operand in sample.operands]
    shapes.append(sample.build(*sample.nodes()).shape)
    if any(0 in shape for shape in shapes):
        return sample.prim, "empty"
    return sample.prim, "usual" if any(shapes) else "scalar"


GROUPS: dict[tuple[str, str], list[Sample]] = {}
for _sample in SAMPLES:
    GROUPS.setdefault(group_of(_sample), []).append(_sample)


def whole(samples: list[Sample]) -> tuple[mg.Graph, dict[str, np.ndarray]]:
    """One graph of several samples, their inputs and outputs called by number, and its feed."""
    inputs: list[mg.Node] = []
    outputs: dict[str, mg.Node] = {}
    feed: dict[str, np.ndarray] = {}
    for k, sample in enumerate(samples):
        nodes = [
            mg.input(f"s{k}_x{j}", operand.shape, operand.dtype)
            for j, operand in enumerate(sample.operands)
        ]
        feed |= dict(zip([node.name for node in nodes], sample.arrays(), strict=True))
        inputs += nodes
        y = outputs[f"{k} y"] = sample.build(*nodes)
        if not sample.differentiable:
            continue
        ct = mg.input(f"s{k}_ct", y.shape, y.dtype)
        inputs.append(ct)
        numbers = np.random.default_rng(k).normal(size=sample.sized(y.shape))
        feed[ct.name] = numbers.astype(y.dtype)
        wrt = [n for j, n in enumerate(nodes) if n.type.is_float and j not in sample.zero]
        for node, gradient in zip(wrt, mg.grad(y, wrt, ct=ct), strict=True):
            outputs[f"{k} d{node.name}"] = gradient
    return mg.Graph(inputs, outputs), feed


@pytest.fixture(scope="module")
def results() -> dict[Any, Found]:
    """What was computed so far, by group and number of threads."""
    return {}


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.id)
def test_a_sample_is_the_interpreters(
    sample: Sample, threads: int, results: dict[Any, Found], kernels: Path
) -> None:
    group = group_of(sample)
    if (group, threads) not in results:
        graph, feed = whole(GROUPS[group])
        native = outputs_of(graph, feed, threads=threads, cache=kernels)
        results[group, threads] = native, outputs_of(graph, feed, backend="interpreter")
    number = f"{GROUPS[group].index(sample)} "
    found, expected = (
        {name: array for name, array in half.items() if name.startswith(number)}
        for half in results[group, threads]
    )
    assert f"{number}y" in found
    assert_equal_up_to_rounding(found, expected)
