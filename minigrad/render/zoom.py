"""A tensor node opened into scalars: one box an element, with its value and its gradient.

The op is unrolled by `mg.scalarize`, which shares nothing with the tensor kernels, and the scalar
graph is run and differentiated on its own; only what enters (the operands' elements, and the
gradient of the result) comes from the tensor graph.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..autodiff import vjp
from ..backends import evaluate
from ..ir import Graph, GraphError, Node, building, is_leaf, place
from ..passes.scalars import scalar_feed, scalarize
from ..primitives import constant
from ..primitives.leaf import INPUT
from .boxes import Draft
from .captions import Captions, clipped, inline
from .gradients import Differentiated, differentiate
from .picture import Picture
from .scene import View, boundary, boundary_nodes, needed, with_cotangents

BATCH = 3  # examples, where no values are given


@dataclass(frozen=True)
class Opened:
    """One op on scalars: the graph, and the value and gradient of each of its nodes."""

    graph: Graph
    values: Mapping[Node, float]
    gradients: Mapping[Node, float]


def compose_zoom(graph: Graph, wanted: Node | str, view: View) -> Picture:
    """The picture of one node of ``graph``, opened."""
    node, captions, found = _chosen(graph, wanted, view)
    opened = open_node(node, captions, found, view)
    scalars = opened.graph
    found = Differentiated(scalars)
    draft = Draft(found, Captions(scalars), {}, {}, scalars.outputs)
    draft.draw(list(dict.fromkeys([*scalars.inputs, *scalars.nodes])), [])
    notes = {draft.keys[n]: _numbers(n, opened) for n in scalars.nodes if n in draft.keys}
    leaving = {f"o{draft.index[n]}": _numbers(n, opened) for n in scalars.outputs.values()}
    numbers = notes | leaving
    boxes = []
    for key, box in draft.boxes.items():
        box = replace(box, notes=(*box.notes, *numbers.get(key, ())))
        if box.kind in ("input", "output"):
            box = replace(box, op="element", path=(box.caption.rsplit("[", 1)[0],))
        boxes.append(box)
    arrows = tuple(replace(arrow, label="") for arrow in draft.arrows)
    told = (f"{captions.caption(node)}: {node.type}, element by element",
            "= value, d gradient of the loss: of an operand the share sent back here")  # fmt: skip
    return Picture(captions.name(node), tuple(boxes), arrows, told=told)


def _numbers(node: Node, opened: Opened) -> tuple[str, ...]:
    lines: tuple[str, ...] = (f"= {opened.values[node]:.4g}",) if node in opened.values else ()
    if node in opened.gradients:
        lines += (f"d {opened.gradients[node]:.4g}",)
    return tuple([line.replace("-", "−") for line in lines])


def _chosen(graph: Graph, wanted: Node | str, view: View) -> tuple[Node, Captions, Differentiated]:
    """The node, by what pictures call it; and the graph with its gradients, if there are any."""
    region = list(graph.nodes if view.region is None else graph.region(view.region))
    try:
        found = differentiate(graph, region)
    except GraphError:
        found = Differentiated(graph)
    given = boundary(found, region, boundary_nodes(region), view)
    captions = Captions(found.graph, found.cotangents, given)
    ops = [n for n in region if not is_leaf(n)]
    if isinstance(wanted, Node):
        matching = [n for n in graph.nodes if n is wanted]
    else:
        matching = [n for n in ops if wanted in (captions.name(n), captions.caption(n))]
    if len(matching) != 1 or is_leaf(matching[0]):
        names = ", ".join(dict.fromkeys(clipped(captions.name(n), 18) for n in ops[:24]))
        told = "several nodes are" if len(matching) > 1 else "no op of this graph is"
        raise GraphError(
            f"render: {told} called {clipped(str(wanted), 40)!r}; give a node, or with region= one"
            f" of {names}"
        )
    return matching[0], captions, found


def open_node(node: Node, captions: Captions, found: Differentiated, view: View) -> Opened:
    """One op of a graph on scalars, with numbers.

    Without values the inputs are three examples from a standard normal with a fixed seed. Raises
    GraphError when there are more scalars than ``view.limit``.
    """
    feed, sizes = _feed(found, view.values)
    operands = [o for o in dict.fromkeys(node.inputs) if not inline(o)]
    ct = found.cotangents.get(node)
    wanted = operands if ct is None else [*operands, ct]
    arrays = evaluate(wanted, needed(wanted, feed, found.graph))
    given = {o: np.asarray(a) for o, a in zip(operands, arrays, strict=False)}
    names = _names([node, *operands], captions)
    leaves = {o: INPUT(name=names[o], shape=given[o].shape, dtype=given[o].dtype) for o in operands}
    attrs = {k: _sized(v, sizes) if k == "shape" else v for k, v in node.attrs.items()}
    with building():
        result = node.prim(*[leaves.get(o, o) for o in node.inputs], **attrs)
        cells = sum(math.prod(map(int, n.shape)) for n in (result, *leaves.values()))
        if cells > view.limit:
            raise GraphError(
                f"render: {names[node]} and its operands have {cells:,} elements, more than the"
                f" limit of {view.limit}; feed a smaller batch, such as 3 examples, or draw a"
                f" narrower layer{place(node.scope, node.source)}"
            )
        graph = scalarize(Graph(tuple(leaves.values()), {names[node]: result}))
        seeds = None if ct is None else [constant(c) for c in np.asarray(arrays[-1]).ravel()]
        return _run(graph, scalar_feed({leaves[o].name: given[o] for o in operands}), seeds)


def _run(graph: Graph, feed: Mapping[str, Any], seeds: Sequence[Node] | None) -> Opened:
    outputs = list(graph.outputs.values())
    nodes = [n for n in graph.nodes if not inline(n)]
    values = dict(zip(nodes, map(float, evaluate(nodes, feed)), strict=True))
    if seeds is None:
        return Opened(graph, values, {})
    wrt = [n for n in nodes if n.type.is_float]
    gradients = vjp(outputs, wrt, list(seeds))
    numbers = evaluate(gradients, needed(gradients, feed, graph))
    return Opened(graph, values, dict(zip(wrt, map(float, numbers), strict=True)))


def _feed(
    found: Differentiated, values: Mapping[Any, Any] | None
) -> tuple[dict[Any, Any], dict[str, int]]:
    """Values for everything that is fed, and the sizes of the named dims."""
    graph, random = found.graph, np.random.default_rng(0)
    given = {} if values is None else {getattr(k, "name", k): v for k, v in values.items()}
    sizes: dict[str, int] = {}
    for leaf in graph.inputs:
        if leaf.name in given:
            shape = np.shape(given[leaf.name])
            sizes |= {d: s for d, s in zip(leaf.shape, shape, strict=False) if isinstance(d, str)}
    feed: dict[Any, Any] = dict(given)
    for leaf in graph.inputs:
        if leaf.name not in feed and leaf not in found.incoming:
            shape = tuple([sizes.setdefault(d, BATCH) if isinstance(d, str) else d
                           for d in leaf.shape])  # fmt: skip
            drawn = random.standard_normal(shape)
            feed[leaf.name] = (
                drawn.astype(leaf.dtype) if leaf.type.is_float else np.zeros(shape, leaf.dtype)
            )
    return with_cotangents(found, feed), sizes


def _sized(shape: Sequence[Any], sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple([sizes[d] if isinstance(d, str) else d for d in shape])


def _names(nodes: Sequence[Node], captions: Captions) -> dict[Node, str]:
    """What the node and its operands are called, each differently."""
    names: dict[Node, str] = {}
    for node in nodes:
        text = captions.text(node) if names else captions.name(node)
        text = captions.name(node) if len(text) > 14 else text.replace("/", "∕")  # no scope
        if " " in text or text.startswith("−"):
            text = f"({text})"
        while text in names.values():
            text += "'"
        names[node] = text
    return names
