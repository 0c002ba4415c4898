"""Single precision loses no more digits than numpy's, far from zero and in long sums too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends.native.agreement import outputs_of

import minigrad as mg

EPS = float(np.finfo(np.float32).eps)

LAYOUTS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "columns": ((4096, 64), (0,)), "rows": ((64, 4096), (1,)), "all": ((4096, 64), (0, 1)),
    "short rows": ((4096, 8), (1,)), "channels": ((8, 16, 14, 14), (0, 2, 3)),
    "channels last": ((8, 14, 14, 16), (0, 1, 2)),
}  # fmt: skip
NUMBERS: dict[str, Callable[[np.random.Generator, Any], np.ndarray]] = {
    "around zero": lambda rng, shape: rng.normal(size=shape),
    "positive": lambda rng, shape: rng.uniform(0, 1, shape),
    "far from zero": lambda rng, shape: rng.normal(1e4, 0.1, shape),
}
STATISTICS = {"sum": mg.sum, "mean": mg.mean, "var": mg.var}


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest, kernels: Path) -> Any:
    """A step that computes every statistic, and what it reduces."""
    shape, axes = LAYOUTS[request.param]
    x = mg.input("data", shape)
    outputs = {name: function(x, axes) for name, function in STATISTICS.items()}
    return mg.compile(mg.Graph([x], outputs), threads=2, cache=kernels), shape, axes


@pytest.mark.parametrize("numbers", NUMBERS)
def test_statistics_are_as_near_as_numpys(layout: Any, numbers: str) -> None:
    step, shape, axes = layout
    data = NUMBERS[numbers](np.random.default_rng(0), shape).astype(np.float32)
    found, _ = step({}, data=data)
    for name in STATISTICS:
        exact = getattr(np, name)(data.astype(np.float64), axis=axes)
        error = np.abs(found[name] - exact).max()
        numpys = np.abs(getattr(np, name)(data, axis=axes) - exact).max()
        assert error <= 4 * numpys + 8 * EPS * np.abs(exact).max(), name


LONG: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "columns": ((1024, 64), (0,)), "long columns": ((16384, 8), (0,)),
    "long rows": ((8, 16384), (1,)), "all": ((256, 512), (0, 1)),
    "channels": ((16, 8, 28, 28), (0, 2, 3)), "channels last": ((16, 28, 28, 8), (0, 1, 2)),
}  # fmt: skip


@pytest.fixture(scope="module", params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=LONG)
def moments(request: pytest.FixtureRequest, dtype: str, kernels: Path) -> Any:
    """A step that computes a mean and its variance, and what it reduces."""
    shape, axes = LONG[request.param]
    x = mg.input("data", shape, dtype)
    outputs = {"mean": mg.mean(x, axes, keepdims=True), "var": mg.var(x, axes, keepdims=True)}
    return mg.compile(mg.Graph([x], outputs), threads=2, cache=kernels), shape, axes, dtype


@pytest.mark.parametrize("spread", [1, 0.1])
@pytest.mark.parametrize("centre", [0, 1, 1e4])
def test_a_mean_beside_its_variance_is_as_near_as_numpys(
    moments: Any, centre: float, spread: float
) -> None:
    step, shape, axes, dtype = moments
    eps, rng = float(np.finfo(dtype).eps), np.random.default_rng(0)
    errors: dict[str, list[tuple[float, float, float]]] = {"mean": [], "var": []}
    for _ in range(4):
        data = rng.normal(centre, spread, shape).astype(dtype)
        found, _ = step({}, data=data)
        for name, right in (("mean", np.mean), ("var", np.var)):
            exact = right(data.astype(np.longdouble), axis=axes, keepdims=True)
            numpys = right(data, axis=axes, keepdims=True)
            values = (np.abs(v).max() for v in (found[name] - exact, numpys - exact, exact))
            errors[name].append(tuple(map(float, values)))
    for name, units in (("mean", 1), ("var", 4)):
        error, numpys, size = np.max(errors[name], axis=0)
        assert error <= 4 * numpys + units * eps * size, name


@pytest.mark.parametrize("outlier", [1e2, 1e3, 1e4])
def test_the_variance_stands_an_outlier_in_the_first_row(outlier: float, kernels: Path) -> None:
    data = np.random.default_rng(0).normal(size=(4096, 64)).astype(np.float32)
    data[0] = outlier
    x = mg.input("data", data.shape)
    graph = mg.Graph([x], {"v": mg.var(x, 0)})
    found = outputs_of(graph, {"data": data}, cache=kernels)["v"]
    exact = data.astype(np.float64).var(0)
    numpys = np.abs(data.var(0) - exact).max()
    assert np.abs(found - exact).max() <= 4 * numpys + 8 * EPS * exact.max()


# --- batch norm far from zero ------------------------------------------------------------------

BATCHES: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    "columns": ((256, 32), (0,), (32,)),
    "channels": ((8, 16, 7, 7), (0, 2, 3), (16, 1, 1)),
    "channels last": ((8, 7, 7, 16), (0, 1, 2), (16,)),
}


@pytest.fixture(scope="module", params=[False, True], ids=["static", "named"])
def is_named(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module", params=BATCHES)
def batch_norm(request: pytest.FixtureRequest, is_named: bool, kernels: Path) -> Any:
    """Batch norm forward and backward, its variance beside it, and the shapes it takes."""
    shape, axes, channels = BATCHES[request.param]
    x, dy = (mg.input(n, ("N", *shape[1:]) if is_named else shape) for n in ("data", "upstream"))
    gamma, beta = mg.input("gamma", channels), mg.input("beta", channels)
    y = mg.nn.batch_norm(x, gamma, beta, axes=axes, eps=1e-5)
    dx, dgamma, dbeta = mg.grad(y, [x, gamma, beta], ct=dy)
    outputs = {"y": y, "v": mg.var(x, axes), "dx": dx, "dgamma": dgamma, "dbeta": dbeta}
    graph = mg.Graph([x, dy, gamma, beta], outputs)
    return graph, mg.compile(graph, threads=2, cache=kernels), shape, axes, channels


def fed(shape: Any, channels: Any, data: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    arrays = {"data": data, "upstream": rng.normal(size=shape), "gamma": rng.normal(size=channels)}
    arrays["beta"] = rng.normal(size=channels)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def test_batch_norm_finds_a_small_variance_far_from_zero(batch_norm: Any) -> None:
    _, step, shape, axes, channels = batch_norm
    feed = fed(shape, channels, np.random.default_rng(0).normal(1e4, 0.1, shape))
    outputs, _ = step({}, **feed)
    exact = feed["data"].astype(np.float64).var(axes)
    np.testing.assert_allclose(outputs["v"], exact, rtol=0.01)
    x_hat = (outputs["y"] - feed["beta"]) / feed["gamma"]
    np.testing.assert_allclose(x_hat.var(axes), exact / (exact + 1e-5), rtol=0.01)


def test_batch_norm_far_from_zero_is_as_near_as_the_interpreters(batch_norm: Any) -> None:
    graph, step, shape, _, channels = batch_norm
    feed = fed(shape, channels, np.random.default_rng(0).normal(1e4, 0.1, shape))
    outputs, _ = step({}, **feed)
    exact = outputs_of(mg.retype(graph, "float64"), feed, backend="interpreter")
    single = outputs_of(graph, feed, backend="interpreter")
    for name, want in exact.items():
        error, others = (np.abs(a[name] - want).max() for a in (outputs, single))
        assert error <= 4 * others + 32 * EPS * np.abs(want).max(), name


def test_a_constant_channel_has_no_variance_and_finite_results(batch_norm: Any) -> None:
    _, step, shape, _, channels = batch_norm
    rng = np.random.default_rng(0)
    numbers = rng.normal(1e3, 1e3, channels)
    outputs, _ = step({}, **fed(shape, channels, np.broadcast_to(numbers, shape)))
    rounding = (4 * EPS * np.abs(numbers).ravel()) ** 2  # of the mean, squared
    assert (outputs["v"] <= (0 if shape[1:] == channels else rounding)).all()
    for name, array in outputs.items():
        assert np.isfinite(array).all(), name


# --- rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [24, 1000])
def test_layer_norm_of_rows_far_from_zero(width: int, kernels: Path) -> None:
    shape = (50, width)
    x, dy = mg.input("data", ("N", width)), mg.input("upstream", ("N", width))
    gamma, beta = mg.input("gamma", width), mg.input("beta", width)
    y = mg.nn.layer_norm(x, gamma, beta)
    (dx,) = mg.grad(y, [x], ct=dy)
    outputs = {"y": y, "v": mg.var(x, 1), "dx": dx}
    graph = mg.Graph([x, dy, gamma, beta], outputs)
    feed = fed(shape, (width,), np.random.default_rng(0).normal(1e4, 0.1, shape))
    found = outputs_of(graph, feed, cache=kernels)
    exact = outputs_of(mg.retype(graph, "float64"), feed, backend="interpreter")
    single = outputs_of(graph, feed, backend="interpreter")
    np.testing.assert_allclose(found["v"], exact["v"], rtol=0.01)
    for name, want in exact.items():
        error, others = (np.abs(a[name] - want).max() for a in (found, single))
        assert error <= 4 * others + 32 * EPS * np.abs(want).max(), name


def test_layer_norm_of_constant_rows_is_its_shift(kernels: Path) -> None:
    x, dy = mg.input("data", ("N", 24)), mg.input("upstream", ("N", 24))
    y = mg.nn.layer_norm(x, None, mg.constant(np.full(24, 0.5, np.float32)))
    (dx,) = mg.grad(y, [x], ct=dy)
    data = np.repeat(np.float32([0, 1, -2048, 0.25]), 24).reshape(4, 24)
    feed = {"data": data, "upstream": np.ones((4, 24), np.float32)}
    outputs = {"y": y, "v": mg.var(x, 1), "dx": dx}
    found = outputs_of(mg.Graph([x, dy], outputs), feed, cache=kernels)
    np.testing.assert_array_equal(found["v"], np.zeros(4))
    np.testing.assert_array_equal(found["y"], np.full((4, 24), 0.5))
    assert np.isfinite(found["dx"]).all()
