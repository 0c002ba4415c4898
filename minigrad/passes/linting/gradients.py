"""Rules on what a gradient sees: a useless bias, a detached statistic, a blind loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...autodiff import grad, vjp
from ...ir import GradientError, Graph, Node, is_leaf, toposort
from ...primitives import broadcast_to
from ...primitives import sum as total
from ..norms import Norm
from ..norms_probe import Trial
from .finding import Fix, Hit
from .numbers import TOLERANCE, Array, difference, disagreement, values
from .spelling import REDUCTIONS, chain, number
from .subject import Subject

BLIND = 1e-9  # the part of a gradient that is left by rounding
NEARLY = 2e-2  # and by an eps beside a variance of 1

# --- bias before a norm ----------------------------------------------------------------------


def bias_before_norm(subject: Subject) -> Iterator[Hit]:
    """A parameter added to a tensor from which a norm then takes its mean."""
    done: set[Node] = set()
    for norm in subject.norms:
        if norm.statistics != "computed" or norm.kind == "rms":
            continue
        for node, bare, bias in _added_parameters(norm.x):
            if node in done or not node.type.is_float:
                continue
            done.add(node)
            hit = _useless(subject, norm, node, bare, bias)
            if hit is not None:
                yield hit


def _useless(subject: Subject, norm: Norm, node: Node, bare: Node, bias: Node) -> Hit | None:
    def without(_: float) -> Graph:
        kept = bare if bare.shape == node.shape else broadcast_to(bare, node.shape)
        return subject.graph.substitute({node: kept})

    if not _taken_away(subject, norm, node, bare):
        return None  # a shortcut around the norm needs it, or this norm does not take it away
    means = {u.state.name for u in subject.graph.updates if u.estimate is norm.mean}
    running = f"; take it off {', '.join(sorted(means))} too" if means else ""
    name = bias.name or "the bias"
    return Hit(
        node,
        f"{name} changes no output: the {norm.kind} norm takes the mean away, and its gradient "
        f"is 0{running}",
        Fix(without, exempt=frozenset(means), gone=node),
    )


def _taken_away(subject: Subject, norm: Norm, node: Node, bare: Node) -> bool:
    """Whether the outputs are the same without the parameter that makes ``node`` of ``bare``.

    Where all paths to them lead through the norm, its result tells, for any numbers in ``bare``.
    """
    kept = bare if bare.shape == node.shape else broadcast_to(bare, node.shape)
    local = _only_through(subject, node, norm.y)
    outputs = Graph((), {"y": norm.y} if local else dict(subject.graph.outputs))
    lean = outputs.substitute({node: kept})
    if not local:
        return disagreement(outputs, lean, subject.points) <= TOLERANCE
    return all(
        difference(*values([outputs.outputs["y"], lean.outputs["y"]], trial, {bare: drawn}))
        <= TOLERANCE
        for trial in subject.points
        for drawn in [np.random.default_rng(trial.seed).normal(size=trial.shape(bare.shape))]
    )


def _only_through(subject: Subject, node: Node, gate: Node) -> bool:
    """Whether every path from ``node`` to an output passes ``gate``."""
    outputs = set(subject.graph.outputs.values())
    waiting, seen = [node], {node, gate}
    while waiting:
        found = waiting.pop()
        if found in outputs:
            return False
        fresh = [user for user in subject.users[found] if user not in seen]
        seen.update(fresh)
        waiting += fresh
    return True


def _added_parameters(x: Node) -> Iterator[tuple[Node, Node, Node]]:
    """Sums ``bare + bias`` above x, as (sum, bare, parameter), through views, signs and sums."""
    waiting, seen = [x], {x}
    while waiting:
        node = waiting.pop()
        name = node.prim.name
        if name in ("add", "sub"):
            for own, other in (node.inputs, node.inputs[::-1]):
                leaf = _only_parameter(other)
                if leaf is not None and (name == "add" or other is node.inputs[1]):
                    yield node, own, leaf
        through = name in ("add", "sub", "neg", "reshape", "transpose", "cast", "broadcast_to")
        scaled = name in ("mul", "div") and any(number(o) is not None for o in node.inputs)
        if through or scaled:
            fresh = [operand for operand in node.inputs if operand not in seen]
            seen.update(fresh)
            waiting.extend(fresh)


def _only_parameter(node: Node) -> Node | None:
    """The one parameter that a view of it shows."""
    while node.prim.name in ("reshape", "broadcast_to", "cast", "transpose"):
        node = node.inputs[0]
    return node if node.prim.name == "parameter" else None


# --- detached statistics ---------------------------------------------------------------------


def detached_statistic(subject: Subject) -> Iterator[Hit]:
    """A statistic behind `stop_gradient` that the value depends on."""
    for twins in _stopped(subject):
        node = twins[0]
        operand = node.inputs[0]
        statistic = next(
            (n for n in chain(operand, subject.fixed) if n.prim.name in REDUCTIONS), None
        )
        if statistic is None or statistic not in subject.fed:
            continue

        def build(_: float, twins: list[Node] = twins) -> Graph:
            return subject.graph.substitute({twin: twin.inputs[0] for twin in twins})

        order = _changed_derivative(subject, build(0.0))
        if order is None:
            continue
        which = ("first", "second")[order - 1]
        yield Hit(
            node,
            f"the gradient treats a {statistic.prim.name} of {statistic.inputs[0].type} as a "
            f"constant: derivatives of the {which} order are those of another function",
            Fix(build),
        )


def _stopped(subject: Subject) -> list[list[Node]]:
    """The stop_gradients of the forward part, those that stop the same together."""
    groups: dict[Node, list[Node]] = {}
    for node in subject.order:
        if node.prim.name == "stop_gradient" and node in subject.forward:
            groups.setdefault(subject.classes[node], []).append(node)
    return list(groups.values())


def _changed_derivative(subject: Subject, free: Graph) -> int | None:
    """The lowest order (1 or 2) of derivative in which two graphs of one value differ."""
    before, after = _objective(subject, subject.graph), _objective(subject, free)
    if before is None or after is None:
        return None
    leaves = [n for n in toposort([after]) if is_leaf(n) and n.type.is_float]
    wrt = [n for n in leaves if n.prim.name in ("input", "parameter")]
    pair = [before, after]
    for order in (1, 2):
        gradients = [_gradients(objective, wrt) for objective in pair]
        if any(_differ(gradients[0], gradients[1], trial) for trial in subject.points):
            return order
        pair = [_weighted(found) for found in gradients]
    return None


def _objective(subject: Subject, graph: Graph) -> Node | None:
    """The loss, or every float output times fixed random-looking weights."""
    if subject.loss is not None:
        name = next(k for k, v in subject.graph.outputs.items() if v is subject.loss)
        return graph.outputs[name]
    found = [node for node in graph.outputs.values() if node.type.is_float]
    return _weighted(found) if found else None


def _weighted(nodes: Sequence[Node]) -> Node:
    """``sum_i sum(node_i * (node_i + w_i))``: a scalar whose gradient sees every element."""
    parts = [total(node * (node + (0.3 + 0.7 * i))) for i, node in enumerate(nodes)]
    found = parts[0]
    for part in parts[1:]:
        found = found + part
    return found


def _gradients(objective: Node, wrt: Sequence[Node]) -> list[Node]:
    """The gradient by each node, zeros where there is none."""
    try:
        return grad(objective, wrt) if wrt else []
    except GradientError:
        found = [_gradients(objective, [node]) for node in wrt] if len(wrt) > 1 else []
    return [node for one in found for node in one] if found else [wrt[0] * 0]


def _differ(a: Sequence[Node], b: Sequence[Node], trial: Trial) -> bool:
    """Whether gradients differ by more than rounding; what is not finite does not tell."""
    both = values([*a, *b], trial)
    largest = max(float(np.abs(v).max(initial=0)) for v in both)
    if not np.isfinite(largest) or not largest:
        return False
    return any(
        float(np.abs(x - y).max(initial=0)) > 1e-7 * largest
        for x, y in zip(both[: len(a)], both[len(a) :], strict=True)
    )


# --- blind losses ----------------------------------------------------------------------------


def blind_loss(subject: Subject) -> Iterator[Hit]:
    """A norm whose input the loss hardly depends on, though it depends on its output."""
    loss = subject.loss
    if loss is None or not loss.type.is_float or loss.shape != ():
        return
    below = set(toposort([loss]))
    seen = [n for n in subject.norms if n.statistics == "computed" and n.y in below]
    norms = [n for n in seen if n.x is not n.y]
    cts = _gradients(loss, [n.y for n in norms])
    rows = [[n.x, n.y, ct, *vjp([n.y], [n.x], [ct])] for n, ct in zip(norms, cts, strict=True)]
    runs = [values([node for row in rows for node in row], trial) for trial in subject.points]
    for i, norm in enumerate(norms):
        parts = [_passed(*run[4 * i : 4 * i + 4]) for run in runs]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts) or max(known) > NEARLY:
            continue
        worst = max(known)
        words = "does not depend on" if worst < BLIND else "hardly depends on"
        yield Hit(
            loss,
            f"the loss {words} what enters the {norm.kind} norm at {norm.y.line or 'its place'}: "
            f"{worst:.0e} of the gradient that reaches the norm gets through it",
        )


def _passed(x: Array, y: Array, ct: Array, dx: Array) -> float | None:
    """The size of dx beside what it would be if the statistics were constants."""
    slope = float(y.std()) / (float(x.std()) or 1.0)
    expected = slope * float(np.linalg.norm(ct))
    if not np.isfinite(expected) or not expected:
        return None
    return float(np.linalg.norm(dx)) / expected
