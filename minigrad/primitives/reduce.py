"""Reductions: sum, mean, max, argmax, and count, the number of elements they reduce over."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from ..ir import (
    DTypeError,
    Kind,
    Node,
    Primitive,
    Shape,
    ShapeError,
    TensorType,
    float_like,
    normalize_axes,
)
from ..ir.types import BOOL, FLOAT16, FLOAT32, INT64
from .elementwise import cast, equal
from .leaf import Operand, _here, as_node, axes_of, constant, floating
from .shape import broadcast_to, reshape

Axis: TypeAlias = int | tuple[int, ...] | list[int] | None
VJP = tuple[Node | None, ...]


# --- types -----------------------------------------------------------------------------------


def _reduced(x: TensorType, *, axis: tuple[int, ...], keepdims: bool) -> TensorType:
    return _over(x.shape, x.dtype, axis, keepdims)


@lru_cache(1 << 12)
def _over(shape: Shape, dtype: np.dtype[Any], axis: tuple[int, ...], keepdims: bool) -> TensorType:
    """One object for all results of a type, which are then quickly told to be of one type."""
    normalize_axes(axis, len(shape))
    return TensorType(reduced_shape(shape, axis, keepdims), dtype)


def _mean_type(x: TensorType, *, axis: tuple[int, ...], keepdims: bool) -> TensorType:
    if not x.is_float:
        raise DTypeError(f"needs a float, not {x}; cast it")
    return _reduced(x, axis=axis, keepdims=keepdims)


def _max_type(x: TensorType, *, axis: tuple[int, ...], keepdims: bool) -> TensorType:
    if any(x.shape[a] == 0 for a in axis):
        raise ShapeError(f"cannot reduce a dim of size 0: {x} over axis {axis}")
    return _reduced(x, axis=axis, keepdims=keepdims)


def _argmax_type(x: TensorType, *, axis: int, keepdims: bool) -> TensorType:
    return TensorType(_max_type(x, axis=(axis,), keepdims=keepdims).shape, INT64)


def _count_type(x: TensorType, *, axis: tuple[int, ...], at_least: int = 0) -> TensorType:
    normalize_axes(axis, x.ndim)
    return TensorType((), float_like(x.dtype))


def reduced_shape(shape: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """The shape after reducing ``axis``."""
    if keepdims:
        return tuple([1 if i in axis else dim for i, dim in enumerate(shape)])
    return tuple([dim for i, dim in enumerate(shape) if i not in axis])


# --- evaluation ------------------------------------------------------------------------------


def _accumulate(reduce: str) -> Any:
    def evaluate(xp: Any, x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        wide = FLOAT32 if x.dtype == FLOAT16 else x.dtype  # half precision adds in single
        return getattr(xp, reduce)(x, axis=axis, keepdims=keepdims, dtype=wide).astype(x.dtype)

    return evaluate


def _count(xp: Any, x: Any, *, axis: tuple[int, ...], at_least: int = 0) -> Any:
    number = math.prod(x.shape[a] for a in axis)
    _check_count(number, at_least, x.shape)
    return xp.asarray(number, float_like(x.dtype))


def _check_count(number: int, at_least: int, shape: Any) -> None:
    if number < at_least:
        raise ShapeError(
            f"needs at least {at_least} elements to reduce, {list(shape)} has {number}"
        )


# --- derivatives -----------------------------------------------------------------------------


def _sum_vjp(ct: Node, y: Node, x: Node, *, axis: tuple[int, ...], keepdims: bool) -> VJP:
    return (_spread(ct, x, axis),)


def _mean_vjp(ct: Node, y: Node, x: Node, *, axis: tuple[int, ...], keepdims: bool) -> VJP:
    return (_spread(ct / count(x, axis), x, axis),)


def _max_vjp(ct: Node, y: Node, x: Node, *, axis: tuple[int, ...], keepdims: bool) -> VJP:
    """Elements that reach the maximum share its cotangent equally."""
    reaches = cast(equal(x, _kept(y, x, axis)), x.type.dtype)
    return (_kept(ct, x, axis) * (reaches / sum(reaches, axis, keepdims=True)),)


def _kept(ct: Node, x: Node, axis: tuple[int, ...]) -> Node:
    """``ct`` with the reduced dims put back as 1."""
    kept = reduced_shape(x.type.shape, axis, keepdims=True)
    return ct if ct.type.shape == kept else reshape(ct, kept)


def _spread(ct: Node, x: Node, axis: tuple[int, ...]) -> Node:
    leading = axis == tuple(range(len(axis))) and ct.ndim == x.ndim - len(axis)
    return broadcast_to(ct if leading else _kept(ct, x, axis), x.type.shape)


# --- the table -------------------------------------------------------------------------------

_R = Kind.REDUCTION

SUM = Primitive("sum", _R, _accumulate("sum"), _reduced, _sum_vjp, None, "ReduceSum", "Σ")
MEAN = Primitive("mean", _R, _accumulate("mean"), _mean_type, _mean_vjp, None, "ReduceMean", "mean")
MAX = Primitive(
    "max", _R, lambda xp, x, *, axis, keepdims: xp.max(x, axis=axis, keepdims=keepdims),
    _max_type, _max_vjp, None, "ReduceMax", "max",
)  # fmt: skip
ARGMAX = Primitive(
    "argmax", _R, lambda xp, x, *, axis, keepdims: xp.argmax(x, axis=axis, keepdims=keepdims),
    _argmax_type, None, None, "ArgMax", "argmax",
)  # fmt: skip
COUNT = Primitive("count", _R, _count, _count_type, None, None, None, "n")


# --- public functions ------------------------------------------------------------------------


def sum(x: Operand, axis: Axis = None, *, keepdims: bool = False) -> Node:
    """The sum over ``axis`` (all by default); bools are counted as int64.

    >>> import minigrad as mg
    >>> mg.sum(mg.input("x", ("N", 3)), axis=0)
    <sum f32[3]>
    """
    node = as_node(x)
    node = cast(node, INT64) if node.type.dtype == BOOL else node
    return SUM(node, axis=axes_of("sum", axis, node), keepdims=keepdims)


def mean(x: Operand, axis: Axis = None, *, keepdims: bool = False) -> Node:
    """The mean over ``axis`` (all by default); ints become float32.

    >>> import minigrad as mg
    >>> mg.mean(mg.input("x", ("N", 3)), axis=0, keepdims=True)
    <mean f32[1,3]>
    """
    node = floating(x)
    return MEAN(node, axis=axes_of("mean", axis, node), keepdims=keepdims)


def max(x: Operand, axis: Axis = None, *, keepdims: bool = False) -> Node:
    """The largest element over ``axis``; elements that tie share its gradient equally."""
    node = as_node(x)
    return MAX(node, axis=axes_of("max", axis, node), keepdims=keepdims)


def min(x: Operand, axis: Axis = None, *, keepdims: bool = False) -> Node:
    """The smallest element over ``axis``: ``-max(-x)``."""
    return -max(-as_node(x), axis, keepdims=keepdims)


def argmax(x: Operand, axis: int = -1, *, keepdims: bool = False) -> Node:
    """The index of the first largest element along one axis, int64; no gradient."""
    node = as_node(x)
    (found,) = axes_of("argmax", axis, node)
    return ARGMAX(node, axis=found, keepdims=keepdims)


def count(x: Operand, axis: Axis = None, *, at_least: int = 0) -> Node:
    """How many elements a reduction over ``axis`` reads, as a scalar float.

    A constant when the dims are known, else a node that reads the shape when it runs. Raises
    ShapeError, now or then, when there are fewer than ``at_least``.

    >>> import minigrad as mg
    >>> mg.count(mg.input("x", ("N", 3)), axis=0), mg.count(mg.input("x", ("N", 3)), axis=1)
    (<count f32[]>, <constant f32[]>)
    """
    node = as_node(x)
    axes = axes_of("count", axis, node)
    sizes = [node.type.shape[a] for a in axes]
    if not all(isinstance(size, int) for size in sizes):
        return COUNT(node, axis=axes, at_least=at_least) if at_least else COUNT(node, axis=axes)
    number = math.prod(map(int, sizes))
    try:
        _check_count(number, at_least, node.type.shape)
    except ShapeError as error:
        raise ShapeError(f"count: {error}{_here()}") from None
    return constant(np.asarray(number, float_like(node.type.dtype)))
