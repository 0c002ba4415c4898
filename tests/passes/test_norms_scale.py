"""find_norms on large tensors: what it finds, and that it computes little for it."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad import Node, nn
from minigrad.passes.norms_probe import Trial
from minigrad.passes.norms_scale import _sizes, merged_dims

IMAGES = ("N", 256, 56, 56)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many elements each draw of a tensor under suspicion had."""
    found: list[int] = []
    draws = Trial.draws

    def counted(self: Trial, shape: object) -> list[np.ndarray]:
        arrays = draws(self, shape)
        found.append(arrays[0].size)
        return arrays

    monkeypatch.setattr(Trial, "draws", counted)
    return found


@pytest.mark.parametrize(
    ("layer", "shape", "kind", "axes", "groups"),
    [
        (nn.BatchNorm(256, channel_axis=1), IMAGES, "batch", (0, 2, 3), None),
        (nn.BatchNorm(256, channel_axis=1), (64, *IMAGES[1:]), "batch", (0, 2, 3), None),
        (nn.InstanceNorm(256), IMAGES, "instance", (2, 3), None),
        (nn.GroupNorm(256, groups=32), IMAGES, "group", (1, 2, 3), 32),
        (nn.LayerNorm(768), ("N", 197, 768), "layer", (2,), None),
        (nn.RMSNorm(768), ("N", 197, 768), "rms", (2,), None),
    ],
    ids=["batch", "batch of 64", "instance", "group", "layer", "rms"],
)
def test_a_large_tensor_is_tried_at_small_sizes(
    drawn: list[int], layer: nn.Layer, shape: tuple, kind: str, axes: tuple, groups: int | None
) -> None:
    x = mg.input("x", shape)
    (norm,) = mg.find_norms(mg.Graph([x], {"y": layer(x)}))
    assert (norm.kind, norm.axes, norm.groups) == (kind, axes, groups)
    assert norm.gamma is not None
    assert 0 < max(drawn) < 20_000


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.BatchNorm(256, channel_axis=1), IMAGES),
        (nn.GroupNorm(256, groups=32), IMAGES),
        (nn.LayerNorm(768), ("N", 197, 768)),
    ],
    ids=["batch", "group", "layer"],
)
def test_its_gradient_is_found_at_small_sizes_too(
    drawn: list[int], layer: nn.Layer, shape: tuple
) -> None:
    x = mg.input("x", shape)
    y = layer(x)
    (dx,) = mg.grad(mg.sum(mg.tanh(y)), [x])
    graph = mg.Graph([x], {"y": y, "dx": dx})
    (norm,) = mg.find_norms(graph)
    assert graph.outputs["dx"] in norm.backward
    assert max(drawn) < 20_000


def test_what_lies_before_a_large_tensor_is_not_computed(drawn: list[int]) -> None:
    x = mg.input("x", ("N", 3, 224, 224))
    h = nn.Conv2d(64, 7, stride=2, padding=3)(x)
    y = nn.BatchNorm(64, channel_axis=1)(h)
    (norm,) = mg.find_norms(mg.Graph([x], {"y": y}))
    assert (norm.kind, norm.axes) == ("batch", (0, 2, 3))
    assert max(drawn) < 20_000


def written_out(n: float) -> tuple[Node, Node]:
    """A layer norm with its n as a number."""
    x = mg.input("x", ("N", 5000))
    c = x - mg.sum(x, 1, keepdims=True) / n
    return x, c / mg.sqrt(mg.sum(c * c, 1, keepdims=True) / n + 1e-3)


def test_a_size_that_is_written_out_is_read_as_a_size(drawn: list[int]) -> None:
    x, y = written_out(5000.0)
    (norm,) = mg.find_norms(mg.Graph([x], {"y": y}))
    assert (norm.kind, norm.axes, norm.eps.value, norm.y) == ("layer", (1,), 1e-3, y)
    assert max(drawn) < 1000


def test_what_fails_at_small_sizes_is_tried_at_the_real_ones(drawn: list[int]) -> None:
    """The unbiased variance with its n - 1 written out: no n of a sum."""
    x = mg.input("x", ("N", 5000))
    c = x - mg.mean(x, 1, keepdims=True)
    y = c / mg.sqrt(mg.sum(c * c, 1, keepdims=True) / 4999.0 + 1e-3)
    (norm,) = mg.find_norms(mg.Graph([x], {"y": y}))
    assert (norm.kind, norm.correction) == ("layer", 1)
    assert max(drawn) >= 5 * 5000


def test_an_eps_that_could_be_a_size_is_an_eps() -> None:
    x = mg.input("x", ("N", 1000))
    c = x - mg.mean(x, 1, keepdims=True)
    y = c / mg.sqrt(mg.mean(c * c, 1, keepdims=True) + 1e-3)
    (norm,) = mg.find_norms(mg.Graph([x], {"y": y}))
    assert (norm.eps.value, norm.eps.place) == (1e-3, "inside")


@pytest.mark.parametrize("n", range(3, 31))
def test_no_number_passes_for_a_size_by_accident(n: int) -> None:
    x, y = written_out(float(n))
    assert mg.find_norms(mg.Graph([x], {"y": y})) == []


def test_sizes_are_distinct_and_keep_what_a_reshape_merges() -> None:
    x = mg.input("x", ("N", 256, 56, 56))
    groups = mg.reshape(x, ("N", 32, 8, 56, 56))
    rows = mg.reshape(groups, ("N", 32, 25088))
    parts = merged_dims([x, groups, rows, mg.reshape(x, ("N", 256, 3136))])
    assert parts == {256: (32, 8), 25088: (8, 56, 56), 3136: (56, 56)}
    dims = ["N", 32, 256, 56, 8, 25088, 3136, 1]
    odd, even = _sizes(dims, parts, 3), _sizes(dims, parts, 4)
    assert odd is not None
    assert even is not None
    for sizes in (odd, even):
        assert len(set(sizes.values())) == len(sizes)
        assert sizes[256] == 8 * sizes[32]
        assert sizes[25088] == 8 * sizes[56] ** 2 == 8 * sizes[3136]
    assert {odd[d] % 2 for d in ("N", 32, 56)} == {1}
    assert {even[d] % 2 for d in ("N", 32, 56)} == {0}
