"""Gradient checks: is the derivative of this graph right, and if not, whose fault is it?

Flow: `problem` puts the graph in float64 at a point, `compare` sets the analytic gradient against
`numeric` derivatives along elements and directions, `blame` names the primitive when they differ.
See `Report` for the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._lazy import attach
from ..ir import GradientError, Node

if TYPE_CHECKING:
    from .report import Culprit, Entry, Kink, Report

__all__ = ["Culprit", "Entry", "Kink", "Report", "gradcheck"]

__getattr__, __dir__ = attach(__name__, {".report": ["Culprit", "Entry", "Kink", "Report"]})

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
    from .check import expected_zero, first_order, second_order, title
    from .compare import RTOL, Options
    from .numeric import pick_method
    from .problem import pose
    from .report import Report

    nodes = [wrt] if isinstance(wrt, Node) else list(wrt)
    if method not in METHODS:
        raise GradientError(f"gradcheck: no method {method!r}; there is {', '.join(METHODS)}")
    if order not in (1, 2):
        raise GradientError(f"gradcheck: order is 1 or 2, not {order!r}")
    problem, become = pose(output, nodes, at, seed, jitter)
    silent = expected_zero(expect_zero, nodes, become)
    names = {become[node]: title(node) for node in nodes}
    picked, reason = pick_method(problem, method)
    options = Options(picked, rtol or RTOL[picked], seed, step, directions, elements)
    entries, culprit, kinks = first_order(problem, options, names, silent)
    if order == 2 and all(entry.passed for entry in entries):
        more, culprit, late = second_order(problem, options, names, silent)
        entries, kinks = [*entries, *more], [*kinks, *late]
    notes = problem.notes
    return Report(tuple(entries), picked, reason, order, culprit, tuple(kinks), notes)
