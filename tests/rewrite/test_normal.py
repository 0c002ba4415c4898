"""The normal form: two different values never share a polynomial, and no number is too large."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.passes.points import random_point
from minigrad.rewrite.exact import ratio, whole
from minigrad.rewrite.normal import Normal
from minigrad.rewrite.polynomial import plus, product, times
from minigrad.rewrite.signs import NOT_NEGATIVE, POSITIVE, UNKNOWN, sign_of_atom

EXPONENTS = st.builds(ratio, st.integers(-3, 3).filter(bool), st.integers(1, 3))
MONOMIALS = st.dictionaries(st.integers(0, 5), EXPONENTS, max_size=4).map(
    lambda powers: tuple(sorted(powers.items()))
)
POLYNOMIALS = st.dictionaries(MONOMIALS, EXPONENTS, max_size=4)


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


@given(MONOMIALS, MONOMIALS)
def test_exponents_of_a_product_add_up(a, b):
    found, given = dict(product(a, b)), [dict(a), dict(b)]
    assert list(product(a, b)) == sorted(found.items())
    for f in {f for powers in given for f in powers}:
        assert found.get(f, 0) == sum(powers.get(f, 0) for powers in given)
    assert 0 not in found.values()


@given(POLYNOMIALS, POLYNOMIALS)
def test_a_product_is_that_of_every_pair_of_terms(a, b):
    total = {}
    for m, c in a.items():
        total = plus(total, times({m: c}, b))
    pairs = [(product(m, n), whole(c * d)) for m, c in a.items() for n, d in b.items()]
    assert times(a, b) == total == times(b, a)
    for monomial in {m for m, _ in pairs}:
        assert total.get(monomial, 0) == sum(c for m, c in pairs if m == monomial)
    assert 0 not in total.values()


@pytest.mark.parametrize("axis", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("deep", [False, True])
def test_a_reduction_is_the_same_in_any_frame(axis, deep):
    x, w = mg.input("x", ("A", 3, 5), "float64"), mg.input("w", 5, "float64")
    kept = mg.mean(mg.exp(x) * w, axis=axis, keepdims=True)
    gone = mg.mean(mg.exp(x) * w, axis=axis)
    assert same(mg.reshape(kept, gone.type.shape), gone, deep)
    moved = mg.transpose(mg.exp(x) * w, (2, 0, 1))
    where = tuple(sorted((1, 2, 0)[a] for a in axis))
    order = [a for a in (2, 0, 1) if a not in axis]
    back = tuple(order.index(a) for a in sorted(order))
    assert same(mg.transpose(mg.mean(moved, axis=where), back), gone, deep)
    assert not same(mg.mean(mg.exp(x) * w, axis=(0, 1)), mg.mean(mg.exp(x) * w, axis=(0, 2)), deep)


def test_the_sign_of_sums_in_sums_is_found_at_any_depth():
    x = mg.input("x", 3, "float64")
    y = mg.exp(x)
    for _ in range(3000):
        y = (y + 1) * mg.exp(x)
    found = Normal()
    found.read([y])
    (monomial,) = found.poly[y]
    assert [found.ring.sign(f) for f, _ in monomial] == [POSITIVE, POSITIVE]
    assert len(found.ring.signs) > 3000


@pytest.mark.parametrize("deep", [False, True])
def test_an_elementwise_op_is_the_same_in_any_frame(deep):
    """The factors of ``x y`` come in another order once x has met another place."""
    x, y = mg.input("x", 3, "float64"), mg.input("y", (3, 3), "float64")
    rows, columns = x * mg.transpose(y), mg.reshape(x, (3, 1)) * y
    assert same(mg.transpose(mg.erf(rows)), mg.erf(columns), deep)
    assert not same(mg.erf(rows), mg.erf(columns), deep)
