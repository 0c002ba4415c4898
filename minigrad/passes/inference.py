"""The inference graph: running statistics in the place of batch statistics, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from ..ir import Graph, GraphError, Node, enter, substitute, toposort
from ..ir.graph import require_graph
from ..primitives import reshape


def to_inference(graph: Graph, outputs: Sequence[str] | None = None) -> Graph:
    """The graph that answers at test time: one example at a time, or any batch.

    Every node that a layer marked (`track`, `at_inference`) is replaced by what stands for it:
    a batch mean by the running mean, a dropped-out tensor by the tensor. Updates are dropped, and
    with them the inputs, parameters and states that nothing needs any more.

    Parameters
    ----------
    graph : a training graph, with or without an optimiser's updates.
    outputs : names of the outputs to keep; all by default.

    Raises GraphError for an unknown output.

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 3))
    >>> train = mg.Graph([x], {"y": mg.nn.BatchNorm(3)(x)})
    >>> infer = mg.to_inference(train)
    >>> len(train.updates), len(infer.updates), [s.name for s in infer.states]
    (2, 0, ['running_mean', 'running_var'])
    """
    require_graph("to_inference", graph)
    names = list(graph.outputs) if outputs is None else list(outputs)
    for name in names:
        if name not in graph.outputs:
            raise GraphError(
                f"to_inference: no output {name!r}; there is {', '.join(graph.outputs)}"
            )
    tracked = [(u.estimate, u.state) for u in graph.updates if u.estimate is not None]
    stand_ins = {estimate: _as_estimate(state, estimate) for estimate, state in tracked}
    resolved = _resolve({**stand_ins, **graph.replacements})
    replaced = substitute([graph.outputs[name] for name in names], resolved)
    kept = Graph((), dict(zip(names, replaced, strict=True)))
    order = [node for node in graph.inputs if node in kept.inputs]
    return Graph(tuple(order), kept.outputs)


def _resolve(stand_ins: Mapping[Node, Node]) -> dict[Node, Node]:
    """Stand-ins that may themselves hold replaced nodes, each made free of them."""
    needs: dict[Node, set[Node]] = {}
    for node, stand_in in stand_ins.items():
        body = toposort([stand_in], stop=stand_ins)
        reached = {operand for n in body for operand in n.inputs} | {stand_in}
        needs[node] = {n for n in reached if n in stand_ins}
    resolved: dict[Node, Node] = {}
    try:
        for node in TopologicalSorter(needs).static_order():
            (resolved[node],) = substitute([stand_ins[node]], resolved)
    except CycleError as error:
        raise GraphError(f"to_inference: replacements need each other: {error.args[1]}") from None
    return resolved


def _as_estimate(state: Node, estimate: Node) -> Node:
    if state.type.shape == estimate.type.shape:
        return state
    with enter(estimate.scope):
        return reshape(state, estimate.type.shape)
