"""Rules as rows: a name, how exact it is, and both sides in the ops' own syntax.

    Rule("double negation", EXACT, lambda x: -(-x), lambda x: x)

Parameters of the left side are pattern variables; each stands for any node, and for the same node
wherever it appears. The right side takes the variables that it needs, and ``root``, the node that
matched, where it depends on shapes or attributes. `driver.rewrite` applies rows to a fixpoint.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from ..ir import Kind, Node, Primitive, TensorType
from ..primitives import as_node, broadcast_to

CONSTANTS = ("constant", "broadcast_to")  # ops of which a constant may be the result


class Strength(enum.Enum):
    """What a rule keeps."""

    EXACT = "exact"  # every bit, but for the sign of a zero
    REASSOCIATING = "reassociating"  # the real value; rounding may differ
    DOMAIN = "domain"  # the real value, where the stated condition holds


EXACT, REASSOCIATING, DOMAIN = Strength


@dataclass(frozen=True)
class Rule:
    """``left`` may be replaced by ``right``.

    ``when(root=..., **variables)`` says where it applies; ``condition`` is the mathematical
    condition of a DOMAIN rule, in words. ``cheaper`` fires only where the cost falls, for a rule
    whose two directions are both useful.

    >>> rule = Rule("double negation", EXACT, lambda x: -(-x), lambda x: x)
    >>> import minigrad as mg
    >>> a = mg.input("a", 3)
    >>> rule.apply(-(-a)) is a
    True
    """

    name: str
    strength: Strength
    left: Callable[..., Node]
    right: Callable[..., Any]
    when: Callable[..., bool] | None = None
    condition: str = ""
    cheaper: bool = False

    def __post_init__(self) -> None:
        if (self.strength is DOMAIN) != bool(self.condition):
            raise ValueError(f"rule {self.name!r}: a DOMAIN rule, and no other, states a condition")

    @cached_property
    def pattern(self) -> Node:
        """The left side over variables."""
        return self.left(*[variable(name) for name in _parameters(self.left)])

    @cached_property
    def number(self) -> float | None:
        """The constant among the operands, if there is one."""
        return next((v for i in self.pattern.inputs if (v := uniform(i)) is not None), None)

    @cached_property
    def operands(self) -> Sequence[str]:
        """The operands' names, where these are different variables and have one order; or none."""
        names = [i.attrs["name"] for i in self.pattern.inputs if i.prim is VARIABLE]
        alone = len({*names}) == len(self.pattern.inputs)
        return names if alone and self.pattern.prim.name not in COMMUTATIVE else ()

    def fits(self, operands: Sequence[str], twins: bool) -> bool:
        """Whether the left side's root op on results of such ops can be the left side.

        ``twins`` says that two of its operands are the same node.
        """
        wanted = self.pattern.inputs
        if len(operands) != len(wanted) or (not twins and len(set(wanted)) < len(wanted)):
            return False
        commutes = self.pattern.prim.name in COMMUTATIVE
        orders = [operands, operands[::-1]] if commutes else [operands]
        return any(all(map(_may_be, wanted, order)) for order in orders)

    def match(self, node: Node) -> Mapping[str, Node] | None:
        """What the variables stand for when the left side is ``node``; None when it is not."""
        found: Iterable[dict[str, Node]]
        if self.pattern.prim is node.prim and len(self.operands) == len(node.inputs) > 0:
            found = [dict(zip(self.operands, node.inputs, strict=True))]
        else:
            found = matches(self.pattern, node)
        for bound in found:
            if self.when is None or _call(self.when, bound, node):
                return bound
        return None

    def apply(self, node: Node) -> Node | None:
        """The right side, of the type of ``node``; None where the rule does not apply."""
        bound = self.match(node)
        if bound is None:
            return None
        after = as_node(_call(self.right, bound, node), node.dtype)
        if after.type.dtype != node.type.dtype:
            return None
        return after if after.type == node.type else broadcast_to(after, node.type.shape)


def uniform(node: Node) -> float | None:
    """The number that all elements of a constant are, repeated or not; None for other nodes."""
    if node.prim.name == "broadcast_to":
        node = node.inputs[0]
    if node.prim.name != "constant":
        return None
    value = node.attrs["value"]
    if not value.size:
        return 0.0  # of no elements any number is true
    same = value.size == 1 or (value == value.flat[0]).all()
    return value.item(0) if same else None


def _may_be(pattern: Node, op: str) -> bool:
    """Whether a pattern may be the result of such an op."""
    name = pattern.prim.name
    return pattern.prim is VARIABLE or name == op or (name == "constant" and op in CONSTANTS)


def _call(function: Callable[..., Any], bound: Mapping[str, Node], root: Node) -> Any:
    return function(*[root if n == "root" else bound[n] for n in _parameters(function)])


@lru_cache(1024)
def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


_FLOAT = TensorType((), np.dtype(np.float64))
_BOOL = TensorType((), np.dtype(np.bool_))

VARIABLE = Primitive(
    "variable", Kind.LEAF, None, lambda *, name: _BOOL if name == "condition" else _FLOAT, None
)  # of scalar type, so that patterns are written with the public functions


def variable(name: str) -> Node:
    """A pattern variable; one called ``condition`` stands for a bool."""
    return VARIABLE(name=name)


COMMUTATIVE = frozenset({"add", "mul", "maximum", "minimum", "equal"})


def matches(pattern: Node, node: Node) -> Iterator[dict[str, Node]]:
    """Every way in which a pattern is a node; both orders of a commutative op are tried."""
    return _matches([(pattern, node)], {})


def _matches(pairs: list[tuple[Node, Node]], bound: dict[str, Node]) -> Iterator[dict[str, Node]]:
    if not pairs:
        yield bound
        return
    (pattern, node), *rest = pairs
    op = pattern.prim.name
    if pattern.prim is VARIABLE:
        name = pattern.attrs["name"]
        known = bound.get(name)
        if known is None or known is node:
            yield from _matches(rest, {**bound, name: node})
    elif op == "constant":
        if uniform(node) == uniform(pattern):
            yield from _matches(rest, bound)
    elif op == node.prim.name and len(pattern.inputs) == len(node.inputs):
        straight = list(zip(pattern.inputs, node.inputs, strict=True))
        yield from _matches([*straight, *rest], bound)
        if op in COMMUTATIVE:
            crossed = list(zip(pattern.inputs, node.inputs[::-1], strict=True))
            yield from _matches([*crossed, *rest], bound)
