"""What is known of the sign of an atom or a polynomial, from what it is made of.

``exp`` is positive, a mean of squares is not negative, and with ``eps`` it is positive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..ir import Node
    from .polynomial import Atom, Monomial, Poly, Ring

UNKNOWN, NOT_NEGATIVE, POSITIVE = 0, 1, 2


def sign_of_atom(ring: Ring, atom: Atom) -> int:
    """What is known of the sign of an atom, from the signs of what it is made of."""
    node = atom.node
    if atom.kind == "dim" or (node is not None and node in ring.positive):
        return POSITIVE
    if atom.kind in ("sum", "mean"):
        return sign_of(ring, atom.content[0])
    name = atom.key[0] if isinstance(atom.key, tuple) else ""
    if name == "constant" and node is not None and node.type.is_float:
        smallest = np.min(node.attrs["value"], initial=np.inf)
        return POSITIVE if smallest > 0 else NOT_NEGATIVE if smallest == 0 else UNKNOWN
    known = [sign_of(ring, poly) for poly in atom.content]
    match name:
        case "exp":
            return POSITIVE
        case "abs" | "sqrt":
            return max(NOT_NEGATIVE, known[0])
        case "max" | "unfold":
            return known[0]
        case "maximum":
            return max(known)
        case "minimum":
            return min(known)
        case "where":
            return min(known[1:])
        case "cast":
            return _of_cast(node, known[0])
    return UNKNOWN


def _of_cast(node: Node | None, known: int) -> int:
    """A float keeps its sign; towards an int a fraction becomes 0, and a large int wraps."""
    assert node is not None
    before, after = node.inputs[0].type, node.type
    if before.dtype == np.bool_:
        return NOT_NEGATIVE
    if after.is_float:
        return known
    return min(known, NOT_NEGATIVE) if before.is_float else UNKNOWN


def sign_of(ring: Ring, poly: Poly) -> int:
    """What is known of the sign of a polynomial."""
    signs = [_sign_of_term(ring, m) if c > 0 else UNKNOWN for m, c in poly.items()]
    if not signs or UNKNOWN in signs:
        return UNKNOWN if signs else NOT_NEGATIVE
    return max(signs)


def _sign_of_term(ring: Ring, monomial: Monomial) -> int:
    found = POSITIVE
    for f, e in monomial:
        sign = ring.signs[ring.factors[f][0]]
        if sign == UNKNOWN and (type(e) is not int or e % 2 == 0):
            sign = POSITIVE if e < 0 else NOT_NEGATIVE
        elif sign == NOT_NEGATIVE and e < 0:
            sign = POSITIVE
        found = min(found, sign)
    return found
