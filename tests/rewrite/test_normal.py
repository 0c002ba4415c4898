"""The normal form: two different values never share a polynomial, and no number is too large."""

import time

import numpy as np
import pytest

import minigrad as mg
from minigrad.passes.points import random_point
from minigrad.rewrite.normal import Normal
from minigrad.rewrite.signs import NOT_NEGATIVE, UNKNOWN, sign_of_atom


def same(a, b, deep=True):
    """The normal form says that two nodes are equal."""
    found = Normal(deep=deep)
    found.read([a, b])
    return found.poly[a] == found.poly[b]


def test_a_product_of_repeated_matrices_knows_how_often_they_repeat():
    """``(p 1^T) (1 q) = k p q``: the contracted size is in neither factor nor in the result."""
    p, q = mg.input("p", ("B", 3, 1), "float64"), mg.input("q", ("B", 1, 4), "float64")

    def contracted(k):
        return mg.broadcast_to(p, ("B", 3, k)) @ mg.broadcast_to(q, ("B", k, 4))

    assert same(contracted(5), contracted(5))
    assert not same(contracted(5), contracted(6))
    assert not same(contracted("J"), contracted("K"))
    assert mg.prove_equal(contracted("J"), contracted("K")) is None


@pytest.mark.parametrize("exponent", [1e9, -1e9, 1e9 + 0.5, 1e300])
@pytest.mark.parametrize("deep", [False, True])
def test_a_huge_power_of_a_number_is_not_written_out(exponent, deep):
    x = mg.input("x", 3, "float64")
    start = time.perf_counter()
    for base in (3 * x, x + 3, mg.constant(np.float64(3)) + 0, 0.1 * mg.exp(x)):
        assert same(base**exponent, base**exponent, deep)
        assert mg.simplify(base**exponent).type == (base**exponent).type
    assert time.perf_counter() - start < 5


def test_a_huge_power_of_one_or_minus_one_is_a_number():
    x = mg.input("x", 3, "float64")
    assert same((-x) ** 1e9, x**1e9)
    assert not same((-x) ** (1e9 + 1), x ** (1e9 + 1))


def test_the_sign_of_a_float_is_not_that_of_its_integer_part():
    """0.1 is positive, its integer part is 0; a large int that becomes a small one may wrap."""
    x = mg.input("x", 3, "float64")
    i = mg.input("i", 3, "int64")
    part, wrapped = mg.cast(mg.exp(x), "int32"), mg.cast(mg.abs(i), "int32")
    found = Normal()
    found.read([part, wrapped])

    def sign(node):
        return sign_of_atom(found.ring, found.atom_of[node])

    assert sign(part) == NOT_NEGATIVE
    assert sign(wrapped) == UNKNOWN


def test_a_random_point_gives_every_named_dim_a_size_of_its_own():
    names = "ABCDEFGHIJ"
    x = [mg.input(name.lower(), name, "float64") for name in names[:-1]]
    repeated = mg.broadcast_to(mg.constant(np.float64(1)), names[-1])
    sizes = [random_point([*x, repeated], seed).dims for seed in range(3)]
    for found in sizes:
        assert len(set(found.values())) == len(names)
    assert len({found["A"] for found in sizes}) == 3


def test_indices_of_a_random_point_are_in_range():
    x, i = mg.input("x", (2, 4), "float64"), mg.input("i", "N", "int64")
    taken = mg.take(x, i)
    (dx,) = mg.grad(taken * taken, [x], mg.input("u", ("N", 4), "float64"))
    assert mg.prove_equal(mg.take(x + 1, i), mg.take(1 + x, i)) is not None
    assert mg.prove_equal(mg.take(x, i), mg.take(2 * x, i)) is None
    assert mg.simplify(dx, proof=True)
