"""Schedules: the learning rate as a node that reads the optimiser's step counter.

A schedule is a function from the step, an ``i64[]`` node that counts from 0, to a float scalar
node. An optimiser takes one wherever it takes a number, so a schedule is part of the graph: it is
drawn, saved and resumed with it. Scalars are computed in float64 and cast where they are used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from ..ir import GraphError, Node, ShapeError
from ..ir.types import FLOAT64
from ..primitives import as_node, cast, minimum, take
from ..primitives import constant as constant_node

Schedule: TypeAlias = Callable[[Node], Node]


def constant(lr: float) -> Schedule:
    """The same rate at every step.

    >>> import minigrad as mg
    >>> mg.evaluate(constant(0.5)(mg.constant(7)))
    array(0.5)
    """
    _positive("constant", lr=lr)
    return lambda step: constant_node(np.float64(lr))


def step_decay(lr: float, *, every: int, factor: float = 0.1) -> Schedule:
    """``lr * factor ** (step // every)``: a staircase (PyTorch's StepLR, counted in steps).

    >>> import minigrad as mg
    >>> rate = step_decay(1.0, every=10, factor=0.5)
    >>> [float(mg.evaluate(rate(mg.constant(step)))) for step in (0, 9, 10, 25)]
    [1.0, 1.0, 0.5, 0.25]
    """
    _positive("step_decay", lr=lr, every=every, factor=factor)

    def rate(step: Node) -> Node:
        stairs = cast(cast(_real(step) / np.float64(every), "int64"), "float64")  # a floor
        return np.float64(lr) * constant_node(np.float64(factor)) ** stairs

    return rate


def cosine(lr: float, *, steps: int, warmup: int = 0, final: float = 0.0) -> Schedule:
    """Half a cosine wave from ``lr`` down to ``final``, after a linear rise over ``warmup`` steps.

    With ``w = warmup``: ``lr * (step + 1) / w`` while ``step < w``, then
    ``final + (lr - final) * (1 + cos(pi * (step - w) / (steps - w))) / 2``, and ``final`` from
    ``steps`` on. Loshchilov and Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm
    Restarts", equation 5 without restarts; the warm-up is that of Goyal et al. 2017. The wave is
    stored as a table that the step indexes: no other part of minigrad needs a cosine.

    >>> import minigrad as mg
    >>> rate = cosine(1.0, steps=8, warmup=4)
    >>> [round(float(mg.evaluate(rate(mg.constant(step)))), 3) for step in (0, 3, 4, 6, 8, 99)]
    [0.25, 1.0, 1.0, 0.5, 0.0, 0.0]
    """
    _positive("cosine", lr=lr, steps=steps)
    if not 0 <= warmup < steps:
        raise GraphError(f"cosine: warmup is {warmup}, it must lie in [0, steps), steps={steps}")
    at = np.arange(steps + 1)
    wave = (1 + np.cos(np.pi * (at - warmup) / (steps - warmup))) / 2
    rates = np.where(at < warmup, lr * (at + 1) / max(warmup, 1), final + (lr - final) * wave)
    return lambda step: take(rates, minimum(step, steps))


def learning_rate(lr: float | Schedule, step: Node | None) -> Node:
    """The rate of this step as a float64 scalar node; ``lr`` is a number or a schedule."""
    if not callable(lr):
        _positive("optim", lr=lr)
        return constant_node(np.float64(lr))
    assert step is not None
    rate = as_node(lr(step))
    if rate.type.shape or not rate.type.is_float:
        raise ShapeError(
            f"optim: a schedule gives a float scalar, not {rate.type}; see mg.schedule"
        )
    return rate if rate.type.dtype == FLOAT64 else cast(rate, FLOAT64)


def _real(step: Node) -> Node:
    return cast(step, "float64")


def _positive(name: str, **values: float) -> None:
    for key, value in values.items():
        if not value > 0:
            raise GraphError(f"{name}: {key} is {value}, it must be positive")
