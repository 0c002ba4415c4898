"""Convolutions with windows in one row or column only: such an axis has no loop of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import minigrad as mg


@pytest.mark.parametrize("window", [(2, 2), (3, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("image", [(1, 1), (2, 2), (1, 4), (4, 1)])
def test_gradients_of_a_convolution_of_few_windows(
    image: tuple[int, int], stride: tuple[int, int], window: tuple[int, int], kernels: Path
) -> None:
    x, w = mg.input("x", (7, 4, *image)), mg.input("w", (3, 4, *window))
    y = mg.tanh(mg.conv2d(x, w, stride=stride, padding=1))
    dx, dw = mg.grad(mg.sum(y), [x, w])
    graph = mg.Graph([x, w], {"dx": dx, "dw": dw})
    rng = np.random.default_rng(0)
    feed = {leaf.name: rng.normal(size=leaf.shape).astype("f") for leaf in (x, w)}
    expected, _ = mg.compile(graph, "interpreter")({}, **feed)
    found, _ = mg.compile(graph, threads=2, cache=kernels)({}, **feed)
    for name, right in expected.items():
        np.testing.assert_allclose(found[name], right, rtol=1e-4, atol=1e-5, err_msg=name)
