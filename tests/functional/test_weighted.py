"""Masked and weighted statistics: numpy on the elements that count, gradients, exact counts."""

import numpy as np
import pytest

import minigrad as mg

AXES = [None, 0, 1, (0, 2), -1]


def example(seed=0, shape=(6, 5, 4)):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < 0.6
    mask[:2] = mask[:, :2] = mask[:, :, :2] = True  # two count in every slice of every axis
    return rng.normal(3, 2, shape), mask


def over(axis, x, w, ddof=0.0):
    """numpy's mean and variance of the elements with weight, one slice at a time."""
    axes = tuple(range(x.ndim)) if axis is None else axis
    axes = tuple(a % x.ndim for a in (axes if isinstance(axes, tuple) else (axes,)))
    kept = [a for a in range(x.ndim) if a not in axes]
    rows = np.transpose(x, (*kept, *axes)).reshape(*[x.shape[a] for a in kept], -1)
    marks = np.transpose(w, (*kept, *axes)).reshape(rows.shape)
    means, variances = np.zeros(rows.shape[:-1]), np.zeros(rows.shape[:-1])
    for i in np.ndindex(rows.shape[:-1]):
        chosen = rows[i][marks[i]]
        means[i], variances[i] = chosen.mean(), chosen.var(ddof=ddof)
    return means, variances


@pytest.mark.parametrize("axis", AXES)
def test_a_mask_gives_the_statistics_of_the_elements_that_count(axis):
    x, mask = example()
    mean, var = over(axis, x, mask)
    np.testing.assert_allclose(mg.evaluate(mg.weighted_mean(x, mask, axis)), mean, rtol=1e-13)
    np.testing.assert_allclose(mg.evaluate(mg.weighted_var(x, mask, axis)), var, rtol=1e-13)


@pytest.mark.parametrize("correction", ["frequency", "reliability"])
def test_on_a_mask_both_corrections_are_the_unbiased_variance(correction):
    x, mask = example()
    found = mg.evaluate(mg.weighted_var(x, mask, 0, correction=correction))
    np.testing.assert_allclose(found, over(0, x, mask, ddof=1)[1], rtol=1e-12)


def test_whole_weights_count_an_element_so_many_times():
    x = np.random.default_rng(0).normal(size=(6, 2))
    times = np.array([3, 0, 1, 2, 5, 1])
    repeated = np.repeat(x, times, axis=0)
    weights = times[:, None]
    np.testing.assert_allclose(
        mg.evaluate(mg.weighted_mean(x, weights, 0)), repeated.mean(0), rtol=1e-13
    )
    np.testing.assert_allclose(
        mg.evaluate(mg.weighted_var(x, weights, 0, correction="frequency")),
        repeated.var(0, ddof=1),
        rtol=1e-13,
    )


def test_the_reliability_correction_is_numpys_cov():
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=20), rng.random(20)
    found = mg.evaluate(mg.weighted_var(x, w, correction="reliability"))
    assert found == pytest.approx(float(np.cov(x, aweights=w)), rel=1e-13)


def test_weights_scaled_by_a_number_change_nothing():
    x, _ = example()
    w = np.random.default_rng(2).random(x.shape)
    one, other = (mg.evaluate(mg.weighted_var(x, w * s, 1)) for s in (1.0, 37.0))
    np.testing.assert_allclose(one, other, rtol=1e-13)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("kind", ["mask", "weights"])
def test_elements_without_weight_influence_no_value_and_no_gradient(number, kind):
    rng = np.random.default_rng(3)
    data = rng.normal(size=(6, 3)).astype("float32")
    mask = np.array([True, True, False, True, False, True])[:, None]
    w = mask if kind == "mask" else mask * rng.uniform(0.5, 2, (6, 1)).astype("float32")
    x = mg.input("x", (6, 3))
    v, mu = mg.weighted_var(x, w, 0), mg.weighted_mean(x, w, 0)
    loss = mg.sum(v * [1.0, 2.0, 3.0]) + mg.sum(mu**3)
    nodes = [v, mu, *mg.grad(loss, [x])]
    spoilt = data.copy()
    spoilt[[2, 4]] = number
    clean = mg.evaluate(nodes, {"x": data})
    found = mg.evaluate(nodes, {"x": spoilt})
    for a, b in zip(found, clean, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (found[2][[2, 4]] == 0).all()
    assert (found[2][[0, 1, 3, 5]] != 0).all()


@pytest.mark.parametrize("axis", [0, 1, None])
def test_gradients_are_right_by_values_and_by_weights(axis):
    x, w = mg.input("x", (4, 3)), mg.input("w", (4, 3))
    at = {"w": [[0.0, 1, 2], [0.5, 0.3, 1], [1, 0, 1], [2, 1, 0.25]]}
    loss = mg.sum(mg.weighted_var(x, w, axis) ** 2) + mg.sum(mg.exp(mg.weighted_mean(x, w, axis)))
    assert mg.gradcheck(loss, [x, w], at=at)
    assert mg.gradcheck(loss, [x], at=at, order=2)


def test_gradients_of_a_corrected_variance_are_right():
    x = mg.input("x", (4, 3))
    mask = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1], [0, 1, 1]], bool)
    for correction in ("frequency", "reliability"):
        assert mg.gradcheck(mg.sum(mg.weighted_var(x, mask, 0, correction=correction) ** 2), [x])


def test_nothing_but_unweighted_elements_is_0_with_gradient_0():
    x = mg.input("x", (3, 2))
    mask = np.array([[True, False]] * 3)
    mu, v = mg.weighted_mean(x, mask, 0), mg.weighted_var(x, mask, 0)
    (dx,) = mg.grad(mg.sum(mu) + mg.sum(v), [x])
    data = np.full((3, 2), np.nan, "float32")
    data[:, 0] = [1, 2, 3]
    found = mg.evaluate([mu, v, dx], {"x": data})
    assert (found[0][1], found[1][1]) == (0, 0)
    assert (found[2][:, 1] == 0).all()
    assert np.isfinite(found[2]).all()


def test_the_unbiased_variance_of_one_element_is_nan():
    found = mg.evaluate(mg.weighted_var([1.0, 2.0], [True, False], correction="frequency"))
    assert np.isnan(found)


def test_counts_are_exact_in_half_precision():
    x = mg.input("x", (5000, 2), "float16")
    mask = np.arange(5000) % 5 > 0
    nodes = [mg.weighted_count(x, mask[:, None], 0), mg.weighted_mean(x, mask[:, None], 0)]
    count, mean = mg.evaluate(nodes, {"x": np.full((5000, 2), 1.5, "float16")})
    assert count.tolist() == [4000, 4000]
    assert mean.tolist() == [1.5, 1.5]
    assert mean.dtype == np.float16


def test_a_shared_weight_counts_for_every_element_it_stands_beside():
    x = np.zeros((4, 3, 5))
    mask = np.array([True, True, False, True])[:, None, None]
    found = mg.evaluate(mg.weighted_count(x, mask, (0, 2)))
    assert found.tolist() == [15, 15, 15]


def test_weights_that_do_not_fit_are_refused_with_a_hint():
    x = mg.input("x", ("N", 3))
    with pytest.raises(mg.ShapeError, match=r"f32\[N\] do not fit f32\[N,3\].*\[N,1\] for rows"):
        mg.weighted_mean(x, mg.input("w", "N"))
    with pytest.raises(mg.GraphError, match="not one of none, frequency"):
        mg.weighted_var(x, x, correction="bessel")


@pytest.mark.torch
def test_equals_torch_on_the_chosen_rows_with_gradients():
    torch = pytest.importorskip("torch")
    data, mask = np.random.default_rng(5).normal(size=(8, 3)), np.arange(8) % 3 > 0
    x = mg.input("x", (8, 3), "float64")
    v = mg.weighted_var(x, mask[:, None], 0, correction="frequency")
    found, dx = mg.evaluate([v, *mg.grad(mg.sum(v**2), [x])], {"x": data})
    theirs = torch.from_numpy(data).requires_grad_()
    chosen = theirs[torch.from_numpy(mask)].var(0)
    (chosen**2).sum().backward()
    np.testing.assert_allclose(found, chosen.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(dx, theirs.grad.numpy(), rtol=1e-11, atol=1e-14)
