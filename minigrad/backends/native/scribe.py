"""Writing values: the names of loops, the text of an index, every value of an iteration once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from ...ir import Node
from .access import part
from .fuse import Kernel
from .names import Names
from .parts import KINDS, Key, Part
from .sizes import Axis, Index, Size, product
from .tasks import REDUCE

_LITERAL = re.compile(r"-?(\d|inf$|nan$|True$|False$)")
_WORD = re.compile(r"\b[A-Za-z]\w*")
LETTERS = "ijklmnopqrstuvw"


class Scribe:
    """The loops of a kernel by letter, and the values inside them."""

    def __init__(
        self,
        kernel: Kernel,
        homes: Mapping[Node, tuple[Size, ...]],
        names: Names,
        joined: Mapping[Axis, Axis],
    ) -> None:
        self.kernel, self.homes, self.names = kernel, homes, names
        self.axes = kernel.axes
        self.joined = joined  # an axis -> the inner axis whose loop it has joined
        self.lines: list[str] = []
        self.depth = 0
        self.places: list[Index] = []  # everywhere the kernel reads or writes
        self.pointers: dict[str, str] = {}
        self.reads: dict[str, set[int]] = {}
        self.written: list[str] = []
        self.loads: set[Node] = set()
        self.count = 0
        self.row = ""  # which of several rows is being written
        self.env: dict[Key, str] = {}
        self.block_env: dict[Key, str] = {}
        self.phase = 0
        self._name_loops()

    # --- loops -------------------------------------------------------------------------------

    def _name_loops(self) -> None:
        """Groups of axes, outermost first, each one loop; and the letters of the loops."""
        groups: dict[Axis, list[Axis]] = {}
        for axis in self.kernel.order:
            groups.setdefault(self._leader(axis), []).append(axis)
        ordered = sorted(groups.values(), key=lambda g: self.kernel.order.index(g[-1]))
        outer = self.kernel.outer
        if not self.kernel.local:
            outer = max(len(ordered) - 1, min(len(ordered), 1))
        else:
            front = set(self.kernel.order[:outer])
            outer = sum(group[0] in front for group in ordered)
        self.outer, self.inner = ordered[:outer], ordered[outer:]
        self.letters = {g[-1]: LETTERS[k] for k, g in enumerate(ordered)}

    def _leader(self, axis: Axis) -> Axis:
        while axis in self.joined:
            axis = self.joined[axis]
        return axis

    def extent(self, group: Sequence[Axis]) -> Size:
        return product(self.axes[a] for a in group)

    def mergeable(self) -> dict[Axis, Axis]:
        """Axes that can join the next inner one: one stride serves both, everywhere."""
        joined: dict[Axis, Axis] = {}
        order, outer = self.kernel.order, self.kernel.outer
        reductions = [t.reduced for t in self.kernel.tasks if t.kind == REDUCE]
        for k, (a, b) in enumerate(pairwise(order)):
            if self.kernel.local and k + 1 == outer:
                continue
            same = all((a in reduced) == (b in reduced) for reduced in reductions)
            if same and all(self._even(place, a, b) for place in self.places):
                joined[a] = b
        return joined

    def _even(self, place: Index, a: Axis, b: Axis) -> bool:
        if a in place.reads or b in place.reads:
            return False
        steps: dict[Axis, list[Size]] = {a: [], b: []}
        for axis, size in place.terms:
            if axis in steps:
                steps[axis].append(size)
        if not steps[a] and not steps[b]:
            return True
        if len(steps[a]) != 1 or len(steps[b]) != 1:
            return False
        return steps[a][0] == steps[b][0] * self.axes[b]

    def show(self, place: Index) -> str:
        """An index as text, in the letters of the loops."""
        self.places.append(place)
        terms = [(self._letter(a), s) for a, s in place.terms if a not in self.joined]
        parts = [a if s.is_one else f"{a} * {s}" for a, s in terms]
        if place.text:
            parts.append(self.lettered(place.text))
        if place.offset or not parts:
            parts.append(str(place.offset))
        return " + ".join(parts)

    def lettered(self, text: str) -> str:
        """Axes in a text, by the letters of their loops; they can join no other loop then."""
        known = {axis: self._letter(axis) for axis in self.axes if axis not in self.joined}

        def letter(match: re.Match[str]) -> str:
            axis = match.group()
            if axis not in known:
                return axis
            self.places.append(Index(reads=frozenset([axis])))
            return known[axis]

        return _WORD.sub(letter, text.replace("@", ""))

    def _letter(self, axis: Axis) -> str:
        letter = self.letters[axis]
        outer = bool(self.outer) and axis == self.outer[0][-1]
        return f"{letter}{self.row}" if outer else letter

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def loop(self, letter: str, *bounds: object) -> None:
        self.line(f"for {letter} in range({', '.join(map(str, bounds))}):")
        self.depth += 1

    # --- values ------------------------------------------------------------------------------

    def pointer(self, name: str, kind: str) -> str:
        self.pointers.setdefault(name, kind)
        return name

    def step(self, key: Key, root: bool) -> Part:
        """What a value is made of; memory is read where the task said that it reads it."""
        homes = self.homes if key[0] in self.loads and not root else {}
        step = part(*key, homes, self.names.of, self.axes, self.show)
        return step

    def value(self, key: Key, root: bool = False) -> str:
        """The text of a value; lines before it compute what it needs, each once."""
        stack: list[Key] = [key]
        steps: dict[Key, Part] = {}
        while stack:
            now = stack[-1]
            if self._known(now) is not None:
                stack.pop()
                continue
            if now not in steps:
                steps[now] = self.step(now, root and now == key)
            step = steps[now]
            missing = [o for o in step.operands if self._known(o) is None]
            if missing:
                stack.extend(reversed(missing))
                continue
            stack.pop()
            self._compute(now, step)
        found = self._known(key)
        assert found is not None
        return found

    def _known(self, key: Key) -> str | None:
        return self.env.get(key) or self.block_env.get(key)

    def _compute(self, key: Key, step: Part) -> None:
        node = key[0]
        texts = [self._known(o) or "" for o in step.operands]
        pairs = list(zip(step.operands, texts, strict=True))
        numbers = [text for o, text in pairs if o[0].type.dtype != np.bool_] or texts
        if texts and not step.alias and all(_LITERAL.match(text) for text in numbers):
            texts = [  # say what kind of numbers they are
                f"{KINDS[o[0].type.dtype]}({text})" if _LITERAL.match(text) else text
                for o, text in pairs
            ]
        if step.load is not None:
            name = self.pointer(self.names.of[node], KINDS[node.type.dtype])
            passes = self.reads.setdefault(name, set())
            if len(step.load.axes) >= sum(d != 1 for d in node.type.shape):
                passes.add(self.phase)  # all of it, not a row that a shift is taken from
        text = step.build(texts)
        if step.load is None and "[" not in text:
            text = self.lettered(text) if not step.alias else text
        if step.alias or (node.prim.name == "constant" and step.load is None):
            self.env[key] = text
            return
        self.env[key] = self.fresh(node.prim.name if step.load is None else self.names.of[node])
        self.line(f"{self.env[key]} = {text}")

    def fresh(self, root: str) -> str:
        self.count = self.names.unused(root, self.count + 1)
        return f"{root}_{self.count}"
