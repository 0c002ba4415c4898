"""A kernel's text: its loops, and the levels of dependent reductions inside them.

The text is written twice: the first time only to see where it reads and writes, so that axes
which lie evenly in memory everywhere can become one loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np

from ...ir import Node
from .fuse import Kernel
from .names import DIM, SCALAR_SLOT, Names, Text, accumulator, slot_of
from .parts import KINDS, Indices, literal, strides_of
from .scribe import Scribe
from .sizes import Axis, Size, flat, product, size_of
from .tasks import FINAL, REDUCE, STORE, Task

ROWS = 4  # rows added up at once, where a sum runs down the rows of a matrix
BLOCK = 1024  # elements added up before they join the total


def write(kernel: Kernel, homes: Mapping[Node, tuple[Size, ...]], names: Names) -> Text:
    """The text of a kernel."""
    dry = _Writer(kernel, homes, names, {})
    text = dry.kernel_text()
    joined = dry.mergeable()
    return _Writer(kernel, homes, names, joined).kernel_text() if joined else text


class _Writer(Scribe):
    # --- the kernel --------------------------------------------------------------------------

    def kernel_text(self) -> Text:
        self.sums: dict[Node, str] = {}  # full sums: a variable for the whole range
        for task in self.kernel.partial:
            self.clear(task)
        if not self.kernel.order:
            self.body(self.kernel.tasks)
        elif not self.inner:
            self.flat_kernel()
        else:
            self.block_kernel()
        for task in self.kernel.partial:
            if task.node in self.sums:
                name = self.pointer(self.names.parts[task.node], accumulator(task.node))
                total = narrowed(self.sums[task.node], task.node)
                self.line(f"{name}[thread * {slot_of(task.node)}] = {total}")
        dims = sorted({name for line in self.lines for name in DIM.findall(line)})
        return Text(self.lines, self.pointers, dims, self.reads, self.written)

    def clear(self, task: Task) -> None:
        """Every part of a reduction starts from nothing, also those of threads that stay idle."""
        node, kind = task.node, accumulator(task.node)
        name = self.pointer(self.names.parts[node], kind)
        slot = slot_of(node)
        parts = self.names.threads
        start = f"{parts} * thread // threads * {slot}"
        stop = f"{parts} * (thread + 1) // threads * {slot}"
        self.loop("z", start, stop)
        self.line(f"{name}[z] = {initial(node)}")
        self.depth -= 1
        if self.is_full(task):
            self.sums[node] = self.total_line(task)

    def is_full(self, task: Task) -> bool:
        return slot_of(task.node) is SCALAR_SLOT

    def bounds(self, group: Sequence[Axis]) -> tuple[str, str]:
        n = self.extent(group)
        return f"({n}) * thread // threads", f"({n}) * (thread + 1) // threads"

    def flat_kernel(self) -> None:
        """One loop, shared among the threads."""
        (group,) = self.outer
        letter = self.letters[group[-1]]
        low, high = self.bounds(group)
        reductions = [t for t in self.kernel.tasks if t.kind == REDUCE]
        if not reductions:
            self.loop(letter, low, high)
            self.body(self.kernel.tasks)
            self.depth -= 1
            return
        self.line(f"last = {high}")
        self.loop("block", low, "last", BLOCK)
        inner = {t.node: self.accumulator_line(t) for t in reductions}
        self.loop(letter, "block", f"lesser(block + {BLOCK}, last)")
        self.body(self.kernel.tasks, inner)
        self.depth -= 1
        for task in reductions:
            self.join(task, self.sums[task.node], inner[task.node])
        self.depth -= 1

    def block_kernel(self) -> None:
        total = self.extent([a for g in self.outer for a in g])
        low, high = f"({total}) * thread // threads", f"({total}) * (thread + 1) // threads"
        if self.unrollable():
            letter = self.letters[self.outer[0][-1]]
            self.line(f"first = {low}")
            self.line(f"last = {high}")
            self.line(f"whole = first + (last - first) // {ROWS} * {ROWS}")
            self.loop(letter, "first", "whole", ROWS)
            for row in range(1, ROWS):
                self.line(f"{letter}{row} = {letter} + {row}")
            self.rows()
            self.depth -= 1
            self.loop(letter, "whole", "last")
        elif len(self.outer) == 1:
            self.loop(self.letters[self.outer[0][-1]], low, high)
        else:
            self.loop("b", low, high)
            rest = "b"
            for group in reversed(self.outer[1:]):
                letter, size = self.letters[group[-1]], self.extent(group)
                self.line(f"{letter} = {rest} % ({size})")
                self.line(f"{letter}r = {rest} // ({size})")
                rest = f"{letter}r"
            self.line(f"{self.letters[self.outer[0][-1]]} = {rest}")
        self.block_env = {}
        for phase in range(max(self.kernel.phase.values(), default=0) + 1):
            self.phase = phase
            now = [k for k, at in sorted(self.kernel.phase.items()) if at == phase]
            self.ahead([self.kernel.tasks[k] for k in now if k in self.kernel.ahead])
            self.phase_loops([self.kernel.tasks[k] for k in now if k not in self.kernel.ahead])
        self.depth -= 1

    def ahead(self, tasks: Sequence[Task]) -> None:
        """Values of the whole block, once before its loops."""
        self.env = {}
        for task in tasks:
            self.store(task)
        self.block_env.update(self.env)

    def unrollable(self) -> bool:
        """A sum down the rows of a matrix: several rows at once, one visit of the totals."""
        reductions = [t for t in self.kernel.tasks if t.kind == REDUCE]
        if self.kernel.local or not reductions or len(self.outer) > 1 or len(self.inner) > 1:
            return False
        if any(t.kind == FINAL for t in self.kernel.tasks):
            return False
        return all(not set(self.inner[0]) & t.reduced for t in reductions)

    def rows(self) -> None:
        (group,) = self.inner
        self.loop(self.letters[group[-1]], self.extent(group))
        found: dict[Node, list[str]] = {}
        places: dict[Node, str] = {}
        for row in range(ROWS):
            self.row = str(row) if row else ""
            self.env = {}
            for task in self.kernel.tasks:
                if task.kind == REDUCE:
                    value = self.reduced_value(task)
                    found.setdefault(task.node, []).append(value)
                    places.setdefault(task.node, self.part_place(task))
                else:
                    self.store(task)
        self.row = ""
        for node, values in found.items():
            self.line(_together(places[node], values, node))
        self.env = {}
        self.depth -= 1

    def phase_loops(self, tasks: Sequence[Task]) -> None:
        """The inner loops of one level of a block, and its reductions finished after them."""
        if not tasks:
            return
        local = [t for t in tasks if t.kind == REDUCE and t.node in self.kernel.local]
        innermost = self.inner[-1]
        summed = [t for t in tasks if t.kind == REDUCE and set(innermost) <= t.reduced]
        letter, size = self.letters[innermost[-1]], self.extent(innermost)
        blocked = bool(summed) and (bool(size.names) or size.number > 2 * BLOCK)
        direct = len(self.inner) == 1 and not blocked
        start = self.accumulator_line if direct else self.total_line
        totals = {t.node: start(t) for t in local}
        for group in self.inner[:-1]:
            self.loop(self.letters[group[-1]], self.extent(group))
        if blocked:
            self.loop("block", 0, size, BLOCK)
        inner = {
            t.node: totals[t.node] if direct and t.node in totals else self.accumulator_line(t)
            for t in summed
        }
        if blocked:
            self.loop(letter, "block", f"lesser(block + {BLOCK}, {size})")
        else:
            self.loop(letter, size)
        self.body(tasks, inner)
        self.depth -= 1
        for task in summed:
            if task.node in totals:
                if inner[task.node] != totals[task.node]:
                    self.join(task, totals[task.node], inner[task.node])
            else:
                self.join(task, self.target(task), inner[task.node])
        self.depth -= blocked + len(self.inner) - 1
        for task in local:
            total = totals[task.node]
            self.finish(task, total if direct else narrowed(total, task.node))

    def finish(self, task: Task, total: str) -> None:
        """A reduction of this block: known to the loops that follow, and kept in memory."""
        node = task.node
        name = self.fresh(node.prim.name)
        self.line(f"{name} = {finished(task, total)}")
        self.block_env[(node, task.kept)] = name
        self.put(node, task.kept, name)

    def accumulator_line(self, task: Task) -> str:
        name = self.fresh("s")
        self.line(f"{name} = {initial(task.node)}")
        return name

    def total_line(self, task: Task) -> str:
        """Where sums of blocks are added up: there is time to do it in double precision."""
        name = self.fresh("total")
        self.line(f"{name} = {initial(task.node, wide(task.node))}")
        return name

    def body(self, tasks: Sequence[Task], inner: Mapping[Node, str] | None = None) -> None:
        """The values of one innermost iteration."""
        inner = inner or {}
        self.env = {}
        for task in tasks:
            if task.kind == FINAL:
                self.combine(task)
            elif task.kind == STORE:
                self.store(task)
            else:
                target = inner.get(task.node) or self.target(task)
                self.line(_accumulated(target, self.reduced_value(task), task.node))
        kept = self.env
        self.env = {}
        self.block_env.update({k: v for k, v in kept.items() if not self.kernel.order})

    def target(self, task: Task) -> str:
        """Where a partial reduction of this thread adds up."""
        return self.sums[task.node] if task.node in self.sums else self.part_place(task)

    def part_place(self, task: Task) -> str:
        name = self.pointer(self.names.parts[task.node], accumulator(task.node))
        place = self.show(flat(task.kept, strides_of(task.node.type.shape)))
        return f"{name}[thread * ({slot_of(task.node)}) + {place}]"

    def reduced_value(self, task: Task) -> str:
        self.loads = set(task.operands)
        text = self.value((task.node.inputs[0], task.index))
        kind = accumulator(task.node)
        return text if kind == KINDS[task.node.type.dtype] else f"{kind}({text})"

    def join(self, task: Task, total: str, part_: str) -> None:
        self.line(_accumulated(total, part_, task.node))

    def store(self, task: Task) -> None:
        self.loads = set(task.operands)
        value = self.value((task.node, task.index), root=True)
        if value[0].isalpha() and "_" in value:  # a name: the loops that follow can use it
            self.env[(task.node, task.index)] = value
        self.put(task.node, task.index, value)

    def put(self, node: Node, index: Indices, value: str) -> None:
        place = self.show(flat(index, self.homes[node]))
        for name in [self.names.of[node], *self.names.extra.get(node, [])]:
            self.pointer(name, KINDS[node.type.dtype])
            self.written.append(name)
            self.line(f"{name}[{place}] = {value}")

    def combine(self, task: Task) -> None:
        """The parts of all threads, in order of the threads."""
        node = task.node
        name = self.pointer(self.names.parts[node], accumulator(node))
        place = self.show(flat(task.index, strides_of(node.type.shape)))
        total = self.fresh("total")
        self.line(f"{total} = {name}[{place}]")
        for thread in range(1, self.names.threads):
            other = f"{name}[{slot_of(node) * Size((), thread)} + {place}]"
            self.line(_accumulated(total, other, node))
        found = self.fresh(node.prim.name)
        self.line(f"{found} = {finished(task, total)}")
        self.env[(node, task.index)] = found
        self.put(node, task.index, found)


def wide(node: Node) -> str:
    """The kind of a sum of sums, which are few."""
    kind = accumulator(node)
    return "f64" if kind == "f32" and node.prim.name != "max" else kind


def narrowed(total: str, node: Node) -> str:
    kind = accumulator(node)
    return total if kind == wide(node) else f"{kind}({total})"


def initial(node: Node, kind: str = "") -> str:
    """What a reduction starts from."""
    kind = kind or accumulator(node)
    if node.prim.name != "max":
        return f"{kind}(0)"
    dtype = node.type.dtype
    if dtype.kind == "f":
        return f"{kind}(-inf)"
    return f"{kind}({literal(np.asarray(np.iinfo(dtype).min if dtype.kind == 'i' else False))})"


def finished(task: Task, total: str) -> str:
    """The result from the total: a mean is divided, half precision is rounded."""
    node, x = task.node, task.node.inputs[0]
    if node.prim.name == "mean":
        count = product(size_of(x.type.shape[a]) for a in node.attrs["axis"])
        total = f"{total} / {accumulator(node)}({count})"
    kind = KINDS[node.type.dtype]
    return total if kind == accumulator(node) else f"{kind}({total})"


def _accumulated(target: str, value: str, node: Node) -> str:
    if node.prim.name == "max":
        return f"{target} = maximum({target}, {value})"
    return f"{target} += {value}"


def _together(place: str, values: Sequence[str], node: Node) -> str:
    """Several rows at once, products by multiply-and-add; as long sums grow, theirs join last."""
    if node.prim.name == "max":
        return f"{place} = {reduce(lambda a, b: f'maximum({a}, {b})', [place, *values])}"
    return f"{place} = {place} + ({' + '.join(values)})"  # += would let the compiler reorder it
