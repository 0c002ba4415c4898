"""Numeric derivatives along a direction, by the complex step or by central differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..backends.feed import Array
from ..backends.interpreter import Program, lower
from ..ir import Node, depending_on, is_leaf, toposort
from . import complex_step
from .kinks import branches, switches
from .problem import Problem

EPS = float(np.finfo(np.float64).eps)

# Richardson's extrapolation of two central differences is wrong by h**4 and by eps / h.
STEP = EPS ** (1 / 5)
SHRINK = (1.0, 1 / 30, 1 / 1000)  # what is tried when a step crosses a kink, or leaves the domain


@dataclass(frozen=True)
class Slope:
    """The derivative of each root along a direction; ``crossed`` lists the kinks in the way."""

    values: list[Array]
    crossed: tuple[Node, ...] = ()
    step: float = 0.0


def pick_method(problem: Problem, method: str) -> tuple[str, str]:
    """The method for this graph, and why."""
    order = [n for n in toposort([problem.output], stop=problem.frozen) if not is_leaf(n)]
    active = depending_on(order, problem.wrt)
    found = [(n, why) for n in order if n in active and (why := complex_step.obstacle(n))]
    if method == "auto" and found:
        node, why = found[0]
        return "central", f"auto: {why} ({node.line or 'no line'})"
    if method == "auto":
        return "complex", "auto: every primitive between output and wrt has a complex form"
    return method, "asked for"


class Slopes:
    """Derivatives of ``roots`` along directions from a problem's point; programs are kept."""

    def __init__(
        self, problem: Problem, roots: Sequence[Node], method: str, step: float | None
    ) -> None:
        self.problem, self.roots, self.method = problem, list(roots), method
        self.step = step or (complex_step.STEP if method == "complex" else STEP)
        order = toposort([problem.output], stop=problem.frozen)
        active = depending_on(order, problem.wrt)
        self.switches = [node for node in switches(order) if node in active]
        watched = [operand for node in self.switches for operand in node.inputs]
        self._all = [*self.roots, *dict.fromkeys(watched)]
        self._programs: dict[Node | None, Program] = {}
        self._base: list[Array] | None = None

    def along(self, node: Node, direction: Array) -> Slope:
        """The derivatives when ``node`` alone moves along ``direction``."""
        with np.errstate(all="ignore"):
            if self.method == "complex":
                return self._complex(node, direction)
            for shrink in SHRINK:
                slope = self._central(node, direction, self.step * shrink)
                if not slope.crossed and all(np.isfinite(v).all() for v in slope.values):
                    break
            return slope

    def _complex(self, node: Node, direction: Array) -> Slope:
        reals = self.problem.values[node]
        found = self._run(node, reals + 1j * self.step * direction)
        crossed = self._crossed(found, [(found, 1), (found, -1)])
        slopes = [np.asarray(np.imag(v)) / self.step for v in found[: len(self.roots)]]
        return Slope(slopes, crossed, self.step)

    def _central(self, node: Node, direction: Array, step: float) -> Slope:
        x = self.problem.values[node]
        h = step * _stretch(x, direction)
        around = [self._run(node, x + part * h * direction) for part in (1, -1, 0.5, -0.5)]
        if self._base is None:
            self._base = self._run(node, x)
        crossed = self._crossed(self._base, [(moved, 0) for moved in around])
        roots = [moved[: len(self.roots)] for moved in around]
        slopes = [
            np.asarray((4 * (near - behind) / h - (far - back) / (2 * h)) / 3)
            for far, back, near, behind in zip(*roots, strict=True)
        ]
        return Slope(slopes, crossed, h)

    def _run(self, node: Node, value: Array) -> list[Array]:
        key = self._key(node)
        if key not in self._programs:
            fed = [*self.problem.frozen, *([] if key is None else [node])]
            evals = complex_step.OVERRIDES if self.method == "complex" else None
            self._programs[key] = lower(self._all, fed=fed, evals=evals)
        values = {**self.problem.values, **self.problem.frozen, node: value}
        return self._programs[key].run(values, self.problem.dims)

    def _key(self, node: Node) -> Node | None:
        """Leaves share one program; a node in the middle is fed, so it has its own."""
        return None if is_leaf(node) and node.prim.name != "constant" else node

    def _crossed(
        self, base: list[Array], moved: Sequence[tuple[list[Array], int]]
    ) -> tuple[Node, ...]:
        """The switches that are on another branch in any of the moved points."""
        at = {node: i for i, node in enumerate(self._all)}
        crossed = []
        for node in self.switches:
            places = [at[operand] for operand in node.inputs]
            here = branches(node, [base[i] for i in places])
            for arrays, side in moved:
                if np.any(branches(node, [arrays[i] for i in places], side) != here):
                    crossed.append(node)
                    break
        return tuple(crossed)


def _stretch(x: Array, direction: Array) -> float:
    """The size of the numbers that move: a step is relative to it."""
    moving = np.abs(x[direction != 0])
    return max(float(np.max(moving, initial=0.0)), 1e-2) / max(
        float(np.max(np.abs(direction), initial=0.0)), 1e-300
    )


def rounding(cotangents: Mapping[Node, Array], values: Mapping[Node, Array]) -> float:
    """How far rounding moves the output, in units of eps: the largest sum of |ct * value|."""
    sums = [float(np.sum(np.abs(ct * values[node]))) for node, ct in cotangents.items()]
    return max([s for s in sums if np.isfinite(s)], default=0.0)
