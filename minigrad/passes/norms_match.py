"""From a root to a normaliser: which node is y, what scales and shifts it, where the pieces are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..ir import Node
from .norms_fit import Statistic, affine, statistics
from .norms_flow import REDUCTIONS, VIEWS, Flow, below, view_chain, volume
from .norms_probe import Array, Sample, Trial, close, following, sample, viewed
from .norms_terms import Steps, Term, gathered, name_term, zero_term


@dataclass(frozen=True)
class Affine:
    """``y = scale * xhat + shift``, certified; arrays by trial, in the layout of x."""

    y: Node
    scale: Term
    shift: Term
    scales: tuple[Array, ...]
    shifts: tuple[Array, ...]
    steps: Steps  # the views from x to y


@dataclass(frozen=True)
class Match:
    """A certified normaliser, in the nodes of the shared graph."""

    x: Node
    affine: Affine
    statistic: Statistic
    outside: float  # an eps added to the root
    mean: Node | None
    variance: Node | None
    forward: tuple[Node, ...]
    sample: Sample
    outer: Steps  # the views from `whole` to x
    whole: Node  # x before it was reshaped into groups or rows, when y is back in its layout


def matches(flow: Flow, root: Node, under: Node, trials: Sequence[Trial]) -> Iterator[Match]:
    """The normaliser that divides by ``root``, if there is one; centred forms first."""
    found: list[tuple[Node, Sample, list[Node], Statistic]] = []
    for x, between in flow.gateways(under):
        if not x.type.is_float or not x.ndim:
            continue
        if not any(node.prim.name in REDUCTIONS for node in between):
            continue
        span = flow.span([x])
        if under not in span:
            continue
        probe = sample(flow, x, span, trials, root)
        for statistic in statistics(probe, under, _hints(x, between)):
            found.append((x, probe, span, statistic))
    found.sort(key=lambda item: not item[3].centred)  # stable: nearest first
    for x, probe, span, statistic in found:
        match = _match(flow, root, x, probe, span, statistic)
        if match is not None:
            yield match
            return


def _match(
    flow: Flow, root: Node, x: Node, probe: Sample, span: Sequence[Node], statistic: Statistic
) -> Match | None:
    after = following(root, span)
    layouts = layouts_of(span, x)
    for outside in _outsides(flow, after, statistic):
        hats = [
            np.stack([statistic.normalised(values[x], outside) for values in draws])
            for draws in probe.draws
        ]
        certified = []
        for node in span:
            if node in after and node in layouts:
                found = certify(node, hats, probe, span, layouts, statistic)
                if found is not None:
                    certified.append(found)
        if certified:
            y, outer = furthest(certified, span, probe.trials[0], list(wholes(x)), x)
            forward = below([y.y], span) - {x}
            if not _clamps_hold(flow, probe, statistic, forward):
                return None
            mean, variance = _statistics_in(forward, span, probe, statistic)
            ordered = (*outer[1], *[node for node in span if node in forward])
            return Match(
                x, y, statistic, outside, mean, variance, ordered, probe, outer[1], outer[0]
            )
    return None


def certify(
    node: Node,
    hats: Sequence[Array],
    probe: Sample,
    span: Sequence[Node],
    layouts: Mapping[Node, Steps],
    statistic: Statistic,
) -> Affine | None:
    """``node`` as ``scale * xhat + shift`` with both named, or None."""
    scales, shifts = [], []
    for t, trial in enumerate(probe.trials):
        placed = np.stack([viewed(hat, layouts[node], trial) for hat in hats[t]])
        found = affine(placed, probe.stacked(node, t))
        if found is None:
            return None
        shape = hats[t].shape[1:]
        scales.append(gathered(found[0], layouts[node], trial, shape))
        shifts.append(gathered(found[1], layouts[node], trial, shape))
    inside = below([node], span)
    places = dict.fromkeys([layouts[node], *[layouts[n] for n in inside if n in layouts]])
    operands = passive_operands(inside, probe.tensor)
    scale = name_term(scales, probe, operands, places)
    sizes = [float(np.abs(s).max()) for s in scales]
    shift = zero_term(shifts, sizes) or name_term(shifts, probe, operands, places)
    if scale is None or shift is None:
        return None
    if statistic.folded and scale.factor not in (1.0, -1.0):
        return None  # a root of 4 v, nowhere made up for
    return Affine(node, scale, shift, tuple(scales), tuple(shifts), layouts[node])


def furthest(
    certified: Sequence[Affine],
    span: Sequence[Node],
    trial: Trial,
    whole: Sequence[tuple[Node, Steps]],
    x: Node,
) -> tuple[Affine, tuple[Node, Steps]]:
    """y: the first certified node, followed through one scale, one shift and the views back.

    A number alone is no gamma and no beta, so the 0.5 of a sigmoid stays outside. Returns y and
    what it normalises: x, or the tensor that x is a reshape of where y is back in its layout.
    """
    y = certified[0]
    at_home = _home(y, trial, whole)
    for after in certified[1:]:
        if y.y not in below([after.y], span):
            continue
        bare = y.scale.is_number and y.shift.is_number
        scaled = bare and not after.scale.is_number and after.shift.is_number
        shifted = y.shift.is_number and not after.shift.is_number and after.scale.same(y.scale)
        home = _home(after, trial, whole)
        returned = at_home is None and home is not None
        unchanged = after.scale.same(y.scale) and after.shift.same(y.shift)
        if scaled or shifted or (returned and unchanged):
            y, at_home = after, home
    return y, at_home or (x, ())


def wholes(x: Node) -> Iterator[tuple[Node, Steps]]:
    """x, and what it is a view of, each with the views from there to x."""
    chain = view_chain(x)
    for k, node in enumerate(chain):
        yield node, tuple(chain[:k][::-1])


def layouts_of(span: Sequence[Node], x: Node) -> dict[Node, Steps]:
    """For every node that holds one number for each element of x, the views that lead to it."""
    found: dict[Node, Steps] = {x: ()}
    size = volume(x.shape)
    for node in span:
        if node in found or volume(node.shape) != size:
            continue
        source = next((o for o in node.inputs if o in found), None)
        if source is None:
            continue
        moved = node.prim.name in VIEWS or node.shape != source.shape
        found[node] = (*found[source], node) if moved else found[source]
    return found


def passive_operands(inside: set[Node], x: Node) -> list[Node]:
    """What enters a formula from outside: weights, constants, counts, and views of them."""
    operands = (o for node in inside if node is not x for o in node.inputs)
    return [o for o in dict.fromkeys(operands) if o not in inside and o.type.is_float]


def _home(
    y: Affine, trial: Trial, whole: Sequence[tuple[Node, Steps]]
) -> tuple[Node, Steps] | None:
    """The tensor in whose layout y stands: x, or what x is a view of."""
    for node, steps in whole:
        shape = trial.shape(node.shape)
        index = np.arange(int(np.prod(shape))).reshape(shape)
        there = viewed(viewed(index, steps, trial), y.steps, trial)
        if there.shape == index.shape and (there == index).all():
            return node, steps
    return None


def _statistics_in(
    forward: set[Node], span: Sequence[Node], probe: Sample, statistic: Statistic
) -> tuple[Node | None, Node | None]:
    """The nodes that are the mean and the variance, the first of each; None where there is none."""
    mean = _equal_to(forward, span, probe, statistic.mean) if statistic.centred else None
    return mean, _equal_to(forward, span, probe, statistic.variance)


def _equal_to(
    forward: set[Node],
    span: Sequence[Node],
    probe: Sample,
    definition: Callable[[Array], Array],
) -> Node | None:
    wanted = [[definition(v[probe.tensor]).ravel() for v in draws] for draws in probe.draws]
    for node in span:
        if node not in forward:
            continue
        if any(node not in v for draws in probe.draws for v in draws):
            continue  # as large as x
        found = [[v[node].ravel() for v in draws] for draws in probe.draws]
        if all(
            f.shape == w.shape and close(f, w)
            for fs, ws in zip(found, wanted, strict=True)
            for f, w in zip(fs, ws, strict=True)
        ):
            return node
    return None


def _outsides(flow: Flow, after: set[Node], statistic: Statistic) -> list[float]:
    """0, and numbers that are added behind the root: an eps in the wrong place."""
    numbers = {
        float(o.attrs["value"].flat[0])
        for node in after
        if node.prim.name in ("add", "sub")
        for o in node.inputs
        if o.prim.name == "constant" and o.attrs["value"].size == 1
    }
    return [0.0, *sorted(n for n in numbers if n > 0 and not statistic.folded)]


def _clamps_hold(flow: Flow, probe: Sample, statistic: Statistic, forward: Iterable[Node]) -> bool:
    """A ``maximum(v, 0)`` does nothing where v is a variance (plus eps), which is not negative."""
    for node in forward:
        if flow.is_clamp(node):
            inner = [o for o in node.inputs if o in flow.active and o in probe.draws[0][0]]
            found = statistics(probe, inner[0], [statistic.axes]) if inner else ()
            if not any(s.centred == statistic.centred for s in found):
                return False
    return True


def _hints(x: Node, between: Sequence[Node]) -> list[tuple[int, ...]]:
    """The axes that reductions of tensors like x name."""
    return [
        node.attrs["axis"]
        for node in between
        if node.prim.name in ("mean", "sum") and node.inputs[0].shape == x.shape
    ]
