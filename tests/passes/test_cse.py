"""Sharing: every expression once."""

import numpy as np
import pytest
from random_graphs import random_float64_graph

import minigrad as mg
from minigrad.ir import rebuild, rewire, toposort
from minigrad.passes.cse import share


@pytest.mark.parametrize("number", range(30))
def test_what_is_shared_once_stays_and_has_the_types_that_it_had(number):
    graph, _ = random_float64_graph(3, number, 60)
    found = share(graph.roots)
    assert share(found) == found
    for node in toposort(found):
        new = rebuild(node, node.inputs, dict(node.attrs)) if node.inputs else node
        assert new.type == node.type  # inferred anew, it is what sharing took over


def test_ops_of_other_static_arguments_and_constants_of_other_bits_stay_apart():
    x = mg.input("x", (3, 3))
    sums = [mg.sum(x, 0), mg.sum(x, 1), mg.sum(x, 0, keepdims=True), mg.sum(x, 0)]
    zeros = [mg.constant(np.array(v, t)) for v, t in ((0.0, "f"), (-0.0, "f"), (0, "i8"))]
    found = share([*sums, *zeros, mg.constant(np.array(0.0, "f"))])
    assert found[3] is found[0]
    assert found[-1] is found[4]
    assert len(set(found)) == len(found) - 2


def test_a_rewired_node_keeps_all_but_its_operands():
    x, y = mg.input("x", 3), mg.input("y", 3)
    with mg.scope("layer"):
        old = mg.sum(x * 2, 0, keepdims=True)
    new = rewire(old, (y,))
    assert new.inputs == (y,)
    assert (new.prim, new.attrs, new.type, new.scope, new.source) == (
        old.prim, old.attrs, old.type, old.scope, old.source,
    )  # fmt: skip
