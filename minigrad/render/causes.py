"""Which forward node caused a gradient node: what the rows of a picture line up by.

`grad` hands the source of a forward node on to what the node's rule builds. A picture draws a copy
of the graph in which every forward node has a source object of its own, so the object says the
cause. Gradient nodes that the user brought along are recognised by deriving them once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..autodiff import vjp
from ..ir import Graph, Node, Update, consumers, depending_on, is_leaf, map_nodes, toposort
from ..ir.text import attr_text


def distinct(graph: Graph) -> tuple[Graph, dict[Node, Node]]:
    """A copy of the graph whose forward nodes each have a source of their own; leaves are kept."""

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        if is_leaf(node):
            return node
        source = node.source
        if source is not None and not node.scope.order:
            source = (source[0], source[1])  # a new tuple: equal, and another object
        return replace(node, inputs=inputs, source=source)

    estimates = [u.estimate for u in graph.updates if u.estimate is not None]
    kept = [n for pair in graph.replacements.items() for n in pair]
    copy = map_nodes([*graph.roots, *estimates, *kept], rule)
    updates = tuple(
        Update(u.state, copy[u.value], None if u.estimate is None else copy[u.estimate])
        for u in graph.updates
    )
    outputs = {name: copy[node] for name, node in graph.outputs.items()}
    replacements = {copy[n]: copy[r] for n, r in graph.replacements.items()}
    return Graph(graph.inputs, outputs, updates, replacements), copy


def causes(nodes: Sequence[Node], cotangents: Mapping[Node, Node]) -> dict[Node, Node]:
    """Gradient node -> the forward node whose rule made it.

    The sum of several cotangents of a node stands with that node.
    """
    by_source = {
        id(node.source): node
        for node in nodes
        if not node.scope.order and not is_leaf(node) and node.source is not None
    }
    found = {
        node: by_source[id(node.source)]
        for node in nodes
        if node.scope.order and id(node.source) in by_source
    }
    for node, terms in accumulations(nodes, cotangents).items():
        found.update(dict.fromkeys(terms, node))
    return found


@dataclass(frozen=True, slots=True)
class Recognised:
    """What is known of the gradient nodes that a graph came with."""

    causes: dict[Node, Node]
    cotangents: dict[Node, Node]
    incoming: dict[Node, Node]  # a fed cotangent, and the output that it belongs to


def recognise(graph: Graph) -> Recognised:
    """Causes and cotangents of the gradient nodes that a graph came with.

    Outputs are differentiated again: a scalar as it is, others by an input of their type that
    gradients alone read. Nodes that compute the same are the same.
    """
    own = [node for node in reversed(graph.nodes) if node.scope.order]
    found = Recognised(causes(graph.nodes, {}), {}, {})
    for output, ct in _seeds(graph):
        forward = [n for n in graph.nodes if not n.scope.order and n.type.is_float and n is not ct]
        wrt = reached([output], forward)
        derived = (
            dict(zip(wrt, vjp([output], wrt, None if ct is None else [ct]), strict=True))
            if wrt
            else {}
        )
        again = [*graph.nodes, *toposort(derived.values(), stop=graph.nodes)]
        numbers = _value_numbers(again)
        brought = {numbers[node]: node for node in own}
        for node, cause in causes(again, derived).items():
            if numbers[node] in brought:
                found.causes.setdefault(brought[numbers[node]], cause)
        for node, cotangent in derived.items():
            if numbers[cotangent] in brought:
                found.cotangents.setdefault(node, brought[numbers[cotangent]])
            elif cotangent is ct:
                found.cotangents.setdefault(node, ct)
        if ct is not None:
            found.incoming[ct] = output
    for node, terms in accumulations(graph.nodes, found.cotangents).items():
        found.causes.update(dict.fromkeys(terms, node))
    return found


def _seeds(graph: Graph) -> list[tuple[Node, Node | None]]:
    """Outputs that may have been differentiated, each with its cotangent if that is fed."""
    uses = consumers(graph.nodes)
    fed = [n for n in graph.inputs if uses.get(n) and all(r.scope.order for r in uses[n])]
    outputs = [n for n in graph.outputs.values() if not n.scope.order and n.type.is_float]
    seeds: list[tuple[Node, Node | None]] = []
    for output in dict.fromkeys(outputs):
        if not output.type.shape:
            seeds.append((output, None))
        ct = next((n for n in fed if n.type == output.type), None)
        if ct is not None:
            seeds.append((output, ct))
            fed.remove(ct)
    return seeds


def reached(outputs: Sequence[Node], candidates: Sequence[Node]) -> list[Node]:
    """The candidates to which a cotangent of the outputs flows."""
    order = toposort(outputs)
    active = depending_on(order, [n for n in candidates if n.prim.name != "constant"])
    found = set(outputs)
    for node in reversed(order):
        if node in found and node.prim.vjp is not None:
            found.update(o for o in node.inputs if o in active and o.type.is_float)
    return [n for n in candidates if n in found and n in active]


def accumulations(
    nodes: Sequence[Node], cotangents: Mapping[Node, Node]
) -> dict[Node, tuple[Node, ...]]:
    """Forward node -> the additions that sum its cotangents, last first.

    A value used k times receives k cotangents, so the k - 1 additions on the way are sums of
    the paths: the adjoint of the fork.
    """
    uses = consumers([node for node in nodes if not node.scope.order])
    found: dict[Node, tuple[Node, ...]] = {}
    for node, cotangent in cotangents.items():
        spine: list[Node] = []
        current = cotangent
        while (
            current.prim.name == "add"
            and current.scope.order
            and len(spine) < len(uses.get(node, ())) - 1
        ):
            spine.append(current)
            current = current.inputs[0]
        if spine:
            found[node] = tuple(spine)
    return found


def paths(nodes: Sequence[Node], cotangents: Mapping[Node, Node]) -> dict[tuple[Node, int], Node]:
    """(addition, operand) -> the reader of the forward value that sent this cotangent back.

    `grad` visits readers from the last to the first and adds as it goes.
    """
    uses = consumers([node for node in nodes if not node.scope.order])
    found: dict[tuple[Node, int], Node] = {}
    for node, spine in accumulations(nodes, cotangents).items():
        readers = [reader for reader in uses[node] if reader in cotangents]
        if len(readers) != len(spine) + 1:
            continue
        for addition, reader in zip(spine, readers, strict=False):
            found[addition, 1] = reader
        found[spine[-1], 0] = readers[-1]
    return found


def _value_numbers(order: Sequence[Node]) -> dict[Node, int]:
    """Equal numbers for nodes that apply the same op to the same values."""
    table: dict[Any, int] = {}
    numbers: dict[Node, int] = {}
    for node in order:
        key: Any = node
        if not is_leaf(node) or node.prim.name == "constant":
            attrs = tuple((k, frozen(v)) for k, v in sorted(node.attrs.items()))
            key = (node.prim.name, attrs, tuple(numbers[o] for o in node.inputs))
        numbers[node] = table.setdefault(key, len(table))
    return numbers


def frozen(value: Any) -> Any:
    """A static argument as something that can be a key."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return attr_text(value)
