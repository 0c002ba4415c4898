"""Exact numbers: they are what Fractions are, and hash and compare like them."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.rewrite.exact import Ratio, magnitude, quotient, ratio, whole

INTS = st.one_of(st.integers(-12, 12), st.integers())
NUMBERS = st.builds(ratio, INTS, INTS.filter(bool))


@given(NUMBERS, NUMBERS)
def test_arithmetic_agrees_with_fractions(a, b):
    p, q = Fraction(a), Fraction(b)
    assert (whole(a * b), whole(a + b), whole(a - b), -a) == (p * q, p + q, p - q, -p)
    assert (whole(a - 2), whole(2 - a), whole(q - a)) == (p - 2, 2 - p, q - p)
    assert (a < b, a > b, a == b, a <= b) == (p < q, p > q, p == q, p <= q)
    assert (a < 2.5, a == 0.5) == (p < 2.5, p == 0.5)
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


def test_nothing_is_divided_by_zero():
    with pytest.raises(ZeroDivisionError):
        quotient(1, 0)
