"""What `gradcheck` asks, once for the gradient and once for the gradient of the gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..backends.feed import Array
from ..ir import GradientError, Node
from ..primitives import sum as total
from ..primitives.leaf import INPUT
from .blame import find_culprit
from .compare import Comparison, Options, connected
from .problem import Problem, hold
from .report import Culprit, Entry, Kink

Found = tuple[list[Entry], Culprit | None, list[Kink]]


def first_order(
    problem: Problem, options: Options, names: Mapping[Node, str], silent: set[Node]
) -> Found:
    entries, culprit, kinks = _compared(problem, options, 1, names)
    judged = []
    for node, entry in zip(problem.wrt, entries, strict=True):
        if node in silent and entry.verdict in ("vacuous", "unconnected"):
            entry = replace(entry, verdict="zero", note="as expected")
        elif node in silent and entry.verdict == "ok":
            entry = replace(entry, verdict="not zero")
        judged.append(entry)
    return judged, culprit, kinks


def second_order(
    problem: Problem, options: Options, names: Mapping[Node, str], silent: set[Node]
) -> Found:
    """The gradient of a random projection of the gradient.

    A second derivative may well be zero for some inputs; it is an error only when every one is
    and some input is connected, for then nothing was tested.
    """
    projected = _project(problem, options.seed)
    entries, culprit, kinks = _compared(projected, options, 2, names)
    alive = any(entry.verdict in ("ok", "mismatch", "not finite") for entry in entries)
    judged = []
    for node, entry in zip(problem.wrt, entries, strict=True):
        if entry.verdict == "unconnected":
            note = "the gradient does not depend on it, numerically too"
            entry = replace(entry, verdict="zero", note=note)
        elif entry.verdict == "vacuous" and (alive or node in silent):
            entry = replace(entry, verdict="zero", note="connected, both sides are zero")
        judged.append(entry)
    return judged, culprit, kinks


def _compared(problem: Problem, options: Options, order: int, names: Mapping[Node, str]) -> Found:
    try:
        comparison = Comparison(problem, options, order, names)
    except Exception as error:  # a rule may raise anything: say which before giving up
        culprit = find_culprit(problem, options)
        if culprit is None:
            raise
        note = f"{type(error).__name__}: {error}"
        entries = [
            Entry(names[node], order, "raises", "nothing", note=note) for node in problem.wrt
        ]
        return entries, culprit, []
    entries = comparison.entries()
    wrong = any(entry.verdict == "mismatch" for entry in entries)
    return entries, find_culprit(problem, options) if wrong else None, comparison.kinks


def _project(problem: Problem, seed: int) -> Problem:
    """The scalar ``sum_j u_j . d<ct, output>/d wrt_j`` with random ``ct`` and ``u``."""
    rng = np.random.default_rng([seed, 3])
    weights: dict[Node, Array] = {}

    def weight(name: str, like: Node) -> Node:
        leaf = INPUT(name=name, shape=like.shape, dtype=like.dtype)
        shape = tuple(problem.dims[d] if isinstance(d, str) else d for d in like.shape)
        weights[leaf] = rng.choice([-1, 1], shape) * rng.uniform(0.5, 1.5, shape)
        return leaf

    ct = weight("ct", problem.output)
    gradients = connected(problem.output, problem.wrt, ct)
    terms = [total(weight(f"u{j}", g) * g) for j, g in enumerate(gradients) if g is not None]
    projection = terms[0]
    for term in terms[1:]:
        projection = projection + term
    return hold(replace(problem, output=projection, values={**problem.values, **weights}))


def expected_zero(
    expect_zero: Sequence[Node], nodes: Sequence[Node], become: Mapping[Node, Node]
) -> set[Node]:
    for node in expect_zero:
        if node not in nodes:
            raise GradientError(f"gradcheck: expect_zero names {node!r}, which is not in wrt")
    return {become[node] for node in expect_zero}


def title(node: Node) -> str:
    return node.name or f"{node.prim.name} at {node.line or 'no line'}"
