"""Several threads, and processes that were forked."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends.native.agreement import assert_equal_up_to_rounding
from backends.native.training import assert_same, batch, copied

import minigrad as mg


@pytest.fixture
def often_switched() -> Iterator[None]:
    """Threads take turns all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("often_switched")
def test_threads_may_call_one_executable_at_once(inference: Any, step: Any) -> None:
    _, state = step(step.init_state(), **batch())
    snapshot, sizes = dict(state), (5, 700)
    inputs = {(turn, n): batch(10 * turn + n, n)["x"] for turn in range(3) for n in sizes}
    expected = {key: copied(inference(snapshot, x=x)[0])["y"] for key, x in inputs.items()}
    wrong: list[tuple[int, int]] = []

    def work(turn: int) -> None:
        for k in range(100):
            key = turn, sizes[k // 10 % 2]
            found, _ = inference(snapshot, x=inputs[key])
            if not np.array_equal(found["y"], expected[key]):
                wrong.append(key)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.usefixtures("often_switched")
def test_threads_may_call_several_executables_at_once(kernels: Path) -> None:
    """All of them share one pool."""
    x = mg.input("x", ("N", 8))
    builds = [lambda x: mg.sum(x * 2, 0), lambda x: mg.sum(x * x, 0), lambda x: mg.max(x, 0)]
    steps = [mg.compile(mg.Graph([x], {"y": b(x)}), threads=2, cache=kernels) for b in builds]
    data = np.random.default_rng(0).normal(size=(200000, 8)).astype(np.float32)
    expected = [step({}, x=data)[0]["y"].copy() for step in steps]
    wrong: list[int] = []

    def work(turn: int) -> None:
        for _ in range(20):
            if not np.array_equal(steps[turn]({}, x=data)[0]["y"], expected[turn]):
                wrong.append(turn)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.usefixtures("often_switched")
def test_threads_train_states_of_their_own(step: Any) -> None:
    def train(seed: int) -> list[float]:
        state, losses = step.init_state(seed), []
        for k in range(20):
            outputs, state = step(state, **batch(k, 3 + seed))
            losses.append(float(outputs["loss"]))
        return losses

    expected = [train(seed) for seed in range(3)]
    found: list[list[float]] = [[]] * 3

    def work(seed: int) -> None:
        found[seed] = train(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def in_a_fork(work: Callable[[], Any], seconds: float = 20) -> Any:
    """What ``work`` gives in a forked process, which has none of this one's threads."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=lambda: theirs.send(work()), daemon=True)
    process.start()
    try:
        assert ours.poll(seconds), "the child hangs"
        return ours.recv()
    finally:
        process.kill()
        process.join()


forks = pytest.mark.skipif(sys.platform == "win32", reason="no fork")
crowded = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@forks
@crowded
def test_a_forked_process_computes_right(step: Any) -> None:
    _, state = step(step.init_state(), **batch())
    snapshot, data = dict(state), batch(1, 20000)  # enough to wake the threads
    expected, after = step(snapshot, **data)

    def work() -> Any:
        outputs, moved = step(snapshot, **data)
        return outputs, dict(moved)

    outputs, moved = in_a_fork(work)
    assert_equal_up_to_rounding(outputs, expected)  # one thread adds up in another order
    assert_equal_up_to_rounding(moved, dict(after), scale=10)
    assert_same(step(snapshot, **data)[0], expected)


@forks
@crowded
def test_a_forked_process_compiles(step: Any, kernels: Path) -> None:
    step(step.init_state(), **batch())

    def work() -> Any:
        x = mg.input("x", ("N", 100))
        ready = mg.compile(mg.Graph([x], {"y": mg.sum(x * 3, 0)}), threads=2, cache=kernels)
        return ready({}, x=np.ones((5000, 100)))[0]["y"]

    np.testing.assert_array_equal(in_a_fork(work), np.full(100, 15000))


@forks
@crowded
def test_a_process_forked_in_the_middle_of_a_step_computes_right(kernels: Path) -> None:
    inside, leave = threading.Event(), threading.Event()

    def slow(xp: Any, x: Any) -> Any:
        if threading.current_thread() is other:
            inside.set()
            leave.wait(20)
        return x

    x, row = mg.input("x", 3), mg.Primitive("slow", mg.Kind.ELEMENTWISE, slow, lambda x: x, None)
    step = mg.compile(mg.Graph([x], {"y": row(x) * 2}), cache=kernels)
    other = threading.Thread(target=step, args=({},), kwargs={"x": np.zeros(3)})
    other.start()
    assert inside.wait(20)
    try:
        found = in_a_fork(lambda: step({}, x=np.ones(3))[0]["y"], seconds=3)
    finally:
        leave.set()
        other.join()
    np.testing.assert_array_equal(found, [2, 2, 2])
