"""Large graphs become one page."""

import time

import pytest
from render.graphs import network, training_step

import minigrad as mg
from minigrad.render.scene import View, compose


def boxes(graph, **view):
    return compose(graph, View(**view)).boxes


def test_a_graph_above_the_limit_folds_its_scopes():
    found = boxes(network(2), limit=30)
    folded = {b.caption: b for b in found if b.kind == "scope"}
    assert {"stage1/bn", "stage1/linear", "stage2/bn"} <= set(folded)
    assert folded["stage1/linear"].notes == ("2 parameter, add, matmul", "20 numbers to train")
    assert folded["stage1/linear"].op == "4 nodes"


def test_folding_goes_as_deep_as_fits():
    assert {b.caption for b in boxes(network(2), limit=8) if b.kind == "scope"} == {
        "stage1",
        "stage2",
        "mse",
    }


def test_depth_and_expand_choose_what_is_open():
    found = boxes(network(2), depth=1, expand=["stage1/bn"])
    folded = {b.caption for b in found if b.kind == "scope"}
    assert folded == {"stage1/linear", "stage1/act", "stage2", "mse"}
    assert any(b.caption == "μ = mean(x @ weight + bias)" for b in found)


def test_forward_and_gradient_of_a_scope_fold_apart():
    folded = {b.caption for b in boxes(training_step(), depth=1) if b.kind == "scope"}
    assert {"stage1", "grad(stage1)", "stage2", "grad(stage2)"} <= folded


def test_arrows_between_folded_scopes_keep_their_types():
    picture = compose(network(2), View(depth=1))
    names = {b.key: b.caption for b in picture.boxes}
    arrows = {(names[a.tail], names[a.head]): a.label for a in picture.arrows}
    assert arrows["stage1", "stage2"] == "f32[N,4]"
    assert all(tail != head for tail, head in arrows)


@pytest.mark.slow
def test_a_chain_of_50000_nodes_shows_its_ends():
    node = mg.input("x", 3)
    for _ in range(25_000):
        node = mg.exp(node * 0.5)
    found = boxes(mg.Graph((), node))
    assert len(found) < 60
    (elided,) = [b for b in found if b.kind == "elided"]
    assert elided.caption == "49,969 nodes"
    assert mg.render(node).svg


def test_a_model_of_5000_nodes_is_drawn_folded():
    graph = network(200)
    assert len(graph.nodes) > 5000
    assert len(boxes(graph)) <= 150
    started = time.process_time()
    assert mg.render(graph, expand=["stage7/bn"]).svg
    assert time.process_time() - started < 2  # 0.3 s on one slow core


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_every_depth_draws(depth):
    assert mg.render(training_step(), depth=depth, gradients=True).svg
