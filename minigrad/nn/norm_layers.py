"""Normalising layers without running statistics: the same in training and at inference."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..ir import Node, ShapeError
from ..primitives import Initializer, reshape
from . import initializers
from .layer import Layer
from .norms import group_norm, instance_norm, layer_norm, rms_norm


@dataclass(frozen=True, eq=False)
class _Affine(Layer):
    features: int
    eps: float = field(default=1e-5, kw_only=True)
    center: bool = field(default=True, kw_only=True)
    scale: bool = field(default=True, kw_only=True)
    gamma_initializer: Initializer = field(default=initializers.ones, kw_only=True)
    beta_initializer: Initializer = field(default=initializers.zeros, kw_only=True)

    def affine(self, x: Node, axis: int) -> tuple[Node | None, Node | None]:
        """gamma and beta beside axis ``axis`` of ``x``."""
        self.size(x, axis, self.features)
        shape = (self.features, *[1] * (x.ndim - axis % x.ndim - 1))
        rows = (
            ("gamma", self.scale, self.gamma_initializer),
            ("beta", self.center, self.beta_initializer),
        )
        found = [
            self.weight(name, x, start, (self.features,), weight_decay=False) if wanted else None
            for name, wanted, start in rows
        ]
        gamma, beta = (
            leaf if leaf is None or len(shape) == 1 else reshape(leaf, shape) for leaf in found
        )
        return gamma, beta


@dataclass(frozen=True, eq=False)
class LayerNorm(_Affine):
    """Each example normalised over its last axis (Ba et al. 2016); eps as in PyTorch.

    >>> import minigrad as mg
    >>> mg.nn.LayerNorm(64, name="ln1")(mg.input("x", ("N", 64))).type
    f32[N,64]
    """

    def build(self, x: Node) -> Node:
        return layer_norm(x, *self.affine(x, -1), eps=self.eps)


@dataclass(frozen=True, eq=False)
class InstanceNorm(_Affine):
    """Each channel of each example of [N,C,...] over its pixels (Ulyanov et al. 2016)."""

    def build(self, x: Node) -> Node:
        self.demand(x.ndim > 2, f"needs [N,C,...] with pixels, was given {x.type}", ShapeError)
        return instance_norm(x, *self.affine(x, 1), eps=self.eps)


@dataclass(frozen=True, eq=False)
class GroupNorm(_Affine):
    """Each example of [N,C,...] over groups of channels and pixels (Wu & He 2018)."""

    groups: int = field(default=32, kw_only=True)

    def build(self, x: Node) -> Node:
        fits = self.groups > 0 and self.features % self.groups == 0
        problem = f"{self.groups} groups do not divide {self.features} channels"
        self.demand(fits, problem, ShapeError)
        gamma, beta = self.affine(x, 1)
        return group_norm(x, gamma, beta, groups=self.groups, eps=self.eps)


@dataclass(frozen=True, eq=False)
class RMSNorm(Layer):
    """Each example divided by its root mean square along the last axis (Zhang & Sennrich 2019)."""

    features: int
    eps: float = field(default=1e-6, kw_only=True)
    scale: bool = field(default=True, kw_only=True)

    def build(self, x: Node) -> Node:
        self.size(x, -1, self.features)
        if not self.scale:
            return rms_norm(x, None, eps=self.eps)
        gamma = self.weight("gamma", x, initializers.ones, (self.features,), weight_decay=False)
        return rms_norm(x, gamma, eps=self.eps)
