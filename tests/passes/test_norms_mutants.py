"""find_norms on what is almost a normaliser: nothing is reported, or what it is and no more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import minigrad as mg
from minigrad import Node, nn

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("sizes")]

EPS = 1e-3
X = mg.input("x", ("N", 4))
Z = mg.input("z", ("N", 4))
P = mg.input("p", ("N", 4, 3, 3))
S = mg.input("s", (5, 5))
G = mg.parameter("g", np.ones(4, np.float32))
B = mg.parameter("b", np.ones(4, np.float32))
M = mg.state("m", np.zeros(4, np.float32))
V = mg.state("v", np.ones(4, np.float32))


def mean(x: Node, axes: int | tuple[int, ...] = 0) -> Node:
    return mg.mean(x, axes, keepdims=True)


def var(x: Node, axes: int | tuple[int, ...] = 0) -> Node:
    return mean((x - mean(x, axes)) ** 2, axes)


def root(x: Node, axes: int | tuple[int, ...] = 0) -> Node:
    return mg.sqrt(var(x, axes) + EPS)


C = X - mean(X)
N = mg.count(X, 0)

NO_NORM: dict[str, Node] = {
    "variance over another axis": C / root(X, 1),
    "mean over another axis": (X - mean(X, 1)) / root(X, 0),
    "square matrix, mean and variance crossed": (S - mean(S, 0)) / root(S, 1),
    "image, mean over fewer axes": (P - mean(P, (0, 2))) / root(P, (0, 2, 3)),
    "image, variance over fewer axes": (P - mean(P, (0, 2, 3))) / root(P, (2, 3)),
    "variance around the mean of other axes": C / mg.sqrt(mean((X - mean(X, 1)) ** 2) + EPS),
    "image, variance around a mean of fewer axes": (P - mean(P, (0, 2, 3))) / mg.sqrt(
        mean((P - mean(P, (0, 2))) ** 2, (0, 2, 3)) + EPS),
    "no root": C / (var(X) + EPS),
    "root of the root": C / mg.sqrt(mg.sqrt(var(X) + EPS)),
    "times the root": C * root(X),
    "power of minus a third": C * (var(X) + EPS) ** (-1 / 3),
    "power of minus one and a half": C * (var(X) + EPS) ** -1.5,
    "fourth power for the square": C / mg.sqrt(mean(C**4) + EPS),
    "cube for the square": C / mg.sqrt(mg.abs(mean(C**3)) + EPS),
    "absolute value for the square": C / mg.sqrt(mean(mg.abs(C)) + EPS),
    "mean absolute deviation": C / (mean(mg.abs(C)) + EPS),
    "squared twice": C**2 / root(X),
    "numerator not centred, variance centred": X / root(X),
    "numerator centred, variance not": C / mg.sqrt(mean(X**2) + EPS),
    "plus for minus in the numerator": (X + mean(X)) / root(X),
    "plus for minus in the variance": C / mg.sqrt(mean((X + mean(X)) ** 2) + EPS),
    "plus for minus in one pass": C / mg.sqrt(mean(X**2) + mean(X) ** 2 + EPS),
    "mean not squared in one pass": C / mg.sqrt(mg.abs(mean(X**2) - mean(X)) + EPS),
    "half of the squared mean": C / mg.sqrt(mean(X**2) - 0.5 * mean(X) ** 2 + EPS),
    "twice the mean": (X - 2 * mean(X)) / root(X),
    "mean of another tensor": (X - mean(Z)) / root(X),
    "variance of another tensor": C / root(Z),
    "variance of a function of x": C / root(mg.tanh(X)),
    "mean of a function of x": (X - mean(mg.relu(X))) / root(X),
    "variance of twice x": C / root(2 * X),
    "variance around another mean": C / mg.sqrt(mean((X - mean(Z)) ** 2) + EPS),
    "a running mean beside a batch variance": (X - M) / root(X),
    "a running variance beside a batch mean": C / mg.sqrt(V + EPS),
    "sum for mean": C / mg.sqrt(mg.sum(C**2, 0) + EPS),
    "sum for mean in the numerator": (X - mg.sum(X, 0)) / root(X),
    "n + 1 in the variance": C / mg.sqrt(mg.sum(C**2, 0) / (N + 1) + EPS),
    "n + 1 in the mean": (X - mg.sum(X, 0) / (N + 1)) / root(X),
    "n of the other axis": C / mg.sqrt(mg.sum(C**2, 0) / mg.count(X, 1) + EPS),
    "n fixed to one batch size": C / mg.sqrt(mg.sum(C**2, 0) / 5 + EPS),
    "a fixed n, wrong by one": (S - mean(S, 0)) / mg.sqrt(
        mg.sum((S - mean(S, 0)) ** 2, 0) / 6 + EPS),
    "n - 1 in the mean": (X - mg.sum(X, 0) / (N - 1)) / root(X),
    "eps times the variance": C / mg.sqrt(var(X) * EPS),
    "eps below zero": C / mg.sqrt(var(X) - EPS),
    "eps that grows with n": C / mg.sqrt(var(X) + EPS * N),
    "eps that is a weight": C / mg.sqrt(var(X) + G),
    "eps under the square": C / mg.sqrt(mean((X + EPS) ** 2)),
    "eps in the numerator as well": (C + X * EPS) / root(X),
    "a floor for eps": C / mg.maximum(mg.sqrt(var(X)), EPS),
    "a floor under the root": C / mg.sqrt(mg.maximum(var(X), EPS)),
    "a clamp that cuts": C / mg.sqrt(mg.maximum(var(X) - 0.1, 0) + EPS),
    "a clamp that cuts where no one looks": C / mg.sqrt(mg.maximum(var(X) - 1e-12, 0) + EPS),
    "a ReLU before the variance": C / mg.sqrt(mean(mg.maximum(C, 0) ** 2) + EPS),
    "mixed: a residual inside": (C + Z) / root(X),
    "masked": (X * mg.cast(X > 0, "float32") - mean(X)) / root(X),
    "max for mean": (X - mg.max(X, 0)) / root(X),
    "softmax": mg.softmax(X),
    "length one": X / mg.sqrt(mg.sum(X**2, 1, keepdims=True) + EPS),
    "standardised by constants": (X - mg.constant([1.0] * 4)) / mg.sqrt(mg.constant([2.0] * 4)),
    "divided by a learnt scale": (X - B) / mg.sqrt(G + EPS),
    "root mean square over one element": X[:, :1] / mg.sqrt(mean(X[:, :1] ** 2, 1) + EPS),
    "inference: plus for minus": (X + M) / mg.sqrt(V + EPS),
    "inference: no mean": X / mg.sqrt(V + EPS),
    "inference: mean twice": (X - 2 * M) / mg.sqrt(V + EPS),
    "inference: no root": (X - M) / (V + EPS),
    "inference: variance squared": (X - M) / mg.sqrt(V**2 + EPS),
    "inference: twice the variance": (X - M) / mg.sqrt(2 * V + EPS),
    "inference: mean is the variance": (X - V) / mg.sqrt(V + EPS),
    "inference: mean times x": (X - M * X) / mg.sqrt(V + EPS),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_NORM)
def test_a_mutant_is_not_reported_as_a_normaliser_of_x(case: str) -> None:
    graph = mg.Graph([X, Z, P, S], {"y": NO_NORM[case]})
    assert mg.find_norms(graph) == []


def test_there_are_enough_mutants() -> None:
    assert len(NO_NORM) >= 40


# Normalisers, though not what they may look like: the fields tell.
HONEST: dict[str, tuple[Node, Callable[[mg.Norm], object], object]] = {
    "eps outside the root": (
        C / (mg.sqrt(var(X)) + EPS), lambda n: (n.eps.place, n.eps.value), ("outside", EPS)),
    "eps on both sides": (
        C / (mg.sqrt(var(X) + EPS) + 0.5), lambda n: (n.eps.inside, n.eps.outside), (EPS, 0.5)),
    "no eps": (C / mg.sqrt(var(X)), lambda n: (n.eps.place, n.eps.value), ("none", 0.0)),
    "a large eps": (C / mg.sqrt(var(X) + 3.0), lambda n: n.eps.value, 3.0),
    "n - 1": (
        C / mg.sqrt(mg.sum(C**2, 0) / (N - 1) + EPS), lambda n: (n.correction, n.eps.value),
        (1, EPS)),
    "the other axis, both times": (
        (X - mean(X, 1)) / root(X, 1), lambda n: (n.kind, n.axes), ("layer", (1,))),
    "fewer axes, both times": (
        (P - mean(P, (0, 2))) / root(P, (0, 2)), lambda n: (n.kind, n.axes), ("batch", (0, 2))),
    "the sign turned": (
        (mean(X) - X) / root(X), lambda n: float(mg.evaluate(n.gamma)), -1.0),
    "a factor of two": (
        C * 2 / root(X), lambda n: float(mg.evaluate(n.gamma)), 2.0),
    "not centred at all": (
        X / mg.sqrt(mean(X**2) + EPS), lambda n: (n.kind, n.axes, n.mean), ("rms", (0,), None)),
    "of minus x": ((-X - mean(-X)) / root(-X), lambda n: n.x.prim.name, "neg"),
    "of a function of x": (
        (mg.tanh(X) - mean(mg.tanh(X))) / root(mg.tanh(X)), lambda n: n.x.prim.name, "tanh"),
    "of another tensor": ((Z - mean(Z)) / root(Z), lambda n: n.x, Z),
    "scaled by data": (nn.batch_norm(X, None, None) * Z, lambda n: (n.gamma, n.y.prim.name),
                       (None, "mul")),
    "with a residual": (nn.batch_norm(X, G, None) + Z, lambda n: (n.beta, n.gamma), (None, G)),
    "eps under the square of c, where M(c) = 0": (
        C / mg.sqrt(mean((C + 1e-2) ** 2)), lambda n: (n.eps.place, n.eps.value),
        ("inside", 1e-4)),
    "running statistics of a square": (
        (X**2 - M) / mg.sqrt(V + EPS) * X, lambda n: (n.statistics, n.x.prim.name),
        ("running", "pow")),
    "normalised twice": (
        nn.layer_norm(nn.layer_norm(X, None, None), G, B), lambda n: n.kind, "layer"),
}  # fmt: skip


@pytest.mark.parametrize("case", HONEST)
def test_a_normaliser_of_another_kind_is_reported_as_what_it_is(case: str) -> None:
    y, read, expected = HONEST[case]
    found = mg.find_norms(mg.Graph([X, Z, P], {"y": y}))
    assert read(found[-1]) == expected
    assert len(found) == (2 if case == "normalised twice" else 1)


def test_other_weights_and_constants_do_not_fool_the_names_of_gamma_and_beta() -> None:
    y = nn.batch_norm(X, G, B, eps=EPS) * 3.0 + mg.mean(G)
    (norm,) = mg.find_norms(mg.Graph([X], {"y": y}))
    assert (norm.gamma, norm.beta) == (G, B)
    assert norm.y is not y


def test_a_mutant_beside_the_real_one_does_not_hide_it() -> None:
    good = nn.batch_norm(X, G, B, eps=EPS)
    outputs = {"good": good, **{f"bad{i}": y for i, y in enumerate(NO_NORM.values())}}
    found = mg.find_norms(mg.Graph([X, Z, P, S], outputs))
    assert [norm.y for norm in found] == [good]


T = mg.input("t", "N", "int64")
MASK = mg.cast(mg.expand_dims(T > 0, 1), "float32")


def test_masked_statistics_are_no_statistics_of_x() -> None:
    """All ones would make a masked mean a mean: integers are data, not weights."""
    n = mg.sum(MASK, 0)
    m = mg.sum(X * MASK, 0) / n
    v = mg.sum(MASK * (X - m) ** 2, 0) / n
    assert mg.find_norms(mg.Graph([X, T], {"y": (X - m) / mg.sqrt(v + EPS)})) == []


def test_a_rare_dropout_is_seen() -> None:
    dropped = mg.dropout(X, 0.001, mg.Generator(seed=1))
    y = (X - mean(dropped)) / root(dropped)
    assert mg.find_norms(mg.Graph([X], {"y": y})) == []
    (norm,) = mg.find_norms(mg.Graph([X], {"y": nn.batch_norm(dropped, None, None)}))
    assert norm.x.prim.name == "mul"


def test_the_sign_of_a_weight_is_not_taken_for_one() -> None:
    y = C * G / mg.sqrt(G * G * (var(X) + EPS))  # sign(g) * xhat
    assert all(norm.gamma is not None for norm in mg.find_norms(mg.Graph([X], {"y": y})))
