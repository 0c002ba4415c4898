"""Numbers that stand in the text of a kernel have the type that their nodes have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import minigrad as mg

OPS = {"abs": mg.abs, "sign": mg.sign, "tanh": mg.tanh, "exp": mg.exp, "square": mg.square}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("op", OPS)
def test_a_choice_of_two_numbers_has_their_type(op: str, dtype: str, kernels: Path) -> None:
    p, x = mg.input("p", (), "bool"), mg.input("x", 4, dtype)
    two = (mg.constant(np.asarray(value, dtype)) for value in (0.3351323, -0.25))
    graph = mg.Graph([p, x], {"y": OPS[op](mg.where(p, *two)) * x})
    for chosen in (True, False):
        feed = {"p": chosen, "x": np.linspace(0.5, 2, 4).astype(dtype)}
        right, _ = mg.compile(graph, "interpreter")({}, **feed)
        found, _ = mg.compile(graph, threads=1, cache=kernels)({}, **feed)
        assert found["y"].dtype == np.dtype(dtype)
        eps = float(np.finfo(dtype).eps)
        np.testing.assert_allclose(found["y"], right["y"], rtol=8 * eps)
