"""Running statistics: the EMA of every convention, against formulas and against PyTorch."""

import numpy as np
import pytest

import minigrad as mg

STEPS = 100


def batches(shape, count=STEPS, seed=3):
    rng = np.random.default_rng(seed)
    return [rng.normal(rng.normal(), rng.uniform(0.5, 3), shape) for _ in range(count)]


def run(layer, shape, data):
    """The state after training steps on ``data``, and the inference graph's executable."""
    graph = mg.Graph([], {"y": layer(mg.input("x", ("N", *shape[1:]), "float64"))})
    step = mg.compile(graph)
    state = step.init_state()
    for x in data:
        _, state = step(state, x=x)
    return state, mg.compile(mg.to_inference(graph))


@pytest.mark.parametrize("convention", sorted(mg.nn.CONVENTIONS))
def test_preset_is_its_formula_over_100_steps(convention):
    preset = mg.nn.CONVENTIONS[convention]
    data = batches((6, 3))
    state, infer = run(mg.nn.BatchNorm(3, convention=convention), (6, 3), data)
    mean, var = np.zeros(3), np.ones(3)
    for x in data:
        mean = preset.decay * mean + (1 - preset.decay) * x.mean(axis=0)
        var = preset.decay * var + (1 - preset.decay) * x.var(axis=0, ddof=int(preset.unbiased))
    np.testing.assert_allclose(state["running_mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(state["running_var"], var, rtol=1e-12)
    y, _ = infer(state, x=data[0])
    np.testing.assert_allclose(
        y["y"], (data[0] - mean) / np.sqrt(var + preset.eps), rtol=1e-10, atol=1e-12
    )


def test_presets_are_the_frameworks_defaults():
    rows = {name: (c.decay, c.eps, c.unbiased) for name, c in mg.nn.CONVENTIONS.items()}
    assert rows == {
        "keras": (0.99, 1e-3, False),
        "pytorch": (0.9, 1e-5, True),
        "flax": (0.99, 1e-5, False),
        "onnx": (0.9, 1e-5, False),
        "chainer": (0.9, 2e-5, True),
        "mlx": (0.9, 1e-5, True),
        "tinygrad": (0.9, 1e-5, True),
    }


@pytest.mark.torch
@pytest.mark.parametrize("decay", [0.9, 0.7, "cumulative"])
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5, 2)], ids=["1d", "2d"])
def test_equals_torch_over_100_steps(shape, decay):
    torch = pytest.importorskip("torch")
    momentum = None if decay == "cumulative" else 1 - decay
    kind = torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d
    theirs = kind(3, momentum=momentum, dtype=torch.float64)
    data = batches(shape)
    for x in data:
        theirs(torch.tensor(x))
    layer = mg.nn.BatchNorm(3, channel_axis=1, decay=decay, convention="pytorch")
    state, infer = run(layer, shape, data)
    np.testing.assert_allclose(state["running_mean"], theirs.running_mean.numpy(), rtol=1e-11)
    np.testing.assert_allclose(state["running_var"], theirs.running_var.numpy(), rtol=1e-11)
    y, _ = infer(state, x=data[0][:1])
    theirs.eval()
    expected = theirs(torch.tensor(data[0][:1])).detach().numpy()
    np.testing.assert_allclose(y["y"], expected, rtol=1e-10, atol=1e-12)


def test_cumulative_average_weighs_all_steps_equally():
    data = batches((6, 3), count=7)
    state, _ = run(mg.nn.BatchNorm(3, decay="cumulative"), (6, 3), data)
    expected = np.mean([x.mean(axis=0) for x in data], axis=0)
    np.testing.assert_allclose(state["running_mean"], expected, rtol=1e-12)
    assert state["num_batches"] == 7


@pytest.mark.parametrize("start", [0.0, 1.0, -3.5])
def test_debias_forgets_any_start(start):
    values = np.random.default_rng(0).normal(size=20)
    running = start
    for value in values:
        running = 0.9 * running + 0.1 * value
    weights = 0.1 * 0.9 ** np.arange(19, -1, -1)
    expected = (weights * values).sum() / weights.sum()
    found = mg.nn.debias(np.float64(running), np.float64(20), decay=0.9, start=start)
    assert mg.evaluate(found) == pytest.approx(expected, rel=1e-5)


def test_update_uses_the_batch_of_this_very_step():
    (x,) = batches((6, 3), count=1)
    state, _ = run(mg.nn.BatchNorm(3, decay=0.0), (6, 3), [x])
    np.testing.assert_allclose(state["running_mean"], x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(state["running_var"], x.var(axis=0), rtol=1e-12)
