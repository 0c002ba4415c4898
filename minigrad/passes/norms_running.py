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
    lines = _lines(flow, entry, sample(flow, x, span, trials), span)
    means = dict.fromkeys(n for line in lines for n in line.needed if is_statistic(n))
    numbers = [0.0, *sorted({n for line in lines for n in _added(line.needed)})]
    for mean in means:
        if mean is variance or mean.shape != variance.shape:
            continue
        for kept in _placements(variance.shape, x.shape):
            for outside in numbers:
                setting = _Setting(mean, variance, eps, outside, kept)
                fits = [found for line in lines if (found := _certify(flow, line, setting))]
                if fits:
                    y, home = furthest(fits, span, trials[0], list(wholes(x)), x)
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


@dataclass(frozen=True)
class _Line:
    """A node that is ``a * x + k``, by trial; the weights it is made of, and where they stand."""

    node: Node
    probe: Sample
    slopes: Sequence[Array]
    intercepts: Sequence[Array]
    needed: Sequence[Node]
    steps: Steps
    places: Sequence[Steps]


def _lines(flow: Flow, entry: Node, probe: Sample, span: Sequence[Node]) -> list[_Line]:
    """The nodes from ``entry`` on that are affine in the sampled tensor, element by element."""
    layouts = layouts_of(span, probe.tensor)
    found = []
    for node in span:
        inside = below([node], span)
        if node not in layouts or entry not in inside:
            continue
        steps, pairs = layouts[node], []
        for t, trial in enumerate(probe.trials):
            xs = np.stack([viewed(v[probe.tensor], steps, trial) for v in probe.draws[t]])
            line = affine(xs, probe.stacked(node, t))
            if line is None:
                break
            shape = trial.shape(probe.tensor.shape)
            pairs.append([gathered(array, steps, trial, shape) for array in line])
        if len(pairs) == len(probe.trials):
            needed = flow.needed(passive_operands(inside, probe.tensor))
            places = dict.fromkeys([steps, *[layouts[n] for n in inside if n in layouts]])
            slopes, intercepts = zip(*pairs, strict=True)
            found.append(_Line(node, probe, slopes, intercepts, needed, steps, list(places)))
    return found


def _certify(flow: Flow, line: _Line, setting: _Setting) -> Affine | None:
    """``node = g * (x - m) / (sqrt(s + eps) + out) + b`` with g and b free of m and s."""
    taken = {setting.mean, setting.variance}
    if not taken.issubset(line.needed):
        return None
    scales, shifts = [], []
    for trial, a, k in zip(line.probe.trials, line.slopes, line.intercepts, strict=True):
        m, s = (_placed(trial.leaf(n), setting.kept, a.shape) for n in
                (setting.mean, setting.variance))  # fmt: skip
        scales.append(a * (np.sqrt(s + setting.eps) + setting.outside))
        shift = k + a * m
        shifts.append(np.where(np.abs(shift) < 1e-13 * np.abs(a * m).max(), 0.0, shift))
    free = [n for n in line.needed if n.type.is_float and taken.isdisjoint(flow.needed([n]))]
    free.sort(key=flow.position.__getitem__, reverse=True)  # gamma as it stands beside x first
    values = line.probe.draws[0][0]
    free = [n for n in free if n in values]
    scale = name_term(scales, line.probe, free, line.places)
    sizes = [float(np.abs(a).max()) for a in scales]
    shift_term = zero_term(shifts, sizes) or name_term(shifts, line.probe, free, line.places)
    if scale is None or shift_term is None:
        return None
    return Affine(line.node, scale, shift_term, tuple(scales), tuple(shifts), line.steps)


def _placements(shape: tuple[Dim, ...], beside: tuple[Dim, ...]) -> list[tuple[int, ...]]:
    """The axes of x along which a statistic of this shape may lie."""
    sizes = [d for d in shape if d != 1]
    found: list[tuple[int, ...]] = []
    if len(sizes) == 1:
        found += [(axis,) for axis, d in enumerate(beside) if d == sizes[0]][::-1]
    elif len(shape) <= len(beside):
        lead = len(beside) - len(shape)
        axes = tuple([lead + i for i, d in enumerate(shape) if d != 1])
        found = [axes] if all(beside[a] == d for a, d in zip(axes, sizes, strict=True)) else []
    return found


def _placed(value: Array, kept: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    return value.reshape([size if axis in kept else 1 for axis, size in enumerate(shape)])


def _added(nodes: Sequence[Node]) -> set[float]:
    """Positive numbers that something adds: behind the root, an eps in the wrong place."""
    return {
        float(o.attrs["value"].flat[0])
        for node in nodes
        if node.prim.name == "add"
        for o in node.inputs
        if o.prim.name == "constant" and o.attrs["value"].size == 1 and o.attrs["value"] > 0
    }
