"""Initialisers and constraints against their formulas."""

import numpy as np
import pytest

import minigrad as mg

starts, constraints = mg.nn.initializers, mg.nn.constraints
W = np.array([[3.0, 0.3, 0.0], [-4.0, 0.4, 0.0]])


@pytest.mark.parametrize(
    ("start", "variance"),
    [
        (starts.glorot_uniform, lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
        (starts.he_normal, lambda fan_in, fan_out: 2 / fan_in),
        (starts.he_uniform, lambda fan_in, fan_out: 2 / fan_in),
        (starts.lecun_normal, lambda fan_in, fan_out: 1 / fan_in),
        (starts.normal(0.3), lambda fan_in, fan_out: 0.09),
        (starts.uniform(0.3), lambda fan_in, fan_out: 0.03),
    ],
)
@pytest.mark.parametrize(
    ("shape", "fans"), [((300, 200), (300, 200)), ((60, 30, 3, 5), (450, 900))], ids=["fc", "conv"]
)
def test_variance_is_the_papers(start, variance, shape, fans):
    drawn = start(np.random.default_rng(0), shape, np.dtype("float32"))
    assert drawn.dtype == np.float32
    assert drawn.shape == shape
    assert drawn.var() == pytest.approx(variance(*fans), rel=0.03)
    assert drawn.mean() == pytest.approx(0, abs=5 * drawn.std() / np.sqrt(drawn.size))


@pytest.mark.parametrize(("start", "value"), [(starts.zeros, 0), (starts.ones, 1)])
def test_constant_starts(start, value):
    drawn = start(np.random.default_rng(0), (2, 3), np.dtype("float64"))
    np.testing.assert_array_equal(drawn, np.full((2, 3), value))
    assert drawn.dtype == np.float64


def test_fans_of_a_vector_and_a_scalar():
    assert starts.fans((7,)) == (7, 7)
    assert starts.fans(()) == (1, 1)


def test_equal_seeds_start_equal_and_layers_start_apart():
    net = mg.nn.Sequential(mg.nn.Linear(4), mg.nn.Linear(4))
    step = mg.compile(mg.Graph([], net(mg.input("x", ("N", 4)))))
    one, again, other = step.init_state(1), step.init_state(1), step.init_state(2)
    for name in one:
        np.testing.assert_array_equal(one[name], again[name])
    assert not np.array_equal(one["linear1/weight"], other["linear1/weight"])
    assert not np.array_equal(one["linear1/weight"], one["linear2/weight"])


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        (constraints.non_negative, [[3, 0.3, 0], [0, 0.4, 0]]),
        (constraints.max_norm(1.0), [[0.6, 0.3, 0], [-0.8, 0.4, 0]]),
        (constraints.max_norm(5.0, axis=1), [[3, 0.3, 0], [-4, 0.4, 0]]),
        (constraints.unit_norm(), [[0.6, 0.6, 0], [-0.8, 0.8, 0]]),
        (lambda w: constraints.unit_norm()(w / 1e3), [[0.6, 0.6, 0], [-0.8, 0.8, 0]]),
    ],
)
def test_constraint(constraint, expected):
    w = mg.input("w", (2, 3), "float64")
    np.testing.assert_allclose(mg.evaluate(constraint(w), {"w": W}), expected, rtol=1e-12)
