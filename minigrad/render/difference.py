"""Two graphs in one picture: what both have in grey, what only one has marked, what replaced what.

Every pair of `mg.diff` is one box; a removed box has dashed lines and a minus, an added one thick
lines and a plus, so that the picture reads without colour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from ..ir import Graph, Node, RegionError, is_leaf
from ..passes.diff_graphs import STATUSES, Difference
from .boxes import group_box
from .captions import Captions, clipped, header, inline
from .collapse import Group, fold
from .picture import Arrow, Box, Picture
from .scene import View


def compose_difference(found: Difference, view: View) -> Picture:
    """The picture of a difference, or of one region of it with its boundary."""
    return _Overlay(found, view).picture()


class _Overlay:
    """Both graphs laid over each other; a pair goes by its half in the first."""

    def __init__(self, found: Difference, view: View) -> None:
        self.found, self.view = found, view
        self.nodes = _interleaved(found)
        self.index = {node: i for i, node in enumerate(self.nodes)}
        self.inside = _region(found, self.nodes, view.region)
        self.captions = self._captions()
        self.groups: Mapping[Node, Group] = fold(self.inside, view.depth, view.expand, view.limit)
        self.boxes: dict[str, Box] = {}
        self.keys: dict[Node, str] = {}

    def picture(self) -> Picture:
        for node in self._entering():
            self.keys[node] = f"n{self.index[node]}"
            self.boxes[self.keys[node]] = self.box(node, ghost=True)
        for node in self.inside:
            if inline(node):
                continue
            group = self.groups.get(node)
            number = self.index[node if group is None else group.nodes[0]]
            key = self.keys[node] = f"{'n' if group is None else 's'}{number}"
            if key not in self.boxes:
                self.boxes[key] = self.box(node) if group is None else self.folded(key, group)
        arrows = [*self.uses(), *self.updates(), *self.outputs(), *self.leaving()]
        arrows += self.replacements()
        title = self.view.region or ""
        return Picture(title, tuple(self.boxes.values()), tuple(dict.fromkeys(arrows)))

    def _entering(self) -> list[Node]:
        """What the region reads from outside, in either graph."""
        own = set(self.inside)
        read = dict.fromkeys(
            self.own(o)
            for n in self.inside
            for half in self.halves(n)
            if half is not None
            for o in half.inputs
        )
        return [node for node in read if node not in own and not inline(node)]

    def _captions(self) -> tuple[Captions, Captions]:
        """The texts of both graphs; the one value that enters a region is x, as in `render`."""
        entering = [node for node in self._entering() if not is_leaf(node)]
        given = {}
        if len(entering) == 1 and all(node.name != "x" for node in self.inside):
            given = dict.fromkeys([n for n in self.halves(entering[0]) if n is not None], "x")
        graphs = (self.found.before, self.found.after)
        first, second = (
            Captions(g, given={n: t for n, t in given.items() if n in set(g.nodes)}) for g in graphs
        )
        return first, second

    def leaving(self) -> Iterator[Arrow]:
        """What something outside of the region reads."""
        own = set(self.inside)
        told: dict[Node, str] = {}
        for node in self.nodes:
            for half in self.halves(node) if node not in own else ():
                for operand in half.inputs if half is not None else ():
                    if self.own(operand) in own and not is_leaf(operand):
                        told.setdefault(self.own(operand), str(node.scope) or node.prim.name)
        for node, where in told.items():
            if node in self.keys:
                key = f"o{self.index[node]}"
                self.boxes[key] = Box(
                    key, "output", "", f"to {clipped(where, 40)}", "", str(node.type), (),
                    ghost=True, status=self.found.status[node].replace("changed", "same"),
                )  # fmt: skip
                kind = self.found.status[node].replace("changed", "same")
                yield Arrow(self.keys[node], key, kind, str(node.type))

    def own(self, node: Node) -> Node:
        """The half that a node of either graph is drawn as."""
        if node in self.index:
            return node
        return self.found.partner.get(node, node)

    def halves(self, node: Node) -> tuple[Node | None, Node | None]:
        """The node in the first graph and in the second, where it is there."""
        status = self.found.status[node]
        if status == "added":
            return None, node
        return node, None if status == "removed" else self.found.partner[node]

    def box(self, node: Node, ghost: bool = False) -> Box:
        before, after = self.halves(node)
        first = self.captions[0 if before is not None else 1]
        symbol, op = header(node)
        caption = first.name(node) if ghost else first.caption(node)
        notes: tuple[str, ...] = ()
        if before is not None and after is not None and not is_leaf(node) and not ghost:
            now = self.captions[1].formula(after)
            if self.found.status[node] == "changed" and now != first.formula(before):
                notes = (f"now {now}",)
        kind = node.prim.name if is_leaf(node) else "gradient" if node.scope.order else "forward"
        if is_leaf(node):
            name = clipped(node.name.rsplit("/", 1)[-1], 32)
            op = f"{kind} {name}" if name != caption else kind
        elif ghost:
            symbol, op = "", f"from {clipped(str(node.scope) or 'outside', 32)}"
        told = [node.name, str(node.type), str(node.scope), node.line]
        return Box(
            f"n{self.index[node]}", kind, symbol, op, caption, str(node.type),
            () if ghost else node.scope.path, node.scope.order, ghost=ghost, notes=notes,
            status=self.found.status[node],
            tooltip=clipped(" ".join(part for part in told if part), 200),
        )  # fmt: skip

    def folded(self, key: str, group: Group) -> Box:
        """A folded scope, and what is different inside of it."""
        counts = Counter(self.found.status[node] for node in group.nodes if not inline(node))
        box = group_box(key, group)
        if len(counts) == 1:
            return replace(box, status=next(iter(counts)))
        told = ", ".join(f"{counts[s]} {s}" for s in STATUSES if counts[s])
        return replace(box, notes=(told, *box.notes[1:]), status="changed")

    def uses(self) -> Iterator[Arrow]:
        """Every use of a value: in both graphs, in the first alone, or in the second alone."""
        for node in self.inside:
            if node not in self.keys:
                continue
            first, second = self._operands(node)
            for tail, position in first:
                kind = "same" if tail in [t for t, _ in second] else "removed"
                yield from self._arrow(tail, node, kind, position)
            for tail, position in second:
                if tail not in [t for t, _ in first]:
                    yield from self._arrow(tail, node, "added", position)

    def _operands(self, node: Node) -> tuple[list[tuple[Node, int]], list[tuple[Node, int]]]:
        before, after = self.halves(node)
        first, second = (
            [] if half is None else [(self.own(o), i) for i, o in enumerate(half.inputs)]
            for half in (before, after)
        )
        return first, second

    def _arrow(self, tail: Node, head: Node, kind: str, position: int) -> Iterator[Arrow]:
        start, end = self.keys.get(tail), self.keys[head]
        if start is None or (start == end and head in self.groups):
            return
        label = "" if kind == "same" and head in self.groups else str(tail.type)
        place = 0 if head in self.groups or tail in self.groups else position
        yield Arrow(start, end, kind, label, place)

    def updates(self) -> Iterator[Arrow]:
        """The moves of states that only one graph makes, and those of both."""
        moves = [
            {(self.own(u.state), self.own(u.value)): None for u in graph.updates}
            for graph in (self.found.before, self.found.after)
        ]
        for state, value in dict.fromkeys(chain(*moves)):
            tail, head = self.keys.get(value), self.keys.get(state)
            if tail is None or head is None or tail == head:
                continue
            there = [(state, value) in table for table in moves]
            kind = "same" if all(there) else "removed" if there[0] else "added"
            yield Arrow(tail, head, kind, "next step")

    def outputs(self) -> Iterator[Arrow]:
        """The outputs of both graphs, each with its state."""
        tables = [self.found.before.outputs, self.found.after.outputs]
        for name in dict.fromkeys(chain(*tables)):
            ends = [self.own(table[name]) if name in table else None for table in tables]
            key = f"p{len(self.boxes)}"
            kinds = {}
            if ends[0] is not None:
                kinds[ends[0]] = "same" if ends[0] is ends[1] else "removed"
            if ends[1] is not None:
                kinds.setdefault(ends[1], "added")
            tails = {n: kind for n, kind in kinds.items() if n in self.keys and n in self.index}
            if not tails:
                continue
            node = next(iter(tails))
            status = "removed" if ends[1] is None else "added" if ends[0] is None else "same"
            self.boxes[key] = Box(
                key, "output", "", "output", clipped(name, 40), str(node.type), (), status=status
            )
            for tail, kind in tails.items():
                yield Arrow(self.keys[tail], key, kind, str(tail.type))

    def replacements(self) -> Iterator[Arrow]:
        """From what stood somewhere to what stands there now."""
        for row in self.found.replaced:
            tail, head = self.keys.get(self.own(row.before)), self.keys.get(self.own(row.after))
            if tail is not None and head is not None and tail != head:
                yield Arrow(tail, head, "replaced", "replaced by")


def _interleaved(found: Difference) -> list[Node]:
    """Every box's node: those of the first graph, and added ones in front of their readers."""
    order: dict[Node, None] = {}
    waiting = [*_all(found.after)]
    place = {found.partner[n]: i for i, n in enumerate(waiting) if n in found.partner}
    position = 0
    for node in _all(found.before):
        until = place.get(node, -1)
        while position <= until:
            other = waiting[position]
            if other not in found.partner:
                order[other] = None
            position += 1
        order[node] = None
    order.update(dict.fromkeys(n for n in waiting if n not in found.partner))
    return list(order)


def _all(graph: Graph) -> list[Node]:
    return list(dict.fromkeys([*graph.inputs, *graph.nodes]))


def _region(found: Difference, nodes: Sequence[Node], region: str | None) -> list[Node]:
    if region is None:
        return list(nodes)
    inside: set[Node] = set()
    errors = []
    for graph in (found.before, found.after):
        try:
            inside.update(graph.region(region))
        except RegionError as error:
            errors.append(error)
    if len(errors) == 2:
        raise errors[0]
    inside |= {found.partner[n] for n in inside if n in found.partner}
    return [node for node in nodes if node in inside]
