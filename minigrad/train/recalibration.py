"""Precise statistics: the running statistics of trained weights, computed afresh over a data set.

An EMA follows weights that move, with batches that are small; what inference needs are the
statistics of the final weights over the population (Wu and Johnson 2021, "Rethinking 'Batch' in
BatchNorm", section 3, PreciseBN).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, TypeAlias

import numpy as np

from ..backends import State, compile
from ..ir import Graph, GraphError, Node, place
from .data import Dataset
from .data import batches as in_batches
from .tracked import Tracked, frozen_graph, tracked_states

Array: TypeAlias = np.ndarray[Any, Any]
Feeds: TypeAlias = Dataset | Iterable[Mapping[str, Any]]

ESTIMATORS = ("pooled", "average")
EARLIER = ("recalibrated", "batch")


def recalibrate(
    graph: Graph,
    state: State,
    batches: Feeds,
    *,
    estimator: str = "pooled",
    earlier: str = "recalibrated",
    batch_size: int = 256,
    backend: str = "native",
) -> State:
    """The state with running statistics taken over a data set, for the weights as they are.

    Parameters
    ----------
    graph : the training graph, with or without an optimiser.
    batches : feeds by name of input, in batches of any sizes, or a `Dataset`, cut into batches of
        ``batch_size``. What the statistics do not need is not looked at. Masks and weights are
        fed like any input, and count as they do in training.
    estimator : "pooled" gives mean and variance of all elements as one population, whatever the
        batches: the batches' means and squared distances are joined by Chan, Golub and LeVeque
        1983, "Algorithms for computing the sample variance", eq. 2.1. "average" gives the mean
        over the batches of what training tracks, each batch weighted by its elements: what the
        EMA would come to, with the batch size in it.
    earlier : what the layers before a layer normalise with while its statistics are taken.
        "recalibrated": their new running statistics, as at inference, so that inference is right
        for this very data; one pass over the data for each layer on the longest path. "batch":
        the statistics of each batch, as in training; one pass in all.

    A layer whose convention is unbiased gets the unbiased variance of the population, M2/(N-1).
    Dropout is off. Sums are float64. With "pooled" and "recalibrated" the inference graph
    answers, on this data, what the training graph answers when fed all of it as one batch.

    Raises GraphError when the graph tracks nothing, when there is no data, and when "pooled" is
    asked of a statistic that is neither a mean nor a variance.

    >>> import minigrad as mg
    >>> g = mg.Graph([], mg.nn.BatchNorm(1, name="bn")(mg.input("x", ("N", 1))))
    >>> start = mg.compile(g).init_state()
    >>> found = mg.recalibrate(g, start, [{"x": [[1.0], [2.0]]}, {"x": [[6.0]]}])
    >>> found["bn/running_mean"], found["bn/running_var"].round(4)
    (array([3.], dtype=float32), array([4.6667], dtype=float32))
    """
    for name, given, known in (("estimator", estimator, ESTIMATORS), ("earlier", earlier, EARLIER)):
        if given not in known:
            raise GraphError(f"recalibrate: {name}={given!r} is not one of {', '.join(known)}")
    found = tracked_states(graph)
    if not found:
        raise GraphError(
            "recalibrate: the graph tracks no running statistics; give the training graph, not "
            "the inference graph made from it"
        )
    if estimator == "pooled":
        _check_known(found)
    feeds = feeds_of(batches, batch_size)
    if earlier == "batch":
        every = [node for tracked in found for node in tracked.own]
        keep = {tracked.state: every for tracked in found}
        levels = [found]
    else:
        keep = {tracked.state: list(tracked.own) for tracked in found}
        levels = _levels(graph, found, keep)
    for level in levels:
        probes = [Probe.of(graph, tracked, keep[tracked.state]) for tracked in level]
        state = {**state, **_measured(probes, feeds, state, estimator, backend)}
    return state


def feeds_of(batches: Feeds, batch_size: int) -> Callable[[], Iterator[Mapping[str, Any]]]:
    """A function that starts over on the same feeds each time it is called."""
    if isinstance(batches, Dataset):
        data = batches
        return lambda: ({"x": part.x, "t": part.t} for part, _ in in_batches(data, batch_size))
    if isinstance(batches, Mapping):
        raise GraphError("recalibrate: batches is one feed; give a list of feeds, or a Dataset")
    known: Iterable[Mapping[str, Any]] = batches if isinstance(batches, Sequence) else [*batches]
    return lambda: iter(known)


# --- one statistic ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """The nodes to compute on each batch for one running statistic."""

    tracked: Tracked
    nodes: dict[str, Node]  # statistic, weight, centre; base, slope

    @classmethod
    def of(cls, graph: Graph, tracked: Tracked, keep: Iterable[Node]) -> Probe:
        base, slope = tracked.target()
        nodes = {"base": base, "slope": slope}
        known = tracked.statistic
        if known is not None:
            nodes |= {"statistic": known.node, "weight": known.weight}
            if known.centre is not None:
                nodes["centre"] = known.centre
        frozen = frozen_graph(graph, nodes, keep)
        return cls(tracked, dict(frozen.outputs))

    def shaped(self, own: Mapping[str, Array]) -> tuple[Array, Array]:
        """Weight and statistic of a batch, in the shape of the state."""
        weight = np.broadcast_to(own["weight"], own["statistic"].shape)
        return weight.reshape(self.tracked.shape), own["statistic"].reshape(self.tracked.shape)

    def observed(self, own: Mapping[str, Array], rows: float) -> tuple[Array, Array]:
        """What training tracks of a batch, and its weight: ``rows`` where nothing else is known."""
        if "statistic" not in own:
            moves, target = self._target(own)
            return np.where(moves, rows, 0.0), target
        weight, statistic = self.shaped(own)
        return weight, statistic * _bessel(weight) if self.is_unbiased(own) else statistic

    def is_unbiased(self, own: Mapping[str, Array]) -> bool:
        """Whether the update tracks ``v * n / (n - 1)``: which its target is nearer to."""
        if "centre" not in own:
            return False
        n, v = self.shaped(own)
        moves, target = self._target(own)
        usable = moves & (v > 0) & (n > 1)
        ratio, factor = target[usable] / v[usable], _bessel(n)[usable]
        nearer = np.abs(ratio - factor) < np.abs(ratio - 1)
        return bool(usable.any() and nearer.all())

    def _target(self, own: Mapping[str, Array]) -> tuple[Array, Array]:
        """Whether the update moves the state, and what to; see `Tracked.target`."""
        base, slope = (np.broadcast_to(own[k], self.tracked.shape) for k in ("base", "slope"))
        moves = slope != 1
        return moves, base / np.where(moves, 1 - slope, 1)


@dataclass
class Sums:
    """What has been seen of one statistic: total weight, mean, and squared distances from it."""

    weight: Any = 0.0
    mean: Any = 0.0
    squares: Any = 0.0

    def add(self, weight: Array, mean: Array, squares: Array | float = 0.0) -> None:
        """Join a batch to the rest (Chan et al. 1983, eq. 2.1)."""
        total = self.weight + weight
        safe = np.where(total > 0, total, 1)
        delta = np.where(weight > 0, mean - self.mean, 0)
        self.squares = self.squares + np.where(
            weight > 0, squares + delta**2 * self.weight * weight / safe, 0
        )
        self.mean = self.mean + delta * weight / safe
        self.weight = total


def _measured(
    probes: Sequence[Probe],
    feeds: Callable[[], Iterator[Mapping[str, Any]]],
    state: State,
    estimator: str,
    backend: str,
) -> dict[str, Array]:
    """The new value of every state probed, after one pass over the data."""
    outputs = {f"{i} {role}": n for i, p in enumerate(probes) for role, n in p.nodes.items()}
    graph = Graph((), outputs)
    run = compile(graph, backend)
    needed = [node.name for node in graph.inputs]
    sums = [Sums() for _ in probes]
    unbiased = [False] * len(probes)
    seen = False
    for feed in feeds():
        seen = True
        values, _ = run(state, **{name: feed[name] for name in needed if name in feed})
        rows = _rows(feed, graph)
        for i, probe in enumerate(probes):
            own = {role: np.asarray(values[f"{i} {role}"], np.float64) for role in probe.nodes}
            unbiased[i] = unbiased[i] or probe.is_unbiased(own)
            _add(sums[i], own, probe, estimator, rows)
    if not seen:
        raise GraphError("recalibrate: there are no batches, nothing to take statistics of")
    return {
        probe.tracked.state.name: _result(probe, total, estimator == "pooled", corrected)
        for probe, total, corrected in zip(probes, sums, unbiased, strict=True)
    }


def _add(sums: Sums, own: dict[str, Array], probe: Probe, estimator: str, rows: float) -> None:
    if "centre" not in own or estimator == "average":
        sums.add(*probe.observed(own, rows))
        return
    weight, statistic = probe.shaped(own)
    sums.add(weight, own["centre"].reshape(statistic.shape), weight * statistic)


def _result(probe: Probe, sums: Sums, pooled: bool, corrected: bool) -> Array:
    state = probe.tracked.state
    if not np.all(sums.weight > 0):
        raise GraphError(
            f"recalibrate: {state.name} saw no element, or its update never moves it; nothing "
            f"could be measured{place(state.scope, state.source)}"
        )
    value = sums.mean
    if "centre" in probe.nodes and pooled:
        value = sums.squares / (sums.weight - 1 if corrected else sums.weight)
    found: Array = np.asarray(np.broadcast_to(value, probe.tracked.shape), state.dtype).copy()
    return found


def _bessel(n: Array) -> Array:
    found: Array = n / np.maximum(n - 1, 1)
    return found


def _rows(feed: Mapping[str, Any], graph: Graph) -> float:
    """The number of examples in a feed: the first dim of its first input."""
    shapes = [np.shape(feed[node.name]) for node in graph.inputs if node.name in feed]
    return float(next((shape[0] for shape in shapes if shape), 1))


# --- order -----------------------------------------------------------------------------------


def _check_known(found: Sequence[Tracked]) -> None:
    for tracked in found:
        if tracked.statistic is None:
            state = tracked.state
            raise GraphError(
                f"recalibrate: {state.name} stands for neither a mean nor a variance that could "
                "be pooled (or for several, in a shared layer); use estimator='average'"
                f"{place(state.scope, state.source)}"
            )


def _levels(
    graph: Graph, found: Sequence[Tracked], keep: Mapping[Node, Sequence[Node]]
) -> list[list[Tracked]]:
    """The statistics in groups; each reads, at inference, only those of the groups before."""
    by_state = {tracked.state: tracked for tracked in found}
    needs: dict[Node, set[Node]] = {}
    for state, tracked in by_state.items():
        nodes = Probe.of(graph, tracked, keep[state]).nodes
        leaves = Graph((), nodes).leaves
        needs[state] = {leaf for leaf in leaves if leaf in by_state and leaf is not state}
    sorter = TopologicalSorter(needs)
    try:
        sorter.prepare()
    except CycleError as error:
        names = ", ".join(dict.fromkeys(node.name for node in error.args[1]))
        raise GraphError(
            f"recalibrate: {names} need each other, as in layers that are used by turns; use "
            "earlier='batch'"
        ) from None
    levels = []
    while sorter.is_active():
        ready = sorter.get_ready()
        levels.append([tracked for tracked in found if tracked.state in set(ready)])
        sorter.done(*ready)
    return levels
