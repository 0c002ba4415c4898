"""Weights as numbers: what no input reaches is computed once, and becomes a parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir import FeedError, Graph, Node, Scope, enter, is_leaf, place, substitute, toposort
from ..primitives import constant, parameter
from .fold_plan import fixed_nodes
from .fold_rounding import Array, run
from .precision import retyped

# What a computed parameter is called, by the op that reads it.
_ROLES = {"matmul": "weight", "add": "bias", "sub": "bias", "mul": "scale", "div": "scale"}


@dataclass(frozen=True, slots=True, eq=False)
class Frozen:
    """Fixed nodes and the parameters in their place; ``rounded`` is what each lost to its dtype."""

    replacement: Mapping[Node, Node]
    values: Mapping[str, Array]
    rounded: Mapping[str, Array]


def checked_state(graph: Graph, state: Mapping[str, Any]) -> dict[str, Array]:
    """An array of the right shape for every parameter and state; FeedError names a wrong one."""
    found: dict[str, Array] = {}
    for leaf in (*graph.parameters, *graph.states):
        where = place(leaf.scope, leaf.source)
        if leaf.name not in state:
            raise FeedError(f"fold: the state has no {leaf.name!r}, {leaf.type}{where}")
        value = np.asarray(state[leaf.name])
        if value.shape != leaf.shape or value.dtype.kind not in "biuf":
            raise FeedError(
                f"fold: {leaf.name!r} is {leaf.type}, the state has {value.dtype}"
                f"{list(value.shape)}{where}"
            )
        found[leaf.name] = value.astype(leaf.dtype)
    return found


def freeze(graph: Graph, state: Mapping[str, Array]) -> Frozen:
    """Evaluate in float64 every fixed node that a varying one (or a result) reads, once."""
    fixed = fixed_nodes(graph)
    readers: dict[Node, Node] = {n: n for n in graph.outputs.values() if n in fixed}
    for node in graph.nodes:
        if node not in fixed:
            for operand in node.inputs:
                if operand in fixed and operand.prim.name != "constant":
                    readers.setdefault(operand, node)
    readers = {n: reader for n, reader in readers.items() if n.prim.name != "constant"}
    wide = retyped(readers, np.float64)
    exact, _ = run([wide[n] for n in readers], state, {})
    taken = {n.name for n in (*graph.inputs, *readers) if n.name}
    replacement: dict[Node, Node] = {}
    values: dict[str, Array] = {}
    rounded: dict[str, Array] = {}
    for node, reader in readers.items():
        value = exact[wide[node]].astype(node.dtype)
        if not any(n.name for n in toposort([node])):
            replacement[node] = constant(value)
            continue
        if is_leaf(node):
            replacement[node] = node.prim(**{**node.attrs, "init": value})
        else:
            replacement[node] = _parameter(value, reader, taken)
        name = replacement[node].name
        values[name] = replacement[node].attrs["init"]  # what `init_state` will give
        if node.type.is_float:
            rounded[name] = np.abs(exact[wide[node]] - value.astype(np.float64))
    return Frozen(replacement, values, rounded)


def frozen_graph(graph: Graph, frozen: Frozen) -> Graph:
    outputs = substitute(graph.outputs.values(), frozen.replacement)
    return Graph(graph.inputs, dict(zip(graph.outputs, outputs, strict=True)))


def _parameter(value: Array, reader: Node, taken: set[str]) -> Node:
    """A parameter beside its reader: ``fc/weight``, or ``fc/weight2`` where that is taken."""
    role, path = _ROLES.get(reader.prim.name, "value"), reader.scope.path
    name, count = role, 1
    while "/".join((*path, name)) in taken:
        count += 1
        name = f"{role}{count}"
    with enter(Scope(path)):
        made = parameter(name, value)
    taken.add(made.name)
    return made
