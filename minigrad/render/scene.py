"""From a graph to a picture: what is drawn, what stands at the boundary, what goes in which row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import evaluate
from ..ir import Graph, Node, is_leaf, toposort
from .boxes import Draft
from .captions import INLINE, WRITTEN, Captions, inline
from .causes import distinct, recognise
from .collapse import fold
from .gradients import Differentiated, differentiate, ends
from .picture import Picture
from .rows import place_rows
from .simplified import simplify_gradients, without_gradients
from .statistics import Summary, summarize


@dataclass(frozen=True, slots=True)
class View:
    """What to draw of a graph; the arguments of `render`."""

    region: str | None = None
    gradients: bool = False
    values: Mapping[Any, Any] | None = None
    depth: int | None = None
    expand: Sequence[str] = ()
    limit: int = 150
    simplify: bool = False


def compose(graph: Graph, view: View) -> Picture:
    """The picture of a graph, or of one region of it with its boundary."""
    if view.simplify:
        graph = without_gradients(graph)
    names, values = tuple(graph.outputs), view.values
    if view.gradients or any(node.scope.order for node in graph.nodes):
        graph, copy = distinct(graph)
        values = values and {copy.get(k, k): v for k, v in values.items()}
    found = Differentiated(graph)
    inside = _inside(graph, view.region)
    if any(node.scope.order for node in inside):
        known = recognise(graph)
        found = Differentiated(graph, known.cotangents, known.causes, known.incoming)
    elif view.gradients:
        found = differentiate(graph, inside)
        inside = _inside(found.graph, view.region)
    terms = None
    if view.gradients and view.simplify:
        found, terms = simplify_gradients(found, boundary_nodes(inside), inside)
        inside = _inside(found.graph, view.region)
    if view.region is not None and not view.gradients:
        inside = [node for node in inside if not node.scope.order] or inside
    groups = fold(inside, view.depth, view.expand, view.limit)
    ghosts = boundary_nodes(inside)
    summaries = {}
    if values is not None:
        drawn = [n for n in (*ghosts, *inside) if not inline(n)]
        summaries = _summaries(drawn, found, values)
    given = boundary(found, inside, ghosts, view)
    captions = Captions(found.graph, found.cotangents, given, WRITTEN if terms else INLINE)
    outputs = {name: found.graph.outputs[name] for name in names}
    draft = Draft(found, captions, groups, summaries, outputs)
    draft.draw(inside, ghosts, terms)
    boxes, rows = tuple(draft.boxes.values()), 0
    if not groups and any(node.scope.order for node in inside):
        boxes, rows = place_rows(draft, inside, ghosts)
    return Picture(view.region or "", boxes, tuple(draft.arrows), rows, draft.told)


def _inside(graph: Graph, region: str | None) -> list[Node]:
    if region is not None:
        return list(graph.region(region))
    return list(dict.fromkeys([*graph.inputs, *graph.nodes]))


def boundary_nodes(nodes: Sequence[Node]) -> list[Node]:
    """What the nodes read from outside."""
    inside = set(nodes)
    read = dict.fromkeys(operand for node in nodes for operand in node.inputs)
    return [node for node in read if node not in inside and not inline(node)]


def boundary(
    found: Differentiated, inside: Sequence[Node], ghosts: Sequence[Node], view: View
) -> dict[Node, str]:
    """x, y and u for the one value that enters a region, the one that leaves, and dL/dy."""
    if view.region is None:
        return {}
    leaves = {node.name for node in (*ghosts, *inside) if node.name}
    entering = [n for n in ghosts if not n.scope.order and not is_leaf(n)]
    names = {n: f"in{i}" for i, n in enumerate(entering, start=1)}
    if len(entering) == 1 and "x" not in leaves:
        names = {entering[0]: "x"}
    leaving = ends(found.graph, [n for n in inside if not n.scope.order])
    if len(leaving) == 1 and "y" not in leaves:
        names[leaving[0]] = "y"
        ct = found.cotangents.get(leaving[0])
        if ct is not None and ct in ghosts and "u" not in leaves:
            names[ct] = "u"
    return names


def _summaries(
    drawn: Sequence[Node], found: Differentiated, values: Mapping[Any, Any]
) -> dict[Node, Summary]:
    """Run the drawn nodes; a cotangent that is not fed is drawn from a standard normal."""
    feed = with_cotangents(found, values)
    arrays = evaluate(drawn, needed(drawn, feed, found.graph))
    return {node: summarize(array) for node, array in zip(drawn, arrays, strict=True)}


def with_cotangents(found: Differentiated, values: Mapping[Any, Any]) -> dict[Any, Any]:
    """The feed, and for every incoming cotangent that it lacks a draw from a standard normal."""
    feed = dict(values)
    random = np.random.default_rng(0)
    for leaf, output in found.incoming.items():
        if leaf not in feed and leaf.name not in feed:
            shape = evaluate(output, needed([output], feed, found.graph)).shape
            feed[leaf] = random.standard_normal(shape).astype(leaf.dtype)
    return feed


def needed(nodes: Sequence[Node], feed: Mapping[Any, Any], graph: Graph) -> dict[Any, Any]:
    """The part of a feed for the whole graph that some of its nodes need."""
    known = {leaf.name for leaf in (*graph.inputs, *graph.leaves)}
    order = set(toposort(nodes))
    names = {node.name for node in order if node.name}
    return {
        key: value
        for key, value in feed.items()
        if (key in order if isinstance(key, Node) else key in names or key not in known)
    }
