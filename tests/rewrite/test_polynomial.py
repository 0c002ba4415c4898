"""Polynomials: what their terms have in common."""

from hypothesis import given
from hypothesis import strategies as st

from minigrad.rewrite.exact import magnitude, quotient, ratio
from minigrad.rewrite.polynomial import in_common, power, product

POWERS = st.sampled_from([-2, -1, ratio(-1, 2), ratio(1, 2), 1, 2])
MONOMIALS = st.dictionaries(st.integers(0, 3), POWERS).map(lambda m: tuple(sorted(m.items())))
NUMBERS = st.sampled_from([-2, -1, 1, 2, ratio(-2, 3), ratio(2, 3), ratio(1, 2)])


@given(st.dictionaries(MONOMIALS, NUMBERS, min_size=1, max_size=5))
def test_what_all_terms_have_in_common(poly):
    shared, number = in_common(poly)
    assert list(shared) == sorted(shared)
    terms = [dict(m) for m in poly]
    for f in range(4):
        powers = [m.get(f, 0) for m in terms]
        if min(powers) > 0:
            assert dict(shared)[f] == min(powers)
        elif max(powers) < 0:
            assert dict(shared)[f] == max(powers)
        else:
            assert f not in dict(shared)
    sizes = {magnitude(c) for c in poly.values()}
    assert magnitude(number) == (sizes.pop() if len(sizes) == 1 else 1)
    assert (number < 0) == all(c < 0 for c in poly.values())
    rest = {product(m, power(shared, -1)): quotient(c, number) for m, c in poly.items()}
    assert len(rest) == len(poly)
    if rest:
        assert in_common(rest) == ((), 1)
