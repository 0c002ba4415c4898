"""`gradcheck`: is the gradient of this graph right? See `Report` for the answer.

Flow: `problem` puts the graph in float64 at a point, `compare` sets the analytic gradient against
`numeric` derivatives along elements and directions, `blame` names the primitive when they differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..backends.feed import Array
from ..ir import GradientError, Node
from ..primitives import sum as total
from ..primitives.leaf import INPUT
from .blame import find_culprit
from .compare import RTOL, Comparison, Options, connected
from .numeric import pick_method
from .problem import Problem, hold, pose
from .report import Culprit, Entry, Kink, Report

METHODS = ("auto", "complex", "central")


def gradcheck(
    output: Node,
    wrt: Node | Sequence[Node],
    at: Mapping[Any, Any] | None = None,
    method: str = "auto",
    order: int = 1,
    *,
    expect_zero: Sequence[Node] = (),
    seed: int = 0,
    rtol: float | None = None,
    step: float | None = None,
    directions: int = 4,
    elements: int = 64,
    jitter: float = 0.0,
) -> Report:
    """Compare the gradient of ``output`` with numeric derivatives, in float64.

    Parameters
    ----------
    output : a float node of any shape; it is weighed by random cotangents, never by ones.
    wrt : the nodes to differentiate by; inputs, parameters or anything in between.
    at : arrays by name or by node. Parameters and states that are not fed have their initial
        values; inputs are drawn at random, named dims get small distinct primes.
    method : ``complex`` is exact to rounding but needs every op in complex arithmetic,
        ``central`` is Richardson's extrapolation of central differences and takes any op;
        ``auto`` is ``complex`` where it applies, and the report says why.
    order : 1, or 2 to check a random projection of the gradient as well.
    expect_zero : nodes of ``wrt`` whose gradient is zero, such as a bias before batch norm.
    seed : of all that is random here.
    rtol : the relative error tolerated beyond rounding; 1e-9 for complex, 1e-6 for central.
    step : the size of the step, relative to the numbers for ``central``.
    directions, elements : an input of at most ``elements`` numbers has every one checked, a
        larger one ``directions`` random directions, its steepest element and some others.
    jitter : moves parameters by up to this much, so that a gamma of 1 hides nothing.

    Where a step crosses a kink (relu, max, abs) the element is reported and left out. A gradient
    that is zero in every direction *fails*: such a check would pass with a wrong rule too. On a
    mismatch the report names the first primitive whose own vjp is wrong, with its scope and line.

    Raises GradientError when ``output`` does not depend on a node of ``wrt`` or holds no floats.

    Sources: Squire and Trapp 1998, "Using complex variables to estimate derivatives of real
    functions"; Martins, Sturdza and Alonso 2003, "The complex-step derivative approximation".

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 3))
    >>> report = gradcheck(mg.mean(mg.tanh(x) ** 2), x)
    >>> report.passed, report.method
    (True, 'complex')
    >>> print(gradcheck(mg.sum(x - mg.mean(x, axis=0)), x).worst.verdict)
    vacuous
    """
    nodes = [wrt] if isinstance(wrt, Node) else list(wrt)
    if method not in METHODS:
        raise GradientError(f"gradcheck: no method {method!r}; there is {', '.join(METHODS)}")
    if order not in (1, 2):
        raise GradientError(f"gradcheck: order is 1 or 2, not {order!r}")
    problem, become = pose(output, nodes, at, seed, jitter)
    silent = _silent(expect_zero, nodes, become)
    names = {become[node]: _title(node) for node in nodes}
    picked, reason = pick_method(problem, method)
    options = Options(picked, rtol or RTOL[picked], seed, step, directions, elements)
    entries, culprit, kinks = _first(problem, options, names, silent)
    if order == 2 and all(entry.passed for entry in entries):
        more, culprit, late = _second(problem, options, names, silent)
        entries, kinks = [*entries, *more], [*kinks, *late]
    notes = problem.notes
    return Report(tuple(entries), picked, reason, order, culprit, tuple(kinks), notes)


Found = tuple[list[Entry], Culprit | None, list[Kink]]


def _first(
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


def _second(
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


def _silent(
    expect_zero: Sequence[Node], nodes: Sequence[Node], become: Mapping[Node, Node]
) -> set[Node]:
    for node in expect_zero:
        if node not in nodes:
            raise GradientError(f"gradcheck: expect_zero names {node!r}, which is not in wrt")
    return {become[node] for node in expect_zero}


def _title(node: Node) -> str:
    return node.name or f"{node.prim.name} at {node.line or 'no line'}"
