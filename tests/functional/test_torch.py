"""Composites against PyTorch in float64: value, gradient and second order."""

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.torch


def compare(ours, theirs, arrays, *, rtol=1e-9):
    """``ours(*nodes)`` against ``theirs(*tensors)``: value, gradient, gradient of the gradient."""
    rng = np.random.default_rng(9)
    nodes = [mg.input(f"x{i}", a.shape, "float64") for i, a in enumerate(arrays)]
    y = ours(*nodes)
    w = rng.normal(size=y.shape)
    first = mg.grad(mg.sum(y * y * w), nodes)
    second = mg.grad(mg.sum(first[0] ** 2 + first[0]), nodes)
    found = mg.evaluate(
        [y, *first, *second], {n.name: a for n, a in zip(nodes, arrays, strict=True)}
    )

    leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
    ty = theirs(*leaves)
    tfirst = torch.autograd.grad((ty * ty * torch.tensor(w)).sum(), leaves, create_graph=True)
    tsecond = torch.autograd.grad((tfirst[0] ** 2 + tfirst[0]).sum(), leaves)
    for mine, other in zip(found, [ty, *tfirst, *tsecond], strict=True):
        expected = other.detach().numpy()
        atol = 1e-12 * max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(mine, expected, rtol=rtol, atol=atol)


ACTIVATIONS = {
    "relu": (mg.relu, F.relu),
    "leaky_relu": (lambda x: mg.leaky_relu(x, 0.2), lambda x: F.leaky_relu(x, 0.2)),
    "gelu": (mg.gelu, F.gelu),
    "gelu tanh": (
        lambda x: mg.gelu(x, approximate="tanh"),
        lambda x: F.gelu(x, approximate="tanh"),
    ),
    "sigmoid": (mg.sigmoid, torch.sigmoid),
    "silu": (mg.silu, F.silu),
    "softplus": (mg.softplus, F.softplus),
    "softmax": (lambda x: mg.softmax(x, 0), lambda x: F.softmax(x, 0)),
    "log_softmax": (mg.log_softmax, lambda x: F.log_softmax(x, -1)),
    "clip": (lambda x: mg.clip(x, -0.5, 0.5), lambda x: torch.clamp(x, -0.5, 0.5)),
    "var": (lambda x: mg.var(x, 0), lambda x: torch.var(x, 0, unbiased=False)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name):
    compare(*ACTIVATIONS[name], [np.random.default_rng(1).normal(size=(4, 5))])


@pytest.mark.parametrize("name", ["gelu", "sigmoid", "silu", "softplus", "log_softmax", "softmax"])
def test_extremes_stay_finite_and_right(name):
    ours, theirs = ACTIVATIONS[name]
    data = np.array([[-1e4, -50.0, 0.0, 50.0, 1e4]])
    x = mg.input("x", (1, 5), "float64")
    y = ours(x)
    found = mg.evaluate([y, *mg.grad(mg.sum(y), x)], {"x": data}, check_finite=True)
    tx = torch.tensor(data, requires_grad=True)
    ty = theirs(tx)
    (tdx,) = torch.autograd.grad(ty.sum(), tx)
    np.testing.assert_allclose(found[0], ty.detach().numpy(), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(found[1], tdx.numpy(), rtol=1e-9, atol=1e-15)


CONVOLUTIONS = [
    {},
    {"stride": 2, "padding": 1},
    {"stride": (1, 2), "padding": (2, 0)},
    {"padding": "same"},
    {"dilation": 2, "padding": (2, 1)},
    {"groups": 2, "padding": 1},
    {"groups": 4, "stride": 2},
]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_conv2d(options):
    rng = np.random.default_rng(3)
    groups = options.get("groups", 1)
    arrays = [rng.normal(size=s) for s in ((2, 4, 7, 6), (8, 4 // groups, 3, 3), (8,))]
    compare(
        lambda x, w, b: mg.conv2d(x, w, b, **options),
        lambda x, w, b: F.conv2d(x, w, b, **options),
        arrays,
    )


POOLS = [(2, {}), (3, {"stride": 2}), ((3, 2), {"stride": 1, "padding": 1}), (2, {"stride": 3})]


@pytest.mark.parametrize(("window", "options"), POOLS, ids=str)
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pool2d(kind, window, options):
    ours, theirs = getattr(mg, f"{kind}_pool2d"), getattr(F, f"{kind}_pool2d")
    x = np.random.default_rng(4).normal(size=(2, 3, 8, 7))
    compare(lambda x: ours(x, window, **options), lambda x: theirs(x, window, **options), [x])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(6, 5), (3, 5, 4, 2)], ids=["rows", "pixels"])
def test_cross_entropy(shape, smoothing):
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 5, (shape[0], *shape[2:]))
    compare(
        lambda x: mg.cross_entropy(x, labels, axis=1, label_smoothing=smoothing),
        lambda x: F.cross_entropy(x, torch.tensor(labels), label_smoothing=smoothing),
        [3 * rng.normal(size=shape)],
    )


def test_mse():
    rng = np.random.default_rng(6)
    compare(mg.mse, F.mse_loss, [rng.normal(size=(4, 3)), rng.normal(size=(4, 3))])
