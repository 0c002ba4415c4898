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


def test_of_products_that_complete_a_mean_the_one_with_most_inside_is_taken(products):
    inside, outside = ((0, 1), (2, 1)), ((1, 1), (3, 1))
    products.remember(((0, 1), (3, 1)), 2, node())
    products.remember(((0, 1), (1, 1)), 3, node())
    assert products.completed(inside, outside, frozenset()) == (((3, 1),), 2)  # known first
    products.remember(((0, 1), (1, 1), (2, 1)), 4, node())
    assert products.completed(inside, outside, frozenset()) == (((1, 1),), 4)


def test_a_product_of_factors_that_have_no_room_is_kept_but_not_found(products):
    held = {power: node() for power in range(1, MANY)}
    for power, one in held.items():
        products.remember(((0, power), (1, power)), 1, one)
    assert [len(listed) for listed in products.by_factor.values()] == [CANDIDATES] * 2
    for power, one in held.items():
        assert products.plain(((0, power), (1, power))) is one


def test_only_products_of_some_nodes_are_used_where_that_is_asked(products):
    first, second = node(), node()
    products.remember(((0, 1), (1, 1)), 1, first)
    products.remember(((0, 1), (2, 1)), 1, second)
    left = Remainder(((0, 1), (1, 1), (2, 1)), 1, [], [])
    products.use(left, {second})
    assert left.over == [second]


def test_a_mean_is_completed_by_the_known_product_that_it_holds_a_part_of(products):
    products.remember(((0, 1), (1, ratio(-1, 2))), 3, node())
    inside, outside = ((0, 1), (2, 1)), ((1, ratio(-3, 2)),)
    assert products.completed(inside, outside, frozenset()) == (((1, ratio(-1, 2)),), 3)
    assert products.completed(inside, ((1, ratio(1, 2)),), frozenset()) is None
    assert products.completed(inside, ((1, ratio(-1, 4)),), frozenset()) is None
    assert products.completed(inside, outside, frozenset([-1])) is None  # it varies along the mean
