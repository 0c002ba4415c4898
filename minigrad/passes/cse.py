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
    moved, _ = shared_in_order(toposort(roots))
    return [moved.get(root, root) for root in roots]


def shared_in_order(order: Iterable[Node]) -> tuple[dict[Node, Node], list[Node]]:
    """What became of the nodes that another stands for, and the order of what is left.

    The order is the one that `toposort` gives: what an equal node needs was met with the first.
    """
    first: dict[Hashable, Node] = {}
    moved: dict[Node, Node] = {}
    changed = moved.keys()
    left: list[Node] = []
    for node in order:
        inputs = node.inputs
        if not inputs and is_leaf(node) and node.prim.name != "constant":
            left.append(node)
            continue
        same = changed.isdisjoint(inputs)
        if not same:
            inputs = tuple([moved.get(operand, operand) for operand in inputs])
        key = node_key(node, inputs)
        found = first.get(key)
        if found is None:
            found = first[key] = node if same else rewire(node, inputs)
            left.append(found)
        if found is not node:
            moved[node] = found
    return moved, left
