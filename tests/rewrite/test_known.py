"""Known products: where they are found again in other products."""

import pytest

import minigrad as mg
from minigrad.rewrite.exact import ratio
from minigrad.rewrite.known import CANDIDATES, Products
from minigrad.rewrite.polynomial import Atom, Ring
from minigrad.rewrite.remainder import Remainder

MANY = 3 * CANDIDATES


@pytest.fixture
def products():
    """Products over ``MANY + 1`` factors of one shape."""
    ring = Ring()
    for number in range(MANY + 1):
        ring.factor(ring.atom(Atom(number, "leaf", (3,), (-1,))), (-1,))
    return Products(ring)


def node():
    return mg.input("x", 3)


@pytest.mark.parametrize("shared", [0, MANY])  # the oldest of all factors, or the newest
def test_products_with_one_factor_in_common_are_all_found(products, shared):
    others = [f for f in range(MANY + 1) if f != shared]
    known = {f: tuple(sorted([(f, 1), (shared, 1)])) for f in others}
    held = {f: node() for f in others}
    for f in others:
        products.remember(known[f], 2, held[f])
    for f in others:
        third = others[0] if f != others[0] else others[1]
        left = Remainder(tuple(sorted([*known[f], (third, ratio(1, 2))])), 6, [], [])
        products.use(left)
        assert left.over == [held[f]]
        assert (left.monomial, left.scale) == (((third, ratio(1, 2)),), 3)


def test_the_first_node_that_holds_a_product_is_the_one_that_is_used(products):
    first, second = node(), node()
    products.remember(((0, 1), (1, 1)), 1, first)
    products.remember(((0, 1), (1, 1)), 1, second)
    assert products.plain(((0, 1), (1, 1))) is first


def test_the_inverse_of_a_known_product_is_used_below_the_line(products):
    held = node()
    products.remember(((0, 1), (1, 2)), 4, held)
    left = Remainder(((0, -1), (1, -2), (2, 1)), 1, [], [])
    products.use(left)
    assert (left.over, left.under) == ([], [held])
    assert (left.monomial, left.scale) == (((2, 1),), 4)


def test_a_product_of_other_factors_is_not_used(products):
    products.remember(((0, 1), (1, 1)), 1, node())
    left = Remainder(((0, 1), (2, 1)), 1, [], [])
    products.use(left)
    assert (left.over, left.under, left.monomial) == ([], [], ((0, 1), (2, 1)))


def test_a_mean_is_completed_by_the_known_product_that_it_holds_a_part_of(products):
    products.remember(((0, 1), (1, ratio(-1, 2))), 3, node())
    inside, outside = ((0, 1), (2, 1)), ((1, ratio(-3, 2)),)
    assert products.completed(inside, outside, frozenset()) == (((1, ratio(-1, 2)),), 3)
    assert products.completed(inside, ((1, ratio(1, 2)),), frozenset()) is None
    assert products.completed(inside, ((1, ratio(-1, 4)),), frozenset()) is None
    assert products.completed(inside, outside, frozenset([-1])) is None  # it varies along the mean
