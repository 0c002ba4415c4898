"""What goes in is only read, and what comes out is the caller's."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends.native.training import GRAPH, assert_same, batch, copied

import minigrad as mg

# --- outputs -----------------------------------------------------------------------------------


def test_outputs_that_are_kept_are_never_overwritten(step: Any) -> None:
    state, kept, copies = step.init_state(), [], []
    for k in range(5):
        outputs, state = step(state, **batch(k))
        kept.append(outputs)
        copies.append(copied(outputs))
    for found, expected in zip(kept, copies, strict=True):
        assert_same(found, expected)


KEEP: dict[str, Callable[[np.ndarray], Any]] = {
    "the array": lambda y: y, "a view": lambda y: y[1:3], "a view of a view": lambda y: y.T[0][1:],
    "an iterator": lambda y: y.flat, "a buffer": memoryview,
    "another dtype": lambda y: y.view(np.int32), "a tuple": lambda y: (y, 1),
}  # fmt: skip


def numbers_of(kept: Any) -> np.ndarray:
    if isinstance(kept, np.flatiter):
        return np.array(kept.base)
    return np.array(kept[0] if isinstance(kept, tuple) else kept)


@pytest.mark.parametrize("way", KEEP)
def test_whatever_refers_to_an_output_keeps_it(way: str, step: Any) -> None:
    state = step.init_state()
    kept, copies = [], []
    for k in range(5):
        outputs, state = step(state, **batch(k))
        kept.append(KEEP[way](outputs.pop("y")))
        copies.append(numbers_of(kept[-1]))
        del outputs
    for found, expected in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(numbers_of(found), expected)


def test_outputs_of_several_sizes_are_kept_apart(step: Any) -> None:
    state, kept, copies = step.init_state(), [], []
    for size in (6, 2, 6, 9, 2, 6):
        outputs, state = step(state, **batch(size, size))
        kept.append(outputs["y"])
        copies.append(outputs["y"].copy())
    for found, expected in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_an_output_outlives_its_executable(kernels: Path) -> None:
    x = mg.input("x", 1000)
    y = mg.compile(mg.Graph([x], {"y": x * 2}), cache=kernels)({}, x=np.ones(1000))[0]["y"]
    gc.collect()
    np.testing.assert_array_equal(y, np.full(1000, 2))


def test_an_output_can_be_fed_to_the_next_step(kernels: Path) -> None:
    x = mg.input("x", 1000)
    y = x * 2 + mg.sum(x) * 0
    double = mg.compile(mg.Graph([x], {"y": y}), cache=kernels)
    found = double({}, x=np.ones(1000))[0]["y"]
    for _ in range(4):
        found = double({}, x=found)[0]["y"]
    np.testing.assert_array_equal(found, np.full(1000, 32))


def test_an_output_can_be_written_into(step: Any) -> None:
    first, _ = step(step.init_state(), **batch())
    first["y"][...] = np.nan
    second, _ = step(step.init_state(), **batch())
    assert np.isfinite(second["y"]).all()


def test_outputs_come_in_their_order_also_leaves_and_repeats(kernels: Path) -> None:
    x, w = mg.input("x", 2), mg.parameter("w", [5.0, 6.0])
    y = x + 1
    outputs = {"b": y, "w": w, "a": x, "again": y, "c": mg.constant([7.0, 8.0]), "d": y * 2}
    graph = mg.Graph([x], outputs, [mg.Update(w, w + y)])
    step = mg.compile(graph, cache=kernels)
    found, _ = step(step.init_state(), x=[1.0, 2.0])
    reference = mg.compile(graph, "interpreter")
    expected, _ = reference(reference.init_state(), x=[1.0, 2.0])
    assert_same(found, expected)
    assert not np.shares_memory(found["b"], found["again"])


# --- inputs ------------------------------------------------------------------------------------

PLAIN = np.arange(12, dtype=np.float32).reshape(3, 4)


def read_only() -> np.ndarray:
    array = PLAIN.copy()
    array.flags.writeable = False
    return array


def unaligned() -> np.ndarray:
    memory = np.zeros(4 * PLAIN.size + 1, np.int8)[1:]
    memory[:] = PLAIN.ravel().view(np.int8)
    return memory.view(np.float32).reshape(PLAIN.shape)


FED: dict[str, Callable[[], Any]] = {
    "plain": PLAIN.copy, "transposed": lambda: PLAIN.T.copy().T,
    "reversed": lambda: PLAIN[::-1].copy()[::-1],
    "strided": lambda: np.repeat(PLAIN, 2, axis=1)[:, ::2], "read only": read_only,
    "a list": PLAIN.tolist, "float64": lambda: PLAIN.astype(np.float64),
    "ints": lambda: PLAIN.astype(np.int16), "swapped bytes": lambda: PLAIN.astype(">f4"),
    "unaligned": unaligned, "fortran": lambda: np.asfortranarray(PLAIN),
    "a subclass": lambda: PLAIN.view(np.recarray), "a list of rows": lambda: list(PLAIN),
}  # fmt: skip


@pytest.fixture(scope="module")
def of_matrix(kernels: Path) -> Any:
    x = mg.input("x", ("N", 4))
    outputs = {"y": mg.tanh(x) @ mg.transpose(x), "s": mg.sum(x, 0), "x": x}
    return mg.compile(mg.Graph([x], outputs), threads=2, cache=kernels)


@pytest.mark.parametrize("way", FED)
def test_an_input_may_lie_in_memory_in_any_way(way: str, of_matrix: Any) -> None:
    expected = copied(of_matrix({}, x=PLAIN)[0])
    given = FED[way]()
    before = np.array(given)
    assert_same(of_matrix({}, x=given)[0], expected)
    np.testing.assert_array_equal(np.array(given), before)


def test_a_broadcast_input_of_no_strides(of_matrix: Any) -> None:
    given = np.broadcast_to(np.float32([1, 2, 3, 4]), (5, 4))
    assert_same(of_matrix({}, x=given)[0], copied(of_matrix({}, x=given.copy())[0]))


def test_an_input_that_goes_away_after_the_call_is_not_read_again(of_matrix: Any) -> None:
    first = copied(of_matrix({}, x=PLAIN.copy())[0])
    gc.collect()
    of_matrix({}, x=np.full((3, 4), np.nan, np.float32))
    assert_same(of_matrix({}, x=PLAIN.copy())[0], first)


WRONG: dict[str, dict[str, Any]] = {
    "an unknown name": {"x": PLAIN[:, :3], "t": PLAIN[:, :1], "z": 1.0},
    "a missing input": {"x": PLAIN[:, :3]},
    "a wrong size": {"x": PLAIN, "t": PLAIN[:, :1]},
    "a wrong rank": {"x": PLAIN[0], "t": PLAIN[:, :1]},
    "two sizes of a dim": {"x": PLAIN[:, :3], "t": PLAIN[:2, :1]},
    "complex numbers": {"x": PLAIN[:, :3] * 1j, "t": PLAIN[:, :1]},
    "text": {"x": "text", "t": PLAIN[:, :1]},
    "ragged rows": {"x": [[1.0, 2.0, 3.0], [1.0]], "t": PLAIN[:2, :1]},
    "None": {"x": None, "t": PLAIN[:, :1]},
    "a node": {"x": mg.input("other", (3, 3)), "t": PLAIN[:, :1]},
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_feed_is_refused_in_the_words_of_the_interpreter(case: str, step: Any) -> None:
    reference = mg.compile(GRAPH, "interpreter")
    messages = []
    for ready in (reference, step):
        with pytest.raises(mg.FeedError) as caught:
            ready(ready.init_state(), **WRONG[case])
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def changed(state: Any, **entries: Any) -> dict[str, Any]:
    found = {**state, **{name.replace("_", "/"): value for name, value in entries.items()}}
    return {name: value for name, value in found.items() if value is not ...}


WRONG_STATES: dict[str, dict[str, Any]] = {
    "a missing weight": {"net_in_weight": ...},
    "a wrong shape": {"net_in_weight": np.zeros((4, 3))},
    "complex numbers": {"net_in_weight": np.zeros((3, 4), complex)},
}


@pytest.mark.parametrize("case", WRONG_STATES)
def test_a_wrong_state_is_refused_in_the_words_of_the_interpreter(case: str, step: Any) -> None:
    reference = mg.compile(GRAPH, "interpreter")
    messages = []
    for ready in (reference, step):
        with pytest.raises(mg.FeedError) as caught:
            ready(changed(ready.init_state(), **WRONG_STATES[case]), **batch())
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
