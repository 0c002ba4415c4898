"""What has no kernel: without LLVM, without a dtype, without a row's kernel, or with no answer."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends.native.agreement import assert_agrees, assert_equal_up_to_rounding

import minigrad as mg

SINH = mg.Primitive(
    "sinh",
    mg.Kind.ELEMENTWISE,
    eval=lambda xp, x: xp.sinh(x),
    infer=lambda x: x,
    vjp=lambda ct, y, x: (ct * mg.sqrt(1 + y * y),),
    symbol="sinh",
)


def refuse(xp: Any, x: Any) -> Any:
    raise ValueError("not today")


REFUSE = mg.Primitive("refuse", mg.Kind.ELEMENTWISE, refuse, lambda x: x, None, symbol="?")


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- without LLVM ------------------------------------------------------------------------------

WITHOUT = """
import sys
sys.modules[{missing!r}] = None
import warnings
import numpy as np
import minigrad as mg
w = mg.parameter("w", 2.0)
x = mg.input("x", "N")
graph = mg.Graph([x], {{"y": x * w}}, [mg.Update(w, w + 1)])
"""


def in_a_process(code: str, missing: str = "llvmlite") -> str:
    """What ``code`` prints where a package is missing; warnings are errors unless it says so."""
    text = WITHOUT.format(missing=missing) + textwrap.dedent(code)
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", text], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def test_without_llvmlite_the_interpreter_computes_after_one_warning() -> None:
    code = """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        step = mg.compile(graph)
    (warning,) = caught
    assert warning.category is RuntimeWarning
    assert warning.filename == "<string>"  # where compile was called
    state = step.init_state()
    for k in range(3):
        outputs, state = step(state, x=[1.0, 2.0])
    print(type(step).__name__, outputs["y"].tolist(), float(state["w"]))
    print(warning.message)
    """
    first, second = in_a_process(code).splitlines()
    assert first == "Executable [4.0, 8.0] 5.0"
    assert "interpreter" in second
    assert "llvmlite" in second


def test_without_llvmlite_importing_and_interpreting_warn_of_nothing() -> None:
    code = """
    step = mg.compile(graph, "interpreter")
    print(step(step.init_state(), x=[1.0])[0]["y"], mg.evaluate(w * 3))
    """
    assert in_a_process(code) == "[2.] 6.0"


def test_without_llvmlite_every_compilation_says_so() -> None:
    code = """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            mg.compile(graph)
    print(len(caught))
    """
    assert in_a_process(code) == "2"


# --- what the interpreter keeps ----------------------------------------------------------------


def test_complex_numbers_are_the_interpreters() -> None:
    x = mg.input("x", 3, "complex128")
    step = mg.compile(mg.Graph([x], {"y": x * x}))
    assert type(step) is mg.Executable
    np.testing.assert_array_equal(step({}, x=[1j, 2, 1 + 1j])[0]["y"], [-1, 4, 2j])


def test_a_graph_with_a_complex_node_inside_is_the_interpreters() -> None:
    graph = mg.retype(mg.Graph([x := mg.input("x", 3)], {"y": mg.exp(x)}), "complex128")
    assert type(mg.compile(graph)) is mg.Executable


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(mg.GraphError, match="no backend 'cuda'; there is interpreter, native"):
        mg.compile(mg.Graph([], {"y": mg.constant(1.0)}), "cuda")


# --- ops without a kernel ----------------------------------------------------------------------


def test_an_op_with_only_an_eval_runs_between_kernels(kernels: Path) -> None:
    x = mg.input("x", ("N", 3))
    y = mg.sum(SINH(mg.tanh(x) * 2) * 3, 1)
    (dx,) = mg.grad(mg.sum(y * y), [x])
    graph = mg.Graph([x], {"y": y, "dx": dx})
    step: Any = mg.compile(graph, threads=2, cache=kernels)
    assert type(step) is not mg.Executable
    assert "sinh" in step.source()
    for size in (1, 7, 400):
        assert_agrees(graph, {"x": numbers(size, 3)}, threads=2, cache=kernels)


WHERE: dict[str, Callable[[mg.Node], mg.Node]] = {
    "of an input": lambda x: SINH(x) + 1, "as the output": lambda x: SINH(x * 2),
    "twice": lambda x: SINH(SINH(x)), "of a sum": lambda x: x * SINH(mg.sum(x, 0)),
    "of a view": lambda x: SINH(mg.transpose(x)) * 2,
    "of a product": lambda x: SINH(x @ mg.transpose(x)),
    "in a product": lambda x: SINH(x) @ mg.transpose(SINH(x)),
    "of a slice": lambda x: SINH(x[:, 1:]) + x[:, :-1],
    "of a constant": lambda x: x + SINH(mg.constant([1.0, 2.0, 3.0])),
    "of a broadcast": lambda x: SINH(mg.broadcast_to(mg.sum(x, 0), x.shape)) - x,
}  # fmt: skip


@pytest.mark.parametrize("place", WHERE)
def test_an_op_with_only_an_eval_may_stand_anywhere(place: str, kernels: Path) -> None:
    x = mg.input("x", ("N", 3))
    graph = mg.Graph([x], {"y": WHERE[place](x / 10)})
    assert_agrees(graph, {"x": numbers(6, 3)}, cache=kernels)


def test_such_an_op_reads_values_in_their_own_order_of_axes(kernels: Path) -> None:
    p, q = mg.input("p", ("N", 2)), mg.input("q", (2, "N"))
    index = mg.constant([[1, 0, 0], [0, 1, 1]])
    graph = mg.Graph([p, q], mg.take(p + mg.transpose(q), index, axis=1))
    assert_agrees(graph, {"p": numbers(7, 2), "q": numbers(2, 7)}, threads=1, cache=kernels)


def test_a_step_with_such_an_op_trains(kernels: Path) -> None:
    x, t = mg.input("x", ("N", 3)), mg.input("t", ("N", 2))
    y = mg.sum(SINH(mg.nn.Linear(2, name="in")(x)) ** 2, 1, keepdims=True) + t * 0
    graph = mg.optim.momentum(mg.Graph([x, t], {"loss": mg.mse(y, t)}), lr=0.05)
    native, reference = mg.compile(graph, cache=kernels), mg.compile(graph, "interpreter")
    mine, other = native.init_state(), reference.init_state()
    for k in range(4):
        feed = {"x": numbers(20, 3, seed=k), "t": numbers(20, 2, seed=k + 9)}
        found, mine = native(mine, **feed)
        expected, other = reference(other, **feed)
        assert_equal_up_to_rounding(found, expected, scale=5)
    assert_equal_up_to_rounding({n: mine[n] for n in other}, other, scale=20)


def test_a_state_that_such_an_op_moves(kernels: Path) -> None:
    w = mg.state("w", np.float32([0.1, 0.2]))
    step = mg.compile(mg.Graph([], {"y": w * 2}, [mg.Update(w, SINH(w))]), cache=kernels)
    state = step.init_state()
    for _ in range(2):
        outputs, state = step(state)
    np.testing.assert_allclose(outputs["y"], 2 * np.sinh([0.1, 0.2]), rtol=1e-6)
    np.testing.assert_allclose(state["w"], np.sinh(np.sinh([0.1, 0.2])), rtol=1e-6)


# --- what has no answer ------------------------------------------------------------------------


def errors(graph: mg.Graph, feed: dict[str, Any], kernels: Path) -> list[str]:
    """The messages of both backends."""
    messages = []
    for step in (mg.compile(graph, "interpreter"), mg.compile(graph, cache=kernels)):
        with pytest.raises(mg.GraphError) as caught:
            step(step.init_state(), **feed)
        messages.append(str(caught.value))
    return messages


def test_too_few_elements_are_refused_in_the_words_of_the_interpreter(kernels: Path) -> None:
    x = mg.input("x", ("N", 3))
    with mg.scope("bn1"):
        y = mg.sum(x, 0) / (mg.count(x, 0, at_least=2) - 1)
    graph = mg.Graph([x], {"y": y})
    reference, native = errors(graph, {"x": numbers(1, 3)}, kernels)
    assert native == reference
    assert "at least 2" in native
    assert "bn1" in native
    assert_agrees(graph, {"x": numbers(2, 3)}, cache=kernels)


@pytest.mark.parametrize("index", [3, -4, 2**40])
def test_an_index_out_of_range_is_refused_in_the_words_of_the_interpreter(
    index: int, kernels: Path
) -> None:
    x, i = mg.input("x", ("N", 3)), mg.input("i", 2, "int64")
    with mg.scope("embedding"):
        taken = mg.take(mg.exp(x), i, 1)
    graph = mg.Graph([x, i], {"y": taken * 2})
    reference, native = errors(graph, {"x": numbers(4, 3), "i": [0, index]}, kernels)
    assert native == reference
    assert "embedding" in native


def test_an_index_may_count_from_the_end(kernels: Path) -> None:
    x, i = mg.input("x", ("N", 3)), mg.input("i", 4, "int32")
    taken = mg.take(x, i, 1)
    (dx,) = mg.grad(mg.sum(taken**2), [x])
    graph = mg.Graph([x, i], {"y": taken, "dx": dx})
    assert_agrees(graph, {"x": numbers(4, 3), "i": [-1, 0, -3, 2]}, cache=kernels)


def test_a_step_that_failed_can_be_run_again(kernels: Path) -> None:
    x, i = mg.input("x", 3), mg.input("i", 2, "int64")
    step = mg.compile(mg.Graph([x, i], {"y": mg.take(x * 2, i)}), cache=kernels)
    with pytest.raises(mg.GraphError):
        step({}, x=[1.0, 2.0, 3.0], i=[0, 9])
    np.testing.assert_array_equal(step({}, x=[1.0, 2.0, 3.0], i=[0, 2])[0]["y"], [2, 6])


def test_an_error_inside_an_eval_names_the_node(kernels: Path) -> None:
    x = mg.input("x", 3)
    with mg.scope("mine"):
        y = REFUSE(x * 2)
    graph = mg.Graph([x], {"y": y + 1})
    reference, native = errors(graph, {"x": [1.0, 2.0, 3.0]}, kernels)
    assert native == reference
    assert "not today" in native
    assert "in mine" in native


def test_an_unknown_dim_is_refused_in_the_words_of_the_interpreter(kernels: Path) -> None:
    graph = mg.Graph([], {"y": mg.broadcast_to(mg.constant(1.0), ("N", 3)) * 2})
    reference, native = errors(graph, {}, kernels)
    assert native == reference
    assert "'N'" in native


# --- check_finite ------------------------------------------------------------------------------


def test_the_first_non_finite_node_is_named(kernels: Path) -> None:
    x = mg.input("x", 3)
    with mg.scope("loss"):
        y = mg.log(x)
    graph = mg.Graph([x], {"y": mg.exp(y * 2)})
    native, reference = mg.compile(graph, cache=kernels), mg.compile(graph, "interpreter")
    messages = []
    for step in (reference, native):
        with pytest.raises(mg.NonFiniteError) as caught:
            step({}, check_finite=True, x=[1.0, -1.0, 0.0])
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert messages[1].startswith("log: 2 of 3")
    np.testing.assert_array_equal(native({}, x=[1.0, -1.0, 0.0])[0]["y"], [1, np.nan, 0])


def test_a_checked_step_computes_the_same_and_keeps_its_state(kernels: Path) -> None:
    w, x = mg.parameter("w", 2.0), mg.input("x", 3)
    graph = mg.Graph([x], {"y": x * w}, [mg.Update(w, w + mg.sum(x))])
    step = mg.compile(graph, cache=kernels)
    _, state = step(step.init_state(), x=[1.0, 2.0, 3.0])
    checked, after = step(state, check_finite=True, x=[1.0, 2.0, 3.0])
    plain, later = step(state, x=[1.0, 2.0, 3.0])
    np.testing.assert_array_equal(checked["y"], plain["y"])
    assert (after["w"], later["w"]) == (14, 14)
    outputs, _ = step(after, x=[1.0, 1.0, 1.0])
    np.testing.assert_array_equal(outputs["y"], [14, 14, 14])
