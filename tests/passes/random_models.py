"""Random models with batch norms, by hand from bare primitives or from `mg.nn`; not a test file."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

import minigrad as mg
from minigrad import Node, nn

EPS = 1e-3


def quotient(x: Node, g: Node, b: Node, axes: tuple[int, ...]) -> Node:
    c = x - mg.mean(x, axes, keepdims=True)
    return c / mg.sqrt(mg.mean(c * c, axes, keepdims=True) + EPS) * g + b


def one_pass(x: Node, g: Node, b: Node, axes: tuple[int, ...]) -> Node:
    m = mg.mean(x, axes, keepdims=True)
    v = mg.mean(x**2, axes, keepdims=True) - m**2
    return g * ((x - m) * (v + EPS) ** -0.5) + b


def scale_and_shift(x: Node, g: Node, b: Node, axes: tuple[int, ...]) -> Node:
    m = mg.mean(x, axes, keepdims=True)
    scale = g / mg.sqrt(mg.mean((x - m) ** 2, axes, keepdims=True) + EPS)
    return x * scale + (b - m * scale)


def sums(x: Node, g: Node, b: Node, axes: tuple[int, ...]) -> Node:
    n = mg.count(x, axes)
    c = x - mg.sum(x, axes, keepdims=True) / n
    return b + c * (1 / mg.sqrt(mg.sum(c * c, axes, keepdims=True) / n + EPS)) * g


def written_twice(x: Node, g: Node, b: Node, axes: tuple[int, ...]) -> Node:
    v = mg.mean((x - mg.mean(x, axes, keepdims=True)) ** 2, axes, keepdims=True)
    return g * (x - mg.mean(x, axes, keepdims=True)) / mg.sqrt(v + EPS) + b


def fused_eps(x: Node, g: Node, b: Node, axes: tuple[int, ...]) -> Node:
    """The variance has no node of its own: y as a whole is replaced at inference."""
    c = x - mg.mean(x, axes, keepdims=True)
    return c / mg.sqrt(mg.mean(c * c + EPS, axes, keepdims=True)) * g + b


SPELLINGS = (quotient, one_pass, scale_and_shift, sums, written_twice, fused_eps)


class ByHand:
    """Stages from primitives; every weight is made here, under plain names."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.made = 0
        self.shared: dict[int, tuple[Node, Node]] = {}

    def weight(self, *shape: int, scale: float = 0.5) -> Node:
        self.made += 1
        draws = np.random.default_rng(self.made).normal(size=shape) * scale
        return mg.parameter(f"w{self.made}", draws.astype(np.float32))

    def linear(self, x: Node, features: int) -> Node:
        return x @ self.weight(int(x.shape[1]), features) + self.weight(features)

    def conv(self, x: Node, features: int) -> Node:
        return mg.conv2d(x, self.weight(features, int(x.shape[1]), 3, 3), padding="same")

    def batch_norm(self, x: Node) -> Node:
        channels = int(x.shape[1])
        shape = (channels, *[1] * (x.ndim - 2))
        axes = (0, *range(2, x.ndim))
        return self.rng.choice(SPELLINGS)(x, self.weight(*shape), self.weight(*shape), axes)

    def shared_norm(self, x: Node) -> Node:
        """The same gamma and beta wherever the features are as many."""
        channels = int(x.shape[1])
        shape = (channels, *[1] * (x.ndim - 2))
        if channels not in self.shared:
            self.shared[channels] = self.weight(*shape), self.weight(*shape)
        return quotient(x, *self.shared[channels], (0, *range(2, x.ndim)))

    def layer_norm(self, x: Node) -> Node:
        return quotient(x, mg.constant(1.0), mg.constant(0.0), tuple(range(1, x.ndim)))


class FromLayers:
    """The same stages from `mg.nn`."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.made = 0
        self.shared: dict[int, nn.BatchNorm] = {}

    def name(self, kind: str) -> str:
        self.made += 1
        return f"{kind}{self.made}"

    def linear(self, x: Node, features: int) -> Node:
        return nn.Linear(features, name=self.name("fc"))(x)

    def conv(self, x: Node, features: int) -> Node:
        return nn.Conv2d(features, 3, padding="same", name=self.name("conv"))(x)

    def batch_norm(self, x: Node) -> Node:
        convention = self.rng.choice(("keras", "pytorch", "flax"))
        name = self.name("bn")
        return nn.BatchNorm(
            int(x.shape[1]), channel_axis=1, convention=convention, name=name, eps=EPS
        )(x)

    def shared_norm(self, x: Node) -> Node:
        channels = int(x.shape[1])
        if channels not in self.shared:
            self.shared[channels] = nn.BatchNorm(channels, channel_axis=1, name=self.name("bn"))
        return self.shared[channels](x)

    def layer_norm(self, x: Node) -> Node:
        if x.ndim == 2:
            return nn.LayerNorm(int(x.shape[1]), name=self.name("ln"))(x)
        return nn.GroupNorm(int(x.shape[1]), groups=1, name=self.name("gn"))(x)


ACTIVATIONS: tuple[Callable[[Node], Node], ...] = (mg.relu, mg.tanh, mg.sigmoid, mg.leaky_relu)


def random_model(seed: int, style: str) -> mg.Graph:
    """Dense or convolutional, 1 to 3 blocks; each with a batch norm before or after its activation.

    Some blocks are residual, some share a norm, some have a layer norm beside.
    """
    rng = random.Random(seed)
    b = ByHand(rng) if style == "by hand" else FromLayers(rng)
    images = rng.random() < 0.4
    x = mg.input("x", ("N", 3, 5, 5) if images else ("N", 4))
    y = x
    for _ in range(rng.randint(1, 3)):
        features = rng.choice((3, 4))
        y = _block(rng, b, y, features)
    if images:
        y = mg.mean(y, (2, 3))
    logits = b.linear(y, 3)
    t = mg.input("t", "N", "int64")
    return mg.Graph([x, t], {"logits": logits, "loss": mg.cross_entropy(logits, t)})


def _block(rng: random.Random, b: ByHand | FromLayers, x: Node, features: int) -> Node:
    activation = rng.choice(ACTIVATIONS)
    norm = b.shared_norm if rng.random() < 0.25 else b.batch_norm
    y = b.conv(x, features) if x.ndim == 4 else b.linear(x, features)
    y = activation(norm(y)) if rng.random() < 0.5 else norm(activation(y))
    if rng.random() < 0.3:
        y = b.layer_norm(y)
    if rng.random() < 0.4:
        again = b.conv(y, features) if x.ndim == 4 else b.linear(y, features)
        y = y + norm(again)
    return y
