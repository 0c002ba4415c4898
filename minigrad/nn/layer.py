"""What a layer is: frozen configuration, and a call that builds nodes in the layer's scope."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..ir import (
    HERE,
    GraphError,
    Node,
    Scope,
    ShapeError,
    enter,
    float_like,
    place,
    promote,
    scope_path,
)
from ..ir.scope import caller
from ..ir.types import FLOAT32
from ..primitives import Initializer, Operand, as_node, parameter, penalized, state

Regularizer: TypeAlias = Callable[[Node], Node]
Constraint: TypeAlias = Callable[[Node], Node]


@dataclass(frozen=True, eq=False)
class Layer(ABC):
    """Configuration plus ``layer(x) -> Node``.

    The first call makes the parameters, in the current scope under ``name``; every later call
    uses the same parameters and the same scope, so a layer called twice is a shared layer.
    """

    name: str | None = field(default=None, kw_only=True)
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, x: Operand) -> Node:
        with self.inside():
            return self.build(as_node(x))

    def inside(self) -> AbstractContextManager[Scope]:
        """The layer's scope, the same at every call."""
        own = scope_path(self.name) if self.name else ()
        path = self._made.setdefault("path", HERE.scope.path + own)
        return enter(Scope(path, HERE.scope.order))

    @abstractmethod
    def build(self, x: Node) -> Node:
        """The layer's nodes, in its scope."""

    def made(self, name: str, make: Callable[[], Node]) -> Node:
        """The node ``name`` of this layer, made at the first call."""
        if name not in self._made:
            self._made[name] = make()
        found: Node = self._made[name]
        return found

    def weight(
        self,
        name: str,
        like: Node,
        start: Initializer,
        shape: tuple[int, ...],
        *,
        regularizer: Regularizer | None = None,
        **facts: Any,
    ) -> Node:
        """A parameter in the float dtype of ``like``, its penalty (if any) attached."""

        def make() -> Node:
            leaf = parameter(name, start, shape, dtype=float_like(like.type.dtype), **facts)
            return leaf if regularizer is None else penalized(leaf, regularizer(leaf))

        return self.made(name, make)

    def memory(self, name: str, like: Node, start: Initializer, shape: tuple[int, ...]) -> Node:
        """A state in the float dtype of ``like``, at least float32: in float16 EMAs stall."""
        dtype = promote(float_like(like.type.dtype), FLOAT32)
        return self.made(name, lambda: state(name, start, shape, dtype=dtype))

    def size(self, x: Node, axis: int, expected: int | None = None) -> int:
        """The static size of an axis of ``x``; ShapeError when it is unknown or another one."""
        dim = x.type.shape[axis] if -x.ndim <= axis < x.ndim else None
        if not isinstance(dim, int) or expected not in (None, dim):
            wanted = "a known size" if expected is None else str(expected)
            self.demand(False, f"needs {wanted} along axis {axis}, was given {x.type}", ShapeError)
        assert isinstance(dim, int)
        return dim

    def demand(self, holds: bool, problem: str, error: type[GraphError] = GraphError) -> None:
        """Raise ``error``, naming layer, scope and line, unless something holds."""
        if not holds:
            raise error(f"{type(self).__name__}: {problem}{place(HERE.scope, caller())}")
