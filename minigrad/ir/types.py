"""Tensor types: a shape of ints and named dims, and a dtype. The first thing every op computes.

Promotion rule (the only one in minigrad): dtypes are ordered in three categories,
``bool < int < float``. Of two tensors the higher category wins; inside a category the wider
dtype wins; a tensor's dtype is never widened by a Python number of the same or a lower category.
So ``i64 + f32`` is ``f32``, ``f16 + f32`` is ``f32``, ``f32 + 2.5`` is ``f32``, and ``i64 + 2.5``
is ``f32``, the default. Ops that need a float (``sqrt``, ``div``, ``mean``) take ints as ``f32``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .errors import DTypeError, ShapeError

Dim: TypeAlias = int | str
Shape: TypeAlias = tuple[Dim, ...]

BOOL, INT32, INT64 = np.dtype(np.bool_), np.dtype(np.int32), np.dtype(np.int64)
FLOAT16, FLOAT32, FLOAT64 = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)
COMPLEX128 = np.dtype(np.complex128)  # gradcheck's complex step only
DEFAULT_FLOAT = FLOAT32

SHORT_NAMES: dict[np.dtype[Any], str] = {
    BOOL: "bool",
    INT32: "i32",
    INT64: "i64",
    FLOAT16: "f16",
    FLOAT32: "f32",
    FLOAT64: "f64",
    COMPLEX128: "c128",
}
_ORDER = {dtype: rank for rank, dtype in enumerate(SHORT_NAMES)}
_FLOATS = frozenset({FLOAT16, FLOAT32, FLOAT64, COMPLEX128})


@dataclass(frozen=True, slots=True)
class TensorType:
    """What is known of a value before it exists; prints ``f32[N,64]``.

    >>> TensorType(("N", 64), FLOAT32)
    f32[N,64]
    >>> TensorType((), FLOAT32)
    f32[]
    """

    shape: Shape
    dtype: np.dtype[Any]

    def __repr__(self) -> str:
        return f"{SHORT_NAMES.get(self.dtype, self.dtype.name)}[{','.join(map(str, self.shape))}]"

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def is_static(self) -> bool:
        """True when every dim is an int."""
        return all(isinstance(dim, int) for dim in self.shape)

    @property
    def is_float(self) -> bool:
        return self.dtype in _FLOATS


def as_dtype(dtype: Any) -> np.dtype[Any]:
    """A supported dtype from anything numpy takes as one; DTypeError otherwise."""
    try:
        found: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        raise DTypeError(f"{dtype!r} is not a dtype; use one of {_known()}") from None
    if found not in _ORDER:
        raise DTypeError(f"dtype {found.name} is not supported; use one of {_known()}")
    return found


def as_shape(shape: Any) -> Shape:
    """A checked shape: an int >= 0 or an identifier for each dim; a bare dim means rank 1."""
    dims = (shape,) if isinstance(shape, int | str | np.integer) else tuple(shape)
    return tuple(_as_dim(dim, dims) for dim in dims)


def promote(*dtypes: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that several tensors meet in (see the module's rule).

    >>> promote(INT64, FLOAT16).name, promote(FLOAT32, FLOAT64).name
    ('float16', 'float64')
    """
    return max(dtypes, key=_ORDER.__getitem__)


def float_like(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """``dtype`` if it is a float, else the default float."""
    return dtype if dtype in _FLOATS else DEFAULT_FLOAT


def broadcast_shapes(*shapes: Shape) -> Shape:
    """numpy's broadcasting, where a named dim equals only itself; ShapeError names the shapes.

    >>> broadcast_shapes(("N", 64), (64,), ("N", 1))
    ('N', 64)
    """
    rank = max(map(len, shapes), default=0)
    out: list[Dim] = []
    for position in range(-rank, 0):
        dims = {s[position] for s in shapes if len(s) >= -position}
        wide = dims - {1}
        if len(wide) > 1:
            joined = " with ".join(shape_text(s) for s in shapes)
            raise ShapeError(f"cannot broadcast {joined}")
        out.append(wide.pop() if wide else 1)
    return tuple(out)


def shape_text(shape: Sequence[Dim]) -> str:
    """``[N,64]``."""
    return f"[{','.join(map(str, shape))}]"


def normalize_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Sorted axes >= 0 from None (all), an int or a sequence; ShapeError when out of range."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(axis) if isinstance(axis, Iterable) else (axis,)
    found = []
    for a in axes:
        if isinstance(a, bool) or not isinstance(a, int | np.integer):
            raise ShapeError(f"axis {a!r} is not an int")
        if not -ndim <= a < ndim:
            raise ShapeError(f"axis {a} is out of range for a tensor of rank {ndim}")
        found.append(int(a) % ndim)
    if len(set(found)) != len(found):
        raise ShapeError(f"axis {tuple(axes)} names a dim twice")
    return tuple(sorted(found))


def bind_dims(shape: Shape, actual: Sequence[int], dims: dict[str, int]) -> bool:
    """Record what each named dim of ``shape`` is in ``actual``; False when they do not fit."""
    if len(shape) != len(actual):
        return False
    return all(
        (dims.setdefault(dim, size) if isinstance(dim, str) else dim) == size
        for dim, size in zip(shape, actual, strict=True)
    )


def _as_dim(dim: Any, shape: tuple[Any, ...]) -> Dim:
    if isinstance(dim, str):
        if not dim.isidentifier():
            raise ShapeError(f"dim {dim!r} of shape {shape} is not a name such as 'N'")
        return dim
    if isinstance(dim, bool) or not isinstance(dim, int | np.integer):
        raise ShapeError(f"dim {dim!r} of shape {shape} is neither an int nor a name")
    if dim < 0:
        raise ShapeError(f"dim {dim} of shape {shape} is negative")
    return int(dim)


def _known() -> str:
    return ", ".join(dtype.name for dtype in _ORDER if dtype != COMPLEX128)
