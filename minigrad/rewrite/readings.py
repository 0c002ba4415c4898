"""How each primitive reads: its result as a polynomial, or as an atom.

A row of `READINGS` for each op that algebra knows; every other op is `opaque`. A row whose result
can have longer terms than its operands, or more of them, ends in `Normal.bounded`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..ir import Kind, Node, Shape, attrs_key
from . import contractions
from .exact import Number, ratio, whole
from .polynomial import ONE, ZERO, Atom, Poly, frame, number, plus, scaled
from .signs import POSITIVE

if TYPE_CHECKING:
    from .normal import Normal

ELEMENTWISE = Kind.ELEMENTWISE  # a member of an enum takes long to find
HALF = ratio(1, 2)


def opaque(normal: Normal, node: Node) -> Poly:
    """The node is an atom; elementwise ones are the same atom in any frame."""
    shape = node.type.shape
    home, dims, _, named = frame(shape)
    for name, axis in named:
        normal.dims.setdefault(name, (node, axis))
    if not node.inputs or node.prim.kind is not ELEMENTWISE:
        return whole_node(normal, node)
    operands = tuple(map(normal.poly.__getitem__, node.inputs))
    key, places = normal.ring.canonical(operands)
    if len(places) != len(home):
        return whole_node(normal, node)  # it repeats itself along an axis
    if places != home:
        dims = tuple([shape[p] for p in places])
    key = (node.prim.name, key, attrs_key(node.attrs) if node.attrs else ())
    atom = Atom(key, "opaque", dims, places, node, operands, (), (), len(shape))
    return normal.itself(node, atom)


def whole_node(normal: Normal, node: Node) -> Poly:
    """The node as an atom of its own, keyed by its operands' polynomials."""
    home, dims, *_ = frame(node.type.shape)
    key: Hashable = ("leaf", id(node))
    operands = tuple(map(normal.poly.__getitem__, node.inputs))
    if operands and node.prim.name != "random_uniform":
        frames = tuple([normal.ring.framed(p) for p in operands])
        types = tuple([(i.type.shape, i.type.dtype) for i in node.inputs])
        key = (node.prim.name, frames, types, attrs_key(node.attrs))
    elif node.prim.name == "constant":
        key = ("constant", node.type, node.attrs["value"].tobytes())
    kind = "opaque" if operands else "leaf"
    atom = Atom(key, kind, dims, home, node, operands, (), (), len(node.type.shape))
    return normal.itself(node, atom)


def _constant(normal: Normal, node: Node) -> Poly:
    value = node.attrs["value"]
    if not node.type.is_float or value.size == 0 or value.dtype == np.complex128:
        return opaque(normal, node)
    first = value.flat[0]
    if not np.isfinite(first) or (value.size > 1 and not (value == first).all()):
        return opaque(normal, node)
    return number(exactly(float(first)))


def _sum_of(scale: int) -> Callable[[Normal, Node], Poly]:
    def read(normal: Normal, node: Node) -> Poly:
        if not node.type.is_float:
            return opaque(normal, node)
        x, y = node.inputs
        a, b = normal.poly[x], normal.poly[y]
        total = plus(a, b, scale)
        if len(total) < len(a) + len(b) and a and b:
            normal.fired.add("like terms")
        return normal.sum_of(node, total)

    return read


def _product(normal: Normal, node: Node) -> Poly:
    if not node.type.is_float:
        return opaque(normal, node)
    x, y = node.inputs
    return normal.bounded(node, normal.times(normal.poly[x], normal.poly[y]))


def _quotient(normal: Normal, node: Node) -> Poly:
    x, y = node.inputs
    inverse = normal.power(normal.poly[y], -1)
    if inverse is None:
        return opaque(normal, node)
    return normal.bounded(node, normal.times(normal.poly[x], inverse))


def _negated(normal: Normal, node: Node) -> Poly:
    return scaled(normal.poly[node.inputs[0]], -1) if node.type.is_float else opaque(normal, node)


def _power(normal: Normal, node: Node) -> Poly:
    base, exponent = [normal.poly[i] for i in node.inputs]
    if len(exponent) > 1 or (exponent and ONE not in exponent):
        return opaque(normal, node)
    value = exponent.get(ONE, 0)
    if value and value.denominator > 16:
        return opaque(normal, node)
    found = normal.power(base, value)
    return opaque(normal, node) if found is None else normal.bounded(node, found)


def _root(normal: Normal, node: Node) -> Poly:
    found = normal.power(normal.poly[node.inputs[0]], HALF)
    return opaque(normal, node) if found is None else normal.bounded(node, found)


def _reduction(normal: Normal, node: Node) -> Poly:
    if not node.type.is_float:
        return opaque(normal, node)
    (x,) = node.inputs
    shape, axis = x.type.shape, node.attrs["axis"]
    dims = tuple([shape[a] for a in axis])
    if 0 in dims:
        return opaque(normal, node)
    axes, move = _reduced(len(shape), axis)
    total = normal.mean(normal.poly[x], axes, len(shape))
    if node.prim.name == "sum":
        normal.fired.add("sum is n means")
        _name(normal, x, axis)
        total = normal.times(total, normal.size(dims))
    if not node.attrs["keepdims"]:
        total = normal.ring.moved(total, move)
    return normal.bounded(node, total)


@lru_cache(1 << 10)
def _reduced(rank: int, axis: tuple[int, ...]) -> tuple[frozenset[int], dict[int, int]]:
    """The places of axes, and where other places go without them."""
    rest = [a for a in range(rank) if a not in axis]
    move = {a - rank: i - len(rest) for i, a in enumerate(rest) if a - rank != i - len(rest)}
    return frozenset([a - rank for a in axis]), move


def _name(normal: Normal, x: Node, axis: tuple[int, ...]) -> None:
    """Remember ``x`` as a node that has the dims of these axes."""
    for a in axis:
        dim = x.type.shape[a]
        if isinstance(dim, str):
            normal.dims.setdefault(dim, (x, a))


def _count(normal: Normal, node: Node) -> Poly:
    (x,) = node.inputs
    _name(normal, x, node.attrs["axis"])
    if node.attrs.get("at_least"):
        return opaque(normal, node)  # it may raise, which is part of its meaning
    return normal.bounded(node, normal.size([x.type.shape[a] for a in node.attrs["axis"]]))


def _same(normal: Normal, node: Node) -> Poly:
    return normal.poly[node.inputs[0]] if node.type.is_float else opaque(normal, node)


def _stopped(normal: Normal, node: Node) -> Poly:
    return _same(normal, node) if normal.deep else opaque(normal, node)


def _reshape(normal: Normal, node: Node) -> Poly:
    (x,) = node.inputs
    moves = ones_moved(x.type.shape, node.type.shape)
    poly = normal.poly[x]
    if not node.type.is_float:
        return opaque(normal, node)
    if moves is None:
        if not poly or (len(poly) == 1 and ONE in poly):
            return poly
        return _linear(normal, node)
    return normal.ring.moved(poly, moves)


@lru_cache(1 << 10)
def ones_moved(old: Shape, new: Shape) -> dict[int, int] | None:
    """Where each place goes in a reshape that only inserts or removes ones; None for others."""
    before = [a - len(old) for a, dim in enumerate(old) if dim != 1]
    after = [a - len(new) for a, dim in enumerate(new) if dim != 1]
    if [old[a] for a in before] != [new[a] for a in after]:
        return None
    return {b: a for b, a in zip(before, after, strict=True) if b != a}


def _transpose(normal: Normal, node: Node) -> Poly:
    (x,) = node.inputs
    if not node.type.is_float:
        return opaque(normal, node)
    order = node.attrs["axes"]
    rank = len(order)
    move = {old - rank: new - rank for new, old in enumerate(order) if old != new}
    return normal.ring.moved(normal.poly[x], move)


def _linear(normal: Normal, node: Node) -> Poly:
    """A linear map of one operand: numbers come out, and deep down it goes to every term."""
    (x,) = node.inputs
    poly = normal.poly[x]
    if not node.type.is_float:
        return whole_node(normal, node)
    if not poly:
        return ZERO
    if not normal.deep and len(poly) > 1:
        return whole_node(normal, node)
    if len(poly) == 1 and 1 in poly.values():
        return normal.itself(node, _mapped(normal, node, poly))
    total: Poly = ZERO
    for monomial, coefficient in poly.items():
        atom = _mapped(normal, node, {monomial: 1})
        total = plus(total, normal.single((normal.ring.atom(atom), atom.home)), coefficient)
    if len(poly) > 1:
        normal.fired.add("linearity of a map")
    return normal.bounded(node, total)


def _padded(normal: Normal, node: Node) -> Poly:
    return _linear(normal, node) if node.attrs.get("value") == 0 else whole_node(normal, node)


def _mapped(normal: Normal, node: Node, operand: Poly) -> Atom:
    home, dims, *_ = frame(node.type.shape)
    frames = normal.ring.framed(operand)
    key = (node.prim.name, frames, node.inputs[0].type, attrs_key(node.attrs))
    return Atom(key, "opaque", dims, home, node, (operand,), rank=node.ndim)


def _matmul(normal: Normal, node: Node) -> Poly:
    a, b = node.inputs
    p, q = normal.poly[a], normal.poly[b]
    if not node.type.is_float or a.ndim < 2 or b.ndim < 2:
        return opaque(normal, node)
    if not p or not q:
        return ZERO
    if not normal.deep:
        return whole_node(normal, node)
    return normal.bounded(node, contractions.read(normal, node))


def _exponential(normal: Normal, node: Node) -> Poly:
    """Deep down, ``exp(a + b) = exp(a) exp(b)``: one atom a term, its coefficient the exponent."""
    poly = normal.poly[node.inputs[0]]
    if not poly:
        return number(1)
    if not normal.deep:
        return opaque(normal, node)
    powers = []
    for monomial, coefficient in poly.items():
        key, places = normal.ring.canonical(({monomial: 1},))
        sizes = normal.ring.sizes([monomial])
        shape = tuple(sizes[p] for p in places)
        atom = Atom(
            ("exp", key, ()), "opaque", shape, places, None, ({monomial: 1},), rank=node.ndim
        )
        powers.append((normal.ring.factor(normal.ring.atom(atom), places), coefficient))
    if len(powers) > 1:
        normal.fired.add("exponential of a sum")
    return normal.bounded(node, {tuple(sorted(powers)): 1})


def _logarithm(normal: Normal, node: Node) -> Poly:
    """Deep down, ``log(a b) = log(a) + log(b)`` for positive factors, and ``log(exp(x)) = x``."""
    poly = normal.poly[node.inputs[0]]
    ring = normal.ring
    if not normal.deep or len(poly) != 1:
        return opaque(normal, node)
    ((monomial, coefficient),) = poly.items()
    if coefficient < 0 or any(ring.sign(f) != POSITIVE for f, _ in monomial):
        return opaque(normal, node)
    terms: list[tuple[Poly, Number]] = [({((f, 1),): 1}, e) for f, e in monomial]
    if coefficient != 1:
        terms.append(({ONE: coefficient}, 1))
    if len(terms) > 1:
        normal.fired.add("logarithm of a product")
    total: Poly = ZERO
    for operand, e in terms:
        f = next(iter(operand))[0][0] if ONE not in operand else -1
        if f >= 0 and ring.of(f).key[0] == "exp":  # type: ignore[index]
            total = plus(total, normal.content(f), e)
            continue
        key, places = ring.canonical((operand,))
        sizes = ring.sizes(operand)
        shape = tuple(sizes[p] for p in places)
        atom = Atom(("log", key, ()), "opaque", shape, places, None, (operand,), rank=node.ndim)
        total = plus(total, normal.single((ring.atom(atom), places)), e)
    return normal.bounded(node, total)


READINGS: dict[str, Callable[[Normal, Node], Poly]] = {
    "constant": _constant,
    "add": _sum_of(1),
    "sub": _sum_of(-1),
    "mul": _product,
    "div": _quotient,
    "neg": _negated,
    "pow": _power,
    "sqrt": _root,
    "exp": _exponential,
    "log": _logarithm,
    "sum": _reduction,
    "mean": _reduction,
    "count": _count,
    "broadcast_to": _same,
    "mark": _same,
    "stop_gradient": _stopped,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _linear,
    "pad": _padded,
    "unfold": _linear,
    "fold": _linear,
    "matmul": _matmul,
}


def exactly(value: float) -> Number:
    """The rational number that a float is."""
    return whole(Fraction(value))
