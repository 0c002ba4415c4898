"""From polynomials back to nodes: what is made, and what is made once."""

import pytest

import minigrad as mg
from minigrad.ir import toposort
from minigrad.rewrite.build import Builder
from minigrad.rewrite.normal import Normal


def made(node):
    """The form that is built of a node's polynomial, and its ops; only leaves are known."""
    normal = Normal()
    normal.read([node])
    builder = Builder(normal)
    for leaf in toposort([node]):
        if leaf.prim.name == "input":
            builder.values[normal.atom_of[leaf]] = leaf
    found = builder.exact(normal.poly[node], node.type)
    return found, [n.prim.name for n in toposort([found])]


@pytest.mark.parametrize("number", [-0.5, -2.0, 3.0])
def test_a_number_and_its_sign_are_one_operand(number):
    x, y = mg.input("x", 4), mg.input("y", 4)
    _, ops = made(x * number * y)
    assert ops.count("mul") == 2
    assert "neg" not in ops


def test_a_sign_alone_is_a_negation():
    x, y = mg.input("x", 4), mg.input("y", 4)
    _, ops = made(-(x * y))
    assert sorted(ops) == ["input", "input", "mul", "neg"]
    _, ops = made(mg.neg(1 / x))
    assert ops.count("neg") == ops.count("div") == 1


def test_a_product_in_several_places_is_made_once():
    x, y, z = (mg.input(name, 4) for name in "xyz")
    found, ops = made(mg.exp(x * y * z) + mg.tanh(z * y * x) + mg.erf(y * z * x))
    assert found.type == x.type
    assert ops.count("mul") == 2


def test_numbers_are_of_the_dtype_of_the_place_where_they_stand():
    x, y = mg.input("x", 4, "float32"), mg.input("y", 4, "float64")
    found, _ = made(mg.exp(x) + 2 + mg.cast(mg.tanh(y) + 2, "float32"))
    numbers = {n.dtype.name for n in toposort([found]) if n.prim.name == "constant"}
    assert numbers == {"float32", "float64"}
    for node in toposort([found]):
        if node.prim.name == "add":
            assert {operand.dtype for operand in node.inputs} == {node.dtype}


def test_a_mean_of_a_sum_that_stays_whole_fires_no_law():
    """What was tried inside, and was of no use, is no reason to look for another form."""
    x, a, b = mg.input("x", ("N", 8)), mg.input("a", ("N", 1)), mg.input("b", ("N", 8))
    whole = x + a * b
    node = mg.mean(whole, axis=1, keepdims=True) * mg.exp(whole)
    normal = Normal()
    normal.read([node])
    (mean,) = [n for n in toposort([node]) if n.prim.name == "mean"]
    assert mean not in normal.laws
    vanishing = x - mg.mean(x, axis=1, keepdims=True)
    node = mg.mean(vanishing, axis=1) + mg.sum(mg.exp(vanishing), axis=1)
    normal.read([node])
    (_, mean) = [n for n in toposort([node]) if n.prim.name == "mean"]
    assert "mean of a sum" in normal.laws[mean]
    assert not normal.poly[mean]
