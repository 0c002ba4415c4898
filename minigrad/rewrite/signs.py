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


# The ops whose sign follows from their operands; of the others it is known, or not, at once.
_FROM_OPERANDS = frozenset(
    {"abs", "sqrt", "max", "unfold", "maximum", "minimum", "where", "cast"}
)  # fmt: skip


def sign_of_atom(ring: Ring, number: int) -> int:
    """What is known of the sign of an atom; what it is made of comes first."""
    known, factors = ring.signs, ring.factors
    waiting = [number]
    while waiting:
        atom = ring.atoms[waiting[-1]]
        below = [factors[f][0] for poly in _decisive(atom) for m in poly for f, _ in m]
        missing = [n for n in below if n not in known]
        if missing:
            waiting += missing
        else:
            known[waiting.pop()] = _from_below(ring, atom)
    return known[number]


def _decisive(atom: Atom) -> tuple[Poly, ...]:
    """The polynomials that an atom's sign is found from."""
    name = atom.key[0] if isinstance(atom.key, tuple) else ""
    if atom.kind not in ("sum", "mean") and name not in _FROM_OPERANDS:
        return ()
    return tuple([poly for poly in atom.content if min(poly.values(), default=1) > 0])


def _from_below(ring: Ring, atom: Atom) -> int:
    """What is known of the sign of an atom, from the signs of what it is made of."""
    node = atom.node
    if atom.kind == "dim" or (node is not None and node in ring.positive):
        return POSITIVE
    if atom.kind in ("sum", "mean"):
        return _sign_of(ring, atom.content[0])
    name = atom.key[0] if isinstance(atom.key, tuple) else ""
    if name == "constant" and node is not None and node.type.is_float:
        smallest = np.min(node.attrs["value"], initial=np.inf)
        return POSITIVE if smallest > 0 else NOT_NEGATIVE if smallest == 0 else UNKNOWN
    if name == "exp":
        return POSITIVE
    if name not in _FROM_OPERANDS:
        return UNKNOWN
    known = [_sign_of(ring, poly) for poly in atom.content]
    match name:
        case "abs" | "sqrt":
            return max(NOT_NEGATIVE, known[0])
        case "maximum":
            return max(known)
        case "minimum":
            return min(known)
        case "where":
            return min(known[1:])
        case "cast":
            return _of_cast(node, known[0])
    return known[0]


def _of_cast(node: Node | None, known: int) -> int:
    """A float keeps its sign; towards an int a fraction becomes 0, and a large int wraps."""
    assert node is not None
    before, after = node.inputs[0].type, node.type
    if before.dtype == np.bool_:
        return NOT_NEGATIVE
    if after.is_float:
        return known
    return min(known, NOT_NEGATIVE) if before.is_float else UNKNOWN


def _sign_of(ring: Ring, poly: Poly) -> int:
    """What is known of the sign of a polynomial."""
    if min(poly.values(), default=1) < 0:
        return UNKNOWN
    signs = [_sign_of_term(ring, monomial) for monomial in poly]
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
