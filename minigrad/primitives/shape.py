"""Ops that move elements without computing: reshape, transpose, slices, padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import (
    DTypeError,
    Kind,
    Node,
    Primitive,
    ShapeError,
    TensorType,
    broadcast_shapes,
    normalize_axes,
)
from .leaf import Operand, _here, _shape, as_node, axes_of, same_dtype

VJP = tuple[Node | None, ...]
Ints = tuple[int, ...]


# --- reshape, transpose, broadcast -----------------------------------------------------------


def _reshape_type(x: TensorType, *, shape: Any) -> TensorType:
    if _volume(x.shape) != _volume(shape):
        raise ShapeError(f"cannot reshape {x} to {list(shape)}: the numbers of elements differ")
    return TensorType(shape, x.dtype)


def _transpose_type(x: TensorType, *, axes: Ints) -> TensorType:
    if sorted(axes) != list(range(x.ndim)):
        raise ShapeError(f"axes {axes} are no permutation of the {x.ndim} axes of {x}")
    return TensorType(tuple(x.shape[a] for a in axes), x.dtype)


def _broadcast_type(x: TensorType, *, shape: Any) -> TensorType:
    try:
        fits = broadcast_shapes(x.shape, shape) == tuple(shape)
    except ShapeError:
        fits = False
    if not fits:
        raise ShapeError(f"cannot broadcast {x} to {list(shape)}")
    return TensorType(shape, x.dtype)


def _transpose_vjp(ct: Node, y: Node, x: Node, *, axes: Ints) -> VJP:
    return (transpose(ct, tuple(int(a) for a in np.argsort(axes))),)


_V = Kind.VIEW

RESHAPE = Primitive(
    "reshape", _V, lambda xp, x, *, shape: xp.reshape(x, shape), _reshape_type,
    lambda ct, y, x, *, shape: (reshape(ct, x.type.shape),), None, None, "reshape",
)  # fmt: skip
TRANSPOSE = Primitive(
    "transpose", _V, lambda xp, x, *, axes: xp.transpose(x, axes), _transpose_type,
    _transpose_vjp, None, "Transpose", "T",
)  # fmt: skip
BROADCAST_TO = Primitive(
    "broadcast_to", _V, lambda xp, x, *, shape: xp.broadcast_to(x, shape), _broadcast_type,
    lambda ct, y, x, *, shape: (ct,), None, None, "broadcast",
)  # fmt: skip


def reshape(x: Operand, shape: Any) -> Node:
    """The same elements, in the same order, in another shape; one dim may be -1.

    A named dim must stand on both sides, so -1 can replace ints only.

    >>> import minigrad as mg
    >>> mg.reshape(mg.input("x", ("N", 8, 8)), ("N", -1))
    <reshape f32[N,64]>
    """
    node = as_node(x)
    dims = (shape,) if isinstance(shape, int | str) else tuple(shape)
    if dims.count(-1) > 1:
        raise ShapeError(f"reshape: only one dim of {list(dims)} may be -1{_here()}")
    if -1 in dims:
        dims = _without_minus_one(node.type, dims)
    return RESHAPE(node, shape=_shape("reshape", dims))


def transpose(x: Operand, axes: Sequence[int] | None = None) -> Node:
    """The axes in another order; reversed by default."""
    node = as_node(x)
    axes = tuple(range(node.ndim))[::-1] if axes is None else tuple(axes)
    return TRANSPOSE(node, axes=tuple(a % node.ndim if -node.ndim <= a < 0 else a for a in axes))


def broadcast_to(x: Operand, shape: Any) -> Node:
    """``x`` repeated along new axes and axes of size 1, without copying."""
    node = as_node(x)
    wanted = _shape("broadcast_to", shape)
    return node if node.type.shape == wanted else BROADCAST_TO(node, shape=wanted)


def expand_dims(x: Operand, axis: int) -> Node:
    """``x`` with a new axis of size 1 at ``axis``."""
    node = as_node(x)
    (at,) = axes_of("expand_dims", axis, node, new=1)
    return reshape(node, (*node.type.shape[:at], 1, *node.type.shape[at:]))


def squeeze(x: Operand, axis: Any) -> Node:
    """``x`` without the axes named, each of size 1."""
    node = as_node(x)
    axes = axes_of("squeeze", axis, node)
    for dim in (node.type.shape[a] for a in axes):
        if dim != 1:
            raise ShapeError(
                f"squeeze: cannot drop a dim {dim} of {node.type}, only a dim 1{_here()}"
            )
    return reshape(node, tuple(d for i, d in enumerate(node.type.shape) if i not in axes))


# --- slice, pad, concatenate -----------------------------------------------------------------


def _slice_type(x: TensorType, *, start: Ints, stop: Any, step: Ints) -> TensorType:
    if not len(start) == len(stop) == len(step) == x.ndim:
        raise ShapeError(f"start, stop and step need an entry for each of the axes of {x}")
    dims: list[Any] = []
    for dim, a, b, s in zip(x.shape, start, stop, step, strict=True):
        if isinstance(dim, str):
            if (a, b, s) != (0, None, 1):
                raise ShapeError(f"cannot slice the named dim {dim!r} of {x}: its size is unknown")
            dims.append(dim)
        elif s < 1 or not 0 <= a <= b <= dim:
            raise ShapeError(f"slice {a}:{b}:{s} is outside the dim {dim} of {x}")
        else:
            dims.append(len(range(a, b, s)))
    return TensorType(tuple(dims), x.dtype)


def _pad_type(x: TensorType, *, pad_width: Any, interior: Ints, value: float) -> TensorType:
    if not len(pad_width) == len(interior) == x.ndim:
        raise ShapeError(f"pad_width needs a (before, after) pair for each of the axes of {x}")
    dims: list[Any] = []
    for dim, (low, high), gap in zip(x.shape, pad_width, interior, strict=True):
        if low < 0 or high < 0 or gap < 0:
            raise ShapeError(f"pad_width {pad_width} is negative; slice instead")
        if isinstance(dim, str):
            if low or high or gap:
                raise ShapeError(f"cannot pad the named dim {dim!r} of {x}: its size is unknown")
            dims.append(dim)
        else:
            dims.append(low + dim + max(dim - 1, 0) * gap + high)
    return TensorType(tuple(dims), x.dtype)


def _concatenate_type(*types: TensorType, axis: int) -> TensorType:
    first = types[0]
    normalize_axes(axis, first.ndim)
    total = 0
    for found in types:
        other = [d for i, d in enumerate(found.shape) if i != axis]
        if found.dtype != first.dtype:
            raise DTypeError(f"cannot join {first} and {found}; cast one")
        if found.ndim != first.ndim:
            raise ShapeError(f"cannot join {first} and {found}: their ranks differ")
        if other != [d for i, d in enumerate(first.shape) if i != axis]:
            raise ShapeError(f"cannot join {first} and {found} along axis {axis}")
        size = found.shape[axis]
        if isinstance(size, str):
            raise ShapeError(f"cannot join along the named dim {size!r} of {found}")
        total += size
    return TensorType((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype)


def _slice(xp: Any, x: Any, *, start: Ints, stop: Any, step: Ints) -> Any:
    return x[tuple(map(slice, start, stop, step))]


def _pad(xp: Any, x: Any, *, pad_width: Any, interior: Ints, value: float) -> Any:
    if not any(interior):
        return xp.pad(x, pad_width, constant_values=value) if x.ndim else x
    shape = _pad_shape(x.shape, pad_width, interior)
    padded = np.full(shape, value, x.dtype)
    steps = [
        slice(low, low + max(dim - 1, 0) * (gap + 1) + 1, gap + 1) if dim else slice(0, 0)
        for dim, (low, _), gap in zip(x.shape, pad_width, interior, strict=True)
    ]
    padded[tuple(steps)] = x
    return padded


def _pad_shape(shape: Ints, pad_width: Any, interior: Ints) -> Ints:
    return tuple(
        low + dim + max(dim - 1, 0) * gap + high
        for dim, (low, high), gap in zip(shape, pad_width, interior, strict=True)
    )


def _slice_vjp(ct: Node, y: Node, x: Node, *, start: Ints, stop: Any, step: Ints) -> VJP:
    """Put the cotangents back between zeros."""
    width = []
    for dim, out, a, s in zip(x.type.shape, y.type.shape, start, step, strict=True):
        if isinstance(dim, str) or isinstance(out, str):
            width.append((0, 0))
        else:
            covered = (out - 1) * s + 1 if out else 0
            width.append((a, dim - a - covered))
    return (PAD(ct, pad_width=tuple(width), interior=tuple(s - 1 for s in step), value=0.0),)


def _pad_vjp(ct: Node, y: Node, x: Node, *, pad_width: Any, interior: Ints, value: float) -> VJP:
    start: list[int] = []
    stop: list[int | None] = []
    step: list[int] = []
    for dim, (low, _), gap in zip(x.type.shape, pad_width, interior, strict=True):
        named = isinstance(dim, str)
        start.append(low)
        stop.append(None if named else low + (max(int(dim) - 1, 0) * (gap + 1) + 1 if dim else 0))
        step.append(gap + 1)
    return (SLICE(ct, start=tuple(start), stop=tuple(stop), step=tuple(step)),)


def _concatenate_vjp(ct: Node, y: Node, *xs: Node, axis: int) -> VJP:
    cts, at = [], 0
    for x in xs:
        size = int(x.type.shape[axis])
        index = [slice(None)] * x.ndim
        index[axis] = slice(at, at + size)
        cts.append(getitem(ct, tuple(index)))
        at += size
    return tuple(cts)


SLICE = Primitive("slice", _V, _slice, _slice_type, _slice_vjp, None, None, "[:]")
PAD = Primitive("pad", _V, _pad, _pad_type, _pad_vjp, None, None, "pad")
CONCATENATE = Primitive(
    "concatenate", _V, lambda xp, *xs, axis: xp.concatenate(xs, axis=axis), _concatenate_type,
    _concatenate_vjp, None, "Concat", "concat",
)  # fmt: skip


def getitem(x: Node, index: Any) -> Node:
    """``x[index]`` with ints, slices of positive step, ``...``, None, or one node of ints.

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 8))
    >>> x[:, 2:6:2], x[:, 0]
    (<slice f32[N,2]>, <reshape f32[N]>)
    """
    from .index import take

    if isinstance(index, Node):
        return take(x, index, axis=0)
    entries = list(index) if isinstance(index, tuple) else [index]
    used = len([e for e in entries if e is not None and e is not Ellipsis])
    if used > x.ndim or entries.count(Ellipsis) > 1:
        raise ShapeError(f"slice: {index!r} has too many entries for {x.type}{_here()}")
    if Ellipsis not in entries:
        entries.append(Ellipsis)
    at = entries.index(Ellipsis)
    entries[at : at + 1] = [slice(None)] * (x.ndim - used)
    bounds: list[Any] = []
    shape: list[int | None] = []
    dims = iter(x.type.shape)
    for entry in entries:
        if entry is None:
            shape.append(1)
            continue
        bounds.append(_bounds(entry, next(dims), x))
        if isinstance(entry, slice):
            shape.append(None)
    return _sliced(x, bounds, shape)


def pad(x: Operand, pad_width: Any, *, value: float = 0.0) -> Node:
    """``x`` with ``(before, after)`` elements of ``value`` added along each axis (numpy.pad)."""
    node = as_node(x)
    width = tuple((int(low), int(high)) for low, high in pad_width)
    if not any(low or high for low, high in width):
        return node
    return PAD(node, pad_width=width, interior=(0,) * node.ndim, value=float(value))


def concatenate(xs: Sequence[Operand], axis: int = 0) -> Node:
    """The tensors one after the other along an existing axis."""
    nodes = _several("concatenate", xs)
    (at,) = axes_of("concatenate", axis, nodes[0])
    return CONCATENATE(*nodes, axis=at)


def stack(xs: Sequence[Operand], axis: int = 0) -> Node:
    """The tensors one after the other along a new axis."""
    nodes = _several("stack", xs)
    (at,) = axes_of("stack", axis, nodes[0], new=1)
    return concatenate([expand_dims(node, at) for node in nodes], at)


def _several(op: str, xs: Sequence[Operand]) -> tuple[Node, ...]:
    if not xs:
        raise ShapeError(f"{op}: needs at least one tensor{_here()}")
    return same_dtype(*xs)


def _sliced(x: Node, bounds: list[tuple[Any, Any, Any]], shape: list[Any]) -> Node:
    start, stop, step = (tuple(b[i] for b in bounds) for i in range(3))
    whole = all(b in ((0, None, 1), (0, d, 1)) for b, d in zip(bounds, x.type.shape, strict=True))
    cut = x if whole else SLICE(x, start=start, stop=stop, step=step)
    # `shape` has None for every kept axis, 1 for a new one and nothing for an int entry.
    kept = iter([d for d, b in zip(cut.type.shape, bounds, strict=True) if not b[3:]])
    final = tuple(1 if entry == 1 else next(kept) for entry in shape)
    return cut if final == cut.type.shape else reshape(cut, final)


def _bounds(entry: Any, dim: Any, x: Node) -> tuple[Any, ...]:
    """(start, stop, step), and a fourth entry when the axis goes away."""
    if isinstance(entry, slice):
        if entry.step is not None and entry.step < 1:
            raise ShapeError(
                f"slice: a step of {entry.step} leads outside the dim {dim} of {x.type}; a step "
                f"is at least 1{_here()}"
            )
        if entry == slice(None):
            return (0, None if isinstance(dim, str) else dim, 1)
        if isinstance(dim, str):
            return (entry.start or 0, entry.stop, entry.step or 1)
        start, stop, step = entry.indices(dim)
        return (start, max(start, stop), step)
    if isinstance(entry, bool) or not isinstance(entry, int | np.integer):
        raise DTypeError(f"slice: {entry!r} is no int, slice, None or ...{_here()}")
    if isinstance(dim, str):
        raise ShapeError(
            f"slice: cannot index the named dim {dim!r} of {x.type}: its size is unknown; "
            f"use mg.take{_here()}"
        )
    if not -dim <= entry < dim:
        raise ShapeError(f"slice: index {entry} is outside the dim {dim} of {x.type}{_here()}")
    at = int(entry) % dim
    return (at, at + 1, 1, "drop")


# --- shapes ----------------------------------------------------------------------------------


def _volume(shape: Any) -> tuple[int, list[str]]:
    """The product of the ints and the sorted names: equal when two shapes hold as much."""
    ints = math.prod(d for d in shape if isinstance(d, int))
    return ints, sorted(d for d in shape if isinstance(d, str)) if ints else []


def _without_minus_one(x: TensorType, dims: tuple[Any, ...]) -> tuple[Any, ...]:
    have, names = _volume(x.shape)
    known = math.prod(d for d in dims if isinstance(d, int) and d != -1)
    rest = list(names)
    for name in (d for d in dims if isinstance(d, str)):
        if name in rest:
            rest.remove(name)
    if rest or known == 0 or have % known:
        raise ShapeError(
            f"reshape: -1 in {list(dims)} cannot be an int for {x}; repeat its named dims{_here()}"
        )
    return tuple(have // known if d == -1 else d for d in dims)
