"""What a node costs to compute: the work that a rewrite must not increase.

Roughly the array elements an op reads or writes, weighed by how slow its arithmetic is, and a
small constant an op. A named dim counts as `NOMINAL` elements: what happens for every example
of a batch matters more than what happens once a channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from ..ir import Kind, Node, Primitive, Shape, toposort

NOMINAL = 1024
OP = 8.0  # elements that starting an op is worth
SLOW = {"exp": 6.0, "log": 6.0, "log1p": 6.5, "tanh": 8.0, "erf": 10.0, "sqrt": 2.0}


def cost(roots: Iterable[Node]) -> float:
    """The cost of computing all roots, each shared node once.

    >>> import minigrad as mg
    >>> x = mg.input("x", 100)
    >>> cost([x + x]), cost([x + x, x + x])
    (108.0, 216.0)
    """
    return sum(cost_of(node) for node in toposort(roots))


class Form(NamedTuple):
    """Some values as nodes, and all that these need, in topological order."""

    roots: list[Node]
    order: Sequence[Node]


def cheapest(*forms: Form) -> Form:
    """The first of the cheapest forms."""
    totals = [math.fsum(map(cost_of, form.order)) for form in forms]  # exact, in any order
    return forms[totals.index(min(totals))]


def cost_of(node: Node) -> float:
    """The cost of one op, its operands apart."""
    cost = _by_result(node.prim, node.type.shape)
    return _by_operands(node) if cost is None else cost


@lru_cache(4096)
def _by_result(prim: Primitive, shape: Shape) -> float | None:
    """The cost of an op where its result's shape decides it."""
    if prim.kind is Kind.LEAF:
        return 0.0
    if prim.name in ("broadcast_to", "reshape", "stop_gradient", "count"):
        return 1.0
    if prim.kind is Kind.ELEMENTWISE and prim.name != "pow":
        return OP + elements(shape) * SLOW.get(prim.name, 1)
    return None


def _by_operands(node: Node) -> float:
    if node.prim.name == "pow":
        return OP + elements(node.type.shape) * _power(node)
    if node.prim.kind is Kind.CONTRACTION:
        return OP + elements(node.type.shape) * elements(node.inputs[0].type.shape[-1:])
    return OP + max([elements(i.type.shape) for i in (node, *node.inputs)])


@lru_cache(1024)
def elements(shape: Shape) -> float:
    """How many elements a shape has, a named dim taken as `NOMINAL`."""
    return float(math.prod([NOMINAL if isinstance(dim, str) else dim for dim in shape]))


def _power(node: Node) -> float:
    exponent = node.inputs[1]
    simple = exponent.prim.name == "constant" and exponent.attrs["value"].size == 1
    return 1.0 if simple and exponent.attrs["value"].item() in (2.0, -1.0) else 10.0
