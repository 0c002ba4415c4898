"""Common subexpressions: equal ops on equal operands become one node."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from ..ir import Node, is_leaf, node_key, rebuild, toposort


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
    mapped: dict[Node, Node] = {}
    for node in toposort(roots):
        if not node.inputs and is_leaf(node) and node.prim.name != "constant":
            mapped[node] = node
            continue
        inputs = tuple([mapped[operand] for operand in node.inputs])
        key = node_key(node, inputs)
        found = first.get(key)
        if found is None:
            found = first[key] = node if inputs == node.inputs else rebuild(node, inputs)
        mapped[node] = found
    return [mapped[root] for root in roots]
