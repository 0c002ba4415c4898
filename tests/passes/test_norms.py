"""find_norms on spellings of five normalisers: every one is found, with the right fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import Node, nn

EPS = 1e-3


def spell(build: Callable[..., Node], *shape: Any, weights: Any = None) -> tuple[Node, Node]:
    """x, and y = build(x, gamma, beta) with weights of a shape that stands beside x."""
    x = mg.input("x", shape)
    size = shape[-1] if weights is None else weights
    gamma, beta = (mg.parameter(name, np.ones(size, np.float32)) for name in ("gamma", "beta"))
    return x, build(x, gamma, beta)


def mu(x: Node, axes: Any, keepdims: bool = True) -> Node:
    return mg.mean(x, axes, keepdims=keepdims)


def var(x: Node, axes: Any) -> Node:
    return mu((x - mu(x, axes)) ** 2, axes)


def one_pass(x: Node, axes: Any) -> Node:
    return mu(x * x, axes) - mu(x, axes) ** 2


def summed(x: Node, axes: Any) -> Node:
    return mg.sum(x, axes, keepdims=True) / mg.count(x, axes)


def bn_scale_shift(x: Node, g: Node, b: Node) -> Node:
    scale = g / mg.sqrt(var(x, 0) + EPS)
    return x * scale + (b - mu(x, 0) * scale)


def bn_two_calls(x: Node, g: Node, b: Node) -> Node:
    """The mean written twice, as one writes it without a variable."""
    c = x - mg.mean(x, 0)
    return g * (x - mg.mean(x, 0)) / mg.sqrt(mg.mean(c * c, 0) + EPS) + b


def bn_transposed(x: Node, g: Node, b: Node) -> Node:
    flat = mg.reshape(mg.transpose(x, (1, 0, 2, 3)), (4, "N", 9))
    hat = (flat - mu(flat, (1, 2))) / mg.sqrt(var(flat, (1, 2)) + EPS)
    return mg.transpose(mg.reshape(hat, (4, "N", 3, 3)), (1, 0, 2, 3)) * g + b


def bn_ones_matmul(x: Node, g: Node, b: Node) -> Node:
    """Means over 8 rows as products with a row of 1/8."""
    row = mg.constant(np.full((1, 8), 1 / 8, np.float32))
    c = x - row @ x
    return c / mg.sqrt(row @ (c * c) + EPS)


def gn(x: Node, g: Node, b: Node, flat: bool = False) -> Node:
    seen = mg.reshape(x, (6, 2, 2 * 9) if flat else ("N", 2, 2, 3, 3))
    axes = (2,) if flat else (2, 3, 4)
    hat = (seen - mu(seen, axes)) / mg.sqrt(var(seen, axes) + EPS)
    return mg.reshape(hat, x.shape) * g + b


def in_by_rows(x: Node, g: Node, b: Node) -> Node:
    rows = mg.reshape(x, (24, 9))
    hat = (rows - mu(rows, 1)) / mg.sqrt(var(rows, 1) + EPS)
    return mg.reshape(hat, x.shape) * g + b


def l2_rms(x: Node, g: Node, b: Node) -> Node:
    """sqrt(D) * x / |x|: the factor makes up for the missing 1 / D."""
    return x / mg.sqrt(mg.sum(x * x, -1, keepdims=True)) * np.sqrt(4).astype("f") * g


@dataclass(frozen=True)
class Found:
    kind: str
    axes: tuple[int, ...]
    eps: float = EPS
    place: str = "inside"
    gamma: str | None = "gamma"
    beta: str | None = "beta"
    mean: bool = True
    variance: bool = True
    correction: int = 0
    groups: int | None = None


N2, N4, B3 = ("N", 4), ("N", 4, 3, 3), ("B", "T", 4)
C11 = (4, 1, 1)
BARE: dict[str, Any] = {"gamma": None, "beta": None}

BN, BN4 = Found("batch", (0,)), Found("batch", (0, 2, 3))
LN = Found("layer", (1,))
RMS = Found("rms", (1,), mean=False, beta=None)

SPELLINGS: dict[str, tuple[tuple[Node, Node], Found]] = {
    "batch: six primitives": (
        spell(lambda x, g, b: nn.batch_norm(x, g, b, eps=EPS), *N2), BN),
    "batch: divided by the root": (
        spell(lambda x, g, b: g * (x - mu(x, 0)) / mg.sqrt(var(x, 0) + EPS) + b, *N2), BN),
    "batch: times one over the root": (
        spell(lambda x, g, b: (x - mu(x, 0)) * (1 / mg.sqrt(EPS + var(x, 0))) * g + b, *N2), BN),
    "batch: power of minus a half": (
        spell(lambda x, g, b: b + (x - mu(x, 0)) * (var(x, 0) + EPS) ** -0.5 * g, *N2), BN),
    "batch: power of a half": (
        spell(lambda x, g, b: (x - mu(x, 0)) / (var(x, 0) + EPS) ** 0.5 * g + b, *N2), BN),
    "batch: root of one over": (
        spell(lambda x, g, b: (x - mu(x, 0)) * mg.sqrt(1 / (var(x, 0) + EPS)) * g + b, *N2), BN),
    "batch: exponential of a logarithm": (
        spell(lambda x, g, b: (x - mu(x, 0)) * mg.exp(-0.5 * mg.log(var(x, 0) + EPS)) * g + b,
              *N2), BN),
    "batch: one pass": (
        spell(lambda x, g, b: (x - mu(x, 0)) / mg.sqrt(one_pass(x, 0) + EPS) * g + b, *N2), BN),
    "batch: one pass, clamped": (
        spell(lambda x, g, b: (x - mu(x, 0)) / mg.sqrt(mg.maximum(one_pass(x, 0), 0) + EPS) * g + b,
              *N2), BN),
    "batch: two quotients": (
        spell(lambda x, g, b: (x / mg.sqrt(var(x, 0) + EPS) - mu(x, 0) / mg.sqrt(var(x, 0) + EPS))
              * g + b, *N2), BN),
    "batch: scale and shift": (spell(bn_scale_shift, *N2), BN),
    "batch: x*scale - mu*scale": (
        spell(lambda x, g, b: x * (s := g * (var(x, 0) + EPS) ** -0.5) - mu(x, 0) * s + b,
              *N2), BN),
    "batch: gamma over the root first": (
        spell(lambda x, g, b: (g / mg.sqrt(var(x, 0) + EPS)) * (x - mu(x, 0)) + b, *N2), BN),
    "batch: sums over n": (
        spell(lambda x, g, b: (c := x - summed(x, 0)) / mg.sqrt(summed(c * c, 0) + EPS) * g + b,
              *N2), BN),
    "batch: n under the root, on the other side": (
        spell(lambda x, g, b: (c := x - mu(x, 0)) * mg.sqrt(mg.count(x, 0))
              / mg.sqrt(mg.sum(c * c, 0) + EPS * mg.count(x, 0)) * g + b, *N2),
        Found("batch", (0,), variance=False)),
    "batch: the mean minus x": (
        spell(lambda x, g, b: -(mu(x, 0) - x) / mg.sqrt(var(x, 0) + EPS) * g + b, *N2), BN),
    "batch: no keepdims": (
        spell(lambda x, g, b: g * ((x - mg.mean(x, 0)) / mg.sqrt(mg.var(x, 0) + EPS)) + b,
              *N2), BN),
    "batch: everything twice": (spell(bn_two_calls, *N2), BN),
    "batch: gamma before the root": (
        spell(lambda x, g, b: (x - mu(x, 0)) * g / mg.sqrt(var(x, 0) + EPS) + b, *N2), BN),
    "batch: detached statistics": (
        spell(lambda x, g, b: (x - mg.stop_gradient(mu(x, 0)))
              / mg.sqrt(mg.stop_gradient(var(x, 0)) + EPS) * g + b, *N2), BN),
    "batch: no eps": (
        spell(lambda x, g, b: (x - mu(x, 0)) / mg.sqrt(var(x, 0)) * g + b, *N2),
        Found("batch", (0,), eps=0.0, place="none")),
    "batch: eps outside": (
        spell(lambda x, g, b: (x - mu(x, 0)) / (mg.sqrt(var(x, 0)) + EPS) * g + b, *N2),
        Found("batch", (0,), place="outside")),
    "batch: no weights": (
        spell(lambda x, g, b: nn.batch_norm(x, None, None, eps=EPS), *N2),
        Found("batch", (0,), **BARE)),
    "batch: gamma alone": (
        spell(lambda x, g, b: nn.batch_norm(x, g, None, eps=EPS), *N2),
        Found("batch", (0,), beta=None)),
    "batch: beta alone": (
        spell(lambda x, g, b: nn.batch_norm(x, None, b, eps=EPS), *N2),
        Found("batch", (0,), gamma=None)),
    "batch: images": (
        spell(lambda x, g, b: nn.batch_norm(x, g, b, axes=(0, 2, 3), eps=EPS), *N4, weights=C11),
        BN4),
    "batch: images, channels last": (
        spell(lambda x, g, b: nn.batch_norm(x, g, b, axes=(0, 1, 2), eps=EPS), "N", 3, 3, 4),
        Found("batch", (0, 1, 2))),
    "batch: images, one axis after the other": (
        spell(lambda x, g, b: (c := x - mu(mu(mu(x, 0), 2), 3))
              / mg.sqrt(mu(mu(mu(c * c, 3), 2), 0) + EPS) * g + b, *N4, weights=C11), BN4),
    "batch: images, seen as channels by the rest": (spell(bn_transposed, *N4, weights=C11), BN4),
    "batch: means by a matrix product": (
        spell(bn_ones_matmul, 8, 4), Found("batch", (0,), **BARE)),
    "batch: unbiased": (
        spell(lambda x, g, b: (c := x - mu(x, 0)) / mg.sqrt(
            mg.sum(c * c, 0) / (mg.count(x, 0) - 1) + EPS) * g + b, *N2),
        Found("batch", (0,), correction=1)),
    "batch: rows of a sequence": (
        spell(lambda x, g, b: nn.batch_norm(x, g, b, axes=(0, 1), eps=EPS), *B3),
        Found("batch", (0, 1))),
    "layer: of vectors": (
        spell(lambda x, g, b: nn.layer_norm(x, g, b, eps=EPS), *N2), LN),
    "layer: of sequences": (
        spell(lambda x, g, b: nn.layer_norm(x, g, b, eps=EPS), *B3), Found("layer", (2,))),
    "layer: one pass, power": (
        spell(lambda x, g, b: (x - mu(x, -1)) * (one_pass(x, -1) + EPS) ** -0.5 * g + b, *N2), LN),
    "layer: unbiased, eps outside": (  # The Annotated Transformer
        spell(lambda x, g, b: g * (c := x - mu(x, -1))
              / (mg.sqrt(mg.sum(c * c, -1, keepdims=True) / 3) + EPS) + b, *N2),
        Found("layer", (1,), correction=1, place="outside")),
    "layer: channels first": (
        spell(lambda x, g, b: nn.batch_norm(x, g, b, axes=(1,), eps=EPS), *N4, weights=C11), LN),
    "layer: whole images": (
        spell(lambda x, g, b: nn.batch_norm(x, g, b, axes=(1, 2, 3), eps=EPS), *N4,
              weights=(4, 3, 3)), Found("layer", (1, 2, 3))),
    "layer: of one vector without a batch": (
        spell(lambda x, g, b: nn.layer_norm(x, g, b, eps=EPS), 5), Found("layer", (0,))),
    "instance: of images": (
        spell(lambda x, g, b: nn.instance_norm(x, g, b, eps=EPS), *N4, weights=C11),
        Found("instance", (2, 3))),
    "instance: channels last": (
        spell(lambda x, g, b: nn.batch_norm(x, g, b, axes=(1, 2), eps=EPS), "N", 3, 3, 4),
        Found("instance", (1, 2))),
    "instance: no weights": (
        spell(lambda x, g, b: nn.instance_norm(x, None, None, eps=EPS), *N4),
        Found("instance", (2, 3), **BARE)),
    "instance: by rows": (
        spell(in_by_rows, 6, 4, 3, 3, weights=C11), Found("instance", (2, 3))),
    "group: five axes": (
        spell(gn, *N4, weights=C11), Found("group", (1, 2, 3), groups=2)),
    "group: three axes": (
        spell(lambda x, g, b: gn(x, g, b, flat=True), 6, 4, 3, 3, weights=C11),
        Found("group", (1, 2, 3), groups=2)),
    "group: one group": (
        spell(lambda x, g, b: nn.batch_norm(x, g, b, axes=(1, 2, 3), eps=EPS), *N4, weights=C11),
        Found("group", (1, 2, 3), groups=1)),
    "rms: of vectors": (
        spell(lambda x, g, b: nn.rms_norm(x, g, eps=EPS), *N2), RMS),
    "rms: power, products": (
        spell(lambda x, g, b: g * (x * (mu(x * x, -1) + EPS) ** -0.5), *N2), RMS),
    "rms: over the length": (
        spell(l2_rms, *N2), Found("rms", (1,), 0.0, "none", "gamma", None, False, False)),
    "rms: eps outside": (
        spell(lambda x, g, b: x / (mg.sqrt(mu(x**2, -1)) + EPS) * g, *N2),
        Found("rms", (1,), mean=False, beta=None, place="outside")),
}  # fmt: skip


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
