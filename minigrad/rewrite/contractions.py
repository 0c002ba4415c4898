"""Matrix products, deep down: bilinear, and averaged through an operand.

``(x + y) W = x W + y W``, and the mean over rows of ``x W`` is ``M(x) W``, which is why a bias
before a linear layer before batch norm has no gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..ir import Node, Shape
from .polynomial import ZERO, Atom, Monomial, Poly, bits, plus, product, times

if TYPE_CHECKING:
    from .normal import Normal

CONTRACTED = "contracted"  # the kind of key of the atoms made here
NESTED = 24  # products inside of each other that a mean goes through


def contracted(normal: Normal, p: Poly, q: Poly, width: Any, shape: Shape) -> Poly:
    """``p @ q`` of a shape, summed over ``width`` elements, term by term."""
    total: Poly = ZERO
    for m, c in p.items():
        for n, d in q.items():
            total = plus(total, _contracted(normal, m, n, width, shape), c * d)
    return total


def _contracted(normal: Normal, m: Any, n: Any, width: Any, shape: Shape) -> Poly:
    """``m @ n``, factors that do not vary along the contracted axis outside."""
    ring = normal.ring

    def split(monomial: Any, inner: int, other: int) -> tuple[Any, Any]:
        out = [t for t in monomial if not ring.wide[t[0]] & bits((inner, other))]
        lone = [t for t in monomial if ring.wide[t[0]] == bits((other,))]
        moved = [*out, *lone]
        return tuple(sorted(moved)), tuple([t for t in monomial if t not in moved])

    left, m = split(m, -1, -2)
    right, n = split(n, -2, -1)
    scale = product(left, right)
    if not m and not n:
        return times({scale: 1}, normal.size([width]))
    home = tuple([a - len(shape) for a, dim in enumerate(shape) if dim != 1])
    key = (CONTRACTED, ring.framed({m: 1}), ring.framed({n: 1}), width, shape)
    dims = tuple([shape[p] for p in home])
    atom = Atom(key, "opaque", dims, home, None, ({m: 1}, {n: 1}), rank=len(shape))
    return times({scale: 1}, normal.single((ring.atom(atom), home)))


def mean_of_product(normal: Normal, inside: Monomial, along: int, rank: int) -> Poly | None:
    """``M(m @ n)`` as ``M(m) @ n`` or ``m @ M(n)``; None where ``inside`` is no product.

    ``along`` are the axes, as bits. Each goes to the operand that varies along it; where both do,
    it stays.
    """
    if not normal.deep or len(inside) != 1 or inside[0][1] != 1:
        return None
    number, places = normal.ring.factors[inside[0][0]]
    atom = normal.ring.atoms[number]
    if not isinstance(atom.key, tuple) or atom.key[0] != CONTRACTED:
        return None
    *_, width, shape = atom.key
    where = dict(zip(atom.home, places, strict=True))
    p, q = atom.content
    averaged = set()
    for place in [home for home, now in where.items() if along >> -now & 1]:
        side = _side(normal, place, p, q)
        if side is None or normal.nested >= NESTED:
            continue
        normal.nested += 1
        if side == 0:
            p = normal.mean(p, frozenset({place}), len(shape))
        else:
            q = normal.mean(q, frozenset({place}), len(shape))
        normal.nested -= 1
        averaged.add(place)
    if not averaged:
        return None
    normal.fired.add("mean of a product")
    smaller = tuple([1 if a - len(shape) in averaged else d for a, d in enumerate(shape)])
    found = contracted(normal, p, q, width, smaller)
    found = normal.ring.moved(found, where)
    rest = [now for home, now in where.items() if along >> -now & 1 and home not in averaged]
    return normal.mean(found, frozenset(rest), rank) if rest else found


def _side(normal: Normal, place: int, p: Poly, q: Poly) -> int | None:
    """The operand that has an axis of the product to itself."""
    if place >= -2:
        return 0 if place == -2 else 1
    left, right = (normal.ring.width(poly) >> -place & 1 for poly in (p, q))
    return None if left and right else int(right)


def read(normal: Normal, node: Node) -> Poly:
    """A product of two nodes whose polynomials are known."""
    p, q = (normal.poly[operand] for operand in node.inputs)
    normal.fired.add("bilinearity of the product")
    return contracted(normal, p, q, node.inputs[0].type.shape[-1], node.type.shape)
