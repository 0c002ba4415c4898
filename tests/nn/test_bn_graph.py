"""What graph batch norm leaves behind: no op that the formula does not ask for."""

import numpy as np
import pytest

import minigrad as mg

X = np.random.default_rng(8).normal(2, 3, (6, 4))


def ops(graph):
    return [node.prim.name for node in graph.nodes if node.inputs]


def test_rows_need_no_reshape_in_training_updates_or_inference():
    graph = mg.Graph([], mg.nn.BatchNorm(4)(mg.input("x", ("N", 4))))
    forward = ["mean", "sub", "pow", "mean", "add", "sqrt", "pow", "mul", "mul", "add"]
    assert ops(graph) == forward + ["mul", "mul", "add"] * 2  # and the two moving averages
    assert ops(mg.to_inference(graph)) == ["sub", "add", "sqrt", "pow", "mul", "mul", "add"]


def test_statistics_of_rows_have_the_shape_of_gamma():
    y = mg.nn.batch_norm(mg.input("x", ("N", 4)), None, None)
    shapes = {n.shape for n in mg.Graph([], y).nodes if n.prim.name == "mean"}
    assert shapes == {(4,)}


@pytest.mark.parametrize(("channel_axis", "kept"), [(1, (1, 4, 1, 1)), (-1, (5,))])
def test_statistics_of_images_are_kept_where_they_must_be(channel_axis, kept):
    layer = mg.nn.BatchNorm(4 if channel_axis == 1 else 5, channel_axis=channel_axis)
    graph = mg.Graph([], layer(mg.input("x", ("N", 4, 3, 5))))
    assert {n.shape for n in graph.nodes if n.prim.name == "mean"} == {kept}
    features = {u.state.shape for u in graph.updates}
    assert features == {(layer.features,)}


def test_every_node_of_the_layer_is_in_its_scope():
    graph = mg.Graph([], mg.nn.BatchNorm(4, name="bn1")(mg.input("x", ("N", 4))))
    built = [n for n in graph.nodes if n.prim.name not in ("input", "constant")]
    assert {n.scope.path for n in built} == {("bn1",)}


@pytest.mark.parametrize("convention", ["keras", "pytorch"])
@pytest.mark.parametrize("channel_axis", [1, -1])
def test_frozen_statistics_may_still_be_measured(convention, channel_axis):
    data = np.random.default_rng(0).normal(2, 3, (3, 4, 2, 4))
    layer = mg.nn.BatchNorm(
        4, channel_axis=channel_axis, decay=0.5, convention=convention, statistics="running"
    )
    step = mg.compile(mg.Graph([], layer(mg.input("x", ("N", 4, 2, 4), "float64"))))
    _, state = step(step.init_state(), x=data)
    axes = tuple(a for a in range(4) if a != channel_axis % 4)
    var = data.var(axis=axes, ddof=int(convention == "pytorch"))
    np.testing.assert_allclose(state["running_mean"], 0.5 * data.mean(axis=axes), rtol=1e-12)
    np.testing.assert_allclose(state["running_var"], 0.5 + 0.5 * var, rtol=1e-12)


def test_gradient_through_frozen_statistics_is_affine():
    x, u = (mg.input(name, ("N", 4), "float64") for name in "xu")
    layer = mg.nn.BatchNorm(4, statistics="running", update=False, eps=0.25)
    graph = mg.Graph([x, u], mg.grad(layer(x), x, ct=u))
    feed = {"u": X, "gamma": np.arange(4.0), "running_var": np.array([0.0, 0.75, 2.0, 3.75])}
    (dx,) = mg.evaluate(graph, feed)
    np.testing.assert_allclose(dx, X * np.arange(4.0) / np.array([0.5, 1, 1.5, 2]), rtol=1e-12)


def test_two_optimised_steps_equal_keras_by_hand():
    """Forward, closed-form gradient, SGD on gamma and beta, and the moving averages, twice."""
    x, t = mg.input("x", ("N", 4), "float64"), mg.input("t", ("N", 4), "float64")
    graph = mg.Graph([x, t], {"loss": mg.mse(mg.nn.BatchNorm(4)(x), t)})
    step = mg.compile(mg.optim.sgd(graph, lr=0.5))
    state = step.init_state()
    gamma, beta, mean, var = np.ones(4), np.zeros(4), np.zeros(4), np.ones(4)
    for scale in (1.0, -2.0):
        batch, target = scale * X, X[::-1]
        outputs, state = step(state, x=batch, t=target)
        xhat = (batch - batch.mean(0)) / np.sqrt(batch.var(0) + 1e-3)
        error = gamma * xhat + beta - target
        assert outputs["loss"] == pytest.approx((error**2).mean(), rel=1e-12)
        slope = 2 * error / error.size
        gamma, beta = gamma - 0.5 * (slope * xhat).sum(0), beta - 0.5 * slope.sum(0)
        mean, var = 0.99 * mean + 0.01 * batch.mean(0), 0.99 * var + 0.01 * batch.var(0)
    for name, wanted in zip(
        ("gamma", "beta", "running_mean", "running_var"), (gamma, beta, mean, var), strict=True
    ):
        np.testing.assert_allclose(state[name], wanted, rtol=1e-12)
