"""The graphs that the page switches between: training, inference and folded.

What is the same op in two of them, and what stands in whose place, is the answer of `diff`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np

from ...backends import compile
from ...ir import GradientError, Graph, GraphError, Node, Update, is_leaf
from ...passes import Difference, Pair, diff, fold, to_inference
from ...primitives import initial_value
from ..captions import SIGNS, base_name, inline
from ..causes import distinct, recognise
from ..gradients import Differentiated, differentiate


@dataclass(frozen=True)
class View:
    """One position of the switch.

    ``told`` says what the graph is for, ``twins`` which op of the view before an op is. ``notes``
    say what another graph makes of a node, and the ``marked`` ones are the difference itself.
    ``own`` means that the parameters start from the graph's own numbers.
    """

    key: str
    label: str
    told: str
    found: Differentiated
    outputs: Mapping[str, Node]
    twins: Mapping[Node, Node] = field(default_factory=dict)
    notes: dict[Node, str] = field(default_factory=dict)
    marked: set[Node] = field(default_factory=set)
    own: bool = False


def views_of(graph: Graph, gradients: bool, state: Mapping[str, Any] | None = None) -> list[View]:
    """The training graph (with its gradient, if asked for), and what passes make of it."""
    copied, _ = distinct(graph)
    found, outputs = _differentiated(copied, gradients)
    if not (copied.replacements or any(u.estimate is not None for u in copied.updates)):
        return [View("train", "Graph", "the graph as it was built", found, outputs)]
    told = "batch statistics; the gradient beside each op; what the step hands on"
    train = View("train", "Training", told, found, outputs)
    kept = [name for name in copied.outputs if name != "loss"] or list(copied.outputs)
    inference = to_inference(copied, kept)
    told = "running statistics stand where the batch's stood: one example at a time"
    views = [
        train,
        View("inference", "Inference", told, Differentiated(inference), dict(inference.outputs)),
    ]
    _compare(views, diff(copied, inference))
    start = compile(inference, "interpreter").init_state()
    start = {name: (state or {}).get(name, start[name]) for name in start}
    folded = _folded(inference, start)
    if folded is not None:
        told = "the norm is worked into the weights beside it: nothing of it runs any more"
        views.append(
            View("folded", "Folded", told, Differentiated(folded), dict(folded.outputs), own=True)
        )
        _compare(views, diff(inference, folded), start)
    return views


def _differentiated(graph: Graph, gradients: bool) -> tuple[Differentiated, Mapping[str, Node]]:
    outputs = dict(graph.outputs)
    if any(node.scope.order for node in graph.nodes):
        known = recognise(graph)
        return Differentiated(graph, known.cotangents, known.causes, known.incoming), outputs
    if not gradients:
        return Differentiated(graph), outputs
    try:
        found = differentiate(graph, list(dict.fromkeys([*graph.inputs, *graph.nodes])))
    except GradientError:  # nothing to differentiate: ints alone, or no float output
        return Differentiated(graph), outputs
    return found, outputs


def _same_numbers(pair: Pair, start: Mapping[str, Any]) -> bool:
    old = start.get(pair.before.name)
    return old is not None and np.array_equal(old, initial_value(pair.after, 0))


def _folded(inference: Graph, start: Mapping[str, Any]) -> Graph | None:
    """The folded graph with weights in numbers; None where nothing folds."""
    try:
        folded = fold(inference, start)
    except GraphError:  # a state of other shapes, values that fold refuses to change
        return None
    return None if len(folded.nodes) == len(inference.nodes) else folded


def _compare(
    views: list[View], found: Difference, start: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Fill in the twins and the notes of the last two views; ``start`` has the old numbers."""
    before, after = views[-2:]
    twins = {pair.after: pair.before for pair in found.matched}
    views[-1] = replace(after, twins=twins)
    if after.key == "inference":
        for row in found.replaced:
            stood = _stood(found.before.updates, row.before)
            before.notes.setdefault(row.before, f"at inference: {_called(row.after)}")
            before.marked.add(row.before)
            after.marked.update(_behind_views(row.after))
            for node in _behind_views(row.after):
                after.notes.setdefault(node, f"stands where {stood} stood")
        return
    for pair in found.changed:
        if is_leaf(pair.after) and "start" in pair.changes and not _same_numbers(pair, start):
            after.marked.add(pair.after)
            after.notes[pair.after] = "the norm's scale is worked into these numbers"
    for node in found.added:
        if not inline(node):
            after.notes[node] = "what is left of the norm"
            after.marked.add(node)
    for node in found.removed:
        if not inline(node):
            before.notes.setdefault(node, "gone when folded")


def _stood(updates: Sequence[Update], node: Node) -> str:
    """``the batch's μ`` for an estimate, else the op."""
    for update in updates:
        if update.estimate is node and (sign := SIGNS.get(base_name(update.state))):
            return f"the batch's {sign}"
    return f"the {node.prim.name} of the training graph"


def _behind_views(node: Node) -> list[Node]:
    """A node, and the leaf that it is another shape of."""
    chain = [node]
    while chain[-1].prim.name in ("reshape", "cast"):
        chain.append(chain[-1].inputs[0])
    return chain


def _called(node: Node) -> str:
    last = _behind_views(node)[-1]
    return last.name or last.prim.name


def links(views: Sequence[View], index: Mapping[str, Mapping[Node, int]]) -> dict[str, Any]:
    """For each derived view its nodes' twins in the view before it, by index."""
    found: dict[str, Any] = {}
    for before, view in pairwise(views):
        own, old = index[view.key], index[before.key]
        found[view.key] = {own[n]: old[t] for n, t in view.twins.items() if n in own and t in old}
    return found
