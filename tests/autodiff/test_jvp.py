"""Forward mode, and forward against reverse on random graphs: <ct, J v> == <J^T ct, v>."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg

# Smooth at every number, so that no kink and no overflow spoils the comparison.
UNARY: list[Callable[[mg.Node], mg.Node]] = [
    mg.tanh, mg.sigmoid, lambda x: mg.exp(mg.tanh(x)), lambda x: mg.log1p(mg.square(x)),
    lambda x: mg.sqrt(x**2 + 1), lambda x: x.T, lambda x: mg.softmax(x, axis=-1), mg.erf,
    lambda x: x - mg.mean(x, axis=0), lambda x: mg.sum(x, axis=1, keepdims=True) * 0.3,
    lambda x: mg.reshape(x, (x.shape[1], x.shape[0])), lambda x: x[:, :1] * x, lambda x: -x,
    lambda x: mg.concatenate([x[1:], x[:1]]), lambda x: mg.take(x, [1, 0, 1])[:2],
    lambda x: mg.pad(x, [(1, 0), (0, 0)])[:2], lambda x: mg.var(x, axis=0) + x,
]  # fmt: skip
BINARY: list[Callable[[mg.Node, mg.Node], mg.Node]] = [
    mg.add, mg.sub, mg.mul, lambda x, y: x / (1 + y**2), lambda x, y: mg.tanh(x) @ mg.tanh(y),
    lambda x, y: mg.where(x > y, x * y, y), lambda x, y: (1 + x**2) ** mg.tanh(y), mg.maximum,
]  # fmt: skip

steps = st.lists(
    st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=12
)


def random_graph(picks: list[tuple[int, int, int]]) -> tuple[list[mg.Node], list[mg.Node]]:
    """Two inputs and the last two of many [2,2] nodes, each an op of earlier ones."""
    inputs = [mg.input("x", (2, 2), "float64"), mg.input("y", (2, 2), "float64")]
    nodes = list(inputs)
    for op, i, j in picks:
        a, b = nodes[-1 - i % len(nodes)], nodes[-1 - j % len(nodes)]
        number = op % (len(UNARY) + len(BINARY))
        made = UNARY[number](a) if number < len(UNARY) else BINARY[number - len(UNARY)](a, b)
        nodes.append(mg.broadcast_to(made, (2, 2)))
    nodes.append(nodes[-1] * inputs[0] + inputs[1])  # so that both inputs are connected
    return inputs, nodes[-2:]


@given(steps, st.integers(0, 2**32 - 1))
def test_forward_and_reverse_are_transposes(picks: list, seed: int) -> None:
    wrt, outputs = random_graph(picks)
    rng = np.random.default_rng(seed)
    point = {"x": rng.normal(size=(2, 2)), "y": rng.normal(size=(2, 2))}
    cts = [rng.normal(size=(2, 2)) for _ in outputs]
    tangents = [rng.normal(size=(2, 2)) for _ in wrt]
    pushed = mg.evaluate(mg.Graph(wrt, mg.jvp(outputs, wrt, tangents)), point)
    pulled = mg.evaluate(mg.Graph(wrt, mg.vjp(outputs, wrt, cts)), point)
    left = [np.sum(ct * jv) for ct, jv in zip(cts, pushed, strict=True)]
    right = [np.sum(vj * v) for vj, v in zip(pulled, tangents, strict=True)]
    scale = np.abs(left).sum() + np.abs(right).sum() + 1
    assert abs(sum(left) - sum(right)) <= 1e-11 * scale


@given(steps, st.integers(0, 2**32 - 1))
def test_forward_over_reverse_is_reverse_over_reverse(picks: list, seed: int) -> None:
    """The Hessian is symmetric: pushing v through the gradient equals pulling it back."""
    wrt, outputs = random_graph(picks)
    rng = np.random.default_rng(seed)
    point = {"x": rng.normal(size=(2, 2)), "y": rng.normal(size=(2, 2))}
    tangent = rng.normal(size=(2, 2))
    (gradient,) = mg.grad(mg.sum(outputs[-1] ** 2), wrt[0])
    (forward,) = mg.jvp([gradient], [wrt[0]], [tangent])
    (reverse,) = mg.grad(gradient, wrt[0], ct=tangent)
    a, b = mg.evaluate(mg.Graph(wrt, [forward, reverse]), point)
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * (1 + np.abs(b).max()))


def test_jvp_of_a_product() -> None:
    x, y = mg.input("x", 2), mg.input("y", 2)
    (d,) = mg.jvp([x * y], [x, y], [[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(mg.evaluate(d, {"x": [3.0, 4.0], "y": [5.0, 6.0]}), [5, 4])


def test_a_tangent_may_be_a_node() -> None:
    x, v = mg.input("x", 2), mg.input("v", 2)
    (d,) = mg.jvp([x**2], [x], [v])
    np.testing.assert_array_equal(mg.evaluate(d, {"x": [3.0, 4.0], "v": [1.0, 2.0]}), [6, 16])


def test_an_output_that_no_wrt_reaches_has_tangent_zero() -> None:
    x, y = mg.input("x", 2), mg.input("y", ("N", 3))
    moving, still = mg.jvp([x * 2, y * 2], [x], [[1.0, 1.0]])
    assert still.type == y.type
    feed = {"x": [0.0, 0.0], "y": np.zeros((4, 3))}
    _, zeros = mg.evaluate(mg.Graph([x, y], [moving, still]), feed)
    np.testing.assert_array_equal(zeros, np.zeros((4, 3)))


def test_the_second_derivative_along_a_line() -> None:
    x = mg.input("x", (), "float64")
    (first,) = mg.jvp([x**4], [x], [1.0])
    (second,) = mg.jvp([first], [x], [1.0])
    assert mg.evaluate(second, {"x": 2.0}) == 48
