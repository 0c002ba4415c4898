"""The cost of nodes, and the choice of the cheapest form."""

import pytest

import minigrad as mg
from minigrad.ir import toposort
from minigrad.rewrite import cost, cost_of
from minigrad.rewrite.cost import NOMINAL, OP, Form, cheapest

X = mg.input("x", ("N", 4))
A = mg.input("a", (4, 6))


@pytest.mark.parametrize(
    ("node", "most"),
    [
        (X, 0),
        (X + X, OP + 4 * NOMINAL),
        (mg.exp(X), OP + 6 * 4 * NOMINAL),
        (X**2, OP + 4 * NOMINAL),
        (X**-1, OP + 4 * NOMINAL),
        (X**3, OP + 10 * 4 * NOMINAL),
        (X ** mg.input("k"), OP + 10 * 4 * NOMINAL),
        (X @ A, OP + 6 * NOMINAL * 4),
        (mg.sum(X), OP + 4 * NOMINAL),
        (mg.stop_gradient(X), 1),
        (mg.broadcast_to(X, (2, "N", 4)), 1),
    ],
    ids=lambda value: getattr(getattr(value, "prim", None), "name", None),
)
def test_an_op_costs_what_it_reads_or_writes(node, most):
    assert cost_of(node) == most


def form(*roots):
    return Form(list(roots), toposort(roots))


def test_the_first_of_the_cheapest_forms_is_taken():
    dear, cheap, equal = form(mg.exp(X) * mg.exp(X)), form(mg.exp(X + X)), form(mg.exp(X + X))
    assert cheapest(dear, cheap, equal) is cheap
    assert cheapest(equal, cheap) is equal
    assert cost(cheap.roots) < cost(dear.roots)
