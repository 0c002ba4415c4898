"""Rules on updates: weight decay on gamma and beta, statistics that are tracked and never move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ...ir import Graph, Node, Update, depending_on, is_leaf, substitute, toposort
from ...primitives import cast, reshape
from ..inference import to_inference
from ..norms_probe import Trial
from .finding import Fix, Hit
from .numbers import values
from .spelling import beneath_views
from .subject import Subject

DECAY = 0.99  # of the update that a rewrite adds

# --- weight decay ----------------------------------------------------------------------------


def decayed_norm_weights(subject: Subject) -> Iterator[Hit]:
    """An update of a gamma or beta that shrinks it, beside following the gradient."""
    roles = _norm_weights(subject)
    for update in subject.graph.updates:
        role = roles.get(update.state)
        if role is None:
            continue
        shrunk = _shrunk(subject, update)
        if shrunk is None:
            continue
        product, without = shrunk

        def build(
            _: float, update: Update = update, product: Node = product, without: Node = without
        ) -> Graph:
            (value,) = substitute([update.value], {product: without})
            updates = [replace(u, value=value) if u is update else u for u in subject.graph.updates]
            return replace(subject.graph, updates=tuple(updates))

        name = update.state.name
        moved = frozenset({name, *_slots(subject, update)})
        yield Hit(
            product,
            f"every step shrinks {name}, the {role} of a norm",
            Fix(build, exempt=moved, before_grad=False),
        )


def _norm_weights(subject: Subject) -> dict[Node, str]:
    """The parameters that scale and shift a norm, by role."""
    roles: dict[Node, str] = {}
    for norm in subject.norms:
        for role, node in (("gamma", norm.gamma), ("beta", norm.beta)):
            if node is not None:
                below = toposort([node])
                roles |= {leaf: role for leaf in below if leaf.prim.name == "parameter"}
    return roles


def _shrunk(subject: Subject, update: Update) -> tuple[Node, Node] | None:
    """A node of the update that holds ``s * w``, and what is left of it without the decay.

    ``g + s * w`` loses the product; ``s * w``, from which a step is taken, becomes w. A gradient
    may hold ``s * w`` too (that of a penalty), which is the loss's business: those are of a
    higher order of differentiation.
    """
    w = update.state
    own = [n for n in toposort([update.value]) if n not in subject.forward and not n.scope.order]
    users: dict[Node, list[Node]] = {}
    for node in own:
        for operand in node.inputs:
            users.setdefault(operand, []).append(node)
    for product in users.get(w, ()):
        if product.prim.name not in ("mul", "div") or product.inputs[-1] is product.inputs[0]:
            continue
        s = product.inputs[1] if product.inputs[0] is w else product.inputs[0]
        if s.shape != () or s in subject.fed:
            continue
        for sum_ in users.get(product, ()):
            if sum_.prim.name == "add" and product in sum_.inputs:
                first = sum_.inputs[0] is product
                rest = sum_.inputs[1] if first else sum_.inputs[0]
                if not _is_near_one(s, subject.points[0]):
                    return sum_, rest
        if _is_near_one(s, subject.points[0]):
            return product, w
    return None


def _is_near_one(s: Node, trial: Trial) -> bool:
    """Whether ``s * w`` is the weight itself, shrunk, and not what is taken off it."""
    return bool(values([s], trial)[0] > 0.5)


def _slots(subject: Subject, update: Update) -> set[str]:
    """The states of the optimiser that follow this weight: those its next value depends on."""
    leaves = {n for n in toposort([update.value]) if is_leaf(n) and n.prim.name == "state"}
    return {
        u.state.name
        for u in subject.graph.updates
        if u.state in leaves and u.state.shape == update.state.shape
        and u.state not in subject.forward
    }  # fmt: skip


# --- tracked and never moved -----------------------------------------------------------------


def stuck_statistic(subject: Subject) -> Iterator[Hit]:
    """A state that inference reads in a batch statistic's place, and that does not follow it."""
    graph = subject.graph
    moved = {update.state: update for update in graph.updates}
    for node, stand_in in _stand_ins(graph).items():
        for state in _read_by(stand_in, subject):
            if state not in moved:
                yield Hit(
                    node,
                    f"{state.name} stands for this at inference, and no update moves it",
                    _tracking(subject, node, stand_in, state),
                )
    read = {n for n in to_inference(graph).leaves if n.prim.name == "state"}
    standing = [
        u
        for u in graph.updates
        if u.estimate is not None or (u.state in read and graph.replacements)
    ]
    for update, problem in _stillness(subject, standing):
        estimate = update.estimate
        node, fix = update.value, None
        if estimate is not None:
            node, fix = estimate, _tracking(subject, estimate, update.state, update.state)
        yield Hit(node, f"{update.state.name} {problem}", fix)


def _stand_ins(graph: Graph) -> dict[Node, Node]:
    tracked = {u.estimate: u.state for u in graph.updates if u.estimate is not None}
    return {**tracked, **graph.replacements}


def _read_by(stand_in: Node, subject: Subject) -> list[Node]:
    """The states that only the inference graph reads below a stand-in."""
    if stand_in in subject.forward:
        return []
    body = toposort([stand_in], stop=subject.forward)
    return [n for n in body if n.prim.name == "state"]


def _stillness(subject: Subject, updates: list[Update]) -> Iterator[tuple[Update, str]]:
    """The updates whose state does not follow the data, and why."""
    if not updates:
        return
    roots = [node for update in updates for node in (update.state, update.value)]
    runs = [values(roots, trial) for trial in subject.points]
    order = toposort(roots)
    random = [node for node in order if node.prim.name == "random_uniform"]
    driven = depending_on(order, [*subject.graph.inputs, *random])
    for i, update in enumerate(updates):
        if update.value is update.state:
            yield update, "is updated to itself: it never moves"
        elif all(np.array_equal(run[2 * i], run[2 * i + 1]) for run in runs):
            yield update, "is updated to what it is: it never moves (a decay of 1?)"
        elif update.value not in driven:
            yield update, "moves, but not with the data: its update reads no input"


def _tracking(subject: Subject, node: Node, stand_in: Node, state: Node) -> Fix | None:
    """An EMA of the statistic, where the state shows it in another shape at most."""
    if beneath_views(stand_in) is not state:
        return None

    def build(_: float) -> Graph:
        seen = node if node.shape == state.shape else reshape(node, state.shape)
        seen = seen if seen.dtype == state.dtype else cast(seen, state.dtype)
        update = Update(state, DECAY * state + (1 - DECAY) * seen, node)
        others = [u for u in subject.graph.updates if u.state is not state]
        return replace(subject.graph, updates=(*others, update))

    return Fix(build, exempt=frozenset({state.name}), before_grad=False)
