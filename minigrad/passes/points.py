"""Random points in float64: where an identity is tried before it is believed."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from ..ir import Dim, Node, is_leaf, toposort
from ..ir.types import FLOAT64
from ..rewrite.exact import Number

Meant: TypeAlias = Mapping[Node, Number]
NOTHING: Meant = MappingProxyType({})
SIZES = (5, 3, 7, 4, 6, 2)  # of named dims, by order of appearance, turned from point to point


@dataclass(frozen=True)
class Point:
    """A value for every leaf, and a size for every named dim."""

    leaves: dict[Node, Any]
    dims: dict[str, int]

    def values(self, nodes: Sequence[Node]) -> list[Any]:
        """The values of nodes here, every float in float64."""
        values: dict[Node, Any] = dict(self.leaves)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing
            for node in toposort(nodes, stop=values):
                values[node] = self._value(node, [values[i] for i in node.inputs])
        return [values[node] for node in nodes]

    def _value(self, node: Node, operands: list[Any]) -> Any:
        attrs = dict(node.attrs)
        if is_leaf(node):  # a constant that a rule made
            value = attrs["value"]
            return value.astype(FLOAT64) if node.type.is_float else value
        if "dtype" in attrs and node.type.is_float:
            attrs["dtype"] = FLOAT64
        if "shape" in attrs:
            attrs["shape"] = tuple([self._size(d) for d in attrs["shape"]])
        if node.prim.name == "count":
            attrs.pop("at_least", None)
        if node.prim.name in ("take", "scatter_add"):
            target = attrs.get("shape", np.shape(operands[0]))
            operands = [operands[0], operands[1] % max(target[attrs["axis"]], 1)]  # in range
        assert node.prim.eval is not None
        return np.asarray(node.prim.eval(np, *operands, **attrs))

    def _size(self, dim: Dim) -> int:
        return self.dims[dim] if isinstance(dim, str) else dim


def random_point(
    nodes: Iterable[Node], seed: int, positive: Iterable[Node] = (), meant: Meant = NOTHING
) -> Point:
    """Normal floats, small ints and fair bools for the leaves that ``nodes`` need.

    Parameters and states get random values too: an identity must not lean on their start. Dims of
    different names have different sizes, and others at the next seed. A constant has its value, or
    the number that it is ``meant`` to be and that its dtype does not hold.
    """
    rng = np.random.default_rng(seed)
    positive = frozenset(positive)
    dims: dict[str, int] = {}
    leaves: dict[Node, Any] = {}
    for node in toposort(nodes):
        for dim in node.type.shape:
            if isinstance(dim, str):
                dims.setdefault(dim, _size_of(len(dims), seed))
        if not is_leaf(node):
            continue
        if node.prim.name == "constant":
            value = np.asarray(float(meant[node])) if node in meant else node.attrs["value"]
            leaves[node] = value.astype(FLOAT64) if node.type.is_float else value
            continue
        shape = [dims[d] if isinstance(d, str) else d for d in node.type.shape]
        if node.type.is_float:
            value = rng.normal(0.3, 1.0, shape)
            leaves[node] = np.abs(value) + 0.1 if node in positive else value
        elif node.dtype == np.bool_:
            leaves[node] = rng.random(shape) < 0.5
        else:
            leaves[node] = rng.integers(0, 3, shape).astype(node.dtype)
    return Point(leaves, dims)


def _size_of(number: int, seed: int) -> int:
    """The size of the dim that appears as number ``number``."""
    return SIZES[(number + seed) % len(SIZES)] if number < len(SIZES) else number + 2


def distance(a: Any, b: Any) -> float:
    """The largest difference of two arrays relative to the largest element; NaN where unknown.

    Elements where the left side is not finite lie outside of an identity's domain.
    """
    a, b = np.broadcast_arrays(a, b)
    if a.dtype.kind not in "fc":
        return 0.0 if np.array_equal(a, b) else np.inf
    known = np.isfinite(a)
    if not known.any():
        return np.nan if a.size else 0.0
    scale = max(float(np.max(np.abs(a[known]))), 1.0)
    return float(np.max(np.abs(a[known] - b[known]))) / scale
