"""Markers: what a layer says beside its value, collected and removed by the graph."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad.ir import Kind, toposort, unmarked


def track(x: mg.Node, running: mg.Node, decay: float = 0.5) -> mg.Node:
    """``x`` minus its tracked mean."""
    mean = mg.mean(x)
    return x - mg.track(mean, running, decay * running + (1 - decay) * mean)


def step(graph: mg.Graph, state: dict, **inputs: object) -> tuple[dict, dict]:
    return mg.compile(graph)(state, **inputs)


def test_a_graph_holds_no_markers() -> None:
    x, m = mg.input("x", "N"), mg.state("m", 0.0)
    y = mg.penalized(mg.at_inference(track(x, m), x), mg.sum(x))
    graph = mg.Graph([x], {"loss": mg.sum(y)})
    assert all(node.prim.kind is not Kind.MARKER for node in graph.nodes)


def test_values_without_markers_are_the_same_values() -> None:
    x, m = mg.input("x", "N"), mg.state("m", 0.0)
    y = mg.penalized(track(x, m), mg.sum(x))
    plain, again = unmarked([y, x])
    assert again is x
    assert all(node.prim.kind is not Kind.MARKER for node in toposort([plain]))
    np.testing.assert_array_equal(*mg.evaluate([y, plain], {"x": [1.0, 5.0], "m": 0.0}))


def test_track_becomes_an_update_with_its_estimate() -> None:
    x, m = mg.input("x", "N"), mg.state("m", 0.0)
    graph = mg.Graph([x], track(x, m))
    (update,) = graph.updates
    assert update.state is m
    assert update.estimate is graph.outputs["out"].inputs[1]
    outputs, state = step(graph, {"m": 4.0}, x=[1.0, 3.0])
    np.testing.assert_array_equal(outputs["out"], [-1, 1])
    assert state["m"] == 3.0


def test_a_state_tracked_twice_moves_twice_in_order_of_use() -> None:
    x, y, m = mg.input("x", "N"), mg.input("y", "M"), mg.state("m", 0.0)
    first = track(x, m)
    graph = mg.Graph([x, y], [first, track(y, m) + mg.sum(first)])
    assert len(graph.updates) == 1
    _, state = step(graph, {"m": 8.0}, x=[2.0], y=[1.0])
    assert state["m"] == ((8 + 2) / 2 + 1) / 2


def test_both_statistics_of_a_state_tracked_twice_are_replaced_at_inference() -> None:
    x, m = mg.input("x", "N"), mg.state("m", 0.0)
    inference = mg.to_inference(mg.Graph([x], track(track(x, m), m)))
    assert not inference.updates
    outputs, _ = step(inference, {"m": 8.0}, x=[1.0, 2.0])
    np.testing.assert_array_equal(outputs["out"], [1 - 16, 2 - 16])


def test_a_statistic_that_no_output_needs_moves_nothing() -> None:
    x, m = mg.input("x", "N"), mg.state("m", 0.0)
    track(x, m)
    assert not mg.Graph([x], mg.sum(x)).updates


def test_the_users_own_updates_stand_beside_the_tracked() -> None:
    x, m, v = mg.input("x", "N"), mg.state("m", 0.0), mg.state("v", 0.0)
    graph = mg.Graph([x], track(x, m), [mg.Update(v, v + mg.mean(x))])
    assert {u.state.name for u in graph.updates} == {"m", "v"}


def test_an_update_and_a_mark_of_one_state_clash() -> None:
    x, m = mg.input("x", "N"), mg.state("m", 0.0)
    with pytest.raises(mg.GraphError, match="'m' has two updates"):
        mg.Graph([x], track(x, m), [mg.Update(m, m + 1)])


def test_advance_moves_a_state_and_is_the_same_at_inference() -> None:
    n = mg.state("n", 0)
    graph = mg.Graph([], mg.advance(n * 10, n, n + 1))
    outputs, state = step(graph, {"n": 3})
    assert (outputs["out"], state["n"]) == (30, 4)
    assert str(mg.to_inference(graph).outputs["out"]) == str(graph.outputs["out"])


def test_advanced_twice_moves_twice() -> None:
    n = mg.state("n", 0)
    once = mg.advance(n * 10, n, n + 1)
    graph = mg.Graph([], once + mg.advance(n * 2, n, n + 5))
    assert step(graph, {"n": 0})[1]["n"] == 6


def test_nested_replacements_at_inference() -> None:
    x = mg.input("x", 2)
    inner = mg.at_inference(x * 2, x * 3)
    outer = mg.at_inference(mg.exp(inner), inner + 1)
    graph = mg.Graph([x], outer)
    np.testing.assert_allclose(step(graph, {}, x=[0.0, 1.0])[0]["out"], np.exp([0, 2]))
    np.testing.assert_allclose(step(mg.to_inference(graph), {}, x=[0.0, 1.0])[0]["out"], [1, 4])


def test_a_marker_is_transparent_to_gradients() -> None:
    x, m = mg.input("x", "N"), mg.state("m", 0.0)
    marked = mg.sum(track(x, m) ** 2)
    plain = mg.sum((x - mg.mean(x)) ** 2)
    feed = {"x": [1.0, 2.0, 4.0]}
    for y in (marked, mg.penalized(marked, mg.sum(x))):
        np.testing.assert_array_equal(
            mg.evaluate(mg.grad(y, x)[0], feed), mg.evaluate(mg.grad(plain, x)[0], feed)
        )


def test_a_penalty_is_added_once_however_often_it_is_used() -> None:
    w = mg.parameter("w", 3.0)
    marked = mg.penalized(w, 0.5 * w**2)
    graph = mg.Graph([], {"loss": marked * marked + marked, "y": marked})
    outputs, _ = step(graph, {"w": 2.0})
    assert outputs["loss"] == 2 * 2 + 2 + 0.5 * 4
    assert outputs["y"] == 2


def test_two_penalties_are_both_added_and_differentiated() -> None:
    w, v = mg.parameter("w", 3.0), mg.parameter("v", 1.0)
    loss = mg.penalized(w, w**2) * mg.penalized(v, 10 * v)
    loss = mg.Graph([], {"loss": loss}).outputs["loss"]
    dw, dv = mg.evaluate(mg.grad(loss, [w, v]), {"w": 3.0, "v": 2.0})
    assert (dw, dv) == (2 + 6, 3 + 10)


def test_a_penalty_without_a_loss_changes_nothing() -> None:
    w = mg.parameter("w", 3.0)
    graph = mg.Graph([], {"y": mg.penalized(w, w**2) + 1})
    assert step(graph, {"w": 3.0})[0]["y"] == 4


def test_an_inference_graph_has_no_penalty_left_to_add() -> None:
    w = mg.parameter("w", 3.0)
    training = mg.Graph([], {"loss": mg.penalized(w, w**2) + 1})
    outputs, _ = step(mg.to_inference(training), {"w": 3.0})
    assert outputs["loss"] == 3 + 9 + 1


def test_building_a_graph_of_graph_outputs_changes_nothing() -> None:
    x, m = mg.input("x", "N"), mg.state("m", 0.0)
    first = mg.Graph([x], {"loss": mg.sum(mg.penalized(track(x, m), mg.sum(x)) ** 2)})
    again = mg.Graph(first.inputs, first.outputs, first.updates, first.replacements)
    assert again.structural_hash() == first.structural_hash()
    assert str(mg.to_inference(again)) == str(mg.to_inference(first))
