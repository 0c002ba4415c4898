"""Exact numbers: ints, and ratios where a number is not whole.

A `Ratio` is a Fraction that exists once, so that equal ones are mostly the same object, and whose
hash is found once: polynomials are dicts, and a Fraction's hash is a modular inverse.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import gcd
from typing import Any, TypeAlias

Number: TypeAlias = int | Fraction


class Ratio(Fraction):
    """A number that is not whole, in lowest terms; `ratio` makes it."""

    __slots__ = ("_hash", "length")
    _hash: int
    _numerator: int  # Fraction's own, without the call of a property
    _denominator: int
    length: int  # bits of the longer of numerator and denominator

    def __hash__(self) -> int:  # type: ignore[override]  # Complex has none
        try:
            return self._hash
        except AttributeError:  # most ratios are on the way to another, and never keys
            self._hash = Fraction.__hash__(self)
            return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(other) is Ratio:  # one may have left the cache of ratios
            a, b = self._numerator, self._denominator
            return a == other._numerator and b == other._denominator
        return type(other) is not int and Fraction.__eq__(self, other)

    def __mul__(self, other: Any) -> Any:
        if type(other) is int:
            return self if other == 1 else ratio(self._numerator * other, self._denominator)
        if type(other) is Ratio:
            a, b = self._numerator, self._denominator
            return ratio(a * other._numerator, b * other._denominator)
        return Fraction.__mul__(self, other)

    def __add__(self, other: Any) -> Any:
        a, b = self._numerator, self._denominator
        if type(other) is int:
            return _interned(a + b * other, b)
        if type(other) is Ratio:
            c, d = other._numerator, other._denominator
            return ratio(a + c, b) if b == d else ratio(a * d + b * c, b * d)
        return Fraction.__add__(self, other)

    def __sub__(self, other: Any) -> Any:
        return 0 if self is other else self + -other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __lt__(self, other: Any) -> bool:
        if type(other) is int:
            return self._numerator < other * self._denominator
        if type(other) is Ratio:
            return self._numerator * other._denominator < other._numerator * self._denominator
        return Fraction.__lt__(self, other)

    def __gt__(self, other: Any) -> bool:
        if type(other) is int:
            return self._numerator > other * self._denominator
        if type(other) is Ratio:
            return self._numerator * other._denominator > other._numerator * self._denominator
        return Fraction.__gt__(self, other)

    def __le__(self, other: Any) -> bool:
        return self is other or self < other or self == other

    def __ge__(self, other: Any) -> bool:
        return self is other or self > other or self == other

    def __neg__(self) -> Any:
        return _interned(-self._numerator, self._denominator)

    __rmul__, __radd__ = __mul__, __add__


def ratio(a: int, b: int) -> Number:
    """``a / b`` of two ints: an int where that is whole.

    >>> ratio(6, 3), ratio(1, 2) + ratio(3, 6)
    (2, 1)
    """
    shared = gcd(a, b) if b > 0 else -gcd(a, b)
    return a // shared if b == shared else _interned(a // shared, b // shared)


@lru_cache(1 << 12)
def _interned(a: int, b: int) -> Ratio:
    if not b:
        raise ZeroDivisionError(f"{a} / 0")
    made = object.__new__(Ratio)  # Fraction's own __new__ would find the common divisor again
    made._numerator, made._denominator = a, b
    made.length = max(a.bit_length(), b.bit_length())
    return made


def length(value: Number) -> int:
    """How many bits the longer of numerator and denominator has."""
    if type(value) is int:
        return value.bit_length()
    if type(value) is Ratio:
        return value.length
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def whole(value: Number) -> Number:
    """An int where it is one, else a `Ratio`."""
    if type(value) is int or type(value) is Ratio:
        return value
    return ratio(value.numerator, value.denominator)


def is_unit(value: Number) -> bool:
    """Whether a number that is not 0 is 1 or -1."""
    return type(value) is int and -2 < value < 2


def quotient(a: Number, b: Number) -> Number:
    """``a / b``, exactly."""
    if b == 1:
        return a
    return ratio(a.numerator * b.denominator, a.denominator * b.numerator)


def magnitude(value: Number) -> Number:
    """``abs``, typed."""
    return -value if value < 0 else value
