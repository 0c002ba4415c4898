"""Analytic against numeric: one problem, every input of it, a verdict for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..autodiff import vjp
from ..backends.feed import Array
from ..backends.interpreter import lower
from ..ir import GradientError, Node, depending_on, toposort
from ..primitives import broadcast_to, constant
from ..primitives.leaf import INPUT
from .numeric import EPS, Slope, Slopes, rounding
from .problem import Problem
from .report import Entry, Kink

RTOL = {"complex": 1e-9, "central": 1e-6}
SILENT = 1e-10  # a derivative this small against the terms that cancel in it carries no signal
ROWS = 16  # an output of at most so many elements has every row of its Jacobian checked


@dataclass(frozen=True)
class Options:
    """How hard to look; see `gradcheck` for what each means."""

    method: str
    rtol: float
    seed: int = 0
    step: float | None = None
    directions: int = 4
    elements: int = 64


@dataclass(frozen=True)
class Case:
    """One direction of one input under one cotangent."""

    index: tuple[int, ...] | None
    analytic: float
    numeric: float

    def excess(self, rtol: float, noise: float) -> float:
        """The error in units of what is tolerated; infinite when it is no number."""
        difference = abs(self.analytic - self.numeric)
        size = max(abs(self.analytic), abs(self.numeric))
        found = difference / max(rtol * size + noise, 1e-300)
        return found if np.isfinite(found) else np.inf


@dataclass(frozen=True)
class Scale:
    """How large the terms are whose sum is a derivative, and how far rounding moves that sum."""

    terms: float
    noise: float

    @property
    def floor(self) -> float:
        return max(SILENT * self.terms, self.noise)


class Comparison:
    """The two sides of a problem; `entries` judges every input."""

    def __init__(self, problem: Problem, options: Options, order: int, names: Mapping[Node, str]):
        self.problem, self.options, self.order, self.names = problem, options, order, names
        self.rng = np.random.default_rng([options.seed, 2, order])
        self.kinks: list[Kink] = []
        output = problem.output
        self.ct = INPUT(name="ct", shape=output.shape, dtype=output.dtype)
        steps = toposort([output], stop=problem.frozen)
        active = depending_on(steps, problem.wrt)
        inner = [n for n in steps if n in active and n.type.is_float and n not in problem.wrt]
        self.inner = [*problem.wrt, *inner]
        self._analyse()
        self.slopes = Slopes(problem, [output], options.method, options.step)
        self.wide = Slopes(problem, self.inner, options.method, options.step)

    def _analyse(self) -> None:
        """The gradient for each cotangent, and for the first one the cotangent of every node."""
        problem, output = self.problem, self.problem.output
        self.inner_values = problem.run(self.inner)
        self.defined = bool(np.isfinite(problem.run([output])[0]).all())
        shape = tuple(problem.dims[d] if isinstance(d, str) else d for d in output.shape)
        self.cts = _cotangents(self.rng, shape)
        gradients = connected(output, problem.wrt, self.ct)
        program = lower([g for g in gradients if g is not None], fed=list(problem.frozen))
        fed = {**problem.values, **problem.frozen}
        self.gradients: list[list[Array | None]] = []
        for ct in self.cts:
            arrays = iter(program.run({**fed, self.ct: ct}, problem.dims))
            self.gradients.append([None if g is None else next(arrays) for g in gradients])
        pulled = lower(_pull(output, self.inner, self.ct), fed=list(problem.frozen))
        arrays_ = pulled.run({**fed, self.ct: self.cts[0]}, problem.dims)
        self.cotangents = dict(zip(self.inner, arrays_, strict=True))

    def entries(self) -> list[Entry]:
        """A verdict for each input."""
        return [self._entry(j) for j in range(len(self.problem.wrt))]

    def _entry(self, j: int) -> Entry:
        node = self.problem.wrt[j]
        x, name = self.problem.values[node], self.names[node]
        entry = Entry(name, self.order, "empty", "no elements")
        if x.size == 0:
            return entry
        scale = self._scale(node, x)
        cases = list(self._cases(j, node, x))
        every = x.size <= self.options.elements
        elements = len({case.index for case in cases} - {None})
        what = "every element" if every else f"{elements} of {x.size} elements"
        entry = replace(entry, checked=what)
        if not cases:
            return replace(entry, verdict="kinks only")
        worst = _worst(cases, self.options.rtol, scale.noise)
        size = max(abs(worst.analytic), abs(worst.numeric), scale.floor, 1e-300)
        entry = replace(
            entry,
            index=worst.index,
            analytic=worst.analytic,
            numeric=worst.numeric,
            error=abs(worst.analytic - worst.numeric) / size,
        )
        return self._judged(entry, cases, worst, scale, self.gradients[0][j] is not None)

    def _judged(
        self, entry: Entry, cases: list[Case], worst: Case, scale: Scale, flows: bool
    ) -> Entry:
        numbers = np.array([(case.analytic, case.numeric) for case in cases])
        if not (self.defined and np.isfinite(numbers).all()):
            note = "" if self.defined else "the output itself is not finite"
            return replace(entry, verdict="not finite", error=np.inf, note=note)
        if worst.excess(self.options.rtol, scale.noise) > 1:
            note = "" if flows else "no gradient flows to it"
            return replace(entry, verdict="mismatch", note=note)
        if np.max(np.abs(numbers)) > scale.floor:
            return replace(entry, verdict="ok")
        return replace(entry, verdict="vacuous" if flows else "unconnected", error=0.0)

    def _cases(self, j: int, node: Node, x: Array) -> Iterator[Case]:
        still = np.zeros(x.shape, bool)  # elements at a kink: random directions leave them alone
        for index in self._elements(j, x):
            direction = np.zeros(x.shape)
            direction[index] = 1.0
            slope = self.slopes.along(node, direction)
            if slope.crossed:
                still[index] = True
                self._skip(node, index, slope)
            else:
                yield from self._paired(j, direction, slope, index)
        few = 2 if x.size <= self.options.elements else self.options.directions
        for _ in range(0 if still.all() else few):
            for _attempt in range(3):
                direction = np.where(still, 0.0, self.rng.normal(size=x.shape))
                slope = self.slopes.along(node, direction)
                if not slope.crossed:
                    yield from self._paired(j, direction, slope, None)
                    break
            else:
                self._skip(node, None, slope)

    def _paired(
        self, j: int, direction: Array, slope: Slope, index: tuple[int, ...] | None
    ) -> Iterator[Case]:
        for ct, gradients in zip(self.cts, self.gradients, strict=True):
            gradient = gradients[j]
            with np.errstate(all="ignore"):
                if gradient is None:
                    analytic = 0.0
                elif index is not None:  # not a sum with zeros, which a NaN elsewhere would spoil
                    analytic = float(gradient[index])
                else:
                    analytic = float(np.sum(gradient * direction))
                yield Case(index, analytic, float(np.sum(ct * slope.values[0])))

    def _elements(self, j: int, x: Array) -> Iterator[tuple[int, ...]]:
        """Every index of a small input; of a large one the steepest and some at random."""
        if x.size <= self.options.elements:
            yield from np.ndindex(*x.shape)
            return
        gradient = self.gradients[0][j]
        flat = set(self.rng.choice(x.size, 7, replace=False).tolist())
        if gradient is not None and np.isfinite(gradient).any():
            flat.add(int(np.nanargmax(np.abs(gradient))))
        for position in sorted(flat):
            yield tuple(int(i) for i in np.unravel_index(position, x.shape))

    def _scale(self, node: Node, x: Array) -> Scale:
        """Sum |ct * tangent| at the node where it is largest: what cancels on the way."""
        slope = self.wide.along(node, np.asarray(self.rng.normal(size=x.shape)))
        values = dict(zip(self.inner, self.inner_values, strict=True))
        tangents = dict(zip(self.inner, slope.values, strict=True))
        with np.errstate(all="ignore"):
            terms = rounding(self.cotangents, tangents)
            noise = 32 * EPS * terms
            if self.options.method == "central":
                noise += 16 * EPS * rounding(self.cotangents, values) / max(slope.step, 1e-300)
        return Scale(terms, noise)

    def _skip(self, node: Node, index: tuple[int, ...] | None, slope: Slope) -> None:
        kink = slope.crossed[0]
        found = kink.prim.name, str(kink.scope), kink.line
        self.kinks.append(Kink(self.names[node], self.order, index, *found))


def _worst(cases: Sequence[Case], rtol: float, noise: float) -> Case:
    """The worst element; a direction only when every element is right (or none was tried)."""
    ranked = sorted(cases, key=lambda c: (c.excess(rtol, noise), abs(c.analytic)))
    elements = [case for case in ranked if case.index is not None] or ranked
    wrong = ranked[-1].excess(rtol, noise) > 1 >= elements[-1].excess(rtol, noise)
    return ranked[-1] if wrong else elements[-1]


def connected(output: Node, nodes: Sequence[Node], ct: Node) -> list[Node | None]:
    """The gradient by each node as `grad` gives it, None where it gives none."""
    try:
        return list(vjp([output], nodes, [ct]))
    except GradientError:
        if len(nodes) == 1:
            return [None]
    return [found for node in nodes for found in connected(output, [node], ct)]


def _pull(output: Node, nodes: Sequence[Node], ct: Node) -> list[Node]:
    """The cotangent of each node, zero where none flows.

    Each node also counts as an output with the cotangent zero, so one sweep reaches them all.
    """
    zeros = [broadcast_to(constant(np.zeros(())), node.shape) for node in nodes]
    return vjp([output, *nodes], nodes, [ct, *zeros])


def _cotangents(rng: np.random.Generator, shape: Any) -> list[Array]:
    """Random cotangents: two dense ones, and one for each row of a small Jacobian."""
    size = int(np.prod(shape))
    dense = [np.asarray(rng.choice([-1, 1], shape) * rng.uniform(0.5, 1.5, shape)) for _ in "12"]
    if size == 1 or size > ROWS:
        return dense[:1] if size == 1 else dense
    rows = [np.zeros(shape) for _ in range(size)]
    for i, row in enumerate(rows):
        row.flat[i] = dense[0].flat[i]
    return [*dense, *rows]
