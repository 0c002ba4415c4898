"""The contraction: a matrix product, batched and broadcast over leading axes."""

from __future__ import annotations

from typing import Any

from ..ir import DTypeError, Kind, Node, Primitive, ShapeError, TensorType, broadcast_shapes
from .leaf import Operand, _here, same_dtype
from .shape import reshape, transpose


def _matmul_type(x: TensorType, y: TensorType) -> TensorType:
    if x.dtype != y.dtype:
        raise DTypeError(f"operands {x} with {y} have different dtypes; cast one")
    if x.ndim < 2 or y.ndim < 2:
        raise ShapeError(f"needs matrices, not {x} with {y}")
    if x.shape[-1] != y.shape[-2]:
        raise ShapeError(f"cannot multiply {x} with {y}: {x.shape[-1]} against {y.shape[-2]}")
    try:
        batch = broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ShapeError:
        raise ShapeError(f"cannot broadcast the leading axes of {x} with {y}") from None
    return TensorType((*batch, x.shape[-2], y.shape[-1]), x.dtype)


def _swap(x: Node) -> Node:
    return transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def _matmul(xp: Any, x: Any, y: Any) -> Any:
    return xp.matmul(x, y)


MATMUL = Primitive(
    "matmul", Kind.CONTRACTION, _matmul, _matmul_type,
    lambda ct, out, x, y: (matmul(ct, _swap(y)), matmul(_swap(x), ct)), None, "MatMul", "@",
)  # fmt: skip


def matmul(x: Operand, y: Operand) -> Node:
    """The matrix product over the last two axes, leading axes broadcast (numpy.matmul).

    A vector on the left counts as a row, on the right as a column, and its axis goes away.

    >>> import minigrad as mg
    >>> mg.matmul(mg.input("x", ("N", 64)), mg.parameter("w", [[0.0] * 10] * 64))
    <matmul f32[N,10]>
    """
    a, b = same_dtype(x, y)
    if not a.ndim or not b.ndim:
        raise ShapeError(f"matmul: {a.type} with {b.type}: a scalar has no axis to sum{_here()}")
    row, column = a.ndim == 1, b.ndim == 1
    product = MATMUL(
        reshape(a, (1, *a.type.shape)) if row else a,
        reshape(b, (*b.type.shape, 1)) if column else b,
    )
    shape = list(product.type.shape)
    if column:
        shape.pop()
    if row:
        shape.pop(-1 if column else -2)
    return reshape(product, shape) if row or column else product
