"""Running statistics for batch norms that were written by hand, without a layer and `track`.

`find_norms` says which nodes are batch means and variances; here each gets a state, and the EMA
that moves it, exactly as `nn.BatchNorm` gives them. `to_inference` does the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..ir import (
    Graph,
    GraphError,
    Node,
    Scope,
    Shape,
    Update,
    broadcast_shapes,
    enter,
    place,
    promote,
    toposort,
)
from ..ir.graph import require_graph
from ..ir.types import FLOAT32
from ..primitives import cast, count, mean, reshape, sqrt, state
from .conventions import CONVENTIONS, CUMULATIVE
from .norms import Norm, find_norms

_REDUCTIONS = frozenset({"mean", "sum", "matmul", "count"})


def track_statistics(
    graph: Graph, decay: float | str | None = None, convention: str = "keras"
) -> Graph:
    """The graph with running statistics for every batch norm that has none.

    Parameters
    ----------
    graph : a training graph; its batch norms may be spelled in any way that `find_norms` knows.
    decay : of the EMA, ``decay * running + (1 - decay) * batch``; ``"cumulative"`` averages all
        steps equally. By default the convention's: 0.99 for keras.
    convention : a framework's presets, as for `nn.BatchNorm`: whether the running variance follows
        the biased variance (keras, flax, onnx) or n / (n - 1) times it (pytorch, mlx, ...).

    Nodes and outputs stay as they are; states and updates are added. A state is called
    ``running_mean`` or ``running_var`` behind the scope of the norm, or behind that of its gamma,
    or behind ``batch_norm1``. Norms with the same gamma and beta are one layer used twice: they
    share their states, which move once for each use, in order of use. Norms that do not mix rows
    (layer, instance, group, RMS) and batch norms that are tracked already are left alone.

    Raises GraphError for an unknown convention or decay, and for a norm that keeps a dim of
    unknown size; ShapeError where an unbiased variance is asked of one element.

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 3))
    >>> c = x - mg.mean(x, 0)
    >>> g = mg.track_statistics(mg.Graph([x], {"y": c / mg.sqrt(mg.mean(c * c, 0) + 1e-3)}))
    >>> [u.state.name for u in g.updates], bool(mg.batch_dependence(mg.to_inference(g)))
    (['batch_norm1/running_mean', 'batch_norm1/running_var'], True)
    """
    require_graph("track_statistics", graph)
    ema = _Ema(_decay(decay, convention), CONVENTIONS[convention].unbiased)
    found = [norm for norm in find_norms(graph) if _wants_statistics(norm, graph)]
    layers: dict[object, _Running] = {}
    replacements = dict(graph.replacements)
    updates: dict[Node, Update] = {}
    names = _Names({node.name for node in (*graph.inputs, *graph.leaves) if node.name})
    for norm in found:
        weights = {n.prim.name for n in (norm.gamma, norm.beta) if n is not None}
        key = (norm.gamma, norm.beta) if weights == {"parameter"} else norm.y
        if key not in layers:
            layers[key] = _running(norm, names, ema)
        running = layers[key]
        with enter(Scope(running.path)):
            observed = _observed(norm, running.shape, ema)
            cut = _cut_of(norm)
            for role, estimate in zip(running.states, cut or (None, None), strict=True):
                leaf, value = running.states[role], observed[role]
                before = updates[leaf].value if leaf in updates else leaf
                updates[leaf] = Update(leaf, ema.moved(before, value, running.steps), estimate)
                if estimate is not None:
                    replacements[estimate] = _standing_for(leaf, estimate)
            if cut is None:
                replacements[norm.y] = _inference_form(norm, running)
            if running.steps is not None:
                before = updates[running.steps].value if running.steps in updates else running.steps
                updates[running.steps] = Update(running.steps, before + 1)
    if not found:
        return graph
    last = {u.estimate for u in updates.values()}
    kept = {node: stand_in for node, stand_in in replacements.items() if node not in last}
    return Graph(graph.inputs, graph.outputs, (*graph.updates, *updates.values()), kept)


@dataclass(frozen=True)
class _Ema:
    """How a running statistic moves."""

    decay: float | str
    unbiased: bool

    def moved(self, running: Node, observed: Node, steps: Node | None) -> Node:
        """The next running value; a cumulative average counts the batches before this one."""
        if steps is not None:
            return running + (observed - running) / cast(steps + 1, running.dtype)
        assert isinstance(self.decay, float)
        return self.decay * running + (1 - self.decay) * observed


@dataclass(frozen=True)
class _Running:
    """The states of one batch norm."""

    path: tuple[str, ...]
    shape: Shape
    states: dict[str, Node]
    steps: Node | None


@dataclass
class _Names:
    """Paths for new states, unique in a graph."""

    taken: set[str]

    def path(self, norm: Norm) -> tuple[str, ...]:
        """The norm's scope, or that of gamma or beta, or ``batch_norm1``, numbered if need be."""
        named = [n.name.split("/")[:-1] for n in (norm.gamma, norm.beta) if n is not None]
        path = norm.y.scope.path or next((tuple(p) for p in named if p), ())
        for candidate in self._candidates(path):
            names = {f"{'/'.join(candidate)}/{last}" for last in (*_START, _STEPS)}
            if names.isdisjoint(self.taken):
                self.taken |= names
                return candidate
        raise AssertionError("the candidates never end")

    def _candidates(self, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if path:
            yield path
        number = 1
        while True:
            yield (*path, f"batch_norm{number}")
            number += 1


_START = {"running_mean": 0.0, "running_var": 1.0}
_STEPS = "num_batches"


def _decay(decay: float | str | None, convention: str) -> float | str:
    if convention not in CONVENTIONS:
        known = ", ".join(CONVENTIONS)
        raise GraphError(f"track_statistics: convention {convention!r} is not one of {known}")
    decay = CONVENTIONS[convention].decay if decay is None else decay
    if decay == CUMULATIVE:
        return CUMULATIVE
    if isinstance(decay, str) or not 0 <= decay <= 1:
        raise GraphError(
            f"track_statistics: decay {decay!r} is neither in [0, 1] nor {CUMULATIVE!r}"
        )
    return float(decay)


def _wants_statistics(norm: Norm, graph: Graph) -> bool:
    if norm.kind != "batch" or norm.statistics != "computed":
        return False
    standing = {*graph.replacements, *[u.estimate for u in graph.updates]}
    return standing.isdisjoint(norm.forward)


def _running(norm: Norm, names: _Names, ema: _Ema) -> _Running:
    kept = tuple([d for axis, d in enumerate(norm.x.shape) if axis not in norm.axes])
    if not all(isinstance(d, int) for d in kept):
        raise GraphError(
            f"track_statistics: the batch norm of {norm.x.type} over axes {norm.axes} keeps a dim "
            "of unknown size, so its statistics have no fixed shape; give the dim a size"
            f"{place(norm.y.scope, norm.y.source)}"
        )
    path = names.path(norm)
    dtype = promote(norm.x.dtype, FLOAT32)  # in float16 an EMA stalls
    with enter(Scope(path)):
        states = {
            name: state(name, np.full(kept, start), dtype=dtype) for name, start in _START.items()
        }
        steps = state(_STEPS, 0) if ema.decay == CUMULATIVE else None
    return _Running(path, kept, states, steps)


def _observed(norm: Norm, shape: Shape, ema: _Ema) -> dict[str, Node]:
    """What the running statistics follow, in their shape and precision."""
    mu, v, correction = norm.mean, norm.variance, norm.correction
    if mu is None:
        mu = mean(norm.x, norm.axes, keepdims=True)
    if v is None:
        centre = mean(norm.x, norm.axes, keepdims=True)
        v, correction = mean((norm.x - centre) ** 2, norm.axes), 0
    if ema.unbiased != bool(correction):
        n = count(norm.x, norm.axes, at_least=2)
        v = v * (n / (n - 1)) if ema.unbiased else v * ((n - 1) / n)
    dtype = promote(norm.x.dtype, FLOAT32)
    return {"running_mean": _like(mu, shape, dtype), "running_var": _like(v, shape, dtype)}


def _cut_of(norm: Norm) -> tuple[Node, Node] | None:
    """Mean and variance, if no other path leads the batch into y; None where one does.

    One does where a statistic is computed twice, or has no node of its own; then y as a whole is
    replaced at inference.
    """
    if norm.mean is None or norm.variance is None:
        return None
    inside = set(norm.forward)
    rest = toposort([norm.y], stop=(norm.mean, norm.variance, norm.x))
    leaks = [node for node in rest if node in inside and node.prim.name in _REDUCTIONS]
    return None if leaks else (norm.mean, norm.variance)


def _inference_form(norm: Norm, running: _Running) -> Node:
    """``scale * (x - m) / (sqrt(s + eps) + eps') + shift`` from the states."""
    x, shape = norm.x, [1 if a in norm.axes else d for a, d in enumerate(norm.x.shape)]
    m, s = (_like(leaf, tuple(shape), x.dtype) for leaf in running.states.values())
    root = sqrt(s + norm.eps.inside)
    y = (x - m) * (root + norm.eps.outside if norm.eps.outside else root) ** -1
    try:
        for term in (norm.scale, norm.shift):
            fits = term is None or broadcast_shapes(term.shape, x.shape) == x.shape
            if not fits:
                raise GraphError("its weights do not stand beside it")
    except GraphError as error:
        raise _unusual(norm, str(error)) from None
    y = y if norm.scale is None else norm.scale * y
    y = y if norm.shift is None else y + norm.shift
    if y.type != norm.y.type:
        raise _unusual(norm, f"it turns {x.type} into {norm.y.type}")
    return y


def _unusual(norm: Norm, problem: str) -> GraphError:
    return GraphError(
        f"track_statistics: no inference form can be put in the place of {norm!r}: {problem}; "
        f"compute mean and variance as nodes of their own, once each"
        f"{place(norm.y.scope, norm.y.source)}"
    )


def _standing_for(leaf: Node, estimate: Node) -> Node:
    return _like(leaf, estimate.shape, estimate.dtype)


def _like(node: Node, shape: Iterable[int | str], dtype: np.dtype[np.generic]) -> Node:
    shape = tuple(shape)
    shaped = node if node.shape == shape else reshape(node, shape)
    return shaped if shaped.dtype == dtype else cast(shaped, dtype)
