"""A program in machine code: its kernels' addresses, and its tables for given dims."""

from __future__ import annotations

import os
import re
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...ir import Graph, Node, is_leaf
from . import blas
from .arrays import Input, Result, Transfer, dense
from .language import translate
from .library import with_library
from .machine import Library
from .memory import Layout, flags_of, lay_out, rows_of
from .names import Text
from .pool import Pool
from .program import Program, Step, build, needed_dims
from .state import Array

_WORD = re.compile(r"\b[A-Za-z]\w*")
_KEEP = 16  # sizes of named dims whose layout is kept


class Machine:
    """The kernels of a program, loaded, and what it takes to run them."""

    def __init__(
        self, graph: Graph, stateful: Sequence[Node], pool: Pool, library: Library
    ) -> None:
        self.graph, self.pool, self.library = graph, pool, library
        self.program = build(graph, pool.threads)
        self.dims = needed_dims(graph)
        self.buffers = list(self.program.buffers)
        self.position = {name: k for k, name in enumerate(self.buffers)}
        self.words = len(self.buffers) + len(self.dims)
        self.addresses = _loaded(self.program.steps, library)
        self.lock = threading.Lock()
        _MACHINES.add(self)
        self._arena = np.empty(0, np.uint8)
        self._ready: dict[tuple[int, ...], Instance] = {}
        self.constants = {
            self.program.names.of[n]: dense(n.attrs["value"])
            for n in self.program.names.of
            if n.prim.name == "constant"
        }
        self.constants |= self.program.arrays
        names, needed = self.program.names.of, set(graph.leaves)
        self.inputs = [Input(n, self.position[names[n]]) for n in graph.inputs]
        self.leaves = [(n, self.position.get(names.get(n, ""))) for n in stateful if n in needed]

    def instance(self, dims: Mapping[str, int]) -> Instance:
        """The layout for these dims; made once and kept."""
        key = tuple([dims.get(name, 0) for name in self.dims])
        found = self._ready.get(key)
        if found is None:
            full = dict(zip(self.dims, key, strict=True))
            layout = lay_out(self.program, full, self.pool.threads)
            if layout.total + 64 > self._arena.nbytes:
                self._arena = np.empty(layout.total + 64, np.uint8)
                self._ready.clear()  # they point into the old arena
            while len(self._ready) >= _KEEP:
                del self._ready[next(iter(self._ready))]
            found = self._ready[key] = Instance(self, layout, self._arena)
        return found

    def results(self, dims: Mapping[str, int]) -> list[Result]:
        """The outputs that kernels write, each value once."""
        found: dict[Node, Result] = {}
        for name, node in self.program.outputs.items():
            if not is_leaf(node) and node not in found:
                shape = tuple([dims[d] if isinstance(d, str) else d for d in node.type.shape])
                position = self.position[self.program.names.of[node]]
                found[node] = Result(name, node, position, shape)
        return list(found.values())


_MACHINES: weakref.WeakSet[Machine] = weakref.WeakSet()


def _open_all() -> None:
    """In a forked process a lock may stay closed by a thread that is not there."""
    for machine in _MACHINES:
        machine.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_all)


class Instance:
    """A program for one size of its named dims: the table of addresses, and rows to walk."""

    def __init__(self, machine: Machine, layout: Layout, arena: Array) -> None:
        self.layout = layout
        self.machine = machine
        self.arena = arena  # the table points into it
        program, position = machine.program, machine.position
        self.table = np.zeros(machine.words, np.int64)
        self.words = self.table.data
        base = -(-arena.ctypes.data // 64) * 64
        for name, offset in layout.offsets.items():
            self.table[position[name]] = base + offset
        for name, array in machine.constants.items():
            if name in position:
                self.table[position[name]] = array.ctypes.data
        if "table" in position:
            self.table[position["table"]] = self.table.ctypes.data
        for k, dim in enumerate(machine.dims):
            self.table[len(position) + k] = layout.dims[dim]
        self.segments = self._segments(program)
        results = machine.results(layout.dims)
        self.transfer = Transfer(self.words, machine.inputs, machine.leaves, results, layout.dims)
        self.live: object = None  # the state whose addresses are in the table

    def _segments(self, program: Program) -> list[Any]:
        """Runs of native steps as tables, and the steps between them."""
        found: list[Any] = []
        run: list[Step] = []
        for step in [*program.steps, None]:
            if step is not None and step.text is not None:
                run.append(step)
                continue
            if run:
                found.append(self._rows(run))
                run = []
            if step is not None:
                found.append(step.node)
        return found

    def _rows(self, run: Sequence[Step]) -> Rows:
        machine = self.machine
        flags = flags_of(run, self.layout, machine.program.buffers, machine.pool.threads)
        blocks = [self._block(step) for step in run]
        addresses = [machine.addresses[step.name] for step in run]
        return Rows(rows_of(run, addresses, blocks, flags), blocks, run, machine.pool.threads)

    def _block(self, step: Step) -> Array:
        assert step.text is not None
        machine = self.machine
        places = [machine.position[name] for name in step.text.pointers]
        places += [len(machine.position) + machine.dims.index(d) for d in step.text.dims]
        return np.array([self.table.ctypes.data, *places], np.int64)

    def array(self, node: Node, given: Mapping[str, Array]) -> Array:
        """The memory of a value, as an array."""
        name = self.machine.program.names.of[node]
        if name in given:
            return given[name]
        if name in self.machine.constants:
            return self.machine.constants[name]
        shape = tuple(self.layout.dims[d] if isinstance(d, str) else d for d in node.type.shape)
        address = int(self.table[self.machine.position[name]])
        count = int(np.prod(shape, dtype=np.int64)) * node.type.dtype.itemsize
        memory = self.arena
        start = address - memory.ctypes.data
        return memory[start : start + count].view(node.type.dtype).reshape(shape)


class Rows:
    """A table for the pool."""

    def __init__(self, rows: Array, blocks: list[Array], run: Sequence[Step], threads: int) -> None:
        self.rows, self.blocks, self.steps = rows, blocks, run
        self.address, self.count = rows.ctypes.data, len(rows)
        self.threads = 1 if all(flag & 1 for flag in rows[:, 2]) else threads


def _loaded(steps: Sequence[Step], library: Library) -> dict[str, int]:
    """The address of every kernel; a bar on a terminal where there is much to compile."""
    wanted = [step for step in steps if step.text is not None]
    if len(wanted) < 8 or not sys.stderr.isatty():
        return {step.name: load(step, library) for step in wanted}
    from rich.console import Console
    from rich.progress import track

    shown = track(wanted, "compiling", console=Console(stderr=True), transient=True)
    return {step.name: load(step, library) for step in shown}


def load(step: Step, library: Library) -> int:
    """The address of a step's entry, compiled unless the cache has it."""
    assert step.text is not None
    text, pointers = _anonymous(step.text)
    dims = step.text.dims
    return library.load(
        text,
        lambda name: assembly(text, name, pointers, dims),
        blas.symbols() if "gemm_" in text else {},
    )


def _anonymous(text: Text) -> tuple[str, list[str]]:
    """The kernel with its buffers numbered, so that layers that are alike share machine code."""
    given = text.source("kernel", "")
    names = {name: f"buffer{k}" for k, name in enumerate(text.pointers)}

    def number(match: re.Match[str]) -> str:
        root, _, count = match.group().rpartition("_")
        word = match.group()
        if word in names:
            return names[word]
        return f"{names[root]}_{count}" if root in names and count.isdigit() else word

    return _WORD.sub(number, given), list(names.values())


def assembly(text: str, name: str, pointers: Sequence[str], dims: Sequence[str]) -> str:
    """A kernel and its entry: ``name(arguments, thread, threads)``."""
    external: dict[str, tuple[str, ...]] = {}
    code = ""
    for kind in ("f32", "f64"):
        if f"gemm_{kind}(" in text:
            external[f"gemm_{kind}"] = blas.GEMM
            code += blas.wrapper(kind)
    body = translate(with_library(text), external)
    for kind in external:
        body = "\n".join(
            line for line in body.splitlines() if not line.startswith(f"declare void @{kind}(")
        )
    body = body.replace("define void @kernel(", "define internal void @kernel(")
    return code + body + "\n" + _entry(name, pointers, dims)


def _entry(name: str, pointers: Sequence[str], dims: Sequence[str]) -> str:
    lines = ["  %table = load ptr, ptr %arguments"]
    given: list[str] = []
    for k, kind in enumerate([*["ptr"] * len(pointers), *["i64"] * len(dims)]):
        lines += [
            f"  %a{k} = getelementptr i64, ptr %arguments, i64 {k + 1}",
            f"  %w{k} = load i64, ptr %a{k}",
            f"  %p{k} = getelementptr i64, ptr %table, i64 %w{k}",
            f"  %v{k} = load {kind}, ptr %p{k}",
        ]
        given.append(f"{kind} %v{k}")
    call = ", ".join([*given, "i64 %thread", "i64 %threads"])
    body = "\n".join(lines)
    return (
        f"define void @{name}(ptr %arguments, i64 %thread, i64 %threads) {{\n"
        f"{body}\n  call void @kernel({call})\n  ret void\n}}\n"
    )
