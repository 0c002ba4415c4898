"""Exact numbers: they are what Fractions are, and hash and compare like them."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.rewrite.exact import Ratio, _interned, magnitude, quotient, ratio, whole

INTS = st.one_of(st.integers(-12, 12), st.integers())
NUMBERS = st.builds(ratio, INTS, INTS.filter(bool))


@given(NUMBERS, NUMBERS)
def test_arithmetic_agrees_with_fractions(a, b):
    p, q = Fraction(a), Fraction(b)
    assert (whole(a * b), whole(a + b), whole(a - b), -a) == (p * q, p + q, p - q, -p)
    assert (whole(a - 2), whole(2 - a), whole(q - a)) == (p - 2, 2 - p, q - p)
    assert (a < b, a > b, a == b) == (p < q, p > q, p == q)
    assert (a <= b, a >= b, a <= a, a >= a) == (p <= q, p >= q, True, True)
    assert (a < 2.5, a == 0.5, a <= 0.5, a >= 0.5) == (p < 2.5, p == 0.5, p <= 0.5, p >= 0.5)
    assert (a <= math.nan, a >= math.nan, a == math.nan) == (False, False, False)
    assert whole(a**3) == p**3
    assert magnitude(a) == abs(p)
    if b:
        assert quotient(a, b) == p / q


@given(NUMBERS, NUMBERS)
def test_results_are_whole_ints_or_ratios_that_exist_once(a, b):
    for found in (a, b, whole(a * b), whole(a + b), whole(Fraction(a) - b)):
        assert type(found) is (int if Fraction(found).denominator == 1 else Ratio)
        assert hash(found) == hash(Fraction(found))
        assert whole(Fraction(found)) == found
    if type(a) is Ratio:
        assert ratio(3 * a.numerator, 3 * a.denominator) is a


def test_equal_ratios_are_equal_when_the_cache_has_forgotten_one():
    one = ratio(2, 3)
    _interned.cache_clear()
    other = ratio(2, 3)
    assert one is not other
    assert one == other
    assert hash(one) == hash(other)
    assert one != ratio(3, 2)
    assert one <= other <= one


def test_nothing_is_divided_by_zero():
    with pytest.raises(ZeroDivisionError):
        quotient(1, 0)
