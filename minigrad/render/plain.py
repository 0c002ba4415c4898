"""A picture as Mermaid and as plain text, for places that show no image."""

from __future__ import annotations

from collections.abc import Sequence

from .captions import clipped
from .picture import Arrow, Box, Picture
from .style import LINES, LOOKS, MARKS

# Brackets of a Mermaid node for the shapes of `style.LOOKS`.
_SHAPES = {
    "ellipse": ("([", "])"),
    "cylinder": ("[(", ")]"),
    "box3d": ("[[", "]]"),
    "folder": ("{{", "}}"),
}
_ARROWS = {"dotted": "-.->", "dashed": "-.->", "bold": "==>", "solid": "-->"}
# Arrows that the text names.
_TOLD = {
    "use": "reads", "term": "adds", "update": "becomes", "broken": "not finite from",
    "replaced": "replaces", "removed": "read", "added": "reads now",
    "equals": "equals",
}  # fmt: skip
_WIDTH = 96  # characters of a line of text


def mermaid_text(picture: Picture) -> str:
    """A Mermaid flowchart: the same boxes, scopes and arrows."""
    lines = ["flowchart TB"]
    paths: dict[tuple[str, ...], list[Box]] = {(): []}
    for box in picture.boxes:
        path = _path(box)
        for length in range(len(path) + 1):
            paths.setdefault(path[:length], [])
        paths[path].append(box)
    lines += [f"  {_node(box)}" for box in paths[()]]
    depth = 0
    for number, path in enumerate(sorted(p for p in paths if p)):
        while depth >= len(path):
            lines.append("  " * depth + "end")
            depth -= 1
        depth = len(path)
        lines.append(f'{"  " * depth}subgraph scope{number} ["{_safe(path[-1], 40)}"]')
        lines += [f"{'  ' * (depth + 1)}{_node(box)}" for box in paths[path]]
    lines += ["  " * d + "end" for d in range(depth, 0, -1)]
    lines += [f"  {_edge(arrow)}" for arrow in picture.arrows if arrow.kind != "order"]
    for kind in dict.fromkeys(box.kind for box in picture.boxes):
        look = LOOKS[kind]
        lines.append(f"  classDef {kind}Box fill:{look.fill},stroke:{look.line},color:#1a1a1a")
    for status in dict.fromkeys(box.status for box in picture.boxes if box.status):
        mark = MARKS[status]
        dash = ",stroke-dasharray:5 3" if mark.style else ""
        lines.append(f"  classDef {status}Mark fill:{mark.fill},stroke:{mark.line}{dash}")
    return "\n".join(lines) + "\n"


def plain_text(picture: Picture) -> str:
    """A line a box: what it computes and its type, a gradient below its cause.

    Rows are numbered where the picture has rows; forward boxes are marked ``>`` and gradient
    boxes ``<``; ``*`` marks what the picture is about, ``~`` what only the next step needs.
    """
    names = {box.key: box.caption or box.op for box in picture.boxes}
    incoming: dict[str, list[Arrow]] = {}
    for arrow in picture.arrows:
        incoming.setdefault(arrow.head, []).append(arrow)
    boxes: Sequence[Box] = picture.boxes
    if picture.rows:
        boxes = sorted(boxes, key=lambda b: (b.row or 0, not b.side, b.order))
    lines, scope = [], ""
    last: int | None = None
    for box in boxes:
        here = "/".join(clipped(part, 40) for part in _path(box))
        if here != scope and not picture.rows:
            lines.append(f"[{_line(here)}]" if here else "[outside]")
            scope = here
        row = f"{box.row:3} " if picture.rows and box.row != last else "    " * bool(picture.rows)
        last = box.row
        lines.append(row + _described(box))
        lines += [f"{' ' * len(row)}      {_line(note)}" for note in _notes(box)]
        for arrow in incoming.get(box.key, ()):
            if arrow.kind in _TOLD:  # the formula says the others
                told = f"{_TOLD[arrow.kind]} {names[arrow.tail].split(' = ')[0]}"
                label = f"  ({arrow.label})" if arrow.kind != "replaced" else ""
                lines.append(f"{' ' * len(row)}      {_line(told)}{_line(label)}")
    lines += ["", *picture.told] if picture.told else []
    return "\n".join(lines) + "\n"


def _path(box: Box) -> tuple[str, ...]:
    return () if box.ghost or box.kind == "output" else box.path


def _described(box: Box) -> str:
    sign = MARKS[box.status].sign if box.status else ""
    mark = "*" if box.strong else "~" if box.side else "<" if box.order else ">"
    op = _line(box.op)
    text = f"{sign or mark} {_line(box.caption) or op}"
    kind = op if op != box.caption else ""
    return f"{text:<44} {box.type:<14} {kind}".rstrip()[:_WIDTH]


def _notes(box: Box) -> list[str]:
    return [*box.notes, *(box.summary.lines if box.summary is not None else ())]


def _node(box: Box) -> str:
    opening, closing = _SHAPES.get(LOOKS[box.kind].shape, ("[", "]") if box.order else ("(", ")"))
    status = MARKS[box.status] if box.status else None
    mark = f"{status.sign} {box.status}: " if status is not None and status.sign else ""
    told = [mark + box.op, box.caption, *_notes(box)]
    label = "<br>".join(_safe(part, 60) for part in told if part)
    kind = f"{box.status}Mark" if box.status else f"{box.kind}Box"
    return f'{box.key}{opening}"{label}"{closing}:::{kind}'


def _edge(arrow: Arrow) -> str:
    line = _ARROWS[LINES[arrow.kind].style]
    label = f'|"{_safe(arrow.label, 60)}"|' if arrow.label and arrow.kind != "saved" else ""
    return f"{arrow.tail} {line}{label} {arrow.head}"


def _safe(text: str, length: int) -> str:
    """Untrusted text inside a quoted Mermaid label: every sign that means something is a code."""
    short = clipped(_line(text), length)
    return "".join(c if c.isalnum() or c in _PLAIN else f"#{ord(c)};" for c in short)


_PLAIN = " .,:+−·/√²³μσγβεΣΣx̂̂()=…±≈①②③❶❷❸❹❺❻❼❽❾❿"


def _line(text: str) -> str:
    """Untrusted text on one line, without control characters."""
    return "".join(c if c.isprintable() else " " for c in text)
