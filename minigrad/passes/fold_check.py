"""A folded graph against the graph it came from: in float64 at random points, and its rounding.

`verify` checks the map behind every op, so that a wrong rule is named and not only noticed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..ir import Graph, GraphError, Node, place
from ..primitives import initial_value
from .fold_algebra import Affine, aligned
from .fold_build import MERGED, Built
from .fold_plan import NEXT_SCALE, NEXT_SHIFT, PREVIOUS_SCALE, Flow, Pull
from .fold_rounding import Array, run
from .fold_rules import STEPS, VIEWS
from .fold_values import Frozen
from .precision import retyped

POINTS = 2
NUMBERS = "numbers in the place of weights"
_SLACK = 16  # times the bound of rounding: float64 tests a rule, it does not time its luck


@dataclass(frozen=True, slots=True)
class Point:
    """Numbers for every leaf, and sizes for the named dims."""

    leaves: Mapping[str, Array]
    dims: Mapping[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Rounding:
    """The rounding of one folded value in the graph's own dtype, for each channel.

    ``before`` and ``after`` bound the error of the value without and with folding, over the points
    tested; ``measured`` is the largest difference from float64 that the folded graph showed.
    ``growth`` is how many times larger the bound became: above 1 where ``|scale * mean|`` is large
    beside the result, so that terms cancel which were subtracted first before.
    """

    node: Node
    before: Array
    after: Array
    measured: Array

    @property
    def growth(self) -> float:
        """The largest ratio of the bounds; 1 where nothing rounds."""
        ratio = np.divide(self.after, self.before, out=np.ones_like(self.after),
                          where=self.before > 0)  # fmt: skip
        return float(ratio.max(initial=0.0))

    def __str__(self) -> str:
        where = f" in {self.node.scope}" if self.node.scope.path else ""
        bound, seen = self.after.max(initial=0.0), self.measured.max(initial=0.0)
        return (
            f"{self.node.prim.name} {self.node.type}{where}: error <= {bound:.2g} "
            f"({self.growth:.2g} times the bound before), measured {seen:.2g}"
        )


def points(graph: Graph, state: Mapping[str, Any] | None, seed: int = 0) -> list[Point]:
    """Random inputs; weights and states as given, or moved at random from where they start.

    States move upwards, so that what starts at 1 or 0 and must not be negative, a variance, stays
    so; parameters by as much as they spread. A point that does not run, or whose results are not
    finite, is passed over for a tamer one; GraphError when none is left that could show something.
    """
    random = np.random.default_rng(seed)
    found = [_point(graph, state, random) for _ in range(POINTS)]
    usable = [point for point in found if point is not None]
    if not usable:
        raise GraphError(
            "fold: no result of the graph is finite at random points, so that folding cannot be "
            "checked; is a running variance negative, or an input out of its domain?"
        )
    return usable


def _point(
    graph: Graph, state: Mapping[str, Any] | None, random: np.random.Generator
) -> Point | None:
    sizes = dict.fromkeys(d for n in graph.nodes for d in n.shape if isinstance(d, str))
    leaves = [n for n in dict.fromkeys([*graph.inputs, *graph.leaves]) if n.name]
    results = list(graph.outputs.values())
    for spread in (1.0, 0.3, 0.03):
        dims = {name: 2 + i + int(random.integers(3)) for i, name in enumerate(sizes)}
        fed = {leaf.name: _numbers(leaf, dims, state, spread, random) for leaf in leaves}
        try:
            found, _ = run(results, fed, dims)
        except (IndexError, ValueError):  # a random label beyond the table that it indexes
            continue
        if all(np.isfinite(found[n]).any() or not found[n].size for n in results):
            return Point(fed, dims)
    return None


def verify(flow: Flow, mapped: Built, built: Built, tested: Sequence[Point]) -> None:
    """Raise GraphError, naming rule and place, unless every map and every result is right.

    ``mapped`` has every core as the maps mean it; in ``built`` scales have gone back into weights.
    """
    claims = [(_rule(flow, n), n, flow.maps[n].of(mapped.core[n])) for n in flow.maps]
    for node in dict.fromkeys([*flow.kept, *flow.graph.outputs.values()]):
        if built.value[node] is not node and node.type.is_float:
            pulled = isinstance(flow.pulls.get(node), Pull)
            claims.append((PREVIOUS_SCALE if pulled else MERGED, node, built.value[node]))
    wide = _in_float64(claims)
    for point in tested:
        _check(claims, wide, point, point, {})


def verify_numbers(before: Graph, after: Graph, tested: Sequence[Point], frozen: Frozen) -> None:
    """Raise GraphError unless a graph of numbers gives the results of the graph it came from."""
    claims = [
        (NUMBERS, node, after.outputs[name])
        for name, node in before.outputs.items()
        if node.type.is_float
    ]
    wide = _in_float64(claims)
    for point in tested:
        _check(claims, wide, point, with_values(point, frozen), frozen.rounded)


def with_values(point: Point, frozen: Frozen) -> Point:
    """The same point for the graph whose weights are numbers."""
    return Point({**point.leaves, **frozen.values}, point.dims)


Claim: TypeAlias = tuple[str, Node, Node]  # a rule, an old node, the new one of the same value


def _in_float64(claims: Sequence[Claim]) -> dict[Node, Node]:
    return retyped([node for _, old, new in claims for node in (old, new)], np.float64)


def _check(
    claims: Sequence[Claim],
    wide: Mapping[Node, Node],
    one: Point,
    other: Point,
    rounded: Mapping[str, Array],
) -> None:
    """Compare old and new values in float64; the first claim that fails is named."""
    unit = 2.0**-53
    values, bounds = run([wide[old] for _, old, _ in claims], one.leaves, one.dims, unit)
    news = [wide[new] for _, _, new in claims]
    found, errors = run(news, other.leaves, other.dims, unit, rounded)
    for rule, old, new in claims:
        a, b = values[wide[old]], found[wide[new]]
        if not _agree(a, b, bounds[wide[old]] + errors[wide[new]]):
            off = float(np.max(np.abs(a - b), where=np.isfinite(a - b), initial=0.0))
            raise GraphError(
                f"fold: rule {rule!r} changes {old.prim.name} {old.type} by up to {off:.3g} at "
                f"a random point{place(old.scope, old.source)}; the graph is not folded"
            )


def roundings(
    pairs: Sequence[tuple[Node, Node, Affine]],
    before: Sequence[Point],
    after: Sequence[Point],
    rounded: Mapping[str, Array],
) -> tuple[Rounding, ...]:
    """Bounds and measured errors of ``(old node, new node, its map)``, over all points.

    ``rounded`` holds by name how far the weights of the folded graph may be from exact ones.
    """
    if not pairs:
        return ()
    old, new = [row[0] for row in pairs], [row[1] for row in pairs]
    wide, narrow = retyped([*old, *new], np.float64), new
    totals: list[list[Array]] = [[] for _ in pairs]
    for one, other in zip(before, after, strict=True):
        exact, first = _bounded([wide[n] for n in old], one, {}, old)
        _, second = _bounded([wide[n] for n in new], other, rounded, new)
        seen, _ = run(narrow, other.leaves, other.dims)
        for i, (a, b, m) in enumerate(pairs):
            off = np.abs(seen[b].astype(np.float64) - exact[wide[a]])
            rows = (first[wide[a]], second[wide[b]], off)
            totals[i].append(np.stack([_by_channel(row, off.shape, m) for row in rows]))
    return tuple(
        Rounding(a, *np.max(np.stack(rows), axis=0))
        for (a, _, _), rows in zip(pairs, totals, strict=True)
    )


def _bounded(
    roots: Sequence[Node], point: Point, rounded: Mapping[str, Array], plain: Sequence[Node]
) -> tuple[dict[Node, Array], dict[Node, Array]]:
    unit = max(float(np.finfo(node.dtype).eps) for node in plain) / 2
    return run(roots, point.leaves, point.dims, unit, rounded)


def _by_channel(error: Array, shape: tuple[int, ...], m: Affine) -> Array:
    """The largest error along the axes in which neither scale nor shift varies."""
    full = np.broadcast_to(error, shape)
    parts = [aligned(part, full.ndim).shape for part in (m.scale, m.shift) if part is not None]
    axes = tuple(i for i in range(full.ndim) if all(part[i] == 1 for part in parts))
    return np.asarray(full.max(axis=axes, initial=0.0)).ravel()


def _agree(a: Array, b: Array, bound: Array) -> bool:
    """Within the rounding of float64; where an op has no known bound, within 1e-9 of the scale.

    What was finite must be finite; what was not may be anything.
    """
    if a.shape != b.shape:
        return False
    finite = np.isfinite(a)
    size = float(np.max(np.abs(a), where=finite, initial=0.0))
    limit = np.where(np.isfinite(bound), _SLACK * bound, 1e-9 * size) + 1e-300
    return bool(np.all((np.abs(a - b) <= limit) | ~finite))


def _rule(flow: Flow, node: Node) -> str:
    operand = flow.operand(node)
    if node in flow.sinks and operand is not None:
        m = flow.outgoing(operand)
        names = [NEXT_SCALE] * (m.scale is not None) + [NEXT_SHIFT] * (m.shift is not None)
        return " or ".join(names)
    name = node.prim.name
    return STEPS[name].name if name in STEPS else VIEWS[name].name


def _numbers(
    leaf: Node,
    dims: Mapping[str, int],
    state: Mapping[str, Any] | None,
    spread: float,
    random: np.random.Generator,
) -> Array:
    shape = tuple(dims[d] if isinstance(d, str) else d for d in leaf.shape)
    kind = leaf.dtype.kind
    if leaf.prim.name != "input":
        if state is not None:
            return np.asarray(state[leaf.name], leaf.dtype)
        start = initial_value(leaf, 0)
        if kind == "f" and leaf.prim.name == "parameter" and spread == 1:
            moved = random.standard_normal(shape) * (float(np.std(start)) or 0.5)
        else:
            moved = spread * random.random(shape) * (kind == "f")
        return np.asarray(start + moved, leaf.dtype)
    if kind != "f":
        return random.integers(0, 1 + (spread == 1), shape).astype(leaf.dtype)
    return np.asarray(spread * random.standard_normal(shape), leaf.dtype)
