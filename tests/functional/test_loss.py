"""Losses: closed forms, labels, and the shapes that they refuse."""

import numpy as np
import pytest

import minigrad as mg

RNG = np.random.default_rng(7)
SCORES = RNG.normal(size=(6, 4))
LABELS = RNG.integers(0, 4, 6)


def probabilities(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_cross_entropy_is_minus_the_mean_log_probability_of_the_label():
    x, t = mg.input("x", ("N", 4), "float64"), mg.input("t", "N", "int64")
    loss = mg.evaluate(mg.cross_entropy(x, t), {"x": SCORES, "t": LABELS})
    expected = -np.log(probabilities(SCORES)[np.arange(6), LABELS]).mean()
    assert loss == pytest.approx(expected, rel=1e-14)


def test_gradient_of_cross_entropy_is_probability_minus_one_hot_over_n():
    x, t = mg.input("x", ("N", 4), "float64"), mg.input("t", "N", "int64")
    (dx,) = mg.evaluate(mg.grad(mg.cross_entropy(x, t), x), {"x": SCORES, "t": LABELS})
    expected = (probabilities(SCORES) - np.eye(4)[LABELS]) / 6
    np.testing.assert_allclose(dx, expected, rtol=1e-12, atol=1e-16)


def test_cross_entropy_survives_extreme_scores():
    x = mg.input("x", (2, 2))
    loss = mg.cross_entropy(x, np.array([0, 1]))
    feed = {"x": [[1e30, -1e30], [0.0, 200.0]]}
    value, dx = mg.evaluate([loss, *mg.grad(loss, x)], feed, check_finite=True)
    assert value == 0
    np.testing.assert_array_equal(dx, 0)


def test_cross_entropy_emerges_from_elementwise_ops_and_reductions():
    x, t = mg.input("x", ("N", 4)), mg.input("t", "N", "int64")
    kinds = {n.prim.kind for n in mg.Graph([x, t], mg.cross_entropy(x, t)).nodes if n.inputs}
    assert kinds <= {mg.Kind.ELEMENTWISE, mg.Kind.REDUCTION, mg.Kind.VIEW}  # so that it fuses


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_classes_may_lie_along_any_axis(axis):
    scores = np.moveaxis(SCORES, 1, axis)
    loss = mg.evaluate(mg.cross_entropy(scores, LABELS, axis=axis))
    assert loss == pytest.approx(mg.evaluate(mg.cross_entropy(SCORES, LABELS)), rel=1e-14)


def test_mse_is_the_mean_squared_difference():
    assert mg.evaluate(mg.mse([1.0, 2.0, 4.0], [1.0, 0.0, 1.0])) == pytest.approx(13 / 3)
    assert mg.evaluate(mg.mse([1.0, 3.0], 1.0)) == 2


@pytest.mark.parametrize("target", ["N", (1,), ("N", 2)])
def test_mse_refuses_to_broadcast_examples_against_each_other(target):
    prediction = mg.input("y", ("N", 1))
    with pytest.raises(mg.ShapeError, match=r"mse: prediction f32\[N,1\].*test_loss\.py:\d+"):
        mg.mse(prediction, mg.input("t", target))


def test_labels_must_be_ints():
    with pytest.raises(mg.DTypeError, match=r"labels must be ints, not f32\[N\].*test_loss"):
        mg.cross_entropy(mg.input("x", ("N", 4)), mg.input("t", "N"))


def test_variance_is_biased_and_kept_where_asked():
    x = mg.input("x", ("N", 4), "float64")
    found = mg.var(x, axis=0, keepdims=True)
    assert str(found.type) == "f64[1,4]"
    np.testing.assert_allclose(mg.evaluate(found, {"x": SCORES})[0], SCORES.var(axis=0))
