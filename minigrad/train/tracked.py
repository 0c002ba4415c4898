"""What the running statistics of a training graph stand for, read off the graph itself.

A running statistic is a state that the inference graph reads and a training step moves. Its batch
statistic is recognised by structure, whoever wrote it: a mean (weighted or not) of anything, or a
variance, a mean of squared distances from a mean. From any other (the standard deviation of batch
renormalisation, ghosts) the update still tells what it moves towards, if it is an EMA.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..ir import Graph, Kind, Node, Update, is_leaf, substitute, toposort
from ..passes import to_inference
from ..primitives import cast, constant, count, reshape

VIEWS = ("reshape", "cast", "broadcast_to", "stop_gradient")


@dataclass(frozen=True)
class Statistic:
    """A batch statistic of known form: what it is, and over how many elements.

    ``weight`` is a number of elements or a total weight, which broadcasts against ``node``;
    ``centre`` is the mean that a variance is about, None for a mean.
    """

    node: Node
    weight: Node
    centre: Node | None = None


@dataclass(frozen=True)
class Tracked:
    """A running statistic: the state, its update, and what is replaced by it at inference."""

    update: Update
    uses: tuple[Node, ...]  # the nodes for which the state stands
    statistic: Statistic | None  # None where the form is not known

    @property
    def state(self) -> Node:
        return self.update.state

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(map(int, self.state.shape))

    @property
    def own(self) -> tuple[Node, ...]:
        """What must stay a batch statistic for this one to be computed from a batch."""
        if self.statistic is None:
            return (*self.uses, *_nearest_centres([self.update.value, *self.uses]))
        centre = self.statistic.centre
        return (*self.uses, *([centre] if centre is not None else []))

    def target(self) -> tuple[Node, Node]:
        """What the update moves the state towards, as ``(base, slope)``.

        An EMA is ``slope * state + base``, so its target is ``base / (1 - slope)``; a slope of 1
        says that the state does not move.
        """
        value, state = self.update.value, self.state
        ends = [
            substitute([value], {state: constant(np.full(state.shape, at, state.dtype))})[0]
            for at in (0, 1)
        ]
        return ends[0], ends[1] - ends[0]


def tracked_states(graph: Graph) -> list[Tracked]:
    """The running statistics of a training graph, in the order of its updates."""
    stands_for = _stand_ins(graph)
    reads = {node: _states_below([stand_in]) for node, stand_in in stands_for.items()}
    read = _states_below(to_inference(graph).roots)
    found = []
    for update in graph.updates:
        state = update.state
        if state not in read or state.prim.name != "state" or not state.type.is_float:
            continue
        uses = tuple(node for node in stands_for if state in reads[node])
        estimate = update.estimate
        known = recognised(estimate) if estimate is not None and len(uses) == 1 else None
        found.append(Tracked(update, uses, known))
    return found


def recognised(node: Node) -> Statistic | None:
    """The form of a batch statistic, or None where it is neither a mean nor a variance."""
    inner = beneath_views(node)
    if inner.prim.name == "mean":
        body, weight = inner.inputs[0], count(inner.inputs[0], inner.attrs["axis"])
    elif inner.prim.name == "div" and beneath_views(inner.inputs[0]).prim.name == "sum":
        body, weight = beneath_views(inner.inputs[0]).inputs[0], _unguarded(inner.inputs[1])
    else:
        return None
    return Statistic(node, weight, _centre(body))


def beneath_views(node: Node) -> Node:
    """The node whose numbers ``node`` shows in another shape or dtype."""
    while node.prim.name in VIEWS:
        node = node.inputs[0]
    return node


def frozen_graph(
    graph: Graph,
    outputs: Mapping[str, Node],
    keep: Iterable[Node],
    instead: Mapping[Node, Node] | None = None,
) -> Graph:
    """``outputs`` as the inference graph computes them, but for the nodes in ``keep``.

    What is kept is computed from the batch, all else that inference replaces is replaced; by
    what ``instead`` says, where it says something.
    """
    kept = set(keep)
    replaced = {**_stand_ins(graph), **(instead or {})}
    replaced = {node: stand_in for node, stand_in in replaced.items() if node not in kept}
    return to_inference(Graph((), dict(outputs), (), replaced))


def _stand_ins(graph: Graph) -> dict[Node, Node]:
    """Every node that inference replaces, with what replaces it."""
    found = {}
    for update in graph.updates:
        node = update.estimate
        if node is not None and node not in graph.replacements:
            found[node] = cast(reshape(update.state, node.type.shape), node.type.dtype)
    return {**found, **graph.replacements}


def _states_below(roots: Iterable[Node]) -> set[Node]:
    return {n for n in toposort(roots) if is_leaf(n) and n.prim.name == "state"}


def _nearest_centres(roots: Iterable[Node]) -> list[Node]:
    """The means that ``roots`` are taken about: of ``x - mean(x)``, the first on every path.

    What lies behind them, or behind a matrix product, belongs to another layer.
    """
    found: dict[Node, None] = {}
    seen: set[Node] = set()
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if node in seen or node.prim.kind is Kind.CONTRACTION:
            continue
        seen.add(node)
        if node.prim.name == "sub":
            mu = beneath_views(node.inputs[1])
            if mu.prim.name == "mean" and beneath_views(mu.inputs[0]) is beneath_views(
                node.inputs[0]
            ):
                found |= dict.fromkeys([mu, node.inputs[1]])
                continue
        waiting.extend(node.inputs)
    return list(found)


def _unguarded(total: Node) -> Node:
    """``t`` from ``where(t == 0, 1, t)``, the guard of a division by an empty total."""
    inner = beneath_views(total)
    if inner.prim.name == "where" and inner.inputs[0].prim.name == "equal":
        return inner.inputs[2]
    return total


def _centre(body: Node) -> Node | None:
    """``mu`` where the body of a mean is ``(x - mu)**2``, weighted or not, and mu is a mean."""
    inner = beneath_views(body)
    c: Node | None = None
    if inner.prim.name == "pow" and _is_two(inner.inputs[1]):
        c = inner.inputs[0]
    elif inner.prim.name == "mul":
        a, b = inner.inputs
        for left, right in ((a, b), (b, a)):
            product = beneath_views(left)
            if left is right or (product.prim.name == "mul" and right in product.inputs):
                c = right  # c * c, or (w * c) * c
            elif product.prim.name == "pow" and _is_two(product.inputs[1]):
                c = product.inputs[0]  # w * c**2
    c = None if c is None else beneath_views(c)
    if c is None or c.prim.name != "sub":
        return None
    mu = c.inputs[1]
    return mu if recognised(mu) is not None else None


def _is_two(node: Node) -> bool:
    return node.prim.name == "constant" and bool((node.attrs["value"] == 2).all())
