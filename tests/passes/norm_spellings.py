"""Spellings of five normalisers by hand, and what find_norms must say of each; not a test file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Node, nn

EPS = 1e-3


def spell(build: Callable[..., Node], *shape: Any, weights: Any = None) -> tuple[Node, Node]:
    """x, and y = build(x, gamma, beta) with weights of a shape that stands beside x."""
    x = mg.input("x", shape)
    size = shape[-1] if weights is None else weights
    gamma, beta = (mg.parameter(name, np.ones(size, np.float32)) for name in ("gamma", "beta"))
    return x, build(x, gamma, beta)


def mu(x: Node, axes: Any, keepdims: bool = True) -> Node:
    return mg.mean(x, axes, keepdims=keepdims)


def var(x: Node, axes: Any) -> Node:
    return mu((x - mu(x, axes)) ** 2, axes)


def one_pass(x: Node, axes: Any) -> Node:
    return mu(x * x, axes) - mu(x, axes) ** 2


def summed(x: Node, axes: Any) -> Node:
    return mg.sum(x, axes, keepdims=True) / mg.count(x, axes)


def bn_scale_shift(x: Node, g: Node, b: Node) -> Node:
    scale = g / mg.sqrt(var(x, 0) + EPS)
    return x * scale + (b - mu(x, 0) * scale)


def bn_two_calls(x: Node, g: Node, b: Node) -> Node:
    """The mean written twice, as one writes it without a variable."""
    c = x - mg.mean(x, 0)
    return g * (x - mg.mean(x, 0)) / mg.sqrt(mg.mean(c * c, 0) + EPS) + b


def bn_transposed(x: Node, g: Node, b: Node) -> Node:
    flat = mg.reshape(mg.transpose(x, (1, 0, 2, 3)), (4, "N", 9))
    hat = (flat - mu(flat, (1, 2))) / mg.sqrt(var(flat, (1, 2)) + EPS)
    return mg.transpose(mg.reshape(hat, (4, "N", 3, 3)), (1, 0, 2, 3)) * g + b


def bn_ones_matmul(x: Node, g: Node, b: Node) -> Node:
    """Means over 8 rows as products with a row of 1/8."""
    row = mg.constant(np.full((1, 8), 1 / 8, np.float32))
    c = x - row @ x
    return c / mg.sqrt(row @ (c * c) + EPS)


def gn(x: Node, g: Node, b: Node, flat: bool = False) -> Node:
    seen = mg.reshape(x, (6, 2, 2 * 9) if flat else ("N", 2, 2, 3, 3))
    axes = (2,) if flat else (2, 3, 4)
    hat = (seen - mu(seen, axes)) / mg.sqrt(var(seen, axes) + EPS)
    return mg.reshape(hat, x.shape) * g + b


def in_by_rows(x: Node, g: Node, b: Node) -> Node:
    rows = mg.reshape(x, (24, 9))
    hat = (rows - mu(rows, 1)) / mg.sqrt(var(rows, 1) + EPS)
    return mg.reshape(hat, x.shape) * g + b


def l2_rms(x: Node, g: Node, b: Node) -> Node:
    """sqrt(D) * x / |x|: the factor makes up for the missing 1 / D."""
    return x / mg.sqrt(mg.sum(x * x, -1, keepdims=True)) * np.sqrt(4).astype("f") * g


@dataclass(frozen=True)
class Found:
    kind: str
    axes: tuple[int, ...]
    eps: float = EPS
    place: str = "inside"
    gamma: str | None = "gamma"
    beta: str | None = "beta"
    mean: bool = True
    variance: bool = True
    correction: int = 0
    groups: int | None = None


N2, N4, B3 = ("N", 4), ("N", 4, 3, 3), ("B", "T", 4)
C11 = (4, 1, 1)
BARE: dict[str, Any] = {"gamma": None, "beta": None}

BN, BN4 = Found("batch", (0,)), Found("batch", (0, 2, 3))
LN = Found("layer", (1,))
RMS = Found("rms", (1,), mean=False, beta=None)

SPELLINGS: dict[str, tuple[tuple[Node, Node], Found]] = {
    "batch: six primitives": (
        spell(lambda x, g, b: nn.batch_norm(x, g, b, eps=EPS), *N2), BN),
    "batch: divided by the root": (
        spell(lambda x, g, b: g * (x - mu(x, 0)) / mg.sqrt(var(x, 0) + EPS) + b, *N2), BN),
    "batch: times one over the root": (
        spell(lambda x, g, b: (x - mu(x, 0)) * (1 / mg.sqrt(EPS + var(x, 0))) * g + b, *N2), BN),
    "batch: power of minus a half": (
        spell(lambda x, g, b: b + (x - mu(x, 0)) * (var(x, 0) + EPS) ** -0.5 * g, *N2), BN),
    "batch: power of a half": (
        spell(lambda x, g, b: (x - mu(x, 0)) / (var(x, 0) + EPS) ** 0.5 * g + b, *N2), BN),
    "batch: root of one over": (
        spell(lambda x, g, b: (x - mu(x, 0)) * mg.sqrt(1 / (var(x, 0) + EPS)) * g + b, *N2), BN),
    "batch: exponential of a logarithm": (
        spell(lambda x, g, b: (x - mu(x, 0)) * mg.exp(-0.5 * mg.log(var(x, 0) + EPS)) * g + b,
              *N2), BN),
    "batch: one pass": (
        spell(lambda x, g, b: (x - mu(x, 0)) / mg.sqrt(one_pass(x, 0) + EPS) * g + b, *N2), BN),
    "batch: one pass, clamped": (
        spell(lambda x, g, b: (x - mu(x, 0)) / mg.sqrt(mg.maximum(one_pass(x, 0), 0) + EPS) * g + b,
              *N2), BN),
    "batch: two quotients": (
        spell(lambda x, g, b: (x / mg.sqrt(var(x, 0) + EPS) - mu(x, 0) / mg.sqrt(var(x, 0) + EPS))
              * g + b, *N2), BN),
    "batch: scale and shift": (spell(bn_scale_shift, *N2), BN),
    "batch: x*scale - mu*scale": (
        spell(lambda x, g, b: x * (s := g * (var(x, 0) + EPS) ** -0.5) - mu(x, 0) * s + b,
              *N2), BN),
    "batch: gamma over the root first": (
        spell(lambda x, g, b: (g / mg.sqrt(var(x, 0) + EPS)) * (x - mu(x, 0)) + b, *N2), BN),
    "batch: sums over n": (
        spell(lambda x, g, b: (c := x - summed(x, 0)) / mg.sqrt(summed(c * c, 0) + EPS) * g + b,
              *N2), BN),
    "batch: n under the root, on the other side": (
        spell(lambda x, g, b: (c := x - mu(x, 0)) * mg.sqrt(mg.count(x, 0))
              / mg.sqrt(mg.sum(c * c, 0) + EPS * mg.count(x, 0)) * g + b, *N2),
        Found("batch", (0,), variance=False)),
    "batch: the mean minus x": (
        spell(lambda x, g, b: -(mu(x, 0) - x) / mg.sqrt(var(x, 0) + EPS) * g + b, *N2), BN),
    "batch: no keepdims": (
        spell(lambda x, g, b: g * ((x - mg.mean(x, 0)) / mg.sqrt(mg.var(x, 0) + EPS)) + b,
              *N2), BN),
    "batch: everything twice": (spell(bn_two_calls, *N2), BN),
    "batch: gamma before the root": (
        spell(lambda x, g, b: (x - mu(x, 0)) * g / mg.sqrt(var(x, 0) + EPS) + b, *N2), BN),
    "batch: detached statistics": (
        spell(lambda x, g, b: (x - mg.stop_gradient(mu(x, 0)))
              / mg.sqrt(mg.stop_gradient(var(x, 0)) + EPS) * g + b, *N2), BN),
    "batch: no eps": (
        spell(lambda x, g, b: (x - mu(x, 0)) / mg.sqrt(var(x, 0)) * g + b, *N2),
        Found("batch", (0,), eps=0.0, place="none")),
    "batch: eps outside": (
        spell(lambda x, g, b: (x - mu(x, 0)) / (mg.sqrt(var(x, 0)) + EPS) * g + b, *N2),
        Found("batch", (0,), place="outside")),
    "batch: no weights": (
        spell(lambda x, g, b: nn.batch_norm(x, None, None, eps=EPS), *N2),
        Found("batch", (0,), **BARE)),
    "batch: gamma alone": (
        spell(lambda x, g, b: nn.batch_norm(x, g, None, eps=EPS), *N2),
        Found("batch", (0,), beta=None)),
    "batch: beta alone": (
        spell(lambda x, g, b: nn.batch_norm(x, None, b, eps=EPS), *N2),
        Found("batch", (0,), gamma=None)),
    "batch: images": (
        spell(lambda x, g, b: nn.batch_norm(x, g, b, axes=(0, 2, 3), eps=EPS), *N4, weights=C11),
        BN4),
    "batch: images, channels last": (
        spell(lambda x, g, b: nn.batch_norm(x, g, b, axes=(0, 1, 2), eps=EPS), "N", 3, 3, 4),
        Found("batch", (0, 1, 2))),
    "batch: images, one axis after the other": (
        spell(lambda x, g, b: (c := x - mu(mu(mu(x, 0), 2), 3))
              / mg.sqrt(mu(mu(mu(c * c, 3), 2), 0) + EPS) * g + b, *N4, weights=C11), BN4),
    "batch: images, seen as channels by the rest": (spell(bn_transposed, *N4, weights=C11), BN4),
    "batch: means by a matrix product": (
        spell(bn_ones_matmul, 8, 4), Found("batch", (0,), **BARE)),
    "batch: unbiased": (
        spell(lambda x, g, b: (c := x - mu(x, 0)) / mg.sqrt(
            mg.sum(c * c, 0) / (mg.count(x, 0) - 1) + EPS) * g + b, *N2),
        Found("batch", (0,), correction=1)),
    "batch: rows of a sequence": (
        spell(lambda x, g, b: nn.batch_norm(x, g, b, axes=(0, 1), eps=EPS), *B3),
        Found("batch", (0, 1))),
    "layer: of vectors": (
        spell(lambda x, g, b: nn.layer_norm(x, g, b, eps=EPS), *N2), LN),
    "layer: of sequences": (
        spell(lambda x, g, b: nn.layer_norm(x, g, b, eps=EPS), *B3), Found("layer", (2,))),
    "layer: one pass, power": (
        spell(lambda x, g, b: (x - mu(x, -1)) * (one_pass(x, -1) + EPS) ** -0.5 * g + b, *N2), LN),
    "layer: unbiased, eps outside": (  # The Annotated Transformer
        spell(lambda x, g, b: g * (c := x - mu(x, -1))
              / (mg.sqrt(mg.sum(c * c, -1, keepdims=True) / 3) + EPS) + b, *N2),
        Found("layer", (1,), correction=1, place="outside")),
    "layer: channels first": (
        spell(lambda x, g, b: nn.batch_norm(x, g, b, axes=(1,), eps=EPS), *N4, weights=C11), LN),
    "layer: whole images": (
        spell(lambda x, g, b: nn.batch_norm(x, g, b, axes=(1, 2, 3), eps=EPS), *N4,
              weights=(4, 3, 3)), Found("layer", (1, 2, 3))),
    "layer: of one vector without a batch": (
        spell(lambda x, g, b: nn.layer_norm(x, g, b, eps=EPS), 5), Found("layer", (0,))),
    "instance: of images": (
        spell(lambda x, g, b: nn.instance_norm(x, g, b, eps=EPS), *N4, weights=C11),
        Found("instance", (2, 3))),
    "instance: channels last": (
        spell(lambda x, g, b: nn.batch_norm(x, g, b, axes=(1, 2), eps=EPS), "N", 3, 3, 4),
        Found("instance", (1, 2))),
    "instance: no weights": (
        spell(lambda x, g, b: nn.instance_norm(x, None, None, eps=EPS), *N4),
        Found("instance", (2, 3), **BARE)),
    "instance: by rows": (
        spell(in_by_rows, 6, 4, 3, 3, weights=C11), Found("instance", (2, 3))),
    "group: five axes": (
        spell(gn, *N4, weights=C11), Found("group", (1, 2, 3), groups=2)),
    "group: three axes": (
        spell(lambda x, g, b: gn(x, g, b, flat=True), 6, 4, 3, 3, weights=C11),
        Found("group", (1, 2, 3), groups=2)),
    "group: one group": (
        spell(lambda x, g, b: nn.batch_norm(x, g, b, axes=(1, 2, 3), eps=EPS), *N4, weights=C11),
        Found("group", (1, 2, 3), groups=1)),
    "rms: of vectors": (
        spell(lambda x, g, b: nn.rms_norm(x, g, eps=EPS), *N2), RMS),
    "rms: power, products": (
        spell(lambda x, g, b: g * (x * (mu(x * x, -1) + EPS) ** -0.5), *N2), RMS),
    "rms: over the length": (
        spell(l2_rms, *N2), Found("rms", (1,), 0.0, "none", "gamma", None, False, False)),
    "rms: eps outside": (
        spell(lambda x, g, b: x / (mg.sqrt(mu(x**2, -1)) + EPS) * g, *N2),
        Found("rms", (1,), mean=False, beta=None, place="outside")),
}  # fmt: skip
