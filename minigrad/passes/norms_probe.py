"""Numbers for `find_norms`: parts of a graph computed in float64 at random points.

A `Trial` fixes the sizes of named dims and the values of weights; in each, the tensor under
suspicion takes several values. Two trials differ in both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from ..ir import Dim, Node, is_leaf
from .norms_flow import Flow

Array: TypeAlias = np.ndarray[Any, Any]

TOLERANCE = 1e-9
_LARGE = 1 << 18  # elements of a tensor that is drawn less often


class ScaleError(ValueError):
    """A part of a graph that holds at its real sizes only."""


@dataclass(frozen=True)
class Trial:
    """Sizes of named dims, and a value for every weight, drawn when it is asked for."""

    dims: Mapping[Dim, int]  # of ints too, where the trial is a scaled one
    seed: int
    fewer: Mapping[Dim, int] | None = None  # sizes for large tensors
    real: Trial | None = None  # of a scaled trial: the one at the sizes that the graph has
    numbers: Mapping[float, float] = field(default_factory=dict)  # that stand for sizes, and scaled

    @cached_property
    def lean(self) -> Trial:
        """The trial for large tensors."""
        return self if self.fewer is None else Trial(self.fewer, self.seed)

    @cached_property
    def leaves(self) -> dict[Node, Array]:
        return {}

    @cached_property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def shape(self, shape: Iterable[Dim]) -> tuple[int, ...]:
        return tuple([self.dims[d] if isinstance(d, str) else self.dims.get(d, d) for d in shape])

    def draws(self, shape: Iterable[Dim]) -> list[Array]:
        """Points in pairs ``x, -x``, so that a mean over them takes an odd function away.

        The last pair is small: there an eps of 1e-12 stands out from the variance.
        """
        size = self.shape(shape)
        points = [self.rng.normal(0.7, 1.0, size)]
        if self.fewer is not None or self.real is not None:
            points.append(self.rng.normal(-0.2, 2.0, size))
        points.append(self.rng.normal(0.0, 1e-3, size))
        return [signed for point in points for signed in (point, -point)]

    def leaf(self, node: Node) -> Array:
        """The value of a leaf: the same whenever it is asked for."""
        if node not in self.leaves:
            self.leaves[node] = _leaf(node, self)
        return self.leaves[node]


@dataclass(frozen=True)
class Sample:
    """What the nodes of a span are worth: by trial, by draw of the tensor under suspicion."""

    tensor: Node
    trials: Sequence[Trial]
    draws: Sequence[Sequence[Mapping[Node, Array]]]

    def stacked(self, node: Node, trial: int) -> Array:
        """The values of ``node`` over the draws of a trial, along a new first axis."""
        return np.stack([values[node] for values in self.draws[trial]])


def sample(
    flow: Flow,
    tensor: Node,
    span: Sequence[Node],
    trials: Sequence[Trial],
    root: Node | None = None,
) -> Sample:
    """Draw ``tensor`` at random and compute the span from it, in every trial.

    A large tensor is drawn less often, and the large values that lie before ``root`` are let go.
    """
    if max(math.prod(trial.shape(tensor.shape)) for trial in trials) > _LARGE:
        trials = [trial.lean for trial in trials]
    inside = {tensor, *span}
    operands = [o for node in span if node is not tensor for o in node.inputs]
    passive = flow.needed(o for o in operands if o not in inside)
    after = following(root, span) if root is not None else inside
    found = []
    for trial in trials:
        given: dict[Node, Array] = {}
        compute(passive, given, trial)
        draws = []
        for point in trial.draws(tensor.shape):
            values = {**given, tensor: point}
            compute(span, values, trial)
            if point.size > _LARGE // 8:
                spent = [n for n in span if n not in after and values[n].size >= point.size]
                for node in spent:
                    if node is not tensor:
                        del values[node]
            draws.append(values)
        found.append(draws)
    return Sample(tensor, trials, found)


def following(root: Node, span: Sequence[Node]) -> set[Node]:
    """``root`` and the nodes of a span that are computed from it."""
    found = {root}
    for node in span:
        if not found.isdisjoint(node.inputs):
            found.add(node)
    return found


def trials(named: Sequence[str]) -> list[Trial]:
    """Two independent trials; named dims have other sizes in each."""
    return [
        Trial(_sizes(named, few), seed, _sizes(named, fewer))
        for seed, few, fewer in ((1, (5, 3, 7, 4, 2), (3, 2, 4)), (2, (8, 6, 4, 3, 5), (2, 3, 5)))
    ]


def _sizes(named: Sequence[str], cycle: Sequence[int]) -> dict[Dim, int]:
    """A size for each named dim, all different, so that axes do not mix up."""
    return {d: cycle[k % len(cycle)] + 9 * (k // len(cycle)) for k, d in enumerate(named)}


def compute(order: Iterable[Node], values: dict[Node, Array], trial: Trial) -> None:
    """Fill in ``values`` for the nodes of a topological order, floats in float64."""
    with np.errstate(all="ignore"):
        for node in order:
            if node not in values:
                values[node] = _value(node, values, trial)


def close(found: Array, expected: Array, tolerance: float = TOLERANCE) -> bool:
    """Equal to ``tolerance`` of the largest element; never true for a NaN."""
    if found.shape != expected.shape:
        return False
    if not found.size:
        return False
    return bool(np.abs(found - expected).max() <= tolerance * np.abs(expected).max() + 1e-300)


def viewed(array: Array, steps: Sequence[Node], trial: Trial) -> Array:
    """``array`` through some views of a graph."""
    for step in steps:
        try:
            array = _view(step, array, trial)
        except ValueError as error:
            raise ScaleError(*error.args) from error
    return array


def _view(step: Node, array: Array, trial: Trial) -> Array:
    if step.prim.name == "transpose" and array.ndim == len(step.attrs["axes"]):
        return np.transpose(array, step.attrs["axes"])
    return np.reshape(array, trial.shape(step.shape))


def _value(node: Node, values: Mapping[Node, Array], trial: Trial) -> Array:
    if trial.real is None:
        return _computed(node, values, trial)
    try:
        found = _computed(node, values, trial)
    except (ValueError, IndexError) as error:
        raise ScaleError(*error.args) from error
    if found.shape != trial.shape(node.shape):
        raise ScaleError(f"{node.prim.name} has shape {found.shape}")
    return found


def _computed(node: Node, values: Mapping[Node, Array], trial: Trial) -> Array:
    name = node.prim.name
    if is_leaf(node):
        return trial.leaf(node)
    if name == "count":
        shape = trial.shape(node.inputs[0].shape)
        return np.asarray(float(np.prod([shape[axis] for axis in node.attrs["axis"]])))
    operands = [values[operand] for operand in node.inputs]
    if name == "cast" and node.type.is_float and node.inputs[0].type.is_float:
        return operands[0]
    attrs = dict(node.attrs)
    if "shape" in attrs:
        attrs["shape"] = trial.shape(attrs["shape"])
    assert node.prim.eval is not None
    found = np.asarray(node.prim.eval(np, *operands, **attrs))
    return found.astype(np.float64, copy=False) if node.type.is_float else found


def _leaf(node: Node, trial: Trial) -> Array:
    if node.prim.name == "constant":
        given = np.asarray(node.attrs["value"])
        if trial.numbers and given.size == 1 and node.type.is_float:
            number = float(given.flat[0])
            return np.full(given.shape, trial.numbers.get(number, number))
        return given.astype(np.float64) if node.type.is_float else given
    if not node.type.is_float:
        return np.ones(trial.shape(node.shape), node.dtype)
    value: Array = trial.rng.uniform(0.5, 1.5, trial.shape(node.shape))
    if node.prim.name == "parameter" and node.attrs.get("trainable", True):
        value = np.asarray(value * trial.rng.choice((-1.0, 1.0), value.shape))
    return value  # states are positive: the root of a running variance is taken
