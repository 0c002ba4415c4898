"""A derivation in one picture: a frame a step, what stood there, and what stands there now.

Values that have a name are drawn as that name, so every frame is as small as its equation. A name
that an earlier step gave is led there by a dotted line.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Node, is_leaf, toposort
from ..passes.derivation import Derivation, Step
from ..rewrite.formula import formula
from .captions import clipped, header, inline
from .picture import Arrow, Box, Picture

_LONGEST = 56


def compose_derivation(derivation: Derivation) -> Picture:
    """The picture of a derivation: its steps from top to bottom."""
    boxes: dict[str, Box] = {}
    arrows: dict[Arrow, None] = {}
    made: dict[str, str] = {}  # the name that a step gave -> the box of what it gave it to
    last = ""
    for number, step in enumerate(derivation.steps, 1):
        frame = _Frame(step, number, last)
        boxes |= frame.boxes
        arrows |= dict.fromkeys(frame.arrows)
        for name, key in frame.named.items():
            if name in made:
                arrows[Arrow(made[name], key, "called")] = None
        if frame.called:
            made[frame.called] = frame.last
        last = frame.last
    told = [clipped(text, 100) for text in (derivation.claim, *derivation.definitions)]
    count = len(derivation.steps)
    told.append(
        f"{count} step{'s' * (count != 1)}, each tried at {derivation.points} random points in"
        f" float64: off by {derivation.error:.0e} at most"
    )
    return Picture(derivation.claim, tuple(boxes.values()), tuple(arrows), told=tuple(told))


class _Frame:
    """One step: both sides over the names that they are written in."""

    def __init__(self, step: Step, number: int, last: str) -> None:
        self.step, self.path = step, (f"{number}. {', '.join(step.laws) or 'definition'}",)
        sides = (step.before, step.after)
        self.names = {n: t for n, t in step.names.items() if n not in sides}
        self.called = "" if is_leaf(step.after) else step.names.get(step.after, "")
        stop = list(self.names)
        order = [n for n in toposort(sides, stop=stop) if not inline(n)]
        leaves = dict.fromkeys(o for n in order for o in n.inputs if o in self.names)
        self.keys = {n: f"d{number}n{i}" for i, n in enumerate([*leaves, *order])}
        self.named = {self.names[n]: self.keys[n] for n in leaves}
        self.boxes = {self.keys[n]: self._box(n) for n in self.keys}
        self.last = self.keys.get(step.after, "") or self.keys[step.before]
        self.arrows = list(self._arrows())
        if last:
            self.arrows += [Arrow(last, key, "order") for key in self.keys.values()]

    def _box(self, node: Node) -> Box:
        step, key = self.step, self.keys[node]
        if node in self.names:
            return Box(
                key, "named", "", "", clipped(self.names[node], 32), str(node.type), self.path
            )
        symbol, op = header(node)
        kind = node.prim.name if is_leaf(node) else "gradient" if node.scope.order else "forward"
        status = "before" if node is step.before else "after" if node is step.after else ""
        name = f"{self.called} = " if node is step.after and self.called else ""
        text = clipped(name + formula(node, self.names), _LONGEST)
        return Box(
            key, kind, symbol, op, text, str(node.type), self.path,
            status=status, tooltip=clipped(node.line, 200),
        )  # fmt: skip

    def _arrows(self) -> Iterator[Arrow]:
        for node, key in self.keys.items():
            if node in self.names:
                continue
            kind = "gradient" if node.scope.order else "data"
            for position, operand in enumerate(node.inputs):
                if operand in self.keys:
                    yield Arrow(self.keys[operand], key, kind, "", position)
        before, after = self.keys.get(self.step.before), self.keys.get(self.step.after)
        if before and after and before != after:
            yield Arrow(before, after, "equals", "=")
