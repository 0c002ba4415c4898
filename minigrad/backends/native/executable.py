"""The native executable: checks what it is fed, fills in addresses, and walks the table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...ir import FeedError, Graph, Node, is_leaf, place
from ..executable import Executable
from ..feed import by_node, checked, missing
from ..interpreter import failed
from .arrays import Input, Result, address_of, dense
from .loaded import Instance, Machine, Rows
from .machine import Library, default_cache
from .pool import cpu_count, shared_pool
from .report import plan_text, profile_text, source_text
from .state import Array, LiveState

_NOTHING, _ABSENT = np.zeros(1), object()


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
        pool = shared_pool(self.threads, Library(directory))
        self._machine = Machine(graph, pool, self._library)
        program, used = self._machine.program, self._machine.position
        self._inputs = [Input(n, used[program.names.of[n]]) for n in graph.inputs]
        self._names = {spec.name for spec in self._inputs}
        self._needed = set(graph.leaves)  # states that are only written among them
        self._leaves = [
            (leaf, used.get(program.names.of.get(leaf, "")))
            for leaf in self._stateful
            if leaf in self._needed
        ]
        self._moves = bool(graph.updates)
        results = [*program.outputs.values(), *program.copied.values()]
        self._has_leaf_results = any(is_leaf(node) for node in results)
        # A step that can fail half way works on a copy, so that the state given is not lost.
        self._fallible = any(step.text is None for step in program.steps)
        self._last: Instance | None = None

    @property
    def compiled(self) -> int:
        """How many kernels LLVM built for this executable; those in the cache are not counted."""
        return self._library.compiled

    def __call__(
        self, state: Mapping[str, Any], *, check_finite: bool = False, **inputs: Any
    ) -> tuple[dict[str, Array], Mapping[str, Array]]:
        if check_finite:
            return super().__call__(dict(state), check_finite=True, **inputs)
        machine = self._machine
        with machine.lock:
            dims: dict[str, int] = {}
            given = self._fed(inputs, dims)
            instance = self._last
            if instance is None or dims != instance.layout.dims:
                if 0 in dims.values():  # nothing to compute: the interpreter's answer, no kernels
                    return super().__call__(dict(state), **inputs)
                instance = self._last = self._instance(dims)
            arrays, returned = self._state(state, dims)
            words = instance.words
            for spec, array in zip(self._inputs, given, strict=True):
                words[spec.position] = address_of(array)
            if instance.live is not arrays:
                for leaf, position in self._leaves:
                    if position is not None:
                        words[position] = address_of(arrays[leaf.name])
                instance.live = arrays if self._moves else None
            before = self._before(given, arrays) if self._has_leaf_results else {}
            outputs, made = self._outputs(instance)
            for segment in instance.segments:
                if isinstance(segment, Rows):
                    machine.pool.run(segment.address, segment.count, segment.threads)
                else:
                    self._host(segment, instance, given, arrays, made)
            if machine.program.copied:
                self._after(instance, arrays, before, made)
            if self._fallible and self._moves and isinstance(state, LiveState):
                state.taken()
            if len(outputs) != len(self.graph.outputs):
                self._repeat(outputs, made, before)
            return outputs, returned

    # --- what comes in -----------------------------------------------------------------------

    def _fed(self, inputs: Mapping[str, Any], dims: dict[str, int]) -> list[Array]:
        given: list[Array] = []
        if len(inputs) > len(self._inputs) or not inputs.keys() <= self._names:
            by_node(inputs, self.graph.inputs)  # says what is not known
        for spec in self._inputs:
            value = inputs.get(spec.name, _ABSENT)
            if value is _ABSENT:
                if spec.node in self._needed:
                    raise missing(spec.node)
                given.append(_NOTHING)
            elif type(value) is np.ndarray and spec.fits(value, dims):
                given.append(value)
            else:
                given.append(dense(checked(spec.node, value, dims)))
        return given

    def _instance(self, dims: dict[str, int]) -> Instance:
        for name in self._machine.dims:
            if name not in dims:
                where = next(n for n in self.graph.nodes if name in n.type.shape)
                raise failed(where, KeyError(name))
        _check_sizes(self.graph, dims)
        return self._machine.instance(dims)

    def _state(
        self, state: Mapping[str, Any], dims: dict[str, int]
    ) -> tuple[dict[str, Array], Mapping[str, Array]]:
        """The arrays of this step by name, and the state to return."""
        if isinstance(state, LiveState):
            arrays = state.arrays
            if state.ready_for is self:
                if not self._moves:
                    return arrays, state
            else:
                fit = {n.name: dense(self._leaf(n, arrays, dims)) for n, _ in self._leaves}
                if not self._moves:
                    return fit, state
                arrays = {**arrays, **fit}
            if self._fallible:
                arrays = {name: np.array(array) for name, array in arrays.items()}
            else:
                state.taken()
            after = LiveState(arrays)
        elif self._moves:
            arrays = {name: np.array(value) for name, value in state.items()}
            for leaf, _ in self._leaves:
                arrays[leaf.name] = np.array(self._leaf(leaf, state, dims), order="C")
            after = LiveState(arrays)
        else:
            arrays = {n.name: dense(self._leaf(n, state, dims)) for n, _ in self._leaves}
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

    # --- what goes out -----------------------------------------------------------------------

    def _outputs(self, instance: Instance) -> tuple[dict[str, Array], dict[Node, Array]]:
        """An array for every output; memory that the caller let go of is used again."""
        outputs: dict[str, Array] = {}
        made: dict[Node, Array] = {}
        if not instance.results:
            instance.results = self._results(instance)
        for result in instance.results:
            array, address = result.fresh()
            outputs[result.name] = made[result.node] = array
            instance.words[result.position] = address
        return outputs, made

    def _results(self, instance: Instance) -> list[Result]:
        program, dims = self._machine.program, instance.layout.dims
        found: dict[Node, Result] = {}
        for name, node in program.outputs.items():
            if is_leaf(node) or node in found:
                continue
            shape = tuple([dims[d] if isinstance(d, str) else d for d in node.type.shape])
            position = self._machine.position[program.names.of[node]]
            found[node] = Result(name, node, position, shape)
        return list(found.values())

    def _repeat(
        self,
        outputs: dict[str, Array],
        made: Mapping[Node, Array],
        before: Mapping[Node, Array],
    ) -> None:
        """Outputs that are leaves, or another output by a second name; all in their order."""
        found = dict(outputs)
        outputs.clear()
        for name, node in self._machine.program.outputs.items():
            if name in found:
                outputs[name] = found[name]
            else:
                outputs[name] = np.array(before[node] if is_leaf(node) else made[node])

    def _before(self, given: list[Array], arrays: dict[str, Array]) -> dict[Node, Array]:
        """Leaves that are outputs or another state's next value, as they were before the step."""
        program = self._machine.program
        wanted = [n for n in program.outputs.values() if is_leaf(n)]
        wanted += [v for v in program.copied.values() if is_leaf(v)]
        fed = {spec.node: array for spec, array in zip(self._inputs, given, strict=True)}
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
        program = self._machine.program
        names = program.names.of
        known = {names[s.node]: a for s, a in zip(self._inputs, given, strict=True)}
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
        for name in program.names.extra.get(node, ()):
            known[name][...] = value

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
