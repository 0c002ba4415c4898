"""Regularisers (a penalty from a parameter) and constraints (a new value made valid)."""

from __future__ import annotations

from collections.abc import Callable

from ..ir import Node
from ..primitives import abs, maximum, sqrt, sum


def l1(strength: float = 0.01) -> Callable[[Node], Node]:
    """``strength * sum |w|``."""
    return lambda weight: strength * sum(abs(weight))


def l2(strength: float = 0.01) -> Callable[[Node], Node]:
    """``strength * sum w**2``."""
    return lambda weight: strength * sum(weight**2)


def non_negative(weight: Node) -> Node:
    """Negative elements become 0."""
    return maximum(weight, 0)


def max_norm(limit: float = 2.0, axis: int = 0) -> Callable[[Node], Node]:
    """Vectors along ``axis`` longer than ``limit`` are shortened to it (Srivastava et al. 2014)."""

    def constraint(weight: Node) -> Node:
        norm = sqrt(sum(weight**2, axis, keepdims=True) + 1e-12)
        return weight * (limit / maximum(norm, limit))

    return constraint
