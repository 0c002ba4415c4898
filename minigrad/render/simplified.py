"""The gradient as papers write it: simplified, its terms still known by the ways they came.

The plain gradient says which term took which way (`terms`). After `simplify` the same sum stands
there in other words, so its parts are told apart by their values: a part that equals a plain term
at random points, in float64, is that term. Nothing here knows a layer.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir import Graph, Node, is_leaf, map_nodes, rebuild, substitute, toposort
from ..passes.points import distance, random_point
from ..passes.simplification import simplified
from ..primitives.leaf import INPUT
from .causes import frozen
from .gradients import Differentiated
from .terms import Terms, terms_of

COMMUTATIVE = ("add", "mul", "maximum", "minimum")
CLOSE = 1e-9  # relative, in float64
ROUNDINGS = 8  # by which constants of a narrower dtype may put a term off
POINTS = 2


@dataclass(frozen=True)
class Part:
    """Operand ``position`` of an addition below a gradient, times ``sign`` and ``factors``."""

    addition: Node
    position: int
    sign: int
    factors: tuple[Node, ...]

    @property
    def node(self) -> Node:
        return self.addition.inputs[self.position]

    def value(self, at: Mapping[Node, Any]) -> Any:
        """What the part adds to the gradient, from the values of the nodes."""
        return self.sign * at[self.node] * math.prod([at[factor] for factor in self.factors])


def without_gradients(graph: Graph) -> Graph:
    """The forward pass of a graph: gradients that it came with are left out."""
    outputs = {name: node for name, node in graph.outputs.items() if not node.scope.order}
    updates = tuple(update for update in graph.updates if not update.value.scope.order)
    return Graph(graph.inputs, outputs or graph.outputs, updates, graph.replacements)


def simplify_gradients(
    found: Differentiated, ghosts: Sequence[Node], inside: Sequence[Node]
) -> tuple[Differentiated, Terms]:
    """The gradients of a region's leaves and of what enters it, and the ways of their terms."""
    drawn = [*ghosts, *[node for node in inside if not node.scope.order]]
    plain = terms_of(found, drawn)
    wanted = [n for n in drawn if (is_leaf(n) or n in set(ghosts)) and n in found.cotangents]
    old = {node: found.cotangents[node] for node in wanted}
    new = dict(zip(old, _simplified(list(old.values()), ghosts, found), strict=True))
    outputs = {n: node for n, node in found.graph.outputs.items() if not node.scope.order}
    outputs |= {f"gradient {i}": node for i, node in enumerate(new.values())}
    graph = Graph(found.graph.inputs, outputs, found.graph.updates, found.graph.replacements)
    terms, places = _terms(new, found, plain)
    causes = {n: c for n, c in found.causes.items() if n in set(graph.nodes)} | places
    causes |= {root: node for node, root in new.items() if node in terms.sums}
    for node, root in new.items():  # the gradient of a parameter stands where that is used
        first = next((n for n in drawn if node in n.inputs), None)
        if first is not None and is_leaf(node) and node not in ghosts:
            causes.setdefault(root, first)
    border = {n: ct for n, ct in found.cotangents.items() if ct in {*ghosts, *found.incoming}}
    return Differentiated(graph, border | new, causes, found.incoming), terms


def _simplified(roots: Sequence[Node], ghosts: Sequence[Node], found: Differentiated) -> list[Node]:
    """The roots, simplified as far down as the region's border; nodes that were there are kept."""
    stand_ins = {g: g if is_leaf(g) else INPUT(name=f"border{i}", shape=g.shape, dtype=g.dtype)
                 for i, g in enumerate(ghosts)}  # fmt: skip
    cut = substitute(roots, stand_ins)
    pinned = [node for node in toposort(cut) if not node.scope.order and not is_leaf(node)]
    back = {leaf: ghost for ghost, leaf in stand_ins.items()}
    table: dict[Hashable, Node] = {}
    for node in found.graph.nodes:
        table.setdefault(_key(node, node.inputs), node)

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        if node in back:
            return back[node]
        same = node if inputs == node.inputs else rebuild(node, inputs)
        return table.setdefault(_key(node, inputs), same)

    new = simplified([*pinned, *cut], pinned)[len(pinned) :]  # what the forward pass has is free
    mapped = map_nodes(new, rule)
    return [mapped[node] for node in new]


def _key(node: Node, inputs: Sequence[Node]) -> Hashable:
    """Equal for ops on the same operands; those of a sum or product may change places."""
    if is_leaf(node) and node.prim.name != "constant":
        return node
    places = [id(operand) for operand in inputs]
    if node.prim.name in COMMUTATIVE:
        places.sort()
    return node.prim.name, tuple(places), tuple([(k, frozen(v)) for k, v in node.attrs.items()])


def _terms(
    new: Mapping[Node, Node], found: Differentiated, plain: Terms
) -> tuple[Terms, dict[Node, Node]]:
    """Which part of a simplified sum is which term, and the forward node that each stands by."""
    sums: dict[Node, tuple[Node, ...]] = {}
    readers: dict[tuple[Node, int], Node] = {}
    returns: dict[tuple[Node, int], str] = {}
    places: dict[Node, Node] = {}
    for node in [n for n in new if n in plain.ways]:
        parts = list(_parts(new[node]))
        badges = _matched(parts, plain, node)
        for part, badge in zip(parts, badges, strict=False):
            readers[part.addition, part.position] = reader = plain.single[badge][1]
            returns[part.addition, part.position] = badge
            if part.node not in found.incoming and part.node.scope.order:
                places[part.node] = reader
        if badges:
            sums[node] = tuple(dict.fromkeys(part.addition for part in parts))
    for addition in [a for spine in sums.values() for a in reversed(spine)]:
        for position, operand in enumerate(addition.inputs):
            below = [returns.get((operand, i), "") for i in range(len(operand.inputs))]
            returns.setdefault((addition, position), "".join(sorted("".join(below))))
    return Terms(sums, readers, plain.ways, plain.uses, returns), places


def _parts(root: Node) -> Iterator[Part]:
    """What is summed at the top of a gradient, through the factors that all of it shares."""
    stack: list[tuple[Node, int, tuple[Node, ...]]] = [(root, 1, ())]
    while stack:
        node, sign, factors = stack.pop()
        if node.prim.name == "neg":
            stack.append((node.inputs[0], -sign, factors))
        elif node.prim.name == "mul":
            sums = [i for i in node.inputs if i.scope.order and i.prim.name in ("add", "sub")]
            if len(sums) == 1:
                others = tuple(i for i in node.inputs if i is not sums[0])
                stack.append((sums[0], sign, (*factors, *others)))
        elif node.prim.name in ("add", "sub") and node.scope.order:
            for position, operand in reversed(list(enumerate(node.inputs))):
                flip = -1 if position and node.prim.name == "sub" else 1
                if operand.scope.order and operand.prim.name in ("add", "sub"):
                    stack.append((operand, sign * flip, factors))
                else:
                    yield Part(node, position, sign * flip, factors)


def _matched(parts: Sequence[Part], plain: Terms, node: Node) -> list[str]:
    """The badge of every part if parts and plain terms are the same numbers, one to one."""
    badges = list(plain.ways[node])
    if len(parts) != len(badges) or not all(badge in plain.single for badge in badges):
        return []
    terms = [plain.single[badge][0] for badge in badges]
    told: list[str] = []
    wanted = [*terms, *[n for part in parts for n in (part.node, *part.factors)]]
    close = max(CLOSE, ROUNDINGS * float(np.finfo(node.dtype).eps))
    points = [random_point(wanted, seed) for seed in range(POINTS)]
    drawn = [dict(zip(wanted, point.values(wanted), strict=True)) for point in points]
    for part in parts:
        equal = [
            badge
            for badge, term in zip(badges, terms, strict=True)
            if all(distance(at[term], part.value(at)) < close for at in drawn)
        ]
        if len(equal) != 1 or equal[0] in told:
            return []
        told += equal
    return told
