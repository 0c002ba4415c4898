"""A tensor node opened into scalars: values and gradients are the tensor's."""

import re

import numpy as np
import pytest
from render.graphs import bn_graph, network

import minigrad as mg
from minigrad.render.captions import Captions
from minigrad.render.gradients import Differentiated
from minigrad.render.scene import View
from minigrad.render.zoom import compose_zoom, open_node

X = np.array([[0.1, -0.4], [0.7, 1.5], [-1.2, 0.3]], "float32")


def bn(features=2):
    x, u = mg.input("x", ("N", features)), mg.input("u", ("N", features))
    with mg.scope("bn1"):
        y = mg.nn.BatchNorm(features)(x)
    graph = mg.Graph([x], {"y": y})
    return graph, graph.outputs["y"], u


@pytest.mark.parametrize("op", ["mean", "sub", "pow", "add", "sqrt", "mul"])
def test_values_and_gradients_of_the_scalars_are_those_of_the_tensor(op):
    graph, y, u = bn()
    random = np.random.default_rng(3)
    cotangent = random.normal(size=X.shape).astype("float32")
    for node in [n for n in graph.nodes if n.prim.name == op and n.scope.path == ("bn1",)]:
        if not set(mg.Graph((), y).nodes) >= {node}:
            continue  # only the next step needs it
        (ct,) = mg.grad(y, [node], u)
        found = Differentiated(mg.Graph([*graph.inputs, u], {"y": y, "ct": ct}), {node: ct})
        opened = open_node(node, Captions(graph), found, View(values={"x": X, "u": cotangent}))
        value, gradient = mg.evaluate([node, ct], {"x": X, "u": cotangent})
        cells = list(opened.graph.outputs.values())
        assert len(cells) == value.size
        np.testing.assert_allclose([opened.values[c] for c in cells], value.ravel(), rtol=1e-5)
        np.testing.assert_allclose(
            [opened.gradients[c] for c in cells], gradient.ravel(), rtol=1e-4, atol=1e-6
        )


def test_an_operands_gradient_is_what_this_op_sends_back():
    graph, y, u = bn()
    mu = next(n for n in graph.nodes if n.prim.name == "mean")
    (ct,) = mg.grad(y, [mu], u)
    found = Differentiated(mg.Graph([*graph.inputs, u], {"y": y, "ct": ct}), {mu: ct})
    feed = {"x": X, "u": X**2}
    opened = open_node(mu, Captions(graph), found, View(values=feed))
    leaves = [n for n in opened.graph.nodes if n.name]
    wanted = mg.evaluate(ct, feed) / 3
    for leaf in leaves:
        column = int(re.search(r",(\d)\]", leaf.name)[1])
        assert opened.gradients[leaf] == pytest.approx(wanted[column], rel=1e-4)


def test_a_box_an_element_with_value_and_gradient():
    graph, _, _ = bn()
    picture = compose_zoom(graph, "μ", View(values={"x": X}))
    notes = {box.caption: box.notes for box in picture.boxes}
    assert {f"x[{i},{j}]" for i in range(3) for j in range(2)} <= set(notes)
    assert notes["μ[0]"][0] == f"= {X[:, 0].mean():.4g}".replace("-", "−")
    assert notes["μ[1]"][1].startswith("d ")
    assert all(arrow.label == "" for arrow in picture.arrows)


def test_without_values_there_are_three_examples():
    graph, _, _ = bn()
    captions = {box.caption for box in compose_zoom(graph, "x̂", View()).boxes}
    assert {"x̂[0,0]", "x̂[2,1]"} <= captions
    assert "x̂[3,0]" not in captions


def test_a_node_can_be_given_itself_and_drawn():
    graph, _, _ = bn()
    node = next(n for n in graph.nodes if n.prim.name == "sqrt")
    assert mg.render(graph, zoom=node).svg
    assert mg.render(graph, zoom="σ²").mermaid.startswith("flowchart")


def test_without_a_gradient_the_values_are_shown():
    x = mg.input("x", 2, "int64")
    picture = compose_zoom(mg.Graph([x], {"y": x + 1}), "a", View(values={"x": [3, 4]}))
    assert {b.caption: b.notes for b in picture.boxes}["a[1]"] == ("= 5",)


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(mg.GraphError, match=r"no op of this graph is called 'nu'.*μ"):
        mg.render(bn_graph(), zoom="nu")


def test_an_ambiguous_name_asks_for_a_region():
    with pytest.raises(mg.GraphError, match=r"several nodes are called 'μ'.*region="):
        mg.render(network(), zoom="μ")
    picture = compose_zoom(network(), "μ", View("stage2/bn"))
    assert {"x[0,0]", "μ[3]"} <= {box.caption for box in picture.boxes}


def test_too_many_elements_are_an_error_that_says_what_to_do():
    x = mg.input("x", ("N", 100))
    graph = mg.Graph([x], {"y": mg.nn.BatchNorm(100, name="bn")(x)})
    with pytest.raises(mg.GraphError, match="400 elements, more than the limit of 150"):
        mg.render(graph, zoom="μ")
