"""Simplify on large graphs: the work grows with the nodes, and depth is no obstacle."""

import cProfile
import pstats

import numpy as np
import pytest

import minigrad as mg
from minigrad.ir import toposort


def chain(links):
    x = mg.input("x", 4)
    y = x
    for _ in range(links):
        y = (y + x) * x
    return [y, *mg.grad(mg.sum(y), [x])]


def tanh_chain(links):
    x, a = mg.input("x", ("N", 4)), mg.input("a", 4)
    y = x
    for _ in range(links):
        y = mg.tanh(a * y)
    return [y, *mg.grad(mg.sum(y), [x, a])]


def perceptron(links):
    x = y = mg.input("x", ("N", 8))
    for layer in range(links):
        w = mg.parameter(f"w{layer}", np.ones((8, 8), "f"))
        y = mg.relu(mg.nn.BatchNorm(8, name=f"bn{layer}")(y @ w))
    loss = mg.mean(y * y)
    parameters = [n for n in toposort([loss]) if n.prim.name == "parameter"]
    return [loss, *mg.grad(loss, [x, *parameters])]


def residual(links):
    x, u = mg.input("x", ("N", 8)), mg.input("u", ("N", 8))
    y = x
    for _ in range(links):
        y = y + mg.gelu(mg.nn.layer_norm(y, None, None))
    return [y, *mg.grad(y, [x], u)]


@pytest.mark.parametrize(
    ("build", "links", "most"),
    [(chain, 200, 90), (tanh_chain, 150, 115), (perceptron, 16, 105), (residual, 40, 135)],
)
def test_twice_the_nodes_are_twice_the_work_and_a_node_is_not_much(build, links, most):
    few, many = build(links), build(2 * links)
    nodes = len(toposort(many))
    found = calls(many)
    assert found < 1.1 * nodes / len(toposort(few)) * calls(few)
    assert found < most * nodes  # about 65, 85, 75, and 100 in CPython 3.11


def calls(roots):
    """How many functions one run calls: work that no noise of the machine changes."""
    with cProfile.Profile() as profile:
        mg.simplify(roots)
    return pstats.Stats(profile).total_calls


def test_a_deep_sum_of_sums_is_averaged_without_recursion():
    y = x = mg.input("x", ("N", 4))
    for _ in range(2_000):
        y = y + mg.tanh(y)
    node = mg.mean(y, 0)
    assert mg.simplify(node) is node
    assert mg.simplify(mg.mean(y - mg.mean(y, 0), 0) + x).type == x.type
