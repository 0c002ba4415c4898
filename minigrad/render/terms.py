"""The ways from a value to the loss, a badge for each: why dx of a batch norm has three terms.

A value that is read k times gets k cotangents, and their sum is its gradient. Where one of the
readers is read several times itself, its terms are terms of the whole sum. A badge stands at both
ends of a way: on the forward use that begins it, and on the gradient arrow of its term.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..ir import Node, is_leaf
from .captions import Captions, clipped
from .causes import accumulations, paths
from .gradients import Differentiated

BADGES = "❶❷❸❹❺❻❼❽❾❿"
TIMES = {2: "twice"}
LONGEST = 48


@dataclass(frozen=True)
class Terms:
    """Badges of the uses and of the terms of a graph.

    ``sums`` are the additions that sum the cotangents of a value, last first; ``readers`` say
    which reader of it sent back operand ``position`` of such an addition.
    """

    sums: Mapping[Node, tuple[Node, ...]]
    readers: Mapping[tuple[Node, int], Node]
    ways: Mapping[Node, str] = field(default_factory=dict)  # a value -> the badges of its ways
    uses: Mapping[tuple[Node, Node], str] = field(default_factory=dict)  # (value, reader)
    returns: Mapping[tuple[Node, int], str] = field(default_factory=dict)  # (addition, operand)

    @property
    def single(self) -> dict[str, tuple[Node, Node]]:
        """The term that each badge brings back, and the reader it comes from."""
        return {
            badge: (place[0].inputs[place[1]], self.readers[place])
            for place, badge in self.returns.items()
            if len(badge) == 1 and place in self.readers
        }


def terms_of(found: Differentiated, drawn: Sequence[Node]) -> Terms:
    """The terms of every value of ``drawn`` that is read more than once.

    Values of whole sums are numbered in their order in the graph, up to the last badge.
    """
    if not found.cotangents:
        return Terms({}, {})
    sums = accumulations(found.graph.nodes, found.cotangents)
    readers = paths(found.graph.nodes, found.cotangents)
    shown = set(drawn)
    known = {
        node: _leaves(node, spine, readers)
        for node, spine in sums.items()
        if node in shown and (spine[-1], 0) in readers
    }
    inner = {
        reader
        for node, leaves in known.items()
        for addition, position, reader in leaves
        if reader in known and _handed_on(addition, position, reader, found)
    }
    tables = Tables()
    for root in [node for node in drawn if node in known and node not in inner]:
        _number(root, known, inner, tables)
    return Terms(sums, readers, tables.ways, tables.uses, tables.returns)


@dataclass
class Tables:
    """Terms under construction, and the badges that are left."""

    ways: dict[Node, str] = field(default_factory=dict)
    uses: dict[tuple[Node, Node], str] = field(default_factory=dict)
    returns: dict[tuple[Node, int], str] = field(default_factory=dict)
    free: Iterator[str] = field(default_factory=lambda: iter(BADGES))


Leaf = tuple[Node, int, Node]  # an addition, the position of an operand, the reader it came from


def _leaves(
    node: Node, spine: Sequence[Node], readers: Mapping[tuple[Node, int], Node]
) -> list[Leaf]:
    """The terms in the order in which they are added: the last reader's first."""
    places = [(spine[-1], 0), *[(addition, 1) for addition in reversed(spine)]]
    return [(*place, readers[place]) for place in places if place in readers]


def _handed_on(addition: Node, position: int, reader: Node, found: Differentiated) -> bool:
    """Whether the term is the reader's whole cotangent: its terms are terms here."""
    return addition.inputs[position] is found.cotangents.get(reader)


def _number(root: Node, known: Mapping[Node, list[Leaf]], inner: set[Node], terms: Tables) -> None:
    """Badges for the single terms below ``root``; a value has the badges of all of its ways."""
    order, stack = [root], [root]
    while stack:
        for _, _, reader in known[stack.pop()]:
            if reader in inner and reader not in order:
                order.append(reader)
                stack.append(reader)
    for node in reversed(order):  # what is handed on whole comes before what it is handed to
        for addition, position, reader in known[node]:
            use = (node, reader)
            if reader in inner:
                terms.uses[use] = terms.ways.get(reader, "")
            elif use not in terms.uses:
                terms.uses[use] = next(terms.free, "")
            terms.returns[addition, position] = terms.uses[use]
        badges = {badge for _, _, reader in known[node] for badge in terms.uses[node, reader]}
        terms.ways[node] = "".join(sorted(badges, key=BADGES.index))


def fork_notes(
    terms: Terms, captions: Captions, uses: Mapping[Node, Sequence[Node]], main: set[Node]
) -> dict[Node, tuple[str, ...]]:
    """What boxes say of forks: a value's uses beside it, the terms beside its gradient."""
    notes: dict[Node, tuple[str, ...]] = {}
    through = {
        badge: captions.text(reached(reader, captions, uses, main))
        for (_, reader), badge in terms.uses.items()
        if len(badge) == 1
    }
    for node in terms.ways:
        readers = list(dict.fromkeys(r for r in uses[node] if (node, r) in terms.uses))[::-1]
        goals = [captions.text(reached(r, captions, uses, main)) for r in readers]
        badged = [
            f"{terms.uses[node, r]} in {goal}" for r, goal in zip(readers, goals, strict=True)
        ]
        times = TIMES.get(len(readers), f"{len(readers)} times")
        if len(readers) > 1:
            notes[node] = (clipped(f"used {times}: {', '.join(badged)}", LONGEST),)
            for whole in _poured(node, captions, uses, main):
                notes.setdefault(
                    whole, (clipped(f"used {times}: in {' and in '.join(goals)}", LONGEST),)
                )
    for node, additions in terms.sums.items():
        ways = terms.ways.get(node, "")
        name = captions.text(node)
        told = [f"{badge} through {through[badge]}" for badge in ways if badge in through]
        count = len(ways) or len(additions) + 1
        head = f"{count} terms, for the {count} ways that {name} takes"
        notes[additions[0]] = (clipped(head, LONGEST), *_two_lines(told))
    return notes


def _two_lines(told: Sequence[str]) -> tuple[str, ...]:
    """A line if it fits, else one a term, the first few."""
    line = "  ".join(told)
    if len(line) <= LONGEST:
        return (line,) if line else ()
    return tuple([clipped(text, LONGEST) for text in told[:4]])


def reached(
    node: Node, captions: Captions, uses: Mapping[Node, Sequence[Node]], main: set[Node]
) -> Node:
    """The first value with a sign of its own that ``node`` flows into whole, else itself."""
    start = node
    while node not in captions.signs:
        readers = _readers(node, uses, main)
        if len(readers) != 1:
            return start
        node = readers[0]
    return node


def _poured(
    fork: Node, captions: Captions, uses: Mapping[Node, Sequence[Node]], main: set[Node]
) -> list[Node]:
    """Operands of a fork that it alone reads, if they have a sign: their uses are the fork's."""
    return [
        operand
        for operand in dict.fromkeys(fork.inputs)
        if operand in captions.signs and not is_leaf(operand)
        if _readers(operand, uses, main) == [fork]
    ]


def _readers(node: Node, uses: Mapping[Node, Sequence[Node]], main: set[Node]) -> list[Node]:
    """What reads the value forward, the updates apart."""
    return [r for r in dict.fromkeys(uses.get(node, ())) if r in main and not r.scope.order]
