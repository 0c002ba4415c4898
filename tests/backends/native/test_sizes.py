"""One compilation serves every batch size and works with any number of threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends.native.agreement import assert_agrees, assert_equal_up_to_rounding

import minigrad as mg

SIZES = (1, 2, 3, 7, 64, 1000, 7, 1)
F = 5
SLOW = pytest.mark.slow


def batch_norm(x: mg.Node) -> mg.Node:
    return mg.nn.batch_norm(x, np.linspace(0.5, 2, F, dtype=np.float32), np.float32([0.1] * F))


def mlp(x: mg.Node) -> mg.Node:
    w = np.random.default_rng(5).normal(size=(2, F, F)).astype(np.float32)
    return mg.tanh(x @ w[0]) @ w[1] + x


BUILDS: dict[str, Callable[[mg.Node], mg.Node]] = {
    "elementwise": lambda x: mg.exp(-x * x) + mg.maximum(x, 0.2),
    "sum of columns": lambda x: x * mg.sum(x, 0),
    "mean of everything": lambda x: x - mg.mean(x),
    "largest of a column": lambda x: mg.max(x, 0) - x,
    "softmax of rows": lambda x: mg.softmax(x, 1),
    "softmax of columns": lambda x: mg.softmax(x, 0),
    "batch norm": batch_norm,
    "layer norm": lambda x: mg.nn.layer_norm(x, None, None),
    "rows by rows": lambda x: x @ mg.transpose(x),
    "columns by columns": lambda x: mg.transpose(x) @ x,
    "mlp": mlp,
    "transposed": lambda x: mg.tanh(mg.transpose(x)) * 2,
    "reshaped": lambda x: mg.sum(mg.reshape(x, ("N", 1, F)) * mg.reshape(x, ("N", F, 1)), 0),
    "padded": lambda x: mg.pad(x, [(0, 0), (1, 2)]) * 3,
    "taken": lambda x: mg.take(x, np.array([3, 0, 3]), 1) + 1,
    "joined": lambda x: mg.concatenate([x, mg.exp(x[:, :2])], 1),
    "argmax": lambda x: mg.cast(mg.argmax(x, 1), "float32") * mg.sum(x, 1),
    "count": lambda x: x / mg.count(x, 0),
}


def graph_of(name: str) -> mg.Graph:
    """The value, and its gradient."""
    x = mg.input("x", ("N", F))
    y = BUILDS[name](x)
    (dx,) = mg.grad(mg.sum(mg.sqrt(1 + y * y)), [x])
    return mg.Graph([x], {"y": y, "dx": dx})


def numbers(size: int) -> np.ndarray:
    return np.random.default_rng(size).normal(0.5, 1, (size, F)).astype(np.float32)


@pytest.fixture(scope="module", params=BUILDS)
def compiled(request: pytest.FixtureRequest, kernels: Path) -> Any:
    graph = graph_of(request.param)
    native = mg.compile(graph, threads=2, cache=kernels)
    return request.param, native, mg.compile(graph, "interpreter")


def test_one_compilation_serves_every_batch_size(compiled: Any) -> None:
    name, native, reference = compiled
    before = native.compiled
    for size in SIZES:
        found, _ = native({}, x=numbers(size))
        expected, _ = reference({}, x=numbers(size))
        if name == "batch norm" and size < 3:  # 1/std of next to nothing: rounding is large
            assert_equal_up_to_rounding({"y": found["y"]}, {"y": expected["y"]}, scale=200)
            continue
        assert_equal_up_to_rounding(found, expected, scale=10)
    assert native.compiled == before


def test_a_large_batch_is_shared_among_threads(compiled: Any) -> None:
    name, native, reference = compiled
    size = 300 if name == "rows by rows" else 6001
    found, _ = native({}, x=numbers(size))
    assert_equal_up_to_rounding(found, reference({}, x=numbers(size))[0], scale=10)


UNDEFINED = {  # the mean and the largest of nothing, and what divides by the number of rows
    "mean of everything", "largest of a column", "batch norm", "softmax of columns", "count",
}  # fmt: skip


def test_an_empty_batch_is_the_interpreters(compiled: Any) -> None:
    name, native, reference = compiled
    if name in UNDEFINED:
        pytest.skip("not defined for no rows")
    before = native.compiled
    found, _ = native({}, x=numbers(0))
    expected, _ = reference({}, x=numbers(0))
    assert_equal_up_to_rounding(found, expected)
    assert native.compiled == before
    assert_equal_up_to_rounding(native({}, x=numbers(3))[0], reference({}, x=numbers(3))[0], 10)


def test_the_largest_of_nothing_is_refused_in_the_words_of_the_interpreter(kernels: Path) -> None:
    graph = graph_of("largest of a column")
    messages = []
    for ready in (mg.compile(graph, cache=kernels), mg.compile(graph, "interpreter")):
        with pytest.raises(mg.GraphError) as caught:
            ready({}, x=numbers(0))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


# --- two named dims ----------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_two_named_dims_vary_by_themselves(threads: int, kernels: Path) -> None:
    x, w = mg.input("x", ("N", "M")), mg.input("w", ("M", F))
    y = mg.softmax(x, 1) @ w + mg.mean(x, 1, keepdims=True)
    dx, dw = mg.grad(mg.sum(mg.tanh(y)), [x, w])
    graph = mg.Graph([x, w], {"y": y, "dx": dx, "dw": dw, "s": mg.sum(x, 0)})
    native = mg.compile(graph, threads=threads, cache=kernels)
    reference = mg.compile(graph, "interpreter")
    rng = np.random.default_rng(0)
    for n, m in [(3, 4), (4, 3), (1, 1), (1, 50), (50, 1), (40, 70)]:
        feed = {"x": rng.normal(size=(n, m)), "w": rng.normal(size=(m, F))}
        assert_equal_up_to_rounding(native({}, **feed)[0], reference({}, **feed)[0], scale=10)


def test_a_dim_named_twice_is_square(kernels: Path) -> None:
    x = mg.input("x", ("N", "N"))
    y = x @ x + mg.transpose(x) * mg.sum(x, 0)
    (dx,) = mg.grad(mg.sum(y * y), [x])
    graph = mg.Graph([x], {"y": y, "dx": dx})
    for n in (1, 2, 9, 70):
        data = np.random.default_rng(n).normal(size=(n, n)).astype(np.float32)
        assert_agrees(graph, {"x": data}, threads=2, cache=kernels, scale=10)


# --- threads -----------------------------------------------------------------------------------


def dense_step() -> mg.Graph:
    """A training step of rows and columns: products, blocks, sums in parts, updates in place."""
    x, t = mg.input("x", ("N", 6)), mg.input("t", "N", "int64")
    h = mg.relu(mg.nn.BatchNorm(20, name="bn1")(mg.nn.Linear(20, name="in")(x)))
    logits = mg.nn.Linear(3, name="out")(h)
    graph = mg.Graph([x, t], {"loss": mg.cross_entropy(logits, t), "logits": logits})
    return mg.optim.sgd(graph, lr=0.1)


def image_step() -> mg.Graph:
    """The same with a convolution and pooling."""
    x, t = mg.input("x", ("N", 2, 6, 6)), mg.input("t", "N", "int64")
    h = mg.nn.Conv2d(4, 3, padding="same", name="conv1")(x)
    h = mg.max_pool2d(mg.relu(mg.nn.BatchNorm(4, channel_axis=1, name="bn1")(h)), 2)
    logits = mg.nn.Linear(3, name="out")(mg.nn.Flatten()(h))
    graph = mg.Graph([x, t], {"loss": mg.cross_entropy(logits, t), "logits": logits})
    return mg.optim.sgd(graph, lr=0.1)


STEPS = [
    pytest.param(dense_step, 3, id="dense, 3 threads"),
    *[pytest.param(dense_step, k, id=f"dense, {k} threads", marks=SLOW) for k in (1, 2, 5)],
    pytest.param(image_step, 3, id="image, 3 threads", marks=SLOW),
]


@pytest.mark.parametrize(("build", "threads"), STEPS)
def test_any_number_of_threads_gives_the_interpreters_numbers(
    build: Callable[[], mg.Graph], threads: int, kernels: Path
) -> None:
    graph = build()
    native = mg.compile(graph, threads=threads, cache=kernels)
    reference = mg.compile(graph, "interpreter")
    mine, other = native.init_state(), reference.init_state()
    rng = np.random.default_rng(0)
    shape = graph.inputs[0].shape[1:]
    for size in (4, 2, 150, 3000, 3):
        feed = {"x": rng.normal(size=(size, *shape)), "t": rng.integers(0, 3, size)}
        found, mine = native(mine, **feed)
        expected, other = reference(other, **feed)
        assert_equal_up_to_rounding(found, expected, scale=50)
    assert_equal_up_to_rounding({name: mine[name] for name in other}, other, scale=100)


LARGE = {
    "full sum": lambda x: mg.sum(x * x),
    "columns": lambda x: mg.sum(x, 0),
    "rows": lambda x: mg.max(x, 1),
    "product": lambda x: mg.transpose(x) @ x,
    "values": mg.tanh,
}


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_work_is_shared_without_loss(threads: int, kernels: Path) -> None:
    x = mg.input("x", ("N", 24))
    graph = mg.Graph([x], {name: build(x) for name, build in LARGE.items()})
    for size in (5001, 4):
        data = np.random.default_rng(0).normal(size=(size, 24)).astype(np.float32)
        assert_agrees(graph, {"x": data}, threads=threads, cache=kernels)


@pytest.mark.parametrize("threads", [2, 5])
def test_a_step_gives_the_same_bits_every_time(threads: int, kernels: Path) -> None:
    x = mg.input("x", ("N", 24))
    graph = mg.Graph([x], {name: build(x) for name, build in LARGE.items()})
    step = mg.compile(graph, threads=threads, cache=kernels)
    data = np.random.default_rng(0).normal(size=(5001, 24)).astype(np.float32)
    first, _ = step({}, x=data)
    for _ in range(20):
        again, _ = step({}, x=data)
        for name in LARGE:
            np.testing.assert_array_equal(again[name], first[name])


def test_all_processors_are_used_by_default(kernels: Path) -> None:
    x = mg.input("x", ("N", 24))
    step: Any = mg.compile(mg.Graph([x], mg.sum(x)), cache=kernels)
    assert step.threads >= 1
