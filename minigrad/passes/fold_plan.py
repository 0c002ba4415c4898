"""Which affine maps of a graph move where: analysis only, nothing is rewritten here.

Every node that depends on an input is a *core* times a scale plus a shift (`Flow.maps`). A map
travels with its value until a product with a weight takes it in; where a reader needs the value
itself the map is *kept*, written out there, and its scale may go back into the weight before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from ..ir import Graph, Node, consumers, depending_on, place, rebuild
from .fold_algebra import IDENTITY, Affine, no_larger, on_behalf
from .fold_rules import BACK, PRODUCTS, STEPS, VIEWS, Reason, Sink

NEXT_SCALE, NEXT_SHIFT, PREVIOUS_SCALE = PRODUCTS


class Lands(IntEnum):
    """Where the map of a value ends when it is not written out there."""

    NOWHERE = 0
    STEP = 1  # in a later element-by-element op
    WEIGHT = 2  # in weights, whichever way it goes


@dataclass(frozen=True, slots=True, eq=False)
class Pull:
    """A scale that goes back from ``node``, past views, into the weight of ``product``."""

    node: Node
    product: Node
    weight: Node


@dataclass(slots=True, eq=False)
class Flow:
    """What is known of a graph: see the fields."""

    graph: Graph
    order: tuple[Node, ...]
    varying: dict[Node, int]  # position of the one operand that varies; -1 for none or several
    uses: Mapping[Node, list[Node]]
    results: frozenset[Node]
    maps: dict[Node, Affine] = field(default_factory=dict)
    root: dict[Node, Node] = field(default_factory=dict)  # the node whose core a value shares
    sinks: dict[Node, Sink] = field(default_factory=dict)
    refused: dict[Node, Reason] = field(default_factory=dict)  # why no map passes this node
    kept: dict[Node, Reason] = field(default_factory=dict)  # where a map is written out, and why
    pulls: dict[Node, Pull | Reason] = field(default_factory=dict)  # by kept node

    def outgoing(self, node: Node) -> Affine:
        """The map that a reader of ``node`` sees."""
        return IDENTITY if node in self.kept else self.maps.get(node, IDENTITY)

    def operand(self, node: Node) -> Node | None:
        """The one operand that varies."""
        at = self.varying.get(node, -1)
        return None if at < 0 else node.inputs[at]

    def single(self, node: Node) -> bool:
        return len(self.uses[node]) == 1 and node not in self.results


def survey(graph: Graph) -> Flow:
    """Follow every map as far as it goes, until no more of them must be written out."""
    flow = _flow(graph)
    while True:
        _follow(flow)
        found = _landing(flow)
        if not found:
            break
        flow.kept.update(found)
    for node in flow.kept:
        flow.pulls[node] = _pull(flow, node)
    return flow


def fixed_nodes(graph: Graph) -> set[Node]:
    """What no input reaches and no named dim enters: computed from weights and states alone."""
    sized = [n for n in graph.nodes if not n.type.is_static]
    return set(graph.nodes) - depending_on(graph.nodes, [*graph.inputs, *sized])


def _flow(graph: Graph) -> Flow:
    fixed = fixed_nodes(graph)
    order = tuple(node for node in graph.nodes if node not in fixed)
    varying = {}
    for node in order:
        places = [i for i, operand in enumerate(node.inputs) if operand not in fixed]
        varying[node] = places[0] if len(places) == 1 else -1
    return Flow(graph, order, varying, consumers(graph.nodes), frozenset(graph.roots))


def _follow(flow: Flow) -> None:
    """The map behind every node, from the map of its operand."""
    for known in (flow.maps, flow.root, flow.sinks, flow.refused):
        known.clear()
    for node in flow.order:
        operand = flow.operand(node)
        flow.root[node] = node
        if operand is None:
            flow.refused[node] = f"{node.prim.name} reads several values that depend on the inputs"
            continue
        m, name = flow.outgoing(operand), node.prim.name
        with on_behalf(node):
            if name in STEPS:
                _step(flow, node, operand, m)
            elif m.is_identity:
                continue
            elif name == "matmul":
                _sink(flow, node, m)
            elif name in VIEWS:
                _note(flow, node, VIEWS[name].apply(node, 0, m))
            else:
                linear = name in (
                    "concatenate",
                    "cast",
                    "stop_gradient",
                    "broadcast_to",
                    "take",
                    "fold",
                )
                flow.refused[node] = f"no rule passes {name}" if linear else f"{name} is not linear"


def _step(flow: Flow, node: Node, operand: Node, m: Affine) -> None:
    if node.shape != operand.shape or not node.type.is_float:
        flow.refused[node] = f"{node.prim.name} repeats {operand.type} to {node.type}"
        return
    _note(flow, node, STEPS[node.prim.name].apply(node, flow.varying[node], m))
    if node not in flow.refused:
        flow.root[node] = operand if operand in flow.kept else flow.root[operand]


def _note(flow: Flow, node: Node, found: Affine | Reason) -> None:
    if isinstance(found, Affine):
        flow.maps[node] = found
    else:
        flow.refused[node] = found


def _sink(flow: Flow, node: Node, m: Affine) -> None:
    at = flow.varying[node]
    weight = node.inputs[1 - at]
    if m.scale is not None:
        found = PRODUCTS[NEXT_SCALE].apply(node, at, m.scale)
        if not isinstance(found, Node):
            flow.refused[node] = found
            return
        weight = found
    shift = None
    if m.shift is not None:
        moved = PRODUCTS[NEXT_SHIFT].apply(node, at, m.shift)
        assert isinstance(moved, Node)
        shift = moved
    flow.sinks[node] = Sink(weight, shift)
    flow.maps[node] = Affine(None, shift)


@dataclass(frozen=True, slots=True, eq=False)
class _Landing:
    """How far the map of a value gets, why no further, and the later op that it ends in."""

    lands: Lands
    why: Reason = ""
    at: Node | None = None


_IN_WEIGHTS = _Landing(Lands.WEIGHT)


def _landing(flow: Flow) -> dict[Node, Reason]:
    """The nodes whose map a reader needs written out, and did not before."""
    known: dict[Node, _Landing] = {}
    kept: dict[Node, Reason] = {}
    for node in reversed(flow.order):
        result = _Landing(Lands.NOWHERE, "it is a result of the graph")
        found = result if node in flow.results else _IN_WEIGHTS
        for reader in flow.uses[node]:
            behind = _behind(flow, node, reader, known)
            if behind.lands < found.lands:
                found = behind
        known[node] = found
        # A view never keeps a map: where none may pass it, its operand lands nowhere either.
        fresh = node not in flow.kept and node.prim.name not in VIEWS
        if found.lands is Lands.NOWHERE and fresh and not flow.outgoing(node).is_identity:
            kept[node] = found.why
    return kept


def _behind(flow: Flow, node: Node, reader: Node, known: Mapping[Node, _Landing]) -> _Landing:
    """Where the map of ``node`` ends that enters ``reader``."""
    name, where = reader.prim.name, place(reader.scope, reader.source)
    if reader in flow.refused:
        return _Landing(Lands.NOWHERE, flow.refused[reader] + where)
    if reader in flow.sinks:
        return _IN_WEIGHTS
    if name in STEPS:
        if known[reader].lands is Lands.WEIGHT and reader not in flow.kept:
            return _IN_WEIGHTS
        if flow.single(node):
            return _Landing(Lands.STEP, "", reader)
        return _Landing(Lands.NOWHERE, f"of its several readers {name} needs the value{where}")
    if name in VIEWS:
        found = known[reader]
        if found.lands is Lands.STEP and found.at is not None:
            if not flow.single(node):
                return _Landing(Lands.NOWHERE, f"{name} would carry it to a second value{where}")
            if not no_larger(found.at.shape, node.shape):
                return _Landing(Lands.NOWHERE, f"{name} would carry it to a larger value{where}")
        return found
    return _Landing(Lands.NOWHERE, f"{name} reads no map{where}")


def _pull(flow: Flow, node: Node) -> Pull | Reason:
    """Carry the scale of a kept map back to the product that its core comes from."""
    scale = flow.maps[node].scale
    if scale is None:
        return "there is no scale"
    value: Node = node
    while True:
        root = flow.root[value]
        while value is not root:  # back over the steps
            operand = flow.operand(value)
            assert operand is not None
            if not flow.single(operand):
                return f"{operand.prim.name} before it is read elsewhere too"
            if operand in flow.kept:
                return f"the value of {operand.prim.name} before it is needed as it is"
            value = operand
        at = flow.varying[value]
        with on_behalf(value):
            if value.prim.name == "matmul" and at >= 0:
                weight = _scaled_weight(flow, value, at, scale)
                return Pull(node, value, weight) if isinstance(weight, Node) else weight
            if value.prim.name not in BACK:
                return f"no product with a weight before it, but {value.prim.name}"
            found = BACK[value.prim.name](value, scale)
        if not isinstance(found, Node):
            return found
        scale = found
        operand = flow.operand(value)
        if operand is None or not flow.single(operand):
            return f"the operand of {value.prim.name} before it is read elsewhere too"
        if operand in flow.kept:
            return f"the value of {operand.prim.name} before it is needed as it is"
        value = operand


def _scaled_weight(flow: Flow, product: Node, at: int, scale: Node) -> Node | Reason:
    found = PRODUCTS[PREVIOUS_SCALE].apply(product, at, scale)
    sink = flow.sinks.get(product)
    if sink is None or not isinstance(found, Node):
        return found
    inputs = list(product.inputs)
    inputs[1 - at] = sink.weight  # its operand's scale is inside already
    return PRODUCTS[PREVIOUS_SCALE].apply(rebuild(product, tuple(inputs)), at, scale)
