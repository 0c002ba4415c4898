"""Leaves: where values enter a graph; and how Python numbers and arrays become nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..ir import (
    DTypeError,
    GraphError,
    Kind,
    Node,
    Primitive,
    ShapeError,
    TensorType,
    as_dtype,
    as_shape,
    float_like,
    normalize_axes,
    place,
    promote,
    qualified,
)
from ..ir.scope import HERE, caller
from ..ir.types import BOOL, DEFAULT_FLOAT, INT64, SHORT_NAMES

Operand: TypeAlias = "Node | float | np.ndarray[Any, Any] | Sequence[Any]"
Initializer: TypeAlias = Callable[..., np.ndarray[Any, Any]]  # (rng, shape, dtype) -> array


_SCALARS = {dtype: TensorType((), dtype) for dtype in SHORT_NAMES}


def _typed(*, name: str, shape: Any, dtype: Any, **rest: Any) -> TensorType:
    return TensorType(shape, dtype) if shape else _SCALARS[dtype]


def _constant_type(*, value: np.ndarray[Any, Any]) -> TensorType:
    return TensorType(value.shape, value.dtype) if value.shape else _SCALARS[value.dtype]


INPUT = Primitive("input", Kind.LEAF, None, _typed, None)
PARAMETER = Primitive("parameter", Kind.LEAF, None, _typed, None)
STATE = Primitive("state", Kind.LEAF, None, _typed, None)
CONSTANT = Primitive("constant", Kind.LEAF, None, _constant_type, None)


def input(name: str, shape: Any = (), dtype: Any = "float32") -> Node:
    """A value that the caller feeds; a dim that is a name, such as ``"N"``, is any size.

    >>> input("x", ("N", 64))
    <input 'x' f32[N,64]>
    """
    return INPUT(
        name=_name(name), shape=_shape("input", shape), dtype=checked_dtype("input", dtype)
    )


def parameter(
    name: str,
    value: Operand | Initializer,
    shape: Any = None,
    *,
    dtype: Any = None,
    trainable: bool = True,
    weight_decay: bool = True,
    constraint: Callable[[Node], Node] | None = None,
) -> Node:
    """A weight: a leaf that optimisers move, called ``scope/name``.

    ``value`` is its start: numbers, or an initialiser ``(rng, shape, dtype) -> array`` together
    with ``shape``. ``trainable=False`` and ``weight_decay=False`` tell optimisers to leave it
    alone, or not to shrink it; ``constraint`` is applied to every new value.

    >>> parameter("gamma", [1.0, 1.0])
    <parameter 'gamma' f32[2]>
    """
    attrs = _started("parameter", name, value, shape, dtype)
    if not trainable:
        attrs["trainable"] = False
    if not weight_decay:
        attrs["weight_decay"] = False
    if constraint is not None:
        attrs["constraint"] = constraint
    return PARAMETER(**attrs)


def state(name: str, value: Operand | Initializer, shape: Any = None, *, dtype: Any = None) -> Node:
    """A value that a training step carries on: a running mean, a counter. Called ``scope/name``.

    >>> state("running_mean", [0.0, 0.0])
    <state 'running_mean' f32[2]>
    """
    return STATE(**_started("state", name, value, shape, dtype))


def constant(value: Any, dtype: Any = None) -> Node:
    """A value that never changes; arrays keep their dtype, Python floats are float32.

    >>> constant(2.5), constant([1, 2])
    (<constant f32[]>, <constant i64[2]>)
    """
    if isinstance(value, Node):
        raise GraphError(f"constant: {value!r} is already a node{_here()}")
    return CONSTANT(value=_array("constant", value, dtype))


def as_node(value: Operand, like: np.dtype[Any] | None = None) -> Node:
    """``value`` if it is a node, else a constant; a Python number takes the dtype ``like``."""
    if isinstance(value, Node):
        return value
    if like is not None and isinstance(value, bool | int | float | np.generic):
        value = np.asarray(value, _weak(value, like))
    return constant(value)


def same_dtype(*values: Operand) -> tuple[Node, ...]:
    """Nodes of one dtype from nodes, numbers and arrays, by the rule of `minigrad.ir.types`."""
    from .elementwise import cast

    dtypes = [v.type.dtype if isinstance(v, Node) else _strong_dtype(v) for v in values]
    strong = [dtype for dtype in dtypes if dtype is not None]
    target = promote(*strong) if strong else BOOL
    for value, dtype in zip(values, dtypes, strict=True):
        if dtype is None:
            target = _weak(value, target)
    nodes = [as_node(value, target) for value in values]
    return tuple(node if node.type.dtype == target else cast(node, target) for node in nodes)


def floating(value: Operand) -> Node:
    """``value`` as a node of float dtype; ints become float32."""
    from .elementwise import cast

    node = as_node(value)
    return node if node.type.is_float else cast(node, float_like(node.type.dtype))


def initial_value(leaf: Node, seed: int) -> np.ndarray[Any, Any]:
    """The array that a parameter or state starts from; the same whatever else is in the graph."""
    start = leaf.attrs["init"]
    if isinstance(start, np.ndarray):
        return start.astype(leaf.dtype)  # a copy: an executable may write into its state
    rng = np.random.default_rng([seed, *leaf.name.encode()])
    found = np.asarray(start(rng, leaf.shape, leaf.dtype), dtype=leaf.dtype)
    if found.shape != leaf.shape:
        raise ShapeError(
            f"{leaf.name}: its initialiser gave shape {list(found.shape)}, the {leaf.prim.name} "
            f"has {list(leaf.shape)}{place(leaf.scope, leaf.source)}"
        )
    return found


def _started(kind: str, name: str, value: Any, shape: Any, dtype: Any) -> dict[str, Any]:
    if isinstance(value, Node):
        raise GraphError(f"{kind}: the start of {name!r} is {value!r}, not numbers{_here()}")
    if callable(value):
        if shape is None:
            raise ShapeError(f"{kind}: {name!r} has an initialiser, so it needs a shape{_here()}")
        start, found = value, checked_dtype(kind, dtype or DEFAULT_FLOAT)
        full = _shape(kind, shape)
    else:
        start = _array(kind, value, dtype)
        full, found = (start.shape if shape is None else _shape(kind, shape)), start.dtype
        if start.shape != full:
            start = _repeated(kind, name, start, _static(kind, name, full))
    _static(kind, name, full)
    return {"name": qualified(_name(name)), "shape": full, "dtype": found, "init": start}


def _repeated(kind: str, name: str, start: Any, shape: Any) -> Any:
    try:
        return np.broadcast_to(start, shape)
    except ValueError:
        raise ShapeError(
            f"{kind}: the numbers for {name!r} are {list(start.shape)}, they do not fit the shape "
            f"{list(shape)}{_here()}"
        ) from None


def _static(kind: str, name: str, shape: Any) -> Any:
    if not all(isinstance(dim, int) for dim in shape):
        raise ShapeError(f"{kind}: {name!r} has a named dim in {shape}; it must be ints{_here()}")
    return shape


def _array(kind: str, value: Any, dtype: Any) -> np.ndarray[Any, Any]:
    try:
        array = np.array(value)
    except ValueError:
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"{kind}: {value!r} is not made of numbers{_here()}")
    if dtype is not None:
        array = array.astype(checked_dtype(kind, dtype))
    elif array.dtype.kind == "f" and not isinstance(value, np.ndarray | np.generic):
        array = array.astype(DEFAULT_FLOAT)
    elif array.dtype.kind in "iu" and array.dtype.name not in ("int32", "int64"):
        array = array.astype(INT64)
    else:
        checked_dtype(kind, array.dtype)
    array.flags.writeable = False
    return array


def _strong_dtype(value: Any) -> np.dtype[Any] | None:
    if isinstance(value, bool | int | float | np.generic):
        return None
    found: np.dtype[Any] = _array("constant", value, None).dtype
    return found


def _weak(value: Any, like: np.dtype[Any]) -> np.dtype[Any]:
    kind = np.asarray(value).dtype.kind
    if kind == "f":
        return float_like(like)
    return INT64 if kind in "iu" and like == BOOL else like


def _name(name: str) -> str:
    if not isinstance(name, str) or not name:
        raise GraphError(f"a leaf's name must be text, not {name!r}{_here()}")
    return name


def _shape(kind: str, shape: Any) -> Any:
    try:
        return as_shape(shape)
    except (ShapeError, TypeError) as error:
        raise ShapeError(f"{kind}: {error}{_here()}") from None


def checked_dtype(kind: str, dtype: Any) -> np.dtype[Any]:
    try:
        return as_dtype(dtype)
    except DTypeError as error:
        raise DTypeError(f"{kind}: {error}{_here()}") from None


def axes_of(op: str, axis: Any, node: Node, new: int = 0) -> tuple[int, ...]:
    """Axes of ``node``, or of one with ``new`` axes more; the error names ``op``."""
    try:
        return normalize_axes(axis, node.ndim + new)
    except ShapeError as error:
        raise ShapeError(f"{op}: {error}, {node.type}{_here()}") from None


def _here() -> str:
    return place(HERE.scope, caller())
