"""The other normalisers against PyTorch: value, gradient, second order."""

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.torch

C = 6
CASES = {
    "layer norm": (
        (5, C), lambda x, g, b: mg.nn.layer_norm(x, g, b),
        lambda x, g, b: F.layer_norm(x, (C,), g, b),
    ),
    "layer norm of a sequence": (
        (3, 4, C), lambda x, g, b: mg.nn.layer_norm(x, g, b),
        lambda x, g, b: F.layer_norm(x, (C,), g, b),
    ),
    "instance norm": (
        (3, C, 4, 2),
        lambda x, g, b: mg.nn.instance_norm(x, mg.reshape(g, (C, 1, 1)), mg.reshape(b, (C, 1, 1))),
        lambda x, g, b: F.instance_norm(x, weight=g, bias=b),
    ),
    "group norm": (
        (3, C, 4, 2),
        lambda x, g, b: mg.nn.group_norm(
            x, mg.reshape(g, (C, 1, 1)), mg.reshape(b, (C, 1, 1)), groups=3
        ),
        lambda x, g, b: F.group_norm(x, 3, g, b),
    ),
    "rms norm": (
        (5, C), lambda x, g, b: mg.nn.rms_norm(x, g, eps=1e-6) + b,
        lambda x, g, b: F.rms_norm(x, (C,), g, eps=1e-6) + b,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_equals_torch_to_second_order(case):
    shape, ours, theirs = CASES[case]
    rng = np.random.default_rng(2)
    feed = {"x": rng.normal(1, 2, shape), "g": rng.normal(size=C), "b": rng.normal(size=C)}
    weights = rng.normal(size=shape)
    x = mg.input("x", shape, "float64")
    g, b = (mg.input(name, C, "float64") for name in "gb")
    y = ours(x, g, b)
    first = mg.grad(mg.sum(y**3 * weights), [x, g, b])
    second = mg.grad(mg.sum(first[0] ** 2), [x, g])
    found = mg.evaluate([y, *first, *second], feed)

    leaves = [torch.tensor(feed[k], requires_grad=True) for k in ("x", "g", "b")]
    ty = theirs(*leaves)
    tfirst = torch.autograd.grad((ty**3 * torch.tensor(weights)).sum(), leaves, create_graph=True)
    tsecond = torch.autograd.grad((tfirst[0] ** 2).sum(), leaves[:2])
    for mine, other in zip(found, [ty, *tfirst, *tsecond], strict=True):
        expected = other.detach().numpy()
        scale = np.abs(expected).max()
        np.testing.assert_allclose(mine, expected, rtol=1e-8, atol=1e-11 * scale)


LAYERS = {
    "LayerNorm": (mg.nn.LayerNorm(C), torch.nn.LayerNorm(C), (5, C)),
    "InstanceNorm": (mg.nn.InstanceNorm(C), torch.nn.InstanceNorm2d(C, affine=True), (3, C, 4, 2)),
    "GroupNorm": (mg.nn.GroupNorm(C, groups=2), torch.nn.GroupNorm(2, C), (3, C, 4, 2)),
    "RMSNorm": (mg.nn.RMSNorm(C), torch.nn.RMSNorm(C, eps=1e-6), (5, C)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_have_torchs_defaults(name):
    ours, theirs, shape = LAYERS[name]
    data = np.random.default_rng(0).normal(2, 3, shape)
    x = mg.input("x", ("N", *shape[1:]), "float64")
    expected = theirs.double()(torch.tensor(data)).detach().numpy()
    np.testing.assert_allclose(mg.evaluate(ours(x), {"x": data}), expected, rtol=1e-6, atol=1e-7)
    graph = mg.Graph([x], {"y": ours(x)})
    assert mg.to_inference(graph).structural_hash() == graph.structural_hash()
