"""What a gradient sees: a useless bias, a detached statistic, a loss that sees nothing."""

import numpy as np
import pytest
from linting import centred, data, found, graph_of, only

import minigrad as mg
from minigrad import nn

# --- bias before a norm ----------------------------------------------------------------------


def biased(kind):
    x = data(("N", 4, 3, 3) if kind in ("conv", "instance", "conv nhwc") else ("N", 4))
    b = mg.parameter("b", [0.0] * 4)
    if kind == "linear":
        return nn.BatchNorm(5, name="bn")(nn.Linear(5, name="l")(x))
    if kind == "conv":
        return nn.BatchNorm(2, channel_axis=1, name="bn")(nn.Conv2d(2, 2, name="l")(x))
    if kind == "conv nhwc":
        h = mg.transpose(nn.Conv2d(2, 2, name="l")(x), (0, 2, 3, 1))
        return nn.BatchNorm(2, name="bn")(h)
    if kind == "instance":
        return nn.InstanceNorm(2, name="in")(nn.Conv2d(2, 2, name="l")(x))
    if kind == "by hand":
        c = (x - b) - mg.mean(x - b, 0)
        return c / mg.sqrt(mg.mean(c**2, 0) + 1e-5)
    if kind == "scaled sum":
        return nn.BatchNorm(4, name="bn")(2.0 * (nn.Linear(4, bias=False, name="l")(x) + b) + x)
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["linear", "conv", "conv nhwc", "instance", "scaled sum"])
def test_a_bias_before_a_norm_is_found_and_dropped(kind):
    y = biased(kind)
    finding = only(graph_of(y, mg.sum(y**3)), "bias-before-norm")
    names = {p.name for p in finding.fixed.parameters}
    assert not names & {"l/bias", "b"}
    if kind not in ("instance",):
        assert "take it off bn/running_mean too" in finding.message


def test_a_bias_written_twice_is_found_at_each_place():
    y = biased("by hand")
    assert {f.rule for f in mg.lint(graph_of(y))} <= {"bias-before-norm"}


@pytest.mark.parametrize("build", [
    lambda x, b: nn.BatchNorm(4, name="bn")(mg.relu(x + b)),
    lambda x, b: nn.LayerNorm(4, name="ln")(x + b),
    lambda x, b: nn.RMSNorm(4, name="rms")(x + b),
    lambda x, b: (x + b) + nn.BatchNorm(4, name="bn")(x + b),
    lambda x, b: nn.BatchNorm(4, name="bn", statistics="running")(x + b),
    lambda x, b: nn.BatchNorm(4, name="bn")(x * b),
    lambda x, b: nn.BatchNorm(4, name="bn")(x) + b,
])  # fmt: skip
def test_a_bias_that_the_norm_does_not_take_away_is_left_alone(build):
    y = build(data(("N", 4)), mg.parameter("b", [0.0] * 4))
    assert found(graph_of(y), "bias-before-norm") == []


def test_with_gradients_in_the_graph_the_bias_is_found_and_the_rewrite_put_off():
    y = biased("linear")
    graph = mg.optim.sgd(graph_of(y, mg.sum(y**3)), lr=0.1)
    finding = only(graph, "bias-before-norm")
    assert finding.fixed is None
    assert "before the gradient" in finding.checked


# --- detached statistics ---------------------------------------------------------------------


def detach(mean=False, var=False, root=False):
    stop = mg.stop_gradient
    x = data()
    mu = mg.mean(x, 0)
    c = x - (stop(mu) if mean else mu)
    v = mg.mean((x - mu) ** 2, 0)
    r = mg.sqrt((stop(v) if var else v) + 1e-5) ** -1
    return c * (stop(r) if root else r)


@pytest.mark.parametrize("what", ["mean", "var", "root"])
def test_a_detached_statistic_is_found_and_set_free(what):
    y = detach(**{what: True})
    graph = graph_of(y, mg.mean(y**3))
    finding = only(graph, "detached-statistic")
    assert "first order" in finding.message
    y = detach()
    free = graph_of(y, mg.mean(y**3))
    at = {"x": np.random.default_rng(0).normal(size=(6, 3)).astype("float32")}
    gradients = []
    for g in (finding.fixed, free):
        (x,) = g.inputs
        gradients.append(mg.evaluate(mg.grad(g.outputs["loss"], [x]), at)[0])
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-6)


def test_a_hand_written_gradient_with_a_frozen_statistic_breaks_the_second_order():
    x, u = data(), data(name="u")
    c, v = centred(x)
    r = mg.stop_gradient(mg.sqrt(v + 1e-5) ** -1)
    x_hat = c * r
    dx = r * (u - mg.mean(u, 0) - x_hat * mg.mean(u * x_hat, 0))
    assert len(found(mg.Graph([], {"dx": dx}), "detached-statistic")) == 1


@pytest.mark.parametrize("build", [
    lambda x: mg.softmax(x, 0),
    lambda x: x - mg.stop_gradient(x) * 1.0 + mg.stop_gradient(x),
    lambda x: mg.mean((x - mg.stop_gradient(mg.sum(x, 0) * 0.0)) ** 2, 0),
    lambda x: nn.BatchRenorm(3, plain_steps=0, r_steps=0, d_steps=0)(x),
    lambda x: mg.exp(x - mg.stop_gradient(mg.mean(x, 1, keepdims=True))) / mg.sum(
        mg.exp(x - mg.stop_gradient(mg.mean(x, 1, keepdims=True))), 1, keepdims=True),
], ids=["softmax", "straight through", "zero", "renorm", "softmax about the mean"])  # fmt: skip
def test_what_changes_no_derivative_or_is_no_statistic_is_left_alone(build):
    y = build(data())
    assert found(graph_of(y, mg.mean(y**3)), "detached-statistic") == []


# --- blind losses ----------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "words"), [
    (lambda y: mg.sum(y), "does not depend"),
    (lambda y: mg.mean(mg.mean(y, 0)), "does not depend"),
    (lambda y: mg.sum(3.0 * y + 1.0), "does not depend"),
    (lambda y: mg.sum(y[:, 0]), "does not depend"),
    (lambda y: mg.mean(y**2), "hardly depends"),
])  # fmt: skip
def test_a_loss_that_a_norm_makes_constant_is_found(loss, words):
    y = mg.nn.batch_norm(nn.Linear(4, bias=False)(data()), None, None)
    finding = only(graph_of(y, loss(y)), "blind-loss")
    assert words in finding.message
    assert finding.fixed is None


@pytest.mark.parametrize("loss", [
    lambda y: mg.sum(y**3),
    lambda y: mg.sum(mg.relu(y)),
    lambda y: mg.sum(y * np.linspace(0, 1, 12, dtype="float32").reshape(3, 4).T[:, :3]),
])  # fmt: skip
def test_a_loss_that_sees_through_the_norm_is_left_alone(loss):
    y = mg.nn.batch_norm(data((4, 3)), None, None)
    assert found(graph_of(y, loss(y)), "blind-loss") == []


def test_a_norm_beside_the_loss_does_not_matter():
    x = data()
    assert found(graph_of(mg.nn.batch_norm(x, None, None), mg.sum(x**3)), "blind-loss") == []
