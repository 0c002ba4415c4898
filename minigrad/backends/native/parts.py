"""What a value at one position is made of: the vocabulary of `access` and `views`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ...ir import Node
from .sizes import NOWHERE, ONE, ZERO, Axis, Index, Size, along, size_of

Indices: TypeAlias = tuple[Index, ...]
Key: TypeAlias = tuple[Node, Indices]

KINDS: dict[np.dtype[Any], str] = {
    np.dtype(np.bool_): "bool", np.dtype(np.int32): "i32", np.dtype(np.int64): "i64",
    np.dtype(np.float16): "f16", np.dtype(np.float32): "f32", np.dtype(np.float64): "f64",
}  # fmt: skip


class NeedsSplit(Exception):  # noqa: N818  # control flow, never seen by a user
    """A reshape falls inside a loop axis, which has to become two: outer and ``inner``."""

    def __init__(self, axis: Axis, inner: Size) -> None:
        super().__init__(axis, str(inner))
        self.axis, self.inner = axis, inner


@dataclass(frozen=True, slots=True)
class Part:
    """A value: ``build`` puts it together from the texts of its operands."""

    operands: tuple[Key, ...]
    build: Callable[[Sequence[str]], str]
    alias: bool = False  # the value is its only operand
    load: Index | None = None  # it lies in memory, here


REDUCTIONS = ("sum", "mean", "max")


def strides_of(shape: Sequence[Any], order: Sequence[int] | None = None) -> tuple[Size, ...]:
    """Strides in elements of a dense array whose axes lie in ``order``, outermost first."""
    order = range(len(shape)) if order is None else order
    strides = [ONE] * len(shape)
    step = ONE
    for axis in reversed(list(order)):
        strides[axis] = step
        if size_of(shape[axis]) != ZERO:
            step = step * size_of(shape[axis])
    return tuple(strides)


def literal(value: Any) -> str:
    """A scalar as the shortest text that reads back as the same number."""
    if value.dtype == np.bool_ or value.dtype.kind == "i":
        return str(value.item())
    number = float(value)
    if not math.isfinite(number):
        return "nan" if math.isnan(number) else "inf" if number > 0 else "-inf"
    text = str(np.asarray(value)[()])
    return text if any(c in text for c in ".en") else f"{text}.0"


def whole(shape: Sequence[Any], prefix: str = "a") -> tuple[Indices, dict[Axis, Size]]:
    """A loop axis for every dim that is not 1: the index of a node's own position."""
    index: list[Index] = []
    axes: dict[Axis, Size] = {}
    for dim in shape:
        if dim == 1:
            index.append(NOWHERE)
            continue
        axis = f"{prefix}{len(axes)}"
        axes[axis] = size_of(dim)
        index.append(along(axis))
    return tuple(index), axes


def broadcast(index: Indices, operand: Node) -> Indices:
    """The index of an operand: nothing along axes that it is repeated over."""
    shape = operand.type.shape
    tail = index[len(index) - len(shape) :]
    return tuple([NOWHERE if dim == 1 else i for i, dim in zip(tail, shape, strict=True)])
