"""Local rules: identities of one or two ops that hold for any operands.

What sums, products, powers and reductions do to each other is `laws`; these rows are for the rest,
and for the trivial cases that algebra should never have to see.
"""

from __future__ import annotations

import math

import numpy as np

from ..ir import Node, Shape
from ..primitives import (
    abs,
    add,
    broadcast_to,
    cast,
    div,
    erf,
    exp,
    log,
    log1p,
    max,
    maximum,
    mean,
    minimum,
    mul,
    neg,
    pow,
    reshape,
    sign,
    sqrt,
    stop_gradient,
    sub,
    sum,
    tanh,
    transpose,
    where,
)  # fmt: skip
from ..primitives.shape import BROADCAST_TO, RESHAPE, TRANSPOSE
from .rule import DOMAIN, EXACT, REASSOCIATING, Rule


def _float(root: Node) -> bool:
    return root.type.is_float


def _same_reduction(root: Node) -> bool:
    inner = root.inputs[0]
    return bool(root.attrs["keepdims"] == inner.attrs["keepdims"])


def _both_axes(root: Node) -> tuple[int, ...]:
    """The axes of two reductions, one after the other, counted in the first operand."""
    inner = root.inputs[0]
    first = inner.attrs["axis"]
    if inner.attrs["keepdims"]:
        return tuple(sorted({*first, *root.attrs["axis"]}))
    left = [a for a in range(inner.inputs[0].ndim) if a not in first]
    return tuple(sorted([*first, *[left[a] for a in root.attrs["axis"]]]))


def _composed(root: Node) -> tuple[int, ...]:
    first = root.inputs[0].attrs["axes"]
    return tuple([first[a] for a in root.attrs["axes"]])


def _order(root: Node) -> tuple[int, ...]:
    return tuple(root.attrs["axes"])


def _shape(node: Node) -> Shape:
    return node.type.shape


def _known_size(root: Node) -> bool:
    dims = [root.inputs[0].type.shape[a] for a in root.attrs["axis"]]
    return all(isinstance(dim, int) and dim > 0 for dim in dims)


def _counts(root: Node) -> bool:
    """The number of reduced elements is known, and one that the dtype holds."""
    if not _known_size(root):
        return False
    limits = np.finfo(root.dtype) if root.type.is_float else np.iinfo(root.dtype)
    return _size(root) <= int(limits.max)


def _size(root: Node) -> int:
    return math.prod([int(root.inputs[0].type.shape[a]) for a in root.attrs["axis"]])


def _repeats_reduced(x: Node, root: Node) -> bool:
    """A broadcast whose repeated axes are all reduced again."""
    wide = root.inputs[0].type.shape
    return x.ndim == 0 and set(root.attrs["axis"]) == set(range(len(wide)))


RULES: tuple[Rule, ...] = (
    # neutral elements
    Rule("add zero", EXACT, lambda x: add(x, 0), lambda x: x),
    Rule("subtract zero", EXACT, lambda x: sub(x, 0), lambda x: x),
    Rule("multiply by one", EXACT, lambda x: mul(x, 1), lambda x: x),
    Rule("divide by one", EXACT, lambda x: div(x, 1), lambda x: x),
    Rule("first power", EXACT, lambda x: pow(x, 1), lambda x: x),
    Rule("zeroth power", EXACT, lambda x: pow(x, 0), lambda root: 1),
    Rule("multiply by zero", DOMAIN, lambda x: mul(x, 0), lambda root: 0, condition="x is finite"),
    Rule("zero divided", DOMAIN, lambda x: div(0, x), lambda root: 0, condition="x is not 0"),
    # signs
    Rule("double negation", EXACT, lambda x: neg(neg(x)), lambda x: x),
    Rule("add a negative", EXACT, lambda x, y: add(x, neg(y)), lambda x, y: x - y),
    Rule("subtract a negative", EXACT, lambda x, y: sub(x, neg(y)), lambda x, y: x + y),
    Rule("subtract from zero", EXACT, lambda x: sub(0, x), lambda x: -x),
    Rule("negated difference", EXACT, lambda x, y: neg(sub(x, y)), lambda x, y: y - x),
    Rule("product of negatives", EXACT, lambda x, y: mul(neg(x), neg(y)), lambda x, y: x * y),
    Rule("quotient of negatives", EXACT, lambda x, y: div(neg(x), neg(y)), lambda x, y: x / y),
    Rule("multiply by minus one", EXACT, lambda x: mul(x, -1), lambda x: -x),
    Rule("square of a negative", EXACT, lambda x: pow(neg(x), 2), lambda x: x**2),
    Rule("x minus x", DOMAIN, lambda x: sub(x, x), lambda root: 0, condition="x is finite"),
    Rule("x over x", DOMAIN, lambda x: div(x, x), lambda root: 1, condition="x is finite, not 0"),
    Rule("odd tanh", EXACT, lambda x: tanh(neg(x)), lambda x: -tanh(x)),
    Rule("odd erf", EXACT, lambda x: erf(neg(x)), lambda x: -erf(x)),
    Rule("mean of a negative", EXACT, lambda x: mean(neg(x)), lambda x, root: -_again(root, x)),
    Rule("sum of a negative", EXACT, lambda x: sum(neg(x)), lambda x, root: -_again(root, x)),
    # absolute values and choices
    Rule("abs of abs", EXACT, lambda x: abs(abs(x)), lambda x: abs(x)),
    Rule("abs of a negative", EXACT, lambda x: abs(neg(x)), lambda x: abs(x)),
    Rule("abs of exp", EXACT, lambda x: abs(exp(x)), lambda x: exp(x)),
    Rule("abs of a root", EXACT, lambda x: abs(sqrt(x)), lambda x: sqrt(x)),
    Rule("square of abs", EXACT, lambda x: pow(abs(x), 2), lambda x: x**2, when=_float),
    Rule("maximum of equals", EXACT, lambda x: maximum(x, x), lambda x: x),
    Rule("minimum of equals", EXACT, lambda x: minimum(x, x), lambda x: x),
    Rule(
        "maximum twice", EXACT, lambda x, y: maximum(maximum(x, y), y), lambda x, y: maximum(x, y)
    ),
    Rule(
        "minimum twice", EXACT, lambda x, y: minimum(minimum(x, y), y), lambda x, y: minimum(x, y)
    ),
    Rule("a positive maximum", EXACT, lambda x: maximum(exp(x), 0), lambda x: exp(x)),
    Rule("where of equals", EXACT, lambda condition, x: where(condition, x, x), lambda x: x),
    Rule(
        "where in where", EXACT,
        lambda condition, x, y, z: where(condition, where(condition, x, y), z),
        lambda condition, x, z: where(condition, x, z),
    ),
    Rule(
        "where in the other branch", EXACT,
        lambda condition, x, y, z: where(condition, x, where(condition, y, z)),
        lambda condition, x, z: where(condition, x, z),
    ),
    Rule("sign of exp", DOMAIN, lambda x: sign(exp(x)), lambda root: 1, condition="no underflow"),
    # roots, exponentials, logarithms
    Rule("square of a root", DOMAIN, lambda x: pow(sqrt(x), 2), lambda x: x, condition="x >= 0"),
    Rule(
        "product of equal roots", DOMAIN, lambda x: mul(sqrt(x), sqrt(x)), lambda x: x,
        condition="x >= 0",
    ),
    Rule("root of a square", REASSOCIATING, lambda x: sqrt(pow(x, 2)), lambda x: abs(x)),
    Rule("exp of log", DOMAIN, lambda x: exp(log(x)), lambda x: x, condition="x > 0"),
    Rule("log of exp", DOMAIN, lambda x: log(exp(x)), lambda x: x, condition="no overflow"),
    Rule("log1p", REASSOCIATING, lambda x: log(add(x, 1)), lambda x: log1p(x)),
    Rule("exp of zero", EXACT, lambda: exp(_zero()), lambda root: 1),
    # views
    Rule(
        "stop twice", EXACT, lambda x: stop_gradient(stop_gradient(x)), lambda x: stop_gradient(x)
    ),
    Rule(
        "reshape twice", EXACT, lambda x: reshape_(reshape_(x)),
        lambda x, root: reshape(x, _shape(root)),
    ),
    Rule(
        "reshape to the same", EXACT, lambda x: reshape_(x), lambda x: x,
        when=lambda x, root: x.type == root.type,
    ),
    Rule(
        "transpose twice", EXACT, lambda x: transpose_(transpose_(x)),
        lambda x, root: transpose(x, _composed(root)),
    ),
    Rule(
        "transpose nothing", EXACT, lambda x: transpose_(x), lambda x: x,
        when=lambda root: _order(root) == tuple(range(root.ndim)),
    ),
    Rule(
        "broadcast twice", EXACT, lambda x: broadcast_(broadcast_(x)),
        lambda x, root: broadcast_to(x, _shape(root)),
    ),
    Rule(
        "broadcast to the same", EXACT, lambda x: broadcast_(x), lambda x: x,
        when=lambda x, root: x.type == root.type,
    ),
    Rule(
        "cast to the same", EXACT, lambda x: cast(x, "float64"), lambda x: x,
        when=lambda x, root: x.type == root.type,
    ),
    # reductions of reductions
    Rule(
        "max of max", EXACT, lambda x: max(max(x)),
        lambda x, root: max(x, _both_axes(root), keepdims=root.attrs["keepdims"]),
        when=_same_reduction,
    ),
    Rule(
        "sum of sum", REASSOCIATING, lambda x: sum(sum(x)),
        lambda x, root: sum(x, _both_axes(root), keepdims=root.attrs["keepdims"]),
        when=_same_reduction,
    ),
    Rule(
        "mean of mean", REASSOCIATING, lambda x: mean(mean(x)),
        lambda x, root: mean(x, _both_axes(root), keepdims=root.attrs["keepdims"]),
        when=_same_reduction,
    ),
    Rule(
        "mean of a repeated number", REASSOCIATING, lambda x: mean(broadcast_(x)), lambda x: x,
        when=lambda x, root: _repeats_reduced(x, root) and _known_size(root),
    ),
    Rule(
        "sum of a repeated number", REASSOCIATING, lambda x: sum(broadcast_(x)),
        lambda x, root: x * _size(root),
        when=lambda x, root: _repeats_reduced(x, root) and _counts(root),
    ),
)  # fmt: skip


def _again(root: Node, x: Node) -> Node:
    """The reduction ``root`` of another operand."""
    return root.prim(x, **root.attrs)


def _zero() -> Node:
    return sub(0.0, 0.0).inputs[0]


def reshape_(x: Node) -> Node:
    """A reshape in a pattern: of any shape."""
    return RESHAPE(x, shape=x.type.shape)


def transpose_(x: Node) -> Node:
    """A transposition in a pattern: of any axes."""
    return TRANSPOSE(x, axes=tuple(range(x.ndim)))


def broadcast_(x: Node) -> Node:
    """A broadcast in a pattern: to any shape."""
    return BROADCAST_TO(x, shape=x.type.shape)
