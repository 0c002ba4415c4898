"""Which node of the graph is gamma, which is beta: arrays matched with what enters the formula.

`affine` gives gamma and beta as numbers, by element. Here they get names: a weight as it stands,
its negative, a multiple, or a product, quotient, sum or difference of two (``(xhat + b) * g`` has
beta ``g * b``). What has no name in the graph is refused, so that no field of a hit is a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from ..ir import Node, enter
from ..primitives import constant
from .norms_probe import Array, Sample, Trial, close, viewed

Steps = tuple[Node, ...]  # the views that lead from x to where a term stands

_PAIRS: Mapping[str, Callable[[Array, Array], Array]] = {
    "*": lambda p, q: p * q,
    "/": lambda p, q: p / q,
    "+": lambda p, q: p + q,
    "-": lambda p, q: p - q,
}
_BUILD: Mapping[str, Callable[[Node, Node], Node]] = {
    "*": lambda p, q: p * q,
    "/": lambda p, q: p / q,
    "+": lambda p, q: p + q,
    "-": lambda p, q: p - q,
}
_MOST = 8  # operands tried in pairs


@dataclass(frozen=True)
class Term:
    """``factor * (p op q)``, ``factor * p``, or a number alone."""

    factor: float
    operands: tuple[Node, ...] = ()
    op: str = ""
    steps: Steps = ()  # the layout in which the operands stand beside x

    @property
    def is_number(self) -> bool:
        return not self.operands

    def same(self, other: Term) -> bool:
        return (self.factor, self.operands, self.op) == (other.factor, other.operands, other.op)

    def build(self, original: Callable[[Node], Node], like: Node) -> Node:
        """The node, rebuilt in the scope of ``like`` where the graph does not hold it as such."""
        nodes = [original(node) for node in self.operands]
        with enter(like.scope):
            if not nodes:
                return constant(np.asarray(self.factor, like.dtype))
            node = nodes[0] if len(nodes) == 1 else _BUILD[self.op](nodes[0], nodes[1])
            if self.factor == 1:
                return node
            return -node if self.factor == -1 else node * self.factor


def name_term(
    arrays: Sequence[Array],
    sample: Sample,
    operands: Sequence[Node],
    layouts: Iterable[Steps],
) -> Term | None:
    """The term that ``arrays`` are (one for each trial, in the layout of x); None without one."""
    first = float(arrays[0].flat[0])
    scale = max(float(np.abs(array).max()) for array in arrays)
    if all(close(array, np.full_like(array, first)) for array in arrays):
        return Term(_rounded(first))
    if scale < 1e-12:
        return Term(0.0)
    for steps in layouts:
        placed = [
            viewed(array, steps, trial) for array, trial in zip(arrays, sample.trials, strict=True)
        ]
        found = _in_layout(placed, sample, operands, steps)
        if found is not None:
            return found
    return None


def zero_term(arrays: Sequence[Array], size: Sequence[float]) -> Term | None:
    """The number 0 for a shift that is nothing beside the scale ``size``."""
    small = all(np.abs(a).max() <= 1e-9 * s for a, s in zip(arrays, size, strict=True))
    return Term(0.0) if small else None


def _in_layout(
    placed: Sequence[Array], sample: Sample, operands: Sequence[Node], steps: Steps
) -> Term | None:
    """Search on some elements, then hold what was found against all of them."""
    values: dict[Node, list[Array]] = {}
    for node in operands:
        found = [_beside(sample, node, t, placed[t].shape) for t in range(len(placed))]
        if all(array is not None for array in found):
            values[node] = [array for array in found if array is not None]
    few = [_some(array) for array in placed]
    some = {node: [_some(array) for array in arrays] for node, arrays in values.items()}
    for node, arrays in values.items():
        factor = _ratio(few, some[node])
        if factor is not None and _ratio(placed, arrays) is not None:
            return Term(factor, (node,), steps=steps)
    several = [n for n in values if not (n.prim.name == "constant" and not n.shape)][:_MOST]
    for p, q in permutations(several, 2):
        for op, apply in _PAIRS.items():
            factor = _ratio(few, _both(apply, some[p], some[q]))
            whole = factor in (1.0, -1.0) and _ratio(placed, _both(apply, values[p], values[q]))
            if factor is not None and whole:
                return Term(factor, (p, q), op, steps)
    return None


def _both(
    apply: Callable[[Array, Array], Array], ps: Sequence[Array], qs: Sequence[Array]
) -> list[Array]:
    with np.errstate(all="ignore"):
        return [apply(p, q) for p, q in zip(ps, qs, strict=True)]


def _some(array: Array) -> Array:
    """At most 32 elements, from everywhere in the array."""
    if array.size <= 32:
        return array.ravel()
    at = np.linspace(0, array.size - 1, 32).astype(int)
    return array[np.unravel_index(at, array.shape)]


def _beside(sample: Sample, node: Node, trial: int, shape: tuple[int, ...]) -> Array | None:
    value = np.asarray(sample.draws[trial][0][node], float)
    try:
        return np.broadcast_to(value, shape)
    except ValueError:
        return None


def _ratio(placed: Sequence[Array], arrays: Sequence[Array]) -> float | None:
    """The one number that ``placed`` is times ``arrays``, in every trial."""
    top, bottom = float(placed[0].flat[0]), float(arrays[0].flat[0])
    if not np.isfinite(bottom) or bottom == 0:
        return None
    factor = top / bottom
    if factor == 0:
        return None
    fits = all(close(factor * a, p) for p, a in zip(placed, arrays, strict=True))
    return _rounded(factor) if fits else None


def _rounded(value: float) -> float:
    """A number freed of the last rounding: 0.9999999999999998 is 1."""
    return float(f"{value:.10g}")


def gathered(array: Array, steps: Steps, trial: Trial, shape: tuple[int, ...]) -> Array:
    """An array of the layout after ``steps``, brought back to the layout before them."""
    index = viewed(np.arange(array.size).reshape(shape), steps, trial)
    found = np.empty(array.size)
    found[index.ravel()] = array.ravel()
    return found.reshape(shape)
