"""Normalisers as formulas. Read beside Ioffe & Szegedy 2015, Algorithm 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..functional import weighted_mean, weighted_var
from ..functional.weighted import without_unweighted
from ..ir import Node, normalize_axes
from ..primitives import Operand, as_node, floating, mean, reshape, sqrt


def _itself(statistic: Node) -> Node:
    return statistic


def batch_norm(
    x: Operand,
    gamma: Operand | None,
    beta: Operand | None,
    *,
    axes: Sequence[int] = (0,),
    eps: float = 1e-3,
    weights: Operand | None = None,
    on_mean: Callable[[Node], Node] = _itself,
    on_variance: Callable[[Node], Node] = _itself,
) -> Node:
    """Batch normalisation: six primitives and nothing else (Ioffe & Szegedy 2015, Algorithm 1).

    Parameters
    ----------
    x : floats of any shape.
    gamma, beta : scale and shift, broadcast against ``x``; None leaves the step out.
    axes : what the statistics reduce over: (0,) for [N,C], (0, 2, 3) for [N,C,H,W].
    eps : added to the variance, inside the root.
    weights : a mask or weights for the statistics, see `weighted_mean`: padding (weight 0) is
        normalised with the rest and influences nothing else.
    on_mean, on_variance : identity markers that a layer puts on the statistics.

    Returns a node of the type of ``x``. The variance is biased: it divides by n.

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 2))
    >>> y = mg.nn.batch_norm(x, mg.constant([1.0, 1.0]), mg.constant([0.0, 0.0]))
    >>> [n.prim.name for n in mg.Graph([x], y).nodes if n.inputs]
    ['mean', 'sub', 'pow', 'mean', 'add', 'sqrt', 'pow', 'mul', 'mul', 'add']
    """
    x = floating(x)
    axes = normalize_axes(axes, x.ndim)
    keepdims = axes != tuple(range(len(axes)))  # leading axes broadcast back by themselves

    if weights is None:
        mu = on_mean(mean(x, axes, keepdims=keepdims))
        c = x - mu
        v = on_variance(mean(c**2, axes, keepdims=keepdims))
    else:
        mu = on_mean(weighted_mean(x, weights, axes, keepdims=keepdims))
        c = without_unweighted(x, weights) - mu
        v = on_variance(weighted_var(x, weights, axes, keepdims=keepdims))
    r = sqrt(v + eps) ** -1
    x_hat = c * r
    return _scale_and_shift(x_hat, gamma, beta)


def normalize(
    x: Operand,
    mean: Operand,
    variance: Operand,
    offset: Operand | None,
    scale: Operand | None,
    eps: float,
) -> Node:
    """``scale * (x - mean) / sqrt(variance + eps) + offset``, as `tf.nn.batch_normalization`.

    Everything broadcasts against ``x``; None leaves the offset or the scale out.

    >>> import minigrad as mg
    >>> mg.evaluate(mg.nn.normalize([3.0, 5.0], 1.0, 4.0, 0.5, None, 0.0))
    array([1.5, 2.5], dtype=float32)
    """
    x_hat = (floating(x) - mean) * sqrt(as_node(variance) + eps) ** -1
    return _scale_and_shift(x_hat, scale, offset)


def layer_norm(
    x: Operand,
    gamma: Operand | None,
    beta: Operand | None,
    *,
    axes: Sequence[int] = (-1,),
    eps: float = 1e-5,
) -> Node:
    """Layer normalisation (Ba et al. 2016): the formula of `batch_norm` over features."""
    return batch_norm(x, gamma, beta, axes=axes, eps=eps)


def instance_norm(
    x: Operand, gamma: Operand | None, beta: Operand | None, *, eps: float = 1e-5
) -> Node:
    """Instance normalisation of [N,C,...] over the pixels of a channel (Ulyanov et al. 2016)."""
    node = floating(x)
    return batch_norm(node, gamma, beta, axes=range(2, node.ndim), eps=eps)


def group_norm(
    x: Operand, gamma: Operand | None, beta: Operand | None, *, groups: int, eps: float = 1e-5
) -> Node:
    """Group normalisation of [N,C,...] over groups of channels (Wu & He 2018)."""
    node = floating(x)
    batch, channels, *pixels = node.type.shape
    grouped = reshape(node, (batch, groups, int(channels) // groups, *pixels))
    x_hat = batch_norm(grouped, None, None, axes=range(2, node.ndim + 1), eps=eps)
    return _scale_and_shift(reshape(x_hat, node.type.shape), gamma, beta)


def rms_norm(
    x: Operand, gamma: Operand | None, *, axes: Sequence[int] = (-1,), eps: float = 1e-6
) -> Node:
    """``x / sqrt(mean(x**2) + eps)``, scaled (Zhang & Sennrich 2019, eq. 4)."""
    node = floating(x)
    r = sqrt(mean(node**2, tuple(axes), keepdims=True) + eps) ** -1
    return _scale_and_shift(node * r, gamma, None)


def debias(running: Operand, steps: Operand, *, decay: float, start: Operand = 0.0) -> Node:
    """An EMA freed of its start: ``(s_t - decay**t * s_0) / (1 - decay**t)`` for any start."""
    faded = as_node(decay) ** floating(steps)
    return (floating(running) - faded * start) / (1 - faded)


def _scale_and_shift(x_hat: Node, gamma: Operand | None, beta: Operand | None) -> Node:
    y = x_hat if gamma is None else as_node(gamma) * x_hat
    return y if beta is None else y + beta
