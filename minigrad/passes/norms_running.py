"""The inference form: ``gamma * (x - m) / sqrt(s + eps) + beta`` with m and s states.

Here nothing is reduced, so the states tell: s stands under the root, alone but for eps, and m is
the state that makes the rest of the shift a named beta. Weights that do not train count as states:
that is how frozen statistics are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..ir import Dim, Node, is_leaf
from .norms_fit import affine
from .norms_flow import REACH, Flow, below
from .norms_match import Affine, furthest, layouts_of, passive_operands, wholes
from .norms_probe import Array, Sample, Trial, close, compute, sample, viewed
from .norms_terms import Steps, gathered, name_term, zero_term


@dataclass(frozen=True)
class RunningMatch:
    """A certified inference form, in the nodes of the shared graph."""

    affine: Affine
    whole: Node
    eps: float
    outside: float
    mean: Node
    variance: Node
    kept: tuple[int, ...]  # axes of x along which the statistics vary
    forward: tuple[Node, ...]


def running_matches(
    flow: Flow, root: Node, under: Node, trials: Sequence[Trial]
) -> Iterator[RunningMatch]:
    """The inference form that divides by ``root``, if there is one."""
    found = _variance(flow, under, trials)
    if found is None:
        return
    variance, eps = found
    for entry in _entries(flow, root):
        for x, _ in flow.gateways(entry):
            if not x.type.is_float or not x.ndim:
                continue
            match = _match(flow, entry, x, variance, eps, trials)
            if match is not None:
                yield match
                return


def is_statistic(leaf: Node) -> bool:
    """A float state of some elements, or a weight that does not train."""
    frozen = leaf.prim.name == "parameter" and not leaf.attrs.get("trainable", True)
    return (leaf.prim.name == "state" or frozen) and leaf.type.is_float


def _variance(flow: Flow, under: Node, trials: Sequence[Trial]) -> tuple[Node, float] | None:
    """The state that stands under a root, and the eps that is added to it."""
    needed = flow.needed([under])
    leaves = [n for n in needed if is_leaf(n) and n.prim.name != "constant"]
    if len(leaves) != 1 or not is_statistic(leaves[0]):
        return None
    shifts = []
    for trial in trials:
        values: dict[Node, Array] = {}
        compute(needed, values, trial)
        s, t = values[leaves[0]].ravel(), values[under].ravel()
        if s.shape != t.shape or not close(t - t[0], s - s[0]):
            return None
        shifts.append(float((t - s).mean()))
    eps = shifts[0]
    if not close(np.array(shifts), np.full(len(shifts), eps)) and np.ptp(shifts) > 1e-14:
        return None
    return (leaves[0], eps if eps > 1e-14 else 0.0) if eps > -1e-14 else None


def _entries(flow: Flow, root: Node) -> list[Node]:
    """Where what is made of the root first meets data."""
    found: dict[Node, None] = {}
    stack, seen = [root], {root}
    while stack and len(seen) < REACH:
        for use in flow.uses[stack.pop()]:
            if use in flow.active:
                found[use] = None
            elif use not in seen:
                seen.add(use)
                stack.append(use)
    return sorted(found, key=flow.position.__getitem__)


def _match(
    flow: Flow, entry: Node, x: Node, variance: Node, eps: float, trials: Sequence[Trial]
) -> RunningMatch | None:
    span = flow.span([x])
    if entry not in span:
        return None
    probe = sample(flow, x, span, trials)
    layouts = layouts_of(span, x)
    leaves = [n for n in flow.needed(passive_operands(set(span), x)) if is_statistic(n)]
    numbers = _numbers(flow, span)
    for mean in leaves:
        if mean is variance or mean.shape != variance.shape:
            continue
        for kept in _placements(variance.shape, x.shape):
            for outside in numbers:
                setting = _Setting(mean, variance, eps, outside, kept)
                certified = [
                    found
                    for node in span
                    if node in layouts and node is not x
                    and (found := _certify(flow, node, setting, probe, span, layouts[node]))
                ]  # fmt: skip
                if certified:
                    y, home = furthest(certified, span, trials[0], list(wholes(x)), x)
                    forward = below([y.y], span) - {x}
                    ordered = (*home[1], *[n for n in span if n in forward])
                    return RunningMatch(y, home[0], eps, outside, mean, variance, kept, ordered)
    return None


@dataclass(frozen=True)
class _Setting:
    mean: Node
    variance: Node
    eps: float
    outside: float
    kept: tuple[int, ...]


def _certify(
    flow: Flow, node: Node, setting: _Setting, probe: Sample, span: Sequence[Node], steps: Steps
) -> Affine | None:
    """``node = g * (x - m) / (sqrt(s + eps) + out) + b`` with g and b free of m and s."""
    scales, shifts = [], []
    for t, trial in enumerate(probe.trials):
        xs = np.stack([viewed(v[probe.tensor], steps, trial) for v in probe.draws[t]])
        line = affine(xs, probe.stacked(node, t))
        if line is None:
            return None
        shape = trial.shape(probe.tensor.shape)
        a, k = (gathered(array, steps, trial, shape) for array in line)
        m, s = (
            _placed(trial.leaf(n), setting.kept, shape) for n in (setting.mean, setting.variance)
        )
        root = np.sqrt(s + setting.eps) + setting.outside
        scales.append(a * root)
        shift = k + a * m
        shifts.append(np.where(np.abs(shift) < 1e-13 * np.abs(a * m).max(), 0.0, shift))
    inside = below([node], span)
    taken = {setting.mean, setting.variance}
    free = [o for o in passive_operands(inside, probe.tensor) if taken.isdisjoint(flow.needed([o]))]
    layouts = layouts_of(span, probe.tensor)
    places = dict.fromkeys([steps, *[layouts[n] for n in inside if n in layouts]])
    deeper = [o for o in flow.needed(passive_operands(inside, probe.tensor)) if o.type.is_float]
    operands = [*free, *[o for o in deeper if o not in free and taken.isdisjoint(flow.needed([o]))]]
    scale = name_term(scales, probe, operands, places)
    sizes = [float(np.abs(a).max()) for a in scales]
    shift_term = zero_term(shifts, sizes) or name_term(shifts, probe, operands, places)
    if scale is None or shift_term is None:
        return None
    return Affine(node, scale, shift_term, tuple(scales), tuple(shifts), steps)


def _placements(shape: tuple[Dim, ...], beside: tuple[Dim, ...]) -> list[tuple[int, ...]]:
    """The axes of x along which a statistic of this shape may lie."""
    sizes = [d for d in shape if d != 1]
    found = []
    if len(sizes) == 1:
        found = [(axis,) for axis, d in enumerate(beside) if d == sizes[0]][::-1]
    elif len(shape) <= len(beside):
        lead = len(beside) - len(shape)
        axes = tuple([lead + i for i, d in enumerate(shape) if d != 1])
        found = [axes] if all(beside[a] == d for a, d in zip(axes, sizes, strict=True)) else []
    return found


def _placed(value: Array, kept: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    return value.reshape([size if axis in kept else 1 for axis, size in enumerate(shape)])


def _numbers(flow: Flow, span: Sequence[Node]) -> list[float]:
    """0, and numbers added to a root: an eps in the wrong place."""
    passive = flow.needed(passive_operands(set(span), span[0]))
    found = {
        float(o.attrs["value"].flat[0])
        for node in passive
        if node.prim.name == "add" and not is_leaf(node)
        for o in node.inputs
        if o.prim.name == "constant" and o.attrs["value"].size == 1
    }
    return [0.0, *sorted(n for n in found if n > 0)]
