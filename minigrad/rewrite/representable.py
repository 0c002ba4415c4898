"""Exact numbers as constants: only where the dtype holds them without overflow or underflow.

``1e30 * (1e30 * x)`` in float32 is finite for small x; ``1e60 * x`` never is. A form that needs
such a number is not built.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from .exact import Number, magnitude


class OutOfRangeError(ArithmeticError):
    """A form needs a number that its dtype does not hold."""


def represented(value: Number, dtype: Any) -> np.ndarray[Any, Any]:
    """``value`` as a scalar of ``dtype``; OutOfRangeError where it would overflow or lose digits.

    >>> represented(3, np.float32)
    array(3., dtype=float32)
    >>> represented(10**60, np.float32)
    Traceback (most recent call last):
    minigrad.rewrite.representable.OutOfRangeError: a number beyond float32
    """
    smallest, largest = _limits(np.dtype(dtype))
    if value and not smallest <= magnitude(value) <= largest:
        raise OutOfRangeError(f"a number beyond {np.dtype(dtype).name}")
    return np.asarray(float(value), dtype)


@cache
def _limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    """The smallest and the largest normal number; comparing floats with exact numbers is exact."""
    if dtype.kind not in "fc":
        return 0.0, math.inf
    limits = np.finfo(dtype)
    return float(limits.tiny), float(limits.max)
