"""Common subexpressions: equal ops on equal operands become one node."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from ..ir import Node, is_leaf, node_key, rewire, toposort


def share(roots: Iterable[Node]) -> list[Node]:
    """The roots with every subexpression built once; values do not change by a bit.

    The node that stands for several keeps the scope and line of the first. Ops with the same
    operands and attributes are the same; two constants are when their bytes are.

    >>> import minigrad as mg
    >>> x = mg.input("x", 3)
    >>> a, = share([mg.exp(x) + mg.exp(x)])
    >>> a.inputs[0] is a.inputs[1]
    True
    """
    roots = list(roots)
    first: dict[Hashable, Node] = {}
    moved: dict[Node, Node] = {}
    changed = moved.keys()
    for node in toposort(roots):
        inputs = node.inputs
        if not inputs and is_leaf(node) and node.prim.name != "constant":
            continue
        same = changed.isdisjoint(inputs)
        if not same:
            inputs = tuple(map(moved.get, inputs, inputs))
        key = node_key(node, inputs)
        found = first.get(key)
        if found is None:
            found = first[key] = node if same else rewire(node, inputs)
        if found is not node:
            moved[node] = found
    return [moved.get(root, root) for root in roots]
