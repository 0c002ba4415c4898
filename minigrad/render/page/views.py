"""The graphs that the page switches between: training, inference and folded.

Every forward op of the training graph is copied with a source object of its own, and a pass that
rebuilds a node hands its source on; so the same object in another graph says "the same op".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ... import passes
from ...ir import GradientError, Graph, GraphError, Node, is_leaf
from ..captions import inline
from ..causes import distinct, recognise
from ..gradients import Differentiated, differentiate


@dataclass(frozen=True)
class View:
    """One position of the switch; ``told`` says what the graph is for."""

    key: str
    label: str
    told: str
    found: Differentiated
    outputs: Mapping[str, Node]
    twins: Mapping[Node, Node]  # of the training graph
    notes: Mapping[Node, str]  # how a node differs from the training graph's


def views_of(graph: Graph, gradients: bool) -> list[View]:
    """The training graph (with its gradient, if asked for), and what passes make of it."""
    copied, _ = distinct(graph)
    found, outputs = _differentiated(copied, gradients)
    told = "batch statistics; the gradient beside each op; what the step carries on"
    views = [View("train", "Training", told, found, outputs, {}, {})]
    if not (copied.replacements or any(u.estimate is not None for u in copied.updates)):
        views[0] = View("train", "Graph", "the graph as it was built", found, outputs, {}, {})
        return views
    answer = _answers(copied)
    inference = passes.to_inference(copied, answer)
    told = "running statistics stand where the batch's stood; one example at a time"
    views.append(_derived("inference", "Inference", told, inference, views[0]))
    fold: Callable[[Graph], Graph] | None = getattr(passes, "fold", None)
    if fold is not None:
        try:
            folded = fold(inference)
        except GraphError:  # a graph with nothing to fold keeps its two forms
            return views
        told = "constants worked out once: the norm disappears into the layer before it"
        views.append(_derived("folded", "Folded", told, folded, views[1]))
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


def _answers(graph: Graph) -> list[str]:
    """What is asked of a trained model: everything but the loss."""
    return [name for name in graph.outputs if name != "loss"] or list(graph.outputs)


def _derived(key: str, label: str, told: str, graph: Graph, before: View) -> View:
    old = before.found.graph
    by_source = {id(n.source): n for n in old.nodes if not n.scope.order and not is_leaf(n)}
    kept, twins, notes = set(old.nodes), {}, {}
    stands = _stand_ins(old)
    for node in graph.nodes:
        twin = node if node in kept else by_source.get(id(node.source))
        if twin is not None and twin.prim is node.prim:
            twins[node] = twin
        elif node not in kept and not inline(node):
            notes[node] = "worked out by the pass" if key == "folded" else "new in this graph"
        if node in stands and key == "inference":
            notes[node] = "stands where the batch's statistic stood"
    return View(key, label, told, Differentiated(graph), dict(graph.outputs), twins, notes)


def _stand_ins(graph: Graph) -> set[Node]:
    """The states that `to_inference` puts in the place of an estimate."""
    return {update.state for update in graph.updates if update.estimate is not None}


def replaced(views: Sequence[View]) -> dict[Node, str]:
    """Nodes of the training graph that are gone at inference, and what stands in their place."""
    graph = views[0].found.graph
    if len(views) == 1:
        return {}
    notes = {
        update.estimate: f"at inference: {update.state.name}"
        for update in graph.updates
        if update.estimate is not None
    }
    for node, stand_in in graph.replacements.items():
        notes.setdefault(node, f"at inference: {stand_in.name or stand_in.prim.name}")
    return notes


def links(views: Sequence[View], index: Mapping[str, Mapping[Node, int]]) -> dict[str, Any]:
    """For each derived view its nodes' twins in the view before it, by index."""
    found: dict[str, Any] = {}
    for before, view in pairwise(views):
        own, old = index[view.key], index[before.key]
        found[view.key] = {own[n]: old[t] for n, t in view.twins.items() if n in own and t in old}
    return found
