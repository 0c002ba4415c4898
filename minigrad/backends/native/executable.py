"""The native executable: checks what it is fed, fills in addresses, and walks the table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...ir import FeedError, Graph, GraphError, Node, is_leaf, place
from ..executable import Executable
from ..feed import by_node, check_state, checked, missing
from ..interpreter import failed
from .arrays import address_of, dense
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
        self._machine = Machine(graph, self._stateful, pool, self._library)
        program = self._machine.program
        self._inputs, self._leaves = self._machine.inputs, self._machine.leaves
        self._names = {spec.name for spec in self._inputs}
        self._needed = set(graph.leaves)  # states that are only written among them
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
        self, state: Mapping[str, Any], /, *, check_finite: bool = False, **inputs: Any
    ) -> tuple[dict[str, Array], Mapping[str, Array]]:
        if type(state) not in (dict, LiveState):
            check_state(state)
        if check_finite:
            return super().__call__(dict(state), check_finite=True, **inputs)
        machine = self._machine
        with machine.lock:
            instance, given = self._last, inputs
            if instance is None or not instance.transfer.inputs(inputs):
                dims: dict[str, int] = {}
                given = self._fed(inputs, dims)
                if instance is None or dims != instance.layout.dims:
                    if 0 in dims.values():  # nothing to compute: the interpreter's answer
                        return super().__call__(dict(state), **inputs)
                    instance = self._last = self._instance(dims)
                for spec in self._inputs:
                    instance.words[spec.position] = address_of(given.get(spec.name, _NOTHING))
            arrays, returned = self._state(state, instance)
            try:
                outputs = self._run(instance, given, arrays)
            except BaseException:  # Ctrl-C among them
                if self._moves and not self._fallible and isinstance(state, LiveState):
                    state.kept(arrays)
                raise
            if self._fallible and self._moves and isinstance(state, LiveState):
                state.taken()
            return outputs, returned

    def _run(
        self, instance: Instance, given: Mapping[str, Array], arrays: dict[str, Array]
    ) -> dict[str, Array]:
        machine = self._machine
        before = self._before(given, arrays) if self._has_leaf_results else {}
        outputs = instance.transfer.outputs()
        for segment in instance.segments:
            if isinstance(segment, Rows):
                machine.pool.run(segment.address, segment.count, segment.threads)
            else:
                self._host(segment, instance, given, arrays, outputs)
        if machine.program.copied:
            self._after(instance, arrays, before, outputs)
        if len(outputs) != len(self.graph.outputs):
            outputs = self._repeated(outputs, before)
        return outputs

    # --- what comes in -----------------------------------------------------------------------

    def _fed(self, inputs: Mapping[str, Any], dims: dict[str, int]) -> dict[str, Array]:
        given: dict[str, Array] = {}
        if len(inputs) > len(self._inputs) or not inputs.keys() <= self._names:
            by_node(inputs, self.graph.inputs)  # says what is not known
        for spec in self._inputs:
            value = inputs.get(spec.name, _ABSENT)
            if value is _ABSENT:
                if spec.node in self._needed:
                    raise missing(spec.node)
            elif type(value) is np.ndarray and spec.fits(value, dims):
                given[spec.name] = value
            else:
                given[spec.name] = dense(checked(spec.node, value, dims))
        return given

    def _instance(self, dims: dict[str, int]) -> Instance:
        for name in self._machine.dims:
            if name not in dims:
                where = next(n for n in self.graph.nodes if name in n.type.shape)
                raise failed(where, KeyError(name))
        _check_sizes(self.graph, dims)
        return self._machine.instance(dims)

    def _state(
        self, state: Mapping[str, Any], instance: Instance
    ) -> tuple[dict[str, Array], Mapping[str, Array]]:
        """The arrays of this step, by name and in the table, and the state to return."""
        if not self._moves:
            given = state.arrays if isinstance(state, LiveState) else state
            if type(given) is dict and instance.transfer.leaves(given):
                instance.live = None
                return given, {**state} if given is state else state
        arrays, returned = self._arrays(state, instance.layout.dims)
        if instance.live is not arrays:
            for leaf, position in self._leaves:
                if position is not None:
                    instance.words[position] = address_of(arrays[leaf.name])
            instance.live = arrays if self._moves else None
        return arrays, returned

    def _arrays(
        self, state: Mapping[str, Any], sizes: Mapping[str, int]
    ) -> tuple[dict[str, Array], Mapping[str, Array]]:
        if isinstance(state, LiveState):
            arrays = state.arrays
            if state.ready_for is not self:
                dims = dict(sizes)
                fit = {n.name: dense(self._leaf(n, arrays, dims)) for n, _ in self._leaves}
                if not self._moves:
                    return fit, state
                arrays = {**arrays, **fit}
            if self._fallible:
                arrays = {name: np.array(array) for name, array in arrays.items()}
            else:
                state.taken()
        elif self._moves:
            dims = dict(sizes)
            arrays = {name: np.array(value) for name, value in state.items()}
            for leaf, _ in self._leaves:
                arrays[leaf.name] = np.array(self._leaf(leaf, state, dims), order="C")
        else:
            dims = dict(sizes)
            return {n.name: dense(self._leaf(n, state, dims)) for n, _ in self._leaves}, {**state}
        after = LiveState(arrays)
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

    def _made(self, outputs: Mapping[str, Array]) -> dict[Node, Array]:
        """The outputs by node."""
        named = self._machine.program.outputs
        return {named[name]: array for name, array in outputs.items()}

    def _repeated(
        self, outputs: Mapping[str, Array], before: Mapping[Node, Array]
    ) -> dict[str, Array]:
        """Outputs that are leaves, or another output by a second name; all in their order."""
        made = self._made(outputs)
        found: dict[str, Array] = {}
        for name, node in self._machine.program.outputs.items():
            if name in outputs:
                found[name] = outputs[name]
            else:
                found[name] = np.array(before[node] if is_leaf(node) else made[node])
        return found

    def _before(self, given: Mapping[str, Array], arrays: Mapping[str, Array]) -> dict[Node, Array]:
        """Leaves that are outputs or another state's next value, as they were before the step."""
        program = self._machine.program
        wanted = [n for n in program.outputs.values() if is_leaf(n)]
        wanted += [v for v in program.copied.values() if is_leaf(v)]
        fed = {s.node: given[s.name] for s in self._inputs if s.name in given}
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
        arrays: Mapping[str, Array],
        before: Mapping[Node, Array],
        outputs: Mapping[str, Array],
    ) -> None:
        """The updates that could not be written in place."""
        program = self._machine.program
        given = {program.names.of[n]: a for n, a in self._made(outputs).items()}
        for state, value in program.in_place.items():
            given.setdefault(program.names.of[value], arrays[state.name])
        for state, value in program.copied.items():
            source = before[value] if is_leaf(value) else instance.array(value, given)
            np.copyto(arrays[state.name], source)

    def _host(
        self,
        node: Node,
        instance: Instance,
        given: Mapping[str, Array],
        arrays: Mapping[str, Array],
        outputs: Mapping[str, Array],
    ) -> None:
        """An op that has no kernel, computed by its row's own eval."""
        program = self._machine.program
        names = program.names.of
        known = {names[s.node]: given[s.name] for s in self._inputs if s.name in given}
        known |= {names[n]: arrays[n.name] for n, p in self._leaves if p is not None}
        known |= {names[n]: a for n, a in self._made(outputs).items()}
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
        instance = self._last
        if instance is None:
            raise GraphError("profile: these sizes leave nothing to compute")
        return profile_text(self._machine, instance, self, snapshot, inputs, repeats)


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
