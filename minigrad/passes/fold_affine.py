"""Folding: scales and shifts move into the weights of the matrix products next to them.

Flow: `fold_plan` follows affine maps through the graph by the rows of `fold_rules`, `fold_build`
writes the graph, `fold_check` compares it with the one it came from, `fold_values` turns weights
into numbers. A batch norm at inference is one such map, and nothing here knows its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir import Graph, GraphError, Node, substitute
from ..ir.graph import require_graph
from .fold_algebra import IDENTITY, Affine
from .fold_build import Built, Fold, Refusal, build, refusals
from .fold_check import Point, Rounding, points, roundings, verify, verify_numbers, with_values
from .fold_plan import Flow, survey
from .fold_values import Frozen, checked_state, freeze, frozen_graph

if TYPE_CHECKING:
    from .diff_graphs import Difference


@dataclass(frozen=True, eq=False)
class Folding:
    """A folded graph, and what was done to get it. ``print(folding)`` tells the story.

    Parameters
    ----------
    before, graph : the graph as it was, and folded.
    values : the numbers of the folded weights by name, when a state was given; else None.
    folds : the rules that fired, in the order of ``before``.
    refusals : the scales that stayed outside the weights next to them, with the reason.
    roundings : for every folded value, and every output, the error bounds and measured errors.
    """

    before: Graph
    graph: Graph
    values: Mapping[str, np.ndarray[Any, Any]] | None
    folds: tuple[Fold, ...]
    refusals: tuple[Refusal, ...]
    roundings: tuple[Rounding, ...]

    @cached_property
    def difference(self) -> Difference:
        """The two graphs side by side, to print or to draw."""
        from .diff_graphs import diff

        return diff(self.before, self.graph)

    def __str__(self) -> str:
        head = f"{len(self.folds)} folds, {len(self.refusals)} refusals"
        rows = [f"{head}: {len(self.before.nodes)} nodes before, {len(self.graph.nodes)} after"]
        rows += [f"  {row}" for row in (*self.folds, *self.refusals, *self.roundings)]
        return "\n".join(rows)


def fold(graph: Graph, state: Mapping[str, Any] | None = None) -> Graph:
    """Move scales and shifts into the matrix products and convolutions before or behind them.

    ``scale * x + shift``, with scale and shift that no input reaches, goes into the weights of the
    product that x comes from, or of the products that read it; what is left of a batch norm behind
    (or before) a layer is a bias. Nothing is computed twice for it, and the result is compared with
    the graph it came from, in float64 at random points, before it is returned (Jacob et al. 2018,
    "Quantization and training of neural networks", section 3.2; here for any affine map).

    Parameters
    ----------
    graph : an inference graph (`to_inference`).
    state : numbers for every parameter and state, as an executable returns them. Without them the
        folded weights are nodes computed from the parameters, in every call anew, and any state of
        ``graph`` runs the folded graph. With them the folded weights are new parameters that start
        from numbers, rounded once from float64: ``mg.compile(folded).init_state()`` has them, and
        what runs is products and biases alone.

    Raises GraphError for a graph with updates (it is still training) and, naming the rule, when a
    value would change; FeedError for a state that does not fit.

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 4))
    >>> net = mg.nn.Sequential(mg.nn.Linear(3, name="fc"), mg.nn.BatchNorm(3, name="bn"))
    >>> infer = mg.to_inference(mg.Graph([x], {"y": net(x)}))
    >>> print(mg.fold(infer, mg.compile(infer).init_state()))
    graph(x: f32[N,4])
      parameter fc/weight: f32[4,3]
      parameter bn/bias: f32[3]
      a: f32[N,3] = matmul x fc/weight  # fc
      b: f32[N,3] = add a bn/bias       # bn
      return y=b
    """
    return _fold(graph, state, measure=False).graph


def fold_report(graph: Graph, state: Mapping[str, Any] | None = None) -> Folding:
    """As `fold`, with the log of what was folded where, what was not and why, and the rounding.

    The bounds are running error bounds (Higham 2002, section 3.3) in the graph's dtype at the
    points that are tested, for each channel of each folded value, beside those of the graph before.

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 4))
    >>> y = mg.relu(mg.nn.BatchNorm(3, name="bn")(mg.nn.Linear(3, name="fc")(x)))
    >>> report = mg.fold_report(mg.to_inference(mg.Graph([x], {"y": y})))
    >>> [row.rule for row in report.folds]
    ['scale into the previous weight', 'affine steps in one']
    >>> report.refusals[0].reason.split(" (")[0]
    'maximum is not linear'
    """
    return _fold(graph, state, measure=True)


def _fold(graph: Graph, state: Mapping[str, Any] | None, measure: bool) -> Folding:
    _demand_inference(graph)
    known = None if state is None else checked_state(graph, state)
    flow = survey(graph)
    built = build(flow)
    tested = points(graph, known)
    verify(flow, build(flow, pulling=False), built, tested)
    outputs = {name: built.value[node] for name, node in graph.outputs.items()}
    folded = Graph(graph.inputs, outputs)
    frozen = Frozen({}, {}, {})
    if known is not None:
        frozen = freeze(folded, known)
        folded = frozen_graph(folded, frozen)
        verify_numbers(graph, folded, tested, frozen)
    found: tuple[Rounding, ...] = ()
    if measure:
        found = _measured(flow, built, frozen, tested)
    return Folding(
        graph,
        folded,
        None if known is None else frozen.values,
        tuple(built.folds),
        refusals(flow),
        found,
    )


def _measured(
    flow: Flow, built: Built, frozen: Frozen, tested: list[Point]
) -> tuple[Rounding, ...]:
    """Roundings of the values that were folded, by channel, and of the outputs behind them."""
    maps: dict[Node, Affine] = {}
    for node in flow.order:
        if node in flow.kept and built.value[node] is not node:
            maps[node] = flow.maps[node]
    for node in flow.graph.outputs.values():
        if built.value[node] is not node and node.type.is_float:
            maps.setdefault(node, IDENTITY)
    new = substitute([built.value[node] for node in maps], frozen.replacement)
    pairs = [(n, other, m) for (n, m), other in zip(maps.items(), new, strict=True)]
    after = [with_values(point, frozen) for point in tested]
    return roundings(pairs, tested, after, frozen.rounded)


def _demand_inference(graph: Graph) -> None:
    require_graph("fold", graph)
    if graph.updates or graph.replacements:
        names = ", ".join(u.state.name for u in graph.updates[:3])
        moving = f"it still moves {names}" if names else "it still has a training form"
        raise GraphError(
            f"fold: this is a training graph, {moving}; fold mg.to_inference(graph) instead"
        )
