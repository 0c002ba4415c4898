"""The native executable: checks what it is fed, fills in addresses, and walks the table."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...ir import FeedError, Graph, Node, is_leaf, place
from ..executable import Executable
from ..feed import by_node, checked, missing
from ..interpreter import failed
from .loaded import Instance, Machine, Rows
from .machine import Library, default_cache
from .pool import cpu_count, shared_pool
from .report import plan_text, profile_text, source_text
from .state import Array, LiveState


class NativeExecutable(Executable):
    """A graph in machine code; see `Executable` for how to call it.

    The state that a step is given is used up and the next one returned, so nothing is copied; a
    plain dict is copied first and stays as it is. What was returned as an output is the caller's.
    """

    def __init__(
        self, graph: Graph, *, threads: int | None = None, cache: Path | bool | None = None
    ) -> None:
        super().__init__(graph)
        directory = (
            default_cache() if cache in (None, True) else Path(str(cache)) if cache else None
        )
        self._library = Library(directory)
        self.threads = threads or cpu_count()
        self._machine = Machine(graph, shared_pool(self.threads), self._library)
        program = self._machine.program
        used = self._machine.position
        self._inputs = [(n, used[program.names.of[n]]) for n in graph.inputs]
        needed = set(graph.leaves)
        self._needed = needed
        self._leaves = [
            (leaf, used.get(program.names.of.get(leaf, "")))
            for leaf in self._stateful
            if leaf in needed
        ]
        self._made = [(k, v) for k, v in program.outputs.items() if not is_leaf(v)]
        self._spare: dict[tuple[str, tuple[int, ...]], list[tuple[Array, int]]] = {}

    @property
    def compiled(self) -> int:
        """How many kernels LLVM built for this executable; those in the cache are not counted."""
        return self._library.compiled

    def __call__(
        self, state: Mapping[str, Any], *, check_finite: bool = False, **inputs: Any
    ) -> tuple[dict[str, Array], Mapping[str, Array]]:
        if check_finite:
            return super().__call__(state, check_finite=True, **inputs)
        with self._machine.lock:
            dims: dict[str, int] = {}
            given = self._fed(inputs, dims)
            instance = self._instance(dims)
            arrays, returned = self._state(state, dims)
            words = instance.words
            for (_, position), array in zip(self._inputs, given, strict=True):
                words[position] = _address(array)
            self._point(instance, arrays)
            before = self._before(given, arrays)
            outputs, made = self._outputs(instance)
            for segment in instance.segments:
                if isinstance(segment, Rows):
                    self._machine.pool.run(segment.address, segment.count, segment.threads)
                else:
                    self._host(segment, instance, given, arrays, made)
            self._after(instance, arrays, before, made)
            for name, node in self.graph.outputs.items():
                if name not in outputs:
                    outputs[name] = before[node] if is_leaf(node) else np.array(made[node])
            return {name: outputs[name] for name in self.graph.outputs}, returned

    # --- what comes in -----------------------------------------------------------------------

    def _fed(self, inputs: Mapping[str, Any], dims: dict[str, int]) -> list[Array]:
        fed = by_node(inputs, self.graph.inputs)
        given: list[Array] = []
        for node, _ in self._inputs:
            if node in fed:
                given.append(dense(checked(node, fed[node], dims)))
            elif node in self._needed:
                raise missing(node)
            else:
                given.append(_NOTHING)
        return given

    def _instance(self, dims: dict[str, int]) -> Instance:
        for name in self._machine.dims:
            if name not in dims:
                where = next(n for n in self.graph.nodes if name in n.type.shape)
                raise failed(where, KeyError(name))
        key = tuple([dims[name] for name in self._machine.dims])
        if key not in self._machine._ready:
            _check_sizes(self.graph, dims)
        return self._machine.instance(dims)

    def _state(
        self, state: Mapping[str, Any], dims: dict[str, int]
    ) -> tuple[dict[str, Array], Mapping[str, Array]]:
        """The arrays of this step by name, and the state to return."""
        moves = bool(self.graph.updates)
        if isinstance(state, LiveState):
            arrays = state.arrays
            if state.ready_for is not self:
                fitting = {
                    leaf.name: dense(self._leaf(leaf, arrays, dims)) for leaf, _ in self._leaves
                }
                if not moves:
                    return fitting, state
                arrays.update(fitting)
            if not moves:
                return arrays, state
            after = LiveState(state.taken())
        elif moves:
            arrays = {name: np.array(value) for name, value in state.items()}
            for leaf, _ in self._leaves:
                value = self._leaf(leaf, state, dims)
                arrays[leaf.name] = np.array(value, order="C")
            after = LiveState(arrays)
        else:
            arrays = {leaf.name: dense(self._leaf(leaf, state, dims)) for leaf, _ in self._leaves}
            return arrays, {**state}
        after.ready_for = self
        return arrays, after

    def _leaf(self, leaf: Node, state: Mapping[str, Any], dims: dict[str, int]) -> Array:
        if leaf.name not in state:
            raise FeedError(
                f"the state has no {leaf.name!r}, {leaf.type}; see init_state()"
                f"{place(leaf.scope, leaf.source)}"
            )
        return checked(leaf, state[leaf.name], dims)

    def _point(self, instance: Instance, arrays: dict[str, Array]) -> None:
        if instance.live is arrays:
            return
        for leaf, position in self._leaves:
            if position is not None:
                instance.words[position] = _address(arrays[leaf.name])
        instance.live = arrays if self.graph.updates else None

    # --- what goes out -----------------------------------------------------------------------

    def _outputs(self, instance: Instance) -> tuple[dict[str, Array], dict[Node, Array]]:
        """An array for every output; memory that the caller let go of is used again."""
        outputs: dict[str, Array] = {}
        made: dict[Node, Array] = {}
        program, dims = self._machine.program, instance.layout.dims
        for name, node in self._made:
            if node in made:
                continue
            shape = tuple([dims[d] if isinstance(d, str) else d for d in node.type.shape])
            array, address = self._fresh(name, shape, node)
            outputs[name] = made[node] = array
            instance.words[self._machine.position[program.names.of[node]]] = address
        return outputs, made

    def _fresh(self, name: str, shape: tuple[int, ...], node: Node) -> tuple[Array, int]:
        spare = self._spare.setdefault((name, shape), [])
        for k in range(len(spare)):
            if sys.getrefcount(spare[k][0]) == _UNUSED:
                return spare[k]
        array = np.empty(shape, node.type.dtype)
        if len(spare) >= 2:
            spare.pop(0)
        spare.append((array, _address(array)))
        if len(self._spare) > 64:
            self._spare.pop(next(iter(self._spare)))
        return spare[-1]

    def _before(self, given: list[Array], arrays: dict[str, Array]) -> dict[Node, Array]:
        """Leaves that are outputs or another state's next value, as they were before the step."""
        wanted = [n for n in self.graph.outputs.values() if is_leaf(n)]
        wanted += [v for v in self._machine.program.copied.values() if is_leaf(v)]
        if not wanted:
            return {}
        fed = {node: array for (node, _), array in zip(self._inputs, given, strict=True)}
        found: dict[Node, Array] = {}
        for node in wanted:
            if node.prim.name == "constant":
                found[node] = np.array(node.attrs["value"])
            else:
                found[node] = np.array(fed[node] if node in fed else arrays[node.name])
        return found

    def _after(
        self,
        instance: Instance,
        arrays: dict[str, Array],
        before: Mapping[Node, Array],
        made: Mapping[Node, Array],
    ) -> None:
        """The updates that could not be written in place."""
        program = self._machine.program
        given = {program.names.of[n]: a for n, a in made.items()}
        for state, value in program.in_place.items():
            given.setdefault(program.names.of[value], arrays[state.name])
        for state, value in program.copied.items():
            source = before[value] if is_leaf(value) else instance.array(value, given)
            np.copyto(arrays[state.name], source)

    def _host(
        self,
        node: Node,
        instance: Instance,
        given: list[Array],
        arrays: dict[str, Array],
        made: Mapping[Node, Array],
    ) -> None:
        """An op that has no kernel, computed by its row's own eval."""
        names = self._machine.program.names.of
        known = {names[n]: a for (n, _), a in zip(self._inputs, given, strict=True)}
        known |= {names[n]: arrays[n.name] for n, p in self._leaves if p is not None}
        known |= {names[n]: a for n, a in made.items()}
        operands = [instance.array(x, known) for x in node.inputs]
        dims = instance.layout.dims
        attrs = dict(node.attrs)
        if "shape" in attrs:
            attrs["shape"] = tuple([dims[d] if isinstance(d, str) else d for d in attrs["shape"]])
        assert node.prim.eval is not None
        with np.errstate(all="ignore"):
            try:
                value = node.prim.eval(np, *operands, **attrs)
            except Exception as error:
                raise failed(node, error) from error
        instance.array(node, known)[...] = value

    # --- what a reader may ask ---------------------------------------------------------------

    def source(self) -> str:
        """The kernels as text, in the order in which they run."""
        return source_text(self._machine.program)

    def plan(self, **dims: int) -> str:
        """Steps, buffers, bytes read and written and passes over memory; for dims if given."""
        return plan_text(self._machine, dims)

    def profile(self, state: Mapping[str, Any], *, repeats: int = 20, **inputs: Any) -> str:
        """The time of every step, medians over ``repeats``; the state given stays as it is."""
        snapshot = {name: np.array(value) for name, value in state.items()}
        self(snapshot, **inputs)
        dims: dict[str, int] = {}
        self._fed(inputs, dims)
        return profile_text(
            self._machine, self._machine.instance(dims), self, snapshot, inputs, repeats
        )


_NOTHING = np.zeros(1)


def _measure_unused() -> int:
    spare = [(np.empty(1), 0)]
    return sys.getrefcount(spare[0][0])


_UNUSED = _measure_unused()


def _address(array: Array) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


def dense(array: Array) -> Array:
    """The array with its elements in C order and aligned; a copy only where it has to be."""
    flags = array.flags
    if flags.c_contiguous and flags.aligned:
        return array
    return np.array(array, order="C")


def _check_sizes(graph: Graph, dims: Mapping[str, int]) -> None:
    """What an op cannot do for these sizes, said as the interpreter says it."""
    for node in graph.nodes:
        if node.prim.name not in ("count", "max", "argmax"):
            continue
        shape = [dims[d] if isinstance(d, str) else d for d in node.inputs[0].type.shape]
        if 0 in shape or node.prim.name == "count":
            try:
                assert node.prim.eval is not None
                node.prim.eval(
                    np,
                    np.broadcast_to(np.zeros((), node.inputs[0].type.dtype), shape),
                    **node.attrs,
                )
            except Exception as error:
                raise failed(node, error) from error
