"""Layers without statistics: linear maps, pooling, dropout, and their sequence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from ..functional import Generator, avg_pool2d, conv2d, dropout, max_pool2d
from ..functional.image import Pair
from ..ir import Node, ShapeError, scope
from ..primitives import Initializer, Operand, matmul, reshape
from . import initializers
from .layer import Constraint, Layer, Regularizer


@dataclass(frozen=True, eq=False)
class Linear(Layer):
    """``x @ weight + bias``: [..., in] to [..., features]; ``in`` is taken from the first x.

    >>> import minigrad as mg
    >>> mg.nn.Linear(10, name="out")(mg.input("x", ("N", 64))).type
    f32[N,10]
    """

    features: int
    bias: bool = field(default=True, kw_only=True)
    weight_initializer: Initializer = field(default=initializers.glorot_uniform, kw_only=True)
    bias_initializer: Initializer = field(default=initializers.zeros, kw_only=True)
    weight_regularizer: Regularizer | None = field(default=None, kw_only=True)
    weight_constraint: Constraint | None = field(default=None, kw_only=True)

    def build(self, x: Node) -> Node:
        known = self._made["weight"].type.shape[0] if "weight" in self._made else None
        inputs = self.size(x, -1, known)
        w = self.weight(
            "weight",
            x,
            self.weight_initializer,
            (inputs, self.features),
            regularizer=self.weight_regularizer,
            constraint=self.weight_constraint,
        )
        if not self.bias:
            return matmul(x, w)
        b = self.weight("bias", x, self.bias_initializer, (self.features,), weight_decay=False)
        return matmul(x, w) + b


@dataclass(frozen=True, eq=False)
class Conv2d(Layer):
    """2-D convolution of [N,C,H,W] with ``features`` kernels; see `minigrad.conv2d`.

    >>> import minigrad as mg
    >>> mg.nn.Conv2d(8, 3, padding="same", name="conv1")(mg.input("x", ("N", 1, 28, 28))).type
    f32[N,8,28,28]
    """

    features: int
    window: Pair = 3
    stride: Pair = field(default=1, kw_only=True)
    padding: Pair | str = field(default=0, kw_only=True)
    dilation: Pair = field(default=1, kw_only=True)
    groups: int = field(default=1, kw_only=True)
    bias: bool = field(default=True, kw_only=True)
    weight_initializer: Initializer = field(default=initializers.he_normal, kw_only=True)
    bias_initializer: Initializer = field(default=initializers.zeros, kw_only=True)
    weight_regularizer: Regularizer | None = field(default=None, kw_only=True)
    weight_constraint: Constraint | None = field(default=None, kw_only=True)

    def build(self, x: Node) -> Node:
        known = self._made["weight"].type.shape[1] * self.groups if "weight" in self._made else None
        self.demand(x.ndim == 4, f"needs [N,C,H,W], was given {x.type}", ShapeError)
        channels = self.size(x, 1, known)
        fits = self.groups > 0 and channels % self.groups == 0 and self.features % self.groups == 0
        sizes = f"{channels} channels of {x.type} and {self.features} features"
        self.demand(fits, f"groups={self.groups} does not divide {sizes}", ShapeError)
        window = (self.window, self.window) if isinstance(self.window, int) else self.window
        w = self.weight(
            "weight",
            x,
            self.weight_initializer,
            (self.features, channels // self.groups, *window),
            regularizer=self.weight_regularizer,
            constraint=self.weight_constraint,
        )
        b = None
        if self.bias:
            b = self.weight("bias", x, self.bias_initializer, (self.features,), weight_decay=False)
        return conv2d(
            x,
            w,
            b,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )


@dataclass(frozen=True, eq=False)
class MaxPool2d(Layer):
    """The largest element of each window; see `minigrad.max_pool2d`."""

    window: Pair = 2
    stride: Pair | None = field(default=None, kw_only=True)
    padding: Pair | str = field(default=0, kw_only=True)

    def build(self, x: Node) -> Node:
        return max_pool2d(x, self.window, stride=self.stride, padding=self.padding)


@dataclass(frozen=True, eq=False)
class AvgPool2d(Layer):
    """The mean of each window; see `minigrad.avg_pool2d`."""

    window: Pair = 2
    stride: Pair | None = field(default=None, kw_only=True)
    padding: Pair | str = field(default=0, kw_only=True)

    def build(self, x: Node) -> Node:
        return avg_pool2d(x, self.window, stride=self.stride, padding=self.padding)


@dataclass(frozen=True, eq=False)
class Flatten(Layer):
    """[N, ...] to [N, features]; every dim but the first must be known."""

    def build(self, x: Node) -> Node:
        self.demand(x.ndim > 0, f"needs a batch axis, was given {x.type}", ShapeError)
        sizes = [self.size(x, axis) for axis in range(1, x.ndim)]
        return reshape(x, (x.type.shape[0], math.prod(sizes)))


@dataclass(frozen=True, eq=False)
class Dropout(Layer):
    """Elements set to 0 with probability ``rate`` in training, none at inference.

    ``seed`` starts the layer's own generator; ``generator`` shares one between layers.
    """

    rate: float = 0.5
    seed: int = field(default=0, kw_only=True)
    generator: Generator | None = field(default=None, kw_only=True)

    def build(self, x: Node) -> Node:
        if self.generator is not None:
            return dropout(x, self.rate, self.generator)
        if "generator" not in self._made:
            self._made["generator"] = Generator(self.seed)
        return dropout(x, self.rate, self._made["generator"])


Stage: TypeAlias = Callable[[Operand], Node]

_LABELS = {"Conv2d": "conv", "BatchNorm": "bn", "MaxPool2d": "pool", "AvgPool2d": "pool"}
_LABELS |= {"LayerNorm": "ln", "InstanceNorm": "in", "GroupNorm": "gn", "RMSNorm": "rms"}


class Sequential(Layer):
    """Layers and functions one after the other.

    A stage without a name is called by its kind and number: ``linear1, bn1, relu1, linear2``.

    >>> import minigrad as mg
    >>> net = mg.nn.Sequential(mg.nn.Linear(8), mg.nn.BatchNorm(8), mg.relu, mg.nn.Linear(3))
    >>> mg.Graph([], net(mg.input("x", ("N", 4)))).scopes
    ('linear1', 'bn1', 'relu1', 'linear2')
    """

    stages: tuple[Stage, ...]

    def __init__(self, *stages: Stage, name: str | None = None) -> None:
        super().__init__(name=name)
        object.__setattr__(self, "stages", stages)
        for stage in stages:
            self.demand(callable(stage), f"{stage!r} is neither a layer nor a function")

    def build(self, x: Node) -> Node:
        counts: dict[str, int] = {}
        for stage in self.stages:
            if isinstance(stage, Layer) and stage.name:
                x = stage(x)
                continue
            kind = getattr(stage, "__name__", type(stage).__name__)
            label = _LABELS.get(kind, kind.strip("<>").lower())
            counts[label] = counts.get(label, 0) + 1
            with scope(f"{label}{counts[label]}"):
                x = stage(x)
        return x
