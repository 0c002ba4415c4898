"""Activations: graphs of primitives under the field's names. Shapes and dtypes are kept."""

from __future__ import annotations

import math

from ..ir import GraphError, Node
from ..primitives import (
    Operand,
    erf,
    exp,
    floating,
    log,
    log1p,
    max,
    maximum,
    minimum,
    stop_gradient,
    sum,
    tanh,
    where,
)


def relu(x: Operand) -> Node:
    """``max(x, 0)``, with derivative 0 at 0.

    >>> import minigrad as mg
    >>> mg.relu(mg.input("x", ("N", 3)))
    <maximum f32[N,3]>
    """
    return maximum(x, 0)


def leaky_relu(x: Operand, negative_slope: float = 0.01) -> Node:
    """``x`` where positive, ``negative_slope * x`` elsewhere (Maas et al. 2013)."""
    node = floating(x)
    return where(node > 0, node, node * negative_slope)


def gelu(x: Operand, approximate: str = "none") -> Node:
    """``x * Phi(x)`` with the normal distribution function (Hendrycks & Gimpel 2016).

    ``approximate="tanh"`` is the paper's approximation. GraphError for any other word.
    """
    node = floating(x)
    if approximate == "none":
        return 0.5 * node * (1 + erf(node / math.sqrt(2)))
    if approximate == "tanh":
        return 0.5 * node * (1 + tanh(math.sqrt(2 / math.pi) * (node + 0.044715 * node**3)))
    raise GraphError(f"gelu: approximate={approximate!r}; use 'none' or 'tanh'")


def sigmoid(x: Operand) -> Node:
    """``1 / (1 + exp(-x))``, through tanh so that nothing overflows."""
    return 0.5 * (1 + tanh(0.5 * floating(x)))


def silu(x: Operand) -> Node:
    """``x * sigmoid(x)`` (Elfwing et al. 2017)."""
    node = floating(x)
    return node * sigmoid(node)


def softplus(x: Operand) -> Node:
    """``log(1 + exp(x))``, as ``max(x, 0) + log1p(exp(-|x|))`` so that nothing overflows."""
    node = floating(x)
    minus_abs = where(node > 0, -node, node)  # with slope 1 at 0, where max(x, 0) has slope 0
    return maximum(node, 0) + log1p(exp(minus_abs))


def softmax(x: Operand, axis: int = -1) -> Node:
    """``exp(x) / sum(exp(x))`` along ``axis``, shifted by the largest element."""
    powers = exp(_shifted(x, axis))
    return powers / sum(powers, axis, keepdims=True)


def log_softmax(x: Operand, axis: int = -1) -> Node:
    """``x - log(sum(exp(x)))`` along ``axis``, shifted by the largest element."""
    shifted = _shifted(x, axis)
    return shifted - log(sum(exp(shifted), axis, keepdims=True))


def clip(x: Operand, low: float, high: float) -> Node:
    """``x`` kept within ``low`` and ``high``."""
    return minimum(maximum(x, low), high)


def _shifted(x: Operand, axis: int) -> Node:
    node = floating(x)
    return node - stop_gradient(max(node, axis, keepdims=True))  # the shift cancels in the gradient
