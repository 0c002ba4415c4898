"""What distinguishes two graphs: nodes kept, changed, removed, added, and what replaced what.

Flow: `diff_match` pairs the nodes, this file says what each pair shares, `diff_text` prints it and
`minigrad.render` may draw it; both need nothing but the `Difference`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ..ir import Graph, GraphError, Node, Update
from .diff_match import COMMUTATIVE, Classes, match

# What may differ in a pair: where a leaf starts, the result's type, a static argument, an operand.
CHANGES = ("start", "type", "attrs", "operands")
STATUSES = ("same", "changed", "removed", "added")


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One node in both graphs.

    ``changes`` lists what differs at the node itself, in the words of `CHANGES`; it is empty when
    op, static arguments and operands agree, whatever was changed further up. ``same_value`` says
    that nothing differs further up either: both compute the same from the same leaves.
    """

    before: Node
    after: Node
    changes: tuple[str, ...] = ()
    same_value: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """A pair that reads a replaced operand, and at which position each half does."""

    before: Node
    after: Node
    position: int
    after_position: int


@dataclass(frozen=True, slots=True, eq=False)
class Replacement:
    """``after`` stands where ``before`` stood: a running mean in the place of a batch mean.

    ``readers`` are the pairs that read one in the place of the other; ``outputs`` names graph
    outputs and ``updates`` names states whose value it is.
    """

    before: Node
    after: Node
    readers: tuple[Reader, ...] = ()
    outputs: tuple[str, ...] = ()
    updates: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Difference:
    """Two graphs side by side. ``print(difference)`` reads like a unified diff of their text.

    Parameters
    ----------
    before, after : the graphs.
    matched : every node that both have, in the order of ``before``.
    removed : nodes that only ``before`` has, in its order.
    added : nodes that only ``after`` has, in its order.
    replaced : operands, outputs and next values that are another node now.

    A difference is true when there is one: ``if mg.diff(a, b): ...``.
    """

    before: Graph
    after: Graph
    matched: tuple[Pair, ...]
    removed: tuple[Node, ...]
    added: tuple[Node, ...]
    replaced: tuple[Replacement, ...]

    @cached_property
    def partner(self) -> Mapping[Node, Node]:
        """From each matched node to its other half, in both directions."""
        forth = {pair.before: pair.after for pair in self.matched}
        return {**{b: a for a, b in forth.items()}, **forth}

    @cached_property
    def changed(self) -> tuple[Pair, ...]:
        """The pairs that differ at the node itself."""
        return tuple(pair for pair in self.matched if pair.changes)

    @cached_property
    def status(self) -> Mapping[Node, str]:
        """``same``, ``changed``, ``removed`` or ``added`` for every node of both graphs."""
        told = dict.fromkeys(self.removed, "removed")
        told.update(dict.fromkeys(self.added, "added"))
        for pair in self.matched:
            told[pair.before] = told[pair.after] = "changed" if pair.changes else "same"
        return told

    @cached_property
    def removed_updates(self) -> tuple[Update, ...]:
        """Updates of states that ``after`` does not move."""
        return _only(self.before, self.after)

    @cached_property
    def added_updates(self) -> tuple[Update, ...]:
        """Updates of states that ``before`` does not move."""
        return _only(self.after, self.before)

    @cached_property
    def removed_outputs(self) -> tuple[str, ...]:
        return tuple(name for name in self.before.outputs if name not in self.after.outputs)

    @cached_property
    def added_outputs(self) -> tuple[str, ...]:
        return tuple(name for name in self.after.outputs if name not in self.before.outputs)

    @cached_property
    def names(self) -> Mapping[Node, str]:
        """A name for every node of both graphs; the two halves of a pair share theirs."""
        from .diff_text import shared_names

        return shared_names(self)

    def text(self, context: int | None = 3) -> str:
        """The unified diff with ``context`` lines around each change; None for every line."""
        from .diff_text import difference_text

        return difference_text(self, context)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return (
            f"<Difference: {len(self.matched)} matched ({len(self.changed)} changed), "
            f"{len(self.removed)} removed, {len(self.added)} added>"
        )

    def __bool__(self) -> bool:
        """True when something differs; the order of outputs and the scopes do not count."""
        updates = self.removed_updates or self.added_updates
        outputs = self.removed_outputs or self.added_outputs
        nodes = self.changed or self.removed or self.added or self.replaced
        return bool(nodes or updates or outputs)


def diff(before: Graph, after: Graph) -> Difference:
    """Match the nodes of two graphs and say what changed between them.

    Nodes that compute the same from leaves of the same names are matched first, from the outputs
    down, then by scope and line; what is left is matched through its matched neighbours, by op and
    scope (the two phases of GumTree, Falleri et al., ASE 2014, on graphs in place of trees). A leaf
    matches a leaf of its name only. Linear in the number of nodes; the result depends on structure
    alone, so it is the same in every process.

    Raises GraphError when an argument is no `Graph`.

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 3))
    >>> train = mg.Graph([x], {"y": mg.nn.BatchNorm(3, name="bn")(x)})
    >>> found = mg.diff(train, mg.to_inference(train))
    >>> [(r.before.prim.name, r.after.name) for r in found.replaced]
    [('mean', 'bn/running_mean'), ('mean', 'bn/running_var')]
    >>> bool(mg.diff(train, train))
    False
    """
    for graph in (before, after):
        if not isinstance(graph, Graph):
            raise GraphError(
                f"diff: compares two graphs, not {type(graph).__name__} {graph!r}; "
                "put nodes into mg.Graph([], nodes)"
            )
    classes = Classes(before, after)
    partner = match(before, after, classes)
    nodes = _all_nodes(before)
    matched = tuple(
        _pair(node, partner[node], partner, classes) for node in nodes if node in partner
    )
    taken = set(partner.values())
    return Difference(
        before,
        after,
        matched,
        tuple(node for node in nodes if node not in partner),
        tuple(node for node in _all_nodes(after) if node not in taken),
        _replacements(before, after, matched, partner, classes),
    )


def _all_nodes(graph: Graph) -> tuple[Node, ...]:
    """Every node, and the inputs that nothing reads."""
    return tuple(dict.fromkeys([*graph.inputs, *graph.nodes]))


def _pair(a: Node, b: Node, partner: Mapping[Node, Node], classes: Classes) -> Pair:
    changes = []
    if a.name and classes.start(a) != classes.start(b):
        changes.append("start")
    if a.type != b.type:
        changes.append("type")
    if classes.attrs(a) != classes.attrs(b):
        changes.append("attrs")
    if len(a.inputs) != len(b.inputs) or _moved_operands(a, b, partner, classes):
        changes.append("operands")
    return Pair(a, b, tuple(changes), classes[a] == classes[b])


def _moved_operands(
    a: Node, b: Node, partner: Mapping[Node, Node], classes: Classes
) -> list[tuple[int, int, Node, Node]]:
    """Positions where ``b`` reads something else than ``a``; the two of a sum may change places."""

    def alike(p: Node, q: Node) -> bool:
        return partner.get(p) is q or classes[p] == classes[q]

    if a.prim.name in COMMUTATIVE and len(a.inputs) == len(b.inputs) == 2:
        straight = [alike(p, q) for p, q in zip(a.inputs, b.inputs, strict=True)]
        crossed = [alike(p, q) for p, q in zip(a.inputs, b.inputs[::-1], strict=True)]
        if sum(crossed) > sum(straight):
            pairs = zip(a.inputs, b.inputs[::-1], strict=True)
            return [(i, 1 - i, p, q) for i, (p, q) in enumerate(pairs) if not crossed[i]]
    pairs = zip(a.inputs, b.inputs, strict=False)
    return [(i, i, p, q) for i, (p, q) in enumerate(pairs) if not alike(p, q)]


def _replacements(
    before: Graph,
    after: Graph,
    matched: tuple[Pair, ...],
    partner: Mapping[Node, Node],
    classes: Classes,
) -> tuple[Replacement, ...]:
    readers: dict[tuple[Node, Node], list[Reader]] = {}
    outputs: dict[tuple[Node, Node], list[str]] = {}
    updates: dict[tuple[Node, Node], list[str]] = {}
    for pair in matched:
        for i, j, p, q in _moved_operands(pair.before, pair.after, partner, classes):
            row = Reader(pair.before, pair.after, i, j)
            readers.setdefault((p, q), []).append(row)
    values = {u.state.name: u.value for u in after.updates}
    for name, node in before.outputs.items():
        if (other := after.outputs.get(name)) is not None:
            outputs.setdefault((node, other), []).append(name)
    for update in before.updates:
        if (other := values.get(update.state.name)) is not None:
            updates.setdefault((update.value, other), []).append(update.state.name)
    found = dict.fromkeys([*readers, *outputs, *updates])
    return tuple(
        Replacement(
            p,
            q,
            tuple(readers.get((p, q), ())),
            tuple(outputs.get((p, q), ())),
            tuple(updates.get((p, q), ())),
        )
        for p, q in found
        if partner.get(p) is not q and classes[p] != classes[q]
    )


def _only(graph: Graph, other: Graph) -> tuple[Update, ...]:
    moved = {update.state.name for update in other.updates}
    return tuple(update for update in graph.updates if update.state.name not in moved)
