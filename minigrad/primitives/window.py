"""Windows: all positions of a sliding window as new axes, and their transpose, the sum back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import Kind, Node, Primitive, ShapeError, TensorType, normalize_axes
from .leaf import Operand, as_node, axes_of

VJP = tuple[Node | None, ...]
Ints = tuple[int, ...]


def _unfold_type(
    x: TensorType, *, axis: Ints, window: Ints, stride: Ints, dilation: Ints
) -> TensorType:
    normalize_axes(axis, x.ndim)
    dims = list(x.shape)
    for a, w, s, d in zip(axis, window, stride, dilation, strict=True):
        size = dims[a]
        if isinstance(size, str):
            raise ShapeError(f"cannot take windows along the named dim {size!r} of {x}")
        if w < 1 or s < 1 or d < 1:
            raise ShapeError(f"window {w}, stride {s} and dilation {d} must be at least 1")
        dims[a] = (size - (w - 1) * d - 1) // s + 1
        if size < (w - 1) * d + 1:
            raise ShapeError(f"a window of {(w - 1) * d + 1} does not fit the dim {size} of {x}")
    return TensorType((*dims, *window), x.dtype)


def _fold_type(
    x: TensorType, *, size: Ints, axis: Ints, window: Ints, stride: Ints, dilation: Ints
) -> TensorType:
    dims = list(x.shape[: x.ndim - len(axis)])
    for a, full in zip(axis, size, strict=True):
        dims[a] = full
    folded = TensorType(tuple(dims), x.dtype)
    unfolded = _unfold_type(folded, axis=axis, window=window, stride=stride, dilation=dilation)
    if unfolded != x:
        raise ShapeError(f"{x} are not the windows of {folded}")
    return folded


def _unfold(xp: Any, x: Any, *, axis: Ints, window: Ints, stride: Ints, dilation: Ints) -> Any:
    spans = [(w - 1) * d + 1 for w, d in zip(window, dilation, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(x, spans, axis=axis)
    steps = [slice(None)] * view.ndim
    for position, (a, s, d) in enumerate(zip(axis, stride, dilation, strict=True)):
        steps[a] = slice(None, None, s)
        steps[x.ndim + position] = slice(None, None, d)
    return view[tuple(steps)]


def _fold(
    xp: Any, x: Any, *, size: Ints, axis: Ints, window: Ints, stride: Ints, dilation: Ints
) -> Any:
    rank = x.ndim - len(axis)
    shape = list(x.shape[:rank])
    for a, full in zip(axis, size, strict=True):
        shape[a] = full
    folded = np.zeros(shape, x.dtype)
    for offsets in np.ndindex(*window):
        place = [slice(None)] * rank
        for a, o, s, d in zip(axis, offsets, stride, dilation, strict=True):
            place[a] = slice(o * d, o * d + (x.shape[a] - 1) * s + 1, s)
        folded[tuple(place)] += x[(..., *offsets)]
    return folded


def _unfold_vjp(ct: Node, y: Node, x: Node, *, axis: Ints, **windows: Any) -> VJP:
    return (FOLD(ct, size=tuple(int(x.type.shape[a]) for a in axis), axis=axis, **windows),)


UNFOLD = Primitive("unfold", Kind.VIEW, _unfold, _unfold_type, _unfold_vjp, None, None, "windows")
FOLD = Primitive(
    "fold", Kind.INDEX, _fold, _fold_type,
    lambda ct, y, x, *, size, **windows: (UNFOLD(ct, **windows),), None, None, "Σ windows",
)  # fmt: skip


def unfold(
    x: Operand, axis: Sequence[int], window: Sequence[int], *, stride: Any = 1, dilation: Any = 1
) -> Node:
    """All windows along some axes, as new trailing axes (numpy's sliding_window_view, strided).

    >>> import minigrad as mg
    >>> mg.unfold(mg.input("x", ("N", 3, 8, 8)), axis=(2, 3), window=(2, 2), stride=2)
    <unfold f32[N,3,4,4,2,2]>
    """
    node = as_node(x)
    axes = axes_of("unfold", axis, node)
    many = [(v,) * len(axes) if isinstance(v, int) else tuple(v) for v in (stride, dilation)]
    return UNFOLD(node, axis=axes, window=tuple(window), stride=many[0], dilation=many[1])
