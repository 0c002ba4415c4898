"""Pairing the nodes of two graphs: equal subgraphs first, then the neighbours of what is paired.

After GumTree (Falleri et al., "Fine-grained and accurate source code differencing", ASE 2014), on
graphs in place of trees. Every step is a walk over nodes or edges, so the whole is linear in them;
ties are settled by order in the graph, so equal graphs give equal pairings in every process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from ..ir import Graph, Node, consumers, is_leaf

# Ops that give the same bits when their two operands change places.
COMMUTATIVE = ("add", "mul", "equal")

_NAMED = ("init", "shape", "dtype", "value")  # of a leaf: told by its type and its start


class Classes:
    """A number for each node of two graphs, equal where both compute the same.

    Same op, same static arguments, operands of equal numbers; a leaf is known by its kind, name,
    type and start, a constant by its bytes. Scopes and lines do not count.
    """

    def __init__(self, *graphs: Graph) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._attrs: dict[Node, Hashable] = {}
        self._starts: dict[Node, Hashable] = {}
        self._of: dict[Node, int] = {}
        for graph in graphs:
            for node in (*graph.inputs, *graph.nodes):
                if node not in self._of:
                    self._of[node] = self._numbers.setdefault(self._key(node), len(self._numbers))

    def __getitem__(self, node: Node) -> int:
        return self._of[node]

    def attrs(self, node: Node) -> Hashable:
        """The static arguments in a form that compares by value."""
        if (found := self._attrs.get(node)) is None:
            hidden = _NAMED if is_leaf(node) else ()
            rows = sorted((k, v) for k, v in node.attrs.items() if k not in hidden)
            found = self._attrs[node] = tuple([(k, exact(v)) for k, v in rows])
        return found

    def start(self, node: Node) -> Hashable:
        """What a leaf starts from: the bytes of an array, the name of an initialiser."""
        if not is_leaf(node):
            return ()
        if (found := self._starts.get(node)) is None:
            start = node.attrs.get("value" if node.prim.name == "constant" else "init")
            found = self._starts[node] = exact(start)
        return found

    def number(self, leaf: Node) -> Hashable:
        """A constant's value, whatever its dtype; for a named leaf, its class."""
        if leaf.prim.name != "constant":
            return self._of[leaf]
        value = leaf.attrs["value"]
        return exact(value.astype(np.float64) if value.dtype.kind == "f" else value)

    def _key(self, node: Node) -> Hashable:
        operands = [self._of[operand] for operand in node.inputs]
        if node.prim.name in COMMUTATIVE:
            operands.sort()
        own = (node.type, self.start(node)) if is_leaf(node) else ()
        return node.prim.name, self.attrs(node), own, tuple(operands)


def exact(value: Any) -> Hashable:
    """A static argument as something to compare: arrays by bytes, functions by name."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, float):
        return value.hex()  # 0.0 and -0.0 are equal, and not the same
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    if isinstance(value, Hashable):
        return value, type(value).__name__
    return repr(value)


def match(before: Graph, after: Graph, classes: Classes) -> dict[Node, Node]:
    """From nodes of ``before`` to the nodes of ``after`` that they became."""
    pairing = _Pairing(before, after, classes)
    pairing.leaves()
    pairing.equal_results()
    for level in _EQUAL:
        pairing.equal_subgraphs(level)
    for single in (True, False):  # one of several alike is taken only when no other clue is left
        for level in _ON_PAIRS:
            pairing.readers_of_pairs(level, single)
        for level in _BESIDE_PAIRS:
            pairing.neighbours(level, single)
    pairing.dissolve()
    for level in _LEFT_OVER:
        pairing.left_over(level)
    return pairing.partner


Level = Callable[[Classes, Node], Hashable]

# How alike two nodes must be, from the strictest level down. A line is known by its identity:
# within one process the nodes built by one line share one tuple.
_EQUAL: tuple[Level, ...] = (
    lambda known, n: (known[n], n.scope, id(n.source)),
    lambda known, n: (known[n], n.scope),
    lambda known, n: known[n],
)
# The same op on paired operands, with the same static arguments or with others; the one way in
# which a type may differ, as it follows from the operands.
_ON_PAIRS: tuple[Level, ...] = (
    lambda known, n: (n.prim.name, known.attrs(n)),
    lambda known, n: n.prim.name,
)
_BESIDE_PAIRS: tuple[Level, ...] = (
    lambda known, n: (n.prim.name, n.type, known.attrs(n), n.scope),
    lambda known, n: (n.prim.name, n.type, n.scope),
    lambda known, n: (n.prim.name, n.type, known.attrs(n)),
    lambda known, n: (n.prim.name, n.type),
)
_LEFT_OVER: tuple[Level, ...] = (
    lambda known, n: (n.prim.name, known.attrs(n), n.type, n.scope, id(n.source), _value(known, n)),
    lambda known, n: (n.prim.name, known.attrs(n), n.type, n.scope, _value(known, n)),
)


def _value(known: Classes, node: Node) -> Hashable:
    return known.number(node) if is_leaf(node) else None  # leaves match leaves of equal numbers


class _Pairing:
    """Two graphs and the pairs found so far."""

    def __init__(self, before: Graph, after: Graph, classes: Classes) -> None:
        self.before, self.after, self.classes = before, after, classes
        self.nodes = list(dict.fromkeys([*before.inputs, *before.nodes]))
        self.others = list(dict.fromkeys([*after.inputs, *after.nodes]))
        self.uses, self.other_uses = consumers(self.nodes), consumers(self.others)
        self.partner: dict[Node, Node] = {}
        self.back: dict[Node, Node] = {}
        self.surmised: list[Node] = []  # paired for their op and place alone

    def free(self, a: Node, b: Node) -> bool:
        return a not in self.partner and b not in self.back

    def pair(self, a: Node, b: Node) -> None:
        self.partner[a], self.back[b] = b, a

    def leaves(self) -> None:
        """Inputs, parameters and states by name."""
        named = {(n.prim.name, n.name): n for n in self.others if n.name}
        for node in self.nodes:
            if node.name and (found := named.get((node.prim.name, node.name))) is not None:
                self.pair(node, found)

    def results(self) -> list[tuple[Node, Node]]:
        """The values of outputs of one name, and the next values of one state."""
        pairs = [(n, self.after.outputs.get(name)) for name, n in self.before.outputs.items()]
        values = {u.state.name: u.value for u in self.after.updates}
        pairs += [(u.value, values.get(u.state.name)) for u in self.before.updates]
        return [(a, b) for a, b in pairs if b is not None]

    def equal_results(self) -> None:
        for a, b in self.results():
            if self.classes[a] == self.classes[b]:
                self.equal_down(a, b)

    def equal_down(self, a: Node, b: Node) -> None:
        """Pair two equal subgraphs, operand by operand, as far as they are free."""
        stack = [(a, b)]
        while stack:
            a, b = stack.pop()
            if self.free(a, b) and self.classes[a] == self.classes[b]:
                self.pair(a, b)
                stack.extend(self.operands(a, b))

    def equal_subgraphs(self, level: Level) -> None:
        """Nodes that compute the same, consumers first so that a large subgraph goes as one."""
        known = self.classes
        rest: dict[Hashable, deque[Node]] = {}
        for b in reversed(self.others):
            if b not in self.back and not is_leaf(b):
                rest.setdefault(level(known, b), deque()).append(b)
        for a in reversed(self.nodes):
            if a in self.partner or is_leaf(a):
                continue
            queue = rest.get(level(known, a), _NONE)
            while queue:
                b = queue.popleft()
                if b not in self.back:
                    self.equal_down(a, b)
                    break

    def readers_of_pairs(self, level: Level, single: bool) -> None:
        """Ops whose operands are all paired, from the leaves up."""
        queue = deque(self.frontier())
        while queue:
            a, b = queue.popleft()
            self._readers(a, b, lambda n, back: self._on_pairs(n, back, level), single, queue)

    def neighbours(self, level: Level, single: bool) -> None:
        """From each pair to its operands and to its readers, until nothing new is found."""
        if len(self.partner) in (len(self.nodes), len(self.others)):
            return
        queue: deque[tuple[Node, Node]] = deque()
        self._try(self.results(), level, queue)
        queue.extend(self.frontier())
        while queue:
            a, b = queue.popleft()
            self._try(self.operands(a, b), level, queue)
            self._readers(a, b, lambda n, _: level(self.classes, n), single, queue)

    def frontier(self) -> list[tuple[Node, Node]]:
        """The pairs next to nodes without a partner, in order."""
        edge: set[Node] = set()
        for node in self.nodes:
            if node not in self.partner:
                edge.update(node.inputs)
                edge.update(self.uses[node])
        return [(a, self.partner[a]) for a in self.nodes if a in edge and a in self.partner]

    def _try(
        self, pairs: Iterable[tuple[Node, Node]], level: Level, queue: deque[tuple[Node, Node]]
    ) -> None:
        known = self.classes
        for a, b in pairs:
            if not self.free(a, b) or a.prim is not b.prim:
                continue
            if is_leaf(a):
                alike = known.number(a) == known.number(b)
            else:
                alike = level(known, a) == level(known, b)
            if alike:
                self.pair(a, b)
                self.surmised.append(a)
                queue.append((a, b))

    def _readers(
        self,
        a: Node,
        b: Node,
        key: Callable[[Node, bool], Hashable],
        single: bool,
        queue: deque[tuple[Node, Node]],
    ) -> None:
        """Pair the readers of ``a`` with readers of ``b`` that have it in the same position."""
        mine = [n for n in dict.fromkeys(self.uses[a]) if n not in self.partner]
        others = [n for n in dict.fromkeys(self.other_uses[b]) if n not in self.back]
        if not mine or not others:
            return
        groups: dict[Hashable, tuple[list[Node], list[Node]]] = {}
        for n in mine:
            groups.setdefault((key(n, False), _position(n, a)), ([], []))[0].append(n)
        for n in others:
            groups.setdefault((key(n, True), _position(n, b)), ([], []))[1].append(n)
        for left, right in groups.values():
            if single and (len(left) != 1 or len(right) != 1):
                continue
            for reader, other in zip(left, right, strict=False):
                self.pair(reader, other)
                self.surmised.append(reader)
                queue.append((reader, other))

    def _on_pairs(self, node: Node, of_after: bool, level: Level) -> Hashable:
        """The level and the operands as nodes of ``after``; no other key while one is unpaired."""
        operands: list[Hashable] = []
        for operand in node.inputs:
            own = operand if of_after else self.partner.get(operand)
            if is_leaf(operand) and not operand.name:
                operands.append(self.classes.number(operand))
            elif own is None or own not in self.back:
                return node
            else:
                operands.append(own)
        return level(self.classes, node), tuple(operands)

    def dissolve(self) -> None:
        """Undo pairs that in the end share no operand, no reader and no result."""
        results = set(self.results())

        def alone(a: Node) -> bool:
            b = self.partner[a]
            if (
                not a.inputs
                or (a, b) in results
                or any(self._fit([p])[0] for p in self.operands(a, b))
            ):
                return False
            readers = set(self.other_uses[b])
            return not any(self.partner.get(reader) in readers for reader in self.uses[a])

        loose = [a for a in self.surmised if alone(a)]
        for a in loose:
            del self.back[self.partner.pop(a)]

    def left_over(self, level: Level) -> None:
        """What stands alone in its scope on both sides; equal constants in order."""
        groups: dict[Hashable, tuple[list[Node], list[Node]]] = {}
        for side, nodes, paired in (
            (0, self.nodes, self.partner), (1, self.others, self.back),
        ):  # fmt: skip
            for node in nodes:
                if node not in paired and not node.name:
                    groups.setdefault(level(self.classes, node), ([], []))[side].append(node)
        for left, right in groups.values():
            if left and right and (is_leaf(left[0]) or len(left) == len(right) == 1):
                for a, b in zip(left, right, strict=False):
                    self.pair(a, b)

    def operands(self, a: Node, b: Node) -> Sequence[tuple[Node, Node]]:
        """The operands in pairs; those of a sum or product crosswise where that fits better."""
        straight = list(zip(a.inputs, b.inputs, strict=False))
        if a.prim.name in COMMUTATIVE and len(straight) == 2:
            crossed = list(zip(a.inputs, b.inputs[::-1], strict=False))
            if self._fit(crossed) > self._fit(straight):
                return crossed
        return straight

    def _fit(self, pairs: Sequence[tuple[Node, Node]]) -> tuple[int, int]:
        equal = [self.partner.get(a) is b or self.classes[a] == self.classes[b] for a, b in pairs]
        return sum(equal), sum(a.prim is b.prim for a, b in pairs)


_NONE: deque[Node] = deque()


def _position(reader: Node, operand: Node) -> Hashable:
    return -1 if reader.prim.name in COMMUTATIVE else reader.inputs.index(operand)
