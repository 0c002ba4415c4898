"""A picture written as DOT: escaped labels, nested clusters, aligned rows, a legend.

DOT is the one text that SVG, PNG and PDF are laid out from; equal pictures give equal bytes.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from .picture import Arrow, Box, Picture
from .style import ALARM, CLUSTER_FILLS, FAINT, FONT, INK, LINES, LOOKS, MARKS, PAPER

UPDATES, FORWARD = "next step", "forward"  # clusters inside a scope, beside its gradient
MARGINS = {"parameter": "0.12,0.09", "gradient": "0.13,0.05"}  # room for slanted corners
_BLOCKS = " ▁▂▃▄▅▆▇█"


def dot_text(picture: Picture) -> str:
    """The DOT source of a picture."""
    import graphviz

    dot = graphviz.Digraph("minigrad")
    dot.attr(
        "graph", bgcolor=PAPER, fontname=FONT, fontsize="12", fontcolor=INK, newrank="true",
        rankdir="TB", ranksep="0.32", nodesep=_gap(picture), pad="0.2", outputorder="edgesfirst",
    )  # fmt: skip
    dot.attr("node", fontname=FONT, fontsize="10", fontcolor=INK, margin="0.08,0.04", height="0.3")
    dot.attr("edge", fontname=FONT, fontsize="8", fontcolor=FAINT, arrowsize="0.7")
    _clusters(dot, picture)
    if picture.rows:
        # Bézier splines cut through boxes when many edges pass a rank; segments keep clear.
        dot.attr("graph", splines="polyline")
        _align(dot, picture)
    rows = {box.key: box.row for box in picture.boxes}
    for arrow in picture.arrows:
        _arrow(dot, arrow, rows.get(arrow.tail), rows.get(arrow.head))
    _legend(dot, picture)
    return str(dot.source)


def escaped(text: str) -> str:
    """Untrusted text for an HTML-like label: no markup, line break or control character."""
    visible = "".join(c if c.isprintable() else " " for c in text)
    # Graphviz puts the node's name for \\N even here, so a backslash is written twice.
    return html.escape(visible, quote=True).replace("\\", "&#92;" * 2)


def quoted(text: str) -> str:
    """Untrusted text for a plain attribute: a backslash stays one, so ``\\N`` says just that."""
    visible = "".join(c if c.isprintable() else " " for c in text)
    return visible.replace("\\", "\\\\").replace("<", "‹").replace(">", "›")


def _gap(picture: Picture) -> str:
    """The space between boxes of a row: as wide as the longest label written there."""
    rows = {box.key: box.row for box in picture.boxes if box.row is not None}
    inside = [
        len(arrow.label)
        for arrow in picture.arrows
        if arrow.kind != "saved" and rows.get(arrow.tail, -1) == rows.get(arrow.head, -2)
    ]
    return f"{max(0.28, 0.16 + 0.066 * max(inside, default=0)):.2f}"


def _clusters(dot: Any, picture: Picture) -> None:
    """Boxes inside the clusters of their scopes, outermost first; a gradient has its own."""
    members: dict[tuple[str, ...], list[Box]] = {(): []}
    for box in picture.boxes:
        path = _cluster(box, aligned=picture.rows > 0)
        for length in range(len(path) + 1):
            members.setdefault(path[:length], [])
        members[path].append(box)
    for box in members[()]:
        _box(dot, box)
    numbers = {path: str(i) for i, path in enumerate(members)}
    open_: list[tuple[tuple[str, ...], Any]] = [((), dot)]
    for path in sorted(p for p in members if p):
        while path[: len(open_[-1][0])] != open_[-1][0]:
            _close(open_)
        cluster = _new_cluster(dot, path, numbers[path])
        for box in members[path]:
            _box(cluster, box)
        open_.append((path, cluster))
    while len(open_) > 1:
        _close(open_)


def _cluster(box: Box, aligned: bool) -> tuple[str, ...]:
    """The path of clusters around a box; aligned columns are clusters of their own."""
    if not box.path or ((box.ghost or box.kind == "output") and not aligned):
        return ()
    if box.order:
        return (*box.path, f"{'grad(' * box.order}{box.path[-1]}{')' * box.order}")
    if box.side:
        return (*box.path, UPDATES)
    return (*box.path, FORWARD) if aligned else box.path


def _close(open_: list[tuple[tuple[str, ...], Any]]) -> None:
    _, cluster = open_.pop()
    open_[-1][1].subgraph(cluster)


def _new_cluster(dot: Any, path: tuple[str, ...], number: str) -> Any:
    import graphviz

    cluster = graphviz.Digraph(f"cluster_{number}")
    gradient, update = path[-1].startswith("grad("), path[-1] == UPDATES
    line = LOOKS["gradient" if gradient else "state"].line if gradient or update else "#8b98a8"
    fill = "#fffaf5" if gradient else "#fcf7fa" if update else CLUSTER_FILLS[min(len(path), 3) - 1]
    cluster.attr(
        label=f"<<B>{escaped(_short(path[-1], 64))}</B>>", labeljust="l", style="rounded,filled",
        fillcolor=fill, color=line, penwidth="1.2", margin="10",
    )  # fmt: skip
    return cluster


def _box(dot: Any, box: Box) -> None:
    look, mark = LOOKS[box.kind], MARKS.get(box.status)
    bad = box.alarm
    style = look.style
    if box.ghost and box.kind not in ("input", "parameter", "state"):
        style = f"{style.replace('filled', '').strip(',')},dashed".strip(",")
    elif box.ghost:
        style = f"{style},dashed"
    fill, line, width = look.fill, look.line, "2.6" if bad or box.strong else "1.2"
    if mark is not None:
        fill, line, width = mark.fill, mark.line, mark.width
        style = f"{style},{mark.style}".strip(",")
    more = {"peripheries": "2"} if bad and look.shape != "folder" else {}
    dot.node(
        box.key,
        label=_label(box, bad),
        shape=look.shape,
        style=style,
        fillcolor=fill,
        color=ALARM if bad else line,
        penwidth=width,
        margin=MARGINS.get(box.kind, "0.08,0.04"),
        tooltip=quoted(box.tooltip) or " ",
        **more,
    )


def _label(box: Box, bad: bool) -> str:
    head = escaped(_short(box.op, 60))
    if box.symbol:
        head = f'<FONT POINT-SIZE="11"><B>{escaped(box.symbol)}</B></FONT>  {head}'
    mark = MARKS.get(box.status)
    if mark is not None and mark.sign:
        head += f'  <FONT COLOR="{mark.line}"><B>{mark.sign} {box.status}</B></FONT>'
    lines = [f'<FONT POINT-SIZE="8" COLOR="{FAINT}">{head}</FONT>', _bold(box.caption)]
    lines = [line for line, told in zip(lines, (head, box.caption), strict=True) if told.strip()]
    lines += [_small(note) for note in box.notes]
    if box.summary is not None:
        color = ALARM if bad else INK
        lines += [_small(line, color) for line in box.summary.lines]
        if box.summary.bars:
            bars = "".join(_BLOCKS[max(round(b * 8), int(b > 0))] for b in box.summary.bars)
            lines.append(f'<FONT POINT-SIZE="9" COLOR="{LOOKS[box.kind].line}">{bars}</FONT>')
    rows = "".join(f"<TR><TD>{line}</TD></TR>" for line in lines)
    return f'<<TABLE BORDER="0" CELLSPACING="0" CELLPADDING="1">{rows}</TABLE>>'


def _bold(text: str) -> str:
    return f"<B>{escaped(_short(text, 60))}</B>"


def _small(text: str, color: str = FAINT) -> str:
    return f'<FONT POINT-SIZE="8" COLOR="{color}">{escaped(_short(text, 60))}</FONT>'


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _arrow(dot: Any, arrow: Arrow, tail_row: int | None, head_row: int | None) -> None:
    line = LINES[arrow.kind]
    width = line.width if arrow.width is None else f"{arrow.width:.1f}"
    style = {"color": line.color, "style": line.style, "penwidth": width}
    if line.head != "normal":
        style["arrowhead"] = line.head
    if arrow.label and arrow.kind != "saved":
        # Graphviz loses edges when a label widens an edge inside a rank; beside it, it is safe.
        flat = tail_row is not None and tail_row == head_row
        style["xlabel" if flat else "label"] = f" {quoted(arrow.label)} "
    if arrow.kind in ("saved", "update", "replaced", "called"):
        if tail_row is None:  # it leads back: it must not decide who stands above whom
            style["constraint"] = "false"
        else:
            style["weight"] = "0"
    if arrow.kind in ("update", "use", "term", "broken", "replaced", "added", "removed"):
        style["fontcolor"] = line.color
    if arrow.kind in ("use", "term"):
        style["fontsize"] = "10"
    if tail_row is not None and head_row is not None and tail_row > head_row:
        style["arrowtail"] = style.pop("arrowhead", "normal")
        dot.edge(arrow.head, arrow.tail, dir="back", **style)
    else:
        dot.edge(arrow.tail, arrow.head, **style)


def _align(dot: Any, picture: Picture) -> None:
    """One rank a row, held in order by a column of invisible points."""
    rows: list[list[Box]] = [[] for _ in range(picture.rows)]
    for box in picture.boxes:
        rows[box.row or 0].append(box)
    import graphviz

    for number, row in enumerate(rows):
        rank = graphviz.Digraph(f"row_{number}")
        rank.attr(rank="same")
        rank.node(f"r{number}", shape="point", style="invis", width="0", height="0", label="")
        for box in row:
            rank.node(box.key)
        dot.subgraph(rank)
        _columns(dot, f"r{number}", row)
    for number in range(picture.rows - 1):
        dot.edge(f"r{number}", f"r{number + 1}", style="invis", weight="10")


def _columns(dot: Any, start: str, row: Sequence[Box]) -> None:
    """From left to right: what the next step needs, forward, gradient, gradient of gradient."""
    last, column = start, -1
    for box in sorted(row, key=_column):
        if _column(box) > column:
            dot.edge(last, box.key, style="invis", weight="0")
            last, column = box.key, _column(box)


def _column(box: Box) -> int:
    return 0 if box.side and not box.order else box.order + 1


def _legend(dot: Any, picture: Picture) -> None:
    """Only what the picture uses, as one table."""
    kinds = [k for k in LOOKS if any(b.kind == k for b in picture.boxes) and k != "output"]
    marks = [m for m in MARKS if any(b.status == m for b in picture.boxes)]
    lines = [k for k in LINES if k != "order" and any(a.kind == k for a in picture.arrows)]
    signs = {"solid": "→", "bold": "➞", "dotted": "┄", "dashed": "⇢"}
    if marks:
        cells = [_key(MARKS[m].fill, MARKS[m].line, MARKS[m].sign or "  ", MARKS[m].legend)
                 for m in marks]  # fmt: skip
        lines = [k for k in lines if k in ("replaced", "called", "equals", "added", "removed")]
    else:
        cells = [_key(LOOKS[k].fill, LOOKS[k].line, "  ", LOOKS[k].legend) for k in kinds]
    cells += [
        _key(PAPER, PAPER, signs[LINES[k].style], LINES[k].legend, LINES[k].color) for k in lines
    ]
    if not cells:
        return
    cells += [_key(PAPER, PAPER, "  ", text) for text in picture.told]
    rows = "".join(f"<TR>{''.join(cells[i : i + 4])}</TR>" for i in range(0, len(cells), 4))
    table = f'<<TABLE BORDER="0" CELLSPACING="4" CELLPADDING="1">{rows}</TABLE>>'
    dot.attr("graph", label=table, labelloc="b", labeljust="l")


def _key(fill: str, line: str, sign: str, text: str, ink: str = INK) -> str:
    return (
        f'<TD BGCOLOR="{fill}" COLOR="{line}" BORDER="1" WIDTH="20">'
        f'<FONT COLOR="{ink}">{sign}</FONT></TD>'
        f'<TD ALIGN="LEFT"><FONT POINT-SIZE="8">{escaped(text)}</FONT></TD>'
    )
