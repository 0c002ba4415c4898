"""The graph as the page sees it: plain data that goes into the document as JSON.

Flow: `views_of` makes up to three graphs (train with its gradient, inference, folded); each
becomes lists of nodes, arrows and scopes. Nothing is laid out here: opening and closing a scope
moves everything, so the page itself places the boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...backends import evaluate
from ...ir import Graph, Node, consumers, depending_on, is_leaf, node_names, toposort
from ...ir.scope import source_location
from ..captions import header, inline
from ..causes import accumulations, paths
from ..gradients import Differentiated
from .numbers import value_data
from .rules import rule_name
from .words import Words, words_of

LONGEST = 160  # characters of anything that a user wrote
_MANY = 600  # nodes from which heat strips are smaller


def view_data(
    found: Differentiated, outputs: Mapping[str, Node], feed: Mapping[str, Any] | None
) -> dict[str, Any]:
    """One graph: its nodes in topological order, arrows by their indices, scopes by path."""
    graph = found.graph
    words = words_of(found, outputs)
    nodes = list(dict.fromkeys([*graph.inputs, *graph.nodes]))
    index = {node: i for i, node in enumerate(nodes)}
    values = {} if feed is None else _values(found, nodes, feed)
    facts = _Facts(found, words, index, outputs)
    scopes = _scopes(nodes)
    numbers = {path: i for i, path in enumerate(scopes)}
    small = {"rows": 6, "columns": 24} if len(nodes) > _MANY else {}
    listed = []
    for node in nodes:
        told = facts.told(node)
        told["scope"] = numbers[facts.home(node)]
        if node in values:
            told["value"] = value_data(values[node], **small)
        listed.append(told)
    return {
        "nodes": listed,
        "arrows": facts.arrows(),
        "scopes": [list(path) for path in scopes],
        "ports": facts.ports(numbers),
        "outputs": [[_clip(name), index[node]] for name, node in outputs.items()],
    }


class _Facts:
    """What is said of each node, from a few walks over the graph."""

    def __init__(
        self,
        found: Differentiated,
        words: Words,
        index: Mapping[Node, int],
        outputs: Mapping[str, Node],
    ) -> None:
        self.found, self.words, self.index = found, words, index
        graph = found.graph
        gradients = [node for node in graph.nodes if node.scope.order]
        self.ids = _identifiers(graph, index)
        self.uses = consumers(graph.nodes)
        self.main = set(toposort([*outputs.values(), *gradients]))
        self.moving = depending_on(graph.nodes, [*graph.inputs, *gradients])
        self.sums = accumulations(graph.nodes, found.cotangents)
        self.paths = paths(graph.nodes, found.cotangents)
        self.adjoint = {addition: n for n, spine in self.sums.items() for addition in spine}
        self.next_of = {update.value: update.state for update in graph.updates}

    def told(self, node: Node) -> dict[str, Any]:
        """One node as JSON."""
        symbol, op = header(node)
        data: dict[str, Any] = {
            "id": self.ids[node],
            "op": node.prim.name,
            "rule": rule_name(node),
            "symbol": symbol,
            "head": _clip(op, 60),
            "name": self.words.names[node],
            "formula": self.words.formulas[node],
            "type": _clip(str(node.type)),
            "order": node.scope.order,
            "kind": node.prim.name if is_leaf(node) else "gradient" if node.scope.order else "op",
            "lane": self._lane(node),
            "args": [_clip(text, 40) for text in self.words.operands[node]],
            "in": [self.index[operand] for operand in node.inputs],
            "source": _source(node),
        }
        if inline(node):
            data["inline"] = inline(node)
        if is_leaf(node) and node.name:
            data["leaf"] = _clip(node.name)
        for key, target in (
            ("cause", self.found.causes.get(node)),
            ("ct", self.found.cotangents.get(node)),
            ("incoming", self.found.incoming.get(node)),
            ("updates", self.next_of.get(node)),
            ("adjoint", self.adjoint.get(node)),
        ):
            if target is not None and target in self.index:
                data[key] = self.index[target]
        return data

    def home(self, node: Node) -> tuple[str, ...]:
        """The scope that draws a node; a leaf of no scope goes to the only one that reads it."""
        readers = {reader.scope.path for reader in self.uses.get(node, ())}
        stray = is_leaf(node) and node.prim.name != "input" and not node.scope.path
        return readers.pop() if stray and len(readers) == 1 else node.scope.path

    def _lane(self, node: Node) -> str:
        """Which column of the page: what only updates need stands apart, and so do leaves."""
        if node.scope.order:
            return "gradient"
        if node in self.found.incoming:
            return "incoming"
        if node not in self.main and node not in self.found.graph.inputs:
            return "update"
        if is_leaf(node):
            return "input" if node.prim.name == "input" else "leaf"
        return "forward" if node in self.moving else "leaf"

    def arrows(self) -> list[list[Any]]:
        """``[tail, head, kind, label]`` for every use of a value, and for every update."""
        terms = {addition for spine in self.sums.values() for addition in spine}
        found: list[list[Any]] = []
        for node in self.index:
            for position, operand in enumerate(node.inputs):
                if inline(operand):
                    continue
                kind, label = _flow(operand, node, self.found.incoming), ""
                if node in terms:
                    kind = "term"
                    reader = self.paths.get((node, position))
                    if reader is not None:
                        label = f"via {self.words.names[reader]}"
                        if self.words.names[reader] == self.ids[reader]:
                            label = f"via {self.words.formulas[reader]}"
                found.append([self.index[operand], self.index[node], kind, _clip(label, 28)])
        for update in self.found.graph.updates:
            pair = [self.index[update.value], self.index[update.state]]
            found.append([*pair, "update", "next step"])
        return found

    def ports(self, numbers: Mapping[tuple[str, ...], int]) -> list[list[Any]]:
        """``[scope, node, name]`` for values that a scope reads more than once from outside."""
        found = []
        for path, names in self.words.boundary.items():
            for node, name in names.items():
                readers = [r for r in self.uses.get(node, ()) if r.scope.path == path]
                readers = [r for r in readers if r.scope.order == node.scope.order]
                if node in self.found.incoming:
                    readers = [r for r in self.uses[node] if r.scope.path == path]
                if len(readers) > 1 and node in self.index:
                    found.append([numbers[path], self.index[node], name])
        return found


def _flow(tail: Node, head: Node, incoming: Mapping[Node, Node]) -> str:
    """A value forward, a gradient back, or a forward value that a gradient reads."""
    if not head.scope.order:
        return "data"
    return "gradient" if tail.scope.order or tail in incoming else "saved"


def _identifiers(graph: Graph, index: Mapping[Node, int]) -> dict[Node, str]:
    """The names of the text form, made unique where constants share a value."""
    names = node_names(graph)
    seen: dict[str, int] = {}
    found = {}
    for node in index:
        name = names.get(node, node.name)
        seen[name] = seen.get(name, 0) + 1
        found[node] = name if seen[name] == 1 else f"{name}~{seen[name]}"
    return found


def _scopes(nodes: Sequence[Node]) -> list[tuple[str, ...]]:
    found = {node.scope.path[:n]: None for node in nodes for n in range(len(node.scope.path) + 1)}
    return list({(): None, **found})


def _source(node: Node) -> str:
    location = source_location(node.source)
    return _clip(node.line) if location else ""


def _clip(text: str, length: int = LONGEST) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _values(
    found: Differentiated, nodes: Sequence[Node], feed: Mapping[str, Any]
) -> dict[Node, Any]:
    """Every node's array; a cotangent that is not fed is drawn from a standard normal."""
    known = {node.name: node for node in nodes if node.name}
    given: dict[Node, Any] = {known[name]: value for name, value in feed.items() if name in known}
    random = np.random.default_rng(0)
    for leaf, output in found.incoming.items():
        if leaf not in given:
            needed = set(toposort([output]))
            shape = evaluate(output, {n: v for n, v in given.items() if n in needed}).shape
            given[leaf] = random.standard_normal(shape).astype(leaf.dtype)
    return dict(zip(nodes, evaluate(list(nodes), given), strict=True))
