"""Reverse mode: closed forms to the third order, and what may stand as output and as wrt."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import minigrad as mg
from minigrad.autodiff import unbroadcast

POINTS = np.array([0.3, 0.8, 1.7])

Function = Callable[[mg.Node], mg.Node]
Closed = Callable[[np.ndarray], np.ndarray]

THIRD: list[tuple[str, Function, Closed]] = [
    ("x**5", lambda x: x**5, lambda x: 60 * x**2),
    ("1/x", lambda x: 1 / x, lambda x: -6 / x**4),
    ("x**0.5", lambda x: x**0.5, lambda x: 0.375 * x**-2.5),
    ("sqrt", mg.sqrt, lambda x: 0.375 * x**-2.5),
    ("exp(2x)", lambda x: mg.exp(2 * x), lambda x: 8 * np.exp(2 * x)),
    ("log", mg.log, lambda x: 2 / x**3),
    ("log1p", mg.log1p, lambda x: 2 / (1 + x) ** 3),
    ("tanh", mg.tanh, lambda x: (6 * np.tanh(x) ** 2 - 2) / np.cosh(x) ** 2),
    ("erf", mg.erf, lambda x: 4 / math.sqrt(math.pi) * (2 * x**2 - 1) * np.exp(-(x**2))),
    ("sigmoid", mg.sigmoid, lambda x: _logistic3(1 / (1 + np.exp(-x)))),
    ("softplus", mg.softplus, lambda x: _logistic2(1 / (1 + np.exp(-x)))),
    ("x**x", lambda x: x**x, lambda x: x**x * ((np.log(x) + 1) ** 3
                                              + 3 * (np.log(x) + 1) / x - 1 / x**2)),
    ("2**x", lambda x: 2.0**x, lambda x: math.log(2) ** 3 * 2**x),
    ("x*exp(x)", lambda x: x * mg.exp(x), lambda x: (x + 3) * np.exp(x)),
    ("abs(x)**3", lambda x: mg.abs(-x) ** 3, lambda x: 6 + 0 * x),
    ("shared", lambda x: (lambda y: y * y * y)(x * x), lambda x: 120 * x**3),
]  # fmt: skip


def _logistic2(s: np.ndarray) -> np.ndarray:
    return s * (1 - s) * (1 - 2 * s)


def _logistic3(s: np.ndarray) -> np.ndarray:
    return s * (1 - s) * (1 - 6 * s + 6 * s**2)


@pytest.mark.parametrize(("name", "function", "third"), THIRD, ids=[row[0] for row in THIRD])
def test_third_derivative(name: str, function: Function, third: Closed) -> None:
    x = mg.input("x", 3, "float64")
    y = function(x)
    for _ in range(3):
        (y,) = mg.grad(mg.sum(y), x)
    np.testing.assert_allclose(mg.evaluate(y, {"x": POINTS}), third(POINTS), rtol=1e-12, atol=1e-12)


def test_a_fifth_derivative() -> None:
    x = mg.input("x", (), "float64")
    y = mg.exp(3 * x)
    for _ in range(5):
        (y,) = mg.grad(y, x)
    np.testing.assert_allclose(mg.evaluate(y, {"x": 0.5}), 3**5 * math.exp(1.5), rtol=1e-14)


def test_a_mixed_derivative_does_not_depend_on_the_order() -> None:
    x, y = mg.input("x", (), "float64"), mg.input("y", (), "float64")
    z = mg.exp(x * y) * mg.tanh(x + y**2)
    xy = mg.grad(mg.grad(z, x)[0], y)[0]
    yx = mg.grad(mg.grad(z, y)[0], x)[0]
    a, b = mg.evaluate([xy, yx], {"x": 0.3, "y": 0.7})
    np.testing.assert_allclose(a, b, rtol=1e-13)


def test_the_gradient_of_a_quadratic_form() -> None:
    matrix = np.random.default_rng(0).normal(size=(3, 3))
    x = mg.input("x", 3, "float64")
    (dx,) = mg.grad(x @ matrix @ x, x)
    hessian = [mg.grad(dx[i], x)[0] for i in range(3)]
    at = {"x": [1.0, 2.0, -1.0]}
    np.testing.assert_allclose(mg.evaluate(dx, at), (matrix + matrix.T) @ at["x"])
    rows = mg.evaluate(mg.Graph([x], hessian), at)
    np.testing.assert_allclose(rows, matrix + matrix.T)


# --- broadcasting ------------------------------------------------------------------------------

BROADCASTS = [
    ((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 3), (1, 3)), ((2, 3), (2, 1)), ((2, 3), (1, 1)),
    ((2, 3), ()), ((2, 3), (1,)), ((4, 2, 3), (2, 1)), ((4, 2, 3), (1, 1, 3)), ((1, 3), (3,)),
    ((1, 1), ()), ((0, 3), (3,)), ((0, 3), (1, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("wide", "narrow"), BROADCASTS)
def test_unbroadcast_sums_what_was_repeated(wide: tuple, narrow: tuple) -> None:
    ct, target = mg.input("ct", wide, "float64"), mg.input("x", narrow, "float64")
    numbers = np.arange(1.0, 1 + np.prod(wide)).reshape(wide)
    summed = unbroadcast(ct, target.type)
    assert summed.type == target.type
    grown = np.broadcast_to(np.empty(narrow), wide)
    axes = tuple(
        i for i in range(len(wide)) if i < len(wide) - len(narrow) or grown.strides[i] == 0
    )
    expected = numbers.sum(axis=axes).reshape(narrow) if axes else numbers
    np.testing.assert_array_equal(mg.evaluate(summed, {"ct": numbers}), expected)


@pytest.mark.parametrize(("wide", "narrow"), BROADCASTS)
@pytest.mark.parametrize("op", [mg.add, mg.sub, mg.mul, mg.div, mg.maximum, mg.minimum])
def test_a_gradient_has_the_type_of_its_operand(op: Callable, wide: tuple, narrow: tuple) -> None:
    x, y = mg.input("x", wide), mg.input("y", narrow)
    for first, second in ((x, y), (y, x)):
        grads = mg.grad(mg.sum(op(first, second)), [first, second])
        assert [g.type for g in grads] == [first.type, second.type]


def test_named_dims_are_summed_away_too() -> None:
    x, b = mg.input("x", ("N", 3)), mg.input("b", 3)
    db, dx = mg.grad(mg.sum(x * b), [b, x])
    numbers = np.arange(6.0).reshape(2, 3)
    assert db.type == b.type
    assert dx.type == x.type
    np.testing.assert_array_equal(mg.evaluate(db, {"x": numbers}), numbers.sum(axis=0))


# --- output and wrt ----------------------------------------------------------------------------


def test_an_intermediate_node_may_be_wrt() -> None:
    x = mg.input("x")
    middle = x**2
    out = 5 * middle + x
    d_middle, dx = mg.evaluate(mg.grad(out, [middle, x]), {"x": 3.0})
    assert d_middle == 5
    assert dx == 31  # through the middle and past it


def test_the_output_may_be_wrt() -> None:
    x = mg.input("x", 2)
    y = x * 2
    loss = mg.sum(y)
    (one,) = mg.grad(loss, loss)
    assert mg.evaluate(one) == 1
    (ct,) = mg.grad(y, y, ct=[3.0, 4.0])
    np.testing.assert_array_equal(mg.evaluate(ct), [3, 4])


def test_a_repeated_wrt_gets_the_same_gradient_twice() -> None:
    x = mg.input("x")
    first, second = mg.grad(x**2, [x, x])
    assert first is second


def test_no_wrt_gives_no_gradients() -> None:
    assert mg.grad(mg.input("x") * 2, []) == []


def test_one_node_may_be_asked_for_without_a_list() -> None:
    x = mg.input("x")
    assert mg.evaluate(mg.grad(x**2, x), {"x": 3.0}) == [6]


def test_the_gradient_does_not_touch_the_graph() -> None:
    x = mg.input("x", 3)
    y = mg.sum(mg.tanh(x) ** 2)
    before = str(mg.Graph([x], y))
    mg.grad(y, x)
    assert str(mg.Graph([x], y)) == before


def test_what_wrt_does_not_reach_is_not_differentiated() -> None:
    x, frozen = mg.input("x", 3), mg.input("frozen", 3)
    y = mg.sum(x * mg.log(mg.erf(frozen)))
    (dx,) = mg.grad(y, x)
    made = set(mg.Graph([], dx).nodes) - set(mg.Graph([], y).nodes)
    assert {n.prim.name for n in made} == {"constant", "broadcast_to", "mul"}


def test_value_and_grad_shares_one_graph() -> None:
    x = mg.input("x", 3)
    loss = mg.sum(mg.exp(x))
    value, (dx,) = mg.value_and_grad(loss, x)
    assert value is loss
    assert loss.inputs[0] in mg.Graph([], dx).nodes


def test_ct_weighs_the_elements_and_broadcasts() -> None:
    x = mg.input("x", 3)
    at = {"x": [1.0, 2.0, 3.0]}
    np.testing.assert_array_equal(mg.evaluate(mg.grad(x**2, x, ct=[1.0, 0.0, 2.0])[0], at),
                                  [2, 0, 12])  # fmt: skip
    np.testing.assert_array_equal(mg.evaluate(mg.grad(x**2, x, ct=1.0)[0], at), [2, 4, 6])
    np.testing.assert_array_equal(mg.evaluate(mg.grad(x**2, x, ct=x)[0], at), [2, 8, 18])


def test_a_gradient_through_ct_reaches_what_ct_depends_on() -> None:
    x, u = mg.input("x", 2), mg.input("u", 2)
    (dx,) = mg.grad(x**2, x, ct=u)
    (du,) = mg.grad(mg.sum(dx), u)
    np.testing.assert_array_equal(mg.evaluate(du, {"x": [1.0, 2.0]}), [2, 4])


def test_vjp_adds_the_outputs() -> None:
    x = mg.input("x", 2)
    (dx,) = mg.vjp([x**2, mg.sum(x)], [x], [[1.0, 10.0], 100.0])
    np.testing.assert_array_equal(mg.evaluate(dx, {"x": [3.0, 4.0]}), [106, 180])


def test_one_output_given_twice_counts_twice() -> None:
    x = mg.input("x")
    y = x**2
    (dx,) = mg.vjp([y, y], [x], [1.0, 10.0])
    assert mg.evaluate(dx, {"x": 3.0}) == 66


def test_the_gradient_keeps_the_dtype() -> None:
    for dtype in ("float16", "float32", "float64"):
        x = mg.input("x", ("N", 2), dtype)
        y = mg.mean(mg.tanh(x * 2.5) ** 3 / (1 + mg.sqrt(mg.exp(x))))
        assert mg.grad(y, x)[0].type == x.type


def test_a_cast_between_floats_passes_the_gradient_in_the_operands_dtype() -> None:
    x = mg.input("x", 2, "float16")
    (dx,) = mg.grad(mg.sum(mg.cast(x, "float64") ** 2), x)
    assert dx.type == x.type
    np.testing.assert_array_equal(mg.evaluate(dx, {"x": [1.0, 2.0]}), [2, 4])


def test_the_derivative_of_a_constant_gradient_is_an_error() -> None:
    x = mg.input("x")
    (dx,) = mg.grad(3 * x, x)
    with pytest.raises(mg.GradientError, match="the output does not depend on it"):
        mg.grad(dx, x)
