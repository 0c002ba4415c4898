"""The example networks: their contract, and the same numbers as in PyTorch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg

MODELS = Path(__file__).parents[2] / "models"


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, MODELS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mlp, cnn, resnet, rnn = load("mlp"), load("cnn"), load("resnet"), load("rnn")
BUILDS = {
    "mlp": mlp.build,
    "mlp, norm after": lambda *a, **k: mlp.build(*a, norm="after", **k),
    "mlp, no norm": lambda *a, **k: mlp.build(*a, norm="none", **k),
    "mlp, dropout": lambda *a, **k: mlp.build(*a, dropout=0.5, **k),
    "cnn": cnn.build,
    "resnet": resnet.build,
    "rnn": rnn.build,
    "rnn, batch norm": lambda *a, **k: rnn.build(*a, norm="batch", **k),
    "rnn, batch norm per step": lambda *a, **k: rnn.build(*a, norm="batch per step", **k),
    "rnn, no norm": lambda *a, **k: rnn.build(*a, norm="none", **k),
}


def batch_for(graph: mg.Graph, size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    (x,) = [node for node in graph.inputs if node.name == "x"]
    return {
        "x": rng.uniform(size=(size, *x.shape[1:])).astype(np.float32),
        "t": rng.integers(0, 10, size),
    }


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_keeps_the_contract_of_a_model_file(build):
    graph = build()
    graph.verify()
    assert [node.name for node in graph.inputs] == ["x", "t"]
    assert list(graph.outputs) == ["logits", "loss"]
    assert graph.outputs["logits"].shape == ("N", 10)
    assert graph.outputs["loss"].shape == ()
    assert build(batch=3).outputs["logits"].shape == (3, 10)


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_a_step_lowers_the_loss(build):
    graph = mg.optim.sgd(build(), lr=0.1)
    step = mg.compile(graph, "interpreter")
    state, feed = step.init_state(), batch_for(graph, 32)
    first, state = step(state, **feed)
    for _ in range(10):
        last, state = step(state, **feed)
    assert last["loss"] < first["loss"]


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_inference_answers_for_one_example_as_for_many(build):
    graph = build()
    step = mg.compile(mg.optim.sgd(graph, lr=0.1), "interpreter")
    _, state = step(step.init_state(), **batch_for(graph, 32))
    infer, x = mg.to_inference(graph, ["logits"]), batch_for(graph, 9)["x"]
    together = mg.predict(infer, state, x)
    alone = mg.predict(infer, state, x, batch_size=1)
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)
    assert not infer.updates


def test_scopes_name_every_layer():
    layers = {"linear1", "bn1", "relu1", "linear2", "bn2", "relu2", "linear3", "loss"}
    assert set(mlp.build().scopes) == layers
    assert set(cnn.build().scopes) >= {"conv1", "bn1", "relu1", "conv2", "bn2", "pool2", "linear"}
    assert cnn.build().region("bn1")


def test_batch_norm_stands_where_it_was_asked_for():
    def follows(build, layer):
        (running,) = [u for u in build.updates if u.state.name.startswith(f"{layer}/running_mean")]
        names, stack = set(), [running.estimate]
        while stack:
            node = stack.pop()
            names.add(node.scope.path[0] if node.scope.path else "")
            stack.extend(node.inputs)
        return names

    assert "relu1" not in follows(mlp.build(), "bn1")
    assert "relu1" in follows(mlp.build(norm="after"), "bn1")
    assert not mlp.build(norm="none").updates


def test_no_bias_stands_before_a_batch_norm():
    names = {p.name for p in mlp.build().parameters}
    assert not {n for n in names if n.startswith("linear1/b")}
    assert {n for n in names if n.startswith("linear3/b")}


def test_sizes_follow_the_options():
    graph = mlp.build(inputs=784, hidden=(32,), classes=3)
    assert graph.inputs[0].shape == ("N", 784)
    assert graph.outputs["logits"].shape == ("N", 3)
    assert cnn.build(side=28, channels=(4, 4, 4)).inputs[0].shape == ("N", 1, 28, 28)


@pytest.mark.parametrize("options", [{"norm": "under"}, {"activation": "step"}])
def test_an_unknown_word_lists_those_there_are(options):
    with pytest.raises(mg.GraphError, match="norm is one of before, after, none"):
        mlp.build(**options)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_loss_gradient_and_statistics_are_torchs(name):
    torch = pytest.importorskip("torch")
    graph = mg.retype({"mlp": mlp, "cnn": cnn}[name].build(**EXACT), "float64")
    feed = batch_for(graph, 12)
    step = mg.compile(graph, "interpreter")
    state = step.init_state()
    gradients = mg.grad(graph.outputs["loss"], graph.parameters)
    loss, *values = mg.evaluate([graph.outputs["loss"], *gradients], feed)
    _, moved = step(state, **feed)
    peer = {k: torch.tensor(v, requires_grad=not k.endswith(STATS)) for k, v in state.items()}
    expected = {"mlp": torch_mlp, "cnn": torch_cnn}[name](
        peer, torch.tensor(feed["x"], dtype=torch.float64), torch.tensor(feed["t"])
    )
    expected.backward()
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-12)
    for p, value in zip(graph.parameters, values, strict=True):
        wanted = peer[p.name].grad.numpy()
        np.testing.assert_allclose(value, wanted, rtol=1e-8, atol=1e-12, err_msg=p.name)
    for key in (k for k in state if k.endswith(STATS)):
        np.testing.assert_allclose(moved[key], peer[key].numpy(), rtol=1e-10, err_msg=key)


EXACT = {"decay": 0.75, "eps": 2.0**-10}  # numbers that float32 holds without rounding
STATS = ("running_mean", "running_var")


def torch_batch_norm(p, layer, h):
    """PyTorch's, but for the running variance, which it would make unbiased."""
    torch = pytest.importorskip("torch")
    axes = [a for a in range(h.ndim) if a != 1]
    gamma, beta = p[f"{layer}/gamma"], p[f"{layer}/beta"]
    with torch.no_grad():
        p[f"{layer}/running_mean"] = 0.25 * h.mean(axes)
        p[f"{layer}/running_var"] = 0.75 + 0.25 * h.var(axes, correction=0)
    return torch.nn.functional.batch_norm(h, None, None, gamma, beta, True, eps=2.0**-10)


def torch_mlp(p, h, t):
    f = pytest.importorskip("torch").nn.functional
    for layer in ("1", "2"):
        h = f.relu(torch_batch_norm(p, f"bn{layer}", h @ p[f"linear{layer}/weight"]))
    return f.cross_entropy(h @ p["linear3/weight"] + p["linear3/bias"], t)


def torch_cnn(p, h, t):
    f = pytest.importorskip("torch").nn.functional
    for layer in ("1", "2"):
        h = f.conv2d(h, p[f"conv{layer}/weight"], padding=1)
        h = f.relu(torch_batch_norm(p, f"bn{layer}", h))
    h = f.max_pool2d(h, 2).flatten(1)
    return f.cross_entropy(h @ p["linear/weight"] + p["linear/bias"], t)
