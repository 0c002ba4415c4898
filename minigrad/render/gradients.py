"""Which gradient nodes a picture shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..autodiff import vjp
from ..ir import GradientError, Graph, Node, is_leaf, toposort
from ..primitives.leaf import INPUT
from .causes import causes, reached

LOSS = "loss"


@dataclass(frozen=True)
class Differentiated:
    """A graph with gradient nodes in it.

    ``cotangents`` gives dL/d(node) for forward nodes, ``causes`` the forward node whose rule made
    a gradient node; ``incoming`` are leaves that stand for dL/d(output) where there is no loss,
    and the output of each.
    """

    graph: Graph
    cotangents: Mapping[Node, Node] = field(default_factory=dict)
    causes: Mapping[Node, Node] = field(default_factory=dict)
    incoming: Mapping[Node, Node] = field(default_factory=dict)


def differentiate(graph: Graph, region: Sequence[Node]) -> Differentiated:
    """The graph together with the gradient of every float node of ``region`` and of its operands.

    The output ``loss`` is differentiated if there is one, else every float output of the region
    with an incoming cotangent ``u``. Raises GradientError when nothing is connected.
    """
    loss = graph.outputs.get(LOSS)
    if loss is not None and loss.type.is_float and not loss.type.shape:
        outputs, incoming, cts = [loss], [], None
    else:
        outputs = ends(graph, region)
        incoming = cts = [_cotangent(graph, output, len(outputs) > 1) for output in outputs]
    order = [node for node in graph.nodes if not node.scope.order]
    inside = dict.fromkeys([*(o for n in region for o in n.inputs), *region])
    wrt = reached(outputs, [n for n in order if n in inside and n.type.is_float])
    if not wrt:
        raise GradientError(
            f"render: no gradient of {', '.join(graph.outputs)} reaches what is drawn; "
            "name an output 'loss', or draw a region that an output depends on"
        )
    gradients = vjp(outputs, wrt, cts)
    cotangents = dict(zip(wrt, gradients, strict=True))
    named = {f"gradient {i}": node for i, node in enumerate(gradients)}
    drawn = Graph(
        (*graph.inputs, *_used(incoming, gradients)),
        {**graph.outputs, **named},
        graph.updates,
        graph.replacements,
    )
    owners = causes(drawn.nodes, cotangents)
    return Differentiated(drawn, cotangents, owners, dict(zip(incoming, outputs, strict=False)))


def ends(graph: Graph, region: Sequence[Node]) -> list[Node]:
    """What leaves the region for an output: its own outputs, and what a node outside reads."""
    inside = set(region)
    outputs = set(graph.outputs.values())
    read = {
        operand
        for node in toposort(graph.outputs.values())
        if node not in inside and not node.scope.order
        for operand in node.inputs
    }
    ends = [n for n in region if n in outputs or n in read]
    return [n for n in ends if n.type.is_float and not is_leaf(n)]


def _cotangent(graph: Graph, output: Node, several: bool) -> Node:
    names = {node: name for name, node in graph.outputs.items()}
    name = f"u_{names.get(output, '')}".rstrip("_") if several else "u"
    taken = {leaf.name for leaf in (*graph.inputs, *graph.leaves)}
    while name in taken:
        name += "'"
    return INPUT(name=name, shape=output.type.shape, dtype=output.type.dtype)


def _used(leaves: Sequence[Node], roots: Sequence[Node]) -> list[Node]:
    reached = set(toposort(roots))
    return [leaf for leaf in leaves if leaf in reached]
