"""Products that are powers, and as short as they can be."""

import pytest

import minigrad as mg
from minigrad.rewrite.normal import Normal
from minigrad.rewrite.powers import is_one_factor_more, is_square

X, Y = mg.input("x", 4), mg.input("y", 4)


def polynomials(*nodes):
    normal = Normal()
    normal.read(nodes)
    return [normal.poly[node] for node in nodes]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (X, X, True),
        (-X, X / 3, True),
        (X / mg.sqrt(Y), X / mg.sqrt(Y), True),  # x**2 / y is two ops, and this is one
        (mg.sqrt(X), mg.sqrt(X), False),  # x
        (X, Y, False),
        (X + Y, X + Y, False),
        (mg.constant(2.0), mg.constant(3.0), False),  # 6
    ],
)
def test_a_square_is_of_one_term_that_is_no_root(a, b, expected):
    assert is_square(*polynomials(a, b)) == expected


@pytest.mark.parametrize(
    ("factor", "power", "expected"),
    [
        (X, X**3, True),
        (X, X**2 * Y, True),
        (X, 1 / X, False),
        (X**2, X**3, False),
        (X, mg.sqrt(X), False),
        (X, Y, False),
        (X + Y, X, False),
    ],
)
def test_one_factor_more(factor, power, expected):
    assert is_one_factor_more(*polynomials(factor, power)) == expected


def test_a_square_stays_as_it_is():
    z = X * Y / mg.sqrt(mg.exp(X))
    (found,) = mg.simplify([z, mg.neg(z) * z])[1:]
    assert [n.prim.name for n in (found, *found.inputs)] == ["mul", "neg", "div"]
