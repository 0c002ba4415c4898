"""Variances and roots: bad graphs in several spellings, good ones, and the rewrite."""

import numpy as np
import pytest
from linting import centred, data, found, graph_of, only

import minigrad as mg

# --- one-pass variance -----------------------------------------------------------------------

ONE_PASS = {
    "powers": lambda x: mg.mean(x**2, 0) - mg.mean(x, 0) ** 2,
    "products": lambda x: mg.mean(x * x, 0) - mg.mean(x, 0) * mg.mean(x, 0),
    "kept dims": lambda x: mg.mean(x**2, 0, keepdims=True) - mg.mean(x, 0, keepdims=True) ** 2,
    "sums over n": lambda x: mg.sum(x * x, 0) / mg.count(x, 0) - (mg.sum(x, 0) / mg.count(x, 0))**2,
    "negated": lambda x: -(mg.mean(x, 0) ** 2) + mg.mean(x**2, 0),
    "clamped": lambda x: mg.maximum(mg.mean(x**2, 0) - mg.mean(x, 0) ** 2, 0),
    "n times": lambda x: mg.sum(x**2, 0) - mg.count(x, 0) * mg.mean(x, 0) ** 2,
    "sum squared": lambda x: mg.sum(x**2, 0) - mg.sum(x, 0) ** 2 / mg.count(x, 0),
    "sum times mean": lambda x: mg.sum(x**2, 0) - mg.sum(x, 0) * mg.mean(x, 0),
    "reshaped": lambda x: mg.reshape(mg.mean(x**2, 0), (1, 3)) - mg.mean(x, 0, keepdims=True) ** 2,
    "over all": lambda x: mg.mean(x**2) - mg.mean(x) ** 2,
}  # fmt: skip


@pytest.mark.parametrize("spelling", ONE_PASS)
def test_a_one_pass_variance_is_found_and_rewritten_to_two_passes(spelling):
    x = data()
    graph = graph_of(ONE_PASS[spelling](x))
    finding = only(graph, "one-pass-variance")
    assert "agree to" in finding.checked
    far = (1e4 + 0.1 * np.random.default_rng(0).normal(size=(1000, 3))).astype("float32")
    scale = 1000 if spelling in ("n times", "sum squared", "sum times mean") else 1
    wanted = far.astype("float64").var(None if spelling == "over all" else 0) * scale
    good, bad = (mg.evaluate(g, {"x": far})[0].reshape(wanted.shape) for g in (
        finding.fixed, graph))  # fmt: skip
    np.testing.assert_allclose(good, wanted, rtol=5e-3)
    assert np.abs(bad - wanted).max() > 0.1 * np.abs(wanted).max()


@pytest.mark.parametrize("good", [
    lambda x: mg.var(x, 0),
    lambda x: mg.mean(x**2, 0) - mg.mean(x, 0),
    lambda x: mg.mean(x**2, 0) - mg.mean(x**2, 0) ** 2,
    lambda x: mg.mean(x**2, 0) - 2 * mg.mean(x, 0) ** 2,
    lambda x: mg.mean(x**2, 0) - mg.mean(mg.exp(x), 0) ** 2,
    lambda x: mg.mean(x**2, 0) + mg.mean(x, 0) ** 2,
    lambda x: mg.sum(x**2, 0) - mg.mean(x, 0) ** 2,
])  # fmt: skip
def test_what_is_not_a_one_pass_variance_is_left_alone(good):
    assert found(graph_of(good(data())), "one-pass-variance") == []


# --- roots -----------------------------------------------------------------------------------


def normed(divide):
    c, v = centred(data())
    return graph_of(divide(c, v))


@pytest.mark.parametrize("divide", [
    lambda c, v: c / mg.sqrt(v),
    lambda c, v: c * mg.sqrt(v) ** -1,
    lambda c, v: c * v**-0.5,
    lambda c, v: c / v**0.5,
    lambda c, v: c / (2.0 * mg.sqrt(mg.sum(c * c, 0) / mg.count(c, 0))),
    lambda c, v: c / mg.sqrt(mg.maximum(v, 0)),
    lambda c, v: c / mg.sqrt(mg.sum(c**2, 1, keepdims=True)),
], ids=["div", "inverse", "power", "root power", "scaled", "clamped", "l2"])  # fmt: skip
def test_a_root_without_eps_is_found_and_gets_one(divide):
    finding = only(normed(divide), "root-without-eps")
    assert "adds eps 1e-05" in finding.checked
    flat = {"x": np.full((4, 3), 2.0, "float32")}
    assert np.isfinite(mg.evaluate(finding.fixed, flat)[0]).all()
    assert not np.isfinite(mg.evaluate(normed(divide), flat)[0]).all()


def test_a_norm_of_weights_in_a_loss_has_an_infinite_gradient_at_0():
    w = mg.parameter("w", [1.0, 2.0])
    bad = mg.Graph([], {"loss": mg.sqrt(mg.sum(w**2))})
    assert "its gradient at 0 is infinite" in only(bad, "root-without-eps").message
    assert found(mg.Graph([], {"loss": mg.sqrt(mg.sum(w**2) + 1e-8)}), "root-without-eps") == []


@pytest.mark.parametrize("divide", [
    lambda c, v: c / mg.sqrt(v + 1e-5),
    lambda c, v: c * (1e-5 + v) ** -0.5,
    lambda c, v: c / mg.sqrt(mg.maximum(v, 1e-6)),
    lambda c, v: c / mg.maximum(mg.sqrt(v), 1e-3),
    lambda c, v: mg.sqrt(v),
    lambda c, v: c / mg.sqrt(mg.exp(v)),
    lambda c, v: c / mg.sqrt(3.0),
])  # fmt: skip
def test_a_root_that_cannot_do_harm_is_left_alone(divide):
    assert found(normed(divide), "root-without-eps") == []


@pytest.mark.parametrize("divide", [
    lambda c, v: c / (mg.sqrt(v) + 1e-5),
    lambda c, v: c * (mg.sqrt(v) + 1e-5) ** -1,
    lambda c, v: c / (1e-3 + v**0.5),
])  # fmt: skip
def test_an_eps_outside_the_root_is_found_and_moved_inside(divide):
    finding = only(normed(divide), "eps-outside-root")
    assert "for eps 0" in finding.checked
    (norm,) = mg.find_norms(finding.fixed)
    assert norm.eps.place == "inside"


def test_an_eps_outside_an_optimisers_root_is_its_own_business():
    w = mg.parameter("w", [1.0, 2.0])
    graph = mg.optim.adam(mg.Graph([], {"loss": mg.sum((w - 3.0) ** 2)}), clip_norm=1.0)
    assert mg.lint(graph) == []


# --- n - 1 -----------------------------------------------------------------------------------


@pytest.mark.parametrize("correct", [
    lambda c, n: mg.sum(c**2, 0) / (n - 1),
    lambda c, n: mg.mean(c**2, 0) * (n / (n - 1)),
    lambda c, n: mg.mean(c**2, 0) * n * (n - 1) ** -1,
    lambda c, n: mg.sum(c**2, 0) / (-1 + n),
])  # fmt: skip
def test_a_named_batch_that_may_be_one_is_found_and_bounded(correct):
    x = data()
    c, _ = centred(x)
    finding = only(graph_of(correct(c, mg.count(x, 0))), "unbiased-of-one")
    assert "when N is 1" in finding.message
    with pytest.raises(mg.GraphError, match="at least 2"):
        mg.evaluate(finding.fixed, {"x": [[1.0, 2.0, 3.0]]})
    good = graph_of(correct(c, mg.count(x, 0, at_least=2)))
    assert found(good, "unbiased-of-one") == []


def test_only_the_dims_that_are_counted_are_blamed():
    x = data(("N", "T", 3))
    y = mg.sum(x**2, 1) / (mg.count(x, 1) - 1)
    assert "when T is 1" in only(graph_of(y), "unbiased-of-one").message
    both = mg.sum(x**2, (0, 1)) / (mg.count(x, (0, 1)) - 1)
    assert "when N, T is 1" in only(graph_of(both), "unbiased-of-one").message


def test_a_batch_of_one_is_found_and_has_no_rewrite():
    for divisor in (0.0, mg.count(data((1, 3)), 0) - 1):
        c, _ = centred(data((1, 3)))
        finding = only(graph_of(mg.sum(c**2, 0) / divisor), "unbiased-of-one")
        assert "one element" in finding.message
        assert finding.fixed is None


@pytest.mark.parametrize("shape", [(2, 3), ("N", 4, 3)])
def test_enough_elements_are_left_alone(shape):
    x = data(shape)
    axes = tuple(range(len(shape) - 1))
    y = mg.sum(x**2, axes) / (mg.count(x, axes) - 1)
    assert found(graph_of(y), "unbiased-of-one") == []


def test_a_lower_bound_of_the_divisor_is_enough():
    x = data()
    y = mg.sum(x**2, 0) / mg.maximum(mg.count(x, 0) - 1, 1)
    assert found(graph_of(y), "unbiased-of-one") == []
