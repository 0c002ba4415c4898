"""What a node costs to compute: the work that a rewrite must not increase.

Roughly the array elements an op reads or writes, weighed by how slow its arithmetic is, and a
small constant an op. A named dim counts as `NOMINAL` elements: what happens for every example
of a batch matters more than what happens once a channel.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

from ..ir import Kind, Node, Primitive, Shape, toposort
from ..primitives.elementwise import POW
from ..primitives.leaf import CONSTANT

NOMINAL = 1024
OP = 8.0  # elements that starting an op is worth
SLOW = {"exp": 6.0, "log": 6.0, "log1p": 6.5, "tanh": 8.0, "erf": 10.0, "sqrt": 2.0}

_shape = attrgetter("type.shape")


class TooDearError(Exception):
    """A form costs more than the one that it was to replace."""


def cost(roots: Iterable[Node]) -> float:
    """The cost of computing all roots, each shared node once.

    >>> import minigrad as mg
    >>> x = mg.input("x", 100)
    >>> cost([x + x]), cost([x + x, x + x])
    (108.0, 216.0)
    """
    return total(toposort(roots))


class Form(NamedTuple):
    """Some values as nodes, and all nodes that their computation is charged with."""

    roots: list[Node]
    nodes: Collection[Node]


def cheapest(*forms: Form) -> Form:
    """The first of the cheapest forms."""
    totals = [total(form.nodes) for form in forms]
    return forms[totals.index(min(totals))]


def total(nodes: Collection[Node]) -> float:
    """The costs of some ops together: exact, so that it is the same in any order."""
    costs = [
        _by_operands(n) if (c := _by_result(n.prim, n.type.shape)) is None else c for n in nodes
    ]
    return math.fsum(costs)


def cost_of(node: Node) -> float:
    """The cost of one op, its operands apart."""
    cost = _by_result(node.prim, node.type.shape)
    return _by_operands(node) if cost is None else cost


@lru_cache(1 << 12)
def _by_result(prim: Primitive, shape: Shape) -> float | None:
    """The cost of an op where its result's shape decides it."""
    if prim.kind is Kind.LEAF:
        return 0.0
    if prim.name in ("broadcast_to", "reshape", "stop_gradient", "count"):
        return 1.0
    if prim.kind is Kind.ELEMENTWISE and prim is not POW:
        return OP + elements(shape) * SLOW.get(prim.name, 1)
    return None


def _by_operands(node: Node) -> float:
    if node.prim is POW:
        return OP + elements(node.type.shape) * _power(node.inputs[1])
    return _by_shapes(node.prim, node.type.shape, *map(_shape, node.inputs))


@lru_cache(1 << 12)
def _by_shapes(prim: Primitive, shape: Shape, *operands: Shape) -> float:
    if prim.kind is Kind.CONTRACTION:
        return OP + elements(shape) * elements(operands[0][-1:])
    return OP + max(map(elements, (shape, *operands)))


@lru_cache(1024)
def elements(shape: Shape) -> float:
    """How many elements a shape has, a named dim taken as `NOMINAL`."""
    return float(math.prod([NOMINAL if isinstance(dim, str) else dim for dim in shape]))


def _power(exponent: Node) -> float:
    """How slow a power is."""
    value = exponent.attrs["value"] if exponent.prim is CONSTANT else None
    return 1.0 if value is not None and value.size == 1 and value.item() in (2.0, -1.0) else 10.0
