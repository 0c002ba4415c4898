"""The reference backend: numpy, one op at a time; the oracle for every other one.

A `Program` is a graph's order with a slot for each value; a value is dropped after its last use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..ir import Graph, GraphError, Node, NonFiniteError, is_leaf, place, toposort
from ..primitives import initial_value
from .feed import Array, by_node, checked, missing

Evals = Mapping[str, Callable[..., Any]]  # by primitive name; they stand in for the row's eval


@dataclass(frozen=True, slots=True)
class _Step:
    node: Node
    attrs: dict[str, Any]
    eval: Callable[..., Any]
    operands: tuple[int, ...]
    slot: int
    dead: tuple[int, ...]  # slots read here for the last time
    named: bool  # an attribute holds a named dim


@dataclass(frozen=True)
class Program:
    """Nodes lined up to run; build once with `lower`, run many times."""

    steps: list[_Step]
    leaves: dict[Node, int]
    roots: tuple[int, ...]
    slots: int
    constants: dict[int, Array] = field(default_factory=dict)

    def run(
        self, values: Mapping[Node, Any], dims: Mapping[str, int], check_finite: bool = False
    ) -> list[Array]:
        """The roots' arrays; ``values`` holds an array for every leaf that is no constant."""
        memory: list[Any] = [None] * self.slots
        for slot, constant in self.constants.items():
            memory[slot] = constant
        for leaf, slot in self.leaves.items():
            memory[slot] = values[leaf]
            if check_finite:
                _check_finite(leaf, memory[slot])
        with np.errstate(all="ignore"):
            for step in self.steps:
                try:
                    attrs = _sized(step.attrs, dims) if step.named else step.attrs
                    value = step.eval(np, *[memory[i] for i in step.operands], **attrs)
                except Exception as error:
                    raise failed(step.node, error) from error
                memory[step.slot] = value
                if check_finite:
                    _check_finite(step.node, value)
                for slot in step.dead:
                    memory[slot] = None
        return [np.asarray(memory[slot]) for slot in self.roots]


def lower(roots: Sequence[Node], fed: Sequence[Node] = (), evals: Evals | None = None) -> Program:
    """Line up the nodes that ``roots`` need, taking the values of ``fed`` as given."""
    evals = evals or {}
    order = toposort(roots, stop=fed)
    taken = set(fed)
    given = [node for node in toposort(roots) if node in taken] if fed else []
    slots = {node: i for i, node in enumerate([*given, *order])}
    keep = {slots[root] for root in roots}
    last: dict[int, int] = {}
    body = [node for node in order if not is_leaf(node)]
    for position, node in enumerate(body):
        last[slots[node]] = position
        for operand in node.inputs:
            last[slots[operand]] = position
    dead: dict[int, list[int]] = {}
    for slot, position in last.items():
        if slot not in keep:
            dead.setdefault(position, []).append(slot)
    steps = [
        _step(node, slots, tuple(dead.get(position, ())), evals)
        for position, node in enumerate(body)
    ]
    constants = {slots[n]: n.attrs["value"] for n in order if n.prim.name == "constant"}
    leaves = {n: slots[n] for n in order if is_leaf(n) and n.prim.name != "constant"}
    leaves.update({n: slots[n] for n in given})
    return Program(steps, leaves, tuple(slots[r] for r in roots), len(slots), constants)


def evaluate(
    nodes: Node | Sequence[Node] | Graph,
    feed: Mapping[Any, Any] | None = None,
    *,
    seed: int = 0,
    check_finite: bool = False,
) -> Any:
    """Compute nodes with numpy.

    Parameters
    ----------
    nodes : one node (an array comes back), several or a graph (a list, in order of its outputs).
    feed : arrays by name of leaf, or by node; a node in the middle may be fed too. Parameters and
        states that are not fed have their initial values, drawn with ``seed``.
    check_finite : raise NonFiniteError at the first NaN or infinity, naming node, scope and line.

    >>> import minigrad as mg
    >>> x = mg.input("x", "N")
    >>> mg.evaluate(mg.sum(x * x), {"x": [1.0, 2.0, 3.0]})
    array(14., dtype=float32)
    """
    roots = list(nodes.outputs.values()) if isinstance(nodes, Graph) else nodes
    roots = [roots] if isinstance(roots, Node) else list(roots)
    leaves = [node for node in toposort(roots) if is_leaf(node)]
    if isinstance(nodes, Graph):
        leaves = [*nodes.inputs, *nodes.leaves]
    fed = by_node(feed, leaves)
    program = lower(roots, fed=list(fed))
    dims: dict[str, int] = {}
    values = {node: checked(node, value, dims) for node, value in fed.items()}
    for leaf in program.leaves:
        if leaf not in values:
            if leaf.prim.name == "input":
                raise missing(leaf)
            values[leaf] = initial_value(leaf, seed)
    arrays = program.run(values, dims, check_finite)
    return arrays[0] if isinstance(nodes, Node) else arrays


def _step(node: Node, slots: dict[Node, int], dead: tuple[int, ...], evals: Evals) -> _Step:
    run = evals.get(node.prim.name, node.prim.eval)
    if run is None:
        raise GraphError(f"{node.prim.name}: this op cannot be evaluated{_at(node)}")
    named = any(
        isinstance(value, tuple) and any(isinstance(d, str) for d in value)
        for key, value in node.attrs.items()
        if key == "shape"
    )
    operands = tuple([slots[operand] for operand in node.inputs])
    return _Step(node, dict(node.attrs), run, operands, slots[node], dead, named)


def _sized(attrs: Mapping[str, Any], dims: Mapping[str, int]) -> dict[str, Any]:
    return {**attrs, "shape": tuple(dims[d] if isinstance(d, str) else d for d in attrs["shape"])}


def failed(node: Node, error: Exception) -> GraphError:
    """An op's error with its type, scope and line."""
    if isinstance(error, KeyError) and error.args and error.args[0] in node.type.shape:
        error = GraphError(f"the size of dim {error.args[0]!r} is not known from what was fed")
    return GraphError(f"{node.prim.name}: {error} while computing {node.type}{_at(node)}")


def _check_finite(node: Node, value: Any) -> None:
    array = np.asarray(value)
    if array.dtype.kind not in "fc" or np.isfinite(array).all():
        return
    bad = array[~np.isfinite(array)]
    kind = "NaN" if np.isnan(bad).any() else "infinity"
    name = f"{node.prim.name} {node.name!r}" if node.name else node.prim.name
    raise NonFiniteError(
        f"{name}: {bad.size} of {array.size} elements of {node.type} are not finite, "
        f"first {kind}{_at(node)}"
    )


def _at(node: Node) -> str:
    return place(node.scope, node.source)
