"""The structure that `find_norms` reads: who feeds whom, and where all paths meet.

Everything here is bounded: a walk from one root visits at most `REACH` nodes, so that a graph of
50,000 nodes costs what its roots cost.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..ir import Node, Shape, consumers, depending_on, is_leaf

REACH = 240  # nodes of one walk; a normaliser and its gradient have fewer than 60

VIEWS = frozenset({"reshape", "transpose"})
REDUCTIONS = frozenset({"mean", "sum", "matmul"})

# Ops that are analytic in their operands: an identity between two such formulas that holds at
# random points holds everywhere. That is what makes a check by numbers a certificate.
_ANALYTIC = frozenset(
    {"add", "sub", "mul", "div", "neg", "sqrt", "exp", "log", "mean", "sum", "count",
     "reshape", "transpose", "broadcast_to", "stop_gradient"}
)  # fmt: skip


@dataclass(frozen=True)
class Flow:
    """A graph's nodes in order; ``active`` are those whose values the sources reach."""

    order: Sequence[Node]
    position: dict[Node, int]
    uses: dict[Node, list[Node]]
    active: set[Node]
    fixed: set[Node]  # made of constants alone

    @classmethod
    def of(cls, order: Sequence[Node], sources: Iterable[Node]) -> Flow:
        position = {node: i for i, node in enumerate(order)}
        fixed = {node for node in order if node.prim.name == "constant"}
        for node in order:
            if node.inputs and fixed.issuperset(node.inputs):
                fixed.add(node)
        return cls(order, position, consumers(order), reached(order, sources), fixed)

    def analytic(self, node: Node) -> bool:
        """Whether a walk may pass through ``node``, because identities carry over it."""
        name = node.prim.name
        if name in _ANALYTIC:
            return True
        if name == "pow":
            return node.inputs[1] in self.fixed
        if name == "cast":
            return node.type.is_float and node.inputs[0].type.is_float
        if name == "matmul":  # a mean written as a product with ones / n
            return any(operand in self.fixed for operand in node.inputs)
        return self.is_clamp(node)

    def is_clamp(self, node: Node) -> bool:
        """``maximum(v, 0)``, which some write around ``E[x^2] - E[x]^2``."""
        return node.prim.name == "maximum" and any(map(_is_zero, node.inputs))

    def gateways(self, end: Node, known: Iterable[Node] = ()) -> Iterator[tuple[Node, list[Node]]]:
        """Nodes that all paths from the sources to ``end`` pass, nearest first; what is between.

        The latest node is expanded first, so when it is the only one left, every path passes it
        (a dominator). Nodes of ``known`` count as given. The list is the nodes that depend on the
        gateway and lead to ``end``, ``end`` first; it grows from one gateway to the next.
        """
        stop = set(known)
        pending = [-self.position[end]]
        seen = {end}
        between: list[Node] = []
        while pending and len(between) < REACH:
            node = self.order[-heapq.heappop(pending)]
            if not pending and node is not end:
                yield node, between
            if is_leaf(node) or not self.analytic(node):
                return
            between.append(node)
            for operand in node.inputs:
                if operand in self.active and operand not in seen and operand not in stop:
                    seen.add(operand)
                    heapq.heappush(pending, -self.position[operand])

    def span(self, start: Iterable[Node], known: Iterable[Node] = ()) -> list[Node]:
        """Nodes that are functions of ``start``, of ``known`` and of what no source reaches."""
        begin = list(start)
        inside = {*begin, *known}
        pending = [self.position[use] for node in begin for use in self.uses[node]]
        heapq.heapify(pending)
        found: dict[Node, None] = dict.fromkeys(begin)
        tried: set[int] = set()
        while pending and len(tried) < REACH:
            at = heapq.heappop(pending)
            node = self.order[at]
            if at in tried or node in inside:
                continue
            tried.add(at)
            if not self.analytic(node) or node.prim.name == "count":
                continue
            if all(o in inside or o not in self.active for o in node.inputs):
                inside.add(node)
                found[node] = None
                for use in self.uses[node]:
                    heapq.heappush(pending, self.position[use])
        return sorted(found, key=self.position.__getitem__)

    def around(self, node: Node, most: int) -> list[Node]:
        """``node`` and up to ``most`` nodes, nearest first, whichever way an edge points."""
        return _nearest(node, most, lambda near: (*near.inputs, *self.uses[near]))

    def before(self, node: Node, most: int) -> list[Node]:
        """``node`` and up to ``most`` nodes that it is computed from, nearest first."""
        return _nearest(node, most, lambda near: near.inputs)

    def needed(self, ends: Iterable[Node]) -> list[Node]:
        """``ends`` and what they are computed from; a count is computed from a shape alone."""
        stack = list(ends)
        found = set(stack)
        while stack:
            node = stack.pop()
            for operand in () if node.prim.name == "count" else node.inputs:
                if operand not in found:
                    found.add(operand)
                    stack.append(operand)
        return sorted(found, key=self.position.__getitem__)


def _nearest(node: Node, most: int, beside: Callable[[Node], Iterable[Node]]) -> list[Node]:
    found = [node]
    seen = {node}
    for near in found:  # which grows
        for other in beside(near):
            if other not in seen and len(found) <= most:
                seen.add(other)
                found.append(other)
    return found


def reached(order: Sequence[Node], sources: Iterable[Node]) -> set[Node]:
    """Nodes whose values depend on a source; a count reads a shape, not values."""
    return depending_on([node for node in order if node.prim.name != "count"], sources)


def roots(order: Sequence[Node]) -> Iterator[tuple[Node, Node]]:
    """Every root or logarithm of a graph, with what stands under it: where a search begins."""
    for node in order:
        name = node.prim.name
        if name in ("sqrt", "log") or (name == "pow" and _exponent(node.inputs[1]) in (0.5, -0.5)):
            yield node, node.inputs[0]


def below(ends: Iterable[Node], within: Iterable[Node]) -> set[Node]:
    """The nodes of ``within`` that lead to ``ends``, the ends among them."""
    inside = set(within)
    stack = [end for end in ends if end in inside]
    found = set(stack)
    while stack:
        for operand in stack.pop().inputs:
            if operand in inside and operand not in found:
                found.add(operand)
                stack.append(operand)
    return found


def view_chain(node: Node) -> list[Node]:
    """``node`` and what it is a reshape or transpose of, step by step."""
    chain = [node]
    while chain[-1].prim.name in VIEWS and chain[-1].type.is_float:
        chain.append(chain[-1].inputs[0])
    return chain


def unviewed(node: Node) -> Node:
    """The leaf that ``node`` is a view, broadcast or cast of; ``node`` itself if it is none."""
    found = node
    while found.prim.name in (*VIEWS, "broadcast_to", "cast", "stop_gradient"):
        found = found.inputs[0]
    return found if is_leaf(found) else node


def volume(shape: Shape) -> tuple[int, tuple[str, ...]]:
    """Equal for two shapes that hold as many elements."""
    ints = math.prod(d for d in shape if isinstance(d, int))
    return ints, tuple(sorted(d for d in shape if isinstance(d, str)))


def _exponent(node: Node) -> float | None:
    value = node.attrs["value"] if node.prim.name == "constant" else None
    return float(value) if value is not None and np.size(value) == 1 else None


def _is_zero(node: Node) -> bool:
    return node.prim.name == "constant" and not np.any(node.attrs["value"])
