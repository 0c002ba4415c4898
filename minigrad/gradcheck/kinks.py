"""Kinks: where a function has no derivative, because a step crosses from one branch to another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..backends.feed import Array
from ..ir import Node

# The branch that each element is on, as small numbers: a step that changes it has crossed a kink.
# ``side`` is 0 at the point itself; 1 and -1 break exact ties by the imaginary part, which says
# where the values go when the point moves along a direction, or against it.
Branches = Callable[..., Array]


def _order(difference: Array, side: int) -> Array:
    """-1, 0 or 1: which side of zero."""
    sign: Array = np.sign(difference.real)
    if not side:
        return sign
    moves = difference.imag
    still = np.abs(moves) <= 1e-9 * np.max(np.abs(moves), initial=0.0)  # rounding, no move
    return np.asarray(np.where(sign == 0, side * np.sign(np.where(still, 0, moves)), sign))


def _between(side: int, x: Array, y: Array) -> Array:
    return _order(x - y, side)


def _around_zero(side: int, x: Array) -> Array:
    return _order(x, side)


def _largest(side: int, x: Array, *, axis: Any, keepdims: bool) -> Array:
    """1 where an element is the largest of its group."""
    real = x.real
    top: Array = real == np.max(real, axis=axis, keepdims=True)
    if side:
        rise = np.where(top, side * x.imag, -np.inf)
        best = np.max(rise, axis=axis, keepdims=True)
        top = top & (rise >= best - 1e-9 * np.abs(best))
    return top.astype(np.int8)


def _whole(side: int, x: Array, *, dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "b":
        return _order(x, side)
    whole: Array = np.trunc(x.real)
    edge = (whole == x.real) & (whole != 0)
    return np.asarray(2 * whole + side * np.sign(x.imag) * edge)


SWITCHES: Mapping[str, Branches] = {
    "abs": _around_zero,
    "sign": _around_zero,
    "maximum": _between,
    "minimum": _between,
    "less": _between,
    "less_equal": _between,
    "equal": _between,
    "max": _largest,
    "argmax": _largest,
    "cast": _whole,
}


def switches(nodes: Sequence[Node]) -> list[Node]:
    """The nodes that choose a branch by the value of a float."""
    return [
        node
        for node in nodes
        if node.prim.name in SWITCHES
        and node.inputs[0].type.is_float
        and not (node.prim.name == "cast" and node.type.is_float)
    ]


def branches(node: Node, operands: Sequence[Array], side: int = 0) -> Array:
    """The branch of each element of ``node``, from its operands' values."""
    found = SWITCHES[node.prim.name](side, *map(np.asarray, operands), **node.attrs)
    return np.asarray(found)
