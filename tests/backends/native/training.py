"""A small training step for the tests of states, arrays and threads."""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg


def training_graph() -> mg.Graph:
    """Weights, slots, running statistics and a counter."""
    x, t = mg.input("x", ("N", 3)), mg.input("t", ("N", 1))
    with mg.scope("net"):
        h = mg.nn.BatchNorm(4, decay=0.9, name="bn1")(mg.nn.Linear(4, bias=False, name="in")(x))
        y = mg.nn.Linear(1, name="out")(mg.tanh(h))
    return mg.optim.adam(mg.Graph([x, t], {"loss": mg.mse(y, t), "y": y}), lr=0.05)


GRAPH = training_graph()


def batch(seed: int = 0, size: int = 6) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "x": rng.normal(size=(size, 3)).astype(np.float32),
        "t": rng.normal(size=(size, 1)).astype(np.float32),
    }


def copied(arrays: Any) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in arrays.items()}


def assert_same(found: Any, expected: Any) -> None:
    """Equal bit for bit, and by the same names."""
    assert list(found) == list(expected)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
