"""Markers: what a layer tells the graph beyond its value (see `minigrad.ir.markers`)."""

from __future__ import annotations

from typing import Any

from ..ir import Kind, Node, Primitive, ShapeError, TensorType
from .elementwise import cast
from .leaf import Operand, _here, as_node
from .shape import reshape


def _first(x: TensorType, *rest: TensorType, roles: tuple[str, ...]) -> TensorType:
    return x


def _mark_vjp(ct: Node, y: Node, x: Node, *rest: Node, **attrs: Any) -> tuple[Node | None, ...]:
    return (ct, *[None] * len(rest))


MARK = Primitive("mark", Kind.MARKER, lambda xp, x, *rest, roles: x, _first, _mark_vjp)


def at_inference(node: Node, replacement: Operand) -> Node:
    """``node``, for which the inference graph puts ``replacement``, of the same type.

    >>> import minigrad as mg
    >>> x = mg.input("x", 3)
    >>> g = mg.Graph([x], {"y": mg.at_inference(x * 2, x)})
    >>> mg.to_inference(g).outputs["y"] is x
    True
    """
    stand_in = as_node(replacement, node.type.dtype)
    if stand_in.type != node.type:
        raise ShapeError(f"at_inference: {stand_in.type} cannot replace {node.type}{_here()}")
    return MARK(node, stand_in, roles=("replacement",))


def track(statistic: Node, running: Node, value: Node) -> Node:
    """``statistic``, of which the state ``running`` is kept: a step moves it to ``value``.

    The inference graph reads ``running`` in the statistic's place. A state tracked twice in one
    graph, by a layer used twice, moves twice, in order of use.

    >>> import minigrad as mg
    >>> x, m = mg.input("x", "N"), mg.state("m", 0.0)
    >>> mu = mg.mean(x)
    >>> g = mg.Graph([x], x - mg.track(mu, m, 0.9 * m + 0.1 * mu))
    >>> [u.state.name for u in g.updates]
    ['m']
    """
    shape, dtype = statistic.type.shape, statistic.type.dtype
    try:
        stand_in = running if running.type.shape == shape else reshape(running, shape)
        stand_in = stand_in if stand_in.type.dtype == dtype else cast(stand_in, dtype)
    except ShapeError:
        raise ShapeError(
            f"track: {running.name}, {running.type}, cannot stand for a statistic of type "
            f"{statistic.type}{_here()}"
        ) from None
    return MARK(statistic, stand_in, running, value, roles=("replacement", "state", "value"))


def advance(node: Node, state: Node, value: Node) -> Node:
    """``node``; a step that computes it moves ``state`` to ``value`` (a generator's counter)."""
    return MARK(node, state, value, roles=("state", "value"))


def penalized(node: Node, penalty: Node) -> Node:
    """``node``; a graph that uses it adds ``penalty``, a scalar, to its output ``loss``, once."""
    if penalty.type.shape:
        raise ShapeError(f"penalized: a penalty is a scalar, not {penalty.type}{_here()}")
    return MARK(node, penalty, roles=("penalty",))
