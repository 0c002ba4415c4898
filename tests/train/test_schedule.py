"""Schedules: the rate at every step, and that it lives in the graph."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad.train import optim, schedule


def rates(make, steps):
    nodes = [make(mg.constant(k)) for k in steps]
    assert {node.type for node in nodes} == {mg.TensorType((), np.dtype("float64"))}
    return [float(value) for value in mg.evaluate(nodes)]


def test_constant():
    assert rates(schedule.constant(0.3), (0, 10**9)) == [0.3, 0.3]


@pytest.mark.parametrize("every", [1, 3, 7, 49, 1000])
def test_a_stair_begins_exactly_at_its_step(every):
    edges = [k * every + d for k in (1, 2, 5, 11, 30) for d in (-1, 0)]
    expected = [2.0 * 0.5 ** (step // every) for step in edges]
    assert rates(schedule.step_decay(2.0, every=every, factor=0.5), edges) == expected


@pytest.mark.parametrize(("warmup", "final"), [(0, 0.0), (5, 0.0), (1, 0.01), (19, 0.5)])
def test_cosine_is_its_formula(warmup, final):
    def formula(step: int) -> float:
        if step < warmup:
            return 0.8 * (step + 1) / warmup
        if step >= 20:
            return final
        return final + (0.8 - final) * (1 + math.cos(math.pi * (step - warmup) / (20 - warmup))) / 2

    found = rates(schedule.cosine(0.8, steps=20, warmup=warmup, final=final), range(30))
    np.testing.assert_allclose(found, [formula(k) for k in range(30)], atol=1e-15)


def test_the_rate_belongs_to_the_step_that_reads_it():
    """The first step uses rate(0); the counter moves afterwards, as part of the same graph."""
    w = mg.parameter("w", 0.0)
    graph = optim.sgd(mg.Graph([], {"loss": -w}), lr=lambda step: mg.cast(step, "float64") * 10 + 1)
    step = mg.compile(graph, "interpreter")
    state, seen = step.init_state(), []
    for _ in range(3):
        _, state = step(state)
        seen.append(float(state["w"]))
    assert seen == [1.0, 12.0, 33.0]
    assert state["sgd/step"] == 3
