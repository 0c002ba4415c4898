"""What can run next, and what has to wait: for its operands, for readers, or for company.

Each task is looked at when something that it needs was made, not again for every kernel: the work
grows with the number of reads in a graph.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import islice

from ...ir import Node
from .sizes import Size, product, size_of
from .tasks import FINAL, HOST, PRODUCT, REDUCE, STORE, Task

MOST_MATES = 16  # reductions of one value that are looked at, whether to wait for them


class Board:
    """Tasks by their position in an order that runs; those that are done leave it."""

    def __init__(
        self, tasks: Sequence[Task], readers: Mapping[Node, list[tuple[Node, Task]]]
    ) -> None:
        self.tasks = tasks
        self.readers = readers  # of the state that a value replaces
        self.made = {task.node for task in tasks}
        self.done: set[object] = set()
        self.place = {id(task): k for k, task in enumerate(tasks)}
        self.makers = {task.node: k for k, task in enumerate(tasks)}  # of parts: who combines them
        self.volume = [product(task.sizes) for task in tasks]
        self.whole = [self._whole(k) for k in range(len(tasks))]
        self.missing = [set(self._needs(task)) for task in tasks]
        self.unread = [{self._at(t) for _, t in self.waiting(task)} for task in tasks]
        self.needed_by: defaultdict[object, list[int]] = defaultdict(list)
        self.replaced_by: defaultdict[int, list[int]] = defaultdict(list)
        self.sums: defaultdict[Node, dict[int, None]] = defaultdict(dict)  # open, of a whole value
        for k in range(len(tasks)):
            for need in self.missing[k]:
                self.needed_by[need].append(k)
            for reader in self.unread[k]:
                self.replaced_by[reader].append(k)
            for node in self.whole[k]:
                self.sums[node][k] = None
        updates = [self._update(k) for k in range(len(tasks))]
        self.late = Counter(shape for shape in updates if shape is not None)
        self.ready: set[int] = set()
        self.by_volume: defaultdict[Size, list[int]] = defaultdict(list)  # ready loops, in order
        self.queue: list[int] = []
        self.impatient: list[int] = []  # ready but for readers
        self.parked: defaultdict[object, list[int]] = defaultdict(list)  # until something happens
        for k in range(len(tasks)):
            self._look_at(k)

    # --- what is ready -----------------------------------------------------------------------

    def next(self) -> Task | None:
        """The first that is ready and needs no company; then the first ready; None at the end."""
        while self.queue:
            k = heappop(self.queue)
            if not self._is_open(k):
                continue
            reason = self._reason_to_wait(k)
            if reason is None:
                return self.tasks[k]
            self.parked[reason].append(k)
        parked = [k for found in self.parked.values() for k in found if self._is_open(k)]
        self.parked.clear()
        if parked:
            self.queue = sorted(parked)
            return self.tasks[heappop(self.queue)]
        while self.impatient:  # two states that read each other: one of them will be copied
            k = heappop(self.impatient)
            if self._is_open(k):
                return self.tasks[k]
        return None

    def beside(self, task: Task) -> list[Task]:
        """Tasks that are ready and make as many iterations, in order."""
        return [self.tasks[k] for k in self.by_volume[self.volume[self._at(task)]]]

    def reachable(self, origin: Sequence[Task], volume: Size | None) -> Iterator[Task]:
        """What needs values of ``origin``, which may grow meanwhile; and what is ready besides.

        In order; each is offered once, after all that it needs.
        """
        heap = list(self.by_volume[volume]) if volume is not None else []
        offered, seen, last = set(heap), 0, -1
        while True:
            for task in origin[seen:]:
                for k in self.followers(task):
                    if k > last and k not in offered:
                        offered.add(k)
                        heappush(heap, k)
            seen = len(origin)
            if not heap:
                return
            last = heappop(heap)
            if self._is_open(last):
                yield self.tasks[last]

    def waiting(self, task: Task) -> list[tuple[Node, Task]]:
        """Tasks that still read the state that this one replaces."""
        if task.kind == REDUCE:
            return []
        return [(s, t) for s, t in self.readers.get(task.node, ()) if id(t) not in self.done]

    def followers(self, task: Task) -> Iterable[int]:
        """Positions of what needs the task's value, or replaces a state that it reads."""
        return (*self.needed_by[task.node], *self.replaced_by[self._at(task)])

    def finish(
        self, tasks: Iterable[Task], whole: Iterable[Node], parts: Iterable[Node],
        local: Iterable[Node],
    ) -> None:  # fmt: skip
        """``tasks`` are done: some values are whole, of others there are parts.

        Of a ``local`` one no parts are left to be combined.
        """
        done = [*map(self._at, tasks), *[self.makers[node] for node in local]]
        needs: list[object] = [*whole, *[("part", node) for node in parts]]
        self.done.update(needs)
        changed: set[int] = set()
        for k in done:
            self.done.add(id(self.tasks[k]))
            self._leave(k)
            for j in self.replaced_by[k]:
                self.unread[j].discard(k)
                changed.add(j)
        for need in needs:
            for j in self.needed_by[need]:
                self.missing[j].discard(need)
                changed.add(j)
        for j in sorted(changed):
            self._look_at(j)

    # --- company -----------------------------------------------------------------------------

    def waits(self, task: Task, buffers: set[Node]) -> bool:
        """True where a task would read a value now that a later one has to read anyway."""
        return not buffers.issuperset(self.whole[self._at(task)]) and self.mate(task) is not None

    def mate(self, task: Task) -> Task | None:
        """A later reduction of the same value, which one pass could take as well.

        All that it still needs is made by small tasks that are ready. A reduction that is finished
        block by block does not wait: its kernel makes these, too.
        """
        if task.kind != REDUCE or _is_by_blocks(task):
            return None
        here = self._at(task)
        for node in self.whole[here]:
            for k in islice(self.sums[node], MOST_MATES):
                near = k not in self.ready and self.volume[k] == self.volume[here]
                if near and all(self._is_at_hand(need, here) for need in self.missing[k]):
                    return self.tasks[k]
        return None

    def _is_at_hand(self, need: object, here: int) -> bool:
        k = self.makers[need] if isinstance(need, Node) else here
        is_small = self.tasks[k].kind in (STORE, FINAL) and self.volume[k] != self.volume[here]
        return k in self.ready and is_small

    def _reason_to_wait(self, k: int) -> object | None:
        shape = self._update(k)
        if shape is not None and self.late[shape]:
            return shape
        other = self.mate(self.tasks[k])
        return None if other is None else self._at(other)

    def _update(self, k: int) -> tuple[Size, ...] | None:
        """The shape of an update: those of one shape share a kernel, so the first wait."""
        task = self.tasks[k]
        return task.sizes if task.kind == STORE and task.node in self.readers else None

    # --- bookkeeping -------------------------------------------------------------------------

    def _at(self, task: Task) -> int:
        return self.place[id(task)]

    def _whole(self, k: int) -> list[Node]:
        """The values that a reduction reads, of as many elements as it makes iterations."""
        task = self.tasks[k]
        if task.kind != REDUCE:
            return []
        sizes = ((node, product(map(size_of, node.type.shape))) for node in task.operands)
        return [node for node, size in sizes if size == self.volume[k]]

    def _needs(self, task: Task) -> list[object]:
        if task.kind == FINAL:
            return [("part", task.node)]
        return [node for node in task.operands if node in self.made]

    def _is_open(self, k: int) -> bool:
        return id(self.tasks[k]) not in self.done

    def _look_at(self, k: int) -> None:
        """A task whose needs have changed."""
        if self.missing[k] or k in self.ready or not self._is_open(k):
            return
        if self.unread[k]:
            heappush(self.impatient, k)
            return
        self.ready.add(k)
        if self.tasks[k].kind not in (PRODUCT, HOST):
            insort(self.by_volume[self.volume[k]], k)
        heappush(self.queue, k)
        self._is_no_longer_late(k)

    def _leave(self, k: int) -> None:
        for node in self.whole[k]:
            self.sums[node].pop(k, None)
        if k not in self.ready:
            self._is_no_longer_late(k)
            return
        self.ready.remove(k)
        if self.tasks[k].kind not in (PRODUCT, HOST):
            self.by_volume[self.volume[k]].remove(k)

    def _is_no_longer_late(self, k: int) -> None:
        """What was waiting for this task waits no longer."""
        waited = self.parked.pop(k, [])
        shape = self._update(k)
        if shape is not None:
            self.late[shape] -= 1
            if not self.late[shape]:
                waited += self.parked.pop(shape, [])
        for j in waited:
            heappush(self.queue, j)


def _is_by_blocks(task: Task) -> bool:
    """A reduction along the innermost loop, of which several results are kept."""
    axes = list(task.axes)
    return axes[-1] in task.reduced and len(task.reduced) < len(axes)
