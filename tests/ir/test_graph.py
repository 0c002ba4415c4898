"""Graphs: order, types re-derived, substitution, regions and the networkx view."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.ir import consumers, depending_on, substitute, toposort
from minigrad.ir.node import _new_node


def random_graph(picks: list[tuple[int, int]]) -> mg.Node:
    nodes = [mg.input("x", 2), mg.input("y", 2)]
    for i, j in picks:
        nodes.append(nodes[i % len(nodes)] * nodes[j % len(nodes)])
    return nodes[-1]


picks = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=30)


@given(picks)
def test_operands_come_first_and_every_node_once(pairs: list[tuple[int, int]]) -> None:
    order = toposort([random_graph(pairs)])
    position = {node: i for i, node in enumerate(order)}
    assert len(position) == len(order)
    assert all(position[i] < position[node] for node in order for i in node.inputs)


def test_the_order_is_that_of_reading_operands_left_to_right() -> None:
    x, y = mg.input("x"), mg.input("y")
    out = mg.exp(x) * (y + x)
    assert [n.name or n.prim.name for n in toposort([out])] == ["x", "exp", "y", "add", "mul"]


def test_a_stopped_node_hides_what_only_it_needs() -> None:
    x = mg.input("x")
    middle = mg.exp(mg.sqrt(x))
    assert toposort([middle + 1], stop=[middle])[-1].inputs[0] is middle
    assert not {middle, x} & set(toposort([middle + 1], stop=[middle]))
    assert x in toposort([middle + x], stop=[middle])


def test_consumers_count_every_use() -> None:
    x = mg.input("x")
    square, root = x * x, mg.sqrt(x)
    uses = consumers(toposort([square + root]))
    assert uses[x].count(square) == 2
    assert uses[x].count(root) == 1


def test_depending_on_holds_the_sources_and_all_they_reach() -> None:
    x, y = mg.input("x"), mg.input("y")
    ex, ey = mg.exp(x), mg.exp(y)
    out = ex + ey
    assert depending_on(toposort([out]), [x]) == {x, ex, out}


# --- verify ------------------------------------------------------------------------------------


def test_verify_accepts_a_sound_graph() -> None:
    x = mg.input("x", ("N", 4))
    loss = mg.mean(mg.nn.Sequential(mg.nn.Linear(3, name="fc"), mg.nn.BatchNorm(3))(x) ** 2)
    graph = mg.Graph([x], {"loss": loss})
    mg.Graph([x], {"loss": loss, "dx": mg.grad(graph.outputs["loss"], x)[0]}).verify()


@pytest.mark.parametrize("wrong", [mg.input("z", 3).type, mg.input("z", 2, "float64").type])
def test_verify_names_a_corrupted_node(wrong: mg.TensorType) -> None:
    x = mg.input("x", 2)
    with mg.scope("bn1"):
        good = mg.exp(x)
    bad = _new_node(good.prim, good.inputs, good.attrs, wrong, good.scope, good.source)
    with pytest.raises(mg.GraphError) as caught:
        mg.Graph([x], bad).verify()
    wanted = rf"exp: the type is {wrong}, its operands give f32[2] (in bn1, {good.line})"
    assert str(caught.value) == wanted


def test_verify_names_operands_that_do_not_fit() -> None:
    good = mg.input("x", 2) + mg.input("y", 2)
    operands = (good.inputs[0], mg.input("y", 3))
    bad = _new_node(good.prim, operands, good.attrs, good.type, good.scope, good.source)
    with pytest.raises(mg.GraphError, match=rf"add: cannot broadcast .*{good.line}"):
        mg.Graph([], bad).verify()


# --- substitute --------------------------------------------------------------------------------


def test_substitute_keeps_what_it_does_not_touch() -> None:
    x, y, z = mg.input("x", 2), mg.input("y", 2), mg.input("z", 2)
    kept, changed = mg.exp(y), mg.exp(x)
    (out,) = substitute([kept * changed], {x: z})
    assert out.inputs[0] is kept
    assert out.inputs[1] is not changed
    assert out.inputs[1].inputs == (z,)


def test_substitute_shares_what_was_shared() -> None:
    x, z = mg.input("x", 2), mg.input("z", 2)
    shared = mg.exp(x)
    (out,) = substitute([shared * shared], {x: z})
    assert out.inputs[0] is out.inputs[1]


def test_substitute_keeps_scope_and_line() -> None:
    x, z = mg.input("x", 2), mg.input("z", 2)
    with mg.scope("bn1"):
        old = mg.exp(x)
    (new,) = substitute([old], {x: z})
    assert (new.scope, new.line) == (old.scope, old.line)


def test_a_graph_is_substituted_with_its_updates_and_inputs() -> None:
    x, z, m = mg.input("x", 2), mg.input("z", 2), mg.state("m", [0.0, 0.0])
    old = mg.Graph([x], {"y": x - m}, [mg.Update(m, m + x)])
    new = old.substitute({x: z})
    assert new.inputs == (z,)
    assert [leaf.name for leaf in new.leaves] == ["z", "m"]
    assert new.updates[0].value.inputs == (m, z)


# --- regions -----------------------------------------------------------------------------------


def staged() -> mg.Graph:
    x = mg.input("x", 2)
    for name in ("stage1/bn1", "stage1/bn2", "stage2/bn1"):
        with mg.scope(name):
            x = mg.tanh(x)
    return mg.Graph([], x)


def test_a_region_is_found_by_path_prefix_or_tail() -> None:
    graph = staged()
    assert len(graph.region("stage1")) == 2
    assert [str(n.scope) for n in graph.region("stage2/bn1")] == ["stage2/bn1"]
    assert [str(n.scope) for n in graph.region("bn2")] == ["stage1/bn2"]


def test_an_ambiguous_tail_lists_what_it_could_be() -> None:
    with pytest.raises(mg.RegionError) as caught:
        staged().region("bn1")
    assert str(caught.value).startswith("'bn1' could be stage1/bn1, stage2/bn1; this graph has")


def test_a_scope_is_no_prefix_of_a_longer_name() -> None:
    with mg.scope("bn10"):
        graph = mg.Graph([], mg.exp(mg.input("x")))
    with pytest.raises(mg.RegionError, match="no scope 'bn1'; this graph has bn10"):
        graph.region("bn1")


def test_a_region_holds_its_gradients() -> None:
    x = mg.input("x", 2)
    with mg.scope("bn1"):
        y = mg.tanh(x)
    (dx,) = mg.grad(mg.sum(y), x)
    assert {n.scope.order for n in mg.Graph([], [y, dx]).region("bn1")} == {0, 1}


# --- networkx ----------------------------------------------------------------------------------


def test_both_edges_of_a_square_are_kept() -> None:
    x = mg.input("x", 2)
    square = x * x
    view = mg.Graph([x], square).to_networkx()
    assert isinstance(view, nx.MultiDiGraph)
    assert set(view.edges(keys=True)) == {(x, square, 0), (x, square, 1)}


def test_the_edge_key_is_the_operands_position() -> None:
    x, y = mg.input("x"), mg.input("y")
    quotient = x / y
    assert set(mg.Graph([], quotient).to_networkx().edges(keys=True)) == {
        (x, quotient, 0),
        (y, quotient, 1),
    }


def test_nodes_carry_what_the_text_form_says() -> None:
    x = mg.input("x", ("N", 2))
    with mg.scope("bn1"):
        y = mg.exp(x)
    facts = mg.Graph([x], y).to_networkx().nodes
    assert facts[x] == {"name": "x", "op": "input", "type": "f32[N,2]", "scope": mg.Scope()}
    assert facts[y]["name"] == "a"
    assert facts[y]["scope"].path == ("bn1",)


@given(picks)
def test_the_view_is_acyclic_and_complete(pairs: list[tuple[int, int]]) -> None:
    graph = mg.Graph([], random_graph(pairs))
    view = graph.to_networkx()
    assert nx.is_directed_acyclic_graph(view)
    assert set(view.nodes) == set(graph.nodes)
    assert view.number_of_edges() == sum(len(node.inputs) for node in graph.nodes)


# --- inputs and outputs ------------------------------------------------------------------------


def test_outputs_are_named_by_themselves() -> None:
    x = mg.input("x")
    assert list(mg.Graph([], x + 1).outputs) == ["out"]
    assert list(mg.Graph([], [x + 1, x + 2]).outputs) == ["out0", "out1"]


def test_inputs_are_found_in_order_and_may_be_unused() -> None:
    x, y, z = mg.input("x"), mg.input("y"), mg.input("z")
    assert mg.Graph([], y - x).inputs == (y, x)
    assert mg.Graph([z, x, y], y - x).inputs == (z, x, y)


def test_leaves_are_sorted_by_kind() -> None:
    x, w, m = mg.input("x"), mg.parameter("w", 1.0), mg.state("m", 0.0)
    graph = mg.Graph([], x * w + m + 2.0)
    assert graph.parameters == (w,)
    assert graph.states == (m,)
    assert len(graph.leaves) == 4


def test_a_node_is_known_by_identity_and_has_a_short_name() -> None:
    x = mg.input("x", 2)
    a, b = x + 1, x + 1
    assert a != b
    assert len({a, b, a}) == 2
    assert repr(a) == "<add f32[2]>"
    assert len(repr(mg.constant(np.zeros(10_000)))) < 40


def test_a_node_is_frozen() -> None:
    with pytest.raises(AttributeError):
        mg.input("x").scope = mg.Scope()  # type: ignore[misc]
