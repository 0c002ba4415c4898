"""Rows that line a gradient up with its cause.

Every forward op has a row, below the rows of its operands; the gradient nodes that its rule made
stand in that same row, and so does a leaf beside its first reader. The forward pass then reads
downwards, and the gradient flows back up beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..ir import Node, consumers, depending_on, is_leaf
from .boxes import Draft
from .picture import Box


def place_rows(
    draft: Draft, inside: Sequence[Node], ghosts: Sequence[Node]
) -> tuple[tuple[Box, ...], int]:
    """The draft's boxes with their rows, and how many rows there are."""
    drawn = [node for node in draft.index if node in draft.keys]
    rows = _forward_rows(drawn, set(ghosts))
    _gradient_rows(draft, drawn, rows)
    last = max(rows.values(), default=0)
    _leaf_rows(draft, drawn, rows, last)
    boxes = []
    by_key = {draft.keys[node]: row for node, row in rows.items() if node in draft.keys}
    for key, box in draft.boxes.items():
        if key.startswith("o"):
            below = by_key[f"n{key[1:]}"]
            by_key[key] = max(below - 1, 0) if box.order else below + 1
        boxes.append(replace(box, row=by_key[key]))
    return tuple(boxes), max(by_key.values(), default=0) + 1


def _forward_rows(drawn: Sequence[Node], ghosts: set[Node]) -> dict[Node, int]:
    """One row below the lowest operand; leaves and the boundary count as row 0.

    What no input reaches (a parameter's reshape, a state's decay) waits just above its reader.
    """
    after = depending_on(drawn, [node for node in drawn if node.scope.order])
    rows: dict[Node, int] = {}
    for node in drawn:
        if node in after:
            continue
        if node in ghosts or is_leaf(node):
            rows[node] = 0
            continue
        above = [rows[o] for o in node.inputs if o in rows and not is_leaf(o)]
        rows[node] = max(above, default=0) + 1
    fed = [node for node in drawn if node in ghosts or node.prim.name == "input"]
    moving = depending_on(drawn, fed)
    uses = consumers(drawn)
    for node in reversed(drawn):
        if node in rows and node not in moving and not is_leaf(node):
            below = [rows[reader] for reader in uses[node] if reader in rows]
            rows[node] = max(rows[node], min(below, default=0) - 1)
    return rows


def _gradient_rows(draft: Draft, drawn: Sequence[Node], rows: dict[Node, int]) -> None:
    cause = draft.found.causes
    forward, outer = dict(rows), {node for node in _outer(draft) if node.scope.order}
    for node in drawn:
        if node not in rows and node not in outer:
            origin = cause.get(node)
            near = [rows[o] for o in node.inputs if o in rows and not is_leaf(o) and o not in outer]
            rows[node] = forward[origin] if origin in forward else min(near, default=0)


def _leaf_rows(draft: Draft, drawn: Sequence[Node], rows: dict[Node, int], last: int) -> None:
    """A leaf goes beside its first reader, an input above it, an incoming gradient below all."""
    uses = consumers(drawn)
    for node in drawn:
        if not is_leaf(node) and node not in _outer(draft):
            continue
        readers = [rows[n] for n in uses[node] if n in rows and n is not node]
        output = draft.found.incoming.get(node)
        if output in rows:
            rows[node] = rows[output] + 1
        elif node.scope.order:
            rows[node] = max(readers, default=last) + 1
        elif is_leaf(node) and node.prim.name != "input":
            rows[node] = min(readers, default=0)
        else:
            rows[node] = max(min(readers, default=1) - 1, 0)


def _outer(draft: Draft) -> set[Node]:
    return {node for node, key in draft.keys.items() if draft.boxes[key].ghost}
