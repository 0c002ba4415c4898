"""Reverse mode: the gradient of a graph is more graph of the same primitives.

One pass over the nodes in reverse topological order. Each row's vjp gives a cotangent node per
operand; cotangents of one node are added; broadcasting is undone here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import (
    HERE,
    DTypeError,
    GradientError,
    Node,
    Scope,
    TensorType,
    broadcast_shapes,
    building,
    depending_on,
    place,
    toposort,
)
from ..ir.errors import GraphError
from ..ir.scope import caller
from ..primitives import Operand, as_node, broadcast_to, constant, reshape
from ..primitives.elementwise import ADD
from ..primitives.reduce import SUM


def grad(output: Node, wrt: Node | Sequence[Node], ct: Operand | None = None) -> list[Node]:
    """The gradient of ``output`` with respect to each node of ``wrt``, as nodes.

    Parameters
    ----------
    output : a float node; a scalar, unless ``ct`` says how its elements are weighed.
    wrt : the nodes to differentiate by; inputs, parameters or anything in between.
    ct : the cotangent of the output (dL/d output), of its shape.

    Each result has the type of its node and keeps the scope of the forward node that caused it,
    one ``order`` higher; it can be differentiated again. Raises GradientError for a non-scalar
    without ``ct``, for integers, and for a node that ``output`` does not depend on.

    >>> import minigrad as mg
    >>> x = mg.input("x")
    >>> dx, = mg.grad(x ** 3, x)
    >>> d2x, = mg.grad(dx, x)
    >>> mg.evaluate([dx, d2x], {"x": 2.0})
    [array(12., dtype=float32), array(12., dtype=float32)]
    """
    return vjp([output], wrt, None if ct is None else [ct])


def value_and_grad(output: Node, wrt: Node | Sequence[Node]) -> tuple[Node, list[Node]]:
    """``output`` and its gradient; both are nodes of one graph, so nothing runs twice."""
    return output, grad(output, wrt)


def vjp(
    outputs: Sequence[Node], wrt: Node | Sequence[Node], cts: Sequence[Operand] | None = None
) -> list[Node]:
    """The vector-Jacobian product: ``sum_i cts[i] . d outputs[i] / d wrt[j]`` for each j.

    ``cts=None`` stands for ones, which only scalar outputs may leave out.
    """
    wrt = [wrt] if isinstance(wrt, Node) else list(wrt)
    outputs = list(outputs)
    _check(outputs, wrt, cts)
    order = toposort(outputs)
    active = depending_on(order, wrt)
    cotangents: dict[Node, Node] = {}
    base = max([node.scope.order for node in active], default=0)
    with building():
        for i, output in enumerate(outputs):
            HERE.scope, HERE.source = _gradient_scope(output, base), output.source
            _accumulate(cotangents, output, _seed(output, None if cts is None else cts[i]))
        _sweep(order, active, cotangents, base)
    for node in wrt:
        if node not in cotangents:
            raise GradientError(_unconnected(node, outputs, active))
    return [cotangents[node] for node in wrt]


def unbroadcast(ct: Node, target: TensorType) -> Node:
    """Undo broadcasting: sum ``ct`` over the axes along which ``target`` was repeated."""
    shape = ct.type.shape
    if shape == target.shape:
        return ct
    if broadcast_shapes(shape, target.shape) != shape:  # a rule gave less than the whole
        return broadcast_to(ct, target.shape)
    extra = len(shape) - target.ndim
    repeated = [extra + i for i, d in enumerate(target.shape) if d == 1 and shape[extra + i] != 1]
    axis = (*range(extra), *repeated)
    summed = SUM(ct, axis=axis, keepdims=False) if axis else ct
    return summed if summed.type.shape == target.shape else reshape(summed, target.shape)


def _sweep(order: list[Node], active: set[Node], cotangents: dict[Node, Node], base: int) -> None:
    for node in reversed(order):
        ct = cotangents.get(node)
        rule = node.prim.vjp
        if ct is None or rule is None or node not in active:
            continue
        HERE.scope, HERE.source = _gradient_scope(node, base), node.source
        inputs, attrs = node.inputs, node.attrs
        parts = rule(ct, node, *inputs, **attrs) if attrs else rule(ct, node, *inputs)
        for operand, part in zip(inputs, parts, strict=True):
            if part is None or operand not in active:
                continue
            if part.type is not operand.type and part.type != operand.type:
                if part.type.dtype != operand.type.dtype:
                    raise DTypeError(
                        f"{node.prim.name}: its vjp gave {part.type} for an operand of type "
                        f"{operand.type}{place(node.scope, node.source)}"
                    )
                part = unbroadcast(part, operand.type)
            previous = cotangents.get(operand)
            cotangents[operand] = part if previous is None else ADD(previous, part)


def _accumulate(cotangents: dict[Node, Node], node: Node, part: Node) -> None:
    previous = cotangents.get(node)
    cotangents[node] = part if previous is None else ADD(previous, part)


_GRADIENT_SCOPES: dict[tuple[tuple[str, ...], int], Scope] = {}


def _gradient_scope(node: Node, base: int) -> Scope:
    """The scope of ``node``, one order above it and above all that is differentiated here."""
    scope = node.scope
    key = (scope.path, (base if base > scope.order else scope.order) + 1)
    found = _GRADIENT_SCOPES.get(key)
    return found if found is not None else _GRADIENT_SCOPES.setdefault(key, Scope(*key))


def _seed(output: Node, ct: Operand | None) -> Node:
    if ct is None:
        return constant(np.ones((), output.type.dtype))
    node = as_node(ct, output.type.dtype)
    if node.type.dtype != output.type.dtype:
        if not isinstance(ct, Node):
            node = constant(np.asarray(node.attrs["value"], output.type.dtype))
        else:
            raise GradientError(
                f"grad: ct is {node.type}, the output is {output.type}; cast ct{_at(output)}"
            )
    try:
        return broadcast_to(node, output.type.shape)
    except GraphError:
        raise GradientError(
            f"grad: ct is {node.type}, the output is {output.type}{_at(output)}"
        ) from None


def _check(outputs: list[Node], wrt: list[Node], cts: Sequence[Operand] | None) -> None:
    if cts is not None and len(cts) != len(outputs):
        raise GradientError(
            f"grad: {len(cts)} cotangents for {len(outputs)} outputs{place(HERE.scope, caller())}"
        )
    for node in (*outputs, *wrt):
        if not isinstance(node, Node):
            raise GradientError(
                f"grad: {node!r} is no node; differentiate nodes by nodes"
                f"{place(HERE.scope, caller())}"
            )
    for output in outputs:
        if not output.type.is_float:
            raise GradientError(f"grad: the output {output!r} is not a float{_at(output)}")
        if cts is None and output.type.shape:
            raise GradientError(
                f"grad: the output {output!r} is not a scalar; give ct (its cotangent), or "
                f"differentiate a mean or sum of it{_at(output)}"
            )
    for node in wrt:
        if not node.type.is_float:
            raise GradientError(f"grad: {node!r} holds no floats, it has no gradient{_at(node)}")


def _unconnected(node: Node, outputs: list[Node], active: set[Node]) -> str:
    why = "the output does not depend on it"
    if any(output in active for output in outputs):
        ends = [n for n in toposort(outputs) if n in active and n.inputs and n.prim.vjp is None]
        names = ", ".join(dict.fromkeys(n.prim.name for n in ends))
        why = f"no gradient flows through {names}" if names else "only integers lead to it"
    return f"grad: {node!r} has no gradient: {why}{_at(node)}"


def _at(node: Node) -> str:
    return place(node.scope, node.source)
