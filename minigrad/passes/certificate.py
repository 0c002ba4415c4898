"""The certificate of inference: on the statistics of x, the inference graph is training on x.

Both graphs are one template T with a hole for every batch statistic: the training graph fills each
hole with the statistic, the inference graph with the state that stands for it. The certificate
builds T, fills the holes both ways, compares the texts of the graphs exactly, and computes both in
float64 on a random batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..ir import (
    Graph,
    GraphError,
    Node,
    NonFiniteError,
    Update,
    is_leaf,
    place,
    substitute,
    toposort,
)
from ..ir.graph import require_graph
from ..primitives import initial_value, reshape, state
from .dependence import batch_dependence
from .inference import to_inference
from .norms_probe import Array, Trial, compute


@dataclass(frozen=True)
class InferenceCertificate:
    """What `certify_inference` found.

    Attributes
    ----------
    exact : both graphs are one template, filled with states here and with statistics there.
    error : the largest difference of the outputs in float64, relative to the largest element:
        inference with each state at its statistic of the batch, against training on that batch.
    independent : `batch_dependence` proves that the inference graph keeps rows apart; None where
        no input has a named dim.
    statistics : pairs of a state and the batch statistic that it stands for, in order of use.
    replaced : the nodes that inference replaces by something else (dropout); the comparison is
        with the training graph in which they are replaced too.
    shared : names of states that stand for several statistics (a layer used twice); the graphs
        agree in value only where these statistics do, so ``error`` fills each hole on its own.
    explanation : what was compared, and the first output that differs.
    """

    exact: bool
    error: float
    independent: bool | None
    statistics: tuple[tuple[Node, Node], ...]
    replaced: tuple[Node, ...]
    shared: tuple[str, ...]
    explanation: str

    @property
    def holds(self) -> bool:
        """Exact, and equal to 1e-12."""
        return self.exact and self.error <= 1e-12

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        return self.explanation


def certify_inference(
    train: Graph, infer: Graph | None = None, *, rows: int = 6, seed: int = 0
) -> InferenceCertificate:
    """Check that inference with the statistics of x is training on x, exactly and by numbers.

    Parameters
    ----------
    train : a training graph.
    infer : the graph to certify, by default ``to_inference(train)``; one that was folded,
        simplified or written by hand is compared all the same, but is no exact template.
    rows : the size of every named dim in the check by numbers.
    seed : of the random batch.

    Raises GraphError where an output of ``infer`` is none of ``train``, NonFiniteError where
    training is not finite on the batch.

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 3))
    >>> found = mg.certify_inference(mg.Graph([x], {"y": mg.nn.BatchNorm(3, name="bn")(x)}))
    >>> found.exact, found.error < 1e-14, found.independent, [s.name for s, _ in found.statistics]
    (True, True, True, ['bn/running_mean', 'bn/running_var'])
    """
    require_graph("certify_inference", train)
    infer = to_inference(train) if infer is None else infer
    for name in infer.outputs:
        if name not in train.outputs:
            there = ", ".join(train.outputs)
            raise GraphError(f"certify_inference: no output {name!r} in training; there is {there}")
    template = _Template.of(train, tuple(infer.outputs))
    exact, differing = _exact(template, infer)
    error = _error(template, infer, rows, seed)
    named = any(isinstance(d, str) for node in infer.inputs for d in node.shape)
    independent = bool(batch_dependence(infer)) if named else None
    shared = tuple(leaf.name for leaf in template.shared)
    lines = [
        f"{len(template.holes)} statistics, {len(template.others)} other replacements: "
        + ("the graphs are one template" if exact else f"{differing} differ in structure"),
        f"largest difference in float64: {error:.3g}",
    ]
    if shared:
        lines.append(f"shared by several statistics: {', '.join(shared)}")
    return InferenceCertificate(
        exact, error, independent, tuple((hole.state, hole.estimate) for hole in template.holes),
        tuple(template.others), shared, "\n".join(lines),
    )  # fmt: skip


@dataclass(frozen=True)
class _Hole:
    """A batch statistic, the state that stands for it and how, the leaf that marks the place."""

    estimate: Node
    state: Node
    stand_in: Node
    leaf: Node


@dataclass(frozen=True)
class _Template:
    """A training graph with a leaf in the place of every batch statistic."""

    holes: tuple[_Hole, ...]
    others: Mapping[Node, Node]  # nodes that inference replaces, but not by a state
    outputs: Mapping[str, Node]  # with the leaves
    filled: Mapping[str, Node]  # with the statistics, the others replaced
    statistics: tuple[Node, ...]  # each, the others replaced

    @classmethod
    def of(cls, train: Graph, names: Sequence[str]) -> _Template:
        pairs = {u.estimate: u.state for u in train.updates if u.estimate is not None}
        others = {}
        for node, stand_in in train.replacements.items():
            leaf = _viewed_state(stand_in)
            if node not in pairs:
                if leaf is None:
                    others[node] = stand_in
                else:
                    pairs[node] = leaf
        ordered = [n for n in toposort([*train.roots, *pairs]) if n in pairs]
        holes = tuple(
            _Hole(node, pairs[node], _stand_in(train, node, pairs[node]), _marker(node, i))
            for i, node in enumerate(ordered)
        )
        updates = tuple(Update(h.leaf, h.leaf, h.estimate) for h in holes)
        keep = {name: train.outputs[name] for name in names}
        probe = to_inference(Graph(train.inputs, keep, updates, others))
        bare = to_inference(Graph(train.inputs, {**keep, **_named(holes)}, (), others))
        return cls(
            holes, others, probe.outputs, {name: bare.outputs[name] for name in names},
            tuple(bare.outputs[name] for name in _named(holes)),
        )  # fmt: skip

    @property
    def shared(self) -> list[Node]:
        """States that stand for more than one statistic."""
        seen = [hole.state for hole in self.holes]
        return list(dict.fromkeys(leaf for leaf in seen if seen.count(leaf) > 1))


def _named(holes: Sequence[_Hole]) -> dict[str, Node]:
    return {f"statistic {i}": hole.estimate for i, hole in enumerate(holes)}


def _marker(node: Node, number: int) -> Node:
    """A leaf of the type of ``node``, whatever its dims."""
    shape = tuple([d if isinstance(d, int) else 1 for d in node.shape])
    if shape != node.shape:
        raise GraphError(
            f"certify_inference: the statistic {node!r} has a dim of unknown size, so no state "
            f"stands for it{place(node.scope, node.source)}"
        )
    return state(f"the place of statistic {number}", np.zeros(shape), dtype=node.dtype)


def _viewed_state(node: Node) -> Node | None:
    """The state that ``node`` is a reshape or cast of."""
    while node.prim.name in ("reshape", "cast"):
        node = node.inputs[0]
    return node if node.prim.name == "state" else None


def _exact(template: _Template, infer: Graph) -> tuple[bool, str]:
    """Fill the holes with states and compare with inference; with statistics, and with training."""
    by_state = {hole.leaf: hole.stand_in for hole in template.holes}
    by_statistic = dict(zip([h.leaf for h in template.holes], template.statistics, strict=True))
    # A statistic may itself contain holes: those of earlier layers are inside it, filled already.
    wanted = dict(zip(infer.outputs, substitute(template.outputs.values(), by_state), strict=True))
    trained = dict(
        zip(infer.outputs, substitute(template.outputs.values(), by_statistic), strict=True)
    )
    first = [n for n in infer.outputs if not _same(wanted[n], infer.outputs[n])]
    second = [n for n in infer.outputs if not _same(trained[n], template.filled[n])]
    differing = list(dict.fromkeys([*first, *second]))
    return not differing, ", ".join(differing)


def _same(a: Node, b: Node) -> bool:
    """One computation, whatever the order in which it was built."""
    if a is b:
        return True
    return Graph((), {"y": a}).structural_hash() == Graph((), {"y": b}).structural_hash()


def _stand_in(train: Graph, node: Node, leaf: Node) -> Node:
    marked = train.replacements.get(node)
    if marked is not None:
        return marked
    return leaf if leaf.shape == node.shape else reshape(leaf, node.shape)


def _error(template: _Template, infer: Graph, rows: int, seed: int) -> float:
    """Training on a batch against inference with the statistics of that batch."""
    outputs = list(infer.outputs.values())
    trained = [template.filled[name] for name in infer.outputs]
    ends = [*trained, *template.statistics, *outputs, *template.outputs.values()]
    order = toposort(ends)
    named = {d for node in order for d in node.shape if isinstance(d, str)}
    trial = Trial(dict.fromkeys(named, rows), seed)
    first: dict[Node, Array] = _leaf_values(order, trial)
    compute(toposort([*trained, *template.statistics]), first, trial)
    second: dict[Node, Array] = _leaf_values(order, trial)
    statistics = [first[node] for node in template.statistics]
    if template.shared:  # one state cannot be two numbers: fill the holes of the template instead
        outputs = list(template.outputs.values())
    by_name = {}
    for hole, value in zip(template.holes, statistics, strict=True):
        second[hole.leaf] = value
        by_name[hole.state.name] = np.reshape(value, trial.shape(hole.state.shape))
    for node in order:
        if node.name in by_name:
            second[node] = by_name[node.name]
    compute(toposort(outputs), second, trial)
    worst = 0.0
    for name, a, b in zip(infer.outputs, trained, outputs, strict=True):
        wanted, found = first[a].astype(float), second[b].astype(float)
        if not np.isfinite(wanted).all():
            raise NonFiniteError(f"certify_inference: output {name!r} is not finite on this batch")
        if wanted.shape != found.shape or not np.isfinite(found).all():
            return math.inf
        largest = float(np.abs(wanted).max(initial=0)) or 1.0
        worst = max(worst, float(np.abs(wanted - found).max(initial=0)) / largest)
    return worst


def _leaf_values(order: Sequence[Node], trial: Trial) -> dict[Node, Array]:
    """A value for every leaf, by its name: two graphs of one model get the same numbers."""
    return {
        node: _leaf_value(node, trial)
        for node in order
        if is_leaf(node) and node.prim.name != "constant"
    }


def _leaf_value(node: Node, trial: Trial) -> Array:
    """Random inputs; weights near where they start, so that zeros and ones hide nothing."""
    rng = np.random.default_rng([trial.seed, *node.name.encode()])
    if node.prim.name == "input":
        shape = trial.shape(node.shape)
        if not node.type.is_float:
            return rng.integers(0, 2, shape).astype(node.dtype)
        return rng.normal(size=shape)
    start = initial_value(node, trial.seed)
    if node.prim.name == "state" or not node.type.is_float:
        return start.astype(float) if node.type.is_float else start
    return np.asarray(start + 0.1 * rng.normal(size=start.shape))
