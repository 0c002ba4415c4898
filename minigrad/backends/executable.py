"""Compiled graphs: a pure function ``(state, inputs) -> (outputs, state)``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from ..ir import FeedError, Graph, GraphError, Node, place, toposort
from ..ir.graph import require_graph
from ..primitives import initial_value
from .feed import Array, by_node, check_state, checked, missing
from .interpreter import Program, lower

State: TypeAlias = Mapping[str, Array]

BACKENDS = ("interpreter", "native")


def compile(
    graph: Graph,
    backend: str = "native",
    *,
    threads: int | None = None,
    cache: Path | bool | None = None,
) -> Executable:
    """Make a graph ready to run many times.

    Parameters
    ----------
    backend : "native" for machine code, "interpreter" for numpy, one op at a time. Complex
        numbers, which only gradient checks use, are always the interpreter's.
    threads : of the native backend; all processors by default.
    cache : a directory for compiled kernels, False for none; the user's cache by default.

    >>> import minigrad as mg
    >>> x, m = mg.input("x", "N"), mg.state("m", 0.0)
    >>> step = mg.compile(mg.Graph([x], {"y": x - m}, [mg.Update(m, m + 1)]))
    >>> outputs, state = step(step.init_state(), x=[1.0, 2.0])
    >>> outputs["y"], state["m"]
    (array([1., 2.], dtype=float32), array(1., dtype=float32))
    """
    require_graph("compile", graph)
    if backend not in BACKENDS:
        raise GraphError(f"compile: no backend {backend!r}; there is {', '.join(BACKENDS)}")
    if threads is not None and (type(threads) is not int or threads < 1):
        raise GraphError(
            f"compile: threads is {threads!r}; it is an int from 1 up, or None for all"
        )
    if backend == "interpreter":
        return Executable(graph)
    try:
        from .native import NativeExecutable, supported
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("llvmlite", "scipy", "threadpoolctl"):
            raise
        warnings.warn(
            f"compile: {error}; the interpreter runs instead, several times slower (the native "
            "backend needs llvmlite and scipy)",
            RuntimeWarning,
            stacklevel=2,
        )
        return Executable(graph)
    if not supported(graph):
        return Executable(graph)
    return NativeExecutable(graph, threads=threads, cache=cache)


class Executable:
    """A graph that runs: call it with a state and its inputs by name.

    The result is ``(outputs, state)``, both by name. The state passed in is left as it is; what
    the graph does not update is passed on.
    """

    def __init__(self, graph: Graph) -> None:
        for node in graph.inputs:
            if node.name == "check_finite":
                raise GraphError(
                    "compile: an input is called 'check_finite', which is an option of every step; "
                    f"give it another name{place(node.scope, node.source)}"
                )
        self.graph = graph
        self._updates = [update.state.name for update in graph.updates]
        # What only the inference graph reads (running statistics that do not move) is carried too.
        carried = [*graph.leaves, *toposort(graph.replacements.values())]
        stateful = [leaf for leaf in carried if leaf.prim.name in ("parameter", "state")]
        self._stateful = list(dict.fromkeys(stateful))

    @cached_property
    def _program(self) -> Program:
        roots = [*self.graph.outputs.values(), *(u.value for u in self.graph.updates)]
        return lower(roots)

    def init_state(self, seed: int = 0) -> State:
        """The initial value of every parameter and state; equal seeds give equal values."""
        return {leaf.name: initial_value(leaf, seed) for leaf in self._stateful}

    def __call__(
        self, state: Mapping[str, Any], /, *, check_finite: bool = False, **inputs: Any
    ) -> tuple[dict[str, Array], State]:
        check_state(state)
        dims: dict[str, int] = {}
        fed = by_node(inputs, self.graph.inputs)
        values: dict[Node, Any] = {}
        for node in self.graph.inputs:
            if node in fed:
                values[node] = checked(node, fed[node], dims)
            elif node in self._program.leaves:
                raise missing(node)
        for leaf in self._stateful:
            if leaf not in self._program.leaves:
                continue
            if leaf.name not in state:
                raise FeedError(
                    f"the state has no {leaf.name!r}, {leaf.type}; see init_state()"
                    f"{place(leaf.scope, leaf.source)}"
                )
            values[leaf] = checked(leaf, state[leaf.name], dims)
        arrays = self._program.run(values, dims, check_finite)
        count = len(self.graph.outputs)
        outputs = dict(zip(self.graph.outputs, arrays[:count], strict=True))
        moved = dict(zip(self._updates, arrays[count:], strict=True))
        return outputs, {**state, **moved}
