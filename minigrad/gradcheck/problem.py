"""The point at which a gradient is checked: the graph in float64, a number for every leaf."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..backends.feed import Array, by_node, checked
from ..backends.interpreter import lower
from ..ir import GradientError, GraphError, Node, depending_on, is_leaf, place, toposort
from ..ir.markers import collect
from ..passes.precision import retyped
from ..primitives import initial_value

# Sizes of named dims that were not fed: different, so that no two are mixed up.
PRIMES = (5, 3, 7, 11, 13, 17)

# Unfed integers are 0 or 1: few values, so that labels and indices fit.
LABELS = 2

# Where unfed floats are drawn, first choice first: normal numbers, or what logs and roots take.
DOMAINS = {
    "standard normal": lambda rng, shape: rng.normal(size=shape),
    "uniform in 0.5 .. 1.5": lambda rng, shape: rng.uniform(0.5, 1.5, shape),
    "uniform in 0.1 .. 0.9": lambda rng, shape: rng.uniform(0.1, 0.9, shape),
}


@dataclass(frozen=True)
class Problem:
    """An output, what to differentiate by, and a value for every leaf (and every ``wrt``)."""

    output: Node
    wrt: tuple[Node, ...]
    values: Mapping[Node, Array]
    dims: Mapping[str, int]
    frozen: Mapping[Node, Array] = field(default_factory=dict)  # stop_gradient holds these still
    notes: tuple[str, ...] = ()

    def run(self, roots: Sequence[Node]) -> list[Array]:
        """The values of ``roots`` at the point."""
        program = lower(roots, fed=list(self.frozen))
        return program.run({**self.values, **self.frozen}, self.dims)


def pose(
    output: Node, wrt: Sequence[Node], at: Mapping[Any, Any] | None, seed: int, jitter: float
) -> tuple[Problem, dict[Node, Node]]:
    """The problem in float64, and what each node given became in it."""
    _check(output, wrt)
    unmarked = collect([output, *wrt]).mapped
    doubled = retyped([unmarked[node] for node in (output, *wrt)], "float64")
    become = {node: doubled[unmarked[node]] for node in unmarked if unmarked[node] in doubled}
    target, sources = become[output], tuple(become[node] for node in wrt)
    leaves = [node for node in toposort([target, *sources]) if is_leaf(node)]
    leaves = [leaf for leaf in leaves if leaf.prim.name != "constant"]
    fed = {
        become.get(key, key) if isinstance(key, Node) else key: v for key, v in (at or {}).items()
    }
    dims: dict[str, int] = {}
    given = {n: checked(n, v, dims) for n, v in by_node(fed, leaves).items()}
    unknown = [n for n in given if n not in leaves]
    if unknown:
        raise GraphError(f"gradcheck: at feeds {unknown[0]!r}, which is no leaf of the graph")
    sizes = _size_dims(leaves, dims)
    drawn = [n.name for n in leaves if n not in given and n.prim.name == "input"]
    finite: Problem | None = None
    for title in DOMAINS:
        values = _draw(leaves, given, dims, title, seed, jitter)
        notes = [f"{', '.join(drawn)}: not fed, drawn ({title}; seed {seed})"] if drawn else []
        problem = hold(Problem(target, sources, values, dims, notes=(*notes, *sizes)))
        finite = finite or problem
        if all(np.isfinite(v).all() for v in problem.run([target]) if v.dtype.kind == "f"):
            return problem, become
    assert finite is not None
    return finite, become


def _check(output: Node, wrt: Sequence[Node]) -> None:
    if not output.type.is_float:
        where = place(output.scope, output.source)
        raise GradientError(f"gradcheck: the output {output!r} holds no floats{where}")
    if not wrt:
        raise GradientError("gradcheck: wrt is empty; name the nodes to differentiate by")
    order = toposort([output])
    for node in wrt:
        where = place(node.scope, node.source)
        if not node.type.is_float:
            raise GradientError(
                f"gradcheck: {node!r} holds no floats, it has no gradient; leave it out of wrt"
                f" and feed it by at={{...}}{where}"
            )
        if output not in depending_on(order, [node]):
            raise GradientError(f"gradcheck: the output does not depend on {node!r}{where}")


def _size_dims(leaves: Iterable[Node], dims: dict[str, int]) -> list[str]:
    free = dict.fromkeys(d for n in leaves for d in n.shape if isinstance(d, str) and d not in dims)
    chosen = dict(zip(free, PRIMES * len(free), strict=False))
    dims.update(chosen)
    return [f"{name} = {size}, chosen" for name, size in chosen.items()]


def _draw(
    leaves: Sequence[Node],
    given: Mapping[Node, Array],
    dims: Mapping[str, int],
    domain: str,
    seed: int,
    jitter: float,
) -> dict[Node, Array]:
    values: dict[Node, Array] = {}
    for leaf in leaves:
        rng = np.random.default_rng([seed, 1, *leaf.name.encode()])
        shape = tuple(dims[d] if isinstance(d, str) else d for d in leaf.shape)
        if leaf in given:
            values[leaf] = given[leaf]
        elif leaf.prim.name != "input":
            values[leaf] = initial_value(leaf, seed)
            if jitter and leaf.type.is_float and leaf.prim.name == "parameter":
                values[leaf] = values[leaf] + jitter * rng.uniform(-1, 1, shape)
        elif leaf.type.is_float:
            values[leaf] = DOMAINS[domain](rng, shape)
        else:
            values[leaf] = rng.integers(0, LABELS, shape).astype(leaf.dtype)
    return values


def hold(problem: Problem) -> Problem:
    """The problem with values for nodes in the middle: those of ``wrt``, and stopped ones.

    What `stop_gradient` stops does not move when an input does, so its value is held.
    """
    stopped = [n for n in toposort([problem.output]) if n.prim.name == "stop_gradient"]
    middle = [n for n in problem.wrt if not is_leaf(n) or n.prim.name == "constant"]
    wanted = list(dict.fromkeys([*stopped, *middle]))
    program = lower(wanted)
    found = dict(zip(wanted, program.run(problem.values, problem.dims), strict=True))
    frozen = {node: found[node] for node in stopped if node not in problem.wrt}
    values = {**problem.values, **{node: found[node] for node in middle}}
    return replace(problem, values=values, frozen=frozen)
