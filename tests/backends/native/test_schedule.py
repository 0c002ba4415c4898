"""How many kernels a graph becomes, and how often they pass over memory."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends.native.agreement import assert_agrees
from backends.native.kernel_text import Run, kernel_names

import minigrad as mg

C, ROWS = 256, 24
SOME = 9  # rows that a shift is taken from
NATIVE = Path(mg.__file__).parent / "backends" / "native"


def leaves(*shape: Any, channels: Any = None) -> list[mg.Node]:
    vector = shape[-1] if channels is None else channels
    shapes = {"data": shape, "upstream": shape, "gamma": vector, "beta": vector}
    return [mg.input(name, dims) for name, dims in shapes.items()]


def forward_and_backward(
    y: mg.Node, inputs: list[mg.Node], wrt: tuple[str, ...] = ("data", "gamma", "beta")
) -> mg.Graph:
    """``y`` and its gradients with respect to the inputs that are named."""
    by_name = {node.name: node for node in inputs}
    found = mg.grad(y, [by_name[name] for name in wrt], ct=by_name["upstream"])
    gradients = {f"d{name}": node for name, node in zip(wrt, found, strict=True)}
    return mg.Graph(inputs, {"y": y, **gradients})


def fed(graph: mg.Graph, seed: int = 0, **dims: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {n.name: [dims.get(str(d), d) for d in n.shape] for n in graph.inputs}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def batch_norm_of_columns(backward: bool) -> mg.Graph:
    inputs = leaves("N", C)
    x, _, gamma, beta = inputs
    y = mg.nn.batch_norm(x, gamma, beta)
    return forward_and_backward(y, inputs) if backward else mg.Graph([x, gamma, beta], {"y": y})


@pytest.fixture(scope="module", params=[False, True], ids=["forward", "and backward"])
def of_columns(request: pytest.FixtureRequest, kernels: Path) -> Any:
    """Batch norm of a matrix, compiled, and its kernels run by Python."""
    graph = batch_norm_of_columns(request.param)
    step = mg.compile(graph, threads=2, cache=kernels)
    feed = fed(graph, N=ROWS)
    return graph, step, feed, Run(step, feed, threads=2, N=ROWS)


# --- passes over memory ------------------------------------------------------------------------


def test_batch_norm_reads_its_matrices_twice(of_columns: Any) -> None:
    graph, _, _, run = of_columns
    for name in {"data", "upstream"} & {node.name for node in graph.inputs}:
        assert run.read[name] <= (2 * ROWS + SOME) * C


def test_batch_norm_writes_its_results_and_no_other_matrix(of_columns: Any) -> None:
    graph, _, _, run = of_columns
    matrices = [name for name, count in run.written.items() if count >= ROWS * C]
    assert len(matrices) == sum(node.ndim == 2 for node in graph.outputs.values())
    assert all(run.written[name] == ROWS * C for name in matrices)


def test_batch_norm_of_columns_takes_four_kernels(of_columns: Any) -> None:
    assert len(kernel_names(of_columns[1])) == 4


def test_the_plan_names_every_kernel_in_order(of_columns: Any) -> None:
    plan = of_columns[1].plan()
    assert re.findall(r"^(k\w+):", plan, re.MULTILINE) == kernel_names(of_columns[1])


def test_the_plan_of_known_sizes_tells_bytes(of_columns: Any) -> None:
    graph, step, _, _ = of_columns
    matrices = sum(node.ndim == 2 for node in graph.outputs.values())
    assert " bytes " not in step.plan()
    assert f" {4 * 1000 * C * matrices:,} written" in step.plan(N=1000)


def test_the_text_is_what_runs(of_columns: Any) -> None:
    _, step, feed, run = of_columns
    outputs, _ = step({}, **feed)
    for name, array in outputs.items():
        assert run.holds(array), name


def test_a_static_batch_takes_four_kernels_too(kernels: Path) -> None:
    inputs = leaves(1024, C)
    x, _, gamma, beta = inputs
    graph = forward_and_backward(mg.nn.batch_norm(x, gamma, beta), inputs)
    assert len(kernel_names(mg.compile(graph, threads=2, cache=kernels))) == 4


# --- rows --------------------------------------------------------------------------------------

ROW_BY_ROW: dict[str, tuple[tuple[Any, ...], Any, Callable[..., mg.Node]]] = {
    "layer norm": (("N", 64), 64, lambda x, g, b: mg.nn.layer_norm(x, g, b)),
    "softmax": (("N", 64), 64, lambda x, g, b: mg.softmax(x)),
    "log softmax": (("N", 64), 64, lambda x, g, b: mg.log_softmax(x)),
    "rms norm": (("N", 64), 64, lambda x, g, b: mg.nn.rms_norm(x, g)),
    "instance norm": (
        ("N", 8, 6, 6), (8, 1, 1), lambda x, g, b: mg.nn.instance_norm(x, g, b),
    ),
    "group norm": (
        ("N", 8, 6, 6), (8, 1, 1), lambda x, g, b: mg.nn.group_norm(x, g, b, groups=4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROW_BY_ROW)
def test_a_normaliser_of_rows_and_its_gradient_are_one_kernel(name: str, kernels: Path) -> None:
    shape, channels, build = ROW_BY_ROW[name]
    inputs = leaves(*shape, channels=channels)
    x, _, gamma, beta = inputs
    graph = forward_and_backward(build(x, gamma, beta), inputs, wrt=("data",))
    step = mg.compile(graph, threads=2, cache=kernels)
    assert kernel_names(step) == ["k0_blocks"]
    assert_agrees(graph, fed(graph, N=5), threads=2, cache=kernels)


@pytest.mark.parametrize("name", ["layer norm", "softmax", "rms norm"])
def test_a_normaliser_of_rows_reads_its_matrices_once(name: str, kernels: Path) -> None:
    shape, channels, build = ROW_BY_ROW[name]
    inputs = leaves(*shape, channels=channels)
    x, _, gamma, beta = inputs
    graph = forward_and_backward(build(x, gamma, beta), inputs, wrt=("data",))
    step = mg.compile(graph, threads=2, cache=kernels)
    feed = fed(graph, N=ROWS)
    run = Run(step, feed, threads=2, N=ROWS)
    assert run.read["data"] == run.read["upstream"] == ROWS * 64
    for array in step({}, **feed)[0].values():
        assert run.holds(array)


# --- a normaliser that is in no library --------------------------------------------------------


def power_norm(x: mg.Node, gamma: mg.Node, beta: mg.Node, axis: int) -> mg.Node:
    """The mean of ``|x - mean|**1.5`` in place of the variance."""
    keep = axis != 0
    c = x - mg.mean(x, axis, keepdims=keep)
    spread = (mg.mean(mg.abs(c) ** 1.5, axis, keepdims=keep) + 1e-5) ** (1 / 1.5)
    return c / spread * gamma + beta


@pytest.fixture(scope="module", params=[0, 1], ids=["columns", "rows"])
def invented(request: pytest.FixtureRequest) -> tuple[mg.Graph, mg.Graph]:
    """The new normaliser and the one of the library over the same axis, with their gradients."""
    inputs = leaves("N", 24)
    x, _, gamma, beta = inputs
    mine = power_norm(x, gamma, beta, request.param)
    known = mg.nn.batch_norm(x, gamma, beta, axes=(request.param,))
    return forward_and_backward(mine, inputs), forward_and_backward(known, inputs)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_invented_normaliser_is_right(invented: Any, threads: int, kernels: Path) -> None:
    graph, _ = invented
    assert_agrees(graph, fed(graph, N=37), threads=threads, cache=kernels, scale=5)


def test_an_invented_normaliser_takes_two_kernels_more_at_most(
    invented: Any, kernels: Path
) -> None:
    mine, known = (len(kernel_names(mg.compile(g, threads=2, cache=kernels))) for g in invented)
    assert mine <= known + 2


# --- elementwise values and updates ------------------------------------------------------------


def test_a_chain_of_ten_elementwise_ops_is_one_kernel(kernels: Path) -> None:
    x, w = mg.input("data", ("N", 8)), mg.input("gamma", 8)
    y = mg.square(mg.relu(mg.tanh(mg.exp(-x) * w) / 2 + 1) - mg.maximum(x, 0.1))
    y = mg.sqrt(mg.abs(y) + 0.5)
    graph = mg.Graph([x, w], {"y": y})
    step = mg.compile(graph, threads=2, cache=kernels)
    assert kernel_names(step) == ["k0_values"]
    assert_agrees(graph, fed(graph, N=5), cache=kernels)


def test_several_outputs_of_one_shape_share_a_kernel(kernels: Path) -> None:
    x, w = mg.input("data", ("N", 8)), mg.input("gamma", ("N", 8))
    graph = mg.Graph([x, w], {"a": x + w, "b": x * w, "c": mg.exp(x - w), "d": x > w})
    assert len(kernel_names(mg.compile(graph, cache=kernels))) == 1
    assert_agrees(graph, fed(graph, N=5), cache=kernels)


def trained_by_adam(*hidden: int) -> tuple[mg.Graph, set[tuple[int, ...]]]:
    """A training step of an MLP, and the shapes of its parameters."""
    layers: list[Any] = []
    for k, size in enumerate(hidden):
        layers += [mg.nn.Linear(size, name=f"hidden{k}"), mg.relu]
    x, t = mg.input("data", ("N", 24)), mg.input("target", ("N", 10))
    y = mg.nn.Sequential(*layers, mg.nn.Linear(10, name="out"))(x)
    graph = mg.optim.adam(mg.Graph([x, t], {"loss": mg.mse(y, t)}), lr=0.1)
    shapes = {n.shape for n in graph.leaves if n.prim.name == "parameter"}
    return graph, shapes


def updating_kernels(graph: mg.Graph, kernels: Path) -> list[str]:
    """The lines of the plan that write a slot or a weight."""
    plan = mg.compile(graph, threads=2, cache=kernels).plan()  # type: ignore[attr-defined]
    return re.findall(r"^    writes .*\badam_.*$", plan, re.MULTILINE)


@pytest.mark.parametrize(
    "hidden",
    [
        (24,),
        (24, 24),
    ],
)
def test_updates_of_parameters_of_one_shape_share_a_kernel(
    hidden: tuple[int, ...], kernels: Path
) -> None:
    graph, shapes = trained_by_adam(*hidden)
    assert len(updating_kernels(graph, kernels)) <= len(shapes) + 1


def test_no_update_is_copied(kernels: Path) -> None:
    graph, _ = trained_by_adam(24)
    moved = {re.sub(r"\W", "_", update.state.name) for update in graph.updates}
    written = " ".join(updating_kernels(graph, kernels))
    assert {name for name in moved if f"{name}[" not in written} == set()


# --- the compiler knows no layer ---------------------------------------------------------------

LAYER = re.compile(r"(batch|layer|group|instance|rms)_?norm|softmax|\badam\b|\bbn\b", re.IGNORECASE)


def words_of(tree: ast.AST) -> list[str]:
    """Identifiers and strings of a module, docstrings left out."""
    found: list[str] = []
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name", "module"):
            if isinstance(word := getattr(node, field, None), str):
                found.append(word)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [] if id(node) in docstrings else [node.value]
    return found


@pytest.mark.parametrize("path", sorted(NATIVE.glob("*.py")), ids=lambda path: path.stem)
def test_no_code_knows_a_layer_by_name(path: Path) -> None:
    words = words_of(ast.parse(path.read_text(encoding="utf-8")))
    assert [word for word in words if LAYER.search(word)] == []


@pytest.mark.slow
def test_a_chain_of_1500_ops_compiles(kernels: Path) -> None:
    x = y = mg.input("data", 4)
    for _ in range(1500):
        y = -y
    graph = mg.Graph([x], {"y": y})
    assert_agrees(graph, fed(graph), cache=kernels)
