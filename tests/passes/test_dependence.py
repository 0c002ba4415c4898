"""The batch-dependence analysis against an oracle: other rows changed, or taken away altogether."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from graphs import Builder, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.passes.dependence import KIND_RULES, RULES
from minigrad.primitives.index import SCATTER_ADD


def alone(graph: mg.Graph, feed: dict[str, Any], axes: dict[str, int], row: int) -> list[Any]:
    """The outputs when the batch holds this row and no other."""
    only = {k: np.take(v, [row], axes[k]) if k in axes else v for k, v in feed.items()}
    return mg.evaluate(graph, only)


def disagreement(graph: mg.Graph, feed: dict[str, Any], dim: str = "N") -> dict[str, float]:
    """How far each output's rows move when the rest of the batch goes away, 0 where they do not."""
    found = mg.batch_dependence(graph, dim)
    axes = {n.name: n.shape.index(dim) for n in graph.inputs if dim in n.shape}
    together = mg.evaluate(graph, feed)
    rows = {np.shape(feed[name])[axis] for name, axis in axes.items()}
    worst = dict.fromkeys(graph.outputs, 0.0)
    for row in range(rows.pop()):
        for name, whole, part in zip(
            graph.outputs, together, alone(graph, feed, axes, row), strict=True
        ):
            axis = found.axes[name]
            expected = whole if axis is None else np.take(whole, [row], axis)
            if expected.shape != part.shape:
                worst[name] = np.inf
            elif expected.size:
                with np.errstate(all="ignore"):
                    apart = np.abs(expected.astype(float) - part.astype(float))
                    size = 1 + np.abs(part.astype(float))
                    worst[name] = max(worst[name], float(np.nanmax(apart / size)))
    return worst


def test_every_primitive_has_a_rule() -> None:
    missing = [n for n, p in mg.PRIMITIVES.items() if n not in RULES and p.kind not in KIND_RULES]
    assert missing == []
    assert set(RULES) <= set(mg.PRIMITIVES)


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_rows_said_to_be_independent_are_so_on_random_graphs(seed: int) -> None:
    builder = Builder(random.Random(seed))
    graph = random_graph(builder)
    counts = [node.shape.count("N") for node in graph.inputs]
    if max(counts, default=0) != 1:  # no batch, or a batch against itself: no row to take out
        return
    feed = {n.name: builder.values[n] for n in graph.inputs}
    proof = mg.batch_dependence(graph, "N")
    kept = {k: n for k, n in graph.outputs.items() if k not in proof.mixed and _tame(n)}
    if not kept:
        return
    part = mg.Graph(graph.inputs, kept)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing
        for name, worst in disagreement(mg.retype(part, "float64"), feed).items():
            assert worst < 1e-9, (name, part)


def _tame(node: mg.Node) -> bool:
    """Half precision rounds a product of many rows unlike that of one; float64 does not."""
    return node.dtype.kind == "f"


def stage(b: random.Random, x: mg.Node, index: int) -> mg.Node:
    features = int(x.shape[1])
    builders: list[Callable[[], mg.Node]] = [
        lambda: nn.Linear(b.choice((3, 4)), name=f"fc{index}")(x),
        lambda: nn.BatchNorm(features, name=f"bn{index}", convention=b.choice(("keras", "flax")))(
            x
        ),
        lambda: nn.LayerNorm(features, name=f"ln{index}")(x),
        lambda: nn.RMSNorm(features, name=f"rms{index}")(x),
        lambda: mg.leaky_relu(x),
        lambda: mg.softmax(x),
        lambda: x + mg.tanh(x),
        lambda: nn.Dropout(0.3, name=f"drop{index}", seed=index)(x),
        lambda: mg.transpose(mg.exp(-mg.abs(mg.transpose(x)))),
        lambda: x - mg.mean(x, axis=b.choice((0, 1)), keepdims=True),
        lambda: x * mg.mean(mg.tanh(x), axis=b.choice((0, 1)), keepdims=True),
    ]
    return b.choice(builders)()


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_a_yes_is_right_and_a_no_is_seen_on_random_models(seed: int) -> None:
    rng = random.Random(seed)
    x = y = mg.input("x", ("N", 4))
    for index in range(rng.randint(1, 5)):
        y = stage(rng, y, index)
    graph = mg.retype(mg.Graph([x], {"y": y}), "float64")
    feed = {"x": np.random.default_rng(seed).normal(size=(5, 4))}
    proof = mg.batch_dependence(graph)
    if proof.independent:
        assert disagreement(graph, feed)["y"] < 1e-12
    else:
        assert proof.mixing is not None
        assert str(proof.mixing.line) in proof.explanation
        whole = mg.evaluate(graph, feed)[0]
        parts = np.concatenate([alone(graph, feed, {"x": 0}, row)[0] for row in range(5)])
        assert not np.allclose(whole, parts, rtol=0, atol=1e-9)


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_the_inference_graph_of_a_good_model_is_independent(seed: int) -> None:
    rng = random.Random(seed)
    x, layers = mg.input("x", ("N", 4)), []
    for index in range(rng.randint(1, 4)):
        layers += [
            nn.Linear(4, name=f"fc{index}"),
            rng.choice((nn.BatchNorm(4, name=f"bn{index}"), nn.LayerNorm(4, name=f"ln{index}"))),
            nn.Dropout(0.2, name=f"drop{index}"),
            mg.relu,
        ]
    train = mg.Graph([x], {"y": nn.Sequential(*layers)(x)})
    infer = mg.to_inference(train)
    assert not mg.batch_dependence(train)
    assert mg.batch_dependence(infer).axes == {"y": 0}
    feed = {"x": np.random.default_rng(seed).normal(size=(4, 4))}
    assert disagreement(mg.retype(infer, "float64"), feed)["y"] < 1e-12


def test_a_convolutional_model_is_independent_at_inference() -> None:
    x = mg.input("x", ("N", 2, 6, 6))
    net = nn.Sequential(
        nn.Conv2d(4, 3, padding="same"), nn.BatchNorm(4, channel_axis=1), mg.relu,
        nn.MaxPool2d(2), nn.Conv2d(4, 3, groups=2), nn.GroupNorm(4, groups=2), nn.Flatten(),
        nn.Linear(3),
    )  # fmt: skip
    train = mg.Graph([x], {"y": net(x)})
    infer = mg.to_inference(train)
    assert mg.batch_dependence(infer).independent
    found = mg.batch_dependence(train).mixing
    assert found is not None
    assert (found.prim.name, str(found.scope)) == ("mean", "bn1")
    feed = {"x": np.random.default_rng(0).normal(size=(3, 2, 6, 6))}
    assert disagreement(mg.retype(infer, "float64"), feed)["y"] < 1e-12


X = mg.input("x", ("N", 3))
T = mg.input("t", ("N",), "int64")
W = mg.parameter("w", np.arange(9.0).reshape(3, 3))

MIXED: dict[str, tuple[mg.Node, str]] = {
    "mean over the batch": (mg.mean(X, 0), "reduces over the batch"),
    "max over everything": (mg.max(X), "reduces over the batch"),
    "argmax over the batch": (mg.argmax(X, 0), "reduces over the batch"),
    "count of rows": (X / mg.count(X, 0), "counts the rows"),
    "Gram matrix": (X @ X.T, "itself"),
    "covariance": (X.T @ X, "sums products over the batch"),
    "table of rows": (mg.take(X, T), "looks rows of the batch up"),
    "outer difference": (X[:, 0][:, None] - X[:, 0][None, :], "itself"),
    "rows as columns": (mg.reshape(X, (3, "N")), "reshapes the rows"),
    "repeated, then laid out anew": (
        mg.reshape(mg.broadcast_to(W[0], ("N", 3)), (3, "N")), "reshapes the rows",
    ),
    "noise by position": (X + mg.random_uniform(0, ("N", 3)), "draws by position"),
    "rows added into a table": (
        SCATTER_ADD(X, T, axis=0, shape=(5, 3)), "adds rows of the batch",
    ),
    "sum of what is the same in every row": (
        mg.sum(mg.broadcast_to(W[0], ("N", 3)), 0), "reduces over the batch",
    ),
}  # fmt: skip

KEPT: dict[str, tuple[mg.Node, int | None]] = {
    "linear map": (X @ W, 0),
    "linear map from the left": (W @ X.T, 1),
    "batched product": (mg.reshape(X, ("N", 1, 3)) @ mg.reshape(X, ("N", 3, 1)), 0),
    "one-hot of labels": (mg.one_hot(T, 4), 0),
    "embedding": (mg.take(W, T), 0),
    "embedding of columns": (mg.take(W, T, axis=1), 1),
    "mean over features": (mg.mean(X, 1), 0),
    "reduction before a later batch axis": (mg.sum(X.T, 0), 0),
    "flattened": (mg.reshape(X[:, None, :] * W, ("N", 9)), 0),
    "new axis in front": (X[None], 1),
    "joined features": (mg.concatenate([X, -X], 1), 0),
    "padded features": (mg.pad(X, [(0, 0), (1, 2)]), 0),
    "sliced features": (X[:, 1:], 0),
    "windows of features": (mg.unfold(X, (1,), (2,)), 0),
    "number of features": (X / mg.count(X, 1), 0),
    "noise of the step": (X + mg.random_uniform(0, (3,)), 0),
    "weights": (W * 2, None),
    "selected": (mg.where(X > 0, X, W[0]), 0),
}


@pytest.mark.parametrize("case", MIXED)
def test_rows_that_mix_are_named(case: str) -> None:
    node, why = MIXED[case]
    found = mg.batch_dependence(mg.Graph([X, T], {"y": node}))
    assert not found
    assert why in found.explanation
    assert "test_dependence.py:" in found.explanation
    assert found.mixed == {"y": found.mixing}


@pytest.mark.parametrize("case", KEPT)
def test_rows_that_stay_apart_are_proved_to(case: str) -> None:
    node, axis = KEPT[case]
    graph = mg.retype(mg.Graph([X, T], {"y": node}), "float64")
    found = mg.batch_dependence(graph)
    assert found, found.explanation
    assert found.axes == {"y": axis}
    feed = {"x": np.random.default_rng(0).normal(size=(4, 3)), "t": [0, 2, 1, 1]}
    assert disagreement(graph, feed)["y"] < 1e-12


def test_the_named_node_is_the_first_that_mixes() -> None:
    mu = mg.mean(X, 0)
    late = mg.sum(mg.exp(X - mu), 0)
    found = mg.batch_dependence(mg.Graph([X], {"a": late, "b": X * 2}))
    assert found.mixing is mu
    assert found.axes == {"a": None, "b": 0}
    assert list(found.mixed) == ["a"]


def test_an_op_that_nobody_knows_mixes() -> None:
    row = mg.Primitive("roll", mg.Kind.VIEW, lambda xp, x: xp.roll(x, 1), lambda x: x, None)
    found = mg.batch_dependence(mg.Graph([X], {"y": row(X)}))
    assert not found
    assert "roll is not known to keep rows apart" in found.explanation


def test_a_deep_chain_is_walked_without_recursion() -> None:
    y = X
    for _ in range(20_000):
        y = -y
    assert mg.batch_dependence(mg.Graph([X], {"y": y}))


def test_the_batch_dim_must_be_known() -> None:
    static = mg.input("x", (4, 3))
    with pytest.raises(mg.GraphError, match="has no name"):
        mg.batch_dependence(mg.Graph([static], {"y": static * 2}))
    with pytest.raises(mg.GraphError, match="no input has the dim 'B'; there is N"):
        mg.batch_dependence(mg.Graph([X], {"y": X * 2}), "B")
    both = mg.input("z", ("B", 3))
    with pytest.raises(mg.GraphError, match="could be N, B"):
        mg.batch_dependence(mg.Graph([X, both], {"y": X * 2, "z": both * 2}))


def test_a_dim_of_one_s_own_is_analysed_by_name() -> None:
    x = mg.input("x", ("B", "T", 3))
    graph = mg.Graph([x], {"y": nn.LayerNorm(3)(x) - mg.mean(x, 1, keepdims=True)})
    assert mg.batch_dependence(graph)
    assert not mg.batch_dependence(graph, "T")
