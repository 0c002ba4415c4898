"""What `gradcheck` accepts, what it refuses, and what its report says."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad.gradcheck import complex_step
from minigrad.primitives import PRIMITIVES


def relu_at(values, **options):
    x = mg.input("x", len(values))
    return mg.gradcheck(mg.maximum(x, 0), x, at={"x": values}, **options)


def batch_norm(x, gamma, beta):
    mu = mg.mean(x, axis=0, keepdims=True)
    c = x - mu
    inv_std = mg.sqrt(mg.mean(c**2, axis=0, keepdims=True) + 1e-3) ** -1
    return gamma * (c * inv_std) + beta


@pytest.fixture
def norm():
    x = mg.input("x", ("N", 4))
    gamma = mg.parameter("gamma", [1.0, 0.5, 2.0, -1.0])
    beta = mg.parameter("beta", [0.0] * 4)
    return x, gamma, beta, batch_norm(x, gamma, beta)


# --- methods ---------------------------------------------------------------------------------


def test_every_primitive_stands_in_exactly_one_table_of_the_complex_step():
    tables = [set(complex_step.ANALYTIC), set(complex_step.OVERRIDES), complex_step.UNSUPPORTED]
    listed = sorted(name for table in tables for name in table)
    leaves = {"input", "parameter", "state", "constant", "mark"}
    assert listed == sorted(set(PRIMITIVES) - leaves)


def test_auto_takes_the_complex_step_where_every_primitive_has_a_complex_form():
    report = relu_at([-1.0, 2.0])
    assert report.method == "complex"
    assert report.reason.startswith("auto")


def test_auto_falls_back_to_differences_for_a_primitive_from_outside_and_names_it():
    cube = mg.Primitive(
        "cube", mg.Kind.ELEMENTWISE, lambda xp, x: np.abs(x) * x * x, lambda x: x,
        lambda ct, y, x: (ct * 3 * x * mg.abs(x),),
    )  # fmt: skip
    x = mg.input("x", 3)
    report = mg.gradcheck(cube(x), x)
    assert report
    assert report.method == "central"
    assert "cube" in report.reason
    assert "test_gradcheck.py" in report.reason


@pytest.mark.parametrize("method", ["complex", "central"])
def test_both_methods_pass_batch_norm_at_order_2(norm, method):
    x, gamma, beta, y = norm
    report = mg.gradcheck(mg.sum(mg.tanh(y)), [x, gamma, beta], method=method, order=2)
    assert report, report
    assert [e.order for e in report.entries] == [1, 1, 1, 2, 2, 2]


def test_the_complex_step_is_exact_to_rounding(norm):
    x, gamma, beta, y = norm
    report = mg.gradcheck(mg.sum(mg.tanh(y)), [x, gamma, beta], order=2, rtol=1e-12)
    assert report, report


def test_a_graph_built_in_half_precision_is_checked_in_float64():
    x = mg.input("x", (3, 2), "float16")
    assert mg.gradcheck(mg.exp(mg.cast(x, "float32")) * 0.1, x, rtol=1e-12)


def test_a_node_in_the_middle_can_be_differentiated_by():
    x = mg.input("x", 3)
    h = mg.exp(x)
    report = mg.gradcheck(h * h + x, [x, h])
    assert report, report
    assert report.entries[1].name.startswith("exp at test_gradcheck.py")


def test_integer_inputs_casts_markers_and_random_numbers_are_taken_along():
    x, t = mg.input("x", ("N", 3)), mg.input("t", "N", "int64")
    counter = mg.state("counter", 7, dtype="int64")
    kept = mg.cast(mg.random_uniform(counter, ("N", 3), seed=3) < 0.7, "float32")
    h = mg.advance(x * kept, counter, counter + 1)
    running = mg.state("m", [0.0] * 3)
    mu = mg.mean(h, axis=0)
    h = h - mg.track(mu, running, 0.9 * running + 0.1 * mu)
    report = mg.gradcheck(mg.cross_entropy(h, t), x, order=2)
    assert report, report
    assert any("N = 5" in note for note in report.notes)


def test_what_stop_gradient_stops_stands_still_on_the_numeric_side_too():
    x = mg.input("x", 3)
    assert mg.gradcheck(x * mg.stop_gradient(x), x, order=2)


def test_unfed_inputs_are_drawn_where_the_graph_is_defined():
    x = mg.input("x", 4)
    report = mg.gradcheck(mg.log(x) + mg.log1p(-x), x)
    assert report, report
    assert "0.1 .. 0.9" in str(report)


def test_a_large_input_is_checked_along_directions_and_at_its_steepest_element():
    w = mg.parameter("w", np.random.default_rng(0).normal(size=(40, 30)))
    report = mg.gradcheck(mg.sum(mg.tanh(mg.input("x", (2, 40)) @ w)), w, method="central")
    assert report, report
    assert "8 of 1200 elements" in report.entries[0].checked


# --- what must fail --------------------------------------------------------------------------


def wrong_exp(factor):
    row = PRIMITIVES["exp"]
    return mg.Primitive(
        "exp", row.kind, row.eval, row.infer, lambda ct, y, x: (ct * y * factor,)
    )  # fmt: skip


@pytest.mark.parametrize("factor", [7.0, -1.0, 1 + 1e-4, 1 + 1e-7])
def test_a_factor_is_noticed_however_small_and_named(factor):
    x = mg.input("x", 3)
    with mg.scope("layer"):
        y = wrong_exp(factor)(x)
    report = mg.gradcheck(y * 2, x)
    assert report.entries[0].verdict == "mismatch"
    assert report.culprit.primitive == "exp"
    assert report.culprit.scope == "layer"
    assert report.culprit.line.startswith("test_gradcheck.py:")
    assert report.worst.index is not None


def test_batch_norm_with_dx_times_7_fails_even_where_the_sum_hides_it(norm):
    """The trap of a gradient check with a cotangent of ones: dx is 0, and so is 7 dx."""
    x, gamma, beta, _ = norm
    row = PRIMITIVES["mul"]
    seven = mg.Primitive(
        "bn", row.kind, row.eval, row.infer, lambda ct, y, a, b: (7 * ct * b, ct * a)
    )
    y = seven(x - mg.mean(x, axis=0), gamma) + beta
    assert mg.gradcheck(mg.sum(y), [x, beta]).entries[0].verdict == "vacuous"
    report = mg.gradcheck(y, [x, beta])
    assert [e.verdict for e in report.entries] == ["mismatch", "ok"]
    assert report.culprit.primitive == "bn"


def test_the_sum_of_batch_norm_is_refused_as_vacuous_and_the_input_is_named(norm):
    x, _, beta, y = norm
    for method in ("complex", "central"):
        report = mg.gradcheck(mg.sum(y), [x, beta], method=method)
        assert [e.verdict for e in report.entries] == ["vacuous", "ok"]
        assert not report
        assert "x" in str(report)
        assert "zero in every direction" in str(report)


def test_a_bias_before_batch_norm_is_zero_and_may_be_said_to_be():
    x, w = mg.input("x", ("N", 3)), mg.parameter("w", np.eye(3, dtype="float32"))
    bias = mg.parameter("bias", [0.1, 0.2, 0.3])
    y = batch_norm(x @ w + bias, 1.0, 0.0)
    loss = mg.sum(mg.tanh(y * np.array([1.0, 2.0, 3.0]) + 0.5))
    assert mg.gradcheck(loss, [w, bias]).entries[1].verdict == "vacuous"
    report = mg.gradcheck(loss, [w, bias], expect_zero=[bias], order=2)
    assert report, report
    assert report.entries[1].verdict == "zero"


def test_a_gradient_said_to_be_zero_that_is_not_fails():
    x = mg.input("x", 3)
    assert mg.gradcheck(x * 2, x, expect_zero=[x]).entries[0].verdict == "not zero"


def test_a_dead_relu_is_vacuous():
    assert relu_at([-1.0, -2.0]).entries[0].verdict == "vacuous"


def test_nan_and_infinity_fail():
    x = mg.input("x", 2)
    assert mg.gradcheck(mg.sqrt(x), x, at={"x": [0.0, 1.0]}).entries[0].verdict == "not finite"
    assert mg.gradcheck(mg.log(x), x, at={"x": [-1.0, 1.0]}).entries[0].verdict == "not finite"


def test_an_input_that_no_gradient_flows_to_fails():
    x, y = mg.input("x", 3), mg.input("y", 3)
    report = mg.gradcheck(mg.stop_gradient(x) + y * y, [x, y])
    assert [e.verdict for e in report.entries] == ["unconnected", "ok"]


def test_a_primitive_without_a_rule_is_a_mismatch_and_is_named():
    row = PRIMITIVES["exp"]
    blocked = mg.Primitive("exp", row.kind, row.eval, row.infer, None)
    x = mg.input("x", 3)
    report = mg.gradcheck(blocked(x), x)
    assert report.entries[0].verdict == "mismatch"
    assert report.culprit.primitive == "exp"


def test_a_rule_that_raises_is_named():
    row = PRIMITIVES["matmul"]
    bad = mg.Primitive(
        "matmul", row.kind, row.eval, row.infer, lambda ct, y, a, b: (ct @ b, a @ ct)
    )
    x = mg.input("x", (2, 3))
    report = mg.gradcheck(bad(x, mg.parameter("w", [[1.0] * 4] * 3)), x)
    assert report.entries[0].verdict == "raises"
    assert "the vjp of matmul raises" in str(report)


def test_empty_inputs_alone_prove_nothing():
    x = mg.input("x", (0, 3))
    report = mg.gradcheck(mg.exp(x), x)
    assert report.entries[0].verdict == "empty"
    assert not report


# --- kinks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["complex", "central"])
def test_relu_at_zero_is_reported_and_left_out(method):
    report = relu_at([-1.0, 0.0, 2.0], method=method)
    assert report
    assert [(kink.index, kink.primitive) for kink in report.kinks] == [((1,), "maximum")]
    assert "at a kink of maximum" in str(report)


@pytest.mark.parametrize("method", ["complex", "central"])
def test_relu_at_zero_alone_does_not_pass(method):
    report = relu_at([0.0], method=method)
    assert report.entries[0].verdict == "kinks only"
    assert not report


def test_a_step_that_would_cross_is_made_smaller():
    report = relu_at([1e-5, -1e-5, 1.0], method="central")
    assert report
    assert not report.kinks


@pytest.mark.parametrize("method", ["complex", "central"])
def test_elements_that_tie_for_a_maximum_are_at_a_kink(method):
    x = mg.input("x", 3)
    report = mg.gradcheck(mg.max(x), x, at={"x": [2.0, 1.0, 2.0]}, method=method)
    assert [kink.index for kink in report.kinks] == [(0,), (2,)]


@pytest.mark.parametrize("method", ["complex", "central"])
def test_a_tie_that_stays_a_tie_is_no_kink(method):
    x = mg.input("x", 3)
    twice = mg.maximum(mg.maximum(x, 0), 0)
    report = mg.gradcheck(twice, x, at={"x": [-1.0, 1.0, 2.0]}, method=method)
    assert report
    assert not report.kinks


@pytest.mark.parametrize("op", [mg.abs, lambda x: mg.where(x > 0, x, 2 * x), lambda x: mg.min(x)])
def test_other_kinks_are_seen(op):
    x = mg.input("x", 2)
    assert mg.gradcheck(op(x), x, at={"x": [0.0, 0.0]}).kinks


# --- second order ----------------------------------------------------------------------------


def test_a_linear_graph_has_a_second_derivative_of_zero_and_the_report_says_so():
    x = mg.input("x", 3)
    report = mg.gradcheck(2 * x, x, order=2)
    assert report
    assert report.entries[1].verdict == "zero"
    assert "does not depend" in str(report)


def test_a_gradient_that_is_right_by_value_only_fails_at_order_2():
    """The rule's value is right, but it stops the gradient of itself."""
    row = PRIMITIVES["exp"]
    frozen = mg.Primitive(
        "exp", row.kind, lambda xp, x: xp.exp(x), row.infer,
        lambda ct, y, x: (ct * mg.Primitive("y", row.kind, lambda xp, a: a, row.infer, None)(y),),
    )  # fmt: skip
    x = mg.input("x", 3)
    y = frozen(x)
    assert mg.gradcheck(y, x)
    report = mg.gradcheck(y, x, order=2)
    assert not report
    assert report.culprit.primitive == "y"
    assert report.culprit.scope == "grad"


# --- the report, and bad requests ------------------------------------------------------------


def test_the_report_prints_the_worst_element_with_both_values():
    x = mg.input("x", (2, 2))
    report = mg.gradcheck(wrong_exp(2.0)(x), x, at={"x": np.zeros((2, 2))})
    text = str(report)
    assert "gradcheck FAILED: central" in text or "gradcheck FAILED: complex" in text
    entry = report.worst
    assert entry.analytic == pytest.approx(2 * entry.numeric)
    assert f"x[{entry.index[0]},{entry.index[1]}]" in text


def test_raise_if_failed_raises_with_the_report():
    x = mg.input("x", 2)
    assert mg.gradcheck(x * x, x).raise_if_failed().passed
    with pytest.raises(mg.GradientError, match="the vjp of exp is wrong"):
        mg.gradcheck(wrong_exp(2.0)(x), x).raise_if_failed()


def test_a_seed_gives_the_same_report_twice():
    x = mg.input("x", 3)
    y = mg.tanh(x)
    assert str(mg.gradcheck(y, x, seed=4)) == str(mg.gradcheck(y, x, seed=4))


def bad_requests():
    x, t = mg.input("x", 3), mg.input("t", 3, "int64")
    z = mg.input("z", 3)
    y = mg.exp(x) + t
    return {
        "no method 'fast'": lambda: mg.gradcheck(y, x, method="fast"),
        "order is 1 or 2, not 3": lambda: mg.gradcheck(y, x, order=3),
        "wrt is empty": lambda: mg.gradcheck(y, []),
        "'t' i64\\[3\\]> holds no floats": lambda: mg.gradcheck(y, [x, t]),
        "does not depend on <input 'z'": lambda: mg.gradcheck(y, z),
        "the output <input 't'": lambda: mg.gradcheck(t, x),
        "nothing is called 'q'": lambda: mg.gradcheck(y, x, at={"q": 1.0}),
        "needs f64\\[3\\]": lambda: mg.gradcheck(y, x, at={"x": [1.0]}),
        "expect_zero names": lambda: mg.gradcheck(y, x, expect_zero=[z]),
    }


@pytest.mark.parametrize("message", bad_requests())
def test_a_bad_request_is_told(message):
    with pytest.raises(mg.GraphError, match=message):
        bad_requests()[message]()
