"""Which values lie in memory, and which are computed wherever they are used.

A value lies in memory when a product, a reduction or the caller needs it there, or when computing
it twice would cost more than keeping it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir import Kind, Node, is_leaf
from .access import is_virtual

_COSTS = {
    "exp": 12, "log": 12, "log1p": 14, "tanh": 14, "erf": 20, "pow": 20, "random_uniform": 40,
    "sqrt": 4, "div": 4, "fold": 30,
}  # fmt: skip
EXPENSIVE = 10  # a value this dear is kept, when it is needed before and after a barrier
DEEP = 120  # and so is one whose text would grow too long


def kept_in_memory(order: Sequence[Node], wanted: set[Node]) -> set[Node]:
    """The values that get memory of their own; leaves are not among them."""
    kept = {node for node in order if not is_leaf(node) and not is_virtual(node)} | wanted
    for node in order:
        if node.prim.kind is Kind.CONTRACTION:
            kept.update(base for base in map(_base, node.inputs) if not is_leaf(base))
    kept |= _steady(order, kept)
    times = _times(order, kept)
    costs = _costs(order, kept)
    used: dict[Node, set[int]] = {node: set() for node in order}
    for node in reversed(order):
        if node not in kept and not is_leaf(node):
            many = len(used[node]) > 1 and costs[node] >= EXPENSIVE
            if many or costs[node] >= DEEP or _is_window_source(node):
                kept.add(node)
        now = {max((times[x] for x in node.inputs), default=0)} if node in kept else used[node]
        for operand in node.inputs:
            used[operand] |= now
    return kept


def _steady(order: Sequence[Node], kept: set[Node]) -> set[Node]:
    """Vectors computed once for the loops of something larger: a scale, a shift, 1/std."""
    wide: dict[Node, bool] = {}
    found: set[Node] = set()
    ranks = {node: _rank(node) for node in order}
    for node in reversed(order):
        for x in node.inputs:
            through = node.prim.kind is Kind.VIEW and ranks[x] == ranks[node] and wide.get(node)
            wide[x] = wide.get(x, False) or ranks[node] > ranks[x] or bool(through)
        own = node.prim.kind is Kind.ELEMENTWISE and is_virtual(node) and node not in kept
        if own and ranks[node] and wide.get(node) and node.prim.name != "stop_gradient":
            found.add(node)
    return found


def _rank(node: Node) -> int:
    return sum(d != 1 for d in node.type.shape)


def _base(node: Node) -> Node:
    while node.prim.name in ("transpose", "reshape", "unfold") and node.prim.kind is Kind.VIEW:
        node = node.inputs[0]
    return node


def _is_window_source(node: Node) -> bool:
    return node.prim.name == "fold" and node.attrs["window"] != node.attrs["stride"]


def _times(order: Sequence[Node], kept: set[Node]) -> dict[Node, int]:
    """How many barriers lie before a value."""
    times: dict[Node, int] = {}
    for node in order:
        before = max((times[x] for x in node.inputs), default=0)
        times[node] = before + (node in kept and not is_virtual(node))
    return times


def _costs(order: Sequence[Node], kept: set[Node]) -> dict[Node, int]:
    """What computing a value from values in memory costs, in additions an element.

    Operands with fewer elements are computed outside the inner loop, so they cost nothing.
    """
    costs: dict[Node, int] = {}
    for node in order:
        if is_leaf(node) or (node in kept and not is_virtual(node)):
            costs[node] = 0
            continue
        rank = sum(d != 1 for d in node.type.shape)
        inner = [x for x in node.inputs if sum(d != 1 for d in x.type.shape) >= rank]
        own = _COSTS.get(node.prim.name, 1 if node.prim.kind is Kind.ELEMENTWISE else 0)
        if node.prim.name == "pow" and node.inputs[1].prim.name == "constant":
            own = 2
        costs[node] = min(own + sum(costs[x] for x in dict.fromkeys(inner)), 10 * DEEP)
        if node in kept:
            costs[node] = 0
    return costs
