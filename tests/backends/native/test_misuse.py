"""What goes wrong in the hands of a user: it is refused with a reason, or does no harm."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends.native.training import GRAPH, assert_same, batch, copied

import minigrad as mg

# --- states ------------------------------------------------------------------------------------

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy, "deepcopy": copy.deepcopy,
    "pickle": lambda state: pickle.loads(pickle.dumps(state)),
}  # fmt: skip


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_of_a_state_stays_when_training_goes_on(way: str, step: Any) -> None:
    _, state = step(step.init_state(), **batch())
    kept, before = COPIES[way](state), copied(state)
    step(state, **batch(1))
    assert_same(kept, before)
    step(kept, **batch(1))


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_the_pair_that_a_step_returns_is_no_state(backend: str) -> None:
    step = mg.compile(GRAPH, backend)
    with pytest.raises(mg.FeedError, match=r"outputs, state = step\(state"):
        step(step(step.init_state(), **batch()), **batch())  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["native", "interpreter"])
@pytest.mark.parametrize("wrong", [None, [1, 2]])
def test_what_is_no_mapping_is_no_state(backend: str, wrong: Any) -> None:
    with pytest.raises(mg.FeedError, match="not a mapping"):
        mg.compile(GRAPH, backend)(wrong, **batch())


def test_an_interrupted_step_leaves_a_state_to_save(
    step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, state = step(step.init_state(), **batch())
    pool, walk = step._machine.pool, step._machine.pool.run

    def interrupted(*table: int) -> None:
        walk(*table)
        raise KeyboardInterrupt

    expected = dict(step(dict(state), **batch(1))[1])
    with monkeypatch.context() as patch:
        patch.setattr(pool, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            step(state, **batch(1))
    assert_same(dict(state), expected)  # the kernels had run
    step(state, **batch(2))


# --- names and options -------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["native", "interpreter"])
@pytest.mark.parametrize("name", ["state", "self"])
def test_an_input_may_be_called_like_an_argument(name: str, backend: str) -> None:
    x = mg.input(name, 3)
    outputs, _ = mg.compile(mg.Graph([x], {"y": x + 1}), backend)({}, **{name: np.ones(3)})
    np.testing.assert_array_equal(outputs["y"], [2, 2, 2])


@pytest.mark.parametrize("name", ["dim_N", "part_sum", "buffer0", "threads", "gemm_f32", "a0", "i"])
def test_an_input_may_be_called_like_a_word_of_the_kernels(name: str, kernels: Path) -> None:
    x, y = mg.input(name, ("N", 3)), mg.input("dim_N_3", ("N_3", 3))
    outputs = {"y": mg.mean(x, 0) + mg.mean(y, 0), "n": mg.count(x, 0) + mg.count(y, 0)}
    step = mg.compile(mg.Graph([x, y], outputs), cache=kernels)
    found, _ = step({}, **{name: np.ones((4, 3)), "dim_N_3": np.ones((2, 3))})
    np.testing.assert_array_equal(found["y"], [2, 2, 2])
    assert found["n"] == 6


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_an_input_called_like_an_option_is_refused(backend: str) -> None:
    x = mg.input("check_finite", 3)
    with pytest.raises(mg.GraphError, match="another name"):
        mg.compile(mg.Graph([x], {"y": x + 1}), backend)


@pytest.mark.parametrize("threads", [0, -1, "2", 2.0, True])
def test_a_number_of_threads_is_a_positive_int(threads: Any) -> None:
    with pytest.raises(mg.GraphError, match="threads is"):
        mg.compile(GRAPH, threads=threads)


# --- plans -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [{"M": 3}, {"N": "3"}, {"N": -3}, {"N": True}])
def test_a_plan_is_asked_for_dims_that_are_there(dims: Any, step: Any) -> None:
    with pytest.raises(mg.GraphError, match="plan: "):
        step.plan(**dims)


def test_a_plan_of_sizes_that_fit_no_machine(step: Any) -> None:
    assert "scratch: " in step.plan(N=10**13)


def test_the_table_of_a_step_outlives_others(kernels: Path) -> None:
    """A larger batch takes a new arena, and more sizes than are kept push the first one out."""
    step: Any = mg.compile(GRAPH, threads=2, cache=kernels)
    start = step.init_state()
    expected = copied(step(start, **batch())[0])
    arena = step._last.arena
    for size in range(100, 120):
        step._machine.instance({"N": 100 * size})
    assert step._last.arena is arena
    others = [np.full(arena.nbytes, 7, np.uint8) for _ in range(3)]
    assert_same(step(start, **batch())[0], expected)
    assert "us a step" in step.profile(start, repeats=2, **batch())
    del others
