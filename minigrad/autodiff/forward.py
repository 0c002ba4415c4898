"""Forward mode by transposition: the vjp is linear in its cotangent, and its vjp is the jvp."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import HERE, GradientError, Node, place, toposort
from ..ir.scope import caller
from ..primitives import Operand, broadcast_to, constant
from ..primitives.leaf import INPUT
from .reverse import vjp


def jvp(
    outputs: Sequence[Node], wrt: Node | Sequence[Node], tangents: Sequence[Operand]
) -> list[Node]:
    """The Jacobian-vector product: ``sum_j d outputs[i] / d wrt[j] . tangents[j]`` for each i.

    Each result has the type of its output. Raises GradientError as `grad` does.

    >>> import minigrad as mg
    >>> x = mg.input("x", 2)
    >>> dy, = mg.jvp([x * x], [x], [[1.0, 10.0]])
    >>> mg.evaluate(dy, {"x": [3.0, 4.0]})
    array([ 6., 80.], dtype=float32)
    """
    wrt = [wrt] if isinstance(wrt, Node) else list(wrt)
    if len(tangents) != len(wrt):
        raise GradientError(
            f"jvp: {len(tangents)} tangents for {len(wrt)} nodes{place(HERE.scope, caller())}"
        )
    cts = [
        INPUT(name=f"ct{i}", shape=y.type.shape, dtype=y.type.dtype) for i, y in enumerate(outputs)
    ]
    pulled = vjp(outputs, wrt, cts)
    reached = set(toposort(pulled))
    linear = [ct for ct in cts if ct in reached]
    pushed = dict(zip(linear, vjp(pulled, linear, tangents), strict=True)) if linear else {}
    return [pushed[ct] if ct in pushed else _zero(ct) for ct in cts]


def _zero(ct: Node) -> Node:
    return broadcast_to(constant(np.zeros((), ct.type.dtype)), ct.type.shape)
