"""Every sample: first and second derivative in float64, by both methods."""

from __future__ import annotations

import pytest
from samples import SAMPLES

import minigrad as mg
from minigrad.primitives import PRIMITIVES

CHECKED = [sample for sample in SAMPLES if sample.differentiable]
EXACT = [sample for sample in CHECKED if sample.complex_step]


def checked(sample, **options):
    nodes = sample.nodes()
    silent = [nodes[i] for i in sample.zero]
    feed = dict(zip(nodes, sample.arrays(), strict=True))
    floats = [node for node in nodes if node.type.is_float]
    output = sample.build(*nodes)
    return mg.gradcheck(output, floats, feed, expect_zero=silent, **options)


@pytest.mark.parametrize("sample", EXACT, ids=lambda sample: sample.id)
def test_both_derivatives_equal_the_complex_step_to_1e_12(sample):
    report = checked(sample, method="complex", order=2, rtol=1e-12)
    assert report, report
    assert report.worst.error <= 1e-12
    assert not report.kinks


@pytest.mark.parametrize("sample", CHECKED, ids=lambda sample: sample.id)
def test_the_derivative_equals_central_differences(sample):
    report = checked(sample, method="central")
    assert report, report


@pytest.mark.slow
@pytest.mark.parametrize("sample", CHECKED, ids=lambda sample: sample.id)
def test_the_second_derivative_equals_central_differences(sample):
    report = checked(sample, method="central", order=2)
    assert report, report


def test_every_row_with_a_rule_is_checked():
    rules = {name for name, row in PRIMITIVES.items() if row.vjp is not None}
    assert {sample.prim for sample in CHECKED} == rules - {"mark"}


NO_GRADIENT = sorted(n for n, row in PRIMITIVES.items() if row.vjp is None and row.eval)


@pytest.mark.parametrize("name", NO_GRADIENT)
def test_a_row_without_a_rule_says_that_no_gradient_flows(name):
    sample = next(s for s in SAMPLES if s.prim == name)
    nodes = sample.nodes()
    floats = [node for node in nodes if node.type.is_float]
    if not floats:
        assert name == "random_uniform"  # it reads a counter only
        return
    total = mg.sum(mg.cast(sample.build(*nodes), "float32"))
    with pytest.raises(mg.GradientError, match="no gradient"):
        mg.grad(total, floats)


def test_ties_have_the_derivative_that_is_written_down():
    x, y = mg.input("x", 2), mg.input("y", 2)
    feed = {"x": [1.0, 2.0], "y": [1.0, 2.0]}
    for op in (mg.maximum, mg.minimum):
        dx, dy = mg.evaluate(mg.grad(mg.sum(op(x, y)), [x, y]), feed)
        assert dx.tolist() == [0, 0]
        assert dy.tolist() == [1, 1]
    (shared,) = mg.evaluate(mg.grad(mg.max(x), [x]), {"x": [2.0, 2.0]})
    assert shared.tolist() == [0.5, 0.5]
    (flat,) = mg.evaluate(mg.grad(mg.sum(mg.abs(x)), [x]), {"x": [0.0, -3.0]})
    assert flat.tolist() == [0, -1]


@pytest.mark.parametrize(
    ("exponent", "wanted"), [(0, [0, 0, 0]), (1, [1, 1, 1]), (2, [0, 2, -2]), (3, [0, 3, 3])]
)
def test_powers_at_zero_are_finite_where_mathematics_is(exponent, wanted):
    x = mg.input("x", 3)
    (slope,) = mg.grad(mg.sum(x**exponent), x)
    (dx,) = mg.evaluate(mg.Graph([x], [slope]), {"x": [0.0, 1.0, -1.0]})
    assert dx.tolist() == wanted
