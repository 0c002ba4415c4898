"""Compiled graphs are pure functions, and their first state depends on seed and name alone."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import initializers


@pytest.fixture(params=["native", "interpreter"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def counter() -> mg.Graph:
    x, m, w = mg.input("x", "N"), mg.state("m", [0.0, 0.0]), mg.parameter("w", 2.0)
    return mg.Graph([x], {"y": mg.sum(x) * w + m}, [mg.Update(m, 0.5 * m + mg.sum(x))])


def test_a_step_is_pure(backend: str) -> None:
    step = mg.compile(counter(), backend)
    state, x = step.init_state(), np.array([1.0, 2.0], np.float32)
    before = {name: array.copy() for name, array in state.items()}
    first = step(state, x=x)
    second = step(state, x=x)
    for a, b in zip(first, second, strict=True):
        assert list(a) == list(b)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    for name, array in before.items():
        np.testing.assert_array_equal(state[name], array)
    np.testing.assert_array_equal(x, [1, 2])


def test_writing_into_a_result_changes_no_later_step(backend: str) -> None:
    step = mg.compile(counter(), backend)
    start = step.init_state()
    outputs, state = step(start, x=[1.0])
    expected = outputs["y"].copy()
    for array in (*outputs.values(), state["m"]):
        if array.flags.writeable:  # what a native state hands out is a copy to read
            array[...] = np.nan
    again, _ = step(start, x=[1.0])
    np.testing.assert_array_equal(again["y"], expected)


def test_writing_into_an_initial_state_changes_no_later_one(backend: str) -> None:
    step = mg.compile(counter(), backend)
    step.init_state()["m"][...] = 7
    np.testing.assert_array_equal(step.init_state()["m"], [0, 0])


def test_an_output_that_is_a_leaf_or_a_constant_can_be_written_into_safely(backend: str) -> None:
    x, w = mg.input("x", 2), mg.parameter("w", [1.0, 1.0])
    step = mg.compile(mg.Graph([x], {"c": mg.constant([1.0, 2.0]), "w": w, "x": x}))
    state, fed = step.init_state(), np.array([5.0, 6.0], np.float32)
    outputs, _ = step(state, x=fed)
    for array in outputs.values():
        if array.flags.writeable:
            array[...] = 0
    again, _ = step(step.init_state(), x=[5.0, 6.0])
    np.testing.assert_array_equal(again["c"], [1, 2])
    np.testing.assert_array_equal(again["w"], [1, 1])


def test_a_step_reads_the_state_it_is_given(backend: str) -> None:
    step = mg.compile(counter(), backend)
    outputs, state = step({"m": [1.0, 2.0], "w": 10.0}, x=[3.0])
    np.testing.assert_array_equal(outputs["y"], [31, 32])
    np.testing.assert_array_equal(state["m"], [3.5, 4])


def test_every_update_reads_the_state_before_the_step(backend: str) -> None:
    a, b = mg.state("a", 1.0), mg.state("b", 2.0)
    swap = mg.compile(mg.Graph([], a + b, [mg.Update(a, b), mg.Update(b, a)]), backend)
    _, state = swap(swap.init_state())
    assert (state["a"], state["b"]) == (2, 1)
    _, state = swap(state)
    assert (state["a"], state["b"]) == (1, 2)


def test_what_the_graph_does_not_know_is_passed_on(backend: str) -> None:
    step = mg.compile(counter(), backend)
    _, state = step({**step.init_state(), "other": "kept"}, x=[1.0])
    assert state["other"] == "kept"
    assert state["w"] == 2


def test_unknown_inputs_are_refused_and_unused_ones_optional(backend: str) -> None:
    x, unused = mg.input("x"), mg.input("unused")
    ready = mg.compile(mg.Graph([x, unused], x + 1), backend)
    assert ready({}, x=1.0)[0]["out"] == 2
    assert ready({}, x=1.0, unused=1.0)[0]["out"] == 2
    with pytest.raises(mg.FeedError, match="nothing is called 'y'; there is x, unused"):
        ready({}, x=1.0, y=1.0)


def test_a_step_checks_for_nan_on_request(backend: str) -> None:
    x = mg.input("x")
    ready = mg.compile(mg.Graph([x], mg.sqrt(x)), backend)
    assert np.isnan(ready({}, x=-1.0)[0]["out"])
    with pytest.raises(mg.NonFiniteError, match="sqrt: 1 of 1"):
        ready({}, check_finite=True, x=-1.0)


def test_a_dim_has_one_size_in_a_step(backend: str) -> None:
    x, y = mg.input("x", "N"), mg.input("y", "N")
    ready = mg.compile(mg.Graph([x, y], [mg.sum(x), mg.sum(y)]), backend)
    ready({}, x=[1.0], y=[1.0])
    ready({}, x=[1.0, 2.0], y=[1.0, 2.0])
    with pytest.raises(mg.FeedError, match=r"needs f32\[N\] with N=1, was fed \[2\]"):
        ready({}, x=[1.0], y=[1.0, 2.0])


# --- the first state ---------------------------------------------------------------------------


def drawn(*names: str) -> mg.Executable:
    leaves = [mg.parameter(name, initializers.glorot_uniform, (3, 2)) for name in names]
    return mg.compile(mg.Graph([], leaves))


def test_equal_seeds_give_equal_states_and_others_do_not() -> None:
    step = drawn("w")
    np.testing.assert_array_equal(step.init_state(1)["w"], step.init_state(1)["w"])
    assert not np.array_equal(step.init_state(1)["w"], step.init_state(2)["w"])


def test_a_parameter_starts_alike_whatever_else_is_in_the_graph() -> None:
    alone, among = drawn("w").init_state(), drawn("a", "w", "z").init_state()
    np.testing.assert_array_equal(alone["w"], among["w"])


def test_two_parameters_start_differently() -> None:
    state = drawn("a", "b").init_state()
    assert not np.array_equal(state["a"], state["b"])


def test_the_state_holds_what_the_graph_needs_in_its_dtype(backend: str) -> None:
    w = mg.parameter("w", initializers.glorot_uniform, (2, 2), dtype="float64")
    n = mg.state("n", 3)
    mg.parameter("unused", 1.0)
    state = mg.compile(mg.Graph([], mg.sum(w) * n), backend).init_state()
    assert {name: a.dtype.name for name, a in state.items()} == {"w": "float64", "n": "int64"}


def test_evaluate_draws_the_same_start() -> None:
    w = mg.parameter("w", initializers.glorot_uniform, (3, 2))
    np.testing.assert_array_equal(mg.evaluate(w, seed=5), drawn("w").init_state(5)["w"])
