"""The residual network: He et al.'s blocks, and the same numbers as in PyTorch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg

FILE = Path(__file__).parents[2] / "models" / "resnet.py"
spec = importlib.util.spec_from_file_location("resnet", FILE)
resnet = importlib.util.module_from_spec(spec)
spec.loader.exec_module(resnet)

EPS = 2.0**-10


def feed(size, side=8):
    rng = np.random.default_rng(0)
    return {"x": rng.uniform(size=(size, 1, side, side)), "t": rng.integers(0, 10, size)}


def test_a_stage_halves_the_image_and_starts_with_a_shortcut_of_its_own():
    graph = resnet.build(channels=(4, 8, 16), blocks=2)
    scopes = {"/".join(n.scope.path) for n in graph.nodes}
    shortcuts = {s.removesuffix("/conv") for s in scopes if s.endswith("shortcut/conv")}
    assert shortcuts == {"stage2/block1/shortcut", "stage3/block1/shortcut"}
    pooled = next(n for n in graph.nodes if n.scope.path == ("pool",))
    assert pooled.inputs[0].shape == ("N", 16, 2, 2)
    assert resnet.build(side=28).inputs[0].shape == ("N", 1, 28, 28)


def test_a_block_starts_as_its_shortcut():
    graph = resnet.build(channels=(4,), blocks=2)
    relus = [n for n in graph.nodes if n.prim.name == "maximum"]
    (stem,) = (n for n in relus if n.scope.path == ("stem",))
    last = [n for n in relus if n.scope.path == ("stage1", "block2")][-1]
    np.testing.assert_array_equal(*mg.evaluate([stem, last], {"x": feed(3)["x"]}))


@pytest.mark.torch
def test_loss_gradient_and_statistics_are_torchs():
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    graph = mg.retype(resnet.build(channels=(4, 8), decay=0.75, eps=EPS), "float64")
    step = mg.compile(graph, "interpreter")
    rng, state, at = np.random.default_rng(1), dict(step.init_state()), feed(5)
    for parameter in graph.parameters:  # gammas that are 0 would hide half of the network
        state[parameter.name] = state[parameter.name] + rng.normal(0, 0.3, parameter.shape)
    gradients = mg.grad(graph.outputs["loss"], graph.parameters)
    values = mg.evaluate(
        [graph.outputs["loss"], *gradients],
        {**at, **{p.name: state[p.name] for p in graph.parameters}},
    )
    p = {k: torch.tensor(v, requires_grad=True) for k, v in state.items()}
    seen = {}

    def bn(layer, h):
        seen[layer] = (h.mean((0, 2, 3)), h.var((0, 2, 3), correction=0))
        return f.batch_norm(h, None, None, p[f"{layer}/gamma"], p[f"{layer}/beta"], True, eps=EPS)

    def block(at, h, stride):
        y = f.relu(bn(f"{at}/bn1", f.conv2d(h, p[f"{at}/conv1/weight"], None, stride, 1)))
        y = bn(f"{at}/bn2", f.conv2d(y, p[f"{at}/conv2/weight"], None, 1, 1))
        if stride > 1:
            h = bn(f"{at}/shortcut/bn", f.conv2d(h, p[f"{at}/shortcut/conv/weight"], None, 2))
        return f.relu(h + y)

    h = f.relu(bn("stem/bn", f.conv2d(torch.tensor(at["x"]), p["stem/conv/weight"], None, 1, 1)))
    h = block("stage2/block1", block("stage1/block1", h, 1), 2).mean((2, 3))
    loss = f.cross_entropy(h @ p["linear/weight"] + p["linear/bias"], torch.tensor(at["t"]))
    loss.backward()
    np.testing.assert_allclose(values[0], loss.item(), rtol=1e-12)
    for parameter, value in zip(graph.parameters, values[1:], strict=True):
        wanted = p[parameter.name].grad.numpy()
        np.testing.assert_allclose(value, wanted, rtol=1e-8, atol=1e-11, err_msg=parameter.name)
    _, moved = step(state, **at)
    for layer, (mu, v) in seen.items():
        expected = 0.25 * mu.detach().numpy(), 0.75 + 0.25 * v.detach().numpy()
        found = moved[f"{layer}/running_mean"], moved[f"{layer}/running_var"]
        np.testing.assert_allclose(found, expected, rtol=1e-10, err_msg=layer)
