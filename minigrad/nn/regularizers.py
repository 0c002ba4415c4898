"""Regularisers: a penalty from a parameter, added once to the output called ``loss``."""

from __future__ import annotations

from collections.abc import Callable

from ..ir import Node
from ..primitives import abs, sum


def l1(strength: float = 0.01) -> Callable[[Node], Node]:
    """``strength * sum |w|``."""
    return lambda weight: strength * sum(abs(weight))


def l2(strength: float = 0.01) -> Callable[[Node], Node]:
    """``strength * sum w**2``."""
    return lambda weight: strength * sum(weight**2)
