"""Two kinds of batch norm for small and for large batches: batch renormalisation, ghost batch norm.

Both are formulas of primitives with the running statistics of `BatchNorm`, so that an inference
graph follows from each by `to_inference`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..ir import Node, ShapeError, normalize_axes
from ..primitives import (
    Initializer,
    Operand,
    advance,
    as_node,
    at_inference,
    cast,
    concatenate,
    constant,
    count,
    floating,
    maximum,
    mean,
    minimum,
    reshape,
    sqrt,
    state,
    stop_gradient,
    sum,
    track,
)
from . import initializers
from .norm_layers import _Affine
from .norms import _itself, _scale_and_shift, batch_norm, normalize


def batch_renorm(
    x: Operand,
    gamma: Operand | None,
    beta: Operand | None,
    running_mean: Operand,
    running_std: Operand,
    *,
    r_max: Operand = 3.0,
    d_max: Operand = 5.0,
    axes: tuple[int, ...] = (0,),
    eps: float = 1e-3,
    on_mean: Callable[[Node], Node] = _itself,
    on_std: Callable[[Node], Node] = _itself,
) -> Node:
    """Batch renormalisation (Ioffe 2017, arXiv:1702.03275, Algorithm 1).

    With ``mu`` and ``sigma = sqrt(v + eps)`` of the batch, ``m`` and ``s`` the running ones::

        r = clip(sigma / s, 1 / r_max, r_max)     d = clip((mu - m) / s, -d_max, d_max)
        y = gamma * ((x - mu) / sigma * r + d) + beta

    No gradient flows through r and d. Where neither is clipped, y is what the inference graph
    gives, ``gamma * (x - m) / s + beta``; with ``r_max=1, d_max=0`` it is batch normalisation.

    Parameters
    ----------
    x : floats of any shape.
    gamma, beta, running_mean, running_std : broadcast against ``x``; gamma or beta None is left
        out.
    r_max, d_max : the limits of the correction, numbers or scalar nodes.
    axes, eps, on_mean, on_std : as in `batch_norm`, with the standard deviation for the variance.

    >>> import minigrad as mg
    >>> x = [[1.0], [3.0]]  # mean 2, std 1; the running ones are 1 and 0.5
    >>> mg.evaluate(mg.nn.batch_renorm(x, None, None, 1.0, 0.5, eps=0.0))
    array([[0.],
           [4.]], dtype=float32)
    """
    x = floating(x)
    axes = normalize_axes(axes, x.ndim)
    keepdims = axes != tuple(range(len(axes)))

    mu = on_mean(mean(x, axes, keepdims=keepdims))
    c = x - mu
    sigma = on_std(sqrt(mean(c**2, axes, keepdims=keepdims) + eps))
    x_hat = c * sigma**-1
    low = 1 / as_node(r_max, x.type.dtype), -as_node(d_max, x.type.dtype)
    r = minimum(maximum(sigma / running_std, low[0]), r_max)
    d = minimum(maximum((mu - running_mean) / running_std, low[1]), d_max)
    r, d = stop_gradient(r), stop_gradient(d)
    return _scale_and_shift(at_inference(x_hat * r + d, x_hat), gamma, beta)


@dataclass(frozen=True, eq=False)
class BatchRenorm(_Affine):
    """Batch renormalisation over every axis but ``channel_axis`` (Ioffe 2017, Algorithm 1).

    For batches that are small or not mixed: the training output is corrected towards what
    inference gives, and leans on the batch's own statistics only as far as the limits say.

    Parameters
    ----------
    features, channel_axis, decay, eps, center, scale : as in `BatchNorm`.
    r_max, d_max : the final limits of the correction; 3 and 5 are the paper's.
    plain_steps, r_steps, d_steps : the warm-up, in training steps. Up to ``plain_steps`` the
        limits are 1 and 0, which is batch norm; then they rise in a straight line and reach
        ``r_max`` after ``r_steps`` and ``d_max`` after ``d_steps``. The paper's (section 4) are
        5,000, 40,000 and 25,000. All 0 means the final limits from the start.

    The states are ``running_mean``, ``running_std``, the average of ``sqrt(v + eps)`` as in the
    paper, and ``renorm_step``, which counts training steps unless all three are 0. The inference
    graph is ``gamma * (x - running_mean) / running_std + beta``. Raises GraphError for limits
    below 1 or 0 and for steps out of order.

    >>> import minigrad as mg
    >>> g = mg.Graph([], mg.nn.BatchRenorm(8, name="brn1")(mg.input("x", ("N", 8))))
    >>> [u.state.name for u in g.updates]
    ['brn1/running_mean', 'brn1/running_std', 'brn1/renorm_step']
    >>> [s.name for s in mg.to_inference(g).states]
    ['brn1/running_mean', 'brn1/running_std']
    """

    eps: float = field(default=1e-3, kw_only=True)
    channel_axis: int = field(default=-1, kw_only=True)
    decay: float = field(default=0.99, kw_only=True)
    r_max: float = field(default=3.0, kw_only=True)
    d_max: float = field(default=5.0, kw_only=True)
    plain_steps: int = field(default=5_000, kw_only=True)
    r_steps: int = field(default=40_000, kw_only=True)
    d_steps: int = field(default=25_000, kw_only=True)

    def __post_init__(self) -> None:
        _check_ema(self, self.decay, self.eps)
        limits = f"r_max {self.r_max} must be at least 1, d_max {self.d_max} at least 0"
        self.demand(self.r_max >= 1 and self.d_max >= 0, limits)
        steps = (self.plain_steps, self.r_steps, self.d_steps)
        ordered = 0 <= self.plain_steps <= min(self.r_steps, self.d_steps)
        self.demand(ordered, f"plain_steps, r_steps, d_steps {steps}: a rise ends before it starts")

    def build(self, x: Node) -> Node:
        channel, axes = _channel_and_axes(self, x)
        m = self.memory("running_mean", x, initializers.zeros, (self.features,))
        s = self.memory("running_std", x, initializers.ones, (self.features,))
        r_max, d_max = (_like(limit, x) for limit in self._limits())
        y = batch_renorm(
            x,
            *self.affine(x, channel),
            _beside(m, x, channel),
            _beside(s, x, channel),
            r_max=r_max,
            d_max=d_max,
            axes=axes,
            eps=self.eps,
            on_mean=lambda mu: track(mu, m, _moved(m, mu, self.decay)),
            on_std=lambda sigma: track(sigma, s, _moved(s, sigma, self.decay)),
        )
        return advance(y, self._step(), self._step() + 1) if self._warms_up else y

    @property
    def _warms_up(self) -> bool:
        return max(self.plain_steps, self.r_steps, self.d_steps) > 0

    def _step(self) -> Node:
        return self.made("renorm_step", lambda: state("renorm_step", 0))

    def _limits(self) -> tuple[Node, Node]:
        """r_max and d_max of this step."""
        if not self._warms_up:
            return constant(np.float64(self.r_max)), constant(np.float64(self.d_max))
        done = cast(self._step(), "float64") - self.plain_steps
        risen = [
            minimum(maximum(done / max(end - self.plain_steps, 1), 0), 1)
            for end in (self.r_steps, self.d_steps)
        ]
        return 1 + (self.r_max - 1) * risen[0], self.d_max * risen[1]


@dataclass(frozen=True, eq=False)
class GhostBatchNorm(_Affine):
    """Batch norm of a large batch in parts of ``ghost`` examples (Hoffer et al. 2017, Algorithm 1).

    Each part, a ghost batch, is normalised by its own statistics, so that a batch of 4,096 keeps
    the noise, and the generalisation, of batches of ``ghost`` (arXiv:1705.08741, section 4).

    Parameters
    ----------
    features, channel_axis, decay, eps, center, scale : as in `BatchNorm`.
    ghost : the most examples a ghost has; None takes the batch whole, which is `BatchNorm`.
    unbiased : whether the running variance tracks ``v * n / (n - 1)``; a ghost of n values
        underestimates the variance by that factor, which the paper leaves uncorrected.

    A batch that ``ghost`` does not divide is cut into the fewest ghosts that are small enough, and
    their sizes differ by one at most: 100 by 32 gives four of 25, not three of 32 and a noisy
    rest. The running statistics move once a ghost, in order, as in the paper.

    To be cut, the batch must be an int: ShapeError for a named one. The states have the names and
    the meaning of `BatchNorm`'s, so the inference graph for batches of any size is that of the
    model built with ``ghost=None``.

    >>> import minigrad as mg
    >>> y = mg.nn.GhostBatchNorm(8, ghost=32, name="gbn1")(mg.input("x", (128, 8)))
    >>> [u.state.name for u in mg.Graph([], y).updates]
    ['gbn1/running_mean', 'gbn1/running_var']
    """

    eps: float = field(default=1e-3, kw_only=True)
    ghost: int | None = field(default=32, kw_only=True)
    channel_axis: int = field(default=-1, kw_only=True)
    decay: float = field(default=0.99, kw_only=True)
    unbiased: bool = field(default=False, kw_only=True)
    moving_mean_initializer: Initializer = field(default=initializers.zeros, kw_only=True)
    moving_variance_initializer: Initializer = field(default=initializers.ones, kw_only=True)

    def __post_init__(self) -> None:
        _check_ema(self, self.decay, self.eps)
        self.demand(self.ghost is None or self.ghost > 0, f"ghost {self.ghost} is not positive")

    def build(self, x: Node) -> Node:
        channel, axes = _channel_and_axes(self, x)
        m = self.memory("running_mean", x, self.moving_mean_initializer, (self.features,))
        s = self.memory("running_var", x, self.moving_variance_initializer, (self.features,))
        gamma, beta = self.affine(x, channel)
        if self.ghost is None or self._batch(x) <= self.ghost:
            return batch_norm(
                x,
                gamma,
                beta,
                axes=axes,
                eps=self.eps,
                on_mean=lambda mu: track(mu, m, _moved(m, mu, self.decay)),
                on_variance=lambda v: track(
                    v, s, _moved(s, self._observed(v, x, axes), self.decay)
                ),
            )
        x_hat, mus, variances = self._ghosts(x, axes)
        running_mean, running_var = _beside(m, x, channel), _beside(s, x, channel)
        replacement = normalize(x, running_mean, running_var, None, None, self.eps)
        x_hat = at_inference(x_hat, replacement)
        x_hat = advance(x_hat, m, self._moved_by_all(m, mus))
        x_hat = advance(x_hat, s, self._moved_by_all(s, variances))
        return _scale_and_shift(x_hat, gamma, beta)

    def _batch(self, x: Node) -> int:
        size = x.type.shape[0]
        if not isinstance(size, int):
            self.demand(
                False,
                f"cannot cut the named dim {size!r} of {x.type} into ghosts of {self.ghost}: its "
                "size is unknown; build the training graph for a known batch (batch=128), and a "
                "graph for any batch, to take the inference graph of, with ghost=None",
                ShapeError,
            )
        assert isinstance(size, int)
        return size

    def _ghosts(self, x: Node, axes: tuple[int, ...]) -> tuple[Node, list[Node], list[Node]]:
        """x normalised ghost by ghost, and the statistics, [ghosts,C], of each block of ghosts."""
        assert self.ghost is not None
        batch, rest = self._batch(x), x.type.shape[1:]
        ghosts = -(-batch // self.ghost)
        small, larger = divmod(batch, ghosts)
        within = tuple(axis + 1 for axis in axes)
        parts: list[Node] = []
        mus: list[Node] = []
        variances: list[Node] = []
        start = 0
        for number, size in ((larger, small + 1), (ghosts - larger, small)):
            if not number:
                continue
            block = reshape(x[start : start + number * size], (number, size, *rest))
            start += number * size

            def on_mean(mu: Node) -> Node:
                mus.append(reshape(mu, (-1, self.features)))
                return mu

            def on_variance(v: Node, block: Node = block) -> Node:
                observed = self._observed(v, block, within)
                variances.append(reshape(observed, (-1, self.features)))
                return v

            x_hat = batch_norm(
                block, None, None, axes=within, eps=self.eps, on_mean=on_mean,
                on_variance=on_variance,
            )  # fmt: skip
            parts.append(reshape(x_hat, (number * size, *rest)))
        return (parts[0] if len(parts) == 1 else concatenate(parts)), mus, variances

    def _observed(self, v: Node, x: Node, axes: tuple[int, ...]) -> Node:
        """What the running variance tracks: v, or v * n / (n - 1)."""
        if not self.unbiased:
            return v
        n = count(x, axes, at_least=2)
        return v * (n / (n - 1))

    def _moved_by_all(self, running: Node, blocks: list[Node]) -> Node:
        """``running`` after a step of the EMA by each ghost in turn, in closed form."""
        each = _like(blocks[0] if len(blocks) == 1 else concatenate(blocks), running)
        ghosts = each.type.shape[0]
        assert isinstance(ghosts, int)
        left = self.decay ** np.arange(ghosts - 1, -1, -1.0)  # how often each is still decayed
        weights = ((1 - self.decay) * left)[:, None].astype(running.type.dtype)
        return self.decay**ghosts * running + sum(weights * each, 0)


def _check_ema(layer: BatchRenorm | GhostBatchNorm, decay: float, eps: float) -> None:
    layer.demand(0 <= decay <= 1, f"decay {decay!r} is not in [0, 1]")
    layer.demand(eps >= 0, f"eps {eps!r} is negative")


def _channel_and_axes(layer: BatchRenorm | GhostBatchNorm, x: Node) -> tuple[int, tuple[int, ...]]:
    """The channel axis of ``x``, counted from the front, and all the others."""
    layer.size(x, layer.channel_axis, layer.features)
    channel = layer.channel_axis % x.ndim
    fits = x.ndim > 1 and channel > 0
    layer.demand(fits, f"needs a batch axis before the channels, was given {x.type}", ShapeError)
    return channel, tuple(axis for axis in range(x.ndim) if axis != channel)


def _moved(running: Node, statistic: Node, decay: float) -> Node:
    """The EMA's next value, in the shape and precision of the running one."""
    observed = _like(reshape(statistic, running.type.shape), running)
    return decay * running + (1 - decay) * observed


def _beside(running: Node, x: Node, channel: int) -> Node:
    """[C] as it stands beside ``x``, in the dtype of ``x``."""
    shape = (math.prod(map(int, running.type.shape)), *[1] * (x.ndim - channel - 1))
    return _like(running if len(shape) == 1 else reshape(running, shape), x)


def _like(node: Node, x: Node) -> Node:
    return node if node.type.dtype == x.type.dtype else cast(node, x.type.dtype)
