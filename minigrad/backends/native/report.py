"""What a reader asks of a compiled graph: its kernels, its plan, its times."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir import GraphError
from .memory import lay_out
from .program import Buffer, Program, Step

if TYPE_CHECKING:
    from .executable import NativeExecutable
    from .loaded import Instance, Machine


def source_text(program: Program) -> str:
    """All kernels, one after the other."""
    parts: list[str] = []
    for step in program.steps:
        if step.text is None:
            parts.append(f"# {step.name}: {step.node!r}, computed by numpy\n")
        else:
            parts.append(step.text.source(step.name, summary(step)))
    return "\n".join(parts)


def summary(step: Step) -> str:
    """What a step computes: ``mean f32[64] in bn1, ...``."""
    found = dict.fromkeys(
        f"{t.node.prim.name} {t.node.type}{_place(t.node.scope)}" for t in step.kernel.tasks
    )
    return "; ".join(found).replace('"', "'").replace("\\", "/")


def _place(scope: Any) -> str:
    return f" in {scope}" if scope.path or scope.order else ""


def plan_text(machine: Machine, dims: Mapping[str, int]) -> str:
    """A line a step: what it does, the buffers it passes over, and how often."""
    program = machine.program
    known = _check_dims(machine.dims, dims)
    lines: list[str] = []
    for step in program.steps:
        lines.append(f"{step.name}: {summary(step)}")
        if step.text is None:
            lines.append("    computed by numpy")
            continue
        text = step.text
        read = [(n, len(text.reads[n])) for n in text.reads]
        wrote = list(dict.fromkeys(text.writes))
        lines.append("    reads  " + (_listed(read, program.buffers) or "nothing"))
        lines.append(
            "    writes " + (_listed([(n, 1) for n in wrote], program.buffers) or "nothing")
        )
        if known:
            size = {b.name: b.size.value(dims) * b.dtype.itemsize for b in program.buffers.values()}
            down = sum(size[n] * k for n, k in read)
            up = sum(size[n] for n in wrote)
            lines.append(f"    bytes  {down:,} read, {up:,} written")
    if known:
        layout = lay_out(program, dims, machine.pool.threads)
        sizes = layout.sizes
        scratch = sum(sizes[n] for n in layout.offsets)
        lines.append(
            f"scratch: {layout.total:,} bytes for {len(layout.offsets)} buffers "
            f"of {scratch:,} bytes"
        )
    return "\n".join(lines)


def _check_dims(names: Sequence[str], dims: Mapping[str, Any]) -> bool:
    """True when every named dim has a size."""
    for name, size in dims.items():
        if name not in names:
            known = ", ".join(names) or "none"
            raise GraphError(f"plan: the graph has no dim {name!r}; there is {known}")
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise GraphError(f"plan: dim {name!r} is {size!r}; a size is an int from 1 up")
    return all(name in dims for name in names)


def _listed(rows: list[tuple[str, int]], buffers: Mapping[str, Buffer]) -> str:
    """Buffers by name and size, with the number of passes; none is a few rows of it."""
    return ", ".join(
        (f"{name}[{buffers[name].size}]" if count else f"a few rows of {name}")
        + (f" x{count}" if count > 1 else "")
        for name, count in rows
    )


def profile_text(
    machine: Machine,
    instance: Instance,
    executable: NativeExecutable,
    state: Mapping[str, Any],
    inputs: Mapping[str, Any],
    repeats: int,
) -> str:
    """Medians over whole steps run one kernel at a time, so a kernel's time holds its wake-up."""
    from .loaded import Rows

    times: dict[str, list[float]] = {}
    whole: list[float] = []
    for _ in range(repeats):
        snapshot = dict(state)
        begin = time.perf_counter()
        executable(snapshot, **inputs)
        whole.append(time.perf_counter() - begin)
        for segment in instance.segments:
            if not isinstance(segment, Rows):
                continue
            for k, step in enumerate(segment.steps):
                begin = time.perf_counter()
                threads = 1 if segment.rows[k, 2] & 1 else machine.pool.threads
                machine.pool.run(segment.address + k * segment.rows.strides[0], 1, threads)
                times.setdefault(step.name, []).append(time.perf_counter() - begin)
    middle = {name: float(np.median(found)) for name, found in times.items()}
    total = sum(middle.values())
    steps = {step.name: step for step in machine.program.steps}
    lines = [
        f"{1e6 * t:10.1f} us {t / total:6.1%}  {name}: {summary(steps[name])[:90]}"
        for name, t in sorted(middle.items(), key=lambda row: -row[1])
    ]
    return "\n".join([*lines, f"{1e6 * float(np.median(whole)):10.1f} us a step"])
