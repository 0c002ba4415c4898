"""Powers of products and sums.

``(x * y) ** e = x**e * y**e`` holds for every real x and y when e is an integer, and else only for
factors that are not negative: ``sqrt(x**2)`` is ``abs(x)``, see `signs`.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from .exact import Number, is_unit, length, magnitude, quotient, ratio, whole
from .polynomial import ONE, Atom, Monomial, Poly, Ring, number, power, times

if TYPE_CHECKING:
    from .normal import Normal

LONGEST = 4096  # bits of a number raised to a power


def power_of_product(
    normal: Normal, monomial: Monomial, coefficient: Number, exponent: Number
) -> Poly | None:
    """``(coefficient * monomial) ** exponent``."""
    if _too_long(coefficient, exponent):
        return _base({monomial: coefficient}, exponent, normal)
    if isinstance(exponent, int):
        scale = 1 if coefficient == 1 else _number_to_integer(coefficient, exponent)
        return normal.expanded({power(monomial, exponent): scale})
    if coefficient < 0:
        return _base({monomial: coefficient}, exponent, normal)
    result: Poly = _number_to(normal, coefficient, exponent)
    rest: list[tuple[int, Number]] = []
    for f, e in monomial:
        if type(e) is not int or normal.ring.sign(f):
            result = times(result, {((f, whole(e * exponent)),): 1})
        elif e % 2 == 0:
            normal.fired.add("root of a square")
            raised = whole(e * exponent)
            natural = isinstance(raised, int) and raised % 2 == 0
            result = times(result, {(((f if natural else _absolute(normal, f)), raised),): 1})
        else:
            rest.append((f, e))
    if len(rest) == 1:
        result = times(result, {power(tuple(rest), exponent): 1})
    elif rest:
        result = times(result, _base({tuple(rest): 1}, exponent, normal))
    if len(monomial) > 1:
        normal.fired.add("power of a product")
    return normal.expanded(result)


def is_square(a: Poly, b: Poly) -> bool:
    """Whether a product is of the same term twice, up to numbers, and no root of its square."""
    if len(a) != 1 or a.keys() != b.keys():
        return False
    (monomial,) = a
    return len(monomial) > 1 or 1 in [e for _, e in monomial]


def is_one_factor_more(factor: Poly, power: Poly) -> bool:
    """Whether the first is a factor of which the second has a natural power."""
    if len(factor) != 1 or len(power) != 1:
        return False
    (single,), (monomial,) = factor, power
    if len(single) != 1 or single[0][1] != 1:
        return False
    exponent = dict(monomial).get(single[0][0], 0)
    return type(exponent) is int and exponent > 0


def _too_long(coefficient: Number, exponent: Number) -> bool:
    """Whether a number's power has more digits than are worth having: ``3 ** 1e9``."""
    return not is_unit(coefficient) and length(coefficient) * magnitude(exponent) > LONGEST


def root_of_sum(normal: Normal, poly: Poly, exponent: Number) -> Poly:
    """``poly ** exponent`` of a sum: what all terms share comes out, the rest is an atom."""
    if not normal.deep:
        return _base(poly, exponent, normal)
    shared = _shared(normal.ring, poly, exponent)
    rest = times(poly, {power(shared, -1): 1}) if shared else poly
    lead = min([m for m in rest if m], default=ONE)
    scale = rest[lead] if isinstance(exponent, int) else magnitude(rest[lead])
    rest = {m: quotient(c, scale) for m, c in rest.items()}
    outside = power_of_product(normal, shared, scale, exponent)
    assert outside is not None  # `shared` holds only what any power goes through
    return times(outside, _base(rest, exponent, normal))


def _shared(ring: Ring, poly: Poly, exponent: Number) -> Monomial:
    """The factors of every term, with the power nearest to zero; for a root, only safe ones."""
    shared: dict[int, Number] = {}
    monomials = [dict(m) for m in poly]
    for f in set.intersection(*[set(m) for m in monomials]):
        powers = [m[f] for m in monomials]
        least = min(powers) if min(powers) > 0 else max(powers) if max(powers) < 0 else 0
        if isinstance(exponent, Fraction) and not ring.sign(f):
            least = least - least % 2 if isinstance(least, int) else 0
        if least:
            shared[f] = least
    return tuple(sorted(shared.items()))


def _base(poly: Poly, exponent: Number, normal: Normal) -> Poly:
    atom, places = normal.sum_atom(poly)
    return {((normal.ring.factor(atom, places), exponent),): 1}


def _absolute(normal: Normal, factor: int) -> int:
    operand: dict[Any, Any] = {((factor, 1),): 1}
    key, places = normal.ring.canonical((operand,))
    shape = normal.ring.of(factor).shape
    atom = Atom(("abs", key, ()), "opaque", shape, places, None, (operand,))
    return normal.ring.factor(normal.ring.atom(atom), places)


def _number_to_integer(value: Number, exponent: int) -> Number:
    a, b = value.numerator, value.denominator
    return ratio(a**exponent, b**exponent) if exponent > 0 else ratio(b**-exponent, a**-exponent)


def _number_to(normal: Normal, value: Number, exponent: Number) -> Poly:
    """A positive number to a fractional power: a number where that is rational."""
    if value == 1:
        return number(1)
    top, bottom = (_integer_root(n, exponent) for n in (value.numerator, value.denominator))
    if top is not None and bottom is not None:
        return {ONE: whole(top / bottom)}
    return _base({ONE: value}, exponent, normal)


def _integer_root(n: int, exponent: Number) -> Fraction | None:
    degree = exponent.denominator
    root = math.isqrt(n) if degree == 2 else round(n ** (1 / degree)) if n < 1 << 52 else -1
    return Fraction(root) ** exponent.numerator if root**degree == n else None
