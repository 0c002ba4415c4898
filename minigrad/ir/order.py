"""Walks over nodes: topological order, consumers, reachability. Nothing here recurses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from .node import Kind, Node, rebuild


def toposort(roots: Iterable[Node], stop: Iterable[Node] = ()) -> list[Node]:
    """Every node that the roots need, operands first; the order depends on structure alone.

    Nodes in ``stop`` are left out, and so is what only they need.

    >>> import minigrad as mg
    >>> x = mg.input("x", 3)
    >>> [n.prim.name for n in toposort([mg.exp(x) * x])]
    ['input', 'exp', 'mul']
    """
    order: list[Node] = []
    seen = set(stop)
    stack: list[Node | None] = [*[*roots][::-1]]
    while stack:
        node = stack.pop()
        if node is None:  # what the node below needs is in the order
            order.append(stack.pop())  # type: ignore[arg-type]
        elif node not in seen:
            seen.add(node)
            for operand in node.inputs:
                if operand not in seen:
                    stack.append(node)
                    stack.append(None)
                    stack.extend(node.inputs[::-1])
                    break
            else:  # all are in the order: only what reads it is still open
                order.append(node)
    return order


def needed(roots: Iterable[Node], order: Sequence[Node]) -> list[Node]:
    """What the roots need of a topological order in which all of it stands."""
    wanted = set(roots)
    left = []
    for node in reversed(order):
        if node in wanted:
            wanted.update(node.inputs)
            left.append(node)
    return left[::-1]


def reached(roots: Iterable[Node]) -> set[Node]:
    """Every node that the roots need, in no order."""
    found = set(roots)
    stack = list(found)
    while stack:
        for operand in stack.pop().inputs:
            if operand not in found:
                found.add(operand)
                stack.append(operand)
    return found


def consumers(order: Iterable[Node]) -> dict[Node, list[Node]]:
    """For every node of ``order`` the nodes that read it, one entry a use."""
    uses: dict[Node, list[Node]] = {}
    for node in order:
        uses.setdefault(node, [])
        for operand in node.inputs:
            uses.setdefault(operand, []).append(node)
    return uses


def depending_on(order: Iterable[Node], sources: Iterable[Node]) -> set[Node]:
    """The nodes of a topological ``order`` that some source reaches, the sources among them."""
    reached = set(sources)
    for node in order:
        if node not in reached and not reached.isdisjoint(node.inputs):
            reached.add(node)
    return reached


def substitute(roots: Iterable[Node], replacement: Mapping[Node, Node]) -> list[Node]:
    """The roots with some nodes replaced; a replaced node's own operands are not visited.

    What does not depend on a replaced node is kept as it is, so identity is preserved.

    >>> import minigrad as mg
    >>> x, y = mg.input("x", 3), mg.input("y", 3)
    >>> out, = substitute([mg.exp(x) + x], {x: y})
    >>> out.inputs[1] is y
    True
    """
    roots = list(roots)
    mapped: dict[Node, Node] = dict(replacement)
    for node in toposort(roots, stop=replacement):
        inputs = tuple([mapped.get(operand, operand) for operand in node.inputs])
        if any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
            mapped[node] = rebuild(node, inputs)
    return [mapped.get(root, root) for root in roots]


def map_nodes(
    roots: Iterable[Node], rule: Callable[[Node, tuple[Node, ...]], Node]
) -> dict[Node, Node]:
    """Old node to new node, where ``rule(node, new_inputs)`` makes each new one."""
    mapped: dict[Node, Node] = {}
    for node in toposort(roots):
        mapped[node] = rule(node, tuple([mapped[operand] for operand in node.inputs]))
    return mapped


def is_leaf(node: Node) -> bool:
    """True for inputs, parameters, states and constants."""
    return node.prim.kind is Kind.LEAF
