"""Which gradient nodes a picture shows, and which forward node caused each of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ..autodiff import vjp
from ..ir import GradientError, Graph, Node, consumers, depending_on, is_leaf, toposort
from ..primitives.leaf import INPUT

LOSS = "loss"
NO_GRADIENTS: Mapping[Node, Node] = {}


@dataclass(frozen=True)
class Differentiated:
    """A graph with gradient nodes in it.

    ``cotangents`` gives dL/d(node) for forward nodes; ``incoming`` are leaves that stand for
    dL/d(output) where there is no loss, and the output of each.
    """

    graph: Graph
    cotangents: Mapping[Node, Node]
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
    wrt = _reached(outputs, [n for n in order if n in inside and n.type.is_float])
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
    return Differentiated(drawn, cotangents, dict(zip(incoming, outputs, strict=False)))


def causes(
    nodes: Sequence[Node], cotangents: Mapping[Node, Node] = NO_GRADIENTS
) -> dict[Node, Node]:
    """Gradient node -> the forward node whose rule made it.

    `grad` hands the very source object of the forward node to what it builds; where several
    forward nodes share one (an unrolled graph), the one that the gradient node reads is taken.
    The sum of several cotangents of a node stands with that node.
    """
    by_source: dict[int, list[Node]] = {}
    for node in nodes:
        if not node.scope.order and not is_leaf(node) and node.source is not None:
            by_source.setdefault(id(node.source), []).append(node)
    found: dict[Node, Node] = {}
    for node in nodes:
        candidates = by_source.get(id(node.source), []) if node.scope.order else []
        if candidates:
            near = set(node.inputs)
            read = [c for c in candidates if c in near or not near.isdisjoint(c.inputs)]
            found[node] = (read or candidates)[0]
    for node, terms in accumulations(nodes, cotangents).items():
        for term in terms:
            found[term] = node
    return found


def accumulations(
    nodes: Sequence[Node], cotangents: Mapping[Node, Node]
) -> dict[Node, tuple[Node, ...]]:
    """Forward node -> the additions that sum its cotangents, last first.

    A value used k times receives k cotangents, so the k - 1 additions on the way are sums of
    the paths: the adjoint of the fork.
    """
    uses = consumers([node for node in nodes if not node.scope.order])
    found: dict[Node, tuple[Node, ...]] = {}
    for node, cotangent in cotangents.items():
        spine: list[Node] = []
        current = cotangent
        while (
            current.prim.name == "add"
            and current.scope.order
            and len(spine) < len(uses.get(node, ())) - 1
        ):
            spine.append(current)
            current = current.inputs[0]
        if spine:
            found[node] = tuple(spine)
    return found


def paths(nodes: Sequence[Node], cotangents: Mapping[Node, Node]) -> dict[tuple[Node, int], Node]:
    """(addition, operand) -> the reader of the forward value that sent this cotangent back.

    `grad` visits readers from the last to the first and adds as it goes.
    """
    uses = consumers([node for node in nodes if not node.scope.order])
    found: dict[tuple[Node, int], Node] = {}
    for node, spine in accumulations(nodes, cotangents).items():
        readers = [reader for reader in uses[node] if reader in cotangents]
        if len(readers) != len(spine) + 1:
            continue
        for addition, reader in zip(spine, readers, strict=False):
            found[addition, 1] = reader
        found[spine[-1], 0] = readers[-1]
    return found


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


def _reached(outputs: Sequence[Node], candidates: Collection[Node]) -> list[Node]:
    """The candidates to which a cotangent of the outputs flows."""
    order = toposort(outputs)
    active = depending_on(order, [n for n in candidates if n.prim.name != "constant"])
    reached = set(outputs)
    for node in reversed(order):
        if node in reached and node.prim.vjp is not None:
            reached.update(o for o in node.inputs if o in active and o.type.is_float)
    return [n for n in candidates if n in reached and n in active]


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
