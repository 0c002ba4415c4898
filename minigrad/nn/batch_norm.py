"""The BatchNorm layer: the formula of `norms`, its running statistics, its presets, its switches.

Three things are separate: which statistics normalise (``statistics``), whether the running ones
move (``update``), and whether gamma and beta train (``trainable``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..functional import weighted_count, weighted_mean, weighted_var
from ..ir import Node, ShapeError
from ..passes.conventions import CONVENTIONS, CUMULATIVE, Convention
from ..primitives import (
    Initializer,
    Operand,
    advance,
    as_node,
    at_inference,
    cast,
    count,
    maximum,
    mean,
    reshape,
    state,
    track,
    where,
)
from . import initializers
from .layer import Constraint, Layer, Regularizer
from .norms import batch_norm, normalize

__all__ = ["CONVENTIONS", "CUMULATIVE", "BatchNorm", "Convention"]


@dataclass(frozen=True)
class _Batch:
    """What the statistics of one call are taken over."""

    x: Node
    axes: tuple[int, ...]
    weights: Node | None = None

    def count(self) -> Node:
        """How many elements a channel has, or their weight, [C]."""
        if self.weights is None:
            return count(self.x, self.axes, at_least=2)
        return weighted_count(self.x, self.weights, self.axes)

    def statistics(self) -> tuple[Node, Node]:
        """Mean and biased variance, [C]."""
        if self.weights is None:
            mu = mean(self.x, self.axes, keepdims=True)
            return mu, mean((self.x - mu) ** 2, self.axes)
        mu = weighted_mean(self.x, self.weights, self.axes)
        return mu, weighted_var(self.x, self.weights, self.axes)


@dataclass(frozen=True, eq=False)
class BatchNorm(Layer):
    """Batch normalisation over every axis but ``channel_axis`` (Ioffe & Szegedy 2015).

    Parameters
    ----------
    features : the size of the channel axis.
    channel_axis : -1 for [N,C] and [N,H,W,C], 1 for [N,C,H,W].
    decay : of the running statistics, ``decay * running + (1 - decay) * batch`` (PyTorch's
        momentum is 1 - decay); ``"cumulative"`` averages all steps equally (PyTorch's None). By
        default the convention's: 0.99 for keras.
    eps : added to the variance, inside the root; by default the convention's: 1e-3 for keras.
    center, scale : whether beta and gamma exist.
    convention : a key of `CONVENTIONS`: "keras", "pytorch", "flax", "onnx", "chainer", "mlx",
        "tinygrad".
    statistics : "batch" normalises by the batch, "running" by the running statistics (frozen).
    update : whether a training step moves the running statistics.
    trainable : whether optimisers move gamma and beta.

    The training output never reads the running statistics; `to_inference` puts them in the batch's
    place. A regulariser adds to the output ``loss``; a constraint is applied to every update.
    An unbiased convention needs two values a channel and raises ShapeError for fewer.

    >>> import minigrad as mg
    >>> g = mg.Graph([], mg.nn.BatchNorm(64, name="bn1")(mg.input("x", ("N", 64))))
    >>> [u.state.name for u in g.updates]
    ['bn1/running_mean', 'bn1/running_var']
    """

    features: int
    channel_axis: int = field(default=-1, kw_only=True)
    decay: float | str | None = field(default=None, kw_only=True)
    eps: float | None = field(default=None, kw_only=True)
    center: bool = field(default=True, kw_only=True)
    scale: bool = field(default=True, kw_only=True)
    beta_initializer: Initializer = field(default=initializers.zeros, kw_only=True)
    gamma_initializer: Initializer = field(default=initializers.ones, kw_only=True)
    moving_mean_initializer: Initializer = field(default=initializers.zeros, kw_only=True)
    moving_variance_initializer: Initializer = field(default=initializers.ones, kw_only=True)
    beta_regularizer: Regularizer | None = field(default=None, kw_only=True)
    gamma_regularizer: Regularizer | None = field(default=None, kw_only=True)
    beta_constraint: Constraint | None = field(default=None, kw_only=True)
    gamma_constraint: Constraint | None = field(default=None, kw_only=True)
    convention: str = field(default="keras", kw_only=True)
    statistics: str = field(default="batch", kw_only=True)
    update: bool = field(default=True, kw_only=True)
    trainable: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        known = ", ".join(CONVENTIONS)
        self.demand(
            self.convention in CONVENTIONS, f"convention {self.convention!r} is not one of {known}"
        )
        preset = CONVENTIONS[self.convention]
        for name in ("decay", "eps"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(preset, name))
        decay, eps, which = self.decay, self.eps, self.statistics
        fits = decay == CUMULATIVE or (isinstance(decay, int | float) and 0 <= decay <= 1)
        self.demand(fits, f"decay {decay!r} is neither in [0, 1] nor {CUMULATIVE!r}")
        self.demand(isinstance(eps, int | float) and eps >= 0, f"eps {eps!r} is negative")
        self.demand(
            which in ("batch", "running"), f"statistics {which!r} is neither 'batch' nor 'running'"
        )

    def __call__(self, x: Operand, weights: Operand | None = None) -> Node:
        """``x`` normalised; with ``weights`` (a mask, or numbers) by the statistics of a part.

        Weights stand beside ``x``, as in `minigrad.weighted_mean`. What has weight 0 influences
        neither the rest nor the running statistics; a channel without any weight (an unbiased
        variance: with a weight of 1 or less) leaves its running statistics as they are.
        """
        with self.inside():
            return self.build(as_node(x), None if weights is None else as_node(weights))

    def build(self, x: Node, weights: Node | None = None) -> Node:
        self.size(x, self.channel_axis, self.features)
        self.demand(
            x.ndim > 1, f"nothing to average over in {x.type}; add a batch axis", ShapeError
        )
        channel = self.channel_axis % x.ndim
        axes = tuple(axis for axis in range(x.ndim) if axis != channel)
        gamma, beta = self._scale_and_shift(x, channel)
        running_mean, running_var = self._running(x)
        eps = float(self.eps or 0)
        batch = _Batch(x, axes, weights)
        if self.statistics == "running":
            shape = _beside(x, channel)
            m, s = (_like(running, x, shape) for running in (running_mean, running_var))
            return self._observed(normalize(x, m, s, beta, gamma, eps), batch)

        y = batch_norm(
            x,
            gamma,
            beta,
            axes=axes,
            eps=eps,
            weights=weights,
            on_mean=lambda mu: self._tracked(mu, running_mean, mu, batch),
            on_variance=lambda v: self._tracked(
                v, running_var, self._variance(v, batch), batch, self._least
            ),
        )
        return self._counted(y)

    def _scale_and_shift(self, x: Node, channel: int) -> tuple[Node | None, Node | None]:
        """gamma and beta, shaped to stand beside ``x``; None where switched off."""
        rows = (
            ("gamma", self.scale, self.gamma_initializer, self.gamma_regularizer,
             self.gamma_constraint),
            ("beta", self.center, self.beta_initializer, self.beta_regularizer,
             self.beta_constraint),
        )  # fmt: skip
        found: list[Node | None] = []
        for name, wanted, start, regularizer, constraint in rows:
            if not wanted:
                found.append(None)
                continue
            leaf = self.weight(
                name,
                x,
                start,
                (self.features,),
                regularizer=regularizer,
                constraint=constraint,
                trainable=self.trainable,
                weight_decay=False,
            )
            found.append(_shaped(leaf, _beside(x, channel)))
        return found[0], found[1]

    def _running(self, x: Node) -> tuple[Node, Node]:
        shape = (self.features,)
        return (
            self.memory("running_mean", x, self.moving_mean_initializer, shape),
            self.memory("running_var", x, self.moving_variance_initializer, shape),
        )

    def _variance(self, v: Node, batch: _Batch) -> Node:
        """What the running variance tracks: v, or v * n / (n - 1)."""
        v = _shaped(v, (self.features,))
        if not self._unbiased:
            return v
        n = batch.count()
        if batch.weights is not None:
            return v * (n / maximum(n - 1, 1))  # a weight of 1 or less: see `_moved`
        return v * (n / (n - 1))

    @property
    def _unbiased(self) -> bool:
        return CONVENTIONS[self.convention].unbiased

    @property
    def _least(self) -> float:
        """The weight above which there is a variance to track."""
        return 1 if self._unbiased else 0

    def _moved(self, running: Node, statistic: Node, batch: _Batch, least: float = 0) -> Node:
        """The next running value, in the running one's precision; none for too little weight."""
        statistic = _like(statistic, running, running.type.shape)
        if self.decay == CUMULATIVE:
            step = cast(self._steps() + 1, running.type.dtype)
            moved = running + (statistic - running) / step
        else:
            decay = float(self.decay or 0)
            moved = decay * running + (1 - decay) * statistic
        if batch.weights is None:
            return moved
        return where(batch.count() > least, moved, running)

    def _tracked(
        self, statistic: Node, running: Node, observed: Node, batch: _Batch, least: float = 0
    ) -> Node:
        """The statistic, its running value standing for it at inference, moving if it shall."""
        if not self.update:
            return at_inference(statistic, _like(running, statistic, statistic.type.shape))
        return track(statistic, running, self._moved(running, observed, batch, least))

    def _observed(self, y: Node, batch: _Batch) -> Node:
        """``y`` of the running statistics; these still move with the batch if ``update``."""
        if not self.update:
            return y
        mu, v = batch.statistics()
        running_mean, running_var = self._running(batch.x)
        y = advance(y, running_mean, self._moved(running_mean, mu, batch))
        tracked = self._variance(v, batch)
        y = advance(y, running_var, self._moved(running_var, tracked, batch, self._least))
        return self._counted(y)

    def _counted(self, y: Node) -> Node:
        if self.decay != CUMULATIVE or not self.update:
            return y
        return advance(y, self._steps(), self._steps() + 1)

    def _steps(self) -> Node:
        return self.made("num_batches", lambda: state("num_batches", 0))


def _beside(x: Node, channel: int) -> tuple[int, ...]:
    """The shape that puts [C] beside ``x``: (C,) or (C,1,1)."""
    size = x.type.shape[channel]
    assert isinstance(size, int)
    return (size, *[1] * (x.ndim - channel - 1))


def _like(statistic: Node, x: Node, shape: tuple[int | str, ...]) -> Node:
    """A statistic in ``shape`` and the dtype of ``x``."""
    shaped = _shaped(statistic, shape)
    return shaped if shaped.type.dtype == x.type.dtype else cast(shaped, x.type.dtype)


def _shaped(node: Node, shape: tuple[int | str, ...]) -> Node:
    return node if node.type.shape == shape else reshape(node, shape)
