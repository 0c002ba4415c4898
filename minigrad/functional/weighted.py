"""Statistics of some of the elements: masks (padding, missing pixels) and weights.

Written so that an element of weight 0 influences nothing, neither a value nor a gradient, even
where it is NaN or infinite: 0 * NaN is NaN, so such elements are replaced before they are used.
Counts are sums of weights, exact for masks up to 2**24 elements (2**53 in float64), in float16 too.
"""

from __future__ import annotations

import math

from ..ir import GraphError, Node, ShapeError, broadcast_shapes, place, promote
from ..ir.scope import HERE, caller
from ..ir.types import BOOL, FLOAT32
from ..primitives import (
    Operand,
    abs,
    as_node,
    broadcast_to,
    cast,
    equal,
    floating,
    less,
    sum,
    where,
)
from ..primitives.reduce import Axis

CORRECTIONS = ("none", "frequency", "reliability")


def weighted_mean(
    x: Operand, weights: Operand, axis: Axis = None, *, keepdims: bool = False
) -> Node:
    """``sum(w * x) / sum(w)`` over ``axis``; 0 where all weights are 0.

    Parameters
    ----------
    x : floats of any shape.
    weights : a mask (bool, True counts) or numbers >= 0, broadcast against ``x``: [N,1] for the
        rows of [N,C]. The gradient flows to weights that are floats.

    Raises ShapeError when the weights are larger than ``x`` or do not fit it.

    >>> import minigrad as mg
    >>> mg.evaluate(weighted_mean([1.0, 2.0, float("nan")], [True, True, False]))
    array(1.5, dtype=float32)
    """
    values, w = _pair("weighted_mean", x, weights)
    return cast_back(_mean(values, w, axis, keepdims), x)


def weighted_var(
    x: Operand,
    weights: Operand,
    axis: Axis = None,
    *,
    keepdims: bool = False,
    correction: str = "none",
) -> Node:
    """``sum(w * (x - mu)**2) / d`` over ``axis``, where ``mu`` is the `weighted_mean`.

    Parameters
    ----------
    x, weights : as in `weighted_mean`.
    correction : "none" divides by ``W = sum(w)``, the biased variance; "frequency" by ``W - 1``,
        for masks and for weights that say how often an element occurred; "reliability" by
        ``W - sum(w**2) / W``, for weights that say how good an element is. On a mask the last two
        are one.

    Returns 0 where all weights are 0; with a correction, NaN where the divisor is not positive:
    the unbiased variance of one element does not exist.

    >>> import minigrad as mg
    >>> mg.evaluate(weighted_var([1.0, 3.0, 9.0], [1, 1, 0], correction="frequency"))
    array(2., dtype=float32)
    """
    if correction not in CORRECTIONS:
        raise GraphError(
            f"weighted_var: correction={correction!r} is not one of {', '.join(CORRECTIONS)}"
            f"{_here()}"
        )
    values, w = _pair("weighted_var", x, weights)
    c = values - _mean(values, w, axis, True)
    squares = sum((w * c) * c, axis, keepdims=keepdims)  # so ordered, w = 0 tames a large c
    total = sum(w, axis, keepdims=keepdims)
    if correction == "none":
        return cast_back(squares / _at_least_something(total), x)
    if correction == "frequency":
        divisor = total - 1
    else:
        divisor = total - sum(w * w, axis, keepdims=keepdims) / _at_least_something(total)
    positive = divisor > 0
    return cast_back(where(positive, squares / where(positive, divisor, 1), math.nan), x)


def weighted_count(
    x: Operand, weights: Operand, axis: Axis = None, *, keepdims: bool = False
) -> Node:
    """The total weight over ``axis`` of ``x``: for a mask, how many elements count.

    A float, at least float32, of the shape of the reduced ``x``.

    >>> import minigrad as mg
    >>> mg.evaluate(weighted_count([[5.0, 6.0], [7.0, 8.0]], [[True], [False]], axis=0))
    array([1., 1.], dtype=float32)
    """
    _, w = _pair("weighted_count", x, weights)
    return sum(w, axis, keepdims=keepdims)


def without_unweighted(x: Operand, weights: Operand) -> Node:
    """``x`` with 0 for what is NaN or infinite and has weight 0; else as it is.

    >>> import minigrad as mg
    >>> mg.evaluate(without_unweighted([1.0, float("nan"), 3.0], [True, False, False]))
    array([1., 0., 3.], dtype=float32)
    """
    node, w = floating(x), as_node(weights)
    unweighted = equal(cast(w, node.type.dtype) if w.type.dtype == BOOL else w, 0)
    return where(less(abs(node), math.inf), node, where(unweighted, 0, node))


def cast_back(statistic: Node, x: Operand) -> Node:
    """A statistic in the float dtype of ``x``."""
    dtype = floating(x).type.dtype
    return statistic if statistic.type.dtype == dtype else cast(statistic, dtype)


def _pair(op: str, x: Operand, weights: Operand) -> tuple[Node, Node]:
    """The values, free of what has no weight, and the weights beside each; at least float32."""
    node, w = floating(x), as_node(weights)
    try:
        fits = broadcast_shapes(node.type.shape, w.type.shape) == node.type.shape
    except ShapeError:
        fits = False
    if not fits:
        raise ShapeError(
            f"{op}: weights {w.type} do not fit {node.type}; give one weight for each element, or "
            f"a dim of 1 where they are shared, such as [N,1] for rows{_here()}"
        )
    dtype = promote(node.type.dtype, FLOAT32)
    if w.type.dtype == BOOL:
        values = where(w, node, 0)
    else:
        values = without_unweighted(node, w)
    return cast(values, dtype), broadcast_to(cast(w, dtype), node.type.shape)


def _mean(values: Node, w: Node, axis: Axis, keepdims: bool) -> Node:
    total = sum(w, axis, keepdims=keepdims)
    return sum(w * values, axis, keepdims=keepdims) / _at_least_something(total)


def _at_least_something(total: Node) -> Node:
    """``total``, and 1 for 0: the sum over nothing is 0, and 0 / 1 is the documented value."""
    return where(equal(total, 0), 1, total)


def _here() -> str:
    return place(HERE.scope, caller())
