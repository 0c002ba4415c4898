"""The gradient of a normaliser, found in the same way: by where paths meet, certified by numbers.

With the forward nodes given, all paths to dx meet in the cotangent of y. What is computed from
there on is compared with the closed form (Ioffe & Szegedy 2015, Section 3, in one line)

    dx = gamma*u/d - M(gamma*u)/d - c * M(gamma*u*c) / (s * d**2)

for ``s = sqrt(v + eps)`` and ``d = s + eps'``, with ``dgamma = sum u*xhat`` and ``dbeta = sum u``.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np

from ..ir import Node, Shape
from .norms_flow import REACH, Flow, below
from .norms_match import Match
from .norms_probe import Array, close, compute, viewed
from .norms_terms import Term, gathered

_CANDIDATES = 8  # cotangents tried for one normaliser


@dataclass(frozen=True)
class Backward:
    """The gradient region: its nodes in order, and the cotangent that enters it."""

    nodes: tuple[Node, ...] = ()
    cotangent: Node | None = None
    reaches_x: bool = False  # the gradient of x was found, not of gamma and beta alone


def backward_region(flow: Flow, match: Match) -> Backward:
    """The nodes from the cotangent of y to the gradients of x, gamma and beta; none if not there.

    A gradient that a simplifier rewrote is found too; one with a detached statistic is not, for it
    is not the gradient of the normaliser.
    """
    known = {match.x, match.whole, *match.forward}  # views between them are in forward
    for cotangent in _cotangents(flow, match, known):
        dx, others, span = _gradients(flow, match, known, cotangent)
        if dx or others:
            inside = below([*dx, *others], span) - {cotangent}
            nodes = tuple([node for node in span if node in inside])
            return Backward(nodes, cotangent, bool(dx))
    return Backward()


def _cotangents(flow: Flow, match: Match, known: set[Node]) -> list[Node]:
    """Nodes of the type of y where paths to what reads the forward nodes meet, likeliest first."""
    y = match.affine.y
    pending = [flow.position[use] for n in known for use in flow.uses[n] if use not in known]
    heapq.heapify(pending)
    seen: set[Node] = set()
    votes: dict[Node, int] = {}
    while pending and len(seen) < REACH:
        node = flow.order[heapq.heappop(pending)]
        if node in seen or node in known or not flow.analytic(node):
            continue
        seen.add(node)
        meeting = [gateway for gateway, _ in islice(flow.gateways(node, known), 8)]
        # A loss that weighs y by constants: no source reaches its cotangent.
        meeting += flow.needed(o for o in node.inputs if o not in flow.active)
        for found in meeting:
            if found.type == y.type and found not in known:
                votes[found] = votes.get(found, 0) + 1
        for use in flow.uses[node]:
            heapq.heappush(pending, flow.position[use])
    return sorted(votes, key=votes.__getitem__, reverse=True)[:_CANDIDATES]


def _gradients(
    flow: Flow, match: Match, known: set[Node], cotangent: Node
) -> tuple[list[Node], list[Node], list[Node]]:
    """The nodes that are dx for this cotangent, those that are dgamma and dbeta, all its span."""
    span = [node for node in flow.span([cotangent, *known]) if node not in known]
    values = _values(flow, match, span, cotangent)
    expected = [_expected(match, t, values[t], cotangent) for t in range(len(values))]
    dx = _equal(span, values, [e[0] for e in expected], {match.x.shape, match.whole.shape})
    weights = []
    for position, term in ((1, match.affine.scale), (2, match.affine.shift)):
        if len(term.operands) == 1:
            wanted = [[_summed(match, term, t, array) for array in e[position]]
                      for t, e in enumerate(expected)]  # fmt: skip
            weights.append(_equal(span, values, wanted, None))
    dx = dx or _addends(flow, span, values, [e[0] for e in expected], match)
    if not dx and not (weights and weights[0] and not match.affine.scale.is_number):
        return [], [], span
    return dx, [node for found in weights for node in found], span


Values = list[list[dict[Node, Array]]]


def _values(flow: Flow, match: Match, span: Sequence[Node], cotangent: Node) -> Values:
    """The span computed beside every draw of x, from cotangents at random."""
    inside = {*span, cotangent}
    passive = flow.needed(
        o
        for n in (*match.forward, *span)
        if n is not cotangent
        for o in n.inputs
        if o not in inside and o not in flow.active
    )
    found: Values = []
    for trial, draws in zip(match.sample.trials, match.sample.draws, strict=True):
        rows = []
        for draw in draws[:-1:2]:
            shape = trial.shape(match.whole.shape)
            values = {match.whole: gathered(draw[match.x], match.outer, trial, shape)}
            values[cotangent] = trial.rng.normal(size=trial.shape(cotangent.shape))
            compute([n for n in passive if n is not cotangent], values, trial)
            compute((*match.forward, *span), values, trial)
            rows.append(values)
        found.append(rows)
    return found


def _expected(
    match: Match, t: int, rows: Sequence[dict[Node, Array]], cotangent: Node
) -> tuple[list[Array], list[Array], list[Array]]:
    """dx, u * xhat and u by the closed form, in the layout of x, for every draw of trial t."""
    statistic, trial = match.statistic, match.sample.trials[t]
    gamma = match.affine.scales[t]
    triples: tuple[list[Array], list[Array], list[Array]] = ([], [], [])
    for values in rows:
        x = values[match.x]
        u = gathered(values[cotangent], match.affine.steps, trial, x.shape)
        c = x - statistic.mean(x) if statistic.centred else x
        s = np.sqrt(statistic.variance(x) + statistic.eps)
        d, gu = s + match.outside, gamma * u
        mean = statistic.mean
        dx = gu / d - c * statistic.bessel(x.shape) * mean(gu * c) / (s * d**2)
        triples[0].append(dx - mean(gu) / d if statistic.centred else dx)
        triples[1].append(u * statistic.normalised(x, match.outside))
        triples[2].append(u)
    return triples


def _summed(match: Match, term: Term, t: int, array: Array) -> Array:
    """A gradient by element summed to the weight that was broadcast, flat."""
    trial = match.sample.trials[t]
    placed = viewed(array, term.steps, trial) * term.factor
    shape = trial.shape(term.operands[0].shape)
    lead = placed.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(
        lead + i for i, size in enumerate(shape) if size == 1 and placed.shape[lead + i] != 1
    )
    return np.asarray(placed.sum(axes)).ravel()


def _equal(
    span: Sequence[Node],
    values: Values,
    expected: Sequence[Sequence[Array]],
    shapes: set[Shape] | None,
) -> list[Node]:
    """The nodes of a span that hold the expected numbers in every draw of every trial."""
    return [
        node
        for node in span
        if (shapes is None or node.shape in shapes)
        and all(
            close(row[node].ravel(), wanted.ravel())
            for rows, arrays in zip(values, expected, strict=True)
            for row, wanted in zip(rows, arrays, strict=True)
        )
    ]


def _addends(
    flow: Flow,
    span: Sequence[Node],
    values: Values,
    expected: Sequence[Sequence[Array]],
    match: Match,
) -> list[Node]:
    """Two or three nodes that sum to dx, where gradients of other uses of x were added between."""
    shapes = {match.x.shape, match.whole.shape}
    ends = [
        node
        for node in span
        if node.shape in shapes and any(use.prim.name == "add" for use in flow.uses[node])
    ][:12]
    for several in (2, 3):
        for chosen in combinations(ends, several):
            totals = [
                [{chosen[0]: np.sum([row[n].ravel() for n in chosen], axis=0)} for row in rows]
                for rows in values
            ]
            if _equal(chosen[:1], totals, expected, None):
                return list(chosen)
    return []
