"""Scalars as an oracle: every op unrolled agrees with the tensors, in value and in gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.passes.scalars import scalar_feed

X, Y = (2, 3), (3, 2)
Build = Callable[[mg.Node, mg.Node], mg.Node]

OPS: dict[str, Build] = {
    "add": lambda x, y: x + y.T,
    "broadcast": lambda x, y: x * y[:, 0] + y[0, 1],
    "sub": lambda x, y: x - y.T,
    "div": lambda x, y: x / (2 + y.T**2),
    "pow": lambda x, y: (1 + x**2) ** y.T,
    "powers": lambda x, y: x**3 + x**2 + (x**2 + 1) ** -0.5,
    "exp log": lambda x, y: mg.log(1 + mg.exp(x)) * y.T,
    "tanh erf": lambda x, y: mg.tanh(x) + mg.erf(y.T),
    "abs sign": lambda x, y: mg.abs(x) * mg.sign(y.T) + mg.sqrt(mg.abs(x)),
    "maximum": lambda x, y: mg.maximum(x, y.T) * mg.minimum(x, 0.5),
    "where": lambda x, y: mg.where((x > 0) * (y.T <= 0.5), x * y.T, y.T),
    "equal": lambda x, y: mg.where(mg.equal(x, x), x, y.T),
    "cast": lambda x, y: mg.cast(mg.cast(x, "float32"), "float64") * y.T,
    "stop": lambda x, y: x * mg.stop_gradient(y.T),
    "sum": lambda x, y: mg.sum(x**2, axis=0) * mg.sum(y),
    "sum over nothing": lambda x, y: mg.sum(x, axis=()),
    "sum keepdims": lambda x, y: x / mg.sum(mg.exp(x), axis=1, keepdims=True),
    "mean": lambda x, y: mg.mean(x**2, axis=1) - mg.mean(y, axis=0),
    "max": lambda x, y: mg.max(x, axis=1) * mg.max(y),
    "max keepdims": lambda x, y: x - mg.max(x, axis=(0, 1), keepdims=True),
    "argmax": lambda x, y: x * mg.cast(mg.argmax(y, axis=0, keepdims=True), "float64")[:, :1],
    "argmax last": lambda x, y: mg.take(y, mg.argmax(x, axis=1)),
    "count": lambda x, y: mg.sum(x) / mg.count(x),
    "matmul": lambda x, y: x @ y,
    "matvec": lambda x, y: x @ y[:, 0],
    "batched matmul": lambda x, y: mg.stack([x, 2 * x]) @ mg.stack([y, -y]),
    "reshape": lambda x, y: mg.reshape(x, (3, 2)) * y,
    "transpose": lambda x, y: mg.transpose(mg.stack([x, x]), (2, 0, 1)) * y[:, :, None],
    "broadcast_to": lambda x, y: mg.broadcast_to(x[:, None], (2, 3, 3)) * y.T[:, :, None],
    "slice": lambda x, y: x[1:, ::2] * y[0],
    "pad": lambda x, y: mg.pad(x, [(1, 0), (0, 2)], value=1.5) ** 2,
    "concatenate": lambda x, y: mg.concatenate([x, y.T, x**2], axis=1),
    "stack": lambda x, y: mg.stack([x, y.T], axis=1),
    "unfold": lambda x, y: mg.unfold(x, (1,), (2,)) * y[:2, :, None],
    "dilated windows": lambda x, y: mg.unfold(mg.pad(x, [(0, 0), (2, 2)]), (1,), (3,), stride=2,
                                             dilation=2) ** 2,
    "take": lambda x, y: mg.take(x, [[0, 2], [1, 1]], axis=1) * y[0, 0],
    "softmax": lambda x, y: mg.softmax(x, axis=1) @ y,
    "cross_entropy": lambda x, y: mg.cross_entropy(x, mg.constant([2, 0])) * mg.sum(y),
    "var": lambda x, y: mg.var(x, axis=0) + mg.var(y),
    "conv2d": lambda x, y: mg.conv2d(
        mg.reshape(x, (1, 1, 2, 3)), mg.reshape(y, (3, 1, 2, 1)), padding=(1, 0)
    ),
    "pools": lambda x, y: mg.max_pool2d(x[None, None], (1, 2), stride=1)
    * mg.avg_pool2d(y.T[None, None], (1, 2), stride=1),
    "batch_norm": lambda x, y: nn.batch_norm(x, y[:, 0], y[:, 1]),
    "layer_norm": lambda x, y: nn.LayerNorm(3)(x) * y.T,
}  # fmt: skip


NO_GRADIENT = {"abs sign": "y", "stop": "y", "argmax": "y", "argmax last": "x"}


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=X), "y": rng.normal(size=Y)}


def gathered(outputs: dict[str, np.ndarray], name: str, shape: tuple) -> np.ndarray:
    """The scalars of one tensor, put together."""
    array = np.empty(shape)
    for i in np.ndindex(*shape):
        array[i] = outputs[f"{name}[{','.join(map(str, i))}]" if i else name]
    return array


def with_constants(node: mg.Node) -> mg.Node:
    """Initialisers drawn, since scalars start from numbers."""
    leaves = mg.Graph([], node).parameters
    starts = mg.compile(mg.Graph([], node)).init_state() if leaves else {}
    fixed = {leaf: mg.constant(starts[leaf.name]) for leaf in leaves}
    return mg.Graph([], node).substitute(fixed).outputs["out"]


@pytest.mark.parametrize("name", OPS)
def test_scalars_agree_with_tensors(name: str) -> None:
    x, y = mg.input("x", X, "float64"), mg.input("y", Y, "float64")
    out = with_constants(OPS[name](x, y))
    weights = np.random.default_rng(1).normal(size=out.shape)
    loss = mg.sum(out * weights)
    used = mg.Graph([], loss).nodes
    wrt = [n for n in (x, y) if n in used and n.name not in NO_GRADIENT.get(name, "")]
    grads = dict(zip([f"d{n.name}" for n in wrt], mg.grad(loss, wrt), strict=True))
    tensor = mg.Graph([x, y], {"out": out, "loss": loss, **grads})
    expected = dict(zip(tensor.outputs, mg.evaluate(tensor, arrays()), strict=True))

    # the scalar graph of values differentiated, and the tensor's gradient made scalar
    unrolled = mg.scalarize(tensor)
    unrolled.verify()
    assert {node.shape for node in unrolled.nodes} == {()}
    by_hand = [
        n for leaf in wrt for n in unrolled.inputs if n.name.startswith(leaf.name + "[")
        and n in mg.Graph([], unrolled.outputs["loss"]).nodes
    ]  # fmt: skip
    own = mg.grad(unrolled.outputs["loss"], by_hand)
    outputs = {**unrolled.outputs, **{f"own {n.name}": g for n, g in zip(by_hand, own)}}  # noqa: B905
    values = mg.evaluate(mg.Graph(unrolled.inputs, outputs), scalar_feed(arrays()))
    found = dict(zip(outputs, values, strict=True))
    for key, array in expected.items():
        np.testing.assert_allclose(
            gathered(found, key, array.shape), array, rtol=1e-11, atol=1e-12, err_msg=key
        )
    for leaf in wrt:
        for i, number in np.ndenumerate(expected[f"d{leaf.name}"]):
            scalar = found.get(f"own {leaf.name}[{i[0]},{i[1]}]", 0.0)
            np.testing.assert_allclose(scalar, number, rtol=1e-11, atol=1e-12)


def test_leaves_keep_their_kind_and_their_start() -> None:
    w, m = mg.parameter("w", [[1.0, 2.0]]), mg.state("m", [3.0])
    graph = mg.scalarize(mg.Graph([], {"y": mg.sum(w) * m}, [mg.Update(m, m + 1)]))
    assert [leaf.name for leaf in graph.parameters] == ["w[0,0]", "w[0,1]"]
    outputs, state = mg.compile(graph)({"w[0,0]": 1.0, "w[0,1]": 2.0, "m[0]": 3.0})
    assert outputs["y[0]"] == 9
    assert state["m[0]"] == 4


def test_a_scalar_keeps_its_name() -> None:
    x = mg.input("x")
    graph = mg.scalarize(mg.Graph([x], {"y": x * 2}))
    assert [n.name for n in graph.inputs] == ["x"]
    assert list(graph.outputs) == ["y"]


def test_scopes_and_lines_are_kept() -> None:
    x = mg.input("x", 2)
    with mg.scope("bn1"):
        y = mg.exp(x)
    for name, node in mg.scalarize(mg.Graph([x], {"y": y})).outputs.items():
        assert name in ("y[0]", "y[1]")
        assert (node.scope, node.line) == (y.scope, y.line)


def test_what_starts_from_an_initialiser_is_refused_with_a_reason() -> None:
    w = mg.parameter("w", nn.initializers.glorot_uniform, (2, 2))
    with pytest.raises(mg.GraphError, match=r"w starts from an initialiser.*test_scalarize"):
        mg.scalarize(mg.Graph([], w * 2))


def test_an_empty_tensor_has_no_scalars() -> None:
    x = mg.input("x", (0, 2), "float64")
    graph = mg.scalarize(mg.Graph([x], {"sum": mg.sum(x), "column": mg.sum(x, axis=0)}))
    assert mg.evaluate(graph) == [0, 0, 0]
