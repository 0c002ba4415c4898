"""Losses, and the statistics they are made of."""

from __future__ import annotations

import numpy as np

from ..ir import DTypeError, Node, ShapeError, normalize_axes, place
from ..ir.scope import HERE, caller
from ..primitives import (
    Operand,
    as_node,
    cast,
    constant,
    equal,
    expand_dims,
    floating,
    mean,
    sum,
    where,
)
from ..primitives.reduce import Axis
from .activation import log_softmax


def square(x: Operand) -> Node:
    """``x ** 2``."""
    return as_node(x) ** 2


def var(x: Operand, axis: Axis = None, *, keepdims: bool = False) -> Node:
    """The biased variance, by two passes: the mean squared distance from the mean.

    >>> import minigrad as mg
    >>> mg.evaluate(mg.var(mg.input("x", "N")), {"x": [1.0, 3.0]})
    array(1., dtype=float32)
    """
    node = floating(x)
    return mean((node - mean(node, axis, keepdims=True)) ** 2, axis, keepdims=keepdims)


def one_hot(labels: Operand, classes: int, dtype: str = "float32") -> Node:
    """1 at each label and 0 elsewhere, along a new last axis."""
    return cast(_is_label(as_node(labels), classes, -1), dtype)


def cross_entropy(
    logits: Operand, labels: Operand, *, axis: int = -1, label_smoothing: float = 0.0
) -> Node:
    """The mean of ``-log softmax(logits)[label]``, a scalar.

    Parameters
    ----------
    logits : floats, the classes along ``axis``: f32[N,C].
    labels : ints of the shape of logits without that axis: i64[N]. A label outside 0..C-1 adds 0.
    label_smoothing : the share of the target spread over all classes (Szegedy et al. 2016).

    Raises ShapeError when the shapes do not fit, DTypeError for labels that are not ints.

    >>> import minigrad as mg
    >>> loss = mg.cross_entropy(mg.input("x", ("N", 10)), mg.input("t", "N", "int64"))
    >>> loss.type
    f32[]
    """
    scores, target = floating(logits), as_node(labels)
    (at,) = normalize_axes(axis, scores.ndim)
    shape = scores.type.shape
    where_ = place(HERE.scope, caller())
    if target.type.dtype.kind != "i":
        raise DTypeError(f"cross_entropy: labels must be ints, not {target.type}{where_}")
    if target.type.shape != shape[:at] + shape[at + 1 :] or not isinstance(shape[at], int):
        raise ShapeError(
            f"cross_entropy: labels {target.type} do not fit logits {scores.type}; they need the "
            f"shape of the logits without axis {at}{where_}"
        )
    log_p = log_softmax(scores, at)
    picked = sum(where(_is_label(target, int(shape[at]), at), log_p, 0), at)
    if not label_smoothing:
        return -mean(picked)
    return -mean((1 - label_smoothing) * picked + label_smoothing * mean(log_p, at))


def mse(prediction: Operand, target: Operand) -> Node:
    """The mean squared error, a scalar.

    Raises ShapeError unless both have one shape or one is a scalar: f32[N,1] and f32[N] would
    broadcast to every pair of examples.
    """
    found, wanted = floating(prediction), as_node(target)
    shapes = found.type.shape, wanted.type.shape
    if shapes[0] != shapes[1] and () not in shapes:
        raise ShapeError(
            f"mse: prediction {found.type} and target {wanted.type} differ in shape; reshape one"
            f"{place(HERE.scope, caller())}"
        )
    return mean((found - wanted) ** 2)


def _is_label(labels: Node, classes: int, axis: int) -> Node:
    (at,) = normalize_axes(axis, labels.ndim + 1)
    numbers = np.arange(classes, dtype=labels.type.dtype)
    shape = [1] * (labels.ndim + 1)
    shape[at] = classes
    return equal(expand_dims(labels, at), constant(numbers.reshape(shape)))
