"""The same graph in another float dtype."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


def network() -> mg.Graph:
    x, t = mg.input("x", ("N", 4)), mg.input("t", "N", "int64")
    logits = nn.Sequential(
        nn.Linear(5, name="fc"), nn.BatchNorm(5, name="bn"), mg.relu, nn.Dropout(0.25)
    )(x)
    return mg.Graph([x, t], {"logits": logits, "loss": mg.cross_entropy(logits, t)})


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_every_float_changes_and_every_other_dtype_stays(dtype: str) -> None:
    old = network()
    new = mg.retype(old, dtype)
    new.verify()
    assert len(new.nodes) == len(old.nodes)
    for before, after in zip(old.nodes, new.nodes, strict=True):
        assert after.prim is before.prim
        assert after.dtype == (dtype if before.type.is_float else before.dtype)


def test_there_and_back_is_the_same_graph() -> None:
    graph = network()
    back = mg.retype(mg.retype(graph, "float64"), "float32")
    assert str(back) == str(graph)
    assert back.structural_hash() == graph.structural_hash()
    assert str(mg.to_inference(back)) == str(mg.to_inference(graph))


def test_scopes_and_lines_are_kept() -> None:
    graph = network()
    for before, after in zip(graph.nodes, mg.retype(graph, "float64").nodes, strict=True):
        assert (after.scope, after.line) == (before.scope, before.line)


def test_updates_and_estimates_come_along() -> None:
    graph = mg.retype(network(), "float64")
    assert {u.state.name for u in graph.updates if u.estimate is not None} == {
        "bn/running_mean",
        "bn/running_var",
    }
    assert all(u.value.dtype == u.state.dtype for u in graph.updates)


def test_the_values_agree() -> None:
    graph = network()
    feed = {"x": np.random.default_rng(0).normal(size=(6, 4)), "t": [0, 1, 2, 3, 4, 0]}
    single = mg.evaluate(graph, feed)
    double = mg.evaluate(mg.retype(graph, "float64"), feed)
    for a, b in zip(single, double, strict=True):
        assert b.dtype == "float64"
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_complex_is_allowed_here_only() -> None:
    x = mg.input("x", 2)
    y = mg.retype(mg.Graph([x], mg.exp(x) * 0.5), "complex128")
    found = mg.evaluate(y, {"x": [0.0, 1e-20j]})
    np.testing.assert_allclose(found[0].imag, [0, 0.5e-20])
    with pytest.raises(mg.DTypeError, match="int8 is not supported"):
        mg.retype(mg.Graph([x], mg.exp(x)), "int8")


def test_the_count_of_an_int_tensor_follows() -> None:
    labels, x = mg.input("labels", "N", "int64"), mg.input("x", "N")
    graph = mg.retype(mg.Graph([labels, x], x * mg.count(labels)), "float64")
    graph.verify()
    (found,) = mg.evaluate(graph, {"labels": [1, 2], "x": [0.5, 1.0]})
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [1.0, 2.0])
