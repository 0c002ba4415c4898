"""A picture as data: boxes, arrows and their places; DOT is one way to write it down.

Flow: a graph becomes a `Picture` (`scene.py`), a `Picture` becomes DOT text (`dot.py`), DOT becomes
SVG, PNG or PDF (`output.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from .statistics import Summary


@dataclass(frozen=True, slots=True)
class Box:
    """One node, one folded scope, or one elided run of nodes.

    ``kind`` picks shape and colour: input, parameter, state, constant, forward, gradient,
    output, scope or elided. A ``ghost`` lies outside the region that is drawn; ``side`` says
    that only updates need the box; a ``strong`` one is what the picture is about.
    """

    key: str
    kind: str
    symbol: str
    op: str
    caption: str
    type: str
    path: tuple[str, ...]
    order: int = 0
    row: int | None = None
    ghost: bool = False
    side: bool = False
    strong: bool = False
    notes: tuple[str, ...] = ()
    summary: Summary | None = None
    tooltip: str = ""
    alarm: bool = False  # something in it is not finite
    status: str = ""  # in a difference: same, changed, removed or added


@dataclass(frozen=True, slots=True)
class Arrow:
    """One use of a value, at operand ``position`` of its reader.

    ``kind`` is data, use (one of several), gradient, term (one path's share of a gradient), saved
    (a forward value that a gradient reads), average or update (what only the next step needs, on
    its way to a state) or broken (a value that is not finite spreads); in a difference same,
    removed, added or replaced.
    """

    tail: str
    head: str
    kind: str
    label: str = ""
    position: int = 0
    width: float | None = None  # of the line, where it tells the size of a gradient


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything a drawing shows; ``rows`` is the number of aligned rows, 0 when rows are free."""

    title: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    rows: int = 0
    told: tuple[str, ...] = ()  # more lines of the legend
