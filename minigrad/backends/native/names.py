"""What values are called in kernels, and a kernel's text with what it takes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ...ir import Node
from .parts import KINDS
from .sizes import Size, product, size_of

DIM = re.compile(r"\bdim_(\w+)")
SCALAR_SLOT = Size((), 16)  # a part of a full sum has a cache line of its own


@dataclass
class Names:
    """What the values of a graph are called in kernels; the same name is the same memory."""

    threads: int = 1  # parts of a sum that is taken in parts
    of: dict[Node, str] = field(default_factory=dict)
    tiles: dict[Node, str] = field(default_factory=dict)  # of products with windows
    parts: dict[Node, str] = field(default_factory=dict)  # partial results of a reduction
    extra: dict[Node, list[str]] = field(default_factory=dict)  # where else a value is written
    taken: set[str] = field(default_factory=set)  # all of them
    free: dict[tuple[str, int], int] = field(default_factory=dict)  # what `unused` has found

    def unused(self, root: str, number: int) -> int:
        """The first number from ``number`` on that makes ``root_number`` a new name."""
        found = self.free.get((root, number), number)
        while f"{root}_{found}" in self.taken:
            found = self.free.get((root, found + 1), found + 1)
        self.free[root, number] = found
        return found


@dataclass
class Text:
    """The text of one kernel, and what it takes."""

    lines: list[str]
    pointers: dict[str, str]  # parameter -> its kind, in order of use
    dims: list[str]
    reads: dict[str, set[int]]  # buffer -> the loops that read it
    writes: list[str]

    def source(self, name: str, summary: str) -> str:
        given = [f"{p}: ptr_{kind}" for p, kind in self.pointers.items()]
        given += [f"dim_{d}: index" for d in self.dims]
        given += ["thread: index", "threads: index"]
        body = "\n".join(f"    {line}" for line in self.lines)
        doc = f'    """{summary}"""\n' if summary else ""
        return f"def {name}({', '.join(given)}):\n{doc}{body}\n"


def slot_of(node: Node) -> Size:
    """Elements of one thread's part of a reduction."""
    size = product(map(size_of, node.type.shape))
    return SCALAR_SLOT if size.is_one else size


def accumulator(node: Node) -> str:
    """The kind in which a reduction adds up: half precision in single."""
    kind = KINDS[node.type.dtype]
    return "f32" if kind == "f16" else kind
