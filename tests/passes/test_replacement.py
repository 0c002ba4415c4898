"""One run of simplify: what it says it has paid for, and what that decides."""

import pytest
from random_graphs import random_float64_graph

import minigrad as mg
from minigrad.ir import reached
from minigrad.passes.replacement import Simplification
from minigrad.rewrite import RULES, cost, rewrite
from minigrad.rewrite.cost import total


def replaced(roots):
    """What the roots become, and the nodes that were paid for."""
    run = Simplification(list(roots), frozenset())
    return run.run(), run.builder.paid


@pytest.mark.parametrize("number", range(40))
def test_all_that_the_result_needs_is_paid_for(number):
    graph, _ = random_float64_graph(3, number, 60)
    new, paid = replaced(rewrite(graph.roots, RULES))
    assert reached(new) <= paid
    assert cost(new) <= total(paid)


def test_what_was_paid_for_in_vain_does_not_decide():
    graph, _ = random_float64_graph(2, 106, 120)
    local = rewrite(graph.roots, RULES)
    new, paid = replaced(local)
    assert cost(new) < cost(local) < total(paid)
    assert cost(mg.simplify(graph.roots)) == cost(new)
