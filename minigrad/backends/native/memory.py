"""A program for given dims: scratch memory laid out by liveness, and the table that runs.

Buffers whose lives do not meet share memory. The layout is made once for each size of the named
dims; the memory itself is kept between calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .packed import PackedProduct
from .pool import BARRIER, ROW, SERIAL
from .program import Buffer, Program, Step
from .sizes import product
from .state import Array

LINE = 64  # bytes; every buffer starts on a cache line of its own
STAGGER = 13 * LINE  # between buffers: what lies a multiple of 4096 bytes apart gets in its own way
SMALL = 16384  # elements; a kernel of less is not worth a second thread
LITTLE = 65536  # and so is a whole table of less: barriers would cost more than they save


@dataclass
class Layout:
    """Where scratch buffers lie, in bytes from the start of the arena."""

    dims: Mapping[str, int]
    offsets: dict[str, int]
    total: int
    sizes: dict[str, int]  # bytes


def lay_out(program: Program, dims: Mapping[str, int], parts: int) -> Layout:
    """First fit, largest first, over the buffers alive at the same time."""
    sizes = {b.name: _bytes(b, dims, parts) for b in program.buffers.values()}
    scratch = [b for b in program.buffers.values() if b.role == "scratch"]
    placed: list[tuple[int, int, Buffer]] = []
    offsets: dict[str, int] = {}
    for buffer in sorted(scratch, key=lambda b: -sizes[b.name]):
        need = -(-sizes[buffer.name] // LINE) * LINE + STAGGER
        start = 0
        for low, high, other in placed:  # sorted by offset
            if other.last < buffer.first or buffer.last < other.first:
                continue
            if low - start >= need:
                break
            start = max(start, high)
        offsets[buffer.name] = start
        placed.append((start, start + need, buffer))
        placed.sort(key=lambda row: row[0])
    total = max((high for _, high, _ in placed), default=0)
    return Layout(dims, offsets, total, sizes)


def _bytes(buffer: Buffer, dims: Mapping[str, int], parts: int) -> int:
    count = buffer.size.value(dims) * (parts if buffer.per_thread else 1)
    return max(count * buffer.dtype.itemsize, 1)


def work_of(step: Step, dims: Mapping[str, int]) -> int:
    """Element operations of a step, roughly."""
    task = step.kernel.tasks[0]
    row = task.product
    if isinstance(row, PackedProduct):
        windows = row.windows
        return product(windows.axes.values()).value(dims)
    if row is not None:
        m, n, k = (size.value(dims) for size in (row.m, row.n, row.k))
        return product(row.batch).value(dims) * max(m * n * k // 8, m * k + k * n)
    count = product(task.axes.values()).value(dims)
    return count * max(1, len(step.kernel.tasks) // 2)


def flags_of(
    steps: Sequence[Step], layout: Layout, buffers: Mapping[str, Buffer], threads: int
) -> list[int]:
    """Which rows one thread does alone, and where threads have to wait for each other."""
    flags: list[int] = []
    if sum(work_of(step, layout.dims) for step in steps) < LITTLE:
        return [SERIAL] * len(steps)
    since: list[tuple[set[str], set[str], bool]] = []  # reads, writes, serial; since the last wait
    for step in steps:
        assert step.text is not None
        serial = work_of(step, layout.dims) < SMALL or not _divides(step)
        reads = set(step.text.reads) | (set(step.text.pointers) - set(step.text.writes))
        writes = set(step.text.writes)
        writes |= {n for n in step.text.pointers if buffers[n].per_thread}
        flag = SERIAL if serial else 0
        for r, w, other in since:
            if serial and other:
                continue
            if _meet(w, reads | writes, layout, buffers) or _meet(r, writes, layout, buffers):
                flag |= BARRIER
                break
        if flag & BARRIER:
            since = []
        since.append((reads, writes, serial))
        flags.append(flag)
    return flags


def _divides(step: Step) -> bool:
    return step.kernel.kind != "loops" or bool(step.kernel.order)


def _meet(a: set[str], b: set[str], layout: Layout, buffers: Mapping[str, Buffer]) -> bool:
    """True where two sets of buffers share memory."""
    if a & b:
        return True
    spans_a = [_span(n, layout) for n in a if n in layout.offsets]
    spans_b = [_span(n, layout) for n in b if n in layout.offsets]
    return any(x[0] < y[1] and y[0] < x[1] for x in spans_a for y in spans_b)


def _span(name: str, layout: Layout) -> tuple[int, int]:
    return layout.offsets[name], layout.offsets[name] + layout.sizes[name]


def rows_of(
    steps: Sequence[Step],
    addresses: Sequence[int],
    arguments: Sequence[Array],
    flags: Sequence[int],
) -> Array:
    """The table that the pool walks."""
    rows = np.zeros((len(steps), ROW), np.int64)
    for k, (address, block, flag) in enumerate(zip(addresses, arguments, flags, strict=True)):
        rows[k] = address, block.ctypes.data, flag, 0
    return rows
