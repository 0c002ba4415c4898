"""Wrong derivative rules, made from right ones: what a gradient check must notice."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.ir import is_leaf, map_nodes
from minigrad.primitives import PRIMITIVES
from minigrad.primitives.elementwise import CAST
from minigrad.primitives.index import SCATTER_ADD

Rule = Callable[..., tuple[mg.Node | None, ...]]


def mutated(
    output: mg.Node, wrong: Callable[[mg.Node], Rule | None], wrt: list[mg.Node]
) -> tuple[mg.Node, list[mg.Node]]:
    """``output`` and ``wrt`` where a node whose ``wrong(node)`` is a rule has that vjp."""

    def rebuilt(node: mg.Node, inputs: tuple[mg.Node, ...]) -> mg.Node:
        if is_leaf(node):
            return node
        rule = wrong(node)
        prim = node.prim if rule is None else replace(node.prim, vjp=rule)
        return replace(node, prim=prim, inputs=inputs)

    become = map_nodes([output, *wrt], rebuilt)
    return become[output], [become[node] for node in wrt]


def every(name: str, rule: Rule) -> Callable[[mg.Node], Rule | None]:
    """The wrong rule for every node of the primitive ``name``."""
    return lambda node: rule if node.prim.name == name else None


def mutants(name: str) -> Iterator[tuple[str, Rule]]:
    """Title and rule of every mutant of one row."""
    rule = PRIMITIVES[name].vjp
    assert rule is not None
    for title, change in _ALL_PARTS.items():
        yield title, _changed(rule, change)
    count = 3 if name == "where" else 2 if name in _BINARY or name == "concatenate" else 1
    for position in range(1 if name == "where" else 0, count):
        yield f"operand {position} dropped", _dropped(rule, position)
        yield f"operand {position} zeroed", _changed(rule, lambda part: part * 0, position)
        yield f"operand {position} * 7", _changed(rule, lambda part: part * 7, position)
    yield "detached", lambda ct, y, *xs, **attrs: (None,) * len(xs)
    if name in _BINARY - {"add", "matmul"}:  # add swapped is add
        yield "operands swapped", lambda *args, **attrs: rule(*args, **attrs)[::-1]
    for title, other in _OF_ONE_ROW.get(name, ()):
        yield title, other


_BINARY = {"add", "sub", "mul", "div", "pow", "maximum", "minimum", "matmul"}

Change = Callable[[mg.Node], mg.Node]


def _changed(rule: Rule, change: Change, position: int | None = None) -> Rule:
    def wrong(ct: mg.Node, y: mg.Node, *xs: mg.Node, **attrs: Any) -> Any:
        parts = rule(ct, y, *xs, **attrs)
        return tuple(
            part if part is None or position not in (None, i) else change(part)
            for i, part in enumerate(parts)
        )

    return wrong


def _dropped(rule: Rule, position: int) -> Rule:
    def wrong(*args: mg.Node, **attrs: Any) -> Any:
        parts = list(rule(*args, **attrs))
        parts[position] = None
        return tuple(parts)

    return wrong


def _long_axis(part: mg.Node) -> int | None:
    """The last axis with more than one element."""
    axes = [i for i, dim in enumerate(part.shape) if isinstance(dim, int) and dim > 1]
    return axes[-1] if axes else None


def _rolled(part: mg.Node) -> mg.Node:
    axis = _long_axis(part)
    if axis is None:
        return part
    order = np.roll(np.arange(part.shape[axis]), 1)
    return mg.take(part, order, axis=axis)


def _turned(part: mg.Node) -> mg.Node:
    """The elements in the order of another axis."""
    if part.ndim < 2 or not part.type.is_static:
        return part
    return mg.reshape(mg.transpose(part), part.shape)


_ALL_PARTS: dict[str, Change] = {
    "* 7": lambda part: part * 7,
    "negated": lambda part: -part,
    "off by 1e-4": lambda part: part * (1 + 1e-4),
    "halved": lambda part: part / 2,
    "rolled along an axis": _rolled,
    "axes mixed up": _turned,
    "squared": lambda part: part * part,
    "shifted": lambda part: part + 1e-3,
}


def _first(found: Any) -> Rule:
    """A rule of one operand from its cotangent."""
    return lambda ct, y, *xs, **attrs: (found(ct, y, *xs), *[None] * (len(xs) - 1))


def _where_rule(ct: mg.Node, y: mg.Node, c: mg.Node, a: mg.Node, b: mg.Node) -> Any:
    return None, mg.where(c, 0, ct), mg.where(c, ct, 0)


def _untransposed(ct: mg.Node, y: mg.Node, a: mg.Node, b: mg.Node) -> Any:
    if a.shape != b.shape or a.shape[-1] != a.shape[-2]:
        return PRIMITIVES["matmul"].vjp(ct, y, a, b)
    return mg.matmul(ct, b), mg.matmul(a, ct)


def _kept_on(ct: mg.Node, x: mg.Node, axis: Any, keepdims: bool, shift: int) -> mg.Node:
    """The cotangent of a reduction, spread along the wrong axes."""
    flat = mg.reshape(ct, -1) if ct.type.is_static else ct
    size = math.prod(d for d in x.shape if isinstance(d, int))
    if not ct.type.is_static or not x.type.is_static or size % max(flat.shape[0], 1):
        return mg.broadcast_to(ct * 0, x.shape)
    wide = mg.broadcast_to(mg.expand_dims(flat, 1), (flat.shape[0], size // flat.shape[0]))
    return mg.reshape(wide if shift else mg.transpose(wide), x.shape)


def _spread_wrongly(ct: mg.Node, y: mg.Node, x: mg.Node, *, axis: Any, keepdims: bool) -> Any:
    return (_kept_on(ct, x, axis, keepdims, shift=0 not in axis),)


def _unaveraged(ct: mg.Node, y: mg.Node, x: mg.Node, *, axis: Any, keepdims: bool) -> Any:
    return PRIMITIVES["sum"].vjp(ct, y, x, axis=axis, keepdims=keepdims)


def _same_axes(ct: mg.Node, y: mg.Node, x: mg.Node, *, axes: Any) -> Any:
    found = mg.transpose(ct, axes)
    return (found if found.shape == x.shape else mg.reshape(ct, x.shape),)


def _first_rows(ct: mg.Node, y: mg.Node, x: mg.Node, i: mg.Node, *, axis: int) -> Any:
    return SCATTER_ADD(ct, i * 0, axis=axis, shape=x.shape), None


def _reordered(ct: mg.Node, y: mg.Node, *xs: mg.Node, axis: int) -> Any:
    parts = PRIMITIVES["concatenate"].vjp(ct, y, *xs[::-1], axis=axis)
    return parts[::-1]


# One term of the formula dropped or wrong, row by row.
_OF_ONE_ROW: dict[str, list[tuple[str, Rule]]] = {
    "sub": [("sign lost", lambda ct, y, a, b: (ct, ct))],
    "mul": [("other operand lost", lambda ct, y, a, b: (ct * y, ct * y))],
    "div": [
        ("factor of dx lost", lambda ct, y, a, b: (ct, -ct * y / b)),
        ("factor of dy lost", lambda ct, y, a, b: (ct / b, -ct * y)),
    ],
    "pow": [
        ("exponent lost", lambda ct, y, x, p: (ct * x ** (p - 1), None)),
        ("power lost", lambda ct, y, x, p: (ct * p * y, None)),
    ],
    "sqrt": [("factor 2 lost", _first(lambda ct, y, x: ct / y))],
    "exp": [("input for output", _first(lambda ct, y, x: ct * x))],
    "log": [("output for input", _first(lambda ct, y, x: ct / y))],
    "log1p": [("term 1 dropped", _first(lambda ct, y, x: ct / x))],
    "tanh": [
        ("term 1 dropped", _first(lambda ct, y, x: -ct * y * y)),
        ("term y*y dropped", _first(lambda ct, y, x: ct * 1)),
    ],
    "erf": [("factor 2/sqrt(pi) lost", _first(lambda ct, y, x: ct * mg.exp(-x * x)))],
    "abs": [("sign lost", _first(lambda ct, y, x: ct * 1))],
    "maximum": [("branches swapped", PRIMITIVES["minimum"].vjp)],
    "minimum": [("branches swapped", PRIMITIVES["maximum"].vjp)],
    "where": [("branches swapped", _where_rule)],
    "cast": [("to half and back", _first(lambda ct, y, x: _coarse(ct)))],
    "sum": [("wrong axis", _spread_wrongly)],
    "mean": [("wrong axis", _spread_wrongly), ("count lost", _unaveraged)],
    "max": [("all share", _spread_wrongly)],
    "matmul": [("not transposed", _untransposed)],
    "transpose": [("not inverted", _same_axes)],
    "take": [("rows lost", _first_rows)],
    "concatenate": [("parts reordered", _reordered)],
}


def _coarse(ct: mg.Node) -> mg.Node:
    return CAST(CAST(ct, dtype=np.dtype("float16")), dtype=ct.dtype)
