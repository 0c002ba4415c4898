"""Folded weights against PyTorch's `fuse_conv_bn_eval` and `fuse_linear_bn_eval`, in float64."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

Arrays = dict[str, np.ndarray]


def norm_of(module: object, width: int, seed: int) -> Arrays:
    """Random statistics and weights in a torch norm, and the same for ours."""
    rng = np.random.default_rng(seed)
    rows = {
        "weight": rng.normal(size=width), "bias": rng.normal(size=width),
        "running_mean": rng.normal(size=width), "running_var": rng.random(width) + 0.1,
    }  # fmt: skip
    for name, value in rows.items():
        getattr(module, name).data = torch.tensor(value)
    names = {"weight": "gamma", "bias": "beta"}
    return {f"bn/{names.get(name, name)}": value for name, value in rows.items()}


def folded(layer: nn.Layer, channels: int, x: mg.Node, state: Arrays) -> tuple[mg.Graph, Arrays]:
    axis = 1 if x.ndim == 4 else -1
    norm = nn.BatchNorm(channels, channel_axis=axis, eps=1e-5, name="bn")
    graph = mg.to_inference(mg.Graph([x], {"y": norm(layer(x))}))
    report = mg.fold_report(graph, state)
    assert report.values is not None
    return report.graph, dict(report.values)


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_folds_as_in_torch(bias: bool) -> None:
    module = torch.nn.Linear(5, 4, bias=bias).double()
    norm = torch.nn.BatchNorm1d(4).double().eval()
    state = norm_of(norm, 4, 0)
    fused = torch.nn.utils.fusion.fuse_linear_bn_eval(module.eval(), norm)
    state["fc/weight"] = module.weight.detach().numpy().T
    if bias:
        state["fc/bias"] = module.bias.detach().numpy()
    x = mg.input("x", ("N", 5), dtype="float64")
    graph, values = folded(nn.Linear(4, bias=bias, name="fc"), 4, x, state)
    np.testing.assert_allclose(
        values["fc/weight"], fused.weight.detach().numpy().T, rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(
        values["bn/bias"], fused.bias.detach().numpy(), rtol=1e-12, atol=1e-12
    )
    rows = np.random.default_rng(1).normal(size=(3, 5))
    want = fused(torch.tensor(rows)).detach().numpy()
    np.testing.assert_allclose(mg.evaluate(graph, {"x": rows})[0], want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [
    {}, {"padding": 1, "stride": 2}, {"groups": 2}, {"bias": False, "dilation": 2},
], ids=str)  # fmt: skip
def test_a_convolution_folds_as_in_torch(options: Mapping[str, int]) -> None:
    module = torch.nn.Conv2d(4, 6, 3, **options).double()
    norm = torch.nn.BatchNorm2d(6).double().eval()
    state = norm_of(norm, 6, 0)
    fused = torch.nn.utils.fusion.fuse_conv_bn_eval(module.eval(), norm)
    state["conv/weight"] = module.weight.detach().numpy()
    if module.bias is not None:
        state["conv/bias"] = module.bias.detach().numpy()
    x = mg.input("x", ("N", 4, 8, 8), dtype="float64")
    graph, values = folded(nn.Conv2d(6, 3, name="conv", **options), 6, x, state)
    groups = options.get("groups", 1)
    want = fused.weight.detach().numpy()
    if groups == 1:
        columns = want.transpose(2, 3, 1, 0).reshape(-1, 6)
    else:
        columns = want.reshape(groups, 6 // groups, -1).transpose(0, 2, 1)
    np.testing.assert_allclose(values["conv/weight"], columns, rtol=1e-12, atol=1e-12)
    bias = fused.bias.detach().numpy()
    np.testing.assert_allclose(values["bn/bias"].ravel(), bias, rtol=1e-12, atol=1e-12)
    image = np.random.default_rng(1).normal(size=(2, 4, 8, 8))
    found = mg.evaluate(graph, {"x": image})[0]
    np.testing.assert_allclose(
        found, fused(torch.tensor(image)).detach().numpy(), rtol=1e-12, atol=1e-12
    )
