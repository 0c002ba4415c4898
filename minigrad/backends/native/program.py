"""A graph as a list of kernels over named buffers: everything that does not depend on sizes.

Flow: rewrite -> tasks -> kernels -> text. `memory` then lays the buffers out for given dims and
`executable` runs them.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...ir import Graph, Node, Update, is_leaf, toposort
from .algebra import simplified
from .fuse import Kernel, fuse
from .library import FUNCTIONS
from .names import Names, Text, accumulator, slot_of
from .nest import write
from .packed import FOLD, STACK, PackedProduct, write_packed
from .parts import KINDS, strides_of
from .products import write_product
from .sizes import ONE, Size, product, size_of
from .state import Array
from .tape import Tape, scalar_kind, text_lines
from .tasks import FINAL, HOST, PRODUCT, REDUCE, Task, Tasks, make_tasks

_RESERVED = {name.split("_")[0] for name in FUNCTIONS} | {
    "sqrt", "floor", "rint", "fabs", "erf", "pow", "kernel", "entry", "parts", "thread", "threads",
    "inf", "nan", "at", "first", "last", "low", "high", "whole", "block", "range", "item",
    *KINDS.values(),
}  # fmt: skip

_AXIS = re.compile(r"a\d+[oir]*$")


@dataclass(frozen=True)
class Buffer:
    """Memory that a kernel sees under a name."""

    name: str
    size: Size
    dtype: np.dtype[np.generic]
    role: str  # input, state, output, constant, scratch
    node: Node | None = None
    per_thread: bool = False  # one slot of `size` for every thread
    first: int = 0  # the kernels between which a scratch buffer is in use
    last: int = 0


@dataclass
class Step:
    """A kernel and its text, or an op that numpy computes between kernels."""

    name: str
    kernel: Kernel
    text: Text | None

    @property
    def node(self) -> Node:
        return self.kernel.tasks[0].node


@dataclass(frozen=True)
class Lowered:
    """A graph after rewriting: the same leaves, other ops."""

    inputs: tuple[Node, ...]
    outputs: dict[str, Node]
    updates: tuple[Update, ...]


def _rewritten(graph: Graph) -> Lowered:
    roots = [*graph.outputs.values(), *[u.value for u in graph.updates]]
    new = iter(simplified(roots))
    outputs = {name: next(new) for name in graph.outputs}
    updates = tuple(Update(u.state, next(new)) for u in graph.updates)
    return Lowered(graph.inputs, outputs, updates)


@dataclass
class Program:
    """Steps, buffers, and where the caller's values are."""

    graph: Lowered
    steps: list[Step]
    buffers: dict[str, Buffer]
    names: Names
    outputs: dict[str, Node]
    in_place: dict[Node, Node] = field(default_factory=dict)  # state -> the value written over it
    copied: dict[Node, Node] = field(default_factory=dict)  # state -> value, copied at the end
    arrays: dict[str, Array] = field(default_factory=dict)  # constants that are no node's


def supported(graph: Graph) -> bool:
    """False where a dtype is the interpreter's alone (complex numbers of gradient checks)."""
    return all(node.type.dtype in KINDS for node in graph.nodes)


def build(whole: Graph, threads: int) -> Program:
    """Lower a graph for a number of threads."""
    kind = scalar_kind(whole)
    if kind is not None:
        return _tape_program(whole, kind)
    graph = _rewritten(whole)
    roots = [*graph.outputs.values(), *[u.value for u in graph.updates]]
    wanted = [r for r in dict.fromkeys(roots) if not is_leaf(r)]
    made = make_tasks(roots, wanted)
    for update in graph.updates:  # a state that is only written
        made.homes.setdefault(update.state, strides_of(update.state.type.shape))
    readers, in_place = _updates(graph, made.rows)
    kernels = fuse(made.rows, readers)
    traffic = _Traffic.of(kernels)
    names = _named(made, graph, threads)
    outputs = set(graph.outputs.values())
    safe = {
        state: value
        for state, value in in_place.items()
        if traffic.is_safe(state, value) and value not in outputs
    }
    finals = {t.node for t in made.rows if t.kind == FINAL}
    whole_products = {t.node for t in made.rows if t.kind == PRODUCT} - finals
    for state, value in in_place.items():
        written_twice = state not in safe and value in outputs and value not in whole_products
        if written_twice and traffic.is_safe(state, value):
            safe[state] = value
    program = Program(graph, [], {}, names, dict(graph.outputs), safe)
    program.copied = {u.state: u.value for u in graph.updates if u.state not in safe}
    _place_updates(program, outputs)
    program.steps = [_step(k, kernel, made, names) for k, kernel in enumerate(kernels)]
    program.buffers = _buffers(program, made)
    return program


def _tape_program(graph: Graph, kind: str) -> Program:
    """One step that runs a table; every result is a buffer of its own, written at the end."""
    pairs = [(u.state, u.value) for u in graph.updates]
    tape = Tape(list(graph.outputs.values()), pairs, kind)
    names = Names()
    buffers: dict[str, Buffer] = {}
    for node in dict.fromkeys([*graph.inputs, *tape.leaves]):
        role = "input" if node in graph.inputs else "state"
        name = names.of[node] = f"{role}{len(buffers)}"
        buffers[name] = Buffer(name, ONE, node.type.dtype, role, node)
    made = [n for n in dict.fromkeys(graph.outputs.values()) if not is_leaf(n)]
    for node in made:
        name = names.of[node] = f"output{len(buffers)}"
        buffers[name] = Buffer(name, ONE, node.type.dtype, "output", node)
    for name in ("table", "code", "values", "ints"):
        buffers[name] = Buffer(name, ONE, tape.values.dtype, "constant")
    place = {name: k for k, name in enumerate(buffers)}
    new = dict(zip(tape.targets, tape.results, strict=True))
    stores = [(place[names.of[node]], new[node]) for node in made]
    stores += [(place[names.of[state]], new[value]) for state, value in pairs]
    code = tape.code([(place[names.of[n]], n) for n in tape.leaves], stores)
    lowered = Lowered(graph.inputs, dict(graph.outputs), ())
    program = Program(lowered, [], buffers, names, dict(graph.outputs), dict(pairs))
    program.arrays = {"code": code, "values": tape.values, "ints": tape.ints}
    last = len(tape.values) - 1
    lines = [line.replace("LAST", str(last)) for line in text_lines(len(code) // 5, kind)]
    pointers = {"table": "i64", "code": "i32", "values": kind, "ints": "i64"}
    text = Text(lines, pointers, [], {"code": {0}}, ["values"])
    task = Task(next(iter(graph.outputs.values())), "store")
    program.steps = [Step("k0_tape", Kernel([task]), text)]
    return program


# --- updates ---------------------------------------------------------------------------------


def _updates(
    graph: Lowered, tasks: Sequence[Task]
) -> tuple[dict[Node, list[tuple[Node, Task]]], dict[Node, Node]]:
    """For each value that could replace a state in place, the tasks that still read the state."""
    made = {t.node for t in tasks}
    reading: dict[Node, list[Task]] = {}
    for task in tasks:
        for node in task.operands:
            reading.setdefault(node, []).append(task)
    values: dict[Node, Node] = {}
    taken: set[Node] = set()
    for update in graph.updates:
        if update.value in made and update.value not in taken:
            values[update.state] = update.value
            taken.add(update.value)
    readers: dict[Node, list[tuple[Node, Task]]] = {}
    for state, value in values.items():
        others = [t for t in reading.get(state, ()) if t.node is not value]
        readers[value] = [(state, t) for t in others]
    return readers, values


@dataclass(frozen=True)
class _Traffic:
    """The kernels that read each value, and the last that writes it."""

    kernels: Sequence[Kernel]
    read: Mapping[Node, list[int]]
    written: Mapping[Node, int]

    @classmethod
    def of(cls, kernels: Sequence[Kernel]) -> _Traffic:
        read: dict[Node, list[int]] = {}
        written: dict[Node, int] = {}
        for position, kernel in enumerate(kernels):
            for node in dict.fromkeys(n for t in kernel.tasks for n in t.operands):
                read.setdefault(node, []).append(position)
            written.update(dict.fromkeys(kernel.writes, position))
        return cls(kernels, read, written)

    def is_safe(self, state: Node, value: Node) -> bool:
        """True when nobody reads the state after ``value`` has overwritten it."""
        position = self.written[value]
        own, reading = self.kernels[position], self.read.get(state, [])
        if reading and reading[-1] > position:
            return False
        if position not in reading:
            return True
        if own.kind != "loops":
            return False
        writer = next(t for t in own.tasks if t.node is value)
        same = [(t, index) for t in own.tasks for n, index in t.reads if n is state]
        if any(index != writer.index for _, index in same) or writer.kind == REDUCE:
            return False
        readers = [k for k, t in enumerate(own.tasks) if any(t is s for s, _ in same)]
        at = own.tasks.index(writer)
        return len({own.phase.get(k, 0) for k in (*readers, at)}) == 1 and readers[0] <= at


def _place_updates(program: Program, outputs: set[Node]) -> None:
    """A new state is written where the old one is; an output of the same value as well."""
    names = program.names
    for state, value in program.in_place.items():
        if value in outputs:
            names.extra.setdefault(value, []).append(names.of[state])
        else:
            names.of[value] = names.of[state]


# --- names -----------------------------------------------------------------------------------


def _named(made: Tasks, graph: Lowered, threads: int) -> Names:
    names = Names(threads)
    last: dict[str, int] = {}  # a root -> its last number

    def name(root: str) -> str:
        root = re.sub(r"\W+", "_", root).strip("_") or "value"
        if root[0].isdigit() or root.startswith("dim_"):  # sizes have names of that kind
            root = f"v{root}"
        if len(root) < 4 or root in _RESERVED or keyword.iskeyword(root) or _AXIS.match(root):
            root = f"{root}_"  # loops, axes and locals have the plain names
        found = root
        while found in names.taken:
            number = last[root] = last.get(root, 1) + 1
            found = f"{root}{number}"
        names.taken.add(found)
        return found

    for node in [*graph.inputs, *made.homes]:
        if node not in names.of:
            names.of[node] = name(node.name or f"{_place(node)}{node.prim.name}")
    for task in made.rows:
        packed = task.product if isinstance(task.product, PackedProduct) else None
        if task.kind == REDUCE or (packed is not None and packed.kind == STACK):
            names.parts[task.node] = name(f"part_{task.node.prim.name}")
        if packed is not None:
            names.tiles[task.node] = name("tile")
    return names


def _place(node: Node) -> str:
    path = node.scope.path
    return f"{'d' * node.scope.order}{path[-1]}_" if path else ""


# --- steps and buffers -----------------------------------------------------------------------


def _step(position: int, kernel: Kernel, made: Tasks, names: Names) -> Step:
    title = f"k{position}_{_title(kernel)}"
    if kernel.kind == HOST:
        return Step(title, kernel, None)
    packed = kernel.tasks[0].product
    if isinstance(packed, PackedProduct):
        return Step(title, kernel, _packed_text(kernel.tasks[0].node, packed, names))
    if kernel.kind == PRODUCT:
        return Step(title, kernel, write_product(kernel.tasks[0], made.homes, names))
    return Step(title, kernel, write(kernel, made.homes, names))


def _packed_text(node: Node, packed: PackedProduct, names: Names) -> Text:
    given = {"tile": names.tiles[node], "threads": str(names.threads)}
    if packed.kind == FOLD:
        given["out"] = names.of[node]
    else:
        given["base"] = names.of[packed.windows.base]
        key = "part" if packed.kind == STACK else "out"
        given[key] = names.parts[node] if packed.kind == STACK else names.of[node]
    for key, operand in (("y", packed.y), ("ct", packed.ct)):
        if operand is not None:
            given[key] = names.of[operand.base]
    return write_packed(node, packed, given)


def _title(kernel: Kernel) -> str:
    if kernel.kind in (HOST, PRODUCT):
        return kernel.tasks[0].node.prim.name
    if kernel.local:
        return "blocks"
    return "sums" if kernel.partial else "values"


def _buffers(program: Program, made: Tasks) -> dict[str, Buffer]:
    names, found = program.names, {}
    spans = _spans(program)
    roles = dict.fromkeys(program.graph.inputs, "input")
    states = {names.of[s] for s in made.homes if s.prim.name in ("parameter", "state")}
    outputs = set(program.outputs.values())
    for node in [*roles, *made.homes]:
        name = names.of[node]
        if name in found:
            continue
        role = roles.get(node) or (
            "state" if name in states
            else "constant" if node.prim.name == "constant"
            else "output" if node in outputs
            else "scratch"
        )  # fmt: skip
        first, last = spans.get(name, (0, 0))
        size = product(map(size_of, node.type.shape))
        if node in program.copied.values():
            last = len(program.steps)
        found[name] = Buffer(name, size, node.type.dtype, role, node, False, first, last)
    for node, name in names.parts.items():
        if name in spans:
            dtype = np.dtype({"f32": "f4", "f64": "f8"}.get(accumulator(node), node.type.dtype))
            found[name] = Buffer(name, slot_of(node), dtype, "scratch", None, True, *spans[name])
    for step in program.steps:
        packed = step.kernel.tasks[0].product
        if isinstance(packed, PackedProduct):
            name, dtype = names.tiles[step.node], step.node.type.dtype
            tile = packed.windows.tile
            found[name] = Buffer(name, tile, dtype, "scratch", None, True, *spans[name])
    return found


def _spans(program: Program) -> dict[str, tuple[int, int]]:
    spans: dict[str, tuple[int, int]] = {}
    for position, step in enumerate(program.steps):
        if step.text is not None:
            used: Iterable[str] = step.text.pointers
        else:
            used = [program.names.of[n] for n in (step.node, *step.node.inputs)]
        for name in used:
            spans[name] = (spans.get(name, (position, 0))[0], position)
    return spans


def needed_dims(graph: Graph) -> list[str]:
    """The named dims of a graph, sorted."""
    nodes = [*graph.nodes, *toposort(graph.inputs)]
    return sorted({d for n in nodes for d in n.type.shape if isinstance(d, str)})
