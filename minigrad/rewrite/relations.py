"""Equal polynomials that look different: the base of a root also appears by its parts.

With ``B = v + eps`` in a denominator, ``1 - v / B`` and ``eps / B`` are the same. Each such base is
a relation between atoms: its leading mean is written as ``B`` minus the rest, everywhere.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from .exact import Number
from .polynomial import ZERO, Poly, plus, scaled, times

if TYPE_CHECKING:
    from .normal import Normal

ROUNDS = 8  # nested bases are rare; each round removes one leading atom


def reduced(normal: Normal, poly: Poly) -> Poly:
    """The polynomial with the leading atom of every base in a denominator or root eliminated."""
    used: set[int] = set()
    for _ in range(ROUNDS):
        relation = _next_relation(normal, poly, used)
        if relation is None:
            return poly
        lead, replacement = relation
        poly = _replaced(poly, lead, replacement)
        normal.fired.add("definition of a base")
    return poly


def _next_relation(normal: Normal, poly: Poly, used: set[int]) -> tuple[int, Poly] | None:
    """A factor and what it equals, from a base that ``poly`` divides by or takes roots of."""
    for monomial in poly:
        for f, e in monomial:
            if normal.ring.of(f).kind != "sum" or f in used or not _needs_base(e):
                continue
            used.add(f)
            content = normal.content(f)
            leads = [
                (normal.ring.factors[m[0][0]][0], m)
                for m in content
                if len(m) == 1 and m[0][1] == 1 and normal.ring.of(m[0][0]).kind in _LEADING
            ]
            if not leads:
                continue
            _, lead = max(leads)
            rest = {m: c for m, c in content.items() if m != lead}
            base: Poly = {((f, 1),): 1}
            return lead[0][0], scaled(plus(base, rest, -1), 1 / Fraction(content[lead]))
    return None


_LEADING = ("mean", "opaque", "leaf")


def _needs_base(exponent: Number) -> bool:
    return isinstance(exponent, Fraction) or exponent < 0


def _replaced(poly: Poly, factor: int, value: Poly) -> Poly:
    """``poly`` with natural powers of a factor replaced."""
    total: Poly = ZERO
    for monomial, coefficient in poly.items():
        exponent = dict(monomial).get(factor, 0)
        term: Poly = {monomial: coefficient}
        if isinstance(exponent, int) and 0 < exponent <= 8:
            term = {tuple([p for p in monomial if p[0] != factor]): coefficient}
            for _ in range(exponent):
                term = times(term, value)
        total = plus(total, term)
    return total
