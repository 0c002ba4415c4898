"""Graphs computed in float64 at random points, to see whether two of them are one function."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ...ir import Dim, Graph, GraphError, Node, consumers, is_leaf, toposort
from ...primitives import initial_value
from ..norms_probe import Trial, compute

Array: TypeAlias = np.ndarray[Any, Any]

TOLERANCE = 1e-9
SIZES = (7, 5, 3, 11, 4, 6)  # of named dims; all differ, so that axes do not mix up
SMALLER = (3, 4, 2, 5, 6, 7)  # where a graph is large: one point is enough to wait for
LARGE = 10_000_000  # elements of all its values


def points(graph: Graph, count: int = 3) -> list[Trial]:
    """Random points: sizes of named dims, and a number for every leaf of a graph.

    Inputs are normal, or positive where the graph is not finite otherwise. Parameters are near
    their start but not on it: a gamma of 1 or a bias of 0 would hide much. States that start at 0
    are small and positive, as second moments are.
    """
    order = toposort([*graph.roots, *graph.replacements, *graph.replacements.values()])
    leaves = [n for n in {**dict.fromkeys(graph.inputs), **dict.fromkeys(order)} if is_leaf(n)]
    named = sorted({d for n in (*order, *graph.inputs) for d in n.shape if isinstance(d, str)})
    dims = _sizes(named, SIZES)
    large = sum(math.prod(Trial(dims, 0).shape(node.shape)) for node in order) > LARGE
    if large:
        count, dims = 1, _sizes(named, SMALLER)
    limits = _limits(order)
    found = []
    for seed in range(count):
        for positive in (False, True):
            trial = Trial(dims, seed)
            for leaf in leaves:
                if leaf.prim.name != "constant":
                    trial.leaves[leaf] = _drawn(leaf, trial, limits.get(leaf, 2), positive)
            if _is_finite(graph, trial):
                break
        found.append(trial)
    return found


def _sizes(named: Sequence[str], cycle: Sequence[int]) -> dict[Dim, int]:
    return {d: cycle[i % len(cycle)] + 8 * (i // len(cycle)) for i, d in enumerate(named)}


def values(
    roots: Sequence[Node], trial: Trial, given: Mapping[Node, Array] | None = None
) -> list[Array]:
    """The values of ``roots`` at a point; GraphError where an op fails there."""
    known: dict[Node, Array] = dict(given or {})
    try:
        compute(toposort(roots, stop=known), known, trial)
    except (ValueError, TypeError, ArithmeticError, KeyError, IndexError, AssertionError) as error:
        raise GraphError(f"lint: the graph cannot be computed: {error}") from error
    return [known[root] for root in roots]


def disagreement(
    before: Graph, after: Graph, trials: Iterable[Trial], exempt: Iterable[str] = ()
) -> float:
    """The largest difference of any output or update, relative to the largest element of it.

    Updates of the states in ``exempt``, and of those that only one graph moves, are left out.
    Infinite where an output is missing, has another shape or is NaN on one side only.
    """
    if set(before.outputs) != set(after.outputs):
        return float("inf")
    skip = set(exempt)
    moved = {u.state.name: u.value for u in after.updates if u.state.name not in skip}
    pairs = [(node, after.outputs[name]) for name, node in before.outputs.items()]
    pairs += [(u.value, moved[u.state.name]) for u in before.updates if u.state.name in moved]
    worst = 0.0
    for trial in trials:
        both = values([node for pair in pairs for node in pair], trial)
        for a, b in zip(both[::2], both[1::2], strict=True):
            worst = max(worst, difference(a, b))
    return worst


def difference(a: Array, b: Array) -> float:
    """``max |a - b| / max |a|``; infinite for other shapes and for numbers that are not finite."""
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    if not a.size:
        return 0.0
    wide, other = a.astype(np.float64), b.astype(np.float64)
    largest = float(np.abs(wide).max())
    return float(np.abs(wide - other).max()) / (largest or 1.0)


def _drawn(leaf: Node, trial: Trial, limit: int, positive: bool) -> Array:
    rng = np.random.default_rng([trial.seed, 7, *leaf.name.encode()])
    shape = trial.shape(leaf.shape)
    if leaf.prim.name == "input":
        if leaf.type.is_float:
            return rng.uniform(0.5, 1.5, shape) if positive else rng.normal(0.3, 1.0, shape)
        return rng.integers(0, limit, shape).astype(leaf.dtype)
    start = initial_value(leaf, trial.seed)
    if not leaf.type.is_float:
        return start
    wide = start.astype(np.float64)
    if leaf.prim.name == "parameter":
        return wide + rng.uniform(0.1, 0.3, shape) * np.where(rng.random(shape) < 0.5, -1, 1)
    return np.where(wide == 0, rng.uniform(0.01, 0.1, shape), wide * rng.uniform(0.5, 1.5, shape))


def _limits(order: Sequence[Node]) -> dict[Node, int]:
    """How large an int input may be: less than the axis that it indexes."""
    found: dict[Node, int] = {}
    for leaf, users in consumers(order).items():
        for user in users:
            if user.prim.name in ("take", "scatter_add") and leaf is user.inputs[1]:
                table = user.inputs[0] if user.prim.name == "take" else user
                size = table.shape[user.attrs["axis"]]
                if isinstance(size, int):
                    found[leaf] = min(size, found.get(leaf, size))
    return found


def _is_finite(graph: Graph, trial: Trial) -> bool:
    roots = [*graph.outputs.values(), *[u.value for u in graph.updates]]
    try:
        return all(np.isfinite(v).all() for v in values(roots, trial) if v.dtype.kind == "f")
    except GraphError:
        return False
