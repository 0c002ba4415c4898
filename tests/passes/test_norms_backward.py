"""The gradient region of a normaliser: the nodes that `grad` made for it, found without scopes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import Node, nn
from minigrad.ir import is_leaf

X, IMAGE = ("N", 4), ("N", 4, 3, 3)

pytestmark = pytest.mark.usefixtures("sizes")

LAYERS = [
    (nn.BatchNorm(4, name="norm"), X),
    (nn.BatchNorm(4, name="norm", channel_axis=1), IMAGE),
    (nn.BatchNorm(4, name="norm", center=False), X),
    (nn.BatchNorm(4, name="norm", center=False, scale=False), X),
    (nn.LayerNorm(4, name="norm"), X),
    (nn.InstanceNorm(4, name="norm"), IMAGE),
    (nn.GroupNorm(4, groups=2, name="norm"), IMAGE),
    (nn.RMSNorm(4, name="norm"), X),
]


def region(nodes: Any, name: str = "norm") -> set[Node]:
    """What `grad` labelled, but for constants and counts, which depend on nothing."""
    return {
        n for n in nodes
        if n.scope.path[:1] == (name,) and n.scope.order == 1 and not is_leaf(n)
        and n.prim.name != "count"
    }  # fmt: skip


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda v: type(v).__name__)
def test_the_region_is_what_grad_built_for_the_layer(layer: Any, shape: Any) -> None:
    x = mg.input("x", shape)
    y = layer(mg.tanh(x))
    loss = mg.sum(mg.tanh(y) ** 2)
    weights = mg.Graph([x], {"y": y}).parameters
    gradients = mg.grad(loss, [x, *weights])
    graph = mg.Graph([x], {"loss": loss, **{f"d{i}": g for i, g in enumerate(gradients)}})
    (norm,) = mg.find_norms(graph)
    assert set(norm.backward) == region(graph.nodes)
    assert norm.cotangent is not None
    assert norm.cotangent.scope.path != ("norm",)


def test_the_cotangent_is_the_gradient_of_y() -> None:
    x = mg.input("x", X)
    y = nn.BatchNorm(4, name="norm")(x)
    loss = mg.mean(mg.exp(y))
    dx, dy = mg.grad(loss, [x, y])
    (norm,) = mg.find_norms(mg.Graph([x], {"loss": loss, "dx": dx, "dy": dy}))
    assert norm.cotangent is not None
    feed = {"x": np.random.default_rng(0).normal(size=(5, 4))}
    found, wanted = mg.evaluate([norm.cotangent, dy], feed)
    np.testing.assert_array_equal(found, wanted)


def test_a_cotangent_that_is_fed_is_found() -> None:
    x, u = mg.input("x", X), mg.input("u", X)
    y = nn.LayerNorm(4, name="norm")(x)
    graph = mg.Graph([x, u], {"y": y, "dx": mg.grad(y, x, u)[0]})
    (norm,) = mg.find_norms(graph)
    assert norm.cotangent is u
    assert set(norm.backward) == region(graph.nodes)


def test_a_loss_that_weighs_y_by_weights_is_no_obstacle() -> None:
    x, w = mg.input("x", X), mg.parameter("w", np.ones((1, 4), np.float32))
    y = nn.BatchNorm(4, name="norm")(x)
    graph = mg.Graph([x], {"y": y, "dx": mg.grad(mg.sum(y * w), x)[0]})
    (norm,) = mg.find_norms(graph)
    assert norm.backward
    assert norm.backward[-1] is graph.outputs["dx"]


def test_gradients_of_other_uses_of_x_are_told_apart() -> None:
    x = mg.input("x", X)
    y = nn.BatchNorm(4, name="norm")(x)
    loss = mg.sum(mg.tanh(y + x) * 2) + mg.sum(x**3)
    graph = mg.Graph([x], {"dx": mg.grad(loss, x)[0]})
    (norm,) = mg.find_norms(graph)
    assert set(norm.backward) <= region(graph.nodes)
    assert {"mul", "sum", "neg", "broadcast_to"} <= {n.prim.name for n in norm.backward}


def test_a_gradient_written_by_hand_in_closed_form_is_found() -> None:
    x, u = mg.input("x", X), mg.input("u", X)
    gamma = mg.parameter("gamma", np.ones(4, np.float32))
    c = x - mg.mean(x, 0)
    r = (mg.mean(c * c, 0) + 1e-3) ** -0.5
    hat = c * r
    dx = gamma * r * (u - mg.mean(u, 0) - hat * mg.mean(u * hat, 0))
    dgamma = mg.sum(u * hat, 0)
    (norm,) = mg.find_norms(mg.Graph([x, u], {"y": hat * gamma, "dx": dx, "dgamma": dgamma}))
    assert norm.cotangent is u
    assert {dx, dgamma} < set(norm.backward)


def test_a_wrong_gradient_is_no_backward_region() -> None:
    x, u = mg.input("x", X), mg.input("u", X)
    c = x - mg.mean(x, 0)
    r = (mg.mean(c * c, 0) + 1e-3) ** -0.5
    hat = c * r
    for wrong in (
        7 * r * (u - mg.mean(u, 0) - hat * mg.mean(u * hat, 0)),  # a factor too many
        r * (u - mg.mean(u, 0)),  # the variance detached
        r * (u - hat * mg.mean(u * hat, 0)),  # the mean detached
        r * (u - mg.mean(u, 0) + hat * mg.mean(u * hat, 0)),
        r * (u - mg.mean(u, 1, keepdims=True) - hat * mg.mean(u * hat, 0)),
    ):
        (norm,) = mg.find_norms(mg.Graph([x, u], {"y": hat, "dx": wrong}))
        assert norm.backward == ()
        assert norm.cotangent is None


def test_each_norm_of_a_network_has_its_own_region() -> None:
    x, t = mg.input("x", X), mg.input("t", "N", "int64")
    net = nn.Sequential(
        nn.Linear(4), nn.BatchNorm(4), mg.relu, nn.Linear(4), nn.BatchNorm(4), mg.sigmoid,
        nn.LayerNorm(4), nn.Linear(3),
    )  # fmt: skip
    graph = mg.optim.adam(mg.Graph([x, t], {"loss": mg.cross_entropy(net(x), t)}), lr=0.1)
    found = mg.find_norms(graph)
    for norm, name in zip(found, ("bn1", "bn2", "ln1"), strict=True):
        assert set(norm.backward) == region(graph.nodes, name)
