"""The node: one value of a graph; and the primitive: one row with everything known of an op.

Flow: a public function (``mg.add``) turns its arguments into nodes and calls its row; the row
infers the type, or raises an error that names op, types, scope and line; a frozen node comes out.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .errors import GraphError
from .scope import HERE, Scope, Source, caller, place, source_text
from .types import Shape, TensorType

NO_ATTRS: Mapping[str, Any] = MappingProxyType({})

# What the operators call; `minigrad.primitives` fills it, so that `ir` imports nothing above it.
OPERATORS: dict[str, Callable[..., Node]] = {}


class Kind(enum.Enum):
    """What a backend has to know of an op before it knows the op."""

    LEAF = "leaf"
    ELEMENTWISE = "elementwise"
    REDUCTION = "reduction"
    VIEW = "view"
    CONTRACTION = "contraction"
    INDEX = "index"
    MARKER = "marker"  # identity on its first operand; never inside a Graph


class Operators:
    """Python's operators on nodes; each is the public function of the same name."""

    __slots__ = ()
    __array_ufunc__ = None  # ndarray + Node asks Node.__radd__

    def __add__(self, other: Any) -> Node:
        return OPERATORS["add"](self, other)

    def __radd__(self, other: Any) -> Node:
        return OPERATORS["add"](other, self)

    def __sub__(self, other: Any) -> Node:
        return OPERATORS["sub"](self, other)

    def __rsub__(self, other: Any) -> Node:
        return OPERATORS["sub"](other, self)

    def __mul__(self, other: Any) -> Node:
        return OPERATORS["mul"](self, other)

    def __rmul__(self, other: Any) -> Node:
        return OPERATORS["mul"](other, self)

    def __truediv__(self, other: Any) -> Node:
        return OPERATORS["div"](self, other)

    def __rtruediv__(self, other: Any) -> Node:
        return OPERATORS["div"](other, self)

    def __pow__(self, other: Any) -> Node:
        return OPERATORS["pow"](self, other)

    def __rpow__(self, other: Any) -> Node:
        return OPERATORS["pow"](other, self)

    def __matmul__(self, other: Any) -> Node:
        return OPERATORS["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> Node:
        return OPERATORS["matmul"](other, self)

    def __neg__(self) -> Node:
        return OPERATORS["neg"](self)

    def __abs__(self) -> Node:
        return OPERATORS["abs"](self)

    def __lt__(self, other: Any) -> Node:
        return OPERATORS["less"](self, other)

    def __le__(self, other: Any) -> Node:
        return OPERATORS["less_equal"](self, other)

    def __gt__(self, other: Any) -> Node:
        return OPERATORS["less"](other, self)

    def __ge__(self, other: Any) -> Node:
        return OPERATORS["less_equal"](other, self)

    def __getitem__(self, index: Any) -> Node:
        return OPERATORS["getitem"](self, index)

    def __iter__(self) -> Iterator[Node]:
        raise TypeError(
            f"{self!r} cannot be iterated; index it, or iterate over a static dim"
            f"{place(HERE.scope, caller())}"
        )

    def __bool__(self) -> bool:
        raise TypeError(
            f"{self!r} has no truth value: it is a node, not a number; use mg.where"
            f"{place(HERE.scope, caller())}"
        )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Node(Operators):
    """A value in the graph, made by a primitive from other nodes. Identity equality.

    ``inputs`` are the operands in order, ``attrs`` the static arguments, ``type`` the shape and
    dtype, ``scope`` and ``source`` say where the node comes from and never change what it means.
    """

    prim: Primitive
    inputs: tuple[Node, ...]
    attrs: Mapping[str, Any]
    type: TensorType
    scope: Scope
    source: Source | None = None

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.type.dtype

    @property
    def ndim(self) -> int:
        return len(self.type.shape)

    @property
    def name(self) -> str:
        """A leaf's name; the empty text for every other node."""
        return str(self.attrs.get("name", ""))

    @property
    def line(self) -> str:
        """The user's line that built this node: ``model.py:41``."""
        return source_text(self.source)

    @property
    def T(self) -> Node:
        """The node with its axes reversed."""
        return OPERATORS["transpose"](self)

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        inside = f" in {self.scope}" if self.scope.path or self.scope.order else ""
        return f"<{self.prim.name}{name} {self.type}{inside}>"


@dataclass(frozen=True, slots=True, eq=False)
class Primitive:
    """One row: everything the engine knows about an op.

    ``eval(xp, *arrays, **attrs)`` computes it with numpy (or a module like it). ``infer(*types,
    **attrs)`` gives the result's type or raises. ``vjp(ct, y, *xs, **attrs)`` gives one cotangent
    node, or None, per input; it never un-broadcasts, `grad` does. ``vjp=None`` says that no
    gradient flows. ``kernel`` is the scalar expression of an elementwise op for fused loops,
    ``onnx`` an operator's name where attributes map one to one, ``symbol`` the label in pictures.
    """

    name: str
    kind: Kind
    eval: Callable[..., Any] | None
    infer: Callable[..., TensorType]
    vjp: Callable[..., tuple[Node | None, ...]] | None
    kernel: str | None = None
    onnx: str | None = None
    symbol: str = ""

    def __call__(self, *inputs: Node, **attrs: Any) -> Node:
        """Build the node ``self(*inputs, **attrs)`` in the current scope."""
        try:
            type_ = self.infer(*[node.type for node in inputs], **attrs)
        except GraphError as error:
            raise type(error)(f"{self.name}: {error}{place(HERE.scope, caller())}") from None
        source = HERE.source or caller()
        return _new_node(self, inputs, attrs or NO_ATTRS, type_, HERE.scope, source)

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"


def rebuild(node: Node, inputs: tuple[Node, ...], attrs: Mapping[str, Any] | None = None) -> Node:
    """The same op on other inputs, in the same scope and from the same line, its type re-inferred.

    >>> import minigrad as mg
    >>> x, y = mg.input("x", 3), mg.input("y", 5)
    >>> rebuild(mg.exp(x), (y,)).type
    f32[5]
    """
    attrs = node.attrs if attrs is None else attrs
    if attrs is node.attrs and _of_same_types(inputs, node.inputs):
        return rewire(node, inputs)
    try:
        type_ = node.prim.infer(*[i.type for i in inputs], **attrs)
    except GraphError as error:
        message = f"{node.prim.name}: {error}{place(node.scope, node.source)}"
        raise type(error)(message) from None
    return _new_node(node.prim, inputs, attrs, type_, node.scope, node.source)


def rewire(node: Node, inputs: tuple[Node, ...]) -> Node:
    """The same op on other nodes of exactly its operands' types, which nobody checks again."""
    return _new_node(node.prim, inputs, node.attrs, node.type, node.scope, node.source)


def _of_same_types(nodes: tuple[Node, ...], others: tuple[Node, ...]) -> bool:
    if len(nodes) != len(others):
        return False
    for node, other in zip(nodes, others, strict=True):
        a, b = node.type, other.type
        if a is not b and (a.shape != b.shape or a.dtype != b.dtype):
            return False
    return True


def node_key(node: Node, inputs: tuple[Node, ...]) -> Hashable:
    """What is equal for equal ops on the very same operands."""
    return node.prim, inputs, attrs_key(node.attrs) if node.attrs else ()


def attrs_key(attrs: Mapping[str, Any]) -> Hashable:
    """Static arguments as a key: equal for equal bytes, of the same types."""
    if len(attrs) < 2:
        return tuple([(name, _hashable(value)) for name, value in attrs.items()])
    return tuple([(name, _hashable(value)) for name, value in sorted(attrs.items())])


def _hashable(value: Any) -> Hashable:
    kind = type(value)
    if kind in _PLAIN:
        return value, kind
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, float):
        return value.hex()  # 0.0 and -0.0 are equal, and not the same
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value, kind


_PLAIN = frozenset({int, bool, str})


class _Draft(Operators):
    """A node under construction: a frozen dataclass's own __init__ takes three times as long."""

    __slots__ = ("attrs", "inputs", "prim", "scope", "source", "type")

    if TYPE_CHECKING:
        __class__: ClassVar[Any]


def _new_node(
    prim: Primitive,
    inputs: tuple[Node, ...],
    attrs: Mapping[str, Any],
    type_: TensorType,
    scope: Scope,
    source: Source | None,
) -> Node:
    draft: Any = _Draft()
    draft.prim = prim
    draft.inputs = inputs
    draft.attrs = attrs
    draft.type = type_
    draft.scope = scope
    draft.source = source
    draft.__class__ = Node  # same slots; from here on it is frozen
    node: Node = draft
    return node
