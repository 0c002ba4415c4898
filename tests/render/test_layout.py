"""Where Graphviz puts things: rows line up, nothing is lost, nothing runs through a box."""

import re

import pytest
from render.graphs import bn_graph, layout, network, place, training_step

import minigrad as mg
from minigrad.render.scene import View, compose

VIEWS = {
    "bn": (bn_graph, {"region": "bn1", "gradients": True}),
    "bn of a network": (network, {"region": "stage1/bn", "gradients": True}),
    "network": (network, {"gradients": True, "limit": 1000}),
    "training step": (training_step, {"limit": 1000}),
}


@pytest.fixture(scope="module", params=VIEWS)
def placed(request):
    build, view = VIEWS[request.param]
    graph = build()
    return compose(graph, View(**view)), layout(mg.render(graph, **view))


def test_boxes_of_a_row_have_one_height(placed):
    picture, graph = placed
    heights = {}
    for box in picture.boxes:
        heights.setdefault(box.row, set()).add(round(place(graph, box.key)[1]))
    assert all(len(found) == 1 for found in heights.values())
    ordered = [found.pop() for _, found in sorted(heights.items())]
    assert ordered == sorted(ordered, reverse=True)


def test_every_arrow_has_a_route(placed):
    picture, graph = placed
    routed = [e for e in graph.edges() if e.attr["pos"] and e.attr["style"] != "invis"]
    assert len(routed) == len(picture.arrows)


def test_no_arrow_runs_through_a_box(placed):
    _, graph = placed
    boxes = {str(n): _rectangle(n) for n in graph.nodes() if n.attr["style"] != "invis"}
    for edge in graph.edges():
        if edge.attr["style"] == "invis":
            continue
        for x, y in _points(edge.attr["pos"]):
            for key, (left, low, right, high) in boxes.items():
                assert key in edge or not (left < x < right and low < y < high), (edge, key)


def test_a_gradient_stands_right_of_the_op_that_caused_it_in_its_row():
    graph = bn_graph()
    view = {"region": "bn1", "gradients": True}
    boxes = {b.caption.split(" = ")[0]: b.key for b in compose(graph, View(**view)).boxes}
    drawn = layout(mg.render(graph, **view))
    for op, caused in [("γ · x̂", "dγ"), ("y", "dβ"), ("x", "dx"), ("x − μ", "dμ")]:
        (x, y), (gradient_x, gradient_y) = place(drawn, boxes[op]), place(drawn, boxes[caused])
        if op != "y":  # the box and the result of that name are two
            assert y == gradient_y
        assert x < gradient_x


def test_layers_with_one_source_for_all_their_nodes_line_up_too():
    with mg.scope("net"):
        y = mg.nn.BatchNorm(4, name="bn1")(mg.input("x", ("N", 4)))
    graph = mg.Graph([], {"y": y})
    rows = {
        b.caption.split(" = ")[0]: b.row
        for b in compose(graph, View("bn1", gradients=True)).boxes
        if b.kind != "output"
    }
    assert rows["dγ"] == rows["γ · x̂"]
    assert rows["d(x − μ)"] == rows["x − μ"]


def test_gradients_of_an_output_that_is_no_loss_line_up_when_the_user_brings_them():
    x, u = mg.input("x", ("N", 4)), mg.input("u", ("N", 4))
    y = mg.nn.BatchNorm(4, name="bn1")(x)
    graph = mg.Graph([], {"y": y})
    (dx,) = mg.grad(graph.outputs["y"], x, u)
    brought = mg.Graph([x, u], {"y": graph.outputs["y"], "dx": dx}, graph.updates)
    found = compose(brought, View())
    rows = {b.caption.split(" = ")[0]: b.row for b in found.boxes if b.kind != "output"}
    assert rows["dx̂"] == rows["γ · x̂"]
    assert rows["d(x − μ)"] == rows["x − μ"]
    assert rows["u"] > rows["γ · x̂ + β"]


def _rectangle(node):
    x, y = map(float, node.attr["pos"].split(","))
    w, h = float(node.attr["width"]) * 36, float(node.attr["height"]) * 36
    return x - w + 4, y - h + 4, x + w - 4, y + h - 4


def _points(route):
    """Points along the Bézier curves of a route."""
    corners = [
        tuple(map(float, pair.split(","))) for pair in re.sub(r"[se],\S+ ", "", route).split()
    ]
    for start in range(0, len(corners) - 3, 3):
        a, b, c, d = corners[start : start + 4]
        for step in range(21):
            t = step / 20
            weights = ((1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3)
            yield tuple(
                sum(w * p[i] for w, p in zip(weights, (a, b, c, d), strict=True)) for i in (0, 1)
            )
