"""Native against interpreter: the same graph and the same numbers on both backends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import minigrad as mg

Arrays = Mapping[str, Any]

RELATIVE = {2: 2e-2, 4: 2e-5, 8: 1e-11}  # by bytes of a float


def outputs_of(graph: mg.Graph, feed: Arrays, **options: Any) -> dict[str, np.ndarray]:
    """One step from the initial state; ``options`` are those of `mg.compile`."""
    step = mg.compile(graph, **options)
    return step(step.init_state(), **feed)[0]


def assert_equal_up_to_rounding(found: Arrays, expected: Arrays, scale: float = 1.0) -> None:
    """The same names, dtypes and shapes, and values as near as rounding leaves them."""
    assert list(found) == list(expected)
    for name, want in expected.items():
        have, want = np.asarray(found[name]), np.asarray(want)
        assert (have.dtype, have.shape) == (want.dtype, want.shape), name
        if want.dtype.kind != "f":
            np.testing.assert_array_equal(have, want, err_msg=name)
            continue
        tolerance = scale * RELATIVE[want.dtype.itemsize]
        wide = want.astype(np.float64)
        largest = np.abs(wide[np.isfinite(wide)]).max(initial=1.0)
        np.testing.assert_allclose(
            have.astype(np.float64), wide, rtol=tolerance, atol=tolerance * largest, err_msg=name
        )


def assert_agrees(
    graph: mg.Graph, feed: Arrays, *, scale: float = 1.0, **options: Any
) -> dict[str, np.ndarray]:
    """Compile for both backends and compare one step; the native outputs come back."""
    found = outputs_of(graph, feed, **options)
    assert_equal_up_to_rounding(found, outputs_of(graph, feed, backend="interpreter"), scale)
    return found
