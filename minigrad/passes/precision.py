"""The same graph in another float dtype: gradcheck asks for float64 and complex128."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..ir import Graph, Node, Update, as_dtype, map_nodes, rebuild
from ..ir.graph import require_graph
from ..ir.types import COMPLEX128
from ..primitives import cast


def retype(graph: Graph, dtype: Any) -> Graph:
    """The graph with every float leaf, constant and cast in ``dtype``; ints and bools stay.

    >>> import minigrad as mg
    >>> g = mg.Graph([], {"y": mg.input("x", 3) * 0.5})
    >>> retype(g, "float64").outputs["y"].type
    f64[3]
    """
    require_graph("retype", graph)
    mapped = retyped(
        [*graph.roots, *graph.inputs, *graph.replacements, *graph.replacements.values()], dtype
    )
    updates = tuple(
        Update(
            mapped[u.state],
            mapped[u.value],
            None if u.estimate is None else mapped.get(u.estimate),
        )
        for u in graph.updates
    )
    return Graph(
        tuple(mapped[node] for node in graph.inputs),
        {name: mapped[node] for name, node in graph.outputs.items()},
        updates,
        {mapped[n]: mapped[r] for n, r in graph.replacements.items()},
    )


def retyped(roots: Iterable[Node], dtype: Any) -> dict[Node, Node]:
    """Every node below ``roots``, and what it becomes in ``dtype``."""
    target = COMPLEX128 if np.dtype(dtype) == COMPLEX128 else as_dtype(dtype)

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        attrs = dict(node.attrs)
        if node.type.is_float and "dtype" in attrs:
            attrs["dtype"] = target
        if node.prim.name == "constant" and node.type.is_float:
            attrs["value"] = attrs["value"].astype(target)
        new = rebuild(node, inputs, attrs if attrs else node.attrs)
        if node.type.is_float and new.type.dtype != target:  # the count of an int tensor
            new = cast(new, target)
        return new

    return map_nodes(roots, rule)
