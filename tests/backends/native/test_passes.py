"""Batch norm passes over memory as often as hand-written loops do, on five shapes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import minigrad as mg

SHAPES = [(64, 256), (1024, 1024), (8192, 512), (32, 64, 28, 28), (64, 128, 14, 14)]


def batch_norm(shape: tuple[int, ...], backward: bool) -> mg.Graph:
    channels = shape[1]
    beside = (channels, *[1] * (len(shape) - 2))
    axes = tuple(axis for axis in range(len(shape)) if axis != 1)
    data, upstream = mg.input("data", shape), mg.input("upstream", shape)
    gamma, beta = mg.input("gamma", channels), mg.input("beta", channels)
    scaled = [mg.reshape(leaf, beside) for leaf in (gamma, beta)]
    y = mg.nn.batch_norm(data, *scaled, axes=axes)
    if not backward:
        return mg.Graph([data, gamma, beta], {"y": y})
    dx, dgamma, dbeta = mg.grad(y, [data, gamma, beta], ct=upstream)
    return mg.Graph([data, upstream, gamma, beta], {"dx": dx, "dgamma": dgamma, "dbeta": dbeta})


def passes(step: Any, size: int) -> dict[str, int]:
    """How often each buffer of ``size`` elements is read, and how many are written, by the plan."""
    found: dict[str, int] = {"written": 0}
    for line in step.plan().splitlines():
        buffers = re.findall(rf"(\w+)\[{size}\](?: x(\d+))?", line)
        if line.startswith("    writes "):
            found["written"] += len(buffers)
        elif line.startswith("    reads "):
            for name, times in buffers:
                found[name] = found.get(name, 0) + int(times or 1)
    return found


def elements(shape: tuple[int, ...]) -> int:
    count = 1
    for dim in shape:
        count *= dim
    return count


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward_reads_the_data_twice_and_writes_once(
    shape: tuple[int, ...], kernels: Path
) -> None:
    step = mg.compile(batch_norm(shape, backward=False), threads=2, cache=kernels)
    assert passes(step, elements(shape)) == {"data": 2, "written": 1}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_backward_reads_data_and_gradient_twice_and_writes_once(
    shape: tuple[int, ...], kernels: Path
) -> None:
    step = mg.compile(batch_norm(shape, backward=True), threads=2, cache=kernels)
    assert passes(step, elements(shape)) == {"data": 2, "upstream": 2, "written": 1}
