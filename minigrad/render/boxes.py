"""Boxes and arrows for nodes, folded scopes, outputs and updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..ir import Node, consumers, is_leaf, toposort
from .captions import clipped, header, inline
from .gradients import Differentiated
from .picture import Arrow, Box
from .statistics import Summary
from .terms import Terms, fork_notes, reached, terms_of

if TYPE_CHECKING:
    from .captions import Captions
    from .collapse import Group

# Ops whose operands may change places; the operands of every other op are numbered.
COMMUTATIVE = ("add", "mul", "maximum", "minimum", "equal")
_PLACES = "abcdefghi"
WIDTHS = 0.8, 5.0  # of the smallest and the largest gradient, in points


class Draft:
    """A picture under construction.

    Keys come from places in the graph's order, so the same graph gives the same picture:
    ``n7`` is its node 7, ``s7`` the folded scope that starts there, ``o7`` what leaves it.
    """

    def __init__(
        self,
        found: Differentiated,
        captions: Captions,
        groups: Mapping[Node, Group],
        summaries: Mapping[Node, Summary],
        outputs: Mapping[str, Node],
    ) -> None:
        self.found, self.captions, self.groups = found, captions, groups
        self.summaries, self.outputs = summaries, outputs
        self.boxes: dict[str, Box] = {}
        self.arrows: dict[Arrow, None] = {}
        self.keys: dict[Node, str] = {}
        graph = found.graph
        self.index = {n: i for i, n in enumerate(dict.fromkeys([*graph.nodes, *graph.inputs]))}
        self.uses = consumers(graph.nodes)
        gradients = [node for node in graph.nodes if node.scope.order]
        self._main = set(toposort([*graph.outputs.values(), *gradients]))
        self._results: set[Node] = set()
        self._notes: dict[Node, tuple[str, ...]] = {}
        self.widths: dict[Node, float] = {}
        self.told: tuple[str, ...] = ()
        self.bad = {node for node, summary in summaries.items() if summary.bad}
        self._terms = Terms({}, {})
        self._inside: set[Node] = set()

    def draw(
        self, inside: Sequence[Node], ghosts: Sequence[Node], terms: Terms | None = None
    ) -> None:
        """Everything inside, what it reads from outside, and where its results go."""
        self._inside = set(inside)
        wanted = [n for n in (*ghosts, *inside) if is_leaf(n) or n in set(ghosts)]
        cotangents = self.found.cotangents
        self._results = {cotangents[n] for n in wanted if n in cotangents}
        self._terms = terms or terms_of(self.found, [*ghosts, *inside])
        self._notes = fork_notes(self._terms, self.captions, self.uses, self._main)
        self._notes |= self._averages()
        self._gradient_widths()
        first = next((node for node in self.index if node in self.bad), None)
        if first is not None:
            box = self.groups[first].nodes[0] if first in self.groups else first
            told = ("the first that is not finite", *self._notes.get(first, ()))
            self._notes[box] = told if box is first else told[:1]
        for node in ghosts:
            self._add(node, ghost=True)
        for node in inside:
            if not inline(node):
                self._add(node, ghost=False)
        self._connect(inside)
        self._leave(inside)
        self._update(inside)

    def _add(self, node: Node, ghost: bool) -> None:
        group = None if ghost else self.groups.get(node)
        key = f"n{self.index[node]}" if group is None else f"s{self.index[group.nodes[0]]}"
        if group is None:
            self.boxes[key] = self._node_box(key, node, ghost)
        elif key not in self.boxes:
            box, alarm = group_box(key, group), any(n in self.bad for n in group.nodes)
            notes = (*self._notes.get(group.nodes[0], ()), *box.notes) if alarm else box.notes
            self.boxes[key] = replace(box, alarm=alarm, notes=notes)
        self.keys[node] = key

    def _node_box(self, key: str, node: Node, ghost: bool) -> Box:
        symbol, op = header(node)
        kind = node.prim.name if is_leaf(node) else "gradient" if node.scope.order else "forward"
        caption = self.captions.name(node) if ghost else self.captions.caption(node)
        if is_leaf(node):
            name = node.name if ghost else node.name.removeprefix("/".join(node.scope.path) + "/")
            op = f"{kind} {clipped(name, 32)}" if name != caption else kind
        elif ghost:
            symbol, op = "", f"from {clipped(str(node.scope) or 'outside', 32)}"
        if node in self.found.incoming:
            caption = f"{caption} = dL/d{self._output_name(self.found.incoming[node])}"
        elif caption == "u" and node.scope.order:
            caption = "u = dL/dy"
        told = [node.name, str(node.type), str(node.scope), node.line]
        return Box(
            key,
            kind,
            symbol,
            op,
            caption,
            str(node.type),
            self._scope(node) if ghost else node.scope.path,
            self._order(node),
            ghost=ghost,
            side=not ghost and node not in self._main and node not in self.found.graph.inputs,
            strong=node in self._results,
            notes=self._notes.get(node, ()),
            summary=self.summaries.get(node),
            alarm=node in self.bad,
            tooltip=clipped(" ".join(part for part in told if part), 200),
        )

    def _scope(self, ghost: Node) -> tuple[str, ...]:
        """Where a ghost stands in columns: with its first reader inside."""
        readers = [node for node in self.uses.get(ghost, ()) if node in self._inside]
        return next((n.scope.path for n in readers if n.scope.order == self._order(ghost)), ())

    def _order(self, node: Node) -> int:
        """Forward or gradient; a cotangent that is fed is a gradient."""
        return node.scope.order or int(node in self.found.incoming)

    def _connect(self, inside: Sequence[Node]) -> None:
        sums = {term for terms in self._terms.sums.values() for term in terms}
        for node in inside:
            if node not in self.keys:
                continue
            numbered = (
                node.prim.name not in COMMUTATIVE
                and sum(operand in self.keys for operand in node.inputs) > 1
            )
            for position, operand in enumerate(node.inputs):
                tail, head = self.keys.get(operand), self.keys[node]
                if tail is None or (tail == head and node in self.groups):
                    continue
                label = str(operand.type)
                if numbered and node not in self.groups and position < len(_PLACES):
                    label = f"{_PLACES[position]}) {label}"
                kind = "term" if node in sums else self._kind(operand, node)
                badge = self._terms.uses.get((operand, node), "")
                badge = self._terms.returns.get((node, position), badge)
                if (reader := self._terms.readers.get((node, position))) is not None:
                    via = reached(reader, self.captions, self.uses, self._main)
                    label = f"via {self.captions.text(via)}  {label}"
                if badge and kind == "data":
                    kind = "use"
                if operand in self.bad and node in self.bad:
                    kind = "broken"
                place = 0 if node in self.groups or operand in self.groups else position
                label = f"{badge} {label}" if badge else label
                width = self.widths.get(operand) if kind in ("gradient", "term") else None
                self.arrows[Arrow(tail, head, kind, label, place, width)] = None

    def _kind(self, tail: Node, head: Node) -> str:
        """Whether a use carries a value forward, a gradient back, or lends one to the other."""
        if not head.scope.order:
            return "average" if head not in self._main and head not in self.groups else "data"
        incoming = tail.scope.order or tail in self.found.incoming
        return "gradient" if incoming else "saved"

    def _gradient_widths(self) -> None:
        """Lines as wide as the logarithm of the root mean square of the gradient they carry."""
        carried = {*self.found.cotangents.values()}
        carried.update(addition.inputs[i] for addition, i in self._terms.returns)
        sizes = {
            node: summary.rms
            for node, summary in self.summaries.items()
            if node in carried and 0 < summary.rms < np.inf
        }
        if not sizes:
            return
        low, high = min(sizes.values()), max(sizes.values())
        span = max(np.log10(high / low), 1e-9)
        thin, thick = WIDTHS
        for node, size in sizes.items():
            share = float(np.log10(size / low) / span)
            self.widths[node] = round(thin + (thick - thin) * share, 1)
        self.told = (f"width: size (rms) of a gradient, {low:.1e} … {high:.1e}",)

    def _averages(self) -> dict[Node, tuple[str, ...]]:
        """A note on every next value that mixes a state with the statistic it stands for."""
        notes: dict[Node, tuple[str, ...]] = {}
        for update in self.found.graph.updates:
            parts = {operand for term in update.value.inputs for operand in term.inputs}
            estimate = update.estimate
            if estimate is None or update.value.prim.name != "add":
                continue
            if {update.state, estimate} <= parts:
                name = clipped(self.captions.text(estimate), 20)
                notes[update.value] = (f"EMA: a moving average of {name}",)
        return notes

    def _leave(self, inside: Sequence[Node]) -> None:
        """A ghost for every value that is an output or is read outside."""
        own = set(inside)
        updated = {update.value for update in self.found.graph.updates}
        names: dict[Node, list[str]] = {}
        for name, node in self.outputs.items():
            names.setdefault(node, []).append(name)
        for node in inside:
            if is_leaf(node) and node not in names:
                continue
            readers = [n for n in self.uses.get(node, ()) if n not in own]
            readers = [n for n in readers if n.scope.order == node.scope.order]
            if node not in names and (not readers or node in updated or inline(node)):
                continue
            key = f"o{self.index[node]}"
            where = dict.fromkeys(str(n.scope) or n.prim.name for n in readers)
            told = "output" if node in names else f"to {clipped(', '.join(where), 40)}"
            caption = ", ".join(names.get(node, ())) or self.captions.name(node)
            kind = "output"
            self.boxes[key] = Box(
                key, kind, "", told, clipped(caption, 40), str(node.type), node.scope.path,
                node.scope.order, ghost=node not in names, tooltip=clipped(caption, 200),
            )  # fmt: skip
            flow = "gradient" if node.scope.order else "data"
            flow = "broken" if node in self.bad else flow
            if node in self.keys:
                self.arrows[Arrow(self.keys[node], key, flow, str(node.type))] = None

    def _update(self, inside: Sequence[Node]) -> None:
        """A dashed arrow from every new value to its state."""
        for update in self.found.graph.updates:
            tail, head = self.keys.get(update.value), self.keys.get(update.state)
            if tail is not None and head is not None and tail != head:
                self.arrows[Arrow(tail, head, "update", "next step")] = None

    def _output_name(self, node: Node) -> str:
        for name, output in self.outputs.items():
            if output is node:
                return clipped(name, 16)
        return "y" if len(self.found.incoming) == 1 else self.captions.name(node)


def group_box(key: str, group: Group) -> Box:
    """The box of a folded scope, or of what is left out."""
    count = sum(not inline(node) for node in group.nodes)
    notes = [group.op_counts]
    if group.parameters:
        notes.append(f"{group.parameters:,} numbers to train")
    return Box(
        key,
        "elided" if group.elided else "scope",
        "⋮" if group.elided else "",
        "left out of the picture" if group.elided else _nodes(count),
        f"{count:,} nodes" if group.elided else clipped(str(group.scope), 60),
        "",
        () if group.elided else group.scope.path[:-1],
        group.scope.order,
        notes=tuple(note for note in notes if note),
        tooltip=clipped(str(group.scope), 200),
    )


def _nodes(count: int) -> str:
    return f"{count:,} node" if count == 1 else f"{count:,} nodes"
