"""A difference as text: a unified diff of the two graphs' text forms, in one set of names."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..ir import Graph, Node, Update, expression, is_leaf, node_names

if TYPE_CHECKING:
    from .diff_graphs import Difference

Line = tuple[str, str, str]  # a sign, the text, the scope


def shared_names(difference: Difference) -> dict[Node, str]:
    """The names of ``before`` for what both have, and a prime on a new one that clashes."""
    names = node_names(difference.before)
    for node in difference.before.inputs:
        names.setdefault(node, node.name)
    taken = set(names.values())
    own = node_names(difference.after)
    for pair in difference.matched:
        names[pair.after] = names[pair.before]
    for node in difference.added:
        name = own.get(node, node.name)
        while name in taken and not _inline(node):
            name += "'"
        taken.add(name)
        names[node] = name
    return names


def difference_text(difference: Difference, context: int | None) -> str:
    """The whole diff: a head, the changed lines with their surroundings, what replaced what."""
    before, after = difference.before, difference.after
    if not difference:
        return f"no difference: {len(before.nodes)} nodes alike"
    head = [f"--- before: {_size(before)}", f"+++ after: {_size(after)}"]
    lines = list(_lines(difference))
    body = _rendered(lines) if context is None else _hunks(lines, context)
    return "\n".join([*head, *body, *_replaced(difference)])


def _lines(difference: Difference) -> Iterator[Line]:
    names, status = difference.names, difference.status
    before, after = difference.before, difference.after
    yield from _pick("", _head(before), _head(after))
    for sign, node in _merged(difference):
        if _inline(node) or node.prim.name == "input":
            continue
        where = str(node.scope)
        if sign == " " and status[node] == "changed":
            partner = difference.partner[node]
            yield "-", _line(partner, names), str(partner.scope)
            yield "+", _line(node, names), where
        else:
            yield sign, _line(node, names), where
    yield from _updates(difference)
    yield from _pick("", _return(before, names), _return(after, names))


def _line(node: Node, names: Mapping[Node, str]) -> str:
    if is_leaf(node):
        return f"  {node.prim.name} {names[node]}: {node.type}"
    return f"  {names[node]}: {node.type} = {expression(node, names)}"


def _head(graph: Graph) -> str:
    return f"graph({', '.join(f'{n.name}: {n.type}' for n in graph.inputs)})"


def _return(graph: Graph, names: Mapping[Node, str]) -> str:
    return "  return " + ", ".join(f"{k}={names[n]}" for k, n in graph.outputs.items())


def _pick(where: str, old: str, new: str) -> Iterator[Line]:
    if old == new:
        yield " ", old, where
    else:
        yield "-", old, where
        yield "+", new, where


def _updates(difference: Difference) -> Iterator[Line]:
    names = difference.names
    new = {u.state.name: u for u in difference.after.updates}

    def line(update: Update) -> str:
        return f"  update {names[update.state]} <- {names[update.value]}"

    for update in difference.before.updates:
        other = new.pop(update.state.name, None)
        if other is None:
            yield "-", line(update), ""
        else:
            yield from _pick("", line(update), line(other))
    for update in new.values():
        yield "+", line(update), ""


def _merged(difference: Difference) -> Iterator[tuple[str, Node]]:
    """The nodes of ``after`` in order (leaves first), what was removed where it stood."""
    partner = difference.partner
    before, after = _printed(difference.before), _printed(difference.after)
    place = {node: i for i, node in enumerate(after)}
    kept = [node for node in before if node in partner]
    rising = _longest_rising([place[partner[node]] for node in kept])
    anchors = {partner[kept[i]]: kept[i] for i in rising}
    old = iter(before)
    new: list[tuple[str, Node]] = []  # printed behind what was removed at the same place
    for node in after:
        if node in anchors:
            for gone in old:
                if gone is anchors[node]:
                    break
                if gone not in partner:
                    yield "-", gone
            yield from [*new, (" ", node)]
            new = []
        else:
            new.append((" " if node in partner else "+", node))
    yield from [("-", gone) for gone in old if gone not in partner]
    yield from new


def _printed(graph: Graph) -> list[Node]:
    """Leaves before the rest, as in the text form of a graph."""
    nodes = list(dict.fromkeys([*graph.inputs, *graph.nodes]))
    return [n for n in nodes if is_leaf(n)] + [n for n in nodes if not is_leaf(n)]


def _longest_rising(numbers: Sequence[int]) -> list[int]:
    """Positions of a longest increasing subsequence (patience sorting, O(n log n))."""
    tops: list[int] = []
    at: list[int] = []
    previous: list[int | None] = []
    for i, number in enumerate(numbers):
        pile = bisect_left(tops, number)
        previous.append(at[pile - 1] if pile else None)
        if pile == len(tops):
            tops.append(number)
            at.append(i)
        else:
            tops[pile], at[pile] = number, i
    found: list[int] = []
    last = at[-1] if at else None
    while last is not None:
        found.append(last)
        last = previous[last]
    return found[::-1]


def _hunks(lines: Sequence[Line], context: int) -> Iterator[str]:
    """Changes with ``context`` lines around them; the scope heads each hunk, as git's function."""
    near = [False] * len(lines)
    for i, (sign, _, _) in enumerate(lines):
        if sign != " ":
            span = range(max(i - context, 0), min(i + context + 1, len(lines)))
            near[span.start : span.stop] = [True] * len(span)
    start = 0
    while start < len(lines):
        stop = start
        while stop < len(lines) and near[stop] == near[start]:
            stop += 1
        if near[start]:
            hunk = lines[start:stop]
            changed = next(where for sign, _, where in hunk if sign != " ")
            yield f"@@ line {start + 1} @@ {changed}".rstrip()
            yield from _rendered(hunk)
        start = stop


def _rendered(lines: Sequence[Line]) -> Iterator[str]:
    width = min(72, max((len(text) for _, text, where in lines if where), default=0))
    for sign, text, where in lines:
        yield f"{sign}{text:<{width}}  # {where}" if where else f"{sign}{text}"


def _replaced(difference: Difference) -> Iterator[str]:
    names = difference.names
    for row in difference.replaced:
        if row.before in difference.partner and row.after in difference.partner and not row.readers:
            continue  # the line of the output or update says it
        where = str(row.before.scope) or str(row.after.scope)
        text = f"~  {_told(row.before, names)}  ->  {_told(row.after, names)}"
        yield f"{text}  # {where}" if where else text


def _told(node: Node, names: Mapping[Node, str]) -> str:
    if is_leaf(node):
        return f"{node.prim.name} {names[node]}"
    return f"{names[node]} = {expression(node, names)}"


def _inline(node: Node) -> bool:
    return node.prim.name == "constant" and node.ndim == 0


def _size(graph: Graph) -> str:
    count = len(graph.updates)
    moved = f", {count} update{'s' * (count != 1)}" if count else ""
    return f"{len(graph.nodes)} nodes{moved}"
