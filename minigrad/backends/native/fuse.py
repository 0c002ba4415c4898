"""The one scheduling rule: tasks that run the same loops share them.

Reductions and elementwise values over the same axes form one kernel. A reduction whose kept axes
can be the outer loops is finished inside the kernel, block by block, and what depends on it
follows in the same block (rows of layer norm, channels of an image); any other is summed in parts,
one for each thread, and finished by the next kernel (columns of a matrix). Nothing here knows
which normaliser it is looking at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...ir import Node
from .board import Board
from .packed import STACK, PackedProduct
from .parts import Indices
from .sizes import ONE, Axis, Index, Size, divided, product
from .tasks import FINAL, HOST, PRODUCT, REDUCE, STORE, Task

MOST_BUFFERS = 40  # of one kernel
MOST_REFUSED = 100  # tasks for which a kernel had no buffer left, before no more are asked


@dataclass
class Kernel:
    """Tasks in one nest of loops: ``order[:outer]`` is shared among threads, block by block."""

    tasks: list[Task]
    order: list[Axis] = field(default_factory=list)
    outer: int = 0
    local: set[Node] = field(default_factory=set)  # reductions finished inside
    phase: dict[int, int] = field(default_factory=dict)  # position of a task -> its loop
    origin: list[Task] = field(default_factory=list)  # the tasks as they were handed in
    ahead: set[int] = field(default_factory=set)  # tasks of a whole block, before its loops

    @property
    def kind(self) -> str:
        kind = self.tasks[0].kind
        return kind if kind in (PRODUCT, HOST) else "loops"

    @property
    def axes(self) -> dict[Axis, Size]:
        sizes = self.tasks[0].axes  # the first runs all loops
        return {axis: sizes[axis] for axis in self.order}

    @property
    def partial(self) -> list[Task]:
        return [
            t
            for t in self.tasks
            if (t.kind == REDUCE and t.node not in self.local)
            or (isinstance(t.product, PackedProduct) and t.product.kind == STACK)
        ]

    @property
    def writes(self) -> list[Node]:
        """Values that are whole after this kernel."""
        partial = {t.node for t in self.partial}
        finals = {t.node for t in self.tasks if t.kind == FINAL}
        return list(
            dict.fromkeys(t.node for t in self.tasks if t.node not in partial or t.node in finals)
        )


def fuse(
    tasks: Sequence[Task], readers: Mapping[Node, list[tuple[Node, Task]]] | None = None
) -> list[Kernel]:
    """Kernels in an order that runs; a value that replaces a state waits for its ``readers``."""
    board = Board(tasks, readers or {})
    kernels: list[Kernel] = []
    while (seed := board.next()) is not None:
        kernel = Kernel([seed], origin=[seed])
        if seed.kind not in (PRODUCT, HOST):
            kernel = _grown(seed, board)
        kernels.append(kernel)
        partial = [t.node for t in kernel.partial]
        board.finish(kernel.origin, kernel.writes, partial, kernel.local)
    return kernels


def _grown(seed: Task, board: Board) -> Kernel:
    """Everything that can share the loops of ``seed``, those that are ready first."""
    tasks: list[Task] = [seed]
    origin: list[Task] = [seed]
    buffers = _buffers(seed)
    refused = 0
    for task in board.beside(seed):
        if task is seed or board.waits(task, buffers):
            continue
        if len(buffers | _buffers(task)) > MOST_BUFFERS:
            refused += 1
            if refused == MOST_REFUSED:
                break
            continue
        found = aligned(task, tasks[0].axes)
        if found is None:
            refined = [aligned(t, task.axes) for t in tasks]
            if any(t is None for t in refined):
                continue
            tasks = [t for t in refined if t is not None]
            found = aligned(task, tasks[0].axes)
            assert found is not None
        tasks.append(found)
        origin.append(task)
        buffers |= _buffers(task)
    kernel = Kernel(tasks, origin=origin, phase=dict.fromkeys(range(len(tasks)), 0))
    kernel.order, kernel.outer, kept = _loops(tasks, list(tasks[0].axes))
    kernel.local = {t.node for t in tasks if _is_local(t, kept)}
    _extend(kernel, board, kept, buffers)
    return kernel


def _extend(kernel: Kernel, board: Board, kept: frozenset[Axis] | None, buffers: set[Node]) -> None:
    """Add what needs values of this kernel, as long as it finds them in its own block."""
    taken = {id(t) for t in kernel.origin}
    sizes = kernel.tasks[0].axes
    block = {axis: sizes[axis] for axis in kernel.order[: kernel.outer]}
    for task in board.reachable(kernel.origin, product(block.values()) if kernel.local else None):
        if id(task) in taken or task.kind in (PRODUCT, HOST, FINAL):
            continue
        if len(buffers | _buffers(task)) > MOST_BUFFERS or board.waits(task, buffers):
            continue
        found = aligned(task, sizes)
        ahead = found is None and bool(kernel.local) and task.kind == STORE
        if ahead:
            found = aligned(task, block)
        phase = None if found is None else _phase(found, task, kernel, board, ahead)
        if found is None or phase is None:
            continue
        if ahead:
            kernel.ahead.add(len(kernel.tasks))
        kernel.phase[len(kernel.tasks)] = phase
        kernel.tasks.append(found)
        kernel.origin.append(task)
        buffers |= _buffers(task)
        if _is_local(found, kept):
            kernel.local.add(found.node)


def _phase(task: Task, original: Task, kernel: Kernel, board: Board, ahead: bool) -> int | None:
    """The loop of the block in which the task can run, or None when it has to wait."""
    phase = 0
    here = {id(t): k for k, t in enumerate(kernel.origin)}
    for state, other in board.waiting(original):
        if id(other) not in here:
            return None
        reads = [i for n, i in kernel.tasks[here[id(other)]].reads if n is state]
        if any(i != task.index for i in reads):
            return None
    places: dict[Node, list[tuple[int, Task]]] = {}
    for position, other in enumerate(kernel.tasks):
        places.setdefault(other.node, []).append((position, other))
    for node, index in task.reads:
        if node in board.done or node not in board.made:
            continue
        if node not in places:
            return None
        position, other = places[node][-1]
        if index != other.kept:
            return None
        if other.kind == REDUCE:
            if node not in kernel.local:
                return None
            phase = max(phase, kernel.phase[position] + 1)
        elif ahead and position not in kernel.ahead:
            return None
        else:
            phase = max(phase, kernel.phase[position])
    return phase


def _is_local(task: Task, kept: frozenset[Axis] | None) -> bool:
    return task.kind == REDUCE and kept is not None and set(task.axes) - task.reduced == kept


def _loops(
    tasks: Sequence[Task], names: list[Axis]
) -> tuple[list[Axis], int, frozenset[Axis] | None]:
    """The order of the loops, how many are outer, and which reductions are finished inside."""
    votes: dict[frozenset[Axis], int] = {}
    for task in tasks:
        if task.kind == REDUCE and names:
            kept = frozenset(names) - task.reduced
            if kept and names[-1] not in kept:
                votes[kept] = votes.get(kept, 0) + 1
    if votes:
        kept = max(votes, key=lambda k: (votes[k], len(k)))
        front = [a for a in names if a in kept]
        return front + [a for a in names if a not in kept], len(front), kept
    return names, max(len(names) - 1, min(len(names), 1)), None


def aligned(task: Task, axes: dict[Axis, Size] | object) -> Task | None:
    """The task on these loops: its axes renamed, and split where one of its is several."""
    assert isinstance(axes, dict)
    wanted = list(axes.items())
    place = 0
    names: dict[Axis, list[tuple[Axis, Size]]] = {}
    for axis, size in task.axes.items():
        parts: list[tuple[Axis, Size]] = []
        total = ONE
        while place < len(wanted) and (not parts or total != size):
            parts.append(wanted[place])
            total = total * wanted[place][1]
            place += 1
        if total != size or not parts:
            return None
        names[axis] = parts
    if place != len(wanted):
        return None
    return _on(task, names, dict(wanted))


def _on(task: Task, names: dict[Axis, list[tuple[Axis, Size]]], axes: dict[Axis, Size]) -> Task:
    """Rename through names of their own, so that two axes can change places."""
    steps: list[tuple[Axis, Axis, Axis, Size]] = []
    renames: dict[Axis, Axis] = {}
    for axis, parts in names.items():
        rest = axis
        for k in range(len(parts) - 1):
            inner = ONE
            for _, size in parts[k + 1 :]:
                inner = inner * size
            steps.append((rest, f"{axis}.{k}", f"{axis}.{k}r", inner))
            renames[f"{axis}.{k}"] = parts[k][0]
            rest = f"{axis}.{k}r"
        renames[rest] = parts[-1][0]

    def moved(index: Index) -> Index:
        for axis, outer, inner, size in steps:
            index = divided(index, axis, outer, inner, size)
        return index.renamed(renames)

    def all_moved(indices: Indices) -> Indices:
        return tuple([moved(i) for i in indices])

    reduced = frozenset(part for a in task.reduced for part, _ in names[a])
    return Task(
        task.node,
        task.kind,
        dict(axes),
        all_moved(task.index),
        tuple([(node, all_moved(index)) for node, index in task.reads]),
        reduced,
        task.product,
    )


def _buffers(task: Task) -> set[Node]:
    return {task.node, *task.operands}
