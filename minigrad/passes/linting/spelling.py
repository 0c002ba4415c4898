"""The many ways to write a square, an average, a second moment."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from ...ir import Kind, Node

VIEWS = ("reshape", "cast", "broadcast_to", "transpose")
REDUCTIONS = ("mean", "sum")
LIMIT = 1000  # how many terms of a sum are looked at


def beneath_views(node: Node) -> Node:
    """The node whose numbers ``node`` shows in another shape or dtype."""
    while node.prim.name in VIEWS:
        node = node.inputs[0]
    return node


def number(node: Node) -> float | None:
    """The value of a scalar constant, through views; None for anything else."""
    inner = beneath_views(node)
    if inner.prim.name != "constant" or inner.attrs["value"].size != 1:
        return None
    return float(inner.attrs["value"].reshape(-1)[0])


def fixed_nodes(order: Iterable[Node]) -> set[Node]:
    """The nodes to which only constants and counts lead: their values depend on shapes alone."""
    found: set[Node] = set()
    for node in order:
        by_shape = node.prim.name in ("constant", "count")
        if by_shape or (node.inputs and all(operand in found for operand in node.inputs)):
            found.add(node)
    return found


def positive(node: Node) -> bool:
    """A constant whose elements are all above 0."""
    inner = beneath_views(node)
    return inner.prim.name == "constant" and bool((inner.attrs["value"] > 0).all())


def squared(node: Node) -> Node | None:
    """``a`` of ``a**2``, ``a * a``, ``(w * a) * a`` and ``w * a**2``; None for anything else."""
    inner = beneath_views(node)
    if _is_square(inner):
        return inner.inputs[0]
    if inner.prim.name == "mul":
        a, b = inner.inputs
        for left, right in ((a, b), (b, a)):
            product = beneath_views(left)
            if _is_square(product):
                return product.inputs[0]
            if product.prim.name == "mul" and right in product.inputs:
                return right
    return None


def _is_square(node: Node) -> bool:
    if node.prim.name == "pow":
        return number(node.inputs[1]) == 2
    return node.prim.name == "mul" and node.inputs[0] is node.inputs[1]


def moment(node: Node, fixed: Container[Node]) -> Node | None:
    """A reduction in a second moment: sums or means of squares, scaled, nothing else added.

    What has a positive number added, or as its lower bound, is no longer a moment but safe.
    """
    waiting, found, steps = [node], None, 0
    while waiting:
        inner = beneath_views(waiting.pop())
        name, operands = inner.prim.name, inner.inputs
        steps += 1
        if name in REDUCTIONS and squared(operands[0]) is not None:
            found = inner
        elif name == "div" and (operands[1] in fixed or _is_total(operands[1])):
            waiting.append(operands[0])
        elif name == "mul" and any(operand in fixed for operand in operands):
            waiting.append(operands[1] if operands[0] in fixed else operands[0])
        elif name == "maximum" and any(number(operand) == 0 for operand in operands):
            waiting.append(operands[1] if number(operands[0]) == 0 else operands[0])
        elif name == "add" and steps < LIMIT:
            waiting.extend(operands)
        else:
            return None
    return found


def _is_total(node: Node) -> bool:
    """A total weight: a sum, or one guarded by ``where(total == 0, 1, total)``."""
    inner = beneath_views(node)
    if inner.prim.name == "where":
        inner = beneath_views(inner.inputs[2])
    return inner.prim.name == "sum"


def root(node: Node) -> tuple[Node, float] | None:
    """What a node is a root of, and the power: sqrt(q) and q**p for a p that is no integer."""
    if node.prim.name == "sqrt":
        return node.inputs[0], 0.5
    if node.prim.name == "pow":
        power = number(node.inputs[1])
        if power is not None and power != int(power) and abs(power) < 1:
            return node.inputs[0], power
    return None


def chain(node: Node, fixed: Container[Node]) -> Iterator[Node]:
    """A node and, one below the other, what it is an elementwise function of, with constants."""
    yield node
    while node.prim.kind in (Kind.ELEMENTWISE, Kind.VIEW):
        varying = {operand for operand in node.inputs if operand not in fixed}
        if len(varying) != 1 or node.prim.name in ("where", "maximum", "minimum"):
            return
        (node,) = varying
        yield node
