"""The folded graph from a plan: cores, weights with maps inside, and the maps that are kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..ir import Node, rebuild
from .fold_algebra import Affine, on_behalf, trimmed
from .fold_plan import NEXT_SCALE, NEXT_SHIFT, PREVIOUS_SCALE, Flow, Pull
from .fold_rules import PRODUCTS, STEPS, VIEWS

MERGED = "affine steps in one"
MERGED_FORMULA = "((x - m) r) g + b = s x + t"


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One rule that fired: at ``node`` of the graph before, giving ``result``.

    ``node`` is the product for the rules that change its weight, else the last of the merged steps.
    """

    rule: str
    formula: str
    node: Node
    result: Node

    def __str__(self) -> str:
        where = f" in {self.node.scope}" if self.node.scope.path else ""
        return f"{self.rule}: {self.formula}; {self.node.prim.name} {self.node.type}{where}"


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """A map that did not go into a weight: ``rule`` names the way that was tried."""

    rule: str
    reason: str
    node: Node

    def __str__(self) -> str:
        where = f" in {self.node.scope}" if self.node.scope.path else ""
        return f"not {self.rule}: {self.node.prim.name} {self.node.type}{where}: {self.reason}"


@dataclass(slots=True, eq=False)
class Built:
    """New nodes by old ones: ``core`` without the map behind it, ``value`` with it."""

    core: dict[Node, Node] = field(default_factory=dict)
    value: dict[Node, Node] = field(default_factory=dict)
    folds: list[Fold] = field(default_factory=list)


def build(flow: Flow, pulling: bool = True) -> Built:
    """Rebuild the graph; without ``pulling`` no scale goes back, so every core is as mapped."""
    pulls = [p for p in flow.pulls.values() if isinstance(p, Pull)] if pulling else []
    weights = {pull.product: pull.weight for pull in pulls}
    built = Built()
    varying = set(flow.order)
    for node in flow.graph.nodes:
        if node not in varying:
            built.core[node] = built.value[node] = node
            continue
        with on_behalf(node):
            built.core[node] = _core(flow, built, node, weights)
            m = flow.maps.get(node)
            if m is None or m.is_identity:
                built.value[node] = built.core[node]
            elif node in flow.kept:
                built.value[node] = _written(flow, built, node, m, pulling)
        _record(flow, built, node, weights)
    return built


def refusals(flow: Flow) -> tuple[Refusal, ...]:
    """The scales that stay outside the weights next to them, and why."""
    found: list[Refusal] = []
    for node in flow.order:
        if node in flow.kept and flow.maps[node].scale is not None:
            found.append(Refusal("into the next weight", flow.kept[node], node))
            pull = flow.pulls[node]
            if not isinstance(pull, Pull):
                found.append(Refusal("into the previous weight", pull, node))
    return tuple(found)


def _core(flow: Flow, built: Built, node: Node, weights: dict[Node, Node]) -> Node:
    operand = flow.operand(node)
    passed = node in flow.maps and operand is not None
    if passed and operand is not None and node.prim.name in STEPS:
        return _taken(flow, built, operand)
    if operand is None or not (passed and (node in flow.sinks or node.prim.name in VIEWS)):
        inputs = [built.value[n] for n in node.inputs]
    else:
        inputs = [_taken(flow, built, n) if n is operand else n for n in node.inputs]
    at = flow.varying[node]
    if node in weights:
        inputs[1 - at] = weights[node]
    elif node in flow.sinks:
        inputs[1 - at] = flow.sinks[node].weight
    return _rebuilt(node, inputs)


def _taken(flow: Flow, built: Built, operand: Node) -> Node:
    """What a reader that carries the map of its operand on reads."""
    return built.value[operand] if operand in flow.kept else built.core[operand]


def _written(flow: Flow, built: Built, node: Node, m: Affine, pulling: bool) -> Node:
    """``scale * core + shift``, or the steps as they stood where that is no more work."""
    core, m = built.core[node], m.each(trimmed)
    if pulling and isinstance(flow.pulls[node], Pull):
        value = Affine(None, m.shift).of(core)
        if m.shift is not None:
            built.folds.append(Fold(MERGED, MERGED_FORMULA, node, value))
        return value
    steps: list[Node] = []
    root, step = flow.root[node], node
    while step is not root:
        steps.append(step)
        operand = flow.operand(step)
        assert operand is not None
        step = operand
    base = flow.outgoing(root) if steps else m  # behind a product a shift may be all there is
    if m.ops < len(steps) + base.ops:
        value = m.of(core)
        built.folds.append(Fold(MERGED, MERGED_FORMULA, node, value))
        return value
    value = base.of(core)
    for step in reversed(steps):
        at = flow.varying[step]
        value = _rebuilt(step, [value if i == at else n for i, n in enumerate(step.inputs)])
    return value


def _record(flow: Flow, built: Built, node: Node, weights: dict[Node, Node]) -> None:
    names: list[str] = []
    operand = flow.operand(node)
    if node in flow.sinks and operand is not None:
        m = flow.outgoing(operand)
        names += [NEXT_SCALE] * (m.scale is not None) + [NEXT_SHIFT] * (m.shift is not None)
    if node in weights:
        names.append(PREVIOUS_SCALE)
    for name in names:
        row = PRODUCTS[name]
        built.folds.append(Fold(row.name, row.formula, node, built.core[node]))


def _rebuilt(node: Node, inputs: list[Node]) -> Node:
    if all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
        return node
    return rebuild(node, tuple(inputs))
