"""find_norms on spellings of five normalisers: every one is found, with the right fields."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from passes.norm_spellings import B3, EPS, N2, N4, SPELLINGS, mu, var

import minigrad as mg
from minigrad import Node, nn

pytestmark = pytest.mark.usefixtures("sizes")


@pytest.mark.parametrize("case", SPELLINGS)
def test_every_spelling_is_found_with_its_fields(case: str) -> None:
    (x, y), expected = SPELLINGS[case]
    (norm,) = mg.find_norms(mg.Graph([x], {"y": y}))
    assert (norm.kind, norm.axes, norm.groups) == (expected.kind, expected.axes, expected.groups)
    assert (norm.eps.value, norm.eps.place) == (expected.eps, expected.place)
    assert (norm.x, norm.y) == (x, y)
    assert (_name(norm.gamma), _name(norm.beta)) == (expected.gamma, expected.beta)
    assert norm.correction == expected.correction
    assert (norm.mean is not None, norm.variance is not None) == (expected.mean, expected.variance)
    assert norm.statistics == "computed"
    assert norm.backward == ()


@pytest.mark.parametrize("case", SPELLINGS)
def test_statistics_and_weights_are_what_they_are_said_to_be(case: str) -> None:
    """The definition from the fields of the hit alone, in numpy, is the graph's value."""
    (x, y), _ = SPELLINGS[case]
    graph = mg.retype(mg.Graph([x], {"y": y}), "float64")
    (norm,) = mg.find_norms(graph)
    rng = np.random.default_rng(3)
    shape = [6 if isinstance(d, str) else d for d in x.shape]
    feed = {"x": rng.normal(1.0, 2.0, shape)}
    feed |= {p.name: rng.normal(size=p.shape) for p in graph.parameters}
    values = feed["x"]
    if norm.groups:
        values = values.reshape(shape[0], norm.groups, -1)
    axes = (2,) if norm.groups else norm.axes
    m = values.mean(axes, keepdims=True) * (norm.kind != "rms")
    v = ((values - m) ** 2).mean(axes, keepdims=True)
    n = values.size / v.size
    v = v * n / (n - norm.correction)
    hat = (values - m) / (np.sqrt(v + norm.eps.inside) + norm.eps.outside)
    hat = hat.reshape(shape)
    for node, definition in ((norm.mean, m), (norm.variance, v)):
        if node is not None:
            found = mg.evaluate(node, {k: feed[k] for k in _leaves(node)})
            np.testing.assert_allclose(found.ravel(), definition.ravel(), rtol=1e-12)
    scale, shift = (
        default if node is None else mg.evaluate(node, {k: feed[k] for k in _leaves(node)})
        for node, default in ((norm.scale, 1.0), (norm.shift, 0.0))
    )
    (found,) = mg.evaluate(graph, feed)
    np.testing.assert_allclose(found, hat * scale + shift, rtol=1e-6, atol=1e-6)


def test_factors_and_shifts_that_are_no_weights_are_rebuilt() -> None:
    x, g, b = mg.input("x", N2), mg.parameter("g", np.ones(4)), mg.parameter("b", np.ones(4))
    x = mg.cast(x, "float64")
    hat = (mu(x, 0) - x) / mg.sqrt(var(x, 0) + EPS)
    (norm,) = mg.find_norms(mg.Graph([], {"y": hat}))
    assert norm.gamma is not None
    assert float(mg.evaluate(norm.gamma)) == -1.0
    (norm,) = mg.find_norms(mg.Graph([], {"y": 2 * hat * g}))
    assert norm.gamma is not None
    np.testing.assert_allclose(mg.evaluate(norm.gamma, {"g": [1.0, 2, 3, 4]}), [-2, -4, -6, -8])
    c = x - mu(x, 0)
    (norm,) = mg.find_norms(
        mg.Graph([], {"y": (c * g + b * mg.sqrt(var(x, 0))) / mg.sqrt(var(x, 0))})
    )
    assert (norm.gamma, norm.beta) == (g, b)
    once = mg.sqrt(var(x, 0) + EPS)
    (norm,) = mg.find_norms(mg.Graph([], {"y": (c + b * once) * g / once}))
    feed = {"g": [1.0, 2, 3, 4], "b": [1.0, 1, 2, 2]}
    assert norm.gamma is g
    assert norm.beta is not None
    np.testing.assert_allclose(mg.evaluate(norm.beta, feed), [1, 2, 6, 8])


@pytest.mark.parametrize(
    ("layer", "shape", "kind", "axes"),
    [
        (nn.BatchNorm(4, name="norm"), N2, "batch", (0,)),
        (nn.BatchNorm(4, name="norm", convention="pytorch"), N2, "batch", (0,)),
        (nn.BatchNorm(4, channel_axis=1, name="norm"), N4, "batch", (0, 2, 3)),
        (nn.BatchNorm(4, name="norm", center=False, scale=False), B3, "batch", (0, 1)),
        (nn.LayerNorm(4, name="norm"), B3, "layer", (2,)),
        (nn.InstanceNorm(4, name="norm"), N4, "instance", (2, 3)),
        (nn.GroupNorm(4, groups=2, name="norm"), N4, "group", (1, 2, 3)),
        (nn.RMSNorm(4, name="norm"), N2, "rms", (1,)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_are_found_in_training_inference_and_gradient_graphs(
    layer: Any, shape: Any, kind: str, axes: Any
) -> None:
    layer = replace(layer)  # without the weights that another test may have given it
    x = mg.input("x", shape)
    y = layer(mg.tanh(x * mg.parameter("w", 2.0)))
    train = mg.Graph([x], {"loss": mg.mean(mg.tanh(y) ** 2)})
    infer = mg.to_inference(mg.Graph([x], {"y": y}))
    step = mg.optim.adam(train, lr=0.1)
    for graph, has_gradient in ((train, False), (infer, False), (step, True)):
        (norm,) = mg.find_norms(graph)
        assert (norm.kind, norm.axes, str(norm.y.scope)) == (kind, axes, "norm")
        assert norm.x.prim.name == "tanh"
        running = graph is infer and kind == "batch"
        assert norm.statistics == ("running" if running else "computed")
        assert bool(norm.backward) == has_gradient
        weights = {n.name for n in (norm.gamma, norm.beta) if n is not None}
        assert weights == {p.name for p in graph.parameters} - {"w"}


def test_the_inference_form_names_its_states_and_its_eps() -> None:
    x = mg.input("x", N4)
    train = mg.Graph([x], {"y": nn.BatchNorm(4, channel_axis=1, eps=0.01, name="bn")(x)})
    (norm,) = mg.find_norms(mg.to_inference(train))
    assert (_name(norm.mean), _name(norm.variance)) == ("bn/running_mean", "bn/running_var")
    assert (norm.eps.value, norm.eps.place, norm.axes) == (0.01, "inside", (0, 2, 3))
    assert (_name(norm.gamma), _name(norm.beta)) == ("bn/gamma", "bn/beta")


@pytest.mark.parametrize("form", ["quotient", "scale and shift", "power", "eps outside"])
def test_spellings_of_the_inference_form(form: str) -> None:
    x, m, s = mg.input("x", N2), mg.state("m", np.zeros(4)), mg.state("s", np.ones(4))
    g, b = mg.parameter("g", np.ones(4)), mg.parameter("b", np.zeros(4))
    z = mg.cast(x, "float64")
    scale = g / mg.sqrt(s + EPS)
    y = {
        "quotient": (z - m) / mg.sqrt(s + EPS) * g + b,
        "scale and shift": z * scale + (b - m * scale),
        "power": b + g * ((s + EPS) ** -0.5 * (z - m)),
        "eps outside": g * (z - m) / (mg.sqrt(s) + EPS) + b,
    }[form]
    (norm,) = mg.find_norms(mg.Graph([x], {"y": y}))
    assert (norm.kind, norm.statistics, norm.mean, norm.variance) == ("batch", "running", m, s)
    assert (norm.gamma, norm.beta, norm.y) == (g, b, y)
    assert norm.eps.place == ("outside" if form == "eps outside" else "inside")
    assert norm.eps.value == pytest.approx(EPS)


def test_all_norms_of_a_network_are_found_in_order() -> None:
    x = mg.input("x", ("N", 3, 8, 8))
    net = nn.Sequential(
        nn.Conv2d(4, 3), nn.BatchNorm(4, channel_axis=1), mg.relu, nn.Conv2d(4, 3),
        nn.GroupNorm(4, groups=2), mg.sigmoid, nn.Flatten(), nn.Linear(6), nn.LayerNorm(6),
        mg.gelu, nn.RMSNorm(6), nn.Linear(3), mg.softmax,
    )  # fmt: skip
    found = mg.find_norms(mg.Graph([x], {"p": net(x)}))
    assert [norm.kind for norm in found] == ["batch", "group", "layer", "rms"]
    assert [str(norm.y.scope) for norm in found] == ["bn1", "gn1", "ln1", "rms1"]


def test_the_half_of_a_sigmoid_is_no_gamma() -> None:
    x = mg.input("x", N2)
    y = nn.batch_norm(x, None, None)
    (norm,) = mg.find_norms(mg.Graph([x], {"p": mg.sigmoid(y)}))
    assert norm.y is y
    assert norm.gamma is None


def test_scopes_and_names_are_not_read() -> None:
    (x, y), _ = SPELLINGS["batch: scale and shift"]
    with mg.scope("layer_norm/<b>"):
        wrong = nn.batch_norm(mg.tanh(x), None, None)
    found = mg.find_norms(mg.Graph([x], {"a": y, "b": wrong}))
    assert [norm.kind for norm in found] == ["batch", "batch"]


def test_forward_nodes_are_those_from_x_to_y() -> None:
    (x, y), _ = SPELLINGS["batch: six primitives"]
    (norm,) = mg.find_norms(mg.Graph([x], {"z": mg.exp(y)}))
    assert [n.prim.name for n in norm.forward] == (
        ["mean", "sub", "pow", "mean", "add", "sqrt", "pow", "mul", "mul", "add"]
    )
    (x, y), _ = SPELLINGS["batch: everything twice"]
    (norm,) = mg.find_norms(mg.Graph([x], {"y": y}))
    assert [n.prim.name for n in norm.forward].count("mean") == 3  # both copies of the mean


def test_a_normalised_weight_is_found_too() -> None:
    w = mg.parameter("w", np.ones((4, 9)))
    hat = (w - mu(w, 1)) / mg.sqrt(var(w, 1) + EPS)
    y = mg.cast(mg.input("x", N2), "float64") @ hat
    (norm,) = mg.find_norms(mg.Graph([], {"y": y}))
    assert (norm.x, norm.y, norm.axes, norm.kind) == (w, hat, (1,), "layer")


def test_a_graph_without_norms_has_none() -> None:
    x = mg.input("x", N2)
    net = nn.Sequential(nn.Linear(8), mg.gelu, nn.Dropout(0.2), nn.Linear(3), mg.softmax)
    graph = mg.Graph([x], {"loss": mg.mean(net(x) ** 2)})
    for each in (graph, mg.optim.adam(graph, lr=0.1), mg.optim.rmsprop(graph, lr=0.1)):
        assert mg.find_norms(each) == []


def test_long_chains_cost_little_and_do_not_recurse() -> None:
    x = mg.input("x", N2)
    y = x
    for _ in range(5_000):
        y = mg.tanh(y) + x
    y = nn.batch_norm(y, None, None)
    for _ in range(5_000):
        y = -y
    assert len(mg.find_norms(mg.Graph([x], {"y": y}))) == 1


def _name(node: Node | None) -> str | None:
    return None if node is None else node.name


def _leaves(node: Node) -> set[str]:
    return {leaf.name for leaf in mg.Graph((), {"n": node}).leaves if leaf.name}
