"""Constraints: a parameter's next value made valid. Optimisers apply them after every step."""

from __future__ import annotations

from collections.abc import Callable

from ..ir import Node
from ..primitives import maximum, sqrt, sum


def non_negative(weight: Node) -> Node:
    """Negative elements become 0."""
    return maximum(weight, 0)


def max_norm(limit: float = 2.0, axis: int = 0) -> Callable[[Node], Node]:
    """Vectors along ``axis`` longer than ``limit`` are shortened to it (Srivastava et al. 2014).

    >>> import minigrad as mg
    >>> shorten = mg.nn.constraints.max_norm(1.0)
    >>> mg.evaluate(shorten(mg.constant([[3.0, 0.3], [4.0, 0.4]])))
    array([[0.6, 0.3],
           [0.8, 0.4]], dtype=float32)
    """

    def max_norm_constraint(weight: Node) -> Node:
        return weight * (limit / maximum(_norm(weight, axis), limit))

    return max_norm_constraint


def unit_norm(axis: int = 0) -> Callable[[Node], Node]:
    """Vectors along ``axis`` become one long; a vector of zeros stays as it is."""

    def unit_norm_constraint(weight: Node) -> Node:
        return weight / maximum(_norm(weight, axis), 1e-7)

    return unit_norm_constraint


def _norm(weight: Node, axis: int) -> Node:
    return sqrt(sum(weight**2, axis, keepdims=True))
