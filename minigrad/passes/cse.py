"""Common subexpressions: equal ops on equal operands become one node."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from ..ir import Node, attrs_key, is_leaf, rebuild, toposort


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
        inputs = tuple([mapped[operand] for operand in node.inputs])
        if is_leaf(node) and node.prim.name != "constant":
            mapped[node] = node
            continue
        key = (node.prim, tuple(map(id, inputs)), node.type, attrs_key(node.attrs))
        found = first.get(key)
        if found is None:
            same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
            found = first[key] = node if same else rebuild(node, inputs)
        mapped[node] = found
    return [mapped[root] for root in roots]
