"""Markers: identity nodes by which a layer says what a graph should know, and their removal.

A layer is just ``layer(x) -> Node``; what else it has to say travels inside the nodes. A marker
is the identity on its first operand; its other operands play the ``roles`` in its attributes:

* ``replacement``  stands in the node's place in the inference graph (`at_inference`);
* ``state, value`` say that a training step moves ``state`` to ``value`` (`track`, `advance`);
* ``penalty``      is added to the output called ``loss`` (a regulariser).

`Graph` collects the markers and removes them, so that a graph holds only real primitives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .errors import GraphError
from .node import OPERATORS, Kind, Node, rebuild
from .order import substitute, toposort
from .scope import enter, place


@dataclass(frozen=True, slots=True)
class Update:
    """How one piece of state moves in a training step.

    ``state`` is the leaf: a running mean, a weight, a momentum buffer. ``value`` is its next
    value, of the same type. ``estimate`` is the batch statistic that ``state`` stands for at
    inference, if it stands for one.
    """

    state: Node
    value: Node
    estimate: Node | None = None

    def __post_init__(self) -> None:
        if self.state.prim.kind is not Kind.LEAF or self.state.prim.name not in UPDATABLE:
            raise GraphError(
                f"Update: {self.state!r} is no state or parameter, it cannot move"
                f"{place(self.state.scope, self.state.source)}"
            )
        if self.state.type != self.value.type:
            raise GraphError(
                f"Update: {self.state.name} is {self.state.type}, its next value is "
                f"{self.value.type}{place(self.value.scope, self.value.source)}"
            )


UPDATABLE = ("state", "parameter")


@dataclass(slots=True)
class Collected:
    """What the markers of some nodes said."""

    mapped: dict[Node, Node] = field(default_factory=dict)  # every node, its markers removed
    updates: dict[Node, Update] = field(default_factory=dict)  # by state, in order of use
    replacements: dict[Node, Node] = field(default_factory=dict)
    penalties: dict[Node, None] = field(default_factory=dict)  # an ordered set


def collect(roots: Sequence[Node]) -> Collected:
    """Remove every marker below ``roots`` and gather what they say, in order of use."""
    found = Collected()
    mapped = found.mapped
    for node in toposort(roots):
        inputs = tuple([mapped[operand] for operand in node.inputs])
        if node.prim.kind is Kind.MARKER:
            mapped[node] = inputs[0]
            _note(found, dict(zip(node.attrs["roles"], inputs[1:], strict=True)), inputs[0])
        elif all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
            mapped[node] = node
        else:
            mapped[node] = rebuild(node, inputs)
    return found


def unmarked(roots: Sequence[Node]) -> list[Node]:
    """The same values without the markers below them."""
    mapped = collect(roots).mapped
    return [mapped[root] for root in roots]


def _note(found: Collected, roles: Mapping[str, Node], node: Node) -> None:
    if "penalty" in roles:
        found.penalties[roles["penalty"]] = None
    if "replacement" in roles:
        found.replacements[node] = roles["replacement"]
    if "state" in roles:
        state, estimate = roles["state"], (node if "replacement" in roles else None)
        # A state tracked again (a shared layer) moves on from where the last use left it.
        latest = {s: u.value for s, u in found.updates.items()} if state in found.updates else {}
        (value,) = substitute([roles["value"]], {**latest, node: node})
        found.updates[state] = Update(state, value, estimate)


def with_penalties(loss: Node, penalties: Sequence[Node]) -> Node:
    """``loss`` plus every penalty."""
    with enter(loss.scope):
        for penalty in penalties:
            loss = OPERATORS["add"](loss, penalty)
    return loss
