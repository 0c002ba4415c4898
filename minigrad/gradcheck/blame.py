"""Which primitive is to blame: each one's own vjp against its own numeric derivative.

By the chain rule a wrong gradient means a wrong vjp at the actual values of some node (or a fault
of `grad` itself). So every node is cut out, put on fresh leaves that hold its operands' values,
and checked alone by the very code that checks the graph.
"""

from __future__ import annotations

from dataclasses import replace

from ..backends.feed import Array
from ..ir import Node, depending_on, is_leaf, toposort
from ..ir.scope import enter
from ..primitives.leaf import INPUT
from .compare import RTOL, Comparison, Options
from .complex_step import obstacle
from .problem import Problem
from .report import Culprit


def find_culprit(problem: Problem, options: Options) -> Culprit | None:
    """The first node, operands before users, whose vjp is wrong; None when each is right."""
    order = toposort([problem.output], stop=problem.frozen)
    active = depending_on(order, problem.wrt)
    wanted = [n for n in order if n in active and n.type.is_float and not is_leaf(n)]
    needed = list(dict.fromkeys(operand for node in wanted for operand in node.inputs))
    values = dict(zip(needed, problem.run(needed), strict=True))
    for node in wanted:
        culprit = _alone(node, active, values, problem, options)
        if culprit is not None:
            return culprit
    return None


def _alone(
    node: Node, active: set[Node], values: dict[Node, Array], problem: Problem, options: Options
) -> Culprit | None:
    """The verdict on one node, None when its vjp is right."""
    leaves: dict[Node, int] = {}
    at: dict[Node, Array] = {}
    operands: list[Node] = []
    for i, operand in enumerate(node.inputs):
        if operand.prim.name == "constant":  # rules may read a constant's value
            operands.append(operand)
            continue
        leaf = INPUT(name=f"operand{i}", shape=operand.shape, dtype=operand.dtype)
        operands.append(leaf)
        at[leaf] = values[operand]
        if operand in active and operand.type.is_float:
            leaves[leaf] = i
    if not leaves or any(value.size == 0 for value in at.values()):
        return None
    with enter(node.scope):
        output = node.prim(*operands, **node.attrs)
    method = "central" if obstacle(node) else "complex"
    found = replace(options, method=method, rtol=10 * RTOL[method], step=None)
    alone = Problem(output, tuple(leaves), at, problem.dims)
    names = {leaf: f"operand {i}" for leaf, i in leaves.items()}
    place = (str(node.scope), node.line)
    try:
        entries = Comparison(alone, found, 1, names).entries()
    except Exception as error:  # a rule may raise anything, and that is a verdict too
        return Culprit(node.prim.name, 0, *place, raised=f"{type(error).__name__}: {error}")
    for entry, i in zip(entries, leaves.values(), strict=True):
        if entry.verdict == "mismatch":
            return Culprit(node.prim.name, i, *place, entry.analytic, entry.numeric)
    return None
