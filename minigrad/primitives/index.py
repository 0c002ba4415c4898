"""Ops that address elements by number: take, its transpose, and the counter-based random row."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir import (
    DTypeError,
    Kind,
    Node,
    Primitive,
    ShapeError,
    TensorType,
    normalize_axes,
)
from ..ir.types import FLOAT16, INT32, INT64
from .leaf import Operand, _shape, as_node, axes_of, checked_dtype


def _take_type(x: TensorType, indices: TensorType, *, axis: int) -> TensorType:
    if indices.dtype not in (INT32, INT64):
        raise DTypeError(f"indices must be ints, not {indices}")
    normalize_axes(axis, x.ndim)
    return TensorType((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)


def _scatter_type(x: TensorType, indices: TensorType, *, axis: int, shape: Any) -> TensorType:
    target = TensorType(shape, x.dtype)
    if _take_type(target, indices, axis=axis) != x:
        raise ShapeError(f"{x} does not fit {indices} along axis {axis} of {target}")
    return target


def _scatter_add(xp: Any, x: Any, indices: Any, *, axis: int, shape: Any) -> Any:
    total = np.zeros(shape, x.dtype)
    np.add.at(total, (slice(None),) * axis + (indices,), x)
    return total


def _take_vjp(ct: Node, y: Node, x: Node, indices: Node, *, axis: int) -> tuple[Node | None, ...]:
    return SCATTER_ADD(ct, indices, axis=axis, shape=x.type.shape), None


TAKE = Primitive(
    "take", Kind.INDEX, lambda xp, x, i, *, axis: xp.take(x, i, axis=axis), _take_type,
    _take_vjp, None, "Gather", "take",
)  # fmt: skip
SCATTER_ADD = Primitive(
    "scatter_add", Kind.INDEX, _scatter_add, _scatter_type,
    lambda ct, y, x, i, *, axis, shape: (TAKE(ct, i, axis=axis), None), None, None, "scatter",
)  # fmt: skip


def take(x: Operand, indices: Operand, axis: int = 0) -> Node:
    """``x`` at ``indices`` along ``axis`` (numpy.take); an index out of range fails when it runs.

    >>> import minigrad as mg
    >>> mg.take(mg.parameter("table", [[0.0, 1.0]] * 5), mg.input("token", "N", "int64"))
    <take f32[N,2]>
    """
    node = as_node(x)
    (at,) = axes_of("take", axis, node)
    return TAKE(node, as_node(indices), axis=at)


# --- random ----------------------------------------------------------------------------------


def _random_type(counter: TensorType, *, shape: Any, seed: int, dtype: Any) -> TensorType:
    if counter != TensorType((), INT64):
        raise DTypeError(f"the counter must be i64[], not {counter}")
    return TensorType(shape, dtype)


def _random_uniform(xp: Any, counter: Any, *, shape: Any, seed: int, dtype: Any) -> Any:
    """Threefry-2x32-20 of (element, counter) under the key ``seed``; its top bits, in [0, 1).

    24 bits, or the 11 that float16 holds, so that nothing rounds up to 1.
    """
    element = np.arange(int(np.prod(shape)), dtype=np.uint32).reshape(shape)
    step = np.full_like(element, np.uint32(int(counter) & 0xFFFFFFFF))
    key = (np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32 & 0xFFFFFFFF))
    bits, _ = threefry(element, step, key)
    digits = 11 if dtype == FLOAT16 else 24
    return ((bits >> np.uint32(32 - digits)) * np.float64(2.0**-digits)).astype(dtype)


def threefry(x0: Any, x1: Any, key: tuple[np.uint32, np.uint32]) -> tuple[Any, Any]:
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011, "Parallel random numbers"), on uint32."""
    rotations = ((13, 15, 26, 6), (17, 29, 16, 24))
    keys = (*key, key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    with np.errstate(over="ignore"):
        x0, x1 = x0 + keys[0], x1 + keys[1]
        for group in range(5):
            for rotation in rotations[group % 2]:
                x0 = x0 + x1
                x1 = (x1 << np.uint32(rotation)) | (x1 >> np.uint32(32 - rotation))
                x1 = x1 ^ x0
            x0 = x0 + keys[(group + 1) % 3]
            x1 = x1 + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


RANDOM_UNIFORM = Primitive(
    "random_uniform", Kind.INDEX, _random_uniform, _random_type, None, None, None, "U[0,1)"
)


def random_uniform(counter: Operand, shape: Any, *, seed: int = 0, dtype: Any = "float32") -> Node:
    """Uniform numbers in [0, 1) that depend on ``seed``, ``counter`` and the element alone.

    ``counter`` is an int64 scalar, usually a `state` that a step advances: a step stays a pure
    function, resumes bit for bit, and draws the same on every backend. No gradient.
    """
    return RANDOM_UNIFORM(
        as_node(counter),
        shape=_shape("random_uniform", shape),
        seed=int(seed),
        dtype=checked_dtype("random_uniform", dtype),
    )
